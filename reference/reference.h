/* The reference: the scalar implementation that defines the answer of every op, and what its ops share. */
#ifndef FAL_REFERENCE_H
#define FAL_REFERENCE_H

#include "harness/arithmetic.h"
#include "harness/backend.h"

/* ---- the ops ------------------------------------------------------------------------------------------------------
   Arithmetic, the same for all: weights are exactly the f32 values that their file format defines, products and sums
   are float64 in a fixed order, every result is rounded to f32 once. No result depends on the number of threads, on
   the number of tokens of a call or on the compiler's vector width. Compile without -ffast-math and with
   -ffp-contract=off. */

/* what    One op of harness/ops.def on host memory; formulas and shapes in harness/backend.h.
           ctx counts the call and the scratch memory; NULL counts nothing.
   refuses what fal_<op>_args_check refuses; FAL_ERR_MEMORY when scratch memory ran out. Outputs are then untouched. */
#define FAL_OP(op) fal_status fal_reference_##op(fal_context *ctx, const fal_##op##_args *a, fal_error *err);
#include "harness/ops.def"

/* ---- the session (forward.c) ------------------------------------------------------------------------------------- */

/* what    As in fal_backend. Weights stay in the mapped file; the session holds KV cache and scratch memory only. */
fal_status fal_reference_session_open(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out,
                                      fal_error *err);
void fal_reference_session_close(fal_session *s);
fal_status fal_reference_reset(fal_session *s, fal_error *err);
/* what    As in fal_backend. A request is computed in chunks of at most 256 tokens, all layers of a chunk before the
           next; taps see the rows of one chunk at a time (and of the logits fewer when the vocabulary is large). When
           nothing wants final_norm or logits, both are computed, and may be forced, for the last position alone, and
           only when next is not NULL.
   refuses what fal_request_check refuses. After a failure the positions are those from before the call. */
fal_status fal_reference_forward(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps,
                                 int32_t *next, fal_error *err);
fal_status fal_reference_read_tensor(fal_session *s, int i, void *out, int *uploads, fal_error *err);
void fal_reference_session_memory(const fal_session *s, fal_memory *out);

/* ---- shared by the ops of this folder ---------------------------------------------------------------------------- */

enum {
#define FAL_OP(op) FAL_REFERENCE_OP_##op,
#include "harness/ops.def"
    FAL_REFERENCE_N_OPS
};

/* Variants: "" defines the answer. "kv16" is the mirror of backends that declare a KV cache of f16: the same arithmetic,
   but keys and values are rounded once, to the nearest binary16, when they are stored. "q8_0" and "q8_k" are the mirrors of those that quantise activations. */
struct fal_context {
    fal_device_info device;
    bool has_half_cache;       /* variant kv16 */
    fal_activation activation; /* f32: the reference; else the mirror (mirror.h) has the matrix products */
    uint64_t n_calls[FAL_REFERENCE_N_OPS];
    uint64_t kv_bytes, live_bytes, peak_bytes;
};

/* what    Memory that ctx (may be NULL) counts as live until it is released with the same size; NULL when out of it. */
void *fal_reference_alloc(fal_context *ctx, size_t bytes);
void fal_reference_release(fal_context *ctx, void *p, size_t bytes);
/* what    Counts one completed call of an op. */
void fal_reference_ran(fal_context *ctx, int op);

/* what    Most threads that a parallel region will have, and the number of the calling one in it. */
int fal_reference_n_threads(void);
int fal_reference_thread(void);

/* what    sum_i a[i] b[i] in float64. Element i goes to partial sum i mod 8, and the partial sums are added in the
           order ((0+4)+(2+6))+((1+5)+(3+7)). Eight independent sums let a compiler use vector registers of up to eight
           elements without changing a bit. */
double fal_reference_dot(const double *a, const double *b, size_t n);
/* what    out[i] = in[i], exactly. */
void fal_reference_widen(const float *in, size_t n, double *out);

/* what    Decodes n_blocks blocks of one weight type to f32 (dequant.c).
   source  ggml's block formats as published with the GGUF specification; the f32 values are those of gguf-py */
typedef void (*fal_dequant_fn)(const unsigned char *blocks, size_t n_blocks, float *out);
/* what    The decoder of a type, or NULL when that type is not computed. */
fal_dequant_fn fal_dequant_find(uint32_t type);

#endif
