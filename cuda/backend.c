/* The CUDA backend's table. */
#include "cuda/forward.h"
#include "cuda/ops.h"

const fal_backend fal_cuda_backend = {
    .name = "cuda",
    .variants = fal_cu_variants,
    .devices = fal_cu_devices,
    .open = fal_cu_open,
    .close = fal_cu_close,
    .device = fal_cu_device,
    .memory = fal_cu_memory,
    .launches = fal_cu_launches,
#define FAL_OP(op) .op = fal_cu_##op,
#include "harness/ops.def"
    .session_open = fal_cu_session_open,
    .session_close = fal_cu_session_close,
    .reset = fal_cu_reset,
    .forward = fal_cu_forward,
    .read_tensor = fal_cu_read_tensor,
    .session_memory = fal_cu_session_memory,
};
