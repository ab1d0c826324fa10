/* What an op's outputs must satisfy by themselves: ranges, sums, order, hulls, and values known without a formula. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Counts of violations, or the worst value, over all requests. */
typedef struct {
    double worst;
    uint64_t n, bad;
    bool any_nonzero;
} tally;

static double at(const fal_obs_tensor *t, size_t i)
{
    return fal_row_at(fal_row_whole(t), i);
}

static bool valid_at(const fal_obs_tensor *t, size_t i)
{
    return fal_row_valid(fal_row_whole(t), i);
}

static void tally_zero(tally *y, const fal_obs_tensor *t)
{
    if (!y->any_nonzero) y->any_nonzero = !fal_all_zero(fal_row_whole(t));
}

/* One value v at element e of out.<arg>; want is what would have been right there. */
static void tally_value(tally *y, const fal_op_case *c, int r, const char *arg, const fal_obs_tensor *t, size_t e,
                        double v, double want)
{
    char name[48];
    snprintf(name, sizeof name, "out.%s", arg);
    y->n++;
    if (!fal_limit_holds(&c->in->check->limit, v)) y->bad++;
    if (fal_higher(&y->worst, v)) fal_worst_at(c->out, c->in->got, r, name, t, e, at(t, e), want);
}

/* One thing that is right or wrong; the first wrong one is the worst place. */
static void tally_bool(tally *y, const fal_op_case *c, int r, const char *arg, const fal_obs_tensor *t, size_t e,
                       bool ok, double want)
{
    char name[48];
    snprintf(name, sizeof name, "out.%s", arg);
    y->n++;
    if (!ok && y->bad++ == 0) fal_worst_at(c->out, c->in->got, r, name, t, e, at(t, e), want);
}

static tally start(void)
{
    return (tally){ .worst = -(double)INFINITY };
}

static void give_values(const fal_op_case *c, const tally *y, const char *what)
{
    fal_give(c->out, y->worst, y->n, "%llu of %llu %s break the limit", (unsigned long long)y->bad,
             (unsigned long long)y->n, what);
    fal_op_doubt_zero(c, y->any_nonzero);
}

static void give_count(const fal_op_case *c, const tally *y, const char *what)
{
    fal_give(c->out, (double)y->bad, y->n, "%llu of %llu %s are wrong", (unsigned long long)y->bad,
             (unsigned long long)y->n, what);
    fal_op_doubt_zero(c, y->any_nonzero);
}

/* Ids are no measured numbers: where an op also gives numbers, only these are looked at. */
static bool looked_at(const fal_op_case *c, int r, const char *arg)
{
    return strcmp(arg, "ids") != 0 || strcmp(fal_op_of(c, r), "argmax") == 0;
}

/* ---- values by themselves -------------------------------------------------------------------------------------- */

void fal_judge_in_range(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    const double low = fal_params_number(&in->check->with, "low", NAN),
                 high = fal_params_number(&in->check->with, "high", NAN);
    if (!(low <= high)) {
        fal_stop(out, FAL_ERROR, "judgement in_range needs with.low <= with.high, found %g and %g", low, high);
        return;
    }
    if (!fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++)
        for (const char *const *arg = fal_op_outputs(fal_op_of(&c, r)); *arg; arg++) {
            const fal_obs_tensor *const t = looked_at(&c, r, *arg) ? fal_op_out(&c, r, *arg) : NULL;
            if (!t && looked_at(&c, r, *arg)) return;
            for (size_t i = 0; t && i < t->n; i++) {
                const double v = at(t, i);
                tally_bool(&y, &c, r, *arg, t, i, v >= low && v <= high, v < low ? low : high);
            }
            if (t) tally_zero(&y, t);
        }
    give_count(&c, &y, "elements");
}

void fal_judge_row_sum(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    if (!fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++) {
        const char *const arg = strcmp(fal_op_of(&c, r), "router") == 0 ? "weights" : "y";
        const fal_obs_tensor *const t = fal_op_out(&c, r, arg);
        if (!t) return;
        const size_t width = (size_t)t->ne[t->n_dims - 1];
        for (size_t from = 0; from < t->n; from += width) {
            double sum = 0;
            for (size_t i = 0; i < width; i++) sum += at(t, from + i);
            tally_value(&y, &c, r, arg, t, from, fabs(sum - 1), 1);
            if (fabs(sum - 1) >= y.worst) out->got = sum; /* the sum is what is wrong, not its first element */
        }
        tally_zero(&y, t);
    }
    give_values(&c, &y, "rows");
}

void fal_judge_constant(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    const double expect = fal_params_number(&in->check->with, "expect", NAN);
    if (!isfinite(expect)) {
        fal_stop(out, FAL_ERROR, "judgement constant needs a finite with.expect");
        return;
    }
    if (!fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++)
        for (const char *const *arg = fal_op_outputs(fal_op_of(&c, r)); *arg; arg++) {
            const fal_obs_tensor *const t = looked_at(&c, r, *arg) ? fal_op_out(&c, r, *arg) : NULL;
            if (!t && looked_at(&c, r, *arg)) return;
            for (size_t i = 0; t && i < t->n; i++) tally_value(&y, &c, r, *arg, t, i, fabs(at(t, i) - expect), expect);
            if (t) tally_zero(&y, t);
        }
    give_values(&c, &y, "elements");
}

/* ---- router ---------------------------------------------------------------------------------------------------- */

/* One token: ids in range, distinct, probabilities descending, and none left out that is larger than the last one. */
static void order_of_token(const fal_op_case *c, int r, const fal_obs_tensor *ids, fal_row probs, size_t from,
                           size_t used, tally *y)
{
    double last = (double)INFINITY;
    for (size_t s = 0; s < used; s++) {
        const double id = at(ids, from + s);
        bool ok = id >= 0 && id < (double)probs.n;
        for (size_t i = 0; i < s && ok; i++) ok = id < at(ids, from + i) || id > at(ids, from + i);
        if (ok) ok = fal_row_at(probs, (size_t)id) <= last;
        tally_bool(y, c, r, "ids", ids, from + s, ok, -1);
        if (ok) last = fal_row_at(probs, (size_t)id);
    }
    for (size_t e = 0; e < probs.n; e++) {
        bool chosen = false;
        for (size_t s = 0; s < used; s++)
            chosen = chosen || (at(ids, from + s) >= (double)e && at(ids, from + s) <= (double)e);
        if (!chosen) tally_bool(y, c, r, "ids", ids, from + used - 1, fal_row_at(probs, e) <= last, (double)e);
    }
}

void fal_judge_ordered(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    bool differ = false;
    if (!fal_op_open(in, out, &c) || !fal_op_is(&c, "router")) return;
    for (int r = 0; r < c.n_requests; r++) {
        int64_t n_tokens = -1, n_expert = -1;
        const fal_obs_tensor *const probs = fal_op_in_shape(&c, r, "probs", FAL_DTYPE_F32, 2, &n_tokens, &n_expert);
        const fal_obs_tensor *const ids = probs ? fal_op_out(&c, r, "ids") : NULL;
        if (!ids) return;
        const size_t used = (size_t)ids->ne[1];
        for (size_t t = 0; t < (size_t)n_tokens && used > 0; t++) {
            const fal_row row = fal_row_part(probs, t * (size_t)n_expert, (size_t)n_expert);
            order_of_token(&c, r, ids, row, t * used, used, &y);
            for (size_t e = 1; e < row.n && !differ; e++)
                differ = fal_row_at(row, e) < fal_row_at(row, 0) || fal_row_at(row, e) > fal_row_at(row, 0);
        }
    }
    y.any_nonzero =
        true; /* ids may all be 0 when there is one expert; probabilities below say whether this means anything */
    give_count(&c, &y, "places in the order");
    if (y.n > 0 && !differ) fal_doubt(out, "all probabilities of a token are equal, so every order passes");
}

/* ---- copies and hulls ------------------------------------------------------------------------------------------ */

void fal_judge_identity(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    const char *const of = fal_params_text(&in->check->with, "of", "x");
    if (!fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++) {
        const fal_obs_tensor *const x = fal_op_in(&c, r, of), *const t = x ? fal_op_out(&c, r, "y") : NULL;
        if (!t) return;
        if (x->dtype != t->dtype || x->n != t->n) {
            fal_stop(out, FAL_ERROR, "request %d: in.%.30s has %zu elements, out.y has %zu: they cannot be identical",
                     r, of, x->n, t->n);
            return;
        }
        for (size_t i = 0; i < t->n; i++) {
            size_t first;
            tally_bool(&y, &c, r, "y", t, i,
                       fal_bits_different(fal_row_part(t, i, 1), fal_row_part(x, i, 1), &first) == 0, at(x, i));
        }
        tally_zero(&y, t);
    }
    give_count(&c, &y, "elements");
}

/* Inputs and output of attention, with the positions that each token sees. */
typedef struct {
    const fal_obs_tensor *v, *y;
    size_t n_tokens, n_head, head_dim, n_head_kv, first_pos;
} attention;

static bool attention_of(const fal_op_case *c, int r, attention *a)
{
    int64_t n_tokens = -1, n_head = -1, head_dim = -1, n_ctx = -1, n_head_kv = -1;
    const fal_obs_tensor *const q = fal_op_in_shape(c, r, "q", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
    a->v = q ? fal_op_in_shape(c, r, "v_cache", FAL_DTYPE_F32, 3, &n_ctx, &n_head_kv, &head_dim) : NULL;
    a->y = a->v ? fal_op_out(c, r, "y") : NULL;
    if (!a->y) return false;
    const int64_t first_pos = fal_op_number(c, r, "first_pos", 0) > 0 ? fal_op_dim(c, r, "first_pos") : 0;
    if (first_pos < 0 || first_pos + n_tokens > n_ctx || n_head % n_head_kv != 0)
        return fal_stop(c->out, FAL_ERROR, "request %d: first_pos %lld or %lld heads do not fit the cache", r,
                        (long long)first_pos, (long long)n_head);
    a->n_tokens = (size_t)n_tokens;
    a->n_head = (size_t)n_head;
    a->head_dim = (size_t)head_dim;
    a->n_head_kv = (size_t)n_head_kv;
    a->first_pos = (size_t)first_pos;
    return true;
}

/* v_cache[p, g(h), :] */
static fal_row value_row(const attention *a, size_t p, size_t h)
{
    const size_t g = h / (a->n_head / a->n_head_kv);
    return fal_row_part(a->v, (p * a->n_head_kv + g) * a->head_dim, a->head_dim);
}

void fal_judge_single_key(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    if (!fal_op_open(in, out, &c) || !fal_op_is(&c, "attention")) return;
    for (int r = 0; r < c.n_requests; r++) {
        attention a;
        if (!attention_of(&c, r, &a)) return;
        for (size_t t = 0; t < a.n_tokens; t++)
            for (size_t h = 0; h < a.n_head; h++) {
                const fal_row v = value_row(&a, 0, h);
                bool one = true; /* a single visible value, or several that are the same */
                for (size_t p = 1; p <= a.first_pos + t && one; p++) one = fal_same_bytes(v, value_row(&a, p, h));
                if (!one) continue;
                const fal_row got = fal_row_part(a.y, (t * a.n_head + h) * a.head_dim, a.head_dim);
                const size_t e = fal_furthest(got, v);
                tally_value(&y, &c, r, "y", a.y, got.from + e, fal_rel_l2(got, v), fal_row_at(v, e));
            }
        tally_zero(&y, a.y);
    }
    give_values(&c, &y, "head rows with a single visible value");
}

void fal_judge_in_hull(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    if (!fal_op_open(in, out, &c) || !fal_op_is(&c, "attention")) return;
    for (int r = 0; r < c.n_requests; r++) {
        attention a;
        if (!attention_of(&c, r, &a)) return;
        for (size_t t = 0; t < a.n_tokens; t++)
            for (size_t h = 0; h < a.n_head; h++)
                for (size_t i = 0; i < a.head_dim; i++) {
                    const size_t e = (t * a.n_head + h) * a.head_dim + i;
                    double low = (double)INFINITY, high = -(double)INFINITY;
                    for (size_t p = 0; p <= a.first_pos + t; p++) {
                        const double v = fal_row_at(value_row(&a, p, h), i);
                        low = v < low ? v : low;
                        high = v > high ? v : high;
                    }
                    /* rounding of weights that add up to 1 only nearly */
                    const double slack = 1e-6 * fmax(fabs(low), fabs(high)), got = at(a.y, e);
                    tally_bool(&y, &c, r, "y", a.y, e, got >= low - slack && got <= high + slack,
                               got < low ? low : high);
                }
        tally_zero(&y, a.y);
    }
    give_count(&c, &y, "elements");
}

/* ---- swiglu ---------------------------------------------------------------------------------------------------- */

void fal_judge_monotone(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    bool rises = false;
    if (!fal_op_open(in, out, &c) || !fal_op_is(&c, "swiglu")) return;
    for (int r = 0; r < c.n_requests; r++) {
        int64_t n_rows = -1, n_ff = -1;
        const fal_obs_tensor *const gate = fal_op_in_shape(&c, r, "gate", FAL_DTYPE_F32, 2, &n_rows, &n_ff);
        const fal_obs_tensor *const up = gate ? fal_op_in_shape(&c, r, "up", FAL_DTYPE_F32, 2, &n_rows, &n_ff) : NULL;
        const fal_obs_tensor *const t = up ? fal_op_out(&c, r, "y") : NULL;
        if (!t) return;
        for (size_t i = 0; i + 1 < t->n; i++) {
            if ((i + 1) % (size_t)n_ff == 0) continue; /* the next element is of another row */
            const double g0 = at(gate, i), g1 = at(gate, i + 1), u0 = at(up, i), u1 = at(up, i + 1);
            if (!(g0 >= 0 && g1 >= g0 && u0 > 0 && u0 >= u1 && u0 <= u1)) continue;
            const double y0 = at(t, i), y1 = at(t, i + 1);
            tally_bool(&y, &c, r, "y", t, i + 1, valid_at(t, i) && valid_at(t, i + 1) && y1 >= y0, y0);
            if (y1 > y0) rises = true;
        }
        tally_zero(&y, t);
    }
    give_count(&c, &y, "steps");
    if (y.n > 0 && !rises) fal_doubt(out, "the output never rises, so a kernel that writes one constant would pass");
}

/* ---- rope ------------------------------------------------------------------------------------------------------ */

void fal_judge_norm_preserving(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    tally y = start();
    if (!fal_op_open(in, out, &c) || !fal_op_is(&c, "rope")) return;
    for (int r = 0; r < c.n_requests; r++) {
        int64_t n_tokens = -1, n_head = -1, head_dim = -1;
        const fal_obs_tensor *const x = fal_op_in_shape(&c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
        const fal_obs_tensor *const t = x ? fal_op_out(&c, r, "y") : NULL;
        if (!t) return;
        const size_t half = (size_t)head_dim / 2;
        for (size_t head = 0; head < (size_t)(n_tokens * n_head); head++)
            for (size_t i = 0; i < half; i++) {
                const size_t lo = head * (size_t)head_dim + i, hi = lo + half;
                const double before = hypot(at(x, lo), at(x, hi)), after = hypot(at(t, lo), at(t, hi));
                /* a pair without length must stay so; hypot(inf, NaN) is inf, so NaN is looked for first */
                double v = before > 0 ? fabs(after / before - 1) : after > 0 ? (double)INFINITY : after;
                if (!valid_at(t, lo) || !valid_at(t, hi)) v = NAN;
                tally_value(&y, &c, r, "y", t, lo, v, at(t, lo));
                if (y.n == y.bad || !(v < y.worst)) {
                    out->got = after;
                    out->want = before;
                }
            }
        tally_zero(&y, t);
    }
    give_values(&c, &y, "pairs");
}
