/* Observes one operation on fixtures, or on the inputs of a file: every input and every output array, request after request. */
#include "harness/fixture.h"
#include "harness/observe_state.h"

#include <stdlib.h>
#include <string.h>

/* Names "rJ.in.<argument>" and "rJ.out.<argument>". */
static void array_name(char name[96], int request, bool is_output, const char *argument)
{
    snprintf(name, 96, "r%d.%s.%s", request, is_output ? "out" : "in", argument);
}

static fal_status declare(fal_observation_writer *w, int request, const fal_fixture *f, fal_error *err)
{
    char name[96];
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    fal_status st = FAL_OK;
    for (int i = 0; i < n && !st; i++)
        for (int is_output = 0; is_output < 2 && !st; is_output++) {
            if (is_output ? !b[i].is_output : !b[i].is_input) continue;
            array_name(name, request, is_output, b[i].name);
            st = fal_observation_declare(w, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
        }
    return st;
}

static fal_status put(fal_observation_writer *w, int request, const fal_fixture *f, bool is_output, fal_error *err)
{
    char name[96];
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    fal_status st = FAL_OK;
    for (int i = 0; i < n && !st; i++) {
        if (is_output ? !b[i].is_output : !b[i].is_input) continue;
        array_name(name, request, is_output, b[i].name);
        st = fal_observation_put(w, name, 0, b[i].data, b[i].nbytes, err);
    }
    return st;
}

static fal_status run_request(fal_observe_state *s, const fal_spec *spec, fal_observation_writer *w, int request,
                              fal_fixture *f, const fal_observation *inputs, uint64_t seed, json_t *requests, fal_error *err)
{
    fal_observe_mark(s, "at r%d %s", request, fal_fixture_op(f));
    fal_status st = inputs ? fal_fixture_take(f, inputs, err) : fal_fixture_fill(f, err);
    if (!st) st = put(w, request, f, false, err); /* before the call: what the op was given, whatever it does to it */
    const double start = fal_observe_now();
    if (!st) st = fal_fixture_run(f, s->backend, s->ctx, err);
    const double seconds = fal_observe_now() - start;
    if (!st) st = put(w, request, f, true, err);
    if (st) return st;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    json_t *seed_json = seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(text);
    json_t *j = json_pack("{s:s, s:o, s:o, s:f}", "op", fal_fixture_op(f), "params", fal_fixture_params(f), "seed",
                          seed_json, "seconds", seconds);
    if (json_array_append_new(requests, j) != 0)
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "op %s: out of memory", spec->op);
    return FAL_OK;
}

fal_status fal_observe_op(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    const int per_seed = spec->then.n_params > 0 ? 2 : 1;
    if (!spec->op) return fal_fail(err, FAL_ERR_USAGE, NULL, "no op was named");
    if (spec->n_seeds < 1 || spec->n_seeds > 100000)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "op %s: %d seeds", spec->op, spec->n_seeds);
    const int n = spec->n_seeds * per_seed;
    if (spec->inputs && n != 1)
        return fal_fail(err, FAL_ERR_USAGE, "give one seed and no second call", "op %s: a file holds the inputs of one call, not of %d", spec->op, n);
    fal_observation_writer *w = NULL;
    fal_observation *inputs = NULL;
    json_t *requests = json_array(), *before = fal_observe_launches(s);
    fal_fixture **f = calloc((size_t)n, sizeof *f);
    fal_status st = FAL_OK;
    if (!f || !requests) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "op %s: out of memory", spec->op);
    if (!st && spec->inputs) st = fal_observation_open(spec->inputs, &inputs, err);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    /* All are planned before any is run, since the file's layout comes first; arrays exist one request at a time. */
    for (int i = 0; i < n && !st; i++) {
        st = fal_fixture_make(spec->op, &spec->shape, spec->fill, spec->seeds[i / per_seed], &spec->with,
                              i % per_seed ? &spec->then : NULL, &f[i], err);
        if (!st) st = declare(w, i, f[i], err);
    }
    for (int i = 0; i < n && !st; i++) {
        st = run_request(s, spec, w, i, f[i], inputs, spec->seeds[i / per_seed], requests, err);
        fal_fixture_free(f[i]);
        f[i] = NULL;
    }
    if (!st) {
        fal_memory memory = { 0 };
        s->backend->memory(s->ctx, &memory);
        st = fal_observe_finish(s, spec, w, requests, &memory, before, NULL, NULL, err);
        requests = before = NULL;
    }
    for (int i = 0; f && i < n; i++) fal_fixture_free(f[i]);
    free(f);
    json_decref(before);
    json_decref(requests);
    fal_observation_close(inputs);
    fal_observation_writer_free(w);
    return st;
}
