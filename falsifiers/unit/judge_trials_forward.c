/* Trials of the judgements of forward passes: what each must let pass, and what each must falsify. */
#include "falsifiers/unit/judge_scene.h"

#include <math.h>
#include <string.h>

#define ROW(t, width) ((t) * (width))

static json_t *request_of(fal_draft *d, size_t r)
{
    return json_array_get(json_object_get(d->about, "requests"), r);
}

/* ---- changes that many judgements share ------------------------------------------------------------------------ */

static void nan_in_logits(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[37] = NAN;
}

static void inf_in_logits(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[37] = INFINITY;
}

static void nan_on_both_sides(fal_scene *s)
{
    nan_in_logits(s);
    fal_draft_f32(s->want, "r0.logits")[37] = NAN;
}

static void poisoned_logits(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.logits");
}

static void poison_on_both_sides(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.logits");
    fal_draft_poison(s->again, "r0.logits");
}

static void zero_logits(fal_scene *s)
{
    fal_draft_zero(s->got, "r0.logits");
}

static void zeros_on_both_sides(fal_scene *s)
{
    zero_logits(s);
    fal_draft_zero(s->want, "r0.logits");
}

static void constant_rows(fal_draft *d)
{
    float *const x = fal_draft_f32(d, "r0.logits");
    for (int t = 1; t < N_TOKENS; t++) memcpy(x + ROW(t, N_VOCAB), x, N_VOCAB * sizeof *x);
}

static void constant_on_both_sides(fal_scene *s)
{
    constant_rows(s->got);
    constant_rows(s->want);
}

static void constant_here(fal_scene *s)
{
    constant_rows(s->got);
}

static void no_logits(fal_scene *s)
{
    fal_draft_drop(s->got, "r0.logits");
}

static void no_reference_logits(fal_scene *s)
{
    fal_draft_drop(s->want, "r0.logits");
}

static void transposed_logits(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.logits", 2, (const int64_t[]) { N_VOCAB, N_TOKENS });
}

static void three_of_five_rows(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.logits", 2, (const int64_t[]) { 3, N_VOCAB });
}

static void no_rows(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.logits", 2, (const int64_t[]) { 0, N_VOCAB });
}

static void no_taps_but_greedy(fal_scene *s)
{
    fal_scene_tap(s, "none");
}

static void unknown_tap(fal_scene *s)
{
    fal_scene_tap(s, "blk.7.attn");
}

static void other_tokens(fal_scene *s)
{
    json_array_set_new(json_object_get(request_of(s->got, 0), "tokens"), 2, json_integer(9));
}

static void no_tokens(fal_scene *s)
{
    json_object_del(request_of(s->got, 0), "tokens");
}

static void forced_pass(fal_scene *s)
{
    json_object_set_new(json_object_get(s->got->about, "asked"), "kind", json_string("teacher"));
}

static void nothing_to_compare_with(fal_scene *s)
{
    fal_draft_free(s->want);
    s->want = NULL;
}

/* ---- cosine and relative L2 ------------------------------------------------------------------------------------ */

static void make_cosine(fal_scene *s)
{
    fal_scene_forward(s, "cosine", FAL_AGAINST_REFERENCE);
    fal_scene_limit(s, FAL_LIMIT_MIN, 0.99);
}

static void rows_exchanged(fal_scene *s)
{
    float *const x = fal_draft_f32(s->got, "r0.logits"), keep[N_VOCAB];
    memcpy(keep, x + ROW(2, N_VOCAB), sizeof keep);
    memcpy(x + ROW(2, N_VOCAB), x + ROW(3, N_VOCAB), sizeof keep);
    memcpy(x + ROW(3, N_VOCAB), keep, sizeof keep);
}

static void twice_as_large(fal_scene *s)
{
    for (int i = 0; i < N_TOKENS * N_VOCAB; i++) fal_draft_f32(s->got, "r0.logits")[i] *= 2;
}

static void limit_of_minus_one(fal_scene *s)
{
    s->check.limit.value = -1;
}

static void limit_of_ten(fal_scene *s)
{
    s->check.limit.value = 10;
}

static void make_rel_l2(fal_scene *s)
{
    fal_scene_forward(s, "rel_l2", FAL_AGAINST_REFERENCE);
}

/* 3e-5 of the row's norm: one element of 80, 20 times smaller than what a cosine of 0.99 would see. */
static void one_element_wrong(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(3, N_VOCAB) + 7] += 1e-4f;
}

static void one_element_within(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(3, N_VOCAB) + 7] += 1e-6f;
}

static void make_oracle_taps(fal_scene *s)
{
    fal_scene_forward(s, "rel_l2", FAL_AGAINST_ORACLE);
    fal_scene_tap(s, "embed");
    fal_scene_tap(s, "blk.*.l_out");
    fal_scene_tap(s, "final_norm");
    fal_scene_tap(s, "logits");
    fal_scene_tap(s, "blk.*.router_logits");
    fal_scene_tap(s, "blk.*.expert_weights");
}

static void wrong_at_an_oracle_position(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.blk.0.l_out")[ROW(4, N_EMBD) + 1] += 0.5f;
}

/* Position 3 is not in the oracle: this says how far the check reaches, no further. */
static void wrong_between_oracle_positions(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.blk.0.l_out")[ROW(3, N_EMBD) + 1] += 0.5f;
}

static void oracle_position_outside(fal_scene *s)
{
    fal_draft_i32(s->oracle, "p0.positions")[1] = 5;
}

static void other_oracle_prompt(fal_scene *s)
{
    s->oracle_prompt = 1;
}

static void oracle_of_other_tokens(fal_scene *s)
{
    json_t *const prompt = json_array_get(json_object_get(s->oracle->about, "prompts"), 0);
    json_object_set_new(prompt, "tokens", json_pack("[i, i, i, i, i]", 3, 1, 4, 1, 6));
}

static void oracle_knows_nothing(fal_scene *s)
{
    fal_scene_tap(s, "blk.*.attn");
}

static void make_teacher(fal_scene *s)
{
    fal_scene_forward(s, "rel_l2", FAL_AGAINST_REFERENCE);
    s->check.observe = FAL_OBSERVE_TEACHER;
    json_object_set_new(json_object_get(s->got->about, "asked"), "kind", json_string("teacher"));
    fal_scene_tap(s, "all");
}

static void two_ops_wrong(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.blk.1.moe_down")[5] += 0.3f;
    fal_draft_f32(s->got, "r0.blk.1.attn")[ROW(2, 8) + 5] += 0.01f;
}

static void other_expert_in_teacher(fal_scene *s)
{
    fal_draft_i32(s->got, "r0.blk.0.expert_ids")[0] = (fal_draft_i32(s->got, "r0.blk.0.expert_ids")[0] + 1) % N_EXPERT;
}

/* ---- argmax and router sets ------------------------------------------------------------------------------------ */

static void make_argmax(fal_scene *s)
{
    fal_scene_forward(s, "argmax", FAL_AGAINST_REFERENCE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static void another_token_largest(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(3, N_VOCAB) + 9] = 5;
    fal_draft_f32(s->want, "r0.logits")[ROW(3, N_VOCAB) + 8] = 5;
}

static void make_flips(fal_scene *s, const char *judge)
{
    fal_scene_forward(s, judge, FAL_AGAINST_REFERENCE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    fal_scene_tap(s, "blk.*.expert_ids");
    fal_scene_tap(s, "blk.*.router_logits");
    fal_scene_with(s, "gap", 1e-3);
    fal_scene_with(s, "max_excused_share", 0.15);
}

static void make_router_sets(fal_scene *s)
{
    make_flips(s, "router_sets");
}

/* Ids of a position: the second expert becomes the third one, whose logit is `gap` smaller in the reference. */
static void flip_at(fal_scene *s, int layer, int position, float gap)
{
    static const char *const logits_name[] = { "r0.blk.0.router_logits", "r0.blk.1.router_logits" };
    static const char *const ids_name[] = { "r0.blk.0.expert_ids", "r0.blk.1.expert_ids" };
    float *const logits = fal_draft_f32(s->want, logits_name[layer]) + ROW(position, N_EXPERT);
    int32_t *const ids = fal_draft_i32(s->got, ids_name[layer]) + ROW(position, N_USED);
    int third = -1;
    for (int e = 0; e < N_EXPERT; e++)
        if (e != ids[0] && e != ids[1] && (third < 0 || logits[e] > logits[third])) third = e;
    logits[third] = logits[ids[1]] - gap;
    ids[1] = third;
}

static void near_tie(fal_scene *s)
{
    flip_at(s, 1, 2, 5e-4f);
}

static void wide_flip(fal_scene *s)
{
    flip_at(s, 1, 2, 2e-3f);
}

static void order_of_ids_only(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r0.blk.0.expert_ids"), keep = ids[0];
    ids[0] = ids[1];
    ids[1] = keep;
}

static void two_near_ties(fal_scene *s)
{
    flip_at(s, 1, 2, 5e-4f);
    flip_at(s, 0, 3, 5e-4f);
}

/* The second and third are close, but another one was taken. */
static void wild_choice_beside_a_tie(fal_scene *s)
{
    near_tie(s);
    int32_t *const ids = fal_draft_i32(s->got, "r0.blk.1.expert_ids") + ROW(2, N_USED);
    const float *const logits = fal_draft_f32(s->want, "r0.blk.1.router_logits") + ROW(2, N_EXPERT);
    int last = ids[0] == 0 ? 1 : 0;
    for (int e = 0; e < N_EXPERT; e++)
        if (e != ids[0] && logits[e] < logits[last]) last = e;
    ids[1] = last;
}

static void one_expert_twice(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r0.blk.0.expert_ids");
    ids[1] = ids[0];
}

static void expert_outside(fal_scene *s)
{
    fal_draft_i32(s->got, "r0.blk.0.expert_ids")[1] = N_EXPERT;
}

/* No gap, however wide, excuses what is no set of experts. */
static void excuse_everything(fal_scene *s)
{
    s->with[0].number = 1e9;
    s->with[1].number = 1;
}

static void expert_outside_excused(fal_scene *s)
{
    excuse_everything(s);
    expert_outside(s);
}

static void expert_twice_excused(fal_scene *s)
{
    excuse_everything(s);
    one_expert_twice(s);
}

static void poisoned_ids_excused(fal_scene *s)
{
    excuse_everything(s);
    fal_draft_poison(s->got, "r0.blk.1.expert_ids");
}

static void poisoned_ids(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.blk.1.expert_ids");
}

static void nan_beside_a_tie(fal_scene *s)
{
    near_tie(s);
    const int32_t id = fal_draft_i32(s->got, "r0.blk.1.expert_ids")[ROW(2, N_USED) + 1];
    fal_draft_f32(s->want, "r0.blk.1.router_logits")[ROW(2, N_EXPERT) + id] = NAN;
}

static void relative_gap(fal_scene *s)
{
    near_tie(s);
    fal_scene_with(s, "gap_relative", 1);
    float *const logits = fal_draft_f32(s->want, "r0.blk.1.router_logits") + ROW(2, N_EXPERT);
    for (int e = 0; e < N_EXPERT; e++) logits[e] *= 1000; /* gap 0.5 now, and the row's largest up to 1000 */
}

static void one_set_everywhere(fal_scene *s)
{
    static const char *const names[] = { "r0.blk.0.expert_ids", "r0.blk.1.expert_ids" };
    for (int l = 0; l < N_LAYER; l++)
        for (int t = 0; t < N_TOKENS; t++)
            for (int k = 0; k < N_USED; k++)
                fal_draft_i32(s->got, names[l])[ROW(t, N_USED) + k] =
                    fal_draft_i32(s->want, names[l])[ROW(t, N_USED) + k] = k;
}

static void no_ids_tapped(fal_scene *s)
{
    s->check.n_taps = 0;
    fal_scene_tap(s, "blk.*.router_logits");
}

static void make_router_sets_oracle(fal_scene *s)
{
    fal_scene_forward(s, "router_sets", FAL_AGAINST_ORACLE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static void expert_changed_at_4(fal_scene *s)
{
    int32_t *const ids = fal_draft_i32(s->got, "r0.blk.1.expert_ids") + ROW(4, N_USED);
    int other = 0;
    while (other == ids[0] || other == ids[1]) other++;
    ids[1] = other;
}

static void make_argmax_excusing(fal_scene *s)
{
    make_flips(s, "argmax");
    fal_scene_tap(s, "logits");
    fal_scene_with(s, "excuse_flips", 1);
}

static void make_cosine_excusing(fal_scene *s)
{
    make_flips(s, "cosine");
    fal_scene_limit(s, FAL_LIMIT_MIN, 0.9999);
    fal_scene_tap(s, "logits");
    fal_scene_with(s, "excuse_flips", 1);
}

static void differs_after_a_near_tie(fal_scene *s)
{
    near_tie(s);
    another_token_largest(s);
}

static void differs_before_a_near_tie(fal_scene *s)
{
    flip_at(s, 1, 4, 5e-4f);
    another_token_largest(s);
}

static void differs_after_a_wide_flip(fal_scene *s)
{
    wide_flip(s);
    another_token_largest(s);
}

static void nan_after_a_near_tie(fal_scene *s)
{
    near_tie(s);
    fal_draft_f32(s->got, "r0.logits")[ROW(3, N_VOCAB)] = NAN;
}

static void differs_after_too_many_near_ties(fal_scene *s)
{
    two_near_ties(s);
    another_token_largest(s);
}

static void near_tie_at_the_start(fal_scene *s)
{
    flip_at(s, 0, 0, 5e-4f);
}

/* ---- invariants ------------------------------------------------------------------------------------------------ */

static void make_weights_sum(fal_scene *s)
{
    fal_scene_forward(s, "weights_sum", FAL_AGAINST_NONE);
    fal_scene_limit(s, FAL_LIMIT_MAX, 1e-6);
}

static void not_renormalised(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.blk.1.expert_weights")[ROW(4, N_USED)] *= 0.999f;
}

static void poisoned_weights(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.blk.0.expert_weights");
}

static void infinite_weights(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.blk.0.expert_weights")[0] = INFINITY;
    fal_draft_f32(s->got, "r0.blk.0.expert_weights")[1] = -INFINITY;
}

static void zero_weights(fal_scene *s)
{
    fal_draft_zero(s->got, "r0.blk.0.expert_weights");
}

static void make_length(fal_scene *s)
{
    fal_scene_forward(s, "length", FAL_AGAINST_NONE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    fal_scene_tap(s, "all");
}

static void one_site_missing(fal_scene *s)
{
    fal_draft_drop(s->got, "r0.blk.1.attn");
}

static void heads_flattened(fal_scene *s)
{
    fal_draft_reshape(s->got, "r0.blk.1.q", 2, (const int64_t[]) { N_TOKENS, 8 });
}

static void make_finite(fal_scene *s)
{
    fal_scene_forward(s, "finite", FAL_AGAINST_NONE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static void make_argmax_range(fal_scene *s)
{
    fal_scene_forward(s, "argmax_range", FAL_AGAINST_NONE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.n_greedy = N_GREEDY;
}

static void said_token_outside(fal_scene *s)
{
    json_array_set_new(json_object_get(request_of(s->got, 0), "greedy"), 3, json_integer(N_VOCAB));
}

static void said_too_little(fal_scene *s)
{
    json_array_remove(json_object_get(request_of(s->got, 0), "greedy"), 0);
}

static void make_argmax_range_tensor(fal_scene *s)
{
    make_argmax_range(s);
    json_object_del(request_of(s->got, 0), "greedy"); /* then the tensor speaks */
}

static void poisoned_greedy(fal_scene *s)
{
    fal_draft_poison(s->got, "r0.greedy");
}

/* ---- determinism ----------------------------------------------------------------------------------------------- */

static void make_same_bits(fal_scene *s)
{
    fal_scene_forward(s, "same_bits", FAL_AGAINST_SELF);
    s->check.again = true;
    s->check.n_greedy = N_GREEDY;
    fal_scene_tap(s, "all");
    fal_scene_limit(s, FAL_LIMIT_MAX, 0);
}

static void last_bit_differs(fal_scene *s)
{
    float *const x = fal_draft_f32(s->again, "r0.blk.1.moe_out");
    x[11] = nextafterf(x[11], 2);
}

static void second_one_says_another_token(fal_scene *s)
{
    json_array_set_new(json_object_get(request_of(s->again, 0), "greedy"), 3, json_integer(0));
}

static void second_one_missing(fal_scene *s)
{
    fal_draft_free(s->again);
    s->again = NULL;
}

static void all_constant(fal_scene *s)
{
    s->check.n_taps = 0;
    constant_rows(s->got);
    constant_rows(s->again);
}

static void make_same_bits_in_sequence(fal_scene *s)
{
    static const int32_t a[] = { 3, 1, 4, -1 }, b[] = { 2, 7, 1, 8, -1 };
    const int32_t *const lists[] = { a, b, a };
    fal_scene_sequence(s, "same_bits", lists, 3);
    fal_scene_limit(s, FAL_LIMIT_MAX, 0);
}

/* What the second request left behind shows in the third. */
static void stale_state(fal_scene *s)
{
    fal_draft_f32(s->got, "r2.logits")[40] += 1e-3f;
}

static void no_two_equal(fal_scene *s)
{
    s->check.n_prompts = 2;
}

static void third_not_delivered(fal_scene *s)
{
    json_array_remove(json_object_get(s->got->about, "requests"), 2);
    for (int i = s->got->n - 1; i >= 0; i--)
        if (strncmp(s->got->tensors[i].name, "r2.", 3) == 0) fal_draft_drop(s->got, s->got->tensors[i].name);
}

/* ---- greedy ---------------------------------------------------------------------------------------------------- */

static void make_greedy(fal_scene *s)
{
    fal_scene_forward(s, "greedy", FAL_AGAINST_REFERENCE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.n_greedy = N_GREEDY;
}

static void make_greedy_oracle(fal_scene *s)
{
    fal_scene_forward(s, "greedy", FAL_AGAINST_ORACLE);
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.n_greedy = N_GREEDY - 2;
    for (int i = 0; i < 2; i++)
        json_array_remove(json_object_get(request_of(s->got, 0), "greedy"), N_GREEDY - 1 - (size_t)i);
}

static void last_token_differs(fal_scene *s)
{
    json_t *const said = json_object_get(request_of(s->got, 0), "greedy");
    json_array_set_new(said, json_array_size(said) - 1, json_integer(14));
}

static void said_nothing(fal_scene *s)
{
    json_object_del(request_of(s->got, 0), "greedy");
    fal_draft_drop(s->got, "r0.greedy");
}

static void no_greedy_asked(fal_scene *s)
{
    s->check.n_greedy = 0;
    json_array_clear(json_object_get(request_of(s->got, 0), "greedy"));
}

static void more_than_the_oracle_knows(fal_scene *s)
{
    s->check.n_greedy = 40;
}

static void stuck_on_both_sides(fal_scene *s)
{
    json_t *const said = json_pack("[i, i, i, i, i, i, i, i]", 7, 7, 7, 7, 7, 7, 7, 7);
    json_object_set(request_of(s->got, 0), "greedy", said);
    json_object_set_new(request_of(s->want, 0), "greedy", said);
}

/* Poison read as a token equals poison read as a token. */
static void poison_said_on_both_sides(fal_scene *s)
{
    json_object_del(request_of(s->got, 0), "greedy");
    json_object_del(request_of(s->want, 0), "greedy");
    fal_draft_poison(s->got, "r0.greedy");
    fal_draft_poison(s->want, "r0.greedy");
}

/* ---- ways to feed tokens --------------------------------------------------------------------------------------- */

static void make_decode(fal_scene *s)
{
    fal_scene_forward(s, "decode_matches_prefill", FAL_AGAINST_SELF);
    s->check.decode = true;
    json_object_set_new(json_object_get(s->got->about, "asked"), "decode", json_true());
}

static void fed_at_once(fal_scene *s)
{
    json_object_del(json_object_get(s->got->about, "asked"), "decode");
}

static void last_token_sees_less(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(4, N_VOCAB)] += 0.01f;
}

static void make_prefix(fal_scene *s)
{
    static const int32_t a[] = { 3, 1, 4, 1, 5, -1 }, b[] = { 3, 1, 4, -1 };
    const int32_t *const lists[] = { a, b };
    fal_scene_sequence(s, "prefix", lists, 2);
}

static void future_leaks(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(1, N_VOCAB) + 3] += 0.01f;
}

static void beyond_the_prefix(fal_scene *s)
{
    fal_draft_f32(s->got, "r0.logits")[ROW(4, N_VOCAB) + 3] += 0.01f;
}

static void make_prefix_of_nothing(fal_scene *s)
{
    static const int32_t a[] = { 3, 1, 4, 1, 5, -1 }, b[] = { 3, 1, 5, -1 };
    const int32_t *const lists[] = { a, b };
    fal_scene_sequence(s, "prefix", lists, 2);
}

const fal_trial fal_trials_forward[] = {
    { "cosine", "agreement passes", make_cosine, NULL, FAL_SURVIVED, "within the limit >= 0.99" },
    { "cosine", "two positions exchanged", make_cosine, rows_exchanged, FAL_FALSIFIED, "2 of 5 rows" },
    { "cosine", "blind to scale, as known", make_cosine, twice_as_large, FAL_SURVIVED, NULL },
    { "cosine", "NaN in got", make_cosine, nan_in_logits, FAL_FALSIFIED, "logits[2, 5]" },
    { "cosine", "infinity in got", make_cosine, inf_in_logits, FAL_FALSIFIED, "NaN" },
    { "cosine", "NaN on both sides is no agreement", make_cosine, nan_on_both_sides, FAL_FALSIFIED,
      "itself not finite" },
    { "cosine", "an output that nobody wrote", make_cosine, poisoned_logits, FAL_FALSIFIED, NULL },
    { "cosine", "zeros", make_cosine, zero_logits, FAL_FALSIFIED, NULL },
    { "cosine", "zeros on both sides", make_cosine, zeros_on_both_sides, FAL_FALSIFIED, NULL },
    { "cosine", "one row everywhere, on both sides", make_cosine, constant_on_both_sides, FAL_MISTRUSTED,
      "same at every position" },
    { "cosine", "one row everywhere", make_cosine, constant_here, FAL_FALSIFIED, NULL },
    { "cosine", "a limit that tells no rows apart", make_cosine, limit_of_minus_one, FAL_MISTRUSTED,
      "neighbour's place" },
    { "cosine", "missing tensor", make_cosine, no_logits, FAL_CRASHED, "did not deliver logits" },
    { "cosine", "missing in the reference", make_cosine, no_reference_logits, FAL_ERROR,
      "reference's observation lacks logits" },
    { "cosine", "wrong shape", make_cosine, transposed_logits, FAL_FALSIFIED, "F32 [16, 5], expected F32 [5, 16]" },
    { "cosine", "too few rows", make_cosine, three_of_five_rows, FAL_FALSIFIED, "F32 [3, 16]" },
    { "cosine", "no rows", make_cosine, no_rows, FAL_FALSIFIED, "F32 [0, 16]" },
    { "cosine", "no taps", make_cosine, no_taps_but_greedy, FAL_FALSIFIED, "nothing was compared" },
    { "cosine", "a tap of a layer that the model lacks", make_cosine, unknown_tap, FAL_ERROR, "matches no site" },
    { "cosine", "another request answered", make_cosine, other_tokens, FAL_FALSIFIED, "not those of the reference" },
    { "cosine", "unknown request answered", make_cosine, no_tokens, FAL_CRASHED, "requests[0].tokens" },
    { "cosine", "a forced pass is no free one", make_cosine, forced_pass, FAL_ERROR, "teacher" },
    { "cosine", "no reference", make_cosine, nothing_to_compare_with, FAL_ERROR, "no observation to compare with" },

    { "rel_l2", "agreement passes", make_rel_l2, NULL, FAL_SURVIVED, NULL },
    { "rel_l2", "one of 80 elements, beyond", make_rel_l2, one_element_wrong, FAL_FALSIFIED,
      "logits[3, 7] exceeds 1e-05; 1 of 5 rows" },
    { "rel_l2", "one of 80 elements, within", make_rel_l2, one_element_within, FAL_SURVIVED, "logits[3, 7]" },
    { "rel_l2", "scale", make_rel_l2, twice_as_large, FAL_FALSIFIED, "max relative L2 1 " },
    { "rel_l2", "NaN in got", make_rel_l2, nan_in_logits, FAL_FALSIFIED, "NaN" },
    { "rel_l2", "NaN on both sides", make_rel_l2, nan_on_both_sides, FAL_FALSIFIED, "itself not finite" },
    { "rel_l2", "an output that nobody wrote", make_rel_l2, poisoned_logits, FAL_FALSIFIED, NULL },
    { "rel_l2", "zeros", make_rel_l2, zero_logits, FAL_FALSIFIED, "5 of 5 rows" },
    { "rel_l2", "zeros on both sides", make_rel_l2, zeros_on_both_sides, FAL_MISTRUSTED, "zero on both sides" },
    { "rel_l2", "one row everywhere, on both sides", make_rel_l2, constant_on_both_sides, FAL_MISTRUSTED,
      "same at every position" },
    { "rel_l2", "a limit that tells no rows apart", make_rel_l2, limit_of_ten, FAL_MISTRUSTED, "neighbour's place" },
    { "rel_l2", "missing tensor", make_rel_l2, no_logits, FAL_CRASHED, NULL },
    { "rel_l2", "oracle agrees, a site it lacks is named", make_oracle_taps, NULL, FAL_SURVIVED,
      "1 tapped sites have no counterpart" },
    { "rel_l2", "oracle: wrong at one of its positions", make_oracle_taps, wrong_at_an_oracle_position, FAL_FALSIFIED,
      "blk.0.l_out[4, 1]" },
    { "rel_l2", "oracle: other positions are not its business", make_oracle_taps, wrong_between_oracle_positions,
      FAL_SURVIVED, NULL },
    { "rel_l2", "oracle: a position outside the request", make_oracle_taps, oracle_position_outside, FAL_ERROR,
      "position < 5" },
    { "rel_l2", "oracle: no such prompt", make_oracle_taps, other_oracle_prompt, FAL_ERROR, "p1" },
    { "rel_l2", "oracle: of other tokens", make_oracle_taps, oracle_of_other_tokens, FAL_FALSIFIED,
      "not those of the oracle's prompt" },
    { "rel_l2", "oracle: a pattern it knows nothing of", make_oracle_taps, oracle_knows_nothing, FAL_ERROR,
      "no tensor for any site of tap 'blk.*.attn'" },
    { "rel_l2", "teacher: agreement over all sites", make_teacher, NULL, FAL_SURVIVED, NULL },
    { "rel_l2", "teacher: the first bad op in forward order, not the worst", make_teacher, two_ops_wrong, FAL_FALSIFIED,
      "first op whose local error breaks the limit: blk.1.attn (attention)" },
    { "rel_l2", "teacher: an expert id", make_teacher, other_expert_in_teacher, FAL_FALSIFIED,
      "blk.0.expert_ids (router)" },

    { "cosine", "excusing: nothing to excuse", make_cosine_excusing, NULL, FAL_SURVIVED, NULL },
    { "cosine", "excusing: without excuse", make_cosine_excusing, another_token_largest, FAL_FALSIFIED, NULL },
    { "cosine", "excused after a near-tie", make_cosine_excusing, differs_after_a_near_tie, FAL_SURVIVED, NULL },
    { "cosine", "not excused before the near-tie", make_cosine_excusing, differs_before_a_near_tie, FAL_FALSIFIED, NULL },
    { "cosine", "not excused by a wide flip", make_cosine_excusing, differs_after_a_wide_flip, FAL_FALSIFIED, NULL },
    { "cosine", "NaN is never excused", make_cosine_excusing, nan_after_a_near_tie, FAL_FALSIFIED, NULL },
    { "cosine", "too many near-ties excuse nothing", make_cosine_excusing, differs_after_too_many_near_ties,
      FAL_FALSIFIED, NULL },
    { "cosine", "an excuse for everything is none", make_cosine_excusing, near_tie_at_the_start, FAL_MISTRUSTED,
      "none was judged" },

    { "argmax", "agreement passes", make_argmax, NULL, FAL_SURVIVED, NULL },
    { "argmax", "another token", make_argmax, another_token_largest, FAL_FALSIFIED, "position 3: token 9 for 8" },
    { "argmax", "NaN wins on both sides", make_argmax, nan_on_both_sides, FAL_FALSIFIED, "not finite" },
    { "argmax", "an output that nobody wrote", make_argmax, poisoned_logits, FAL_FALSIFIED, NULL },
    { "argmax", "zeros on both sides", make_argmax, zeros_on_both_sides, FAL_MISTRUSTED, "all logits are zero" },
    { "argmax", "one row everywhere, on both sides", make_argmax, constant_on_both_sides, FAL_MISTRUSTED,
      "same at every position" },
    { "argmax", "missing tensor", make_argmax, no_logits, FAL_CRASHED, NULL },
    { "argmax", "excusing: nothing to excuse", make_argmax_excusing, NULL, FAL_SURVIVED, NULL },
    { "argmax", "excusing: without excuse", make_argmax_excusing, another_token_largest, FAL_FALSIFIED, NULL },
    { "argmax", "excused after a near-tie", make_argmax_excusing, differs_after_a_near_tie, FAL_SURVIVED,
      "1 more are excused" },
    { "argmax", "not excused before the near-tie", make_argmax_excusing, differs_before_a_near_tie, FAL_FALSIFIED,
      NULL },
    { "argmax", "not excused by a wide flip", make_argmax_excusing, differs_after_a_wide_flip, FAL_FALSIFIED, NULL },
    { "argmax", "NaN is never excused", make_argmax_excusing, nan_after_a_near_tie, FAL_FALSIFIED, "not finite" },
    { "argmax", "too many near-ties excuse nothing", make_argmax_excusing, differs_after_too_many_near_ties,
      FAL_FALSIFIED, "too many flips" },
    { "argmax", "an excuse for everything is none", make_argmax_excusing, near_tie_at_the_start, FAL_MISTRUSTED,
      "none was judged" },

    { "router_sets", "agreement passes", make_router_sets, NULL, FAL_SURVIVED, NULL },
    { "router_sets", "order is not a set", make_router_sets, order_of_ids_only, FAL_SURVIVED, NULL },
    { "router_sets", "near-tie excused", make_router_sets, near_tie, FAL_SURVIVED, "1 more are near-ties" },
    { "router_sets", "wide gap not excused", make_router_sets, wide_flip, FAL_FALSIFIED,
      "flip: layer 1 request 0 position 2" },
    { "router_sets", "too many excused", make_router_sets, two_near_ties, FAL_FALSIFIED, "more than the share" },
    { "router_sets", "a near-tie of others excuses no wild choice", make_router_sets, wild_choice_beside_a_tie,
      FAL_FALSIFIED, NULL },
    { "router_sets", "one expert twice", make_router_sets, one_expert_twice, FAL_FALSIFIED, "blk.0.expert_ids[0, 1]" },
    { "router_sets", "an expert that does not exist", make_router_sets, expert_outside, FAL_FALSIFIED, NULL },
    { "router_sets", "no gap excuses an expert that does not exist", make_router_sets, expert_outside_excused,
      FAL_FALSIFIED, NULL },
    { "router_sets", "no gap excuses one expert twice", make_router_sets, expert_twice_excused, FAL_FALSIFIED, NULL },
    { "router_sets", "no gap excuses an output that nobody wrote", make_router_sets, poisoned_ids_excused,
      FAL_FALSIFIED, "5 of 10 expert sets" },
    { "router_sets", "an output that nobody wrote", make_router_sets, poisoned_ids, FAL_FALSIFIED,
      "5 of 10 expert sets" },
    { "router_sets", "NaN in the gap excuses nothing", make_router_sets, nan_beside_a_tie, FAL_FALSIFIED, NULL },
    { "router_sets", "gap relative to the row", make_router_sets, relative_gap, FAL_SURVIVED, NULL },
    { "router_sets", "one set everywhere", make_router_sets, one_set_everywhere, FAL_MISTRUSTED, "ignores its input" },
    { "router_sets", "no ids tapped", make_router_sets, no_ids_tapped, FAL_FALSIFIED, "nothing was compared" },
    { "router_sets", "oracle agrees", make_router_sets_oracle, NULL, FAL_SURVIVED, "6 expert sets" },
    { "router_sets", "oracle differs", make_router_sets_oracle, expert_changed_at_4, FAL_FALSIFIED, "position 4" },

    { "weights_sum", "agreement passes", make_weights_sum, NULL, FAL_SURVIVED, NULL },
    { "weights_sum", "not renormalised", make_weights_sum, not_renormalised, FAL_FALSIFIED,
      "blk.1.expert_weights[4, 0]" },
    { "weights_sum", "an output that nobody wrote", make_weights_sum, poisoned_weights, FAL_FALSIFIED, "NaN" },
    { "weights_sum", "infinities that cancel", make_weights_sum, infinite_weights, FAL_FALSIFIED, "NaN" },
    { "weights_sum", "zeros", make_weights_sum, zero_weights, FAL_FALSIFIED, NULL },
    { "weights_sum", "no such tap", make_weights_sum, no_ids_tapped, FAL_FALSIFIED, "nothing was compared" },

    { "length", "all sites there", make_length, NULL, FAL_SURVIVED, "47 tensors looked at" },
    { "length", "one missing", make_length, one_site_missing, FAL_FALSIFIED, "blk.1.attn" },
    { "length", "one misshapen", make_length, heads_flattened, FAL_FALSIFIED,
      "blk.1.q is F32 [5, 8], expected F32 [5, 2, 4]" },
    { "length", "too few rows", make_length, three_of_five_rows, FAL_FALSIFIED, NULL },

    { "finite", "numbers pass", make_finite, NULL, FAL_SURVIVED, NULL },
    { "finite", "NaN", make_finite, nan_in_logits, FAL_FALSIFIED, "logits[2, 5]" },
    { "finite", "infinity", make_finite, inf_in_logits, FAL_FALSIFIED, "logits[2, 5]" },
    { "finite", "an output that nobody wrote", make_finite, poisoned_logits, FAL_FALSIFIED, "80 of 80" },
    { "finite", "zeros", make_finite, zero_logits, FAL_MISTRUSTED, "zero" },
    { "finite", "missing tensor", make_finite, no_logits, FAL_CRASHED, NULL },
    { "finite", "no taps", make_finite, no_taps_but_greedy, FAL_FALSIFIED, "nothing was compared" },

    { "argmax_range", "in range", make_argmax_range, NULL, FAL_SURVIVED, NULL },
    { "argmax_range", "a token beyond the vocabulary", make_argmax_range, said_token_outside, FAL_FALSIFIED,
      "greedy[3]" },
    { "argmax_range", "too few tokens", make_argmax_range, said_too_little, FAL_CRASHED, "7 of 8" },
    { "argmax_range", "a row with NaN has no argmax", make_argmax_range, nan_in_logits, FAL_FALSIFIED, "logits[2]" },
    { "argmax_range", "zeros", make_argmax_range, zero_logits, FAL_MISTRUSTED, "zero" },
    { "argmax_range", "tokens from the tensor", make_argmax_range_tensor, NULL, FAL_SURVIVED, NULL },
    { "argmax_range", "tokens that nobody wrote", make_argmax_range_tensor, poisoned_greedy, FAL_FALSIFIED, "8 of 13" },

    { "same_bits", "equal", make_same_bits, NULL, FAL_SURVIVED, NULL },
    { "same_bits", "one last bit", make_same_bits, last_bit_differs, FAL_FALSIFIED, "blk.1.moe_out[1, 3]" },
    { "same_bits", "another token", make_same_bits, second_one_says_another_token, FAL_FALSIFIED, "greedy token 3" },
    { "same_bits", "poison equals poison", make_same_bits, poison_on_both_sides, FAL_FALSIFIED, NULL },
    { "same_bits", "no second observation", make_same_bits, second_one_missing, FAL_ERROR, NULL },
    { "same_bits", "one row everywhere", make_same_bits, all_constant, FAL_MISTRUSTED, "same at every position" },
    { "same_bits", "sequence: equal", make_same_bits_in_sequence, NULL, FAL_SURVIVED, "of 192 bytes" },
    { "same_bits", "sequence: state left behind", make_same_bits_in_sequence, stale_state, FAL_FALSIFIED,
      "logits[2, 8]" },
    { "same_bits", "sequence: no two equal requests", make_same_bits_in_sequence, no_two_equal, FAL_FALSIFIED,
      "nothing was compared" },
    { "same_bits", "sequence: one request missing", make_same_bits_in_sequence, third_not_delivered, FAL_CRASHED,
      "2 of 3 requests" },

    { "greedy", "agreement passes", make_greedy, NULL, FAL_SURVIVED, "8 tokens agree" },
    { "greedy", "last token differs", make_greedy, last_token_differs, FAL_FALSIFIED, "r0 greedy[7]" },
    { "greedy", "nothing said", make_greedy, said_nothing, FAL_CRASHED, NULL },
    { "greedy", "too few tokens", make_greedy, said_too_little, FAL_FALSIFIED, "by 7 tokens, expected 8" },
    { "greedy", "none asked", make_greedy, no_greedy_asked, FAL_FALSIFIED, "nothing was compared" },
    { "greedy", "one token for ever", make_greedy, stuck_on_both_sides, FAL_MISTRUSTED, "stuck" },
    { "greedy", "tokens that nobody wrote", make_greedy, poison_said_on_both_sides, FAL_FALSIFIED, NULL },
    { "greedy", "another request answered", make_greedy, other_tokens, FAL_FALSIFIED, NULL },
    { "greedy", "oracle agrees", make_greedy_oracle, NULL, FAL_SURVIVED, "6 tokens agree" },
    { "greedy", "oracle differs", make_greedy_oracle, last_token_differs, FAL_FALSIFIED, "greedy[5]" },
    { "greedy", "more than the oracle knows", make_greedy_oracle, more_than_the_oracle_knows, FAL_ERROR,
      "8 tokens, the check asks for 40" },

    { "decode_matches_prefill", "agreement passes", make_decode, NULL, FAL_SURVIVED, NULL },
    { "decode_matches_prefill", "last token sees less", make_decode, last_token_sees_less, FAL_FALSIFIED,
      "logits[4, 0]" },
    { "decode_matches_prefill", "NaN", make_decode, nan_in_logits, FAL_FALSIFIED, NULL },
    { "decode_matches_prefill", "both fed at once", make_decode, fed_at_once, FAL_MISTRUSTED, "fed at once" },
    { "decode_matches_prefill", "poison equals poison", make_decode, poison_on_both_sides, FAL_FALSIFIED, NULL },

    { "prefix", "agreement passes", make_prefix, NULL, FAL_SURVIVED, "of 3 rows" },
    { "prefix", "the future leaks", make_prefix, future_leaks, FAL_FALSIFIED, "r1 logits[1, 3]" },
    { "prefix", "rows beyond are not shared", make_prefix, beyond_the_prefix, FAL_SURVIVED, NULL },
    { "prefix", "no prefix", make_prefix_of_nothing, NULL, FAL_FALSIFIED, "nothing was compared" },
    { "prefix", "an output that nobody wrote", make_prefix, poisoned_logits, FAL_FALSIFIED, NULL },
};
const int fal_n_trials_forward = sizeof fal_trials_forward / sizeof fal_trials_forward[0];
