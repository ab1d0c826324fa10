/* Reads observation files: a safetensors file is mapped and checked completely before anything of it is used. */
#include "harness/observation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format's own limit on the header. */
#define MAX_HEADER 100000000u
/* A request index above this is taken for a part of the name. */
#define MAX_REQUESTS 1000000

static const struct {
    const char *name;
    fal_dtype dtype;
    size_t bytes;
} dtypes[] = {
    { "F32", FAL_DTYPE_F32, 4 },
    { "I32", FAL_DTYPE_I32, 4 },
    { "U8", FAL_DTYPE_U8, 1 },
    { "I64", FAL_DTYPE_I64, 8 },
};

/* One tensor while the header is being checked. */
typedef struct {
    const char *name; /* in the parsed header */
    uint64_t begin, end;
    size_t elem;
    fal_obs_tensor t;
} entry;

typedef struct {
    const char *path;
    const char *map;
    uint64_t size, header, data; /* header: its length; data: bytes of the data section */
} source;

/* Where the header speaks of a tensor: the first place of its quoted name, or the start of the header. */
static unsigned long long place_of(const source *s, const char *name)
{
    const size_t n = strlen(name);
    const char *p = s->map + 8;
    const char *const end = p + s->header;
    while ((p = memmem(p, (size_t)(end - p), name, n))) {
        if (p > s->map + 8 && p[-1] == '"' && p + n < end && p[n] == '"') return (unsigned long long)(p - 1 - s->map);
        p++;
    }
    return 8;
}

#define BAD(s, e, field, hint, ...) bad_tensor((s), (e)->name, (field), (hint), err, __VA_ARGS__)
static fal_status bad_tensor(const source *s, const char *name, const char *field, const char *hint, fal_error *err,
                             const char *fmt, ...) __attribute__((format(printf, 6, 7)));
static fal_status bad_tensor(const source *s, const char *name, const char *field, const char *hint, fal_error *err,
                             const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fal_fail(err, FAL_ERR_INPUT, hint, "%s: byte %llu: tensor '%.120s': %s: %s", s->path, place_of(s, name),
                    name, field, text);
}

static fal_status read_shape(const source *s, entry *e, const json_t *shape, fal_error *err)
{
    if (!json_is_array(shape)) return BAD(s, e, "shape", NULL, "not a list of integers");
    const size_t n_dims = json_array_size(shape);
    if (n_dims > sizeof e->t.ne / sizeof e->t.ne[0])
        return BAD(s, e, "shape", NULL, "%zu dimensions, at most 8 are read", n_dims);
    uint64_t n = 1;
    for (size_t d = 0; d < n_dims; d++) {
        const json_t *v = json_array_get(shape, d);
        if (!json_is_integer(v)) return BAD(s, e, "shape", NULL, "dimension %zu is not an integer", d);
        const json_int_t ne = json_integer_value(v);
        if (ne < 0) return BAD(s, e, "shape", NULL, "dimension %zu is %lld, expected >= 0", d, (long long)ne);
        e->t.ne[d] = ne;
        if (__builtin_mul_overflow(n, (uint64_t)ne, &n)) return BAD(s, e, "shape", NULL, "the product overflows");
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(n, (uint64_t)e->elem, &bytes) || bytes > SIZE_MAX)
        return BAD(s, e, "shape", NULL, "the size in bytes overflows");
    e->t.n_dims = (int)n_dims;
    e->t.n = (size_t)n;
    e->t.nbytes = (size_t)bytes;
    return FAL_OK;
}

static fal_status read_entry(const source *s, entry *e, const json_t *value, fal_error *err)
{
    if (!json_is_object(value)) return BAD(s, e, "entry", NULL, "not an object");
    if (!e->name[0]) return BAD(s, e, "name", NULL, "empty");
    const char *field;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)value, field,
                        v) if (strcmp(field, "dtype") != 0 && strcmp(field, "shape") != 0 &&
                               strcmp(field, "data_offsets") != 0) return BAD(s, e, "entry", NULL,
                                                                              "unknown field '%.60s'", field);

    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (!dtype) return BAD(s, e, "dtype", NULL, "missing, or not a text");
    size_t k = 0;
    while (k < sizeof dtypes / sizeof dtypes[0] && strcmp(dtypes[k].name, dtype) != 0) k++;
    if (k == sizeof dtypes / sizeof dtypes[0])
        return BAD(s, e, "dtype", "convert the tensor to F32", "'%.20s', expected F32, I32, U8 or I64", dtype);
    e->t.dtype = dtypes[k].dtype;
    e->elem = dtypes[k].bytes;

    fal_status st = read_shape(s, e, json_object_get(value, "shape"), err);
    if (st) return st;

    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !json_is_integer(json_array_get(offsets, 0)) ||
        !json_is_integer(json_array_get(offsets, 1)))
        return BAD(s, e, "data_offsets", NULL, "not a list of two integers");
    const json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    const json_int_t end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin)
        return BAD(s, e, "data_offsets", NULL, "[%lld, %lld], expected 0 <= begin <= end", (long long)begin,
                   (long long)end);
    if ((uint64_t)end > s->data)
        return BAD(s, e, "data_offsets", "the file is cut off, or was not written completely",
                   "end %lld lies beyond the %llu data bytes of the file", (long long)end, (unsigned long long)s->data);
    if ((uint64_t)(end - begin) != e->t.nbytes)
        return BAD(s, e, "data_offsets", NULL, "%lld bytes, but dtype and shape make %zu", (long long)(end - begin),
                   e->t.nbytes);
    e->begin = (uint64_t)begin;
    e->end = (uint64_t)end;
    return FAL_OK;
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* Every data byte belongs to exactly one tensor. */
static fal_status check_layout(const source *s, entry *entries, size_t n, fal_error *err)
{
    qsort(entries, n, sizeof *entries, by_offset);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return BAD(s, &entries[i], "data_offsets", NULL, "begin %llu %s the tensor before it, which ends at %llu",
                       (unsigned long long)entries[i].begin, entries[i].begin < at ? "overlaps" : "leaves a gap after",
                       (unsigned long long)at);
        at = entries[i].end;
    }
    if (at != s->data)
        return fal_fail(err, FAL_ERR_INPUT, NULL,
                        "%s: byte %llu: data: %llu bytes after the last tensor, expected none", s->path,
                        (unsigned long long)(8 + s->header + at), (unsigned long long)(s->data - at));
    return FAL_OK;
}

static fal_status read_about(const source *s, const json_t *metadata, json_t **about, fal_error *err)
{
    if (!metadata) {
        *about = json_object();
        return *about ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", s->path);
    }
    if (!json_is_object(metadata))
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte %llu: __metadata__: not an object", s->path,
                        place_of(s, "__metadata__"));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, v) if (!json_is_string(v)) return fal_fail(
        err, FAL_ERR_INPUT, NULL, "%s: byte %llu: __metadata__: '%.60s' is not a text", s->path,
        place_of(s, "__metadata__"), key);
    const json_t *text = json_object_get(metadata, "about");
    if (!text) return read_about(s, NULL, about, err);
    json_error_t je;
    json_t *j = json_loadb(json_string_value(text), json_string_length(text), JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte %llu: __metadata__.about: not JSON: %s (at its byte %d)",
                        s->path, place_of(s, "about"), je.text, je.position);
    if (!json_is_object(j)) {
        json_decref(j);
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte %llu: __metadata__.about: not a JSON object", s->path,
                        place_of(s, "about"));
    }
    *about = j;
    return FAL_OK;
}

/* J of a name "rJ.rest", or -1. */
static int request_of(const char *name)
{
    if (name[0] != 'r' || name[1] < '0' || name[1] > '9') return -1;
    if (name[1] == '0' && name[2] != '.') return -1;
    int j = 0;
    const char *p = name + 1;
    for (; *p >= '0' && *p <= '9'; p++) {
        j = j * 10 + (*p - '0');
        if (j >= MAX_REQUESTS) return -1;
    }
    return *p == '.' && p[1] ? j : -1;
}

static fal_status count_requests(const source *s, fal_observation *o, fal_error *err)
{
    const json_t *requests = json_object_get(o->about, "requests");
    int n = 0;
    const char *last = NULL;
    for (int i = 0; i < o->n_tensors; i++) {
        const int j = request_of(o->tensors[i].name);
        if (j >= n) {
            n = j + 1;
            last = o->tensors[i].name;
        }
    }
    if (json_is_array(requests)) {
        const size_t said = json_array_size(requests);
        if (said > MAX_REQUESTS || (size_t)n > said)
            return fal_fail(err, FAL_ERR_INPUT, NULL,
                            "%s: byte %llu: __metadata__.about: requests: %zu of them, but %s%.120s", s->path,
                            place_of(s, "about"), said, last ? "there is a tensor " : "at most 1000000 are read",
                            last ? last : "");
        n = (int)said;
    } else if (requests) {
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte %llu: __metadata__.about: requests: not a list", s->path,
                        place_of(s, "about"));
    } else if (n == 0 && o->n_tensors > 0) {
        n = 1;
    }
    o->n_requests = n;
    return FAL_OK;
}

/* Points a tensor at its bytes. What the file holds at an address that its type cannot be read from is copied. */
static fal_status place_data(const source *s, const entry *e, fal_obs_tensor *t, fal_error *err)
{
    const char *data = s->map + 8 + s->header + e->begin;
    t->data = data;
    if (e->elem == 1 || (uintptr_t)data % e->elem == 0 || t->nbytes == 0) return FAL_OK;
    void *copy = malloc(t->nbytes);
    if (!copy) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: %zu bytes for tensor '%s'", s->path, t->nbytes, e->name);
    memcpy(copy, data, t->nbytes);
    t->data = copy;
    return FAL_OK;
}

/* Tensors and their names in one block, sorted by name. */
static fal_status keep_tensors(const source *s, fal_observation *o, entry *entries, size_t n, fal_error *err)
{
    size_t bytes = n * sizeof *o->tensors;
    for (size_t i = 0; i < n; i++) bytes += strlen(entries[i].name) + 1;
    o->tensors = calloc(1, bytes ? bytes : 1);
    if (!o->tensors) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: %zu tensors", s->path, n);
    qsort(entries, n, sizeof *entries, by_name);
    char *name = (char *)(o->tensors + n);
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(entries[i].name) + 1;
        o->tensors[i] = entries[i].t;
        memcpy(name, entries[i].name, len);
        o->tensors[i].name = name;
        name += len;
        o->n_tensors++; /* counted one by one: close frees the copies made so far */
        const fal_status st = place_data(s, &entries[i], &o->tensors[i], err);
        if (st) return st;
    }
    return FAL_OK;
}

static fal_status read_header(source *s, fal_observation *o, fal_error *err)
{
    json_t *header = NULL;
    entry *entries = NULL;
    size_t n = 0;
    fal_status st = FAL_OK;

    if (s->size < 8)
        return fal_fail(err, FAL_ERR_INPUT, NULL,
                        "%s: byte 0: header length: the file has %llu bytes, expected at least 8", s->path,
                        (unsigned long long)s->size);
    for (int i = 7; i >= 0; i--) s->header = s->header << 8 | (unsigned char)s->map[i];
    if (s->header > MAX_HEADER || s->header > s->size - 8 || s->header < 2)
        return fal_fail(err, FAL_ERR_INPUT, "is this a safetensors file?",
                        "%s: byte 0: header length: %llu, expected 2 to %llu", s->path, (unsigned long long)s->header,
                        (unsigned long long)(s->size - 8 < MAX_HEADER ? s->size - 8 : MAX_HEADER));
    s->data = s->size - 8 - s->header;
    if (s->map[8] != '{')
        return fal_fail(err, FAL_ERR_INPUT, "is this a safetensors file?",
                        "%s: byte 8: header: starts with byte 0x%02x, expected '{'", s->path, (unsigned char)s->map[8]);

    json_error_t je;
    header = json_loadb(s->map + 8, (size_t)s->header, JSON_REJECT_DUPLICATES, &je);
    if (!header)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte %d: header: not JSON: %s", s->path, 8 + je.position,
                        je.text);
    if (!json_is_object(header)) {
        st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: byte 8: header: not a JSON object", s->path);
        goto out;
    }
    st = read_about(s, json_object_get(header, "__metadata__"), &o->about, err);
    if (st) goto out;

    entries = calloc(json_object_size(header) + 1, sizeof *entries);
    if (!entries) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: %zu tensors", s->path, json_object_size(header));
        goto out;
    }
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        entries[n].name = name;
        st = read_entry(s, &entries[n], value, err);
        if (st) goto out;
        n++;
    }
    st = check_layout(s, entries, n, err);
    if (!st) st = keep_tensors(s, o, entries, n, err);
    if (!st) st = count_requests(s, o, err);
out:
    free(entries);
    json_decref(header);
    return st;
}

fal_status fal_observation_open(const char *path, fal_observation **out, fal_error *err)
{
    fal_status st = FAL_OK;
    fal_observation *o = NULL;
    struct stat sb;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fal_fail(err, FAL_ERR_INPUT, "check the path", "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        st = fal_fail(err, FAL_ERR_INPUT, "check the path", "%s: not a regular file", path);
        goto out;
    }
    o = calloc(1, sizeof *o);
    if (o) o->path = strdup(path);
    if (!o || !o->path) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
        goto out;
    }
    source s = { .path = path, .size = (uint64_t)sb.st_size };
    if (s.size >= 8) {
        o->map = mmap(NULL, (size_t)s.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (o->map == MAP_FAILED) {
            o->map = NULL;
            st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: cannot be mapped: %s", path, strerror(errno));
            goto out;
        }
        o->map_size = (size_t)s.size;
    }
    s.map = o->map;
    st = read_header(&s, o, err);
out:
    close(fd);
    if (st)
        fal_observation_close(o);
    else
        *out = o;
    return st;
}

void fal_observation_close(fal_observation *o)
{
    if (!o) return;
    const uintptr_t map = (uintptr_t)o->map;
    for (int i = 0; i < o->n_tensors; i++) {
        const uintptr_t p = (uintptr_t)o->tensors[i].data;
        if (p < map || p > map + o->map_size) free((void *)p);
    }
    free(o->tensors);
    json_decref(o->about);
    if (o->map) munmap(o->map, o->map_size);
    free(o->path);
    free(o);
}

static int name_against(const void *name, const void *tensor)
{
    return strcmp(name, ((const fal_obs_tensor *)tensor)->name);
}

const fal_obs_tensor *fal_observation_find(const fal_observation *o, int request, const char *name)
{
    char full[512];
    const int n = snprintf(full, sizeof full, "r%d.%s", request, name);
    const fal_obs_tensor *t = NULL;
    if (request < 0 || o->n_tensors == 0) return NULL;
    if (n > 0 && (size_t)n < sizeof full)
        t = bsearch(full, o->tensors, (size_t)o->n_tensors, sizeof *o->tensors, name_against);
    if (t || o->n_requests > 1 || request != 0) return t;
    return bsearch(name, o->tensors, (size_t)o->n_tensors, sizeof *o->tensors, name_against);
}

enum { AROUND = 1 << 16 };

void fal_observation_let_go(const fal_observation *o, const fal_obs_tensor *t)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), map = (uintptr_t)o->map, end = map + o->map_size;
    uintptr_t from = (uintptr_t)t->data;
    const uintptr_t to = from + t->nbytes;
    if (from < map || to > end || t->nbytes == 0) return; /* a copy, because the file's alignment was odd */
    from -= from - map < AROUND ? from - map : AROUND; /* a fault brings neighbours along, also those that were let go */
    madvise((void *)(from / page * page), to - from / page * page, MADV_DONTNEED);
}
