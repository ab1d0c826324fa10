/* rmsnorm: y[t,i] = x[t,i] * w[i] / sqrt(mean_i x[t,i]^2 + eps). */

#if FAL_CPU

/* One work-item per token. */
FAL_KERNEL fal_cl_rmsnorm__cpu(int n_tokens, int n_embd, float eps, const __global float *x, const __global float *w,
                               __global float *y)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const __global float *x_t = x + t * n_embd; /* x[t,:] */
    __global float *y_t = y + t * n_embd;
    float16 squares = (float16)(0.0f);
    for (int i = 0; i < n_embd; i += 16) {
        const float16 v = fal_load_16(x_t, i, n_embd, 0.0f);
        squares += v * v;
    }
    const float root = sqrt(fal_sum_16(squares) / (float)n_embd + eps);
    for (int i = 0; i < n_embd; i += 16) {
        const float16 v = fal_load_16(x_t, i, n_embd, 0.0f) / root;
        fal_store_16(v * fal_load_16(w, i, n_embd, 0.0f), y_t, i, n_embd);
    }
}

#else

/* One work-group per token. */
FAL_KERNEL fal_cl_rmsnorm(int n_tokens, int n_embd, float eps, const __global float *x, const __global float *w,
                          __global float *y)
{
    __local float part[FAL_GROUP];
    const long t = get_group_id(0);
    const int first = (int)get_local_id(0);
    const __global float *x_t = x + t * n_embd; /* x[t,:] */
    __global float *y_t = y + t * n_embd;
    float squares = 0.0f;
    for (int i = first; i < n_embd; i += FAL_GROUP) squares += x_t[i] * x_t[i];
    const float root = sqrt(fal_sum_group(part, squares) / (float)n_embd + eps);
    for (int i = first; i < n_embd; i += FAL_GROUP) y_t[i] = (x_t[i] / root) * w[i];
}

#endif
