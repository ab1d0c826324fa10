/* Numbers for tests of ops. */
#include "falsifiers/unit/op_numbers.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void fal_test_fill(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)(next(&seed) >> 11) * 0x1p-52 - 1.0) * scale;
}

void *fal_test_take(size_t n, size_t unit)
{
    void *p = malloc(n * unit);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xFF, n * unit);
    return p;
}

float *fal_test_floats(size_t n)
{
    return fal_test_take(n, sizeof(float));
}

float *fal_test_filled(size_t n, float scale, uint64_t seed)
{
    float *x = fal_test_floats(n);
    fal_test_fill(x, n, scale, seed);
    return x;
}

void fal_test_near(const char *what, size_t i, float got, long double want, size_t n_terms, long double magnitude)
{
    const long double summing = (long double)(n_terms + 8) * 0x1p-53L * magnitude;
    const long double bound = fabsl(want) * 0x1.00001p-24L + summing + 0x1p-150L;
    ck_assert_msg(fabsl((long double)got - want) <= bound, "%s[%zu]: %a, expected %La +- %La", what, i, (double)got,
                  want, bound);
}

static void *read_all(const char *stem, const char *ending, size_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "falsifiers/vectors/%s.%s", stem, ending);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    unsigned char *bytes = fal_test_take(1 << 17, 1);
    *n = fread(bytes, 1, 1 << 17, f);
    ck_assert_uint_gt(*n, 0);
    fclose(f);
    return bytes;
}

fal_test_weights fal_test_weights_load(const char *stem)
{
    fal_test_weights w;
    size_t n_bytes;
    w.blocks = read_all(stem, "blocks", &n_bytes);
    w.values = read_all(stem, "f32", &n_bytes);
    w.n = n_bytes / sizeof(float);
    return w;
}

void fal_test_weights_free(fal_test_weights *w)
{
    free(w->blocks);
    free(w->values);
}

void fal_test_near_dot(const char *what, size_t i, float got, const float *w, const float *x, size_t n)
{
    long double want = 0.0L, magnitude = 0.0L;
    for (size_t c = 0; c < n; c++) {
        want += (long double)w[c] * x[c];
        magnitude += fabsl((long double)w[c] * x[c]);
    }
    fal_test_near(what, i, got, want, n, magnitude);
}
