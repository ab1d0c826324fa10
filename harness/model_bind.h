/* What the parts of the model loader share among themselves; everybody else includes harness/model.h. */
#ifndef FAL_MODEL_BIND_H
#define FAL_MODEL_BIND_H

#include "harness/model.h"

/* The falsifier that every refusal of a model file upholds: a file is bound completely or refused by name. */
#define FAL_MODEL_CONTRACT "FALSIFY-QW3-MOE-FORWARD-002"

/* what    FAL_ERR_INPUT with "file: text" and FAL_MODEL_CONTRACT. */
fal_status fal_model_refuse(const fal_gguf *g, fal_error *err, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* what    Hands the failure cause on as a refusal of a model. */
fal_status fal_model_refuse_as(const fal_error *cause, fal_error *err);

/* what    The architecture and its configuration; n_vocab is the number of rows of token_embd.weight.
   refuses another architecture, an absent, wrongly typed or unusable value, and any further qwen3moe key that asks for
           a computation other than that of the contract, or whose meaning is not known */
fal_status fal_model_read_config(const fal_gguf *g, fal_config *out, fal_error *err);
/* what    Fills every tensor pointer, tensors, n_tensors and tensor_bytes of m from m->file, by m->config.
   refuses a dense FFN name, a name that is not known, a missing or misshapen tensor, a type that nothing computes */
fal_status fal_model_bind_tensors(fal_model *m, fal_error *err);

#endif
