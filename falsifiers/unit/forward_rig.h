/* A model on the reference with a session, for tests of whole forward passes, and a recorder for its taps. */
#ifndef FAL_FORWARD_RIG_H
#define FAL_FORWARD_RIG_H

#include "reference/reference.h"

#define FAL_RIG_MODEL "falsifiers/models/austen-moe-Q4_K_M.gguf"

enum { FAL_RIG_MAX_LAYERS = 8 };

/* Whatever fails here ends the running test. */

typedef struct {
    fal_model *model;
    fal_context *ctx;
    fal_session *session;
    const fal_config *config;
} fal_rig;

fal_rig fal_rig_open(int n_ctx); /* the shipped model */
fal_rig fal_rig_open_model(const char *path, int n_ctx);
void fal_rig_close(fal_rig *r);
void fal_rig_ok(fal_status st, const fal_error *e);
size_t fal_rig_row_bytes(const fal_config *c, int site); /* of one token at a site */
int fal_rig_largest(const float *x, int n);              /* index of the largest, the lower one of equals */

/* Keeps what give() showed: data[site][layer] is [n_tokens, elements]; layer 0 for sites of the model. */
typedef struct {
    const fal_config *config;
    int n_tokens, n_rows[FAL_N_SITES][FAL_RIG_MAX_LAYERS];
    unsigned char *data[FAL_N_SITES][FAL_RIG_MAX_LAYERS];
    bool wanted[FAL_N_SITES];
    /* what to put in: at this site and layer, these rows of the whole request */
    int force_site, force_layer;
    const unsigned char *force;
    const int32_t *pin; /* [n_tokens, n_expert_used] for every layer */
    /* order of what was shown */
    int last_first, last_step;
    bool in_order;
    int fail_at; /* give() fails at this site in the last layer, or -1 */
} fal_recorder;

fal_recorder fal_recorder_make(const fal_config *c, int n_tokens);
void fal_recorder_want_all(fal_recorder *r);
void fal_recorder_free(fal_recorder *r);
fal_taps fal_recorder_taps(fal_recorder *r);
/* what    All rows of a site as f32; all of them must have been shown. */
const float *fal_recorder_f32(const fal_recorder *r, fal_site site, int layer);
/* what    Whether two recorders saw the same bits: must, and do not. */
void fal_recorder_same(const fal_recorder *a, const fal_recorder *b, int site, int layer);
bool fal_recorder_differs(const fal_recorder *a, const fal_recorder *b, int site, int layer);

/* what    A forward pass with the recorder's taps (none when r is NULL), which may fail; and one that may not, which
           gives the next token; and the same after a reset. */
fal_status fal_rig_try(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n, int32_t *next, fal_error *e);
int32_t fal_rig_run(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n);
int32_t fal_rig_run_fresh(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n);

#endif
