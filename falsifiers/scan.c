/* Comparing many rows under one metric, while watching whether the comparison could have failed at all. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdlib.h>

enum { PARALLEL_FROM = 1 << 18 }; /* elements; below, starting threads takes longer than the work */

void fal_scan_start(fal_scan *s, fal_metric_fn metric, bool lower)
{
    *s = (fal_scan){ .metric = metric, .lower = lower, .worst = lower ? (double)INFINITY : -(double)INFINITY };
}

static bool worse(const fal_scan *s, double *worst, double v)
{
    return s->lower ? fal_lower(worst, v) : fal_higher(worst, v);
}

uint64_t fal_scan_pair(fal_scan *s, const fal_evidence_in *in, const fal_observation *o, int request, const char *name,
                       const fal_pair *p, double *worst_here, fal_verdict *out)
{
    const fal_limit *const limit = &in->check->limit;
    uint64_t beyond = 0;
    double here = s->lower ? (double)INFINITY : -(double)INFINITY;
    /* the metric is most of the work, and a row knows nothing of the others; what is done with it keeps its order */
    double *values = malloc((p->n_rows + 1) * sizeof *values);
#pragma omp parallel for schedule(static) if (p->n_rows * p->row > PARALLEL_FROM)
    for (size_t i = 0; i < (values ? p->n_rows : 0); i++) values[i] = s->metric(fal_pair_got(p, i), fal_pair_want(p, i));
    for (size_t i = 0; i < p->n_rows; i++) {
        const fal_row got = fal_pair_got(p, i), want = fal_pair_want(p, i);
        const double v = values ? values[i] : s->metric(got, want);
        worse(s, &here, v);
        if (!fal_limit_holds(limit, v)) beyond++;
        if (worse(s, &s->worst, v)) {
            const size_t e = fal_furthest(got, want);
            size_t at;
            s->want_not_finite = fal_non_finite(want, &at) > 0;
            fal_worst_at(out, o, request, name, p->got, got.from + e, fal_row_at(got, e), fal_row_at(want, e));
        }
        if (!s->any_nonzero) s->any_nonzero = !fal_all_zero(got) || !fal_all_zero(want);
        /* the control: would the reference's row of the next position have passed here? */
        if (p->n_rows >= 2 && !s->neighbours_differ) {
            s->has_neighbours = true;
            s->neighbours_differ = !fal_limit_holds(limit, s->metric(fal_pair_want(p, (i + 1) % p->n_rows), want));
        }
    }
    free(values);
    if (p->got->n / p->row >= 2 && !s->got_varies) {
        s->has_many = true;
        s->got_varies = !fal_rows_constant(p->got, p->row);
    }
    s->rows += p->n_rows;
    s->beyond += beyond;
    if (worst_here) *worst_here = here;
    return beyond;
}

void fal_scan_finish(const fal_scan *s, const fal_evidence_in *in, fal_verdict *out)
{
    (void)in;
    fal_give(out, s->worst, s->rows, "%llu of %llu rows break the limit%s", (unsigned long long)s->beyond,
             (unsigned long long)s->rows,
             s->want_not_finite ? "; the side compared with is itself not finite there" : "");
    if (s->rows == 0) return;
    if (!s->any_nonzero)
        fal_doubt(out, "all %llu rows are zero on both sides, so a kernel that writes nothing but zeros would pass",
                  (unsigned long long)s->rows);
    if (s->has_many && !s->got_varies)
        fal_doubt(out, "the outputs are the same at every position, so they do not depend on the tokens");
    if (s->has_neighbours && !s->neighbours_differ)
        fal_doubt(out, "each row of the side compared with would have passed in its neighbour's place, so the limit "
                       "cannot tell positions apart");
}
