/* Sessions of this backend: a model resident on an opened device, and the forward pass over it. */
#ifndef FAL_CUDA_FORWARD_H
#define FAL_CUDA_FORWARD_H

#include "cuda/device.h"

/* what    The session functions of the backend table, see harness/backend.h. */
fal_status fal_cu_session_open(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out, fal_error *err);
void fal_cu_session_close(fal_session *s);
fal_status fal_cu_reset(fal_session *s, fal_error *err);
fal_status fal_cu_forward(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps, int32_t *next,
                          fal_error *err);
fal_status fal_cu_generate(fal_session *s, int32_t first_token, int n, int32_t *out, fal_error *err);
fal_status fal_cu_read_tensor(fal_session *s, int i, void *out, int *uploads, fal_error *err);
void fal_cu_session_memory(const fal_session *s, fal_memory *out);

#endif
