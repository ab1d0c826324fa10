/* add: y = a + b. */

#if FAL_CPU

/* One work-item per token. */
FAL_KERNEL fal_cl_add__cpu(int n_tokens, int n_embd, const __global float *a, const __global float *b,
                           __global float *y)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const long at = t * n_embd;
    for (int i = 0; i < n_embd; i += 16)
        fal_store_16(fal_load_16(a + at, i, n_embd, 0.0f) + fal_load_16(b + at, i, n_embd, 0.0f), y + at, i, n_embd);
}

#else

/* One work-item per element. */
FAL_KERNEL fal_cl_add(int n_tokens, int n_embd, const __global float *a, const __global float *b, __global float *y)
{
    fal_begin();
    const long i = get_global_id(0);
    if (i < (long)n_tokens * n_embd) y[i] = a[i] + b[i];
}

#endif
