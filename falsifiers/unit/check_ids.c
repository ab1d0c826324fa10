/* Unit tests of harness/ids.h and falsify ids: words behind an id do not change unseen. */
#include "falsifiers/unit/contract_folder.h"
#include "falsifiers/unit/status_desk.h"
#include "harness/ids.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_ids(void);

static void start(void)
{
    fal_desk_make();
    fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
}

static int ids(fal_desk_ran *r, const char *a, const char *b, const char *c)
{
    const char *arguments[] = { "ids", fal_desk_path("contracts"), a, b, c, NULL };
    fal_desk_run(r, fal_cmd_ids, arguments);
    return r->status;
}

/* Runs ids and expects a status and a text in what it printed or said last. */
static void expect(int status, const char *text, const char *a, const char *b, const char *c)
{
    fal_desk_ran r;
    ids(&r, a, b, c);
    ck_assert_msg(r.status == status, "exit %d, expected %d: %s\n%s", r.status, status, r.error.message, r.err);
    ck_assert_msg(!text || strstr(r.out, text) || strstr(r.err, text) || strstr(r.error.message, text),
                  "no '%s' in\n%s%s%s", text, r.out, r.err, r.error.message);
    fal_desk_forget(&r);
}

START_TEST(locks_and_compares)
{
    expect(4, "there is no such lock file", NULL, NULL, NULL);
    expect(0, "5 = 0 as locked + 5 new", "--update", NULL, NULL);
    expect(0, "5 = 5 as locked + 0 new + 0 changed + 0 gone", NULL, NULL, NULL);
    char *first = fal_test_read(fal_desk_path("contracts/ids.lock"));
    ck_assert_ptr_nonnull(strstr(first, "\nobligation T-EQV-001 "));
    ck_assert_ptr_nonnull(strstr(first, "\nstage M-T-1 "));
    expect(0, NULL, "--update", NULL, NULL);
    char *second = fal_test_read(fal_desk_path("contracts/ids.lock"));
    ck_assert_str_eq(first, second);
    free(first);
    free(second);

    /* wrapping, limits and help are no words of an id */
    fal_desk_contract("t-v1.yaml", fal_desk_two, "property: y equals x", "property: \"y  equals\\n x\"");
    expect(0, "5 as locked", NULL, NULL, NULL);
    fal_desk_contract("t-v1.yaml", fal_desk_two, "limit: {max: 1}", "limit: {max: 2}");
    expect(0, "5 as locked", NULL, NULL, NULL);
    fal_desk_contract("t-v1.yaml", fal_desk_two, "if_fails: look", "if_fails: look well");
    expect(0, "5 as locked", NULL, NULL, NULL);
    /* a new id is told, and is no error */
    fal_desk_contract("t-v1.yaml", fal_desk_two, "implementation_stages",
                      "  - {id: T-NEW-009, type: bound, property: z}\nimplementation_stages");
    expect(0, "new          obligation T-NEW-009, of t-v1 1.0.0", "-v", NULL, NULL);
}
END_TEST

START_TEST(changed_words_need_consent_and_a_version)
{
    expect(0, NULL, "--update", NULL, NULL);
    fal_desk_contract("t-v1.yaml", fal_desk_two, "property: y equals x", "property: y resembles x");
    expect(3,
           "t-v1.yaml:4:5: error: obligation T-EQV-001 is given other words than in t-v1 1.0.0, when it was locked "
           "[IDS-001]",
           NULL, NULL, NULL);
    expect(3, "IDS-001", NULL, NULL, NULL);
    expect(3, "changed its words since it was locked", "--update", NULL, NULL);
    expect(3, "is not above that of the lock", "--update", "--accept", "T-EQV-001");
    expect(3, "1 changed", NULL, NULL, NULL); /* the refusals wrote nothing */
    char *text = strdup(fal_desk_two);
    memcpy(strstr(text, "1.0.0"), "1.1.0", 5);
    fal_desk_contract("t-v1.yaml", text, "property: y equals x", "property: y resembles x");
    expect(3, "changed its words", "--update", NULL, NULL); /* the version alone is no consent */
    expect(4, "nothing of that id changed", "--update", "--accept", "T-EQV-002");
    expect(0, "locked", "--update", "--accept", "T-EQV-001");
    expect(0, "5 as locked", NULL, NULL, NULL);
    fal_desk_contract("t-v1.yaml", text, NULL, NULL); /* back to the first words: another change */
    expect(3, "1 changed", NULL, NULL, NULL);
    free(text);
}
END_TEST

/* Rule: an id that went stays locked, and cannot come back for something else. */
START_TEST(gone_ids_stay_taken)
{
    static const char obligation[] = "  - {id: T-OLD-003, type: bound, property: z}\n";
    char text[4096], with[200];
    snprintf(with, sizeof with, "%simplementation_stages", obligation);
    fal_desk_contract("t-v1.yaml", fal_desk_two, "implementation_stages", with);
    expect(0, NULL, "--update", NULL, NULL);
    fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
    expect(3, "obligation T-OLD-003, of t-v1 1.0.0, is in no contract any more [IDS-002]", NULL, NULL, NULL);
    expect(3, "IDS-002", NULL, NULL, NULL);
    expect(3, "is gone since it was locked", "--update", NULL, NULL);
    expect(0, NULL, "--update", "--accept", "T-OLD-003");
    expect(0, "6 as locked + 0 new + 0 changed + 0 gone", NULL, NULL, NULL);
    char *lock = fal_test_read(fal_desk_path("contracts/ids.lock"));
    ck_assert_ptr_nonnull(strstr(lock, " t-v1 1.0.0 gone\n"));
    free(lock);
    snprintf(text, sizeof text, "  - {id: T-OLD-003, type: bound, property: something else}\nimplementation_stages");
    fal_desk_contract("t-v1.yaml", fal_desk_two, "implementation_stages", text);
    expect(3, "obligation T-OLD-003 is given other words", NULL, NULL, NULL);

    /* a contract that goes takes its ids with it, where the whole folder is looked at */
    unlink(fal_desk_path("contracts/t-v1.yaml"));
    fal_desk_contract("u-v1.yaml", FAL_TEST_MINIMAL(""), NULL, NULL);
    expect(3, "5 gone", NULL, NULL, NULL);
    fal_desk_ran r;
    const char *one[] = { "ids", fal_desk_path("contracts/u-v1.yaml"), NULL };
    fal_desk_run(&r, fal_cmd_ids, one);
    ck_assert_int_eq(r.status, 0);
    fal_desk_forget(&r);
}
END_TEST

START_TEST(bad_lock_files_and_arguments)
{
    static const char *const locks[] = { "obligation T-EQV-001\n", "thing T 0 t-v1 1.0.0\n",
                                         "\n\nobligation T-EQV-001 zz t-v1 1.0.0\n", "no end" };
    FILE *nul = fopen(fal_desk_path("contracts/ids.lock"), "w");
    ck_assert_ptr_nonnull(nul);
    ck_assert_uint_eq(fwrite("\0\n", 1, 2, nul), 2);
    fclose(nul);
    expect(3, "ids.lock:1: is no whole line", NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        fal_desk_write("contracts/ids.lock", locks[i]);
        expect(3, "ids.lock:", NULL, NULL, NULL);
        expect(3, "ids.lock:", "--update", NULL, NULL); /* never written over in silence */
    }
    unlink(fal_desk_path("contracts/ids.lock"));
    expect(2, "--accept goes with --update", "--accept", "T-EQV-001", NULL);
    expect(2, "needs a value", "--update", "--accept", NULL);
    expect(2, "unknown option", "--updat", NULL, NULL);
    expect(2, "no format", "--format", "xml", NULL);
    expect(8, NULL, "--update", "--lock", "/nonexistent/folder/ids.lock");
    fal_desk_ran r;
    ids(&r, "--update", "--format", "json");
    json_t *j = json_loads(r.out, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "new")), 5);
    json_decref(j);
    fal_desk_forget(&r);
}
END_TEST

/* Rule: the words of our own ids are those that were locked. */
START_TEST(our_own_ids_are_locked)
{
    fal_desk_ran r;
    const char *arguments[] = { "ids", "contracts", NULL };
    fal_desk_run(&r, fal_cmd_ids, arguments);
    ck_assert_msg(r.status == 0, "%s\n%s", r.error.message, r.err);
    fal_desk_forget(&r);
}
END_TEST

Suite *fal_suite_ids(void)
{
    Suite *s = suite_create("ids");
    TCase *t = tcase_create("ids");
    tcase_add_checked_fixture(t, start, fal_desk_remove);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, locks_and_compares);
    tcase_add_test(t, changed_words_need_consent_and_a_version);
    tcase_add_test(t, gone_ids_stay_taken);
    tcase_add_test(t, bad_lock_files_and_arguments);
    tcase_add_test(t, our_own_ids_are_locked);
    suite_add_tcase(s, t);
    return s;
}
