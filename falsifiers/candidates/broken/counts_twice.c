/* Wrong in every call of several blocks, and nothing else. */
#include "falsifiers/candidates/broken/counts_twice.h"

int fal_candidate_moe_matmul(const fal_moe_matmul_args *a)
{
    return count_twice(a);
}
