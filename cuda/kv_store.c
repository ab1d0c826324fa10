/* kv_store on a CUDA device. */
#include "cuda/ops.h"

#include "harness/args.h"

fal_status fal_cu_kv_store_run(fal_context *ctx, int n_tokens, int n_head_kv, int head_dim, int first_pos,
                               const fal_cu_buffer *k, const fal_cu_buffer *v, fal_cu_buffer *k_cache,
                               fal_cu_buffer *v_cache, fal_error *err)
{
    const int width = n_head_kv * head_dim;
    const fal_cu_arg args[] = { FAL_CU_INT(n_tokens), FAL_CU_INT(width), FAL_CU_INT(first_pos), FAL_CU_BUFFER(k),
                                FAL_CU_BUFFER(v), FAL_CU_BUFFER(k_cache), FAL_CU_BUFFER(v_cache) };
    const size_t n_items = (size_t)n_tokens * (size_t)width;
    return FAL_CU_LAUNCH(ctx, "kv_store", NULL, NULL, fal_cu_groups(ctx, n_items), args, err);
}

fal_status fal_cu_kv_store(fal_context *ctx, const fal_kv_store_args *a, fal_error *err)
{
    fal_status st = fal_kv_store_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t new_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head_kv, a->head_dim);
    const size_t cache_bytes = fal_cu_bytes(sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim);
    fal_cu_buffer *k = NULL, *v = NULL, *k_cache = NULL, *v_cache = NULL;
    st = fal_cu_upload(ctx, "k", a->k, new_bytes, &k, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "v", a->v, new_bytes, &v, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "k_cache", a->k_cache, cache_bytes, &k_cache, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "v_cache", a->v_cache, cache_bytes, &v_cache, err);
    if (st == FAL_OK)
        st =
            fal_cu_kv_store_run(ctx, a->n_tokens, a->n_head_kv, a->head_dim, a->first_pos, k, v, k_cache, v_cache, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, k_cache, 0, a->k_cache, cache_bytes, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, v_cache, 0, a->v_cache, cache_bytes, err);
    fal_cu_free(ctx, v_cache);
    fal_cu_free(ctx, k_cache);
    fal_cu_free(ctx, v);
    fal_cu_free(ctx, k);
    return st;
}
