/* qk_norm on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_qk_norm_run(fal_context *ctx, int n_tokens, int head_dim, float eps, const fal_cl_heads *h, int n,
                              fal_error *err)
{
    const fal_cl_heads none = { .x = h->x, .w = h->w, .y = h->y }, *second = n > 1 ? h + 1 : &none;
    const size_t n_rows = (size_t)n_tokens * (size_t)h->n_head, n_more = (size_t)n_tokens * (size_t)second->n_head;
    const fal_cl_arg args[] = { FAL_CL_LONG(n_rows),      FAL_CL_LONG(n_more), FAL_CL_INT(head_dim),     FAL_CL_FLOAT(eps),
                                FAL_CL_BUFFER(h->x),      FAL_CL_BUFFER(second->x), FAL_CL_BUFFER(h->w), FAL_CL_BUFFER(second->w),
                                FAL_CL_BUFFER(h->y),      FAL_CL_BUFFER(second->y) };
    return FAL_CL_LAUNCH(ctx, "qk_norm", NULL, NULL, fal_cl_row_groups(ctx, n_rows + n_more), args, err);
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
    const fal_cl_heads all = { a->n_head, x, w, y };
    if (st == FAL_OK) st = fal_cl_qk_norm_run(ctx, a->n_tokens, a->head_dim, a->eps, &all, 1, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, w);
    fal_cl_free(ctx, x);
    return st;
}
