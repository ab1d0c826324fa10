/* Expert sets that differ from the reference's, and which differences are near-ties that no one can be held to. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>

static bool contains(fal_row ids, double id)
{
    for (size_t i = 0; i < ids.n; i++) {
        const double v = fal_row_at(ids, i);
        if (v >= id && v <= id) return true;
    }
    return false;
}

/* All ids are experts, none twice. */
static bool is_set(fal_row ids, int n_expert)
{
    for (size_t i = 0; i < ids.n; i++) {
        const double v = fal_row_at(ids, i);
        if (!(v >= 0 && v < n_expert)) return false;
        for (size_t j = 0; j < i; j++)
            if (!(v < fal_row_at(ids, j)) && !(v > fal_row_at(ids, j))) return false;
    }
    return true;
}

static bool same_set(fal_row a, fal_row b)
{
    for (size_t i = 0; i < a.n; i++)
        if (!contains(b, fal_row_at(a, i)) || !contains(a, fal_row_at(b, i))) return false;
    return true;
}

/* How far the reference's logits are from the exchange that got made: the largest logit dropped less the smallest one
   taken instead. It is at least the gap between the k-th and the k+1-th, and equal to it when exactly these two were
   exchanged, so a wild choice is not excused because two others happened to be close. */
static double exchange_gap(fal_row got, fal_row want, fal_row logits)
{
    double dropped = -(double)INFINITY, taken = (double)INFINITY;
    for (size_t i = 0; i < want.n; i++) {
        const double id = fal_row_at(want, i);
        if (!contains(got, id)) fal_higher(&dropped, fal_row_at(logits, (size_t)id));
    }
    for (size_t i = 0; i < got.n; i++) {
        const double id = fal_row_at(got, i);
        if (!contains(want, id)) fal_lower(&taken, fal_row_at(logits, (size_t)id));
    }
    return dropped - taken;
}

static double limit_of(const fal_evidence_in *in, fal_row logits)
{
    const double gap = fal_params_number(&in->check->with, "gap", 0);
    if (!(fal_params_number(&in->check->with, "gap_relative", 0) > 0)) return gap;
    double most = 0;
    for (size_t i = 0; i < logits.n; i++) fal_higher(&most, fabs(fal_row_at(logits, i)));
    return gap * most;
}

static void set_text(char *text, size_t size, fal_row ids)
{
    size_t len = (size_t)snprintf(text, size, "{");
    for (size_t i = 0; i < ids.n && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%.0f", i ? " " : "", fal_row_at(ids, i));
    if (len < size) snprintf(text + len, size - len, "}");
}

static void report_flip(const fal_evidence_in *in, int request, const fal_tap *tap, const fal_pair *ids, size_t i,
                        double gap, double limit, bool excused, bool first, fal_verdict *out)
{
    const fal_row got = fal_pair_got(ids, i), want = fal_pair_want(ids, i);
    char got_text[80], want_text[80];
    set_text(got_text, sizeof got_text, got);
    set_text(want_text, sizeof want_text, want);
    fal_detail(out, "%s: layer %d request %d position %zu: %s for %s, gap %.3g, excused below %.3g\n",
               excused ? "near-tie" : "flip", tap->layer, request, fal_pair_position(ids, i), got_text, want_text, gap,
               limit);
    if (!first) return;
    size_t e = 0;
    while (e + 1 < got.n && contains(want, fal_row_at(got, e))) e++;
    fal_worst_at(out, in->got, request, tap->name, ids->got, got.from + e, fal_row_at(got, e), fal_row_at(want, e));
}

/* The reference's own choice must be a set of experts, or its logits cannot be looked up. */
static bool need_reference_set(fal_row want, int n_expert, const fal_tap *tap, fal_verdict *out)
{
    if (is_set(want, n_expert)) return true;
    return fal_stop(out, FAL_ERROR, "the reference's %s is no set of experts below %d", tap->name, n_expert);
}

bool fal_flips_add(const fal_evidence_in *in, const fal_tap_list *list, int request, bool report, fal_flips *flips,
                   int *first_excused, fal_verdict *out)
{
    const fal_config *const c = &list->config;
    *first_excused = -1;
    flips->all_used = c->n_expert_used >= c->n_expert;
    for (int t = 0; t < list->n; t++) {
        const fal_tap *const tap = &list->items[t];
        if (tap->site != FAL_SITE_expert_ids) continue;
        fal_tap router = { .site = FAL_SITE_router_logits, .layer = tap->layer };
        fal_site_shape(router.site, c, &router.sub, &router.width);
        snprintf(router.name, sizeof router.name, "blk.%d.router_logits", tap->layer);
        fal_pair ids, logits;
        if (fal_pair_of(in, c, request, tap, &ids, out) != FAL_PAIR_READY) return false;
        if (fal_pair_of(in, c, request, &router, &logits, out) != FAL_PAIR_READY) return false;
        for (size_t i = 0; i < ids.n_rows; i++) {
            const fal_row got = fal_pair_got(&ids, i), want = fal_pair_want(&ids, i), scale = fal_pair_want(&logits, i);
            if (!need_reference_set(want, c->n_expert, tap, out)) return false;
            if (ids.n_rows >= 2) {
                flips->has_neighbours = true;
                if (!same_set(want, fal_pair_want(&ids, (i + 1) % ids.n_rows))) flips->neighbours_differ = true;
            }
            flips->n_sets++;
            const bool valid = is_set(got, c->n_expert);
            if (valid && same_set(got, want)) continue;
            const double gap = valid ? exchange_gap(got, want, scale) : NAN, limit = limit_of(in, scale);
            const bool excused = fabs(gap) < limit;
            fal_higher(&flips->widest_gap, fabs(gap));
            if (report)
                report_flip(in, request, tap, &ids, i, gap, limit, excused, !excused && flips->n_unexcused == 0, out);
            if (excused) {
                const int position = (int)fal_pair_position(&ids, i);
                flips->n_excused++;
                if (*first_excused < 0 || position < *first_excused) *first_excused = position;
            } else {
                flips->n_unexcused++;
            }
        }
    }
    return true;
}

void fal_flips_close(const fal_evidence_in *in, fal_flips *flips)
{
    const double share = fal_params_number(&in->check->with, "max_excused_share", 0.01);
    flips->too_many_excused = flips->n_excused > 0 && !((double)flips->n_excused <= share * (double)flips->n_sets);
}
