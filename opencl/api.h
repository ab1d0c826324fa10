/* The part of the OpenCL 1.2 interface that this backend calls, declared here so that no OpenCL header is needed to
   build. */
#ifndef FAL_OPENCL_API_H
#define FAL_OPENCL_API_H

#include <stddef.h>
#include <stdint.h>

/* The tags are those of the Khronos headers: a unit test includes both and demands that every function type is
   compatible. */
typedef struct _cl_platform_id *fal_cl_platform;
typedef struct _cl_device_id *fal_cl_device_id;
typedef struct _cl_context *fal_cl_context;
typedef struct _cl_command_queue *fal_cl_queue;
typedef struct _cl_mem *fal_cl_mem;
typedef struct _cl_program *fal_cl_program;
typedef struct _cl_kernel *fal_cl_kernel_id;
typedef struct _cl_event *fal_cl_event;
typedef int32_t fal_cl_int;
typedef uint32_t fal_cl_uint;
typedef uint64_t fal_cl_ulong;
typedef uint64_t fal_cl_bitfield;

/* Values as in the OpenCL 1.2 specification; the two extension queries as in cl_khr_device_uuid and
   cl_nv_device_attribute_query. */
enum {
    FAL_CL_SUCCESS = 0,
    FAL_CL_INVALID_KERNEL_ARGS = -52,
    FAL_CL_PLATFORM_NOT_FOUND_KHR = -1001
};

#define FAL_CL_TRUE 1u

#define FAL_CL_DEVICE_TYPE_CPU 0x2u
#define FAL_CL_DEVICE_TYPE_GPU 0x4u
#define FAL_CL_DEVICE_TYPE_ALL 0xFFFFFFFFu

#define FAL_CL_DEVICE_TYPE 0x1000u
#define FAL_CL_DEVICE_MAX_WORK_GROUP_SIZE 0x1004u
#define FAL_CL_DEVICE_MAX_MEM_ALLOC_SIZE 0x1010u
#define FAL_CL_DEVICE_SINGLE_FP_CONFIG 0x101Bu
#define FAL_CL_DEVICE_GLOBAL_MEM_SIZE 0x101Fu
#define FAL_CL_DEVICE_ENDIAN_LITTLE 0x1026u
#define FAL_CL_DEVICE_AVAILABLE 0x1027u
#define FAL_CL_DEVICE_COMPILER_AVAILABLE 0x1028u
#define FAL_CL_DEVICE_NAME 0x102Bu
#define FAL_CL_DEVICE_VENDOR 0x102Cu
#define FAL_CL_DRIVER_VERSION 0x102Du
#define FAL_CL_DEVICE_VERSION 0x102Fu
#define FAL_CL_DEVICE_EXTENSIONS 0x1030u
#define FAL_CL_DEVICE_UUID_KHR 0x106Au
#define FAL_CL_DEVICE_PCI_BUS_ID_NV 0x4008u
#define FAL_CL_DEVICE_PCI_SLOT_ID_NV 0x4009u
#define FAL_CL_DEVICE_PCI_DOMAIN_ID_NV 0x400Au

#define FAL_CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT 0x80u
#define FAL_CL_MEM_READ_WRITE 0x1u

#define FAL_CL_PROGRAM_BINARY_SIZES 0x1165u
#define FAL_CL_PROGRAM_BINARIES 0x1166u
#define FAL_CL_BUFFER_CREATE_TYPE_REGION 0x1220u
#define FAL_CL_PROGRAM_BUILD_LOG 0x1183u
#define FAL_CL_KERNEL_WORK_GROUP_SIZE 0x11B0u

/* Every function that is looked up: result, name, parameters. Linux has no special calling convention for them. */
#define FAL_CL_FUNCTIONS(X)                                                                                            \
    X(fal_cl_int, clGetPlatformIDs, (fal_cl_uint, fal_cl_platform *, fal_cl_uint *))                                   \
    X(fal_cl_int, clGetDeviceIDs, (fal_cl_platform, fal_cl_bitfield, fal_cl_uint, fal_cl_device_id *, fal_cl_uint *))  \
    X(fal_cl_int, clGetDeviceInfo, (fal_cl_device_id, fal_cl_uint, size_t, void *, size_t *))                          \
    X(fal_cl_context, clCreateContext,                                                                                 \
      (const intptr_t *, fal_cl_uint, const fal_cl_device_id *, void (*)(const char *, const void *, size_t, void *),  \
       void *, fal_cl_int *))                                                                                          \
    X(fal_cl_int, clReleaseContext, (fal_cl_context))                                                                  \
    X(fal_cl_queue, clCreateCommandQueue, (fal_cl_context, fal_cl_device_id, fal_cl_bitfield, fal_cl_int *))           \
    X(fal_cl_int, clReleaseCommandQueue, (fal_cl_queue))                                                               \
    X(fal_cl_mem, clCreateBuffer, (fal_cl_context, fal_cl_bitfield, size_t, void *, fal_cl_int *))                     \
    X(fal_cl_mem, clCreateSubBuffer, (fal_cl_mem, fal_cl_bitfield, fal_cl_uint, const void *, fal_cl_int *))          \
    X(fal_cl_int, clReleaseMemObject, (fal_cl_mem))                                                                    \
    X(fal_cl_int, clEnqueueReadBuffer,                                                                                 \
      (fal_cl_queue, fal_cl_mem, fal_cl_uint, size_t, size_t, void *, fal_cl_uint, const fal_cl_event *,               \
       fal_cl_event *))                                                                                                \
    X(fal_cl_int, clEnqueueWriteBuffer,                                                                                \
      (fal_cl_queue, fal_cl_mem, fal_cl_uint, size_t, size_t, const void *, fal_cl_uint, const fal_cl_event *,         \
       fal_cl_event *))                                                                                                \
    X(fal_cl_int, clEnqueueFillBuffer,                                                                                 \
      (fal_cl_queue, fal_cl_mem, const void *, size_t, size_t, size_t, fal_cl_uint, const fal_cl_event *,              \
       fal_cl_event *))                                                                                                \
    X(fal_cl_int, clEnqueueCopyBuffer,                                                                                 \
      (fal_cl_queue, fal_cl_mem, fal_cl_mem, size_t, size_t, size_t, fal_cl_uint, const fal_cl_event *,                \
       fal_cl_event *))                                                                                                \
    X(fal_cl_int, clFinish, (fal_cl_queue))                                                                            \
    X(fal_cl_program, clCreateProgramWithSource,                                                                       \
      (fal_cl_context, fal_cl_uint, const char **, const size_t *, fal_cl_int *))                                      \
    X(fal_cl_program, clCreateProgramWithBinary,                                                                       \
      (fal_cl_context, fal_cl_uint, const fal_cl_device_id *, const size_t *, const unsigned char **, fal_cl_int *,    \
       fal_cl_int *))                                                                                                  \
    X(fal_cl_int, clBuildProgram,                                                                                      \
      (fal_cl_program, fal_cl_uint, const fal_cl_device_id *, const char *, void (*)(fal_cl_program, void *), void *)) \
    X(fal_cl_int, clGetProgramInfo, (fal_cl_program, fal_cl_uint, size_t, void *, size_t *))                           \
    X(fal_cl_int, clGetProgramBuildInfo, (fal_cl_program, fal_cl_device_id, fal_cl_uint, size_t, void *, size_t *))    \
    X(fal_cl_int, clReleaseProgram, (fal_cl_program))                                                                  \
    X(fal_cl_kernel_id, clCreateKernel, (fal_cl_program, const char *, fal_cl_int *))                                  \
    X(fal_cl_int, clReleaseKernel, (fal_cl_kernel_id))                                                                 \
    X(fal_cl_int, clGetKernelWorkGroupInfo,                                                                            \
      (fal_cl_kernel_id, fal_cl_device_id, fal_cl_uint, size_t, void *, size_t *))                                     \
    X(fal_cl_int, clSetKernelArg, (fal_cl_kernel_id, fal_cl_uint, size_t, const void *))                               \
    X(fal_cl_int, clEnqueueNDRangeKernel,                                                                              \
      (fal_cl_queue, fal_cl_kernel_id, fal_cl_uint, const size_t *, const size_t *, const size_t *, fal_cl_uint,       \
       const fal_cl_event *, fal_cl_event *))

#define FAL_CL_FUNCTION(result, name, params) typedef result(*fal_##name##_fn) params;
FAL_CL_FUNCTIONS(FAL_CL_FUNCTION)
#undef FAL_CL_FUNCTION

/* The functions of one loaded libOpenCL. */
typedef struct {
    void *library;
#define FAL_CL_FUNCTION(result, name, params) fal_##name##_fn name;
    FAL_CL_FUNCTIONS(FAL_CL_FUNCTION)
#undef FAL_CL_FUNCTION
} fal_cl_api;

#endif
