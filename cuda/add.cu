/* add: y = a + b. */
#include "quant.cuh"

/* One thread per element. */
FAL_KERNEL fal_cu_add(int n_tokens, int n_embd, const float *a, const float *b, float *y)
{
    fal_begin();
    const long i = fal_global_id();
    if (i < (long)n_tokens * n_embd) y[i] = a[i] + b[i];
}
