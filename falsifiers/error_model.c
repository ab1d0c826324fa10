/* Error models: how single roundings and sums err, and what that makes of matrix products; no constant fitted to data. */
#include "falsifiers/error_model_parts.h"

#include "harness/half.h"
#include "harness/type.h"
#include "reference/mirror.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double at(const fal_obs_tensor *t, size_t i)
{
    return fal_row_at(fal_row_whole(t), i);
}

double fal_roundoff(fal_sum s)
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

float fal_rounded_to(float v, int to) /* 0 f32, 1 f16, 2 bf16: the order of fal_activation and fal_kv */
{
    return to == 1 ? fal_half_to_float(fal_float_to_half(v)) : to == 2 ? to_bf16(v) : v;
}

/* ---- sums --------------------------------------------------------------------------------------------------------- */

void fal_running_add(fal_running *r, double p)
{
    r->sum += p;
    r->squares += p * p;
    r->chain += p * p + r->sum * r->sum;
    r->n++;
}

double fal_running_high(const fal_running *r, fal_sum s)
{
    return (square(fal_roundoff(s)) * r->chain + (double)r->n * square(smallest(s))) / 3;
}

/* A tree adds each term log2(n) times to others; terms of random signs, which is the least that can be expected. */
double fal_running_low(const fal_running *r, fal_sum s)
{
    const double levels = r->n > 1 ? log2((double)r->n) : 0;
    return square(fal_roundoff(s)) * r->squares * levels / 6;
}

/* Relative mean square of n roundings of a result. */
double fal_roundings(double y, double n, fal_sum s)
{
    return (square(fal_roundoff(s) * y) + square(smallest(s))) * n / 3;
}

void fal_error_put(fal_error_model *m, size_t i, double exact, double declared, double high, double low, double noise)
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
    float *x, *step; /* step: distance of neighbouring codes, per element */
    double *entered; /* not rounded: kernels that sum codes never make a float32 of code times scale */
} entering;

static bool enter(const fal_obs_tensor *x, size_t n, fal_activation act, entering *e)
{
    const size_t block = fal_mirror_block(act), rows = x->n / n;
    *e = (entering){ .act = act, .n = n, .x = malloc(x->n * (2 * sizeof(float) + sizeof(double))) };
    signed char *q = block ? malloc(n) : NULL;
    float *d = block ? malloc(n / block * sizeof *d) : NULL;
    const bool ok = e->x && (!block || (q && d));
    e->step = e->x + x->n;
    e->entered = (double *)(void *)(e->step + x->n); /* behind an even number of floats */
    for (size_t i = 0; ok && i < x->n; i++) {
        const float v = (float)at(x, i);
        int exponent;
        frexpf(v, &exponent);
        e->x[i] = v;
        e->entered[i] = block ? (double)v : (double)fal_rounded_to(v, (int)act);
        e->step[i] = act == FAL_ACTIVATION_F16    ? ldexpf(1, exponent - 11)
                     : act == FAL_ACTIVATION_BF16 ? ldexpf(1, exponent - 8)
                                                  : 0;
    }
    for (size_t row = 0; ok && block && row < rows; row++) {
        fal_mirror_quantise(act, e->x + row * n, n, q, d);
        for (size_t i = 0; i < n; i++) {
            e->entered[row * n + i] = (double)d[i / block] * q[i];
            e->step[row * n + i] = fabsf(d[i / block]);
        }
    }
    free(d);
    free(q);
    if (!ok) free(e->x);
    return ok;
}

/* A float sum whose scales and minima are taken out of the sums over 32 columns: scale * sum(code x) - min * sum(x). Either sum
   can be much larger than what they leave, and so are its roundings. */
static double factored_high(const double *entered, size_t n, const float *w, const float *no_minima, fal_sum sum)
{
    fal_running codes = { 0 }, rest = { 0 }, outer = { 0 };
    double high = 0;
    for (size_t c = 0; c < n; c++) {
        const double of_codes = (double)no_minima[c] * entered[c];
        fal_running_add(&codes, of_codes);
        fal_running_add(&rest, (double)w[c] * entered[c] - of_codes);
        if ((c + 1) % 32 && c + 1 < n) continue;
        /* scale and product with it, of each */
        high += fal_running_high(&codes, sum) + fal_running_high(&rest, sum) + fal_roundings(codes.sum, 2, sum) + fal_roundings(rest.sum, 2, sum);
        fal_running_add(&outer, codes.sum + rest.sum);
        codes = rest = (fal_running){ 0 };
    }
    return high + fal_running_high(&outer, sum);
}

/* One output: weight row w (decoded) with row x of what entered. no_minima: the same row decoded without its minima, where
   it has any. Integer sums keep codes and minima apart, each a sum of float terms, one for each 32 columns. */
static void put_product(const entering *e, size_t row, const float *w, const float *no_minima, fal_sum sum, fal_error_model *m, size_t i)
{
    const float *x = e->x + row * e->n, *step = e->step + row * e->n;
    const double *entered = e->entered + row * e->n;
    fal_running r = { 0 }, minima = { 0 };
    double exact = 0, declared = 0, noise = 0, codes = 0, rest = 0;
    for (size_t c = 0; c < e->n; c++) {
        const double p = (double)w[c] * entered[c];
        exact += (double)w[c] * (double)x[c];
        declared += p;
        noise += square((double)w[c] * (double)step[c]) / 12;
        if (sum != FAL_SUM_I32) {
            fal_running_add(&r, p);
            continue;
        }
        const double of_codes = no_minima ? (double)no_minima[c] * entered[c] : p;
        codes += of_codes;
        rest += p - of_codes;
        if ((c + 1) % 32 && c + 1 < e->n) continue;
        fal_running_add(&r, codes);
        if (no_minima) fal_running_add(&minima, rest);
        codes = rest = 0;
    }
    const bool integers = sum == FAL_SUM_I32;
    const double join = integers && no_minima ? fal_roundings(declared, 1, sum) : 0;
    double high = fal_running_high(&r, sum) + fal_running_high(&minima, sum) + join;
    if (!integers && no_minima) high = fmax(high, factored_high(entered, e->n, w, no_minima, sum));
    fal_error_put(m, i, exact, declared, high, fal_running_low(&r, sum) + fal_running_low(&minima, sum), noise);
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

bool fal_model_products(const fal_op_case *c, int r, const fal_arithmetic *a, const char *weights, fal_error_model *m)
{
    const bool pair = strcmp(fal_op_of(c, r), "moe_swiglu") == 0, moe = pair || strcmp(fal_op_of(c, r), "moe_matmul") == 0;
    const char *type_name = json_string_value(json_object_get(json_object_get(fal_about_request(c->in->got, r), "params"), "type"));
    const uint32_t type = (uint32_t)(type_name ? fal_type_by_name(type_name) : -1);
    const fal_dequant_fn decode = fal_dequant_find(type);
    const int64_t n_in = fal_op_dim(c, r, pair ? "n_embd" : "n_in"), n_out = fal_op_dim(c, r, pair ? "n_ff" : "n_out");
    const fal_obs_tensor *const w = fal_op_in(c, r, weights), *const x = w ? fal_op_in(c, r, "x") : NULL;
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
        return fal_stop(c->out, FAL_ERROR, "request %d: type, %lld columns and %lld rows do not fit in.%s, in.x and out.y", r, (long long)n_in, (long long)n_out, weights);
    /* sums of codes are integers only where there are codes */
    const fal_sum sum = a->sum == FAL_SUM_I32 && !fal_mirror_block(act) ? FAL_SUM_F32 : a->sum;
    entering e;
    float *row = malloc(2 * n * sizeof *row + row_bytes);
    float *const no_minima = row && (type == FAL_TYPE_Q4_K || type == FAL_TYPE_Q5_K) ? row + n : NULL;
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

static bool model_one_product(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m)
{
    return fal_model_products(c, r, a, "w", m);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *op;
    bool (*make)(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
    bool takes_activation, takes_kv;
} models[] = {
    { "embed", fal_model_embed, false, false },       { "rmsnorm", fal_model_norm, false, false },
    { "matmul", model_one_product, true, false },    { "qk_norm", fal_model_norm, false, false },
    { "rope", fal_model_rope, false, false },         { "kv_store", NULL, false, false },
    { "attention", fal_model_attention, false, true }, { "add", fal_model_add, false, false },
    { "softmax", fal_model_softmax, false, false },   { "router", fal_model_router, false, false },
    { "moe_matmul", model_one_product, true, false }, { "swiglu", fal_model_swiglu, false, false },
    { "moe_swiglu", fal_model_moe_swiglu, true, false }, { "moe_sum", fal_model_moe_sum, false, false },   { "argmax", NULL, false, false },
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

fal_arithmetic fal_error_model_effective(const char *op, const char *type, const fal_arithmetic *a)
{
    fal_arithmetic out = fal_error_model_relevant(op, a);
    const bool codes = out.activation == FAL_ACTIVATION_Q8_0 || out.activation == FAL_ACTIVATION_Q8_K;
    if (codes && type) out.activation = fal_mirror_activation((uint32_t)fal_type_by_name(type), out.activation);
    if (out.sum == FAL_SUM_I32 && out.activation != FAL_ACTIVATION_Q8_0 && out.activation != FAL_ACTIVATION_Q8_K)
        out.sum = FAL_SUM_F32;
    return out;
}

bool fal_error_model_has(const char *op)
{
    int i = 0;
    while (i < N_MODELS && strcmp(models[i].op, op) != 0) i++;
    return i < N_MODELS && models[i].make;
}

const char *fal_error_model_output(const char *op)
{
    return strcmp(op, "router") == 0 ? "weights" : "y";
}

bool fal_error_model_alloc(fal_error_model *m, size_t n)
{
    *m = (fal_error_model){ .n = n, .exact = malloc(6 * (n ? n : 1) * sizeof *m->exact) };
    if (!m->exact) return false;
    m->declared = m->exact + n;
    m->high = m->declared + n;
    m->low = m->high + n;
    m->last = m->low + n;
    m->noise = m->last + n;
    return true;
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
    if (!fal_error_model_alloc(m, y->n)) return fal_stop(c->out, FAL_ERROR, "out of memory while judging %zu elements", y->n);
    const bool ok = models[i].make(c, request, a, m);
    for (size_t k = 0; ok && a->in_order && k < m->n; k++) m->low[k] = m->high[k];
    return ok;
}

void fal_error_model_free(fal_error_model *m)
{
    free(m->exact);
    *m = (fal_error_model){ 0 };
}
