/* Unit tests of what candidates rest on: launch lines, guarded arrays, calls by fields, the names of --op, bandwidth. */
#include "harness/candidate_parts.h"
#include "harness/host_bandwidth.h"
#include "harness/launch.h"
#include "harness/plan_parts.h"
#include "harness/trial.h"

#include <check.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_candidate(void);

/* ---- launch lines ---------------------------------------------------------------------------------------------------- */

static const fal_wire_call call = { .op = "matmul",
                                    .n_fields = 4,
                                    .fields = { { .kind = FAL_FIELD_INT, .i = 3, .name = "n_tokens" },
                                                { .kind = FAL_FIELD_INT, .i = 2048, .name = "n_in" },
                                                { .kind = FAL_FIELD_INT, .i = 1023, .name = "n_out" },
                                                { .kind = FAL_FIELD_ARRAY, .name = "w" } } };

static const struct {
    const char *text;
    size_t grid[3], block[3], shared, scratch;
} launches[] = {
    { "block=128 grid=cdiv(n_out,4)*n_tokens", { 768, 1, 1 }, { 128, 1, 1 }, 0, 0 },
    { "  grid=n_out,n_tokens\tblock=32,4,2 ", { 1023, 3, 1 }, { 32, 4, 2 }, 0, 0 },
    { "block=1 grid=2+3*4-n_out/1000", { 13, 1, 1 }, { 1, 1, 1 }, 0, 0 },
    { "block=min(n_in,256) grid=max(1,n_tokens-5) shared=4*(n_in/256) scratch=n_out*4",
      { 1, 1, 1 },
      { 256, 1, 1 },
      32,
      4092 },
    { "block=1 grid=cdiv(n_in+1,4),cdiv(n_in,4)", { 513, 512, 1 }, { 1, 1, 1 }, 0, 0 },
    { "block=((1)) grid=1", { 1, 1, 1 }, { 1, 1, 1 }, 0, 0 },
};

/* Rule: expressions are evaluated as written, precedence and rounding included. */
START_TEST(a_launch_is_evaluated)
{
    fal_launch l;
    fal_error err = { 0 };
    ck_assert_msg(fal_launch_of(launches[_i].text, &call, &l, &err) == FAL_OK, "%s", err.message);
    for (int d = 0; d < 3; d++) {
        ck_assert_uint_eq(l.grid[d], launches[_i].grid[d]);
        ck_assert_uint_eq(l.block[d], launches[_i].block[d]);
    }
    ck_assert_uint_eq(l.shared_bytes, launches[_i].shared);
    ck_assert_uint_eq(l.scratch_bytes, launches[_i].scratch);
}
END_TEST

static const struct {
    const char *text, *says;
} refused[] = {
    { "", "grid= is missing" },
    { "block=1", "grid= is missing" },
    { "grid=1", "block= is missing" },
    { "block=1 grid=n_rows", "character 14" },
    { "block=1 grid=w", "no integer field" },
    { "block=0 grid=1", "from 1 to 1024" },
    { "block=1025 grid=1", "from 1 to 1024" },
    { "block=1 grid=n_tokens-3", "the value 0" },
    { "block=1 grid=n_out/(n_tokens-3)", "division by 0" },
    { "block=1 grid=9223372036854775807*2", "too large a product" },
    { "block=1 grid=99999999999999999999", "too large a number" },
    { "block=1 grid=2147483647+1", "from 1 to 2147483647" },
    { "block=1 grid=(1", "expected ')'" },
    { "block=1 grid=cdiv(1)", "expected ','" },
    { "block=1 grid=ceil(1,2)", "unknown function" },
    { "block=1 grid=1 warp=2", "expected block=" },
    { "block=1 grid=1x", "expected a blank" },
    { "block=1 grid=1,1,1,1", "expected a blank" },
    { "block=1 grid=", "expected a number" },
    { "block=1 "
      "grid=((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))"
      "))))))))))))))))))))))))))))))))))",
      "too deep" },
};

/* Rule: what cannot be launched is refused with its place, never guessed. */
START_TEST(a_bad_launch_is_refused)
{
    fal_launch l;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_launch_of(refused[_i].text, &call, &l, &err), FAL_ERR_INPUT);
    ck_assert_msg(strstr(err.message, refused[_i].says), "'%s' is not in '%s'", refused[_i].says, err.message);
}
END_TEST

/* Rule: the line ends where the line or the comment ends. */
START_TEST(the_launch_line_is_found)
{
    char line[32];
    static const char text[] = "/* x\n   falsify-launch: \t block=1 grid=2*/ int y;\n",
                      plain[] = "// falsify-launch:block=1\nmore";
    ck_assert(fal_launch_find(text, sizeof text - 1, line, sizeof line));
    ck_assert_str_eq(line, "block=1 grid=2");
    ck_assert(fal_launch_find(plain, sizeof plain - 1, line, sizeof line));
    ck_assert_str_eq(line, "block=1");
    ck_assert(!fal_launch_find(plain, 10, line, sizeof line));
    ck_assert(!fal_launch_find(text, sizeof text - 1, line, 8));
    ck_assert(!fal_launch_find("falsify", 7, line, sizeof line));
}
END_TEST

/* ---- declarations ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *file;
    bool said;
    const char *text; /* as fal_arithmetic_text has it */
} declared[] = {
    { "// nothing of the kind\n", false, "activations f32, sums f32" },
    { "// falsify-arithmetic: activation=q8_k,sum=i32\nint x;", true, "activations q8_k, sums i32" },
    { "/* falsify-arithmetic:\t sum=f16 */ int x;", true, "activations f32, sums f16" },
    { "/* x\n   falsify-arithmetic: kv=f16,order=ascending  \r\n*/", true, "activations f32, sums f32, cache f16 in ascending order" },
    { "#define A \"falsify-arithmetic: activation=bf16\" x", true, "activations bf16, sums f32" },
    { "// falsify-arithmetic: sum=f64\n// falsify-arithmetic: sum=f64,activation=f32", true, "activations f32, sums f64" },
    { ".visible .global .align 1 .b8 falsify_arithmetic[39] = {102, 97, 108, 115, 105, 102, 121, 45, 97, 114, 105, 116, 104,\n"
      " 109, 101, 116, 105, 99, 58, 32, 97, 99, 116, 105, 118, 97, 116, 105, 111, 110, 61, 113, 56, 95, 48};",
      true, "activations q8_0, sums f32" },
    { ".extern .b8 falsify_arithmetic[4];", false, "activations f32, sums f32" },
    { ".b8 falsify_arithmetic[4] = {102, 97, 300};", false, "activations f32, sums f32" },
    { ".b8 falsify_arithmetic[4] = {", false, "activations f32, sums f32" },
    { ".b8 falsify_arithmetic[", false, "activations f32, sums f32" },
};

/* Rule: the line is found wherever a file can hold it, and ends where line, string or comment end. */
START_TEST(a_declaration_is_found)
{
    fal_declaration d;
    fal_error err = { 0 };
    char text[96];
    ck_assert_msg(fal_declaration_find(declared[_i].file, strlen(declared[_i].file), &d, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(d.said, declared[_i].said);
    fal_arithmetic_text(&d.a, text, sizeof text);
    ck_assert_str_eq(text, declared[_i].text);
}
END_TEST

static const struct {
    const char *file, *says;
} undeclared[] = {
    { "falsify-arithmetic:", "declares nothing" },
    { "// falsify-arithmetic:   \n activation=q8_k", "declares nothing" },
    { "// falsify-arithmetic: activation=q4_0\n", "activation is 'q4_0', which is none" },
    { "// falsify-arithmetic: precision=low\n", "'precision=low' is no name=value" },
    { "// falsify-arithmetic: q8_k\n", "'q8_k' is no name=value" },
    { "// falsify-arithmetic: sum=f16\n// falsify-arithmetic: sum=f32", "twice: 'sum=f16' and 'sum=f32'" },
    { "// falsify-arithmetic: sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,sum=f16,"
      "sum=f16,sum=f16,sum=f16,sum=f16,sum=f16\n",
      "longer than" },
};

/* Rule: what is no declaration is refused, never taken for another one or for none. */
START_TEST(a_bad_declaration_is_refused)
{
    fal_declaration d;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_declaration_find(undeclared[_i].file, strlen(undeclared[_i].file), &d, &err), FAL_ERR_INPUT);
    ck_assert_msg(strstr(err.message, undeclared[_i].says), "'%s' is not in '%s'", undeclared[_i].says, err.message);
}
END_TEST

/* Rule: bytes beyond the file are not looked at. */
START_TEST(a_declaration_ends_with_the_file)
{
    static const char text[] = "falsify-arithmetic: sum=f16";
    for (size_t n = 0; n < sizeof text; n++) {
        char *copy = malloc(n ? n : 1); /* of that size: a tool that watches memory sees who reads behind it */
        fal_declaration d;
        fal_error err = { 0 };
        memcpy(copy, text, n);
        const fal_status st = fal_declaration_find(copy, n, &d, &err);
        ck_assert_int_eq(st == FAL_OK && d.said, n >= sizeof text - 1);
        free(copy);
    }
}
END_TEST

static const struct {
    const char *op, *types[2], *text, *says; /* NULL: has an effect */
} fitting[] = {
    { "moe_matmul", { "Q4_K", "Q6_K" }, "activation=q8_k,sum=i32", NULL },
    { "matmul", { NULL }, "activation=q8_0", NULL },
    { "matmul", { "F32" }, "activation=f16", NULL },
    { "matmul", { "F32" }, "sum=f16", NULL },
    { "attention", { NULL }, "kv=f16", NULL },
    { "argmax", { NULL }, "sum=f32,order=any", NULL },
    { "matmul", { "F32" }, "activation=q8_k,sum=i32", "no effect on weights in F32" },
    { "rmsnorm", { NULL }, "activation=q8_k", "no effect on rmsnorm" },
    { "moe_matmul", { NULL }, "kv=f16", "kv=f16, which has no effect on moe_matmul" },
    { "matmul", { NULL }, "sum=i32", "needs codes" },
    { "argmax", { NULL }, "sum=f16", "argmax computes nothing that could round" },
};

/* Rule: a declaration of what the op does not have is refused and named. */
START_TEST(a_declaration_must_have_an_effect)
{
    fal_declaration d = { .said = true };
    fal_error err = { 0 };
    snprintf(d.text, sizeof d.text, "%s", fitting[_i].text);
    ck_assert_int_eq(fal_arithmetic_parse(fitting[_i].text, &d.a, &err), FAL_OK);
    const fal_status st = fal_declaration_check(&d, fitting[_i].op, fitting[_i].types, 2, &err);
    ck_assert_int_eq(st, fitting[_i].says ? FAL_ERR_INPUT : FAL_OK);
    if (fitting[_i].says) ck_assert_msg(strstr(err.message, fitting[_i].says), "%s", err.message);
}
END_TEST

/* Rule: what is left beside the exact result is that of the declaration, and of nothing that has no effect. */
START_TEST(a_declaration_leaves_an_error)
{
    fal_declaration d = { .said = true, .a = { .activation = FAL_ACTIVATION_Q8_K, .sum = FAL_SUM_I32 } };
    ck_assert_double_eq_tol(fal_declaration_error(&d, "matmul", "Q4_K", 768), 0.00697, 1e-5);
    ck_assert_double_eq_tol(fal_declaration_error(&d, "matmul", "Q8_0", 768), 0.00543, 1e-5); /* their partners have blocks of 32 */
    ck_assert_double_eq_tol(fal_declaration_error(&d, "matmul", "F16", 768), 0, 1e-12);
    ck_assert(!fal_declaration_is_f32(&d, "matmul", "Q4_K") && fal_declaration_is_f32(&d, "matmul", "BF16"));
    ck_assert_double_eq_tol(fal_declaration_error(&d, "moe_swiglu", "Q4_K", 2048), 0.00697 * sqrt(2), 1e-5);
    d.said = false;
    ck_assert(fal_declaration_is_f32(&d, "matmul", "Q4_K"));
    ck_assert_double_eq_tol(fal_declaration_error(&d, "matmul", "Q4_K", 768), 0, 1e-12);
    d = (fal_declaration){ .said = true, .a = { .sum = FAL_SUM_F16 } };
    ck_assert_double_eq_tol(fal_declaration_error(&d, "matmul", "Q4_K", 768), 0x1p-11 * sqrt(385 / 3.0), 1e-9);
    d.a = (fal_arithmetic){ .kv = FAL_KV_F16 };
    ck_assert_double_eq_tol(fal_declaration_error(&d, "attention", NULL, 512), 0x1p-11 * sqrt(2 / 3.0), 1e-9);
    ck_assert(fal_declaration_is_f32(&d, "matmul", "Q4_K") && !fal_declaration_is_f32(&d, "attention", NULL));
}
END_TEST

/* ---- guarded arrays ---------------------------------------------------------------------------------------------------- */

/* Rule: one byte beside an array is seen, on either side, and no array is inside another's guard zone. */
START_TEST(guard_zones_see_one_byte)
{
    static const size_t sizes[] = { 1, 4096, 5000, 65536 };
    fal_fenced m;
    uint64_t at[4];
    size_t room = 0;
    for (int i = 0; i < 4; i++) room += fal_fenced_room(sizes[i]);
    ck_assert_int_eq(fal_fenced_make(room, &m, NULL), FAL_OK);
    for (int i = 0; i < 4; i++) {
        at[i] = fal_fenced_take(&m, sizes[i]);
        ck_assert_uint_gt(at[i], 0);
        ck_assert_uint_eq(at[i] % 64, 0);
        ck_assert_uint_le(at[i] + sizes[i] + FAL_WIRE_GUARD + FAL_WIRE_PAGE, m.size);
        memset(m.map + at[i], 0, sizes[i]);
    }
    ck_assert_uint_eq(fal_fenced_take(&m, 1 << 20), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(fal_fenced_broken_before(&m, at[i]), 0);
        ck_assert_uint_eq(fal_fenced_broken_behind(&m, at[i], sizes[i]), 0);
        m.map[at[i] - 1] ^= 1;
        m.map[at[i] + sizes[i] + FAL_WIRE_GUARD - 1] ^= 1;
        ck_assert_uint_eq(fal_fenced_broken_before(&m, at[i]), 1);
        ck_assert_uint_eq(fal_fenced_broken_behind(&m, at[i], sizes[i]), 1);
        m.map[at[i] - 1] ^= 1;
        m.map[at[i] + sizes[i] + FAL_WIRE_GUARD - 1] ^= 1;
        for (int k = 0; k < i; k++) ck_assert_uint_ge(at[i] - FAL_WIRE_GUARD, at[k] + sizes[k] + FAL_WIRE_GUARD);
    }
    fal_fenced_free(&m);
}
END_TEST

/* Rule: the guard pattern cannot be known beforehand. */
START_TEST(patterns_are_drawn)
{
    fal_fenced a, b;
    ck_assert_int_eq(fal_fenced_make(1, &a, NULL), FAL_OK);
    ck_assert_int_eq(fal_fenced_make(1, &b, NULL), FAL_OK);
    ck_assert(a.pattern != b.pattern);
    fal_fenced_free(&a);
    fal_fenced_free(&b);
}
END_TEST

/* ---- calls --------------------------------------------------------------------------------------------------------------- */

static size_t align(size_t at, size_t size)
{
    return (at + size - 1) / size * size;
}

/* Where the host process puts field `name` of a call: the fields in order, each at its natural alignment. */
static size_t place_of(const fal_call *c, const char *name)
{
    size_t at = 0;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        const size_t size = f->kind == FAL_FIELD_ARRAY ? sizeof(void *) : f->kind == FAL_FIELD_BOOL ? sizeof(bool) : 4;
        at = align(at, size);
        if (strcmp(f->name, name) == 0) return at;
        at += size;
    }
    ck_abort_msg("%s has no field %s", c->op, name);
    return 0;
}

static void example(const char *op, fal_fixture **f, fal_call *c)
{
    fal_error err = { 0 };
    ck_assert_msg(fal_fixture_make(op, fal_fixture_example(op), NULL, 1, NULL, NULL, f, &err) == FAL_OK, "%s",
                  err.message);
    ck_assert_int_eq(fal_fixture_fill(*f, NULL), FAL_OK);
    fal_fixture_call(*f, c);
}

/* Rule: what a shared object is handed has the layout of its struct. */
START_TEST(fields_lie_as_in_the_structs)
{
    fal_fixture *f;
    fal_call c;
#define PLACE(op, field) ck_assert_uint_eq(place_of(&c, #field), offsetof(fal_##op##_args, field));
#define OP(op)                                                                                                         \
    example(#op, &f, &c);                                                                                              \
    fal_fixture_free(f);
    OP(embed)
    PLACE(embed, n_tokens)
    PLACE(embed, n_embd) PLACE(embed, n_vocab) PLACE(embed, type) PLACE(embed, w) PLACE(embed, tokens) PLACE(embed, y)
        OP(rmsnorm) PLACE(rmsnorm, n_tokens) PLACE(rmsnorm, n_embd) PLACE(rmsnorm, eps) PLACE(rmsnorm, x) PLACE(
            rmsnorm, w) PLACE(rmsnorm, y) OP(matmul) PLACE(matmul, n_tokens) PLACE(matmul, n_in) PLACE(matmul, n_out)
            PLACE(matmul, type) PLACE(matmul, w) PLACE(matmul, x) PLACE(matmul, y) OP(qk_norm) PLACE(
                qk_norm, n_tokens) PLACE(qk_norm, n_head) PLACE(qk_norm, head_dim) PLACE(qk_norm, eps) PLACE(qk_norm, x)
                PLACE(qk_norm, w) PLACE(qk_norm, y) OP(rope) PLACE(rope, n_tokens) PLACE(rope, n_head) PLACE(
                    rope, head_dim) PLACE(rope, first_pos) PLACE(rope, n_ctx) PLACE(rope, x)
                    PLACE(rope, cos) PLACE(rope, sin) PLACE(rope, y) OP(kv_store) PLACE(kv_store, n_tokens) PLACE(
                        kv_store,
                        n_head_kv) PLACE(kv_store,
                                         head_dim) PLACE(kv_store, first_pos)
                        PLACE(kv_store, n_ctx) PLACE(kv_store, k) PLACE(kv_store, v) PLACE(kv_store, k_cache)
                            PLACE(kv_store, v_cache) OP(attention) PLACE(attention, n_tokens) PLACE(
                                attention, n_head) PLACE(attention, n_head_kv)
                                PLACE(attention, head_dim) PLACE(attention, first_pos) PLACE(attention, n_ctx) PLACE(
                                    attention, q) PLACE(attention, k_cache)
                                    PLACE(attention, v_cache) PLACE(attention, y) OP(add) PLACE(add, n_tokens)
                                        PLACE(add, n_embd) PLACE(add, a) PLACE(add, b) PLACE(add, y) OP(softmax) PLACE(
                                            softmax, n_rows) PLACE(softmax,
                                                                   n_cols) PLACE(softmax, x)
                                            PLACE(softmax, y) OP(router) PLACE(router, n_tokens) PLACE(router, n_expert)
                                                PLACE(router, n_expert_used) PLACE(router, probs)
                                                    PLACE(router, pinned_ids) PLACE(router, ids) PLACE(router, weights)
                                                        OP(moe_matmul) PLACE(moe_matmul,
                                                                             n_tokens) PLACE(moe_matmul, n_expert)
                                                            PLACE(moe_matmul, n_expert_used) PLACE(moe_matmul, n_in)
                                                                PLACE(moe_matmul,
                                                                      n_out) PLACE(moe_matmul,
                                                                                   x_per_slot) PLACE(moe_matmul, type)
                                                                    PLACE(moe_matmul, w) PLACE(moe_matmul, x) PLACE(
                                                                        moe_matmul,
                                                                        ids) PLACE(moe_matmul,
                                                                                   y) OP(swiglu) PLACE(swiglu, n_rows)
                                                                        PLACE(swiglu,
                                                                              n_ff) PLACE(swiglu, gate)
                                                                            PLACE(swiglu, up) PLACE(swiglu, y) OP(moe_swiglu) PLACE(moe_swiglu, n_tokens) PLACE(moe_swiglu, n_expert)
                                                                                PLACE(moe_swiglu, n_expert_used) PLACE(moe_swiglu, n_embd)
                                                                                PLACE(moe_swiglu, n_ff) PLACE(moe_swiglu, type)
                                                                                PLACE(moe_swiglu, w_gate) PLACE(moe_swiglu, w_up)
                                                                                PLACE(moe_swiglu, x) PLACE(moe_swiglu, ids)
                                                                                PLACE(moe_swiglu, y) OP(
                                                                                moe_sum) PLACE(moe_sum, n_tokens)
                                                                                PLACE(moe_sum, n_expert_used) PLACE(
                                                                                    moe_sum, n_embd) PLACE(moe_sum, x)
                                                                                    PLACE(moe_sum,
                                                                                          weights) PLACE(moe_sum, y)
                                                                                        OP(argmax) PLACE(argmax, n_rows)
                                                                                            PLACE(argmax, n_cols)
                                                                                                PLACE(argmax, x)
                                                                                                    PLACE(argmax, ids)
}
END_TEST

/* Rule: what a reader of fields can tell from them. */
START_TEST(fields_have_kinds)
{
    fal_fixture *f;
    fal_call c;
    example("moe_matmul", &f, &c);
    ck_assert_int_eq(fal_call_find(&c, "x_per_slot")->kind, FAL_FIELD_BOOL);
    ck_assert_int_eq(fal_call_find(&c, "type")->kind, FAL_FIELD_TYPE);
    ck_assert_int_eq(fal_call_int(&c, "type", 0), FAL_TYPE_Q4_K);
    ck_assert_int_eq(fal_call_int(&c, "n_rows", -5), -5);
    ck_assert(fal_call_find(&c, "y")->is_output && !fal_call_find(&c, "y")->is_input && fal_call_find(&c, "ids")->is_i32);
    fal_fixture_free(f);
    example("router", &f, &c);
    ck_assert_ptr_null(fal_call_find(&c, "pinned_ids")->data); /* left out, and still in its place */
    fal_fixture_free(f);
}
END_TEST

/* Rule: nobody is held to bytes that an op need not read: experts that were not chosen, rows of other tokens. */
START_TEST(bytes_are_the_least)
{
    fal_fixture *f;
    fal_call c;
    example("moe_matmul", &f, &c); /* 3 tokens, 8 experts, 2 used, 256 -> 33, Q4_K */
    int32_t *ids = fal_fixture_buffer(f, "ids")->data;
    for (int i = 0; i < 6; i++) ids[i] = i % 2 ? 7 : 1;
    const double others = 3 * 256 * 4 + 6 * 4 + 3 * 2 * 33 * 4, expert = 33 * 144;
    ck_assert_double_eq_tol(fal_call_bytes(&c), 2 * expert + others, 1e-6);
    ids[0] = 4;
    ck_assert_double_eq_tol(fal_call_bytes(&c), 3 * expert + others, 1e-6);
    ids[0] = -1; /* no expert at all: a bad id costs nothing and reads nothing */
    ck_assert_double_eq_tol(fal_call_bytes(&c), 2 * expert + others, 1e-6);
    fal_fixture_free(f);
    example("add", &f, &c); /* [3, 256], two inputs and an output */
    ck_assert_double_eq_tol(fal_call_bytes(&c), 3.0 * 3 * 256 * 4, 1e-9);
    fal_fixture_free(f);
}
END_TEST

/* Rule: weights that are shared are the same bytes, and are freed once. */
START_TEST(weights_are_shared)
{
    fal_fixture *a, *b = NULL;
    fal_call c;
    example("matmul", &a, &c);
    ck_assert_int_eq(fal_fixture_make("matmul", fal_fixture_example("matmul"), NULL, 2, NULL, NULL, &b, NULL), FAL_OK);
    fal_fixture_share_weights(b, a);
    ck_assert_int_eq(fal_fixture_fill(b, NULL), FAL_OK);
    ck_assert_ptr_eq(fal_fixture_buffer(b, "w")->data, fal_fixture_buffer(a, "w")->data);
    ck_assert(memcmp(fal_fixture_buffer(b, "x")->data, fal_fixture_buffer(a, "x")->data,
                     fal_fixture_buffer(a, "x")->nbytes) != 0);
    fal_fixture_free(b);
    fal_fixture_free(a);
}
END_TEST

/* ---- names --------------------------------------------------------------------------------------------------------------- */

/* Rule: every operation and every site can be named, and its shapes are ones that the op takes. */
START_TEST(every_op_and_site_has_shapes)
{
    const char *names[64];
    int n = 0;
    for (int i = 0; i < fal_n_ops(); i++) names[n++] = fal_op_name(i);
    for (int s = 0; s < FAL_N_SITES; s++) names[n++] = fal_site_get((fal_site)s)->name;
    for (int i = 0; i < n; i++)
        for (int small = 0; small < 2; small++) {
            const fal_trial_op *o = NULL;
            fal_error err = { 0 };
            int n_timed = 0;
            ck_assert_msg(fal_trial_find(names[i], small, &o, &err) == FAL_OK, "%s", err.message);
            ck_assert_int_ge(o->n_shapes, 1);
            const int site = fal_site_by_name(names[i]);
            if (site >= 0 && i >= fal_n_ops()) ck_assert_str_eq(o->op, fal_site_get((fal_site)site)->op);
            for (int s = 0; s < o->n_shapes; s++) {
                ck_assert_msg(fal_trial_takes(o, &o->shapes[s]), "%s does not take its own shape", names[i]);
                ck_assert_msg(fal_trial_count(o->op, &o->shapes[s], small, &n_timed, &err) == FAL_OK, "%s",
                              err.message);
                ck_assert_int_ge(n_timed, 4);
                ck_assert_int_le(n_timed, FAL_TRIAL_MAX_TIMED);
            }
        }
}
END_TEST

/* Rule: a site stands for its own types and its own side of the activation, an op for all. */
START_TEST(a_site_is_narrower_than_its_op)
{
    const fal_trial_op *down, *q, *all;
    const fal_param q6[] = { { "x_per_slot", 1, NULL }, { "type", 0, "Q6_K" } },
                    q8[] = { { "x_per_slot", 1, NULL }, { "type", 0, "Q8_0" } },
                    shared[] = { { "x_per_slot", 0, NULL }, { "type", 0, "Q6_K" } };
    fal_error err = { 0 };
    ck_assert_int_eq(fal_trial_find("moe_down", false, &down, NULL), FAL_OK);
    ck_assert_int_eq(fal_trial_find("q", false, &q, NULL), FAL_OK);
    ck_assert_int_eq(fal_trial_find("moe_matmul", false, &all, NULL), FAL_OK);
    ck_assert(fal_trial_takes(down, &(fal_params){ q6, 2 }) && fal_trial_takes(all, &(fal_params){ q6, 2 }));
    ck_assert(!fal_trial_takes(down, &(fal_params){ q8, 2 }) && fal_trial_takes(all, &(fal_params){ q8, 2 }));
    ck_assert(!fal_trial_takes(down, &(fal_params){ shared, 2 }) && fal_trial_takes(all, &(fal_params){ shared, 2 }));
    ck_assert(!fal_trial_takes(q, &(fal_params){ q6 + 1, 1 }));
    ck_assert_int_eq(fal_trial_find("moe_dwon", false, &down, &err), FAL_ERR_USAGE);
    ck_assert_msg(strstr(err.message, "did you mean 'moe_down'"), "%s", err.message);
}
END_TEST

/* Rule: the form follows from the end of the name. */
START_TEST(forms)
{
    fal_candidate_file file;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_candidate_look("falsifiers/candidates/matmul.cl", &file, &err), FAL_OK);
    ck_assert_int_eq(file.form, FAL_FORM_CL);
    ck_assert_str_eq(file.backend, "opencl");
    ck_assert_uint_eq(strlen(file.sha256), 64);
    ck_assert_int_eq(fal_candidate_look("/nonexistent/k.cubin", &file, &err), FAL_ERR_INPUT);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_candidate_look("falsifiers/candidates/matmul.cu", &file, &err), FAL_ERR_USAGE);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_candidate_look("so", &file, &err), FAL_ERR_USAGE);
}
END_TEST

/* ---- the plan -------------------------------------------------------------------------------------------------------- */

/* The plan of the project's own contracts for a candidate on a made-up CPU. */
typedef struct {
    fal_options options;
    fal_contract_set *set;
    fal_probes *probes;
    fal_plan *plan;
} world;

static void plan_for_declared(const char *name, const fal_declaration *d, world *w)
{
    char *argv[] = { "run", "--op", (char *)(uintptr_t)name, "--candidate", "falsifiers/candidates/matmul.cl", "--seed",
                     "77",  NULL };
    const char *const folder[] = { "contracts" };
    const fal_trial_op *trial = NULL;
    fal_diagnoses diag = { 0 };
    fal_error err = { 0 };
    *w = (world){ 0 };
    ck_assert_msg(fal_options_parse(7, argv, FAL_FOR_RUN, &w->options, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_contract_set_load(folder, 1, &w->set, &diag, &err) == FAL_OK, "%s", err.message);
    fal_diagnoses_free(&diag);
    ck_assert_int_eq(fal_trial_find(name, true, &trial, NULL), FAL_OK);
    w->probes = fal_probes_make();
    fal_probe *p = &w->probes->items[w->probes->n++];
    *p = (fal_probe){ .backend = &fal_candidate_backend,
                      .state = FAL_PROBE_FOUND,
                      .n = 1,
                      .devices = { { .is_cpu = true, .slug = "k-cpu" } } };
    const fal_plan_in in = { .contracts = w->set,
                             .probes = w->probes,
                             .options = &w->options,
                             .trial = trial,
                             .candidate = "d",
                             .declared = d,
                             .model = "none.gguf" };
    ck_assert_msg(fal_plan_make(&in, &w->plan, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_gt(w->plan->n_cases, 8);
}

static void plan_for(const char *name, world *w)
{
    const fal_declaration nothing = { 0 };
    plan_for_declared(name, &nothing, w);
}

static void free_world(world *w)
{
    fal_plan_free(w->plan);
    free(w->probes);
    fal_contract_set_free(w->set);
    fal_options_free(&w->options);
}

/* Rule: while the candidate runs, no answer of the reference exists; and nothing but the candidate is on trial. */
START_TEST(the_candidate_comes_first)
{
    world w;
    bool reference = false;
    plan_for("rmsnorm", &w);
    for (int i = 0; i < w.plan->n_specs; i++) {
        const fal_spec *s = &w.plan->specs[i].spec;
        ck_assert_int_eq(strcmp(s->backend, "candidate") == 0, s->candidate != NULL);
        if (!s->candidate)
            reference = true;
        else
            ck_assert_msg(!reference, "observation %d of the candidate comes after one of the reference", i);
    }
    ck_assert(reference);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_case *k = &w.plan->cases[i];
        ck_assert_str_eq(k->backend, "candidate");
        ck_assert_str_eq(k->candidate, "d");
        ck_assert(k->required);
        if (k->got >= 0) ck_assert_ptr_nonnull(w.plan->specs[k->got].spec.candidate);
        if (k->want >= 0) ck_assert_str_eq(w.plan->specs[k->want].spec.backend, "reference");
    }
    free_world(&w);
}
END_TEST

/* Rule: answers are held to the op's own limit; every trial has inputs of this run, and so has every contract's case. */
START_TEST(trials_take_limit_and_seeds)
{
    world w;
    int n_trials = 0;
    plan_for("rmsnorm", &w);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_check *c = w.plan->cases[i].check;
        if (strcmp(c->judge, "trial_answers") == 0)
            ck_assert_double_eq_tol(c->limit.value, 1e-6, 1e-12); /* of rmsnorm-kernel-v1 */
        if (c->observe == FAL_OBSERVE_OP) {
            bool own = false;
            for (int s = 0; s < c->n_seeds; s++) own = own || c->seeds[s] == 77;
            ck_assert_msg(own, "%s runs on the contract's seeds alone", w.plan->cases[i].id);
            continue;
        }
        n_trials++;
        ck_assert_str_eq(c->op, "rmsnorm");
        ck_assert_int_ge(c->n_seeds, 6);
        for (int s = 0; s < c->n_seeds; s++)
            for (int t = 0; t < s; t++) ck_assert(c->seeds[s] != c->seeds[t]);
    }
    ck_assert_int_eq(n_trials, 8);
    free_world(&w);
}
END_TEST

/* Rule: a site takes the shapes of its side and types, and an op takes all of them. */
START_TEST(a_site_selects_shapes)
{
    world w;
    int n[2] = { 0 };
    for (int whole = 0; whole < 2; whole++) {
        plan_for(whole ? "moe_matmul" : "moe_down", &w);
        for (int i = 0; i < w.plan->n_cases; i++) {
            const fal_check *c = w.plan->cases[i].check;
            if (c->observe != FAL_OBSERVE_OP) continue;
            n[whole]++;
            if (!whole) ck_assert_double_eq(fal_params_number(c->shapes, "x_per_slot", 0), 1);
        }
        free_world(&w);
    }
    ck_assert_int_gt(n[0], 3);
    ck_assert_int_gt(n[1], 2 * n[0]);
}
END_TEST

/* Rule: under a declaration no limit of float32 is left, and what does not depend on rounding is judged as before. */
START_TEST(declared_arithmetic_is_planned)
{
    const fal_declaration d = { .said = true, .a = { .activation = FAL_ACTIVATION_Q8_K, .sum = FAL_SUM_I32 } };
    world plain, w;
    int n_arithmetic = 0, n_exact = 0, n_answers = 0, n_plain = 0;
    plan_for("moe_down", &plain);
    for (int i = 0; i < plain.plan->n_cases; i++) {
        const fal_check *c = plain.plan->cases[i].check;
        n_plain += strcmp(c->judge, "rel_l2") == 0;
        if (strcmp(c->judge, "trial_answers") == 0) ck_assert_double_lt(c->limit.value, 1e-5);
    }
    ck_assert_int_gt(n_plain, 3);
    plan_for_declared("moe_down", &d, &w);
    ck_assert_ptr_eq(w.plan->declared, &d);
    ck_assert_int_eq(w.plan->n_cases, plain.plan->n_cases); /* nothing that moe_down has is about float32 alone */
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_case *k = &w.plan->cases[i];
        const fal_check *c = k->check;
        ck_assert_msg(strcmp(c->judge, "rel_l2") != 0 && strcmp(c->judge, "max_abs") != 0 && strcmp(c->judge, "closed_form") != 0, "%s", k->id);
        if (strcmp(c->judge, "arithmetic") == 0) {
            n_arithmetic++;
            ck_assert_int_eq(k->want, -1);
            ck_assert_double_eq(c->limit.value, 1);
        } else if (c->observe == FAL_OBSERVE_OP && strncmp(c->fills[0], "exact", 5) == 0) {
            n_exact++;
            ck_assert_str_eq(c->fills[0], "exact_q8");
            ck_assert_ptr_nonnull(strstr(k->id, "/exact_q8"));
            ck_assert_double_eq(c->limit.value, 0);
        } else if (strcmp(c->judge, "trial_answers") == 0) {
            n_answers++;
            ck_assert_double_gt(c->limit.value, 1.4 * 0.00697);
            ck_assert_double_lt(c->limit.value, 1.6 * 0.00697);
        } else if (strcmp(c->judge, "trial_content") == 0) {
            ck_assert_double_eq_tol(c->limit.value, 1e-5, 1e-9);
        }
    }
    ck_assert_int_gt(n_arithmetic, n_plain);
    ck_assert_int_gt(n_exact, 2);
    ck_assert_int_eq(n_answers, 2);
    free_world(&w);
    free_world(&plain);
}
END_TEST

/* Rule: short sums and caches too; what our own kernels declare, and what compares two calls as float32 does, is left out. */
START_TEST(declarations_of_other_ops)
{
    fal_declaration d = { .said = true, .a = { .kv = FAL_KV_F16 } };
    world w;
    plan_for_declared("attention", &d, &w);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_check *c = w.plan->cases[i].check;
        ck_assert(strcmp(c->judge, "rel_l2") != 0 && strcmp(c->judge, "in_hull") != 0 && strcmp(c->judge, "exact") != 0);
    }
    free_world(&w);
    d.a = (fal_arithmetic){ .sum = FAL_SUM_F16 };
    plan_for_declared("matmul", &d, &w);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_check *c = w.plan->cases[i].check;
        ck_assert(strcmp(c->name, "as_the_contract_declares") != 0 && strcmp(c->judge, "faults_named") != 0);
        ck_assert(strcmp(c->judge, "exact") != 0);
        if (strcmp(c->judge, "trial_content") == 0) ck_assert_double_gt(c->limit.value, 0.01);
    }
    free_world(&w);
    /* its exact fill has gates that are 0 or large, and none that is exact for codes */
    d.a = (fal_arithmetic){ .activation = FAL_ACTIVATION_Q8_K, .sum = FAL_SUM_I32 };
    plan_for_declared("moe_swiglu", &d, &w);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_check *c = w.plan->cases[i].check;
        const bool codes = !fal_declaration_is_f32(&d, c->op, fal_params_text(c->shapes, "type", NULL));
        ck_assert(!codes || (strcmp(c->judge, "exact") != 0 && strcmp(c->judge, "faults_named") != 0));
        if (strcmp(c->judge, "trial_answers") == 0) ck_assert_double_gt(c->limit.value, 2 * 0.00697);
    }
    free_world(&w);
}
END_TEST

/* Rule: few outputs, each a long sum, may cancel out; many do not. */
START_TEST(few_outputs_keep_their_seeds)
{
    const fal_param one[] = { { "n_tokens", 3, NULL }, { "n_in", 512, NULL }, { "n_out", 5, NULL } },
                    none[] = { { "n_rows", 1, NULL } };
    ck_assert(fal_plan_too_few(&(fal_params){ one, 3 }));
    ck_assert(!fal_plan_too_few(&(fal_params){ none, 1 }));
    const fal_param more[] = { { "n_tokens", 4, NULL }, { "n_out", 2, NULL }, { "n_expert_used", 2, NULL } };
    ck_assert(!fal_plan_too_few(&(fal_params){ more, 3 }));
}
END_TEST

/* Rule: a bandwidth is one that a machine can have, and small buffers are not slower than the smallest memory. */
START_TEST(host_bandwidth)
{
    const double small = fal_host_read_bandwidth(1), large = fal_host_read_bandwidth((size_t)64 << 20);
    ck_assert_msg(small > 0.1 && small < 1e5, "%g GB/s", small);
    ck_assert_msg(large > 0.1 && large < 1e5, "%g GB/s", large);
}
END_TEST

Suite *fal_suite_candidate(void)
{
    Suite *s = suite_create("candidate");
    TCase *t = tcase_create("candidate");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_launch_is_evaluated, 0, (int)(sizeof launches / sizeof launches[0]));
    tcase_add_loop_test(t, a_bad_launch_is_refused, 0, (int)(sizeof refused / sizeof refused[0]));
    tcase_add_test(t, the_launch_line_is_found);
    tcase_add_loop_test(t, a_declaration_is_found, 0, (int)(sizeof declared / sizeof declared[0]));
    tcase_add_loop_test(t, a_bad_declaration_is_refused, 0, (int)(sizeof undeclared / sizeof undeclared[0]));
    tcase_add_test(t, a_declaration_ends_with_the_file);
    tcase_add_loop_test(t, a_declaration_must_have_an_effect, 0, (int)(sizeof fitting / sizeof fitting[0]));
    tcase_add_test(t, a_declaration_leaves_an_error);
    tcase_add_test(t, guard_zones_see_one_byte);
    tcase_add_test(t, patterns_are_drawn);
    tcase_add_test(t, fields_lie_as_in_the_structs);
    tcase_add_test(t, fields_have_kinds);
    tcase_add_test(t, bytes_are_the_least);
    tcase_add_test(t, weights_are_shared);
    tcase_add_test(t, every_op_and_site_has_shapes);
    tcase_add_test(t, a_site_is_narrower_than_its_op);
    tcase_add_test(t, forms);
    tcase_add_test(t, the_candidate_comes_first);
    tcase_add_test(t, trials_take_limit_and_seeds);
    tcase_add_test(t, a_site_selects_shapes);
    tcase_add_test(t, declared_arithmetic_is_planned);
    tcase_add_test(t, declarations_of_other_ops);
    tcase_add_test(t, few_outputs_keep_their_seeds);
    tcase_add_test(t, host_bandwidth);
    suite_add_tcase(s, t);
    return s;
}
