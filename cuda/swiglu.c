/* swiglu on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_swiglu_run(fal_context *ctx, int n_rows, int n_ff, const fal_cu_buffer *gate, const fal_cu_buffer *up,
                             fal_cu_buffer *y, fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_rows), FAL_CU_INT(n_ff), FAL_CU_BUFFER(gate), FAL_CU_BUFFER(up),
                                FAL_CU_BUFFER(y) };
    const size_t n_items = (size_t)n_rows * (size_t)n_ff;
    return FAL_CU_LAUNCH(ctx, "swiglu", NULL, NULL, fal_cu_groups(ctx, n_items), args, err);
}

fal_status fal_cu_swiglu(fal_context *ctx, const fal_swiglu_args *a, fal_error *err)
{
    fal_status st = fal_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(sizeof(float), a->n_rows, a->n_ff, 1);
    fal_cu_buffer *gate = NULL, *up = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "gate", a->gate, bytes, &gate, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "up", a->up, bytes, &up, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_swiglu_run(ctx, a->n_rows, a->n_ff, gate, up, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, up);
    fal_cu_free(ctx, gate);
    return st;
}
