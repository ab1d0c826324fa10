/* moe_matmul: y[t,s,r] = sum_c w[ids[t,s],r,c] x[t,c] (or x[t,s,c]); only rows of chosen experts are read. */
#include "quant.cuh"

/* A slot is one (token, chosen expert) pair, numbered t * n_expert_used + s. x_div is n_expert_used when the slots of a
   token share x[t,:], else 1. lists holds, for the grouped kernels, n_expert + 1 offsets and after them all slots ordered
   by expert: then a weight row is read once for up to FAL_TILE slots. */
#define ARGS                                                                                                           \
    int n_slots, int n_expert, int x_div, int n_in, int n_out, const unsigned char *w, const float *x,       \
        const int *ids, const int *lists, float *y
#define PASS n_slots, n_expert, x_div, n_in, n_out, w, x, ids, lists, y

/* Makes lists: one thread per expert, which counts and then writes its own slots in ascending order. */
FAL_KERNEL fal_cu_moe_matmul__group(int n_slots, int n_expert, const int *ids, int *lists)
{
    const int e = (int)fal_global_id();
    if (e >= n_expert) return;
    int before = 0, mine = 0;
    for (int i = 0; i < n_slots; i++) {
        before += ids[i] < e;
        mine += ids[i] == e;
    }
    lists[e] = before;
    if (e == n_expert - 1) lists[n_expert] = before + mine;
    if (mine == 0) return;
    int *out = lists + n_expert + 1 + before;
    for (int i = 0; i < n_slots; i++)
        if (ids[i] == e) *out++ = i;
}

/* One slice of 32 lanes per row of a slot. */
static __device__ void moe_matmul(float *part, int type, ARGS)
{
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)threadIdx.x & 31;
    const int slot = (int)(blockIdx.x / n_blocks);
    const int r = (int)(blockIdx.x % n_blocks) * (FAL_GROUP / 32) + (int)threadIdx.x / 32;
    const unsigned char *row = w + ((long)ids[slot] * n_out + min(r, n_out - 1)) * fal_row_bytes(type, n_in);
    const float *x_s = x + (long)(slot / x_div) * n_in; /* x[t,:] or x[t,s,:] */
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const int n_steps = (n_in + FAL_STEP - 1) / FAL_STEP;
    for (int step = 0; step < n_steps; step++) {
        float4 a, b;
        int at_a, at_b;
        fal_lane_weights(type, row, n_in, step, lane, &a, &b, &at_a, &at_b);
        sum += a * fal_load_4(x_s, at_a, n_in) + b * fal_load_4(x_s, at_b, n_in);
    }
    const float total = fal_sum_32(part, (sum.x + sum.y) + (sum.z + sum.w));
    if (lane == 0 && r < n_out) y[(long)slot * n_out + r] = total;
}

/* One slice of 32 lanes per row of an expert, for all slots that chose it; sums in the same order as above. */
static __device__ void moe_matmul_grouped(float *part, int type, ARGS)
{
    const long n_blocks = (n_out + FAL_GROUP / 32 - 1) / (FAL_GROUP / 32);
    const int lane = (int)threadIdx.x & 31;
    const int e = (int)(blockIdx.x / n_blocks);
    const int r = (int)(blockIdx.x % n_blocks) * (FAL_GROUP / 32) + (int)threadIdx.x / 32;
    const unsigned char *row = w + ((long)e * n_out + min(r, n_out - 1)) * fal_row_bytes(type, n_in);
    const int *slots = lists + n_expert + 1;
    const int end = lists[e + 1];
    const int n_steps = (n_in + FAL_STEP - 1) / FAL_STEP;
    for (int i = lists[e]; i < end; i += FAL_TILE) { /* the same for every thread of the group */
        float4 sum[FAL_TILE];
        for (int j = 0; j < FAL_TILE; j++) sum[j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int step = 0; step < n_steps; step++) {
            float4 a, b;
            int at_a, at_b;
            fal_lane_weights(type, row, n_in, step, lane, &a, &b, &at_a, &at_b);
            for (int j = 0; j < FAL_TILE; j++) {
                const float *x_s = x + (long)(slots[min(i + j, end - 1)] / x_div) * n_in;
                sum[j] += a * fal_load_4(x_s, at_a, n_in) + b * fal_load_4(x_s, at_b, n_in);
            }
        }
        for (int j = 0; j < FAL_TILE; j++) {
            const float total = fal_sum_32(part, (sum[j].x + sum[j].y) + (sum[j].z + sum[j].w));
            if (lane == 0 && r < n_out && i + j < end) y[(long)slots[i + j] * n_out + r] = total;
        }
    }
}
#define KERNEL(name, type)                                                                                             \
    FAL_KERNEL fal_cu_moe_matmul_##name(ARGS)                                                                          \
    {                                                                                                                  \
        __shared__ float part[FAL_GROUP];                                                                                 \
        moe_matmul(part, type, PASS);                                                                                  \
    }                                                                                                                  \
    FAL_KERNEL fal_cu_moe_matmul__grouped_##name(ARGS)                                                                 \
    {                                                                                                                  \
        __shared__ float part[FAL_GROUP];                                                                                 \
        moe_matmul_grouped(part, type, PASS);                                                                          \
    }

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
