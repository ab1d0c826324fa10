/* Tests of capsules: that a part of a call is the part of the whole, that files come back as they were, and that bad ones
   are refused. */
#include "harness/capsule.h"

#include "harness/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_capsule(void);

/* ---- a call of every op -------------------------------------------------------------------------------------------- */

typedef struct {
    const char *op, *output;
    fal_param shape[8];
    int n_shape;
} call;

#define P(name, v)                                                                                                     \
    {                                                                                                                  \
#name, v, NULL                                                                                                 \
    }
/* clang-format off: tables */
static const call calls[] = {
    { "embed", "y", { P(n_tokens, 5), P(n_embd, 512), P(n_vocab, 9), { "type", 0, "Q4_K" } }, 4 },
    { "rmsnorm", "y", { P(n_tokens, 5), P(n_embd, 64) }, 2 },
    { "matmul", "y", { P(n_tokens, 4), P(n_in, 1024), P(n_out, 7), { "type", 0, "Q4_K" } }, 4 },
    { "matmul", "y", { P(n_tokens, 4), P(n_in, 512), P(n_out, 7), { "type", 0, "Q6_K" } }, 4 },
    { "matmul", "y", { P(n_tokens, 4), P(n_in, 96), P(n_out, 7), { "type", 0, "Q8_0" } }, 4 },
    { "matmul", "y", { P(n_tokens, 4), P(n_in, 6), P(n_out, 7), { "type", 0, "F32" } }, 4 },
    { "qk_norm", "y", { P(n_tokens, 5), P(n_head, 4), P(head_dim, 16) }, 3 },
    { "rope", "y", { P(n_tokens, 6), P(n_head, 4), P(head_dim, 16), P(first_pos, 3), P(n_ctx, 12) }, 5 },
    { "attention",
      "y",
      { P(n_tokens, 6), P(n_head, 6), P(n_head_kv, 3), P(head_dim, 16), P(first_pos, 2), P(n_ctx, 9) },
      6 },
    { "add", "y", { P(n_tokens, 5), P(n_embd, 8) }, 2 },
    { "softmax", "y", { P(n_rows, 5), P(n_cols, 8) }, 2 },
    { "router", "weights", { P(n_tokens, 5), P(n_expert, 8), P(n_expert_used, 3) }, 3 },
    { "moe_matmul",
      "y",
      { P(n_tokens, 4), P(n_expert, 6), P(n_expert_used, 3), P(n_in, 512), P(n_out, 5), { "type", 0, "Q4_K" } },
      6 },
    { "moe_matmul",
      "y",
      { P(n_tokens, 4),
        P(n_expert, 6),
        P(n_expert_used, 3),
        P(n_in, 512),
        P(n_out, 5),
        P(x_per_slot, 1),
        { "type", 0, "Q6_K" } },
      7 },
    { "swiglu", "y", { P(n_rows, 5), P(n_ff, 8) }, 2 },
    { "moe_swiglu",
      "y",
      { P(n_tokens, 4), P(n_expert, 6), P(n_expert_used, 3), P(n_embd, 512), P(n_ff, 5), { "type", 0, "Q4_K" } },
      6 },
    { "moe_sum", "y", { P(n_tokens, 5), P(n_expert_used, 3), P(n_embd, 8) }, 3 },
    { "argmax", "ids", { P(n_rows, 5), P(n_cols, 8) }, 2 },
};
/* clang-format on */
enum { N_CALLS = sizeof calls / sizeof calls[0] };

/* The call as a capsule, its inputs drawn as fixtures are. */
static fal_capsule *make(const call *k)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    const fal_params shape = { k->shape, k->n_shape };
    ck_assert_msg(fal_fixture_make(k->op, &shape, "gauss", 7, NULL, NULL, &f, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(fal_fixture_fill(f, &err), FAL_OK);
    fal_capsule *c = calloc(1, sizeof *c);
    snprintf(c->op, sizeof c->op, "%s", k->op);
    snprintf(c->judge, sizeof c->judge, "rows");
    snprintf(c->output, sizeof c->output, "%s", k->output);
    c->limit = (fal_limit){ .kind = FAL_LIMIT_MAX, .value = 1e-5 };
    c->columns = 1;
    c->seed = 7;
    json_t *params = fal_fixture_params(f);
    const char *name;
    json_t *v;
    json_object_foreach(params, name, v)
    {
        if (strcmp(name, "fill") == 0 || strcmp(name, "freq_base") == 0) continue;
        fal_capsule_value *to = &c->shape[c->n_shape++];
        snprintf(to->name, sizeof to->name, "%s", name);
        if (json_is_string(v))
            snprintf(to->text, sizeof to->text, "%s", json_string_value(v));
        else
            to->number = json_number_value(v);
    }
    json_decref(params);
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    for (int i = 0; i < n; i++)
        if (b[i].is_input) ck_assert(fal_capsule_add(c, b[i].name, b[i].dtype, b[i].n_dims, b[i].ne, b[i].data));
    fal_fixture_free(f);
    return c;
}

/* The judged output of the call by the reference, as float64; *n elements. */
static double *run(const fal_capsule *c, size_t *n)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    fal_context *ctx = NULL;
    fal_param params[FAL_CAPSULE_VALUES];
    const fal_params shape = fal_capsule_params(c->shape, c->n_shape, params);
    ck_assert_msg(fal_fixture_make(c->op, &shape, "gauss", 1, NULL, NULL, &f, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(fal_fixture_fill(f, &err), FAL_OK);
    for (int i = 0; i < c->n_arrays; i++) {
        fal_buffer *b = fal_fixture_buffer(f, c->arrays[i].name);
        ck_assert_uint_eq(b->nbytes, c->arrays[i].nbytes);
        memcpy(b->data, c->arrays[i].data, b->nbytes);
    }
    ck_assert_int_eq(fal_reference_backend.open(NULL, &ctx, &err), FAL_OK);
    ck_assert_msg(fal_fixture_run(f, &fal_reference_backend, ctx, &err) == FAL_OK, "%s", err.message);
    fal_reference_backend.close(ctx);
    const fal_buffer *out = fal_fixture_buffer(f, c->output);
    double *y = calloc(out->n + 1, sizeof *y);
    for (size_t i = 0; i < out->n; i++)
        y[i] = out->dtype == FAL_DTYPE_I32 ? ((int32_t *)out->data)[i] : (double)((float *)out->data)[i];
    *n = out->n;
    fal_fixture_free(f);
    return y;
}

/* Zeroes what an axis of terms drops, so that the whole call has the sum that the cut one has. */
static void silence(fal_capsule *c, char axis, int unit)
{
    const fal_capsule_array *x = fal_capsule_find(c, axis == 's' ? "weights" : "x");
    const size_t width = (size_t)x->ne[x->n_dims - 1], step = axis == 's' ? 1 : (size_t)fal_capsule_unit(c);
    for (size_t r = 0; r < x->nbytes / 4 / width; r++)
        for (size_t i = 0; i < step; i++) ((float *)x->data)[r * width + (size_t)unit * step + i] = 0;
}

static bool sums_over(const fal_capsule *c, char axis)
{
    if (axis == 's') return strcmp(c->op, "moe_sum") == 0;
    return axis == 'c' && (strcmp(c->op, "matmul") == 0 || strcmp(c->op, "moe_matmul") == 0 || strcmp(c->op, "moe_swiglu") == 0);
}

/* Rule: for every op and axis the cut call gives exactly those outputs of the whole call that belong to what was kept. */
START_TEST(a_part_is_part_of_the_whole)
{
    const call *k = &calls[_i];
    int n_axes = 0;
    for (const char *axis = FAL_CAPSULE_AXES; *axis; axis++) {
        fal_capsule *c = make(k);
        const int extent = fal_capsule_extent(c, *axis);
        if (extent < 2) {
            fal_capsule_free(c);
            continue;
        }
        n_axes++;
        /* without the first and without one in the middle; of a range, a run in the middle */
        int keep[64], n = 0;
        const bool range = fal_capsule_is_range(c, *axis);
        for (int i = 1; i < extent && i < 64; i++)
            if (extent == 2 || (range ? i < extent - 1 : i != 2)) keep[n++] = i;
        if (*axis == 'e' || *axis == 'v') { /* all that are used must stay */
            n = 0;
            const fal_capsule_array *ids = fal_capsule_find(c, *axis == 'e' ? "ids" : "tokens");
            for (int i = 0; i < extent; i++)
                for (size_t e = 0; e < ids->nbytes / 4; e++)
                    if (((int32_t *)ids->data)[e] == i) {
                        keep[n++] = i;
                        break;
                    }
        }
        fal_capsule *cut = fal_capsule_cut(c, *axis, keep, n);
        ck_assert_msg(cut != NULL, "%s %c", k->op, *axis);
        ck_assert_int_eq(fal_capsule_extent(cut, *axis), n);
        for (int i = 0; i < n; i++) ck_assert_int_eq((int)fal_capsule_original(cut, *axis, i), keep[i]);
        if (sums_over(c, *axis))
            for (int i = 0; i < extent; i++) {
                bool kept = false;
                for (int e = 0; e < n; e++) kept |= keep[e] == i;
                if (!kept) silence(c, *axis, i);
            }
        size_t n_whole, n_part, at = 0;
        double *whole = run(c, &n_whole), *part = run(cut, &n_part);
        for (size_t i = 0; i < n_whole; i++) {
            const int unit = fal_capsule_unit_of(c, k->output, *axis, i);
            bool kept = unit < 0;
            for (int e = 0; e < n; e++) kept |= keep[e] == unit;
            if (!kept) continue;
            ck_assert_uint_lt(at, n_part);
            const double d = fabs(whole[i] - part[at++]);
            ck_assert_msg(sums_over(c, *axis) ? d < 1e-5 : !(d > 0), "%s axis %c element %zu: off by %g", k->op, *axis,
                          i, d);
        }
        ck_assert_msg(at == n_part, "%s axis %c: %zu of %zu outputs", k->op, *axis, at, n_part);
        free(whole);
        free(part);
        fal_capsule_free(cut);
        fal_capsule_free(c);
    }
    ck_assert_int_ge(n_axes, 1);
}
END_TEST

/* Rule: an expert or token that something points at cannot be dropped. */
START_TEST(ids_keep_what_they_point_at)
{
    fal_capsule *c = make(&calls[12]);
    int32_t *ids = fal_capsule_find(c, "ids")->data;
    int keep[6], n = 0;
    for (int i = 0; i < 6; i++)
        if (i != ids[0]) keep[n++] = i;
    ck_assert_ptr_null(fal_capsule_cut(c, 'e', keep, n));
    ck_assert_ptr_null(fal_capsule_cut(c, 'e', keep, 0));
    ck_assert_ptr_null(fal_capsule_cut(c, 'h', keep, 1)); /* no such axis */
    fal_capsule_free(c);
}
END_TEST

/* Rule: a fixture's call is the call that its capsule makes, and only judgements of one call are taken. */
START_TEST(a_fixture_is_a_call)
{
    fal_fixture *f = NULL;
    fal_error err = { 0 };
    fal_context *ctx = NULL;
    fal_capsule *c = NULL;
    const fal_params shape = { calls[_i].shape, calls[_i].n_shape };
    ck_assert_int_eq(fal_fixture_make(calls[_i].op, &shape, "gauss", 11, NULL, NULL, &f, &err), FAL_OK);
    ck_assert_int_eq(fal_fixture_fill(f, &err), FAL_OK);
    ck_assert_msg(fal_capsule_from_fixture(f, 11, &c, &err) == FAL_OK, "%s", err.message);
    ck_assert_uint_eq(c->seed, 11);
    ck_assert_double_eq(c->columns, 1);
    snprintf(c->output, sizeof c->output, "%s", calls[_i].output);
    size_t n;
    double *y = run(c, &n);
    fal_capsule_free(c); /* borrows, so the fixture's arrays are still there */
    ck_assert_int_eq(fal_reference_backend.open(NULL, &ctx, &err), FAL_OK);
    ck_assert_int_eq(fal_fixture_run(f, &fal_reference_backend, ctx, &err), FAL_OK);
    fal_reference_backend.close(ctx);
    const fal_buffer *out = fal_fixture_buffer(f, calls[_i].output);
    ck_assert_uint_eq(out->n, n);
    for (size_t i = 0; i < n; i++)
        ck_assert(!(fabs(y[i] - (out->dtype == FAL_DTYPE_I32 ? ((int32_t *)out->data)[i]
                                                             : (double)((float *)out->data)[i])) > 0));
    free(y);
    fal_fixture_free(f);
}
END_TEST

START_TEST(only_single_calls_are_kept)
{
    const fal_param x_scale[] = { { "x_scale", 2, NULL } };
    fal_check check = { .judge = "rel_l2", .against = FAL_AGAINST_REFERENCE };
    ck_assert(fal_capsule_is_one_call(&check));
    check.then = (fal_params){ x_scale, 1 };
    ck_assert(!fal_capsule_is_one_call(&check));
    check.then.n_params = 0;
    check.against = FAL_AGAINST_SELF;
    ck_assert(!fal_capsule_is_one_call(&check));
    check.against = FAL_AGAINST_NONE;
    check.again = true;
    ck_assert(!fal_capsule_is_one_call(&check));
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------------------- */

typedef struct {
    char path[64];
    fal_capsule *c;
} kept;

static void keep_file(kept *f, int which)
{
    fal_error err = { 0 };
    snprintf(f->path, sizeof f->path, "/tmp/falsify-check-%d.capsule", (int)getpid());
    f->c = make(&calls[which]);
    if (fal_capsule_extent(f->c, 't') > 1) {
        const int one[] = { 1 };
        fal_capsule *cut = fal_capsule_cut(f->c, 't', one, 1);
        fal_capsule_free(f->c);
        f->c = cut;
    }
    f->c->scale = calloc(1, sizeof *f->c->scale);
    f->c->scale[0] = 2.5f;
    f->c->n_scale = 1;
    f->c->origin = json_pack("{s:s}", "site", "blk.0.q");
    f->c->with[f->c->n_with++] = (fal_capsule_value){ "expect", 0.25, "" };
    f->c->seed = UINT64_MAX;
    ck_assert_msg(fal_capsule_write(f->c, NULL, f->path, &err) == FAL_OK, "%s", err.message);
}

/* Rule: what was written comes back, for every op. */
START_TEST(a_file_comes_back)
{
    kept f;
    fal_capsule *c = NULL;
    fal_error err = { 0 };
    keep_file(&f, _i);
    ck_assert_msg(fal_capsule_open(f.path, &c, NULL, &err) == FAL_OK, "%s", err.message);
    ck_assert_str_eq(c->op, f.c->op);
    ck_assert_str_eq(c->judge, f.c->judge);
    ck_assert_str_eq(c->output, f.c->output);
    ck_assert_double_eq(c->limit.value, f.c->limit.value);
    ck_assert_int_eq(c->n_shape, f.c->n_shape);
    for (int i = 0; i < c->n_shape; i++)
        if (!c->shape[i].text[0]) ck_assert_double_eq(c->shape[i].number, fal_capsule_get(f.c, c->shape[i].name, NAN));
    ck_assert_str_eq(fal_capsule_type(c), fal_capsule_type(f.c));
    ck_assert_int_eq(c->n_arrays, f.c->n_arrays);
    for (int i = 0; i < c->n_arrays; i++) {
        const fal_capsule_array *a = &c->arrays[i], *b = fal_capsule_find(f.c, a->name);
        ck_assert(b && a->nbytes == b->nbytes && memcmp(a->data, b->data, a->nbytes) == 0);
    }
    ck_assert_int_eq(c->n_scale, 1);
    ck_assert_double_eq((double)c->scale[0], 2.5);
    ck_assert_uint_eq(c->seed, UINT64_MAX);
    ck_assert_int_eq(c->n_with, 1);
    ck_assert_double_eq(c->with[0].number, 0.25);
    if (f.c->kept[0]) ck_assert_int_eq((int)fal_capsule_original(c, 't', 0), 1);
    ck_assert_str_eq(json_string_value(json_object_get(c->origin, "site")), "blk.0.q");
    fal_capsule_free(c);
    fal_capsule_free(f.c);
    unlink(f.path);
}
END_TEST

/* A text of the header and what stands there instead; same length, so that the file stays a sound safetensors file. */
static const struct {
    const char *from, *to, *says;
} spoilt[] = {
    { "\\\"op\\\":\\\"matmul\\\"", "\\\"op\\\":\\\"matmux\\\"", "no op is named" },
    { "\\\"op\\\":\\\"matmul\\\"", "\\\"op\\\":\\\"softmx\\\"", "no op is named" },
    { "\\\"format\\\":1", "\\\"format\\\":2", "format" },
    { "\\\"judge\\\":\\\"rows\\\"", "\\\"judge\\\":\\\"nope\\\"", "judge" },
    { "\\\"output\\\":\\\"y\\\"", "\\\"output\\\":\\\"z\\\"", "output" },
    { "{\\\"max\\\"", "{\\\"mix\\\"", "limit" },
    { "\\\"n_out\\\":7", "\\\"n_out\\\":8", "in.w" },
    { "\\\"n_out\\\":7", "\\\"n_out\\\":0", "n_out" },
    { "\\\"n_in\\\":1024.0", "\\\"n_in\\\":1e0099", "n_in" },
    { "\\\"n_in\\\":1024.0", "\\\"n_in\\\":1023.0", "1023" },
    { "\\\"type\\\":\\\"Q4_K\\\"", "\\\"type\\\":\\\"Q9_K\\\"", "type" },
    { "\\\"type\\\":\\\"Q4_K\\\"", "\\\"type\\\":\\\"Q5_K\\\"", "in.w" },
    { "\\\"columns\\\":1.0", "\\\"columns\\\":0.0", "columns" },
    { "\\\"columns\\\":1.0", "\\\"columns\\\":9.0", "columns" },
    { "\\\"seed\\\":\\\"1", "\\\"seed\\\":\\\"x", "seed" },
    { "\\\"kept\\\":{\\\"t\\\":[1]", "\\\"kept\\\":{\\\"q\\\":[1]", "kept" },
    { "\\\"kept\\\":{\\\"t\\\":[1]", "\\\"kept\\\":{\\\"t\\\": 11", "kept" },
    { "\\\"capsule\\\"", "\\\"capsulx\\\"", "no capsule" },
    { "\"in.x\"", "\"in.z\"", "in.x" },
    { "\\\"sha256\\\":{\\\"w", "\\\"sha256\\\":{\\\"v", "sha256" },
};

static void spoil(const char *path, const char *from, const char *to)
{
    FILE *f = fopen(path, "r+b");
    static char text[1 << 16];
    const size_t n = fread(text, 1, sizeof text, f);
    const size_t len = strlen(from) < strlen(to) ? strlen(from) : strlen(to);
    for (size_t i = 0; i + strlen(from) <= n; i++)
        if (memcmp(text + i, from, strlen(from)) == 0) {
            memcpy(text + i, to, len);
            rewind(f);
            ck_assert_uint_eq(fwrite(text, 1, n, f), n);
            fclose(f);
            return;
        }
    fclose(f);
    ck_abort_msg("%s is not in the header", from);
}

/* Rule: whatever stands in a file from elsewhere, it is refused as bad input, with the field, and nothing is made. */
START_TEST(bad_files_are_refused)
{
    kept f;
    fal_capsule *c = NULL;
    fal_error err = { 0 };
    keep_file(&f, 2);
    spoil(f.path, spoilt[_i].from, spoilt[_i].to);
    ck_assert_msg(fal_capsule_open(f.path, &c, NULL, &err) == FAL_ERR_INPUT, "%s: %s", spoilt[_i].to, err.message);
    ck_assert_ptr_null(c);
    ck_assert_msg(strstr(err.message, spoilt[_i].says) != NULL, "%s: %s", spoilt[_i].to, err.message);
    fal_capsule_free(f.c);
    unlink(f.path);
}
END_TEST

/* Rule: a changed byte of a weight is noticed, and so is a file that ends early. */
START_TEST(changed_bytes_are_noticed)
{
    kept f;
    fal_capsule *c = NULL;
    fal_error err = { 0 };
    struct stat sb;
    keep_file(&f, 2);
    fal_observation *o = NULL;
    ck_assert_int_eq(fal_observation_open(f.path, &o, &err), FAL_OK);
    const long at = (long)((const char *)fal_observation_find(o, 0, "in.w")->data - (const char *)o->map);
    fal_observation_close(o);
    FILE *file = fopen(f.path, "r+b");
    fseek(file, at + 100, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, at + 100, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    ck_assert_int_eq(fal_capsule_open(f.path, &c, NULL, &err), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "digest"));
    err = (fal_error){ 0 };
    ck_assert_int_eq(stat(f.path, &sb), 0);
    ck_assert_int_eq(truncate(f.path, sb.st_size / 2), 0);
    ck_assert_int_eq(fal_capsule_open(f.path, &c, NULL, &err), FAL_ERR_INPUT);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_capsule_open("/nonexistent.capsule", &c, NULL, &err), FAL_ERR_INPUT);
    fal_capsule_free(f.c);
    unlink(f.path);
}
END_TEST

/* Rule: a sum that cancels is held against the row it was cut from: rounding cannot pass for a fault, and a fault of the
   row's size still is one. The reference judges itself, so the value is exactly 0 but for what is put into the scale. */
START_TEST(the_reference_never_fails)
{
    fal_bench bench = { .program = FAL_PROGRAM, .tmp = "/tmp", .backend = "reference", .variant = "", .timeout_s = 60 };
    fal_error err = { 0 };
    fal_attempt a;
    ck_assert_msg(fal_bench_open(&bench, &err) == FAL_OK, "%s", err.message);
    fal_capsule *c = make(&calls[_i]);
    fal_capsule_try(&bench, c, &a, NULL);
    ck_assert_msg(a.observed && !a.fails, "%s: %s", c->op, a.reason);
    ck_assert(!(a.value > 0));
    /* ids that point outside are the backend's to refuse, and no answer is no failure */
    fal_capsule_array *ids = NULL;
    for (int i = 0; i < c->n_arrays; i++)
        if (strcmp(c->arrays[i].name, "ids") == 0 || strcmp(c->arrays[i].name, "tokens") == 0) ids = &c->arrays[i];
    if (ids) {
        ((int32_t *)ids->data)[0] = 1000000;
        fal_capsule_try(&bench, c, &a, NULL);
        ck_assert(!a.observed && !a.fails);
        ck_assert_ptr_nonnull(strstr(a.reason, "1000000"));
    }
    fal_capsule_free(c);
    fal_bench_close(&bench);
}
END_TEST

/* Rule: the judgements of what a candidate does beside its answer come back from a file, find nothing in the reference, and
   one that has no output is not asked for one. */
START_TEST(judgements_of_candidates_come_back)
{
    static const char *const judges[] = { "inside", "written" };
    fal_bench bench = { .program = FAL_PROGRAM, .tmp = "/tmp", .backend = "reference", .variant = "", .timeout_s = 60 };
    kept f;
    fal_capsule *c = NULL;
    fal_error err = { 0 };
    fal_attempt a;
    keep_file(&f, 1);
    snprintf(f.c->judge, sizeof f.c->judge, "%s", judges[_i]);
    f.c->output[0] = '\0';
    ck_assert_int_eq(fal_capsule_write(f.c, NULL, f.path, &err), FAL_OK);
    ck_assert_msg(fal_capsule_open(f.path, &c, NULL, &err) == FAL_OK, "%s", err.message);
    ck_assert_str_eq(c->judge, judges[_i]);
    ck_assert_int_eq(fal_bench_open(&bench, &err), FAL_OK);
    fal_capsule_try(&bench, c, &a, NULL);
    ck_assert_msg(a.observed && !a.fails && !(a.value > 0), "%s", a.reason);
    fal_bench_close(&bench);
    fal_capsule_free(c);
    fal_capsule_free(f.c);
    unlink(f.path);
}
END_TEST

/* Rule: a candidate that cannot be had gives no answer, which is no failure, also when it was asked often. */
START_TEST(no_candidate_is_no_answer)
{
    fal_bench bench = { .program = FAL_PROGRAM,
                        .tmp = "/tmp",
                        .backend = "candidate",
                        .variant = "",
                        .candidate = "/nonexistent/k.so",
                        .timeout_s = 60 };
    fal_error err = { 0 };
    fal_attempt a;
    fal_capsule *c = make(&calls[1]);
    snprintf(c->judge, sizeof c->judge, "inside");
    ck_assert_int_eq(fal_bench_open(&bench, &err), FAL_OK);
    for (int i = 0; i < 5; i++) {
        fal_capsule_try(&bench, c, &a, NULL);
        ck_assert(!a.observed && !a.fails);
        ck_assert_msg(strstr(a.reason, "/nonexistent/k.so"), "%s", a.reason);
    }
    fal_bench_close(&bench);
    fal_capsule_free(c);
}
END_TEST

Suite *fal_suite_capsule(void)
{
    Suite *s = suite_create("capsule");
    TCase *t = tcase_create("capsule");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_part_is_part_of_the_whole, 0, N_CALLS);
    tcase_add_test(t, ids_keep_what_they_point_at);
    tcase_add_loop_test(t, a_fixture_is_a_call, 0, N_CALLS);
    tcase_add_test(t, only_single_calls_are_kept);
    tcase_add_loop_test(t, a_file_comes_back, 0, N_CALLS);
    tcase_add_loop_test(t, bad_files_are_refused, 0, (int)(sizeof spoilt / sizeof spoilt[0]));
    tcase_add_test(t, changed_bytes_are_noticed);
    tcase_add_loop_test(t, the_reference_never_fails, 0, N_CALLS);
    tcase_add_loop_test(t, judgements_of_candidates_come_back, 0, 2);
    tcase_add_test(t, no_candidate_is_no_answer);
    suite_add_tcase(s, t);
    return s;
}
