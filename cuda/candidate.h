/* A candidate's kernels on a CUDA device, for the process that runs them. */
#ifndef FAL_CUDA_CANDIDATE_H
#define FAL_CUDA_CANDIDATE_H

#include "cuda/device.h"

/* what    Opens the device, loads the code (length bytes, with a 0 behind them), and answers requests on the socket until it is
           closed. The first answer says whether code and op fit. Returns an exit status for the process. */
int fal_cu_candidate_serve(int socket, const char *device, const char *code, size_t length, const char *op);
/* what    The time_calls() of the backend table. */
fal_status fal_cu_time_calls(fal_context *ctx, const fal_call *calls, int n, double *seconds, fal_error *err);

#endif
