/* Running a plan: observe in child processes, judge each case as soon as its observations are there. */
#ifndef FAL_RUN_H
#define FAL_RUN_H

#include "harness/judge.h"
#include "harness/plan.h"
#include "harness/tally.h"

/* What became of one case. */
typedef struct {
    fal_verdict verdict;
    double seconds;       /* that the observation under trial took; shared by all cases that it serves */
    bool executed;        /* an observation under trial was attempted */
    const char *log_tail; /* last words of a lost observer, untrusted; NULL when there are none */
    json_t *ran;          /* about.ran of the observation under trial, or NULL */
    char *capsule;        /* file that holds the failing call, or NULL; and its digest */
    char capsule_sha256[65];
    char no_capsule[200]; /* why a candidate's failing call could not be kept; empty when nobody tried, or it was */
    const fal_waiver *waiver; /* that made it waived, or NULL */
    json_t *trial;        /* about.trial of it, or NULL */
    json_t *throughput;   /* about.throughput of it, or NULL: times, clocks and bandwidth are evidence too */
} fal_result;

typedef struct {
    const fal_plan *plan;
    fal_result *results; /* [plan->n_cases] */
    fal_tally tally;
    char model_sha256[65];          /* empty when no case needed the model */
    json_t *kernels;                /* {backend: {kernel: launches}} over all observations */
    char started[24], finished[24]; /* 2026-11-21T05:40:12Z */
    char today[11];                 /* by which waivers expire: 2026-11-21 */
    double seconds;
} fal_run;

typedef struct {
    const char *program; /* own binary, executed as observer */
    const char *tmp;     /* folder in which a folder for observations is made and removed */
    const char *keep;    /* folder in which they are kept instead, or NULL */
    double timeout_s;    /* per observation */
    bool fail_fast;
    bool once;         /* falsified cases are not observed again */
    bool no_floors;    /* parity may rest on few prompts: those of a mutant stand for no claim */
    int repeat;        /* times that each observation is made, of which the last is judged; 0 counts as 1 */
    bool nvtx;         /* observers mark their forward passes for a profiler */
    const char *today; /* 2026-11-21, by which waivers expire; NULL: the day on which the run starts (UTC) */
    const volatile int *stop; /* may be NULL */
    FILE *progress;           /* a terminal to keep one line on, or NULL */
} fal_run_options;

/* what    Runs every case of the plan that is not blocked. Verdicts, crashes and blocked cases are results, not errors.
           A falsified case is observed once more in another process; when it then survives it is flaky. Judgements of
           determinism are exempt: there a difference between two runs is what they look for.
   refuses a model that cannot be opened with FAL_ERR_INPUT; no folder for observations with FAL_ERR_OUTPUT
   owns    *out: fal_run_free; borrows the plan */
fal_status fal_run_make(const fal_plan *plan, const fal_run_options *options, fal_run **out, fal_error *err);
void fal_run_free(fal_run *run);

/* what    Counts of the cases that are picked: of one contract (or NULL), one backend (or NULL). */
fal_counts fal_run_counts(const fal_run *run, const fal_contract *contract, const char *backend);
/* what    Counts anew after verdicts were changed. */
void fal_run_recount(fal_run *run);
/* what    Now, as 2026-11-21T05:40:12Z. */
void fal_time_text(char text[24]);

#endif
