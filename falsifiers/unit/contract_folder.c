/* A temporary folder of contracts for tests. */
#include "falsifiers/unit/contract_folder.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char fal_test_folder[64];

void fal_test_make_folder(void)
{
    strcpy(fal_test_folder, "/tmp/fal_contract_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fal_test_folder));
}

void fal_test_remove_folder(void)
{
    DIR *dir = opendir(fal_test_folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    ck_assert_int_eq(rmdir(fal_test_folder), 0);
}

const char *fal_test_path(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", fal_test_folder, name);
    return path;
}

void fal_test_write(const char *name, const char *text)
{
    FILE *f = fopen(fal_test_path(name), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

char *fal_test_read(const char *path)
{
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "run from the root of the repository: no %s", path);
    enum { MOST = 1 << 18 };
    char *text = calloc(1, MOST);
    ck_assert_ptr_nonnull(text);
    const size_t n = fread(text, 1, MOST - 1, f);
    ck_assert_uint_lt(n, MOST - 1);
    fclose(f);
    return text;
}

void fal_test_load_paths(fal_test_loaded *l, const char *const *paths, int n)
{
    *l = (fal_test_loaded){ 0 };
    l->status = fal_contract_set_load(paths, n, &l->set, &l->diag, &l->err);
}

void fal_test_load(fal_test_loaded *l)
{
    const char *path = fal_test_folder;
    fal_test_load_paths(l, &path, 1);
}

void fal_test_release(fal_test_loaded *l)
{
    fal_contract_set_free(l->set);
    fal_diagnoses_free(&l->diag);
}

int fal_test_errors(const fal_test_loaded *l)
{
    int n = 0;
    for (size_t i = 0; i < l->diag.n; i++) n += l->diag.items[i].is_error;
    return n;
}

const fal_diagnosis *fal_test_find(const fal_test_loaded *l, const char *rule)
{
    for (size_t i = 0; i < l->diag.n; i++)
        if (strcmp(l->diag.items[i].rule, rule) == 0) return &l->diag.items[i];
    return NULL;
}

char *fal_test_changed(const char *base, const char *from, const char *to, const char **where)
{
    const char *at = strstr(base, from);
    ck_assert_msg(at != NULL, "the test data lacks: %s", from);
    char *text = malloc(strlen(base) + strlen(to) + 1);
    ck_assert_ptr_nonnull(text);
    const size_t before = (size_t)(at - base);
    memcpy(text, base, before);
    strcpy(text + before, to);
    strcat(text + before, at + strlen(from));
    *where = text + before;
    return text;
}

void fal_test_write_changed(const char *from, const char *to)
{
    char *base = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    char *other = fal_test_read(FAL_TEST_CONTRACTS "/other-v1.yaml");
    const char *where = NULL;
    char *text = fal_test_changed(base, from, to, &where);
    fal_test_write("every-key-v1.yaml", text);
    fal_test_write("other-v1.yaml", other);
    free(text);
    free(other);
    free(base);
}

fal_place fal_test_place(const char *text, const char *at)
{
    fal_place p = { 1, 1 };
    for (const char *s = text; s < at; s++) {
        if (*s == '\n')
            p.line++, p.column = 1;
        else if (((unsigned char)*s & 0xC0) != 0x80)
            p.column++;
    }
    return p;
}
