/* A session of this backend as forward.c and decode.c share it. */
#ifndef FAL_CUDA_SESSION_H
#define FAL_CUDA_SESSION_H

#include "cuda/device.h"

/* The device copies of a layer's tensors, named as in fal_layer. */
#define FAL_CU_LAYER_TENSORS(X)                                                                                        \
    X(attn_norm)                                                                                                       \
    X(attn_q) X(attn_k) X(attn_v) X(attn_output) X(attn_q_norm) X(attn_k_norm) X(ffn_norm) X(ffn_gate_inp)             \
        X(ffn_gate_exps) X(ffn_up_exps) X(ffn_down_exps)
typedef struct {
#define X(tensor) const fal_cu_buffer *tensor;
    FAL_CU_LAYER_TENSORS(X)
#undef X
} fal_cu_layer;

struct fal_session {
    fal_context *ctx;
    const fal_model *model;
    int n_ctx, n_past;
    int chunk, head_rows;    /* most rows of a layer's buffers, and of the last norm and the logits */
    fal_cu_buffer **weights; /* [n_tensors], as model->tensors */
    int *uploads;            /* [n_tensors] */
    fal_cu_layer *layers;    /* [n_layer], into weights */
    const fal_cu_buffer *token_embd, *output_norm, *output; /* into weights */
    fal_cu_buffer **k_cache, **v_cache;                     /* [n_layer] of [n_ctx, n_head_kv, head_dim] */
    fal_cu_buffer *cos_table, *sin_table;                   /* [n_ctx, head_dim/2] */
    fal_cu_buffer *site[FAL_N_SITES]; /* the result at each site: [chunk or head_rows, sub, width] */
    fal_cu_buffer *tokens;            /* [chunk] */
    fal_cu_buffer *pinned;            /* [chunk, n_expert_used] */
    fal_cu_buffer *parts;             /* scratch of attention */
    fal_cu_buffer *lists;             /* scratch of moe_matmul */
    fal_cu_buffer *head_in;           /* [head_rows, n_embd] rows whose logits are wanted */
    fal_cu_buffer *next;              /* [head_rows] argmax */
    void *host;                       /* a site's rows on their way to a tap, or NULL before the first */
    size_t host_bytes;
    struct fal_cu_decode *decode; /* the fused path of the variants fast and fast_kv16, else NULL */
};

#endif
