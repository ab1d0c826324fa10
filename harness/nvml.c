/* NVML by dlopen with own declarations: absent on most machines, which is a reason and not a failure. */
#include "harness/nvml.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NVML_SUCCESS = 0, NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
typedef void *nvml_device;
typedef struct {
    unsigned long long total, free, used;
} nvml_memory;

struct fal_nvml {
    void *library;
    nvml_device device;
    char driver[80];
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_uuid)(const char *uuid, nvml_device *out);
    int (*by_pci)(const char *bus_id, nvml_device *out);
    int (*clock)(nvml_device device, int kind, unsigned *mhz);
    int (*reasons)(nvml_device device, unsigned long long *reasons);
    int (*memory)(nvml_device device, nvml_memory *out);
    int (*driver_version)(char *version, unsigned length);
};

static const struct {
    uint64_t bit;
    const char *name;
    bool slowdown;
} known_reasons[] = {
    { 0x001, "idle", false },
    { 0x002, "application clocks", false },
    { 0x004, "software power cap", false },
    { 0x008, "hardware slowdown", true },
    { 0x010, "sync boost", false },
    { 0x020, "software thermal slowdown", true },
    { 0x040, "hardware thermal slowdown", true },
    { 0x080, "hardware power brake", true },
    { 0x100, "display clocks", false },
};
enum { N_REASONS = sizeof known_reasons / sizeof known_reasons[0] };

uint64_t fal_nvml_slowdowns(uint64_t reasons)
{
    uint64_t mask = 0;
    for (int i = 0; i < N_REASONS; i++)
        if (known_reasons[i].slowdown) mask |= known_reasons[i].bit;
    return reasons & mask;
}

void fal_nvml_reasons_text(uint64_t reasons, char *text, size_t size)
{
    size_t at = 0;
    if (size == 0) return;
    text[0] = '\0';
    for (int i = 0; i < N_REASONS && at < size; i++) {
        if (!(reasons & known_reasons[i].bit)) continue;
        at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "", known_reasons[i].name);
        reasons &= ~known_reasons[i].bit;
    }
    if (reasons && at < size)
        at += (size_t)snprintf(text + at, size - at, "%sunknown bits 0x%llx", at ? ", " : "",
                               (unsigned long long)reasons);
    if (at == 0) snprintf(text, size, "none");
}

/* A function of the library under one of two names. dlsym gives an object pointer; memcpy makes a function of it. */
static bool find(const fal_nvml *n, const char *name, const char *other, void *function)
{
    void *symbol = dlsym(n->library, name);
    if (!symbol && other) symbol = dlsym(n->library, other);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static fal_status load(fal_nvml *n, const char *library, fal_error *err)
{
    n->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!n->library)
        return fal_fail(err, FAL_ERR_BLOCKED, "it comes with the driver of an NVIDIA card",
                        "no NVML: %s cannot be opened", library);
    const char *missing = NULL;
    if (!find(n, "nvmlInit_v2", NULL, &n->init))
        missing = "nvmlInit_v2";
    else if (!find(n, "nvmlShutdown", NULL, &n->shutdown))
        missing = "nvmlShutdown";
    else if (!find(n, "nvmlDeviceGetHandleByUUID", NULL, &n->by_uuid))
        missing = "nvmlDeviceGetHandleByUUID";
    if (missing) return fal_fail(err, FAL_ERR_BLOCKED, "is it an NVML?", "no NVML: %s has no %s", library, missing);
    /* what follows is only told when it is there */
    find(n, "nvmlDeviceGetHandleByPciBusId_v2", NULL, &n->by_pci);
    find(n, "nvmlDeviceGetClockInfo", NULL, &n->clock);
    find(n, "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons", &n->reasons);
    find(n, "nvmlDeviceGetMemoryInfo", NULL, &n->memory);
    find(n, "nvmlSystemGetDriverVersion", NULL, &n->driver_version);
    return FAL_OK;
}

/* 32 hex digits as "GPU-8-4-4-4-12", or false. */
static bool uuid_text(const char *hex, char text[48])
{
    size_t at = (size_t)snprintf(text, 48, "GPU-");
    for (int i = 0; i < 32; i++) {
        if (!isxdigit((unsigned char)hex[i])) return false;
        if (i == 8 || i == 12 || i == 16 || i == 20) text[at++] = '-';
        text[at++] = hex[i];
    }
    text[at] = '\0';
    return hex[32] == '\0';
}

static fal_status find_card(fal_nvml *n, const fal_device_info *device, fal_error *err)
{
    char text[48];
    unsigned domain = 0, bus = 0, slot = 0;
    int code = -1;
    if (uuid_text(device->uuid, text)) {
        code = n->by_uuid(text, &n->device);
    } else if (n->by_pci && strlen(device->uuid) == 11 &&
               sscanf(device->uuid, "pci%4x%2x%2x", &domain, &bus, &slot) == 3) {
        snprintf(text, sizeof text, "%08x:%02x:%02x.0", domain, bus, slot);
        code = n->by_pci(text, &n->device);
    } else {
        return fal_fail(err, FAL_ERR_BLOCKED, NULL, "NVML cannot know '%.100s': the device has no UUID", device->name);
    }
    if (code == NVML_SUCCESS) return FAL_OK;
    return fal_fail(err, FAL_ERR_BLOCKED, NULL, "NVML does not know '%.100s' (%s): code %d", device->name, text, code);
}

fal_status fal_nvml_open(const char *library, const fal_device_info *device, fal_nvml **out, fal_error *err)
{
    fal_nvml *n = calloc(1, sizeof *n);
    if (!n) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for NVML");
    fal_status st = load(n, library ? library : "libnvidia-ml.so.1", err);
    if (st == FAL_OK) {
        const int code = n->init();
        if (code != NVML_SUCCESS) {
            n->shutdown = NULL;
            st = fal_fail(err, FAL_ERR_BLOCKED, "does nvidia-smi work?", "NVML does not start: code %d", code);
        }
    } else {
        n->shutdown = NULL; /* nothing was started */
    }
    if (st == FAL_OK) st = find_card(n, device, err);
    if (st != FAL_OK) {
        fal_nvml_close(n);
        return st;
    }
    if (!n->driver_version || n->driver_version(n->driver, sizeof n->driver) != NVML_SUCCESS)
        snprintf(n->driver, sizeof n->driver, "unknown");
    n->driver[sizeof n->driver - 1] = '\0';
    *out = n;
    return FAL_OK;
}

void fal_nvml_close(fal_nvml *n)
{
    if (!n) return;
    if (n->shutdown) n->shutdown();
    if (n->library) dlclose(n->library);
    free(n);
}

const char *fal_nvml_driver(const fal_nvml *n)
{
    return n->driver;
}

void fal_nvml_take(fal_nvml *n, fal_nvml_sample *out)
{
    unsigned long long reasons = 0;
    nvml_memory memory = { 0 };
    *out = (fal_nvml_sample){ 0 };
    out->has_clocks = n->clock && n->clock(n->device, NVML_CLOCK_SM, &out->sm_mhz) == NVML_SUCCESS &&
                      n->clock(n->device, NVML_CLOCK_MEM, &out->memory_mhz) == NVML_SUCCESS;
    out->has_reasons = n->reasons && n->reasons(n->device, &reasons) == NVML_SUCCESS;
    out->reasons = reasons;
    out->has_memory = n->memory && n->memory(n->device, &memory) == NVML_SUCCESS && memory.total > 0;
    out->total_bytes = memory.total;
    out->used_bytes = memory.used;
}
