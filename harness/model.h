/* A Qwen3-MoE model: configuration and weights of a GGUF file, or a refusal that names the contract. */
#ifndef FAL_MODEL_H
#define FAL_MODEL_H

#include "harness/gguf.h"

/* Shape of the model; immutable. Names and meaning as in GGUF metadata. */
typedef struct {
    int n_layer, n_embd, n_head, n_head_kv, head_dim;
    int n_expert, n_expert_used, n_ff; /* n_ff: width of one expert */
    int n_vocab, n_ctx_train;
    float rope_freq_base, rms_eps;
} fal_config;

typedef struct {
    const fal_tensor *attn_norm, *attn_q, *attn_k, *attn_v, *attn_output, *attn_q_norm, *attn_k_norm;
    const fal_tensor *ffn_norm, *ffn_gate_inp, *ffn_gate_exps, *ffn_up_exps, *ffn_down_exps;
} fal_layer;

typedef struct {
    const char *path;
    fal_gguf *file;
    fal_config config;
    const fal_tensor *token_embd, *output_norm, *output; /* output is token_embd when the file has no output.weight */
    fal_layer *layers;                                   /* [n_layer] */
    const fal_tensor **tensors;                          /* [n_tensors] every tensor that the model uses, once each */
    int n_tensors;
    uint64_t tensor_bytes;                               /* sum of nbytes over tensors */
    char sha256[65];                                     /* of the file; empty until fal_model_digest */
} fal_model;

/* what    Opens a GGUF and binds configuration and every tensor of the architecture.
   refuses a file that is no sound GGUF, an architecture other than qwen3moe, a dense FFN name
           (blk.N.ffn_{gate,up,down}.weight), a missing, misshapen or unknown tensor, a type that no implementation
           computes, values out of range, keys that ask for another computation: FAL_ERR_INPUT, err->contract =
           "FALSIFY-QW3-MOE-FORWARD-002"; it stays empty when there is no such file
   owns    *out belongs to the caller: fal_model_close */
fal_status fal_model_open(const char *path, fal_model **out, fal_error *err);
/* what    The same on an opened container, which the model takes over (also on failure). */
fal_status fal_model_bind(fal_gguf *file, fal_model **out, fal_error *err);
void fal_model_close(fal_model *m);
/* what    Fills m->sha256 (lower-case hex over the whole mapped file). */
fal_status fal_model_digest(fal_model *m, fal_error *err);

/* what    The preconditions of a forward call that every backend refuses with the same message: no tokens, a token id
           outside [0, n_vocab), n_past + n_tokens > n_ctx. FAL_ERR_INPUT, err->contract = "qwen3-moe-forward-v1". */
fal_status fal_request_check(const fal_config *c, const int32_t *tokens, int n_tokens, int n_past, int n_ctx,
                             fal_error *err);

/* what    cos and sin of RoPE, computed in float64 and rounded once: tables [n_ctx, head_dim/2] f32, angle(p,i) =
           p * freq_base^(-2i/head_dim). The same bytes for every backend.
   owns    *cos_out and *sin_out belong to the caller (free) */
fal_status fal_rope_table(int n_ctx, int head_dim, float freq_base, float **cos_out, float **sin_out, fal_error *err);

#endif
