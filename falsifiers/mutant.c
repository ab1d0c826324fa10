/* The catalogue of mutants, and their source texts: a pattern that must match exactly once, and its replacement. */
#include "harness/mutant.h"

#include "falsifiers/mutant_hooks.h"
#include "harness/text.h"
#include "opencl/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SITE(name) (1u << FAL_SITE_##name)
#define FAL_MUTANT(id_, ...) { .id = #id_, __VA_ARGS__ },
static const fal_mutant mutants[] = {
#include "falsifiers/mutants.def"
};
#undef SITE
_Static_assert(FAL_N_SITES <= 32, "a mask of sites has 32 bits");

const fal_mutant *fal_mutant_all(int *n)
{
    *n = (int)(sizeof mutants / sizeof mutants[0]);
    return mutants;
}

const fal_mutant *fal_mutant_find(const char *id)
{
    int n;
    const fal_mutant *all = fal_mutant_all(&n);
    for (int i = 0; id && i < n; i++)
        if (strcmp(all[i].id, id) == 0) return &all[i];
    return NULL;
}

bool fal_mutant_is_source(const fal_mutant *m)
{
    return m->from != NULL;
}

bool fal_mutant_fits(const fal_mutant *m, const char *backend)
{
    if (!fal_mutant_is_source(m)) return true;
    if (strcmp(backend, "opencl") == 0) return !m->module;
    return strcmp(backend, "cuda") == 0 && (m->module || !m->variant);
}

const char *fal_mutant_module(const fal_mutant *m)
{
    return m->module ? m->module : m->op;
}

/* ---- texts -------------------------------------------------------------------------------------------------------- */

/* The words in which the twins differ, where patterns use them; harness/symmetry.sed has them all. */
static const struct {
    const char *cl, *cu;
} words[] = {
    { "__global ", "" },
    { "__local ", "" },
    { "barrier(CLK_LOCAL_MEM_FENCE)", "__syncthreads()" },
    { "get_local_id(0)", "threadIdx.x" },
    { "get_group_id(0)", "blockIdx.x" },
    { "(ushort)", "(unsigned short)" },
    { "uchar ", "unsigned char " },
    { "ushort ", "unsigned short " },
    { "uint ", "unsigned " },
};

static void add_words(fal_text *t, const char *s, bool cuda)
{
    while (*s) {
        size_t w = 0, n = sizeof words / sizeof words[0];
        while (cuda && w < n && strncmp(s, words[w].cl, strlen(words[w].cl)) != 0) w++;
        if (cuda && w < n) {
            fal_text_add(t, words[w].cu);
            s += strlen(words[w].cl);
        } else {
            fal_text_add_n(t, s++, 1);
        }
    }
}

static const char *file_of(const fal_mutant *m)
{
    return m->file ? m->file : fal_mutant_module(m);
}

fal_status fal_mutant_apply(const fal_mutant *m, bool cuda, const char *text, size_t length, char **out, size_t *out_length,
                            fal_error *err)
{
    fal_text from = { 0 }, result = { 0 };
    fal_status st = FAL_OK;
    const bool changes_words = cuda && !m->module; /* what has no twin is written in the words of CUDA */
    if (cuda && m->cu_from) fal_text_add(&from, m->cu_from);
    else add_words(&from, m->from, changes_words);
    int n = 0;
    const char *at = NULL;
    for (const char *p = text; from.len && (p = memmem(p, length - (size_t)(p - text), from.data, from.len)) != NULL; p++) {
        at = p;
        n++;
    }
    if (n != 1) {
        st = fal_fail(err, FAL_ERR_INPUT, "the source has moved on: write the mutant anew in falsifiers/mutants.def",
                      "mutant %s: its text stands %d times in %s.%s, expected once: %.200s", m->id, n, file_of(m),
                      !cuda ? "cl" : m->file ? "cuh" : "cu", fal_text_str(&from));
    } else {
        fal_text_add_n(&result, text, (size_t)(at - text));
        if (cuda && m->cu_to) fal_text_add(&result, m->cu_to);
        else add_words(&result, m->to, changes_words);
        fal_text_add_n(&result, at + from.len, length - (size_t)(at - text) - from.len);
        if (from.failed || result.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "mutant %s: out of memory", m->id);
    }
    fal_text_free(&from);
    if (st) {
        fal_text_free(&result);
        return st;
    }
    *out = result.data; /* handed over */
    *out_length = result.len;
    return FAL_OK;
}

/* ---- sources for nvcc --------------------------------------------------------------------------------------------- */

static fal_status read_file(const char *path, char **out, size_t *n, fal_error *err)
{
    FILE *f = fopen(path, "rbe");
    fal_text t = { 0 };
    char piece[65536];
    size_t got;
    if (!f) return fal_fail(err, FAL_ERR_INPUT, "give the folder of the sources with --root", "%s: %s", path, strerror(errno));
    while ((got = fread(piece, 1, sizeof piece, f)) > 0) fal_text_add_n(&t, piece, got);
    const bool bad = ferror(f) != 0;
    fclose(f);
    if (bad || t.failed) {
        fal_text_free(&t);
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: cannot be read", path);
    }
    *n = t.len;
    *out = t.data ? t.data : strdup("");
    return FAL_OK;
}

static fal_status write_file(const char *path, const char *text, size_t n, fal_error *err)
{
    FILE *f = fopen(path, "wbe");
    const bool ok = f && fwrite(text, 1, n, f) == n;
    if ((f && fclose(f) != 0) || !ok) return fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: cannot be written: %s", path, strerror(errno));
    return FAL_OK;
}

/* The mutant's own module and the header it takes most from, one of them changed; a header beside the module is found before
   the shipped one. */
static fal_status write_one(const fal_mutant *m, const char *root, const char *dir, fal_error *err)
{
    char path[1024];
    const char *const names[] = { fal_mutant_module(m), m->module ? "decode" : "quant" }, *const ends[] = { "cu", "cuh" };
    snprintf(path, sizeof path, "%s/%s", dir, m->id);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: cannot be made: %s", path, strerror(errno));
    fal_status st = FAL_OK;
    for (int i = 0; i < 2 && !st; i++) {
        char *text = NULL, *changed = NULL;
        size_t n = 0, n_changed = 0;
        snprintf(path, sizeof path, "%s/cuda/%s.%s", root, names[i], ends[i]);
        st = read_file(path, &text, &n, err);
        const bool mine = strcmp(file_of(m), names[i]) == 0;
        if (!st && mine) st = fal_mutant_apply(m, true, text, n, &changed, &n_changed, err);
        snprintf(path, sizeof path, "%s/%s/%s.%s", dir, m->id, names[i], ends[i]);
        if (!st) st = write_file(path, mine ? changed : text, mine ? n_changed : n, err);
        free(changed);
        free(text);
    }
    return st;
}

fal_status fal_mutant_write_cuda(const char *root, const char *dir, FILE *list, int *n, fal_error *err)
{
    *n = 0;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: cannot be made: %s", dir, strerror(errno));
    fal_status st = FAL_OK;
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0] && !st; i++) {
        const fal_mutant *m = &mutants[i];
        if (!fal_mutant_is_source(m) || !fal_mutant_fits(m, "cuda")) continue;
        st = write_one(m, root, dir, err);
        if (st) break;
        fprintf(list, "%s %s\n", m->id, fal_mutant_module(m));
        (*n)++;
    }
    return st;
}
