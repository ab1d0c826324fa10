/* Key tables: the walker that reads maps of a contract, and the forms of names. */
#include "harness/contract_keys.h"

#include "harness/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- forms of names ---- */

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* An upper-case letter, then low..high capitals, digits and characters of `more`. */
static bool fits_id(const char *s, size_t low, size_t high, const char *more)
{
    if (!is_upper(s[0])) return false;
    size_t n = 1;
    for (; s[n]; n++)
        if (!is_upper(s[n]) && !is_digit(s[n]) && !strchr(more, s[n])) return false;
    return n - 1 >= low && n - 1 <= high;
}

static bool fits_falsifier_id(const char *s)
{
    return fits_id(s, 2, 63, "-");
}

static bool fits_obligation_id(const char *s)
{
    return fits_id(s, 2, 63, "-_");
}

/* Stages and options: what they were called before counts more than one style ("M32c.2", "M-GPU-MOE-1.0-redo"). */
static bool fits_short_id(const char *s)
{
    return fits_id(s, 0, 63, "-_.abcdefghijklmnopqrstuvwxyz");
}

static bool fits_lower(const char *s, const char *more)
{
    if (!is_lower(s[0])) return false;
    size_t n = 1;
    for (; s[n]; n++)
        if (!is_lower(s[n]) && !is_digit(s[n]) && !strchr(more, s[n])) return false;
    return n <= 64;
}

static bool fits_name(const char *s)
{
    return fits_lower(s, "_");
}

static bool fits_prompt(const char *s)
{
    return fits_lower(s, "_-");
}

static bool fits_oracle_prompt(const char *s)
{
    if (s[0] != 'p' || !is_digit(s[1]) || (s[1] == '0' && s[2])) return false;
    size_t n = 1;
    while (is_digit(s[n])) n++;
    return !s[n] && n <= 5;
}

static bool fits_version(const char *s)
{
    for (int part = 0; part < 3; part++) {
        if (!is_digit(*s) || (*s == '0' && is_digit(s[1]))) return false;
        while (is_digit(*s)) s++;
        if (part < 2 && *s++ != '.') return false;
    }
    return !*s;
}

static bool fits_date(const char *s)
{
    static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (strlen(s) != 10) return false;
    for (int i = 0; i < 10; i++)
        if (i == 4 || i == 7 ? s[i] != '-' : !is_digit(s[i])) return false;
    const int month = atoi(s + 5), day = atoi(s + 8);
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

/* What can be looked up: file:PATH, tool:NAME, device:BACKEND or device:BACKEND/PART OF THE NAME. */
static bool fits_precondition(const char *s)
{
    const size_t n = strcspn(s, ":");
    if (s[n] != ':' || !s[n + 1] || s[n + 1] == ' ') return false;
    if (n == 4 && strncmp(s, "file", n) == 0) return true;
    if (n == 4 && strncmp(s, "tool", n) == 0) return strchr(s + n, '/') == NULL;
    if (n != 6 || strncmp(s, "device", n) != 0) return false;
    const char *backend = s + n + 1;
    const size_t len = strcspn(backend, "/");
    return (len == 4 && strncmp(backend, "cuda", len) == 0) || (len == 6 && strncmp(backend, "opencl", len) == 0);
}

const fal_form fal_form_falsifier_id = { "a capital, then 2 to 63 of A-Z, 0-9 and '-'", "^[A-Z][A-Z0-9-]{2,63}$",
                                         fits_falsifier_id };
const fal_form fal_form_id = { "a capital, then 2 to 63 of A-Z, 0-9, '-' and '_'", "^[A-Z][A-Z0-9_-]{2,63}$", fits_obligation_id };
const fal_form fal_form_short_id = { "a capital, then up to 63 letters, digits, '-', '_' and '.'", "^[A-Z][A-Za-z0-9_.-]{0,63}$",
                                     fits_short_id };
const fal_form fal_form_name = { "a lower-case letter, then a-z, 0-9 and '_', at most 64", "^[a-z][a-z0-9_]{0,63}$", fits_name };
const fal_form fal_form_prompt = { "a lower-case letter, then a-z, 0-9, '_' and '-', at most 64", "^[a-z][a-z0-9_-]{0,63}$", fits_prompt };
const fal_form fal_form_version = { "three numbers as in 1.0.0", "^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)$", fits_version };
const fal_form fal_form_date = { "a date as in 2026-11-21", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", fits_date };
const fal_form fal_form_oracle_prompt = { "p0, p1, ...", "^p(0|[1-9][0-9]{0,3})$", fits_oracle_prompt };
const fal_form fal_form_precondition = { "file:PATH, tool:NAME, device:BACKEND or device:BACKEND/NAME",
                                         "^(file:[^ ].*|tool:[^ /][^/]*|device:(cuda|opencl)(/.*)?)$", fits_precondition };

/* ---- words for messages ---- */

enum { SHOWN_BYTES = 72, SUGGESTED_BYTES = 240 };

const char *fal_shown(fal_contract_file *f, const char *s)
{
    if (fal_diagnosis_is_full(&f->d)) return "...";
    size_t n = strlen(s);
    const bool cut = n > SHOWN_BYTES;
    if (cut)
        for (n = SHOWN_BYTES; n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80;) n--;
    fal_text t = { 0 };
    fal_text_add_safe(&t, s, n);
    if (cut) fal_text_add(&t, "...");
    const char *copy = fal_arena_copy(f->arena, fal_text_str(&t), t.len);
    if (t.failed) f->d.failed = true;
    fal_text_free(&t);
    return copy ? copy : "...";
}

size_t fal_count_names(const char *const *names)
{
    size_t n = 0;
    while (names[n]) n++;
    return n;
}

const char *fal_suggest(fal_contract_file *f, const char *s, const char *const *names, size_t n)
{
    if (n == 0 || fal_diagnosis_is_full(&f->d)) return NULL;
    fal_text t = { 0 };
    const char *nearest = fal_nearest(s, names, n);
    if (nearest) {
        fal_text_addf(&t, "did you mean '%s'?", nearest);
    } else {
        fal_text_add(&t, n == 1 ? "only " : "one of: ");
        for (size_t i = 0; i < n && t.len < SUGGESTED_BYTES; i++)
            fal_text_addf(&t, "%s%s", i > 0 ? ", " : "", names[i]);
        if (t.len >= SUGGESTED_BYTES) fal_text_add(&t, ", ...");
    }
    const char *copy = fal_arena_copy(f->arena, fal_text_str(&t), t.len);
    if (t.failed) f->d.failed = true;
    fal_text_free(&t);
    return copy;
}

static const char *kind_found(const fal_yaml_node *node)
{
    switch (node->kind) {
    case FAL_YAML_MAP: return "keys with values";
    case FAL_YAML_LIST: return "a list";
    default: return node->len == 0 ? "nothing" : "text";
    }
}

/* ---- values ---- */

bool fal_node_is(fal_contract_file *f, const fal_yaml_node *node, fal_yaml_kind kind, const char *name)
{
    if (node->kind == kind) return true;
    if (node->kind == FAL_YAML_BROKEN) return false;
    static const char *const expected[] = {
        [FAL_YAML_SCALAR] = "text", [FAL_YAML_MAP] = "keys with values", [FAL_YAML_LIST] = "a list"
    };
    const bool found_text = node->kind == FAL_YAML_SCALAR && node->len > 0;
    fal_diagnose(&f->d, FAL_RULE_CON_003, FAL_AT(node), NULL, "'%s' holds %s%s%s%s, expected %s", name,
                 kind_found(node), found_text ? " '" : "", found_text ? fal_shown(f, node->text) : "",
                 found_text ? "'" : "", expected[kind]);
    return false;
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\n")] == '\0';
}

const char *fal_text_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, const char *const *choices,
                          const fal_form *form)
{
    if (!fal_node_is(f, node, FAL_YAML_SCALAR, name)) return NULL;
    const char *s = node->text;
    if (is_blank(s)) {
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), NULL, "'%s' is empty", name);
        return NULL;
    }
    if (choices) {
        for (size_t i = 0; choices[i]; i++)
            if (strcmp(choices[i], s) == 0) return s;
        fal_diagnose(&f->d, FAL_RULE_CON_005, FAL_AT(node), fal_suggest(f, s, choices, fal_count_names(choices)),
                     "'%s' is not a value of '%s'", fal_shown(f, s), name);
        return NULL;
    }
    if (form && !form->fits(s)) {
        fal_diagnose(&f->d, FAL_RULE_CON_006, FAL_AT(node), NULL, "'%s' of '%s' is not well formed: expected %s",
                     fal_shown(f, s), name, form->expected);
        return NULL;
    }
    if (fal_yaml_text_is_ambiguous(node))
        fal_diagnose(&f->d, FAL_RULE_FORM_022, FAL_AT(node), "put it in quotes",
                     "'%s' is text here, but other YAML readers take it for something else", fal_shown(f, s));
    return s;
}

bool fal_number_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, double *out)
{
    if (!fal_node_is(f, node, FAL_YAML_SCALAR, name)) return false;
    if (!fal_yaml_number(node, out)) {
        fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(node),
                     node->plain ? "digits, optionally with a fraction and an exponent: -12, 0.5, 1.0e-5"
                                 : "a number has no quotes",
                     "'%s' of '%s' is not a finite number in the range of a double", fal_shown(f, node->text), name);
        return false;
    }
    if (fal_yaml_number_is_ambiguous(node))
        fal_diagnose(&f->d, FAL_RULE_FORM_022, FAL_AT(node),
                     "write a fraction and a signed exponent, as in 1.0e-5", "YAML 1.1 readers take %s for text",
                     fal_shown(f, node->text));
    return true;
}

bool fal_bool_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, bool *out)
{
    if (!fal_node_is(f, node, FAL_YAML_SCALAR, name)) return false;
    const bool is_true = node->plain && strcmp(node->text, "true") == 0;
    if (!is_true && !(node->plain && strcmp(node->text, "false") == 0)) {
        fal_diagnose(&f->d, FAL_RULE_CON_003, FAL_AT(node), "true or false",
                     "'%s' of '%s' is neither true nor false", fal_shown(f, node->text), name);
        return false;
    }
    *out = is_true;
    return true;
}

static bool read_count(fal_contract_file *f, const fal_yaml_node *node, const char *name, int *out)
{
    if (!fal_node_is(f, node, FAL_YAML_SCALAR, name)) return false;
    int64_t value = 0;
    if (!fal_yaml_integer(node, 1, INT_MAX, &value)) {
        fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(node), NULL,
                     "'%s' of '%s' is not a whole number from 1 to %d", fal_shown(f, node->text), name, INT_MAX);
        return false;
    }
    *out = (int)value;
    return true;
}

static int compare_nodes(const void *pa, const void *pb)
{
    const fal_yaml_node *a = *(const fal_yaml_node *const *)pa, *b = *(const fal_yaml_node *const *)pb;
    const int by_text = strcmp(a->text, b->text);
    if (by_text != 0) return by_text;
    if (a->place.line != b->place.line) return a->place.line < b->place.line ? -1 : 1;
    return a->place.column < b->place.column ? -1 : a->place.column > b->place.column;
}

static void refuse_repeats(fal_contract_file *f, const fal_yaml_node *list, const char *name)
{
    const fal_yaml_node **items = fal_arena_take(f->arena, list->n, sizeof *items);
    if (!items) return;
    size_t n = 0;
    for (const fal_yaml_node *c = list->first; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR) items[n++] = c;
    qsort(items, n, sizeof *items, compare_nodes);
    for (size_t i = 1; i < n; i++)
        if (strcmp(items[i - 1]->text, items[i]->text) == 0)
            fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(items[i]), NULL, "'%s' stands twice in '%s'",
                         fal_shown(f, items[i]->text), name);
}

/* The texts of a list; entries that are refused are left out. */
static void read_texts(fal_contract_file *f, const fal_yaml_node *node, const fal_key *key, const char *const **out,
                       int *n)
{
    if (!fal_node_is(f, node, FAL_YAML_LIST, key->name)) return;
    if (node->n == 0) {
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), "leave the key out", "'%s' is an empty list",
                     key->name);
        return;
    }
    const char **texts = fal_arena_take(f->arena, node->n, sizeof *texts);
    if (!texts) return;
    int count = 0;
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        const char *s = fal_text_read(f, c, key->name, key->choices, key->form);
        if (s) texts[count++] = s;
    }
    if (key->distinct) refuse_repeats(f, node, key->name);
    *out = texts;
    *n = count;
}

/* ---- maps ---- */

static void read_value(fal_contract_file *f, const fal_yaml_node *node, const fal_key *key, char *into)
{
    const char *text = NULL;
    const char *const *texts = NULL;
    double number = 0;
    int count = 0;
    bool flag = false;
    const void *value = NULL;
    size_t size = 0;
    switch (key->kind) {
    case FAL_KEY_TEXT:
        text = fal_text_read(f, node, key->name, key->choices, key->form);
        value = &text, size = sizeof text;
        break;
    case FAL_KEY_TEXTS:
        read_texts(f, node, key, &texts, &count);
        value = &texts, size = sizeof texts;
        if (into && key->n_at != FAL_NOT_STORED) memcpy(into + key->n_at, &count, sizeof count);
        break;
    case FAL_KEY_NUMBER:
        fal_number_read(f, node, key->name, &number);
        value = &number, size = sizeof number;
        break;
    case FAL_KEY_COUNT:
        read_count(f, node, key->name, &count);
        value = &count, size = sizeof count;
        break;
    case FAL_KEY_BOOL:
        fal_bool_read(f, node, key->name, &flag);
        value = &flag, size = sizeof flag;
        break;
    case FAL_KEY_MAP: fal_node_is(f, node, FAL_YAML_MAP, key->name); return;
    case FAL_KEY_LIST: fal_node_is(f, node, FAL_YAML_LIST, key->name); return;
    }
    if (into && key->at != FAL_NOT_STORED) memcpy(into + key->at, value, size);
}

static void refuse_key(fal_contract_file *f, const fal_yaml_node *key, const char *what, const fal_key *keys,
                       size_t n_keys)
{
    const char *hint = NULL;
    if (!fal_diagnosis_is_full(&f->d)) {
        const char **names = fal_arena_take(f->arena, n_keys, sizeof *names);
        if (!names) return;
        for (size_t i = 0; i < n_keys; i++) names[i] = keys[i].name;
        hint = fal_suggest(f, key->text, names, n_keys);
    }
    fal_diagnose(&f->d, FAL_RULE_CON_001, FAL_AT(key), hint, "unknown key '%s' in %s", fal_shown(f, key->text),
                 what);
}

bool fal_keys_read(fal_contract_file *f, const fal_yaml_node *node, const char *what, const fal_key *keys,
                   size_t n_keys, void *into, const fal_yaml_node **found)
{
    for (size_t i = 0; i < n_keys; i++) found[i] = NULL;
    if (!fal_node_is(f, node, FAL_YAML_MAP, what)) return false;
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        if (c->key->kind == FAL_YAML_BROKEN) continue;
        size_t i = 0;
        while (i < n_keys && strcmp(keys[i].name, c->key->text) != 0) i++;
        if (i == n_keys) {
            refuse_key(f, c->key, what, keys, n_keys);
        } else if (!found[i]) { /* a second one is diagnosed as a duplicate already */
            found[i] = c;
            read_value(f, c, &keys[i], into);
        }
    }
    const fal_yaml_node *at = node->first ? node->first->key : node;
    for (size_t i = 0; i < n_keys; i++)
        if (keys[i].required && !found[i])
            fal_diagnose(&f->d, FAL_RULE_CON_002, FAL_AT(at), NULL, "%s lacks the key '%s'", what, keys[i].name);
    return true;
}
