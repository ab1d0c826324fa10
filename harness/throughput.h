/* Greedy decode of one stream, timed: the same work for the observer and for falsify bench, and what it must read. */
#ifndef FAL_THROUGHPUT_H
#define FAL_THROUGHPUT_H

#include "harness/backend.h"

/* A prompt that is prefilled, and the tokens that are then decoded one by one. The session must have room for
   context + n_tokens positions. */
typedef struct {
    const fal_backend *backend;
    fal_session *session;
    int n_vocab, context, n_tokens;
    const int32_t *prompt; /* [context] */
} fal_decoding;

/* what    A prompt of `context` seeded token ids in [0, n_vocab): the same on every machine.
   owns    the result belongs to the caller (free); NULL when memory ran out */
int32_t *fal_decoding_prompt(int n_vocab, int context);
/* what    Decodes step by step, one forward pass for each token: out[i] is the token after i + 1 decoded ones. */
fal_status fal_decoding_steps(const fal_decoding *d, int32_t *out, fal_error *err);
/* what    The same tokens by the backend's own way to generate (when it has one), with the seconds of the prefill and
           of the n_tokens decoded tokens. The session starts from the same state each time: reset, then prefill. */
fal_status fal_decoding_run(const fal_decoding *d, int32_t *out, double *prefill_s, double *decode_s, fal_error *err);
bool fal_decoding_generates(const fal_decoding *d); /* whether that way is not a loop over forward */

/* what    Bytes that decoding one token must read: all tensors but the embedding and the experts, of the experts the
           share that is used, one row of the embedding, and the KV cache up to the position in the middle of the
           decoded tokens. kv_bytes: of the whole cache, which has n_ctx positions. */
double fal_decoding_bytes(const fal_model *m, uint64_t kv_bytes, int n_ctx, int context, int n_tokens);
/* what    Bytes to measure read bandwidth over: 1 GiB, less on a device with little memory or on a CPU. */
size_t fal_bandwidth_bytes(const fal_device_info *device);
/* what    Median of n >= 1 values (the mean of the middle two when n is even); NaN when one is NaN. Sorts v. */
double fal_median(double *v, int n);

#endif
