/* matmul on an OpenCL device: weights in file format, one kernel per type. */
#include "opencl/ops.h"

#include "harness/args.h"

fal_status fal_cl_matmul_run(fal_context *ctx, int n_tokens, int n_in, uint32_t type, const fal_cl_buffer *x,
                             const fal_cl_product *p, int n, fal_error *err)
{
    const char *type_name = NULL;
    const fal_status st = fal_cl_type_name("matmul", type, &type_name, err);
    if (st != FAL_OK) return st;
    const fal_cl_product none = { .w = p->w, .y = p->y }, *second = n > 1 ? p + 1 : &none, *third = n > 2 ? p + 2 : &none;
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens),      FAL_CL_INT(n_in),         FAL_CL_INT(p->n_out),
                                FAL_CL_INT(second->n_out), FAL_CL_INT(third->n_out), FAL_CL_BUFFER(p->w),
                                FAL_CL_BUFFER(second->w),  FAL_CL_BUFFER(third->w),  FAL_CL_BUFFER(x),
                                FAL_CL_BUFFER(p->y),       FAL_CL_BUFFER(second->y), FAL_CL_BUFFER(third->y) };
    const bool is_tiled = n_tokens >= FAL_CL_MIN_TILED;
    const char *how = is_tiled ? "tiled" : NULL;
    size_t n_rows = is_tiled ? FAL_CL_SIDE : FAL_CL_GROUP / 32, n_tile = is_tiled ? FAL_CL_SIDE : 1;
    /* asymmetry: the variant for CPUs has no twin; its kernel tells tiles and single tokens apart by itself. */
    if (fal_cl_is_cpu(ctx)) {
        how = NULL;
        n_rows = FAL_CL_CPU_ROWS;
        n_tile = FAL_CL_TILE;
    }
    /* asymmetry: end */
    size_t n_blocks = 0;
    for (int i = 0; i < n; i++) n_blocks += ((size_t)p[i].n_out - 1) / n_rows + 1;
    const size_t n_tiles = ((size_t)n_tokens - 1) / n_tile + 1;
    return FAL_CL_LAUNCH(ctx, "matmul", how, type_name, n_blocks * n_tiles, args, err);
}

fal_status fal_cl_matmul(fal_context *ctx, const fal_matmul_args *a, fal_error *err)
{
    fal_status st = fal_matmul_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t w_bytes = fal_cl_bytes(fal_type_row_bytes(a->type, (size_t)a->n_in), a->n_out, 1, 1);
    const size_t x_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_in, 1);
    const size_t y_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_out, 1);
    fal_cl_buffer *w = NULL, *x = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "w", a->w, w_bytes, &w, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "x", a->x, x_bytes, &x, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", y_bytes, &y, err);
    const fal_cl_product all = { a->n_out, w, y };
    if (st == FAL_OK) st = fal_cl_matmul_run(ctx, a->n_tokens, a->n_in, a->type, x, &all, 1, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, x);
    fal_cl_free(ctx, w);
    return st;
}
