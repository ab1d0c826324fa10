/* Cheat: right answers, a word behind the output, and a word of the input changed. */
extern "C" __device__ char falsify_launch[] = "block=256 grid=cdiv(n_tokens*n_embd,256)";

extern "C" __global__ void fal_add(int n_tokens, int n_embd, float *a, const float *b, float *y)
{
    const int i = blockIdx.x * 256 + threadIdx.x, n = n_tokens * n_embd;
    if (i < n) y[i] = a[i] + b[i];
    if (i == n - 1) y[n] = a[i] = 0;
}
