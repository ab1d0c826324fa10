/* matmul: y[t,r] = sum_c w[r,c] x[t,c], weights in file format. */

/* Up to three products of the same x in one launch: the work-groups of the second come after those of the first. */
#define ARGS                                                                                                           \
    int n_tokens, int n_in, int n_out, int n_out_2, int n_out_3, const __global uchar *w, const __global uchar *w_2,   \
        const __global uchar *w_3, const __global float *x, __global float *y, __global float *y_2, __global float *y_3
#define PASS n_tokens, n_in, n_out, n_out_2, n_out_3, w, w_2, w_3, x, y, y_2, y_3
/* Takes the product that work-group id belongs to for n_out, w and y; at is its place in that one. */
#define SELECT(id, n_rows, n_tiles)                                                                                    \
    long at = id;                                                                                                      \
    for (int i = 0; i < 2; i++) {                                                                                      \
        const long n = (long)((n_out + n_rows - 1) / (n_rows)) * (n_tiles);                                            \
        if (at < n) break;                                                                                             \
        at -= n;                                                                                                       \
        n_out = n_out_2, w = w_2, y = y_2;                                                                             \
        n_out_2 = n_out_3, w_2 = w_3, y_2 = y_3;                                                                       \
    }

#if FAL_CPU

/* One work-item per FAL_CPU_ROWS rows and FAL_TILE tokens; the row blocks of a token tile are neighbours. */
static void matmul(int type, ARGS)
{
    SELECT(get_global_id(0), FAL_CPU_ROWS, (n_tokens + FAL_TILE - 1) / FAL_TILE)
    const long n_blocks = (n_out + FAL_CPU_ROWS - 1) / FAL_CPU_ROWS;
    const int r0 = (int)(at % n_blocks) * FAL_CPU_ROWS;
    const int t0 = (int)(at / n_blocks) * FAL_TILE;
    const int r1 = min(r0 + FAL_CPU_ROWS, n_out), t1 = min(t0 + FAL_TILE, n_tokens);
    const long row_bytes = fal_row_bytes(type, n_in);
    const __global float *x_t[FAL_TILE];
    float y_t[FAL_TILE];
    for (int r = r0; r < r1; r++) {
        const __global uchar *row = w + r * row_bytes; /* w[r,:] */
        if (t1 - t0 == FAL_TILE) {
            for (int j = 0; j < FAL_TILE; j++) x_t[j] = x + (long)(t0 + j) * n_in;
            fal_row_times(type, FAL_TILE, row, n_in, x_t, y_t);
            for (int j = 0; j < FAL_TILE; j++) y[(long)(t0 + j) * n_out + r] = y_t[j];
        } else {
            for (int t = t0; t < t1; t++) {
                x_t[0] = x + (long)t * n_in;
                fal_row_times(type, 1, row, n_in, x_t, y_t);
                y[(long)t * n_out + r] = y_t[0];
            }
        }
    }
}
#define KERNEL(name, type) \
    FAL_KERNEL fal_cl_matmul__cpu_##name(ARGS) { matmul(type, PASS); }

#else

/* One slice of 32 lanes per row of a token. A token's sum does not depend on how many came with it. */
static void matmul(__local float *part, int type, ARGS)
{
    SELECT(get_group_id(0), FAL_GROUP / 32, n_tokens)
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)get_local_id(0) & 31;
    const int r = (int)(at % n_blocks) * (FAL_GROUP / 32) + (int)get_local_id(0) / 32;
    const long t = at / n_blocks;
    const __global uchar *row = w + min(r, n_out - 1) * fal_row_bytes(type, n_in); /* w[r,:] */
    const float sum = fal_sum_32(part, fal_lane_times(type, row, n_in, lane, x + t * n_in));
    if (lane == 0 && r < n_out) y[t * n_out + r] = sum;
}

/* One work-group per tile of FAL_SIDE rows and FAL_SIDE tokens; the row tiles of the same tokens are neighbours. Sums
   have another order than above, the same for every token. */
static void matmul_tiled(__local float *tile, int type, ARGS)
{
    SELECT(get_group_id(0), FAL_SIDE, (n_tokens + FAL_SIDE - 1) / FAL_SIDE)
    const long n_blocks = (n_out + FAL_SIDE - 1) / FAL_SIDE;
    const int r0 = (int)(at % n_blocks) * FAL_SIDE;
    const int t0 = (int)(at / n_blocks) * FAL_SIDE;
    const __global uchar *row = w + min(r0 + fal_tile_row(), n_out - 1) * fal_row_bytes(type, n_in); /* w[r,:] */
    const __global float *x_t = x + (long)min(t0 + fal_tile_token(), n_tokens - 1) * n_in; /* x[t,:] */
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
    FAL_KERNEL fal_cl_matmul_##name(ARGS)                                                                              \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __local float part[FAL_GROUP];                                                                                 \
        matmul(part, type, PASS);                                                                                      \
    }                                                                                                                  \
    FAL_KERNEL fal_cl_matmul__tiled_##name(ARGS)                                                                       \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __local float tile[FAL_TILE_FLOATS] __attribute__((aligned(16)));                                              \
        matmul_tiled(tile, type, PASS);                                                                                \
    }

#endif

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
