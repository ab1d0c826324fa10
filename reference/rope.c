/* rope: rotates the pairs (i, i + head_dim/2) of every head by the angle of the token's position. */
#include "reference/reference.h"

#include "harness/args.h"

fal_status fal_reference_rope(fal_context *ctx, const fal_rope_args *a, fal_error *err)
{
    const fal_status st = fal_rope_args_check(a, err);
    if (st != FAL_OK) return st;
    const size_t n_head = (size_t)a->n_head, head_dim = (size_t)a->head_dim, half_dim = head_dim / 2;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const size_t pos = (size_t)a->first_pos + t;
        const float *cos_p = a->cos + pos * half_dim; /* cos[pos,:] */
        const float *sin_p = a->sin + pos * half_dim;
        for (size_t h = 0; h < n_head; h++) {
            const float *x_h = a->x + (t * n_head + h) * head_dim; /* x[t,h,:] */
            float *y_h = a->y + (t * n_head + h) * head_dim;
            for (size_t i = 0; i < half_dim; i++) {
                const double x0 = (double)x_h[i], x1 = (double)x_h[i + half_dim];
                const double c = (double)cos_p[i], s = (double)sin_p[i];
                y_h[i] = (float)(x0 * c - x1 * s);
                y_h[i + half_dim] = (float)(x0 * s + x1 * c);
            }
        }
    }
    fal_reference_ran(ctx, FAL_REFERENCE_OP_rope);
    return FAL_OK;
}
