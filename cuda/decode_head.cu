/* decode_head: the end of a token: final norm, logits and their argmax, which becomes the next token on the device. */
#include "decode.cuh"

extern __shared__ __align__(16) float fal_smem[];

#define FAL_MOST 384

/* norm_x = RMSNorm(x), logits = W norm_x, and the largest logit of each block with its index. Warps take groups of
   rows in turn. */
#define LOGITS_ARGS                                                                                                    \
    int n_embd, int n_vocab, int type, float eps, const unsigned char *w, const float *norm, const float *x,           \
        float *norm_x, float *logits, unsigned *best_keys, int *best_ids
static __device__ __forceinline__ void logits_of_blocks(float *red, unsigned *warp_keys, int *warp_ids, LOGITS_ARGS)
{
    fal_launch_next();
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32, n_warps = (int)blockDim.x / 32;
    const int n_all = (n_vocab + FAL_ROWS - 1) / FAL_ROWS;
    float *xs = fal_smem, *sums = xs + fal_blocks(n_embd) * 272;
    int g = (int)blockIdx.x + warp * (int)gridDim.x;
    fal_rows m = fal_make_rows(type, 1, n_embd, n_vocab, min(g, n_all - 1) * FAL_ROWS, NULL, w);
    unsigned raw[FAL_ROWS * FAL_RAW];
    float y[FAL_ROWS];
    fal_load_rows<FAL_ROWS>(&m, 0, lane, raw);
    fal_wait();
    fal_take_norm(xs, sums, red, n_embd, eps, x, norm, blockIdx.x == 0 ? norm_x : NULL);
    __syncthreads();
    unsigned best_key = 0;
    int best = INT_MAX;
    const int n_passes = fal_passes(&m);
    while (g < n_all) {
        const int r0 = g * FAL_ROWS;
        g += n_warps * (int)gridDim.x;
        float acc[FAL_ROWS];
#pragma unroll
        for (int i = 0; i < FAL_ROWS; i++) acc[i] = 0.0f;
        for (int pass = 0; pass < n_passes; pass++) {
            fal_use_rows<FAL_ROWS>(&m, pass, lane, raw, xs, sums, acc);
            const bool is_end = pass + 1 == n_passes;
            if (is_end) m.r0 = min(g, n_all - 1) * FAL_ROWS;
            if (!is_end || g < n_all) fal_load_rows<FAL_ROWS>(&m, is_end ? 0 : pass + 1, lane, raw);
        }
#pragma unroll
        for (int i = 0; i < FAL_ROWS; i++) {
            y[i] = fal_warp_sum(acc[i]);
            const unsigned key = fal_order_key(y[i]);
            if (r0 + i >= n_vocab) continue;
            if (lane == i) logits[r0 + i] = y[i];
            if (best != INT_MAX && key <= best_key) continue; /* rows come in ascending order: ties stay low */
            best_key = key;
            best = r0 + i;
        }
    }
    if (lane == 0) {
        warp_keys[warp] = best_key;
        warp_ids[warp] = best;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < n_warps; i++) {
        if (warp_keys[i] < best_key || (warp_keys[i] == best_key && warp_ids[i] > best)) continue;
        best_key = warp_keys[i];
        best = warp_ids[i];
    }
    best_keys[blockIdx.x] = best_key;
    best_ids[blockIdx.x] = best;
}

/* A type known when compiling leaves the registers of the others free. */
#define LOGITS(name, type_)                                                                                            \
    extern "C" __global__ void __launch_bounds__(FAL_MOST, 1) fal_cu_decode_head__logits_##name(LOGITS_ARGS)           \
    {                                                                                                                  \
        __shared__ float red[32];                                                                                      \
        __shared__ unsigned warp_keys[32];                                                                             \
        __shared__ int warp_ids[32];                                                                                   \
        logits_of_blocks(red, warp_keys, warp_ids, n_embd, n_vocab, type_, eps, w, norm, x, norm_x, logits, best_keys, \
                         best_ids);                                                                                    \
    }
LOGITS(q4_k, FAL_Q4_K)
LOGITS(q6_k, FAL_Q6_K)
LOGITS(any, type)

/* state = {next token, position + 1, tokens so far + 1}, and the token into out[tokens so far] while it has room. One
   block. */
FAL_KERNEL fal_cu_decode_head__next(int n_blocks, int n_out, const unsigned *best_keys, const int *best_ids,
    int *state, int *out)
{
    __shared__ unsigned keys[FAL_GROUP];
    __shared__ int ids[FAL_GROUP];
    const int id = (int)threadIdx.x;
    unsigned best_key = 0;
    int best = INT_MAX;
    fal_wait();
    for (int i = id; i < n_blocks; i += FAL_GROUP) {
        const unsigned key = __ldcg(best_keys + i);
        const int other = __ldcg(best_ids + i);
        if (key < best_key || (key == best_key && other > best)) continue;
        best_key = key;
        best = other;
    }
    keys[id] = best_key;
    ids[id] = best;
    for (int d = FAL_GROUP / 2; d > 0; d /= 2) {
        __syncthreads();
        if (id < d && (keys[id + d] > keys[id] || (keys[id + d] == keys[id] && ids[id + d] < ids[id]))) {
            keys[id] = keys[id + d];
            ids[id] = ids[id + d];
        }
    }
    if (id != 0) return;
    const int n = state[2];
    state[0] = ids[0];
    state[1]++;
    state[2] = n + 1;
    if (n < n_out) out[n] = ids[0];
}
