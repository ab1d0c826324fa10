/* The noise floor of a check: the value that rounding alone is expected to give a right float32 implementation. */
#ifndef FAL_NOISE_H
#define FAL_NOISE_H

#include "harness/judge.h"

/* what    An estimate of the metric's value when every operation does what the exact class declares: float32 values and sums,
           rounded to nearest, in any order. u = 2^-24. A sum of n products errs by 0.3 sqrt(n) u of its scale on average
           (Higham, Mary 2019: errors of random sign), other operations by u; along a forward pass the errors of the ops add
           up like a random walk. relative L2 is that error e; a cosine is 1 - e^2/2; counts and bits are 0. It is an
           expectation, not a bound: limits stand in the contracts.
   refuses metrics whose scale the check does not say (max_abs) and those that measure no rounding: false */
bool fal_noise_of(const fal_check *check, const fal_config *config, double *out);

#endif
