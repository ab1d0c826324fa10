/* An arena: memory that is handed out piece by piece and freed as a whole. */
#ifndef FAL_ARENA_H
#define FAL_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fal_arena_block fal_arena_block;

/* Zero-initialise. failed stays set once memory ran out, so that one check at the end suffices. */
typedef struct {
    fal_arena_block *blocks;
    size_t used, cap; /* of the newest block */
    bool failed;
} fal_arena;

/* what    n * size zeroed bytes aligned for any type, or NULL (and failed set). n == 0 gives a valid pointer. */
void *fal_arena_take(fal_arena *a, size_t n, size_t size);
/* what    A terminated copy of n bytes, or NULL. */
char *fal_arena_copy(fal_arena *a, const char *s, size_t n);
void fal_arena_free(fal_arena *a); /* frees and zeroes */

#endif
