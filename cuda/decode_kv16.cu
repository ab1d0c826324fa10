/* decode_kv16: the cache in f16 for several tokens at once: storing, and attention in the order of the exact class. */
#include "quant.cuh"

/* One thread per element. width: n_head_kv * head_dim. */
FAL_KERNEL fal_cu_decode_kv16__store(int n_tokens, int width, int first_pos, const float *k, const float *v,
    __half *k_cache,
                                     __half *v_cache)
{
    fal_begin();
    const long from = fal_global_id(); /* new[t,i], flat */
    if (from >= (long)n_tokens * width) return;
    const long to = (long)first_pos * width + from;
    k_cache[to] = __float2half_rn(k[from]);
    v_cache[to] = __float2half_rn(v[from]);
}

/* One block per head of a token; see attention.cu, which this follows step by step with a cache of halves. */
FAL_KERNEL fal_cu_decode_kv16__attention(int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
    const float *q,
                                         const __half *k_cache, const __half *v_cache, float *y)
{
    fal_begin();
    __shared__ float part[FAL_GROUP];
    __shared__ float weight[FAL_GROUP];
    const long r = blockIdx.x; /* t * n_head + h */
    const int id = (int)threadIdx.x, n_pos = first_pos + (int)(r / n_head) + 1;
    const int g = (int)(r % n_head) / (n_head / n_head_kv);
    const long stride = (long)n_head_kv * head_dim;
    const float *q_r = q + r * head_dim;
    const __half *k_g = k_cache + (long)g * head_dim, *v_g = v_cache + (long)g * head_dim;
    float *y_r = y + r * head_dim;
    const float root = sqrt((float)head_dim);
    float top = -INFINITY, total = 0.0f;
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] = 0.0f;
    for (int p0 = 0; p0 < n_pos; p0 += FAL_GROUP) {
        const int n = min(FAL_GROUP, n_pos - p0);
        float score = -INFINITY;
        if (id < n) {
            const __half2 *k_p = (const __half2 *)(k_g + (p0 + id) * stride); /* head_dim is a multiple of 4 */
            float sum = 0.0f;
            for (int i = 0; i < head_dim / 2; i++) {
                const float2 k_i = __half22float2(k_p[i]);
                sum += q_r[2 * i] * k_i.x + q_r[2 * i + 1] * k_i.y;
            }
            score = sum / root;
        }
        const float new_top = fmax(top, fal_max_group(part, score));
        const float scale = exp(top - new_top), e = exp(score - new_top);
        weight[id] = e; /* read by all after the barriers of the sum */
        total = total * scale + fal_sum_group(part, e);
        top = new_top;
        for (int i = id; i < head_dim; i += FAL_GROUP) {
            float sum = 0.0f;
            for (int j = 0; j < n; j++) sum += weight[j] * __half2float(v_g[(p0 + j) * stride + i]);
            y_r[i] = y_r[i] * scale + sum;
        }
        __syncthreads(); /* weight is written again */
    }
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] /= total;
}
