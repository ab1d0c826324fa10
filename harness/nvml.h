/* Clocks, throttling and memory of an NVIDIA card, from the driver's management library when there is one. */
#ifndef FAL_NVML_H
#define FAL_NVML_H

#include "harness/backend.h"

typedef struct fal_nvml fal_nvml; /* the library, initialised, and one card */

/* What the card says at one moment; a has_ that is false means that this driver does not tell. */
typedef struct {
    bool has_clocks, has_reasons, has_memory;
    unsigned sm_mhz, memory_mhz;
    uint64_t reasons;                 /* why the clocks are not higher, as bits */
    uint64_t total_bytes, used_bytes; /* of the whole card, all processes and the driver together */
} fal_nvml_sample;

/* what    Opens the library (NULL: libnvidia-ml.so.1) and finds the card of that UUID, or of that PCI place.
   refuses no library, a library that lacks a function, a device that is no card of it: FAL_ERR_BLOCKED with the reason
   owns    *out belongs to the caller: fal_nvml_close
   source  NVIDIA Management Library API reference */
fal_status fal_nvml_open(const char *library, const fal_device_info *device, fal_nvml **out, fal_error *err);
void fal_nvml_close(fal_nvml *n);
const char *fal_nvml_driver(const fal_nvml *n); /* version of the kernel driver, or "unknown" */
void fal_nvml_take(fal_nvml *n, fal_nvml_sample *out);

/* what    The reasons among these for which a measured time says nothing about the program: slowdown by the hardware,
           by heat, or by its power supply. A power limit that software set is how a card runs, and not among them. */
uint64_t fal_nvml_slowdowns(uint64_t reasons);
/* what    Their names, separated by commas; "none" for 0. */
void fal_nvml_reasons_text(uint64_t reasons, char *text, size_t size);

#endif
