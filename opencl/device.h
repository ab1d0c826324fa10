/* An OpenCL device as the rest of this backend sees it: buffers, programs, launches. What calls the
   driver includes context.h: device.c, devices.c, programs.c, foreign.c. */
#ifndef FAL_OPENCL_DEVICE_H
#define FAL_OPENCL_DEVICE_H

#include "harness/backend.h"
#include "harness/launch.h"

/* Work-items of a work-group of the work-group kernels: small enough for every device that OpenCL 1.2 embedded or full
   profile GPUs describe (>= 256), and four 32-lane slices, so that no reduction depends on the device. */
#define FAL_CL_GROUP 128
/* Rows, and tokens, of a tile of the tiled kernels: two work-items bring a row, and one has 8 rows and 4 tokens. */
#define FAL_CL_SIDE 64
/* With fewer tokens than this each is computed by itself, and gives the same bits as alone. */
#define FAL_CL_MIN_TILED 32
/* Tokens that share one pass over keys and values, as in attention.cl. */
#define FAL_CL_TOKENS 8
/* Tokens that one CPU work-item takes through a weight row at once, and rows that it takes. */
#define FAL_CL_TILE 8
#define FAL_CL_CPU_ROWS 8

typedef struct fal_cl_buffer fal_cl_buffer;

/* what    The devices() of the backend table: those of all platforms that can run the kernels, GPUs first, CPUs last.
   */
fal_status fal_cl_devices(fal_device_info *out, int cap, int *n, fal_error *err);
/* what    Opens one device with an in-order queue. Nothing is built yet.
   refuses no library, platform or device: FAL_ERR_BLOCKED; a device or variant that does not exist: FAL_ERR_USAGE
   owns    *out belongs to the caller: fal_cl_close */
fal_status fal_cl_open(const fal_backend_options *options, fal_context **out, fal_error *err);
void fal_cl_close(fal_context *ctx);
const fal_device_info *fal_cl_device(const fal_context *ctx);
bool fal_cl_is_cpu(const fal_context *ctx); /* true for the variant "cpu" */
void fal_cl_memory(const fal_context *ctx, fal_memory *out);
void fal_cl_launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user);
extern const char *const fal_cl_variants[]; /* NULL-terminated, "" first */

/* what    A device buffer of that many bytes, each of them 0xFF: a value that nobody wrote is a NaN. name is for
   messages.
   refuses 0, SIZE_MAX (a size that overflowed) and more than the device allocates: FAL_ERR_MEMORY
   owns    *out belongs to the caller: fal_cl_free */
fal_status fal_cl_alloc(fal_context *ctx, const char *name, size_t bytes, fal_cl_buffer **out, fal_error *err);
/* what    Refuses what cannot fit beside what is in use, before anything of it is allocated: FAL_ERR_MEMORY with both numbers. */
fal_status fal_cl_need_room(const fal_context *ctx, const char *name, size_t bytes, fal_error *err);
void fal_cl_free(fal_context *ctx, fal_cl_buffer *b);
size_t fal_cl_size(const fal_cl_buffer *b);
size_t fal_cl_largest(const fal_context *ctx); /* bytes that one buffer may have */
/* what    Transfers; a blocking read or write waits for everything queued before it and returns its errors. */
fal_status fal_cl_write(fal_context *ctx, fal_cl_buffer *b, const void *src, size_t bytes, fal_error *err);
fal_status fal_cl_read(fal_context *ctx, const fal_cl_buffer *b, size_t offset, void *dst, size_t bytes,
                       fal_error *err);
fal_status fal_cl_copy(fal_context *ctx, fal_cl_buffer *dst, const fal_cl_buffer *src, size_t src_offset, size_t bytes,
                       fal_error *err);
fal_status fal_cl_poison(fal_context *ctx, fal_cl_buffer *b, fal_error *err); /* 0xFF everywhere */
/* what    Waits for everything queued, and returns the errors of what failed meanwhile. */
fal_status fal_cl_finish(fal_context *ctx, fal_error *err);
/* what    alloc and write in one. */
fal_status fal_cl_upload(fal_context *ctx, const char *name, const void *src, size_t bytes, fal_cl_buffer **out,
                         fal_error *err);
/* what    elem * a * b * c, or SIZE_MAX (which fal_cl_alloc refuses) when that is too large. a, b, c >= 0 */
size_t fal_cl_bytes(size_t elem, int a, int b, int c);

/* A kernel argument with its name in the host code, so that an error can say which one the driver refused. */
typedef struct {
    const char *name;
    enum { FAL_CL_ARG_BUFFER, FAL_CL_ARG_INT, FAL_CL_ARG_LONG, FAL_CL_ARG_FLOAT } kind;
    union {
        const fal_cl_buffer *buffer;
        int32_t i;
        int64_t l;
        float f;
    } v;
} fal_cl_arg;
#define FAL_CL_BUFFER(b) { #b, FAL_CL_ARG_BUFFER, { .buffer = (b) } }
#define FAL_CL_INT(n) { #n, FAL_CL_ARG_INT, { .i = (n) } }
#define FAL_CL_LONG(n) { #n, FAL_CL_ARG_LONG, { .l = (int64_t)(n) } }
#define FAL_CL_FLOAT(x) { #x, FAL_CL_ARG_FLOAT, { .f = (x) } }

/* what    Queues a kernel over n_groups work-groups (one dimension: only the first is unbounded on all devices).
           The name is fal_cl_<op>[__<how>][_<type>], or fal_cl_<op>__cpu[_<how>][_<type>] for the variant "cpu"; how
           and type may be NULL. The program of op is built when its first kernel is asked for. */
fal_status fal_cl_launch(fal_context *ctx, const char *op, const char *how, const char *type, size_t n_groups,
                         const fal_cl_arg *args, size_t n_args, fal_error *err);
#define FAL_CL_LAUNCH(ctx, op, how, type, n_groups, args, err) \
    fal_cl_launch(ctx, op, how, type, n_groups, args, sizeof(args) / sizeof((args)[0]), err)

/* what    Builds a program from text with the shared prelude before it, as fal_cl_launch does for its own, and drops
           it. It is kept in options->cache_dir and taken from there, on any driver. *cached (may be NULL): it was
           there.
   refuses text that does not compile: FAL_ERR_DEVICE with the end of the driver's build log */
fal_status fal_cl_build(fal_context *ctx, const char *name, const char *source, size_t length, bool *cached,
                        fal_error *err);

/* what    A buffer that is a part of another one, which must outlive it. offset is a multiple of 4096. */
fal_status fal_cl_view(fal_context *ctx, const fal_cl_buffer *whole, size_t offset, size_t bytes, fal_cl_buffer **out, fal_error *err);
void fal_cl_view_free(fal_context *ctx, fal_cl_buffer *view);

/* what    Somebody else's device code, and its line about launches (harness/launch.h).
   refuses what the driver does not compile, and code without that line: FAL_ERR_INPUT
   owns    *out belongs to the caller: fal_cl_foreign_free */
typedef struct fal_cl_foreign fal_cl_foreign;
fal_status fal_cl_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cl_foreign **out,
                             fal_error *err);
void fal_cl_foreign_free(fal_context *ctx, fal_cl_foreign *f);
bool fal_cl_foreign_has(fal_context *ctx, fal_cl_foreign *f, const char *kernel);
/* what    Queues a kernel of it in that shape; a buffer argument may be NULL. */
fal_status fal_cl_foreign_run(fal_context *ctx, fal_cl_foreign *f, const char *kernel, const fal_launch *shape, const fal_cl_arg *args,
                            size_t n_args, fal_error *err);

/* what    The text of opencl/<op>.cl as it is in the program, or of quant.cl, the prelude; NULL for another name. */
const char *fal_cl_text(const char *op, size_t *length);

/* what    Work-groups that cover n work-items with one each; n rows with 32 lanes each. */
size_t fal_cl_groups(const fal_context *ctx, size_t n_items);
size_t fal_cl_row_groups(const fal_context *ctx, size_t n_rows);

#endif
