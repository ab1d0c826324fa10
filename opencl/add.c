/* add on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_add_run(fal_context *ctx, int n_tokens, int n_embd, const fal_cl_buffer *a, const fal_cl_buffer *b,
                          fal_cl_buffer *y, fal_error *err)
{
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens), FAL_CL_INT(n_embd), FAL_CL_BUFFER(a), FAL_CL_BUFFER(b),
                                FAL_CL_BUFFER(y) };
    const size_t n_items = fal_cl_is_cpu(ctx) ? (size_t)n_tokens : (size_t)n_tokens * (size_t)n_embd;
    return FAL_CL_LAUNCH(ctx, "add", NULL, NULL, fal_cl_groups(ctx, n_items), args, err);
}

fal_status fal_cl_add(fal_context *ctx, const fal_add_args *a, fal_error *err)
{
    fal_status st = fal_add_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    fal_cl_buffer *left = NULL, *right = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "a", a->a, bytes, &left, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "b", a->b, bytes, &right, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_add_run(ctx, a->n_tokens, a->n_embd, left, right, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, right);
    fal_cl_free(ctx, left);
    return st;
}
