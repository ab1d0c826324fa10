/* Judging: pure functions from observations and a check to a verdict with its value, limit and worst place. */
#ifndef FAL_JUDGE_H
#define FAL_JUDGE_H

#ifdef __FAST_MATH__
#error "verdicts need IEEE comparisons: NaN must be able to fail; do not build with -ffast-math"
#endif

#include "harness/contract.h"
#include "harness/observation.h"
#include "harness/model.h"

typedef enum { FAL_SURVIVED, FAL_FALSIFIED, FAL_BLOCKED, FAL_CRASHED, FAL_TIMED_OUT, FAL_ERROR, FAL_FLAKY,
               FAL_MISTRUSTED, FAL_WAIVED, FAL_NOT_RUN, FAL_N_VERDICTS } fal_verdict_kind;
const char *fal_verdict_name(fal_verdict_kind v);

/* The outcome of one case. */
typedef struct {
    fal_verdict_kind kind;
    bool marginal;          /* survived, but beyond the limit's warn mark */
    bool has_value; double value; /* of the metric; NaN is a value (and falsifies) */
    const char *metric;     /* static text: "min cosine", "max relative L2", ... */
    double margin;          /* how far value is from the limit on the passing side, relative to the limit; < 0 when falsified */
    bool has_noise; double noise; /* what rounding alone is expected to give; falsifiers/noise.h */
    uint64_t n_compared;    /* elements (or tokens, sets, tensors) compared; 0 falsifies */
    uint64_t n_positions;   /* of a parity: positions of prompts that were compared, excused ones left out */
    /* the worst place */
    bool has_worst; double got, want; char worst[160]; /* "blk.2.attn[17, 3, 40]" */
    char reason[512];       /* one sentence, always filled */
    char detail[2048];      /* more lines for the failure report; may be empty */
} fal_verdict;

/* What a judgement may look at. got: what the backend on trial did; want: the reference's observation of the same
   request (or NULL); again: a second observation of the backend (or NULL); oracle: the oracle file (or NULL). */
typedef struct {
    const fal_check *check;
    const fal_observation *got, *want, *again, *oracle;
    const fal_config *config;   /* of the model; NULL for op cases */
    int oracle_prompt;          /* index j of prompt "pj" in the oracle file, or -1 */
} fal_evidence_in;

typedef void (*fal_judgement_fn)(const fal_evidence_in *in, fal_verdict *out);
typedef struct { const char *name, *metric; fal_judgement_fn judge; const char *help; } fal_judgement;

/* what    The judgement of that name (falsifiers/judgements.def), or NULL; and all of them. */
const fal_judgement *fal_judgement_find(const char *name);
const fal_judgement *fal_judgement_all(int *n);
/* what    Applies check->judge: looks it up, runs it, and accepts only by `value <= max`, `>= min` or `== equal`. */
void fal_judge(const fal_evidence_in *in, fal_verdict *out);

#endif
