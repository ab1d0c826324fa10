/* moe_sum: y[t,:] = sum_s weights[t,s] x[t,s,:], in the order of s. */
#include "quant.cuh"

/* One thread per element of y. */
FAL_KERNEL fal_cu_moe_sum(int n_tokens, int n_expert_used, int n_embd, const float *x,
                          const float *weights, float *y)
{
    fal_begin();
    const long at = fal_global_id(); /* y[t,i], flat */
    if (at >= (long)n_tokens * n_embd) return;
    const long t = at / n_embd;
    const float *x_i = x + t * n_expert_used * n_embd + at % n_embd; /* x[t,:,i] */
    float sum = 0.0f;
    for (int s = 0; s < n_expert_used; s++) sum += weights[t * n_expert_used + s] * x_i[(long)s * n_embd];
    y[at] = sum;
}
