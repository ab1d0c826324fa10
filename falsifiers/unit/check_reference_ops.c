/* Tests of every op of the reference against its closed form in long double, and of the edges of its domain. */
#include "reference/reference.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_reference_ops(void);

/* ---- inputs and comparison --------------------------------------------------------------------------------------- */

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* n numbers in [-scale, scale), with full 24-bit fractions. */
static void fill(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)(next(&seed) >> 11) * 0x1p-52 - 1.0) * scale;
}

static void *take(size_t n, size_t unit)
{
    void *p = malloc(n * unit);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xFF, n * unit);
    return p;
}

static float *floats(size_t n)
{
    return take(n, sizeof(float));
}

static float *filled(size_t n, float scale, uint64_t seed)
{
    float *x = floats(n);
    fill(x, n, scale, seed);
    return x;
}

/* Rule of all ops: one rounding to f32 (half a unit, 2^-24 relative, or half the smallest subnormal) after float64 sums
   of n_terms terms, each of which may lose 2^-53 of the sum of magnitudes. */
static void near_enough(const char *what, size_t i, float got, long double want, size_t n_terms, long double magnitude)
{
    const long double summing = (long double)(n_terms + 8) * 0x1p-53L * magnitude;
    const long double bound = fabsl(want) * 0x1.00001p-24L + summing + 0x1p-150L;
    ck_assert_msg(fabsl((long double)got - want) <= bound, "%s[%zu]: %a, expected %La +- %La", what, i, (double)got,
                  want, bound);
}

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
            near_enough("norm", r * n + i, y[r * n + i], want, n, fabsl(want));
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
    float *x = filled(rows * n, norms[_i].scale, 1), *w = filled(n, 2.0f, 2), *y = floats(rows * n);
    RUN(rmsnorm, .n_tokens = (int)rows, .n_embd = (int)n, .eps = norms[_i].eps, .x = x, .w = w, .y = y);
    check_norm(x, w, y, rows, n, norms[_i].eps);
    float *z = floats(2 * rows * n);
    float *x2 = filled(2 * rows * n, norms[_i].scale, 3);
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
    fill(x, T * H * D, 1.0f, 4);
    RUN(rope, .n_tokens = T, .n_head = H, .head_dim = D, .first_pos = FIRST, .n_ctx = CTX, .x = x, .cos = cos_t,
        .sin = sin_t, .y = y);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int i = 0; i < D; i++) {
                const int pair = i % (D / 2), at = (t * H + h) * D;
                const long double c = cos_t[(FIRST + t) * D / 2 + pair], s = sin_t[(FIRST + t) * D / 2 + pair];
                const long double a = x[at + pair], b = x[at + pair + D / 2];
                const long double want = i < D / 2 ? a * c - b * s : b * c + a * s;
                near_enough("rope", (size_t)(at + i), y[at + i], want, 2, fabsl(a) + fabsl(b));
            }
    /* Position 0 is the identity. */
    RUN(rope, .n_tokens = 1, .n_head = H, .head_dim = D, .first_pos = 0, .n_ctx = CTX, .x = x, .cos = cos_t,
        .sin = sin_t, .y = y);
    ck_assert_mem_eq(x, y, H * D * sizeof(float));
}
END_TEST

START_TEST(kv_store_writes_its_slots_only)
{
    enum { T = 2, G = 2, D = 3, CTX = 5, FIRST = 2 };
    float k[T * G * D], v[T * G * D], kc[CTX * G * D], vc[CTX * G * D], k0[CTX * G * D], v0[CTX * G * D];
    fill(k, T * G * D, 1.0f, 5);
    fill(v, T * G * D, 1.0f, 6);
    memset(kc, 0xFF, sizeof kc);
    fill(vc, CTX * G * D, 1.0f, 7);
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
    float *a = filled(N, 1.0f, 8), *b = filled(N, 1e-3f, 9), *y = floats(N);
    RUN(add, .n_tokens = 4, .n_embd = N / 4, .a = a, .b = b, .y = y);
    for (int i = 0; i < N; i++) ck_assert(y[i] == (float)((long double)a[i] + b[i]));
    free(y);
    free(b);
    free(a);
}
END_TEST

/* ---- matrix products --------------------------------------------------------------------------------------------- */

/* 64 blocks of a type and their values as the gguf package decodes them (falsifiers/vectors). */
typedef struct {
    unsigned char *blocks;
    float *values;
    size_t n;
} weights;

static void *read_all(const char *stem, const char *ending, size_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "falsifiers/vectors/%s.%s", stem, ending);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    unsigned char *bytes = take(1 << 17, 1);
    *n = fread(bytes, 1, 1 << 17, f);
    ck_assert_uint_gt(*n, 0);
    fclose(f);
    return bytes;
}

static weights load(const char *stem)
{
    weights w;
    size_t n_bytes;
    w.blocks = read_all(stem, "blocks", &n_bytes);
    w.values = read_all(stem, "f32", &n_bytes);
    w.n = n_bytes / sizeof(float);
    return w;
}

static void unload(weights *w)
{
    free(w->blocks);
    free(w->values);
}

static void check_dot(const char *what, size_t i, float got, const float *w, const float *x, size_t n)
{
    long double want = 0.0L, magnitude = 0.0L;
    for (size_t c = 0; c < n; c++) {
        want += (long double)w[c] * x[c];
        magnitude += fabsl((long double)w[c] * x[c]);
    }
    near_enough(what, i, got, want, n, magnitude);
}

static const struct { uint32_t type; const char *stem; size_t n_in; } products[] = {
    { FAL_TYPE_F16, "f16", 32 }, { FAL_TYPE_Q8_0, "q8_0", 64 }, { FAL_TYPE_Q4_K, "q4_k", 256 },
    { FAL_TYPE_Q4_K, "q4_k", 1024 }, { FAL_TYPE_Q6_K, "q6_k", 512 },
};

START_TEST(matmul_matches_the_closed_form)
{
    weights w = load(products[_i].stem);
    const size_t n_in = products[_i].n_in, n_out = w.n / n_in, n_tokens = 3;
    float *x = filled(n_tokens * n_in, 1.0f, 10), *y = floats(n_tokens * n_out);
    RUN(matmul, .n_tokens = (int)n_tokens, .n_in = (int)n_in, .n_out = (int)n_out, .type = products[_i].type,
        .w = w.blocks, .x = x, .y = y);
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_out; r++)
            check_dot("matmul", t * n_out + r, y[t * n_out + r], w.values + r * n_in, x + t * n_in, n_in);
    free(y);
    free(x);
    unload(&w);
}
END_TEST

/* Rule: widths that are no multiple of the eight partial sums lose no element. */
START_TEST(matmul_of_any_width)
{
    for (size_t n_in = 1; n_in <= 35; n_in++) {
        float *w = filled(5 * n_in, 1.0f, n_in), *x = filled(2 * n_in, 1.0f, 77 + n_in), *y = floats(10);
        RUN(matmul, .n_tokens = 2, .n_in = (int)n_in, .n_out = 5, .type = FAL_TYPE_F32, .w = w, .x = x, .y = y);
        for (size_t i = 0; i < 10; i++) check_dot("matmul", i, y[i], w + i % 5 * n_in, x + i / 5 * n_in, n_in);
        free(y);
        free(x);
        free(w);
    }
}
END_TEST

/* Rule: the accumulator is float64: what cancels leaves what is left. */
START_TEST(matmul_accumulates_in_float64)
{
    const float w[4] = { 0x1p40f, 1.0f, -0x1p40f, 0x1p-10f }, x[4] = { 1.0f, 1.0f, 1.0f, 1.0f };
    float y[1];
    RUN(matmul, .n_tokens = 1, .n_in = 4, .n_out = 1, .type = FAL_TYPE_F32, .w = w, .x = x, .y = y);
    ck_assert(y[0] == 1.0f + 0x1p-10f);
}
END_TEST

START_TEST(moe_matmul_takes_each_slot_to_its_expert)
{
    weights w = load("q6_k"); /* 64 blocks: 4 experts of 8 rows of 512 columns */
    enum { T = 5, E = 4, K = 2, IN = 512, OUT = 8 };
    const int32_t ids[T * K] = { 3, 0, 0, 3, 2, 3, 3, 2, 0, 2 }; /* expert 1 is in no slot */
    float *x = filled(T * K * IN, 1.0f, 11), *y = floats(T * K * OUT);
    for (int per_slot = 0; per_slot <= 1; per_slot++) {
        memset(y, 0xFF, T * K * OUT * sizeof *y);
        RUN(moe_matmul, .n_tokens = T, .n_expert = E, .n_expert_used = K, .n_in = IN, .n_out = OUT,
            .x_per_slot = per_slot, .type = FAL_TYPE_Q6_K, .w = w.blocks, .x = x, .ids = ids, .y = y);
        for (size_t slot = 0; slot < T * K; slot++)
            for (size_t r = 0; r < OUT; r++)
                check_dot("moe_matmul", slot * OUT + r, y[slot * OUT + r],
                          w.values + ((size_t)ids[slot] * OUT + r) * IN, x + (per_slot ? slot : slot / K) * IN, IN);
    }
    free(y);
    free(x);
    unload(&w);
}
END_TEST

/* Rule: weights of experts that no token chose are not part of any sum. */
START_TEST(moe_matmul_ignores_other_experts)
{
    float w[3][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 1, 2 }, { 3, 4 } }, { { INFINITY, NAN }, { NAN, NAN } } };
    const float x[2] = { 10, 100 };
    const int32_t ids[1] = { 1 };
    float y[2];
    RUN(moe_matmul, .n_tokens = 1, .n_expert = 3, .n_expert_used = 1, .n_in = 2, .n_out = 2, .type = FAL_TYPE_F32,
        .w = w, .x = x, .ids = ids, .y = y);
    ck_assert(y[0] == 210.0f && y[1] == 430.0f);
}
END_TEST

START_TEST(moe_sum_matches_the_closed_form)
{
    enum { T = 3, K = 8, N = 37 };
    float *x = filled(T * K * N, 1.0f, 12), *weights_of = filled(T * K, 0.5f, 13), *y = floats(T * N);
    RUN(moe_sum, .n_tokens = T, .n_expert_used = K, .n_embd = N, .x = x, .weights = weights_of, .y = y);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < N; i++) {
            long double want = 0.0L, magnitude = 0.0L;
            for (size_t s = 0; s < K; s++) {
                const long double term = (long double)weights_of[t * K + s] * x[(t * K + s) * N + i];
                want += term;
                magnitude += fabsl(term);
            }
            near_enough("moe_sum", t * N + i, y[t * N + i], want, K, magnitude);
        }
    free(y);
    free(weights_of);
    free(x);
}
END_TEST

START_TEST(embed_copies_the_rows_asked_for)
{
    weights w = load("q8_0"); /* 64 blocks: 32 rows of 64 */
    const int32_t tokens[4] = { 31, 0, 7, 7 };
    float y[4 * 64];
    RUN(embed, .n_tokens = 4, .n_embd = 64, .n_vocab = 32, .type = FAL_TYPE_Q8_0, .w = w.blocks, .tokens = tokens,
        .y = y);
    for (int t = 0; t < 4; t++) ck_assert_mem_eq(y + 64 * t, w.values + 64 * tokens[t], 64 * sizeof(float));
    unload(&w);
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
    float *q = filled(n_q, attentions[_i].scale, 14), *k = filled(n_cache, 1.0f, 15), *v = filled(n_cache, 1.0f, 16);
    float *y = floats(n_q);
    /* Slots after the last token hold NaN: reading one shows. */
    for (int i = (first + n) * n_kv * dim; i < n_ctx * n_kv * dim; i++) k[i] = v[i] = NAN;
    RUN(attention, .n_tokens = n, .n_head = n_head, .n_head_kv = n_kv, .head_dim = dim, .first_pos = first,
        .n_ctx = n_ctx, .q = q, .k_cache = k, .v_cache = v, .y = y);
    long double *score = take((size_t)n_ctx, sizeof *score);
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
                near_enough("attention", (size_t)((t * n_head + h) * dim + d), y[(t * n_head + h) * dim + d], want,
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
    float *x = filled((size_t)(2 * n), softmaxes[_i].scale, 17), *y = floats((size_t)(2 * n));
    for (int i = 0; i < 2 * n; i++) x[i] += softmaxes[_i].shift;
    RUN(softmax, .n_rows = 2, .n_cols = n, .x = x, .y = y);
    for (int r = 0; r < 2; r++) {
        long double max = -HUGE_VALL, sum = 0.0L, total = 0.0L;
        for (int i = 0; i < n; i++) max = fmaxl(max, x[r * n + i]);
        for (int i = 0; i < n; i++) sum += expl(x[r * n + i] - max);
        for (int i = 0; i < n; i++) {
            const long double want = expl(x[r * n + i] - max) / sum;
            near_enough("softmax", (size_t)(r * n + i), y[r * n + i], want, (size_t)n, want);
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
    float *probs = filled(T * E, 1.0f, 18), *w = floats(T * K);
    int32_t *ids = take(T * K, sizeof *ids);
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
            near_enough("weights", (size_t)(t * K + s), w[t * K + s], want, K, want);
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
    float *g = filled(N, 40.0f, 19), *u = filled(N, 3.0f, 20), *y = floats(N);
    g[0] = 0.0f;
    g[1] = -0.0f;
    g[2] = 1000.0f;
    g[3] = -1000.0f; /* exp overflows to infinity in f32 and float64: the result is a zero, not NaN */
    g[4] = 1e-38f;
    RUN(swiglu, .n_rows = 2, .n_ff = N / 2, .gate = g, .up = u, .y = y);
    for (size_t i = 0; i < N; i++) {
        const long double want = (long double)g[i] / (1.0L + expl(-(long double)g[i])) * u[i];
        near_enough("swiglu", i, y[i], want, 4, fabsl(want));
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

/* ---- threads, counters ------------------------------------------------------------------------------------------- */

/* Rule: results are the same bits for every number of threads and for every split of the tokens into calls. */
START_TEST(bits_do_not_depend_on_threads_or_batches)
{
    /* 129 tokens are enough work for each of the three to use threads. */
    enum { T = 129, E = 4, K = 2, IN = 512, OUT = 8, H = 8, G = 2, D = 32, CTX = 192 };
    weights w = load("q6_k");
    float *x = filled(T * IN, 1.0f, 21), *cache = filled(2 * CTX * G * D, 1.0f, 22), *q = filled(T * H * D, 1.0f, 23);
    int32_t ids[T * K];
    for (int i = 0; i < T * K; i++) ids[i] = i * i / 3 % E;
    float *y[3][3];
    for (int run = 0; run < 3; run++) {
        omp_set_num_threads(run == 1 ? 2 : 1);
        y[run][0] = floats(T * 4 * OUT);
        y[run][1] = floats(T * K * OUT);
        y[run][2] = floats(T * H * D);
        const int step = run == 2 ? 1 : T;
        for (int t = 0; t < T; t += step) {
            RUN(matmul, .n_tokens = step, .n_in = IN, .n_out = 4 * OUT, .type = FAL_TYPE_Q6_K, .w = w.blocks,
                .x = x + t * IN, .y = y[run][0] + t * 4 * OUT);
            RUN(moe_matmul, .n_tokens = step, .n_expert = E, .n_expert_used = K, .n_in = IN, .n_out = OUT,
                .type = FAL_TYPE_Q6_K, .w = w.blocks, .x = x + t * IN, .ids = ids + t * K,
                .y = y[run][1] + t * K * OUT);
            RUN(attention, .n_tokens = step, .n_head = H, .n_head_kv = G, .head_dim = D, .first_pos = 40 + t,
                .n_ctx = CTX, .q = q + t * H * D, .k_cache = cache, .v_cache = cache + CTX * G * D,
                .y = y[run][2] + t * H * D);
        }
    }
    for (int run = 1; run < 3; run++) {
        ck_assert_mem_eq(y[0][0], y[run][0], T * 4 * OUT * sizeof(float));
        ck_assert_mem_eq(y[0][1], y[run][1], T * K * OUT * sizeof(float));
        ck_assert_mem_eq(y[0][2], y[run][2], T * H * D * sizeof(float));
    }
    for (int run = 0; run < 3; run++)
        for (int i = 0; i < 3; i++) free(y[run][i]);
    free(q);
    free(cache);
    free(x);
    unload(&w);
}
END_TEST

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
    tcase_add_test(c, add_rounds_once);
    tcase_add_loop_test(c, matmul_matches_the_closed_form, 0, N(products));
    tcase_add_test(c, matmul_of_any_width);
    tcase_add_test(c, matmul_accumulates_in_float64);
    tcase_add_test(c, moe_matmul_takes_each_slot_to_its_expert);
    tcase_add_test(c, moe_matmul_ignores_other_experts);
    tcase_add_test(c, moe_sum_matches_the_closed_form);
    tcase_add_test(c, embed_copies_the_rows_asked_for);
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
    tcase_add_test(c, bits_do_not_depend_on_threads_or_batches);
    tcase_add_test(c, calls_and_memory_are_counted);
    tcase_add_test(c, the_device);
    suite_add_tcase(s, c);
    return s;
}
