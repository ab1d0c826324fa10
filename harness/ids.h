/* The lock file of ids: which words every id stood for when it was locked, so that none is given another meaning unseen. */
#ifndef FAL_IDS_H
#define FAL_IDS_H

#include "harness/contract.h"
#include "harness/options.h"

typedef enum {
    FAL_ID_SAME,
    FAL_ID_NEW, /* not locked yet */
    FAL_ID_CHANGED, /* the words are others than those that were locked; or an id that was taken out came back with others */
    FAL_ID_GONE /* locked, and in no contract */
} fal_id_state;

typedef enum { FAL_ID_OBLIGATION, FAL_ID_FALSIFIER, FAL_ID_STAGE } fal_id_kind;
const char *fal_id_kind_name(fal_id_kind k);

typedef struct {
    fal_id_kind kind;
    const char *id;
    fal_id_state state;
    const char *sha256, *stem, *version;             /* of the contracts; NULL when gone */
    const char *was_sha256, *was_stem, *was_version; /* of the lock; NULL when new */
    bool taken_out;                                  /* the lock has it as gone, with consent */
    const fal_contract *contract;                    /* NULL when gone */
    fal_place place;                                 /* in its file */
} fal_id;

typedef struct {
    const fal_id *items; /* by kind, then id */
    int n;
    int by[FAL_ID_GONE + 1];
} fal_ids;

/* what    All ids of the contracts beside those of the lock file (whose absence is an empty one). whole: the contracts are
           all that there are, so that a locked id of another contract is gone; else only ids of these contracts count.
   refuses a lock file that is none, with file and line: FAL_ERR_INPUT
   owns    *out: fal_ids_free; borrows set */
fal_status fal_ids_compare(const fal_contract_set *set, const char *lock, bool whole, fal_ids **out, fal_error *err);
void fal_ids_free(fal_ids *ids);

/* what    Writes the lock file anew, whole or not at all. An id that is gone stays in it, marked, so that nobody takes it up
           for something else.
   refuses, with FAL_ERR_INPUT, changed or gone ids that accept does not name; changed words in a contract whose version is
           that of the lock; with FAL_ERR_NOTHING a name in accept that is neither changed nor gone */
fal_status fal_ids_write(const fal_ids *ids, const fal_names *accept, const char *lock, fal_error *err);

#endif
