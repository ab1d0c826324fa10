/* Read bandwidth of a CUDA device. */
#ifndef FAL_CUDA_BANDWIDTH_H
#define FAL_CUDA_BANDWIDTH_H

#include "cuda/device.h"

/* what    The read_bandwidth() of the backend table. */
fal_status fal_cu_read_bandwidth(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err);

#endif
