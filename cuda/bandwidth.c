/* Read bandwidth of a CUDA device, by the clock of the host around as many launches as take a while. */
#include "cuda/bandwidth.h"

#include "harness/throughput.h"

#include <time.h>

enum { N_MEASURED = 7, VECTOR = 16 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of `times` passes over the buffer. */
static fal_status pass(fal_context *ctx, const fal_cu_buffer *x, const fal_cu_buffer *never, size_t n_groups, int times,
                       double *seconds, fal_error *err)
{
    const int64_t n = (int64_t)(fal_cu_size(x) / VECTOR);
    const fal_cu_arg args[] = { FAL_CU_LONG(n), FAL_CU_BUFFER(x), FAL_CU_BUFFER(never) };
    fal_status st = fal_cu_finish(ctx, err);
    const double start = now();
    for (int i = 0; i < times && st == FAL_OK; i++)
        st = FAL_CU_LAUNCH(ctx, "bandwidth", NULL, NULL, n_groups, args, err);
    if (st == FAL_OK) st = fal_cu_finish(ctx, err);
    *seconds = now() - start;
    return st;
}

fal_status fal_cu_read_bandwidth(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err)
{
    /* every thread takes four vectors a turn: whole turns, so that all of the buffer is read */
    const size_t n_groups = 2048, turn = n_groups * FAL_CU_GROUP * 4 * VECTOR;
    fal_cu_buffer *x = NULL, *never = NULL;
    double seconds = 0, rates[N_MEASURED];
    if (bytes < turn)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: read bandwidth needs at least %zu bytes, found %zu", turn,
                        bytes);
    fal_status st = fal_cu_alloc(ctx, "bandwidth", bytes / turn * turn, &x, err);
    if (st == FAL_OK) st = fal_cu_alloc(ctx, "bandwidth result", 4, &never, err);
    for (int i = 0; i < 2 && st == FAL_OK; i++)
        st = pass(ctx, x, never, n_groups, 1, &seconds, err); /* the first one loads */
    /* 20 ms at least, so that starting and waiting do not count */
    const int times = st == FAL_OK && seconds < 0.02 ? (int)(0.02 / (seconds > 1e-5 ? seconds : 1e-5)) + 1 : 1;
    for (int i = 0; i < N_MEASURED && st == FAL_OK; i++) {
        st = pass(ctx, x, never, n_groups, times, &seconds, err);
        rates[i] = 1e-9 * (double)times * (double)fal_cu_size(x) / seconds;
    }
    if (st == FAL_OK) *gb_per_s = fal_median(rates, N_MEASURED);
    fal_cu_free(ctx, never);
    fal_cu_free(ctx, x);
    return st;
}
