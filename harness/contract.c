/* Loading a set of contracts: finding the files, reading each, resolving references, and handing out what is whole. */
#include "harness/contract.h"

#include "harness/contract_pv.h"
#include "harness/digest.h"
#include "harness/text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The set and everything in it: one arena. */
typedef struct {
    fal_contract_set set; /* first, so that a pointer to it is one to the box */
    fal_arena arena;
} box;

typedef struct {
    box *box;
    fal_diagnoses *diag;
    fal_contract_file **files;
    fal_profile profile;
    struct stat *stats; /* in parallel, to know a file that comes by two paths */
    int n, cap;
} loader;

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while loading contracts");
}

/* ---- finding files ---- */

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static fal_status add_file(loader *l, const char *path, const struct stat *st, fal_error *err)
{
    const char *name = base_name(path);
    if (l->n == l->cap) {
        if (l->cap > INT_MAX / 2) return no_memory(err);
        const int cap = l->cap ? l->cap * 2 : 32;
        fal_contract_file **files = realloc(l->files, (size_t)cap * sizeof *files);
        if (!files) return no_memory(err);
        l->files = files;
        struct stat *stats = realloc(l->stats, (size_t)cap * sizeof *stats);
        if (!stats) return no_memory(err);
        l->stats = stats;
        l->cap = cap;
    }
    fal_arena *a = &l->box->arena;
    fal_contract_file *f = fal_arena_take(a, 1, sizeof *f);
    if (!f) return no_memory(err);
    f->arena = a;
    f->contract.path = fal_arena_copy(a, path, strlen(path));
    const bool is_yaml = ends_with(name, ".yaml");
    f->contract.stem = fal_arena_copy(a, name, strlen(name) - (is_yaml ? strlen(".yaml") : 0));
    if (a->failed) return no_memory(err);
    f->d = (fal_file_diagnosis){ .all = l->diag, .path = f->contract.path, .profile = l->profile };
    l->stats[l->n] = *st;
    l->files[l->n++] = f;
    return FAL_OK;
}

static fal_status add_folder(loader *l, const char *folder, fal_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return fal_fail(err, FAL_ERR_NOTHING, "make the folder readable", "contracts: cannot list folder %s: %s",
                        folder, strerror(errno));
    fal_status status = FAL_OK;
    int found = 0;
    for (struct dirent *e; status == FAL_OK && (e = readdir(dir)) != NULL;) {
        /* .yml too: it is refused by name later, because a contract that nobody reads looks like one that holds */
        if (e->d_name[0] == '.' || (!ends_with(e->d_name, ".yaml") && !ends_with(e->d_name, ".yml"))) continue;
        char *path = NULL;
        const char *gap = folder[0] && folder[strlen(folder) - 1] == '/' ? "" : "/";
        if (asprintf(&path, "%s%s%s", folder, gap, e->d_name) < 0) {
            status = no_memory(err);
            break;
        }
        struct stat st;
        if (stat(path, &st) != 0) st = (struct stat){ 0 }; /* a dangling link: fails to open, and is told so */
        status = add_file(l, path, &st, err);
        free(path);
        found++;
    }
    closedir(dir);
    if (status == FAL_OK && found == 0)
        return fal_fail(err, FAL_ERR_NOTHING, "name a folder with contracts, or a contract",
                        "contracts: no *.yaml in folder %s", folder);
    return status;
}

/* A file that comes by two paths, with its place in the order in which it came. */
typedef struct {
    dev_t device;
    ino_t inode;
    const char *name;
    int at;
} identity;

static int compare_identities(const void *pa, const void *pb)
{
    const identity *a = pa, *b = pb;
    if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    const int by_name = strcmp(a->name, b->name);
    return by_name != 0 ? by_name : a->at < b->at ? -1 : 1;
}

/* Keeps the first of the paths by which a file came; one of two names is another contract. */
static fal_status drop_repeated(loader *l, fal_error *err)
{
    identity *all = calloc((size_t)l->n + 1, sizeof *all);
    if (!all) return no_memory(err);
    for (int i = 0; i < l->n; i++)
        all[i] = (identity){ l->stats[i].st_dev, l->stats[i].st_ino, base_name(l->files[i]->contract.path), i };
    qsort(all, (size_t)l->n, sizeof *all, compare_identities);
    for (int i = 1; i < l->n; i++)
        if (all[i].inode != 0 && all[i].inode == all[i - 1].inode && all[i].device == all[i - 1].device &&
            strcmp(all[i].name, all[i - 1].name) == 0)
            l->files[all[i].at] = NULL;
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->files[i]) {
            l->box->set.n_found += ends_with(l->files[i]->contract.path, ".yaml");
            l->files[n++] = l->files[i];
        }
    l->n = n;
    free(all);
    return FAL_OK;
}

static int compare_files(const void *pa, const void *pb)
{
    const fal_contract_file *a = *(fal_contract_file *const *)pa, *b = *(fal_contract_file *const *)pb;
    const int by_stem = strcmp(a->contract.stem, b->contract.stem);
    return by_stem != 0 ? by_stem : strcmp(a->contract.path, b->contract.path);
}

static fal_status find_files(loader *l, const char *const *paths, int n_paths, fal_error *err)
{
    for (int i = 0; i < n_paths; i++) {
        struct stat st;
        if (stat(paths[i], &st) != 0)
            return fal_fail(err, FAL_ERR_NOTHING, "name a folder with contracts, or a contract", "contracts: %s: %s",
                            paths[i], strerror(errno));
        const fal_status status = S_ISDIR(st.st_mode) ? add_folder(l, paths[i], err) : add_file(l, paths[i], &st, err);
        if (status != FAL_OK) return status;
    }
    if (l->n == 0)
        return fal_fail(err, FAL_ERR_NOTHING, "name a folder with contracts, or a contract",
                        "contracts: no path given");
    const fal_status status = drop_repeated(l, err);
    if (status == FAL_OK) qsort(l->files, (size_t)l->n, sizeof *l->files, compare_files);
    return status;
}

/* ---- reading ---- */

static bool is_stem(const char *s)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const size_t n = strlen(s);
    return n > 0 && n < 64 && strspn(s, allowed) == n && s[0] != '-';
}

static fal_status read_file(fal_contract_file *f, const fal_contract_file *before, fal_error *err)
{
    const fal_place none = { 0, 0 };
    const char *path = f->contract.path;
    if (!ends_with(path, ".yaml"))
        fal_diagnose(&f->d, FAL_RULE_CON_016, none, 1, "rename it to <stem>.yaml",
                     "a contract file is named <stem>.yaml");
    else if (!is_stem(f->contract.stem))
        fal_diagnose(&f->d, FAL_RULE_CON_016, none, 1, "use letters, digits, '-', '_' and '.', fewer than 64",
                     "the stem of the file name cannot name a contract");
    if (before && strcmp(before->contract.stem, f->contract.stem) == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_016, none, 1, NULL, "there is another contract of that name: %s",
                     fal_shown(f, before->contract.path));
    fal_status status = fal_yaml_load(path, f->arena, &f->d, &f->yaml, err);
    if (status != FAL_OK) return status;
    if (f->yaml.source) {
        status = fal_sha256(f->yaml.source, f->yaml.size, f->contract.sha256, err);
        if (status != FAL_OK) return status;
    }
    if (!f->yaml.root) return FAL_OK;
    if (f->d.profile == FAL_PROFILE_PV) {
        fal_pv_read(f);
        return FAL_OK;
    }
    fal_contract_read(f);
    if (f->yaml.root->kind == FAL_YAML_MAP) {
        const fal_pv v = fal_pv_view(f);
        fal_pv_judge(&v);
    }
    return FAL_OK;
}

static fal_status build_set(loader *l, fal_error *err)
{
    box *b = l->box;
    const fal_contract **whole = fal_arena_take(&b->arena, (size_t)l->n, sizeof *whole);
    const fal_contract **all = fal_arena_take(&b->arena, (size_t)l->n, sizeof *all);
    if (!whole || !all) return no_memory(err);
    bool failed = false;
    int n_bad = 0;
    for (int i = 0; i < l->n; i++) {
        fal_contract_file *f = l->files[i];
        fal_diagnose_hidden(&f->d);
        if (f->d.failed) failed = true;
        if (f->yaml.root) b->set.n_read++;
        all[b->set.n_all++] = &f->contract;
        if (f->d.n_errors == 0)
            whole[b->set.n_contracts++] = &f->contract;
        else
            n_bad++;
    }
    b->set.n_parsed = b->set.n_contracts;
    b->set.contracts = whole;
    b->set.all = all;
    if (failed || b->arena.failed || !fal_diagnoses_sort(l->diag)) return no_memory(err);
    if (n_bad > 0)
        return fal_fail(err, FAL_ERR_INPUT, "mend what the diagnoses name, then validate again",
                        "contracts: %d of %d files have errors", n_bad, l->n);
    return FAL_OK;
}

fal_status fal_contract_set_load(const char *const *paths, int n_paths, fal_contract_set **out, fal_diagnoses *diag,
                                 fal_error *err)
{
    return fal_contract_set_load_as(paths, n_paths, FAL_PROFILE_STRICT, out, diag, err);
}

fal_status fal_contract_set_load_as(const char *const *paths, int n_paths, fal_profile profile, fal_contract_set **out,
                                    fal_diagnoses *diag, fal_error *err)
{
    loader l = { .box = calloc(1, sizeof *l.box), .diag = diag, .profile = profile };
    fal_status status = l.box ? find_files(&l, paths, n_paths, err) : no_memory(err);
    for (int i = 0; status == FAL_OK && i < l.n; i++)
        status = read_file(l.files[i], i > 0 ? l.files[i - 1] : NULL, err);
    if (status == FAL_OK)
        status = profile == FAL_PROFILE_PV ? fal_pv_resolve(l.files, l.n, err) : fal_contract_resolve(l.files, l.n, err);
    if (status == FAL_OK) status = build_set(&l, err);
    free(l.files);
    free(l.stats);
    if (status == FAL_OK || status == FAL_ERR_INPUT)
        *out = &l.box->set;
    else if (l.box)
        fal_contract_set_free(&l.box->set);
    return status;
}

void fal_contract_set_free(fal_contract_set *set)
{
    if (!set) return;
    box *b = (box *)set;
    fal_arena_free(&b->arena);
    free(b);
}

fal_file_diagnosis fal_contract_diagnosis(const fal_contract *c, fal_diagnoses *all)
{
    /* every contract of a set stands in the file that it was read from */
    const fal_contract_file *f = (const fal_contract_file *)((const char *)c - offsetof(fal_contract_file, contract));
    fal_file_diagnosis d = f->d;
    d.all = all;
    d.n_errors = d.n_warnings = d.n_notes = 0;
    d.failed = false;
    return d;
}

/* ---- parameters ---- */

double fal_params_number(const fal_params *p, const char *name, double fallback)
{
    for (int i = 0; p && i < p->n_params; i++)
        if (!p->params[i].text && strcmp(p->params[i].name, name) == 0) return p->params[i].number;
    return fallback;
}

const char *fal_params_text(const fal_params *p, const char *name, const char *fallback)
{
    for (int i = 0; p && i < p->n_params; i++)
        if (p->params[i].text && strcmp(p->params[i].name, name) == 0) return p->params[i].text;
    return fallback;
}
