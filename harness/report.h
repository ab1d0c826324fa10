/* Reports: the plan and the run as tables for people, and as one JSON document for programs. */
#ifndef FAL_REPORT_H
#define FAL_REPORT_H

#include "harness/run.h"

typedef struct {
    const fal_options *options;
    const fal_probes *probes;
    const char *invoked; /* as the program was called, for reproduction lines */
    const char *revision;
    bool colour;
    int exit_status;
    const char *reason;   /* why it is not 0; may be empty */
    const char *evidence; /* path of the run's summary, or NULL */
    int n_evidence;
    void (*more)(const void *user, FILE *f); /* prints what follows the failures, or NULL */
    const void *more_user;
} fal_report_options;

/* what    The run: devices, a table per contract, what was blocked and why, unbound claims, failures with how to
           reproduce each, denominators, and "N passed, N failed, N skipped" as the last line. Untrusted text is
           escaped. */
void fal_report_run(const fal_run *run, const fal_report_options *o, FILE *f);
json_t *fal_report_run_json(const fal_run *run, const fal_report_options *o);

/* what    The plan: every case and whether it will run, unbound and retired claims, options considered, open blockers,
           denominators. */
void fal_report_plan(const fal_plan *plan, const fal_report_options *o, FILE *f);
json_t *fal_report_plan_json(const fal_plan *plan, const fal_report_options *o);

/* what    The command line that runs this case alone, quoted for a shell, without a newline. */
void fal_report_reproduction(const fal_case *k, const fal_report_options *o, FILE *f);
/* what    The command line that replays the capsule of a result (r->capsule is not NULL), likewise. */
void fal_report_replay(const fal_result *r, const fal_report_options *o, FILE *f);

/* ---- shared by the report files ----------------------------------------------------------------------------- */

/* what    Untrusted text, escaped; NULL prints nothing. */
void fal_report_put(FILE *f, const char *s);
/* what    The same, padded with blanks to width columns. */
void fal_report_pad(FILE *f, const char *s, int width);
/* what    Devices of the reference and of the backends that the plan has cases of, one line each. */
void fal_report_devices(const fal_probes *probes, const fal_plan *plan, bool colour, FILE *f);
/* what    Unbound and retired claims: counted per contract, named with verbose. */
void fal_report_claims(const fal_plan *plan, bool verbose, bool colour, FILE *f);
/* what    Terminal colours, or empty. */
const char *fal_report_colour(bool colour, fal_verdict_kind verdict);
const char *fal_report_bold(bool colour);
const char *fal_report_plain(bool colour);
/* what    Unbound and retired claims as JSON arrays. */
json_t *fal_report_claims_json(const fal_claim *claims, int n, bool retired);
json_t *fal_report_probes_json(const fal_probes *probes);

/* report_declared.c */
/* what    The declaration of a candidate, one line. */
void fal_report_declaration(const fal_declaration *d, FILE *f);
/* what    How many cases of a candidate were judged by its arithmetic, and what they say of it; nothing without any. */
void fal_report_declared(const fal_run *run, bool colour, FILE *f);

/* report_trial.c */
/* what    What was measured of a candidate, once for each shape; nothing without one. */
void fal_report_trials(const fal_run *run, bool colour, FILE *f);

#endif
