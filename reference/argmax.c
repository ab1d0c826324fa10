/* argmax: the index of the largest element of a row; ties to the lower index, NaN larger than every number. */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>

fal_status fal_reference_argmax(fal_context *ctx, const fal_argmax_args *a, fal_error *err)
{
    const fal_status st = fal_argmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_cols = (size_t)a->n_cols;
    for (size_t r = 0; r < (size_t)a->n_rows; r++) {
        const float *x_r = a->x + r * n_cols; /* x[r,:] */
        int best = 0;
        for (int c = 1; c < a->n_cols && !isnan(x_r[best]); c++)
            if (x_r[c] > x_r[best] || isnan(x_r[c])) best = c;
        a->ids[r] = best;
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_argmax);
    return FAL_OK;
}
