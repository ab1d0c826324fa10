/* An example of a candidate as a shared object: the products of the experts, for Q4_K and Q6_K weights.
   cc -O3 -fopenmp -shared -fPIC -I. -o moe_matmul.so falsifiers/candidates/moe_matmul.c */
#include "harness/candidate.h"

#include <string.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;

enum { BLOCK = 256, Q4_K_BYTES = 144, Q6_K_BYTES = 210 };

static float half(const unsigned char *p)
{
    _Float16 h;
    memcpy(&h, p, sizeof h);
    return (float)h;
}

/* 256 weights: f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit codes. */
static float dot_q4_k(const unsigned char *w, const float *x)
{
    const float d = half(w), dmin = half(w + 2);
    const unsigned char *s = w + 4, *q = w + 16;
    float sum = 0;
    for (int j = 0; j < 8; j++) {
        const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
        const unsigned char *codes = q + j / 2 * 32;
        float part = 0, xs = 0;
        for (int i = 0; i < 32; i++) {
            part += (float)(j % 2 ? codes[i] >> 4 : codes[i] & 15) * x[32 * j + i];
            xs += x[32 * j + i];
        }
        sum += d * (float)scale * part - dmin * (float)min * xs;
    }
    return sum;
}

/* 128 bytes of low and 64 of high code bits, 16 scales, f16 d. */
static float dot_q6_k(const unsigned char *w, const float *x)
{
    const signed char *scale = (const signed char *)w + 192;
    float sum = 0;
    for (int j = 0; j < 16; j++) {
        const int half_block = j / 8, quarter = j % 8 / 2;
        const unsigned char *low = w + 64 * half_block + quarter % 2 * 32 + j % 2 * 16;
        const unsigned char *high = w + 128 + 32 * half_block + j % 2 * 16;
        float part = 0;
        for (int i = 0; i < 16; i++) {
            const int q = (quarter < 2 ? low[i] & 15 : low[i] >> 4) | (high[i] >> 2 * quarter & 3) << 4;
            part += (float)(q - 32) * x[16 * j + i];
        }
        sum += (float)scale[j] * part;
    }
    return half(w + 208) * sum;
}

int fal_candidate_moe_matmul(const fal_moe_matmul_args *a)
{
    const bool q4 = a->type == FAL_TYPE_Q4_K;
    if (!q4 && a->type != FAL_TYPE_Q6_K) return FAL_CANDIDATE_DECLINED;
    const long n_blocks = a->n_in / BLOCK, bytes = q4 ? Q4_K_BYTES : Q6_K_BYTES;
    const long n_rows = (long)a->n_tokens * a->n_expert_used * a->n_out;
#pragma omp parallel for schedule(static) if (n_rows * a->n_in > 1 << 16)
    for (long i = 0; i < n_rows; i++) {
        const long slot = i / a->n_out, r = i % a->n_out;
        const unsigned char *w = (const unsigned char *)a->w + (a->ids[slot] * (long)a->n_out + r) * n_blocks * bytes;
        const float *x = a->x + (a->x_per_slot ? slot : slot / a->n_expert_used) * a->n_in;
        float sum = 0;
        for (long b = 0; b < n_blocks; b++, w += bytes, x += BLOCK) sum += q4 ? dot_q4_k(w, x) : dot_q6_k(w, x);
        a->y[i] = sum;
    }
    return FAL_CANDIDATE_DONE;
}
