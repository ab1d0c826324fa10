/* The cos and sin tables of RoPE: float64 angles, rounded once on the host, so that all backends rotate alike. */
#include "harness/model.h"

#include <math.h>
#include <stdlib.h>

fal_status fal_rope_table(int n_ctx, int head_dim, float freq_base, float **cos_out, float **sin_out, fal_error *err)
{
    if (n_ctx <= 0 || head_dim <= 0 || head_dim % 2 != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL,
                        "rope table: found n_ctx %d and head_dim %d, expected n_ctx > 0 and an even head_dim > 0",
                        n_ctx, head_dim);
    if (!(freq_base > 0.0f) || !isfinite(freq_base))
        return fal_fail(err, FAL_ERR_INPUT, NULL, "rope table: found freq_base %g, expected a finite number > 0",
                        (double)freq_base);

    const size_t half = (size_t)head_dim / 2;
    size_t n = 0, bytes = 0;
    if (__builtin_mul_overflow((size_t)n_ctx, half, &n) || __builtin_mul_overflow(n, sizeof(float), &bytes))
        return fal_fail(err, FAL_ERR_MEMORY, "ask for a shorter context", "rope table: %d x %zu elements are too many",
                        n_ctx, half);
    float *cos_table = malloc(bytes);
    float *sin_table = malloc(bytes);
    if (!cos_table || !sin_table) {
        free(cos_table);
        free(sin_table);
        return fal_fail(err, FAL_ERR_MEMORY, "ask for a shorter context", "rope table: no memory for 2 x %zu bytes",
                        bytes);
    }
    for (size_t i = 0; i < half; i++) {
        /* Angles stay in float64: at position 4095 a float32 product is off by 3e-5 rad and more. */
        const double frequency = pow((double)freq_base, -2.0 * (double)i / (double)head_dim);
        for (size_t p = 0; p < (size_t)n_ctx; p++) {
            const double angle = (double)p * frequency;
            cos_table[p * half + i] = (float)cos(angle); /* [n_ctx, head_dim/2] */
            sin_table[p * half + i] = (float)sin(angle);
        }
    }
    *cos_out = cos_table;
    *sin_out = sin_table;
    return FAL_OK;
}
