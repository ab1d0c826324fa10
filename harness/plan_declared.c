/* What a candidate's declared arithmetic makes of the contracts' checks: their limits are of float32, and its own follow from
   what it declares. */
#include "harness/plan_parts.h"

#include <math.h>
#include <string.h>

static bool is_any(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

bool fal_plan_as_declared(const fal_plan_parts *p, fal_check *c)
{
    /* hold of whatever arithmetic, or are about the declaration itself */
    static const char *const any[] = { "arithmetic", "finite", "same_out_bits", "same_bits", NULL };
    /* nothing rounds where activations are their own codes */
    static const char *const exact[] = { "exact", "faults_named", NULL };
    static const char *const products[] = { "matmul", "moe_matmul", NULL };
    static const char *const exact_q8[] = { "exact_q8" };
    const fal_declaration *const d = p->in->declared;
    const char *const type = c->n_shapes ? fal_params_text(c->shapes, "type", NULL) : NULL;
    if (!d || fal_declaration_is_f32(d, c->op, type)) return true;
    if (fal_params_text(&c->with, "declare", NULL)) return false; /* what our own kernels declare */
    const double expect = fal_params_number(&c->with, "expect", 1);
    const bool zero = strcmp(c->judge, "constant") == 0 && expect <= 0 && expect >= 0;
    if (is_any(c->judge, any) || zero) return true;
    const bool codes = d->a.activation == FAL_ACTIVATION_Q8_0 || d->a.activation == FAL_ACTIVATION_Q8_K;
    if (codes && is_any(c->op, products) && is_any(c->judge, exact) && (d->a.sum == FAL_SUM_I32 || d->a.sum == FAL_SUM_F32 || d->a.sum == FAL_SUM_F64)) {
        c->fills = exact_q8;
        return true;
    }
    if (c->then.n_params > 0 || c->again) return false; /* two calls agree as closely as float32 does */
    c->judge = "arithmetic";
    c->against = FAL_AGAINST_NONE;
    c->limit = (fal_limit){ .kind = FAL_LIMIT_MAX, .value = 1, .basis = "the declared arithmetic" };
    return true;
}

/* Terms of the longest sum. */
static double longest_sum(const char *op, const fal_params *shape)
{
    static const char *const of[] = { "n_in", "n_cols", "n_embd", NULL }, *const over_experts[] = { "moe_sum", "router", NULL };
    if (is_any(op, over_experts)) return fal_params_number(shape, "n_expert_used", 0);
    for (const char *const *name = of; *name; name++)
        if (fal_params_number(shape, *name, 0) > 0) return fal_params_number(shape, *name, 0);
    return fal_params_number(shape, "head_dim", 0) + fal_params_number(shape, "first_pos", 0) + fal_params_number(shape, "n_tokens", 0);
}

void fal_plan_trial_as_declared(const fal_plan_parts *p, fal_check *c)
{
    const fal_declaration *const d = p->in->declared;
    const char *const type = fal_params_text(c->shapes, "type", NULL);
    if (!d || fal_declaration_is_f32(d, c->op, type)) return;
    const double left = 1.5 * fal_declaration_error(d, c->op, type, longest_sum(c->op, c->shapes));
    const bool is_short = d->a.sum == FAL_SUM_F16 || d->a.sum == FAL_SUM_BF16;
    const bool repeats = strcmp(c->judge, "trial_content") == 0 || strcmp(c->judge, "trial_timed") == 0;
    if (strcmp(c->judge, "trial_answers") == 0)
        c->limit = (fal_limit){ .kind = FAL_LIMIT_MAX, .value = c->limit.value + left, .basis = "what the declared arithmetic leaves" };
    else if (repeats && is_short) /* codes follow from the content alone; the order of sums may change from call to call */
        c->limit.value = fmax(c->limit.value, 2 * left);
}
