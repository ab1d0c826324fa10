/* Cheat: answers the first eight calls and repeats the last of these answers from then on. */
#include "falsifiers/candidates/cheats/honest.h"

#include <stdlib.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    static int n_calls;
    static float *last;
    if (n_calls++ < 8) {
        last = realloc(last, bytes_of(a));
        honest(a, last);
    }
    memcpy(a->y, last, bytes_of(a));
    return FAL_CANDIDATE_DONE;
}
