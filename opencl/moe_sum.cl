/* moe_sum: y[t,:] = sum_s weights[t,s] x[t,s,:], in the order of s. */

#if FAL_CPU

/* One work-item per token. */
FAL_KERNEL fal_cl_moe_sum__cpu(int n_tokens, int n_expert_used, int n_embd, const __global float *x,
                               const __global float *weights, __global float *y)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const __global float *x_t = x + t * n_expert_used * n_embd; /* x[t,:,:] */
    const __global float *weights_t = weights + t * n_expert_used;
    for (int i = 0; i < n_embd; i += 16) {
        float16 sum = (float16)(0.0f);
        for (int s = 0; s < n_expert_used; s++)
            sum += weights_t[s] * fal_load_16(x_t + (long)s * n_embd, i, n_embd, 0.0f);
        fal_store_16(sum, y + t * n_embd, i, n_embd);
    }
}

#else

/* One work-item per element of y. */
FAL_KERNEL fal_cl_moe_sum(int n_tokens, int n_expert_used, int n_embd, const __global float *x,
                          const __global float *weights, __global float *y)
{
    fal_begin();
    const long at = get_global_id(0); /* y[t,i], flat */
    if (at >= (long)n_tokens * n_embd) return;
    const long t = at / n_embd;
    const __global float *x_i = x + t * n_expert_used * n_embd + at % n_embd; /* x[t,:,i] */
    float sum = 0.0f;
    for (int s = 0; s < n_expert_used; s++) sum += weights[t * n_expert_used + s] * x_i[(long)s * n_embd];
    y[at] = sum;
}

#endif
