/* Running the plan of a proof: mutants are independent of each other, so several are observed at a time. */
#include "harness/prove.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A part of the plan, run as a plan of its own in a thread of its own. */
typedef struct {
    fal_plan plan;
    fal_case *cases;
    fal_plan_spec *specs;
    int *of;      /* [plan.n_cases] index in the whole plan */
    int *spec_of; /* [whole->n_specs] index here, or -1 */
    double load;
    fal_run_options options;
    fal_run *run;
    fal_status status;
    fal_error err;
    pthread_t thread;
    bool started;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int take_spec(job *j, const fal_plan *whole, int i)
{
    if (i < 0) return -1;
    if (j->spec_of[i] >= 0) return j->spec_of[i];
    fal_plan_spec s = whole->specs[i];
    s.inputs = take_spec(j, whole, s.inputs);
    s.pin = take_spec(j, whole, s.pin);
    j->specs[j->plan.n_specs] = s;
    return j->spec_of[i] = j->plan.n_specs++;
}

static void take_case(job *j, const fal_plan *whole, int i)
{
    fal_case k = whole->cases[i];
    k.got = take_spec(j, whole, k.got);
    k.want = take_spec(j, whole, k.want);
    k.again = take_spec(j, whole, k.again);
    j->of[j->plan.n_cases] = i;
    j->cases[j->plan.n_cases++] = k;
}

/* Cases of one mutant in one backend stand together and stay together; a source takes time to compile. */
static void share_out(const fal_prove_plan *p, job *jobs, int n_jobs)
{
    const fal_plan *whole = &p->plan;
    for (int first = 0, last; first < whole->n_cases; first = last) {
        last = first;
        while (last < whole->n_cases && p->mutants[last] == p->mutants[first] && strcmp(whole->cases[last].backend, whole->cases[first].backend) == 0)
            last++;
        job *least = &jobs[0];
        for (int i = 1; i < n_jobs; i++)
            if (jobs[i].load < least->load) least = &jobs[i];
        for (int i = first; i < last; i++) take_case(least, whole, i);
        least->load += last - first + (p->mutants[first] && fal_mutant_is_source(p->mutants[first]) ? 200 : 50);
    }
}

static void *work(void *user)
{
    job *j = user;
    j->status = fal_run_make(&j->plan, &j->options, &j->run, &j->err);
    return NULL;
}

/* Puts the results of all jobs in the places of the whole plan. */
static void gather(job *jobs, int n_jobs, fal_run *run)
{
    for (int i = 0; i < n_jobs; i++) {
        fal_run *part = jobs[i].run;
        if (!part) continue;
        for (int k = 0; k < jobs[i].plan.n_cases; k++) {
            run->results[jobs[i].of[k]] = part->results[k];
            part->results[k] = (fal_result){ 0 }; /* handed over */
        }
        run->tally.interrupted |= part->tally.interrupted;
        run->tally.not_written |= part->tally.not_written;
        run->tally.bad_input |= part->tally.bad_input;
        if (part->model_sha256[0]) memcpy(run->model_sha256, part->model_sha256, sizeof run->model_sha256);
        fal_run_free(part);
    }
}

fal_status fal_prove_run(const fal_prove_plan *p, const fal_run_options *options, int n_jobs, fal_run **out, fal_error *err)
{
    const fal_plan *whole = &p->plan;
    const double start = now();
    if (n_jobs < 1 || whole->full_size) n_jobs = 1; /* a large model fits a device once */
    job *jobs = calloc((size_t)n_jobs, sizeof *jobs);
    fal_run *run = calloc(1, sizeof *run);
    bool ok = jobs && run;
    if (run) {
        run->plan = whole;
        run->results = calloc((size_t)whole->n_cases + 1, sizeof *run->results);
        run->kernels = json_object();
        fal_time_text(run->started);
        ok = ok && run->results && run->kernels;
    }
    for (int i = 0; ok && i < n_jobs; i++) {
        job *j = &jobs[i];
        j->plan = *whole;
        j->plan.n_cases = j->plan.n_specs = 0;
        j->plan.cases = j->cases = calloc((size_t)whole->n_cases + 1, sizeof *j->cases);
        j->plan.specs = j->specs = calloc((size_t)whole->n_specs + 1, sizeof *j->specs);
        j->of = calloc((size_t)whole->n_cases + 1, sizeof *j->of);
        j->spec_of = malloc(((size_t)whole->n_specs + 1) * sizeof *j->spec_of);
        ok = j->cases && j->specs && j->of && j->spec_of;
        for (int s = 0; ok && s < whole->n_specs; s++) j->spec_of[s] = -1;
        j->options = *options;
        if (i > 0) j->options.progress = NULL;
        if (n_jobs > 1) j->options.keep = NULL; /* files are numbered by job */
    }
    fal_status st = ok ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the proof");
    if (!st) share_out(p, jobs, n_jobs);
    for (int i = 0; i < n_jobs && !st; i++) jobs[i].started = i > 0 && pthread_create(&jobs[i].thread, NULL, work, &jobs[i]) == 0;
    for (int i = 0; i < n_jobs && !st; i++)
        if (!jobs[i].started) work(&jobs[i]);
    for (int i = 0; i < n_jobs && jobs; i++)
        if (jobs[i].started) pthread_join(jobs[i].thread, NULL);
    for (int i = 0; i < n_jobs && !st; i++) {
        st = jobs[i].status;
        if (st && err) *err = jobs[i].err;
    }
    if (run && run->results) gather(jobs, n_jobs, run);
    for (int i = 0; i < n_jobs && jobs; i++) {
        free(jobs[i].cases);
        free(jobs[i].specs);
        free(jobs[i].of);
        free(jobs[i].spec_of);
    }
    free(jobs);
    if (st) {
        fal_run_free(run);
        return st;
    }
    fal_run_recount(run);
    run->seconds = now() - start;
    fal_time_text(run->finished);
    *out = run;
    return FAL_OK;
}
