/* The CUDA backend's table. */
#include "cuda/bandwidth.h"
#include "cuda/candidate.h"
#include "cuda/decode_ops.h"
#include "cuda/decode_taps.h"
#include "cuda/device_code.h"
#include "cuda/forward.h"
#include "cuda/ops.h"

#include <string.h>

/* Most single ops exist in the exact class only: another variant must not answer with its kernels. */
static fal_status variant_op(fal_context *ctx, const char *op, const void *a, fal_error *err)
{
    if (strcmp(op, "attention") == 0) return fal_cu_decode_attention(ctx, a, err);
    if (strcmp(op, "moe_swiglu") == 0) return fal_cu_decode_moe_swiglu(ctx, a, err);
    return fal_fail(err, FAL_ERR_INPUT, "use the variant '' for single ops", "cuda: variant '%s' has no op %s of its own",
                    fal_cu_variants[fal_cu_variant_of(ctx)], op);
}

#define FAL_OP(op)                                                                                                     \
    static fal_status exact_##op(fal_context *ctx, const fal_##op##_args *a, fal_error *err)                           \
    {                                                                                                                  \
        if (ctx && fal_cu_variant_of(ctx) != FAL_CU_EXACT) return variant_op(ctx, #op, a, err);                        \
        return fal_cu_##op(ctx, a, err);                                                                               \
    }
#include "harness/ops.def"

/* As in the OpenCL twin; the variant with a cache of float16 rounds keys and values when they are stored. */
static void arithmetic(const char *variant, const char *op, fal_arithmetic *out)
{
    const bool cache = strcmp(op, "attention") == 0 || strcmp(op, "kv_store") == 0;
    *out = (fal_arithmetic){ .activation = FAL_ACTIVATION_F32, .sum = FAL_SUM_F32, .kv = FAL_KV_F32, .in_order = false };
    if (cache && strcmp(variant, fal_cu_variants[FAL_CU_FAST_KV16]) == 0) out->kv = FAL_KV_F16;
}

const fal_backend fal_cuda_backend = {
    .name = "cuda",
    .variants = fal_cu_variants,
    .can_run_dry = true,
    .devices = fal_cu_devices,
    .open = fal_cu_open,
    .close = fal_cu_close,
    .device = fal_cu_device,
    .memory = fal_cu_memory,
    .launches = fal_cu_launches,
#define FAL_OP(op) .op = exact_##op,
#include "harness/ops.def"
    .session_open = fal_cu_session_open,
    .session_close = fal_cu_session_close,
    .reset = fal_cu_reset,
    .forward = fal_cu_forward,
    .has_site = fal_cu_has_site,
    .generate = fal_cu_generate,
    .read_tensor = fal_cu_read_tensor,
    .session_memory = fal_cu_session_memory,
    .read_bandwidth = fal_cu_read_bandwidth,
    .arithmetic = arithmetic,
    .time_calls = fal_cu_time_calls,
    .device_code = fal_cu_device_code,
};
