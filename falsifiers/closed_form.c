/* The ops' formulas in float64, straight from their definitions: a truth that shares no code with the reference. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each form fills want[n], the elements of out.<arg> of request r, or stops. */
typedef bool (*form_fn)(const fal_op_case *c, int r, double *want, size_t n);

static double at(const fal_obs_tensor *t, int64_t i)
{
    return fal_row_at(fal_row_whole(t), (size_t)i);
}

/* The shapes of inputs and output were checked apart; a parameter that contradicts them must not be indexed with. */
static bool fits(const fal_op_case *c, int r, size_t n, int64_t n_expected)
{
    if (n_expected > 0 && (uint64_t)n_expected == n) return true;
    return fal_stop(c->out, FAL_ERROR, "request %d: the output has %zu elements, its inputs make %lld", r, n,
                    (long long)n_expected);
}

static bool form_embed(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_vocab = -1, n_embd = -1, n_tokens = -1;
    const fal_obs_tensor *const w = fal_op_in_shape(c, r, "w", FAL_DTYPE_F32, 2, &n_vocab, &n_embd);
    const fal_obs_tensor *const tokens = w ? fal_op_in_shape(c, r, "tokens", FAL_DTYPE_I32, 1, &n_tokens) : NULL;
    if (!tokens || !fits(c, r, n, n_tokens * n_embd)) return false;
    for (int64_t t = 0; t < n_tokens; t++) {
        const double id = at(tokens, t);
        if (!(id >= 0 && id < (double)n_vocab))
            return fal_stop(c->out, FAL_ERROR, "request %d: in.tokens[%lld] is out of range", r, (long long)t);
        for (int64_t i = 0; i < n_embd; i++) want[t * n_embd + i] = at(w, (int64_t)id * n_embd + i);
    }
    return true;
}

/* rows of `width`: want = x w / sqrt(mean x^2 + eps) */
static void norm_rows(const fal_obs_tensor *x, const fal_obs_tensor *w, int64_t rows, int64_t width, double eps,
                      double *want)
{
    for (int64_t t = 0; t < rows; t++) {
        double sum = 0;
        for (int64_t i = 0; i < width; i++) sum += at(x, t * width + i) * at(x, t * width + i);
        const double scale = 1 / sqrt(sum / (double)width + eps);
        for (int64_t i = 0; i < width; i++) want[t * width + i] = at(x, t * width + i) * scale * at(w, i);
    }
}

static bool form_rmsnorm(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_embd = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_tokens, &n_embd);
    const fal_obs_tensor *const w = x ? fal_op_in_shape(c, r, "w", FAL_DTYPE_F32, 1, &n_embd) : NULL;
    if (!w || !fits(c, r, n, n_tokens * n_embd)) return false;
    norm_rows(x, w, n_tokens, n_embd, (double)(float)fal_op_number(c, r, "eps", 1e-6), want);
    return true;
}

static bool form_qk_norm(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_head = -1, head_dim = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
    const fal_obs_tensor *const w = x ? fal_op_in_shape(c, r, "w", FAL_DTYPE_F32, 1, &head_dim) : NULL;
    if (!w || !fits(c, r, n, n_tokens * n_head * head_dim)) return false;
    norm_rows(x, w, n_tokens * n_head, head_dim, (double)(float)fal_op_number(c, r, "eps", 1e-6), want);
    return true;
}

static bool form_matmul(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_out = -1, n_in = -1, n_tokens = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_tokens, &n_in);
    const fal_obs_tensor *const w = x ? fal_op_in_shape(c, r, "w", FAL_DTYPE_F32, 2, &n_out, &n_in) : NULL;
    if (!w || !fits(c, r, n, n_tokens * n_out)) return false;
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < n_in; i++) sum += at(w, o * n_in + i) * at(x, t * n_in + i);
            want[t * n_out + o] = sum;
        }
    return true;
}

/* Pairs (i, i + head_dim/2) turn by position * freq_base^(-2i/head_dim). */
static bool form_rope(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_head = -1, head_dim = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
    if (!x || !fits(c, r, n, n_tokens * n_head * head_dim)) return false;
    const double base = fal_op_number(c, r, "freq_base", 1e6), first_pos = fal_op_number(c, r, "first_pos", 0);
    const int64_t half = head_dim / 2;
    if (head_dim % 2 != 0)
        return fal_stop(c->out, FAL_ERROR, "request %d: head_dim %lld is odd", r, (long long)head_dim);
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < n_head; h++)
            for (int64_t i = 0; i < half; i++) {
                const int64_t lo = (t * n_head + h) * head_dim + i, hi = lo + half;
                const double angle = (first_pos + (double)t) * pow(base, -2.0 * (double)i / (double)head_dim);
                want[lo] = at(x, lo) * cos(angle) - at(x, hi) * sin(angle);
                want[hi] = at(x, lo) * sin(angle) + at(x, hi) * cos(angle);
            }
    return true;
}

/* In place: exp(x - max) / sum over n elements. */
static void softmax_of(double *v, int64_t n)
{
    double most = v[0], sum = 0;
    for (int64_t i = 1; i < n; i++) most = v[i] > most ? v[i] : most;
    for (int64_t i = 0; i < n; i++) sum += v[i] = exp(v[i] - most);
    for (int64_t i = 0; i < n; i++) v[i] /= sum;
}

static bool form_attention(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_head = -1, head_dim = -1, n_ctx = -1, n_head_kv = -1;
    const fal_obs_tensor *const q = fal_op_in_shape(c, r, "q", FAL_DTYPE_F32, 3, &n_tokens, &n_head, &head_dim);
    const fal_obs_tensor *const k =
        q ? fal_op_in_shape(c, r, "k_cache", FAL_DTYPE_F32, 3, &n_ctx, &n_head_kv, &head_dim) : NULL;
    const fal_obs_tensor *const v =
        k ? fal_op_in_shape(c, r, "v_cache", FAL_DTYPE_F32, 3, &n_ctx, &n_head_kv, &head_dim) : NULL;
    if (!v || !fits(c, r, n, n_tokens * n_head * head_dim)) return false;
    const double first = fal_op_number(c, r, "first_pos", 0);
    if (!(first >= 0 && first + (double)n_tokens <= (double)n_ctx) || n_head % n_head_kv != 0)
        return fal_stop(c->out, FAL_ERROR, "request %d: first_pos %g or %lld heads do not fit the cache", r, first,
                        (long long)n_head);
    double *const p = malloc((size_t)n_ctx * sizeof *p);
    if (!p) return fal_stop(c->out, FAL_ERROR, "out of memory while judging attention");
    const int64_t group = n_head / n_head_kv, first_pos = (int64_t)first;
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < n_head; h++) {
            const int64_t n_keys = first_pos + t + 1, g = h / group, q_at = (t * n_head + h) * head_dim;
            for (int64_t j = 0; j < n_keys; j++) {
                double dot = 0;
                for (int64_t i = 0; i < head_dim; i++)
                    dot += at(q, q_at + i) * at(k, (j * n_head_kv + g) * head_dim + i);
                p[j] = dot / sqrt((double)head_dim);
            }
            softmax_of(p, n_keys);
            for (int64_t i = 0; i < head_dim; i++) {
                double sum = 0;
                for (int64_t j = 0; j < n_keys; j++) sum += p[j] * at(v, (j * n_head_kv + g) * head_dim + i);
                want[q_at + i] = sum;
            }
        }
    free(p);
    return true;
}

static bool form_add(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_embd = -1;
    const fal_obs_tensor *const a = fal_op_in_shape(c, r, "a", FAL_DTYPE_F32, 2, &n_tokens, &n_embd);
    const fal_obs_tensor *const b = a ? fal_op_in_shape(c, r, "b", FAL_DTYPE_F32, 2, &n_tokens, &n_embd) : NULL;
    if (!b || !fits(c, r, n, n_tokens * n_embd)) return false;
    for (int64_t i = 0; i < n_tokens * n_embd; i++) want[i] = at(a, i) + at(b, i);
    return true;
}

static bool form_softmax(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_rows = -1, n_cols = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_rows, &n_cols);
    if (!x || !fits(c, r, n, n_rows * n_cols)) return false;
    for (int64_t i = 0; i < n_rows * n_cols; i++) want[i] = at(x, i);
    for (int64_t i = 0; i < n_rows; i++) softmax_of(want + i * n_cols, n_cols);
    return true;
}

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static bool form_swiglu(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_rows = -1, n_ff = -1;
    const fal_obs_tensor *const gate = fal_op_in_shape(c, r, "gate", FAL_DTYPE_F32, 2, &n_rows, &n_ff);
    const fal_obs_tensor *const up = gate ? fal_op_in_shape(c, r, "up", FAL_DTYPE_F32, 2, &n_rows, &n_ff) : NULL;
    if (!up || !fits(c, r, n, n_rows * n_ff)) return false;
    for (int64_t i = 0; i < n_rows * n_ff; i++) want[i] = silu(at(gate, i)) * at(up, i);
    return true;
}

static bool form_moe_sum(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_expert_used = -1, n_embd = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_expert_used, &n_embd);
    const fal_obs_tensor *const w =
        x ? fal_op_in_shape(c, r, "weights", FAL_DTYPE_F32, 2, &n_tokens, &n_expert_used) : NULL;
    if (!w || !fits(c, r, n, n_tokens * n_embd)) return false;
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t i = 0; i < n_embd; i++) {
            double sum = 0;
            for (int64_t s = 0; s < n_expert_used; s++)
                sum += at(w, t * n_expert_used + s) * at(x, (t * n_expert_used + s) * n_embd + i);
            want[t * n_embd + i] = sum;
        }
    return true;
}

/* Products of each slot's expert, w [n_expert, n_out, n_in], with the slot's row of x, or its token's. */
static bool expert_products(const fal_op_case *c, int r, const fal_obs_tensor *w, const fal_obs_tensor *ids, const fal_obs_tensor *x,
                            bool per_slot, double *want)
{
    const int64_t n_expert = w->ne[0], n_out = w->ne[1], n_in = w->ne[2], n_used = ids->ne[1];
    for (int64_t ts = 0; ts < ids->ne[0] * n_used; ts++) {
        const double id = at(ids, ts);
        const int64_t x_at = (per_slot ? ts : ts / n_used) * n_in;
        if (!(id >= 0 && id < (double)n_expert))
            return fal_stop(c->out, FAL_ERROR, "request %d: in.ids names expert %.0f of %lld", r, id,
                            (long long)n_expert);
        for (int64_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < n_in; i++) sum += at(w, ((int64_t)id * n_out + o) * n_in + i) * at(x, x_at + i);
            want[ts * n_out + o] = sum;
        }
    }
    return true;
}

static bool form_moe_matmul(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_expert = -1, n_out = -1, n_in = -1, n_tokens = -1, n_used = -1;
    const bool per_slot = fal_op_number(c, r, "x_per_slot", 0) > 0;
    const fal_obs_tensor *const w = fal_op_in_shape(c, r, "w", FAL_DTYPE_F32, 3, &n_expert, &n_out, &n_in);
    const fal_obs_tensor *const ids = w ? fal_op_in_shape(c, r, "ids", FAL_DTYPE_I32, 2, &n_tokens, &n_used) : NULL;
    const fal_obs_tensor *const x = !ids       ? NULL
                                    : per_slot ? fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &n_tokens, &n_used, &n_in)
                                               : fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_tokens, &n_in);
    return x && fits(c, r, n, n_tokens * n_used * n_out) && expert_products(c, r, w, ids, x, per_slot, want);
}

static bool form_moe_swiglu(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_expert = -1, n_ff = -1, n_embd = -1, n_tokens = -1, n_used = -1;
    const fal_obs_tensor *const w_gate = fal_op_in_shape(c, r, "w_gate", FAL_DTYPE_F32, 3, &n_expert, &n_ff, &n_embd);
    const fal_obs_tensor *const w_up = w_gate ? fal_op_in_shape(c, r, "w_up", FAL_DTYPE_F32, 3, &n_expert, &n_ff, &n_embd) : NULL;
    const fal_obs_tensor *const ids = w_up ? fal_op_in_shape(c, r, "ids", FAL_DTYPE_I32, 2, &n_tokens, &n_used) : NULL;
    const fal_obs_tensor *const x = ids ? fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_tokens, &n_embd) : NULL;
    if (!x || !fits(c, r, n, n_tokens * n_used * n_ff)) return false;
    double *const gate = malloc((n ? n : 1) * sizeof *gate);
    if (!gate) return fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", n);
    const bool ok = expert_products(c, r, w_gate, ids, x, false, gate) && expert_products(c, r, w_up, ids, x, false, want);
    for (size_t i = 0; ok && i < n; i++) want[i] *= silu(gate[i]);
    free(gate);
    return ok;
}

/* Expert ids of one token: largest probability first, ties to the lower id; or the pinned ones. */
static bool choose(const fal_op_case *c, int r, int64_t t, int64_t used, double *ids)
{
    const fal_obs_tensor *const probs = fal_op_in(c, r, "probs");
    const fal_obs_tensor *const pinned = fal_observation_find(c->in->got, r, "in.pinned_ids");
    const int64_t n_expert = probs->ne[1];
    for (int64_t s = 0; s < used; s++) {
        double best = -1;
        for (int64_t e = 0; e < n_expert && !pinned; e++) {
            bool taken = false;
            for (int64_t i = 0; i < s; i++) taken = taken || (int64_t)ids[i] == e;
            if (!taken && (best < 0 || at(probs, t * n_expert + e) > at(probs, t * n_expert + (int64_t)best)))
                best = (double)e;
        }
        if (pinned && pinned->dtype == FAL_DTYPE_I32 && pinned->n > (size_t)(t * used + s))
            best = at(pinned, t * used + s);
        if (!(best >= 0 && best < (double)n_expert))
            return fal_stop(c->out, FAL_ERROR, "request %d: no expert to choose for slot %lld of token %lld", r,
                            (long long)s, (long long)t);
        ids[s] = best;
    }
    return true;
}

static bool form_router_ids(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_tokens = -1, n_expert = -1;
    const fal_obs_tensor *const probs = fal_op_in_shape(c, r, "probs", FAL_DTYPE_F32, 2, &n_tokens, &n_expert);
    const int64_t used = fal_op_dim(c, r, "n_expert_used");
    if (!probs || !fits(c, r, n, n_tokens * used)) return false;
    for (int64_t t = 0; t < n_tokens; t++)
        if (!choose(c, r, t, used, want + t * used)) return false;
    return true;
}

static bool form_router_weights(const fal_op_case *c, int r, double *want, size_t n)
{
    if (!form_router_ids(c, r, want, n)) return false;
    const fal_obs_tensor *const probs = fal_op_in(c, r, "probs");
    const int64_t used = fal_op_dim(c, r, "n_expert_used"), n_tokens = probs->ne[0], n_expert = probs->ne[1];
    for (int64_t t = 0; t < n_tokens; t++) {
        double sum = 0;
        for (int64_t s = 0; s < used; s++)
            sum += want[t * used + s] = at(probs, t * n_expert + (int64_t)want[t * used + s]);
        for (int64_t s = 0; s < used; s++) want[t * used + s] /= sum;
    }
    return true;
}

static bool form_argmax(const fal_op_case *c, int r, double *want, size_t n)
{
    int64_t n_rows = -1, n_cols = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 2, &n_rows, &n_cols);
    if (!x || !fits(c, r, n, n_rows)) return false;
    for (int64_t t = 0; t < n_rows; t++)
        want[t] = (double)fal_argmax(fal_row_part(x, (size_t)(t * n_cols), (size_t)n_cols));
    return true;
}

static const struct {
    const char *op, *arg;
    form_fn form;
} forms[] = {
    { "embed", "y", form_embed },
    { "rmsnorm", "y", form_rmsnorm },
    { "matmul", "y", form_matmul },
    { "qk_norm", "y", form_qk_norm },
    { "rope", "y", form_rope },
    { "attention", "y", form_attention },
    { "add", "y", form_add },
    { "softmax", "y", form_softmax },
    { "router", "ids", form_router_ids },
    { "router", "weights", form_router_weights },
    { "moe_matmul", "y", form_moe_matmul },
    { "swiglu", "y", form_swiglu },
    { "moe_swiglu", "y", form_moe_swiglu },
    { "moe_sum", "y", form_moe_sum },
    { "argmax", "ids", form_argmax },
};

static form_fn form_of(const char *op, const char *arg)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].op, op) == 0 && strcmp(forms[i].arg, arg) == 0) return forms[i].form;
    return NULL;
}

typedef struct {
    double worst;
    uint64_t n, bad;
    bool any_nonzero;
} form_count;

static bool judge_output(const fal_op_case *c, int r, const char *arg, form_count *f)
{
    const form_fn form = form_of(fal_op_of(c, r), arg);
    if (!form) return fal_stop(c->out, FAL_ERROR, "there is no closed form of %.40s, out.%s", fal_op_of(c, r), arg);
    const fal_obs_tensor *const got = fal_op_out(c, r, arg);
    if (!got) return false;
    double *const want = calloc(got->n ? got->n : 1, sizeof *want);
    if (!want) return fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", got->n);
    const bool ok = form(c, r, want, got->n);
    if (ok) {
        const fal_row g = fal_row_whole(got), w = fal_row_doubles(want, got->n);
        char name[48];
        uint64_t wrong_ids = 0;
        size_t e = fal_furthest(g, w);
        for (size_t i = got->n; got->dtype == FAL_DTYPE_I32 && i-- > 0;)
            if (fal_row_at(g, i) < want[i] || fal_row_at(g, i) > want[i]) {
                wrong_ids++;
                e = i;
            }
        const double v = got->dtype == FAL_DTYPE_I32 ? (double)wrong_ids : fal_rel_l2(g, w);
        snprintf(name, sizeof name, "out.%s", arg);
        f->n += got->n;
        if (!f->any_nonzero) f->any_nonzero = !fal_all_zero(g) || !fal_all_zero(w);
        if (!fal_limit_holds(&c->in->check->limit, v)) {
            f->bad++;
            fal_detail(c->out, "request %d %s: %.6g, got %.9g for %.9g at element %zu\n", r, name, v, fal_row_at(g, e),
                       want[e], e);
        }
        if (fal_higher(&f->worst, v)) fal_worst_at(c->out, c->in->got, r, name, got, e, fal_row_at(g, e), want[e]);
    }
    free(want);
    return ok;
}

void fal_judge_closed_form(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    form_count f = { .worst = -(double)INFINITY };
    uint64_t n_outputs = 0;
    if (!fal_op_open(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r++)
        for (const char *const *arg = fal_op_outputs(fal_op_of(&c, r)); *arg; arg++, n_outputs++)
            if (!judge_output(&c, r, *arg, &f)) return;
    fal_give(out, f.worst, f.n, "%llu of %llu outputs break the limit", (unsigned long long)f.bad,
             (unsigned long long)n_outputs);
    if (strcmp(in->check->op, "argmax") != 0) fal_op_doubt_zero(&c, f.any_nonzero);
}
