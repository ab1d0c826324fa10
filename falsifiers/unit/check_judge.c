/* Tests of the judgements: each passes what it must, falsifies what it must, and trusts nothing that cannot fail. */
#include "falsifiers/metrics.h"
#include "falsifiers/unit/judge_scene.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_judge(void);

START_TEST(trial_forward)
{
    fal_trial_run(&fal_trials_forward[_i]);
}
END_TEST

START_TEST(trial_op)
{
    fal_trial_run(&fal_trials_op[_i]);
}
END_TEST

START_TEST(trial_device)
{
    fal_trial_run(&fal_trials_device[_i]);
}
END_TEST

START_TEST(trial_code)
{
    fal_trial_run(&fal_trials_code[_i]);
}
END_TEST

START_TEST(trial_exact)
{
    fal_trial_run(&fal_trials_exact[_i]);
}
END_TEST

START_TEST(trial_arithmetic)
{
    fal_trial_run(&fal_trials_arithmetic[_i]);
}
END_TEST

START_TEST(trial_candidate)
{
    fal_trial_run(&fal_trials_candidate[_i]);
}
END_TEST

static int count_trials(const fal_trial *t, int n, const char *judge, fal_verdict_kind kind)
{
    int found = 0;
    for (int i = 0; i < n; i++) found += strcmp(t[i].judge, judge) == 0 && t[i].expect == kind;
    return found;
}

static int count_all(const char *judge, fal_verdict_kind kind)
{
    return count_trials(fal_trials_forward, fal_n_trials_forward, judge, kind) +
           count_trials(fal_trials_op, fal_n_trials_op, judge, kind) +
           count_trials(fal_trials_device, fal_n_trials_device, judge, kind) +
           count_trials(fal_trials_code, fal_n_trials_code, judge, kind) +
           count_trials(fal_trials_exact, fal_n_trials_exact, judge, kind) +
           count_trials(fal_trials_arithmetic, fal_n_trials_arithmetic, judge, kind) +
           count_trials(fal_trials_candidate, fal_n_trials_candidate, judge, kind);
}

/* Rule: no checker that was never shown to fail, and none that was never shown to pass. */
START_TEST(every_judgement_was_seen_to_falsify)
{
    int n = 0;
    const fal_judgement *const all = fal_judgement_all(&n);
    ck_assert_int_ge(n, 30);
    for (int i = 0; i < n; i++) {
        ck_assert_msg(count_all(all[i].name, FAL_FALSIFIED) > 0, "no trial in which %s falsifies", all[i].name);
        ck_assert_msg(count_all(all[i].name, FAL_SURVIVED) > 0, "no trial that %s lets pass", all[i].name);
    }
}
END_TEST

/* Rule: one list of judgements, complete and findable. */
START_TEST(the_list_is_whole)
{
    int n = 0;
    const fal_judgement *const all = fal_judgement_all(&n);
    for (int i = 0; i < n; i++) {
        ck_assert_ptr_eq(fal_judgement_find(all[i].name), &all[i]);
        ck_assert(all[i].metric && all[i].metric[0] && all[i].help && all[i].help[0] && all[i].judge);
        for (int k = 0; k < i; k++) ck_assert_str_ne(all[k].name, all[i].name);
    }
    ck_assert_ptr_null(fal_judgement_find("cosin"));
    for (int v = 0; v < FAL_N_VERDICTS; v++)
        for (int w = 0; w < v; w++)
            ck_assert_str_ne(fal_verdict_name((fal_verdict_kind)v), fal_verdict_name((fal_verdict_kind)w));
    ck_assert_str_eq(fal_verdict_name((fal_verdict_kind)99), "unknown");
}
END_TEST

/* A check whose value is set by the test: live bytes after - before. */
static fal_verdict judge_value(json_int_t value, int kind, double limit, bool has_warn, double warn)
{
    fal_scene s = { 0 };
    fal_scene_refusal(&s, "no_leak");
    fal_scene_limit(&s, kind, limit);
    s.check.limit.has_warn = has_warn;
    s.check.limit.warn = warn;
    json_object_set_new(json_object_get(s.got->about, "refusal"), "live_bytes_after", json_integer(100 + value));
    const fal_verdict v = fal_scene_judge(&s);
    fal_scene_free(&s);
    return v;
}

/* Rule: a value at its limit passes, the next double beyond does not, whichever way the limit points. */
START_TEST(limit_boundaries)
{
    const double beyond = nextafter(1000, 2000), before = nextafter(1000, 0);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MAX, 1000, false, 0).kind, FAL_SURVIVED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MAX, beyond, false, 0).kind, FAL_SURVIVED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MAX, before, false, 0).kind, FAL_FALSIFIED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MIN, 1000, false, 0).kind, FAL_SURVIVED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MIN, before, false, 0).kind, FAL_SURVIVED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_MIN, beyond, false, 0).kind, FAL_FALSIFIED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_EQUAL, 1000, false, 0).kind, FAL_SURVIVED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_EQUAL, beyond, false, 0).kind, FAL_FALSIFIED);
    ck_assert_int_eq(judge_value(1000, FAL_LIMIT_EQUAL, before, false, 0).kind, FAL_FALSIFIED);
}
END_TEST

/* Rule: a limit that is no number lets nothing pass. */
START_TEST(limit_nan)
{
    for (int kind = FAL_LIMIT_MAX; kind <= FAL_LIMIT_EQUAL; kind++) {
        const fal_verdict v = judge_value(0, kind, NAN, false, 0);
        ck_assert_int_eq(v.kind, FAL_FALSIFIED);
        ck_assert(v.margin < 0);
    }
}
END_TEST

/* Rule: the sentence does not call a value equal to a limit that it breaks. */
START_TEST(sentence_shows_the_difference)
{
    const fal_verdict v = judge_value(1000, FAL_LIMIT_MAX, nextafter(1000, 0), false, 0);
    ck_assert_msg(strstr(v.reason, "1000") && strstr(v.reason, "999.99999999999989"), "%s", v.reason);
}
END_TEST

/* Rule: margin is relative, positive on the passing side, negative exactly when falsified; warn only marks. */
START_TEST(margin_and_marginal)
{
    ck_assert_double_eq_tol(judge_value(750, FAL_LIMIT_MAX, 1000, false, 0).margin, 0.25, 1e-12);
    ck_assert_double_eq_tol(judge_value(1250, FAL_LIMIT_MAX, 1000, false, 0).margin, -0.25, 1e-12);
    ck_assert_double_eq_tol(judge_value(1250, FAL_LIMIT_MIN, 1000, false, 0).margin, 0.25, 1e-12);
    ck_assert_double_eq(judge_value(0, FAL_LIMIT_MAX, 0, false, 0).margin, 0);
    ck_assert_double_eq(judge_value(3, FAL_LIMIT_MAX, 0, false, 0).margin, -3);
    ck_assert_double_eq(judge_value(1000, FAL_LIMIT_EQUAL, 1000, false, 0).margin, 0);
    ck_assert(judge_value(1, FAL_LIMIT_EQUAL, 0, false, 0).margin < 0);
    ck_assert(judge_value(1000, FAL_LIMIT_MAX, nextafter(1000, 0), false, 0).margin < 0);

    ck_assert(judge_value(501, FAL_LIMIT_MAX, 1000, true, 500).marginal);
    ck_assert(!judge_value(500, FAL_LIMIT_MAX, 1000, true, 500).marginal);
    ck_assert(judge_value(1499, FAL_LIMIT_MIN, 1000, true, 1500).marginal);
    ck_assert(!judge_value(1500, FAL_LIMIT_MIN, 1000, true, 1500).marginal);
    const fal_verdict broken = judge_value(1001, FAL_LIMIT_MAX, 1000, true, 500);
    ck_assert(!broken.marginal && broken.kind == FAL_FALSIFIED);
}
END_TEST

/* Rule: what cannot be judged is an error, never a pass: unknown judgements, kinds that do not fit, no observation. */
START_TEST(what_cannot_be_judged)
{
    fal_scene s = { 0 };
    fal_scene_refusal(&s, "no_leak");
    s.check.judge = "no_leek";
    fal_verdict v = fal_scene_judge(&s);
    ck_assert_int_eq(v.kind, FAL_ERROR);
    ck_assert_ptr_nonnull(strstr(v.reason, "no_leek"));
    s.check.judge = NULL;
    ck_assert_int_eq(fal_scene_judge(&s).kind, FAL_ERROR);
    s.check.judge = "cosine";
    v = fal_scene_judge(&s);
    ck_assert_int_eq(v.kind, FAL_ERROR);
    ck_assert_ptr_nonnull(strstr(v.reason, "kind refusal"));

    const fal_evidence_in nothing = { .check = &s.check };
    s.check.judge = "no_leak";
    fal_judge(&nothing, &v);
    ck_assert_int_eq(v.kind, FAL_CRASHED);
    ck_assert(v.margin < 0 && !v.has_value);
    fal_scene_free(&s);
}
END_TEST

/* Rule: got may be the very object that it is compared with. */
START_TEST(the_same_object)
{
    fal_scene s = { 0 };
    fal_scene_forward(&s, "cosine", FAL_AGAINST_REFERENCE);
    fal_scene_limit(&s, FAL_LIMIT_MIN, 1 - 1e-15);
    fal_draft_free(s.want);
    s.want = s.got; /* the scene writes and reads it twice; the judge sees the same numbers */
    ck_assert_int_eq(fal_scene_judge(&s).kind, FAL_SURVIVED);
    s.want = NULL;
    fal_scene_free(&s);
}
END_TEST

/* ---- hostile observations -------------------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

/* Replaces one value somewhere in the JSON by one that nobody expects there. */
static void spoil_json(json_t *j, uint64_t *state)
{
    json_t *const values[] = { json_null(),  json_integer(-1), json_real(1e300),       json_string("x"),
                               json_array(), json_object(),    json_integer(INT64_MAX) };
    json_t *const value = values[draw(state, 7)];
    const char *key = NULL;
    size_t at = 0;
    for (int depth = 0; depth < 6; depth++) {
        json_t *child = NULL;
        if (json_is_object(j) && json_object_size(j) > 0) {
            void *iter = json_object_iter(j);
            for (uint32_t i = draw(state, (uint32_t)json_object_size(j)); i > 0; i--)
                iter = json_object_iter_next(j, iter);
            key = json_object_iter_key(iter);
            child = json_object_iter_value(iter);
        } else if (json_is_array(j) && json_array_size(j) > 0) {
            at = draw(state, (uint32_t)json_array_size(j));
            child = json_array_get(j, at);
        } else {
            break;
        }
        const bool inner = (json_is_object(child) && json_object_size(child) > 0) ||
                           (json_is_array(child) && json_array_size(child) > 0);
        if (!inner || draw(state, 4) == 0) {
            if (json_is_object(j)) json_object_set(j, key, value);
            else json_array_set(j, at, value);
            break;
        }
        j = child;
    }
    for (int i = 0; i < 7; i++) json_decref(values[i]);
}

static void spoil_tensor(fal_draft *d, uint64_t *state)
{
    if (d->n == 0) return;
    fal_draft_tensor *const t = &d->tensors[draw(state, (uint32_t)d->n)];
    const int64_t n = (int64_t)(t->nbytes / 4);
    if (n == 0) return;
    switch (draw(state, 6)) {
    case 0: fal_draft_drop(d, t->name); break;
    case 1: fal_draft_poison(d, t->name); break;
    case 2: fal_draft_reshape(d, t->name, 1, (const int64_t[]) { n > 1 ? n - 1 : 0 }); break;
    case 3: fal_draft_reshape(d, t->name, 0, (const int64_t[]) { 0 }); break;
    case 4: fal_draft_reshape(d, t->name, 3, (const int64_t[]) { n, 0, 1 }); break;
    default: t->dtype = t->dtype == FAL_DTYPE_F32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    }
}

/* Rule: an observation may come from anyone. Whatever is in it, the judge ends, explains itself, and lets no NaN and no
   empty comparison pass. */
static void try_spoilt(const fal_trial *t, int seed)
{
    uint64_t state = (uint64_t)seed * 77 + 5;
    for (int k = 0; k < 12; k++) {
        fal_scene s = { 0 };
        fal_verdict v;
        t->make(&s);
        fal_draft *const drafts[] = { s.got, s.want ? s.want : s.got, s.again ? s.again : s.got };
        for (uint32_t n = 1 + draw(&state, 2); n > 0; n--) {
            fal_draft *const d = drafts[draw(&state, 3)];
            if (draw(&state, 2)) spoil_tensor(d, &state);
            else spoil_json(d->about, &state);
        }
        if (fal_scene_try(&s, &v)) {
            ck_assert(v.kind < FAL_N_VERDICTS && v.kind != FAL_NOT_RUN && v.reason[0] != '\0');
            ck_assert(memchr(v.reason, 0, sizeof v.reason) && memchr(v.detail, 0, sizeof v.detail) &&
                      memchr(v.worst, 0, sizeof v.worst));
            if (v.kind == FAL_SURVIVED) ck_assert(v.has_value && v.n_compared > 0 && !isnan(v.value));
            if (v.kind == FAL_FALSIFIED) ck_assert(v.margin < 0);
        }
        fal_scene_free(&s);
    }
}

START_TEST(spoilt_forward)
{
    if (!fal_trials_forward[_i].change) try_spoilt(&fal_trials_forward[_i], _i);
}
END_TEST

START_TEST(spoilt_op)
{
    if (!fal_trials_op[_i].change) try_spoilt(&fal_trials_op[_i], _i);
}
END_TEST

START_TEST(spoilt_device)
{
    if (!fal_trials_device[_i].change) try_spoilt(&fal_trials_device[_i], _i);
}
END_TEST

START_TEST(spoilt_code)
{
    if (!fal_trials_code[_i].change) try_spoilt(&fal_trials_code[_i], _i);
}
END_TEST

START_TEST(spoilt_candidate)
{
    if (!fal_trials_candidate[_i].change) try_spoilt(&fal_trials_candidate[_i], _i);
}
END_TEST

/* ---- metrics --------------------------------------------------------------------------------------------------- */

static fal_row floats(const float *x, size_t n, fal_obs_tensor *t)
{
    *t = (fal_obs_tensor){ .name = "x",
                           .dtype = FAL_DTYPE_F32,
                           .n_dims = 1,
                           .ne = { (int64_t)n },
                           .data = x,
                           .nbytes = n * sizeof *x,
                           .n = n };
    return fal_row_whole(t);
}

START_TEST(metrics_known_values)
{
    const float a[] = { 3, 4, 0 }, b[] = { 4, -3, 0 }, c[] = { 6, 8, 0 }, d[] = { 3, 4, 1 };
    fal_obs_tensor ta, tb, tc, td;
    const fal_row ra = floats(a, 3, &ta), rb = floats(b, 3, &tb), rc = floats(c, 3, &tc), rd = floats(d, 3, &td);
    ck_assert_double_eq_tol(fal_cosine(ra, rb), 0, 1e-15);
    ck_assert_double_eq_tol(fal_cosine(ra, rc), 1, 1e-15);
    ck_assert_double_eq_tol(fal_rel_l2(rc, ra), 1, 1e-15);
    ck_assert_double_eq_tol(fal_rel_l2(rd, ra), 0.2, 1e-15);
    ck_assert_double_eq(fal_max_abs(rb, ra), 7);
    ck_assert_uint_eq(fal_furthest(rb, ra), 1);
}
END_TEST

/* Rule: wrong by one element of n is as large as its share of the norm; nothing is averaged away below the limit. */
START_TEST(metrics_wrong_by_one)
{
    enum { N = 10000 };
    float *const a = malloc(N * sizeof *a), *const b = malloc(N * sizeof *b);
    ck_assert(a && b);
    for (int i = 0; i < N; i++) a[i] = b[i] = i % 2 ? 1 : -1;
    b[7777] = 1.1f;
    fal_obs_tensor ta, tb;
    const double l2 = fal_rel_l2(floats(b, N, &tb), floats(a, N, &ta)),
                 cosine = fal_cosine(fal_row_whole(&tb), fal_row_whole(&ta));
    ck_assert_double_eq_tol(l2, 0.1 / 100, 1e-8);
    ck_assert(!(l2 <= 9.99e-4) && cosine >= 0.999999); /* which is why the cosine alone is not enough */
    ck_assert_uint_eq(fal_furthest(fal_row_whole(&tb), fal_row_whole(&ta)), 7777);
    free(a);
    free(b);
}
END_TEST

/* Rule: NaN, infinity, emptiness and zero norms never look like agreement. */
START_TEST(metrics_refuse)
{
    const float a[] = { 1, 2 }, nan_[] = { 1, NAN }, inf_[] = { INFINITY, 2 }, zero[] = { 0, 0 },
                minus_zero[] = { -0.0f, 0 };
    fal_obs_tensor ta, tn, ti, tz, tm;
    const fal_row ra = floats(a, 2, &ta), rows[] = { floats(nan_, 2, &tn), floats(inf_, 2, &ti) },
                  rz = floats(zero, 2, &tz), rm = floats(minus_zero, 2, &tm);
    for (int i = 0; i < 2; i++) {
        ck_assert(isnan(fal_cosine(rows[i], ra)) && isnan(fal_cosine(ra, rows[i])) &&
                  isnan(fal_cosine(rows[i], rows[i])));
        ck_assert(isnan(fal_rel_l2(rows[i], ra)) && isnan(fal_rel_l2(ra, rows[i])) &&
                  isnan(fal_rel_l2(rows[i], rows[i])));
        ck_assert(isnan(fal_max_abs(rows[i], ra)) && isnan(fal_max_abs(ra, rows[i])) &&
                  isnan(fal_max_abs(rows[i], rows[i])));
        size_t first = 9;
        ck_assert_uint_eq(fal_bits_different(rows[i], rows[i], &first), 1);
        ck_assert_uint_eq(first, i == 0 ? 1 : 0);
        ck_assert_uint_eq(fal_non_finite(rows[i], &first), 1);
    }
    ck_assert(isnan(fal_cosine(rz, rz)) && isnan(fal_cosine(ra, rz)) && isnan(fal_cosine(rz, ra)));
    ck_assert_double_eq(fal_rel_l2(rm, rz), 0);
    ck_assert(isinf(fal_rel_l2(ra, rz)));
    ck_assert_double_eq_tol(fal_rel_l2(rz, ra), 1, 1e-15);
    const fal_row none = fal_row_part(&ta, 0, 0);
    ck_assert(isnan(fal_cosine(none, none)) && isnan(fal_rel_l2(none, none)) && isnan(fal_max_abs(none, none)) &&
              !fal_all_zero(none));
    ck_assert(isnan(fal_rel_l2(ra, fal_row_part(&ta, 0, 1))));
    ck_assert(fal_all_zero(rz) && fal_all_zero(rm) && !fal_all_zero(ra) && !fal_all_zero(rows[0]));
    size_t first;
    ck_assert_uint_eq(fal_bits_different(rm, rz, &first), 1); /* zeros of two signs are equal numbers, not equal bits */
}
END_TEST

/* Rule: below FLT_MIN the spacing of f32 is no longer relative, so errors there are held against FLT_MIN. */
START_TEST(metrics_denormals)
{
    const float a[] = { 5e-41f, 0 }, b[] = { nextafterf(5e-41f, 1), 0 }, c[] = { 1, 0 };
    fal_obs_tensor ta, tb, tc;
    ck_assert(fal_rel_l2(floats(b, 2, &tb), floats(a, 2, &ta)) < 1e-7);
    ck_assert(fal_rel_l2(floats(c, 2, &tc), fal_row_whole(&ta)) > 1e30);
}
END_TEST

/* Rule: NaN is larger than every number, ties go to the lower index. */
START_TEST(metrics_argmax)
{
    const float a[] = { 1, 5, 5, 2 }, b[] = { 1, INFINITY, NAN, NAN }, c[] = { -INFINITY, -INFINITY }, d[] = { NAN, 7 };
    fal_obs_tensor t;
    ck_assert_uint_eq(fal_argmax(floats(a, 4, &t)), 1);
    ck_assert_uint_eq(fal_argmax(floats(b, 4, &t)), 2);
    ck_assert_uint_eq(fal_argmax(floats(c, 2, &t)), 0);
    ck_assert_uint_eq(fal_argmax(floats(d, 2, &t)), 0);
}
END_TEST

/* Rule: data at odd addresses, as a file may hold them, is read as it is; poison in ids is no id. */
START_TEST(metrics_unaligned_and_ids)
{
    unsigned char bytes[13] = { 0 };
    const float x[] = { 1.5f, -2.25f, 3 };
    memcpy(bytes + 1, x, sizeof x);
    fal_obs_tensor t = {
        .name = "x", .dtype = FAL_DTYPE_F32, .n_dims = 1, .ne = { 3 }, .data = bytes + 1, .nbytes = 12, .n = 3
    };
    ck_assert_double_eq(fal_row_at(fal_row_whole(&t), 1), -2.25);
    const int32_t ids[] = { 3, -1 };
    const fal_obs_tensor i = {
        .name = "ids", .dtype = FAL_DTYPE_I32, .n_dims = 1, .ne = { 2 }, .data = ids, .nbytes = 8, .n = 2
    };
    size_t first = 0;
    ck_assert_uint_eq(fal_bits_different(fal_row_whole(&i), fal_row_whole(&i), &first), 1);
    ck_assert_uint_eq(first, 1);
}
END_TEST

Suite *fal_suite_judge(void)
{
    Suite *const suite = suite_create("judge");
    TCase *const limits = tcase_create("limits"), *const metrics = tcase_create("metrics"),
                 *const trials = tcase_create("trials");
    TCase *const spoilt = tcase_create("spoilt");
    tcase_add_test(limits, every_judgement_was_seen_to_falsify);
    tcase_add_test(limits, the_list_is_whole);
    tcase_add_test(limits, limit_boundaries);
    tcase_add_test(limits, limit_nan);
    tcase_add_test(limits, sentence_shows_the_difference);
    tcase_add_test(limits, margin_and_marginal);
    tcase_add_test(limits, what_cannot_be_judged);
    tcase_add_test(limits, the_same_object);
    tcase_add_test(metrics, metrics_known_values);
    tcase_add_test(metrics, metrics_wrong_by_one);
    tcase_add_test(metrics, metrics_refuse);
    tcase_add_test(metrics, metrics_denormals);
    tcase_add_test(metrics, metrics_argmax);
    tcase_add_test(metrics, metrics_unaligned_and_ids);
    tcase_set_timeout(trials, 60);
    tcase_add_loop_test(trials, trial_forward, 0, fal_n_trials_forward);
    tcase_add_loop_test(trials, trial_op, 0, fal_n_trials_op);
    tcase_add_loop_test(trials, trial_device, 0, fal_n_trials_device);
    tcase_add_loop_test(trials, trial_code, 0, fal_n_trials_code);
    tcase_add_loop_test(trials, trial_exact, 0, fal_n_trials_exact);
    tcase_add_loop_test(trials, trial_arithmetic, 0, fal_n_trials_arithmetic);
    tcase_add_loop_test(trials, trial_candidate, 0, fal_n_trials_candidate);
    suite_add_tcase(suite, limits);
    suite_add_tcase(suite, metrics);
    tcase_set_timeout(spoilt, 60);
    tcase_add_loop_test(spoilt, spoilt_forward, 0, fal_n_trials_forward);
    tcase_add_loop_test(spoilt, spoilt_op, 0, fal_n_trials_op);
    tcase_add_loop_test(spoilt, spoilt_device, 0, fal_n_trials_device);
    tcase_add_loop_test(spoilt, spoilt_code, 0, fal_n_trials_code);
    tcase_add_loop_test(spoilt, spoilt_candidate, 0, fal_n_trials_candidate);
    suite_add_tcase(suite, trials);
    suite_add_tcase(suite, spoilt);
    return suite;
}
