/* Our own kernels timed as a candidate's are: everything on the device beforehand, all calls queued, one wait. */
#include "opencl/candidate.h"
#include "opencl/ops.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The arrays of a call by field, and the scratch memory that some ops take: more is of the size of y. */
typedef struct {
    fal_cl_buffer *arrays[FAL_MAX_FIELDS], *scratch, *more[2];
    bool shared[FAL_MAX_FIELDS]; /* an earlier call's */
} buffers;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static fal_cl_buffer *array(const fal_call *c, const buffers *b, const char *name)
{
    for (int i = 0; i < c->n_fields; i++)
        if (strcmp(c->fields[i].name, name) == 0) return b->arrays[i];
    return NULL;
}

#define I(field) fal_call_int(c, #field, 0)
#define A(field) array(c, b, #field)
#define TYPE     (uint32_t) I(type)

static float eps_of(const fal_call *c)
{
    const fal_field *f = fal_call_find(c, "eps");
    return f ? f->f : 0;
}

static fal_status run(fal_context *ctx, const fal_call *c, const buffers *b, fal_error *err)
{
    const char *op = c->op;
    const fal_cl_product product = { I(n_out), A(w), A(y) };
    const fal_cl_heads heads = { I(n_head), A(x), A(w), A(y) };
    if (strcmp(op, "embed") == 0)
        return fal_cl_embed_run(ctx, I(n_tokens), I(n_embd), TYPE, A(w), A(tokens), A(y), err);
    if (strcmp(op, "rmsnorm") == 0)
        return fal_cl_rmsnorm_run(ctx, I(n_tokens), I(n_embd), eps_of(c), A(x), A(w), A(y), err);
    if (strcmp(op, "matmul") == 0)
        return fal_cl_matmul_run(ctx, I(n_tokens), I(n_in), TYPE, A(x), &product, 1, err);
    if (strcmp(op, "qk_norm") == 0)
        return fal_cl_qk_norm_run(ctx, I(n_tokens), I(head_dim), eps_of(c), &heads, 1, err);
    if (strcmp(op, "rope") == 0)
        return fal_cl_rope_run(ctx, I(n_tokens), I(head_dim), I(first_pos), A(cos), A(sin), &heads, 1, err);
    if (strcmp(op, "kv_store") == 0)
        return fal_cl_kv_store_run(ctx, I(n_tokens), I(n_head_kv), I(head_dim), I(first_pos), A(k), A(v), A(k_cache),
                                   A(v_cache), err);
    if (strcmp(op, "attention") == 0)
        return fal_cl_attention_run(ctx, I(n_tokens), I(n_head), I(n_head_kv), I(head_dim), I(first_pos), A(q),
                                    A(k_cache), A(v_cache), b->scratch, A(y), err);
    if (strcmp(op, "add") == 0) return fal_cl_add_run(ctx, I(n_tokens), I(n_embd), A(a), A(b), A(y), err);
    if (strcmp(op, "softmax") == 0) return fal_cl_softmax_run(ctx, I(n_rows), I(n_cols), A(x), A(y), err);
    if (strcmp(op, "router") == 0)
        return fal_cl_router_run(ctx, I(n_tokens), I(n_expert), I(n_expert_used), A(probs), A(pinned_ids), A(ids),
                                 A(weights), err);
    if (strcmp(op, "moe_matmul") == 0)
        return fal_cl_moe_matmul_run(ctx, I(n_tokens), I(n_expert), I(n_expert_used), I(n_in), I(x_per_slot) != 0, TYPE, A(x),
                                     A(ids), b->scratch, &product, 1, err);
    if (strcmp(op, "swiglu") == 0) return fal_cl_swiglu_run(ctx, I(n_rows), I(n_ff), A(gate), A(up), A(y), err);
    if (strcmp(op, "moe_swiglu") == 0)
        return fal_cl_moe_swiglu_run(ctx, I(n_tokens), I(n_expert), I(n_expert_used), I(n_embd), I(n_ff), TYPE, A(w_gate),
                                     A(w_up), A(x), A(ids), b->scratch, b->more[0], b->more[1], A(y), err);
    if (strcmp(op, "moe_sum") == 0)
        return fal_cl_moe_sum_run(ctx, I(n_tokens), I(n_expert_used), I(n_embd), A(x), A(weights), A(y), err);
    if (strcmp(op, "argmax") == 0) return fal_cl_argmax_run(ctx, I(n_rows), I(n_cols), A(x), A(ids), err);
    return fal_fail(err, FAL_ERR_INTERNAL, NULL, "opencl: op %s is not timed", op);
}

static size_t scratch_bytes(const fal_call *c)
{
    if (strcmp(c->op, "attention") == 0) return fal_cl_attention_parts_bytes(I(n_ctx), I(n_head), I(head_dim));
    if (strcmp(c->op, "moe_matmul") == 0 || strcmp(c->op, "moe_swiglu") == 0)
        return fal_cl_moe_lists_bytes(I(n_tokens), I(n_expert), I(n_expert_used));
    return 0;
}

/* Arrays of call k; one that lies where an earlier call's does is that call's. */
static fal_status upload(fal_context *ctx, const fal_call *calls, int k, buffers *all, fal_error *err)
{
    const fal_call *c = &calls[k];
    fal_status st = FAL_OK;
    for (int i = 0; i < c->n_fields && st == FAL_OK; i++) {
        const fal_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || !f->data) continue;
        for (int e = 0; e < k && !all[k].arrays[i]; e++)
            if (calls[e].fields[i].data == f->data) all[k].arrays[i] = all[e].arrays[i];
        all[k].shared[i] = all[k].arrays[i] != NULL;
        if (all[k].arrays[i]) continue;
        st = f->is_input ? fal_cl_upload(ctx, f->name, f->data, f->nbytes, &all[k].arrays[i], err)
                         : fal_cl_alloc(ctx, f->name, f->nbytes, &all[k].arrays[i], err);
    }
    const size_t scratch = scratch_bytes(c);
    if (st == FAL_OK && scratch) st = fal_cl_alloc(ctx, "scratch", scratch, &all[k].scratch, err);
    const size_t more = strcmp(c->op, "moe_swiglu") == 0 ? fal_call_find(c, "y")->nbytes : 0;
    for (int i = 0; i < 2 && more && st == FAL_OK; i++) st = fal_cl_alloc(ctx, "scratch", more, &all[k].more[i], err);
    return st;
}

fal_status fal_cl_time_calls(fal_context *ctx, const fal_call *calls, int n, double *seconds, fal_error *err)
{
    buffers *all = calloc((size_t)n + 1, sizeof *all);
    fal_status st = all ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "opencl: no memory for %d calls", n);
    for (int k = 0; k < n && st == FAL_OK; k++) st = upload(ctx, calls, k, all, err);
    if (st == FAL_OK) st = run(ctx, &calls[0], &all[0], err); /* builds or loads what is needed */
    if (st == FAL_OK) st = fal_cl_finish(ctx, err);
    const double start = now();
    for (int k = 0; k < n && st == FAL_OK; k++) st = run(ctx, &calls[k], &all[k], err);
    if (st == FAL_OK) st = fal_cl_finish(ctx, err);
    *seconds = now() - start;
    for (int k = 0; all && k < n; k++) {
        for (int i = 0; i < FAL_MAX_FIELDS; i++)
            if (!all[k].shared[i]) fal_cl_free(ctx, all[k].arrays[i]);
        for (int i = 0; i < 2; i++) fal_cl_free(ctx, all[k].more[i]);
        fal_cl_free(ctx, all[k].scratch);
    }
    free(all);
    return st;
}
