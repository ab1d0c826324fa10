/* An example of a fused candidate: gate, up and SiLU of the chosen experts in one, for Q4_K and Q6_K weights.
   cc -O3 -fopenmp -shared -fPIC -I. -o moe_swiglu.so falsifiers/candidates/moe_swiglu.c */
#include "falsifiers/candidates/moe_matmul.c"

#include <math.h>

int fal_candidate_moe_swiglu(const fal_moe_swiglu_args *a)
{
    const bool q4 = a->type == FAL_TYPE_Q4_K;
    if (!q4 && a->type != FAL_TYPE_Q6_K) return FAL_CANDIDATE_DECLINED;
    const long n_blocks = a->n_embd / BLOCK, bytes = q4 ? Q4_K_BYTES : Q6_K_BYTES;
    const long n_rows = (long)a->n_tokens * a->n_expert_used * a->n_ff;
#pragma omp parallel for schedule(static) if (n_rows * a->n_embd > 1 << 15)
    for (long i = 0; i < n_rows; i++) {
        const long slot = i / a->n_ff, row = (a->ids[slot] * (long)a->n_ff + i % a->n_ff) * n_blocks * bytes;
        const unsigned char *gate = (const unsigned char *)a->w_gate + row, *up = (const unsigned char *)a->w_up + row;
        const float *x = a->x + slot / a->n_expert_used * a->n_embd;
        float g = 0, u = 0;
        for (long b = 0; b < n_blocks; b++, gate += bytes, up += bytes, x += BLOCK) {
            g += q4 ? dot_q4_k(gate, x) : dot_q6_k(gate, x);
            u += q4 ? dot_q4_k(up, x) : dot_q6_k(up, x);
        }
        a->y[i] = g / (1 + expf(-g)) * u;
    }
    return FAL_CANDIDATE_DONE;
}
