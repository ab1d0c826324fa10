/* The operations of this backend: on device buffers for the forward pass, and on host arrays for the backend table. */
#ifndef FAL_CUDA_OPS_H
#define FAL_CUDA_OPS_H

#include "cuda/device.h"

/* what    fal_cu_<op>: the function of the backend table. Uploads the inputs to fresh buffers, runs, reads back. */
#define FAL_OP(op) fal_status fal_cu_##op(fal_context *ctx, const fal_##op##_args *a, fal_error *err);
#include "harness/ops.def"

/* what    fal_cu_<op>_run: queues the same on device buffers, row-major as in harness/backend.h. Dimensions are >= 1
           and match the buffers (fal_cu_<op> and forward.c see to it). Returns before the device is done. */
fal_status fal_cu_embed_run(fal_context *ctx, int n_tokens, int n_embd, uint32_t type, const fal_cu_buffer *w,
                            const fal_cu_buffer *tokens, fal_cu_buffer *y, fal_error *err);
fal_status fal_cu_rmsnorm_run(fal_context *ctx, int n_tokens, int n_embd, float eps, const fal_cu_buffer *x,
                              const fal_cu_buffer *w, fal_cu_buffer *y, fal_error *err);
/* One of several matrix products of the same x and type: y [n_tokens, n_out] by w. A launch takes n of 1 to 3, one after the
   other in the list but at once; a product has the same bits alone and in company. */
typedef struct {
    int n_out;
    const fal_cu_buffer *w;
    fal_cu_buffer *y;
} fal_cu_product;
fal_status fal_cu_matmul_run(fal_context *ctx, int n_tokens, int n_in, uint32_t type, const fal_cu_buffer *x,
                             const fal_cu_product *p, int n, fal_error *err);
/* One of two arrays of heads; w: the weight of qk_norm. A launch takes n of 1 or 2. */
typedef struct {
    int n_head;
    const fal_cu_buffer *x, *w;
    fal_cu_buffer *y;
} fal_cu_heads;
fal_status fal_cu_qk_norm_run(fal_context *ctx, int n_tokens, int head_dim, float eps, const fal_cu_heads *h, int n,
                              fal_error *err);
fal_status fal_cu_rope_run(fal_context *ctx, int n_tokens, int head_dim, int first_pos, const fal_cu_buffer *cos_table,
                           const fal_cu_buffer *sin_table, const fal_cu_heads *h, int n, fal_error *err);
fal_status fal_cu_kv_store_run(fal_context *ctx, int n_tokens, int n_head_kv, int head_dim, int first_pos,
                               const fal_cu_buffer *k, const fal_cu_buffer *v, fal_cu_buffer *k_cache,
                               fal_cu_buffer *v_cache, fal_error *err);
/* parts: scratch of at least fal_cu_attention_parts_bytes, whose content nobody else needs. */
fal_status fal_cu_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                const fal_cu_buffer *q, const fal_cu_buffer *k_cache, const fal_cu_buffer *v_cache,
                                fal_cu_buffer *parts, fal_cu_buffer *y, fal_error *err);
size_t fal_cu_attention_parts_bytes(int n_ctx, int n_head, int head_dim);
fal_status fal_cu_add_run(fal_context *ctx, int n_tokens, int n_embd, const fal_cu_buffer *a, const fal_cu_buffer *b,
                          fal_cu_buffer *y, fal_error *err);
fal_status fal_cu_softmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cu_buffer *x, fal_cu_buffer *y,
                              fal_error *err);
/* pinned may be NULL: the choice is then the kernel's own. */
fal_status fal_cu_router_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used,
                             const fal_cu_buffer *probs, const fal_cu_buffer *pinned, fal_cu_buffer *ids,
                             fal_cu_buffer *weights, fal_error *err);
/* n of 1 or 2 products of the same n_out. lists: scratch of at least fal_cu_moe_lists_bytes, whose content nobody else needs. */
fal_status fal_cu_moe_matmul_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_in, bool x_per_slot,
                                 uint32_t type, const fal_cu_buffer *x, const fal_cu_buffer *ids, fal_cu_buffer *lists,
                                 const fal_cu_product *p, int n, fal_error *err);
size_t fal_cu_moe_lists_bytes(int n_tokens, int n_expert, int n_expert_used);
fal_status fal_cu_swiglu_run(fal_context *ctx, int n_rows, int n_ff, const fal_cu_buffer *gate, const fal_cu_buffer *up,
                             fal_cu_buffer *y, fal_error *err);
/* lists: as of moe_matmul; gate, up: scratch of the size of y */
fal_status fal_cu_moe_swiglu_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_embd, int n_ff,
                                 uint32_t type, const fal_cu_buffer *w_gate, const fal_cu_buffer *w_up, const fal_cu_buffer *x,
                                 const fal_cu_buffer *ids, fal_cu_buffer *lists, fal_cu_buffer *gate, fal_cu_buffer *up,
                                 fal_cu_buffer *y, fal_error *err);
fal_status fal_cu_moe_sum_run(fal_context *ctx, int n_tokens, int n_expert_used, int n_embd, const fal_cu_buffer *x,
                              const fal_cu_buffer *weights, fal_cu_buffer *y, fal_error *err);
fal_status fal_cu_argmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cu_buffer *x, fal_cu_buffer *ids,
                             fal_error *err);

/* what    The end of the kernel names of a weight type ("q4_k").
   refuses a type without kernels, by name: FAL_ERR_INPUT */
fal_status fal_cu_type_name(const char *op, uint32_t type, const char **out, fal_error *err);

#endif
