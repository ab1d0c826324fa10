/* decode_experts: the chosen experts of one token: act = weight * silu(gate) * up, then residual + down(act). */
#include "decode.cuh"

extern __shared__ __align__(16) float fal_smem[];

#define FAL_MOST 384

/* act[s,:] = weight of slot s * silu(gate) * up. A group is FAL_ROWS rows of gate and the same rows of up of one slot,
   in
   2 * n_parts warps; a block has n_groups groups. Choosing needs every logit, so nothing can be read ahead here; the
   next
   kernel starts only after the wait, because it reads the logits before its own. */
#define ACT_ARGS                                                                                                       \
    int n_expert, int n_used, int n_embd, int n_ff, int n_groups, int n_parts, int type_gate, int type_up,             \
        const unsigned char *w_gate, const unsigned char *w_up, const float *x, const float *logits, float *act
static __device__ __forceinline__ void act_of_experts(float *red, ACT_ARGS)
{
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32, n_blocks = fal_blocks(n_embd);
    float *xs = fal_smem, *sums = xs + n_blocks * 272, *top = sums + n_blocks * 8;
    int *ids = (int *)(top + n_used), *ranks = ids + n_used;
    unsigned *keys = (unsigned *)(ranks + n_expert);
    const int groups_ff = (n_ff + FAL_ROWS - 1) / FAL_ROWS, n_all = n_used * groups_ff;
    fal_wait();
    fal_launch_next();
    fal_take_vector(xs, sums, 1, n_embd, x);
    fal_choose(n_expert, n_used, logits, keys, ranks, ids, top);
    const int in_group = warp % (2 * n_parts), part = in_group / 2;
    int g = min((int)blockIdx.x * n_groups + warp / (2 * n_parts), n_all - 1);
    const int slot = g / groups_ff;
    const bool is_up = in_group & 1;
    fal_rows m = fal_make_rows(is_up ? type_up : type_gate, 1, n_embd, n_ff, (g - slot * groups_ff) * FAL_ROWS, NULL,
                               is_up ? w_up : w_gate);
    m.w += (long)ids[slot] * n_ff * m.row_bytes;
    unsigned raw[FAL_ROWS * FAL_RAW];
    float y[FAL_ROWS];
    fal_load_rows<FAL_ROWS>(&m, part, lane, raw);
    fal_multiply<FAL_ROWS>(&m, part, n_parts, lane, raw, xs, sums, y);
    if (lane == 0)
        for (int i = 0; i < FAL_ROWS; i++) red[warp * FAL_ROWS + i] = y[i];
    __syncthreads();
    const int row = (int)threadIdx.x % FAL_ROWS, group = (int)threadIdx.x / FAL_ROWS;
    g = (int)blockIdx.x * n_groups + group;
    if (group >= n_groups || g >= n_all) return;
    const int s = g / groups_ff, r = (g - s * groups_ff) * FAL_ROWS + row;
    if (r >= n_ff) return;
    float gate = 0.0f, up = 0.0f, total = 0.0f;
    for (int p = 0; p < n_parts; p++) {
        gate += red[((group * n_parts + p) * 2) * FAL_ROWS + row];
        up += red[((group * n_parts + p) * 2 + 1) * FAL_ROWS + row];
    }
    for (int i = 0; i < n_used; i++) total += expf(top[i] - top[0]);
    act[(long)s * n_ff + r] = expf(top[s] - top[0]) / total * ((gate / (1.0f + expf(-gate))) * up);
}

/* y = x + sum_s W[ids[s]] act[s,:]: one row over the slots' concatenated columns. Groups and parts as in decode_dense.
   */
#define DOWN_ARGS                                                                                                      \
    int n_expert, int n_used, int n_ff, int n_embd, int n_groups, int n_parts, int type, const unsigned char *w,       \
        const float *act, const float *logits, const float *x, float *y, int *chosen
static __device__ __forceinline__ void down_of_experts(float *red, DOWN_ARGS)
{
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32, n_blocks = n_used * fal_blocks(n_ff);
    float *xs = fal_smem, *sums = xs + n_blocks * 272, *top = sums + n_blocks * 8;
    int *ids = (int *)(top + n_used), *ranks = ids + n_used;
    unsigned *keys = (unsigned *)(ranks + n_expert);
    fal_launch_next();
    fal_choose(n_expert, n_used, logits, keys, ranks, ids, top); /* before the wait: see above */
    for (int i = (int)threadIdx.x; blockIdx.x == 0 && i < n_used; i += (int)blockDim.x) chosen[i] = ids[i]; /* for the host to see */
    const int g = min((int)blockIdx.x * n_groups + warp / n_parts, (n_embd + FAL_ROWS - 1) / FAL_ROWS - 1);
    const fal_rows m = fal_make_rows(type, n_used, n_ff, n_embd, g * FAL_ROWS, ids, w);
    unsigned raw[FAL_ROWS * FAL_RAW];
    float part[FAL_ROWS];
    fal_load_rows<FAL_ROWS>(&m, warp % n_parts, lane, raw);
    fal_wait();
    fal_take_vector(xs, sums, n_used, n_ff, act);
    __syncthreads();
    fal_multiply<FAL_ROWS>(&m, warp % n_parts, n_parts, lane, raw, xs, sums, part);
    if (lane == 0)
        for (int i = 0; i < FAL_ROWS; i++) red[warp * FAL_ROWS + i] = part[i];
    __syncthreads();
    const int row = (int)threadIdx.x % FAL_ROWS, group = (int)threadIdx.x / FAL_ROWS;
    const int r = ((int)blockIdx.x * n_groups + group) * FAL_ROWS + row;
    if (group >= n_groups || r >= n_embd) return;
    float sum = red[group * n_parts * FAL_ROWS + row];
    for (int p = 1; p < n_parts; p++) sum += red[(group * n_parts + p) * FAL_ROWS + row];
    y[r] = x[r] + sum;
}

/* A type known when compiling leaves the registers of the others free. */
#define ACT(name, gate, up, blocks)                                                                                            \
    extern "C" __global__ void __launch_bounds__(FAL_MOST, blocks) fal_cu_decode_experts__act_##name(ACT_ARGS)              \
    {                                                                                                                  \
        __shared__ float red[FAL_MOST / 32 * FAL_ROWS];                                                                \
        act_of_experts(red, n_expert, n_used, n_embd, n_ff, n_groups, n_parts, gate, up, w_gate, w_up, x, logits, act); \
    }
#define DOWN(name, type_)                                                                                              \
    extern "C" __global__ void __launch_bounds__(FAL_MOST, 1) fal_cu_decode_experts__down_##name(DOWN_ARGS)            \
    {                                                                                                                  \
        __shared__ float red[FAL_MOST / 32 * FAL_ROWS];                                                                \
        down_of_experts(red, n_expert, n_used, n_ff, n_embd, n_groups, n_parts, type_, w, act, logits, x, y, chosen);  \
    }
ACT(q4_k, FAL_Q4_K, FAL_Q4_K, 2)
ACT(any, type_gate, type_up, 1)
DOWN(q4_k, FAL_Q4_K)
DOWN(q6_k, FAL_Q6_K)
DOWN(any, type)
