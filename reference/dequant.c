/* Weight blocks of GGUF files to f32, one function per type, with the very f32 values that the formats define. */
#include "reference/reference.h"

#include "harness/half.h"
#include "harness/type.h"

#include <string.h>

static float half_at(const unsigned char *p)
{
    return fal_half_to_float((uint16_t)(p[0] | p[1] << 8)); /* files are little-endian */
}

static void dequant_f32(const unsigned char *blocks, size_t n_blocks, float *out)
{
    memcpy(out, blocks, n_blocks * sizeof *out); /* rows may be unaligned, so no cast */
}

static void dequant_f16(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t i = 0; i < n_blocks; i++) out[i] = half_at(blocks + 2 * i);
}

/* BF16, one element in 2 bytes: the upper half of the f32, sign, 8 bits of exponent and 7 of fraction:

     f32 bit   31      30 .. 23    22 .. 16          15 .. 0
               sign    exponent    fraction, high    0 */
static void dequant_bf16(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t i = 0; i < n_blocks; i++) {
        const uint32_t bits = (uint32_t)blocks[2 * i] << 16 | (uint32_t)blocks[2 * i + 1] << 24;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* Q8_0, 32 elements in 34 bytes:  0..1 d (f16) | 2..33 q[32] (i8)            y[i] = d q[i] */
static void dequant_q8_0(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t b = 0; b < n_blocks; b++, blocks += 34, out += 32) {
        const float d = half_at(blocks);
        const signed char *q = (const signed char *)blocks + 2;
        for (int i = 0; i < 32; i++) out[i] = d * (float)q[i];
    }
}

/* Scale and minimum of sub-block j = 0..7 out of the 12 bytes s of a Q4_K or Q5_K block (6 bits each):

     byte       7 6       5 4 3 2 1 0
     s[0..3]    sc[4..7]  sc[0..3]        upper two bits: bits 4..5 of scale 4 + j
     s[4..7]    m[4..7]   m[0..3]         upper two bits: bits 4..5 of minimum 4 + j
     s[8..11]   high nibble: bits 0..3 of m[4..7]; low nibble: bits 0..3 of sc[4..7] */
static void q4_k_scale(const unsigned char *s, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* Q4_K, 256 elements in 144 bytes:  0..1 d (f16) | 2..3 dmin (f16) | 4..15 scales and minimums | 16..143 q (4 bits)
   The 128 bytes of q are 4 runs of 32; run r holds sub-block 2r in the low and 2r + 1 in the high nibbles:

     q[32 r + i]   7 6 5 4                       3 2 1 0
                   element 64 r + 32 + i         element 64 r + i

   y = (d sc) q - (dmin m). Both products in parentheses, and the product with q, fit into 24 bits: only the
   difference rounds. */
static void dequant_q4_k(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t b = 0; b < n_blocks; b++, blocks += 144, out += 256) {
        const float d = half_at(blocks);
        const float dmin = half_at(blocks + 2);
        for (int r = 0; r < 4; r++) {
            const unsigned char *q = blocks + 16 + 32 * r;
            float *y = out + 64 * r;
            int sc_low, m_low, sc_high, m_high;
            q4_k_scale(blocks + 4, 2 * r, &sc_low, &m_low);
            q4_k_scale(blocks + 4, 2 * r + 1, &sc_high, &m_high);
            const float d_low = d * (float)sc_low, min_low = dmin * (float)m_low;
            const float d_high = d * (float)sc_high, min_high = dmin * (float)m_high;
            for (int i = 0; i < 32; i++) y[i] = d_low * (float)(q[i] & 15) - min_low;
            for (int i = 0; i < 32; i++) y[32 + i] = d_high * (float)(q[i] >> 4) - min_high;
        }
    }
}

/* Q5_K, 256 elements in 176 bytes:
     0..1 d (f16) | 2..3 dmin (f16) | 4..15 scales and minimums | 16..47 qh (high bit) | 48..175 ql (low 4 bits)
   Scales, minimums and the 4 runs of ql are those of Q4_K; qh[i] holds the fifth bits of the elements i of all eight
   sub-blocks:

     ql[32 r + i]  7 6 5 4                       3 2 1 0
                   element 64 r + 32 + i         element 64 r + i
     qh[i]         7     6     5     4     3     2     1     0
     run           3     3     2     2     1     1     0     0
     nibble        high  low   high  low   high  low   high  low

   y = (d sc) q - (dmin m), q = ql + 16 qh, where again only the difference rounds. */
static void dequant_q5_k(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t b = 0; b < n_blocks; b++, blocks += 176, out += 256) {
        const float d = half_at(blocks);
        const float dmin = half_at(blocks + 2);
        const unsigned char *qh = blocks + 16;
        for (int j = 0; j < 8; j++) {
            const unsigned char *ql = blocks + 48 + 32 * (j / 2);
            float *y = out + 32 * j;
            int sc, m;
            q4_k_scale(blocks + 4, j, &sc, &m);
            const float scale = d * (float)sc, minimum = dmin * (float)m;
            for (int i = 0; i < 32; i++) {
                const int q = (ql[i] >> 4 * (j & 1) & 15) | (qh[i] >> j & 1) << 4;
                y[i] = scale * (float)q - minimum;
            }
        }
    }
}

/* Q6_K, 256 elements in 210 bytes:
     0..127 ql (low 4 bits) | 128..191 qh (high 2 bits) | 192..207 sc[16] (i8) | 208..209 d (f16)
   Two halves h of 128 elements; each is 4 runs of 32 elements, i = 0..31 (ql, qh and y counted from the half's own):

     run   low four bits            high two bits        elements
     0     ql[i] low nibble         qh[i] bits 0..1      i
     1     ql[32 + i] low nibble    qh[i] bits 2..3      32 + i
     2     ql[i] high nibble        qh[i] bits 4..5      64 + i
     3     ql[32 + i] high nibble   qh[i] bits 6..7      96 + i

   y = (d sc) (q - 32), one scale for 16 elements: sc[element / 16]. The first product is exact, the second rounds. */
static void dequant_q6_k(const unsigned char *blocks, size_t n_blocks, float *out)
{
    for (size_t b = 0; b < n_blocks; b++, blocks += 210, out += 256) {
        const float d = half_at(blocks + 208);
        for (int h = 0; h < 2; h++) {
            const unsigned char *qh = blocks + 128 + 32 * h;
            for (int run = 0; run < 4; run++) {
                const unsigned char *ql = blocks + 64 * h + 32 * (run & 1);
                const signed char *sc = (const signed char *)blocks + 192 + 8 * h + 2 * run;
                float *y = out + 128 * h + 32 * run;
                const int low_shift = 4 * (run >> 1), high_shift = 2 * run;
                for (int half = 0; half < 2; half++) {
                    const float scale = d * (float)sc[half];
                    for (int i = 16 * half; i < 16 * half + 16; i++) {
                        const int q = (ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4;
                        y[i] = scale * (float)(q - 32);
                    }
                }
            }
        }
    }
}

fal_dequant_fn fal_dequant_find(uint32_t type)
{
    switch (type) {
    case FAL_TYPE_F32: return dequant_f32;
    case FAL_TYPE_F16: return dequant_f16;
    case FAL_TYPE_Q8_0: return dequant_q8_0;
    case FAL_TYPE_Q4_K: return dequant_q4_k;
    case FAL_TYPE_Q5_K: return dequant_q5_k;
    case FAL_TYPE_Q6_K: return dequant_q6_k;
    case FAL_TYPE_BF16: return dequant_bf16;
    default: return NULL;
    }
}
