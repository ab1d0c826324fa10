/* swiglu: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)). */
#include "quant.cuh"

/* One thread per element. */
FAL_KERNEL fal_cu_swiglu(int n_rows, int n_ff, const float *gate, const float *up, float *y)
{
    fal_begin();
    const long i = fal_global_id();
    if (i >= (long)n_rows * n_ff) return;
    const float g = gate[i];
    y[i] = (g / (1.0f + exp(-g))) * up[i];
}
