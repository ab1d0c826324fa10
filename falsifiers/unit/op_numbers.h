/* Numbers for tests of ops: seeded inputs, weight blocks with known values, comparison with a long double result. */
#ifndef FAL_OP_NUMBERS_H
#define FAL_OP_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

/* Whatever fails here ends the running test. Memory is the caller's (free). */

void *fal_test_take(size_t n, size_t unit); /* n elements of unit bytes, all 0xFF */
float *fal_test_floats(size_t n);
/* what    n numbers in [-scale, scale), with full 24-bit fractions. */
void fal_test_fill(float *x, size_t n, float scale, uint64_t seed);
float *fal_test_filled(size_t n, float scale, uint64_t seed);

/* 64 blocks of a type and their n values as the gguf package decodes them (falsifiers/vectors). */
typedef struct {
    unsigned char *blocks;
    float *values;
    size_t n;
} fal_test_weights;
fal_test_weights fal_test_weights_load(const char *stem);
void fal_test_weights_free(fal_test_weights *w);

/* what    The rule of all ops of the reference: one rounding to f32 (half a unit, 2^-24 relative, or half the smallest
           subnormal) after float64 sums of n_terms terms, each of which may lose 2^-53 of the sum of magnitudes. */
void fal_test_near(const char *what, size_t i, float got, long double want, size_t n_terms, long double magnitude);
/* what    The same for got = sum_c w[c] x[c] over n. */
void fal_test_near_dot(const char *what, size_t i, float got, const float *w, const float *x, size_t n);

#endif
