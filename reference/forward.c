/* Sessions of the reference: their memory, and the forward pass site by site in the order of harness/ops.def. */
#include "reference/reference.h"

#include "harness/args.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* Tokens computed at once: a weight is decoded once a chunk, so as many as fit in here, at least one. */
    CHUNK_BYTES = 1 << 24,
    MAX_CHUNK = 256,
    LOGITS_BYTES = 1 << 22, /* rows of logits computed at once: as many as fit in here, at least one */
};

struct fal_session {
    fal_context *ctx;
    const fal_model *model;
    fal_config config;
    int n_ctx, n_past;
    int chunk, logits_rows;       /* most rows of a site's array, and of the logits' */
    float *cos, *sin;             /* [n_ctx, head_dim/2] */
    float *k_cache, *v_cache;     /* [n_layer, n_ctx, n_head_kv, head_dim] */
    void *site[FAL_N_SITES];      /* the result at each site for one chunk: [chunk, sub, width] f32 or i32 */
    size_t rope_bytes, cache_bytes, site_bytes[FAL_N_SITES];
};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void poison(fal_session *s)
{
    memset(s->k_cache, 0xFF, s->cache_bytes);
    memset(s->v_cache, 0xFF, s->cache_bytes);
    for (int i = 0; i < FAL_N_SITES; i++) memset(s->site[i], 0xFF, s->site_bytes[i]);
}

/* Elements of one token at a site. */
static size_t site_elements(const fal_config *c, int site)
{
    int sub, width;
    fal_site_shape((fal_site)site, c, &sub, &width);
    return (size_t)sub * (size_t)width;
}

/* n, but within [1, limit]. */
static int at_most(size_t n, int limit)
{
    return n < 1 ? 1 : n > (size_t)limit ? limit : (int)n;
}

static bool size_session(fal_session *s)
{
    const fal_config *c = &s->config;
    size_t n = (size_t)c->n_head_kv * (size_t)c->head_dim * sizeof(float);
    if (!fal_mul_size(n, (size_t)s->n_ctx, &n) || !fal_mul_size(n, (size_t)c->n_layer, &s->cache_bytes)) return false;
    if (!fal_mul_size((size_t)s->n_ctx, (size_t)c->head_dim / 2 * sizeof(float), &s->rope_bytes)) return false;
    size_t per_token = 0;
    for (int i = 0; i < FAL_N_SITES; i++)
        if (i != FAL_SITE_logits) per_token += site_elements(c, i) * sizeof(float);
    s->chunk = at_most(CHUNK_BYTES / per_token, s->n_ctx < MAX_CHUNK ? s->n_ctx : MAX_CHUNK);
    s->logits_rows = at_most(LOGITS_BYTES / ((size_t)c->n_vocab * sizeof(float)), s->chunk);
    for (int i = 0; i < FAL_N_SITES; i++) {
        const size_t site_rows = (size_t)(i == FAL_SITE_logits ? s->logits_rows : s->chunk);
        if (!fal_mul_size(site_rows * sizeof(float), site_elements(c, i), &s->site_bytes[i])) return false;
    }
    return true;
}

fal_status fal_reference_session_open(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out,
                                      fal_error *err)
{
    if (!ctx || !model || !out)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: context, model or result is NULL");
    if (n_ctx <= 0)
        return fal_fail(err, FAL_ERR_INPUT, "ask for at least one position", "reference: n_ctx is %d, expected >= 1",
                        n_ctx);
    fal_status st = FAL_ERR_MEMORY;
    fal_session *s = calloc(1, sizeof *s);
    if (!s) return fal_fail(err, FAL_ERR_MEMORY, NULL, "reference: no memory for a session");
    s->ctx = ctx;
    s->model = model;
    s->config = model->config;
    s->n_ctx = n_ctx;
    if (!size_session(s)) goto no_memory;
    st = fal_rope_table(n_ctx, s->config.head_dim, s->config.rope_freq_base, &s->cos, &s->sin, err);
    if (st != FAL_OK) goto out;
    ctx->live_bytes += 2 * s->rope_bytes;
    s->k_cache = fal_reference_alloc(ctx, s->cache_bytes);
    if (s->k_cache) ctx->kv_bytes += s->cache_bytes;
    s->v_cache = fal_reference_alloc(ctx, s->cache_bytes);
    if (s->v_cache) ctx->kv_bytes += s->cache_bytes;
    if (!s->k_cache || !s->v_cache) goto no_memory;
    for (int i = 0; i < FAL_N_SITES; i++) {
        s->site[i] = fal_reference_alloc(ctx, s->site_bytes[i]);
        if (!s->site[i]) goto no_memory;
    }
    poison(s);
    *out = s;
    return FAL_OK;
no_memory:
    st = fal_fail(err, FAL_ERR_MEMORY, "use a smaller n_ctx", "reference: no memory for a KV cache of %d positions",
                  n_ctx);
out:
    fal_reference_session_close(s);
    return st;
}

void fal_reference_session_close(fal_session *s)
{
    if (!s) return;
    for (int i = 0; i < FAL_N_SITES; i++) fal_reference_release(s->ctx, s->site[i], s->site_bytes[i]);
    if (s->v_cache) s->ctx->kv_bytes -= s->cache_bytes;
    fal_reference_release(s->ctx, s->v_cache, s->cache_bytes);
    if (s->k_cache) s->ctx->kv_bytes -= s->cache_bytes;
    fal_reference_release(s->ctx, s->k_cache, s->cache_bytes);
    fal_reference_release(s->ctx, s->sin, s->rope_bytes);
    fal_reference_release(s->ctx, s->cos, s->rope_bytes);
    free(s);
}

fal_status fal_reference_reset(fal_session *s, fal_error *err)
{
    if (!s) return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: the session is NULL");
    s->n_past = 0;
    poison(s);
    return FAL_OK;
}

void fal_reference_session_memory(const fal_session *s, fal_memory *out)
{
    uint64_t scratch = 2 * s->rope_bytes;
    for (int i = 0; i < FAL_N_SITES; i++) scratch += s->site_bytes[i];
    const uint64_t kv = 2 * s->cache_bytes;
    *out = (fal_memory) { .weight_bytes = 0, .kv_bytes = kv, .scratch_bytes = scratch,
                          .peak_bytes = s->ctx->peak_bytes, .live_bytes = s->ctx->live_bytes };
}

fal_status fal_reference_read_tensor(fal_session *s, int i, void *out, int *uploads, fal_error *err)
{
    if (!s || !out || !uploads) return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: session or result is NULL");
    if (i < 0 || i >= s->model->n_tensors)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: tensor %d, expected 0 <= i < %d", i, s->model->n_tensors);
    const fal_tensor *t = s->model->tensors[i];
    memcpy(out, t->data, t->nbytes);
    *uploads = 1; /* the mapped file is the one copy */
    return FAL_OK;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

/* One chunk of a request: tokens [first, first + n) at positions pos... */
typedef struct {
    fal_session *s;
    const fal_taps *taps;
    fal_error *err;
    int first, n, pos;
} chunk;

static bool wants(const chunk *k, fal_site site, int layer)
{
    return k->taps && k->taps->give && k->taps->wants && k->taps->wants(k->taps->user, site, layer);
}

/* Shows rows [first, first + n) of the request at a site, then puts in what teacher forcing has for them. */
static fal_status tap_rows(const chunk *k, fal_site site, int layer, int first, int n)
{
    const fal_taps *taps = k->taps;
    if (!taps) return FAL_OK;
    void *data = k->s->site[site];
    if (wants(k, site, layer)) {
        const fal_status st = taps->give(taps->user, site, layer, first, n, data, k->err);
        if (st != FAL_OK) return st;
    }
    const void *forced = taps->forced ? taps->forced(taps->user, site, layer, first, n) : NULL;
    if (forced) memcpy(data, forced, (size_t)n * site_elements(&k->s->config, (int)site) * sizeof(float));
    return FAL_OK;
}

static fal_status tap(const chunk *k, fal_site site, int layer)
{
    return tap_rows(k, site, layer, k->first, k->n);
}

#define SITE(name) (s->site[FAL_SITE_##name])
/* Runs an op of the backend's table, or ends the pass with its failure. */
#define RUN(op, ...)                                                                                                   \
    do {                                                                                                               \
        const fal_status st_ = fal_reference_##op(s->ctx, &(const fal_##op##_args) { __VA_ARGS__ }, k->err);           \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)
#define TAP(site, layer)                                                                                               \
    do {                                                                                                               \
        const fal_status st_ = tap(k, FAL_SITE_##site, layer);                                                         \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)

/* x + Attn(RMSNorm(x)) into site ffn_inp. x: [n, n_embd] */
static fal_status attention_block(const chunk *k, int layer, const float *x)
{
    fal_session *s = k->s;
    const fal_config *c = &s->config;
    const fal_layer *w = &s->model->layers[layer];
    const int n = k->n, n_q = c->n_head * c->head_dim, n_kv = c->n_head_kv * c->head_dim;
    const size_t cache_at = (size_t)layer * (s->cache_bytes / sizeof(float) / (size_t)c->n_layer);
    float *k_cache = s->k_cache + cache_at; /* [n_ctx, n_head_kv, head_dim] of this layer */
    float *v_cache = s->v_cache + cache_at;

    RUN(rmsnorm, .n_tokens = n, .n_embd = c->n_embd, .eps = c->rms_eps, .x = x, .w = w->attn_norm->data,
        .y = SITE(attn_norm));
    TAP(attn_norm, layer);
    RUN(matmul, .n_tokens = n, .n_in = c->n_embd, .n_out = n_q, .type = w->attn_q->type, .w = w->attn_q->data,
        .x = SITE(attn_norm), .y = SITE(q));
    TAP(q, layer);
    RUN(matmul, .n_tokens = n, .n_in = c->n_embd, .n_out = n_kv, .type = w->attn_k->type, .w = w->attn_k->data,
        .x = SITE(attn_norm), .y = SITE(k));
    TAP(k, layer);
    RUN(matmul, .n_tokens = n, .n_in = c->n_embd, .n_out = n_kv, .type = w->attn_v->type, .w = w->attn_v->data,
        .x = SITE(attn_norm), .y = SITE(v));
    TAP(v, layer);
    RUN(qk_norm, .n_tokens = n, .n_head = c->n_head, .head_dim = c->head_dim, .eps = c->rms_eps, .x = SITE(q),
        .w = w->attn_q_norm->data, .y = SITE(q_norm));
    TAP(q_norm, layer);
    RUN(qk_norm, .n_tokens = n, .n_head = c->n_head_kv, .head_dim = c->head_dim, .eps = c->rms_eps, .x = SITE(k),
        .w = w->attn_k_norm->data, .y = SITE(k_norm));
    TAP(k_norm, layer);
    RUN(rope, .n_tokens = n, .n_head = c->n_head, .head_dim = c->head_dim, .first_pos = k->pos, .n_ctx = s->n_ctx,
        .x = SITE(q_norm), .cos = s->cos, .sin = s->sin, .y = SITE(q_rope));
    TAP(q_rope, layer);
    RUN(rope, .n_tokens = n, .n_head = c->n_head_kv, .head_dim = c->head_dim, .first_pos = k->pos, .n_ctx = s->n_ctx,
        .x = SITE(k_norm), .cos = s->cos, .sin = s->sin, .y = SITE(k_rope));
    TAP(k_rope, layer);
    RUN(kv_store, .n_tokens = n, .n_head_kv = c->n_head_kv, .head_dim = c->head_dim, .first_pos = k->pos,
        .n_ctx = s->n_ctx, .k = SITE(k_rope), .v = SITE(v), .k_cache = k_cache, .v_cache = v_cache);
    RUN(attention, .n_tokens = n, .n_head = c->n_head, .n_head_kv = c->n_head_kv, .head_dim = c->head_dim,
        .first_pos = k->pos, .n_ctx = s->n_ctx, .q = SITE(q_rope), .k_cache = k_cache, .v_cache = v_cache,
        .y = SITE(attn));
    TAP(attn, layer);
    RUN(matmul, .n_tokens = n, .n_in = n_q, .n_out = c->n_embd, .type = w->attn_output->type, .w = w->attn_output->data,
        .x = SITE(attn), .y = SITE(attn_output));
    TAP(attn_output, layer);
    RUN(add, .n_tokens = n, .n_embd = c->n_embd, .a = x, .b = SITE(attn_output), .y = SITE(ffn_inp));
    TAP(ffn_inp, layer);
    return FAL_OK;
}

/* ffn_inp + MoE(RMSNorm(ffn_inp)) into site l_out. */
static fal_status moe_block(const chunk *k, int layer)
{
    fal_session *s = k->s;
    const fal_config *c = &s->config;
    const fal_layer *w = &s->model->layers[layer];
    const int n = k->n;
    const int32_t *pinned = k->taps && k->taps->pinned ? k->taps->pinned(k->taps->user, layer, k->first, n) : NULL;

    RUN(rmsnorm, .n_tokens = n, .n_embd = c->n_embd, .eps = c->rms_eps, .x = SITE(ffn_inp), .w = w->ffn_norm->data,
        .y = SITE(ffn_norm));
    TAP(ffn_norm, layer);
    RUN(matmul, .n_tokens = n, .n_in = c->n_embd, .n_out = c->n_expert, .type = w->ffn_gate_inp->type,
        .w = w->ffn_gate_inp->data, .x = SITE(ffn_norm), .y = SITE(router_logits));
    TAP(router_logits, layer);
    RUN(softmax, .n_rows = n, .n_cols = c->n_expert, .x = SITE(router_logits), .y = SITE(router_probs));
    TAP(router_probs, layer);
    RUN(router, .n_tokens = n, .n_expert = c->n_expert, .n_expert_used = c->n_expert_used, .probs = SITE(router_probs),
        .pinned_ids = pinned, .ids = SITE(expert_ids), .weights = SITE(expert_weights));
    TAP(expert_ids, layer);
    TAP(expert_weights, layer);
    RUN(moe_matmul, .n_tokens = n, .n_expert = c->n_expert, .n_expert_used = c->n_expert_used, .n_in = c->n_embd,
        .n_out = c->n_ff, .type = w->ffn_gate_exps->type, .w = w->ffn_gate_exps->data, .x = SITE(ffn_norm),
        .ids = SITE(expert_ids), .y = SITE(moe_gate));
    TAP(moe_gate, layer);
    RUN(moe_matmul, .n_tokens = n, .n_expert = c->n_expert, .n_expert_used = c->n_expert_used, .n_in = c->n_embd,
        .n_out = c->n_ff, .type = w->ffn_up_exps->type, .w = w->ffn_up_exps->data, .x = SITE(ffn_norm),
        .ids = SITE(expert_ids), .y = SITE(moe_up));
    TAP(moe_up, layer);
    RUN(swiglu, .n_rows = n * c->n_expert_used, .n_ff = c->n_ff, .gate = SITE(moe_gate), .up = SITE(moe_up),
        .y = SITE(moe_act));
    TAP(moe_act, layer);
    RUN(moe_matmul, .n_tokens = n, .n_expert = c->n_expert, .n_expert_used = c->n_expert_used, .n_in = c->n_ff,
        .n_out = c->n_embd, .x_per_slot = true, .type = w->ffn_down_exps->type, .w = w->ffn_down_exps->data,
        .x = SITE(moe_act), .ids = SITE(expert_ids), .y = SITE(moe_down));
    TAP(moe_down, layer);
    RUN(moe_sum, .n_tokens = n, .n_expert_used = c->n_expert_used, .n_embd = c->n_embd, .x = SITE(moe_down),
        .weights = SITE(expert_weights), .y = SITE(moe_out));
    TAP(moe_out, layer);
    RUN(add, .n_tokens = n, .n_embd = c->n_embd, .a = SITE(ffn_inp), .b = SITE(moe_out), .y = SITE(l_out));
    TAP(l_out, layer);
    return FAL_OK;
}

/* Final norm and logits of the chunk's rows [from, n), and the argmax of the last row when next is not NULL. */
static fal_status head(const chunk *k, int from, bool all_logits, int32_t *next)
{
    fal_session *s = k->s;
    const fal_config *c = &s->config;
    const fal_model *m = s->model;
    float *normed = SITE(final_norm); /* row 0 is the chunk's row `from` */
    const float *x = (const float *)SITE(l_out) + (size_t)from * (size_t)c->n_embd;

    RUN(rmsnorm, .n_tokens = k->n - from, .n_embd = c->n_embd, .eps = c->rms_eps, .x = x, .w = m->output_norm->data,
        .y = normed);
    fal_status st = tap_rows(k, FAL_SITE_final_norm, -1, k->first + from, k->n - from);
    if (st != FAL_OK) return st;

    if (!all_logits && !next) return FAL_OK;
    int rows = 0;
    for (int at = all_logits ? from : k->n - 1; at < k->n; at += rows) {
        rows = k->n - at < s->logits_rows ? k->n - at : s->logits_rows;
        RUN(matmul, .n_tokens = rows, .n_in = c->n_embd, .n_out = c->n_vocab, .type = m->output->type,
            .w = m->output->data, .x = normed + (size_t)(at - from) * (size_t)c->n_embd, .y = SITE(logits));
        st = tap_rows(k, FAL_SITE_logits, -1, k->first + at, rows);
        if (st != FAL_OK) return st;
    }
    if (next) {
        const float *last = (const float *)SITE(logits) + (size_t)(rows - 1) * (size_t)c->n_vocab;
        RUN(argmax, .n_rows = 1, .n_cols = c->n_vocab, .x = last, .ids = next);
    }
    return FAL_OK;
}

static fal_status run_chunk(const chunk *k, const int32_t *tokens, bool is_last, int32_t *next)
{
    fal_session *s = k->s;
    const fal_config *c = &s->config;
    RUN(embed, .n_tokens = k->n, .n_embd = c->n_embd, .n_vocab = c->n_vocab, .type = s->model->token_embd->type,
        .w = s->model->token_embd->data, .tokens = tokens + k->first, .y = SITE(embed));
    TAP(embed, -1);
    for (int layer = 0; layer < c->n_layer; layer++) {
        fal_status st = attention_block(k, layer, layer == 0 ? SITE(embed) : SITE(l_out));
        if (st == FAL_OK) st = moe_block(k, layer);
        if (st != FAL_OK) return st;
    }
    const bool all_logits = wants(k, FAL_SITE_logits, -1);
    const bool all = all_logits || wants(k, FAL_SITE_final_norm, -1);
    if (all) return head(k, 0, all_logits, is_last ? next : NULL);
    return is_last && next ? head(k, k->n - 1, false, next) : FAL_OK;
}

fal_status fal_reference_forward(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps,
                                 int32_t *next, fal_error *err)
{
    if (!s) return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: the session is NULL");
    fal_status st = fal_request_check(&s->config, tokens, n_tokens, s->n_past, s->n_ctx, err);
    if (st != FAL_OK) return st;
    int32_t best = 0;
    for (int first = 0; first < n_tokens; first += s->chunk) {
        const int left = n_tokens - first;
        const chunk k = { .s = s, .taps = taps, .err = err, .first = first, .n = left < s->chunk ? left : s->chunk,
                          .pos = s->n_past + first };
        st = run_chunk(&k, tokens, first + k.n == n_tokens, next ? &best : NULL);
        if (st != FAL_OK) return st;
    }
    s->n_past += n_tokens;
    if (next) *next = best;
    return FAL_OK;
}
