/* swiglu on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_swiglu_run(fal_context *ctx, int n_rows, int n_ff, const fal_cl_buffer *gate, const fal_cl_buffer *up,
                             fal_cl_buffer *y, fal_error *err)
{
    const fal_cl_arg args[] = { FAL_CL_INT(n_rows), FAL_CL_INT(n_ff), FAL_CL_BUFFER(gate), FAL_CL_BUFFER(up),
                                FAL_CL_BUFFER(y) };
    const size_t n_items = fal_cl_is_cpu(ctx) ? (size_t)n_rows : (size_t)n_rows * (size_t)n_ff;
    return FAL_CL_LAUNCH(ctx, "swiglu", NULL, NULL, fal_cl_groups(ctx, n_items), args, err);
}

fal_status fal_cl_swiglu(fal_context *ctx, const fal_swiglu_args *a, fal_error *err)
{
    fal_status st = fal_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cl_bytes(sizeof(float), a->n_rows, a->n_ff, 1);
    fal_cl_buffer *gate = NULL, *up = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "gate", a->gate, bytes, &gate, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "up", a->up, bytes, &up, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_swiglu_run(ctx, a->n_rows, a->n_ff, gate, up, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, up);
    fal_cl_free(ctx, gate);
    return st;
}
