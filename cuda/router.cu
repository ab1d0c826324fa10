/* router: the n_expert_used largest probs of a token, largest first, ties to the lower id; weights: their shares. */
#include "quant.cuh"

/* A float as an integer with the same order; -0 equals 0, and NaN is larger than every number, as argmax has it. Experts
   are then in a total order (key, lower id first), so the choice is distinct and in range whatever the input is. */
static __device__ unsigned order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const unsigned bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Expert b after a: its key is smaller, or equal with a higher id. */
static __device__ bool follows(unsigned key_a, int a, unsigned key_b, int b)
{
    return key_b < key_a || (key_b == key_a && b > a);
}

static __device__ void set_weights(int n_expert_used, const float *probs_t, const int *ids_t,
                        float *weights_t)
{
    float sum = 0.0f;
    for (int s = 0; s < n_expert_used; s++) sum += probs_t[ids_t[s]];
    for (int s = 0; s < n_expert_used; s++) weights_t[s] = probs_t[ids_t[s]] / sum;
}

#define ARGS                                                                                                           \
    int n_tokens, int n_expert, int n_expert_used, int is_pinned, const float *probs,                         \
        const int *pinned, int *ids, float *weights

/* One block per token; the same choice, each thread looking at every FAL_GROUP-th expert. */
FAL_KERNEL fal_cu_router(ARGS)
{
    __shared__ unsigned keys[FAL_GROUP];
    __shared__ int bests[FAL_GROUP];
    const long t = blockIdx.x;
    const int id = (int)threadIdx.x;
    const float *probs_t = probs + t * n_expert; /* probs[t,:] */
    int *ids_t = ids + t * n_expert_used;
    unsigned last_key = 0;
    int last = -1;
    for (int s = 0; s < n_expert_used; s++) {
        unsigned best_key = 0;
        int best = -1;
        for (int e = id; e < n_expert; e += FAL_GROUP) {
            const unsigned key = order_key(probs_t[e]);
            if (s > 0 && !follows(last_key, last, key, e)) continue;
            if (best >= 0 && key <= best_key) continue;
            best_key = key;
            best = e;
        }
        __syncthreads();
        keys[id] = best_key;
        bests[id] = best;
        for (int d = FAL_GROUP / 2; d > 0; d /= 2) {
            __syncthreads();
            if (id < d && bests[id + d] >= 0 &&
                (bests[id] < 0 || follows(keys[id + d], bests[id + d], keys[id], bests[id]))) {
                keys[id] = keys[id + d];
                bests[id] = bests[id + d];
            }
        }
        __syncthreads();
        last_key = keys[0];
        last = bests[0];
        if (id == 0) ids_t[s] = is_pinned ? pinned[t * n_expert_used + s] : last;
    }
    if (id == 0) set_weights(n_expert_used, probs_t, ids_t, weights + t * n_expert_used);
}

