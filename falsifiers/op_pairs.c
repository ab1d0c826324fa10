/* What two requests of an op must have in common: scaling, changes that must not matter, relative positions. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double worst;
    uint64_t n, n_outputs, bad;
    bool any_nonzero;
    int n_pairs, n_unchanged; /* pairs of requests; of those, pairs whose requests are the same */
} pair_tally;

/* out.<arg> of both requests of a pair, with one type and as many elements. */
static bool both_outputs(const fal_op_case *c, int r, const char *arg, const fal_obs_tensor **a,
                         const fal_obs_tensor **b)
{
    *a = fal_op_out(c, r, arg);
    *b = *a ? fal_op_out(c, r + 1, arg) : NULL;
    if (!*b) return false;
    if ((*a)->dtype == (*b)->dtype && (*a)->n == (*b)->n) return true;
    return fal_stop(c->out, FAL_ERROR,
                    "out.%s has %zu elements in request %d and %zu in request %d: they cannot be compared", arg,
                    (*a)->n, r, (*b)->n, r + 1);
}

static void note_output(pair_tally *p, const fal_op_case *c, int r, const char *arg, const fal_obs_tensor *b,
                        fal_row want, size_t e, double v)
{
    char name[48];
    const fal_row got = fal_row_whole(b);
    snprintf(name, sizeof name, "out.%s", arg);
    p->n += b->n;
    p->n_outputs++;
    if (!p->any_nonzero) p->any_nonzero = !fal_all_zero(got);
    if (!fal_limit_holds(&c->in->check->limit, v)) {
        p->bad++;
        if (b->n > 0)
            fal_detail(c->out, "request %d against %d, %s: %.6g, got %.9g for %.9g at element %zu\n", r + 1, r, name, v,
                       fal_row_at(got, e), fal_row_at(want, e), e);
    }
    if (fal_higher(&p->worst, v) && b->n > 0)
        fal_worst_at(c->out, c->in->got, r + 1, name, b, e, fal_row_at(got, e), fal_row_at(want, e));
}

/* `then` that asks for no change (x_scale: 1, x_shift: 0) repeats a request on purpose: a test of determinism. */
static bool asks_for_repetition(const fal_check *check)
{
    for (int i = 0; i < check->then.n_params; i++) {
        const fal_param *const p = &check->then.params[i];
        const double neutral = strcmp(p->name, "x_scale") == 0 ? 1 : strcmp(p->name, "x_shift") == 0 ? 0 : NAN;
        if (p->text || !(p->number >= neutral && p->number <= neutral)) return false;
    }
    return true;
}

static void doubt_pairs(const fal_op_case *c, const pair_tally *p, bool may_repeat)
{
    fal_op_doubt_zero(c, p->any_nonzero);
    if (may_repeat && asks_for_repetition(c->in->check)) return;
    if (p->n_pairs > 0 && p->n_unchanged == p->n_pairs)
        fal_doubt(c->out, "`then` changed neither an input nor a parameter, so both requests are the same one");
}

/* Request 2i + 1 against sign * request 2i: numbers by relative L2, ids by how many differ. */
static bool compare_scaled(const fal_op_case *c, int r, const char *arg, double sign, pair_tally *p)
{
    const fal_obs_tensor *a, *b;
    if (!both_outputs(c, r, arg, &a, &b)) return false;
    double *const want = calloc(a->n ? a->n : 1, sizeof *want);
    if (!want) return fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", a->n);
    uint64_t differ = 0;
    for (size_t i = 0; i < a->n; i++) {
        /* an invalid first output must not be copied into the truth */
        want[i] = fal_row_valid(fal_row_whole(a), i) ? sign * fal_row_at(fal_row_whole(a), i) : NAN;
        const double g = fal_row_at(fal_row_whole(b), i);
        if (!(g <= want[i] && g >= want[i])) differ++;
    }
    const fal_row w = fal_row_doubles(want, a->n);
    const double v = a->dtype == FAL_DTYPE_I32 ? (double)differ : fal_rel_l2(fal_row_whole(b), w);
    if (!p->any_nonzero) p->any_nonzero = !fal_all_zero(w);
    note_output(p, c, r, arg, b, w, a->n ? fal_furthest(fal_row_whole(b), w) : 0, v);
    free(want);
    return true;
}

static bool compare_pairs(const fal_op_case *c, double sign, pair_tally *p)
{
    for (int r = 0; r < c->n_requests; r += 2) {
        p->n_pairs++;
        if (fal_op_same_request(c, r, r + 1)) p->n_unchanged++;
        for (const char *const *arg = fal_op_outputs(fal_op_of(c, r)); *arg; arg++)
            if (!compare_scaled(c, r, *arg, strcmp(*arg, "ids") != 0 ? sign : 1, p)) return false;
    }
    return true;
}

static void give_pairs(const fal_op_case *c, const pair_tally *p)
{
    fal_give(c->out, p->worst, p->n, "%llu of %llu outputs break the limit", (unsigned long long)p->bad,
             (unsigned long long)p->n_outputs);
    doubt_pairs(c, p, false);
}

void fal_judge_equal_outputs(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    pair_tally p = { .worst = -(double)INFINITY };
    if (fal_op_open_pairs(in, out, &c) && compare_pairs(&c, 1, &p)) give_pairs(&c, &p);
}

void fal_judge_scale_invariance(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    pair_tally p = { .worst = -(double)INFINITY };
    const double s = fal_params_number(&in->check->then, "x_scale", NAN);
    if (!isfinite(s) || !(fabs(s) > 0)) {
        fal_stop(out, FAL_ERROR, "judgement scale_invariance needs a finite then.x_scale other than 0");
        return;
    }
    if (!fal_op_open_pairs(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r += 2) {
        const fal_obs_tensor *const x0 = fal_op_in(&c, r, "x"), *const x1 = x0 ? fal_op_in(&c, r + 1, "x") : NULL;
        if (!x1) return;
        bool scaled = x0->dtype == FAL_DTYPE_F32 && x1->dtype == FAL_DTYPE_F32 && x0->n == x1->n;
        for (size_t i = 0; scaled && i < x0->n; i++) {
            const double want = (double)(float)(s * fal_row_at(fal_row_whole(x0), i)),
                         got = fal_row_at(fal_row_whole(x1), i);
            scaled = got <= want && got >= want;
        }
        if (!scaled) {
            fal_stop(out, FAL_ERROR, "in.x of request %d is not %g times that of request %d", r + 1, s, r);
            return;
        }
    }
    if (compare_pairs(&c, s < 0 ? -1 : 1, &p)) give_pairs(&c, &p);
}

void fal_judge_same_out_bits(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    pair_tally p = { 0 };
    if (!fal_op_open_pairs(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r += 2) {
        p.n_pairs++;
        if (fal_op_same_request(&c, r, r + 1)) p.n_unchanged++;
        for (const char *const *arg = fal_op_outputs(fal_op_of(&c, r)); *arg; arg++) {
            const fal_obs_tensor *a, *b;
            if (!both_outputs(&c, r, *arg, &a, &b)) return;
            size_t first = 0;
            const fal_row got = fal_row_whole(b), want = fal_row_whole(a);
            const uint64_t differ = fal_bits_different(got, want, &first);
            char name[48];
            snprintf(name, sizeof name, "out.%s", *arg);
            if (differ > 0 && p.bad == 0)
                fal_worst_at(out, in->got, r + 1, name, b, first, fal_row_at(got, first), fal_row_at(want, first));
            if (differ > 0)
                fal_detail(out, "request %d against %d: %llu of %zu elements of %s\n", r + 1, r,
                           (unsigned long long)differ, b->n, name);
            if (!p.any_nonzero) p.any_nonzero = !fal_all_zero(got);
            p.bad += differ;
            p.n += b->n;
        }
    }
    fal_give(out, (double)p.bad, p.n, "%llu of %llu elements differ or are invalid", (unsigned long long)p.bad,
             (unsigned long long)p.n);
    doubt_pairs(&c, &p, true);
}

/* ---- rope: relative positions ---------------------------------------------------------------------------------- */

/* x, y0, y1: [n_tokens, n_head, head_dim]; a row is one head of one token. */
static fal_row head_row(const fal_obs_tensor *t, size_t token, size_t head)
{
    const size_t n_head = (size_t)t->ne[1], head_dim = (size_t)t->ne[2];
    return fal_row_part(t, (token * n_head + head) * head_dim, head_dim);
}

static double dot(fal_row a, fal_row b)
{
    double sum = 0;
    for (size_t i = 0; i < a.n; i++) sum += fal_row_at(a, i) * fal_row_at(b, i);
    return sum;
}

void fal_judge_relative_position(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    pair_tally p = { .worst = -(double)INFINITY };
    bool moved = false;
    if (!fal_op_open_pairs(in, out, &c) || !fal_op_is(&c, "rope")) return;
    for (int r = 0; r < c.n_requests; r += 2) {
        int64_t n_tokens = -1, n_head = -1, head_dim = -1;
        const fal_obs_tensor *const x = fal_op_in_shape(&c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
        const fal_obs_tensor *const x1 =
            x ? fal_op_in_shape(&c, r + 1, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim) : NULL;
        const fal_obs_tensor *const y0 = x1 ? fal_op_out(&c, r, "y") : NULL, *const y1 =
                                                                                 y0 ? fal_op_out(&c, r + 1, "y") : NULL;
        if (!y1) return;
        if (!fal_same_bytes(fal_row_whole(x), fal_row_whole(x1))) {
            fal_stop(out, FAL_ERROR, "in.x of requests %d and %d differ, so products cannot be compared", r, r + 1);
            return;
        }
        p.n_pairs++;
        if (fal_op_same_request(&c, r, r + 1)) p.n_unchanged++;
        if (!fal_same_bytes(fal_row_whole(y0), fal_row_whole(y1))) moved = true;
        if (!p.any_nonzero) p.any_nonzero = !fal_all_zero(fal_row_whole(y0));
        for (size_t h = 0; h < (size_t)n_head; h++)
            for (size_t i = 0; i < (size_t)n_tokens; i++)
                for (size_t j = i + 1; j < (size_t)n_tokens; j++) {
                    const fal_row xi = head_row(x, i, h), xj = head_row(x, j, h);
                    const double d0 = dot(head_row(y0, i, h), head_row(y0, j, h)),
                                 d1 = dot(head_row(y1, i, h), head_row(y1, j, h));
                    const double scale = sqrt(dot(xi, xi)) * sqrt(dot(xj, xj)), d = fabs(d1 - d0);
                    const double v = scale > 0 ? d / scale : d > 0 ? (double)INFINITY : d;
                    p.n++;
                    if (!fal_limit_holds(&in->check->limit, v)) p.bad++;
                    if (fal_higher(&p.worst, v))
                        fal_worst_at(out, in->got, r + 1, "out.y", y1, head_row(y1, j, h).from, d1, d0);
                }
    }
    fal_give(out, p.worst, p.n, "%llu of %llu products of two tokens break the limit", (unsigned long long)p.bad,
             (unsigned long long)p.n);
    doubt_pairs(&c, &p, false);
    if (p.n > 0 && !moved)
        fal_doubt(out, "both first positions gave the same bits, so nothing seems to have been rotated");
}
