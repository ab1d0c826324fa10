/* attention on a CUDA device: causal, grouped heads, f32 cache. */
#include "cuda/ops.h"

#include "harness/args.h"

/* Blocks of FAL_CU_GROUP positions. */
static int n_blocks_of(int n_pos)
{
    return (n_pos - 1) / FAL_CU_GROUP + 1;
}

size_t fal_cu_attention_parts_bytes(int n_ctx, int n_head, int head_dim)
{
    return fal_cu_bytes(sizeof(float) * ((size_t)head_dim + 2), n_head, n_blocks_of(n_ctx), 1);
}

fal_status fal_cu_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                const fal_cu_buffer *q, const fal_cu_buffer *k_cache, const fal_cu_buffer *v_cache,
                                fal_cu_buffer *parts, fal_cu_buffer *y, fal_error *err)
{
    const int n_blocks = n_blocks_of(first_pos + n_tokens);
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_head), FAL_CU_INT(n_head_kv), FAL_CU_INT(head_dim),
                                FAL_CU_INT(first_pos), FAL_CU_BUFFER(q), FAL_CU_BUFFER(k_cache), FAL_CU_BUFFER(v_cache),
                                FAL_CU_BUFFER(y) };
    const size_t n_tiles = ((size_t)n_tokens - 1) / FAL_CU_TOKENS + 1;
    if (n_tokens > 1) return FAL_CU_LAUNCH(ctx, "attention", NULL, NULL, n_tiles * (size_t)n_head, args, err);
    const fal_cu_arg split[] = { FAL_CU_INT(n_head), FAL_CU_INT(n_head_kv), FAL_CU_INT(head_dim),
                                 FAL_CU_INT(first_pos), FAL_CU_INT(n_blocks), FAL_CU_BUFFER(q), FAL_CU_BUFFER(k_cache),
                                 FAL_CU_BUFFER(v_cache), FAL_CU_BUFFER(parts), FAL_CU_BUFFER(y) };
    const size_t n_groups = (size_t)n_head * (size_t)n_blocks;
    const fal_status st = FAL_CU_LAUNCH(ctx, "attention", "split", NULL, n_groups, split, err);
    if (st != FAL_OK || n_blocks == 1) return st;
    const fal_cu_arg join[] = { FAL_CU_INT(head_dim), FAL_CU_INT(n_blocks), FAL_CU_BUFFER(parts), FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "attention", "join", NULL, (size_t)n_head, join, err);
}

fal_status fal_cu_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    fal_status st = fal_attention_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t q_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    const size_t cache_bytes = fal_cu_bytes(sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim);
    const size_t parts_bytes = fal_cu_attention_parts_bytes(a->n_ctx, a->n_head, a->head_dim);
    fal_cu_buffer *q = NULL, *k_cache = NULL, *v_cache = NULL, *parts = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "q", a->q, q_bytes, &q, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "k_cache", a->k_cache, cache_bytes, &k_cache, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "v_cache", a->v_cache, cache_bytes, &v_cache, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "parts", parts_bytes, &parts, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", q_bytes, &y, err);
    if (st == FAL_OK)
        st = fal_cu_attention_run(ctx, a->n_tokens, a->n_head, a->n_head_kv, a->head_dim, a->first_pos, q, k_cache,
                                  v_cache, parts, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, q_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, parts);
    fal_cu_free(ctx, v_cache);
    fal_cu_free(ctx, k_cache);
    fal_cu_free(ctx, q);
    return st;
}
