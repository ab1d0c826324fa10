/* What the files that read evidence share: the folder while it is read. */
#ifndef FAL_RECORDS_PARTS_H
#define FAL_RECORDS_PARTS_H

#include "harness/arena.h"
#include "harness/records.h"

typedef struct {
    const char *name; /* "20261121T075017Z-e4e1553f.json" */
    char sha256[65];
    json_t *json;
} fal_records_run;

typedef struct {
    fal_records records; /* first: fal_records_free finds the whole by it */
    fal_arena arena;
    fal_record *items;
    int n_items, cap_items;
    fal_record_problem *problems;
    int n_problems, cap_problems;
    fal_records_run *runs; /* sorted by name, which is by time */
    int n_runs, cap_runs;
} fal_records_parts;

/* what    Notes a problem; the texts are copied. Marks the record, when there is one. */
void fal_records_problem(fal_records_parts *p, fal_record *record, const char *path, const char *hint, const char *fmt,
                         ...) __attribute__((format(printf, 5, 6)));
/* what    Room for one more element. False (and the arena failed) when memory ran out. */
bool fal_records_grow(fal_records_parts *p, void **items, int n, int *cap, size_t size);
/* what    Holds records against the run summaries, and each against itself; records_check.c */
void fal_records_check(fal_records_parts *p);
/* what    Reads the run summaries of a folder, sorted; unreadable ones become problems. */
fal_status fal_records_read_runs(fal_records_parts *p, const char *folder, fal_error *err);
/* what    The record of that path, or NULL. Needs them sorted. */
fal_record *fal_records_find(fal_records_parts *p, const char *path);

#endif
