/* An example of a candidate in OpenCL C: matmul for Q4_K weights, one work-group for each row and token.

   falsify-launch: block=64 grid=n_out,n_tokens */

enum { GROUP = 64, BLOCK = 256, BLOCK_BYTES = 144 };

/* Sub-block j of 32 weights, one of them for each of 32 work-items: d * scale * code - dmin * min. */
static float weight(const __global uchar *w, int j, int i)
{
    const __global uchar *s = w + 4, *codes = w + 16 + j / 2 * 32;
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    const int code = j % 2 ? codes[i] >> 4 : codes[i] & 15;
    const float d = vload_half(0, (const __global half *)w), dmin = vload_half(1, (const __global half *)w);
    return d * scale * code - dmin * min;
}

/* The fields of fal_matmul_args in their order; a kernel without _q4_k at its end would get all types. */
__kernel void fal_matmul_q4_k(int n_tokens, int n_in, int n_out, int type, const __global uchar *w, const __global float *x,
                              __global float *y)
{
    __local float part[GROUP];
    const int id = get_local_id(0), r = get_group_id(0), t = get_group_id(1);
    const __global uchar *row = w + (long)r * (n_in / BLOCK) * BLOCK_BYTES;
    float sum = 0.0f;
    for (int c = id; c < n_in; c += GROUP)
        sum += weight(row + c / BLOCK * BLOCK_BYTES, c % BLOCK / 32, c % 32) * x[(long)t * n_in + c];
    part[id] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int n = GROUP / 2; n > 0; n /= 2) {
        if (id < n) part[id] += part[id + n];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (id == 0) y[(long)t * n_out + r] = part[0];
}
