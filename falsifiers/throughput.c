/* Speed and memory of greedy decode: the median of the timed runs, the tokens that they gave, and the device's memory. */
#include "falsifiers/judgement.h"

#include "harness/throughput.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *report_of(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const t = json_object_get(in->got->about, "throughput");
    if (!json_is_object(t)) fal_stop(out, FAL_CRASHED, "the observer did not deliver about.throughput");
    return json_is_object(t) ? t : NULL;
}

/* A card that was slowed down by heat or hardware shows its cooling, not the program. */
static bool ran_freely(const json_t *t, fal_verdict *out)
{
    const json_t *const slowdowns = json_object_get(t, "slowdowns");
    if (!json_is_array(slowdowns))
        return fal_stop(out, FAL_CRASHED, "the observer did not deliver throughput.slowdowns");
    if (json_array_size(slowdowns) == 0) return true;
    const char *const first = json_string_value(json_array_get(slowdowns, 0));
    return fal_stop(out, FAL_ERROR, "throttled: the card reports %.60s during the runs", first ? first : "a slowdown");
}

/* Median of n_tokens / seconds over the runs; false after stopping. */
static bool median_rate(const fal_evidence_in *in, const json_t *t, double *median, size_t *n_runs, fal_verdict *out)
{
    const json_t *const runs = json_object_get(t, "runs");
    const double asked = fal_params_number(&in->check->with, "runs", 0);
    const double n_tokens = fal_params_number(&in->check->with, "n_tokens", 0);
    *n_runs = json_array_size(runs);
    if (*n_runs == 0 || (double)*n_runs < asked || (double)*n_runs > asked)
        return fal_stop(out, FAL_CRASHED, "the observer delivered %zu runs, %g were asked for", *n_runs, asked);
    double *const rates = malloc(*n_runs * sizeof *rates);
    if (!rates) return fal_stop(out, FAL_ERROR, "no memory for %zu runs", *n_runs);
    for (size_t r = 0; r < *n_runs; r++) {
        const json_t *const s = json_object_get(json_array_get(runs, r), "seconds");
        const double seconds = json_is_number(s) ? json_number_value(s) : (double)NAN;
        rates[r] = seconds > 0 ? n_tokens / seconds : (double)NAN; /* no time at all is no speed */
    }
    *median = fal_median(rates, (int)*n_runs);
    free(rates);
    return true;
}

/* Tokens of the runs that are not those of the step-by-step decode; the first becomes the worst place. */
static bool tokens_that_differ(const fal_evidence_in *in, size_t n_runs, uint64_t *n, uint64_t *n_bad, fal_verdict *out)
{
    const int64_t n_tokens = (int64_t)fal_params_number(&in->check->with, "n_tokens", 0);
    const int64_t ne[] = { (int64_t)n_runs, n_tokens };
    const fal_obs_tensor *const steps = fal_need(out, in->got, FAL_SIDE_GOT, 0, "tokens.steps");
    const fal_obs_tensor *const runs = steps ? fal_need(out, in->got, FAL_SIDE_GOT, 0, "tokens.runs") : NULL;
    if (!runs || !fal_need_shape(out, FAL_SIDE_GOT, "tokens.steps", steps, FAL_DTYPE_I32, 1, ne + 1) ||
        !fal_need_shape(out, FAL_SIDE_GOT, "tokens.runs", runs, FAL_DTYPE_I32, 2, ne))
        return false;
    const int32_t *const want = steps->data, *const got = runs->data;
    *n = runs->n;
    *n_bad = 0;
    for (size_t i = 0; i < runs->n; i++) {
        const int32_t token = want[i % steps->n];
        const bool exists = !in->config || (token >= 0 && token < in->config->n_vocab);
        if (got[i] == token && exists) continue;
        if ((*n_bad)++ == 0) fal_worst_at(out, in->got, 0, "tokens.runs", runs, i, got[i], token);
    }
    return true;
}

void fal_judge_throughput(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const t = report_of(in, out);
    double median = 0;
    size_t n_runs = 0;
    uint64_t n = 0, n_bad = 0;
    if (!t || !ran_freely(t, out) || !median_rate(in, t, &median, &n_runs, out)) return;
    if (!tokens_that_differ(in, n_runs, &n, &n_bad, out)) return;
    const json_t *const share = json_object_get(t, "share_of_bandwidth");
    char note[160];
    snprintf(note, sizeof note, "median of %zu runs, context %.0f, %.1f GB/s", n_runs,
             fal_params_number(&in->check->with, "context", 0), json_number_value(json_object_get(t, "gb_per_s")));
    if (json_is_number(share))
        fal_give(out, median, n, "%s, %.1f %% of the measured read bandwidth", note, 100 * json_number_value(share));
    else
        fal_give(out, median, n, "%s; read bandwidth not measured", note);
    if (n_bad > 0)
        fal_refute(out, "%llu of %llu tokens of the timed runs are not those of a step-by-step decode; first at %s",
                   (unsigned long long)n_bad, (unsigned long long)n, out->worst);
}

void fal_judge_device_memory(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const t = report_of(in, out);
    if (!t) return;
    const json_t *const m = json_object_get(t, "device_memory"), *const weights = json_object_get(
                                                                     json_object_get(in->got->about, "memory"),
                                                                     "weight_bytes");
    const json_t *const used = json_object_get(m, "used_bytes"), *const total = json_object_get(m, "total_bytes"),
                        *const live = json_object_get(m, "live_bytes");
    const char *const source = json_string_value(json_object_get(m, "source"));
    if (!json_is_integer(used) || !json_is_integer(total) || !json_is_integer(live) || !json_is_integer(weights) ||
        !source) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver throughput.device_memory and memory.weight_bytes");
        return;
    }
    const bool whole = strcmp(source, "nvml") == 0, of_total = fal_params_number(&in->check->with, "of_total", 0) > 0;
    const double in_use = json_number_value(used), all = json_number_value(total), own = json_number_value(live);
    /* of the whole card for the share, of this process for the bytes: what others use is not the model's */
    const double others = whole ? json_number_value(json_object_get(m, "used_before_bytes")) : 0;
    const double value = of_total ? (all > 0 ? in_use / all : (double)NAN) : in_use - others;
    fal_give(out, value, 1, "%.0f of %.0f bytes in use%s, %.0f of them ours by our own account", in_use, all,
             whole ? " as NVML reports for the whole card" : " by our own account, without the driver's context", own);
    snprintf(out->worst, sizeof out->worst, "throughput.device_memory.used_bytes");
    out->has_worst = true;
    out->got = in_use;
    out->want = all;
    if (!(own > 0) || !(own >= json_number_value(weights)) || !(in_use >= own) || !(all >= in_use))
        fal_refute(out,
                   "the account contradicts itself: %.0f bytes in use, %.0f of weights, %.0f allocated, %.0f in all",
                   in_use, json_number_value(weights), own, all);
    else if (!(in_use - others >= own))
        fal_stop(out, FAL_ERROR,
                 "another process gave memory back meanwhile: %.0f bytes in use before, %.0f with our %.0f", others,
                 in_use, own);
}
