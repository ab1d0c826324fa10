/* Trials of the judgements of single ops: outputs that the reference computed, and what may be done to them. */
#include "falsifiers/unit/judge_scene.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- makers: one op each, with 2 seeds, so requests 0 and 1 (or 0 to 3 with a second request each) ------------- */

static void shape_of(fal_scene *s, const char *op)
{
    static const struct {
        const char *op, *names[7];
        double values[7];
    } shapes[] = {
        { "embed", { "n_tokens", "n_embd", "n_vocab" }, { 3, 8, 10 } },
        { "rmsnorm", { "n_tokens", "n_embd" }, { 3, 16 } },
        { "matmul", { "n_tokens", "n_in", "n_out" }, { 3, 16, 5 } },
        { "qk_norm", { "n_tokens", "n_head", "head_dim" }, { 3, 2, 8 } },
        { "rope", { "n_tokens", "n_head", "head_dim", "first_pos", "n_ctx" }, { 3, 2, 8, 5, 40 } },
        { "kv_store", { "n_tokens", "n_head_kv", "head_dim", "first_pos", "n_ctx" }, { 2, 2, 4, 3, 8 } },
        { "attention", { "n_tokens", "n_head", "n_head_kv", "head_dim", "first_pos", "n_ctx" }, { 3, 4, 2, 8, 2, 9 } },
        { "add", { "n_tokens", "n_embd" }, { 3, 16 } },
        { "softmax", { "n_rows", "n_cols" }, { 3, 16 } },
        { "router", { "n_tokens", "n_expert", "n_expert_used" }, { 4, 8, 3 } },
        { "moe_matmul", { "n_tokens", "n_expert", "n_expert_used", "n_in", "n_out" }, { 3, 4, 2, 16, 5 } },
        { "swiglu", { "n_rows", "n_ff" }, { 2, 32 } },
        { "moe_swiglu", { "n_tokens", "n_expert", "n_expert_used", "n_embd", "n_ff" }, { 3, 4, 2, 16, 5 } },
        { "moe_sum", { "n_tokens", "n_expert_used", "n_embd" }, { 3, 2, 16 } },
        { "argmax", { "n_rows", "n_cols" }, { 4, 16 } },
    };
    size_t i = 0;
    while (i < sizeof shapes / sizeof shapes[0] && strcmp(shapes[i].op, op) != 0) i++;
    ck_assert_uint_lt(i, sizeof shapes / sizeof shapes[0]);
    for (int k = 0; k < 7 && shapes[i].names[k]; k++) fal_scene_shape(s, shapes[i].names[k], shapes[i].values[k]);
    if (strcmp(op, "embed") == 0 || strcmp(op, "matmul") == 0 || strcmp(op, "moe_matmul") == 0 || strcmp(op, "moe_swiglu") == 0)
        s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, "F32" };
}

static void make(fal_scene *s, const char *judge, const char *op, const char *fill, double max)
{
    if (s->check.n_shapes == 0) shape_of(s, op);
    fal_scene_op(s, judge, op, fill);
    fal_scene_limit(s, FAL_LIMIT_MAX, max);
}

static void make_against_reference(fal_scene *s, const char *judge, const char *op, double max)
{
    make(s, judge, op, "gauss", max);
    s->check.against = FAL_AGAINST_REFERENCE;
    s->want = fal_draft_copy(s->got);
}

static void make_then(fal_scene *s, const char *judge, const char *op, const char *fill, const char *name, double value,
                      double max)
{
    fal_scene_then(s, name, value);
    make(s, judge, op, fill, max);
    s->check.against = FAL_AGAINST_SELF;
}

/* ---- changes that many judgements share ------------------------------------------------------------------------ */

static void nan_in_y(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] = NAN;
}

static void inf_in_y(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] = INFINITY;
}

static void poisoned_y(fal_scene *s)
{
    fal_draft_poison(s->got, "r1.out.y");
}

static void all_y(fal_scene *s, float v)
{
    static const char *const names[] = { "r0.out.y", "r1.out.y", "r2.out.y", "r3.out.y" };
    const int n = s->check.n_seeds * (s->check.then.n_params > 0 ? 2 : 1);
    for (int r = 0; r < n; r++) {
        fal_draft_tensor *const t = fal_draft_find(s->got, names[r]);
        for (size_t i = 0; i < t->nbytes / 4; i++) ((float *)t->data)[i] = v;
    }
}

static void poison_everywhere(fal_scene *s)
{
    static const char *const names[] = { "r0.out.y", "r1.out.y", "r2.out.y", "r3.out.y" };
    const int n = s->check.n_seeds * (s->check.then.n_params > 0 ? 2 : 1);
    for (int r = 0; r < n; r++) fal_draft_poison(s->got, names[r]);
}

static void zero_y(fal_scene *s)
{
    all_y(s, 0);
}

static void zero_on_both_sides(fal_scene *s)
{
    zero_y(s);
    fal_draft_zero(s->want, "r0.out.y");
    fal_draft_zero(s->want, "r1.out.y");
}

static void zeros_as_asked(fal_scene *s)
{
    zero_on_both_sides(s);
    s->fills[0] = "zeros";
}

static void no_y(fal_scene *s)
{
    fal_draft_drop(s->got, "r1.out.y");
}

static void no_y_in_reference(fal_scene *s)
{
    fal_draft_drop(s->want, "r1.out.y");
}

static void misshapen_y(fal_scene *s)
{
    fal_draft_tensor *const t = fal_draft_find(s->got, "r1.out.y");
    fal_draft_reshape(s->got, "r1.out.y", 1, (const int64_t[]) { (int64_t)(t->nbytes / 4) });
}

static void empty_input(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.in.x", 2, (const int64_t[]) { 0, 16 });
    fal_draft_reshape(s->got, "r0.out.y", 2, (const int64_t[]) { 0, 16 });
    fal_draft_reshape(s->want, "r0.in.x", 2, (const int64_t[]) { 0, 16 });
    fal_draft_reshape(s->want, "r0.out.y", 2, (const int64_t[]) { 0, 16 });
}

static void empty_request(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.in.x", 2, (const int64_t[]) { 0, 16 });
    fal_draft_reshape(s->got, "r0.out.y", 2, (const int64_t[]) { 0, 16 });
}

static void one_request_short(fal_scene *s)
{
    s->check.n_seeds = 3;
}

static void another_seed(fal_scene *s)
{
    s->seeds[1] = 9;
}

static void another_op(fal_scene *s)
{
    json_object_set_new(json_array_get(json_object_get(s->got->about, "requests"), 0), "op", json_string("softmax"));
}

static void other_input_than_reference(fal_scene *s)
{
    float *const x = fal_draft_f32(s->got, "r0.in.x");
    x[0] = nextafterf(x[0], 100);
}

static void last_bit(fal_scene *s)
{
    float *const y = fal_draft_f32(s->got, "r1.out.y");
    y[7] = nextafterf(y[7], 100);
}

/* 1 % of one element. */
static void one_element(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] += 0.01f;
}

static void exchanged_elements(fal_scene *s)
{
    float *const y = fal_draft_f32(s->got, "r1.out.y"), keep = y[0];
    y[0] = y[1];
    y[1] = keep;
}

/* ---- against the reference ------------------------------------------------------------------------------------- */

static void make_rel_l2(fal_scene *s)
{
    make_against_reference(s, "rel_l2", "rmsnorm", 1e-6);
}

static void make_rel_l2_router(fal_scene *s)
{
    make_against_reference(s, "rel_l2", "router", 1e-6);
}

static void make_exact(fal_scene *s)
{
    make_against_reference(s, "exact", "rmsnorm", 0);
}

static void make_max_abs(fal_scene *s)
{
    make_against_reference(s, "max_abs", "rmsnorm", 1e-3);
}

static void another_expert(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r1.out.ids");
    for (ids[0] = 0; ids[0] == fal_draft_i32(s->want, "r1.out.ids")[0]; ids[0]++) {
    }
}

static void poisoned_ids_both(fal_scene *s)
{
    fal_draft_poison(s->got, "r1.out.ids");
    fal_draft_poison(s->want, "r1.out.ids");
}

static void poison_both(fal_scene *s)
{
    fal_draft_poison(s->got, "r1.out.y");
    fal_draft_poison(s->want, "r1.out.y");
}

static void reference_zero(fal_scene *s)
{
    fal_draft_zero(s->want, "r1.out.y");
}

/* ---- closed forms ---------------------------------------------------------------------------------------------- */

#define CLOSED_FORM(op_name) \
    static void make_form_##op_name(fal_scene *s) \
    { \
        make(s, "closed_form", #op_name, "gauss", 2e-6); \
    }
CLOSED_FORM(embed)
CLOSED_FORM(rmsnorm)
CLOSED_FORM(matmul)
CLOSED_FORM(qk_norm)
CLOSED_FORM(rope)
CLOSED_FORM(attention)
CLOSED_FORM(add)
CLOSED_FORM(softmax)
CLOSED_FORM(moe_matmul)
CLOSED_FORM(swiglu)
CLOSED_FORM(moe_swiglu)
CLOSED_FORM(moe_sum)
CLOSED_FORM(router)
CLOSED_FORM(argmax)
CLOSED_FORM(kv_store)

static void make_form_quantised(fal_scene *s)
{
    fal_scene_shape(s, "n_tokens", 1);
    fal_scene_shape(s, "n_in", 256);
    fal_scene_shape(s, "n_out", 3);
    s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, "Q4_K" };
    make(s, "closed_form", "matmul", "gauss", 2e-6);
}

static void make_form_pinned(fal_scene *s)
{
    fal_scene_with(s, "pinned", 1);
    make(s, "closed_form", "router", "gauss", 2e-6);
}

static void make_form_freq_base(fal_scene *s)
{
    fal_scene_with(s, "freq_base", 1e7);
    make(s, "closed_form", "rope", "gauss", 2e-6);
}

static void make_form_per_slot(fal_scene *s)
{
    shape_of(s, "moe_matmul");
    fal_scene_shape(s, "x_per_slot", 1);
    make(s, "closed_form", "moe_matmul", "gauss", 2e-6);
}

static void make_form_zeros(fal_scene *s)
{
    make(s, "closed_form", "rmsnorm", "zeros", 0);
}

static void tiny_instead_of_zero(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.out.y")[3] = 1e-44f;
}

static void ids_in_another_order(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r1.out.ids"), keep = ids[0];
    ids[0] = ids[1];
    ids[1] = keep;
}

static void wrong_index(fal_scene *s)
{
    fal_draft_i32(s->got, "r1.out.ids")[2] ^= 1;
}

static void poisoned_ids(fal_scene *s)
{
    fal_draft_poison(s->got, "r1.out.ids");
}

static void poisoned_weights(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.out.weights");
}

/* The scale of the first head's last token only: what a wrong position looks like. */
static void turned_too_far(fal_scene *s)
{
    float *const y = fal_draft_f32(s->got, "r0.out.y");
    const float a = y[0], b = y[4];
    y[0] = a * cosf(0.01f) - b * sinf(0.01f);
    y[4] = a * sinf(0.01f) + b * cosf(0.01f);
}

static void weights_do_not_fit(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.in.w", 1, (const int64_t[]) { 15 });
}

static void first_pos_beyond_the_cache(fal_scene *s)
{
    json_t *const request = json_array_get(json_object_get(s->got->about, "requests"), 0);
    json_object_set_new(json_object_get(request, "params"), "first_pos", json_integer(7));
}

static void huge_parameter(fal_scene *s)
{
    json_t *const request = json_array_get(json_object_get(s->got->about, "requests"), 0);
    json_object_set_new(json_object_get(request, "params"), "n_expert_used", json_real(1e300));
}

static void input_token_outside(fal_scene *s)
{
    fal_draft_i32(s->got, "r0.in.tokens")[1] = 10;
}

static void input_expert_outside(fal_scene *s)
{
    fal_draft_i32(s->got, "r0.in.ids")[1] = -4;
}

/* ---- values by themselves -------------------------------------------------------------------------------------- */

static void make_finite(fal_scene *s)
{
    make(s, "finite", "softmax", "gauss", 0);
}

static void make_finite_zeros(fal_scene *s)
{
    make(s, "finite", "rmsnorm", "zeros", 0);
}

static void make_same_bits(fal_scene *s)
{
    make(s, "same_bits", "rmsnorm", "gauss", 0);
    s->check.again = true;
    s->again = fal_draft_copy(s->got);
}

static void poison_in_both_runs(fal_scene *s)
{
    fal_draft_poison(s->got, "r1.out.y");
    fal_draft_poison(s->again, "r1.out.y");
}

static void make_argmax_range(fal_scene *s)
{
    make(s, "argmax_range", "argmax", "gauss", 0);
}

static void index_at_the_end(fal_scene *s)
{
    fal_draft_i32(s->got, "r1.out.ids")[0] = 16;
}

static void make_in_range(fal_scene *s)
{
    fal_scene_with(s, "low", 0);
    fal_scene_with(s, "high", 1);
    make(s, "in_range", "softmax", "gauss", 0);
}

static void slightly_negative(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] = -1e-30f;
}

static void no_bounds(fal_scene *s)
{
    s->check.with.n_params = 1;
}

static void make_row_sum(fal_scene *s)
{
    make(s, "row_sum", "softmax", "gauss", 1e-6);
}

static void make_row_sum_router(fal_scene *s)
{
    make(s, "row_sum", "router", "gauss", 1e-6);
}

static void make_constant(fal_scene *s)
{
    fal_scene_with(s, "expect", 0.0625);
    make(s, "constant", "softmax", "ones", 1e-9);
}

static void make_constant_zero(fal_scene *s)
{
    fal_scene_with(s, "expect", 0);
    make(s, "constant", "rmsnorm", "zeros", 0);
}

static void expect_nothing(fal_scene *s)
{
    s->check.with.n_params = 0;
}

static void make_ordered(fal_scene *s)
{
    make(s, "ordered", "router", "gauss", 0);
}

static void make_ordered_zeros(fal_scene *s)
{
    make(s, "ordered", "router", "zeros", 0);
}

static void make_ordered_ties(fal_scene *s)
{
    make(s, "ordered", "router", "ties", 0);
}

static void chosen_twice(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r1.out.ids");
    ids[2] = ids[0];
}

static void fourth_instead_of_third(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r1.out.ids");
    const float *const p = fal_draft_f32(s->got, "r1.in.probs");
    int next = -1;
    for (int e = 0; e < 8; e++)
        if (e != ids[0] && e != ids[1] && e != ids[2] && (next < 0 || p[e] > p[next])) next = e;
    ids[2] = next;
}

/* ---- identities ------------------------------------------------------------------------------------------------ */

static void make_identity(fal_scene *s)
{
    fal_scene_shape(s, "n_tokens", 3);
    fal_scene_shape(s, "n_expert_used", 1);
    fal_scene_shape(s, "n_embd", 16);
    fal_scene_with(s, "weights_uniform", 1);
    make(s, "identity", "moe_sum", "gauss", 0);
}

/* y = a + b with b forced to zero: y is a. */
static void make_identity_of(fal_scene *s)
{
    make(s, "identity", "add", "gauss", 0);
    for (int r = 0; r < 2; r++) {
        fal_draft_zero(s->got, r ? "r1.in.b" : "r0.in.b");
        memcpy(fal_draft_f32(s->got, r ? "r1.out.y" : "r0.out.y"), fal_draft_f32(s->got, r ? "r1.in.a" : "r0.in.a"),
               48 * sizeof(float));
    }
    s->with[0] = (fal_param){ "of", 0, "a" };
    s->check.with = (fal_params){ s->with, 1 };
}

static void identity_of_another_size(fal_scene *s)
{
    make(s, "identity", "matmul", "gauss", 0);
}

static void make_single_key(fal_scene *s)
{
    fal_scene_shape(s, "n_tokens", 1);
    fal_scene_shape(s, "n_head", 4);
    fal_scene_shape(s, "n_head_kv", 2);
    fal_scene_shape(s, "head_dim", 8);
    fal_scene_shape(s, "n_ctx", 4);
    make(s, "single_key", "attention", "gauss", 1e-6);
}

static void make_single_value(fal_scene *s)
{
    fal_scene_with(s, "same_v", 1);
    make(s, "single_key", "attention", "gauss", 1e-6);
}

static void make_many_keys(fal_scene *s)
{
    make(s, "single_key", "attention", "gauss", 1e-6);
}

static void other_group(fal_scene *s)
{
    float *const y = fal_draft_f32(s->got, "r0.out.y");
    memcpy(y, y + 16, 8 * sizeof *y); /* head 0 answers with the values of head 2's group */
}

static void make_in_hull(fal_scene *s)
{
    make(s, "in_hull", "attention", "gauss", 0);
}

static void beyond_all_values(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[33] = 9;
}

static void make_monotone(fal_scene *s)
{
    fal_scene_with(s, "up_value", 1);
    make(s, "monotone", "swiglu", "ramp", 0);
}

static void make_monotone_below_zero(fal_scene *s)
{
    fal_scene_with(s, "up_value", -1);
    make(s, "monotone", "swiglu", "ramp", 0);
}

static void one_step_down(fal_scene *s)
{
    float *const y = fal_draft_f32(s->got, "r1.out.y");
    y[30] = nextafterf(y[29], 0);
}

static void all_ones(fal_scene *s)
{
    all_y(s, 1);
}

/* ---- rope and pairs -------------------------------------------------------------------------------------------- */

static void make_norm_preserving(fal_scene *s)
{
    make(s, "norm_preserving", "rope", "gauss", 1e-6);
}

static void poisoned_beside_infinity(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[0] = INFINITY;
    fal_draft_f32(s->got, "r1.out.y")[4] = NAN;
}

static void make_relative_position(fal_scene *s)
{
    make_then(s, "relative_position", "rope", "gauss", "first_pos", 31, 1e-6);
}

static void not_rotated_at_all(fal_scene *s)
{
    for (int r = 0; r < 4; r++) {
        static const char *const in[] = { "r0.in.x", "r1.in.x", "r2.in.x", "r3.in.x" }, *const out[] = {
            "r0.out.y", "r1.out.y", "r2.out.y", "r3.out.y"
        };
        memcpy(fal_draft_f32(s->got, out[r]), fal_draft_f32(s->got, in[r]), 48 * sizeof(float));
    }
}

static void only_the_second_stays(fal_scene *s)
{
    memcpy(fal_draft_f32(s->got, "r1.out.y") + 16, fal_draft_f32(s->got, "r1.in.x") + 16, 16 * sizeof(float));
}

static void make_scale(fal_scene *s)
{
    shape_of(s, "rmsnorm");
    fal_scene_shape(s, "eps", 1e-12);
    make_then(s, "scale_invariance", "rmsnorm", "gauss", "x_scale", -4, 1e-6);
}

static void make_scale_of_nothing(fal_scene *s)
{
    make_then(s, "scale_invariance", "rmsnorm", "gauss", "x_scale", 1, 1e-6);
}

static void sign_lost(fal_scene *s)
{
    memcpy(fal_draft_f32(s->got, "r1.out.y"), fal_draft_f32(s->got, "r0.out.y"), 48 * sizeof(float));
}

static void scaled_otherwise(fal_scene *s)
{
    s->then[0].number = 4;
}

static void make_equal(fal_scene *s)
{
    make_then(s, "equal_outputs", "softmax", "gauss", "x_shift", 8, 1e-5);
}

static void make_equal_to_another_op(fal_scene *s)
{
    fal_scene_shape(s, "n_tokens", 3);
    fal_scene_shape(s, "n_expert", 1);
    fal_scene_shape(s, "n_expert_used", 1);
    fal_scene_shape(s, "n_in", 16);
    fal_scene_shape(s, "n_out", 5);
    s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, "F32" };
    s->then[0] = (fal_param){ "op", 0, "matmul" };
    s->check.then.n_params = 1;
    make(s, "equal_outputs", "moe_matmul", "gauss", 1e-6);
    s->check.against = FAL_AGAINST_SELF;
}

static void make_equal_of_nothing(fal_scene *s)
{
    make_then(s, "equal_outputs", "softmax", "gauss", "x_shift", 0, 1e-6);
}

static void make_future(fal_scene *s)
{
    make_then(s, "same_out_bits", "attention", "gauss", "future_noise", 1, 0);
}

static void nothing_redrawn(fal_scene *s)
{
    for (int r = 0; r < 4; r += 2) {
        memcpy(fal_draft_f32(s->got, r ? "r3.in.k_cache" : "r1.in.k_cache"),
               fal_draft_f32(s->got, r ? "r2.in.k_cache" : "r0.in.k_cache"), 144 * sizeof(float));
        memcpy(fal_draft_f32(s->got, r ? "r3.in.v_cache" : "r1.in.v_cache"),
               fal_draft_f32(s->got, r ? "r2.in.v_cache" : "r0.in.v_cache"), 144 * sizeof(float));
    }
}

static void make_repetition(fal_scene *s)
{
    make_then(s, "same_out_bits", "router", "ties", "x_scale", 1, 0);
}

static void no_then(fal_scene *s)
{
    s->check.then.n_params = 0;
}

/* ---- kv_store -------------------------------------------------------------------------------------------------- */

static void make_stored(fal_scene *s)
{
    make(s, "stored", "kv_store", "gauss", 0);
}

static void neighbour_slot_touched(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.v_cache")[39] = nextafterf(fal_draft_f32(s->got, "r1.out.v_cache")[39], 100);
    ck_assert(fal_draft_f32(s->got, "r1.out.v_cache")[39] < 100);
}

static void not_stored(fal_scene *s)
{
    memcpy(fal_draft_f32(s->got, "r0.out.k_cache"), fal_draft_f32(s->got, "r0.in.k_cache"), 64 * sizeof(float));
}

static void one_slot_late(fal_scene *s)
{
    float *const c = fal_draft_f32(s->got, "r0.out.k_cache");
    memmove(c + 32, c + 24, 16 * sizeof *c);
}

static void poisoned_cache(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.out.v_cache");
}

static void poison_was_there(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.in.v_cache");
    fal_draft_poison(s->got, "r0.in.v");
    fal_draft_poison(s->got, "r0.out.v_cache");
}

static void stored_already(fal_scene *s)
{
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 2; i++) {
            static const char *const in[] = { "r0.in.k_cache", "r0.in.v_cache", "r1.in.k_cache", "r1.in.v_cache" };
            static const char *const out[] = { "r0.out.k_cache", "r0.out.v_cache", "r1.out.k_cache", "r1.out.v_cache" };
            memcpy(fal_draft_f32(s->got, in[2 * r + i]), fal_draft_f32(s->got, out[2 * r + i]), 64 * sizeof(float));
        }
}

#define SHARED(judge, maker) \
    { judge, "NaN in got", maker, nan_in_y, FAL_FALSIFIED, NULL }, \
    { judge, "infinity in got", maker, inf_in_y, FAL_FALSIFIED, NULL }, \
    { judge, "an output that nobody wrote", maker, poisoned_y, FAL_FALSIFIED, NULL }, \
    { judge, "poison in all outputs", maker, poison_everywhere, FAL_FALSIFIED, NULL }, \
    { judge, "missing tensor", maker, no_y, FAL_CRASHED, "did not deliver r1.out.y" }, \
    { judge, "wrong shape", maker, misshapen_y, FAL_FALSIFIED, "out.y is F32" }, \
    { judge, "a request too few", maker, one_request_short, FAL_CRASHED, "requests" }

const fal_trial fal_trials_op[] = {
    { "rel_l2", "op: agreement passes", make_rel_l2, NULL, FAL_SURVIVED, "0 of 2 outputs" },
    { "rel_l2", "op: last bit is within", make_rel_l2, last_bit, FAL_SURVIVED, NULL },
    { "rel_l2", "op: one of 48 elements", make_rel_l2, one_element, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "rel_l2", "op: zeros", make_rel_l2, zero_y, FAL_FALSIFIED, NULL },
    { "rel_l2", "op: zeros on both sides", make_rel_l2, zero_on_both_sides, FAL_MISTRUSTED, "every output is zero" },
    { "rel_l2", "op: zeros where they are asked for", make_rel_l2, zeros_as_asked, FAL_SURVIVED, NULL },
    { "rel_l2", "op: a zero reference demands zeros", make_rel_l2, reference_zero, FAL_FALSIFIED, "inf" },
    { "rel_l2", "op: poison equals poison", make_rel_l2, poison_both, FAL_FALSIFIED, NULL },
    { "rel_l2", "op: no reference tensor", make_rel_l2, no_y_in_reference, FAL_ERROR, "lacks r1.out.y" },
    { "rel_l2", "op: zero elements", make_rel_l2, empty_input, FAL_FALSIFIED, "no element" },
    { "rel_l2", "op: another seed", make_rel_l2, another_seed, FAL_ERROR, "seed 2, the check asks for 9" },
    { "rel_l2", "op: another op", make_rel_l2, another_op, FAL_ERROR, "ran op softmax" },
    { "rel_l2", "op: other inputs than the reference had", make_rel_l2, other_input_than_reference, FAL_ERROR,
      "in.x differs" },
    { "rel_l2", "op: ids agree", make_rel_l2_router, NULL, FAL_SURVIVED, NULL },
    { "rel_l2", "op: one id differs", make_rel_l2_router, another_expert, FAL_FALSIFIED, "r1 out.ids[0, 0]" },
    { "rel_l2", "op: poisoned ids equal poisoned ids", make_rel_l2_router, poisoned_ids_both, FAL_FALSIFIED, NULL },
    SHARED("rel_l2", make_rel_l2),

    { "exact", "agreement passes", make_exact, NULL, FAL_SURVIVED, NULL },
    { "exact", "last bit", make_exact, last_bit, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "exact", "poison equals poison", make_exact, poison_both, FAL_FALSIFIED, "48" },
    { "exact", "zeros on both sides", make_exact, zero_on_both_sides, FAL_MISTRUSTED, NULL },
    SHARED("exact", make_exact),

    { "max_abs", "agreement passes", make_max_abs, NULL, FAL_SURVIVED, NULL },
    { "max_abs", "one element", make_max_abs, one_element, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "max_abs", "zeros on both sides", make_max_abs, zero_on_both_sides, FAL_MISTRUSTED, NULL },
    SHARED("max_abs", make_max_abs),

#define FORM(op_name)                                                                                                  \
    { "closed_form", #op_name " as the reference computes it", make_form_##op_name, NULL, FAL_SURVIVED, NULL },        \
        { "closed_form", #op_name " with one wrong element", make_form_##op_name, one_element, FAL_FALSIFIED,          \
          "r1 out.y[" },                                                                                               \
        { "closed_form", #op_name " all zero", make_form_##op_name, zero_y, FAL_FALSIFIED, NULL },                     \
        SHARED("closed_form", make_form_##op_name)
    FORM(embed),
    FORM(rmsnorm),
    FORM(matmul),
    FORM(qk_norm),
    FORM(rope),
    FORM(attention),
    FORM(add),
    FORM(softmax),
    FORM(moe_matmul),
    FORM(swiglu),
    FORM(moe_swiglu),
    FORM(moe_sum),
#undef FORM
    { "closed_form", "router as the reference computes it", make_form_router, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "router: another order", make_form_router, ids_in_another_order, FAL_FALSIFIED, "out.ids" },
    { "closed_form", "router: ids that nobody wrote", make_form_router, poisoned_ids, FAL_FALSIFIED, NULL },
    { "closed_form", "router: weights that nobody wrote", make_form_router, poisoned_weights, FAL_FALSIFIED, NULL },
    { "closed_form", "router with pinned ids", make_form_pinned, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "router with pinned ids: another choice", make_form_pinned, ids_in_another_order, FAL_FALSIFIED,
      NULL },
    { "closed_form", "router: a parameter that is no dimension", make_form_router, huge_parameter, FAL_FALSIFIED,
      "out.ids" },
    { "closed_form", "argmax as the reference computes it", make_form_argmax, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "argmax: one wrong", make_form_argmax, wrong_index, FAL_FALSIFIED, "r1 out.ids[2]" },
    { "closed_form", "argmax: indices that nobody wrote", make_form_argmax, poisoned_ids, FAL_FALSIFIED, NULL },
    { "closed_form", "rope with another base", make_form_freq_base, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "rope: one pair turned too far", make_form_rope, turned_too_far, FAL_FALSIFIED, "r0 out.y[0, 0," },
    { "closed_form", "moe_matmul with an input per slot", make_form_per_slot, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "zero elements", make_form_rmsnorm, empty_request, FAL_FALSIFIED, "in.x holds no element" },
    { "closed_form", "zeros of zeros", make_form_zeros, NULL, FAL_SURVIVED, NULL },
    { "closed_form", "no zeros of zeros", make_form_zeros, tiny_instead_of_zero, FAL_FALSIFIED, "inf" },
    { "closed_form", "quantised weights have none", make_form_quantised, NULL, FAL_ERROR, "does not fit" },
    { "closed_form", "kv_store has none", make_form_kv_store, NULL, FAL_ERROR, "no closed form" },
    { "closed_form", "inputs that contradict each other", make_form_rmsnorm, weights_do_not_fit, FAL_ERROR,
      "in.w is F32 [15]" },
    { "closed_form", "a position outside the cache", make_form_attention, first_pos_beyond_the_cache, FAL_ERROR,
      "first_pos 7" },
    { "closed_form", "an input token outside", make_form_embed, input_token_outside, FAL_ERROR, "in.tokens[1]" },
    { "closed_form", "an input expert outside", make_form_moe_matmul, input_expert_outside, FAL_ERROR, "expert -4" },
    { "closed_form", "moe_swiglu: an input expert outside", make_form_moe_swiglu, input_expert_outside, FAL_ERROR, "expert -4" },

    { "finite", "op: numbers pass", make_finite, NULL, FAL_SURVIVED, NULL },
    { "finite", "op: zeros", make_finite, zero_y, FAL_MISTRUSTED, "are zero" },
    { "finite", "op: zeros where they are asked for", make_finite_zeros, NULL, FAL_SURVIVED, NULL },
    SHARED("finite", make_finite),

    { "same_bits", "op: equal", make_same_bits, NULL, FAL_SURVIVED, NULL },
    { "same_bits", "op: last bit", make_same_bits, last_bit, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "same_bits", "op: poison equals poison", make_same_bits, poison_in_both_runs, FAL_FALSIFIED, NULL },
    { "same_bits", "op: another run's poison", make_same_bits, poisoned_y, FAL_FALSIFIED, NULL },

    { "argmax_range", "op: in range", make_argmax_range, NULL, FAL_SURVIVED, NULL },
    { "argmax_range", "op: one beyond", make_argmax_range, index_at_the_end, FAL_FALSIFIED, "r1 out.ids[0]" },
    { "argmax_range", "op: indices that nobody wrote", make_argmax_range, poisoned_ids, FAL_FALSIFIED, "4 of 8" },

    { "in_range", "within", make_in_range, NULL, FAL_SURVIVED, NULL },
    { "in_range", "just outside", make_in_range, slightly_negative, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "in_range", "zeros", make_in_range, zero_y, FAL_MISTRUSTED, "every output is zero" },
    { "in_range", "no bounds", make_in_range, no_bounds, FAL_ERROR, "with.low" },
    SHARED("in_range", make_in_range),

    { "row_sum", "sums are 1", make_row_sum, NULL, FAL_SURVIVED, NULL },
    { "row_sum", "one element", make_row_sum, one_element, FAL_FALSIFIED, "r1 out.y[0, 0]" },
    { "row_sum", "zeros", make_row_sum, zero_y, FAL_FALSIFIED, NULL },
    { "row_sum", "router weights", make_row_sum_router, NULL, FAL_SURVIVED, NULL },
    { "row_sum", "router weights that nobody wrote", make_row_sum_router, poisoned_weights, FAL_FALSIFIED, NULL },
    SHARED("row_sum", make_row_sum),

    { "constant", "as expected", make_constant, NULL, FAL_SURVIVED, NULL },
    { "constant", "one element", make_constant, one_element, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "constant", "zero as expected", make_constant_zero, NULL, FAL_SURVIVED, NULL },
    { "constant", "not zero", make_constant_zero, tiny_instead_of_zero, FAL_FALSIFIED, "r0 out.y[0, 3]" },
    { "constant", "expects nothing", make_constant, expect_nothing, FAL_ERROR, "with.expect" },
    SHARED("constant", make_constant),

    { "ordered", "as it should be", make_ordered, NULL, FAL_SURVIVED, NULL },
    { "ordered", "ties in any order", make_ordered_ties, NULL, FAL_SURVIVED, NULL },
    { "ordered", "ascending", make_ordered, ids_in_another_order, FAL_FALSIFIED, "out.ids" },
    { "ordered", "one twice", make_ordered, chosen_twice, FAL_FALSIFIED, "r1 out.ids[0, 2]" },
    { "ordered", "a larger one left out", make_ordered, fourth_instead_of_third, FAL_FALSIFIED, NULL },
    { "ordered", "ids that nobody wrote", make_ordered, poisoned_ids, FAL_FALSIFIED, NULL },
    { "ordered", "all probabilities equal", make_ordered_zeros, NULL, FAL_MISTRUSTED, "every order passes" },

    { "identity", "same bits", make_identity, NULL, FAL_SURVIVED, NULL },
    { "identity", "last bit", make_identity, last_bit, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "identity", "of a named input", make_identity_of, NULL, FAL_SURVIVED, NULL },
    { "identity", "of a named input: two exchanged", make_identity_of, exchanged_elements, FAL_FALSIFIED, "2 of 96" },
    { "identity", "of another size", identity_of_another_size, NULL, FAL_ERROR, "cannot be identical" },
    SHARED("identity", make_identity),

    { "single_key", "one key", make_single_key, NULL, FAL_SURVIVED, NULL },
    { "single_key", "one value at many keys", make_single_value, NULL, FAL_SURVIVED, NULL },
    { "single_key", "the values of another group", make_single_key, other_group, FAL_FALSIFIED, "r0 out.y[0, 0," },
    { "single_key", "many keys", make_many_keys, NULL, FAL_FALSIFIED, "nothing was compared" },
    { "single_key", "zeros", make_single_key, zero_y, FAL_FALSIFIED, NULL },
    SHARED("single_key", make_single_key),

    { "in_hull", "between the values", make_in_hull, NULL, FAL_SURVIVED, NULL },
    { "in_hull", "beyond all values", make_in_hull, beyond_all_values, FAL_FALSIFIED, "r1 out.y[1, 0, 1]" },
    SHARED("in_hull", make_in_hull),

    { "monotone", "rises", make_monotone, NULL, FAL_SURVIVED, NULL },
    { "monotone", "one step down", make_monotone, one_step_down, FAL_FALSIFIED, "r1 out.y[0, 30]" },
    { "monotone", "one constant", make_monotone, all_ones, FAL_MISTRUSTED, "never rises" },
    { "monotone", "no step to look at", make_monotone_below_zero, NULL, FAL_FALSIFIED, "nothing was compared" },
    { "monotone", "an output that nobody wrote", make_monotone, poisoned_y, FAL_FALSIFIED, NULL },
    { "monotone", "missing tensor", make_monotone, no_y, FAL_CRASHED, NULL },

    { "norm_preserving", "lengths kept", make_norm_preserving, NULL, FAL_SURVIVED, NULL },
    { "norm_preserving", "one element", make_norm_preserving, one_element, FAL_FALSIFIED, "r1 out.y[0, 0, 3]" },
    { "norm_preserving", "NaN beside infinity", make_norm_preserving, poisoned_beside_infinity, FAL_FALSIFIED, "NaN" },
    { "norm_preserving", "zeros", make_norm_preserving, zero_y, FAL_FALSIFIED, NULL },
    SHARED("norm_preserving", make_norm_preserving),

    { "relative_position", "distance alone", make_relative_position, NULL, FAL_SURVIVED, NULL },
    { "relative_position", "one token stays", make_relative_position, only_the_second_stays, FAL_FALSIFIED,
      "r1 out.y" },
    { "relative_position", "nothing rotates", make_relative_position, not_rotated_at_all, FAL_MISTRUSTED,
      "nothing seems to have been rotated" },
    SHARED("relative_position", make_relative_position),

    { "scale_invariance", "sign alone", make_scale, NULL, FAL_SURVIVED, NULL },
    { "scale_invariance", "sign lost", make_scale, sign_lost, FAL_FALSIFIED, "r1 out.y" },
    { "scale_invariance", "scaled by nothing", make_scale_of_nothing, NULL, FAL_MISTRUSTED, "neither" },
    { "scale_invariance", "scaled otherwise", make_scale, scaled_otherwise, FAL_ERROR, "not 4 times" },
    { "scale_invariance", "zeros", make_scale, zero_y, FAL_MISTRUSTED, NULL },
    SHARED("scale_invariance", make_scale),

    { "equal_outputs", "shifted", make_equal, NULL, FAL_SURVIVED, NULL },
    { "equal_outputs", "one element", make_equal, one_element, FAL_FALSIFIED, "r1 out.y[0, 7]" },
    { "equal_outputs", "another op", make_equal_to_another_op, NULL, FAL_SURVIVED, NULL },
    { "equal_outputs", "another op: one element", make_equal_to_another_op, one_element, FAL_FALSIFIED, NULL },
    { "equal_outputs", "nothing changed", make_equal_of_nothing, NULL, FAL_MISTRUSTED, "neither" },
    { "equal_outputs", "no second request", make_equal, no_then, FAL_ERROR, "no `then`" },
    SHARED("equal_outputs", make_equal),

    { "same_out_bits", "the future is not seen", make_future, NULL, FAL_SURVIVED, NULL },
    { "same_out_bits", "last bit", make_future, last_bit, FAL_FALSIFIED, "r1 out.y" },
    { "same_out_bits", "nothing was redrawn", make_future, nothing_redrawn, FAL_MISTRUSTED, "neither" },
    { "same_out_bits", "a repetition on purpose", make_repetition, NULL, FAL_SURVIVED, NULL },
    { "same_out_bits", "a repetition that differs", make_repetition, wrong_index, FAL_FALSIFIED, "r1 out.ids[0, 2]" },
    SHARED("same_out_bits", make_future),

    { "stored", "as it should be", make_stored, NULL, FAL_SURVIVED, "0 of 256" },
    { "stored", "a neighbour's slot touched", make_stored, neighbour_slot_touched, FAL_FALSIFIED, "1 of 256" },
    { "stored", "not stored", make_stored, not_stored, FAL_FALSIFIED, "r0 out.k_cache[3, 0, 0]" },
    { "stored", "one slot late", make_stored, one_slot_late, FAL_FALSIFIED, NULL },
    { "stored", "a cache of poison", make_stored, poisoned_cache, FAL_FALSIFIED, "64 of 256" },
    { "stored", "poison equals poison", make_stored, poison_was_there, FAL_FALSIFIED, "64 of 256" },
    { "stored", "held already", make_stored, stored_already, FAL_MISTRUSTED, "stores nothing would pass" },
};
const int fal_n_trials_op = sizeof fal_trials_op / sizeof fal_trials_op[0];
