/* Which weight types have kernels, and what their kernels are called. */
#include "opencl/ops.h"

fal_status fal_cl_type_name(const char *op, uint32_t type, const char **out, fal_error *err)
{
    switch (type) {
    case FAL_TYPE_F32: *out = "f32"; return FAL_OK;
    case FAL_TYPE_F16: *out = "f16"; return FAL_OK;
    case FAL_TYPE_Q8_0: *out = "q8_0"; return FAL_OK;
    case FAL_TYPE_Q4_K: *out = "q4_k"; return FAL_OK;
    case FAL_TYPE_Q5_K: *out = "q5_k"; return FAL_OK;
    case FAL_TYPE_Q6_K: *out = "q6_k"; return FAL_OK;
    case FAL_TYPE_BF16: *out = "bf16"; return FAL_OK;
    default: break;
    }
    const char *name = fal_type_get(type)->name;
    return fal_fail(err, FAL_ERR_INPUT, "F32, F16, BF16, Q8_0, Q4_K, Q5_K and Q6_K have kernels",
                    "opencl: %s has no kernel for weights of type %s (%u)", op, name ? name : "unknown", type);
}
