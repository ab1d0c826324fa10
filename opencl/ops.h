/* The operations of this backend: on device buffers for the forward pass, and on host arrays for the backend table. */
#ifndef FAL_OPENCL_OPS_H
#define FAL_OPENCL_OPS_H

#include "opencl/device.h"

/* what    fal_cl_<op>: the function of the backend table. Uploads the inputs to fresh buffers, runs, reads back. */
#define FAL_OP(op) fal_status fal_cl_##op(fal_context *ctx, const fal_##op##_args *a, fal_error *err);
#include "harness/ops.def"

/* what    fal_cl_<op>_run: queues the same on device buffers, row-major as in harness/backend.h. Dimensions are >= 1
           and match the buffers (fal_cl_<op> and forward.c see to it). Returns before the device is done. */
fal_status fal_cl_embed_run(fal_context *ctx, int n_tokens, int n_embd, uint32_t type, const fal_cl_buffer *w,
                            const fal_cl_buffer *tokens, fal_cl_buffer *y, fal_error *err);
fal_status fal_cl_rmsnorm_run(fal_context *ctx, int n_tokens, int n_embd, float eps, const fal_cl_buffer *x,
                              const fal_cl_buffer *w, fal_cl_buffer *y, fal_error *err);
/* One of several matrix products of the same x and type: y [n_tokens, n_out] by w. A launch takes n of 1 to 3, one after the
   other in the list but at once; a product has the same bits alone and in company. */
typedef struct {
    int n_out;
    const fal_cl_buffer *w;
    fal_cl_buffer *y;
} fal_cl_product;
fal_status fal_cl_matmul_run(fal_context *ctx, int n_tokens, int n_in, uint32_t type, const fal_cl_buffer *x,
                             const fal_cl_product *p, int n, fal_error *err);
/* One of two arrays of heads; w: the weight of qk_norm. A launch takes n of 1 or 2. */
typedef struct {
    int n_head;
    const fal_cl_buffer *x, *w;
    fal_cl_buffer *y;
} fal_cl_heads;
fal_status fal_cl_qk_norm_run(fal_context *ctx, int n_tokens, int head_dim, float eps, const fal_cl_heads *h, int n,
                              fal_error *err);
fal_status fal_cl_rope_run(fal_context *ctx, int n_tokens, int head_dim, int first_pos, const fal_cl_buffer *cos_table,
                           const fal_cl_buffer *sin_table, const fal_cl_heads *h, int n, fal_error *err);
fal_status fal_cl_kv_store_run(fal_context *ctx, int n_tokens, int n_head_kv, int head_dim, int first_pos,
                               const fal_cl_buffer *k, const fal_cl_buffer *v, fal_cl_buffer *k_cache,
                               fal_cl_buffer *v_cache, fal_error *err);
/* parts: scratch of at least fal_cl_attention_parts_bytes, whose content nobody else needs. */
fal_status fal_cl_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim, int first_pos,
                                const fal_cl_buffer *q, const fal_cl_buffer *k_cache, const fal_cl_buffer *v_cache,
                                fal_cl_buffer *parts, fal_cl_buffer *y, fal_error *err);
size_t fal_cl_attention_parts_bytes(int n_ctx, int n_head, int head_dim);
fal_status fal_cl_add_run(fal_context *ctx, int n_tokens, int n_embd, const fal_cl_buffer *a, const fal_cl_buffer *b,
                          fal_cl_buffer *y, fal_error *err);
fal_status fal_cl_softmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cl_buffer *x, fal_cl_buffer *y,
                              fal_error *err);
/* pinned may be NULL: the choice is then the kernel's own. */
fal_status fal_cl_router_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used,
                             const fal_cl_buffer *probs, const fal_cl_buffer *pinned, fal_cl_buffer *ids,
                             fal_cl_buffer *weights, fal_error *err);
/* n of 1 or 2 products of the same n_out. lists: scratch of at least fal_cl_moe_lists_bytes, whose content nobody else needs. */
fal_status fal_cl_moe_matmul_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_in, bool x_per_slot,
                                 uint32_t type, const fal_cl_buffer *x, const fal_cl_buffer *ids, fal_cl_buffer *lists,
                                 const fal_cl_product *p, int n, fal_error *err);
size_t fal_cl_moe_lists_bytes(int n_tokens, int n_expert, int n_expert_used);
fal_status fal_cl_swiglu_run(fal_context *ctx, int n_rows, int n_ff, const fal_cl_buffer *gate, const fal_cl_buffer *up,
                             fal_cl_buffer *y, fal_error *err);
/* lists: as of moe_matmul; gate, up: scratch of the size of y */
fal_status fal_cl_moe_swiglu_run(fal_context *ctx, int n_tokens, int n_expert, int n_expert_used, int n_embd, int n_ff,
                                 uint32_t type, const fal_cl_buffer *w_gate, const fal_cl_buffer *w_up, const fal_cl_buffer *x,
                                 const fal_cl_buffer *ids, fal_cl_buffer *lists, fal_cl_buffer *gate, fal_cl_buffer *up,
                                 fal_cl_buffer *y, fal_error *err);
fal_status fal_cl_moe_sum_run(fal_context *ctx, int n_tokens, int n_expert_used, int n_embd, const fal_cl_buffer *x,
                              const fal_cl_buffer *weights, fal_cl_buffer *y, fal_error *err);
fal_status fal_cl_argmax_run(fal_context *ctx, int n_rows, int n_cols, const fal_cl_buffer *x, fal_cl_buffer *ids,
                             fal_error *err);

/* what    The end of the kernel names of a weight type ("q4_k").
   refuses a type without kernels, by name: FAL_ERR_INPUT */
fal_status fal_cl_type_name(const char *op, uint32_t type, const char **out, fal_error *err);

#endif
