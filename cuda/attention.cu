/* attention: causal, grouped heads, softmax taken in one pass over blocks of positions with a running maximum. */
#include "quant.cuh"

/* After each block the row so far is y = sum_p exp(s_p - top) v_p and total = sum_p exp(s_p - top), where top is the
   largest score seen; a larger one later scales both down. y itself holds the running row: each of its elements belongs
   to one thread, so head_dim has no upper bound. Blocks start at position 0 for every token, so that a token's result
   does not depend on how many came with it. Positions after first_pos + t are never read. */

/* One block per head of a token, blocks of FAL_GROUP positions: a thread has one position while scores are made,
   and one or more dimensions while values are summed. */
FAL_KERNEL fal_cu_attention(int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos, const float *q,
                            const float *k_cache, const float *v_cache, float *y)
{
    __shared__ float part[FAL_GROUP];
    __shared__ float weight[FAL_GROUP];
    const long r = blockIdx.x; /* t * n_head + h */
    const int id = (int)threadIdx.x;
    const int n_pos = first_pos + (int)(r / n_head) + 1;
    const int g = (int)(r % n_head) / (n_head / n_head_kv);
    const long stride = (long)n_head_kv * head_dim; /* from one position to the next */
    const float *q_r = q + r * head_dim;
    const float *k_g = k_cache + (long)g * head_dim, *v_g = v_cache + (long)g * head_dim;
    float *y_r = y + r * head_dim;
    const float root = sqrt((float)head_dim);
    float top = -INFINITY, total = 0.0f;
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] = 0.0f;
    for (int p0 = 0; p0 < n_pos; p0 += FAL_GROUP) {
        const int n = min(FAL_GROUP, n_pos - p0);
        float score = -INFINITY;
        if (id < n) {
            const float *k_p = k_g + (p0 + id) * stride; /* k_cache[p,g,:] */
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            for (int i = 0; i < head_dim; i += 4)
                sum += fal_load_4(q_r, i, head_dim) * fal_load_4(k_p, i, head_dim);
            score = ((sum.x + sum.y) + (sum.z + sum.w)) / root;
        }
        const float new_top = fmax(top, fal_max_group(part, score));
        const float scale = exp(top - new_top);
        const float e = exp(score - new_top);
        weight[id] = e; /* read by all after the barriers of the sum */
        total = total * scale + fal_sum_group(part, e);
        top = new_top;
        for (int i = id; i < head_dim; i += FAL_GROUP) {
            const float *v_i = v_g + p0 * stride + i; /* v_cache[p0..,g,i] */
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            int j = 0;
            for (; j + 4 <= n; j += 4) {
                const float *v_j = v_i + j * stride;
                sum += make_float4(weight[j] * v_j[0], weight[j + 1] * v_j[stride], weight[j + 2] * v_j[2 * stride],
                                weight[j + 3] * v_j[3 * stride]);
            }
            for (; j < n; j++) sum.x += weight[j] * v_i[j * stride];
            y_r[i] = y_r[i] * scale + ((sum.x + sum.y) + (sum.z + sum.w));
        }
        __syncthreads(); /* weight is written again */
    }
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] /= total;
}

