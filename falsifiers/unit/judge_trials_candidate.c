/* Trials of the judgements of candidates. */
#include "falsifiers/unit/judge_scene.h"

#include <math.h>
#include <string.h>

static json_t *account(fal_scene *s)
{
    return json_object_get(s->got->about, "trial");
}

static void set(fal_scene *s, const char *name, json_int_t value)
{
    json_object_set_new(account(s), name, json_integer(value));
}

static void copy(fal_scene *s, const char *to, const char *from)
{
    memcpy(fal_draft_f32(s->got, to), fal_draft_f32(s->got, from), 16 * sizeof(float));
}

#define MAKE(judgement, against, kind, limit)                                                                          \
    static void make_##judgement(fal_scene *s)                                                                         \
    {                                                                                                                  \
        fal_scene_trial(s, #judgement, against);                                                                       \
        fal_scene_limit(s, kind, limit);                                                                               \
    }
MAKE(trial_answers, FAL_AGAINST_REFERENCE, FAL_LIMIT_MAX, 1e-6)
MAKE(trial_written, FAL_AGAINST_NONE, FAL_LIMIT_EQUAL, 0)
MAKE(trial_content, FAL_AGAINST_NONE, FAL_LIMIT_MAX, 1e-5)
MAKE(trial_timed, FAL_AGAINST_NONE, FAL_LIMIT_MAX, 1e-5)
MAKE(trial_inputs, FAL_AGAINST_NONE, FAL_LIMIT_EQUAL, 0)
MAKE(trial_bounds, FAL_AGAINST_NONE, FAL_LIMIT_EQUAL, 0)
MAKE(trial_late, FAL_AGAINST_NONE, FAL_LIMIT_EQUAL, 0)
MAKE(trial_roofline, FAL_AGAINST_NONE, FAL_LIMIT_MAX, 1.25)

static void no_account(fal_scene *s)
{
    json_object_del(s->got->about, "trial");
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static void rounding(fal_scene *s)
{
    fal_draft_f32(s->got, "r4.out.y")[3] *= 1 + 0x1p-23f;
}

static void timed_answer_wrong(fal_scene *s)
{
    fal_draft_f32(s->got, "r5.out.y")[7] += 1;
}

static void stale_answer(fal_scene *s)
{
    copy(s, "r1.out.y", "r0.out.y");
}

static void answer_is_nan(fal_scene *s)
{
    fal_draft_f32(s->got, "r2.out.y")[0] = NAN;
}

static void other_inputs(fal_scene *s)
{
    json_object_set_new(json_array_get(json_object_get(s->got->about, "requests"), 4), "inputs",
                        json_string("digest 9"));
}

static void request_missing(fal_scene *s)
{
    json_array_remove(json_object_get(s->got->about, "requests"), 5);
    fal_draft_drop(s->got, "r5.out.y");
    fal_draft_drop(s->got, "r5.after.y");
}

static void all_zero(fal_scene *s)
{
    static const char *const names[] = { "r0.out.y", "r1.out.y", "r2.out.y", "r3.out.y", "r4.out.y", "r5.out.y" };
    for (int i = 0; i < 6; i++) {
        fal_draft_zero(s->got, names[i]);
        if (s->want) fal_draft_zero(s->want, names[i]);
    }
}

/* ---- outputs ------------------------------------------------------------------------------------------------------ */

static void one_unwritten(fal_scene *s)
{
    memset(fal_draft_f32(s->got, "r3.out.y") + 15, 0xff, sizeof(float));
}

static void unwritten_again(fal_scene *s)
{
    fal_draft_poison(s->got, "r4.after.y");
}

static void one_infinite(fal_scene *s)
{
    fal_draft_f32(s->got, "r5.out.y")[0] = INFINITY;
}

static void output_missing(fal_scene *s)
{
    fal_draft_drop(s->got, "r2.out.y");
}

/* ---- content ------------------------------------------------------------------------------------------------------ */

static void first_not_again(fal_scene *s)
{
    fal_draft_f32(s->got, "r3.out.y")[2] += 0.5f;
}

static void constant(fal_scene *s)
{
    copy(s, "r1.out.y", "r0.out.y");
    copy(s, "r2.out.y", "r0.out.y");
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

static void timed_otherwise(fal_scene *s)
{
    copy(s, "r5.out.y", "r4.out.y");
}

static void timed_unwritten(fal_scene *s)
{
    fal_draft_poison(s->got, "r5.out.y");
}

static void at_the_roof(fal_scene *s)
{
    json_object_set_new(account(s), "fastest_gb_per_s", json_real(125));
}

static void through_the_roof(fal_scene *s)
{
    json_object_set_new(account(s), "fastest_gb_per_s", json_real(126));
}

static void no_roof(fal_scene *s)
{
    json_object_set_new(account(s), "read_gb_per_s", json_null());
}

static void infinitely_fast(fal_scene *s)
{
    json_object_set_new(account(s), "fastest_gb_per_s", json_string("inf"));
}

/* ---- beside the answers ------------------------------------------------------------------------------------------- */

static void one_changed(fal_scene *s)
{
    set(s, "changed_bytes", 1);
    json_object_set_new(s->got->about, "ran",
                        json_pack("{s:s}", "breaches", "changed input array x of rmsnorm: 1 bytes"));
}

static void one_strayed(fal_scene *s)
{
    set(s, "strayed_bytes", 1);
}

static void one_late(fal_scene *s)
{
    set(s, "late_bytes", 1);
}

static void nothing_looked_at(fal_scene *s)
{
    set(s, "guard_bytes", 0);
}

static void negative(fal_scene *s)
{
    set(s, "changed_bytes", -1);
}

const fal_trial fal_trials_candidate[] = {
    { "trial_answers", "agreement", make_trial_answers, NULL, FAL_SURVIVED, "every bit the reference's" },
    { "trial_answers", "a rounding apart", make_trial_answers, rounding, FAL_SURVIVED, "6 outputs" },
    { "trial_answers", "a timed call alone is wrong", make_trial_answers, timed_answer_wrong, FAL_FALSIFIED,
      "the first in request 5 (a timed call)" },
    { "trial_answers", "a stale answer", make_trial_answers, stale_answer, FAL_FALSIFIED,
      "new content at the same addresses" },
    { "trial_answers", "NaN is no agreement", make_trial_answers, answer_is_nan, FAL_FALSIFIED, "NaN" },
    { "trial_answers", "other inputs say nothing", make_trial_answers, other_inputs, FAL_ERROR, "different inputs" },
    { "trial_answers", "a request is missing", make_trial_answers, request_missing, FAL_CRASHED, "5 of 6" },
    { "trial_answers", "zeros on both sides", make_trial_answers, all_zero, FAL_MISTRUSTED, "zero" },
    { "trial_written", "all is written", make_trial_written, NULL, FAL_SURVIVED, "0 never written" },
    { "trial_written", "one element is not", make_trial_written, one_unwritten, FAL_FALSIFIED, "r3 out.y[1, 7]" },
    { "trial_written", "not when called again", make_trial_written, unwritten_again, FAL_FALSIFIED,
      "16 never written" },
    { "trial_written", "written as infinity", make_trial_written, one_infinite, FAL_FALSIFIED,
      "1 written as NaN or infinity" },
    { "trial_written", "an output is missing", make_trial_written, output_missing, FAL_CRASHED, "out.y" },
    { "trial_content", "content alone decides", make_trial_content, NULL, FAL_SURVIVED, "addresses do not matter" },
    { "trial_content", "the answer before", make_trial_content, stale_answer, FAL_FALSIFIED,
      "it gave the answer to the content before" },
    { "trial_content", "not as the first time", make_trial_content, first_not_again, FAL_FALSIFIED,
      "as the first time" },
    { "trial_content", "the same for any content", make_trial_content, constant, FAL_MISTRUSTED,
      "do not depend on the inputs" },
    { "trial_timed", "timed or not", make_trial_timed, NULL, FAL_SURVIVED, NULL },
    { "trial_timed", "otherwise when timed", make_trial_timed, timed_otherwise, FAL_FALSIFIED, "1 of 2 timed calls" },
    { "trial_timed", "nothing when timed", make_trial_timed, timed_unwritten, FAL_FALSIFIED, "NaN" },
    { "trial_inputs", "left alone", make_trial_inputs, NULL, FAL_SURVIVED, "4096" },
    { "trial_inputs", "one byte changed", make_trial_inputs, one_changed, FAL_FALSIFIED, "array x of rmsnorm" },
    { "trial_inputs", "a number that is none", make_trial_inputs, negative, FAL_CRASHED, "changed_bytes" },
    { "trial_inputs", "no account", make_trial_inputs, no_account, FAL_CRASHED, "no account" },
    { "trial_bounds", "nothing beside", make_trial_bounds, NULL, FAL_SURVIVED, NULL },
    { "trial_bounds", "one byte beside", make_trial_bounds, one_strayed, FAL_FALSIFIED, "8192" },
    { "trial_bounds", "nobody looked", make_trial_bounds, nothing_looked_at, FAL_FALSIFIED, "nothing was compared" },
    { "trial_late", "done at the return", make_trial_late, NULL, FAL_SURVIVED, NULL },
    { "trial_late", "a byte came later", make_trial_late, one_late, FAL_FALSIFIED, NULL },
    { "trial_roofline", "slower than memory", make_trial_roofline, NULL, FAL_SURVIVED, "20 GB/s of 100 GB/s" },
    { "trial_roofline", "as fast as is allowed", make_trial_roofline, at_the_roof, FAL_SURVIVED, NULL },
    { "trial_roofline", "faster", make_trial_roofline, through_the_roof, FAL_FALSIFIED, "exceeds" },
    { "trial_roofline", "nothing to measure against", make_trial_roofline, no_roof, FAL_BLOCKED, NULL },
    { "trial_roofline", "a rate that is no number", make_trial_roofline, infinitely_fast, FAL_CRASHED,
      "fastest_gb_per_s" },
};
const int fal_n_trials_candidate = (int)(sizeof fal_trials_candidate / sizeof fal_trials_candidate[0]);
