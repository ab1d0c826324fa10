/* router on an OpenCL device: top-k of the probabilities, weights renormalised. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_router_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used,
                             const fal_cl_buffer *probs, const fal_cl_buffer *pinned, fal_cl_buffer *ids,
                             fal_cl_buffer *weights, fal_error *err)
{
    const int is_pinned = pinned != NULL;
    if (!is_pinned) pinned = ids; /* never read then, but an argument must be a buffer */
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens), FAL_CL_INT(n_expert), FAL_CL_INT(n_expert_used),
                                FAL_CL_INT(is_pinned), FAL_CL_BUFFER(probs), FAL_CL_BUFFER(pinned), FAL_CL_BUFFER(ids),
                                FAL_CL_BUFFER(weights) };
    return FAL_CL_LAUNCH(ctx, "router", NULL, NULL, (size_t)n_tokens, args, err);
}

fal_status fal_cl_router(fal_context *ctx, const fal_router_args *a, fal_error *err)
{
    fal_status st = fal_router_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cl_bytes(4, a->n_tokens, a->n_expert_used, 1); /* of ids, and of weights */
    fal_cl_buffer *probs = NULL, *pinned = NULL, *ids = NULL, *weights = NULL;
    st = fal_cl_upload(ctx, "probs", a->probs, fal_cl_bytes(sizeof(float), a->n_tokens, a->n_expert, 1), &probs, err);
    if (st == FAL_OK && a->pinned_ids) st = fal_cl_upload(ctx, "pinned_ids", a->pinned_ids, bytes, &pinned, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "ids", bytes, &ids, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "weights", bytes, &weights, err);
    if (st == FAL_OK)
        st = fal_cl_router_run(ctx, a->n_tokens, a->n_expert, a->n_expert_used, probs, pinned, ids, weights, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, ids, 0, a->ids, bytes, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, weights, 0, a->weights, bytes, err);
    fal_cl_free(ctx, weights);
    fal_cl_free(ctx, ids);
    fal_cl_free(ctx, pinned);
    fal_cl_free(ctx, probs);
    return st;
}
