/* Trials of the judgement of declared arithmetic: kernels emulated in C, as declared and otherwise, and kernels that are wrong. */
#include "falsifiers/unit/judge_scene.h"
#include "harness/half.h"
#include "reference/mirror.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 3, COLUMNS = 1024, ROWS = 33 };

/* ---- a matrix product, whose outputs are then computed again in another way --------------------------------------- */

static void declare(fal_scene *s, const char *text)
{
    s->with[s->check.with.n_params] = (fal_param){ "declare", 0, text };
    s->check.with = (fal_params){ s->with, s->check.with.n_params + 1 };
}

static void make(fal_scene *s, const char *type, const char *declared)
{
    fal_scene_shape(s, "n_tokens", TOKENS);
    fal_scene_shape(s, "n_in", COLUMNS);
    fal_scene_shape(s, "n_out", ROWS);
    s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, type };
    if (declared) declare(s, declared);
    fal_scene_op(s, "arithmetic", "matmul", "gauss");
    fal_scene_limit(s, FAL_LIMIT_MAX, 1);
}

static void make_f64(fal_scene *s) { make(s, "Q4_K", "sum=f64"); }
static void make_f32(fal_scene *s) { make(s, "Q4_K", "activation=f32,sum=f32"); }
static void make_q6_k(fal_scene *s) { make(s, "Q6_K", "activation=f32,sum=f32"); }
static void make_silent(fal_scene *s) { make(s, "Q6_K", NULL); }
static void make_f16_sums(fal_scene *s) { make(s, "Q4_K", "sum=f16"); }
static void make_q8_k(fal_scene *s) { make(s, "Q4_K", "activation=q8_k,sum=i32"); }
static void make_q8_0(fal_scene *s) { make(s, "Q6_K", "activation=q8_0,sum=i32"); }
static void make_ascending(fal_scene *s) { make(s, "Q6_K", "order=ascending"); }
static void make_plain_codes(fal_scene *s) { make(s, "F16", "activation=q8_k,sum=i32"); } /* no codes for these weights */
static void make_unknown(fal_scene *s) { make(s, "Q4_K", "activation=q9"); }

static void make_strict(fal_scene *s)
{
    fal_scene_with(s, "two_sided", 1);
    make(s, "Q4_K", "sum=f32");
}

/* How a kernel computes: what activations become, what it sums in, over how many lanes. */
typedef struct {
    fal_activation act;
    int sum; /* 0 f32, 1 f16, 2 whole blocks of 256 without rounding, as integers are, then f32 */
    size_t lanes;
} kernel;

static float rounded(float v, int sum)
{
    return sum == 1 ? fal_half_to_float(fal_float_to_half(v)) : v;
}

static float product(const float *w, const float *x, const kernel *k)
{
    float lane[64] = { 0 };
    for (size_t at = 0; k->sum == 2 && at < COLUMNS; at += 256) {
        double sum = 0;
        for (size_t c = at; c < at + 256; c++) sum += (double)w[c] * (double)x[c];
        lane[0] += (float)sum;
    }
    for (size_t c = 0; k->sum < 2 && c < COLUMNS; c++) {
        const volatile float p = rounded(w[c] * x[c], k->sum);
        lane[c % k->lanes] = rounded(lane[c % k->lanes] + p, k->sum);
    }
    for (size_t n = k->lanes; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++) lane[i] = rounded(lane[i] + lane[i + n / 2], k->sum);
    return lane[0];
}

/* Each output of request r by this kernel; weights of a row may be spoilt before. */
static void compute(fal_scene *s, int r, const kernel *k, void (*spoil)(size_t row, float *w, float *x))
{
    char name[32];
    const uint32_t type = (uint32_t)fal_type_by_name(s->shape[s->check.n_shapes - 1].text);
    const fal_type_info *t = fal_type_get(type);
    snprintf(name, sizeof name, "r%d.in.w", r);
    const unsigned char *blocks = fal_draft_find(s->got, name)->data;
    snprintf(name, sizeof name, "r%d.in.x", r);
    const float *in = fal_draft_f32(s->got, name);
    snprintf(name, sizeof name, "r%d.out.y", r);
    float *y = fal_draft_f32(s->got, name), w[COLUMNS], x[COLUMNS], d[COLUMNS / 32];
    signed char q[COLUMNS];
    for (size_t token = 0; token < TOKENS; token++)
        for (size_t row = 0; row < ROWS; row++) {
            fal_dequant_find(type)(blocks + row * fal_type_row_bytes(type, COLUMNS), COLUMNS / t->block_elems, w);
            memcpy(x, in + token * COLUMNS, sizeof x);
            const size_t block = fal_mirror_block(k->act);
            if (block) fal_mirror_quantise(k->act, x, COLUMNS, q, d);
            for (size_t c = 0; c < COLUMNS; c++) {
                if (block) x[c] = d[c / block] * (float)q[c];
                if (k->act == FAL_ACTIVATION_F16) x[c] = rounded(x[c], 1);
            }
            if (spoil) spoil(row, w, x);
            y[token * ROWS + row] = product(w, x, k);
        }
}

static void both(fal_scene *s, kernel k, void (*spoil)(size_t row, float *w, float *x))
{
    compute(s, 0, &k, spoil);
    compute(s, 1, &k, spoil);
}

static void tree_f32(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_F32, 0, 64 }, NULL); }
static void chain_f32(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_F32, 0, 1 }, NULL); }
static void chain_f16(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_F32, 1, 1 }, NULL); }
static void tree_f16(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_F32, 1, 32 }, NULL); }
static void codes_q8_k(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_Q8_K, 2, 1 }, NULL); }
static void codes_q8_0(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_Q8_0, 2, 1 }, NULL); }
static void codes_in_f32(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_Q8_K, 0, 8 }, NULL); }
static void halves(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_F16, 0, 8 }, NULL); }

/* Float32 with minima taken out: over 32 columns the sum of codes and that of minima, either far larger than their difference where
   one activation outweighs the others and its weight is small. */
static void minima_apart(fal_scene *s)
{
    for (int r = 0; r < 2; r++) {
        char name[32];
        snprintf(name, sizeof name, "r%d.in.w", r);
        const unsigned char *blocks = fal_draft_find(s->got, name)->data;
        snprintf(name, sizeof name, "r%d.in.x", r);
        float *x = fal_draft_f32(s->got, name), whole[COLUMNS], codes[COLUMNS];
        snprintf(name, sizeof name, "r%d.out.y", r);
        float *y = fal_draft_f32(s->got, name);
        const size_t bytes = fal_type_row_bytes(FAL_TYPE_Q4_K, COLUMNS);
        unsigned char row[2048];
        ck_assert_uint_le(bytes, sizeof row);
        for (size_t c = 0; c < TOKENS * COLUMNS; c++) x[c] *= c % COLUMNS == COLUMNS - 3 ? 12345.678f : 0.001f;
        for (size_t i = 0; i < TOKENS * ROWS; i++) {
            memcpy(row, blocks + i % ROWS * bytes, bytes);
            fal_dequant_find(FAL_TYPE_Q4_K)(row, COLUMNS / 256, whole);
            for (size_t b = 0; b < COLUMNS / 256; b++) row[144 * b + 2] = row[144 * b + 3] = 0; /* dmin */
            fal_dequant_find(FAL_TYPE_Q4_K)(row, COLUMNS / 256, codes);
            volatile float sum = 0, of_codes = 0, of_minima = 0;
            for (size_t c = 0; c < COLUMNS; c++) {
                of_codes += codes[c] * x[i / ROWS * COLUMNS + c];
                of_minima += (whole[c] - codes[c]) * x[i / ROWS * COLUMNS + c];
                if ((c + 1) % 32) continue;
                sum += of_codes + of_minima;
                of_codes = of_minima = 0;
            }
            y[i] = sum;
        }
    }
}

/* ---- bugs --------------------------------------------------------------------------------------------------------- */

static void swap_pairs(size_t row, float *w, float *x)
{
    (void)x;
    for (size_t c = 256; row == 7 && c < 512; c += 2) {
        const float v = w[c];
        w[c] = w[c + 1];
        w[c + 1] = v;
    }
}

static void skip_last(size_t row, float *w, float *x)
{
    (void)row, (void)x;
    w[COLUMNS - 1] = 0;
}

static void one_code(size_t row, float *w, float *x)
{
    (void)x;
    if (row == 20) w[300] += 0.01f; /* weights have a root mean square of 1/32 */
}

static void shift_all(size_t row, float *w, float *x)
{
    (void)row, (void)x;
    for (size_t c = 0; c < COLUMNS; c++) w[c] += 0.002f; /* a minimum that is left out in part */
}

static void low_bits(size_t row, float *w, float *x)
{
    (void)row, (void)x;
    w[300] += 0.004f; /* a wrong low bit of the same code in every row */
}

static const kernel tree = { FAL_ACTIVATION_F32, 0, 32 };
static void bug_block(fal_scene *s) { both(s, tree, swap_pairs); }
static void bug_tail(fal_scene *s) { both(s, tree, skip_last); }
static void bug_code(fal_scene *s) { both(s, tree, one_code); }
static void bug_low_bits(fal_scene *s) { both(s, tree, low_bits); }
static void bug_minimum(fal_scene *s) { both(s, tree, shift_all); }
static void bug_code_in_q8(fal_scene *s) { both(s, (kernel){ FAL_ACTIVATION_Q8_K, 2, 1 }, one_code); }

static void scale(fal_scene *s, float by)
{
    for (int i = 0; i < TOKENS * ROWS; i++) {
        fal_draft_f32(s->got, "r0.out.y")[i] *= by;
        fal_draft_f32(s->got, "r1.out.y")[i] *= by;
    }
}

static void bug_scale(fal_scene *s)
{
    tree_f32(s);
    scale(s, 1.005f);
}

static void bug_zero(fal_scene *s)
{
    tree_f32(s);
    scale(s, 0);
}

static void bug_row(fal_scene *s)
{
    tree_f32(s);
    fal_draft_f32(s->got, "r1.out.y")[4] = fal_draft_f32(s->got, "r1.out.y")[5];
}

static void bug_nan(fal_scene *s)
{
    tree_f32(s);
    fal_draft_f32(s->got, "r1.out.y")[4] = NAN;
}

/* ---- other ops ---------------------------------------------------------------------------------------------------- */

static void make_attention(fal_scene *s, const char *declared)
{
    static const char *const names[] = { "n_tokens", "n_head", "n_head_kv", "head_dim", "first_pos", "n_ctx" };
    static const double values[] = { 3, 4, 2, 32, 40, 50 };
    for (int i = 0; i < 6; i++) fal_scene_shape(s, names[i], values[i]);
    declare(s, declared);
    fal_scene_op(s, "arithmetic", "attention", "gauss");
    fal_scene_limit(s, FAL_LIMIT_MAX, 1);
}

static void make_cache_f32(fal_scene *s) { make_attention(s, "sum=f32"); }
static void make_cache_f16(fal_scene *s) { make_attention(s, "kv=f16,sum=f32"); }

/* The reference on a cache that was rounded to f16 when it was stored. */
static void cache_f16(fal_scene *s)
{
    float k[50 * 2 * 32], v[50 * 2 * 32];
    for (int r = 0; r < 2; r++) {
        const char *const names[] = { r ? "r1.in.q" : "r0.in.q", r ? "r1.in.k_cache" : "r0.in.k_cache", r ? "r1.in.v_cache" : "r0.in.v_cache" };
        for (int i = 0; i < 50 * 2 * 32; i++) {
            k[i] = rounded(fal_draft_f32(s->got, names[1])[i], 1);
            v[i] = rounded(fal_draft_f32(s->got, names[2])[i], 1);
        }
        const fal_attention_args a = { .n_tokens = 3, .n_head = 4, .n_head_kv = 2, .head_dim = 32, .first_pos = 40, .n_ctx = 50, .q = fal_draft_f32(s->got, names[0]), .k_cache = k, .v_cache = v, .y = fal_draft_f32(s->got, r ? "r1.out.y" : "r0.out.y") };
        ck_assert_int_eq(fal_reference_attention(NULL, &a, NULL), FAL_OK);
    }
}

static void make_op(fal_scene *s, const char *op, const char *const *names, const double *values, int n)
{
    for (int i = 0; i < n; i++) fal_scene_shape(s, names[i], values[i]);
    fal_scene_op(s, "arithmetic", op, "gauss");
    fal_scene_limit(s, FAL_LIMIT_MAX, 1);
}

static void make_swiglu(fal_scene *s)
{
    make_op(s, "swiglu", (const char *[]){ "n_rows", "n_ff" }, (const double[]){ 4, 64 }, 2);
}

static void make_moe_swiglu(fal_scene *s)
{
    static const char *const names[] = { "n_tokens", "n_expert", "n_expert_used", "n_embd", "n_ff" };
    s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, "Q4_K" };
    make_op(s, "moe_swiglu", names, (const double[]){ TOKENS, 4, 2, COLUMNS, 33 }, 5);
}

/* Gate and up by this kernel, and silu in float32. */
static void gate_and_up(fal_scene *s, const kernel *k)
{
    const size_t bytes = fal_type_row_bytes(FAL_TYPE_Q4_K, COLUMNS);
    for (int r = 0; r < 2; r++) {
        const void *in[4];
        static const char *const names[] = { "in.w_gate", "in.w_up", "in.x", "in.ids" };
        char name[32];
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "r%d.%s", r, names[i]);
            in[i] = fal_draft_find(s->got, name)->data;
        }
        snprintf(name, sizeof name, "r%d.out.y", r);
        float *y = fal_draft_f32(s->got, name), w[COLUMNS], sum[2];
        for (size_t i = 0; i < (size_t)TOKENS * 2 * 33; i++) {
            const size_t row = (size_t)((const int32_t *)in[3])[i / 33] * 33 + i % 33;
            for (int part = 0; part < 2; part++) {
                fal_dequant_find(FAL_TYPE_Q4_K)((const unsigned char *)in[part] + row * bytes, COLUMNS / 256, w);
                sum[part] = product(w, (const float *)in[2] + i / 66 * COLUMNS, k);
            }
            y[i] = rounded(sum[0] / (1 + expf(-sum[0])) * sum[1], k->sum);
        }
    }
}

static void gate_and_up_f32(fal_scene *s) { gate_and_up(s, &(const kernel){ FAL_ACTIVATION_F32, 0, 1 }); }
static void gate_and_up_f16(fal_scene *s) { gate_and_up(s, &(const kernel){ FAL_ACTIVATION_F32, 1, 1 }); }

static void make_rmsnorm(fal_scene *s)
{
    make_op(s, "rmsnorm", (const char *[]){ "n_tokens", "n_embd" }, (const double[]){ 4, 64 }, 2);
}

static void make_rope(fal_scene *s)
{
    make_op(s, "rope", (const char *[]){ "n_tokens", "n_head", "head_dim" }, (const double[]){ 4, 2, 32 }, 3);
}

static void make_softmax(fal_scene *s)
{
    make_op(s, "softmax", (const char *[]){ "n_rows", "n_cols" }, (const double[]){ 4, 64 }, 2);
}

static void make_router(fal_scene *s)
{
    make_op(s, "router", (const char *[]){ "n_tokens", "n_expert", "n_expert_used" }, (const double[]){ 9, 16, 4 }, 3);
}

static void make_argmax(fal_scene *s)
{
    make_op(s, "argmax", (const char *[]){ "n_rows", "n_cols" }, (const double[]){ 4, 64 }, 2);
}

/* All results rounded to f16, as a kernel in half precision would leave them. */
static void in_halves(fal_scene *s)
{
    for (int r = 0; r < 2; r++) {
        fal_draft_tensor *t = NULL;
        for (int i = 0; i < s->got->n; i++)
            if (strncmp(s->got->tensors[i].name, r ? "r1.out" : "r0.out", 6) == 0 && s->got->tensors[i].dtype == FAL_DTYPE_F32) t = &s->got->tensors[i];
        ck_assert_ptr_nonnull(t);
        for (size_t i = 0; i < t->nbytes / 4; i++) ((float *)t->data)[i] = rounded(((float *)t->data)[i], 1);
    }
}

static void wrong_sign(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[9] *= -1;
}

static void declares_nonsense(fal_scene *s)
{
    json_object_set_new(s->got->about, "ran", json_pack("{s:{s:{s:s}}}", "arithmetic", "matmul", "sum", "f8"));
}

static void declares_q8_k(fal_scene *s)
{
    codes_q8_k(s);
    json_object_set_new(s->got->about, "ran", json_pack("{s:{s:{s:s, s:s}}}", "arithmetic", "matmul", "activation", "q8_k", "sum", "i32"));
}

#define S FAL_SURVIVED
#define F FAL_FALSIFIED
#define E FAL_ERROR
#define J "arithmetic"

const fal_trial fal_trials_arithmetic[] = {
    { J, "the reference's own arithmetic", make_f64, NULL, S, "rounding as declared: activations f32, sums f64" },
    { J, "float32 sums in a tree", make_f32, tree_f32, S, "rounding as declared: activations f32, sums f32" },
    { J, "float32 sums in a chain", make_f32, chain_f32, S, "rounding as declared" },
    { J, "float32 sums with minima taken out", make_f32, minima_apart, S, "rounding as declared" },
    { J, "what declares nothing is taken as float32", make_silent, tree_f32, S, "rounding as taken, as none is declared" },
    { J, "float64 sums declared float32 are marked", make_f32, NULL, S, "far better than declared (activations f32, sums f32): fits activations f32, sums f64" },
    { J, "float64 sums declared float32, two-sided", make_strict, NULL, F, "far better than declared" },
    { J, "float32 sums, two-sided", make_strict, tree_f32, S, "rounding as declared" },
    { J, "a chain declared a chain", make_ascending, chain_f32, S, "rounding as declared: activations f32, sums f32 in ascending order" },
    { J, "a tree declared a chain is marked", make_ascending, tree_f32, S, "far better than declared" },
    { J, "f16 sums declared f32 are no bug", make_f32, chain_f16, F, "arithmetic not as declared (activations f32, sums f32): fits activations f32, sums f16" },
    { J, "f16 sums in a tree declared f32", make_f32, tree_f16, F, "fits activations f32, sums f16" },
    { J, "f16 sums declared", make_f16_sums, chain_f16, S, "rounding as declared: activations f32, sums f16" },
    { J, "f32 sums declared f16 are marked", make_f16_sums, tree_f32, S, "far better than declared (activations f32, sums f16): fits activations f32, sums f32" },
    { J, "Q8_K activations declared f32", make_f32, codes_q8_k, F, "arithmetic not as declared (activations f32, sums f32): fits activations q8_k, sums i32" },
    { J, "Q8_0 activations declared f32", make_f32, codes_q8_0, F, "fits activations q8_0, sums i32" },
    { J, "Q8_K activations declared", make_q8_k, codes_q8_k, S, "rounding as declared: activations q8_k, sums i32" },
    { J, "Q8_K activations, as the observation itself declares", make_silent, declares_q8_k, S, "rounding as declared: activations q8_k, sums i32" },
    { J, "Q8_0 activations declared Q8_K", make_q8_k, codes_q8_0, F, "fits activations q8_0, sums i32" },
    { J, "Q8_K activations declared Q8_0", make_q8_0, codes_q8_k, F, "fits activations q8_k, sums i32" },
    { J, "f32 activations declared Q8_K are marked", make_q8_k, tree_f32, S, "far better than declared (activations q8_k, sums i32): fits activations f32, sums f32" },
    { J, "codes that are decoded before they are summed", make_q6_k, codes_in_f32, F, "fits activations q8_k, sums f32" },
    { J, "f16 activations declared f32", make_f32, halves, F, "fits activations f16, sums f32" },
    { J, "declared codes without effect", make_plain_codes, tree_f32, S, "rounding as declared: activations f32, sums f32" },
    { J, "a swapped block", make_f32, bug_block, F, "a bug: no known arithmetic explains it" },
    { J, "a skipped column", make_f32, bug_tail, F, "a bug" },
    { J, "one wrong code", make_f32, bug_code, F, "a bug" },
    { J, "a wrong low bit in every row", make_f32, bug_low_bits, F, "a bug, though errors have the size of sums in f16" },
    { J, "one wrong code among rounded activations", make_q8_k, bug_code_in_q8, F, "a bug" },
    { J, "part of a minimum left out", make_f32, bug_minimum, F, "a bug" },
    { J, "a scale of 1.005", make_f32, bug_scale, F, "a bug" },
    { J, "a neighbour's output", make_f32, bug_row, F, "r1 out.y[0, 4]" },
    { J, "NaN", make_f32, bug_nan, F, "a bug" },
    { J, "zeros", make_f32, bug_zero, F, "a bug" },
    { J, "a cache of f32", make_cache_f32, NULL, S, "rounding as declared" },
    { J, "a cache of f16 declared f32", make_cache_f32, cache_f16, F, "cache f16" },
    { J, "a cache of f16 declared", make_cache_f16, cache_f16, S, "rounding as declared: activations f32, sums f32, cache f16" },
    { J, "swiglu", make_swiglu, NULL, S, NULL },
    { J, "swiglu in f16", make_swiglu, in_halves, F, "fits activations f32, sums f16" },
    { J, "swiglu with one wrong sign", make_swiglu, wrong_sign, F, "a bug" },
    { J, "moe_swiglu", make_moe_swiglu, NULL, S, NULL },
    { J, "moe_swiglu with float32 sums in a chain", make_moe_swiglu, gate_and_up_f32, S, "rounding as" },
    { J, "moe_swiglu with f16 sums", make_moe_swiglu, gate_and_up_f16, F, "fits activations f32, sums f16" },
    { J, "moe_swiglu with one wrong sign", make_moe_swiglu, wrong_sign, F, "a bug" },
    { J, "rmsnorm", make_rmsnorm, NULL, S, NULL },
    { J, "rmsnorm in f16", make_rmsnorm, in_halves, F, "fits activations f32, sums f16" },
    { J, "rmsnorm with one wrong sign", make_rmsnorm, wrong_sign, F, "a bug" },
    { J, "rope", make_rope, NULL, S, NULL },
    { J, "rope with one wrong sign", make_rope, wrong_sign, F, "a bug" },
    { J, "softmax", make_softmax, NULL, S, NULL },
    { J, "softmax in f16", make_softmax, in_halves, F, "fits activations f32, sums f16" },
    { J, "softmax with one wrong sign", make_softmax, wrong_sign, F, "a bug" },
    { J, "router", make_router, NULL, S, NULL },
    { J, "router in f16", make_router, in_halves, F, "fits activations f32, sums f16" },
    { J, "an op that computes nothing", make_argmax, NULL, E, "argmax computes nothing that could round" },
    { J, "an unknown declaration of the contract", make_unknown, NULL, E, "activation is 'q9'" },
    { J, "an unknown declaration of the observation", make_silent, declares_nonsense, E, "not known" },
};
const int fal_n_trials_arithmetic = (int)(sizeof fal_trials_arithmetic / sizeof fal_trials_arithmetic[0]);
