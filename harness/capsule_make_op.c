/* Making capsules of the calls of single ops: out of an observation, or out of a fixture. */
#include "harness/capsule.h"

#include <stdlib.h>
#include <string.h>

static bool take_values(const fal_params *p, fal_capsule_value *to, int *n)
{
    for (int i = 0; i < p->n_params; i++) {
        if (*n == FAL_CAPSULE_VALUES || strlen(p->params[i].name) >= sizeof to->name) return false;
        fal_capsule_value *const v = &to[(*n)++];
        snprintf(v->name, sizeof v->name, "%s", p->params[i].name);
        if (!p->params[i].text)
            v->number = p->params[i].number;
        else if (strlen(p->params[i].text) >= sizeof v->text)
            return false;
        else
            snprintf(v->text, sizeof v->text, "%s", p->params[i].text);
    }
    return true;
}

/* The shape as it ran: what only shaped the inputs is of no more use. */
static bool take_shape(const json_t *params, fal_capsule *c)
{
    static const char *const inputs_only[] = { "fill",       "x_scale",         "x_shift",  "up_value",
                                               "gate_value", "weights_uniform", "w_ones",   "tokens_first",
                                               "same_v",     "future_noise",    "freq_base" };
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)params, name, v)
    {
        bool skip = false;
        for (size_t i = 0; i < sizeof inputs_only / sizeof inputs_only[0]; i++)
            skip |= strcmp(name, inputs_only[i]) == 0;
        if (skip) continue;
        if (c->n_shape == FAL_CAPSULE_VALUES) return false;
        fal_capsule_value *const x = &c->shape[c->n_shape++];
        snprintf(x->name, sizeof x->name, "%s", name);
        if (json_is_string(v))
            snprintf(x->text, sizeof x->text, "%s", json_string_value(v));
        else
            x->number = json_number_value(v);
    }
    return true;
}

/* What a call of one op is made of, but for its arrays and how it is judged. */
static fal_capsule *begin(const char *op, const json_t *params, uint64_t seed)
{
    fal_capsule *const c = calloc(1, sizeof *c);
    if (!c) return NULL;
    snprintf(c->op, sizeof c->op, "%s", op);
    c->columns = 1;
    c->seed = seed;
    if (take_shape(params, c)) return c;
    fal_capsule_free(c);
    return NULL;
}

fal_status fal_capsule_judge_as(fal_capsule *c, const fal_check *check, fal_error *err)
{
    snprintf(c->judge, sizeof c->judge, "%s", check->judge);
    c->limit = check->limit;
    c->limit.basis = NULL;
    c->limit.has_warn = false;
    if (take_values(&check->with, c->with, &c->n_with)) return FAL_OK;
    return fal_fail(err, FAL_ERR_NOTHING, NULL, "the call has more values than a capsule holds");
}

bool fal_capsule_is_one_call(const fal_check *check)
{
    return check->then.n_params == 0 && !check->again && check->against != FAL_AGAINST_SELF;
}

fal_status fal_capsule_from_fixture(const fal_fixture *f, uint64_t seed, fal_capsule **out, fal_error *err)
{
    int n;
    const fal_buffer *const b = fal_fixture_buffers(f, &n);
    json_t *params = fal_fixture_params(f);
    fal_capsule *const c = begin(fal_fixture_op(f), params, seed);
    bool ok = params && c;
    json_decref(params);
    for (int i = 0; i < n && ok; i++)
        if (b[i].is_input) ok = fal_capsule_borrow(c, b[i].name, b[i].dtype, b[i].n_dims, b[i].ne, b[i].data);
    if (ok) {
        *out = c;
        return FAL_OK;
    }
    fal_capsule_free(c);
    return fal_fail(err, FAL_ERR_NOTHING, NULL, "the call has more values than a capsule holds");
}

fal_status fal_capsule_from_op(const fal_observation *o, int request, const fal_check *check, fal_capsule **out,
                               fal_error *err)
{
    const json_t *const about = json_array_get(json_object_get(o->about, "requests"), (size_t)request);
    const json_t *const seed = json_object_get(about, "seed");
    char prefix[32];
    if (!fal_capsule_is_one_call(check))
        return fal_fail(err, FAL_ERR_NOTHING, NULL, "judgement %s compares several calls, and a capsule holds one",
                        check->judge);
    fal_capsule *const c = begin(check->op, json_object_get(about, "params"),
                                 json_is_string(seed) ? strtoull(json_string_value(seed), NULL, 10)
                                                      : (uint64_t)json_integer_value(seed));
    bool ok = c && fal_capsule_judge_as(c, check, err) == FAL_OK;
    snprintf(prefix, sizeof prefix, "r%d.in.", request);
    for (int i = 0; i < o->n_tensors && ok; i++) {
        const fal_obs_tensor *const t = &o->tensors[i];
        if (strncmp(t->name, prefix, strlen(prefix)) != 0) continue;
        ok = fal_capsule_add(c, t->name + strlen(prefix), t->dtype, t->n_dims, t->ne, t->data);
    }
    if (ok) {
        *out = c;
        return FAL_OK;
    }
    fal_capsule_free(c);
    return fal_fail(err, FAL_ERR_NOTHING, NULL, "the call has more values than a capsule holds");
}
