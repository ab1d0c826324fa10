/* Tests of the ops of the reference that read weights: closed forms in long double, the same bits on any threads. */
#include "falsifiers/unit/op_numbers.h"
#include "reference/reference.h"

#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_reference_matmul(void);

#define RUN(op, ...)                                                                                                   \
    do {                                                                                                               \
        fal_error e_ = { 0 };                                                                                          \
        const fal_##op##_args a_ = { __VA_ARGS__ };                                                                    \
        ck_assert_msg(fal_reference_##op(NULL, &a_, &e_) == FAL_OK, "%s", e_.message);                                 \
    } while (0)

static const struct { uint32_t type; const char *stem; size_t n_in; } products[] = {
    { FAL_TYPE_F16, "f16", 32 },   { FAL_TYPE_BF16, "bf16", 16 }, { FAL_TYPE_Q8_0, "q8_0", 64 },
    { FAL_TYPE_Q4_K, "q4_k", 256 }, { FAL_TYPE_Q4_K, "q4_k", 1024 }, { FAL_TYPE_Q5_K, "q5_k", 256 },
    { FAL_TYPE_Q6_K, "q6_k", 512 },
    { FAL_TYPE_Q5_K, "q5_k", 512 },  { FAL_TYPE_BF16, "bf16", 64 },
};

START_TEST(matmul_matches_the_closed_form)
{
    fal_test_weights w = fal_test_weights_load(products[_i].stem);
    /* Some bf16 weights are as large as an f32 can be: x keeps the sums below that. */
    const size_t n_in = products[_i].n_in, n_out = w.n / n_in, n_tokens = 3;
    float *x = fal_test_filled(n_tokens * n_in, 0x1p-10f, 10), *y = fal_test_floats(n_tokens * n_out);
    RUN(matmul, .n_tokens = (int)n_tokens, .n_in = (int)n_in, .n_out = (int)n_out, .type = products[_i].type,
        .w = w.blocks, .x = x, .y = y);
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_out; r++)
            fal_test_near_dot("matmul", t * n_out + r, y[t * n_out + r], w.values + r * n_in, x + t * n_in, n_in);
    free(y);
    free(x);
    fal_test_weights_free(&w);
}
END_TEST

/* Rule: widths that are no multiple of the eight partial sums lose no element. */
START_TEST(matmul_of_any_width)
{
    for (size_t n_in = 1; n_in <= 35; n_in++) {
        float *w = fal_test_filled(5 * n_in, 1.0f, n_in), *x = fal_test_filled(2 * n_in, 1.0f, 77 + n_in),
              *y = fal_test_floats(10);
        RUN(matmul, .n_tokens = 2, .n_in = (int)n_in, .n_out = 5, .type = FAL_TYPE_F32, .w = w, .x = x, .y = y);
        for (size_t i = 0; i < 10; i++) fal_test_near_dot("matmul", i, y[i], w + i % 5 * n_in, x + i / 5 * n_in, n_in);
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
    fal_test_weights w = fal_test_weights_load("q6_k"); /* 64 blocks: 4 experts of 8 rows of 512 columns */
    enum { T = 5, E = 4, K = 2, IN = 512, OUT = 8 };
    const int32_t ids[T * K] = { 3, 0, 0, 3, 2, 3, 3, 2, 0, 2 }; /* expert 1 is in no slot */
    float *x = fal_test_filled(T * K * IN, 1.0f, 11), *y = fal_test_floats(T * K * OUT);
    for (int per_slot = 0; per_slot <= 1; per_slot++) {
        memset(y, 0xFF, T * K * OUT * sizeof *y);
        RUN(moe_matmul, .n_tokens = T, .n_expert = E, .n_expert_used = K, .n_in = IN, .n_out = OUT,
            .x_per_slot = per_slot, .type = FAL_TYPE_Q6_K, .w = w.blocks, .x = x, .ids = ids, .y = y);
        for (size_t slot = 0; slot < T * K; slot++)
            for (size_t r = 0; r < OUT; r++)
                fal_test_near_dot("moe_matmul", slot * OUT + r, y[slot * OUT + r],
                          w.values + ((size_t)ids[slot] * OUT + r) * IN, x + (per_slot ? slot : slot / K) * IN, IN);
    }
    free(y);
    free(x);
    fal_test_weights_free(&w);
}
END_TEST

/* Rule: silu of the product with w_gate times the product with w_up, both of the slot's own expert. */
START_TEST(moe_swiglu_by_hand)
{
    const float gate[3][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 1, 0 }, { 0, -1 } }, { { 2, 1 }, { 0, 0 } } };
    const float up[3][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 3, 1 }, { 1, 1 } }, { { -1, 0 }, { 5, 5 } } };
    const float x[2] = { 1, 2 };
    const int32_t ids[2] = { 2, 1 };
    /* slot 0: gates 4, 0, ups -1, 15; slot 1: gates 1, -2, ups 5, 3 */
    const double want[4] = { 4 / (1 + exp(-4)) * -1, 0, 1 / (1 + exp(-1)) * 5, -2 / (1 + exp(2)) * 3 };
    float y[4];
    RUN(moe_swiglu, .n_tokens = 1, .n_expert = 3, .n_expert_used = 2, .n_embd = 2, .n_ff = 2, .type = FAL_TYPE_F32,
        .w_gate = gate, .w_up = up, .x = x, .ids = ids, .y = y);
    for (int i = 0; i < 4; i++) ck_assert_msg(fabs((double)y[i] - want[i]) <= 1e-7 * fabs(want[i]), "%d: %.9g, not %.9g", i, (double)y[i], want[i]);
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
    float *x = fal_test_filled(T * K * N, 1.0f, 12), *weights_of = fal_test_filled(T * K, 0.5f, 13),
          *y = fal_test_floats(T * N);
    RUN(moe_sum, .n_tokens = T, .n_expert_used = K, .n_embd = N, .x = x, .weights = weights_of, .y = y);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < N; i++) {
            long double want = 0.0L, magnitude = 0.0L;
            for (size_t s = 0; s < K; s++) {
                const long double term = (long double)weights_of[t * K + s] * x[(t * K + s) * N + i];
                want += term;
                magnitude += fabsl(term);
            }
            fal_test_near("moe_sum", t * N + i, y[t * N + i], want, K, magnitude);
        }
    free(y);
    free(weights_of);
    free(x);
}
END_TEST

START_TEST(embed_copies_the_rows_asked_for)
{
    fal_test_weights w = fal_test_weights_load("q8_0"); /* 64 blocks: 32 rows of 64 */
    const int32_t tokens[4] = { 31, 0, 7, 7 };
    float y[4 * 64];
    RUN(embed, .n_tokens = 4, .n_embd = 64, .n_vocab = 32, .type = FAL_TYPE_Q8_0, .w = w.blocks, .tokens = tokens,
        .y = y);
    for (int t = 0; t < 4; t++) ck_assert_mem_eq(y + 64 * t, w.values + 64 * tokens[t], 64 * sizeof(float));
    fal_test_weights_free(&w);
}
END_TEST

/* Rule: results are the same bits for every number of threads and for every split of the tokens into calls. */
START_TEST(bits_do_not_depend_on_threads_or_batches)
{
    /* 129 tokens are enough work for each of the three to use threads. */
    enum { T = 129, E = 4, K = 2, IN = 512, OUT = 8, H = 8, G = 2, D = 32, CTX = 192 };
    fal_test_weights w = fal_test_weights_load("q6_k");
    float *x = fal_test_filled(T * IN, 1.0f, 21), *cache = fal_test_filled(2 * CTX * G * D, 1.0f, 22),
          *q = fal_test_filled(T * H * D, 1.0f, 23);
    int32_t ids[T * K];
    for (int i = 0; i < T * K; i++) ids[i] = i * i / 3 % E;
    float *y[3][3];
    for (int run = 0; run < 3; run++) {
        omp_set_num_threads(run == 1 ? 2 : 1);
        y[run][0] = fal_test_floats(T * 4 * OUT);
        y[run][1] = fal_test_floats(T * K * OUT);
        y[run][2] = fal_test_floats(T * H * D);
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
    fal_test_weights_free(&w);
}
END_TEST

#define N(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *fal_suite_reference_matmul(void)
{
    Suite *s = suite_create("reference_matmul");
    TCase *c = tcase_create("reference_matmul");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, matmul_matches_the_closed_form, 0, N(products));
    tcase_add_test(c, matmul_of_any_width);
    tcase_add_test(c, matmul_accumulates_in_float64);
    tcase_add_test(c, moe_matmul_takes_each_slot_to_its_expert);
    tcase_add_test(c, moe_matmul_ignores_other_experts);
    tcase_add_test(c, moe_swiglu_by_hand);
    tcase_add_test(c, moe_sum_matches_the_closed_form);
    tcase_add_test(c, embed_copies_the_rows_asked_for);
    tcase_add_test(c, bits_do_not_depend_on_threads_or_batches);
    suite_add_tcase(s, c);
    return s;
}
