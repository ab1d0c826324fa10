/* matmul: y[t,r] = sum_c w[r,c] x[t,c], weights in file format. */
#include "quant.cuh"

#define ARGS                                                                                                           \
    int n_tokens, int n_in, int n_out, const unsigned char *w, const float *x, float *y
#define PASS n_tokens, n_in, n_out, w, x, y

/* One slice of 32 lanes per row, for n_tile (a constant after inlining) tokens. A token's sum has the same order in
   either kernel, so its result does not depend on how many came with it. */
static __device__ void matmul(float *part, int type, int n_tile, ARGS)
{
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)threadIdx.x & 31;
    const int r = (int)(blockIdx.x % n_blocks) * (FAL_GROUP / 32) + (int)threadIdx.x / 32;
    const int t0 = (int)(blockIdx.x / n_blocks) * n_tile;
    const unsigned char *row = w + min(r, n_out - 1) * fal_row_bytes(type, n_in); /* w[r,:] */
    float4 sum[FAL_TILE];
    for (int j = 0; j < n_tile; j++) sum[j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const int n_steps = (n_in + FAL_STEP - 1) / FAL_STEP;
    for (int step = 0; step < n_steps; step++) {
        float4 a, b;
        int at_a, at_b;
        fal_lane_weights(type, row, n_in, step, lane, &a, &b, &at_a, &at_b);
        for (int j = 0; j < n_tile; j++) {
            const float *x_t = x + (long)min(t0 + j, n_tokens - 1) * n_in; /* x[t,:] */
            sum[j] += a * fal_load_4(x_t, at_a, n_in) + b * fal_load_4(x_t, at_b, n_in);
        }
    }
    for (int j = 0; j < n_tile; j++) {
        const float total = fal_sum_32(part, (sum[j].x + sum[j].y) + (sum[j].z + sum[j].w));
        if (lane == 0 && r < n_out && t0 + j < n_tokens) y[(long)(t0 + j) * n_out + r] = total;
    }
}
#define KERNEL(name, type)                                                                                             \
    FAL_KERNEL fal_cu_matmul_##name(ARGS)                                                                              \
    {                                                                                                                  \
        __shared__ float part[FAL_GROUP];                                                                                 \
        matmul(part, type, 1, PASS);                                                                                   \
    }                                                                                                                  \
    FAL_KERNEL fal_cu_matmul__tiled_##name(ARGS)                                                                       \
    {                                                                                                                  \
        __shared__ float part[FAL_GROUP];                                                                                 \
        matmul(part, type, FAL_TILE, PASS);                                                                            \
    }

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
