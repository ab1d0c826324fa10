/* matmul on a CUDA device: weights in file format, one kernel per type. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_matmul_run(fal_context *ctx, int n_tokens, int n_in, uint32_t type, const fal_cu_buffer *x,
                             const fal_cu_product *p, int n, fal_error *err)
{
    const char *type_name = NULL;
    const fal_status st = fal_cu_type_name("matmul", type, &type_name, err);
    if (st != FAL_OK) return st;
    const fal_cu_product none = { .w = p->w, .y = p->y }, *second = n > 1 ? p + 1 : &none, *third = n > 2 ? p + 2 : &none;
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens),      FAL_CU_INT(n_in),         FAL_CU_INT(p->n_out),
                                FAL_CU_INT(second->n_out), FAL_CU_INT(third->n_out), FAL_CU_BUFFER(p->w),
                                FAL_CU_BUFFER(second->w),  FAL_CU_BUFFER(third->w),  FAL_CU_BUFFER(x),
                                FAL_CU_BUFFER(p->y),       FAL_CU_BUFFER(second->y), FAL_CU_BUFFER(third->y) };
    const bool is_tiled = n_tokens >= FAL_CU_MIN_TILED;
    const char *how = is_tiled ? "tiled" : NULL;
    size_t n_rows = is_tiled ? FAL_CU_SIDE : FAL_CU_GROUP / 32, n_tile = is_tiled ? FAL_CU_SIDE : 1;
    size_t n_blocks = 0;
    for (int i = 0; i < n; i++) n_blocks += ((size_t)p[i].n_out - 1) / n_rows + 1;
    const size_t n_tiles = ((size_t)n_tokens - 1) / n_tile + 1;
    return FAL_CU_LAUNCH(ctx, "matmul", how, type_name, n_blocks * n_tiles, args, err);
}

fal_status fal_cu_matmul(fal_context *ctx, const fal_matmul_args *a, fal_error *err)
{
    fal_status st = fal_matmul_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t w_bytes = fal_cu_bytes(fal_type_row_bytes(a->type, (size_t)a->n_in), a->n_out, 1, 1);
    const size_t x_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_in, 1);
    const size_t y_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_out, 1);
    fal_cu_buffer *w = NULL, *x = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "w", a->w, w_bytes, &w, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "x", a->x, x_bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", y_bytes, &y, err);
    const fal_cu_product all = { a->n_out, w, y };
    if (st == FAL_OK) st = fal_cu_matmul_run(ctx, a->n_tokens, a->n_in, a->type, x, &all, 1, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, x);
    fal_cu_free(ctx, w);
    return st;
}
