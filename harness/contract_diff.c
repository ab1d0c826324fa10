/* The difference between two versions of a contract: walking both trees, and weighing each difference. */
#include "harness/contract_diff.h"

#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

const char *fal_effect_name(fal_effect e)
{
    static const char *const names[] = { "other", "tightened", "unordered", "loosened" };
    return names[e];
}

/* Where the walk is: keys and identities from the top. */
enum { MOST_DEPTH = 40, SHOWN = 120 };

typedef struct {
    const char *steps[MOST_DEPTH];
    int depth;
    fal_arena *arena;
    fal_changes *out;
} walk;

/* ---- what a difference does ---- */

typedef enum {
    RULE_UP_LOOSENS, /* a larger number allows more, and none allows everything */
    RULE_DOWN_LOOSENS,
    RULE_EXCUSE,        /* a larger number allows more, and none is 0 */
    RULE_LESS_LOOSENS,  /* an entry that goes takes something from the claim; one that comes adds to it */
    RULE_MORE_LOOSENS,  /* the other way round */
    RULE_TRUE_TIGHTENS, /* a switch */
    RULE_TRUE_LOOSENS,
    RULE_UNORDERED
} rule_kind;

/* The first row whose key is that of the difference, and whose parent (when given) is a step above it, decides. */
static const struct {
    const char *key, *parent;
    rule_kind rule;
    const char *note;
} rules[] = {
    { "max", "limit", RULE_UP_LOOSENS, "limit" },
    { "max", "limit_full_size", RULE_UP_LOOSENS, "limit" },
    { "min", "limit", RULE_DOWN_LOOSENS, "limit" },
    { "min", "limit_full_size", RULE_DOWN_LOOSENS, "limit" },
    { "equal", "limit", RULE_UNORDERED, "limit" },
    { "equal", "limit_full_size", RULE_UNORDERED, "limit" },
    { "limit", NULL, RULE_LESS_LOOSENS, "limit" },
    { "limit_full_size", NULL, RULE_UNORDERED, "limit" },
    { "tolerance", NULL, RULE_UP_LOOSENS, "tolerance" },
    { "gap", "with", RULE_EXCUSE, "what is excused" },
    { "gap_relative", "with", RULE_UNORDERED, "what is excused" },
    { "excuse_flips", "with", RULE_EXCUSE, "what is excused" },
    { "max_excused_share", "with", RULE_EXCUSE, "what is excused" },
    { "runs", "with", RULE_DOWN_LOOSENS, "runs" },
    { "n_tokens", "with", RULE_DOWN_LOOSENS, "domain" },
    { "context", "with", RULE_UNORDERED, "domain" },
    { NULL, "with", RULE_UNORDERED, "what is judged" },
    { "with", NULL, RULE_UNORDERED, "what is judged" },
    { "then", NULL, RULE_UNORDERED, "what is observed" },
    { NULL, "then", RULE_UNORDERED, "what is observed" },
    { "sequence", NULL, RULE_UNORDERED, "what is observed" },
    { "again", NULL, RULE_TRUE_TIGHTENS, "a second observation" },
    { "decode", NULL, RULE_UNORDERED, "what is observed" },
    { "heavy", NULL, RULE_TRUE_LOOSENS, "runs only when heavy cases are asked for" },
    { "retired", NULL, RULE_TRUE_LOOSENS, "the attempt is not made any more" },
    { "n_greedy", NULL, RULE_DOWN_LOOSENS, "domain" },
    { "observe", NULL, RULE_UNORDERED, "what is observed" },
    { "judge", NULL, RULE_UNORDERED, "how it is judged" },
    { "against", NULL, RULE_UNORDERED, "how it is judged" },
    { "op", NULL, RULE_UNORDERED, "what is observed" },
    { "backends", NULL, RULE_LESS_LOOSENS, "backends" },
    { "prompts", "check", RULE_LESS_LOOSENS, "domain" },
    { "prompts_full_size", "check", RULE_LESS_LOOSENS, "domain" },
    { "tokens", NULL, RULE_UNORDERED, "domain" },
    { "from_oracle", NULL, RULE_UNORDERED, "domain" },
    { "shapes", NULL, RULE_LESS_LOOSENS, "domain" },
    { "fills", NULL, RULE_LESS_LOOSENS, "domain" },
    { "seeds", NULL, RULE_LESS_LOOSENS, "domain" },
    { "spoil", NULL, RULE_LESS_LOOSENS, "domain" },
    { "taps", NULL, RULE_LESS_LOOSENS, "domain" },
    { "waivers", NULL, RULE_MORE_LOOSENS, "a waiver" },
    { NULL, "waivers", RULE_UNORDERED, "a waiver" },
    { "check", NULL, RULE_LESS_LOOSENS, "an attempt" },
    { "falsification_tests", NULL, RULE_LESS_LOOSENS, "a falsifier" },
    { "proof_obligations", NULL, RULE_LESS_LOOSENS, "an obligation" },
    { "implementation_stages", NULL, RULE_LESS_LOOSENS, "a stage" },
    { "obligations", NULL, RULE_LESS_LOOSENS, "an obligation that is cited" },
    { "depends_on", NULL, RULE_LESS_LOOSENS, "what it is held by" },
    { "property", NULL, RULE_UNORDERED, "the words of an id" },
    { "formal", NULL, RULE_UNORDERED, "the words of an id" },
    { "type", "proof_obligations", RULE_UNORDERED, "the words of an id" },
    { "rule", NULL, RULE_UNORDERED, "the words of an id" },
    { "prediction", NULL, RULE_UNORDERED, "the words of an id" },
};

static bool has_step(const walk *w, const char *name)
{
    for (int i = 0; i < w->depth; i++)
        if (strcmp(w->steps[i], name) == 0) return true;
    return false;
}

static bool is_true(const fal_yaml_node *n)
{
    return n && n->text && n->plain && strcmp(n->text, "true") == 0;
}

static fal_effect compare_numbers(const fal_yaml_node *was, const fal_yaml_node *now, bool up_loosens)
{
    double a, b;
    if (!was || !now) return !now ? FAL_EFFECT_LOOSENED : FAL_EFFECT_TIGHTENED;
    if (!fal_yaml_number(was, &a) || !fal_yaml_number(now, &b)) return FAL_EFFECT_UNORDERED;
    return (b > a) == up_loosens ? FAL_EFFECT_LOOSENED : FAL_EFFECT_TIGHTENED;
}

static fal_effect apply(rule_kind rule, const fal_yaml_node *was, const fal_yaml_node *now)
{
    double a, b;
    if (was && now && fal_yaml_number(was, &a) && fal_yaml_number(now, &b) && a <= b && a >= b)
        return FAL_EFFECT_NONE; /* written otherwise */
    switch (rule) {
    case RULE_UP_LOOSENS: return compare_numbers(was, now, true);
    case RULE_DOWN_LOOSENS: return compare_numbers(was, now, false);
    case RULE_EXCUSE:
        if (!was || !now) return !was ? FAL_EFFECT_LOOSENED : FAL_EFFECT_TIGHTENED;
        return compare_numbers(was, now, true);
    case RULE_LESS_LOOSENS: return !now ? FAL_EFFECT_LOOSENED : !was ? FAL_EFFECT_TIGHTENED : FAL_EFFECT_UNORDERED;
    case RULE_MORE_LOOSENS: return !was ? FAL_EFFECT_LOOSENED : !now ? FAL_EFFECT_TIGHTENED : FAL_EFFECT_UNORDERED;
    case RULE_TRUE_TIGHTENS:
    case RULE_TRUE_LOOSENS:
        if (is_true(was) == is_true(now)) return FAL_EFFECT_NONE;
        return is_true(now) == (rule == RULE_TRUE_LOOSENS) ? FAL_EFFECT_LOOSENED : FAL_EFFECT_TIGHTENED;
    case RULE_UNORDERED: break;
    }
    return FAL_EFFECT_UNORDERED;
}

/* key: what the difference is about: the key of a value, or of the list that an entry came to or went from. */
static fal_effect weigh(const walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now,
                        bool whole_list, const char **note)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].key && strcmp(rules[i].key, key) != 0) continue;
        if (rules[i].parent && !has_step(w, rules[i].parent)) continue;
        *note = rules[i].note;
        /* without the list a check is of all backends: one that comes takes some away */
        if (whole_list && strcmp(key, "backends") == 0) return was ? FAL_EFFECT_TIGHTENED : FAL_EFFECT_LOOSENED;
        const fal_effect e = apply(rules[i].rule, was, now);
        if (e == FAL_EFFECT_NONE) *note = NULL;
        return e;
    }
    *note = NULL;
    return FAL_EFFECT_NONE;
}

/* ---- values as text ---- */

static void add_folded(fal_text *t, const char *s)
{
    bool any = false;
    while (*s) {
        const size_t gap = strspn(s, " \t\r\n"), word = strcspn(s + gap, " \t\r\n");
        if (word && any) fal_text_add(t, " ");
        fal_text_add_n(t, s + gap, word);
        any |= word > 0;
        s += gap + word;
    }
}

/* The whole value on one line, so that equal values have equal text. */
static void flatten(fal_text *t, const fal_yaml_node *n)
{
    if (!n) return;
    if (n->kind == FAL_YAML_SCALAR) {
        add_folded(t, n->text);
        return;
    }
    fal_text_add(t, n->kind == FAL_YAML_MAP ? "{" : "[");
    for (const fal_yaml_node *c = n->first; c; c = c->next) {
        if (c != n->first) fal_text_add(t, ", ");
        if (n->kind == FAL_YAML_MAP) fal_text_addf(t, "%s: ", c->key && c->key->text ? c->key->text : "");
        flatten(t, c);
    }
    fal_text_add(t, n->kind == FAL_YAML_MAP ? "}" : "]");
}

static const char *flat(walk *w, const fal_yaml_node *n)
{
    fal_text t = { 0 };
    flatten(&t, n);
    const char *copy = fal_arena_copy(w->arena, fal_text_str(&t), t.len);
    if (t.failed || !copy) w->out->failed = true;
    fal_text_free(&t);
    return copy ? copy : "";
}

static const char *shown(walk *w, const fal_yaml_node *n)
{
    const char *s = n ? flat(w, n) : NULL;
    if (!s || strlen(s) <= SHOWN) return s;
    size_t cut = SHOWN;
    while (cut > 0 && ((unsigned char)s[cut] & 0xC0) == 0x80) cut--;
    fal_text t = { 0 };
    fal_text_add_n(&t, s, cut);
    fal_text_add(&t, "...");
    const char *copy = fal_arena_copy(w->arena, fal_text_str(&t), t.len);
    fal_text_free(&t);
    return copy;
}

static void tell(walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now, bool whole_list)
{
    fal_changes *c = w->out;
    if (c->n == c->cap) {
        const int cap = c->cap ? 2 * c->cap : 64;
        fal_change *items = realloc(c->items, (size_t)cap * sizeof *items);
        if (!items) {
            c->failed = true;
            return;
        }
        c->items = items;
        c->cap = cap;
    }
    fal_text path = { 0 };
    for (int i = 1; i < w->depth; i++) fal_text_addf(&path, "%s%s", i > 1 ? "/" : "", w->steps[i]);
    fal_change *x = &c->items[c->n];
    *x = (fal_change){ .kind = !was   ? FAL_CHANGE_ADDED
                               : !now ? FAL_CHANGE_REMOVED
                                      : FAL_CHANGE_CHANGED,
                       .section = w->steps[0],
                       .path = fal_arena_copy(w->arena, fal_text_str(&path), path.len),
                       .was = shown(w, was),
                       .now = shown(w, now) };
    x->effect = weigh(w, key, was, now, whole_list, &x->note);
    if (path.failed || !x->path) c->failed = true;
    fal_text_free(&path);
    c->by[x->effect]++;
    c->n++;
}

/* ---- the walk ---- */

static bool push(walk *w, const char *step)
{
    if (w->depth == MOST_DEPTH) return false;
    w->steps[w->depth++] = step ? step : "";
    return true;
}

static void compare(walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now);

static void compare_maps(walk *w, const fal_yaml_node *was, const fal_yaml_node *now)
{
    for (const fal_yaml_node *n = now->first; n; n = n->next) {
        if (n->key->kind != FAL_YAML_SCALAR || !push(w, n->key->text)) continue;
        const fal_yaml_node *o = fal_yaml_get(was, n->key->text);
        if (o)
            compare(w, n->key->text, o, n);
        else
            tell(w, n->key->text, NULL, n, true);
        w->depth--;
    }
    for (const fal_yaml_node *o = was->first; o; o = o->next) {
        if (o->key->kind != FAL_YAML_SCALAR || fal_yaml_get(now, o->key->text) || !push(w, o->key->text)) continue;
        tell(w, o->key->text, o, NULL, true);
        w->depth--;
    }
}

/* What an entry of a list is known by: its id, name or version, or NULL. */
static const char *identity(const fal_yaml_node *n)
{
    static const char *const keys[] = { "id", "name", "version" };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const fal_yaml_node *v = fal_yaml_get(n, keys[i]);
        if (v && v->kind == FAL_YAML_SCALAR && v->len) return v->text;
    }
    return NULL;
}

/* Entries of a list with the text that they are matched by, in order. */
typedef struct {
    const char *text;
    const fal_yaml_node *node;
    size_t index;
    bool matched;
} entry;

static int compare_entries(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    const int by_text = strcmp(a->text, b->text);
    return by_text ? by_text : a->index < b->index ? -1 : a->index > b->index;
}

static entry *entries_of(walk *w, const fal_yaml_node *list)
{
    entry *e = fal_arena_take(w->arena, list->n, sizeof *e);
    size_t n = 0;
    for (const fal_yaml_node *c = list->first; e && c; c = c->next, n++) {
        const char *id = identity(c);
        e[n] = (entry){ id ? id : flat(w, c), c, n, false };
    }
    if (e && n) qsort(e, n, sizeof *e, compare_entries);
    if (!e) w->out->failed = true;
    return e;
}

static bool order_matters(const char *key)
{
    return strcmp(key, "tokens") == 0 || strcmp(key, "prompts") == 0 || strcmp(key, "prompts_full_size") == 0;
}

static int by_index(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* An entry that came or went, under its identity when it has one. */
static void tell_entry(walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now)
{
    const char *id = identity(was ? was : now);
    const bool named = id && push(w, id);
    tell(w, key, was, now, false);
    if (named) w->depth--;
}

static void compare_lists(walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now)
{
    if (strcmp(flat(w, was), flat(w, now)) == 0) return;
    if (strcmp(key, "tokens") == 0) { /* one prompt, not a set of numbers */
        tell(w, key, was, now, true);
        return;
    }
    entry *old = entries_of(w, was), *new = entries_of(w, now);
    if (!old || !new) return;
    const int before = w->out->n;
    size_t o = 0, n = 0;
    while (o < was->n && n < now->n) {
        const int order = strcmp(old[o].text, new[n].text);
        if (order == 0) old[o].matched = new[n].matched = true;
        if (order == 0 && identity(new[n].node) && push(w, new[n].text)) {
            compare(w, key, old[o].node, new[n].node);
            w->depth--;
        }
        o += order <= 0;
        n += order >= 0;
    }
    qsort(old, was->n, sizeof *old, by_index);
    qsort(new, now->n, sizeof *new, by_index);
    for (size_t i = 0; i < now->n; i++)
        if (!new[i].matched) tell_entry(w, key, NULL, new[i].node);
    for (size_t i = 0; i < was->n; i++)
        if (!old[i].matched) tell_entry(w, key, old[i].node, NULL);
    if (w->out->n == before && order_matters(key)) tell(w, key, was, now, true);
}

static void compare(walk *w, const char *key, const fal_yaml_node *was, const fal_yaml_node *now)
{
    if (was->kind == FAL_YAML_MAP && now->kind == FAL_YAML_MAP)
        compare_maps(w, was, now);
    else if (was->kind == FAL_YAML_LIST && now->kind == FAL_YAML_LIST)
        compare_lists(w, key, was, now);
    else if (was->kind != now->kind || strcmp(flat(w, was), flat(w, now)) != 0)
        tell(w, key, was, now, true);
}

void fal_contract_diff(const fal_yaml_node *was, const fal_yaml_node *now, fal_arena *arena, fal_changes *out)
{
    walk w = { .arena = arena, .out = out };
    compare_maps(&w, was, now);
    if (arena->failed) out->failed = true;
}

void fal_changes_free(fal_changes *c)
{
    free(c->items);
    *c = (fal_changes){ 0 };
}
