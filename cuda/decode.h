/* The fused decode path of the variants fast and fast_kv16: one token as one graph of few kernels, fed back on the
   device. */
#ifndef FAL_CUDA_DECODE_H
#define FAL_CUDA_DECODE_H

#include "cuda/device.h"

typedef struct fal_cu_decode fal_cu_decode;

/* what    Refuses a model whose shape the fused kernels do not cover, naming the dimension and its limit:
   FAL_ERR_INPUT. */
fal_status fal_cu_decode_check(const fal_context *ctx, const fal_model *model, fal_error *err);
/* what    Scratch and graph of a session whose weights, cache and tables are on the device.
   owns    *out belongs to the session: fal_cu_decode_close */
fal_status fal_cu_decode_open(fal_session *s, fal_cu_decode **out, fal_error *err);
void fal_cu_decode_close(fal_context *ctx, fal_cu_decode *d);
fal_status fal_cu_decode_reset(fal_session *s, fal_error *err); /* poisons scratch */
size_t fal_cu_decode_bytes(const fal_cu_decode *d);             /* device bytes of its scratch; 0 for NULL */
/* what    start: the next token to run is this one, at position n_past. tokens: queues n tokens, each the argmax of
   the one
           before it; sites logits and final_norm then hold the rows of the last. last, read: waits, and gives the
           argmax of
           the last token, or all n since start. n_past is the caller's. */
fal_status fal_cu_decode_start(fal_session *s, int32_t token, fal_error *err);
fal_status fal_cu_decode_tokens(fal_session *s, int n, fal_error *err);
/* what    Queues one token with taps: as its graph, or kernel by kernel where they look between kernels, force or pin. Taps
           of final_norm and logits are the caller's. */
fal_status fal_cu_decode_one(fal_session *s, const fal_taps *taps, fal_error *err);
fal_status fal_cu_decode_last(fal_session *s, int32_t *next, fal_error *err);
fal_status fal_cu_decode_read(fal_session *s, int n, int32_t *out, fal_error *err);

/* what    The attention kernel of a token, alone: norm and rotation of q and k, the new entry at pos, attention. Waits. */
typedef struct {
    int pos, n_head, n_head_kv, head_dim;
    float eps;
    const fal_cu_buffer *q, *k, *v, *q_norm, *k_norm, *cos, *sin; /* cos, sin: [pos + 1 or more, head_dim/2] */
    fal_cu_buffer *k_cache, *v_cache, *y;
} fal_cu_attention_operands;
fal_status fal_cu_decode_attention_run(fal_context *ctx, const fal_cu_attention_operands *o, fal_error *err);

/* what    The kernel of gate, up and SiLU of a token, alone: n_used rows act[s,:], each 1/n_used times silu(gate) up of the
           expert that has the s-th largest of n_expert router logits (equal ones: the lower id first). Waits. */
typedef struct {
    int n_expert, n_used, n_embd, n_ff;
    uint32_t type; /* of gate and up */
    const fal_cu_buffer *w_gate, *w_up, *x, *logits;
    fal_cu_buffer *act;
} fal_cu_act_operands;
fal_status fal_cu_decode_act_run(fal_context *ctx, const fal_cu_act_operands *o, fal_error *err);

/* what    The two ops of a prompt that touch the cache, for a cache of f16; otherwise as in cuda/ops.h. */
fal_status fal_cu_decode_kv16_store_run(fal_context *ctx, int n_tokens, int n_head_kv, int head_dim, int first_pos,
                                        const fal_cu_buffer *k, const fal_cu_buffer *v, fal_cu_buffer *k_cache,
                                        fal_cu_buffer *v_cache, fal_error *err);
fal_status fal_cu_decode_kv16_attention_run(fal_context *ctx, int n_tokens, int n_head, int n_head_kv, int head_dim,
                                            int first_pos, const fal_cu_buffer *q, const fal_cu_buffer *k_cache,
                                            const fal_cu_buffer *v_cache, fal_cu_buffer *y, fal_error *err);

#endif
