/* Faults of forward passes, planted between the operations: rows of a site are changed on their way to the next one. */
#include "falsifiers/mutant_hooks.h"

#include <math.h>
#include <string.h>

/* Row i (of this piece) of another site of the same layer. */
static const float *row_of(const fal_flow *f, fal_site site, int i, size_t width)
{
    return f->seen[site] + (size_t)(f->first + i) * width;
}

static void copy_rows(const fal_flow *f, fal_site from, float *y)
{
    memcpy(y, row_of(f, from, 0, f->width), (size_t)f->n * f->width * sizeof *y);
}

/* Rows of q_norm or k_norm rotated by the angles of pos + i + shift. */
static void rotate(const fal_flow *f, float *y, int shift, double base)
{
    const fal_site from = f->site == FAL_SITE_q_rope ? FAL_SITE_q_norm : FAL_SITE_k_norm;
    const size_t dim = (size_t)f->config->head_dim, half = dim / 2;
    for (int t = 0; t < f->n; t++)
        for (size_t h = 0; h < f->width / dim; h++)
            for (size_t i = 0; i < half; i++) {
                const double angle = (double)(f->pos + t + shift) * pow(base, -2.0 * (double)i / (double)dim);
                const float *x = row_of(f, from, t, f->width) + h * dim;
                float *to = y + (size_t)t * f->width + h * dim;
                const double c = (double)(float)cos(angle), s = (double)(float)sin(angle);
                to[i] = (float)((double)x[i] * c - (double)x[i + half] * s);
                to[i + half] = (float)((double)x[i] * s + (double)x[i + half] * c);
            }
}

void fal_mutant_rope_base_1e4_flow(const fal_flow *f, float *y)
{
    rotate(f, y, 0, 1e4);
}

void fal_mutant_rope_plus_one(const fal_flow *f, float *y)
{
    rotate(f, y, 1, (double)f->config->rope_freq_base);
}

/* Slot 1 keeps what slot 0 has; a call that brings only one of them changes nothing. */
void fal_mutant_slot_of_before(const fal_flow *f, float *y)
{
    if (f->pos == 0 && f->n > 1) memcpy(y + f->width, y, f->width * sizeof *y);
}

void fal_mutant_keys(const fal_flow *f, float *y)
{
    copy_rows(f, FAL_SITE_k, y);
}

void fal_mutant_moe_out(const fal_flow *f, float *y)
{
    copy_rows(f, FAL_SITE_moe_out, y);
}

void fal_mutant_layer_out(const fal_flow *f, float *y)
{
    copy_rows(f, FAL_SITE_l_out, y);
}

/* ---- experts ------------------------------------------------------------------------------------------------------ */

void fal_mutant_plain_probabilities(const fal_flow *f, float *y)
{
    const size_t n_expert = (size_t)f->config->n_expert;
    for (int t = 0; t < f->n; t++) {
        const int32_t *ids = (const int32_t *)(const void *)row_of(f, FAL_SITE_expert_ids, t, f->width);
        for (size_t s = 0; s < f->width; s++)
            y[(size_t)t * f->width + s] = row_of(f, FAL_SITE_router_probs, t, n_expert)[ids[s]];
    }
}

void fal_mutant_softmax_of_chosen(const fal_flow *f, float *y)
{
    for (int t = 0; t < f->n; t++) {
        const int32_t *ids = (const int32_t *)(const void *)row_of(f, FAL_SITE_expert_ids, t, f->width);
        const float *logits = row_of(f, FAL_SITE_router_logits, t, (size_t)f->config->n_expert);
        float *w = y + (size_t)t * f->width, top = logits[ids[0]], sum = 0;
        for (size_t s = 1; s < f->width; s++) top = fmaxf(top, logits[ids[s]]);
        for (size_t s = 0; s < f->width; s++) sum += w[s] = expf(logits[ids[s]] - top);
        for (size_t s = 0; s < f->width; s++) w[s] /= sum;
    }
}

void fal_mutant_reversed_sum(const fal_flow *f, float *y)
{
    const size_t used = (size_t)f->config->n_expert_used;
    for (int t = 0; t < f->n; t++)
        for (size_t i = 0; i < f->width; i++) {
            float sum = 0;
            for (size_t s = used; s-- > 0;)
                sum += row_of(f, FAL_SITE_expert_weights, t, used)[s] * row_of(f, FAL_SITE_moe_down, t, used * f->width)[s * f->width + i];
            y[(size_t)t * f->width + i] = sum;
        }
}

/* ---- logits ------------------------------------------------------------------------------------------------------- */

void fal_mutant_row_before(const fal_flow *f, float *y)
{
    for (int t = f->n; t-- > 1;) memcpy(y + (size_t)t * f->width, y + (size_t)(t - 1) * f->width, f->width * sizeof *y);
    if (f->row_before) memcpy(y, f->row_before, f->width * sizeof *y);
}

void fal_mutant_scaled_flow(const fal_flow *f, float *y)
{
    for (size_t i = 0; i < (size_t)f->n * f->width; i++) y[i] *= 1.02f;
}

void fal_mutant_best_two_exchanged(const fal_flow *f, float *y)
{
    for (int t = 0; t < f->n; t++) {
        float *row = y + (size_t)t * f->width;
        size_t best = 0, second = 1;
        for (size_t i = 1; i < f->width; i++) {
            if (row[i] > row[best]) {
                second = best;
                best = i;
            } else if (second == best || row[i] > row[second]) {
                second = i;
            }
        }
        const float kept = row[best];
        row[best] = row[second];
        row[second] = kept;
    }
}

void fal_mutant_nan_at_end(const fal_flow *f, float *y)
{
    y[(size_t)f->n * f->width - 1] = NAN;
}

void fal_mutant_last_bit_of_count_flow(const fal_flow *f, float *y)
{
    for (size_t i = 0; i < (size_t)f->n * f->width; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], sizeof bits);
        bits ^= f->n_calls & 1;
        memcpy(&y[i], &bits, sizeof bits);
    }
}

void fal_mutant_depends_on_length(const fal_flow *f, float *y)
{
    for (size_t i = 0; i < f->width; i++) y[i] *= 1 + 1e-3f * (float)f->n_tokens;
}
