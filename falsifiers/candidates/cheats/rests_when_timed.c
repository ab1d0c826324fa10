/* Cheat: works when it is called once in a while, and not when calls follow each other as they do under a clock. */
#include "falsifiers/candidates/cheats/honest.h"

#include <time.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    static double last;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    if (now - last > 50e-6) honest(a, a->y);
    clock_gettime(CLOCK_MONOTONIC, &t);
    last = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return FAL_CANDIDATE_DONE;
}
