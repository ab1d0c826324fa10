/* bandwidth: reads a buffer once and does as little else as a compiler allows. */

/* The sum of all words must be kept when it is a value that it never is: nothing is written, and nothing left out. */
#if FAL_CPU

/* One work-item per part of n_part vectors. */
FAL_KERNEL fal_cl_bandwidth__cpu(long n, long n_part, const __global uint4 *x, __global uint *never)
{
    const long first = get_global_id(0) * n_part;
    const long end = min(n, first + n_part);
    uint4 sum = 0;
    for (long i = first; i < end; i++) sum += x[i];
    if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x5EED5EEDu) never[0] = 1;
}

#else

/* Neighbouring work-items read neighbouring vectors; four loads are on their way at once. */
FAL_KERNEL fal_cl_bandwidth(long n, long n_part, const __global uint4 *x, __global uint *never)
{
    fal_begin();
    const long step = get_global_size(0);
    uint4 sum = 0;
    for (long i = get_global_id(0); i + 3 * step < n; i += 4 * step)
        sum += (x[i] + x[i + step]) + (x[i + 2 * step] + x[i + 3 * step]);
    if (n_part < 0 || (sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x5EED5EEDu) never[0] = 1;
}

#endif
