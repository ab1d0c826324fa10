/* Error models of short sums, single functions and attention: first-order propagation of each rounding. */
#include "falsifiers/error_model_parts.h"

#include "harness/type.h"
#include "reference/reference.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Functions of OpenCL and CUDA are good to a few units in the last place, not correctly rounded. */
#define EXP_ULPS 3.0

static double at(const fal_obs_tensor *t, size_t i)
{
    return fal_row_at(fal_row_whole(t), i);
}

static double square(double v)
{
    return v * v;
}

/* ---- short sums and single functions ------------------------------------------------------------------------------ */

bool fal_model_embed(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const char *type_name = json_string_value(json_object_get(json_object_get(fal_about_request(c->in->got, r), "params"), "type"));
    const uint32_t type = (uint32_t)(type_name ? fal_type_by_name(type_name) : -1);
    const fal_dequant_fn decode = fal_dequant_find(type);
    const int64_t n_embd = fal_op_dim(c, r, "n_embd");
    const fal_obs_tensor *const w = fal_op_in(c, r, "w"), *const tokens = w ? fal_op_in(c, r, "tokens") : NULL;
    if (!tokens) return false;
    const size_t n = n_embd > 0 ? (size_t)n_embd : 0, row_bytes = decode && n ? fal_type_row_bytes(type, n) : 0;
    float *row = row_bytes ? malloc(n * sizeof *row) : NULL;
    bool ok = row && tokens->n * n == m->n;
    for (size_t t = 0; ok && t < tokens->n; t++) {
        const double id = at(tokens, t);
        ok = id >= 0 && (id + 1) * (double)row_bytes <= (double)w->nbytes;
        if (ok) decode((const unsigned char *)w->data + (size_t)id * row_bytes, n / fal_type_get(type)->block_elems, row);
        for (size_t i = 0; ok && i < n; i++) fal_error_put(m, t * n + i, (double)row[i], (double)row[i], fal_roundings((double)row[i], 2, a->sum), 0, 0);
    }
    free(row);
    return ok || fal_stop(c->out, FAL_ERROR, "request %d: type, n_embd and tokens do not fit in.w and out.y", r);
}

bool fal_model_add(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const x = fal_op_in(c, r, "a"), *const y = x ? fal_op_in(c, r, "b") : NULL;
    if (!y) return false;
    if (x->n != m->n || y->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: in.a and in.b differ in size", r);
    for (size_t i = 0; i < m->n; i++) {
        const double v = at(x, i) + at(y, i);
        fal_error_put(m, i, v, v, fal_roundings(v, 1, a->sum), 0, 0);
    }
    return true;
}

bool fal_model_moe_sum(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    int64_t tokens = -1, used = -1, width = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &tokens, &used, &width);
    const fal_obs_tensor *const w = x ? fal_op_in_shape(c, r, "weights", FAL_DTYPE_F32, 2, &tokens, &used) : NULL;
    if (!w || (size_t)(tokens * width) != m->n) return w && fal_stop(c->out, FAL_ERROR, "request %d: out.y does not fit", r);
    for (size_t i = 0; i < m->n; i++) {
        fal_running sum = { 0 };
        for (int64_t s = 0; s < used; s++) {
            const size_t slot = i / (size_t)width * (size_t)used + (size_t)s;
            fal_running_add(&sum, at(w, slot) * at(x, slot * (size_t)width + i % (size_t)width));
        }
        fal_error_put(m, i, sum.sum, sum.sum, fal_running_high(&sum, a->sum), fal_running_low(&sum, a->sum), 0);
    }
    return true;
}

bool fal_model_rope(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    int64_t tokens = -1, heads = -1, dim = -1, n_ctx = -1, half = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &tokens, &heads, &dim);
    const fal_obs_tensor *const cosines = x ? fal_op_in_shape(c, r, "cos", FAL_DTYPE_F32, 2, &n_ctx, &half) : NULL;
    const fal_obs_tensor *const sines = cosines ? fal_op_in_shape(c, r, "sin", FAL_DTYPE_F32, 2, &n_ctx, &half) : NULL;
    if (!sines) return false;
    const double first = fal_op_number(c, r, "first_pos", 0);
    if (x->n != m->n || 2 * half != dim || !(first >= 0 && first + (double)tokens <= (double)n_ctx))
        return fal_stop(c->out, FAL_ERROR, "request %d: tables, first_pos and in.x do not fit", r);
    for (size_t i = 0; i < m->n; i++) {
        const size_t d = i % (size_t)dim, k = d % (size_t)half, pos = (size_t)first + i / (size_t)(heads * dim);
        const double cosine = at(cosines, pos * (size_t)half + k), sine = at(sines, pos * (size_t)half + k);
        const double other = d < (size_t)half ? -at(x, i + (size_t)half) : at(x, i - (size_t)half);
        fal_running sum = { 0 };
        fal_running_add(&sum, at(x, i) * cosine);
        fal_running_add(&sum, other * sine);
        fal_error_put(m, i, sum.sum, sum.sum, fal_running_high(&sum, a->sum), 0, 0);
    }
    return true;
}

bool fal_model_norm(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const x = fal_op_in(c, r, "x"), *const w = x ? fal_op_in(c, r, "w") : NULL;
    if (!w) return false;
    const size_t n = (size_t)x->ne[x->n_dims - 1];
    if (x->n != m->n || w->n != n) return fal_stop(c->out, FAL_ERROR, "request %d: in.w does not fit in.x", r);
    const double eps = (double)(float)fal_op_number(c, r, "eps", 1e-6);
    for (size_t row = 0; row < m->n / n; row++) {
        fal_running sum = { 0 };
        for (size_t i = 0; i < n; i++) fal_running_add(&sum, square(at(x, row * n + i)));
        const double mean = sum.sum / (double)n + eps, root = sqrt(mean);
        /* half of the relative error of the sum comes through the root; then division, eps, root, quotient, product */
        const double relative = sum.sum > 0 ? fal_running_high(&sum, a->sum) / square(2 * sum.sum) : 0;
        for (size_t i = 0; i < n; i++) {
            const double y = at(x, row * n + i) / root * at(w, i);
            fal_error_put(m, row * n + i, y, y, y * y * relative + fal_roundings(y, 5, a->sum), 0, 0);
        }
    }
    return true;
}

/* Mean square of what rounds between gate g, up u and their result y: exp, sum, division and product. */
static double swiglu_roundings(double g, double u, double y, fal_sum sum)
{
    const double e = exp(-g), share = e < INFINITY ? e / (1 + e) : 1; /* how much of the error of exp arrives */
    /* exp overflows from -88.7 down, where silu is still |g| / FLT_MAX; smaller results may be flushed */
    const double range = square(g / FLT_MAX * u) + square(FLT_MIN * u);
    return fal_roundings(y, 3 + square(2 * EXP_ULPS * share), sum) + range;
}

bool fal_model_swiglu(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const gate = fal_op_in(c, r, "gate"), *const up = gate ? fal_op_in(c, r, "up") : NULL;
    if (!up) return false;
    if (gate->n != m->n || up->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: in.gate and in.up differ in size", r);
    for (size_t i = 0; i < m->n; i++) {
        const double g = at(gate, i), u = at(up, i), y = g / (1 + exp(-g)) * u;
        fal_error_put(m, i, y, y, swiglu_roundings(g, u, y, a->sum), 0, 0);
    }
    return true;
}

/* silu and its slope. */
static double silu(double g, double *slope)
{
    const double share = 1 / (1 + exp(-g)); /* 0 where exp overflows */
    *slope = share * (1 + g * (1 - share));
    return g * share;
}

/* An error dg of the gate moves the result by silu'(g) u dg, one of up by silu(g) du. */
bool fal_model_moe_swiglu(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    fal_error_model gate = { 0 }, up = { 0 };
    bool ok = fal_error_model_alloc(&gate, m->n) && fal_error_model_alloc(&up, m->n);
    if (!ok) fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", m->n);
    ok = ok && fal_model_products(c, r, a, "w_gate", &gate) && fal_model_products(c, r, a, "w_up", &up);
    for (size_t i = 0; ok && i < m->n; i++) {
        double slope;
        const double g = gate.declared[i], u = up.declared[i], exact = silu(gate.exact[i], &slope) * up.exact[i];
        const double act = silu(g, &slope);
        const double of_gate = square(slope * u), of_up = square(act), both = square(slope);
        const double high = of_gate * gate.high[i] + of_up * up.high[i] + both * gate.high[i] * up.high[i];
        const double low = of_gate * gate.low[i] + of_up * up.low[i];
        const double noise = of_gate * gate.noise[i] + of_up * up.noise[i] + both * gate.noise[i] * up.noise[i];
        fal_error_put(m, i, exact, act * u, high + swiglu_roundings(g, u, act * u, a->sum), low, noise);
    }
    fal_error_model_free(&up);
    fal_error_model_free(&gate);
    return ok;
}

bool fal_model_softmax(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const x = fal_op_in(c, r, "x");
    if (!x) return false;
    const size_t n = (size_t)x->ne[x->n_dims - 1];
    if (x->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: out.y does not fit in.x", r);
    for (size_t row = 0; row < m->n / n; row++) {
        double top = at(x, row * n), total = 0, mean = 0;
        for (size_t i = 1; i < n; i++) top = fmax(top, at(x, row * n + i));
        for (size_t i = 0; i < n; i++) total += exp(at(x, row * n + i) - top);
        for (size_t i = 0; i < n; i++) { /* errors of the other terms arrive through the sum */
            const double d = at(x, row * n + i) - top, p = exp(d) / total;
            mean += p * p * (square(2 * EXP_ULPS) + d * d);
        }
        for (size_t i = 0; i < n; i++) {
            const double d = at(x, row * n + i) - top, y = exp(d) / total;
            fal_error_put(m, row * n + i, y, y, fal_roundings(y, 1 + square(2 * EXP_ULPS) + d * d + mean + (double)n, a->sum) + square(FLT_MIN), 0, 0);
        }
    }
    return true;
}

bool fal_model_router(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const p = fal_op_in(c, r, "probs"), *const ids = p ? fal_op_out(c, r, "ids") : NULL;
    if (!ids) return false;
    const size_t n = (size_t)p->ne[p->n_dims - 1], used = (size_t)ids->ne[ids->n_dims - 1];
    if (ids->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: out.weights and out.ids differ in size", r);
    for (size_t row = 0; row < m->n / used; row++) {
        double sum = 0;
        for (size_t s = 0; s < used; s++) {
            const double id = at(ids, row * used + s);
            if (!(id >= 0 && id < (double)n)) return fal_stop(c->out, FAL_FALSIFIED, "request %d: out.ids[%zu] is no expert", r, row * used + s);
            sum += at(p, row * n + (size_t)id);
        }
        for (size_t s = 0; s < used; s++) {
            const double y = at(p, row * n + (size_t)at(ids, row * used + s)) / sum;
            fal_error_put(m, row * used + s, y, y, fal_roundings(y, (double)used + 1, a->sum), 0, 0);
        }
    }
    return true;
}

/* ---- attention ---------------------------------------------------------------------------------------------------- */

/* Scores and their weights over the visible positions of one head of one token. */
typedef struct {
    double *weight, *variance; /* of each position: softmax, and mean square of its relative error */
} scored;

static void score(const fal_obs_tensor *q, size_t q_at, const fal_obs_tensor *k, size_t k_at, size_t stride, size_t dim,
                  size_t n, int kv, fal_sum sum, const scored *s)
{
    const double root = sqrt((double)dim);
    double top = -(double)INFINITY, total = 0;
    for (size_t p = 0; p < n; p++) {
        fal_running dot = { 0 };
        for (size_t d = 0; d < dim; d++) fal_running_add(&dot, at(q, q_at + d) * (double)fal_rounded_to((float)at(k, k_at + p * stride + d), kv));
        s->weight[p] = dot.sum / root;
        s->variance[p] = fal_running_high(&dot, sum) / (double)dim + fal_roundings(s->weight[p], 3, sum);
        top = fmax(top, s->weight[p]);
    }
    for (size_t p = 0; p < n; p++) {
        s->variance[p] += square(fal_roundoff(sum)) / 3 * (square(2 * EXP_ULPS) + square(s->weight[p] - top));
        s->weight[p] = exp(s->weight[p] - top);
        total += s->weight[p];
    }
    for (size_t p = 0; p < n; p++) s->weight[p] /= total;
}

bool fal_model_attention(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    int64_t tokens = -1, heads = -1, dim = -1, n_ctx = -1, kv_heads = -1;
    const fal_obs_tensor *const q = fal_op_in_shape(c, r, "q", FAL_DTYPE_F32, 3, &tokens, &heads, &dim);
    const fal_obs_tensor *const k = q ? fal_op_in_shape(c, r, "k_cache", FAL_DTYPE_F32, 3, &n_ctx, &kv_heads, &dim) : NULL;
    const fal_obs_tensor *const v = k ? fal_op_in_shape(c, r, "v_cache", FAL_DTYPE_F32, 3, &n_ctx, &kv_heads, &dim) : NULL;
    if (!v) return false;
    const double first = fal_op_number(c, r, "first_pos", 0);
    if (q->n != m->n || heads % kv_heads || !(first >= 0 && first + (double)tokens <= (double)n_ctx))
        return fal_stop(c->out, FAL_ERROR, "request %d: first_pos, heads and cache do not fit", r);
    const size_t width = (size_t)dim, stride = (size_t)kv_heads * width;
    double *memory = malloc(4 * (size_t)n_ctx * sizeof *memory);
    if (!memory) return fal_stop(c->out, FAL_ERROR, "out of memory while judging attention");
    const scored exact = { memory, memory + n_ctx }, declared = { memory + 2 * n_ctx, memory + 3 * n_ctx };
    for (size_t row = 0; row < m->n / width; row++) {
        const size_t n = (size_t)first + row / (size_t)heads + 1, g = row % (size_t)heads / (size_t)(heads / kv_heads) * width;
        score(q, row * width, k, g, stride, width, n, 0, a->sum, &exact);
        score(q, row * width, k, g, stride, width, n, (int)a->kv, a->sum, &declared);
        for (size_t d = 0; d < width; d++) {
            fal_running sum = { 0 };
            double plain = 0, spread = 0;
            for (size_t p = 0; p < n; p++) {
                plain += exact.weight[p] * at(v, g + p * stride + d);
                fal_running_add(&sum, declared.weight[p] * (double)fal_rounded_to((float)at(v, g + p * stride + d), (int)a->kv));
            }
            for (size_t p = 0; p < n; p++)
                spread += square(declared.weight[p] * (at(v, g + p * stride + d) - sum.sum)) * declared.variance[p];
            /* the total of the weights, rescaling, and the division round the result as a whole */
            const double whole = fal_roundings(sum.sum, (double)n + 8, a->sum);
            fal_error_put(m, row * width + d, plain, sum.sum, fal_running_high(&sum, a->sum) + spread + whole, 0, 0);
        }
    }
    free(memory);
    return true;
}
