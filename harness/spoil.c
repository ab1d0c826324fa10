/* Makes spoilt model files: the metadata of a GGUF file written anew with one fault. */
#include "harness/spoil.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    fal_spoil_kind kind;
} spoils[] = {
    { "arch", FAL_SPOIL_MODEL },               /* general.architecture is another one */
    { "dense_name", FAL_SPOIL_MODEL },         /* an FFN tensor of a dense model beside the experts */
    { "missing_tensor", FAL_SPOIL_MODEL },     /* one tensor is not there */
    { "misshapen", FAL_SPOIL_MODEL },          /* one matrix has half its rows */
    { "truncated", FAL_SPOIL_MODEL },          /* the file ends in the middle of the tensor data */
    { "unknown_type", FAL_SPOIL_MODEL },       /* one matrix is of a type that nothing computes */
    { "no_layers", FAL_SPOIL_MODEL },          /* block_count is 0 */
    { "top_k_over_experts", FAL_SPOIL_MODEL }, /* more experts used than there are */
    { "zero_experts", FAL_SPOIL_MODEL },       /* expert_count is 0 */
    { "no_tokens", FAL_SPOIL_REQUEST },
    { "token_negative", FAL_SPOIL_REQUEST },
    { "token_too_large", FAL_SPOIL_REQUEST },
    { "context_overflow", FAL_SPOIL_REQUEST },
    { "expert_id_out_of_range", FAL_SPOIL_OP },
    { "shape_zero", FAL_SPOIL_OP },
};
#define N_SPOILS (sizeof spoils / sizeof spoils[0])

fal_spoil_kind fal_spoil_kind_of(const char *name)
{
    for (size_t i = 0; i < N_SPOILS; i++)
        if (strcmp(spoils[i].name, name) == 0) return spoils[i].kind;
    return FAL_SPOIL_NONE;
}

const char *const *fal_spoil_names(int *n)
{
    static const char *const names[] = {
        "arch",
        "dense_name",
        "missing_tensor",
        "misshapen",
        "truncated",
        "unknown_type",
        "no_layers",
        "top_k_over_experts",
        "zero_experts",
        "no_tokens",
        "token_negative",
        "token_too_large",
        "context_overflow",
        "expert_id_out_of_range",
        "shape_zero",
    };
    _Static_assert(sizeof names / sizeof names[0] == N_SPOILS, "every spoil is listed");
    *n = (int)N_SPOILS;
    return names;
}

/* ---- the file, written anew -------------------------------------------------------------------------------------- */

static void add_u32(fal_text *t, uint32_t v)
{
    for (int i = 0; i < 4; i++) fal_text_add_n(t, (const char[]){ (char)(v >> (8 * i)) }, 1);
}

static void add_u64(fal_text *t, uint64_t v)
{
    add_u32(t, (uint32_t)v);
    add_u32(t, (uint32_t)(v >> 32));
}

static void add_string(fal_text *t, const char *s, uint64_t n)
{
    add_u64(t, n);
    fal_text_add_n(t, s, (size_t)n);
}

static uint64_t round_up(uint64_t n, uint32_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/* Bytes of a pair in the file; a pair's value has no length field of its own. */
static uint64_t kv_bytes(const fal_gguf_kv *kv)
{
    static const unsigned char scalar[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    uint64_t n = 8 + strlen(kv->key) + 4;
    if (kv->type == FAL_GGUF_STRING)
        n += 8 + kv->v.str.len;
    else if (kv->type == FAL_GGUF_ARRAY)
        n += 12 + kv->v.arr.nbytes;
    else
        n += scalar[kv->type];
    return n;
}

static bool key_ends(const char *key, const char *suffix)
{
    const size_t n = strlen(key), m = strlen(suffix);
    return n >= m && strcmp(key + n - m, suffix) == 0;
}

/* One fault, as changes to the metadata. */
typedef struct {
    const char *key;  /* end of the key whose value changes, or NULL */
    const char *text; /* its new text, or NULL for the number */
    uint32_t number;
    const char *tensor;                             /* the tensor that changes, or NULL */
    enum { KEEP, DROP, HALVE, RETYPE, ADD } change; /* ADD: a further tensor of that name */
    bool cut;
} fault;

static uint32_t expert_count(const fal_gguf *g)
{
    for (uint64_t i = 0; i < g->n_kv; i++)
        if (key_ends(g->kv[i].key, ".expert_count") && g->kv[i].type == FAL_GGUF_U32) return (uint32_t)g->kv[i].v.u;
    return 0;
}

static fault fault_of(const fal_gguf *g, const char *name)
{
    if (strcmp(name, "arch") == 0) return (fault){ .key = "general.architecture", .text = "llama" };
    if (strcmp(name, "dense_name") == 0) return (fault){ .tensor = "blk.0.ffn_gate.weight", .change = ADD };
    if (strcmp(name, "missing_tensor") == 0) return (fault){ .tensor = "blk.0.attn_q_norm.weight", .change = DROP };
    if (strcmp(name, "misshapen") == 0) return (fault){ .tensor = "blk.0.attn_k.weight", .change = HALVE };
    if (strcmp(name, "unknown_type") == 0) return (fault){ .tensor = "blk.0.attn_q.weight", .change = RETYPE };
    if (strcmp(name, "truncated") == 0) return (fault){ .cut = true };
    if (strcmp(name, "no_layers") == 0) return (fault){ .key = ".block_count", .number = 0 };
    if (strcmp(name, "zero_experts") == 0) return (fault){ .key = ".expert_count", .number = 0 };
    return (fault){ .key = ".expert_used_count", .number = expert_count(g) + 1 }; /* top_k_over_experts */
}

static bool add_pairs(fal_text *t, const fal_gguf *g, const fault *f)
{
    bool found = f->key == NULL;
    for (uint64_t i = 0; i < g->n_kv; i++) {
        const fal_gguf_kv *kv = &g->kv[i];
        const bool changes = f->key && key_ends(kv->key, f->key);
        if (!changes || (!f->text && kv->type != FAL_GGUF_U32)) {
            fal_text_add_n(t, (const char *)g->base + kv->offset, (size_t)kv_bytes(kv));
            continue;
        }
        found = true;
        add_string(t, kv->key, strlen(kv->key));
        add_u32(t, f->text ? FAL_GGUF_STRING : FAL_GGUF_U32);
        if (f->text)
            add_string(t, f->text, strlen(f->text));
        else
            add_u32(t, f->number);
    }
    return found;
}

/* Writes the description of a tensor whose data starts at *at, and moves *at behind it. */
static void add_tensor(fal_text *t, const fal_gguf *g, const char *name, const fal_tensor *like, uint64_t *at)
{
    add_string(t, name, strlen(name));
    add_u32(t, (uint32_t)like->n_dims);
    uint64_t rows = 1;
    for (int d = 0; d < like->n_dims; d++) {
        add_u64(t, like->ne[d]);
        if (d > 0) rows *= like->ne[d];
    }
    add_u32(t, like->type);
    add_u64(t, *at);
    *at = round_up(*at + rows * fal_type_row_bytes(like->type, (size_t)like->ne[0]), g->alignment);
}

static bool add_tensors(fal_text *t, const fal_gguf *g, const fault *f, uint64_t *data)
{
    bool found = f->tensor == NULL;
    *data = 0;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        fal_tensor one = g->tensors[i];
        if (f->tensor && f->change != ADD && strcmp(one.name, f->tensor) == 0) {
            found = true;
            if (f->change == DROP) continue;
            if (f->change == HALVE) one.ne[1] /= 2;
            if (f->change == RETYPE) one.type = 10; /* Q2_K: a type of the format, with blocks of 256 like Q4_K */
        }
        add_tensor(t, g, one.name, &one, data);
    }
    if (f->change == ADD) {
        const fal_tensor dense = { .type = FAL_TYPE_F32, .n_dims = 2, .ne = { 256, 256, 1, 1 } };
        add_tensor(t, g, f->tensor, &dense, data);
        found = true;
    }
    return found;
}

static fal_status write_file(const char *path, const fal_text *head, uint64_t size, fal_error *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0;
    for (size_t at = 0; ok && at < head->len;) {
        const ssize_t n = write(fd, head->data + at, head->len - at);
        if (n < 0 && errno == EINTR) continue;
        ok = n > 0;
        at += ok ? (size_t)n : 0;
    }
    ok = ok && ftruncate(fd, (off_t)size) == 0;
    const int reason = errno;
    if (fd >= 0) ok = close(fd) == 0 && ok;
    return ok ? FAL_OK
              : fal_fail(err, FAL_ERR_OUTPUT, "check free space and permissions", "%s: cannot be written: %s", path,
                         strerror(reason));
}

fal_status fal_spoil_model(const fal_gguf *g, const char *name, const char *path, fal_error *err)
{
    if (fal_spoil_kind_of(name) != FAL_SPOIL_MODEL)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "'%.60s' is not a way to spoil a model file", name);
    const fault f = fault_of(g, name);
    fal_text t = { 0 };
    uint64_t data = 0;
    fal_text_add_n(&t, "GGUF", 4);
    add_u32(&t, g->version);
    add_u64(&t, g->n_tensors + (f.change == ADD ? 1 : 0) - (f.change == DROP ? 1 : 0));
    add_u64(&t, g->n_kv);
    const bool has_key = add_pairs(&t, g, &f);
    const bool has_tensor = add_tensors(&t, g, &f, &data);
    fal_status st = FAL_OK;
    if (!has_key || !has_tensor) {
        st = fal_fail(err, FAL_ERR_INPUT, "use a Qwen3-MoE model", "%s: spoil %s: the file has no %s%s", g->path, name,
                      has_key ? "tensor " : "u32 key *", has_key ? f.tensor : f.key);
    } else {
        while (t.len % g->alignment != 0 && !t.failed) fal_text_add_n(&t, "", 1);
        if (t.failed)
            st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
        else
            st = write_file(path, &t, t.len + (f.cut ? data / 2 : data), err);
    }
    fal_text_free(&t);
    return st;
}
