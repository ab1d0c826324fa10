/* kv_store: cache[first_pos + t] = new[t] for k and v. */
#include "quant.cuh"

/* One thread per element. width: n_head_kv * head_dim. */
FAL_KERNEL fal_cu_kv_store(int n_tokens, int width, int first_pos, const float *k, const float *v,
                           float *k_cache, float *v_cache)
{
    fal_begin();
    const long from = fal_global_id(); /* new[t,i], flat */
    if (from >= (long)n_tokens * width) return;
    const long to = (long)first_pos * width + from;
    k_cache[to] = k[from];
    v_cache[to] = v[from];
}
