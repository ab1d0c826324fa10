/* Reads the configuration of a Qwen3-MoE model from GGUF metadata, and refuses what would mean another computation. */
#include "harness/model_bind.h"

#include "harness/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bounds keep every product of two of these in an int; real models stay far below them. */
enum {
    MAX_LAYER = 1024,
    MAX_EMBD = 1 << 17,
    MAX_HEAD = 4096,
    MAX_HEAD_DIM = 4096,
    MAX_EXPERT = 1024,
    MAX_FF = 1 << 20,
    MAX_VOCAB = 1 << 24,
    MAX_CTX = 1 << 28
};

static bool text_is(const fal_gguf_kv *kv, const char *s)
{
    return kv->type == FAL_GGUF_STRING && kv->v.str.len == strlen(s) && memcmp(kv->v.str.data, s, strlen(s)) == 0;
}

/* The value of a scalar key as text for a message. */
static void value_text(const fal_gguf_kv *kv, fal_text *t)
{
    switch (kv->type) {
    case FAL_GGUF_STRING:
        fal_text_add(t, "'");
        fal_text_add_safe(t, kv->v.str.data, kv->v.str.len < 64 ? kv->v.str.len : 64);
        fal_text_add(t, "'");
        break;
    case FAL_GGUF_U8:
    case FAL_GGUF_U16:
    case FAL_GGUF_U32:
    case FAL_GGUF_U64: fal_text_addf(t, "%" PRIu64, kv->v.u); break;
    case FAL_GGUF_I8:
    case FAL_GGUF_I16:
    case FAL_GGUF_I32:
    case FAL_GGUF_I64: fal_text_addf(t, "%" PRId64, kv->v.i); break;
    case FAL_GGUF_F32:
    case FAL_GGUF_F64: fal_text_addf(t, "%.9g", kv->v.f); break;
    case FAL_GGUF_BOOL: fal_text_add(t, kv->v.u ? "true" : "false"); break;
    case FAL_GGUF_ARRAY: fal_text_add(t, "an array"); break;
    }
}

static fal_status refuse_value(const fal_gguf *g, const fal_gguf_kv *kv, const char *expected, const char *hint,
                               fal_error *err)
{
    fal_text found = { 0 };
    value_text(kv, &found);
    const fal_status status =
        fal_model_refuse(g, err, hint, "offset 0x%" PRIx64 ": key '%s': value: found %s %s, expected %s", kv->offset,
                         kv->key, fal_gguf_type_name(kv->type), fal_text_str(&found), expected);
    fal_text_free(&found);
    return status;
}

static fal_status check_kind_of_file(const fal_gguf *g, fal_error *err)
{
    const fal_gguf_kv *kv = fal_gguf_find_kv(g, "general.architecture");
    if (!kv)
        return fal_model_refuse(g, err, "give a model, not a vocabulary or an adapter",
                                "key 'general.architecture': found nothing, expected 'qwen3moe'");
    if (!text_is(kv, "qwen3moe"))
        return refuse_value(g, kv, "'qwen3moe'",
                            "Falsify has contracts for Qwen3-MoE only: give a model of that architecture", err);
    kv = fal_gguf_find_kv(g, "general.type");
    if (kv && !text_is(kv, "model")) return refuse_value(g, kv, "'model'", "give the model itself", err);
    if (!fal_gguf_find_kv(g, "split.count")) return FAL_OK;
    uint32_t n_parts = 0;
    fal_error cause = { 0 };
    if (fal_gguf_get_u32(g, "split.count", 0, UINT32_MAX, &n_parts, &cause) != FAL_OK)
        return fal_model_refuse_as(&cause, err);
    if (n_parts > 1)
        return fal_model_refuse(g, err, "merge the parts first (llama-gguf-split --merge)",
                                "key 'split.count': value: found %" PRIu32 " parts, expected a model in one file",
                                n_parts);
    return FAL_OK;
}

/* ---- the values that make up fal_config ------------------------------------------------------------------------ */

typedef struct {
    const char *key;
    size_t member; /* an int of fal_config */
    uint32_t max;
} int_key;

#define INT_KEY(name, field, max)                                                                                      \
    {                                                                                                                  \
        "qwen3moe." name, offsetof(fal_config, field), max                                                             \
    }
static const int_key int_keys[] = {
    INT_KEY("block_count", n_layer, MAX_LAYER),
    INT_KEY("context_length", n_ctx_train, MAX_CTX),
    INT_KEY("embedding_length", n_embd, MAX_EMBD),
    INT_KEY("attention.head_count", n_head, MAX_HEAD),
    INT_KEY("attention.head_count_kv", n_head_kv, MAX_HEAD),
    INT_KEY("attention.key_length", head_dim, MAX_HEAD_DIM),
    INT_KEY("expert_count", n_expert, MAX_EXPERT),
    INT_KEY("expert_used_count", n_expert_used, MAX_EXPERT),
    INT_KEY("expert_feed_forward_length", n_ff, MAX_FF),
};
#undef INT_KEY

static fal_status read_ints(const fal_gguf *g, fal_config *c, fal_error *err)
{
    for (size_t i = 0; i < sizeof int_keys / sizeof int_keys[0]; i++) {
        uint32_t value = 0;
        fal_error cause = { 0 };
        if (fal_gguf_get_u32(g, int_keys[i].key, 1, int_keys[i].max, &value, &cause) != FAL_OK)
            return fal_model_refuse_as(&cause, err);
        const int as_int = (int)value;
        memcpy((char *)c + int_keys[i].member, &as_int, sizeof as_int);
    }
    return FAL_OK;
}

static fal_status read_floats(const fal_gguf *g, fal_config *c, fal_error *err)
{
    static const char base_key[] = "qwen3moe.rope.freq_base", eps_key[] = "qwen3moe.attention.layer_norm_rms_epsilon";
    fal_error cause = { 0 };
    if (fal_gguf_get_f32(g, base_key, &c->rope_freq_base, &cause) != FAL_OK ||
        fal_gguf_get_f32(g, eps_key, &c->rms_eps, &cause) != FAL_OK)
        return fal_model_refuse_as(&cause, err);
    if (!(c->rope_freq_base > 1.0f) || !isfinite(c->rope_freq_base))
        return refuse_value(g, fal_gguf_find_kv(g, base_key), "a finite number above 1",
                            "the metadata is wrong: convert the model again", err);
    if (!(c->rms_eps > 0.0f) || !(c->rms_eps < 1.0f))
        return refuse_value(g, fal_gguf_find_kv(g, eps_key), "a number between 0 and 1",
                            "the metadata is wrong: convert the model again", err);
    return FAL_OK;
}

static fal_status check_relations(const fal_gguf *g, const fal_config *c, fal_error *err)
{
    static const char hint[] = "the metadata is wrong: convert the model again";
    uint32_t value_length = 0;
    fal_error cause = { 0 };
    if (fal_gguf_get_u32(g, "qwen3moe.attention.value_length", 1, MAX_HEAD_DIM, &value_length, &cause) != FAL_OK)
        return fal_model_refuse_as(&cause, err);
    if ((int)value_length != c->head_dim)
        return fal_model_refuse(g, err, hint,
                                "key 'qwen3moe.attention.value_length': value: found %" PRIu32
                                ", expected %d, the key_length",
                                value_length, c->head_dim);
    if (c->head_dim % 2 != 0)
        return fal_model_refuse(
            g, err, hint,
            "key 'qwen3moe.attention.key_length': value: found %d, expected an even number (RoPE rotates pairs)",
            c->head_dim);
    if (c->n_head % c->n_head_kv != 0)
        return fal_model_refuse(
            g, err, hint,
            "key 'qwen3moe.attention.head_count': value: found %d, expected a multiple of head_count_kv %d", c->n_head,
            c->n_head_kv);
    if (c->n_expert_used > c->n_expert)
        return fal_model_refuse(g, err, hint,
                                "key 'qwen3moe.expert_used_count': value: found %d, expected at most expert_count %d",
                                c->n_expert_used, c->n_expert);
    return FAL_OK;
}

/* ---- further keys: each must say what the forward pass of the contract does anyway ------------------------------- */

typedef enum { ANY, IS_TEXT, IS_BOOL, IS_INT, IS_FLOAT, IS_HEAD_DIM, IS_N_VOCAB } rule;

/* Also a list of all keys that are known. */
static const struct {
    const char *key;
    rule rule;
    double number;
    const char *text;
} key_rules[] = {
    { "qwen3moe.block_count", ANY, 0, NULL },
    { "qwen3moe.context_length", ANY, 0, NULL },
    { "qwen3moe.embedding_length", ANY, 0, NULL },
    { "qwen3moe.feed_forward_length", ANY, 0, NULL }, /* width of the dense layers that such a model could have */
    { "qwen3moe.attention.head_count", ANY, 0, NULL },
    { "qwen3moe.attention.head_count_kv", ANY, 0, NULL },
    { "qwen3moe.attention.key_length", ANY, 0, NULL },
    { "qwen3moe.attention.value_length", ANY, 0, NULL },
    { "qwen3moe.attention.layer_norm_rms_epsilon", ANY, 0, NULL },
    { "qwen3moe.attention.causal", IS_BOOL, 1, NULL },
    { "qwen3moe.attention.sliding_window", IS_INT, 0, NULL },
    { "qwen3moe.expert_count", ANY, 0, NULL },
    { "qwen3moe.expert_used_count", ANY, 0, NULL },
    { "qwen3moe.expert_feed_forward_length", ANY, 0, NULL },
    { "qwen3moe.expert_shared_count", IS_INT, 0, NULL },
    { "qwen3moe.expert_shared_feed_forward_length", IS_INT, 0, NULL },
    { "qwen3moe.expert_gating_func", IS_INT, 1, NULL }, /* 1: softmax */
    { "qwen3moe.expert_weights_norm", IS_BOOL, 1, NULL },
    { "qwen3moe.expert_weights_scale", IS_FLOAT, 1, NULL },
    { "qwen3moe.leading_dense_block_count", IS_INT, 0, NULL },
    { "qwen3moe.nextn_predict_layers", IS_INT, 0, NULL },
    { "qwen3moe.pooling_type", IS_INT, 0, NULL },
    { "qwen3moe.rope.freq_base", ANY, 0, NULL },
    { "qwen3moe.rope.dimension_count", IS_HEAD_DIM, 0, NULL },
    { "qwen3moe.rope.scale_linear", IS_FLOAT, 1, NULL },
    { "qwen3moe.rope.scaling.type", IS_TEXT, 0, "none" },
    { "qwen3moe.rope.scaling.factor", IS_FLOAT, 1, NULL },
    { "qwen3moe.rope.scaling.finetuned", ANY, 0, NULL }, /* means nothing without scaling, as the next */
    { "qwen3moe.rope.scaling.original_context_length", ANY, 0, NULL },
    { "qwen3moe.vocab_size", IS_N_VOCAB, 0, NULL },
};
enum { N_RULES = sizeof key_rules / sizeof key_rules[0] };

static bool integer_is(const fal_gguf_kv *kv, int64_t want)
{
    switch (kv->type) {
    case FAL_GGUF_U8:
    case FAL_GGUF_U16:
    case FAL_GGUF_U32:
    case FAL_GGUF_U64: return want >= 0 && kv->v.u == (uint64_t)want;
    case FAL_GGUF_I8:
    case FAL_GGUF_I16:
    case FAL_GGUF_I32:
    case FAL_GGUF_I64: return kv->v.i == want;
    default: return false;
    }
}

static fal_status check_rule(const fal_gguf *g, const fal_config *c, const fal_gguf_kv *kv, size_t i, fal_error *err)
{
    static const char hint[] = "the model needs a computation that is not in the contracts; give one without it";
    char expected[64] = "";
    bool holds = true;
    switch (key_rules[i].rule) {
    case ANY: break;
    case IS_TEXT:
        holds = text_is(kv, key_rules[i].text);
        snprintf(expected, sizeof expected, "'%s'", key_rules[i].text);
        break;
    case IS_BOOL:
        holds = kv->type == FAL_GGUF_BOOL && kv->v.u == (uint64_t)key_rules[i].number;
        snprintf(expected, sizeof expected, "bool %s", key_rules[i].number != 0 ? "true" : "false");
        break;
    case IS_INT:
        holds = integer_is(kv, (int64_t)key_rules[i].number);
        snprintf(expected, sizeof expected, "integer %.0f", key_rules[i].number);
        break;
    case IS_FLOAT:
        holds = (kv->type == FAL_GGUF_F32 || kv->type == FAL_GGUF_F64) && kv->v.f == key_rules[i].number;
        snprintf(expected, sizeof expected, "f32 %g", key_rules[i].number);
        break;
    case IS_HEAD_DIM:
        holds = integer_is(kv, c->head_dim);
        snprintf(expected, sizeof expected, "integer %d, the key_length", c->head_dim);
        break;
    case IS_N_VOCAB:
        holds = integer_is(kv, c->n_vocab);
        snprintf(expected, sizeof expected, "integer %d, the rows of token_embd.weight", c->n_vocab);
        break;
    }
    return holds ? FAL_OK : refuse_value(g, kv, expected, hint, err);
}

static fal_status refuse_key(const fal_gguf *g, const fal_gguf_kv *kv, fal_error *err)
{
    const char *names[N_RULES];
    for (size_t i = 0; i < N_RULES; i++) names[i] = key_rules[i].key;
    const char *nearest = fal_nearest(kv->key, names, N_RULES);
    return fal_model_refuse(
        g, err, "a key of the architecture may change the computation: if this one does not, remove it from the file",
        "offset 0x%" PRIx64 ": key '%.80s': found a key that is not known%s%s%s", kv->offset, kv->key,
        nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
}

static fal_status check_keys(const fal_gguf *g, const fal_config *c, fal_error *err)
{
    for (uint64_t k = 0; k < g->n_kv; k++) {
        const fal_gguf_kv *kv = &g->kv[k];
        if (strncmp(kv->key, "qwen3moe.", 9) != 0) continue;
        size_t i = 0;
        while (i < N_RULES && strcmp(key_rules[i].key, kv->key) != 0) i++;
        const fal_status status = i < N_RULES ? check_rule(g, c, kv, i, err) : refuse_key(g, kv, err);
        if (status != FAL_OK) return status;
    }
    return FAL_OK;
}

fal_status fal_model_read_config(const fal_gguf *g, fal_config *out, fal_error *err)
{
    fal_config c = { 0 };
    fal_status status = check_kind_of_file(g, err);
    if (status == FAL_OK) status = read_ints(g, &c, err);
    if (status == FAL_OK) status = read_floats(g, &c, err);
    if (status == FAL_OK) status = check_relations(g, &c, err);
    if (status != FAL_OK) return status;

    const fal_tensor *embd = fal_gguf_find_tensor(g, "token_embd.weight");
    if (!embd)
        return fal_model_refuse(g, err, "the file is incomplete: convert the model again",
                                "tensor 'token_embd.weight': found none, expected [%d, n_vocab]", c.n_embd);
    if (embd->ne[1] > MAX_VOCAB)
        return fal_model_refuse(g, err, NULL,
                                "tensor 'token_embd.weight': dims: found %" PRIu64 " rows, expected at most %d",
                                embd->ne[1], MAX_VOCAB);
    c.n_vocab = (int)embd->ne[1];
    status = check_keys(g, &c, err);
    if (status == FAL_OK) *out = c;
    return status;
}
