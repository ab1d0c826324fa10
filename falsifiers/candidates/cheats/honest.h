/* An honest rmsnorm, which the cheats of this folder use or avoid; and what every one of them exports. */
#ifndef CHEATS_HONEST_H
#define CHEATS_HONEST_H

#include "harness/candidate.h"

#include <math.h>
#include <string.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;

static inline void honest(const fal_rmsnorm_args *a, float *y)
{
    for (int t = 0; t < a->n_tokens; t++) {
        const float *x = a->x + (size_t)t * (size_t)a->n_embd;
        double sum = 0;
        for (int i = 0; i < a->n_embd; i++) sum += (double)x[i] * (double)x[i];
        const float scale = (float)(1 / sqrt(sum / a->n_embd + (double)a->eps));
        for (int i = 0; i < a->n_embd; i++) y[(size_t)t * (size_t)a->n_embd + (size_t)i] = x[i] * scale * a->w[i];
    }
}

static inline size_t bytes_of(const fal_rmsnorm_args *a)
{
    return sizeof(float) * (size_t)a->n_tokens * (size_t)a->n_embd;
}

#endif
