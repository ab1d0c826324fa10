/* IEEE 754 binary16 to binary32 and back, in integer arithmetic so that no compiler or rounding mode has a say. */
#include "harness/half.h"

#include <string.h>

/*  binary16  s eeeee ffffffffff                    value = (-1)^s 2^(e-15) (1 + f/2^10);  e = 0: 2^-14 (f/2^10)
    binary32  s eeeeeeee fffffffffffffffffffffff    value = (-1)^s 2^(e-127) (1 + f/2^23); e = 0: 2^-126 (f/2^23) */

float fal_half_to_float(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu;
    uint32_t fraction = bits & 0x3ffu;
    uint32_t out;
    if (exponent == 0x1f) {
        out = sign | 0x7f800000u | fraction << 13;
    } else if (exponent != 0) {
        out = sign | (exponent + (127 - 15)) << 23 | fraction << 13;
    } else if (fraction == 0) {
        out = sign;
    } else {
        /* A subnormal half is a normal float: shift until the leading one stands where it is implied. */
        exponent = 127 - 14;
        while (!(fraction & 0x400u)) {
            fraction <<= 1;
            exponent--;
        }
        out = sign | exponent << 23 | (fraction & 0x3ffu) << 13;
    }
    float value;
    memcpy(&value, &out, sizeof value);
    return value;
}

/* v / 2^shift, ties to even; shift in [1, 31]. */
static uint32_t shift_to_even(uint32_t v, unsigned shift)
{
    const uint32_t kept = v >> shift;
    const uint32_t lost = v & ((1u << shift) - 1u);
    const uint32_t tie = 1u << (shift - 1);
    return kept + (lost > tie || (lost == tie && (kept & 1u)));
}

uint16_t fal_float_to_half(float value)
{
    uint32_t in;
    memcpy(&in, &value, sizeof in);
    const uint32_t sign = in >> 16 & 0x8000u;
    const uint32_t magnitude = in & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
    /* 65520 = (65504 + 65536) / 2 is the first value that rounds past the largest half. */
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    /* Normal halves start at 2^-14; rounding may carry into the exponent, which is then right as well. */
    if (magnitude >= 0x38800000u) return (uint16_t)(sign | (shift_to_even(magnitude, 13) - ((127u - 15u) << 10)));
    /* Half of the smallest subnormal, 2^-25, is a tie and goes to zero. */
    if (magnitude <= 0x33000000u) return (uint16_t)sign;
    const uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u;
    /* value = fraction 2^(e-150), and a subnormal half counts 2^-24: shift by 126 - e, which is 14..24 here. */
    return (uint16_t)(sign | shift_to_even(fraction, 126u - (magnitude >> 23)));
}
