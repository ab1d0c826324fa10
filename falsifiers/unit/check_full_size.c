/* Tests of plans for a model of full size: prompts and limits of its own, one case where an oracle is missing, observations
   grouped by who makes them; and of heavy cases, which are run when they are asked for. */
#include "falsifiers/unit/gguf_builder.h"
#include "harness/plan.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_full_size(void);

static const char small_model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static const int32_t ids[] = { 1, 2, 3 };
static const fal_prompt prompts[] = { { .name = "own", .tokens = ids, .n_tokens = 3 },
                                      { .name = "longer", .tokens = ids, .n_tokens = 2 },
                                      { .name = "truth", .from_oracle = "p0" },
                                      { .name = "truth1", .from_oracle = "p1" } };
static const char *const truths[] = { "truth", "truth1" }, *const own[] = { "own", "longer" };
static const char *const gauss[] = { "gauss" }, *const both[] = { "opencl", "cuda" };
static const fal_param dims[] = { { "n_tokens", 1, NULL }, { "n_embd", 32, NULL } };
static const fal_params shape[] = { { dims, 2 } };
static const uint64_t seeds[] = { 1 };
#define FORWARD(NAME, OBSERVE, AGAINST, ...)                                                                           \
    { .name = NAME, .observe = OBSERVE, .judge = "rel_l2", .against = AGAINST,                                         \
      .limit = { FAL_LIMIT_MAX, 1e-6, false, 0, "made up" }, .backends = both, .n_backends = 2, .prompts = truths,     \
      .n_prompts = 2, __VA_ARGS__ }
static const fal_check checks[] = {
    FORWARD("logits", FAL_OBSERVE_FORWARD, FAL_AGAINST_REFERENCE, .prompts_full_size = own, .n_prompts_full_size = 2,
            .has_limit_full_size = true, .limit_full_size = { FAL_LIMIT_MAX, 1e-4, false, 0, "made up" }),
    FORWARD("teacher", FAL_OBSERVE_TEACHER, FAL_AGAINST_REFERENCE, .prompts_full_size = own, .n_prompts_full_size = 2),
    FORWARD("oracle", FAL_OBSERVE_FORWARD, FAL_AGAINST_ORACLE, .prompts_full_size = own, .n_prompts_full_size = 2),
    { .name = "large", .observe = FAL_OBSERVE_OP, .op = "rmsnorm", .judge = "rel_l2", .against = FAL_AGAINST_REFERENCE,
      .limit = { FAL_LIMIT_MAX, 1e-6, false, 0, "made up" }, .backends = both, .n_backends = 2, .shapes = shape,
      .n_shapes = 1, .fills = gauss, .n_fills = 1, .seeds = seeds, .n_seeds = 1, .heavy = true },
};
static const fal_falsifier falsifier = { .id = "FALSIFY-FULL-001", .checks = checks, .n_checks = 4 };
static const fal_contract contract = { .path = "contracts/full-v1.yaml", .stem = "full-v1", .status = "DRAFT", .prompts = prompts,
                                       .n_prompts = 4, .falsifiers = &falsifier, .n_falsifiers = 1 };
static const fal_contract *const list[] = { &contract };
static const fal_contract_set set = { .contracts = list, .n_contracts = 1 };

typedef struct {
    fal_options options;
    fal_probes *probes;
    fal_plan *plan;
    char folder[64], model[96];
} world;

/* The file of a model whose vocabulary is so large that it has 20e9 bytes of tensors: a header, and a hole. */
static void write_large(const char *path)
{
    fal_builder b = { 0 };
    fal_bytes head = { 0 };
    uint64_t at = 0;
    fal_config wide_rows = fal_builder_tiny;
    wide_rows.n_embd = 256;
    fal_builder_qwen3moe(&b, &wide_rows);
    fal_bytes_gguf_header(&head, 3, b.n_tensors, b.n_kv);
    for (size_t i = 0; i < b.n_kv; i++) {
        fal_bytes_gguf_key(&head, b.kv[i].key, b.kv[i].type);
        fal_bytes_add(&head, b.kv[i].value.data, b.kv[i].value.len);
    }
    for (size_t i = 0; i < b.n_tensors; i++) {
        fal_builder_tensor *t = &b.tensors[i];
        const bool wide = strcmp(t->name, "token_embd.weight") == 0 || strcmp(t->name, "output.weight") == 0;
        uint64_t bytes = t->data.len;
        if (wide) {
            bytes = bytes / t->ne[1] * 10000000;
            t->ne[1] = 10000000;
        }
        fal_bytes_gguf_tensor(&head, t->name, (uint32_t)t->n_dims, t->ne, t->type, at);
        at = (at + bytes + 31) / 32 * 32;
    }
    fal_bytes_pad(&head, 32);
    FILE *f = fopen(path, "wbx");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(head.data, 1, head.len, f), head.len);
    ck_assert_int_eq(fflush(f), 0);
    ck_assert_int_eq(ftruncate(fileno(f), (off_t)(head.len + at)), 0);
    fclose(f);
    fal_bytes_free(&head);
    fal_builder_free(&b);
}

static void start(world *w, bool large, bool heavy)
{
    *w = (world){ .options = { .heavy = heavy } };
    fal_error err = { 0 };
    snprintf(w->folder, sizeof w->folder, "/tmp/falsify-full-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->folder));
    snprintf(w->model, sizeof w->model, "%s/large.gguf", w->folder);
    if (large) write_large(w->model);
    w->probes = fal_probes_make();
    ck_assert_ptr_nonnull(w->probes);
    for (int i = 1; i < w->probes->n; i++) {
        fal_probe *p = &w->probes->items[i];
        p->state = FAL_PROBE_FOUND;
        p->n = 1;
        snprintf(p->devices[0].name, sizeof p->devices[0].name, "A GPU");
        snprintf(p->devices[0].slug, sizeof p->devices[0].slug, "a-gpu");
    }
    const fal_plan_in in = { .contracts = &set, .probes = w->probes, .options = &w->options, .model = large ? w->model : small_model, .model_given = true };
    const fal_status st = fal_plan_make(&in, &w->plan, &err);
    ck_assert_msg(st == FAL_OK, "%s", err.message);
}

static void end(world *w)
{
    fal_plan_free(w->plan);
    free(w->probes);
    unlink(w->model);
    rmdir(w->folder);
}

static const fal_case *find(const world *w, const char *id)
{
    for (int i = 0; i < w->plan->n_cases; i++)
        if (strcmp(w->plan->cases[i].id, id) == 0) return &w->plan->cases[i];
    return NULL;
}

/* Rule: a model of full size has the prompts and the limit that the contract gives it, and a small one its own. */
START_TEST(prompts_and_limits)
{
    world w;
    start(&w, true, false);
    ck_assert(w.plan->full_size);
    const fal_case *k = find(&w, "FALSIFY-FULL-001/logits/cuda/own");
    ck_assert_ptr_nonnull(k);
    ck_assert_ptr_null(k->blocked);
    ck_assert_double_eq(k->check->limit.value, 1e-4);
    k = find(&w, "FALSIFY-FULL-001/teacher/cuda/longer");
    ck_assert_ptr_nonnull(k);
    ck_assert_double_eq(k->check->limit.value, 1e-6);
    ck_assert_ptr_null(find(&w, "FALSIFY-FULL-001/logits/cuda/truth"));
    end(&w);
    start(&w, false, false);
    ck_assert(!w.plan->full_size);
    k = find(&w, "FALSIFY-FULL-001/logits/cuda/truth");
    ck_assert_ptr_nonnull(k);
    ck_assert_double_eq(k->check->limit.value, 1e-6);
    ck_assert_ptr_null(find(&w, "FALSIFY-FULL-001/logits/cuda/own"));
    end(&w);
}
END_TEST

/* Rule: at full size without an oracle a check against it is one blocked case that says how to get one. */
START_TEST(missing_oracle_is_one_case)
{
    world w;
    int n = 0;
    start(&w, true, false);
    for (int i = 0; i < w.plan->n_cases; i++)
        n += strcmp(w.plan->cases[i].check->name, "oracle") == 0 && strcmp(w.plan->cases[i].backend, "cuda") == 0;
    ck_assert_int_eq(n, 1);
    const fal_case *k = find(&w, "FALSIFY-FULL-001/oracle/cuda/oracle");
    ck_assert(k && k->blocked && !k->excused);
    ck_assert_msg(strstr(k->hint, "make_oracle.py") != NULL, "%s", k->hint);
    end(&w);
}
END_TEST

/* Rule: at full size each backend's observations come in one piece, the reference's first, and none before its inputs. */
START_TEST(observations_are_grouped)
{
    world w;
    int n_changes = 0;
    start(&w, true, true);
    const fal_plan *p = w.plan;
    ck_assert_int_gt(p->n_specs, 8);
    ck_assert_str_eq(p->specs[0].spec.backend, "reference");
    for (int i = 0; i < p->n_specs; i++) {
        n_changes += i > 0 && strcmp(p->specs[i].spec.backend, p->specs[i - 1].spec.backend) != 0;
        ck_assert_int_lt(p->specs[i].inputs, i);
        if (p->specs[i].spec.kind == FAL_OBSERVE_TEACHER) {
            ck_assert_int_ge(p->specs[i].inputs, 0);
            const fal_plan_spec *from = &p->specs[p->specs[i].inputs];
            ck_assert_str_eq(from->spec.backend, "reference");
            ck_assert_int_eq(from->spec.n_tokens[0], p->specs[i].spec.n_tokens[0]);
        }
    }
    ck_assert_int_eq(n_changes, 2);
    for (int i = 0; i < p->n_cases; i++) {
        const fal_case *k = &p->cases[i];
        if (k->blocked) continue;
        ck_assert_str_eq(p->specs[k->got].spec.backend, k->backend);
        ck_assert_str_eq(p->specs[k->want].spec.backend, "reference");
        ck_assert_int_eq((int)p->specs[k->got].spec.kind, (int)k->check->observe);
    }
    end(&w);
}
END_TEST

/* Rule: a heavy case is planned, but runs only when it was asked for, and is not required otherwise. */
START_TEST(heavy_cases_are_asked_for)
{
    world w;
    static const char id[] = "FALSIFY-FULL-001/large/cuda/n_tokens=1,n_embd=32/gauss";
    start(&w, false, false);
    const fal_case *k = find(&w, id);
    ck_assert(k && k->blocked && k->excused && !k->required);
    ck_assert_msg(strstr(k->hint, "--heavy") != NULL, "%s", k->hint);
    end(&w);
    start(&w, false, true);
    k = find(&w, id);
    ck_assert(k && !k->blocked && k->got >= 0);
    end(&w);
}
END_TEST

Suite *fal_suite_full_size(void)
{
    Suite *s = suite_create("full_size");
    TCase *t = tcase_create("plan");
    tcase_add_test(t, prompts_and_limits);
    tcase_add_test(t, missing_oracle_is_one_case);
    tcase_add_test(t, observations_are_grouped);
    tcase_add_test(t, heavy_cases_are_asked_for);
    suite_add_tcase(s, t);
    return s;
}
