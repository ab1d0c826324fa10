/* Tests of observing in one process: files hold what the backend did, forcing reaches it, refusals are told. */
#include "harness/observe_state.h"
#include "harness/text.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_observe(void);

static const char model_path[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static char folder[64], files[4][96];
static const int32_t prompt_a[] = { 1420, 364, 258, 1919, 472, 72, 1180 }, prompt_b[] = { 42, 17 };
static const int32_t *const prompts[] = { prompt_a, prompt_b, prompt_a };
static const int lengths[] = { 7, 2, 7 };
static const char *const all[] = { "all" };

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/falsify-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int i = 0; i < 4; i++) snprintf(files[i], sizeof files[i], "%s/%d.safetensors", folder, i);
}

static void teardown(void)
{
    for (int i = 0; i < 4; i++) unlink(files[i]);
    ck_assert_msg(rmdir(folder) == 0, "something was left in %s", folder);
}

static fal_spec forward_spec(int n_requests, const char *const *taps, int n_taps, const char *out)
{
    return (fal_spec){ .kind = FAL_OBSERVE_FORWARD,
                       .backend = "reference",
                       .variant = "",
                       .device = "",
                       .model = model_path,
                       .tokens = prompts,
                       .n_tokens = lengths,
                       .n_requests = n_requests,
                       .taps = taps,
                       .n_taps = n_taps,
                       .out = out };
}

static fal_observation *observe(const fal_spec *spec)
{
    fal_error err = { 0 };
    fal_observation *o = NULL;
    ck_assert_msg(fal_observe(spec, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_observation_open(spec->out, &o, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_observation_answers(o, spec, &err) == FAL_OK, "%s", err.message);
    return o;
}

static void expect_error(const fal_spec *spec, fal_status code, const char *must_say)
{
    fal_error err = { 0 };
    ck_assert_int_eq(fal_observe(spec, &err), code);
    ck_assert_msg(strstr(err.message, must_say), "expected '%s' in: %s", must_say, err.message);
    ck_assert_msg(access(spec->out, F_OK) != 0, "a file was written in spite of: %s", err.message);
}

static void expect_equal(const fal_observation *a, int ra, const fal_observation *b, int rb, const char *name)
{
    const fal_obs_tensor *x = fal_observation_find(a, ra, name), *y = fal_observation_find(b, rb, name);
    ck_assert_msg(x && y, "%s is missing", name);
    ck_assert_uint_eq(x->nbytes, y->nbytes);
    ck_assert_msg(memcmp(x->data, y->data, x->nbytes) == 0, "%s differs", name);
}

static const json_t *part(const fal_observation *o, const char *a, const char *b)
{
    const json_t *j = json_object_get(o->about, a);
    return b ? json_object_get(j, b) : j;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

typedef struct {
    float *logits, *attn;
} direct;

static bool direct_wants(void *user, fal_site site, int layer)
{
    (void)user;
    return site == FAL_SITE_logits || (site == FAL_SITE_attn && layer == 2);
}

static fal_status direct_give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    direct *d = user;
    (void)layer;
    (void)err;
    const size_t width = site == FAL_SITE_logits ? 2048 : 512;
    memcpy((site == FAL_SITE_logits ? d->logits : d->attn) + (size_t)first * width, data,
           (size_t)n * width * sizeof(float));
    return FAL_OK;
}

START_TEST(forward_is_what_the_backend_did) /* rule: a file holds the same bits as a direct call */
{
    const char *const taps[] = { "logits", "blk.2.at*n" };
    fal_spec spec = forward_spec(1, taps, 2, files[0]);
    spec.n_greedy = 5;
    fal_observation *o = observe(&spec);
    fal_error err = { 0 };
    fal_model *model = NULL;
    fal_context *ctx = NULL;
    fal_session *session = NULL;
    direct d = { malloc(7 * 2048 * sizeof(float)), malloc(7 * 512 * sizeof(float)) };
    const fal_backend *b = &fal_reference_backend;
    ck_assert_int_eq(fal_model_open(model_path, &model, &err), FAL_OK);
    ck_assert_int_eq(b->open(&(const fal_backend_options){ 0 }, &ctx, &err), FAL_OK);
    ck_assert_int_eq(b->session_open(ctx, model, 16, &session, &err), FAL_OK);
    ck_assert_int_eq(b->reset(session, &err), FAL_OK);
    int32_t next = -1, greedy[5];
    ck_assert_int_eq(b->forward(session, prompt_a, 7,
                                &(const fal_taps){ .user = &d, .wants = direct_wants, .give = direct_give }, &next,
                                &err),
                     FAL_OK);
    for (int i = 0; i < 5; i++) {
        greedy[i] = next;
        ck_assert_int_eq(b->forward(session, &greedy[i], 1, NULL, &next, &err), FAL_OK);
    }
    b->session_close(session);
    b->close(ctx);
    fal_model_close(model);
    ck_assert_mem_eq(fal_observation_find(o, 0, "logits")->data, d.logits, 7 * 2048 * sizeof(float));
    ck_assert_mem_eq(fal_observation_find(o, 0, "blk.2.attn")->data, d.attn, 7 * 512 * sizeof(float));
    ck_assert_mem_eq(fal_observation_find(o, 0, "greedy")->data, greedy, sizeof greedy);
    ck_assert_int_eq(o->n_tensors, 3); /* at*n does not match attn_norm or attn_output */
    ck_assert_int_eq(
        json_integer_value(json_array_get(json_object_get(json_array_get(part(o, "requests", NULL), 0), "greedy"), 4)),
        greedy[4]);
    ck_assert_str_eq(json_string_value(part(o, "ran", "backend")), "reference");
    ck_assert_uint_eq(strlen(json_string_value(part(o, "ran", "model_sha256"))), 64);
    ck_assert_int_eq(json_integer_value(json_object_get(part(o, "ran", "config"), "n_expert")), 16);
    ck_assert_str_eq(json_string_value(part(o, "asked", "kind")), "forward");
    ck_assert_ptr_null(json_object_get(part(o, "asked", NULL), "out"));
    free(d.logits);
    free(d.attn);
    fal_observation_close(o);
}
END_TEST

START_TEST(sequences) /* rule: a request sees nothing of the one before it */
{
    fal_spec spec = forward_spec(3, all, 1, files[0]), one = forward_spec(1, all, 1, files[1]);
    spec.n_greedy = one.n_greedy = 3;
    fal_observation *o = observe(&spec), *p = observe(&one);
    ck_assert_int_eq(o->n_requests, 3);
    char name[32];
    for (int layer = 0; layer < 4; layer++) {
        snprintf(name, sizeof name, "blk.%d.l_out", layer);
        expect_equal(o, 0, o, 2, name);
        expect_equal(o, 2, p, 0, name);
    }
    expect_equal(o, 0, o, 2, "logits");
    expect_equal(o, 0, o, 2, "greedy");
    ck_assert_int_eq(fal_observation_find(o, 1, "logits")->ne[0], 2);
    ck_assert_int_eq(fal_observation_find(o, 0, "blk.3.expert_ids")->dtype, FAL_DTYPE_I32);
    ck_assert_int_eq(fal_observation_find(o, 0, "blk.3.q")->n_dims, 3);
    fal_observation_close(o);
    fal_observation_close(p);
}
END_TEST

START_TEST(decode_rows) /* rule: token by token gives all rows, at the place of their token */
{
    fal_spec whole = forward_spec(1, all, 1, files[0]), single = forward_spec(1, all, 1, files[1]);
    single.decode = true;
    single.n_greedy = whole.n_greedy = 4;
    fal_observation *o = observe(&whole), *p = observe(&single);
    expect_equal(o, 0, p, 0, "embed");
    expect_equal(o, 0, p, 0, "greedy");
    const float *a = fal_observation_find(o, 0, "logits")->data, *b = fal_observation_find(p, 0, "logits")->data;
    double d = 0, n = 0;
    for (size_t i = 0; i < 7 * 2048; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        n += (double)a[i] * (double)a[i];
    }
    ck_assert(sqrt(d / n) <= 1e-5); /* each row in its place; the order of sums may differ */
    ck_assert(json_is_true(part(p, "asked", "decode")));
    fal_observation_close(o);
    fal_observation_close(p);
}
END_TEST

START_TEST(teacher_and_pinned) /* rule: what is fed in reaches every op; the own values change nothing, others do */
{
    fal_spec spec = forward_spec(2, all, 1, files[0]);
    fal_observation *o = observe(&spec);
    fal_spec teacher = spec, pinned = spec;
    teacher.kind = FAL_OBSERVE_TEACHER;
    teacher.inputs = files[0];
    teacher.out = files[1];
    pinned.kind = FAL_OBSERVE_PINNED;
    pinned.pin = files[0];
    pinned.out = files[2];
    fal_observation *t = observe(&teacher), *p = observe(&pinned);
    for (int i = 0; i < o->n_tensors; i++) {
        ck_assert_mem_eq(o->tensors[i].data, t->tensors[i].data, o->tensors[i].nbytes);
        ck_assert_mem_eq(o->tensors[i].data, p->tensors[i].data, o->tensors[i].nbytes);
    }
    fal_observation_close(t);
    fal_observation_close(p);

    /* Other values: layer 1's input is halved, expert 5 is put first; both must show in what follows. */
    fal_observation_writer *w = NULL;
    ck_assert_int_eq(fal_observation_writer_make(files[3], &w, NULL), FAL_OK);
    for (int i = 0; i < o->n_tensors; i++)
        ck_assert_int_eq(fal_observation_declare(w, o->tensors[i].name, o->tensors[i].dtype, o->tensors[i].n_dims,
                                                 o->tensors[i].ne, NULL),
                         FAL_OK);
    for (int i = 0; i < o->n_tensors; i++) {
        const fal_obs_tensor *x = &o->tensors[i];
        float *copy = malloc(x->nbytes);
        memcpy(copy, x->data, x->nbytes);
        for (size_t k = 0; strcmp(x->name, "r0.blk.0.l_out") == 0 && k < x->n; k++) copy[k] *= 0.5f;
        if (strcmp(x->name, "r0.blk.3.expert_ids") == 0) {
            int32_t *ids = (int32_t *)(void *)copy;
            bool there = false;
            for (int k = 0; k < 4; k++) there |= ids[k] == 5;
            ids[0] = there ? ids[0] : 5;
            if (there) ids[0] = ids[1] == 6 || ids[2] == 6 || ids[3] == 6 ? 7 : 6;
        }
        ck_assert_int_eq(fal_observation_put(w, x->name, 0, copy, x->nbytes, NULL), FAL_OK);
        free(copy);
    }
    ck_assert_int_eq(fal_observation_finish(w, o->about, NULL), FAL_OK);
    fal_observation_writer_free(w);
    teacher.inputs = pinned.pin = files[3];
    t = observe(&teacher);
    p = observe(&pinned);
    const fal_obs_tensor *before = fal_observation_find(o, 0, "blk.0.l_out"),
                         *after = fal_observation_find(t, 0, "blk.0.l_out");
    ck_assert_mem_eq(before->data, after->data, before->nbytes); /* what the op itself gave, before the replacement */
    ck_assert(memcmp(fal_observation_find(o, 0, "blk.1.ffn_inp")->data,
                     fal_observation_find(t, 0, "blk.1.ffn_inp")->data, before->nbytes) != 0);
    expect_equal(o, 1, t, 1, "blk.1.ffn_inp");
    fal_observation *q = NULL;
    ck_assert_int_eq(fal_observation_open(files[3], &q, NULL), FAL_OK);
    expect_equal(q, 0, p, 0, "blk.3.expert_ids");
    ck_assert(memcmp(fal_observation_find(o, 0, "logits")->data, fal_observation_find(p, 0, "logits")->data, 2048) !=
              0);
    expect_equal(o, 1, p, 1, "logits");
    fal_observation_close(q);
    fal_observation_close(t);
    fal_observation_close(p);
    fal_observation_close(o);
}
END_TEST

START_TEST(feeding_needs_all) /* rule: what is missing, misshapen or of another prompt is named */
{
    const char *const some[] = { "logits", "blk.[0-2].expert_ids" };
    fal_spec spec = forward_spec(1, some, 2, files[0]);
    fal_observation_close(observe(&spec));
    fal_spec teacher = forward_spec(1, all, 1, files[1]);
    teacher.kind = FAL_OBSERVE_TEACHER;
    expect_error(&teacher, FAL_ERR_USAGE, "inputs");
    teacher.inputs = files[0];
    expect_error(&teacher, FAL_ERR_INPUT, "no tensor 'embed'");
    teacher.inputs = files[2];
    expect_error(&teacher, FAL_ERR_INPUT, "cannot be opened");
    fal_spec pinned = teacher;
    pinned.kind = FAL_OBSERVE_PINNED;
    pinned.pin = files[0];
    expect_error(&pinned, FAL_ERR_INPUT, "no tensor 'blk.3.expert_ids'");
    pinned.n_greedy = 2;
    expect_error(&pinned, FAL_ERR_USAGE, "free-running");
    pinned.n_greedy = 0;
    pinned.tokens = &prompts[1];
    pinned.n_tokens = &lengths[1];
    expect_error(&pinned, FAL_ERR_INPUT, "other tokens");
    pinned.n_requests = 2;
    expect_error(&pinned, FAL_ERR_INPUT, "1 requests, expected 2");

    /* ids out of range must not reach a kernel */
    fal_observation_writer *w = NULL;
    ck_assert_int_eq(fal_observation_writer_make(files[3], &w, NULL), FAL_OK);
    char name[32];
    for (int layer = 0; layer < 4; layer++) {
        snprintf(name, sizeof name, "blk.%d.expert_ids", layer);
        ck_assert_int_eq(fal_observation_declare(w, name, FAL_DTYPE_I32, 2, (const int64_t[]){ 7, 4 }, NULL), FAL_OK);
    }
    for (int layer = 0; layer < 4; layer++) {
        int32_t ids[28];
        for (int i = 0; i < 28; i++) ids[i] = i % 4 + (layer == 2 && i == 27 ? 13 : 0);
        snprintf(name, sizeof name, "blk.%d.expert_ids", layer);
        ck_assert_int_eq(fal_observation_put(w, name, 0, ids, sizeof ids, NULL), FAL_OK);
    }
    json_t *about = json_object();
    ck_assert_int_eq(fal_observation_finish(w, about, NULL), FAL_OK);
    json_decref(about);
    fal_observation_writer_free(w);
    pinned = forward_spec(1, all, 1, files[1]);
    pinned.kind = FAL_OBSERVE_PINNED;
    pinned.pin = files[3];
    expect_error(&pinned, FAL_ERR_INPUT, "blk.2.expert_ids[27] is 16");
}
END_TEST

START_TEST(usage) /* rule: an unknown name is refused with what there is, and no file is left */
{
    const char *const bad_tap[] = { "logits", "blk.4.attn" }, *const no_tap[] = { "none" };
    fal_spec spec = forward_spec(1, bad_tap, 2, files[0]);
    expect_error(&spec, FAL_ERR_USAGE, "'blk.4.attn' matches no site");
    spec = forward_spec(1, no_tap, 1, files[0]);
    spec.backend = "cudda";
    expect_error(&spec, FAL_ERR_USAGE, "no backend is named 'cudda'");
    spec.backend = "reference";
    spec.variant = "turbo";
    expect_error(&spec, FAL_ERR_USAGE, "no variant 'turbo'");
    spec.variant = "";
    spec.model = "/nonexistent.gguf";
    expect_error(&spec, FAL_ERR_INPUT, "/nonexistent.gguf");
    spec.model = model_path;
    spec.n_requests = 0;
    expect_error(&spec, FAL_ERR_USAGE, "prompt");
    spec.n_requests = 1;
    const int32_t token = 2048, *const tokens[] = { &token };
    const int one[] = { 1 };
    spec.tokens = tokens;
    spec.n_tokens = one;
    expect_error(&spec, FAL_ERR_INPUT, "2048");
    spec = forward_spec(1, no_tap, 1, files[0]);
    fal_observation *o = observe(&spec);
    ck_assert_int_eq(o->n_tensors, 0);
    fal_observation_close(o);
    spec.kind = FAL_OBSERVE_REFUSAL;
    spec.spoil = "rotten";
    unlink(files[0]);
    expect_error(&spec, FAL_ERR_USAGE, "'rotten'");
    spec.kind = FAL_OBSERVE_OP;
    spec.op = "rmsnrom";
    spec.seeds = (const uint64_t[]){ 1 };
    spec.n_seeds = 1;
    expect_error(&spec, FAL_ERR_INPUT, "'rmsnrom'");
    spec.n_seeds = 0;
    expect_error(&spec, FAL_ERR_USAGE, "seeds");
}
END_TEST

/* ---- backends that lie ------------------------------------------------------------------------------------------- */

static const char *lie;           /* what the next forward pass does wrong */
static const fal_taps *true_taps; /* what the observer handed in */

static bool lying_wants(void *user, fal_site site, int layer)
{
    const bool hidden = strcmp(lie, "hides a site") == 0 && site == FAL_SITE_attn && layer == 2;
    return true_taps->wants(user, site, layer) && !hidden;
}

static fal_status lying_give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    if (site == FAL_SITE_l_out && layer == 1) {
        if (strcmp(lie, "leaves out the last row") == 0) n--;
        if (strcmp(lie, "gives a row too many") == 0) n++;
        if (strcmp(lie, "gives rows from -1") == 0) first = -1;
        if (strcmp(lie, "gives rows from 1") == 0) first = 1;
        if (strcmp(lie, "gives another layer") == 0) layer = 4;
        if (strcmp(lie, "gives a layer to logits") == 0)
            return true_taps->give(user, FAL_SITE_logits, 0, first, n, data, err);
        if (strcmp(lie, "gives what is not wanted") == 0)
            return true_taps->give(user, FAL_SITE_q_rope, 0, first, n, data, err);
    }
    return true_taps->give(user, site, layer, first, n, data, err);
}

static fal_status lying_forward(fal_session *s, const int32_t *tokens, int n, const fal_taps *taps, int32_t *next,
                                fal_error *err)
{
    fal_taps lying;
    if (taps) {
        true_taps = taps;
        lying = *taps;
        lying.wants = lying_wants;
        lying.give = lying_give;
        if (strcmp(lie, "ignores teacher forcing") == 0) lying.forced = NULL;
        if (strcmp(lie, "ignores pinning") == 0) lying.pinned = NULL;
    }
    int32_t own;
    const fal_status st = fal_reference_backend.forward(s, tokens, n, taps ? &lying : NULL, &own, err);
    if (strcmp(lie, "fails without a word") == 0) return FAL_ERR_DEVICE;
    if (strcmp(lie, "says no next token") != 0) *next = strcmp(lie, "says token 5000") == 0 ? 5000 : own;
    return st;
}

static fal_status observe_lie(const char *what, const fal_spec *spec, fal_error *err)
{
    fal_backend liar = fal_reference_backend;
    fal_observe_state state = { .backend = &liar };
    lie = what;
    liar.forward = lying_forward;
    ck_assert_int_eq(liar.open(&(const fal_backend_options){ 0 }, &state.ctx, err), FAL_OK);
    const fal_status st = fal_observe_forward(&state, spec, err);
    fal_observe_close(&state);
    return st;
}

START_TEST(lies) /* rule: rows that were not delivered, or forcing that was not taken, never pass in silence */
{
    const char *const taps[] = { "logits", "blk.*.attn", "blk.*.l_out", "blk.*.expert_ids" };
    fal_spec spec = forward_spec(1, all, 1, files[0]);
    fal_observation_close(observe(&spec));
    static const struct {
        fal_observe_kind kind;
        const char *lie, *must_say;
    } cases[] = {
        { FAL_OBSERVE_FORWARD, "hides a site", "r0.blk.2.attn" },
        { FAL_OBSERVE_FORWARD, "leaves out the last row", "r0.blk.1.l_out" },
        { FAL_OBSERVE_FORWARD, "gives a row too many", "r0.blk.1.l_out: 8 rows from row 0" },
        { FAL_OBSERVE_FORWARD, "gives rows from -1", "from row -1" },
        { FAL_OBSERVE_FORWARD, "gives rows from 1", "7 rows from row 1" },
        { FAL_OBSERVE_FORWARD, "gives another layer", "does not exist" },
        { FAL_OBSERVE_FORWARD, "gives a layer to logits", "does not exist" },
        { FAL_OBSERVE_FORWARD, "gives what is not wanted", "r0.blk.0.q_rope, which nobody wanted" },
        { FAL_OBSERVE_TEACHER, "ignores teacher forcing", "teacher forcing: took 0 of 7 rows of r0.embed" },
        { FAL_OBSERVE_PINNED, "ignores pinning", "pinned routing: took 0 of 7 rows of layer 0" },
    };
    spec = forward_spec(1, taps, 4, files[1]);
    spec.inputs = spec.pin = files[0];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fal_error err = { 0 };
        spec.kind = cases[i].kind;
        ck_assert_msg(observe_lie(cases[i].lie, &spec, &err) == FAL_ERR_INTERNAL, "%s: %s", cases[i].lie, err.message);
        ck_assert_msg(strstr(err.message, cases[i].must_say), "%s: expected '%s' in: %s", cases[i].lie,
                      cases[i].must_say, err.message);
        ck_assert_int_ne(access(files[1], F_OK), 0);
        ck_assert_msg(observe_lie("", &spec, &err) == FAL_OK, "the honest backend fails as well: %s", err.message);
        unlink(files[1]);
    }
}
END_TEST

START_TEST(impossible_tokens) /* rule: a continuation that leaves the vocabulary is recorded, and not fed on */
{
    fal_spec spec = forward_spec(1, all, 1, files[0]);
    spec.n_greedy = 3;
    static const struct {
        const char *lie;
        int32_t first;
    } cases[] = { { "says token 5000", 5000 }, { "says no next token", INT32_MIN } };
    for (size_t i = 0; i < 2; i++) {
        fal_error err = { 0 };
        fal_observation *o = NULL;
        ck_assert_msg(observe_lie(cases[i].lie, &spec, &err) == FAL_OK, "%s", err.message);
        ck_assert_int_eq(fal_observation_open(files[0], &o, NULL), FAL_OK);
        const int32_t *greedy = fal_observation_find(o, 0, "greedy")->data;
        ck_assert(greedy[0] == cases[i].first && greedy[1] == -1 && greedy[2] == -1);
        fal_observation_close(o);
    }
}
END_TEST

/* ---- the other kinds --------------------------------------------------------------------------------------------- */

START_TEST(op_requests) /* rule: inputs are recorded as given, outputs as they came; then doubles the requests */
{
    const fal_param shape[] = {
        { "n_tokens", 2, NULL }, { "n_in", 256, NULL }, { "n_out", 5, NULL }, { "type", 0, "Q6_K" }
    };
    const fal_param then[] = { { "x_scale", 2, NULL } };
    const uint64_t seeds[] = { 4, UINT64_MAX };
    fal_spec spec = { .kind = FAL_OBSERVE_OP,
                      .backend = "reference",
                      .op = "matmul",
                      .shape = { shape, 4 },
                      .then = { then, 1 },
                      .fill = "gauss",
                      .seeds = seeds,
                      .n_seeds = 2,
                      .out = files[0] };
    fal_observation *o = observe(&spec);
    ck_assert_int_eq(o->n_requests, 4);
    const fal_obs_tensor *w = fal_observation_find(o, 0, "in.w");
    ck_assert_int_eq(w->dtype, FAL_DTYPE_U8);
    ck_assert_int_eq(w->ne[1], 210);
    expect_equal(o, 0, o, 1, "in.w");
    const float *x0 = fal_observation_find(o, 0, "in.x")->data, *x1 = fal_observation_find(o, 1, "in.x")->data;
    const float *y0 = fal_observation_find(o, 0, "out.y")->data, *y1 = fal_observation_find(o, 1, "out.y")->data;
    for (int i = 0; i < 512; i++) ck_assert(x1[i] == 2 * x0[i]);
    for (int i = 0; i < 10; i++) ck_assert(y1[i] == 2 * y0[i]); /* a power of two is exact */
    ck_assert_ptr_null(fal_observation_find(o, 0, "in.y"));
    const json_t *second = json_array_get(part(o, "requests", NULL), 3);
    ck_assert_str_eq(json_string_value(json_object_get(second, "seed")), "18446744073709551615");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(second, "params"), "type")), "Q6_K");
    fal_observation_close(o);
    /* caches are seen as they were and as they became */
    const fal_param cache[] = { { "n_tokens", 1, NULL },
                                { "n_head_kv", 1, NULL },
                                { "head_dim", 4, NULL },
                                { "first_pos", 1, NULL },
                                { "n_ctx", 3, NULL } };
    fal_spec store = { .kind = FAL_OBSERVE_OP,
                       .backend = "reference",
                       .op = "kv_store",
                       .shape = { cache, 5 },
                       .seeds = seeds,
                       .n_seeds = 1,
                       .out = files[1] };
    o = observe(&store);
    const float *before = fal_observation_find(o, 0, "in.k_cache")->data,
                *after = fal_observation_find(o, 0, "out.k_cache")->data;
    const float *k = fal_observation_find(o, 0, "in.k")->data;
    ck_assert_mem_eq(before, after, 16);
    ck_assert_mem_eq(after + 4, k, 16);
    ck_assert_mem_eq(before + 8, after + 8, 16);
    ck_assert(memcmp(before + 4, after + 4, 16) != 0);
    fal_observation_close(o);
}
END_TEST

START_TEST(preload) /* rule: every tensor is read back once, and compared by digest */
{
    const fal_spec spec = { .kind = FAL_OBSERVE_PRELOAD, .backend = "reference", .model = model_path, .out = files[0] };
    fal_observation *o = observe(&spec);
    const json_t *tensors = part(o, "preload", "tensors");
    ck_assert_uint_eq(json_array_size(tensors), 4 * 12 + 3);
    size_t i;
    json_t *t;
    json_int_t bytes = 0;
    json_array_foreach((json_t *)(uintptr_t)tensors, i, t)
    {
        const char *file = json_string_value(json_object_get(t, "file_sha256"));
        ck_assert_uint_eq(strlen(file), 64);
        ck_assert_str_eq(file, json_string_value(json_object_get(t, "device_sha256")));
        ck_assert_int_eq(json_integer_value(json_object_get(t, "uploads")), 1);
        bytes += json_integer_value(json_object_get(t, "nbytes"));
    }
    ck_assert_int_eq(bytes, json_integer_value(part(o, "preload", "tensor_bytes")));
    ck_assert_int_eq(json_integer_value(part(o, "preload", "live_bytes_after_close")), 0);
    ck_assert(json_integer_value(part(o, "memory", "kv_bytes")) > 0);
    fal_observation_close(o);
}
END_TEST

static const char *const spoils[] = { "arch",
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
                                      "shape_zero" };

START_TEST(refusal) /* rule: each fault is refused for its own reason, as bad input, and leaves nothing behind */
{
    static const char *const reasons[] = { "llama",
                                           "blk.0.ffn_gate.weight",
                                           "blk.0.attn_q_norm",
                                           "blk.0.attn_k.weight",
                                           "",
                                           "blk.0.attn_q.weight",
                                           "block_count",
                                           "expert_used_count",
                                           "expert_count",
                                           "token",
                                           "-1",
                                           "2048",
                                           "",
                                           "expert",
                                           "" };
    const fal_spec spec = {
        .kind = FAL_OBSERVE_REFUSAL, .backend = "reference", .model = model_path, .spoil = spoils[_i], .out = files[0]
    };
    fal_observation *o = observe(&spec);
    const char *message = json_string_value(part(o, "refusal", "message"));
    ck_assert_msg(json_is_true(part(o, "refusal", "refused")), "%s: %s", spoils[_i], message);
    ck_assert_str_eq(json_string_value(part(o, "refusal", "code")), "input");
    ck_assert_msg(strstr(message, reasons[_i]), "%s: expected '%s' in: %s", spoils[_i], reasons[_i], message);
    ck_assert_int_eq(json_integer_value(part(o, "refusal", "live_bytes_before")),
                     json_integer_value(part(o, "refusal", "live_bytes_after")));
    ck_assert_int_eq(json_integer_value(part(o, "refusal", "n_tried")),
                     json_integer_value(part(o, "refusal", "n_refused")));
    fal_observation_close(o);
}
END_TEST

START_TEST(spec_round_trip) /* rule: a spec that travels to the observer arrives whole; nothing unknown gets in */
{
    const fal_param shape[] = { { "n_tokens", 3, NULL }, { "type", 0, "Q4_K" } }, with[] = { { "eps", 1e-6, NULL } },
                    then[] = { { "x_scale", -0.1, NULL } };
    const char *const taps[] = { "logits", "blk.*.attn" };
    const uint64_t seeds[] = { 0, UINT64_MAX };
    const fal_spec spec = { .kind = FAL_OBSERVE_PINNED,
                            .backend = "opencl",
                            .variant = "cpu",
                            .device = "1",
                            .model = "m.gguf",
                            .tokens = prompts,
                            .n_tokens = lengths,
                            .n_requests = 3,
                            .n_greedy = 4,
                            .decode = true,
                            .taps = taps,
                            .n_taps = 2,
                            .inputs = "i",
                            .pin = "p",
                            .op = "add",
                            .shape = { shape, 2 },
                            .with = { with, 1 },
                            .then = { then, 1 },
                            .fill = "ties",
                            .seeds = seeds,
                            .n_seeds = 2,
                            .spoil = "arch",
                            .out = "o" };
    json_t *j = fal_spec_to_json(&spec);
    fal_spec_box *box = NULL;
    const fal_spec *back = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_spec_from_json(j, &box, &back, &err) == FAL_OK, "%s", err.message);
    json_t *again = fal_spec_to_json(back);
    ck_assert(json_equal(j, again));
    ck_assert_int_eq(back->n_requests, 3);
    ck_assert_mem_eq(back->tokens[2], prompt_a, sizeof prompt_a);
    ck_assert_uint_eq(back->seeds[1], UINT64_MAX);
    ck_assert(back->then.params[0].number == -0.1 && back->with.params[0].number == 1e-6 && back->decode);
    ck_assert_str_eq(back->shape.params[1].text, "Q4_K");
    json_decref(again);
    fal_spec_free(box);
    json_decref(j);
    static const char *const bad[] = { "[]",
                                       "{}",
                                       "{\"kind\":\"foward\"}",
                                       "{\"kind\":\"op\",\"colour\":1}",
                                       "{\"kind\":\"op\",\"seeds\":[-1]}",
                                       "{\"kind\":\"op\",\"seeds\":[\"18446744073709551616\"]}",
                                       "{\"kind\":\"op\",\"seeds\":[1.5]}",
                                       "{\"kind\":\"forward\",\"requests\":[[4294967296]]}",
                                       "{\"kind\":\"forward\",\"requests\":[7]}",
                                       "{\"kind\":\"forward\",\"taps\":[1]}",
                                       "{\"kind\":\"op\",\"shape\":{\"n\":[]}}",
                                       "{\"kind\":\"op\",\"shape\":[]}",
                                       "{\"kind\":\"forward\",\"n_greedy\":-1}",
                                       "{\"kind\":\"forward\",\"decode\":1}",
                                       "{\"kind\":7}" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        j = json_loads(bad[i], 0, NULL);
        ck_assert_ptr_nonnull(j);
        ck_assert_msg(fal_spec_from_json(j, &box, &back, NULL) == FAL_ERR_INPUT, "accepted: %s", bad[i]);
        json_decref(j);
    }
    const fal_param nan[] = { { "x_scale", (double)NAN, NULL } };
    const fal_spec unsayable = { .kind = FAL_OBSERVE_OP, .shape = { nan, 1 } };
    ck_assert_ptr_null(fal_spec_to_json(&unsayable));
}
END_TEST

START_TEST(answers) /* rule: a file of another spec is no answer */
{
    const char *const few[] = { "logits" };
    const fal_spec spec = forward_spec(1, few, 1, files[0]);
    fal_observation *o = observe(&spec);
    const struct {
        const char *backend, *variant;
        int n_requests, n_greedy;
        const char *const *taps;
        const char *must_say;
    } others[] = {
        { "opencl", "", 1, 0, few, "backend" },       { "reference", "cpu", 1, 0, few, "variant" },
        { "reference", "", 2, 0, few, "requests" },   { "reference", "", 1, 2, few, "greedy" },
        { "reference", "", 1, 0, all, "is missing" },
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        fal_spec other = spec;
        fal_error err = { 0 };
        other.backend = others[i].backend;
        other.variant = others[i].variant;
        other.n_requests = others[i].n_requests;
        other.n_greedy = others[i].n_greedy;
        other.taps = others[i].taps;
        ck_assert_int_eq(fal_observation_answers(o, &other, &err), FAL_ERR_INPUT);
        ck_assert_msg(strstr(err.message, others[i].must_say), "expected '%s' in: %s", others[i].must_say, err.message);
    }
    fal_spec longer = spec;
    const int eight[] = { 8 };
    longer.n_tokens = eight;
    ck_assert_int_eq(fal_observation_answers(o, &longer, NULL), FAL_ERR_INPUT);
    fal_spec preloaded = spec;
    preloaded.kind = FAL_OBSERVE_PRELOAD;
    ck_assert_int_eq(fal_observation_answers(o, &preloaded, NULL), FAL_ERR_INPUT);
    fal_observation_close(o);
}
END_TEST

START_TEST(serving) /* rule: one answer line per spec line, good or bad, in a process that keeps its model */
{
    const fal_spec spec = forward_spec(1, all, 1, files[0]), other = forward_spec(3, all, 1, files[1]);
    char *lines[5] = { NULL, strdup("{\"kind\":"), NULL, strdup("{\"kind\":\"op\",\"backend\":\"none\",\"out\":\"x\"}"),
                       NULL };
    const fal_spec *const specs[5] = { &spec, NULL, &other, NULL, &spec };
    fal_text in = { 0 };
    for (int i = 0; i < 5; i++) {
        json_t *j = specs[i] ? fal_spec_to_json(specs[i]) : NULL;
        if (j) lines[i] = json_dumps(j, JSON_COMPACT);
        json_decref(j);
        fal_text_addf(&in, "%s\n", lines[i]);
        free(lines[i]);
    }
    char *answered = NULL;
    size_t n = 0;
    FILE *from = fmemopen(in.data, in.len, "r"), *to = open_memstream(&answered, &n);
    ck_assert_int_eq(fal_observe_serve(from, to, NULL), FAL_OK);
    fclose(from);
    fclose(to);
    static const char *const status[5] = { "ok", "input", "ok", "usage", "ok" };
    char *rest = answered;
    for (int i = 0; i < 5; i++) {
        char *line = strsep(&rest, "\n");
        json_t *j = json_loads(line, 0, NULL);
        ck_assert_msg(j != NULL, "no JSON: %s", line);
        ck_assert_str_eq(json_string_value(json_object_get(j, "status")), status[i]);
        json_decref(j);
    }
    ck_assert_str_eq(rest, "");
    free(answered);
    fal_text_free(&in);
    fal_observation *o = NULL, *p = NULL;
    ck_assert_int_eq(fal_observation_open(files[0], &o, NULL), FAL_OK);
    ck_assert_int_eq(fal_observation_open(files[1], &p, NULL), FAL_OK);
    expect_equal(o, 0, p, 2, "logits");
    fal_observation_close(o);
    fal_observation_close(p);
}
END_TEST

Suite *fal_suite_observe(void)
{
    Suite *s = suite_create("observe");
    TCase *t = tcase_create("observe");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, forward_is_what_the_backend_did);
    tcase_add_test(t, sequences);
    tcase_add_test(t, decode_rows);
    tcase_add_test(t, teacher_and_pinned);
    tcase_add_test(t, feeding_needs_all);
    tcase_add_test(t, usage);
    tcase_add_test(t, lies);
    tcase_add_test(t, impossible_tokens);
    tcase_add_test(t, op_requests);
    tcase_add_test(t, preload);
    tcase_add_loop_test(t, refusal, 0, (int)(sizeof spoils / sizeof spoils[0]));
    tcase_add_test(t, spec_round_trip);
    tcase_add_test(t, answers);
    tcase_add_test(t, serving);
    suite_add_tcase(s, t);
    return s;
}
