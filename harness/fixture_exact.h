/* Exact fills: inputs whose results no order of summation can round, and the proof of it; for the fixture's own files. */
#ifndef FAL_FIXTURE_EXACT_H
#define FAL_FIXTURE_EXACT_H

#include "harness/fixture_plan.h"
#include "harness/rng.h"

/* what    True for the fills of this file: exact, and exact_q8 whose activations survive 8-bit quantisation as well. */
bool fal_fixture_is_exact(const fal_fixture *f);
/* what    Draws array i for an exact fill. *drawn is false when the array is like that of any other fill (ids of tokens,
           norm weights) and nothing was done. The arrays before it are drawn already. */
fal_status fal_fixture_draw_exact(const fal_fixture *f, int i, const fal_rng *r, bool *drawn, fal_error *err);

/* what    Proves from the drawn bytes that every result is exact in f32, whatever the order and grouping of its sum:
           weights' products and sums need at most 2^24 units of one power of two (exact.def says what else an op needs).
   refuses a fixture for which it cannot be shown: FAL_ERR_INPUT with the place and the bound */
fal_status fal_fixture_prove(const fal_fixture *f, fal_error *err);
/* what    Changes value[faults] nibbles of w, each in a row of its own that the op reads, at random places where the
           change shows in the probe of its block (a nibble that holds bits of two weights or scales can cancel there,
           and a block scale can change by less than the rounding of the sum). Call after the proof. */
fal_status fal_fixture_plant(const fal_fixture *f, fal_error *err);

/* what    Sizes of the terms of one weight row: size[c] = |d sc q| + |dmin m| (or |w|), all multiples of 2^*unit, and the
           weights themselves (value may be NULL). Returns false when a scale, minimum or float is 0 or not finite, so that
           some nibble would not matter; of a block whose own scale is so, nothing is written. */
bool fal_fixture_row_sizes(uint32_t type, const unsigned char *row, size_t n, double *size, double *value, int *unit);
/* what    The exponent of the lowest set bit of v: the largest power of two that v is a multiple of. v finite, not 0. */
int fal_fixture_lowest_bit(double v);
/* what    Rows and columns of each weight of embed, matmul, moe_matmul and moe_swiglu (experts one after the other). */
void fal_fixture_weight_shape(const fal_fixture *f, size_t *rows, size_t *columns);
/* what    The sums of an op need at most 2^this units: 24 is what f32 holds. moe_swiglu, which multiplies two of them and
           rounds once, leaves two bits, so that one unit more or less of either changes the rounded product. */
int fal_fixture_most_bits(const fal_fixture *f);
const fal_buffer *fal_fixture_array(const fal_fixture *f, const char *name); /* NULL when there is none */

#endif
