/* The rules of pv validate, audit and lint, as far as they do not look into Rust or Lean. */
#include "harness/contract_pv.h"

#include "harness/claims.h"
#include "harness/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const fal_yaml_node *at_of(const fal_yaml_node *map)
{
    return map->first ? map->first->key : map;
}

static bool is_kernel(const fal_pv *v)
{
    return strcmp(v->kind, "kernel") == 0;
}

/* Where a rule about the whole contract stands. */
static const fal_yaml_node *top(const fal_pv *v)
{
    return v->meta && v->meta->key ? v->meta->key : at_of(v->root);
}

static const char *by_default(const fal_pv *v)
{
    return v->kind_declared ? "" : " (no metadata.kind, judged as a kernel by default)";
}

/* ---- metadata and equations ---- */

static bool has_entries(const fal_yaml_node *list)
{
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR && c->text[strspn(c->text, " \t\n")]) return true;
    return false;
}

/* A year, a DOI or an arXiv number: something by which it can be looked up. */
static bool is_publication(const char *s)
{
    if (strstr(s, "arXiv") || strstr(s, "arxiv") || strstr(s, "doi") || strstr(s, "DOI") || strstr(s, "ISBN"))
        return true;
    for (; *s; s++)
        if ((strncmp(s, "19", 2) == 0 || strncmp(s, "20", 2) == 0) && isdigit((unsigned char)s[2]) &&
            isdigit((unsigned char)s[3]) && !isdigit((unsigned char)s[4]))
            return true;
    return false;
}

static void judge_metadata(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    const fal_yaml_node *references = fal_yaml_get(v->meta, "references");
    if (!v->meta) return;
    if (!has_entries(references))
        fal_diagnose(d, FAL_RULE_SCHEMA_001, FAL_AT(references ? references : top(v)), NULL,
                     "metadata.references names no source");
    else {
        bool published = false;
        for (const fal_yaml_node *c = references->first; c; c = c->next)
            published |= c->kind == FAL_YAML_SCALAR && is_publication(c->text);
        if (!published)
            fal_diagnose(d, FAL_RULE_PV_AUD_002, FAL_AT(references->key), NULL,
                         "no reference is a publication with a year or an identifier");
    }
    const fal_yaml_node *version = fal_yaml_get(v->meta, "version");
    if (version && !fal_pv_get(v->meta, "version", NULL))
        fal_diagnose(d, FAL_RULE_SCHEMA_002, FAL_AT(version), NULL, "metadata.version is empty");
    if (!fal_pv_get(v->meta, "created", NULL))
        fal_diagnose(d, FAL_RULE_PV_VAL_003, FAL_AT(top(v)), NULL, "metadata.created is missing");
}

static const char *name_of(const fal_pv *v, const fal_yaml_node *item)
{
    const char *s = fal_pv_text(item, "id", NULL);
    if (!s && item->key) s = item->key->text;
    return s ? fal_shown(v->f, s) : "without an id";
}

static void judge_equations(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    if (v->equations.n == 0 && is_kernel(v))
        fal_diagnose(d, FAL_RULE_SCHEMA_003, FAL_AT(top(v)), NULL, "a kernel has at least one equation%s",
                     by_default(v));
    if (v->equations.n > 0 && v->obligations.n == 0)
        fal_diagnose(d, FAL_RULE_AUDIT_003, FAL_AT(top(v)), NULL, "%zu equations and no obligation", v->equations.n);
    for (size_t i = 0; i < v->equations.n; i++) {
        const fal_yaml_node *e = v->equations.items[i];
        const fal_yaml_node *at = e->key ? e->key : at_of(e);
        if (!fal_pv_get(e, "formula", NULL))
            fal_diagnose(d, FAL_RULE_SCHEMA_004, FAL_AT(at), NULL, "equation %s has no formula", name_of(v, e));
        if (!fal_pv_get(e, "domain", NULL))
            fal_diagnose(d, FAL_RULE_PV_AUD_004, FAL_AT(at), NULL, "equation %s has no domain", name_of(v, e));
        if (!fal_yaml_get(e, "preconditions"))
            fal_diagnose(d, FAL_RULE_PV_ENF_001, FAL_AT(at), NULL, "equation %s has no preconditions", name_of(v, e));
    }
}

/* ---- repeats ---- */

typedef struct {
    const char *text;
    const fal_yaml_node *node;
} entry;

static int compare(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    const int by_text = strcmp(a->text, b->text);
    return by_text != 0                                ? by_text
           : a->node->place.line < b->node->place.line ? -1
                                                       : a->node->place.line > b->node->place.line;
}

static void refuse_repeats(const fal_pv *v, const fal_nodes *list, const char *key, const char *alias, fal_rule_id rule,
                           const char *what)
{
    entry *entries = fal_arena_take(v->f->arena, list->n + 1, sizeof *entries);
    size_t n = 0;
    for (size_t i = 0; entries && i < list->n; i++) {
        const fal_yaml_node *node = fal_pv_get(list->items[i], key, alias);
        if (node && node->kind == FAL_YAML_SCALAR) entries[n++] = (entry){ node->text, node };
    }
    if (n > 1) qsort(entries, n, sizeof *entries, compare);
    for (size_t i = 1; i < n; i++)
        if (strcmp(entries[i].text, entries[i - 1].text) == 0)
            fal_diagnose(&v->f->d, rule, FAL_AT(entries[i].node), NULL, "%s '%s' stands in line %d already", what,
                         fal_shown(v->f, entries[i].text), entries[i - 1].node->place.line);
}

/* ---- obligations ---- */

static bool is_type(const char *type, const char *a, const char *b)
{
    return type && (strcmp(type, a) == 0 || (b && strcmp(type, b) == 0));
}

static bool depends_on(const fal_pv *v, const char *stem)
{
    const fal_yaml_node *list = fal_yaml_get(v->meta, "depends_on");
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR && strcmp(c->text, stem) == 0) return true;
    return false;
}

static void judge_obligation(const fal_pv *v, const fal_yaml_node *o)
{
    fal_file_diagnosis *d = &v->f->d;
    const char *type = fal_pv_text(o, "type", NULL), *applies = fal_pv_text(o, "applies_to", NULL),
               *parent = fal_pv_text(o, "parent_contract", NULL);
    const fal_yaml_node *requires = fal_yaml_get(o, "requires"), *phase = fal_yaml_get(o, "applies_to_phase"),
                        *child = fal_yaml_get(o, "parent_contract"), *reason = fal_pv_get(o, "na_reason", NULL),
                        *owner = fal_pv_get(o, "na_owner", NULL);
    if (!fal_pv_get(o, "property", "statement"))
        fal_diagnose(d, FAL_RULE_SCHEMA_005, FAL_AT(at_of(o)), NULL, "an obligation has no property");
    if (requires && !is_type(type, "postcondition", NULL))
        fal_diagnose(d, FAL_RULE_SCHEMA_014, FAL_AT(requires->key), NULL,
                     "'requires' has no meaning on an obligation that is no postcondition");
    if (phase && !is_type(type, "loop_invariant", "loop_variant"))
        fal_diagnose(d, FAL_RULE_SCHEMA_015, FAL_AT(phase->key), NULL,
                     "'applies_to_phase' has no meaning on an obligation that is of no loop");
    if (child && !is_type(type, "subcontract", NULL))
        fal_diagnose(d, FAL_RULE_SCHEMA_016, FAL_AT(child->key), NULL,
                     "'parent_contract' has no meaning on an obligation that is no subcontract");
    if (is_type(type, "subcontract", NULL) && parent && !depends_on(v, parent))
        fal_diagnose(d, FAL_RULE_SCHEMA_017, FAL_AT(child), "add it to depends_on",
                     "parent contract '%s' is not in depends_on", fal_shown(v->f, parent));
    if (applies && strcmp(applies, "not_applicable") == 0) {
        const fal_yaml_node *at = fal_yaml_get(o, "applies_to");
        if (!reason)
            fal_diagnose(d, FAL_RULE_SCHEMA_021, FAL_AT(at), "add na_reason", "not applicable, without a reason");
        if (!owner)
            fal_diagnose(d, FAL_RULE_SCHEMA_022, FAL_AT(at), "add na_owner", "not applicable, without an owner");
    } else if (reason || owner) {
        fal_diagnose(d, FAL_RULE_SCHEMA_023, FAL_AT((reason ? reason : owner)->key), NULL,
                     "na_reason and na_owner have no meaning where applies_to is not not_applicable");
    }
    if (is_type(type, "equivalence", "bound") && !fal_pv_get(o, "tolerance", NULL))
        fal_diagnose(d, FAL_RULE_PV_AUD_005, FAL_AT(at_of(o)), NULL, "an obligation of type %s has no tolerance", type);
}

static bool is_cited(const fal_nodes *tests, const char *id)
{
    static const char *const keys[] = { "rule",    "description",  "prediction", "expected", "test",
                                        "command", "test_harness", "binds_to",   "name" };
    for (size_t i = 0; i < tests->n; i++)
        for (size_t k = 0; k < FAL_N(keys); k++) {
            const char *s = fal_pv_text(tests->items[i], keys[k], NULL);
            if (s && strstr(s, id)) return true;
        }
    return false;
}

static void judge_obligations(const fal_pv *v)
{
    enum { MOST_CITED = 100 }; /* ids that are looked for in every test */
    refuse_repeats(v, &v->obligations, "formal", "verification", FAL_RULE_SCHEMA_006, "the formal text");
    for (size_t i = 0; i < v->obligations.n; i++) {
        const fal_yaml_node *o = v->obligations.items[i];
        judge_obligation(v, o);
        const fal_yaml_node *id = fal_pv_get(o, "id", NULL);
        if (v->f->d.profile == FAL_PROFILE_PV && id && id->kind == FAL_YAML_SCALAR && i < MOST_CITED &&
            v->tests.n < MOST_CITED && !is_cited(&v->tests, id->text) && !is_cited(&v->legacy, id->text))
            fal_diagnose(&v->f->d, FAL_RULE_PV_AUD_003, FAL_AT(id), NULL, "no test names obligation '%s'",
                         fal_shown(v->f, id->text));
    }
}

/* ---- tests, harnesses, gate, floor ---- */

static void judge_tests(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    refuse_repeats(v, &v->tests, "id", NULL, FAL_RULE_SCHEMA_007, "falsification id");
    for (size_t i = 0; i < v->tests.n; i++) {
        const fal_yaml_node *t = v->tests.items[i];
        if (!fal_pv_get(t, "prediction", "expected"))
            fal_diagnose(d, FAL_RULE_SCHEMA_008, FAL_AT(at_of(t)), NULL, "test %s has no prediction", name_of(v, t));
        if (!fal_pv_get(t, "if_fails", "fails_if"))
            fal_diagnose(d, FAL_RULE_SCHEMA_009, FAL_AT(at_of(t)), NULL,
                         "test %s does not say what to suspect if it fails", name_of(v, t));
    }
    if (v->tests.n == 0)
        fal_diagnose(d, FAL_RULE_AUDIT_001, FAL_AT(top(v)), NULL, "the contract has no falsification_tests");
    if (v->tests.n > 0 && v->tests.n < v->obligations.n)
        fal_diagnose(d, FAL_RULE_PV_AUD_001, FAL_AT(top(v)), NULL, "%zu tests for %zu obligations", v->tests.n,
                     v->obligations.n);
}

static void judge_kani(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    refuse_repeats(v, &v->kani, "id", NULL, FAL_RULE_SCHEMA_010, "Kani id");
    for (size_t i = 0; i < v->kani.n; i++) {
        const fal_yaml_node *k = v->kani.items[i];
        if (fal_yaml_get(k, "obligation") && !fal_pv_get(k, "obligation", NULL))
            fal_diagnose(d, FAL_RULE_SCHEMA_011, FAL_AT(fal_yaml_get(k, "obligation")->key), NULL,
                         "harness %s names no obligation", name_of(v, k));
        if (fal_yaml_get(k, "obligation") && !fal_pv_get(k, "obligation", NULL))
            fal_diagnose(d, FAL_RULE_AUDIT_002, FAL_AT(fal_yaml_get(k, "obligation")->key), NULL,
                         "harness %s is traced to no obligation", name_of(v, k));
        if (!fal_pv_get(k, "bound", NULL))
            fal_diagnose(d, FAL_RULE_SCHEMA_012, FAL_AT(at_of(k)), NULL, "harness %s has no bound", name_of(v, k));
    }
    if (v->kani.n > 0 && v->kani.n < v->obligations.n)
        fal_diagnose(d, FAL_RULE_PV_PRV_003, FAL_AT(top(v)), NULL, "%zu Kani harnesses for %zu obligations", v->kani.n,
                     v->obligations.n);
}

static void judge_floor(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    if (!fal_yaml_get(v->root, "qa_gate"))
        fal_diagnose(d, FAL_RULE_SCHEMA_013, FAL_AT(top(v)), NULL, "the contract has no qa_gate");
    if (!is_kernel(v)) return;
    if (v->obligations.n == 0 || v->tests.n == 0 || v->kani.n == 0)
        fal_diagnose(d, FAL_RULE_PROVABILITY_001, FAL_AT(top(v)), NULL,
                     "a kernel needs obligations, tests and Kani harnesses; it has %zu, %zu and %zu%s",
                     v->obligations.n, v->tests.n, v->kani.n, by_default(v));
    else if (v->tests.n < v->obligations.n)
        fal_diagnose(d, FAL_RULE_PROVABILITY_001, FAL_AT(top(v)), NULL,
                     "a kernel needs at least as many tests as obligations; it has %zu and %zu%s", v->tests.n,
                     v->obligations.n, by_default(v));
}

void fal_pv_judge(const fal_pv *v)
{
    if (!v->root || v->root->kind != FAL_YAML_MAP) return;
    judge_metadata(v);
    judge_equations(v);
    judge_obligations(v);
    judge_tests(v);
    judge_kani(v);
    judge_floor(v);
}
