/* Somebody else's device code on a device of this backend: views of buffers, loading, launches. */
#include "opencl/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fal_status fal_cl_view(fal_context *ctx, const fal_cl_buffer *whole, size_t offset, size_t bytes, fal_cl_buffer **out, fal_error *err)
{
    const struct {
        size_t origin, size;
    } region = { offset, bytes }; /* cl_buffer_region */
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no host memory for a view");
    b->bytes = bytes;
    ctx->memory++;
    b->mem = ctx->api.clCreateSubBuffer(whole->mem, 0, FAL_CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    if (!b->mem) {
        free(b);
        return fal_cl_call_failed(err, "clCreateSubBuffer", code);
    }
    *out = b;
    return FAL_OK;
}

void fal_cl_view_free(fal_context *ctx, fal_cl_buffer *view)
{
    if (!view) return;
    ctx->memory++;
    ctx->api.clReleaseMemObject(view->mem);
    free(view);
}

enum { MAX_FOREIGN = 16 };

struct fal_cl_foreign {
    fal_cl_program id;
    fal_cl_kernel kernels[MAX_FOREIGN];
    int n_kernels;
};

fal_status fal_cl_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cl_foreign **out,
                               fal_error *err)
{
    fal_cl_int result = FAL_CL_SUCCESS;
    if (!fal_launch_find(code, length, launch, launch_size))
        return fal_fail(err, FAL_ERR_INPUT, "for example: // falsify-launch: block=128 grid=cdiv(n_out,4)*n_tokens",
                        "the OpenCL source has no line 'falsify-launch: ...'");
    fal_cl_foreign *f = calloc(1, sizeof *f);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for a program");
    f->id = ctx->api.clCreateProgramWithSource(ctx->context, 1, &code, &length, &result);
    fal_status st = f->id ? FAL_OK : fal_cl_call_failed(err, "clCreateProgramWithSource", result);
    if (!st) result = ctx->api.clBuildProgram(f->id, 1, &ctx->device, "-cl-std=CL1.2", NULL, NULL);
    if (!st && result != FAL_CL_SUCCESS) {
        fal_error why = { 0 };
        fal_cl_build_failed(ctx, f->id, "candidate", result, &why);
        st = fal_fail(err, FAL_ERR_INPUT, "it is built alone, as OpenCL C 1.2", "%s", why.message);
    }
    if (st) fal_cl_foreign_free(ctx, f);
    else *out = f;
    return st;
}

void fal_cl_foreign_free(fal_context *ctx, fal_cl_foreign *f)
{
    if (!f) return;
    for (int i = 0; i < f->n_kernels; i++) ctx->api.clReleaseKernel(f->kernels[i].id);
    if (f->id) ctx->api.clReleaseProgram(f->id);
    free(f);
}

static fal_cl_kernel *foreign_kernel(fal_context *ctx, fal_cl_foreign *f, const char *name)
{
    for (int i = 0; i < f->n_kernels; i++)
        if (strcmp(f->kernels[i].name, name) == 0) return &f->kernels[i];
    fal_cl_int code = FAL_CL_SUCCESS;
    fal_cl_kernel_id id = f->n_kernels < MAX_FOREIGN ? ctx->api.clCreateKernel(f->id, name, &code) : NULL;
    if (!id) return NULL;
    fal_cl_kernel *k = &f->kernels[f->n_kernels++];
    *k = (fal_cl_kernel) { .id = id };
    snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

bool fal_cl_foreign_has(fal_context *ctx, fal_cl_foreign *f, const char *name)
{
    return foreign_kernel(ctx, f, name) != NULL;
}

fal_status fal_cl_foreign_run(fal_context *ctx, fal_cl_foreign *f, const char *name, const fal_launch *shape, const fal_cl_arg *args,
                              size_t n_args, fal_error *err)
{
    const fal_cl_kernel *k = foreign_kernel(ctx, f, name);
    if (!k) return fal_fail(err, FAL_ERR_INPUT, NULL, "it has no kernel %s", name);
    for (size_t i = 0; i < n_args; i++) {
        const fal_cl_arg *a = &args[i];
        const bool is_buffer = a->kind == FAL_CL_ARG_BUFFER;
        const size_t size = is_buffer ? sizeof(fal_cl_mem) : sizeof(int32_t);
        const void *value = is_buffer ? a->v.buffer ? &a->v.buffer->mem : NULL : (const void *)&a->v;
        const fal_cl_int code = ctx->api.clSetKernelArg(k->id, (fal_cl_uint)i, size, value);
        if (code != FAL_CL_SUCCESS)
            return fal_fail(err, FAL_ERR_INPUT, "its parameters must be the fields of the op, in their order", "%s does not take argument %zu (%s): %s (%d)",
                            name, i, a->name, fal_cl_code_name(code), code);
    }
    size_t global[3];
    for (int d = 0; d < 3; d++) global[d] = shape->grid[d] * shape->block[d];
    const fal_cl_int code = ctx->api.clEnqueueNDRangeKernel(ctx->queue, k->id, 3, NULL, global, shape->block, 0, NULL, NULL);
    if (code == FAL_CL_SUCCESS) return FAL_OK;
    if (code > FAL_CL_INVALID_KERNEL_ARGS) return fal_cl_call_failed(err, "clEnqueueNDRangeKernel", code); /* below lie invalid arguments */
    return fal_fail(err, FAL_ERR_INPUT, "look at falsify-launch", "launch of %s over %zu x %zu x %zu work-items failed: %s (%d)", name, global[0],
                    global[1], global[2], fal_cl_code_name(code), code);
}
