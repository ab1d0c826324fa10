/* Derived status: what evidence says that each falsifier, obligation, stage and contract is, beside what the file says. */
#ifndef FAL_DERIVE_H
#define FAL_DERIVE_H

#include "harness/contract.h"
#include "harness/options.h"
#include "harness/records.h"

/* What is known about a claim, from the evidence that counts. */
typedef enum {
    FAL_CLAIM_UNBOUND,   /* prose: no falsifier with a check */
    FAL_CLAIM_MISSING,   /* bound, and nothing ran */
    FAL_CLAIM_STALE,     /* it ran, but about another claim, source or model than today's */
    FAL_CLAIM_PARTIAL,   /* some of it survived, some is missing or stale */
    FAL_CLAIM_UNDECIDED, /* it ran without a verdict: crashed, timed_out, error, flaky, mistrusted */
    FAL_CLAIM_FALSIFIED,
    FAL_CLAIM_WAIVED, /* all of it ran, and what did not survive is waived */
    FAL_CLAIM_SURVIVED,
    FAL_N_CLAIM_STATES
} fal_claim_state;
const char *fal_claim_state_name(fal_claim_state s);

/* A falsifier on a backend that its checks name. */
typedef struct {
    const fal_falsifier *falsifier;
    const fal_contract *contract;
    const char *backend;
    fal_claim_state state;
    bool ran; /* a case was executed, by evidence that counts */
    bool survived_some;
    bool hardware;      /* every check survived on the hardware that it is for: no CPU that stands in for a GPU */
    bool excused;       /* what is missing is about a card or size of model of which there is no evidence at all */
    bool excused_light; /* or takes long and was not asked for */
    bool stale_some;    /* a check has only stale evidence */
    int n_checks, n_survived; /* that name the backend, and those of them that survived */
    int n_records, n_counting;
    const char *why; /* what keeps it from being survived; NULL when nothing does */
} fal_cell;

/* Several cells together: of an obligation, on some backends. */
typedef struct {
    fal_claim_state state;
    int n_falsifiers; /* with a check on these backends that cite it */
    bool ran;         /* each of them at least once */
    bool survived_some, hardware;
    const char *why;
} fal_standing;

typedef struct {
    const fal_obligation *obligation;
    bool runtime; /* about throughput or memory while decoding */
    fal_standing standing;
} fal_derived_obligation;

typedef enum {
    FAL_STAGE_RECORDED,
    FAL_STAGE_PENDING,
    FAL_STAGE_PARTIAL,
    FAL_STAGE_SHIPPED,
    FAL_STAGE_DISCHARGED
} fal_stage_level;
typedef enum { FAL_CONTRACT_DRAFT, FAL_CONTRACT_ALGORITHM, FAL_CONTRACT_RUNTIME } fal_contract_level;
const char *fal_stage_level_name(fal_stage_level l);
const char *fal_contract_level_name(fal_contract_level l);

typedef struct {
    const fal_stage *stage;
    fal_stage_level says, is;
    bool above;      /* it says more than the evidence */
    const char *why; /* what keeps it from the next level; NULL when nothing does */
} fal_derived_stage;

typedef struct {
    const fal_contract *contract;
    fal_contract_level says, is;
    bool above;
    const char *why;
    const fal_derived_obligation *obligations; /* in parallel with contract->obligations */
    const fal_derived_stage *stages;           /* and contract->stages */
    int n_bound, n_survived;                   /* of its obligations */
} fal_derived_contract;

typedef struct {
    const fal_derived_contract *contracts; /* in parallel with the set's */
    int n_contracts;
    const fal_cell *cells; /* by contract, falsifier and backend */
    int n_cells;
    int n_above; /* contracts and stages that say more than the evidence */
} fal_derived;

/* what    Derives everything from records whose freshness was judged. Truth table:
             check        survived when all its cases did, in one complete file; falsified when any case is, anywhere
             falsifier    on a backend: survived when all checks that name the backend are
             obligation   unbound without a falsifier that has a check; survived when all of its falsifiers are, on every
                          backend that they name
             stage        RECORDED  names no obligation, so that it claims nothing
                          PENDING   nothing is bound, or nothing survived
                          PARTIAL_ALGORITHM_LEVEL  bound, some survived
                          SHIPPED   every obligation is bound, every falsifier ran at least once, none is falsified or
                                    without a verdict
                          DISCHARGED  every obligation survived, on every backend and device that it names, on hardware,
                                    and no blocker is open
             contract     DRAFT     anything else
                          ACTIVE_ALGORITHM_LEVEL  every obligation of correctness survived on hardware, and no contract
                                    that it depends on is a DRAFT
                          ACTIVE_RUNTIME  and those of throughput and memory too, of which there is at least one
           A partial file can lower a status and show that something survived; it cannot complete a check. Of the same
           case on the same device and model the newest counts.
   owns    *out: fal_derived_free; borrows set and records */
fal_status fal_derive(const fal_contract_set *set, const fal_records *records, fal_derived **out, fal_error *err);
void fal_derived_free(fal_derived *d);

/* what    The cell of a falsifier on a backend, or NULL when no check of it names the backend. */
const fal_cell *fal_derived_cell(const fal_derived *d, const fal_falsifier *f, const char *backend);
/* what    Whether a check is observed on a backend. */
bool fal_check_names(const fal_check *c, const char *backend);

/* How much of what is asked for is backed by fresh evidence. */
typedef struct {
    int cells, fresh, falsified, undecided, stale, missing, excused;
} fal_fresh_count;
/* What is asked for; empty lists take all. */
typedef struct {
    fal_names contracts; /* globs of stems */
    fal_names backends;
    bool heavy; /* checks that take long must have run, too */
} fal_fresh_filter;
/* what    Counts the cells that the filter takes, for a gate: cells = fresh + falsified + undecided + stale + missing +
           excused. */
fal_fresh_count fal_derived_fresh(const fal_derived *d, const fal_fresh_filter *filter);
bool fal_cell_is_taken(const fal_cell *c, const fal_fresh_filter *filter);
/* what    What a cell counts as there: "fresh", "falsified", "undecided", "stale", "missing" or "excused". */
const char *fal_cell_freshness(const fal_cell *c, bool heavy);

#endif
