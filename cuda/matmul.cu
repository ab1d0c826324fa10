/* matmul: y[t,r] = sum_c w[r,c] x[t,c], weights in file format. */
#include "quant.cuh"

/* Up to three products of the same x in one launch: the blocks of the second come after those of the first. */
#define ARGS                                                                                                           \
    int n_tokens, int n_in, int n_out, int n_out_2, int n_out_3, const unsigned char *w, const unsigned char *w_2,   \
        const unsigned char *w_3, const float *x, float *y, float *y_2, float *y_3
#define PASS n_tokens, n_in, n_out, n_out_2, n_out_3, w, w_2, w_3, x, y, y_2, y_3
/* Takes the product that block id belongs to for n_out, w and y; at is its place in that one. */
#define SELECT(id, n_rows, n_tiles)                                                                                    \
    long at = id;                                                                                                      \
    for (int i = 0; i < 2; i++) {                                                                                      \
        const long n = (long)((n_out + n_rows - 1) / (n_rows)) * (n_tiles);                                            \
        if (at < n) break;                                                                                             \
        at -= n;                                                                                                       \
        n_out = n_out_2, w = w_2, y = y_2;                                                                             \
        n_out_2 = n_out_3, w_2 = w_3, y_2 = y_3;                                                                       \
    }

/* One slice of 32 lanes per row of a token. A token's sum does not depend on how many came with it. */
static __device__ __forceinline__ void matmul(float *part, int type, ARGS)
{
    SELECT(blockIdx.x, FAL_GROUP / 32, n_tokens)
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)threadIdx.x & 31;
    const int r = (int)(at % n_blocks) * (FAL_GROUP / 32) + (int)threadIdx.x / 32;
    const long t = at / n_blocks;
    const unsigned char *row = w + min(r, n_out - 1) * fal_row_bytes(type, n_in); /* w[r,:] */
    const float sum = fal_sum_32(part, fal_lane_times(type, row, n_in, lane, x + t * n_in));
    if (lane == 0 && r < n_out) y[t * n_out + r] = sum;
}

/* One block per tile of FAL_SIDE rows and FAL_SIDE tokens; the row tiles of the same tokens are neighbours. Sums
   have another order than above, the same for every token. */
static __device__ __forceinline__ void matmul_tiled(float *tile, int type, ARGS)
{
    SELECT(blockIdx.x, FAL_SIDE, (n_tokens + FAL_SIDE - 1) / FAL_SIDE)
    const long n_blocks = (n_out + FAL_SIDE - 1) / FAL_SIDE;
    const int r0 = (int)(at % n_blocks) * FAL_SIDE;
    const int t0 = (int)(at / n_blocks) * FAL_SIDE;
    const unsigned char *row = w + min(r0 + fal_tile_row(), n_out - 1) * fal_row_bytes(type, n_in); /* w[r,:] */
    const float *x_t = x + (long)min(t0 + fal_tile_token(), n_tokens - 1) * n_in; /* x[t,:] */
    const int r1 = r0 + 4 * fal_tile_x(), t1 = t0 + 4 * fal_tile_y();
    float4 sum[8];
    fal_tile_times(tile, type, row, x_t, n_in, t1 < n_tokens, sum);
    for (int i = 0; i < 8; i++) {
        const int r = r1 + i % 4 + i / 4 * 32;
        if (r >= n_out) continue;
        if (t1 < n_tokens) y[(long)t1 * n_out + r] = sum[i].x;
        if (t1 + 1 < n_tokens) y[(long)(t1 + 1) * n_out + r] = sum[i].y;
        if (t1 + 2 < n_tokens) y[(long)(t1 + 2) * n_out + r] = sum[i].z;
        if (t1 + 3 < n_tokens) y[(long)(t1 + 3) * n_out + r] = sum[i].w;
    }
}
#define KERNEL(name, type)                                                                                             \
    FAL_KERNEL fal_cu_matmul_##name(ARGS)                                                                              \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __shared__ float part[FAL_GROUP];                                                                              \
        matmul(part, type, PASS);                                                                                      \
    }                                                                                                                  \
    FAL_KERNEL fal_cu_matmul__tiled_##name(ARGS)                                                                       \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __shared__ __align__(16) float tile[FAL_TILE_FLOATS];                                                          \
        matmul_tiled(tile, type, PASS);                                                                                \
    }

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
