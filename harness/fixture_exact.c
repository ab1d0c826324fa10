/* Draws exact fills: power-of-two scales, odd integers, and rows of activations that look at one block of columns. */
#include "harness/fixture_exact.h"
#include "harness/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A single wrong nibble must change a result, so no factor may be 0 and no sum of a sub-block either. Activations are odd
   and an odd number of each 32 is 3 mod 4; the codes under one scale have an odd sum; so have the scales, and the minima,
   of a block. Then the sum of codes times activations under one scale is odd, the sum of 32 activations is 2 mod 4, the
   sum over a block of scale times those is odd, and none of them is 0. */

enum {
#define FAL_OP(op) OP_##op,
#include "harness/ops.def"
    N_OPS
};
static const struct {
    const char *op, *how, *leaves;
} exact[N_OPS] = {
#define FAL_EXACT(op, fills, leaves) [OP_##op] = { #op, fills, leaves },
#define FAL_INEXACT(op, why) [OP_##op] = { #op, why, NULL },
#include "harness/exact.def"
};
enum {
    N_EXACT = 0
#define FAL_EXACT(op, fills, leaves) + 1
#define FAL_INEXACT(op, why) + 1
#include "harness/exact.def"
};
_Static_assert((int)N_EXACT == (int)N_OPS, "every op of harness/ops.def stands in harness/exact.def");

bool fal_fixture_exact(const char *op, const char **how, const char **leaves)
{
    for (int i = 0; i < N_OPS; i++) {
        if (strcmp(exact[i].op, op) != 0) continue;
        *how = exact[i].how;
        *leaves = exact[i].leaves;
        return exact[i].leaves != NULL;
    }
    *how = "there is no such op";
    *leaves = NULL;
    return false;
}

bool fal_fixture_is_exact(const fal_fixture *f)
{
    return f->fill == FILL_exact || f->fill == FILL_exact_q8;
}

const fal_buffer *fal_fixture_array(const fal_fixture *f, const char *name)
{
    for (int i = 0; i < f->n_buffers; i++)
        if (strcmp(f->buffers[i].name, name) == 0) return &f->buffers[i];
    return NULL;
}

/* Weights of gate and up in one op: what lies behind a gate that is not positive is not seen, so every second round of
   activations is the one before with its signs turned. */
static bool is_pair(const fal_fixture *f)
{
    return strcmp(f->op, "moe_swiglu") == 0;
}

void fal_fixture_weight_shape(const fal_fixture *f, size_t *rows, size_t *columns)
{
    const bool is_embed = strcmp(f->op, "embed") == 0;
    *rows = (size_t)f->value[is_embed ? KEY_n_vocab : is_pair(f) ? KEY_n_ff : KEY_n_out];
    if (is_pair(f) || strcmp(f->op, "moe_matmul") == 0) *rows *= (size_t)f->value[KEY_n_expert];
    *columns = (size_t)f->value[is_embed || is_pair(f) ? KEY_n_embd : KEY_n_in];
}

/* An odd integer from -most to most; most is odd. */
static float odd(const fal_rng *r, uint64_t i, uint64_t most)
{
    return (float)(2 * (int)fal_rng_below(r, i, most + 1) - (int)most);
}

static uint64_t draw(const fal_rng *r, uint64_t *at, uint64_t n)
{
    return fal_rng_below(r, (*at)++, n);
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

enum { DRAWS = 64 }; /* draws that a block may use */

/* 2^exponent as the two bytes of an f16. */
static void put_power(unsigned char *to, int exponent, bool negative)
{
    const uint16_t h = fal_float_to_half(ldexpf(negative ? -1 : 1, exponent));
    to[0] = (unsigned char)(h & 0xff);
    to[1] = (unsigned char)(h >> 8);
}

static void put_random(unsigned char *to, size_t n, const fal_rng *r, uint64_t *at)
{
    for (size_t i = 0; i < n; i += 8, (*at)++) {
        const uint64_t bits = fal_rng_bits(r, *at);
        for (size_t k = 0; k < 8 && i + k < n; k++) to[i + k] = (unsigned char)(bits >> (8 * k));
    }
}

/* Makes the low bits of both nibbles of n code bytes add up to an odd number. */
static void make_odd(unsigned char *codes, size_t n)
{
    unsigned char all = 0;
    for (size_t i = 0; i < n; i++) all ^= codes[i];
    codes[0] = (unsigned char)(codes[0] ^ ((all & 1) ^ 1) ^ ((all & 16) ^ 16));
}

/* Eight scales or minima from 2 to 63 with an odd sum. */
static void draw_scales(int v[8], int most, const fal_rng *r, uint64_t *at)
{
    int sum = 0;
    for (int j = 0; j < 8; j++) sum += v[j] = 2 + (int)draw(r, at, (uint64_t)most - 1);
    if (sum % 2 == 0) v[7] ^= 1;
}

/* d, dmin and the 12 bytes of scales and minima that open a Q4_K or Q5_K block. */
static void put_head(unsigned char *to, int most, const fal_rng *r, uint64_t *at)
{
    int sc[8], m[8];
    put_power(to, -6 + (int)draw(r, at, 2), false);
    put_power(to + 2, -6 + (int)draw(r, at, 3), false);
    draw_scales(sc, most, r, at);
    draw_scales(m, most, r, at);
    for (int j = 0; j < 4; j++) {
        to[4 + j] = (unsigned char)(sc[j] | (sc[j + 4] >> 4) << 6);
        to[8 + j] = (unsigned char)(m[j] | (m[j + 4] >> 4) << 6);
        to[12 + j] = (unsigned char)((sc[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}

static void put_q6_k(unsigned char *to, int most, const fal_rng *r, uint64_t *at)
{
    int sum = 0;
    put_random(to, 192, r, at);
    for (int i = 0; i < 8; i++) make_odd(to + 16 * i, 16);
    for (int j = 0; j < 16; j++) {
        int sc = 2 + (int)draw(r, at, (uint64_t)most - 1);
        sum += sc;
        if (j == 15 && sum % 2 == 0) sc ^= 1;
        to[192 + j] = (unsigned char)(draw(r, at, 2) ? sc : -sc);
    }
    put_power(to + 208, -6 + (draw(r, at, 4) == 0), draw(r, at, 2) == 1);
}

static void put_q8_0(unsigned char *to, const fal_rng *r, uint64_t *at)
{
    int sum = 0, first = 0;
    put_power(to, -6 + (int)draw(r, at, 3), false);
    for (int i = 0; i < 32; i++) {
        const int q = (int)draw(r, at, 255) - 127;
        if (i == 0) first = q;
        sum += q;
        to[2 + i] = (unsigned char)q;
    }
    if (sum % 2 == 0) to[2] = (unsigned char)(first > 0 ? first - 1 : first + 1);
}

/* q8: activations of up to 127 will come, so scales are smaller. */
static void put_block(uint32_t type, bool q8, unsigned char *to, const fal_rng *r, uint64_t block)
{
    uint64_t at = block * DRAWS;
    uint32_t bits;
    float v;
    switch (type) {
    case FAL_TYPE_Q4_K:
        put_head(to, q8 ? 31 : 63, r, &at);
        put_random(to + 16, 128, r, &at);
        for (int i = 0; i < 4; i++) make_odd(to + 16 + 32 * i, 32);
        return;
    case FAL_TYPE_Q5_K:
        put_head(to, q8 ? 31 : 63, r, &at);
        put_random(to + 16, 160, r, &at);
        for (int i = 0; i < 4; i++) make_odd(to + 48 + 32 * i, 32);
        return;
    case FAL_TYPE_Q6_K: put_q6_k(to, q8 ? 31 : 127, r, &at); return;
    case FAL_TYPE_Q8_0: put_q8_0(to, r, &at); return;
    default: break;
    }
    /* no blocks: significands so long that each of their bits is worth at least one unit */
    const uint64_t least = type == FAL_TYPE_BF16 ? 128 : type == FAL_TYPE_F16 ? 1024 : 1;
    const uint64_t most = type == FAL_TYPE_BF16 ? 255 : 2047;
    v = (float)(least + draw(r, &at, most - least + 1)) / (float)(most + 1);
    if (draw(r, &at, 2)) v = -v;
    memcpy(&bits, &v, sizeof bits);
    const uint16_t half = type == FAL_TYPE_BF16 ? (uint16_t)(bits >> 16) : fal_float_to_half(v);
    if (type == FAL_TYPE_F32) memcpy(to, &v, sizeof v);
    else memcpy(to, &half, sizeof half);
}

static void draw_weights(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    const size_t size = fal_type_get(f->type)->block_bytes;
    for (size_t i = 0; i < b->nbytes / size; i++) put_block(f->type, f->fill == FILL_exact_q8, (unsigned char *)b->data + i * size, r, i);
}

/* ---- activations of matrix products ------------------------------------------------------------------------------ */

enum { BLOCK = 256, GROUP = 32, PEAK = 127 };

/* The column of each 32 that holds +-127 under exact_q8, the same for all rows: with it an 8-bit code is the value. */
static size_t peak_of(const fal_rng *r, size_t column)
{
    return column / GROUP * GROUP + (size_t)fal_rng_below(r, ~(uint64_t)(column / GROUP), GROUP);
}

int fal_fixture_most_bits(const fal_fixture *f)
{
    return is_pair(f) ? 22 : 24;
}

/* The largest size of activations for which all rows of the weights stay within the bound, and the unit of the weights. */
static fal_status find_most(const fal_fixture *f, const fal_rng *r, int *most, int *unit, fal_error *err)
{
    static const int sizes[] = { 7, 5, 3, 1 };
    size_t rows, n;
    fal_fixture_weight_shape(f, &rows, &n);
    double *size = malloc(n * sizeof *size), worst[4] = { 0 };
    *unit = INT32_MAX;
    if (!size) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    for (size_t i = 0; i < rows * (size_t)f->n_buffers; i++) {
        const fal_buffer *w = &f->buffers[i / rows];
        if (f->roles[i / rows] != ROLE_WEIGHT) continue;
        fal_fixture_row_sizes(f->type, (const unsigned char *)w->data + i % rows * (w->nbytes / rows), n, size, NULL, unit);
        double all = 0, peaks = 0;
        for (size_t c = 0; c < n; c++) all += size[c];
        for (size_t c = 0; f->fill == FILL_exact_q8 && c < n; c += GROUP)
            if (peak_of(r, c) < n) peaks += size[peak_of(r, c)];
        for (int k = 0; k < 4; k++) worst[k] = fmax(worst[k], sizes[k] * (all - peaks) + PEAK * peaks);
    }
    free(size);
    int k = 0;
    while (k < 3 && !(worst[k] <= ldexp(1, fal_fixture_most_bits(f) + *unit))) k++;
    *most = sizes[k]; /* where even 1 is too large, the proof says so */
    return FAL_OK;
}

/* Row t of n: every n_blocks + 1 rows the first looks at all columns, and each of the others at one block of 256. */
static fal_status draw_rows(const fal_fixture *f, const fal_buffer *b, const fal_rng *r, fal_error *err)
{
    const size_t n = (size_t)b->ne[b->n_dims - 1], n_blocks = (n + BLOCK - 1) / BLOCK;
    const size_t per_token = b->n_dims == 3 ? (size_t)b->ne[1] : 1;
    int most = 1, unit = 0;
    const fal_status st = find_most(f, r, &most, &unit, err);
    if (st) return st;
    /* With terms that are multiples of 256, a gate is 0 or so large that its silu is itself, or 0. */
    const float scale = is_pair(f) ? ldexpf(1, 8 - unit) : 1;
    float *y = b->data;
    for (size_t row = 0; row < b->n / n; row++, y += n) {
        const size_t turn = row / per_token % (n_blocks + 1), round = row / per_token / (n_blocks + 1);
        if (is_pair(f) && round % 2 == 1) {
            for (size_t c = 0; c < n; c++) y[c] = -*(y + c - (n_blocks + 1) * n);
            continue;
        }
        for (size_t at = 0; at < n; at += GROUP) {
            const size_t end = at + GROUP < n ? at + GROUP : n;
            int threes = 0;
            for (size_t c = at; c < end; c++) {
                y[c] = odd(r, row * n + c, (uint64_t)most);
                if (f->fill == FILL_exact_q8 && c == peak_of(r, c)) y[c] = y[c] < 0 ? -PEAK : PEAK;
                threes += ((int)y[c] & 3) == 3;
            }
            if (threes % 2 == 0) y[end - 1] = -y[end - 1];
        }
        for (size_t c = 0; c < n; c++) y[c] = turn > 0 && c / BLOCK != turn - 1 ? 0 : y[c] * scale;
    }
    return FAL_OK;
}

/* All tokens of one round of probes choose the same experts, the next round the following ones of a shuffled list. */
static fal_status draw_ids(const fal_fixture *f, const fal_buffer *b, const fal_rng *r, fal_error *err)
{
    const size_t n_expert = (size_t)f->value[KEY_n_expert], used = (size_t)b->ne[1];
    size_t rows, n_in;
    fal_fixture_weight_shape(f, &rows, &n_in);
    const size_t round = ((n_in + BLOCK - 1) / BLOCK + 1) * (is_pair(f) ? 2 : 1);
    int32_t *all = malloc(n_expert * sizeof *all), *ids = b->data;
    if (!all) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", f->op);
    for (size_t e = 0; e < n_expert; e++) {
        const size_t k = (size_t)fal_rng_below(r, e, e + 1);
        all[e] = all[k];
        all[k] = (int32_t)e;
    }
    for (size_t i = 0; i < b->n; i++) ids[i] = all[(i / used / round * used + i % used) % n_expert];
    free(all);
    return FAL_OK;
}

/* ---- the other ops ----------------------------------------------------------------------------------------------- */

static void shuffle(float *y, size_t n, const fal_rng *r, uint64_t at)
{
    for (size_t i = n; i > 1; i--) {
        const size_t k = (size_t)fal_rng_below(r, at + i - 1, i);
        const float v = y[i - 1];
        y[i - 1] = y[k];
        y[k] = v;
    }
}

/* Four halves and a two have the mean square of five ones. */
static void draw_norm(float *y, size_t rows, size_t n, const fal_rng *r)
{
    for (size_t row = 0; row < rows; row++, y += n) {
        const uint64_t at = row * 3 * n;
        const size_t fives = (size_t)fal_rng_below(r, at, n / 5 + 1);
        for (size_t i = 0; i < n; i++) {
            const float v = i < fives ? 0x1p11f : i < 5 * fives ? 0x1p9f : 0x1p10f;
            y[i] = fal_rng_bits(r, at + n + i) & 1 ? -v : v;
        }
        shuffle(y, n, r, at + 2 * n);
    }
}

/* 2^k columns at the maximum, the others more than 130 below. */
static void draw_softmax(float *y, size_t rows, size_t n, const fal_rng *r)
{
    int most = 0;
    while ((size_t)2 << most <= n && most < 10) most++;
    for (size_t row = 0; row < rows; row++, y += n) {
        const uint64_t at = row * (2 * n + 2);
        const size_t ties = (size_t)1 << fal_rng_below(r, at, (uint64_t)most + 1);
        const float max = (float)fal_rng_below(r, at + 1, 64);
        for (size_t i = 0; i < n; i++)
            y[i] = i < ties ? max : max - 131 - (float)fal_rng_below(r, at + 2 + i, 64);
        shuffle(y, n, r, at + n + 1);
    }
}

static void draw_gate(float *y, size_t n, const fal_rng *r)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t kind = fal_rng_below(r, 2 * i, 8);
        const float size = 128 + (float)fal_rng_below(r, 2 * i + 1, 64);
        y[i] = kind < 2 ? 0 : kind < 5 ? size : -size;
    }
}

/* The chosen are the largest n_used integers of a row, all different, and add up to a power of two. */
static void draw_probs(float *y, size_t rows, size_t n, size_t used, const fal_rng *r)
{
    const float low = 256;
    float sum = 0;
    for (size_t s = 1; s < used; s++) sum += low + (float)s;
    float power = 512;
    while (power - sum <= low + (float)used) power *= 2;
    for (size_t row = 0; row < rows; row++, y += n) {
        const uint64_t at = row * 2 * n;
        y[0] = (power - sum) * 0x1p-20f;
        for (size_t i = 1; i < used; i++) y[i] = (low + (float)i) * 0x1p-20f;
        for (size_t i = used; i < n; i++) y[i] = (float)(1 + fal_rng_below(r, at + i, 255)) * 0x1p-20f;
        shuffle(y, n, r, at + n);
    }
}

/* Keys of positions 2j and 2j+1 are the signs of code j. The first dimensions of a code spell j (with some bits turned),
   so that all codes differ. */
static float code_at(const fal_fixture *f, const fal_rng *keys, size_t head, size_t pair, size_t d)
{
    const size_t pairs = ((size_t)f->value[KEY_n_ctx] + 1) / 2, dim = (size_t)f->value[KEY_head_dim];
    bool bit = fal_rng_bits(keys, (head * pairs + pair) * dim + d) & 1;
    if (d < 31 && (pairs - 1) >> d > 0) bit = (pair >> d & 1) ^ (fal_rng_bits(keys, ~(uint64_t)(head * dim + d)) & 1);
    return bit ? 1 : -1;
}

static void draw_keys(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    const size_t heads = (size_t)b->ne[1], dim = (size_t)b->ne[2];
    float *y = b->data;
    for (size_t i = 0; i < b->n; i++) y[i] = code_at(f, r, i / dim % heads, i / dim / heads / 2, i % dim);
}

/* A query is the code of one visible pair, in every second row of the last one, scaled so that the closest other code
   falls more than 130 behind. */
static void draw_queries(const fal_fixture *f, const fal_buffer *b, const fal_rng *r)
{
    const fal_rng keys = fal_rng_make(f->seed, "k_cache");
    const size_t heads = (size_t)b->ne[1], dim = (size_t)b->ne[2];
    const size_t group = heads / (size_t)f->value[KEY_n_head_kv], first = (size_t)f->value[KEY_first_pos];
    float scale = 1;
    while (2 * (double)scale < 131 * sqrt((double)dim)) scale *= 2;
    float *y = b->data;
    for (size_t row = 0; row < b->n / dim; row++, y += dim) {
        const size_t pairs = (first + row / heads) / 2 + 1;
        const size_t pair =
            fal_rng_bits(r, 2 * row) & 1 ? pairs - 1 : (size_t)fal_rng_below(r, 2 * row + 1, pairs);
        for (size_t d = 0; d < dim; d++) y[d] = scale * code_at(f, &keys, row % heads / group, pair, d);
    }
}

/* 1 mod 4, so that no mean of two is 0. */
static void draw_values(float *y, size_t n, const fal_rng *r)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)(4 * (int)fal_rng_below(r, i, 64) - 127);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static fal_status draw_activation(const fal_fixture *f, const fal_buffer *b, const fal_rng *r, fal_error *err)
{
    const size_t n = (size_t)b->ne[b->n_dims - 1], rows = b->n / n;
    const char *op = f->op, *name = b->name;
    float *y = b->data;
    fal_status st = FAL_OK;
    if (strcmp(op, "matmul") == 0 || strcmp(op, "moe_matmul") == 0 || strcmp(op, "moe_swiglu") == 0) st = draw_rows(f, b, r, err);
    else if (strcmp(op, "rmsnorm") == 0 || strcmp(op, "qk_norm") == 0) draw_norm(y, rows, n, r);
    else if (strcmp(op, "softmax") == 0) draw_softmax(y, rows, n, r);
    else if (strcmp(name, "gate") == 0) draw_gate(y, b->n, r);
    else if (strcmp(op, "attention") == 0 && name[0] == 'q') draw_queries(f, b, r);
    else if (strcmp(op, "attention") == 0 && name[0] == 'k') draw_keys(f, b, r);
    else if (strcmp(op, "attention") == 0) draw_values(y, b->n, r);
    else
        for (size_t i = 0; i < b->n; i++) y[i] = odd(r, i, 127);
    return st;
}

fal_status fal_fixture_draw_exact(const fal_fixture *f, int i, const fal_rng *r, bool *drawn, fal_error *err)
{
    const fal_buffer *b = &f->buffers[i];
    float *y = b->data;
    *drawn = true;
    switch (f->roles[i]) {
    case ROLE_ACTIVATION: return draw_activation(f, b, r, err);
    case ROLE_WEIGHT: draw_weights(f, b, r); break;
    case ROLE_PROBS:
        draw_probs(y, (size_t)b->ne[0], (size_t)b->ne[1], (size_t)f->value[KEY_n_expert_used], r);
        break;
    case ROLE_SLOT_WEIGHTS:
        for (size_t k = 0; k < b->n; k++) y[k] = (float)(1 + fal_rng_below(r, k, 15)) / 16;
        break;
    case ROLE_COS:
    case ROLE_SIN:
        for (size_t k = 0; k < b->n; k++) y[k] = odd(r, k, 15) / 16;
        break;
    case ROLE_IDS:
        if (strncmp(f->op, "moe_", 4) == 0) return draw_ids(f, b, r, err);
        *drawn = false;
        break;
    default: *drawn = false;
    }
    return FAL_OK;
}
