/* Plans fixtures: which arrays an operation has, their shapes, and which numbers and names are accepted. */
#include "harness/fixture_exact.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The most bytes that the arrays of one call may take: a wrong digit must not exhaust the machine. */
#define MAX_BYTES ((size_t)16 << 30)

enum { DIM, POS, FLAG, REAL };
static const struct {
    const char *name;
    int kind;
} keys[] = {
#define X(name, kind) { #name, kind },
    FAL_FIXTURE_KEYS(X)
#undef X
};

static const char *const fills[] = {
#define X(name) #name,
    FAL_FIXTURE_FILLS(X)
#undef X
};

typedef struct {
    const char *name;
    fal_role role;
    int dims[3]; /* keys; the unused ones are KEY_none */
    bool in_out;
} array_info;

typedef struct {
    const char *op;
    int keys[8];                   /* fields of fal_<op>_args, KEY_none ends */
    array_info arrays[MAX_ARRAYS]; /* name NULL ends */
    int parameters[6];             /* which further parameters have an effect, KEY_none ends */
    fal_params example;
} op_info;

/* clang-format off: a table, one op a row */
#define K(name) KEY_##name
#define SHAPE(...)                                                                                                     \
    {                                                                                                                  \
        .params = (const fal_param[]){ __VA_ARGS__ },                                                                  \
        .n_params = (int)(sizeof((const fal_param[]){ __VA_ARGS__ }) / sizeof(fal_param))                              \
    }
#define N(key, number)                                                                                                 \
    {                                                                                                                  \
#key, number, NULL                                                                                             \
    }
#define D1(a)                                                                                                          \
    {                                                                                                                  \
        K(a), K(none), K(none)                                                                                         \
    }
#define D2(a, b)                                                                                                       \
    {                                                                                                                  \
        K(a), K(b), K(none)                                                                                            \
    }
#define D3(a, b, c)                                                                                                    \
    {                                                                                                                  \
        K(a), K(b), K(c)                                                                                               \
    }

static const op_info ops[] = {
    { "embed",
      { K(n_tokens), K(n_embd), K(n_vocab), K(none) },
      { { "w", ROLE_WEIGHT, D2(n_vocab, n_embd), false },
        { "tokens", ROLE_TOKENS, D1(n_tokens), false },
        { "y", ROLE_OUT, D2(n_tokens, n_embd), false } },
      { K(tokens_first), K(faults), K(none) },
      SHAPE(N(n_tokens, 3), N(n_embd, 256), N(n_vocab, 32), { "type", 0, "Q4_K" }) },
    { "rmsnorm",
      { K(n_tokens), K(n_embd), K(eps), K(none) },
      { { "x", ROLE_ACTIVATION, D2(n_tokens, n_embd), false },
        { "w", ROLE_NORM_WEIGHT, D1(n_embd), false },
        { "y", ROLE_OUT, D2(n_tokens, n_embd), false } },
      { K(x_scale), K(x_shift), K(w_ones), K(none) },
      SHAPE(N(n_tokens, 3), N(n_embd, 256)) },
    { "matmul",
      { K(n_tokens), K(n_in), K(n_out), K(none) },
      { { "w", ROLE_WEIGHT, D2(n_out, n_in), false },
        { "x", ROLE_ACTIVATION, D2(n_tokens, n_in), false },
        { "y", ROLE_OUT, D2(n_tokens, n_out), false } },
      { K(x_scale), K(x_shift), K(faults), K(none) },
      SHAPE(N(n_tokens, 3), N(n_in, 256), N(n_out, 33), { "type", 0, "Q4_K" }) },
    { "qk_norm",
      { K(n_tokens), K(n_head), K(head_dim), K(eps), K(none) },
      { { "x", ROLE_ACTIVATION, D3(n_tokens, n_head, head_dim), false },
        { "w", ROLE_NORM_WEIGHT, D1(head_dim), false },
        { "y", ROLE_OUT, D3(n_tokens, n_head, head_dim), false } },
      { K(x_scale), K(x_shift), K(w_ones), K(none) },
      SHAPE(N(n_tokens, 3), N(n_head, 4), N(head_dim, 64)) },
    { "rope",
      { K(n_tokens), K(n_head), K(head_dim), K(first_pos), K(n_ctx), K(none) },
      { { "x", ROLE_ACTIVATION, D3(n_tokens, n_head, head_dim), false },
        { "cos", ROLE_COS, D2(n_ctx, half_head_dim), false },
        { "sin", ROLE_SIN, D2(n_ctx, half_head_dim), false },
        { "y", ROLE_OUT, D3(n_tokens, n_head, head_dim), false } },
      { K(x_scale), K(x_shift), K(freq_base), K(none) },
      SHAPE(N(n_tokens, 3), N(n_head, 4), N(head_dim, 64), N(first_pos, 5)) },
    { "kv_store",
      { K(n_tokens), K(n_head_kv), K(head_dim), K(first_pos), K(n_ctx), K(none) },
      { { "k", ROLE_ACTIVATION, D3(n_tokens, n_head_kv, head_dim), false },
        { "v", ROLE_ACTIVATION, D3(n_tokens, n_head_kv, head_dim), false },
        { "k_cache", ROLE_ACTIVATION, D3(n_ctx, n_head_kv, head_dim), true },
        { "v_cache", ROLE_ACTIVATION, D3(n_ctx, n_head_kv, head_dim), true } },
      { K(x_scale), K(x_shift), K(none) },
      SHAPE(N(n_tokens, 3), N(n_head_kv, 2), N(head_dim, 64), N(first_pos, 2), N(n_ctx, 9)) },
    { "attention",
      { K(n_tokens), K(n_head), K(n_head_kv), K(head_dim), K(first_pos), K(n_ctx), K(none) },
      { { "q", ROLE_ACTIVATION, D3(n_tokens, n_head, head_dim), false },
        { "k_cache", ROLE_ACTIVATION, D3(n_ctx, n_head_kv, head_dim), false },
        { "v_cache", ROLE_ACTIVATION, D3(n_ctx, n_head_kv, head_dim), false },
        { "y", ROLE_OUT, D3(n_tokens, n_head, head_dim), false } },
      { K(x_scale), K(x_shift), K(same_v), K(future_noise), K(none) },
      SHAPE(N(n_tokens, 3), N(n_head, 4), N(n_head_kv, 2), N(head_dim, 64), N(first_pos, 2), N(n_ctx, 9)) },
    { "add",
      { K(n_tokens), K(n_embd), K(none) },
      { { "a", ROLE_ACTIVATION, D2(n_tokens, n_embd), false },
        { "b", ROLE_ACTIVATION, D2(n_tokens, n_embd), false },
        { "y", ROLE_OUT, D2(n_tokens, n_embd), false } },
      { K(x_scale), K(x_shift), K(none) },
      SHAPE(N(n_tokens, 3), N(n_embd, 256)) },
    { "softmax",
      { K(n_rows), K(n_cols), K(none) },
      { { "x", ROLE_ACTIVATION, D2(n_rows, n_cols), false }, { "y", ROLE_OUT, D2(n_rows, n_cols), false } },
      { K(x_scale), K(x_shift), K(none) },
      SHAPE(N(n_rows, 3), N(n_cols, 16)) },
    { "router",
      { K(n_tokens), K(n_expert), K(n_expert_used), K(none) },
      { { "probs", ROLE_PROBS, D2(n_tokens, n_expert), false },
        { "pinned_ids", ROLE_IDS, D2(n_tokens, n_expert_used), false }, /* left out unless pinned */
        { "ids", ROLE_OUT_IDS, D2(n_tokens, n_expert_used), false },
        { "weights", ROLE_OUT, D2(n_tokens, n_expert_used), false } },
      { K(x_scale), K(x_shift), K(pinned), K(none) },
      SHAPE(N(n_tokens, 3), N(n_expert, 16), N(n_expert_used, 4)) },
    { "moe_matmul",
      { K(n_tokens), K(n_expert), K(n_expert_used), K(n_in), K(n_out), K(x_per_slot), K(none) },
      { { "w", ROLE_WEIGHT, D3(n_expert, n_out, n_in), false },
        { "x", ROLE_ACTIVATION, D3(n_tokens, n_expert_used, n_in),
          false }, /* without the middle one unless x_per_slot */
        { "ids", ROLE_IDS, D2(n_tokens, n_expert_used), false },
        { "y", ROLE_OUT, D3(n_tokens, n_expert_used, n_out), false } },
      { K(x_scale), K(x_shift), K(faults), K(none) },
      SHAPE(N(n_tokens, 3), N(n_expert, 8), N(n_expert_used, 2), N(n_in, 256), N(n_out, 33), { "type", 0, "Q4_K" }) },
    { "swiglu",
      { K(n_rows), K(n_ff), K(none) },
      { { "gate", ROLE_ACTIVATION, D2(n_rows, n_ff), false },
        { "up", ROLE_ACTIVATION, D2(n_rows, n_ff), false },
        { "y", ROLE_OUT, D2(n_rows, n_ff), false } },
      { K(x_scale), K(x_shift), K(up_value), K(gate_value), K(none) },
      SHAPE(N(n_rows, 3), N(n_ff, 256)) },
    { "moe_swiglu",
      { K(n_tokens), K(n_expert), K(n_expert_used), K(n_embd), K(n_ff), K(none) },
      { { "w_gate", ROLE_WEIGHT, D3(n_expert, n_ff, n_embd), false },
        { "w_up", ROLE_WEIGHT, D3(n_expert, n_ff, n_embd), false },
        { "x", ROLE_ACTIVATION, D2(n_tokens, n_embd), false },
        { "ids", ROLE_IDS, D2(n_tokens, n_expert_used), false },
        { "y", ROLE_OUT, D3(n_tokens, n_expert_used, n_ff), false } },
      { K(x_scale), K(x_shift), K(none) },
      SHAPE(N(n_tokens, 3), N(n_expert, 8), N(n_expert_used, 2), N(n_embd, 256), N(n_ff, 33), { "type", 0, "Q4_K" }) },
    { "moe_sum",
      { K(n_tokens), K(n_expert_used), K(n_embd), K(none) },
      { { "x", ROLE_ACTIVATION, D3(n_tokens, n_expert_used, n_embd), false },
        { "weights", ROLE_SLOT_WEIGHTS, D2(n_tokens, n_expert_used), false },
        { "y", ROLE_OUT, D2(n_tokens, n_embd), false } },
      { K(x_scale), K(x_shift), K(weights_uniform), K(none) },
      SHAPE(N(n_tokens, 3), N(n_expert_used, 4), N(n_embd, 256)) },
    { "argmax",
      { K(n_rows), K(n_cols), K(none) },
      { { "x", ROLE_ACTIVATION, D2(n_rows, n_cols), false }, { "ids", ROLE_OUT_IDS, D1(n_rows), false } },
      { K(x_scale), K(x_shift), K(none) },
      SHAPE(N(n_rows, 3), N(n_cols, 33)) },
};

/* clang-format on */

/* A new line in ops.def without one here does not compile. */
enum {
#define FAL_OP(op) OP_##op,
#include "harness/ops.def"
    N_OPS
};
_Static_assert(sizeof ops / sizeof ops[0] == N_OPS, "every op of harness/ops.def has a row here");

static const op_info *find_op(const char *op)
{
    for (size_t i = 0; i < N_OPS; i++)
        if (strcmp(ops[i].op, op) == 0) return &ops[i];
    return NULL;
}

static int find_key(const char *name)
{
    for (int k = 0; k < N_KEYS; k++)
        if (strcmp(keys[k].name, name) == 0) return k;
    return -1;
}

static bool listed(const int *list, int key)
{
    for (; *list != KEY_none; list++)
        if (*list == key) return true;
    return false;
}

static bool has_weights(const op_info *o)
{
    for (int i = 0; i < MAX_ARRAYS && o->arrays[i].name; i++)
        if (o->arrays[i].role == ROLE_WEIGHT) return true;
    return false;
}

static fal_status unknown(const char *what, const char *name, const char *const *known, size_t n, fal_error *err)
{
    fal_text hint = { 0 };
    const char *near = fal_nearest(name, known, n);
    if (near)
        fal_text_addf(&hint, "did you mean '%s'?", near);
    else
        fal_text_add(&hint, "there are:");
    for (size_t i = 0; !near && i < n; i++) fal_text_addf(&hint, " %s", known[i]);
    const fal_status st = fal_fail(err, FAL_ERR_INPUT, fal_text_str(&hint), "no %s is named '%.60s'", what, name);
    fal_text_free(&hint);
    return st;
}

static fal_status unknown_op(const char *op, fal_error *err)
{
    const char *names[N_OPS];
    for (size_t i = 0; i < N_OPS; i++) names[i] = ops[i].op;
    return unknown("op", op, names, N_OPS, err);
}

static fal_status unknown_key(const char *op, const char *name, fal_error *err)
{
    const char *names[N_KEYS];
    for (size_t k = 0; k < N_KEYS; k++) names[k] = keys[k].name;
    char what[80];
    snprintf(what, sizeof what, "dimension or parameter of %s", op);
    return unknown(what, name, names, N_KEYS, err);
}

static fal_status check_number(const char *op, int key, double v, fal_error *err)
{
    const char *name = keys[key].name;
    if (keys[key].kind == REAL)
        return isfinite(v) ? FAL_OK : fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s is not a finite number", op, name);
    const double low = keys[key].kind == DIM ? 1 : 0, high = keys[key].kind == FLAG ? 1 : INT32_MAX;
    if (v >= low && v <= high && v == floor(v)) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s is %.17g, expected an integer from %g to %g", op, name, v, low,
                    high);
}

/* Where a list of parameters came from decides what may stand in it. */
typedef enum { FROM_SHAPE, FROM_WITH, FROM_THEN } origin;

/* base: the op of the shape; o: the op that is called. */
static fal_status take_params(fal_fixture *f, const op_info *base, const op_info *o, const fal_params *p, origin from,
                              fal_error *err)
{
    for (int i = 0; p && i < p->n_params; i++) {
        const fal_param *v = &p->params[i];
        if (strcmp(v->name, "op") == 0 && from == FROM_THEN) continue;
        if (strcmp(v->name, "type") == 0) {
            if (from == FROM_SHAPE && !has_weights(o) && has_weights(base)) continue;
            if (!has_weights(o)) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: type: this op has no weights", o->op);
            const int type = v->text ? fal_type_by_name(v->text) : -1;
            if (type < 0 || !fal_type_get((uint32_t)type)->computed)
                return fal_fail(err, FAL_ERR_INPUT, "use F32, F16, BF16, Q8_0, Q4_K, Q5_K or Q6_K",
                                "%s: type: nothing computes '%.40s'", o->op, v->text ? v->text : "a number");
            f->type = (uint32_t)type;
            f->has_type = true;
            continue;
        }
        const int key = find_key(v->name);
        if (key < 0) {
            if (from == FROM_WITH) continue;
            return unknown_key(o->op, v->name, err);
        }
        if (v->text)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s is the text '%.40s', expected a number", o->op, v->name,
                            v->text);
        if (!listed(o->keys, key) && !listed(o->parameters, key)) {
            if (from != FROM_THEN && base != o && (listed(base->keys, key) || listed(base->parameters, key))) continue;
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s has no effect on this op", o->op, v->name);
        }
        const fal_status st = check_number(o->op, key, v->number, err);
        if (st) return st;
        f->value[key] = v->number;
        f->has[key] = true;
    }
    return FAL_OK;
}

static void take_default(fal_fixture *f, const op_info *o, int key, double v)
{
    if (f->has[key] || (!listed(o->keys, key) && !listed(o->parameters, key))) return;
    f->value[key] = v;
    f->has[key] = true;
}

/* An exact fill is what it is: a parameter that changes its inputs would undo it. faults come after the proof. */
static fal_status check_exact(const fal_fixture *f, fal_error *err)
{
    static const int undoing[] = { KEY_x_scale, KEY_x_shift, KEY_up_value, KEY_gate_value, KEY_weights_uniform,
                                   KEY_pinned, KEY_same_v, KEY_future_noise };
    for (size_t i = 0; fal_fixture_is_exact(f) && i < sizeof undoing / sizeof undoing[0]; i++)
        if (f->has[undoing[i]] && (undoing[i] != KEY_pinned || f->value[KEY_pinned] > 0))
            return fal_fail(err, FAL_ERR_INPUT, "leave it out, or use another fill", "%s: %s has no place in fill %s",
                            f->op, keys[undoing[i]].name, fills[f->fill]);
    if (!fal_fixture_is_exact(f) && f->has[KEY_faults])
        return fal_fail(err, FAL_ERR_INPUT, "use fill exact", "%s: faults can be seen only where nothing is rounded: fill %s is not exact",
                        f->op, fills[f->fill]);
    if (fal_fixture_is_exact(f) && strcmp(f->op, "attention") == 0 &&
        (f->value[KEY_head_dim] < 31 && f->value[KEY_n_ctx] > ldexp(2, (int)f->value[KEY_head_dim])))
        return fal_fail(err, FAL_ERR_INPUT, "use a larger head_dim, or a shorter n_ctx",
                        "%s: %g dimensions cannot tell %g positions apart", f->op, f->value[KEY_head_dim],
                        f->value[KEY_n_ctx]);
    return FAL_OK;
}

static fal_status complete(fal_fixture *f, const op_info *o, fal_error *err)
{
    take_default(f, o, KEY_eps, 1e-6);
    take_default(f, o, KEY_first_pos, 0);
    take_default(f, o, KEY_x_per_slot, 0);
    take_default(f, o, KEY_freq_base, 1e6);
    take_default(f, o, KEY_pinned, 0);
    if (f->has[KEY_n_tokens]) take_default(f, o, KEY_n_ctx, f->value[KEY_first_pos] + f->value[KEY_n_tokens]);
    for (const int *k = o->keys; *k != KEY_none; k++)
        if (!f->has[*k])
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s is missing in the shape", o->op, keys[*k].name);
    if (has_weights(o) && !f->has_type)
        return fal_fail(err, FAL_ERR_INPUT, "add for instance type: Q4_K", "%s: type is missing in the shape", o->op);

    const double *v = f->value;
    if (f->has[KEY_n_ctx] && v[KEY_first_pos] + v[KEY_n_tokens] > v[KEY_n_ctx])
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: first_pos %g + n_tokens %g is more than n_ctx %g", o->op,
                        v[KEY_first_pos], v[KEY_n_tokens], v[KEY_n_ctx]);
    if (f->has[KEY_future_noise] && v[KEY_future_noise] > 0 && !(v[KEY_n_ctx] > v[KEY_first_pos] + v[KEY_n_tokens]))
        return fal_fail(err, FAL_ERR_INPUT, "give a larger n_ctx",
                        "%s: future_noise: no cache slot lies behind the last visible one", o->op);
    if (f->has[KEY_n_expert] && f->has[KEY_n_expert_used] && v[KEY_n_expert_used] > v[KEY_n_expert])
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: n_expert_used %g is more than n_expert %g", o->op,
                        v[KEY_n_expert_used], v[KEY_n_expert]);
    if (f->has[KEY_n_head] && f->has[KEY_n_head_kv] && fmod(v[KEY_n_head], v[KEY_n_head_kv]) != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: n_head %g is no multiple of n_head_kv %g", o->op, v[KEY_n_head],
                        v[KEY_n_head_kv]);
    if (listed(o->keys, KEY_head_dim) && strcmp(o->op, "rope") == 0 && fmod(v[KEY_head_dim], 2) != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: head_dim %g is odd", o->op, v[KEY_head_dim]);
    if (f->has[KEY_freq_base] && !(v[KEY_freq_base] > 0))
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: freq_base %g, expected > 0", o->op, v[KEY_freq_base]);
    if (f->has[KEY_tokens_first] && v[KEY_tokens_first] + v[KEY_n_tokens] > v[KEY_n_vocab])
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: tokens_first %g + n_tokens %g is more than n_vocab %g", o->op,
                        v[KEY_tokens_first], v[KEY_n_tokens], v[KEY_n_vocab]);
    return check_exact(f, err);
}

/* A weight that is not F32 is shown as the bytes of its rows. */
static fal_status shape_weight(const fal_fixture *f, fal_buffer *b, fal_error *err)
{
    if (f->type == FAL_TYPE_F32) return FAL_OK;
    const size_t row = fal_type_row_bytes(f->type, (size_t)b->ne[b->n_dims - 1]);
    if (row == 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: rows of %lld elements are no whole number of %s blocks of %u",
                        f->op, (long long)b->ne[b->n_dims - 1], fal_type_get(f->type)->name,
                        fal_type_get(f->type)->block_elems);
    b->dtype = FAL_DTYPE_U8;
    b->ne[b->n_dims - 1] = (int64_t)row;
    return FAL_OK;
}

static fal_status plan_array(fal_fixture *f, const array_info *a, size_t *total, fal_error *err)
{
    fal_buffer *b = &f->buffers[f->n_buffers];
    *b = (fal_buffer){ .name = a->name, .dtype = FAL_DTYPE_F32 };
    b->is_output = a->in_out || a->role == ROLE_OUT || a->role == ROLE_OUT_IDS;
    b->is_input = a->in_out || !b->is_output;
    if (a->role == ROLE_TOKENS || a->role == ROLE_IDS || a->role == ROLE_OUT_IDS) b->dtype = FAL_DTYPE_I32;
    for (int d = 0; d < 3 && a->dims[d] != KEY_none; d++) {
        if (d == 1 && f->has[KEY_x_per_slot] && f->value[KEY_x_per_slot] == 0 && strcmp(a->name, "x") == 0) continue;
        b->ne[b->n_dims++] =
            a->dims[d] == KEY_half_head_dim ? (int64_t)f->value[KEY_head_dim] / 2 : (int64_t)f->value[a->dims[d]];
    }
    if (a->role == ROLE_WEIGHT) {
        const fal_status st = shape_weight(f, b, err);
        if (st) return st;
    }
    b->n = 1;
    bool fits = true;
    for (int d = 0; d < b->n_dims; d++) fits = !__builtin_mul_overflow(b->n, (size_t)b->ne[d], &b->n) && fits;
    fits = fits && !__builtin_mul_overflow(b->n, b->dtype == FAL_DTYPE_U8 ? (size_t)1 : (size_t)4, &b->nbytes);
    fits = fits && !__builtin_add_overflow(*total, b->nbytes, total) && *total <= MAX_BYTES;
    if (!fits)
        return fal_fail(err, FAL_ERR_INPUT, "use a smaller shape", "%s: up to %s the arrays take more than 16 GiB",
                        f->op, a->name);
    f->roles[f->n_buffers++] = a->role;
    return FAL_OK;
}

fal_status fal_fixture_make(const char *op, const fal_params *shape, const char *fill, uint64_t seed,
                            const fal_params *with, const fal_params *then, fal_fixture **out, fal_error *err)
{
    const op_info *const base = find_op(op);
    if (!base) return unknown_op(op, err);
    const op_info *o = base;
    if (then && fal_params_text(then, "op", NULL)) {
        o = find_op(fal_params_text(then, "op", NULL));
        if (!o) return unknown_op(fal_params_text(then, "op", NULL), err);
    }
    int i = 0;
    while (fill && i < N_FILLS && strcmp(fills[i], fill) != 0) i++;
    if (i == N_FILLS) return unknown("fill", fill, fills, N_FILLS, err);

    fal_fixture *f = calloc(1, sizeof *f);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", op);
    f->op = o->op;
    f->fill = (fal_fill)i;
    f->seed = seed;
    fal_status st = take_params(f, base, o, shape, FROM_SHAPE, err);
    if (!st) st = take_params(f, base, o, with, FROM_WITH, err);
    if (!st) st = take_params(f, base, o, then, FROM_THEN, err);
    if (!st) st = complete(f, o, err);
    size_t total = 0;
    for (int k = 0; !st && k < MAX_ARRAYS && o->arrays[k].name; k++) {
        if (strcmp(o->arrays[k].name, "pinned_ids") == 0 && f->value[KEY_pinned] == 0) continue;
        st = plan_array(f, &o->arrays[k], &total, err);
    }
    if (st)
        fal_fixture_free(f);
    else
        *out = f;
    return st;
}

void fal_fixture_free(fal_fixture *f)
{
    if (!f) return;
    for (int i = 0; i < f->n_buffers; i++) free(f->blocks[i]);
    free(f);
}

/* An array of its own between guards, poisoned. */
static fal_status make_array(fal_fixture *f, int i, fal_error *err)
{
    fal_buffer *b = &f->buffers[i];
    if (!f->blocks[i]) {
        const size_t size = (b->nbytes + 2 * GUARD + 63) / 64 * 64;
        f->blocks[i] = aligned_alloc(64, size);
        if (!f->blocks[i])
            return fal_fail(err, FAL_ERR_MEMORY, "use a smaller shape", "%s: %zu bytes for %s", f->op, size, b->name);
        b->data = (char *)f->blocks[i] + GUARD;
    }
    memset(f->blocks[i], 0xa5, GUARD);
    memset((char *)b->data + b->nbytes, 0xa5, GUARD);
    memset(b->data, 0xff, b->nbytes);
    return FAL_OK;
}

fal_status fal_fixture_fill(fal_fixture *f, fal_error *err)
{
    for (int i = 0; i < f->n_buffers; i++) {
        if (!f->blocks[i] && f->buffers[i].data) continue; /* another fixture's */
        fal_status st = make_array(f, i, err);
        if (!st && f->buffers[i].is_input) st = fal_fixture_draw(f, i, err);
        if (st) return st;
    }
    if (!fal_fixture_is_exact(f)) return FAL_OK;
    const fal_status st = fal_fixture_prove(f, err);
    return !st && f->value[KEY_faults] > 0 ? fal_fixture_plant(f, err) : st;
}

fal_status fal_fixture_take(fal_fixture *f, const fal_observation *o, fal_error *err)
{
    for (int i = 0; i < f->n_buffers; i++) {
        fal_buffer *b = &f->buffers[i];
        const fal_status st = make_array(f, i, err);
        if (st) return st;
        if (!b->is_input) continue;
        char name[48];
        snprintf(name, sizeof name, "in.%s", b->name);
        const fal_obs_tensor *t = fal_observation_find(o, 0, name);
        bool same = t && t->dtype == b->dtype && t->n_dims == b->n_dims && t->nbytes == b->nbytes;
        for (int d = 0; same && d < b->n_dims; d++) same = t->ne[d] == b->ne[d];
        if (!same)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: tensor '%s' is missing, or has not the type and shape that op %s of this "
                            "shape takes", o->path, name, f->op);
        memcpy(b->data, t->data, t->nbytes);
    }
    return FAL_OK;
}

void fal_fixture_share_weights(fal_fixture *f, const fal_fixture *from)
{
    for (int i = 0; i < f->n_buffers; i++)
        if (f->roles[i] == ROLE_WEIGHT) f->buffers[i].data = from->buffers[i].data;
}

void fal_fixture_call(const fal_fixture *f, fal_call *out)
{
    const op_info *o = find_op(f->op);
    *out = (fal_call){ .op = f->op };
    for (const int *k = o->keys; *k != KEY_none; k++) {
        fal_field *x = &out->fields[out->n_fields++];
        *x = (fal_field){ .name = keys[*k].name };
        x->kind = keys[*k].kind == REAL ? FAL_FIELD_FLOAT : keys[*k].kind == FLAG ? FAL_FIELD_BOOL : FAL_FIELD_INT;
        if (x->kind == FAL_FIELD_FLOAT) x->f = (float)f->value[*k];
        else x->i = (int32_t)f->value[*k];
    }
    if (has_weights(o)) out->fields[out->n_fields++] = (fal_field){ .name = "type", .kind = FAL_FIELD_TYPE, .i = (int32_t)f->type };
    for (int a = 0; a < MAX_ARRAYS && o->arrays[a].name; a++) {
        fal_field *x = &out->fields[out->n_fields++];
        *x = (fal_field){ .name = o->arrays[a].name, .kind = FAL_FIELD_ARRAY };
        for (int i = 0; i < f->n_buffers; i++) {
            const fal_buffer *b = &f->buffers[i];
            if (strcmp(b->name, x->name) != 0) continue;
            x->data = b->data;
            x->nbytes = b->nbytes;
            x->is_i32 = b->dtype == FAL_DTYPE_I32;
            x->is_input = b->is_input;
            x->is_output = b->is_output;
        }
    }
}

const char *fal_fixture_op(const fal_fixture *f)
{
    return f->op;
}

const fal_buffer *fal_fixture_buffers(const fal_fixture *f, int *n)
{
    *n = f->n_buffers;
    return f->buffers;
}

fal_buffer *fal_fixture_buffer(fal_fixture *f, const char *name)
{
    for (int i = 0; i < f->n_buffers; i++)
        if (strcmp(f->buffers[i].name, name) == 0) return &f->buffers[i];
    return NULL;
}

json_t *fal_fixture_params(const fal_fixture *f)
{
    json_t *j = json_object();
    bool ok = j != NULL;
    for (int k = 0; ok && k < N_KEYS; k++) {
        if (!f->has[k]) continue;
        json_t *v = keys[k].kind == REAL ? json_real(f->value[k]) : json_integer((json_int_t)f->value[k]);
        ok = json_object_set_new(j, keys[k].name, v) == 0;
    }
    if (ok && f->has_type) ok = json_object_set_new(j, "type", json_string(fal_type_get(f->type)->name)) == 0;
    if (ok) ok = json_object_set_new(j, "fill", json_string(fills[f->fill])) == 0;
    if (ok) return j;
    json_decref(j);
    return NULL;
}

bool fal_fixture_knows(const char *name)
{
    return find_key(name) >= 0 || strcmp(name, "type") == 0 || strcmp(name, "op") == 0;
}

const char *const *fal_fixture_fills(int *n)
{
    *n = N_FILLS;
    return fills;
}

const fal_params *fal_fixture_example(const char *op)
{
    const op_info *o = find_op(op);
    return o ? &o->example : NULL;
}

const char *fal_fixture_dim(const char *op, int i)
{
    const op_info *o = find_op(op);
    for (const int *k = o ? o->keys : NULL; k && *k != KEY_none; k++)
        if (keys[*k].kind == DIM && i-- == 0) return keys[*k].name;
    return NULL;
}

void fal_fixture_spoil_dim(fal_fixture *f, const char *name, int value)
{
    const int key = find_key(name);
    if (key >= 0) f->value[key] = value;
}
