/* moe_swiglu on an OpenCL device: both products in one launch where that can be, and swiglu of them. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_moe_swiglu_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_embd, int n_ff,
                                 uint32_t type, const fal_cl_buffer *w_gate, const fal_cl_buffer *w_up, const fal_cl_buffer *x,
                                 const fal_cl_buffer *ids, fal_cl_buffer *lists, fal_cl_buffer *gate, fal_cl_buffer *up,
                                 fal_cl_buffer *y, fal_error *err)
{
    const fal_cl_product both[] = { { n_ff, w_gate, gate }, { n_ff, w_up, up } };
    const fal_status st =
        fal_cl_moe_matmul_run(ctx, n_tokens, n_expert, n_expert_used, n_embd, false, type, x, ids, lists, both, 2, err);
    return st == FAL_OK ? fal_cl_swiglu_run(ctx, n_tokens * n_expert_used, n_ff, gate, up, y, err) : st;
}

fal_status fal_cl_moe_swiglu(fal_context *ctx, const fal_moe_swiglu_args *a, fal_error *err)
{
    fal_status st = fal_moe_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t w_bytes = fal_cl_bytes(fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_ff, a->n_expert, 1);
    const size_t y_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_expert_used, a->n_ff);
    fal_cl_buffer *w_gate = NULL, *w_up = NULL, *x = NULL, *ids = NULL, *lists = NULL, *gate = NULL, *up = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "w_gate", a->w_gate, w_bytes, &w_gate, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "w_up", a->w_up, w_bytes, &w_up, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "x", a->x, fal_cl_bytes(sizeof(float), a->n_tokens, a->n_embd, 1), &x, err);
    if (st == FAL_OK)
        st = fal_cl_upload(ctx, "ids", a->ids, fal_cl_bytes(sizeof(int32_t), a->n_tokens, a->n_expert_used, 1), &ids, err);
    if (st == FAL_OK)
        st = fal_cl_alloc(ctx, "lists", fal_cl_moe_lists_bytes(a->n_tokens, a->n_expert, a->n_expert_used), &lists, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "gate", y_bytes, &gate, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "up", y_bytes, &up, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK)
        st = fal_cl_moe_swiglu_run(ctx, a->n_tokens, a->n_expert, a->n_expert_used, a->n_embd, a->n_ff, a->type, w_gate,
                                   w_up, x, ids, lists, gate, up, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, up);
    fal_cl_free(ctx, gate);
    fal_cl_free(ctx, lists);
    fal_cl_free(ctx, ids);
    fal_cl_free(ctx, x);
    fal_cl_free(ctx, w_up);
    fal_cl_free(ctx, w_gate);
    return st;
}
