/* Calls an operation on the arrays of a fixture: named arrays become the fields of fal_<op>_args. */
#include "harness/fixture_plan.h"

#include <string.h>

static void *array(const fal_fixture *f, const char *name)
{
    for (int i = 0; i < f->n_buffers; i++)
        if (strcmp(f->buffers[i].name, name) == 0) return f->buffers[i].data;
    return NULL;
}

/* Fields by their own names: an integer, a real number, an array. */
#define I(field) .field = (int)f->value[KEY_##field]
#define R(field) .field = (float)f->value[KEY_##field]
#define A(field) .field = array(f, #field)
#define BIND(op, ...)                                                                                                  \
    static fal_##op##_args bind_##op(const fal_fixture *f)                                                             \
    {                                                                                                                  \
        return (fal_##op##_args){ __VA_ARGS__ };                                                                       \
    }

BIND(embed, I(n_tokens), I(n_embd), I(n_vocab), .type = f->type, A(w), A(tokens), A(y))
BIND(rmsnorm, I(n_tokens), I(n_embd), R(eps), A(x), A(w), A(y))
BIND(matmul, I(n_tokens), I(n_in), I(n_out), .type = f->type, A(w), A(x), A(y))
BIND(qk_norm, I(n_tokens), I(n_head), I(head_dim), R(eps), A(x), A(w), A(y))
BIND(rope, I(n_tokens), I(n_head), I(head_dim), I(first_pos), I(n_ctx), A(x), A(cos), A(sin), A(y))
BIND(kv_store, I(n_tokens), I(n_head_kv), I(head_dim), I(first_pos), I(n_ctx), A(k), A(v), A(k_cache), A(v_cache))
BIND(attention, I(n_tokens), I(n_head), I(n_head_kv), I(head_dim), I(first_pos), I(n_ctx), A(q), A(k_cache), A(v_cache),
     A(y))
BIND(add, I(n_tokens), I(n_embd), A(a), A(b), A(y))
BIND(softmax, I(n_rows), I(n_cols), A(x), A(y))
BIND(router, I(n_tokens), I(n_expert), I(n_expert_used), A(probs), A(pinned_ids), A(ids), A(weights))
BIND(moe_matmul, I(n_tokens), I(n_expert), I(n_expert_used), I(n_in), I(n_out),
     .x_per_slot = f->value[KEY_x_per_slot] > 0, .type = f->type, A(w), A(x), A(ids), A(y))
BIND(swiglu, I(n_rows), I(n_ff), A(gate), A(up), A(y))
BIND(moe_swiglu, I(n_tokens), I(n_expert), I(n_expert_used), I(n_embd), I(n_ff), .type = f->type, A(w_gate), A(w_up), A(x),
     A(ids), A(y))
BIND(moe_sum, I(n_tokens), I(n_expert_used), I(n_embd), A(x), A(weights), A(y))
BIND(argmax, I(n_rows), I(n_cols), A(x), A(ids))

static fal_status call(const fal_fixture *f, const fal_backend *b, fal_context *ctx, fal_error *err)
{
    if (b->call) {
        fal_call c;
        fal_fixture_call(f, &c);
        return b->call(ctx, &c, err);
    }
#define FAL_OP(name)                                                                                                   \
    if (strcmp(f->op, #name) == 0) {                                                                                   \
        if (!b->name) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "the backend has no op %s", #name);                 \
        const fal_##name##_args a = bind_##name(f);                                                                    \
        return b->name(ctx, &a, err);                                                                                  \
    }
#include "harness/ops.def"
    return fal_fail(err, FAL_ERR_INTERNAL, NULL, "no op is named '%s'", f->op);
}

static bool untouched(const unsigned char *guard)
{
    for (int i = 0; i < GUARD; i++)
        if (guard[i] != 0xa5) return false;
    return true;
}

fal_status fal_fixture_run(fal_fixture *f, const fal_backend *b, fal_context *ctx, fal_error *err)
{
    const fal_status st = call(f, b, ctx, err);
    for (int i = 0; i < f->n_buffers; i++) {
        const fal_buffer *a = &f->buffers[i];
        if (untouched((const unsigned char *)a->data - GUARD) && untouched((const unsigned char *)a->data + a->nbytes))
            continue;
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "%s of %s wrote %s array %s", f->op, b->name,
                        untouched((const unsigned char *)a->data + a->nbytes) ? "before" : "behind", a->name);
    }
    return st;
}
