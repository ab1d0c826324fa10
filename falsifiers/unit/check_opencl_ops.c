/* Tests of every OpenCL op, in both variants and all weight types, against the reference on shapes that fit no tile. */
#include "falsifiers/unit/op_numbers.h"
#include "harness/half.h"
#include "opencl/device.h"
#include "opencl/ops.h"
#include "reference/reference.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_opencl_ops(void);

static const char *const variants[] = { "", "cpu" };
static const uint32_t types[] = { FAL_TYPE_F32,  FAL_TYPE_F16,  FAL_TYPE_BF16, FAL_TYPE_Q8_0,
                                  FAL_TYPE_Q4_K, FAL_TYPE_Q5_K, FAL_TYPE_Q6_K };
enum { N_TYPES = sizeof types / sizeof types[0], GUARD = 16 };

/* ---- inputs and comparison -------------------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) ^ (uint32_t)(*state >> 20);
}

static float draw_float(uint64_t *state)
{
    return (float)(draw(state) & 0xFFFFFF) * 0x1p-23f - 1.0f;
}

static float *filled(size_t n, float scale, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++) x[i] = draw_float(&seed) * scale;
    return x;
}

static void put_half(unsigned char *p, float v)
{
    const uint16_t h = fal_float_to_half(v);
    memcpy(p, &h, 2);
}

/* Random rows of a type: all codes and scales occur, block scales are finite. */
static unsigned char *weights(uint32_t type, size_t n_rows, size_t n, uint64_t seed)
{
    const size_t row = fal_type_row_bytes(type, n), total = row * n_rows;
    const size_t block = fal_type_get(type)->block_bytes;
    unsigned char *w = malloc(total);
    ck_assert_ptr_nonnull(w);
    for (size_t i = 0; i < total; i++) w[i] = (unsigned char)draw(&seed);
    for (size_t at = 0; at < total; at += block) {
        const float d = (0.5f + 0.25f * draw_float(&seed)) * 0.01f;
        float v = draw_float(&seed);
        switch (type) {
        case FAL_TYPE_F32: memcpy(w + at, &v, sizeof v); break;
        case FAL_TYPE_F16: put_half(w + at, v); break;
        case FAL_TYPE_Q8_0: put_half(w + at, d); break;
        case FAL_TYPE_BF16: memcpy(w + at, (unsigned char *)&v + 2, 2); break; /* the upper half of v */
        case FAL_TYPE_Q4_K: put_half(w + at, d); put_half(w + at + 2, d * 7.0f); break;
        case FAL_TYPE_Q5_K: put_half(w + at, d); put_half(w + at + 2, d * 15.0f); break;
        default: put_half(w + at + 208, d); break;
        }
    }
    return w;
}

/* n floats or ints, all 0xFF, with GUARD more behind them that nobody may touch. */
static void *poisoned(size_t n)
{
    unsigned char *p = malloc((n + GUARD) * 4);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xFF, (n + GUARD) * 4);
    return p;
}

static void check_guard(const void *p, size_t n)
{
    const unsigned char *g = (const unsigned char *)p + n * 4;
    for (size_t i = 0; i < GUARD * 4; i++) ck_assert_msg(g[i] == 0xFF, "byte %zu after the output was written", i);
}

/* ||got - want|| <= limit ||want||; a NaN or a value never written fails. Frees nothing. */
static void near_enough(const char *what, const float *got, const float *want, size_t n, double limit)
{
    double d = 0.0, w = 0.0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        w += (double)want[i] * (double)want[i];
    }
    ck_assert_msg(n > 0 && w > 0.0, "%s: nothing to compare", what);
    ck_assert_msg(sqrt(d) <= limit * sqrt(w), "%s: relative L2 %.3e, limit %.1e", what, sqrt(d / w), limit);
    check_guard(got, n);
}

static void same_ints(const char *what, const int32_t *got, const int32_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i] == want[i], "%s[%zu]: %d, expected %d", what, i, got[i], want[i]);
    check_guard(got, n);
}

static fal_context *open_variant(int i)
{
    fal_context *ctx = NULL;
    fal_error e = { 0 };
    const fal_status st = fal_cl_open(&(fal_backend_options) { .variant = variants[i] }, &ctx, &e);
    ck_assert_msg(st == FAL_OK, "%s", e.message);
    return ctx;
}

static void close_clean(fal_context *ctx)
{
    fal_memory m;
    fal_cl_memory(ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 0); /* every op gives back what it took */
    ck_assert_uint_gt(m.peak_bytes, 0);
    fal_cl_close(ctx);
}

/* Runs the same arguments on the device and on the reference; `out` is the field that differs. */
#define BOTH(op, out, got, want, ...)                                                                                  \
    do {                                                                                                               \
        fal_error e_ = { 0 };                                                                                          \
        fal_##op##_args a_ = { __VA_ARGS__ };                                                                          \
        a_.out = want;                                                                                                 \
        ck_assert_msg(fal_reference_##op(NULL, &a_, &e_) == FAL_OK, "%s", e_.message);                                 \
        a_.out = got;                                                                                                  \
        ck_assert_msg(fal_cl_##op(ctx, &a_, &e_) == FAL_OK, "%s", e_.message);                                         \
    } while (0)

/* ---- weights: every type ---------------------------------------------------------------------------------------- */

/* Rule: dequantisation is that of the format, bit for bit (with sub-blocks 4..7 of Q4_K and Q5_K, quarters of Q6_K). */
START_TEST(embed_is_exact)
{
    static const int dims[] = { 256, 512, 768 };
    fal_context *ctx = open_variant(_i);
    for (int k = 0; k < N_TYPES; k++)
        for (size_t s = 0; s < sizeof dims / sizeof dims[0]; s++) {
            const uint32_t type = types[k];
            const uint32_t unit = fal_type_get(type)->block_elems;
            const int n_embd = dims[s] + (unit == 1 ? 7 : unit == 32 ? 32 : 0) * (int)s;
            const int32_t tokens[] = { 36, 0, 5, 5, 17 };
            const size_t n = 5 * (size_t)n_embd;
            unsigned char *w = weights(type, 37, (size_t)n_embd, 11 + s);
            float *got = poisoned(n), *want = poisoned(n);
            BOTH(embed, y, got, want, .n_tokens = 5, .n_embd = n_embd, .n_vocab = 37, .type = type, .w = w,
                 .tokens = tokens);
            for (size_t i = 0; i < n; i++)
                ck_assert_msg(memcmp(&got[i], &want[i], 4) == 0, "type %u, element %zu: %a, expected %a", type, i,
                              (double)got[i], (double)want[i]);
            check_guard(got, n);
            free(want);
            free(got);
            free(w);
        }
    close_clean(ctx);
}
END_TEST

/* Rule: every type is decoded to the bits that the gguf package gives; scales of either sign, zero and subnormal. */
START_TEST(embed_matches_the_format)
{
    static const char *const stems[] = { "f16", "bf16", "q8_0", "q4_k", "q5_k", "q6_k" };
    fal_context *ctx = open_variant(_i);
    fal_error e = { 0 };
    int32_t tokens[64];
    for (int t = 0; t < 64; t++) tokens[t] = t;
    for (size_t k = 0; k < sizeof stems / sizeof stems[0]; k++) {
        const uint32_t type = types[k + 1];
        fal_test_weights w = fal_test_weights_load(stems[k]);
        float *got = poisoned(w.n);
        ck_assert_int_eq(fal_type_by_name(stems[k]), (int)type);
        const fal_embed_args a = { .n_tokens = 64, .n_embd = (int)(w.n / 64), .n_vocab = 64, .type = type,
                                   .w = w.blocks, .tokens = tokens, .y = got };
        ck_assert_msg(fal_cl_embed(ctx, &a, &e) == FAL_OK, "%s", e.message);
        for (size_t i = 0; i < w.n; i++)
            ck_assert_msg(memcmp(&got[i], &w.values[i], 4) == 0, "%s, element %zu: %a, expected %a", stems[k], i,
                          (double)got[i], (double)w.values[i]);
        check_guard(got, w.n);
        free(got);
        fal_test_weights_free(&w);
    }
    close_clean(ctx);
}
END_TEST

static const struct {
    int n_tokens, n_in, n_out;
} mats[] = { { 1, 256, 1 },   { 1, 768, 37 },  { 2, 256, 5 },  { 8, 512, 9 },
             { 13, 256, 17 }, { 1, 4096, 66 }, { 17, 4096, 3 }, { 32, 768, 64 }, { 67, 512, 70 } };

/* Columns for a type: whole blocks, and for types without blocks a count that fits nothing. */
static int columns(uint32_t type, int n_in)
{
    const uint32_t unit = fal_type_get(type)->block_elems;
    return unit == 1 ? n_in - 3 : unit == 32 ? n_in - 32 : n_in;
}

/* Rule: matmul is within 1e-6 (relative L2) of float64 sums for any number of tokens, rows and blocks. */
START_TEST(matmul_is_near)
{
    fal_context *ctx = open_variant(_i);
    for (int k = 0; k < N_TYPES; k++)
        for (size_t s = 0; s < sizeof mats / sizeof mats[0]; s++) {
            const int n_in = columns(types[k], mats[s].n_in);
            const size_t n = (size_t)mats[s].n_tokens * (size_t)mats[s].n_out;
            unsigned char *w = weights(types[k], (size_t)mats[s].n_out, (size_t)n_in, 3 + s);
            float *x = filled((size_t)mats[s].n_tokens * (size_t)n_in, 2.0f, 5 + s);
            float *got = poisoned(n), *want = poisoned(n);
            BOTH(matmul, y, got, want, .n_tokens = mats[s].n_tokens, .n_in = n_in, .n_out = mats[s].n_out,
                 .type = types[k], .w = w, .x = x);
            near_enough(fal_type_get(types[k])->name, got, want, n, 1e-6);
            free(want);
            free(got);
            free(x);
            free(w);
        }
    close_clean(ctx);
}
END_TEST

/* Rule: a token's row does not depend on how many came with it, and two runs give the same bits. */
START_TEST(matmul_rows_are_independent)
{
    enum { T = 11, IN = 512, OUT = 19 };
    fal_context *ctx = open_variant(_i);
    for (int k = 0; k < N_TYPES; k++) {
        unsigned char *w = weights(types[k], OUT, IN, 77);
        float *x = filled((size_t)T * IN, 1.0f, 78), *all = poisoned((size_t)T * OUT),
              *again = poisoned((size_t)T * OUT);
        float one[OUT];
        fal_error e = { 0 };
        fal_matmul_args a = { .n_tokens = T, .n_in = IN, .n_out = OUT, .type = types[k], .w = w, .x = x, .y = all };
        ck_assert_int_eq(fal_cl_matmul(ctx, &a, &e), FAL_OK);
        a.y = again;
        ck_assert_int_eq(fal_cl_matmul(ctx, &a, &e), FAL_OK);
        ck_assert_int_eq(memcmp(all, again, (size_t)T * OUT * sizeof(float)), 0);
        for (int t = 0; t < T; t++) {
            a.n_tokens = 1;
            a.x = x + (size_t)t * IN;
            a.y = one;
            ck_assert_int_eq(fal_cl_matmul(ctx, &a, &e), FAL_OK);
            ck_assert_msg(memcmp(one, all + (size_t)t * OUT, sizeof one) == 0, "token %d, type %u", t, types[k]);
        }
        free(again);
        free(all);
        free(x);
        free(w);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: moe_matmul takes each slot's own expert, shared or own input, in the plain and in the grouped kernel; the plain
   one, and the grouped one of the CPU variant, give the bits of a token alone, and experts that nobody chose are not needed (here they are NaN). */
START_TEST(moe_matmul_is_near)
{
    enum { E = 7, USED = 3, OUT = 21 };
    fal_context *ctx = open_variant(_i);
    for (int k = 0; k < N_TYPES; k++)
        for (int per_slot = 0; per_slot < 2; per_slot++)
            for (int big = 0; big < 3; big++) {
                const int n_tokens = big == 2 ? 70 : big == 1 ? 19 : 1, in = columns(types[k], 512);
                const size_t n_slots = (size_t)n_tokens * USED, row = fal_type_row_bytes(types[k], (size_t)in);
                const size_t n_x = (per_slot ? n_slots : (size_t)n_tokens) * (size_t)in;
                unsigned char *w = weights(types[k], (size_t)E * OUT, (size_t)in, 31);
                memset(w + 4 * OUT * row, 0xFF, OUT * row); /* expert 4 */
                int32_t ids[70 * USED];
                uint64_t seed = 5;
                for (int t = 0; t < n_tokens; t++) { /* expert 6 gets more than a tile, and is never absent */
                    ids[t * USED] = 6;
                    ids[t * USED + 1] = (int32_t)(draw(&seed) % 2);
                    ids[t * USED + 2] = 2 + (int32_t)(draw(&seed) % 2);
                }
                float *x = filled(n_x, 1.0f, 32);
                float *got = poisoned(n_slots * OUT), *want = poisoned(n_slots * OUT);
                BOTH(moe_matmul, y, got, want, .n_tokens = n_tokens, .n_expert = E, .n_expert_used = USED, .n_in = in,
                     .n_out = OUT, .x_per_slot = per_slot != 0, .type = types[k], .w = w, .x = x, .ids = ids);
                near_enough(fal_type_get(types[k])->name, got, want, n_slots * OUT, 1e-6);
                for (int t = 0; (big < 2 || _i == 1) && t < n_tokens; t++) { /* token by token: the plain kernel */
                    float one[USED * OUT];
                    fal_error e = { 0 };
                    const fal_moe_matmul_args a = { .n_tokens = 1, .n_expert = E, .n_expert_used = USED, .n_in = in,
                        .n_out = OUT, .x_per_slot = per_slot != 0, .type = types[k], .w = w,
                        .x = x + (size_t)t * (per_slot ? USED : 1) * (size_t)in, .ids = ids + t * USED, .y = one };
                    ck_assert_int_eq(fal_cl_moe_matmul(ctx, &a, &e), FAL_OK);
                    ck_assert_int_eq(memcmp(one, got + (size_t)t * USED * OUT, sizeof one), 0);
                }
                free(want);
                free(got);
                free(x);
                free(w);
            }
    close_clean(ctx);
}
END_TEST

/* ---- the rest of a layer ---------------------------------------------------------------------------------------- */

static const struct {
    int rows, n;
} planes[] = { { 1, 1 }, { 1, 256 }, { 3, 127 }, { 5, 129 }, { 9, 16 }, { 2, 2048 }, { 33, 67 } };
#define N_PLANES ((int)(sizeof planes / sizeof planes[0]))

/* Rule: rmsnorm and qk_norm divide by sqrt(mean + eps) over exactly their own row. */
START_TEST(norms_are_near)
{
    fal_context *ctx = open_variant(_i);
    for (int s = 0; s < N_PLANES; s++) {
        const int rows = planes[s].rows, cols = planes[s].n;
        const size_t n = (size_t)rows * (size_t)cols;
        float *x = filled(3 * n, 4.0f, 41), *w = filled((size_t)cols, 1.0f, 42);
        float *got = poisoned(3 * n), *want = poisoned(3 * n);
        BOTH(rmsnorm, y, got, want, .n_tokens = rows, .n_embd = cols, .eps = 1e-6f, .x = x, .w = w);
        near_enough("rmsnorm", got, want, n, 5e-7);
        BOTH(qk_norm, y, got, want, .n_tokens = rows, .n_head = 3, .head_dim = cols, .eps = 0.5f, .x = x, .w = w);
        near_enough("qk_norm", got, want, 3 * n, 5e-7);
        free(want);
        free(got);
        free(w);
        free(x);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: moe_swiglu has the bits of the three ops that it consists of. */
START_TEST(moe_swiglu_is_its_parts)
{
    enum { E = 5, USED = 2, OUT = 21, IN = 512 };
    fal_context *ctx = open_variant(_i);
    for (int n_tokens = 1; n_tokens <= 70; n_tokens += 69) {
        unsigned char *gate_w = weights(FAL_TYPE_Q4_K, (size_t)E * OUT, IN, 41), *up_w = weights(FAL_TYPE_Q4_K, (size_t)E * OUT, IN, 42);
        const size_t n = (size_t)n_tokens * USED * OUT;
        float *x = filled((size_t)n_tokens * IN, 1.0f, 43), *gate = poisoned(n), *up = poisoned(n), *want = poisoned(n), *got = poisoned(n);
        int32_t ids[70 * USED];
        for (int i = 0; i < n_tokens * USED; i++) ids[i] = i * 7 % E;
        fal_error e = { 0 };
        fal_moe_matmul_args part = { .n_tokens = n_tokens, .n_expert = E, .n_expert_used = USED, .n_in = IN, .n_out = OUT,
                                     .type = FAL_TYPE_Q4_K, .w = gate_w, .x = x, .ids = ids, .y = gate };
        ck_assert_int_eq(fal_cl_moe_matmul(ctx, &part, &e), FAL_OK);
        part.w = up_w;
        part.y = up;
        ck_assert_int_eq(fal_cl_moe_matmul(ctx, &part, &e), FAL_OK);
        const fal_swiglu_args act = { .n_rows = n_tokens * USED, .n_ff = OUT, .gate = gate, .up = up, .y = want };
        ck_assert_int_eq(fal_cl_swiglu(ctx, &act, &e), FAL_OK);
        const fal_moe_swiglu_args all = { .n_tokens = n_tokens, .n_expert = E, .n_expert_used = USED, .n_embd = IN, .n_ff = OUT,
                                          .type = FAL_TYPE_Q4_K, .w_gate = gate_w, .w_up = up_w, .x = x, .ids = ids, .y = got };
        ck_assert_int_eq(fal_cl_moe_swiglu(ctx, &all, &e), FAL_OK);
        ck_assert_int_eq(memcmp(got, want, n * sizeof *got), 0);
        free(got);
        free(want);
        free(up);
        free(gate);
        free(x);
        free(up_w);
        free(gate_w);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: add is one rounding, swiglu near its closed form also where exp overflows. */
START_TEST(add_and_swiglu)
{
    fal_context *ctx = open_variant(_i);
    for (int s = 0; s < N_PLANES; s++) {
        const size_t n = (size_t)planes[s].rows * (size_t)planes[s].n;
        float *a = filled(n, 8.0f, 51), *b = filled(n, 3.0f, 52), *got = poisoned(n), *want = poisoned(n);
        BOTH(add, y, got, want, .n_tokens = planes[s].rows, .n_embd = planes[s].n, .a = a, .b = b);
        near_enough("add", got, want, n, 0.0);
        if (n > 4) a[1] = -1000.0f, a[2] = 1000.0f;
        BOTH(swiglu, y, got, want, .n_rows = planes[s].rows, .n_ff = planes[s].n, .gate = a, .up = b);
        near_enough("swiglu", got, want, n, 5e-7);
        free(want);
        free(got);
        free(b);
        free(a);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: softmax subtracts the maximum: huge scores stay finite, and rows sum to 1. */
START_TEST(softmax_is_stable)
{
    static const float scales[] = { 1.0f, 30.0f, 1e4f, 1e30f };
    fal_context *ctx = open_variant(_i);
    for (int s = 0; s < N_PLANES; s++)
        for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++) {
            const size_t n = (size_t)planes[s].rows * (size_t)planes[s].n;
            float *x = filled(n, scales[k], 61 + k), *got = poisoned(n), *want = poisoned(n);
            BOTH(softmax, y, got, want, .n_rows = planes[s].rows, .n_cols = planes[s].n, .x = x);
            near_enough("softmax", got, want, n, 1e-6);
            free(want);
            free(got);
            free(x);
        }
    close_clean(ctx);
}
END_TEST

/* Rule: rope rotates halves by the angle of its own position; kv_store writes its slots and no others. */
START_TEST(rope_and_kv_store)
{
    static const struct {
        int n_tokens, n_head, head_dim, first, n_ctx;
    } shapes[] = {
        { 1, 1, 2, 0, 1 }, { 3, 5, 64, 7, 12 }, { 4, 2, 34, 0, 4 }, { 2, 3, 128, 30, 40 }, { 5, 1, 10, 1, 6 }
    };
    fal_context *ctx = open_variant(_i);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int t = shapes[s].n_tokens, h = shapes[s].n_head, d = shapes[s].head_dim, n_ctx = shapes[s].n_ctx;
        const size_t n = (size_t)t * (size_t)h * (size_t)d, n_cache = (size_t)n_ctx * (size_t)h * (size_t)d;
        float *x = filled(n, 2.0f, 71), *v = filled(n, 1.0f, 72), *cos_table = NULL, *sin_table = NULL;
        float *got = poisoned(n), *want = poisoned(n);
        fal_error e = { 0 };
        ck_assert_int_eq(fal_rope_table(n_ctx, d, 1e4f, &cos_table, &sin_table, &e), FAL_OK);
        BOTH(rope, y, got, want, .n_tokens = t, .n_head = h, .head_dim = d, .first_pos = shapes[s].first,
             .n_ctx = n_ctx, .x = x, .cos = cos_table, .sin = sin_table);
        near_enough("rope", got, want, n, 2e-7);
        float *k_cache = filled(n_cache, 1.0f, 73), *v_cache = filled(n_cache, 1.0f, 74);
        float *k_want = filled(n_cache, 1.0f, 73), *v_want = filled(n_cache, 1.0f, 74);
        fal_kv_store_args a = { .n_tokens = t,
                                .n_head_kv = h,
                                .head_dim = d,
                                .first_pos = shapes[s].first,
                                .n_ctx = n_ctx,
                                .k = x,
                                .v = v,
                                .k_cache = k_want,
                                .v_cache = v_want };
        ck_assert_int_eq(fal_reference_kv_store(NULL, &a, &e), FAL_OK);
        a.k_cache = k_cache;
        a.v_cache = v_cache;
        ck_assert_int_eq(fal_cl_kv_store(ctx, &a, &e), FAL_OK);
        ck_assert_int_eq(memcmp(k_cache, k_want, n_cache * sizeof(float)), 0);
        ck_assert_int_eq(memcmp(v_cache, v_want, n_cache * sizeof(float)), 0);
        free(v_want);
        free(k_want);
        free(v_cache);
        free(k_cache);
        free(want);
        free(got);
        free(sin_table);
        free(cos_table);
        free(v);
        free(x);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: attention is causal (slots after the last visible one are NaN here), grouped, and stable for huge scores, over
   fewer, exactly as many, and more positions than a block has. */
START_TEST(attention_is_near)
{
    static const struct {
        int n_tokens, n_head, n_kv, head_dim, first, n_ctx;
        float scale;
    } shapes[] = { { 1, 1, 1, 2, 0, 3, 1.0f },      { 3, 8, 2, 64, 0, 5, 1.0f },      { 1, 4, 4, 128, 127, 140, 1.0f },
                   { 2, 6, 2, 20, 127, 140, 3.0f }, { 5, 4, 1, 33, 290, 300, 1.0f },  { 1, 2, 1, 160, 15, 16, 40.0f },
                   { 2, 2, 2, 64, 300, 320, 100.0f },
                   { 1, 4, 2, 36, 270, 300, 1.0f },  { 11, 2, 1, 132, 122, 140, 1.0f } };
    fal_context *ctx = open_variant(_i);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int t = shapes[s].n_tokens, h = shapes[s].n_head, g = shapes[s].n_kv, d = shapes[s].head_dim;
        const size_t n = (size_t)t * (size_t)h * (size_t)d, slot = (size_t)g * (size_t)d;
        const size_t n_cache = (size_t)shapes[s].n_ctx * slot, seen = (size_t)(shapes[s].first + t) * slot;
        float *q = filled(n, shapes[s].scale, 81), *k = filled(n_cache, 2.0f, 82), *v = filled(n_cache, 1.0f, 83);
        memset(k + seen, 0xFF, (n_cache - seen) * sizeof(float));
        memset(v + seen, 0xFF, (n_cache - seen) * sizeof(float));
        float *got = poisoned(n), *want = poisoned(n);
        BOTH(attention, y, got, want, .n_tokens = t, .n_head = h, .n_head_kv = g, .head_dim = d,
             .first_pos = shapes[s].first, .n_ctx = shapes[s].n_ctx, .q = q, .k_cache = k, .v_cache = v);
        /* A score of size S carries an error of about S eps into its exponential. */
        near_enough("attention", got, want, n, 1e-6 * (double)(shapes[s].scale > 4.0f ? shapes[s].scale / 4.0f : 1.0f));
        free(want);
        free(got);
        free(v);
        free(k);
        free(q);
    }
    close_clean(ctx);
}
END_TEST

/* Rule: router takes the largest, ties to the lower id, NaN first, ids always distinct and in range; pinned ids are
   kept. */
START_TEST(router_chooses_like_the_reference)
{
    static const struct {
        int n_tokens, n_expert, used;
    } shapes[] = { { 3, 16, 4 }, { 5, 128, 8 }, { 2, 1, 1 }, { 2, 7, 7 }, { 3, 300, 9 } };
    fal_context *ctx = open_variant(_i);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int kind = 0; kind < 3; kind++) { /* plain, ties with zeros of both signs, pinned */
            const int t = shapes[s].n_tokens, n_expert = shapes[s].n_expert, used = shapes[s].used;
            const size_t n = (size_t)t * (size_t)n_expert, n_out = (size_t)t * (size_t)used;
            float *probs = filled(n, 1.0f, 91);
            uint64_t seed = 92;
            for (size_t i = 0; i < n; i++) probs[i] = fabsf(probs[i]);
            if (kind == 1)
                for (size_t i = 0; i < n; i++)
                    probs[i] = (float)(draw(&seed) % 3) * 0.25f * (draw(&seed) % 2 ? 1.0f : -0.0f);
            probs[0] = 1.0f; /* the weights have a positive sum */
            int32_t *pins = poisoned(n_out);
            for (size_t i = 0; i < n_out; i++) pins[i] = (int32_t)((i * 5 + 3) % (size_t)n_expert);
            if (kind == 1 && t > 1)
                for (int e = 0; e < n_expert; e++) probs[n_expert + e] += 1.0f;
            int32_t *ids = poisoned(n_out), *ids_want = poisoned(n_out);
            float *got = poisoned(n_out), *want = poisoned(n_out);
            fal_error e = { 0 };
            fal_router_args a = { .n_tokens = kind == 1 ? 1 : t,
                                  .n_expert = n_expert,
                                  .n_expert_used = used,
                                  .probs = probs,
                                  .pinned_ids = kind == 2 ? pins : NULL,
                                  .ids = ids_want,
                                  .weights = want };
            ck_assert_int_eq(fal_reference_router(NULL, &a, &e), FAL_OK);
            a.ids = ids;
            a.weights = got;
            ck_assert_msg(fal_cl_router(ctx, &a, &e) == FAL_OK, "%s", e.message);
            const size_t n_seen = (size_t)a.n_tokens * (size_t)used;
            for (size_t i = 0; i < n_seen; i++) ck_assert_int_eq(ids[i], ids_want[i]);
            if (kind == 2)
                for (size_t i = 0; i < n_seen; i++) ck_assert_int_eq(ids[i], pins[i]);
            check_guard(ids, n_out);
            double d = 0.0, w = 0.0;
            for (size_t i = 0; i < n_seen; i++) d += fabs((double)got[i] - (double)want[i]), w += fabs((double)want[i]);
            ck_assert_msg(d <= 1e-6 * w, "weights differ by %g", d);
            free(want);
            free(got);
            free(ids_want);
            free(ids);
            free(pins);
            free(probs);
        }
    float probs[6] = { 0.1f, NAN, 0.5f, NAN, 0.5f, 0.2f };
    int32_t *ids = poisoned(4), *ids_want = poisoned(4);
    float got[4], want[4];
    fal_error e = { 0 };
    fal_router_args a = {
        .n_tokens = 1, .n_expert = 6, .n_expert_used = 4, .probs = probs, .ids = ids_want, .weights = want
    };
    ck_assert_int_eq(fal_reference_router(NULL, &a, &e), FAL_OK);
    a.ids = ids;
    a.weights = got;
    ck_assert_int_eq(fal_cl_router(ctx, &a, &e), FAL_OK);
    same_ints("ids beside NaN", ids, ids_want, 4);
    free(ids_want);
    free(ids);
    close_clean(ctx);
}
END_TEST

/* Rule: moe_sum weighs each slot's own row. */
START_TEST(moe_sum_is_near)
{
    fal_context *ctx = open_variant(_i);
    for (int s = 0; s < N_PLANES; s++)
        for (int used = 1; used <= 9; used += 4) {
            const size_t n = (size_t)planes[s].rows * (size_t)planes[s].n,
                         n_slots = (size_t)planes[s].rows * (size_t)used;
            float *x = filled(n * (size_t)used, 1.0f, 101), *w = filled(n_slots, 1.0f, 102);
            float *got = poisoned(n), *want = poisoned(n);
            for (size_t i = 0; i < n_slots; i++) w[i] = fabsf(w[i]);
            BOTH(moe_sum, y, got, want, .n_tokens = planes[s].rows, .n_expert_used = used, .n_embd = planes[s].n,
                 .x = x, .weights = w);
            near_enough("moe_sum", got, want, n, 1e-6);
            free(want);
            free(got);
            free(w);
            free(x);
        }
    close_clean(ctx);
}
END_TEST

/* Rule: argmax takes the lower index of equals (also of +0 and -0), and NaN before every number. */
START_TEST(argmax_is_exact)
{
    fal_context *ctx = open_variant(_i);
    for (int s = 0; s < N_PLANES; s++)
        for (int kind = 0; kind < 5; kind++) {
            const int cols = planes[s].n;
            const size_t n = (size_t)planes[s].rows * (size_t)cols, rows = (size_t)planes[s].rows;
            float *x = filled(n, 1.0f, 111);
            uint64_t seed = 112;
            for (size_t i = 0; i < n; i++) {
                const uint32_t r = draw(&seed);
                if (kind == 1) x[i] = (float)(r % 3) - 1.0f;           /* ties */
                if (kind == 2) x[i] = r % 2 ? 0.0f : -0.0f;             /* signed zeros */
                if (kind == 3) x[i] = -INFINITY;                        /* nothing larger than padding */
                if (kind == 4 && r % 50 == 0) x[i] = r % 100 ? NAN : -NAN;
            }
            int32_t *got = poisoned(rows), *want = poisoned(rows);
            BOTH(argmax, ids, got, want, .n_rows = planes[s].rows, .n_cols = cols, .x = x);
            same_ints("argmax", got, want, rows);
            free(want);
            free(got);
            free(x);
        }
    close_clean(ctx);
}
END_TEST

/* ---- refusals --------------------------------------------------------------------------------------------------- */

/* Rule: bad arguments are refused before the device is touched, with the output as it was. */
START_TEST(bad_arguments_are_refused)
{
    fal_context *ctx = open_variant(_i);
    float x[256] = { 0 }, y[4] = { 1.0f, 2.0f, 3.0f, 4.0f };
    unsigned char w[512] = { 0 };
    const int32_t bad_id[] = { 2 };
    fal_error e = { 0 };
    fal_matmul_args m = { .n_tokens = 1, .n_in = 256, .n_out = 1, .type = 11, .w = w, .x = x, .y = y };
    ck_assert_int_eq(fal_cl_matmul(ctx, &m, &e), FAL_ERR_INPUT);
    ck_assert(strstr(e.message, "Q3_K"));
    e = (fal_error) { 0 };
    m.type = FAL_TYPE_Q4_K;
    m.n_in = 255;
    ck_assert_int_eq(fal_cl_matmul(ctx, &m, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    const fal_moe_matmul_args moe = { .n_tokens = 1, .n_expert = 2, .n_expert_used = 1, .n_in = 256, .n_out = 1,
                                      .type = FAL_TYPE_Q4_K, .w = w, .x = x, .ids = bad_id, .y = y };
    ck_assert_int_eq(fal_cl_moe_matmul(ctx, &moe, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    const fal_add_args add = { .n_tokens = 0, .n_embd = 4, .a = x, .b = x, .y = y };
    ck_assert_int_eq(fal_cl_add(ctx, &add, &e), FAL_ERR_INPUT);
    for (int i = 0; i < 4; i++) ck_assert(y[i] == (float)(i + 1));
    fal_memory mem;
    fal_cl_memory(ctx, &mem);
    ck_assert_uint_eq(mem.peak_bytes, 0);
    fal_cl_close(ctx);
}
END_TEST

Suite *fal_suite_opencl_ops(void)
{
    Suite *s = suite_create("opencl_ops");
    TCase *c = tcase_create("ops");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, embed_is_exact, 0, 2);
    tcase_add_loop_test(c, embed_matches_the_format, 0, 2);
    tcase_add_loop_test(c, matmul_is_near, 0, 2);
    tcase_add_loop_test(c, matmul_rows_are_independent, 0, 2);
    tcase_add_loop_test(c, moe_matmul_is_near, 0, 2);
    tcase_add_loop_test(c, norms_are_near, 0, 2);
    tcase_add_loop_test(c, moe_swiglu_is_its_parts, 0, 2);
    tcase_add_loop_test(c, add_and_swiglu, 0, 2);
    tcase_add_loop_test(c, softmax_is_stable, 0, 2);
    tcase_add_loop_test(c, rope_and_kv_store, 0, 2);
    tcase_add_loop_test(c, attention_is_near, 0, 2);
    tcase_add_loop_test(c, router_chooses_like_the_reference, 0, 2);
    tcase_add_loop_test(c, moe_sum_is_near, 0, 2);
    tcase_add_loop_test(c, argmax_is_exact, 0, 2);
    tcase_add_loop_test(c, bad_arguments_are_refused, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
