/* Tests of random numbers and fixtures: the same bytes on every machine, independent streams, changes that touch only
   what they should, and every op with every fill running on the reference. */
#include "harness/digest.h"
#include "harness/fixture.h"
#include "harness/rng.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_fixture(void);

#define PARAMS(...) ((fal_params) { (const fal_param[]) { __VA_ARGS__ }, (int)(sizeof((const fal_param[]) { __VA_ARGS__ }) / sizeof(fal_param)) })
#define N(key, number) { key, number, NULL }
#define T(key, text) { key, 0, text }

static const fal_params none = { NULL, 0 };

static fal_fixture *make(const char *op, const fal_params *shape, const char *fill, uint64_t seed, const fal_params *then)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_fixture_make(op, shape, fill, seed, &none, then, &f, &err) == FAL_OK, "%s: %s", op, err.message);
    ck_assert_msg(fal_fixture_fill(f, &err) == FAL_OK, "%s: %s", op, err.message);
    return f;
}

static const float *floats(fal_fixture *f, const char *name, size_t *n)
{
    const fal_buffer *b = fal_fixture_buffer(f, name);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(b->dtype, FAL_DTYPE_F32);
    *n = b->n;
    return b->data;
}

static void expect_same(fal_fixture *a, fal_fixture *b, const char *name, bool same)
{
    const fal_buffer *x = fal_fixture_buffer(a, name), *y = fal_fixture_buffer(b, name);
    ck_assert_uint_eq(x->nbytes, y->nbytes);
    ck_assert_msg((memcmp(x->data, y->data, x->nbytes) == 0) == same, "%s: expected %s bytes", name, same ? "the same" : "other");
}

START_TEST(numbers) /* rule: the generator is fixed: these draws were computed once, by another program */
{
    const fal_rng r = fal_rng_make(1, "x");
    double sum = 0, square = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        const float g = fal_rng_gauss(&r, i), u = fal_rng_unit(&r, i);
        ck_assert(u >= 0 && u < 1);
        ck_assert(g > -6 && g < 6);
        sum += (double)g;
        square += (double)g * (double)g;
    }
    /* standard errors: 0.0032 of the mean, 0.0045 of the variance */
    ck_assert(fabs(sum / 1e5) < 0.016);
    ck_assert(fabs(square / 1e5 - 1) < 0.023);
    int seen[7] = { 0 };
    for (uint64_t i = 0; i < 70000; i++) seen[fal_rng_below(&r, i, 7)]++;
    for (int k = 0; k < 7; k++) ck_assert(seen[k] > 9500 && seen[k] < 10500);
    ck_assert_uint_eq(fal_rng_below(&r, 3, 1), 0);
    const fal_rng other = fal_rng_make(1, "y"), later = fal_rng_make(2, "x");
    ck_assert(fal_rng_bits(&r, 0) != fal_rng_bits(&other, 0) && fal_rng_bits(&r, 0) != fal_rng_bits(&later, 0));
    /* a stream of a neighbouring seed is not this one shifted */
    for (uint64_t i = 0; i < 1000; i++) ck_assert(fal_rng_bits(&r, i) != fal_rng_bits(&later, 0));
    ck_assert_uint_eq(fal_rng_bits(&r, 0), UINT64_C(0x59a11d765241e6d1));
    ck_assert_uint_eq(fal_rng_bits(&r, 1), UINT64_C(0x00d8fce770dc79c5));
}
END_TEST

/* Digests over all input arrays of the op's example shape with seed 7. Those of matmul with K-quants and BF16, embed,
   router and moe_sum were computed by a separate program in another language, from the headers' description alone. */
static const struct {
    const char *op, *fill, *type, *sha256;
} fixed[] = {
    { "matmul", "gauss", "Q4_K", "3fa011a29cdf0214edea5950c8d6a402917bd7c10fe09193d25cd2d4200db5da" },
    { "matmul", "gauss", "Q6_K", "c0f31a37fd07ba2b3ded046ee261edc07d632f14727e07fe886dc9bd93520748" },
    { "matmul", "gauss", "Q5_K", "56885437d909deea555489264328b16719dd6b58fc869d56ddaf50eb9d2b5bbc" },
    { "matmul", "gauss", "BF16", "5e4f783ab31545d9a244ac0f16e5d611c4033435124c7d7be7486890d8e0b9a8" },
    { "moe_matmul", "outlier", "Q8_0", "4a973ba074929f1195e15648781d452fd3e0736d848b6519e67abf6afab3b57f" },
    { "embed", "gauss", "F16", "36bac6fcf8a723687947e4938be52c6f2693a9ad6cc631f23dd1948d37c936a7" },
    { "matmul", "uniform", "F32", "f66aa07adcd51d92dacc0bcdca5d5d47d4eac865e3dcd0b34cfe795734e21a61" },
    { "rmsnorm", "ramp", NULL, "b36857089bd3a57b1e100474f8830bda259e66a56a3d5f62326bf8fd8d1fe3c6" },
    { "router", "gauss", NULL, "55beb03ecbff55368888e032382992a2cbf142552e8f5f0c0ca44b58ad18e698" },
    { "router", "extreme", NULL, "4ad941a00fecffbdf3c8e479c2fee1fc5a21bd520ae6c94c284a2befca877cab" },
    { "attention", "large", NULL, "871e3d610b54ed61e4357eb11375f28a3be90d24fe4dd3ab98ead8448fb91016" },
    { "moe_sum", "ties", NULL, "86e8514dbda01110d57cf4349264750c0cc39109d20e51c93240fa8b36aa87f8" },
    { "softmax", "near_max", NULL, "9a694cf476daf60f8cde0cb79fabccd2380d7666d835049d72840652156a26b2" },
    { "matmul", "exact", "Q4_K", "b375ab56d81e809d44bcac0f9703b92743deac370616a55cd6664f65b9ec7cf9" },
    { "matmul", "exact", "Q5_K", "0a3dd6a8a08df49ec7b793867972a80549a7fcebc70e345f2e9959d916b182f9" },
    { "moe_matmul", "exact", "Q6_K", "482a1b49ab0b4532330dc2cb22d5ca0c1782e2454c9d256112eaa3d6872fcfd6" },
    { "matmul", "exact_q8", "Q8_0", "2b1f62f5a495ec4651d62fb521d18fe1ee98abff0dab58928720ee2229c2681f" },
    { "embed", "exact", "F16", "efd1c3cfe2c61f4e8fed2649778f1c388a33a261ccb9c18c2d87961c31a94571" },
    { "attention", "exact", NULL, "ff251959bbda7ee7accb613def0b7cc72f32bd452b09bf11fb647ed01829e483" },
    { "router", "exact", NULL, "8d649dff3ee71dad1640caedd0a9a30d21e235226ef9c3da3c5756b36a643a15" },
    { "swiglu", "exact", NULL, "e481d444e73e0450f4538d09bc7d35bf0a3282529a7998eb81ffbb566285a554" },
};

static void digest_inputs(fal_fixture *f, char hex[65])
{
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    char all[65 * 8] = "";
    for (int i = 0; i < n; i++) {
        char one[65];
        if (!b[i].is_input) continue;
        ck_assert_int_eq(fal_sha256(b[i].data, b[i].nbytes, one, NULL), FAL_OK);
        strcat(all, one);
    }
    ck_assert_int_eq(fal_sha256(all, strlen(all), hex, NULL), FAL_OK);
}

START_TEST(fixed_bytes) /* rule: evidence names a seed; the same seed must give the same bytes on every machine, for ever */
{
    const fal_params then = PARAMS(T("type", fixed[_i].type));
    fal_fixture *f = make(fixed[_i].op, fal_fixture_example(fixed[_i].op), fixed[_i].fill, 7, fixed[_i].type ? &then : NULL);
    char hex[65];
    digest_inputs(f, hex);
    ck_assert_str_eq(hex, fixed[_i].sha256);
    fal_fixture_free(f);
}
END_TEST

START_TEST(streams) /* rule: arrays of one fixture are independent, and so are seeds */
{
    const fal_params shape = PARAMS(N("n_tokens", 4), N("n_embd", 64));
    fal_fixture *f = make("add", &shape, "gauss", 1, NULL), *same = make("add", &shape, "gauss", 1, NULL), *other = make("add", &shape, "gauss", 2, NULL);
    expect_same(f, same, "a", true);
    expect_same(f, same, "b", true);
    expect_same(f, other, "a", false);
    size_t n;
    const float *a = floats(f, "a", &n), *b = floats(f, "b", &n);
    ck_assert(memcmp(a, b, n * sizeof *a) != 0);
    double dot = 0;
    for (size_t i = 0; i < n; i++) dot += (double)a[i] * (double)b[i];
    ck_assert(fabs(dot) < 5 * sqrt((double)n)); /* five standard deviations of a sum of products */
    fal_fixture_free(f);
    fal_fixture_free(same);
    fal_fixture_free(other);
}
END_TEST

START_TEST(fills) /* rule: each fill is what its name says */
{
    const fal_params shape = PARAMS(N("n_rows", 40), N("n_cols", 64));
    int n_fills;
    const char *const *names = fal_fixture_fills(&n_fills);
    ck_assert_int_eq(n_fills, 15);
    for (int k = 0; k < n_fills; k++) {
        fal_fixture *f = make("softmax", &shape, names[k], 3, NULL);
        size_t n;
        const float *x = floats(f, "x", &n);
        double max = 0, sum = 0;
        int hot = 0, three = 0;
        for (size_t i = 0; i < n; i++) {
            ck_assert(isfinite(x[i]));
            if (fabs((double)x[i]) > max) max = fabs((double)x[i]);
            sum += (double)x[i];
            hot += x[i] == 1 || x[i] == 1000;
            three |= x[i] == 0 ? 1 : x[i] == 1 ? 2 : x[i] == -1 ? 4 : 8;
        }
        const char *name = names[k];
        if (!strcmp(name, "zeros")) ck_assert(max == 0);
        else if (!strcmp(name, "ones")) ck_assert(sum == (double)n && max == 1);
        else if (!strcmp(name, "uniform")) ck_assert(max > 0.99 && max <= 1 && fabs(sum) < 200);
        else if (!strcmp(name, "ramp")) ck_assert(x[0] == -8 && x[63] == 8 && x[64] == -8 && x[1] > x[0]);
        else if (!strcmp(name, "large")) ck_assert(max > 2e4 && max < 6e4);
        else if (!strcmp(name, "tiny")) ck_assert(max > 2e-20 && max < 6e-20);
        else if (!strcmp(name, "extreme")) ck_assert(max == 1000 && fabs(sum) < 300000 && hot > 1000 && hot < 1600);
        else if (!strcmp(name, "ties")) ck_assert(three == 7);
        else if (!strcmp(name, "onehot")) ck_assert(hot == 40 && sum == 40);
        else if (!strcmp(name, "router_hot")) ck_assert(hot == 40 && sum == 40 + 999.0 * (double)n);
        else if (!strcmp(name, "near_max")) ck_assert(max > 2e30 && max < 6e30);
        else if (!strncmp(name, "exact", 5)) ck_assert(max > 131 && x[0] == floorf(x[0])); /* check_exact.c has the rest */
        else if (!strcmp(name, "gauss")) ck_assert(max > 2 && max < 6);
        else if (!strcmp(name, "outlier")) {
            fal_fixture *gauss = make("softmax", &shape, "gauss", 3, NULL);
            const float *g = floats(gauss, "x", &n);
            int differ = 0;
            for (size_t i = 0; i < n; i++) differ += x[i] != g[i];
            ck_assert_int_eq(differ, (int)n / 512);
            fal_fixture_free(gauss);
        } else ck_abort_msg("no test knows fill %s", name);
        fal_fixture_free(f);
    }
}
END_TEST

START_TEST(then_changes) /* rule: the second request differs where `then` says, and nowhere else */
{
    const fal_params *shape = fal_fixture_example("rmsnorm");
    const fal_params scale = PARAMS(N("x_scale", -4)), shift = PARAMS(N("x_shift", 2)), ones = PARAMS(N("w_ones", 1));
    fal_fixture *f = make("rmsnorm", shape, "gauss", 1, NULL), *s = make("rmsnorm", shape, "gauss", 1, &scale);
    fal_fixture *t = make("rmsnorm", shape, "gauss", 1, &shift), *o = make("rmsnorm", shape, "gauss", 1, &ones);
    size_t n;
    const float *x = floats(f, "x", &n), *scaled = floats(s, "x", &n), *shifted = floats(t, "x", &n);
    for (size_t i = 0; i < n; i++) ck_assert(scaled[i] == -4 * x[i] && shifted[i] == x[i] + 2);
    expect_same(f, s, "w", true);
    expect_same(f, o, "x", true);
    expect_same(f, o, "w", false);
    fal_fixture_free(f);
    fal_fixture_free(s);
    fal_fixture_free(t);
    fal_fixture_free(o);

    shape = fal_fixture_example("attention");
    const fal_params noise = PARAMS(N("future_noise", 1)), same_v = PARAMS(N("same_v", 1));
    f = make("attention", shape, "gauss", 1, NULL);
    s = make("attention", shape, "gauss", 1, &noise);
    o = make("attention", shape, "gauss", 1, &same_v);
    const size_t slot = 2 * 64, seen = 5; /* first_pos 2 + n_tokens 3, of n_ctx 9 */
    const float *k0 = floats(f, "k_cache", &n), *k1 = floats(s, "k_cache", &n), *v = floats(o, "v_cache", &n);
    ck_assert_mem_eq(k0, k1, seen * slot * sizeof *k0);
    for (size_t i = seen * slot; i < n; i++) ck_assert(k0[i] != k1[i]);
    for (size_t p = 1; p < 9; p++) ck_assert_mem_eq(v, v + p * slot, slot * sizeof *v);
    ck_assert(memcmp(v, v + 64, 64 * sizeof *v) != 0); /* kv heads differ */
    expect_same(f, s, "q", true);
    expect_same(f, o, "k_cache", true);
    fal_fixture_free(f);
    fal_fixture_free(s);
    fal_fixture_free(o);

    const fal_params one = PARAMS(N("n_tokens", 2), N("n_expert", 1), N("n_expert_used", 1), N("n_in", 256), N("n_out", 5), T("type", "Q6_K"));
    const fal_params dense = PARAMS(T("op", "matmul"));
    f = make("moe_matmul", &one, "gauss", 9, NULL);
    s = make("moe_matmul", &one, "gauss", 9, &dense);
    ck_assert_str_eq(fal_fixture_op(s), "matmul");
    expect_same(f, s, "w", true);
    expect_same(f, s, "x", true);
    ck_assert_ptr_null(fal_fixture_buffer(s, "ids"));
    fal_fixture_free(f);
    fal_fixture_free(s);
}
END_TEST

START_TEST(special_inputs) /* rule: ids, probabilities, slot weights and constants are what the op demands */
{
    size_t n;
    fal_fixture *f = make("router", fal_fixture_example("router"), "gauss", 1, NULL);
    const float *p = floats(f, "probs", &n);
    for (size_t t = 0; t < 3; t++) {
        double sum = 0;
        for (size_t e = 0; e < 16; e++) sum += (double)p[t * 16 + e];
        ck_assert(fabs(sum - 1) < 1e-6);
    }
    fal_fixture_free(f);
    f = make("router", fal_fixture_example("router"), "ties", 1, NULL);
    p = floats(f, "probs", &n);
    int equal = 0;
    for (size_t e = 1; e < 16; e++) equal += p[e] == p[0];
    ck_assert_int_gt(equal, 0); /* equal logits stay equal to the bit */
    fal_fixture_free(f);

    const fal_params pinned = PARAMS(N("pinned", 1));
    f = make("router", fal_fixture_example("router"), "gauss", 1, &pinned);
    const int32_t *ids = fal_fixture_buffer(f, "pinned_ids")->data;
    for (int t = 0; t < 3; t++)
        for (int s = 0; s < 4; s++) {
            ck_assert(ids[4 * t + s] >= 0 && ids[4 * t + s] < 16);
            for (int r = 0; r < s; r++) ck_assert_int_ne(ids[4 * t + s], ids[4 * t + r]);
        }
    fal_fixture_free(f);

    const fal_params uniform = PARAMS(N("weights_uniform", 1)), first = PARAMS(N("tokens_first", 20)), up = PARAMS(N("up_value", 3), N("gate_value", -2));
    f = make("moe_sum", fal_fixture_example("moe_sum"), "gauss", 1, NULL);
    const float *w = floats(f, "weights", &n);
    for (size_t t = 0; t < 3; t++) {
        double sum = 0;
        for (size_t s = 0; s < 4; s++) {
            ck_assert(w[4 * t + s] > 0);
            sum += (double)w[4 * t + s];
        }
        ck_assert(fabs(sum - 1) < 1e-6);
    }
    fal_fixture_free(f);
    f = make("moe_sum", fal_fixture_example("moe_sum"), "gauss", 1, &uniform);
    w = floats(f, "weights", &n);
    for (size_t i = 0; i < n; i++) ck_assert(w[i] == 0.25f);
    fal_fixture_free(f);
    f = make("embed", fal_fixture_example("embed"), "gauss", 1, &first);
    for (int t = 0; t < 3; t++) ck_assert_int_eq(((int32_t *)fal_fixture_buffer(f, "tokens")->data)[t], 20 + t);
    fal_fixture_free(f);
    f = make("swiglu", fal_fixture_example("swiglu"), "ramp", 1, &up);
    const float *g = floats(f, "gate", &n), *u = floats(f, "up", &n);
    for (size_t i = 0; i < n; i++) ck_assert(g[i] == -2 && u[i] == 3);
    fal_fixture_free(f);
}
END_TEST

START_TEST(weights) /* rule: quantised blocks are valid, use all codes and scales, and give sums of about 1 */
{
    static const char *const types[] = { "F32", "F16", "Q8_0", "Q4_K", "Q6_K", "Q5_K", "BF16" };
    const fal_params shape = PARAMS(N("n_tokens", 4), N("n_in", 512), N("n_out", 64), T("type", types[_i]));
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    fal_fixture *f = make("matmul", &shape, "gauss", 11, NULL);
    const fal_buffer *w = fal_fixture_buffer(f, "w");
    ck_assert_int_eq(w->dtype, _i == 0 ? FAL_DTYPE_F32 : FAL_DTYPE_U8);
    ck_assert_uint_eq(w->nbytes, 64 * fal_type_row_bytes((uint32_t)fal_type_by_name(types[_i]), 512));
    int seen[64] = { 0 };
    const unsigned char *bytes = w->data;
    const bool has_minima = _i == 3 || _i == 5; /* and scales of 6 bits */
    for (size_t b = 0; has_minima && b < w->nbytes; b += _i == 3 ? 144 : 176)
        for (int k = 4; k < 12; k++) seen[bytes[b + (size_t)k] & 63]++; /* 6-bit scales and minima of the first four groups */
    for (int k = 0; has_minima && k < 64; k++) ck_assert_int_gt(seen[k], 0);
    ck_assert_int_eq(fal_reference_backend.open(&(const fal_backend_options) { 0 }, &ctx, &err), FAL_OK);
    ck_assert_msg(fal_fixture_run(f, &fal_reference_backend, ctx, &err) == FAL_OK, "%s", err.message);
    size_t n;
    const float *y = floats(f, "y", &n);
    double square = 0;
    for (size_t i = 0; i < n; i++) square += (double)y[i] * (double)y[i];
    ck_assert_msg(square / (double)n > 0.5 && square / (double)n < 2, "%s: variance %g", types[_i], square / (double)n);
    fal_fixture_free(f);
    fal_reference_backend.close(ctx);
}
END_TEST

START_TEST(all_ops_all_fills) /* rule: every op of ops.def can be tried with every fill, and writes all of its outputs */
{
    const char *op = fal_op_name(_i);
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    int n_fills;
    const char *const *names = fal_fixture_fills(&n_fills);
    ck_assert_int_eq(fal_reference_backend.open(&(const fal_backend_options) { 0 }, &ctx, &err), FAL_OK);
    for (int k = 0; k < n_fills; k++) {
        fal_fixture *f = make(op, fal_fixture_example(op), names[k], 1, NULL);
        ck_assert_msg(fal_fixture_run(f, &fal_reference_backend, ctx, &err) == FAL_OK, "%s %s: %s", op, names[k], err.message);
        int n;
        const fal_buffer *b = fal_fixture_buffers(f, &n);
        int n_out = 0;
        for (int i = 0; i < n; i++) {
            if (!b[i].is_output) continue;
            n_out++;
            for (size_t e = 0; e < b[i].nbytes / 4; e++) {
                uint32_t bits;
                memcpy(&bits, (const char *)b[i].data + 4 * e, 4);
                ck_assert_msg(bits != 0xffffffffu, "%s %s: %s[%zu] was not written", op, names[k], b[i].name, e);
            }
        }
        ck_assert_int_gt(n_out, 0);
        fal_fixture_free(f);
    }
    ck_assert_ptr_nonnull(fal_fixture_dim(op, 0));
    fal_reference_backend.close(ctx);
}
END_TEST

/* An op that writes one element too many. */
static fal_status overrun(fal_context *ctx, const fal_add_args *a, fal_error *err)
{
    (void)ctx;
    (void)err;
    for (int i = 0; i <= a->n_tokens * a->n_embd; i++) a->y[i] = 0;
    return FAL_OK;
}

START_TEST(overrun_is_seen) /* rule: an op that writes beside its output is caught, whatever the output holds */
{
    const fal_backend bad = { .name = "bad", .add = overrun };
    fal_error err = { 0 };
    fal_fixture *f = make("add", fal_fixture_example("add"), "gauss", 1, NULL);
    ck_assert_int_eq(fal_fixture_run(f, &bad, NULL, &err), FAL_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.message, "behind array y"));
    fal_fixture_free(f);
}
END_TEST

START_TEST(refusals) /* rule: a name or number that would do nothing, or make no sense, is refused by name */
{
    const fal_params good = PARAMS(N("n_tokens", 2), N("n_embd", 8));
    const struct {
        const char *op, *fill;
        fal_params shape, then;
        const char *must_say;
    } bad[] = {
        { "rmsnrom", "gauss", good, none, "no op is named 'rmsnrom'" },
        { "rmsnorm", "gaus", good, none, "no fill is named 'gaus'" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2)), none, "n_embd is missing" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2), N("n_emdb", 8)), none, "'n_emdb'" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2), N("n_embd", 8), N("n_ff", 8)), none, "n_ff has no effect" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2), N("n_embd", 8.5)), none, "n_embd is 8.5" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 0), N("n_embd", 8)), none, "n_tokens is 0" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", -2), N("n_embd", 8)), none, "n_tokens is -2" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 1e300), N("n_embd", 8)), none, "n_tokens" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", (double)NAN), N("n_embd", 8)), none, "n_tokens" },
        { "rmsnorm", "gauss", PARAMS(T("n_tokens", "two"), N("n_embd", 8)), none, "text 'two'" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2e9), N("n_embd", 2e9)), none, "16 GiB" },
        { "rmsnorm", "gauss", PARAMS(N("n_tokens", 2), N("n_embd", 8), T("type", "Q4_K")), none, "no weights" },
        { "rmsnorm", "gauss", good, PARAMS(N("up_value", 8)), "up_value has no effect" },
        { "rmsnorm", "gauss", good, PARAMS(N("x_scael", 8)), "'x_scael'" },
        { "rmsnorm", "gauss", good, PARAMS(N("x_scale", (double)INFINITY)), "x_scale" },
        { "matmul", "gauss", PARAMS(N("n_tokens", 2), N("n_in", 256), N("n_out", 8)), none, "type is missing" },
        { "matmul", "gauss", PARAMS(N("n_tokens", 2), N("n_in", 256), N("n_out", 8), T("type", "Q2_K")), none, "nothing computes 'Q2_K'" },
        { "matmul", "gauss", PARAMS(N("n_tokens", 2), N("n_in", 100), N("n_out", 8), T("type", "Q4_K")), none, "blocks" },
        { "rope", "gauss", PARAMS(N("n_tokens", 2), N("n_head", 1), N("head_dim", 7)), none, "odd" },
        { "rope", "gauss", PARAMS(N("n_tokens", 2), N("n_head", 1), N("head_dim", 8), N("first_pos", 4), N("n_ctx", 5)), none, "n_ctx" },
        { "attention", "gauss", PARAMS(N("n_tokens", 2), N("n_head", 3), N("n_head_kv", 2), N("head_dim", 8)), none, "multiple" },
        { "attention", "gauss", PARAMS(N("n_tokens", 2), N("n_head", 2), N("n_head_kv", 2), N("head_dim", 8)), PARAMS(N("future_noise", 1)), "future_noise" },
        { "router", "gauss", PARAMS(N("n_tokens", 2), N("n_expert", 2), N("n_expert_used", 3)), none, "n_expert_used" },
        { "embed", "gauss", PARAMS(N("n_tokens", 2), N("n_embd", 256), N("n_vocab", 8), T("type", "Q8_0")), PARAMS(N("tokens_first", 7)), "tokens_first" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_fixture *f = NULL;
        fal_error err = { 0 };
        ck_assert_msg(fal_fixture_make(bad[i].op, &bad[i].shape, bad[i].fill, 1, &none, &bad[i].then, &f, &err) == FAL_ERR_INPUT, "case %zu: %s", i, bad[i].must_say);
        ck_assert_ptr_null(f);
        ck_assert_msg(strstr(err.message, bad[i].must_say), "expected '%s' in: %s", bad[i].must_say, err.message);
    }
    fal_fixture *f = NULL;
    const fal_params with = PARAMS(N("expect", 0.125), N("x_scale", 2)); /* the first belongs to the judgement */
    ck_assert_int_eq(fal_fixture_make("rmsnorm", &good, NULL, 1, &with, NULL, &f, NULL), FAL_OK);
    fal_fixture_free(f);
    ck_assert(fal_fixture_knows("x_scale") && fal_fixture_knows("type") && !fal_fixture_knows("expect"));
}
END_TEST

Suite *fal_suite_fixture(void)
{
    Suite *s = suite_create("fixture");
    TCase *t = tcase_create("fixture");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, numbers);
    tcase_add_loop_test(t, fixed_bytes, 0, (int)(sizeof fixed / sizeof fixed[0]));
    tcase_add_test(t, streams);
    tcase_add_test(t, fills);
    tcase_add_test(t, then_changes);
    tcase_add_test(t, special_inputs);
    tcase_add_loop_test(t, weights, 0, 7);
    tcase_add_loop_test(t, all_ops_all_fills, 0, fal_n_ops());
    tcase_add_test(t, overrun_is_seen);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return s;
}
