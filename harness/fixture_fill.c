/* Draws the input arrays of fixtures: activations by fill, weights as random valid blocks, ids, norm weights. */
#include "harness/fixture_exact.h"
#include "harness/half.h"
#include "harness/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double value_of(const fal_fixture *f, int key)
{
    return f->has[key] ? f->value[key] : 0;
}

/* e^x for x <= 0, from additions and multiplications only, so that probabilities have the same bytes on every machine
   (libm's exp differs between versions). Good to 1e-15, far below the rounding to f32 that follows; 0 below -700. */
static double exp_of(double x)
{
    if (!(x > -700)) return 0;
    const double k = floor(x * 1.4426950408889634 + 0.5);
    const double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33; /* ln 2 in two parts; |r| <= 0.35 */
    double sum = 1;
    for (int i = 14; i > 0; i--) sum = 1 + sum * r / i;
    return ldexp(sum, (int)k);
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* Element j of a row of n: i counts through the whole array and picks the draw. */
static float fill_one(fal_fill fill, const fal_rng *r, uint64_t i, uint64_t row, uint64_t j, uint64_t n)
{
    switch (fill) {
    case FILL_gauss: return fal_rng_gauss(r, i);
    case FILL_uniform: return 2 * fal_rng_unit(r, i) - 1;
    case FILL_zeros: return 0;
    case FILL_ones: return 1;
    case FILL_ramp: return n < 2 ? -8 : (float)(-8 + 16 * (double)j / (double)(n - 1));
    case FILL_large: return fal_rng_gauss(r, i) * 1e4f;
    case FILL_tiny: return fal_rng_gauss(r, i) * 1e-20f;
    case FILL_extreme: return fal_rng_bits(r, i) >> 63 ? 1000 : -1000;
    case FILL_ties: return (float)fal_rng_below(r, i, 3) - 1;
    case FILL_near_max: return fal_rng_gauss(r, i) * 1e30f;
    /* One place in each run of 512, by draws of its own, so that the other elements are those of gauss. */
    case FILL_outlier: return fal_rng_gauss(r, i) * (i % 512 == fal_rng_below(r, ~(i / 512), 512) ? 30 : 1);
    case FILL_onehot: return j == fal_rng_below(r, row, n) ? 1 : 0;
    case FILL_router_hot: return j == fal_rng_below(r, row, n) ? 1000 : 999;
    case FILL_exact:
    case FILL_exact_q8: break; /* drawn in fixture_exact.c */
    case N_FILLS: break;
    }
    return 0;
}

static void fill_rows(const fal_fixture *f, const fal_rng *r, float *y, uint64_t rows, uint64_t n)
{
    for (uint64_t row = 0, i = 0; row < rows; row++)
        for (uint64_t j = 0; j < n; j++, i++) y[i] = fill_one(f->fill, r, i, row, j, n);
    if (f->has[KEY_x_scale]) {
        const float scale = (float)f->value[KEY_x_scale];
        for (uint64_t i = 0; i < rows * n; i++) y[i] *= scale;
    }
    if (f->has[KEY_x_shift]) {
        const float shift = (float)f->value[KEY_x_shift];
        for (uint64_t i = 0; i < rows * n; i++) y[i] += shift;
    }
}

static void set_all(float *y, size_t n, double value)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)value;
}

static void draw_activation(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    float *y = b->data;
    const uint64_t n = (uint64_t)b->ne[b->n_dims - 1];
    const bool is_cache = strcmp(f->op, "attention") == 0 && b->name[0] != 'q';
    if (f->has[KEY_up_value] && strcmp(b->name, "up") == 0) {
        set_all(y, b->n, f->value[KEY_up_value]);
        return;
    }
    if (f->has[KEY_gate_value] && strcmp(b->name, "gate") == 0) {
        set_all(y, b->n, f->value[KEY_gate_value]);
        return;
    }
    fill_rows(f, r, y, b->n / n, n);
    const size_t slot = is_cache ? (size_t)b->ne[1] * (size_t)b->ne[2] : 0; /* [n_ctx, n_head_kv, head_dim] */
    if (is_cache && value_of(f, KEY_same_v) > 0 && b->name[0] == 'v')
        for (int64_t p = 1; p < b->ne[0]; p++) memcpy(y + (size_t)p * slot, y, slot * sizeof *y);
    if (is_cache && value_of(f, KEY_future_noise) > 0) {
        const size_t seen = (size_t)(f->value[KEY_first_pos] + f->value[KEY_n_tokens]);
        const fal_rng noise = fal_rng_make(f->seed, b->name[0] == 'k' ? "future k_cache" : "future v_cache");
        fill_rows(f, &noise, y + seen * slot, (b->n - seen * slot) / n, n);
    }
}

/* A filled row of logits becomes probabilities: softmax in float64, rounded once. */
static fal_status draw_probs(const fal_fixture *f, const fal_buffer *b, const fal_rng *r, fal_error *err)
{
    float *y = b->data;
    const size_t n = (size_t)b->ne[1];
    double *e = malloc(n * sizeof *e);
    if (!e) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    fill_rows(f, r, y, (uint64_t)b->ne[0], n);
    for (float *row = y; row < y + b->n; row += n) {
        double max = (double)row[0], sum = 0;
        for (size_t j = 1; j < n; j++)
            if ((double)row[j] > max) max = (double)row[j];
        for (size_t j = 0; j < n; j++) sum += e[j] = exp_of((double)row[j] - max);
        for (size_t j = 0; j < n; j++) row[j] = (float)(e[j] / sum);
    }
    free(e);
    return FAL_OK;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* A scale near `size`, between 0.5 and 1.5 of it, as the two bytes of an f16. */
static void put_scale(unsigned char *to, double size, const fal_rng *r, uint64_t draw, bool any_sign)
{
    double v = size * (0.5 + (double)fal_rng_unit(r, draw));
    if (any_sign && fal_rng_bits(r, draw) & 1) v = -v;
    const uint16_t h = fal_float_to_half((float)v);
    to[0] = (unsigned char)(h & 0xff);
    to[1] = (unsigned char)(h >> 8);
}

static void put_bytes(unsigned char *to, size_t n, const fal_rng *r, uint64_t draw)
{
    for (size_t i = 0; i < n; i++) to[i] = (unsigned char)(fal_rng_bits(r, draw + i / 8) >> (8 * (i % 8)));
}

/* Every code and sub-scale is equally likely. The block scale makes an element's root mean square about size:
     Q8_0  |q| over -128..127 has rms 73.9
     Q4_K  d sc q - dmin m with 6-bit sc, m and 4-bit q: with dmin = 7.5 d the mean is 0 and the rms 255 d
     Q5_K  the same with 5-bit q: dmin = 15.5 d, rms 527 d
     Q6_K  8-bit sc (rms 73.9) times q - 32 (rms 18.5): rms 1366 d; d of either sign, as quantisers make it
   Each block has 64 draws of its own. */
static void draw_block(uint32_t type, unsigned char *to, double size, const fal_rng *r, uint64_t block)
{
    const uint64_t draw = block * 64;
    switch (type) {
    case FAL_TYPE_Q8_0: /* f16 d, 32 codes */
        put_scale(to, size / 73.9, r, draw, false);
        put_bytes(to + 2, 32, r, draw + 2);
        break;
    case FAL_TYPE_Q4_K: /* f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit codes */
        put_scale(to, size / 255, r, draw, false);
        put_scale(to + 2, 7.5 * size / 255, r, draw + 1, false);
        put_bytes(to + 4, 140, r, draw + 2);
        break;
    case FAL_TYPE_Q5_K: /* f16 d, f16 dmin, 12 bytes of scales and minima, 32 of high and 128 of low code bits */
        put_scale(to, size / 527, r, draw, false);
        put_scale(to + 2, 15.5 * size / 527, r, draw + 1, false);
        put_bytes(to + 4, 172, r, draw + 2);
        break;
    default: /* Q6_K: 128 bytes of low and 64 of high code bits, 16 scales, f16 d */
        put_bytes(to, 208, r, draw + 2);
        put_scale(to + 208, size / 1366, r, draw, true);
        break;
    }
}

/* The bfloat16 nearest to a finite v, ties to even. */
static uint16_t to_bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void draw_weight(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    const fal_type_info *t = fal_type_get(f->type);
    const bool is_quantised = t->block_elems > 1;
    const size_t n = b->dtype == FAL_DTYPE_F32 ? b->n : b->nbytes / t->block_bytes * t->block_elems;
    const double n_in =
        (double)b->ne[b->n_dims - 1] / (b->dtype == FAL_DTYPE_F32 ? 1 : t->block_bytes) * t->block_elems;
    const double size = 1 / sqrt(n_in); /* so that y of x with variance 1 has variance 1 */
    unsigned char *to = b->data;
    for (size_t i = 0; is_quantised && i < n / t->block_elems; i++)
        draw_block(f->type, to + i * t->block_bytes, size, r, i);
    for (size_t i = 0; !is_quantised && i < n; i++) {
        const float v = (float)((double)fal_rng_gauss(r, i) * size);
        const uint16_t h = f->type == FAL_TYPE_BF16 ? to_bf16(v) : fal_float_to_half(v);
        if (f->type == FAL_TYPE_F32)
            memcpy(to + 4 * i, &v, sizeof v);
        else
            memcpy(to + 2 * i, &h, sizeof h);
    }
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

/* Distinct ids for each token: the first n_used of a shuffled list of all experts. */
static fal_status draw_ids(const fal_fixture *f, const fal_buffer *b, const fal_rng *r, fal_error *err)
{
    const size_t n_expert = (size_t)f->value[KEY_n_expert], n_used = (size_t)b->ne[1];
    int32_t *all = malloc(n_expert * sizeof *all), *ids = b->data;
    if (!all) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    for (size_t t = 0; t < (size_t)b->ne[0]; t++) {
        for (size_t e = 0; e < n_expert; e++) all[e] = (int32_t)e;
        for (size_t s = 0; s < n_used; s++) {
            const size_t k = s + (size_t)fal_rng_below(r, t * n_used + s, n_expert - s);
            const int32_t id = all[k];
            all[k] = all[s];
            ids[t * n_used + s] = all[s] = id;
        }
    }
    free(all);
    return FAL_OK;
}

static void draw_tokens(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    int32_t *ids = b->data;
    const uint64_t n_vocab = (uint64_t)f->value[KEY_n_vocab];
    for (size_t t = 0; t < b->n; t++)
        ids[t] = f->has[KEY_tokens_first] ? (int32_t)f->value[KEY_tokens_first] + (int32_t)t
                                          : (int32_t)fal_rng_below(r, t, n_vocab);
}

static void draw_slot_weights(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    const size_t n = (size_t)b->ne[1];
    for (size_t t = 0; t < (size_t)b->ne[0]; t++) {
        float *w = (float *)b->data + t * n;
        double sum = 0;
        for (size_t s = 0; s < n; s++) sum += (double)(w[s] = fal_rng_unit(r, t * n + s) + 0x1p-6f);
        for (size_t s = 0; s < n; s++)
            w[s] = value_of(f, KEY_weights_uniform) > 0 ? 1 / (float)n : (float)((double)w[s] / sum);
    }
}

static fal_status draw_rope(const fal_fixture *f, const fal_buffer *b, bool is_cos, fal_error *err)
{
    float *cosines = NULL, *sines = NULL;
    const fal_status st = fal_rope_table((int)b->ne[0], (int)f->value[KEY_head_dim], (float)f->value[KEY_freq_base],
                                         &cosines, &sines, err);
    if (st) return st;
    memcpy(b->data, is_cos ? cosines : sines, b->nbytes);
    free(cosines);
    free(sines);
    return FAL_OK;
}

fal_status fal_fixture_draw(const fal_fixture *f, int i, fal_error *err)
{
    const fal_buffer *b = &f->buffers[i];
    const fal_rng r = fal_rng_make(f->seed, b->name);
    bool drawn = false;
    if (fal_fixture_is_exact(f)) {
        const fal_status st = fal_fixture_draw_exact(f, i, &r, &drawn, err);
        if (st || drawn) return st;
    }
    switch (f->roles[i]) {
    case ROLE_ACTIVATION: draw_activation(f, b, &r); break;
    case ROLE_PROBS: return draw_probs(f, b, &r, err);
    case ROLE_WEIGHT: draw_weight(f, b, &r); break;
    case ROLE_TOKENS: draw_tokens(f, b, &r); break;
    case ROLE_IDS: return draw_ids(f, b, &r, err);
    case ROLE_SLOT_WEIGHTS: draw_slot_weights(f, b, &r); break;
    case ROLE_COS: return draw_rope(f, b, true, err);
    case ROLE_SIN: return draw_rope(f, b, false, err);
    case ROLE_NORM_WEIGHT:
        for (size_t k = 0; k < b->n; k++)
            ((float *)b->data)[k] = value_of(f, KEY_w_ones) > 0 ? 1 : 1 + 0.1f * fal_rng_gauss(&r, k);
        break;
    case ROLE_OUT:
    case ROLE_OUT_IDS: break;
    }
    return FAL_OK;
}
