/* The CUDA backend's entry: says why it cannot run here. */
#include "harness/backend.h"

#include <dlfcn.h>

/* This build holds no CUDA device code, so a machine with a driver is blocked as well, for the other reason. */
static fal_status unavailable(fal_error *err)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver)
        return fal_fail(err, FAL_ERR_BLOCKED, "install an NVIDIA driver, or run on a machine that has one",
                        "libcuda.so.1 not found");
    dlclose(driver);
    return fal_fail(err, FAL_ERR_BLOCKED, "the CUDA kernels are not part of this version",
                    "CUDA device code not built");
}

static fal_status devices(fal_device_info *out, int cap, int *n, fal_error *err)
{
    (void)out;
    (void)cap;
    *n = 0;
    return unavailable(err);
}

static fal_status open_device(const fal_backend_options *options, fal_context **out, fal_error *err)
{
    (void)options;
    (void)out;
    return unavailable(err);
}

static const char *const variants[] = { "", NULL };

/* The operations are never reached: open refuses first. */
const fal_backend fal_cuda_backend = {
    .name = "cuda",
    .variants = variants,
    .devices = devices,
    .open = open_device,
};
