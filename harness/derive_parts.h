/* What the files that derive status share. */
#ifndef FAL_DERIVE_PARTS_H
#define FAL_DERIVE_PARTS_H

#include "harness/arena.h"
#include "harness/derive.h"

typedef struct {
    fal_derived derived; /* first: fal_derived_free finds the whole by it */
    fal_arena arena;
    const fal_contract_set *set;
    const fal_records *records;
    fal_cell *cells;
    int n_cells;
    fal_derived_contract *contracts;
    unsigned char *visited; /* per contract: levels are found along dependencies */
} fal_derive_parts;

/* what    Text in the arena. */
const char *fal_derive_text(fal_derive_parts *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* what    Makes all cells; derive_cells.c */
void fal_derive_cells(fal_derive_parts *p);
/* what    What evidence says about an obligation on some backends (all that are named when n is 0). */
fal_standing fal_derive_standing(fal_derive_parts *p, const char *obligation, const char *const *backends, int n);
/* what    The state of a whole whose parts have these counts. */
fal_claim_state fal_claim_state_of(const int by[FAL_N_CLAIM_STATES]);

#endif
