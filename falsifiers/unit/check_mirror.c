/* Tests of the mirror tier against what ggml's own kernels computed: codes and integer sums bit for bit, products closely. */
#include "harness/fixture.h"
#include "harness/half.h"
#include "reference/mirror.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_mirror(void);

#define PARAMS(...) ((fal_params) { (const fal_param[]) { __VA_ARGS__ }, (int)(sizeof((const fal_param[]) { __VA_ARGS__ }) / sizeof(fal_param)) })
#define N(key, number) { key, number, NULL }
#define T(key, text) { key, 0, text }

enum { COLUMNS = 1024, X_ROWS = 4, W_ROWS = 8 }; /* of the vectors; see falsifiers/vectors/make_mirror.py */

static const struct {
    const char *stem;
    uint32_t type;
    fal_activation act;
} kinds[] = {
    { "q4_k", FAL_TYPE_Q4_K, FAL_ACTIVATION_Q8_K }, { "q5_k", FAL_TYPE_Q5_K, FAL_ACTIVATION_Q8_K },
    { "q6_k", FAL_TYPE_Q6_K, FAL_ACTIVATION_Q8_K }, { "q8_0", FAL_TYPE_Q8_0, FAL_ACTIVATION_Q8_0 },
};
enum { N_KINDS = 4 };

/* A file of exactly n bytes; the caller frees it. */
static void *vector(const char *stem, const char *suffix, size_t n)
{
    char path[96];
    snprintf(path, sizeof path, "falsifiers/vectors/mirror.%s.%s", stem, suffix);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    void *bytes = malloc(n + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_msg(fread(bytes, 1, n + 1, f) == n, "%s does not hold %zu bytes", path, n);
    fclose(f);
    return bytes;
}

START_TEST(codes_are_ggmls) /* rule: codes and scales of activations are ggml's, bit for bit, ties, zeros and tiny values too */
{
    const fal_activation act = _i ? FAL_ACTIVATION_Q8_K : FAL_ACTIVATION_Q8_0;
    const char *stem = fal_activation_name(act);
    const size_t n = X_ROWS * COLUMNS, n_scales = n / fal_mirror_block(act);
    float *x = vector("x", "f32", n * sizeof(float)), *d = vector(stem, "d", n_scales * sizeof(float));
    signed char *q = vector(stem, "codes", n), *got_q = malloc(n);
    float *got_d = malloc(n_scales * sizeof *got_d);
    ck_assert(got_q && got_d);
    fal_mirror_quantise(act, x, n, got_q, got_d);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(q[i] == got_q[i], "%s row %zu column %zu: x %.9g is %d, ggml has %d", stem, i / COLUMNS, i % COLUMNS, (double)x[i], got_q[i], q[i]);
    for (size_t i = 0; i < n_scales; i++) ck_assert_msg(memcmp(&d[i], &got_d[i], 4) == 0, "%s scale %zu: %a, ggml has %a", stem, i, (double)got_d[i], (double)d[i]);
    free(got_d);
    free(got_q);
    free(q);
    free(d);
    free(x);
}
END_TEST

/* The scales of a block of 256 become what the vectors were made with. */
static void set_scales(uint32_t type, unsigned char *b, float d, float dmin)
{
    const uint16_t h = fal_float_to_half(d), m = fal_float_to_half(dmin);
    memcpy(type == FAL_TYPE_Q6_K ? b + 208 : b, &h, 2);
    if (type != FAL_TYPE_Q6_K) memcpy(b + 2, &m, 2);
}

START_TEST(integer_sums_are_ggmls) /* rule: the int32 sums of a block are those that ggml's kernel makes */
{
    const uint32_t type = kinds[_i].type;
    const size_t bytes = fal_type_get(type)->block_bytes, n_blocks = COLUMNS / 256;
    float *x = vector("x", "f32", X_ROWS * COLUMNS * sizeof(float)), d[X_ROWS * COLUMNS / 256];
    unsigned char *w = vector(kinds[_i].stem, "blocks", W_ROWS * n_blocks * bytes), block[210];
    int32_t *sums = vector(kinds[_i].stem, "sums", X_ROWS * W_ROWS * n_blocks * 2 * sizeof(int32_t)), scratch[64];
    signed char *q = malloc(X_ROWS * COLUMNS);
    const float one = 1;
    fal_mirror_quantise(FAL_ACTIVATION_Q8_K, x, X_ROWS * COLUMNS, q, d);
    for (size_t i = 0; i < X_ROWS; i++)
        for (size_t j = 0; j < W_ROWS; j++)
            for (size_t b = 0; b < n_blocks; b++)
                for (int k = 0; k < (type == FAL_TYPE_Q6_K ? 1 : 2); k++) {
                    memcpy(block, w + (j * n_blocks + b) * bytes, bytes);
                    set_scales(type, block, k == 0, k == 1);
                    const double v = fal_mirror_dot(type, block, FAL_ACTIVATION_Q8_K, q + i * COLUMNS + 256 * b, &one, 256, scratch);
                    const int32_t want = sums[((i * W_ROWS + j) * n_blocks + b) * 2 + (size_t)k];
                    ck_assert_msg((k ? -v : v) == (double)want, "%s x %zu w %zu block %zu: %.0f, ggml has %d", kinds[_i].stem, i, j, b, v, want);
                }
    free(q);
    free(sums);
    free(w);
    free(x);
}
END_TEST

/* sum_c |w_c| |x_c| over a decoded row, and sum_c w_c x_c */
static double sizes(const float *w, const double *x, double *sum)
{
    double size = 0;
    *sum = 0;
    for (size_t c = 0; c < COLUMNS; c++) {
        size += fabs((double)w[c] * x[c]);
        *sum += (double)w[c] * x[c];
    }
    return size;
}

START_TEST(products_are_ggmls) /* rule: ggml's generic and vector kernels differ from the mirror by rounding alone, from the reference by more */
{
    const uint32_t type = kinds[_i].type;
    const fal_type_info *t = fal_type_get(type);
    const size_t row_bytes = COLUMNS / t->block_elems * t->block_bytes, per_row = COLUMNS / fal_mirror_block(kinds[_i].act);
    float *x = vector("x", "f32", X_ROWS * COLUMNS * sizeof(float)), *w = malloc(COLUMNS * sizeof *w), d[X_ROWS * 32];
    unsigned char *blocks = vector(kinds[_i].stem, "blocks", W_ROWS * row_bytes);
    float *y = vector(kinds[_i].stem, "y", X_ROWS * W_ROWS * sizeof(float)), *fast = vector(kinds[_i].stem, "fast", X_ROWS * W_ROWS * sizeof(float));
    signed char *q = malloc(X_ROWS * COLUMNS);
    int32_t scratch[2 * COLUMNS / 16];
    double coded[COLUMNS], plain[COLUMNS], exact, in_codes;
    int apart = 0;
    fal_mirror_quantise(kinds[_i].act, x, X_ROWS * COLUMNS, q, d);
    for (size_t i = 0; i < X_ROWS; i++)
        for (size_t j = 0; j < W_ROWS; j++) {
            const double v = fal_mirror_dot(type, blocks + j * row_bytes, kinds[_i].act, q + i * COLUMNS, d + i * per_row, COLUMNS, scratch);
            fal_dequant_find(type)(blocks + j * row_bytes, COLUMNS / t->block_elems, w);
            for (size_t c = 0; c < COLUMNS; c++) {
                coded[c] = (double)d[i * per_row + c / fal_mirror_block(kinds[_i].act)] * q[i * COLUMNS + c];
                plain[c] = (double)x[i * COLUMNS + c];
            }
            const double size = sizes(w, coded, &in_codes);
            sizes(w, plain, &exact);
            /* weights decoded to f32 have one rounding each, which the integer path does not have */
            ck_assert_msg(fabs(v - in_codes) <= 0x1p-24 * size, "%s x %zu w %zu: %.9g, the codes make %.9g", kinds[_i].stem, i, j, v, in_codes);
            const double limit = 8 * 0x1p-24 * size;
            ck_assert_msg(fabs(v - (double)y[i * W_ROWS + j]) <= limit, "%s x %zu w %zu: %.9g, ggml has %.9g", kinds[_i].stem, i, j, v, (double)y[i * W_ROWS + j]);
            ck_assert_msg(fabs(v - (double)fast[i * W_ROWS + j]) <= limit, "%s x %zu w %zu: %.9g, ggml's vector kernel %.9g", kinds[_i].stem, i, j, v, (double)fast[i * W_ROWS + j]);
            apart += fabs(exact - (double)y[i * W_ROWS + j]) > 30 * limit;
        }
    ck_assert_int_gt(apart, X_ROWS * W_ROWS / 2);
    free(q);
    free(fast);
    free(y);
    free(blocks);
    free(w);
    free(x);
}
END_TEST

/* ---- as a variant of the reference -------------------------------------------------------------------------------- */

static fal_context *open_variant(const char *variant)
{
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    const fal_backend_options options = { .variant = variant };
    ck_assert_msg(fal_reference_backend.open(&options, &ctx, &err) == FAL_OK, "%s", err.message);
    return ctx;
}

static float *run(const char *op, fal_params shape, const char *fill, const char *variant, size_t *n)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    fal_context *ctx = open_variant(variant);
    ck_assert_msg(fal_fixture_make(op, &shape, fill, 3, &(fal_params) { 0 }, NULL, &f, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_fixture_fill(f, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_fixture_run(f, &fal_reference_backend, ctx, &err) == FAL_OK, "%s", err.message);
    const fal_buffer *b = fal_fixture_buffer(f, "y");
    float *y = malloc(b->nbytes);
    ck_assert_ptr_nonnull(y);
    memcpy(y, b->data, b->nbytes);
    *n = b->n;
    fal_fixture_free(f);
    fal_reference_backend.close(ctx);
    return y;
}

START_TEST(exact_where_codes_are) /* rule: where codes are the activations themselves, mirror and reference have the same bits; on other data not */
{
    static const char *const types[] = { "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16", "BF16", "F32" };
    const char *variant = _i / 7 ? "q8_k" : "q8_0", *type = types[_i % 7];
    const fal_params dense = PARAMS(N("n_tokens", 5), N("n_in", 768), N("n_out", 33), T("type", type));
    const fal_params moe = PARAMS(N("n_tokens", 4), N("n_expert", 4), N("n_expert_used", 2), N("n_in", 512), N("n_out", 9), N("x_per_slot", _i % 2), T("type", type));
    for (int k = 0; k < 4; k++) {
        size_t n = 0;
        const char *fill = k < 2 ? "exact_q8" : "gauss", *op = k % 2 ? "moe_matmul" : "matmul";
        const fal_params shape = k % 2 ? moe : dense;
        float *gold = run(op, shape, fill, "", &n), *mirror = run(op, shape, fill, variant, &n);
        const bool same = memcmp(gold, mirror, n * sizeof *gold) == 0, has_mirror = _i % 7 < 4;
        ck_assert_msg(same == (k < 2 || !has_mirror), "%s %s %s %s: %s bits as the reference", op, type, fill, variant, same ? "the same" : "other");
        free(gold);
        free(mirror);
    }
}
END_TEST

START_TEST(odd_values) /* rule: what cannot be coded becomes NaN or 0, never an undefined conversion */
{
    float x[256], d[8];
    signed char q[256];
    for (int i = 0; i < 256; i++) x[i] = (float)(i - 128);
    x[40] = NAN;
    x[100] = INFINITY;
    fal_mirror_quantise(FAL_ACTIVATION_Q8_0, x, 256, q, d);
    ck_assert(isnan(d[1]) && isnan(d[3]) && isfinite(d[0]) && isfinite(d[2]) && q[40] == 0);
    fal_mirror_quantise(FAL_ACTIVATION_Q8_K, x, 256, q, d);
    ck_assert(isnan(d[0]) && q[0] == 0);
    for (int i = 0; i < 256; i++) x[i] = i % 2 ? 0x1p-149f : 0;
    fal_mirror_quantise(FAL_ACTIVATION_Q8_0, x, 256, q, d);
    fal_mirror_quantise(FAL_ACTIVATION_Q8_K, x, 256, q, d);
    ck_assert(d[0] == 0);
    for (int i = 0; i < 256; i++) x[i] = i % 2 ? 3e38f : -3e38f;
    fal_mirror_quantise(FAL_ACTIVATION_Q8_K, x, 256, q, d);
    ck_assert(q[0] == -q[1] && abs(q[0]) == 127 && isfinite(d[0]));
}
END_TEST

START_TEST(names) /* rule: declared arithmetic is read strictly, and says what it is */
{
    fal_arithmetic a = { 0 }, b = { 0 };
    fal_error err = { 0 };
    char text[96];
    ck_assert_int_eq(fal_arithmetic_parse("activation=q8_k,sum=i32,order=ascending", &a, &err), FAL_OK);
    ck_assert(a.activation == FAL_ACTIVATION_Q8_K && a.sum == FAL_SUM_I32 && a.kv == FAL_KV_F32 && a.in_order);
    ck_assert_int_eq(fal_arithmetic_parse("kv=f16", &a, &err), FAL_OK); /* over what is there */
    ck_assert(a.activation == FAL_ACTIVATION_Q8_K && a.kv == FAL_KV_F16);
    json_t *j = fal_arithmetic_to_json(&a);
    ck_assert(fal_arithmetic_from_json(j, &b) && memcmp(&a, &b, sizeof a) == 0);
    fal_arithmetic_text(&a, text, sizeof text);
    ck_assert_str_eq(text, "activations q8_k, sums i32, cache f16 in ascending order");
    json_object_set_new(j, "sum", json_string("f8"));
    ck_assert(!fal_arithmetic_from_json(j, &b));
    json_decref(j);
    static const char *const bad[] = { "activation", "activation=", "activation=q8", "sum=i32,,kv=f16", "actvation=f32", "order=some", "=f32" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (fal_error) { 0 };
        ck_assert_msg(fal_arithmetic_parse(bad[i], &a, &err) == FAL_ERR_USAGE, "%s", bad[i]);
        ck_assert(err.message[0] && a.activation == FAL_ACTIVATION_Q8_K);
    }
}
END_TEST

Suite *fal_suite_mirror(void)
{
    Suite *s = suite_create("mirror");
    TCase *t = tcase_create("mirror");
    tcase_add_loop_test(t, codes_are_ggmls, 0, 2);
    tcase_add_loop_test(t, integer_sums_are_ggmls, 0, 3);
    tcase_add_loop_test(t, products_are_ggmls, 0, N_KINDS);
    tcase_add_loop_test(t, exact_where_codes_are, 0, 14);
    tcase_add_test(t, odd_values);
    tcase_add_test(t, names);
    suite_add_tcase(s, t);
    return s;
}
