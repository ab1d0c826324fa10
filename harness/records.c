/* Evidence as it lies in a folder: finding the files and reading each. */
#include "harness/records.h"

#include "harness/digest.h"
#include "harness/records_parts.h"
#include "harness/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_BYTES = 64 << 20 };

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for evidence");
}

bool fal_verdict_parse(const char *name, fal_verdict_kind *out)
{
    for (int v = 0; name && v < FAL_N_VERDICTS; v++)
        if (strcmp(fal_verdict_name((fal_verdict_kind)v), name) == 0) {
            *out = (fal_verdict_kind)v;
            return true;
        }
    return false;
}

bool fal_record_counts(const fal_record *r)
{
    return r->trusted && r->run && r->fresh;
}

bool fal_records_grow(fal_records_parts *p, void **items, int n, int *cap, size_t size)
{
    if (n < *cap) return true;
    const int more = *cap ? 2 * *cap : 32;
    void *grown = realloc(*items, (size_t)more * size);
    if (!grown) {
        p->arena.failed = true;
        return false;
    }
    *items = grown;
    *cap = more;
    return true;
}

void fal_records_problem(fal_records_parts *p, fal_record *record, const char *path, const char *hint, const char *fmt,
                         ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (record) record->trusted = false;
    if (!fal_records_grow(p, (void **)&p->problems, p->n_problems, &p->cap_problems, sizeof *p->problems)) return;
    p->problems[p->n_problems++] =
        (fal_record_problem){ .path = fal_arena_copy(&p->arena, path, strlen(path)),
                              .message = fal_arena_copy(&p->arena, text, strlen(text)),
                              .hint = hint ? fal_arena_copy(&p->arena, hint, strlen(hint)) : NULL };
    if (record && !record->why_not) record->why_not = p->problems[p->n_problems - 1].message;
}

static const char *text_at(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

/* A whole file as JSON with its digest; NULL with the reason. */
static json_t *load(const char *path, char sha256[65], char *why, size_t size)
{
    struct stat st;
    fal_error err = { 0 };
    json_error_t je;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, size, "is no file that can be read");
    } else if (st.st_size > MAX_BYTES) {
        snprintf(why, size, "has %lld bytes, more than evidence ever has", (long long)st.st_size);
    } else if (fal_sha256_file(path, sha256, &err) != FAL_OK) {
        snprintf(why, size, "%.300s", err.message);
    } else {
        json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &je);
        if (j && json_is_object(j)) return j;
        snprintf(why, size, "is not evidence: %s in line %d", j ? "no object" : je.text, j ? 1 : je.line);
        json_decref(j);
    }
    return NULL;
}

static const char *name_of(const json_t *j, const char *part, const char *key)
{
    return text_at(json_object_get(j, part), key);
}

/* Fills r from its JSON; what is missing, or NULL when all is there. */
static const char *take(fal_records_parts *p, fal_record *r, const json_t *j)
{
    const json_t *device = json_object_get(j, "device"), *cases = json_object_get(j, "cases");
    r->id = text_at(j, "id");
    r->backend = text_at(j, "backend");
    r->finished = text_at(j, "finished");
    r->device = json_is_object(device) ? text_at(device, "slug") : "nodevice";
    r->device_name = text_at(device, "name");
    r->on_cpu = json_is_true(json_object_get(device, "is_cpu")) && r->backend && strcmp(r->backend, "reference") != 0;
    r->model = name_of(j, "model", "name");
    r->model_sha256 = name_of(j, "model", "sha256");
    r->oracle = name_of(j, "oracle", "name");
    r->oracle_sha256 = name_of(j, "oracle", "sha256");
    r->revision = name_of(j, "falsify", "revision");
    r->complete = json_is_true(json_object_get(j, "complete"));
    if (!r->id) return "id";
    if (!r->backend) return "backend";
    if (!r->finished) return "finished";
    if (!r->device) return "device.slug";
    if (!fal_verdict_parse(text_at(j, "verdict"), &r->verdict)) return "verdict";
    if (json_array_size(cases) == 0) return "cases";
    fal_record_case *items = fal_arena_take(&p->arena, json_array_size(cases), sizeof *items);
    if (!items) return "memory";
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        items[i].id = text_at(c, "id");
        items[i].check = text_at(c, "check");
        items[i].reason = text_at(c, "reason");
        if (!items[i].id || !items[i].check) return "cases[].id";
        if (!fal_verdict_parse(text_at(c, "verdict"), &items[i].verdict)) return "cases[].verdict";
    }
    r->cases = items;
    r->n_cases = (int)json_array_size(cases);
    return NULL;
}

static fal_status read_record(fal_records_parts *p, const char *folder, const char *id, const char *name,
                              fal_error *err)
{
    char why[400];
    fal_text path = { 0 }, below = { 0 };
    fal_text_addf(&path, "%s/%s/%s", folder, id, name);
    fal_text_addf(&below, "%s/%s", id, name);
    fal_status st = path.failed || below.failed ? no_memory(err) : FAL_OK;
    if (!st && !fal_records_grow(p, (void **)&p->items, p->n_items, &p->cap_items, sizeof *p->items))
        st = no_memory(err);
    if (st) goto out;
    fal_record *r = &p->items[p->n_items];
    *r = (fal_record){ .path = fal_arena_copy(&p->arena, fal_text_str(&below), below.len), .trusted = true };
    json_t *j = load(fal_text_str(&path), r->sha256, why, sizeof why);
    if (!j) {
        fal_records_problem(p, NULL, fal_text_str(&below), "restore it, or run its falsifier again", "%s", why);
        goto out;
    }
    const char *missing = take(p, r, j);
    if (!missing && strcmp(r->id, id) != 0) missing = "the id of its folder";
    if (missing) {
        fal_records_problem(p, NULL, fal_text_str(&below), "restore it, or run its falsifier again",
                            "is not evidence: it lacks %s", missing);
        json_decref(j);
        goto out;
    }
    r->json = j;
    p->n_items++;
out:
    fal_text_free(&path);
    fal_text_free(&below);
    return st;
}

/* Calls take(name) for every entry of a folder that ends in .json (or is a folder, when asked for those), sorted. */
typedef fal_status (*visit)(fal_records_parts *p, const char *folder, const char *within, const char *name,
                            fal_error *err);

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static fal_status each(fal_records_parts *p, const char *folder, const char *within, bool folders, visit take_one,
                       fal_error *err)
{
    fal_text path = { 0 };
    fal_text_addf(&path, "%s%s%s", folder, within ? "/" : "", within ? within : "");
    if (path.failed) return no_memory(err);
    DIR *dir = opendir(fal_text_str(&path));
    if (!dir) {
        const bool absent = errno == ENOENT || errno == ENOTDIR;
        const fal_status st = absent
                                  ? FAL_OK
                                  : fal_fail(err, FAL_ERR_INPUT, "check its permissions",
                                             "evidence: %s cannot be listed: %s", fal_text_str(&path), strerror(errno));
        fal_text_free(&path);
        return st;
    }
    char **names = NULL;
    int n = 0, cap = 0;
    fal_status st = FAL_OK;
    for (struct dirent *e; !st && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.' || (!folders && !ends_with(e->d_name, ".json"))) continue;
        if (!fal_records_grow(p, (void **)&names, n, &cap, sizeof *names) || !(names[n] = strdup(e->d_name)))
            st = no_memory(err);
        else
            n++;
    }
    closedir(dir);
    if (n) qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 0; i < n; i++) {
        if (!st) st = take_one(p, folder, within, names[i], err);
        free(names[i]);
    }
    free(names);
    fal_text_free(&path);
    return st;
}

/* Folders of falsifiers have the form of their ids; others (runs) are somebody else's. */
static fal_status read_folder(fal_records_parts *p, const char *folder, const char *within, const char *name,
                              fal_error *err)
{
    (void)within;
    if (name[0] < 'A' || name[0] > 'Z' || name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")]) return FAL_OK;
    return each(p, folder, name, false, read_record, err);
}

static fal_status read_run(fal_records_parts *p, const char *folder, const char *within, const char *name,
                           fal_error *err)
{
    char why[400];
    fal_text path = { 0 }, below = { 0 };
    fal_text_addf(&path, "%s/%s/%s", folder, within, name);
    fal_text_addf(&below, "%s/%s", within, name);
    fal_status st =
        path.failed || below.failed || !fal_records_grow(p, (void **)&p->runs, p->n_runs, &p->cap_runs, sizeof *p->runs)
            ? no_memory(err)
            : FAL_OK;
    if (!st) {
        fal_records_run *run = &p->runs[p->n_runs];
        *run = (fal_records_run){ .name = fal_arena_copy(&p->arena, name, strlen(name)) };
        run->json = load(fal_text_str(&path), run->sha256, why, sizeof why);
        if (run->json && !json_is_array(json_object_get(run->json, "files"))) {
            snprintf(why, sizeof why, "is no summary of a run: it lists no files");
            json_decref(run->json);
            run->json = NULL;
        }
        if (run->json)
            p->n_runs++;
        else
            fal_records_problem(p, NULL, fal_text_str(&below), "restore it", "%s", why);
    }
    fal_text_free(&path);
    fal_text_free(&below);
    return st;
}

fal_status fal_records_read_runs(fal_records_parts *p, const char *folder, fal_error *err)
{
    return each(p, folder, "runs", false, read_run, err);
}

fal_record *fal_records_find(fal_records_parts *p, const char *path)
{
    int low = 0, high = p->n_items;
    while (low < high) {
        const int mid = low + (high - low) / 2;
        if (strcmp(p->items[mid].path, path) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->n_items && strcmp(p->items[low].path, path) == 0 ? &p->items[low] : NULL;
}

static int compare_records(const void *a, const void *b)
{
    return strcmp(((const fal_record *)a)->path, ((const fal_record *)b)->path);
}

static void settle(fal_records_parts *p)
{
    p->records.items = p->items;
    p->records.n = p->n_items;
    p->records.problems = p->problems;
    p->records.n_problems = p->n_problems;
    p->records.n_runs = p->n_runs;
}

fal_status fal_records_read(const char *folder, fal_records **out, fal_error *err)
{
    fal_records_parts *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    fal_status st = each(p, folder, NULL, true, read_folder, err);
    if (!st) st = fal_records_read_runs(p, folder, err);
    if (!st) {
        if (p->n_items) qsort(p->items, (size_t)p->n_items, sizeof *p->items, compare_records);
        fal_records_check(p);
    }
    if (!st && p->arena.failed) st = no_memory(err);
    settle(p);
    if (st)
        fal_records_free(&p->records);
    else
        *out = &p->records;
    return st;
}

fal_status fal_records_since(fal_records *r, const char *older, fal_error *err)
{
    fal_records_parts *p = (fal_records_parts *)r;
    fal_records *before = NULL;
    struct stat st_older;
    if (stat(older, &st_older) != 0 || !S_ISDIR(st_older.st_mode))
        return fal_fail(err, FAL_ERR_NOTHING, "name a copy of the evidence folder as it was",
                        "--since: %s is no folder", older);
    fal_status st = fal_records_read(older, &before, err);
    if (st) return st;
    const fal_records_parts *b = (const fal_records_parts *)before;
    const char *hint = "evidence is only ever added; restore it from version control";
    for (int i = 0; i < b->n_runs; i++) {
        const fal_records_run *now = NULL;
        for (int k = 0; k < p->n_runs && !now; k++)
            if (strcmp(p->runs[k].name, b->runs[i].name) == 0) now = &p->runs[k];
        char path[300];
        snprintf(path, sizeof path, "runs/%.250s", b->runs[i].name);
        if (!now)
            fal_records_problem(p, NULL, path, hint, "has vanished; it was in %.200s", older);
        else if (strcmp(now->sha256, b->runs[i].sha256) != 0)
            fal_records_problem(p, NULL, path, hint, "was edited; it is another in %.200s", older);
    }
    for (int i = 0; i < b->n_items; i++) {
        const fal_record *was = &b->items[i];
        if (!fal_records_find(p, was->path))
            fal_records_problem(p, NULL, was->path, hint, "has vanished; in %.200s it says %s", older,
                                fal_verdict_name(was->verdict));
    }
    fal_records_free(before);
    if (p->arena.failed) return no_memory(err);
    settle(p);
    return FAL_OK;
}

void fal_records_free(fal_records *r)
{
    if (!r) return;
    fal_records_parts *p = (fal_records_parts *)r;
    for (int i = 0; i < p->n_items; i++) json_decref((json_t *)(uintptr_t)p->items[i].json);
    for (int i = 0; i < p->n_runs; i++) json_decref(p->runs[i].json);
    free(p->items);
    free(p->problems);
    free(p->runs);
    fal_arena_free(&p->arena);
    free(p);
}
