/* moe_matmul on a CUDA device: rows of the chosen experts only, weights in file format. */
#include "cuda/ops.h"

#include "harness/args.h"

#include <limits.h>

size_t fal_cu_moe_lists_bytes(int n_tokens, int n_expert, int n_expert_used)
{
    const size_t slots = fal_cu_bytes(sizeof(int32_t), n_tokens, n_expert_used, 1);
    const size_t offsets = sizeof(int32_t) * ((size_t)n_expert + 1);
    return slots > SIZE_MAX - offsets ? SIZE_MAX : slots + offsets;
}

fal_status fal_cu_moe_matmul_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_in, bool x_per_slot,
                                 uint32_t type, const fal_cu_buffer *x, const fal_cu_buffer *ids, fal_cu_buffer *lists,
                                 const fal_cu_product *p, int n, fal_error *err)
{
    const char *type_name = NULL;
    fal_status st = fal_cu_type_name("moe_matmul", type, &type_name, err);
    if (st != FAL_OK) return st;
    if (n_tokens > INT_MAX / n_expert_used)
        return fal_fail(err, FAL_ERR_INPUT, "use fewer tokens at once",
                        "cuda: moe_matmul of %d tokens with %d experts each exceeds %d slots", n_tokens,
                        n_expert_used, INT_MAX);
    const int n_slots = n_tokens * n_expert_used, x_div = x_per_slot ? 1 : n_expert_used, n_out = p->n_out;
    /* With a few slots an expert on average, reading each weight row once pays for ordering the slots. */
    bool is_grouped = n_tokens >= FAL_CU_MIN_TILED && n_slots / 4 >= n_expert;
    size_t n_rows = is_grouped ? FAL_CU_SIDE : FAL_CU_GROUP / 32;
    if (is_grouped) {
        const fal_cu_arg args[] = { FAL_CU_INT(n_slots), FAL_CU_INT(n_expert), FAL_CU_BUFFER(ids),
                                    FAL_CU_BUFFER(lists) };
        st = FAL_CU_LAUNCH(ctx, "moe_matmul", "group", NULL, (size_t)n_expert, args, err);
        if (st != FAL_OK) return st;
    }
    const size_t n_blocks = ((size_t)n_out - 1) / n_rows + 1;
    /* An expert has at most one slot of a token: with a turn for each tile of tokens, no work-group takes two. */
    size_t n_times = (size_t)n_slots;
    if (is_grouped) n_times = (size_t)n_expert * (((size_t)n_tokens - 1) / FAL_CU_SIDE + 1);
    const int n_together = is_grouped ? 1 : n; /* a pair, where it can be */
    for (int i = 0; i < n; i += n_together) {
        const fal_cu_product *a = &p[i], *b = &p[i + n_together - 1];
        const fal_cu_arg args[] = { FAL_CU_INT(n_slots),  FAL_CU_INT(n_expert), FAL_CU_INT(x_div),    FAL_CU_INT(n_in),
                                    FAL_CU_INT(n_out),    FAL_CU_BUFFER(a->w),  FAL_CU_BUFFER(b->w),  FAL_CU_BUFFER(x),
                                    FAL_CU_BUFFER(ids),   FAL_CU_BUFFER(lists), FAL_CU_BUFFER(a->y),  FAL_CU_BUFFER(b->y) };
        st = FAL_CU_LAUNCH(ctx, "moe_matmul", is_grouped ? "grouped" : NULL, type_name, n_blocks * n_times * (size_t)n_together, args, err);
        if (st != FAL_OK) return st;
    }
    return FAL_OK;
}

fal_status fal_cu_moe_matmul(fal_context *ctx, const fal_moe_matmul_args *a, fal_error *err)
{
    fal_status st = fal_moe_matmul_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t w_bytes = fal_cu_bytes(fal_type_row_bytes(a->type, (size_t)a->n_in), a->n_out, a->n_expert, 1);
    const size_t x_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->x_per_slot ? a->n_expert_used : 1, a->n_in);
    const size_t y_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_expert_used, a->n_out);
    const size_t ids_bytes = fal_cu_bytes(sizeof(int32_t), a->n_tokens, a->n_expert_used, 1);
    const size_t lists_bytes = fal_cu_moe_lists_bytes(a->n_tokens, a->n_expert, a->n_expert_used);
    fal_cu_buffer *w = NULL, *x = NULL, *ids = NULL, *lists = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "w", a->w, w_bytes, &w, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "x", a->x, x_bytes, &x, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "ids", a->ids, ids_bytes, &ids, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "lists", lists_bytes, &lists, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", y_bytes, &y, err);
    if (st == FAL_OK)
        st = fal_cu_moe_matmul_run(ctx, a->n_tokens, a->n_expert, a->n_expert_used, a->n_in, a->x_per_slot, a->type, x, ids,
                                   lists, &(const fal_cu_product){ a->n_out, w, y }, 1, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, y_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, lists);
    fal_cu_free(ctx, ids);
    fal_cu_free(ctx, x);
    fal_cu_free(ctx, w);
    return st;
}
