/* Opens and closes GGUF files, and answers what is in them: keys, tensors, typed values. */
#include "harness/gguf_parse.h"

#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SHOWN = 200 }; /* the most of a path that goes into a message */

static fal_gguf_file *new_file(const char *path)
{
    fal_gguf_file *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    const size_t len = strlen(path);
    const bool cut = len > PATH_SHOWN;
    fal_text t = { 0 };
    if (cut) fal_text_add(&t, "...");
    fal_text_add_safe(&t, cut ? path + len - PATH_SHOWN : path, cut ? PATH_SHOWN : len);
    f->path = strdup(path);
    f->shown = t.failed ? NULL : strdup(fal_text_str(&t));
    fal_text_free(&t);
    f->pub.path = f->path;
    f->pub.shown = f->shown;
    if (f->path && f->shown) return f;
    fal_gguf_close(&f->pub);
    return NULL;
}

/* Reads f's bytes; f is the caller's on success and gone on failure. */
static fal_status read_file(fal_gguf_file *f, const void *bytes, size_t size, fal_gguf **out, fal_error *err)
{
    f->pub.base = bytes;
    f->pub.size = size;
    fal_gguf_cursor c = { .file = f, .base = bytes, .size = size, .err = err };
    uint64_t n_tensors = 0;
    fal_status status = fal_gguf_read_metadata(&c, &n_tensors);
    if (status == FAL_OK) status = fal_gguf_read_tensors(&c, n_tensors);
    if (status != FAL_OK) {
        fal_gguf_close(&f->pub);
        return status;
    }
    *out = &f->pub;
    return FAL_OK;
}

fal_status fal_gguf_open_memory(const void *bytes, size_t size, const char *name, fal_gguf **out, fal_error *err)
{
    fal_gguf_file *f = new_file(name);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to open a model file");
    return read_file(f, bytes, size, out, err);
}

fal_status fal_gguf_open(const char *path, fal_gguf **out, fal_error *err)
{
    fal_gguf_file *f = new_file(path);
    if (!f) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to open a model file");
    fal_status status = FAL_OK;
    struct stat st;
    void *map = NULL;

    /* O_NONBLOCK: opening a FIFO without a writer would wait for ever. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        status = fal_fail(err, FAL_ERR_INPUT, "check the path and its permissions", "%s: cannot be opened: %s",
                          f->shown, strerror(errno));
        goto out;
    }
    if (fstat(fd, &st) != 0) {
        status = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: its size cannot be read: %s", f->shown, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        status = fal_fail(err, FAL_ERR_INPUT, "give the path of a .gguf file",
                          "%s: found no regular file, expected a GGUF file", f->shown);
        goto out;
    }
    if (st.st_size > 0) {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            status = fal_fail(err, FAL_ERR_MEMORY, "is there a limit on address space (ulimit -v)?",
                              "%s: %lld bytes cannot be mapped: %s", f->shown, (long long)st.st_size, strerror(errno));
            goto out;
        }
        f->map = map;
    }
    status = read_file(f, map, (size_t)st.st_size, out, err);
    f = NULL; /* the caller's, or gone */
out:
    if (fd >= 0) close(fd);
    if (f) fal_gguf_close(&f->pub);
    return status;
}

void fal_gguf_close(fal_gguf *g)
{
    if (!g) return;
    fal_gguf_file *f = (fal_gguf_file *)(void *)g;
    for (size_t i = 0; i < g->n_kv; i++) free((char *)(uintptr_t)f->kv[i].key);
    for (size_t i = 0; i < g->n_tensors; i++) free((char *)(uintptr_t)f->tensors[i].name);
    free(f->tensor_by_name);
    free(f->kv_by_key);
    free(f->info_offset);
    free(f->tensors);
    free(f->kv);
    if (f->map) munmap(f->map, g->size);
    free(f->shown);
    free(f->path);
    free(f);
}

/* ---- what is in the file -------------------------------------------------------------------------------------- */

const char *fal_gguf_type_name(fal_gguf_type type)
{
    static const char *const names[] = { "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64" };
    if ((unsigned)type >= sizeof names / sizeof names[0]) return "unknown";
    return names[type];
}

const fal_gguf_kv *fal_gguf_find_kv(const fal_gguf *g, const char *key)
{
    size_t low = 0, high = g->n_kv;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const fal_gguf_kv *kv = &g->kv[g->kv_by_key[mid]];
        const int order = strcmp(key, kv->key);
        if (order == 0) return kv;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const fal_tensor *fal_gguf_find_tensor(const fal_gguf *g, const char *name)
{
    size_t low = 0, high = g->n_tensors;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const fal_tensor *t = &g->tensors[g->tensor_by_name[mid]];
        const int order = strcmp(name, t->name);
        if (order == 0) return t;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

static fal_status absent(const fal_gguf *g, const char *key, const char *expected, fal_error *err)
{
    return fal_fail(err, FAL_ERR_INPUT,
                    "the file was converted for another purpose or by an old converter: convert it again",
                    "%s: key '%s': found nothing, expected %s", g->shown, key, expected);
}

fal_status fal_gguf_get_u32(const fal_gguf *g, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                            fal_error *err)
{
    const fal_gguf_kv *kv = fal_gguf_find_kv(g, key);
    if (!kv) return absent(g, key, "an integer", err);
    uint64_t value = 0;
    switch (kv->type) {
    case FAL_GGUF_U8:
    case FAL_GGUF_U16:
    case FAL_GGUF_U32:
    case FAL_GGUF_U64: value = kv->v.u; break;
    case FAL_GGUF_I8:
    case FAL_GGUF_I16:
    case FAL_GGUF_I32:
    case FAL_GGUF_I64:
        if (kv->v.i < 0)
            return fal_fail(err, FAL_ERR_INPUT, "the metadata is wrong: convert the model again",
                            "%s: offset 0x%" PRIx64 ": key '%s': value: found %" PRId64 ", expected %u to %u", g->shown,
                            kv->offset, key, kv->v.i, min, max);
        value = (uint64_t)kv->v.i;
        break;
    default:
        return fal_fail(err, FAL_ERR_INPUT, "the metadata is wrong: convert the model again",
                        "%s: offset 0x%" PRIx64 ": key '%s': type: found %s, expected an integer", g->shown, kv->offset,
                        key, fal_gguf_type_name(kv->type));
    }
    if (value < min || value > max)
        return fal_fail(err, FAL_ERR_INPUT,
                        "the metadata is wrong, or the model is beyond what this program is made for",
                        "%s: offset 0x%" PRIx64 ": key '%s': value: found %" PRIu64 ", expected %u to %u", g->shown,
                        kv->offset, key, value, min, max);
    *out = (uint32_t)value;
    return FAL_OK;
}

fal_status fal_gguf_get_f32(const fal_gguf *g, const char *key, float *out, fal_error *err)
{
    const fal_gguf_kv *kv = fal_gguf_find_kv(g, key);
    if (!kv) return absent(g, key, "a floating-point number", err);
    if (kv->type != FAL_GGUF_F32 && kv->type != FAL_GGUF_F64)
        return fal_fail(err, FAL_ERR_INPUT, "the metadata is wrong: convert the model again",
                        "%s: offset 0x%" PRIx64 ": key '%s': type: found %s, expected f32 or f64", g->shown, kv->offset,
                        key, fal_gguf_type_name(kv->type));
    *out = (float)kv->v.f;
    return FAL_OK;
}
