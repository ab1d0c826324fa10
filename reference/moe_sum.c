/* moe_sum: y[t,:] = sum_s weights[t,s] x[t,s,:], the experts' results brought together. */
#include "reference/reference.h"

#include "harness/args.h"

fal_status fal_reference_moe_sum(fal_context *ctx, const fal_moe_sum_args *a, fal_error *err)
{
    const fal_status st = fal_moe_sum_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_used = (size_t)a->n_expert_used, n_embd = (size_t)a->n_embd;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const float *x_t = a->x + t * n_used * n_embd;   /* x[t,:,:] */
        const float *weights_t = a->weights + t * n_used; /* weights[t,:] */
        float *y_t = a->y + t * n_embd;
        for (size_t i = 0; i < n_embd; i++) {
            double sum = 0.0;
            for (size_t s = 0; s < n_used; s++) sum += (double)weights_t[s] * (double)x_t[s * n_embd + i];
            y_t[i] = (float)sum;
        }
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_moe_sum);
    return FAL_OK;
}
