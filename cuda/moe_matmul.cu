/* moe_matmul: y[t,s,r] = sum_c w[ids[t,s],r,c] x[t,c] (or x[t,s,c]); only rows of chosen experts are read. */
#include "quant.cuh"

/* A slot is one (token, chosen expert) pair, numbered t * n_expert_used + s. x_div is n_expert_used when the slots of a
   token share x[t,:], else 1. lists holds, for the grouped kernels, n_expert + 1 offsets and after them all slots
   ordered by expert: then a weight row is read once for many slots. */
#define ARGS                                                                                                           \
    int n_slots, int n_expert, int x_div, int n_in, int n_out, const unsigned char *w, const unsigned char *w_2,     \
        const float *x, const int *ids, const int *lists, float *y, float *y_2
#define PASS n_slots, n_expert, x_div, n_in, n_out, w, w_2, x, ids, lists, y, y_2
/* Two products of the same x in one launch, but for the grouped kernels: slots of the second after those of the first. */
#define SELECT                                                                                                         \
    if (slot >= n_slots) {                                                                                             \
        slot -= n_slots;                                                                                               \
        w = w_2, y = y_2;                                                                                              \
    }

/* Makes lists: one block per expert, each thread counting in its own stretch of slots; then all write theirs in
   ascending order. */
FAL_KERNEL fal_cu_moe_matmul__group(int n_slots, int n_expert, const int *ids, int *lists)
{
    fal_begin();
    __shared__ int befores[FAL_GROUP];
    __shared__ int mines[FAL_GROUP];
    const int e = (int)blockIdx.x, id = (int)threadIdx.x;
    const int stretch = (n_slots + FAL_GROUP - 1) / FAL_GROUP;
    const int first = min(n_slots, id * stretch), end = min(n_slots, first + stretch);
    int before = 0, mine = 0;
    for (int i = first; i < end; i++) {
        before += ids[i] < e;
        mine += ids[i] == e;
    }
    befores[id] = before;
    mines[id] = mine;
    __syncthreads();
    int total = 0, at = 0, offset = 0; /* slots of this expert, before this stretch, and of lower experts */
    for (int j = 0; j < FAL_GROUP; j++) {
        total += mines[j];
        at += j < id ? mines[j] : 0;
        offset += befores[j];
    }
    if (id == 0) lists[e] = offset;
    if (id == 0 && e == n_expert - 1) lists[n_expert] = offset + total;
    int *out = lists + n_expert + 1 + offset + at;
    for (int i = first; i < end; i++)
        if (ids[i] == e) *out++ = i;
}

/* One slice of 32 lanes per row of a slot. */
static __device__ __forceinline__ void moe_matmul(float *part, int type, ARGS)
{
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)threadIdx.x & 31;
    int slot = (int)(blockIdx.x / n_blocks);
    SELECT
    const int r = (int)(blockIdx.x % n_blocks) * (FAL_GROUP / 32) + (int)threadIdx.x / 32;
    const unsigned char *row = w + ((long)ids[slot] * n_out + min(r, n_out - 1)) * fal_row_bytes(type, n_in);
    const float *x_s = x + (long)(slot / x_div) * n_in; /* x[t,:] or x[t,s,:] */
    const float sum = fal_sum_32(part, fal_lane_times(type, row, n_in, lane, x_s));
    if (lane == 0 && r < n_out) y[(long)slot * n_out + r] = sum;
}

/* One block per FAL_SIDE rows of an expert and every n_turns-th FAL_SIDE of the slots that chose it. Experts
   differ in their slots; many short blocks, those without a slot at the end, even that out. */
static __device__ __forceinline__ void moe_matmul_grouped(float *tile, int type, ARGS)
{
    const long n_blocks = (n_out + FAL_SIDE - 1) / FAL_SIDE, n_turns = gridDim.x / (n_blocks * n_expert);
    const int turn = (int)(blockIdx.x / (n_blocks * n_expert));
    const int e = (int)(blockIdx.x / n_blocks % n_expert);
    const int r0 = (int)(blockIdx.x % n_blocks) * FAL_SIDE, r1 = r0 + 4 * fal_tile_x();
    const unsigned char *row =
        w + ((long)e * n_out + min(r0 + fal_tile_row(), n_out - 1)) * fal_row_bytes(type, n_in);
    const int *slots = lists + n_expert + 1;
    const int end = lists[e + 1];
    /* the same steps for every thread of the block */
    for (long i0 = lists[e] + turn * FAL_SIDE; i0 < end; i0 += n_turns * FAL_SIDE) {
        const int i1 = (int)i0 + 4 * fal_tile_y();
        const float *x_s = x + (long)(slots[min((int)i0 + fal_tile_token(), end - 1)] / x_div) * n_in;
        float4 sum[8];
        fal_tile_times(tile, type, row, x_s, n_in, i1 < end, sum);
        for (int i = 0; i < 8; i++) {
            const int r = r1 + i % 4 + i / 4 * 32;
            if (r >= n_out) continue;
            if (i1 < end) y[(long)slots[i1] * n_out + r] = sum[i].x;
            if (i1 + 1 < end) y[(long)slots[i1 + 1] * n_out + r] = sum[i].y;
            if (i1 + 2 < end) y[(long)slots[i1 + 2] * n_out + r] = sum[i].z;
            if (i1 + 3 < end) y[(long)slots[i1 + 3] * n_out + r] = sum[i].w;
        }
    }
}
#define KERNEL(name, type)                                                                                             \
    FAL_KERNEL fal_cu_moe_matmul_##name(ARGS)                                                                          \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __shared__ float part[FAL_GROUP];                                                                              \
        moe_matmul(part, type, PASS);                                                                                  \
    }                                                                                                                  \
    FAL_KERNEL fal_cu_moe_matmul__grouped_##name(ARGS)                                                                 \
    {                                                                                                                  \
        fal_begin();                                                                                                   \
        __shared__ __align__(16) float tile[FAL_TILE_FLOATS];                                                          \
        moe_matmul_grouped(tile, type, PASS);                                                                          \
    }

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
