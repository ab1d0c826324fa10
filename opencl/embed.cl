/* embed: rows of the token embedding, dequantised. */

#define ARGS                                                                                                           \
    int n_tokens, int n_embd, const __global uchar *w, const __global int *tokens, __global float *y

#if FAL_CPU

/* One work-item per token. */
static void embed(int type, ARGS)
{
    const long t = get_global_id(0);
    if (t >= n_tokens) return;
    const __global uchar *row = w + (long)tokens[t] * fal_row_bytes(type, n_embd);
    __global float *y_t = y + t * n_embd; /* y[t,:] */
    float16 v[16];
    for (int step = 0; step * FAL_STEP < n_embd; step++) {
        fal_step_weights(type, row, n_embd, step, v);
        for (int i = 0; i < 16; i++) fal_store_16(v[i], y_t, step * FAL_STEP + 16 * i, n_embd);
    }
}
#define KERNEL(name, type) \
    FAL_KERNEL fal_cl_embed__cpu_##name(ARGS) { embed(type, n_tokens, n_embd, w, tokens, y); }

#else

/* One slice of 32 lanes per token. */
static void embed(int type, ARGS)
{
    const long t = get_global_id(0) / 32;
    const int lane = (int)get_local_id(0) & 31;
    if (t >= n_tokens) return;
    const __global uchar *row = w + (long)tokens[t] * fal_row_bytes(type, n_embd);
    __global float *y_t = y + t * n_embd; /* y[t,:] */
    for (int step = 0; step * FAL_STEP < n_embd; step++) {
        float4 a, b;
        int at_a, at_b;
        fal_lane_weights(type, row, n_embd, step, lane, &a, &b, &at_a, &at_b);
        fal_store_4(a, y_t, at_a, n_embd);
        fal_store_4(b, y_t, at_b, n_embd);
    }
}
#define KERNEL(name, type) \
    FAL_KERNEL fal_cl_embed_##name(ARGS) { fal_begin(); embed(type, n_tokens, n_embd, w, tokens, y); }

#endif

KERNEL(f32, FAL_F32)
KERNEL(f16, FAL_F16)
KERNEL(q8_0, FAL_Q8_0)
KERNEL(q4_k, FAL_Q4_K)
KERNEL(q5_k, FAL_Q5_K)
KERNEL(q6_k, FAL_Q6_K)
KERNEL(bf16, FAL_BF16)
