/* From the outcomes of a case's observations to its verdict. */
#include "harness/run_parts.h"
#include "harness/run_waivers.h"
#include "harness/waiver.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void say(fal_verdict *v, fal_verdict_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(fal_verdict *v, fal_verdict_kind kind, const char *fmt, ...)
{
    va_list ap;
    v->kind = kind;
    v->has_value = false;
    v->margin = -(double)INFINITY;
    if (!v->metric) v->metric = "none";
    va_start(ap, fmt);
    vsnprintf(v->reason, sizeof v->reason, fmt, ap);
    va_end(ap);
}

static void add_detail(fal_verdict *v, const char *label, const char *text)
{
    const size_t n = strlen(v->detail);
    if (*text)
        snprintf(v->detail + n, sizeof v->detail - n, "%s%s%s", n && v->detail[n - 1] != '\n' ? "\n" : "", label, text);
}

/* An observation under trial that was not delivered: what that says about the claim. */
static void judge_outcome(const fal_outcome *o, fal_verdict *v)
{
    const fal_error *e = &o->error;
    switch (o->kind) {
    case FAL_OUTCOME_DONE: break;
    case FAL_OUTCOME_REFUSED:
        /* a request that the contract calls valid was refused as bad: that is an answer, and a wrong one */
        if (e->code == FAL_ERR_INPUT || e->code == FAL_ERR_USAGE)
            say(v, FAL_FALSIFIED, "%s%s", strncmp(e->message, "the candidate ", 14) == 0 ? "" : "refused a request that it must compute: ", e->message);
        else if (e->code == FAL_ERR_BLOCKED)
            say(v, FAL_BLOCKED, "%s", e->message);
        else
            say(v, FAL_ERROR, "%s: %s", fal_status_name(e->code), e->message);
        break;
    case FAL_OUTCOME_BLOCKED: say(v, FAL_BLOCKED, "%s", e->message); break;
    case FAL_OUTCOME_CRASHED: say(v, FAL_CRASHED, "%s", e->message); break;
    case FAL_OUTCOME_TIMED_OUT: say(v, FAL_TIMED_OUT, "%s", e->message); break;
    case FAL_OUTCOME_NOT_RUN: say(v, FAL_NOT_RUN, "%s", e->message[0] ? e->message : "interrupted"); break;
    case FAL_OUTCOME_ERROR: say(v, FAL_ERROR, "%s: %s", fal_status_name(e->code), e->message); break;
    }
    add_detail(v, "hint: ", e->hint);
}

/* Fills in->want and in->again; false with the verdict when one of them is not to be had. */
static bool open_others(fal_run_parts *r, const fal_case *k, fal_evidence_in *in, fal_verdict *v)
{
    fal_error err = { 0 };
    if (k->want >= 0) {
        const fal_outcome *o = &r->observed[k->want].outcome;
        if (o->kind == FAL_OUTCOME_NOT_RUN) {
            judge_outcome(o, v);
            return false;
        }
        in->want = o->kind == FAL_OUTCOME_DONE ? fal_run_open(r, k->want, &err) : NULL;
        if (!in->want) {
            say(v, FAL_ERROR, "the reference failed: %s", err.code ? err.message : o->error.message);
            add_detail(v, "hint: ", o->error.hint);
            return false;
        }
    }
    if (k->again >= 0) {
        const fal_outcome *o = &r->observed[k->again].outcome;
        if (o->kind != FAL_OUTCOME_DONE) {
            judge_outcome(o, v);
            return false;
        }
        in->again = fal_run_open(r, k->again, &err);
        if (!in->again) {
            say(v, FAL_ERROR, "the second observation is unusable: %s", err.message);
            return false;
        }
    }
    return true;
}

/* A driver that opened another device than the plan names would be a silent fallback. */
static bool right_device(const fal_case *k, const fal_observation *got, fal_verdict *v)
{
    const json_t *device = json_object_get(json_object_get(got->about, "ran"), "device");
    const char *slug = json_string_value(json_object_get(device, "slug"));
    if (!k->device || (slug && strcmp(slug, k->device->slug) == 0)) return true;
    say(v, FAL_ERROR, "planned on device %s, but %s ran", k->device->slug, slug ? slug : "one without a name");
    return false;
}

/* A right answer does not make up for what a candidate did beside it. Trials have falsifiers for each of these things. */
static bool stayed_inside(const fal_case *k, const fal_observation *got, fal_verdict *v)
{
    const char *breaches = json_string_value(json_object_get(json_object_get(got->about, "ran"), "breaches"));
    if (!breaches || k->check->observe == FAL_OBSERVE_TRIAL) return true;
    say(v, FAL_FALSIFIED, "beside its answer: %.400s", breaches);
    return false;
}

static void judge_observation(fal_run_parts *r, const fal_case *k, bool second, fal_verdict *v)
{
    const fal_observed *got = &r->observed[k->got];
    const fal_outcome *o = second ? &got->second_outcome : &got->outcome;
    fal_evidence_in in = { .check = k->check,
                           .oracle = r->run.plan->oracle,
                           .oracle_prompt = k->oracle_prompt,
                           .config = k->uses_model && r->model ? &r->model->config : NULL };
    fal_error err = { 0 };
    *v = (fal_verdict){ .kind = FAL_ERROR, .metric = "none" };
    if (k->untapped) {
        if (o->kind == FAL_OUTCOME_DONE)
            say(v, FAL_NOT_RUN, "observed without taps (--no-taps), so judgement %s has nothing to look at", k->check->judge);
        else
            judge_outcome(o, v);
        return;
    }
    if (k->want >= 0 && r->observed[k->want].outcome.kind != FAL_OUTCOME_DONE) {
        open_others(r, k, &in, v);
        return;
    }
    if (o->kind != FAL_OUTCOME_DONE) {
        judge_outcome(o, v);
        return;
    }
    if (!open_others(r, k, &in, v)) return;
    in.got = second ? fal_run_open_second(r, k->got, &err) : fal_run_open(r, k->got, &err);
    if (!in.got) {
        say(v, FAL_ERROR, "the observation is unusable: %s", err.message);
        return;
    }
    if (right_device(k, in.got, v) && stayed_inside(k, in.got, v)) fal_judge(&in, v);
}

/* Where two runs that differ are the finding itself, a pass at the second try excuses nothing. */
static bool judges_determinism(const fal_check *c)
{
    return c->again || strcmp(c->judge, "same_bits") == 0 || strcmp(c->judge, "same_out_bits") == 0;
}

static void try_again(fal_run_parts *r, const fal_case *k, fal_verdict *v)
{
    if (r->options->once || judges_determinism(k->check) || (r->options->stop && *r->options->stop)) return;
    fal_verdict second;
    fal_run_observe_again(r, k->got);
    judge_observation(r, k, true, &second);
    if (second.kind == FAL_SURVIVED) {
        char first[sizeof v->reason];
        snprintf(first, sizeof first, "%s", v->reason);
        v->kind = FAL_FLAKY;
        snprintf(v->reason, sizeof v->reason, "failed, then passed in another process: %.400s", first);
    } else if (second.kind != FAL_FALSIFIED) {
        char text[300];
        snprintf(text, sizeof text, "%s: %.200s", fal_verdict_name(second.kind), second.reason);
        add_detail(v, "the second attempt: ", text);
    } else if (second.has_value && v->has_value && !(second.value <= v->value && second.value >= v->value) &&
               !(isnan(second.value) && isnan(v->value))) {
        char text[64];
        snprintf(text, sizeof text, "%.9g", second.value);
        add_detail(v, "falsified again in another process, with another value: ", text);
    } else {
        add_detail(v, "", "falsified again in another process");
    }
}

void fal_run_judge(fal_run_parts *r, int case_index)
{
    const fal_case *k = &r->run.plan->cases[case_index];
    fal_result *result = &r->run.results[case_index];
    fal_observed *got = &r->observed[k->got];
    judge_observation(r, k, false, &result->verdict);
    result->executed = result->verdict.kind != FAL_NOT_RUN && result->verdict.kind != FAL_BLOCKED;
    result->seconds = got->outcome.seconds;
    if (got->opened) {
        json_t *ran = json_object_get(got->opened->about, "ran");
        result->ran = json_incref(ran);
        json_t *throughput = json_object_get(got->opened->about, "throughput");
        result->throughput = json_incref(throughput);
        result->trial = json_incref(json_object_get(got->opened->about, "trial"));
    }
    const fal_outcome *lost = &got->outcome;
    if (lost->kind == FAL_OUTCOME_DONE && k->again >= 0) lost = &r->observed[k->again].outcome;
    if (lost->kind != FAL_OUTCOME_DONE && lost->log_tail[0]) result->log_tail = strdup(lost->log_tail);
    if (result->verdict.kind == FAL_FALSIFIED) try_again(r, k, &result->verdict);
    const fal_waiver *w = fal_waiver_of(k->contract, k->falsifier->id, k->check->name, k->backend);
    if (fal_waive(w, r->run.today, &result->verdict)) result->waiver = w;
}
