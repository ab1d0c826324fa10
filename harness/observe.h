/* Observing: one spec in, one observation file out; run in a child process that the parent can lose. */
#ifndef FAL_OBSERVE_H
#define FAL_OBSERVE_H

#include "harness/backend.h"
#include "harness/contract.h"
#include "harness/observation.h"

/* What one observation shall hold. Strings are borrowed. As JSON it is one line of an observer's input (fal_spec_to_json). */
typedef struct {
    fal_observe_kind kind;
    const char *backend, *variant, *device; /* variant "" or "cpu"; device "" for the first usable */
    const char *model;                      /* path; NULL for kind op */
    const char *candidate;                  /* file on trial, for backend "candidate"; else NULL */
    /* forward, teacher, pinned */
    const int32_t *const *tokens; const int *n_tokens; int n_requests;
    int n_greedy; bool decode;
    const char *const *taps; int n_taps;    /* globs over site names: "logits", "blk.*.attn", "all" */
    const char *inputs;                     /* observation whose tensors are forced (teacher), or are the inputs (op) */
    const char *pin;                        /* observation whose expert_ids are taken (pinned) */
    /* op */
    const char *op; fal_params shape, with, then; const char *fill; const uint64_t *seeds; int n_seeds;
    /* refusal */
    const char *spoil;
    /* throughput: context, n_tokens, runs, n_ctx in `with`; preload: n_ctx */
    const char *out;                        /* observation file to write */
    const char *mutant, *mutant_code;       /* the fault to plant, and the folder of built mutants; NULL for none */
    bool blocking;                          /* the device is waited for after every kernel */
    bool nvtx;                              /* forward passes are marked op by op for a profiler */
} fal_spec;

/* what    Observes in this process: opens what is needed, runs, writes spec->out.
   refuses an unknown backend, variant, op, fill, tap or spoil name with FAL_ERR_USAGE or FAL_ERR_INPUT. A refusal by the
           candidate itself (kind refusal) is a result, not an error. */
fal_status fal_observe(const fal_spec *spec, fal_error *err);

json_t *fal_spec_to_json(const fal_spec *spec);
/* what    Parses one; the strings live as long as `keep` (owned by the caller, freed with fal_spec_free). */
typedef struct fal_spec_box fal_spec_box;
fal_status fal_spec_from_json(const json_t *j, fal_spec_box **keep, const fal_spec **out, fal_error *err);
void fal_spec_free(fal_spec_box *box);

/* what    The observer's main loop (falsify observe --serve): reads specs as JSON lines on in, observes each, answers one
           JSON line {"status": name, "message", "hint", "contract", "seconds"} per spec on out. */
fal_status fal_observe_serve(FILE *in, FILE *out, fal_error *err);

/* what    Checks that a file is about what was asked: backend and variant that ran, number of requests, every tensor with
           its type and shape, or the preload or refusal record. Looks at no tensor data.
   refuses FAL_ERR_INPUT naming file, request and tensor */
fal_status fal_observation_answers(const fal_observation *o, const fal_spec *spec, fal_error *err);

/* ---- the parent's side -------------------------------------------------------------------------------------------- */

typedef enum { FAL_OUTCOME_DONE, FAL_OUTCOME_REFUSED, FAL_OUTCOME_BLOCKED, FAL_OUTCOME_ERROR, FAL_OUTCOME_CRASHED,
               FAL_OUTCOME_TIMED_OUT, FAL_OUTCOME_NOT_RUN } fal_outcome_kind;
typedef struct {
    fal_outcome_kind kind;
    fal_error error;        /* from the observer, or what killed it: signal, last op, tail of stderr */
    char log_tail[1024];    /* last bytes of the observer's stderr, untrusted */
    double seconds;
    bool device_fault;      /* CRASHED, and the observer lived to tell: the device failed, not the process */
} fal_outcome;

/* A file and its digest. Whoever meets the very same file again need not read all of it again. */
typedef struct {
    uint64_t device, inode, size;
    int64_t mtime_s, mtime_ns;
    char sha256[65]; /* empty: not known */
} fal_known_file;

/* A child process that observes spec after spec for one backend, variant and device; restarted after a crash or a
   timeout, at most 3 times, after which everything left is FAL_OUTCOME_NOT_RUN. */
typedef struct fal_observer fal_observer;
/* what    argv0: the program to execute (own binary); nothing is started before the first observe. */
fal_status fal_observer_make(const char *argv0, fal_observer **out, fal_error *err);
/* what    Tells the child the digest of the model, which is used only while the file's identity is this one. */
void fal_observer_know(fal_observer *o, const fal_known_file *model);
/* what    Observes spec in the child within limit_s seconds; *outcome always tells what happened. Interruptible: when
           *stop becomes non-zero the child is ended and the outcome is FAL_OUTCOME_NOT_RUN. */
void fal_observer_run(fal_observer *o, const fal_spec *spec, double limit_s, const volatile int *stop, fal_outcome *outcome);
void fal_observer_free(fal_observer *o); /* ends the child */

#endif
