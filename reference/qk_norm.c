/* qk_norm: rmsnorm over head_dim of every head, with one weight for all heads. */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>

fal_status fal_reference_qk_norm(fal_context *ctx, const fal_qk_norm_args *a, fal_error *err)
{
    const fal_status st = fal_qk_norm_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t head_dim = (size_t)a->head_dim;
    const size_t n_rows = (size_t)a->n_tokens * (size_t)a->n_head;
    for (size_t r = 0; r < n_rows; r++) {
        const float *x_r = a->x + r * head_dim; /* x[t,h,:], r = t n_head + h */
        float *y_r = a->y + r * head_dim;
        double sum = 0.0;
        for (size_t i = 0; i < head_dim; i++) sum += (double)x_r[i] * (double)x_r[i];
        const double root = sqrt(sum / (double)head_dim + (double)a->eps);
        for (size_t i = 0; i < head_dim; i++) y_r[i] = (float)((double)x_r[i] * (double)a->w[i] / root);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_qk_norm);
    return FAL_OK;
}
