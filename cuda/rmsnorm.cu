/* rmsnorm: y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). */
#include "quant.cuh"

/* One block per token. */
FAL_KERNEL fal_cu_rmsnorm(int n_tokens, int n_embd, float eps, const float *x, const float *w,
                          float *y)
{
    __shared__ float part[FAL_GROUP];
    const long t = blockIdx.x;
    const int first = (int)threadIdx.x;
    const float *x_t = x + t * n_embd; /* x[t,:] */
    float *y_t = y + t * n_embd;
    float squares = 0.0f;
    for (int i = first; i < n_embd; i += FAL_GROUP) squares += x_t[i] * x_t[i];
    const float root = sqrt(fal_sum_group(part, squares) / (float)n_embd + eps);
    for (int i = first; i < n_embd; i += FAL_GROUP) y_t[i] = (x_t[i] / root) * w[i];
}

