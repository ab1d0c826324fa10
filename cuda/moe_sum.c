/* moe_sum on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_moe_sum_run(fal_context *ctx, int n_tokens, int n_expert_used, int n_embd, const fal_cu_buffer *x,
                              const fal_cu_buffer *weights, fal_cu_buffer *y, fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_expert_used), FAL_CU_INT(n_embd), FAL_CU_BUFFER(x),
                                FAL_CU_BUFFER(weights), FAL_CU_BUFFER(y) };
    const size_t n_items = (size_t)n_tokens * (size_t)n_embd;
    return FAL_CU_LAUNCH(ctx, "moe_sum", NULL, NULL, fal_cu_groups(ctx, n_items), args, err);
}

fal_status fal_cu_moe_sum(fal_context *ctx, const fal_moe_sum_args *a, fal_error *err)
{
    fal_status st = fal_moe_sum_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t x_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_expert_used, a->n_embd);
    const size_t y_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    const size_t weights_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_expert_used, 1);
    fal_cu_buffer *x = NULL, *weights = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "x", a->x, x_bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "weights", a->weights, weights_bytes, &weights, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_moe_sum_run(ctx, a->n_tokens, a->n_expert_used, a->n_embd, x, weights, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, weights);
    fal_cu_free(ctx, x);
    return st;
}
