/* What the files that call the OpenCL driver share; no other file may include this one. */
#ifndef FAL_OPENCL_CONTEXT_H
#define FAL_OPENCL_CONTEXT_H

#include "opencl/api.h"
#include "opencl/device.h"

/* ---- devices.c: errors, library, devices ---- */

/* what    The driver's name of a code, and the error of a call that failed with it. */
const char *fal_cl_code_name(fal_cl_int code);
fal_status fal_cl_call_failed(fal_error *err, const char *call, fal_cl_int code);
/* what    Loads the driver's library and finds its functions.
   refuses no library, or one too old: FAL_ERR_BLOCKED */
fal_status fal_cl_load_api(fal_cl_api *api, fal_error *err);
void fal_cl_unload_api(fal_cl_api *api);

typedef struct {
    fal_cl_device_id id;
    fal_device_info info;
    int rank;             /* 0 GPU, 1 accelerator, 2 CPU */
    bool rounded_divide;  /* offers correctly rounded division and square root */
    size_t max_alloc;
} fal_cl_found;

/* what    Every usable device, in the order of their indices.
   owns    *out belongs to the caller: free */
fal_status fal_cl_find_devices(const fal_cl_api *api, fal_cl_found **out, int *n_out, fal_error *err);
/* what    Index of the device that the user means by an index, a UUID or part of a name; -1 when there is none, and the
           error for that: FAL_ERR_USAGE with all names. */
int fal_cl_choose(const fal_cl_found *list, int n, const char *wanted);
fal_status fal_cl_no_such_device(const fal_cl_found *list, int n, const char *wanted, fal_error *err);

/* ---- device.c: the context ---- */

enum { FAL_CL_MAX_ARGS = 24, FAL_CL_KNOWN = 256 };

struct fal_cl_buffer {
    fal_cl_mem mem;
    size_t bytes;
};

typedef struct {
    char name[64];
    fal_cl_kernel_id id;
    uint64_t n_launches;
    /* arguments that the driver has already, and the state of memory in which it got them */
    struct {
        size_t size; /* 0: none */
        unsigned char bytes[8];
    } given[FAL_CL_MAX_ARGS];
    uint64_t memory;
} fal_cl_kernel;

/* A kernel by the words of its launch: they are literals, so that their addresses stand for them. */
typedef struct {
    const char *op, *how, *type;
    fal_cl_kernel *kernel;
} fal_cl_known;

/* One program for each op, and the one that measures bandwidth. */
enum { MAX_KERNELS = 32, N_PROGRAMS = 1
#define FAL_OP(op)    +1
#define FAL_FUSED(op)
#include "harness/ops.def"
};

/* A program and those of its kernels that were asked for so far. */
typedef struct {
    fal_cl_program id; /* NULL until built */
    fal_cl_kernel kernels[MAX_KERNELS];
    int n_kernels;
} fal_cl_built;

struct fal_context {
    fal_cl_api api;
    fal_cl_device_id device;
    fal_cl_context context;
    fal_cl_queue queue;
    fal_device_info info;
    size_t max_alloc;
    bool is_cpu;       /* variant "cpu" */
    bool is_blocking;
    char options[128]; /* of every fal_cl_built */
    char *cache_dir;   /* NULL for none */
    const fal_other_code *instead; /* of the text of one op, or NULL */
    bool is_pocl;      /* keeps programs by itself, and compiles every kernel once more when asked for a binary */
    fal_cl_built programs[N_PROGRAMS];
    fal_cl_known known[FAL_CL_KNOWN]; /* open addressing */
    uint64_t memory; /* counts buffers made and freed: a handle may come again for another one */
    uint64_t live_bytes, peak_bytes;
};

/* ---- programs.c ---- */

/* what    The error of a program that does not compile, with the end of the build log. */
fal_status fal_cl_build_failed(fal_context *ctx, fal_cl_program id, const char *name, fal_cl_int code, fal_error *err);

#endif
