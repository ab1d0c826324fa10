/* What follows a failed run: which parity to bisect, which call to put into a capsule. */
#include "harness/aftermath.h"

#include "harness/digest.h"
#include "harness/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char fal_revision[]; /* made by the build */

enum { MOST_CAPSULES = 8, MOST_PLACES = 16, SHRINK_S = 30 };

static bool is_parity(const fal_check *c)
{
    return c->against == FAL_AGAINST_REFERENCE && !c->sequence &&
           (c->observe == FAL_OBSERVE_TEACHER || c->observe == FAL_OBSERVE_FORWARD || c->observe == FAL_OBSERVE_PINNED);
}

static bool same_target(const fal_case *a, const fal_case *b)
{
    return strcmp(a->backend, b->backend) == 0 && strcmp(a->variant, b->variant) == 0 &&
           a->check->decode == b->check->decode;
}

static void note_capsule(fal_result *r, const char *path)
{
    fal_error ignored = { 0 };
    if (r->capsule || !path) return;
    r->capsule = strdup(path);
    if (fal_sha256_file(path, r->capsule_sha256, &ignored) != FAL_OK) r->capsule_sha256[0] = '\0';
}

/* ---- parities ----------------------------------------------------------------------------------------------------- */

static void bisect(fal_run *run, int i, const fal_aftermath_in *in, fal_aftermath *out)
{
    const fal_plan *const plan = run->plan;
    const fal_case *const k = &plan->cases[i];
    const fal_spec *const s = &plan->specs[k->got].spec;
    fal_known_file known = { 0 };
    fal_error err = { 0 };
    struct stat sb;
    if (stat(plan->model, &sb) == 0) {
        known = (fal_known_file){ .device = (uint64_t)sb.st_dev,
                                  .inode = (uint64_t)sb.st_ino,
                                  .size = (uint64_t)sb.st_size,
                                  .mtime_s = (int64_t)sb.st_mtim.tv_sec,
                                  .mtime_ns = (int64_t)sb.st_mtim.tv_nsec };
        memcpy(known.sha256, run->model_sha256, sizeof known.sha256);
    }
    const fal_bisect_in b = { .program = in->program,
                              .tmp = in->tmp,
                              .model = plan->model,
                              .backend = k->backend,
                              .variant = k->variant,
                              .mirror = fal_params_text(&k->check->with, "mirror", NULL),
                              .decode = k->check->decode,
                              .device = k->device && strcmp(k->backend, "reference") != 0 ? s->device : NULL,
                              .tokens = s->tokens,
                              .n_tokens = s->n_tokens,
                              .names = &k->what,
                              .n_requests = 1,
                              .contracts = in->contracts,
                              .known = &known,
                              .timeout_s = in->timeout_s,
                              .stop = in->stop,
                              .progress = in->progress };
    fal_bisect **const made = &out->bisects[out->n];
    if (fal_bisect_make(&b, made, &err) != FAL_OK) return;
    out->n++;
    if (fal_bisect_find(*made, in->folder, k->id, MOST_PLACES, SHRINK_S, &err) != FAL_OK) return;
    for (int c = 0; c < plan->n_cases; c++)
        if (run->results[c].verdict.kind == FAL_FALSIFIED && is_parity(plan->cases[c].check) &&
            same_target(&plan->cases[c], k))
            note_capsule(&run->results[c], (*made)->capsule.path);
}

/* A teacher-forced case that failed is sure to show a broken op; of several the shorter prompt, but one of one token shows
   no attention. */
static bool shows_more(const fal_case *a, const fal_case *b)
{
    const bool teacher_a = a->check->observe == FAL_OBSERVE_TEACHER,
               teacher_b = b->check->observe == FAL_OBSERVE_TEACHER;
    if (teacher_a != teacher_b) return teacher_a;
    if ((a->n_tokens > 1) != (b->n_tokens > 1)) return a->n_tokens > 1;
    return a->n_tokens < b->n_tokens;
}

static void bisect_parities(fal_run *run, const fal_aftermath_in *in, fal_aftermath *out)
{
    const fal_plan *const plan = run->plan;
    for (int i = 0; i < plan->n_cases && out->n < FAL_MOST_BISECTS; i++) {
        if (run->results[i].verdict.kind != FAL_FALSIFIED || !is_parity(plan->cases[i].check) || plan->cases[i].got < 0)
            continue;
        if (strcmp(plan->cases[i].backend, "reference") == 0) continue;
        bool done = false;
        for (int b = 0; b < out->n && !done; b++)
            done = strcmp(out->bisects[b]->in.backend, plan->cases[i].backend) == 0 &&
                   strcmp(out->bisects[b]->in.variant, plan->cases[i].variant) == 0 &&
                   out->bisects[b]->in.decode == plan->cases[i].check->decode;
        if (done) continue;
        int pick = i;
        for (int c = i + 1; c < plan->n_cases; c++)
            if (run->results[c].verdict.kind == FAL_FALSIFIED && is_parity(plan->cases[c].check) &&
                plan->cases[c].got >= 0 && same_target(&plan->cases[c], &plan->cases[i]) &&
                shows_more(&plan->cases[c], &plan->cases[pick]))
                pick = c;
        bisect(run, pick, in, out);
    }
}

/* ---- ops ---------------------------------------------------------------------------------------------------------- */

static json_t *origin_of(const fal_case *k, const fal_capsule *c, const fal_attempt *a)
{
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f}", "kind", "op", "case", k->id, "op", c->op,
                     "fill", k->check->n_fills ? k->check->fills[0] : "gauss", "backend", k->backend, "variant",
                     k->variant, "device", a->device, "driver", a->driver, "revision", falsify, "value", a->value);
}

/* A name for a file: the falsifier and check, and where it failed. */
static void file_name(const fal_case *k, char *name, size_t size)
{
    snprintf(name, size, "%s-%s-%s%s%s", k->falsifier->id, k->check->name, k->backend, *k->variant ? "__" : "",
             k->variant);
    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_' && *c != '.') *c = '_';
}

/* The first call of the case that fails by itself, shrunk; NULL path when none does. */
static char *capsule_of(const fal_run *run, const fal_case *k, const fal_aftermath_in *in)
{
    fal_bench bench = { .program = in->program,
                        .tmp = in->tmp,
                        .backend = k->backend,
                        .variant = k->variant,
                        .device = run->plan->specs[k->got].spec.device,
                        .timeout_s = in->timeout_s,
                        .stop = in->stop };
    fal_error err = { 0 };
    fal_outcome outcome = { 0 };
    fal_observation *o = NULL;
    char *path = NULL, file[512], name[200];
    if (fal_bench_open(&bench, &err) != FAL_OK) return NULL;
    snprintf(file, sizeof file, "%s/op.safetensors", bench.folder);
    fal_spec spec = run->plan->specs[k->got].spec;
    spec.out = file;
    fal_observer_run(bench.trial, &spec, in->timeout_s, in->stop, &outcome);
    if (outcome.kind == FAL_OUTCOME_DONE && fal_observation_open(file, &o, &err) != FAL_OK) o = NULL;
    for (int r = 0; o && r < o->n_requests && !path; r++) {
        fal_capsule *c = NULL;
        fal_attempt a;
        fal_capsule_outputs outputs = { 0 };
        fal_shrunk shrunk;
        uint64_t bytes;
        if (fal_capsule_from_op(o, r, k->check, &c, &err) != FAL_OK) break;
        fal_capsule_try(&bench, c, &a, &outputs);
        const fal_obs_tensor *const want = outputs.want ? fal_observation_find(outputs.want, 0, "out.y") : NULL;
        bool ok = a.observed && a.fails && (!want || fal_capsule_take_scale(c, want));
        fal_observation_close(outputs.got);
        fal_observation_close(outputs.want);
        ok = ok && fal_capsule_shrink(&bench, &c, &a, SHRINK_S, &shrunk, &err) == FAL_OK;
        file_name(k, name, sizeof name);
        json_t *origin = ok ? origin_of(k, c, &a) : NULL;
        if (ok) fal_capsule_save(&bench, c, origin, in->folder, name, &path, &a, &bytes, &err);
        json_decref(origin);
        fal_capsule_free(c);
    }
    fal_observation_close(o);
    unlink(file);
    fal_bench_close(&bench);
    return path;
}

static void keep_calls(fal_run *run, const fal_aftermath_in *in)
{
    const fal_plan *const plan = run->plan;
    const fal_case *last = NULL;
    int n = 0;
    for (int i = 0; i < plan->n_cases && n < MOST_CAPSULES; i++) {
        const fal_case *const k = &plan->cases[i];
        if (run->results[i].verdict.kind != FAL_FALSIFIED || k->check->observe != FAL_OBSERVE_OP || k->got < 0)
            continue;
        if (strcmp(k->backend, "reference") == 0 || (in->stop && *in->stop)) continue;
        /* cases of one check lie next to each other: the first one stands for them */
        if (last && last->falsifier == k->falsifier && strcmp(last->check->name, k->check->name) == 0 &&
            same_target(last, k))
            continue;
        if (in->progress) {
            fprintf(in->progress, "\r\033[Kcapsule of %.80s", k->id);
            fflush(in->progress);
        }
        char *const path = capsule_of(run, k, in);
        note_capsule(&run->results[i], path);
        free(path);
        last = k;
        n++;
    }
    if (n > 0 && in->progress) {
        fputs("\r\033[K", in->progress);
        fflush(in->progress);
    }
}

void fal_aftermath_make(fal_run *run, const fal_aftermath_in *in, fal_aftermath *out)
{
    *out = (fal_aftermath){ 0 };
    if (run->tally.interrupted) return;
    bisect_parities(run, in, out);
    keep_calls(run, in);
}

void fal_aftermath_free(fal_aftermath *a)
{
    if (!a) return;
    for (int i = 0; i < a->n; i++) fal_bisect_free(a->bisects[i]);
    *a = (fal_aftermath){ 0 };
}
