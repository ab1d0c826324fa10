/* add on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_add_run(fal_context *ctx, int n_tokens, int n_embd, const fal_cu_buffer *a, const fal_cu_buffer *b,
                          fal_cu_buffer *y, fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_embd), FAL_CU_BUFFER(a), FAL_CU_BUFFER(b),
                                FAL_CU_BUFFER(y) };
    const size_t n_items = (size_t)n_tokens * (size_t)n_embd;
    return FAL_CU_LAUNCH(ctx, "add", NULL, NULL, fal_cu_groups(ctx, n_items), args, err);
}

fal_status fal_cu_add(fal_context *ctx, const fal_add_args *a, fal_error *err)
{
    fal_status st = fal_add_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    fal_cu_buffer *left = NULL, *right = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "a", a->a, bytes, &left, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "b", a->b, bytes, &right, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_add_run(ctx, a->n_tokens, a->n_embd, left, right, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, right);
    fal_cu_free(ctx, left);
    return st;
}
