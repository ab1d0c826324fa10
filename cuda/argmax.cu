/* argmax: the index of the largest x[r,:], ties to the lower index; NaN is larger than every number. */
#include "quant.cuh"

/* A float as an integer with the same order; -0 equals 0, all NaN are equal and largest. */
static __device__ __forceinline__ unsigned order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const unsigned bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* One block per row. */
FAL_KERNEL fal_cu_argmax(int n_rows, int n_cols, const float *x, int *ids)
{
    fal_begin();
    __shared__ unsigned keys[FAL_GROUP];
    __shared__ int bests[FAL_GROUP];
    const long r = blockIdx.x;
    const int id = (int)threadIdx.x;
    const float *x_r = x + r * n_cols; /* x[r,:] */
    unsigned best_key = 0;
    int best = INT_MAX; /* threads without a column lose every comparison */
    FAL_UNROLL(16)
    for (int i = id; i < n_cols; i += FAL_GROUP) {
        const unsigned key = order_key(x_r[i]);
        if (best == INT_MAX || key > best_key) {
            best_key = key;
            best = i;
        }
    }
    keys[id] = best_key;
    bests[id] = best;
    for (int d = FAL_GROUP / 2; d > 0; d /= 2) {
        __syncthreads();
        if (id < d && (keys[id + d] > keys[id] || (keys[id + d] == keys[id] && bests[id + d] < bests[id]))) {
            keys[id] = keys[id + d];
            bests[id] = bests[id + d];
        }
    }
    if (id == 0) ids[r] = bests[0];
}
