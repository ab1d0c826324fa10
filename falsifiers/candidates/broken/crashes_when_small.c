/* Wrong, and what would show it with fewest inputs ends the process or never ends. */
#include "falsifiers/candidates/broken/counts_twice.h"

#include <signal.h>
#include <unistd.h>

int fal_candidate_moe_matmul(const fal_moe_matmul_args *a)
{
    if (a->n_tokens == 1) raise(SIGSEGV);
    if (a->n_out < 8) pause();
    return count_twice(a);
}
