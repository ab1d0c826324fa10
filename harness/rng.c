/* Reproducible random numbers: a counter-based generator with integer arithmetic only. */
#include "harness/rng.h"

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

fal_rng fal_rng_make(uint64_t seed, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    /* Mixed twice, so that neighbouring seeds do not give counters that overlap after a shift. */
    return (fal_rng){ mix(mix(seed + UINT64_C(0x9e3779b97f4a7c15)) ^ h) };
}

uint64_t fal_rng_bits(const fal_rng *r, uint64_t i)
{
    return mix(r->key + (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t fal_rng_below(const fal_rng *r, uint64_t i, uint64_t n)
{
    /* High half of bits x n, by 32-bit parts: the same on machines without a 128-bit integer. */
    const uint64_t b = fal_rng_bits(r, i);
    const uint64_t bl = b & 0xffffffffu, bh = b >> 32, nl = n & 0xffffffffu, nh = n >> 32;
    const uint64_t mid = bh * nl + ((bl * nl) >> 32);
    return bh * nh + (mid >> 32) + ((bl * nh + (mid & 0xffffffffu)) >> 32);
}

float fal_rng_unit(const fal_rng *r, uint64_t i)
{
    return (float)(fal_rng_bits(r, i) >> 40) * 0x1p-24f;
}

float fal_rng_gauss(const fal_rng *r, uint64_t i)
{
    int32_t sum = -6 * (1 << 24);
    for (uint64_t j = 0; j < 6; j++) {
        const uint64_t b = fal_rng_bits(r, 6 * i + j);
        sum += (int32_t)(b >> 40) + (int32_t)((b >> 8) & 0xffffff);
    }
    return (float)((double)sum * 0x1p-24);
}
