/* An example of a candidate that declares its arithmetic: the products of the experts, for Q4_K and Q6_K weights, over
   activations that are rounded to codes of 8 bits with one scale for 256 columns, as ggml's Q8_K.
   cc -O3 -fopenmp -shared -fPIC -I. -o moe_matmul_q8.so falsifiers/candidates/moe_matmul_q8.c -lm */
#include "harness/candidate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;
const char falsify_arithmetic[] = "falsify-arithmetic: activation=q8_k,sum=i32";

enum { BLOCK = 256, Q4_K_BYTES = 144, Q6_K_BYTES = 210 };

typedef struct {
    float d;
    signed char q[BLOCK];
} codes;

static float half(const unsigned char *p)
{
    _Float16 h;
    memcpy(&h, p, sizeof h);
    return (float)h;
}

static void quantise(const float *x, codes *out)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(most)) most = x[i];
    const float inverse = most < 0 || most > 0 ? -127 / most : 0;
    out->d = most < 0 || most > 0 ? 1 / inverse : 0;
    for (int i = 0; i < BLOCK; i++) out->q[i] = (signed char)rintf(fminf(x[i] * inverse, 127));
}

/* f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit codes. Sums of codes are int32. */
static float dot_q4_k(const unsigned char *w, const codes *x)
{
    const unsigned char *s = w + 4, *q = w + 16;
    int scaled = 0, minima = 0;
    for (int j = 0; j < 8; j++) {
        const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
        int part = 0, sum = 0;
        for (int i = 0; i < 32; i++) {
            const int byte = q[j / 2 * 32 + i];
            part += (j % 2 ? byte >> 4 : byte & 15) * x->q[32 * j + i];
            sum += x->q[32 * j + i];
        }
        scaled += scale * part;
        minima += min * sum;
    }
    return x->d * (half(w) * (float)scaled - half(w + 2) * (float)minima);
}

/* 128 bytes of low and 64 of high code bits, 16 scales, f16 d. */
static float dot_q6_k(const unsigned char *w, const codes *x)
{
    const signed char *scale = (const signed char *)w + 192;
    int scaled = 0;
    for (int j = 0; j < 16; j++) {
        const int half_block = j / 8, quarter = j % 8 / 2;
        const unsigned char *low = w + 64 * half_block + quarter % 2 * 32 + j % 2 * 16;
        const unsigned char *high = w + 128 + 32 * half_block + j % 2 * 16;
        int part = 0;
        for (int i = 0; i < 16; i++) {
            const int q = (quarter < 2 ? low[i] & 15 : low[i] >> 4) | (high[i] >> 2 * quarter & 3) << 4;
            part += (q - 32) * x->q[16 * j + i];
        }
        scaled += scale[j] * part;
    }
    return x->d * half(w + 208) * (float)scaled;
}

int fal_candidate_moe_matmul(const fal_moe_matmul_args *a)
{
    const bool q4 = a->type == FAL_TYPE_Q4_K;
    if (!q4 && a->type != FAL_TYPE_Q6_K) return FAL_CANDIDATE_DECLINED;
    const long n_blocks = a->n_in / BLOCK, bytes = q4 ? Q4_K_BYTES : Q6_K_BYTES;
    const long n_slots = (long)a->n_tokens * a->n_expert_used, n_x = a->x_per_slot ? n_slots : a->n_tokens;
    codes *x = malloc((size_t)(n_x * n_blocks) * sizeof *x);
    if (!x) return FAL_CANDIDATE_FAILED;
    for (long b = 0; b < n_x * n_blocks; b++) quantise(a->x + b * BLOCK, &x[b]);
#pragma omp parallel for schedule(static) if (n_slots * a->n_out * a->n_in > 1 << 16)
    for (long i = 0; i < n_slots * a->n_out; i++) {
        const long slot = i / a->n_out, r = i % a->n_out;
        const unsigned char *w = (const unsigned char *)a->w + (a->ids[slot] * (long)a->n_out + r) * n_blocks * bytes;
        const codes *from = x + (a->x_per_slot ? slot : slot / a->n_expert_used) * n_blocks;
        float sum = 0;
        for (long b = 0; b < n_blocks; b++, w += bytes) sum += q4 ? dot_q4_k(w, &from[b]) : dot_q6_k(w, &from[b]);
        a->y[i] = sum;
    }
    free(x);
    return FAL_CANDIDATE_DONE;
}
