/* qk_norm on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_qk_norm_run(fal_context *ctx, int n_tokens, int n_head, int head_dim, float eps,
                              const fal_cu_buffer *x, const fal_cu_buffer *w, fal_cu_buffer *y, fal_error *err)
{
    const size_t n_rows = (size_t)n_tokens * (size_t)n_head;
    const fal_cu_arg args[] = { FAL_CU_LONG(n_rows), FAL_CU_INT(head_dim), FAL_CU_FLOAT(eps), FAL_CU_BUFFER(x),
                                FAL_CU_BUFFER(w), FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "qk_norm", NULL, NULL, fal_cu_row_groups(ctx, n_rows), args, err);
}

fal_status fal_cu_qk_norm(fal_context *ctx, const fal_qk_norm_args *a, fal_error *err)
{
    fal_status st = fal_qk_norm_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    fal_cu_buffer *x = NULL, *w = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "x", a->x, bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "w", a->w, fal_cu_bytes(sizeof(float), a->head_dim, 1, 1), &w, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_qk_norm_run(ctx, a->n_tokens, a->n_head, a->head_dim, a->eps, x, w, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, w);
    fal_cu_free(ctx, x);
    return st;
}
