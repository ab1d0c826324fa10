/* The part of the CUDA driver interface that this backend calls, declared here so that cuda.h is not needed to build. */
#ifndef FAL_CUDA_API_H
#define FAL_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

/* The tags are those of cuda.h: a unit test includes both and demands that every function type is compatible. */
typedef int fal_cu_result;
typedef int fal_cu_device_id;
typedef unsigned long long fal_cu_ptr;
typedef struct CUctx_st *fal_cu_ctx;
typedef struct CUstream_st *fal_cu_stream;
typedef struct CUmod_st *fal_cu_module;
typedef struct CUfunc_st *fal_cu_function;
typedef struct CUgraph_st *fal_cu_graph_id;
typedef struct CUgraphExec_st *fal_cu_graph_exec;
typedef struct {
    char bytes[16];
} fal_cu_uuid;

/* CUlaunchAttribute and CUlaunchConfig: laid out as in cuda.h, which defines them whole, so they cannot share its tags.
   The value of an attribute is a union of 64 bytes of which only the first int is used here. */
typedef struct {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int flag;
    } value;
} fal_cu_launch_attribute;
typedef struct {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    fal_cu_stream stream;
    fal_cu_launch_attribute *attributes;
    unsigned n_attributes;
} fal_cu_launch_config;

/* Values as in the CUDA driver API reference. */
enum {
    FAL_CU_SUCCESS = 0,
    FAL_CU_ERROR_INVALID_VALUE = 1,
    FAL_CU_ERROR_OUT_OF_MEMORY = 2,
    FAL_CU_ERROR_NO_DEVICE = 100,
    FAL_CU_ERROR_INVALID_IMAGE = 200,
    FAL_CU_ERROR_NO_BINARY_FOR_GPU = 209,
    FAL_CU_ERROR_INVALID_PTX = 218,
    FAL_CU_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    FAL_CU_ERROR_NOT_FOUND = 500,
    FAL_CU_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,

    FAL_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    FAL_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    FAL_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,

    FAL_CU_FUNC_SHARED_SIZE_BYTES = 1,
    FAL_CU_FUNC_LOCAL_SIZE_BYTES = 3,
    FAL_CU_FUNC_NUM_REGS = 4,
    FAL_CU_FUNC_PTX_VERSION = 5,
    FAL_CU_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,

    FAL_CU_CAPTURE_MODE_RELAXED = 2,
    FAL_CU_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION = 6
};

/* Every function that is looked up: name in libcuda (with its version suffix), parameters. */
#define FAL_CU_FUNCTIONS(X) \
    X(cuInit, (unsigned)) \
    X(cuDriverGetVersion, (int *)) \
    X(cuGetErrorName, (fal_cu_result, const char **)) \
    X(cuGetErrorString, (fal_cu_result, const char **)) \
    X(cuDeviceGetCount, (int *)) \
    X(cuDeviceGet, (fal_cu_device_id *, int)) \
    X(cuDeviceGetName, (char *, int, fal_cu_device_id)) \
    X(cuDeviceGetUuid_v2, (fal_cu_uuid *, fal_cu_device_id)) \
    X(cuDeviceTotalMem_v2, (size_t *, fal_cu_device_id)) \
    X(cuDeviceGetAttribute, (int *, int, fal_cu_device_id)) \
    X(cuDevicePrimaryCtxRetain, (fal_cu_ctx *, fal_cu_device_id)) \
    X(cuDevicePrimaryCtxRelease_v2, (fal_cu_device_id)) \
    X(cuCtxSetCurrent, (fal_cu_ctx)) \
    X(cuMemGetInfo_v2, (size_t *, size_t *)) \
    X(cuMemAlloc_v2, (fal_cu_ptr *, size_t)) \
    X(cuMemFree_v2, (fal_cu_ptr)) \
    X(cuMemcpyHtoDAsync_v2, (fal_cu_ptr, const void *, size_t, fal_cu_stream)) \
    X(cuMemcpyDtoHAsync_v2, (void *, fal_cu_ptr, size_t, fal_cu_stream)) \
    X(cuMemcpyDtoDAsync_v2, (fal_cu_ptr, fal_cu_ptr, size_t, fal_cu_stream)) \
    X(cuMemsetD8Async, (fal_cu_ptr, unsigned char, size_t, fal_cu_stream)) \
    X(cuStreamCreate, (fal_cu_stream *, unsigned)) \
    X(cuStreamDestroy_v2, (fal_cu_stream)) \
    X(cuStreamSynchronize, (fal_cu_stream)) \
    X(cuModuleLoadData, (fal_cu_module *, const void *)) \
    X(cuModuleUnload, (fal_cu_module)) \
    X(cuModuleGetFunction, (fal_cu_function *, fal_cu_module, const char *)) \
    X(cuModuleGetGlobal_v2, (fal_cu_ptr *, size_t *, fal_cu_module, const char *)) \
    X(cuFuncGetAttribute, (int *, int, fal_cu_function)) \
    X(cuFuncSetAttribute, (fal_cu_function, int, int)) \
    X(cuLaunchKernelEx, (const fal_cu_launch_config *, fal_cu_function, void **, void **)) \
    X(cuStreamBeginCapture_v2, (fal_cu_stream, int)) \
    X(cuStreamEndCapture, (fal_cu_stream, fal_cu_graph_id *)) \
    X(cuGraphInstantiateWithFlags, (fal_cu_graph_exec *, fal_cu_graph_id, unsigned long long)) \
    X(cuGraphLaunch, (fal_cu_graph_exec, fal_cu_stream)) \
    X(cuGraphExecDestroy, (fal_cu_graph_exec)) \
    X(cuGraphDestroy, (fal_cu_graph_id))

#define FAL_CU_FUNCTION(name, params) typedef fal_cu_result(*fal_##name##_fn) params;
FAL_CU_FUNCTIONS(FAL_CU_FUNCTION)
#undef FAL_CU_FUNCTION

/* The functions of one loaded libcuda. */
typedef struct {
    void *library;
#define FAL_CU_FUNCTION(name, params) fal_##name##_fn name;
    FAL_CU_FUNCTIONS(FAL_CU_FUNCTION)
#undef FAL_CU_FUNCTION
} fal_cu_api;

#endif
