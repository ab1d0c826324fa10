/* The list of backends, and the facts of ops.def at run time. */
#include "harness/backend.h"

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
    return NULL;
}
