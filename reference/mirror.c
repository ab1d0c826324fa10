/* The mirror tier: 8-bit activations, integer sums under each scale, float64 over the scales. */
#include "reference/mirror.h"

#include "harness/half.h"
#include "harness/type.h"

#include <math.h>

size_t fal_mirror_block(fal_activation act)
{
    return act == FAL_ACTIVATION_Q8_0 ? 32 : act == FAL_ACTIVATION_Q8_K ? 256 : 0;
}

size_t fal_mirror_group(uint32_t type)
{
    switch (type) {
    case FAL_TYPE_Q8_0:
    case FAL_TYPE_Q4_K:
    case FAL_TYPE_Q5_K: return 32;
    case FAL_TYPE_Q6_K: return 16;
    default: return 0;
    }
}

fal_activation fal_mirror_activation(uint32_t type, fal_activation act)
{
    if (fal_mirror_group(type) == 0 || fal_mirror_block(act) == 0) return FAL_ACTIVATION_F32;
    return type == FAL_TYPE_Q8_0 ? FAL_ACTIVATION_Q8_0 : act;
}

/* ---- activations -------------------------------------------------------------------------------------------------- */

void fal_mirror_quantise(fal_activation act, const float *x, size_t n, signed char *q, float *d)
{
    const size_t block = fal_mirror_block(act);
    for (size_t at = 0; at < n; at += block, x += block, q += block, d++) {
        float most = 0; /* the first of largest size, with its sign */
        bool finite = true;
        for (size_t i = 0; i < block; i++) {
            finite = finite && isfinite(x[i]);
            if (fabsf(x[i]) > fabsf(most)) most = x[i];
        }
        float inverse;
        if (act == FAL_ACTIVATION_Q8_0) {
            const float size = fabsf(most) / 127.0f;
            inverse = size > 0 ? 1.0f / size : 0.0f;
            *d = fal_half_to_float(fal_float_to_half(size));
        } else {
            inverse = fabsf(most) > 0 ? -127.0f / most : 0.0f;
            *d = fabsf(most) > 0 ? 1.0f / inverse : 0.0f;
        }
        if (!isfinite(inverse)) *d = inverse = 0; /* so small that 1 / d is beyond f32 */
        if (!finite) {
            *d = NAN;
            inverse = 0;
        }
        for (size_t i = 0; i < block; i++) {
            const float v = finite ? x[i] * inverse : 0;
            const float whole = act == FAL_ACTIVATION_Q8_0 ? roundf(v) : rintf(v);
            q[i] = (signed char)(whole > 127 ? 127 : whole < -128 ? -128 : whole);
        }
    }
}

/* ---- weights ------------------------------------------------------------------------------------------------------ */

/* Code of column c of a block; block layouts stand in dequant.c. */
static int code_at(uint32_t type, const unsigned char *b, size_t c)
{
    switch (type) {
    case FAL_TYPE_Q8_0: return (signed char)b[2 + c];
    case FAL_TYPE_Q4_K: return b[16 + c / 64 * 32 + c % 32] >> (c / 32 % 2 * 4) & 15;
    case FAL_TYPE_Q5_K:
        return (b[48 + c / 64 * 32 + c % 32] >> (c / 32 % 2 * 4) & 15) | (b[16 + c % 32] >> (c / 32) & 1) << 4;
    default: { /* Q6_K */
        const size_t half = c / 128, run = c % 128 / 32, i = c % 32;
        const int low = b[64 * half + 32 * (run % 2) + i] >> (run / 2 * 4) & 15;
        const int high = b[128 + 32 * half + i] >> (2 * run) & 3;
        return (low | high << 4) - 32;
    }
    }
}

/* Scale and minimum of group k of a block, as integers, and what they are multiples of. */
typedef struct {
    int scale, minimum;
    double d, dmin;
} group_scale;

static double half_at(const unsigned char *p)
{
    return (double)fal_half_to_float((uint16_t)(p[0] | p[1] << 8));
}

static group_scale scale_at(uint32_t type, const unsigned char *b, size_t k)
{
    const unsigned char *s = b + 4; /* Q4_K and Q5_K: 12 bytes of 6-bit scales and minima */
    if (type == FAL_TYPE_Q8_0) return (group_scale) { 1, 0, half_at(b), 0 };
    if (type == FAL_TYPE_Q6_K) return (group_scale) { (signed char)b[192 + k], 0, half_at(b + 208), 0 };
    if (k < 4) return (group_scale) { s[k] & 63, s[k + 4] & 63, half_at(b), half_at(b + 2) };
    return (group_scale) { (s[k + 4] & 15) | (s[k - 4] >> 6) << 4, s[k + 4] >> 4 | (s[k] >> 6) << 4, half_at(b), half_at(b + 2) };
}

void fal_mirror_partials(uint32_t type, const unsigned char *row, const signed char *q, size_t n, int32_t *sums, int32_t *codes)
{
    const fal_type_info *t = fal_type_get(type);
    const size_t group = fal_mirror_group(type);
    for (size_t k = 0; k < n / group; k++) {
        const unsigned char *b = row + k * group / t->block_elems * t->block_bytes;
        const size_t first = k * group % t->block_elems;
        sums[k] = codes[k] = 0;
        for (size_t i = 0; i < group; i++) {
            sums[k] += code_at(type, b, first + i) * q[k * group + i];
            codes[k] += q[k * group + i];
        }
    }
}

double fal_mirror_dot(uint32_t type, const unsigned char *row, fal_activation act, const signed char *q, const float *d,
                      size_t n, int32_t *scratch)
{
    const fal_type_info *t = fal_type_get(type);
    const size_t group = fal_mirror_group(type), act_block = fal_mirror_block(act), n_groups = n / group;
    /* one step: as far as neither the activations' scale nor the weights' block changes, so that int32 does for scales too */
    const size_t step = act_block < t->block_elems ? act_block : t->block_elems;
    int32_t *const sums = scratch, *const codes = scratch + n_groups;
    double total = 0;
    fal_mirror_partials(type, row, q, n, sums, codes);
    for (size_t at = 0; at < n; at += step) {
        const unsigned char *b = row + at / t->block_elems * t->block_bytes;
        int32_t scaled = 0, minima = 0; /* below 2^27: 16 groups of 16 terms of at most 127 * 128 * 32 */
        group_scale s = { 0 };
        for (size_t k = at / group; k < (at + step) / group; k++) {
            s = scale_at(type, b, k - at / t->block_elems * t->block_elems / group);
            scaled += s.scale * sums[k];
            minima += s.minimum * codes[k];
        }
        total += (double)d[at / act_block] * (s.d * scaled - s.dmin * minima);
    }
    return total;
}

/* ---- the ops ------------------------------------------------------------------------------------------------------ */

/* Codes and scales of all rows of x, and scratch memory for one product. */
typedef struct {
    fal_activation act;
    signed char *q;
    float *d;
    int32_t *sums;
    size_t bytes;
    void *block;
} codes;

static bool make_codes(fal_context *ctx, uint32_t type, const float *x, size_t rows, size_t n, codes *c)
{
    c->act = fal_mirror_activation(type, ctx->activation);
    const size_t scales = rows * (n / fal_mirror_block(c->act));
    c->bytes = scales * sizeof(float) + 2 * (n / fal_mirror_group(type)) * sizeof(int32_t) + rows * n;
    c->block = fal_reference_alloc(ctx, c->bytes);
    if (!c->block) return false;
    c->d = c->block;
    c->sums = (int32_t *)(c->d + scales);
    c->q = (signed char *)(c->sums + 2 * (n / fal_mirror_group(type)));
    fal_mirror_quantise(c->act, x, rows * n, c->q, c->d);
    return true;
}

static float product(const codes *c, uint32_t type, const unsigned char *row, size_t x_row, size_t n)
{
    return (float)fal_mirror_dot(type, row, c->act, c->q + x_row * n, c->d + x_row * (n / fal_mirror_block(c->act)), n, c->sums);
}

fal_status fal_mirror_matmul(fal_context *ctx, const fal_matmul_args *a, fal_error *err)
{
    codes c;
    const size_t n_in = (size_t)a->n_in, n_out = (size_t)a->n_out, row_bytes = fal_type_row_bytes(a->type, n_in);
    if (!make_codes(ctx, a->type, a->x, (size_t)a->n_tokens, n_in, &c))
        return fal_fail(err, FAL_ERR_MEMORY, "use fewer tokens per call", "matmul: no memory for the codes of %d tokens", a->n_tokens);
    for (size_t t = 0; t < (size_t)a->n_tokens; t++)
        for (size_t r = 0; r < n_out; r++)
            a->y[t * n_out + r] = product(&c, a->type, (const unsigned char *)a->w + r * row_bytes, t, n_in);
    fal_reference_release(ctx, c.block, c.bytes);
    fal_reference_ran(ctx, FAL_REFERENCE_OP_matmul);
    return FAL_OK;
}

fal_status fal_mirror_moe_matmul(fal_context *ctx, const fal_moe_matmul_args *a, fal_error *err)
{
    codes c;
    const size_t n_in = (size_t)a->n_in, n_out = (size_t)a->n_out, row_bytes = fal_type_row_bytes(a->type, n_in);
    const size_t n_used = (size_t)a->n_expert_used, n_slots = (size_t)a->n_tokens * n_used;
    if (!make_codes(ctx, a->type, a->x, a->x_per_slot ? n_slots : (size_t)a->n_tokens, n_in, &c))
        return fal_fail(err, FAL_ERR_MEMORY, "use fewer tokens per call", "moe_matmul: no memory for the codes of %d tokens", a->n_tokens);
    for (size_t slot = 0; slot < n_slots; slot++)
        for (size_t r = 0; r < n_out; r++) {
            const unsigned char *row = (const unsigned char *)a->w + ((size_t)a->ids[slot] * n_out + r) * row_bytes;
            a->y[slot * n_out + r] = product(&c, a->type, row, a->x_per_slot ? slot : slot / n_used, n_in);
        }
    fal_reference_release(ctx, c.block, c.bytes);
    fal_reference_ran(ctx, FAL_REFERENCE_OP_moe_matmul);
    return FAL_OK;
}
