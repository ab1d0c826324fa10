/* Products of experts that are wrong where a row has several blocks: the first column counts twice. */
#ifndef BROKEN_COUNTS_TWICE_H
#define BROKEN_COUNTS_TWICE_H

#define fal_candidate_moe_matmul right
#include "falsifiers/candidates/moe_matmul.c"
#undef fal_candidate_moe_matmul

static inline int count_twice(const fal_moe_matmul_args *a)
{
    const int code = right(a);
    if (code || a->n_in <= BLOCK) return code;
    for (long i = 0; i < (long)a->n_tokens * a->n_expert_used * a->n_out; i++) {
        const long slot = i / a->n_out;
        a->y[i] += a->x[(a->x_per_slot ? slot : slot / a->n_expert_used) * a->n_in];
    }
    return code;
}

#endif
