/* attention on a CUDA device: causal, grouped heads, f32 cache. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                const fal_cu_buffer *q, const fal_cu_buffer *k_cache, const fal_cu_buffer *v_cache,
                                fal_cu_buffer *y, fal_error *err)
{
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(n_head), FAL_CU_INT(n_head_kv), FAL_CU_INT(head_dim),
                                FAL_CU_INT(first_pos), FAL_CU_BUFFER(q), FAL_CU_BUFFER(k_cache), FAL_CU_BUFFER(v_cache),
                                FAL_CU_BUFFER(y) };
    return FAL_CU_LAUNCH(ctx, "attention", NULL, NULL, (size_t)n_tokens * (size_t)n_head, args, err);
}

fal_status fal_cu_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    fal_status st = fal_attention_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t q_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    const size_t cache_bytes = fal_cu_bytes(sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim);
    fal_cu_buffer *q = NULL, *k_cache = NULL, *v_cache = NULL, *y = NULL;
    st = fal_cu_upload(ctx, "q", a->q, q_bytes, &q, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "k_cache", a->k_cache, cache_bytes, &k_cache, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "v_cache", a->v_cache, cache_bytes, &v_cache, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", q_bytes, &y, err);
    if (st == FAL_OK)
        st = fal_cu_attention_run(ctx, a->n_tokens, a->n_head, a->n_head_kv, a->head_dim, a->first_pos, q, k_cache,
                                  v_cache, y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, y, 0, a->y, q_bytes, err);
    fal_cu_free(ctx, y);
    fal_cu_free(ctx, v_cache);
    fal_cu_free(ctx, k_cache);
    fal_cu_free(ctx, q);
    return st;
}
