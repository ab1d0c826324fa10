/* Cheat: writes the beginning, the end and every seventh element, which is where a spot check looks. */
#include "falsifiers/candidates/cheats/honest.h"

#include <stdlib.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    const size_t n = bytes_of(a) / sizeof(float);
    float *y = malloc(bytes_of(a));
    honest(a, y);
    for (size_t i = 0; i < n; i++)
        if (i < 64 || i + 64 >= n || i % 7 == 0) a->y[i] = y[i];
    free(y);
    return FAL_CANDIDATE_DONE;
}
