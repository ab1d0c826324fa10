/* Synthetic cases for judgements: drafting, writing, judging, and the trials' common check. */
#include "falsifiers/unit/judge_scene.h"
#include "harness/fixture.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- drafts ---------------------------------------------------------------------------------------------------- */

static size_t elem_size(fal_dtype dtype)
{
    return dtype == FAL_DTYPE_U8 ? 1 : dtype == FAL_DTYPE_I64 ? 8 : 4;
}

void *fal_draft_add(fal_draft *d, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, const void *data)
{
    ck_assert_int_lt(d->n, (int)(sizeof d->tensors / sizeof d->tensors[0]));
    fal_draft_tensor *const t = &d->tensors[d->n++];
    *t = (fal_draft_tensor){ .dtype = dtype, .n_dims = n_dims, .nbytes = elem_size(dtype) };
    snprintf(t->name, sizeof t->name, "%s", name);
    for (int i = 0; i < n_dims; i++) {
        t->ne[i] = ne[i];
        t->nbytes *= (size_t)ne[i];
    }
    t->data = calloc(t->nbytes + 1, 1);
    ck_assert_ptr_nonnull(t->data);
    if (data) memcpy(t->data, data, t->nbytes);
    return t->data;
}

fal_draft_tensor *fal_draft_find(fal_draft *d, const char *name)
{
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->tensors[i].name, name) == 0) return &d->tensors[i];
    ck_abort_msg("the draft has no tensor %s", name);
    return NULL;
}

float *fal_draft_f32(fal_draft *d, const char *name)
{
    return fal_draft_find(d, name)->data;
}

int32_t *fal_draft_i32(fal_draft *d, const char *name)
{
    return fal_draft_find(d, name)->data;
}

void fal_draft_drop(fal_draft *d, const char *name)
{
    fal_draft_tensor *const t = fal_draft_find(d, name);
    free(t->data);
    *t = d->tensors[--d->n];
}

void fal_draft_poison(fal_draft *d, const char *name)
{
    fal_draft_tensor *const t = fal_draft_find(d, name);
    memset(t->data, 0xff, t->nbytes);
}

void fal_draft_zero(fal_draft *d, const char *name)
{
    fal_draft_tensor *const t = fal_draft_find(d, name);
    memset(t->data, 0, t->nbytes);
}

void fal_draft_reshape(fal_draft *d, const char *name, int n_dims, const int64_t *ne)
{
    fal_draft_tensor *const t = fal_draft_find(d, name);
    size_t nbytes = elem_size(t->dtype);
    t->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        t->ne[i] = ne[i];
        nbytes *= (size_t)ne[i];
    }
    ck_assert_uint_le(nbytes, t->nbytes);
    t->nbytes = nbytes;
}

fal_draft *fal_draft_copy(const fal_draft *d)
{
    fal_draft *const c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    c->about = json_deep_copy(d->about);
    for (int i = 0; i < d->n; i++)
        fal_draft_add(c, d->tensors[i].name, d->tensors[i].dtype, d->tensors[i].n_dims, d->tensors[i].ne,
                      d->tensors[i].data);
    return c;
}

void fal_draft_free(fal_draft *d)
{
    if (!d) return;
    for (int i = 0; i < d->n; i++) free(d->tensors[i].data);
    json_decref(d->about);
    free(d);
}

static fal_observation *observe(const fal_draft *d, bool may_refuse, bool *refused)
{
    if (!d) return NULL;
    char dir[] = "/tmp/falsify-judge-XXXXXX", path[64];
    fal_error err = { 0 };
    fal_observation_writer *w = NULL;
    fal_observation *o = NULL;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/o.safetensors", dir);
    fal_status st = fal_observation_writer_make(path, &w, &err);
    for (int i = 0; i < d->n && !st; i++)
        st = fal_observation_declare(w, d->tensors[i].name, d->tensors[i].dtype, d->tensors[i].n_dims, d->tensors[i].ne,
                                     &err);
    for (int i = 0; i < d->n && !st; i++)
        if (d->tensors[i].nbytes > 0)
            st = fal_observation_put(w, d->tensors[i].name, 0, d->tensors[i].data, d->tensors[i].nbytes, &err);
    if (!st) st = fal_observation_finish(w, d->about, &err);
    if (!st) st = fal_observation_open(path, &o, &err);
    fal_observation_writer_free(w);
    unlink(path);
    rmdir(dir);
    if (st) *refused = true;
    ck_assert_msg(st == FAL_OK || may_refuse, "the draft is no observation: %s", err.message);
    return o;
}

/* ---- forward passes -------------------------------------------------------------------------------------------- */

/* A value in [-1, 1) that depends on place and on the tokens so far, as in a causal model. */
static float value_of(uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15u;
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
    return (float)((double)(seed >> 40) / 8388608.0 - 1.0);
}

static void set_tensor(fal_draft *d, int r, const char *site, int layer, fal_dtype dtype, int n_tokens, int sub,
                       int width, const void *data)
{
    char name[80];
    const int64_t flat[] = { n_tokens, width }, split[] = { n_tokens, sub, width };
    if (layer >= 0) snprintf(name, sizeof name, "r%d.blk.%d.%s", r, layer, site);
    else snprintf(name, sizeof name, "r%d.%s", r, site);
    fal_draft_add(d, name, dtype, sub == 1 ? 2 : 3, sub == 1 ? flat : split, data);
}

/* The two largest logits of each token, largest first, and their share. */
static void route(const float *logits, int n_tokens, int32_t *ids, float *weights)
{
    for (int t = 0; t < n_tokens; t++) {
        const float *const row = logits + t * N_EXPERT;
        int32_t best[N_USED];
        for (int s = 0; s < N_USED; s++) {
            best[s] = -1;
            for (int e = 0; e < N_EXPERT; e++)
                if ((s == 0 || e != best[0]) && (best[s] < 0 || row[e] > row[best[s]])) best[s] = e;
        }
        const double a = exp((double)row[best[0]]), b = exp((double)row[best[1]]);
        ids[t * N_USED] = best[0];
        ids[t * N_USED + 1] = best[1];
        weights[t * N_USED] = (float)(a / (a + b));
        weights[t * N_USED + 1] = (float)(b / (a + b));
    }
}

static void draft_request(fal_draft *d, const fal_config *c, int r, const int32_t *tokens, int n_tokens)
{
    float values[16 * 16], logits[16 * N_EXPERT] = { 0 }, weights[16 * N_USED];
    int32_t ids[16 * N_USED];
    for (int s = 0; s < FAL_N_SITES; s++) {
        const fal_site_info *const info = fal_site_get((fal_site)s);
        int sub, width;
        fal_site_shape((fal_site)s, c, &sub, &width);
        for (int layer = info->per_layer ? 0 : -1; layer < (info->per_layer ? c->n_layer : 0); layer++) {
            uint64_t prefix = 17;
            for (int t = 0; t < n_tokens; t++) {
                prefix = prefix * 1000003u + (uint64_t)tokens[t];
                for (int e = 0; e < sub * width; e++)
                    values[t * sub * width + e] =
                        value_of(prefix * 8191u + (uint64_t)(s * 131 + (layer + 1) * 7 + e * 10007));
            }
            if (s == FAL_SITE_router_logits) memcpy(logits, values, sizeof logits);
            if (s == FAL_SITE_expert_ids || s == FAL_SITE_expert_weights) {
                char name[80];
                snprintf(name, sizeof name, "r%d.blk.%d.router_logits", r, layer);
                route(fal_draft_f32(d, name), n_tokens, ids, weights);
            }
            const void *const data = s == FAL_SITE_expert_ids       ? (const void *)ids
                                     : s == FAL_SITE_expert_weights ? (const void *)weights
                                                                    : values;
            set_tensor(d, r, info->name, layer, info->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32, n_tokens, sub, width,
                       data);
        }
    }
    json_t *const list = json_array(), *const greedy = json_array();
    int32_t said[N_GREEDY];
    for (int t = 0; t < n_tokens; t++) json_array_append_new(list, json_integer(tokens[t]));
    for (int i = 0; i < N_GREEDY; i++) {
        said[i] = (tokens[0] * 5 + i * 3 + 1) % N_VOCAB;
        json_array_append_new(greedy, json_integer(said[i]));
    }
    char name[80];
    const int64_t ne[] = { N_GREEDY };
    snprintf(name, sizeof name, "r%d.greedy", r);
    fal_draft_add(d, name, FAL_DTYPE_I32, 1, ne, said);
    json_array_append_new(json_object_get(json_object_get(d->about, "asked"), "requests"), json_copy(list));
    json_array_append_new(json_object_get(d->about, "requests"),
                          json_pack("{s:o, s:o}", "tokens", list, "greedy", greedy));
}

static void start(fal_scene *s, const char *judge, fal_observe_kind kind, fal_against against)
{
    *s = (fal_scene){ .oracle_prompt = -1, .has_config = true };
    s->config = (fal_config){ .n_layer = N_LAYER,
                              .n_embd = N_EMBD,
                              .n_head = 2,
                              .n_head_kv = 1,
                              .head_dim = 4,
                              .n_expert = N_EXPERT,
                              .n_expert_used = N_USED,
                              .n_ff = 4,
                              .n_vocab = N_VOCAB,
                              .n_ctx_train = 64 };
    s->check = (fal_check){ .name = "trial", .observe = kind, .judge = judge, .against = against,
                            .limit = { .kind = FAL_LIMIT_MAX, .value = 1e-5, .basis = "a test" } };
    s->got = calloc(1, sizeof *s->got);
    ck_assert_ptr_nonnull(s->got);
}

/* What an oracle file of the same model holds: positions 0, 2 and 4 of the request. */
static fal_draft *draft_oracle(fal_draft *from)
{
    fal_draft *const o = calloc(1, sizeof *o);
    ck_assert_ptr_nonnull(o);
    static const struct {
        const char *name, *site;
        int width;
        fal_dtype dtype;
    } map[] = {
        { "p0.hidden.0", "r0.embed", N_EMBD, FAL_DTYPE_F32 },
        { "p0.hidden.1", "r0.blk.0.l_out", N_EMBD, FAL_DTYPE_F32 },
        { "p0.hidden.2", "r0.final_norm", N_EMBD, FAL_DTYPE_F32 },
        { "p0.logits", "r0.logits", N_VOCAB, FAL_DTYPE_F32 },
        { "p0.router.0.0", "r0.blk.0.router_logits", N_EXPERT, FAL_DTYPE_F32 },
        { "p0.router.1.0", "r0.blk.1.router_logits", N_EXPERT, FAL_DTYPE_F32 },
        { "p0.router.0.1", "r0.blk.0.expert_weights", N_USED, FAL_DTYPE_F32 },
        { "p0.router.1.1", "r0.blk.1.expert_weights", N_USED, FAL_DTYPE_F32 },
        { "p0.router.0.2", "r0.blk.0.expert_ids", N_USED, FAL_DTYPE_I32 },
        { "p0.router.1.2", "r0.blk.1.expert_ids", N_USED, FAL_DTYPE_I32 },
    };
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        const int64_t ne[] = { 3, map[i].width };
        const char *const src = fal_draft_find(from, map[i].site)->data;
        char *const dst = fal_draft_add(o, map[i].name, map[i].dtype, 2, ne, NULL);
        for (int k = 0; k < 3; k++)
            memcpy(dst + (size_t)(k * map[i].width) * 4, src + (size_t)(2 * k * map[i].width) * 4,
                   (size_t)map[i].width * 4);
    }
    const int32_t positions[] = { 0, 2, 4 };
    const int64_t ne[] = { 3 };
    fal_draft_add(o, "p0.positions", FAL_DTYPE_I32, 1, ne, positions);
    const json_t *const request = json_array_get(json_object_get(from->about, "requests"), 0);
    o->about = json_pack("{s:[{s:o, s:o}]}", "prompts", "tokens", json_deep_copy(json_object_get(request, "tokens")),
                         "greedy_32", json_deep_copy(json_object_get(request, "greedy")));
    return o;
}

void fal_scene_sequence(fal_scene *s, const char *judge, const int32_t *const *lists, int n)
{
    start(s, judge, FAL_OBSERVE_FORWARD, FAL_AGAINST_SELF);
    s->got->about = json_pack("{s:{s:s, s:[]}, s:[]}", "asked", "kind", "forward", "requests", "requests");
    for (int r = 0; r < n; r++) {
        int n_tokens = 0;
        while (lists[r][n_tokens] >= 0) n_tokens++;
        draft_request(s->got, &s->config, r, lists[r], n_tokens);
        s->prompts[r] = "a prompt";
    }
    s->check.sequence = true;
    s->check.prompts = s->prompts;
    s->check.n_prompts = n;
}

void fal_scene_forward(fal_scene *s, const char *judge, fal_against against)
{
    static const int32_t tokens[] = { 3, 1, 4, 1, 5, -1 };
    const int32_t *const lists[] = { tokens };
    fal_scene_sequence(s, judge, lists, 1);
    s->check.sequence = false;
    s->check.against = against;
    if (against == FAL_AGAINST_REFERENCE) s->want = fal_draft_copy(s->got);
    if (against == FAL_AGAINST_SELF) s->again = fal_draft_copy(s->got);
    if (against == FAL_AGAINST_ORACLE) {
        s->oracle = draft_oracle(s->got);
        s->oracle_prompt = 0;
    }
}

/* ---- ops ------------------------------------------------------------------------------------------------------- */

void fal_scene_shape(fal_scene *s, const char *name, double v)
{
    s->shape[s->check.n_shapes++] = (fal_param){ name, v, NULL };
}

void fal_scene_with(fal_scene *s, const char *name, double v)
{
    s->with[s->check.with.n_params++] = (fal_param){ name, v, NULL };
    s->check.with.params = s->with;
}

void fal_scene_then(fal_scene *s, const char *name, double v)
{
    s->then[s->check.then.n_params++] = (fal_param){ name, v, NULL };
    s->check.then.params = s->then;
}

void fal_scene_tap(fal_scene *s, const char *glob)
{
    s->taps[s->check.n_taps++] = glob;
    s->check.taps = s->taps;
}

void fal_scene_limit(fal_scene *s, int kind, double value)
{
    s->check.limit.kind = kind;
    s->check.limit.value = value;
}

static void run_fixture(fal_scene *s, fal_context *ctx, int r, const fal_params *then)
{
    fal_error err = { 0 };
    fal_fixture *f = NULL;
    const fal_params shape = { s->shape, s->check.n_shapes };
    const int stride = s->check.then.n_params > 0 ? 2 : 1;
    fal_status st =
        fal_fixture_make(s->check.op, &shape, s->fills[0], s->seeds[r / stride], &s->check.with, then, &f, &err);
    if (!st) st = fal_fixture_fill(f, &err);
    ck_assert_msg(st == FAL_OK, "%s", err.message);
    int n;
    const fal_buffer *const b = fal_fixture_buffers(f, &n);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n; i++) {
            char name[80];
            if (pass == 0 ? !b[i].is_input : !b[i].is_output) continue;
            snprintf(name, sizeof name, "r%d.%s.%s", r, pass ? "out" : "in", b[i].name);
            fal_draft_add(s->got, name, b[i].dtype, b[i].n_dims, b[i].ne, b[i].data);
        }
        if (pass == 0) st = fal_fixture_run(f, &fal_reference_backend, ctx, &err);
        ck_assert_msg(st == FAL_OK, "%s", err.message);
    }
    json_array_append_new(json_object_get(s->got->about, "requests"),
                          json_pack("{s:s, s:o, s:I}", "op", fal_fixture_op(f), "params", fal_fixture_params(f), "seed",
                                    (json_int_t)s->seeds[r / stride]));
    fal_fixture_free(f);
}

void fal_scene_op(fal_scene *s, const char *judge, const char *op, const char *fill)
{
    const fal_scene given = *s; /* what the trial has set before: shape, with, then */
    start(s, judge, FAL_OBSERVE_OP, FAL_AGAINST_NONE);
    s->has_config = false;
    memcpy(s->with, given.with, sizeof s->with);
    memcpy(s->then, given.then, sizeof s->then);
    memcpy(s->shape, given.shape, sizeof s->shape);
    s->check.n_shapes = given.check.n_shapes;
    s->check.with = (fal_params){ s->with, given.check.with.n_params };
    s->check.then = (fal_params){ s->then, given.check.then.n_params };
    s->check.op = op;
    s->fills[0] = fill;
    s->check.fills = s->fills;
    s->check.n_fills = 1;
    s->seeds[0] = 1;
    s->seeds[1] = 2;
    s->check.seeds = s->seeds;
    s->check.n_seeds = 2;
    s->got->about = json_pack("{s:{s:s, s:s, s:s}, s:[]}", "asked", "kind", "op", "op", op, "fill", fill, "requests");
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    const fal_backend_options options = { .device = "", .variant = "" };
    ck_assert_msg(fal_reference_backend.open(&options, &ctx, &err) == FAL_OK, "%s", err.message);
    const int stride = s->check.then.n_params > 0 ? 2 : 1;
    for (int r = 0; r < s->check.n_seeds * stride; r++) run_fixture(s, ctx, r, r % stride ? &s->check.then : NULL);
    fal_reference_backend.close(ctx);
}

/* ---- preload and refusal --------------------------------------------------------------------------------------- */

static void add_preload(json_t *list, const char *name, int *k)
{
    char digest[65];
    for (int i = 0; i < 64; i++) digest[i] = "0123456789abcdef"[(*k * 7 + i) % 16];
    digest[64] = '\0';
    digest[0] = (char)('a' + *k % 6);
    digest[1] = (char)('0' + *k / 6 % 10);
    (*k)++;
    json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s, s:s}", "name", name, "nbytes", 1000, "uploads", 1,
                                          "file_sha256", digest, "device_sha256", digest));
}

void fal_scene_preload(fal_scene *s, const char *judge)
{
    static const char *const names[] = { "attn_norm",    "attn_q",        "attn_k",      "attn_v",
                                         "attn_output",  "attn_q_norm",   "attn_k_norm", "ffn_norm",
                                         "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps" };
    start(s, judge, FAL_OBSERVE_PRELOAD, FAL_AGAINST_NONE);
    json_t *const list = json_array();
    int k = 0;
    add_preload(list, "token_embd.weight", &k);
    for (int layer = 0; layer < N_LAYER; layer++)
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, names[i]);
            add_preload(list, name, &k);
        }
    add_preload(list, "output_norm.weight", &k);
    add_preload(list, "output.weight", &k);
    s->got->about =
        json_pack("{s:{s:s}, s:{s:o}, s:{s:i, s:i, s:i}, s:[]}", "asked", "kind", "preload", "preload", "tensors", list,
                  "memory", "weight_bytes", 27000, "kv_bytes", 500, "peak_bytes", 28500, "requests");
}

void fal_scene_refusal(fal_scene *s, const char *judge)
{
    start(s, judge, FAL_OBSERVE_REFUSAL, FAL_AGAINST_NONE);
    s->got->about =
        json_pack("{s:{s:s}, s:{s:b, s:s, s:s, s:s, s:i, s:i}, s:[]}", "asked", "kind", "refusal", "refusal", "refused",
                  1, "code", "input", "message", "architecture is llama, expected qwen3moe", "contract",
                  "tensor-names-v1", "live_bytes_before", 100, "live_bytes_after", 100, "requests");
}

/* ---- throughput ------------------------------------------------------------------------------------------------ */

void fal_scene_throughput(fal_scene *s, const char *judge)
{
    static const int32_t steps[] = { 1, 2, 3, 4 }, runs[] = { 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4 };
    static const int64_t ne[] = { 3, 4 };
    start(s, judge, FAL_OBSERVE_THROUGHPUT, FAL_AGAINST_NONE);
    fal_scene_with(s, "context", 16);
    fal_scene_with(s, "n_tokens", 4);
    fal_scene_with(s, "runs", 3);
    fal_draft_add(s->got, "tokens.steps", FAL_DTYPE_I32, 1, ne + 1, steps);
    fal_draft_add(s->got, "tokens.runs", FAL_DTYPE_I32, 2, ne, runs);
    s->got->about = json_pack(
        "{s:{s:s}, s:{s:i}, s:{s:[{s:f}, {s:f}, {s:f}], s:f, s:f, s:[], s:{s:s, s:i, s:i, s:i, s:i}}, s:[]}", "asked", "kind",
        "throughput", "memory", "weight_bytes", 400000, "throughput", "runs", "seconds", 0.02, "seconds", 0.01, "seconds", 0.04,
        "gb_per_s", 100.0, "share_of_bandwidth", 0.25, "slowdowns", "device_memory", "source", "nvml", "used_before_bytes", 250000,
        "used_bytes", 750000, "total_bytes", 1000000, "live_bytes", 450000, "requests");
}

void fal_scene_device_code(fal_scene *s, const char *judge)
{
    start(s, judge, FAL_OBSERVE_DEVICE_CODE, FAL_AGAINST_NONE);
}

void fal_scene_bare(fal_scene *s, const char *judge, fal_observe_kind kind)
{
    start(s, judge, kind, FAL_AGAINST_NONE);
}

/* ---- trials of candidates -------------------------------------------------------------------------------------- */

void fal_scene_trial(fal_scene *s, const char *judge, fal_against against)
{
    enum { N_REQUESTS = 6 };
    static const int content[N_REQUESTS] = { 0, 1, 1, 0, 2, 3 };
    static const int64_t ne[] = { 2, 8 };
    json_t *requests = json_array();
    start(s, judge, FAL_OBSERVE_TRIAL, against);
    s->check.op = "rmsnorm";
    for (int i = 0; i < 4; i++) s->seeds[i] = (uint64_t)i + 1;
    s->check.seeds = s->seeds;
    s->check.n_seeds = 4;
    for (int r = 0; r < N_REQUESTS; r++) {
        char name[32], inputs[16];
        snprintf(inputs, sizeof inputs, "digest %d", content[r]);
        json_array_append_new(requests, json_pack("{s:s, s:i, s:s}", "op", "rmsnorm", "seed", content[r] + 1, "inputs", inputs));
        for (int again = 0; again < (r < 4 ? 1 : 2); again++) {
            snprintf(name, sizeof name, "r%d.%s.y", r, again ? "after" : "out");
            float *y = fal_draft_add(s->got, name, FAL_DTYPE_F32, 2, ne, NULL);
            for (int i = 0; i < 16; i++) y[i] = (float)(i % 5 - 2) + 10 * (float)content[r] + 0.5f;
        }
    }
    s->got->about = json_pack("{s:{s:s}, s:{s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f}, s:o}", "asked", "kind", "trial", "trial", "changed_bytes", 0,
                              "strayed_bytes", 0, "late_bytes", 0, "input_bytes", 4096, "guard_bytes", 8192, "seconds_per_call", 1e-6,
                              "bytes_per_call", 20000.0, "fastest_gb_per_s", 20.0, "read_gb_per_s", 100.0, "requests", requests);
    if (against == FAL_AGAINST_REFERENCE) s->want = fal_draft_copy(s->got);
}

/* ---- judging --------------------------------------------------------------------------------------------------- */

static bool judge_scene(const fal_scene *s, bool may_refuse, fal_verdict *v)
{
    fal_check check = s->check;
    check.shapes = NULL; /* the scene keeps one shape where a check keeps several */
    check.n_shapes = 0;
    bool refused = false;
    fal_evidence_in in = { .check = &check,
                           .config = s->has_config ? &s->config : NULL,
                           .oracle_prompt = s->oracle_prompt };
    const fal_draft *const drafts[] = { s->got, s->want, s->again, s->oracle };
    fal_observation *o[4];
    for (int i = 0; i < 4; i++) o[i] = observe(drafts[i], may_refuse, &refused);
    in.got = o[0];
    in.want = o[1];
    in.again = o[2];
    in.oracle = o[3];
    memset(v, 0xa5, sizeof *v); /* the judge must fill all of it */
    if (!refused) fal_judge(&in, v);
    for (int i = 0; i < 4; i++) fal_observation_close(o[i]);
    return !refused;
}

bool fal_scene_try(const fal_scene *s, fal_verdict *v)
{
    return judge_scene(s, true, v);
}

fal_verdict fal_scene_judge(const fal_scene *s)
{
    fal_verdict v;
    judge_scene(s, false, &v);
    return v;
}

void fal_scene_free(fal_scene *s)
{
    fal_draft_free(s->got);
    fal_draft_free(s->want);
    fal_draft_free(s->again);
    fal_draft_free(s->oracle);
    *s = (fal_scene){ 0 };
}

void fal_trial_run(const fal_trial *t)
{
    fal_scene s = { 0 };
    t->make(&s);
    ck_assert_str_eq(s.check.judge, t->judge);
    if (t->change) t->change(&s);
    const fal_verdict v = fal_scene_judge(&s);
    ck_assert_msg(v.kind == t->expect, "%s, %s: %s (%s), expected %s", t->judge, t->what, fal_verdict_name(v.kind),
                  v.reason, fal_verdict_name(t->expect));
    ck_assert_msg(v.reason[0] != '\0', "%s, %s: no reason", t->judge, t->what);
    ck_assert_msg(!t->says || strstr(v.reason, t->says) || strstr(v.detail, t->says) ||
                      (v.has_worst && strstr(v.worst, t->says)),
                  "%s, %s: '%s' is in neither reason '%s', place '%s' nor detail:\n%s", t->judge, t->what, t->says,
                  v.reason, v.has_worst ? v.worst : "", v.detail);
    ck_assert_msg(t->expect != FAL_FALSIFIED || v.margin < 0, "%s, %s: falsified with margin %g", t->judge, t->what,
                  v.margin);
    ck_assert_msg(t->expect != FAL_SURVIVED || (v.has_value && v.margin >= 0 && v.n_compared > 0),
                  "%s, %s: survived without a value", t->judge, t->what);
    fal_scene_free(&s);
}
