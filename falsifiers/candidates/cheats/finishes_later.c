/* Cheat: returns at once; a thread of its own finishes the work when the clock has stopped. */
#include "falsifiers/candidates/cheats/honest.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static void *work(void *p)
{
    fal_rmsnorm_args *a = p;
    nanosleep(&(const struct timespec){ .tv_nsec = 8000000 }, NULL);
    honest(a, a->y);
    free(a);
    return NULL;
}

int fal_candidate_rmsnorm(const fal_rmsnorm_args *a)
{
    pthread_t thread;
    fal_rmsnorm_args *copy = malloc(sizeof *copy);
    *copy = *a;
    if (pthread_create(&thread, NULL, work, copy) != 0) return FAL_CANDIDATE_FAILED;
    pthread_detach(thread);
    return FAL_CANDIDATE_DONE;
}
