/* Seeded tensor blocks: the bytes of block b of a tensor depend on nothing but seed, tensor and b. */
#ifndef FAL_SYNTH_FILL_H
#define FAL_SYNTH_FILL_H

#include "harness/type.h"

/* How a tensor is filled: weights of standard deviation std around mean (F32 only: norms around mean). */
typedef struct {
    uint32_t type;    /* F32, Q4_K or Q6_K */
    float std, mean;
    uint64_t key;     /* seed and tensor name, mixed */
} fal_synth_fill;

/* what    Writes n blocks (F32: n values), the first being block `first` of the tensor, to out. */
void fal_synth_blocks(const fal_synth_fill *f, uint64_t first, uint64_t n, unsigned char *out);
/* what    A key from seed and name. */
uint64_t fal_synth_key(uint64_t seed, const char *name);

#endif
