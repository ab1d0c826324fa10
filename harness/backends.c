/* The list of backends, and the one that stands for whatever is on trial. */
#include "harness/candidate_parts.h"

#include <string.h>

static const fal_backend *const backends[] = { &fal_reference_backend, &fal_opencl_backend, &fal_cuda_backend };

const fal_backend *const *fal_backend_all(int *n)
{
    *n = (int)(sizeof backends / sizeof backends[0]);
    return backends;
}

const fal_backend *fal_backend_find(const char *name)
{
    int n;
    const fal_backend *const *all = fal_backend_all(&n);
    for (int i = 0; i < n; i++)
        if (strcmp(all[i]->name, name) == 0) return all[i];
    return strcmp(name, fal_candidate_backend.name) == 0 ? &fal_candidate_backend : NULL;
}
