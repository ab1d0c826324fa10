/* attention on an OpenCL device: causal, grouped heads, f32 cache. */
#include "opencl/ops.h"

#include "harness/args.h"

/* Blocks of FAL_CL_GROUP positions. */
static int n_blocks_of(int n_pos)
{
    return (n_pos - 1) / FAL_CL_GROUP + 1;
}

size_t fal_cl_attention_parts_bytes(int n_ctx, int n_head, int head_dim)
{
    return fal_cl_bytes(sizeof(float) * ((size_t)head_dim + 2), n_head, n_blocks_of(n_ctx), 1);
}

fal_status fal_cl_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                const fal_cl_buffer *q, const fal_cl_buffer *k_cache, const fal_cl_buffer *v_cache,
                                fal_cl_buffer *parts, fal_cl_buffer *y, fal_error *err)
{
    const int n_blocks = n_blocks_of(first_pos + n_tokens);
    const fal_cl_arg args[] = { FAL_CL_INT(n_tokens), FAL_CL_INT(n_head), FAL_CL_INT(n_head_kv), FAL_CL_INT(head_dim),
                                FAL_CL_INT(first_pos), FAL_CL_BUFFER(q), FAL_CL_BUFFER(k_cache), FAL_CL_BUFFER(v_cache),
                                FAL_CL_BUFFER(y) };
    const size_t n_tiles = ((size_t)n_tokens - 1) / FAL_CL_TOKENS + 1;
    /* asymmetry: the variant for CPUs has no twin. */
    if (fal_cl_is_cpu(ctx))
        return FAL_CL_LAUNCH(ctx, "attention", NULL, NULL, (size_t)n_tokens * (size_t)n_head, args, err);
    /* asymmetry: end */
    if (n_tokens > 1) return FAL_CL_LAUNCH(ctx, "attention", NULL, NULL, n_tiles * (size_t)n_head, args, err);
    const fal_cl_arg split[] = { FAL_CL_INT(n_head), FAL_CL_INT(n_head_kv), FAL_CL_INT(head_dim),
                                 FAL_CL_INT(first_pos), FAL_CL_INT(n_blocks), FAL_CL_BUFFER(q), FAL_CL_BUFFER(k_cache),
                                 FAL_CL_BUFFER(v_cache), FAL_CL_BUFFER(parts), FAL_CL_BUFFER(y) };
    const size_t n_groups = (size_t)n_head * (size_t)n_blocks;
    const fal_status st = FAL_CL_LAUNCH(ctx, "attention", "split", NULL, n_groups, split, err);
    if (st != FAL_OK || n_blocks == 1) return st;
    const fal_cl_arg join[] = { FAL_CL_INT(head_dim), FAL_CL_INT(n_blocks), FAL_CL_BUFFER(parts), FAL_CL_BUFFER(y) };
    return FAL_CL_LAUNCH(ctx, "attention", "join", NULL, (size_t)n_head, join, err);
}

fal_status fal_cl_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    fal_status st = fal_attention_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t q_bytes = fal_cl_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    const size_t cache_bytes = fal_cl_bytes(sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim);
    const size_t parts_bytes = fal_cl_attention_parts_bytes(a->n_ctx, a->n_head, a->head_dim);
    fal_cl_buffer *q = NULL, *k_cache = NULL, *v_cache = NULL, *parts = NULL, *y = NULL;
    st = fal_cl_upload(ctx, "q", a->q, q_bytes, &q, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "k_cache", a->k_cache, cache_bytes, &k_cache, err);
    if (st == FAL_OK) st = fal_cl_upload(ctx, "v_cache", a->v_cache, cache_bytes, &v_cache, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "parts", parts_bytes, &parts, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "y", q_bytes, &y, err);
    if (st == FAL_OK)
        st = fal_cl_attention_run(ctx, a->n_tokens, a->n_head, a->n_head_kv, a->head_dim, a->first_pos, q, k_cache,
                                  v_cache, parts, y, err);
    if (st == FAL_OK) st = fal_cl_read(ctx, y, 0, a->y, q_bytes, err);
    fal_cl_free(ctx, y);
    fal_cl_free(ctx, parts);
    fal_cl_free(ctx, v_cache);
    fal_cl_free(ctx, k_cache);
    fal_cl_free(ctx, q);
    return st;
}
