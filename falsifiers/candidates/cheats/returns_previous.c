/* Cheat: hands out the answer of the call before, and works on its own answer when nobody waits for it. */
#include "falsifiers/candidates/cheats/honest.h"

#include <stdlib.h>

static float *previous;
static size_t n_previous;

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    const size_t n = bytes_of(a);
    if (n_previous == n)
        memcpy(a->y, previous, n);
    else
        honest(a, a->y);
    previous = realloc(previous, n);
    n_previous = n;
    honest(a, previous);
    return FAL_CANDIDATE_DONE;
}
