/* Making capsules of the calls of one op out of a forward pass. */
#include "harness/capsule.h"

#include "harness/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const fal_tensor *fal_capsule_weight(const fal_model *m, fal_site site, int layer)
{
    const fal_layer *const l = layer >= 0 ? &m->layers[layer] : NULL;
    switch (site) {
    case FAL_SITE_embed: return m->token_embd;
    case FAL_SITE_final_norm: return m->output_norm;
    case FAL_SITE_logits: return m->output;
    default: break;
    }
    if (!l) return NULL;
    switch (site) {
    case FAL_SITE_attn_norm: return l->attn_norm;
    case FAL_SITE_q: return l->attn_q;
    case FAL_SITE_k: return l->attn_k;
    case FAL_SITE_v: return l->attn_v;
    case FAL_SITE_q_norm: return l->attn_q_norm;
    case FAL_SITE_k_norm: return l->attn_k_norm;
    case FAL_SITE_attn_output: return l->attn_output;
    case FAL_SITE_ffn_norm: return l->ffn_norm;
    case FAL_SITE_router_logits: return l->ffn_gate_inp;
    case FAL_SITE_moe_gate: return l->ffn_gate_exps;
    case FAL_SITE_moe_up: return l->ffn_up_exps;
    case FAL_SITE_moe_down: return l->ffn_down_exps;
    default: return NULL;
    }
}

/* ---- from a forward pass ------------------------------------------------------------------------------------------ */

typedef struct {
    const fal_model *m;
    const fal_observation *reference;
    int request, layer;
    int64_t n; /* tokens */
    fal_capsule *c;
    fal_error *err;
    bool ok;
} making;

/* The reference's values at a site, or NULL after a refusal. */
static const fal_obs_tensor *site_values(making *k, fal_site site, int layer)
{
    char name[64];
    int sub, width;
    fal_site_shape(site, &k->m->config, &sub, &width);
    if (layer >= 0)
        snprintf(name, sizeof name, "blk.%d.%s", layer, fal_site_get(site)->name);
    else
        snprintf(name, sizeof name, "%s", fal_site_get(site)->name);
    const fal_obs_tensor *const t = fal_observation_find(k->reference, k->request, name);
    const fal_dtype dtype = fal_site_get(site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    if (t && t->dtype == dtype && t->n == (size_t)k->n * (size_t)sub * (size_t)width) return t;
    fal_fail(k->err, FAL_ERR_INPUT, NULL, "%s: request %d has no tensor '%s' of %lld tokens", k->reference->path,
             k->request, name, (long long)k->n);
    k->ok = false;
    return NULL;
}

static void put(making *k, const char *name, fal_dtype dtype, const void *data, int n_dims, int64_t a, int64_t b,
                int64_t c)
{
    const int64_t ne[] = { a, b, c };
    if (k->ok) k->ok = data && fal_capsule_borrow(k->c, name, dtype, n_dims, ne, data);
}

static void put_site(making *k, const char *name, fal_site site, int layer, int n_dims, int64_t a, int64_t b, int64_t c)
{
    const fal_obs_tensor *const t = site_values(k, site, layer);
    if (t) put(k, name, t->dtype, t->data, n_dims, a, b, c);
}

static void set(making *k, const char *name, double v)
{
    if (k->ok) k->ok = fal_capsule_set(k->c, name, v);
}

/* A weight of n_dims dimensions, slowest first; rows of all types but F32 are bytes. */
static void put_weight(making *k, const fal_tensor *t, int n_dims)
{
    const fal_type_info *const type = fal_type_get(t->type);
    int64_t ne[3] = { 0 };
    for (int d = 0; d < n_dims; d++) ne[d] = (int64_t)t->ne[n_dims - 1 - d];
    if (t->type != FAL_TYPE_F32) ne[n_dims - 1] = (int64_t)fal_type_row_bytes(t->type, (size_t)t->ne[0]);
    put(k, "w", t->type == FAL_TYPE_F32 ? FAL_DTYPE_F32 : FAL_DTYPE_U8, t->data, n_dims, ne[0], ne[1], ne[2]);
    if (!k->ok || k->c->n_shape == FAL_CAPSULE_VALUES) return;
    fal_capsule_value *const v = &k->c->shape[k->c->n_shape++];
    snprintf(v->name, sizeof v->name, "type");
    snprintf(v->text, sizeof v->text, "%s", type->name);
}

static void make_norm(making *k, fal_site from, int layer, const fal_tensor *w, int n_head, int width)
{
    const bool heads = n_head > 0;
    set(k, "n_tokens", (double)k->n);
    if (heads) set(k, "n_head", n_head);
    set(k, heads ? "head_dim" : "n_embd", width);
    set(k, "eps", (double)k->m->config.rms_eps);
    if (heads)
        put_site(k, "x", from, layer, 3, k->n, n_head, width);
    else
        put_site(k, "x", from, layer, 2, k->n, width, 0);
    put(k, "w", FAL_DTYPE_F32, w->data, 1, width, 0, 0);
}

static void make_matmul(making *k, fal_site from, int layer, const fal_tensor *w)
{
    set(k, "n_tokens", (double)k->n);
    set(k, "n_in", (double)w->ne[0]);
    set(k, "n_out", (double)w->ne[1]);
    put_weight(k, w, 2);
    put_site(k, "x", from, layer, 2, k->n, (int64_t)w->ne[0], 0);
}

static void make_moe(making *k, fal_site from, const fal_tensor *w, bool per_slot)
{
    const fal_config *const c = &k->m->config;
    set(k, "n_tokens", (double)k->n);
    set(k, "n_expert", c->n_expert);
    set(k, "n_expert_used", c->n_expert_used);
    set(k, "n_in", (double)w->ne[0]);
    set(k, "n_out", (double)w->ne[1]);
    set(k, "x_per_slot", per_slot);
    put_weight(k, w, 3);
    if (per_slot)
        put_site(k, "x", from, k->layer, 3, k->n, c->n_expert_used, (int64_t)w->ne[0]);
    else
        put_site(k, "x", from, k->layer, 2, k->n, (int64_t)w->ne[0], 0);
    put_site(k, "ids", FAL_SITE_expert_ids, k->layer, 2, k->n, c->n_expert_used, 0);
}

static void make_rope(making *k, fal_site from, int n_head)
{
    const fal_config *const c = &k->m->config;
    float *cosines = NULL, *sines = NULL;
    const int64_t ne[] = { k->n, c->head_dim / 2 };
    set(k, "n_tokens", (double)k->n);
    set(k, "n_head", n_head);
    set(k, "head_dim", c->head_dim);
    set(k, "first_pos", 0);
    set(k, "n_ctx", (double)k->n);
    put_site(k, "x", from, k->layer, 3, k->n, n_head, c->head_dim);
    if (!k->ok || fal_rope_table((int)k->n, c->head_dim, c->rope_freq_base, &cosines, &sines, k->err) != FAL_OK)
        k->ok = false;
    k->ok = k->ok && fal_capsule_add(k->c, "cos", FAL_DTYPE_F32, 2, ne, cosines) &&
            fal_capsule_add(k->c, "sin", FAL_DTYPE_F32, 2, ne, sines);
    free(cosines);
    free(sines);
}

static void make_attention(making *k)
{
    const fal_config *const c = &k->m->config;
    set(k, "n_tokens", (double)k->n);
    set(k, "n_head", c->n_head);
    set(k, "n_head_kv", c->n_head_kv);
    set(k, "head_dim", c->head_dim);
    set(k, "first_pos", 0);
    set(k, "n_ctx", (double)k->n);
    put_site(k, "q", FAL_SITE_q_rope, k->layer, 3, k->n, c->n_head, c->head_dim);
    put_site(k, "k_cache", FAL_SITE_k_rope, k->layer, 3, k->n, c->n_head_kv, c->head_dim);
    put_site(k, "v_cache", FAL_SITE_v, k->layer, 3, k->n, c->n_head_kv, c->head_dim);
}

static void make_rows(making *k, const char *rows, double n, const char *columns, double width)
{
    set(k, rows, n);
    set(k, columns, width);
}

/* What the op at a site takes; the order of arguments is that of fal_<op>_args. */
static void make_call(making *k, fal_site site, const int32_t *tokens)
{
    const fal_config *const c = &k->m->config;
    const fal_tensor *const w = fal_capsule_weight(k->m, site, k->layer);
    const int l = k->layer, used = c->n_expert_used;
    const fal_site x = l > 0 ? FAL_SITE_l_out : FAL_SITE_embed; /* what comes into the layer */
    const int xl = l > 0 ? l - 1 : -1;
    switch (site) {
    case FAL_SITE_embed:
        set(k, "n_tokens", (double)k->n);
        set(k, "n_embd", c->n_embd);
        set(k, "n_vocab", c->n_vocab);
        put_weight(k, w, 2);
        if (k->ok) k->ok = fal_capsule_add(k->c, "tokens", FAL_DTYPE_I32, 1, &k->n, tokens);
        break;
    case FAL_SITE_attn_norm: make_norm(k, x, xl, w, 0, c->n_embd); break;
    case FAL_SITE_ffn_norm: make_norm(k, FAL_SITE_ffn_inp, l, w, 0, c->n_embd); break;
    case FAL_SITE_final_norm: make_norm(k, FAL_SITE_l_out, c->n_layer - 1, w, 0, c->n_embd); break;
    case FAL_SITE_q_norm: make_norm(k, FAL_SITE_q, l, w, c->n_head, c->head_dim); break;
    case FAL_SITE_k_norm: make_norm(k, FAL_SITE_k, l, w, c->n_head_kv, c->head_dim); break;
    case FAL_SITE_q:
    case FAL_SITE_k:
    case FAL_SITE_v: make_matmul(k, FAL_SITE_attn_norm, l, w); break;
    case FAL_SITE_attn_output: make_matmul(k, FAL_SITE_attn, l, w); break;
    case FAL_SITE_router_logits: make_matmul(k, FAL_SITE_ffn_norm, l, w); break;
    case FAL_SITE_logits: make_matmul(k, FAL_SITE_final_norm, -1, w); break;
    case FAL_SITE_q_rope: make_rope(k, FAL_SITE_q_norm, c->n_head); break;
    case FAL_SITE_k_rope: make_rope(k, FAL_SITE_k_norm, c->n_head_kv); break;
    case FAL_SITE_attn: make_attention(k); break;
    case FAL_SITE_ffn_inp:
        make_rows(k, "n_tokens", (double)k->n, "n_embd", c->n_embd);
        put_site(k, "a", x, xl, 2, k->n, c->n_embd, 0);
        put_site(k, "b", FAL_SITE_attn_output, l, 2, k->n, c->n_embd, 0);
        break;
    case FAL_SITE_l_out:
        make_rows(k, "n_tokens", (double)k->n, "n_embd", c->n_embd);
        put_site(k, "a", FAL_SITE_ffn_inp, l, 2, k->n, c->n_embd, 0);
        put_site(k, "b", FAL_SITE_moe_out, l, 2, k->n, c->n_embd, 0);
        break;
    case FAL_SITE_router_probs:
        make_rows(k, "n_rows", (double)k->n, "n_cols", c->n_expert);
        put_site(k, "x", FAL_SITE_router_logits, l, 2, k->n, c->n_expert, 0);
        break;
    case FAL_SITE_expert_ids:
    case FAL_SITE_expert_weights:
        make_rows(k, "n_tokens", (double)k->n, "n_expert", c->n_expert);
        set(k, "n_expert_used", used);
        put_site(k, "probs", FAL_SITE_router_probs, l, 2, k->n, c->n_expert, 0);
        break;
    case FAL_SITE_moe_gate:
    case FAL_SITE_moe_up: make_moe(k, FAL_SITE_ffn_norm, w, false); break;
    case FAL_SITE_moe_down: make_moe(k, FAL_SITE_moe_act, w, true); break;
    case FAL_SITE_moe_act:
        make_rows(k, "n_rows", (double)(k->n * used), "n_ff", c->n_ff);
        put_site(k, "gate", FAL_SITE_moe_gate, l, 2, k->n * used, c->n_ff, 0);
        put_site(k, "up", FAL_SITE_moe_up, l, 2, k->n * used, c->n_ff, 0);
        break;
    case FAL_SITE_moe_out:
        make_rows(k, "n_tokens", (double)k->n, "n_embd", c->n_embd);
        set(k, "n_expert_used", used);
        put_site(k, "x", FAL_SITE_moe_down, l, 3, k->n, used, c->n_embd);
        put_site(k, "weights", FAL_SITE_expert_weights, l, 2, k->n, used, 0);
        break;
    case FAL_N_SITES: k->ok = false; break;
    }
}

bool fal_capsule_take_scale(fal_capsule *c, const fal_obs_tensor *t)
{
    const size_t row = fal_capsule_row(c, c->output[0] ? c->output : "y");
    if (row == 0 || t->dtype != FAL_DTYPE_F32) return true;
    const size_t n = t->n / row;
    c->scale = calloc(n + 1, sizeof *c->scale);
    if (!c->scale) return false;
    c->n_scale = (int)n;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t e = 0; e < row; e++) {
            float v;
            memcpy(&v, (const char *)t->data + (i * row + e) * sizeof v, sizeof v);
            sum += (double)v * (double)v;
        }
        c->scale[i] = (float)sqrt(sum / (double)row);
    }
    return true;
}

fal_status fal_capsule_from_forward(const fal_model *m, const fal_observation *reference, int request, fal_site site,
                                    int layer, const fal_limit *limit, fal_capsule **out, fal_error *err)
{
    const json_t *const list =
        json_object_get(json_array_get(json_object_get(reference->about, "requests"), (size_t)request), "tokens");
    making k = { .m = m,
                 .reference = reference,
                 .request = request,
                 .layer = layer,
                 .n = (int64_t)json_array_size(list),
                 .err = err,
                 .ok = true };
    if (k.n < 1) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: request %d has no tokens", reference->path, request);
    int32_t *const tokens = calloc((size_t)k.n, sizeof *tokens);
    k.c = calloc(1, sizeof *k.c);
    if (!tokens || !k.c) {
        free(tokens);
        free(k.c);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a capsule");
    }
    for (int64_t i = 0; i < k.n; i++) tokens[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    snprintf(k.c->op, sizeof k.c->op, "%s", fal_site_get(site)->op);
    k.c->limit = *limit;
    k.c->limit.basis = NULL;
    k.c->columns = 1;
    k.c->seed = 1;
    snprintf(k.c->judge, sizeof k.c->judge, "%s", site == FAL_SITE_expert_ids ? "sets" : "rows");
    snprintf(k.c->output, sizeof k.c->output, "%s",
             site == FAL_SITE_expert_ids       ? "ids"
             : site == FAL_SITE_expert_weights ? "weights"
                                               : "y");
    make_call(&k, site, tokens);
    free(tokens);
    const fal_obs_tensor *const want = k.ok ? site_values(&k, site, layer) : NULL;
    if (want && !fal_capsule_take_scale(k.c, want)) k.ok = false;
    if (k.ok) {
        *out = k.c;
        return FAL_OK;
    }
    fal_capsule_free(k.c);
    return fal_fail(err, err && err->code ? err->code : FAL_ERR_MEMORY, NULL, "no memory for a capsule");
}
