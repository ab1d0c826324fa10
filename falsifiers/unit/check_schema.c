/* Unit tests of the schema for editors: made of the same tables, fresh in contracts/, and of one mind with the validator. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/cmd.h"
#include "harness/contract_keys.h"
#include "harness/contract_schema.h"

#include <check.h>
#include <dirent.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_schema(void);

/* ---- as much of JSON Schema as the schema uses, over a YAML tree ---- */

static const json_t *follow(const json_t *root, const json_t *schema)
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (!ref) return schema;
    ck_assert_int_eq(strncmp(ref, "#/definitions/", 14), 0);
    const json_t *to = json_object_get(json_object_get(root, "definitions"), ref + 14);
    ck_assert_msg(to != NULL, "%s points nowhere", ref);
    return to;
}

static bool has_type(const fal_yaml_node *n, const char *type)
{
    double number;
    const bool is_number = fal_yaml_number(n, &number),
               is_bool = n->plain && n->text && (!strcmp(n->text, "true") || !strcmp(n->text, "false"));
    if (strcmp(type, "object") == 0) return n->kind == FAL_YAML_MAP;
    if (strcmp(type, "array") == 0) return n->kind == FAL_YAML_LIST;
    if (n->kind != FAL_YAML_SCALAR) return false;
    if (strcmp(type, "number") == 0) return is_number;
    if (strcmp(type, "integer") == 0) return is_number && !strpbrk(n->text, ".eE");
    if (strcmp(type, "boolean") == 0) return is_bool;
    return strcmp(type, "string") == 0 && !is_number && !is_bool;
}

static bool matches(const char *pattern, const char *s)
{
    regex_t r;
    ck_assert_int_eq(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
    const bool ok = regexec(&r, s, 0, NULL, 0) == 0;
    regfree(&r);
    return ok;
}

static bool accepts(const json_t *root, const json_t *schema, const fal_yaml_node *n);

static bool accepts_map(const json_t *root, const json_t *schema, const fal_yaml_node *n)
{
    const json_t *properties = json_object_get(schema, "properties"),
                 *more = json_object_get(schema, "additionalProperties");
    const json_t *required = json_object_get(schema, "required");
    if ((json_int_t)n->n < json_integer_value(json_object_get(schema, "minProperties"))) return false;
    for (const fal_yaml_node *c = n->first; c; c = c->next) {
        const json_t *of = json_object_get(properties, c->key->text);
        if (!of && json_is_false(more)) return false;
        if (!of) of = more;
        if (of && json_is_object(of) && !accepts(root, of, c)) return false;
    }
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!fal_yaml_get(n, json_string_value(json_array_get(required, i)))) return false;
    return true;
}

static bool accepts(const json_t *root, const json_t *schema, const fal_yaml_node *n)
{
    schema = follow(root, schema);
    const json_t *all = json_object_get(schema, "allOf"), *type = json_object_get(schema, "type"),
                 *choices = json_object_get(schema, "enum");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (!accepts(root, json_array_get(all, i), n)) return false;
    if (json_is_string(type) && !has_type(n, json_string_value(type))) return false;
    if (json_is_array(type)) {
        bool any = false;
        for (size_t i = 0; i < json_array_size(type); i++)
            any |= has_type(n, json_string_value(json_array_get(type, i)));
        if (!any) return false;
    }
    if (choices) {
        bool any = false;
        for (size_t i = 0; i < json_array_size(choices); i++)
            any |= strcmp(json_string_value(json_array_get(choices, i)), n->text) == 0;
        if (!any) return false;
    }
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    if (pattern && !matches(pattern, n->text)) return false;
    if (json_object_get(schema, "minLength") && n->len == 0) return false;
    double value = 0;
    const json_t *least = json_object_get(schema, "minimum");
    if (least && fal_yaml_number(n, &value) && value < (double)json_integer_value(least)) return false;
    if (n->kind == FAL_YAML_MAP && json_object_get(schema, "additionalProperties")) return accepts_map(root, schema, n);
    if (n->kind == FAL_YAML_LIST) {
        if ((json_int_t)n->n < json_integer_value(json_object_get(schema, "minItems"))) return false;
        for (const fal_yaml_node *c = n->first; c; c = c->next)
            if (!accepts(root, json_object_get(schema, "items"), c)) return false;
    }
    return true;
}

static bool accepts_text(const json_t *schema, const char *text)
{
    fal_arena arena = { 0 };
    fal_diagnoses all = { 0 };
    fal_file_diagnosis d = { .all = &all, .path = "x" };
    fal_yaml yaml;
    ck_assert_int_eq(fal_yaml_parse(text, strlen(text), &arena, &d, &yaml, NULL), FAL_OK);
    ck_assert_ptr_nonnull(yaml.root);
    const bool ok = accepts(schema, schema, yaml.root);
    fal_diagnoses_free(&all);
    fal_arena_free(&arena);
    return ok;
}

/* ---- tests ---- */

static char *print(int (*run)(int, char **, const fal_cmd_env *, fal_error *), const char *option)
{
    char name[] = "x", second[32] = "", *text = NULL;
    size_t n = 0;
    if (option) strcpy(second, option);
    char *args[] = { name, second, NULL };
    const int no_stop = 0;
    fal_error err = { 0 };
    const fal_cmd_env env = {
        .program = "falsify", .tmp = "/tmp", .out = open_memstream(&text, &n), .err = stderr, .stop = &no_stop
    };
    ck_assert_int_eq(run(option ? 2 : 1, args, &env, &err), 0);
    fclose(env.out);
    return text;
}

static void is_fresh(const char *path, char *made, const char *how)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "no %s: run '%s'", path, how);
    const ssize_t n = getdelim(&text, &size, '\0', f);
    ck_assert_msg(n > 0 && strcmp(text, made) == 0, "%s is not what the program makes: run '%s'", path, how);
    fclose(f);
    free(text);
    free(made);
}

START_TEST(committed_copies_are_fresh)
{
    is_fresh("contracts/contract.schema.json", print(fal_cmd_schema, NULL),
             "build/falsify schema > contracts/contract.schema.json");
    is_fresh("contracts/rules.md", print(fal_cmd_explain, "--markdown"),
             "build/falsify explain --markdown > contracts/rules.md");
}
END_TEST

static void for_each_contract(void (*with)(const char *path, const char *text, const json_t *schema),
                              const json_t *schema)
{
    DIR *dir = opendir("contracts");
    ck_assert_ptr_nonnull(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        const char *end = strrchr(e->d_name, '.');
        if (!end || strcmp(end, ".yaml") != 0) continue;
        char path[512];
        snprintf(path, sizeof path, "contracts/%s", e->d_name);
        char *text = fal_test_read(path);
        with(path, text, schema);
        free(text);
        n++;
    }
    closedir(dir);
    ck_assert_int_ge(n, 15);
}

static void names_schema(const char *path, const char *text, const json_t *schema)
{
    static const char line[] = "# yaml-language-server: $schema=contract.schema.json\n";
    ck_assert_msg(strncmp(text, line, sizeof line - 1) == 0, "%s does not start with: %s", path, line);
    ck_assert_msg(accepts_text(schema, text), "%s is refused by the schema", path);
}

START_TEST(our_contracts_name_the_schema_and_keep_to_it)
{
    json_t *schema = fal_contract_schema();
    for_each_contract(names_schema, schema);
    json_decref(schema);
}
END_TEST

/* What a schema can say, it says like the validator. */
START_TEST(schema_refuses_what_the_validator_refuses)
{
    static const struct {
        const char *from, *to;
    } changes[] = {
        { "status: ACTIVE", "statuss: DRAFT\nstatus: ACTIVE" },
        { "tolerance: 1.0e-6", "tolerence: 1.0e-6" },
        { "warn: 0.999}", "warm: 0.999}" },
        { "excuse_flips: true", "excuse_flip: true" },
        { "    prediction: It holds.\n", "" },
        { "        basis: counted\n", "" },
        { "limit: {min: 0.99, warn: 0.999}", "limit: 0.99" },
        { "sequence: true", "sequence: \"true\"" },
        { "kind: pattern", "kind: Pattern" },
        { "op: moe_matmul", "op: 7" },
        { "backends: [opencl, cuda]", "backends: [opencl, metal]" },
        { "id: FALSIFY-EK-001", "id: falsify-ek-001" },
        { "version: \"1.2.0\"", "version: \"1.2\"" },
        { "expires: \"2027-02-01\"", "expires: never" },
        { "    owner: The loader's tests\n", "" },
        { "fills: [gauss, outlier]", "fills: []" },
        { "n_greedy: 8", "n_greedy: 0" },
        { "seeds: [1, 18446744073709551]", "seeds: [-1]" },
        { "n_out: 7, type: Q4_K", "n_outs: 7, type: Q4_K" },
    };
    json_t *schema = fal_contract_schema();
    char *base = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    ck_assert(accepts_text(schema, base));
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *where = NULL;
        char *text = fal_test_changed(base, changes[i].from, changes[i].to, &where);
        ck_assert_msg(!accepts_text(schema, text), "'%s' -> '%s' is accepted by the schema", changes[i].from,
                      changes[i].to);
        free(text);
    }
    free(base);
    json_decref(schema);
}
END_TEST

START_TEST(every_key_is_described)
{
    json_t *schema = fal_contract_schema();
    const char *name;
    json_t *object;
    int n = 0;
    json_t *all = json_copy(json_object_get(schema, "definitions"));
    json_object_set(all, "contract", schema);
    json_object_foreach(all, name, object)
    {
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(object, "properties"), key, value)
        {
            ck_assert_msg(json_object_get(value, "description") != NULL, "%s.%s has no row in contract_schema.def",
                          name, key);
            n++;
        }
    }
    int rows = 0;
#define FAL_HELP(object, key, under, help)                                                                             \
    ck_assert_msg(json_object_get(json_object_get(json_object_get(all, #object), "properties"), #key) != NULL,         \
                  "there is no key %s.%s", #object, #key);                                                             \
    rows++;
#include "harness/contract_schema.def"
    ck_assert_int_eq(rows, n);
    json_decref(all);
    json_decref(schema);
}
END_TEST

/* The pattern of a form says what its function does, on names one character away from good ones and on random ones. */
START_TEST(patterns_say_what_forms_do)
{
    static const fal_form *const forms[] = { &fal_form_falsifier_id, &fal_form_id,     &fal_form_short_id,
                                             &fal_form_name,         &fal_form_prompt, &fal_form_version,
                                             &fal_form_oracle_prompt };
    static const char *const good[] = {
        "FALSIFY-X-001", "AC_GPU_MOE_001", "M32c.2", "row_sum", "p-4", "1.10.0", "p12"
    };
    static const char letters[] = "AZaz09-_. p1";
    unsigned state = 11;
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        ck_assert(forms[f]->fits(good[f]));
        for (int round = 0; round < 4000; round++) {
            char s[80] = "";
            state = state * 1103515245u + 12345u;
            if (round & 1) {
                strcpy(s, good[f]);
                s[(state >> 8) % strlen(s)] = letters[(state >> 16) % (sizeof letters - 1)];
            } else {
                const size_t n = (state >> 16) % 70;
                for (size_t i = 0; i < n; i++) {
                    state = state * 1103515245u + 12345u;
                    s[i] = letters[(state >> 16) % (round % 4 ? 4 : sizeof letters - 1)];
                }
            }
            ck_assert_msg(forms[f]->fits(s) == matches(forms[f]->pattern, s), "'%s' and %s", s, forms[f]->pattern);
        }
    }
}
END_TEST

Suite *fal_suite_schema(void)
{
    Suite *s = suite_create("schema");
    TCase *c = tcase_create("schema");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, committed_copies_are_fresh);
    tcase_add_test(c, our_contracts_name_the_schema_and_keep_to_it);
    tcase_add_test(c, schema_refuses_what_the_validator_refuses);
    tcase_add_test(c, every_key_is_described);
    tcase_add_test(c, patterns_say_what_forms_do);
    suite_add_tcase(s, c);
    return s;
}
