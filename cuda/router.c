/* router on a CUDA device: top-k of the probabilities, weights renormalised. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_router_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used,
                             const fal_cu_buffer *probs, const fal_cu_buffer *pinned, fal_cu_buffer *ids,
                             fal_cu_buffer *weights, fal_error *err)
{
    const int is_pinned = pinned != NULL;
    if (!is_pinned) pinned = ids; /* never read then, but an argument must be a buffer */
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_expert), FAL_CU_INT(n_expert_used),
                                FAL_CU_INT(is_pinned), FAL_CU_BUFFER(probs), FAL_CU_BUFFER(pinned), FAL_CU_BUFFER(ids),
                                FAL_CU_BUFFER(weights) };
    return FAL_CU_LAUNCH(ctx, "router", NULL, NULL, (size_t)n_tokens, args, err);
}

fal_status fal_cu_router(fal_context *ctx, const fal_router_args *a, fal_error *err)
{
    fal_status st = fal_router_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(4, a->n_tokens, a->n_expert_used, 1); /* of ids, and of weights */
    fal_cu_buffer *probs = NULL, *pinned = NULL, *ids = NULL, *weights = NULL;
    st = fal_cu_upload(ctx, "probs", a->probs, fal_cu_bytes(sizeof(float), a->n_tokens, a->n_expert, 1), &probs, err);
    if (st == FAL_OK && a->pinned_ids) st = fal_cu_upload(ctx, "pinned_ids", a->pinned_ids, bytes, &pinned, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "ids", bytes, &ids, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "weights", bytes, &weights, err);
    if (st == FAL_OK)
        st = fal_cu_router_run(ctx, a->n_tokens, a->n_expert, a->n_expert_used, probs, pinned, ids, weights, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, ids, 0, a->ids, bytes, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, weights, 0, a->weights, bytes, err);
    fal_cu_free(ctx, weights);
    fal_cu_free(ctx, ids);
    fal_cu_free(ctx, pinned);
    fal_cu_free(ctx, probs);
    return st;
}
