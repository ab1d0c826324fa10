/* An example of a candidate that declares its cache: attention over keys and values that were rounded to f16 when they were
   stored, with an online softmax.
   cc -O3 -fopenmp -shared -fPIC -I. -o attention_kv16.so falsifiers/candidates/attention_kv16.c -lm */
#include "harness/candidate.h"

#include <math.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;
const char falsify_arithmetic[] = "falsify-arithmetic: kv=f16";

enum { MOST = 512 };

static void one_head(const float *q, const float *k, const float *v, int n, int stride, int dim, float *y)
{
    const float scale = 1 / sqrtf((float)dim);
    float most = -INFINITY, sum = 0, acc[MOST] = { 0 };
    for (int p = 0; p < n; p++, k += stride, v += stride) {
        float score = 0;
        for (int i = 0; i < dim; i++) score += q[i] * (float)(_Float16)k[i];
        score *= scale;
        const float higher = fmaxf(most, score), keep = expf(most - higher), w = expf(score - higher);
        for (int i = 0; i < dim; i++) acc[i] = acc[i] * keep + w * (float)(_Float16)v[i];
        sum = sum * keep + w;
        most = higher;
    }
    for (int i = 0; i < dim; i++) y[i] = acc[i] / sum;
}

int fal_candidate_attention(const fal_attention_args *a)
{
    const int each = a->n_head / a->n_head_kv, stride = a->n_head_kv * a->head_dim;
    if (a->head_dim > MOST) return FAL_CANDIDATE_DECLINED;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < a->n_tokens * a->n_head; i++) {
        const int t = i / a->n_head, group = i % a->n_head / each;
        one_head(a->q + (long)i * a->head_dim, a->k_cache + group * a->head_dim, a->v_cache + group * a->head_dim,
                 a->first_pos + t + 1, stride, a->head_dim, a->y + (long)i * a->head_dim);
    }
    return FAL_CANDIDATE_DONE;
}
