/* The driver that runs nothing, for counting what the host code asks of a device. */
#ifndef FAL_CUDA_DRY_H
#define FAL_CUDA_DRY_H

#include "cuda/api.h"

/* what    Fills the table with it: one device, of the size of an H100, on which every call succeeds and nothing happens. A
           kernel that the device code of the program lacks is refused. */
void fal_cu_dry_api(fal_cu_api *api);

#endif
