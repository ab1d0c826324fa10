/* Writes a GGUF file of any Qwen3-MoE shape with seeded weights that make every part of the forward pass matter. */
#ifndef FAL_SYNTH_H
#define FAL_SYNTH_H

#include "harness/model.h"

#include <stdbool.h>

typedef struct {
    fal_config config;      /* every field but n_ctx_train must be > 0 */
    uint64_t seed;
    const char *path;       /* file to create; must not exist */
    int n_threads;          /* <= 0: as many as OpenMP offers */
    bool sync;              /* fsync before the file gets its name */
    /* called with bytes done and total from one thread at a time; non-zero return stops. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} fal_synth_options;

typedef struct { uint64_t tensor_bytes, file_bytes; int n_tensors; double seconds, sync_seconds; } fal_synth_result;

/* what    Fills *c with a named shape: "qwen3-coder-30b-a3b" or "austen-moe"; false when there is none of that name. */
bool fal_synth_shape(const char *name, fal_config *c);
const char *const *fal_synth_shapes(void); /* NULL-terminated names */

/* what    Sum of the sizes of the tensors of such a file, without writing it; 0 for a shape that fal_synth_write refuses. */
uint64_t fal_synth_tensor_bytes(const fal_config *c);

/* what    Writes the model: tensor types of a Q4_K_M file (Q4_K; output, and attn_v and ffn_down_exps of the layers that
           get more bits, Q6_K; router and norms F32). Scales are set so that a residual branch has 1 to 50 % of the norm
           of the residual, attention and routing are neither flat nor one-hot, and no expert is preferred.
           Same seed and shape: same bytes, whatever the number of threads. Constant memory.
   refuses a shape whose rows are no multiple of 256, an existing file, a full disk (before writing where the file system
           can reserve): nothing is left under the final name, and no temporary file
   source  layer rule of Q4_K_M: layer i of n gets more bits when i < n/8, i >= 7n/8 or (i - n/8) % 3 == 2 */
fal_status fal_synth_write(const fal_synth_options *o, fal_synth_result *result, fal_error *err);

#endif
