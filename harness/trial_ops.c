/* The names that --op takes: operations, and the sites of a forward pass with the shapes that they have in a real model. */
#include "harness/trial.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off: a table */
#define N(key, number) { #key, number, NULL }
#define T(type) { "type", 0, #type }
#define SHAPE(...) { .params = (const fal_param[]){ __VA_ARGS__ }, .n_params = (int)(sizeof((const fal_param[]){ __VA_ARGS__ }) / sizeof(fal_param)) }
#define ONE(...) { SHAPE(__VA_ARGS__) }, 1
#define MATMUL(in, out, type) SHAPE(N(n_tokens, 1), N(n_in, in), N(n_out, out), T(type))
#define EXPERTS(n, in, out, slot, type) SHAPE(N(n_tokens, 1), N(n_expert, n), N(n_expert_used, 8), N(n_in, in), N(n_out, out), N(x_per_slot, slot), T(type))
#define HEADS(tokens, heads) N(n_tokens, tokens), N(n_head, heads), N(head_dim, 128)

/* VOCAB and EXPERT: less of them where memory and processors are a machine's own. */
#define TABLE(VOCAB, EXPERT) { \
    /* operations: all types */ \
    { "embed", "embed", { NULL }, -1, ONE(N(n_tokens, 32), N(n_embd, 2048), N(n_vocab, VOCAB), T(Q4_K)) }, \
    { "rmsnorm", "rmsnorm", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "matmul", "matmul", { NULL }, -1, { MATMUL(2048, 4096, Q4_K), MATMUL(2048, 512, Q6_K) }, 2 }, \
    { "qk_norm", "qk_norm", { NULL }, -1, ONE(HEADS(16, 32)) }, \
    { "rope", "rope", { NULL }, -1, ONE(HEADS(16, 32), N(first_pos, 100), N(n_ctx, 512)) }, \
    { "kv_store", "kv_store", { NULL }, -1, ONE(N(n_tokens, 16), N(n_head_kv, 4), N(head_dim, 128), N(first_pos, 3), N(n_ctx, 64)) }, \
    { "attention", "attention", { NULL }, -1, ONE(HEADS(1, 32), N(n_head_kv, 4), N(first_pos, 511)) }, \
    { "add", "add", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "softmax", "softmax", { NULL }, -1, ONE(N(n_rows, 64), N(n_cols, 128)) }, \
    { "router", "router", { NULL }, -1, ONE(N(n_tokens, 64), N(n_expert, 128), N(n_expert_used, 8)) }, \
    { "moe_matmul", "moe_matmul", { NULL }, -1, { EXPERTS(EXPERT, 2048, 768, 0, Q4_K), EXPERTS(EXPERT, 768, 2048, 1, Q6_K) }, 2 }, \
    { "swiglu", "swiglu", { NULL }, -1, ONE(N(n_rows, 64), N(n_ff, 768)) }, \
    { "moe_swiglu", "moe_swiglu", { NULL }, -1, ONE(N(n_tokens, 1), N(n_expert, EXPERT), N(n_expert_used, 8), N(n_embd, 2048), N(n_ff, 768), T(Q4_K)) }, \
    { "moe_sum", "moe_sum", { NULL }, -1, ONE(N(n_tokens, 16), N(n_expert_used, 8), N(n_embd, 2048)) }, \
    { "argmax", "argmax", { NULL }, -1, ONE(N(n_rows, 4), N(n_cols, VOCAB)) }, \
    /* sites: the types that they have in a Q4_K_M file */ \
    { "attn_norm", "rmsnorm", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "q", "matmul", { "Q4_K" }, -1, { MATMUL(2048, 4096, Q4_K) }, 1 }, \
    { "k", "matmul", { "Q4_K" }, -1, { MATMUL(2048, 512, Q4_K) }, 1 }, \
    { "v", "matmul", { "Q4_K", "Q6_K" }, -1, { MATMUL(2048, 512, Q4_K), MATMUL(2048, 512, Q6_K) }, 2 }, \
    { "q_norm", "qk_norm", { NULL }, -1, ONE(HEADS(16, 32)) }, \
    { "k_norm", "qk_norm", { NULL }, -1, ONE(HEADS(64, 4)) }, \
    { "q_rope", "rope", { NULL }, -1, ONE(HEADS(16, 32), N(first_pos, 100), N(n_ctx, 512)) }, \
    { "k_rope", "rope", { NULL }, -1, ONE(HEADS(64, 4), N(first_pos, 100), N(n_ctx, 512)) }, \
    { "attn", "attention", { NULL }, -1, ONE(HEADS(1, 32), N(n_head_kv, 4), N(first_pos, 511)) }, \
    { "attn_output", "matmul", { "Q4_K" }, -1, { MATMUL(4096, 2048, Q4_K) }, 1 }, \
    { "ffn_inp", "add", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "ffn_norm", "rmsnorm", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "router_logits", "matmul", { "F32" }, -1, { MATMUL(2048, 128, F32) }, 1 }, \
    { "router_probs", "softmax", { NULL }, -1, ONE(N(n_rows, 64), N(n_cols, 128)) }, \
    { "expert_ids", "router", { NULL }, -1, ONE(N(n_tokens, 64), N(n_expert, 128), N(n_expert_used, 8)) }, \
    { "expert_weights", "router", { NULL }, -1, ONE(N(n_tokens, 64), N(n_expert, 128), N(n_expert_used, 8)) }, \
    { "moe_gate", "moe_matmul", { "Q4_K" }, 0, { EXPERTS(EXPERT, 2048, 768, 0, Q4_K) }, 1 }, \
    { "moe_up", "moe_matmul", { "Q4_K" }, 0, { EXPERTS(EXPERT, 2048, 768, 0, Q4_K) }, 1 }, \
    { "moe_act", "swiglu", { NULL }, -1, ONE(N(n_rows, 64), N(n_ff, 768)) }, \
    { "moe_down", "moe_matmul", { "Q4_K", "Q6_K" }, 1, { EXPERTS(EXPERT, 768, 2048, 1, Q4_K), EXPERTS(EXPERT, 768, 2048, 1, Q6_K) }, 2 }, \
    { "moe_out", "moe_sum", { NULL }, -1, ONE(N(n_tokens, 16), N(n_expert_used, 8), N(n_embd, 2048)) }, \
    { "l_out", "add", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "final_norm", "rmsnorm", { NULL }, -1, ONE(N(n_tokens, 64), N(n_embd, 2048)) }, \
    { "logits", "matmul", { "Q6_K" }, -1, { MATMUL(2048, VOCAB, Q6_K) }, 1 }, \
}
/* clang-format on */

static const fal_trial_op whole[] = TABLE(151936, 128), small_ones[] = TABLE(16384, 16);
enum { N_NAMES = sizeof whole / sizeof whole[0] };

/* Every op and every site but embed (which is both) has a row. */
enum {
    N_EXPECTED = -1
#define FAL_OP(op) +1
#define FAL_SITE(site, op, scope, type, sub, width) +1
#include "harness/ops.def"
};
_Static_assert((int)N_NAMES == (int)N_EXPECTED, "every op and site of harness/ops.def has a row in this table");

fal_status fal_trial_find(const char *name, bool small, const fal_trial_op **out, fal_error *err)
{
    const char *names[N_NAMES];
    for (int i = 0; i < (int)N_NAMES; i++) {
        names[i] = whole[i].name;
        if (strcmp(names[i], name) != 0) continue;
        *out = small ? &small_ones[i] : &whole[i];
        return FAL_OK;
    }
    const char *near = fal_nearest(name, names, N_NAMES);
    return fal_fail(err, FAL_ERR_USAGE, "harness/ops.def lists operations and sites", "--op: no operation or site is named '%.40s'%s%s%s",
                    name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

bool fal_trial_takes(const fal_trial_op *o, const fal_params *shape)
{
    const char *type = fal_params_text(shape, "type", NULL);
    bool named = o->types[0] == NULL || !type;
    for (int i = 0; i < FAL_TRIAL_MAX_SHAPES && o->types[i] && !named; i++) named = strcmp(o->types[i], type) == 0;
    const bool per_slot = fal_params_number(shape, "x_per_slot", 0) > 0;
    return named && (o->x_per_slot < 0 || per_slot == (o->x_per_slot > 0));
}

/* Bytes of weights, and of all other arrays. */
static void sizes(const fal_fixture *f, double *weights, double *others)
{
    fal_call c;
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    fal_fixture_call(f, &c);
    *weights = *others = 0;
    for (int i = 0; i < n; i++) *(fal_call_is_weight(&c, b[i].name) ? weights : others) += (double)b[i].nbytes;
}

fal_status fal_trial_count(const char *op, const fal_params *shape, bool small, int *n_timed, fal_error *err)
{
    double weights, others;
    fal_fixture *f = NULL;
    fal_call c;
    const fal_status st = fal_fixture_make(op, shape, NULL, 1, NULL, NULL, &f, err);
    if (st) return st;
    fal_fixture_call(f, &c);
    sizes(f, &weights, &others);
    double n = (small ? 1e8 : 1.6e9) / fal_call_work(&c), most = small ? FAL_TRIAL_MAX_TIMED / 4 : FAL_TRIAL_MAX_TIMED;
    if (n > (small ? 1e8 : 1e9) / others) n = (small ? 1e8 : 1e9) / others;
    *n_timed = n < 4 ? 4 : n > most ? (int)most : (int)n;
    fal_fixture_free(f);
    return FAL_OK;
}

int fal_trial_weights(const fal_fixture *f, int n_timed)
{
    double weights, others;
    sizes(f, &weights, &others);
    const double n = weights > 0 ? 2e8 / weights : n_timed;
    return n < 1 ? 1 : n > n_timed ? n_timed : (int)n;
}
