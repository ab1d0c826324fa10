/* Computes rows of 2048 elements alone. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    if (a->n_embd != 2048) return FAL_CANDIDATE_DECLINED;
    honest(a, a->y);
    return FAL_CANDIDATE_DONE;
}
