/* A candidate as falsify sees it: the process that runs it, and calls made there; for the files that put it on trial. */
#ifndef FAL_CANDIDATE_PARTS_H
#define FAL_CANDIDATE_PARTS_H

#include "harness/backend.h"
#include "harness/declaration.h"
#include "harness/fenced.h"

typedef enum { FAL_FORM_SO, FAL_FORM_CL, FAL_FORM_CUDA } fal_form;

/* What stands on a command line about a candidate, and what follows from it. */
typedef struct {
    fal_form form;
    const char *path;
    const char *backend; /* whose devices it runs on: "reference" (the CPU) for a shared object, "opencl", "cuda" */
    char sha256[65];
    fal_declaration declared;
} fal_candidate_file;

/* what    The whole file with a 0 behind it, *n bytes; NULL when it cannot be read or is larger than 256 MiB.
   owns    what it returns: free */
char *fal_candidate_read(const char *path, size_t *n);
/* what    Finds the form from the end of the name, the digest, and what it declares to compute with.
   refuses another ending with FAL_ERR_USAGE; a file that cannot be read, or a declaration that is none, with FAL_ERR_INPUT */
fal_status fal_candidate_look(const char *path, fal_candidate_file *out, fal_error *err);
/* what    A device that runs it, named after both: the slug becomes "<file>-<digest>-<device>". */
void fal_candidate_name_device(const fal_candidate_file *file, fal_device_info *device);

/* what    Loads it in a process of its own and ends that.
   refuses a file that does not hold what harness/candidate.h demands for the op: FAL_ERR_INPUT */
fal_status fal_candidate_try(const char *path, const char *op, int device, fal_error *err);

extern const fal_backend fal_candidate_backend; /* "candidate"; not among fal_backend_all */

/* ---- for trials: the context is one of fal_candidate_backend --------------------------------------------------------- */

const fal_candidate_file *fal_candidate_file_of(const fal_context *ctx);
const char *fal_candidate_selector(const fal_context *ctx); /* of the device under it */
/* what    Makes the memory known to the candidate's process, at an address that it had no reason to expect. */
fal_status fal_candidate_map(fal_context *ctx, const fal_fenced *m, fal_error *err);
/* what    Sends a request and waits for its answer, however long that takes (whoever started this process has a limit).
           seconds (may be NULL): of a RUN.
   refuses a call that it declines: FAL_ERR_BLOCKED; one that it fails: FAL_ERR_INPUT; a process that ended: FAL_ERR_DEVICE */
fal_status fal_candidate_ask(fal_context *ctx, fal_wire_what what, const fal_wire_call *calls, int n, double *seconds,
                             fal_error *err);
/* what    RUN, and GET: afterwards the arrays are as they were when the candidate said that it was done. The process of a shared
           object is stopped then, until it is asked again or resumed; the host side of the other forms is ours. */
fal_status fal_candidate_run(fal_context *ctx, const fal_wire_call *calls, int n, double *seconds, fal_error *err);
void fal_candidate_pause(fal_context *ctx);
void fal_candidate_resume(fal_context *ctx);
/* what    Ends its process: whatever it left running must not run beside what is measured next. No more can be asked then. */
void fal_candidate_end(fal_context *ctx);
/* what    Finds places for the arrays of a call, without anything in them. share (may be NULL): offsets
           of arrays that lie there already, by field; 0 places it anew. */
fal_status fal_candidate_place(const fal_call *c, fal_fenced *m, const uint64_t *share, fal_wire_call *out,
                               fal_error *err);
/* what    Copies the inputs of a call to their places, but for those that are kept, and fills the outputs with 0xFF. */
void fal_candidate_fill(const fal_call *c, fal_fenced *m, const fal_wire_call *w);
/* what    Bytes of inputs that are no longer those of c, and of guard zones that were written; notes each array as a breach. */
size_t fal_candidate_changed(fal_context *ctx, const fal_call *c, const fal_fenced *m, const fal_wire_call *w);
size_t fal_candidate_strayed(fal_context *ctx, const fal_call *c, const fal_fenced *m, const fal_wire_call *w);
/* what    The outputs, copied to where the fields of c point. */
void fal_candidate_take(const fal_call *c, const fal_fenced *m, const fal_wire_call *w);
size_t fal_candidate_room(const fal_call *c); /* for all arrays of a call */

/* what    Serves the calls of an OpenCL or CUDA candidate in this process (falsify observe --host). */
int fal_candidate_serve(int argc, char **argv);

#endif
