/* rope: rotates (i, i + head_dim/2) of every head by the angle of position first_pos + t, from tables; of two
   arrays in one launch, rows of the second after those of the first. */

#if FAL_CPU

/* One work-item per head of a token. */
FAL_KERNEL fal_cl_rope__cpu(int n_tokens, int n_head, int n_head_2, int head_dim, int first_pos, const __global float *x, const __global float *x_2,
                            const __global float *cos_table, const __global float *sin_table, __global float *y, __global float *y_2)
{
    long r = get_global_id(0);
    if (r >= (long)n_tokens * n_head && n_head_2 > 0) {
        r -= (long)n_tokens * n_head;
        n_head = n_head_2, x = x_2, y = y_2;
    }
    if (r >= (long)n_tokens * n_head) return;
    const int half_dim = head_dim / 2;
    const long pos = first_pos + r / n_head;
    const __global float *c = cos_table + pos * half_dim, *s = sin_table + pos * half_dim; /* [head_dim/2] */
    const __global float *x_r = x + r * head_dim;                                          /* x[t,h,:] */
    __global float *y_r = y + r * head_dim;
    for (int i = 0; i < half_dim; i += 16) {
        const float16 a = fal_load_16(x_r, i, half_dim, 0.0f), b = fal_load_16(x_r + half_dim, i, half_dim, 0.0f);
        const float16 ci = fal_load_16(c, i, half_dim, 0.0f), si = fal_load_16(s, i, half_dim, 0.0f);
        fal_store_16(a * ci - b * si, y_r, i, half_dim);
        fal_store_16(a * si + b * ci, y_r + half_dim, i, half_dim);
    }
}

#else

/* One work-item per pair. */
FAL_KERNEL fal_cl_rope(int n_tokens, int n_head, int n_head_2, int head_dim, int first_pos, const __global float *x, const __global float *x_2,
                       const __global float *cos_table, const __global float *sin_table, __global float *y, __global float *y_2)
{
    fal_begin();
    const int half_dim = head_dim / 2;
    long r = get_global_id(0) / half_dim; /* t * n_head + h */
    const int i = (int)(get_global_id(0) % half_dim);
    if (r >= (long)n_tokens * n_head && n_head_2 > 0) {
        r -= (long)n_tokens * n_head;
        n_head = n_head_2, x = x_2, y = y_2;
    }
    if (r >= (long)n_tokens * n_head) return;
    const long at = (first_pos + r / n_head) * half_dim + i; /* [pos, i] of the tables */
    const long p = r * head_dim + i;
    const float a = x[p], b = x[p + half_dim], c = cos_table[at], s = sin_table[at];
    y[p] = a * c - b * s;
    y[p + half_dim] = a * s + b * c;
}

#endif
