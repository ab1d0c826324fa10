/* Read bandwidth of the processors: every thread sums its own part of a buffer, pass after pass. */
#include "harness/host_bandwidth.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { VECTOR = 64, PASS_BYTES = 16 << 20 };
typedef uint64_t wide __attribute__((vector_size(VECTOR)));

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A value that nobody can know beforehand, so that no compiler leaves a read out. */
static uint64_t sum_of(const wide *x, size_t n)
{
    wide a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    for (size_t i = 0; i + 3 < n; i += 4) {
        a += x[i];
        b ^= x[i + 1];
        c += x[i + 2];
        d ^= x[i + 3];
    }
    a += b ^ c ^ d;
    uint64_t sum = 0;
    for (size_t i = 0; i < VECTOR / sizeof sum; i++) sum += a[i];
    return sum;
}

double fal_host_read_bandwidth(size_t bytes)
{
    if (bytes < (size_t)1 << 20) bytes = (size_t)1 << 20;
    int n_threads = 1;
#ifdef _OPENMP
    n_threads = omp_get_max_threads();
#endif
    /* short passes may be over before all threads have begun: several in a row are timed as one */
    const int passes = bytes < PASS_BYTES ? (int)(PASS_BYTES / bytes) : 1;
    const size_t each = bytes / (size_t)n_threads / (4 * VECTOR) * 4;
    wide *x = aligned_alloc(VECTOR, each * (size_t)n_threads * VECTOR);
    if (!x) return 0;
    volatile uint64_t kept = 0;
    double best = 0;
    memset(x, 1, each * (size_t)n_threads * VECTOR);
    for (double begin = now(); now() < begin + 0.1 || best <= 0;) {
        const double start = now();
#pragma omp parallel num_threads(n_threads)
        {
            size_t thread = 0;
#ifdef _OPENMP
            thread = (size_t)omp_get_thread_num();
#endif
            uint64_t sum = 0;
            const double own = now();
            for (int pass = 0; pass < passes; pass++) {
                __asm__ volatile("" ::: "memory");
                sum += sum_of(x + thread * each, each);
            }
            const double alone = 1e-9 * passes * (double)(each * VECTOR) / (now() - own);
#pragma omp critical(fal_host_bandwidth)
            {
                kept = kept + sum;
                /* on a busy machine the threads rarely run together: what one of them reads is the least */
                if (alone > best) best = alone;
            }
        }
        const double rate = 1e-9 * passes * (double)(each * (size_t)n_threads * VECTOR) / (now() - start);
        if (rate > best) best = rate;
    }
    free(x);
    return best;
}
