/* Observes how many kernels a prompt and each token after it take: on the device, or dry, as what the host would ask of one. */
#include "harness/observe_state.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_TOKENS = 4096 };

static fal_status count(const fal_spec *spec, const char *name, int *out, fal_error *err)
{
    const double v = fal_params_number(&spec->with, name, 0);
    if (!(v >= 1 && v <= MOST_TOKENS && floor(v) >= v))
        return fal_fail(err, FAL_ERR_USAGE, "give prompt and n_tokens", "launches: %s is %g, expected a whole number from 1 to %d", name, v,
                        MOST_TOKENS);
    *out = (int)v;
    return FAL_OK;
}

static fal_status run(fal_observe_state *s, int n_prompt, int n_tokens, json_t **middle, fal_error *err)
{
    const int n_vocab = s->model->config.n_vocab;
    int32_t next = 0;
    int32_t *prompt = calloc((size_t)n_prompt, sizeof *prompt);
    if (!prompt) return fal_fail(err, FAL_ERR_MEMORY, NULL, "launches: no memory for %d tokens", n_prompt);
    for (int i = 0; i < n_prompt; i++) prompt[i] = (int32_t)((i * 7 + 1) % n_vocab);
    fal_status st = s->backend->reset(s->session, err);
    fal_observe_mark(s, "running a prompt of %d tokens", n_prompt);
    if (!st) st = s->backend->forward(s->session, prompt, n_prompt, NULL, &next, err);
    free(prompt);
    *middle = fal_observe_launches(s);
    for (int i = 0; i < n_tokens && !st; i++) {
        const int32_t token = next;
        fal_observe_mark(s, "running token %d after the prompt", i);
        st = s->backend->forward(s->session, &token, 1, NULL, &next, err);
    }
    return st;
}

/* What `to` has beyond `from`. */
static json_t *between(const json_t *from, json_t *to)
{
    json_t *out = json_object(), *n;
    const char *kernel;
    json_object_foreach (to, kernel, n) {
        const json_int_t more = json_integer_value(n) - json_integer_value(json_object_get(from, kernel));
        if (more != 0) json_object_set_new(out, kernel, json_integer(more));
    }
    return out;
}

fal_status fal_observe_launch_counts(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    fal_observation_writer *w = NULL;
    json_t *before = NULL, *middle = NULL, *after = NULL;
    int n_prompt = 0, n_tokens = 0;
    fal_status st = count(spec, "prompt", &n_prompt, err);
    if (!st) st = count(spec, "n_tokens", &n_tokens, err);
    if (!st) st = fal_observe_open_model(s, spec->model, err);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (!st) st = fal_observe_open_session(s, n_prompt + n_tokens, err);
    if (st) goto out;
    before = fal_observe_launches(s);
    st = run(s, n_prompt, n_tokens, &middle, err);
    if (st) goto out;
    after = fal_observe_launches(s);
    fal_memory memory = { 0 };
    s->backend->session_memory(s->session, &memory);
    json_t *counts = json_pack("{s:b, s:i, s:i, s:o, s:o}", "dry", (int)s->dry, "prompt", n_prompt, "n_tokens", n_tokens, "of_prompt",
                               between(before, middle), "of_tokens", between(middle, after));
    st = fal_observe_finish(s, spec, w, NULL, &memory, before, "launches", counts, err);
    before = NULL;
out:
    json_decref(after);
    json_decref(middle);
    json_decref(before);
    fal_observation_writer_free(w);
    return st;
}
