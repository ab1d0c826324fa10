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
    { 5, "silently dropped keys", "validate @class-05-dropped-key-v1.yaml", 3, "unknown key 'chekc'" },
    { 6, "unresolved references", "validate @class-06-unresolved-v1.yaml", 3, "no obligation 'CUR-INV-01'" },
    { 9, "self-referential checks", "validate @class-09-self-reference-v1.yaml", 3, "[CON-015]" },
    { 17, "limits without a recorded basis", "validate @class-17-no-basis-v1.yaml", 3, "lacks the key 'basis'" },
    { 21, "duplicate keys", "validate @class-21-duplicate-key-v1.yaml", 3, "duplicate key 'limit'" },
    { 21, "duplicate ids", "validate @class-00-control-v1.yaml @twice/class-00-other-v1.yaml", 3, "id 'FALSIFY-CTRL-001' is taken" },
    { 21, "duplicate stems", "validate @class-00-control-v1.yaml @twice/class-00-control-v1.yaml", 3, "[CON-016]" },
    { 23, "unparseable means skipped", "validate @class-23-unparseable-v1.yaml", 3, "[FORM-010]" },
    { 23, "unparseable means skipped, beside others", "validate @class-00-control-v1.yaml @class-23-unparseable-v1.yaml", 3,
      "2 found, 1 read as YAML" },
    { 23, "a file that one walker sees and another does not", "validate @yml", 3, "[CON-016]" },
};

/* Those that concern contracts; each needs a row. */
static const int classes[] = { 5, 6, 9, 17, 21, 23 };

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
    ck_assert_msg(status == r->status, "class %d, %s: falsify %s exits %d, expected %d:\n%s", r->number, r->words, r->args,
                  status, r->status, text);
    ck_assert_msg(strstr(text, r->says) != NULL, "class %d, %s: falsify %s does not say \"%s\":\n%s", r->number, r->words,
                  r->args, r->says, text);
    free(text);
}
END_TEST

/* Nothing but the defect is wrong with them: what they were made from holds. */
START_TEST(control_holds)
{
    int status = 0;
    char *text = run("validate @class-00-control-v1.yaml", &status);
    ck_assert_msg(status == 0 && !strstr(text, "warning"), "exit %d:\n%s", status, text);
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
