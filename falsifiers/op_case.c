/* Reading observations of single ops: requests, parameters, inputs and outputs, none of them taken on trust. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const *fal_op_outputs(const char *op)
{
    static const char *const y[] = { "y", NULL }, *const router[] = { "ids", "weights", NULL };
    static const char *const caches[] = { "k_cache", "v_cache", NULL }, *const ids[] = { "ids", NULL };
    if (strcmp(op, "router") == 0) return router;
    if (strcmp(op, "kv_store") == 0) return caches;
    if (strcmp(op, "argmax") == 0) return ids;
    return y;
}

const char *fal_op_of(const fal_op_case *c, int request)
{
    const fal_check *const check = c->in->check;
    const bool second = c->stride == 2 && request % 2 == 1;
    return second ? fal_params_text(&check->then, "op", check->op) : check->op;
}

double fal_op_number(const fal_op_case *c, int request, const char *name, double fallback)
{
    const json_t *const params = json_object_get(fal_about_request(c->in->got, request), "params");
    const json_t *const j = json_object_get(params, name);
    if (json_is_boolean(j)) return json_is_true(j) ? 1 : 0;
    return json_is_number(j) ? json_number_value(j) : fallback;
}

int64_t fal_op_dim(const fal_op_case *c, int request, const char *name)
{
    const double v = fal_op_number(c, request, name, -1);
    return v >= 0 && v <= (double)INT32_MAX && v <= floor(v) ? (int64_t)v : -1;
}

/* The inputs of both sides must have the same bits, or a difference of outputs says nothing. */
static bool same_inputs(const fal_op_case *c, fal_verdict *out)
{
    const fal_observation *const got = c->in->got, *const want = c->in->want;
    for (int i = 0; i < want->n_tensors; i++) {
        const fal_obs_tensor *const w = &want->tensors[i];
        const char *name = w->name;
        int request = 0, end = 0;
        if (sscanf(name, "r%d.%n", &request, &end) == 1 && end > 0) name += end;
        if (strncmp(name, "in.", 3) != 0) continue;
        const fal_obs_tensor *const g = fal_need(out, got, FAL_SIDE_GOT, request, name);
        if (!g) return false;
        if (!fal_same_bytes(fal_row_whole(g), fal_row_whole(w)))
            return fal_stop(out, FAL_ERROR,
                            "request %d: %.40s differs between backend and reference, so outputs cannot be compared",
                            request, name);
    }
    return true;
}

bool fal_op_open(const fal_evidence_in *in, fal_verdict *out, fal_op_case *c)
{
    const fal_check *const check = in->check;
    *c = (fal_op_case){
        .in = in, .out = out, .n_requests = in->got->n_requests, .stride = check->then.n_params > 0 ? 2 : 1
    };
    if (!check->op) return fal_stop(out, FAL_ERROR, "the check names no op");
    const int planned = (check->n_seeds > 0 ? check->n_seeds : 1) * c->stride;
    if (c->n_requests < planned || c->n_requests % c->stride != 0)
        return fal_stop(out, FAL_CRASHED, "the observer delivered %d of %d requests", c->n_requests, planned);
    for (int r = 0; r < c->n_requests; r++) {
        const json_t *const about = fal_about_request(in->got, r), *const op = json_object_get(about, "op");
        const json_t *const seed = json_object_get(about, "seed");
        if (json_is_string(op) && strcmp(json_string_value(op), fal_op_of(c, r)) != 0)
            return fal_stop(out, FAL_ERROR, "request %d ran op %.40s, the check asks for %.40s", r,
                            json_string_value(op), fal_op_of(c, r));
        if (json_is_integer(seed) && check->n_seeds > 0 && r < planned &&
            (uint64_t)json_integer_value(seed) != check->seeds[r / c->stride])
            return fal_stop(out, FAL_ERROR, "request %d ran seed %lld, the check asks for %llu", r,
                            (long long)json_integer_value(seed), (unsigned long long)check->seeds[r / c->stride]);
    }
    return !in->want || same_inputs(c, out);
}

bool fal_op_open_pairs(const fal_evidence_in *in, fal_verdict *out, fal_op_case *c)
{
    if (in->check->then.n_params == 0)
        return fal_stop(out, FAL_ERROR, "judgement %s compares two requests, but the check has no `then`",
                        in->check->judge);
    return fal_op_open(in, out, c);
}

bool fal_op_is(const fal_op_case *c, const char *op)
{
    if (strcmp(c->in->check->op, op) == 0) return true;
    return fal_stop(c->out, FAL_ERROR, "judgement %s is for op %s, not %.40s", c->in->check->judge, op,
                    c->in->check->op);
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

const fal_obs_tensor *fal_op_in(const fal_op_case *c, int request, const char *arg)
{
    char name[48];
    snprintf(name, sizeof name, "in.%.40s", arg);
    const fal_obs_tensor *const t = fal_need(c->out, c->in->got, FAL_SIDE_GOT, request, name);
    if (t && t->n_dims > 0 && t->n > 0) return t;
    if (t) fal_stop(c->out, FAL_FALSIFIED, "request %d: %s holds no element, so nothing is shown", request, name);
    return NULL;
}

const fal_obs_tensor *fal_op_in_shape(const fal_op_case *c, int request, const char *arg, fal_dtype dtype, int n_dims,
                                      ...)
{
    const fal_obs_tensor *const t = fal_op_in(c, request, arg);
    if (!t) return NULL;
    char found[96];
    fal_shape_text(found, sizeof found, t->dtype, t->n_dims, t->ne);
    bool ok = t->dtype == dtype && t->n_dims == n_dims;
    va_list ap;
    va_start(ap, n_dims);
    for (int d = 0; d < n_dims && ok; d++) {
        int64_t *const ne = va_arg(ap, int64_t *);
        if (*ne < 0) *ne = t->ne[d];
        ok = *ne == t->ne[d];
    }
    va_end(ap);
    if (ok) return t;
    fal_stop(c->out, FAL_ERROR, "request %d: in.%s is %s, which does not fit the op's other inputs", request, arg,
             found);
    return NULL;
}

/* Shape of an output, from shapes of inputs and the op's parameters. */
static bool out_shape(const fal_op_case *c, int r, const char *arg, int *n_dims, int64_t ne[8])
{
    static const struct {
        const char *op, *like;
    } same[] = { { "rmsnorm", "x" }, { "qk_norm", "x" }, { "rope", "x" }, { "softmax", "x" }, { "attention", "q" },
                 { "add", "a" }, { "swiglu", "gate" } };
    const char *const op = fal_op_of(c, r);
    const fal_obs_tensor *t = NULL;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        if (strcmp(op, same[i].op) != 0) continue;
        t = fal_op_in(c, r, same[i].like);
        if (!t) return false;
        *n_dims = t->n_dims;
        memcpy(ne, t->ne, sizeof t->ne);
        return true;
    }
    if (strcmp(op, "kv_store") == 0) {
        t = fal_op_in(c, r, arg);
        if (!t) return false;
        *n_dims = t->n_dims;
        memcpy(ne, t->ne, sizeof t->ne);
        return true;
    }
    const bool embed = strcmp(op, "embed") == 0, router = strcmp(op, "router") == 0,
               moe_swiglu = strcmp(op, "moe_swiglu") == 0, per_slot = moe_swiglu || strcmp(op, "moe_matmul") == 0;
    t = fal_op_in(c, r, embed ? "tokens" : router ? "probs" : per_slot ? "ids" : "x");
    if (!t) return false;
    ne[0] = t->ne[0];
    *n_dims = 2;
    if (embed) {
        ne[1] = fal_op_dim(c, r, "n_embd");
    } else if (router) {
        ne[1] = fal_op_dim(c, r, "n_expert_used");
    } else if (per_slot) {
        *n_dims = 3;
        ne[1] = t->n_dims > 1 ? t->ne[1] : -1;
        ne[2] = fal_op_dim(c, r, moe_swiglu ? "n_ff" : "n_out");
    } else if (strcmp(op, "moe_sum") == 0) {
        ne[1] = t->ne[t->n_dims - 1];
    } else if (strcmp(op, "argmax") == 0) {
        *n_dims = 1;
    } else {
        ne[1] = fal_op_dim(c, r, "n_out"); /* matmul */
    }
    return true;
}

const fal_obs_tensor *fal_op_out(const fal_op_case *c, int request, const char *arg)
{
    char name[48];
    int n_dims = 0;
    int64_t ne[8] = { 0 };
    snprintf(name, sizeof name, "out.%.40s", arg);
    const fal_obs_tensor *const t = fal_need(c->out, c->in->got, FAL_SIDE_GOT, request, name);
    if (!t || !out_shape(c, request, arg, &n_dims, ne)) return NULL;
    const fal_dtype dtype = strcmp(arg, "ids") == 0 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    return fal_need_shape(c->out, FAL_SIDE_GOT, name, t, dtype, n_dims, ne) ? t : NULL;
}

/* ---- what would make a comparison empty ------------------------------------------------------------------------ */

bool fal_zeros_expected(const fal_evidence_in *in)
{
    const fal_check *const check = in->check;
    const json_t *const fill = json_object_get(json_object_get(in->got->about, "asked"), "fill");
    const char *name = json_string_value(fill);
    if (check->n_fills == 1) name = check->fills[0]; /* what the contract says goes before what the observer says */
    if (name && strcmp(name, "zeros") == 0) return true;
    const double expect = fal_params_number(&check->with, "expect", 1);
    return fal_params_number(&check->with, "expect_zero", 0) > 0 || (expect >= 0 && expect <= 0);
}

void fal_op_doubt_zero(const fal_op_case *c, bool any_nonzero)
{
    if (any_nonzero || c->out->n_compared == 0 || fal_zeros_expected(c->in)) return;
    fal_doubt(c->out, "every output is zero, though the inputs do not ask for it: nothing seems to have been computed");
}

bool fal_op_same_request(const fal_op_case *c, int a, int b)
{
    static const char *const scalars[] = { "eps", "first_pos", "x_per_slot", "n_expert_used" };
    if (strcmp(fal_op_of(c, a), fal_op_of(c, b)) != 0) return false;
    for (size_t i = 0; i < sizeof scalars / sizeof scalars[0]; i++) {
        const double x = fal_op_number(c, a, scalars[i], 0), y = fal_op_number(c, b, scalars[i], 0);
        if (x < y || x > y) return false;
    }
    char prefix_a[24], prefix_b[24];
    const int len_a = snprintf(prefix_a, sizeof prefix_a, "r%d.in.", a),
              len_b = snprintf(prefix_b, sizeof prefix_b, "r%d.in.", b);
    int n_a = 0, n_b = 0;
    for (int i = 0; i < c->in->got->n_tensors; i++) {
        const fal_obs_tensor *const t = &c->in->got->tensors[i];
        if (strncmp(t->name, prefix_b, (size_t)len_b) == 0) n_b++;
        if (strncmp(t->name, prefix_a, (size_t)len_a) != 0) continue;
        n_a++;
        const fal_obs_tensor *const u = fal_observation_find(c->in->got, b, t->name + len_a - 3);
        if (!u || u->n_dims != t->n_dims || memcmp(u->ne, t->ne, (size_t)t->n_dims * sizeof t->ne[0]) != 0)
            return false;
        if (!fal_same_bytes(fal_row_whole(t), fal_row_whole(u))) return false;
    }
    return n_a == n_b;
}
