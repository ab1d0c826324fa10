/* softmax on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_softmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cl_buffer *x, fal_cl_buffer *y,
                              fal_error *err)
{
    const fal_cl_arg args[] = { FAL_CL_INT(n_rows), FAL_CL_INT(n_cols), FAL_CL_BUFFER(x), FAL_CL_BUFFER(y) };
    return FAL_CL_LAUNCH(ctx, "softmax", NULL, NULL, (size_t)n_rows, args, err);
}

fal_status fal_cl_softmax(fal_context *ctx, const fal_softmax_args *a, fal_error *err)
{
    fal_status st = fal_softmax_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cl_bytes(sizeof(float), a->n_rows, a->n_cols, 1);
    fal_cl_buffer *x = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "x", a->x, bytes, &x, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_softmax_run(ctx, a->n_rows, a->n_cols, x, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, x);
    return st;
}
