/* Distances between two rows of numbers in float64; NaN, infinity and emptiness never look like agreement. */
#ifndef FAL_METRICS_H
#define FAL_METRICS_H

#include "harness/observation.h"

/* n consecutive elements: of an observed tensor (t, from element `from` on) or of plain doubles (t is NULL). */
typedef struct {
    const fal_obs_tensor *t;
    const double *d;
    size_t from, n;
} fal_row;

/* what    Rows over a whole tensor, a part of it, or an array of doubles. Borrow. */
fal_row fal_row_whole(const fal_obs_tensor *t);
fal_row fal_row_part(const fal_obs_tensor *t, size_t from, size_t n);
fal_row fal_row_doubles(const double *d, size_t n);

/* what    Element i of the row as float64. Tensor data need not be aligned. */
double fal_row_at(fal_row r, size_t i);
/* what    True for a value that an output may hold: finite, and not negative where it is an I32, because all I32
           tensors are token or expert ids and -1 is how poison (0xFF) reads. */
bool fal_row_valid(fal_row r, size_t i);
/* what    Bytes of one element of the type. */
size_t fal_dtype_size(fal_dtype dtype);

/* what    Cosine of the angle between both rows, in [-1, 1].
   refuses an invalid element or a row of norm 0 on either side, and n == 0: NaN */
double fal_cosine(fal_row got, fal_row want);
/* what    |got - want| / max(|want|, sqrt(n) FLT_MIN). Below FLT_MIN f32 has a fixed absolute spacing, so a smaller
           norm is no scale to measure against. A row want of norm 0 demands exact zeros: 0 then, else +infinity.
   refuses an invalid element on either side, and n == 0: NaN */
double fal_rel_l2(fal_row got, fal_row want);
/* what    max |got - want|; NaN on an invalid element on either side, and for n == 0. */
double fal_max_abs(fal_row got, fal_row want);
/* what    Index of the largest element, ties to the lower index; NaN is larger than every number. n must not be 0. */
size_t fal_argmax(fal_row r);
/* what    Elements that differ in a bit, or that are invalid in got. *first: the first of them.
           Types must agree, and both rows be of tensors. */
uint64_t fal_bits_different(fal_row got, fal_row want, size_t *first);
/* what    Elements that are invalid: NaN, infinite, or a negative id; *first: the first of them. */
uint64_t fal_non_finite(fal_row r, size_t *first);
/* what    True when every element is zero (of either sign). False for n == 0. */
bool fal_all_zero(fal_row r);
/* what    True when all bytes of both rows agree. */
bool fal_same_bytes(fal_row a, fal_row b);
/* what    Where got is furthest from want: the first invalid element, else the largest difference. n must not be 0. */
size_t fal_furthest(fal_row got, fal_row want);

#endif
