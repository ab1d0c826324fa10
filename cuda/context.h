/* What the files that call the CUDA driver share; no other file may include this one. */
#ifndef FAL_CUDA_CONTEXT_H
#define FAL_CUDA_CONTEXT_H

#include "cuda/api.h"
#include "cuda/device.h"

/* ---- devices.c: errors, library, devices ---- */

/* what    The driver's name of a code, and the error of a call that failed with it. */
const char *fal_cu_code_name(const fal_cu_api *api, fal_cu_result code);
fal_status fal_cu_call_failed(const fal_cu_api *api, fal_error *err, const char *call, fal_cu_result code);
/* what    Loads the driver's library and finds its functions.
   refuses no library, or one too old: FAL_ERR_BLOCKED */
fal_status fal_cu_load_api(fal_cu_api *api, fal_error *err);
void fal_cu_unload_api(fal_cu_api *api);

typedef struct {
    fal_cu_device_id id;
    fal_device_info info;
    int major, minor; /* compute capability */
} fal_cu_found;

/* what    Every usable device, in the order of their indices.
   owns    *out belongs to the caller: free */
fal_status fal_cu_find_devices(const fal_cu_api *api, fal_cu_found **out, int *n_out, fal_error *err);
/* what    Index of the device that the user means by an index, a UUID or part of a name; -1 when there is none, and the
           error for that: FAL_ERR_USAGE with all names. */
int fal_cu_choose(const fal_cu_found *list, int n, const char *wanted);
fal_status fal_cu_no_such_device(const fal_cu_found *list, int n, const char *wanted, fal_error *err);

/* ---- device.c: the context ---- */

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
} fal_cu_kernel;

enum { MAX_KERNELS = 32 };

/* A module and those of its kernels that were asked for so far. */
typedef struct {
    fal_cu_module id; /* NULL until loaded */
    fal_cu_kernel kernels[MAX_KERNELS];
    int n_kernels;
} fal_cu_built;

struct fal_context {
    fal_cu_api api;
    fal_cu_device_id device;
    fal_cu_ctx context; /* the device's primary context */
    fal_cu_stream queue;
    fal_device_info info;
    const fal_other_code *instead; /* of the module of one op, or NULL */
    fal_cu_built *programs; /* [n_programs], as fal_cu_fatbins */
    int n_programs;
    fal_cu_variant variant;
    int n_multiprocessors, shared_limit;
    bool is_recording, is_blocking;
    bool overlaps; /* launches in blocks of FAL_CU_GROUP */
    uint64_t live_bytes, peak_bytes;
};

/* ---- programs.c ---- */

enum { FAL_CU_MAX_ARGS = 24 };
/* what    Points values[i] at the value of argument i: the driver takes void ** and copies. */
void fal_cu_point_at(const fal_cu_arg *args, size_t n, void **values);

#endif
