/* The plan: every case and every observation that will be made, in a fixed order, before anything runs. */
#ifndef FAL_PLAN_H
#define FAL_PLAN_H

#include "harness/contract.h"
#include "harness/declaration.h"
#include "harness/devices.h"
#include "harness/observe.h"
#include "harness/options.h"
#include "harness/trial.h"

/* One observation to make. Several cases may share it. */
typedef struct {
    fal_spec spec;     /* inputs, pin and out are NULL here: run knows the paths */
    int inputs, pin;   /* index of the observation whose file is needed, or -1; always smaller than the own index */
    int attempt;       /* 0; 1 for a second observation of the same, made in a fresh process */
    uint64_t key;      /* only for merging: differs when the observation does */
    const char *label; /* "opencl__cpu-forward-p4", for file names */
} fal_plan_spec;

/* One attempt at one falsifier. */
typedef struct {
    const char *id; /* FALSIFY-X-001/check/opencl__cpu/p4 */
    const fal_contract *contract;
    const fal_falsifier *falsifier;
    const fal_check *check; /* narrowed to this case: one prompt (or the sequence), one shape, fill, spoil; all seeds */
    const char *backend, *variant;
    const char *what;              /* "p4", "n_tokens=3,n_embd=256/gauss", "arch", "preload" */
    const fal_device_info *device; /* NULL when not probed or there is none */
    bool uses_model, required;
    int n_tokens;         /* of all its requests; 0 for ops and where not known */
    int got, want, again; /* observations; -1 where not needed, all -1 when blocked */
    const char *candidate; /* digest of the file on trial, or NULL */
    bool uses_oracle;
    int oracle_prompt;          /* j of the oracle's "pj", or -1 */
    const char *blocked, *hint; /* NULL: it will run */
    bool excused;               /* blocked because the claim is about another model or card: never required */
    const char *below_floor;    /* why its parity cannot be trusted even when it holds; NULL: it can */
    int floor_cases;            /* unblocked cases of its check and backend over the whole contract, when it has a floor */
    bool untapped;              /* observed without taps (--no-taps): its judgement has nothing to look at */
    bool not_probed;            /* whether it will run is not known: nobody looked for devices */
} fal_case;

/* A falsifier that has no cases. */
typedef struct {
    const fal_contract *contract;
    const fal_falsifier *falsifier;
} fal_claim;

/* How many cases a falsifier has on a backend when nothing is deselected; evidence of fewer is partial. */
typedef struct {
    const fal_falsifier *falsifier;
    const char *backend;
    int n_cases;
} fal_extent;

typedef struct {
    const fal_case *cases;
    int n_cases;
    const fal_plan_spec *specs;
    int n_specs;
    const fal_claim *unbound;
    int n_unbound;
    const fal_claim *retired;
    int n_retired;
    const fal_extent *extents;
    int n_extents;
    const fal_contract *const *contracts;
    int n_contracts;               /* those with a selected case, or an unbound or retired claim */
    const fal_contract_set *set;   /* all that were loaded */
    const fal_observation *oracle; /* beside the model; NULL when absent */
    const char *model, *oracle_path;
    const fal_declaration *declared; /* of the candidate; NULL without one */
    bool full_size; /* the model has FAL_FULL_SIZE_BYTES or more: one process at a time may hold it on a device */
} fal_plan;

/* What a plan is made from; all borrowed, and must outlive the plan. */
typedef struct {
    const fal_contract_set *contracts;
    const fal_probes *probes;
    const fal_options *options;
    const char *model; /* path */
    bool model_given;  /* its absence is then an error */
    const fal_trial_op *trial; /* what a candidate computes, or NULL */
    const char *candidate;     /* digest of its file, or NULL */
    const fal_declaration *declared; /* what it declares to compute with; NULL without a candidate */
} fal_plan_in;

/* what    Expands contracts into cases and merges the observations that they need.
   refuses a filter that matches nothing (with the nearest name) with FAL_ERR_NOTHING; a check that cannot be
           executed as written (unknown judgement, op, tap; the reference against itself; two cases of one id), a
           model or oracle that cannot be read: FAL_ERR_INPUT with file and line; --require of a backend that
           --backend leaves out: FAL_ERR_USAGE
   owns    *out: fal_plan_free */
fal_status fal_plan_make(const fal_plan_in *in, fal_plan **out, fal_error *err);
void fal_plan_free(fal_plan *plan);

/* what    Whether a check is a parity that a floor holds for, and that floor: the contract's, and never less than one prompt
           of two positions. */
bool fal_check_has_floor(const fal_check *c, int *prompts, int *positions);
/* what    Whether two cases count for one floor: same check, same backend, any variant. */
bool fal_case_shares_floor(const fal_case *a, const fal_case *b);

/* what    Cases of a falsifier on a backend over the whole contract. */
int fal_plan_extent(const fal_plan *plan, const fal_falsifier *falsifier, const char *backend);
/* what    "opencl", or "opencl:cpu" for a variant. */
void fal_backend_label(const char *backend, const char *variant, char *text, size_t size);
/* what    The word that contracts use for a kind of observation. */
const char *fal_observe_kind_name(fal_observe_kind kind);

#endif
