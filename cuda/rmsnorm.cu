/* rmsnorm: y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). */
#include "quant.cuh"

/* Squares of every FAL_GROUP-th four of a row, and those fours of the result. whole: as for fal_load_4. */
static __device__ __forceinline__ float4 squares_of(bool whole, int n_embd, const float *x)
{
    float4 squares = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    FAL_UNROLL(4)
    for (int i = 4 * (int)threadIdx.x; i < n_embd; i += 4 * FAL_GROUP) {
        const float4 v = fal_load_4(whole, x, i, n_embd);
        squares += v * v;
    }
    return squares;
}

static __device__ __forceinline__ void divide(bool whole, int n_embd, float root, const float *x, const float *w,
                   float *y)
{
    FAL_UNROLL(4)
    for (int i = 4 * (int)threadIdx.x; i < n_embd; i += 4 * FAL_GROUP) {
        const float4 v = fal_load_4(whole, x, i, n_embd) / root;
        fal_store_4(v * fal_load_4(whole, w, i, n_embd), y, i, n_embd);
    }
}

/* One block per token. */
FAL_KERNEL fal_cu_rmsnorm(int n_tokens, int n_embd, float eps, const float *x, const float *w,
                          float *y)
{
    __shared__ float part[FAL_GROUP];
    const long at = (long)blockIdx.x * n_embd; /* of x[t,:] */
    const bool whole = n_embd % 4 == 0;
    const float4 v = whole ? squares_of(true, n_embd, x + at) : squares_of(false, n_embd, x + at);
    const float root = sqrt(fal_sum_group(part, (v.x + v.y) + (v.z + v.w)) / (float)n_embd + eps);
    if (whole) divide(true, n_embd, root, x + at, w, y + at);
    else divide(false, n_embd, root, x + at, w, y + at);
}
