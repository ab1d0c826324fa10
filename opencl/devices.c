/* The OpenCL driver's library and its devices: found, described, chosen by the user's words. */
#include "opencl/context.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- error names -------------------------------------------------------------------------------------------------- */

const char *fal_cl_code_name(fal_cl_int code)
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
fal_status fal_cl_call_failed(fal_error *err, const char *call, fal_cl_int code)
{
    return fal_fail(err, FAL_ERR_DEVICE, "run again; if it persists, look at the driver's log",
                    "opencl: %s failed: %s (%d)", call, fal_cl_code_name(code), code);
}

/* ---- library ------------------------------------------------------------------------------------------------------ */

fal_status fal_cl_load_api(fal_cl_api *api, fal_error *err)
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

void fal_cl_unload_api(fal_cl_api *api)
{
    if (api->library) dlclose(api->library);
    api->library = NULL;
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

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
static bool describe(const fal_cl_api *api, fal_cl_device_id id, fal_cl_found *d)
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
    const fal_cl_found *x = a, *y = b;
    if (x->rank != y->rank) return x->rank - y->rank;
    return x->info.index - y->info.index;
}

/* Every usable device of every platform, GPUs first, numbered in that order. *out belongs to the caller (free). */
fal_status fal_cl_find_devices(const fal_cl_api *api, fal_cl_found **out, int *n_out, fal_error *err)
{
    enum { MAX_PLATFORMS = 64, MAX_DEVICES = 256 };
    fal_cl_platform platforms[MAX_PLATFORMS];
    fal_cl_uint n_platforms = 0;
    const fal_cl_int code = api->clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms);
    if (code == FAL_CL_PLATFORM_NOT_FOUND_KHR || (code == FAL_CL_SUCCESS && n_platforms == 0))
        return fal_fail(err, FAL_ERR_BLOCKED, "install an OpenCL driver, for example apt-get install pocl-opencl-icd",
                        "no OpenCL platform");
    if (code != FAL_CL_SUCCESS) return fal_cl_call_failed(err, "clGetPlatformIDs", code);
    if (n_platforms > MAX_PLATFORMS) n_platforms = MAX_PLATFORMS;

    fal_cl_found *list = calloc(MAX_DEVICES, sizeof *list);
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
    fal_cl_found *list = NULL;
    *n = 0;
    fal_status st = fal_cl_load_api(&api, err);
    if (st != FAL_OK) return st;
    st = fal_cl_find_devices(&api, &list, n, err);
    for (int i = 0; st == FAL_OK && i < *n && i < cap; i++) out[i] = list[i].info;
    free(list);
    fal_cl_unload_api(&api);
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
int fal_cl_choose(const fal_cl_found *list, int n, const char *wanted)
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

fal_status fal_cl_no_such_device(const fal_cl_found *list, int n, const char *wanted, fal_error *err)
{
    char names[700] = "";
    size_t len = 0;
    for (int i = 0; i < n && len < sizeof names; i++)
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%d '%s'%s%s", i ? ", " : "", i, list[i].info.name,
                                list[i].info.uuid[0] ? " " : "", list[i].info.uuid);
    return fal_fail(err, FAL_ERR_USAGE, "give an index, a part of a name, or a UUID",
                    "opencl: no device matches '%.80s'; there are: %s", wanted, names);
}
