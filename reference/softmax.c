/* softmax: y[r,:] = exp(x[r,:] - max) / sum. */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>

fal_status fal_reference_softmax(fal_context *ctx, const fal_softmax_args *a, fal_error *err)
{
    const fal_status st = fal_softmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_cols = (size_t)a->n_cols;
    for (size_t r = 0; r < (size_t)a->n_rows; r++) {
        const float *x_r = a->x + r * n_cols; /* x[r,:] */
        float *y_r = a->y + r * n_cols;
        double max = (double)x_r[0];
        for (size_t c = 1; c < n_cols; c++)
            if ((double)x_r[c] > max) max = (double)x_r[c];
        double sum = 0.0;
        for (size_t c = 0; c < n_cols; c++) sum += exp((double)x_r[c] - max);
        /* exp again rather than a row of scratch memory: rows are as short as the number of experts. */
        for (size_t c = 0; c < n_cols; c++) y_r[c] = (float)(exp((double)x_r[c] - max) / sum);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_softmax);
    return FAL_OK;
}
