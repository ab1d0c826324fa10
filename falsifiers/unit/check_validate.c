/* Unit tests of falsify validate: what it prints, where, and its exit status. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/cmd.h"
#include "harness/rules.h"
#include "harness/text.h"

#include <check.h>
#include <jansson.h>
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
    char *args[12] = { 0 };
    ck_assert_int_lt(argc, 12);
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
    ck_assert_str_eq(r.out, "contracts    2 found, 2 read as YAML, 2 valid (profile strict)\n"
                            "falsifiers   6 = 4 bound (7 checks) + 1 unbound + 1 retired\n"
                            "obligations  3 of 3 have a bound falsifier\n"
                            "diagnoses    0 errors, 0 warnings, 1 note (--notes shows them)\n");
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
    validate(&r, 3, (const char *[]){ "validate", "--deny-warnings", "contracts" });
    ck_assert_msg(r.status == 0, "%s\n%s", r.error.message, r.err);
    forget(&r);
}
END_TEST

START_TEST(warnings_can_be_denied)
{
    fal_test_write_changed("rule: Prose", "rule: no");
    ran r;
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    ck_assert_int_eq(r.status, 0);
    forget(&r);
    validate(&r, 3, (const char *[]){ "validate", "--deny-warnings", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.error.message, "1 warnings, which --deny-warnings does not allow"));
    forget(&r);
    /* notes are no warnings, and are shown when asked for */
    fal_test_write_changed("rule: Prose", "rule: Prose");
    validate(&r, 3, (const char *[]){ "validate", "--deny-warnings", fal_test_folder });
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_null(strstr(r.err, "note:"));
    ck_assert_ptr_nonnull(strstr(r.out, "1 note (--notes shows them)"));
    forget(&r);
    validate(&r, 3, (const char *[]){ "validate", "--notes", fal_test_folder });
    ck_assert_ptr_nonnull(strstr(r.err, "[PV-AUD-004]"));
    forget(&r);
}
END_TEST

/* Rule: a waiver holds through the day on which it expires, and warns from the next. */
START_TEST(con_108_expired_waiver)
{
    ran r;
    validate(&r, 4, (const char *[]){ "validate", "--today", "2027-02-01", FAL_TEST_CONTRACTS });
    ck_assert_int_eq(r.status, 0);
    ck_assert_str_eq(r.err, "");
    forget(&r);
    validate(&r, 3, (const char *[]){ "validate", "--today=2027-02-02", FAL_TEST_CONTRACTS });
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(
        strstr(r.err, ":5: warning: waiver W-1 of F-EK-C22211-002/matmul_l2 expired on 2027-02-01 [CON-108]"));
    ck_assert_ptr_nonnull(strstr(r.err, " |   - id: W-1\n      |     ^ mend what it excused"));
    ck_assert_int_eq(fal_rule_get(FAL_RULE_CON_108)->severity[FAL_PROFILE_STRICT], FAL_WARNING); /* "CON-108" */
    forget(&r);
    validate(&r, 3, (const char *[]){ "validate", "--today", "2027-2-2" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
}
END_TEST

START_TEST(profile_is_chosen_by_nothing_but_the_option)
{
    ran r;
    validate(&r, 2, (const char *[]){ "validate", "falsifiers/unit/contracts/pv" });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.error.hint, "--profile pv"));
    forget(&r);
    validate(&r, 4, (const char *[]){ "validate", "--profile", "pv", "falsifiers/unit/contracts/pv" });
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "2 found, 2 read as YAML, 2 valid (profile pv)"));
    ck_assert_ptr_nonnull(strstr(r.out, "6 = 0 bound (0 checks) + 6 unbound"));
    forget(&r);
    validate(&r, 3, (const char *[]){ "validate", "--profile=lax", "contracts" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
}
END_TEST

START_TEST(a_rule_says_once_where_it_comes_from)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") "colour: red\nflavour: sweet\n");
    ran r;
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    const char *first =
        strstr(r.err, "= rule of the strict profile; pv SCHEMA-018, SCHEMA-019; 'falsify explain CON-001' says why");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(strchr(first, '\n'), "explain CON-001"));
    forget(&r);
    validate(&r, 4, (const char *[]){ "validate", "--max", "1", fal_test_folder });
    ck_assert_ptr_nonnull(strstr(r.err, "4 further diagnoses are not shown"));
    ck_assert_ptr_nonnull(strstr(r.out, "diagnoses    2 errors, 3 warnings, 1 note"));
    forget(&r);
    validate(&r, 4, (const char *[]){ "validate", "--max", "-1", fal_test_folder });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
}
END_TEST

/* The caret stands under the place as a terminal shows it: wide characters take two columns, combining marks none. */
START_TEST(caret_at_display_width)
{
    fal_test_write("a-v1.yaml", "metadata: {version: \"1.0.0\", description: 日本語 e\xcc\x81, knd: schema, "
                                "references: [\"r 2026\"], created: \"2026-11-25\"}\nstatus: DRAFT\n");
    ran r;
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    const char *told = strstr(r.err, "unknown key 'knd'"), *line = told ? strstr(told, "    1 | metadata") : NULL,
               *caret = line ? strchr(line, '\n') + 1 : NULL;
    ck_assert_ptr_nonnull(caret);
    const char *key = strstr(line, "knd"), *mark = strchr(caret, '^');
    ck_assert_int_eq((int)(mark - caret), fal_text_width(line, (size_t)(key - line)));
    ck_assert_int_eq(strncmp(mark, "^^^ did you mean 'kind'?", 24), 0);
    forget(&r);
}
END_TEST

/* Of a very long line only a window is kept, and the caret still stands under its place. */
START_TEST(caret_in_a_long_line)
{
    fal_text t = { 0 };
    fal_text_add(&t, "metadata: {version: \"1.0.0\", description: \"");
    for (int i = 0; i < 3000; i++) fal_text_add(&t, "äö日 ");
    fal_text_add(&t, "\", knd: schema, references: [r], created: \"2026-11-25\", author: \"");
    for (int i = 0; i < 3000; i++) fal_text_add(&t, "x ");
    fal_text_add(&t, "\"}\nstatus: DRAFT\n");
    fal_test_write("a-v1.yaml", fal_text_str(&t));
    ran r;
    validate(&r, 2, (const char *[]){ "validate", fal_test_folder });
    const char *told = strstr(r.err, "a-v1.yaml:1:12047: error: unknown key 'knd'"),
               *line = told ? strstr(told, "    1 | ...") : NULL, *caret = line ? strchr(line, '\n') + 1 : NULL;
    ck_assert_msg(caret != NULL, "%.400s", r.err);
    const char *key = strstr(line, "knd"), *mark = strchr(caret, '^');
    ck_assert(key && key < caret && caret - line < 600);
    ck_assert_int_eq((int)(mark - caret), fal_text_width(line, (size_t)(key - line)));
    ck_assert_uint_lt(r.n_err, 6000);
    forget(&r);
    fal_text_free(&t);
}
END_TEST

START_TEST(map_names_falsifiers)
{
    ran r;
    validate(&r, 3, (const char *[]){ "validate", "--map", FAL_TEST_CONTRACTS });
    ck_assert_ptr_nonnull(
        strstr(r.out, "every-key-v1  2 of 2 obligations bound\n  EK-EQV-001 <- FALSIFY-EK-001 F-EK-C22211-002\n"));
    forget(&r);
}
END_TEST

START_TEST(json_is_whole)
{
    fal_test_write_changed("judge: cosine", "judge: cosne");
    char *written = fal_test_read(fal_test_path("every-key-v1.yaml"));
    int line = 0;
    for (const char *c = written; c < strstr(written, "- name: forward_cosine"); c++) line += *c == '\n';
    line++;
    free(written);
    ran r;
    validate(&r, 4, (const char *[]){ "validate", "--format", "json", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_str_eq(r.err, "");
    json_t *j = json_loads(r.out, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(j);
    const json_t *files = json_object_get(j, "files");
    ck_assert_int_eq(json_integer_value(json_object_get(files, "found")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(files, "valid")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(j, "diagnosed"), "errors")), 1);
    bool found = false;
    for (size_t i = 0; i < json_array_size(json_object_get(j, "diagnoses")); i++) {
        const json_t *d = json_array_get(json_object_get(j, "diagnoses"), i);
        if (strcmp(json_string_value(json_object_get(d, "rule")), "CON-017") != 0) continue;
        found = true;
        ck_assert_str_eq(json_string_value(json_object_get(d, "severity")), "error");
        ck_assert_int_eq(json_integer_value(json_object_get(d, "line")), line);
        ck_assert_str_eq(json_string_value(json_object_get(d, "suggestion")), "did you mean 'cosine'?");
    }
    ck_assert(found);
    const json_t *c = json_array_get(json_object_get(j, "contracts"), 1);
    const json_t *map = json_array_get(json_object_get(c, "obligations"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(map, "id")), "OT-INV-001");
    json_decref(j);
    forget(&r);
}
END_TEST

START_TEST(sarif_points_into_its_own_rules)
{
    fal_test_write("a b-é.yaml", "colour: red\n");
    fal_test_write_changed("rule: Prose", "rule: no");
    ran r;
    validate(&r, 3, (const char *[]){ "validate", "--format=sarif", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    json_t *j = json_loads(r.out, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_str_eq(json_string_value(json_object_get(j, "version")), "2.1.0");
    const json_t *run = json_array_get(json_object_get(j, "runs"), 0), *results = json_object_get(run, "results"),
                 *rules = json_object_get(json_object_get(json_object_get(run, "tool"), "driver"), "rules");
    ck_assert_uint_eq(json_array_size(rules), FAL_N_RULES);
    ck_assert_str_eq(json_string_value(json_object_get(run, "columnKind")), "unicodeCodePoints");
    ck_assert_uint_gt(json_array_size(results), 3);
    bool spaced = false, warned = false;
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *d = json_array_get(results, i);
        const size_t rule = (size_t)json_integer_value(json_object_get(d, "ruleIndex"));
        ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rules, rule), "id")),
                         json_string_value(json_object_get(d, "ruleId")));
        const json_t *place = json_object_get(json_array_get(json_object_get(d, "locations"), 0), "physicalLocation");
        const char *uri = json_string_value(json_object_get(json_object_get(place, "artifactLocation"), "uri"));
        ck_assert_int_eq(strncmp(uri, "file:///", 8), 0);
        spaced |= strstr(uri, "/a%20b-%C3%A9.yaml") != NULL;
        warned |= strcmp(json_string_value(json_object_get(d, "level")), "warning") == 0;
    }
    ck_assert(spaced && warned);
    json_decref(j);
    forget(&r);
}
END_TEST

/* Untrusted text cannot start a workflow command or end one early, and GitHub drops what is beyond ten of a kind. */
START_TEST(github_commands_are_escaped_and_few)
{
    fal_text t = { 0 };
    fal_text_add(&t, FAL_TEST_MINIMAL(""));
    for (int i = 0; i < 14; i++) fal_text_addf(&t, "\"k%d\\n::error::100%%, x: y\": 1\n", i);
    fal_test_write("a,b:c%-v1.yaml", fal_text_str(&t));
    ran r;
    validate(&r, 3, (const char *[]){ "validate", "--format=github", fal_test_folder });
    ck_assert_int_eq(r.status, 3);
    int n = 0;
    for (const char *line = r.out; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        if (strncmp(line, "::", 2) != 0) continue;
        n += strncmp(line, "::error ", 8) == 0;
        const char *end = strchr(line, '\n'), *message = strstr(line + 2, "::");
        ck_assert(message && message < end);
        if (strstr(line, "100")) ck_assert_ptr_nonnull(strstr(line, "100%25"));
        ck_assert(strncmp(line, "::error ", 8) == 0 || strncmp(line, "::warning ", 10) == 0 ||
                  strncmp(line, "::notice ", 9) == 0);
    }
    ck_assert_int_eq(n, 10);
    ck_assert_ptr_nonnull(strstr(r.out, "/a%2Cb%3Ac%25-v1.yaml,line="));
    ck_assert_ptr_nonnull(strstr(r.out, "further errors have no annotation"));
    fal_text_free(&t);
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
    tcase_add_test(command, warnings_can_be_denied);
    tcase_add_test(command, con_108_expired_waiver);
    tcase_add_test(command, profile_is_chosen_by_nothing_but_the_option);
    tcase_add_test(command, a_rule_says_once_where_it_comes_from);
    tcase_add_test(command, caret_at_display_width);
    tcase_add_test(command, caret_in_a_long_line);
    tcase_add_test(command, map_names_falsifiers);
    tcase_add_test(command, json_is_whole);
    tcase_add_test(command, sarif_points_into_its_own_rules);
    tcase_add_test(command, github_commands_are_escaped_and_few);
    tcase_add_test(command, our_own_contracts_are_valid);
    tcase_add_test(command, output_that_cannot_be_written_is_an_error);
    suite_add_tcase(s, command);
    return s;
}
