/* Tests of the ops of the reference that read no weight matrix: closed forms in long double, edges of the domain. */
#include "falsifiers/unit/op_numbers.h"
#include "harness/half.h"
#include "reference/reference.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_reference_ops(void);

#define RUN(op, ...)                                                                                                   \
    do {                                                                                                               \
        fal_error e_ = { 0 };                                                                                          \
        const fal_##op##_args a_ = { __VA_ARGS__ };                                                                    \
        ck_assert_msg(fal_reference_##op(NULL, &a_, &e_) == FAL_OK, "%s", e_.message);                                 \
    } while (0)

/* ---- norms, rotation, residual ----------------------------------------------------------------------------------- */

static void check_norm(const float *x, const float *w, const float *y, size_t n_rows, size_t n, float eps)
{
    for (size_t r = 0; r < n_rows; r++) {
        long double sum = 0.0L;
        for (size_t i = 0; i < n; i++) sum += (long double)x[r * n + i] * x[r * n + i];
        const long double root = sqrtl(sum / (long double)n + eps);
        for (size_t i = 0; i < n; i++) {
            const long double want = (long double)x[r * n + i] * w[i] / root;
            fal_test_near("norm", r * n + i, y[r * n + i], want, n, fabsl(want));
        }
    }
}

static const struct { size_t rows, n; float scale, eps; } norms[] = {
    { 1, 1, 1.0f, 1e-6f }, { 3, 256, 1.0f, 1e-6f }, { 2, 13, 1e4f, 1e-5f },
    { 2, 64, 1e-20f, 1e-6f }, { 1, 2048, 1e30f, 1e-6f }, { 2, 64, 1.0f, 0.0f },
};

START_TEST(norms_match_the_closed_form)
{
    const size_t rows = norms[_i].rows, n = norms[_i].n;
    float *x = fal_test_filled(rows * n, norms[_i].scale, 1), *w = fal_test_filled(n, 2.0f, 2),
          *y = fal_test_floats(rows * n);
    RUN(rmsnorm, .n_tokens = (int)rows, .n_embd = (int)n, .eps = norms[_i].eps, .x = x, .w = w, .y = y);
    check_norm(x, w, y, rows, n, norms[_i].eps);
    float *z = fal_test_floats(2 * rows * n);
    float *x2 = fal_test_filled(2 * rows * n, norms[_i].scale, 3);
    RUN(qk_norm, .n_tokens = (int)rows, .n_head = 2, .head_dim = (int)n, .eps = norms[_i].eps, .x = x2, .w = w, .y = z);
    check_norm(x2, w, z, 2 * rows, n, norms[_i].eps);
    free(x2);
    free(z);
    free(y);
    free(w);
    free(x);
}
END_TEST

/* Rule: eps keeps the norm of a row of zeros finite: zeros. */
START_TEST(norm_of_zeros_is_zero)
{
    const float x[4] = { 0 }, w[4] = { 1, 2, 3, 4 };
    float y[4] = { NAN, NAN, NAN, NAN };
    RUN(rmsnorm, .n_tokens = 1, .n_embd = 4, .eps = 1e-6f, .x = x, .w = w, .y = y);
    for (int i = 0; i < 4; i++) ck_assert(y[i] == 0.0f);
}
END_TEST

START_TEST(rope_rotates_half_pairs)
{
    enum { T = 3, H = 2, D = 6, CTX = 9, FIRST = 5 };
    float cos_t[CTX * D / 2], sin_t[CTX * D / 2], x[T * H * D], y[T * H * D];
    for (int p = 0; p < CTX; p++)
        for (int i = 0; i < D / 2; i++) {
            cos_t[p * D / 2 + i] = (float)cosl(p * powl(1e6L, -2.0L * i / D));
            sin_t[p * D / 2 + i] = (float)sinl(p * powl(1e6L, -2.0L * i / D));
        }
    fal_test_fill(x, T * H * D, 1.0f, 4);
    RUN(rope, .n_tokens = T, .n_head = H, .head_dim = D, .first_pos = FIRST, .n_ctx = CTX, .x = x, .cos = cos_t,
        .sin = sin_t, .y = y);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int i = 0; i < D; i++) {
                const int pair = i % (D / 2), at = (t * H + h) * D;
                const long double c = cos_t[(FIRST + t) * D / 2 + pair], s = sin_t[(FIRST + t) * D / 2 + pair];
                const long double a = x[at + pair], b = x[at + pair + D / 2];
                const long double want = i < D / 2 ? a * c - b * s : b * c + a * s;
                fal_test_near("rope", (size_t)(at + i), y[at + i], want, 2, fabsl(a) + fabsl(b));
            }
    /* Position 0 is the identity. */
    RUN(rope, .n_tokens = 1, .n_head = H, .head_dim = D, .first_pos = 0, .n_ctx = CTX, .x = x, .cos = cos_t,
        .sin = sin_t, .y = y);
    ck_assert_mem_eq(x, y, H * D * sizeof(float));
}
END_TEST

/* Rule: variant kv16 rounds keys and values to the nearest binary16 and nothing else; the reference itself rounds nothing. */
START_TEST(kv16_rounds_what_is_stored)
{
    const float in[] = { 1.0f, 1.00048828125f, 1.0004884f, -3.14159274f, 65519.0f, 6.1e-5f }; /* 1 + 2^-11 is a tie: to even */
    const float rounded[] = { 1.0f, 1.0f, 1.0009765625f, -3.140625f, 65504.0f, 0x3ffp-24f };
    const float kept = 0.1f; /* no binary16: a slot that nobody stores into */
    const char *const variants[] = { "", "kv16" };
    for (int v = 0; v < 2; v++) {
        fal_error e = { 0 };
        fal_context *ctx = NULL;
        float k[18], x[18];
        for (int i = 0; i < 18; i++) k[i] = x[i] = kept;
        ck_assert_int_eq(fal_reference_backend.open(&(fal_backend_options){ .variant = variants[v] }, &ctx, &e), FAL_OK);
        const fal_kv_store_args a = { .n_tokens = 1, .n_head_kv = 1, .head_dim = 6, .first_pos = 1, .n_ctx = 3, .k = in, .v = in,
                                      .k_cache = k, .v_cache = x };
        ck_assert_int_eq(fal_reference_backend.kv_store(ctx, &a, &e), FAL_OK);
        ck_assert_mem_eq(k + 6, v ? rounded : in, sizeof in);
        ck_assert_mem_eq(x + 6, v ? rounded : in, sizeof in);
        for (int i = 0; i < 6; i++) ck_assert(k[i] == kept && k[12 + i] == kept);
        fal_reference_backend.close(ctx);
    }
}
END_TEST

/* Rule: attention in variant kv16 is the reference's over the rounded cache, bit for bit, and leaves the cache alone. */
START_TEST(kv16_attends_to_rounded_values)
{
    enum { D = 4, P = 3 };
    const float q[D] = { 0.3f, -1.1f, 0.7f, 2.2f };
    float k[P * D], v[P * D], k_half[P * D], v_half[P * D], k_before[P * D], y[3][D];
    const char *const variants[] = { "kv16", "kv16", "" };
    for (int i = 0; i < P * D; i++) {
        k[i] = k_before[i] = 0.1f * (float)(i % 7) - 0.31f;
        v[i] = 1.0f / (float)(i + 3);
        k_half[i] = fal_half_to_float(fal_float_to_half(k[i]));
        v_half[i] = fal_half_to_float(fal_float_to_half(v[i]));
    }
    for (int r = 0; r < 3; r++) { /* rounds; finds nothing to round; rounds nothing */
        fal_error e = { 0 };
        fal_context *ctx = NULL;
        ck_assert_int_eq(fal_reference_backend.open(&(fal_backend_options){ .variant = variants[r] }, &ctx, &e), FAL_OK);
        const fal_attention_args a = { .n_tokens = 1, .n_head = 1, .n_head_kv = 1, .head_dim = D, .first_pos = P - 1, .n_ctx = P, .q = q,
                                       .k_cache = r ? k_half : k, .v_cache = r ? v_half : v, .y = y[r] };
        ck_assert_int_eq(fal_reference_backend.attention(ctx, &a, &e), FAL_OK);
        fal_memory m;
        fal_reference_backend.memory(ctx, &m);
        ck_assert_uint_eq(m.live_bytes, 0);
        fal_reference_backend.close(ctx);
    }
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    ck_assert_mem_eq(y[0], y[2], sizeof y[0]);
    ck_assert_mem_eq(k, k_before, sizeof k);
}
END_TEST

START_TEST(kv_store_writes_its_slots_only)
{
    enum { T = 2, G = 2, D = 3, CTX = 5, FIRST = 2 };
    float k[T * G * D], v[T * G * D], kc[CTX * G * D], vc[CTX * G * D], k0[CTX * G * D], v0[CTX * G * D];
    fal_test_fill(k, T * G * D, 1.0f, 5);
    fal_test_fill(v, T * G * D, 1.0f, 6);
    memset(kc, 0xFF, sizeof kc);
    fal_test_fill(vc, CTX * G * D, 1.0f, 7);
    memcpy(k0, kc, sizeof kc);
    memcpy(v0, vc, sizeof vc);
    memcpy(k0 + FIRST * G * D, k, sizeof k);
    memcpy(v0 + FIRST * G * D, v, sizeof v);
    RUN(kv_store, .n_tokens = T, .n_head_kv = G, .head_dim = D, .first_pos = FIRST, .n_ctx = CTX, .k = k, .v = v,
        .k_cache = kc, .v_cache = vc);
    ck_assert_mem_eq(kc, k0, sizeof kc);
    ck_assert_mem_eq(vc, v0, sizeof vc);
}
END_TEST

START_TEST(add_rounds_once)
{
    enum { N = 1000 };
    float *a = fal_test_filled(N, 1.0f, 8), *b = fal_test_filled(N, 1e-3f, 9), *y = fal_test_floats(N);
    RUN(add, .n_tokens = 4, .n_embd = N / 4, .a = a, .b = b, .y = y);
    for (int i = 0; i < N; i++) ck_assert(y[i] == (float)((long double)a[i] + b[i]));
    free(y);
    free(b);
    free(a);
}
END_TEST

/* ---- attention --------------------------------------------------------------------------------------------------- */

static const struct { int n_tokens, n_head, n_head_kv, head_dim, first_pos; float scale; } attentions[] = {
    { 1, 1, 1, 1, 0, 1.0f },   { 5, 4, 2, 8, 0, 1.0f },    { 3, 8, 2, 64, 17, 3.0f },
    { 2, 3, 3, 5, 4, 10.0f },  { 4, 6, 1, 16, 9, 1e-3f },
};

START_TEST(attention_matches_the_closed_form)
{
    const int n = attentions[_i].n_tokens, n_head = attentions[_i].n_head, n_kv = attentions[_i].n_head_kv;
    const int dim = attentions[_i].head_dim, first = attentions[_i].first_pos, n_ctx = first + n + 3;
    const size_t n_q = (size_t)(n * n_head * dim), n_cache = (size_t)(n_ctx * n_kv * dim);
    float *q = fal_test_filled(n_q, attentions[_i].scale, 14), *k = fal_test_filled(n_cache, 1.0f, 15),
          *v = fal_test_filled(n_cache, 1.0f, 16);
    float *y = fal_test_floats(n_q);
    /* Slots after the last token hold NaN: reading one shows. */
    for (int i = (first + n) * n_kv * dim; i < n_ctx * n_kv * dim; i++) k[i] = v[i] = NAN;
    RUN(attention, .n_tokens = n, .n_head = n_head, .n_head_kv = n_kv, .head_dim = dim, .first_pos = first,
        .n_ctx = n_ctx, .q = q, .k_cache = k, .v_cache = v, .y = y);
    long double *score = fal_test_take((size_t)n_ctx, sizeof *score);
    for (int t = 0; t < n; t++)
        for (int h = 0; h < n_head; h++) {
            const int g = h / (n_head / n_kv);
            long double max = -HUGE_VALL, sum = 0.0L;
            for (int p = 0; p <= first + t; p++) {
                score[p] = 0.0L;
                for (int d = 0; d < dim; d++)
                    score[p] += (long double)q[(t * n_head + h) * dim + d] * k[(p * n_kv + g) * dim + d];
                score[p] /= sqrtl((long double)dim);
                max = fmaxl(max, score[p]);
            }
            for (int p = 0; p <= first + t; p++) sum += score[p] = expl(score[p] - max);
            for (int d = 0; d < dim; d++) {
                long double want = 0.0L;
                for (int p = 0; p <= first + t; p++) want += score[p] / sum * v[(p * n_kv + g) * dim + d];
                /* exp turns an error of the score, up to 64 x 10 here, into a relative one: 700 stands for that. */
                fal_test_near("attention", (size_t)((t * n_head + h) * dim + d), y[(t * n_head + h) * dim + d], want,
                            (size_t)(first + t) + 700, 1.0L);
            }
        }
    free(score);
    free(y);
    free(v);
    free(k);
    free(q);
}
END_TEST

/* Rule: one visible key gives its value whatever the score is. */
START_TEST(attention_to_one_key_is_its_value)
{
    const float q[4] = { 1e30f, -1e30f, 0.0f, 5.0f }, k[2] = { 1e3f, 1e3f }, v[2] = { 0.1f, -7.0f };
    float y[4];
    RUN(attention, .n_tokens = 1, .n_head = 2, .n_head_kv = 1, .head_dim = 2, .first_pos = 0, .n_ctx = 1, .q = q,
        .k_cache = k, .v_cache = v, .y = y);
    ck_assert(y[0] == 0.1f && y[1] == -7.0f && y[2] == 0.1f && y[3] == -7.0f);
}
END_TEST

/* Rule: the largest score is taken off before exp: scores thousands apart leave the value of the largest, not NaN. */
START_TEST(attention_survives_large_scores)
{
    const float q[1] = { 3000.0f }, k[3] = { 0.0f, 1.0f, -1.0f }, v[3] = { 5.0f, 0.3f, NAN };
    float y[1];
    RUN(attention, .n_tokens = 1, .n_head = 1, .n_head_kv = 1, .head_dim = 1, .first_pos = 1, .n_ctx = 3, .q = q,
        .k_cache = k, .v_cache = v, .y = y);
    ck_assert(y[0] == 0.3f);
}
END_TEST

/* ---- routing ----------------------------------------------------------------------------------------------------- */

static const struct { int n; float scale, shift; } softmaxes[] = {
    { 1, 1.0f, 0.0f }, { 16, 1.0f, 0.0f }, { 128, 30.0f, 0.0f },
    { 128, 1.0f, 1000.0f }, { 7, 1000.0f, 0.0f }, { 16, 1e30f, 0.0f },
};

START_TEST(softmax_matches_the_closed_form)
{
    const int n = softmaxes[_i].n;
    float *x = fal_test_filled((size_t)(2 * n), softmaxes[_i].scale, 17), *y = fal_test_floats((size_t)(2 * n));
    for (int i = 0; i < 2 * n; i++) x[i] += softmaxes[_i].shift;
    RUN(softmax, .n_rows = 2, .n_cols = n, .x = x, .y = y);
    for (int r = 0; r < 2; r++) {
        long double max = -HUGE_VALL, sum = 0.0L, total = 0.0L;
        for (int i = 0; i < n; i++) max = fmaxl(max, x[r * n + i]);
        for (int i = 0; i < n; i++) sum += expl(x[r * n + i] - max);
        for (int i = 0; i < n; i++) {
            const long double want = expl(x[r * n + i] - max) / sum;
            fal_test_near("softmax", (size_t)(r * n + i), y[r * n + i], want, (size_t)n, want);
            total += y[r * n + i];
        }
        ck_assert(fabsl(total - 1.0L) <= n * 0x1p-24L);
    }
    free(y);
    free(x);
}
END_TEST

START_TEST(softmax_of_equal_values_is_uniform)
{
    const float x[4] = { -3.25f, -3.25f, -3.25f, -3.25f };
    float y[4];
    RUN(softmax, .n_rows = 1, .n_cols = 4, .x = x, .y = y);
    for (int i = 0; i < 4; i++) ck_assert(y[i] == 0.25f);
}
END_TEST

START_TEST(router_takes_the_largest_first)
{
    enum { T = 50, E = 128, K = 8 };
    float *probs = fal_test_filled(T * E, 1.0f, 18), *w = fal_test_floats(T * K);
    int32_t *ids = fal_test_take(T * K, sizeof *ids);
    for (int i = 0; i < T * E; i++) probs[i] = fabsf(probs[i]) + 1e-3f;
    RUN(router, .n_tokens = T, .n_expert = E, .n_expert_used = K, .probs = probs, .ids = ids, .weights = w);
    for (int t = 0; t < T; t++) {
        long double sum = 0.0L;
        bool chosen[E] = { false };
        for (int s = 0; s < K; s++) {
            ck_assert(!chosen[ids[t * K + s]]);
            chosen[ids[t * K + s]] = true;
            sum += probs[t * E + ids[t * K + s]];
            if (s > 0) ck_assert(probs[t * E + ids[t * K + s]] <= probs[t * E + ids[t * K + s - 1]]);
        }
        for (int e = 0; e < E; e++)
            if (!chosen[e]) ck_assert(probs[t * E + e] <= probs[t * E + ids[t * K + K - 1]]);
        for (int s = 0; s < K; s++) {
            const long double want = probs[t * E + ids[t * K + s]] / sum;
            fal_test_near("weights", (size_t)(t * K + s), w[t * K + s], want, K, want);
        }
    }
    free(ids);
    free(w);
    free(probs);
}
END_TEST

static void route(const float *probs, int n_expert, int n_used, const int32_t *want)
{
    int32_t ids[8];
    float w[8];
    RUN(router, .n_tokens = 1, .n_expert = n_expert, .n_expert_used = n_used, .probs = probs, .ids = ids, .weights = w);
    for (int s = 0; s < n_used; s++)
        ck_assert_msg(ids[s] == want[s], "slot %d is expert %d, expected %d", s, ids[s], want[s]);
}

/* Rule: ties go to the lower id; NaN is larger than every number, so ids stay distinct and in range. */
START_TEST(router_ties_and_nan)
{
    route((const float[]) { 0.25f, 0.25f, 0.25f, 0.25f }, 4, 3, (const int32_t[]) { 0, 1, 2 });
    route((const float[]) { 0.1f, 0.4f, 0.1f, 0.4f }, 4, 4, (const int32_t[]) { 1, 3, 0, 2 });
    route((const float[]) { 0.0f, 0.0f, 0.0f }, 3, 2, (const int32_t[]) { 0, 1 });
    route((const float[]) { 0.0f, -0.0f }, 2, 2, (const int32_t[]) { 0, 1 });
    route((const float[]) { 0.5f, NAN, 0.6f, NAN }, 4, 3, (const int32_t[]) { 1, 3, 2 });
    route((const float[]) { 1.0f }, 1, 1, (const int32_t[]) { 0 });
}
END_TEST

/* Rule: a pinned choice is taken as it stands, and its weights follow from the probabilities. */
START_TEST(router_takes_pinned_ids)
{
    const float probs[4] = { 0.5f, 0.25f, 0.125f, 0.125f };
    const int32_t pinned[2] = { 3, 1 };
    int32_t ids[2] = { -1, -1 };
    float w[2];
    RUN(router, .n_tokens = 1, .n_expert = 4, .n_expert_used = 2, .probs = probs, .pinned_ids = pinned, .ids = ids,
        .weights = w);
    ck_assert(ids[0] == 3 && ids[1] == 1);
    ck_assert(w[0] == (float)(1.0L / 3.0L) && w[1] == (float)(2.0L / 3.0L));
}
END_TEST

/* ---- activation and argmax --------------------------------------------------------------------------------------- */

START_TEST(swiglu_matches_the_closed_form)
{
    enum { N = 4096 };
    float *g = fal_test_filled(N, 40.0f, 19), *u = fal_test_filled(N, 3.0f, 20), *y = fal_test_floats(N);
    g[0] = 0.0f;
    g[1] = -0.0f;
    g[2] = 1000.0f;
    g[3] = -1000.0f; /* exp overflows to infinity in f32 and float64: the result is a zero, not NaN */
    g[4] = 1e-38f;
    RUN(swiglu, .n_rows = 2, .n_ff = N / 2, .gate = g, .up = u, .y = y);
    for (size_t i = 0; i < N; i++) {
        const long double want = (long double)g[i] / (1.0L + expl(-(long double)g[i])) * u[i];
        fal_test_near("swiglu", i, y[i], want, 4, fabsl(want));
    }
    free(y);
    free(u);
    free(g);
}
END_TEST

START_TEST(argmax_ties_and_nan)
{
    const float x[7][4] = {
        { 1, 3, 2, 3 }, { 0.0f, -0.0f, 0, 0 }, { -5, -4, -6, -7 }, { 1, NAN, 9, NAN },
        { -INFINITY, -INFINITY, -INFINITY, -INFINITY }, { NAN, 1, 2, INFINITY }, { 1, 2, 3, INFINITY },
    };
    const int32_t want[7] = { 1, 0, 1, 1, 0, 0, 3 };
    int32_t ids[7];
    RUN(argmax, .n_rows = 7, .n_cols = 4, .x = x[0], .ids = ids);
    for (int r = 0; r < 7; r++) ck_assert_msg(ids[r] == want[r], "row %d: %d, expected %d", r, ids[r], want[r]);
    RUN(argmax, .n_rows = 3, .n_cols = 1, .x = x[0], .ids = ids);
    for (int r = 0; r < 3; r++) ck_assert_int_eq(ids[r], 0);
}
END_TEST

/* ---- counters, device ------------------------------------------------------------------------------------------- */

typedef struct {
    char name[64];
    uint64_t n;
} visited;

static void visit(void *user, const char *kernel, uint64_t n)
{
    visited *v = user;
    snprintf(v->name, sizeof v->name, "%s%s", v->name[0] ? "more than " : "", kernel);
    v->n += n;
}

/* Rule: what ran is counted by name, what was refused is not; scratch memory is counted and given back. */
START_TEST(calls_and_memory_are_counted)
{
    const fal_backend *b = &fal_reference_backend;
    fal_context *ctx = NULL;
    fal_error e = { 0 };
    visited v = { 0 };
    fal_memory m;
    ck_assert_int_eq(b->open(NULL, &ctx, &e), FAL_OK);
    b->launches(ctx, visit, &v);
    ck_assert_uint_eq(v.n, 0);
    const float w[16] = { 1, 0, 0, 1 }, x[4] = { 1, 2, 3, 4 };
    float y[8];
    fal_matmul_args a = { .n_tokens = 1, .n_in = 4, .n_out = 4, .type = FAL_TYPE_F32, .w = w, .x = x, .y = y };
    for (int i = 0; i < 3; i++) ck_assert_int_eq(b->matmul(ctx, &a, &e), FAL_OK);
    a.n_out = 0;
    ck_assert_int_eq(b->matmul(ctx, &a, &e), FAL_ERR_INPUT);
    b->launches(ctx, visit, &v);
    ck_assert_str_eq(v.name, "fal_ref_matmul");
    ck_assert_uint_eq(v.n, 3);
    b->memory(ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 0);
    ck_assert_uint_eq(m.weight_bytes + m.kv_bytes + m.scratch_bytes, 0);
    ck_assert_uint_ge(m.peak_bytes, 4 * sizeof(double));
    b->close(ctx);
    b->close(NULL);
}
END_TEST

/* Rule: there is one device, a CPU with a name, found by index or by part of its name; anything else is refused. */
START_TEST(the_device)
{
    const fal_backend *b = &fal_reference_backend;
    fal_device_info info;
    fal_context *ctx = NULL;
    fal_error e = { 0 };
    int n = 0;
    ck_assert_int_eq(b->devices(&info, 1, &n, &e), FAL_OK);
    ck_assert_int_eq(n, 1);
    ck_assert(info.is_cpu && info.name[0] && info.slug[0] && info.memory_bytes > 0);
    ck_assert_uint_eq(strspn(info.slug, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(info.slug));
    ck_assert_int_eq(b->open(&(fal_backend_options) { .device = info.name, .variant = "" }, &ctx, &e), FAL_OK);
    ck_assert_str_eq(b->device(ctx)->name, info.name);
    b->close(ctx);
    ctx = NULL;
    ck_assert_int_eq(b->open(&(fal_backend_options) { .device = "7" }, &ctx, &e), FAL_ERR_NOTHING);
    e = (fal_error) { 0 };
    ck_assert_int_eq(b->open(&(fal_backend_options) { .variant = "cpu" }, &ctx, &e), FAL_ERR_INPUT);
    ck_assert_ptr_null(ctx);
}
END_TEST

#define N(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *fal_suite_reference_ops(void)
{
    Suite *s = suite_create("reference_ops");
    TCase *c = tcase_create("reference_ops");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, norms_match_the_closed_form, 0, N(norms));
    tcase_add_test(c, norm_of_zeros_is_zero);
    tcase_add_test(c, rope_rotates_half_pairs);
    tcase_add_test(c, kv_store_writes_its_slots_only);
    tcase_add_test(c, kv16_rounds_what_is_stored);
    tcase_add_test(c, kv16_attends_to_rounded_values);
    tcase_add_test(c, add_rounds_once);
    tcase_add_loop_test(c, attention_matches_the_closed_form, 0, N(attentions));
    tcase_add_test(c, attention_to_one_key_is_its_value);
    tcase_add_test(c, attention_survives_large_scores);
    tcase_add_loop_test(c, softmax_matches_the_closed_form, 0, N(softmaxes));
    tcase_add_test(c, softmax_of_equal_values_is_uniform);
    tcase_add_test(c, router_takes_the_largest_first);
    tcase_add_test(c, router_ties_and_nan);
    tcase_add_test(c, router_takes_pinned_ids);
    tcase_add_test(c, swiglu_matches_the_closed_form);
    tcase_add_test(c, argmax_ties_and_nan);
    tcase_add_test(c, calls_and_memory_are_counted);
    tcase_add_test(c, the_device);
    suite_add_tcase(s, c);
    return s;
}
