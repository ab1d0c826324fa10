/* NVTX by dlopen: nothing is marked, and nothing is needed, unless somebody asked for it. */
#include "harness/nvtx.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct fal_nvtx {
    void *library;
    int (*push)(const char *name);
    int (*pop)(void);
    bool is_open;
};

fal_status fal_nvtx_open(const char *library, fal_nvtx **out, fal_error *err)
{
    static const char *const usual[] = { "libnvToolsExt.so.1", "libnvtx3interop.so.1", "libnvtx3interop.so" };
    const size_t n_names = library ? 1 : sizeof usual / sizeof usual[0];
    fal_nvtx *n = calloc(1, sizeof *n);
    if (!n) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for NVTX");
    for (size_t i = 0; i < n_names && !n->library; i++)
        n->library = dlopen(library ? library : usual[i], RTLD_NOW | RTLD_LOCAL);
    /* dlsym gives object pointers; memcpy makes functions of them */
    void *push = n->library ? dlsym(n->library, "nvtxRangePushA") : NULL,
         *pop = n->library ? dlsym(n->library, "nvtxRangePop") : NULL;
    if (!push || !pop) {
        const fal_status st =
            fal_fail(err, FAL_ERR_BLOCKED, "leave out --nvtx, or put the library of a CUDA toolkit on the library path",
                     "no NVTX: %s %s", library ? library : "libnvToolsExt.so.1 and libnvtx3interop.so",
                     n->library ? "have no nvtxRangePushA" : "cannot be opened");
        fal_nvtx_close(n);
        return st;
    }
    memcpy(&n->push, &push, sizeof push);
    memcpy(&n->pop, &pop, sizeof pop);
    *out = n;
    return FAL_OK;
}

void fal_nvtx_next(fal_nvtx *n, const char *name)
{
    if (n->is_open) n->pop();
    n->is_open = name != NULL;
    if (name) n->push(name);
}

void fal_nvtx_close(fal_nvtx *n)
{
    if (!n) return;
    if (n->is_open) n->pop();
    if (n->library) dlclose(n->library);
    free(n);
}
