/* A context on one CUDA device: its life, and its memory. */
#include "cuda/context.h"

#include "cuda/dry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- context ------------------------------------------------------------------------------------------------------ */

/* Indexed by fal_cu_variant. */
const char *const fal_cu_variants[] = { "", "fast", "fast_kv16", NULL };

static fal_status find_variant(const char *variant, fal_cu_variant *out, fal_error *err)
{
    for (int i = 0; fal_cu_variants[i]; i++) {
        if (strcmp(variant ? variant : "", fal_cu_variants[i]) != 0) continue;
        *out = (fal_cu_variant)i;
        return FAL_OK;
    }
    return fal_fail(err, FAL_ERR_USAGE, "leave it empty for the exact class",
                    "cuda: no variant '%.40s'; there are '', 'fast' and 'fast_kv16'", variant);
}

fal_cu_variant fal_cu_variant_of(const fal_context *ctx)
{
    return ctx->variant;
}

bool fal_cu_is_blocking(const fal_context *ctx)
{
    return ctx->is_blocking;
}

int fal_cu_multiprocessors(const fal_context *ctx)
{
    return ctx->n_multiprocessors;
}

size_t fal_cu_shared_limit(const fal_context *ctx)
{
    return (size_t)ctx->shared_limit;
}

fal_status fal_cu_open(const fal_backend_options *options, fal_context **out, fal_error *err)
{
    static const fal_backend_options defaults = { 0 };
    const fal_backend_options *o = options ? options : &defaults;
    fal_cu_found *list = NULL;
    fal_context *ctx = NULL;
    int n = 0;
    fal_cu_result code = FAL_CU_SUCCESS;
    fal_cu_variant variant = FAL_CU_EXACT;
    fal_status st = find_variant(o->variant, &variant, err);
    if (st != FAL_OK) return st;
    ctx = calloc(1, sizeof *ctx);
    if (!ctx) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a context");
    ctx->variant = variant;
    ctx->instead = o->instead;
    ctx->is_blocking = o->blocking;
    while (fal_cu_fatbins[ctx->n_programs].op) ctx->n_programs++;
    ctx->programs = calloc((size_t)ctx->n_programs + 1, sizeof *ctx->programs);
    if (!ctx->programs) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a context");
        goto out;
    }
    if (o->dry) fal_cu_dry_api(&ctx->api);
    else st = fal_cu_load_api(&ctx->api, err);
    if (st == FAL_OK) st = fal_cu_find_devices(&ctx->api, &list, &n, err);
    if (st != FAL_OK) goto out;
    const int at = fal_cu_choose(list, n, o->device);
    if (at < 0) {
        st = fal_cu_no_such_device(list, n, o->device, err);
        goto out;
    }
    ctx->device = list[at].id;
    ctx->info = list[at].info;
    code = ctx->api.cuDeviceGetAttribute(&ctx->n_multiprocessors, FAL_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT, ctx->device);
    if (code == FAL_CU_SUCCESS)
        code = ctx->api.cuDeviceGetAttribute(&ctx->shared_limit, FAL_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, ctx->device);
    if (code != FAL_CU_SUCCESS) {
        st = fal_cu_call_failed(&ctx->api, err, "cuDeviceGetAttribute", code);
        goto out;
    }
    code = ctx->api.cuDevicePrimaryCtxRetain(&ctx->context, ctx->device);
    if (code != FAL_CU_SUCCESS) {
        ctx->context = NULL;
        st = fal_cu_call_failed(&ctx->api, err, "cuDevicePrimaryCtxRetain", code);
        goto out;
    }
    code = ctx->api.cuCtxSetCurrent(ctx->context);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuStreamCreate(&ctx->queue, 1); /* 1: does not wait for the default stream */
    if (code != FAL_CU_SUCCESS) st = fal_cu_call_failed(&ctx->api, err, "cuStreamCreate", code);
out:
    free(list);
    if (st != FAL_OK) fal_cu_close(ctx);
    else *out = ctx;
    return st;
}

void fal_cu_close(fal_context *ctx)
{
    if (!ctx) return;
    if (ctx->queue) ctx->api.cuStreamSynchronize(ctx->queue);
    for (int p = 0; ctx->programs && p < ctx->n_programs; p++)
        if (ctx->programs[p].id) ctx->api.cuModuleUnload(ctx->programs[p].id);
    if (ctx->queue) ctx->api.cuStreamDestroy_v2(ctx->queue);
    if (ctx->context) ctx->api.cuDevicePrimaryCtxRelease_v2(ctx->device);
    fal_cu_unload_api(&ctx->api);
    free(ctx->programs);
    free(ctx);
}

const fal_device_info *fal_cu_device(const fal_context *ctx)
{
    return &ctx->info;
}

void fal_cu_memory(const fal_context *ctx, fal_memory *out)
{
    *out = (fal_memory) { .peak_bytes = ctx->peak_bytes, .live_bytes = ctx->live_bytes };
}

void fal_cu_launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user)
{
    for (int p = 0; p < ctx->n_programs; p++)
        for (int k = 0; k < ctx->programs[p].n_kernels; k++)
            if (ctx->programs[p].kernels[k].n_launches > 0)
                visit(user, ctx->programs[p].kernels[k].name, ctx->programs[p].kernels[k].n_launches);
}

/* ---- buffers ------------------------------------------------------------------------------------------------------ */

static fal_status no_room(const fal_context *ctx, const char *name, size_t bytes, const char *why, fal_error *err)
{
    size_t room = 0, total = 0;
    if (ctx->api.cuMemGetInfo_v2(&room, &total) != FAL_CU_SUCCESS) room = 0;
    return fal_fail(err, FAL_ERR_MEMORY, "use a smaller model or context, or a device with more memory",
                    "cuda: no room for %s, %zu bytes, on '%s': %s (free %zu of %llu, in use here %llu)", name, bytes,
                    ctx->info.name, why, room, (unsigned long long)ctx->info.memory_bytes,
                    (unsigned long long)ctx->live_bytes);
}

size_t fal_cu_bytes(size_t elem, int a, int b, int c)
{
    size_t n = elem;
    if (a < 0 || b < 0 || c < 0 || __builtin_mul_overflow(n, (size_t)a, &n) || __builtin_mul_overflow(n, (size_t)b, &n) ||
        __builtin_mul_overflow(n, (size_t)c, &n))
        return SIZE_MAX;
    return n;
}

fal_status fal_cu_poison(fal_context *ctx, fal_cu_buffer *b, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuMemsetD8Async(b->mem, 0xFF, b->bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? FAL_OK : fal_cu_call_failed(&ctx->api, err, "cuMemsetD8Async", code);
}

fal_status fal_cu_need_room(const fal_context *ctx, const char *name, size_t bytes, fal_error *err)
{
    size_t room = 0, total = 0;
    const fal_cu_result code = ctx->api.cuMemGetInfo_v2(&room, &total);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(&ctx->api, err, "cuMemGetInfo", code);
    if (bytes <= room) return FAL_OK;
    return fal_fail(err, FAL_ERR_MEMORY, "use a smaller model or context, or a device with more memory",
                    "cuda: %s needs %zu bytes on '%s', which has %zu free of %zu", name, bytes, ctx->info.name, room, total);
}

fal_status fal_cu_alloc(fal_context *ctx, const char *name, size_t bytes, fal_cu_buffer **out, fal_error *err)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX) return no_room(ctx, name, bytes, "more than one buffer can hold, or nothing", err);
    fal_cu_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %s", name);
    b->bytes = bytes;
    const fal_cu_result code = ctx->api.cuMemAlloc_v2(&b->mem, bytes);
    if (code != FAL_CU_SUCCESS) {
        free(b);
        if (code != FAL_CU_ERROR_OUT_OF_MEMORY) return fal_cu_call_failed(&ctx->api, err, "cuMemAlloc", code);
        return no_room(ctx, name, bytes, fal_cu_code_name(&ctx->api, code), err);
    }
    ctx->live_bytes += bytes;
    if (ctx->live_bytes > ctx->peak_bytes) ctx->peak_bytes = ctx->live_bytes;
    const fal_status st = fal_cu_poison(ctx, b, err);
    if (st != FAL_OK) fal_cu_free(ctx, b);
    else *out = b;
    return st;
}

void fal_cu_free(fal_context *ctx, fal_cu_buffer *b)
{
    if (!b) return;
    ctx->api.cuMemFree_v2(b->mem); /* waits for what still uses it */
    ctx->live_bytes -= b->bytes;
    free(b);
}

size_t fal_cu_size(const fal_cu_buffer *b)
{
    return b ? b->bytes : 0;
}

/* A transfer beyond its buffer is our own mistake; drivers need not notice. */
static fal_status check_range(const fal_cu_buffer *b, size_t offset, size_t bytes, const char *call, fal_error *err)
{
    if (offset <= b->bytes && bytes <= b->bytes - offset) return FAL_OK;
    return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %s of %zu bytes at %zu exceeds the buffer of %zu", call, bytes,
                    offset, b->bytes);
}

fal_status fal_cu_write(fal_context *ctx, fal_cu_buffer *b, const void *src, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, 0, bytes, "write", err);
    if (st != FAL_OK) return st;
    const fal_cu_result code = ctx->api.cuMemcpyHtoDAsync_v2(b->mem, src, bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? fal_cu_finish(ctx, err) : fal_cu_call_failed(&ctx->api, err, "cuMemcpyHtoDAsync", code);
}

fal_status fal_cu_read(fal_context *ctx, const fal_cu_buffer *b, size_t offset, void *dst, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, offset, bytes, "read", err);
    if (st != FAL_OK) return st;
    const fal_cu_result code = ctx->api.cuMemcpyDtoHAsync_v2(dst, b->mem + offset, bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? fal_cu_finish(ctx, err) : fal_cu_call_failed(&ctx->api, err, "cuMemcpyDtoHAsync", code);
}

fal_status fal_cu_copy(fal_context *ctx, fal_cu_buffer *dst, const fal_cu_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err)
{
    fal_status st = check_range(src, src_offset, bytes, "copy", err);
    if (st == FAL_OK) st = check_range(dst, 0, bytes, "copy", err);
    if (st != FAL_OK) return st;
    const fal_cu_result code = ctx->api.cuMemcpyDtoDAsync_v2(dst->mem, src->mem + src_offset, bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? FAL_OK : fal_cu_call_failed(&ctx->api, err, "cuMemcpyDtoDAsync", code);
}

fal_status fal_cu_finish(fal_context *ctx, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuStreamSynchronize(ctx->queue);
    return code == FAL_CU_SUCCESS ? FAL_OK : fal_cu_call_failed(&ctx->api, err, "cuStreamSynchronize", code);
}

fal_status fal_cu_upload(fal_context *ctx, const char *name, const void *src, size_t bytes, fal_cu_buffer **out,
                         fal_error *err)
{
    fal_cu_buffer *b = NULL;
    fal_status st = fal_cu_alloc(ctx, name, bytes, &b, err);
    if (st != FAL_OK) return st;
    st = fal_cu_write(ctx, b, src, bytes, err);
    if (st != FAL_OK) fal_cu_free(ctx, b);
    else *out = b;
    return st;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

size_t fal_cu_groups(const fal_context *ctx, size_t n_items)
{
    (void)ctx;
    return (n_items + FAL_CU_GROUP - 1) / FAL_CU_GROUP;
}

size_t fal_cu_row_groups(const fal_context *ctx, size_t n_rows)
{
    (void)ctx;
    return (n_rows + FAL_CU_GROUP / 32 - 1) / (FAL_CU_GROUP / 32);
}
