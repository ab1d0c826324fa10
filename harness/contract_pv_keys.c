/* The keys of foreign contracts: what pv's parser refuses, what it drops although it is known, what nobody knows. */
#include "harness/contract_pv.h"

#include "harness/contract_keys.h"
#include "harness/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    TEXT,
    TEXTS,
    NUMBER,
    COUNT,
    FLAG,
    MAP,
    LIST,
    ANY,
    CHOICE_KIND,
    CHOICE_LEVEL,
    CHOICE_TYPE,
    CHOICE_LEAN,
    CHOICE_STRATEGY
} kind_of_key;
typedef enum { NO, YES, NEED } reading;

typedef struct {
    const char *object, *name;
    kind_of_key kind;
    reading read;
} pv_key;

static const pv_key table[] = {
#define FAL_PV_KEY(object, name, kind, read) { #object, #name, kind, read },
#include "harness/contract_pv_keys.def"
};

static const char *const kinds[] = { "kernel",
                                     "registry",
                                     "model-family",
                                     "model-family-variant",
                                     "tokenizer",
                                     "training-loop",
                                     "pretraining-corpus",
                                     "training-precondition-gate",
                                     "corpus-assembly",
                                     "pattern",
                                     "schema",
                                     "beat-benchmark",
                                     "kaizen",
                                     "competitive-parity",
                                     NULL };
static const char *const levels[] = { "basic", "standard", "strict", "proven", NULL };
static const char *const proofs[] = { "proved", "sorry", "wip", "not-applicable", NULL };
static const char *const strategies[] = { "exhaustive", "stub_float", "compositional", "bounded_int", NULL };

static const char *const *choices_of(kind_of_key kind)
{
    switch (kind) {
    case CHOICE_KIND: return kinds;
    case CHOICE_LEVEL: return levels;
    case CHOICE_TYPE: return fal_obligation_types;
    case CHOICE_LEAN: return proofs;
    case CHOICE_STRATEGY: return strategies;
    default: return NULL;
    }
}

/* How often a key that pv drops stands in the file, and where first. */
typedef struct {
    int n;
    const fal_yaml_node *first;
} dropped;

typedef struct {
    const fal_pv *v;
    fal_contract_file *f;
    dropped drops[FAL_N(table)];
} walk;

/* ---- values ---- */

static bool is_null(const fal_yaml_node *n)
{
    return n->kind == FAL_YAML_SCALAR && n->plain &&
           (n->len == 0 || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

/* What pv's reader takes for something else than text. */
static bool is_not_text(const fal_yaml_node *n)
{
    double number;
    if (n->kind != FAL_YAML_SCALAR) return true;
    return n->plain && (fal_yaml_number(n, &number) || strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0);
}

static void refuse_value(walk *w, const fal_yaml_node *n, const char *what, const char *hint)
{
    if (n->kind == FAL_YAML_BROKEN) return;
    const char *name = n->key && n->key->text ? n->key->text : "an entry";
    fal_diagnose(
        &w->f->d, FAL_RULE_PV_VAL_001, FAL_AT(n), hint, "'%s' %s%s%s, and pv expects %s", fal_shown(w->f, name),
        n->kind == FAL_YAML_SCALAR ? "is '"
        : n->kind == FAL_YAML_LIST ? "is a list"
                                   : "is a map",
        n->kind == FAL_YAML_SCALAR ? fal_shown(w->f, n->text) : "", n->kind == FAL_YAML_SCALAR ? "'" : "", what);
}

static void judge_texts(walk *w, const fal_yaml_node *list)
{
    if (list->kind != FAL_YAML_LIST) {
        refuse_value(w, list, "a list of text", NULL);
        return;
    }
    for (const fal_yaml_node *c = list->first; c; c = c->next)
        if (is_not_text(c)) refuse_value(w, c, "text", c->kind == FAL_YAML_SCALAR ? "put it in quotes" : NULL);
}

static void judge_value(walk *w, const fal_yaml_node *n, const pv_key *key)
{
    double number = 0;
    int64_t count = 0;
    if (is_null(n) && key->read != NEED) return;
    const char *const *choices = choices_of(key->kind);
    if (choices) {
        if (n->kind == FAL_YAML_SCALAR)
            for (size_t i = 0; choices[i]; i++)
                if (strcmp(choices[i], n->text) == 0) return;
        refuse_value(w, n, "a value of its list",
                     n->kind == FAL_YAML_SCALAR ? fal_suggest(w->f, n->text, choices, fal_count_names(choices)) : NULL);
        return;
    }
    switch (key->kind) {
    case TEXT:
        if (is_null(n) || is_not_text(n))
            refuse_value(w, n, "text", n->kind == FAL_YAML_SCALAR ? "put it in quotes" : NULL);
        else if (fal_yaml_text_is_ambiguous(n) && !strchr(n->text, '-'))
            fal_diagnose(&w->f->d, FAL_RULE_FORM_022, FAL_AT(n), "put it in quotes",
                         "'%s' is text here, but other YAML readers take it for something else",
                         fal_shown(w->f, n->text));
        break;
    case TEXTS: judge_texts(w, n); break;
    case NUMBER:
        if (!fal_yaml_number(n, &number))
            refuse_value(w, n, "a number", NULL);
        else if (fal_yaml_number_is_ambiguous(n))
            fal_diagnose(&w->f->d, FAL_RULE_FORM_022, FAL_AT(n), "write a fraction and a signed exponent, as in 1.0e-5",
                         "YAML 1.1 readers take %s for text", fal_shown(w->f, n->text));
        break;
    case COUNT:
        if (!fal_yaml_integer(n, 0, UINT32_MAX, &count)) refuse_value(w, n, "a whole number", NULL);
        break;
    case FLAG:
        if (n->kind != FAL_YAML_SCALAR || (strcmp(n->text, "true") != 0 && strcmp(n->text, "false") != 0))
            refuse_value(w, n, "true or false", NULL);
        break;
    case MAP:
        if (n->kind != FAL_YAML_MAP) refuse_value(w, n, "a map", NULL);
        break;
    case LIST:
        if (n->kind != FAL_YAML_LIST) refuse_value(w, n, "a list", NULL);
        break;
    default: break;
    }
}

/* ---- keys ---- */

/* Letters and digits in lower case, without the ending of a plural: what is left of two spellings of one name. */
static void bare_name(const char *s, char *out, size_t size)
{
    size_t n = 0;
    for (; *s && n + 1 < size; s++)
        if (isalnum((unsigned char)*s)) out[n++] = (char)tolower((unsigned char)*s);
    while (n > 1 && (out[n - 1] == 's' || out[n - 1] == 'e')) n--;
    out[n] = '\0';
}

static const char *misspelt(const char *key)
{
    char a[64], b[64];
    bare_name(key, a, sizeof a);
    for (size_t i = 0; i < FAL_N(table); i++) {
        if (strcmp(table[i].object, "contract") != 0 || table[i].read == NO) continue;
        bare_name(table[i].name, b, sizeof b);
        if (strcmp(a, b) == 0) return table[i].name;
    }
    return NULL;
}

static const char *nearest(walk *w, const char *object, const char *key)
{
    const char *names[FAL_N(table)];
    size_t n = 0;
    if (fal_diagnosis_is_full_of_warnings(&w->f->d)) return NULL;
    for (size_t i = 0; i < FAL_N(table); i++)
        if (strcmp(table[i].object, object) == 0) names[n++] = table[i].name;
    return !fal_nearest(key, names, n) ? NULL : fal_suggest(w->f, key, names, n);
}

static void unknown_key(walk *w, const fal_yaml_node *key, const char *object)
{
    if (strncmp(key->text, "x-", 2) == 0 || strncmp(key->text, "x_", 2) == 0) return;
    if (strcmp(object, "metadata") == 0 && strncmp(key->text, "five_whys", 9) == 0) return;
    if (strcmp(object, "contract") == 0) {
        const char *meant = misspelt(key->text);
        if (strcmp(key->text, "kind") == 0) {
            fal_diagnose(&w->f->d, FAL_RULE_SCHEMA_018, FAL_AT(key), "move it to metadata",
                         "pv does not read 'kind' at top level");
            return;
        }
        if (meant) {
            fal_diagnose(&w->f->d, FAL_RULE_SCHEMA_019, FAL_AT(key), fal_suggest(w->f, meant, &meant, 1),
                         "'%s' is another spelling of a key that pv reads, and is dropped", fal_shown(w->f, key->text));
            return;
        }
    }
    const bool full = fal_diagnosis_is_full_of_warnings(&w->f->d);
    fal_diagnose(&w->f->d, FAL_RULE_FOR_002, FAL_AT(key), nearest(w, object, key->text),
                 "unknown key '%s' in %s %s; pv drops it", full ? "" : fal_shown(w->f, key->text),
                 strchr("aeiou", object[0]) ? "an" : "a", object);
}

static void judge_map_as(walk *w, const fal_yaml_node *map, const char *object, bool needs)
{
    if (!map || map->kind != FAL_YAML_MAP) return;
    size_t from = 0;
    while (strcmp(table[from].object, object) != 0) from++;
    size_t end = from;
    while (end < FAL_N(table) && strcmp(table[end].object, object) == 0) end++;
    bool there[FAL_N(table)] = { false };
    for (const fal_yaml_node *c = map->first; c; c = c->next) {
        if (c->key->kind == FAL_YAML_BROKEN) continue;
        size_t i = from;
        while (i < end && strcmp(table[i].name, c->key->text) != 0) i++;
        if (i == end) {
            unknown_key(w, c->key, object);
            continue;
        }
        there[i] = true;
        if (table[i].read == NO) {
            if (w->drops[i].n++ == 0) w->drops[i].first = c->key;
        } else {
            judge_value(w, c, &table[i]);
        }
    }
    for (size_t i = from; needs && i < end; i++)
        if (table[i].read == NEED && !there[i])
            fal_diagnose(&w->f->d, FAL_RULE_PV_VAL_001, FAL_AT(map->first ? map->first->key : map), NULL,
                         "%s lacks '%s', without which pv cannot read it", object, table[i].name);
}

static void judge_map(walk *w, const fal_yaml_node *map, const char *object)
{
    judge_map_as(w, map, object, true);
}

static void judge_list(walk *w, const fal_yaml_node *list, const char *object)
{
    if (!list || list->kind != FAL_YAML_LIST) return;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        if (c->kind == FAL_YAML_MAP)
            judge_map(w, c, object);
        else
            refuse_value(w, c, "a map of keys", NULL);
    }
}

static void judge_values(walk *w, const fal_yaml_node *map, const char *object)
{
    if (!map || map->kind != FAL_YAML_MAP) return;
    for (const fal_yaml_node *c = map->first; c; c = c->next) {
        if (c->kind == FAL_YAML_MAP)
            judge_map(w, c, object);
        else
            refuse_value(w, c, "a map of keys", NULL);
    }
}

void fal_pv_judge_keys(const fal_pv *v)
{
    walk *w = fal_arena_take(v->f->arena, 1, sizeof *w);
    if (!w) return;
    w->v = v, w->f = v->f;
    judge_map(w, v->root, "contract");
    judge_map(w, v->meta, "metadata");
    const fal_yaml_node *equations = fal_yaml_get(v->root, "equations");
    judge_values(w, equations, "equation");
    judge_list(w, equations, "equation");
    judge_list(w, fal_yaml_get(v->root, "proof_obligations"), "obligation");
    for (size_t i = 0; i < v->obligations.n; i++) judge_map(w, fal_yaml_get(v->obligations.items[i], "lean"), "lean");
    judge_list(w, fal_yaml_get(v->root, "falsification_tests"), "test");
    judge_list(w, fal_yaml_get(v->root, "kani_harnesses"), "kani");
    judge_map(w, fal_yaml_get(v->root, "qa_gate"), "gate");
    judge_map(w, fal_yaml_get(v->root, "verification_summary"), "summary");
    judge_list(w, fal_yaml_get(fal_yaml_get(v->root, "kernel_structure"), "phases"), "phase");
    judge_values(w, fal_yaml_get(v->root, "enforcement"), "enforcement");
    for (size_t i = 0; i < v->legacy.n; i++) judge_map_as(w, v->legacy.items[i], "test", false);
    for (size_t i = 0; i < v->stages.n; i++) judge_map(w, v->stages.items[i], "stage");
    for (size_t i = 0; i < v->amendments.n; i++) judge_map(w, v->amendments.items[i], "amendment");
    for (size_t i = 0; i < FAL_N(table); i++) {
        if (w->drops[i].n == 0 || strcmp(table[i].object, "stage") == 0 || strcmp(table[i].object, "amendment") == 0)
            continue;
        fal_diagnose(&v->f->d, FAL_RULE_FOR_001, FAL_AT(w->drops[i].first), NULL, "pv drops '%s' (%d in this file)",
                     table[i].name, w->drops[i].n);
    }
}
