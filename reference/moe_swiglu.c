/* moe_swiglu: moe_matmul by gate and by up, each rounded to float32 as between the ops of a forward pass, and swiglu. */
#include "reference/reference.h"

#include "harness/args.h"

#include <stdlib.h>

fal_status fal_reference_moe_swiglu(fal_context *ctx, const fal_moe_swiglu_args *a, fal_error *err)
{
    fal_status st = fal_moe_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n = (size_t)a->n_tokens * (size_t)a->n_expert_used * (size_t)a->n_ff;
    float *gate = malloc(n * sizeof *gate), *up = malloc(n * sizeof *up);
    fal_moe_matmul_args product = { .n_tokens = a->n_tokens, .n_expert = a->n_expert, .n_expert_used = a->n_expert_used,
                                    .n_in = a->n_embd, .n_out = a->n_ff, .type = a->type, .w = a->w_gate, .x = a->x,
                                    .ids = a->ids, .y = gate };
    if (!gate || !up)
        st = fal_fail(err, FAL_ERR_MEMORY, "use fewer tokens per call", "moe_swiglu: no memory for %d tokens of %d slots of %d rows",
                      a->n_tokens, a->n_expert_used, a->n_ff);
    if (st == FAL_OK) st = fal_reference_moe_matmul(ctx, &product, err);
    product.w = a->w_up;
    product.y = up;
    if (st == FAL_OK) st = fal_reference_moe_matmul(ctx, &product, err);
    const fal_swiglu_args act = { .n_rows = a->n_tokens * a->n_expert_used, .n_ff = a->n_ff, .gate = gate, .up = up, .y = a->y };
    if (st == FAL_OK) st = fal_reference_swiglu(ctx, &act, err);
    if (st == FAL_OK) fal_reference_ran(ctx, FAL_REFERENCE_OP_moe_swiglu);
    free(up);
    free(gate);
    return st;
}
