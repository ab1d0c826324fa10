/* An arena: memory that is handed out piece by piece and freed as a whole. */
#include "harness/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct fal_arena_block {
    fal_arena_block *next;
    max_align_t data[];
};

enum { BLOCK_BYTES = 64 * 1024 };

void *fal_arena_take(fal_arena *a, size_t n, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t bytes;
    if (a->failed || __builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2) {
        a->failed = true;
        return NULL;
    }
    bytes = bytes ? (bytes + align - 1) / align * align : align;
    if (!a->blocks || bytes > a->cap - a->used) {
        const size_t cap = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        fal_arena_block *block = calloc(1, sizeof *block + cap);
        if (!block) {
            a->failed = true;
            return NULL;
        }
        if (a->blocks && bytes > BLOCK_BYTES) {
            /* a block of its own behind the newest one, whose free rest stays in use */
            block->next = a->blocks->next;
            a->blocks->next = block;
            return block->data;
        }
        block->next = a->blocks;
        a->blocks = block;
        a->cap = cap;
        a->used = 0;
    }
    void *p = (char *)a->blocks->data + a->used;
    a->used += bytes;
    return p;
}

char *fal_arena_copy(fal_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX) {
        a->failed = true;
        return NULL;
    }
    char *copy = fal_arena_take(a, n + 1, 1);
    if (copy && n > 0) memcpy(copy, s, n);
    return copy;
}

void fal_arena_free(fal_arena *a)
{
    if (!a) return;
    for (fal_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (fal_arena){ 0 };
}
