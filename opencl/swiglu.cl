/* swiglu: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)). */

#if FAL_CPU

/* One work-item per row. */
FAL_KERNEL fal_cl_swiglu__cpu(int n_rows, int n_ff, const __global float *gate, const __global float *up,
                              __global float *y)
{
    const long r = get_global_id(0);
    if (r >= n_rows) return;
    const long at = r * n_ff;
    for (int i = 0; i < n_ff; i += 16) {
        const float16 g = fal_load_16(gate + at, i, n_ff, 0.0f);
        const float16 silu = g / (1.0f + exp(-g));
        fal_store_16(silu * fal_load_16(up + at, i, n_ff, 0.0f), y + at, i, n_ff);
    }
}

#else

/* One work-item per element. */
FAL_KERNEL fal_cl_swiglu(int n_rows, int n_ff, const __global float *gate, const __global float *up, __global float *y)
{
    fal_begin();
    const long i = get_global_id(0);
    if (i >= (long)n_rows * n_ff) return;
    const float g = gate[i];
    y[i] = (g / (1.0f + exp(-g))) * up[i];
}

#endif
