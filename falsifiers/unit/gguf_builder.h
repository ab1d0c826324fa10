/* Builds GGUF files in memory for tests: byte by byte for broken ones, by names and values for sound ones. */
#ifndef FAL_GGUF_BUILDER_H
#define FAL_GGUF_BUILDER_H

#include "harness/model.h"

/* ---- bytes: whatever a broken file may hold; running out of memory ends the test program ------------------------ */

typedef struct {
    unsigned char *data;
    size_t len, cap;
} fal_bytes; /* zero-initialise */

void fal_bytes_add(fal_bytes *b, const void *p, size_t n);
void fal_bytes_u8(fal_bytes *b, uint8_t v);
void fal_bytes_u16(fal_bytes *b, uint16_t v);
void fal_bytes_u32(fal_bytes *b, uint32_t v);
void fal_bytes_u64(fal_bytes *b, uint64_t v);
void fal_bytes_f32(fal_bytes *b, float v);
void fal_bytes_fill(fal_bytes *b, unsigned char byte, size_t n);
void fal_bytes_pad(fal_bytes *b, size_t alignment);         /* zeros up to a multiple of alignment */
void fal_bytes_text(fal_bytes *b, const char *s, size_t n); /* u64 length and n bytes */
void fal_bytes_free(fal_bytes *b);
/* what    Header, the start of a pair (key and value type), a tensor description: as written, right or wrong. */
void fal_bytes_gguf_header(fal_bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv);
void fal_bytes_gguf_key(fal_bytes *b, const char *key, uint32_t type);
void fal_bytes_gguf_tensor(fal_bytes *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                           uint64_t offset);

/* ---- builder: a sound file as a list of pairs and tensors that a test changes before it is written -------------- */

typedef struct {
    char key[96];
    uint32_t type;   /* fal_gguf_type */
    fal_bytes value; /* as stored in the file */
} fal_builder_kv;

typedef struct {
    char name[96];
    uint32_t type;
    int n_dims;
    uint64_t ne[4];
    fal_bytes data;
} fal_builder_tensor;

typedef struct {
    fal_builder_kv *kv;
    fal_builder_tensor *tensors;
    size_t n_kv, n_tensors;
    uint32_t alignment; /* 0 stands for 32 */
} fal_builder;          /* zero-initialise */

/* what    Sets a pair, in place when the key is there already. */
void fal_builder_set(fal_builder *b, const char *key, fal_gguf_type type, const void *value, size_t n);
void fal_builder_set_u32(fal_builder *b, const char *key, uint32_t v);
void fal_builder_set_f32(fal_builder *b, const char *key, float v);
void fal_builder_set_text(fal_builder *b, const char *key, const char *s);
void fal_builder_unset(fal_builder *b, const char *key);
/* what    Adds a tensor of the type with zeroed data; unused extents are 0. The pointer is good until the next call. */
fal_builder_tensor *fal_builder_add(fal_builder *b, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1,
                                    uint64_t ne2);
/* what    Gives a tensor another shape or type, with zeroed data of the size that follows. */
void fal_builder_reshape(fal_builder_tensor *t, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2);
fal_builder_tensor *fal_builder_find(fal_builder *b, const char *name); /* ends the test program when absent */
void fal_builder_remove(fal_builder *b, const char *name);
/* what    Adds all keys and tensors of a qwen3moe model, F32, norms 1, other weights small, different and finite. */
void fal_builder_qwen3moe(fal_builder *b, const fal_config *c);
/* what    The file: version 3, tensors in order and padded, appended to an empty out. */
void fal_builder_write(const fal_builder *b, fal_bytes *out);
void fal_builder_free(fal_builder *b);

/* what    A model of 2 layers that runs in microseconds: n_embd 8, 4 heads of 4, 4 experts, 10 tokens. */
extern const fal_config fal_builder_tiny;

#endif
