/* Ranges for a profiler of NVIDIA (NVTX): which op the host is at, one range after the other. */
#ifndef FAL_NVTX_H
#define FAL_NVTX_H

#include "harness/error.h"

typedef struct fal_nvtx fal_nvtx;

/* what    Opens the library: NULL for libnvToolsExt.so.1, else libnvtx3interop.so of the CUDA toolkit.
   refuses when there is none: FAL_ERR_BLOCKED
   owns    *out belongs to the caller: fal_nvtx_close, which also ends the open range */
fal_status fal_nvtx_open(const char *library, fal_nvtx **out, fal_error *err);
/* what    Ends the open range and, unless name is NULL, begins one of that name. */
void fal_nvtx_next(fal_nvtx *n, const char *name);
void fal_nvtx_close(fal_nvtx *n);

#endif
