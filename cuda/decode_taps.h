/* Taps of the fused path, as decode.c and forward.c use them. */
#ifndef FAL_CUDA_DECODE_TAPS_H
#define FAL_CUDA_DECODE_TAPS_H

#include "cuda/device.h"

/* what    The has_site() of the backend table: with one token, the fused variants come to embed, q, k, v, attn, ffn_inp,
           ffn_norm, router_logits, expert_ids, l_out, final_norm and logits alone. */
bool fal_cu_has_site(const fal_session *s, fal_site site, int n_tokens);
/* what    Refuses taps that want a site which a call of n_tokens tokens does not come to: FAL_ERR_INPUT. */
fal_status fal_cu_decode_check_taps(const fal_session *s, const fal_taps *taps, int n_tokens, fal_error *err);
/* what    Whether these taps need the kernels one at a time: a graph cannot be looked into, nor changed. */
bool fal_cu_decode_is_watched(const fal_session *s, const fal_taps *taps);
/* what    Shows the token's row at a site, which stands in `at`, and puts in what teacher forcing has for it. */
fal_status fal_cu_decode_tap(fal_session *s, const fal_taps *taps, fal_site site, int layer, fal_cu_buffer *at, fal_error *err);
/* what    Pinned routing: all router logits but those of the pinned experts become -infinity, so that the kernels choose
           these, and weigh them as they would. Call when the logits of the layer stand there. */
fal_status fal_cu_decode_pin(fal_session *s, const fal_taps *taps, int layer, fal_cu_buffer *logits, fal_error *err);

#endif
