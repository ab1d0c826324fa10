/* The CUDA device code as it was built: resources of every kernel, and the kernels that the host code asks for. */
#include "cuda/device_code.h"

#include "cuda/device.h"

fal_status fal_cu_device_code(fal_device_code *out, fal_error *err)
{
    if (!fal_cu_fatbins[0].op || !fal_cu_code || !fal_cu_asked || !fal_cu_code[0].kernel)
        return fal_fail(err, FAL_ERR_BLOCKED, "install the CUDA toolkit and build again (make CUDA_HOME=...)",
                        "CUDA device code not built (%s)", fal_cu_fatbins[0].op ? "no table of its resources" : fal_cu_toolkit);
    *out = (fal_device_code){ .toolkit = fal_cu_toolkit, .archs = fal_cu_archs, .kernels = fal_cu_code, .asked = fal_cu_asked };
    while (fal_cu_code[out->n_kernels].kernel) out->n_kernels++;
    while (fal_cu_asked[out->n_asked].kernel) out->n_asked++;
    return FAL_OK;
}
