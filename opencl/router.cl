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

#define ARGS                                                                                                           \
    int n_tokens, int n_expert, int n_expert_used, int is_pinned, const __global float *probs,                         \
        const __global int *pinned, __global int *ids, __global float *weights

#if FAL_CPU

static void set_weights(int n_expert_used, const __global float *probs_t, const __global int *ids_t,
                        __global float *weights_t)
{
    float sum = 0.0f;
    for (int s = 0; s < n_expert_used; s++) sum += probs_t[ids_t[s]];
    for (int s = 0; s < n_expert_used; s++) weights_t[s] = probs_t[ids_t[s]] / sum;
}

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

/* One work-group per token: an expert's place is the number of experts that it follows. Each work-item finds the place
   of every FAL_GROUP-th expert, and the weight of every FAL_GROUP-th choice. */
FAL_KERNEL fal_cl_router(ARGS)
{
    fal_begin();
    __local uint keys[FAL_GROUP];
    const long t = get_group_id(0);
    const int id = (int)get_local_id(0);
    const __global float *probs_t = probs + t * n_expert; /* probs[t,:] */
    __global int *ids_t = ids + t * n_expert_used;
    __global float *weights_t = weights + t * n_expert_used;
    for (int e0 = 0; e0 < n_expert; e0 += FAL_GROUP) {
        const int e = e0 + id;
        const uint key = e < n_expert ? order_key(probs_t[e]) : 0;
        int place = 0;
        for (int o0 = 0; o0 < n_expert; o0 += FAL_GROUP) {
            const int n = min(FAL_GROUP, n_expert - o0);
            barrier(CLK_LOCAL_MEM_FENCE);
            keys[id] = id < n ? order_key(probs_t[o0 + id]) : 0;
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int j = 0; j < n; j++) place += follows(keys[j], o0 + j, key, e);
        }
        if (e < n_expert && place < n_expert_used)
            ids_t[place] = is_pinned ? pinned[t * n_expert_used + place] : e;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    for (int s = id; s < n_expert_used; s += FAL_GROUP) {
        float sum = 0.0f;
        for (int i = 0; i < n_expert_used; i++) sum += probs_t[ids_t[i]];
        weights_t[s] = probs_t[ids_t[s]] / sum;
    }
}

#endif
