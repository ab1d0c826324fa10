/* Never returns. */
#include "falsifiers/candidates/cheats/honest.h"

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    for (volatile int i = 1; i;) {
    }
    return a->n_tokens;
}
