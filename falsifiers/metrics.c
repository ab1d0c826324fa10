/* Distances between two rows of numbers: plain float64 sums, whose own error (n 2^-53) is far below f32 limits. */
#include "falsifiers/metrics.h"
#include "harness/judge.h" /* refuses -ffast-math, under which NaN could pass here */

#include <float.h>
#include <math.h>
#include <string.h>

fal_row fal_row_whole(const fal_obs_tensor *t)
{
    return (fal_row){ .t = t, .n = t->n };
}

fal_row fal_row_part(const fal_obs_tensor *t, size_t from, size_t n)
{
    return (fal_row){ .t = t, .from = from, .n = n };
}

fal_row fal_row_doubles(const double *d, size_t n)
{
    return (fal_row){ .d = d, .n = n };
}

size_t fal_dtype_size(fal_dtype dtype)
{
    switch (dtype) {
    case FAL_DTYPE_F32: return sizeof(float);
    case FAL_DTYPE_I32: return sizeof(int32_t);
    case FAL_DTYPE_I64: return sizeof(int64_t);
    case FAL_DTYPE_U8: break;
    }
    return 1;
}

static const unsigned char *bytes_at(fal_row r, size_t i)
{
    return (const unsigned char *)r.t->data + (r.from + i) * fal_dtype_size(r.t->dtype);
}

double fal_row_at(fal_row r, size_t i)
{
    if (!r.t) return r.d[r.from + i];
    const unsigned char *p = bytes_at(r, i);
    float f;
    int32_t i32;
    int64_t i64;
    switch (r.t->dtype) {
    case FAL_DTYPE_F32: memcpy(&f, p, sizeof f); return (double)f;
    case FAL_DTYPE_I32: memcpy(&i32, p, sizeof i32); return (double)i32;
    case FAL_DTYPE_I64: memcpy(&i64, p, sizeof i64); return (double)i64;
    case FAL_DTYPE_U8: break;
    }
    return (double)*p;
}

bool fal_row_valid(fal_row r, size_t i)
{
    const double v = fal_row_at(r, i);
    return r.t && r.t->dtype == FAL_DTYPE_I32 ? v >= 0 : isfinite(v);
}

/* Finite elements of f32 have squares up to 1.2e77, so no sum of them overflows float64. Doubles that come from closed
   forms are of the same order. */
double fal_cosine(fal_row got, fal_row want)
{
    if (got.n != want.n || got.n == 0) return NAN;
    double gg = 0, ww = 0, gw = 0;
    for (size_t i = 0; i < got.n; i++) {
        const double g = fal_row_at(got, i), w = fal_row_at(want, i);
        if (!fal_row_valid(got, i) || !fal_row_valid(want, i)) return NAN;
        gg += g * g;
        ww += w * w;
        gw += g * w;
    }
    if (!(gg > 0) || !(ww > 0)) return NAN;
    const double c = gw / (sqrt(gg) * sqrt(ww));
    return c > 1 ? 1 : c < -1 ? -1 : c;
}

/* Sums over two rows of F32 tensors: what the loop of fal_rel_l2 does, without asking for the type of every element. */
static bool sums_of_f32(fal_row got, fal_row want, double *dd, double *ww, bool *same)
{
    const unsigned char *const g_bytes = bytes_at(got, 0), *const w_bytes = bytes_at(want, 0);
    for (size_t i = 0; i < got.n; i++) {
        float gf, wf;
        memcpy(&gf, g_bytes + i * sizeof gf, sizeof gf);
        memcpy(&wf, w_bytes + i * sizeof wf, sizeof wf);
        const double g = (double)gf, w = (double)wf, d = g - w;
        if (!isfinite(gf) || !isfinite(wf)) return false;
        *same = *same && !(g < w) && !(g > w);
        *dd += d * d;
        *ww += w * w;
    }
    return true;
}

double fal_rel_l2(fal_row got, fal_row want)
{
    if (got.n != want.n || got.n == 0) return NAN;
    double dd = 0, ww = 0;
    bool same = true;
    const bool f32 = got.t && want.t && got.t->dtype == FAL_DTYPE_F32 && want.t->dtype == FAL_DTYPE_F32;
    if (f32 && !sums_of_f32(got, want, &dd, &ww, &same)) return NAN;
    for (size_t i = 0; i < (f32 ? 0 : got.n); i++) {
        const double g = fal_row_at(got, i), w = fal_row_at(want, i), d = g - w;
        if (!fal_row_valid(got, i) || !fal_row_valid(want, i)) return NAN;
        same = same && !(g < w) && !(g > w);
        dd += d * d;
        ww += w * w;
    }
    if (!(ww > 0)) return same ? 0 : (double)INFINITY;
    const double floor_norm = sqrt((double)got.n) * (double)FLT_MIN, norm = sqrt(ww);
    return sqrt(dd) / (norm > floor_norm ? norm : floor_norm);
}

double fal_max_abs(fal_row got, fal_row want)
{
    if (got.n != want.n || got.n == 0) return NAN;
    double most = 0;
    for (size_t i = 0; i < got.n; i++) {
        const double g = fal_row_at(got, i), w = fal_row_at(want, i), d = fabs(g - w);
        if (!fal_row_valid(got, i) || !fal_row_valid(want, i)) return NAN;
        if (!(d <= most)) most = d;
    }
    return most;
}

size_t fal_argmax(fal_row r)
{
    size_t best = 0;
    double most = fal_row_at(r, 0);
    for (size_t i = 1; i < r.n && !isnan(most); i++) {
        const double v = fal_row_at(r, i);
        if (!(v <= most)) {
            most = v;
            best = i;
        }
    }
    return best;
}

uint64_t fal_bits_different(fal_row got, fal_row want, size_t *first)
{
    uint64_t n = 0;
    const size_t size = fal_dtype_size(got.t->dtype);
    for (size_t i = 0; i < got.n; i++) {
        if (memcmp(bytes_at(got, i), bytes_at(want, i), size) == 0 && fal_row_valid(got, i)) continue;
        if (n == 0) *first = i;
        n++;
    }
    return n;
}

uint64_t fal_non_finite(fal_row r, size_t *first)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r.n; i++) {
        if (fal_row_valid(r, i)) continue;
        if (n == 0) *first = i;
        n++;
    }
    return n;
}

bool fal_all_zero(fal_row r)
{
    for (size_t i = 0; i < r.n; i++) {
        const double v = fal_row_at(r, i);
        if (!(v >= 0 && v <= 0)) return false;
    }
    return r.n > 0;
}

bool fal_same_bytes(fal_row a, fal_row b)
{
    return a.n == b.n && a.t->dtype == b.t->dtype && (a.n == 0 ||
           memcmp(bytes_at(a, 0), bytes_at(b, 0), a.n * fal_dtype_size(a.t->dtype)) == 0);
}

size_t fal_furthest(fal_row got, fal_row want)
{
    size_t at = 0;
    double most = -1;
    for (size_t i = 0; i < got.n; i++) {
        const double d = fabs(fal_row_at(got, i) - fal_row_at(want, i));
        if (!isfinite(d) || !fal_row_valid(got, i)) return i;
        if (d > most) {
            most = d;
            at = i;
        }
    }
    return at;
}
