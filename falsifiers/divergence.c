/* Where two forward passes part: every site of every layer under the metric and the limits of the teacher-forced checks. */
#include "falsifiers/divergence.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARALLEL_FROM = 1 << 18 }; /* elements; below, starting threads takes longer than the work */

const char *fal_pass_name(fal_pass pass)
{
    static const char *const names[FAL_N_PASSES] = { "local", "accumulated", "pinned" };
    return (unsigned)pass < FAL_N_PASSES ? names[pass] : "unknown";
}

fal_status fal_divergence_make(const fal_config *c, fal_divergence_table *out, fal_error *err)
{
    static const char *const all[] = { "all" };
    const fal_check check = { .taps = all, .n_taps = 1 };
    const fal_evidence_in in = { .check = &check, .config = c };
    fal_tap_list list = { 0 };
    fal_verdict v = { 0 };
    *out = (fal_divergence_table){ .config = *c };
    if (!fal_taps_make(&in, "all", &list, &v)) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s", v.reason);
    out->rows = calloc((size_t)list.n + 1, sizeof *out->rows);
    if (!out->rows) {
        free(list.items);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for %d ops", list.n);
    }
    out->n = list.n;
    for (int i = 0; i < list.n; i++) {
        out->rows[i].tap = list.items[i];
        if (list.items[i].site != FAL_SITE_expert_ids) continue;
        out->rows[i].limit = (fal_limit){ .kind = FAL_LIMIT_EQUAL, .value = 0 };
        out->rows[i].has_limit = true;
    }
    free(list.items);
    return FAL_OK;
}

void fal_divergence_free(fal_divergence_table *t)
{
    if (!t) return;
    free(t->rows);
    *t = (fal_divergence_table){ 0 };
}

void fal_divergence_limit(fal_divergence_table *t, const fal_check *check)
{
    if (check->limit.kind != FAL_LIMIT_MAX) return;
    for (int i = 0; i < t->n; i++) {
        fal_divergence_row *const r = &t->rows[i];
        bool named = check->n_taps == 0 && r->tap.site == FAL_SITE_logits;
        for (int g = 0; g < check->n_taps && !named; g++)
            named = strcmp(check->taps[g], "all") == 0 || fal_glob_match(check->taps[g], r->tap.name);
        if (!named || r->tap.site == FAL_SITE_expert_ids) continue;
        if (r->has_limit && r->limit.value <= check->limit.value) continue;
        r->limit = check->limit;
        r->has_limit = true;
    }
}

/* Rows of one request; keeps the worst of all requests. */
static bool compare_rows(fal_divergence_row *r, fal_divergence *d, int request, const fal_pair *p)
{
    double *values = malloc((p->n_rows + 1) * sizeof *values);
    if (!values) return false;
        /* a row knows nothing of the others; what is done with its value keeps its order */
#pragma omp parallel for schedule(static) if (p->n_rows * p->row > PARALLEL_FROM)
    for (size_t i = 0; i < p->n_rows; i++) values[i] = fal_rel_l2(fal_pair_got(p, i), fal_pair_want(p, i));
    for (size_t i = 0; i < p->n_rows; i++) {
        if (r->has_limit && !fal_limit_holds(&r->limit, values[i])) d->beyond++;
        if (d->rows++ == 0) d->value = -(double)INFINITY;
        if (!fal_higher(&d->value, values[i])) continue;
        const fal_row got = fal_pair_got(p, i), want = fal_pair_want(p, i);
        d->request = request;
        d->position = fal_pair_position(p, i);
        d->element = fal_furthest(got, want);
        d->got = fal_row_at(got, d->element);
        d->want = fal_row_at(want, d->element);
    }
    free(values);
    return true;
}

static bool row_contains(fal_row ids, double id)
{
    for (size_t i = 0; i < ids.n; i++)
        if (fal_row_at(ids, i) >= id && fal_row_at(ids, i) <= id) return true;
    return false;
}

/* Expert sets of one request. */
static bool compare_sets(fal_divergence_row *r, fal_divergence *d, const fal_evidence_in *in, const fal_config *c,
                         int request, const fal_pair *p, fal_verdict *v)
{
    fal_tap_list one = { .items = &r->tap, .n = 1, .config = *c };
    fal_flips flips = { 0 };
    int first = -1;
    if (!fal_flips_add(in, &one, request, false, &flips, &first, v)) return false;
    const uint64_t differ = flips.n_excused + flips.n_unexcused;
    d->rows += flips.n_sets;
    d->beyond += differ;
    d->excused += flips.n_excused;
    fal_higher(&d->gap, flips.widest_gap);
    for (size_t i = 0; i < p->n_rows && differ > 0 && !(d->value > 0); i++) {
        const fal_row got = fal_pair_got(p, i), want = fal_pair_want(p, i);
        for (size_t e = 0; e < got.n; e++) {
            if (row_contains(want, fal_row_at(got, e))) continue;
            d->request = request;
            d->position = fal_pair_position(p, i);
            d->element = e;
            d->got = fal_row_at(got, e);
            d->want = fal_row_at(want, e);
            i = p->n_rows - 1;
            break;
        }
    }
    d->value += (double)differ;
    return true;
}

fal_status fal_divergence_add(fal_divergence_table *t, fal_pass pass, const fal_observation *got,
                              const fal_observation *want, const fal_check *router, fal_error *err)
{
    static const fal_observe_kind kinds[FAL_N_PASSES] = { FAL_OBSERVE_TEACHER, FAL_OBSERVE_FORWARD,
                                                          FAL_OBSERVE_PINNED };
    fal_check check = { .observe = kinds[pass], .against = FAL_AGAINST_REFERENCE };
    if (router) check.with = router->with;
    const fal_evidence_in in = { .check = &check, .got = got, .want = want, .config = &t->config, .oracle_prompt = -1 };
    if (got->n_requests != want->n_requests)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %d requests, the reference's observation has %d", got->path,
                        got->n_requests, want->n_requests);
    for (int i = 0; i < t->n; i++) {
        fal_divergence_row *const r = &t->rows[i];
        fal_divergence *const d = &r->pass[pass];
        fal_verdict v = { 0 };
        *d = (fal_divergence){ 0 };
        for (int request = 0; request < want->n_requests; request++) {
            fal_pair p;
            if (fal_pair_of(&in, &t->config, request, &r->tap, &p, &v) != FAL_PAIR_READY)
                return fal_fail(err, FAL_ERR_INPUT, NULL, "%s pass: %s", fal_pass_name(pass), v.reason);
            if (r->tap.site != FAL_SITE_expert_ids && !compare_rows(r, d, request, &p))
                return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for %zu rows", p.n_rows);
            if (r->tap.site == FAL_SITE_expert_ids && !compare_sets(r, d, &in, &t->config, request, &p, &v))
                return fal_fail(err, FAL_ERR_INPUT, NULL, "%s pass: %s", fal_pass_name(pass), v.reason);
            fal_observation_let_go(got, p.got);
            fal_observation_let_go(want, p.want);
        }
        d->has = d->rows > 0;
        if (pass != FAL_PASS_LOCAL) continue;
        r->breaks = r->has_limit && !(d->has && fal_limit_holds(&r->limit, d->value));
        r->marginal = r->has_limit && !r->breaks && r->limit.has_warn && !(d->value <= r->limit.warn);
    }
    return FAL_OK;
}

int fal_divergence_first(const fal_divergence_table *t)
{
    for (int i = 0; i < t->n; i++)
        if (t->rows[i].breaks) return i;
    return -1;
}
