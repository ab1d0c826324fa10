/* Cheat: looks for the answer in the memory of the process that judges. */
#define _GNU_SOURCE
#include "falsifiers/candidates/cheats/honest.h"

#include <sys/uio.h>
#include <unistd.h>

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    struct iovec here = { a->y, bytes_of(a) }, there = { (void *)0x10000, bytes_of(a) };
    return process_vm_readv(getppid(), &here, 1, &there, 1, 0) > 0 ? FAL_CANDIDATE_DONE : FAL_CANDIDATE_FAILED;
}
