/* qk_norm: rmsnorm over head_dim of every head; of two arrays in one launch, rows of the second after those of the first. */
#include "quant.cuh"

/* One slice of 32 lanes per head of a token. */
FAL_KERNEL fal_cu_qk_norm(long n_rows, long n_rows_2, int head_dim, float eps, const float *x, const float *x_2, const float *w, const float *w_2,
                          float *y, float *y_2)
{
    fal_begin();
    __shared__ float part[FAL_GROUP];
    long r = fal_global_id() / 32;
    const int lane = (int)threadIdx.x & 31;
    if (r >= n_rows && n_rows_2 > 0) {
        r -= n_rows;
        n_rows = n_rows_2, x = x_2, w = w_2, y = y_2;
    }
    const long r_read = r < n_rows ? r : n_rows - 1; /* all threads must reach the barriers */
    const float *x_r = x + r_read * head_dim; /* x[t,h,:] */
    float squares = 0.0f;
    for (int i = lane; i < head_dim; i += 32) squares += x_r[i] * x_r[i];
    const float root = sqrt(fal_sum_32(part, squares) / (float)head_dim + eps);
    if (r >= n_rows) return;
    float *y_r = y + r * head_dim;
    for (int i = lane; i < head_dim; i += 32) y_r[i] = (x_r[i] / root) * w[i];
}
