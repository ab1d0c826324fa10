/* Tests of the synthetic model: valid, reproducible, refused cleanly, and sensitive to what a wrong kernel would change. */
#include "harness/backend.h"
#include "harness/digest.h"
#include "harness/synth.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

Suite *fal_suite_synth(void);

enum { N_TOKENS = 256, N_LAYER = 3, N_VOCAB = 512, N_EXPERT = 32, N_USED = 4 };

static char folder[64];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/falsify-synth-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static fal_config small_shape(void)
{
    return (fal_config){ .n_layer = N_LAYER, .n_embd = 512, .n_head = 8, .n_head_kv = 2, .head_dim = 64,
                         .n_expert = N_EXPERT, .n_expert_used = N_USED, .n_ff = 256, .n_vocab = N_VOCAB,
                         .n_ctx_train = 1024, .rope_freq_base = 1e6f, .rms_eps = 1e-6f };
}

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static fal_status write_model(const char *path, fal_config c, uint64_t seed, int n_threads, fal_error *err)
{
    const fal_synth_options o = { .config = c, .seed = seed, .path = path, .n_threads = n_threads };
    fal_synth_result r;
    return fal_synth_write(&o, &r, err);
}

static int files_in_folder(void)
{
    char command[160];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *p = popen(command, "r");
    int n = -1;
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

START_TEST(full_size_has_the_bytes_of_the_real_file)
{
    fal_config c;
    ck_assert(fal_synth_shape("qwen3-coder-30b-a3b", &c));
    ck_assert_uint_eq(fal_synth_tensor_bytes(&c), 18550716416u);
    ck_assert(!fal_synth_shape("qwen3", &c));
}
END_TEST

START_TEST(bytes_depend_on_seed_alone)
{
    char a[65], b[65], other[65], path[160];
    fal_error err = { 0 };
    fal_config c = small_shape();
    c.n_layer = 1;
    const struct { const char *name; uint64_t seed; int threads; char *hex; } runs[] = {
        { "a.gguf", 7, 1, a }, { "b.gguf", 7, 2, b }, { "c.gguf", 8, 2, other }
    };
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s", path_of(runs[i].name));
        ck_assert_msg(write_model(path, c, runs[i].seed, runs[i].threads, &err) == FAL_OK, "%s", err.message);
        ck_assert(fal_sha256_file(path, runs[i].hex, &err) == FAL_OK);
    }
    ck_assert_str_eq(a, b);
    ck_assert_str_ne(a, other);
}
END_TEST

START_TEST(existing_file_is_kept)
{
    fal_error err = { 0 };
    char path[160], line[32] = "";
    snprintf(path, sizeof path, "%s", path_of("mine.gguf"));
    FILE *f = fopen(path, "w");
    fputs("precious", f);
    fclose(f);
    ck_assert(write_model(path, small_shape(), 1, 1, &err) == FAL_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "exists"));
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    fclose(f);
    ck_assert_str_eq(line, "precious");
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

/* A limit on the size of files stands for a full disk: the same calls fail. */
START_TEST(no_room_leaves_nothing)
{
    fal_error err = { 0 };
    const struct rlimit small = { 1 << 20, 1 << 20 };
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_assert(write_model(path_of("big.gguf"), small_shape(), 1, 2, &err) == FAL_ERR_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "big.gguf"));
    ck_assert_int_eq(files_in_folder(), 0);
}
END_TEST

/* Rule: the memory that writing takes does not grow with the model. This process has written nothing before. */
START_TEST(memory_is_constant)
{
    fal_error err = { 0 };
    struct rusage before, after;
    fal_config c = small_shape();
    c.n_layer = 30;
    c.n_ff = 1024;
    ck_assert_uint_gt(fal_synth_tensor_bytes(&c), 300000000u);
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &before), 0);
    ck_assert_msg(write_model(path_of("large.gguf"), c, 1, 2, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &after), 0);
    ck_assert_msg(after.ru_maxrss - before.ru_maxrss < 65536, "%ld KiB for a model of %llu bytes", after.ru_maxrss - before.ru_maxrss,
                  (unsigned long long)fal_synth_tensor_bytes(&c));
}
END_TEST

static int stop_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    (void)done;
    (void)total;
    return 1;
}

START_TEST(interrupted_leaves_nothing)
{
    fal_error err = { 0 };
    fal_synth_result r;
    const fal_synth_options o = { .config = small_shape(), .seed = 1, .path = path_of("x.gguf"), .progress = stop_at_once };
    ck_assert(fal_synth_write(&o, &r, &err) == FAL_ERR_INTERRUPTED);
    ck_assert_int_eq(files_in_folder(), 0);
}
END_TEST

START_TEST(bad_shapes_are_refused_by_field)
{
    const struct { size_t offset; int value; const char *field; } bad[] = {
        { offsetof(fal_config, n_embd), 100, "n_embd" },         { offsetof(fal_config, n_ff), 128, "n_ff" },
        { offsetof(fal_config, n_layer), 0, "n_layer" },         { offsetof(fal_config, n_head_kv), 3, "n_head_kv" },
        { offsetof(fal_config, n_expert_used), 33, "n_expert" }, { offsetof(fal_config, head_dim), 63, "head_dim" },
        { offsetof(fal_config, n_vocab), -1, "n_vocab" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_config c = small_shape();
        fal_error err = { 0 };
        memcpy((char *)&c + bad[i].offset, &bad[i].value, sizeof(int));
        ck_assert(write_model(path_of("x.gguf"), c, 1, 1, &err) == FAL_ERR_USAGE);
        ck_assert_msg(strstr(err.message, bad[i].field) != NULL, "'%s' does not name %s", err.message, bad[i].field);
        ck_assert_uint_eq(fal_synth_tensor_bytes(&c), 0);
    }
}
END_TEST

/* ---- sensitivity: what a wrong kernel changes must show ---- */

typedef struct {
    fal_model *model;
    float *logits;                               /* [N_TOKENS, N_VOCAB] */
    double x2[N_LAYER + 1], attn2[N_LAYER], moe2[N_LAYER], mid2[N_LAYER]; /* squared norms over all tokens */
    int chosen[N_LAYER][N_EXPERT];
    int32_t ids[N_LAYER][N_TOKENS * N_USED];
    bool swap_experts;                           /* pin the recorded choice with its first two experts exchanged */
    int32_t pinned[N_TOKENS * N_USED];
} look;

static bool wants(void *user, fal_site site, int layer)
{
    (void)user;
    (void)layer;
    return site == FAL_SITE_logits || site == FAL_SITE_embed || site == FAL_SITE_l_out || site == FAL_SITE_attn_output ||
           site == FAL_SITE_ffn_inp || site == FAL_SITE_moe_out || site == FAL_SITE_expert_ids;
}

static double squares(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    return sum;
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    look *l = user;
    (void)err;
    const size_t n_embd = (size_t)n * 512;
    switch (site) {
    case FAL_SITE_logits: memcpy(l->logits + (size_t)first * N_VOCAB, data, (size_t)n * N_VOCAB * sizeof(float)); break;
    case FAL_SITE_embed: l->x2[0] += squares(data, n_embd); break;
    case FAL_SITE_attn_output: l->attn2[layer] += squares(data, n_embd); break;
    case FAL_SITE_ffn_inp: l->mid2[layer] += squares(data, n_embd); break;
    case FAL_SITE_moe_out: l->moe2[layer] += squares(data, n_embd); break;
    case FAL_SITE_l_out: l->x2[layer + 1] += squares(data, n_embd); break;
    case FAL_SITE_expert_ids:
        memcpy(l->ids[layer] + (size_t)first * N_USED, data, (size_t)n * N_USED * sizeof(int32_t));
        for (int i = 0; i < n * N_USED; i++) l->chosen[layer][((const int32_t *)data)[i]]++;
        break;
    default: break;
    }
    return FAL_OK;
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    look *l = user;
    if (!l->swap_experts) return NULL;
    for (int i = 0; i < n * N_USED; i++) {
        const int32_t id = l->ids[layer][first * N_USED + i];
        l->pinned[i] = layer == 1 && id < 2 ? 1 - id : id;
    }
    return l->pinned;
}

static void run(look *l)
{
    fal_error err = { 0 };
    fal_context *ctx = NULL;
    fal_session *s = NULL;
    int32_t tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 197 + i * i * 3) % N_VOCAB;
    const fal_taps taps = { .user = l, .wants = wants, .give = give, .pinned = pinned };
    const fal_backend *b = &fal_reference_backend;
    ck_assert(b->open(NULL, &ctx, &err) == FAL_OK);
    ck_assert_msg(b->session_open(ctx, l->model, N_TOKENS, &s, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(b->forward(s, tokens, N_TOKENS, &taps, NULL, &err) == FAL_OK, "%s", err.message);
    b->session_close(s);
    b->close(ctx);
}

static look *make_look(fal_model *m)
{
    look *l = calloc(1, sizeof *l);
    l->model = m;
    l->logits = calloc((size_t)N_TOKENS * N_VOCAB, sizeof(float));
    return l;
}

static void free_look(look *l)
{
    free(l->logits);
    free(l);
}

static double change(const look *a, const look *b)
{
    double diff = 0;
    const size_t n = (size_t)N_TOKENS * N_VOCAB;
    for (size_t i = 0; i < n; i++) diff += pow((double)a->logits[i] - (double)b->logits[i], 2);
    return sqrt(diff / squares(a->logits, n));
}

/* Exchanges the two KV heads of a tensor's rows in a copy: what a wrong GQA mapping would read. */
static fal_tensor *swap_kv_heads(const fal_tensor *t)
{
    fal_tensor *copy = malloc(sizeof *copy);
    *copy = *t;
    char *data = malloc(t->nbytes);
    memcpy(data, (const char *)t->data + t->nbytes / 2, t->nbytes / 2);
    memcpy(data + t->nbytes / 2, t->data, t->nbytes / 2);
    copy->data = data;
    return copy;
}

START_TEST(model_is_sensitive)
{
    fal_error err = { 0 };
    fal_model *m = NULL;
    char path[160];
    snprintf(path, sizeof path, "%s", path_of("m.gguf"));
    ck_assert_msg(write_model(path, small_shape(), 1, 2, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_model_open(path, &m, &err) == FAL_OK, "%s", err.message);
    look *plain = make_look(m);
    run(plain);
    for (int i = 0; i < N_LAYER; i++) {
        const double attn = sqrt(plain->attn2[i] / plain->x2[i]), moe = sqrt(plain->moe2[i] / plain->mid2[i]);
        ck_assert_msg(attn >= 0.01 && attn <= 0.5, "layer %d: attention adds %.3f of the residual", i, attn);
        ck_assert_msg(moe >= 0.01 && moe <= 0.5, "layer %d: the experts add %.3f of the residual", i, moe);
        for (int e = 0; e < N_EXPERT; e++)
            ck_assert_msg(plain->chosen[i][e] > 0, "layer %d: expert %d was never chosen in %d tokens", i, e, N_TOKENS);
    }
    for (size_t i = 0; i < (size_t)N_TOKENS * N_VOCAB; i++) ck_assert(isfinite(plain->logits[i]));

    look *swapped = make_look(m);
    memcpy(swapped->ids, plain->ids, sizeof plain->ids);
    swapped->swap_experts = true;
    run(swapped);
    ck_assert_msg(change(plain, swapped) > 1e-3, "two experts exchanged: %g", change(plain, swapped));

    look *rope = make_look(m);
    m->config.rope_freq_base = 1e4f;
    run(rope);
    m->config.rope_freq_base = 1e6f;
    ck_assert_msg(change(plain, rope) > 1e-2, "another RoPE base: %g", change(plain, rope));

    const fal_tensor *old_k = m->layers[1].attn_k, *old_v = m->layers[1].attn_v;
    fal_tensor *k = swap_kv_heads(old_k), *v = swap_kv_heads(old_v);
    look *gqa = make_look(m);
    m->layers[1].attn_k = k;
    m->layers[1].attn_v = v;
    run(gqa);
    m->layers[1].attn_k = old_k;
    m->layers[1].attn_v = old_v;
    ck_assert_msg(change(plain, gqa) > 1e-2, "KV heads exchanged: %g", change(plain, gqa));
    free((void *)k->data);
    free((void *)v->data);
    free(k);
    free(v);
    free_look(gqa);
    free_look(rope);
    free_look(swapped);
    free_look(plain);
    fal_model_close(m);
}
END_TEST

Suite *fal_suite_synth(void)
{
    Suite *s = suite_create("synth");
    TCase *c = tcase_create("write");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, full_size_has_the_bytes_of_the_real_file);
    tcase_add_test(c, bytes_depend_on_seed_alone);
    tcase_add_test(c, existing_file_is_kept);
    tcase_add_test(c, no_room_leaves_nothing);
    tcase_add_test(c, memory_is_constant);
    tcase_add_test(c, interrupted_leaves_nothing);
    tcase_add_test(c, bad_shapes_are_refused_by_field);
    tcase_add_test(c, model_is_sensitive);
    suite_add_tcase(s, c);
    return s;
}
