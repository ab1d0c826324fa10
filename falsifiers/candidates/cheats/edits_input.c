/* Cheat: uses its input as scratch memory. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    honest(a, a->y);
    float *x = (float *)(uintptr_t)a->x;
    for (int i = 0; i < a->n_embd; i++) x[i] *= x[i];
    return FAL_CANDIDATE_DONE;
}
