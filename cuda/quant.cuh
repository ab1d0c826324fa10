/* Shared prelude of every CUDA file: arithmetic rules, reductions in a fixed tree, and weight blocks as the file stores
   them. */

/* Products and sums are rounded one by one: results are then those of the formula, on every device. Where a product and
   a sum are rounded together, fma says so: in row products and attention, which are declared as sums in any order. */

/* asymmetry: how the compiler is told (-fmad=false), and what this language has to declare.
   FAL_GROUP (threads of a block) and FAL_SIDE (rows, and tokens, of a tile of the tiled kernels) are as in
   cuda/device.h. */
#define FAL_GROUP 128
#define FAL_SIDE 64

#include <cuda_fp16.h>
#include <limits.h>
#include <math.h>

#define FAL_KERNEL extern "C" __global__ void __launch_bounds__(FAL_GROUP)

/* First of all in a kernel: lets the next launch come while this one runs, and waits for the one before. A kernel that all
   threads begin so ends after its predecessors. Nothing to do where launches do not overlap. */
static __device__ __forceinline__ void fal_begin()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Before a loop: takes n turns at once, so that their loads are on their way together. */
#define FAL_TEXT(text) #text
#define FAL_UNROLL(n) _Pragma(FAL_TEXT(unroll n))

/* What OpenCL C has built in: the index of a thread in the whole launch, and arithmetic of vectors. */
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

static __device__ float4 operator/(float4 a, float b)
{
    return make_float4(a.x / b, a.y / b, a.z / b, a.w / b);
}

static __device__ float4 operator-(float4 a, float b)
{
    return make_float4(a.x - b, a.y - b, a.z - b, a.w - b);
}

static __device__ void operator+=(float4 &a, float4 b)
{
    a = a + b;
}

static __device__ float4 fma(float4 a, float4 b, float4 c)
{
    return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w));
}

static __device__ float4 fma(float a, float4 b, float4 c)
{
    return make_float4(fmaf(a, b.x, c.x), fmaf(a, b.y, c.y), fmaf(a, b.z, c.z), fmaf(a, b.w, c.w));
}
/* asymmetry: end */

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
static __device__ __forceinline__ long fal_row_bytes(int type, int n)
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

static __device__ __forceinline__ float fal_half_at(const unsigned char *p)
{
    return __half2float(*(const __half *)p);
}

static __device__ __forceinline__ float fal_half(unsigned short bits)
{
    return __half2float(__ushort_as_half(bits));
}

/* A bfloat16 is the upper half of a float. */
static __device__ __forceinline__ float fal_bf16_at(const unsigned char *p)
{
    return __uint_as_float((unsigned)*(const unsigned short *)p << 16);
}

/* Element p of a row whose type has no blocks. */
static __device__ __forceinline__ float fal_element_at(int type, const unsigned char *row, int p)
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
   weight = (d*s_j)*code - (dmin*m_j). Source: the block layouts of the GGUF K-quants. head: the first 16 bytes. */
static __device__ __forceinline__ float2 fal_q4_k_scale(uint4 head, int j)
{
    const int at = 8 * (j & 3);
    const unsigned a = head.y >> at, b = head.z >> at, c = head.w >> at; /* lowest bytes: j%4, j%4 + 4, j%4 + 8 */
    const unsigned scale = j < 4 ? a & 63u : (c & 15u) | ((a >> 2) & 48u);
    const unsigned mins = j < 4 ? b & 63u : ((c >> 4) & 15u) | ((b >> 2) & 48u);
    return make_float2(fal_half((unsigned short)head.x) * (float)scale, fal_half((unsigned short)(head.x >> 16)) * (float)mins);
}

/* Scale and minimum of sub-block 2c, then those of 2c+1. */
static __device__ __forceinline__ float4 fal_q4_k_scales(uint4 head, int c)
{
    const int at = 16 * (c & 1);
    const unsigned a = head.y >> at, b = head.z >> at, e = head.w >> at; /* the two bytes of each that belong to c */
    const unsigned scales = c < 2 ? a & 0x3f3fu : (e & 0x0f0fu) | ((a >> 2) & 0x3030u);
    const unsigned mins = c < 2 ? b & 0x3f3fu : ((e >> 4) & 0x0f0fu) | ((b >> 2) & 0x3030u);
    const float d = fal_half((unsigned short)head.x), dmin = fal_half((unsigned short)(head.x >> 16));
    return make_float4(d * (float)(scales & 255u), dmin * (float)(mins & 255u), d * (float)(scales >> 8),
                       dmin * (float)(mins >> 8));
}

/* Q4_K and Q5_K blocks are multiples of 16 bytes, and so are their rows and tensors. */
static __device__ __forceinline__ uint4 fal_q4_k_head(const unsigned char *block)
{
    return *(const uint4 *)block;
}

/* Q5_K block, 176 bytes for 256 weights: d, dmin and scales as in Q4_K, 32 bytes qh (high bits), 128 bytes of codes
   (low 4 bits) as in Q4_K. Bit j of qh[l] is bit 4 of the code of weight l of sub-block j. */

/* Q6_K block, 210 bytes for 256 weights: 128 bytes ql (low 4 bits), 64 bytes qh (high 2 bits), 16 signed 8-bit scales,
   f16 d. Half h (128 weights) has ql 64h .. 64h+63 and qh 32h .. 32h+31; weight 32k + l of the half (k 0..3, l 0..31):
     low  = nibble k/2 of ql[64h + 32(k%2) + l], high = bits 2k, 2k+1 of qh[32h + l]
     weight = (d * scale[8h + 2k + l/16]) * ((low | high << 4) - 32)
   Q8_0 block, 34 bytes for 32 weights: f16 d, 32 signed codes; weight = d * code. */

/* The sum of v over each slice of 32 threads, known to all of them: a tree of distances 16, 8, 4, 2, 1. part:
   FAL_GROUP floats. */
static __device__ __forceinline__ float fal_sum_32(float *part, float v)
{
    /* asymmetry: lanes exchange registers; the tree and its bits are those of the twin. */
    (void)part;
    for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, d);
    return v;
    /* asymmetry: end */
}

/* The largest v of each slice of 32 threads; NaN is left out unless all are. */
static __device__ __forceinline__ float fal_max_32(float *part, float v)
{
    /* asymmetry: as above. */
    (void)part;
    for (int d = 16; d > 0; d /= 2) v = fmax(v, __shfl_xor_sync(0xFFFFFFFFu, v, d));
    return v;
    /* asymmetry: end */
}

/* The sum of v over the block: the slices first, then their four sums. */
static __device__ __forceinline__ float fal_sum_group(float *part, float v)
{
    const float slice = fal_sum_32(part, v);
    const int i = (int)threadIdx.x;
    __syncthreads();
    if ((i & 31) == 0) part[i / 32] = slice;
    __syncthreads();
    return (part[0] + part[1]) + (part[2] + part[3]);
}

/* The largest v of the block; NaN is left out unless all are. */
static __device__ __forceinline__ float fal_max_group(float *part, float v)
{
    const float slice = fal_max_32(part, v);
    const int i = (int)threadIdx.x;
    __syncthreads();
    if ((i & 31) == 0) part[i / 32] = slice;
    __syncthreads();
    return fmax(fmax(part[0], part[1]), fmax(part[2], part[3]));
}

/* The four bytes of q as floats, lowest first. */
static __device__ __forceinline__ float4 fal_bytes_4(unsigned q)
{
    return make_float4((float)(q & 255u), (float)((q >> 8) & 255u), (float)((q >> 16) & 255u), (float)(q >> 24));
}

/* Four bytes from an even address: a Q6_K block has 210 bytes, so every other one is not on a multiple of 4. */
static __device__ __forceinline__ unsigned fal_load_even(const unsigned char *p)
{
    const unsigned short *h = (const unsigned short *)p;
    return (unsigned)h[0] | (unsigned)h[1] << 16;
}

/* x[at .. at+3], 0 for columns from n on. whole (a constant after inlining) says that n is a multiple of 4 and at < n:
   x being the start of a row of n, the four then lies on a multiple of 16 bytes inside it. */
static __device__ __forceinline__ float4 fal_load_4(bool whole, const float *x, int at, int n)
{
    if (whole) return *(const float4 *)(x + at);
    return make_float4(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f, at + 2 < n ? x[at + 2] : 0.0f,
                    at + 3 < n ? x[at + 3] : 0.0f);
}

/* y[at .. at+3] = v, leaving columns from n on; y is the start of a row of n. */
static __device__ __forceinline__ void fal_store_4(float4 v, float *y, int at, int n)
{
    if ((n & 3) == 0) {
        if (at < n) *(float4 *)(y + at) = v;
        return;
    }
    if (at < n) y[at] = v.x;
    if (at + 1 < n) y[at + 1] = v.y;
    if (at + 2 < n) y[at + 2] = v.z;
    if (at + 3 < n) y[at + 3] = v.w;
}

/* Whether every four of a row of n weights lies inside it, whatever n is. */
static __device__ __forceinline__ bool fal_is_whole(int type)
{
    return type == FAL_Q4_K || type == FAL_Q5_K || type == FAL_Q6_K;
}

/* The part of step `step` that lane 0..31 of a slice holds: 8 weights as two fours, and the columns where each four
   starts. Neighbouring lanes read neighbouring bytes. Columns from n on are outside the row: weight 0. */
static __device__ __forceinline__ void fal_lane_weights(int type, const unsigned char *row, int n, int step, int lane, float4 *a, float4 *b,
                             int *at_a, int *at_b)
{
    const int first = step * FAL_STEP;
    *a = *b = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (type == FAL_Q4_K) {
        const unsigned char *block = row + (long)step * 144;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const unsigned q = *(const unsigned *)(block + 16 + c * 32 + l); /* blocks are multiples of 4 bytes */
        const uint4 head = fal_q4_k_head(block);
        const float4 s = fal_q4_k_scales(head, c);
        *a = s.x * fal_bytes_4(q & 0x0f0f0f0fu) - s.y;
        *b = s.z * fal_bytes_4((q >> 4) & 0x0f0f0f0fu) - s.w;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q5_K) {
        const unsigned char *block = row + (long)step * 176;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const unsigned q = *(const unsigned *)(block + 48 + c * 32 + l);
        const unsigned qh = *(const unsigned *)(block + 16 + l) >> (2 * c);
        const uint4 head = fal_q4_k_head(block);
        const float4 s = fal_q4_k_scales(head, c);
        *a = s.x * fal_bytes_4((q & 0x0f0f0f0fu) | ((qh & 0x01010101u) << 4)) - s.y;
        *b = s.z * fal_bytes_4(((q >> 4) & 0x0f0f0f0fu) | ((qh & 0x02020202u) << 3)) - s.w;
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
        *a = d * make_float4((float)q[0], (float)q[1], (float)q[2], (float)q[3]);
        *b = d * make_float4((float)q[4], (float)q[5], (float)q[6], (float)q[7]);
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

/* Some steps of a row product as one lane of a slice has them: its 8 columns of each. whole: as for fal_load_4. */
static __device__ __forceinline__ float4 fal_lane_steps(int type, bool whole, const unsigned char *row, int n, int lane, const float *x)
{
    const int n_steps = (n + FAL_STEP - 1) / FAL_STEP;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    FAL_UNROLL(4)
    for (int step = 0; step < n_steps; step++) {
        float4 a, b;
        int at_a = step * FAL_STEP + lane * 4, at_b = at_a + 128;
        if (type == FAL_F32) {
            a = fal_load_4(whole, (const float *)row, at_a, n);
            b = fal_load_4(whole, (const float *)row, at_b, n);
        } else {
            fal_lane_weights(type, row, n, step, lane, &a, &b, &at_a, &at_b);
        }
        sum = fma(a, fal_load_4(whole, x, at_a, n), sum);
        sum = fma(b, fal_load_4(whole, x, at_b, n), sum);
    }
    return sum;
}

/* The sum of a row product as one lane of a slice has it. */
static __device__ __forceinline__ float fal_lane_times(int type, const unsigned char *row, int n, int lane, const float *x)
{
    float4 sum;
    if (fal_is_whole(type) || n % FAL_STEP == 0) sum = fal_lane_steps(type, true, row, n, lane, x);
    else sum = fal_lane_steps(type, false, row, n, lane, x);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

/* Weights at .. at+15 of a row (at: a multiple of 16) as the file has them, in up to 16 words, so that they can be on
   their way while others are computed with. Columns from n on: 0 bits. */
static __device__ __forceinline__ void fal_fetch_16(int type, const unsigned char *row, int n, int at, unsigned *raw)
{
    const int in_block = at % 256, l = at % 32;
    if (type == FAL_Q4_K || type == FAL_Q5_K) {
        const unsigned char *block = row + (long)(at / 256) * (type == FAL_Q4_K ? 144 : 176);
        const uint4 head = fal_q4_k_head(block);
        const unsigned *q = (const unsigned *)(block + (type == FAL_Q4_K ? 16 : 48) + in_block / 64 * 32 + l);
        const unsigned *qh = (const unsigned *)(block + 16 + l);
        raw[0] = head.x;
        raw[1] = head.y;
        raw[2] = head.z;
        raw[3] = head.w;
        for (int i = 0; i < 4; i++) raw[4 + i] = q[i];
        for (int i = 0; i < 4 && type == FAL_Q5_K; i++) raw[8 + i] = qh[i];
    } else if (type == FAL_Q6_K) {
        const unsigned char *block = row + (long)(at / 256) * 210;
        const int h = in_block / 128, k = in_block % 128 / 32;
        const unsigned char *ql = block + h * 64 + k % 2 * 32 + l, *qh = block + 128 + h * 32 + l;
        raw[0] = *(const unsigned short *)(block + 208);
        raw[1] = block[192 + in_block / 16];
        for (int i = 0; i < 4; i++) {
            raw[2 + i] = fal_load_even(ql + 4 * i);
            raw[6 + i] = fal_load_even(qh + 4 * i);
        }
    } else if (type == FAL_Q8_0) {
        const unsigned char *block = row + (long)(at / 32) * 34;
        for (int i = 0; i < 5; i++) raw[i] = 0;
        if (at >= n) return;
        raw[0] = *(const unsigned short *)block;
        for (int i = 0; i < 4; i++) raw[1 + i] = fal_load_even(block + 2 + l + 4 * i);
    } else {
        const unsigned short *halves = (const unsigned short *)row;
        for (int i = 0; i < 16; i++)
            raw[i] = at + i >= n ? 0 : type == FAL_F32 ? ((const unsigned *)row)[at + i] : halves[at + i];
    }
}

/* What fal_fetch_16 fetched from `at` as four fours. */
static __device__ __forceinline__ void fal_unpack_16(int type, int at, const unsigned *raw, float4 *w)
{
    const int j = at % 256 / 32; /* sub-block of a K-quant */
    if (type == FAL_Q4_K || type == FAL_Q5_K) {
        const float2 scale = fal_q4_k_scale(make_uint4(raw[0], raw[1], raw[2], raw[3]), j);
        for (int i = 0; i < 4; i++) {
            unsigned codes = (raw[4 + i] >> (j % 2 * 4)) & 0x0f0f0f0fu;
            if (type == FAL_Q5_K) codes |= ((raw[8 + i] >> j) & 0x01010101u) << 4;
            w[i] = scale.x * fal_bytes_4(codes) - scale.y;
        }
    } else if (type == FAL_Q6_K) {
        const int k = j % 4;
        const float d = fal_half((unsigned short)raw[0]) * (float)(signed char)raw[1];
        for (int i = 0; i < 4; i++) {
            const unsigned low = (raw[2 + i] >> (k / 2 * 4)) & 0x0f0f0f0fu, high = (raw[6 + i] >> (2 * k)) & 0x03030303u;
            w[i] = d * (fal_bytes_4(low | high << 4) - 32.0f);
        }
    } else if (type == FAL_Q8_0) {
        const float d = fal_half((unsigned short)raw[0]);
        for (int i = 0; i < 4; i++) w[i] = d * (fal_bytes_4(raw[1 + i] ^ 0x80808080u) - 128.0f); /* signed codes */
    } else {
        float v[16];
        for (int i = 0; i < 16; i++)
            v[i] = type == FAL_F16 ? fal_half((unsigned short)raw[i]) : __uint_as_float(type == FAL_BF16 ? raw[i] << 16 : raw[i]);
        for (int i = 0; i < 4; i++) w[i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    }
}

/* A tile of FAL_SIDE rows by FAL_SIDE tokens: all of its rows are dequantised once into local memory, FAL_DEPTH columns
   at a time. A thread has 8 rows and 4 tokens: rows 4x .. 4x+3 and 32+4x .. 32+4x+3, tokens 4y .. 4y+3, where
   x = fal_tile_x() and y = fal_tile_y(). Local rows have 4 floats more than needed, which keeps the stores of a slice
   out of each other's banks. */
#define FAL_DEPTH 32
#define FAL_TILE_ROW (FAL_SIDE + 4)
#define FAL_TILE_FLOATS (2 * FAL_DEPTH * FAL_TILE_ROW)

static __device__ __forceinline__ int fal_tile_x()
{
    return (int)threadIdx.x % 8;
}

static __device__ __forceinline__ int fal_tile_y()
{
    return (int)threadIdx.x / 8;
}

/* The row, and the token, that this thread brings to local memory. */
static __device__ __forceinline__ int fal_tile_row()
{
    return (int)threadIdx.x % FAL_SIDE;
}

static __device__ __forceinline__ int fal_tile_token()
{
    return (int)threadIdx.x / 32 * 16 + ((int)threadIdx.x & 15);
}

/* y[i] = products of the i-th row of this thread with its four tokens; 0 where it is not active. row: fal_tile_row()
   of the tile, x: fal_tile_token() of it. Every FAL_STEP columns are summed by themselves before they join the total,
   which keeps the error of n columns near that of FAL_STEP + n/FAL_STEP additions. A token's sums do not depend on the
   tokens beside it. */
static __device__ __forceinline__ void fal_tile_times(float *tile, int type, const unsigned char *row, const float *x, int n,
                           bool active, float4 *y)
{
    const int id = (int)threadIdx.x;
    const int w_at = id / FAL_SIDE * 16, x_at = (id >> 4 & 1) * 4; /* first column of what this thread brings */
    float *w_to = tile + w_at * FAL_TILE_ROW + fal_tile_row();
    float *x_to = tile + (FAL_DEPTH + x_at) * FAL_TILE_ROW + fal_tile_token();
    const float *w_from = tile + 4 * fal_tile_x();
    const float *x_from = tile + FAL_DEPTH * FAL_TILE_ROW + 4 * fal_tile_y();
    unsigned raw[16];
    float4 v[4], sum[8];
    for (int i = 0; i < 8; i++) y[i] = sum[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    fal_fetch_16(type, row, n, w_at, raw);
    for (int j = 0; j < 4; j++) v[j] = fal_load_4(fal_is_whole(type), x, x_at + 8 * j, n);
    for (int at = 0; at < n; at += FAL_DEPTH) {
        float4 w[4];
        fal_unpack_16(type, at + w_at, raw, w);
        __syncthreads();
        for (int i = 0; i < 4; i++) {
            w_to[(4 * i) * FAL_TILE_ROW] = w[i].x;
            w_to[(4 * i + 1) * FAL_TILE_ROW] = w[i].y;
            w_to[(4 * i + 2) * FAL_TILE_ROW] = w[i].z;
            w_to[(4 * i + 3) * FAL_TILE_ROW] = w[i].w;
            x_to[(8 * i) * FAL_TILE_ROW] = v[i].x;
            x_to[(8 * i + 1) * FAL_TILE_ROW] = v[i].y;
            x_to[(8 * i + 2) * FAL_TILE_ROW] = v[i].z;
            x_to[(8 * i + 3) * FAL_TILE_ROW] = v[i].w;
        }
        __syncthreads();
        const int next = at + FAL_DEPTH; /* on its way while this one is multiplied */
        if (next < n) {
            fal_fetch_16(type, row, n, next + w_at, raw);
            for (int j = 0; j < 4; j++) v[j] = fal_load_4(fal_is_whole(type), x, next + x_at + 8 * j, n);
        }
        if (active) {
            FAL_UNROLL(8)
            for (int k = 0; k < FAL_DEPTH; k++) {
                const float4 a = *(const float4 *)(w_from + k * FAL_TILE_ROW);
                const float4 b = *(const float4 *)(w_from + k * FAL_TILE_ROW + 32);
                const float4 c = *(const float4 *)(x_from + k * FAL_TILE_ROW);
                sum[0] = fma(a.x, c, sum[0]);
                sum[1] = fma(a.y, c, sum[1]);
                sum[2] = fma(a.z, c, sum[2]);
                sum[3] = fma(a.w, c, sum[3]);
                sum[4] = fma(b.x, c, sum[4]);
                sum[5] = fma(b.y, c, sum[5]);
                sum[6] = fma(b.z, c, sum[6]);
                sum[7] = fma(b.w, c, sum[7]);
            }
        }
        if (next % FAL_STEP == 0 || next >= n)
            for (int i = 0; i < 8; i++) {
                y[i] += sum[i];
                sum[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            }
    }
}
