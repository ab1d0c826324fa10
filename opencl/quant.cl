/* Shared prelude of every program: arithmetic rules, reductions in a fixed tree, and weight blocks as the file stores
   them. */

/* Products and sums are rounded one by one: results are then those of the formula, on every device. */
#pragma OPENCL FP_CONTRACT OFF

/* From the build options: FAL_CPU (0 work-group kernels, 1 barrier-free ones), FAL_GROUP (work-items of a work-group),
   FAL_TILE (tokens that share one pass over a weight row), FAL_CPU_ROWS (rows of one CPU work-item). */
#if FAL_CPU
#define FAL_KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
#else
#define FAL_KERNEL __kernel __attribute__((reqd_work_group_size(FAL_GROUP, 1, 1))) void
#endif

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
   weight = (d*s_j)*code - (dmin*m_j). Source: the block layouts of the GGUF K-quants. */
static float2 fal_q4_k_scale(const __global uchar *block, int j)
{
    const __global uchar *s = block + 4;
    int scale, mins;
    if (j < 4) {
        scale = s[j] & 63;
        mins = s[j + 4] & 63;
    } else {
        scale = (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4);
        mins = (s[j + 4] >> 4) | ((s[j] >> 6) << 4);
    }
    return (float2)(fal_half_at(block) * (float)scale, fal_half_at(block + 2) * (float)mins);
}

/* Q5_K block, 176 bytes for 256 weights: d, dmin and scales as in Q4_K, 32 bytes qh (high bits), 128 bytes of codes (low
   4 bits) as in Q4_K. Bit j of qh[l] is bit 4 of the code of weight l of sub-block j. */

/* Q6_K block, 210 bytes for 256 weights: 128 bytes ql (low 4 bits), 64 bytes qh (high 2 bits), 16 signed 8-bit scales,
   f16 d. Half h (128 weights) has ql 64h .. 64h+63 and qh 32h .. 32h+31; weight 32k + l of the half (k 0..3, l 0..31):
     low  = nibble k/2 of ql[64h + 32(k%2) + l], high = bits 2k, 2k+1 of qh[32h + l]
     weight = (d * scale[8h + 2k + l/16]) * ((low | high << 4) - 32)
   Q8_0 block, 34 bytes for 32 weights: f16 d, 32 signed codes; weight = d * code. */

#if !FAL_CPU

/* The sum of v over each slice of 32 work-items, known to all of them. part: FAL_GROUP floats.
   Steps are written out because barriers inside loops are where drivers err. */
static float fal_sum_32(__local float *part, float v)
{
    const int i = (int)get_local_id(0), lane = i & 31;
    barrier(CLK_LOCAL_MEM_FENCE);
    part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 16) part[i] += part[i + 16];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 8) part[i] += part[i + 8];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 4) part[i] += part[i + 4];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < 2) part[i] += part[i + 2];
    barrier(CLK_LOCAL_MEM_FENCE);
    return part[i - lane] + part[i - lane + 1];
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
    const int i = (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    part[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (i < 32) part[i] = fmax(fmax(part[i], part[i + 32]), fmax(part[i + 64], part[i + 96]));
    barrier(CLK_LOCAL_MEM_FENCE);
    if (i < 8) part[i] = fmax(fmax(part[i], part[i + 8]), fmax(part[i + 16], part[i + 24]));
    barrier(CLK_LOCAL_MEM_FENCE);
    return fmax(fmax(fmax(part[0], part[1]), fmax(part[2], part[3])),
                fmax(fmax(part[4], part[5]), fmax(part[6], part[7])));
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
        const uchar4 q = vload4(0, block + 16 + c * 32 + l);
        const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
        *a = low.x * convert_float4(q & (uchar4)(15)) - low.y;
        *b = high.x * convert_float4(q >> (uchar4)(4)) - high.y;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q5_K) {
        const __global uchar *block = row + (long)step * 176;
        const int c = lane / 8, l = lane % 8 * 4; /* chunk of 64 weights, first code byte in it */
        const uchar4 q = vload4(0, block + 48 + c * 32 + l), qh = vload4(0, block + 16 + l) >> (uchar4)(2 * c);
        const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
        const uchar4 low_codes = (q & (uchar4)(15)) | ((qh & (uchar4)(1)) << (uchar4)(4));
        const uchar4 high_codes = (q >> (uchar4)(4)) | ((qh & (uchar4)(2)) << (uchar4)(3));
        *a = low.x * convert_float4(low_codes) - low.y;
        *b = high.x * convert_float4(high_codes) - high.y;
        *at_a = first + c * 64 + l;
        *at_b = *at_a + 32;
    } else if (type == FAL_Q6_K) {
        const __global uchar *block = row + (long)step * 210;
        const int h = lane / 16, j = lane % 16 * 4; /* half of the block, first ql byte in it */
        const int k = j / 32, l = j % 32;
        const uchar4 ql = vload4(0, block + h * 64 + j), qh = vload4(0, block + 128 + h * 32 + l);
        const float d = fal_half_at(block + 208);
        const __global char *scale = (const __global char *)(block + 192) + h * 8 + l / 16;
        const uchar4 low = (ql & (uchar4)(15)) | (((qh >> (uchar4)(2 * k)) & (uchar4)(3)) << (uchar4)(4));
        const uchar4 high = (ql >> (uchar4)(4)) | (((qh >> (uchar4)(2 * k + 4)) & (uchar4)(3)) << (uchar4)(4));
        *a = (d * (float)scale[2 * k]) * (convert_float4(low) - 32.0f);
        *b = (d * (float)scale[2 * k + 4]) * (convert_float4(high) - 32.0f);
        *at_a = first + h * 128 + j;
        *at_b = *at_a + 64;
    } else if (type == FAL_Q8_0) {
        *at_a = first + lane * 8;
        *at_b = *at_a + 4;
        if (*at_a >= n) return;
        const __global uchar *block = row + (long)(*at_a / 32) * 34;
        const __global char *q = (const __global char *)(block + 2) + lane % 4 * 8;
        const float d = fal_half_at(block);
        *a = d * convert_float4(vload4(0, q));
        *b = d * convert_float4(vload4(1, q));
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

/* x[at .. at+3], 0 for columns from n on. */
static float4 fal_load_4(const __global float *x, int at, int n)
{
    if (at + 4 <= n) return vload4(0, x + at);
    return (float4)(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f, at + 2 < n ? x[at + 2] : 0.0f, 0.0f);
}

/* y[at .. at+3] = v, leaving columns from n on. */
static void fal_store_4(float4 v, __global float *y, int at, int n)
{
    if (at + 4 <= n) {
        vstore4(v, 0, y + at);
        return;
    }
    if (at < n) y[at] = v.x;
    if (at + 1 < n) y[at + 1] = v.y;
    if (at + 2 < n) y[at + 2] = v.z;
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
        for (int c = 0; c < 4; c++) {
            const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
            const uchar16 q0 = vload16(2 * c, block + 16), q1 = vload16(2 * c + 1, block + 16);
            w[4 * c] = low.x * convert_float16(q0 & (uchar16)(15)) - low.y;
            w[4 * c + 1] = low.x * convert_float16(q1 & (uchar16)(15)) - low.y;
            w[4 * c + 2] = high.x * convert_float16(q0 >> (uchar16)(4)) - high.y;
            w[4 * c + 3] = high.x * convert_float16(q1 >> (uchar16)(4)) - high.y;
        }
    } else if (type == FAL_Q5_K) {
        const __global uchar *block = row + (long)step * 176;
        const uchar16 qh0 = vload16(1, block), qh1 = vload16(2, block);
        for (int c = 0; c < 4; c++) {
            const float2 low = fal_q4_k_scale(block, 2 * c), high = fal_q4_k_scale(block, 2 * c + 1);
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
