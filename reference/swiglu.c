/* swiglu: y = silu(gate) * up with silu(g) = g / (1 + exp(-g)). */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>

fal_status fal_reference_swiglu(fal_context *ctx, const fal_swiglu_args *a, fal_error *err)
{
    const fal_status st = fal_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n = (size_t)a->n_rows * (size_t)a->n_ff;
    for (size_t i = 0; i < n; i++) {
        const double g = (double)a->gate[i];
        a->y[i] = (float)(g / (1.0 + exp(-g)) * (double)a->up[i]);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_swiglu);
    return FAL_OK;
}
