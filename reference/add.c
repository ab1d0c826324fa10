/* add: y = a + b, the residual connection. */
#include "reference/reference.h"

#include "harness/args.h"

fal_status fal_reference_add(fal_context *ctx, const fal_add_args *a, fal_error *err)
{
    const fal_status st = fal_add_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n = (size_t)a->n_tokens * (size_t)a->n_embd;
    for (size_t i = 0; i < n; i++) a->y[i] = a->a[i] + a->b[i];
    fal_reference_ran(ctx, FAL_REFERENCE_OP_add);
    return FAL_OK;
}
