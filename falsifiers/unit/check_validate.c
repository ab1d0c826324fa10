/* Unit tests of falsify validate: what it prints, where, and its exit status. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/cmd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_validate(void);

typedef struct {
    char *out, *err;
    size_t n_out, n_err;
    fal_error error;
    int status;
} ran;

static void validate(ran *r, int argc, const char *const *argv)
{
    char *args[8] = { 0 };
    ck_assert_int_lt(argc, 8);
    for (int i = 0; i < argc; i++) args[i] = strdup(argv[i]);
    *r = (ran){ 0 };
    const int no_stop = 0;
    const fal_cmd_env env = { .program = "falsify",
                              .tmp = "/tmp",
                              .out = open_memstream(&r->out, &r->n_out),
                              .err = open_memstream(&r->err, &r->n_err),
                              .stop = &no_stop };
    r->status = fal_cmd_validate(argc, args, &env, &r->error);
    fclose(env.out);
    fclose(env.err);
    for (int i = 0; i < argc; i++) free(args[i]);
}

static void forget(ran *r)
{
    free(r->out);
    free(r->err);
}

START_TEST(validate_counts_and_exits)
{
    ran r;
    validate(&r, 2, (const char *[]){ "validate", FAL_TEST_CONTRACTS });
    ck_assert_int_eq(r.status, 0);
    ck_assert_str_eq(r.out, "contracts    2 found, 2 read as YAML, 2 valid\n"
                            "falsifiers   6 = 4 bound (7 checks) + 1 unbound + 1 retired\n"
                            "obligations  3 of 3 have a bound falsifier\n");
    ck_assert_str_eq(r.err, "");
    forget(&r);

    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") "colour: red\n");
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.err, "/a-v1.yaml:3:1: error: unknown key 'colour' in a contract [CON-001]"));
    ck_assert_ptr_nonnull(strstr(r.out, "1 found, 1 read as YAML, 0 valid"));
    ck_assert_str_ne(r.error.message, "");
    ck_assert_ptr_null(strchr(r.err, '\x1b'));
    forget(&r);

    validate(&r, 3, (const char *[]){ "validate", "--color=always", fal_test_folder });
    ck_assert_ptr_nonnull(strchr(r.err, '\x1b'));
    forget(&r);

    validate(&r, 2, (const char *[]){ "validate", "/tmp/no/such/folder" });
    ck_assert_int_eq(r.status, 4);
    ck_assert_str_ne(r.error.message, "");
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--colour" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--color=blue" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--help" });
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "usage:"));
    forget(&r);
}
END_TEST

START_TEST(con_017_unknown_judgement)
{
    fal_test_write_changed("judge: cosine", "judge: cosne");
    ran r;
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.err, "FALSIFY-EK-001/forward_cosine: there is no judgement 'cosne' [CON-017]"));
    ck_assert_ptr_nonnull(strstr(r.err, "did you mean 'cosine'?"));
    ck_assert_ptr_nonnull(strstr(r.out, "2 found, 2 read as YAML, 1 valid"));
    forget(&r);
}
END_TEST

START_TEST(our_own_contracts_are_valid)
{
    ran r;
    validate(&r, 2, (const char *[]){ "validate", "contracts" });
    ck_assert_msg(r.status == 0, "%s\n%s", r.error.message, r.err);
    forget(&r);
}
END_TEST

START_TEST(output_that_cannot_be_written_is_an_error)
{
    FILE *full = fopen("/dev/full", "w");
    if (!full) return; /* a system without it cannot show this */
    char name[] = "validate", path[] = FAL_TEST_CONTRACTS;
    char *args[] = { name, path };
    const int no_stop = 0;
    fal_error err = { 0 };
    const fal_cmd_env env = { .program = "falsify", .tmp = "/tmp", .out = full, .err = stderr, .stop = &no_stop };
    ck_assert_int_eq(fal_cmd_validate(2, args, &env, &err), 8);
    fclose(full);
}
END_TEST

Suite *fal_suite_validate(void)
{
    Suite *s = suite_create("validate");
    TCase *command = tcase_create("command");
    tcase_add_checked_fixture(command, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_test(command, validate_counts_and_exits);
    tcase_add_test(command, con_017_unknown_judgement);
    tcase_add_test(command, our_own_contracts_are_valid);
    tcase_add_test(command, output_that_cannot_be_written_is_an_error);
    suite_add_tcase(s, command);
    return s;
}
