/* Writes observation files: data first, in any order and in pieces, then the header into the space kept for it. */
#include "harness/observation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Space for about beside the tensor table; a larger about costs one move of the data. */
#define ABOUT_SPACE 16384u
#define PIECE       ((size_t)1 << 20)

/* Bytes [from, to) of a tensor that were put. */
typedef struct {
    size_t from, to;
} range;

typedef struct {
    char *name;
    fal_dtype dtype;
    int n_dims;
    int64_t ne[8];
    size_t elem, nbytes;
    uint64_t begin; /* in the data section */
    range *put;     /* sorted, apart from each other */
    size_t n_put, cap_put;
} slot;

struct fal_observation_writer {
    char *path, *temp;
    int fd;
    slot *slots;
    size_t n, cap;
    size_t *table, table_size;   /* open addressing: index + 1 into slots, 0 when free */
    uint64_t data_at, data_size; /* 0 until the first byte is put */
    bool begun;
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [FAL_DTYPE_F32] = { "F32", 4 },
    [FAL_DTYPE_I32] = { "I32", 4 },
    [FAL_DTYPE_U8] = { "U8", 1 },
    [FAL_DTYPE_I64] = { "I64", 8 },
};

static fal_status out_of_memory(const fal_observation_writer *w, fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", w->path);
}

static fal_status write_failed(const fal_observation_writer *w, const char *what, fal_error *err)
{
    return fal_fail(err, FAL_ERR_OUTPUT, "check free space and permissions", "%s: %s: %s", w->temp, what,
                    strerror(errno));
}

fal_status fal_observation_writer_make(const char *path, fal_observation_writer **out, fal_error *err)
{
    fal_observation_writer *w = calloc(1, sizeof *w);
    if (!w) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
    w->fd = -1;
    fal_status st = FAL_OK;
    struct stat sb;
    const size_t len = strlen(path);
    w->path = strdup(path);
    w->temp = malloc(len + sizeof ".tmp");
    if (!w->path || !w->temp) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
        goto out;
    }
    memcpy(w->temp, path, len);
    memcpy(w->temp + len, ".tmp", sizeof ".tmp");
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode)) {
        st = fal_fail(err, FAL_ERR_OUTPUT, "name another file", "%s: exists and is not a regular file", path);
        goto out;
    }
    w->fd = open(w->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        st = write_failed(w, "cannot be created", err);
        goto out;
    }
    /* From here on the name stands for this observation: an older file must never be taken for its result. */
    if (unlink(path) != 0 && errno != ENOENT)
        st = fal_fail(err, FAL_ERR_OUTPUT, "remove the file by hand", "%s: the old file cannot be removed: %s", path,
                      strerror(errno));
out:
    if (st)
        fal_observation_writer_free(w);
    else
        *out = w;
    return st;
}

void fal_observation_writer_free(fal_observation_writer *w)
{
    if (!w) return;
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temp);
    }
    for (size_t i = 0; i < w->n; i++) {
        free(w->slots[i].name);
        free(w->slots[i].put);
    }
    free(w->slots);
    free(w->table);
    free(w->temp);
    free(w->path);
    free(w);
}

/* The table cell of a name: where it is, or the free cell where it would be. */
static size_t *cell_of(const fal_observation_writer *w, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    size_t i = (size_t)(h ^ h >> 32) & (w->table_size - 1);
    while (w->table[i] && strcmp(w->slots[w->table[i] - 1].name, name) != 0) i = (i + 1) & (w->table_size - 1);
    return &w->table[i];
}

static bool grow(fal_observation_writer *w)
{
    const size_t cap = w->cap ? 2 * w->cap : 64;
    slot *slots = realloc(w->slots, cap * sizeof *slots);
    if (!slots) return false;
    w->slots = slots;
    size_t *table = calloc(2 * cap, sizeof *table); /* cap is a power of two; at most half full */
    if (!table) return false;
    free(w->table);
    w->table = table;
    w->table_size = 2 * cap;
    w->cap = cap;
    for (size_t i = 0; i < w->n; i++) *cell_of(w, w->slots[i].name) = i + 1;
    return true;
}

fal_status fal_observation_declare(fal_observation_writer *w, const char *name, fal_dtype dtype, int n_dims,
                                   const int64_t *ne, fal_error *err)
{
    if (w->begun)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: tensor '%s' declared after the first put", w->path, name);
    if ((unsigned)dtype >= sizeof dtypes / sizeof dtypes[0] || n_dims < 0 || n_dims > 8 || !name[0] ||
        strcmp(name, "__metadata__") == 0)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: tensor '%s': dtype %d, %d dimensions", w->path, name,
                        (int)dtype, n_dims);
    size_t bytes = dtypes[dtype].bytes;
    for (int d = 0; d < n_dims; d++)
        if (ne[d] < 0 || __builtin_mul_overflow(bytes, (uint64_t)ne[d], &bytes) || bytes > INT64_MAX)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: tensor '%s': the size in bytes overflows", w->path, name);
    if (w->n == w->cap && !grow(w)) return out_of_memory(w, err);
    size_t *cell = cell_of(w, name);
    if (*cell) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: tensor '%s' declared twice", w->path, name);
    slot *s = &w->slots[w->n];
    *s = (slot){ .name = strdup(name), .dtype = dtype, .n_dims = n_dims, .elem = dtypes[dtype].bytes, .nbytes = bytes };
    if (!s->name) return out_of_memory(w, err);
    if (n_dims > 0) memcpy(s->ne, ne, (size_t)n_dims * sizeof *ne);
    *cell = ++w->n;
    return FAL_OK;
}

static fal_status write_all(const fal_observation_writer *w, uint64_t at, const void *data, size_t n, fal_error *err)
{
    const char *p = data;
    while (n > 0) {
        const ssize_t done = pwrite(w->fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return write_failed(w, "cannot be written", err);
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return FAL_OK;
}

static uint64_t round_up(uint64_t n)
{
    return (n + 4095) / 4096 * 4096;
}

/* Larger elements first, so that all data is aligned for its type without padding, which the format does not allow. */
static fal_status begin(fal_observation_writer *w, fal_error *err)
{
    uint64_t at = 0, header = ABOUT_SPACE;
    for (size_t elem = 8; elem > 0; elem /= 2)
        for (size_t i = 0; i < w->n; i++) {
            slot *s = &w->slots[i];
            if (s->elem != elem) continue;
            s->begin = at;
            if (__builtin_add_overflow(at, s->nbytes, &at) || at > INT64_MAX / 2)
                return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: the sum of all tensors overflows", w->path);
            header += strlen(s->name) + 64 + 22 * ((uint64_t)s->n_dims + 2);
        }
    w->data_at = round_up(8 + header);
    w->data_size = at;
    w->begun = true;
    return FAL_OK;
}

/* Notes that [from, to) was put: merged with the ranges that it touches. */
static bool note(slot *s, size_t from, size_t to)
{
    size_t a = 0;
    while (a < s->n_put && s->put[a].to < from) a++;
    size_t b = a;
    while (b < s->n_put && s->put[b].from <= to) b++;
    if (a == b) {
        if (s->n_put == s->cap_put) {
            const size_t cap = s->cap_put ? 2 * s->cap_put : 4;
            range *put = realloc(s->put, cap * sizeof *put);
            if (!put) return false;
            s->put = put;
            s->cap_put = cap;
        }
        memmove(&s->put[a + 1], &s->put[a], (s->n_put - a) * sizeof *s->put);
        s->put[a] = (range){ from, to };
        s->n_put++;
        return true;
    }
    if (s->put[a].from < from) from = s->put[a].from;
    if (s->put[b - 1].to > to) to = s->put[b - 1].to;
    s->put[a] = (range){ from, to };
    memmove(&s->put[a + 1], &s->put[b], (s->n_put - b) * sizeof *s->put);
    s->n_put -= b - a - 1;
    return true;
}

fal_status fal_observation_put(fal_observation_writer *w, const char *name, size_t at, const void *data, size_t n,
                               fal_error *err)
{
    if (!w->begun) {
        const fal_status st = begin(w, err);
        if (st) return st;
    }
    const size_t cell = w->n ? *cell_of(w, name) : 0;
    if (!cell) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: tensor '%s' was not declared", w->path, name);
    slot *s = &w->slots[cell - 1];
    if (at > s->nbytes || n > s->nbytes - at)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: tensor '%s': %zu bytes at %zu, but it has %zu", w->path, name,
                        n, at, s->nbytes);
    if (n == 0) return FAL_OK;
    if (!note(s, at, at + n)) return out_of_memory(w, err);
    return write_all(w, w->data_at + s->begin + at, data, n, err);
}

const char *fal_observation_unput(const fal_observation_writer *w, size_t *bytes)
{
    const char *first = NULL;
    *bytes = 0;
    for (size_t i = 0; i < w->n; i++) {
        const slot *s = &w->slots[i];
        size_t put = 0;
        for (size_t k = 0; k < s->n_put; k++) put += s->put[k].to - s->put[k].from;
        if (put != s->nbytes && !first) first = s->name;
        *bytes += s->nbytes - put;
    }
    return first;
}

static fal_status fill_gaps(const fal_observation_writer *w, char *piece, fal_error *err)
{
    memset(piece, 0xff, PIECE);
    for (size_t i = 0; i < w->n; i++) {
        const slot *s = &w->slots[i];
        size_t at = 0;
        for (size_t k = 0; k <= s->n_put; k++) {
            const size_t end = k < s->n_put ? s->put[k].from : s->nbytes;
            while (at < end) {
                const size_t n = end - at < PIECE ? end - at : PIECE;
                const fal_status st = write_all(w, w->data_at + s->begin + at, piece, n, err);
                if (st) return st;
                at += n;
            }
            if (k < s->n_put) at = s->put[k].to;
        }
    }
    return FAL_OK;
}

static json_t *make_header(const fal_observation_writer *w, json_t *about)
{
    json_t *header = json_object();
    char *text = json_dumps(about, JSON_COMPACT);
    bool ok = header && text;
    ok = ok && json_object_set_new(header, "__metadata__", json_pack("{s:s}", "about", text)) == 0;
    for (size_t i = 0; ok && i < w->n; i++) {
        const slot *s = &w->slots[i];
        json_t *shape = json_array();
        for (int d = 0; d < s->n_dims; d++) ok = json_array_append_new(shape, json_integer(s->ne[d])) == 0 && ok;
        /* json_pack takes shape over, also when it fails. */
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[s->dtype].name, "shape", shape,
                                  "data_offsets", (json_int_t)s->begin, (json_int_t)(s->begin + s->nbytes));
        ok = json_object_set_new(header, s->name, entry) == 0 && ok;
    }
    free(text);
    if (ok) return header;
    json_decref(header);
    return NULL;
}

/* Moves the data section up, last piece first, so that a longer header fits before it. */
static fal_status move_data(fal_observation_writer *w, uint64_t to, char *piece, fal_error *err)
{
    uint64_t left = w->data_size;
    while (left > 0) {
        const size_t n = left < PIECE ? (size_t)left : PIECE;
        left -= n;
        for (size_t done = 0; done < n;) {
            const ssize_t got = pread(w->fd, piece + done, n - done, (off_t)(w->data_at + left + done));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return write_failed(w, "cannot be read back", err);
            done += (size_t)got;
        }
        const fal_status st = write_all(w, to + left, piece, n, err);
        if (st) return st;
    }
    w->data_at = to;
    return FAL_OK;
}

static fal_status write_header(fal_observation_writer *w, const char *text, char *piece, fal_error *err)
{
    const size_t len = strlen(text);
    fal_status st = FAL_OK;
    if (8 + (uint64_t)len > w->data_at) st = move_data(w, round_up(8 + len), piece, err);
    if (st) return st;
    const uint64_t header = w->data_at - 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(header >> (8 * i));
    st = write_all(w, 0, length, sizeof length, err);
    if (!st) st = write_all(w, 8, text, len, err);
    memset(piece, ' ', PIECE);
    for (uint64_t at = 8 + len; !st && at < w->data_at;) {
        const size_t n = w->data_at - at < PIECE ? (size_t)(w->data_at - at) : PIECE;
        st = write_all(w, at, piece, n, err);
        at += n;
    }
    return st;
}

/* A rename lasts only when its folder is on disk as well. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* not every filesystem can; the file itself is safe already */
        close(fd);
    }
    free(folder);
}

fal_status fal_observation_finish(fal_observation_writer *w, json_t *about, fal_error *err)
{
    fal_status st = FAL_OK;
    json_t *header = NULL;
    char *text = NULL, *piece = NULL;

    if (!w->begun) st = begin(w, err);
    if (st) return st;
    if (!json_is_object(about)) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s: about is not a JSON object", w->path);
    header = make_header(w, about);
    text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    piece = malloc(PIECE);
    if (!text || !piece) {
        st = out_of_memory(w, err);
        goto out;
    }
    st = fill_gaps(w, piece, err);
    if (!st) st = write_header(w, text, piece, err);
    if (!st && fsync(w->fd) != 0) st = write_failed(w, "cannot be brought to disk", err);
    if (!st && rename(w->temp, w->path) != 0) st = write_failed(w, "cannot be renamed", err);
    if (!st) {
        close(w->fd);
        w->fd = -1;
        sync_folder(w->path);
    }
out:
    free(piece);
    free(text);
    json_decref(header);
    return st;
}
