/* Evidence: verdicts with values, limits and provenance, written so that a file is either the old one or the new
   one, whole. */
#ifndef FAL_EVIDENCE_H
#define FAL_EVIDENCE_H

#include "harness/run.h"

typedef struct {
    const char *folder;  /* evidence/ */
    const char *invoked; /* the program and its arguments (argv[0] is the command), for the record */
    const char *const *argv;
    int argc;
    const char *root;
    const fal_options *options;
    const char *revision; /* of the source */
    const char *oracle_sha256; /* of the plan's oracle; NULL or empty when no case needed it. fal_evidence_write fills it */
    int exit_status;
} fal_evidence_options;

/* What was written. */
typedef struct {
    int n_files;   /* evidence files, the run's summary not counted */
    char *summary; /* path of evidence/runs/<run-id>.json */
} fal_evidence_written;

/* what    Writes evidence/<falsifier>/<backend>-<device>-<model>.json for every falsifier and backend of which at
           least one case was executed; then evidence/runs/<run-id>.json, which lists these files by digest. When
           the selection or an early end left cases of the contract out, the file ends in .partial.json instead, so
           that it does not replace evidence of the whole.
   refuses a folder or file that cannot be written, completely and durably, with FAL_ERR_OUTPUT
   owns    out->summary: free */
fal_status fal_evidence_write(const fal_run *run, const fal_evidence_options *options, fal_evidence_written *out,
                              fal_error *err);

/* what    One falsifier on one backend as JSON; NULL when no case of it was executed, or memory ran out (*err
           tells). */
json_t *fal_evidence_json(const fal_run *run, const fal_evidence_options *o, const fal_falsifier *f,
                          const char *backend, fal_error *err);
/* what    The verdict that stands for several: the one that says most against the claim. */
fal_verdict_kind fal_evidence_worst(fal_verdict_kind a, fal_verdict_kind b);
/* what    A number as JSON: itself, or "nan", "inf", "-inf". */
json_t *fal_json_number(double v);
/* what    An unsigned number; as text when JSON's signed 64 bits do not hold it. */
json_t *fal_json_u64(uint64_t v);
/* what    Text that need not be UTF-8 as a JSON string; invalid bytes become "?". */
json_t *fal_json_text(const char *s);
/* what    The same of a driver's or a file's text, without control characters: fit to be printed. */
json_t *fal_json_shown(const char *s);
/* what    JSON as text with a newline at its end; takes j, which may be NULL when memory ran out. refuses FAL_ERR_MEMORY */
fal_status fal_json_print(json_t *j, FILE *f, fal_error *err);
/* what    A limit as JSON: {"max": 1e-6, "warn": 5e-7}. */
json_t *fal_json_limit(const fal_limit *l);
/* what    Parameters as JSON object. */
json_t *fal_json_params(const fal_params *p);

/* what    Writes text to folder/name by temp file, fsync, rename, fsync of the folder. name must not hold a slash. */
fal_status fal_write_whole(const char *folder, const char *name, const char *text, size_t n, fal_error *err);
/* what    Removes a folder and the files in it; what a lost observer had begun to write is among them. NULL does nothing. */
void fal_remove_folder(const char *path);
/* what    Makes a folder and all those above it that are missing. */
fal_status fal_make_folders(const char *path, fal_error *err);

#endif
