/* A driver that runs nothing: every call succeeds, memory is counted and not kept, what is read back is zero. With it the host
   code of this backend shows what it would ask of a device. Built as a library named libcuda.so.1 (FAL_CU_FAKE_DRIVER), it
   lets tests see what happens when a driver fails: FAL_FAKE_CUDA holds words such as "devices=2 lost_after=100". */
#include "cuda/dry.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FAL_CU_FAKE_DRIVER
#define DRY(name) name
#define LINK
#else
#include "cuda/device_code.h"
#define DRY(name) dry_##name
#define LINK static
#endif

#define FAL_CU_FUNCTION(name, params) LINK fal_cu_result DRY(name) params;
FAL_CU_FUNCTIONS(FAL_CU_FUNCTION)
#undef FAL_CU_FUNCTION

enum {
    LOST = 719, /* CUDA_ERROR_LAUNCH_FAILED */
    MOST_BUFFERS = 8192,
    MULTIPROCESSORS = 132,
    SHARED_BYTES = 227 * 1024
};

static struct {
    fal_cu_ptr at;
    size_t bytes;
} buffers[MOST_BUFFERS]; /* sorted by nothing; at 0: free */
static size_t used_bytes;
static fal_cu_ptr next_at = UINT64_C(1) << 40;
static long n_launches;
static char something; /* what handles point to */
#ifdef FAL_CU_FAKE_DRIVER
static const char launch_text[] = "block=32 grid=1"; /* what every module says of its launch */
#endif

/* The number behind "word=" in FAL_FAKE_CUDA; the program itself never looks there. */
static long long setting(const char *word, long long fallback)
{
#ifdef FAL_CU_FAKE_DRIVER
    const char *all = getenv("FAL_FAKE_CUDA"), *at = all ? strstr(all, word) : NULL;
    if (at && at[strlen(word)] == '=') return atoll(at + strlen(word) + 1);
#else
    (void)word;
#endif
    return fallback;
}

static size_t memory_bytes(void)
{
    return (size_t)setting("memory", (long long)1 << 38);
}

/* The device is gone from the given launch on. */
static fal_cu_result alive(void)
{
    const long long lost = setting("lost_after", -1);
    return lost >= 0 && n_launches > lost ? LOST : FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuInit)(unsigned flags)
{
    (void)flags;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDriverGetVersion)(int *version)
{
    *version = (int)setting("driver", 13000);
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuGetErrorName)(fal_cu_result code, const char **name)
{
    *name = code == LOST                             ? "CUDA_ERROR_LAUNCH_FAILED"
            : code == FAL_CU_ERROR_OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
            : code == FAL_CU_ERROR_NOT_FOUND         ? "CUDA_ERROR_NOT_FOUND"
            : code == FAL_CU_ERROR_NO_BINARY_FOR_GPU ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                                                     : "CUDA_ERROR_UNKNOWN";
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuGetErrorString)(fal_cu_result code, const char **text)
{
    return DRY(cuGetErrorName)(code, text);
}

LINK fal_cu_result DRY(cuDeviceGetCount)(int *n)
{
    *n = (int)setting("devices", 1);
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDeviceGet)(fal_cu_device_id *id, int index)
{
    *id = index;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDeviceGetName)(char *name, int size, fal_cu_device_id id)
{
    (void)id;
    snprintf(name, (size_t)size, "driver that runs nothing");
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDeviceGetUuid_v2)(fal_cu_uuid *uuid, fal_cu_device_id id)
{
    memset(uuid, 0, sizeof *uuid);
    uuid->bytes[15] = (char)(id + 1);
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDeviceTotalMem_v2)(size_t *bytes, fal_cu_device_id id)
{
    (void)id;
    *bytes = memory_bytes();
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDeviceGetAttribute)(int *value, int attribute, fal_cu_device_id id)
{
    (void)id;
    *value = attribute == FAL_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT                ? MULTIPROCESSORS
             : attribute == FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR          ? 9
             : attribute == FAL_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? SHARED_BYTES
                                                                               : 0;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDevicePrimaryCtxRetain)(fal_cu_ctx *ctx, fal_cu_device_id id)
{
    (void)id;
    *ctx = (fal_cu_ctx)(void *)&something;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuDevicePrimaryCtxRelease_v2)(fal_cu_device_id id)
{
    (void)id;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuCtxSetCurrent)(fal_cu_ctx ctx)
{
    (void)ctx;
    return FAL_CU_SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

LINK fal_cu_result DRY(cuMemGetInfo_v2)(size_t *room, size_t *total)
{
    *total = memory_bytes();
    *room = *total > used_bytes ? *total - used_bytes : 0;
    return alive();
}

LINK fal_cu_result DRY(cuMemAlloc_v2)(fal_cu_ptr *out, size_t bytes)
{
    int i = 0;
    while (i < MOST_BUFFERS && buffers[i].at) i++;
    if (i == MOST_BUFFERS || used_bytes + bytes > memory_bytes()) return FAL_CU_ERROR_OUT_OF_MEMORY;
    *out = buffers[i].at = next_at;
    buffers[i].bytes = bytes;
    next_at += (bytes + 4095) / 4096 * 4096;
    used_bytes += bytes;
    return alive();
}

LINK fal_cu_result DRY(cuMemFree_v2)(fal_cu_ptr at)
{
    for (int i = 0; i < MOST_BUFFERS; i++) {
        if (buffers[i].at != at) continue;
        used_bytes -= buffers[i].bytes;
        buffers[i].at = 0;
        return alive();
    }
    return FAL_CU_ERROR_NOT_FOUND;
}

LINK fal_cu_result DRY(cuMemcpyHtoDAsync_v2)(fal_cu_ptr to, const void *from, size_t bytes, fal_cu_stream stream)
{
    (void)to, (void)from, (void)bytes, (void)stream;
    return alive();
}

LINK fal_cu_result DRY(cuMemcpyDtoHAsync_v2)(void *to, fal_cu_ptr from, size_t bytes, fal_cu_stream stream)
{
    (void)from, (void)stream;
    memset(to, 0, bytes);
#ifdef FAL_CU_FAKE_DRIVER
    if (from == (fal_cu_ptr)(uintptr_t)launch_text && bytes <= sizeof launch_text) memcpy(to, launch_text, bytes);
#endif
    return alive();
}

LINK fal_cu_result DRY(cuMemcpyDtoDAsync_v2)(fal_cu_ptr to, fal_cu_ptr from, size_t bytes, fal_cu_stream stream)
{
    (void)to, (void)from, (void)bytes, (void)stream;
    return alive();
}

LINK fal_cu_result DRY(cuMemsetD8Async)(fal_cu_ptr at, unsigned char byte, size_t bytes, fal_cu_stream stream)
{
    (void)at, (void)byte, (void)bytes, (void)stream;
    return alive();
}

LINK fal_cu_result DRY(cuStreamCreate)(fal_cu_stream *stream, unsigned flags)
{
    (void)flags;
    *stream = (fal_cu_stream)(void *)&something;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuStreamDestroy_v2)(fal_cu_stream stream)
{
    (void)stream;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuStreamSynchronize)(fal_cu_stream stream)
{
    (void)stream;
    return alive();
}

/* ---- kernels ------------------------------------------------------------------------------------------------------ */

LINK fal_cu_result DRY(cuModuleLoadData)(fal_cu_module *module, const void *image)
{
    (void)image;
    *module = (fal_cu_module)(void *)&something;
    return setting("no_binary", 0) ? FAL_CU_ERROR_NO_BINARY_FOR_GPU : FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuModuleUnload)(fal_cu_module module)
{
    (void)module;
    return FAL_CU_SUCCESS;
}

/* Device code that is ours exports no variables; a candidate's says how it wants to be launched. */
LINK fal_cu_result DRY(cuModuleGetGlobal_v2)(fal_cu_ptr *at, size_t *bytes, fal_cu_module module, const char *name)
{
    (void)module, (void)name;
#ifdef FAL_CU_FAKE_DRIVER
    *at = (fal_cu_ptr)(uintptr_t)launch_text;
    *bytes = sizeof launch_text;
    return alive();
#else
    (void)at, (void)bytes;
    return FAL_CU_ERROR_NOT_FOUND;
#endif
}

/* Only what the device code of the program has. */
LINK fal_cu_result DRY(cuModuleGetFunction)(fal_cu_function *function, fal_cu_module module, const char *name)
{
    bool is_there = false;
    (void)module;
#ifdef FAL_CU_FAKE_DRIVER
    is_there = name[0] != '\0';
#else
    fal_device_code code = { 0 };
    if (fal_cu_device_code(&code, NULL) == FAL_OK)
        for (int i = 0; i < code.n_kernels && !is_there; i++) is_there = strcmp(code.kernels[i].kernel, name) == 0;
#endif
    *function = (fal_cu_function)(void *)&something;
    return is_there ? FAL_CU_SUCCESS : FAL_CU_ERROR_NOT_FOUND;
}

LINK fal_cu_result DRY(cuFuncGetAttribute)(int *value, int attribute, fal_cu_function function)
{
    (void)function;
    *value = attribute == FAL_CU_FUNC_PTX_VERSION ? 90 : attribute == FAL_CU_FUNC_NUM_REGS ? 1 : 0;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuFuncSetAttribute)(fal_cu_function function, int attribute, int value)
{
    (void)function, (void)attribute, (void)value;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuLaunchKernelEx)(const fal_cu_launch_config *config, fal_cu_function function, void **args, void **extra)
{
    (void)config, (void)function, (void)args, (void)extra;
    n_launches++;
    return alive();
}

LINK fal_cu_result DRY(cuStreamBeginCapture_v2)(fal_cu_stream stream, int mode)
{
    (void)stream, (void)mode;
    return alive();
}

LINK fal_cu_result DRY(cuStreamEndCapture)(fal_cu_stream stream, fal_cu_graph_id *graph)
{
    (void)stream;
    *graph = (fal_cu_graph_id)(void *)&something;
    return alive();
}

LINK fal_cu_result DRY(cuGraphInstantiateWithFlags)(fal_cu_graph_exec *exec, fal_cu_graph_id graph, unsigned long long flags)
{
    (void)graph, (void)flags;
    *exec = (fal_cu_graph_exec)(void *)&something;
    return alive();
}

LINK fal_cu_result DRY(cuGraphLaunch)(fal_cu_graph_exec exec, fal_cu_stream stream)
{
    (void)exec, (void)stream;
    n_launches++;
    return alive();
}

LINK fal_cu_result DRY(cuGraphExecDestroy)(fal_cu_graph_exec exec)
{
    (void)exec;
    return FAL_CU_SUCCESS;
}

LINK fal_cu_result DRY(cuGraphDestroy)(fal_cu_graph_id graph)
{
    (void)graph;
    return FAL_CU_SUCCESS;
}

#ifndef FAL_CU_FAKE_DRIVER
void fal_cu_dry_api(fal_cu_api *api)
{
    memset(api, 0, sizeof *api);
#define FAL_CU_FUNCTION(name, params) api->name = dry_##name;
    FAL_CU_FUNCTIONS(FAL_CU_FUNCTION)
#undef FAL_CU_FUNCTION
}
#endif
