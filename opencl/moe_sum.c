/* moe_sum on an OpenCL device. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_moe_sum_run(fal_context *ctx, int n_tokens, int n_expert_used, int n_embd, const fal_cl_buffer *x,
                              const fal_cl_buffer *weights, fal_cl_buffer *y, fal_error *err)
{
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens), FAL_CL_INT(n_expert_used), FAL_CL_INT(n_embd), FAL_CL_BUFFER(x),
                                FAL_CL_BUFFER(weights), FAL_CL_BUFFER(y) };
    const size_t n_items = fal_cl_is_cpu(ctx) ? (size_t)n_tokens : (size_t)n_tokens * (size_t)n_embd;
    return FAL_CL_LAUNCH(ctx, "moe_sum", NULL, NULL, fal_cl_groups(ctx, n_items), args, err);
}

fal_status fal_cl_moe_sum(fal_context *ctx, const fal_moe_sum_args *a, fal_error *err)
{
    fal_status st = fal_moe_sum_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t x_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_expert_used, a->n_embd);
    const size_t y_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    const size_t weights_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_expert_used, 1);
    fal_cl_buffer *x = NULL, *weights = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "x", a->x, x_bytes, &x, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "weights", a->weights, weights_bytes, &weights, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_moe_sum_run(ctx, a->n_tokens, a->n_expert_used, a->n_embd, x, weights, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, weights);
    fal_cl_free(ctx, x);
    return st;
}
