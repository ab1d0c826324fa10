/* Shared parts of the fused decode kernels: vectors in shared memory, products of weight rows with them, reductions. */
#include "quant.cuh"

/* Declared arithmetic of these kernels: f32 activations, f32 accumulators, exact codes and scales. Unlike in the exact
   class, products and sums are fused (fmaf), a K-quant block is taken as scale * sum(code * x) - min * sum(x), and the
   sum of
   a row is split over lanes, then warps, by fixed trees: results repeat bit for bit on the same kind of device, but
   differ
   from those of the exact class by rounding. No atomics on floats. */

#define FAL_ROWS 4 /* rows that a warp takes through the vector at once */
#define FAL_RAW 14 /* registers of weights that a lane holds per row */

/* A kernel of one token's chain may start while the one before it still runs; what it reads before fal_wait() must not
   come
   from that one. Every thread calls fal_wait(), so that a kernel never ends before its predecessors. */
static __device__ __forceinline__ void fal_wait()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static __device__ __forceinline__ void fal_launch_next()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

static __device__ __forceinline__ float fal_warp_sum(float v)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}

/* The sum of v over the block, warps in ascending order. red: 32 floats. */
static __device__ float fal_block_sum(float *red, float v)
{
    const float mine = fal_warp_sum(v);
    if ((threadIdx.x & 31) == 0) red[threadIdx.x / 32] = mine;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < (int)blockDim.x / 32; i++) sum += red[i];
    __syncthreads();
    return sum;
}

/* ---- vectors in shared memory ---------------------------------------------------------------------------------------
   A vector of n_seg segments of n_in columns, each filled up with zeros to whole blocks of 256; four floats are left
   free
   after each 64, so that lanes 64 columns apart use different banks. sums[i] is the sum of columns 32i .. 32i+31. */
static __device__ __forceinline__ int fal_at(int column)
{
    return column + (column >> 6) * 4;
}

static __host__ __device__ __forceinline__ int fal_blocks(int n_in)
{
    return (n_in + 255) / 256;
}

static __device__ __forceinline__ float4 fal_global_4(const float *x, int at, int n)
{
    if (at + 4 <= n && ((size_t)(x + at) & 15) == 0) return *(const float4 *)(x + at);
    return make_float4(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f, at + 2 < n ? x[at + 2] : 0.0f,
                       at + 3 < n ? x[at + 3] : 0.0f);
}

/* Stores columns 4i .. 4i+3 and their share of the sums; whole warps call it with neighbouring i. */
static __device__ __forceinline__ void fal_put_4(float *xs, float *sums, int i, float4 v)
{
    *(float4 *)(xs + fal_at(4 * i)) = v;
    float s = (v.x + v.y) + (v.z + v.w);
    s += __shfl_xor_sync(0xffffffffu, s, 1);
    s += __shfl_xor_sync(0xffffffffu, s, 2);
    s += __shfl_xor_sync(0xffffffffu, s, 4);
    if ((i & 7) == 0) sums[i >> 3] = s;
}

/* x as it stands in global memory. The caller synchronises afterwards. */
static __device__ void fal_take_vector(float *xs, float *sums, int n_seg, int n_in, const float *x)
{
    const int per_seg = fal_blocks(n_in) * 64;
    for (int i = (int)threadIdx.x; i < n_seg * per_seg; i += (int)blockDim.x) {
        const int seg = n_seg == 1 ? 0 : i / per_seg, at = (i - seg * per_seg) * 4;
        fal_put_4(xs, sums, i, fal_global_4(x + (long)seg * n_in, at, n_in));
    }
}

/* RMSNorm of x: (x / root) * w. The caller synchronises afterwards. */
static __device__ void fal_take_norm(float *xs, float *sums, float *red, int n_in, float eps, const float *x,
                                     const float *w, float *copy)
{
    enum { KEEP = 4 };
    const int n = fal_blocks(n_in) * 64, first = (int)threadIdx.x, step = (int)blockDim.x;
    float4 kept[KEEP];
    float squares = 0.0f;
#pragma unroll
    for (int j = 0; j < KEEP; j++) {
        const int i = first + j * step;
        kept[j] = i < n ? fal_global_4(x, 4 * i, n_in) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        squares = fmaf(kept[j].x, kept[j].x, fmaf(kept[j].y, kept[j].y, fmaf(kept[j].z, kept[j].z, fmaf(kept[j].w,
            kept[j].w, squares))));
    }
    for (int i = first + KEEP * step; i < n; i += step) {
        const float4 v = fal_global_4(x, 4 * i, n_in);
        squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
    }
    const float scale = 1.0f / sqrtf(fal_block_sum(red, squares) / (float)n_in + eps);
#pragma unroll
    for (int j = 0; j < KEEP; j++) {
        const int i = first + j * step;
        if (i >= n) continue; /* the same for all lanes of a warp: n and step are multiples of 32 */
        const float4 v = (scale * kept[j]) * fal_global_4(w, 4 * i, n_in);
        fal_put_4(xs, sums, i, v);
        if (copy) fal_store_4(v, copy, 4 * i, n_in);
    }
    for (int i = first + KEEP * step; i < n; i += step) {
        const float4 v = (scale * fal_global_4(x, 4 * i, n_in)) * fal_global_4(w, 4 * i, n_in);
        fal_put_4(xs, sums, i, v);
        if (copy) fal_store_4(v, copy, 4 * i, n_in);
    }
}

/* ---- rows of weights
   ------------------------------------------------------------------------------------------------ */

/* Rows r0 .. r0+R-1 of a matrix (those past the last are computed and dropped), or of the matrices of several experts,
   whose
   segments of the vector follow each other. */
typedef struct {
    int type, n_in, n_out, r0;
    int per_seg, n_blocks;   /* blocks of 256 columns in a segment, and in all */
    const int *ids;          /* expert of each segment, in shared memory; NULL: one matrix */
    const unsigned char *w;
    long row_bytes;
} fal_rows;

static __device__ __forceinline__ fal_rows fal_make_rows(int type, int n_seg, int n_in, int n_out, int r0,
    const int *ids,
                                                         const unsigned char *w)
{
    const fal_rows m = { type, n_in, n_out, r0, fal_blocks(n_in), n_seg * fal_blocks(n_in), ids, w,
        fal_row_bytes(type, n_in) };
    return m;
}

/* Lanes that share a block of 256 columns: a pass of the warp takes 32 / that many blocks. */
static __device__ __forceinline__ int fal_lanes_of_block(int type)
{
    return type == FAL_Q4_K ? 4 : type == FAL_Q6_K ? 8 : 32;
}

static __device__ __forceinline__ int fal_passes(const fal_rows *m)
{
    const int at_once = 32 / fal_lanes_of_block(m->type);
    return (m->n_blocks + at_once - 1) / at_once;
}

static __device__ __forceinline__ bool fal_is_wide_f32(const fal_rows *m)
{
    return m->type == FAL_F32 && (m->n_in & 255) == 0;
}

/* Plain loads: those through the read-only path may be moved behind a wait, and waiting is what they are to hide. */
static __device__ __forceinline__ void fal_load_16(const unsigned char *p, unsigned *to)
{
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "l"(p));
}

static __device__ __forceinline__ unsigned fal_load_word(const unsigned char *p)
{
    unsigned v;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

static __device__ __forceinline__ unsigned fal_load_u16(const unsigned char *p)
{
    unsigned short v;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}

static __device__ __forceinline__ int fal_load_s8(const unsigned char *p)
{
    int v;
    asm volatile("ld.global.s8 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

/* The lane's weights of one pass, as the file has them. Blocks past the last are read as the last. Types without a
   path of
   their own are read where they are used. */
template <int R> static __device__ __forceinline__ void fal_load_rows(const fal_rows *m, int pass, int lane,
    unsigned *raw)
{
    const int lanes = fal_lanes_of_block(m->type);
    const int vb = min(pass * (32 / lanes) + lane / lanes, m->n_blocks - 1);
    const int seg = m->ids ? vb / m->per_seg : 0, b = vb - seg * m->per_seg;
    const unsigned char *base = m->ids ? m->w + (long)m->ids[seg] * m->n_out * m->row_bytes : m->w;
    if (m->type == FAL_Q4_K) {
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned char *p = base + (long)min(m->r0 + i, m->n_out - 1) * m->row_bytes + (long)b * 144;
            fal_load_16(p + 16 + 32 * (lane & 3), raw + i * FAL_RAW);
            fal_load_16(p + 32 + 32 * (lane & 3), raw + i * FAL_RAW + 4);
            fal_load_16(p, raw + i * FAL_RAW + 8);
        }
    } else if (m->type == FAL_Q6_K) {
        const int h = (lane & 7) / 4, t = lane & 3;
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned char *p = base + (long)min(m->r0 + i, m->n_out - 1) * m->row_bytes + (long)b * 210;
            const unsigned char *even = (const unsigned char *)((size_t)p & ~(size_t)3); /* p, or 2 bytes before it */
            unsigned *to = raw + i * FAL_RAW;
#pragma unroll
            for (int k = 0; k < 3; k++) {
                to[k] = fal_load_word(even + 64 * h + 8 * t + 4 * k);
                to[3 + k] = fal_load_word(even + 64 * h + 32 + 8 * t + 4 * k);
                to[6 + k] = fal_load_word(even + 128 + 32 * h + 8 * t + 4 * k);
            }
#pragma unroll
            for (int k = 0; k < 4; k++) to[9 + k] = (unsigned)fal_load_s8(p + 192 + 8 * h + 2 * k + t / 2);
            to[13] = fal_load_u16(p + 208) | ((unsigned)(size_t)p & 2) << 16;
        }
    } else if (fal_is_wide_f32(m)) {
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned char *p = base + (long)min(m->r0 + i,
                m->n_out - 1) * m->row_bytes + (long)b * 1024 + 16 * lane;
            fal_load_16(p, raw + i * FAL_RAW);
            fal_load_16(p + 512, raw + i * FAL_RAW + 4);
        }
    }
}

/* Two codes of at most 10 bits in the halves of a word are f16 subnormals: their values times 2^-24, exactly. */
static __device__ __forceinline__ float2 fal_codes_2(unsigned v)
{
    __half2 h;
    memcpy(&h, &v, sizeof h);
    return make_float2(__low2float(h), __high2float(h));
}

static __device__ __forceinline__ float fal_half_bits(unsigned v)
{
    return __half2float(__ushort_as_half((unsigned short)v));
}

#define FAL_2_24 16777216.0f

template <int R>
static __device__ __forceinline__ void fal_use_q4_k(int vb, int lane, const unsigned *raw, const float *xs,
                                                    const float *sums, float *acc)
{
    const int c = lane & 3;
    const float *x = xs + (vb * 4 + c) * 68;
    float low[R], high[R];
#pragma unroll
    for (int i = 0; i < R; i++) low[i] = high[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < 8; k++) { /* four code bytes: 8 columns */
        const float4 a = *(const float4 *)(x + 4 * k), b = *(const float4 *)(x + 32 + 4 * k);
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned v = raw[i * FAL_RAW + k], u = v >> 8;
            const float2 l0 = fal_codes_2(v & 0x000f000fu), l1 = fal_codes_2(u & 0x000f000fu);
            const float2 h0 = fal_codes_2(v & 0x00f000f0u), h1 = fal_codes_2(u & 0x00f000f0u);
            low[i] = fmaf(l0.x, a.x, fmaf(l1.x, a.y, fmaf(l0.y, a.z, fmaf(l1.y, a.w, low[i]))));
            high[i] = fmaf(h0.x, b.x, fmaf(h1.x, b.y, fmaf(h0.y, b.z, fmaf(h1.y, b.w, high[i]))));
        }
    }
    const float sum_low = sums[vb * 8 + 2 * c], sum_high = sums[vb * 8 + 2 * c + 1];
    const int shift = (c & 1) * 16;
#pragma unroll
    for (int i = 0; i < R; i++) {
        const unsigned *head = raw + i * FAL_RAW + 8;
        const unsigned a = head[1] >> shift, b = head[2] >> shift, d = head[3] >> shift; /* two bytes each */
        const unsigned scales = c < 2 ? a & 0x3f3fu : (d & 0x0f0fu) | ((a >> 2) & 0x3030u);
        const unsigned mins = c < 2 ? b & 0x3f3fu : ((d >> 4) & 0x0f0fu) | ((b >> 2) & 0x3030u);
        const float2 s = fal_codes_2((scales & 0xffu) | (scales & 0xff00u) << 8);
        const float2 n = fal_codes_2((mins & 0xffu) | (mins & 0xff00u) << 8);
        const float d_24 = fal_half_bits(head[0] & 0xffffu) * FAL_2_24,
            min_24 = fal_half_bits(head[0] >> 16) * FAL_2_24;
        /* high codes stand four bits up: 1/16 */
        const float codes = fmaf(s.x, low[i] * FAL_2_24, s.y * (high[i] * (FAL_2_24 / 16.0f)));
        acc[i] = fmaf(d_24, codes, fmaf(-min_24, fmaf(n.x, sum_low, n.y * sum_high), acc[i]));
    }
}

template <int R>
static __device__ __forceinline__ void fal_use_q6_k(int vb, int lane, const unsigned *raw, const float *xs, float *acc)
{
    const int h = (lane & 7) / 4, t = lane & 3;
    float sum[R];
#pragma unroll
    for (int i = 0; i < R; i++) sum[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const float *x = xs + fal_at(vb * 256 + 128 * h + 32 * k) + 8 * t;
        const float4 a = *(const float4 *)x, b = *(const float4 *)(x + 4);
        const float offset = -32.0f / FAL_2_24 * (((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w)));
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned *r = raw + i * FAL_RAW;
            const unsigned odd = (r[13] & 0x20000u) >> 13; /* 16 when the block starts on an odd half-word */
            const int from = (k & 1) * 3;
            unsigned q[2];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const unsigned l = __funnelshift_r(r[from + j], r[from + j + 1], odd);
                const unsigned u = __funnelshift_r(r[6 + j], r[7 + j], odd);
                q[j] = ((k < 2 ? l : l >> 4) & 0x0f0f0f0fu) |
                       ((k == 0 ? u << 4 : k == 1 ? u << 2 : k == 2 ? u : u >> 2) & 0x30303030u);
            }
            const float2 q0 = fal_codes_2(q[0] & 0x00ff00ffu), q1 = fal_codes_2((q[0] >> 8) & 0x00ff00ffu);
            const float2 q2 = fal_codes_2(q[1] & 0x00ff00ffu), q3 = fal_codes_2((q[1] >> 8) & 0x00ff00ffu);
            float part = fmaf(q0.x, a.x, offset);
            part = fmaf(q1.x, a.y, fmaf(q0.y, a.z, fmaf(q1.y, a.w, part)));
            part = fmaf(q2.x, b.x, fmaf(q3.x, b.y, fmaf(q2.y, b.z, fmaf(q3.y, b.w, part))));
            sum[i] = fmaf((float)(int)r[9 + k], part, sum[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < R; i++) acc[i] = fmaf(fal_half_bits(raw[i * FAL_RAW + 13] & 0xffffu) * FAL_2_24, sum[i],
        acc[i]);
}

static __device__ __forceinline__ float fal_dot_4(float4 a, float4 b, float sum)
{
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

/* acc[i] += the lane's part of one pass of row i. */
template <int R>
static __device__ __forceinline__ void fal_use_rows(const fal_rows *m, int pass, int lane, const unsigned *raw,
                                                    const float *xs, const float *sums, float *acc)
{
    const int lanes = fal_lanes_of_block(m->type);
    const int vb = pass * (32 / lanes) + lane / lanes;
    if (vb >= m->n_blocks) return;
    if (m->type == FAL_Q4_K) {
        fal_use_q4_k<R>(vb, lane, raw, xs, sums, acc);
    } else if (m->type == FAL_Q6_K) {
        fal_use_q6_k<R>(vb, lane, raw, xs, acc);
    } else if (fal_is_wide_f32(m)) {
        const float4 x0 = *(const float4 *)(xs + fal_at(vb * 256 + 4 * lane));
        const float4 x1 = *(const float4 *)(xs + fal_at(vb * 256 + 128 + 4 * lane));
#pragma unroll
        for (int i = 0; i < R; i++) {
            const unsigned *r = raw + i * FAL_RAW;
            const float4 w0 = make_float4(__uint_as_float(r[0]), __uint_as_float(r[1]), __uint_as_float(r[2]),
                __uint_as_float(r[3]));
            const float4 w1 = make_float4(__uint_as_float(r[4]), __uint_as_float(r[5]), __uint_as_float(r[6]),
                __uint_as_float(r[7]));
            acc[i] = fal_dot_4(w0, x0, fal_dot_4(w1, x1, acc[i]));
        }
    } else {
        const int seg = m->ids ? vb / m->per_seg : 0, b = vb - seg * m->per_seg;
        const unsigned char *base = m->ids ? m->w + (long)m->ids[seg] * m->n_out * m->row_bytes : m->w;
        for (int i = 0; i < R; i++) {
            float4 w0, w1;
            int at_0, at_1;
            fal_lane_weights(m->type, base + (long)min(m->r0 + i, m->n_out - 1) * m->row_bytes, m->n_in, b, lane, &w0,
                &w1,
                             &at_0, &at_1);
            const int from = seg * m->per_seg * 256;
            acc[i] = fal_dot_4(w0, *(const float4 *)(xs + fal_at(from + at_0)),
                               fal_dot_4(w1, *(const float4 *)(xs + fal_at(from + at_1)), acc[i]));
        }
    }
}

/* y[i] = row i times the vector, over passes part, part + n_parts, ...; raw holds the first of them. Known to all
   lanes. */
template <int R>
static __device__ __forceinline__ void fal_multiply(const fal_rows *m, int part, int n_parts, int lane, unsigned *raw,
                                                    const float *xs, const float *sums, float *y)
{
    const int n_passes = fal_passes(m);
    float acc[R];
#pragma unroll
    for (int i = 0; i < R; i++) acc[i] = 0.0f;
    for (int pass = part; pass < n_passes; pass += n_parts) {
        if (pass != part) fal_load_rows<R>(m, pass, lane, raw);
        fal_use_rows<R>(m, pass, lane, raw, xs, sums, acc);
    }
#pragma unroll
    for (int i = 0; i < R; i++) y[i] = fal_warp_sum(acc[i]);
}

/* ---- routing
   -------------------------------------------------------------------------------------------------------- */

/* A float as an integer with the same order; -0 equals 0, all NaN are equal and largest. */
static __device__ __forceinline__ unsigned fal_order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const unsigned bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The n_used largest of the logits, largest first, ties to the lower id, into ids; top[s] their logits. The choice
   among
   logits is that among their softmax, whose common divisor the weights lose anyway. keys, ranks: n_expert words each;
   ids, top: n_used. Starts and ends with all threads in step. */
static __device__ void fal_choose(int n_expert, int n_used, const float *logits, unsigned *keys, int *ranks, int *ids,
                                  float *top)
{
    const int n_threads = (int)blockDim.x, id = (int)threadIdx.x;
    for (int e = id; e < n_expert; e += n_threads) {
        keys[e] = fal_order_key(__ldcg(logits + e));
        ranks[e] = 0;
    }
    __syncthreads();
    /* The rank of an expert is the number of experts before it; several threads count for one where there are enough.
       */
    const int n_shares = max(1, min(8, n_threads / n_expert)), per = (n_expert + n_shares - 1) / n_shares;
    for (int i = id; i < n_expert * n_shares; i += n_threads) {
        const int share = i / n_expert, e = i - share * n_expert, end = min(n_expert, (share + 1) * per);
        const unsigned mine = keys[e];
        int before = 0;
#pragma unroll 8
        for (int o = share * per; o < end; o++) before += keys[o] > mine || (keys[o] == mine && o < e);
        atomicAdd(&ranks[e], before);
    }
    __syncthreads();
    for (int e = id; e < n_expert; e += n_threads) {
        if (ranks[e] >= n_used) continue;
        ids[ranks[e]] = e;
        top[ranks[e]] = __ldcg(logits + e);
    }
    __syncthreads();
}
