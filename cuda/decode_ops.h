/* Ops that the fused variants have of their own. */
#ifndef FAL_CUDA_DECODE_OPS_H
#define FAL_CUDA_DECODE_OPS_H

#include "cuda/device.h"

/* what    attention by the kernel that decodes (one token), or by that of prompts with a cache of f16 (several). A cache of f16
           is rounded on the way in.
   refuses several tokens in variant fast, a head_dim that the kernel does not take: FAL_ERR_INPUT */
fal_status fal_cu_decode_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err);

/* what    moe_swiglu of one token by the kernel that decodes. That one chooses experts by router logits and multiplies by
           weights: logits are made that choose ids with equal weights, and rows are put back and multiplied by their number,
           which rounds nothing. Ids that repeat, or whose number is no power of two, go one by one.
   refuses several tokens, a row that does not fit into shared memory: FAL_ERR_INPUT */
fal_status fal_cu_decode_moe_swiglu(fal_context *ctx, const fal_moe_swiglu_args *a, fal_error *err);

#endif
