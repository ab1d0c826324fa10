/* qk_norm on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_qk_norm_run(fal_context *ctx, int n_tokens, int n_head, int head_dim, float eps,
                              const fal_cl_buffer *x, const fal_cl_buffer *w, fal_cl_buffer *y, fal_error *err)
{
    const size_t n_rows = (size_t)n_tokens * (size_t)n_head;
    const fal_cl_arg args[] = { FAL_CL_LONG(n_rows), FAL_CL_INT(head_dim), FAL_CL_FLOAT(eps), FAL_CL_BUFFER(x),
                                FAL_CL_BUFFER(w), FAL_CL_BUFFER(y) };
    return FAL_CL_LAUNCH(ctx, "qk_norm", NULL, NULL, fal_cl_row_groups(ctx, n_rows), args, err);
}

fal_status fal_cl_qk_norm(fal_context *ctx, const fal_qk_norm_args *a, fal_error *err)
{
    fal_status st = fal_qk_norm_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    fal_cl_buffer *x = NULL, *w = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "x", a->x, bytes, &x, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "w", a->w, fal_cl_bytes(sizeof(float), a->head_dim, 1, 1), &w, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_qk_norm_run(ctx, a->n_tokens, a->n_head, a->head_dim, a->eps, x, w, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, w);
    fal_cl_free(ctx, x);
    return st;
}
