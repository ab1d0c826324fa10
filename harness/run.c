/* Running a plan: observe in child processes, judge each case as soon as its observations are there. */
#include "harness/run.h"

#include "harness/run_parts.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void fal_time_text(char text[24])
{
    const time_t t = time(NULL);
    struct tm utc;
    gmtime_r(&t, &utc);
    strftime(text, 24, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the run");
}

static fal_status make_folder(fal_run_parts *r, fal_error *err)
{
    const fal_run_options *o = r->options;
    fal_text path = { 0 };
    if (o->keep)
        fal_text_add(&path, o->keep);
    else
        fal_text_addf(&path, "%s/falsify-XXXXXX", o->tmp);
    if (path.failed || !path.data) return no_memory(err);
    r->folder = path.data;
    const bool ok = o->keep ? mkdir(r->folder, 0777) == 0 || errno == EEXIST : mkdtemp(r->folder) != NULL;
    if (ok) return FAL_OK;
    const fal_status st = fal_fail(err, FAL_ERR_OUTPUT, o->keep ? "check --keep-observations" : "check TMPDIR",
                                   "no folder for observations: %s: %s", r->folder, strerror(errno));
    free(r->folder);
    r->folder = NULL;
    return st;
}

static int last_of(const fal_case *k)
{
    int last = k->got;
    if (k->want > last) last = k->want;
    return k->again > last ? k->again : last;
}

/* When each observation is needed for the last time. */
static void find_last_steps(fal_run_parts *r)
{
    const fal_plan *plan = r->run.plan;
    for (int i = 0; i < plan->n_specs; i++) r->observed[i].last_step = i;
    for (int i = 0; i < plan->n_cases; i++) {
        const fal_case *k = &plan->cases[i];
        const int uses[] = { k->got, k->want, k->again }, last = last_of(k);
        for (int u = 0; u < 3; u++)
            if (uses[u] >= 0 && r->observed[uses[u]].last_step < last) r->observed[uses[u]].last_step = last;
    }
    /* a second attempt reads the inputs again, so they live as long as what was made from them */
    for (int i = plan->n_specs - 1; i >= 0; i--) {
        const int needs[] = { plan->specs[i].inputs, plan->specs[i].pin };
        for (int n = 0; n < 2; n++)
            if (needs[n] >= 0 && r->observed[needs[n]].last_step < r->observed[i].last_step)
                r->observed[needs[n]].last_step = r->observed[i].last_step;
    }
}

static void show_progress(const fal_run_parts *r, int n_done, const char *label)
{
    FILE *f = r->options->progress;
    if (!f) return;
    fprintf(f, "\r\033[K[%d/%d cases] %.60s", n_done, r->run.plan->n_cases, label);
    fflush(f);
}

static void set_blocked(fal_run *run, int i)
{
    const fal_case *k = &run->plan->cases[i];
    fal_verdict *v = &run->results[i].verdict;
    *v = (fal_verdict){ .kind = FAL_BLOCKED, .metric = "none" };
    snprintf(v->reason, sizeof v->reason, "%s", k->blocked);
    if (k->hint && *k->hint) snprintf(v->detail, sizeof v->detail, "hint: %s", k->hint);
}

/* Observation files that could not be written are a fault of this machine, not a verdict. */
static void note_outcome(fal_run_parts *r, const fal_outcome *o)
{
    if (o->kind == FAL_OUTCOME_ERROR && o->error.code == FAL_ERR_OUTPUT) r->run.tally.not_written = true;
}

static bool is_failure(fal_verdict_kind v)
{
    return v != FAL_SURVIVED && v != FAL_BLOCKED && v != FAL_WAIVED && v != FAL_NOT_RUN;
}

static void observe_and_judge(fal_run_parts *r)
{
    fal_run *run = &r->run;
    const fal_plan *plan = run->plan;
    int n_done = 0;
    for (int i = 0; i < plan->n_cases; i++)
        if (plan->cases[i].blocked) {
            set_blocked(run, i);
            n_done++;
        }
    for (int s = 0; s < plan->n_specs; s++) {
        if (r->options->stop && *r->options->stop) run->tally.interrupted = true;
        if (run->tally.interrupted || (r->options->fail_fast && r->failed_already)) break;
        show_progress(r, n_done, plan->specs[s].label);
        fal_run_observe(r, s);
        note_outcome(r, &r->observed[s].outcome);
        if (r->options->stop && *r->options->stop && r->observed[s].outcome.kind != FAL_OUTCOME_DONE) {
            run->tally.interrupted = true;
            break;
        }
        for (int i = 0; i < plan->n_cases; i++) {
            const fal_case *k = &plan->cases[i];
            if (k->blocked || last_of(k) != s) continue;
            fal_run_judge(r, i);
            n_done++;
            if (is_failure(run->results[i].verdict.kind)) r->failed_already = true;
        }
        fal_run_release(r, s);
    }
    if (r->options->progress) {
        fputs("\r\033[K", r->options->progress);
        fflush(r->options->progress);
    }
}

/* Cases that were never reached. */
static void fill_not_run(fal_run_parts *r)
{
    for (int i = 0; i < r->run.plan->n_cases; i++) {
        fal_verdict *v = &r->run.results[i].verdict;
        if (v->reason[0]) continue;
        *v = (fal_verdict){ .kind = FAL_NOT_RUN, .metric = "none" };
        snprintf(v->reason, sizeof v->reason, "%s",
                 r->run.tally.interrupted ? "interrupted" : "not run after a failure (--fail-fast)");
    }
}

/* Verdicts about a file that was exchanged meanwhile are about nothing. */
static void check_model_unchanged(fal_run *run, const struct stat *before)
{
    struct stat after;
    const char *path = run->plan->model;
    const bool same = stat(path, &after) == 0 && after.st_size == before->st_size && after.st_ino == before->st_ino &&
                      after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
                      after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
    if (same) return;
    run->tally.bad_input = true;
    for (int i = 0; i < run->plan->n_cases; i++) {
        if (!run->plan->cases[i].uses_model || !run->results[i].executed) continue;
        fal_verdict *v = &run->results[i].verdict;
        v->kind = FAL_ERROR;
        snprintf(v->reason, sizeof v->reason, "the model %.200s changed during the run", path);
    }
}

void fal_run_recount(fal_run *run)
{
    run->tally.all = fal_run_counts(run, NULL, NULL);
    run->tally.required = (fal_counts){ 0 };
    for (int i = 0; i < run->plan->n_cases; i++)
        if (run->plan->cases[i].required) fal_counts_add(&run->tally.required, run->results[i].verdict.kind);
}

fal_counts fal_run_counts(const fal_run *run, const fal_contract *contract, const char *backend)
{
    fal_counts c = { 0 };
    for (int i = 0; i < run->plan->n_cases; i++) {
        const fal_case *k = &run->plan->cases[i];
        if ((contract && k->contract != contract) || (backend && strcmp(k->backend, backend) != 0)) continue;
        fal_counts_add(&c, run->results[i].verdict.kind);
    }
    return c;
}

fal_status fal_run_make(const fal_plan *plan, const fal_run_options *options, fal_run **out, fal_error *err)
{
    fal_status st = FAL_OK;
    struct stat before = { 0 };
    bool uses_model = false;
    fal_run_parts *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->options = options;
    r->run.plan = plan;
    r->run.kernels = json_object();
    r->run.results = calloc((size_t)plan->n_cases + 1, sizeof *r->run.results);
    r->observed = calloc((size_t)plan->n_specs + 1, sizeof *r->observed);
    if (!r->run.kernels || !r->run.results || !r->observed) {
        st = no_memory(err);
        goto out;
    }
    const double t0 = now();
    fal_time_text(r->run.started);
    snprintf(r->run.today, sizeof r->run.today, "%.10s", options->today ? options->today : r->run.started);
    for (int i = 0; i < plan->n_cases; i++) uses_model |= plan->cases[i].uses_model && !plan->cases[i].blocked;
    if (uses_model) {
        if (stat(plan->model, &before) != 0)
            st = fal_fail(err, FAL_ERR_INPUT, "check --model", "%s: %s", plan->model, strerror(errno));
        if (!st) st = fal_model_open(plan->model, &r->model, err);
        if (options->progress && before.st_size > 1 << 30) {
            fputs("\r\033[Kdigest of the model ...", options->progress);
            fflush(options->progress);
        }
        if (!st) st = fal_model_digest(r->model, err);
        if (st) goto out;
        memcpy(r->run.model_sha256, r->model->sha256, sizeof r->run.model_sha256);
        r->known = (fal_known_file){ .device = (uint64_t)before.st_dev,
                                     .inode = (uint64_t)before.st_ino,
                                     .size = (uint64_t)before.st_size,
                                     .mtime_s = (int64_t)before.st_mtim.tv_sec,
                                     .mtime_ns = (int64_t)before.st_mtim.tv_nsec };
        memcpy(r->known.sha256, r->model->sha256, sizeof r->known.sha256);
    }
    if (plan->n_specs > 0) st = make_folder(r, err);
    if (st) goto out;
    find_last_steps(r);
    observe_and_judge(r);
    fill_not_run(r);
    if (!r->options->no_floors) fal_run_hold_floors(&r->run);
    if (uses_model) check_model_unchanged(&r->run, &before);
    fal_run_recount(&r->run);
    r->run.seconds = now() - t0;
    fal_time_text(r->run.finished);
out:
    fal_run_close(r);
    fal_model_close(r->model);
    r->model = NULL;
    free(r->observed);
    r->observed = NULL;
    if (st)
        fal_run_free(&r->run);
    else
        *out = &r->run;
    return st;
}

void fal_run_free(fal_run *run)
{
    if (!run) return;
    for (int i = 0; run->results && i < run->plan->n_cases; i++) {
        free((void *)(uintptr_t)run->results[i].log_tail);
        free(run->results[i].capsule);
        json_decref(run->results[i].ran);
        json_decref(run->results[i].throughput);
        json_decref(run->results[i].trial);
    }
    free(run->results);
    json_decref(run->kernels);
    free(run);
}
