/* Tests of SHA-256 against the examples of FIPS 180, in memory and over files. */
#include "harness/digest.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_digest(void);

/* From FIPS 180-2 appendix B and the NIST example values; a million 'a' is the long one. */
static const struct {
    const char *text, *hex;
} examples[] = {
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};
static const char million_a[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

START_TEST(memory)
{
    char hex[65];
    ck_assert_int_eq(fal_sha256(examples[_i].text, strlen(examples[_i].text), hex, NULL), FAL_OK);
    ck_assert_str_eq(hex, examples[_i].hex);
}
END_TEST

/* Rule: no bytes at all are a content, no address is a mistake. */
START_TEST(nothing)
{
    char hex[65] = "";
    ck_assert_int_eq(fal_sha256(NULL, 0, hex, NULL), FAL_OK);
    ck_assert_str_eq(hex, examples[0].hex);
    ck_assert_int_eq(fal_sha256(NULL, 1, hex, NULL), FAL_ERR_INTERNAL);
}
END_TEST

/* Rule: a file has the digest of its bytes, also across several reads. */
START_TEST(file)
{
    char folder[] = "/tmp/falsify-digest-XXXXXX", path[64], hex[65];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 1000000; i++) fputc('a', f);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(fal_sha256_file(path, hex, NULL), FAL_OK);
    ck_assert_str_eq(hex, million_a);
    unlink(path);

    fal_error err = { 0 };
    ck_assert_int_eq(fal_sha256_file(path, hex, &err), FAL_ERR_INPUT);
    ck_assert(strstr(err.message, path) && strstr(err.message, "No such file"));
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_sha256_file(folder, hex, &err), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "not a regular file"));
    rmdir(folder);
}
END_TEST

Suite *fal_suite_digest(void)
{
    Suite *s = suite_create("digest");
    TCase *t = tcase_create("digest");
    tcase_add_loop_test(t, memory, 0, sizeof examples / sizeof examples[0]);
    tcase_add_test(t, nothing);
    tcase_add_test(t, file);
    suite_add_tcase(s, t);
    return s;
}
