/* matmul: y[t,r] = sum_c w[r,c] x[t,c], one decoded row of w at a time for all tokens. */
#include "reference/mirror.h"

#include "harness/args.h"

/* Products from which threads pay. Waiting for one another costs a time slice when other processes want the cores, so a
   region must be long against that; a small model decodes faster on one thread than on several that wait. */
enum { MIN_PARALLEL = 1 << 20 };

fal_status fal_reference_matmul(fal_context *ctx, const fal_matmul_args *a, fal_error *err)
{
    fal_status st = fal_matmul_args_check(a, err);
    if (st != FAL_OK) return st;
    if (ctx && fal_mirror_activation(a->type, ctx->activation) != FAL_ACTIVATION_F32) return fal_mirror_matmul(ctx, a, err);
    const fal_dequant_fn dequant = fal_dequant_find(a->type);
    const size_t n_tokens = (size_t)a->n_tokens, n_in = (size_t)a->n_in, n_out = (size_t)a->n_out;
    const size_t row_bytes = fal_type_row_bytes(a->type, n_in);
    const size_t n_blocks = n_in / fal_type_get(a->type)->block_elems;
    const bool parallel = (double)n_tokens * (double)n_in * (double)n_out >= MIN_PARALLEL;
    const size_t n_threads = parallel ? (size_t)fal_reference_n_threads() : 1;

    size_t x_bytes = 0, rows_bytes = 0;
    const bool fits = fal_mul_size(n_tokens * n_in, sizeof(double), &x_bytes) &&
                      fal_mul_size(n_threads * n_in, sizeof(double) + sizeof(float), &rows_bytes);
    double *x = fits ? fal_reference_alloc(ctx, x_bytes) : NULL;       /* x[t,c], widened once */
    double *rows = fits ? fal_reference_alloc(ctx, rows_bytes) : NULL; /* w[r,:] a thread, widened; then as f32 */
    if (!x || !rows) {
        st = fal_fail(err, FAL_ERR_MEMORY, "use fewer tokens per call", "matmul: no memory for %d tokens of %d columns",
                      a->n_tokens, a->n_in);
        goto out;
    }
    fal_reference_widen(a->x, n_tokens * n_in, x);
    /* Dynamic, for cores that others use as well; which thread computes a row changes nothing in it. */
#pragma omp parallel for schedule(dynamic, 16) num_threads((int)n_threads)
    for (size_t r = 0; r < n_out; r++) {
        const size_t thread = (size_t)fal_reference_thread();
        double *w_r = rows + thread * n_in;
        float *decoded = (float *)(rows + n_threads * n_in) + thread * n_in;
        dequant((const unsigned char *)a->w + r * row_bytes, n_blocks, decoded);
        fal_reference_widen(decoded, n_in, w_r);
        for (size_t t = 0; t < n_tokens; t++) a->y[t * n_out + r] = (float)fal_reference_dot(w_r, x + t * n_in, n_in);
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_matmul);
out:
    fal_reference_release(ctx, rows, rows_bytes);
    fal_reference_release(ctx, x, x_bytes);
    return st;
}
