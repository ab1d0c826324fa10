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

/* Squares of every FAL_GROUP-th four of a row, and those fours of the result. whole: as for fal_load_4. */
static float4 squares_of(bool whole, int n_embd, const __global float *x)
{
    float4 squares = (float4)(0.0f);
    FAL_UNROLL(4)
    for (int i = 4 * (int)get_local_id(0); i < n_embd; i += 4 * FAL_GROUP) {
        const float4 v = fal_load_4(whole, x, i, n_embd);
        squares += v * v;
    }
    return squares;
}

static void divide(bool whole, int n_embd, float root, const __global float *x, const __global float *w,
                   __global float *y)
{
    FAL_UNROLL(4)
    for (int i = 4 * (int)get_local_id(0); i < n_embd; i += 4 * FAL_GROUP) {
        const float4 v = fal_load_4(whole, x, i, n_embd) / root;
        fal_store_4(v * fal_load_4(whole, w, i, n_embd), y, i, n_embd);
    }
}

/* One work-group per token. */
FAL_KERNEL fal_cl_rmsnorm(int n_tokens, int n_embd, float eps, const __global float *x, const __global float *w,
                          __global float *y)
{
    __local float part[FAL_GROUP];
    const long at = (long)get_group_id(0) * n_embd; /* of x[t,:] */
    const bool whole = n_embd % 4 == 0;
    const float4 v = whole ? squares_of(true, n_embd, x + at) : squares_of(false, n_embd, x + at);
    const float root = sqrt(fal_sum_group(part, (v.x + v.y) + (v.z + v.w)) / (float)n_embd + eps);
    if (whole) divide(true, n_embd, root, x + at, w, y + at);
    else divide(false, n_embd, root, x + at, w, y + at);
}

#endif
