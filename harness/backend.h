/* What a backend is: devices, one function type per operation on host buffers, and a session that runs whole forward passes. */
#ifndef FAL_BACKEND_H
#define FAL_BACKEND_H

#include "harness/arithmetic.h"
#include "harness/call.h"
#include "harness/error.h"
#include "harness/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- operations -------------------------------------------------------------------------------------------------
   All arrays are host memory, row-major, the last dimension fastest; f32 unless said otherwise. Inputs are const and
   outputs do not alias inputs. Every function refuses a dimension <= 0 and NULL with FAL_ERR_INPUT and then leaves
   outputs untouched. w is quantised data in file format: n_out rows of fal_type_row_bytes(type, n_in) bytes. */

/* y[t,:] = row tokens[t] of w. w: [n_vocab, n_embd] of type; tokens: [n_tokens] in [0, n_vocab); y: [n_tokens, n_embd] */
typedef struct { int n_tokens, n_embd, n_vocab; uint32_t type; const void *w; const int32_t *tokens; float *y; } fal_embed_args;
/* y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). x, y: [n_tokens, n_embd]; w: [n_embd]   (arXiv:1910.07467) */
typedef struct { int n_tokens, n_embd; float eps; const float *x, *w; float *y; } fal_rmsnorm_args;
/* y[t,r] = sum_c w[r,c] x[t,c]. w: [n_out, n_in] of type; x: [n_tokens, n_in]; y: [n_tokens, n_out] */
typedef struct { int n_tokens, n_in, n_out; uint32_t type; const void *w; const float *x; float *y; } fal_matmul_args;
/* rmsnorm over head_dim of every head. x, y: [n_tokens, n_head, head_dim]; w: [head_dim] */
typedef struct { int n_tokens, n_head, head_dim; float eps; const float *x, *w; float *y; } fal_qk_norm_args;
/* Rotates (i, i + head_dim/2) of every head by the angle of position first_pos + t (NeoX halves).
   x, y: [n_tokens, n_head, head_dim]; cos, sin: [n_ctx, head_dim/2]; first_pos + n_tokens <= n_ctx   (arXiv:2104.09864) */
typedef struct { int n_tokens, n_head, head_dim, first_pos, n_ctx; const float *x, *cos, *sin; float *y; } fal_rope_args;
/* cache[first_pos + t] = new[t] for k and v; other slots keep their bytes. k, v: [n_tokens, n_head_kv, head_dim];
   k_cache, v_cache: [n_ctx, n_head_kv, head_dim], in and out */
typedef struct { int n_tokens, n_head_kv, head_dim, first_pos, n_ctx; const float *k, *v; float *k_cache, *v_cache; } fal_kv_store_args;
/* y[t,h,:] = sum_{p <= first_pos+t} softmax_p(q[t,h].k_cache[p,g] / sqrt(head_dim)) v_cache[p,g,:], g = h / (n_head/n_head_kv).
   q, y: [n_tokens, n_head, head_dim]; caches: [n_ctx, n_head_kv, head_dim]   (arXiv:2305.13245) */
typedef struct { int n_tokens, n_head, n_head_kv, head_dim, first_pos, n_ctx; const float *q, *k_cache, *v_cache; float *y; } fal_attention_args;
/* y = a + b. a, b, y: [n_tokens, n_embd] */
typedef struct { int n_tokens, n_embd; const float *a, *b; float *y; } fal_add_args;
/* y[r,:] = exp(x[r,:] - max) / sum. x, y: [n_rows, n_cols] */
typedef struct { int n_rows, n_cols; const float *x; float *y; } fal_softmax_args;
/* ids[t,:] = the n_expert_used largest probs[t,:], largest first, ties to the lower id; weights = those probs / their sum.
   With pinned_ids ([n_tokens, n_expert_used], else NULL) that choice is taken and the weights follow from it.
   probs: [n_tokens, n_expert]; ids: i32 and weights: f32 [n_tokens, n_expert_used] */
typedef struct { int n_tokens, n_expert, n_expert_used; const float *probs; const int32_t *pinned_ids; int32_t *ids; float *weights; } fal_router_args;
/* y[t,s,r] = sum_c w[ids[t,s], r, c] x[t,c], or x[t,s,c] when x_per_slot. w: [n_expert, n_out, n_in] of type;
   ids: [n_tokens, n_expert_used] in [0, n_expert); y: [n_tokens, n_expert_used, n_out] */
typedef struct { int n_tokens, n_expert, n_expert_used, n_in, n_out; bool x_per_slot; uint32_t type; const void *w; const float *x; const int32_t *ids; float *y; } fal_moe_matmul_args;
/* y = silu(gate) * up, silu(g) = g / (1 + exp(-g)). gate, up, y: [n_rows, n_ff]   (arXiv:2002.05202) */
typedef struct { int n_rows, n_ff; const float *gate, *up; float *y; } fal_swiglu_args;
/* moe_matmul by two weights and swiglu of both, in one: y[t,s,r] = silu(g) u with g = sum_c w_gate[ids[t,s],r,c] x[t,c] and
   u = sum_c w_up[ids[t,s],r,c] x[t,c]. w_gate, w_up: [n_expert, n_ff, n_embd], both of type; x: [n_tokens, n_embd];
   ids: [n_tokens, n_expert_used] in [0, n_expert); y: [n_tokens, n_expert_used, n_ff]. No forward pass of the exact class
   calls it: it is what a fused kernel is held against */
typedef struct { int n_tokens, n_expert, n_expert_used, n_embd, n_ff; uint32_t type; const void *w_gate, *w_up; const float *x; const int32_t *ids; float *y; } fal_moe_swiglu_args;
/* y[t,:] = sum_s weights[t,s] x[t,s,:]. x: [n_tokens, n_expert_used, n_embd]; weights: [n_tokens, n_expert_used]; y: [n_tokens, n_embd] */
typedef struct { int n_tokens, n_expert_used, n_embd; const float *x, *weights; float *y; } fal_moe_sum_args;
/* ids[r] = index of the largest x[r,:], ties to the lower index; NaN is larger than every number. x: [n_rows, n_cols]; ids: i32 [n_rows] */
typedef struct { int n_rows, n_cols; const float *x; int32_t *ids; } fal_argmax_args;

/* ---- devices ------------------------------------------------------------------------------------------------- */

typedef struct {
    int index;           /* as --device counts, per backend */
    bool is_cpu;         /* an OpenCL CPU device: barrier-free __cpu kernels are the fast ones there */
    char name[128];      /* as the driver calls it */
    char vendor[64];
    char driver[128];    /* driver and API version */
    char uuid[40];       /* hex, or empty when the driver gives none */
    char slug[64];       /* name reduced to [a-z0-9-], for file names */
    uint64_t memory_bytes;
} fal_device_info;

/* Device code that takes the place of what the program carries for one op: OpenCL text (with its own prelude when that is
   not NULL), or a CUDA module. How mutants are built; shipped code is never changed. */
typedef struct { const char *op; const void *code; size_t code_size; const void *prelude; size_t prelude_size; } fal_other_code;

typedef struct {
    const char *device;  /* index, name (or part of it) or UUID; NULL or "" for the first usable: GPUs before CPUs */
    const char *variant; /* one of the backend's variants: "" for the exact class, "cpu" (opencl) for barrier-free kernels, "fast"
                            and "fast_kv16" (cuda) for the fused decode path, "kv16" (reference) for the mirror of an
                            f16 KV cache; a backend refuses one it lacks */
    bool blocking; /* waits for every kernel, so that a fault is told where it is made and not where somebody waits next */
    bool dry; /* no device: what the host would ask of one is counted, and nothing runs (can_run_dry) */
    const char *cache_dir; /* where built programs may be kept; NULL for none */
    const char *candidate, *op; /* of the backend "candidate": the file on trial, and the operation that it computes */
    const fal_other_code *instead; /* borrowed until close; NULL for none */
} fal_backend_options;

typedef struct fal_context fal_context; /* an opened device; each backend defines its own */
typedef struct fal_session fal_session; /* a model resident on an opened device, with its KV cache */

/* ---- taps: what the observer wants to see, or to put in, at each site of harness/ops.def ------------------------- */

typedef enum {
#define FAL_SITE(site, op, scope, type, sub, width) FAL_SITE_##site,
#include "harness/ops.def"
    FAL_N_SITES
} fal_site;

typedef struct fal_taps {
    void *user;
    /* true when give() shall be called for this site and layer (layer -1 for sites of scope MODEL) */
    bool (*wants)(void *user, fal_site site, int layer);
    /* a host copy of the rows of tokens [first, first + n) of this forward call; data: [n, sub, width], valid during the call */
    fal_status (*give)(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err);
    /* teacher forcing: values that replace this site's result after give(), same layout, or NULL to leave it. Asked for
       at every site that the pass has (has_site) */
    const void *(*forced)(void *user, fal_site site, int layer, int first, int n);
    /* pinned routing: [n, n_expert_used] expert ids that the router op takes as its choice, or NULL */
    const int32_t *(*pinned)(void *user, int layer, int first, int n);
} fal_taps; /* every function may be NULL */

typedef struct {
    uint64_t weight_bytes;  /* device bytes that hold weights */
    uint64_t kv_bytes;      /* device bytes of the KV cache */
    uint64_t scratch_bytes; /* all other device bytes */
    uint64_t peak_bytes;    /* most device bytes at once since the context was opened */
    uint64_t live_bytes;    /* device bytes allocated now, over the whole context */
} fal_memory;

/* Device code that was built before the program runs: what the compiler said of a kernel on one architecture, and a kernel
   that the host can ask for (any_type: each whose name continues with _<type>, at least one). */
typedef struct { const char *module, *kernel, *arch; int registers, spill_bytes, stack_bytes, shared_bytes; } fal_kernel_code;
typedef struct { const char *module, *kernel; bool any_type; } fal_kernel_asked;
typedef struct {
    const char *toolkit, *archs; /* "12.4"; "sm_80 sm_90 compute_80": compute_ is for devices to come, compiled on them */
    const fal_kernel_code *kernels; int n_kernels;
    const fal_kernel_asked *asked; int n_asked;
} fal_device_code;

/* ---- the table that each backend fills --------------------------------------------------------------------------- */

typedef struct fal_backend {
    const char *name;          /* "reference", "opencl", "cuda" */
    const char *const *variants; /* NULL-terminated, "" first */
    bool can_run_dry;            /* fal_backend_options.dry has a meaning */
    /* what   Lists devices: up to cap filled, *n is how many there are. FAL_ERR_BLOCKED with the reason when there is none. */
    fal_status (*devices)(fal_device_info *out, int cap, int *n, fal_error *err);
    fal_status (*open)(const fal_backend_options *options, fal_context **out, fal_error *err);
    void (*close)(fal_context *ctx);
    const fal_device_info *(*device)(const fal_context *ctx);
    /* what   Device bytes in use and the most so far; kernels launched, by name, since open: calls visit for each. */
    void (*memory)(const fal_context *ctx, fal_memory *out);
    void (*launches)(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user);

#define FAL_OP(op) fal_status (*op)(fal_context *ctx, const fal_##op##_args *a, fal_error *err);
#include "harness/ops.def"

    /* what   Any op, by its fields instead of a struct: of a backend that has no functions of its own, else NULL. */
    fal_status (*call)(fal_context *ctx, const fal_call *c, fal_error *err);
    /* what   What the code on trial did beside its answers (changed an input, wrote beside an array) since this was last
              asked, in one line; NULL when it did nothing of the kind, or nobody looks. */
    const char *(*breaches)(fal_context *ctx);
    /* what   Seconds that n calls of one op take when everything is on the device before they start: arrays are uploaded
              (equal ones once), one call is made that is not timed, then all are queued and waited for. NULL where a
              backend cannot tell. */
    fal_status (*time_calls)(fal_context *ctx, const fal_call *calls, int n, double *seconds, fal_error *err);

    /* what   Uploads every tensor of the model once, allocates an f32 KV cache of n_ctx positions, poisons all scratch.
              The model must outlive the session. On failure everything is freed and the context stays usable. */
    fal_status (*session_open)(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out, fal_error *err);
    void (*session_close)(fal_session *s);
    /* what   Forgets all positions and poisons KV cache and scratch (0xFF). */
    fal_status (*reset)(fal_session *s, fal_error *err);
    /* what   Runs n_tokens tokens at positions n_past... (n_past counts since reset). Logits of every position are computed
              only when taps want them; *next (may be NULL) is the argmax of the last position. taps may be NULL. */
    fal_status (*forward)(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps, int32_t *next, fal_error *err);
    /* what   Whether a call with n_tokens tokens comes to this site: a fused path has fewer than ops.def lists. NULL: to all. */
    bool (*has_site)(const fal_session *s, fal_site site, int n_tokens);
    /* what   Greedy decoding on the device: out[0] follows first_token, out[i] follows out[i - 1]; waits once, at the end. Takes
              n positions (out[n - 1] is not fed back). NULL where a backend has none. */
    fal_status (*generate)(fal_session *s, int32_t first_token, int n, int32_t *out, fal_error *err);
    /* what   Reads tensor i of model->tensors back from the device into out (its nbytes); *uploads: how often it was uploaded. */
    fal_status (*read_tensor)(fal_session *s, int i, void *out, int *uploads, fal_error *err);
    void (*session_memory)(const fal_session *s, fal_memory *out);
    /* what   Median read bandwidth of the device over a buffer of about `bytes` (less where one cannot be that large).
              NULL where it is not measured. */
    fal_status (*read_bandwidth)(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err);
    /* what   Declares what an op of a variant computes with; limits of its error follow from it. NULL: float32 in any order. */
    void (*arithmetic)(const char *variant, const char *op, fal_arithmetic *out);
    /* what   The device code in the program; needs no device. NULL where a driver compiles it.
       refuses a program that was built without it: FAL_ERR_BLOCKED */
    fal_status (*device_code)(fal_device_code *out, fal_error *err);
} fal_backend;

extern const fal_backend fal_reference_backend;
extern const fal_backend fal_opencl_backend;
extern const fal_backend fal_cuda_backend;

/* what    The table of that name, also "candidate", or NULL; and all but that in fixed order: reference, opencl, cuda. */
const fal_backend *fal_backend_find(const char *name);
const fal_backend *const *fal_backend_all(int *n);

/* what    Facts of ops.def at run time. */
typedef struct { const char *name, *op; bool per_layer, is_i32; } fal_site_info;
const fal_site_info *fal_site_get(fal_site site);
void fal_site_shape(fal_site site, const fal_config *c, int *sub, int *width);
int fal_site_by_name(const char *name); /* -1 when unknown */
int fal_n_ops(void);
const char *fal_op_name(int i);

#endif
