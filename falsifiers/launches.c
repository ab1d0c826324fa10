/* How many kernels a token, or a prompt, takes. */
#include "falsifiers/judgement.h"

#include <string.h>

void fal_judge_launches(const fal_evidence_in *in, fal_verdict *out)
{
    const bool of_prompt = fal_params_number(&in->check->with, "of_prompt", 0) > 0, dry = fal_params_number(&in->check->with, "dry", 0) > 0;
    json_t *const launches = json_object_get(in->got->about, "launches");
    json_t *const kernels = json_object_get(launches, of_prompt ? "of_prompt" : "of_tokens");
    const json_int_t n = of_prompt ? 1 : json_integer_value(json_object_get(launches, "n_tokens"));
    const char *name;
    json_t *value;
    json_int_t total = 0, most = 0;
    if (!json_is_object(kernels) || n < 1 || !json_is_boolean(json_object_get(launches, "dry"))) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver launches.%s", of_prompt ? "of_prompt" : "of_tokens");
        return;
    }
    if (json_is_true(json_object_get(launches, "dry")) != dry) {
        fal_stop(out, FAL_ERROR, "the check is about launches %s, the observation about those %s", dry ? "asked for" : "on a device",
                 dry ? "on a device" : "asked for");
        return;
    }
    json_object_foreach (kernels, name, value) {
        const json_int_t here = json_integer_value(value);
        if (!json_is_integer(value) || here < 1) {
            fal_stop(out, FAL_CRASHED, "the observer says that %.80s was launched %lld times", name, (long long)here);
            return;
        }
        total += here;
        fal_detail(out, "%.80s: %.3g\n", name, (double)here / (double)n);
        if (here <= most) continue;
        most = here;
        snprintf(out->worst, sizeof out->worst, "%.90s", name);
        out->has_worst = true;
        out->got = (double)here / (double)n;
        out->want = out->got;
    }
    fal_give(out, (double)total / (double)n, json_object_size(kernels), "%zu kernels, %s, over %lld %s", json_object_size(kernels),
             dry ? "as the host asks for them" : "on the device", (long long)(of_prompt ? json_integer_value(json_object_get(launches, "prompt")) : n),
             of_prompt ? "tokens at once" : "tokens");
}
