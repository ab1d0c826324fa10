/* embed on an OpenCL device: rows of the token embedding, dequantised. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_embed_run(fal_context *ctx, int n_tokens, int n_embd, uint32_t type, const fal_cl_buffer *w,
                            const fal_cl_buffer *tokens, fal_cl_buffer *y, fal_error *err)
{
    const char *type_name = NULL;
    const fal_status st = fal_cl_type_name("embed", type, &type_name, err);
    if (st != FAL_OK) return st;
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens), FAL_CL_INT(n_embd), FAL_CL_BUFFER(w), FAL_CL_BUFFER(tokens),
                                FAL_CL_BUFFER(y) };
    return FAL_CL_LAUNCH(ctx, "embed", NULL, type_name, fal_cl_row_groups(ctx, (size_t)n_tokens), args, err);
}

fal_status fal_cl_embed(fal_context *ctx, const fal_embed_args *a, fal_error *err)
{
    fal_status st = fal_embed_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t y_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    const size_t w_bytes = fal_cl_bytes(fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_vocab, 1, 1);
    fal_cl_buffer *w = NULL, *tokens = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "w", a->w, w_bytes, &w, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "tokens", a->tokens, fal_cl_bytes(4, a->n_tokens, 1, 1), &tokens, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK) st = fal_cl_embed_run(ctx, a->n_tokens, a->n_embd, a->type, w, tokens, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, tokens);
    fal_cl_free(ctx, w);
    return st;
}
