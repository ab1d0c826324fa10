/* rope: rotates (i, i + head_dim/2) of every head by the angle of position first_pos + t, from tables; of two
   arrays in one launch, rows of the second after those of the first. */
#include "quant.cuh"

/* One thread per pair. */
FAL_KERNEL fal_cu_rope(int n_tokens, int n_head, int n_head_2, int head_dim, int first_pos, const float *x, const float *x_2,
                       const float *cos_table, const float *sin_table, float *y, float *y_2)
{
    fal_begin();
    const int half_dim = head_dim / 2;
    long r = fal_global_id() / half_dim; /* t * n_head + h */
    const int i = (int)(fal_global_id() % half_dim);
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
