/* rope on a CUDA device: NeoX halves, angles from host tables. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_rope_run(fal_context *ctx, int n_tokens, int head_dim, int first_pos, const fal_cu_buffer *cos_table,
                           const fal_cu_buffer *sin_table, const fal_cu_heads *h, int n, fal_error *err)
{
    const fal_cu_heads none = { .x = h->x, .y = h->y }, *second = n > 1 ? h + 1 : &none;
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens),     FAL_CU_INT(h->n_head),      FAL_CU_INT(second->n_head), FAL_CU_INT(head_dim),
                                FAL_CU_INT(first_pos),    FAL_CU_BUFFER(h->x),        FAL_CU_BUFFER(second->x),   FAL_CU_BUFFER(cos_table),
                                FAL_CU_BUFFER(sin_table), FAL_CU_BUFFER(h->y),        FAL_CU_BUFFER(second->y) };
    const size_t n_rows = (size_t)n_tokens * ((size_t)h->n_head + (size_t)second->n_head);
    const size_t n_items = n_rows * (size_t)(head_dim / 2);
    return FAL_CU_LAUNCH(ctx, "rope", NULL, NULL, fal_cu_groups(ctx, n_items), args, err);
}

fal_status fal_cu_rope(fal_context *ctx, const fal_rope_args *a, fal_error *err)
{
    fal_status st = fal_rope_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    const size_t table_bytes = fal_cu_bytes(sizeof(float), a->n_ctx, a->head_dim / 2, 1);
    fal_cu_buffer *x = NULL, *cos_table = NULL, *sin_table = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "x", a->x, bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "cos", a->cos, table_bytes, &cos_table, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "sin", a->sin, table_bytes, &sin_table, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", bytes, &y, err);
    const fal_cu_heads all = { a->n_head, x, NULL, y };
    if (st == FAL_OK) st = fal_cu_rope_run(ctx, a->n_tokens, a->head_dim, a->first_pos, cos_table, sin_table, &all, 1, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, sin_table);
    fal_cu_free(ctx, cos_table);
    fal_cu_free(ctx, x);
    return st;
}
