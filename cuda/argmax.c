/* argmax on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_argmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cu_buffer *x, fal_cu_buffer *ids,
                             fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_rows), FAL_CU_INT(n_cols), FAL_CU_BUFFER(x), FAL_CU_BUFFER(ids) };
    return FAL_CU_LAUNCH(ctx, "argmax", NULL, NULL, (size_t)n_rows, args, err);
}

fal_status fal_cu_argmax(fal_context *ctx, const fal_argmax_args *a, fal_error *err)
{
    fal_status st = fal_argmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t ids_bytes = fal_cu_bytes(sizeof(int32_t), a->n_rows, 1, 1);
    fal_cu_buffer *x = NULL, *ids = NULL;
    st = fal_cu_upload(ctx, "x", a->x, fal_cu_bytes(sizeof(float), a->n_rows, a->n_cols, 1), &x, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "ids", ids_bytes, &ids, err);
    if (st == FAL_OK) st = fal_cu_argmax_run(ctx, a->n_rows, a->n_cols, x, ids, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, ids, 0, a->ids, ids_bytes, err);
    fal_cu_free(ctx, ids);
    fal_cu_free(ctx, x);
    return st;
}
