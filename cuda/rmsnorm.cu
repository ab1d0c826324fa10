/* rmsnorm: y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). */
#include "quant.cuh"

/* Every FAL_GROUP-th four of a row belongs to a thread, which holds on to the first KEPT of x and w: v and u. */
#define KEPT 4

/* The squares of a thread's fours. whole: as for fal_load_4. */
static __device__ __forceinline__ float4 squares_of(bool whole, int n_embd, const float *x, const float *w, float4 *v, float4 *u)
{
    const int id = 4 * (int)threadIdx.x, step = 4 * FAL_GROUP;
    float4 squares = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    FAL_UNROLL(KEPT)
    for (int j = 0; j < KEPT; j++) {
        const int i = id + j * step;
        if (i < n_embd) v[j] = fal_load_4(whole, x, i, n_embd);
        if (i < n_embd) u[j] = fal_load_4(whole, w, i, n_embd);
    }
    FAL_UNROLL(KEPT)
    for (int j = 0; j < KEPT; j++)
        if (id + j * step < n_embd) squares += v[j] * v[j];
    for (int i = id + KEPT * step; i < n_embd; i += step) {
        const float4 v_i = fal_load_4(whole, x, i, n_embd);
        squares += v_i * v_i;
    }
    return squares;
}

static __device__ __forceinline__ void divide(bool whole, int n_embd, float root, const float *x, const float *w, const float4 *v,
                   const float4 *u, float *y)
{
    const int id = 4 * (int)threadIdx.x, step = 4 * FAL_GROUP;
    FAL_UNROLL(KEPT)
    for (int j = 0; j < KEPT; j++)
        if (id + j * step < n_embd) fal_store_4(v[j] / root * u[j], y, id + j * step, n_embd);
    for (int i = id + KEPT * step; i < n_embd; i += step) {
        const float4 v_i = fal_load_4(whole, x, i, n_embd) / root;
        fal_store_4(v_i * fal_load_4(whole, w, i, n_embd), y, i, n_embd);
    }
}

/* One block per token. */
FAL_KERNEL fal_cu_rmsnorm(int n_tokens, int n_embd, float eps, const float *x, const float *w,
                          float *y)
{
    fal_begin();
    __shared__ float part[FAL_GROUP];
    const long at = (long)blockIdx.x * n_embd; /* of x[t,:] */
    const bool whole = n_embd % 4 == 0;
    float4 v[KEPT], u[KEPT], s;
    if (whole) s = squares_of(true, n_embd, x + at, w, v, u);
    else s = squares_of(false, n_embd, x + at, w, v, u);
    const float root = sqrt(fal_sum_group(part, (s.x + s.y) + (s.z + s.w)) / (float)n_embd + eps);
    if (whole) divide(true, n_embd, root, x + at, w, v, u, y + at);
    else divide(false, n_embd, root, x + at, w, v, u, y + at);
}
