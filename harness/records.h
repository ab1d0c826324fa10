/* Evidence as it lies in a folder: read back, held against the run summaries that list it, and against itself. */
#ifndef FAL_RECORDS_H
#define FAL_RECORDS_H

#include "harness/judge.h"

#include <jansson.h>

typedef struct {
    const char *id, *check, *reason;
    fal_verdict_kind verdict;
} fal_record_case;

/* One evidence file: a falsifier on one backend, device and model. */
typedef struct {
    const char *path; /* below the folder */
    char sha256[65];
    const char *id, *backend, *finished;
    const char *device, *device_name; /* slug and name; "nodevice" and NULL when it needed none */
    const char *model, *model_sha256; /* NULL when it needed none */
    const char *oracle, *oracle_sha256;
    const char *revision;
    bool complete; /* of all cases that the contract has on this backend */
    bool on_cpu;   /* a CPU that stands in for a GPU (never the reference): runs the algorithm on other hardware */
    fal_verdict_kind verdict;
    const fal_record_case *cases;
    int n_cases;
    const json_t *json;
    const char *run;     /* newest summary that lists it; NULL when none does */
    bool trusted;        /* no problem names it */
    bool fresh;          /* set by fal_freshness_judge */
    const char *why_not; /* why it does not count; NULL when it does */
} fal_record;

/* Why the evidence as a whole cannot be trusted: a file that vanished, was edited, rolled back or contradicts itself. */
typedef struct {
    const char *path, *message, *hint;
} fal_record_problem;

typedef struct {
    fal_record *items; /* sorted by path */
    int n;
    const fal_record_problem *problems;
    int n_problems, n_runs;
} fal_records;

/* what    Reads evidence/<id>/<name>.json and evidence/runs/<run>.json. A folder that is not there holds nothing. What is
           wrong with the evidence becomes a problem, not an error:
             unreadable   a file that is not JSON of the expected form
             vanished     a summary lists a file that is gone
             edited       a file is not what any summary that lists it says
             rolled back  a file is that of an older run than the newest that lists it
             contradicts  a case survived with a value outside its limit, or the verdict is not the worst of the cases
           Evidence of device code (-nodevice-) may be absent: every build makes it anew.
           A file that no summary lists is no problem, and does not count.
   refuses a folder that cannot be listed with FAL_ERR_INPUT
   owns    *out: fal_records_free */
fal_status fal_records_read(const char *folder, fal_records **out, fal_error *err);
void fal_records_free(fal_records *r);
/* what    Holds the evidence against an older copy of its folder: every run summary that was there must be there unchanged,
           and every evidence file must still exist (a later run may have written it anew). What vanished becomes a problem.
   refuses an older folder that is not there with FAL_ERR_NOTHING */
fal_status fal_records_since(fal_records *r, const char *older, fal_error *err);

/* what    Whether it may lift a status: trusted, listed by a run and, once that was judged, fresh. */
bool fal_record_counts(const fal_record *r);
/* what    The verdict of that name; false when there is none. */
bool fal_verdict_parse(const char *name, fal_verdict_kind *out);

#endif
