/* Attention of the fused path as a single op: its kernel alone over a cache of any length, with norm and rotation made neutral. */
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
