/* bandwidth: reads a buffer once and does as little else as a compiler allows. */
#include "quant.cuh"

/* The sum of all words must be kept when it is a value that it never is: nothing is written, and nothing left out.
   Neighbouring threads read neighbouring vectors; four loads are on their way at once. */
FAL_KERNEL fal_cu_bandwidth(long n, const uint4 *x, unsigned *never)
{
    fal_begin();
    const long step = (long)gridDim.x * FAL_GROUP;
    unsigned sum = 0;
    for (long i = fal_global_id(); i + 3 * step < n; i += 4 * step) {
        const uint4 a = x[i], b = x[i + step], c = x[i + 2 * step], d = x[i + 3 * step];
        sum += (a.x ^ a.y ^ a.z ^ a.w) + (b.x ^ b.y ^ b.z ^ b.w) + (c.x ^ c.y ^ c.z ^ c.w) + (d.x ^ d.y ^ d.z ^ d.w);
    }
    if (sum == 0x5EED5EEDu) never[0] = 1;
}
