/* Binds every tensor of a Qwen3-MoE file to its place in the forward pass, by name, shape and type. */
#include "harness/model_bind.h"

#include "harness/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Extents in terms of the configuration; NONE is 1, a dimension that is not there. */
typedef enum { NONE, EMBD, VOCAB, HEAD, Q_WIDTH, KV_WIDTH, EXPERT, FF } extent;

typedef struct {
    const char *name; /* without "blk.N." and ".weight" */
    size_t member;    /* a const fal_tensor * of fal_layer or fal_model */
    bool is_f32;      /* norms and router stay F32 in every quantisation */
    bool optional;
    extent ne[3];
} place;

static const place model_places[] = {
    { "token_embd", offsetof(fal_model, token_embd), false, false, { EMBD, VOCAB, NONE } },
    { "output_norm", offsetof(fal_model, output_norm), true, false, { EMBD, NONE, NONE } },
    { "output", offsetof(fal_model, output), false, true, { EMBD, VOCAB, NONE } },
};

static const place layer_places[] = {
    { "attn_norm", offsetof(fal_layer, attn_norm), true, false, { EMBD, NONE, NONE } },
    { "attn_q", offsetof(fal_layer, attn_q), false, false, { EMBD, Q_WIDTH, NONE } },
    { "attn_k", offsetof(fal_layer, attn_k), false, false, { EMBD, KV_WIDTH, NONE } },
    { "attn_v", offsetof(fal_layer, attn_v), false, false, { EMBD, KV_WIDTH, NONE } },
    { "attn_output", offsetof(fal_layer, attn_output), false, false, { Q_WIDTH, EMBD, NONE } },
    { "attn_q_norm", offsetof(fal_layer, attn_q_norm), true, false, { HEAD, NONE, NONE } },
    { "attn_k_norm", offsetof(fal_layer, attn_k_norm), true, false, { HEAD, NONE, NONE } },
    { "ffn_norm", offsetof(fal_layer, ffn_norm), true, false, { EMBD, NONE, NONE } },
    { "ffn_gate_inp", offsetof(fal_layer, ffn_gate_inp), true, false, { EMBD, EXPERT, NONE } },
    { "ffn_gate_exps", offsetof(fal_layer, ffn_gate_exps), false, false, { EMBD, FF, EXPERT } },
    { "ffn_up_exps", offsetof(fal_layer, ffn_up_exps), false, false, { EMBD, FF, EXPERT } },
    { "ffn_down_exps", offsetof(fal_layer, ffn_down_exps), false, false, { FF, EMBD, EXPERT } },
};

enum {
    N_MODEL_PLACES = sizeof model_places / sizeof model_places[0],
    N_LAYER_PLACES = sizeof layer_places / sizeof layer_places[0],
    NAME_BYTES = 64
};

static const char *const dense_names[] = { "ffn_gate", "ffn_up", "ffn_down" };

static uint64_t extent_of(extent e, const fal_config *c)
{
    switch (e) {
    case NONE: return 1;
    case EMBD: return (uint64_t)c->n_embd;
    case VOCAB: return (uint64_t)c->n_vocab;
    case HEAD: return (uint64_t)c->head_dim;
    case Q_WIDTH: return (uint64_t)c->n_head * (uint64_t)c->head_dim;
    case KV_WIDTH: return (uint64_t)c->n_head_kv * (uint64_t)c->head_dim;
    case EXPERT: return (uint64_t)c->n_expert;
    case FF: return (uint64_t)c->n_ff;
    }
    return 0;
}

static const char *extent_name(extent e)
{
    static const char *const names[] = {
        "1", "n_embd", "n_vocab", "head_dim", "n_head*head_dim", "n_head_kv*head_dim", "n_expert", "n_ff"
    };
    return names[e];
}

/* "[256, 512] (n_embd, n_head*head_dim)" */
static void expected_text(const place *p, const fal_config *c, char *out, size_t cap)
{
    fal_text t = { 0 };
    for (int i = 0; i < 3 && p->ne[i] != NONE; i++)
        fal_text_addf(&t, "%s%" PRIu64, i ? ", " : "[", extent_of(p->ne[i], c));
    fal_text_add(&t, "] (");
    for (int i = 0; i < 3 && p->ne[i] != NONE; i++) fal_text_addf(&t, "%s%s", i ? ", " : "", extent_name(p->ne[i]));
    fal_text_add(&t, ")");
    snprintf(out, cap, "%s", fal_text_str(&t));
    fal_text_free(&t);
}

/* layer -1 stands for the tensors that belong to no layer. */
static void full_name(int layer, const char *name, char out[NAME_BYTES])
{
    if (layer < 0)
        snprintf(out, NAME_BYTES, "%s.weight", name);
    else
        snprintf(out, NAME_BYTES, "blk.%d.%s.weight", layer, name);
}

static const fal_tensor **slot_of(fal_model *m, int layer, const place *p)
{
    char *base = layer < 0 ? (char *)m : (char *)&m->layers[layer];
    return (const fal_tensor **)(void *)(base + p->member);
}

/* Splits "blk.12.attn_q.weight" into 12 and "attn_q.weight"; without a plain layer number: -1 and the name itself. */
static int split_name(const char *name, const char **rest)
{
    *rest = name;
    if (strncmp(name, "blk.", 4) != 0) return -1;
    const char *p = name + 4;
    int layer = 0, n_digits = 0;
    while (*p >= '0' && *p <= '9' && n_digits < 6) {
        layer = layer * 10 + (*p++ - '0');
        n_digits++;
    }
    if (n_digits == 0 || *p != '.' || (n_digits > 1 && name[4] == '0')) return -1;
    *rest = p + 1;
    return layer;
}

/* Whether s is name + ".weight". */
static bool is_weight(const char *s, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(s, name, n) == 0 && strcmp(s + n, ".weight") == 0;
}

static fal_status refuse_unknown(const fal_model *m, const fal_tensor *t, int layer, fal_error *err)
{
    char names[N_MODEL_PLACES + N_LAYER_PLACES][NAME_BYTES];
    const char *candidates[N_MODEL_PLACES + N_LAYER_PLACES];
    size_t n = 0;
    for (size_t i = 0; i < N_MODEL_PLACES; i++) full_name(-1, model_places[i].name, names[n++]);
    for (size_t i = 0; layer >= 0 && i < N_LAYER_PLACES; i++) full_name(layer, layer_places[i].name, names[n++]);
    for (size_t i = 0; i < n; i++) candidates[i] = names[i];
    const char *nearest = fal_nearest(t->name, candidates, n);
    fal_text shown = { 0 };
    fal_text_add_safe(&shown, t->name, strlen(t->name));
    const fal_status status = fal_model_refuse(
        m->file, err,
        "a tensor that the forward pass does not read would be left out silently: convert the model again as qwen3moe",
        "tensor '%s': name: found a tensor that a qwen3moe model does not have%s%s%s", fal_text_str(&shown),
        nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
    fal_text_free(&shown);
    return status;
}

/* Finds the place of each tensor of the file; every tensor must have one, so that no weight is left out silently. */
static fal_status bind_names(fal_model *m, fal_error *err)
{
    for (uint64_t i = 0; i < m->file->n_tensors; i++) {
        const fal_tensor *t = &m->file->tensors[i];
        const char *rest = NULL;
        const int layer = split_name(t->name, &rest);
        for (size_t k = 0; layer >= 0 && k < sizeof dense_names / sizeof dense_names[0]; k++)
            if (is_weight(rest, dense_names[k]))
                return fal_model_refuse(
                    m->file, err,
                    "the file was written for a dense model, or by a converter that does not know qwen3moe: convert it "
                    "again",
                    "tensor '%s': name: found the name of a dense FFN, expected blk.%d.%s_exps.weight", t->name, layer,
                    dense_names[k]);
        const place *places = layer < 0 ? model_places : layer_places;
        const size_t n_places = layer < 0 ? N_MODEL_PLACES : N_LAYER_PLACES;
        size_t k = 0;
        while (k < n_places && !is_weight(rest, places[k].name)) k++;
        if (k == n_places) return refuse_unknown(m, t, layer, err);
        if (layer >= m->config.n_layer)
            return fal_model_refuse(m->file, err, "the metadata is wrong: convert the model again",
                                    "tensor '%s': name: found layer %d, expected 0 to %d (qwen3moe.block_count)",
                                    t->name, layer, m->config.n_layer - 1);
        *slot_of(m, layer, &places[k]) = t;
    }
    return FAL_OK;
}

/* The types that are computed, from the type table itself. */
static void computed_types(fal_text *out)
{
    for (uint32_t type = 0; type < 64; type++)
        if (fal_type_get(type)->computed) fal_text_addf(out, "%s%s", out->len ? " " : "", fal_type_get(type)->name);
}

static fal_status check_tensor(const fal_model *m, const fal_tensor *t, const place *p, fal_error *err)
{
    const fal_type_info *type = fal_type_get(t->type);
    if (p->is_f32 ? t->type != FAL_TYPE_F32 : !type->computed) {
        fal_text types = { 0 };
        if (p->is_f32)
            fal_text_add(&types, "F32");
        else
            computed_types(&types);
        const fal_status status = fal_model_refuse(m->file, err, "quantise the model to Q4_K_M, Q8_0 or F16",
                                                   "tensor '%s': type: found %s, expected %s%s", t->name, type->name,
                                                   p->is_f32 ? "" : "one of ", fal_text_str(&types));
        fal_text_free(&types);
        return status;
    }
    bool fits = t->ne[3] == 1;
    for (int i = 0; i < 3; i++) fits = fits && t->ne[i] == extent_of(p->ne[i], &m->config);
    if (!fits) {
        char expected[160], found[128];
        size_t used = 0;
        for (int i = 0; i < t->n_dims && used < sizeof found; i++)
            used += (size_t)snprintf(found + used, sizeof found - used, "%s%" PRIu64, i ? ", " : "", t->ne[i]);
        expected_text(p, &m->config, expected, sizeof expected);
        return fal_model_refuse(m->file, err, "metadata and tensors do not belong together: convert the model again",
                                "tensor '%s': dims: found [%s], expected %s", t->name, found, expected);
    }
    if ((uintptr_t)t->data % 4 != 0)
        return fal_model_refuse(m->file, err, "convert the model again with the usual alignment of 32",
                                "tensor '%s': offset: found 0x%" PRIx64
                                ", expected a multiple of 4 (general.alignment is %" PRIu32 ")",
                                t->name, t->offset, m->file->alignment);
    return FAL_OK;
}

static fal_status check_places(fal_model *m, int layer, const place *places, size_t n, fal_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const place *p = &places[i];
        const fal_tensor *t = *slot_of(m, layer, p);
        if (!t && p->optional) continue;
        if (!t) {
            char name[NAME_BYTES], expected[160];
            full_name(layer, p->name, name);
            expected_text(p, &m->config, expected, sizeof expected);
            return fal_model_refuse(m->file, err, "the file is incomplete: convert or fetch the model again",
                                    "tensor '%s': found none, expected %s", name, expected);
        }
        const fal_status status = check_tensor(m, t, p, err);
        if (status != FAL_OK) return status;
    }
    return FAL_OK;
}

fal_status fal_model_bind_tensors(fal_model *m, fal_error *err)
{
    fal_status status = bind_names(m, err);
    if (status == FAL_OK) status = check_places(m, -1, model_places, N_MODEL_PLACES, err);
    for (int layer = 0; status == FAL_OK && layer < m->config.n_layer; layer++)
        status = check_places(m, layer, layer_places, N_LAYER_PLACES, err);
    if (status != FAL_OK) return status;

    if (!m->output) m->output = m->token_embd; /* tied embeddings */
    const size_t n = m->file->n_tensors;       /* all of them are bound, and at most 1024 layers of 12 */
    m->tensors = malloc(n * sizeof *m->tensors);
    if (!m->tensors)
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: no memory for the list of tensors", m->file->shown);
    for (size_t i = 0; i < n; i++) {
        m->tensors[i] = &m->file->tensors[i];
        m->tensor_bytes += m->tensors[i]->nbytes; /* no wrap: they lie in one file without overlap */
    }
    m->n_tensors = (int)n;
    return FAL_OK;
}
