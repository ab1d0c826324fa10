/* What the files that run a plan share: the state of each observation. */
#ifndef FAL_RUN_PARTS_H
#define FAL_RUN_PARTS_H

#include "harness/run.h"

/* One observation of the plan on its way. */
typedef struct {
    bool done;
    fal_outcome outcome;
    char *path;              /* of its file */
    fal_observation *opened; /* mapped while cases need it */
    int last_step;           /* observation after which nobody needs it any more */
    /* a second try in another process, after a case was falsified */
    bool tried_again;
    fal_outcome second_outcome;
    char *second_path;
    fal_observation *second;
} fal_observed;

typedef struct {
    const char *backend, *variant, *mutant; /* mutant: NULL for none */
    fal_observer *first, *second;
} fal_crew;

typedef struct {
    fal_run run; /* first: fal_run_free finds the whole by it */
    const fal_run_options *options;
    fal_observed *observed; /* [plan->n_specs] */
    fal_crew crews[2 * FAL_MAX_BACKENDS];
    int n_crews;
    char *folder;
    fal_model *model;
    fal_known_file known; /* the model's file and digest */
    bool blocking; /* now: every kernel is waited for */
    int n_named;   /* faults of devices of which the kernel was looked for */
    bool failed_already; /* for --fail-fast */
} fal_run_parts;

/* run_observe.c */
/* what    Makes observation i, unless what it needs is missing; always fills its outcome. */
void fal_run_observe(fal_run_parts *r, int i);
/* what    Makes observation i again in another process, once. */
void fal_run_observe_again(fal_run_parts *r, int i);
/* what    The file of an observation that is DONE, mapped; NULL with the reason in *err. */
const fal_observation *fal_run_open(fal_run_parts *r, int i, fal_error *err);
const fal_observation *fal_run_open_second(fal_run_parts *r, int i, fal_error *err);
/* what    Closes what no later step needs, and removes its file unless it is kept. */
void fal_run_release(fal_run_parts *r, int step);
/* what    Ends all observers; closes and removes everything that is left, and the folder. */
void fal_run_close(fal_run_parts *r);

/* run_floor.c */
/* what    Turns a pass that rests on too few prompts or positions into mistrusted. Once all cases are judged. */
void fal_run_hold_floors(fal_run *run);

/* run_judge.c */
/* what    The verdict of a case whose observations were all attempted. */
void fal_run_judge(fal_run_parts *r, int case_index);

#endif
