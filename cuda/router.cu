/* router: the n_expert_used largest probs of a token, largest first, ties to the lower id; weights: their shares. */
#include "quant.cuh"

/* A float as an integer with the same order; -0 equals 0, and NaN is larger than every number, as argmax has it.
   Experts are then in a total order (key, lower id first), so the choice is distinct and in range whatever the input
   is. */
static __device__ __forceinline__ unsigned order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const unsigned bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Expert b after a: its key is smaller, or equal with a higher id. */
static __device__ __forceinline__ bool follows(unsigned key_a, int a, unsigned key_b, int b)
{
    return key_b < key_a || (key_b == key_a && b > a);
}

#define ARGS                                                                                                           \
    int n_tokens, int n_expert, int n_expert_used, int is_pinned, const float *probs,                                  \
        const int *pinned, int *ids, float *weights

/* One block per token: an expert's place is the number of experts that it follows. Each thread finds the place
   of every FAL_GROUP-th expert, and the weight of every FAL_GROUP-th choice. */
FAL_KERNEL fal_cu_router(ARGS)
{
    fal_begin();
    __shared__ unsigned keys[FAL_GROUP];
    const long t = blockIdx.x;
    const int id = (int)threadIdx.x;
    const float *probs_t = probs + t * n_expert; /* probs[t,:] */
    int *ids_t = ids + t * n_expert_used;
    float *weights_t = weights + t * n_expert_used;
    for (int e0 = 0; e0 < n_expert; e0 += FAL_GROUP) {
        const int e = e0 + id;
        const unsigned key = e < n_expert ? order_key(probs_t[e]) : 0;
        int place = 0;
        for (int o0 = 0; o0 < n_expert; o0 += FAL_GROUP) {
            const int n = min(FAL_GROUP, n_expert - o0);
            __syncthreads();
            keys[id] = id < n ? order_key(probs_t[o0 + id]) : 0;
            __syncthreads();
            for (int j = 0; j < n; j++) place += follows(keys[j], o0 + j, key, e);
        }
        if (e < n_expert && place < n_expert_used)
            ids_t[place] = is_pinned ? pinned[t * n_expert_used + place] : e;
    }
    __syncthreads();
    for (int s = id; s < n_expert_used; s += FAL_GROUP) {
        float sum = 0.0f;
        for (int i = 0; i < n_expert_used; i++) sum += probs_t[ids_t[i]];
        weights_t[s] = probs_t[ids_t[s]] / sum;
    }
}
