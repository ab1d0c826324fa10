/* Reproducible random numbers: integer arithmetic only, one independent stream per (seed, name), any draw by its index. */
#ifndef FAL_RNG_H
#define FAL_RNG_H

#include <stdint.h>

/* A stream; a plain value, copy freely. Draw i depends on (seed, name, i) alone, so arrays may grow without changing
   what they already held. */
typedef struct { uint64_t key; } fal_rng;

/* what    The stream of that seed and name.
   source  SplitMix64 output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), used
           as a counter-based generator; the key is an FNV-1a hash of the name, mixed with the seed */
fal_rng fal_rng_make(uint64_t seed, const char *name);
/* what    Draw i: 64 uniform bits. */
uint64_t fal_rng_bits(const fal_rng *r, uint64_t i);
/* what    Draw i as an integer in [0, n), n > 0; the bias is below n / 2^64. */
uint64_t fal_rng_below(const fal_rng *r, uint64_t i, uint64_t n);
/* what    Draw i as a multiple of 2^-24 in [0, 1). */
float fal_rng_unit(const fal_rng *r, uint64_t i);
/* what    Draw i of a sum of 12 uniforms less 6: mean 0, variance 1, within (-6, 6). The sum is an integer, rounded to
           f32 once, so that the bytes are the same on every machine (a normal deviate by libm's log and cos is not).
           Uses the draws 6i to 6i + 5 of the stream. */
float fal_rng_gauss(const fal_rng *r, uint64_t i);

#endif
