/* Unit tests of harness/yaml.h: the tree and its places, every rule of form, and hostile input refused quickly. */
#include "harness/yaml.h"

#include "harness/text.h"

#include <check.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Suite *fal_suite_yaml(void);

/* One parsed text. */
typedef struct {
    fal_arena arena;
    fal_diagnoses all;
    fal_file_diagnosis d;
    fal_yaml yaml;
} parsed;

static void parse(parsed *p, const char *bytes, size_t n)
{
    fal_error err = { 0 };
    *p = (parsed){ 0 };
    p->d = (fal_file_diagnosis){ .all = &p->all, .path = "test.yaml" };
    char *copy = malloc(n + 1); /* exactly n bytes, so that the sanitizer sees a read beyond them */
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, n);
    char *exact = realloc(copy, n ? n : 1);
    ck_assert_ptr_nonnull(exact);
    const fal_status status = fal_yaml_parse(exact, n, &p->arena, &p->d, &p->yaml, &err);
    ck_assert_msg(status == FAL_OK, "%s", err.message);
}

static void release(parsed *p)
{
    free((void *)(uintptr_t)p->yaml.source);
    fal_diagnoses_free(&p->all);
    fal_arena_free(&p->arena);
}

static const fal_diagnosis *find(const parsed *p, const char *rule)
{
    for (size_t i = 0; i < p->all.n; i++)
        if (strcmp(p->all.items[i].rule, rule) == 0) return &p->all.items[i];
    return NULL;
}

/* The text breaks exactly this rule, at this place. */
static void refused_n(const char *bytes, size_t n, const char *rule, int line, int column)
{
    parsed p;
    parse(&p, bytes, n);
    const fal_diagnosis *item = find(&p, rule);
    ck_assert_msg(item != NULL, "%s not found for: %.60s (first: %s %s)", rule, bytes,
                  p.all.n ? p.all.items[0].rule : "none", p.all.n ? p.all.items[0].message : "");
    ck_assert_msg(item->place.line == line && item->place.column == column, "%s at %d:%d, expected %d:%d, for: %.60s",
                  rule, item->place.line, item->place.column, line, column, bytes);
    ck_assert(item->is_error);
    for (size_t i = 0; i < p.all.n; i++)
        ck_assert_msg(strcmp(p.all.items[i].rule, rule) == 0, "also %s: %s, for: %.60s", p.all.items[i].rule,
                      p.all.items[i].message, bytes);
    release(&p);
}

#define REFUSED(text, rule, line, column) refused_n(text, sizeof(text) - 1, rule, line, column)

/* ---- what is accepted ---- */

START_TEST(tree_has_kinds_texts_and_places)
{
    static const char text[] = "# comment — é\n"
                               "a: 1\n"
                               "π: {日本: [x, \"y\\tz\"], k: 'it''s'}\n"
                               "block: |\n"
                               "  one\n"
                               "  two\n"
                               "list:\n"
                               "- b\n"
                               "- c: d\n"
                               "empty:\n";
    parsed p;
    parse(&p, text, sizeof text - 1);
    ck_assert_uint_eq(p.all.n, 0);
    const fal_yaml_node *root = p.yaml.root;
    ck_assert_int_eq(root->kind, FAL_YAML_MAP);
    ck_assert_uint_eq(root->n, 5);
    const fal_yaml_node *pi = fal_yaml_get(root, "π"), *list = fal_yaml_get(pi, "日本");
    ck_assert_int_eq(list->kind, FAL_YAML_LIST);
    ck_assert_int_eq(list->place.line, 3);
    ck_assert_int_eq(list->place.column, 9); /* characters, not bytes */
    const fal_yaml_node *y = list->first->next;
    ck_assert_str_eq(y->text, "y\tz");
    ck_assert(!y->plain && list->first->plain);
    ck_assert_int_eq(y->place.column, 13);
    ck_assert_int_eq(y->width, 6);
    const fal_yaml_node *k = fal_yaml_get(pi, "k");
    ck_assert_str_eq(k->text, "it's");
    ck_assert_int_eq(k->key->place.column, 22);
    ck_assert_str_eq(fal_yaml_get(root, "block")->text, "one\ntwo\n");
    ck_assert_str_eq(fal_yaml_get(fal_yaml_get(root, "list")->first->next, "c")->text, "d");
    ck_assert_str_eq(fal_yaml_get(root, "empty")->text, "");
    ck_assert_ptr_null(fal_yaml_get(root, "none"));
    ck_assert_ptr_null(fal_yaml_get(list, "x"));
    ck_assert_ptr_null(fal_yaml_get(NULL, "x"));
    release(&p);
}
END_TEST

START_TEST(crlf_counts_as_one_line_end)
{
    parsed p;
    static const char text[] = "a: 1\r\nb: 2\r\n";
    parse(&p, text, sizeof text - 1);
    ck_assert_uint_eq(p.all.n, 0);
    ck_assert_int_eq(fal_yaml_get(p.yaml.root, "b")->place.line, 2);
    release(&p);
}
END_TEST

static bool number_of(const char *text, double *out)
{
    char line[4200];
    snprintf(line, sizeof line, "n: %s\n", text);
    parsed p;
    parse(&p, line, strlen(line));
    const bool is = fal_yaml_number(fal_yaml_get(p.yaml.root, "n"), out);
    release(&p);
    return is;
}

START_TEST(numbers_have_one_grammar)
{
    static const struct {
        const char *text;
        double value;
    } good[] = { { "0", 0 },
                 { "-0", 0 },
                 { "12", 12 },
                 { "-3.25", -3.25 },
                 { "1e-5", 1e-5 },
                 { "1.0E+3", 1000 },
                 { "0.1", 0.1 },
                 { "1e308", 1e308 },
                 { "2.5e-308", 2.5e-308 },
                 { "9007199254740993", 9007199254740992.0 } };
    static const char *const bad[] = { "01",   "+1",    ".5",  "1.",  "1e",    "0x10",   "1_000",  "1:30",
                                       ".inf", "nan",   "inf", "-",   "1e999", "-1e999", "1e-999", "4e-324",
                                       "'1'",  "\"1\"", "1,5", "1 2", "1e5.0", "",       "true" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double value = -77;
        ck_assert_msg(number_of(good[i].text, &value), "%s", good[i].text);
        ck_assert_msg(value >= good[i].value && value <= good[i].value, "%s is %g", good[i].text, value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value = -77;
        ck_assert_msg(!number_of(bad[i], &value), "%s", bad[i]);
        ck_assert_msg(value <= -77 && value >= -77, "%s set the value", bad[i]);
    }
}
END_TEST

START_TEST(numbers_do_not_depend_on_the_locale)
{
    /* where no such locale is installed this still checks the C locale */
    setlocale(LC_ALL, "de_DE.UTF-8");
    double value = 0;
    ck_assert(number_of("1.5", &value));
    ck_assert(value >= 1.5 && value <= 1.5);
}
END_TEST

START_TEST(integers_have_a_range)
{
    parsed p;
    static const char text[] = "[0, -1, 2147483648, 1.0, 007, '3', 99999999999999999999, 1e3]";
    parse(&p, text, sizeof text - 1);
    static const bool fits[] = { true, false, false, false, false, false, false, false };
    size_t i = 0;
    for (const fal_yaml_node *c = p.yaml.root->first; c; c = c->next, i++) {
        int64_t value = -9;
        ck_assert_msg(fal_yaml_integer(c, 0, INT32_MAX, &value) == fits[i], "%s", c->text);
        ck_assert_msg(fits[i] || value == -9, "%s", c->text);
    }
    ck_assert_uint_eq(i, sizeof fits / sizeof fits[0]);
    release(&p);
}
END_TEST

START_TEST(ambiguous_scalars_are_known)
{
    static const char *const texts[] = { "yes",  "No",         "~",   "null", "017", "1_000", "1:30",
                                         "0x1f", "2026-01-01", "1.8", "12",   "-.5", ".inf",  "1e5" };
    static const char *const clear[] = { "1.8.0", "'yes'", "yesterday", "Q4_K", "e5", "-", "a1", "4d", "p0" };
    for (int k = 0; k < 2; k++) {
        const char *const *list = k == 0 ? texts : clear;
        const size_t n = k == 0 ? sizeof texts / sizeof texts[0] : sizeof clear / sizeof clear[0];
        for (size_t i = 0; i < n; i++) {
            char line[64];
            snprintf(line, sizeof line, "n: %s\n", list[i]);
            parsed p;
            parse(&p, line, strlen(line));
            ck_assert_msg(fal_yaml_text_is_ambiguous(fal_yaml_get(p.yaml.root, "n")) == (k == 0), "%s", list[i]);
            release(&p);
        }
    }
}
END_TEST

/* ---- what is refused ---- */

START_TEST(form_003_byte_order_marks_and_utf16)
{
    REFUSED("\xef\xbb\xbf"
            "a: 1\n",
            "FORM-003", 1, 1);
    REFUSED("\xff\xfe"
            "a\0:\0",
            "FORM-003", 1, 1);
    REFUSED("\xfe\xff\0a\0:", "FORM-003", 1, 1);
    REFUSED("a\0:\0 \0b\0", "FORM-003", 1, 1);
}
END_TEST

START_TEST(form_004_invalid_utf8)
{
    REFUSED("a: 1\nπ: \xff\n", "FORM-004", 2, 4);
    REFUSED("a: \xc0\x80\n", "FORM-004", 1, 4);
    REFUSED("a: \xed\xa0\x80\n", "FORM-004", 1, 4);
    REFUSED("a: \xe6\x97", "FORM-004", 1, 4);
}
END_TEST

START_TEST(form_005_control_characters)
{
    REFUSED("a: x\0y\n", "FORM-005", 1, 5);
    REFUSED("a: 日\x1b[0m\n", "FORM-005", 1, 5);
    REFUSED("a: x\x7f\n", "FORM-005", 1, 5);
    REFUSED("a: x\xc2\x85y\n", "FORM-005", 1, 5);     /* NEL, a line end to some */
    REFUSED("a: x\xe2\x80\xa8y\n", "FORM-005", 1, 5); /* line separator */
    REFUSED("a: 1\rb: 2\n", "FORM-005", 1, 5);        /* CR alone */
    REFUSED("# \x07\na: 1\n", "FORM-005", 1, 3);      /* in a comment, too */
}
END_TEST

START_TEST(form_006_control_characters_by_escape)
{
    REFUSED("id: \"FALSIFY-A\\0-HIDDEN\"\n", "FORM-006", 1, 5);
    REFUSED("é: \"\\x1b[31m\"\n", "FORM-006", 1, 4);
    REFUSED("a: \"\\u0085\"\n", "FORM-006", 1, 4);
    REFUSED("a: \"\\r\"\n", "FORM-006", 1, 4);
    REFUSED("a: [1, \"\\L\"]\n", "FORM-006", 1, 8);
    REFUSED("\"k\\0\": 1\n", "FORM-006", 1, 1);
}
END_TEST

START_TEST(form_007_bidirectional_controls)
{
    REFUSED("a: x\xe2\x80\xaey\n", "FORM-007", 1, 5);
    REFUSED("# \xe2\x81\xa6\na: 1\n", "FORM-007", 1, 3);
    REFUSED("a: \"\\u202e\"\n", "FORM-007", 1, 4);
    REFUSED("\"\\u200f\": 1\n", "FORM-007", 1, 1);
}
END_TEST

START_TEST(form_008_invisible_characters_in_keys)
{
    REFUSED("li\xe2\x80\x8bmit: 1\n", "FORM-008", 1, 1);
    REFUSED("a: {b\xef\xbb\xbf: 1}\n", "FORM-008", 1, 5);
    REFUSED("\"a\\u00ad\": 1\n", "FORM-008", 1, 1);
    REFUSED("\"a \": 1\n", "FORM-008", 1, 1);
    REFUSED("\"a\\nb\": 1\n", "FORM-008", 1, 1);
}
END_TEST

START_TEST(form_009_directives)
{
    REFUSED("%YAML 1.1\n---\na: 1\n", "FORM-009", 1, 1);
    REFUSED("a: 1\n...\n%TAG ! x\n---\n", "FORM-009", 3, 1);
}
END_TEST

START_TEST(form_010_what_is_not_yaml)
{
    REFUSED("a: [1, 2\n", "FORM-010", 2, 1);
    REFUSED("日本: \"x\nb: 1\n", "FORM-010", 3, 1);
    REFUSED("a:\n\tb: 1\n", "FORM-010", 2, 1);
    REFUSED("a: b: c\n", "FORM-010", 1, 5);
    REFUSED("a: 1\n b: 2\n", "FORM-010", 2, 3);
    REFUSED("é: @\n", "FORM-010", 1, 4);
    parsed p;
    parse(&p, "a:\n\tb: 1\n", 9);
    ck_assert_str_eq(p.all.items[0].suggestion, "indent with spaces, not with tabs");
    release(&p);
}
END_TEST

START_TEST(form_011_to_014_anchors_aliases_merges_tags)
{
    REFUSED("a: &x 1\n", "FORM-011", 1, 4);
    REFUSED("a: &x [1]\n", "FORM-011", 1, 4);
    REFUSED("a: &x {b: 1}\n", "FORM-011", 1, 4);
    REFUSED("a: *x\n", "FORM-012", 1, 4);
    REFUSED("*x : 1\n", "FORM-012", 1, 1);
    REFUSED("é: {<<: {b: 1}}\n", "FORM-013", 1, 5);
    REFUSED("a: !!python/object:os.system x\n", "FORM-014", 1, 4);
    REFUSED("a: !!str 1\n", "FORM-014", 1, 4);
    REFUSED("a: ! x\n", "FORM-014", 1, 4);
    REFUSED("a: !!map {b: 1}\n", "FORM-014", 1, 4);
}
END_TEST

START_TEST(form_015_duplicate_keys_show_both_lines)
{
    REFUSED("a: 1\nb: 2\n\"a\": 3\n", "FORM-015", 3, 1);
    REFUSED("x: {日本: 1, b: 2, 日本: 3}\n", "FORM-015", 1, 18);
    parsed p;
    parse(&p, "a: 1\nb: 2\na: 3\na: 4\n", 20);
    ck_assert_uint_eq(p.all.n, 2);
    ck_assert_str_eq(p.all.items[0].message, "duplicate key 'a': line 1 and line 3");
    ck_assert_str_eq(p.all.items[0].suggestion, "the first one is line 1: a: 1");
    ck_assert_str_eq(p.all.items[1].message, "duplicate key 'a': line 1 and line 4");
    release(&p);
    /* the same key in two maps is no duplicate */
    parse(&p, "a: {k: 1}\nb: {k: 1}\n", 20);
    ck_assert_uint_eq(p.all.n, 0);
    release(&p);
}
END_TEST

START_TEST(form_016_017_documents)
{
    REFUSED("a: 1\n---\nb: 2\n", "FORM-016", 2, 1);
    REFUSED("a: 1\n...\n---\nb: 2\n", "FORM-016", 3, 1);
    REFUSED("", "FORM-017", 1, 1);
    REFUSED("# only a comment\n", "FORM-017", 1, 1);
    REFUSED("\n\n", "FORM-017", 1, 1);
}
END_TEST

START_TEST(form_018_depth)
{
    char text[128] = { 0 };
    memset(text, '[', 32);
    memset(text + 32, ']', 32);
    parsed p;
    parse(&p, text, 64);
    ck_assert_uint_eq(p.all.n, 0);
    release(&p);
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    refused_n(text, 66, "FORM-018", 1, 33);
}
END_TEST

START_TEST(form_019_long_scalar)
{
    const size_t n = FAL_YAML_MAX_SCALAR;
    char *text = malloc(n + 8);
    ck_assert_ptr_nonnull(text);
    memcpy(text, "a: ", 3);
    memset(text + 3, 'x', n + 1);
    parsed p;
    parse(&p, text, n + 3);
    ck_assert_uint_eq(p.all.n, 0);
    release(&p);
    refused_n(text, n + 4, "FORM-019", 1, 4);
    free(text);
}
END_TEST

START_TEST(form_021_keys_that_are_collections)
{
    REFUSED("? [a, b]\n: 1\n", "FORM-021", 1, 3);
    REFUSED("{{a: 1}: 2, b: 3}\n", "FORM-021", 1, 2);
    REFUSED("? {a: [1, {b: c}]}\n: 1\n", "FORM-021", 1, 3);
}
END_TEST

/* Each severity has a cap of its own, and warnings that were left out are no error. */
START_TEST(warnings_have_a_cap_of_their_own)
{
    fal_diagnoses all = { 0 };
    fal_file_diagnosis d = { .all = &all, .path = "x" };
    for (int i = 0; i < 60; i++) {
        fal_diagnose(&d, FAL_RULE_CON_101, (fal_place){ 1, 1 }, 1, NULL, "w");
        fal_diagnose(&d, FAL_RULE_CON_109, (fal_place){ 1, 1 }, 1, NULL, "n");
        fal_diagnose(&d, FAL_RULE_SCHEMA_001, (fal_place){ 1, 1 }, 1, NULL, "off under strict");
    }
    fal_diagnose_hidden(&d);
    ck_assert_uint_eq(all.n, 2 * FAL_DIAGNOSES_PER_FILE + 1);
    ck_assert_str_eq(all.items[all.n - 1].rule, "FORM-025");
    ck_assert_int_eq(all.items[all.n - 1].severity, FAL_WARNING);
    ck_assert_ptr_nonnull(strstr(all.items[all.n - 1].message, "0 further errors, 10 further warnings and 10 further notes"));
    ck_assert_uint_eq(all.n_of[FAL_WARNING], 60);
    fal_diagnoses_free(&all);
}
END_TEST

START_TEST(all_errors_of_a_file_are_collected_up_to_the_cap)
{
    fal_text t = { 0 };
    for (int i = 0; i < 80; i++) fal_text_addf(&t, "k%d: !t 1\n", i);
    parsed p;
    parse(&p, fal_text_str(&t), t.len);
    ck_assert_int_eq(p.d.n_errors, 80);
    ck_assert_uint_eq(p.all.n, FAL_DIAGNOSES_PER_FILE);
    fal_diagnose_hidden(&p.d);
    ck_assert_uint_eq(p.all.n, FAL_DIAGNOSES_PER_FILE + 1);
    ck_assert_ptr_nonnull(strstr(p.all.items[p.all.n - 1].message, "30 further errors"));
    ck_assert(p.all.items[p.all.n - 1].is_error);
    ck_assert_str_eq(p.all.items[p.all.n - 1].rule, "FORM-024");
    ck_assert_ptr_nonnull(p.yaml.root); /* and the tree is there for the rules of content */
    release(&p);
    fal_text_free(&t);
}
END_TEST

/* ---- hostile input is refused, and quickly ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Generous for a slow machine under a sanitizer; what is guarded against takes minutes. */
#define QUICK 5.0

static void refused_quickly(const char *unit, size_t times, const char *before, const char *rule)
{
    fal_text t = { 0 };
    fal_text_add(&t, before);
    for (size_t i = 0; i < times; i++) fal_text_add(&t, unit);
    const double start = seconds();
    parsed p;
    parse(&p, fal_text_str(&t), t.len);
    const double took = seconds() - start;
    ck_assert_msg(find(&p, rule) != NULL, "%s: no %s", unit, rule);
    ck_assert_msg(took <= QUICK, "%zu times '%s' took %g s", times, unit, took);
    release(&p);
    fal_text_free(&t);
}

START_TEST(deep_nesting_is_not_quadratic)
{
    refused_quickly("[", 100000, "", "FORM-018");
    refused_quickly("{a: ", 100000, "", "FORM-018");
    refused_quickly("? ", 50000, "", "FORM-018");
    refused_quickly("- ", 100000, "", "FORM-018");
    refused_quickly("[", 100000, "? ", "FORM-018");
    refused_quickly("[\n", 100000, "a:\n  - ", "FORM-018");
}
END_TEST

START_TEST(many_of_anything_is_refused_quickly)
{
    refused_quickly("%TAG !a! b\n", 150000, "", "FORM-009");
    refused_quickly("a,", 300000, "[", "FORM-020");
    refused_quickly("&a *a ,", 100000, "[", "FORM-011");
    refused_quickly("---\n", 100000, "a: 1\n", "FORM-016");
    refused_quickly("\xff", 1000000, "a: ", "FORM-004");
    refused_quickly("a: 1\n", 25000, "", "FORM-015");
    refused_quickly("#", 2000000, "", "FORM-017");
    refused_quickly("x", 2000000, "a: ", "FORM-019");
    refused_quickly("x\n ", 650000, "a: ", "FORM-019");
}
END_TEST

START_TEST(alias_bomb_is_not_expanded)
{
    fal_text t = { 0 };
    fal_text_add(&t, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++)
        fal_text_addf(&t, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1,
                      i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    const double start = seconds();
    parsed p;
    parse(&p, fal_text_str(&t), t.len);
    ck_assert_ptr_nonnull(find(&p, "FORM-011"));
    ck_assert_ptr_nonnull(find(&p, "FORM-012"));
    ck_assert(seconds() - start <= QUICK);
    release(&p);
    fal_text_free(&t);
}
END_TEST

START_TEST(many_different_keys_are_checked_quickly)
{
    fal_text t = { 0 };
    for (int i = 0; i < 25000; i++) fal_text_addf(&t, "key_%d: 1\n", i);
    fal_text_add(&t, "key_5: 2\n");
    const double start = seconds();
    parsed p;
    parse(&p, fal_text_str(&t), t.len);
    ck_assert(seconds() - start <= QUICK);
    ck_assert_uint_eq(p.all.n, 1);
    ck_assert_int_eq(find(&p, "FORM-015")->place.line, 25001);
    release(&p);
    for (int i = 0; i < 10000; i++) fal_text_addf(&t, "more_%d: 1\n", i); /* and 35 000 are too many events */
    parse(&p, fal_text_str(&t), t.len);
    ck_assert_ptr_nonnull(find(&p, "FORM-020"));
    ck_assert_ptr_null(p.yaml.root);
    release(&p);
    fal_text_free(&t);
}
END_TEST

START_TEST(truncation_and_mutation_never_crash)
{
    static const char text[] = "a: {b: [1, \"x\\u00e9\\n\", 'it''s'], ? k : v}\n"
                               "c: |\n  block é\n  more\n"
                               "d: >-\n  folded\n\n  日本\n"
                               "e:\n- f: &a g\n- *a\n- !t h\n"
                               "<<: i\n";
    for (size_t n = 0; n < sizeof text; n++) {
        parsed p;
        parse(&p, text, n);
        release(&p);
    }
    static const unsigned char bytes[] = { 0,   '\t', '\n', '"', '\'', '[', ']', '{', '}',  ':', '?',
                                           '-', '&',  '*',  '!', '|',  '>', '%', '#', 0x80, 0xff };
    char copy[sizeof text];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        for (size_t k = 0; k < sizeof bytes; k++) {
            memcpy(copy, text, sizeof text);
            copy[i] = (char)bytes[k];
            parsed p;
            parse(&p, copy, sizeof text - 1);
            ck_assert(p.yaml.root || p.d.n_errors > 0);
            release(&p);
        }
}
END_TEST

/* ---- files ---- */

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/fal_yaml_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    ck_assert_int_eq(rmdir(folder), 0);
}

static void load_refused(const char *path, const char *rule)
{
    parsed p = { 0 };
    fal_error err = { 0 };
    p.d = (fal_file_diagnosis){ .all = &p.all, .path = path };
    ck_assert_int_eq(fal_yaml_load(path, &p.arena, &p.d, &p.yaml, &err), FAL_OK);
    ck_assert_ptr_nonnull(find(&p, rule));
    ck_assert_ptr_null(p.yaml.root);
    fal_diagnoses_free(&p.all);
    fal_arena_free(&p.arena);
}

START_TEST(form_001_what_cannot_be_read)
{
    char path[128];
    snprintf(path, sizeof path, "%s/none.yaml", folder);
    load_refused(path, "FORM-001");
    load_refused(folder, "FORM-001");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    load_refused(path, "FORM-001"); /* and does not wait for a writer */
    ck_assert_int_eq(unlink(path), 0);
    load_refused("/dev/zero", "FORM-001");
}
END_TEST

START_TEST(form_002_size_is_checked_before_reading)
{
    char path[128];
    snprintf(path, sizeof path, "%s/big.yaml", folder);
    const int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)50 * 1024 * 1024), 0); /* one scalar of 50 MB, as far as the size tells */
    const double start = seconds();
    load_refused(path, "FORM-002");
    ck_assert(seconds() - start < 0.5);
    ck_assert_int_eq(ftruncate(fd, FAL_YAML_MAX_BYTES + 1), 0);
    load_refused(path, "FORM-002");
    ck_assert_int_eq(ftruncate(fd, FAL_YAML_MAX_BYTES), 0);
    load_refused(path, "FORM-005"); /* of the allowed size: read, and its NULs refused */
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* ---- diagnoses ---- */

static char *printed(const fal_diagnoses *d, bool colour)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    ck_assert_ptr_nonnull(f);
    fal_diagnoses_print(d, colour, f);
    fclose(f);
    return out;
}

START_TEST(caret_stands_under_the_display_column)
{
    parsed p;
    static const char text[] = "日本: {π: &x y}\n";
    parse(&p, text, sizeof text - 1);
    char *out = printed(&p.all, false);
    ck_assert_str_eq(out, "test.yaml:1:9: error: anchors ('&name') are not allowed [FORM-011]\n"
                          "    1 | 日本: {π: &x y}\n"
                          "      |           ^ write the text out where it is needed\n");
    free(out);
    release(&p);
}
END_TEST

START_TEST(source_text_is_escaped_and_long_lines_are_windowed)
{
    fal_text t = { 0 };
    fal_text_add(&t, "a: ");
    for (int i = 0; i < 300; i++) fal_text_add(&t, "é");
    fal_text_add(&t, "\x1b[31m");
    for (int i = 0; i < 300; i++) fal_text_add(&t, "z");
    parsed p;
    parse(&p, fal_text_str(&t), t.len);
    char *out = printed(&p.all, false);
    ck_assert_ptr_null(strchr(out, '\x1b'));
    ck_assert_ptr_nonnull(strstr(out, "é\\x1b[31mz"));
    const char *line = strchr(out, '\n') + 1, *carets = strchr(line, '\n') + 1;
    ck_assert_int_lt(fal_text_width(line, (size_t)(carets - line)), 140);
    /* the caret stands under the escape: as many columns before it as the source line has */
    const char *escape = strstr(line, "\\x1b"), *caret = strchr(carets, '^');
    ck_assert_int_eq(fal_text_width(line, (size_t)(escape - line)), fal_text_width(carets, (size_t)(caret - carets)));
    free(out);
    out = printed(&p.all, true);
    ck_assert_ptr_nonnull(strstr(out, "\x1b[1;31merror"));
    free(out);
    release(&p);
    fal_text_free(&t);
}
END_TEST

START_TEST(diagnoses_are_sorted_by_place)
{
    fal_diagnoses all = { 0 };
    fal_file_diagnosis b = { .all = &all, .path = "b" }, a = { .all = &all, .path = "a" };
    fal_diagnose(&b, FAL_RULE_CON_001, (fal_place){ 1, 1 }, 1, NULL, "third");
    fal_diagnose(&a, FAL_RULE_CON_001, (fal_place){ 10, 2 }, 1, NULL, "second");
    fal_diagnose(&a, FAL_RULE_CON_101, (fal_place){ 9, 5 }, 1, NULL, "first");
    fal_diagnose(&a, FAL_RULE_CON_002, (fal_place){ 10, 2 }, 1, NULL, "second too");
    ck_assert(fal_diagnoses_sort(&all));
    ck_assert_str_eq(all.items[0].message, "first");
    ck_assert(!all.items[0].is_error);
    ck_assert_str_eq(all.items[1].message, "second");
    ck_assert_str_eq(all.items[2].message, "second too");
    ck_assert_str_eq(all.items[3].message, "third");
    fal_diagnoses_free(&all);
    fal_diagnoses_free(NULL);
}
END_TEST

Suite *fal_suite_yaml(void)
{
    Suite *s = suite_create("yaml");
    TCase *form = tcase_create("form"), *hostile = tcase_create("hostile"), *files = tcase_create("files");
    tcase_add_test(form, tree_has_kinds_texts_and_places);
    tcase_add_test(form, crlf_counts_as_one_line_end);
    tcase_add_test(form, numbers_have_one_grammar);
    tcase_add_test(form, numbers_do_not_depend_on_the_locale);
    tcase_add_test(form, integers_have_a_range);
    tcase_add_test(form, ambiguous_scalars_are_known);
    tcase_add_test(form, form_003_byte_order_marks_and_utf16);
    tcase_add_test(form, form_004_invalid_utf8);
    tcase_add_test(form, form_005_control_characters);
    tcase_add_test(form, form_006_control_characters_by_escape);
    tcase_add_test(form, form_007_bidirectional_controls);
    tcase_add_test(form, form_008_invisible_characters_in_keys);
    tcase_add_test(form, form_009_directives);
    tcase_add_test(form, form_010_what_is_not_yaml);
    tcase_add_test(form, form_011_to_014_anchors_aliases_merges_tags);
    tcase_add_test(form, form_015_duplicate_keys_show_both_lines);
    tcase_add_test(form, form_016_017_documents);
    tcase_add_test(form, form_018_depth);
    tcase_add_test(form, form_019_long_scalar);
    tcase_add_test(form, form_021_keys_that_are_collections);
    tcase_add_test(form, all_errors_of_a_file_are_collected_up_to_the_cap);
    tcase_add_test(form, warnings_have_a_cap_of_their_own);
    tcase_add_test(form, caret_stands_under_the_display_column);
    tcase_add_test(form, source_text_is_escaped_and_long_lines_are_windowed);
    tcase_add_test(form, diagnoses_are_sorted_by_place);
    tcase_set_timeout(hostile, 120);
    tcase_add_test(hostile, deep_nesting_is_not_quadratic);
    tcase_add_test(hostile, many_of_anything_is_refused_quickly);
    tcase_add_test(hostile, alias_bomb_is_not_expanded);
    tcase_add_test(hostile, many_different_keys_are_checked_quickly);
    tcase_add_test(hostile, truncation_and_mutation_never_crash);
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, form_001_what_cannot_be_read);
    tcase_add_test(files, form_002_size_is_checked_before_reading);
    suite_add_tcase(s, form);
    suite_add_tcase(s, hostile);
    suite_add_tcase(s, files);
    return s;
}
