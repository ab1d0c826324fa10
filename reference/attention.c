/* attention: causal softmax attention over the KV cache, n_head / n_head_kv query heads for each key and value head. */
#include "reference/reference.h"

#include "harness/args.h"
#include "harness/half.h"

#include <math.h>

/* Products from which threads pay. Waiting for one another costs a time slice when other processes want the cores, so a
   region must be long against that; a small model decodes faster on one thread than on several that wait. */
enum { MIN_PARALLEL = 1 << 20 };

/* Scratch of one thread, in float64: q and y [group, head_dim], a key or value [head_dim], scores [group, n_pos]. */
typedef struct {
    double *q, *sum, *kv, *scores;
} work;

/* All query heads of kv head g for the token at position pos, so that a key or value is widened once for the group. */
static void attend(const fal_attention_args *a, size_t t, size_t g, size_t n_pos, const work *w)
{
    const size_t n_head = (size_t)a->n_head, n_head_kv = (size_t)a->n_head_kv, head_dim = (size_t)a->head_dim;
    const size_t group = n_head / n_head_kv, stride = n_head_kv * head_dim;
    const size_t n_visible = (size_t)a->first_pos + t + 1;
    const size_t first = (t * n_head + g * group) * head_dim; /* of q[t, g group, 0] */
    const double root = sqrt((double)head_dim);

    fal_reference_widen(a->q + first, group * head_dim, w->q);
    for (size_t p = 0; p < n_visible; p++) {
        fal_reference_widen(a->k_cache + p * stride + g * head_dim, head_dim, w->kv); /* k_cache[p,g,:] */
        for (size_t h = 0; h < group; h++)
            w->scores[h * n_pos + p] = fal_reference_dot(w->q + h * head_dim, w->kv, head_dim) / root;
    }
    for (size_t h = 0; h < group; h++) {
        double *scores = w->scores + h * n_pos;
        double max = scores[0], sum = 0.0;
        for (size_t p = 1; p < n_visible; p++)
            if (scores[p] > max) max = scores[p];
        for (size_t p = 0; p < n_visible; p++) {
            scores[p] = exp(scores[p] - max);
            sum += scores[p];
        }
        for (size_t p = 0; p < n_visible; p++) scores[p] /= sum;
    }
    for (size_t i = 0; i < group * head_dim; i++) w->sum[i] = 0.0;
    for (size_t p = 0; p < n_visible; p++) {
        fal_reference_widen(a->v_cache + p * stride + g * head_dim, head_dim, w->kv); /* v_cache[p,g,:] */
        for (size_t h = 0; h < group; h++) {
            const double share = w->scores[h * n_pos + p];
            double *restrict sum = w->sum + h * head_dim;
            const double *restrict v = w->kv;
            for (size_t i = 0; i < head_dim; i++) sum[i] += share * v[i];
        }
    }
    for (size_t i = 0; i < group * head_dim; i++) a->y[first + i] = (float)w->sum[i];
}

static fal_status attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    const size_t n_tokens = (size_t)a->n_tokens, n_head_kv = (size_t)a->n_head_kv, head_dim = (size_t)a->head_dim;
    const size_t group = (size_t)a->n_head / n_head_kv;
    const size_t n_pos = (size_t)a->first_pos + n_tokens; /* positions that the last token sees */
    const double products = 2.0 * (double)n_tokens * (double)n_pos * (double)a->n_head * (double)head_dim;
    const size_t n_threads = products >= MIN_PARALLEL ? (size_t)fal_reference_n_threads() : 1;

    /* Every factor is below 2^31, so the sum of three products of two cannot overflow a size_t. */
    const size_t per_thread = group * n_pos + 2 * group * head_dim + head_dim;
    size_t elements = 0, bytes = 0;
    const bool fits = fal_mul_size(per_thread, n_threads, &elements) && fal_mul_size(elements, sizeof(double), &bytes);
    double *scratch = fits ? fal_reference_alloc(ctx, bytes) : NULL;
    if (!scratch)
        return fal_fail(err, FAL_ERR_MEMORY, "use a shorter context",
                        "attention: no memory for scores of %zu positions", n_pos);
    /* Dynamic, since later tokens see more positions; which thread computes a token changes nothing in it. */
#pragma omp parallel for schedule(dynamic) num_threads((int)n_threads)
    for (size_t i = 0; i < n_tokens * n_head_kv; i++) {
        double *mine = scratch + (size_t)fal_reference_thread() * per_thread;
        const work w = { .q = mine, .sum = mine + group * head_dim, .kv = mine + 2 * group * head_dim,
                         .scores = mine + (2 * group + 1) * head_dim };
        attend(a, i / n_head_kv, i % n_head_kv, n_pos, &w);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_attention);
    fal_reference_release(ctx, scratch, bytes);
    return FAL_OK;
}

static void round_to_half(const float *from, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) to[i] = fal_half_to_float(fal_float_to_half(from[i]));
}

fal_status fal_reference_attention(fal_context *ctx, const fal_attention_args *a, fal_error *err)
{
    fal_status st = fal_attention_args_check(a, err);
    if (st != FAL_OK || !ctx || !ctx->has_half_cache) return st != FAL_OK ? st : attention(ctx, a, err);
    /* a cache that kv_store filled is rounded already, and stays as it is */
    const size_t n = ((size_t)a->first_pos + (size_t)a->n_tokens) * (size_t)a->n_head_kv * (size_t)a->head_dim;
    float *rounded = fal_reference_alloc(ctx, 2 * n * sizeof(float));
    if (!rounded) return fal_fail(err, FAL_ERR_MEMORY, "use a shorter context", "attention: no memory for a cache of f16");
    fal_attention_args half = *a;
    round_to_half(a->k_cache, n, rounded);
    round_to_half(a->v_cache, n, rounded + n);
    half.k_cache = rounded;
    half.v_cache = rounded + n;
    st = attention(ctx, &half, err);
    fal_reference_release(ctx, rounded, 2 * n * sizeof(float));
    return st;
}
