/* Error models of all operations that compute: first-order propagation of each rounding, no constant fitted to data. */
#include "falsifiers/error_model.h"

#include "harness/half.h"
#include "harness/type.h"
#include "reference/mirror.h"

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

static double roundoff(fal_sum s)
{
    static const double u[FAL_N_SUMS] = { 0x1p-24, 0x1p-53, 0x1p-11, 0x1p-8, 0x1p-24 };
    return u[s];
}

/* The smallest step of the type: below it, errors do not shrink with the value. */
static double smallest(fal_sum s)
{
    return s == FAL_SUM_F16 ? 0x1p-24 : s == FAL_SUM_F64 ? 0 : 0x1p-149;
}

static double square(double v)
{
    return v * v;
}

/* Mean square of rounding y to float32, which every output is in the end. */
static double last_rounding(double y)
{
    int e;
    frexp(y, &e);
    const double ulp = ldexp(1, (e < -125 ? -125 : e) - 24);
    return square(ulp) / 12;
}

static float to_bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float rounded(float v, int to) /* 0 f32, 1 f16, 2 bf16: the order of fal_activation and fal_kv */
{
    return to == 1 ? fal_half_to_float(fal_float_to_half(v)) : to == 2 ? to_bf16(v) : v;
}

/* ---- sums --------------------------------------------------------------------------------------------------------- */

/* A sum as its terms come. */
typedef struct {
    double sum, squares, chain;
    size_t n;
} running;

static void add_term(running *r, double p)
{
    r->sum += p;
    r->squares += p * p;
    r->chain += p * p + r->sum * r->sum;
    r->n++;
}

static double high_of(const running *r, fal_sum s)
{
    return (square(roundoff(s)) * r->chain + (double)r->n * square(smallest(s))) / 3;
}

/* A tree adds each term log2(n) times to others; terms of random signs, which is the least that can be expected. */
static double low_of(const running *r, fal_sum s)
{
    const double levels = r->n > 1 ? log2((double)r->n) : 0;
    return square(roundoff(s)) * r->squares * levels / 6;
}

/* Relative mean square of n roundings of a result. */
static double roundings(double y, double n, fal_sum s)
{
    return (square(roundoff(s) * y) + square(smallest(s))) * n / 3;
}

static void put(fal_error_model *m, size_t i, double exact, double declared, double high, double low, double noise)
{
    m->exact[i] = exact;
    m->declared[i] = declared;
    m->last[i] = last_rounding(declared);
    m->high[i] = high + m->last[i];
    m->low[i] = low;
    m->noise[i] = noise;
}

/* ---- matrix products ---------------------------------------------------------------------------------------------- */

/* Rows of activations as they enter products, and what their rounding may be off by. */
typedef struct {
    fal_activation act;
    size_t n;
    float *x, *entered, *step; /* step: distance of neighbouring codes, per element */
} entering;

static bool enter(const fal_obs_tensor *x, size_t n, fal_activation act, entering *e)
{
    const size_t block = fal_mirror_block(act), rows = x->n / n;
    *e = (entering){ .act = act, .n = n, .x = malloc(3 * x->n * sizeof(float)) };
    signed char *q = block ? malloc(n) : NULL;
    float *d = block ? malloc(n / block * sizeof *d) : NULL;
    const bool ok = e->x && (!block || (q && d));
    e->entered = e->x + x->n;
    e->step = e->entered + x->n;
    for (size_t i = 0; ok && i < x->n; i++) {
        const float v = (float)at(x, i);
        int exponent;
        frexpf(v, &exponent);
        e->x[i] = v;
        e->entered[i] = block ? v : rounded(v, (int)act);
        e->step[i] = act == FAL_ACTIVATION_F16    ? ldexpf(1, exponent - 11)
                     : act == FAL_ACTIVATION_BF16 ? ldexpf(1, exponent - 8)
                                                  : 0;
    }
    for (size_t row = 0; ok && block && row < rows; row++) {
        fal_mirror_quantise(act, e->x + row * n, n, q, d);
        for (size_t i = 0; i < n; i++) {
            e->entered[row * n + i] = d[i / block] * (float)q[i];
            e->step[row * n + i] = fabsf(d[i / block]);
        }
    }
    free(d);
    free(q);
    if (!ok) free(e->x);
    return ok;
}

/* One output: weight row w (decoded) with row x of what entered. no_minima: the same row decoded without its minima, where
   it has any. Integer sums keep codes and minima apart, each a sum of float terms, one for each 32 columns. */
static void put_product(const entering *e, size_t row, const float *w, const float *no_minima, fal_sum sum, fal_error_model *m, size_t i)
{
    const float *x = e->x + row * e->n, *entered = e->entered + row * e->n, *step = e->step + row * e->n;
    running r = { 0 }, minima = { 0 };
    double exact = 0, declared = 0, noise = 0, codes = 0, rest = 0;
    for (size_t c = 0; c < e->n; c++) {
        const double p = (double)w[c] * (double)entered[c];
        exact += (double)w[c] * (double)x[c];
        declared += p;
        noise += square((double)w[c] * (double)step[c]) / 12;
        if (sum != FAL_SUM_I32) {
            add_term(&r, p);
            continue;
        }
        const double of_codes = no_minima ? (double)no_minima[c] * (double)entered[c] : p;
        codes += of_codes;
        rest += p - of_codes;
        if ((c + 1) % 32 && c + 1 < e->n) continue;
        add_term(&r, codes);
        if (no_minima) add_term(&minima, rest);
        codes = rest = 0;
    }
    const double join = no_minima ? roundings(declared, 1, sum) : 0;
    put(m, i, exact, declared, high_of(&r, sum) + high_of(&minima, sum) + join, low_of(&r, sum) + low_of(&minima, sum), noise);
}

/* Decodes a row of n weights; with its minima set to 0 as well where it has any and they are wanted. */
static void decode_row(uint32_t type, const unsigned char *from, size_t n, float *row, float *no_minima, unsigned char *copy)
{
    const fal_type_info *t = fal_type_get(type);
    const size_t n_blocks = n / t->block_elems, bytes = t->block_bytes;
    fal_dequant_find(type)(from, n_blocks, row);
    if (!no_minima) return;
    memcpy(copy, from, n_blocks * bytes);
    for (size_t b = 0; b < n_blocks; b++) copy[b * bytes + 2] = copy[b * bytes + 3] = 0; /* dmin of Q4_K and Q5_K */
    fal_dequant_find(type)(copy, n_blocks, no_minima);
}

static bool model_products(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const bool moe = strcmp(fal_op_of(c, r), "moe_matmul") == 0;
    const char *type_name = json_string_value(json_object_get(json_object_get(fal_about_request(c->in->got, r), "params"), "type"));
    const uint32_t type = (uint32_t)(type_name ? fal_type_by_name(type_name) : -1);
    const fal_dequant_fn decode = fal_dequant_find(type);
    const int64_t n_in = fal_op_dim(c, r, "n_in"), n_out = fal_op_dim(c, r, "n_out");
    const fal_obs_tensor *const w = fal_op_in(c, r, "w"), *const x = w ? fal_op_in(c, r, "x") : NULL;
    const fal_obs_tensor *const ids = x && moe ? fal_op_in(c, r, "ids") : NULL;
    if (!x || (moe && !ids)) return false;
    const size_t n = n_in > 0 ? (size_t)n_in : 0, rows = n_out > 0 ? (size_t)n_out : 0;
    const size_t row_bytes = decode && n ? fal_type_row_bytes(type, n) : 0, used = moe ? (size_t)ids->ne[ids->n_dims - 1] : 1;
    const size_t n_expert = row_bytes && rows ? w->nbytes / row_bytes / rows : 0;
    const size_t shared = moe && x->n_dims == 2 ? used : 1;
    const fal_activation act = a->activation == FAL_ACTIVATION_Q8_0 || a->activation == FAL_ACTIVATION_Q8_K
                                   ? fal_mirror_activation(type, a->activation)
                                   : a->activation;
    if (row_bytes == 0 || rows == 0 || w->nbytes != n_expert * rows * row_bytes || (!moe && n_expert != 1) ||
        x->dtype != FAL_DTYPE_F32 || x->n % n != 0 || x->n / n * shared * rows != m->n || (ids && ids->n * rows != m->n) ||
        (fal_mirror_block(act) && n % fal_mirror_block(act)))
        return fal_stop(c->out, FAL_ERROR, "request %d: type, n_in %lld and n_out %lld do not fit in.w, in.x and out.y", r, (long long)n_in, (long long)n_out);
    /* sums of codes are integers only where there are codes */
    const fal_sum sum = a->sum == FAL_SUM_I32 && !fal_mirror_block(act) ? FAL_SUM_F32 : a->sum;
    entering e;
    float *row = malloc(2 * n * sizeof *row + row_bytes);
    float *const no_minima = row && sum == FAL_SUM_I32 && (type == FAL_TYPE_Q4_K || type == FAL_TYPE_Q5_K) ? row + n : NULL;
    bool ok = row != NULL && enter(x, n, act, &e);
    if (!ok) fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu products", m->n);
    const bool had_memory = ok;
    for (size_t i = 0; ok && ids && i < ids->n; i++)
        if (!(at(ids, i) >= 0 && at(ids, i) < (double)n_expert)) ok = fal_stop(c->out, FAL_ERROR, "request %d: in.ids[%zu] is out of range", r, i);
    for (size_t expert = 0; ok && expert < n_expert; expert++) {
        bool chosen = !ids;
        for (size_t t = 0; ids && t < ids->n && !chosen; t++) chosen = (size_t)at(ids, t) == expert;
        for (size_t o = 0; chosen && o < rows; o++) {
            decode_row(type, (const unsigned char *)w->data + (expert * rows + o) * row_bytes, n, row, no_minima, (unsigned char *)(row + 2 * n));
            for (size_t t = 0; t < m->n / rows; t++)
                if (!ids || (size_t)at(ids, t) == expert) put_product(&e, t / shared, row, no_minima, sum, m, t * rows + o);
        }
    }
    if (had_memory) free(e.x);
    free(row);
    return ok;
}

/* ---- short sums and single functions ------------------------------------------------------------------------------ */

static bool model_embed(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
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
        for (size_t i = 0; ok && i < n; i++) put(m, t * n + i, (double)row[i], (double)row[i], roundings((double)row[i], 2, a->sum), 0, 0);
    }
    free(row);
    return ok || fal_stop(c->out, FAL_ERROR, "request %d: type, n_embd and tokens do not fit in.w and out.y", r);
}

static bool model_add(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const x = fal_op_in(c, r, "a"), *const y = x ? fal_op_in(c, r, "b") : NULL;
    if (!y) return false;
    if (x->n != m->n || y->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: in.a and in.b differ in size", r);
    for (size_t i = 0; i < m->n; i++) {
        const double v = at(x, i) + at(y, i);
        put(m, i, v, v, roundings(v, 1, a->sum), 0, 0);
    }
    return true;
}

static bool model_moe_sum(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    int64_t tokens = -1, used = -1, width = -1;
    const fal_obs_tensor *const x = fal_op_in_shape(c, r, "x", FAL_DTYPE_F32, 3, &tokens, &used, &width);
    const fal_obs_tensor *const w = x ? fal_op_in_shape(c, r, "weights", FAL_DTYPE_F32, 2, &tokens, &used) : NULL;
    if (!w || (size_t)(tokens * width) != m->n) return w && fal_stop(c->out, FAL_ERROR, "request %d: out.y does not fit", r);
    for (size_t i = 0; i < m->n; i++) {
        running sum = { 0 };
        for (int64_t s = 0; s < used; s++) {
            const size_t slot = i / (size_t)width * (size_t)used + (size_t)s;
            add_term(&sum, at(w, slot) * at(x, slot * (size_t)width + i % (size_t)width));
        }
        put(m, i, sum.sum, sum.sum, high_of(&sum, a->sum), low_of(&sum, a->sum), 0);
    }
    return true;
}

static bool model_rope(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
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
        running sum = { 0 };
        add_term(&sum, at(x, i) * cosine);
        add_term(&sum, other * sine);
        put(m, i, sum.sum, sum.sum, high_of(&sum, a->sum), 0, 0);
    }
    return true;
}

static bool model_norm(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const x = fal_op_in(c, r, "x"), *const w = x ? fal_op_in(c, r, "w") : NULL;
    if (!w) return false;
    const size_t n = (size_t)x->ne[x->n_dims - 1];
    if (x->n != m->n || w->n != n) return fal_stop(c->out, FAL_ERROR, "request %d: in.w does not fit in.x", r);
    const double eps = (double)(float)fal_op_number(c, r, "eps", 1e-6);
    for (size_t row = 0; row < m->n / n; row++) {
        running sum = { 0 };
        for (size_t i = 0; i < n; i++) add_term(&sum, square(at(x, row * n + i)));
        const double mean = sum.sum / (double)n + eps, root = sqrt(mean);
        /* half of the relative error of the sum comes through the root; then division, eps, root, quotient, product */
        const double relative = sum.sum > 0 ? high_of(&sum, a->sum) / square(2 * sum.sum) : 0;
        for (size_t i = 0; i < n; i++) {
            const double y = at(x, row * n + i) / root * at(w, i);
            put(m, row * n + i, y, y, y * y * relative + roundings(y, 5, a->sum), 0, 0);
        }
    }
    return true;
}

static bool model_swiglu(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    const fal_obs_tensor *const gate = fal_op_in(c, r, "gate"), *const up = gate ? fal_op_in(c, r, "up") : NULL;
    if (!up) return false;
    if (gate->n != m->n || up->n != m->n) return fal_stop(c->out, FAL_ERROR, "request %d: in.gate and in.up differ in size", r);
    for (size_t i = 0; i < m->n; i++) {
        const double g = at(gate, i), e = exp(-g), y = g / (1 + e) * at(up, i);
        const double share = e < INFINITY ? e / (1 + e) : 1; /* how much of the error of exp arrives */
        /* exp overflows from -88.7 down, where silu is still |g| / FLT_MAX; smaller results may be flushed */
        const double range = square(g / FLT_MAX * at(up, i)) + square(FLT_MIN * at(up, i));
        put(m, i, y, y, roundings(y, 3 + square(2 * EXP_ULPS * share), a->sum) + range, 0, 0);
    }
    return true;
}

static bool model_softmax(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
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
            put(m, row * n + i, y, y, roundings(y, 1 + square(2 * EXP_ULPS) + d * d + mean + (double)n, a->sum) + square(FLT_MIN), 0, 0);
        }
    }
    return true;
}

static bool model_router(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
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
            put(m, row * used + s, y, y, roundings(y, (double)used + 1, a->sum), 0, 0);
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
        running dot = { 0 };
        for (size_t d = 0; d < dim; d++) add_term(&dot, at(q, q_at + d) * (double)rounded((float)at(k, k_at + p * stride + d), kv));
        s->weight[p] = dot.sum / root;
        s->variance[p] = high_of(&dot, sum) / (double)dim + roundings(s->weight[p], 3, sum);
        top = fmax(top, s->weight[p]);
    }
    for (size_t p = 0; p < n; p++) {
        s->variance[p] += square(roundoff(sum)) / 3 * (square(2 * EXP_ULPS) + square(s->weight[p] - top));
        s->weight[p] = exp(s->weight[p] - top);
        total += s->weight[p];
    }
    for (size_t p = 0; p < n; p++) s->weight[p] /= total;
}

static bool model_attention(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
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
            running sum = { 0 };
            double plain = 0, spread = 0;
            for (size_t p = 0; p < n; p++) {
                plain += exact.weight[p] * at(v, g + p * stride + d);
                add_term(&sum, declared.weight[p] * (double)rounded((float)at(v, g + p * stride + d), (int)a->kv));
            }
            for (size_t p = 0; p < n; p++)
                spread += square(declared.weight[p] * (at(v, g + p * stride + d) - sum.sum)) * declared.variance[p];
            /* the total of the weights, rescaling, and the division round the result as a whole */
            const double whole = roundings(sum.sum, (double)n + 8, a->sum);
            put(m, row * width + d, plain, sum.sum, high_of(&sum, a->sum) + spread + whole, 0, 0);
        }
    }
    free(memory);
    return true;
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *op;
    bool (*make)(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
    bool takes_activation, takes_kv;
} models[] = {
    { "embed", model_embed, false, false },       { "rmsnorm", model_norm, false, false },
    { "matmul", model_products, true, false },    { "qk_norm", model_norm, false, false },
    { "rope", model_rope, false, false },         { "kv_store", NULL, false, false },
    { "attention", model_attention, false, true }, { "add", model_add, false, false },
    { "softmax", model_softmax, false, false },   { "router", model_router, false, false },
    { "moe_matmul", model_products, true, false }, { "swiglu", model_swiglu, false, false },
    { "moe_sum", model_moe_sum, false, false },   { "argmax", NULL, false, false },
};
enum { N_MODELS = sizeof models / sizeof models[0] };
enum {
    N_OPS = 0
#define FAL_OP(op) + 1
#include "harness/ops.def"
};
_Static_assert((int)N_MODELS == (int)N_OPS, "every op of harness/ops.def has a model here, or is known to compute nothing");

fal_arithmetic fal_error_model_relevant(const char *op, const fal_arithmetic *a)
{
    fal_arithmetic out = { .sum = a->sum, .in_order = a->in_order };
    for (int i = 0; i < N_MODELS; i++) {
        if (strcmp(models[i].op, op) != 0) continue;
        if (models[i].takes_activation) out.activation = a->activation;
        if (models[i].takes_kv) out.kv = a->kv;
    }
    return out;
}

const char *fal_error_model_output(const char *op)
{
    return strcmp(op, "router") == 0 ? "weights" : "y";
}

bool fal_error_model_make(const fal_op_case *c, int request, const fal_arithmetic *a, fal_error_model *m)
{
    const char *op = fal_op_of(c, request);
    *m = (fal_error_model){ 0 };
    int i = 0;
    while (i < N_MODELS && strcmp(models[i].op, op) != 0) i++;
    if (i == N_MODELS || !models[i].make) return fal_stop(c->out, FAL_ERROR, "%.40s computes nothing that could round", op);
    const fal_obs_tensor *const y = fal_op_out(c, request, fal_error_model_output(op));
    if (!y) return false;
    m->n = y->n;
    m->exact = malloc(6 * (y->n ? y->n : 1) * sizeof *m->exact);
    if (!m->exact) return fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", y->n);
    m->declared = m->exact + m->n;
    m->high = m->declared + m->n;
    m->low = m->high + m->n;
    m->last = m->low + m->n;
    m->noise = m->last + m->n;
    const bool ok = models[i].make(c, request, a, m);
    for (size_t k = 0; ok && a->in_order && k < m->n; k++) m->low[k] = m->high[k];
    return ok;
}

void fal_error_model_free(fal_error_model *m)
{
    free(m->exact);
    *m = (fal_error_model){ 0 };
}
