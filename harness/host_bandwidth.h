/* How fast this machine's processors read memory: the roofline of what runs on them. */
#ifndef FAL_HOST_BANDWIDTH_H
#define FAL_HOST_BANDWIDTH_H

#include <stddef.h>

/* what    Best read bandwidth in GB/s that all threads together reach over a buffer of that many bytes (at least 1 MiB), read
           again and again for a tenth of a second: from the caches, when it fits there. 0 when memory ran out. */
double fal_host_read_bandwidth(size_t bytes);

#endif
