/* Unit tests of harness/text.h: escaping, widths, globs and suggestions. */
#include "harness/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

Suite *fal_suite_text(void);

#define ASSERT_SAFE(in, out)                                                                                           \
    do {                                                                                                               \
        fal_text t_ = { 0 };                                                                                           \
        fal_text_add_safe(&t_, in, sizeof(in) - 1);                                                                    \
        ck_assert_str_eq(fal_text_str(&t_), out);                                                                      \
        fal_text_free(&t_);                                                                                            \
    } while (0)

START_TEST(safe_text_shows_what_would_act_or_vanish)
{
    ASSERT_SAFE("plain, πß, 日本, 🎉", "plain, πß, 日本, 🎉");
    ASSERT_SAFE("a\x1b[31mb", "a\\x1b[31mb");
    ASSERT_SAFE("a\0b", "a\\x00b");
    ASSERT_SAFE("a\r\n\tb\x7f", "a\\x0d\\x0a\\x09b\\x7f");
    ASSERT_SAFE("\xc2\x9b", "\\x9b");               /* C1: CSI of an 8-bit terminal */
    ASSERT_SAFE("\xe2\x80\xae", "\\u{202E}");       /* right-to-left override */
    ASSERT_SAFE("a\xe2\x80\x8b", "a\\u{200B}");     /* zero-width space */
    ASSERT_SAFE("\xf3\xa0\x81\x81", "\\u{E0041}");  /* tag character */
    ASSERT_SAFE("\xc0\x80", "\\xc0\\x80");          /* overlong NUL */
    ASSERT_SAFE("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
    ASSERT_SAFE("\xe6\x97", "\\xe6\\x97");          /* cut off */
    ASSERT_SAFE("", "");
}
END_TEST

START_TEST(print_and_add_safe_agree)
{
    char in[512];
    for (int i = 0; i < 512; i++) in[i] = (char)(i * 7 + i / 3);
    fal_text t = { 0 };
    fal_text_add_safe(&t, in, sizeof in);
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    ck_assert_ptr_nonnull(f);
    fal_text_print(f, in, sizeof in);
    fclose(f);
    ck_assert_uint_eq(n, t.len);
    ck_assert_str_eq(out, fal_text_str(&t));
    free(out);
    fal_text_free(&t);
}
END_TEST

START_TEST(growing_text_stays_terminated)
{
    fal_text t = { 0 };
    ck_assert_str_eq(fal_text_str(&t), "");
    fal_text_add(&t, NULL);
    for (int i = 0; i < 1000; i++) fal_text_addf(&t, "%d,", i);
    ck_assert_uint_eq(t.len, 10 * 2 + 90 * 3 + 900 * 4);
    ck_assert_uint_eq(strlen(t.data), t.len);
    fal_text_add_n(&t, "a\0b", 3);
    ck_assert_mem_eq(t.data + t.len - 3, "a\0b\0", 4);
    ck_assert(!t.failed);
    fal_text_add_n(&t, "", (size_t)-1 / 2); /* cannot fit: fails, and stays as it was */
    ck_assert(t.failed);
    ck_assert_int_eq(t.data[t.len], 0);
    fal_text_free(&t);
    ck_assert_ptr_null(t.data);
    fal_text_free(NULL);
}
END_TEST

START_TEST(utf8_follows_the_standard)
{
    unsigned c = 0;
    ck_assert_uint_eq(fal_utf8_next("", 0, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xf4\x8f\xbf\xbf", 4, &c), 4);
    ck_assert_uint_eq(c, 0x10FFFF);
    ck_assert_uint_eq(fal_utf8_next("\xf4\x90\x80\x80", 4, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xe0\x9f\xbf", 3, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xf0\x8f\xbf\xbf", 4, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xc1\xbf", 2, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\x80", 1, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xff", 1, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xc3\xa9", 1, &c), 0);
    ck_assert_uint_eq(fal_utf8_next("\xc3\xa9", 2, &c), 2);
    ck_assert_uint_eq(c, 0xE9);
}
END_TEST

START_TEST(width_is_in_terminal_columns)
{
#define WIDTH(s) fal_text_width(s, sizeof(s) - 1)
    ck_assert_int_eq(WIDTH("abc"), 3);
    ck_assert_int_eq(WIDTH("日本語"), 6);
    ck_assert_int_eq(WIDTH("e\xcc\x81"), 1); /* e and a combining acute */
    ck_assert_int_eq(WIDTH("🎉"), 2);
    ck_assert_int_eq(WIDTH("≥—π"), 3);
    ck_assert_int_eq(WIDTH("ｆｕｌｌ"), 8);
    ck_assert_int_eq(WIDTH("\xff\xfe"), 2);
    ck_assert_int_eq(WIDTH(""), 0);
#undef WIDTH
}
END_TEST

START_TEST(globs_match_whole_strings)
{
    static const struct {
        const char *pattern, *s;
        bool match;
    } cases[] = {
        { "", "", true },
        { "", "a", false },
        { "*", "", true },
        { "**", "a/b", true },
        { "a*c", "abbbc", true },
        { "a*c", "abbbd", false },
        { "*abab", "abababab", true },
        { "a?c", "abc", true },
        { "a?c", "ac", false },
        { "a?", "aé", true }, /* '?' is a character, not a byte */
        { "[a-c]x", "bx", true },
        { "[a-c]x", "dx", false },
        { "[!a-c]x", "dx", true },
        { "[^a-c]x", "bx", false },
        { "[]]", "]", true },
        { "[a-]", "-", true },
        { "[é-ü]", "ö", true },
        { "[abc", "[abc", true }, /* a set that never closes is text */
        { "[abc", "a", false },
        { "blk.*.attn", "blk.12.attn", true },
        { "blk.*.attn", "blk.12.attn_norm", false },
        { "blk.[0-3].q", "blk.4.q", false },
        { "A", "a", false },
        { "*x*y*z*", "..x..y..z..", true },
        { "\xff*", "\xff\xfe", true },
        { "\xff*", "\xfe\xff", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(fal_glob_match(cases[i].pattern, cases[i].s) == cases[i].match, "glob '%s' on '%s'",
                      cases[i].pattern, cases[i].s);
}
END_TEST

START_TEST(globs_do_not_blow_up)
{
    char pattern[402], s[4001];
    for (int i = 0; i < 400; i += 2) memcpy(pattern + i, "a*", 2);
    pattern[400] = 'b';
    pattern[401] = '\0';
    memset(s, 'a', 4000);
    s[4000] = '\0';
    const clock_t start = clock();
    ck_assert(!fal_glob_match(pattern, s));
    ck_assert((clock() - start) < CLOCKS_PER_SEC);
}
END_TEST

START_TEST(nearest_is_near_and_unique)
{
    static const char *const keys[] = { "limit", "judge", "backends", "basis", "against", "falsification_tests" };
    const size_t n = sizeof keys / sizeof keys[0];
    ck_assert_str_eq(fal_nearest("limt", keys, n), "limit");
    ck_assert_str_eq(fal_nearest("jugde", keys, n), "judge"); /* one transposition */
    ck_assert_str_eq(fal_nearest("falsifcation_test", keys, n), "falsification_tests");
    ck_assert_str_eq(fal_nearest("backend", keys, n), "backends");
    ck_assert_str_eq(fal_nearest("basis", keys, n), "basis");
    ck_assert_ptr_null(fal_nearest("zebra", keys, n));
    ck_assert_ptr_null(fal_nearest("", keys, n));
    ck_assert_ptr_null(fal_nearest("x", keys, 0));

    static const char *const tie[] = { "cat", "bat" };
    ck_assert_ptr_null(fal_nearest("rat", tie, 2));
    static const char *const same[] = { "cat", "cat" };
    ck_assert_str_eq(fal_nearest("rat", same, 2), "cat");
    static const char *const transposed[] = { "ab" };
    ck_assert_str_eq(fal_nearest("ba", transposed, 1), "ab");
    static const char *const far[] = { "abcdef" };
    ck_assert_str_eq(fal_nearest("abcdxy", far, 1), "abcdef"); /* 2 of 6 */
    ck_assert_ptr_null(fal_nearest("abcxyz", far, 1));         /* 3 of 6 */

    char huge[5000];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    ck_assert_ptr_null(fal_nearest(huge, keys, n));
}
END_TEST

Suite *fal_suite_text(void)
{
    Suite *s = suite_create("text");
    TCase *t = tcase_create("text");
    tcase_add_test(t, safe_text_shows_what_would_act_or_vanish);
    tcase_add_test(t, print_and_add_safe_agree);
    tcase_add_test(t, growing_text_stays_terminated);
    tcase_add_test(t, utf8_follows_the_standard);
    tcase_add_test(t, width_is_in_terminal_columns);
    tcase_add_test(t, globs_match_whole_strings);
    tcase_add_test(t, globs_do_not_blow_up);
    tcase_add_test(t, nearest_is_near_and_unique);
    suite_add_tcase(s, t);
    return s;
}
