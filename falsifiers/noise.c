/* Noise floors: rounding errors of float32 sums, expected rather than bounded, op by op and along a whole pass. */
#include "falsifiers/noise.h"

#include "falsifiers/judgement.h"
#include "harness/text.h"

#include <math.h>
#include <string.h>

#define U 0x1p-24

/* n terms in one sum, and the rounding of the result. */
static double sum_of(double n)
{
    return (0.3 * sqrt(n) + 0.3) * U;
}

/* An op whose longest sum has n terms; positions: keys that attention looks at. */
static double site_noise(fal_site site, const fal_config *c)
{
    switch (site) {
    case FAL_SITE_embed: return 0; /* a copy, exact in float32 */
    case FAL_SITE_attn_norm:
    case FAL_SITE_ffn_norm:
    case FAL_SITE_final_norm: return U; /* the sum of squares errs in its own scale alone, two roundings follow */
    case FAL_SITE_q_norm:
    case FAL_SITE_k_norm: return U;
    case FAL_SITE_q:
    case FAL_SITE_k:
    case FAL_SITE_v:
    case FAL_SITE_router_logits:
    case FAL_SITE_moe_gate:
    case FAL_SITE_moe_up:
    case FAL_SITE_logits: return sum_of(c->n_embd);
    case FAL_SITE_moe_down: return sum_of(c->n_ff);
    case FAL_SITE_attn_output: return sum_of((double)c->n_head * c->head_dim);
    case FAL_SITE_attn: return sum_of(c->head_dim) + 2 * U; /* scores through exp, then a weighted mean */
    case FAL_SITE_router_probs:
    case FAL_SITE_expert_weights: return 2 * U;
    case FAL_SITE_moe_act: return 2 * U;
    case FAL_SITE_moe_out: return sum_of(c->n_expert_used);
    case FAL_SITE_expert_ids: return 0;
    case FAL_SITE_q_rope:
    case FAL_SITE_k_rope:
    case FAL_SITE_ffn_inp:
    case FAL_SITE_l_out: return U;
    case FAL_N_SITES: break;
    }
    return 0;
}

/* All ops of all layers, one after the other. */
static double pass_noise(const fal_config *c)
{
    double squares = 0;
    for (int s = 0; s < FAL_N_SITES; s++) {
        const double e = site_noise((fal_site)s, c);
        squares += e * e * (fal_site_get((fal_site)s)->per_layer ? c->n_layer : 1);
    }
    return sqrt(squares);
}

/* The noisiest op that the taps name. */
static double teacher_noise(const fal_check *check, const fal_config *c)
{
    double most = 0;
    for (int s = 0; s < FAL_N_SITES; s++) {
        char name[64];
        const fal_site_info *const info = fal_site_get((fal_site)s);
        snprintf(name, sizeof name, "%s%s", info->per_layer ? "blk.0." : "", info->name);
        bool named = check->n_taps == 0 && s == FAL_SITE_logits;
        for (int g = 0; g < check->n_taps && !named; g++)
            named = strcmp(check->taps[g], "all") == 0 || fal_glob_match(check->taps[g], name);
        const double e = named ? site_noise((fal_site)s, c) : 0;
        most = e > most ? e : most;
    }
    return most;
}

static double op_noise(const fal_check *check)
{
    static const struct {
        const char *op, *length;
    } sums[] = {
        { "matmul", "n_in" }, { "moe_matmul", "n_in" }, { "moe_sum", "n_expert_used" }, { "attention", "head_dim" }
    };
    const fal_params none = { 0 }, *const shape = check->n_shapes ? &check->shapes[0] : &none;
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        if (strcmp(check->op, sums[i].op) == 0)
            return sum_of(fal_params_number(shape, sums[i].length, 1)) +
                   (strcmp(check->op, "attention") == 0 ? 2 * U : 0);
    /* two sums, and as many roundings as swiglu has */
    if (strcmp(check->op, "moe_swiglu") == 0) return M_SQRT2 * sum_of(fal_params_number(shape, "n_embd", 1)) + 2 * U;
    if (strcmp(check->op, "embed") == 0 || strcmp(check->op, "kv_store") == 0) return 0;
    return strcmp(check->op, "softmax") == 0 || strcmp(check->op, "swiglu") == 0 || strcmp(check->op, "router") == 0
               ? 2 * U
               : U;
}

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(s, *list) == 0) return true;
    return false;
}

bool fal_noise_of(const fal_check *check, const fal_config *config, double *out)
{
    static const char *const exact[] = { "exact",    "same_bits", "same_out_bits", "argmax", "router_sets", "greedy",
                                         "length",   "finite",    "argmax_range",  "stored", "in_range",    "ordered",
                                         "identity", "in_hull",   "monotone",      NULL };
    static const char *const relative[] = {
        "rel_l2",     "closed_form", "decode_matches_prefill", "prefix", "equal_outputs", "scale_invariance",
        "single_key", NULL
    };
    static const char *const near_one[] = { "weights_sum", "row_sum", NULL };
    if (!check->judge) return false;
    if (is_one_of(check->judge, exact) ||
        (check->limit.kind != FAL_LIMIT_MIN && check->limit.value <= 0)) { /* nothing may be rounded */
        *out = 0;
        return true;
    }
    if (is_one_of(check->judge, near_one)) {
        *out = U; /* values below 1 whose sum is 1: each errs in its own scale */
        return true;
    }
    const bool cosine = strcmp(check->judge, "cosine") == 0;
    if (!cosine && !is_one_of(check->judge, relative)) return false;
    double e;
    if (check->observe == FAL_OBSERVE_OP && check->op)
        e = op_noise(check);
    else if (!config)
        return false;
    else
        e = check->observe == FAL_OBSERVE_TEACHER ? teacher_noise(check, config) : pass_noise(config);
    *out = cosine ? 1 - e * e / 2 : e;
    return true;
}
