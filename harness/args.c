/* The argument checks that all backends share, one function per operation. */
#include "harness/args.h"

#include <math.h>

typedef struct {
    const char *name;
    int value;
} dim;

typedef struct {
    const char *name;
    const void *value;
} array;

bool fal_mul_size(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > (size_t)PTRDIFF_MAX / b) return false;
    *out = a * b;
    return true;
}

static fal_status check_null(const char *op, fal_error *err)
{
    return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: the arguments are NULL", op);
}

/* Every dimension >= 1 and every array present; the lists end where the name is NULL. */
static fal_status check_lists(const char *op, const dim *dims, const array *arrays, fal_error *err)
{
    for (; dims->name; dims++)
        if (dims->value <= 0)
            return fal_fail(err, FAL_ERR_INPUT, "every dimension is at least 1", "%s: %s is %d, expected >= 1", op,
                            dims->name, dims->value);
    for (; arrays->name; arrays++)
        if (!arrays->value) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: array %s is NULL", op, arrays->name);
    return FAL_OK;
}

/* unit * the product of ne (which ends with 0) bytes must be addressable. */
static fal_status check_bytes(const char *op, const char *name, size_t unit, const int *ne, fal_error *err)
{
    size_t bytes = unit;
    for (; *ne > 0; ne++)
        if (!fal_mul_size(bytes, (size_t)*ne, &bytes))
            return fal_fail(err, FAL_ERR_INPUT, "use smaller dimensions", "%s: array %s has more than %td bytes", op,
                            name, PTRDIFF_MAX);
    return FAL_OK;
}

/* The weight type is computed and n columns are whole blocks. */
static fal_status check_type(const char *op, uint32_t type, const char *n_name, int n, fal_error *err)
{
    const fal_type_info *t = fal_type_get(type);
    if (!t->name || !t->computed)
        return fal_fail(err, FAL_ERR_INPUT, "F32, F16, BF16, Q8_0, Q4_K, Q5_K and Q6_K are computed",
                        "%s: weights of type %s (%u) are not computed", op, t->name ? t->name : "unknown", type);
    if ((uint32_t)n % t->block_elems != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s is %d, expected a multiple of %u, the block of %s", op,
                        n_name, n, t->block_elems, t->name);
    return FAL_OK;
}

static fal_status check_eps(const char *op, float eps, fal_error *err)
{
    if (!(isfinite(eps) && eps >= 0.0f))
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: eps is %g, expected a finite number >= 0", op, (double)eps);
    return FAL_OK;
}

static fal_status check_positions(const char *op, int first_pos, int n_tokens, int n_ctx, fal_error *err)
{
    if (first_pos < 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: first_pos is %d, expected >= 0", op, first_pos);
    if (n_tokens > n_ctx || first_pos > n_ctx - n_tokens)
        return fal_fail(err, FAL_ERR_INPUT, "use a larger n_ctx",
                        "%s: first_pos %d + n_tokens %d exceeds n_ctx %d", op, first_pos, n_tokens, n_ctx);
    return FAL_OK;
}

static fal_status check_groups(const char *op, int n_head, int n_head_kv, fal_error *err)
{
    if (n_head % n_head_kv != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: n_head is %d, expected a multiple of n_head_kv %d", op, n_head,
                        n_head_kv);
    return FAL_OK;
}

static fal_status check_top_k(const char *op, int n_expert, int n_expert_used, fal_error *err)
{
    if (n_expert_used > n_expert)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: n_expert_used is %d, expected <= n_expert %d", op, n_expert_used,
                        n_expert);
    return FAL_OK;
}

/* ids: [n, per_row], all in [0, limit). */
static fal_status check_ids(const char *op, const char *name, const int32_t *ids, int n, int per_row,
                            const char *limit_name, int limit, fal_error *err)
{
    const size_t total = (size_t)n * (size_t)per_row;
    for (size_t i = 0; i < total; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s[%zu] is %d, expected 0 <= id < %s %d", op, name, i,
                            ids[i], limit_name, limit);
    return FAL_OK;
}

/* These keep each check below to one line per rule; FIRST returns the first failure. */
/* clang-format off */
#define DIM(field)   { #field, a->field }
#define ARRAY(field) { #field, a->field }
#define DIMS(...)    (const dim[]) { __VA_ARGS__, { NULL, 0 } }
#define ARRAYS(...)  (const array[]) { __VA_ARGS__, { NULL, NULL } }
/* clang-format on */
#define BYTES(name, unit, ...) check_bytes(op, name, unit, (const int[]) { __VA_ARGS__, 0 }, err)
#define FIRST(call)                                                                                                    \
    do {                                                                                                               \
        const fal_status st_ = (call);                                                                                 \
        if (st_ != FAL_OK) return st_;                                                                                 \
    } while (0)

fal_status fal_embed_args_check(const fal_embed_args *a, fal_error *err)
{
    static const char op[] = "embed";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_embd), DIM(n_vocab)), ARRAYS(ARRAY(w), ARRAY(tokens), ARRAY(y)),
                      err));
    FIRST(check_type(op, a->type, "n_embd", a->n_embd, err));
    FIRST(BYTES("w", fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_vocab));
    FIRST(BYTES("y", sizeof(float), a->n_tokens, a->n_embd));
    return check_ids(op, "tokens", a->tokens, a->n_tokens, 1, "n_vocab", a->n_vocab, err);
}

fal_status fal_rmsnorm_args_check(const fal_rmsnorm_args *a, fal_error *err)
{
    static const char op[] = "rmsnorm";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_embd)), ARRAYS(ARRAY(x), ARRAY(w), ARRAY(y)), err));
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->n_embd));
    return check_eps(op, a->eps, err);
}

fal_status fal_matmul_args_check(const fal_matmul_args *a, fal_error *err)
{
    static const char op[] = "matmul";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_in), DIM(n_out)), ARRAYS(ARRAY(w), ARRAY(x), ARRAY(y)), err));
    FIRST(check_type(op, a->type, "n_in", a->n_in, err));
    FIRST(BYTES("w", fal_type_row_bytes(a->type, (size_t)a->n_in), a->n_out));
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->n_in));
    return BYTES("y", sizeof(float), a->n_tokens, a->n_out);
}

fal_status fal_qk_norm_args_check(const fal_qk_norm_args *a, fal_error *err)
{
    static const char op[] = "qk_norm";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_head), DIM(head_dim)), ARRAYS(ARRAY(x), ARRAY(w), ARRAY(y)), err));
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->n_head, a->head_dim));
    return check_eps(op, a->eps, err);
}

fal_status fal_rope_args_check(const fal_rope_args *a, fal_error *err)
{
    static const char op[] = "rope";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_head), DIM(head_dim), DIM(n_ctx)),
                      ARRAYS(ARRAY(x), ARRAY(cos), ARRAY(sin), ARRAY(y)), err));
    if (a->head_dim % 2 != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: head_dim is %d, expected an even number", op, a->head_dim);
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->n_head, a->head_dim));
    FIRST(BYTES("cos", sizeof(float), a->n_ctx, a->head_dim));
    return check_positions(op, a->first_pos, a->n_tokens, a->n_ctx, err);
}

fal_status fal_kv_store_args_check(const fal_kv_store_args *a, fal_error *err)
{
    static const char op[] = "kv_store";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_head_kv), DIM(head_dim), DIM(n_ctx)),
                      ARRAYS(ARRAY(k), ARRAY(v), ARRAY(k_cache), ARRAY(v_cache)), err));
    FIRST(BYTES("k_cache", sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim));
    return check_positions(op, a->first_pos, a->n_tokens, a->n_ctx, err);
}

fal_status fal_attention_args_check(const fal_attention_args *a, fal_error *err)
{
    static const char op[] = "attention";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_head), DIM(n_head_kv), DIM(head_dim), DIM(n_ctx)),
                      ARRAYS(ARRAY(q), ARRAY(k_cache), ARRAY(v_cache), ARRAY(y)), err));
    FIRST(check_groups(op, a->n_head, a->n_head_kv, err));
    FIRST(BYTES("q", sizeof(float), a->n_tokens, a->n_head, a->head_dim));
    FIRST(BYTES("k_cache", sizeof(float), a->n_ctx, a->n_head_kv, a->head_dim));
    return check_positions(op, a->first_pos, a->n_tokens, a->n_ctx, err);
}

fal_status fal_add_args_check(const fal_add_args *a, fal_error *err)
{
    static const char op[] = "add";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_embd)), ARRAYS({ "a", a->a }, { "b", a->b }, ARRAY(y)), err));
    return BYTES("y", sizeof(float), a->n_tokens, a->n_embd);
}

fal_status fal_softmax_args_check(const fal_softmax_args *a, fal_error *err)
{
    static const char op[] = "softmax";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_rows), DIM(n_cols)), ARRAYS(ARRAY(x), ARRAY(y)), err));
    return BYTES("x", sizeof(float), a->n_rows, a->n_cols);
}

fal_status fal_router_args_check(const fal_router_args *a, fal_error *err)
{
    static const char op[] = "router";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_expert), DIM(n_expert_used)),
                      ARRAYS(ARRAY(probs), ARRAY(ids), ARRAY(weights)), err));
    FIRST(check_top_k(op, a->n_expert, a->n_expert_used, err));
    FIRST(BYTES("probs", sizeof(float), a->n_tokens, a->n_expert));
    if (!a->pinned_ids) return FAL_OK;
    return check_ids(op, "pinned_ids", a->pinned_ids, a->n_tokens, a->n_expert_used, "n_expert", a->n_expert, err);
}

fal_status fal_moe_matmul_args_check(const fal_moe_matmul_args *a, fal_error *err)
{
    static const char op[] = "moe_matmul";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_expert), DIM(n_expert_used), DIM(n_in), DIM(n_out)),
                      ARRAYS(ARRAY(w), ARRAY(x), ARRAY(ids), ARRAY(y)), err));
    FIRST(check_top_k(op, a->n_expert, a->n_expert_used, err));
    FIRST(check_type(op, a->type, "n_in", a->n_in, err));
    FIRST(BYTES("w", fal_type_row_bytes(a->type, (size_t)a->n_in), a->n_out, a->n_expert));
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->x_per_slot ? a->n_expert_used : 1, a->n_in));
    FIRST(BYTES("y", sizeof(float), a->n_tokens, a->n_expert_used, a->n_out));
    return check_ids(op, "ids", a->ids, a->n_tokens, a->n_expert_used, "n_expert", a->n_expert, err);
}

fal_status fal_swiglu_args_check(const fal_swiglu_args *a, fal_error *err)
{
    static const char op[] = "swiglu";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_rows), DIM(n_ff)), ARRAYS(ARRAY(gate), ARRAY(up), ARRAY(y)), err));
    return BYTES("y", sizeof(float), a->n_rows, a->n_ff);
}

fal_status fal_moe_swiglu_args_check(const fal_moe_swiglu_args *a, fal_error *err)
{
    static const char op[] = "moe_swiglu";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_expert), DIM(n_expert_used), DIM(n_embd), DIM(n_ff)),
                      ARRAYS(ARRAY(w_gate), ARRAY(w_up), ARRAY(x), ARRAY(ids), ARRAY(y)), err));
    FIRST(check_top_k(op, a->n_expert, a->n_expert_used, err));
    FIRST(check_type(op, a->type, "n_embd", a->n_embd, err));
    FIRST(BYTES("w_gate", fal_type_row_bytes(a->type, (size_t)a->n_embd), a->n_ff, a->n_expert));
    FIRST(BYTES("x", sizeof(float), a->n_tokens, a->n_embd));
    FIRST(BYTES("y", sizeof(float), a->n_tokens, a->n_expert_used, a->n_ff));
    return check_ids(op, "ids", a->ids, a->n_tokens, a->n_expert_used, "n_expert", a->n_expert, err);
}

fal_status fal_moe_sum_args_check(const fal_moe_sum_args *a, fal_error *err)
{
    static const char op[] = "moe_sum";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_tokens), DIM(n_expert_used), DIM(n_embd)),
                      ARRAYS(ARRAY(x), ARRAY(weights), ARRAY(y)), err));
    return BYTES("x", sizeof(float), a->n_tokens, a->n_expert_used, a->n_embd);
}

fal_status fal_argmax_args_check(const fal_argmax_args *a, fal_error *err)
{
    static const char op[] = "argmax";
    if (!a) return check_null(op, err);
    FIRST(check_lists(op, DIMS(DIM(n_rows), DIM(n_cols)), ARRAYS(ARRAY(x), ARRAY(ids)), err));
    return BYTES("x", sizeof(float), a->n_rows, a->n_cols);
}
