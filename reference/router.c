/* router: the n_expert_used largest probabilities of a token, largest first, and their share of the sum. */
#include "reference/reference.h"

#include "harness/args.h"

#include <math.h>
#include <stdbool.h>

/* Whether expert a comes before expert b: larger first, NaN larger than every number (as in argmax), ties to the lower
   id. A total order, so ids are distinct and in range whatever the probabilities are. */
static bool before(const float *probs, int a, int b)
{
    const bool a_nan = isnan(probs[a]), b_nan = isnan(probs[b]);
    if (a_nan != b_nan) return a_nan;
    if (!a_nan && probs[a] != probs[b]) return probs[a] > probs[b];
    return a < b;
}

fal_status fal_reference_router(fal_context *ctx, const fal_router_args *a, fal_error *err)
{
    const fal_status st = fal_router_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_expert = (size_t)a->n_expert, n_used = (size_t)a->n_expert_used;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const float *probs_t = a->probs + t * n_expert; /* probs[t,:] */
        int32_t *ids_t = a->ids + t * n_used;
        float *weights_t = a->weights + t * n_used;
        for (size_t s = 0; s < n_used; s++) {
            if (a->pinned_ids) {
                ids_t[s] = a->pinned_ids[t * n_used + s];
                continue;
            }
            /* The next one is the first of all that come after the one chosen before. */
            int best = -1;
            for (int e = 0; e < a->n_expert; e++) {
                if (s > 0 && !before(probs_t, ids_t[s - 1], e)) continue;
                if (best < 0 || before(probs_t, e, best)) best = e;
            }
            ids_t[s] = best;
        }
        double sum = 0.0;
        for (size_t s = 0; s < n_used; s++) sum += (double)probs_t[ids_t[s]];
        for (size_t s = 0; s < n_used; s++) weights_t[s] = (float)((double)probs_t[ids_t[s]] / sum);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_router);
    return FAL_OK;
}
