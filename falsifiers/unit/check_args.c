/* Tests of the argument checks that all backends share: every rule refuses, says what is wrong, touches no output. */
#include "harness/args.h"

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

Suite *fal_suite_args(void);

/* Enough for every valid call below; outputs are poisoned and compared after each refusal. */
static const float in[64];
static float out[64], out2[64];
static int32_t ids_out[64];

static void poison(void)
{
    memset(out, 0xFF, sizeof out);
    memset(out2, 0xFF, sizeof out2);
    memset(ids_out, 0xFF, sizeof ids_out);
}

static void untouched(void)
{
    unsigned char want[sizeof out];
    memset(want, 0xFF, sizeof want);
    ck_assert_mem_eq(out, want, sizeof out);
    ck_assert_mem_eq(out2, want, sizeof out2);
    ck_assert_mem_eq(ids_out, want, sizeof ids_out);
}

static void refused(fal_status st, const fal_error *e, const char *op, const char *word)
{
    ck_assert_msg(st == FAL_ERR_INPUT && e->code == FAL_ERR_INPUT, "%s: %s was not refused", op, word);
    ck_assert_msg(strncmp(e->message, op, strlen(op)) == 0 && e->message[strlen(op)] == ':', "op missing: %s",
                  e->message);
    ck_assert_msg(strstr(e->message, word) != NULL, "'%s' missing: %s", word, e->message);
    untouched();
}

/* The base call is valid, so the one change is what is refused, by the check and by the reference alike. */
#define VALID(op, base)                                                                                                \
    do {                                                                                                               \
        fal_error e_ = { 0 };                                                                                          \
        ck_assert_msg(fal_##op##_args_check(&(base), &e_) == FAL_OK, "%s", e_.message);                                \
    } while (0)
#define REFUSES(op, base, field, ...)                                                                                  \
    do {                                                                                                               \
        fal_##op##_args bad_ = (base);                                                                                 \
        fal_error e_ = { 0 }, f_ = { 0 };                                                                              \
        bad_.field = __VA_ARGS__;                                                                                      \
        poison();                                                                                                      \
        refused(fal_##op##_args_check(&bad_, &e_), &e_, #op, #field);                                                  \
        refused(fal_reference_backend.op(NULL, &bad_, &f_), &f_, #op, #field);                                         \
    } while (0)
#define REFUSES_DIM(op, base, field)                                                                                   \
    do {                                                                                                               \
        REFUSES(op, base, field, 0);                                                                                   \
        REFUSES(op, base, field, -1);                                                                                  \
        REFUSES(op, base, field, INT32_MIN);                                                                           \
    } while (0)
#define REFUSES_NULL(op)                                                                                               \
    do {                                                                                                               \
        fal_error e_ = { 0 };                                                                                          \
        poison();                                                                                                      \
        refused(fal_##op##_args_check(NULL, &e_), &e_, #op, "NULL");                                                   \
    } while (0)
#define REFUSES_TYPES(op, base)                                                                                        \
    do {                                                                                                               \
        REFUSES(op, base, type, 2); /* Q4_0 */                                                                         \
        REFUSES(op, base, type, FAL_TYPE_I8);                                                                          \
        REFUSES(op, base, type, 4);                                                                                    \
        REFUSES(op, base, type, UINT32_MAX);                                                                           \
    } while (0)

START_TEST(embed)
{
    static const int32_t tokens[2] = { 0, 3 }, low[2] = { 0, -1 }, high[2] = { 0, 4 };
    const fal_embed_args a = { .n_tokens = 2, .n_embd = 4, .n_vocab = 4, .type = FAL_TYPE_F32, .w = in,
                               .tokens = tokens, .y = out };
    VALID(embed, a);
    REFUSES_NULL(embed);
    REFUSES_DIM(embed, a, n_tokens);
    REFUSES_DIM(embed, a, n_embd);
    REFUSES_DIM(embed, a, n_vocab);
    REFUSES(embed, a, w, NULL);
    REFUSES(embed, a, tokens, NULL);
    REFUSES(embed, a, y, NULL);
    REFUSES_TYPES(embed, a);
    REFUSES(embed, a, tokens, low);
    REFUSES(embed, a, tokens, high);
    REFUSES(embed, a, n_vocab, 3); /* the message names tokens[1] and n_vocab */
    fal_embed_args b = a;
    b.type = FAL_TYPE_Q8_0;
    REFUSES(embed, b, n_embd, 33);
}
END_TEST

START_TEST(rmsnorm)
{
    const fal_rmsnorm_args a = { .n_tokens = 2, .n_embd = 4, .eps = 0.0f, .x = in, .w = in, .y = out };
    VALID(rmsnorm, a);
    REFUSES_NULL(rmsnorm);
    REFUSES_DIM(rmsnorm, a, n_tokens);
    REFUSES_DIM(rmsnorm, a, n_embd);
    REFUSES(rmsnorm, a, eps, -1e-6f);
    REFUSES(rmsnorm, a, eps, NAN);
    REFUSES(rmsnorm, a, eps, INFINITY);
    REFUSES(rmsnorm, a, x, NULL);
    REFUSES(rmsnorm, a, w, NULL);
    REFUSES(rmsnorm, a, y, NULL);
}
END_TEST

START_TEST(matmul)
{
    const fal_matmul_args a = { .n_tokens = 2, .n_in = 4, .n_out = 4, .type = FAL_TYPE_F32, .w = in, .x = in,
                                .y = out };
    VALID(matmul, a);
    REFUSES_NULL(matmul);
    REFUSES_DIM(matmul, a, n_tokens);
    REFUSES_DIM(matmul, a, n_in);
    REFUSES_DIM(matmul, a, n_out);
    REFUSES_TYPES(matmul, a);
    REFUSES(matmul, a, w, NULL);
    REFUSES(matmul, a, x, NULL);
    REFUSES(matmul, a, y, NULL);
    fal_matmul_args b = a;
    b.type = FAL_TYPE_Q4_K;
    REFUSES(matmul, b, n_in, 255);
}
END_TEST

START_TEST(qk_norm)
{
    const fal_qk_norm_args a = { .n_tokens = 2, .n_head = 2, .head_dim = 4, .eps = 1e-6f, .x = in, .w = in, .y = out };
    VALID(qk_norm, a);
    REFUSES_NULL(qk_norm);
    REFUSES_DIM(qk_norm, a, n_tokens);
    REFUSES_DIM(qk_norm, a, n_head);
    REFUSES_DIM(qk_norm, a, head_dim);
    REFUSES(qk_norm, a, eps, NAN);
    REFUSES(qk_norm, a, x, NULL);
    REFUSES(qk_norm, a, w, NULL);
    REFUSES(qk_norm, a, y, NULL);
    /* 2^31 x 2^31 x 2^3 bytes do not fit in any address space. */
    fal_qk_norm_args b = a;
    b.n_tokens = b.n_head = INT32_MAX;
    fal_error e = { 0 };
    poison();
    refused(fal_qk_norm_args_check(&b, &e), &e, "qk_norm", "x");
}
END_TEST

START_TEST(rope)
{
    const fal_rope_args a = { .n_tokens = 2, .n_head = 2, .head_dim = 4, .first_pos = 1, .n_ctx = 3, .x = in, .cos = in,
                              .sin = in, .y = out };
    VALID(rope, a);
    REFUSES_NULL(rope);
    REFUSES_DIM(rope, a, n_tokens);
    REFUSES_DIM(rope, a, n_head);
    REFUSES_DIM(rope, a, head_dim);
    REFUSES_DIM(rope, a, n_ctx);
    REFUSES(rope, a, head_dim, 3);
    REFUSES(rope, a, first_pos, -1);
    REFUSES(rope, a, first_pos, 2);
    REFUSES(rope, a, first_pos, INT32_MAX); /* the sum with n_tokens overflows an int */
    REFUSES(rope, a, n_ctx, 1);
    REFUSES(rope, a, x, NULL);
    REFUSES(rope, a, cos, NULL);
    REFUSES(rope, a, sin, NULL);
    REFUSES(rope, a, y, NULL);
}
END_TEST

START_TEST(kv_store)
{
    const fal_kv_store_args a = { .n_tokens = 2, .n_head_kv = 2, .head_dim = 4, .first_pos = 1, .n_ctx = 3, .k = in,
                                  .v = in, .k_cache = out, .v_cache = out2 };
    VALID(kv_store, a);
    REFUSES_NULL(kv_store);
    REFUSES_DIM(kv_store, a, n_tokens);
    REFUSES_DIM(kv_store, a, n_head_kv);
    REFUSES_DIM(kv_store, a, head_dim);
    REFUSES_DIM(kv_store, a, n_ctx);
    REFUSES(kv_store, a, first_pos, -1);
    REFUSES(kv_store, a, first_pos, 2);
    REFUSES(kv_store, a, k, NULL);
    REFUSES(kv_store, a, v, NULL);
    REFUSES(kv_store, a, k_cache, NULL);
    REFUSES(kv_store, a, v_cache, NULL);
}
END_TEST

START_TEST(attention)
{
    const fal_attention_args a = { .n_tokens = 2, .n_head = 4, .n_head_kv = 2, .head_dim = 2, .first_pos = 1,
                                   .n_ctx = 3, .q = in, .k_cache = in, .v_cache = in, .y = out };
    VALID(attention, a);
    REFUSES_NULL(attention);
    REFUSES_DIM(attention, a, n_tokens);
    REFUSES_DIM(attention, a, n_head);
    REFUSES_DIM(attention, a, n_head_kv);
    REFUSES_DIM(attention, a, head_dim);
    REFUSES_DIM(attention, a, n_ctx);
    REFUSES(attention, a, n_head, 3);
    REFUSES(attention, a, n_head_kv, 8);
    REFUSES(attention, a, first_pos, -1);
    REFUSES(attention, a, first_pos, 2);
    REFUSES(attention, a, q, NULL);
    REFUSES(attention, a, k_cache, NULL);
    REFUSES(attention, a, v_cache, NULL);
    REFUSES(attention, a, y, NULL);
}
END_TEST

START_TEST(add_softmax_swiglu_argmax)
{
    const fal_add_args a = { .n_tokens = 2, .n_embd = 4, .a = in, .b = in, .y = out };
    VALID(add, a);
    REFUSES_NULL(add);
    REFUSES_DIM(add, a, n_tokens);
    REFUSES_DIM(add, a, n_embd);
    REFUSES(add, a, a, NULL);
    REFUSES(add, a, b, NULL);
    REFUSES(add, a, y, NULL);
    const fal_softmax_args b = { .n_rows = 2, .n_cols = 4, .x = in, .y = out };
    VALID(softmax, b);
    REFUSES_NULL(softmax);
    REFUSES_DIM(softmax, b, n_rows);
    REFUSES_DIM(softmax, b, n_cols);
    REFUSES(softmax, b, x, NULL);
    REFUSES(softmax, b, y, NULL);
    const fal_swiglu_args c = { .n_rows = 2, .n_ff = 4, .gate = in, .up = in, .y = out };
    VALID(swiglu, c);
    REFUSES_NULL(swiglu);
    REFUSES_DIM(swiglu, c, n_rows);
    REFUSES_DIM(swiglu, c, n_ff);
    REFUSES(swiglu, c, gate, NULL);
    REFUSES(swiglu, c, up, NULL);
    REFUSES(swiglu, c, y, NULL);
    const fal_argmax_args d = { .n_rows = 2, .n_cols = 4, .x = in, .ids = ids_out };
    VALID(argmax, d);
    REFUSES_NULL(argmax);
    REFUSES_DIM(argmax, d, n_rows);
    REFUSES_DIM(argmax, d, n_cols);
    REFUSES(argmax, d, x, NULL);
    REFUSES(argmax, d, ids, NULL);
}
END_TEST

START_TEST(router)
{
    static const int32_t low[4] = { 0, 1, 2, -1 }, high[4] = { 0, 1, 4, 2 };
    const fal_router_args a = { .n_tokens = 2, .n_expert = 4, .n_expert_used = 2, .probs = in, .ids = ids_out,
                                .weights = out };
    VALID(router, a);
    REFUSES_NULL(router);
    REFUSES_DIM(router, a, n_tokens);
    REFUSES_DIM(router, a, n_expert);
    REFUSES_DIM(router, a, n_expert_used);
    REFUSES(router, a, n_expert_used, 5);
    REFUSES(router, a, probs, NULL);
    REFUSES(router, a, ids, NULL);
    REFUSES(router, a, weights, NULL);
    REFUSES(router, a, pinned_ids, low);
    REFUSES(router, a, pinned_ids, high);
}
END_TEST

START_TEST(moe_matmul)
{
    static const int32_t ids[4] = { 0, 1, 2, 1 }, low[4] = { 0, 1, 2, -1 }, high[4] = { 0, 1, 3, 1 };
    const fal_moe_matmul_args a = { .n_tokens = 2, .n_expert = 3, .n_expert_used = 2, .n_in = 2, .n_out = 2,
                                    .type = FAL_TYPE_F32, .w = in, .x = in, .ids = ids, .y = out };
    VALID(moe_matmul, a);
    REFUSES_NULL(moe_matmul);
    REFUSES_DIM(moe_matmul, a, n_tokens);
    REFUSES_DIM(moe_matmul, a, n_expert);
    REFUSES_DIM(moe_matmul, a, n_expert_used);
    REFUSES_DIM(moe_matmul, a, n_in);
    REFUSES_DIM(moe_matmul, a, n_out);
    REFUSES(moe_matmul, a, n_expert_used, 4);
    REFUSES_TYPES(moe_matmul, a);
    REFUSES(moe_matmul, a, w, NULL);
    REFUSES(moe_matmul, a, x, NULL);
    REFUSES(moe_matmul, a, ids, NULL);
    REFUSES(moe_matmul, a, y, NULL);
    REFUSES(moe_matmul, a, ids, low);
    REFUSES(moe_matmul, a, ids, high);
    REFUSES(moe_matmul, a, n_expert, 2); /* ids[2] is 2 now out of range; the message names n_expert */
    fal_moe_matmul_args b = a;
    b.type = FAL_TYPE_Q6_K;
    REFUSES(moe_matmul, b, n_in, 128);
}
END_TEST

START_TEST(moe_swiglu)
{
    static const int32_t ids[4] = { 0, 1, 2, 1 }, low[4] = { 0, 1, 2, -1 }, high[4] = { 0, 1, 3, 1 };
    const fal_moe_swiglu_args a = { .n_tokens = 2, .n_expert = 3, .n_expert_used = 2, .n_embd = 2, .n_ff = 2,
                                    .type = FAL_TYPE_F32, .w_gate = in, .w_up = in, .x = in, .ids = ids, .y = out };
    VALID(moe_swiglu, a);
    REFUSES_NULL(moe_swiglu);
    REFUSES_DIM(moe_swiglu, a, n_tokens);
    REFUSES_DIM(moe_swiglu, a, n_expert);
    REFUSES_DIM(moe_swiglu, a, n_expert_used);
    REFUSES_DIM(moe_swiglu, a, n_embd);
    REFUSES_DIM(moe_swiglu, a, n_ff);
    REFUSES(moe_swiglu, a, n_expert_used, 4);
    REFUSES_TYPES(moe_swiglu, a);
    REFUSES(moe_swiglu, a, w_gate, NULL);
    REFUSES(moe_swiglu, a, w_up, NULL);
    REFUSES(moe_swiglu, a, x, NULL);
    REFUSES(moe_swiglu, a, ids, NULL);
    REFUSES(moe_swiglu, a, y, NULL);
    REFUSES(moe_swiglu, a, ids, low);
    REFUSES(moe_swiglu, a, ids, high);
    fal_moe_swiglu_args b = a;
    b.type = FAL_TYPE_Q6_K;
    REFUSES(moe_swiglu, b, n_embd, 128);
}
END_TEST

START_TEST(moe_sum)
{
    const fal_moe_sum_args a = { .n_tokens = 2, .n_expert_used = 2, .n_embd = 4, .x = in, .weights = in, .y = out };
    VALID(moe_sum, a);
    REFUSES_NULL(moe_sum);
    REFUSES_DIM(moe_sum, a, n_tokens);
    REFUSES_DIM(moe_sum, a, n_expert_used);
    REFUSES_DIM(moe_sum, a, n_embd);
    REFUSES(moe_sum, a, x, NULL);
    REFUSES(moe_sum, a, weights, NULL);
    REFUSES(moe_sum, a, y, NULL);
}
END_TEST

/* Rule: a product that does not fit is told, not wrapped. */
START_TEST(sizes_do_not_wrap)
{
    size_t n = 7;
    ck_assert(fal_mul_size(0, SIZE_MAX, &n) && n == 0);
    ck_assert(fal_mul_size(SIZE_MAX, 0, &n) && n == 0);
    ck_assert(fal_mul_size((size_t)PTRDIFF_MAX, 1, &n) && n == (size_t)PTRDIFF_MAX);
    n = 7;
    ck_assert(!fal_mul_size((size_t)PTRDIFF_MAX, 2, &n));
    ck_assert(!fal_mul_size((size_t)1 << 32, (size_t)1 << 32, &n));
    ck_assert_uint_eq(n, 7);
}
END_TEST

Suite *fal_suite_args(void)
{
    Suite *s = suite_create("args");
    TCase *c = tcase_create("args");
    tcase_add_test(c, embed);
    tcase_add_test(c, rmsnorm);
    tcase_add_test(c, matmul);
    tcase_add_test(c, qk_norm);
    tcase_add_test(c, rope);
    tcase_add_test(c, kv_store);
    tcase_add_test(c, attention);
    tcase_add_test(c, add_softmax_swiglu_argmax);
    tcase_add_test(c, router);
    tcase_add_test(c, moe_matmul);
    tcase_add_test(c, moe_swiglu);
    tcase_add_test(c, moe_sum);
    tcase_add_test(c, sizes_do_not_wrap);
    suite_add_tcase(s, c);
    return s;
}
