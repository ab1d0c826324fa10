/* Writes a synthetic Qwen3-MoE GGUF: layout, scales, and threads that fill and write pieces of constant size. */
#include "harness/synth.h"

#include "harness/synth_fill.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ALIGNMENT = 32, PIECE = 4 << 20 };

typedef struct {
    char name[64];
    int n_dims;
    uint64_t ne[3];
    uint64_t nbytes, offset;
    fal_synth_fill fill;
} tensor;

typedef struct {
    tensor *items;
    int n;
    uint64_t data_bytes;
    fal_text header; /* binary */
} layout;

static const struct {
    const char *name;
    fal_config config;
} shapes[] = {
    { "qwen3-coder-30b-a3b",
      { .n_layer = 48, .n_embd = 2048, .n_head = 32, .n_head_kv = 4, .head_dim = 128, .n_expert = 128,
        .n_expert_used = 8, .n_ff = 768, .n_vocab = 151936, .n_ctx_train = 262144, .rope_freq_base = 1e7f,
        .rms_eps = 1e-6f } },
    { "austen-moe",
      { .n_layer = 4, .n_embd = 256, .n_head = 8, .n_head_kv = 2, .head_dim = 64, .n_expert = 16, .n_expert_used = 4,
        .n_ff = 256, .n_vocab = 2048, .n_ctx_train = 2048, .rope_freq_base = 1e6f, .rms_eps = 1e-6f } },
};

bool fal_synth_shape(const char *name, fal_config *c)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0) {
            *c = shapes[i].config;
            return true;
        }
    return false;
}

const char *const *fal_synth_shapes(void)
{
    static const char *const names[] = { "qwen3-coder-30b-a3b", "austen-moe", NULL };
    return names;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- layout ---- */

static void put(fal_text *t, const void *p, size_t n)
{
    fal_text_add_n(t, p, n);
}

static void put_u32(fal_text *t, uint32_t v)
{
    put(t, &v, 4);
}

static void put_u64(fal_text *t, uint64_t v)
{
    put(t, &v, 8);
}

static void put_str(fal_text *t, const char *s)
{
    put_u64(t, strlen(s));
    put(t, s, strlen(s));
}

static void kv_str(fal_text *t, const char *key, const char *value)
{
    put_str(t, key);
    put_u32(t, FAL_GGUF_STRING);
    put_str(t, value);
}

static void kv_u32(fal_text *t, const char *key, int value)
{
    put_str(t, key);
    put_u32(t, FAL_GGUF_U32);
    put_u32(t, (uint32_t)value);
}

static void kv_f32(fal_text *t, const char *key, float value)
{
    put_str(t, key);
    put_u32(t, FAL_GGUF_F32);
    put(t, &value, 4);
}

static bool more_bits(int i, int n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static void add(layout *l, const char *name, uint32_t type, float mean, double std, uint64_t seed, int n_dims, int ne0,
                int ne1, int ne2)
{
    tensor *t = &l->items[l->n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_dims = n_dims;
    t->ne[0] = (uint64_t)ne0;
    t->ne[1] = n_dims > 1 ? (uint64_t)ne1 : 1;
    t->ne[2] = n_dims > 2 ? (uint64_t)ne2 : 1;
    t->nbytes = fal_type_row_bytes(type, t->ne[0]) * t->ne[1] * t->ne[2];
    t->offset = l->data_bytes;
    t->fill = (fal_synth_fill){ .type = type, .std = (float)std, .mean = mean, .key = fal_synth_key(seed, name) };
    l->data_bytes += (t->nbytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The scales. With RMS-normalised input of n values, a row of standard deviation s gives s sqrt(n).
     q, k      QK-norm fixes their size; its weights of 1.4 give attention logits a standard deviation of 1.4^2 = 2:
               a position holds a few of its predecessors, so RoPE and the head mapping matter
     v, o      v of 1; the average over a few positions keeps about a third; o adds 0.25 of that size per unit
     router    logits of standard deviation 1.5: eight of 128 are clearly chosen, with unequal weights
     gate, up  1, so silu(gate) up has size 0.6; down brings the weighted sum of the experts to about 0.25
     head      logits of standard deviation 2.5
   Each layer thus adds about 0.1 to the squared norm of a residual that starts at 1: after 48 layers 2.4, so that a
   branch has between 3 and 25 % of it. */
static void lay_out(layout *l, const fal_config *c, uint64_t seed)
{
    const double in = 1 / sqrt(c->n_embd), q_in = 1 / sqrt((double)c->n_head * c->head_dim), ff_in = 1 / sqrt(c->n_ff);
    const int q_rows = c->n_head * c->head_dim, kv_rows = c->n_head_kv * c->head_dim;
    add(l, "token_embd.weight", FAL_TYPE_Q4_K, 0, 1, seed, 2, c->n_embd, c->n_vocab, 1);
    add(l, "output_norm.weight", FAL_TYPE_F32, 1, 0.1, seed, 1, c->n_embd, 1, 1);
    add(l, "output.weight", FAL_TYPE_Q6_K, 0, 2.5 * in, seed, 2, c->n_embd, c->n_vocab, 1);
    for (int i = 0; i < c->n_layer; i++) {
        const uint32_t rich = more_bits(i, c->n_layer) ? FAL_TYPE_Q6_K : FAL_TYPE_Q4_K;
        char name[64];
#define LAYER(suffix, type, mean, std, dims, a, b, e) \
    (snprintf(name, sizeof name, "blk.%d." suffix ".weight", i), add(l, name, type, mean, std, seed, dims, a, b, e))
        LAYER("attn_norm", FAL_TYPE_F32, 1, 0.1, 1, c->n_embd, 1, 1);
        LAYER("attn_q", FAL_TYPE_Q4_K, 0, in, 2, c->n_embd, q_rows, 1);
        LAYER("attn_k", FAL_TYPE_Q4_K, 0, in, 2, c->n_embd, kv_rows, 1);
        LAYER("attn_v", rich, 0, in, 2, c->n_embd, kv_rows, 1);
        LAYER("attn_output", FAL_TYPE_Q4_K, 0, 0.7 * q_in, 2, q_rows, c->n_embd, 1);
        LAYER("attn_q_norm", FAL_TYPE_F32, 1.4f, 0.1, 1, c->head_dim, 1, 1);
        LAYER("attn_k_norm", FAL_TYPE_F32, 1.4f, 0.1, 1, c->head_dim, 1, 1);
        LAYER("ffn_norm", FAL_TYPE_F32, 1, 0.1, 1, c->n_embd, 1, 1);
        LAYER("ffn_gate_inp", FAL_TYPE_F32, 0, 1.5 * in, 2, c->n_embd, c->n_expert, 1);
        LAYER("ffn_gate_exps", FAL_TYPE_Q4_K, 0, in, 3, c->n_embd, c->n_ff, c->n_expert);
        LAYER("ffn_up_exps", FAL_TYPE_Q4_K, 0, in, 3, c->n_embd, c->n_ff, c->n_expert);
        LAYER("ffn_down_exps", rich, 0, ff_in, 3, c->n_ff, c->n_embd, c->n_expert);
#undef LAYER
    }
}

static void write_header(layout *l, const fal_config *c, uint64_t seed)
{
    fal_text *h = &l->header;
    put(h, "GGUF", 4);
    put_u32(h, 3);
    put_u64(h, (uint64_t)l->n);
    put_u64(h, 17);
    kv_str(h, "general.architecture", "qwen3moe");
    char name[64];
    snprintf(name, sizeof name, "synthetic, seed %llu", (unsigned long long)seed);
    kv_str(h, "general.name", name);
    kv_u32(h, "general.alignment", ALIGNMENT);
    kv_u32(h, "general.quantization_version", 2);
    kv_u32(h, "general.file_type", 15); /* mostly Q4_K_M */
    kv_u32(h, "qwen3moe.block_count", c->n_layer);
    kv_u32(h, "qwen3moe.context_length", c->n_ctx_train);
    kv_u32(h, "qwen3moe.embedding_length", c->n_embd);
    kv_u32(h, "qwen3moe.attention.head_count", c->n_head);
    kv_u32(h, "qwen3moe.attention.head_count_kv", c->n_head_kv);
    kv_u32(h, "qwen3moe.attention.key_length", c->head_dim);
    kv_u32(h, "qwen3moe.attention.value_length", c->head_dim);
    kv_f32(h, "qwen3moe.attention.layer_norm_rms_epsilon", c->rms_eps);
    kv_f32(h, "qwen3moe.rope.freq_base", c->rope_freq_base);
    kv_u32(h, "qwen3moe.expert_count", c->n_expert);
    kv_u32(h, "qwen3moe.expert_used_count", c->n_expert_used);
    kv_u32(h, "qwen3moe.expert_feed_forward_length", c->n_ff);
    for (int i = 0; i < l->n; i++) {
        const tensor *t = &l->items[i];
        put_str(h, t->name);
        put_u32(h, (uint32_t)t->n_dims);
        for (int d = 0; d < t->n_dims; d++) put_u64(h, t->ne[d]);
        put_u32(h, t->fill.type);
        put_u64(h, t->offset);
    }
    static const char zeros[ALIGNMENT];
    if (h->len % ALIGNMENT) put(h, zeros, ALIGNMENT - h->len % ALIGNMENT);
}

/* ---- writing ---- */

static int write_all(int fd, const void *data, size_t n, uint64_t at)
{
    const char *p = data;
    while (n > 0) {
        const ssize_t w = pwrite(fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return w < 0 ? errno : EIO;
        p += w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return 0;
}

typedef struct {
    int fd, error; /* errno of the first failed write */
    int stopped;
    uint64_t done, total;
    const fal_synth_options *o;
} output;

/* Every thread takes pieces in turn: what a piece holds depends on its place alone, so threads do not change the bytes. */
static void write_tensors(output *out, const layout *l, uint64_t data_offset, int n_threads)
{
    uint64_t n_pieces = 0;
    for (int i = 0; i < l->n; i++) n_pieces += (l->items[i].nbytes + PIECE - 1) / PIECE;
#pragma omp parallel num_threads(n_threads)
    {
        unsigned char *buffer = malloc(PIECE + 256);
        int failed = buffer ? 0 : ENOMEM;
        int at_tensor = 0;
        uint64_t tensor_first = 0; /* index of the first piece of at_tensor */
#pragma omp for schedule(dynamic, 1)
        for (uint64_t p = 0; p < n_pieces; p++) {
            int stop;
#pragma omp atomic read
            stop = out->stopped;
            if (stop || failed) {
                if (failed) {
#pragma omp critical(fal_synth)
                    {
                        if (!out->error) out->error = failed;
                        out->stopped = 1;
                    }
                }
                continue;
            }
            if (p < tensor_first) { /* dynamic schedules hand out rising indices; kept right for any other */
                at_tensor = 0;
                tensor_first = 0;
            }
            for (;;) {
                const uint64_t n = (l->items[at_tensor].nbytes + PIECE - 1) / PIECE;
                if (p < tensor_first + n) break;
                tensor_first += n;
                at_tensor++;
            }
            const tensor *t = &l->items[at_tensor];
            const uint64_t block = fal_type_get(t->fill.type)->block_bytes;
            const uint64_t per = PIECE / block; /* whole blocks per piece; the rest of a piece goes to its successor */
            const uint64_t n_blocks = t->nbytes / block, n = (t->nbytes + PIECE - 1) / PIECE, k = p - tensor_first;
            uint64_t first = k * per, last = k + 1 == n ? n_blocks : first + per;
            while (first < last && !failed) {
                const uint64_t now = last - first < per ? last - first : per;
                fal_synth_blocks(&t->fill, first, now, buffer);
                failed = write_all(out->fd, buffer, now * block, data_offset + t->offset + first * block);
                first += now;
#pragma omp critical(fal_synth)
                {
                    out->done += now * block;
                    if (failed && !out->error) out->error = failed;
                    if (failed) out->stopped = 1;
                    if (out->o->progress && out->o->progress(out->o->user, out->done, out->total)) out->stopped = 1;
                }
            }
        }
        free(buffer);
    }
}

static fal_status check_shape(const fal_config *c, fal_error *err)
{
    const struct { const char *name; int value, multiple; } rules[] = {
        { "n_layer", c->n_layer, 1 },      { "n_embd", c->n_embd, 256 },
        { "n_head", c->n_head, 1 },        { "n_head_kv", c->n_head_kv, 1 },
        { "head_dim", c->head_dim, 2 },    { "n_expert", c->n_expert, 1 },
        { "n_expert_used", c->n_expert_used, 1 }, { "n_ff", c->n_ff, 256 },
        { "n_vocab", c->n_vocab, 1 },      { "n_ctx_train", c->n_ctx_train, 1 },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].value <= 0 || rules[i].value > 1 << 24 || rules[i].value % rules[i].multiple != 0)
            return fal_fail(err, FAL_ERR_USAGE, "K-quantised rows hold whole blocks of 256 values",
                            "shape: %s is %d, expected a positive multiple of %d", rules[i].name, rules[i].value,
                            rules[i].multiple);
    if (c->n_head * c->head_dim % 256 != 0)
        return fal_fail(err, FAL_ERR_USAGE, "attn_output has rows of n_head x head_dim values in blocks of 256",
                        "shape: n_head x head_dim is %d, expected a multiple of 256", c->n_head * c->head_dim);
    if (c->n_head % c->n_head_kv != 0)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "shape: n_head %d is no multiple of n_head_kv %d", c->n_head,
                        c->n_head_kv);
    if (c->n_expert_used > c->n_expert)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "shape: n_expert_used %d exceeds n_expert %d", c->n_expert_used,
                        c->n_expert);
    if (!(c->rope_freq_base > 1) || !(c->rms_eps > 0) || !isfinite(c->rope_freq_base) || !isfinite(c->rms_eps))
        return fal_fail(err, FAL_ERR_USAGE, NULL, "shape: rope_freq_base %g and rms_eps %g must be > 1 and > 0",
                        (double)c->rope_freq_base, (double)c->rms_eps);
    return FAL_OK;
}

uint64_t fal_synth_tensor_bytes(const fal_config *c)
{
    layout l = { 0 };
    uint64_t sum = 0;
    if (check_shape(c, NULL) != FAL_OK) return 0;
    l.items = calloc((size_t)c->n_layer * 12 + 3, sizeof *l.items);
    if (!l.items) return 0;
    lay_out(&l, c, 0);
    for (int i = 0; i < l.n; i++) sum += l.items[i].nbytes;
    free(l.items);
    return sum;
}

fal_status fal_synth_write(const fal_synth_options *o, fal_synth_result *result, fal_error *err)
{
    const double start = seconds_now();
    layout l = { 0 };
    output out = { .fd = -1, .o = o };
    char *temp = NULL;
    fal_status st = check_shape(&o->config, err);
    if (st != FAL_OK) return st;
    if (access(o->path, F_OK) == 0)
        return fal_fail(err, FAL_ERR_USAGE, "choose another name or remove it", "%s exists; it is not overwritten", o->path);
    l.items = calloc((size_t)o->config.n_layer * 12 + 3, sizeof *l.items);
    if (!l.items || asprintf(&temp, "%s.%ld.tmp", o->path, (long)getpid()) < 0) {
        temp = NULL;
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory");
        goto out;
    }
    lay_out(&l, &o->config, o->seed);
    write_header(&l, &o->config, o->seed);
    if (l.header.failed) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory");
        goto out;
    }
    for (int i = 0; i < l.n; i++) out.total += l.items[i].nbytes;
    const uint64_t file_bytes = l.header.len + l.data_bytes;
    out.fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out.fd < 0) {
        st = fal_fail(err, FAL_ERR_OUTPUT, "does the folder exist, and may you write there?", "%s: %s", temp, strerror(errno));
        goto out;
    }
    /* Reserving first tells of a full disk before an hour of writing; not every file system can. */
    if (fallocate(out.fd, 0, 0, (off_t)file_bytes) != 0 && (errno == ENOSPC || errno == EFBIG)) {
        st = fal_fail(err, FAL_ERR_OUTPUT, "free some space or choose another disk", "%s: %llu bytes needed: %s", o->path,
                      (unsigned long long)file_bytes, strerror(errno));
        goto out;
    }
    const int n_threads = o->n_threads > 0 ? o->n_threads : omp_get_max_threads();
    out.error = write_all(out.fd, l.header.data, l.header.len, 0);
    if (!out.error) write_tensors(&out, &l, l.header.len, n_threads);
    if (!out.error && ftruncate(out.fd, (off_t)file_bytes) != 0) out.error = errno;
    const double written = seconds_now();
    if (!out.error && !out.stopped && o->sync && fsync(out.fd) != 0) out.error = errno;
    if (out.error) {
        st = fal_fail(err, FAL_ERR_OUTPUT, "free some space or choose another disk", "%s: after %llu of %llu bytes: %s",
                      o->path, (unsigned long long)out.done, (unsigned long long)out.total, strerror(out.error));
        goto out;
    }
    if (out.stopped) {
        st = fal_fail(err, FAL_ERR_INTERRUPTED, NULL, "%s: interrupted after %llu of %llu bytes; nothing was kept", o->path,
                      (unsigned long long)out.done, (unsigned long long)out.total);
        goto out;
    }
    if (link(temp, o->path) != 0) { /* unlike rename, refuses a file that appeared meanwhile */
        st = fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: %s", o->path, strerror(errno));
        goto out;
    }
    *result = (fal_synth_result){ .tensor_bytes = out.total, .file_bytes = file_bytes, .n_tensors = l.n,
                                  .seconds = written - start, .sync_seconds = seconds_now() - written };
out:
    if (out.fd >= 0) {
        close(out.fd);
        unlink(temp);
    }
    free(temp);
    free(l.items);
    fal_text_free(&l.header);
    return st;
}
