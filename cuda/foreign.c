/* Somebody else's device code on a device of this backend: views of buffers, loading, launches. */
#include "cuda/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fal_status fal_cu_view(fal_context *ctx, const fal_cu_buffer *whole, size_t offset, size_t bytes, fal_cu_buffer **out, fal_error *err)
{
    (void)ctx;
    fal_cu_buffer *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for a view");
    *b = (fal_cu_buffer) { .mem = whole->mem + offset, .bytes = bytes };
    *out = b;
    return FAL_OK;
}

void fal_cu_view_free(fal_context *ctx, fal_cu_buffer *view)
{
    (void)ctx;
    free(view);
}

struct fal_cu_foreign {
    fal_cu_module id;
    fal_cu_kernel last; /* looked up before: looking costs as much as a small launch */
};

static fal_cu_function foreign_kernel(fal_context *ctx, fal_cu_foreign *f, const char *name)
{
    if (f->last.id && strcmp(f->last.name, name) == 0) return f->last.id;
    f->last = (fal_cu_kernel) { 0 };
    if (ctx->api.cuModuleGetFunction(&f->last.id, f->id, name) != FAL_CU_SUCCESS) f->last.id = NULL;
    snprintf(f->last.name, sizeof f->last.name, "%s", name);
    return f->last.id;
}

/* The text that the code exports about its launch. */
static bool read_launch(fal_context *ctx, fal_cu_module id, char *launch, size_t size)
{
    fal_cu_ptr at = 0;
    size_t n = 0;
    if (ctx->api.cuModuleGetGlobal_v2(&at, &n, id, "falsify_launch") != FAL_CU_SUCCESS || n == 0 || n >= size) return false;
    if (ctx->api.cuMemcpyDtoHAsync_v2(launch, at, n, ctx->queue) != FAL_CU_SUCCESS || ctx->api.cuStreamSynchronize(ctx->queue) != FAL_CU_SUCCESS)
        return false;
    launch[n] = '\0';
    return true;
}

fal_status fal_cu_foreign_load(fal_context *ctx, const char *code, size_t length, char *launch, size_t launch_size, fal_cu_foreign **out,
                               fal_error *err)
{
    (void)length; /* the driver finds the end of a cubin by itself, of PTX by its terminator */
    fal_cu_foreign *f = calloc(1, sizeof *f);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a module");
    const fal_cu_result result = ctx->api.cuModuleLoadData(&f->id, code);
    fal_status st = FAL_OK;
    if (result != FAL_CU_SUCCESS) {
        f->id = NULL;
        st = fal_fail(err, FAL_ERR_INPUT, "a cubin runs on the architecture that it was built for alone; PTX on that one and later ones",
                      "the driver does not load it on '%s' (%s): %s (%d)", ctx->info.name, ctx->info.driver, fal_cu_code_name(&ctx->api, result), result);
    } else if (!read_launch(ctx, f->id, launch, launch_size)) {
        st = fal_fail(err, FAL_ERR_INPUT, "for example: extern \"C\" __device__ char falsify_launch[] = \"block=128 grid=cdiv(n_out,4)*n_tokens\";",
                      "the device code has no variable falsify_launch, or one of more than %zu characters", launch_size - 1);
    }
    if (st) fal_cu_foreign_free(ctx, f);
    else *out = f;
    return st;
}

void fal_cu_foreign_free(fal_context *ctx, fal_cu_foreign *f)
{
    if (!f) return;
    if (f->id) ctx->api.cuModuleUnload(f->id);
    free(f);
}

bool fal_cu_foreign_has(fal_context *ctx, fal_cu_foreign *f, const char *name)
{
    return foreign_kernel(ctx, f, name) != NULL;
}

fal_status fal_cu_foreign_run(fal_context *ctx, fal_cu_foreign *f, const char *name, const fal_launch *shape, const fal_cu_arg *args,
                              size_t n_args, fal_error *err)
{
    static const fal_cu_buffer nothing = { 0 };
    fal_cu_arg given[FAL_CU_MAX_ARGS];
    void *values[FAL_CU_MAX_ARGS];
    fal_cu_result code = FAL_CU_SUCCESS;
    const fal_cu_function id = foreign_kernel(ctx, f, name);
    if (n_args > FAL_CU_MAX_ARGS) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "cuda: %zu arguments", n_args);
    if (!id) return fal_fail(err, FAL_ERR_INPUT, NULL, "it has no kernel %s", name);
    for (size_t i = 0; i < n_args; i++) {
        given[i] = args[i];
        if (given[i].kind == FAL_CU_ARG_BUFFER && !given[i].v.buffer) given[i].v.buffer = &nothing;
    }
    fal_cu_point_at(given, n_args, values);
    if (shape->shared_bytes > 48 * 1024)
        code = ctx->api.cuFuncSetAttribute(id, FAL_CU_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shape->shared_bytes);
    const fal_cu_launch_config config = {
        .grid_x = (unsigned)shape->grid[0], .grid_y = (unsigned)shape->grid[1], .grid_z = (unsigned)shape->grid[2],
        .block_x = (unsigned)shape->block[0], .block_y = (unsigned)shape->block[1], .block_z = (unsigned)shape->block[2],
        .shared_bytes = (unsigned)shape->shared_bytes, .stream = ctx->queue,
    };
    if (code == FAL_CU_SUCCESS) code = ctx->api.cuLaunchKernelEx(&config, id, values, NULL);
    if (code == FAL_CU_SUCCESS) return FAL_OK;
    if (code != FAL_CU_ERROR_INVALID_VALUE && code != FAL_CU_ERROR_LAUNCH_OUT_OF_RESOURCES) return fal_cu_call_failed(&ctx->api, err, "cuLaunchKernelEx", code);
    return fal_fail(err, FAL_ERR_INPUT, "look at falsify_launch", "launch of %s over %zu x %zu x %zu blocks failed: %s (%d)", name, shape->grid[0],
                    shape->grid[1], shape->grid[2], fal_cu_code_name(&ctx->api, code), code);
}
