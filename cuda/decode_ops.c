/* Kernels of the fused path as single ops: attention with norm and rotation made neutral, gate and up with weights that are. */
#include "cuda/decode_ops.h"

#include "cuda/decode.h"
#include "harness/args.h"
#include "harness/half.h"

#include <stdlib.h>

/* The kernel takes RMSNorm(x) w before the rotation. With eps = 2^60 the mean square of x is lost beside it, and with
   w = 2^30 what comes out is x, without a rounding. An angle of 0 rotates nothing. */
static const float neutral_eps = 0x1p60f, neutral_weight = 0x1p30f;

static fal_status upload_constant(fal_context *ctx, const char *name, float value, size_t n, fal_cu_buffer **out, fal_error *err)
{
    float *host = malloc(n * sizeof *host);
    if (!host) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %s", name);
    for (size_t i = 0; i < n; i++) host[i] = value;
    const fal_status st = fal_cu_upload(ctx, name, host, n * sizeof *host, out, err);
    free(host);
    return st;
}

/* The cache as the variant keeps it. */
static fal_status upload_cache(fal_context *ctx, const char *name, const float *from, size_t n, fal_cu_buffer **out, fal_error *err)
{
    if (fal_cu_variant_of(ctx) != FAL_CU_FAST_KV16) return fal_cu_upload(ctx, name, from, n * sizeof *from, out, err);
    uint16_t *host = malloc(n * sizeof *host);
    if (!host) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %s", name);
    for (size_t i = 0; i < n; i++) host[i] = fal_float_to_half(from[i]);
    const fal_status st = fal_cu_upload(ctx, name, host, n * sizeof *host, out, err);
    free(host);
    return st;
}

/* What the op was given, on the device. */
typedef struct {
    fal_cu_buffer *q, *k_cache, *v_cache, *y;
    fal_cu_buffer *k, *v, *weight, *cos, *sin; /* of the fused kernel alone */
} operands;

static fal_status run_fused(fal_context *ctx, const fal_attention_args *a, operands *o, fal_error *err)
{
    const size_t width = (size_t)a->n_head_kv * (size_t)a->head_dim, bytes = width * sizeof(float);
    const size_t angles = (size_t)a->n_ctx * (size_t)a->head_dim / 2;
    fal_status st = fal_cu_upload(ctx, "k", a->k_cache + (size_t)a->first_pos * width, bytes, &o->k, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "v", a->v_cache + (size_t)a->first_pos * width, bytes, &o->v, err);
    if (st == FAL_OK) st = upload_constant(ctx, "norm", neutral_weight, (size_t)a->head_dim, &o->weight, err);
    if (st == FAL_OK) st = upload_constant(ctx, "cos", 1.0f, angles, &o->cos, err);
    if (st == FAL_OK) st = upload_constant(ctx, "sin", 0.0f, angles, &o->sin, err);
    const fal_cu_attention_operands to = { .pos = a->first_pos,      .n_head = a->n_head, .n_head_kv = a->n_head_kv,
                                           .head_dim = a->head_dim,  .eps = neutral_eps,  .q = o->q,
                                           .k = o->k,                .v = o->v,           .q_norm = o->weight,
                                           .k_norm = o->weight,      .cos = o->cos,       .sin = o->sin,
                                           .k_cache = o->k_cache,    .v_cache = o->v_cache, .y = o->y };
    return st == FAL_OK ? fal_cu_decode_attention_run(ctx, &to, err) : st;
}

fal_status fal_cu_decode_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    fal_status st = fal_attention_args_check(a, err);
    if (st != FAL_OK) return st;
    const bool is_half = fal_cu_variant_of(ctx) == FAL_CU_FAST_KV16;
    if (a->n_tokens > 1 && !is_half)
        return fal_fail(err, FAL_ERR_INPUT, "use the variant '', which is what it runs for several tokens",
                        "cuda: variant 'fast' has an attention of its own for one token, found n_tokens %d", a->n_tokens);
    if (a->head_dim % 4 != 0 || a->head_dim > 128)
        return fal_fail(err, FAL_ERR_INPUT, "use the variant ''", "cuda: variant '%s': head_dim is %d, expected a multiple of 4 up to 128",
                        fal_cu_variants[fal_cu_variant_of(ctx)], a->head_dim);
    operands o = { 0 };
    const size_t q_bytes = fal_cu_bytes(sizeof(float), a->n_tokens, a->n_head, a->head_dim);
    const size_t n_cache = (size_t)a->n_ctx * (size_t)a->n_head_kv * (size_t)a->head_dim;
    st = fal_cu_upload(ctx, "q", a->q, q_bytes, &o.q, err);
    if (st == FAL_OK) st = upload_cache(ctx, "k_cache", a->k_cache, n_cache, &o.k_cache, err);
    if (st == FAL_OK) st = upload_cache(ctx, "v_cache", a->v_cache, n_cache, &o.v_cache, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", q_bytes, &o.y, err);
    if (st == FAL_OK)
        st = a->n_tokens == 1 ? run_fused(ctx, a, &o, err)
                              : fal_cu_decode_kv16_attention_run(ctx, a->n_tokens, a->n_head, a->n_head_kv, a->head_dim,
                                                                 a->first_pos, o.q, o.k_cache, o.v_cache, o.y, err);
    if (st == FAL_OK) st = fal_cu_read(ctx, o.y, 0, a->y, q_bytes, err);
    fal_cu_buffer *const all[] = { o.sin, o.cos, o.weight, o.v, o.k, o.y, o.v_cache, o.k_cache, o.q };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) fal_cu_free(ctx, all[i]);
    return st;
}

/* ---- gate, up and SiLU -------------------------------------------------------------------------------------------- */

/* Whether all ids of a token can be chosen at once, by equal logits. */
static bool chosen_together(const fal_moe_swiglu_args *a)
{
    for (int s = 0; s < a->n_expert_used; s++)
        for (int k = 0; k < s; k++)
            if (a->ids[k] == a->ids[s]) return false;
    return (a->n_expert_used & (a->n_expert_used - 1)) == 0;
}

/* Slots [first, first + n) by one launch. */
static fal_status run_act(fal_context *ctx, const fal_moe_swiglu_args *a, int first, int n, const fal_cu_act_operands *o,
                          fal_cu_buffer *logits, float *host, fal_error *err)
{
    for (int e = 0; e < a->n_expert; e++) host[e] = -1.0f;
    for (int s = first; s < first + n; s++) host[a->ids[s]] = 0.0f;
    fal_status st = fal_cu_write(ctx, logits, host, (size_t)a->n_expert * sizeof *host, err);
    if (st == FAL_OK) st = fal_cu_decode_act_run(ctx, o, err);
    for (int s = first; s < first + n && st == FAL_OK; s++) {
        int place = 0; /* equal logits: the lower id first */
        for (int k = first; k < first + n; k++) place += a->ids[k] < a->ids[s];
        float *y = a->y + (size_t)s * (size_t)a->n_ff;
        const size_t bytes = (size_t)a->n_ff * sizeof *y;
        st = fal_cu_read(ctx, o->act, (size_t)place * bytes, y, bytes, err);
        for (int r = 0; r < a->n_ff && st == FAL_OK; r++) y[r] *= (float)n;
    }
    return st;
}

fal_status fal_cu_decode_moe_swiglu(fal_context *ctx, const fal_moe_swiglu_args *a, fal_error *err)
{
    fal_status st = fal_moe_swiglu_args_check(a, err);
    if (st != FAL_OK) return st;
    if (a->n_tokens > 1)
        return fal_fail(err, FAL_ERR_INPUT, "use the variant '', which is what it runs for several tokens",
                        "cuda: variant '%s' has gate and up of its own for one token, found n_tokens %d",
                        fal_cu_variants[fal_cu_variant_of(ctx)], a->n_tokens);
    const int n = chosen_together(a) ? a->n_expert_used : 1;
    const size_t w_bytes = fal_cu_bytes(fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_ff, a->n_expert, 1);
    const size_t logits_bytes = fal_cu_bytes(sizeof(float), a->n_expert, 1, 1);
    fal_cu_buffer *w_gate = NULL, *w_up = NULL, *x = NULL, *logits = NULL, *act = NULL;
    float *host = malloc(logits_bytes);
    if (!host) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for %d logits", a->n_expert);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "w_gate", a->w_gate, w_bytes, &w_gate, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "w_up", a->w_up, w_bytes, &w_up, err);
    if (st == FAL_OK) st = fal_cu_upload(ctx, "x", a->x, fal_cu_bytes(sizeof(float), a->n_embd, 1, 1), &x, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "logits", logits_bytes, &logits, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "y", fal_cu_bytes(sizeof(float), n, a->n_ff, 1), &act, err);
    const fal_cu_act_operands o = { .n_expert = a->n_expert, .n_used = n, .n_embd = a->n_embd, .n_ff = a->n_ff, .type = a->type,
                                    .w_gate = w_gate, .w_up = w_up, .x = x, .logits = logits, .act = act };
    for (int first = 0; first < a->n_expert_used && st == FAL_OK; first += n) st = run_act(ctx, a, first, n, &o, logits, host, err);
    fal_cu_free(ctx, act);
    fal_cu_free(ctx, logits);
    fal_cu_free(ctx, x);
    fal_cu_free(ctx, w_up);
    fal_cu_free(ctx, w_gate);
    free(host);
    return st;
}
