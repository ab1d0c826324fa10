/* attention: causal, grouped heads, softmax taken in one pass over blocks of positions with a running maximum. */

/* After each block the row so far is y = sum_p exp(s_p - top) v_p and total = sum_p exp(s_p - top), where top is the
   largest score seen; a larger one later scales both down. y itself holds the running row: each of its elements belongs
   to one work-item, so head_dim has no upper bound. Blocks start at position 0 for every token, so that a token's
   result does not depend on how many came with it. Positions that no token of a request sees are never read. */

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

/* Tokens that share one pass over keys and values, and dimensions that a slice sums at once, four a lane. */
#define TOKENS 8
#define WIDTH 128

/* The largest score and the total of the weights of a token, over a block of positions or over all so far. */
typedef struct {
    float top, total;
} mass;

/* Joins the mass of a block to that of the blocks before; the sums of either are to be scaled by *was and *now. */
static mass join(mass all, mass block, float *was, float *now)
{
    const float top = fmax(all.top, block.top);
    *was = exp(all.top - top);
    *now = exp(block.top - top);
    const mass both = { top, all.total * *was + block.total * *now };
    return both;
}

/* What a work-group works on: n_tile tokens of a head, the first of which sees n_first positions, the last n_all. */
typedef struct {
    int head_dim, n_there, n_first, n_all; /* n_there: tokens of the tile that exist */
    long q_step, stride;                   /* from one token of q, one position of the caches, to the next */
    const __global float *q, *k, *v;
} work;

static work work_of(int n_tile, int t0, int h, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                    const __global float *q, const __global float *k_cache, const __global float *v_cache)
{
    const int n_there = min(n_tile, n_tokens - t0), g = h / (n_head / n_head_kv);
    const work w = { head_dim, n_there, first_pos + t0 + 1, first_pos + t0 + n_there, (long)n_head * head_dim,
                     (long)n_head_kv * head_dim, q + ((long)t0 * n_head + h) * head_dim, k_cache + (long)g * head_dim,
                     v_cache + (long)g * head_dim };
    return w;
}

/* sum[j] = q[j,:] k[p,:] in four parts. whole: as for fal_load_4. */
static void add_products(int n_tile, bool whole, work w, int p, float4 *sum)
{
    const __global float *k_p = w.k + p * w.stride; /* k_cache[p,g,:] */
    FAL_UNROLL(8)
    for (int i = 0; i < w.head_dim; i += 4) {
        const float4 k_i = fal_load_4(whole, k_p, i, w.head_dim);
        for (int j = 0; j < n_tile; j++)
            sum[j] = fma(fal_load_4(whole, w.q + min(j, w.n_there - 1) * w.q_step, i, w.head_dim), k_i, sum[j]);
    }
}

/* weight[j,:] = exp(score - top) over positions p0 .. p0+FAL_GROUP-1 for token j, one position a work-item; 0 for what
   the token does not see. A slice takes every fourth token to find its mass. */
static void make_weights(__local float *part, __local float *weight, __local mass *masses, int n_tile, work w, int p0)
{
    const int id = (int)get_local_id(0), slice = id / 32, lane = id & 31, p = p0 + id;
    const float root = sqrt((float)w.head_dim);
    float4 sum[TOKENS];
    for (int j = 0; j < n_tile; j++) sum[j] = (float4)(0.0f);
    if (p < w.n_all) {
        if (w.head_dim % 4 == 0) add_products(n_tile, true, w, p, sum);
        else add_products(n_tile, false, w, p, sum);
    }
    for (int j = 0; j < n_tile; j++) {
        const float score = ((sum[j].x + sum[j].y) + (sum[j].z + sum[j].w)) / root;
        weight[j * FAL_GROUP + id] = p < w.n_first + j ? score : -INFINITY;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j0 = 0; j0 < n_tile; j0 += 4) {
        const bool mine = j0 + slice < n_tile;
        __local float *e = weight + (mine ? j0 + slice : 0) * FAL_GROUP + lane;
        float s[4], most = -INFINITY;
        for (int i = 0; i < 4; i++) {
            s[i] = mine ? e[32 * i] : -INFINITY;
            most = fmax(most, s[i]);
        }
        const float top = fal_max_32(part, most);
        for (int i = 0; i < 4; i++) s[i] = top == -INFINITY ? 0.0f : exp(s[i] - top); /* a block that nobody sees */
        const float total = fal_sum_32(part, (s[0] + s[1]) + (s[2] + s[3]));
        for (int i = 0; mine && i < 4; i++) e[32 * i] = s[i];
        if (mine && lane == 0) {
            masses[j0 + slice].top = top;
            masses[j0 + slice].total = total;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* sum[j] = weight[j,p] v[p,d..d+3] over positions first .. end-1 of the block at p0. Values that a token does not see
   are not multiplied by 0 but left out. whole: as for fal_load_4. */
static void add_values(const __local float *weight, int n_tile, bool whole, work w, int p0, int first, int end, int d,
                       float4 *sum)
{
    const int seen = min(end, w.n_first - p0); /* by all */
    const __global float *v_p = w.v + p0 * w.stride; /* v_cache[p0,g,:] */
    FAL_UNROLL(8)
    for (int p = first; p < seen; p++) {
        const float4 v = fal_load_4(whole, v_p + p * w.stride, d, w.head_dim);
        for (int j = 0; j < n_tile; j++) sum[j] = fma((float4)(weight[j * FAL_GROUP + p]), v, sum[j]);
    }
    for (int p = max(first, seen); p < end; p++) {
        const float4 v = fal_load_4(whole, v_p + p * w.stride, d, w.head_dim);
        for (int j = 0; j < n_tile; j++)
            if (p0 + p < w.n_first + j) sum[j] = fma((float4)(weight[j * FAL_GROUP + p]), v, sum[j]);
    }
}

/* y[j] = sum_p weight[j,p] v[p,d0 + id] over the block at p0. Each slice sums a quarter of the positions, four
   dimensions a lane; sums holds what the slices found. */
static void sum_values(__local float *sums, const __local float *weight, int n_tile, work w, int p0, int d0, float *y)
{
    const int id = (int)get_local_id(0), slice = id / 32, lane = id & 31, d = d0 + 4 * lane;
    const int first = 32 * slice, end = min(first + 32, w.n_all - p0);
    float4 sum[TOKENS];
    for (int j = 0; j < n_tile; j++) sum[j] = (float4)(0.0f);
    if (d < w.head_dim) {
        if (w.head_dim % 4 == 0) add_values(weight, n_tile, true, w, p0, first, end, d, sum);
        else add_values(weight, n_tile, false, w, p0, first, end, d, sum);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = 0; j < n_tile; j++) *(__local float4 *)(sums + (slice * n_tile + j) * WIDTH + 4 * lane) = sum[j];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = 0; j < n_tile; j++) {
        const __local float *s = sums + j * WIDTH + id;
        y[j] = (s[0] + s[n_tile * WIDTH]) + (s[2 * n_tile * WIDTH] + s[3 * n_tile * WIDTH]);
    }
}

/* One work-group per head of up to TOKENS tokens, which takes one block of positions after the other. */
FAL_KERNEL fal_cl_attention(int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                            const __global float *q, const __global float *k_cache,
                            const __global float *v_cache, __global float *y)
{
    fal_begin();
    __local float part[FAL_GROUP];
    __local float weight[TOKENS * FAL_GROUP];
    __local float sums[4 * TOKENS * WIDTH] __attribute__((aligned(16)));
    __local mass masses[TOKENS];
    const int id = (int)get_local_id(0), h = (int)(get_group_id(0) % n_head);
    const int t0 = (int)(get_group_id(0) / n_head) * TOKENS;
    const work w =
        work_of(TOKENS, t0, h, n_tokens, n_head, n_head_kv, head_dim, first_pos, q, k_cache, v_cache);
    __global float *y_0 = y + ((long)t0 * n_head + h) * head_dim; /* y[t0,h,:] */
    mass all[TOKENS];
    float was[TOKENS], now[TOKENS], y_b[TOKENS];
    for (int j = 0; j < TOKENS; j++) {
        all[j].top = -INFINITY;
        all[j].total = 0.0f;
    }
    for (int p0 = 0; p0 < w.n_all; p0 += FAL_GROUP) {
        make_weights(part, weight, masses, TOKENS, w, p0);
        for (int j = 0; j < TOKENS; j++) all[j] = join(all[j], masses[j], &was[j], &now[j]);
        for (int d0 = 0; d0 < head_dim; d0 += WIDTH) {
            sum_values(sums, weight, TOKENS, w, p0, d0, y_b);
            for (int j = 0; j < TOKENS; j++) {
                __global float *y_j = y_0 + j * w.q_step + d0 + id;
                if (j < w.n_there && d0 + id < head_dim)
                    *y_j = p0 == 0 ? y_b[j] : *y_j * was[j] + y_b[j] * now[j];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* weight and masses are written again */
    }
    for (int j = 0; j < TOKENS; j++)
        for (int d = id; j < w.n_there && d < head_dim; d += FAL_GROUP) y_0[j * w.q_step + d] /= all[j].total;
}

/* For a single token, whose heads alone are too few for a device: one work-group per head and block of positions.
   Leaves head_dim sums, top and total in parts[h,block,:]; when there is but one block, the result in y. */
FAL_KERNEL fal_cl_attention__split(int n_head, int n_head_kv, int head_dim, int first_pos, int n_blocks,
                                   const __global float *q, const __global float *k_cache,
                                   const __global float *v_cache, __global float *parts, __global float *y)
{
    fal_begin();
    __local float part[FAL_GROUP];
    __local float weight[FAL_GROUP];
    __local float sums[4 * WIDTH] __attribute__((aligned(16)));
    __local mass masses[1];
    const int id = (int)get_local_id(0), h = (int)(get_group_id(0) / n_blocks);
    const int p0 = (int)(get_group_id(0) % n_blocks) * FAL_GROUP;
    const work w = work_of(1, 0, h, 1, n_head, n_head_kv, head_dim, first_pos, q, k_cache, v_cache);
    __global float *to = n_blocks == 1 ? y + (long)h * head_dim : parts + (long)get_group_id(0) * (head_dim + 2);
    float y_b[1];
    make_weights(part, weight, masses, 1, w, p0);
    for (int d0 = 0; d0 < head_dim; d0 += WIDTH) {
        sum_values(sums, weight, 1, w, p0, d0, y_b);
        if (d0 + id < head_dim) to[d0 + id] = n_blocks == 1 ? y_b[0] / masses[0].total : y_b[0];
    }
    if (n_blocks == 1 || id > 0) return;
    to[head_dim] = masses[0].top;
    to[head_dim + 1] = masses[0].total;
}

/* One work-group per head: joins the blocks in their order, as fal_cl_attention does. */
FAL_KERNEL fal_cl_attention__join(int head_dim, int n_blocks, const __global float *parts, __global float *y)
{
    fal_begin();
    const int h = (int)get_group_id(0);
    const __global float *parts_h = parts + (long)h * n_blocks * (head_dim + 2); /* parts[h,:,:] */
    for (int d = (int)get_local_id(0); d < head_dim; d += FAL_GROUP) {
        mass all = { -INFINITY, 0.0f };
        float sum = 0.0f;
        FAL_UNROLL(4)
        for (int b = 0; b < n_blocks; b++) {
            const __global float *from = parts_h + (long)b * (head_dim + 2);
            const mass block = { from[head_dim], from[head_dim + 1] };
            float was, now;
            all = join(all, block, &was, &now);
            sum = b == 0 ? from[d] : sum * was + from[d] * now;
        }
        y[h * head_dim + d] = sum / all.total;
    }
}

#endif
