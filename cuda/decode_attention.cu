/* decode_attention: norm and rotation of q and k, the new cache entry, and attention of one token, split over
   positions. */
#include "decode.cuh"

/* Positions are taken in tiles of 8. Tiles go to the splits (blocks) in turn, and within a block to its warps in turn;
   each
   warp keeps a running maximum, a sum and the weighted values of its heads. Warps are then merged in ascending order,
   and
   splits in ascending order by the last block to arrive, whichever that is: the order of sums follows from the position
   alone. A block works on up to FAL_HEADS query heads that share a key-value head, so that its cache is read once for
   them. */
#define FAL_HEADS 8
#define FAL_POS 8
#define FAL_WARPS 8
#define FAL_MOST_SPLITS 32

extern __shared__ __align__(16) float fal_smem[];

/* A cache of T: f32, or f16 that is rounded once when it is stored. */
template <typename T> struct fal_cache;
template <> struct fal_cache<float> {
    enum { WORDS = 4 }; /* registers of four values */
    static __device__ __forceinline__ void load(const float *p, unsigned *to) { fal_load_16((const unsigned char *)p,
        to); }
    static __device__ __forceinline__ float4 get(const unsigned *r)
    {
        return make_float4(__uint_as_float(r[0]), __uint_as_float(r[1]), __uint_as_float(r[2]), __uint_as_float(r[3]));
    }
    static __device__ __forceinline__ void set(unsigned *r, float4 v)
    {
        r[0] = __float_as_uint(v.x), r[1] = __float_as_uint(v.y), r[2] = __float_as_uint(v.z),
            r[3] = __float_as_uint(v.w);
    }
    static __device__ __forceinline__ float put(float *p, float v) { return *p = v; }
};
template <> struct fal_cache<__half> {
    enum { WORDS = 2 };
    static __device__ __forceinline__ void load(const __half *p, unsigned *to)
    {
        asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "l"(p));
    }
    static __device__ __forceinline__ float4 get(const unsigned *r)
    {
        const float2 a = fal_codes_2(r[0]), b = fal_codes_2(r[1]);
        return make_float4(a.x, a.y, b.x, b.y);
    }
    static __device__ __forceinline__ void set(unsigned *r, float4 v)
    {
        r[0] = __half_as_ushort(__float2half_rn(v.x)) | (unsigned)__half_as_ushort(__float2half_rn(v.y)) << 16;
        r[1] = __half_as_ushort(__float2half_rn(v.z)) | (unsigned)__half_as_ushort(__float2half_rn(v.w)) << 16;
    }
    static __device__ __forceinline__ float put(__half *p, float v)
    {
        *p = __float2half_rn(v);
        return __half2float(*p);
    }
};

/* One warp: to[0..head_dim) = scale * RoPE(RMSNorm(x)). */
static __device__ void rotated(int head_dim, float eps, float scale, const float *x, const float *w, const float *cos_p,
                               const float *sin_p, float *to)
{
    const int lane = (int)threadIdx.x & 31, half_dim = head_dim / 2;
    float squares = 0.0f;
    for (int i = lane; i < head_dim; i += 32) {
        const float v = x[i];
        to[i] = v * w[i];
        squares = fmaf(v, v, squares);
    }
    const float root = scale / sqrtf(fal_warp_sum(squares) / (float)head_dim + eps);
    __syncwarp();
    for (int i = lane; i < half_dim; i += 32) {
        const float a = to[i] * root, b = to[i + half_dim] * root, c = cos_p[i], s = sin_p[i];
        to[i] = fmaf(a, c, -(b * s));
        to[i + half_dim] = fmaf(a, s, b * c);
    }
    __syncwarp();
}

/* v[i] summed over the warp, for eight i at once: lane l gets the sum of v[l / 4]. */
static __device__ __forceinline__ float sum_8(int lane, float *v)
{
#pragma unroll
    for (int n = 4; n > 0; n /= 2) { /* lanes n * 4 apart share out 2n values */
        const bool is_high = lane & (n * 4);
#pragma unroll
        for (int i = 0; i < n; i++) {
            const float keep = is_high ? v[i + n] : v[i], give = is_high ? v[i] : v[i + n];
            v[i] = keep + __shfl_xor_sync(0xffffffffu, give, n * 4);
        }
    }
    v[0] += __shfl_xor_sync(0xffffffffu, v[0], 2);
    return v[0] + __shfl_xor_sync(0xffffffffu, v[0], 1);
}

/* The lane's values of a tile's entries before pos; 0 for the others. */
template <typename T, int NC>
static __device__ __forceinline__ void load_tile(int tile, int pos, int lane, int head_dim, long stride,
    const T *k_cache,
                                                 const T *v_cache, unsigned (&kr)[FAL_POS][fal_cache<T>::WORDS * NC],
                                                 unsigned (&vr)[FAL_POS][fal_cache<T>::WORDS * NC])
{
    enum { W = fal_cache<T>::WORDS };
#pragma unroll
    for (int i = 0; i < FAL_POS; i++) {
#pragma unroll
        for (int j = 0; j < W * NC; j++) kr[i][j] = vr[i][j] = 0;
#pragma unroll
        for (int c = 0; c < NC; c++) {
            const int p = tile * FAL_POS + i, d = c * 128 + 4 * lane;
            if (p >= pos || d >= head_dim) continue;
            fal_cache<T>::load(k_cache + p * stride + d, kr[i] + c * W);
            fal_cache<T>::load(v_cache + p * stride + d, vr[i] + c * W);
        }
    }
}

#define ARGS                                                                                                           \
    int n_head, int n_head_kv, int head_dim, int n_splits, float eps, const int *state, const float *q, const float *k, \
        const float *v, const float *q_norm, const float *k_norm, const float *cos_table, const float *sin_table,      \
        void *k_cache_, void *v_cache_, float *parts, float *tops, int *arrived, float *y

/* NC: 128-wide pieces of a head. Grid: head chunks x n_splits. Scratch: parts [chunk][split][FAL_HEADS][head_dim],
   tops [chunk][split][FAL_HEADS][2], arrived [chunk], which is zero before and after. */
template <typename T, int NC> static __device__ __forceinline__ void attention(bool *is_last, ARGS)
{
    typedef fal_cache<T> cache;
    enum { WORDS = cache::WORDS * NC, DP = NC * 128 };
    const int id = (int)threadIdx.x, lane = id & 31, warp = id / 32;
    const int split = (int)blockIdx.x % n_splits, chunk = (int)blockIdx.x / n_splits;
    const int per_kv = n_head / n_head_kv, n_chunks = (per_kv + FAL_HEADS - 1) / FAL_HEADS;
    const int kv = chunk / n_chunks, head0 = kv * per_kv + chunk % n_chunks * FAL_HEADS;
    const int n_mine = min(FAL_HEADS, (kv + 1) * per_kv - head0);
    const int pos = state[1], n_tiles = pos / FAL_POS + 1;
    const int active = min(n_splits, n_tiles);
    const long stride = (long)n_head_kv * head_dim;
    T *k_cache = (T *)k_cache_ + (long)kv * head_dim, *v_cache = (T *)v_cache_ + (long)kv * head_dim;
    float *q_s = fal_smem, *k_new = q_s + FAL_HEADS * DP, *v_new = k_new + DP;
    float *e_s = v_new + DP, *m_s = e_s + FAL_WARPS * FAL_HEADS * FAL_POS, *l_s = m_s + FAL_WARPS * FAL_HEADS;
    float *acc_s = l_s + FAL_WARPS * FAL_HEADS, *scale_s = acc_s + FAL_WARPS * FAL_HEADS * DP;

    fal_launch_next();
    if (split >= active) {
        fal_wait();
        return;
    }
    unsigned kr[FAL_POS][WORDS], vr[FAL_POS][WORDS];
    /* Entries before pos were stored by earlier tokens: they may be read before the wait. */
    int tile = split + active * warp;
    if (tile < n_tiles) load_tile<T, NC>(tile, pos, lane, head_dim, stride, k_cache, v_cache, kr, vr);
    fal_wait();

    const float *cos_p = cos_table + (long)pos * (head_dim / 2), *sin_p = sin_table + (long)pos * (head_dim / 2);
    for (int i = head_dim + lane; i < DP; i += 32) {
        q_s[warp * DP + i] = 0.0f;
        if (warp == 0) k_new[i] = v_new[i] = 0.0f;
    }
    if (warp < n_mine)
        rotated(head_dim, eps, 1.0f / sqrtf((float)head_dim), q + (long)(head0 + warp) * head_dim, q_norm, cos_p, sin_p,
                q_s + warp * DP);
    else
        for (int i = lane; i < head_dim; i += 32) q_s[warp * DP + i] = 0.0f;
    if ((n_tiles - 1) % active == split) { /* this block has the tile of pos */
        const bool stores = chunk % n_chunks == 0;
        if (warp == 0) {
            rotated(head_dim, eps, 1.0f, k + (long)kv * head_dim, k_norm, cos_p, sin_p, k_new);
            for (int i = lane; stores && i < head_dim; i += 32) cache::put(k_cache + pos * stride + i, k_new[i]);
        } else if (warp == 1) {
            for (int i = lane; i < head_dim; i += 32) {
                v_new[i] = v[(long)kv * head_dim + i];
                if (stores) cache::put(v_cache + pos * stride + i, v_new[i]);
            }
        }
    }
    __syncthreads();

    float m[FAL_HEADS], l[FAL_HEADS];
    float4 acc[FAL_HEADS][NC];
#pragma unroll
    for (int h = 0; h < FAL_HEADS; h++) {
        m[h] = -INFINITY;
        l[h] = 0.0f;
#pragma unroll
        for (int c = 0; c < NC; c++) acc[h][c] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    float *e_w = e_s + warp * FAL_HEADS * FAL_POS;
    for (bool is_first = true; tile < n_tiles; tile += active * FAL_WARPS, is_first = false) {
        if (!is_first) load_tile<T, NC>(tile, pos, lane, head_dim, stride, k_cache, v_cache, kr, vr);
        if (tile == n_tiles - 1) {
            unsigned k_words[WORDS], v_words[WORDS];
#pragma unroll
            for (int c = 0; c < NC; c++) {
                cache::set(k_words + c * cache::WORDS, *(const float4 *)(k_new + c * 128 + 4 * lane));
                cache::set(v_words + c * cache::WORDS, *(const float4 *)(v_new + c * 128 + 4 * lane));
            }
#pragma unroll
            for (int i = 0; i < FAL_POS; i++)
#pragma unroll
                for (int j = 0; j < WORDS; j++) {
                    kr[i][j] = i == pos % FAL_POS ? k_words[j] : kr[i][j];
                    vr[i][j] = i == pos % FAL_POS ? v_words[j] : vr[i][j];
                }
        }
        float4 kf[FAL_POS][NC];
#pragma unroll
        for (int i = 0; i < FAL_POS; i++)
#pragma unroll
            for (int c = 0; c < NC; c++) kf[i][c] = cache::get(kr[i] + c * cache::WORDS);
#pragma unroll
        for (int h = 0; h < FAL_HEADS; h++) {
            float dots[FAL_POS];
#pragma unroll
            for (int i = 0; i < FAL_POS; i++) dots[i] = 0.0f;
#pragma unroll
            for (int c = 0; c < NC; c++) {
                const float4 q_h = *(const float4 *)(q_s + h * DP + c * 128 + 4 * lane);
#pragma unroll
                for (int i = 0; i < FAL_POS; i++) dots[i] = fal_dot_4(q_h, kf[i][c], dots[i]);
            }
            const float dot = sum_8(lane, dots);
            const float score = tile * FAL_POS + lane / 4 <= pos ? dot : -INFINITY;
            float top = score;
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 4));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 8));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 16));
            top = fmaxf(top, m[h]);
            const float e = expf(score - top), shrink = expf(m[h] - top);
            float total = e;
            total += __shfl_xor_sync(0xffffffffu, total, 4);
            total += __shfl_xor_sync(0xffffffffu, total, 8);
            total += __shfl_xor_sync(0xffffffffu, total, 16);
            l[h] = fmaf(l[h], shrink, total);
            m[h] = top;
#pragma unroll
            for (int c = 0; c < NC; c++) acc[h][c] = shrink * acc[h][c];
            if ((lane & 3) == 0) e_w[h * FAL_POS + lane / 4] = e;
        }
        __syncwarp();
        float4 vf[FAL_POS][NC];
#pragma unroll
        for (int i = 0; i < FAL_POS; i++)
#pragma unroll
            for (int c = 0; c < NC; c++) vf[i][c] = cache::get(vr[i] + c * cache::WORDS);
#pragma unroll
        for (int h = 0; h < FAL_HEADS; h++) {
            const float4 e0 = *(const float4 *)(e_w + h * FAL_POS), e1 = *(const float4 *)(e_w + h * FAL_POS + 4);
            const float e[FAL_POS] = { e0.x, e0.y, e0.z, e0.w, e1.x, e1.y, e1.z, e1.w };
#pragma unroll
            for (int c = 0; c < NC; c++)
#pragma unroll
                for (int i = 0; i < FAL_POS; i++) {
                    acc[h][c].x = fmaf(e[i], vf[i][c].x, acc[h][c].x);
                    acc[h][c].y = fmaf(e[i], vf[i][c].y, acc[h][c].y);
                    acc[h][c].z = fmaf(e[i], vf[i][c].z, acc[h][c].z);
                    acc[h][c].w = fmaf(e[i], vf[i][c].w, acc[h][c].w);
                }
        }
        __syncwarp();
    }

    /* Warps that had a tile are the first ones. */
    const int n_warps = min(FAL_WARPS, (n_tiles - split + active - 1) / active);
    if (warp < n_warps) {
#pragma unroll
        for (int h = 0; h < FAL_HEADS; h++) {
#pragma unroll

                for (int c = 0; c < NC; c++) *(float4 *)(acc_s + (warp * FAL_HEADS + h) * DP + c * 128 + 4 * lane) = acc[h][c];
            if (lane == 0) {
                m_s[warp * FAL_HEADS + h] = m[h];
                l_s[warp * FAL_HEADS + h] = l[h];
            }
        }
    }
    __syncthreads();
    const long block = (long)chunk * n_splits + split;
    for (int i = id; i < n_mine * head_dim; i += (int)blockDim.x) {
        const int h = i / head_dim, d = i - h * head_dim;
        float top = m_s[h];
        for (int w = 1; w < n_warps; w++) top = fmaxf(top, m_s[w * FAL_HEADS + h]);
        float sum = 0.0f, total = 0.0f;
        for (int w = 0; w < n_warps; w++) {
            const float e = expf(m_s[w * FAL_HEADS + h] - top);
            total = fmaf(e, l_s[w * FAL_HEADS + h], total);
            sum = fmaf(e, acc_s[(w * FAL_HEADS + h) * DP + d], sum);
        }
        if (active == 1) {
            y[(long)(head0 + h) * head_dim + d] = sum / total;
            continue;
        }
        parts[(block * FAL_HEADS + h) * head_dim + d] = sum;
        if (d == 0) {
            tops[(block * FAL_HEADS + h) * 2] = top;
            tops[(block * FAL_HEADS + h) * 2 + 1] = total;
        }
    }
    if (active == 1) return;
    __threadfence();
    __syncthreads();
    if (id == 0) {
        const int before = atomicAdd(&arrived[chunk], 1);
        *is_last = before == active - 1;
        if (*is_last) arrived[chunk] = 0;
    }
    __syncthreads();
    if (!*is_last) return;
    __threadfence();
    const long first = (long)chunk * n_splits;
    if (warp < n_mine) { /* one warp a head, one lane a split */
        const long at = ((first + lane) * FAL_HEADS + warp) * 2;
        const float top = lane < active ? __ldcg(tops + at) : -INFINITY;
        float all = top;
#pragma unroll
        for (int d = 16; d > 0; d /= 2) all = fmaxf(all, __shfl_xor_sync(0xffffffffu, all, d));
        const float e = lane < active ? expf(top - all) : 0.0f;
        const float total = fal_warp_sum(lane < active ? e * __ldcg(tops + at + 1) : 0.0f);
        scale_s[warp * FAL_MOST_SPLITS + lane] = e / total;
    }
    __syncthreads();
    for (int i = id; i < n_mine * (head_dim / 4); i += (int)blockDim.x) {
        const int h = i / (head_dim / 4), d = (i - h * (head_dim / 4)) * 4;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
        for (int s = 0; s < active; s++) {
            const float4 v_s = __ldcg((const float4 *)(parts + ((first + s) * FAL_HEADS + h) * head_dim + d));
            const float e = scale_s[h * FAL_MOST_SPLITS + s];
            sum.x = fmaf(e, v_s.x, sum.x);
            sum.y = fmaf(e, v_s.y, sum.y);
            sum.z = fmaf(e, v_s.z, sum.z);
            sum.w = fmaf(e, v_s.w, sum.w);
        }
        *(float4 *)(y + (long)(head0 + h) * head_dim + d) = sum;
    }
}
#define KERNEL(name, T, NC)                                                                                            \
    extern "C" __global__ void __launch_bounds__(FAL_WARPS * 32, 1) fal_cu_decode_attention__##name(ARGS)              \
    {                                                                                                                  \
        __shared__ bool is_last;                                                                                       \
        attention<T, NC>(&is_last, n_head, n_head_kv, head_dim, n_splits, eps, state, q, k, v, q_norm, k_norm,         \
                         cos_table, sin_table, k_cache_, v_cache_, parts, tops, arrived, y);                           \
    }
KERNEL(d128_f32, float, 1)
KERNEL(d128_f16, __half, 1)
