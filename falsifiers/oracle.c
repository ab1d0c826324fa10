/* What an oracle file (Hugging Face's float64 run of the same weights) holds for which site, and at which positions. */
#include "falsifiers/judgement.h"

#include <stdio.h>
#include <string.h>

/* hidden.k is the residual stream: k = 0 after the embedding, k = l + 1 after layer l; but the last one is stored after
   the final norm, so l_out of the last layer is nowhere. router.l.{0,1,2}: logits, weights, ids. */
bool fal_oracle_name(const fal_config *c, const fal_tap *tap, int prompt, char *name, size_t size)
{
    switch (tap->site) {
    case FAL_SITE_embed: snprintf(name, size, "p%d.hidden.0", prompt); return true;
    case FAL_SITE_l_out:
        if (tap->layer >= c->n_layer - 1) return false;
        snprintf(name, size, "p%d.hidden.%d", prompt, tap->layer + 1);
        return true;
    case FAL_SITE_final_norm: snprintf(name, size, "p%d.hidden.%d", prompt, c->n_layer); return true;
    case FAL_SITE_logits: snprintf(name, size, "p%d.logits", prompt); return true;
    case FAL_SITE_router_logits: snprintf(name, size, "p%d.router.%d.0", prompt, tap->layer); return true;
    case FAL_SITE_expert_weights: snprintf(name, size, "p%d.router.%d.1", prompt, tap->layer); return true;
    case FAL_SITE_expert_ids: snprintf(name, size, "p%d.router.%d.2", prompt, tap->layer); return true;
    default: return false;
    }
}

const fal_obs_tensor *fal_oracle_find(const fal_observation *oracle, const char *name)
{
    for (int i = 0; i < oracle->n_tensors; i++)
        if (strcmp(oracle->tensors[i].name, name) == 0) return &oracle->tensors[i];
    return NULL;
}

const json_t *fal_oracle_list(const fal_observation *oracle, int prompt, const char *key)
{
    if (prompt < 0) return NULL;
    const json_t *const p = json_array_get(json_object_get(oracle->about, "prompts"), (size_t)prompt);
    const json_t *const list = json_object_get(p, key);
    return json_is_array(list) ? list : NULL;
}

fal_pair_status fal_oracle_pair(const fal_evidence_in *in, const fal_config *c, const fal_tap *tap, fal_pair *pair,
                                fal_verdict *out)
{
    char name[96], positions[32];
    const int64_t n_tokens = (int64_t)pair->n_rows;
    snprintf(positions, sizeof positions, "p%d.positions", in->oracle_prompt);
    pair->positions = fal_oracle_find(in->oracle, positions);
    if (!pair->positions || pair->positions->dtype != FAL_DTYPE_I32 || pair->positions->n_dims != 1) {
        fal_stop(out, FAL_ERROR, "the oracle file has no positions for prompt p%d (I32 [P])", in->oracle_prompt);
        return FAL_PAIR_STOPPED;
    }
    if (!fal_oracle_name(c, tap, in->oracle_prompt, name, sizeof name)) return FAL_PAIR_ABSENT;
    pair->want = fal_oracle_find(in->oracle, name);
    if (!pair->want) {
        fal_stop(out, FAL_ERROR, "the oracle file lacks %s", name);
        return FAL_PAIR_STOPPED;
    }
    const int64_t ne[] = { (int64_t)pair->positions->n, tap->width };
    const fal_dtype dtype = fal_site_get(tap->site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    if (!fal_need_shape(out, FAL_SIDE_WANT, name, pair->want, dtype, 2, ne)) return FAL_PAIR_STOPPED;
    for (size_t i = 0; i < pair->positions->n; i++) {
        const double p = fal_row_at(fal_row_whole(pair->positions), i);
        if (p >= 0 && p < (double)n_tokens) continue;
        fal_stop(out, FAL_ERROR, "the oracle's %s[%zu] is %.0f, expected 0 <= position < %lld", positions, i, p,
                 (long long)n_tokens);
        return FAL_PAIR_STOPPED;
    }
    pair->n_rows = pair->positions->n;
    return FAL_PAIR_READY;
}
