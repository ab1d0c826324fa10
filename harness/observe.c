/* Observes one spec: opens device, model and session, runs the kind that was asked for, and says what ran. */
#include "harness/candidate_parts.h"
#include "harness/mutant.h"
#include "harness/observe_state.h"
#include "harness/revision.h"
#include "harness/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void fal_observe_mark(fal_observe_state *s, const char *fmt, ...)
{
    if (!s->progress) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->progress, s->progress_size, fmt, ap);
    va_end(ap);
}

double fal_observe_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- opening and closing ------------------------------------------------------------------------------------------ */

void fal_observe_close_session(fal_observe_state *s)
{
    if (s->session) s->backend->session_close(s->session);
    s->session = NULL;
}

static void close_model(fal_observe_state *s)
{
    fal_observe_close_session(s);
    fal_model_close(s->model);
    free(s->model_path);
    s->model = NULL;
    s->model_path = NULL;
}

void fal_observe_close(fal_observe_state *s)
{
    close_model(s);
    if (s->ctx) s->backend->close(s->ctx);
    s->ctx = NULL;
    s->backend = NULL;
}

static fal_status unknown_backend(const char *name, fal_error *err)
{
    int n;
    const fal_backend *const *all = fal_backend_all(&n);
    fal_text hint = { 0 };
    fal_text_add(&hint, "there are:");
    for (int i = 0; i < n; i++) fal_text_addf(&hint, " %s", all[i]->name);
    fal_fail(err, FAL_ERR_USAGE, fal_text_str(&hint), "no backend is named '%.60s'", name);
    fal_text_free(&hint);
    return FAL_ERR_USAGE;
}

static bool has_variant(const fal_backend *b, const char *variant)
{
    for (const char *const *v = b->variants; *v; v++)
        if (strcmp(*v, variant) == 0) return true;
    return false;
}

fal_status fal_observe_open_device(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    const fal_backend *b = fal_backend_find(spec->backend ? spec->backend : "");
    if (!b) return unknown_backend(spec->backend ? spec->backend : "", err);
    const char *variant = spec->variant ? spec->variant : "", *device = spec->device ? spec->device : "";
    if (!has_variant(b, variant))
        return fal_fail(err, FAL_ERR_USAGE, "leave the variant out for the default kernels", "backend %s has no variant '%.30s'",
                        b->name, variant);
    if (strlen(device) >= sizeof s->device) return fal_fail(err, FAL_ERR_USAGE, NULL, "the device name is too long");
    const bool dry = fal_params_number(&spec->with, "dry", 0) > 0;
    if (dry && !b->can_run_dry)
        return fal_fail(err, FAL_ERR_BLOCKED, "observe it on a device", "backend %s cannot tell what it would launch without a device", b->name);
    const char *mutant = spec->mutant ? spec->mutant : "";
    if (strlen(mutant) >= sizeof s->mutant) return fal_fail(err, FAL_ERR_USAGE, NULL, "the name of the mutant is too long");
    if (s->ctx && strcmp(s->backend->name, b->name) == 0 && strcmp(s->variant, variant) == 0 && strcmp(s->device, device) == 0 &&
        strcmp(s->mutant, mutant) == 0 && s->dry == dry)
        return FAL_OK;

    fal_observe_close(s);
    fal_observe_mark(s, "opening backend %s", b->name);
    const fal_backend_options options = { .device = device, .variant = variant, .blocking = spec->blocking, .dry = dry, .candidate = spec->candidate, .op = spec->op };
    const fal_status st = *mutant ? fal_mutant_open(mutant, spec->mutant_code, b, &options, &b, &s->ctx, err)
                                  : b->open(&options, &s->ctx, err);
    if (st) {
        s->ctx = NULL;
        return st;
    }
    s->backend = b;
    s->dry = dry;
    snprintf(s->variant, sizeof s->variant, "%s", variant);
    snprintf(s->device, sizeof s->device, "%s", device);
    snprintf(s->mutant, sizeof s->mutant, "%s", mutant);
    return FAL_OK;
}

/* Digest of the open model; of the very file that was last asked for, it is known. */
static fal_status find_digest(fal_observe_state *s, fal_error *err)
{
    const struct stat *sb = &s->model_stat;
    fal_known_file *k = &s->known;
    if (k->sha256[0] && k->device == (uint64_t)sb->st_dev && k->inode == (uint64_t)sb->st_ino && k->size == (uint64_t)sb->st_size &&
        k->mtime_s == (int64_t)sb->st_mtim.tv_sec && k->mtime_ns == (int64_t)sb->st_mtim.tv_nsec) {
        memcpy(s->model->sha256, k->sha256, sizeof k->sha256);
        return FAL_OK;
    }
    fal_observe_mark(s, "computing the digest of the model");
    const fal_status st = fal_model_digest(s->model, err);
    if (st) return st;
    *k = (fal_known_file) { .device = (uint64_t)sb->st_dev, .inode = (uint64_t)sb->st_ino, .size = (uint64_t)sb->st_size,
                            .mtime_s = (int64_t)sb->st_mtim.tv_sec, .mtime_ns = (int64_t)sb->st_mtim.tv_nsec };
    memcpy(k->sha256, s->model->sha256, sizeof k->sha256);
    return FAL_OK;
}

fal_status fal_observe_open_model(fal_observe_state *s, const char *path, fal_error *err)
{
    struct stat sb;
    if (!path || !path[0]) return fal_fail(err, FAL_ERR_USAGE, "give a GGUF file", "no model was named");
    if (stat(path, &sb) != 0) return fal_fail(err, FAL_ERR_INPUT, "check the path", "%s: %s", path, strerror(errno));
    const struct stat *old = &s->model_stat;
    if (s->model && strcmp(path, s->model_path) == 0 && sb.st_dev == old->st_dev && sb.st_ino == old->st_ino &&
        sb.st_size == old->st_size && sb.st_mtim.tv_sec == old->st_mtim.tv_sec && sb.st_mtim.tv_nsec == old->st_mtim.tv_nsec)
        return FAL_OK;
    close_model(s);
    fal_observe_mark(s, "opening the model");
    fal_status st = fal_model_open(path, &s->model, err);
    if (st) {
        s->model = NULL;
        return st;
    }
    s->model_path = strdup(path);
    s->model_stat = sb;
    if (!s->model_path) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
    else st = find_digest(s, err);
    if (st) close_model(s);
    return st;
}

fal_status fal_observe_open_session(fal_observe_state *s, int n_ctx, fal_error *err)
{
    if (s->session && s->n_ctx >= n_ctx) return FAL_OK;
    fal_observe_close_session(s);
    fal_observe_mark(s, "uploading the model");
    const fal_status st = s->backend->session_open(s->ctx, s->model, n_ctx, &s->session, err);
    if (st) s->session = NULL;
    s->n_ctx = n_ctx;
    return st;
}

/* ---- sites -------------------------------------------------------------------------------------------------------- */

void fal_observe_site_name(char name[96], int request, fal_site site, int layer)
{
    char prefix[16] = "", block[24] = "";
    if (request >= 0) snprintf(prefix, sizeof prefix, "r%d.", request);
    if (layer >= 0) snprintf(block, sizeof block, "blk.%d.", layer);
    snprintf(name, 96, "%s%s%s", prefix, block, fal_site_get(site)->name);
}

int fal_observe_site_shape(fal_site site, const fal_config *c, int64_t n_tokens, int64_t ne[3])
{
    int sub, width, n_dims = 0;
    fal_site_shape(site, c, &sub, &width);
    ne[n_dims++] = n_tokens;
    if (sub != 1) ne[n_dims++] = sub;
    ne[n_dims++] = width;
    return n_dims;
}

static bool tap_matches(const char *glob, const char *name)
{
    if (strcmp(glob, "none") == 0) return false;
    return strcmp(glob, "all") == 0 || fal_glob_match(glob, name);
}

bool fal_observe_taps(const fal_spec *spec, fal_site site, int layer)
{
    char name[96];
    fal_observe_site_name(name, -1, site, layer);
    for (int i = 0; i < spec->n_taps; i++)
        if (tap_matches(spec->taps[i], name)) return true;
    return false;
}

fal_status fal_observe_check_taps(const fal_spec *spec, int n_layer, fal_error *err)
{
    for (int i = 0; i < spec->n_taps; i++) {
        bool found = strcmp(spec->taps[i], "none") == 0;
        char name[96];
        for (int site = 0; site < FAL_N_SITES && !found; site++) {
            const bool per_layer = fal_site_get((fal_site)site)->per_layer;
            for (int layer = per_layer ? 0 : -1; layer < (per_layer ? n_layer : 0) && !found; layer++) {
                fal_observe_site_name(name, -1, (fal_site)site, layer);
                found = tap_matches(spec->taps[i], name);
            }
        }
        if (found) continue;
        fal_text hint = { 0 };
        fal_text_add(&hint, "give none, all, or a glob over: ");
        for (int site = 0; site < FAL_N_SITES; site++)
            if (!fal_site_get((fal_site)site)->per_layer) fal_text_addf(&hint, "%s ", fal_site_get((fal_site)site)->name);
        fal_text_add(&hint, "and blk.N. with:");
        for (int site = 0; site < FAL_N_SITES; site++)
            if (fal_site_get((fal_site)site)->per_layer) fal_text_addf(&hint, " %s", fal_site_get((fal_site)site)->name);
        fal_fail(err, FAL_ERR_USAGE, fal_text_str(&hint), "tap '%.80s' matches no site of a model of %d layers", spec->taps[i], n_layer);
        fal_text_free(&hint);
        return FAL_ERR_USAGE;
    }
    return FAL_OK;
}

/* ---- about -------------------------------------------------------------------------------------------------------- */

static void count_launch(void *user, const char *kernel, uint64_t n)
{
    json_object_set_new(user, kernel, json_integer((json_int_t)n));
}

json_t *fal_observe_launches(const fal_observe_state *s)
{
    json_t *j = json_object();
    if (j && s->backend->launches) s->backend->launches(s->ctx, count_launch, j);
    return j;
}

/* What was launched since `before`: the context may be older than the observation. */
static json_t *launches_since(const fal_observe_state *s, const json_t *before)
{
    json_t *now = fal_observe_launches(s), *out = json_object();
    const char *kernel;
    json_t *n;
    json_object_foreach (now, kernel, n) {
        const json_int_t delta = json_integer_value(n) - json_integer_value(json_object_get(before, kernel));
        if (delta != 0) json_object_set_new(out, kernel, json_integer(delta));
    }
    json_decref(now);
    return out;
}

static json_t *config_to_json(const fal_config *c)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f}", "n_layer", c->n_layer, "n_embd", c->n_embd,
                     "n_head", c->n_head, "n_head_kv", c->n_head_kv, "head_dim", c->head_dim, "n_expert", c->n_expert,
                     "n_expert_used", c->n_expert_used, "n_ff", c->n_ff, "n_vocab", c->n_vocab, "n_ctx_train", c->n_ctx_train,
                     "rope_freq_base", (double)c->rope_freq_base, "rms_eps", (double)c->rms_eps);
}

/* Drivers name devices; JSON takes UTF-8 only. */
static json_t *driver_text(const char *s)
{
    fal_text t = { 0 };
    fal_text_add_safe(&t, s, strlen(s));
    json_t *j = json_string(fal_text_str(&t));
    fal_text_free(&t);
    return j;
}

/* What the variant declares to compute with, of the ops that were called, or of all. */
static json_t *declared(const fal_observe_state *s, const fal_spec *spec)
{
    json_t *j = json_object();
    if (s->backend == &fal_candidate_backend) {
        json_object_set_new(j, spec->op, fal_arithmetic_to_json(&fal_candidate_file_of(s->ctx)->declared.a));
        return j;
    }
    const char *then = spec->op ? fal_params_text(&spec->then, "op", spec->op) : NULL;
    for (int i = 0; i < fal_n_ops(); i++) {
        const char *op = fal_op_name(i);
        if (spec->kind == FAL_OBSERVE_OP && strcmp(op, spec->op) != 0 && strcmp(op, then) != 0) continue;
        fal_arithmetic a = { 0 };
        s->backend->arithmetic(s->variant, op, &a);
        json_object_set_new(j, op, fal_arithmetic_to_json(&a));
    }
    return j;
}

json_t *fal_observe_device_to_json(const fal_observe_state *s)
{
    const fal_device_info *d = s->backend->device(s->ctx);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "name", driver_text(d->name), "vendor", driver_text(d->vendor), "driver",
                     driver_text(d->driver), "uuid", driver_text(d->uuid), "slug", driver_text(d->slug), "is_cpu", d->is_cpu);
}

static json_t *what_ran(const fal_observe_state *s, const fal_spec *spec, const json_t *before)
{
    json_t *device = fal_observe_device_to_json(s);
    json_t *ran = json_pack("{s:s, s:s, s:o, s:o}", "backend", s->backend->name, "variant", s->variant, "device", device,
                            "kernels", launches_since(s, before));
    if (ran && s->dry) json_object_del(ran, "device");
    if (ran && (s->backend->arithmetic || (s->backend == &fal_candidate_backend && fal_candidate_file_of(s->ctx)->declared.said))) json_object_set_new(ran, "arithmetic", declared(s, spec));
    const char *breaches = ran && s->backend->breaches ? s->backend->breaches(s->ctx) : NULL;
    if (breaches) json_object_set_new(ran, "breaches", driver_text(breaches));
    if (ran && spec->candidate) json_object_set_new(ran, "candidate", driver_text(spec->candidate));
    if (ran && s->mutant[0]) json_object_set_new(ran, "mutant", json_string(s->mutant));
    if (ran && spec->kind != FAL_OBSERVE_OP && s->model) {
        json_object_set_new(ran, "model_sha256", json_string(s->model->sha256));
        json_object_set_new(ran, "config", config_to_json(&s->model->config));
    }
    return ran;
}

fal_status fal_observe_finish(fal_observe_state *s, const fal_spec *spec, fal_observation_writer *w, json_t *requests,
                              const fal_memory *memory, json_t *before, const char *extra_name, json_t *extra, fal_error *err)
{
    json_t *asked = fal_spec_to_json(spec);
    json_object_del(asked, "out"); /* the same observation, wherever it was written */
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    json_t *about = json_pack("{s:s, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I}}", "falsify", falsify, "asked", asked, "ran",
                              what_ran(s, spec, before), "requests", requests ? requests : json_array(), "memory",
                              "weight_bytes", (json_int_t)memory->weight_bytes, "kv_bytes", (json_int_t)memory->kv_bytes,
                              "scratch_bytes", (json_int_t)memory->scratch_bytes, "peak_bytes", (json_int_t)memory->peak_bytes,
                              "live_bytes", (json_int_t)memory->live_bytes);
    bool ok = about != NULL;
    if (extra_name) ok = ok && extra && json_object_set(about, extra_name, extra) == 0;
    fal_status st = FAL_OK;
    if (!ok) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory while describing the observation", spec->out);
    else st = fal_observation_finish(w, about, err);
    json_decref(about);
    json_decref(extra);
    json_decref(before);
    return st;
}

/* ---- entry -------------------------------------------------------------------------------------------------------- */

fal_status fal_observe_in(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    if (!spec->out || !spec->out[0]) return fal_fail(err, FAL_ERR_USAGE, NULL, "no output file was named");
    fal_error own = { 0 };
    /* a shared object starts afresh for each observation, so that it remembers nothing */
    const size_t length = spec->candidate ? strlen(spec->candidate) : 0;
    if (length > 3 && strcmp(spec->candidate + length - 3, ".so") == 0) fal_observe_close(s);
    const bool opens = spec->kind != FAL_OBSERVE_DEVICE_CODE && spec->kind != FAL_OBSERVE_SANITIZE;
    fal_status st = opens                                  ? fal_observe_open_device(s, spec, &own)
                    : spec->kind == FAL_OBSERVE_SANITIZE ? fal_observe_sanitize(s, spec, &own)
                                                           : fal_observe_device_code(spec, &own);
    if (!st && opens) {
        switch (spec->kind) {
        case FAL_OBSERVE_FORWARD:
        case FAL_OBSERVE_TEACHER:
        case FAL_OBSERVE_PINNED: st = fal_observe_forward(s, spec, &own); break;
        case FAL_OBSERVE_OP: st = fal_observe_op(s, spec, &own); break;
        case FAL_OBSERVE_PRELOAD: st = fal_observe_preload(s, spec, &own); break;
        case FAL_OBSERVE_REFUSAL: st = fal_observe_refusal(s, spec, &own); break;
        case FAL_OBSERVE_THROUGHPUT: st = fal_observe_throughput(s, spec, &own); break;
        case FAL_OBSERVE_LAUNCHES: st = fal_observe_launch_counts(s, spec, &own); break;
        case FAL_OBSERVE_TRIAL: st = fal_observe_trial(s, spec, &own); break;
        default: st = fal_fail(&own, FAL_ERR_USAGE, NULL, "unknown kind of observation %d", (int)spec->kind);
        }
    }
    if (st) {
        if (own.code == FAL_OK) fal_fail(&own, st, NULL, "backend %s failed (%s) without a message", spec->backend, fal_status_name(st));
        if (err && err->code == FAL_OK) *err = own;
        fal_observe_close(s);
    }
    return st;
}

fal_status fal_observe(const fal_spec *spec, fal_error *err)
{
    fal_observe_state s = { 0 };
    const fal_status st = fal_observe_in(&s, spec, err);
    fal_observe_close(&s);
    return st;
}
