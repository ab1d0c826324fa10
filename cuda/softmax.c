/* softmax on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_softmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cu_buffer *x, fal_cu_buffer *y,
                              fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_rows), FAL_CU_INT(n_cols), FAL_CU_BUFFER(x), FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "softmax", NULL, NULL, (size_t)n_rows, args, err);
}

fal_status fal_cu_softmax(fal_context *ctx, const fal_softmax_args *a, fal_error *err)
{
    fal_status st = fal_softmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(sizeof(float), a->n_rows, a->n_cols, 1);
    fal_cu_buffer *x = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "x", a->x, bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_softmax_run(ctx, a->n_rows, a->n_cols, x, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, x);
    return st;
}
