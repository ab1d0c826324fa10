/* GGUF container reader: a mapped file to key/value pairs and tensor descriptions, everything bounded by the file. */
#ifndef FAL_GGUF_H
#define FAL_GGUF_H

#include "harness/error.h"
#include "harness/type.h"

#include <stdio.h>

typedef enum {
    FAL_GGUF_U8 = 0, FAL_GGUF_I8, FAL_GGUF_U16, FAL_GGUF_I16, FAL_GGUF_U32, FAL_GGUF_I32, FAL_GGUF_F32,
    FAL_GGUF_BOOL, FAL_GGUF_STRING, FAL_GGUF_ARRAY, FAL_GGUF_U64, FAL_GGUF_I64, FAL_GGUF_F64
} fal_gguf_type;

/* A key/value pair; text and array data point into the mapped file and are not terminated. */
typedef struct {
    const char *key;           /* terminated copy */
    fal_gguf_type type;
    uint64_t offset;           /* of the pair in the file */
    union {
        uint64_t u;            /* U8 U16 U32 U64 BOOL */
        int64_t i;             /* I8 I16 I32 I64 */
        double f;              /* F32 F64 */
        struct { const char *data; uint64_t len; } str;
        struct { fal_gguf_type type; uint64_t n; const unsigned char *data; uint64_t nbytes; } arr;
    } v;
} fal_gguf_kv;

typedef struct {
    const char *path;          /* as given */
    const char *shown;         /* path for messages: escaped, and cut at the front when long */
    const unsigned char *base; /* the mapped bytes */
    uint64_t size;
    uint32_t version;          /* 2 or 3 */
    uint32_t alignment;
    uint64_t data_offset;
    uint64_t n_kv, n_tensors;
    const fal_gguf_kv *kv;     /* [n_kv], in file order */
    const fal_tensor *tensors; /* [n_tensors], in file order */
    const size_t *kv_by_key;   /* [n_kv] indices of kv, keys ascending */
    const size_t *tensor_by_name; /* [n_tensors] indices of tensors, names ascending */
} fal_gguf;

/* what    Maps the file read-only and checks all of it but the tensor data. *out is set only on success.
   refuses what is not a regular file, is shorter than 24 bytes, or breaks a rule of the format: FAL_ERR_INPUT with
           file, byte offset, object, field, found and expected
   owns    *out belongs to the caller: fal_gguf_close
   source  GGUF specification v2/v3 (ggml docs/gguf.md) */
fal_status fal_gguf_open(const char *path, fal_gguf **out, fal_error *err);
/* what    The same over bytes that the caller keeps alive; name stands for the file in messages. */
fal_status fal_gguf_open_memory(const void *bytes, size_t size, const char *name, fal_gguf **out, fal_error *err);
void fal_gguf_close(fal_gguf *g);

const fal_gguf_kv *fal_gguf_find_kv(const fal_gguf *g, const char *key);     /* NULL when absent */
const fal_tensor *fal_gguf_find_tensor(const fal_gguf *g, const char *name); /* NULL when absent */
const char *fal_gguf_type_name(fal_gguf_type type);                          /* "u32", "string", ...; never NULL */

/* what    Typed getters: FAL_ERR_INPUT when the key is absent, has another kind of type, or lies outside [min, max].
           get_u32 takes integers of every width, get_f32 F32 and F64 (rounded to f32). */
fal_status fal_gguf_get_u32(const fal_gguf *g, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                            fal_error *err);
fal_status fal_gguf_get_f32(const fal_gguf *g, const char *key, float *out, fal_error *err);

/* what    Prints version, metadata and tensors for a person; all text from the file is escaped. */
void fal_gguf_print(const fal_gguf *g, FILE *f);

#endif
