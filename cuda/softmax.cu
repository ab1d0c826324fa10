/* softmax: y[r,:] = exp(x[r,:] - max) / sum. */
#include "quant.cuh"

/* One block per row. */
FAL_KERNEL fal_cu_softmax(int n_rows, int n_cols, const float *x, float *y)
{
    fal_begin();
    __shared__ float part[FAL_GROUP];
    const long r = blockIdx.x;
    const int first = (int)threadIdx.x;
    const float *x_r = x + r * n_cols; /* x[r,:] */
    float *y_r = y + r * n_cols;
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
