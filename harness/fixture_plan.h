/* What a fixture is made of; for the fixture's own source files. */
#ifndef FAL_FIXTURE_PLAN_H
#define FAL_FIXTURE_PLAN_H

#include "harness/fixture.h"

/* Every number that a fixture can be given, by kind: DIM >= 1, POS >= 0, FLAG 0 or 1, REAL any finite number.
   The keys up to eps are fields of fal_<op>_args; those after it only shape the inputs. */
#define FAL_FIXTURE_KEYS(X) \
    X(n_tokens, DIM) X(n_embd, DIM) X(n_vocab, DIM) X(n_in, DIM) X(n_out, DIM) X(n_head, DIM) X(n_head_kv, DIM) \
    X(head_dim, DIM) X(n_ctx, DIM) X(n_rows, DIM) X(n_cols, DIM) X(n_expert, DIM) X(n_expert_used, DIM) X(n_ff, DIM) \
    X(first_pos, POS) X(x_per_slot, FLAG) X(eps, REAL) \
    X(x_scale, REAL) X(x_shift, REAL) X(up_value, REAL) X(gate_value, REAL) X(weights_uniform, FLAG) X(pinned, FLAG) \
    X(w_ones, FLAG) X(tokens_first, POS) X(same_v, FLAG) X(future_noise, FLAG) X(freq_base, REAL) X(faults, POS)

enum {
#define X(name, kind) KEY_##name,
    FAL_FIXTURE_KEYS(X)
#undef X
    N_KEYS,
    KEY_half_head_dim, /* not a key: the width of RoPE tables */
    KEY_none
};
#define FIRST_PARAMETER KEY_x_scale

#define FAL_FIXTURE_FILLS(X) \
    X(gauss) X(uniform) X(zeros) X(ones) X(ramp) X(large) X(tiny) X(extreme) X(outlier) X(ties) X(onehot) X(near_max) \
    X(router_hot) X(exact) X(exact_q8)
typedef enum {
#define X(name) FILL_##name,
    FAL_FIXTURE_FILLS(X)
#undef X
    N_FILLS
} fal_fill;

/* What an array holds, which decides how it is filled. */
typedef enum { ROLE_ACTIVATION, ROLE_PROBS, ROLE_NORM_WEIGHT, ROLE_WEIGHT, ROLE_TOKENS, ROLE_IDS, ROLE_SLOT_WEIGHTS,
               ROLE_COS, ROLE_SIN, ROLE_OUT, ROLE_OUT_IDS } fal_role;

#define MAX_ARRAYS 6
#define GUARD 64 /* bytes before and behind each array that the op must leave alone */

struct fal_fixture {
    const char *op;              /* of the table */
    fal_fill fill;
    uint64_t seed;
    uint32_t type;               /* fal_type of the weights */
    bool has_type;
    double value[N_KEYS];
    bool has[N_KEYS];
    fal_buffer buffers[MAX_ARRAYS];
    fal_role roles[MAX_ARRAYS];
    void *blocks[MAX_ARRAYS];    /* allocations: guard, data, guard */
    int n_buffers;
};

/* what    Draws one input array; its data is allocated. */
fal_status fal_fixture_draw(const fal_fixture *f, int i, fal_error *err);

#endif
