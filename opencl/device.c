/* Every call to the OpenCL driver: library, devices, buffers, programs, launches. One file, however long, because no
   other one may call the driver. */
#include "opencl/device.h"

#include "harness/digest.h"
#include "opencl/api.h"
#include "opencl/cache.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- error names ------------------------------------------------------------------------------------------------ */

static const char *code_name(fal_cl_int code)
{
    static const struct {
        fal_cl_int code;
        const char *name;
    } names[] = {
        { 0, "CL_SUCCESS" }, { -1, "CL_DEVICE_NOT_FOUND" }, { -2, "CL_DEVICE_NOT_AVAILABLE" },
        { -3, "CL_COMPILER_NOT_AVAILABLE" }, { -4, "CL_MEM_OBJECT_ALLOCATION_FAILURE" },
        { -5, "CL_OUT_OF_RESOURCES" }, { -6, "CL_OUT_OF_HOST_MEMORY" }, { -8, "CL_MEM_COPY_OVERLAP" },
        { -11, "CL_BUILD_PROGRAM_FAILURE" }, { -12, "CL_MAP_FAILURE" }, { -13, "CL_MISALIGNED_SUB_BUFFER_OFFSET" },
        { -14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST" }, { -30, "CL_INVALID_VALUE" },
        { -31, "CL_INVALID_DEVICE_TYPE" }, { -32, "CL_INVALID_PLATFORM" }, { -33, "CL_INVALID_DEVICE" },
        { -34, "CL_INVALID_CONTEXT" }, { -35, "CL_INVALID_QUEUE_PROPERTIES" }, { -36, "CL_INVALID_COMMAND_QUEUE" },
        { -37, "CL_INVALID_HOST_PTR" }, { -38, "CL_INVALID_MEM_OBJECT" }, { -42, "CL_INVALID_BINARY" },
        { -43, "CL_INVALID_BUILD_OPTIONS" }, { -44, "CL_INVALID_PROGRAM" }, { -45, "CL_INVALID_PROGRAM_EXECUTABLE" },
        { -46, "CL_INVALID_KERNEL_NAME" }, { -47, "CL_INVALID_KERNEL_DEFINITION" }, { -48, "CL_INVALID_KERNEL" },
        { -49, "CL_INVALID_ARG_INDEX" }, { -50, "CL_INVALID_ARG_VALUE" }, { -51, "CL_INVALID_ARG_SIZE" },
        { -52, "CL_INVALID_KERNEL_ARGS" }, { -53, "CL_INVALID_WORK_DIMENSION" },
        { -54, "CL_INVALID_WORK_GROUP_SIZE" }, { -55, "CL_INVALID_WORK_ITEM_SIZE" },
        { -56, "CL_INVALID_GLOBAL_OFFSET" }, { -57, "CL_INVALID_EVENT_WAIT_LIST" }, { -58, "CL_INVALID_EVENT" },
        { -59, "CL_INVALID_OPERATION" }, { -61, "CL_INVALID_BUFFER_SIZE" }, { -63, "CL_INVALID_GLOBAL_WORK_SIZE" },
        { -64, "CL_INVALID_PROPERTY" }, { -1001, "CL_PLATFORM_NOT_FOUND_KHR" },
        { -9999, "illegal memory access (NVIDIA)" },
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code) return names[i].name;
    return "unknown code";
}

/* A failed call. Codes that say "no room" become FAL_ERR_MEMORY only where an allocation was asked for: drivers also
   use CL_OUT_OF_RESOURCES for a kernel that crashed. */
static fal_status call_failed(fal_error *err, const char *call, fal_cl_int code)
{
    return fal_fail(err, FAL_ERR_DEVICE, "run again; if it persists, look at the driver's log",
                    "opencl: %s failed: %s (%d)", call, code_name(code), code);
}

/* ---- library ---------------------------------------------------------------------------------------------------- */

static fal_status load_api(fal_cl_api *api, fal_error *err)
{
    /* Drivers keep threads of their own; NODELETE lets their code stay when the last context has gone. */
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return fal_fail(err, FAL_ERR_BLOCKED, "apt-get install ocl-icd-libopencl1 pocl-opencl-icd",
                        "libOpenCL.so.1 not found");
    memset(api, 0, sizeof *api);
    api->library = library;
    /* An object pointer becomes a function pointer by way of its bytes: ISO C has no conversion for it. */
#define FAL_CL_FUNCTION(result, name, params)                                                                          \
    {                                                                                                                  \
        void *const symbol = dlsym(library, #name);                                                                    \
        if (!symbol) {                                                                                                 \
            dlclose(library);                                                                                          \
            return fal_fail(err, FAL_ERR_BLOCKED, "install an ICD loader of OpenCL 1.2 or later",                      \
                            "libOpenCL.so.1 has no function " #name);                                                  \
        }                                                                                                              \
        memcpy(&api->name, &symbol, sizeof symbol);                                                                    \
    }
    FAL_CL_FUNCTIONS(FAL_CL_FUNCTION)
#undef FAL_CL_FUNCTION
    return FAL_OK;
}

static void unload_api(fal_cl_api *api)
{
    if (api->library) dlclose(api->library);
    api->library = NULL;
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

typedef struct {
    fal_cl_device_id id;
    fal_device_info info;
    int rank;             /* 0 GPU, 1 accelerator, 2 CPU */
    bool rounded_divide;  /* offers correctly rounded division and square root */
    size_t max_alloc;
} found_device;

/* A device string of any length, trimmed, control characters replaced: it comes from a driver. */
static void device_text(const fal_cl_api *api, fal_cl_device_id id, fal_cl_uint what, char *out, size_t cap)
{
    char text[1024] = "";
    out[0] = '\0';
    if (api->clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) != FAL_CL_SUCCESS) return;
    const char *s = text;
    while (*s == ' ') s++;
    size_t n = strlen(s);
    while (n > 0 && s[n - 1] == ' ') n--;
    if (n >= cap) n = cap - 1;
    for (size_t i = 0; i < n; i++) out[i] = iscntrl((unsigned char)s[i]) ? '?' : s[i];
    out[n] = '\0';
}

static bool device_value(const fal_cl_api *api, fal_cl_device_id id, fal_cl_uint what, void *out, size_t size)
{
    return api->clGetDeviceInfo(id, what, size, out, NULL) == FAL_CL_SUCCESS;
}

static bool has_extension(const fal_cl_api *api, fal_cl_device_id id, const char *name)
{
    size_t n = 0;
    if (api->clGetDeviceInfo(id, FAL_CL_DEVICE_EXTENSIONS, 0, NULL, &n) != FAL_CL_SUCCESS || n == 0) return false;
    char *list = calloc(n + 1, 1);
    if (!list) return false;
    bool found = false;
    if (api->clGetDeviceInfo(id, FAL_CL_DEVICE_EXTENSIONS, n, list, NULL) == FAL_CL_SUCCESS) {
        const size_t len = strlen(name);
        for (const char *at = list; !found && (at = strstr(at, name)); at += len)
            found = (at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0');
    }
    free(list);
    return found;
}

/* The UUID in hex; else the PCI place, which is as stable on one machine; else empty. */
static void device_uuid(const fal_cl_api *api, fal_cl_device_id id, char *out, size_t cap)
{
    unsigned char uuid[16];
    out[0] = '\0';
    if (has_extension(api, id, "cl_khr_device_uuid") &&
        device_value(api, id, FAL_CL_DEVICE_UUID_KHR, uuid, sizeof uuid)) {
        for (size_t i = 0; i < sizeof uuid && 2 * i + 2 < cap; i++) snprintf(out + 2 * i, cap - 2 * i, "%02x", uuid[i]);
        return;
    }
    fal_cl_uint bus = 0, slot = 0, domain = 0;
    if (!has_extension(api, id, "cl_nv_device_attribute_query")) return;
    if (!device_value(api, id, FAL_CL_DEVICE_PCI_BUS_ID_NV, &bus, sizeof bus)) return;
    if (!device_value(api, id, FAL_CL_DEVICE_PCI_SLOT_ID_NV, &slot, sizeof slot)) return;
    if (!device_value(api, id, FAL_CL_DEVICE_PCI_DOMAIN_ID_NV, &domain, sizeof domain)) domain = 0;
    snprintf(out, cap, "pci%04x%02x%02x", domain, bus, slot);
}

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

/* Fills *d, or returns false for a device that cannot run the kernels. */
static bool describe(const fal_cl_api *api, fal_cl_device_id id, found_device *d)
{
    fal_cl_uint available = 0, compiler = 0, little = 0;
    fal_cl_bitfield type = 0, fp = 0;
    fal_cl_ulong memory = 0, alloc = 0;
    size_t group = 0;
    if (!device_value(api, id, FAL_CL_DEVICE_AVAILABLE, &available, sizeof available) || !available) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_COMPILER_AVAILABLE, &compiler, sizeof compiler) || !compiler) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_ENDIAN_LITTLE, &little, sizeof little) || !little) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_MAX_WORK_GROUP_SIZE, &group, sizeof group) || group < 256) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_TYPE, &type, sizeof type)) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_GLOBAL_MEM_SIZE, &memory, sizeof memory) || memory == 0) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_MAX_MEM_ALLOC_SIZE, &alloc, sizeof alloc) || alloc == 0) return false;
    if (!device_value(api, id, FAL_CL_DEVICE_SINGLE_FP_CONFIG, &fp, sizeof fp)) fp = 0;
    memset(d, 0, sizeof *d);
    d->id = id;
    d->rank = type & FAL_CL_DEVICE_TYPE_GPU ? 0 : type & FAL_CL_DEVICE_TYPE_CPU ? 2 : 1;
    d->rounded_divide = (fp & FAL_CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    d->max_alloc = (size_t)alloc;
    d->info.is_cpu = d->rank == 2;
    d->info.memory_bytes = memory;
    char driver[48], version[72];
    device_text(api, id, FAL_CL_DEVICE_NAME, d->info.name, sizeof d->info.name);
    device_text(api, id, FAL_CL_DEVICE_VENDOR, d->info.vendor, sizeof d->info.vendor);
    device_text(api, id, FAL_CL_DRIVER_VERSION, driver, sizeof driver);
    device_text(api, id, FAL_CL_DEVICE_VERSION, version, sizeof version);
    snprintf(d->info.driver, sizeof d->info.driver, "%s, %s", driver, version);
    device_uuid(api, id, d->info.uuid, sizeof d->info.uuid);
    device_slug(d->info.name, d->info.slug, sizeof d->info.slug);
    return true;
}

static int by_rank(const void *a, const void *b)
{
    const found_device *x = a, *y = b;
    if (x->rank != y->rank) return x->rank - y->rank;
    return x->info.index - y->info.index;
}

/* Every usable device of every platform, GPUs first, numbered in that order. *out belongs to the caller (free). */
static fal_status find_devices(const fal_cl_api *api, found_device **out, int *n_out, fal_error *err)
{
    enum { MAX_PLATFORMS = 64, MAX_DEVICES = 256 };
    fal_cl_platform platforms[MAX_PLATFORMS];
    fal_cl_uint n_platforms = 0;
    const fal_cl_int code = api->clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms);
    if (code == FAL_CL_PLATFORM_NOT_FOUND_KHR || (code == FAL_CL_SUCCESS && n_platforms == 0))
        return fal_fail(err, FAL_ERR_BLOCKED, "install an OpenCL driver, for example apt-get install pocl-opencl-icd",
                        "no OpenCL platform");
    if (code != FAL_CL_SUCCESS) return call_failed(err, "clGetPlatformIDs", code);
    if (n_platforms > MAX_PLATFORMS) n_platforms = MAX_PLATFORMS;

    found_device *list = calloc(MAX_DEVICES, sizeof *list);
    if (!list) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for the device list");
    int n = 0, n_seen = 0;
    for (fal_cl_uint p = 0; p < n_platforms; p++) {
        fal_cl_device_id ids[MAX_DEVICES];
        fal_cl_uint n_ids = 0;
        if (api->clGetDeviceIDs(platforms[p], FAL_CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n_ids) != FAL_CL_SUCCESS)
            continue;
        if (n_ids > MAX_DEVICES) n_ids = MAX_DEVICES;
        for (fal_cl_uint i = 0; i < n_ids && n < MAX_DEVICES; i++) {
            n_seen++;
            if (!describe(api, ids[i], &list[n])) continue;
            list[n].info.index = n;
            n++;
        }
    }
    if (n == 0) {
        free(list);
        return fal_fail(err, FAL_ERR_BLOCKED, "a device needs an available compiler, work-groups of 256, little endian",
                        "no usable device (OpenCL platforms: %u, devices: %d)", n_platforms, n_seen);
    }
    qsort(list, (size_t)n, sizeof *list, by_rank);
    for (int i = 0; i < n; i++) list[i].info.index = i;
    *out = list;
    *n_out = n;
    return FAL_OK;
}

fal_status fal_cl_devices(fal_device_info *out, int cap, int *n, fal_error *err)
{
    fal_cl_api api;
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
                    "opencl: no device matches '%.80s'; there are: %s", wanted, names);
}

/* ---- context ---------------------------------------------------------------------------------------------------- */

struct fal_cl_buffer {
    fal_cl_mem mem;
    size_t bytes;
};

typedef struct {
    char name[64];
    fal_cl_kernel_id id;
    uint64_t n_launches;
} kernel;

/* One program for each op, and the one that measures bandwidth. */
enum { MAX_KERNELS = 32, N_PROGRAMS = 1
#define FAL_OP(op)    +1
#define FAL_FUSED(op)
#include "harness/ops.def"
};

/* A program and those of its kernels that were asked for so far. */
typedef struct {
    fal_cl_program id; /* NULL until built */
    kernel kernels[MAX_KERNELS];
    int n_kernels;
} program;

struct fal_context {
    fal_cl_api api;
    fal_cl_device_id device;
    fal_cl_context context;
    fal_cl_queue queue;
    fal_device_info info;
    size_t max_alloc;
    bool is_cpu;       /* variant "cpu" */
    char options[128]; /* of every program */
    char *cache_dir;   /* NULL for none */
    const fal_other_code *instead; /* of the text of one op, or NULL */
    bool is_pocl;      /* keeps programs by itself, and compiles every kernel once more when asked for a binary */
    program programs[N_PROGRAMS];
    uint64_t live_bytes, peak_bytes;
};

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
    found_device *list = NULL;
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
    st = load_api(&ctx->api, err);
    if (st == FAL_OK) st = find_devices(&ctx->api, &list, &n, err);
    if (st != FAL_OK) goto out;
    const int at = choose(list, n, o->device);
    if (at < 0) {
        st = no_such_device(list, n, o->device, err);
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
        st = call_failed(err, "clCreateContext", code);
        goto out;
    }
    ctx->queue = ctx->api.clCreateCommandQueue(ctx->context, ctx->device, 0, &code); /* 0: in order */
    if (!ctx->queue) st = call_failed(err, "clCreateCommandQueue", code);
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
    unload_api(&ctx->api);
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

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

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
    return code == FAL_CL_SUCCESS ? FAL_OK : call_failed(err, "clEnqueueFillBuffer", code);
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
        return no_room(ctx, name, bytes, code_name(code), err);
    }
    ctx->live_bytes += bytes;
    if (ctx->live_bytes > ctx->peak_bytes) ctx->peak_bytes = ctx->live_bytes;
    /* Drivers allocate at first use, so this is also where a full device shows itself. */
    const unsigned char pattern = 0xFF;
    code = ctx->api.clEnqueueFillBuffer(ctx->queue, b->mem, &pattern, 1, 0, bytes, 0, NULL, NULL);
    if (code != FAL_CL_SUCCESS) {
        const fal_status st = no_room(ctx, name, bytes, code_name(code), err);
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
    return code == FAL_CL_SUCCESS ? FAL_OK : call_failed(err, "clEnqueueWriteBuffer", code);
}

fal_status fal_cl_read(fal_context *ctx, const fal_cl_buffer *b, size_t offset, void *dst, size_t bytes, fal_error *err)
{
    const fal_status st = check_range(b, offset, bytes, "read", err);
    if (st != FAL_OK) return st;
    const fal_cl_int code =
        ctx->api.clEnqueueReadBuffer(ctx->queue, b->mem, FAL_CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : call_failed(err, "clEnqueueReadBuffer", code);
}

fal_status fal_cl_copy(fal_context *ctx, fal_cl_buffer *dst, const fal_cl_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err)
{
    fal_status st = check_range(src, src_offset, bytes, "copy", err);
    if (st == FAL_OK) st = check_range(dst, 0, bytes, "copy", err);
    if (st != FAL_OK) return st;
    const fal_cl_int code =
        ctx->api.clEnqueueCopyBuffer(ctx->queue, src->mem, dst->mem, src_offset, 0, bytes, 0, NULL, NULL);
    return code == FAL_CL_SUCCESS ? FAL_OK : call_failed(err, "clEnqueueCopyBuffer", code);
}

fal_status fal_cl_finish(fal_context *ctx, fal_error *err)
{
    const fal_cl_int code = ctx->api.clFinish(ctx->queue);
    return code == FAL_CL_SUCCESS ? FAL_OK : call_failed(err, "clFinish", code);
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

/* ---- programs --------------------------------------------------------------------------------------------------- */

/* Text of quant.cl and <op>.cl, put into the program by the build. */
extern const char fal_cl_src_quant[];
extern const size_t fal_cl_src_quant_len;
#define FAL_OP(op)                                                                                                     \
    extern const char fal_cl_src_##op[];                                                                               \
    extern const size_t fal_cl_src_##op##_len;
#define FAL_FUSED(op)
#include "harness/ops.def"
extern const char fal_cl_src_bandwidth[];
extern const size_t fal_cl_src_bandwidth_len;

static const struct {
    const char *op, *text;
    const size_t *length;
} sources[N_PROGRAMS] = {
#define FAL_OP(op) { #op, fal_cl_src_##op, &fal_cl_src_##op##_len },
#define FAL_FUSED(op)
#include "harness/ops.def"
    { "bandwidth", fal_cl_src_bandwidth, &fal_cl_src_bandwidth_len },
};

const char *fal_cl_text(const char *op, size_t *length)
{
    const char *text = NULL;
    if (strcmp(op, "quant") == 0) {
        text = fal_cl_src_quant;
        *length = fal_cl_src_quant_len;
    }
    for (int p = 0; p < N_PROGRAMS && !text; p++) {
        if (strcmp(sources[p].op, op) != 0) continue;
        text = sources[p].text;
        *length = *sources[p].length;
    }
    return text;
}

/* The end of the build log, which is where compilers count errors, as one line of printable text. */
static fal_status build_failed(fal_context *ctx, fal_cl_program id, const char *name, fal_cl_int code, fal_error *err)
{
    enum { TAIL = 700 };
    size_t n = 0;
    char *log = NULL;
    const char *tail = "(the driver gave no log)";
    if (ctx->api.clGetProgramBuildInfo(id, ctx->device, FAL_CL_PROGRAM_BUILD_LOG, 0, NULL, &n) == FAL_CL_SUCCESS &&
        n > 1)
        log = calloc(n + 1, 1);
    if (log &&
        ctx->api.clGetProgramBuildInfo(id, ctx->device, FAL_CL_PROGRAM_BUILD_LOG, n, log, NULL) == FAL_CL_SUCCESS) {
        size_t len = strlen(log);
        while (len > 0 && isspace((unsigned char)log[len - 1])) log[--len] = '\0';
        for (size_t i = 0; i < len; i++)
            if (iscntrl((unsigned char)log[i])) log[i] = ' ';
        if (len > 0) tail = len > TAIL ? log + len - TAIL : log;
    }
    /* text that somebody put in its place says nothing about ours, or about the device */
    const fal_status code_of = ctx->instead && strcmp(ctx->instead->op, name) == 0 ? FAL_ERR_INTERNAL : FAL_ERR_DEVICE;
    const fal_status st =
        fal_fail(err, code_of, "the text is in opencl/; the driver's compiler refused it",
                 "opencl: %s.cl does not build on '%s' (%s): %s", name, ctx->info.name, code_name(code), tail);
    free(log);
    return st;
}

/* SHA-256 over everything that decides what the driver's compiler makes. */
static fal_status cache_key(const fal_context *ctx, const char *source, size_t length, char key[65], fal_error *err)
{
    char head[512];
    const int n_head = snprintf(head, sizeof head, "%s\n%s\n%s\n%s\n", ctx->options, ctx->info.name, ctx->info.driver,
                                ctx->info.vendor);
    char parts[3 * 64 + 1]; /* the digests of head, prelude and text */
    fal_status st = fal_sha256(head, (size_t)n_head, parts, err);
    if (st == FAL_OK) st = fal_sha256(fal_cl_src_quant, fal_cl_src_quant_len, parts + 64, err);
    if (st == FAL_OK) st = fal_sha256(source, length, parts + 128, err);
    if (st == FAL_OK) st = fal_sha256(parts, 192, key, err);
    return st;
}

/* A built program from the cache, or NULL: whatever is wrong with it, the text is still there. */
static fal_cl_program load_program(fal_context *ctx, const char *key)
{
    size_t n = 0;
    unsigned char *bytes = fal_cl_cache_load(ctx->cache_dir, key, &n);
    if (!bytes) return NULL;
    fal_cl_int status = FAL_CL_SUCCESS, code = FAL_CL_SUCCESS;
    const unsigned char *binary = bytes;
    fal_cl_program id = ctx->api.clCreateProgramWithBinary(ctx->context, 1, &ctx->device, &n, &binary, &status, &code);
    if (id && (code != FAL_CL_SUCCESS || status != FAL_CL_SUCCESS ||
               ctx->api.clBuildProgram(id, 1, &ctx->device, ctx->options, NULL, NULL) != FAL_CL_SUCCESS)) {
        ctx->api.clReleaseProgram(id);
        id = NULL;
    }
    free(bytes);
    return id;
}

static void store_program(fal_context *ctx, fal_cl_program id, const char *key)
{
    size_t n = 0;
    if (ctx->api.clGetProgramInfo(id, FAL_CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) != FAL_CL_SUCCESS || n == 0)
        return;
    unsigned char *bytes = malloc(n);
    if (!bytes) return;
    unsigned char *const list[] = { bytes };
    if (ctx->api.clGetProgramInfo(id, FAL_CL_PROGRAM_BINARIES, sizeof list, (void *)list, NULL) == FAL_CL_SUCCESS)
        fal_cl_cache_store(ctx->cache_dir, key, bytes, n);
    free(bytes);
}

static fal_status build_program(fal_context *ctx, const char *name, const char *source, size_t length, bool use_cache,
                                bool *cached, fal_cl_program *out, fal_error *err)
{
    char key[65];
    if (use_cache) {
        const fal_status st = cache_key(ctx, source, length, key, err);
        if (st != FAL_OK) return st;
        *out = load_program(ctx, key);
        if (cached) *cached = *out != NULL;
        if (*out) return FAL_OK;
    }
    const char *texts[] = { fal_cl_src_quant, source };
    size_t lengths[] = { fal_cl_src_quant_len, length };
    if (ctx->instead && ctx->instead->prelude && strcmp(ctx->instead->op, name) == 0) {
        texts[0] = ctx->instead->prelude;
        lengths[0] = ctx->instead->prelude_size;
    }
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_program id = ctx->api.clCreateProgramWithSource(ctx->context, 2, texts, lengths, &code);
    if (!id) return call_failed(err, "clCreateProgramWithSource", code);
    code = ctx->api.clBuildProgram(id, 1, &ctx->device, ctx->options, NULL, NULL);
    if (code != FAL_CL_SUCCESS) {
        const fal_status st = build_failed(ctx, id, name, code, err);
        ctx->api.clReleaseProgram(id);
        return st;
    }
    if (use_cache) store_program(ctx, id, key);
    *out = id;
    return FAL_OK;
}

fal_status fal_cl_build(fal_context *ctx, const char *name, const char *source, size_t length, bool *cached,
                        fal_error *err)
{
    fal_cl_program id = NULL;
    if (cached) *cached = false;
    const fal_status st = build_program(ctx, name, source, length, ctx->cache_dir != NULL, cached, &id, err);
    if (st == FAL_OK) ctx->api.clReleaseProgram(id);
    return st;
}

/* ---- launches --------------------------------------------------------------------------------------------------- */

static fal_status find_kernel(fal_context *ctx, const char *op, const char *name, kernel **out, fal_error *err)
{
    int p = 0;
    while (p < N_PROGRAMS && strcmp(sources[p].op, op) != 0) p++;
    if (p == N_PROGRAMS) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: no program for op '%s'", op);
    program *prog = &ctx->programs[p];
    for (int k = 0; k < prog->n_kernels; k++) {
        if (strcmp(prog->kernels[k].name, name) != 0) continue;
        *out = &prog->kernels[k];
        return FAL_OK;
    }
    if (prog->n_kernels == MAX_KERNELS)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: %s.cl has more than %d kernels", op, MAX_KERNELS);
    if (!prog->id) {
        /* Measured on PoCL 3.1: asking for the binaries made the first token wait 9 s instead of 4.4 s. */
        const fal_other_code *other = ctx->instead && strcmp(ctx->instead->op, op) == 0 ? ctx->instead : NULL;
        const bool use_cache = ctx->cache_dir && !ctx->is_pocl && !other;
        const char *text = other ? other->code : sources[p].text;
        const fal_status st = build_program(ctx, op, text, other ? other->code_size : *sources[p].length, use_cache, NULL,
                                            &prog->id, err);
        if (st != FAL_OK) return st;
    }
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_kernel_id id = ctx->api.clCreateKernel(prog->id, name, &code);
    if (!id)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: no kernel %s in %s.cl: %s (%d)", name, op, code_name(code),
                        code);
    size_t room = 0; /* registers may allow fewer work-items than the device as a whole */
    const size_t want = ctx->is_cpu ? 1 : FAL_CL_GROUP;
    code = ctx->api.clGetKernelWorkGroupInfo(id, ctx->device, FAL_CL_KERNEL_WORK_GROUP_SIZE, sizeof room, &room, NULL);
    if (code == FAL_CL_SUCCESS && room < want) {
        ctx->api.clReleaseKernel(id);
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: '%s' runs %s with at most %zu work-items, %zu are needed",
                        ctx->info.name, name, room, want);
    }
    kernel *k = &prog->kernels[prog->n_kernels++];
    snprintf(k->name, sizeof k->name, "%s", name);
    k->id = id;
    *out = k;
    return FAL_OK;
}

fal_status fal_cl_launch(fal_context *ctx, const char *op, const char *how, const char *type, size_t n_groups,
                         const fal_cl_arg *args, size_t n_args, fal_error *err)
{
    char name[64];
    kernel *k = NULL;
    snprintf(name, sizeof name, "fal_cl_%s%s%s%s%s%s", op, ctx->is_cpu ? "__cpu" : how ? "_" : "", how ? "_" : "",
             how ? how : "", type ? "_" : "", type ? type : "");
    fal_status st = find_kernel(ctx, op, name, &k, err);
    if (st != FAL_OK) return st;
    for (size_t i = 0; i < n_args; i++) {
        const fal_cl_arg *a = &args[i];
        size_t size = 0;
        const void *value = NULL;
        switch (a->kind) {
        case FAL_CL_ARG_BUFFER: size = sizeof a->v.buffer->mem; value = &a->v.buffer->mem; break;
        case FAL_CL_ARG_INT: size = sizeof a->v.i; value = &a->v.i; break;
        case FAL_CL_ARG_LONG: size = sizeof a->v.l; value = &a->v.l; break;
        case FAL_CL_ARG_FLOAT: size = sizeof a->v.f; value = &a->v.f; break;
        }
        const fal_cl_int code = ctx->api.clSetKernelArg(k->id, (fal_cl_uint)i, size, value);
        if (code != FAL_CL_SUCCESS)
            return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: %s, argument %zu (%s): %s (%d)", name, i, a->name,
                            code_name(code), code);
    }
    const size_t local = ctx->is_cpu ? 1 : FAL_CL_GROUP;
    const size_t global = n_groups * local;
    const fal_cl_int code = ctx->api.clEnqueueNDRangeKernel(ctx->queue, k->id, 1, NULL, &global, &local, 0, NULL, NULL);
    if (code != FAL_CL_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: launch of %s over %zu work-items failed: %s (%d)", name,
                        global, code_name(code), code);
    k->n_launches++;
    return FAL_OK;
}

/* ---- somebody else's device code --------------------------------------------------------------------------------- */

fal_status fal_cl_view(fal_context *ctx, const fal_cl_buffer *whole, size_t offset, size_t bytes, fal_cl_buffer **out, fal_error *err)
{
    const struct {
        size_t origin, size;
    } region = { offset, bytes }; /* cl_buffer_region */
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no host memory for a view");
    b->bytes = bytes;
    b->mem = ctx->api.clCreateSubBuffer(whole->mem, 0, FAL_CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    if (!b->mem) {
        free(b);
        return call_failed(err, "clCreateSubBuffer", code);
    }
    *out = b;
    return FAL_OK;
}

void fal_cl_view_free(fal_context *ctx, fal_cl_buffer *view)
{
    if (!view) return;
    ctx->api.clReleaseMemObject(view->mem);
    free(view);
}

enum { MAX_FOREIGN = 16 };

struct fal_cl_foreign {
    fal_cl_program id;
    kernel kernels[MAX_FOREIGN];
    int n_kernels;
};

fal_status fal_cl_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cl_foreign **out,
                               fal_error *err)
{
    fal_cl_int result = FAL_CL_SUCCESS;
    if (!fal_launch_find(code, length, launch, launch_size))
        return fal_fail(err, FAL_ERR_INPUT, "for example: // falsify-launch: block=128 grid=cdiv(n_out,4)*n_tokens",
                        "the OpenCL source has no line 'falsify-launch: ...'");
    fal_cl_foreign *f = calloc(1, sizeof *f);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for a program");
    f->id = ctx->api.clCreateProgramWithSource(ctx->context, 1, &code, &length, &result);
    fal_status st = f->id ? FAL_OK : call_failed(err, "clCreateProgramWithSource", result);
    if (!st) result = ctx->api.clBuildProgram(f->id, 1, &ctx->device, "-cl-std=CL1.2", NULL, NULL);
    if (!st && result != FAL_CL_SUCCESS) {
        fal_error why = { 0 };
        build_failed(ctx, f->id, "candidate", result, &why);
        st = fal_fail(err, FAL_ERR_INPUT, "it is built alone, as OpenCL C 1.2", "%s", why.message);
    }
    if (st) fal_cl_foreign_free(ctx, f);
    else *out = f;
    return st;
}

void fal_cl_foreign_free(fal_context *ctx, fal_cl_foreign *f)
{
    if (!f) return;
    for (int i = 0; i < f->n_kernels; i++) ctx->api.clReleaseKernel(f->kernels[i].id);
    if (f->id) ctx->api.clReleaseProgram(f->id);
    free(f);
}

static kernel *foreign_kernel(fal_context *ctx, fal_cl_foreign *f, const char *name)
{
    for (int i = 0; i < f->n_kernels; i++)
        if (strcmp(f->kernels[i].name, name) == 0) return &f->kernels[i];
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_kernel_id id = f->n_kernels < MAX_FOREIGN ? ctx->api.clCreateKernel(f->id, name, &code) : NULL;
    if (!id) return NULL;
    kernel *k = &f->kernels[f->n_kernels++];
    *k = (kernel) { .id = id };
    snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

bool fal_cl_foreign_has(fal_context *ctx, fal_cl_foreign *f, const char *name)
{
    return foreign_kernel(ctx, f, name) != NULL;
}

fal_status fal_cl_foreign_run(fal_context *ctx, fal_cl_foreign *f, const char *name, const fal_launch *shape, const fal_cl_arg *args,
                              size_t n_args, fal_error *err)
{
    const kernel *k = foreign_kernel(ctx, f, name);
    if (!k) return fal_fail(err, FAL_ERR_INPUT, NULL, "it has no kernel %s", name);
    for (size_t i = 0; i < n_args; i++) {
        const fal_cl_arg *a = &args[i];
        const bool is_buffer = a->kind == FAL_CL_ARG_BUFFER;
        const size_t size = is_buffer ? sizeof(fal_cl_mem) : sizeof(int32_t);
        const void *value = is_buffer ? a->v.buffer ? &a->v.buffer->mem : NULL : (const void *)&a->v;
        const fal_cl_int code = ctx->api.clSetKernelArg(k->id, (fal_cl_uint)i, size, value);
        if (code != FAL_CL_SUCCESS)
            return fal_fail(err, FAL_ERR_INPUT, "its parameters must be the fields of the op, in their order", "%s does not take argument %zu (%s): %s (%d)",
                            name, i, a->name, code_name(code), code);
    }
    size_t global[3];
    for (int d = 0; d < 3; d++) global[d] = shape->grid[d] * shape->block[d];
    const fal_cl_int code = ctx->api.clEnqueueNDRangeKernel(ctx->queue, k->id, 3, NULL, global, shape->block, 0, NULL, NULL);
    if (code == FAL_CL_SUCCESS) return FAL_OK;
    if (code > FAL_CL_INVALID_KERNEL_ARGS) return call_failed(err, "clEnqueueNDRangeKernel", code); /* below lie invalid arguments */
    return fal_fail(err, FAL_ERR_INPUT, "look at falsify-launch", "launch of %s over %zu x %zu x %zu work-items failed: %s (%d)", name, global[0],
                    global[1], global[2], code_name(code), code);
}

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
