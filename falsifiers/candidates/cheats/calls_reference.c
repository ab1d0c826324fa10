/* Cheat: lets the reference answer, from its own process if it can be found there, else by starting falsify. */
#include "falsifiers/candidates/cheats/honest.h"

#include <dlfcn.h>
#include <stdlib.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    fal_status (*reference)(fal_context *, const fal_rmsnorm_args *, fal_error *) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "fal_reference_rmsnorm");
    memcpy(&reference, &symbol, sizeof symbol);
    if (reference) return reference(NULL, a, NULL) == FAL_OK ? FAL_CANDIDATE_DONE : FAL_CANDIDATE_FAILED;
    return system("falsify observe --backend reference --op rmsnorm --out /tmp/answer.safetensors") == 0
               ? FAL_CANDIDATE_DONE
               : FAL_CANDIDATE_FAILED;
}
