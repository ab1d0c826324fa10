/* Tests of the model loader: the shipped model's exact shape, every refusal by name, requests, and the RoPE tables. */
#include "falsifiers/unit/gguf_builder.h"
#include "harness/digest.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_model(void);

static const char shipped[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static const char upheld[] = "FALSIFY-QW3-MOE-FORWARD-002";

/* Rule: the shipped model has the configuration, layers and bytes that it was made with. */
START_TEST(shipped_model)
{
    fal_model *m = NULL;
    fal_error err = { 0 };
    char hex[65];
    ck_assert_msg(fal_model_open(shipped, &m, &err) == FAL_OK, "%s", err.message);
    const fal_config *c = &m->config;
    ck_assert_int_eq(c->n_layer, 4);
    ck_assert_int_eq(c->n_embd, 256);
    ck_assert_int_eq(c->n_head, 8);
    ck_assert_int_eq(c->n_head_kv, 2);
    ck_assert_int_eq(c->head_dim, 64);
    ck_assert_int_eq(c->n_expert, 16);
    ck_assert_int_eq(c->n_expert_used, 4);
    ck_assert_int_eq(c->n_ff, 256);
    ck_assert_int_eq(c->n_vocab, 2048);
    ck_assert_int_eq(c->n_ctx_train, 2048);
    ck_assert(c->rope_freq_base == 1e6f);
    ck_assert(c->rms_eps == 1e-6f);

    /* 3 + 4 x 12 tensors. Bytes from shapes and block sizes alone (256 elements are 144 bytes in Q4_K, 210 in Q6_K):
       fixed: token_embd, output in Q6_K, output_norm; layer: q, k, attn_output, two norms of n_embd, two of head_dim,
       router, gate and up; mixed: v and down, in Q4_K in the first two layers and in Q6_K in the last two */
    const uint64_t fixed = 2048 * 144 + 2048 * 210 + 1024;
    const uint64_t layer = 512 * 144 + 128 * 144 + 256 * 288 + 2 * 1024 + 2 * 256 + 16 * 1024 + 2 * 16 * 256 * 144;
    const uint64_t mixed = 2 * (128 + 16 * 256) * 144 + 2 * (128 + 16 * 256) * 210;
    ck_assert_int_eq(m->n_tensors, 51);
    ck_assert_uint_eq(m->tensor_bytes, fixed + 4 * layer + mixed);
    uint64_t sum = 0;
    for (int i = 0; i < m->n_tensors; i++) {
        sum += m->tensors[i]->nbytes;
        for (int k = 0; k < i; k++) ck_assert_ptr_ne(m->tensors[i], m->tensors[k]);
    }
    ck_assert_uint_eq(sum, m->tensor_bytes);

    ck_assert_str_eq(m->token_embd->name, "token_embd.weight");
    ck_assert_str_eq(m->output->name, "output.weight");
    ck_assert_str_eq(m->output_norm->name, "output_norm.weight");
    ck_assert_int_eq((int)m->output->type, FAL_TYPE_Q6_K);
    ck_assert_str_eq(m->layers[3].ffn_down_exps->name, "blk.3.ffn_down_exps.weight");
    ck_assert_int_eq((int)m->layers[1].attn_v->type, FAL_TYPE_Q4_K);
    ck_assert_int_eq((int)m->layers[2].attn_v->type, FAL_TYPE_Q6_K);

    ck_assert_str_eq(m->sha256, "");
    ck_assert_int_eq(fal_model_digest(m, NULL), FAL_OK);
    ck_assert_int_eq(fal_sha256_file(shipped, hex, NULL), FAL_OK);
    ck_assert_str_eq(m->sha256, hex);
    fal_model_close(m);
}
END_TEST

/* Binds the file that a builder holds; the bytes must outlive the model. */
static fal_status bind(const fal_builder *b, fal_bytes *file, fal_model **m, fal_error *err)
{
    fal_gguf *g = NULL;
    fal_builder_write(b, file);
    const fal_status status = fal_gguf_open_memory(file->data, file->len, "tiny.gguf", &g, err);
    return status == FAL_OK ? fal_model_bind(g, m, err) : status;
}

/* Rule: a small file with all that the architecture asks for is accepted, and each tensor sits in its own place. */
START_TEST(tiny_model)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    fal_model *m = NULL;
    fal_error err = { 0 };
    fal_builder_qwen3moe(&b, &fal_builder_tiny);
    ck_assert_msg(bind(&b, &file, &m, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(memcmp(&m->config, &fal_builder_tiny, sizeof m->config), 0);
    ck_assert_str_eq(m->path, "tiny.gguf");
    ck_assert_int_eq(m->n_tensors, 27);
    for (int i = 0; i < 2; i++) {
        const fal_layer *l = &m->layers[i];
        const struct {
            const fal_tensor *t;
            const char *name;
        } rows[] = {
            { l->attn_norm, "attn_norm" },
            { l->attn_q, "attn_q" },
            { l->attn_k, "attn_k" },
            { l->attn_v, "attn_v" },
            { l->attn_output, "attn_output" },
            { l->attn_q_norm, "attn_q_norm" },
            { l->attn_k_norm, "attn_k_norm" },
            { l->ffn_norm, "ffn_norm" },
            { l->ffn_gate_inp, "ffn_gate_inp" },
            { l->ffn_gate_exps, "ffn_gate_exps" },
            { l->ffn_up_exps, "ffn_up_exps" },
            { l->ffn_down_exps, "ffn_down_exps" },
        };
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, rows[k].name);
            ck_assert_str_eq(rows[k].t->name, name);
        }
    }
    fal_model_close(m);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: without output.weight the head is the embedding, and it still counts once. */
START_TEST(tied_output)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    fal_model *m = NULL;
    fal_builder_qwen3moe(&b, &fal_builder_tiny);
    fal_builder_remove(&b, "output.weight");
    ck_assert_int_eq(bind(&b, &file, &m, NULL), FAL_OK);
    ck_assert_ptr_eq(m->output, m->token_embd);
    ck_assert_int_eq(m->n_tensors, 26);
    fal_model_close(m);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* ---- refusals: one change each to the tiny model, and what the message must say about it ---- */

#define KEY(name) "qwen3moe." name
static void set_u32(fal_builder *b, const char *key, uint32_t v)
{
    fal_builder_set_u32(b, key, v);
}
static void set_text(fal_builder *b, const char *key, const char *s)
{
    fal_builder_set_text(b, key, s);
}
static void set_u16(fal_builder *b, const char *key, uint16_t v)
{
    fal_builder_set(b, key, FAL_GGUF_U16, &v, sizeof v);
}
static void set_bool(fal_builder *b, const char *key, uint8_t v)
{
    fal_builder_set(b, key, FAL_GGUF_BOOL, &v, sizeof v);
}
static void rename_to(fal_builder *b, const char *name, const char *other)
{
    fal_builder_tensor *t = fal_builder_find(b, name);
    snprintf(t->name, sizeof t->name, "%s", other);
}
static void reshape(fal_builder *b, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    fal_builder_reshape(fal_builder_find(b, name), type, ne0, ne1, ne2);
}
static void wide_rows(fal_builder *b) /* rows of 256, so that K-quants have whole blocks */
{
    fal_config c = fal_builder_tiny;
    fal_builder_free(b);
    c.n_embd = 256;
    fal_builder_qwen3moe(b, &c);
}

/* clang-format off */
/* X(name, change, what the message must hold) */
#define REFUSALS \
    X(arch_other, set_text(b, "general.architecture", "llama"), \
      "key 'general.architecture': value: found string 'llama', expected 'qwen3moe'") \
    X(arch_longer, set_text(b, "general.architecture", "qwen3moex"), \
      "found string 'qwen3moex', expected 'qwen3moe'") \
    X(arch_dense, set_text(b, "general.architecture", "qwen3"), "found string 'qwen3', expected 'qwen3moe'") \
    X(arch_escape, set_text(b, "general.architecture", "\033[2J"), "found string '\\x1b[2J'") \
    X(arch_missing, fal_builder_unset(b, "general.architecture"), "key 'general.architecture': found nothing") \
    X(arch_number, set_u32(b, "general.architecture", 7), \
      "key 'general.architecture': value: found u32 7, expected 'qwen3moe'") \
    X(adapter, set_text(b, "general.type", "adapter"), \
      "key 'general.type': value: found string 'adapter', expected 'model'") \
    X(split, set_u16(b, "split.count", 65535), "key 'split.count': value: found 65535 parts") \
    X(dense_gate, rename_to(b, "blk.1.ffn_gate_exps.weight", "blk.1.ffn_gate.weight"), \
      "tensor 'blk.1.ffn_gate.weight': name: found the name of a dense FFN, expected blk.1.ffn_gate_exps.weight") \
    X(dense_up, rename_to(b, "blk.0.ffn_up_exps.weight", "blk.0.ffn_up.weight"), \
      "expected blk.0.ffn_up_exps.weight") \
    X(dense_down, fal_builder_add(b, "blk.0.ffn_down.weight", 0, 6, 8, 0), "expected blk.0.ffn_down_exps.weight") \
    X(missing_q, fal_builder_remove(b, "blk.1.attn_q.weight"), \
      "tensor 'blk.1.attn_q.weight': found none, expected [8, 16] (n_embd, n_head*head_dim)") \
    X(missing_router, fal_builder_remove(b, "blk.0.ffn_gate_inp.weight"), \
      "tensor 'blk.0.ffn_gate_inp.weight': found none, expected [8, 4]") \
    X(missing_norm, fal_builder_remove(b, "blk.0.attn_k_norm.weight"), \
      "'blk.0.attn_k_norm.weight': found none, expected [4] (head_dim)") \
    X(missing_embd, fal_builder_remove(b, "token_embd.weight"), "tensor 'token_embd.weight': found none") \
    X(missing_output_norm, fal_builder_remove(b, "output_norm.weight"), \
      "tensor 'output_norm.weight': found none, expected [8]") \
    X(misshapen_k, reshape(b, "blk.1.attn_k.weight", 0, 8, 7, 0), \
      "tensor 'blk.1.attn_k.weight': dims: found [8, 7], expected [8, 8] (n_embd, n_head_kv*head_dim)") \
    X(misshapen_transposed, reshape(b, "blk.0.ffn_down_exps.weight", 0, 8, 6, 4), \
      "found [8, 6, 4], expected [6, 8, 4] (n_ff, n_embd, n_expert)") \
    X(misshapen_flat, reshape(b, "blk.0.ffn_up_exps.weight", 0, 8, 24, 0), "found [8, 24], expected [8, 6, 4]") \
    X(misshapen_experts, reshape(b, "blk.0.ffn_gate_exps.weight", 0, 8, 6, 3), \
      "found [8, 6, 3], expected [8, 6, 4]") \
    X(misshapen_output, reshape(b, "output.weight", 0, 8, 9, 0), \
      "tensor 'output.weight': dims: found [8, 9], expected [8, 10] (n_embd, n_vocab)") \
    X(misshapen_embd, reshape(b, "token_embd.weight", 0, 6, 10, 0), \
      "tensor 'token_embd.weight': dims: found [6, 10], expected [8, 10]") \
    X(uncomputed, wide_rows(b); reshape(b, "blk.1.attn_v.weight", 10, 256, 8, 0), \
      "tensor 'blk.1.attn_v.weight': type: found Q2_K, expected one of F32 F16 Q8_0 Q4_K Q5_K Q6_K BF16") \
    X(uncomputed_embd, reshape(b, "token_embd.weight", FAL_TYPE_I32, 8, 10, 0), \
      "tensor 'token_embd.weight': type: found I32") \
    X(norm_f16, reshape(b, "blk.0.ffn_norm.weight", FAL_TYPE_F16, 8, 0, 0), \
      "tensor 'blk.0.ffn_norm.weight': type: found F16, expected F32") \
    X(router_f16, reshape(b, "blk.0.ffn_gate_inp.weight", FAL_TYPE_F16, 8, 4, 0), "type: found F16, expected F32") \
    X(bias, fal_builder_add(b, "blk.0.attn_q.bias", 0, 16, 0, 0), \
      "tensor 'blk.0.attn_q.bias': name: found a tensor that a qwen3moe model does not have") \
    X(typo, rename_to(b, "blk.1.ffn_norm.weight", "blk.1.fnf_norm.weight"), \
      "(did you mean 'blk.1.ffn_norm.weight'?)") \
    X(rope_freqs, fal_builder_add(b, "rope_freqs.weight", 0, 2, 0, 0), \
      "tensor 'rope_freqs.weight': name: found a tensor that") \
    X(shared_expert, fal_builder_add(b, "blk.0.ffn_gate_shexp.weight", 0, 8, 6, 0), \
      "tensor 'blk.0.ffn_gate_shexp.weight': name:") \
    X(layer_zeros, fal_builder_add(b, "blk.00.attn_norm.weight", 0, 8, 0, 0), \
      "tensor 'blk.00.attn_norm.weight': name:") \
    X(layer_beyond, fal_builder_add(b, "blk.2.attn_norm.weight", 0, 8, 0, 0), \
      "name: found layer 2, expected 0 to 1 (qwen3moe.block_count)") \
    X(layer_vast, fal_builder_add(b, "blk.99999999999.attn_norm.weight", 0, 8, 0, 0), \
      "tensor 'blk.99999999999.attn_norm.weight': name:") \
    X(no_layers, set_u32(b, KEY("block_count"), 0), \
      "key 'qwen3moe.block_count': value: found 0, expected 1 to 1024") \
    X(vast_layers, set_u32(b, KEY("block_count"), 0x80000000u), "found 2147483648, expected 1 to 1024") \
    X(more_layers, set_u32(b, KEY("block_count"), 3), "tensor 'blk.2.attn_norm.weight': found none") \
    X(fewer_layers, set_u32(b, KEY("block_count"), 1), "found layer 1, expected 0 to 0") \
    X(layers_text, set_text(b, KEY("block_count"), "2"), \
      "key 'qwen3moe.block_count': type: found string, expected an integer") \
    X(layers_float, fal_builder_set_f32(b, KEY("block_count"), 2), "type: found f32, expected an integer") \
    X(layers_missing, fal_builder_unset(b, KEY("block_count")), \
      "key 'qwen3moe.block_count': found nothing, expected an integer") \
    X(no_heads, set_u32(b, KEY("attention.head_count"), 0), "key 'qwen3moe.attention.head_count': value: found 0") \
    X(no_kv_heads, set_u32(b, KEY("attention.head_count_kv"), 0), \
      "key 'qwen3moe.attention.head_count_kv': value: found 0") \
    X(odd_groups, set_u32(b, KEY("attention.head_count_kv"), 3), "found 4, expected a multiple of head_count_kv 3") \
    X(odd_head, set_u32(b, KEY("attention.key_length"), 5); set_u32(b, KEY("attention.value_length"), 5), \
      "found 5, expected an even number") \
    X(value_length, set_u32(b, KEY("attention.value_length"), 8), \
      "key 'qwen3moe.attention.value_length': value: found 8, expected 4") \
    X(no_experts, set_u32(b, KEY("expert_count"), 0), "key 'qwen3moe.expert_count': value: found 0, expected 1 to") \
    X(top_0, set_u32(b, KEY("expert_used_count"), 0), \
      "key 'qwen3moe.expert_used_count': value: found 0, expected 1 to") \
    X(top_k, set_u32(b, KEY("expert_used_count"), 5), \
      "key 'qwen3moe.expert_used_count': value: found 5, expected at most expert_count 4") \
    X(no_ff, set_u32(b, KEY("expert_feed_forward_length"), 0), \
      "key 'qwen3moe.expert_feed_forward_length': value: found 0") \
    X(no_embd, set_u32(b, KEY("embedding_length"), 0), "key 'qwen3moe.embedding_length': value: found 0") \
    X(no_ctx, set_u32(b, KEY("context_length"), 0), "key 'qwen3moe.context_length': value: found 0") \
    X(base_nan, fal_builder_set_f32(b, KEY("rope.freq_base"), NAN), \
      "key 'qwen3moe.rope.freq_base': value: found f32") \
    X(base_zero, fal_builder_set_f32(b, KEY("rope.freq_base"), 0), "found f32 0, expected a finite number above 1") \
    X(base_inf, fal_builder_set_f32(b, KEY("rope.freq_base"), INFINITY), \
      "found f32 inf, expected a finite number above 1") \
    X(base_int, set_u32(b, KEY("rope.freq_base"), 10000), \
      "key 'qwen3moe.rope.freq_base': type: found u32, expected f32 or f64") \
    X(eps_zero, fal_builder_set_f32(b, KEY("attention.layer_norm_rms_epsilon"), 0), \
      "found f32 0, expected a number between 0 and 1") \
    X(eps_nan, fal_builder_set_f32(b, KEY("attention.layer_norm_rms_epsilon"), NAN), \
      "expected a number between 0 and 1") \
    X(yarn, set_text(b, KEY("rope.scaling.type"), "yarn"), \
      "key 'qwen3moe.rope.scaling.type': value: found string 'yarn', expected 'none'") \
    X(scaled, fal_builder_set_f32(b, KEY("rope.scaling.factor"), 4), "found f32 4, expected f32 1") \
    X(partial_rope, set_u32(b, KEY("rope.dimension_count"), 2), "found u32 2, expected integer 4, the key_length") \
    X(sigmoid, set_u32(b, KEY("expert_gating_func"), 2), \
      "key 'qwen3moe.expert_gating_func': value: found u32 2, expected integer 1") \
    X(no_renormalise, set_bool(b, KEY("expert_weights_norm"), 0), "found bool false, expected bool true") \
    X(vocab_size, set_u32(b, KEY("vocab_size"), 11), \
      "found u32 11, expected integer 10, the rows of token_embd.weight") \
    X(unknown_key, set_u32(b, KEY("expert_cout"), 4), \
      "key 'qwen3moe.expert_cout': found a key that is not known (did you mean 'qwen3moe.expert_count'?)") \
    X(unaligned, b->alignment = 1; set_text(b, "pad", "12"), "offset: found 0x")
/* clang-format on */

#define X(name, change, says)                                                                                          \
    static void change_##name(fal_builder *b)                                                                          \
    {                                                                                                                  \
        change;                                                                                                        \
    }
REFUSALS
#undef X

static const struct {
    const char *name;
    void (*change)(fal_builder *b);
    const char *says;
} refusals[] = {
#define X(name, change, says) { #name, change_##name, says },
    REFUSALS
#undef X
};

/* Rule: what is not a complete qwen3moe model is refused by name, and the refusal names its falsifier. */
START_TEST(refused)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    fal_model *const untouched = (fal_model *)(void *)&b;
    fal_model *m = untouched;
    fal_error err = { 0 };
    fal_builder_qwen3moe(&b, &fal_builder_tiny);
    refusals[_i].change(&b);
    const fal_status status = bind(&b, &file, &m, &err);
    ck_assert_msg(status == FAL_ERR_INPUT, "%s: %s", refusals[_i].name, fal_status_name(status));
    ck_assert_msg(strncmp(err.message, "tiny.gguf: ", 11) == 0, "%s: '%s'", refusals[_i].name, err.message);
    ck_assert_msg(strstr(err.message, refusals[_i].says) != NULL, "%s: '%s' does not say '%s'", refusals[_i].name,
                  err.message, refusals[_i].says);
    ck_assert_str_eq(err.contract, upheld);
    ck_assert_str_ne(err.hint, "");
    ck_assert_ptr_eq(m, untouched);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: keys that only repeat what the contract does anyway are no reason to refuse. */
START_TEST(harmless_keys)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    fal_model *m = NULL;
    fal_error err = { 0 };
    const int64_t two = 2;
    fal_builder_qwen3moe(&b, &fal_builder_tiny);
    fal_builder_set(&b, KEY("block_count"), FAL_GGUF_I64, &two, sizeof two);
    set_text(&b, KEY("rope.scaling.type"), "none");
    set_u32(&b, KEY("rope.dimension_count"), 4);
    set_u32(&b, KEY("feed_forward_length"), 77);
    set_u32(&b, KEY("vocab_size"), 10);
    set_u32(&b, KEY("expert_shared_count"), 0);
    set_u32(&b, KEY("expert_gating_func"), 1);
    set_bool(&b, KEY("expert_weights_norm"), 1);
    set_u16(&b, "split.count", 1);
    set_text(&b, "general.type", "model");
    set_text(&b, "tokenizer.ggml.model", "gpt2");
    ck_assert_msg(bind(&b, &file, &m, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(m->config.n_layer, 2);
    fal_model_close(m);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: a file that is no sound GGUF upholds the falsifier too; a path without a file upholds nothing. */
START_TEST(no_container)
{
    char folder[] = "/tmp/falsify-model-XXXXXX", path[64];
    fal_model *m = NULL;
    fal_error err = { 0 };
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cut.gguf", folder);
    ck_assert_int_eq(fal_model_open(path, &m, &err), FAL_ERR_INPUT);
    ck_assert(strstr(err.message, "cut.gguf") && strstr(err.message, "No such file"));
    ck_assert_str_eq(err.contract, "");

    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    fal_builder_qwen3moe(&b, &fal_builder_tiny);
    fal_builder_write(&b, &file);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(file.data, 1, file.len - 1, f), file.len - 1);
    fclose(f);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_model_open(path, &m, &err), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(
        strstr(err.message, "tensor 'output.weight': data: found 319 bytes up to the end of the file, expected 320"));
    ck_assert_str_eq(err.contract, upheld);
    ck_assert_ptr_null(m);
    unlink(path);
    rmdir(folder);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* ---- requests ---- */

static const int32_t good_tokens[] = { 0, 9, 3 };
static const int32_t minus_token[] = { 4, -1 };
static const int32_t large_token[] = { 4, 5, 10 };
static const struct {
    const int32_t *tokens;
    int n_tokens, n_past, n_ctx;
    const char *says;
} requests[] = {
    { good_tokens, 3, 0, 3, NULL },
    { good_tokens, 3, 61, 64, NULL },
    { good_tokens, 0, 0, 64, "request: n_tokens: found 0, expected at least 1" },
    { good_tokens, -1, 0, 64, "request: n_tokens: found -1, expected at least 1" },
    { NULL, 1, 0, 64, "request: n_tokens: found 1 at address NULL" },
    { minus_token, 2, 0, 64, "request: tokens[1]: found -1, expected 0 to 9 (n_vocab - 1)" },
    { large_token, 3, 0, 64, "request: tokens[2]: found 10, expected 0 to 9 (n_vocab - 1)" },
    { good_tokens, 3, 62, 64, "request: n_tokens: found 3 after 62 earlier ones, expected at most n_ctx 64 together" },
    { good_tokens, 1, 64, 64, "found 1 after 64 earlier ones" },
    { good_tokens, 1, INT32_MAX, 64, "found 1 after 2147483647 earlier ones" },
    { good_tokens, INT32_MAX, 3, 64, "found 2147483647 after 3 earlier ones" },
    { good_tokens, 1, -1, 64, "found -1 and 64, expected n_past >= 0" },
    { good_tokens, 1, 0, 0, "found 0 and 0, expected n_past >= 0 and n_ctx > 0" },
};

/* Rule: every backend refuses an impossible request with these words. */
START_TEST(request)
{
    fal_error err = { 0 };
    const fal_status status = fal_request_check(&fal_builder_tiny, requests[_i].tokens, requests[_i].n_tokens,
                                                requests[_i].n_past, requests[_i].n_ctx, &err);
    if (!requests[_i].says) {
        ck_assert_int_eq(status, FAL_OK);
        return;
    }
    ck_assert_int_eq(status, FAL_ERR_INPUT);
    ck_assert_msg(strstr(err.message, requests[_i].says) != NULL, "'%s' does not say '%s'", err.message,
                  requests[_i].says);
    ck_assert_str_eq(err.contract, "qwen3-moe-forward-v1");
}
END_TEST

/* ---- RoPE tables ---- */

/* Rule: each entry is the cosine or sine of p * base^(-2i/head_dim), right to half a unit of float32. */
START_TEST(rope_closed_form)
{
    enum { N_CTX = 4096, HEAD_DIM = 64 };
    float *c = NULL, *s = NULL;
    ck_assert_int_eq(fal_rope_table(N_CTX, HEAD_DIM, 1e6f, &c, &s, NULL), FAL_OK);
    static const int positions[] = { 0, 1, 2, 63, 1000, 4095 };
    for (size_t k = 0; k < sizeof positions / sizeof positions[0]; k++) {
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            const long double angle = (long double)positions[k] * expl(-2.0L * i / HEAD_DIM * logl(1e6L));
            const double dc = (double)(cosl(angle) - (long double)c[positions[k] * (HEAD_DIM / 2) + i]);
            const double ds = (double)(sinl(angle) - (long double)s[positions[k] * (HEAD_DIM / 2) + i]);
            /* half a unit below 1 is 2^-25; angles up to 4095 carry a float64 error below 2^-40 */
            ck_assert_msg(fabs(dc) <= 0x1.001p-25, "cos at %d, %d: %g", positions[k], i, dc);
            ck_assert_msg(fabs(ds) <= 0x1.001p-25, "sin at %d, %d: %g", positions[k], i, ds);
        }
    }
    free(c);
    free(s);
}
END_TEST

/* Rule: known values: base 10000 and head_dim 4 turn by p and p/100. */
START_TEST(rope_known_values)
{
    float *c = NULL, *s = NULL;
    ck_assert_int_eq(fal_rope_table(101, 4, 10000.0f, &c, &s, NULL), FAL_OK);
    ck_assert(c[0] == 1.0f && s[0] == 0.0f && c[1] == 1.0f && s[1] == 0.0f);
    ck_assert(c[2] == 0.540302305868139717f && s[2] == 0.841470984807896507f);      /* p 1, i 0: 1 */
    ck_assert(c[3] == 0.999950000416665278f && s[3] == 0.00999983333416666468f);    /* p 1, i 1: 1/100 */
    ck_assert(c[200] == 0.862318872287683934f && s[200] == -0.506365641109758794f); /* p 100, i 0: 100 */
    ck_assert(c[201] == 0.540302305868139717f && s[201] == 0.841470984807896507f);  /* p 100, i 1: 1 */
    free(c);
    free(s);
}
END_TEST

/* Rule: the table refuses what has no meaning and leaves its outputs alone. */
START_TEST(rope_refused)
{
    const struct {
        int n_ctx, head_dim;
        float base;
    } bad[] = {
        { 0, 4, 1e4f }, { -1, 4, 1e4f }, { 4, 0, 1e4f }, { 4, 3, 1e4f },     { 4, -2, 1e4f },
        { 4, 4, 0.0f }, { 4, 4, -1.0f }, { 4, 4, NAN },  { 4, 4, INFINITY },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float x = 0, *c = &x, *s = &x;
        fal_error err = { 0 };
        ck_assert_int_eq(fal_rope_table(bad[i].n_ctx, bad[i].head_dim, bad[i].base, &c, &s, &err), FAL_ERR_INPUT);
        ck_assert_ptr_nonnull(strstr(err.message, "rope table: found"));
        ck_assert(c == &x && s == &x);
    }
}
END_TEST

Suite *fal_suite_model(void)
{
    Suite *s = suite_create("model");
    TCase *t = tcase_create("model");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, shipped_model);
    tcase_add_test(t, tiny_model);
    tcase_add_test(t, tied_output);
    tcase_add_loop_test(t, refused, 0, sizeof refusals / sizeof refusals[0]);
    tcase_add_test(t, harmless_keys);
    tcase_add_test(t, no_container);
    tcase_add_loop_test(t, request, 0, sizeof requests / sizeof requests[0]);
    tcase_add_test(t, rope_closed_form);
    tcase_add_test(t, rope_known_values);
    tcase_add_test(t, rope_refused);
    suite_add_tcase(s, t);
    return s;
}
