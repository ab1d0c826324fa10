/* A CUDA device as the rest of this backend sees it: buffers, programs, launches. What calls the driver includes context.h:
   device.c, devices.c, programs.c, graph.c, foreign.c. */
#ifndef FAL_CUDA_DEVICE_H
#define FAL_CUDA_DEVICE_H

#include "harness/backend.h"
#include "harness/launch.h"

/* Threads of a block: four 32-lane slices, the same as the work-groups of the OpenCL twin, so that both reduce alike. */
#define FAL_CU_GROUP 128
/* Rows, and tokens, of a tile of the tiled kernels: two threads bring a row, and one has 8 rows and 4 tokens. */
#define FAL_CU_SIDE 64
/* With fewer tokens than this each is computed by itself, and gives the same bits as alone. */
#define FAL_CU_MIN_TILED 32
/* Tokens that share one pass over keys and values, as in attention.cu. */
#define FAL_CU_TOKENS 8

typedef struct fal_cu_buffer fal_cu_buffer;

/* what    The devices() of the backend table: those that the driver shows, in its order. */
fal_status fal_cu_devices(fal_device_info *out, int cap, int *n, fal_error *err);
/* what    Opens one device with a stream. No module is loaded yet.
   refuses no library, driver or device, a build without device code: FAL_ERR_BLOCKED; a device or variant that does not exist: FAL_ERR_USAGE
   owns    *out belongs to the caller: fal_cu_close */
fal_status fal_cu_open(const fal_backend_options *options, fal_context **out, fal_error *err);
void fal_cu_close(fal_context *ctx);
const fal_device_info *fal_cu_device(const fal_context *ctx);
void fal_cu_memory(const fal_context *ctx, fal_memory *out);
void fal_cu_launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user);
extern const char *const fal_cu_variants[]; /* NULL-terminated, "" first */
/* what    The variant that the context was opened with: FAL_CU_EXACT for "". */
typedef enum { FAL_CU_EXACT, FAL_CU_FAST, FAL_CU_FAST_KV16 } fal_cu_variant;
fal_cu_variant fal_cu_variant_of(const fal_context *ctx);
/* what    Multiprocessors, and the most shared memory that a block may ask for. */
bool fal_cu_is_blocking(const fal_context *ctx); /* every kernel is waited for: a graph would hide which one failed */
int fal_cu_multiprocessors(const fal_context *ctx);
size_t fal_cu_shared_limit(const fal_context *ctx);

/* what    A device buffer of that many bytes, each of them 0xFF: a value that nobody wrote is a NaN. name is for messages.
   refuses 0, SIZE_MAX (a size that overflowed) and more than the device allocates: FAL_ERR_MEMORY
   owns    *out belongs to the caller: fal_cu_free */
fal_status fal_cu_alloc(fal_context *ctx, const char *name, size_t bytes, fal_cu_buffer **out, fal_error *err);
/* what    Refuses what cannot fit beside what is in use, before anything of it is allocated: FAL_ERR_MEMORY with both numbers. */
fal_status fal_cu_need_room(const fal_context *ctx, const char *name, size_t bytes, fal_error *err);
void fal_cu_free(fal_context *ctx, fal_cu_buffer *b);
size_t fal_cu_size(const fal_cu_buffer *b);
/* what    Transfers; a blocking read or write waits for everything queued before it and returns its errors. */
fal_status fal_cu_write(fal_context *ctx, fal_cu_buffer *b, const void *src, size_t bytes, fal_error *err);
fal_status fal_cu_read(fal_context *ctx, const fal_cu_buffer *b, size_t offset, void *dst, size_t bytes, fal_error *err);
fal_status fal_cu_copy(fal_context *ctx, fal_cu_buffer *dst, const fal_cu_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err);
fal_status fal_cu_poison(fal_context *ctx, fal_cu_buffer *b, fal_error *err); /* 0xFF everywhere */
/* what    Waits for everything queued, and returns the errors of what failed meanwhile. */
fal_status fal_cu_finish(fal_context *ctx, fal_error *err);
/* what    alloc and write in one. */
fal_status fal_cu_upload(fal_context *ctx, const char *name, const void *src, size_t bytes, fal_cu_buffer **out,
                         fal_error *err);
/* what    elem * a * b * c, or SIZE_MAX (which fal_cu_alloc refuses) when that is too large. a, b, c >= 0 */
size_t fal_cu_bytes(size_t elem, int a, int b, int c);

/* A kernel argument with its name in the host code, so that an error can say which one the driver refused. */
typedef struct {
    const char *name;
    enum { FAL_CU_ARG_BUFFER, FAL_CU_ARG_INT, FAL_CU_ARG_LONG, FAL_CU_ARG_FLOAT } kind;
    union {
        const fal_cu_buffer *buffer;
        int32_t i;
        int64_t l;
        float f;
    } v;
} fal_cu_arg;
#define FAL_CU_BUFFER(b) { #b, FAL_CU_ARG_BUFFER, { .buffer = (b) } }
#define FAL_CU_INT(n) { #n, FAL_CU_ARG_INT, { .i = (n) } }
#define FAL_CU_LONG(n) { #n, FAL_CU_ARG_LONG, { .l = (int64_t)(n) } }
#define FAL_CU_FLOAT(x) { #x, FAL_CU_ARG_FLOAT, { .f = (x) } }

/* what    Queues a kernel over n_groups blocks of FAL_CU_GROUP threads. The name is fal_cu_<op>[__<how>][_<type>]; how and
           type may be NULL. The module of op is loaded when its first kernel is asked for.
   refuses a driver that is too old for the device code: FAL_ERR_BLOCKED with both versions */
fal_status fal_cu_launch(fal_context *ctx, const char *op, const char *how, const char *type, size_t n_groups,
                         const fal_cu_arg *args, size_t n_args, fal_error *err);
/* what    From now on a launch may start before the one queued before it has ended, and waits itself (fal_begin in
           quant.cuh). Pays for short kernels; takes room from long ones. Off in a new context. */
void fal_cu_overlap(fal_context *ctx, bool on);
#define FAL_CU_LAUNCH(ctx, op, how, type, n_groups, args, err) \
    fal_cu_launch(ctx, op, how, type, n_groups, args, sizeof(args) / sizeof((args)[0]), err)

/* Shape of a launch that is not in blocks of FAL_CU_GROUP. */
typedef struct {
    size_t n_groups;
    int n_threads;
    size_t shared_bytes; /* dynamic shared memory of a block */
    bool overlaps;       /* may start before the launch queued before it has ended: the kernel itself waits (decode.cuh).
                            Without effect where device or device code cannot */
} fal_cu_shape;
/* what    Queues kernel fal_cu_<module>__<how>[_<type>] of cuda/<module>.cu in that shape; otherwise as fal_cu_launch. */
fal_status fal_cu_launch_shaped(fal_context *ctx, const char *module, const char *how, const char *type,
                                const fal_cu_shape *shape, const fal_cu_arg *args, size_t n_args, fal_error *err);

/* what    Launches recorded once and queued many times as one. Between begin and end, launches are recorded and not run;
           nothing else may be called on the context. end also ends a recording that failed (*out is then not set).
   owns    *out belongs to the caller: fal_cu_graph_free, before fal_cu_close */
typedef struct fal_cu_graph fal_cu_graph;
fal_status fal_cu_graph_begin(fal_context *ctx, fal_error *err);
fal_status fal_cu_graph_end(fal_context *ctx, fal_cu_graph **out, fal_error *err);
fal_status fal_cu_graph_launch(fal_context *ctx, fal_cu_graph *graph, fal_error *err);
int fal_cu_graph_kernels(const fal_cu_graph *graph); /* launches recorded in it */
void fal_cu_graph_free(fal_context *ctx, fal_cu_graph *graph);

/* Device code of one op as nvcc made it; the build writes the table (build/cuda/fatbins.c). */
typedef struct {
    const char *op;
    const unsigned char *data;
    const size_t *size;
} fal_cu_fatbin;
extern const fal_cu_fatbin fal_cu_fatbins[]; /* ends with op NULL; empty when built without nvcc */
extern const char fal_cu_toolkit[];          /* version of nvcc, or why there is no device code */
extern const char fal_cu_archs[];            /* "sm_80 sm_86 ... compute_90", empty when built without nvcc */

/* What the driver says about a kernel: registers and local memory (spills, stack) per thread, shared memory per block. */
typedef struct {
    int registers, local_bytes, shared_bytes;
} fal_cu_kernel_facts;
fal_status fal_cu_facts(fal_context *ctx, const char *op, const char *name, fal_cu_kernel_facts *out, fal_error *err);

/* what    A buffer that is a part of another one, which must outlive it. offset is a multiple of 4096. */
fal_status fal_cu_view(fal_context *ctx, const fal_cu_buffer *whole, size_t offset, size_t bytes, fal_cu_buffer **out, fal_error *err);
void fal_cu_view_free(fal_context *ctx, fal_cu_buffer *view);

/* what    Somebody else's device code, and its line about launches (harness/launch.h).
   refuses what the driver does not load, and code without that line: FAL_ERR_INPUT
   owns    *out belongs to the caller: fal_cu_foreign_free */
typedef struct fal_cu_foreign fal_cu_foreign;
fal_status fal_cu_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cu_foreign **out,
                             fal_error *err);
void fal_cu_foreign_free(fal_context *ctx, fal_cu_foreign *f);
bool fal_cu_foreign_has(fal_context *ctx, fal_cu_foreign *f, const char *kernel);
/* what    Queues a kernel of it in that shape; a buffer argument may be NULL. */
fal_status fal_cu_foreign_run(fal_context *ctx, fal_cu_foreign *f, const char *kernel, const fal_launch *shape, const fal_cu_arg *args,
                            size_t n_args, fal_error *err);

/* what    Blocks that cover n threads with one each; n rows with 32 lanes each. */
size_t fal_cu_groups(const fal_context *ctx, size_t n_items);
size_t fal_cu_row_groups(const fal_context *ctx, size_t n_rows);

#endif
