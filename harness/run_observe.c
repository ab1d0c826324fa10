/* Observations of a run: which process makes them, where their files lie, and how long they are kept. */
#include "harness/evidence.h"
#include "harness/run_parts.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A large model fits a device once: whoever holds it there ends before the next process loads it. */
static void end_others(fal_run_parts *r, const fal_crew *mine, bool second)
{
    for (int i = 0; i < r->n_crews; i++) {
        fal_crew *c = &r->crews[i];
        if (strcmp(c->backend, "reference") == 0 && c != mine) continue; /* holds no device */
        fal_observer **others[] = { &c->first, &c->second };
        for (int k = 0; k < 2; k++) {
            if (c == mine && k == (second ? 1 : 0)) continue;
            fal_observer_free(*others[k]);
            *others[k] = NULL;
        }
    }
}

/* Whatever a candidate left running is over before the first answer of the reference exists. */
static void end_candidates(fal_run_parts *r)
{
    for (int i = 0; i < r->n_crews; i++) {
        if (strcmp(r->crews[i].backend, "candidate") != 0) continue;
        fal_observer_free(r->crews[i].first);
        fal_observer_free(r->crews[i].second);
        r->crews[i].first = r->crews[i].second = NULL;
    }
}

static bool is_crew_of(const fal_crew *c, const fal_spec *s)
{
    const char *a = c->mutant ? c->mutant : "", *b = s->mutant ? s->mutant : "";
    return strcmp(c->backend, s->backend) == 0 && strcmp(c->variant, s->variant) == 0 && strcmp(a, b) == 0;
}

/* Mutants come one after the other: the processes of the one before end, and their place is free. Returns a free place,
   or n_crews. */
static int end_mutants(fal_run_parts *r)
{
    int place = r->n_crews;
    for (int i = r->n_crews - 1; i >= 0; i--) {
        if (!r->crews[i].mutant) continue;
        fal_observer_free(r->crews[i].first);
        fal_observer_free(r->crews[i].second);
        r->crews[i] = (fal_crew){ .backend = "", .variant = "", .mutant = "" };
        place = i;
    }
    return place;
}

/* The processes for a backend and variant: one for all first attempts, another for second ones. */
static fal_observer *observer_for(fal_run_parts *r, const fal_spec *s, bool second, fal_error *err)
{
    int i = 0;
    while (i < r->n_crews && !is_crew_of(&r->crews[i], s)) i++;
    if (i == r->n_crews) i = end_mutants(r);
    if (i == r->n_crews) {
        if (i == (int)(sizeof r->crews / sizeof r->crews[0])) {
            fal_fail(err, FAL_ERR_INTERNAL, NULL, "too many backends and variants for one run");
            return NULL;
        }
        r->n_crews++;
    }
    r->crews[i].backend = s->backend;
    r->crews[i].variant = s->variant;
    r->crews[i].mutant = s->mutant;
    fal_observer **o = second ? &r->crews[i].second : &r->crews[i].first;
    if (r->run.plan->full_size && strcmp(s->backend, "reference") != 0) end_others(r, &r->crews[i], second);
    if (!*o && fal_observer_make(r->options->program, o, err) == FAL_OK) fal_observer_know(*o, &r->known);
    return *o;
}

static char *file_path(const fal_run_parts *r, int i, const char *suffix)
{
    fal_text t = { 0 };
    fal_text_addf(&t, "%s/%04d-%s%s.safetensors", r->folder, i, r->run.plan->specs[i].label, suffix);
    if (t.failed) fal_text_free(&t);
    return t.data; /* handed over */
}

static void observe(fal_run_parts *r, int i, bool second, const char *path, fal_outcome *outcome)
{
    const fal_plan_spec *planned = &r->run.plan->specs[i];
    fal_spec spec = planned->spec;
    *outcome = (fal_outcome){ .kind = FAL_OUTCOME_ERROR };
    spec.out = path;
    spec.nvtx = r->options->nvtx;
    spec.blocking = r->blocking;
    const int needs[] = { planned->inputs, planned->pin };
    for (int n = 0; n < 2; n++) {
        if (needs[n] < 0) continue;
        const fal_observed *from = &r->observed[needs[n]];
        if (from->outcome.kind != FAL_OUTCOME_DONE) {
            fal_fail(&outcome->error, FAL_ERR_INTERNAL, from->outcome.error.hint,
                     "the reference's observation that this one starts from failed: %s", from->outcome.error.message);
            return;
        }
        *(n ? &spec.pin : &spec.inputs) = from->path;
    }
    if (!path) {
        fal_fail(&outcome->error, FAL_ERR_MEMORY, NULL, "no memory for a path");
        return;
    }
    if (!spec.candidate) end_candidates(r);
    fal_observer *o = observer_for(r, &spec, second, &outcome->error);
    if (o) fal_observer_run(o, &spec, r->options->timeout_s, r->options->stop, outcome);
}

/* A fault of a device is told by whoever waits next. The same again, in a process of its own that waits for every kernel,
   names the one that made it. Not for mutants, whose faults are known, nor beyond the first few: one kernel fails often. */
enum { MOST_NAMED = 4 };
static void name_kernel(fal_run_parts *r, int i, fal_outcome *out)
{
    const fal_plan_spec *planned = &r->run.plan->specs[i];
    const fal_spec *s = &planned->spec;
    if (!out->device_fault || s->mutant || s->candidate || r->options->once || r->n_named >= MOST_NAMED ||
        (r->options->stop && *r->options->stop))
        return;
    r->n_named++;
    char *path = file_path(r, i, "-blocking");
    fal_outcome again = { .kind = FAL_OUTCOME_ERROR };
    r->blocking = true;
    observe(r, i, true, path, &again);
    r->blocking = false;
    fal_text t = { 0 };
    const fal_error told = out->error, *best = again.kind == FAL_OUTCOME_DONE ? &told : &again.error;
    fal_text_add(&t, best->message);
    if (best == &told) fal_text_add(&t, "; it does not fail when every kernel is waited for");
    else fal_text_addf(&t, "; first told as: %s", told.message);
    out->error = (fal_error){ 0 };
    fal_fail_contract(&out->error, told.code, told.contract[0] ? told.contract : NULL, best->hint[0] ? best->hint : NULL, "%s", fal_text_str(&t));
    fal_text_free(&t);
    if (path) unlink(path);
    free(path);
}

void fal_run_observe(fal_run_parts *r, int i)
{
    fal_observed *o = &r->observed[i];
    o->path = file_path(r, i, "");
    int n = 0;
    do observe(r, i, r->run.plan->specs[i].attempt > 0, o->path, &o->outcome);
    while (o->outcome.kind == FAL_OUTCOME_DONE && ++n < r->options->repeat);
    name_kernel(r, i, &o->outcome);
    o->done = true;
}

void fal_run_observe_again(fal_run_parts *r, int i)
{
    fal_observed *o = &r->observed[i];
    if (o->tried_again) return;
    o->tried_again = true;
    o->second_path = file_path(r, i, "-again");
    observe(r, i, true, o->second_path, &o->second_outcome);
}

/* What ran must be what was asked for, on the device that the plan names. */
static fal_status check_ran(const fal_run_parts *r, const fal_spec *s, const fal_observation *o, fal_error *err)
{
    const json_t *ran = json_object_get(o->about, "ran");
    const char *backend = json_string_value(json_object_get(ran, "backend"));
    const char *variant = json_string_value(json_object_get(ran, "variant"));
    const char *sha = json_string_value(json_object_get(ran, "model_sha256"));
    if (!backend || strcmp(backend, s->backend) != 0 || !variant || strcmp(variant, s->variant) != 0)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "asked for %s variant '%s', but %s variant '%s' ran", s->backend,
                        s->variant, backend ? backend : "(not said)", variant ? variant : "(not said)");
    if (s->model && s->kind != FAL_OBSERVE_REFUSAL && sha && *sha && strcmp(sha, r->run.model_sha256) != 0)
        return fal_fail(err, FAL_ERR_INPUT, "leave the model alone during a run",
                        "the observer saw another model: sha256 %.16s..., expected %.16s...", sha, r->run.model_sha256);
    return FAL_OK;
}

static void add_kernels(fal_run_parts *r, const char *backend, const fal_observation *o)
{
    json_t *all = json_object_get(r->run.kernels, backend);
    if (!all) {
        json_object_set_new(r->run.kernels, backend, json_object());
        all = json_object_get(r->run.kernels, backend);
    }
    const json_t *mine = json_object_get(json_object_get(o->about, "ran"), "kernels");
    const char *name;
    json_t *n;
    json_object_foreach((json_t *)(uintptr_t)mine, name, n)
    {
        const json_int_t before = json_integer_value(json_object_get(all, name));
        json_object_set_new(all, name, json_integer(before + json_integer_value(n)));
    }
}

static const fal_observation *open_file(fal_run_parts *r, int i, const char *path, fal_observation **slot,
                                        fal_error *err)
{
    if (*slot) return *slot;
    fal_observation *o = NULL;
    const fal_spec *s = &r->run.plan->specs[i].spec;
    if (fal_observation_open(path, &o, err) != FAL_OK) return NULL;
    if (check_ran(r, s, o, err) != FAL_OK) {
        fal_observation_close(o);
        return NULL;
    }
    add_kernels(r, s->backend, o);
    *slot = o;
    return o;
}

const fal_observation *fal_run_open(fal_run_parts *r, int i, fal_error *err)
{
    return open_file(r, i, r->observed[i].path, &r->observed[i].opened, err);
}

const fal_observation *fal_run_open_second(fal_run_parts *r, int i, fal_error *err)
{
    return open_file(r, i, r->observed[i].second_path, &r->observed[i].second, err);
}

static void release(fal_run_parts *r, fal_observed *o)
{
    fal_observation_close(o->opened);
    fal_observation_close(o->second);
    o->opened = o->second = NULL;
    if (!r->options->keep) {
        if (o->path) unlink(o->path);
        if (o->second_path) unlink(o->second_path);
    }
    free(o->path);
    free(o->second_path);
    o->path = o->second_path = NULL;
}

void fal_run_release(fal_run_parts *r, int step)
{
    for (int i = 0; i <= step; i++)
        if (r->observed[i].path && r->observed[i].last_step <= step) release(r, &r->observed[i]);
}

void fal_run_close(fal_run_parts *r)
{
    for (int i = 0; i < r->n_crews; i++) {
        fal_observer_free(r->crews[i].first);
        fal_observer_free(r->crews[i].second);
    }
    r->n_crews = 0;
    for (int i = 0; r->observed && i < r->run.plan->n_specs; i++) release(r, &r->observed[i]);
    if (r->folder && !r->options->keep) {
        fal_remove_folder(r->folder);
    }
    free(r->folder);
    r->folder = NULL;
}
