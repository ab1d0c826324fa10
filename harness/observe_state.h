/* What an observing process keeps from spec to spec, and what the kinds of observation share; for the observe_*.c files. */
#ifndef FAL_OBSERVE_STATE_H
#define FAL_OBSERVE_STATE_H

#include "harness/observe.h"

#include <sys/stat.h>

/* The device, model and session of the last spec: the next one mostly wants the same, and opening them can take longer
   than running. Anything that fails closes all of it, so that a fault cannot reach the next observation. */
typedef struct {
    char *progress;              /* where a parent reads how far this process got; may be NULL */
    size_t progress_size;
    const fal_backend *backend;
    char variant[32], device[128];
    bool dry;                    /* opened without a device: what the host would ask for is counted, nothing runs */
    char mutant[64];             /* planted in the backend; empty for none */
    fal_context *ctx;
    fal_model *model;
    char *model_path;
    struct stat model_stat;      /* the file that was opened: a replaced one is opened anew */
    fal_session *session;
    int n_ctx;                   /* of the session */
    fal_known_file known;        /* digest of the last model, kept when it is closed */
} fal_observe_state;

/* what    As fal_observe, with what earlier calls left open. */
fal_status fal_observe_in(fal_observe_state *s, const fal_spec *spec, fal_error *err);
void fal_observe_close(fal_observe_state *s);

/* what    Notes where the process is, for the message about a crash. */
void fal_observe_mark(fal_observe_state *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
double fal_observe_now(void); /* seconds of a clock that never jumps */

fal_status fal_observe_open_device(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_open_model(fal_observe_state *s, const char *path, fal_error *err);
/* what    A session with room for n_ctx positions at least. */
fal_status fal_observe_open_session(fal_observe_state *s, int n_ctx, fal_error *err);
void fal_observe_close_session(fal_observe_state *s);

/* what    The kernel launches so far: {name: count}, or {} for a backend that counts none. Owned by the caller. */
json_t *fal_observe_launches(const fal_observe_state *s);
/* what    Writes about (falsify, asked, ran, requests, memory and, when not NULL, extra under its name) and finishes w.
           requests, before (launches when the observation began) and extra are taken over, also on failure. */
fal_status fal_observe_finish(fal_observe_state *s, const fal_spec *spec, fal_observation_writer *w, json_t *requests,
                              const fal_memory *memory, json_t *before, const char *extra_name, json_t *extra, fal_error *err);

/* what    Whether the globs of a spec name this site of this layer (-1 for sites of scope MODEL). */
bool fal_observe_taps(const fal_spec *spec, fal_site site, int layer);
/* what    Writes the name of a site's tensor: "rJ.blk.N.site", or without prefix when request is -1. */
void fal_observe_site_name(char name[96], int request, fal_site site, int layer);
/* what    Its shape: dimensions into ne, their number as the result. */
int fal_observe_site_shape(fal_site site, const fal_config *c, int64_t n_tokens, int64_t ne[3]);
/* what    Refuses a glob that matches no site of a model of n_layer layers: FAL_ERR_USAGE. */
fal_status fal_observe_check_taps(const fal_spec *spec, int n_layer, fal_error *err);

/* The kinds; the device is open. */
fal_status fal_observe_forward(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_op(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_preload(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_refusal(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_throughput(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_trial(fal_observe_state *s, const fal_spec *spec, fal_error *err);
/* The one that opens nothing. */
fal_status fal_observe_device_code(const fal_spec *spec, fal_error *err);
fal_status fal_observe_launch_counts(fal_observe_state *s, const fal_spec *spec, fal_error *err);
fal_status fal_observe_sanitize(fal_observe_state *s, const fal_spec *spec, fal_error *err);
/* what    {name, vendor, driver, uuid, slug, is_cpu} of the open device; NULL when memory ran out. */
json_t *fal_observe_device_to_json(const fal_observe_state *s);

#endif
