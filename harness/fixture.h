/* Fixtures: the inputs of one call of one operation, made from (op, shape, fill, seed) alone, the same bytes everywhere. */
#ifndef FAL_FIXTURE_H
#define FAL_FIXTURE_H

#include "harness/backend.h"
#include "harness/contract.h"
#include "harness/observation.h"

/* One array argument of an operation. */
typedef struct {
    const char *name;             /* as in fal_<op>_args */
    fal_dtype dtype;              /* quantised and f16 weights are U8 */
    int n_dims; int64_t ne[4];    /* of a U8 weight the last one counts bytes of a row */
    size_t n, nbytes;
    bool is_input, is_output;     /* both for the KV caches of kv_store */
    void *data;                   /* what the operation gets; NULL until fal_fixture_fill */
} fal_buffer;

typedef struct fal_fixture fal_fixture;

/* what    Plans one call: checks names and numbers and computes the shape of every array, but makes none.
           Values come from shape, then with, then then, the later ones winning. then (NULL or empty for a first request)
           may also name another op; what the shape says that the other op does not have is left out.
   shape   every integer and float field of fal_<op>_args, and type ("Q4_K") where the op has weights. Left out: eps 1e-6,
           first_pos 0, n_ctx first_pos + n_tokens, x_per_slot 0
   fill    of activations: gauss uniform zeros ones ramp large tiny extreme outlier ties onehot near_max router_hot exact exact_q8;
           NULL for gauss. exact: nothing that the op computes from it is ever rounded, whatever the order of its sums, and
           of weights every nibble matters (harness/exact.def tells op by op); exact_q8: so even where activations are
           rounded to 8 bits in blocks of 32 or 256. probs are the softmax of a filled array. Weights, ids and norm weights have their own distribution.
   further x_scale x_shift (after filling, activations), up_value gate_value (swiglu), weights_uniform (moe_sum), pinned
           (router), w_ones (rmsnorm, qk_norm), tokens_first (embed), same_v future_noise (attention), freq_base (rope),
           faults (embed, matmul, moe_matmul with an exact fill): that many wrong nibbles in w, each in a row of its own
   refuses an unknown op or fill, an unknown name in shape or then, a parameter that has no effect on the op, a missing or
           impossible dimension, a type that nothing computes: FAL_ERR_INPUT. Names in with that are not known here belong
           to the judgement and are passed over (fal_fixture_knows).
   owns    *out: fal_fixture_free. Borrows nothing after the call. */
fal_status fal_fixture_make(const char *op, const fal_params *shape, const char *fill, uint64_t seed,
                            const fal_params *with, const fal_params *then, fal_fixture **out, fal_error *err);
void fal_fixture_free(fal_fixture *f);

/* what    Makes the arrays: inputs drawn, each from its own stream (seed, argument name), outputs poisoned with 0xFF.
   refuses an exact fill whose results cannot be shown to be exact: FAL_ERR_INPUT with the bound that breaks */
fal_status fal_fixture_fill(fal_fixture *f, fal_error *err);
/* what    Makes the arrays with the inputs of a file: tensors in.<argument> of its first request, each of the type and shape
           that the call takes; outputs poisoned with 0xFF.
   refuses a tensor that is missing or of another type or shape: FAL_ERR_INPUT */
fal_status fal_fixture_take(fal_fixture *f, const fal_observation *o, fal_error *err);
/* what    Calls the operation of backend b on the arrays.
   refuses a call that wrote beside an output array: FAL_ERR_INTERNAL */
fal_status fal_fixture_run(fal_fixture *f, const fal_backend *b, fal_context *ctx, fal_error *err);

/* what    The call as named fields; arrays point into the fixture. */
void fal_fixture_call(const fal_fixture *f, fal_call *out);
/* what    Takes the weights of another fixture of the same shape, which is filled and outlives this one: calls that share
           them. Before fal_fixture_fill. */
void fal_fixture_share_weights(fal_fixture *f, const fal_fixture *from);

const char *fal_fixture_op(const fal_fixture *f); /* the op that is called */
const fal_buffer *fal_fixture_buffers(const fal_fixture *f, int *n);
fal_buffer *fal_fixture_buffer(fal_fixture *f, const char *name); /* NULL when the op has none of that name */
/* what    All values that the call is made of, as a new JSON object. NULL when memory ran out. */
json_t *fal_fixture_params(const fal_fixture *f);

/* what    Whether the name is an input of fixtures (of any op): a shape key or one of the further parameters. */
bool fal_fixture_knows(const char *name);
/* what    The names of all fills. */
const char *const *fal_fixture_fills(int *n);
/* what    What the exact fill of an op makes exact, and what it leaves to other fills (harness/exact.def); false, and *how
           says why, for an op that has none. */
bool fal_fixture_exact(const char *op, const char **how, const char **leaves);
/* what    A small shape that the op computes, for trials that need no particular one; NULL for an unknown op. */
const fal_params *fal_fixture_example(const char *op);
/* what    The i-th dimension of an op that must be positive; NULL beyond the last one, or for an unknown op. */
const char *fal_fixture_dim(const char *op, int i);
/* what    Passes another value for a dimension to the op, without making other arrays: a spoilt call. */
void fal_fixture_spoil_dim(fal_fixture *f, const char *name, int value);

#endif
