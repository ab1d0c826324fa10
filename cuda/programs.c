/* Device code of the CUDA backend: modules when first needed, and launches of its kernels. */
#include "cuda/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- programs ----------------------------------------------------------------------------------------------------- */

static fal_status load_program(fal_context *ctx, const fal_cu_fatbin *f, fal_cu_built *prog, fal_error *err)
{
    const void *image = ctx->instead && strcmp(ctx->instead->op, f->op) == 0 ? ctx->instead->code : f->data;
    const fal_cu_result code = ctx->api.cuModuleLoadData(&prog->id, image);
    if (code == FAL_CU_SUCCESS) return FAL_OK;
    prog->id = NULL;
    int version = 0;
    ctx->api.cuDriverGetVersion(&version);
    if (code == FAL_CU_ERROR_NO_BINARY_FOR_GPU || code == FAL_CU_ERROR_UNSUPPORTED_PTX_VERSION ||
        code == FAL_CU_ERROR_INVALID_PTX || code == FAL_CU_ERROR_INVALID_IMAGE)
        return fal_fail(err, FAL_ERR_BLOCKED, "update the driver, or build with an older CUDA toolkit",
                        "the driver (CUDA %d.%d) cannot run device code built with CUDA %s for %s on '%s': %s", version / 1000,
                        version % 1000 / 10, fal_cu_toolkit, fal_cu_archs, ctx->info.name, fal_cu_code_name(&ctx->api, code));
    return fal_cu_call_failed(&ctx->api, err, "cuModuleLoadData", code);
}

/* ---- launches ----------------------------------------------------------------------------------------------------- */

static fal_status find_kernel(fal_context *ctx, const char *op, const char *name, fal_cu_kernel **out, fal_error *err)
{
    int p = 0;
    while (p < ctx->n_programs && strcmp(fal_cu_fatbins[p].op, op) != 0) p++;
    if (p == ctx->n_programs) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: no device code for '%s'", op);
    fal_cu_built *prog = &ctx->programs[p];
    for (int k = 0; k < prog->n_kernels; k++) {
        if (strcmp(prog->kernels[k].name, name) != 0) continue;
        *out = &prog->kernels[k];
        return FAL_OK;
    }
    if (prog->n_kernels == MAX_KERNELS)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %s.cu has more than %d kernels", op, MAX_KERNELS);
    if (!prog->id) {
        const fal_status st = load_program(ctx, &fal_cu_fatbins[p], prog, err);
        if (st != FAL_OK) return st;
    }
    fal_cu_function id = NULL;
    const fal_cu_result code = ctx->api.cuModuleGetFunction(&id, prog->id, name);
    if (code != FAL_CU_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "cuda: no kernel %s in %s.cu: %s (%d)", name, op,
                        fal_cu_code_name(&ctx->api, code), code);
    fal_cu_kernel *k = &prog->kernels[prog->n_kernels++];
    *k = (fal_cu_kernel) { .id = id };
    snprintf(k->name, sizeof k->name, "%s", name);
    int ptx_version = 0; /* waiting is compiled in from compute capability 9.0 on */
    if (ctx->api.cuFuncGetAttribute(&ptx_version, FAL_CU_FUNC_PTX_VERSION, id) == FAL_CU_SUCCESS)
        k->overlaps = ptx_version >= 90;
    *out = k;
    return FAL_OK;
}

fal_status fal_cu_facts(fal_context *ctx, const char *op, const char *name, fal_cu_kernel_facts *out, fal_error *err)
{
    fal_cu_kernel *k = NULL;
    const fal_status st = find_kernel(ctx, op, name, &k, err);
    if (st != FAL_OK) return st;
    fal_cu_result code = ctx->api.cuFuncGetAttribute(&out->registers, FAL_CU_FUNC_NUM_REGS, k->id);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuFuncGetAttribute(&out->local_bytes, FAL_CU_FUNC_LOCAL_SIZE_BYTES, k->id);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuFuncGetAttribute(&out->shared_bytes, FAL_CU_FUNC_SHARED_SIZE_BYTES, k->id);
    return code == FAL_CU_SUCCESS ? FAL_OK : fal_cu_call_failed(&ctx->api, err, "cuFuncGetAttribute", code);
}

/* The driver takes void ** and copies the values. */
void fal_cu_point_at(const fal_cu_arg *args, size_t n, void **values)
{
    for (size_t i = 0; i < n; i++) {
        const fal_cu_arg *a = &args[i];
        const void *value = NULL;
        switch (a->kind) {
        case FAL_CU_ARG_BUFFER: value = &a->v.buffer->mem; break;
        case FAL_CU_ARG_INT: value = &a->v.i; break;
        case FAL_CU_ARG_LONG: value = &a->v.l; break;
        case FAL_CU_ARG_FLOAT: value = &a->v.f; break;
        }
        memcpy(&values[i], &value, sizeof value);
    }
}

/* Dynamic shared memory above 48 KiB needs leave, once per kernel. */
static fal_status allow_shared(fal_context *ctx, fal_cu_kernel *k, size_t bytes, fal_error *err)
{
    if (bytes <= 48 * 1024 || bytes <= k->shared_bytes) return FAL_OK;
    const fal_cu_result code = ctx->api.cuFuncSetAttribute(k->id, FAL_CU_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes);
    if (code != FAL_CU_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "cuda: %s may not have %zu bytes of shared memory: %s (%d)", k->name, bytes,
                        fal_cu_code_name(&ctx->api, code), code);
    k->shared_bytes = bytes;
    return FAL_OK;
}

/* Waits for the kernel that was queued last. */
static fal_status wait_for(fal_context *ctx, const char *name, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuStreamSynchronize(ctx->queue);
    if (code == FAL_CU_SUCCESS) return FAL_OK;
    return fal_fail(err, FAL_ERR_DEVICE, "compute-sanitizer tells more about it", "cuda: kernel %s failed: %s (%d)", name,
                    fal_cu_code_name(&ctx->api, code), code);
}

static fal_status launch(fal_context *ctx, const char *op, const char *how, const char *type, const fal_cu_shape *shape,
                         const fal_cu_arg *args, size_t n_args, fal_error *err)
{
    char name[64];
    fal_cu_kernel *k = NULL;
    void *values[FAL_CU_MAX_ARGS];
    snprintf(name, sizeof name, "fal_cu_%s%s%s%s%s", op, how ? "__" : "", how ? how : "", type ? "_" : "", type ? type : "");
    fal_status st = find_kernel(ctx, op, name, &k, err);
    if (st != FAL_OK) return st;
    if (n_args > FAL_CU_MAX_ARGS || shape->n_groups == 0 || shape->n_groups > INT32_MAX || shape->shared_bytes > INT32_MAX)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %s over %zu blocks with %zu arguments and %zu bytes", name,
                        shape->n_groups, n_args, shape->shared_bytes);
    st = allow_shared(ctx, k, shape->shared_bytes, err);
    if (st != FAL_OK) return st;
    fal_cu_point_at(args, n_args, values);
    fal_cu_launch_attribute overlap = { .id = FAL_CU_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION, .value = { .flag = 1 } };
    const fal_cu_launch_config config = {
        .grid_x = (unsigned)shape->n_groups, .grid_y = 1, .grid_z = 1,
        .block_x = (unsigned)shape->n_threads, .block_y = 1, .block_z = 1,
        .shared_bytes = (unsigned)shape->shared_bytes, .stream = ctx->queue, .attributes = &overlap,
        .n_attributes = shape->overlaps && k->overlaps ? 1 : 0,
    };
    const fal_cu_result code = ctx->api.cuLaunchKernelEx(&config, k->id, values, NULL);
    if (code != FAL_CU_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "cuda: launch of %s over %zu blocks failed: %s (%d)", name, shape->n_groups,
                        fal_cu_code_name(&ctx->api, code), code);
    if (ctx->is_recording) k->n_recorded++;
    else k->n_launches++;
    return ctx->is_blocking && !ctx->is_recording ? wait_for(ctx, name, err) : FAL_OK;
}

void fal_cu_overlap(fal_context *ctx, bool on)
{
    ctx->overlaps = on;
}

fal_status fal_cu_launch(fal_context *ctx, const char *op, const char *how, const char *type, size_t n_groups,
                         const fal_cu_arg *args, size_t n_args, fal_error *err)
{
    const fal_cu_shape shape = { .n_groups = n_groups, .n_threads = FAL_CU_GROUP, .overlaps = ctx->overlaps };
    return launch(ctx, op, how, type, &shape, args, n_args, err);
}

fal_status fal_cu_launch_shaped(fal_context *ctx, const char *module, const char *how, const char *type,
                                const fal_cu_shape *shape, const fal_cu_arg *args, size_t n_args, fal_error *err)
{
    return launch(ctx, module, how, type, shape, args, n_args, err);
}
