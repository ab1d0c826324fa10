/* moe_matmul: y[t,s,r] = sum_c w[ids[t,s],r,c] x[t,c] (or x[t,s,c]); an expert is decoded once for all its tokens. */
#include "reference/mirror.h"

#include "harness/args.h"

/* Products from which threads pay. Waiting for one another costs a time slice when other processes want the cores, so a
   region must be long against that; a small model decodes faster on one thread than on several that wait. */
enum { MIN_PARALLEL = 1 << 20 };

/* Sorts the slots (t,s) by their expert. slots: [n_slots] numbers t n_expert_used + s, ascending within an expert;
   start: [n_expert + 1], expert e owns slots[start[e] .. start[e + 1]); active: the experts that own any; returns their
   number. */
static size_t group_slots(const int32_t *ids, size_t n_slots, size_t n_expert, size_t *slots, size_t *start,
                          size_t *active)
{
    for (size_t e = 0; e <= n_expert; e++) start[e] = 0;
    for (size_t i = 0; i < n_slots; i++) start[ids[i] + 1]++;
    for (size_t e = 0; e < n_expert; e++) start[e + 1] += start[e];
    /* start[e] moves to the end of e while its slots are written, which is where e + 1 starts: shift back after. */
    for (size_t i = 0; i < n_slots; i++) slots[start[ids[i]]++] = i;
    for (size_t e = n_expert; e > 0; e--) start[e] = start[e - 1];
    start[0] = 0;
    size_t n_active = 0;
    for (size_t e = 0; e < n_expert; e++)
        if (start[e + 1] > start[e]) active[n_active++] = e;
    return n_active;
}

fal_status fal_reference_moe_matmul(fal_context *ctx, const fal_moe_matmul_args *a, fal_error *err)
{
    fal_status st = fal_moe_matmul_args_check(a, err);
    if (st != FAL_OK) return st;
    if (ctx && fal_mirror_activation(a->type, ctx->activation) != FAL_ACTIVATION_F32) return fal_mirror_moe_matmul(ctx, a, err);
    const fal_dequant_fn dequant = fal_dequant_find(a->type);
    const size_t n_tokens = (size_t)a->n_tokens, n_in = (size_t)a->n_in, n_out = (size_t)a->n_out;
    const size_t n_expert = (size_t)a->n_expert, n_used = (size_t)a->n_expert_used, n_slots = n_tokens * n_used;
    const size_t n_x = (a->x_per_slot ? n_slots : n_tokens) * n_in;
    const size_t row_bytes = fal_type_row_bytes(a->type, n_in);
    const size_t n_blocks = n_in / fal_type_get(a->type)->block_elems;
    const bool parallel = (double)n_slots * (double)n_in * (double)n_out >= MIN_PARALLEL;
    const size_t n_threads = parallel ? (size_t)fal_reference_n_threads() : 1;

    size_t x_bytes = 0, rows_bytes = 0, index_bytes = 0;
    const bool fits = fal_mul_size(n_x, sizeof(double), &x_bytes) &&
                      fal_mul_size(n_threads * n_in, sizeof(double) + sizeof(float), &rows_bytes) &&
                      fal_mul_size(n_slots + 2 * n_expert + 1, sizeof(size_t), &index_bytes);
    double *x = fits ? fal_reference_alloc(ctx, x_bytes) : NULL;       /* x, widened once */
    double *rows = fits ? fal_reference_alloc(ctx, rows_bytes) : NULL; /* w[e,r,:] a thread, widened; then as f32 */
    size_t *slots = fits ? fal_reference_alloc(ctx, index_bytes) : NULL;
    if (!x || !rows || !slots) {
        st = fal_fail(err, FAL_ERR_MEMORY, "use fewer tokens per call",
                      "moe_matmul: no memory for %d tokens of %d slots of %d columns", a->n_tokens, a->n_expert_used,
                      a->n_in);
        goto out;
    }
    size_t *start = slots + n_slots, *active = start + n_expert + 1;
    const size_t n_active = group_slots(a->ids, n_slots, n_expert, slots, start, active);
    fal_reference_widen(a->x, n_x, x);
    /* Dynamic, for cores that others use as well; which thread computes a row changes nothing in it. */
#pragma omp parallel for schedule(dynamic, 16) num_threads((int)n_threads)
    for (size_t i = 0; i < n_active * n_out; i++) {
        const size_t e = active[i / n_out], r = i % n_out;
        const size_t thread = (size_t)fal_reference_thread();
        double *w_r = rows + thread * n_in;
        float *decoded = (float *)(rows + n_threads * n_in) + thread * n_in;
        dequant((const unsigned char *)a->w + (e * n_out + r) * row_bytes, n_blocks, decoded);
        fal_reference_widen(decoded, n_in, w_r);
        for (size_t k = start[e]; k < start[e + 1]; k++) {
            const size_t slot = slots[k]; /* t n_expert_used + s */
            const double *x_s = x + (a->x_per_slot ? slot : slot / n_used) * n_in;
            a->y[slot * n_out + r] = (float)fal_reference_dot(w_r, x_s, n_in);
        }
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_moe_matmul);
out:
    fal_reference_release(ctx, slots, index_bytes);
    fal_reference_release(ctx, rows, rows_bytes);
    fal_reference_release(ctx, x, x_bytes);
    return st;
}
