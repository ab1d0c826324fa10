/* qk_norm: rmsnorm over head_dim of every head; of two arrays in one launch, rows of the second after those of the first. */

#if FAL_CPU

/* One work-item per head of a token. */
FAL_KERNEL fal_cl_qk_norm__cpu(long n_rows, long n_rows_2, int head_dim, float eps, const __global float *x, const __global float *x_2, const __global float *w, const __global float *w_2,
                               __global float *y, __global float *y_2)
{
    long r = get_global_id(0);
    if (r >= n_rows && n_rows_2 > 0) {
        r -= n_rows;
        n_rows = n_rows_2, x = x_2, w = w_2, y = y_2;
    }
    if (r >= n_rows) return;
    const __global float *x_r = x + r * head_dim; /* x[t,h,:] */
    __global float *y_r = y + r * head_dim;
    float16 squares = (float16)(0.0f);
    for (int i = 0; i < head_dim; i += 16) {
        const float16 v = fal_load_16(x_r, i, head_dim, 0.0f);
        squares += v * v;
    }
    const float root = sqrt(fal_sum_16(squares) / (float)head_dim + eps);
    for (int i = 0; i < head_dim; i += 16) {
        const float16 v = fal_load_16(x_r, i, head_dim, 0.0f) / root;
        fal_store_16(v * fal_load_16(w, i, head_dim, 0.0f), y_r, i, head_dim);
    }
}

#else

/* One slice of 32 lanes per head of a token. */
FAL_KERNEL fal_cl_qk_norm(long n_rows, long n_rows_2, int head_dim, float eps, const __global float *x, const __global float *x_2, const __global float *w, const __global float *w_2,
                          __global float *y, __global float *y_2)
{
    fal_begin();
    __local float part[FAL_GROUP];
    long r = get_global_id(0) / 32;
    const int lane = (int)get_local_id(0) & 31;
    if (r >= n_rows && n_rows_2 > 0) {
        r -= n_rows;
        n_rows = n_rows_2, x = x_2, w = w_2, y = y_2;
    }
    const long r_read = r < n_rows ? r : n_rows - 1; /* all work-items must reach the barriers */
    const __global float *x_r = x + r_read * head_dim; /* x[t,h,:] */
    float squares = 0.0f;
    for (int i = lane; i < head_dim; i += 32) squares += x_r[i] * x_r[i];
    const float root = sqrt(fal_sum_32(part, squares) / (float)head_dim + eps);
    if (r >= n_rows) return;
    __global float *y_r = y + r * head_dim;
    for (int i = lane; i < head_dim; i += 32) y_r[i] = (x_r[i] / root) * w[i];
}

#endif
