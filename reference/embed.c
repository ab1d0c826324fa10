/* embed: y[t,:] = row tokens[t] of w, decoded. */
#include "reference/reference.h"

#include "harness/args.h"

fal_status fal_reference_embed(fal_context *ctx, const fal_embed_args *a, fal_error *err)
{
    const fal_status st = fal_embed_args_check(a, err);
    if (st != FAL_OK) return st;
    const fal_dequant_fn dequant = fal_dequant_find(a->type);
    const size_t n_embd = (size_t)a->n_embd;
    const size_t row_bytes = fal_type_row_bytes(a->type, n_embd);
    const size_t n_blocks = n_embd / fal_type_get(a->type)->block_elems;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const unsigned char *row = (const unsigned char *)a->w + (size_t)a->tokens[t] * row_bytes;
        dequant(row, n_blocks, a->y + t * n_embd);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_embed);
    return FAL_OK;
}
