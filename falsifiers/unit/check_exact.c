/* Tests of exact fills: no order of summation rounds, every nibble matters, and what cannot be shown is refused. */
#include "harness/fixture_exact.h"
#include "harness/half.h"
#include "reference/reference.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_exact(void);

#define PARAMS(...) ((fal_params) { (const fal_param[]) { __VA_ARGS__ }, (int)(sizeof((const fal_param[]) { __VA_ARGS__ }) / sizeof(fal_param)) })
#define N(key, number) { key, number, NULL }
#define T(key, text) { key, 0, text }

static const char *const types[] = { "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16", "BF16", "F32" };
enum { N_TYPES = 7, N_QUANTISED = 4 };

static fal_fixture *make(const char *op, fal_params shape, const char *fill, uint64_t seed, const fal_params *then)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_fixture_make(op, &shape, fill, seed, &(fal_params) { 0 }, then, &f, &err) == FAL_OK, "%s: %s", op, err.message);
    ck_assert_msg(fal_fixture_fill(f, &err) == FAL_OK, "%s: %s", op, err.message);
    return f;
}

static void run(fal_fixture *f)
{
    fal_error err = { 0 };
    ck_assert_msg(fal_fixture_run(f, &fal_reference_backend, NULL, &err) == FAL_OK, "%s", err.message);
}

/* Sums terms in a shuffled order, in groups of a random size, in float32. */
static float sum_somehow(const float *w, const float *x, size_t n, size_t *order, const fal_rng *r, uint64_t at)
{
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        const size_t k = (size_t)fal_rng_below(r, at + i, i), v = order[i - 1];
        order[i - 1] = order[k];
        order[k] = v;
    }
    const size_t group = 1 + (size_t)fal_rng_below(r, at, 64);
    float total = 0, part = 0;
    for (size_t i = 0; i < n; i++) {
        const volatile float product = w[order[i]] * x[order[i]];
        part += product;
        if ((i + 1) % group && i + 1 < n) continue;
        total += part;
        part = 0;
    }
    return total;
}

START_TEST(order_does_not_matter) /* rule: in whatever order and grouping, float32 sums of an exact fill have the reference's bits */
{
    const char *fill = _i / N_TYPES ? "exact_q8" : "exact", *type = types[_i % N_TYPES];
    const size_t n = 2048, n_out = 9, n_tokens = 10;
    fal_fixture *f = make("matmul", PARAMS(N("n_tokens", 10), N("n_in", 2048), N("n_out", 9), T("type", type)), fill, 5, NULL);
    run(f);
    const fal_buffer *w = fal_fixture_buffer(f, "w");
    const float *x = fal_fixture_buffer(f, "x")->data, *y = fal_fixture_buffer(f, "y")->data;
    float *row = malloc(n * sizeof *row);
    size_t *order = malloc(n * sizeof *order);
    ck_assert(row && order);
    const fal_rng r = fal_rng_make(1, "order");
    const uint32_t id = (uint32_t)fal_type_by_name(type);
    for (size_t o = 0; o < n_out; o++) {
        fal_dequant_find(id)((const unsigned char *)w->data + o * fal_type_row_bytes(id, n), n / fal_type_get(id)->block_elems, row);
        for (size_t t = 0; t < n_tokens; t++)
            for (uint64_t k = 0; k < 3; k++) {
                const float sum = sum_somehow(row, x + t * n, n, order, &r, 4096 * (3 * (o * n_tokens + t) + k));
                ck_assert_msg(memcmp(&sum, y + t * n_out + o, sizeof sum) == 0, "%s row %zu token %zu: %a, reference %a", type, o, t,
                              (double)sum, (double)y[t * n_out + o]);
            }
    }
    free(order);
    free(row);
    fal_fixture_free(f);
}
END_TEST

/* Rule: the same bits on any machine need the same values, which a decoder other than the reference's agrees on. */
START_TEST(values_are_the_formats)
{
    const uint32_t id = (uint32_t)fal_type_by_name(types[_i]);
    fal_fixture *f = make("embed", PARAMS(N("n_tokens", 1), N("n_embd", 512), N("n_vocab", 4), T("type", types[_i])), "exact", 5, NULL);
    const fal_buffer *w = fal_fixture_buffer(f, "w");
    float want[512];
    double size[512], value[512];
    int unit = 0;
    fal_dequant_find(id)(w->data, 512 / fal_type_get(id)->block_elems, want);
    ck_assert(fal_fixture_row_sizes(id, w->data, 512, size, value, &unit));
    for (int c = 0; c < 512; c++) {
        ck_assert_msg((double)want[c] == value[c] && size[c] >= fabs(value[c]), "%s column %d", types[_i], c);
        ck_assert(fmod(size[c], ldexp(1, unit)) == 0);
    }
    fal_fixture_free(f);
}
END_TEST

START_TEST(every_nibble_matters) /* rule: each change of a single nibble of a block changes the result of its probe */
{
    const uint32_t id = (uint32_t)fal_type_by_name(types[_i]);
    fal_fixture *f = make("matmul", PARAMS(N("n_tokens", 2), N("n_in", 256), N("n_out", 1), T("type", types[_i])), "exact", 9, NULL);
    const fal_buffer *w = fal_fixture_buffer(f, "w");
    unsigned char *bytes = w->data;
    const float *x = fal_fixture_buffer(f, "x")->data;
    for (int c = 0; c < 512; c++) ck_assert(x[c] > 0 || x[c] < 0);
    float *y = fal_fixture_buffer(f, "y")->data, right[2];
    int n = 0, silent = 0;
    run(f);
    memcpy(right, y, sizeof right);
    for (size_t at = 0; at < w->nbytes; at++)
        for (int nibble = 0; nibble < 2; nibble++)
            for (int mask = 1; mask < 16; mask++) {
                bytes[at] ^= (unsigned char)(mask << 4 * nibble);
                run(f);
                bytes[at] ^= (unsigned char)(mask << 4 * nibble);
                /* a block scale of infinity may make NaN, which is seen as well */
                ck_assert_msg(memcmp(y, right, sizeof right) != 0, "%s: byte %zu nibble %d mask %d changes no result", types[_i], at, nibble, mask);
                const size_t in_block = at % fal_type_get(id)->block_bytes;
                const bool one = id == FAL_TYPE_Q6_K ? in_block < 128 : id == FAL_TYPE_Q8_0 ? in_block > 1 : in_block >= fal_type_get(id)->block_bytes - 128;
                ck_assert_msg(!one || (y[0] != right[0] && y[1] != right[1]), "%s: byte %zu is a code, and not both results change", types[_i], at);
                silent += !(y[0] != right[0] && y[1] != right[1]);
                n++;
            }
    /* a nibble with bits of two weights or scales can cancel in one of both */
    ck_assert_msg(silent * 500 < n, "%s: %d of %d changes are silent in one result", types[_i], silent, n);
    fal_fixture_free(f);
}
END_TEST

/* Rule: of gate and up in one op too, each change of a single nibble of a block changes a result: behind a gate that is not
   positive nothing shows, but in the round with the signs turned it does. */
START_TEST(every_nibble_of_gate_and_up_matters)
{
    fal_fixture *f = make("moe_swiglu", PARAMS(N("n_tokens", 4), N("n_expert", 1), N("n_expert_used", 1), N("n_embd", 256), N("n_ff", 1), T("type", types[_i % N_QUANTISED])), "exact", 9, NULL);
    const fal_buffer *w = fal_fixture_buffer(f, _i < N_QUANTISED ? "w_gate" : "w_up");
    float *y = fal_fixture_buffer(f, "y")->data, right[4];
    const float *x = fal_fixture_buffer(f, "x")->data;
    for (int c = 0; c < 512; c++) ck_assert(x[c] + x[512 + c] == 0 && (x[c] > 0 || x[c] < 0));
    run(f);
    memcpy(right, y, sizeof right);
    for (int t = 0; t < 2; t++) ck_assert_msg((fabsf(y[t]) > 0) != (fabsf(y[t + 2]) > 0), "token %d: %g and %g", t, (double)y[t], (double)y[t + 2]);
    for (size_t at = 0; at < 2 * w->nbytes; at++)
        for (int mask = 1; mask < 16; mask++) {
            ((unsigned char *)w->data)[at / 2] ^= (unsigned char)(mask << (at % 2 ? 4 : 0));
            run(f);
            ((unsigned char *)w->data)[at / 2] ^= (unsigned char)(mask << (at % 2 ? 4 : 0));
            ck_assert_msg(memcmp(y, right, sizeof right) != 0, "%s of %s: byte %zu nibble %zu mask %d changes no result", types[_i % N_QUANTISED], w->name, at / 2, at % 2, mask);
        }
    fal_fixture_free(f);
}
END_TEST

START_TEST(probes) /* rule: the first row of a round looks at all columns, each of the others at one block */
{
    fal_fixture *f = make("matmul", PARAMS(N("n_tokens", 9), N("n_in", 800), N("n_out", 2), T("type", "F16")), "exact", 2, NULL);
    const float *x = fal_fixture_buffer(f, "x")->data;
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < 800; c++) {
            const bool looks = t % 5 == 0 || c / 256 == t % 5 - 1;
            ck_assert_msg((x[t * 800 + c] > 0 || x[t * 800 + c] < 0) == looks, "row %d column %d", t, c);
        }
    fal_fixture_free(f);
    /* all experts meet all probes */
    f = make("moe_matmul", PARAMS(N("n_tokens", 12), N("n_expert", 8), N("n_expert_used", 2), N("n_in", 512), N("n_out", 2), T("type", "Q8_0")), "exact", 2, NULL);
    const int32_t *ids = fal_fixture_buffer(f, "ids")->data;
    int met[8][3] = { { 0 } };
    for (int t = 0; t < 12; t++)
        for (int s = 0; s < 2; s++) met[ids[2 * t + s]][t % 3]++;
    for (int e = 0; e < 8; e++)
        for (int k = 0; k < 3; k++) ck_assert_int_eq(met[e][k], 1);
    fal_fixture_free(f);
}
END_TEST

static void expect_refusal(fal_fixture *f, const char *says)
{
    fal_error err = { 0 };
    ck_assert_msg(fal_fixture_prove(f, &err) == FAL_ERR_INPUT, "expected a refusal that says '%s'", says);
    ck_assert_msg(strstr(err.message, says), "expected '%s' in: %s", says, err.message);
    fal_fixture_free(f);
}

static float *values(fal_fixture *f, const char *name)
{
    return fal_fixture_buffer(f, name)->data;
}

START_TEST(the_proof_refuses) /* rule: the proof looks at the bytes: whatever could round, or hide a nibble, is refused */
{
    const fal_params q4 = PARAMS(N("n_tokens", 2), N("n_in", 512), N("n_out", 3), T("type", "Q4_K"));
    fal_fixture *f = make("matmul", q4, "exact", 1, NULL);
    unsigned char *w = fal_fixture_buffer(f, "w")->data;
    w[2 * 288 + 144] ^= 1; /* d of the last row's second block: no power of two any more, so its unit is 2^-10 of it */
    values(f, "x")[0] = 1001;
    expect_refusal(f, "row 2");
    f = make("matmul", q4, "exact", 1, NULL);
    w = fal_fixture_buffer(f, "w")->data;
    w[4] &= 0xc0; /* scale 0 of the first block */
    expect_refusal(f, "scale, minimum or weight of row 0");
    f = make("matmul", q4, "exact", 1, NULL);
    values(f, "x")[17] = 0;
    expect_refusal(f, "x[0, 17] is 0");
    f = make("matmul", q4, "exact", 1, NULL);
    values(f, "x")[600] = 0.1f;
    expect_refusal(f, "more than 2^24");
    f = make("matmul", q4, "exact", 1, NULL);
    values(f, "x")[600] = NAN;
    expect_refusal(f, "not finite");
    f = make("rmsnorm", *fal_fixture_example("rmsnorm"), "exact", 1, NULL);
    values(f, "x")[3] *= 2;
    expect_refusal(f, "mean square");
    f = make("rmsnorm", *fal_fixture_example("rmsnorm"), "exact", 1, NULL);
    values(f, "x")[3] *= 1.5f;
    expect_refusal(f, "no power of two");
    f = make("rmsnorm", PARAMS(N("n_tokens", 1), N("n_embd", 16), N("eps", 0.01)), "exact", 1, NULL);
    f->value[KEY_eps] = 0.1;
    expect_refusal(f, "eps");
    f = make("attention", *fal_fixture_example("attention"), "exact", 1, NULL);
    for (int i = 0; i < 3 * 4 * 64; i++) values(f, "q")[i] /= 64;
    expect_refusal(f, "too close");
    f = make("attention", *fal_fixture_example("attention"), "exact", 1, NULL);
    for (int i = 0; i < 2 * 64 * 3; i++) values(f, "k_cache")[i] = 1; /* the first 3 positions are alike */
    for (int i = 0; i < 3 * 4 * 64; i++) values(f, "q")[i] = 1024;
    expect_refusal(f, "3 positions share");
    f = make("attention", *fal_fixture_example("attention"), "exact", 1, NULL);
    values(f, "v_cache")[5] = 0;
    expect_refusal(f, "value is 0");
    f = make("softmax", *fal_fixture_example("softmax"), "exact", 1, NULL);
    for (int i = 0; i < 3; i++) values(f, "x")[i] = 200;
    expect_refusal(f, "3 columns share");
    f = make("softmax", *fal_fixture_example("softmax"), "exact", 1, NULL);
    values(f, "x")[0] = 200;
    values(f, "x")[1] = 190;
    expect_refusal(f, "too close");
    f = make("router", *fal_fixture_example("router"), "exact", 1, NULL);
    values(f, "probs")[20] = 0.75f;
    expect_refusal(f, "no power of two");
    f = make("swiglu", *fal_fixture_example("swiglu"), "exact", 1, NULL);
    values(f, "gate")[11] = 100;
    expect_refusal(f, "gate[11]");
    f = make("moe_swiglu", *fal_fixture_example("moe_swiglu"), "exact", 1, NULL);
    for (int i = 0; i < 3 * 256; i++) values(f, "x")[i] /= 2;
    expect_refusal(f, "neither 0 nor large");
    f = make("moe_swiglu", *fal_fixture_example("moe_swiglu"), "exact", 1, NULL);
    values(f, "x")[3] *= 8192;
    expect_refusal(f, "more than 2^22");
    f = make("moe_sum", *fal_fixture_example("moe_sum"), "exact", 1, NULL);
    values(f, "weights")[1] = 0.1f;
    expect_refusal(f, "more than 2^24");
    f = make("add", *fal_fixture_example("add"), "exact", 1, NULL);
    values(f, "b")[1] = 0x1p-30f;
    expect_refusal(f, "more than 2^24");
    f = make("rope", *fal_fixture_example("rope"), "exact", 1, NULL);
    values(f, "sin")[1] = 0.8414709848f;
    expect_refusal(f, "more than 2^24");
    f = make("embed", *fal_fixture_example("embed"), "exact", 1, NULL);
    ((unsigned char *)fal_fixture_buffer(f, "w")->data)[1] = 0x7c; /* d of row 0: infinite */
    expect_refusal(f, "row 0");
}
END_TEST

START_TEST(too_long) /* rule: a row that no activation keeps within 2^24 units is refused when it is filled */
{
    const fal_params shape = PARAMS(N("n_tokens", 1), N("n_in", 65536), N("n_out", 1), T("type", "Q6_K"));
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_fixture_make("matmul", &shape, "exact", 1, &(fal_params) { 0 }, NULL, &f, &err), FAL_OK);
    ck_assert_int_eq(fal_fixture_fill(f, &err), FAL_ERR_INPUT);
    ck_assert_msg(strstr(err.message, "more than 2^24"), "%s", err.message);
    fal_fixture_free(f);
}
END_TEST

START_TEST(results) /* rule: exact results are the ones that the fill is made for, and not all alike */
{
    fal_fixture *f = make("attention", PARAMS(N("n_tokens", 9), N("n_head", 4), N("n_head_kv", 2), N("head_dim", 64), N("first_pos", 6), N("n_ctx", 20)), "exact", 3, NULL);
    run(f);
    const float *y = values(f, "y"), *v = values(f, "v_cache");
    int single = 0, mean = 0;
    for (int t = 0; t < 9; t++)
        for (int h = 0; h < 4; h++) {
            const float *y_r = y + (t * 4 + h) * 64;
            bool found = false;
            for (int p = 0; p <= 6 + t && !found; p++) {
                const float *a = v + (p * 2 + h / 2) * 64, *b = a + 128; /* the next position */
                int equal = 0, half = 0;
                for (int d = 0; d < 64; d++) {
                    equal += y_r[d] == a[d];
                    half += p < 6 + t && p % 2 == 0 && y_r[d] == (a[d] + b[d]) / 2;
                }
                single += equal == 64;
                mean += half == 64;
                found = equal == 64 || half == 64;
            }
            ck_assert_msg(found, "token %d head %d is neither a value nor the mean of a pair", t, h);
        }
    ck_assert_int_gt(single, 3);
    ck_assert_int_gt(mean, 3);
    fal_fixture_free(f);

    f = make("swiglu", PARAMS(N("n_rows", 4), N("n_ff", 64)), "exact", 3, NULL);
    run(f);
    int zero = 0, large = 0;
    for (int i = 0; i < 256; i++) {
        const float g = values(f, "gate")[i];
        ck_assert(values(f, "y")[i] == (g > 0 ? g * values(f, "up")[i] : 0));
        zero += g == 0;
        large += g > 0;
    }
    ck_assert(zero > 30 && large > 50 && zero + large < 200);
    fal_fixture_free(f);

    f = make("rmsnorm", PARAMS(N("n_tokens", 5), N("n_embd", 96)), "exact", 3, NULL);
    run(f);
    int other = 0;
    for (int i = 0; i < 480; i++) {
        const float ratio = fabsf(values(f, "y")[i] / values(f, "w")[i % 96]);
        ck_assert(ratio == 0.5f || ratio == 1 || ratio == 2);
        other += ratio != 1;
    }
    ck_assert_int_gt(other, 20);
    fal_fixture_free(f);
}
END_TEST

START_TEST(faults) /* rule: faults are single nibbles in rows of their own that the op reads; everything else keeps its bytes */
{
    static const struct {
        const char *op, *type;
    } ops[] = { { "matmul", "Q6_K" }, { "embed", "Q4_K" }, { "moe_matmul", "Q8_0" }, { "matmul", "F32" }, { "moe_matmul", "BF16" } };
    const fal_params then = PARAMS(N("faults", 6), T("type", ops[_i].type)), same = PARAMS(T("type", ops[_i].type));
    const fal_params embed = PARAMS(N("n_tokens", 9), N("n_embd", 512), N("n_vocab", 40), T("type", "Q4_K"));
    const fal_params shape = _i == 1 ? embed : *fal_fixture_example(ops[_i].op);
    fal_fixture *a = make(ops[_i].op, shape, "exact", 4, &same), *b = make(ops[_i].op, shape, "exact", 4, &then);
    size_t rows, n, n_rows = 0;
    int count;
    fal_fixture_weight_shape(a, &rows, &n);
    const fal_buffer *x = fal_fixture_buffers(a, &count), *w = fal_fixture_buffer(a, "w"), *spoilt = fal_fixture_buffer(b, "w");
    for (int i = 0; i < count; i++)
        if (x[i].is_input && strcmp(x[i].name, "w") != 0)
            ck_assert_mem_eq(x[i].data, fal_fixture_buffer(b, x[i].name)->data, x[i].nbytes);
    const fal_buffer *ids = fal_fixture_buffer(a, _i == 1 ? "tokens" : "ids");
    const size_t row_bytes = w->nbytes / rows, span = _i == 1 ? 1 : rows / (ids ? 8 : 1);
    for (size_t row = 0; row < rows; row++) {
        int here = 0;
        for (size_t k = 0; k < row_bytes; k++) {
            const int d = ((unsigned char *)w->data)[row * row_bytes + k] ^ ((unsigned char *)spoilt->data)[row * row_bytes + k];
            here += d != 0;
            ck_assert(d == 0 || (d & 0x0f) == 0 || (d & 0xf0) == 0);
            ck_assert(d == 0 || _i != 3 || k % 4 > 1);
        }
        ck_assert_int_le(here, 1);
        n_rows += here > 0;
        bool read = ids == NULL;
        for (size_t i = 0; ids && i < ids->n; i++) read = read || (size_t)((int32_t *)ids->data)[i] == row / span;
        ck_assert(here == 0 || read);
    }
    ck_assert_uint_eq(n_rows, 6);
    fal_fixture_free(a);
    fal_fixture_free(b);
}
END_TEST

START_TEST(refusals) /* rule: what would undo an exact fill, or plant faults where they are not seen, is refused by name */
{
    const fal_params add = PARAMS(N("n_tokens", 2), N("n_embd", 8));
    const fal_params q4 = PARAMS(N("n_tokens", 2), N("n_in", 256), N("n_out", 8), T("type", "Q4_K"));
    const struct {
        const char *op, *fill;
        fal_params shape, then;
        const char *must_say;
    } bad[] = {
        { "add", "exact", add, PARAMS(N("x_scale", 2)), "x_scale has no place in fill exact" },
        { "matmul", "exact_q8", q4, PARAMS(N("x_shift", 2)), "x_shift has no place in fill exact_q8" },
        { "matmul", "gauss", q4, PARAMS(N("faults", 2)), "fill gauss is not exact" },
        { "add", "exact", add, PARAMS(N("faults", 2)), "faults has no effect" },
        { "router", "exact", *fal_fixture_example("router"), PARAMS(N("pinned", 1)), "pinned has no place" },
        { "attention", "exact", PARAMS(N("n_tokens", 1), N("n_head", 1), N("n_head_kv", 1), N("head_dim", 4), N("n_ctx", 40)), { 0 }, "cannot tell 40 positions" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_fixture *f = NULL;
        fal_error err = { 0 };
        ck_assert_msg(fal_fixture_make(bad[i].op, &bad[i].shape, bad[i].fill, 1, &(fal_params) { 0 }, &bad[i].then, &f, &err) == FAL_ERR_INPUT, "%s", bad[i].must_say);
        ck_assert_msg(strstr(err.message, bad[i].must_say), "expected '%s' in: %s", bad[i].must_say, err.message);
    }
    const fal_params many = PARAMS(N("faults", 9));
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_fixture_make("matmul", &q4, "exact", 1, &(fal_params) { 0 }, &many, &f, &err), FAL_OK);
    ck_assert_int_eq(fal_fixture_fill(f, &err), FAL_ERR_INPUT);
    ck_assert_msg(strstr(err.message, "9 faults for the 8 rows"), "%s", err.message);
    fal_fixture_free(f);
}
END_TEST

START_TEST(every_op_is_listed) /* rule: exact.def speaks of every op, and of no other */
{
    const char *how, *leaves;
    for (int i = 0; i < fal_n_ops(); i++) {
        const bool exact = fal_fixture_exact(fal_op_name(i), &how, &leaves);
        ck_assert_msg(how && how[0], "%s", fal_op_name(i));
        fal_fixture *f = NULL;
        fal_error err = { 0 };
        fal_status st = fal_fixture_make(fal_op_name(i), fal_fixture_example(fal_op_name(i)), "exact", 1, &(fal_params) { 0 }, NULL, &f, &err);
        if (!st) st = fal_fixture_fill(f, &err);
        ck_assert_msg((st == FAL_OK) == exact, "%s is listed as %sexact: %s", fal_op_name(i), exact ? "" : "in", err.message);
        fal_fixture_free(f);
    }
    ck_assert(!fal_fixture_exact("rmsnrom", &how, &leaves));
}
END_TEST

Suite *fal_suite_exact(void)
{
    Suite *s = suite_create("exact");
    TCase *t = tcase_create("exact");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, order_does_not_matter, 0, 2 * N_TYPES);
    tcase_add_loop_test(t, values_are_the_formats, 0, N_TYPES);
    tcase_add_loop_test(t, every_nibble_matters, 0, N_QUANTISED);
    tcase_add_loop_test(t, every_nibble_of_gate_and_up_matters, 0, 2 * N_QUANTISED);
    tcase_add_test(t, probes);
    tcase_add_test(t, the_proof_refuses);
    tcase_add_test(t, too_long);
    tcase_add_test(t, results);
    tcase_add_loop_test(t, faults, 0, 5);
    tcase_add_test(t, refusals);
    tcase_add_test(t, every_op_is_listed);
    suite_add_tcase(s, t);
    return s;
}
