/* Proving that falsifiers can fail: every mutant observed once, judged by all falsifiers that can see it, and the matrix of
   who kills whom. */
#ifndef FAL_PROVE_H
#define FAL_PROVE_H

#include "harness/mutant.h"
#include "harness/run.h"

/* The plan of a proof: cases of another plan, once without a mutant and once for each mutant that they can see. */
typedef struct fal_prove_plan {
    fal_plan plan;              /* to run; borrows from the source plan */
    const fal_plan *source;
    const fal_mutant **mutants; /* [plan.n_cases] that each case has in it; NULL for the control */
    int *origin;                /* [plan.n_cases] the case of source */
} fal_prove_plan;

/* what    Whether a case of a plan can show a mutant. border_variant: "cpu" when faults at the border are left out of the
           work-group kernels, which are slow on a CPU; else empty. */
bool fal_prove_sees(const fal_mutant *m, const fal_case *k, const char *border_variant);
/* what    Makes the plan. globs (n of them, 0 for all) choose mutants by id; code_dir as for fal_mutant_open.
   refuses a glob that matches no mutant, or a choice that no case can see: FAL_ERR_NOTHING
   owns    *out: fal_prove_plan_free; borrows source, which must outlive it */
fal_status fal_prove_plan_make(const fal_plan *source, const char *const *globs, int n_globs, const char *code_dir,
                               fal_prove_plan *out, fal_error *err);
void fal_prove_plan_free(fal_prove_plan *p);

/* what    Runs the plan, n_jobs mutants at a time; with one job for a model of full size. As fal_run_make otherwise.
   owns    *out: fal_run_free; borrows the plan */
fal_status fal_prove_run(const fal_prove_plan *p, const fal_run_options *options, int n_jobs, fal_run **out, fal_error *err);

typedef enum {
    FAL_PROOF_KILLED,       /* also by the falsifier that names the fault */
    FAL_PROOF_EQUIVALENT,   /* and nobody who need not see it did */
    FAL_PROOF_SURVIVED,     /* nobody saw it */
    FAL_PROOF_MISNAMED,     /* killed, but not by the falsifier that the catalogue names */
    FAL_PROOF_NOT_EQUIVALENT, /* said to be equivalent, and killed by somebody who need not see it */
    FAL_PROOF_ERROR,        /* it could not be built, or an observation failed for a reason of its own */
    FAL_PROOF_BLOCKED,      /* its device code was not built */
    FAL_PROOF_NOT_RUN,
    FAL_N_PROOFS
} fal_proof;
const char *fal_proof_name(fal_proof p);

/* One mutant in one backend. */
typedef struct {
    const fal_mutant *mutant;
    const char *backend;
    fal_proof proof;
    int n_cases, n_killed;
    int n_falsifiers, n_killers; /* that looked, and that killed */
    int first;      /* case that names the fault (the named falsifier's, else the first that killed), or -1 */
    int odd;        /* case whose verdict made it ERROR, BLOCKED, NOT_RUN or NOT_EQUIVALENT, or -1 */
    double seconds; /* of its observations */
    bool *killers;  /* [n_falsifiers of the matrix] */
} fal_proof_row;

/* One check of a falsifier on one backend: a falsifier that is proven may have one that is blind. */
typedef struct {
    const fal_falsifier *falsifier;
    const char *name, *backend;
    int n_mutants, n_kills;
} fal_check_record;

typedef enum { FAL_TRUST_PROVEN, FAL_TRUST_MISTRUSTED, FAL_TRUST_NOT_COVERED } fal_trust_kind;
/* One falsifier on one backend. */
typedef struct {
    const fal_falsifier *falsifier;
    const fal_contract *contract;
    const char *backend;
    fal_trust_kind trust;
    int n_mutants, n_kills; /* that it looked at (equivalent ones left out), and that it killed */
    char why[400];          /* it is not covered */
} fal_trust;

typedef struct {
    const fal_prove_plan *plan;
    const fal_run *run;
    fal_proof_row *rows; /* by backend, then in the catalogue's order */
    int n_rows;
    fal_trust *trusts;
    int n_trusts;
    fal_check_record *checks;
    int n_checks;
    int by[FAL_N_PROOFS];
    int n_control, n_control_failed; /* cases without a mutant, and those that did not survive */
    int first_control_failed;        /* case, or -1 */
    int n_mistrusted;
    bool whole; /* all mutants and all cases: only then can a falsifier be mistrusted */
} fal_matrix;

/* what    Reads the matrix off a finished run. whole: nothing was deselected.
   owns    *out: fal_matrix_free; borrows both */
fal_status fal_matrix_make(const fal_prove_plan *plan, const fal_run *run, bool whole, fal_matrix *out, fal_error *err);
void fal_matrix_free(fal_matrix *m);
/* what    0 proven; 1 a survivor, a misnamed or not equivalent mutant, or a control that failed; 5 a mutant that could not
           be observed or a mistrusted falsifier; 130 interrupted; with the reason in one sentence. require: backends whose
           mutants must not be blocked. */
int fal_matrix_exit(const fal_matrix *m, const char *const *require, int n_require, char *reason, size_t size);

/* prove_report.c */
void fal_matrix_print(const fal_matrix *m, const char *revision, bool verbose, bool colour, FILE *f);
/* what    The matrix of one backend as JSON, with what it was measured on; NULL when it has no row. */
json_t *fal_matrix_json(const fal_matrix *m, const char *backend, const char *revision, fal_error *err);
/* what    Writes <folder>/prove/<backend>-<device>.json for every backend that has rows, .partial.json unless whole. */
fal_status fal_matrix_write(const fal_matrix *m, const char *folder, const char *revision, int *n_files, fal_error *err);

/* prove_trust.c */
/* what    Turns survivors of a run whose falsifier killed no mutant, by the stored matrix of that backend and device, into
           mistrusted ones. Matrices of another text of the claim say nothing. Returns how many.
   refuses a matrix that cannot be read: FAL_ERR_INPUT */
fal_status fal_prove_mistrust(fal_run *run, const char *folder, int *n, fal_error *err);

#endif
