/* What is known of the CUDA device code without a device: a table that the build makes from what ptxas said. */
#ifndef FAL_CUDA_DEVICE_CODE_H
#define FAL_CUDA_DEVICE_CODE_H

#include "harness/backend.h"

/* Made by falsifiers/cli/device_code.sh (build/cuda/resources.c); each ends with an element of zeros. Weak: a build that
   makes no device code has neither. */
extern const fal_kernel_code fal_cu_code[] __attribute__((weak));
extern const fal_kernel_asked fal_cu_asked[] __attribute__((weak));

/* what    The device_code() of the backend table. */
fal_status fal_cu_device_code(fal_device_code *out, fal_error *err);

#endif
