/* Shared prelude of every program: arithmetic rules, reductions in a fixed tree, and weight blocks as the file stores
   them. */

/* Products and sums are rounded one by one: results are then those of the formula, on every device. Where a product and
   a sum are rounded together, fma says so: in row products and attention, which are declared as sums in any order. */

/* asymmetry: how the compiler is told, and what this language has to declare.
   From the build options: FAL_CPU (0 work-group kernels, 1 barrier-free ones), FAL_GROUP (work-items of a work-group),
   FAL_SIDE (rows, and tokens, of a tile of the tiled kernels), FAL_TILE (tokens that share one pass over a weight row
   in a CPU work-item), FAL_CPU_ROWS (rows of one CPU work-item). */
#pragma OPENCL FP_CONTRACT OFF
#if FAL_CPU
#define FAL_KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
#else
#define FAL_KERNEL __kernel __attribute__((reqd_work_group_size(FAL_GROUP, 1, 1))) void
#endif

/* First of all in a kernel. Launches of a queue do not overlap, so there is nothing to wait for. */
static void fal_begin(void)
{
}

/* Before a loop: takes n turns at once, so that their loads are on their way together. Compilers for CPUs refuse, and say
   so for every loop. */
#ifdef __NV_CL_C_VERSION
#define FAL_TEXT(text) #text
#define FAL_UNROLL(n) _Pragma(FAL_TEXT(unroll n))
#else
#define FAL_UNROLL(n)
#endif
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
static long fal_row_bytes(int type, int n)
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

static float fal_half_at(const __global uchar *p)
{
    return vload_half(0, (const __global half *)p);
}

static float fal_half(ushort bits)
{
    return vload_half(0, (const half *)&bits);
}

/* A bfloat16 is the upper half of a float. */
static float fal_bf16_at(const __global uchar *p)
{
    return as_float((uint)*(const __global ushort *)p << 16);
}

/* Element p of a row whose type has no blocks. */
static float fal_element_at(int type, const __global uchar *row, int p)
{
    return type == FAL_F16    ? fal_half_at(row + (long)p * 2)
           : type == FAL_BF16 ? fal_bf16_at(row + (long)p * 2)
                              : ((const __global float *)row)[p];
}

/* Q4_K block, 144 bytes for 256 weights: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and eight 6-bit mins, 128
   bytes of codes. Sub-block j (32 weights) has scale s_j and min m_j:
     j < 4   s_j = low 6 bits of byte j, m_j = low 6 bits of byte j+4
     j >= 4  s_j = low nibble of byte j+4, above it the high 2 bits of byte j-4
             m_j = high nibble of byte j+4, above it the high 2 bits of byte j
   Sub-blocks 2c and 2c+1 are the low and the high nibbles of code bytes 32c .. 32c+31.
   weight = (d*s_j)*code - (dmin*m_j). Source: the block layouts of the GGUF K-quants. head: the first 16 bytes. */
static float2 fal_q4_k_scale(uint4 head, int j)
{
    const int at = 8 * (j & 3);
    const uint a = head.y >> at, b = head.z >> at, c = head.w >> at; /* lowest bytes: j%4, j%4 + 4, j%4 + 8 */
    const uint scale = j < 4 ? a & 63u : (c & 15u) | ((a >> 2) & 48u);
    const uint mins = j < 4 ? b & 63u : ((c >> 4) & 15u) | ((b >> 2) & 48u);
    return (float2)(fal_half((ushort)head.x) * (float)scale, fal_half((ushort)(head.x >> 16)) * (float)mins);
}

/* Scale and minimum of sub-block 2c, then those of 2c+1. */
static float4 fal_q4_k_scales(uint4 head, int c)
{
    const int at = 16 * (c & 1);
    const uint a = head.y >> at, b = head.z >> at, e = head.w >> at; /* the two bytes of each that belong to c */
    const uint scales = c < 2 ? a & 0x3f3fu : (e & 0x0f0fu) | ((a >> 2) & 0x3030u);
    const uint mins = c < 2 ? b & 0x3f3fu : ((e >> 4) & 0x0f0fu) | ((b >> 2) & 0x3030u);
    const float d = fal_half((ushort)head.x), dmin = fal_half((ushort)(head.x >> 16));
    return (float4)(d * (float)(scales & 255u), dmin * (float)(mins & 255u), d * (float)(scales >> 8),
                       dmin * (float)(mins >> 8));
}

/* Q4_K and Q5_K blocks are multiples of 16 bytes, and so are their rows and tensors. */
static uint4 fal_q4_k_head(const __global uchar *block)
{
    return *(const __global uint4 *)block;
}

/* Q5_K block, 176 bytes for 256 weights: d, dmin and scales as in Q4_K, 32 bytes qh (high bits), 128 bytes of codes
   (low 4 bits) as in Q4_K. Bit j of qh[l] is bit 4 of the code of weight l of sub-block j. */

/* Q6_K block, 210 bytes for 256 weights: 128 bytes ql (low 4 bits), 64 bytes qh (high 2 bits), 16 signed 8-bit scales,
   f16 d. Half h (128 weights) has ql 64h .. 64h+63 and qh 32h .. 32h+31; weight 32k + l of the half (k 0..3, l 0..31):
     low  = nibble k/2 of ql[64h + 32(k%2) + l], high = bits 2k, 2k+1 of qh[32h + l]
     weight = (d * scale[8h + 2k + l/16]) * ((low | high << 4) - 32)
   Q8_0 block, 34 bytes for 32 weights: f16 d, 32 signed codes; weight = d * code. */

#if !FAL_CPU

/* The sum of v over each slice of 32 work-items, known to all of them: a tree of distances 16, 8, 4, 2, 1. part:
   FAL_GROUP floats. */
static float fal_sum_32(__local float *part, float v)
{
    /* asymmetry: OpenCL C 1.2 exchanges nothing but local memory. Few barriers do, because the lanes that need a sum
       make its parts themselves; the tree and its bits are those of the twin. */
    const int i = (int)get_local_id(0), lane = i & 31;
    const __local float *p = part + i - lane;
    barrier(CLK_LOCAL_MEM_FENCE);
    part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 8) v = (p[lane] + p[lane + 16]) + (p[lane + 8] + p[lane + 24]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 8) part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
    /* asymmetry: end */
}

/* The largest v of each slice of 32 work-items; NaN is left out unless all are. */
static float fal_max_32(__local float *part, float v)
{
    /* asymmetry: as above. */
    const int i = (int)get_local_id(0), lane = i & 31;
    const __local float *p = part + i - lane;
    barrier(CLK_LOCAL_MEM_FENCE);
    part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 8) v = fmax(fmax(p[lane], p[lane + 16]), fmax(p[lane + 8], p[lane + 24]));
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 8) part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    return fmax(fmax(fmax(p[0], p[4]), fmax(p[2], p[6])), fmax(fmax(p[1], p[5]), fmax(p[3], p[7])));
    /* asymmetry: end */
}

/* The sum of v over the work-group: the slices first, then their four sums. */
static float fal_sum_group(__local float *part, float v)
{
    const float slice = fal_sum_32(part, v);
    const int i = (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if ((i & 31) == 0) part[i / 32] = slice;
    barrier(CLK_LOCAL_MEM_FENCE);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

/* The largest v of the work-group; NaN is left out unless all are. */
static float fal_max_group(__local float *part, float v)
{
    const float slice = fal_max_32(part, v);
    const int i = (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if ((i & 31) == 0) part[i / 32] = slice;
    barrier(CLK_LOCAL_MEM_FENCE);
    return fmax(fmax(part[0], part[1]), fmax(part[2], part[3]));
}

/* The four bytes of q as floats, lowest first. */
static float4 fal_bytes_4(uint q)
{
    return (float4)((float)(q & 255u), (float)((q >> 8) & 255u), (float)((q >> 16) & 255u), (float)(q >> 24));
}

/* Four bytes from an even address: a Q6_K block has 210 bytes, so every other one is not on a multiple of 4. */
static uint fal_load_even(const __global uchar *p)
{
    const __global ushort *h = (const __global ushort *)p;
    return (uint)h[0] | (uint)h[1] << 16;
}

/* x[at .. at+3], 0 for columns from n on. whole (a constant after inlining) says that n is a multiple of 4 and at < n:
   x being the start of a row of n, the four then lies on a multiple of 16 bytes inside it. */
static float4 fal_load_4(bool whole, const __global float *x, int at, int n)
{
    if (whole) return *(const __global float4 *)(x + at);
    return (float4)(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f, at + 2 < n ? x[at + 2] : 0.0f,
                    at + 3 < n ? x[at + 3] : 0.0f);
}

/* y[at .. at+3] = v, leaving columns from n on; y is the start of a row of n. */
static void fal_store_4(float4 v, __global float *y, int at, int n)
{
    if ((n & 3) == 0) {
        if (at < n) *(__global float4 *)(y + at) = v;
        return;
    }
    if (at < n) y[at] = v.x;
    if (at + 1 < n) y[at + 1] = v.y;
    if (at + 2 < n) y[at + 2] = v.z;
    if (at + 3 < n) y[at + 3] = v.w;
}

/* Whether every four of a row of n weights lies inside it, whatever n is. */
static bool fal_is_whole(int type)
{
    return type == FAL_Q4_K || type == FAL_Q5_K || type == FAL_Q6_K;
}

/* The part of step `step` that lane 0..31 of a slice holds: 8 weights as two fours, and the columns where each four
   starts. Neighbouring lanes read neighbouring bytes. Columns from n on are outside the row: weight 0. */
static void fal_lane_weights(int type, const __global uchar *row, int n, int step, int lane, float4 *a, float4 *b,
                             int *at_a, int *at_b)
{
    const int first = step * FAL_STEP;
    *a = *b = (float4)(0.0f);
    if (type == FAL_Q4_K) {
        const __global uchar *block = row + (long)step * 144;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const uint q = *(const __global uint *)(block + 16 + c * 32 + l); /* blocks are multiples of 4 bytes */
        const uint4 head = fal_q4_k_head(block);
        const float4 s = fal_q4_k_scales(head, c);
        *a = s.x * fal_bytes_4(q & 0x0f0f0f0fu) - s.y;
        *b = s.z * fal_bytes_4((q >> 4) & 0x0f0f0f0fu) - s.w;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q5_K) {
        const __global uchar *block = row + (long)step * 176;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const uint q = *(const __global uint *)(block + 48 + c * 32 + l);
        const uint qh = *(const __global uint *)(block + 16 + l) >> (2 * c);
        const uint4 head = fal_q4_k_head(block);
        const float4 s = fal_q4_k_scales(head, c);
        *a = s.x * fal_bytes_4((q & 0x0f0f0f0fu) | ((qh & 0x01010101u) << 4)) - s.y;
        *b = s.z * fal_bytes_4(((q >> 4) & 0x0f0f0f0fu) | ((qh & 0x02020202u) << 3)) - s.w;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q6_K) {
        const __global uchar *block = row + (long)step * 210;
        const int h = lane / 16, j = lane % 16 * 4; /* half of the block, first ql byte in it */
        const int k = j / 32, l = j % 32;
        const uint ql = fal_load_even(block + h * 64 + j), qh = fal_load_even(block + 128 + h * 32 + l);
        const float d = fal_half_at(block + 208);
        const __global char *scale = (const __global char *)(block + 192) + h * 8 + l / 16;
        const uint low = (ql & 0x0f0f0f0fu) | (((qh >> (2 * k)) & 0x03030303u) << 4);
        const uint high = ((ql >> 4) & 0x0f0f0f0fu) | (((qh >> (2 * k + 4)) & 0x03030303u) << 4);
        *a = (d * (float)scale[2 * k]) * (fal_bytes_4(low) - 32.0f);
        *b = (d * (float)scale[2 * k + 4]) * (fal_bytes_4(high) - 32.0f);
        *at_a = first + h * 128 + j;
        *at_b = *at_a + 64;
    } else if (type == FAL_Q8_0) {
        *at_a = first + lane * 8;
        *at_b = *at_a + 4;
        if (*at_a >= n) return;
        const __global uchar *block = row + (long)(*at_a / 32) * 34;
        const __global char *q = (const __global char *)(block + 2) + lane % 4 * 8;
        const float d = fal_half_at(block);
        *a = d * (float4)((float)q[0], (float)q[1], (float)q[2], (float)q[3]);
        *b = d * (float4)((float)q[4], (float)q[5], (float)q[6], (float)q[7]);
    } else {
        *at_a = first + lane * 4;
        *at_b = *at_a + 128;
        float va[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, vb[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        for (int i = 0; i < 4; i++) {
            const int p = *at_a + i, q = *at_b + i;
            if (p < n) va[i] = fal_element_at(type, row, p);
            if (q < n) vb[i] = fal_element_at(type, row, q);
        }
        *a = (float4)(va[0], va[1], va[2], va[3]);
        *b = (float4)(vb[0], vb[1], vb[2], vb[3]);
    }
}

/* Some steps of a row product as one lane of a slice has them: its 8 columns of each. whole: as for fal_load_4. */
static float4 fal_lane_steps(int type, bool whole, const __global uchar *row, int n, int lane, const __global float *x)
{
    const int n_steps = (n + FAL_STEP - 1) / FAL_STEP;
    float4 sum = (float4)(0.0f);
    FAL_UNROLL(4)
    for (int step = 0; step < n_steps; step++) {
        float4 a, b;
        int at_a = step * FAL_STEP + lane * 4, at_b = at_a + 128;
        if (type == FAL_F32) {
            a = fal_load_4(whole, (const __global float *)row, at_a, n);
            b = fal_load_4(whole, (const __global float *)row, at_b, n);
        } else {
            fal_lane_weights(type, row, n, step, lane, &a, &b, &at_a, &at_b);
        }
        sum = fma(a, fal_load_4(whole, x, at_a, n), sum);
        sum = fma(b, fal_load_4(whole, x, at_b, n), sum);
    }
    return sum;
}

/* The sum of a row product as one lane of a slice has it. */
static float fal_lane_times(int type, const __global uchar *row, int n, int lane, const __global float *x)
{
    float4 sum;
    if (fal_is_whole(type) || n % FAL_STEP == 0) sum = fal_lane_steps(type, true, row, n, lane, x);
    else sum = fal_lane_steps(type, false, row, n, lane, x);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

/* Weights at .. at+15 of a row (at: a multiple of 16) as the file has them, in up to 16 words, so that they can be on
   their way while others are computed with. Columns from n on: 0 bits. */
static void fal_fetch_16(int type, const __global uchar *row, int n, int at, uint *raw)
{
    const int in_block = at % 256, l = at % 32;
    if (type == FAL_Q4_K || type == FAL_Q5_K) {
        const __global uchar *block = row + (long)(at / 256) * (type == FAL_Q4_K ? 144 : 176);
        const uint4 head = fal_q4_k_head(block);
        const __global uint *q = (const __global uint *)(block + (type == FAL_Q4_K ? 16 : 48) + in_block / 64 * 32 + l);
        const __global uint *qh = (const __global uint *)(block + 16 + l);
        raw[0] = head.x;
        raw[1] = head.y;
        raw[2] = head.z;
        raw[3] = head.w;
        for (int i = 0; i < 4; i++) raw[4 + i] = q[i];
        for (int i = 0; i < 4 && type == FAL_Q5_K; i++) raw[8 + i] = qh[i];
    } else if (type == FAL_Q6_K) {
        const __global uchar *block = row + (long)(at / 256) * 210;
        const int h = in_block / 128, k = in_block % 128 / 32;
        const __global uchar *ql = block + h * 64 + k % 2 * 32 + l, *qh = block + 128 + h * 32 + l;
        raw[0] = *(const __global ushort *)(block + 208);
        raw[1] = block[192 + in_block / 16];
        for (int i = 0; i < 4; i++) {
            raw[2 + i] = fal_load_even(ql + 4 * i);
            raw[6 + i] = fal_load_even(qh + 4 * i);
        }
    } else if (type == FAL_Q8_0) {
        const __global uchar *block = row + (long)(at / 32) * 34;
        for (int i = 0; i < 5; i++) raw[i] = 0;
        if (at >= n) return;
        raw[0] = *(const __global ushort *)block;
        for (int i = 0; i < 4; i++) raw[1 + i] = fal_load_even(block + 2 + l + 4 * i);
    } else {
        const __global ushort *halves = (const __global ushort *)row;
        for (int i = 0; i < 16; i++)
            raw[i] = at + i >= n ? 0 : type == FAL_F32 ? ((const __global uint *)row)[at + i] : halves[at + i];
    }
}

/* What fal_fetch_16 fetched from `at` as four fours. */
static void fal_unpack_16(int type, int at, const uint *raw, float4 *w)
{
    const int j = at % 256 / 32; /* sub-block of a K-quant */
    if (type == FAL_Q4_K || type == FAL_Q5_K) {
        const float2 scale = fal_q4_k_scale((uint4)(raw[0], raw[1], raw[2], raw[3]), j);
        for (int i = 0; i < 4; i++) {
            uint codes = (raw[4 + i] >> (j % 2 * 4)) & 0x0f0f0f0fu;
            if (type == FAL_Q5_K) codes |= ((raw[8 + i] >> j) & 0x01010101u) << 4;
            w[i] = scale.x * fal_bytes_4(codes) - scale.y;
        }
    } else if (type == FAL_Q6_K) {
        const int k = j % 4;
        const float d = fal_half((ushort)raw[0]) * (float)(char)raw[1];
        for (int i = 0; i < 4; i++) {
            const uint low = (raw[2 + i] >> (k / 2 * 4)) & 0x0f0f0f0fu, high = (raw[6 + i] >> (2 * k)) & 0x03030303u;
            w[i] = d * (fal_bytes_4(low | high << 4) - 32.0f);
        }
    } else if (type == FAL_Q8_0) {
        const float d = fal_half((ushort)raw[0]);
        for (int i = 0; i < 4; i++) w[i] = d * (fal_bytes_4(raw[1 + i] ^ 0x80808080u) - 128.0f); /* signed codes */
    } else {
        float v[16];
        for (int i = 0; i < 16; i++)
            v[i] = type == FAL_F16 ? fal_half((ushort)raw[i]) : as_float(type == FAL_BF16 ? raw[i] << 16 : raw[i]);
        for (int i = 0; i < 4; i++) w[i] = (float4)(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    }
}

/* A tile of FAL_SIDE rows by FAL_SIDE tokens: all of its rows are dequantised once into local memory, FAL_DEPTH columns
   at a time. A work-item has 8 rows and 4 tokens: rows 4x .. 4x+3 and 32+4x .. 32+4x+3, tokens 4y .. 4y+3, where
   x = fal_tile_x() and y = fal_tile_y(). Local rows have 4 floats more than needed, which keeps the stores of a slice
   out of each other's banks. */
#define FAL_DEPTH 32
#define FAL_TILE_ROW (FAL_SIDE + 4)
#define FAL_TILE_FLOATS (2 * FAL_DEPTH * FAL_TILE_ROW)

static int fal_tile_x(void)
{
    return (int)get_local_id(0) % 8;
}

static int fal_tile_y(void)
{
    return (int)get_local_id(0) / 8;
}

/* The row, and the token, that this work-item brings to local memory. */
static int fal_tile_row(void)
{
    return (int)get_local_id(0) % FAL_SIDE;
}

static int fal_tile_token(void)
{
    return (int)get_local_id(0) / 32 * 16 + ((int)get_local_id(0) & 15);
}

/* y[i] = products of the i-th row of this work-item with its four tokens; 0 where it is not active. row: fal_tile_row()
   of the tile, x: fal_tile_token() of it. Every FAL_STEP columns are summed by themselves before they join the total,
   which keeps the error of n columns near that of FAL_STEP + n/FAL_STEP additions. A token's sums do not depend on the
   tokens beside it. */
static void fal_tile_times(__local float *tile, int type, const __global uchar *row, const __global float *x, int n,
                           bool active, float4 *y)
{
    const int id = (int)get_local_id(0);
    const int w_at = id / FAL_SIDE * 16, x_at = (id >> 4 & 1) * 4; /* first column of what this work-item brings */
    __local float *w_to = tile + w_at * FAL_TILE_ROW + fal_tile_row();
    __local float *x_to = tile + (FAL_DEPTH + x_at) * FAL_TILE_ROW + fal_tile_token();
    const __local float *w_from = tile + 4 * fal_tile_x();
    const __local float *x_from = tile + FAL_DEPTH * FAL_TILE_ROW + 4 * fal_tile_y();
    uint raw[16];
    float4 v[4], sum[8];
    for (int i = 0; i < 8; i++) y[i] = sum[i] = (float4)(0.0f);
    fal_fetch_16(type, row, n, w_at, raw);
    for (int j = 0; j < 4; j++) v[j] = fal_load_4(fal_is_whole(type), x, x_at + 8 * j, n);
    for (int at = 0; at < n; at += FAL_DEPTH) {
        float4 w[4];
        fal_unpack_16(type, at + w_at, raw, w);
        barrier(CLK_LOCAL_MEM_FENCE);
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
        barrier(CLK_LOCAL_MEM_FENCE);
        const int next = at + FAL_DEPTH; /* on its way while this one is multiplied */
        if (next < n) {
            fal_fetch_16(type, row, n, next + w_at, raw);
            for (int j = 0; j < 4; j++) v[j] = fal_load_4(fal_is_whole(type), x, next + x_at + 8 * j, n);
        }
        if (active) {
            FAL_UNROLL(8)
            for (int k = 0; k < FAL_DEPTH; k++) {
                const float4 a = *(const __local float4 *)(w_from + k * FAL_TILE_ROW);
                const float4 b = *(const __local float4 *)(w_from + k * FAL_TILE_ROW + 32);
                const float4 c = *(const __local float4 *)(x_from + k * FAL_TILE_ROW);
                sum[0] = fma((float4)(a.x), c, sum[0]);
                sum[1] = fma((float4)(a.y), c, sum[1]);
                sum[2] = fma((float4)(a.z), c, sum[2]);
                sum[3] = fma((float4)(a.w), c, sum[3]);
                sum[4] = fma((float4)(b.x), c, sum[4]);
                sum[5] = fma((float4)(b.y), c, sum[5]);
                sum[6] = fma((float4)(b.z), c, sum[6]);
                sum[7] = fma((float4)(b.w), c, sum[7]);
            }
        }
        if (next % FAL_STEP == 0 || next >= n)
            for (int i = 0; i < 8; i++) {
                y[i] += sum[i];
                sum[i] = (float4)(0.0f);
            }
    }
}

#else

static float fal_sum_16(float16 v)
{
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static float fal_max_16(float16 v)
{
    const float8 a = fmax(v.lo, v.hi);
    const float4 b = fmax(a.lo, a.hi);
    const float2 c = fmax(b.lo, b.hi);
    return fmax(c.x, c.y);
}

/* x[at .. at+15], `other` for columns from n on. */
static float16 fal_load_16(const __global float *x, int at, int n, float other)
{
    if (at + 16 <= n) return vload16(0, x + at);
    float v[16];
    for (int i = 0; i < 16; i++) v[i] = at + i < n ? x[at + i] : other;
    return vload16(0, v);
}

/* y[at .. at+15] = v, leaving columns from n on. */
static void fal_store_16(float16 v, __global float *y, int at, int n)
{
    if (at + 16 <= n) {
        vstore16(v, 0, y + at);
        return;
    }
    float part[16];
    vstore16(v, 0, part);
    for (int i = 0; at + i < n && i < 16; i++) y[at + i] = part[i];
}

/* The 256 weights of step `step` as 16 vectors of 16 columns; columns from n on are 0. */
static void fal_step_weights(int type, const __global uchar *row, int n, int step, float16 *w)
{
    const int first = step * FAL_STEP;
    if (type == FAL_Q4_K) {
        const __global uchar *block = row + (long)step * 144;
        const uint4 head = fal_q4_k_head(block);
        for (int c = 0; c < 4; c++) {
            const float2 low = fal_q4_k_scale(head, 2 * c), high = fal_q4_k_scale(head, 2 * c + 1);
            const uchar16 q0 = vload16(2 * c, block + 16), q1 = vload16(2 * c + 1, block + 16);
            w[4 * c] = low.x * convert_float16(q0 & (uchar16)(15)) - low.y;
            w[4 * c + 1] = low.x * convert_float16(q1 & (uchar16)(15)) - low.y;
            w[4 * c + 2] = high.x * convert_float16(q0 >> (uchar16)(4)) - high.y;
            w[4 * c + 3] = high.x * convert_float16(q1 >> (uchar16)(4)) - high.y;
        }
    } else if (type == FAL_Q5_K) {
        const __global uchar *block = row + (long)step * 176;
        const uchar16 qh0 = vload16(1, block), qh1 = vload16(2, block);
        const uint4 head = fal_q4_k_head(block);
        for (int c = 0; c < 4; c++) {
            const float2 low = fal_q4_k_scale(head, 2 * c), high = fal_q4_k_scale(head, 2 * c + 1);
            const uchar16 q0 = vload16(2 * c, block + 48), q1 = vload16(2 * c + 1, block + 48);
            const uchar16 h0 = qh0 >> (uchar16)(2 * c), h1 = qh1 >> (uchar16)(2 * c);
            const uchar16 one = (uchar16)(1), two = (uchar16)(2), three = (uchar16)(3), four = (uchar16)(4);
            w[4 * c] = low.x * convert_float16((q0 & (uchar16)(15)) | ((h0 & one) << four)) - low.y;
            w[4 * c + 1] = low.x * convert_float16((q1 & (uchar16)(15)) | ((h1 & one) << four)) - low.y;
            w[4 * c + 2] = high.x * convert_float16((q0 >> four) | ((h0 & two) << three)) - high.y;
            w[4 * c + 3] = high.x * convert_float16((q1 >> four) | ((h1 & two) << three)) - high.y;
        }
    } else if (type == FAL_Q6_K) {
        const __global uchar *block = row + (long)step * 210;
        const __global char *scale = (const __global char *)(block + 192);
        const float d = fal_half_at(block + 208);
        for (int h = 0; h < 2; h++)
            for (int k = 0; k < 4; k++)
                for (int m = 0; m < 2; m++) { /* the half of 16 in weights 32k .. 32k+31 */
                    const uchar16 ql = vload16(4 * h + 2 * (k % 2) + m, block);
                    const uchar16 qh = vload16(8 + 2 * h + m, block);
                    const uchar16 low = k < 2 ? ql & (uchar16)(15) : ql >> (uchar16)(4);
                    const uchar16 high = (qh >> (uchar16)(2 * k)) & (uchar16)(3);
                    w[8 * h + 2 * k + m] = (d * (float)scale[8 * h + 2 * k + m]) *
                                           (convert_float16(low | (high << (uchar16)(4))) - 32.0f);
                }
    } else if (type == FAL_Q8_0) {
        for (int i = 0; i < 8; i++) {
            if (first + 32 * i >= n) {
                w[2 * i] = w[2 * i + 1] = (float16)(0.0f);
                continue;
            }
            const __global uchar *block = row + (long)(first / 32 + i) * 34;
            const __global char *q = (const __global char *)(block + 2);
            const float d = fal_half_at(block);
            w[2 * i] = d * convert_float16(vload16(0, q));
            w[2 * i + 1] = d * convert_float16(vload16(1, q));
        }
    } else if (type == FAL_F16 || type == FAL_BF16) {
        for (int i = 0; i < 16; i++) {
            const int at = first + 16 * i;
            if (at + 16 <= n) {
                w[i] = type == FAL_F16
                           ? vload_half16(0, (const __global half *)row + at)
                           : as_float16(convert_uint16(vload16(0, (const __global ushort *)row + at)) << (uint16)(16));
            } else {
                float v[16];
                for (int l = 0; l < 16; l++) v[l] = at + l < n ? fal_element_at(type, row, at + l) : 0.0f;
                w[i] = vload16(0, v);
            }
        }
    } else {
        for (int i = 0; i < 16; i++) w[i] = fal_load_16((const __global float *)row, first + 16 * i, n, 0.0f);
    }
}

/* y_t[r] = row . x_t for n_tile (a constant after inlining) vectors. Each step is summed by itself before it joins the
   total, which keeps the error of a row of n columns near that of n/256 + 16 additions. */
static void fal_row_times(int type, int n_tile, const __global uchar *row, int n, const __global float *const *x,
                          float *y)
{
    float16 total[FAL_TILE], w[16];
    for (int t = 0; t < n_tile; t++) total[t] = (float16)(0.0f);
    const int n_steps = (n + FAL_STEP - 1) / FAL_STEP;
    for (int step = 0; step < n_steps; step++) {
        const int first = step * FAL_STEP;
        const int full = (n - first) / 16 < 16 ? (n - first) / 16 : 16; /* vectors that lie inside the row */
        float16 sum[FAL_TILE];
        fal_step_weights(type, row, n, step, w);
        for (int t = 0; t < n_tile; t++) sum[t] = (float16)(0.0f);
        for (int i = 0; i < full; i++)
            for (int t = 0; t < n_tile; t++) sum[t] += w[i] * vload16(i, x[t] + first);
        if (full < 16 && first + 16 * full < n)
            for (int t = 0; t < n_tile; t++) sum[t] += w[full] * fal_load_16(x[t], first + 16 * full, n, 0.0f);
        for (int t = 0; t < n_tile; t++) total[t] += sum[t];
    }
    for (int t = 0; t < n_tile; t++) y[t] = fal_sum_16(total[t]);
}

#endif
