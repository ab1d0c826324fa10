/* The CUDA driver's library and its devices: found, described, chosen by the user's words. */
#include "cuda/context.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- error names -------------------------------------------------------------------------------------------------- */

const char *fal_cu_code_name(const fal_cu_api *api, fal_cu_result code)
{
    const char *name = NULL;
    if (!api->cuGetErrorName || api->cuGetErrorName(code, &name) != FAL_CU_SUCCESS || !name) return "unknown code";
    return name;
}

fal_status fal_cu_call_failed(const fal_cu_api *api, fal_error *err, const char *call, fal_cu_result code)
{
    return fal_fail(err, FAL_ERR_DEVICE, "run again; if it persists, look at the driver's log (dmesg)",
                    "cuda: %s failed: %s (%d)", call, fal_cu_code_name(api, code), code);
}

/* ---- library ------------------------------------------------------------------------------------------------------ */

fal_status fal_cu_load_api(fal_cu_api *api, fal_error *err)
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
                                         "the CUDA driver does not start: %s (%d)", fal_cu_code_name(api, code), code);
    dlclose(library);
    return st;
}

void fal_cu_unload_api(fal_cu_api *api)
{
    if (api->library) dlclose(api->library);
    api->library = NULL;
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

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

static fal_status describe(const fal_cu_api *api, int index, fal_cu_found *d, fal_error *err)
{
    memset(d, 0, sizeof *d);
    fal_cu_uuid uuid;
    size_t memory = 0;
    int version = 0;
    fal_cu_result code = api->cuDeviceGet(&d->id, index);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(api, err, "cuDeviceGet", code);
    code = api->cuDeviceGetName(d->info.name, (int)sizeof d->info.name, d->id);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(api, err, "cuDeviceGetName", code);
    code = api->cuDeviceTotalMem_v2(&memory, d->id);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(api, err, "cuDeviceTotalMem", code);
    code = api->cuDeviceGetAttribute(&d->major, FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, d->id);
    if (code == FAL_CU_SUCCESS) code = api->cuDeviceGetAttribute(&d->minor, FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, d->id);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(api, err, "cuDeviceGetAttribute", code);
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
fal_status fal_cu_find_devices(const fal_cu_api *api, fal_cu_found **out, int *n_out, fal_error *err)
{
    if (!fal_cu_fatbins[0].op)
        return fal_fail(err, FAL_ERR_BLOCKED, "install the CUDA toolkit and build again (make CUDA_HOME=...)",
                        "CUDA device code not built (%s)", fal_cu_toolkit);
    int n = 0;
    const fal_cu_result code = api->cuDeviceGetCount(&n);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(api, err, "cuDeviceGetCount", code);
    if (n <= 0)
        return fal_fail(err, FAL_ERR_BLOCKED, "is a GPU visible to this process (CUDA_VISIBLE_DEVICES)?", "no CUDA device");
    fal_cu_found *list = calloc((size_t)n, sizeof *list);
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
    fal_cu_found *list = NULL;
    *n = 0;
    fal_status st = fal_cu_load_api(&api, err);
    if (st != FAL_OK) return st;
    st = fal_cu_find_devices(&api, &list, n, err);
    for (int i = 0; st == FAL_OK && i < *n && i < cap; i++) out[i] = list[i].info;
    free(list);
    fal_cu_unload_api(&api);
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
int fal_cu_choose(const fal_cu_found *list, int n, const char *wanted)
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

fal_status fal_cu_no_such_device(const fal_cu_found *list, int n, const char *wanted, fal_error *err)
{
    char names[700] = "";
    size_t len = 0;
    for (int i = 0; i < n && len < sizeof names; i++)
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%d '%s'%s%s", i ? ", " : "", i, list[i].info.name,
                                list[i].info.uuid[0] ? " " : "", list[i].info.uuid);
    return fal_fail(err, FAL_ERR_USAGE, "give an index, a part of a name, or a UUID",
                    "cuda: no device matches '%.80s'; there are: %s", wanted, names);
}
