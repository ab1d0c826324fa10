/* kv_store: the new keys and values go into their slots of the cache; other slots keep their bytes. */
#include "reference/reference.h"

#include "harness/args.h"
#include "harness/half.h"

#include <string.h>

static void round_to_half(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = fal_half_to_float(fal_float_to_half(x[i]));
}

fal_status fal_reference_kv_store(fal_context *ctx, const fal_kv_store_args *a, fal_error *err)
{
    const fal_status st = fal_kv_store_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t slot = (size_t)a->n_head_kv * (size_t)a->head_dim; /* elements of one position */
    const size_t first = (size_t)a->first_pos * slot;
    const size_t bytes = (size_t)a->n_tokens * slot * sizeof(float);
    memcpy(a->k_cache + first, a->k, bytes);
    memcpy(a->v_cache + first, a->v, bytes);
    if (ctx && ctx->has_half_cache) {
        round_to_half(a->k_cache + first, bytes / sizeof(float));
        round_to_half(a->v_cache + first, bytes / sizeof(float));
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_kv_store);
    return FAL_OK;
}
