/* Tests of the OpenCL backend's whole forward pass: against a float64 oracle, and of taps, memory, refusals and
   launches. */
#include "harness/observation.h"
#include "opencl/device.h"

#include <check.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_opencl_forward(void);

#define MODEL  "falsifiers/models/austen-moe-Q4_K_M.gguf"
#define ORACLE "falsifiers/models/austen-moe-Q4_K_M.oracle.safetensors"

static const char *const variants[] = { "", "cpu" };
static const fal_backend *const cl = &fal_opencl_backend;

static void ok(fal_status st, const fal_error *e)
{
    ck_assert_msg(st == FAL_OK, "%s: %s", fal_status_name(st), e->message);
}

typedef struct {
    fal_model *model;
    fal_context *ctx;
    fal_session *session;
    const fal_config *config;
} rig;

static rig set_up(int variant, int n_ctx)
{
    rig r = { 0 };
    fal_error e = { 0 };
    ok(fal_model_open(MODEL, &r.model, &e), &e);
    r.config = &r.model->config;
    ok(cl->open(&(fal_backend_options) { .variant = variants[variant] }, &r.ctx, &e), &e);
    ok(cl->session_open(r.ctx, r.model, n_ctx, &r.session, &e), &e);
    return r;
}

static void tear_down(rig *r)
{
    fal_memory m;
    cl->session_close(r->session);
    cl->memory(r->ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 0); /* a closed session leaves nothing on the device */
    cl->close(r->ctx);
    fal_model_close(r->model);
}

/* ---- a recorder ------------------------------------------------------------------------------------------------- */

/* Keeps the rows of one site and layer; may force another site, or pin the routing. */
typedef struct {
    const fal_config *config;
    int site, layer, n_rows;
    unsigned char *rows;
    size_t row_bytes;
    int force_site, force_layer;
    const unsigned char *force;
    size_t force_row;
    const int32_t *pin;
} recorder;

static bool wants(void *user, fal_site site, int layer)
{
    const recorder *r = user;
    return (int)site == r->site && layer == r->layer;
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    recorder *r = user;
    (void)err;
    ck_assert(wants(user, site, layer));
    ck_assert_int_eq(first, r->n_rows); /* rows come in order, each once */
    r->rows = realloc(r->rows, (size_t)(first + n) * r->row_bytes);
    ck_assert_ptr_nonnull(r->rows);
    memcpy(r->rows + (size_t)first * r->row_bytes, data, (size_t)n * r->row_bytes);
    r->n_rows += n;
    return FAL_OK;
}

static const void *forced(void *user, fal_site site, int layer, int first, int n)
{
    const recorder *r = user;
    (void)n;
    if (!r->force || (int)site != r->force_site || layer != r->force_layer) return NULL;
    return r->force + (size_t)first * r->force_row;
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    const recorder *r = user;
    (void)layer;
    (void)n;
    return r->pin ? r->pin + (size_t)first * (size_t)r->config->n_expert_used : NULL;
}

static recorder record(const fal_config *c, fal_site site, int layer)
{
    int sub, width;
    fal_site_shape(site, c, &sub, &width);
    return (recorder) { .config = c, .site = (int)site, .layer = layer, .row_bytes = (size_t)sub * (size_t)width * 4 };
}

/* Runs tokens with the recorder's taps; the recorded rows belong to the caller. */
static unsigned char *run(rig *r, recorder *rec, const int32_t *tokens, int n, int32_t *next)
{
    const fal_taps taps = { .user = rec, .wants = wants, .give = give, .forced = forced, .pinned = pinned };
    fal_error e = { 0 };
    ok(cl->forward(r->session, tokens, n, &taps, next, &e), &e);
    return rec->rows;
}

static float *logits_of(rig *r, const int32_t *tokens, int n, int32_t *next)
{
    recorder rec = record(r->config, FAL_SITE_logits, -1);
    float *rows = (float *)(void *)run(r, &rec, tokens, n, next);
    ck_assert_int_eq(rec.n_rows, n);
    return rows;
}

static void reset(rig *r)
{
    fal_error e = { 0 };
    ok(cl->reset(r->session, &e), &e);
}

static int32_t *some_tokens(const rig *r, int n)
{
    int32_t *tokens = malloc((size_t)n * sizeof *tokens);
    ck_assert_ptr_nonnull(tokens);
    for (int i = 0; i < n; i++) tokens[i] = (int32_t)((i * 7919 + 13) % r->config->n_vocab);
    return tokens;
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* Rule: logits at every position of every short prompt are within 2e-5 (relative L2) of a float64 model, with the same
   argmax, and next is the argmax of the last one. Limit: 4 layers of f32 sums, measured 1e-6; 20 times that. */
START_TEST(logits_match_the_oracle)
{
    rig r = set_up(_i, 128);
    fal_observation *o = NULL;
    fal_error e = { 0 };
    ok(fal_observation_open(ORACLE, &o, &e), &e);
    const size_t n_vocab = (size_t)r.config->n_vocab;
    for (int p = 0; p < 5; p++) {
        char name[32];
        snprintf(name, sizeof name, "p%d.tokens", p);
        const fal_obs_tensor *tokens = fal_observation_find(o, 0, name);
        snprintf(name, sizeof name, "p%d.logits", p);
        const fal_obs_tensor *logits = fal_observation_find(o, 0, name);
        ck_assert(tokens && logits && logits->n == tokens->n * n_vocab);
        int32_t next = -1;
        reset(&r);
        float *got = logits_of(&r, tokens->data, (int)tokens->n, &next);
        const float *want = logits->data;
        for (size_t t = 0; t < tokens->n; t++) {
            double d = 0.0, w = 0.0;
            size_t best_got = 0, best_want = 0;
            for (size_t i = t * n_vocab; i < (t + 1) * n_vocab; i++) {
                d += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
                w += (double)want[i] * (double)want[i];
                if (got[i] > got[t * n_vocab + best_got]) best_got = i - t * n_vocab;
                if (want[i] > want[t * n_vocab + best_want]) best_want = i - t * n_vocab;
            }
            ck_assert_msg(sqrt(d) <= 2e-5 * sqrt(w), "p%d position %zu: relative L2 %.3e", p, t, sqrt(d / w));
            ck_assert_uint_eq(best_got, best_want);
            if (t + 1 == tokens->n) ck_assert_int_eq(next, (int)best_got);
        }
        free(got);
    }
    fal_observation_close(o);
    tear_down(&r);
}
END_TEST

/* Rule: the tiled kernels, which add up in another order, stay within 1e-5 (relative L2 of a row of logits) of the others;
   so does a chunk after another one. */
START_TEST(tiles_are_near_single_tokens)
{
    enum { N = 70, SPLIT = 33 };
    rig r = set_up(_i, N + 1);
    int32_t *tokens = some_tokens(&r, N), next = -1;
    const size_t n_vocab = (size_t)r.config->n_vocab;
    float *whole = logits_of(&r, tokens, N, &next);
    reset(&r);
    float *head = logits_of(&r, tokens, SPLIT, NULL), *tail = logits_of(&r, tokens + SPLIT, N - SPLIT, NULL);
    reset(&r);
    for (int t = 0; t < N; t++) {
        float *one = t < 20 ? logits_of(&r, tokens + t, 1, NULL) : NULL;
        const float *split = t < SPLIT ? head + (size_t)t * n_vocab : tail + (size_t)(t - SPLIT) * n_vocab;
        double norm = 0, off_split = 0, off_one = 0;
        for (size_t i = 0; i < n_vocab; i++) {
            const double want = whole[(size_t)t * n_vocab + i];
            norm += want * want;
            off_split += (split[i] - want) * (split[i] - want);
            if (one) off_one += (one[i] - want) * (one[i] - want);
        }
        ck_assert_msg(sqrt(off_split / norm) <= 1e-5, "position %d, split: %g", t, sqrt(off_split / norm));
        ck_assert_msg(sqrt(off_one / norm) <= 1e-5, "position %d, alone: %g", t, sqrt(off_one / norm));
        free(one);
    }
    free(tail);
    free(head);
    free(whole);
    free(tokens);
    tear_down(&r);
}
END_TEST

/* Rule: the same tokens give the same bits: again, split in two, and one by one; the result does not change at the
   border of a chunk (512 tokens). */
START_TEST(splitting_a_request_changes_nothing)
{
    const int n = _i == 1 ? 530 : 24; /* the work-group kernels are slow on a CPU, and take 32 tokens in tiles */
    rig r = set_up(_i, n + 1);
    int32_t *tokens = some_tokens(&r, n), next = -1, next_split = -2;
    const size_t row = (size_t)r.config->n_vocab * sizeof(float);
    float *whole = logits_of(&r, tokens, n, &next);
    reset(&r);
    float *head = logits_of(&r, tokens, 7, NULL), *tail = logits_of(&r, tokens + 7, n - 7, &next_split);
    ck_assert_int_eq(memcmp(whole, head, 7 * row), 0);
    ck_assert_int_eq(memcmp(whole + 7 * r.config->n_vocab, tail, (size_t)(n - 7) * row), 0);
    ck_assert_int_eq(next, next_split);
    free(tail);
    free(head);
    reset(&r);
    for (int t = 0; t < 10; t++) {
        float *one = logits_of(&r, tokens + t, 1, NULL);
        ck_assert_msg(memcmp(one, whole + (size_t)t * (size_t)r.config->n_vocab, row) == 0, "position %d", t);
        free(one);
    }
    reset(&r);
    fal_error e = { 0 };
    next_split = -2;
    ok(cl->forward(r.session, tokens, n, NULL, &next_split, &e), &e); /* without taps only the last row is computed */
    ck_assert_int_eq(next, next_split);
    free(whole);
    free(tokens);
    tear_down(&r);
}
END_TEST

/* ---- taps ------------------------------------------------------------------------------------------------------- */

/* Rule: every site is shown, with numbers that are finite: nothing of it is poison. */
START_TEST(every_site_is_shown)
{
    rig r = set_up(_i, 8);
    const int32_t tokens[] = { 11, 900, 5 };
    for (int site = 0; site < FAL_N_SITES; site++) {
        const int layer = fal_site_get((fal_site)site)->per_layer ? r.config->n_layer - 1 : -1;
        recorder rec = record(r.config, (fal_site)site, layer);
        reset(&r);
        const float *rows = (const float *)(const void *)run(&r, &rec, tokens, 3, NULL);
        ck_assert_msg(rec.n_rows == 3, "%s: %d rows", fal_site_get((fal_site)site)->name, rec.n_rows);
        for (size_t i = 0; i < 3 * rec.row_bytes / 4; i++)
            ck_assert_msg(isfinite(rows[i]), "%s[%zu]", fal_site_get((fal_site)site)->name, i);
        free(rec.rows);
    }
    tear_down(&r);
}
END_TEST

/* Rule: forced values replace a site's result: with the embedding of other tokens the pass is that of the others. */
START_TEST(forced_values_are_used)
{
    rig r = set_up(_i, 8);
    const int32_t ours[] = { 11, 900, 5 }, others[] = { 3, 4, 77 };
    recorder rec = record(r.config, FAL_SITE_embed, -1);
    unsigned char *embed = run(&r, &rec, others, 3, NULL);
    reset(&r);
    float *want = logits_of(&r, others, 3, NULL);
    reset(&r);
    recorder forcing = record(r.config, FAL_SITE_logits, -1);
    forcing.force_site = FAL_SITE_embed;
    forcing.force_layer = -1;
    forcing.force = embed;
    forcing.force_row = rec.row_bytes;
    unsigned char *got = run(&r, &forcing, ours, 3, NULL);
    ck_assert_int_eq(memcmp(got, want, 3 * forcing.row_bytes), 0);
    free(got);
    free(want);
    free(embed);
    tear_down(&r);
}
END_TEST

/* Rule: pinned experts are taken as they are, and an id out of range is refused before it can index weights. */
START_TEST(pinned_experts_are_taken)
{
    rig r = set_up(_i, 16);
    const int32_t tokens[] = { 11, 900, 5 };
    int32_t pin[64];
    const int used = r.config->n_expert_used;
    ck_assert_int_le(3 * used, 64);
    for (int i = 0; i < 3 * used; i++) pin[i] = (i * 3 + i / used) % r.config->n_expert;
    recorder rec = record(r.config, FAL_SITE_expert_ids, 1);
    rec.pin = pin;
    unsigned char *ids = run(&r, &rec, tokens, 3, NULL);
    ck_assert_int_eq(memcmp(ids, pin, 3 * rec.row_bytes), 0);
    free(ids);
    const int32_t wrong[] = { r.config->n_expert, -1 };
    for (int i = 0; i < 2; i++) {
        pin[2 * used] = wrong[i];
        recorder bad = record(r.config, FAL_SITE_logits, -1);
        bad.pin = pin;
        const fal_taps taps = { .user = &bad, .pinned = pinned };
        fal_error e = { 0 };
        ck_assert_int_eq(cl->forward(r.session, tokens, 3, &taps, NULL, &e), FAL_ERR_INPUT);
        bad.pin = NULL; /* the same through forced values */
        bad.force_site = FAL_SITE_expert_ids;
        bad.force = (const unsigned char *)pin;
        bad.force_row = (size_t)used * 4;
        const fal_taps forcing = { .user = &bad, .forced = forced };
        e = (fal_error) { 0 };
        ck_assert_int_eq(cl->forward(r.session, tokens, 3, &forcing, NULL, &e), FAL_ERR_INPUT);
    }
    reset(&r); /* the session still works */
    free(logits_of(&r, tokens, 3, NULL));
    tear_down(&r);
}
END_TEST

/* ---- memory and refusals ---------------------------------------------------------------------------------------- */

/* Rule: each tensor is on the device once, in file format, with the bytes of the file; the sums of memory agree. */
START_TEST(weights_are_the_files_bytes)
{
    rig r = set_up(_i, 32);
    fal_error e = { 0 };
    for (int i = 0; i < r.model->n_tensors; i++) {
        const fal_tensor *t = r.model->tensors[i];
        int uploads = 0;
        void *bytes = malloc(t->nbytes);
        ck_assert_ptr_nonnull(bytes);
        ok(cl->read_tensor(r.session, i, bytes, &uploads, &e), &e);
        ck_assert_int_eq(uploads, 1);
        ck_assert_msg(memcmp(bytes, t->data, t->nbytes) == 0, "%s", t->name);
        free(bytes);
    }
    int uploads = 0;
    ck_assert_int_eq(cl->read_tensor(r.session, r.model->n_tensors, &uploads, &uploads, &e), FAL_ERR_INPUT);
    fal_memory m;
    cl->session_memory(r.session, &m);
    const fal_config *c = r.config;
    ck_assert_uint_eq(m.weight_bytes, r.model->tensor_bytes);
    ck_assert_uint_eq(m.kv_bytes, (uint64_t)c->n_layer * 2 * 32 * (uint64_t)c->n_head_kv * (uint64_t)c->head_dim * 4);
    ck_assert_uint_eq(m.weight_bytes + m.kv_bytes + m.scratch_bytes, m.live_bytes);
    ck_assert_uint_ge(m.peak_bytes, m.live_bytes);
    tear_down(&r);
}
END_TEST

/* Rule: a session that does not fit is refused as a whole, and the context stays usable. */
START_TEST(failed_session_leaves_nothing)
{
    fal_model *model = NULL;
    fal_context *ctx = NULL;
    fal_session *s = NULL;
    fal_error e = { 0 };
    fal_memory m;
    ok(fal_model_open(MODEL, &model, &e), &e);
    ok(cl->open(&(fal_backend_options) { .variant = variants[_i] }, &ctx, &e), &e);
    ck_assert_int_eq(cl->session_open(ctx, model, INT_MAX, &s, &e), FAL_ERR_MEMORY);
    ck_assert_ptr_null(s);
    /* both numbers, and before anything was allocated */
    unsigned long long needs = 0, has = 0;
    const char *tail = strstr(e.message, " needs ");
    ck_assert_msg(tail && sscanf(tail, " needs %llu bytes", &needs) == 1, "%s", e.message);
    tail = strstr(e.message, "which has ");
    ck_assert_msg(tail && sscanf(tail, "which has %llu", &has) == 1 && needs > has, "%s", e.message);
    cl->memory(ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 0);
    ck_assert_uint_eq(m.peak_bytes, 0);
    e = (fal_error) { 0 };
    ck_assert_int_eq(cl->session_open(ctx, model, 0, &s, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ok(cl->session_open(ctx, model, 4, &s, &e), &e);
    const int32_t token = 1;
    int32_t next = -1;
    ok(cl->forward(s, &token, 1, NULL, &next, &e), &e);
    ck_assert(next >= 0 && next < model->config.n_vocab);
    cl->session_close(s);
    cl->close(ctx);
    fal_model_close(model);
}
END_TEST

/* Rule: what no backend computes is refused, changes nothing, and leaves next alone. */
START_TEST(bad_requests_are_refused)
{
    rig r = set_up(_i, 4);
    const int32_t tokens[] = { 1, 2, 3, 4, 5 }, bad[] = { 1, r.config->n_vocab }, negative[] = { -1 };
    int32_t next = -7;
    fal_error e = { 0 };
    ck_assert_int_eq(cl->forward(r.session, tokens, 0, NULL, &next, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ck_assert_int_eq(cl->forward(r.session, tokens, 5, NULL, &next, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ck_assert_int_eq(cl->forward(r.session, bad, 2, NULL, &next, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ck_assert_int_eq(cl->forward(r.session, negative, 1, NULL, &next, &e), FAL_ERR_INPUT);
    ck_assert_int_eq(next, -7);
    e = (fal_error) { 0 };
    ok(cl->forward(r.session, tokens, 4, NULL, &next, &e), &e); /* all four positions are still free */
    ck_assert_int_eq(cl->forward(r.session, tokens, 1, NULL, &next, &e), FAL_ERR_INPUT);
    tear_down(&r);
}
END_TEST

typedef struct {
    uint64_t all, cpu, rmsnorm, moe;
} counts;

static void count(void *user, const char *kernel, uint64_t n)
{
    counts *c = user;
    c->all += n;
    if (strstr(kernel, "__cpu")) c->cpu += n;
    if (strncmp(kernel, "fal_cl_rmsnorm", 14) == 0) c->rmsnorm += n;
    if (strncmp(kernel, "fal_cl_moe_matmul", 17) == 0) c->moe += n;
}

/* Rule: every step of a token runs on the device, in the variant that was asked for. */
START_TEST(all_steps_run_on_the_device)
{
    rig r = set_up(_i, 4);
    const int32_t token = 1;
    int32_t next = -1;
    fal_error e = { 0 };
    counts c = { 0 };
    ok(cl->forward(r.session, &token, 1, NULL, &next, &e), &e);
    cl->launches(r.ctx, count, &c);
    const uint64_t n_layer = (uint64_t)r.config->n_layer;
    ck_assert_uint_eq(c.rmsnorm, 2 * n_layer + 1);
    uint64_t other_v = 0; /* layers whose v is of another type, which takes a launch of its own */
    for (int i = 0; i < r.config->n_layer; i++) other_v += r.model->layers[i].attn_v->type != r.model->layers[i].attn_k->type;
    ck_assert_uint_gt(other_v, 0);
    ck_assert_uint_lt(other_v, n_layer);
    ck_assert_uint_eq(c.moe, 2 * n_layer); /* gate and up in one */
    /* the sites of a layer but expert_weights, and kv_store, which are 22, less 5 that have company; then 4 */
    ck_assert_uint_eq(c.all, 17 * n_layer + other_v + 4);
    ck_assert_uint_eq(c.cpu, _i == 1 ? c.all : 0);
    tear_down(&r);
}
END_TEST

Suite *fal_suite_opencl_forward(void)
{
    Suite *s = suite_create("opencl_forward");
    TCase *c = tcase_create("forward");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, logits_match_the_oracle, 0, 2);
    tcase_add_loop_test(c, tiles_are_near_single_tokens, 0, 2);
    tcase_add_loop_test(c, splitting_a_request_changes_nothing, 0, 2);
    tcase_add_loop_test(c, every_site_is_shown, 0, 2);
    tcase_add_loop_test(c, forced_values_are_used, 0, 2);
    tcase_add_loop_test(c, pinned_experts_are_taken, 0, 2);
    tcase_add_loop_test(c, weights_are_the_files_bytes, 0, 2);
    tcase_add_loop_test(c, failed_session_leaves_nothing, 0, 2);
    tcase_add_loop_test(c, bad_requests_are_refused, 0, 2);
    tcase_add_loop_test(c, all_steps_run_on_the_device, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
