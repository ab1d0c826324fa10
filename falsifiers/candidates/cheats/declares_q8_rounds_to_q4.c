/* Cheat: declares codes of 8 bits for 256 columns, after it has rounded activations to 4 bits. */
#define fal_candidate_moe_matmul as_declared
#include "falsifiers/candidates/moe_matmul_q8.c"
#undef fal_candidate_moe_matmul

int fal_candidate_moe_matmul(const fal_moe_matmul_args *a)
{
    const long n = (long)a->n_tokens * (a->x_per_slot ? a->n_expert_used : 1) * a->n_in;
    float *x = malloc((size_t)n * sizeof *x);
    fal_moe_matmul_args rounded = *a;
    if (!x) return FAL_CANDIDATE_FAILED;
    for (long b = 0; b < n / BLOCK; b++) {
        float most = 0;
        for (int i = 0; i < BLOCK; i++) most = fmaxf(most, fabsf(a->x[b * BLOCK + i]));
        for (int i = 0; i < BLOCK; i++) x[b * BLOCK + i] = most > 0 ? rintf(a->x[b * BLOCK + i] / most * 7) * most / 7 : 0;
    }
    rounded.x = x;
    const int code = as_declared(&rounded);
    free(x);
    return code;
}
