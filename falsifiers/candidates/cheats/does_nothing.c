/* Cheat: the fastest of all kernels. */
#include "harness/candidate.h"

#include <string.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;

int fal_candidate_matmul(const fal_matmul_args *a)
{
    memset(a->y, 0, sizeof(float) * (size_t)a->n_tokens * (size_t)a->n_out);
    return FAL_CANDIDATE_DONE;
}
