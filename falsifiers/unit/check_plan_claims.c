/* Tests of claims about a card or a size of model, and of the options for profilers: what the plan makes of them. */
#include "falsifiers/unit/plan_world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_plan_claims(void);

static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* A plan of one throughput check on a device of that name, with opencl required. */
typedef struct {
    fal_param with[8];
    int n_with;
    fal_check check;
    fal_falsifier falsifier;
    fal_contract contract;
    const fal_contract *list[1];
    fal_contract_set set;
    fal_options options;
    const char *required[1], *backends[1];
    fal_probes *probes;
    fal_prompt prompts[1];
    fal_plan *plan;
    fal_error err;
} claim;

static void give(claim *c, const char *name, double v, const char *text)
{
    c->with[c->n_with++] = (fal_param){ name, v, text };
}

static void start(claim *c, const char *device)
{
    *c = (claim){ .backends = { "opencl" }, .required = { "opencl" } };
    give(c, "context", 16, NULL);
    give(c, "n_tokens", 8, NULL);
    give(c, "runs", 2, NULL);
    c->probes = fal_probes_make();
    ck_assert_ptr_nonnull(c->probes);
    fal_probe *p = &c->probes->items[1];
    ck_assert_str_eq(p->backend->name, "opencl");
    p->state = FAL_PROBE_FOUND;
    p->n = 1;
    snprintf(p->devices[0].name, sizeof p->devices[0].name, "%s", device);
    snprintf(p->devices[0].slug, sizeof p->devices[0].slug, "some-gpu");
}

static fal_status make_plan(claim *c)
{
    c->falsifier = (fal_falsifier){ .id = "FALSIFY-T-001", .checks = &c->check, .n_checks = 1 };
    c->contract = (fal_contract){ .path = "contracts/t-v1.yaml",
                                  .stem = "t-v1",
                                  .version = "1.0.0",
                                  .falsifiers = &c->falsifier,
                                  .n_falsifiers = 1,
                                  .prompts = c->prompts,
                                  .n_prompts = 1 };
    c->list[0] = &c->contract;
    c->set = (fal_contract_set){ .contracts = c->list, .n_contracts = 1 };
    c->options.require = (fal_names){ c->required, 1 };
    const fal_plan_in in = { .contracts = &c->set, .probes = c->probes, .options = &c->options, .model = model };
    return fal_plan_make(&in, &c->plan, &c->err);
}

static const fal_case *plan(claim *c)
{
    c->check = (fal_check){ .name = "fast_enough",
                            .observe = FAL_OBSERVE_THROUGHPUT,
                            .judge = "throughput",
                            .limit = { FAL_LIMIT_MIN, 100, false, 0, "made up" },
                            .backends = c->backends,
                            .n_backends = 1,
                            .with = { c->with, c->n_with },
                            .place = { 7, 3 } };
    ck_assert_msg(make_plan(c) == FAL_OK, "%s", c->err.message);
    ck_assert_int_eq(c->plan->n_cases, 1);
    return &c->plan->cases[0];
}

static void end(claim *c)
{
    fal_plan_free(c->plan);
    free(c->probes);
}

/* Rule: without a claim about card or size a throughput runs, is required, and hands on only what the session needs. */
START_TEST(a_plain_throughput_runs)
{
    claim c;
    start(&c, "Some GPU");
    give(&c, "full_size", 0, NULL);
    give(&c, "of_total", 1, NULL);
    const fal_case *k = plan(&c);
    ck_assert_str_eq(k->id, "FALSIFY-T-001/fast_enough/opencl/n_tokens=8,context=16");
    ck_assert_ptr_null(k->blocked);
    ck_assert(k->required && !k->excused);
    ck_assert_int_eq(c.plan->n_specs, 1);
    ck_assert_int_eq(c.plan->specs[0].spec.kind, FAL_OBSERVE_THROUGHPUT);
    ck_assert_int_eq(c.plan->specs[0].spec.with.n_params, 3);
    end(&c);
}
END_TEST

/* Rule: a claim about models of full size is blocked on a small one, says so, and is not required. */
START_TEST(full_size_is_not_required_of_a_small_model)
{
    claim c;
    start(&c, "Some GPU");
    give(&c, "full_size", 1, NULL);
    const fal_case *k = plan(&c);
    ck_assert_ptr_nonnull(k->blocked);
    ck_assert_str_eq(k->blocked, "needs a full-size model (>= 10.0 GB of tensors); this one has 9.2 MB");
    ck_assert(k->excused && !k->required);
    ck_assert_int_eq(k->got, -1);
    end(&c);
}
END_TEST

/* Rule: a claim that names a card is blocked on another one and not required there; on the named one it runs. */
START_TEST(a_named_card_is_not_another)
{
    claim c;
    start(&c, "NVIDIA H200");
    give(&c, "device_name", 0, "RTX 4090");
    const fal_case *k = plan(&c);
    ck_assert_str_eq(k->blocked, "the claim names RTX 4090; this is NVIDIA H200");
    ck_assert(k->excused && !k->required);
    end(&c);

    start(&c, "NVIDIA GeForce RTX 4090");
    give(&c, "device_name", 0, "RTX 4090");
    k = plan(&c);
    ck_assert_ptr_null(k->blocked);
    ck_assert(k->required && !k->excused);
    end(&c);
}
END_TEST

/* Rule: a missing device excuses nothing, whatever card the claim names. */
START_TEST(no_device_is_no_excuse)
{
    claim c;
    start(&c, "");
    give(&c, "device_name", 0, "RTX 4090");
    fal_probe *p = &c.probes->items[1];
    p->state = FAL_PROBE_BLOCKED;
    p->n = 0;
    fal_fail(&p->error, FAL_ERR_BLOCKED, "get one", "no card");
    const fal_case *k = plan(&c);
    ck_assert_str_eq(k->blocked, "no card");
    ck_assert(k->required && !k->excused);
    end(&c);
}
END_TEST

/* Rule: a variant that the backend lacks blocks and stays required; one that it has names case and observation. */
START_TEST(variants_are_named)
{
    claim c;
    start(&c, "Some GPU");
    give(&c, "variant", 0, "no_such");
    const fal_case *k = plan(&c);
    ck_assert_str_eq(k->blocked, "opencl has no variant 'no_such'");
    ck_assert(k->required && !k->excused);
    end(&c);

    start(&c, "Some GPU");
    give(&c, "variant", 0, "cpu");
    k = plan(&c);
    ck_assert_str_eq(k->id, "FALSIFY-T-001/fast_enough/opencl__cpu/n_tokens=8,context=16");
    ck_assert_ptr_null(k->blocked);
    ck_assert_str_eq(c.plan->specs[k->got].spec.variant, "cpu");
    end(&c);
}
END_TEST

static const int32_t tokens[] = { 7, 8 };
static const char *const prompt_names[] = { "two" };

/* A check of a forward pass, token by token, of the given kind, in variant cpu. */
static void start_forward(claim *c, fal_observe_kind kind, fal_against against, const char *judge)
{
    start(c, "Some GPU");
    c->n_with = 0;
    give(c, "variant", 0, "cpu");
    c->prompts[0] = (fal_prompt){ .name = "two", .tokens = tokens, .n_tokens = 2 };
    c->check = (fal_check){ .name = "forward",
                            .observe = kind,
                            .judge = judge,
                            .against = against,
                            .limit = { FAL_LIMIT_MAX, 1, false, 0, "made up" },
                            .prompts = prompt_names,
                            .n_prompts = 1,
                            .decode = true,
                            .backends = c->backends,
                            .n_backends = 1,
                            .place = { 7, 3 } };
}

/* Rule: a check of a forward pass that names a variant is one case of that variant; with a mirror, its truth and what is fed
   in come from that variant of the reference, and from no other. */
START_TEST(a_variant_has_a_mirror)
{
    claim c;
    for (int with_mirror = 0; with_mirror < 2; with_mirror++) {
        const char *variant = with_mirror ? "kv16" : "";
        start_forward(&c, FAL_OBSERVE_TEACHER, FAL_AGAINST_REFERENCE, "rel_l2");
        if (with_mirror) give(&c, "mirror", 0, "kv16");
        c.check.with = (fal_params){ c.with, c.n_with };
        ck_assert_msg(make_plan(&c) == FAL_OK, "%s", c.err.message);
        ck_assert_int_eq(c.plan->n_cases, 1);
        const fal_case *k = &c.plan->cases[0];
        const fal_plan_spec *specs = c.plan->specs, *got = &specs[k->got];
        ck_assert_str_eq(k->id, "FALSIFY-T-001/forward/opencl__cpu/two");
        ck_assert_str_eq(got->spec.variant, "cpu");
        ck_assert(got->spec.decode && !specs[k->want].spec.decode);
        ck_assert_str_eq(specs[k->want].spec.variant, variant);
        ck_assert_str_eq(specs[got->inputs].spec.variant, variant);
        end(&c);
    }
    start_forward(&c, FAL_OBSERVE_TEACHER, FAL_AGAINST_REFERENCE, "rel_l2");
    give(&c, "mirror", 0, "kv17");
    c.check.with = (fal_params){ c.with, c.n_with };
    ck_assert_int_eq(make_plan(&c), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(strstr(c.err.message, "mirror 'kv17' is no variant of the reference"));
    free(c.probes);
    start_forward(&c, FAL_OBSERVE_PINNED, FAL_AGAINST_SELF, "decode_matches_prefill");
    give(&c, "mirror", 0, "kv16");
    c.check.with = (fal_params){ c.with, c.n_with };
    ck_assert_int_eq(make_plan(&c), FAL_ERR_INPUT);
    free(c.probes);
}
END_TEST

/* Rule: what repeats a decode token by token is a decode token by token in a second process; what holds a decode against the
   prompt at once, with its routing pinned, pins both. */
START_TEST(decode_again)
{
    claim c;
    start_forward(&c, FAL_OBSERVE_FORWARD, FAL_AGAINST_SELF, "same_bits");
    c.check.again = true;
    ck_assert_msg(make_plan(&c) == FAL_OK, "%s", c.err.message);
    const fal_plan_spec *again = &c.plan->specs[c.plan->cases[0].again];
    ck_assert(again->spec.decode && again->attempt == 1);
    end(&c);

    start_forward(&c, FAL_OBSERVE_PINNED, FAL_AGAINST_SELF, "decode_matches_prefill");
    ck_assert_msg(make_plan(&c) == FAL_OK, "%s", c.err.message);
    const fal_case *k = &c.plan->cases[0];
    ck_assert(c.plan->specs[k->got].spec.decode && !c.plan->specs[k->again].spec.decode);
    ck_assert(c.plan->specs[k->got].pin >= 0 && c.plan->specs[k->again].pin == c.plan->specs[k->got].pin);
    end(&c);
}
END_TEST

/* Rule: launches counted dry, and a tool that brings its own device, need none here; counted on a device they do. */
START_TEST(some_need_no_device)
{
    static const char *const cuda[] = { "cuda" };
    claim c;
    for (int dry = 0; dry < 2; dry++) {
        start_forward(&c, FAL_OBSERVE_LAUNCHES, FAL_AGAINST_NONE, "launches");
        c.n_with = 0;
        give(&c, "prompt", 3, NULL);
        give(&c, "n_tokens", 2, NULL);
        if (dry) give(&c, "dry", 1, NULL);
        c.check.with = (fal_params){ c.with, c.n_with };
        c.check.backends = cuda;
        fal_probe *p = &c.probes->items[2];
        ck_assert_str_eq(p->backend->name, "cuda");
        p->state = FAL_PROBE_BLOCKED;
        snprintf(p->error.message, sizeof p->error.message, "no driver here");
        ck_assert_msg(make_plan(&c) == FAL_OK, "%s", c.err.message);
        const fal_case *k = &c.plan->cases[0];
        ck_assert_str_eq(k->id, "FALSIFY-T-001/forward/cuda/prompt=3,n_tokens=2");
        if (!dry) ck_assert_str_eq(k->blocked, "no driver here");
        else ck_assert(!k->blocked || strstr(k->blocked, "not built")); /* without nvcc there is nothing to count */
        ck_assert(k->uses_model && (dry ? k->device == NULL : true));
        end(&c);
    }
    start_forward(&c, FAL_OBSERVE_SANITIZE, FAL_AGAINST_NONE, "sanitizer");
    c.n_with = 0;
    give(&c, "tool", 0, "oclgrind");
    c.check.with = (fal_params){ c.with, c.n_with };
    c.check.heavy = true;
    c.probes->items[1].state = FAL_PROBE_BLOCKED;
    for (int heavy = 0; heavy < 2; heavy++) {
        c.options.heavy = heavy;
        ck_assert_msg(make_plan(&c) == FAL_OK, "%s", c.err.message);
        const fal_case *k = &c.plan->cases[0];
        ck_assert(heavy ? k->blocked == NULL && k->required : k->excused && !k->required);
        ck_assert(!k->uses_model && !k->device);
        fal_plan_free(c.plan);
        c.plan = NULL;
    }
    end(&c);
}
END_TEST

/* ---- options for profilers ---------------------------------------------------------------------------------------- */

static void make(fal_world *w, const char *const *arguments)
{
    const fal_status st = fal_world_make(w, FAL_WORLD_GPU, model, arguments);
    ck_assert_msg(st == FAL_OK, "%s", w->err.message);
}

/* Rule: --only takes whole ids of a falsifier, a check or a case, and no globs. */
START_TEST(only_whole_ids)
{
    fal_world w;
    make(&w, ARGS("--only", "FALSIFY-ALPHA-002/attn", "--backend", "opencl"));
    ck_assert_int_eq(w.plan->n_cases, 1);
    ck_assert_str_eq(w.plan->cases[0].id, "FALSIFY-ALPHA-002/attn/opencl/two");
    fal_world_free(&w);
    make(&w, ARGS("--only", "FALSIFY-ALPHA-002/logits/opencl/two", "--only",
                  "FALSIFY-ALPHA-001/finite/reference/n_tokens=2,n_embd=32/gauss"));
    ck_assert_int_eq(w.plan->n_cases, 2);
    ck_assert_int_eq(w.plan->n_unbound + w.plan->n_retired, 0);
    fal_world_free(&w);
    make(&w, ARGS("--only", "FALSIFY-ALPHA-003"));
    ck_assert(w.plan->n_cases == 0 && w.plan->n_unbound == 1);
    fal_world_free(&w);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("--only", "FALSIFY-ALPHA-00*")), FAL_ERR_NOTHING);
    ck_assert_ptr_nonnull(strstr(w.err.message, "--only 'FALSIFY-ALPHA-00*'"));
    fal_world_free(&w);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("--only", "FALSIFY-ALPHA-02")), FAL_ERR_NOTHING);
    ck_assert_ptr_nonnull(strstr(w.err.message, "did you mean"));
    fal_world_free(&w);
}
END_TEST

/* Rule: without taps a pass is still observed, with nothing recorded; the reference that feeds a forced pass keeps its
   taps, and what only a judgement would have needed is not observed. */
START_TEST(no_taps)
{
    fal_world w;
    make(&w, ARGS("--only", "FALSIFY-ALPHA-002/logits/opencl/two", "--no-taps"));
    const fal_case *k = &w.plan->cases[0];
    ck_assert(k->untapped && k->got >= 0 && k->want == -1);
    ck_assert_int_eq(w.plan->n_specs, 1);
    ck_assert_int_eq(w.plan->specs[k->got].spec.n_taps, 1);
    ck_assert_str_eq(w.plan->specs[k->got].spec.taps[0], "none");
    fal_world_free(&w);
    make(&w, ARGS("--only", "FALSIFY-BETA-002/teacher", "--backend", "opencl", "--no-taps"));
    k = &w.plan->cases[0];
    ck_assert(k->untapped && w.plan->specs[k->got].inputs >= 0);
    ck_assert_str_eq(w.plan->specs[w.plan->specs[k->got].inputs].spec.taps[0], "all");
    fal_world_free(&w);
    make(&w, ARGS("--only", "FALSIFY-ALPHA-002/logits/opencl/two"));
    ck_assert(!w.plan->cases[0].untapped && w.plan->cases[0].want >= 0);
    fal_world_free(&w);
}
END_TEST

Suite *fal_suite_plan_claims(void)
{
    Suite *s = suite_create("plan_claims");
    TCase *t = tcase_create("plan_claims");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, a_plain_throughput_runs);
    tcase_add_test(t, full_size_is_not_required_of_a_small_model);
    tcase_add_test(t, a_named_card_is_not_another);
    tcase_add_test(t, no_device_is_no_excuse);
    tcase_add_test(t, variants_are_named);
    tcase_add_test(t, a_variant_has_a_mirror);
    tcase_add_test(t, decode_again);
    tcase_add_test(t, some_need_no_device);
    tcase_add_test(t, only_whole_ids);
    tcase_add_test(t, no_taps);
    suite_add_tcase(s, t);
    return s;
}
