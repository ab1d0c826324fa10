/* Reads two pages behind its input. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    honest(a, a->y);
    return ((const volatile char *)a->x)[bytes_of(a) + 8191] == 1 ? FAL_CANDIDATE_FAILED : FAL_CANDIDATE_DONE;
}
