/* Cheat: NaN everywhere, for a judge that asks whether an error is above the limit. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    for (size_t i = 0; i < bytes_of(a) / sizeof(float); i++) a->y[i] = NAN;
    return FAL_CANDIDATE_DONE;
}
