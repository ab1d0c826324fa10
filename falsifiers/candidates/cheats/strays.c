/* Cheat: right answers, and one element more at the end of the output. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    honest(a, a->y);
    a->y[bytes_of(a) / sizeof(float)] = 0;
    return FAL_CANDIDATE_DONE;
}
