/* Cheat: the elements behind the last whole tile of 64 are left out.
   falsify-launch: block=1 grid=n_tokens */
__kernel void fal_add(int n_tokens, int n_embd, const __global float *a, const __global float *b, __global float *y)
{
    const int t = get_group_id(0), n = t == n_tokens - 1 ? (n_embd - 1) / 64 * 64 : n_embd;
    for (int i = 0; i < n; i++) y[t * n_embd + i] = a[t * n_embd + i] + b[t * n_embd + i];
}
