/* The failing call of a candidate: drawn again from its seed, made by itself in the candidate's process, and judged alone. */
#include "harness/aftermath_parts.h"

#include "falsifiers/judgement.h"
#include "harness/fixture.h"

#include <string.h>

/* Calls of one case that are looked at; of a trial these are its two contents and its first timed calls. One call while a
   capsule shrinks: what a single call of the case may take, but no more than this. */
enum { MOST_CALLS = 4, CALL_S = 5 };

/* How a call can fail by itself. */
typedef struct {
    const char *judge, *output;
} view;

static bool is_judge(const fal_check *c, const char *name)
{
    return strcmp(c->judge, name) == 0;
}

/* What to look for in one call, first to last; returns how much, 0 where no single call can show it. */
static int views_of(const fal_check *c, const fal_declaration *declared, view *out)
{
    const char *const type = c->n_shapes ? fal_params_text(c->shapes, "type", NULL) : NULL;
    const bool rounds = declared && !fal_declaration_is_f32(declared, c->op, type);
    int n = 0;
    if (c->observe == FAL_OBSERVE_OP) {
        if (!fal_capsule_is_one_call(c)) return 0;
        out[n++] = (view){ NULL, "" };
    } else if (is_judge(c, "trial_answers") && rounds) {
        out[n++] = (view){ "arithmetic", "" }; /* one output of few may lie as far off as all of them together must not */
    } else if (is_judge(c, "trial_answers")) {
        for (const char *const *arg = fal_op_outputs(c->op); *arg; arg++)
            out[n++] = (view){ strcmp(*arg, "ids") == 0 ? "sets" : "rows", *arg };
    } else if (is_judge(c, "trial_written")) {
        out[n++] = (view){ "written", "" };
    } else if (!is_judge(c, "trial_inputs") && !is_judge(c, "trial_bounds")) {
        return 0;
    }
    out[n++] = (view){ "inside", "" };
    return n;
}

static fal_status set_view(fal_capsule *c, const fal_case *k, const view *v, fal_error *err)
{
    c->n_with = 0;
    if (!v->judge) return fal_capsule_judge_as(c, k->check, err);
    const bool limited = strcmp(v->judge, "rows") == 0;
    snprintf(c->judge, sizeof c->judge, "%s", v->judge);
    snprintf(c->output, sizeof c->output, "%s", v->output);
    c->limit = limited ? k->check->limit
                       : (fal_limit){ .kind = FAL_LIMIT_MAX, .value = strcmp(v->judge, "arithmetic") == 0 };
    c->limit.basis = NULL;
    c->limit.has_warn = false;
    return FAL_OK;
}

/* One call under every view; true when it failed, whatever then became of its capsule. */
static bool keep_call(fal_bench *bench, const fal_case *k, const fal_fixture *f, uint64_t seed, const view *views, int n,
                      const fal_aftermath_in *in, char **path, char *why, size_t size)
{
    fal_error err = { 0 };
    for (int v = 0; v < n; v++) {
        fal_capsule *c = NULL;
        fal_attempt a = { 0 };
        fal_capsule_outputs outputs = { 0 };
        fal_status st = fal_capsule_from_fixture(f, seed, &c, &err);
        if (!st) st = set_view(c, k, &views[v], &err);
        if (st) {
            snprintf(why, size, "%.180s", err.message);
            fal_capsule_free(c);
            return true;
        }
        bench->timeout_s = in->timeout_s;
        fal_capsule_try(bench, c, &a, &outputs);
        const bool failed = a.observed && a.fails;
        if (failed) {
            bench->timeout_s = in->timeout_s < CALL_S ? in->timeout_s : CALL_S;
            st = fal_aftermath_save(bench, c, &a, outputs.want, k, in, path, &err);
            if (st) snprintf(why, size, "%.180s", err.message);
        } else {
            fal_capsule_free(c);
            if (!a.observed) snprintf(why, size, "made by itself, the call has no answer: %.120s", a.reason);
        }
        fal_observation_close(outputs.got);
        fal_observation_close(outputs.want);
        if (failed || (in->stop && *in->stop)) return true;
    }
    return false;
}

char *fal_aftermath_candidate(fal_bench *bench, const fal_case *k, const fal_declaration *declared,
                              const fal_aftermath_in *in, char *why, size_t size)
{
    const fal_check *const c = k->check;
    view views[4];
    const int n = views_of(c, declared, views);
    char *path = NULL;
    if (n == 0) {
        snprintf(why, size, "it takes several calls to see this, and a capsule holds one");
        return NULL;
    }
    snprintf(why, size, "no call of this case fails when it is made by itself, in a process that has made no other");
    for (int i = 0; i < c->n_seeds && i < MOST_CALLS; i++) {
        fal_fixture *f = NULL;
        fal_error err = { 0 };
        fal_status st = fal_fixture_make(c->op, c->n_shapes ? c->shapes : &(const fal_params){ 0 }, c->n_fills ? c->fills[0] : NULL,
                                         c->seeds[i], &c->with, NULL, &f, &err);
        if (!st) st = fal_fixture_fill(f, &err);
        const bool done = st || keep_call(bench, k, f, c->seeds[i], views, n, in, &path, why, size);
        if (st) snprintf(why, size, "%.180s", err.message);
        fal_fixture_free(f);
        if (done) break;
    }
    return path;
}
