/* Tests of the reference's forward pass: against a float64 oracle, and one request cut in different ways. */
#include "falsifiers/unit/forward_rig.h"
#include "harness/observation.h"
#include "harness/synth.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_forward(void);

#define ORACLE "falsifiers/models/austen-moe-Q4_K_M.oracle.safetensors"

enum { LONG_PROMPT = 5, N_PROMPTS = 6 };

static const fal_backend *const ref = &fal_reference_backend;

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
    fal_rig_ok(fal_observation_open(ORACLE, &o.file, &e), &e);
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
static void near_oracle(const oracle *o, const fal_recorder *r, fal_site site, int layer, const char *name,
                        double limit)
{
    const fal_obs_tensor *t = oracle_tensor(o, name, FAL_DTYPE_F32);
    const size_t width = fal_rig_row_bytes(r->config, (int)site) / 4;
    ck_assert_uint_eq(t->n, (size_t)o->n_positions * width);
    const float *got = fal_recorder_f32(r, site, layer), *want = t->data;
    for (int i = 0; i < o->n_positions; i++) {
        const double d = distance(got + (size_t)o->positions[i] * width, want + (size_t)i * width, width);
        ck_assert_msg(d <= limit, "p%d.%s: relative L2 %.3g at position %d, expected <= %g", o->prompt, name, d,
                      o->positions[i], limit);
    }
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
    fal_rig g = fal_rig_open(o.n_tokens);
    fal_recorder r = fal_recorder_make(g.config, o.n_tokens);
    static const fal_site sites[] = { FAL_SITE_embed, FAL_SITE_l_out, FAL_SITE_final_norm, FAL_SITE_logits,
                                      FAL_SITE_router_logits, FAL_SITE_expert_ids, FAL_SITE_expert_weights };
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) r.wanted[sites[i]] = true;
    const int32_t next = fal_rig_run(&g, &r, o.tokens, o.n_tokens);
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
        const int32_t *got = (const int32_t *)(const void *)fal_recorder_f32(&r, FAL_SITE_expert_ids, l);
        for (int i = 0; i < o.n_positions; i++)
            ck_assert_msg(same_set(got + o.positions[i] * k, want + i * k, k), "experts of layer %d at position %d", l,
                          o.positions[i]);
    }
    const float *want = oracle_tensor(&o, "logits", FAL_DTYPE_F32)->data,
                *got = fal_recorder_f32(&r, FAL_SITE_logits, 0);
    for (int i = 0; i < o.n_positions; i++)
        ck_assert_int_eq(fal_rig_largest(got + (size_t)o.positions[i] * (size_t)n_vocab, n_vocab),
                         fal_rig_largest(want + (size_t)i * (size_t)n_vocab, n_vocab));
    ck_assert_int_eq(next, fal_rig_largest(got + (size_t)(o.n_tokens - 1) * (size_t)n_vocab, n_vocab));

    fal_memory m;
    ref->memory(g.ctx, &m);
    const unsigned slot = (unsigned)(g.config->n_head_kv * g.config->head_dim);
    ck_assert_uint_eq(m.kv_bytes, 2u * 4u * (unsigned)(n_layer * o.n_tokens) * slot);
    ck_assert_uint_le(m.peak_bytes - m.kv_bytes, 32u << 20); /* no n_ctx x n_ctx array, no logits of a whole prompt */
    fal_recorder_free(&r);
    fal_rig_close(&g);
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
    fal_rig g = fal_rig_open(o.n_tokens + 32);
    int32_t next = fal_rig_run(&g, NULL, o.tokens, o.n_tokens);
    for (size_t i = 0; i < 32; i++) {
        ck_assert_msg(next == json_integer_value(json_array_get(greedy, i)), "token %zu is %d, expected %lld", i, next,
                      (long long)json_integer_value(json_array_get(greedy, i)));
        next = fal_rig_run(&g, NULL, &next, 1);
    }
    fal_rig_close(&g);
    fal_observation_close(o.file);
}
END_TEST

/* ---- one request, cut differently -------------------------------------------------------------------------------- */

/* Rule: the same bits whether tokens come at once, in two calls or one by one. 300 tokens are more than one chunk. */
START_TEST(decode_gives_the_bits_of_prefill)
{
    oracle o = open_oracle(LONG_PROMPT);
    o.n_tokens = 300;
    fal_rig g = fal_rig_open(o.n_tokens + 1);
    fal_recorder whole = fal_recorder_make(g.config, o.n_tokens);
    fal_recorder_want_all(&whole);
    const int32_t next = fal_rig_run_fresh(&g, &whole, o.tokens, o.n_tokens);
    const int steps[] = { 1, 170 };
    for (size_t i = 0; i < 2; i++) {
        fal_error e = { 0 };
        fal_rig_ok(ref->reset(g.session, &e), &e);
        int32_t last = -1;
        for (int at = 0; at < o.n_tokens; at += steps[i]) {
            const int n = o.n_tokens - at < steps[i] ? o.n_tokens - at : steps[i];
            fal_recorder part = fal_recorder_make(g.config, n);
            part.wanted[FAL_SITE_logits] = part.wanted[FAL_SITE_attn] = true;
            last = fal_rig_run(&g, &part, o.tokens + at, n);
            for (int l = -1; l < g.config->n_layer; l++) {
                const int site = l < 0 ? FAL_SITE_logits : FAL_SITE_attn, at_layer = l < 0 ? 0 : l;
                const size_t bytes = fal_rig_row_bytes(g.config, site);
                ck_assert_msg(memcmp(part.data[site][at_layer], whole.data[site][at_layer] + (size_t)at * bytes,
                                     (size_t)n * bytes) == 0, "%s at %d differs with steps of %d",
                              fal_site_get((fal_site)site)->name, at, steps[i]);
            }
            fal_recorder_free(&part);
        }
        ck_assert_int_eq(last, next);
    }
    /* The next token is the same when no tap asks for the logits. */
    ck_assert_int_eq(fal_rig_run_fresh(&g, NULL, o.tokens, o.n_tokens), next);
    fal_recorder_free(&whole);
    fal_rig_close(&g);
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
    fal_rig_ok(fal_synth_write(&options, &result, &e), &e);
    fal_rig g = fal_rig_open_model(path, N);
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = i * 617 % g.config->n_vocab;
    fal_recorder whole = fal_recorder_make(g.config, N);
    whole.wanted[FAL_SITE_logits] = true;
    const int32_t next = fal_rig_run_fresh(&g, &whole, tokens, N);
    ck_assert_int_eq(whole.n_rows[FAL_SITE_logits][0], N);
    fal_rig_ok(ref->reset(g.session, &e), &e);
    int32_t last = -1;
    const size_t bytes = fal_rig_row_bytes(g.config, FAL_SITE_logits);
    for (int i = 0; i < N; i++) {
        fal_recorder one = fal_recorder_make(g.config, 1);
        one.wanted[FAL_SITE_logits] = true;
        last = fal_rig_run(&g, &one, tokens + i, 1);
        const unsigned char *want = whole.data[FAL_SITE_logits][0] + (size_t)i * bytes;
        ck_assert_msg(memcmp(one.data[FAL_SITE_logits][0], want, bytes) == 0,
                      "logits of position %d differ", i);
        fal_recorder_free(&one);
    }
    ck_assert_int_eq(last, next);
    fal_recorder_free(&whole);
    fal_rig_close(&g);
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
    fal_rig g = fal_rig_open(N);
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = i;
    fal_rig_run(&g, NULL, tokens, N);
    const uint64_t c = CHUNKS * (uint64_t)g.config->n_layer;
    expected_calls want[] = {
        { "fal_ref_embed", CHUNKS }, { "fal_ref_rmsnorm", 2 * c + 1 }, { "fal_ref_matmul", 5 * c + 1 },
        { "fal_ref_qk_norm", 2 * c }, { "fal_ref_rope", 2 * c }, { "fal_ref_kv_store", c }, { "fal_ref_attention", c },
        { "fal_ref_add", 2 * c }, { "fal_ref_softmax", c }, { "fal_ref_router", c }, { "fal_ref_moe_matmul", 3 * c },
        { "fal_ref_swiglu", c }, { "fal_ref_moe_sum", c }, { "fal_ref_argmax", 1 }, { NULL, 0 },
    };
    ref->launches(g.ctx, compare_calls, want);
    for (const expected_calls *e = want; e->kernel; e++) ck_assert_msg(e->n == 0, "%s never ran", e->kernel);
    fal_rig_close(&g);
}
END_TEST

/* Rule: every site is shown for every token once, in the order of harness/ops.def. */
START_TEST(taps_see_every_site_in_order)
{
    oracle o = open_oracle(LONG_PROMPT);
    o.n_tokens = 300;
    fal_rig g = fal_rig_open(o.n_tokens);
    fal_recorder r = fal_recorder_make(g.config, o.n_tokens);
    fal_recorder_want_all(&r);
    fal_rig_run(&g, &r, o.tokens, o.n_tokens);
    ck_assert(r.in_order);
    for (int i = 0; i < FAL_N_SITES; i++)
        for (int l = 0; l < (fal_site_get((fal_site)i)->per_layer ? g.config->n_layer : 1); l++)
            ck_assert_int_eq(r.n_rows[i][l], o.n_tokens);
    fal_recorder_free(&r);
    fal_rig_close(&g);
    fal_observation_close(o.file);
}
END_TEST

/* Rule: reset forgets everything; without it the past counts. */
START_TEST(reset_forgets)
{
    const int32_t a[] = { 1420, 364, 258 }, b[] = { 7, 7, 2047, 0 };
    fal_rig g = fal_rig_open(16);
    fal_recorder fresh = fal_recorder_make(g.config, 4), after = fal_recorder_make(g.config, 4),
                 again = fal_recorder_make(g.config, 4);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = again.wanted[FAL_SITE_logits] = true;
    fal_rig_run_fresh(&g, &fresh, b, 4);
    fal_rig_run_fresh(&g, NULL, a, 3);
    fal_rig_run(&g, &after, b, 4);
    ck_assert(fal_recorder_differs(&fresh, &after, FAL_SITE_logits, 0));
    fal_rig_run_fresh(&g, &again, b, 4);
    fal_recorder_same(&fresh, &again, FAL_SITE_logits, 0);
    fal_recorder_free(&fresh);
    fal_recorder_free(&after);
    fal_recorder_free(&again);
    fal_rig_close(&g);
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
    suite_add_tcase(s, c);
    return s;
}
