/* What holds of one observation by itself: finite numbers, shapes, indices in range, weights that add up to 1. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- weights_sum ----------------------------------------------------------------------------------------------- */

void fal_judge_weights_sum(const fal_evidence_in *in, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    int n_requests = 0, n_tokens = 0;
    uint64_t rows = 0, beyond = 0;
    double worst = -(double)INFINITY;
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "blk.*.expert_weights", &list, out)) goto out;
    for (int r = 0; r < n_requests; r++) {
        if (!fal_tokens_of(in, r, NULL, &n_tokens, out)) goto out;
        for (int i = 0; i < list.n; i++) {
            const fal_tap *const tap = &list.items[i];
            if (tap->site != FAL_SITE_expert_weights) continue;
            const fal_obs_tensor *const t = fal_tap_of(out, in->got, FAL_SIDE_GOT, r, tap, n_tokens);
            if (!t) goto out;
            const size_t width = (size_t)tap->width;
            for (size_t k = 0; k < (size_t)n_tokens; k++) {
                const fal_row row = fal_row_part(t, k * width, width);
                double sum = 0;
                size_t at;
                for (size_t e = 0; e < width; e++) sum += fal_row_at(row, e);
                const double v = fal_non_finite(row, &at) > 0 ? NAN : fabs(sum - 1);
                rows++;
                if (!fal_limit_holds(&in->check->limit, v)) beyond++;
                if (fal_higher(&worst, v)) fal_worst_at(out, in->got, r, tap->name, t, row.from, sum, 1);
            }
        }
    }
    fal_give(out, worst, rows, rows ? "%llu of %llu tokens break the limit" : "the taps name no blk.*.expert_weights",
             (unsigned long long)beyond, (unsigned long long)rows);
out:
    free(list.items);
}

/* ---- length ---------------------------------------------------------------------------------------------------- */

void fal_judge_length(const fal_evidence_in *in, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    int n_requests = 0, n_tokens = 0;
    uint64_t n = 0, bad = 0;
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "logits", &list, out)) goto out;
    for (int r = 0; r < n_requests; r++) {
        if (!fal_tokens_of(in, r, NULL, &n_tokens, out)) goto out;
        for (int i = 0; i < list.n; i++) {
            fal_verdict one = { .kind = FAL_NOT_RUN };
            n++;
            if (fal_tap_of(&one, in->got, FAL_SIDE_GOT, r, &list.items[i], n_tokens)) continue;
            bad++;
            fal_detail(out, "request %d: %.200s\n", r, one.reason);
        }
    }
    fal_give(out, (double)bad, n, "%llu tensors looked at%s%.120s", (unsigned long long)n, bad ? "; first: " : "",
             out->detail);
    for (char *p = out->reason; *p; p++)
        if (*p == '\n') *p = '\0';
out:
    free(list.items);
}

/* ---- finite ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t n, bad;
    bool any_nonzero;
} finite_count;

static void count_finite(const fal_evidence_in *in, int request, const char *name, const fal_obs_tensor *t,
                         finite_count *c, fal_verdict *out)
{
    size_t first = 0;
    const fal_row row = fal_row_whole(t);
    const uint64_t bad = fal_non_finite(row, &first);
    if (bad > 0 && c->bad == 0) fal_worst_at(out, in->got, request, name, t, first, fal_row_at(row, first), 0);
    if (bad > 0)
        fal_detail(out, "request %d: %llu of %zu elements of %s\n", request, (unsigned long long)bad, t->n, name);
    if (!c->any_nonzero) c->any_nonzero = !fal_all_zero(row);
    c->n += t->n;
    c->bad += bad;
}

static bool finite_forward(const fal_evidence_in *in, finite_count *c, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    int n_requests = 0, n_tokens = 0;
    bool ok = fal_requests_of(in, &n_requests, out) && fal_taps_make(in, "logits", &list, out);
    for (int r = 0; r < n_requests && ok; r++) {
        ok = fal_tokens_of(in, r, NULL, &n_tokens, out);
        for (int i = 0; i < list.n && ok; i++) {
            const fal_obs_tensor *const t = fal_tap_of(out, in->got, FAL_SIDE_GOT, r, &list.items[i], n_tokens);
            ok = t != NULL;
            if (ok) count_finite(in, r, list.items[i].name, t, c, out);
        }
    }
    free(list.items);
    return ok;
}

static bool finite_op(const fal_evidence_in *in, finite_count *c, fal_verdict *out)
{
    fal_op_case oc;
    if (!fal_op_open(in, out, &oc)) return false;
    for (int r = 0; r < oc.n_requests; r++)
        for (const char *const *arg = fal_op_outputs(fal_op_of(&oc, r)); *arg; arg++) {
            char name[48];
            const fal_obs_tensor *const t = fal_op_out(&oc, r, *arg);
            if (!t) return false;
            snprintf(name, sizeof name, "out.%s", *arg);
            count_finite(in, r, name, t, c, out);
        }
    return true;
}

void fal_judge_finite(const fal_evidence_in *in, fal_verdict *out)
{
    finite_count c = { 0 };
    const bool is_op = in->check->observe == FAL_OBSERVE_OP;
    if (!(is_op ? finite_op(in, &c, out) : finite_forward(in, &c, out))) return;
    fal_give(out, (double)c.bad, c.n, "%llu of %llu elements are not finite", (unsigned long long)c.bad,
             (unsigned long long)c.n);
    if (c.n > 0 && !c.any_nonzero && !(is_op && fal_zeros_expected(in)))
        fal_doubt(out, "all %llu elements are zero, so nothing seems to have been computed", (unsigned long long)c.n);
}

/* ---- argmax_range ---------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t n, bad;
    bool any_nonzero;
} range_count;

static void note_range(const fal_evidence_in *in, int request, const char *name, size_t i, double v, double end,
                       range_count *c, fal_verdict *out)
{
    c->n++;
    if (v >= 0 && v < end) return;
    if (c->bad++ > 0) return;
    out->has_worst = true;
    out->got = v;
    out->want = end - 1;
    if (in->got->n_requests > 1) snprintf(out->worst, sizeof out->worst, "r%d %s[%zu]", request, name, i);
    else snprintf(out->worst, sizeof out->worst, "%s[%zu]", name, i);
}

static bool range_forward(const fal_evidence_in *in, range_count *c, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    int n_requests = 0, n_tokens = 0;
    bool ok = fal_requests_of(in, &n_requests, out) && fal_taps_make(in, "logits", &list, out);
    for (int r = 0; r < n_requests && ok; r++) {
        ok = fal_tokens_of(in, r, NULL, &n_tokens, out);
        for (int i = 0; i < list.n && ok; i++) {
            if (list.items[i].site != FAL_SITE_logits) continue;
            const size_t width = (size_t)list.items[i].width;
            const fal_obs_tensor *const t = fal_tap_of(out, in->got, FAL_SIDE_GOT, r, &list.items[i], n_tokens);
            ok = t != NULL;
            for (size_t k = 0; ok && k < (size_t)n_tokens; k++) {
                const fal_row row = fal_row_part(t, k * width, width);
                size_t at;
                /* a row with NaN has no argmax that means anything */
                const double v = fal_non_finite(row, &at) > 0 ? NAN : (double)fal_argmax(row);
                if (!fal_all_zero(row)) c->any_nonzero = true;
                note_range(in, r, "logits", k, v, (double)list.config.n_vocab, c, out);
            }
        }
        fal_continuation g = { 0 };
        if (ok && in->check->n_greedy > 0 && (!fal_continuation_of(in->got, r, &g) || g.n < in->check->n_greedy))
            ok = fal_stop(out, FAL_CRASHED, "the observer delivered %d of %d greedy tokens of request %d", g.n,
                          in->check->n_greedy, r);
        for (int i = 0; ok && i < g.n; i++)
            note_range(in, r, "greedy", (size_t)i, (double)fal_continuation_at(&g, i), (double)list.config.n_vocab, c,
                       out);
    }
    free(list.items);
    return ok;
}

static bool range_op(const fal_evidence_in *in, range_count *c, fal_verdict *out)
{
    fal_op_case oc;
    if (!fal_op_open(in, out, &oc) || !fal_op_is(&oc, "argmax")) return false;
    for (int r = 0; r < oc.n_requests; r++) {
        const fal_obs_tensor *const x = fal_op_in(&oc, r, "x"), *const ids = x ? fal_op_out(&oc, r, "ids") : NULL;
        if (!ids) return false;
        for (size_t i = 0; i < ids->n; i++)
            note_range(in, r, "out.ids", i, fal_row_at(fal_row_whole(ids), i), (double)x->ne[x->n_dims - 1], c, out);
    }
    c->any_nonzero = true; /* index 0 everywhere is legitimate */
    return true;
}

void fal_judge_argmax_range(const fal_evidence_in *in, fal_verdict *out)
{
    range_count c = { 0 };
    if (!(in->check->observe == FAL_OBSERVE_OP ? range_op(in, &c, out) : range_forward(in, &c, out))) return;
    fal_give(out, (double)c.bad, c.n, "%llu of %llu indices are out of range or of rows that are not finite",
             (unsigned long long)c.bad, (unsigned long long)c.n);
    if (c.n > 0 && !c.any_nonzero) fal_doubt(out, "all logits are zero");
}
