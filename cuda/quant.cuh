/* Shared prelude of every CUDA file: arithmetic rules, reductions in a fixed tree, and weight blocks as the file stores them. */

/* Products and sums are rounded one by one: results are then those of the formula, on every device.
   The compiler is told not to contract (-fmad=false) and to divide and take roots exactly. */

/* Threads of a block, and tokens that share one pass over a weight row: as in cuda/device.h. */
#define FAL_GROUP 128
#define FAL_TILE 8

#include <cuda_fp16.h>
#include <limits.h>
#include <math.h>

#define FAL_KERNEL extern "C" __global__ void __launch_bounds__(FAL_GROUP)

/* Index of the thread in the whole launch. */
static __device__ long fal_global_id()
{
    return (long)blockIdx.x * FAL_GROUP + threadIdx.x;
}

static __device__ float4 operator+(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

static __device__ float4 operator*(float4 a, float4 b)
{
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

static __device__ float4 operator*(float a, float4 b)
{
    return make_float4(a * b.x, a * b.y, a * b.z, a * b.w);
}

static __device__ float4 operator-(float4 a, float b)
{
    return make_float4(a.x - b, a.y - b, a.z - b, a.w - b);
}

static __device__ void operator+=(float4 &a, float4 b)
{
    a = a + b;
}

/* Weight types, numbered as in GGUF. */
#define FAL_F32 0
#define FAL_F16 1
#define FAL_Q8_0 8
#define FAL_Q4_K 12
#define FAL_Q5_K 13
#define FAL_Q6_K 14
#define FAL_BF16 30

/* Columns that one step of a row product takes: a block of a K-quant, eight Q8_0 blocks. */
#define FAL_STEP 256

/* Bytes of a row of n columns; 64 bits, because a tensor may exceed 4 GB. */
static __device__ long fal_row_bytes(int type, int n)
{
    switch (type) {
    case FAL_F16:
    case FAL_BF16: return (long)n * 2;
    case FAL_Q8_0: return (long)(n / 32) * 34;
    case FAL_Q4_K: return (long)(n / 256) * 144;
    case FAL_Q5_K: return (long)(n / 256) * 176;
    case FAL_Q6_K: return (long)(n / 256) * 210;
    default: return (long)n * 4;
    }
}

static __device__ float fal_half_at(const unsigned char *p)
{
    return __half2float(*(const __half *)p);
}

/* A bfloat16 is the upper half of a float. */
static __device__ float fal_bf16_at(const unsigned char *p)
{
    return __uint_as_float((unsigned)*(const unsigned short *)p << 16);
}

/* Element p of a row whose type has no blocks. */
static __device__ float fal_element_at(int type, const unsigned char *row, int p)
{
    return type == FAL_F16    ? fal_half_at(row + (long)p * 2)
           : type == FAL_BF16 ? fal_bf16_at(row + (long)p * 2)
                              : ((const float *)row)[p];
}

/* Q4_K block, 144 bytes for 256 weights: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and eight 6-bit mins, 128
   bytes of codes. Sub-block j (32 weights) has scale s_j and min m_j:
     j < 4   s_j = low 6 bits of byte j, m_j = low 6 bits of byte j+4
     j >= 4  s_j = low nibble of byte j+4, above it the high 2 bits of byte j-4
             m_j = high nibble of byte j+4, above it the high 2 bits of byte j
   Sub-blocks 2c and 2c+1 are the low and the high nibbles of code bytes 32c .. 32c+31.
   weight = (d*s_j)*code - (dmin*m_j). Source: the block layouts of the GGUF K-quants. */
static __device__ float2 fal_q4_k_scale(const unsigned char *block, int j)
{
    const unsigned char *s = block + 4;
    int scale, mins;
    if (j < 4) {
        scale = s[j] & 63;
        mins = s[j + 4] & 63;
    } else {
        scale = (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4);
        mins = (s[j + 4] >> 4) | ((s[j] >> 6) << 4);
    }
    return make_float2(fal_half_at(block) * (float)scale, fal_half_at(block + 2) * (float)mins);
}

/* Q5_K block, 176 bytes for 256 weights: d, dmin and scales as in Q4_K, 32 bytes qh (high bits), 128 bytes of codes (low
   4 bits) as in Q4_K. Bit j of qh[l] is bit 4 of the code of weight l of sub-block j. */

/* Q6_K block, 210 bytes for 256 weights: 128 bytes ql (low 4 bits), 64 bytes qh (high 2 bits), 16 signed 8-bit scales,
   f16 d. Half h (128 weights) has ql 64h .. 64h+63 and qh 32h .. 32h+31; weight 32k + l of the half (k 0..3, l 0..31):
     low  = nibble k/2 of ql[64h + 32(k%2) + l], high = bits 2k, 2k+1 of qh[32h + l]
     weight = (d * scale[8h + 2k + l/16]) * ((low | high << 4) - 32)
   Q8_0 block, 34 bytes for 32 weights: f16 d, 32 signed codes; weight = d * code. */

/* The sum of v over each slice of 32 threads, known to all of them. part: FAL_GROUP floats.
   Steps are written out because barriers inside loops are where drivers err. */
static __device__ float fal_sum_32(float *part, float v)
{
    const int i = (int)threadIdx.x, lane = i & 31;
    __syncthreads();
    part[i] = v;
    __syncthreads();
    if (lane < 16) part[i] += part[i + 16];
    __syncthreads();
    if (lane < 8) part[i] += part[i + 8];
    __syncthreads();
    if (lane < 4) part[i] += part[i + 4];
    __syncthreads();
    if (lane < 2) part[i] += part[i + 2];
    __syncthreads();
    return part[i - lane] + part[i - lane + 1];
}

/* The sum of v over the block: the slices first, then their four sums. */
static __device__ float fal_sum_group(float *part, float v)
{
    const float slice = fal_sum_32(part, v);
    const int i = (int)threadIdx.x;
    __syncthreads();
    if ((i & 31) == 0) part[i / 32] = slice;
    __syncthreads();
    return (part[0] + part[1]) + (part[2] + part[3]);
}

/* The largest v of the block; NaN is left out unless all are. */
static __device__ float fal_max_group(float *part, float v)
{
    const int i = (int)threadIdx.x;
    __syncthreads();
    part[i] = v;
    __syncthreads();
    if (i < 32) part[i] = fmax(fmax(part[i], part[i + 32]), fmax(part[i + 64], part[i + 96]));
    __syncthreads();
    if (i < 8) part[i] = fmax(fmax(part[i], part[i + 8]), fmax(part[i + 16], part[i + 24]));
    __syncthreads();
    return fmax(fmax(fmax(part[0], part[1]), fmax(part[2], part[3])),
                fmax(fmax(part[4], part[5]), fmax(part[6], part[7])));
}

/* The four bytes of q as floats, lowest first. */
static __device__ float4 fal_bytes_4(unsigned q)
{
    return make_float4((float)(q & 255u), (float)((q >> 8) & 255u), (float)((q >> 16) & 255u), (float)(q >> 24));
}

/* Four bytes from an even address: a Q6_K block has 210 bytes, so every other one is not on a multiple of 4. */
static __device__ unsigned fal_load_even(const unsigned char *p)
{
    const unsigned short *h = (const unsigned short *)p;
    return (unsigned)h[0] | (unsigned)h[1] << 16;
}

/* The part of step `step` that lane 0..31 of a slice holds: 8 weights as two fours, and the columns where each four
   starts. Neighbouring lanes read neighbouring bytes. Columns from n on are outside the row: weight 0. */
static __device__ void fal_lane_weights(int type, const unsigned char *row, int n, int step, int lane, float4 *a, float4 *b,
                             int *at_a, int *at_b)
{
    const int first = step * FAL_STEP;
    *a = *b = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (type == FAL_Q4_K) {
        const unsigned char *block = row + (long)step * 144;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const unsigned q = *(const unsigned *)(block + 16 + c * 32 + l); /* blocks are multiples of 4 bytes */
        const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
        *a = low.x * fal_bytes_4(q & 0x0f0f0f0fu) - low.y;
        *b = high.x * fal_bytes_4((q >> 4) & 0x0f0f0f0fu) - high.y;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q5_K) {
        const unsigned char *block = row + (long)step * 176;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const unsigned q = *(const unsigned *)(block + 48 + c * 32 + l); /* blocks are multiples of 4 bytes */
        const unsigned qh = *(const unsigned *)(block + 16 + l) >> (2 * c);
        const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
        *a = low.x * fal_bytes_4((q & 0x0f0f0f0fu) | (qh & 0x01010101u) << 4) - low.y;
        *b = high.x * fal_bytes_4(((q >> 4) & 0x0f0f0f0fu) | (qh & 0x02020202u) << 3) - high.y;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q6_K) {
        const unsigned char *block = row + (long)step * 210;
        const int h = lane / 16, j = lane % 16 * 4; /* half of the block, first ql byte in it */
        const int k = j / 32, l = j % 32;
        const unsigned ql = fal_load_even(block + h * 64 + j), qh = fal_load_even(block + 128 + h * 32 + l);
        const float d = fal_half_at(block + 208);
        const signed char *scale = (const signed char *)(block + 192) + h * 8 + l / 16;
        const unsigned low = (ql & 0x0f0f0f0fu) | (((qh >> (2 * k)) & 0x03030303u) << 4);
        const unsigned high = ((ql >> 4) & 0x0f0f0f0fu) | (((qh >> (2 * k + 4)) & 0x03030303u) << 4);
        *a = (d * (float)scale[2 * k]) * (fal_bytes_4(low) - 32.0f);
        *b = (d * (float)scale[2 * k + 4]) * (fal_bytes_4(high) - 32.0f);
        *at_a = first + h * 128 + j;
        *at_b = *at_a + 64;
    } else if (type == FAL_Q8_0) {
        *at_a = first + lane * 8;
        *at_b = *at_a + 4;
        if (*at_a >= n) return;
        const unsigned char *block = row + (long)(*at_a / 32) * 34;
        const signed char *q = (const signed char *)(block + 2) + lane % 4 * 8;
        const float d = fal_half_at(block);
        *a = d * make_float4(q[0], q[1], q[2], q[3]);
        *b = d * make_float4(q[4], q[5], q[6], q[7]);
    } else {
        *at_a = first + lane * 4;
        *at_b = *at_a + 128;
        float va[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, vb[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        for (int i = 0; i < 4; i++) {
            const int p = *at_a + i, q = *at_b + i;
            if (p < n) va[i] = fal_element_at(type, row, p);
            if (q < n) vb[i] = fal_element_at(type, row, q);
        }
        *a = make_float4(va[0], va[1], va[2], va[3]);
        *b = make_float4(vb[0], vb[1], vb[2], vb[3]);
    }
}

/* x[at .. at+3], 0 for columns from n on. */
static __device__ float4 fal_load_4(const float *x, int at, int n)
{
    if (at + 4 <= n) return (at & 3) == 0 && ((size_t)x & 15) == 0 ? *(const float4 *)(x + at) : make_float4(x[at], x[at + 1], x[at + 2], x[at + 3]);
    return make_float4(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f, at + 2 < n ? x[at + 2] : 0.0f, 0.0f);
}

/* y[at .. at+3] = v, leaving columns from n on. */
static __device__ void fal_store_4(float4 v, float *y, int at, int n)
{
    if (at + 4 <= n) {
        y[at] = v.x;
        y[at + 1] = v.y;
        y[at + 2] = v.z;
        y[at + 3] = v.w;
        return;
    }
    if (at < n) y[at] = v.x;
    if (at + 1 < n) y[at + 1] = v.y;
    if (at + 2 < n) y[at + 2] = v.z;
}

