/* IEEE 754 binary16 to binary32 and back, bit for bit the same on every machine. */
#ifndef FAL_HALF_H
#define FAL_HALF_H

#include <stdint.h>

/* what    The value of the binary16 with these bits; exact. A NaN keeps its sign and payload. */
float fal_half_to_float(uint16_t bits);
/* what    The nearest binary16, ties to even; magnitudes of 65520 and more become infinity; a NaN stays a (quiet) NaN
           with the upper bits of its payload. */
uint16_t fal_float_to_half(float value);

#endif
