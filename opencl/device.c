/* A context on one OpenCL device: its life, and its memory. */
#include "opencl/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- context ------------------------------------------------------------------------------------------------------ */

const char *const fal_cl_variants[] = { "", "cpu", NULL };

static fal_status check_variant(const char *variant, bool *is_cpu, fal_error *err)
{
    if (!variant || !*variant) *is_cpu = false;
    else if (strcmp(variant, "cpu") == 0) *is_cpu = true;
    else
        return fal_fail(err, FAL_ERR_USAGE, "leave it empty for the work-group kernels, or say cpu",
                        "opencl: no variant '%.40s'; there are: '' and 'cpu'", variant);
    return FAL_OK;
}

fal_status fal_cl_open(const fal_backend_options *options, fal_context **out, fal_error *err)
{
    static const fal_backend_options defaults = { 0 };
    const fal_backend_options *o = options ? options : &defaults;
    fal_cl_found *list = NULL;
    fal_context *ctx = NULL;
    bool is_cpu = false;
    int n = 0;
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_status st = check_variant(o->variant, &is_cpu, err);
    if (st != FAL_OK) return st;
    ctx = calloc(1, sizeof *ctx);
    if (!ctx) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for a context");
    ctx->is_cpu = is_cpu;
    ctx->instead = o->instead;
    ctx->is_blocking = o->blocking;
    st = fal_cl_load_api(&ctx->api, err);
    if (st == FAL_OK) st = fal_cl_find_devices(&ctx->api, &list, &n, err);
    if (st != FAL_OK) goto out;
    const int at = fal_cl_choose(list, n, o->device);
    if (at < 0) {
        st = fal_cl_no_such_device(list, n, o->device, err);
        goto out;
    }
    ctx->device = list[at].id;
    ctx->info = list[at].info;
    ctx->max_alloc = list[at].max_alloc;
    ctx->is_pocl = strstr(ctx->info.driver, "PoCL") != NULL;
    snprintf(ctx->options, sizeof ctx->options,
             "-cl-std=CL1.2 -DFAL_CPU=%d -DFAL_GROUP=%d -DFAL_SIDE=%d -DFAL_TILE=%d -DFAL_CPU_ROWS=%d%s", is_cpu,
             FAL_CL_GROUP, FAL_CL_SIDE, FAL_CL_TILE, FAL_CL_CPU_ROWS,
             list[at].rounded_divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "");
    if (o->cache_dir && *o->cache_dir) {
        ctx->cache_dir = strdup(o->cache_dir);
        if (!ctx->cache_dir) {
            st = fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for a context");
            goto out;
        }
    }
    ctx->context = ctx->api.clCreateContext(NULL, 1, &ctx->device, NULL, NULL, &code);
    if (!ctx->context) {
        st = fal_cl_call_failed(err, "clCreateContext", code);
        goto out;
    }
    ctx->queue = ctx->api.clCreateCommandQueue(ctx->context, ctx->device, 0, &code); /* 0: in order */
    if (!ctx->queue) st = fal_cl_call_failed(err, "clCreateCommandQueue", code);
out:
    free(list);
    if (st != FAL_OK) fal_cl_close(ctx);
    else *out = ctx;
    return st;
}

void fal_cl_close(fal_context *ctx)
{
    if (!ctx) return;
    if (ctx->queue) ctx->api.clFinish(ctx->queue);
    for (int p = 0; p < N_PROGRAMS; p++) {
        for (int k = 0; k < ctx->programs[p].n_kernels; k++) ctx->api.clReleaseKernel(ctx->programs[p].kernels[k].id);
        if (ctx->programs[p].id) ctx->api.clReleaseProgram(ctx->programs[p].id);
    }
    if (ctx->queue) ctx->api.clReleaseCommandQueue(ctx->queue);
    if (ctx->context) ctx->api.clReleaseContext(ctx->context);
    fal_cl_unload_api(&ctx->api);
    free(ctx->cache_dir);
    free(ctx);
}

const fal_device_info *fal_cl_device(const fal_context *ctx)
{
    return &ctx->info;
}

bool fal_cl_is_cpu(const fal_context *ctx)
{
    return ctx->is_cpu;
}

void fal_cl_memory(const fal_context *ctx, fal_memory *out)
{
    *out = (fal_memory) { .peak_bytes = ctx->peak_bytes, .live_bytes = ctx->live_bytes };
}

void fal_cl_launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user)
{
    for (int p = 0; p < N_PROGRAMS; p++)
        for (int k = 0; k < ctx->programs[p].n_kernels; k++)
            if (ctx->programs[p].kernels[k].n_launches > 0)
                visit(user, ctx->programs[p].kernels[k].name, ctx->programs[p].kernels[k].n_launches);
}

/* ---- buffers ------------------------------------------------------------------------------------------------------ */

static fal_status no_room(const fal_context *ctx, const char *name, size_t bytes, const char *why, fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, "use a smaller model or context, or a device with more memory",
                    "opencl: no room for %s, %zu bytes, on '%s': %s (in use %llu of %llu, at once at most %zu)", name,
                    bytes, ctx->info.name, why, (unsigned long long)ctx->live_bytes,
                    (unsigned long long)ctx->info.memory_bytes, ctx->max_alloc);
}

size_t fal_cl_bytes(size_t elem, int a, int b, int c)
{
    size_t n = elem;
    if (a < 0 || b < 0 || c < 0 || __builtin_mul_overflow(n, (size_t)a, &n) ||
        __builtin_mul_overflow(n, (size_t)b, &n) || __builtin_mul_overflow(n, (size_t)c, &n))
        return SIZE_MAX;
    return n;
}

fal_status fal_cl_poison(fal_context *ctx, fal_cl_buffer *b, fal_error *err)
{
    const unsigned char pattern = 0xFF;
    const fal_cl_int code = ctx->api.clEnqueueFillBuffer(ctx->queue, b->mem, &pattern, 1, 0, b->bytes, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : fal_cl_call_failed(err, "clEnqueueFillBuffer", code);
}

fal_status fal_cl_need_room(const fal_context *ctx, const char *name, size_t bytes, fal_error *err)
{
    const uint64_t total = ctx->info.memory_bytes, used = ctx->live_bytes < total ? ctx->live_bytes : total;
    if (bytes <= total - used) return FAL_OK;
    return fal_fail(err, FAL_ERR_MEMORY, "use a smaller model or context, or a device with more memory",
                    "opencl: %s needs %zu bytes on '%s', which has %llu and uses %llu of them here", name, bytes,
                    ctx->info.name, (unsigned long long)total, (unsigned long long)used);
}

fal_status fal_cl_alloc(fal_context *ctx, const char *name, size_t bytes, fal_cl_buffer **out, fal_error *err)
{
    if (bytes == 0 || bytes > ctx->max_alloc)
        return no_room(ctx, name, bytes, "more than one buffer can hold, or nothing", err);
    fal_cl_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no host memory for %s", name);
    fal_cl_int code = FAL_CL_SUCCESS;
    b->bytes = bytes;
    b->mem = ctx->api.clCreateBuffer(ctx->context, FAL_CL_MEM_READ_WRITE, bytes, NULL, &code);
    if (!b->mem) {
        free(b);
        return no_room(ctx, name, bytes, fal_cl_code_name(code), err);
    }
    ctx->live_bytes += bytes;
    ctx->memory++;
    if (ctx->live_bytes > ctx->peak_bytes) ctx->peak_bytes = ctx->live_bytes;
    /* Drivers allocate at first use, so this is also where a full device shows itself. */
    const unsigned char pattern = 0xFF;
    code = ctx->api.clEnqueueFillBuffer(ctx->queue, b->mem, &pattern, 1, 0, bytes, 0, NULL, NULL);
    if (code != FAL_CL_SUCCESS) {
        const fal_status st = no_room(ctx, name, bytes, fal_cl_code_name(code), err);
        fal_cl_free(ctx, b);
        return st;
    }
    *out = b;
    return FAL_OK;
}

void fal_cl_free(fal_context *ctx, fal_cl_buffer *b)
{
    if (!b) return;
    ctx->api.clReleaseMemObject(b->mem);
    ctx->memory++;
    ctx->live_bytes -= b->bytes;
    free(b);
}

size_t fal_cl_size(const fal_cl_buffer *b)
{
    return b ? b->bytes : 0;
}

/* A transfer beyond its buffer is our own mistake; drivers need not notice. */
static fal_status check_range(const fal_cl_buffer *b, size_t offset, size_t bytes, const char *call, fal_error *err)
{
    if (offset <= b->bytes && bytes <= b->bytes - offset) return FAL_OK;
    return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: %s of %zu bytes at %zu exceeds the buffer of %zu", call,
                    bytes, offset, b->bytes);
}

fal_status fal_cl_write(fal_context *ctx, fal_cl_buffer *b, const void *src, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, 0, bytes, "write", err);
    if (st != FAL_OK) return st;
    const fal_cl_int code =
        ctx->api.clEnqueueWriteBuffer(ctx->queue, b->mem, FAL_CL_TRUE, 0, bytes, src, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : fal_cl_call_failed(err, "clEnqueueWriteBuffer", code);
}

fal_status fal_cl_read(fal_context *ctx, const fal_cl_buffer *b, size_t offset, void *dst, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, offset, bytes, "read", err);
    if (st != FAL_OK) return st;
    const fal_cl_int code =
        ctx->api.clEnqueueReadBuffer(ctx->queue, b->mem, FAL_CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : fal_cl_call_failed(err, "clEnqueueReadBuffer", code);
}

fal_status fal_cl_copy(fal_context *ctx, fal_cl_buffer *dst, const fal_cl_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err)
{
    fal_status st = check_range(src, src_offset, bytes, "copy", err);
    if (st == FAL_OK) st = check_range(dst, 0, bytes, "copy", err);
    if (st != FAL_OK) return st;
    const fal_cl_int code =
        ctx->api.clEnqueueCopyBuffer(ctx->queue, src->mem, dst->mem, src_offset, 0, bytes, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : fal_cl_call_failed(err, "clEnqueueCopyBuffer", code);
}

fal_status fal_cl_finish(fal_context *ctx, fal_error *err)
{
    const fal_cl_int code = ctx->api.clFinish(ctx->queue);
    return code == FAL_CL_SUCCESS ? FAL_OK : fal_cl_call_failed(err, "clFinish", code);
}

fal_status fal_cl_upload(fal_context *ctx, const char *name, const void *src, size_t bytes, fal_cl_buffer **out,
                         fal_error *err)
{
    fal_cl_buffer *b = NULL;
    fal_status st = fal_cl_alloc(ctx, name, bytes, &b, err);
    if (st != FAL_OK) return st;
    st = fal_cl_write(ctx, b, src, bytes, err);
    if (st != FAL_OK) fal_cl_free(ctx, b);
    else *out = b;
    return st;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

size_t fal_cl_largest(const fal_context *ctx)
{
    return ctx->max_alloc;
}

size_t fal_cl_groups(const fal_context *ctx, size_t n_items)
{
    return ctx->is_cpu ? n_items : (n_items + FAL_CL_GROUP - 1) / FAL_CL_GROUP;
}

size_t fal_cl_row_groups(const fal_context *ctx, size_t n_rows)
{
    return ctx->is_cpu ? n_rows : (n_rows + FAL_CL_GROUP / 32 - 1) / (FAL_CL_GROUP / 32);
}
