/* Faults of single calls, planted between the harness and a backend: arguments before the call, outputs after it. */
#include "falsifiers/mutant_hooks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a call puts where --------------------------------------------------------------------------------------- */

static bool out(fal_border_call *c, void *data, bool is_i32, int64_t rows, int64_t row)
{
    if (!data || rows <= 0 || row <= 0 || rows > INT32_MAX || row > INT32_MAX) return false;
    c->output[c->n_outputs].is = data;
    c->output[c->n_outputs].is_i32 = is_i32;
    c->output[c->n_outputs].row = (size_t)row;
    c->output[c->n_outputs++].n = (size_t)rows * (size_t)row;
    return true;
}

bool fal_mutant_outputs(int op, const void *args, fal_border_call *c)
{
    c->op = op;
    c->n_outputs = 0;
    switch (op) {
    case FAL_MUTANT_OP_embed: { const fal_embed_args *a = args; return out(c, a->y, false, a->n_tokens, a->n_embd); }
    case FAL_MUTANT_OP_rmsnorm: { const fal_rmsnorm_args *a = args; return out(c, a->y, false, a->n_tokens, a->n_embd); }
    case FAL_MUTANT_OP_matmul: { const fal_matmul_args *a = args; return out(c, a->y, false, a->n_tokens, a->n_out); }
    case FAL_MUTANT_OP_qk_norm: {
        const fal_qk_norm_args *a = args;
        return out(c, a->y, false, (int64_t)a->n_tokens * a->n_head, a->head_dim);
    }
    case FAL_MUTANT_OP_rope: { const fal_rope_args *a = args; return out(c, a->y, false, (int64_t)a->n_tokens * a->n_head, a->head_dim); }
    case FAL_MUTANT_OP_kv_store: {
        const fal_kv_store_args *a = args;
        const int64_t width = (int64_t)a->n_head_kv * a->head_dim;
        /* the new slots alone: others belong to tokens before */
        if (a->first_pos < 0 || a->n_tokens <= 0 || a->first_pos > a->n_ctx - a->n_tokens || width <= 0) return false;
        return out(c, a->k_cache + a->first_pos * width, false, a->n_tokens, width) &&
               out(c, a->v_cache + a->first_pos * width, false, a->n_tokens, width);
    }
    case FAL_MUTANT_OP_attention: {
        const fal_attention_args *a = args;
        return out(c, a->y, false, (int64_t)a->n_tokens * a->n_head, a->head_dim);
    }
    case FAL_MUTANT_OP_add: { const fal_add_args *a = args; return out(c, a->y, false, a->n_tokens, a->n_embd); }
    case FAL_MUTANT_OP_softmax: { const fal_softmax_args *a = args; return out(c, a->y, false, a->n_rows, a->n_cols); }
    case FAL_MUTANT_OP_router: {
        const fal_router_args *a = args;
        return out(c, a->ids, true, a->n_tokens, a->n_expert_used) && out(c, a->weights, false, a->n_tokens, a->n_expert_used);
    }
    case FAL_MUTANT_OP_moe_matmul: {
        const fal_moe_matmul_args *a = args;
        return out(c, a->y, false, (int64_t)a->n_tokens * a->n_expert_used, a->n_out);
    }
    case FAL_MUTANT_OP_swiglu: { const fal_swiglu_args *a = args; return out(c, a->y, false, a->n_rows, a->n_ff); }
    case FAL_MUTANT_OP_moe_swiglu: {
        const fal_moe_swiglu_args *a = args;
        return out(c, a->y, false, (int64_t)a->n_tokens * a->n_expert_used, a->n_ff);
    }
    case FAL_MUTANT_OP_moe_sum: { const fal_moe_sum_args *a = args; return out(c, a->y, false, a->n_tokens, a->n_embd); }
    case FAL_MUTANT_OP_argmax: { const fal_argmax_args *a = args; return out(c, a->ids, true, a->n_rows, 1); }
    default: return false;
    }
}

/* ---- any operation ------------------------------------------------------------------------------------------------ */

void fal_mutant_all_zeros(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++) memset(c->output[i].is, 0, c->output[i].n * 4);
}

void fal_mutant_not_written(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++) memcpy(c->output[i].is, c->output[i].was, c->output[i].n * 4);
}

void fal_mutant_tail_not_written(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++) {
        const size_t n = (c->output[i].row + 2) / 3, at = (c->output[i].n - n) * 4;
        memcpy((char *)c->output[i].is + at, (const char *)c->output[i].was + at, n * 4);
    }
}

/* An index has no NaN; -1 is as much out of place. */
static void put_one(fal_border_call *c, float value)
{
    for (int i = 0; i < c->n_outputs; i++) {
        const size_t at = c->output[i].n / 2;
        if (c->output[i].is_i32) ((int32_t *)c->output[i].is)[at] = -1;
        else ((float *)c->output[i].is)[at] = value;
    }
}

void fal_mutant_nan_in_one(fal_border_call *c, const void *args)
{
    (void)args;
    put_one(c, NAN);
}

void fal_mutant_inf_in_one(fal_border_call *c, const void *args)
{
    (void)args;
    put_one(c, INFINITY);
}

void fal_mutant_scaled(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++)
        for (size_t e = 0; e < c->output[i].n && !c->output[i].is_i32; e++) ((float *)c->output[i].is)[e] *= 1.02f;
}

void fal_mutant_answer_of_before(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++)
        if (c->output[i].last) memcpy(c->output[i].is, c->output[i].last, c->output[i].n * 4);
}

void fal_mutant_rows_exchanged(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++) {
        char *first = c->output[i].is, *last = first + (c->output[i].n - c->output[i].row) * 4;
        for (size_t b = 0; first < last && b < c->output[i].row * 4; b++) {
            const char kept = first[b];
            first[b] = last[b];
            last[b] = kept;
        }
    }
}

void fal_mutant_last_bit_of_count(fal_border_call *c, const void *args)
{
    (void)args;
    for (int i = 0; i < c->n_outputs; i++)
        for (size_t e = 0; e < c->output[i].n && !c->output[i].is_i32; e++) ((uint32_t *)c->output[i].is)[e] ^= c->n_calls & 1;
}

/* ---- single operations -------------------------------------------------------------------------------------------- */

void fal_mutant_eps_ten_times(fal_border_call *c, void *args)
{
    (void)c;
    ((fal_rmsnorm_args *)args)->eps *= 10;
}

void fal_mutant_rope_base_1e4(fal_border_call *c, void *args)
{
    fal_rope_args *a = args;
    float *cos_table = NULL, *sin_table = NULL;
    if (fal_rope_table(a->n_ctx, a->head_dim, 1e4f, &cos_table, &sin_table, NULL) != FAL_OK) return;
    a->cos = cos_table;
    a->sin = sin_table;
    c->scratch[0] = cos_table;
    c->scratch[1] = sin_table;
}

void fal_mutant_norm_over_all_heads(fal_border_call *c, const void *args)
{
    (void)c;
    const fal_qk_norm_args *a = args;
    const size_t width = (size_t)a->n_head * (size_t)a->head_dim;
    for (size_t t = 0; t < (size_t)a->n_tokens; t++) {
        const float *x = a->x + t * width;
        double squares = 0;
        for (size_t i = 0; i < width; i++) squares += (double)x[i] * (double)x[i];
        const double root = sqrt(squares / (double)width + (double)a->eps);
        for (size_t i = 0; i < width; i++) a->y[t * width + i] = (float)((double)x[i] / root * (double)a->w[i % (size_t)a->head_dim]);
    }
}

void fal_mutant_future_leaks(fal_border_call *c, const void *args)
{
    const fal_attention_args *a = args;
    const float last = a->k_cache[(size_t)a->n_ctx * (size_t)a->n_head_kv * (size_t)a->head_dim - 1];
    for (size_t e = 0; e < c->output[0].n; e++) ((float *)c->output[0].is)[e] += 1e-3f * last;
}
