/* Checks that an observation file answers a spec: an observer's "ok" is a claim like any other. */
#include "harness/fixture.h"
#include "harness/trial.h"
#include "harness/observe_state.h"

#include <stdio.h>
#include <string.h>

static fal_status check_tensor(const fal_observation *o, int request, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, fal_error *err)
{
    const fal_obs_tensor *t = fal_observation_find(o, request, name);
    if (!t) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: request %d: tensor '%s' is missing", o->path, request, name);
    bool same = t->dtype == dtype && t->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++) same = t->ne[d] == ne[d];
    if (same) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: request %d: tensor '%s' has another type or shape than was asked for", o->path, request, name);
}

static bool read_config(const fal_observation *o, fal_config *c)
{
    const json_t *j = json_object_get(json_object_get(o->about, "ran"), "config");
    const struct { const char *name; int *to; } fields[] = {
        { "n_layer", &c->n_layer }, { "n_embd", &c->n_embd }, { "n_head", &c->n_head }, { "n_head_kv", &c->n_head_kv },
        { "head_dim", &c->head_dim }, { "n_expert", &c->n_expert }, { "n_expert_used", &c->n_expert_used }, { "n_ff", &c->n_ff },
        { "n_vocab", &c->n_vocab },
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const json_int_t v = json_integer_value(json_object_get(j, fields[i].name));
        if (v < 1 || v > INT32_MAX) return false;
        *fields[i].to = (int)v;
    }
    return c->n_layer <= 100000;
}

static fal_status check_forward(const fal_observation *o, const fal_spec *spec, fal_error *err)
{
    fal_config c = { 0 };
    char name[96];
    int64_t ne[3];
    if (!read_config(o, &c)) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.ran.config: missing, or not a configuration", o->path);
    fal_status st = fal_observe_check_taps(spec, c.n_layer, err);
    for (int r = 0; r < spec->n_requests && !st; r++) {
        for (int place = 0; place < (c.n_layer + 1) * FAL_N_SITES && !st; place++) {
            const fal_site site = (fal_site)(place % FAL_N_SITES);
            const int layer = place / FAL_N_SITES - 1;
            if (fal_site_get(site)->per_layer != (layer >= 0) || !fal_observe_taps(spec, site, layer)) continue;
            fal_observe_site_name(name, -1, site, layer);
            const int n_dims = fal_observe_site_shape(site, &c, spec->n_tokens[r], ne);
            st = check_tensor(o, r, name, fal_site_get(site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32, n_dims, ne, err);
        }
        ne[0] = spec->n_greedy;
        if (!st && spec->n_greedy > 0) st = check_tensor(o, r, "greedy", FAL_DTYPE_I32, 1, ne, err);
    }
    return st;
}

static fal_status check_op(const fal_observation *o, const fal_spec *spec, int request, fal_error *err)
{
    const int per_seed = spec->then.n_params > 0 ? 2 : 1;
    fal_fixture *f = NULL;
    fal_status st = fal_fixture_make(spec->op, &spec->shape, spec->fill, spec->seeds[request / per_seed], &spec->with,
                                     request % per_seed ? &spec->then : NULL, &f, err);
    int n = 0;
    const fal_buffer *b = st ? NULL : fal_fixture_buffers(f, &n);
    for (int i = 0; i < n && !st; i++) {
        char name[96];
        snprintf(name, sizeof name, "in.%s", b[i].name);
        if (b[i].is_input) st = check_tensor(o, request, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
        snprintf(name, sizeof name, "out.%s", b[i].name);
        if (!st && b[i].is_output) st = check_tensor(o, request, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
    }
    fal_fixture_free(f);
    return st;
}

static fal_status check_trial(const fal_observation *o, const fal_spec *spec, int request, fal_error *err)
{
    fal_fixture *f = NULL;
    fal_status st = fal_fixture_make(spec->op, &spec->shape, spec->fill, 1, &spec->with, NULL, &f, err);
    int n = 0;
    const fal_buffer *b = st ? NULL : fal_fixture_buffers(f, &n);
    for (int i = 0; i < n && !st; i++)
        for (int again = 0; again < (spec->candidate && request >= FAL_TRIAL_PROBES ? 2 : 1) && !st; again++) {
            char name[96];
            snprintf(name, sizeof name, "%s.%s", again ? "after" : "out", b[i].name);
            if (b[i].is_output) st = check_tensor(o, request, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
        }
    fal_fixture_free(f);
    if (st || !spec->candidate || json_is_object(json_object_get(o->about, "trial"))) return st;
    return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.trial is missing", o->path);
}

/* Tokens of every run, and a time for each. */
static fal_status check_throughput(const fal_observation *o, const fal_spec *spec, fal_error *err)
{
    const json_t *t = json_object_get(o->about, "throughput");
    const int64_t runs = (int64_t)fal_params_number(&spec->with, "runs", 0), n = (int64_t)fal_params_number(&spec->with, "n_tokens", 0);
    const int64_t ne[] = { runs, n };
    if ((int64_t)json_array_size(json_object_get(t, "runs")) != runs)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.throughput.runs has %zu entries, but %lld runs were asked for", o->path,
                        json_array_size(json_object_get(t, "runs")), (long long)runs);
    fal_status st = check_tensor(o, 0, "tokens.runs", FAL_DTYPE_I32, 2, ne, err);
    if (!st) st = check_tensor(o, 0, "tokens.steps", FAL_DTYPE_I32, 1, ne + 1, err);
    return st;
}

static fal_status check_text(const fal_observation *o, const json_t *found, const char *field, const char *expected, fal_error *err)
{
    const char *text = json_string_value(found);
    if (text && strcmp(text, expected) == 0) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.ran.%s is '%.60s', but '%s' was asked for", o->path, field, text ? text : "(missing)", expected);
}

fal_status fal_observation_answers(const fal_observation *o, const fal_spec *spec, fal_error *err)
{
    const json_t *ran = json_object_get(o->about, "ran");
    const bool forward = spec->kind == FAL_OBSERVE_FORWARD || spec->kind == FAL_OBSERVE_TEACHER || spec->kind == FAL_OBSERVE_PINNED;
    const int n_op = spec->kind == FAL_OBSERVE_OP ? spec->n_seeds * (spec->then.n_params > 0 ? 2 : 1) : 0;
    const int n = forward ? spec->n_requests : spec->kind == FAL_OBSERVE_TRIAL ? spec->n_seeds - 2 + FAL_TRIAL_PROBES : n_op;
    fal_status st = check_text(o, json_object_get(ran, "backend"), "backend", spec->backend ? spec->backend : "", err);
    if (!st) st = check_text(o, json_object_get(ran, "variant"), "variant", spec->variant ? spec->variant : "", err);
    if (!st && o->n_requests != n)
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %d requests, but %d were asked for", o->path, o->n_requests, n);
    if (!st && forward) st = check_forward(o, spec, err);
    for (int i = 0; i < n_op && !st; i++) st = check_op(o, spec, i, err);
    for (int i = 0; i < n && !st && spec->kind == FAL_OBSERVE_TRIAL; i++) st = check_trial(o, spec, i, err);
    if (!st && spec->kind == FAL_OBSERVE_PRELOAD &&
        json_array_size(json_object_get(json_object_get(o->about, "preload"), "tensors")) == 0)
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.preload.tensors is missing or empty", o->path);
    if (!st && spec->kind == FAL_OBSERVE_THROUGHPUT) st = check_throughput(o, spec, err);
    if (!st && spec->kind == FAL_OBSERVE_DEVICE_CODE &&
        json_array_size(json_object_get(json_object_get(o->about, "device_code"), "kernels")) == 0)
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.device_code.kernels is missing or empty", o->path);
    if (!st && spec->kind == FAL_OBSERVE_LAUNCHES && !json_is_object(json_object_get(json_object_get(o->about, "launches"), "of_tokens")))
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.launches.of_tokens is missing", o->path);
    if (!st && spec->kind == FAL_OBSERVE_SANITIZE && !json_is_array(json_object_get(json_object_get(o->about, "sanitize"), "runs")))
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.sanitize.runs is missing", o->path);
    if (!st && spec->kind == FAL_OBSERVE_REFUSAL &&
        !json_is_boolean(json_object_get(json_object_get(o->about, "refusal"), "refused")))
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: about.refusal.refused is missing", o->path);
    return st;
}
