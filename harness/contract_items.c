/* Lists of maps in a contract: reading them by a table, and refusing two of one name. */
#include "harness/contract_rows.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

int fal_items_read(fal_contract_file *f, const fal_yaml_node *list, const fal_item_kind *kind, const void **out,
                   const fal_yaml_node ***nodes)
{
    if (!list || list->kind != FAL_YAML_LIST || list->n > INT_MAX) return 0;
    if (list->n == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(list), "leave the key out", "'%s' is an empty list", kind->list);
    char *items = fal_arena_take(f->arena, list->n, kind->size);
    const fal_yaml_node **from = fal_arena_take(f->arena, list->n, sizeof *from);
    if (!items || !from) return 0;
    int n = 0;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        const fal_yaml_node *found[FAL_MAX_ITEM_KEYS];
        char *item = items + (size_t)n * kind->size;
        if (!fal_keys_read(f, c, kind->what, kind->keys, kind->n_keys, item, found) ||
            (kind->finish && !kind->finish(f, c, item, found))) {
            memset(item, 0, kind->size);
            continue;
        }
        from[n++] = c;
    }
    *out = items;
    if (nodes) *nodes = from;
    return n;
}

typedef struct {
    const char *name;
    const fal_yaml_node *node;
} named;

static int compare_named(const void *pa, const void *pb)
{
    const named *a = pa, *b = pb;
    const int by_name = strcmp(a->name, b->name);
    if (by_name != 0) return by_name;
    if (a->node->place.line != b->node->place.line) return a->node->place.line < b->node->place.line ? -1 : 1;
    return a->node->place.column < b->node->place.column ? -1 : a->node->place.column > b->node->place.column;
}

void fal_items_refuse_same(fal_contract_file *f, const fal_yaml_node *list, const char *key, const char *what)
{
    if (!list || list->kind != FAL_YAML_LIST) return;
    named *items = fal_arena_take(f->arena, list->n, sizeof *items);
    if (!items) return;
    size_t n = 0;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        const fal_yaml_node *name = fal_yaml_get(c, key);
        if (name && name->kind == FAL_YAML_SCALAR && name->len > 0) items[n++] = (named){ name->text, name };
    }
    qsort(items, n, sizeof *items, compare_named);
    for (size_t i = 1; i < n; i++)
        if (strcmp(items[i - 1].name, items[i].name) == 0)
            fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(items[i].node), NULL, "%s '%s' stands in line %d already",
                         what, fal_shown(f, items[i].name), items[i - 1].node->place.line);
}
