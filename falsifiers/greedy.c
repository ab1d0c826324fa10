/* Greedy continuations: the tokens that a backend would say next, against the reference, an oracle or itself. */
#include "falsifiers/judgement.h"

#include <stdio.h>

bool fal_continuation_of(const fal_observation *o, int request, fal_continuation *out)
{
    const json_t *const list = json_object_get(fal_about_request(o, request), "greedy");
    const fal_obs_tensor *const t = fal_observation_find(o, request, "greedy");
    *out = (fal_continuation){ 0 };
    if (json_is_array(list)) {
        out->list = list;
        out->n = (int)json_array_size(list);
    } else if (t && t->dtype == FAL_DTYPE_I32) {
        out->tensor = t;
        out->n = (int)t->n;
    }
    return out->list || out->tensor;
}

/* -1, no token, where the file holds something else than an integer. */
int64_t fal_continuation_at(const fal_continuation *c, int i)
{
    if (c->tensor) return (int64_t)fal_row_at(fal_row_whole(c->tensor), (size_t)i);
    const json_t *const j = json_array_get(c->list, (size_t)i);
    return json_is_integer(j) ? json_integer_value(j) : -1;
}

/* What the continuation of request r should be; *other keeps it. */
static bool wanted(const fal_evidence_in *in, int request, fal_continuation *want, fal_verdict *out)
{
    const fal_observation *const other = fal_other(in, out);
    if (!other) return false;
    if (in->check->against == FAL_AGAINST_ORACLE) {
        const json_t *const list = fal_oracle_list(other, in->oracle_prompt, "greedy_32");
        *want = (fal_continuation){ .list = list, .n = (int)json_array_size(list) };
        if (!list)
            return fal_stop(out, FAL_ERROR, "the oracle file has no greedy_32 for prompt p%d", in->oracle_prompt);
    } else if (!fal_continuation_of(other, request, want)) {
        return fal_stop(out, in->check->against == FAL_AGAINST_SELF ? FAL_CRASHED : FAL_ERROR,
                        "the observation to compare with has no greedy continuation of request %d", request);
    }
    if (want->n >= in->check->n_greedy) return true;
    return fal_stop(out, FAL_ERROR, "the continuation to compare with has %d tokens, the check asks for %d", want->n,
                    in->check->n_greedy);
}

void fal_judge_greedy(const fal_evidence_in *in, fal_verdict *out)
{
    const int n = in->check->n_greedy;
    uint64_t differ = 0, compared = 0;
    bool varies = false;
    int n_requests = 0, n_tokens = 0;
    if (!fal_requests_of(in, &n_requests, out)) return;
    for (int r = 0; r < n_requests; r++) {
        fal_continuation got, want;
        if (!fal_tokens_of(in, r, NULL, &n_tokens, out) || !wanted(in, r, &want, out)) return;
        if (!fal_continuation_of(in->got, r, &got)) {
            fal_stop(out, FAL_CRASHED, "the observer did not deliver the greedy continuation of request %d", r);
            return;
        }
        if (got.n != n) {
            fal_stop(out, FAL_FALSIFIED, "request %d was continued by %d tokens, expected %d", r, got.n, n);
            return;
        }
        for (int i = 0; i < n; i++) {
            const int64_t g = fal_continuation_at(&got, i), w = fal_continuation_at(&want, i);
            compared++;
            if (fal_continuation_at(&want, 0) != w) varies = true;
            if (g == w && g >= 0) continue;
            if (differ++ > 0) continue;
            snprintf(out->worst, sizeof out->worst, "r%d greedy[%d]", r, i);
            out->has_worst = true;
            out->got = (double)g;
            out->want = (double)w;
        }
    }
    if (compared == 0) {
        fal_give(out, 0, 0, "n_greedy is 0");
        return;
    }
    if (differ) fal_give(out, (double)differ, compared, "the first one is token %.0f for %.0f", out->got, out->want);
    else fal_give(out, 0, compared, "%llu tokens agree", (unsigned long long)compared);
    if (compared >= 8 && !varies)
        fal_doubt(out, "all %llu tokens compared with are the same one, so a stuck decoder would pass",
                  (unsigned long long)compared);
}
