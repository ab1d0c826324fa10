/* What pv does not see between foreign contracts: ids that stand for two things, dependencies that are missing or weak. */
#include "harness/contract_pv.h"

#include "harness/claims.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *id;
    int file, order;
    const fal_yaml_node *node;
} entry;

static int compare(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    const int by_id = strcmp(a->id, b->id);
    if (by_id != 0) return by_id;
    return a->order < b->order ? -1 : a->order > b->order;
}

static fal_status refuse_shared_ids(const fal_pv *views, fal_contract_file *const *files, int n, fal_error *err)
{
    size_t n_ids = 0;
    for (int i = 0; i < n; i++) n_ids += views[i].tests.n + views[i].legacy.n;
    entry *ids = calloc(n_ids + 1, sizeof *ids);
    if (!ids) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while comparing ids");
    n_ids = 0;
    for (int i = 0; i < n; i++) {
        const fal_nodes *const lists[] = { &views[i].tests, &views[i].legacy };
        for (int l = 0; l < 2; l++)
            for (size_t k = 0; k < lists[l]->n; k++) {
                const fal_yaml_node *id = fal_pv_get(lists[l]->items[k], "id", NULL);
                if (id && id->kind == FAL_YAML_SCALAR) ids[n_ids] = (entry){ id->text, i, (int)n_ids, id }, n_ids++;
            }
    }
    qsort(ids, n_ids, sizeof *ids, compare);
    for (size_t i = 1; i < n_ids; i++) {
        const entry *a = &ids[i - 1], *b = &ids[i];
        if (strcmp(a->id, b->id) != 0 || a->file == b->file) continue; /* within a file it is SCHEMA-007 */
        fal_contract_file *f = files[b->file];
        fal_diagnose(&f->d, FAL_RULE_FOR_011, FAL_AT(b->node), NULL, "falsification id '%s' is taken: see %s:%d",
                     fal_shown(f, b->id), fal_shown(f, files[a->file]->contract.path), a->node->place.line);
    }
    free(ids);
    return FAL_OK;
}

/* Some test of it is a command or names a function, so that it could be executed by somebody. */
static bool could_be_executed(const fal_pv *v)
{
    static const char *const keys[] = { "test", "command", "test_harness" };
    for (size_t i = 0; i < v->tests.n; i++)
        for (size_t k = 0; k < FAL_N(keys); k++) {
            const char *s = fal_pv_text(v->tests.items[i], keys[k], NULL);
            if (s && fal_test_kind_of(s) > FAL_TEST_PROSE) return true;
        }
    return false;
}

static int find_stem(fal_contract_file *const *files, int n, const char *stem)
{
    int low = 0, high = n;
    while (low < high) {
        const int mid = low + (high - low) / 2;
        if (strcmp(files[mid]->contract.stem, stem) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && strcmp(files[low]->contract.stem, stem) == 0 ? low : -1;
}

static void judge_dependencies(const fal_pv *views, const bool *executable, fal_contract_file *const *files, int n,
                               int i)
{
    fal_contract_file *f = files[i];
    const fal_yaml_node *list = fal_yaml_get(views[i].meta, "depends_on");
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next) {
        if (c->kind != FAL_YAML_SCALAR || c->len == 0) continue;
        const int target = find_stem(files, n, c->text);
        if (target < 0)
            fal_diagnose(&f->d, FAL_RULE_FOR_003, FAL_AT(c), NULL,
                         "depends_on names '%s', which is not among the files", fal_shown(f, c->text));
        else if (files[target]->yaml.root && !executable[target])
            fal_diagnose(&f->d, FAL_RULE_FOR_013, FAL_AT(c), NULL,
                         "%s has %zu tests and %zu legacy rows, none of which could be executed", fal_shown(f, c->text),
                         views[target].tests.n, views[target].legacy.n);
    }
}

fal_status fal_pv_resolve(fal_contract_file *const *files, int n, fal_error *err)
{
    fal_pv *views = calloc((size_t)n + 1, sizeof *views);
    bool *executable = calloc((size_t)n + 1, sizeof *executable);
    fal_status status =
        views && executable ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while comparing contracts");
    for (int i = 0; status == FAL_OK && i < n; i++) {
        views[i] = fal_pv_view(files[i]);
        executable[i] = could_be_executed(&views[i]);
    }
    if (status == FAL_OK) status = refuse_shared_ids(views, files, n, err);
    for (int i = 0; status == FAL_OK && i < n; i++) judge_dependencies(views, executable, files, n, i);
    free(views);
    free(executable);
    return status;
}
