/* Read bandwidth of an OpenCL device, by the clock of the host around as many launches as take a while. */
#include "opencl/bandwidth.h"

#include "harness/throughput.h"

#include <time.h>

enum { N_MEASURED = 7, N_PARTS = 64, VECTOR = 16 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of `times` passes over the buffer. */
static fal_status pass(fal_context *ctx, const fal_cl_buffer *x, const fal_cl_buffer *never, size_t n_groups, int times,
                       double *seconds, fal_error *err)
{
    const int64_t n = (int64_t)(fal_cl_size(x) / VECTOR), n_part = (n + N_PARTS - 1) / N_PARTS;
    const fal_cl_arg args[] = { FAL_CL_LONG(n), FAL_CL_LONG(n_part), FAL_CL_BUFFER(x), FAL_CL_BUFFER(never) };
    fal_status st = fal_cl_finish(ctx, err);
    const double start = now();
    for (int i = 0; i < times && st == FAL_OK; i++)
        st = FAL_CL_LAUNCH(ctx, "bandwidth", NULL, NULL, n_groups, args, err);
    if (st == FAL_OK) st = fal_cl_finish(ctx, err);
    *seconds = now() - start;
    return st;
}

fal_status fal_cl_read_bandwidth(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err)
{
    /* every lane takes four vectors a turn: whole turns, so that all of the buffer is read */
    const size_t n_groups = fal_cl_is_cpu(ctx) ? N_PARTS : 2048;
    const size_t turn = fal_cl_is_cpu(ctx) ? N_PARTS * VECTOR : n_groups * FAL_CL_GROUP * 4 * VECTOR;
    const size_t most = bytes < fal_cl_largest(ctx) ? bytes : fal_cl_largest(ctx);
    fal_cl_buffer *x = NULL, *never = NULL;
    double seconds = 0, rates[N_MEASURED];
    if (most < turn)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "opencl: read bandwidth needs at least %zu bytes, found %zu", turn,
                        most);
    fal_status st = fal_cl_alloc(ctx, "bandwidth", most / turn * turn, &x, err);
    if (st == FAL_OK) st = fal_cl_alloc(ctx, "bandwidth result", 4, &never, err);
    for (int i = 0; i < 2 && st == FAL_OK; i++)
        st = pass(ctx, x, never, n_groups, 1, &seconds, err); /* the first one builds */
    /* 20 ms at least, so that starting and waiting do not count */
    const int times = st == FAL_OK && seconds < 0.02 ? (int)(0.02 / (seconds > 1e-5 ? seconds : 1e-5)) + 1 : 1;
    for (int i = 0; i < N_MEASURED && st == FAL_OK; i++) {
        st = pass(ctx, x, never, n_groups, times, &seconds, err);
        rates[i] = 1e-9 * (double)times * (double)fal_cl_size(x) / seconds;
    }
    if (st == FAL_OK) *gb_per_s = fal_median(rates, N_MEASURED);
    fal_cl_free(ctx, never);
    fal_cl_free(ctx, x);
    return st;
}
