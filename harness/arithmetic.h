/* Declared arithmetic: what a variant of an operation says it computes with, from which the limits of its error follow. */
#ifndef FAL_ARITHMETIC_H
#define FAL_ARITHMETIC_H

#include "harness/error.h"

#include <jansson.h>
#include <stdbool.h>

/* How activations enter a matrix product. Q8_0: codes of 8 bits with one scale (f16) for 32; Q8_K: one (f32) for 256. */
typedef enum { FAL_ACTIVATION_F32, FAL_ACTIVATION_F16, FAL_ACTIVATION_BF16, FAL_ACTIVATION_Q8_0, FAL_ACTIVATION_Q8_K, FAL_N_ACTIVATIONS } fal_activation;
/* What sums are kept in. I32: codes in int32 under each scale, and f32 over the scales. */
typedef enum { FAL_SUM_F32, FAL_SUM_F64, FAL_SUM_F16, FAL_SUM_BF16, FAL_SUM_I32, FAL_N_SUMS } fal_sum;
/* What keys and values of the cache are rounded to. */
typedef enum { FAL_KV_F32, FAL_KV_F16, FAL_KV_BF16, FAL_N_KVS } fal_kv;

typedef struct {
    fal_activation activation;
    fal_sum sum;
    fal_kv kv;
    bool in_order; /* sums run from the first term to the last; else in any order */
} fal_arithmetic;

/* what    "q8_k", "i32", "f16". */
const char *fal_activation_name(fal_activation a);
const char *fal_sum_name(fal_sum s);
const char *fal_kv_name(fal_kv k);
/* what    "activations q8_k, sums i32, any order", for sentences; kv only where it is not f32. */
void fal_arithmetic_text(const fal_arithmetic *a, char *text, size_t size);
/* what    Reads "activation=q8_k,sum=i32,kv=f16,order=any" over what *out says already; order: any or ascending.
   refuses an unknown key or value: FAL_ERR_USAGE with the ones there are */
fal_status fal_arithmetic_parse(const char *text, fal_arithmetic *out, fal_error *err);
/* what    {"activation": "q8_k", "sum": "i32", "kv": "f32", "order": "any"} and back; false when it holds something else.
           What is left out is float32 in any order. */
json_t *fal_arithmetic_to_json(const fal_arithmetic *a);
bool fal_arithmetic_from_json(const json_t *j, fal_arithmetic *out);

#endif
