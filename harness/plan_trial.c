/* What a candidate adds to the plan: which checks are about it, its trials, and that it runs before the reference does. */
#include "harness/plan_parts.h"

#include "harness/rng.h"

#include <stdlib.h>
#include <string.h>

bool fal_plan_candidate_wants(const fal_target *t, const fal_check *c)
{
    if (c->observe == FAL_OBSERVE_TRIAL) return true;
    if (c->observe != FAL_OBSERVE_OP || !c->op || strcmp(c->op, t->trial->op) != 0) return false;
    /* a second request of another op would need a second kernel */
    if (strcmp(fal_params_text(&c->then, "op", c->op), c->op) != 0) return false;
    if (fal_params_text(&c->with, "variant", NULL)) return false; /* about a variant of ours */
    /* claims about the reference alone, such as those against the oracle */
    return c->n_backends != 1 || strcmp(c->backends[0], "reference") != 0;
}

bool fal_plan_too_few(const fal_params *shape)
{
    const double n_out = fal_params_number(shape, "n_out", 0);
    return n_out > 0 &&
           n_out * fal_params_number(shape, "n_tokens", 1) * fal_params_number(shape, "n_expert_used", 1) < 16;
}

/* The widest limit that any contract sets for this op against the reference. */
static const fal_limit *limit_of(const fal_contract_set *set, const char *op)
{
    const fal_limit *widest = NULL;
    for (int i = 0; i < set->n_contracts; i++)
        for (int f = 0; f < set->contracts[i]->n_falsifiers; f++) {
            const fal_falsifier *x = &set->contracts[i]->falsifiers[f];
            for (int k = 0; k < x->n_checks && !x->retired; k++) {
                const fal_check *c = &x->checks[k];
                if (c->observe != FAL_OBSERVE_OP || !c->op || strcmp(c->op, op) != 0 ||
                    c->against != FAL_AGAINST_REFERENCE)
                    continue;
                if (strcmp(c->judge, "rel_l2") != 0 && strcmp(c->judge, "exact") != 0) continue;
                if (!widest || c->limit.value > widest->value) widest = &c->limit;
            }
        }
    return widest;
}

/* Seeds of one trial follow from the run's; A, B, and one for each timed call. JSON holds 63 bits. */
static uint64_t *seeds_of(fal_plan_parts *p, int n)
{
    uint64_t *seeds = fal_arena_take(&p->arena, (size_t)n, sizeof *seeds);
    const fal_rng r = fal_rng_make(p->in->options->has_seed ? p->in->options->seed : 1, "trial");
    for (int i = 0; seeds && i < n; i++) seeds[i] = fal_rng_bits(&r, (uint64_t)i) >> 16;
    return seeds;
}

const fal_check *fal_plan_trial_check(fal_plan_parts *p, const fal_target *t, const fal_check *check, int shape,
                                      fal_error *err)
{
    static const char *const gauss[] = { "gauss" };
    int n_timed = 0;
    const bool small = !t->device || t->device->is_cpu;
    if (fal_trial_count(t->trial->op, &t->trial->shapes[shape], small, &n_timed, err)) return NULL;
    fal_check *c = fal_arena_take(&p->arena, 1, sizeof *c);
    uint64_t *seeds = seeds_of(p, n_timed + 2);
    if (!c || !seeds) return NULL;
    *c = *check;
    c->op = t->trial->op;
    c->shapes = &t->trial->shapes[shape];
    c->n_shapes = 1;
    c->fills = gauss;
    c->n_fills = 1;
    c->seeds = seeds;
    c->n_seeds = n_timed + 2;
    const fal_limit *own = strcmp(check->judge, "trial_answers") == 0 ? limit_of(p->in->contracts, c->op) : NULL;
    if (own) c->limit = *own;
    fal_plan_trial_as_declared(p, c);
    return c;
}

fal_status fal_plan_candidate_first(fal_plan_parts *p, fal_error *err)
{
    const int n = p->n_specs;
    fal_plan_spec *ordered = calloc((size_t)n + 1, sizeof *ordered);
    int *to = calloc((size_t)n + 1, sizeof *to), n_placed = 0;
    if (!ordered || !to) {
        free(ordered);
        free(to);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    }
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++)
            if ((p->specs[i].spec.candidate == NULL) == (pass == 1)) to[i] = n_placed++;
    fal_plan_put_in_order(p, ordered, to);
    free(to);
    return FAL_OK;
}
