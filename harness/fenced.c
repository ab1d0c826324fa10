/* Arrays between guard zones in shared memory, and what became of the zones. */
#include "harness/fenced.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* An array's room: a page that is closed to the candidate, a guard zone and up to a page more of it so that addresses vary,
   the array, a guard zone that reaches to the end of its page. The closed page behind is the next array's. */
enum { PAGE = FAL_WIRE_PAGE, GUARD = FAL_WIRE_GUARD };

uint64_t fal_random(void)
{
    uint64_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) == (ssize_t)sizeof bits) return bits;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_nsec * 0x9e3779b97f4a7c15u + (uint64_t)getpid();
}

size_t fal_fenced_room(size_t n)
{
    return PAGE + GUARD + PAGE + (n + PAGE - 1) / PAGE * PAGE + GUARD + PAGE;
}

static void fill(fal_fenced *m)
{
    uint64_t *words = (uint64_t *)(void *)m->map;
    for (size_t i = 0; i < m->size / sizeof *words; i++) words[i] = m->pattern;
}

fal_status fal_fenced_make(size_t size, fal_fenced *out, fal_error *err)
{
    fal_fenced m = { .fd = memfd_create("falsify-arrays", MFD_CLOEXEC), .size = (size + 2 * PAGE - 1) / PAGE * PAGE };
    void *p = MAP_FAILED;
    if (m.fd >= 0 && ftruncate(m.fd, (off_t)m.size) == 0)
        p = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
    if (p == MAP_FAILED) {
        const fal_status st = fal_fail(err, FAL_ERR_MEMORY, "use a smaller shape", "no shared memory of %zu bytes: %s",
                                       m.size, strerror(errno));
        if (m.fd >= 0) close(m.fd);
        return st;
    }
    m.map = p;
    m.used = PAGE; /* offset 0 stands for no array */
    m.pattern = fal_random() | 0x0101010101010101u;
    m.draw = fal_random();
    fill(&m);
    *out = m;
    return FAL_OK;
}

void fal_fenced_free(fal_fenced *m)
{
    if (m->map) munmap(m->map, m->size);
    if (m->map) close(m->fd);
    *m = (fal_fenced){ .fd = -1 };
}

uint64_t fal_fenced_take(fal_fenced *m, size_t n)
{
    const size_t room = fal_fenced_room(n);
    if (room > m->size - m->used) return 0;
    m->draw = m->draw * 6364136223846793005u + 1442695040888963407u;
    const size_t shift = (size_t)(m->draw >> 40) % (PAGE / 64) * 64;
    const uint64_t at = m->used + PAGE + GUARD + shift;
    m->used += room;
    return at;
}

static size_t broken(const fal_fenced *m, size_t from, size_t n)
{
    unsigned char pattern[8];
    size_t count = 0;
    memcpy(pattern, &m->pattern, sizeof pattern);
    for (size_t i = from; i < from + n; i++) count += m->map[i] != pattern[i % 8];
    return count;
}

size_t fal_fenced_broken_before(const fal_fenced *m, uint64_t offset)
{
    return broken(m, (size_t)offset - GUARD, GUARD);
}

size_t fal_fenced_broken_behind(const fal_fenced *m, uint64_t offset, size_t n)
{
    return broken(m, (size_t)offset + n, GUARD);
}

size_t fal_bytes_differ(const void *a, const void *b, size_t n)
{
    if (memcmp(a, b, n) == 0) return 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((const unsigned char *)a)[i] != ((const unsigned char *)b)[i];
    return count;
}
