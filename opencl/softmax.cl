/* softmax: y[r,:] = exp(x[r,:] - max) / sum. */

#if FAL_CPU

/* One work-item per row. Columns beyond the row count as -INFINITY: their exp is 0. */
FAL_KERNEL fal_cl_softmax__cpu(int n_rows, int n_cols, const __global float *x, __global float *y)
{
    const long r = get_global_id(0);
    if (r >= n_rows) return;
    const __global float *x_r = x + r * n_cols; /* x[r,:] */
    __global float *y_r = y + r * n_cols;
    float16 most = (float16)(-INFINITY), sums = (float16)(0.0f);
    for (int i = 0; i < n_cols; i += 16) most = fmax(most, fal_load_16(x_r, i, n_cols, -INFINITY));
    const float top = fal_max_16(most);
    for (int i = 0; i < n_cols; i += 16) {
        const float16 e = exp(fal_load_16(x_r, i, n_cols, -INFINITY) - top);
        sums += e;
        fal_store_16(e, y_r, i, n_cols);
    }
    const float sum = fal_sum_16(sums);
    for (int i = 0; i < n_cols; i += 16) fal_store_16(fal_load_16(y_r, i, n_cols, 0.0f) / sum, y_r, i, n_cols);
}

#else

/* One work-group per row. */
FAL_KERNEL fal_cl_softmax(int n_rows, int n_cols, const __global float *x, __global float *y)
{
    fal_begin();
    __local float part[FAL_GROUP];
    const long r = get_group_id(0);
    const int first = (int)get_local_id(0);
    const __global float *x_r = x + r * n_cols; /* x[r,:] */
    __global float *y_r = y + r * n_cols;
    float most = -INFINITY, sum = 0.0f;
    for (int i = first; i < n_cols; i += FAL_GROUP) most = fmax(most, x_r[i]);
    const float top = fal_max_group(part, most);
    for (int i = first; i < n_cols; i += FAL_GROUP) {
        const float e = exp(x_r[i] - top);
        sum += e;
        y_r[i] = e;
    }
    sum = fal_sum_group(part, sum);
    for (int i = first; i < n_cols; i += FAL_GROUP) y_r[i] /= sum;
}

#endif
