/* Proves from the bytes of a drawn fixture that no order of summation can round its results, and plants faults in it. */
#include "harness/fixture_exact.h"
#include "harness/half.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A float32 holds every integer up to 2^24. Where all terms of a sum are multiples of one unit and the sum of their sizes
   is at most 2^24 units, every sum of some of them, in any order, is such an integer: nothing is ever rounded. */
#define MOST_UNITS 0x1p24
#define FAR 130 /* exp(-130) is 0 in float32 (below 2^-187), and leaves 1 in float64 as it is */

int fal_fixture_lowest_bit(double v)
{
    int e;
    int64_t m = (int64_t)ldexp(frexp(fabs(v), &e), 53);
    e -= 53;
    for (; m != 0 && (m & 1) == 0; m >>= 1) e++;
    return e;
}

static void lower(int *unit, double v)
{
    const int e = fal_fixture_lowest_bit(v);
    if (e < *unit) *unit = e;
}

static double half_at(const unsigned char *p)
{
    return (double)fal_half_to_float((uint16_t)(p[0] | p[1] << 8));
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* Q4_K and Q5_K: head of 16 bytes, then (Q5_K) 32 bytes of fifth bits, then 4 runs of 32 code bytes. */
static bool k_quant_sizes(const unsigned char *b, bool five, double *size, double *value, int *unit)
{
    const double d = half_at(b), dmin = half_at(b + 2);
    const unsigned char *s = b + 4, *high = b + 16, *codes = five ? b + 48 : b + 16;
    bool whole = fabs(d) > 0 && fabs(dmin) > 0 && isfinite(d) && isfinite(dmin);
    if (!whole) return false;
    lower(unit, d);
    lower(unit, dmin);
    for (int j = 0; j < 8; j++) {
        const int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        const int m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
        whole = whole && sc > 0 && m > 0;
        for (int i = 0; i < 32; i++) {
            int q = codes[32 * (j / 2) + i] >> 4 * (j & 1) & 15;
            if (five) q |= (high[i] >> j & 1) << 4;
            size[32 * j + i] = fabs(d) * sc * q + fabs(dmin) * m;
            if (value) value[32 * j + i] = d * sc * q - dmin * m;
        }
    }
    return whole;
}

static bool q6_k_sizes(const unsigned char *b, double *size, double *value, int *unit)
{
    const double d = half_at(b + 208);
    bool whole = fabs(d) > 0 && isfinite(d);
    if (!whole) return false;
    lower(unit, d);
    for (int c = 0; c < 256; c++) {
        const int half = c / 128, run = c % 128 / 32, i = c % 32;
        const int low = b[64 * half + 32 * (run & 1) + i] >> 4 * (run >> 1) & 15;
        const int high = b[128 + 32 * half + i] >> 2 * run & 3;
        const int sc = (signed char)b[192 + c / 16];
        whole = whole && sc != 0;
        const double v = d * sc * ((low | high << 4) - 32);
        size[c] = fabs(v);
        if (value) value[c] = v;
    }
    return whole;
}

static bool q8_0_sizes(const unsigned char *b, double *size, double *value, int *unit)
{
    const double d = half_at(b);
    if (!(fabs(d) > 0) || !isfinite(d)) return false;
    lower(unit, d);
    for (int c = 0; c < 32; c++) {
        const double v = d * (signed char)b[2 + c];
        size[c] = fabs(v);
        if (value) value[c] = v;
    }
    return true;
}

static bool float_size(uint32_t type, const unsigned char *b, double *size, double *value, int *unit)
{
    float v;
    const uint32_t bf16 = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 24;
    if (type == FAL_TYPE_F16) v = (float)half_at(b);
    else memcpy(&v, type == FAL_TYPE_BF16 ? (const void *)&bf16 : b, sizeof v);
    *size = fabs((double)v);
    if (value) *value = (double)v;
    if (!(*size > 0) || !isfinite(v)) return false;
    lower(unit, (double)v);
    return true;
}

bool fal_fixture_row_sizes(uint32_t type, const unsigned char *row, size_t n, double *size, double *value, int *unit)
{
    const fal_type_info *t = fal_type_get(type);
    bool whole = true;
    for (size_t c = 0; c < n; c += t->block_elems, row += t->block_bytes) {
        double *const v = value ? value + c : NULL;
        switch (type) {
        case FAL_TYPE_Q4_K:
        case FAL_TYPE_Q5_K: whole = k_quant_sizes(row, type == FAL_TYPE_Q5_K, size + c, v, unit) && whole; break;
        case FAL_TYPE_Q6_K: whole = q6_k_sizes(row, size + c, v, unit) && whole; break;
        case FAL_TYPE_Q8_0: whole = q8_0_sizes(row, size + c, v, unit) && whole; break;
        default: whole = float_size(type, row, size + c, v, unit) && whole;
        }
    }
    return whole;
}

/* ---- what is not shown -------------------------------------------------------------------------------------------- */

static fal_status unproven(const fal_fixture *f, fal_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static fal_status unproven(const fal_fixture *f, fal_error *err, const char *fmt, ...)
{
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return fal_fail(err, FAL_ERR_INPUT, "use shorter rows, or another fill", "%s: results of fill exact could round: %s", f->op, why);
}

/* The largest size of an array's values and the lowest bit of any. False when one is not finite. */
static bool extent(const fal_buffer *b, double *most, int *unit, bool *any_zero)
{
    const float *v = b->data;
    *most = 0;
    *unit = 1024;
    *any_zero = false;
    for (size_t i = 0; i < b->n; i++) {
        const double a = fabs((double)v[i]);
        if (!isfinite(a)) return false;
        if (a > *most) *most = a;
        if (a > 0) lower(unit, a);
        else *any_zero = true;
    }
    return *most > 0;
}

/* ---- embed and matrix products ------------------------------------------------------------------------------------ */

static fal_status prove_products(const fal_fixture *f, const fal_buffer *w, fal_error *err)
{
    const fal_buffer *x = fal_fixture_array(f, "x"); /* none for embed */
    const double most_units = ldexp(1, fal_fixture_most_bits(f));
    size_t rows, n;
    fal_fixture_weight_shape(f, &rows, &n);
    double *size = malloc(2 * n * sizeof *size), *most = size + n;
    if (!size) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    int x_unit = x ? 1024 : 0;
    fal_status st = FAL_OK;
    for (size_t c = 0; c < n; c++) most[c] = x ? 0 : 1;
    for (size_t i = 0; x && i < x->n; i++) {
        const double a = fabs((double)((const float *)x->data)[i]);
        if (!isfinite(a)) st = unproven(f, err, "x[%zu] is not finite", i);
        if (a > most[i % n]) most[i % n] = a;
        if (a > 0) lower(&x_unit, a);
        else if (i < n) st = unproven(f, err, "x[0, %zu] is 0, so faults in that column would not be seen", i);
    }
    for (size_t row = 0; row < rows && !st; row++) {
        int unit = 1024;
        double sum = 0;
        if (!fal_fixture_row_sizes(f->type, (const unsigned char *)w->data + row * (w->nbytes / rows), n, size, NULL, &unit))
            st = unproven(f, err, "a scale, minimum or weight of row %zu is 0 or not finite", row);
        for (size_t c = 0; c < n; c++) sum = x ? sum + size[c] * most[c] : fmax(sum, size[c]);
        const double units = sum * ldexp(1, -unit - x_unit);
        if (!st && !(units <= most_units))
            st = unproven(f, err, "the terms of row %zu of %s add up to %.0f units of 2^%d, more than 2^%d", row, w->name, units,
                          unit + x_unit, fal_fixture_most_bits(f));
        /* exp(-256) is lost beside 1, and as a factor leaves nothing of any float32 */
        if (!st && strcmp(w->name, "w_gate") == 0 && unit + x_unit < 8)
            st = unproven(f, err, "gates of row %zu are multiples of 2^%d: they could be neither 0 nor large", row, unit + x_unit);
    }
    free(size);
    return st;
}

static fal_status prove_weights(const fal_fixture *f, fal_error *err)
{
    fal_status st = FAL_OK;
    for (int i = 0; i < f->n_buffers && st == FAL_OK; i++)
        if (f->roles[i] == ROLE_WEIGHT) st = prove_products(f, &f->buffers[i], err);
    return st;
}

/* ---- norms -------------------------------------------------------------------------------------------------------- */

static bool is_power(double v)
{
    int e;
    const double m = frexp(v, &e);
    return m >= 0.5 && m <= 0.5;
}

static fal_status prove_norm(const fal_fixture *f, fal_error *err)
{
    const fal_buffer *x = fal_fixture_array(f, "x");
    const size_t n = (size_t)x->ne[x->n_dims - 1];
    for (size_t row = 0; row < x->n / n; row++) {
        const float *v = (const float *)x->data + row * n;
        double sum = 0;
        int unit = 1024;
        for (size_t i = 0; i < n; i++) {
            if (!is_power(fabs((double)v[i]))) return unproven(f, err, "x[%zu, %zu] is no power of two", row, i);
            sum += (double)v[i] * (double)v[i];
            lower(&unit, (double)v[i]);
        }
        const double mean = sum / (double)n;
        int e;
        if (!(sum <= ldexp(MOST_UNITS, 2 * unit)) || !is_power(mean) || (frexp(mean, &e), e % 2 == 0) ||
            mean * (double)n < sum || mean * (double)n > sum)
            return unproven(f, err, "the mean square %.9g of row %zu is no power of four", mean, row);
        if (!(f->value[KEY_eps] <= mean * 0x1p-25))
            return unproven(f, err, "eps %g does not vanish beside %.9g", f->value[KEY_eps], mean);
    }
    return FAL_OK;
}

/* ---- attention ---------------------------------------------------------------------------------------------------- */

static fal_status prove_attention(const fal_fixture *f, fal_error *err)
{
    const fal_buffer *q = fal_fixture_array(f, "q"), *k = fal_fixture_array(f, "k_cache"), *v = fal_fixture_array(f, "v_cache");
    const size_t heads = (size_t)q->ne[1], kv_heads = (size_t)k->ne[1], dim = (size_t)q->ne[2];
    const double far = FAR * sqrt((double)dim);
    double most_q, most_k, most_v;
    int unit_q, unit_k, unit_v;
    bool zero;
    double *dots = malloc((size_t)k->ne[0] * sizeof *dots);
    if (!dots) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    fal_status st = FAL_OK;
    if (!extent(q, &most_q, &unit_q, &zero) || !extent(k, &most_k, &unit_k, &zero) || !extent(v, &most_v, &unit_v, &zero) || zero)
        st = unproven(f, err, "an input is not finite, or a value is 0");
    else if (!(most_q * most_k * (double)dim <= ldexp(MOST_UNITS, unit_q + unit_k)) || !(2 * most_v <= ldexp(MOST_UNITS, unit_v - 1)))
        st = unproven(f, err, "scores or values need more than 2^24 units");
    for (size_t row = 0; row < q->n / dim && !st; row++) {
        const size_t n = (size_t)f->value[KEY_first_pos] + row / heads + 1, g = row % heads / (heads / kv_heads);
        const float *const q_r = (const float *)q->data + row * dim, *const k_g = (const float *)k->data + g * dim;
        double top = -(double)INFINITY;
        size_t ties = 0;
        for (size_t p = 0; p < n; p++) {
            dots[p] = 0;
            for (size_t d = 0; d < dim; d++) dots[p] += (double)q_r[d] * (double)k_g[p * kv_heads * dim + d];
            if (dots[p] > top) top = dots[p];
        }
        for (size_t p = 0; p < n && !st; p++) {
            if (dots[p] >= top) ties++;
            else if (!(dots[p] <= top - far)) st = unproven(f, err, "the score of position %zu for row %zu lies too close below the largest", p, row);
        }
        if (!st && (ties & (ties - 1)) != 0) st = unproven(f, err, "%zu positions share the largest score of row %zu", ties, row);
        for (size_t d = 0; d < dim && !st; d++) {
            double sum = 0;
            for (size_t p = 0; p < n; p++)
                if (dots[p] >= top) sum += (double)((const float *)v->data)[(p * kv_heads + g) * dim + d];
            if (!(fabs(sum) > 0)) st = unproven(f, err, "result %zu of row %zu is 0, whose sign is not defined", d, row);
        }
    }
    free(dots);
    return st;
}

/* ---- softmax, router, swiglu -------------------------------------------------------------------------------------- */

static fal_status prove_softmax(const fal_fixture *f, fal_error *err)
{
    const fal_buffer *x = fal_fixture_array(f, "x");
    const size_t n = (size_t)x->ne[1];
    for (size_t row = 0; row < x->n / n; row++) {
        const float *v = (const float *)x->data + row * n;
        float top = v[0];
        size_t ties = 0;
        for (size_t i = 1; i < n; i++) top = v[i] > top ? v[i] : top;
        for (size_t i = 0; i < n; i++) {
            ties += v[i] >= top;
            if (v[i] < top && !((double)v[i] <= (double)top - FAR)) return unproven(f, err, "x[%zu, %zu] lies too close below the maximum", row, i);
            if (!(fabsf(v[i]) <= 0x1p20f) || v[i] > floorf(v[i])) return unproven(f, err, "x[%zu, %zu] is no small integer", row, i);
        }
        if ((ties & (ties - 1)) != 0) return unproven(f, err, "%zu columns share the maximum of row %zu", ties, row);
    }
    return FAL_OK;
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static fal_status prove_router(const fal_fixture *f, fal_error *err)
{
    const fal_buffer *p = fal_fixture_array(f, "probs");
    const size_t n = (size_t)p->ne[1], used = (size_t)f->value[KEY_n_expert_used];
    float *sorted = malloc(n * sizeof *sorted);
    if (!sorted) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    fal_status st = FAL_OK;
    for (size_t row = 0; row < p->n / n && !st; row++) {
        memcpy(sorted, (const float *)p->data + row * n, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, descending);
        double sum = 0;
        int unit = 1024;
        for (size_t s = 0; s < used; s++) {
            sum += (double)sorted[s];
            if (sorted[s] > 0) lower(&unit, (double)sorted[s]);
        }
        if (!is_power(sum) || !(sum <= ldexp(MOST_UNITS, unit)) || !(sorted[used - 1] > 0))
            st = unproven(f, err, "the chosen probabilities of row %zu add up to %.9g, no power of two", row, sum);
    }
    free(sorted);
    return st;
}

static fal_status prove_swiglu(const fal_fixture *f, fal_error *err)
{
    const fal_buffer *gate = fal_fixture_array(f, "gate"), *up = fal_fixture_array(f, "up");
    double most_gate, most_up;
    int unit_gate, unit_up;
    bool zero_gate, zero_up;
    if (!extent(gate, &most_gate, &unit_gate, &zero_gate) || !extent(up, &most_up, &unit_up, &zero_up) || zero_up)
        return unproven(f, err, "gate or up is not finite, or up is 0");
    if (!(most_gate * most_up <= ldexp(MOST_UNITS, unit_gate + unit_up)))
        return unproven(f, err, "gate times up needs more than 2^24 units");
    for (size_t i = 0; i < gate->n; i++) {
        const double g = fabs((double)((const float *)gate->data)[i]);
        if (g > 0 && !(g >= 128)) return unproven(f, err, "gate[%zu] is neither 0 nor large", i);
    }
    return FAL_OK;
}

/* ---- sums of a few products --------------------------------------------------------------------------------------- */

/* n_terms terms a * b (b NULL: a alone), any of which may be as large as the largest. */
static fal_status prove_sum(const fal_fixture *f, const char *a, const char *b, double n_terms, fal_error *err)
{
    double most_a, most_b = 1;
    int unit_a, unit_b = 0;
    bool zero_a, zero_b = false;
    if (!extent(fal_fixture_array(f, a), &most_a, &unit_a, &zero_a) ||
        (b && !extent(fal_fixture_array(f, b), &most_b, &unit_b, &zero_b)) || zero_a || zero_b)
        return unproven(f, err, "an input is 0 or not finite");
    const double units = n_terms * most_a * most_b * ldexp(1, -unit_a - unit_b);
    if (units <= MOST_UNITS) return FAL_OK;
    return unproven(f, err, "%s needs %.0f units, more than 2^24", a, units);
}

fal_status fal_fixture_prove(const fal_fixture *f, fal_error *err)
{
    const char *op = f->op;
    if (f->has_type) return prove_weights(f, err);
    if (strcmp(op, "rmsnorm") == 0 || strcmp(op, "qk_norm") == 0) return prove_norm(f, err);
    if (strcmp(op, "attention") == 0) return prove_attention(f, err);
    if (strcmp(op, "softmax") == 0) return prove_softmax(f, err);
    if (strcmp(op, "router") == 0) return prove_router(f, err);
    if (strcmp(op, "swiglu") == 0) return prove_swiglu(f, err);
    if (strcmp(op, "moe_sum") == 0) return prove_sum(f, "x", "weights", f->value[KEY_n_expert_used], err);
    if (strcmp(op, "add") == 0) {
        const fal_status st = prove_sum(f, "a", NULL, 2, err);
        return st ? st : prove_sum(f, "b", NULL, 2, err);
    }
    if (strcmp(op, "rope") == 0) {
        const fal_status st = prove_sum(f, "x", "cos", 2, err);
        return st ? st : prove_sum(f, "x", "sin", 2, err);
    }
    return FAL_OK; /* kv_store, argmax: nothing is computed */
}

/* ---- faults ------------------------------------------------------------------------------------------------------- */

/* The rows that the op reads: of the tokens, of all experts that were chosen, or all. used: one flag a row. */
static void mark_read(const fal_fixture *f, bool *used, size_t rows)
{
    const fal_buffer *ids = fal_fixture_array(f, "ids"), *tokens = fal_fixture_array(f, "tokens");
    const fal_buffer *chosen = tokens ? tokens : ids && ids->is_input ? ids : NULL;
    const size_t span = chosen ? tokens ? 1 : (size_t)f->value[KEY_n_out] : rows;
    memset(used, !chosen, rows);
    for (size_t i = 0; chosen && i < chosen->n; i++) memset(used + (size_t)((const int32_t *)chosen->data)[i] * span, 1, span);
}

/* Whether outputs show that the weights of columns [at, at + n) of a row changed from was to is: the probe of their block
   if there is one, else a row of all columns. A changed scale of a block is no power of two: it must outweigh rounding. */
static bool shows(const fal_fixture *f, size_t row, size_t at, size_t n, const double *was, const double *is, bool rounds)
{
    const fal_buffer *x = fal_fixture_array(f, "x"), *ids = fal_fixture_array(f, "ids");
    if (!x) return true; /* embed: each weight is an output */
    size_t rows, columns;
    fal_fixture_weight_shape(f, &rows, &columns);
    const size_t used = ids ? (size_t)ids->ne[1] : 1, shared = x->n_dims == 2 ? used : 1, block = at / 256 * 256;
    bool seen = false, any_probe = false;
    for (size_t i = 0; i < x->n / columns * shared; i++) {
        if (ids && (size_t)((const int32_t *)ids->data)[i] != row / (size_t)f->value[KEY_n_out]) continue;
        const float *v = (const float *)x->data + i / shared * columns;
        bool inside = false, outside = false;
        double change = 0, size = 0;
        for (size_t c = 0; c < columns; c++) {
            if (v[c] > 0 || v[c] < 0) *(c / 256 * 256 == block ? &inside : &outside) = true;
            if (c < at || c >= at + n) continue;
            change += (is[c - at] - was[c - at]) * (double)v[c];
            size += fabs(is[c - at] * (double)v[c]) + fabs(was[c - at] * (double)v[c]);
        }
        const bool here = rounds ? fabs(change) > 0x1p-14 * size : fabs(change) > 0, is_probe = inside && !outside;
        if (!inside || (any_probe && !is_probe)) continue;
        seen = is_probe && !any_probe ? here : seen || here;
        any_probe = any_probe || is_probe;
    }
    return seen;
}

/* Changes one nibble by a mask that is not 0, at the first place from a random one on where that shows. */
static bool spoil(const fal_fixture *f, const fal_rng *r, uint64_t at, size_t row, size_t row_bytes)
{
    const fal_type_info *t = fal_type_get(f->type);
    unsigned char *bytes = (unsigned char *)fal_fixture_array(f, "w")->data + row * row_bytes;
    size_t byte = (size_t)fal_rng_below(r, at, row_bytes);
    if (f->type == FAL_TYPE_F32) byte |= 2; /* what is below the last unit could be lost in the sum */
    const int shift = 4 * (int)(fal_rng_bits(r, at + 1) & 1), mask = (int)fal_rng_below(r, at + 2, 15);
    const size_t block = byte / t->block_bytes, in_block = byte % t->block_bytes;
    const bool rounds = t->block_elems == 1 || (f->type == FAL_TYPE_Q6_K ? in_block >= 208 : f->type == FAL_TYPE_Q8_0 ? in_block < 2 : in_block < 4);
    unsigned char *b = bytes + block * t->block_bytes;
    double size[256], was[256], is[256];
    int unit = 0;
    fal_fixture_row_sizes(f->type, b, t->block_elems, size, was, &unit);
    for (int i = 0; i < 15; i++) {
        const unsigned char change = (unsigned char)((1 + (mask + i) % 15) << shift);
        for (size_t c = 0; c < t->block_elems; c++) is[c] = NAN; /* stays so when a scale is 0 or infinite */
        bytes[byte] ^= change;
        fal_fixture_row_sizes(f->type, b, t->block_elems, size, is, &unit);
        bool finite = true;
        for (size_t c = 0; c < t->block_elems; c++) finite = finite && isfinite(is[c]);
        /* infinity times 0 would show a fault in columns that have none */
        if (finite && shows(f, row, block * t->block_elems, t->block_elems, was, is, rounds)) return true;
        bytes[byte] ^= change;
    }
    return false;
}

fal_status fal_fixture_plant(const fal_fixture *f, fal_error *err)
{
    const size_t faults = (size_t)f->value[KEY_faults];
    const fal_buffer *w = fal_fixture_array(f, "w");
    size_t rows, n, n_read = 0;
    fal_fixture_weight_shape(f, &rows, &n);
    bool *used = malloc(rows);
    size_t *read = malloc(rows * sizeof *read);
    fal_status st = FAL_OK;
    if (!used || !read) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    if (!st) {
        mark_read(f, used, rows);
        for (size_t i = 0; i < rows; i++)
            if (used[i]) read[n_read++] = i;
        if (faults > n_read)
            st = fal_fail(err, FAL_ERR_INPUT, "use fewer faults", "%s: %zu faults for the %zu rows that are read", f->op, faults, n_read);
    }
    const fal_rng r = fal_rng_make(f->seed, "faults");
    const size_t row_bytes = w->nbytes / rows;
    for (size_t i = 0; i < faults && !st; i++) {
        const size_t from = i * n_read / faults, end = (i + 1) * n_read / faults; /* one in each stretch of rows */
        const size_t row = read[from + fal_rng_below(&r, 8 * i, end - from)];
        bool planted = false;
        for (uint64_t k = 0; k < 8 && !planted; k++) planted = spoil(f, &r, 32 * (faults + i) + 4 * k, row, row_bytes);
        if (!planted) st = fal_fail(err, FAL_ERR_INPUT, "use more tokens", "%s: no fault of row %zu would show", f->op, row);
    }
    free(read);
    free(used);
    return st;
}
