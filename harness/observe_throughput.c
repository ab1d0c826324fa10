/* Observes greedy decode of one stream: seconds and tokens of every run, and what is needed to judge them. */
#include "harness/nvml.h"
#include "harness/observe_state.h"
#include "harness/throughput.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One observation on its way. */
typedef struct {
    fal_observe_state *state;
    const fal_spec *spec;
    int context, n_tokens, n_runs, n_ctx;
    int32_t *prompt, *steps, *tokens;  /* [context], [n_tokens], [n_runs, n_tokens] */
    double *seconds, *prefill, *rates; /* [n_runs]; rates is scratch for the median */
    fal_nvml *nvml;                    /* NULL when there is none, and then no_nvml says why */
    fal_error no_nvml, no_bandwidth;
    fal_nvml_sample unused, before, after; /* without anything of ours on the card; before and after the timed runs */
    uint64_t reasons, used_bytes, live_bytes; /* over all samples between runs: united, and the most */
    double read_gb_per_s;                     /* 0 when not measured */
} throughput;

static fal_status number(const fal_spec *spec, const char *name, double fallback, int *out, fal_error *err)
{
    const double v = fal_params_number(&spec->with, name, fallback);
    if (!(v >= 1 && v <= 1 << 24 && floor(v) >= v))
        return fal_fail(err, FAL_ERR_USAGE, "give context, n_tokens and runs",
                        "throughput: %s is %g, expected a whole number from 1 on", name, v);
    *out = (int)v;
    return FAL_OK;
}

static fal_status read_spec(throughput *t, fal_error *err)
{
    fal_status st = number(t->spec, "context", 0, &t->context, err);
    if (!st) st = number(t->spec, "n_tokens", 0, &t->n_tokens, err);
    if (!st) st = number(t->spec, "runs", 0, &t->n_runs, err);
    if (!st) st = number(t->spec, "n_ctx", (double)t->context + (double)t->n_tokens, &t->n_ctx, err);
    if (!st && t->n_runs > 1000)
        st = fal_fail(err, FAL_ERR_USAGE, NULL, "throughput: %d runs, at most 1000", t->n_runs);
    if (!st && t->context + t->n_tokens > t->n_ctx)
        st = fal_fail(err, FAL_ERR_USAGE, NULL, "throughput: context %d and %d tokens do not fit in n_ctx %d",
                      t->context, t->n_tokens, t->n_ctx);
    return st;
}

/* The card without anything of ours needs the device to be known and closed again. */
static fal_status open_card(throughput *t, fal_error *err)
{
    fal_observe_state *s = t->state;
    const fal_device_info info = *s->backend->device(s->ctx);
    fal_observe_close(s);
    if (fal_nvml_open(NULL, &info, &t->nvml, &t->no_nvml) == FAL_OK) fal_nvml_take(t->nvml, &t->unused);
    return fal_observe_open_device(s, t->spec, err);
}

static fal_status measure_bandwidth(throughput *t, fal_error *err)
{
    fal_observe_state *s = t->state;
    if (!s->backend->read_bandwidth) {
        fal_fail(&t->no_bandwidth, FAL_ERR_BLOCKED, NULL, "backend %s does not measure it", s->backend->name);
        return FAL_OK;
    }
    fal_observe_mark(s, "measuring read bandwidth");
    return s->backend->read_bandwidth(s->ctx, fal_bandwidth_bytes(s->backend->device(s->ctx)), &t->read_gb_per_s, err);
}

/* Between runs, so that nothing of it is timed: right after one, the card still shows why it was no faster. */
static void look(throughput *t, fal_nvml_sample *sample)
{
    fal_memory memory = { 0 };
    t->state->backend->memory(t->state->ctx, &memory);
    if (memory.live_bytes > t->live_bytes) t->live_bytes = memory.live_bytes;
    if (!t->nvml) return;
    fal_nvml_take(t->nvml, sample);
    t->reasons |= sample->reasons;
    if (sample->used_bytes > t->used_bytes) t->used_bytes = sample->used_bytes;
}

static fal_status run_all(throughput *t, fal_error *err)
{
    fal_observe_state *s = t->state;
    const fal_decoding d = { .backend = s->backend,
                             .session = s->session,
                             .n_vocab = s->model->config.n_vocab,
                             .context = t->context,
                             .n_tokens = t->n_tokens,
                             .prompt = t->prompt };
    fal_observe_mark(s, "decoding step by step");
    fal_status st = fal_decoding_steps(&d, t->steps, err);
    if (st) return st;
    /* the first run may build kernels or record what later ones replay */
    fal_observe_mark(s, "warming up");
    st = fal_decoding_run(&d, t->tokens, t->prefill, t->seconds, err);
    look(t, &t->before);
    for (int r = 0; r < t->n_runs && !st; r++) {
        fal_observe_mark(s, "timed run %d of %d", r + 1, t->n_runs);
        st = fal_decoding_run(&d, t->tokens + (size_t)r * (size_t)t->n_tokens, &t->prefill[r], &t->seconds[r], err);
        look(t, &t->after);
    }
    return st;
}

/* ---- about -------------------------------------------------------------------------------------------------------- */

static json_t *sample_to_json(const fal_nvml_sample *s)
{
    char reasons[160];
    fal_nvml_reasons_text(s->reasons, reasons, sizeof reasons);
    return json_pack("{s:o, s:o, s:o, s:o}", "sm_mhz", s->has_clocks ? json_integer(s->sm_mhz) : json_null(),
                     "memory_mhz", s->has_clocks ? json_integer(s->memory_mhz) : json_null(), "reasons",
                     s->has_reasons ? json_string(reasons) : json_null(), "used_bytes",
                     s->has_memory ? json_integer((json_int_t)s->used_bytes) : json_null());
}

static json_t *nvml_to_json(const throughput *t)
{
    if (!t->nvml) return json_null();
    return json_pack("{s:s, s:o, s:o}", "driver", fal_nvml_driver(t->nvml), "before", sample_to_json(&t->before),
                     "after", sample_to_json(&t->after));
}

static json_t *slowdowns_to_json(const throughput *t)
{
    json_t *j = json_array();
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t one = fal_nvml_slowdowns(t->reasons) & UINT64_C(1) << bit;
        char name[64];
        fal_nvml_reasons_text(one, name, sizeof name);
        if (one) json_array_append_new(j, json_string(name));
    }
    return j;
}

static json_t *device_memory_to_json(const throughput *t)
{
    const bool whole = t->nvml && t->unused.has_memory && t->after.has_memory;
    const fal_device_info *d = t->state->backend->device(t->state->ctx);
    return json_pack("{s:s, s:o, s:I, s:I, s:I}", "source", whole ? "nvml" : "own account", "used_before_bytes",
                     whole ? json_integer((json_int_t)t->unused.used_bytes) : json_null(), "used_bytes",
                     (json_int_t)(whole ? t->used_bytes : t->live_bytes), "total_bytes",
                     (json_int_t)(whole ? t->after.total_bytes : d->memory_bytes), "live_bytes",
                     (json_int_t)t->live_bytes);
}

static json_t *to_json(throughput *t, const fal_memory *memory)
{
    json_t *runs = json_array();
    for (int r = 0; r < t->n_runs; r++) {
        t->rates[r] = (double)t->n_tokens / t->seconds[r];
        json_array_append_new(runs, json_pack("{s:f, s:f, s:f}", "seconds", t->seconds[r], "tokens_per_s", t->rates[r],
                                              "prefill_seconds", t->prefill[r]));
    }
    const double median = fal_median(t->rates, t->n_runs);
    const double bytes = fal_decoding_bytes(t->state->model, memory->kv_bytes, t->n_ctx, t->context, t->n_tokens);
    const double gb = median * bytes / 1e9, read = t->read_gb_per_s;
    const fal_decoding d = { .backend = t->state->backend, .session = t->state->session };
    return json_pack(
        "{s:i, s:i, s:i, s:s, s:o, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "context", t->context,
        "n_tokens", t->n_tokens, "n_ctx", t->n_ctx, "how", fal_decoding_generates(&d) ? "generate" : "forward", "runs",
        runs, "median_tokens_per_s", median, "bytes_per_token", bytes, "gb_per_s", gb, "read_gb_per_s",
        read > 0 ? json_real(read) : json_null(), "share_of_bandwidth", read > 0 ? json_real(gb / read) : json_null(),
        "no_bandwidth", read > 0 ? json_null() : json_string(t->no_bandwidth.message), "slowdowns",
        slowdowns_to_json(t), "nvml", nvml_to_json(t), "no_nvml",
        t->nvml ? json_null() : json_string(t->no_nvml.message), "device_memory", device_memory_to_json(t));
}

static fal_status put_tokens(const throughput *t, fal_observation_writer *w, fal_error *err)
{
    const size_t n = (size_t)t->n_tokens * sizeof(int32_t);
    fal_status st = fal_observation_put(w, "tokens.steps", 0, t->steps, n, err);
    if (!st) st = fal_observation_put(w, "tokens.runs", 0, t->tokens, n * (size_t)t->n_runs, err);
    return st;
}

static fal_status take_room(throughput *t, fal_error *err)
{
    const size_t n = (size_t)t->n_tokens, runs = (size_t)t->n_runs;
    t->prompt = fal_decoding_prompt(t->state->model->config.n_vocab, t->context);
    t->steps = calloc(n, sizeof *t->steps);
    t->tokens = calloc(n * runs, sizeof *t->tokens);
    t->seconds = calloc(runs, sizeof *t->seconds);
    t->prefill = calloc(runs, sizeof *t->prefill);
    t->rates = calloc(runs, sizeof *t->rates);
    const bool ok = t->prompt && t->steps && t->tokens && t->seconds && t->prefill && t->rates;
    return ok ? FAL_OK
              : fal_fail(err, FAL_ERR_MEMORY, NULL, "throughput: no memory for %d runs of %d tokens", t->n_runs,
                         t->n_tokens);
}

fal_status fal_observe_throughput(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    throughput t = { .state = s, .spec = spec };
    fal_observation_writer *w = NULL;
    json_t *before = NULL;
    fal_status st = read_spec(&t, err);
    if (st) return st;
    const int64_t ne[] = { t.n_runs, t.n_tokens };
    st = open_card(&t, err);
    if (!st) st = fal_observe_open_model(s, spec->model, err);
    if (!st) st = take_room(&t, err);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (!st) st = fal_observation_declare(w, "tokens.runs", FAL_DTYPE_I32, 2, ne, err);
    if (!st) st = fal_observation_declare(w, "tokens.steps", FAL_DTYPE_I32, 1, ne + 1, err);
    if (!st) st = measure_bandwidth(&t, err);
    if (!st) st = fal_observe_open_session(s, t.n_ctx, err);
    if (st) goto out;
    before = fal_observe_launches(s);
    st = run_all(&t, err);
    if (!st) st = put_tokens(&t, w, err);
    if (st) goto out;
    fal_memory memory = { 0 };
    s->backend->session_memory(s->session, &memory);
    st = fal_observe_finish(s, spec, w, NULL, &memory, before, "throughput", to_json(&t, &memory), err);
    before = NULL;
out:
    json_decref(before);
    fal_observation_writer_free(w);
    fal_nvml_close(t.nvml);
    free(t.rates);
    free(t.prefill);
    free(t.seconds);
    free(t.tokens);
    free(t.steps);
    free(t.prompt);
    return st;
}
