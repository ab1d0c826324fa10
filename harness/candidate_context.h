/* An opened candidate; for the two files that run its process and judge its calls. */
#ifndef FAL_CANDIDATE_CONTEXT_H
#define FAL_CANDIDATE_CONTEXT_H

#include "harness/candidate_parts.h"

#include "harness/text.h"

#include <sys/types.h>

struct fal_context {
    fal_candidate_file file;
    char *path;
    char op[24], selector[128];
    fal_device_info device;
    pid_t pid;
    int socket;
    bool paused;
    uint64_t n_calls;
    fal_text breaches, told;
};

/* what    Starts the process and waits until the candidate is loaded there.
   refuses one that cannot be: FAL_ERR_INPUT */
fal_status fal_candidate_start(fal_context *ctx, fal_error *err);

#endif
