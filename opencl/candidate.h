/* A candidate's kernels on an OpenCL device, for the process that runs them. */
#ifndef FAL_OPENCL_CANDIDATE_H
#define FAL_OPENCL_CANDIDATE_H

#include "opencl/device.h"

/* what    Opens the device, loads the code (length bytes, with a 0 behind them), and answers requests on the socket until it is
           closed. The first answer says whether code and op fit. Returns an exit status for the process. */
int fal_cl_candidate_serve(int socket, const char *device, const char *code, size_t length, const char *op);
/* what    The time_calls() of the backend table. */
fal_status fal_cl_time_calls(fal_context *ctx, const fal_call *calls, int n, double *seconds, fal_error *err);

#endif
