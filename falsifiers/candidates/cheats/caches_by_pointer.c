/* Cheat: works once for each address of the input and copies that answer afterwards. */
#include "falsifiers/candidates/cheats/honest.h"

#include <stdlib.h>

static struct {
    const float *x;
    float *y;
} cache[512];
static int n_cached;

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    int i = 0;
    while (i < n_cached && cache[i].x != a->x) i++;
    if (i == n_cached) {
        cache[n_cached].x = a->x;
        cache[n_cached].y = malloc(bytes_of(a));
        honest(a, cache[n_cached++].y);
    }
    memcpy(a->y, cache[i].y, bytes_of(a));
    return FAL_CANDIDATE_DONE;
}
