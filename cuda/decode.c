/* The fused decode path: which kernels a token takes and in what shape, their scratch, and the graph that holds them.
   */
#include "cuda/decode.h"

#include "cuda/decode_taps.h"
#include "cuda/session.h"

#include <stdlib.h>

/* As in decode.cuh and decode_attention.cu. */
enum {
    ROWS = 4,
    BLOCK = 256,
    BLOCK_FLOATS = 272 + 8,
    MOST_WARPS = 12,
    HEADS = 8,
    MOST_SPLITS = 32,
    NEXT_THREADS = 128
};

/* One scratch buffer of each name; bytes from c, the model's config. */
#define SCRATCH(X)                                                                                                     \
    X(state, 4 * sizeof(int32_t))                                                                                      \
    X(x, row_bytes(c->n_embd))                                                                                         \
    X(mid, row_bytes(c->n_embd))                                                                                       \
    X(norm_x, row_bytes(c->n_embd))                                                                                    \
    X(q, row_bytes(c->n_head * c->head_dim))                                                                           \
    X(k, row_bytes(c->n_head_kv * c->head_dim))                                                                        \
    X(v, row_bytes(c->n_head_kv * c->head_dim))                                                                        \
    X(attn, row_bytes(c->n_head * c->head_dim))                                                                        \
    X(act, fal_cu_bytes(sizeof(float), c->n_expert_used, c->n_ff, 1))                                                  \
    X(parts, fal_cu_bytes(sizeof(float) * HEADS, chunks_of(c), d->n_splits, c->head_dim))                              \
    X(tops, fal_cu_bytes(sizeof(float) * HEADS * 2, chunks_of(c), d->n_splits, 1))                                     \
    X(arrived, row_bytes(chunks_of(c)))                                                                                \
    X(best_keys, row_bytes(d->head_blocks))                                                                            \
    X(best_ids, row_bytes(d->head_blocks))                                                                             \
    X(out, row_bytes(s->n_ctx))

struct fal_cu_decode {
#define X(name, bytes) fal_cu_buffer *name;
    SCRATCH(X)
#undef X
    int n_layer;
    fal_cu_buffer **router, **chosen; /* [n_layer] router logits and chosen experts, kept until the next token */
    int n_splits;    /* blocks that share the positions of a chunk of heads, at most */
    int head_blocks; /* blocks of the logits */
    fal_cu_graph *token;
};

static size_t row_bytes(int n)
{
    return fal_cu_bytes(sizeof(float), n, 1, 1);
}

/* Groups of query heads that one block takes together. */
static int chunks_of(const fal_config *c)
{
    const int per_kv = c->n_head / c->n_head_kv;
    return c->n_head_kv * ((per_kv + HEADS - 1) / HEADS);
}

/* Blocks that share the positions of a chunk, at most. */
static int splits_of(const fal_context *ctx, int n_chunks)
{
    const int n = fal_cu_multiprocessors(ctx) / n_chunks;
    return n > MOST_SPLITS ? MOST_SPLITS : n < 1 ? 1 : n;
}

static int ceil_div(int a, int b)
{
    return (a - 1) / b + 1;
}

/* ---- shapes -------------------------------------------------------------------------------------------------------
   */

/* Shared memory of n_seg segments of n_in columns (decode.cuh). */
static size_t vector_bytes(int n_seg, int n_in)
{
    return fal_cu_bytes(sizeof(float) * BLOCK_FLOATS, n_seg, ceil_div(n_in, BLOCK), 1);
}

static size_t choice_bytes(const fal_config *c)
{
    return sizeof(int32_t) * (2 * (size_t)c->n_expert + 2 * (size_t)c->n_expert_used);
}

static size_t attention_bytes(void)
{
    const size_t dp = 128; /* most head_dim that the attention kernel takes */
    return sizeof(float) * (HEADS * dp + 2 * dp + 8 * HEADS * 8 + 2 * 8 * HEADS + 8 * HEADS * dp + HEADS * MOST_SPLITS);
}

fal_status fal_cu_decode_check(const fal_context *ctx, const fal_model *model, fal_error *err)
{
    static const char hint[] = "leave the variant empty: the exact class has no such limit";
    const fal_config *c = &model->config;
    const char *variant = fal_cu_variants[fal_cu_variant_of(ctx)];
    const size_t limit = fal_cu_shared_limit(ctx) - 2048; /* what kernels declare themselves */
    const struct {
        const char *what;
        size_t bytes;
    } needs[] = {
        { "a row of n_embd columns and the routing", vector_bytes(1, c->n_embd) + choice_bytes(c) },
        { "a row of n_head * head_dim columns", vector_bytes(1, c->n_head * c->head_dim) },
        { "rows of n_expert_used * n_ff columns and the routing",
          vector_bytes(c->n_expert_used, c->n_ff) + choice_bytes(c) },
        { "attention", attention_bytes() },
    };
    if (c->head_dim % 4 != 0 || c->head_dim > 128)
        return fal_fail(err, FAL_ERR_INPUT, hint,
                        "cuda: variant '%s': head_dim is %d, expected a multiple of 4 up to 128", variant, c->head_dim);
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (needs[i].bytes > limit)
            return fal_fail(err, FAL_ERR_INPUT, hint,
                            "cuda: variant '%s': %s need %zu bytes of shared memory, a block of '%s' has %zu", variant,
                            needs[i].what, needs[i].bytes, fal_cu_device(ctx)->name, limit);
    return FAL_OK;
}

/* Passes of a warp over a row, as fal_passes in decode.cuh. */
static int passes_of(uint32_t type, int n_blocks)
{
    return type == FAL_TYPE_Q4_K ? ceil_div(n_blocks, 8) : type == FAL_TYPE_Q6_K ? ceil_div(n_blocks, 4) : n_blocks;
}

/* How warps share rows: n_parts warps for a group of ROWS rows, n_groups groups in a block, blocks for all groups. */
typedef struct {
    int n_parts, n_groups;
    fal_cu_shape shape;
} spread;

/* Few parts, because they meet at a barrier, but enough that no warp takes more than most_passes; then as many groups
   in a
   block as give every multiprocessor blocks_each blocks, as far as the warps of a block go. twins: warps per part. */
static spread spread_rows(const fal_context *ctx, int n_groups, int n_passes, int most_passes, int twins,
                          int blocks_each, size_t shared_bytes)
{
    spread p = { .n_parts = ceil_div(n_passes, most_passes) };
    if (p.n_parts * twins > MOST_WARPS) p.n_parts = MOST_WARPS / twins;
    p.n_groups = ceil_div(n_groups, fal_cu_multiprocessors(ctx) * blocks_each);
    if (p.n_groups * p.n_parts * twins > MOST_WARPS) p.n_groups = MOST_WARPS / (p.n_parts * twins);
    p.shape = (fal_cu_shape){ .n_groups = (size_t)ceil_div(n_groups, p.n_groups),
                              .n_threads = 32 * p.n_groups * p.n_parts * twins,
                              .shared_bytes = shared_bytes,
                              .overlaps = true };
    return p;
}

/* Of gate, up and SiLU of the chosen experts. */
static spread spread_act(const fal_context *ctx, const fal_config *c, uint32_t gate)
{
    return spread_rows(ctx, c->n_expert_used * ceil_div(c->n_ff, ROWS), passes_of(gate, ceil_div(c->n_embd, BLOCK)), 2, 2, 2,
                       vector_bytes(1, c->n_embd) + choice_bytes(c));
}

static const char *act_type(uint32_t gate, uint32_t up)
{
    return gate == FAL_TYPE_Q4_K && up == FAL_TYPE_Q4_K ? "q4_k" : "any";
}

/* ---- a token ------------------------------------------------------------------------------------------------------
   */

#define LAUNCH(module, how, type, shape, ...)                                                                          \
    do {                                                                                                               \
        const fal_cu_arg args_[] = { __VA_ARGS__ };                                                                    \
        const fal_status st_ =                                                                                         \
            fal_cu_launch_shaped(s->ctx, module, how, type, shape, args_, sizeof args_ / sizeof args_[0], err);        \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)
/* Between two kernels of a token that is watched: shows, and puts in, what the first one made. */
#define SEE(site, layer, buffer)                                                                                       \
    do {                                                                                                               \
        const fal_status st_ = fal_cu_decode_tap(s, taps, FAL_SITE_##site, layer, buffer, err);                        \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)
#define B    FAL_CU_BUFFER
#define I(n) FAL_CU_INT((int)(n))
#define F    FAL_CU_FLOAT

/* mid = x + Attn(RMSNorm(x)). */
static fal_status attention_kernels(fal_session *s, const fal_cu_decode *d, const fal_taps *taps, int layer, fal_error *err)
{
    const fal_config *c = &s->model->config;
    const fal_layer *w = &s->model->layers[layer];
    const fal_cu_layer *b = &s->layers[layer];
    const int n_q = c->n_head * c->head_dim, n_kv = c->n_head_kv * c->head_dim;

    const int groups = ceil_div(n_q, ROWS) + 2 * ceil_div(n_kv, ROWS);
    const spread qkv = spread_rows(s->ctx, groups, passes_of(w->attn_q->type, ceil_div(c->n_embd, BLOCK)), 2, 1, 1,
                                   vector_bytes(1, c->n_embd));
    LAUNCH("decode_dense", "qkv", NULL, &qkv.shape, I(c->n_embd), I(n_q), I(n_kv), I(qkv.n_groups), I(qkv.n_parts),
           I(w->attn_q->type), I(w->attn_k->type), I(w->attn_v->type), F(c->rms_eps), B(b->attn_q), B(b->attn_k),
           B(b->attn_v), B(b->attn_norm), B(d->x), B(d->q), B(d->k), B(d->v));
    SEE(q, layer, d->q);
    SEE(k, layer, d->k);
    SEE(v, layer, d->v);

    const fal_cu_shape attention = { .n_groups = (size_t)chunks_of(c) * (size_t)d->n_splits,
                                     .n_threads = 256,
                                     .shared_bytes = attention_bytes(),
                                     .overlaps = true };
    const bool is_half = fal_cu_variant_of(s->ctx) == FAL_CU_FAST_KV16;
    LAUNCH("decode_attention", "d128", is_half ? "f16" : "f32", &attention, I(c->n_head),
           I(c->n_head_kv), I(c->head_dim), I(d->n_splits), F(c->rms_eps), B(d->state), B(d->q), B(d->k), B(d->v),
           B(b->attn_q_norm), B(b->attn_k_norm), B(s->cos_table), B(s->sin_table), B(s->k_cache[layer]),
           B(s->v_cache[layer]), B(d->parts), B(d->tops), B(d->arrived), B(d->attn));
    SEE(attn, layer, d->attn);

    const spread output =
        spread_rows(s->ctx, ceil_div(c->n_embd, ROWS), passes_of(w->attn_output->type, ceil_div(n_q, BLOCK)), 1, 1, 1,
                    vector_bytes(1, n_q));
    LAUNCH("decode_dense", "output", w->attn_output->type == FAL_TYPE_Q4_K ? "q4_k" : "any", &output.shape, I(n_q),
           I(c->n_embd), I(output.n_groups), I(output.n_parts), I(w->attn_output->type), B(b->attn_output), B(d->attn),
           B(d->x), B(d->mid));
    SEE(ffn_inp, layer, d->mid);
    return FAL_OK;
}

/* x = mid + MoE(RMSNorm(mid)). */
static fal_status moe_kernels(fal_session *s, const fal_cu_decode *d, const fal_taps *taps, int layer, fal_error *err)
{
    const fal_config *c = &s->model->config;
    const fal_layer *w = &s->model->layers[layer];
    const fal_cu_layer *b = &s->layers[layer];
    const int blocks = ceil_div(c->n_embd, BLOCK);

    const fal_cu_shape router = { .n_groups = (size_t)c->n_expert,
                                  .n_threads = 32 * (blocks < 8 ? blocks : 8),
                                  .shared_bytes = vector_bytes(1, c->n_embd),
                                  .overlaps = true };
    LAUNCH("decode_dense", "router", NULL, &router, I(c->n_embd), I(c->n_expert), I(w->ffn_gate_inp->type),
           F(c->rms_eps), B(b->ffn_gate_inp), B(b->ffn_norm), B(d->mid), B(d->norm_x), B(d->router[layer]));
    SEE(ffn_norm, layer, d->norm_x);
    SEE(router_logits, layer, d->router[layer]);
    const fal_status pinned = fal_cu_decode_pin(s, taps, layer, d->router[layer], err);
    if (pinned != FAL_OK) return pinned;

    const uint32_t gate = w->ffn_gate_exps->type, up = w->ffn_up_exps->type, down = w->ffn_down_exps->type;
    const spread act = spread_act(s->ctx, c, gate);
    LAUNCH("decode_experts", "act", act_type(gate, up), &act.shape,
           I(c->n_expert), I(c->n_expert_used), I(c->n_embd), I(c->n_ff), I(act.n_groups), I(act.n_parts), I(gate),
           I(up), B(b->ffn_gate_exps), B(b->ffn_up_exps), B(d->norm_x), B(d->router[layer]), B(d->act));

    const spread rows =
        spread_rows(s->ctx, ceil_div(c->n_embd, ROWS), passes_of(down, c->n_expert_used * ceil_div(c->n_ff, BLOCK)),
                    down == FAL_TYPE_Q6_K ? 2 : 1, 1, 1, vector_bytes(c->n_expert_used, c->n_ff) + choice_bytes(c));
    LAUNCH("decode_experts", "down",
           down == FAL_TYPE_Q4_K   ? "q4_k"
           : down == FAL_TYPE_Q6_K ? "q6_k"
                                   : "any",
           &rows.shape, I(c->n_expert), I(c->n_expert_used), I(c->n_ff), I(c->n_embd), I(rows.n_groups),
           I(rows.n_parts), I(down), B(b->ffn_down_exps), B(d->act), B(d->router[layer]), B(d->mid), B(d->x),
           B(d->chosen[layer]));
    SEE(expert_ids, layer, d->chosen[layer]);
    SEE(l_out, layer, d->x);
    return FAL_OK;
}

/* taps: NULL, or those of a token that is watched. */
static fal_status token_kernels(fal_session *s, const fal_cu_decode *d, const fal_taps *taps, fal_error *err)
{
    const fal_model *m = s->model;
    const fal_config *c = &m->config;
    const fal_cu_shape one = { .n_groups = 1, .n_threads = 256 };
    LAUNCH("decode_dense", "embed", NULL, &one, I(c->n_embd), I(m->token_embd->type), B(s->token_embd), B(d->state),
           B(d->x));
    SEE(embed, -1, d->x);
    for (int layer = 0; layer < c->n_layer; layer++) {
        fal_status st = attention_kernels(s, d, taps, layer, err);
        if (st == FAL_OK) st = moe_kernels(s, d, taps, layer, err);
        if (st != FAL_OK) return st;
    }
    const uint32_t type = m->output->type;
    const fal_cu_shape logits = { .n_groups = (size_t)d->head_blocks,
                                  .n_threads = 32 * MOST_WARPS,
                                  .shared_bytes = vector_bytes(1, c->n_embd),
                                  .overlaps = true };
    LAUNCH("decode_head", "logits",
           type == FAL_TYPE_Q4_K   ? "q4_k"
           : type == FAL_TYPE_Q6_K ? "q6_k"
                                   : "any",
           &logits, I(c->n_embd), I(c->n_vocab), I(type), F(c->rms_eps), B(s->output), B(s->output_norm), B(d->x),
           B(s->site[FAL_SITE_final_norm]), B(s->site[FAL_SITE_logits]), B(d->best_keys), B(d->best_ids));
    const fal_cu_shape next = { .n_groups = 1, .n_threads = NEXT_THREADS, .overlaps = true };
    LAUNCH("decode_head", "next", NULL, &next, I(d->head_blocks), I(s->n_ctx), B(d->best_keys), B(d->best_ids),
           B(d->state), B(d->out));
    return FAL_OK;
}

/* ---- life ---------------------------------------------------------------------------------------------------------
   */

/* Counts arrivals from zero; what failed midway may have left others. */
static fal_status clear_arrived(fal_session *s, fal_cu_decode *d, fal_error *err)
{
    const size_t bytes = fal_cu_size(d->arrived);
    void *zeros = calloc(1, bytes);
    if (!zeros) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %zu bytes", bytes);
    const fal_status st = fal_cu_write(s->ctx, d->arrived, zeros, bytes, err);
    free(zeros);
    return st;
}

static fal_status alloc_choices(fal_session *s, fal_cu_decode *d, fal_error *err)
{
    const fal_config *c = &s->model->config;
    fal_status st = FAL_OK;
    d->n_layer = c->n_layer;
    d->router = calloc((size_t)c->n_layer, sizeof(fal_cu_buffer *));
    d->chosen = calloc((size_t)c->n_layer, sizeof(fal_cu_buffer *));
    if (!d->router || !d->chosen) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a session");
    for (int layer = 0; st == FAL_OK && layer < c->n_layer; layer++) {
        st = fal_cu_alloc(s->ctx, "decode router", row_bytes(c->n_expert), &d->router[layer], err);
        if (st == FAL_OK) st = fal_cu_alloc(s->ctx, "decode chosen", row_bytes(c->n_expert_used), &d->chosen[layer], err);
    }
    return st;
}

fal_status fal_cu_decode_open(fal_session *s, fal_cu_decode **out, fal_error *err)
{
    const fal_config *c = &s->model->config;
    fal_status st = FAL_OK;
    fal_cu_decode *d = calloc(1, sizeof *d);
    if (!d) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a session");
    const int n_mp = fal_cu_multiprocessors(s->ctx), groups = ceil_div(c->n_vocab, ROWS);
    d->n_splits = splits_of(s->ctx, chunks_of(c));
    d->head_blocks = groups < n_mp ? groups : n_mp;
#define X(name, bytes)                                                                                                 \
    if (st == FAL_OK) st = fal_cu_alloc(s->ctx, "decode " #name, bytes, &d->name, err);
    SCRATCH(X)
#undef X
    if (st == FAL_OK) st = alloc_choices(s, d, err);
    if (st == FAL_OK) st = clear_arrived(s, d, err);
    /* Modules are loaded when a kernel is first asked for, which may not happen within a recording: run a token first.
       Its
       position and token are 0, and reset (below) takes its traces from the cache. */
    const int32_t start[4] = { 0 };
    if (st == FAL_OK) st = fal_cu_write(s->ctx, d->state, start, sizeof start, err);
    if (st == FAL_OK) st = token_kernels(s, d, NULL, err);
    if (st == FAL_OK) st = fal_cu_finish(s->ctx, err);
    for (int layer = 0; st == FAL_OK && layer < c->n_layer; layer++) {
        st = fal_cu_poison(s->ctx, s->k_cache[layer], err);
        if (st == FAL_OK) st = fal_cu_poison(s->ctx, s->v_cache[layer], err);
    }
    if (st == FAL_OK) st = fal_cu_graph_begin(s->ctx, err);
    if (st == FAL_OK) {
        st = token_kernels(s, d, NULL, err);
        const fal_status ended = fal_cu_graph_end(s->ctx, &d->token, err);
        if (st == FAL_OK) st = ended;
    }
    if (st != FAL_OK)
        fal_cu_decode_close(s->ctx, d);
    else
        *out = d;
    return st;
}

void fal_cu_decode_close(fal_context *ctx, fal_cu_decode *d)
{
    if (!d) return;
    fal_cu_graph_free(ctx, d->token);
#define X(name, bytes) fal_cu_free(ctx, d->name);
    SCRATCH(X)
#undef X
    for (int layer = 0; layer < d->n_layer; layer++) {
        if (d->chosen) fal_cu_free(ctx, d->chosen[layer]);
        if (d->router) fal_cu_free(ctx, d->router[layer]);
    }
    free(d->chosen);
    free(d->router);
    free(d);
}

fal_status fal_cu_decode_reset(fal_session *s, fal_error *err)
{
    fal_cu_decode *d = s->decode;
    fal_status st = FAL_OK;
#define X(name, bytes)                                                                                                 \
    if (st == FAL_OK) st = fal_cu_poison(s->ctx, d->name, err);
    SCRATCH(X)
#undef X
    for (int layer = 0; st == FAL_OK && layer < d->n_layer; layer++) {
        st = fal_cu_poison(s->ctx, d->router[layer], err);
        if (st == FAL_OK) st = fal_cu_poison(s->ctx, d->chosen[layer], err);
    }
    return st == FAL_OK ? clear_arrived(s, d, err) : st;
}

size_t fal_cu_decode_bytes(const fal_cu_decode *d)
{
    size_t total = 0;
    if (!d) return 0;
#define X(name, bytes) total += fal_cu_size(d->name);
    SCRATCH(X)
#undef X
    for (int layer = 0; layer < d->n_layer; layer++) total += fal_cu_size(d->router[layer]) + fal_cu_size(d->chosen[layer]);
    return total;
}

/* ---- running ------------------------------------------------------------------------------------------------------
   */

fal_status fal_cu_decode_start(fal_session *s, int32_t token, fal_error *err)
{
    const int32_t state[4] = { token, s->n_past, 0, 0 };
    return fal_cu_write(s->ctx, s->decode->state, state, sizeof state, err);
}

fal_status fal_cu_decode_tokens(fal_session *s, int n, fal_error *err)
{
    fal_status st = FAL_OK;
    for (int i = 0; st == FAL_OK && i < n; i++)
        st = fal_cu_is_blocking(s->ctx) ? token_kernels(s, s->decode, NULL, err) : fal_cu_graph_launch(s->ctx, s->decode->token, err);
    return st;
}

/* What the graph leaves on the device. */
static fal_status see_choices(fal_session *s, const fal_taps *taps, fal_error *err)
{
    for (int layer = 0; taps && layer < s->decode->n_layer; layer++) {
        SEE(router_logits, layer, s->decode->router[layer]);
        SEE(expert_ids, layer, s->decode->chosen[layer]);
    }
    return FAL_OK;
}

fal_status fal_cu_decode_one(fal_session *s, const fal_taps *taps, fal_error *err)
{
    if (fal_cu_decode_is_watched(s, taps)) return token_kernels(s, s->decode, taps, err);
    const fal_status st = fal_cu_decode_tokens(s, 1, err);
    return st == FAL_OK ? see_choices(s, taps, err) : st;
}

fal_status fal_cu_decode_last(fal_session *s, int32_t *next, fal_error *err)
{
    return fal_cu_read(s->ctx, s->decode->state, 0, next, sizeof *next, err);
}

fal_status fal_cu_decode_read(fal_session *s, int n, int32_t *out, fal_error *err)
{
    return fal_cu_read(s->ctx, s->decode->out, 0, out, (size_t)n * sizeof *out, err);
}

/* ---- attention alone ---------------------------------------------------------------------------------------------- */

fal_status fal_cu_decode_attention_run(fal_context *ctx, const fal_cu_attention_operands *o, fal_error *err)
{
    const fal_config c = { .n_head = o->n_head, .n_head_kv = o->n_head_kv, .head_dim = o->head_dim };
    const int n_chunks = chunks_of(&c), n_splits = splits_of(ctx, n_chunks);
    const int32_t start[4] = { 0, o->pos, 0, 0 };
    int32_t *none = calloc((size_t)n_chunks, sizeof *none);
    fal_cu_buffer *state = NULL, *parts = NULL, *tops = NULL, *arrived = NULL;
    fal_status st = none ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %d counts", n_chunks);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "state", start, sizeof start, &state, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "parts", fal_cu_bytes(sizeof(float) * HEADS, n_chunks, n_splits, o->head_dim), &parts, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "tops", fal_cu_bytes(sizeof(float) * HEADS * 2, n_chunks, n_splits, 1), &tops, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "arrived", none, (size_t)n_chunks * sizeof *none, &arrived, err);
    const fal_cu_shape shape = { .n_groups = (size_t)n_chunks * (size_t)n_splits, .n_threads = 256, .shared_bytes = attention_bytes() };
    const fal_cu_arg args[] = { I(o->n_head),  I(o->n_head_kv), I(o->head_dim), I(n_splits),    F(o->eps),  B(state),     B(o->q),
                                B(o->k),       B(o->v),         B(o->q_norm),   B(o->k_norm),   B(o->cos),  B(o->sin),    B(o->k_cache),
                                B(o->v_cache), B(parts),        B(tops),        B(arrived),     B(o->y) };
    if (st == FAL_OK)
        st = fal_cu_launch_shaped(ctx, "decode_attention", "d128", fal_cu_variant_of(ctx) == FAL_CU_FAST_KV16 ? "f16" : "f32", &shape, args,
                                  sizeof args / sizeof args[0], err);
    if (st == FAL_OK) st = fal_cu_finish(ctx, err);
    fal_cu_free(ctx, arrived);
    fal_cu_free(ctx, tops);
    fal_cu_free(ctx, parts);
    fal_cu_free(ctx, state);
    free(none);
    return st;
}

/* ---- gate, up and SiLU alone -------------------------------------------------------------------------------------- */

fal_status fal_cu_decode_act_run(fal_context *ctx, const fal_cu_act_operands *o, fal_error *err)
{
    const fal_config c = { .n_expert = o->n_expert, .n_expert_used = o->n_used, .n_embd = o->n_embd, .n_ff = o->n_ff };
    spread act = spread_act(ctx, &c, o->type);
    act.shape.overlaps = false;
    const size_t limit = fal_cu_shared_limit(ctx) - 2048; /* as in fal_cu_decode_check */
    if (act.shape.shared_bytes > limit)
        return fal_fail(err, FAL_ERR_INPUT, "use the variant ''", "cuda: variant '%s': n_embd %d and n_expert %d need %zu bytes of shared memory, a block has %zu",
                        fal_cu_variants[fal_cu_variant_of(ctx)], o->n_embd, o->n_expert, act.shape.shared_bytes, limit);
    const fal_cu_arg args[] = { I(o->n_expert), I(o->n_used), I(o->n_embd), I(o->n_ff), I(act.n_groups), I(act.n_parts),
                                I(o->type),     I(o->type),   B(o->w_gate), B(o->w_up), B(o->x),         B(o->logits),
                                B(o->act) };
    const fal_status st = fal_cu_launch_shaped(ctx, "decode_experts", "act", act_type(o->type, o->type), &act.shape, args,
                                               sizeof args / sizeof args[0], err);
    return st == FAL_OK ? fal_cu_finish(ctx, err) : st;
}

/* ---- prompts with a cache of f16 ----------------------------------------------------------------------------------
   */

fal_status fal_cu_decode_kv16_store_run(fal_context *ctx, int n_tokens, int n_head_kv, int head_dim, int first_pos,
                                        const fal_cu_buffer *k, const fal_cu_buffer *v, fal_cu_buffer *k_cache,
                                        fal_cu_buffer *v_cache, fal_error *err)
{
    const int width = n_head_kv * head_dim;
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(width),      FAL_CU_INT(first_pos), FAL_CU_BUFFER(k),
                                FAL_CU_BUFFER(v),     FAL_CU_BUFFER(k_cache), FAL_CU_BUFFER(v_cache) };
    return FAL_CU_LAUNCH(ctx, "decode_kv16", "store", NULL, fal_cu_groups(ctx, (size_t)n_tokens * (size_t)width), args,
                         err);
}

fal_status fal_cu_decode_kv16_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim,
                                            int first_pos, const fal_cu_buffer *q, const fal_cu_buffer *k_cache,
                                            const fal_cu_buffer *v_cache, fal_cu_buffer *y, fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens),   FAL_CU_INT(n_head),     FAL_CU_INT(n_head_kv),
                                FAL_CU_INT(head_dim),   FAL_CU_INT(first_pos),  FAL_CU_BUFFER(q),
                                FAL_CU_BUFFER(k_cache), FAL_CU_BUFFER(v_cache), FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "decode_kv16", "attention", NULL, (size_t)n_tokens * (size_t)n_head, args, err);
}
