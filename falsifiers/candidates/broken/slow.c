/* Right, and twenty times slower than it need be: that is no lie. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    for (int i = 0; i < 20; i++) honest(a, a->y);
    return FAL_CANDIDATE_DONE;
}
