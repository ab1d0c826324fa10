/* Tests of the catalogue of mutants: texts that match once, faults that do what they say, and only that. */
#include "falsifiers/mutant_hooks.h"
#include "falsifiers/unit/forward_rig.h"
#include "opencl/device.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_mutant(void);

/* ---- the catalogue ------------------------------------------------------------------------------------------------ */

/* Rule: at least 40 faults, each with one place, a falsifier that names it, and, when equivalent, a reason. */
START_TEST(catalogue_is_whole)
{
    int n, n_sources = 0, n_fused = 0;
    const fal_mutant *all = fal_mutant_all(&n);
    ck_assert_int_ge(n, 40);
    for (int i = 0; i < n; i++) {
        const fal_mutant *m = &all[i];
        const bool source = m->from != NULL, calls = m->before || m->after, flows = m->flow != NULL, lies = m->lie != FAL_LIE_NONE;
        ck_assert_msg(m->what && strlen(m->what) > 10, "%s says nothing", m->id);
        ck_assert_msg(m->named_by && m->named_by[0] == 'F', "%s is named by nobody", m->id);
        ck_assert_msg(source + lies + (calls || flows) == 1, "%s is planted in several places or none", m->id);
        ck_assert_msg(!source || (fal_mutant_module(m) && m->to && strcmp(m->from, m->to) != 0), "%s changes nothing", m->id);
        const bool fused = m->variant && strncmp(m->variant, "fast", 4) == 0;
        ck_assert_msg(!m->module == !fused && (!m->module || source), "%s: module and variant are not of the fused path together", m->id);
        ck_assert_msg(!m->module || !m->file || strcmp(m->file, "decode") == 0, "%s: %s.cuh is not what modules are written with", m->id, m->file);
        ck_assert_msg(!m->of_prompt || m->module, "%s: only kernels of the fused path are for a prompt alone", m->id);
        ck_assert_msg(!calls || m->op, "%s changes calls of no operation", m->id);
        ck_assert_msg(flows == (m->at != 0), "%s flows nowhere", m->id);
        const char *barrier = m->module ? "__syncthreads" : "barrier";
        ck_assert_msg(!m->by_chance || (source && strstr(m->from, barrier) && !strstr(m->to, barrier)), "%s is no race", m->id);
        ck_assert_msg(!m->seen_by || m->equivalent, "%s is no equivalent", m->id);
        ck_assert_msg(!m->equivalent || strlen(m->equivalent) > 20, "%s has no reason", m->id);
        ck_assert_msg(strlen(m->id) < 64 && strspn(m->id, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(m->id), "%s is no name", m->id);
        ck_assert_ptr_eq(fal_mutant_find(m->id), m); /* ids are unique */
        n_sources += source && !m->module;
        n_fused += fused;
    }
    ck_assert_int_ge(n_sources, 40);
    ck_assert_int_ge(n_fused, 20);
    ck_assert_ptr_null(fal_mutant_find("no_such_mutant"));
}
END_TEST

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s is not there", path);
    char *text = calloc(1, 1 << 20);
    ck_assert_ptr_nonnull(text);
    *n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

/* Rule: every pattern stands once in each source that has it, and the text with the fault differs there alone. */
START_TEST(every_pattern_matches_once)
{
    int n;
    const fal_mutant *all = fal_mutant_all(&n);
    for (int i = 0; i < n; i++) {
        const fal_mutant *m = &all[i];
        for (int cuda = 0; fal_mutant_is_source(m) && cuda < 2; cuda++) {
            if (!fal_mutant_fits(m, cuda ? "cuda" : "opencl")) continue;
            const char *name = m->file ? m->file : fal_mutant_module(m);
            char path[128], *out = NULL, *text = NULL;
            size_t length = 0, n_out = 0, same = 0;
            fal_error err = { 0 };
            snprintf(path, sizeof path, cuda ? "cuda/%s.%s" : "opencl/%s.cl", name, m->file ? "cuh" : "cu");
            text = read_all(path, &length);
            if (!cuda) { /* what the program carries is what is in the folder */
                size_t n_cl = 0;
                const char *cl = fal_cl_text(name, &n_cl);
                ck_assert_msg(cl && n_cl == length && memcmp(cl, text, length) == 0, "%s is not what was built", path);
            }
            ck_assert_msg(fal_mutant_apply(m, cuda, text, length, &out, &n_out, &err) == FAL_OK, "%s", err.message);
            while (same < length && same < n_out && text[same] == out[same]) same++;
            ck_assert_msg(same < length, "%s changes nothing in %s", m->id, path);
            const char *from = cuda && m->cu_from ? m->cu_from : m->from, *to = cuda && m->cu_to ? m->cu_to : m->to;
            if (!cuda || m->module) ck_assert_msg(n_out + strlen(from) == length + strlen(to), "%s changes more than its text", m->id);
            free(out);
            free(text);
        }
    }
}
END_TEST

/* Rule: a pattern that is gone, or stands twice, is an error that says so, never a mutant that is skipped. */
START_TEST(other_texts_are_refused)
{
    const fal_mutant *m = fal_mutant_find("residual_dropped");
    const char *const texts[] = { "", "y[i] = a[i] - b[i];", "y[i] = a[i] + b[i]; y[i] = a[i] + b[i];" }, *const says[] = { "0 times", "0 times", "2 times" };
    for (int i = 0; i < 3; i++) {
        char *out = NULL;
        size_t n = 0;
        fal_error err = { 0 };
        ck_assert_int_eq(fal_mutant_apply(m, false, texts[i], strlen(texts[i]), &out, &n, &err), FAL_ERR_INPUT);
        ck_assert_msg(strstr(err.message, says[i]) && strstr(err.message, m->id), "%s", err.message);
        ck_assert_ptr_null(out);
    }
    char *out = NULL;
    size_t n = 0;
    ck_assert_int_eq(fal_mutant_apply(m, false, "{y[i] = a[i] + b[i];}", 21, &out, &n, NULL), FAL_OK);
    ck_assert_msg(n == 14 && memcmp(out, "{y[i] = b[i];}", n) == 0, "%.*s", (int)n, out);
    free(out);
}
END_TEST

/* ---- calls, on the reference -------------------------------------------------------------------------------------- */

typedef struct {
    const fal_backend *table;
    fal_context *ctx;
} opened;

static opened open_mutant(const char *id)
{
    opened o = { 0 };
    fal_error err = { 0 };
    const fal_backend_options options = { .device = "", .variant = "" };
    ck_assert_msg(fal_mutant_open(id, NULL, &fal_reference_backend, &options, &o.table, &o.ctx, &err) == FAL_OK, "%s", err.message);
    ck_assert_str_eq(o.table->name, "reference");
    return o;
}

static void add(const opened *o, float *y)
{
    static const float a[] = { 1, 2, 3, 4, 5, 6 }, b[] = { 10, 20, 30, 40, 50, 60 };
    const fal_add_args args = { .n_tokens = 2, .n_embd = 3, .a = a, .b = b, .y = y };
    fal_error err = { 0 };
    ck_assert_msg(o->table->add(o->ctx, &args, &err) == FAL_OK, "%s", err.message);
}

static const struct {
    const char *id;
    float y[6];
} calls[] = {
    { "all_zeros", { 0, 0, 0, 0, 0, 0 } },
    { "not_written", { -7, -7, -7, -7, -7, -7 } },
    { "tail_not_written", { 11, 22, 33, 44, 55, -7 } },
    { "inf_in_one_element", { 11, 22, 33, INFINITY, 55, 66 } },
    { "rows_exchanged", { 44, 55, 66, 11, 22, 33 } },
    { "eps_ten_times", { 11, 22, 33, 44, 55, 66 } }, /* of another operation: this one is right */
    { "k_goes_on_as_v", { 11, 22, 33, 44, 55, 66 } },
};

/* Rule: a fault at the border changes outputs as it says, and nothing of other operations. */
START_TEST(calls_have_their_fault)
{
    const opened o = open_mutant(calls[_i].id);
    float y[6] = { -7, -7, -7, -7, -7, -7 };
    add(&o, y);
    for (int i = 0; i < 6; i++) ck_assert_msg(y[i] == calls[_i].y[i], "%s: y[%d] is %g", calls[_i].id, i, (double)y[i]);
    o.table->close(o.ctx);
}
END_TEST

/* Rule: the answer of the call before is the true one of the call before, from the second call on. */
START_TEST(stale_answers_are_those_of_before)
{
    const opened o = open_mutant("answer_of_before");
    float y[6], x[] = { 0, 0, 0, 0, 0, 0 };
    add(&o, y);
    ck_assert(y[0] == 11 && y[5] == 66);
    const fal_add_args zero = { .n_tokens = 2, .n_embd = 3, .a = x, .b = x, .y = y };
    ck_assert_int_eq(o.table->add(o.ctx, &zero, NULL), FAL_OK);
    ck_assert(y[0] == 11 && y[5] == 66);
    ck_assert_int_eq(o.table->add(o.ctx, &zero, NULL), FAL_OK);
    ck_assert(y[0] == 0 && y[5] == 0);
    o.table->close(o.ctx);
}
END_TEST

/* Rule: a call that must be refused still is, unless accepting it is the fault. */
START_TEST(refusals_stay)
{
    const char *const ids[] = { "nan_in_one_element", "accepts_anything" };
    for (int i = 0; i < 2; i++) {
        const opened o = open_mutant(ids[i]);
        float y[6] = { 0 };
        fal_error err = { 0 };
        const fal_add_args args = { .n_tokens = 0, .n_embd = 3, .a = y, .b = y, .y = y };
        ck_assert_int_eq(o.table->add(o.ctx, &args, &err), i ? FAL_OK : FAL_ERR_INPUT);
        ck_assert_int_eq(err.code, i ? FAL_OK : FAL_ERR_INPUT);
        o.table->close(o.ctx);
    }
    const fal_backend *table = NULL;
    fal_context *ctx = NULL;
    const fal_backend_options options = { 0 };
    fal_error err = { 0 };
    ck_assert_int_eq(fal_mutant_open("no_such", NULL, &fal_reference_backend, &options, &table, &ctx, &err), FAL_ERR_USAGE);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_mutant_open("residual_dropped", NULL, &fal_reference_backend, &options, &table, &ctx, &err), FAL_ERR_USAGE);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_mutant_open("fused_scale_missing", NULL, &fal_opencl_backend, &options, &table, &ctx, &err), FAL_ERR_USAGE);
    ck_assert_msg(strstr(err.message, "fused_scale_missing") && strstr(err.message, "opencl"), "%s", err.message);
    ck_assert(fal_mutant_fits(fal_mutant_find("fused_scale_missing"), "cuda"));
}
END_TEST

/* ---- forward passes, on the reference ----------------------------------------------------------------------------- */

static const int32_t prompt[] = { 1420, 364, 258, 12, 700 };
enum { N_PROMPT = sizeof prompt / sizeof prompt[0] };

/* A pass through a mutant, with everything recorded. */
static fal_recorder pass(const char *id, const fal_rig *g)
{
    fal_recorder r = fal_recorder_make(g->config, N_PROMPT);
    fal_recorder_want_all(&r);
    const opened o = open_mutant(id);
    fal_session *session = NULL;
    fal_error err = { 0 };
    ck_assert_msg(o.table->session_open(o.ctx, g->model, 16, &session, &err) == FAL_OK, "%s", err.message);
    const fal_taps taps = fal_recorder_taps(&r);
    int32_t next = -1;
    ck_assert_msg(o.table->forward(session, prompt, N_PROMPT, &taps, &next, &err) == FAL_OK, "%s", err.message);
    o.table->session_close(session);
    o.table->close(o.ctx);
    return r;
}

static double distance(const fal_recorder *a, const fal_recorder *b, fal_site site, int layer)
{
    const float *x = fal_recorder_f32(a, site, layer), *y = fal_recorder_f32(b, site, layer);
    const size_t n = (size_t)a->n_tokens * fal_rig_row_bytes(a->config, (int)site) / 4;
    double difference = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        length += (double)y[i] * (double)y[i];
    }
    return sqrt(difference / length);
}

static const struct {
    const char *id;
    fal_site shown; /* site of layer 0 (or of the model) that shows the fault, or FAL_N_SITES */
    fal_site right; /* site up to which all is as it should be */
    bool logits_change;
} flows[] = {
    { "rope_plus_one_on_both", FAL_SITE_q_rope, FAL_SITE_k_norm, false },
    { "softmax_after_top_k", FAL_N_SITES, FAL_SITE_expert_ids, false },
    { "order_of_sum_reversed", FAL_N_SITES, FAL_SITE_moe_down, false },
    { "rope_plus_one_on_q", FAL_SITE_q_rope, FAL_SITE_k_norm, true },
    { "rope_base_1e4", FAL_SITE_q_rope, FAL_SITE_k_norm, true },
    { "stale_kv_slot", FAL_SITE_attn, FAL_SITE_k_rope, true },
    { "k_goes_on_as_v", FAL_SITE_attn, FAL_SITE_k_rope, true },
    { "residual_of_moe_dropped", FAL_SITE_l_out, FAL_SITE_moe_out, true },
    { "weights_not_renormalised", FAL_SITE_expert_weights, FAL_SITE_expert_ids, true },
    { "final_norm_skipped", FAL_SITE_final_norm, FAL_SITE_l_out, true },
    { "logits_of_previous_position", FAL_SITE_logits, FAL_SITE_final_norm, true },
    { "logits_scaled_by_1_02", FAL_SITE_logits, FAL_SITE_final_norm, true },
    { "best_two_exchanged", FAL_SITE_logits, FAL_SITE_final_norm, true },
};

/* Rule: a fault in the flow shows from its own place on and not before; an equivalent one leaves the logits alone. */
START_TEST(flows_have_their_fault)
{
    fal_rig g = fal_rig_open(16);
    fal_recorder want = fal_recorder_make(g.config, N_PROMPT);
    fal_recorder_want_all(&want);
    fal_rig_run(&g, &want, prompt, N_PROMPT);
    fal_recorder got = pass(flows[_i].id, &g);
    for (int site = 0; site <= (int)flows[_i].right; site++) fal_recorder_same(&got, &want, site, 0);
    if (flows[_i].shown < FAL_N_SITES) ck_assert_msg(distance(&got, &want, flows[_i].shown, 0) > 1e-4, "%s does not show", flows[_i].id);
    const double d = distance(&got, &want, FAL_SITE_logits, 0);
    ck_assert_msg(flows[_i].logits_change ? d > 1e-3 : d < 1e-5, "%s: logits move by %g", flows[_i].id, d);
    fal_recorder_free(&got);
    fal_recorder_free(&want);
    fal_rig_close(&g);
}
END_TEST

/* ---- what a backend says of itself -------------------------------------------------------------------------------- */

START_TEST(lies_are_told)
{
    fal_rig g = fal_rig_open(16);
    const char *const ids[] = { "uploads_twice", "one_bit_on_device" };
    for (int k = 0; k < 2; k++) {
        const opened o = open_mutant(ids[k]);
        fal_session *s = NULL;
        fal_error err = { 0 };
        int n_wrong = 0;
        ck_assert_int_eq(o.table->session_open(o.ctx, g.model, 16, &s, &err), FAL_OK);
        for (int i = 0; i < g.model->n_tensors; i++) {
            const fal_tensor *t = g.model->tensors[i];
            unsigned char *data = malloc(t->nbytes);
            int uploads = -1;
            ck_assert_int_eq(o.table->read_tensor(s, i, data, &uploads, &err), FAL_OK);
            n_wrong += k == 0 ? uploads != 1 : memcmp(data, t->data, t->nbytes) != 0;
            free(data);
        }
        ck_assert_int_eq(n_wrong, 1);
        o.table->session_close(s);
        o.table->close(o.ctx);
    }
    const opened o = open_mutant("leaks_when_refusing");
    fal_memory before, after;
    o.table->memory(o.ctx, &before);
    o.table->memory(o.ctx, &after);
    ck_assert_uint_gt(after.live_bytes, before.live_bytes);
    o.table->close(o.ctx);
    fal_rig_close(&g);
}
END_TEST

/* ---- sources for nvcc --------------------------------------------------------------------------------------------- */

START_TEST(cuda_sources_are_written)
{
    char dir[] = "/tmp/falsify-check-XXXXXX", path[200], list[1 << 14] = "";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    FILE *f = fmemopen(list, sizeof list, "w");
    fal_error err = { 0 };
    int n = 0, n_all, n_fit = 0;
    ck_assert_msg(fal_mutant_write_cuda(".", dir, f, &n, &err) == FAL_OK, "%s", err.message);
    fclose(f);
    const fal_mutant *all = fal_mutant_all(&n_all);
    for (int i = 0; i < n_all; i++) {
        if (!fal_mutant_is_source(&all[i]) || !fal_mutant_fits(&all[i], "cuda")) continue;
        n_fit++;
        snprintf(path, sizeof path, "%s %s\n", all[i].id, fal_mutant_module(&all[i]));
        ck_assert_msg(strstr(list, path) != NULL, "%s is not listed", all[i].id);
        const char *const ends[] = { "cu", "cuh" }, *header = all[i].module ? "decode" : "quant";
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%s/%s.%s", dir, all[i].id, k ? header : fal_mutant_module(&all[i]), ends[k]);
            ck_assert_msg(unlink(path) == 0, "%s is not there", path);
        }
        snprintf(path, sizeof path, "%s/%s", dir, all[i].id);
        ck_assert_int_eq(rmdir(path), 0);
    }
    ck_assert_int_eq(n, n_fit);
    ck_assert_int_eq(rmdir(dir), 0);
    err = (fal_error){ 0 };
    f = fmemopen(list, sizeof list, "w");
    ck_assert_int_eq(fal_mutant_write_cuda("/no/such/root", "/tmp", f, &n, &err), FAL_ERR_INPUT);
    fclose(f);
}
END_TEST

Suite *fal_suite_mutant(void)
{
    Suite *s = suite_create("mutant");
    TCase *t = tcase_create("catalogue");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, catalogue_is_whole);
    tcase_add_test(t, every_pattern_matches_once);
    tcase_add_test(t, other_texts_are_refused);
    tcase_add_test(t, cuda_sources_are_written);
    tcase_add_loop_test(t, calls_have_their_fault, 0, sizeof calls / sizeof calls[0]);
    tcase_add_test(t, stale_answers_are_those_of_before);
    tcase_add_test(t, refusals_stay);
    tcase_add_loop_test(t, flows_have_their_fault, 0, sizeof flows / sizeof flows[0]);
    tcase_add_test(t, lies_are_told);
    suite_add_tcase(s, t);
    return s;
}
