/* attention: causal, grouped heads, softmax taken in one pass over blocks of positions with a running maximum. */

/* After each block the row so far is y = sum_p exp(s_p - top) v_p and total = sum_p exp(s_p - top), where top is the
   largest score seen; a larger one later scales both down. y itself holds the running row: each of its elements belongs
   to one work-item, so head_dim has no upper bound. Blocks start at position 0 for every token, so that a token's
   result does not depend on how many came with it. Positions after first_pos + t are never read. */

#if FAL_CPU

/* One work-item per head of a token, blocks of 16 positions. */
FAL_KERNEL fal_cl_attention__cpu(int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                 const __global float *q, const __global float *k_cache, const __global float *v_cache,
                                 __global float *y)
{
    const long r = get_global_id(0); /* t * n_head + h */
    if (r >= (long)n_tokens * n_head) return;
    const int n_pos = first_pos + (int)(r / n_head) + 1;
    const int g = (int)(r % n_head) / (n_head / n_head_kv);
    const long stride = (long)n_head_kv * head_dim; /* from one position to the next */
    const __global float *q_r = q + r * head_dim;
    const __global float *k_g = k_cache + (long)g * head_dim, *v_g = v_cache + (long)g * head_dim;
    __global float *y_r = y + r * head_dim;
    const float root = sqrt((float)head_dim);
    float top = -INFINITY, total = 0.0f;
    for (int i = 0; i < head_dim; i += 16) fal_store_16((float16)(0.0f), y_r, i, head_dim);
    for (int p0 = 0; p0 < n_pos; p0 += 16) {
        const int n = min(16, n_pos - p0);
        float score[16];
        for (int j = 0; j < 16; j++) score[j] = -INFINITY;
        for (int j = 0; j < n; j++) {
            const __global float *k_p = k_g + (p0 + j) * stride; /* k_cache[p,g,:] */
            float16 dot_16 = (float16)(0.0f);
            for (int i = 0; i < head_dim; i += 16)
                dot_16 += fal_load_16(q_r, i, head_dim, 0.0f) * fal_load_16(k_p, i, head_dim, 0.0f);
            score[j] = fal_sum_16(dot_16) / root;
        }
        const float16 s = vload16(0, score);
        const float new_top = fmax(top, fal_max_16(s));
        const float scale = exp(top - new_top);
        const float16 e = exp(s - new_top);
        vstore16(e, 0, score);
        total = total * scale + fal_sum_16(e);
        top = new_top;
        for (int i = 0; i < head_dim; i += 16) {
            float16 sum = (float16)(0.0f);
            for (int j = 0; j < n; j++)
                sum += score[j] * fal_load_16(v_g + (p0 + j) * stride, i, head_dim, 0.0f);
            fal_store_16(fal_load_16(y_r, i, head_dim, 0.0f) * scale + sum, y_r, i, head_dim);
        }
    }
    for (int i = 0; i < head_dim; i += 16) fal_store_16(fal_load_16(y_r, i, head_dim, 0.0f) / total, y_r, i, head_dim);
}

#else

/* One work-group per head of a token, blocks of FAL_GROUP positions: a work-item has one position while scores are
   made, and one or more dimensions while values are summed. */
FAL_KERNEL fal_cl_attention(int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                            const __global float *q, const __global float *k_cache,
                            const __global float *v_cache, __global float *y)
{
    __local float part[FAL_GROUP];
    __local float weight[FAL_GROUP];
    const long r = get_group_id(0); /* t * n_head + h */
    const int id = (int)get_local_id(0);
    const int n_pos = first_pos + (int)(r / n_head) + 1;
    const int g = (int)(r % n_head) / (n_head / n_head_kv);
    const long stride = (long)n_head_kv * head_dim; /* from one position to the next */
    const __global float *q_r = q + r * head_dim;
    const __global float *k_g = k_cache + (long)g * head_dim, *v_g = v_cache + (long)g * head_dim;
    __global float *y_r = y + r * head_dim;
    const float root = sqrt((float)head_dim);
    float top = -INFINITY, total = 0.0f;
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] = 0.0f;
    for (int p0 = 0; p0 < n_pos; p0 += FAL_GROUP) {
        const int n = min(FAL_GROUP, n_pos - p0);
        float score = -INFINITY;
        if (id < n) {
            const __global float *k_p = k_g + (p0 + id) * stride; /* k_cache[p,g,:] */
            float4 sum = (float4)(0.0f);
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
            const __global float *v_i = v_g + p0 * stride + i; /* v_cache[p0..,g,i] */
            float4 sum = (float4)(0.0f);
            int j = 0;
            for (; j + 4 <= n; j += 4) {
                const __global float *v_j = v_i + j * stride;
                sum += (float4)(weight[j] * v_j[0], weight[j + 1] * v_j[stride], weight[j + 2] * v_j[2 * stride],
                                weight[j + 3] * v_j[3 * stride]);
            }
            for (; j < n; j++) sum.x += weight[j] * v_i[j * stride];
            y_r[i] = y_r[i] * scale + ((sum.x + sum.y) + (sum.z + sum.w));
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* weight is written again */
    }
    for (int i = id; i < head_dim; i += FAL_GROUP) y_r[i] /= total;
}

#endif
