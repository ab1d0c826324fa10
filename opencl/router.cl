/* router: the n_expert_used largest probs of a token, largest first, ties to the lower id; weights: their shares. */

/* A float as an integer with the same order; -0 equals 0, and NaN is larger than every number, as argmax has it.
   Experts are then in a total order (key, lower id first), so the choice is distinct and in range whatever the input
   is. */
static uint order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const uint bits = as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Expert b after a: its key is smaller, or equal with a higher id. */
static bool follows(uint key_a, int a, uint key_b, int b)
{
    return key_b < key_a || (key_b == key_a && b > a);
}

static void set_weights(int n_expert_used, const __global float *probs_t, const __global int *ids_t,
                        __global float *weights_t)
{
    float sum = 0.0f;
    for (int s = 0; s < n_expert_used; s++) sum += probs_t[ids_t[s]];
    for (int s = 0; s < n_expert_used; s++) weights_t[s] = probs_t[ids_t[s]] / sum;
}

#define ARGS                                                                                                           \
    int n_tokens, int n_expert, int n_expert_used, int is_pinned, const __global float *probs,                         \
        const __global int *pinned, __global int *ids, __global float *weights

#if FAL_CPU

/* One work-item per token: each choice is the first of all experts that follow the choice before. */
FAL_KERNEL fal_cl_router__cpu(ARGS)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const __global float *probs_t = probs + t * n_expert; /* probs[t,:] */
    __global int *ids_t = ids + t * n_expert_used;
    uint last_key = 0;
    int last = -1;
    for (int s = 0; s < n_expert_used; s++) {
        if (is_pinned) {
            ids_t[s] = pinned[t * n_expert_used + s];
            continue;
        }
        uint best_key = 0;
        int best = -1;
        for (int e = 0; e < n_expert; e++) {
            const uint key = order_key(probs_t[e]);
            if (s > 0 && !follows(last_key, last, key, e)) continue;
            if (best >= 0 && key <= best_key) continue;
            best_key = key;
            best = e;
        }
        ids_t[s] = last = best;
        last_key = best_key;
    }
    set_weights(n_expert_used, probs_t, ids_t, weights + t * n_expert_used);
}

#else

/* One work-group per token; the same choice, each work-item looking at every FAL_GROUP-th expert. */
FAL_KERNEL fal_cl_router(ARGS)
{
    __local uint keys[FAL_GROUP];
    __local int bests[FAL_GROUP];
    const long t = get_group_id(0);
    const int id = (int)get_local_id(0);
    const __global float *probs_t = probs + t * n_expert; /* probs[t,:] */
    __global int *ids_t = ids + t * n_expert_used;
    uint last_key = 0;
    int last = -1;
    for (int s = 0; s < n_expert_used; s++) {
        uint best_key = 0;
        int best = -1;
        for (int e = id; e < n_expert; e += FAL_GROUP) {
            const uint key = order_key(probs_t[e]);
            if (s > 0 && !follows(last_key, last, key, e)) continue;
            if (best >= 0 && key <= best_key) continue;
            best_key = key;
            best = e;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        keys[id] = best_key;
        bests[id] = best;
        for (int d = FAL_GROUP / 2; d > 0; d /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (id < d && bests[id + d] >= 0 &&
                (bests[id] < 0 || follows(keys[id + d], bests[id + d], keys[id], bests[id]))) {
                keys[id] = keys[id + d];
                bests[id] = bests[id + d];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        last_key = keys[0];
        last = bests[0];
        if (id == 0) ids_t[s] = is_pinned ? pinned[t * n_expert_used + s] : last;
    }
    if (id == 0) set_weights(n_expert_used, probs_t, ids_t, weights + t * n_expert_used);
}

#endif
