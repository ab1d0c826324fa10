/* Evidence: which files a run leaves behind, their names, and the summary that lists them by digest. */
#include "harness/evidence.h"

#include "harness/digest.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* run ids sort by time; the random part keeps two machines apart. */
static fal_status make_run_id(char id[40], fal_error *err)
{
    unsigned char r[4];
    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "no random bytes: %s", strerror(errno));
    const time_t t = time(NULL);
    struct tm utc;
    gmtime_r(&t, &utc);
    const size_t n = strftime(id, 40, "%Y%m%dT%H%M%SZ", &utc);
    snprintf(id + n, 40 - n, "-%02x%02x%02x%02x", r[0], r[1], r[2], r[3]);
    return FAL_OK;
}

static void host_cpu(char *text, size_t size)
{
    snprintf(text, size, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512];
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

/* A dump that ends in a newline, keys sorted, so that equal evidence is equal bytes. */
static fal_status write_json(const char *folder, const char *name, const json_t *j, char sha256[65], fal_error *err)
{
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)) : NULL;
    if (!text) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s/%s: no memory for JSON", folder, name);
    fal_text t = { 0 };
    fal_text_add(&t, text);
    fal_text_add(&t, "\n");
    free(text);
    fal_status st = t.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "%s/%s: no memory for JSON", folder, name) : FAL_OK;
    if (!st) st = fal_sha256(fal_text_str(&t), t.len, sha256, err);
    if (!st) st = fal_write_whole(folder, name, fal_text_str(&t), t.len, err);
    fal_text_free(&t);
    return st;
}

/* <backend>-<device>-<first 8 of the model's digest, or nomodel>[.partial].json */
static void file_name(const fal_run *run, const json_t *evidence, char *name, size_t size)
{
    const json_t *device = json_object_get(evidence, "device");
    const char *slug = json_string_value(json_object_get(device, "slug"));
    const bool model = json_is_object(json_object_get(evidence, "model"));
    snprintf(name, size, "%s-%s-%.8s%s.json", json_string_value(json_object_get(evidence, "backend")),
             slug && *slug ? slug : "nodevice", model ? run->model_sha256 : "nomodel",
             json_is_true(json_object_get(evidence, "complete")) ? "" : ".partial");
    for (char *c = name; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c)) *c = '-';
}

static fal_status write_one(const fal_run *run, const fal_evidence_options *o, const fal_falsifier *f,
                            const char *backend, json_t *list, int *n_files, fal_error *err)
{
    char name[256], sha256[65];
    fal_error why = { 0 };
    json_t *j = fal_evidence_json(run, o, f, backend, &why);
    if (!j) {
        if (err && why.code) *err = why;
        return why.code;
    }
    fal_text folder = { 0 };
    fal_text_addf(&folder, "%s/%s", o->folder, f->id);
    if (!*f->id || f->id[strspn(f->id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")]) {
        json_decref(j);
        fal_text_free(&folder);
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "'%s' cannot be a folder's name", f->id);
    }
    fal_status st = folder.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path")
                                  : fal_make_folders(fal_text_str(&folder), err);
    file_name(run, j, name, sizeof name);
    if (!st) st = write_json(fal_text_str(&folder), name, j, sha256, err);
    if (!st) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", f->id, name);
        json_array_append_new(list, json_pack("{s:s, s:s, s:O}", "path", path, "sha256", sha256, "verdict",
                                              json_object_get(j, "verdict")));
        (*n_files)++;
    }
    fal_text_free(&folder);
    json_decref(j);
    return st;
}

static json_t *counts_json(const fal_counts *c)
{
    json_t *j = json_pack("{s:i}", "planned", c->planned);
    for (int v = 0; v < FAL_N_VERDICTS; v++)
        json_object_set_new(j, fal_verdict_name((fal_verdict_kind)v), json_integer(c->by[v]));
    return j;
}

static json_t *summary_json(const fal_run *run, const fal_evidence_options *o, const char *id, json_t *files)
{
    char cpu[256];
    host_cpu(cpu, sizeof cpu);
    json_t *command = json_array(), *backends = json_object();
    json_array_append_new(command, fal_json_text(o->invoked));
    for (int i = 0; i < o->argc; i++) json_array_append_new(command, fal_json_text(o->argv[i]));
    for (int i = 0; i < run->plan->n_cases; i++) {
        const char *b = run->plan->cases[i].backend;
        if (json_object_get(backends, b)) continue;
        const fal_counts c = fal_run_counts(run, NULL, b);
        json_object_set_new(backends, b, counts_json(&c));
    }
    json_t *j =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:i}", "run", id, "command", command, "root", fal_json_text(o->root),
                  "counts", counts_json(&run->tally.all), "backends", backends, "exit", o->exit_status);
    json_object_set_new(j, "required", counts_json(&run->tally.required));
    json_object_set_new(j, "unbound", json_integer(run->plan->n_unbound));
    json_object_set_new(j, "retired", json_integer(run->plan->n_retired));
    json_object_set_new(j, "seed", o->options->has_seed ? fal_json_u64(o->options->seed) : json_null());
    json_object_set_new(j, "model_sha256", run->model_sha256[0] ? json_string(run->model_sha256) : json_null());
    json_object_set_new(j, "falsify", json_pack("{s:s, s:s}", "version", FAL_VERSION, "revision", o->revision));
    json_object_set_new(j, "host_cpu", fal_json_text(cpu));
    json_object_set_new(j, "started", json_string(run->started));
    json_object_set_new(j, "finished", json_string(run->finished));
    json_object_set_new(j, "interrupted", json_boolean(run->tally.interrupted));
    json_object_set(j, "kernels", run->kernels);
    json_object_set(j, "files", files);
    return j;
}

/* The digest of the oracle, when a case that was executed was held against it. */
static fal_status oracle_digest(const fal_run *run, char hex[65], fal_error *err)
{
    hex[0] = '\0';
    for (int i = 0; i < run->plan->n_cases; i++)
        if (run->plan->cases[i].uses_oracle && run->results[i].executed && run->plan->oracle)
            return fal_sha256_file(run->plan->oracle_path, hex, err);
    return FAL_OK;
}

fal_status fal_evidence_write(const fal_run *run, const fal_evidence_options *options, fal_evidence_written *out,
                              fal_error *err)
{
    const fal_plan *plan = run->plan;
    fal_evidence_written w = { 0 };
    char id[40], name[64], sha256[65], oracle[65];
    fal_evidence_options known = *options;
    const fal_evidence_options *o = &known;
    fal_status st = oracle_digest(run, oracle, err);
    known.oracle_sha256 = oracle;
    fal_text runs = { 0 };
    json_t *files = json_array(), *summary = NULL;
    for (int i = 0; i < plan->n_extents && !st; i++)
        st = write_one(run, o, plan->extents[i].falsifier, plan->extents[i].backend, files, &w.n_files, err);
    if (!st) st = make_run_id(id, err);
    if (st) goto out;
    fal_text_addf(&runs, "%s/runs", o->folder);
    if (runs.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    if (!st) st = fal_make_folders(fal_text_str(&runs), err);
    if (st) goto out;
    summary = summary_json(run, o, id, files);
    snprintf(name, sizeof name, "%s.json", id);
    st = write_json(fal_text_str(&runs), name, summary, sha256, err);
    if (st) goto out;
    if (asprintf(&w.summary, "%s/%s", fal_text_str(&runs), name) < 0) {
        w.summary = NULL;
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    }
out:
    json_decref(summary);
    json_decref(files);
    fal_text_free(&runs);
    if (!st) *out = w;
    return st;
}
