/* Ends its process before it is asked for anything. */
#include "harness/candidate.h"

#include <stdlib.h>

const int fal_candidate_abi = FAL_CANDIDATE_ABI;

__attribute__((constructor)) static void die(void)
{
    abort();
}
