/* falsify ids [PATHS]: does every id still mean what it meant when it was locked? */
#include "harness/cmd_args.h"
#include "harness/evidence.h"
#include "harness/findings.h"
#include "harness/ids.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const formats[] = { "text", "json", NULL };

static const fal_cmd_about about = {
    .name = "ids",
    .usage = "falsify ids [PATHS] [--update [--accept ID]...] [--lock FILE] [--format text|json]",
    .about = "Holds the words behind every id (obligations: type, property, formal; falsifiers: rule, prediction, "
             "obligations;\n"
             "stages: title, backends, obligations) against the lock file. Limits are not words: evidence and 'falsify "
             "diff' see to\n"
             "them. --update locks new ids; an id whose words changed, or which is gone, must be named with --accept, "
             "and its\n"
             "contract must have a new version. An id that is gone stays locked, so that it is never used for "
             "something else.\n\n"
             "exit status: 0 every id means what it meant (new ones are listed), 2 usage, 3 an id changed or is gone, "
             "or a contract\n"
             "or the lock file is bad, 4 no contract or no lock file, 8 the lock file could not be written\n",
    .options = FAL_ARG_FORMAT | FAL_ARG_LOCK,
    .formats = formats
};

/* The lock file, and whether the paths are folders, so that what they lack is gone. */
static fal_status find_lock(const fal_cmd_args *args, char *lock, size_t size, bool *whole, fal_error *err)
{
    const char *path = args->n_paths ? args->paths[0] : "contracts";
    struct stat st;
    *whole = true;
    for (int i = 0; i < args->n_paths; i++) *whole &= stat(args->paths[i], &st) == 0 && S_ISDIR(st.st_mode);
    size_t n = strlen(path);
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        const char *slash = strrchr(path, '/');
        n = slash ? (size_t)(slash - path) : 0;
    }
    while (n > 1 && path[n - 1] == '/') n--;
    const int len = args->lock ? snprintf(lock, size, "%s", args->lock)
                               : snprintf(lock, size, "%.*s%sids.lock", (int)n, path, n ? "/" : "");
    if (len < 0 || (size_t)len >= size)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "ids: the path of the lock file is too long");
    return FAL_OK;
}

static json_t *ids_json(const fal_ids *ids)
{
    static const char *const states[] = { "same", "new", "changed", "gone" };
    json_t *list = json_array();
    for (int i = 0; i < ids->n; i++) {
        const fal_id *x = &ids->items[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?}", "kind",
                                        fal_id_kind_name(x->kind), "id", x->id, "state", states[x->state], "sha256",
                                        x->sha256, "contract", x->stem, "version", x->version, "was_sha256",
                                        x->was_sha256, "was_contract", x->was_stem, "was_version", x->was_version));
    }
    return json_pack("{s:o, s:i, s:i, s:i, s:i}", "ids", list, "same", ids->by[FAL_ID_SAME], "new", ids->by[FAL_ID_NEW],
                     "changed", ids->by[FAL_ID_CHANGED], "gone", ids->by[FAL_ID_GONE]);
}

static fal_status print_findings(const fal_contract_set *set, const fal_ids *ids, const char *lock,
                                 const fal_cmd_args *args, const fal_cmd_env *env, fal_error *err)
{
    fal_diagnoses all = { 0 };
    fal_status st = FAL_OK;
    bool failed = false;
    for (int c = 0; !st && c < set->n_contracts; c++) {
        bool any = false;
        for (int i = 0; i < ids->n; i++)
            any |= ids->items[i].contract == set->contracts[c] && ids->items[i].state == FAL_ID_CHANGED;
        if (!any) continue;
        fal_finding_file f;
        st = fal_finding_open(&f, set->contracts[c]->path, &all, err);
        for (int i = 0; !st && i < ids->n; i++) {
            const fal_id *x = &ids->items[i];
            if (x->contract == set->contracts[c] && x->state == FAL_ID_CHANGED)
                fal_finding_at(&f, NULL, x->place, FAL_RULE_IDS_001,
                               "put the words back, or give the new claim a new id; 'falsify ids --update --accept ID' "
                               "is the way out",
                               "%s %s is given other words than in %s %s, when it was locked",
                               fal_id_kind_name(x->kind), x->id, x->was_stem, x->was_version);
        }
        fal_finding_close(&f);
        failed |= f.file.failed;
    }
    if (!st && (failed || !fal_diagnoses_sort(&all)))
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for findings");
    if (!st) fal_diagnoses_print(&all, args->colour_err, env->err);
    fal_diagnoses_free(&all);
    for (int i = 0; !st && i < ids->n; i++)
        if (ids->items[i].state == FAL_ID_GONE) {
            fal_text_print(env->err, lock, strlen(lock));
            fprintf(env->err, ": error: %s %s, of %s %s, is in no contract any more [IDS-002]\n",
                    fal_id_kind_name(ids->items[i].kind), ids->items[i].id, ids->items[i].was_stem,
                    ids->items[i].was_version);
        }
    return st;
}

static void print_text(const fal_ids *ids, bool verbose, bool updated, const char *lock, FILE *f)
{
    for (int i = 0; i < ids->n; i++)
        if (ids->items[i].state == FAL_ID_NEW && (verbose || updated))
            fprintf(f, "new          %s %s, of %s %s\n", fal_id_kind_name(ids->items[i].kind), ids->items[i].id,
                    ids->items[i].stem, ids->items[i].version);
    fprintf(f, "ids          %d = %d as locked + %d new + %d changed + %d gone\n", ids->n, ids->by[FAL_ID_SAME],
            ids->by[FAL_ID_NEW], ids->by[FAL_ID_CHANGED], ids->by[FAL_ID_GONE]);
    if (updated) {
        fputs("locked       ", f);
        fal_text_print(f, lock, strlen(lock));
        fputc('\n', f);
    }
}

static fal_status work(const fal_cmd_args *args, const fal_cmd_env *env, fal_error *err)
{
    fal_contract_set *set = NULL;
    fal_ids *ids = NULL;
    char lock[1024];
    bool whole;
    struct stat there;
    fal_status st = FAL_OK;
    if (!args->update && args->accept.n)
        st = fal_fail(err, FAL_ERR_USAGE, about.usage, "ids: --accept goes with --update");
    if (!st) st = find_lock(args, lock, sizeof lock, &whole, err);
    if (!st) st = fal_cmd_load(args, env, &set, err);
    if (!st && !args->update && stat(lock, &there) != 0)
        st = fal_fail(err, FAL_ERR_NOTHING, "'falsify ids --update' makes one", "%s: there is no such lock file", lock);
    if (!st) st = fal_ids_compare(set, lock, whole, &ids, err);
    if (!st && args->update) st = fal_ids_write(ids, &args->accept, lock, err);
    const bool updated = !st && args->update;
    if (ids && !updated) {
        const fal_status printed = print_findings(set, ids, lock, args, env, err);
        if (!st) st = printed;
    }
    if (ids && (!st || st == FAL_ERR_INPUT)) {
        fal_error ignored = { 0 };
        if (strcmp(args->format, "json") == 0)
            fal_json_print(ids_json(ids), env->out, st ? &ignored : err);
        else
            print_text(ids, args->verbose, updated, lock, env->out);
    }
    if (!st && !updated && ids->by[FAL_ID_CHANGED] + ids->by[FAL_ID_GONE] > 0)
        st = fal_fail(err, FAL_ERR_INPUT, "an id means one thing for good",
                      "%d ids changed their words and %d are gone", ids->by[FAL_ID_CHANGED], ids->by[FAL_ID_GONE]);
    fal_ids_free(ids);
    fal_contract_set_free(set);
    return st;
}

int fal_cmd_ids(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_cmd_args args = { 0 };
    fal_status st = fal_cmd_args_parse(argc, argv, &about, env, &args, err);
    if (!st && args.help)
        fal_cmd_args_help(&about, env->out);
    else if (!st)
        st = work(&args, env, err);
    if (!st) st = fal_cmd_flush(env->out, "ids", err);
    fal_cmd_args_free(&args);
    return fal_exit_status(st);
}
