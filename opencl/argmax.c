/* argmax on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_argmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cl_buffer *x, fal_cl_buffer *ids,
                             fal_error *err)
{
    const fal_cl_arg args[] = { FAL_CL_INT(n_rows), FAL_CL_INT(n_cols), FAL_CL_BUFFER(x), FAL_CL_BUFFER(ids) };
    return FAL_CL_LAUNCH(ctx, "argmax", NULL, NULL, (size_t)n_rows, args, err);
}

fal_status fal_cl_argmax(fal_context *ctx, const fal_argmax_args *a, fal_error *err)
{
    fal_status st = fal_argmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t ids_bytes = fal_cl_bytes(sizeof(int32_t), a->n_rows, 1, 1);
    fal_cl_buffer *x = NULL, *ids = NULL;
    st = fal_cl_upload(ctx, "x", a->x, fal_cl_bytes(sizeof(float), a->n_rows, a->n_cols, 1), &x, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "ids", ids_bytes, &ids, err);
    if (st == FAL_OK) st = fal_cl_argmax_run(ctx, a->n_rows, a->n_cols, x, ids, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, ids, 0, a->ids, ids_bytes, err);
    fal_cl_free(ctx, ids);
    fal_cl_free(ctx, x);
    return st;
}
