/* What a candidate did while it was on trial: its answers, and everything beside them that an honest kernel never does. */
#include "harness/trial.h"
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The trial's account, or NULL after stopping. */
static const json_t *account(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const t = json_object_get(in->got->about, "trial");
    if (json_is_object(t)) return t;
    fal_stop(out, FAL_CRASHED, "the observer delivered no account of the trial");
    return NULL;
}

static bool count(const json_t *t, const char *name, double *value, fal_verdict *out)
{
    const json_t *const j = json_object_get(t, name);
    *value = json_is_number(j) ? json_number_value(j) : NAN;
    if (isfinite(*value) && *value >= 0) return true;
    return fal_stop(out, FAL_CRASHED, "the account of the trial has no number '%s'", name);
}

static int n_timed(const fal_evidence_in *in)
{
    return in->got->n_requests - FAL_TRIAL_PROBES;
}

/* Output `arg` of a request under "out." or "after."; NULL after stopping. */
static const fal_obs_tensor *output(const fal_observation *o, fal_side side, int r, const char *kind, const char *arg,
                                    fal_verdict *out)
{
    char name[48];
    snprintf(name, sizeof name, "%s.%s", kind, arg);
    return fal_need(out, o, side, r, name);
}

static bool open_trial(const fal_evidence_in *in, fal_verdict *out)
{
    if (!in->check->op) return fal_stop(out, FAL_ERROR, "the check names no op");
    if (in->got->n_requests == in->check->n_seeds - 2 + FAL_TRIAL_PROBES && n_timed(in) > 0) return true;
    return fal_stop(out, FAL_CRASHED, "the observer delivered %d of %d requests", in->got->n_requests,
                    in->check->n_seeds - 2 + FAL_TRIAL_PROBES);
}

/* Ids by the share that differs, numbers by relative L2. */
static double distance(const fal_obs_tensor *got, const fal_obs_tensor *want)
{
    size_t first;
    const fal_row g = fal_row_whole(got), w = fal_row_whole(want);
    if (got->dtype != want->dtype || got->n != want->n || got->n == 0) return NAN;
    if (got->dtype == FAL_DTYPE_I32) return (double)fal_bits_different(g, w, &first) / (double)got->n;
    return fal_rel_l2(g, w);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

/* Both sides must have drawn the same inputs, or a difference says nothing. */
static bool same_inputs(const fal_evidence_in *in, const fal_observation *want, fal_verdict *out)
{
    for (int r = 0; r < in->got->n_requests; r++) {
        const char *const a = json_string_value(json_object_get(fal_about_request(in->got, r), "inputs"));
        const char *const b = json_string_value(json_object_get(fal_about_request(want, r), "inputs"));
        if (!a || !b || strcmp(a, b) != 0)
            return fal_stop(out, FAL_ERROR, "request %d: candidate and reference were given different inputs", r);
    }
    return true;
}

static const char *what_of(int request)
{
    static const char *const probes[] = { "the first content", "new content at the same addresses",
                                          "the same content elsewhere", "the first content again" };
    return request < FAL_TRIAL_PROBES ? probes[request] : "a timed call";
}

void fal_judge_trial_answers(const fal_evidence_in *in, fal_verdict *out)
{
    double worst = -(double)INFINITY;
    uint64_t n = 0, bad = 0, identical = 0, n_outputs = 0;
    int first_bad = -1;
    bool any_nonzero = false;
    const fal_observation *const want = fal_other(in, out);
    if (!want || !open_trial(in, out) || !same_inputs(in, want, out)) return;
    for (int r = 0; r < in->got->n_requests; r++)
        for (const char *const *arg = fal_op_outputs(in->check->op); *arg; arg++) {
            const fal_obs_tensor *const w = output(want, FAL_SIDE_WANT, r, "out", *arg, out);
            const fal_obs_tensor *const g = w ? output(in->got, FAL_SIDE_GOT, r, "out", *arg, out) : NULL;
            if (!g) return;
            const double v = distance(g, w);
            n += g->n;
            n_outputs++;
            if (fal_same_bytes(fal_row_whole(g), fal_row_whole(w))) identical++;
            if (!fal_all_zero(fal_row_whole(w))) any_nonzero = true;
            if (!fal_limit_holds(&in->check->limit, v)) {
                bad++;
                if (first_bad < 0) first_bad = r;
            }
            if (fal_higher(&worst, v) && g->n == w->n && g->n > 0) {
                char name[48];
                const size_t at = fal_furthest(fal_row_whole(g), fal_row_whole(w));
                snprintf(name, sizeof name, "out.%s", *arg);
                fal_worst_at(out, in->got, r, name, g, at, fal_row_at(fal_row_whole(g), at),
                             fal_row_at(fal_row_whole(w), at));
            }
        }
    if (first_bad >= 0)
        fal_give(out, worst, n, "%llu of %llu outputs break the limit, the first in request %d (%s)",
                 (unsigned long long)bad, (unsigned long long)n_outputs, first_bad, what_of(first_bad));
    else
        fal_give(out, worst, n, "%llu outputs%s", (unsigned long long)n_outputs,
                 identical == n_outputs && in->check->limit.value > 0
                     ? ", every bit the reference's: float64 sums, or a copy of it"
                     : "");
    if (!any_nonzero) fal_doubt(out, "every output of the reference is zero");
}

void fal_judge_trial_written(const fal_evidence_in *in, fal_verdict *out)
{
    static const unsigned char poison[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    uint64_t unwritten = 0, invalid = 0, n = 0;
    if (!open_trial(in, out)) return;
    for (int r = 0; r < in->got->n_requests; r++)
        for (const char *const *arg = fal_op_outputs(in->check->op); *arg; arg++)
            for (int again = 0; again < (r < FAL_TRIAL_PROBES ? 1 : 2); again++) {
                const char *const kind = again ? "after" : "out";
                const fal_obs_tensor *const t = output(in->got, FAL_SIDE_GOT, r, kind, *arg, out);
                if (!t) return;
                const size_t size = fal_dtype_size(t->dtype);
                for (size_t i = 0; i < t->n; i++) {
                    const bool empty = memcmp((const unsigned char *)t->data + i * size, poison, size) == 0;
                    const bool wrong = !fal_row_valid(fal_row_whole(t), i);
                    if ((empty || wrong) && unwritten + invalid == 0) {
                        char name[48];
                        snprintf(name, sizeof name, "%s.%s", kind, *arg);
                        fal_worst_at(out, in->got, r, name, t, i, fal_row_at(fal_row_whole(t), i), NAN);
                    }
                    unwritten += empty;
                    invalid += wrong && !empty;
                }
                n += t->n;
            }
    fal_give(out, (double)(unwritten + invalid), n, "%llu never written, %llu written as NaN or infinity, of %llu",
             (unsigned long long)unwritten, (unsigned long long)invalid, (unsigned long long)n);
}

/* ---- content and addresses ------------------------------------------------------------------------------------------- */

void fal_judge_trial_content(const fal_evidence_in *in, fal_verdict *out)
{
    static const struct {
        int a, b;
        const char *means;
    } pairs[] = {
        { 1, 2, "new content at the same addresses was not answered as elsewhere" },
        { 3, 0, "the same content at the same addresses was not answered as the first time" },
    };
    double worst = -(double)INFINITY;
    uint64_t n = 0;
    const char *note = NULL;
    bool stale = true, varies = false;
    if (!open_trial(in, out)) return;
    for (const char *const *arg = fal_op_outputs(in->check->op); *arg; arg++) {
        const fal_obs_tensor *t[FAL_TRIAL_PROBES];
        for (int r = 0; r < FAL_TRIAL_PROBES; r++)
            if (!(t[r] = output(in->got, FAL_SIDE_GOT, r, "out", *arg, out))) return;
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
            const fal_obs_tensor *const g = t[pairs[i].a], *const w = t[pairs[i].b];
            const double v = distance(g, w);
            n += g->n;
            if (!fal_limit_holds(&in->check->limit, v) && !note) note = pairs[i].means;
            if (!fal_higher(&worst, v) || g->n != w->n || g->n == 0) continue;
            char name[48];
            const size_t at = fal_furthest(fal_row_whole(g), fal_row_whole(w));
            snprintf(name, sizeof name, "out.%s", *arg);
            fal_worst_at(out, in->got, pairs[i].a, name, g, at, fal_row_at(fal_row_whole(g), at),
                         fal_row_at(fal_row_whole(w), at));
        }
        if (!fal_same_bytes(fal_row_whole(t[1]), fal_row_whole(t[0]))) stale = false;
        if (!fal_same_bytes(fal_row_whole(t[2]), fal_row_whole(t[0]))) varies = true;
    }
    fal_give(out, worst, n, "%s%s", note ? note : "addresses do not matter",
             note && stale ? ": it gave the answer to the content before" : "");
    if (!varies) fal_doubt(out, "two contents gave the same bits, so the outputs do not depend on the inputs");
}

void fal_judge_trial_timed(const fal_evidence_in *in, fal_verdict *out)
{
    double worst = -(double)INFINITY;
    uint64_t n = 0, bad = 0;
    if (!open_trial(in, out)) return;
    for (int r = FAL_TRIAL_PROBES; r < in->got->n_requests; r++)
        for (const char *const *arg = fal_op_outputs(in->check->op); *arg; arg++) {
            const fal_obs_tensor *const g = output(in->got, FAL_SIDE_GOT, r, "out", *arg, out);
            const fal_obs_tensor *const w = g ? output(in->got, FAL_SIDE_GOT, r, "after", *arg, out) : NULL;
            if (!w) return;
            const double v = distance(g, w);
            n += g->n;
            bad += !fal_limit_holds(&in->check->limit, v);
            if (!fal_higher(&worst, v) || g->n != w->n || g->n == 0) continue;
            char name[48];
            const size_t at = fal_furthest(fal_row_whole(g), fal_row_whole(w));
            snprintf(name, sizeof name, "out.%s", *arg);
            fal_worst_at(out, in->got, r, name, g, at, fal_row_at(fal_row_whole(g), at),
                         fal_row_at(fal_row_whole(w), at));
        }
    fal_give(out, worst, n, "%llu of %d timed calls answered otherwise than when called again", (unsigned long long)bad,
             n_timed(in));
}

/* ---- what it did beside its answers ---------------------------------------------------------------------------------- */

/* A number of bytes out of those looked at, both from the account. */
static void give_bytes(const fal_evidence_in *in, const char *name, const char *of, fal_verdict *out)
{
    double value, n;
    const json_t *const t = account(in, out);
    if (!t || !count(t, name, &value, out) || !count(t, of, &n, out)) return;
    const char *const breaches = json_string_value(json_object_get(json_object_get(in->got->about, "ran"), "breaches"));
    fal_give(out, value, (uint64_t)n, "of %.0f bytes%s%.150s", n, value > 0 && breaches ? "; " : "",
             value > 0 && breaches ? breaches : "");
}

void fal_judge_trial_inputs(const fal_evidence_in *in, fal_verdict *out)
{
    give_bytes(in, "changed_bytes", "input_bytes", out);
}

void fal_judge_trial_bounds(const fal_evidence_in *in, fal_verdict *out)
{
    give_bytes(in, "strayed_bytes", "guard_bytes", out);
}

void fal_judge_trial_late(const fal_evidence_in *in, fal_verdict *out)
{
    double late;
    const json_t *const t = account(in, out);
    if (!t || !count(t, "late_bytes", &late, out)) return;
    fal_give(out, late, FAL_TRIAL_PROBES, "in the outputs of %d calls", FAL_TRIAL_PROBES);
}

void fal_judge_trial_roofline(const fal_evidence_in *in, fal_verdict *out)
{
    double fastest, read, seconds, bytes;
    const json_t *const t = account(in, out);
    if (!t || !count(t, "fastest_gb_per_s", &fastest, out) || !count(t, "seconds_per_call", &seconds, out) ||
        !count(t, "bytes_per_call", &bytes, out))
        return;
    if (!json_is_number(json_object_get(t, "read_gb_per_s"))) {
        fal_stop(out, FAL_BLOCKED, "the read bandwidth of the device could not be measured");
        return;
    }
    if (!count(t, "read_gb_per_s", &read, out)) return;
    fal_give(out, fastest / read, (uint64_t)n_timed(in),
             "fastest %.3g GB/s of %.3g GB/s read; %.4g us and %.4g MB a call", fastest, read, 1e6 * seconds,
             1e-6 * bytes);
}
