/* Repro capsules: one failing call of one operation in one small file, cut down to the fewest inputs that still fail. */
#ifndef FAL_CAPSULE_H
#define FAL_CAPSULE_H

#include "harness/fixture.h"
#include "harness/judge.h"
#include "harness/observe.h"

/* Axes along which a call can be cut: t tokens (or rows), s slots of a token, e experts, v vocabulary, r rows of the weight,
   c columns (whole blocks of a quantised weight), h heads, g groups of heads with common keys, p cache positions. */
#define FAL_CAPSULE_AXES "tservchgp"
enum { FAL_CAPSULE_ARRAYS = 6, FAL_CAPSULE_VALUES = 16, FAL_CAPSULE_N_AXES = sizeof FAL_CAPSULE_AXES - 1 };

typedef struct {
    char name[16];
    fal_dtype dtype;
    int n_dims;
    int64_t ne[4];
    size_t nbytes;
    void *data;
    bool borrowed; /* data belongs to a model or an observation, and is only read */
} fal_capsule_array;

typedef struct {
    char name[24];
    double number;
    char text[24]; /* empty when a number */
} fal_capsule_value;

/* A call of an op with all of its inputs, and how its outputs are judged. */
typedef struct {
    char op[24];
    fal_capsule_value shape[FAL_CAPSULE_VALUES]; /* as of fixtures, with type */
    int n_shape;
    fal_capsule_array arrays[FAL_CAPSULE_ARRAYS]; /* inputs */
    int n_arrays;
    char judge[24];  /* "rows": largest relative L2 of a row of `output`; "sets": rows of ids that differ as sets; "written":
                        elements of any output that were never written or are not finite; "inside": whatever was done
                        beside the answer, or in its place; else a judgement of the contracts for ops */
    char output[12]; /* of rows and sets: the output that is judged */
    fal_limit limit; /* without a basis */
    fal_capsule_value with[FAL_CAPSULE_VALUES];
    int n_with;
    uint64_t seed;
    /* A sum that happens to cancel is no fault: errors count against the RMS of the whole output row that was cut. */
    float *scale;    /* [n_scale] RMS of each row's original; NULL: not known */
    int n_scale;
    double columns;  /* share of the columns that is left, 1 at first */
    int64_t *kept[FAL_CAPSULE_N_AXES]; /* original indices along each axis; NULL: never cut */
    int n_kept[FAL_CAPSULE_N_AXES];
    json_t *origin;  /* what failed where: falsifier, case, site, layer, tensor, model, backend, device, driver, revision */
} fal_capsule;

void fal_capsule_free(fal_capsule *c);
/* what    A deep copy; NULL when memory ran out. */
fal_capsule *fal_capsule_copy(const fal_capsule *c);
const fal_capsule_array *fal_capsule_find(const fal_capsule *c, const char *name);
/* what    Adds an input array with a copy of its data, or with data that must outlive the capsule. False when memory or
           places ran out. */
bool fal_capsule_add(fal_capsule *c, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, const void *data);
bool fal_capsule_borrow(fal_capsule *c, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, const void *data);
bool fal_capsule_set(fal_capsule *c, const char *name, double number);
double fal_capsule_get(const fal_capsule *c, const char *name, double fallback);
const char *fal_capsule_type(const fal_capsule *c); /* of the weight; "" when the op has none */
/* what    The shape as fixtures take it; params: room for FAL_CAPSULE_VALUES. */
fal_params fal_capsule_params(const fal_capsule_value *values, int n, fal_param *params);

/* ---- files: capsule.c --------------------------------------------------------------------------------------------- */

/* The outputs beside the inputs: what the backend gave and what the reference gave. */
typedef struct {
    fal_observation *got, *want; /* observations of the call; NULL when there is none */
} fal_capsule_outputs;

/* what    Writes the capsule as a safetensors file: in.*, got.*, want.*, scale, and all else in the JSON header with the
           digest of each input. */
fal_status fal_capsule_write(const fal_capsule *c, const fal_capsule_outputs *outputs, const char *path, fal_error *err);
/* what    Reads one. It may come from anywhere: names, numbers, shapes, ids and digests are checked against what the op takes.
   refuses anything else with FAL_ERR_INPUT naming file and field
   owns    *out: fal_capsule_free; *file (may be NULL): the open file, for got.* and want.*; fal_observation_close */
fal_status fal_capsule_open(const char *path, fal_capsule **out, fal_observation **file, fal_error *err);

/* ---- cutting: capsule_cut.c --------------------------------------------------------------------------------------- */

/* what    How many indices an axis has, in units that can be cut (whole blocks of columns); 0: the op cannot be cut along it. */
int fal_capsule_extent(const fal_capsule *c, char axis);
/* what    Columns of one unit of axis c. */
int fal_capsule_unit(const fal_capsule *c);
/* what    True when only a run of neighbours along this axis makes a call (positions of rope and attention). */
bool fal_capsule_is_range(const fal_capsule *c, char axis);
/* what    The capsule with only the units keep[0..n) (rising) of an axis. NULL when memory ran out, or when an id points at
           what would be dropped. */
fal_capsule *fal_capsule_cut(const fal_capsule *c, char axis, const int *keep, int n);
/* what    The unit along an axis that an element of an output belongs to, or -1. */
int fal_capsule_unit_of(const fal_capsule *c, const char *output, char axis, size_t element);
/* what    Elements of an output that one index of axis t has. */
size_t fal_capsule_row(const fal_capsule *c, const char *output);
/* what    The original index of unit i along an axis. */
int64_t fal_capsule_original(const fal_capsule *c, char axis, int i);

/* ---- making: capsule_make.c, capsule_make_op.c --------------------------------------------------------------------------------------- */

/* what    The call of the op at a site of a forward pass, fed with what the reference fed it: all tokens of a request, the
           whole weight. Borrows from model and reference. limit: of the local error.
   refuses an observation that lacks what the op takes: FAL_ERR_INPUT */
fal_status fal_capsule_from_forward(const fal_model *m, const fal_observation *reference, int request, fal_site site, int layer,
                                    const fal_limit *limit, fal_capsule **out, fal_error *err);
/* what    The weight that the op at a site takes, or NULL. */
const fal_tensor *fal_capsule_weight(const fal_model *m, fal_site site, int layer);
/* what    The call of a request of an op observation, judged as the check says.
   refuses a check whose judgement looks at more than one call: FAL_ERR_NOTHING */
fal_status fal_capsule_from_op(const fal_observation *o, int request, const fal_check *check, fal_capsule **out, fal_error *err);

/* what    Whether a check's judgement looks at one call at a time. */
bool fal_capsule_is_one_call(const fal_check *check);
/* what    Judges the call as the check says.
   refuses a check with more values than a capsule holds: FAL_ERR_NOTHING */
fal_status fal_capsule_judge_as(fal_capsule *c, const fal_check *check, fal_error *err);
/* what    The call that a fixture, which is filled and outlives the capsule, would make. Borrows its inputs; judge, output and
           limit are left to the caller.
   refuses a call with more values than a capsule holds: FAL_ERR_NOTHING */
fal_status fal_capsule_from_fixture(const fal_fixture *f, uint64_t seed, fal_capsule **out, fal_error *err);

/* what    Notes the RMS of every row of the judged output of an uncut call, from what the reference gave. False when memory
           ran out. */
bool fal_capsule_take_scale(fal_capsule *c, const fal_obs_tensor *want);

/* ---- trying: capsule_try.c ---------------------------------------------------------------------------------------- */

/* Two observers and a folder for their files. */
typedef struct {
    const char *program, *tmp, *backend, *variant, *device;
    const char *candidate; /* the file on trial, for backend "candidate"; else NULL */
    double timeout_s;      /* of one call; may be changed between trials */
    const volatile int *stop;
    fal_observer *reference, *trial;
    char *folder;
    int n; /* trials so far */
} fal_bench;
fal_status fal_bench_open(fal_bench *b, fal_error *err); /* with the strings set */
void fal_bench_close(fal_bench *b);

typedef struct {
    bool observed;      /* the backend and the reference both answered */
    bool fails;         /* the claim does not hold for this call */
    double value;       /* of the metric */
    const char *metric;
    size_t element;     /* the worst one of the judged output */
    double got, want;
    fal_outcome outcome; /* of the backend */
    char reason[512];
    char device[128], driver[128];
} fal_attempt;

/* what    Runs the call on the backend and on the reference and judges it. outputs (may be NULL): both observations, which
           the caller closes. */
void fal_capsule_try(fal_bench *b, const fal_capsule *c, fal_attempt *a, fal_capsule_outputs *outputs);

/* what    Tries the call once more and writes it as folder/name.capsule with the outputs of that trial. origin is borrowed.
   refuses a call that does not fail any more: FAL_ERR_DEVICE
   owns    *path: free */
fal_status fal_capsule_save(fal_bench *b, fal_capsule *c, json_t *origin, const char *folder, const char *name, char **path,
                            fal_attempt *a, uint64_t *bytes, fal_error *err);

/* ---- shrinking: capsule_shrink.c ---------------------------------------------------------------------------------- */

typedef struct {
    int trials;
    double seconds;
    bool complete; /* nothing smaller fails; false: the time or the number of trials was used up */
} fal_shrunk;
/* what    Delta debugging over all axes until no part can be left out: *c becomes the smallest call found that still fails.
           It must fail at first. */
fal_status fal_capsule_shrink(fal_bench *b, fal_capsule **c, fal_attempt *last, double limit_s, fal_shrunk *out, fal_error *err);
/* what    Which unit of columns has the largest error, by one call with a probe per unit that is zero elsewhere; -1 when
           none is beyond the limit. For matmul and moe_matmul of one row of inputs. */
int fal_capsule_probe(fal_bench *b, const fal_capsule *c, fal_error *err);

#endif
