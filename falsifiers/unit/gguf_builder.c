/* Builds GGUF files in memory for tests: byte by byte for broken ones, by names and values for sound ones. */
#include "falsifiers/unit/gguf_builder.h"

#include <stdlib.h>
#include <string.h>

const fal_config fal_builder_tiny = {
    .n_layer = 2,
    .n_embd = 8,
    .n_head = 4,
    .n_head_kv = 2,
    .head_dim = 4,
    .n_expert = 4,
    .n_expert_used = 2,
    .n_ff = 6,
    .n_vocab = 10,
    .n_ctx_train = 64,
    .rope_freq_base = 10000.0f,
    .rms_eps = 1e-6f,
};

static void *more(void *p, size_t n, size_t size)
{
    void *bigger = reallocarray(p, n ? n : 1, size);
    if (!bigger) abort(); /* a test program has nothing better to do */
    return bigger;
}

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

void fal_bytes_add(fal_bytes *b, const void *p, size_t n)
{
    if (b->cap - b->len < n) {
        b->cap = (b->len + n) * 2;
        b->data = more(b->data, b->cap, 1);
    }
    if (n > 0) memcpy(b->data + b->len, p, n);
    b->len += n;
}

void fal_bytes_u8(fal_bytes *b, uint8_t v)
{
    fal_bytes_add(b, &v, sizeof v);
}

void fal_bytes_u16(fal_bytes *b, uint16_t v)
{
    fal_bytes_add(b, &v, sizeof v);
}

void fal_bytes_u32(fal_bytes *b, uint32_t v)
{
    fal_bytes_add(b, &v, sizeof v);
}

void fal_bytes_u64(fal_bytes *b, uint64_t v)
{
    fal_bytes_add(b, &v, sizeof v);
}

void fal_bytes_f32(fal_bytes *b, float v)
{
    fal_bytes_add(b, &v, sizeof v);
}

void fal_bytes_fill(fal_bytes *b, unsigned char byte, size_t n)
{
    for (size_t i = 0; i < n; i++) fal_bytes_u8(b, byte);
}

void fal_bytes_pad(fal_bytes *b, size_t alignment)
{
    while (b->len % alignment != 0) fal_bytes_u8(b, 0);
}

void fal_bytes_text(fal_bytes *b, const char *s, size_t n)
{
    fal_bytes_u64(b, n);
    fal_bytes_add(b, s, n);
}

void fal_bytes_free(fal_bytes *b)
{
    free(b->data);
    *b = (fal_bytes){ 0 };
}

void fal_bytes_gguf_header(fal_bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    fal_bytes_add(b, "GGUF", 4);
    fal_bytes_u32(b, version);
    fal_bytes_u64(b, n_tensors);
    fal_bytes_u64(b, n_kv);
}

void fal_bytes_gguf_key(fal_bytes *b, const char *key, uint32_t type)
{
    fal_bytes_text(b, key, strlen(key));
    fal_bytes_u32(b, type);
}

void fal_bytes_gguf_tensor(fal_bytes *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                           uint64_t offset)
{
    fal_bytes_text(b, name, strlen(name));
    fal_bytes_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) fal_bytes_u64(b, ne[i]);
    fal_bytes_u32(b, type);
    fal_bytes_u64(b, offset);
}

/* ---- builder -------------------------------------------------------------------------------------------------- */

void fal_builder_set(fal_builder *b, const char *key, fal_gguf_type type, const void *value, size_t n)
{
    size_t i = 0;
    while (i < b->n_kv && strcmp(b->kv[i].key, key) != 0) i++;
    if (i == b->n_kv) {
        b->kv = more(b->kv, ++b->n_kv, sizeof *b->kv);
        b->kv[i] = (fal_builder_kv){ 0 };
        snprintf(b->kv[i].key, sizeof b->kv[i].key, "%s", key);
    }
    b->kv[i].type = (uint32_t)type;
    b->kv[i].value.len = 0;
    fal_bytes_add(&b->kv[i].value, value, n);
}

void fal_builder_set_u32(fal_builder *b, const char *key, uint32_t v)
{
    fal_builder_set(b, key, FAL_GGUF_U32, &v, sizeof v);
}

void fal_builder_set_f32(fal_builder *b, const char *key, float v)
{
    fal_builder_set(b, key, FAL_GGUF_F32, &v, sizeof v);
}

void fal_builder_set_text(fal_builder *b, const char *key, const char *s)
{
    fal_bytes value = { 0 };
    fal_bytes_text(&value, s, strlen(s));
    fal_builder_set(b, key, FAL_GGUF_STRING, value.data, value.len);
    fal_bytes_free(&value);
}

void fal_builder_unset(fal_builder *b, const char *key)
{
    for (size_t i = 0; i < b->n_kv; i++) {
        if (strcmp(b->kv[i].key, key) != 0) continue;
        fal_bytes_free(&b->kv[i].value);
        memmove(&b->kv[i], &b->kv[i + 1], (b->n_kv - i - 1) * sizeof *b->kv);
        b->n_kv--;
        return;
    }
    abort(); /* a test that takes away what is not there tests nothing */
}

void fal_builder_reshape(fal_builder_tensor *t, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    t->type = type;
    t->n_dims = ne2 ? 3 : ne1 ? 2 : 1;
    t->ne[0] = ne0;
    t->ne[1] = ne1 ? ne1 : 1;
    t->ne[2] = ne2 ? ne2 : 1;
    t->ne[3] = 1;
    t->data.len = 0;
    fal_bytes_fill(&t->data, 0, fal_type_row_bytes(type, ne0) * t->ne[1] * t->ne[2]);
}

fal_builder_tensor *fal_builder_add(fal_builder *b, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1,
                                    uint64_t ne2)
{
    b->tensors = more(b->tensors, ++b->n_tensors, sizeof *b->tensors);
    fal_builder_tensor *t = &b->tensors[b->n_tensors - 1];
    *t = (fal_builder_tensor){ 0 };
    snprintf(t->name, sizeof t->name, "%s", name);
    fal_builder_reshape(t, type, ne0, ne1, ne2);
    return t;
}

fal_builder_tensor *fal_builder_find(fal_builder *b, const char *name)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (strcmp(b->tensors[i].name, name) == 0) return &b->tensors[i];
    abort();
}

void fal_builder_remove(fal_builder *b, const char *name)
{
    fal_builder_tensor *t = fal_builder_find(b, name);
    const size_t i = (size_t)(t - b->tensors);
    fal_bytes_free(&t->data);
    memmove(t, t + 1, (b->n_tensors - i - 1) * sizeof *t);
    b->n_tensors--;
}

/* An F32 tensor: all ones (norms), or values in [-0.25, 0.25) from a linear congruence seeded by its place. */
static void add_f32(fal_builder *b, const char *name, int ne0, int ne1, int ne2, bool ones)
{
    fal_builder_tensor *t = fal_builder_add(b, name, FAL_TYPE_F32, (uint64_t)ne0, (uint64_t)ne1, (uint64_t)ne2);
    uint32_t state = (uint32_t)b->n_tensors * 2654435761u + 1;
    for (size_t at = 0; at < t->data.len; at += sizeof(float)) {
        state = state * 1664525u + 1013904223u;
        const float v = ones ? 1.0f : (float)(state >> 16) * 0x1p-17f - 0.25f;
        memcpy(t->data.data + at, &v, sizeof v);
    }
}

static void add_layer(fal_builder *b, int layer, const fal_config *c)
{
    const int q = c->n_head * c->head_dim, kv = c->n_head_kv * c->head_dim;
    const struct {
        const char *name;
        int ne[3];
        bool ones;
    } rows[] = {
        { "attn_norm", { c->n_embd, 0, 0 }, true },
        { "attn_q", { c->n_embd, q, 0 }, false },
        { "attn_k", { c->n_embd, kv, 0 }, false },
        { "attn_v", { c->n_embd, kv, 0 }, false },
        { "attn_output", { q, c->n_embd, 0 }, false },
        { "attn_q_norm", { c->head_dim, 0, 0 }, true },
        { "attn_k_norm", { c->head_dim, 0, 0 }, true },
        { "ffn_norm", { c->n_embd, 0, 0 }, true },
        { "ffn_gate_inp", { c->n_embd, c->n_expert, 0 }, false },
        { "ffn_gate_exps", { c->n_embd, c->n_ff, c->n_expert }, false },
        { "ffn_up_exps", { c->n_embd, c->n_ff, c->n_expert }, false },
        { "ffn_down_exps", { c->n_ff, c->n_embd, c->n_expert }, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, rows[i].name);
        add_f32(b, name, rows[i].ne[0], rows[i].ne[1], rows[i].ne[2], rows[i].ones);
    }
}

void fal_builder_qwen3moe(fal_builder *b, const fal_config *c)
{
    fal_builder_set_text(b, "general.architecture", "qwen3moe");
    const struct {
        const char *key;
        int value;
    } rows[] = {
        { "qwen3moe.block_count", c->n_layer },
        { "qwen3moe.context_length", c->n_ctx_train },
        { "qwen3moe.embedding_length", c->n_embd },
        { "qwen3moe.attention.head_count", c->n_head },
        { "qwen3moe.attention.head_count_kv", c->n_head_kv },
        { "qwen3moe.attention.key_length", c->head_dim },
        { "qwen3moe.attention.value_length", c->head_dim },
        { "qwen3moe.expert_count", c->n_expert },
        { "qwen3moe.expert_used_count", c->n_expert_used },
        { "qwen3moe.expert_feed_forward_length", c->n_ff },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fal_builder_set_u32(b, rows[i].key, (uint32_t)rows[i].value);
    fal_builder_set_f32(b, "qwen3moe.rope.freq_base", c->rope_freq_base);
    fal_builder_set_f32(b, "qwen3moe.attention.layer_norm_rms_epsilon", c->rms_eps);
    add_f32(b, "token_embd.weight", c->n_embd, c->n_vocab, 0, false);
    for (int layer = 0; layer < c->n_layer; layer++) add_layer(b, layer, c);
    add_f32(b, "output_norm.weight", c->n_embd, 0, 0, true);
    add_f32(b, "output.weight", c->n_embd, c->n_vocab, 0, false);
}

void fal_builder_write(const fal_builder *b, fal_bytes *out)
{
    const uint32_t alignment = b->alignment ? b->alignment : 32;
    fal_bytes_gguf_header(out, 3, b->n_tensors, b->n_kv + (b->alignment ? 1 : 0));
    if (b->alignment) {
        fal_bytes_gguf_key(out, "general.alignment", FAL_GGUF_U32);
        fal_bytes_u32(out, alignment);
    }
    for (size_t i = 0; i < b->n_kv; i++) {
        fal_bytes_gguf_key(out, b->kv[i].key, b->kv[i].type);
        fal_bytes_add(out, b->kv[i].value.data, b->kv[i].value.len);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < b->n_tensors; i++) {
        const fal_builder_tensor *t = &b->tensors[i];
        fal_bytes_gguf_tensor(out, t->name, (uint32_t)t->n_dims, t->ne, t->type, offset);
        offset += (t->data.len + alignment - 1) / alignment * alignment;
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        fal_bytes_pad(out, alignment);
        fal_bytes_add(out, b->tensors[i].data.data, b->tensors[i].data.len);
    }
}

void fal_builder_free(fal_builder *b)
{
    for (size_t i = 0; i < b->n_kv; i++) fal_bytes_free(&b->kv[i].value);
    for (size_t i = 0; i < b->n_tensors; i++) fal_bytes_free(&b->tensors[i].data);
    free(b->kv);
    free(b->tensors);
    *b = (fal_builder){ 0 };
}
