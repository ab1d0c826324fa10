/* rmsnorm: y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>

fal_status fal_reference_rmsnorm(fal_context *ctx, const fal_rmsnorm_args *a, fal_error *err)
{
    const fal_status st = fal_rmsnorm_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_embd = (size_t)a->n_embd;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const float *x_t = a->x + t * n_embd; /* x[t,:] */
        float *y_t = a->y + t * n_embd;
        double sum = 0.0; /* of squares; a square of an f32 is exact in float64 */
        for (size_t i = 0; i < n_embd; i++) sum += (double)x_t[i] * (double)x_t[i];
        const double root = sqrt(sum / (double)n_embd + (double)a->eps);
        for (size_t i = 0; i < n_embd; i++) y_t[i] = (float)((double)x_t[i] * (double)a->w[i] / root);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_rmsnorm);
    return FAL_OK;
}
