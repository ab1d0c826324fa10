/* The mirror tier: matrix products as engines that quantise activations compute them, in scalar integer arithmetic. */
#ifndef FAL_MIRROR_H
#define FAL_MIRROR_H

#include "harness/arithmetic.h"
#include "reference/reference.h"

/* Activations become 8-bit codes q with a scale d, x ~ d q:
     Q8_0  32 columns: d = max|x| / 127, stored as f16; q = x / d, halves away from zero
     Q8_K  256 columns: d = -m / 127, m the first x of largest size, stored as f32; q = x / d, halves to even
   Products of codes are summed in int32 under each scale of the weights, and those sums, times their scales, in float64
   from the first to the last: y is rounded to f32 once. So int32 sums compare bit for bit with any kernel that does the
   same, and what is left between a kernel and the mirror is the f32 rounding of a sum over blocks. */

/* what    Columns under one activation scale: 32 or 256; 0 for activations that have none. */
size_t fal_mirror_block(fal_activation act);
/* what    Columns under one scale of this weight type: 32, or 16 for Q6_K; 0 for a type that has no mirror (F32, F16, BF16:
           their products stay float). */
size_t fal_mirror_group(uint32_t type);
/* what    What activations become for weights of this type when an engine declares act: Q8_0 weights have blocks of 32, so
           that their partners have too; f32 for types that have no mirror. */
fal_activation fal_mirror_activation(uint32_t type, fal_activation act);

/* what    Codes and scales of a row of n activations: q[n], d[n / block]. n is a multiple of the block. Rows of zeros have
           d = 0; a block that is not finite gets d = NaN and codes 0.
   source  the layouts block_q8_0 and block_q8_K of ggml */
void fal_mirror_quantise(fal_activation act, const float *x, size_t n, signed char *q, float *d);
/* what    Integer sums of one weight row with a row of codes, one for each scale of the weights in ascending order:
           sums[k] = sum of (weight code) * q, codes[k] = sum of q. Codes of Q6_K count from -32. */
void fal_mirror_partials(uint32_t type, const unsigned char *row, const signed char *q, size_t n, int32_t *sums, int32_t *codes);
/* what    The product of a weight row with a row of codes, from the integer sums. scratch: 2 n / fal_mirror_group(type). */
double fal_mirror_dot(uint32_t type, const unsigned char *row, fal_activation act, const signed char *q, const float *d,
                      size_t n, int32_t *scratch);

/* what    matmul and moe_matmul with ctx->activation. refuses what the op refuses; FAL_ERR_MEMORY */
fal_status fal_mirror_matmul(fal_context *ctx, const fal_matmul_args *a, fal_error *err);
fal_status fal_mirror_moe_matmul(fal_context *ctx, const fal_moe_matmul_args *a, fal_error *err);

#endif
