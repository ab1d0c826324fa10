/* Bisecting: one plan of its own that finds the first op whose own error breaks its limit, and all others that do. */
#ifndef FAL_BISECT_H
#define FAL_BISECT_H

#include "falsifiers/divergence.h"
#include "harness/capsule.h"

/* The four observations of a bisection, in the order in which they are made. */
typedef enum { FAL_STEP_REFERENCE, FAL_STEP_TEACHER, FAL_STEP_FREE, FAL_STEP_PINNED, FAL_N_STEPS } fal_bisect_step;
const char *fal_bisect_step_name(fal_bisect_step s);

/* All borrowed. */
typedef struct {
    const char *program, *tmp; /* own binary; folder for observation files, which need disk for every layer and no memory */
    const char *model, *backend, *variant, *device; /* device NULL: the first usable */
    const char *mirror; /* variant of the reference that performs the declared arithmetic; NULL or empty: the exact one */
    bool decode;        /* token by token, as the checks of a fused variant do */
    const int32_t *const *tokens;
    const int *n_tokens;
    const char *const *names; /* of the prompts */
    int n_requests;
    const fal_contract_set *contracts; /* whose teacher-forced checks give the limits */
    const fal_known_file *known;       /* digest of the model, or NULL */
    double timeout_s;
    const volatile int *stop;
    FILE *progress; /* a terminal to keep one line on, or NULL */
} fal_bisect_in;

/* Its own account: planned = within + beyond + unjudged + not_observed. */
typedef struct {
    int planned;      /* ops of all layers */
    int within, beyond;
    int unjudged;     /* observed, but no check of the contracts gives a limit */
    int not_observed;
} fal_bisect_counts;

/* What is known of the place of a broken op beyond its name. */
typedef struct {
    bool tried;         /* the op was run by itself, with what the reference fed it */
    bool alone;         /* and failed there too; false: the fault is not in the op but around it */
    const char *tensor; /* the weight, or NULL; of the model's file, valid while the bisection is */
    int expert, row;    /* of the worst element; -1 where there is none */
    int block, unit;    /* columns [block * unit, (block + 1) * unit) have the largest error; -1: not known */
} fal_bisect_place;

/* The capsule of the first broken op. */
typedef struct {
    char *path;         /* NULL: none was written, and why */
    char why[512];
    fal_capsule *call;  /* as it is in the file */
    fal_attempt attempt;
    fal_shrunk shrunk;
    uint64_t bytes;
} fal_bisect_capsule;

typedef struct {
    fal_bisect_in in; /* strings are still borrowed */
    fal_divergence_table table;
    fal_outcome outcomes[FAL_N_STEPS];
    bool made[FAL_N_STEPS];         /* the observation was judged */
    char *paths[FAL_N_STEPS];       /* of the reference's and the teacher-forced observation; removed by fal_bisect_free */
    char *folder;
    json_t *ran;                    /* about.ran of the teacher-forced pass, or NULL */
    fal_bisect_counts counts;
    const char *taps[62];           /* what is observed: all sites, or those that the checks of a fused variant name */
    int n_taps;
    bool fused;                     /* a variant with checks of its own, whose sites are not single ops */
    int first;                      /* row of the first divergence, or -1 */
    fal_bisect_place *places;       /* [table.n]; NULL before fal_bisect_find */
    fal_bisect_capsule capsule;
    fal_model *model;
    double seconds, step_seconds[FAL_N_STEPS], find_seconds; /* the first is all of it */
} fal_bisect;

/* what    Observes the reference once and the backend three times, teacher-forced, free-running and with pinned experts, and
           fills the table. A pass that fails is an outcome; without the teacher-forced one nothing is judged.
   refuses a model that cannot be opened: FAL_ERR_INPUT; no folder, or too little room in it: FAL_ERR_OUTPUT
   owns    *out: fal_bisect_free */
fal_status fal_bisect_make(const fal_bisect_in *in, fal_bisect **out, fal_error *err);
void fal_bisect_free(fal_bisect *b);

/* what    Looks into the ops that break their limit: weight, expert, row and block, whether each fails by itself (at most
           `most` of them), and for the first one that does a capsule in folder, shrunk for at most shrink_s seconds. name:
           of the falsifier's case that led here, or NULL. Nothing to do where no op breaks its limit. */
fal_status fal_bisect_find(fal_bisect *b, const char *folder, const char *name, int most, double shrink_s, fal_error *err);

/* what    0 all within, 1 some op beyond its limit, 5 not all of it was observed, 77 blocked; and the reason. */
int fal_bisect_exit(const fal_bisect *b, char *reason, size_t size);
/* what    The table for people: layers as columns, one mark per op; then every op that breaks its limit. all: every row. */
void fal_bisect_report(const fal_bisect *b, bool all, bool colour, FILE *f);
/* what    Everything in it as a new JSON object. NULL when memory ran out. */
json_t *fal_bisect_json(const fal_bisect *b);

#endif
