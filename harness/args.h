/* What every backend checks about an operation's arguments before it touches memory, so that all refuse alike. */
#ifndef FAL_ARGS_H
#define FAL_ARGS_H

#include "harness/backend.h"

/* what    fal_<op>_args_check for every op of harness/ops.def: FAL_OK when the arguments may be computed with.
   refuses a NULL struct or array; a dimension <= 0; arrays of more than PTRDIFF_MAX bytes; a weight type that nothing
           computes, or rows that are no whole number of its blocks; an eps that is negative or not finite; an odd
           head_dim (rope); n_head no multiple of n_head_kv; first_pos < 0 or first_pos + n_tokens > n_ctx;
           n_expert_used > n_expert; a token id outside [0, n_vocab) (embed); an expert id outside [0, n_expert)
           (moe_matmul, and router when pinned_ids are given): FAL_ERR_INPUT naming op, argument, found and expected
   Reads token ids and expert ids; looks at no other array, writes to none. Costs O(ids). */
#define FAL_OP(op) fal_status fal_##op##_args_check(const fal_##op##_args *a, fal_error *err);
#include "harness/ops.def"

/* what    *out = a * b, or false (and *out untouched) when that does not fit in PTRDIFF_MAX. */
bool fal_mul_size(size_t a, size_t b, size_t *out);

#endif
