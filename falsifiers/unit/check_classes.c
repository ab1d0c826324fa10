/* The classes of failure that the harness makes impossible, as far as contracts bring them in: a file for each, refused. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

Suite *fal_suite_classes(void);

#define FILES "falsifiers/unit/contracts/"

/* One way in which a class shows, and the refusal of it by the program itself. */
typedef struct {
    int number;        /* of the class */
    const char *words; /* what it is */
    const char *args;  /* of the program; @ stands for the folder of the files */
    int status;        /* exit status */
    const char *says;  /* stands in what it prints */
} refusal;

static const refusal refusals[] = {
    { 1, "prose counted as a test", "validate @class-01-prose-v1.yaml", 3, "unknown key 'test' in a falsifier" },
    { 1, "prose counted as a test, without a word", "validate --deny-warnings @class-01-silent-v1.yaml", 3,
      "0 bound (0 checks) + 1 unbound" },
    { 1, "prose of a foreign contract counted as tests", "validate --profile pv @pv", 0,
      "6 = 0 bound (0 checks) + 6 unbound" },
    { 5, "silently dropped keys", "validate @class-05-dropped-key-v1.yaml", 3, "unknown key 'chekc'" },
    { 6, "unresolved references", "validate @class-06-unresolved-v1.yaml", 3, "no obligation 'CUR-INV-01'" },
    { 8, "counting tests instead of mapping obligations", "validate --deny-warnings @class-08-counting-v1.yaml", 3,
      "1 of 2 have a bound falsifier" },
    { 9, "self-referential checks", "validate @class-09-self-reference-v1.yaml", 3, "[CON-015]" },
    { 11, "negative falsifiers without an end", "validate @class-11-negative-v1.yaml", 3, "[CON-018]" },
    { 17, "limits without a recorded basis", "validate @class-17-no-basis-v1.yaml", 3, "lacks the key 'basis'" },
    { 17, "limits whose basis is a placeholder", "validate @class-17-placeholder-v1.yaml", 3, "[CON-019]" },
    { 18, "gates that drift", "validate --deny-warnings @class-18-gate-v1.yaml", 3,
      "leaves out 1 bound falsifier, first FALSIFY-CGA-002" },
    { 18, "versions that drift", "validate --deny-warnings @class-18-version-v1.yaml", 3, "[CON-103]" },
    { 18, "summaries that drift: counts are computed", "validate @class-18-summary-v1.yaml", 3,
      "unknown key 'verification_summary'" },
    { 18, "stages that drift", "validate @class-18-stage-v1.yaml", 3, "[CON-022]" },
    { 19, "self-issued exemptions by a flag", "validate @class-19-registry-v1.yaml", 3, "unknown key 'registry'" },
    { 19, "self-issued exemptions by a kind", "validate --deny-warnings @class-19-kind-v1.yaml", 3, "[CON-102]" },
    { 19, "exemptions that nobody owns", "validate @class-19-waiver-owner-v1.yaml", 3,
      "a waiver lacks the key 'owner'" },
    { 19, "exemptions without an end", "validate @class-19-waiver-expiry-v1.yaml", 3,
      "a waiver lacks the key 'expires'" },
    { 19, "exemptions without a bound", "validate @class-19-waiver-maximum-v1.yaml", 3,
      "a waiver lacks the key 'limit'" },
    { 19, "exemptions for years", "validate @class-19-waiver-long-v1.yaml", 3, "[CON-020]" },
    { 19, "exemptions past their end", "validate --deny-warnings --today 2026-11-27 @class-19-waiver-expired-v1.yaml",
      3, "[CON-108]" },
    { 20, "a dependency without an executable test",
      "validate @class-20-parent-v1.yaml @class-20-prose-dependency-v1.yaml", 3,
      "so this contract cannot be ACTIVE_ALGORITHM_LEVEL [CON-023]" },
    { 21, "duplicate keys", "validate @class-21-duplicate-key-v1.yaml", 3, "duplicate key 'limit'" },
    { 21, "duplicate ids", "validate @class-00-control-v1.yaml @twice/class-00-other-v1.yaml", 3,
      "id 'FALSIFY-CTRL-001' is taken" },
    { 21, "duplicate stems", "validate @class-00-control-v1.yaml @twice/class-00-control-v1.yaml", 3, "[CON-016]" },
    { 23, "unparseable means skipped", "validate @class-23-unparseable-v1.yaml", 3, "[FORM-010]" },
    { 23, "unparseable means skipped, beside others",
      "validate @class-00-control-v1.yaml @class-23-unparseable-v1.yaml", 3, "2 found, 1 read as YAML" },
    { 23, "unparseable means skipped, by another command", "plan --no-probe --root @walker", 3,
      "class-23-unparseable-v1.yaml:10:10" },
    { 23, "a file that one walker sees and another does not", "validate @yml", 3, "[CON-016]" },
    { 24, "a limit that nothing can break", "validate @class-24-limit-v1.yaml", 3, "is not a finite number" },
    /* and check_contract_pv.c: every rule of the validator was shown to fire */
};

/* Those that concern contracts; each needs a row. */
static const int classes[] = { 1, 5, 6, 8, 9, 11, 17, 18, 19, 20, 21, 23, 24 };

enum { N_REFUSALS = sizeof refusals / sizeof refusals[0] };

/* What the program prints on both streams, and its exit status. */
static char *run(const char *args, int *status)
{
    char *line = NULL, *text = NULL;
    size_t n = 0, size = 0;
    FILE *out = open_memstream(&line, &size);
    ck_assert_ptr_nonnull(out);
    fputs("NO_COLOR=1 " FAL_PROGRAM " ", out);
    for (const char *s = args; *s; s++)
        if (*s == '@')
            fputs(FILES, out);
        else
            fputc(*s, out);
    fputs(" 2>&1 </dev/null", out);
    fclose(out);
    FILE *from = popen(line, "r");
    ck_assert_ptr_nonnull(from);
    FILE *to = open_memstream(&text, &n);
    ck_assert_ptr_nonnull(to);
    for (int c; (c = fgetc(from)) != EOF;) fputc(c, to);
    fclose(to);
    const int ended = pclose(from);
    ck_assert(WIFEXITED(ended));
    *status = WEXITSTATUS(ended);
    free(line);
    return text;
}

START_TEST(class_is_refused)
{
    const refusal *r = &refusals[_i];
    int status = 0;
    char *text = run(r->args, &status);
    ck_assert_msg(status == r->status, "class %d, %s: falsify %s exits %d, expected %d:\n%s", r->number, r->words,
                  r->args, status, r->status, text);
    ck_assert_msg(strstr(text, r->says) != NULL, "class %d, %s: falsify %s does not say \"%s\":\n%s", r->number,
                  r->words, r->args, r->says, text);
    free(text);
}
END_TEST

/* Nothing but the defect is wrong with them: what they were made from holds. */
START_TEST(control_holds)
{
    int status = 0;
    char *text = run("validate --deny-warnings @class-00-control-v1.yaml", &status);
    ck_assert_msg(status == 0, "exit %d:\n%s", status, text);
    free(text);
}
END_TEST

START_TEST(every_class_has_a_row)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        int n = 0;
        for (int k = 0; k < N_REFUSALS; k++) n += refusals[k].number == classes[i];
        ck_assert_msg(n > 0, "class %d has no file that shows its refusal", classes[i]);
    }
}
END_TEST

START_TEST(every_file_has_a_row)
{
    DIR *dir = opendir(FILES);
    ck_assert_msg(dir != NULL, "run from the root of the repository");
    int n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strncmp(e->d_name, "class-", 6) != 0) continue;
        int k = 0;
        while (k < N_REFUSALS && !strstr(refusals[k].args, e->d_name)) k++;
        ck_assert_msg(k < N_REFUSALS, "no row uses " FILES "%s", e->d_name);
        n++;
    }
    closedir(dir);
    ck_assert_int_gt(n, 5);
}
END_TEST

Suite *fal_suite_classes(void)
{
    Suite *s = suite_create("classes");
    TCase *table = tcase_create("table");
    tcase_add_loop_test(table, class_is_refused, 0, N_REFUSALS);
    tcase_add_test(table, control_holds);
    tcase_add_test(table, every_class_has_a_row);
    tcase_add_test(table, every_file_has_a_row);
    suite_add_tcase(s, table);
    return s;
}
