/* What a tool reported that watched the program's kernels. */
#include "falsifiers/judgement.h"

#include <string.h>

void fal_judge_sanitizer(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const j = json_object_get(in->got->about, "sanitize"), *const runs = json_object_get(j, "runs");
    const char *const tool = json_string_value(json_object_get(j, "tool")), *const asked = fal_params_text(&in->check->with, "tool", "");
    const char *const version = json_string_value(json_object_get(j, "version"));
    const json_t *const status = json_object_get(j, "status");
    const double least = fal_params_number(&in->check->with, "min_runs", 1);
    uint64_t n_bad = 0;
    if (!json_is_array(runs) || !json_is_integer(status) || !tool) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver sanitize.runs, status and tool");
        return;
    }
    if (strcmp(tool, asked) != 0) {
        fal_stop(out, FAL_ERROR, "the observation is about %.40s, the check about %.40s", tool, asked);
        return;
    }
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *const run = json_array_get(runs, i);
        const char *const what = json_string_value(json_object_get(run, "what"));
        const json_int_t rc = json_integer_value(json_object_get(run, "status"));
        if (!what || !json_is_integer(json_object_get(run, "status"))) {
            fal_stop(out, FAL_CRASHED, "the observer did not deliver the status of run %zu", i);
            return;
        }
        if (rc == 0) continue;
        if (n_bad++ == 0) {
            snprintf(out->worst, sizeof out->worst, "%.110s", what);
            out->has_worst = true;
            out->got = (double)rc;
        }
        fal_detail(out, "%.200s: status %lld\n", what, (long long)rc);
    }
    fal_give(out, (double)n_bad, json_array_size(runs), "%zu runs under %.40s%s%.60s", json_array_size(runs), tool, version ? " " : "",
             version ? version : "");
    if (n_bad > 0) fal_detail(out, "%.1500s", json_string_value(json_object_get(j, "log_tail")) ? json_string_value(json_object_get(j, "log_tail")) : "");
    if (n_bad == 0 && json_integer_value(status) != 0)
        fal_stop(out, FAL_ERROR, "%.40s ended with status %lld although no run has a report", tool, (long long)json_integer_value(status));
    else if (n_bad == 0 && !((double)json_array_size(runs) >= least))
        fal_doubt(out, "%zu runs, but %.0f are planned: what was not run cannot have reports", json_array_size(runs), least);
}
