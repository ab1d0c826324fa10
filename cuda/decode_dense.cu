/* decode_dense: the products of one token with the weights that every token meets: embedding, QKV, attention output,
   router. */
#include "decode.cuh"

extern __shared__ __align__(16) float fal_smem[];

#define FAL_MOST 384 /* threads of a block at most */
#define FAL_WIDE extern "C" __global__ void __launch_bounds__(FAL_MOST, 1)

/* x = row state[0] of the embedding. One block. */
FAL_WIDE fal_cu_decode_dense__embed(int n_embd, int type, const unsigned char *w, const int *state, float *x)
{
    fal_launch_next();
    const int lane = (int)threadIdx.x & 31;
    const unsigned char *row = w + state[0] * fal_row_bytes(type, n_embd);
    fal_wait();
    for (int b = (int)threadIdx.x / 32; b < fal_blocks(n_embd); b += (int)blockDim.x / 32) {
        float4 w0, w1;
        int at_0, at_1;
        fal_lane_weights(type, row, n_embd, b, lane, &w0, &w1, &at_0, &at_1);
        fal_store_4(w0, x, at_0, n_embd);
        fal_store_4(w1, x, at_1, n_embd);
    }
}

/* Sums the parts of the rows of this block's groups, parts in ascending order. red: [n_groups][n_parts][FAL_ROWS] */
static __device__ __forceinline__ float sum_parts(const float *red, int group, int n_parts, int row)
{
    float sum = red[group * n_parts * FAL_ROWS + row];
    for (int part = 1; part < n_parts; part++) sum += red[(group * n_parts + part) * FAL_ROWS + row];
    return sum;
}

/* q, k, v = W RMSNorm(x). A group is FAL_ROWS rows of one of the three matrices; a block has n_groups groups of
   n_parts warps. */
FAL_WIDE fal_cu_decode_dense__qkv(int n_embd, int n_q, int n_kv, int n_groups, int n_parts, int type_q, int type_k,
                                  int type_v, float eps, const unsigned char *w_q, const unsigned char *w_k,
                                  const unsigned char *w_v, const float *norm, const float *x, float *q, float *k,
                                      float *v)
{
    __shared__ float red[FAL_MOST / 32 * FAL_ROWS + 32];
    fal_launch_next();
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32;
    const int groups_q = (n_q + FAL_ROWS - 1) / FAL_ROWS, groups_kv = (n_kv + FAL_ROWS - 1) / FAL_ROWS;
    const int n_all = groups_q + 2 * groups_kv, n_blocks = fal_blocks(n_embd);
    float *xs = fal_smem, *sums = xs + n_blocks * 272;
    int g = min((int)blockIdx.x * n_groups + warp / n_parts, n_all - 1);
    fal_rows m;
    if (g < groups_q) m = fal_make_rows(type_q, 1, n_embd, n_q, g * FAL_ROWS, NULL, w_q);
    else if (g < groups_q + groups_kv) m = fal_make_rows(type_k, 1, n_embd, n_kv, (g - groups_q) * FAL_ROWS, NULL, w_k);
    else m = fal_make_rows(type_v, 1, n_embd, n_kv, (g - groups_q - groups_kv) * FAL_ROWS, NULL, w_v);
    unsigned raw[FAL_ROWS * FAL_RAW];
    float y[FAL_ROWS];
    fal_load_rows<FAL_ROWS>(&m, warp % n_parts, lane, raw);
    fal_wait();
    fal_take_norm(xs, sums, red, n_embd, eps, x, norm, NULL);
    __syncthreads();
    fal_multiply<FAL_ROWS>(&m, warp % n_parts, n_parts, lane, raw, xs, sums, y);
    float *mine = red + 32;
    if (lane == 0)
        for (int i = 0; i < FAL_ROWS; i++) mine[warp * FAL_ROWS + i] = y[i];
    __syncthreads();
    const int row = (int)threadIdx.x % FAL_ROWS, group = (int)threadIdx.x / FAL_ROWS;
    g = (int)blockIdx.x * n_groups + group;
    if (group >= n_groups || g >= n_all) return;
    const float sum = sum_parts(mine, group, n_parts, row);
    if (g < groups_q) {
        if (g * FAL_ROWS + row < n_q) q[g * FAL_ROWS + row] = sum;
    } else if (g < groups_q + groups_kv) {
        if ((g - groups_q) * FAL_ROWS + row < n_kv) k[(g - groups_q) * FAL_ROWS + row] = sum;
    } else if ((g - groups_q - groups_kv) * FAL_ROWS + row < n_kv) {
        v[(g - groups_q - groups_kv) * FAL_ROWS + row] = sum;
    }
}

/* y = x + W a. */
#define OUTPUT_ARGS                                                                                                    \
    int n_in, int n_out, int n_groups, int n_parts, int type, const unsigned char *w, const float *a, const float *x,  \
        float *y
static __device__ __forceinline__ void output(float *red, OUTPUT_ARGS)
{
    fal_launch_next();
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32, n_all = (n_out + FAL_ROWS - 1) / FAL_ROWS;
    float *xs = fal_smem, *sums = xs + fal_blocks(n_in) * 272;
    const int g = min((int)blockIdx.x * n_groups + warp / n_parts, n_all - 1);
    const fal_rows m = fal_make_rows(type, 1, n_in, n_out, g * FAL_ROWS, NULL, w);
    unsigned raw[FAL_ROWS * FAL_RAW];
    float part[FAL_ROWS];
    fal_load_rows<FAL_ROWS>(&m, warp % n_parts, lane, raw);
    fal_wait();
    fal_take_vector(xs, sums, 1, n_in, a);
    __syncthreads();
    fal_multiply<FAL_ROWS>(&m, warp % n_parts, n_parts, lane, raw, xs, sums, part);
    if (lane == 0)
        for (int i = 0; i < FAL_ROWS; i++) red[warp * FAL_ROWS + i] = part[i];
    __syncthreads();
    const int row = (int)threadIdx.x % FAL_ROWS, group = (int)threadIdx.x / FAL_ROWS;
    const int r = ((int)blockIdx.x * n_groups + group) * FAL_ROWS + row;
    if (group < n_groups && r < n_out) y[r] = x[r] + sum_parts(red, group, n_parts, row);
}

/* A type known when compiling leaves the registers of the others free. */
#define OUTPUT(name, type_)                                                                                            \
    FAL_WIDE fal_cu_decode_dense__output_##name(OUTPUT_ARGS)                                                           \
    {                                                                                                                  \
        __shared__ float red[FAL_MOST / 32 * FAL_ROWS];                                                                \
        output(red, n_in, n_out, n_groups, n_parts, type_, w, a, x, y);                                                \
    }
OUTPUT(q4_k, FAL_Q4_K)
OUTPUT(any, type)

/* norm_x = RMSNorm(x) and logits = W norm_x. One block per expert, whose warps share the row. */
FAL_WIDE fal_cu_decode_dense__router(int n_embd, int n_expert, int type, float eps, const unsigned char *w,
                                     const float *norm, const float *x, float *norm_x, float *logits)
{
    __shared__ float red[32];
    fal_launch_next();
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32, n_warps = (int)blockDim.x / 32;
    float *xs = fal_smem, *sums = xs + fal_blocks(n_embd) * 272;
    const fal_rows m = fal_make_rows(type, 1, n_embd, n_expert, (int)blockIdx.x, NULL, w);
    unsigned raw[FAL_RAW];
    float part;
    fal_load_rows<1>(&m, warp, lane, raw);
    fal_wait();
    fal_take_norm(xs, sums, red, n_embd, eps, x, norm, blockIdx.x == 0 ? norm_x : NULL);
    __syncthreads();
    fal_multiply<1>(&m, warp, n_warps, lane, raw, xs, sums, &part);
    if (lane == 0) red[warp] = part;
    __syncthreads();
    if (threadIdx.x != 0) return;
    float sum = red[0];
    for (int i = 1; i < n_warps; i++) sum += red[i];
    logits[blockIdx.x] = sum;
}
