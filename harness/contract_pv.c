/* Contracts by the rules of aprender's pv: the view of both generations of its schema, and reading it into a contract. */
#include "harness/contract_pv.h"

#include <limits.h>
#include <string.h>

static bool is_blank(const fal_yaml_node *n)
{
    return n->kind == FAL_YAML_SCALAR && n->text[strspn(n->text, " \t\n")] == '\0';
}

const fal_yaml_node *fal_pv_get(const fal_yaml_node *map, const char *key, const char *alias)
{
    const fal_yaml_node *n = fal_yaml_get(map, key);
    if ((!n || is_blank(n)) && alias) n = fal_yaml_get(map, alias);
    return n && !is_blank(n) ? n : NULL;
}

const char *fal_pv_text(const fal_yaml_node *map, const char *key, const char *alias)
{
    const fal_yaml_node *n = fal_pv_get(map, key, alias);
    return n && n->kind == FAL_YAML_SCALAR ? n->text : NULL;
}

/* The maps of a list, or of the values of a map when may_map. */
static void add_maps(fal_contract_file *f, const fal_yaml_node *list, bool may_map, fal_nodes *out)
{
    if (!list || !(list->kind == FAL_YAML_LIST || (may_map && list->kind == FAL_YAML_MAP)) || list->n > INT_MAX / 4)
        return;
    const fal_yaml_node **items = fal_arena_take(f->arena, out->n + list->n + 1, sizeof *items);
    if (!items) return;
    if (out->n) memcpy(items, out->items, out->n * sizeof *items);
    out->items = items;
    for (const fal_yaml_node *c = list->first; c; c = c->next)
        if (c->kind == FAL_YAML_MAP) items[out->n++] = c;
}

fal_pv fal_pv_view(fal_contract_file *f)
{
    fal_pv v = { .f = f, .root = f->yaml.root, .kind = "kernel" };
    v.meta = fal_yaml_get(v.root, "metadata");
    const fal_yaml_node *registry = fal_yaml_get(v.meta, "registry");
    const char *kind = fal_pv_text(v.meta, "kind", NULL);
    v.registry = registry && registry->kind == FAL_YAML_SCALAR && strcmp(registry->text, "true") == 0;
    v.kind_declared = kind != NULL;
    if (kind) v.kind = kind;
    if (v.registry && strcmp(v.kind, "kernel") == 0) v.kind = "registry";
    add_maps(f, fal_yaml_get(v.root, "equations"), true, &v.equations);
    add_maps(f, fal_yaml_get(v.root, "proof_obligations"), false, &v.obligations);
    add_maps(f, fal_yaml_get(v.root, "falsification_tests"), false, &v.tests);
    add_maps(f, fal_yaml_get(v.root, "kani_harnesses"), false, &v.kani);
    add_maps(f, fal_yaml_get(v.root, "implementation_stages"), true, &v.stages);
    add_maps(f, fal_yaml_get(v.meta, "amendment_history"), false, &v.amendments);
    add_maps(f, fal_yaml_get(v.root, "falsification"), true, &v.legacy);
    add_maps(f, fal_yaml_get(v.root, "falsification_conditions"), true, &v.legacy);
    return v;
}

/* ---- into a contract ---- */

static const char *text_or(const fal_yaml_node *map, const char *key, const char *alias, const char *other)
{
    const char *s = fal_pv_text(map, key, alias);
    return s ? s : other;
}

static int read_list(fal_contract_file *f, const fal_yaml_node *list, const char *const **out)
{
    if (!list || list->kind != FAL_YAML_LIST || list->n > INT_MAX / 4) return 0;
    const char **texts = fal_arena_take(f->arena, list->n + 1, sizeof *texts);
    int n = 0;
    for (const fal_yaml_node *c = texts ? list->first : NULL; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR && !is_blank(c)) texts[n++] = c->text;
    *out = texts;
    return n;
}

/* Rows of tests: nothing in them is executable here, so they have no checks. */
static int read_tests(const fal_nodes *from, bool legacy, fal_falsifier *out)
{
    for (size_t i = 0; i < from->n; i++)
        out[i] = (fal_falsifier){ .id = text_or(from->items[i], "id", NULL, ""),
                                  .rule = text_or(from->items[i], "rule", "description", ""),
                                  .prediction =
                                      text_or(from->items[i], "prediction", legacy ? "description" : "expected", ""),
                                  .if_fails = text_or(from->items[i], "if_fails", "fails_if", ""),
                                  .unbound_because = text_or(from->items[i], "test", "command", "no test is given"),
                                  .place = from->items[i]->place };
    return (int)from->n;
}

static void fill(const fal_pv *v)
{
    fal_contract_file *f = v->f;
    fal_contract *c = &f->contract;
    c->version = text_or(v->meta, "version", NULL, "");
    c->description = text_or(v->meta, "description", NULL, "");
    c->kind = v->kind;
    c->status = text_or(v->root, "status", NULL, text_or(v->meta, "status", NULL, ""));
    c->created = fal_pv_text(v->meta, "created", NULL);
    c->author = fal_pv_text(v->meta, "author", NULL);
    c->n_references = read_list(f, fal_yaml_get(v->meta, "references"), &c->references);
    c->n_depends_on = read_list(f, fal_yaml_get(v->meta, "depends_on"), &c->depends_on);
    c->n_equations = (int)v->equations.n;
    fal_obligation *obligations = fal_arena_take(f->arena, v->obligations.n + 1, sizeof *obligations);
    fal_falsifier *falsifiers = fal_arena_take(f->arena, v->tests.n + v->legacy.n + 1, sizeof *falsifiers);
    fal_stage *stages = fal_arena_take(f->arena, v->stages.n + 1, sizeof *stages);
    fal_amendment *amendments = fal_arena_take(f->arena, v->amendments.n + 1, sizeof *amendments);
    if (!obligations || !falsifiers || !stages || !amendments) return;
    for (size_t i = 0; i < v->obligations.n; i++) {
        const fal_yaml_node *o = v->obligations.items[i];
        obligations[i] = (fal_obligation){ .id = text_or(o, "id", NULL, ""),
                                           .type = text_or(o, "type", NULL, "invariant"),
                                           .property = text_or(o, "property", "statement", ""),
                                           .formal = fal_pv_text(o, "formal", "verification"),
                                           .place = o->place };
    }
    for (size_t i = 0; i < v->stages.n; i++) {
        const fal_yaml_node *s = v->stages.items[i];
        stages[i] = (fal_stage){ .id = text_or(s, "id", NULL, ""),
                                 .status = text_or(s, "status", NULL, ""),
                                 .title = fal_pv_text(s, "title", NULL),
                                 .description = fal_pv_text(s, "description", NULL),
                                 .place = s->place };
        stages[i].n_obligations =
            read_list(f, fal_pv_get(s, "expected_acceptance", "unblocks_obligations"), &stages[i].obligations);
        stages[i].n_blockers = read_list(f, fal_yaml_get(s, "blockers"), &stages[i].blockers);
    }
    for (size_t i = 0; i < v->amendments.n; i++) {
        const fal_yaml_node *a = v->amendments.items[i];
        amendments[i] = (fal_amendment){ text_or(a, "version", NULL, ""), text_or(a, "date", NULL, ""),
                                         text_or(a, "kind", NULL, ""), text_or(a, "title", NULL, ""),
                                         fal_pv_text(a, "description", NULL) };
    }
    c->obligations = obligations, c->n_obligations = (int)v->obligations.n;
    c->falsifiers = falsifiers, c->n_falsifiers = read_tests(&v->tests, false, falsifiers);
    c->n_falsifiers += read_tests(&v->legacy, true, falsifiers + c->n_falsifiers);
    c->stages = stages, c->n_stages = (int)v->stages.n;
    c->amendments = amendments, c->n_amendments = (int)v->amendments.n;
}

void fal_pv_read(fal_contract_file *f)
{
    if (!fal_node_is(f, f->yaml.root, FAL_YAML_MAP, "a contract")) {
        fal_diagnose(&f->d, FAL_RULE_PV_VAL_001, FAL_AT(f->yaml.root), NULL, "a contract is a map of keys");
        return;
    }
    const fal_pv v = fal_pv_view(f);
    fill(&v);
    fal_pv_judge_keys(&v);
    fal_pv_judge(&v);
    fal_pv_judge_more(&v);
}
