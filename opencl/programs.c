/* Device code of the OpenCL backend: built from source when first needed, and launches of its kernels. */
#include "harness/digest.h"
#include "opencl/cache.h"
#include "opencl/context.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- programs ----------------------------------------------------------------------------------------------------- */

/* Text of quant.cl and <op>.cl, put into the program by the build. */
extern const char fal_cl_src_quant[];
extern const size_t fal_cl_src_quant_len;
#define FAL_OP(op)                                                                                                     \
    extern const char fal_cl_src_##op[];                                                                               \
    extern const size_t fal_cl_src_##op##_len;
#define FAL_FUSED(op)
#include "harness/ops.def"
extern const char fal_cl_src_bandwidth[];
extern const size_t fal_cl_src_bandwidth_len;

static const struct {
    const char *op, *text;
    const size_t *length;
} sources[N_PROGRAMS] = {
#define FAL_OP(op) { #op, fal_cl_src_##op, &fal_cl_src_##op##_len },
#define FAL_FUSED(op)
#include "harness/ops.def"
    { "bandwidth", fal_cl_src_bandwidth, &fal_cl_src_bandwidth_len },
};

const char *fal_cl_text(const char *op, size_t *length)
{
    const char *text = NULL;
    if (strcmp(op, "quant") == 0) {
        text = fal_cl_src_quant;
        *length = fal_cl_src_quant_len;
    }
    for (int p = 0; p < N_PROGRAMS && !text; p++) {
        if (strcmp(sources[p].op, op) != 0) continue;
        text = sources[p].text;
        *length = *sources[p].length;
    }
    return text;
}

/* The end of the build log, which is where compilers count errors, as one line of printable text. */
fal_status fal_cl_build_failed(fal_context *ctx, fal_cl_program id, const char *name, fal_cl_int code, fal_error *err)
{
    enum { TAIL = 700 };
    size_t n = 0;
    char *log = NULL;
    const char *tail = "(the driver gave no log)";
    if (ctx->api.clGetProgramBuildInfo(id, ctx->device, FAL_CL_PROGRAM_BUILD_LOG, 0, NULL, &n) == FAL_CL_SUCCESS &&
        n > 1)
        log = calloc(n + 1, 1);
    if (log &&
        ctx->api.clGetProgramBuildInfo(id, ctx->device, FAL_CL_PROGRAM_BUILD_LOG, n, log, NULL) == FAL_CL_SUCCESS) {
        size_t len = strlen(log);
        while (len > 0 && isspace((unsigned char)log[len - 1])) log[--len] = '\0';
        for (size_t i = 0; i < len; i++)
            if (iscntrl((unsigned char)log[i])) log[i] = ' ';
        if (len > 0) tail = len > TAIL ? log + len - TAIL : log;
    }
    /* text that somebody put in its place says nothing about ours, or about the device */
    const fal_status code_of = ctx->instead && strcmp(ctx->instead->op, name) == 0 ? FAL_ERR_INTERNAL : FAL_ERR_DEVICE;
    const fal_status st =
        fal_fail(err, code_of, "the text is in opencl/; the driver's compiler refused it",
                 "opencl: %s.cl does not build on '%s' (%s): %s", name, ctx->info.name, fal_cl_code_name(code), tail);
    free(log);
    return st;
}

/* SHA-256 over everything that decides what the driver's compiler makes. */
static fal_status cache_key(const fal_context *ctx, const char *source, size_t length, char key[65], fal_error *err)
{
    char head[512];
    const int n_head = snprintf(head, sizeof head, "%s\n%s\n%s\n%s\n", ctx->options, ctx->info.name, ctx->info.driver,
                                ctx->info.vendor);
    char parts[3 * 64 + 1]; /* the digests of head, prelude and text */
    fal_status st = fal_sha256(head, (size_t)n_head, parts, err);
    if (st == FAL_OK) st = fal_sha256(fal_cl_src_quant, fal_cl_src_quant_len, parts + 64, err);
    if (st == FAL_OK) st = fal_sha256(source, length, parts + 128, err);
    if (st == FAL_OK) st = fal_sha256(parts, 192, key, err);
    return st;
}

/* A built program from the cache, or NULL: whatever is wrong with it, the text is still there. */
static fal_cl_program load_program(fal_context *ctx, const char *key)
{
    size_t n = 0;
    unsigned char *bytes = fal_cl_cache_load(ctx->cache_dir, key, &n);
    if (!bytes) return NULL;
    fal_cl_int status = FAL_CL_SUCCESS, code = FAL_CL_SUCCESS;
    const unsigned char *binary = bytes;
    fal_cl_program id = ctx->api.clCreateProgramWithBinary(ctx->context, 1, &ctx->device, &n, &binary, &status, &code);
    if (id && (code != FAL_CL_SUCCESS || status != FAL_CL_SUCCESS ||
               ctx->api.clBuildProgram(id, 1, &ctx->device, ctx->options, NULL, NULL) != FAL_CL_SUCCESS)) {
        ctx->api.clReleaseProgram(id);
        id = NULL;
    }
    free(bytes);
    return id;
}

static void store_program(fal_context *ctx, fal_cl_program id, const char *key)
{
    size_t n = 0;
    if (ctx->api.clGetProgramInfo(id, FAL_CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) != FAL_CL_SUCCESS || n == 0)
        return;
    unsigned char *bytes = malloc(n);
    if (!bytes) return;
    unsigned char *const list[] = { bytes };
    if (ctx->api.clGetProgramInfo(id, FAL_CL_PROGRAM_BINARIES, sizeof list, (void *)list, NULL) == FAL_CL_SUCCESS)
        fal_cl_cache_store(ctx->cache_dir, key, bytes, n);
    free(bytes);
}

static fal_status build_program(fal_context *ctx, const char *name, const char *source, size_t length, bool use_cache,
                                bool *cached, fal_cl_program *out, fal_error *err)
{
    char key[65];
    if (use_cache) {
        const fal_status st = cache_key(ctx, source, length, key, err);
        if (st != FAL_OK) return st;
        *out = load_program(ctx, key);
        if (cached) *cached = *out != NULL;
        if (*out) return FAL_OK;
    }
    const char *texts[] = { fal_cl_src_quant, source };
    size_t lengths[] = { fal_cl_src_quant_len, length };
    if (ctx->instead && ctx->instead->prelude && strcmp(ctx->instead->op, name) == 0) {
        texts[0] = ctx->instead->prelude;
        lengths[0] = ctx->instead->prelude_size;
    }
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_program id = ctx->api.clCreateProgramWithSource(ctx->context, 2, texts, lengths, &code);
    if (!id) return fal_cl_call_failed(err, "clCreateProgramWithSource", code);
    code = ctx->api.clBuildProgram(id, 1, &ctx->device, ctx->options, NULL, NULL);
    if (code != FAL_CL_SUCCESS) {
        const fal_status st = fal_cl_build_failed(ctx, id, name, code, err);
        ctx->api.clReleaseProgram(id);
        return st;
    }
    if (use_cache) store_program(ctx, id, key);
    *out = id;
    return FAL_OK;
}

fal_status fal_cl_build(fal_context *ctx, const char *name, const char *source, size_t length, bool *cached,
                        fal_error *err)
{
    fal_cl_program id = NULL;
    if (cached) *cached = false;
    const fal_status st = build_program(ctx, name, source, length, ctx->cache_dir != NULL, cached, &id, err);
    if (st == FAL_OK) ctx->api.clReleaseProgram(id);
    return st;
}

/* ---- launches ----------------------------------------------------------------------------------------------------- */

static fal_status find_kernel(fal_context *ctx, const char *op, const char *name, fal_cl_kernel **out, fal_error *err)
{
    int p = 0;
    while (p < N_PROGRAMS && strcmp(sources[p].op, op) != 0) p++;
    if (p == N_PROGRAMS) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: no program for op '%s'", op);
    fal_cl_built *prog = &ctx->programs[p];
    for (int k = 0; k < prog->n_kernels; k++) {
        if (strcmp(prog->kernels[k].name, name) != 0) continue;
        *out = &prog->kernels[k];
        return FAL_OK;
    }
    if (prog->n_kernels == MAX_KERNELS)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: %s.cl has more than %d kernels", op, MAX_KERNELS);
    if (!prog->id) {
        /* Measured on PoCL 3.1: asking for the binaries made the first token wait 9 s instead of 4.4 s. */
        const fal_other_code *other = ctx->instead && strcmp(ctx->instead->op, op) == 0 ? ctx->instead : NULL;
        const bool use_cache = ctx->cache_dir && !ctx->is_pocl && !other;
        const char *text = other ? other->code : sources[p].text;
        const fal_status st = build_program(ctx, op, text, other ? other->code_size : *sources[p].length, use_cache, NULL,
                                            &prog->id, err);
        if (st != FAL_OK) return st;
    }
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_kernel_id id = ctx->api.clCreateKernel(prog->id, name, &code);
    if (!id)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: no kernel %s in %s.cl: %s (%d)", name, op, fal_cl_code_name(code),
                        code);
    size_t room = 0; /* registers may allow fewer work-items than the device as a whole */
    const size_t want = ctx->is_cpu ? 1 : FAL_CL_GROUP;
    code = ctx->api.clGetKernelWorkGroupInfo(id, ctx->device, FAL_CL_KERNEL_WORK_GROUP_SIZE, sizeof room, &room, NULL);
    if (code == FAL_CL_SUCCESS && room < want) {
        ctx->api.clReleaseKernel(id);
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: '%s' runs %s with at most %zu work-items, %zu are needed",
                        ctx->info.name, name, room, want);
    }
    fal_cl_kernel *k = &prog->kernels[prog->n_kernels++];
    *k = (fal_cl_kernel) { .id = id };
    snprintf(k->name, sizeof k->name, "%s", name);
    *out = k;
    return FAL_OK;
}

/* The entry for a launch's words: the kernel's, or a free one to fill in; NULL when all are taken. */
static fal_cl_known *known_place(fal_context *ctx, const char *op, const char *how, const char *type)
{
    const size_t start = ((uintptr_t)op * 31 + (uintptr_t)how * 7 + (uintptr_t)type) / 4;
    for (size_t i = 0; i < FAL_CL_KNOWN; i++) {
        fal_cl_known *k = &ctx->known[(start + i) % FAL_CL_KNOWN];
        if (!k->kernel || (k->op == op && k->how == how && k->type == type)) return k;
    }
    return NULL;
}

static fal_status kernel_for(fal_context *ctx, const char *op, const char *how, const char *type, fal_cl_kernel **out, fal_error *err)
{
    fal_cl_known *place = known_place(ctx, op, how, type);
    if (place && place->kernel) {
        *out = place->kernel;
        return FAL_OK;
    }
    char name[64];
    snprintf(name, sizeof name, "fal_cl_%s%s%s%s%s%s", op, ctx->is_cpu ? "__cpu" : how ? "_" : "", how ? "_" : "",
             how ? how : "", type ? "_" : "", type ? type : "");
    const fal_status st = find_kernel(ctx, op, name, out, err);
    if (st == FAL_OK && place) *place = (fal_cl_known) { op, how, type, *out };
    return st;
}

/* Gives the driver the arguments that it does not have from the launch before: a token has a thousand launches, and asking
   costs as much as queueing. */
static fal_status give_args(fal_context *ctx, fal_cl_kernel *k, const fal_cl_arg *args, size_t n_args, fal_error *err)
{
    const bool all = k->memory != ctx->memory;
    k->memory = ctx->memory;
    for (size_t i = 0; i < n_args; i++) {
        const fal_cl_arg *a = &args[i];
        size_t size = 0;
        const void *value = NULL;
        switch (a->kind) {
        case FAL_CL_ARG_BUFFER: size = sizeof a->v.buffer->mem; value = &a->v.buffer->mem; break;
        case FAL_CL_ARG_INT: size = sizeof a->v.i; value = &a->v.i; break;
        case FAL_CL_ARG_LONG: size = sizeof a->v.l; value = &a->v.l; break;
        case FAL_CL_ARG_FLOAT: size = sizeof a->v.f; value = &a->v.f; break;
        }
        if (!all && k->given[i].size == size && memcmp(k->given[i].bytes, value, size) == 0) continue;
        k->given[i].size = 0;
        const fal_cl_int code = ctx->api.clSetKernelArg(k->id, (fal_cl_uint)i, size, value);
        if (code != FAL_CL_SUCCESS)
            return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: %s, argument %zu (%s): %s (%d)", k->name, i, a->name,
                            fal_cl_code_name(code), code);
        memcpy(k->given[i].bytes, value, size);
        k->given[i].size = size;
    }
    return FAL_OK;
}

/* Waits for the kernel that was queued last. */
static fal_status wait_for(fal_context *ctx, const char *name, fal_error *err)
{
    const fal_cl_int code = ctx->api.clFinish(ctx->queue);
    if (code == FAL_CL_SUCCESS) return FAL_OK;
    return fal_fail(err, FAL_ERR_DEVICE, "Oclgrind tells more about it", "opencl: kernel %s failed: %s (%d)", name,
                    fal_cl_code_name(code), code);
}

fal_status fal_cl_launch(fal_context *ctx, const char *op, const char *how, const char *type, size_t n_groups,
                         const fal_cl_arg *args, size_t n_args, fal_error *err)
{
    fal_cl_kernel *k = NULL;
    fal_status st = kernel_for(ctx, op, how, type, &k, err);
    if (st == FAL_OK && n_args > FAL_CL_MAX_ARGS)
        st = fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: %s with %zu arguments", k->name, n_args);
    if (st == FAL_OK) st = give_args(ctx, k, args, n_args, err);
    if (st != FAL_OK) return st;
    const size_t local = ctx->is_cpu ? 1 : FAL_CL_GROUP;
    const size_t global = n_groups * local;
    const fal_cl_int code = ctx->api.clEnqueueNDRangeKernel(ctx->queue, k->id, 1, NULL, &global, &local, 0, NULL, NULL);
    if (code != FAL_CL_SUCCESS)
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "opencl: launch of %s over %zu work-items failed: %s (%d)", k->name,
                        global, fal_cl_code_name(code), code);
    k->n_launches++;
    return ctx->is_blocking ? wait_for(ctx, k->name, err) : FAL_OK;
}
