/* Tensor element types of GGUF files, numbered as in ggml, and the one description of a tensor that all parts share. */
#ifndef FAL_TYPE_H
#define FAL_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    FAL_TYPE_F32 = 0,
    FAL_TYPE_F16 = 1,
    FAL_TYPE_Q8_0 = 8,
    FAL_TYPE_Q4_K = 12,
    FAL_TYPE_Q5_K = 13,
    FAL_TYPE_Q6_K = 14,
    FAL_TYPE_I8 = 24,
    FAL_TYPE_I32 = 26,
    FAL_TYPE_BF16 = 30
} fal_type;

typedef struct {
    const char *name;     /* "Q4_K", NULL when the number is not a type (or one that was removed) */
    uint32_t block_elems; /* elements of a block: 1, 32 or 256 */
    uint32_t block_bytes; /* bytes of a block */
    bool computed;        /* reference and backends compute with it (F32, F16, BF16, Q8_0, Q4_K, Q5_K, Q6_K) */
} fal_type_info;

/* what    The row of the type table for a number from a file; its name is NULL when no such type exists. Never NULL.
   source  ggml type numbers and block layouts as published in the GGUF specification */
const fal_type_info *fal_type_get(uint32_t type);
/* what    The type of that name ("q4_k", case does not matter), or -1. */
int fal_type_by_name(const char *name);
/* what    Bytes of a row of n elements: n / block_elems * block_bytes; 0 when n is no multiple or type is unknown. */
size_t fal_type_row_bytes(uint32_t type, size_t n);

/* A tensor as stored in a file; ne[0] is the fastest dimension (columns), ne[1] rows, ne[2] experts. */
typedef struct {
    const char *name; /* terminated, owned by the file it came from */
    uint32_t type;    /* fal_type */
    int n_dims;
    uint64_t ne[4];   /* unused dimensions are 1 */
    const void *data; /* into the mapped file */
    size_t nbytes;
    uint64_t offset;  /* of data from the start of the file */
} fal_tensor;

#endif
