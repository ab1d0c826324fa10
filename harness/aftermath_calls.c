/* What follows a failed run: which failing call of a single op is put into a capsule. */
#include "harness/aftermath_parts.h"

#include "harness/evidence.h"
#include "harness/revision.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_CAPSULES = 8 };

static json_t *origin_of(const fal_case *k, const fal_capsule *c, const fal_attempt *a, const fal_aftermath_in *in)
{
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f}", "kind", "op", "case", k->id, "op", c->op,
                          "fill", k->check->n_fills ? k->check->fills[0] : "gauss", "backend", k->backend, "variant",
                          k->variant, "device", a->device, "driver", a->driver, "revision", falsify, "value", a->value);
    if (!k->candidate || !in->candidate) return j;
    const char *const slash = strrchr(in->candidate, '/');
    json_object_set_new(j, "candidate",
                        json_pack("{s:o, s:s}", "file", fal_json_text(slash ? slash + 1 : in->candidate), "sha256",
                                  k->candidate));
    return j;
}

/* A name for a file: the falsifier and check, and where it failed; of a candidate also which one it was. */
static void file_name(const fal_case *k, char *name, size_t size)
{
    char digest[10] = "", own[64] = "";
    if (k->candidate) snprintf(digest, sizeof digest, "%.8s-", k->candidate);
    const char *const at = k->device && *digest ? strstr(k->device->slug, digest) : NULL; /* fal_candidate_name_device */
    if (at) snprintf(own, sizeof own, "-%.*s", (int)(at - k->device->slug) + 8, k->device->slug);
    snprintf(name, size, "%s-%s-%s%s%s%s", k->falsifier->id, k->check->name, k->backend, *k->variant ? "__" : "",
             k->variant, own);
    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_' && *c != '.') *c = '_';
}

fal_status fal_aftermath_save(fal_bench *bench, fal_capsule *c, fal_attempt *a, const fal_observation *reference,
                              const fal_case *k, const fal_aftermath_in *in, char **path, fal_error *err)
{
    char output[24], name[200];
    fal_shrunk shrunk;
    uint64_t bytes;
    snprintf(output, sizeof output, "out.%s", c->output[0] ? c->output : "y");
    const fal_obs_tensor *const want = reference ? fal_observation_find(reference, 0, output) : NULL;
    fal_status st = want && !fal_capsule_take_scale(c, want) ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a capsule")
                                                             : FAL_OK;
    if (!st) st = fal_capsule_shrink(bench, &c, a, FAL_SHRINK_S, &shrunk, err);
    file_name(k, name, sizeof name);
    json_t *origin = st ? NULL : origin_of(k, c, a, in);
    if (!st) st = fal_capsule_save(bench, c, origin, in->folder, name, path, a, &bytes, err);
    json_decref(origin);
    fal_capsule_free(c);
    return st;
}

/* The first call of the case that fails by itself, shrunk; NULL path when none does. */
static char *capsule_of(const fal_run *run, const fal_case *k, const fal_aftermath_in *in, char *why, size_t size)
{
    fal_bench bench = { .program = in->program,
                        .tmp = in->tmp,
                        .backend = k->backend,
                        .variant = k->variant,
                        .device = run->plan->specs[k->got].spec.device,
                        .candidate = run->plan->specs[k->got].spec.candidate,
                        .timeout_s = in->timeout_s,
                        .stop = in->stop };
    fal_error err = { 0 };
    fal_outcome outcome = { 0 };
    fal_observation *o = NULL;
    char *path = NULL, file[512];
    if (fal_bench_open(&bench, &err) != FAL_OK) return NULL;
    if (k->candidate) {
        path = fal_aftermath_candidate(&bench, k, run->plan->declared, in, why, size);
        fal_bench_close(&bench);
        return path;
    }
    snprintf(file, sizeof file, "%s/op.safetensors", bench.folder);
    fal_spec spec = run->plan->specs[k->got].spec;
    spec.out = file;
    fal_observer_run(bench.trial, &spec, in->timeout_s, in->stop, &outcome);
    if (outcome.kind == FAL_OUTCOME_DONE && fal_observation_open(file, &o, &err) != FAL_OK) o = NULL;
    for (int r = 0; o && r < o->n_requests && !path; r++) {
        fal_capsule *c = NULL;
        fal_attempt a;
        fal_capsule_outputs outputs = { 0 };
        if (fal_capsule_from_op(o, r, k->check, &c, &err) != FAL_OK) break;
        fal_capsule_try(&bench, c, &a, &outputs);
        if (a.observed && a.fails)
            fal_aftermath_save(&bench, c, &a, outputs.want, k, in, &path, &err);
        else
            fal_capsule_free(c);
        fal_observation_close(outputs.got);
        fal_observation_close(outputs.want);
    }
    fal_observation_close(o);
    unlink(file);
    fal_bench_close(&bench);
    return path;
}

static bool is_of_calls(const fal_case *k)
{
    return k->check->observe == FAL_OBSERVE_OP || (k->check->observe == FAL_OBSERVE_TRIAL && k->candidate);
}

void fal_aftermath_keep_calls(fal_run *run, const fal_aftermath_in *in)
{
    const fal_plan *const plan = run->plan;
    const fal_case *last = NULL;
    int n = 0;
    for (int i = 0; i < plan->n_cases && n < MOST_CAPSULES; i++) {
        const fal_case *const k = &plan->cases[i];
        fal_result *const result = &run->results[i];
        if (result->verdict.kind != FAL_FALSIFIED || !is_of_calls(k) || k->got < 0) continue;
        if (strcmp(k->backend, "reference") == 0 || (in->stop && *in->stop)) continue;
        /* cases of one check lie next to each other: the first one stands for them */
        if (last && last->falsifier == k->falsifier && strcmp(last->check->name, k->check->name) == 0 &&
            fal_aftermath_same_target(last, k))
            continue;
        if (in->progress) {
            fprintf(in->progress, "\r\033[Kcapsule of %.80s", k->id);
            fflush(in->progress);
        }
        char *const path = capsule_of(run, k, in, result->no_capsule, sizeof result->no_capsule);
        fal_aftermath_note(result, path);
        last = k;
        n += path || !k->candidate;
        free(path);
    }
    if (n > 0 && in->progress) {
        fputs("\r\033[K", in->progress);
        fflush(in->progress);
    }
}
