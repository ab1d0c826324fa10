/* Sessions of this backend: weights, KV cache and scratch on the device, and the forward pass in the order of ops.def. */
#include "cuda/forward.h"

#include "harness/args.h"
#include "cuda/decode.h"
#include "cuda/decode_taps.h"
#include "cuda/ops.h"
#include "cuda/session.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 512,            /* tokens computed at once: bounds scratch, and weight rows are reused within it */
    LOGITS_BYTES = 1 << 25, /* rows of logits computed at once: as many as fit in here, at least one */
};

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static bool is_head_site(int site)
{
    return site == FAL_SITE_final_norm || site == FAL_SITE_logits;
}

/* Bytes of one token at a site; f32 and i32 are both 4 wide. */
static size_t row_bytes(const fal_session *s, int site)
{
    int sub, width;
    fal_site_shape((fal_site)site, &s->model->config, &sub, &width);
    return fal_cu_bytes(4, sub, width, 1);
}

/* The device copy of a tensor of the model, or a refusal when the model does not list it. */
static fal_status find_weight(const fal_session *s, const fal_tensor *t, const fal_cu_buffer **out, fal_error *err)
{
    for (int i = 0; i < s->model->n_tensors; i++) {
        if (s->model->tensors[i] != t) continue;
        *out = s->weights[i];
        return FAL_OK;
    }
    return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: tensor %s is not in the model's list", t ? t->name : "NULL");
}

static fal_status bind_weights(fal_session *s, fal_error *err)
{
    const fal_model *m = s->model;
    fal_status st = find_weight(s, m->token_embd, &s->token_embd, err);
    if (st == FAL_OK) st = find_weight(s, m->output_norm, &s->output_norm, err);
    if (st == FAL_OK) st = find_weight(s, m->output, &s->output, err);
    for (int layer = 0; layer < m->config.n_layer; layer++) {
#define X(tensor) if (st == FAL_OK) st = find_weight(s, m->layers[layer].tensor, &s->layers[layer].tensor, err);
        FAL_CU_LAYER_TENSORS(X)
#undef X
    }
    return st;
}

static fal_status upload_weights(fal_session *s, fal_error *err)
{
    const fal_model *m = s->model;
    for (int i = 0; i < m->n_tensors; i++) {
        const char *type_name = NULL;
        fal_status st = fal_cu_type_name(m->tensors[i]->name, m->tensors[i]->type, &type_name, err);
        if (st != FAL_OK) return st;
        st = fal_cu_upload(s->ctx, m->tensors[i]->name, m->tensors[i]->data, m->tensors[i]->nbytes, &s->weights[i], err);
        if (st != FAL_OK) return st;
        s->uploads[i]++;
    }
    return bind_weights(s, err);
}

static fal_status alloc_cache(fal_session *s, fal_error *err)
{
    const fal_config *c = &s->model->config;
    const size_t elem = fal_cu_variant_of(s->ctx) == FAL_CU_FAST_KV16 ? sizeof(uint16_t) : sizeof(float);
    const size_t bytes = fal_cu_bytes(elem, s->n_ctx, c->n_head_kv, c->head_dim);
    fal_status st = FAL_OK;
    for (int layer = 0; st == FAL_OK && layer < c->n_layer; layer++) {
        st = fal_cu_alloc(s->ctx, "k_cache", bytes, &s->k_cache[layer], err);
        if (st == FAL_OK) st = fal_cu_alloc(s->ctx, "v_cache", bytes, &s->v_cache[layer], err);
    }
    return st;
}

static fal_status upload_rope_tables(fal_session *s, fal_error *err)
{
    const fal_config *c = &s->model->config;
    const size_t bytes = fal_cu_bytes(sizeof(float), s->n_ctx, c->head_dim / 2, 1);
    float *cos_host = NULL, *sin_host = NULL;
    fal_status st = fal_rope_table(s->n_ctx, c->head_dim, c->rope_freq_base, &cos_host, &sin_host, err);
    if (st != FAL_OK) return st;
    st = fal_cu_upload(s->ctx, "rope cos", cos_host, bytes, &s->cos_table, err);
    if (st == FAL_OK) st = fal_cu_upload(s->ctx, "rope sin", sin_host, bytes, &s->sin_table, err);
    free(sin_host);
    free(cos_host);
    return st;
}

static fal_status alloc_scratch(fal_session *s, fal_error *err)
{
    const fal_config *c = &s->model->config;
    fal_status st = FAL_OK;
    for (int i = 0; st == FAL_OK && i < FAL_N_SITES; i++) {
        const int rows = is_head_site(i) ? s->head_rows : s->chunk;
        st = fal_cu_alloc(s->ctx, fal_site_get((fal_site)i)->name, fal_cu_bytes(row_bytes(s, i), rows, 1, 1), &s->site[i],
                          err);
    }
    if (st == FAL_OK) st = fal_cu_alloc(s->ctx, "tokens", fal_cu_bytes(4, s->chunk, 1, 1), &s->tokens, err);
    if (st == FAL_OK)
        st = fal_cu_alloc(s->ctx, "pinned ids", fal_cu_bytes(4, s->chunk, c->n_expert_used, 1), &s->pinned, err);
    if (st == FAL_OK)
        st = fal_cu_alloc(s->ctx, "parts of attention", fal_cu_attention_parts_bytes(s->n_ctx, c->n_head, c->head_dim),
                          &s->parts, err);
    if (st == FAL_OK)
        st = fal_cu_alloc(s->ctx, "expert lists", fal_cu_moe_lists_bytes(s->chunk, c->n_expert, c->n_expert_used), &s->lists,
                          err);
    if (st == FAL_OK)
        st = fal_cu_alloc(s->ctx, "rows of the head", fal_cu_bytes(4, s->head_rows, c->n_embd, 1), &s->head_in, err);
    if (st == FAL_OK) st = fal_cu_alloc(s->ctx, "next token", fal_cu_bytes(4, s->head_rows, 1, 1), &s->next, err);
    return st;
}

static void add_bytes(size_t *n, size_t more)
{
    if (__builtin_add_overflow(*n, more, n)) *n = SIZE_MAX;
}

/* Bytes that opening this session allocates: weights, cache, tables and scratch. SIZE_MAX when there is no such number. */
static size_t session_bytes(const fal_session *s)
{
    const fal_config *c = &s->model->config;
    const size_t elem = fal_cu_variant_of(s->ctx) == FAL_CU_FAST_KV16 ? sizeof(uint16_t) : sizeof(float);
    const size_t cache = fal_cu_bytes(elem, s->n_ctx, c->n_head_kv, c->head_dim);
    const size_t table = fal_cu_bytes(sizeof(float), s->n_ctx, c->head_dim / 2, 1);
    size_t n = s->model->tensor_bytes < SIZE_MAX ? (size_t)s->model->tensor_bytes : SIZE_MAX;
    for (int i = 0; i < 2 * c->n_layer; i++) add_bytes(&n, cache);
    for (int i = 0; i < 2; i++) add_bytes(&n, table);
    for (int i = 0; i < FAL_N_SITES; i++)
        add_bytes(&n, fal_cu_bytes(row_bytes(s, i), is_head_site(i) ? s->head_rows : s->chunk, 1, 1));
    add_bytes(&n, fal_cu_moe_lists_bytes(s->chunk, c->n_expert, c->n_expert_used));
    add_bytes(&n, fal_cu_bytes(4, s->head_rows, c->n_embd, 1));
    add_bytes(&n, fal_cu_attention_parts_bytes(s->n_ctx, c->n_head, c->head_dim));
    return n;
}

fal_status fal_cu_session_open(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out, fal_error *err)
{
    if (!ctx || !model || !out) return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: context, model or result is NULL");
    if (n_ctx <= 0)
        return fal_fail(err, FAL_ERR_INPUT, "ask for at least one position", "cuda: n_ctx is %d, expected >= 1", n_ctx);
    const fal_config *c = &model->config;
    fal_status st = FAL_OK;
    fal_session *s = calloc(1, sizeof *s);
    if (!s) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a session");
    s->ctx = ctx;
    s->model = model;
    s->n_ctx = n_ctx;
    s->chunk = n_ctx < CHUNK ? n_ctx : CHUNK;
    const size_t rows = LOGITS_BYTES / fal_cu_bytes(4, c->n_vocab, 1, 1);
    s->head_rows = rows < 1 ? 1 : rows > (size_t)s->chunk ? s->chunk : (int)rows;
    s->weights = calloc((size_t)model->n_tensors, sizeof(fal_cu_buffer *));
    s->uploads = calloc((size_t)model->n_tensors, sizeof *s->uploads);
    s->layers = calloc((size_t)c->n_layer, sizeof *s->layers);
    s->k_cache = calloc((size_t)c->n_layer, sizeof(fal_cu_buffer *));
    s->v_cache = calloc((size_t)c->n_layer, sizeof(fal_cu_buffer *));
    if (!s->weights || !s->uploads || !s->layers || !s->k_cache || !s->v_cache)
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a session");
    if (st == FAL_OK && fal_cu_variant_of(ctx) != FAL_CU_EXACT) st = fal_cu_decode_check(ctx, model, err);
    /* What cannot fit is refused before the device is filled with a part of it. */
    if (st == FAL_OK) st = fal_cu_need_room(ctx, "the model with its context", session_bytes(s), err);
    if (st == FAL_OK) st = alloc_cache(s, err);
    if (st == FAL_OK) st = upload_rope_tables(s, err);
    if (st == FAL_OK) st = alloc_scratch(s, err);
    if (st == FAL_OK) st = upload_weights(s, err);
    if (st == FAL_OK && fal_cu_variant_of(ctx) != FAL_CU_EXACT) st = fal_cu_decode_open(s, &s->decode, err);
    if (st == FAL_OK) st = fal_cu_finish(ctx, err);
    if (st != FAL_OK) fal_cu_session_close(s);
    else *out = s;
    return st;
}

void fal_cu_session_close(fal_session *s)
{
    if (!s) return;
    fal_context *ctx = s->ctx;
    fal_cu_decode_close(ctx, s->decode);
    free(s->host);
    fal_cu_free(ctx, s->next);
    fal_cu_free(ctx, s->head_in);
    fal_cu_free(ctx, s->lists);
    fal_cu_free(ctx, s->parts);
    fal_cu_free(ctx, s->pinned);
    fal_cu_free(ctx, s->tokens);
    for (int i = 0; i < FAL_N_SITES; i++) fal_cu_free(ctx, s->site[i]);
    fal_cu_free(ctx, s->sin_table);
    fal_cu_free(ctx, s->cos_table);
    for (int layer = 0; layer < s->model->config.n_layer; layer++) {
        if (s->v_cache) fal_cu_free(ctx, s->v_cache[layer]);
        if (s->k_cache) fal_cu_free(ctx, s->k_cache[layer]);
    }
    for (int i = 0; s->weights && i < s->model->n_tensors; i++) fal_cu_free(ctx, s->weights[i]);
    free(s->v_cache);
    free(s->k_cache);
    free(s->layers);
    free(s->uploads);
    free(s->weights);
    free(s);
}

fal_status fal_cu_reset(fal_session *s, fal_error *err)
{
    if (!s) return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: the session is NULL");
    fal_cu_buffer *const others[] = { s->tokens, s->pinned, s->parts, s->lists, s->head_in, s->next };
    fal_status st = FAL_OK;
    for (int layer = 0; st == FAL_OK && layer < s->model->config.n_layer; layer++) {
        st = fal_cu_poison(s->ctx, s->k_cache[layer], err);
        if (st == FAL_OK) st = fal_cu_poison(s->ctx, s->v_cache[layer], err);
    }
    for (int i = 0; st == FAL_OK && i < FAL_N_SITES; i++) st = fal_cu_poison(s->ctx, s->site[i], err);
    for (size_t i = 0; st == FAL_OK && i < sizeof others / sizeof others[0]; i++)
        st = fal_cu_poison(s->ctx, others[i], err);
    if (st == FAL_OK && s->decode) st = fal_cu_decode_reset(s, err);
    if (st == FAL_OK) st = fal_cu_finish(s->ctx, err);
    if (st == FAL_OK) s->n_past = 0;
    return st;
}

fal_status fal_cu_read_tensor(fal_session *s, int i, void *out, int *uploads, fal_error *err)
{
    if (!s || !out || !uploads) return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: session or result is NULL");
    if (i < 0 || i >= s->model->n_tensors)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: tensor %d, expected 0 <= i < %d", i, s->model->n_tensors);
    const fal_status st = fal_cu_read(s->ctx, s->weights[i], 0, out, s->model->tensors[i]->nbytes, err);
    if (st == FAL_OK) *uploads = s->uploads[i];
    return st;
}

void fal_cu_session_memory(const fal_session *s, fal_memory *out)
{
    fal_cu_memory(s->ctx, out);
    for (int i = 0; i < s->model->n_tensors; i++) out->weight_bytes += fal_cu_size(s->weights[i]);
    for (int layer = 0; layer < s->model->config.n_layer; layer++)
        out->kv_bytes += fal_cu_size(s->k_cache[layer]) + fal_cu_size(s->v_cache[layer]);
    for (int i = 0; i < FAL_N_SITES; i++) out->scratch_bytes += fal_cu_size(s->site[i]);
    out->scratch_bytes += fal_cu_size(s->tokens) + fal_cu_size(s->pinned) + fal_cu_size(s->parts) + fal_cu_size(s->lists) + fal_cu_size(s->head_in) +
                          fal_cu_size(s->next) + fal_cu_size(s->cos_table) + fal_cu_size(s->sin_table) +
                          fal_cu_decode_bytes(s->decode);
}

/* ---- taps --------------------------------------------------------------------------------------------------------- */

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

/* Expert ids that come from outside index device memory: check them like those of an op. */
static fal_status check_ids(const chunk *k, const char *what, const int32_t *ids, int n, int layer)
{
    const fal_config *c = &k->s->model->config;
    const size_t total = (size_t)n * (size_t)c->n_expert_used;
    for (size_t i = 0; i < total; i++)
        if (ids[i] < 0 || ids[i] >= c->n_expert)
            return fal_fail(k->err, FAL_ERR_INPUT, NULL, "cuda: %s of layer %d: id %zu is %d, expected 0 <= id < %d", what,
                            layer, i, ids[i], c->n_expert);
    return FAL_OK;
}

/* Shows rows [first, first + n) of the request at a site, then puts in what teacher forcing has for them. */
static fal_status tap_rows(const chunk *k, fal_site site, int layer, int first, int n)
{
    const fal_taps *taps = k->taps;
    fal_session *s = k->s;
    if (!taps) return FAL_OK;
    const size_t bytes = (size_t)n * row_bytes(s, (int)site);
    if (wants(k, site, layer)) {
        if (bytes > s->host_bytes) {
            void *more = realloc(s->host, bytes);
            if (!more) return fal_fail(k->err, FAL_ERR_MEMORY, NULL, "cuda: no host memory to read back %zu bytes", bytes);
            s->host = more;
            s->host_bytes = bytes;
        }
        fal_status st = fal_cu_read(s->ctx, s->site[site], 0, s->host, bytes, k->err);
        if (st == FAL_OK) st = taps->give(taps->user, site, layer, first, n, s->host, k->err);
        if (st != FAL_OK) return st;
    }
    const void *forced = taps->forced ? taps->forced(taps->user, site, layer, first, n) : NULL;
    if (!forced) return FAL_OK;
    if (site == FAL_SITE_expert_ids) {
        const fal_status st = check_ids(k, "forced expert_ids", forced, n, layer);
        if (st != FAL_OK) return st;
    }
    return fal_cu_write(s->ctx, s->site[site], forced, bytes, k->err);
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

#define SITE(name) (s->site[FAL_SITE_##name])
/* Queues an op, or ends the pass with its failure. */
#define RUN(op, ...)                                                                                                   \
    do {                                                                                                               \
        const fal_status st_ = fal_cu_##op##_run(s->ctx, __VA_ARGS__, k->err);                                         \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)
#define TAP(site, layer)                                                                                               \
    do {                                                                                                               \
        const fal_status st_ = tap_rows(k, FAL_SITE_##site, layer, k->first, k->n);                                    \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)

/* x + Attn(RMSNorm(x)) into site ffn_inp. x: [n, n_embd] */
static fal_status attention_block(const chunk *k, int layer, const fal_cu_buffer *x)
{
    fal_session *s = k->s;
    const fal_config *c = &s->model->config;
    const fal_layer *w = &s->model->layers[layer];
    const fal_cu_layer *b = &s->layers[layer];
    const int n = k->n, n_q = c->n_head * c->head_dim, n_kv = c->n_head_kv * c->head_dim;

    RUN(rmsnorm, n, c->n_embd, c->rms_eps, x, b->attn_norm, SITE(attn_norm));
    TAP(attn_norm, layer);
    const fal_cu_product qkv[] = { { n_q, b->attn_q, SITE(q) }, { n_kv, b->attn_k, SITE(k) }, { n_kv, b->attn_v, SITE(v) } };
    const uint32_t types[] = { w->attn_q->type, w->attn_k->type, w->attn_v->type };
    for (int i = 0, end; i < 3; i = end) { /* neighbours of one type together */
        for (end = i + 1; end < 3 && types[end] == types[i]; end++) {}
        RUN(matmul, n, c->n_embd, types[i], SITE(attn_norm), qkv + i, end - i);
    }
    TAP(q, layer);
    TAP(k, layer);
    TAP(v, layer);
    const fal_cu_heads norms[] = { { c->n_head, SITE(q), b->attn_q_norm, SITE(q_norm) },
                                  { c->n_head_kv, SITE(k), b->attn_k_norm, SITE(k_norm) } };
    RUN(qk_norm, n, c->head_dim, c->rms_eps, norms, 2);
    TAP(q_norm, layer);
    TAP(k_norm, layer);
    const fal_cu_heads ropes[] = { { c->n_head, SITE(q_norm), NULL, SITE(q_rope) }, { c->n_head_kv, SITE(k_norm), NULL, SITE(k_rope) } };
    RUN(rope, n, c->head_dim, k->pos, s->cos_table, s->sin_table, ropes, 2);
    TAP(q_rope, layer);
    TAP(k_rope, layer);
    if (fal_cu_variant_of(s->ctx) == FAL_CU_FAST_KV16) {
        RUN(decode_kv16_store, n, c->n_head_kv, c->head_dim, k->pos, SITE(k_rope), SITE(v), s->k_cache[layer],
            s->v_cache[layer]);
        RUN(decode_kv16_attention, n, c->n_head, c->n_head_kv, c->head_dim, k->pos, SITE(q_rope), s->k_cache[layer],
            s->v_cache[layer], SITE(attn));
    } else {
        RUN(kv_store, n, c->n_head_kv, c->head_dim, k->pos, SITE(k_rope), SITE(v), s->k_cache[layer], s->v_cache[layer]);
        RUN(attention, n, c->n_head, c->n_head_kv, c->head_dim, k->pos, SITE(q_rope), s->k_cache[layer], s->v_cache[layer],
            s->parts, SITE(attn));
    }
    TAP(attn, layer);
    RUN(matmul, n, n_q, w->attn_output->type, SITE(attn), &(const fal_cu_product){ c->n_embd, b->attn_output, SITE(attn_output) }, 1);
    TAP(attn_output, layer);
    RUN(add, n, c->n_embd, x, SITE(attn_output), SITE(ffn_inp));
    TAP(ffn_inp, layer);
    return FAL_OK;
}

/* Writes the pinned expert ids of a layer to the device; *out is NULL when there are none. */
static fal_status pin(const chunk *k, int layer, const fal_cu_buffer **out)
{
    fal_session *s = k->s;
    *out = NULL;
    const int32_t *ids = k->taps && k->taps->pinned ? k->taps->pinned(k->taps->user, layer, k->first, k->n) : NULL;
    if (!ids) return FAL_OK;
    fal_status st = check_ids(k, "pinned ids", ids, k->n, layer);
    if (st == FAL_OK)
        st = fal_cu_write(s->ctx, s->pinned, ids, fal_cu_bytes(4, k->n, s->model->config.n_expert_used, 1), k->err);
    if (st == FAL_OK) *out = s->pinned;
    return st;
}

/* ffn_inp + MoE(RMSNorm(ffn_inp)) into site l_out. */
static fal_status moe_block(const chunk *k, int layer)
{
    fal_session *s = k->s;
    const fal_config *c = &s->model->config;
    const fal_layer *w = &s->model->layers[layer];
    const fal_cu_layer *b = &s->layers[layer];
    const int n = k->n, n_exp = c->n_expert, n_used = c->n_expert_used;
    const fal_cu_buffer *pinned = NULL;
    const fal_status st = pin(k, layer, &pinned);
    if (st != FAL_OK) return st;

    RUN(rmsnorm, n, c->n_embd, c->rms_eps, SITE(ffn_inp), b->ffn_norm, SITE(ffn_norm));
    TAP(ffn_norm, layer);
    RUN(matmul, n, c->n_embd, w->ffn_gate_inp->type, SITE(ffn_norm), &(const fal_cu_product){ n_exp, b->ffn_gate_inp, SITE(router_logits) }, 1);
    TAP(router_logits, layer);
    RUN(softmax, n, n_exp, SITE(router_logits), SITE(router_probs));
    TAP(router_probs, layer);
    RUN(router, n, n_exp, n_used, SITE(router_probs), pinned, SITE(expert_ids), SITE(expert_weights));
    TAP(expert_ids, layer);
    TAP(expert_weights, layer);
    const fal_cu_product both[] = { { c->n_ff, b->ffn_gate_exps, SITE(moe_gate) }, { c->n_ff, b->ffn_up_exps, SITE(moe_up) } };
    const uint32_t gate = w->ffn_gate_exps->type, up = w->ffn_up_exps->type;
    RUN(moe_matmul, n, n_exp, n_used, c->n_embd, false, gate, SITE(ffn_norm), SITE(expert_ids), s->lists, both, gate == up ? 2 : 1);
    if (gate != up) RUN(moe_matmul, n, n_exp, n_used, c->n_embd, false, up, SITE(ffn_norm), SITE(expert_ids), s->lists, both + 1, 1);
    TAP(moe_gate, layer);
    TAP(moe_up, layer);
    RUN(swiglu, n * n_used, c->n_ff, SITE(moe_gate), SITE(moe_up), SITE(moe_act));
    TAP(moe_act, layer);
    RUN(moe_matmul, n, n_exp, n_used, c->n_ff, true, w->ffn_down_exps->type, SITE(moe_act), SITE(expert_ids), s->lists,
        &(const fal_cu_product){ c->n_embd, b->ffn_down_exps, SITE(moe_down) }, 1);
    TAP(moe_down, layer);
    RUN(moe_sum, n, n_used, c->n_embd, SITE(moe_down), SITE(expert_weights), SITE(moe_out));
    TAP(moe_out, layer);
    RUN(add, n, c->n_embd, SITE(ffn_inp), SITE(moe_out), SITE(l_out));
    TAP(l_out, layer);
    return FAL_OK;
}

/* Final norm of rows [at, at + rows) of the chunk and, when asked for, their logits and the argmax of each. */
static fal_status head_rows(const chunk *k, int at, int rows, bool logits, bool argmax)
{
    fal_session *s = k->s;
    const fal_config *c = &s->model->config;
    const fal_model *m = s->model;
    const size_t one = row_bytes(s, FAL_SITE_l_out);
    fal_status st = fal_cu_copy(s->ctx, s->head_in, SITE(l_out), (size_t)at * one, (size_t)rows * one, k->err);
    if (st != FAL_OK) return st;
    RUN(rmsnorm, rows, c->n_embd, c->rms_eps, s->head_in, s->output_norm, SITE(final_norm));
    st = tap_rows(k, FAL_SITE_final_norm, -1, k->first + at, rows);
    if (st != FAL_OK || !(logits || argmax)) return st;
    RUN(matmul, rows, c->n_embd, m->output->type, SITE(final_norm), &(const fal_cu_product){ c->n_vocab, s->output, SITE(logits) }, 1);
    st = tap_rows(k, FAL_SITE_logits, -1, k->first + at, rows);
    if (st != FAL_OK || !argmax) return st;
    RUN(argmax, rows, c->n_vocab, SITE(logits), s->next);
    return FAL_OK;
}

/* The rows of the head that somebody wants: all of them for a tap, otherwise the last one of the request for next. */
static fal_status head(const chunk *k, bool is_last, int32_t *next)
{
    fal_session *s = k->s;
    const bool all_logits = wants(k, FAL_SITE_logits, -1);
    const bool all_norms = all_logits || wants(k, FAL_SITE_final_norm, -1);
    const bool argmax = is_last && next;
    if (!all_norms && !argmax) return FAL_OK;
    int rows = 0;
    for (int at = all_norms ? 0 : k->n - 1; at < k->n; at += rows) {
        rows = k->n - at < s->head_rows ? k->n - at : s->head_rows;
        const bool has_last = at + rows == k->n;
        /* Norms of all rows but logits of none: the last row stands alone, so that only its logits are computed. */
        if (argmax && !all_logits && has_last && rows > 1) rows--;
        const fal_status st = head_rows(k, at, rows, all_logits, argmax && at + rows == k->n);
        if (st != FAL_OK) return st;
    }
    if (!argmax) return FAL_OK;
    return fal_cu_read(s->ctx, s->next, (size_t)(rows - 1) * sizeof *next, next, sizeof *next, k->err);
}

static fal_status run_chunk(const chunk *k, const int32_t *tokens, bool is_last, int32_t *next)
{
    fal_session *s = k->s;
    const fal_model *m = s->model;
    const fal_config *c = &m->config;
    fal_status st = fal_cu_write(s->ctx, s->tokens, tokens + k->first, (size_t)k->n * sizeof *tokens, k->err);
    if (st != FAL_OK) return st;
    fal_cu_overlap(s->ctx, k->n < FAL_CU_MIN_TILED);
    RUN(embed, k->n, c->n_embd, m->token_embd->type, s->token_embd, s->tokens, SITE(embed));
    TAP(embed, -1);
    for (int layer = 0; layer < c->n_layer; layer++) {
        st = attention_block(k, layer, layer == 0 ? SITE(embed) : SITE(l_out));
        if (st == FAL_OK) st = moe_block(k, layer);
        if (st != FAL_OK) return st;
    }
    return head(k, is_last, next);
}

/* One token through the fused path. */
static fal_status forward_fused(fal_session *s, int32_t token, const fal_taps *taps, int32_t *next, fal_error *err)
{
    const chunk k = { .s = s, .taps = taps, .err = err, .first = 0, .n = 1, .pos = s->n_past };
    fal_status st = fal_cu_decode_start(s, token, err);
    if (st == FAL_OK) st = fal_cu_decode_one(s, taps, err);
    if (st == FAL_OK) st = tap_rows(&k, FAL_SITE_final_norm, -1, 0, 1);
    if (st == FAL_OK) st = tap_rows(&k, FAL_SITE_logits, -1, 0, 1);
    if (st == FAL_OK && next) st = fal_cu_decode_last(s, next, err);
    return st;
}

fal_status fal_cu_forward(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps, int32_t *next,
                          fal_error *err)
{
    if (!s) return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: the session is NULL");
    fal_status st = fal_request_check(&s->model->config, tokens, n_tokens, s->n_past, s->n_ctx, err);
    if (st != FAL_OK) return st;
    int32_t best = 0;
    if (s->decode) st = fal_cu_decode_check_taps(s, taps, n_tokens, err);
    if (st != FAL_OK) return st;
    const bool is_fused = s->decode && n_tokens == 1;
    if (is_fused) st = forward_fused(s, tokens[0], taps, next ? &best : NULL, err);
    for (int first = 0; !is_fused && first < n_tokens; first += s->chunk) {
        const int left = n_tokens - first;
        const chunk k = { .s = s, .taps = taps, .err = err, .first = first, .n = left < s->chunk ? left : s->chunk,
                          .pos = s->n_past + first };
        st = run_chunk(&k, tokens, first + k.n == n_tokens, next ? &best : NULL);
        if (st != FAL_OK) break;
    }
    /* Whoever gets an answer gets the errors of everything before it; a failed pass leaves nothing running. */
    const fal_status done = st == FAL_OK && next ? FAL_OK : fal_cu_finish(s->ctx, err);
    if (st == FAL_OK) st = done;
    if (st != FAL_OK) return st;
    s->n_past += n_tokens;
    if (next) *next = best;
    return FAL_OK;
}

fal_status fal_cu_generate(fal_session *s, int32_t first_token, int n, int32_t *out, fal_error *err)
{
    if (!s || !out) return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: session or result is NULL");
    /* Each token fed in takes one position; the last one of the answer is not fed back. */
    fal_status st = fal_request_check(&s->model->config, &first_token, n < 1 ? 0 : 1, s->n_past, s->n_ctx, err);
    if (st != FAL_OK) return st;
    if (n > s->n_ctx - s->n_past)
        return fal_fail_contract(err, FAL_ERR_INPUT, "qwen3-moe-forward-v1", "ask for fewer tokens or a longer context",
                                 "%d past + %d new tokens exceed the context of %d", s->n_past, n, s->n_ctx);
    if (!s->decode) {
        int32_t token = first_token;
        for (int i = 0; i < n; i++) {
            st = fal_cu_forward(s, &token, 1, NULL, &token, err);
            if (st != FAL_OK) return st;
            out[i] = token;
        }
        return FAL_OK;
    }
    st = fal_cu_decode_start(s, first_token, err);
    if (st == FAL_OK) st = fal_cu_decode_tokens(s, n, err);
    if (st == FAL_OK) st = fal_cu_decode_read(s, n, out, err);
    if (st == FAL_OK) s->n_past += n;
    else fal_cu_finish(s->ctx, NULL); /* a failed pass leaves nothing running; its own error is the one to tell */
    return st;
}
