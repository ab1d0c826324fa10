/* kv_store: cache[first_pos + t] = new[t] for k and v. */

#if FAL_CPU

/* One work-item per token. width: n_head_kv * head_dim. */
FAL_KERNEL fal_cl_kv_store__cpu(int n_tokens, int width, int first_pos, const __global float *k,
                                const __global float *v, __global float *k_cache, __global float *v_cache)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const long from = t * width, to = (first_pos + t) * width; /* new[t,:] and cache[first_pos + t,:] */
    for (int i = 0; i < width; i += 16) {
        fal_store_16(fal_load_16(k + from, i, width, 0.0f), k_cache + to, i, width);
        fal_store_16(fal_load_16(v + from, i, width, 0.0f), v_cache + to, i, width);
    }
}

#else

/* One work-item per element. width: n_head_kv * head_dim. */
FAL_KERNEL fal_cl_kv_store(int n_tokens, int width, int first_pos, const __global float *k, const __global float *v,
                           __global float *k_cache, __global float *v_cache)
{
    fal_begin();
    const long from = get_global_id(0); /* new[t,i], flat */
    if (from >= (long)n_tokens * width) return;
    const long to = (long)first_pos * width + from;
    k_cache[to] = k[from];
    v_cache[to] = v[from];
}

#endif
