/* Contracts: YAML files parsed into immutable structs, every error with file, line and column. */
#ifndef FAL_CONTRACT_H
#define FAL_CONTRACT_H

#include "harness/error.h"
#include "harness/rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* 1-based place in a contract file; column counts characters (not bytes). */
typedef struct { int line, column; } fal_place;

typedef struct { const char *version, *date, *kind, *title, *description; } fal_amendment;

/* A way that was weighed. decision: "chosen", "rejected", "open". */
typedef struct { const char *id, *title, *decision, *why; } fal_option;

typedef struct {
    const char *id;       /* "AC_GPU_MOE_001", "RN-INV-001" ... */
    const char *type;     /* invariant, equivalence, bound, ... */
    const char *property;
    const char *formal;
    fal_place place;
} fal_obligation;

typedef struct {
    const char *id, *status, *title, *description; /* status: what the file says; evidence decides */
    const char *const *obligations; int n_obligations;
    const char *const *backends; int n_backends;  /* that it is about; empty: all that its falsifiers name */
    const char *const *blockers; int n_blockers;  /* open blockers, printed by plan */
    const char *const *waits_for; int n_waits_for; /* blockers that can be looked up: "file:PATH", "tool:NAME", "device:BACKEND/NAME" */
    fal_place place;
} fal_stage;

/* A named list of token ids; from_oracle names a prompt of the oracle file ("p4") and then tokens is NULL. */
typedef struct { const char *name; const int32_t *tokens; int n_tokens; const char *from_oracle; fal_place place; } fal_prompt;

/* A dimension or parameter of an op-level request: a number, or text (type names, op names). */
typedef struct { const char *name; double number; const char *text; /* NULL when a number */ } fal_param;
typedef struct { const fal_param *params; int n_params; } fal_params;

typedef enum {
    FAL_OBSERVE_FORWARD,  /* free-running forward pass over prompts */
    FAL_OBSERVE_TEACHER,  /* the same, every op fed with the reference's results */
    FAL_OBSERVE_PINNED,   /* the same, with the reference's expert choice */
    FAL_OBSERVE_OP,       /* one op on host buffers filled from a seed */
    FAL_OBSERVE_PRELOAD,  /* construct, read every tensor back, account for memory */
    FAL_OBSERVE_REFUSAL,  /* construct from a spoilt model file, or call with a spoilt request; must be refused */
    FAL_OBSERVE_THROUGHPUT, /* greedy decode of one stream, timed; memory, clocks and read bandwidth beside it */
    FAL_OBSERVE_DEVICE_CODE, /* the device code in the program as its compiler saw it; opens no device and no model */
    FAL_OBSERVE_LAUNCHES,    /* kernels of a prompt and of each token after it; with dry, as what the host would ask for */
    FAL_OBSERVE_SANITIZE,    /* the program under a tool that watches what kernels do to memory */
    FAL_OBSERVE_TRIAL        /* one op of a candidate, called in ways that only an honest one does not notice, and timed */
} fal_observe_kind;

typedef enum { FAL_AGAINST_NONE, FAL_AGAINST_REFERENCE, FAL_AGAINST_ORACLE, FAL_AGAINST_SELF } fal_against;

/* A limit on the metric's value: pass is value <= max, value >= min, or value == equal. NaN never passes. */
typedef struct {
    enum { FAL_LIMIT_MAX, FAL_LIMIT_MIN, FAL_LIMIT_EQUAL } kind;
    double value;
    bool has_warn; double warn; /* beyond warn (on the passing side of value) the pass is marked marginal */
    const char *basis;          /* where the number comes from; never empty */
} fal_limit;

/* Tensor bytes from which on a model counts as one of full size: Qwen3-Coder-30B-A3B has 18.6e9 in Q4_K_M. */
#define FAL_FULL_SIZE_BYTES UINT64_C(10000000000)

/* One executable attempt: what to observe and how to judge it. */
typedef struct {
    const char *name;           /* unique within the falsifier, [a-z0-9_]+ */
    fal_observe_kind observe;
    const char *judge;          /* a judgement of falsifiers/judgements.def */
    fal_against against;
    fal_limit limit;
    bool has_limit_full_size; fal_limit limit_full_size; /* instead of limit, for a model of full size; the basis is shared */
    int floor_prompts, floor_positions; /* fewest that a parity may rest on, over all cases of the check; 0: not stated */
    const char *const *backends; int n_backends;  /* empty: every backend but the reference */
    /* forward, teacher, pinned */
    const char *const *prompts; int n_prompts;    /* one case per prompt ... */
    const char *const *prompts_full_size; int n_prompts_full_size; /* instead, for a model of full size; empty: prompts */
    bool sequence;              /* ... or one case whose observation holds all of them in turn */
    bool again;                 /* a second observation (fresh process) of the first prompt, for determinism */
    bool decode;                /* feed one token at a time instead of the whole prompt */
    int n_greedy;               /* greedy continuation length */
    const char *const *taps; int n_taps;          /* sites (globs) that the judgement needs; logits when empty */
    /* op */
    bool heavy;                 /* planned only when heavy cases are asked for */
    const char *op;
    const fal_params *shapes; int n_shapes;       /* one case per shape x fill */
    const char *const *fills; int n_fills;
    const uint64_t *seeds; int n_seeds;           /* requests of one observation, in turn */
    fal_params then;            /* not empty: each seed is followed by a second request with these changes */
    fal_params with;            /* further parameters of the judgement or fixture (eps, low, high, expect, ...) */
    /* refusal */
    const char *const *spoil; int n_spoil;        /* one case per way to spoil; names in harness/spoil.h */
    fal_place place;
} fal_check;

typedef struct {
    const char *id, *rule, *prediction, *if_fails;
    const char *const *obligations; int n_obligations;
    bool retired; const char *end_condition;      /* a claim that is permanently false by design, kept on record */
    const char *unbound_because;                  /* why there is no check yet; may be NULL */
    const fal_check *checks; int n_checks;        /* 0: UNBOUND (unless retired) */
    fal_place place;
} fal_falsifier;

/* A dated, owned, bounded exception for one check: while it has not expired, a value beyond the check's limit and within
   the waiver's own is waived instead of falsified. */
typedef struct {
    const char *id, *falsifier, *check;
    const char *const *backends; int n_backends;  /* empty: all */
    const char *owner, *reason;
    const char *granted, *expires;                /* 2026-11-21; the last day on which it holds is `expires` */
    fal_limit limit;                              /* looser than the check's; max or min */
    fal_place place;
} fal_waiver;

typedef struct {
    const char *path, *stem;                      /* stem: file name without .yaml */
    char sha256[65];
    const char *version, *description, *kind, *status, *created, *author;
    const char *const *references; int n_references;
    const char *const *depends_on; int n_depends_on;
    const fal_amendment *amendments; int n_amendments;
    const fal_option *options; int n_options;
    const fal_obligation *obligations; int n_obligations;
    const fal_stage *stages; int n_stages;
    const fal_prompt *prompts; int n_prompts;
    const fal_falsifier *falsifiers; int n_falsifiers;
    const fal_waiver *waivers; int n_waivers;
    const char *const *blockers; int n_blockers;  /* open blockers of the contract as a whole */
    const char *const *waits_for; int n_waits_for; /* the same, where they can be looked up */
    int n_equations;
} fal_contract;

typedef struct {
    const fal_contract *const *contracts; int n_contracts; /* sorted by stem */
    const fal_contract *const *all; int n_all;    /* and those with errors, as far as they could be read */
    int n_found, n_read, n_parsed;                /* files named *.yaml / read as YAML at all / without any error */
} fal_contract_set;

/* A diagnosis of one place of one file. */
typedef struct {
    char *path; fal_place place;
    char *message;      /* what is wrong, with the value found */
    char *suggestion;   /* "did you mean ...", or NULL */
    char *line_text;    /* the source line, untrusted; NULL when there is none */
    int skipped;        /* characters of the line before line_text, when it is a very long one */
    int width;          /* columns to underline, >= 1 */
    const char *rule;   /* stable code, e.g. "FORM-007" */
    fal_rule_id rule_id;
    fal_severity severity;
    bool is_error;      /* severity is FAL_MISTAKE */
} fal_diagnosis;
typedef struct {
    fal_diagnosis *items; size_t n, cap;
    size_t n_of[FAL_MISTAKE + 1]; /* by severity, also those that a cap left out */
} fal_diagnoses;

/* what    Loads every *.yaml of the paths (files, or folders searched one level deep) and resolves references among them
           (depends_on, stage -> obligation -> falsifier, prompts, ids unique over all files). All errors of all files are
           collected in *diag, in order of path and place. FAL_ERR_INPUT when any is an error, FAL_ERR_NOTHING when no
           file was found. *out is set also on FAL_ERR_INPUT, holding the files that are whole.
   owns    *out: fal_contract_set_free; *diag: fal_diagnoses_free */
fal_status fal_contract_set_load(const char *const *paths, int n_paths, fal_contract_set **out, fal_diagnoses *diag, fal_error *err);
/* what    The same by the rules of a profile. Under pv foreign contracts are read, in both generations of their schema
           and with their legacy blocks; everything in them is prose here, so all of their falsifiers are unbound, and an
           obligation without an id has an empty one. */
fal_status fal_contract_set_load_as(const char *const *paths, int n_paths, fal_profile profile, fal_contract_set **out, fal_diagnoses *diag, fal_error *err);
void fal_contract_set_free(fal_contract_set *set);
void fal_diagnoses_free(fal_diagnoses *d);
/* what    Prints errors and warnings like a compiler: file:line:column, source line, caret at display width, suggestion. */
void fal_diagnoses_print(const fal_diagnoses *d, bool colour, FILE *f);

/* what    Looks up a parameter; fallback when absent or of the other kind. */
double fal_params_number(const fal_params *p, const char *name, double fallback);
const char *fal_params_text(const fal_params *p, const char *name, const char *fallback);

#endif
