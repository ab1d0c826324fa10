/* embed on a CUDA device: rows of the token embedding, dequantised. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_embed_run(fal_context *ctx, int n_tokens, int n_embd, uint32_t type, const fal_cu_buffer *w,
                            const fal_cu_buffer *tokens, fal_cu_buffer *y, fal_error *err)
{
    const char *type_name = NULL;
    const fal_status st = fal_cu_type_name("embed", type, &type_name, err);
    if (st != FAL_OK) return st;
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_embd), FAL_CU_BUFFER(w), FAL_CU_BUFFER(tokens),
                                FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "embed", NULL, type_name, fal_cu_row_groups(ctx, (size_t)n_tokens), args, err);
}

fal_status fal_cu_embed(fal_context *ctx, const fal_embed_args *a, fal_error *err)
{
    fal_status st = fal_embed_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t y_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_embd, 1);
    const size_t w_bytes = fal_cu_bytes(fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_vocab, 1, 1);
    fal_cu_buffer *w = NULL, *tokens = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "w", a->w, w_bytes, &w, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "tokens", a->tokens, fal_cu_bytes(4, a->n_tokens, 1, 1), &tokens, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK) st = fal_cu_embed_run(ctx, a->n_tokens, a->n_embd, a->type, w, tokens, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, tokens);
    fal_cu_free(ctx, w);
    return st;
}
