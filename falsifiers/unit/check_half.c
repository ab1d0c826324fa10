/* Tests of binary16 conversion: all 65,536 values against the closed form, and rounding against neighbouring halves. */
#include "harness/half.h"

#include <check.h>
#include <math.h>
#include <string.h>

Suite *fal_suite_half(void);

static uint32_t bits_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* Rule: a half is (-1)^s 2^(e-15) (1 + f/1024), 2^-24 f for e = 0, infinity or NaN for e = 31; 0 keeps its sign. */
START_TEST(every_half_has_its_value)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        const int e = (int)(h >> 10 & 31), f = (int)(h & 1023);
        const float got = fal_half_to_float((uint16_t)h);
        ck_assert_int_eq(signbit(got) != 0, (int)(h >> 15));
        if (e == 31 && f != 0) {
            ck_assert_msg(isnan(got), "half 0x%04x is %g, expected NaN", h, (double)got);
            ck_assert_uint_eq(bits_of(got) & 0x7fffffu, (uint32_t)f << 13);
            continue;
        }
        const double magnitude = e == 31 ? (double)INFINITY : e == 0 ? ldexp(f, -24) : ldexp(1024 + f, e - 25);
        ck_assert_msg((double)fabsf(got) == magnitude, "half 0x%04x is %a, expected %a", h, (double)got, magnitude);
    }
}
END_TEST

/* Rule: a value that a half holds exactly comes back with the same bits. */
START_TEST(every_half_survives_the_round_trip)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        const uint16_t back = fal_float_to_half(fal_half_to_float((uint16_t)h));
        const int is_nan = (h & 0x7fff) > 0x7c00;
        ck_assert_uint_eq(back, is_nan ? h | 0x200 : h);
    }
}
END_TEST

/* Rule: a float between two halves goes to the nearer one, a tie to the even one. */
START_TEST(rounding_is_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const float low = fal_half_to_float((uint16_t)h), high = fal_half_to_float((uint16_t)(h + 1));
        const float middle = (low + high) / 2.0f; /* exact: both have 11 bits and the same or the next exponent */
        const uint32_t even = h % 2 == 0 ? h : h + 1;
        for (uint32_t sign = 0; sign <= 1; sign++) {
            const float s = sign ? -1.0f : 1.0f;
            ck_assert_uint_eq(fal_float_to_half(s * middle), even | sign << 15);
            ck_assert_uint_eq(fal_float_to_half(s * float_of(bits_of(middle) - 1)), h | sign << 15);
            ck_assert_uint_eq(fal_float_to_half(s * float_of(bits_of(middle) + 1)), (h + 1) | sign << 15);
        }
    }
}
END_TEST

/* Rule: what is too large becomes infinity, what is too small a signed zero, and NaN stays NaN. */
START_TEST(the_ends_of_the_range)
{
    ck_assert_uint_eq(fal_float_to_half(65519.996f), 0x7bff);
    ck_assert_uint_eq(fal_float_to_half(65520.0f), 0x7c00);
    ck_assert_uint_eq(fal_float_to_half(-3.4e38f), 0xfc00);
    ck_assert_uint_eq(fal_float_to_half(INFINITY), 0x7c00);
    ck_assert_uint_eq(fal_float_to_half(ldexpf(1.0f, -25)), 0x0000);
    ck_assert_uint_eq(fal_float_to_half(-ldexpf(1.0f, -149)), 0x8000);
    ck_assert_uint_eq(fal_float_to_half(float_of(0x7f800001u)), 0x7e00);
    ck_assert_uint_eq(fal_float_to_half(float_of(0xffc02000u)), 0xfe01);
}
END_TEST

#ifdef __FLT16_MAX__
__extension__ typedef _Float16 compiler_half; /* not in C17 */

/* Rule: the compiler's own binary16 agrees, for floats with every exponent. */
START_TEST(agrees_with_the_compiler)
{
    uint32_t u = 1;
    for (int i = 0; i < 400000; i++) {
        u = u * 1664525u + 1013904223u;
        /* Two thirds of all floats are far outside of binary16: fold the exponent into [96, 160). */
        const uint32_t in = (u & 0x807fffffu) | (96u + (u >> 23 & 63u)) << 23;
        const compiler_half half_value = (compiler_half)float_of(in);
        uint16_t want;
        memcpy(&want, &half_value, sizeof want);
        ck_assert_msg(fal_float_to_half(float_of(in)) == want, "float 0x%08x", in);
    }
}
END_TEST
#endif

Suite *fal_suite_half(void)
{
    Suite *s = suite_create("half");
    TCase *c = tcase_create("half");
    tcase_add_test(c, every_half_has_its_value);
    tcase_add_test(c, every_half_survives_the_round_trip);
    tcase_add_test(c, rounding_is_to_nearest_even);
    tcase_add_test(c, the_ends_of_the_range);
#ifdef __FLT16_MAX__
    tcase_add_test(c, agrees_with_the_compiler);
#endif
    suite_add_tcase(s, c);
    return s;
}
