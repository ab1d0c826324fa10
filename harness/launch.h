/* How a candidate's kernel wants to be launched: one line of text, with expressions over the integer fields of a call. */
#ifndef FAL_LAUNCH_H
#define FAL_LAUNCH_H

#include "harness/error.h"
#include "harness/wire.h"

typedef struct {
    size_t grid[3], block[3]; /* 1 where not given */
    size_t shared_bytes, scratch_bytes;
} fal_launch;

/* what    Evaluates "block=128 grid=cdiv(n_out,4)*n_tokens scratch=..." for a call. harness/candidate.h describes the form.
   refuses a text without block or grid, an unknown word or field, division by 0, a value < 1 (of shared and scratch: < 0) or
           too large: FAL_ERR_INPUT naming the place */
fal_status fal_launch_of(const char *text, const fal_wire_call *c, fal_launch *out, fal_error *err);

/* what    The line after "falsify-launch:" in n bytes of text; false when there is none, or it is longer than the room. */
bool fal_launch_find(const char *text, size_t n, char *line, size_t size);

#endif
