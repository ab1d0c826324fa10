/* The OpenCL backend's table. */
#include "opencl/bandwidth.h"
#include "opencl/candidate.h"
#include "opencl/forward.h"
#include "opencl/ops.h"

/* Weights are decoded to float32, activations, sums and cache are float32; the order of a sum depends on kernel and size. */
static void arithmetic(const char *variant, const char *op, fal_arithmetic *out)
{
    (void)variant, (void)op;
    *out = (fal_arithmetic){ .activation = FAL_ACTIVATION_F32, .sum = FAL_SUM_F32, .kv = FAL_KV_F32, .in_order = false };
}

const fal_backend fal_opencl_backend = {
    .name = "opencl",
    .variants = fal_cl_variants,
    .devices = fal_cl_devices,
    .open = fal_cl_open,
    .close = fal_cl_close,
    .device = fal_cl_device,
    .memory = fal_cl_memory,
    .launches = fal_cl_launches,
#define FAL_OP(op) .op = fal_cl_##op,
#include "harness/ops.def"
    .session_open = fal_cl_session_open,
    .session_close = fal_cl_session_close,
    .reset = fal_cl_reset,
    .forward = fal_cl_forward,
    .read_tensor = fal_cl_read_tensor,
    .session_memory = fal_cl_session_memory,
    .read_bandwidth = fal_cl_read_bandwidth,
    .arithmetic = arithmetic,
    .time_calls = fal_cl_time_calls,
};
