/* Read bandwidth of an OpenCL device. */
#ifndef FAL_OPENCL_BANDWIDTH_H
#define FAL_OPENCL_BANDWIDTH_H

#include "opencl/device.h"

/* what    The read_bandwidth() of the backend table. */
fal_status fal_cl_read_bandwidth(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err);

#endif
