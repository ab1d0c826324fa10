/* What the files that make a plan share: the plan while it grows. */
#ifndef FAL_PLAN_PARTS_H
#define FAL_PLAN_PARTS_H

#include "harness/arena.h"
#include "harness/plan.h"
#include "harness/trial.h"

/* A prompt with its tokens found; tokens is NULL when they are not to be had, and then missing says why. */
typedef struct {
    const fal_prompt *prompt;
    const int32_t *tokens;
    int n_tokens;
    int oracle_prompt; /* prompt of the oracle with these tokens, or -1 */
    const char *missing, *hint;
} fal_tokens;

/* The devices of one backend, seen from the options. */
typedef struct {
    const fal_probe *probe;
    const fal_device_info *device; /* NULL when there is none, or nobody asked */
    const char *selector;          /* for fal_spec.device */
    const char *blocked, *hint;    /* NULL when the device is there */
    bool both_variants;            /* an OpenCL CPU device: "" and "cpu" */
    bool required, selected;
    const fal_trial_op *trial;     /* of the candidate: what it computes; else NULL */
} fal_target;

/* The plan and what is needed to make it; the arena holds all that it points to. */
typedef struct {
    fal_plan plan; /* first: fal_plan_free finds the whole by it */
    fal_arena arena;
    const fal_plan_in *in;
    fal_case *cases;
    int n_cases, cap_cases;
    fal_plan_spec *specs;
    int n_specs, cap_specs;
    fal_claim *claims;
    int n_claims, cap_claims; /* unbound first, then retired, once done */
    fal_extent *extents;
    int n_extents, cap_extents;
    fal_target targets[FAL_MAX_BACKENDS];
    int n_targets;
    fal_observation *oracle;
    const char *model_missing; /* why there is no model, or NULL */
    bool full_size;            /* the model has FAL_FULL_SIZE_BYTES or more */
    uint64_t tensor_bytes;     /* of the model; 0 when there is none */
} fal_plan_parts;

/* plan_select.c */
/* what    Errors for globs, contracts, stages, backends and devices that match nothing at all. Needs all cases. */
fal_status fal_plan_check_filters(const fal_plan_parts *p, fal_error *err);
/* what    Whether the options select this falsifier at all (contract and stage), and this case of it. */
bool fal_plan_takes_falsifier(const fal_plan_parts *p, const fal_contract *c, const fal_falsifier *f);
bool fal_plan_takes_claim(const fal_plan_parts *p, const fal_contract *c, const fal_falsifier *f);
bool fal_plan_takes_case(const fal_plan_parts *p, const fal_case *k);

/* plan_prompts.c */
/* what    Makes sure that the model can be opened, and opens the oracle beside it; either may be absent. */
fal_status fal_plan_open_oracle(fal_plan_parts *p, fal_error *err);
/* what    Finds the prompt of that name in the contract and its tokens. */
fal_status fal_plan_find_tokens(fal_plan_parts *p, const fal_contract *c, const fal_check *check, const char *name,
                                fal_tokens *out, fal_error *err);

/* plan_specs.c */
/* what    Adds the observations that a case needs, or shares those that are there. */
fal_status fal_plan_add_specs(fal_plan_parts *p, fal_case *k, const fal_tokens *tokens, int n_tokens, fal_error *err);
/* what    Brings the observations of one backend, variant and attempt together, the reference's first, so that a large
           model is loaded once for each. */
fal_status fal_plan_group_specs(fal_plan_parts *p, fal_error *err);
/* what    Observation i becomes number to[i]; cases and other observations follow. ordered: room for n_specs + 1, taken over. */
void fal_plan_put_in_order(fal_plan_parts *p, fal_plan_spec *ordered, const int *to);

/* plan_trial.c */
/* what    Whether a check is about what the candidate computes. */
bool fal_plan_candidate_wants(const fal_target *t, const fal_check *check);
/* what    Whether a shape has so few outputs, each a long sum, that they may all come out near 0 by chance: an error relative
           to them then says nothing. With 16 Gaussian ones that happens once in 1e10 draws. */
bool fal_plan_too_few(const fal_params *shape);
/* what    A check of observe: trial as it is for one shape: op, shape, fill, seeds of this run, and for judgement
           trial_answers the op's own limit, the widest that a contract allows against the reference. NULL when memory ran
           out. */
const fal_check *fal_plan_trial_check(fal_plan_parts *p, const fal_target *t, const fal_check *check, int shape, fal_error *err);
/* what    Puts the observations of the candidate before all others: while it runs, no answer of the reference exists. */
fal_status fal_plan_candidate_first(fal_plan_parts *p, fal_error *err);

/* plan_declared.c */
/* what    Narrows a check of the candidate's op to what its declared arithmetic (p->in->declared) leaves: where that is less
           than float32, limits of float32 give way to judgement arithmetic, and exact fills to the one whose activations are
           their own codes. False: the check is about float32 alone. */
bool fal_plan_as_declared(const fal_plan_parts *p, fal_check *check);
/* what    The same for a check of observe: trial, whose limit becomes 1.5 times what the declaration leaves of its inputs. */
void fal_plan_trial_as_declared(const fal_plan_parts *p, fal_check *check);

/* plan_checks.c */
/* what    Refuses a check that cannot be executed as written. */
fal_status fal_plan_check_check(const fal_contract *c, const fal_falsifier *f, const fal_check *check, fal_error *err);

/* plan_expand.c */
/* what    Makes all cases of all contracts, selected or not, with the claims that have none. Needs the targets. */
fal_status fal_plan_expand(fal_plan_parts *p, fal_error *err);
/* what    The tokens of all prompts of a check, in the arena, and which prompt has the fewest. */
fal_status fal_plan_find_prompts(fal_plan_parts *p, const fal_contract *c, const fal_check *check, fal_tokens **out,
                                 int *shortest, fal_error *err);

/* plan_floor.c */
/* what    Marks the cases whose parity would rest on too few prompts or positions. Needs all cases, selected or not. */
fal_status fal_plan_set_floors(fal_plan_parts *p, fal_error *err);

/* plan.c */
/* what    Kinds whose requests are prompts. */
bool fal_plan_is_forward(fal_observe_kind kind);
/* what    A formatted string in the plan's arena; NULL when memory ran out. */
const char *fal_plan_text(fal_plan_parts *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* what    Room for one more element of a growing array. False when memory ran out. */
bool fal_plan_grow(void **items, int n, int *cap, size_t size);

#endif
