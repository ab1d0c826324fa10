/* What the parts of the GGUF reader share among themselves; everybody else includes harness/gguf.h. */
#ifndef FAL_GGUF_PARSE_H
#define FAL_GGUF_PARSE_H

#include "harness/gguf.h"

/* A file being read, then read. The public part stands first, so that a pointer to it is a pointer to all. */
typedef struct {
    fal_gguf pub;
    void *map; /* NULL when the bytes belong to the caller */
    char *path, *shown;
    fal_gguf_kv *kv;
    fal_tensor *tensors;
    uint64_t *info_offset; /* [n_tensors] where each tensor description starts, for messages */
    size_t *kv_by_key, *tensor_by_name;
    size_t kv_cap, tensor_cap;
} fal_gguf_file;

/* The only way to bytes of the file is fal_gguf_take; object says whose bytes they are. */
typedef struct {
    fal_gguf_file *file;
    const unsigned char *base;
    uint64_t size, pos;
    char object[512];
    fal_error *err;
} fal_gguf_cursor;

extern const char fal_gguf_hint_broken[]; /* the hint when a part has no better one */

/* what    FAL_ERR_INPUT with "file: offset: object: field: text"; hint NULL stands for fal_gguf_hint_broken. */
fal_status fal_gguf_bad(const fal_gguf_cursor *c, uint64_t at, const char *field, const char *hint, const char *fmt,
                        ...) __attribute__((format(printf, 5, 6)));
fal_status fal_gguf_no_memory(const fal_gguf_cursor *c);
/* what    Names the object of the following messages: what 'name', escaped and cut. */
void fal_gguf_object(fal_gguf_cursor *c, const char *what, const char *name, uint64_t len);

/* what    The next n bytes, or NULL and a message when the file has fewer left. */
const unsigned char *fal_gguf_take(fal_gguf_cursor *c, uint64_t n, const char *field);
fal_status fal_gguf_take_u32(fal_gguf_cursor *c, const char *field, uint32_t *out);
fal_status fal_gguf_take_u64(fal_gguf_cursor *c, const char *field, uint64_t *out);
/* what    A length in [min, max] and that many bytes of UTF-8, which *out points at. */
fal_status fal_gguf_take_text(fal_gguf_cursor *c, const char *length_field, const char *field, uint64_t min,
                              uint64_t max, const char **out, uint64_t *len);

/* what    Makes room for element number used in a table; false when memory ran out. */
bool fal_gguf_grow(void **table, size_t *cap, size_t used, size_t element);
/* what    Indices 0..n-1 of a table in the given order (qsort_r); NULL when memory ran out.
   owns    the array belongs to the caller (free) */
size_t *fal_gguf_sorted(void *table, size_t n, int (*order)(const void *, const void *, void *));

/* what    The two halves of a file: header and metadata, which leaves the number of tensor descriptions to read; then
           those descriptions and the places of their data. */
fal_status fal_gguf_read_metadata(fal_gguf_cursor *c, uint64_t *n_tensors);
fal_status fal_gguf_read_tensors(fal_gguf_cursor *c, uint64_t n_tensors);

#endif
