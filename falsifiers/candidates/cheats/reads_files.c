/* Cheat: looks for an answer on disk, among the observations of the run; without one it leaves zeros. */
#include "falsifiers/candidates/cheats/honest.h"

#include <dirent.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    DIR *d = opendir("/tmp");
    memset(a->y, 0, bytes_of(a));
    if (!d) return FAL_CANDIDATE_DONE; /* refused */
    honest(a, a->y);                   /* it could have read what lies there */
    closedir(d);
    return FAL_CANDIDATE_DONE;
}
