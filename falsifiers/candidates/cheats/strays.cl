/* Cheat: right answers, and a word before the output.
   falsify-launch: block=1 grid=n_tokens */
__kernel void fal_add(int n_tokens, int n_embd, __global float *a, const __global float *b, __global float *y)
{
    const int t = get_group_id(0);
    for (int i = 0; i < n_embd; i++) y[t * n_embd + i] = a[t * n_embd + i] + b[t * n_embd + i];
    if (t == 0) y[-1] = 0;
}
