/* Where two forward passes part: the errors of every op of every layer, from observations, under the contract's limits. */
#ifndef FAL_DIVERGENCE_H
#define FAL_DIVERGENCE_H

#include "falsifiers/judgement.h"

/* The passes that are held against the reference's. LOCAL: each op fed with the reference's values (teacher-forced), so the
   error is its own. FREE: free-running, so the error has piled up. PINNED: free-running with the reference's experts. */
typedef enum { FAL_PASS_LOCAL, FAL_PASS_FREE, FAL_PASS_PINNED, FAL_N_PASSES } fal_pass;
const char *fal_pass_name(fal_pass pass); /* "local", "accumulated", "pinned" */

/* One op of one layer in one pass. value: largest relative L2 of a row; of expert ids, how many sets differ. */
typedef struct {
    bool has;
    double value;
    uint64_t rows, beyond;     /* rows (sets) compared; beyond the limit (only LOCAL has one) */
    int request;               /* the worst row: request, position, element of the row, and both values there */
    size_t position, element;
    double got, want;
    double gap;                /* of expert ids: the widest gap of the reference's logits that was crossed */
    uint64_t excused;          /* of expert ids: sets that differ by a near-tie */
} fal_divergence;

typedef struct {
    fal_tap tap;
    fal_limit limit;           /* of the local error */
    bool has_limit;            /* false: no check of the contracts covers this op */
    fal_divergence pass[FAL_N_PASSES];
    bool breaks, marginal;     /* the local error is beyond the limit; within, but beyond the warn mark */
} fal_divergence_row;

/* One row per op and layer in forward order. */
typedef struct {
    fal_divergence_row *rows;
    int n;
    fal_config config;
} fal_divergence_table;

/* what    All sites of a model in forward order, nothing compared yet. Expert ids have the limit `equal 0`: a router that
           is fed with the reference's probabilities has the reference's experts, ties and all.
   owns    *out: fal_divergence_free */
fal_status fal_divergence_make(const fal_config *c, fal_divergence_table *out, fal_error *err);
void fal_divergence_free(fal_divergence_table *t);
/* what    Gives the sites that the taps of a teacher-forced check name its limit; of several the narrowest. */
void fal_divergence_limit(fal_divergence_table *t, const fal_check *check);
/* what    Holds one pass of the backend on trial against the reference's, site by site, and lets go of both sides' pages
           after each, so that memory does not grow with the depth. router: the check whose `with` says what a near-tie is
           (NULL: nothing is).
   refuses a tensor that is missing or misshapen, other tokens: FAL_ERR_INPUT */
fal_status fal_divergence_add(fal_divergence_table *t, fal_pass pass, const fal_observation *got, const fal_observation *want,
                              const fal_check *router, fal_error *err);
/* what    The first op in forward order whose local error breaks its limit, or -1. */
int fal_divergence_first(const fal_divergence_table *t);

#endif
