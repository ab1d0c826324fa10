/* Parity of a forward pass with reference, oracle or a second observation: cosine, relative L2, argmax, router sets. */
#include "falsifiers/judgement.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ------------------------------------------------------------------------------------------------------ */

typedef struct {
    double worst;
    uint64_t rows, beyond;
    bool absent, listed;
} tap_result;

enum { MAX_LISTED = 10 };

/* A table of the taps with the worst values, in forward order: the first line is where to look. */
static void list_worst_taps(const fal_evidence_in *in, const fal_tap_list *list, tap_result *results, bool lower,
                            fal_verdict *out)
{
    int first_bad = -1, n_bad = 0;
    for (int i = 0; i < list->n; i++)
        if (results[i].beyond > 0) {
            if (first_bad < 0) first_bad = i;
            n_bad++;
        }
    if (first_bad < 0) return;
    const fal_tap *const first = &list->items[first_bad];
    const char *const op = fal_site_get(first->site)->op;
    if (in->check->observe == FAL_OBSERVE_TEACHER)
        fal_detail(out, "first op whose local error breaks the limit: %s (%s)\n", first->name, op);
    else
        fal_detail(out, "first site beyond the limit, in forward order: %s (%s)\n", first->name, op);
    if (list->n < 2) return;
    for (int k = 0; k < MAX_LISTED; k++) {
        int pick = -1;
        double worst = lower ? (double)INFINITY : -(double)INFINITY;
        for (int i = 0; i < list->n; i++) {
            if (results[i].listed || results[i].absent) continue;
            if (pick < 0 || isnan(results[i].worst) || (lower ? results[i].worst < worst : results[i].worst > worst)) {
                pick = i;
                worst = results[i].worst;
                if (isnan(worst)) break;
            }
        }
        if (pick >= 0) results[pick].listed = true;
    }
    results[first_bad].listed = true;
    fal_detail(out, "%d of %d sites break the limit; the worst, in forward order:\n", n_bad, list->n);
    fal_detail(out, "  %-24s %-11s %-14s %s\n", "site", "op", out->metric, "rows beyond");
    for (int i = 0; i < list->n; i++)
        if (results[i].listed)
            fal_detail(out, "  %-24s %-11s %-14.6g %llu of %llu\n", list->items[i].name,
                       fal_site_get(list->items[i].site)->op, results[i].worst, (unsigned long long)results[i].beyond,
                       (unsigned long long)results[i].rows);
}

/* A tap pattern of which the oracle knows no site at all would narrow the check without anybody noticing. */
static bool patterns_compared(const fal_evidence_in *in, const fal_tap_list *list, const tap_result *results,
                              fal_verdict *out)
{
    for (int g = 0; g < in->check->n_taps && in->check->against == FAL_AGAINST_ORACLE; g++) {
        const char *const glob = in->check->taps[g];
        bool compared = strcmp(glob, "all") == 0;
        for (int i = 0; i < list->n && !compared; i++)
            compared = !results[i].absent && fal_glob_match(glob, list->items[i].name);
        if (!compared) return fal_stop(out, FAL_ERROR, "the oracle holds no tensor for any site of tap '%.80s'", glob);
    }
    return true;
}

/* with.excuse_flips: positions from an excused near-tie of the router on are not compared, since keys, values and experts
   are others from there. Sites that decide about flips are judged as sets, by router_sets. */
typedef struct {
    bool on;        /* asked for, and not so many flips that nothing is excused */
    int first;      /* first position of the request that is excused, or -1 */
    uint64_t rows;  /* left out so far */
} excusal;

static bool decides_flips(fal_site site)
{
    return site == FAL_SITE_expert_ids || site == FAL_SITE_router_logits;
}

/* Whether flips are to be excused at all. False after stopping. */
static bool excuse_flips(const fal_evidence_in *in, const fal_tap_list *list, int n_requests, excusal *e, fal_verdict *out)
{
    fal_flips flips = { 0 };
    int first;
    bool has_ids = false;
    if (!(fal_params_number(&in->check->with, "excuse_flips", 0) > 0)) return true;
    for (int i = 0; i < list->n; i++) has_ids |= list->items[i].site == FAL_SITE_expert_ids;
    if (!has_ids)
        return fal_stop(out, FAL_ERROR, "with excuse_flips the taps must name blk.*.expert_ids and blk.*.router_logits");
    for (int r = 0; r < n_requests; r++)
        if (!fal_flips_add(in, list, r, false, &flips, &first, out)) return false;
    fal_flips_close(in, &flips);
    e->on = !flips.too_many_excused;
    return true;
}

/* Finds where the excuse of a request begins. False after stopping. */
static bool excuse_from(const fal_evidence_in *in, const fal_tap_list *list, int request, excusal *e, fal_verdict *out)
{
    fal_flips ignored = { 0 };
    e->first = -1;
    return !e->on || fal_flips_add(in, list, request, false, &ignored, &e->first, out);
}

/* No flip excuses what is not finite. */
static void leave_out(excusal *e, fal_pair *pair)
{
    size_t at;
    while (e->first >= 0 && pair->n_rows > 0 && fal_pair_position(pair, pair->n_rows - 1) >= (size_t)e->first &&
           fal_non_finite(fal_pair_got(pair, pair->n_rows - 1), &at) == 0) {
        pair->n_rows--;
        e->rows++;
    }
}

void fal_judge_rows(const fal_evidence_in *in, fal_metric_fn metric, bool lower, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    tap_result *results = NULL;
    excusal excuse = { 0 };
    int n_requests = 0;
    fal_scan scan;
    fal_scan_start(&scan, metric, lower);
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "logits", &list, out)) goto out;
    results = calloc((size_t)list.n + 1, sizeof *results);
    if (!results) {
        fal_stop(out, FAL_ERROR, "out of memory while judging %d taps", list.n);
        goto out;
    }
    for (int i = 0; i < list.n; i++) results[i].worst = lower ? (double)INFINITY : -(double)INFINITY;
    int n_absent = 0;
    const bool excuses = fal_params_number(&in->check->with, "excuse_flips", 0) > 0;
    if (!excuse_flips(in, &list, n_requests, &excuse, out)) goto out;
    for (int r = 0; r < n_requests; r++) {
        if (!excuse_from(in, &list, r, &excuse, out)) goto out;
        size_t fewest = SIZE_MAX; /* of all sites: a position counts when every site was compared there */
        for (int i = 0; i < list.n; i++) {
            fal_pair pair;
            if (excuses && decides_flips(list.items[i].site)) continue;
            const fal_pair_status status = fal_pair_of(in, &list.config, r, &list.items[i], &pair, out);
            if (status == FAL_PAIR_STOPPED) goto out;
            results[i].absent = status == FAL_PAIR_ABSENT;
            if (status == FAL_PAIR_ABSENT) {
                n_absent++;
                continue;
            }
            leave_out(&excuse, &pair);
            if (fewest > pair.n_rows) fewest = pair.n_rows;
            double here;
            results[i].beyond += fal_scan_pair(&scan, in, in->got, r, list.items[i].name, &pair, &here, out);
            results[i].rows += pair.n_rows;
            if (lower) fal_lower(&results[i].worst, here);
            else fal_higher(&results[i].worst, here);
        }
        if (fewest < SIZE_MAX) out->n_positions += fewest;
    }
    if (!patterns_compared(in, &list, results, out)) goto out;
    if (scan.rows == 0 && excuse.rows > 0) {
        fal_stop(out, FAL_MISTRUSTED, "every position stands after an excused router flip, so none was judged");
        goto out;
    }
    for (int i = 0; i < list.n && excuses; i++) results[i].absent |= decides_flips(list.items[i].site);
    fal_scan_finish(&scan, in, out);
    if (excuse.rows > 0)
        fal_detail(out, "%llu rows stand after an excused near-tie of the router and were not compared\n",
                   (unsigned long long)excuse.rows);
    list_worst_taps(in, &list, results, lower, out);
    if (n_absent)
        fal_detail(out, "%d tapped sites have no counterpart in the oracle and were not compared\n", n_absent);
out:
    free(results);
    free(list.items);
}

void fal_judge_cosine(const fal_evidence_in *in, fal_verdict *out)
{
    fal_judge_rows(in, fal_cosine, true, out);
}

void fal_judge_rel_l2(const fal_evidence_in *in, fal_verdict *out)
{
    if (in->check->observe == FAL_OBSERVE_OP) fal_judge_op_rel_l2(in, out);
    else fal_judge_rows(in, fal_rel_l2, false, out);
}

/* ---- argmax ---------------------------------------------------------------------------------------------------- */

static const fal_tap *tap_of_site(const fal_tap_list *list, fal_site site)
{
    for (int i = 0; i < list->n; i++)
        if (list->items[i].site == site) return &list->items[i];
    return NULL;
}

typedef struct {
    uint64_t n, differ, excused, after_flip;
    bool any_nonzero, has_many, varies;
} argmax_count;

/* Positions at or after first_excused (when >= 0) may differ: their keys and values, or their own experts, do. */
static void count_argmax(const fal_evidence_in *in, int request, const fal_pair *p, int first_excused, argmax_count *c,
                         fal_verdict *out)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        const fal_row got = fal_pair_got(p, i), want = fal_pair_want(p, i);
        const size_t position = fal_pair_position(p, i), g = fal_argmax(got), w = fal_argmax(want);
        size_t at;
        const bool finite = fal_non_finite(got, &at) == 0 && fal_non_finite(want, &at) == 0;
        const bool may_differ = first_excused >= 0 && position >= (size_t)first_excused;
        c->n++;
        if (may_differ) c->after_flip++;
        if (!c->any_nonzero) c->any_nonzero = !fal_all_zero(got);
        if (g == w && finite) continue;
        if (may_differ && finite) {
            c->excused++;
            fal_detail(out, "excused: request %d position %zu, token %zu for %zu, after a near-tie at position %d\n",
                       request, position, g, w, first_excused);
            continue;
        }
        if (c->differ++ == 0) fal_worst_at(out, in->got, request, "logits", p->got, got.from + g, (double)g, (double)w);
        fal_detail(out, "request %d position %zu: token %zu for %zu%s\n", request, position, g, w,
                   finite ? "" : ", logits not finite");
    }
    if (p->got->n / p->row >= 2 && !c->varies) {
        c->has_many = true;
        c->varies = !fal_rows_constant(p->got, p->row);
    }
}

void fal_judge_argmax(const fal_evidence_in *in, fal_verdict *out)
{
    const bool excuse = fal_params_number(&in->check->with, "excuse_flips", 0) > 0;
    fal_tap_list list = { 0 };
    fal_flips flips = { 0 };
    argmax_count c = { 0 };
    int n_requests = 0;
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "logits", &list, out)) goto out;
    const fal_tap *const logits = tap_of_site(&list, FAL_SITE_logits);
    if (!logits || (excuse && !tap_of_site(&list, FAL_SITE_expert_ids))) {
        fal_stop(out, FAL_ERROR, "the taps of judgement argmax must name %s",
                 logits ? "blk.*.expert_ids and blk.*.router_logits" : "logits");
        goto out;
    }
    /* flips first: too many of them excuse nothing */
    int first = -1;
    for (int r = 0; r < n_requests && excuse; r++)
        if (!fal_flips_add(in, &list, r, false, &flips, &first, out)) goto out;
    fal_flips_close(in, &flips);
    for (int r = 0; r < n_requests; r++) {
        fal_pair pair;
        fal_flips ignored = { 0 };
        first = -1;
        if (excuse && !flips.too_many_excused && !fal_flips_add(in, &list, r, false, &ignored, &first, out)) goto out;
        const fal_pair_status status = fal_pair_of(in, &list.config, r, logits, &pair, out);
        if (status != FAL_PAIR_READY) goto out;
        count_argmax(in, r, &pair, first, &c, out);
    }
    fal_give(out, (double)c.differ, c.n, "%llu of %llu positions differ, %llu more are excused by router near-ties%s",
             (unsigned long long)c.differ, (unsigned long long)c.n, (unsigned long long)c.excused,
             flips.too_many_excused ? " (none: too many flips)" : "");
    out->n_positions = c.n - c.after_flip;
    if (c.n == 0) goto out;
    if (!c.any_nonzero) fal_doubt(out, "all logits are zero");
    if (c.has_many && !c.varies)
        fal_doubt(out, "the logits are the same at every position, so they do not depend on the tokens");
    if (c.after_flip == c.n) fal_doubt(out, "every position stands after an excused router flip, so none was judged");
out:
    free(list.items);
}

/* ---- router sets ----------------------------------------------------------------------------------------------- */

void fal_judge_router_sets(const fal_evidence_in *in, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    fal_flips f = { 0 };
    int n_requests = 0, first = -1;
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "blk.*.expert_ids", &list, out)) goto out;
    for (int r = 0; r < n_requests; r++)
        if (!fal_flips_add(in, &list, r, true, &f, &first, out)) goto out;
    fal_flips_close(in, &f);
    uint64_t n_layers = 0;
    for (int i = 0; i < list.n; i++) n_layers += list.items[i].site == FAL_SITE_expert_ids;
    out->n_positions = n_layers ? f.n_sets / n_layers : 0;
    fal_give(out, (double)f.n_unexcused, f.n_sets,
             "%llu of %llu expert sets differ, %llu more are near-ties of the reference%s",
             (unsigned long long)f.n_unexcused, (unsigned long long)f.n_sets, (unsigned long long)f.n_excused,
             f.n_sets ? "" : " (the taps name no blk.*.expert_ids)");
    if (f.too_many_excused)
        fal_refute(out, "%llu of %llu expert sets are excused as near-ties, more than the share of %g that may be",
                   (unsigned long long)f.n_excused, (unsigned long long)f.n_sets,
                   fal_params_number(&in->check->with, "max_excused_share", 0.01));
    else if (f.n_sets > 0 && f.all_used)
        fal_doubt(out, "every expert is used for every token, so expert sets cannot differ");
    else if (f.has_neighbours && !f.neighbours_differ)
        fal_doubt(
            out,
            "the reference chooses the same experts at every position, so a router that ignores its input would pass");
out:
    free(list.items);
}
