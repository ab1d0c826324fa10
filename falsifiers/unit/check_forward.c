/* Tests of the reference's forward pass: against a float64 oracle, and of taps, forcing, pinning, reset, refusals. */
#include "harness/model.h"
#include "harness/observation.h"
#include "harness/synth.h"
#include "reference/reference.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_forward(void);

#define MODEL  "falsifiers/models/austen-moe-Q4_K_M.gguf"
#define ORACLE "falsifiers/models/austen-moe-Q4_K_M.oracle.safetensors"

enum { MAX_LAYERS = 8, LONG_PROMPT = 5, N_PROMPTS = 6 };

static const fal_backend *const ref = &fal_reference_backend;

/* ---- a session, and a recorder for its taps ---------------------------------------------------------------------- */

typedef struct {
    fal_model *model;
    fal_context *ctx;
    fal_session *session;
    const fal_config *config;
} rig;

static void ok(fal_status st, const fal_error *e)
{
    ck_assert_msg(st == FAL_OK, "%s: %s", fal_status_name(st), e->message);
}

static rig set_up_model(const char *path, int n_ctx)
{
    rig r = { 0 };
    fal_error e = { 0 };
    ok(fal_model_open(path, &r.model, &e), &e);
    r.config = &r.model->config;
    ck_assert_int_le(r.config->n_layer, MAX_LAYERS);
    ok(ref->open(NULL, &r.ctx, &e), &e);
    ok(ref->session_open(r.ctx, r.model, n_ctx, &r.session, &e), &e);
    return r;
}

static rig set_up(int n_ctx)
{
    return set_up_model(MODEL, n_ctx);
}

static void tear_down(rig *r)
{
    ref->session_close(r->session);
    ref->close(r->ctx);
    fal_model_close(r->model);
}

/* Keeps what give() showed: data[site][layer] is [n_tokens, elements]; layer 0 for sites of the model. */
typedef struct {
    const fal_config *config;
    int n_tokens, n_rows[FAL_N_SITES][MAX_LAYERS];
    unsigned char *data[FAL_N_SITES][MAX_LAYERS];
    bool wanted[FAL_N_SITES];
    /* what to put in: at this site and layer, these rows of the whole request */
    int force_site, force_layer;
    const unsigned char *force;
    const int32_t *pin; /* [n_tokens, n_expert_used] for every layer */
    /* order of what was shown */
    int last_first, last_step;
    bool in_order;
    int fail_at; /* give() fails at this site in the last layer, or -1 */
} recorder;

static size_t row_bytes(const fal_config *c, int site)
{
    int sub, width;
    fal_site_shape((fal_site)site, c, &sub, &width);
    return (size_t)sub * (size_t)width * 4;
}

static bool wants(void *user, fal_site site, int layer)
{
    const recorder *r = user;
    ck_assert_int_eq(layer >= 0, fal_site_get(site)->per_layer);
    return r->wanted[site];
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    recorder *r = user;
    const int l = layer < 0 ? 0 : layer;
    const size_t bytes = row_bytes(r->config, (int)site);
    ck_assert(r->wanted[site] && first >= 0 && n > 0 && first + n <= r->n_tokens);
    if ((int)site == r->fail_at && l == r->config->n_layer - 1)
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "told to fail");
    if (!r->data[site][l]) {
        r->data[site][l] = malloc((size_t)r->n_tokens * bytes);
        ck_assert_ptr_nonnull(r->data[site][l]);
    }
    ck_assert_int_eq(first, r->n_rows[site][l]); /* rows come in order, each once */
    memcpy(r->data[site][l] + (size_t)first * bytes, data, (size_t)n * bytes);
    r->n_rows[site][l] += n;
    /* Logits may come in more pieces than the rest of a chunk; all else is (chunk, layer, site) ascending. */
    const int step = layer < 0 ? (site == FAL_SITE_embed ? -1 : MAX_LAYERS * FAL_N_SITES + (int)site)
                               : layer * FAL_N_SITES + (int)site;
    if (site != FAL_SITE_logits) {
        if (first < r->last_first || (first == r->last_first && step <= r->last_step)) r->in_order = false;
        r->last_first = first;
    }
    r->last_step = step;
    return FAL_OK;
}

static const void *forced(void *user, fal_site site, int layer, int first, int n)
{
    const recorder *r = user;
    (void)n;
    if (!r->force || (int)site != r->force_site || layer != r->force_layer) return NULL;
    return r->force + (size_t)first * row_bytes(r->config, (int)site);
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    const recorder *r = user;
    ck_assert(layer >= 0 && layer < r->config->n_layer && first + n <= r->n_tokens);
    return r->pin ? r->pin + first * r->config->n_expert_used : NULL;
}

static recorder record(const fal_config *c, int n_tokens)
{
    return (recorder) { .config = c, .n_tokens = n_tokens, .last_first = -1, .last_step = -2, .in_order = true,
                        .fail_at = -1 };
}

static void want_all(recorder *r)
{
    for (int i = 0; i < FAL_N_SITES; i++) r->wanted[i] = true;
}

static void forget(recorder *r)
{
    for (int i = 0; i < FAL_N_SITES; i++)
        for (int l = 0; l < MAX_LAYERS; l++) free(r->data[i][l]);
}

static fal_status try_run(const rig *g, recorder *r, const int32_t *tokens, int n, int32_t *next, fal_error *e)
{
    const fal_taps taps = { .user = r, .wants = wants, .give = give, .forced = forced, .pinned = pinned };
    return ref->forward(g->session, tokens, n, r ? &taps : NULL, next, e);
}

static int32_t run(const rig *g, recorder *r, const int32_t *tokens, int n)
{
    fal_error e = { 0 };
    int32_t next = -1;
    ok(try_run(g, r, tokens, n, &next, &e), &e);
    return next;
}

static int32_t run_fresh(const rig *g, recorder *r, const int32_t *tokens, int n)
{
    fal_error e = { 0 };
    ok(ref->reset(g->session, &e), &e);
    return run(g, r, tokens, n);
}

static const float *f32(const recorder *r, fal_site site, int layer)
{
    ck_assert_int_eq(r->n_rows[site][layer], r->n_tokens);
    return (const float *)(const void *)r->data[site][layer];
}

static void same(const recorder *a, const recorder *b, int site, int layer)
{
    const size_t n = (size_t)a->n_tokens * row_bytes(a->config, site);
    ck_assert_int_eq(a->n_rows[site][layer], b->n_rows[site][layer]);
    ck_assert_msg(memcmp(a->data[site][layer], b->data[site][layer], n) == 0, "%s of layer %d differs",
                  fal_site_get((fal_site)site)->name, layer);
}

static bool differs(const recorder *a, const recorder *b, int site, int layer)
{
    return memcmp(a->data[site][layer], b->data[site][layer], (size_t)a->n_tokens * row_bytes(a->config, site)) != 0;
}

/* ---- the oracle -------------------------------------------------------------------------------------------------- */

typedef struct {
    fal_observation *file;
    int prompt, n_tokens, n_positions;
    const int32_t *tokens, *positions;
} oracle;

static const fal_obs_tensor *oracle_tensor(const oracle *o, const char *name, fal_dtype dtype)
{
    char full[64];
    snprintf(full, sizeof full, "p%d.%s", o->prompt, name);
    const fal_obs_tensor *t = fal_observation_find(o->file, 0, full);
    ck_assert_msg(t != NULL && t->dtype == dtype, "the oracle lacks %s", full);
    return t;
}

static oracle open_oracle(int prompt)
{
    oracle o = { .prompt = prompt };
    fal_error e = { 0 };
    ok(fal_observation_open(ORACLE, &o.file, &e), &e);
    const fal_obs_tensor *tokens = oracle_tensor(&o, "tokens", FAL_DTYPE_I32);
    const fal_obs_tensor *positions = oracle_tensor(&o, "positions", FAL_DTYPE_I32);
    o.tokens = tokens->data;
    o.n_tokens = (int)tokens->n;
    o.positions = positions->data;
    o.n_positions = (int)positions->n;
    ck_assert(o.n_tokens > 0 && o.n_positions > 0);
    return o;
}

/* Relative L2 distance of n elements; an all-zero want demands an all-zero got. */
static double distance(const float *got, const float *want, size_t n)
{
    double diff = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)want[i];
        diff += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return diff == 0.0 ? 0.0 : sqrt(diff / norm);
}

/* Rows of a site at the oracle's positions. */
static void near_oracle(const oracle *o, const recorder *r, fal_site site, int layer, const char *name, double limit)
{
    const fal_obs_tensor *t = oracle_tensor(o, name, FAL_DTYPE_F32);
    const size_t width = row_bytes(r->config, (int)site) / 4;
    ck_assert_uint_eq(t->n, (size_t)o->n_positions * width);
    const float *got = f32(r, site, layer), *want = t->data;
    for (int i = 0; i < o->n_positions; i++) {
        const double d = distance(got + (size_t)o->positions[i] * width, want + (size_t)i * width, width);
        ck_assert_msg(d <= limit, "p%d.%s: relative L2 %.3g at position %d, expected <= %g", o->prompt, name, d,
                      o->positions[i], limit);
    }
}

static int largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static bool same_set(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++) {
        int found = 0;
        for (int j = 0; j < n; j++) found += a[i] == b[j];
        if (found != 1) return false;
    }
    return true;
}

/* Rule: logits, hidden states and routing agree with the float64 model at every position that the oracle holds. 1e-5 is
   about twenty times the error that rounding to f32 between ops leaves; the long prompt sums over more positions. */
START_TEST(agrees_with_the_oracle)
{
    oracle o = open_oracle(_i);
    rig g = set_up(o.n_tokens);
    recorder r = record(g.config, o.n_tokens);
    static const fal_site sites[] = { FAL_SITE_embed, FAL_SITE_l_out, FAL_SITE_final_norm, FAL_SITE_logits,
                                      FAL_SITE_router_logits, FAL_SITE_expert_ids, FAL_SITE_expert_weights };
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) r.wanted[sites[i]] = true;
    const int32_t next = run(&g, &r, o.tokens, o.n_tokens);
    const double limit = _i == LONG_PROMPT ? 2e-5 : 1e-5;
    const int n_layer = g.config->n_layer, k = g.config->n_expert_used, n_vocab = g.config->n_vocab;
    char name[32];

    near_oracle(&o, &r, FAL_SITE_logits, 0, "logits", limit);
    near_oracle(&o, &r, FAL_SITE_embed, 0, "hidden.0", 0.0); /* dequantised weights: the same f32 values */
    snprintf(name, sizeof name, "hidden.%d", n_layer);
    near_oracle(&o, &r, FAL_SITE_final_norm, 0, name, limit);
    for (int l = 0; l < n_layer; l++) {
        snprintf(name, sizeof name, "hidden.%d", l + 1);
        if (l + 1 < n_layer) near_oracle(&o, &r, FAL_SITE_l_out, l, name, limit);
        snprintf(name, sizeof name, "router.%d.0", l);
        near_oracle(&o, &r, FAL_SITE_router_logits, l, name, limit);
        snprintf(name, sizeof name, "router.%d.1", l);
        near_oracle(&o, &r, FAL_SITE_expert_weights, l, name, limit);
        snprintf(name, sizeof name, "router.%d.2", l);
        const int32_t *want = oracle_tensor(&o, name, FAL_DTYPE_I32)->data;
        const int32_t *got = (const int32_t *)(const void *)f32(&r, FAL_SITE_expert_ids, l);
        for (int i = 0; i < o.n_positions; i++)
            ck_assert_msg(same_set(got + o.positions[i] * k, want + i * k, k), "experts of layer %d at position %d", l,
                          o.positions[i]);
    }
    const float *want = oracle_tensor(&o, "logits", FAL_DTYPE_F32)->data, *got = f32(&r, FAL_SITE_logits, 0);
    for (int i = 0; i < o.n_positions; i++)
        ck_assert_int_eq(largest(got + (size_t)o.positions[i] * (size_t)n_vocab, n_vocab),
                         largest(want + (size_t)i * (size_t)n_vocab, n_vocab));
    ck_assert_int_eq(next, largest(got + (size_t)(o.n_tokens - 1) * (size_t)n_vocab, n_vocab));

    fal_memory m;
    ref->memory(g.ctx, &m);
    const unsigned slot = (unsigned)(g.config->n_head_kv * g.config->head_dim);
    ck_assert_uint_eq(m.kv_bytes, 2u * 4u * (unsigned)(n_layer * o.n_tokens) * slot);
    ck_assert_uint_le(m.peak_bytes - m.kv_bytes, 32u << 20); /* no n_ctx x n_ctx array, no logits of a whole prompt */
    forget(&r);
    tear_down(&g);
    fal_observation_close(o.file);
}
END_TEST

/* Rule: greedy decoding continues as the oracle does, 32 tokens, one at a time. */
START_TEST(greedy_continues_as_the_oracle)
{
    oracle o = open_oracle(_i);
    const json_t *prompt = json_array_get(json_object_get(o.file->about, "prompts"), (size_t)_i);
    const json_t *greedy = json_object_get(prompt, "greedy_32");
    ck_assert_uint_eq(json_array_size(greedy), 32);
    rig g = set_up(o.n_tokens + 32);
    int32_t next = run(&g, NULL, o.tokens, o.n_tokens);
    for (size_t i = 0; i < 32; i++) {
        ck_assert_msg(next == json_integer_value(json_array_get(greedy, i)), "token %zu is %d, expected %lld", i, next,
                      (long long)json_integer_value(json_array_get(greedy, i)));
        next = run(&g, NULL, &next, 1);
    }
    tear_down(&g);
    fal_observation_close(o.file);
}
END_TEST

/* ---- one request, cut differently -------------------------------------------------------------------------------- */

/* Rule: the same bits whether tokens come at once, in two calls or one by one. 300 tokens are more than one chunk. */
START_TEST(decode_gives_the_bits_of_prefill)
{
    oracle o = open_oracle(LONG_PROMPT);
    o.n_tokens = 300;
    rig g = set_up(o.n_tokens + 1);
    recorder whole = record(g.config, o.n_tokens);
    want_all(&whole);
    const int32_t next = run_fresh(&g, &whole, o.tokens, o.n_tokens);
    const int steps[] = { 1, 170 };
    for (size_t i = 0; i < 2; i++) {
        fal_error e = { 0 };
        ok(ref->reset(g.session, &e), &e);
        int32_t last = -1;
        for (int at = 0; at < o.n_tokens; at += steps[i]) {
            const int n = o.n_tokens - at < steps[i] ? o.n_tokens - at : steps[i];
            recorder part = record(g.config, n);
            part.wanted[FAL_SITE_logits] = part.wanted[FAL_SITE_attn] = true;
            last = run(&g, &part, o.tokens + at, n);
            for (int l = -1; l < g.config->n_layer; l++) {
                const int site = l < 0 ? FAL_SITE_logits : FAL_SITE_attn, at_layer = l < 0 ? 0 : l;
                const size_t bytes = row_bytes(g.config, site);
                ck_assert_msg(memcmp(part.data[site][at_layer], whole.data[site][at_layer] + (size_t)at * bytes,
                                     (size_t)n * bytes) == 0, "%s at %d differs with steps of %d",
                              fal_site_get((fal_site)site)->name, at, steps[i]);
            }
            forget(&part);
        }
        ck_assert_int_eq(last, next);
    }
    /* The next token is the same when no tap asks for the logits. */
    ck_assert_int_eq(run_fresh(&g, NULL, o.tokens, o.n_tokens), next);
    forget(&whole);
    tear_down(&g);
    fal_observation_close(o.file);
}
END_TEST

/* Rule: with a vocabulary so large that the logits of a chunk are computed in pieces, each row is still its token's. */
START_TEST(logits_in_pieces)
{
    enum { N = 64 };
    char folder[] = "/tmp/falsify-check-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    const fal_synth_options options = {
        .config = { .n_layer = 1, .n_embd = 256, .n_head = 2, .n_head_kv = 1, .head_dim = 128, .n_expert = 2,
                    .n_expert_used = 1, .n_ff = 256, .n_vocab = 40000, .n_ctx_train = 128, .rope_freq_base = 1e6f,
                    .rms_eps = 1e-6f },
        .seed = 1, .path = path, .n_threads = 1,
    };
    fal_synth_result result;
    fal_error e = { 0 };
    ok(fal_synth_write(&options, &result, &e), &e);
    rig g = set_up_model(path, N);
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = i * 617 % g.config->n_vocab;
    recorder whole = record(g.config, N);
    whole.wanted[FAL_SITE_logits] = true;
    const int32_t next = run_fresh(&g, &whole, tokens, N);
    ck_assert_int_eq(whole.n_rows[FAL_SITE_logits][0], N);
    ok(ref->reset(g.session, &e), &e);
    int32_t last = -1;
    const size_t bytes = row_bytes(g.config, FAL_SITE_logits);
    for (int i = 0; i < N; i++) {
        recorder one = record(g.config, 1);
        one.wanted[FAL_SITE_logits] = true;
        last = run(&g, &one, tokens + i, 1);
        const unsigned char *want = whole.data[FAL_SITE_logits][0] + (size_t)i * bytes;
        ck_assert_msg(memcmp(one.data[FAL_SITE_logits][0], want, bytes) == 0,
                      "logits of position %d differ", i);
        forget(&one);
    }
    ck_assert_int_eq(last, next);
    forget(&whole);
    tear_down(&g);
    unlink(path);
    rmdir(folder);
}
END_TEST

typedef struct {
    const char *kernel;
    uint64_t n;
} expected_calls;

static void compare_calls(void *user, const char *kernel, uint64_t n)
{
    expected_calls *e = user;
    for (; e->kernel; e++)
        if (strcmp(e->kernel, kernel) == 0) break;
    ck_assert_msg(e->kernel && e->n == n, "%s ran %llu times, expected %llu", kernel, (unsigned long long)n,
                  (unsigned long long)e->n);
    e->n = 0;
}

/* Rule: each op runs as often as the architecture asks, on every chunk; the head runs for the last position alone. */
START_TEST(no_op_runs_too_often)
{
    enum { N = 300, CHUNKS = 2 };
    rig g = set_up(N);
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = i;
    run(&g, NULL, tokens, N);
    const uint64_t c = CHUNKS * (uint64_t)g.config->n_layer;
    expected_calls want[] = {
        { "fal_ref_embed", CHUNKS }, { "fal_ref_rmsnorm", 2 * c + 1 }, { "fal_ref_matmul", 5 * c + 1 },
        { "fal_ref_qk_norm", 2 * c }, { "fal_ref_rope", 2 * c }, { "fal_ref_kv_store", c }, { "fal_ref_attention", c },
        { "fal_ref_add", 2 * c }, { "fal_ref_softmax", c }, { "fal_ref_router", c }, { "fal_ref_moe_matmul", 3 * c },
        { "fal_ref_swiglu", c }, { "fal_ref_moe_sum", c }, { "fal_ref_argmax", 1 }, { NULL, 0 },
    };
    ref->launches(g.ctx, compare_calls, want);
    for (const expected_calls *e = want; e->kernel; e++) ck_assert_msg(e->n == 0, "%s never ran", e->kernel);
    tear_down(&g);
}
END_TEST

/* Rule: every site is shown for every token once, in the order of harness/ops.def. */
START_TEST(taps_see_every_site_in_order)
{
    oracle o = open_oracle(LONG_PROMPT);
    o.n_tokens = 300;
    rig g = set_up(o.n_tokens);
    recorder r = record(g.config, o.n_tokens);
    want_all(&r);
    run(&g, &r, o.tokens, o.n_tokens);
    ck_assert(r.in_order);
    for (int i = 0; i < FAL_N_SITES; i++)
        for (int l = 0; l < (fal_site_get((fal_site)i)->per_layer ? g.config->n_layer : 1); l++)
            ck_assert_int_eq(r.n_rows[i][l], o.n_tokens);
    forget(&r);
    tear_down(&g);
    fal_observation_close(o.file);
}
END_TEST

/* Rule: reset forgets everything; without it the past counts. */
START_TEST(reset_forgets)
{
    const int32_t a[] = { 1420, 364, 258 }, b[] = { 7, 7, 2047, 0 };
    rig g = set_up(16);
    recorder fresh = record(g.config, 4), after = record(g.config, 4), again = record(g.config, 4);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = again.wanted[FAL_SITE_logits] = true;
    run_fresh(&g, &fresh, b, 4);
    run_fresh(&g, NULL, a, 3);
    run(&g, &after, b, 4);
    ck_assert(differs(&fresh, &after, FAL_SITE_logits, 0));
    run_fresh(&g, &again, b, 4);
    same(&fresh, &again, FAL_SITE_logits, 0);
    forget(&fresh);
    forget(&after);
    forget(&again);
    tear_down(&g);
}
END_TEST

/* ---- putting values in ------------------------------------------------------------------------------------------- */

static const int32_t three[] = { 1420, 364, 258 };

/* Rule: a forced value is put in after it was shown, changes what follows and nothing before. One test a site. */
START_TEST(forcing_changes_what_follows)
{
    enum { LAYER = 1, N = 3 };
    const fal_site site = (fal_site)_i;
    const bool per_layer = fal_site_get(site)->per_layer;
    const int layer = per_layer ? LAYER : 0;
    rig g = set_up(8);
    recorder plain = record(g.config, N), changed = record(g.config, N), own = record(g.config, N);
    want_all(&plain);
    want_all(&changed);
    want_all(&own);
    const int32_t next = run_fresh(&g, &plain, three, N);

    /* Its own values put in change nothing. */
    own.force_site = changed.force_site = _i;
    own.force_layer = changed.force_layer = per_layer ? LAYER : -1;
    own.force = plain.data[site][layer];
    ck_assert_int_eq(run_fresh(&g, &own, three, N), next);
    same(&plain, &own, FAL_SITE_logits, 0);

    const size_t n = (size_t)N * row_bytes(g.config, _i) / 4;
    unsigned char *force = malloc(n * 4);
    ck_assert_ptr_nonnull(force);
    for (size_t i = 0; i < n; i++) {
        if (fal_site_get(site)->is_i32) {
            int32_t id;
            memcpy(&id, plain.data[site][layer] + 4 * i, 4);
            id = (id + 1) % g.config->n_expert;
            memcpy(force + 4 * i, &id, 4);
        } else {
            float v;
            memcpy(&v, plain.data[site][layer] + 4 * i, 4);
            v = 1.5f * v + (i % 2 ? 0.25f : 0.0f);
            memcpy(force + 4 * i, &v, 4);
        }
    }
    changed.force = force;
    const int32_t changed_next = run_fresh(&g, &changed, three, N);
    for (int l = 0; l < g.config->n_layer; l++)
        for (int s = 0; s < FAL_N_SITES; s++) {
            const bool s_layer = fal_site_get((fal_site)s)->per_layer;
            if (!s_layer && l > 0) continue;
            bool before = s <= _i;
            if (per_layer && s_layer && l != LAYER) before = l < LAYER;
            if (before) same(&plain, &changed, s, l);
        }
    if (site == FAL_SITE_logits) {
        const float *last = (const float *)(const void *)force + 2 * g.config->n_vocab;
        ck_assert_int_eq(changed_next, largest(last, g.config->n_vocab));
    } else {
        ck_assert_msg(differs(&plain, &changed, FAL_SITE_logits, 0), "forcing %s changed nothing",
                      fal_site_get(site)->name);
    }
    free(force);
    forget(&own);
    forget(&changed);
    forget(&plain);
    tear_down(&g);
}
END_TEST

/* Rule: forced keys are what the cache keeps. Zero keys weigh all positions alike: attention is the mean of v. */
START_TEST(forced_keys_reach_the_cache)
{
    enum { N = 3 };
    rig g = set_up(8);
    const int dim = g.config->head_dim, n_head = g.config->n_head, n_kv = g.config->n_head_kv;
    recorder r = record(g.config, N);
    want_all(&r);
    r.force_site = FAL_SITE_k_rope;
    r.force_layer = 0;
    unsigned char *zeros = calloc(N, row_bytes(g.config, FAL_SITE_k_rope));
    ck_assert_ptr_nonnull(zeros);
    r.force = zeros;
    run(&g, &r, three, N);
    const float *v = f32(&r, FAL_SITE_v, 0), *attn = f32(&r, FAL_SITE_attn, 0);
    for (int t = 0; t < N; t++)
        for (int h = 0; h < n_head; h++)
            for (int d = 0; d < dim; d++) {
                double mean = 0.0;
                for (int p = 0; p <= t; p++) mean += (double)v[(p * n_kv + h / (n_head / n_kv)) * dim + d];
                mean /= t + 1;
                const double got = (double)attn[(t * n_head + h) * dim + d];
                ck_assert_msg(fabs(got - mean) <= 0x1p-23 * fabs(mean) + 1e-12, "attn[%d,%d,%d] is %a, expected %a", t,
                              h, d, got, mean);
            }
    free(zeros);
    forget(&r);
    tear_down(&g);
}
END_TEST

/* Rule: pinned experts are taken, weights follow from the probabilities, and pinning the own choice changes nothing. */
START_TEST(pinned_routing_is_honoured)
{
    enum { N = 3 };
    rig g = set_up(8);
    const int k = g.config->n_expert_used, n_expert = g.config->n_expert;
    int32_t pin[N * 64];
    ck_assert_int_le(k, 64);
    for (int t = 0; t < N; t++)
        for (int s = 0; s < k; s++) pin[t * k + s] = (n_expert - 1 - s + t) % n_expert;
    recorder plain = record(g.config, N), r = record(g.config, N);
    want_all(&plain);
    want_all(&r);
    run_fresh(&g, &plain, three, N);
    r.pin = pin;
    run_fresh(&g, &r, three, N);
    ck_assert(differs(&plain, &r, FAL_SITE_logits, 0));
    for (int l = 0; l < g.config->n_layer; l++) {
        ck_assert_mem_eq(r.data[FAL_SITE_expert_ids][l], pin, (size_t)(N * k) * sizeof *pin);
        const float *probs = f32(&r, FAL_SITE_router_probs, l), *weights = f32(&r, FAL_SITE_expert_weights, l);
        for (int t = 0; t < N; t++) {
            double sum = 0.0;
            for (int s = 0; s < k; s++) sum += (double)probs[t * n_expert + pin[t * k + s]];
            for (int s = 0; s < k; s++) {
                const double want = (double)probs[t * n_expert + pin[t * k + s]] / sum;
                ck_assert(fabs((double)weights[t * k + s] - want) <= 0x1p-24 * want);
            }
        }
    }
    /* An expert that does not exist is refused, and the call leaves no position behind. */
    fal_error e = { 0 };
    ok(ref->reset(g.session, &e), &e);
    pin[N * k - 1] = n_expert;
    recorder bad = record(g.config, N);
    bad.pin = pin;
    ck_assert_int_eq(try_run(&g, &bad, three, N, NULL, &e), FAL_ERR_INPUT);
    recorder clean = record(g.config, N);
    clean.wanted[FAL_SITE_logits] = true;
    run(&g, &clean, three, N);
    same(&plain, &clean, FAL_SITE_logits, 0);
    forget(&clean);
    forget(&r);
    forget(&plain);
    tear_down(&g);
}
END_TEST

/* ---- refusals, failures, memory ---------------------------------------------------------------------------------- */

/* Rule: requests that no backend may answer are refused, leave *next alone and change no state. */
START_TEST(preconditions_are_refused)
{
    rig g = set_up(4);
    const int n_vocab = g.config->n_vocab;
    const struct { int32_t tokens[6]; int n; } bad[] = {
        { { 1 }, 0 }, { { 1 }, -1 }, { { 1, -1 }, 2 }, { { n_vocab }, 1 }, { { 1, 2, 3, 4, 5 }, 5 },
        { { INT32_MIN }, 1 },
    };
    recorder fresh = record(g.config, 3), after = record(g.config, 3);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = true;
    run_fresh(&g, &fresh, three, 3);
    fal_error e = { 0 };
    ok(ref->reset(g.session, &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_error f = { 0 };
        int32_t next = -7;
        ck_assert_int_eq(ref->forward(g.session, bad[i].tokens, bad[i].n, NULL, &next, &f), FAL_ERR_INPUT);
        ck_assert(f.message[0] && next == -7);
    }
    fal_error f = { 0 };
    ck_assert_int_eq(ref->forward(g.session, NULL, 1, NULL, NULL, &f), FAL_ERR_INPUT);
    run(&g, &after, three, 3);
    same(&fresh, &after, FAL_SITE_logits, 0);
    /* One position is left: two more tokens are too many, one is not. */
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->forward(g.session, three, 2, NULL, NULL, &f), FAL_ERR_INPUT);
    run(&g, NULL, three, 1);
    forget(&fresh);
    forget(&after);

    fal_session *none = NULL;
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->session_open(g.ctx, g.model, 0, &none, &f), FAL_ERR_INPUT);
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->session_open(g.ctx, NULL, 4, &none, &f), FAL_ERR_INPUT);
    ck_assert_ptr_null(none);
    tear_down(&g);
}
END_TEST

/* Rule: when a tap fails, the pass ends with that failure and the positions are those from before. */
START_TEST(a_failing_tap_ends_the_pass)
{
    rig g = set_up(4);
    recorder fresh = record(g.config, 3), failing = record(g.config, 3), after = record(g.config, 3);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = true;
    run_fresh(&g, &fresh, three, 3);
    fal_error e = { 0 };
    ok(ref->reset(g.session, &e), &e);
    failing.wanted[FAL_SITE_moe_act] = true;
    failing.fail_at = FAL_SITE_moe_act;
    ck_assert_int_eq(try_run(&g, &failing, three, 3, NULL, &e), FAL_ERR_OUTPUT);
    ck_assert_str_eq(e.message, "told to fail");
    run(&g, &after, three, 3);
    same(&fresh, &after, FAL_SITE_logits, 0);
    forget(&fresh);
    forget(&failing);
    forget(&after);
    tear_down(&g);
}
END_TEST

/* Rule: the tensors are the file's, and a closed session leaves no memory behind. */
START_TEST(tensors_and_memory)
{
    rig g = set_up(4);
    for (int i = 0; i < g.model->n_tensors; i++) {
        const fal_tensor *t = g.model->tensors[i];
        unsigned char *got = malloc(t->nbytes);
        ck_assert_ptr_nonnull(got);
        int uploads = 0;
        fal_error e = { 0 };
        ok(ref->read_tensor(g.session, i, got, &uploads, &e), &e);
        ck_assert_int_eq(uploads, 1);
        ck_assert_mem_eq(got, t->data, t->nbytes);
        free(got);
    }
    fal_error e = { 0 };
    int uploads = 0;
    unsigned char byte;
    ck_assert_int_eq(ref->read_tensor(g.session, -1, &byte, &uploads, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ck_assert_int_eq(ref->read_tensor(g.session, g.model->n_tensors, &byte, &uploads, &e), FAL_ERR_INPUT);
    run(&g, NULL, three, 3);
    fal_memory m, s;
    ref->memory(g.ctx, &m);
    ref->session_memory(g.session, &s);
    ck_assert_uint_eq(m.live_bytes, s.kv_bytes + s.scratch_bytes);
    ck_assert_uint_gt(m.peak_bytes, m.live_bytes);
    ref->session_close(g.session);
    g.session = NULL;
    ref->memory(g.ctx, &m);
    ck_assert_uint_eq(m.live_bytes + m.kv_bytes + m.scratch_bytes, 0);
    tear_down(&g);
}
END_TEST

Suite *fal_suite_forward(void)
{
    Suite *s = suite_create("forward");
    TCase *c = tcase_create("forward");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, agrees_with_the_oracle, 0, N_PROMPTS);
    tcase_add_loop_test(c, greedy_continues_as_the_oracle, 0, LONG_PROMPT); /* the long one has no continuation */
    tcase_add_test(c, decode_gives_the_bits_of_prefill);
    tcase_add_test(c, logits_in_pieces);
    tcase_add_test(c, no_op_runs_too_often);
    tcase_add_test(c, taps_see_every_site_in_order);
    tcase_add_test(c, reset_forgets);
    tcase_add_loop_test(c, forcing_changes_what_follows, 0, FAL_N_SITES);
    tcase_add_test(c, forced_keys_reach_the_cache);
    tcase_add_test(c, pinned_routing_is_honoured);
    tcase_add_test(c, preconditions_are_refused);
    tcase_add_test(c, a_failing_tap_ends_the_pass);
    tcase_add_test(c, tensors_and_memory);
    suite_add_tcase(s, c);
    return s;
}
