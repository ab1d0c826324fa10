/* Spoilt inputs: model files and requests with one fault each, which every backend must refuse. */
#ifndef FAL_SPOIL_H
#define FAL_SPOIL_H

#include "harness/gguf.h"

typedef enum {
    FAL_SPOIL_NONE,    /* not a name of a spoil */
    FAL_SPOIL_MODEL,   /* arch dense_name missing_tensor misshapen truncated unknown_type no_layers top_k_over_experts zero_experts */
    FAL_SPOIL_REQUEST, /* no_tokens token_negative token_too_large context_overflow */
    FAL_SPOIL_OP       /* expert_id_out_of_range shape_zero */
} fal_spoil_kind;

fal_spoil_kind fal_spoil_kind_of(const char *name);
/* what    The names of all spoils. */
const char *const *fal_spoil_names(int *n);

/* what    Writes a copy of an opened model file with the fault of that name. The metadata is rewritten; tensor data is a
           hole of the same size (reads as zeros), so that a copy of a large model costs nothing: each of these faults must
           be found before any weight is looked at.
   refuses a name that is not of kind MODEL, a model that lacks what is to be spoilt: FAL_ERR_INPUT; FAL_ERR_OUTPUT */
fal_status fal_spoil_model(const fal_gguf *g, const char *name, const char *path, fal_error *err);

#endif
