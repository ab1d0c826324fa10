/* An op's outputs against the reference's: relative L2, bits, and largest absolute difference. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>

typedef enum { BY_L2, BY_BITS, BY_ABS } difference;

typedef struct {
    double worst;
    uint64_t n, bad;
    bool any_nonzero;
    char named[160]; /* the weights that are to blame, where outputs tell */
} difference_count;

/* Numbers by the metric; ids by how many of them differ, since half a neighbour's id is no smaller error. */
static double measure(difference how, fal_row got, fal_row want, size_t *at)
{
    *at = fal_furthest(got, want);
    const uint64_t differ = how == BY_BITS || got.t->dtype == FAL_DTYPE_I32 ? fal_bits_different(got, want, at) : 0;
    if (how == BY_BITS || got.t->dtype == FAL_DTYPE_I32) return (double)differ;
    return how == BY_L2 ? fal_rel_l2(got, want) : fal_max_abs(got, want);
}

static bool count_output(const fal_op_case *c, const fal_observation *other, fal_side side, int r, const char *arg,
                         difference how, difference_count *d)
{
    char name[48];
    snprintf(name, sizeof name, "out.%s", arg);
    const fal_obs_tensor *const want = fal_need(c->out, other, side, r, name);
    const fal_obs_tensor *const got = want ? fal_op_out(c, r, arg) : NULL;
    if (!got || !fal_need_shape(c->out, side, name, want, got->dtype, got->n_dims, got->ne)) return false;
    if (got->n == 0)
        return fal_stop(c->out, FAL_FALSIFIED, "request %d: %s holds no element, so nothing is shown", r, name);
    const fal_row g = fal_row_whole(got), w = fal_row_whole(want);
    size_t at;
    const double v = measure(how, g, w, &at);
    const bool first = d->n == 0;
    d->n += got->n;
    if (!fal_limit_holds(&c->in->check->limit, v)) d->bad++;
    if (!d->any_nonzero) d->any_nonzero = !fal_all_zero(g) || !fal_all_zero(w);
    const bool further = how == BY_BITS ? v > 0 && !(d->worst > 0) : fal_higher(&d->worst, v);
    if (how == BY_BITS) d->worst = (first ? 0 : d->worst) + v;
    if (further) fal_worst_at(c->out, c->in->got, r, name, got, at, fal_row_at(g, at), fal_row_at(w, at));
    if (how == BY_BITS && v > 0 && !d->named[0]) fal_blocks_name(c, r, got, want, d->named, sizeof d->named);
    if (!fal_limit_holds(&c->in->check->limit, v))
        fal_detail(c->out, "request %d %s: %.6g, got %.9g for %.9g at element %zu\n", r, name, v, fal_row_at(g, at),
                   fal_row_at(w, at), at);
    return true;
}

static void judge_difference(const fal_evidence_in *in, difference how, fal_verdict *out)
{
    fal_op_case c;
    difference_count d = { .worst = -(double)INFINITY };
    uint64_t n_outputs = 0;
    const fal_observation *const other = fal_other(in, out);
    const fal_side side = in->check->against == FAL_AGAINST_SELF ? FAL_SIDE_AGAIN : FAL_SIDE_WANT;
    if (!other || !fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++)
        for (const char *const *arg = fal_op_outputs(fal_op_of(&c, r)); *arg; arg++, n_outputs++)
            if (!count_output(&c, other, side, r, *arg, how, &d)) return;
    fal_give(out, d.worst, d.n, "%llu of %llu outputs break the limit%s%s", (unsigned long long)d.bad,
             (unsigned long long)n_outputs, d.named[0] ? "; they blame " : "", d.named);
    fal_op_doubt_zero(&c, d.any_nonzero);
}

void fal_judge_op_rel_l2(const fal_evidence_in *in, fal_verdict *out)
{
    judge_difference(in, BY_L2, out);
}

void fal_judge_exact(const fal_evidence_in *in, fal_verdict *out)
{
    judge_difference(in, BY_BITS, out);
}

void fal_judge_max_abs(const fal_evidence_in *in, fal_verdict *out)
{
    judge_difference(in, BY_ABS, out);
}
