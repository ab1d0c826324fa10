/* Seeded tensor blocks of the types that a Q4_K_M file holds. */
#include "harness/synth_fill.h"

#include "harness/half.h"

#include <string.h>

/* SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that turns a counter into independent-looking bits. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t draw(uint64_t key, uint64_t i)
{
    return mix(key + i * 0x9e3779b97f4a7c15u);
}

uint64_t fal_synth_key(uint64_t seed, const char *name)
{
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15u);
    for (; *name; name++) h = mix(h ^ (unsigned char)*name);
    return h;
}

/* A scale is never 0: then no code would matter. */
static uint16_t scale(float x)
{
    const uint16_t h = fal_float_to_half(x);
    return h ? h : 1;
}

/* The sum of 12 uniforms about its mean: near enough to normal, standard deviation 1, and the same on every machine. */
static float gauss(uint64_t key, uint64_t i)
{
    int64_t sum = 0;
    for (uint64_t j = 0; j < 3; j++) {
        const uint64_t r = draw(key, 3 * i + j);
        for (int s = 0; s < 64; s += 16) sum += (int64_t)((r >> s) & 0xffffu);
    }
    return (float)(sum - 6 * 65535) / 65536.0f;
}

/* Q4_K: d f16, dmin f16, 12 bytes with eight 6-bit scales and mins, 128 bytes of codes. Weight = d sc q - dmin m; with
   dmin = 7.5 d and m close to sc the weights lie around 0. Codes are uniform (standard deviation 4.61), scales in 32..63
   (mean 47.5), so d = std / (4.61 x 48). The mins differ from the scales by up to 2, so that taking one for the other shows. */
static void q4_k(const fal_synth_fill *f, uint64_t b, unsigned char *out)
{
    const uint64_t base = b * 18;
    const uint64_t r0 = draw(f->key, base), r1 = draw(f->key, base + 1);
    const float wobble = 0.75f + (float)(r0 >> 40) * (0.5f / 16777216.0f);
    const uint16_t d = scale(f->std * wobble / (4.61f * 48.0f));
    const uint16_t dmin = scale(7.5f * fal_half_to_float(d)); /* of the rounded d, so that weights centre on 0 */
    unsigned sc[8], m[8];
    for (int j = 0; j < 8; j++) {
        sc[j] = 32u + ((r0 >> (5 * j)) & 31u);
        m[j] = sc[j] + ((r1 >> (8 * j)) & 3u);
        m[j] = m[j] >= 2 ? m[j] - 2 : 0;
        if (m[j] > 63) m[j] = 63;
    }
    memcpy(out, &d, 2);
    memcpy(out + 2, &dmin, 2);
    unsigned char *s = out + 4;
    for (int j = 0; j < 4; j++) {
        s[j] = (unsigned char)(sc[j] | (sc[j + 4] >> 4) << 6);
        s[j + 4] = (unsigned char)(m[j] | (m[j + 4] >> 4) << 6);
        s[j + 8] = (unsigned char)((sc[j + 4] & 15u) | (m[j + 4] & 15u) << 4);
    }
    for (uint64_t j = 0; j < 16; j++) {
        const uint64_t r = draw(f->key, base + 2 + j);
        memcpy(out + 16 + 8 * j, &r, 8);
    }
}

/* Q6_K: 128 bytes of low codes, 64 of high codes, 16 signed scales, d f16. Weight = d sc (q - 32), codes uniform
   (standard deviation 18.5), scales +-(32..95) (mean size 63.5), so d = std / (18.5 x 66). */
static void q6_k(const fal_synth_fill *f, uint64_t b, unsigned char *out)
{
    const uint64_t base = b * 28;
    for (uint64_t j = 0; j < 24; j++) {
        const uint64_t r = draw(f->key, base + j);
        memcpy(out + 8 * j, &r, 8);
    }
    const uint64_t r0 = draw(f->key, base + 24), r1 = draw(f->key, base + 25), r2 = draw(f->key, base + 26);
    for (int j = 0; j < 16; j++) {
        const unsigned v = (unsigned)(((j < 8 ? r0 : r1) >> (8 * (j & 7))) & 0x7fu);
        const int size = 32 + (int)(v & 63u);
        out[192 + j] = (unsigned char)(signed char)(v & 64u ? -size : size);
    }
    const uint16_t d = scale(f->std * (0.75f + (float)(r2 >> 40) * (0.5f / 16777216.0f)) / (18.5f * 66.0f));
    memcpy(out + 208, &d, 2);
}

void fal_synth_blocks(const fal_synth_fill *f, uint64_t first, uint64_t n, unsigned char *out)
{
    switch (f->type) {
    case FAL_TYPE_Q4_K:
        for (uint64_t i = 0; i < n; i++) q4_k(f, first + i, out + 144 * i);
        break;
    case FAL_TYPE_Q6_K:
        for (uint64_t i = 0; i < n; i++) q6_k(f, first + i, out + 210 * i);
        break;
    default:
        for (uint64_t i = 0; i < n; i++) {
            const float x = f->mean + f->std * gauss(f->key, first + i);
            memcpy(out + 4 * i, &x, 4);
        }
    }
}
