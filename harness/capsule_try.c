/* Trying a capsule: the same call on the backend on trial and on the reference, in processes of their own, then judged. */
#include "harness/capsule.h"

#include "falsifiers/metrics.h"
#include "harness/evidence.h"
#include "harness/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

fal_status fal_bench_open(fal_bench *b, fal_error *err)
{
    fal_text path = { 0 };
    fal_text_addf(&path, "%s/falsify-capsule-XXXXXX", b->tmp);
    if (path.failed || !mkdtemp(path.data)) {
        fal_fail(err, FAL_ERR_OUTPUT, "check TMPDIR", "no folder for trials in %s: %s", b->tmp, strerror(errno));
        fal_text_free(&path);
        return FAL_ERR_OUTPUT;
    }
    b->folder = path.data;
    fal_status st = fal_observer_make(b->program, &b->reference, err);
    if (!st) st = fal_observer_make(b->program, &b->trial, err);
    if (st) fal_bench_close(b);
    return st;
}

void fal_bench_close(fal_bench *b)
{
    fal_observer_free(b->trial);
    fal_observer_free(b->reference);
    b->trial = b->reference = NULL;
    fal_remove_folder(b->folder);
    free(b->folder);
    b->folder = NULL;
}

/* ---- judging ------------------------------------------------------------------------------------------------------ */

/* Largest error of a row of the judged output, against the norm of the row or, when that is larger, of the one that it was
   cut from. Without a scale this is the relative L2 of a teacher-forced row. */
static double worst_row(const fal_capsule *c, const fal_obs_tensor *got, const fal_obs_tensor *want, const char *output,
                        size_t *at)
{
    const size_t row = fal_capsule_row(c, output), n = row ? got->n / row : 0;
    double worst = -(double)INFINITY;
    for (size_t t = 0; t < n; t++) {
        const fal_row g = fal_row_part(got, t * row, row), w = fal_row_part(want, t * row, row);
        double v = fal_rel_l2(g, w);
        if (c->scale && t < (size_t)c->n_scale && isfinite(v) && v > 0) {
            double dd = 0, ww = 0;
            for (size_t i = 0; i < row; i++) {
                const double d = fal_row_at(g, i) - fal_row_at(w, i);
                dd += d * d;
                ww += fal_row_at(w, i) * fal_row_at(w, i);
            }
            const double whole = (double)c->scale[t] * sqrt((double)row * c->columns), norm = sqrt(ww);
            v = whole > norm ? sqrt(dd) / whole : v;
        }
        if (!(worst >= v) && !isnan(worst)) {
            worst = v;
            *at = t * row + fal_furthest(g, w);
        }
    }
    return n ? worst : (double)NAN;
}

/* Rows of ids that are not the same set. */
static double different_sets(const fal_capsule *c, const fal_obs_tensor *got, const fal_obs_tensor *want, size_t *at)
{
    const size_t row = fal_capsule_row(c, c->output);
    double n = 0;
    for (size_t t = 0; row && t < got->n / row; t++)
        for (size_t i = 0; i < row; i++) {
            bool found = false;
            for (size_t k = 0; k < row && !found; k++)
                found = !(fal_row_at(fal_row_whole(got), t * row + i) < fal_row_at(fal_row_whole(want), t * row + k)) &&
                        !(fal_row_at(fal_row_whole(got), t * row + i) > fal_row_at(fal_row_whole(want), t * row + k));
            if (found) continue;
            if (n++ < 1) *at = t * row + i;
            break;
        }
    return n;
}

static bool is_own(const fal_capsule *c)
{
    return strcmp(c->judge, "rows") == 0 || strcmp(c->judge, "sets") == 0;
}

static bool limit_holds(const fal_limit *l, double v)
{
    return l->kind == FAL_LIMIT_MAX   ? v <= l->value
           : l->kind == FAL_LIMIT_MIN ? v >= l->value
                                      : v <= l->value && v >= l->value;
}

static void judge_own(const fal_capsule *c, const fal_capsule_outputs *o, fal_attempt *a)
{
    char name[24];
    snprintf(name, sizeof name, "out.%s", c->output);
    const fal_obs_tensor *const got = fal_observation_find(o->got, 0, name), *const want =
                                                                                 fal_observation_find(o->want, 0, name);
    if (!got || !want || got->n != want->n || got->n == 0) {
        snprintf(a->reason, sizeof a->reason, "the observations lack %s", name);
        return;
    }
    const bool sets = strcmp(c->judge, "sets") == 0;
    a->metric = sets ? "router set differences" : "max relative L2 of a row";
    a->value = sets ? different_sets(c, got, want, &a->element) : worst_row(c, got, want, c->output, &a->element);
    a->fails = !limit_holds(&c->limit, a->value);
    a->observed = true;
    a->got = fal_row_at(fal_row_whole(got), a->element);
    a->want = fal_row_at(fal_row_whole(want), a->element);
    snprintf(a->reason, sizeof a->reason, "%s %.6g %s %.6g", a->metric, a->value,
             a->fails ? "breaks the limit" : "is within the limit", c->limit.value);
}

/* Elements of all outputs that still hold what they were filled with, or are not finite. */
static void judge_written(const fal_capsule_outputs *o, fal_attempt *a)
{
    static const unsigned char poison[4] = { 0xff, 0xff, 0xff, 0xff };
    double n = 0;
    size_t elements = 0;
    for (int i = 0; i < o->got->n_tensors; i++) {
        const fal_obs_tensor *const t = &o->got->tensors[i];
        if (strncmp(t->name, "out.", 4) != 0 && strncmp(t->name, "r0.out.", 7) != 0) continue;
        for (size_t e = 0; e < t->n; e++) {
            const bool empty = memcmp((const unsigned char *)t->data + e * sizeof poison, poison, sizeof poison) == 0;
            if (!empty && fal_row_valid(fal_row_whole(t), e)) continue;
            if (n++ < 1) a->element = e;
        }
        elements += t->n;
    }
    a->metric = "elements never written or not finite";
    a->value = n;
    a->fails = n > 0;
    a->observed = elements > 0;
    snprintf(a->reason, sizeof a->reason, "%.0f of %zu elements were never written or are not finite", n, elements);
}

/* What was done beside the answer; or in its place, which is told by the candidate's side of the process border. */
static void judge_inside(const fal_capsule_outputs *o, fal_attempt *a)
{
    a->metric = "breaches";
    const json_t *const ran = o->got ? json_object_get(o->got->about, "ran") : NULL;
    const char *const breaches = json_string_value(json_object_get(ran, "breaches"));
    const fal_error *const e = &a->outcome.error;
    const bool refused = a->outcome.kind == FAL_OUTCOME_REFUSED && strncmp(e->message, "the candidate ", 14) == 0;
    if (!o->got && !refused) return;
    a->observed = true;
    a->fails = breaches || refused;
    a->value = a->fails;
    snprintf(a->reason, sizeof a->reason, "%s%.480s", breaches ? "beside its answer: " : "",
             breaches  ? breaches
             : refused ? e->message
                       : "nothing was done beside the answer");
}

/* By the judgement of the contract; a relative one must also fail by the measure of the whole row. */
static void judge_by_contract(const fal_capsule *c, const fal_capsule_outputs *o, fal_attempt *a)
{
    fal_param shape_params[FAL_CAPSULE_VALUES], with_params[FAL_CAPSULE_VALUES];
    const fal_params shape = fal_capsule_params(c->shape, c->n_shape, shape_params);
    const uint64_t seeds[] = { c->seed };
    const char *const fills[] = { "capsule" }; /* no fill of the contracts: zeros are not expected of it */
    const fal_check check = { .name = "capsule",
                              .observe = FAL_OBSERVE_OP,
                              .judge = c->judge,
                              .against = FAL_AGAINST_REFERENCE,
                              .limit = c->limit,
                              .op = c->op,
                              .shapes = &shape,
                              .n_shapes = 1,
                              .fills = fills,
                              .n_fills = 1,
                              .seeds = seeds,
                              .n_seeds = 1,
                              .with = fal_capsule_params(c->with, c->n_with, with_params) };
    const fal_evidence_in in = { .check = &check, .got = o->got, .want = o->want, .oracle_prompt = -1 };
    fal_verdict v;
    fal_judge(&in, &v);
    a->observed = v.kind == FAL_SURVIVED || v.kind == FAL_FALSIFIED || v.kind == FAL_MISTRUSTED;
    a->fails = v.kind == FAL_FALSIFIED;
    a->metric = v.metric;
    a->value = v.value;
    a->got = v.got;
    a->want = v.want;
    snprintf(a->reason, sizeof a->reason, "%s", v.reason);
    const fal_obs_tensor *const got = fal_observation_find(o->got, 0, "out.y"), *const want = fal_observation_find(
                                                                                    o->want, 0, "out.y");
    if (!got || !want || got->n != want->n || got->n == 0) return;
    a->element = fal_furthest(fal_row_whole(got), fal_row_whole(want));
    if (!a->fails || !c->scale || (strcmp(c->judge, "rel_l2") != 0 && strcmp(c->judge, "closed_form") != 0)) return;
    size_t at = 0;
    a->fails = !limit_holds(&c->limit, worst_row(c, got, want, "y", &at));
}

static void judge(const fal_capsule *c, const fal_capsule_outputs *o, fal_attempt *a)
{
    if (strcmp(c->judge, "inside") == 0) judge_inside(o, a);
    else if (strcmp(c->judge, "written") == 0) judge_written(o, a);
    else if (is_own(c)) judge_own(c, o, a);
    else judge_by_contract(c, o, a);
}

/* ---- running ------------------------------------------------------------------------------------------------------ */

/* The reference, or the variant of it that performs the declared arithmetic. */
static const char *mirror_of(const fal_capsule *c)
{
    for (int i = 0; i < c->n_with; i++)
        if (strcmp(c->with[i].name, "mirror") == 0) return c->with[i].text;
    return "";
}

/* An observer gives up after a few deaths. A candidate may hang in any of hundreds of trials, and the next one is to be asked
   all the same: the time of all of them is what is limited. */
static void renew(fal_bench *b, const fal_outcome *o)
{
    fal_error ignored = { 0 };
    fal_observer *fresh = NULL;
    const bool lost =
        o->kind == FAL_OUTCOME_TIMED_OUT || o->kind == FAL_OUTCOME_CRASHED || o->kind == FAL_OUTCOME_NOT_RUN;
    if (!b->candidate || !lost || fal_observer_make(b->program, &fresh, &ignored) != FAL_OK) return;
    fal_observer_free(b->trial);
    b->trial = fresh;
}

static void take_device(const fal_observation *o, fal_attempt *a)
{
    const json_t *const d = json_object_get(json_object_get(o->about, "ran"), "device");
    const char *const name = json_string_value(json_object_get(d, "name")), *const driver = json_string_value(
                                                                                json_object_get(d, "driver"));
    snprintf(a->device, sizeof a->device, "%s", name ? name : "?");
    snprintf(a->driver, sizeof a->driver, "%s", driver ? driver : "?");
}

void fal_capsule_try(fal_bench *b, const fal_capsule *c, fal_attempt *a, fal_capsule_outputs *outputs)
{
    fal_param shape_params[FAL_CAPSULE_VALUES];
    fal_capsule_outputs o = { 0 };
    char call[512], got[512], want[512];
    *a = (fal_attempt){ .metric = "none", .value = (double)NAN };
    fal_error *const err = &a->outcome.error;
    snprintf(call, sizeof call, "%s/call.safetensors", b->folder);
    snprintf(got, sizeof got, "%s/got.safetensors", b->folder);
    snprintf(want, sizeof want, "%s/want.safetensors", b->folder);
    b->n++;
    a->outcome.kind = FAL_OUTCOME_ERROR;
    if (fal_capsule_write(c, NULL, call, err) == FAL_OK) {
        const uint64_t seeds[] = { c->seed };
        fal_spec spec = { .kind = FAL_OBSERVE_OP,
                          .backend = b->backend,
                          .variant = b->variant,
                          .device = b->device ? b->device : "",
                          .candidate = b->candidate,
                          .op = c->op,
                          .shape = fal_capsule_params(c->shape, c->n_shape, shape_params),
                          .fill = "gauss",
                          .seeds = seeds,
                          .n_seeds = 1,
                          .inputs = call,
                          .out = got };
        fal_observer_run(b->trial, &spec, b->timeout_s, b->stop, &a->outcome);
        if (a->outcome.kind == FAL_OUTCOME_DONE) {
            fal_outcome reference = { 0 };
            spec.backend = "reference";
            spec.variant = mirror_of(c);
            spec.device = "";
            spec.candidate = NULL;
            spec.out = want;
            fal_observer_run(b->reference, &spec, b->timeout_s, b->stop, &reference);
            if (reference.kind != FAL_OUTCOME_DONE)
                *err = reference.error;
            else if (fal_observation_open(got, &o.got, err) == FAL_OK &&
                     fal_observation_open(want, &o.want, err) == FAL_OK) {
                take_device(o.got, a);
                judge(c, &o, a);
            }
        } else {
            if (strcmp(c->judge, "inside") == 0) judge_inside(&o, a);
            renew(b, &a->outcome);
        }
    }
    if (!a->reason[0]) snprintf(a->reason, sizeof a->reason, "%.500s", err->message);
    unlink(call);
    unlink(got);
    unlink(want);
    if (outputs)
        *outputs = o;
    else {
        fal_observation_close(o.got);
        fal_observation_close(o.want);
    }
}
