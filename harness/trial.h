/* What a candidate is tried on: the operation that its name means, the shapes of its place in a model, and how many calls. */
#ifndef FAL_TRIAL_H
#define FAL_TRIAL_H

#include "harness/contract.h"
#include "harness/fixture.h"

enum { FAL_TRIAL_MAX_SHAPES = 2, FAL_TRIAL_PROBES = 4, FAL_TRIAL_MAX_TIMED = 128 };

/* A name that --op takes: an operation of ops.def, which stands for all shapes and types of it, or a site of the forward
   pass ("moe_down"), which stands for its own. */
typedef struct {
    const char *name, *op;
    const char *types[FAL_TRIAL_MAX_SHAPES]; /* of weights that it must compute; NULL ends, none: all */
    int x_per_slot;                          /* of moe_matmul: 0 or 1; -1: either */
    fal_params shapes[FAL_TRIAL_MAX_SHAPES]; /* on which it is tried and timed */
    int n_shapes;
} fal_trial_op;

/* what    Finds the name. Shapes are those of Qwen3-Coder-30B-A3B, with fewer experts and words where small.
   refuses an unknown name with FAL_ERR_USAGE and the nearest one
   owns    nothing: static */
fal_status fal_trial_find(const char *name, bool small, const fal_trial_op **out, fal_error *err);
/* what    Whether a contract's shape is one that this name stands for. */
bool fal_trial_takes(const fal_trial_op *o, const fal_params *shape);

/* what    How many calls of that shape are timed (each on inputs of its own): from 4 to FAL_TRIAL_MAX_TIMED, fewer where the
           reference would take long for them; small: where both share the processors of a CPU.
   refuses a shape that the op does not have */
fal_status fal_trial_count(const char *op, const fal_params *shape, bool small, int *n_timed, fal_error *err);
/* what    How many of n_timed calls have weights of their own, which the others share in turn: more than caches hold, and not
           more than memory. */
int fal_trial_weights(const fal_fixture *f, int n_timed);

#endif
