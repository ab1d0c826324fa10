/* Rules of the strict profile that no key table can say: history, gate, order of stages, negative claims, true bases. */
#include "harness/contract_rows.h"

#include "harness/claims.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- bases and negative claims ---- */

bool fal_basis_is_reason(fal_contract_file *f, const fal_yaml_node *node, const char *name)
{
    if (node->kind != FAL_YAML_SCALAR || !fal_is_placeholder(node->text)) return true;
    fal_diagnose(&f->d, FAL_RULE_CON_019, FAL_AT(node), "derive the number, or say what was measured, on what and when",
                 "the %s '%s' is a placeholder, not a reason", name, fal_shown(f, node->text));
    return false;
}

static void judge_falsifier(fal_contract_file *f, const fal_falsifier *of, const fal_yaml_node *node)
{
    const fal_yaml_node *list = fal_yaml_get(node, "check");
    for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next) {
        const fal_yaml_node *basis = fal_yaml_get(c, "basis");
        if (basis) fal_basis_is_reason(f, basis, "basis");
    }
    if (of->retired) return;
    static const char *const keys[] = { "rule", "prediction" };
    for (size_t i = 0; i < FAL_N(keys); i++) {
        const fal_yaml_node *text = fal_yaml_get(node, keys[i]);
        const char *phrase = text && text->kind == FAL_YAML_SCALAR ? fal_negative_claim(text->text) : NULL;
        if (!phrase) continue;
        fal_diagnose(&f->d, FAL_RULE_CON_018, FAL_AT(text),
                     "retire it (retired: true, end_condition: ...), or claim what is refused",
                     "\"%s\": a claim that something is not there needs an end", phrase);
        break;
    }
    if (of->n_checks == 0 && !list && !of->unbound_because)
        fal_diagnose(&f->d, FAL_RULE_CON_106, FAL_AT(node->first ? node->first->key : node),
                     "add a check, or unbound_because with the reason", "%s has no check and does not say why",
                     of->id ? of->id : "a falsifier");
}

/* ---- history ---- */

static void judge_history(fal_contract_file *f)
{
    const fal_yaml_node *meta = fal_yaml_get(f->yaml.root, "metadata"), *version = fal_yaml_get(meta, "version"),
                        *list = fal_yaml_get(meta, "amendment_history");
    if (!list || list->kind != FAL_YAML_LIST) return;
    const fal_yaml_node *before = NULL, *last = NULL;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        const fal_yaml_node *date = fal_yaml_get(c, "date"), *v = fal_yaml_get(c, "version");
        if (v && v->kind == FAL_YAML_SCALAR) last = v;
        if (!date || date->kind != FAL_YAML_SCALAR || !fal_form_date.fits(date->text)) continue;
        if (before && strcmp(date->text, before->text) < 0)
            fal_diagnose(&f->d, FAL_RULE_CON_021, FAL_AT(date), "the newest amendment comes last",
                         "an amendment of %s stands behind one of %s (line %d)", date->text, before->text,
                         before->place.line);
        before = date;
    }
    fal_items_refuse_same(f, list, "version", "an amendment of version");
    if (version && version->kind == FAL_YAML_SCALAR && last && strcmp(last->text, version->text) != 0)
        fal_diagnose(&f->d, FAL_RULE_CON_103, FAL_AT(version), NULL,
                     "version %s is not that of the last amendment, %s in line %d", fal_shown(f, version->text),
                     fal_shown(f, last->text), last->place.line);
}

/* ---- gate ---- */

static int compare_texts(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

static bool has_text(const char *const *sorted, size_t n, const char *s)
{
    return n > 0 && bsearch(&s, sorted, n, sizeof *sorted, compare_texts) != NULL;
}

static void judge_gate(fal_contract_file *f)
{
    const fal_contract *c = &f->contract;
    const fal_yaml_node *list = fal_yaml_get(fal_yaml_get(f->yaml.root, "qa_gate"), "checks");
    if (!list || list->kind != FAL_YAML_LIST || list->n == 0) return;
    const char **named = fal_arena_take(f->arena, list->n, sizeof *named),
               **ids = fal_arena_take(f->arena, (size_t)c->n_falsifiers + 1, sizeof *ids);
    if (!named || !ids) return;
    size_t n_named = 0, n_ids = 0;
    for (int i = 0; i < c->n_falsifiers; i++)
        if (c->falsifiers[i].id && !c->falsifiers[i].retired) ids[n_ids++] = c->falsifiers[i].id;
    qsort(ids, n_ids, sizeof *ids, compare_texts);
    for (const fal_yaml_node *t = list->first; t; t = t->next) {
        if (t->kind != FAL_YAML_SCALAR || t->len == 0) continue;
        named[n_named++] = t->text;
        if (!has_text(ids, n_ids, t->text))
            fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(t),
                         fal_diagnosis_is_full(&f->d) || n_ids > 1000 ? NULL : fal_suggest(f, t->text, ids, n_ids),
                         "the gate names '%s', which is no falsifier of this contract that could be run",
                         fal_shown(f, t->text));
    }
    qsort(named, n_named, sizeof *named, compare_texts);
    int missing = 0;
    const char *first = NULL;
    for (int i = 0; i < c->n_falsifiers; i++) {
        const fal_falsifier *of = &c->falsifiers[i];
        if (!of->id || of->retired || of->n_checks == 0 || has_text(named, n_named, of->id)) continue;
        if (missing++ == 0) first = of->id;
    }
    if (missing)
        fal_diagnose(&f->d, FAL_RULE_CON_104, FAL_AT(list->key),
                     "add them, or leave 'checks' out: the gate is then all",
                     "the gate lists %zu checks and leaves out %d bound falsifier%s, first %s", n_named, missing,
                     missing == 1 ? "" : "s", first);
}

/* ---- stages ---- */

static int rank_of(const fal_stage *s)
{
    static const char *const order[] = { "PENDING", "PARTIAL_ALGORITHM_LEVEL", "SHIPPED", "DISCHARGED" };
    for (int i = 0; s->status && i < (int)FAL_N(order); i++)
        if (strcmp(order[i], s->status) == 0) return i;
    return -1;
}

enum { SHIPPED = 2 };

static int compare_stages(const void *pa, const void *pb)
{
    const fal_stage *a = *(const fal_stage *const *)pa, *b = *(const fal_stage *const *)pb;
    const int by_id = strcmp(a->id, b->id);
    if (by_id != 0) return by_id;
    return a->place.line < b->place.line ? -1 : a->place.line > b->place.line;
}

/* "M1.2" and "M1-redo" are parts of "M1"; in order of ids the parts of a stage follow it at once. */
static bool is_part(const fal_stage *whole, const fal_stage *part)
{
    const size_t n = strlen(whole->id);
    return strncmp(whole->id, part->id, n) == 0 && (part->id[n] == '.' || part->id[n] == '-');
}

static void judge_parts(fal_contract_file *f)
{
    const fal_contract *c = &f->contract;
    const fal_stage **sorted = fal_arena_take(f->arena, (size_t)c->n_stages + 1, sizeof *sorted);
    if (!sorted) return;
    int n = 0;
    for (int i = 0; i < c->n_stages; i++)
        if (c->stages[i].id && rank_of(&c->stages[i]) >= 0) sorted[n++] = &c->stages[i];
    qsort(sorted, (size_t)n, sizeof *sorted, compare_stages);
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n && is_part(sorted[i], sorted[k]); k++)
            if (rank_of(sorted[i]) > rank_of(sorted[k])) {
                fal_diagnose(&f->d, FAL_RULE_CON_105, sorted[i]->place, 1, NULL,
                             "stage %s is %s, but its part %s (line %d) is %s", sorted[i]->id, sorted[i]->status,
                             sorted[k]->id, sorted[k]->place.line, sorted[k]->status);
                break;
            }
}

static void judge_stages(fal_contract_file *f)
{
    const fal_contract *c = &f->contract;
    const fal_stage *overtaken = NULL;
    for (int i = 0; i < c->n_stages; i++) {
        const fal_stage *s = &c->stages[i];
        const int rank = rank_of(s);
        if (!s->id || rank < 0) continue;
        if (rank >= SHIPPED && s->n_blockers > 0) {
            const fal_yaml_node *blockers = fal_yaml_get(f->stage_nodes[i], "blockers");
            fal_diagnose(&f->d, FAL_RULE_CON_022, FAL_AT(blockers->key),
                         "remove what no longer blocks, or lower the status", "stage %s is %s and lists %d blocker%s",
                         s->id, s->status, s->n_blockers, s->n_blockers == 1 ? "" : "s");
        }
        if (rank >= SHIPPED && overtaken)
            fal_diagnose(
                &f->d, FAL_RULE_CON_105, s->place, 1, "give the pending stage its blockers, or correct a status",
                "stage %s is %s, but stage %s before it (line %d) is PENDING and says of nothing that blocks it", s->id,
                s->status, overtaken->id, overtaken->place.line);
        if (rank == 0 && s->n_blockers == 0 && !overtaken) overtaken = s;
    }
    judge_parts(f);
}

void fal_contract_judge(fal_contract_file *f)
{
    for (int i = 0; i < f->contract.n_falsifiers; i++)
        judge_falsifier(f, &f->contract.falsifiers[i], f->falsifier_nodes[i]);
    judge_history(f);
    judge_gate(f);
    judge_stages(f);
}
