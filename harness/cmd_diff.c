/* falsify diff OLD NEW: what changed between two versions of contracts, section by section, and whether it loosens a claim. */
#include "harness/cmd_args.h"
#include "harness/contract_diff.h"
#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const formats[] = { "text", "json", NULL };

static const char help[] =
    "OLD and NEW are contracts, or folders of them (a file beside a folder: the one of its name). Every difference is\n"
    "told by section, with what it does: loosened (a wider limit, an attempt, domain or obligation less), tightened,\n"
    "unordered (the claim or the way it is judged is another), other (prose and notes; counted, and named with -v).\n"
    "\n"
    "exit status: 0 nothing is loosened or unordered, 1 something is, 2 usage, 3 a file cannot be read, 4 no contract\n"
    "found\n";

static const fal_cmd_about about = { .name = "diff",
                                     .usage = "falsify diff OLD NEW [--format text|json] [-v]",
                                     .about = help,
                                     .options = FAL_ARG_FORMAT,
                                     .formats = formats };

/* One contract in both versions; either may be absent. */
typedef struct {
    const char *stem;
    const fal_contract *contracts[2];
    fal_yaml trees[2];
    fal_changes changes;
} pair;

typedef struct {
    fal_contract_set *sets[2];
    fal_arena arena;
    pair *pairs;
    int n;
    int by[FAL_EFFECT_LOOSENED + 1], added, removed;
} work;

static fal_status load(work *w, int side, const char *path, fal_error *err)
{
    fal_diagnoses diag = { 0 };
    fal_error bad = { 0 };
    fal_status st = fal_contract_set_load(&path, 1, &w->sets[side], &diag, &bad);
    fal_diagnoses_free(&diag);
    if (st == FAL_ERR_INPUT) return FAL_OK; /* whether it is valid is validate's business; that it can be read, ours */
    if (st) *err = bad;
    return st;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static fal_status make_pairs(work *w, const fal_cmd_args *args, fal_error *err)
{
    const fal_contract_set *was = w->sets[0], *now = w->sets[1];
    w->pairs = fal_arena_take(&w->arena, (size_t)(was->n_all + now->n_all), sizeof *w->pairs);
    if (!w->pairs) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the difference");
    const bool files[2] = { is_file(args->paths[0]), is_file(args->paths[1]) };
    if (files[0] && files[1]) { /* whatever they are called */
        w->pairs[w->n++] = (pair){ .stem = now->all[0]->stem, .contracts = { was->all[0], now->all[0] } };
        return FAL_OK;
    }
    for (int i = 0, k = 0; i < was->n_all || k < now->n_all;) {
        const int order = i == was->n_all ? 1 : k == now->n_all ? -1 : strcmp(was->all[i]->stem, now->all[k]->stem);
        pair *p = &w->pairs[w->n++];
        if (order <= 0) p->contracts[0] = was->all[i++];
        if (order >= 0) p->contracts[1] = now->all[k++];
        p->stem = p->contracts[0] ? p->contracts[0]->stem : p->contracts[1]->stem;
        /* of a folder beside one file, only its contract of that name */
        if ((files[0] && !p->contracts[0]) || (files[1] && !p->contracts[1])) w->n--;
    }
    return FAL_OK;
}

static fal_status compare(work *w, pair *p, fal_error *err)
{
    for (int side = 0; side < 2; side++) {
        if (!p->contracts[side]) continue;
        const char *path = p->contracts[side]->path;
        fal_diagnoses form = { 0 };
        fal_file_diagnosis file = { .all = &form, .path = path };
        const fal_status st = fal_yaml_load(path, &w->arena, &file, &p->trees[side], err);
        const int line = form.n ? form.items[0].place.line : 0;
        fal_diagnoses_free(&form);
        if (st) return st;
        if (!p->trees[side].root || p->trees[side].root->kind != FAL_YAML_MAP)
            return fal_fail(err, FAL_ERR_INPUT, "'falsify validate' says what is wrong",
                            "%s:%d: cannot be read as a contract", path, line);
    }
    if (p->contracts[0] && p->contracts[1]) {
        fal_contract_diff(p->trees[0].root, p->trees[1].root, &w->arena, &p->changes);
        if (p->changes.failed) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the difference");
        for (int e = 0; e <= FAL_EFFECT_LOOSENED; e++) w->by[e] += p->changes.by[e];
    } else if (p->contracts[0]) {
        w->removed++;
    } else {
        w->added++;
    }
    return FAL_OK;
}

/* What kind of new version such changes ask for. */
static const char *bump(const pair *p)
{
    const int *by = p->changes.by;
    if (by[FAL_EFFECT_LOOSENED] + by[FAL_EFFECT_UNORDERED]) return "major";
    return by[FAL_EFFECT_TIGHTENED] ? "minor" : "patch";
}

static bool same_version(const pair *p)
{
    const char *was = p->contracts[0]->version, *now = p->contracts[1]->version;
    return was == now || (was && now && strcmp(was, now) == 0);
}

static void print_change(const fal_change *x, bool colour, FILE *f)
{
    static const char signs[] = { [FAL_CHANGE_ADDED] = '+', [FAL_CHANGE_REMOVED] = '-', [FAL_CHANGE_CHANGED] = '~' };
    fprintf(f, "    %c ", signs[x->kind]);
    fal_report_put(f, x->path[0] ? x->path : x->section);
    fputs(": ", f);
    fal_report_put(f, x->was);
    if (x->was && x->now) fputs(" -> ", f);
    fal_report_put(f, x->now);
    if (x->note)
        fprintf(f, "  %s%s%s: %s", colour && x->effect == FAL_EFFECT_LOOSENED ? "\033[1;31m" : "",
                x->effect == FAL_EFFECT_LOOSENED ? "LOOSENED" : fal_effect_name(x->effect), fal_report_plain(colour),
                x->note);
    fputc('\n', f);
}

static void print_pair(const pair *p, const fal_cmd_args *args, FILE *f)
{
    if (!p->contracts[0] || !p->contracts[1]) {
        fal_report_put(f, p->stem);
        fprintf(f, ": %s\n", p->contracts[0] ? "LOOSENED: the contract is gone" : "is new");
        return;
    }
    if (p->changes.n == 0) return;
    fal_report_put(f, p->stem);
    fputc(' ', f);
    fal_report_put(f, p->contracts[0]->version);
    fputs(" -> ", f);
    fal_report_put(f, p->contracts[1]->version);
    fprintf(f, ": asks for a %s version%s\n", bump(p), same_version(p) ? ", and has no new one" : "");
    /* changes come section by section */
    const char *section = "";
    for (int i = 0; i < p->changes.n; i++) {
        const fal_change *x = &p->changes.items[i];
        if (x->effect == FAL_EFFECT_NONE && !args->verbose) continue;
        if (strcmp(section, x->section) != 0) {
            section = x->section;
            fputs("  ", f);
            fal_report_put(f, section);
            fputc('\n', f);
        }
        print_change(x, args->colour_out, f);
    }
    if (!args->verbose && p->changes.by[FAL_EFFECT_NONE])
        fprintf(f, "  %d other (-v)\n", p->changes.by[FAL_EFFECT_NONE]);
}

static json_t *diff_json(const work *w)
{
    static const char *const kinds[] = { "added", "removed", "changed" };
    json_t *contracts = json_array();
    for (int i = 0; i < w->n; i++) {
        const pair *p = &w->pairs[i];
        json_t *changes = json_array();
        const bool both = p->contracts[0] && p->contracts[1];
        for (int k = 0; k < p->changes.n; k++) {
            const fal_change *x = &p->changes.items[k];
            json_array_append_new(changes,
                                  json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "kind", kinds[x->kind], "effect",
                                            fal_effect_name(x->effect), "section", fal_json_text(x->section), "path",
                                            fal_json_text(x->path), "was", fal_json_text(x->was), "now",
                                            fal_json_text(x->now), "note", fal_json_text(x->note)));
        }
        json_array_append_new(contracts,
                              json_pack("{s:o, s:s, s:o, s:o, s:s, s:o}", "contract", fal_json_text(p->stem), "state",
                                        both              ? "both"
                                        : p->contracts[0] ? "removed"
                                                          : "added",
                                        "was_version", fal_json_text(p->contracts[0] ? p->contracts[0]->version : NULL),
                                        "version", fal_json_text(p->contracts[1] ? p->contracts[1]->version : NULL),
                                        "asks_for", !both || p->changes.n == 0 ? "none" : bump(p), "changes", changes));
    }
    return json_pack("{s:o, s:i, s:i, s:i, s:i, s:i, s:i}", "contracts", contracts, "loosened",
                     w->by[FAL_EFFECT_LOOSENED] + w->removed, "unordered", w->by[FAL_EFFECT_UNORDERED], "tightened",
                     w->by[FAL_EFFECT_TIGHTENED], "other", w->by[FAL_EFFECT_NONE], "contracts_added", w->added,
                     "contracts_removed", w->removed);
}

static fal_status diff(const fal_cmd_args *args, const fal_cmd_env *env, int *status, fal_error *err)
{
    work w = { 0 };
    fal_status st = args->n_paths == 2 ? FAL_OK
                                       : fal_fail(err, FAL_ERR_USAGE, about.usage,
                                                  "diff: expected OLD and NEW, found %d paths", args->n_paths);
    for (int side = 0; !st && side < 2; side++) st = load(&w, side, args->paths[side], err);
    if (!st) st = make_pairs(&w, args, err);
    for (int i = 0; !st && i < w.n; i++) st = compare(&w, &w.pairs[i], err);
    if (!st && strcmp(args->format, "json") == 0) {
        st = fal_json_print(diff_json(&w), env->out, err);
    } else if (!st) {
        for (int i = 0; i < w.n; i++) print_pair(&w.pairs[i], args, env->out);
        fprintf(env->out,
                "differences  %d = %d loosened + %d unordered + %d tightened + %d other; contracts: %d new, %d gone, "
                "of %d\n",
                w.by[0] + w.by[1] + w.by[2] + w.by[3], w.by[FAL_EFFECT_LOOSENED], w.by[FAL_EFFECT_UNORDERED],
                w.by[FAL_EFFECT_TIGHTENED], w.by[FAL_EFFECT_NONE], w.added, w.removed, w.n);
    }
    if (!st && w.by[FAL_EFFECT_LOOSENED] + w.by[FAL_EFFECT_UNORDERED] + w.removed > 0) {
        *status = 1;
        fal_fail(err, FAL_ERR_INPUT, NULL,
                 "%d differences loosen a claim, %d change it in a way that has no order, %d contracts are gone",
                 w.by[FAL_EFFECT_LOOSENED], w.by[FAL_EFFECT_UNORDERED], w.removed);
    }
    for (int i = 0; i < w.n; i++) fal_changes_free(&w.pairs[i].changes);
    fal_arena_free(&w.arena);
    fal_contract_set_free(w.sets[0]);
    fal_contract_set_free(w.sets[1]);
    return st;
}

int fal_cmd_diff(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_cmd_args args = { 0 };
    int status = 0;
    fal_status st = fal_cmd_args_parse(argc, argv, &about, env, &args, err);
    if (!st && args.help)
        fal_cmd_args_help(&about, env->out);
    else if (!st)
        st = diff(&args, env, &status, err);
    if (!st) st = fal_cmd_flush(env->out, "diff", err);
    fal_cmd_args_free(&args);
    return st ? fal_exit_status(st) : status;
}
