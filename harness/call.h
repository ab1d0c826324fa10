/* One call of an operation as named values in the order of fal_<op>_args: what can cross a border that C structs cannot. */
#ifndef FAL_CALL_H
#define FAL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* BOOL and TYPE (a fal_type) are integers too; they differ in the size of the C field and for a reader. */
typedef enum { FAL_FIELD_INT, FAL_FIELD_BOOL, FAL_FIELD_TYPE, FAL_FIELD_FLOAT, FAL_FIELD_ARRAY } fal_field_kind;

typedef struct {
    const char *name; /* as in fal_<op>_args */
    fal_field_kind kind;
    int32_t i;  /* INT, BOOL, TYPE */
    float f;    /* FLOAT */
    void *data; /* ARRAY; NULL for one that the call leaves out (pinned_ids of router) */
    size_t nbytes;
    bool is_i32, is_input, is_output; /* both for the KV caches of kv_store */
} fal_field;

enum { FAL_MAX_FIELDS = 16 };

typedef struct {
    const char *op;
    fal_field fields[FAL_MAX_FIELDS];
    int n_fields;
} fal_call;

/* what    The field of that name, or NULL. */
const fal_field *fal_call_find(const fal_call *c, const char *name);
/* what    An integer field, or fallback when the op has none of that name. */
int fal_call_int(const fal_call *c, const char *name, int fallback);
/* what    Whether an array of that name holds weights, in an op that has a type of them (norms have none). */
bool fal_is_weight_name(const char *name);
/* what    Whether the array of that name holds weights in the type of the call. */
bool fal_call_is_weight(const fal_call *c, const char *name);
/* what    Bytes that any implementation of the op must read and write: whole arrays, but of expert weights the chosen
           experts, of an embedding the rows of the tokens, of a KV cache what is visible or stored. */
double fal_call_bytes(const fal_call *c);
/* what    Multiplications and additions, roughly: what the reference will take time for. */
double fal_call_work(const fal_call *c);

#endif
