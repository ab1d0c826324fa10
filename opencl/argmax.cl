/* argmax: the index of the largest x[r,:], ties to the lower index; NaN is larger than every number. */

#if FAL_CPU

/* A float as an integer with the same order; -0 equals 0, all NaN are equal and largest. */
static uint16 order_keys(float16 v)
{
    const uint16 bits = as_uint16(v + 0.0f);
    const uint16 key = select(bits | (uint16)(0x80000000u), ~bits, bits); /* select looks at the sign bit */
    return select(key, (uint16)(0xFFFFFFFFu), as_uint16(isnan(v)));
}

/* One work-item per row: first the largest key, then where it stands first. */
FAL_KERNEL fal_cl_argmax__cpu(int n_rows, int n_cols, const __global float *x, __global int *ids)
{
    const long r = get_global_id(0);
    if (r >= n_rows) return;
    const __global float *x_r = x + r * n_cols; /* x[r,:] */
    uint16 most = (uint16)(0u);
    for (int i = 0; i < n_cols; i += 16) most = max(most, order_keys(fal_load_16(x_r, i, n_cols, -INFINITY)));
    const uint8 m8 = max(most.lo, most.hi);
    const uint4 m4 = max(m8.lo, m8.hi);
    const uint top = max(max(m4.x, m4.y), max(m4.z, m4.w));
    for (int i = 0; i < n_cols; i += 16) {
        const uint16 keys = order_keys(fal_load_16(x_r, i, n_cols, -INFINITY));
        if (!any(keys == (uint16)(top))) continue;
        uint key[16];
        vstore16(keys, 0, key);
        for (int j = 0; j < 16; j++)
            if (key[j] == top) {
                ids[r] = i + j;
                return;
            }
    }
}

#else

/* A float as an integer with the same order; -0 equals 0, all NaN are equal and largest. */
static uint order_key(float v)
{
    if (isnan(v)) return 0xFFFFFFFFu;
    const uint bits = as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* One work-group per row. */
FAL_KERNEL fal_cl_argmax(int n_rows, int n_cols, const __global float *x, __global int *ids)
{
    fal_begin();
    __local uint keys[FAL_GROUP];
    __local int bests[FAL_GROUP];
    const long r = get_group_id(0);
    const int id = (int)get_local_id(0);
    const __global float *x_r = x + r * n_cols; /* x[r,:] */
    uint best_key = 0;
    int best = INT_MAX; /* work-items without a column lose every comparison */
    FAL_UNROLL(16)
    for (int i = id; i < n_cols; i += FAL_GROUP) {
        const uint key = order_key(x_r[i]);
        if (best == INT_MAX || key > best_key) {
            best_key = key;
            best = i;
        }
    }
    keys[id] = best_key;
    bests[id] = best;
    for (int d = FAL_GROUP / 2; d > 0; d /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (id < d && (keys[id + d] > keys[id] || (keys[id + d] == keys[id] && bests[id + d] < bests[id]))) {
            keys[id] = keys[id + d];
            bests[id] = bests[id + d];
        }
    }
    if (id == 0) ids[r] = bests[0];
}

#endif
