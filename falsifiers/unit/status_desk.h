/* A temporary root with contracts/ and evidence/ for tests of status: contracts as text, evidence as records. */
#ifndef FAL_TEST_STATUS_DESK_H
#define FAL_TEST_STATUS_DESK_H

#include "harness/cmd.h"
#include "harness/derive.h"
#include "harness/freshness.h"

#include <jansson.h>

/* A contract of two obligations, each with a falsifier, and one stage over both: FALSIFY-T-001 (check l2, opencl and cuda)
   tries T-EQV-001, FALSIFY-T-002 (check finite, reference and opencl) tries T-INV-002. */
extern const char fal_desk_two[];

extern char fal_desk_root[64];
void fal_desk_make(void); /* as fixtures of a test case */
void fal_desk_remove(void);
const char *fal_desk_path(const char *below); /* in the root; valid until the fourth call after it */
void fal_desk_write(const char *below, const char *text);
/* what    Writes contracts/<name>, with the first occurrence of `from` replaced by `to` when from is not NULL. */
void fal_desk_contract(const char *name, const char *text, const char *from, const char *to);

/* One evidence file. Cases have the ids <id>/<check>/<backend>/<n>. */
typedef struct {
    const char *id, *backend;
    const char *checks; /* "l2:survived,l2:falsified" */
    const char *device; /* slug; NULL: "some-gpu"; "nodevice": none */
    bool is_cpu, partial;
    const char *finished; /* NULL: 2026-11-21T00:00:00Z */
    const char *model;    /* its digest; NULL: no model */
    double value;         /* of every case; the limit is max 1 */
} fal_desk_record;

/* what    Writes the files, about today's claims and sources, and evidence/runs/<run>.json that lists them. */
void fal_desk_evidence(const char *run, const fal_desk_record *records, int n);

/* what    Writes a summary that lists one file as it is now; below: its path under evidence/. */
void fal_desk_list(const char *run, const char *below);

/* Everything derived from the root. */
typedef struct {
    fal_contract_set *set;
    fal_records *records;
    fal_derived *derived;
} fal_desk_state;
/* what    Loads, reads, judges and derives; sources may be NULL for those of the program. */
void fal_desk_derive(fal_desk_state *s, const fal_source *sources);
void fal_desk_release(fal_desk_state *s);
const fal_record *fal_desk_record_at(const fal_desk_state *s, const char *path);

/* A command that ran on the root; its texts are to be freed by fal_desk_forget. */
typedef struct {
    char *out, *err;
    size_t n_out, n_err;
    fal_error error;
    int status;
} fal_desk_ran;
typedef int (*fal_desk_command)(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
/* what    Runs a command with these arguments (NULL-terminated, argv[0] first); PATH is <root>/bin. */
void fal_desk_run(fal_desk_ran *r, fal_desk_command command, const char *const *arguments);
void fal_desk_forget(fal_desk_ran *r);

#endif
