/* Every call to the CUDA driver: library, devices, buffers, modules, launches. */
#include "cuda/device.h"

#include "cuda/api.h"
#include "cuda/dry.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- error names -------------------------------------------------------------------------------------------------- */

static const char *code_name(const fal_cu_api *api, fal_cu_result code)
{
    const char *name = NULL;
    if (!api->cuGetErrorName || api->cuGetErrorName(code, &name) != FAL_CU_SUCCESS || !name) return "unknown code";
    return name;
}

static fal_status call_failed(const fal_cu_api *api, fal_error *err, const char *call, fal_cu_result code)
{
    return fal_fail(err, FAL_ERR_DEVICE, "run again; if it persists, look at the driver's log (dmesg)",
                    "cuda: %s failed: %s (%d)", call, code_name(api, code), code);
}

/* ---- library ------------------------------------------------------------------------------------------------------ */

static fal_status load_api(fal_cu_api *api, fal_error *err)
{
    /* Drivers keep threads of their own; NODELETE lets their code stay when the last context has gone. */
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return fal_fail(err, FAL_ERR_BLOCKED, "install an NVIDIA driver, or run on a machine that has one",
                        "libcuda.so.1 not found");
    memset(api, 0, sizeof *api);
    api->library = library;
    /* An object pointer becomes a function pointer by way of its bytes: ISO C has no conversion for it. */
#define FAL_CU_FUNCTION(name, params)                                                                                  \
    {                                                                                                                  \
        void *const symbol = dlsym(library, #name);                                                                    \
        if (!symbol) {                                                                                                 \
            dlclose(library);                                                                                          \
            return fal_fail(err, FAL_ERR_BLOCKED, "install a driver of CUDA 12 or later",                              \
                            "libcuda.so.1 has no function " #name);                                                    \
        }                                                                                                              \
        memcpy(&api->name, &symbol, sizeof symbol);                                                                    \
    }
    FAL_CU_FUNCTIONS(FAL_CU_FUNCTION)
#undef FAL_CU_FUNCTION
    const fal_cu_result code = api->cuInit(0);
    if (code == FAL_CU_SUCCESS) return FAL_OK;
    const fal_status st = code == FAL_CU_ERROR_NO_DEVICE
                              ? fal_fail(err, FAL_ERR_BLOCKED, "is a GPU visible to this process (CUDA_VISIBLE_DEVICES)?",
                                         "no CUDA device")
                              : fal_fail(err, FAL_ERR_BLOCKED, "check the driver with nvidia-smi",
                                         "the CUDA driver does not start: %s (%d)", code_name(api, code), code);
    dlclose(library);
    return st;
}

static void unload_api(fal_cu_api *api)
{
    if (api->library) dlclose(api->library);
    api->library = NULL;
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

typedef struct {
    fal_cu_device_id id;
    fal_device_info info;
    int major, minor; /* compute capability */
} found_device;

static void device_slug(const char *name, char *out, size_t cap)
{
    size_t n = 0;
    for (; *name && n + 1 < cap; name++) {
        const unsigned char c = (unsigned char)*name;
        if (c < 0x80 && isalnum(c)) out[n++] = (char)tolower(c);
        else if (n > 0 && out[n - 1] != '-') out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-') n--;
    out[n] = '\0';
}

static fal_status describe(const fal_cu_api *api, int index, found_device *d, fal_error *err)
{
    memset(d, 0, sizeof *d);
    fal_cu_uuid uuid;
    size_t memory = 0;
    int version = 0;
    fal_cu_result code = api->cuDeviceGet(&d->id, index);
    if (code != FAL_CU_SUCCESS) return call_failed(api, err, "cuDeviceGet", code);
    code = api->cuDeviceGetName(d->info.name, (int)sizeof d->info.name, d->id);
    if (code != FAL_CU_SUCCESS) return call_failed(api, err, "cuDeviceGetName", code);
    code = api->cuDeviceTotalMem_v2(&memory, d->id);
    if (code != FAL_CU_SUCCESS) return call_failed(api, err, "cuDeviceTotalMem", code);
    code = api->cuDeviceGetAttribute(&d->major, FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, d->id);
    if (code == FAL_CU_SUCCESS) code = api->cuDeviceGetAttribute(&d->minor, FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, d->id);
    if (code != FAL_CU_SUCCESS) return call_failed(api, err, "cuDeviceGetAttribute", code);
    for (char *c = d->info.name; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    d->info.index = index;
    d->info.memory_bytes = memory;
    snprintf(d->info.vendor, sizeof d->info.vendor, "NVIDIA");
    if (api->cuDriverGetVersion(&version) == FAL_CU_SUCCESS)
        snprintf(d->info.driver, sizeof d->info.driver, "CUDA driver %d.%d, compute capability %d.%d", version / 1000,
                 version % 1000 / 10, d->major, d->minor);
    if (api->cuDeviceGetUuid_v2(&uuid, d->id) == FAL_CU_SUCCESS)
        for (size_t i = 0; i < sizeof uuid.bytes; i++)
            snprintf(d->info.uuid + 2 * i, sizeof d->info.uuid - 2 * i, "%02x", (unsigned char)uuid.bytes[i]);
    device_slug(d->info.name, d->info.slug, sizeof d->info.slug);
    return FAL_OK;
}

/* Every device. *out belongs to the caller (free). */
static fal_status find_devices(const fal_cu_api *api, found_device **out, int *n_out, fal_error *err)
{
    if (!fal_cu_fatbins[0].op)
        return fal_fail(err, FAL_ERR_BLOCKED, "install the CUDA toolkit and build again (make CUDA_HOME=...)",
                        "CUDA device code not built (%s)", fal_cu_toolkit);
    int n = 0;
    const fal_cu_result code = api->cuDeviceGetCount(&n);
    if (code != FAL_CU_SUCCESS) return call_failed(api, err, "cuDeviceGetCount", code);
    if (n <= 0)
        return fal_fail(err, FAL_ERR_BLOCKED, "is a GPU visible to this process (CUDA_VISIBLE_DEVICES)?", "no CUDA device");
    found_device *list = calloc((size_t)n, sizeof *list);
    if (!list) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for the device list");
    for (int i = 0; i < n; i++) {
        const fal_status st = describe(api, i, &list[i], err);
        if (st != FAL_OK) {
            free(list);
            return st;
        }
    }
    *out = list;
    *n_out = n;
    return FAL_OK;
}

fal_status fal_cu_devices(fal_device_info *out, int cap, int *n, fal_error *err)
{
    fal_cu_api api;
    found_device *list = NULL;
    *n = 0;
    fal_status st = load_api(&api, err);
    if (st != FAL_OK) return st;
    st = find_devices(&api, &list, n, err);
    for (int i = 0; st == FAL_OK && i < *n && i < cap; i++) out[i] = list[i].info;
    free(list);
    unload_api(&api);
    return st;
}

/* Hex digits of a UUID as a person may write it: with dashes, upper case, or "GPU-" before it. */
static bool same_uuid(const char *wanted, const char *uuid)
{
    if (strncasecmp(wanted, "gpu-", 4) == 0) wanted += 4;
    if (!*uuid || !*wanted) return false;
    for (; *wanted; wanted++) {
        if (*wanted == '-') continue;
        if (tolower((unsigned char)*wanted) != *uuid) return false;
        uuid++;
    }
    return *uuid == '\0';
}

/* Index of the device that the user means, or -1. */
static int choose(const found_device *list, int n, const char *wanted)
{
    if (!wanted || !*wanted) return 0;
    if (strspn(wanted, "0123456789") == strlen(wanted) && strlen(wanted) < 6) {
        const int i = atoi(wanted);
        if (i < n) return i;
    }
    for (int i = 0; i < n; i++)
        if (same_uuid(wanted, list[i].info.uuid)) return i;
    for (int i = 0; i < n; i++)
        if (strcasestr(list[i].info.name, wanted)) return i;
    return -1;
}

static fal_status no_such_device(const found_device *list, int n, const char *wanted, fal_error *err)
{
    char names[700] = "";
    size_t len = 0;
    for (int i = 0; i < n && len < sizeof names; i++)
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%d '%s'%s%s", i ? ", " : "", i, list[i].info.name,
                                list[i].info.uuid[0] ? " " : "", list[i].info.uuid);
    return fal_fail(err, FAL_ERR_USAGE, "give an index, a part of a name, or a UUID",
                    "cuda: no device matches '%.80s'; there are: %s", wanted, names);
}

/* ---- context ------------------------------------------------------------------------------------------------------ */

struct fal_cu_buffer {
    fal_cu_ptr mem;
    size_t bytes;
};

typedef struct {
    char name[64];
    fal_cu_function id;
    uint64_t n_launches;
    uint64_t n_recorded; /* launches in the graph that is being recorded */
    size_t shared_bytes; /* dynamic shared memory that it was allowed so far, beyond what needs no leave */
    bool overlaps;       /* its code knows how to wait for the kernel before it */
} kernel;

enum { MAX_KERNELS = 32 };

/* A module and those of its kernels that were asked for so far. */
typedef struct {
    fal_cu_module id; /* NULL until loaded */
    kernel kernels[MAX_KERNELS];
    int n_kernels;
} program;

struct fal_context {
    fal_cu_api api;
    fal_cu_device_id device;
    fal_cu_ctx context; /* the device's primary context */
    fal_cu_stream queue;
    fal_device_info info;
    const fal_other_code *instead; /* of the module of one op, or NULL */
    program *programs; /* [n_programs], as fal_cu_fatbins */
    int n_programs;
    fal_cu_variant variant;
    int n_multiprocessors, shared_limit;
    bool is_recording;
    bool overlaps; /* launches in blocks of FAL_CU_GROUP */
    uint64_t live_bytes, peak_bytes;
};

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
    found_device *list = NULL;
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
    while (fal_cu_fatbins[ctx->n_programs].op) ctx->n_programs++;
    ctx->programs = calloc((size_t)ctx->n_programs + 1, sizeof *ctx->programs);
    if (!ctx->programs) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a context");
        goto out;
    }
    if (o->dry) fal_cu_dry_api(&ctx->api);
    else st = load_api(&ctx->api, err);
    if (st == FAL_OK) st = find_devices(&ctx->api, &list, &n, err);
    if (st != FAL_OK) goto out;
    const int at = choose(list, n, o->device);
    if (at < 0) {
        st = no_such_device(list, n, o->device, err);
        goto out;
    }
    ctx->device = list[at].id;
    ctx->info = list[at].info;
    code = ctx->api.cuDeviceGetAttribute(&ctx->n_multiprocessors, FAL_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT, ctx->device);
    if (code == FAL_CU_SUCCESS)
        code = ctx->api.cuDeviceGetAttribute(&ctx->shared_limit, FAL_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, ctx->device);
    if (code != FAL_CU_SUCCESS) {
        st = call_failed(&ctx->api, err, "cuDeviceGetAttribute", code);
        goto out;
    }
    code = ctx->api.cuDevicePrimaryCtxRetain(&ctx->context, ctx->device);
    if (code != FAL_CU_SUCCESS) {
        ctx->context = NULL;
        st = call_failed(&ctx->api, err, "cuDevicePrimaryCtxRetain", code);
        goto out;
    }
    code = ctx->api.cuCtxSetCurrent(ctx->context);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuStreamCreate(&ctx->queue, 1); /* 1: does not wait for the default stream */
    if (code != FAL_CU_SUCCESS) st = call_failed(&ctx->api, err, "cuStreamCreate", code);
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
    unload_api(&ctx->api);
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
    return code == FAL_CU_SUCCESS ? FAL_OK : call_failed(&ctx->api, err, "cuMemsetD8Async", code);
}

fal_status fal_cu_need_room(const fal_context *ctx, const char *name, size_t bytes, fal_error *err)
{
    size_t room = 0, total = 0;
    const fal_cu_result code = ctx->api.cuMemGetInfo_v2(&room, &total);
    if (code != FAL_CU_SUCCESS) return call_failed(&ctx->api, err, "cuMemGetInfo", code);
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
        if (code != FAL_CU_ERROR_OUT_OF_MEMORY) return call_failed(&ctx->api, err, "cuMemAlloc", code);
        return no_room(ctx, name, bytes, code_name(&ctx->api, code), err);
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
    return code == FAL_CU_SUCCESS ? fal_cu_finish(ctx, err) : call_failed(&ctx->api, err, "cuMemcpyHtoDAsync", code);
}

fal_status fal_cu_read(fal_context *ctx, const fal_cu_buffer *b, size_t offset, void *dst, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, offset, bytes, "read", err);
    if (st != FAL_OK) return st;
    const fal_cu_result code = ctx->api.cuMemcpyDtoHAsync_v2(dst, b->mem + offset, bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? fal_cu_finish(ctx, err) : call_failed(&ctx->api, err, "cuMemcpyDtoHAsync", code);
}

fal_status fal_cu_copy(fal_context *ctx, fal_cu_buffer *dst, const fal_cu_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err)
{
    fal_status st = check_range(src, src_offset, bytes, "copy", err);
    if (st == FAL_OK) st = check_range(dst, 0, bytes, "copy", err);
    if (st != FAL_OK) return st;
    const fal_cu_result code = ctx->api.cuMemcpyDtoDAsync_v2(dst->mem, src->mem + src_offset, bytes, ctx->queue);
    return code == FAL_CU_SUCCESS ? FAL_OK : call_failed(&ctx->api, err, "cuMemcpyDtoDAsync", code);
}

fal_status fal_cu_finish(fal_context *ctx, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuStreamSynchronize(ctx->queue);
    return code == FAL_CU_SUCCESS ? FAL_OK : call_failed(&ctx->api, err, "cuStreamSynchronize", code);
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

/* ---- programs ----------------------------------------------------------------------------------------------------- */

static fal_status load_program(fal_context *ctx, const fal_cu_fatbin *f, program *prog, fal_error *err)
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
                        version % 1000 / 10, fal_cu_toolkit, fal_cu_archs, ctx->info.name, code_name(&ctx->api, code));
    return call_failed(&ctx->api, err, "cuModuleLoadData", code);
}

/* ---- launches ----------------------------------------------------------------------------------------------------- */

static fal_status find_kernel(fal_context *ctx, const char *op, const char *name, kernel **out, fal_error *err)
{
    int p = 0;
    while (p < ctx->n_programs && strcmp(fal_cu_fatbins[p].op, op) != 0) p++;
    if (p == ctx->n_programs) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: no device code for '%s'", op);
    program *prog = &ctx->programs[p];
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
                        code_name(&ctx->api, code), code);
    kernel *k = &prog->kernels[prog->n_kernels++];
    *k = (kernel) { .id = id };
    snprintf(k->name, sizeof k->name, "%s", name);
    int ptx_version = 0; /* waiting is compiled in from compute capability 9.0 on */
    if (ctx->api.cuFuncGetAttribute(&ptx_version, FAL_CU_FUNC_PTX_VERSION, id) == FAL_CU_SUCCESS)
        k->overlaps = ptx_version >= 90;
    *out = k;
    return FAL_OK;
}

fal_status fal_cu_facts(fal_context *ctx, const char *op, const char *name, fal_cu_kernel_facts *out, fal_error *err)
{
    kernel *k = NULL;
    const fal_status st = find_kernel(ctx, op, name, &k, err);
    if (st != FAL_OK) return st;
    fal_cu_result code = ctx->api.cuFuncGetAttribute(&out->registers, FAL_CU_FUNC_NUM_REGS, k->id);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuFuncGetAttribute(&out->local_bytes, FAL_CU_FUNC_LOCAL_SIZE_BYTES, k->id);
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuFuncGetAttribute(&out->shared_bytes, FAL_CU_FUNC_SHARED_SIZE_BYTES, k->id);
    return code == FAL_CU_SUCCESS ? FAL_OK : call_failed(&ctx->api, err, "cuFuncGetAttribute", code);
}

enum { MAX_ARGS = 24 };

/* The driver takes void ** and copies the values. */
static void point_at(const fal_cu_arg *args, size_t n, void **values)
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
static fal_status allow_shared(fal_context *ctx, kernel *k, size_t bytes, fal_error *err)
{
    if (bytes <= 48 * 1024 || bytes <= k->shared_bytes) return FAL_OK;
    const fal_cu_result code = ctx->api.cuFuncSetAttribute(k->id, FAL_CU_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes);
    if (code != FAL_CU_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "cuda: %s may not have %zu bytes of shared memory: %s (%d)", k->name, bytes,
                        code_name(&ctx->api, code), code);
    k->shared_bytes = bytes;
    return FAL_OK;
}

static fal_status launch(fal_context *ctx, const char *op, const char *how, const char *type, const fal_cu_shape *shape,
                         const fal_cu_arg *args, size_t n_args, fal_error *err)
{
    char name[64];
    kernel *k = NULL;
    void *values[MAX_ARGS];
    snprintf(name, sizeof name, "fal_cu_%s%s%s%s%s", op, how ? "__" : "", how ? how : "", type ? "_" : "", type ? type : "");
    fal_status st = find_kernel(ctx, op, name, &k, err);
    if (st != FAL_OK) return st;
    if (n_args > MAX_ARGS || shape->n_groups == 0 || shape->n_groups > INT32_MAX || shape->shared_bytes > INT32_MAX)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %s over %zu blocks with %zu arguments and %zu bytes", name,
                        shape->n_groups, n_args, shape->shared_bytes);
    st = allow_shared(ctx, k, shape->shared_bytes, err);
    if (st != FAL_OK) return st;
    point_at(args, n_args, values);
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
                        code_name(&ctx->api, code), code);
    if (ctx->is_recording) k->n_recorded++;
    else k->n_launches++;
    return FAL_OK;
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

/* ---- graphs ------------------------------------------------------------------------------------------------------- */

typedef struct {
    kernel *kernel; /* of the context, which outlives the graph */
    uint64_t n;
} graph_count;

struct fal_cu_graph {
    fal_cu_graph_exec exec;
    graph_count *counts; /* [n_counts] */
    int n_counts, n_kernels;
};

/* For every kernel that was asked for so far. */
#define EACH_KERNEL(ctx, k)                                                                                            \
    for (int p_ = 0; p_ < (ctx)->n_programs; p_++)                                                                     \
        for (kernel *k = (ctx)->programs[p_].kernels; k < (ctx)->programs[p_].kernels + (ctx)->programs[p_].n_kernels; k++)

fal_status fal_cu_graph_begin(fal_context *ctx, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuStreamBeginCapture_v2(ctx->queue, FAL_CU_CAPTURE_MODE_RELAXED);
    if (code != FAL_CU_SUCCESS) return call_failed(&ctx->api, err, "cuStreamBeginCapture", code);
    EACH_KERNEL(ctx, k) k->n_recorded = 0;
    ctx->is_recording = true;
    return FAL_OK;
}

/* What one launch of the graph adds to the counts of launches. */
static fal_status count_recorded(fal_context *ctx, fal_cu_graph *graph, fal_error *err)
{
    int n = 0;
    EACH_KERNEL(ctx, k) n += k->n_recorded > 0;
    graph->counts = calloc((size_t)n + 1, sizeof *graph->counts);
    if (!graph->counts) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a graph");
    EACH_KERNEL(ctx, k)
    {
        if (k->n_recorded == 0) continue;
        graph->counts[graph->n_counts++] = (graph_count) { k, k->n_recorded };
        graph->n_kernels += (int)k->n_recorded;
    }
    return FAL_OK;
}

fal_status fal_cu_graph_end(fal_context *ctx, fal_cu_graph **out, fal_error *err)
{
    fal_cu_graph_id recorded = NULL;
    fal_status st = FAL_OK;
    fal_cu_graph *graph = calloc(1, sizeof *graph);
    ctx->is_recording = false;
    fal_cu_result code = ctx->api.cuStreamEndCapture(ctx->queue, &recorded);
    if (!graph) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a graph");
    else if (code != FAL_CU_SUCCESS || !recorded) st = call_failed(&ctx->api, err, "cuStreamEndCapture", code);
    if (st == FAL_OK) st = count_recorded(ctx, graph, err);
    if (st == FAL_OK) {
        code = ctx->api.cuGraphInstantiateWithFlags(&graph->exec, recorded, 0);
        if (code != FAL_CU_SUCCESS) {
            graph->exec = NULL;
            st = call_failed(&ctx->api, err, "cuGraphInstantiate", code);
        }
    }
    if (recorded) ctx->api.cuGraphDestroy(recorded);
    if (st != FAL_OK) fal_cu_graph_free(ctx, graph);
    else *out = graph;
    return st;
}

fal_status fal_cu_graph_launch(fal_context *ctx, fal_cu_graph *graph, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuGraphLaunch(graph->exec, ctx->queue);
    if (code != FAL_CU_SUCCESS) return call_failed(&ctx->api, err, "cuGraphLaunch", code);
    for (int i = 0; i < graph->n_counts; i++) graph->counts[i].kernel->n_launches += graph->counts[i].n;
    return FAL_OK;
}

int fal_cu_graph_kernels(const fal_cu_graph *graph)
{
    return graph->n_kernels;
}

void fal_cu_graph_free(fal_context *ctx, fal_cu_graph *graph)
{
    if (!graph) return;
    if (graph->exec) ctx->api.cuGraphExecDestroy(graph->exec);
    free(graph->counts);
    free(graph);
}

/* ---- somebody else's device code --------------------------------------------------------------------------------- */

fal_status fal_cu_view(fal_context *ctx, const fal_cu_buffer *whole, size_t offset, size_t bytes, fal_cu_buffer **out, fal_error *err)
{
    (void)ctx;
    fal_cu_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for a view");
    *b = (fal_cu_buffer) { .mem = whole->mem + offset, .bytes = bytes };
    *out = b;
    return FAL_OK;
}

void fal_cu_view_free(fal_context *ctx, fal_cu_buffer *view)
{
    (void)ctx;
    free(view);
}

struct fal_cu_foreign {
    fal_cu_module id;
    kernel last; /* looked up before: looking costs as much as a small launch */
};

static fal_cu_function foreign_kernel(fal_context *ctx, fal_cu_foreign *f, const char *name)
{
    if (f->last.id && strcmp(f->last.name, name) == 0) return f->last.id;
    f->last = (kernel) { 0 };
    if (ctx->api.cuModuleGetFunction(&f->last.id, f->id, name) != FAL_CU_SUCCESS) f->last.id = NULL;
    snprintf(f->last.name, sizeof f->last.name, "%s", name);
    return f->last.id;
}

/* The text that the code exports about its launch. */
static bool read_launch(fal_context *ctx, fal_cu_module id, char *launch, size_t size)
{
    fal_cu_ptr at = 0;
    size_t n = 0;
    if (ctx->api.cuModuleGetGlobal_v2(&at, &n, id, "falsify_launch") != FAL_CU_SUCCESS || n == 0 || n >= size) return false;
    if (ctx->api.cuMemcpyDtoHAsync_v2(launch, at, n, ctx->queue) != FAL_CU_SUCCESS || ctx->api.cuStreamSynchronize(ctx->queue) != FAL_CU_SUCCESS)
        return false;
    launch[n] = '\0';
    return true;
}

fal_status fal_cu_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cu_foreign **out,
                               fal_error *err)
{
    (void)length; /* the driver finds the end of a cubin by itself, of PTX by its terminator */
    fal_cu_foreign *f = calloc(1, sizeof *f);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a module");
    const fal_cu_result result = ctx->api.cuModuleLoadData(&f->id, code);
    fal_status st = FAL_OK;
    if (result != FAL_CU_SUCCESS) {
        f->id = NULL;
        st = fal_fail(err, FAL_ERR_INPUT, "a cubin runs on the architecture that it was built for alone; PTX on that one and later ones",
                      "the driver does not load it on '%s' (%s): %s (%d)", ctx->info.name, ctx->info.driver, code_name(&ctx->api, result), result);
    } else if (!read_launch(ctx, f->id, launch, launch_size)) {
        st = fal_fail(err, FAL_ERR_INPUT, "for example: extern \"C\" __device__ char falsify_launch[] = \"block=128 grid=cdiv(n_out,4)*n_tokens\";",
                      "the device code has no variable falsify_launch, or one of more than %zu characters", launch_size - 1);
    }
    if (st) fal_cu_foreign_free(ctx, f);
    else *out = f;
    return st;
}

void fal_cu_foreign_free(fal_context *ctx, fal_cu_foreign *f)
{
    if (!f) return;
    if (f->id) ctx->api.cuModuleUnload(f->id);
    free(f);
}

bool fal_cu_foreign_has(fal_context *ctx, fal_cu_foreign *f, const char *name)
{
    return foreign_kernel(ctx, f, name) != NULL;
}

fal_status fal_cu_foreign_run(fal_context *ctx, fal_cu_foreign *f, const char *name, const fal_launch *shape, const fal_cu_arg *args,
                              size_t n_args, fal_error *err)
{
    static const fal_cu_buffer nothing = { 0 };
    fal_cu_arg given[MAX_ARGS];
    void *values[MAX_ARGS];
    fal_cu_result code = FAL_CU_SUCCESS;
    const fal_cu_function id = foreign_kernel(ctx, f, name);
    if (n_args > MAX_ARGS) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %zu arguments", n_args);
    if (!id) return fal_fail(err, FAL_ERR_INPUT, NULL, "it has no kernel %s", name);
    for (size_t i = 0; i < n_args; i++) {
        given[i] = args[i];
        if (given[i].kind == FAL_CU_ARG_BUFFER && !given[i].v.buffer) given[i].v.buffer = &nothing;
    }
    point_at(given, n_args, values);
    if (shape->shared_bytes > 48 * 1024)
        code = ctx->api.cuFuncSetAttribute(id, FAL_CU_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shape->shared_bytes);
    const fal_cu_launch_config config = {
        .grid_x = (unsigned)shape->grid[0], .grid_y = (unsigned)shape->grid[1], .grid_z = (unsigned)shape->grid[2],
        .block_x = (unsigned)shape->block[0], .block_y = (unsigned)shape->block[1], .block_z = (unsigned)shape->block[2],
        .shared_bytes = (unsigned)shape->shared_bytes, .stream = ctx->queue,
    };
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuLaunchKernelEx(&config, id, values, NULL);
    if (code == FAL_CU_SUCCESS) return FAL_OK;
    if (code != FAL_CU_ERROR_INVALID_VALUE && code != FAL_CU_ERROR_LAUNCH_OUT_OF_RESOURCES) return call_failed(&ctx->api, err, "cuLaunchKernelEx", code);
    return fal_fail(err, FAL_ERR_INPUT, "look at falsify_launch", "launch of %s over %zu x %zu x %zu blocks failed: %s (%d)", name, shape->grid[0],
                    shape->grid[1], shape->grid[2], code_name(&ctx->api, code), code);
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
