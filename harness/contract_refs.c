/* References within and between contracts: depends_on, ids unique over all files, obligations that are cited. */
#include "harness/contract_keys.h"

#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

/* An id that something in some file has. */
typedef struct {
    const char *id;
    int file, item;
    const fal_yaml_node *node; /* of the id itself */
    bool bound;                /* an obligation that a falsifier with a check tries to refute */
    bool excused;              /* one that a falsifier names which says why it has no check, or is retired */
} entry;

typedef struct {
    entry *items; /* sorted by id, then file and place */
    size_t n;
} id_table;

/* One file depends on another. */
typedef struct {
    int target;
    const fal_yaml_node *node;
} edge;

typedef struct {
    fal_contract_file *const *files;
    int n;
    fal_arena arena; /* of this pass alone */
    edge **edges;    /* of each file */
    int *n_edges;
    id_table obligations, falsifiers, stages;
    int *reached, stamp; /* files that the file at hand depends on, itself included: those that carry its stamp */
    int *stack;
    bool *weak; /* has no falsifier with a check, or depends on one that has none */
} resolver;

/* ---- ids ---- */

static int compare_entries(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    const int by_id = strcmp(a->id, b->id);
    if (by_id != 0) return by_id;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item;
}

static void add_entry(id_table *t, int file, int item, const fal_yaml_node *map)
{
    const fal_yaml_node *id = fal_yaml_get(map, "id");
    if (id && id->kind == FAL_YAML_SCALAR && id->len > 0)
        t->items[t->n++] = (entry){ id->text, file, item, id, false, false };
}

static const char *where(fal_contract_file *f, const fal_contract_file *other, const fal_yaml_node *node)
{
    fal_text t = { 0 };
    if (other != f)
        fal_text_addf(&t, "%s:%d", other->contract.path, node->place.line);
    else
        fal_text_addf(&t, "line %d", node->place.line);
    const char *copy = fal_shown(f, fal_text_str(&t));
    fal_text_free(&t);
    return copy;
}

static void refuse_repeated_ids(const resolver *r, const id_table *t, const char *what)
{
    for (size_t i = 1, first = 0; i < t->n; i++) {
        if (strcmp(t->items[first].id, t->items[i].id) != 0) {
            first = i;
            continue;
        }
        fal_contract_file *f = r->files[t->items[i].file];
        fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(t->items[i].node),
                     "an id means one thing, in all files and for good", "%s id '%s' is taken: see %s", what,
                     fal_shown(f, t->items[i].id), where(f, r->files[t->items[first].file], t->items[first].node));
    }
}

static bool collect_ids(resolver *r)
{
    size_t n_obligations = 0, n_falsifiers = 0, n_stages = 0;
    for (int i = 0; i < r->n; i++) {
        n_obligations += (size_t)r->files[i]->contract.n_obligations;
        n_falsifiers += (size_t)r->files[i]->contract.n_falsifiers;
        n_stages += (size_t)r->files[i]->contract.n_stages;
    }
    r->obligations.items = fal_arena_take(&r->arena, n_obligations, sizeof(entry));
    r->falsifiers.items = fal_arena_take(&r->arena, n_falsifiers, sizeof(entry));
    r->stages.items = fal_arena_take(&r->arena, n_stages, sizeof(entry));
    if (r->arena.failed) return false;
    for (int i = 0; i < r->n; i++) {
        const fal_contract_file *f = r->files[i];
        for (int k = 0; k < f->contract.n_obligations; k++) add_entry(&r->obligations, i, k, f->obligation_nodes[k]);
        for (int k = 0; k < f->contract.n_falsifiers; k++) add_entry(&r->falsifiers, i, k, f->falsifier_nodes[k]);
        for (int k = 0; k < f->contract.n_stages; k++) add_entry(&r->stages, i, k, f->stage_nodes[k]);
    }
    qsort(r->obligations.items, r->obligations.n, sizeof(entry), compare_entries);
    qsort(r->falsifiers.items, r->falsifiers.n, sizeof(entry), compare_entries);
    qsort(r->stages.items, r->stages.n, sizeof(entry), compare_entries);
    refuse_repeated_ids(r, &r->obligations, "obligation");
    refuse_repeated_ids(r, &r->falsifiers, "falsifier");
    refuse_repeated_ids(r, &r->stages, "stage");
    return true;
}

/* The first entry of that id, or NULL. */
static entry *find_id(const id_table *t, const char *id)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (strcmp(t->items[mid].id, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && strcmp(t->items[low].id, id) == 0 ? &t->items[low] : NULL;
}

/* ---- dependencies ---- */

static int find_stem(const resolver *r, const char *stem)
{
    int low = 0, high = r->n;
    while (low < high) {
        const int mid = low + (high - low) / 2;
        if (strcmp(r->files[mid]->contract.stem, stem) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->n && strcmp(r->files[low]->contract.stem, stem) == 0 ? low : -1;
}

static const char *suggest_stem(const resolver *r, fal_contract_file *f, const char *stem)
{
    const char **names = fal_diagnosis_is_full(&f->d) ? NULL : fal_arena_take(f->arena, (size_t)r->n, sizeof *names);
    if (!names) return NULL;
    size_t n = 0;
    for (int i = 0; i < r->n; i++)
        if (r->files[i] != f) names[n++] = r->files[i]->contract.stem;
    return fal_suggest(f, stem, names, n);
}

static bool collect_edges(resolver *r)
{
    for (int i = 0; i < r->n; i++) {
        fal_contract_file *f = r->files[i];
        const fal_yaml_node *list = fal_yaml_get(fal_yaml_get(f->yaml.root, "metadata"), "depends_on");
        if (!list || list->kind != FAL_YAML_LIST) continue;
        r->edges[i] = fal_arena_take(&r->arena, list->n, sizeof(edge));
        if (!r->edges[i]) return false;
        for (const fal_yaml_node *c = list->first; c; c = c->next) {
            if (c->kind != FAL_YAML_SCALAR || c->len == 0) continue;
            const int target = find_stem(r, c->text);
            if (target < 0)
                fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(c), suggest_stem(r, f, c->text),
                             "depends_on names '%s', but there is no such contract among the files",
                             fal_shown(f, c->text));
            else
                r->edges[i][r->n_edges[i]++] = (edge){ target, c };
        }
    }
    return true;
}

static void refuse_cycle(const resolver *r, const int *path, int depth, const edge *e)
{
    fal_contract_file *f = r->files[path[depth - 1]];
    fal_text t = { 0 };
    int from = depth - 1;
    while (path[from] != e->target) from--;
    for (int i = from; i < depth && t.len < 200; i++) fal_text_addf(&t, "%s -> ", r->files[path[i]]->contract.stem);
    fal_text safe = { 0 };
    fal_text_add_safe(&safe, fal_text_str(&t), t.len);
    fal_diagnose(&f->d, FAL_RULE_CON_012, FAL_AT(e->node), NULL, "contracts depend on each other in a circle: %s%s",
                 fal_text_str(&safe), fal_shown(f, e->node->text));
    if (t.failed || safe.failed) f->d.failed = true;
    fal_text_free(&t);
    fal_text_free(&safe);
}

/* Something of it can be executed, or it could not be read and nothing is known. */
static bool has_check(const fal_contract_file *f)
{
    if (!f->yaml.root) return true;
    for (int i = 0; i < f->contract.n_falsifiers; i++)
        if (f->contract.falsifiers[i].n_checks > 0 && !f->contract.falsifiers[i].retired) return true;
    return false;
}

/* A dependency that nothing can refute lifts nobody. */
static void judge_dependencies(const resolver *r, int file)
{
    fal_contract_file *f = r->files[file];
    const bool active = f->contract.status && strncmp(f->contract.status, "ACTIVE", 6) == 0;
    for (int i = 0; i < r->n_edges[file]; i++) {
        const edge *e = &r->edges[file][i];
        const char *stem = r->files[e->target]->contract.stem;
        const bool itself = !has_check(r->files[e->target]);
        if (!r->weak[e->target] || (!active && !itself)) continue; /* a draft hears of the next one only */
        fal_diagnose(&f->d, active ? FAL_RULE_CON_023 : FAL_RULE_CON_107, FAL_AT(e->node),
                     active ? "bind a falsifier of it, or lower the status to DRAFT" : "bind a falsifier of it",
                     "%s %s no falsifier that can be executed%s%s", fal_shown(f, stem),
                     itself ? "has" : "depends on a contract that has",
                     active ? ", so this contract cannot be " : "; it keeps this contract a draft",
                     active ? f->contract.status : "");
    }
}

/* Depth first over all files; an edge back into the path at hand closes a circle. */
static bool refuse_cycles(resolver *r)
{
    enum { NEW, OPEN, DONE };
    const size_t n = (size_t)r->n;
    int *path = fal_arena_take(&r->arena, n + 1, sizeof *path), *next = fal_arena_take(&r->arena, n + 1, sizeof *next);
    unsigned char *state = fal_arena_take(&r->arena, n + 1, 1);
    if (!path || !next || !state) return false;
    for (int start = 0; start < r->n; start++) {
        if (state[start] != NEW) continue;
        int depth = 0;
        path[depth++] = start;
        state[start] = OPEN;
        while (depth > 0) {
            const int at = path[depth - 1];
            if (next[at] == r->n_edges[at]) {
                state[at] = DONE;
                depth--;
                r->weak[at] = !has_check(r->files[at]);
                for (int e = 0; e < r->n_edges[at]; e++) r->weak[at] |= r->weak[r->edges[at][e].target];
                continue;
            }
            const edge *e = &r->edges[at][next[at]++];
            if (state[e->target] == OPEN) {
                refuse_cycle(r, path, depth, e);
            } else if (state[e->target] == NEW) {
                state[e->target] = OPEN;
                path[depth++] = e->target;
            }
        }
    }
    return true;
}

/* Marks what a file depends on, directly or not; false when some of it could not be read, so that nothing is known. */
static bool reach(resolver *r, int from)
{
    r->stamp++;
    bool known = true;
    int depth = 0;
    r->stack[depth++] = from;
    r->reached[from] = r->stamp;
    while (depth > 0) {
        const int at = r->stack[--depth];
        if (!r->files[at]->yaml.root) known = false;
        for (int i = 0; i < r->n_edges[at]; i++) {
            const int target = r->edges[at][i].target;
            if (r->reached[target] == r->stamp) continue;
            r->reached[target] = r->stamp;
            r->stack[depth++] = target;
        }
    }
    return known;
}

/* ---- obligations ---- */

enum { SUGGEST_AMONG = 1000 }; /* ids looked through for a suggestion */

static const char *suggest_id(const resolver *r, fal_contract_file *f, const char *id)
{
    const char **names = fal_diagnosis_is_full(&f->d) ? NULL : fal_arena_take(f->arena, SUGGEST_AMONG, sizeof *names);
    if (!names) return NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->obligations.n && n < SUGGEST_AMONG; i++)
        if (r->reached[r->obligations.items[i].file] == r->stamp) names[n++] = r->obligations.items[i].id;
    const char *nearest = fal_nearest(id, names, n);
    return nearest ? fal_suggest(f, id, names, n)
                   : "obligations of this contract and of those in depends_on can be cited";
}

/* Resolves the ids of a list; binds them when a falsifier with a check cites them. */
static void resolve_obligations(const resolver *r, int file, const fal_yaml_node *list, bool binds, bool excuses,
                                bool known)
{
    fal_contract_file *f = r->files[file];
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next) {
        if (c->kind != FAL_YAML_SCALAR || !fal_form_id.fits(c->text)) continue;
        entry *first = find_id(&r->obligations, c->text), *end = r->obligations.items + r->obligations.n, *e = first;
        while (e && e < end && strcmp(e->id, c->text) == 0 && r->reached[e->file] != r->stamp) e++;
        if (e && e < end && strcmp(e->id, c->text) == 0) {
            e->bound |= binds;
            e->excused |= excuses;
        } else if (first) {
            fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(c), "add its contract to depends_on",
                         "obligation '%s' is of contract %s, which this one does not depend on", fal_shown(f, c->text),
                         fal_shown(f, r->files[first->file]->contract.stem));
        } else if (known) {
            fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(c), suggest_id(r, f, c->text), "there is no obligation '%s'",
                         fal_shown(f, c->text));
        }
    }
}

/* `with: {contract: x}` names what a refusal must uphold. */
static void resolve_upheld(const resolver *r, fal_contract_file *f, const fal_yaml_node *falsifier)
{
    const fal_yaml_node *list = fal_yaml_get(falsifier, "check");
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next) {
        const fal_yaml_node *name = fal_yaml_get(fal_yaml_get(c, "with"), "contract");
        if (!name || name->kind != FAL_YAML_SCALAR || name->len == 0) continue;
        if (find_stem(r, name->text) < 0 && !find_id(&r->falsifiers, name->text))
            fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(name), suggest_stem(r, f, name->text),
                         "'%s' is neither a contract nor a falsifier id", fal_shown(f, name->text));
    }
}

/* ---- ids in prose ---- */

static bool is_id_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

/* Falsifiers that a text names; "FALSIFY-005..007" names the first. */
static void resolve_named(const resolver *r, fal_contract_file *f, const fal_yaml_node *node)
{
    static const char prefix[] = "FALSIFY-";
    for (const char *s = node->text; (s = strstr(s, prefix)) != NULL;) {
        size_t n = sizeof prefix - 1;
        while (is_id_character(s[n])) n++;
        const bool whole = (s == node->text || !(is_id_character(s[-1]) || s[-1] == '_')) && s[n] != '_';
        size_t end = n;
        while (end > 0 && s[end - 1] == '-') end--;
        if (whole && end < 64 && s[end - 1] >= '0' && s[end - 1] <= '9') {
            char id[64];
            memcpy(id, s, end);
            id[end] = '\0';
            if (!find_id(&r->falsifiers, id))
                fal_diagnose(&f->d, FAL_RULE_CON_110, FAL_AT(node), NULL,
                             "the text names %s, and there is no such falsifier among the files", id);
        }
        s += n;
    }
}

/* History and sources may speak of what no longer is; all else speaks of what can be looked up. */
static void resolve_prose(const resolver *r, fal_contract_file *f, const fal_yaml_node *node)
{
    if (node->kind == FAL_YAML_SCALAR) {
        resolve_named(r, f, node);
        return;
    }
    for (const fal_yaml_node *c = node->first; c; c = c->next)
        if (strcmp(c->key ? c->key->text : "", "metadata") != 0 && strcmp(c->key ? c->key->text : "", "id") != 0)
            resolve_prose(r, f, c);
}

static void warn_unbound(const resolver *r)
{
    for (size_t i = 0; i < r->obligations.n; i++) {
        const entry *e = &r->obligations.items[i];
        fal_contract_file *f = r->files[e->file];
        if (!e->bound && e->excused)
            fal_diagnose(&f->d, FAL_RULE_CON_109, FAL_AT(e->node), NULL,
                         "obligation '%s' is unbound: the falsifiers that name it have no check, and say why",
                         fal_shown(f, e->id));
        else if (!e->bound)
            fal_diagnose(&f->d, FAL_RULE_CON_101, FAL_AT(e->node), "name it in a falsifier with a check",
                         "no falsifier with a check tries to refute obligation '%s'", fal_shown(f, e->id));
    }
}

fal_status fal_contract_resolve(fal_contract_file *const *files, int n, fal_error *err)
{
    resolver r = { .files = files, .n = n };
    const size_t count = (size_t)n + 1;
    r.edges = fal_arena_take(&r.arena, count, sizeof *r.edges);
    r.n_edges = fal_arena_take(&r.arena, count, sizeof *r.n_edges);
    r.reached = fal_arena_take(&r.arena, count, sizeof *r.reached);
    r.stack = fal_arena_take(&r.arena, count, sizeof *r.stack);
    r.weak = fal_arena_take(&r.arena, count, sizeof *r.weak);
    if (!r.arena.failed && collect_ids(&r) && collect_edges(&r) && refuse_cycles(&r)) {
        for (int i = 0; i < n; i++) {
            const fal_contract *c = &files[i]->contract;
            const bool known = reach(&r, i);
            judge_dependencies(&r, i);
            for (int k = 0; k < c->n_stages; k++)
                resolve_obligations(&r, i, fal_yaml_get(files[i]->stage_nodes[k], "obligations"), false, false, known);
            for (int k = 0; k < c->n_falsifiers; k++) {
                resolve_obligations(&r, i, fal_yaml_get(files[i]->falsifier_nodes[k], "obligations"),
                                    c->falsifiers[k].n_checks > 0 && !c->falsifiers[k].retired,
                                    c->falsifiers[k].unbound_because || c->falsifiers[k].retired, known);
                resolve_upheld(&r, files[i], files[i]->falsifier_nodes[k]);
            }
        }
        warn_unbound(&r);
        /* a contract by itself may speak of others */
        for (int i = 0; n > 1 && i < n; i++)
            if (files[i]->yaml.root) resolve_prose(&r, files[i], files[i]->yaml.root);
    }
    const bool failed = r.arena.failed;
    fal_arena_free(&r.arena);
    return failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while resolving references of contracts")
                  : FAL_OK;
}
