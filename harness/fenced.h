/* Arrays in memory shared with the process that runs a candidate: each between guard zones, at an address of its own. */
#ifndef FAL_FENCED_H
#define FAL_FENCED_H

#include "harness/error.h"
#include "harness/wire.h"

typedef struct {
    int fd;
    unsigned char *map;
    size_t size, used;
    uint64_t pattern; /* of the guard zones; drawn, so that nobody can write the same by accident or on purpose */
    uint64_t draw;
} fal_fenced;

/* what    Bytes of the memory that an array of n bytes takes. */
size_t fal_fenced_room(size_t n);
/* what    Memory of that size, all of it guard zone so far.
   owns    *out: fal_fenced_free */
fal_status fal_fenced_make(size_t size, fal_fenced *out, fal_error *err);
void fal_fenced_free(fal_fenced *m);
/* what    A place for n bytes, as offset from the start; 0 when there is no room. Its alignment is 64 and no more. */
uint64_t fal_fenced_take(fal_fenced *m, size_t n);
/* what    Guard bytes before and behind the array that no longer hold the pattern. */
size_t fal_fenced_broken_before(const fal_fenced *m, uint64_t offset);
size_t fal_fenced_broken_behind(const fal_fenced *m, uint64_t offset, size_t n);
/* what    Bytes in which a and b differ. */
size_t fal_bytes_differ(const void *a, const void *b, size_t n);
/* what    Random bits of the system. */
uint64_t fal_random(void);

#endif
