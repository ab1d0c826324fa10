/* Unit tests of harness/plan.h: which cases and observations follow from contracts, devices and options. */
#include "falsifiers/unit/plan_world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_plan(void);

static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void make(fal_world *w, fal_world_devices devices, const char *const *arguments)
{
    const fal_status st = fal_world_make(w, devices, model, arguments);
    ck_assert_msg(st == FAL_OK, "%s", w->err.message);
}

/* Rule: on a GPU one set of cases; a backend without a device keeps its cases, blocked, with reason and hint. */
START_TEST(gpu_and_blocked_backend)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, NULL);
    ck_assert_int_eq(fal_world_count(&w, "opencl", "cpu"), 0);
    /* op 4 + 1, forward 2 + 1, oracle 1, modes 4, preload 1, refusal 2 */
    ck_assert_int_eq(fal_world_count(&w, "opencl", ""), 16);
    ck_assert_int_eq(fal_world_count(&w, "cuda", NULL), 16);
    ck_assert_int_eq(fal_world_count(&w, "reference", NULL), 1);
    ck_assert_int_eq(w.plan->n_cases, 33);
    const fal_case *k = fal_world_case(&w, "FALSIFY-ALPHA-001/op_error/cuda/n_tokens=2,n_embd=32/gauss");
    ck_assert_ptr_nonnull(k);
    ck_assert_str_eq(k->blocked, "no card \033[2Jhere");
    ck_assert_str_eq(k->hint, "get a card");
    ck_assert_int_eq(k->got, -1);
    ck_assert(!k->required);
    k = fal_world_case(&w, "FALSIFY-ALPHA-001/op_error/opencl/n_tokens=1,n_embd=64/zeros");
    ck_assert_ptr_nonnull(k);
    ck_assert_ptr_null(k->blocked);
    ck_assert(k->required && k->got >= 0 && k->want >= 0);
    ck_assert_int_eq(k->check->n_shapes, 1);
    ck_assert_int_eq(k->check->n_fills, 1);
    ck_assert_str_eq(k->check->fills[0], "zeros");
    fal_world_free(&w);
}
END_TEST

/* Rule: on a CPU device variant cpu runs everything; "" all ops, of a forward check its shortest prompt, nothing
   else. */
START_TEST(cpu_device_runs_both_variants)
{
    fal_world w;
    make(&w, FAL_WORLD_CPU, NULL);
    ck_assert_int_eq(fal_world_count(&w, "opencl", "cpu"), 16);
    ck_assert_int_eq(fal_world_count(&w, "opencl", ""), 16 - 1 - 3);
    ck_assert_ptr_nonnull(fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/two"));
    ck_assert_ptr_null(fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/five"));
    ck_assert_ptr_nonnull(fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl__cpu/five"));
    ck_assert_ptr_null(fal_world_case(&w, "FALSIFY-BETA-003/preload/opencl/preload"));
    ck_assert_ptr_nonnull(fal_world_case(&w, "FALSIFY-BETA-003/preload/opencl__cpu/preload"));
    fal_world_free(&w);
}
END_TEST

/* Rule: without probing nothing is blocked for lack of a device, and nothing is said to run. */
START_TEST(not_probed)
{
    fal_world w = { 0 };
    w.probes = fal_probes_make();
    ck_assert_ptr_nonnull(w.probes);
    const fal_plan_in in = {
        .contracts = fal_world_contracts(), .probes = w.probes, .options = &w.options, .model = model
    };
    ck_assert_int_eq(fal_plan_make(&in, &w.plan, &w.err), FAL_OK);
    for (int i = 0; i < w.plan->n_cases; i++) ck_assert(w.plan->cases[i].not_probed && !w.plan->cases[i].blocked);
    fal_world_free(&w);
}
END_TEST

/* Rule: one reference observation per prompt carries all taps that any case or teacher run needs. */
START_TEST(observations_are_shared)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, ARGS("--backend", "opencl"));
    const fal_case *logits = fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/two"),
                   *attn = fal_world_case(&w, "FALSIFY-ALPHA-002/attn/opencl/two");
    const fal_case *teacher = fal_world_case(&w, "FALSIFY-BETA-002/teacher/opencl/two"),
                   *pinned = fal_world_case(&w, "FALSIFY-BETA-002/pinned/opencl/two");
    ck_assert(logits && attn && teacher && pinned);
    ck_assert_int_eq(logits->want, attn->want);
    ck_assert_int_eq(logits->got, attn->got);
    ck_assert_int_eq(logits->want, teacher->want);
    ck_assert_int_eq(logits->want, pinned->want);
    ck_assert_int_ne(teacher->got, logits->got);
    const fal_plan_spec *t = &w.plan->specs[teacher->got], *p = &w.plan->specs[pinned->got],
                        *r = &w.plan->specs[logits->want];
    ck_assert_int_eq(t->inputs, logits->want);
    ck_assert_int_eq(p->pin, logits->want);
    ck_assert_int_lt(t->inputs, teacher->got);
    ck_assert_int_eq(t->pin, -1);
    bool all = false, has_attn = false, has_logits = false;
    for (int i = 0; i < r->spec.n_taps; i++) {
        all |= strcmp(r->spec.taps[i], "all") == 0;
        has_attn |= strcmp(r->spec.taps[i], "blk.*.attn") == 0;
        has_logits |= strcmp(r->spec.taps[i], "logits") == 0;
    }
    ck_assert(all && has_attn && has_logits);
    ck_assert_str_eq(r->spec.backend, "reference");
    /* the longer prompt is observed apart, and only with what was asked for */
    const fal_case *five = fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/five");
    ck_assert_int_eq(w.plan->specs[five->want].spec.n_taps, 1);
    fal_world_free(&w);
}
END_TEST

/* Rule: every observation that another one starts from stands before it. */
START_TEST(observations_stand_in_order)
{
    fal_world w;
    make(&w, FAL_WORLD_CPU, NULL);
    for (int i = 0; i < w.plan->n_specs; i++) {
        ck_assert_int_lt(w.plan->specs[i].inputs, i);
        ck_assert_int_lt(w.plan->specs[i].pin, i);
    }
    fal_world_free(&w);
}
END_TEST

/* Rule: determinism needs a second process; decoding is held against one prefill. */
START_TEST(second_observations)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, ARGS("-k", "FALSIFY-BETA-002", "--backend", "opencl"));
    const fal_case *again = fal_world_case(&w, "FALSIFY-BETA-002/again/opencl/two"),
                   *decode = fal_world_case(&w, "FALSIFY-BETA-002/decode/opencl/two");
    ck_assert(again && decode);
    ck_assert_int_ne(again->got, again->again);
    ck_assert_int_eq(w.plan->specs[again->got].attempt, 0);
    ck_assert_int_eq(w.plan->specs[again->again].attempt, 1);
    ck_assert(w.plan->specs[decode->got].spec.decode && !w.plan->specs[decode->again].spec.decode);
    ck_assert_int_eq(decode->again, again->got); /* the same plain prefill */
    fal_world_free(&w);
}
END_TEST

/* Rule: the plan is the same every time. */
START_TEST(order_is_deterministic)
{
    fal_world a, b;
    make(&a, FAL_WORLD_CPU, NULL);
    make(&b, FAL_WORLD_CPU, NULL);
    ck_assert_int_eq(a.plan->n_cases, b.plan->n_cases);
    ck_assert_int_eq(a.plan->n_specs, b.plan->n_specs);
    for (int i = 0; i < a.plan->n_cases; i++) ck_assert_str_eq(a.plan->cases[i].id, b.plan->cases[i].id);
    fal_world_free(&a);
    fal_world_free(&b);
}
END_TEST

/* Rule: unbound and retired claims are counted apart, and are no cases. */
START_TEST(claims_without_cases)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, NULL);
    ck_assert_int_eq(w.plan->n_unbound, 1);
    ck_assert_int_eq(w.plan->n_retired, 1);
    ck_assert_str_eq(w.plan->unbound[0].falsifier->id, "FALSIFY-ALPHA-003");
    ck_assert_str_eq(w.plan->retired[0].falsifier->id, "FALSIFY-ALPHA-004");
    fal_world_free(&w);
    make(&w, FAL_WORLD_GPU, ARGS("-k", "FALSIFY-ALPHA-003"));
    ck_assert_int_eq(w.plan->n_cases, 0);
    ck_assert_int_eq(w.plan->n_unbound, 1);
    fal_world_free(&w);
}
END_TEST

/* Rule: a falsifier id, falsifier/check, a case id and globs of them select; stages by their obligations. */
START_TEST(selection)
{
    static const struct {
        const char *option, *value;
        int n;
    } cases[] = {
        { "-k", "FALSIFY-ALPHA-001", 11 },
        { "-k", "FALSIFY-ALPHA-001/finite", 3 },
        { "-k", "FALSIFY-ALPHA-001/finite/opencl/n_tokens=2,n_embd=32/gauss", 1 },
        { "-k", "*/gauss", 7 },
        { "--contract", "alpha-*", 17 },
        { "--stage", "M-ONE", 11 },
        { "--backend", "reference", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fal_world w;
        make(&w, FAL_WORLD_GPU, ARGS(cases[i].option, cases[i].value));
        ck_assert_msg(w.plan->n_cases == cases[i].n, "%s %s: %d cases, expected %d", cases[i].option, cases[i].value,
                      w.plan->n_cases, cases[i].n);
        /* what the contract has does not shrink with the selection, so evidence knows that it is partial */
        ck_assert_int_eq(fal_plan_extent(w.plan, &fal_world_contracts()->contracts[0]->falsifiers[0], "opencl"), 5);
        fal_world_free(&w);
    }
}
END_TEST

/* Rule: whatever matches nothing is an error that names what exists. */
START_TEST(filters_that_match_nothing)
{
    static const struct {
        const char *option, *value, *says;
        fal_status status;
    } cases[] = {
        { "-k", "FALSIFY-ALPHA-0O2", "did you mean 'FALSIFY-ALPHA-002'", FAL_ERR_NOTHING },
        { "-k", "zzz*", "there are: FALSIFY-ALPHA-001", FAL_ERR_NOTHING },
        { "-k", "FALSIFY-ALPHA-001/finit", "did you mean 'FALSIFY-ALPHA-001/finite'", FAL_ERR_NOTHING },
        { "-k", "", "matches nothing", FAL_ERR_NOTHING },
        { "--contract", "alhpa-v1", "did you mean 'alpha-v1'", FAL_ERR_NOTHING },
        { "--stage", "M-TWO", "M-ONE", FAL_ERR_NOTHING },
        { "--backend", "opencil", "did you mean 'opencl'", FAL_ERR_NOTHING },
        { "--require", "reference,metal", "matches nothing", FAL_ERR_NOTHING },
        { "--device", "99", "some-gpu", FAL_ERR_USAGE },
        { "--device", "Other", "some-gpu", FAL_ERR_USAGE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fal_world w;
        ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS(cases[i].option, cases[i].value)),
                         cases[i].status);
        ck_assert_msg(strstr(w.err.message, cases[i].says) != NULL, "%s %s: %s", cases[i].option, cases[i].value,
                      w.err.message);
        fal_world_free(&w);
    }
    fal_world w;
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("-k", "FALSIFY-BETA-001", "--backend", "reference")),
                     FAL_ERR_NOTHING);
    fal_world_free(&w);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("--require", "cuda", "--backend", "opencl")),
                     FAL_ERR_USAGE);
    fal_world_free(&w);
}
END_TEST

/* Rule: --device takes index, slug, UUID, part of the name, and is not about the reference. */
START_TEST(device_selection)
{
    static const char *const names[] = { "0", "some-gpu", "some g", "GPU" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fal_world w;
        make(&w, FAL_WORLD_GPU, ARGS("--device", names[i]));
        const fal_case *k = fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/two");
        ck_assert_ptr_null(k->blocked);
        ck_assert_str_eq(w.plan->specs[k->got].spec.device, "0");
        ck_assert_str_eq(w.plan->specs[k->want].spec.device, "");
        fal_world_free(&w);
    }
}
END_TEST

/* Rule: a CPU is taken only when there is no GPU. */
START_TEST(gpus_before_cpus)
{
    fal_probes *all = fal_probes_make();
    ck_assert_ptr_nonnull(all);
    fal_probe *p = &all->items[1];
    p->state = FAL_PROBE_FOUND;
    p->n = 2;
    p->devices[0] = (fal_device_info){ .index = 0, .is_cpu = true, .name = "A CPU", .slug = "a-cpu" };
    p->devices[1] = (fal_device_info){ .index = 1, .name = "A GPU", .slug = "a-gpu", .uuid = "ABCD" };
    ck_assert_int_eq(fal_probe_choose(p, NULL)->index, 1);
    ck_assert_int_eq(fal_probe_choose(p, "0")->index, 0);
    ck_assert_int_eq(fal_probe_choose(p, "abcd")->index, 1);
    ck_assert_ptr_null(fal_probe_choose(p, "2"));
    p->n = 1;
    ck_assert_int_eq(fal_probe_choose(p, "")->index, 0);
    json_t *j = fal_probe_to_json(p);
    fal_probe *q = &all->items[2];
    q->backend = p->backend;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_probe_from_json(j, q, &err), FAL_OK);
    ck_assert_str_eq(q->devices[0].name, "A CPU");
    json_object_del(j, "devices");
    ck_assert_int_eq(fal_probe_from_json(j, q, &err), FAL_ERR_INPUT);
    json_decref(j);
    free(all);
}
END_TEST

/* Rule: a driver that crashes or answers nonsense while devices are looked for blocks its backend and says so. */
START_TEST(probing_survives_a_bad_program)
{
    fal_probes *all = fal_probes_make();
    ck_assert_ptr_nonnull(all);
    const char *const names[] = { "opencl" };
    const fal_names only = { (const char **)(uintptr_t)names, 1 };
    fal_probes_ask(all, &only, "/bin/echo", 5, NULL);
    ck_assert_int_eq(all->items[0].state, FAL_PROBE_FOUND);
    ck_assert_int_eq(all->items[1].state, FAL_PROBE_BLOCKED);
    ck_assert_int_eq(all->items[2].state, FAL_PROBE_NOT_ASKED);
    ck_assert_ptr_nonnull(strstr(all->items[1].error.message, "nothing usable"));
    free(all);
}
END_TEST

/* Rule: tokens and prompt number come from the oracle file; without it the cases are blocked, by name of the file. */
START_TEST(oracle_prompts)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, ARGS("-k", "FALSIFY-BETA-001", "--backend", "opencl"));
    const fal_case *k = &w.plan->cases[0];
    ck_assert_ptr_null(k->blocked);
    ck_assert_int_eq(k->oracle_prompt, 1);
    ck_assert_int_eq(k->n_tokens, 2);
    ck_assert_int_eq(w.plan->specs[k->got].spec.tokens[0][0], 39);
    fal_world_free(&w);

    char folder[] = "/tmp/falsify-check-XXXXXX", path[64], whole[600], cwd[500];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    snprintf(path, sizeof path, "%s/lonely.gguf", folder);
    snprintf(whole, sizeof whole, "%s/%s", cwd, model);
    ck_assert_int_eq(symlink(whole, path), 0);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, path, ARGS("--backend", "opencl")), FAL_OK);
    k = fal_world_case(&w, "FALSIFY-BETA-001/oracle/opencl/truth");
    ck_assert_ptr_nonnull(strstr(k->blocked, "lonely.oracle.safetensors"));
    ck_assert_ptr_null(fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/two")->blocked);
    fal_world_free(&w);

    /* no model: what needs none still runs */
    remove(path);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, path, ARGS("--backend", "opencl")), FAL_OK);
    ck_assert_ptr_nonnull(strstr(fal_world_case(&w, "FALSIFY-ALPHA-002/logits/opencl/two")->blocked, "lonely.gguf"));
    ck_assert_ptr_null(fal_world_case(&w, "FALSIFY-ALPHA-001/finite/opencl/n_tokens=2,n_embd=32/gauss")->blocked);
    fal_world_free(&w);

    /* a model that is none is bad input, whatever is selected */
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("no model", f);
    fclose(f);
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, path, ARGS("--backend", "opencl")), FAL_ERR_INPUT);
    fal_world_free(&w);
    remove(path);
    remove(folder);
}
END_TEST

/* Rule: a seed of the command line joins the contract's, once. */
START_TEST(seeds_are_added)
{
    fal_world w;
    make(&w, FAL_WORLD_GPU, ARGS("--seed", "77", "-k", "*/op_error"));
    const fal_spec *s = &w.plan->specs[w.plan->cases[0].got].spec;
    ck_assert_int_eq(s->n_seeds, 3);
    ck_assert_uint_eq(s->seeds[2], 77);
    ck_assert_int_eq(w.plan->cases[0].check->n_seeds, 3);
    fal_world_free(&w);
    make(&w, FAL_WORLD_GPU, ARGS("--seed", "4", "-k", "*/op_error"));
    ck_assert_int_eq(w.plan->specs[w.plan->cases[0].got].spec.n_seeds, 2);
    fal_world_free(&w);
}
END_TEST

/* A contract with one check, to be made wrong. */
static fal_status plan_of_check(const fal_check *check, fal_error *err)
{
    const fal_falsifier f = { .id = "FALSIFY-X-001", .checks = check, .n_checks = 1 };
    const fal_contract c = {
        .path = "contracts/x-v1.yaml", .stem = "x-v1", .version = "1.0.0", .falsifiers = &f, .n_falsifiers = 1
    };
    const fal_contract *const list[] = { &c };
    const fal_contract_set set = { .contracts = list, .n_contracts = 1 };
    fal_options options = { 0 };
    fal_probes *probes = fal_probes_make();
    ck_assert_ptr_nonnull(probes);
    const fal_plan_in in = { .contracts = &set, .probes = probes, .options = &options, .model = model };
    fal_plan *plan = NULL;
    const fal_status st = fal_plan_make(&in, &plan, err);
    fal_plan_free(plan);
    free(probes);
    return st;
}

/* Rule: a check that cannot be executed as written is refused with file and line, before anything runs. */
START_TEST(bad_checks_are_refused)
{
    static const fal_param dims[] = { { .name = "n_tokens", .number = 1 }, { .name = "n_embd", .number = 8 } };
    static const fal_param wrong[] = { { .name = "n_tokens", .number = 1 }, { .name = "n_emdb", .number = 8 } };
    const fal_params shape[] = { { dims, 2 } }, wrong_shape[] = { { wrong, 2 } },
                     twice[] = { { dims, 2 }, { dims, 2 } };
    const char *const reference[] = { "reference" }, *const gauss[] = { "gauss" }, *const gaus[] = { "gaus" },
                      *const tap[] = { "blk.*.atn" };
    const fal_check good = { .name = "c",
                             .observe = FAL_OBSERVE_OP,
                             .judge = "rel_l2",
                             .against = FAL_AGAINST_REFERENCE,
                             .op = "rmsnorm",
                             .shapes = shape,
                             .n_shapes = 1,
                             .fills = gauss,
                             .n_fills = 1,
                             .place = { 42, 7 },
                             .limit = { FAL_LIMIT_MAX, 1, false, 0, "made up" } };
    fal_error err = { 0 };
    ck_assert_msg(plan_of_check(&good, &err) == FAL_OK, "%s", err.message);
    fal_check bad[9];
    for (size_t i = 0; i < 9; i++) bad[i] = good;
    bad[0].judge = "rel_l3";
    bad[1].op = "rmsnrm";
    bad[2].backends = reference;
    bad[2].n_backends = 1;
    bad[3].shapes = wrong_shape;
    bad[4].fills = gaus;
    bad[5].shapes = twice;
    bad[5].n_shapes = 2;
    bad[6].observe = FAL_OBSERVE_FORWARD;
    bad[7].taps = tap;
    bad[7].n_taps = 1;
    bad[8].op = NULL;
    static const char *const says[9] = { "did you mean 'rel_l2'",
                                         "rmsnrm",
                                         "against itself",
                                         "n_emdb",
                                         "gaus",
                                         "two cases",
                                         "no prompt",
                                         "blk.*.atn",
                                         "operation" };
    for (size_t i = 0; i < 9; i++) {
        err = (fal_error){ 0 };
        ck_assert_int_eq(plan_of_check(&bad[i], &err), FAL_ERR_INPUT);
        ck_assert_msg(strstr(err.message, "contracts/x-v1.yaml:42") != NULL, "%zu: %s", i, err.message);
        ck_assert_msg(strstr(err.message, says[i]) != NULL, "%zu: %s", i, err.message);
    }
}
END_TEST

Suite *fal_suite_plan(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, gpu_and_blocked_backend);
    tcase_add_test(t, cpu_device_runs_both_variants);
    tcase_add_test(t, not_probed);
    tcase_add_test(t, observations_are_shared);
    tcase_add_test(t, observations_stand_in_order);
    tcase_add_test(t, second_observations);
    tcase_add_test(t, order_is_deterministic);
    tcase_add_test(t, claims_without_cases);
    tcase_add_test(t, selection);
    tcase_add_test(t, filters_that_match_nothing);
    tcase_add_test(t, device_selection);
    tcase_add_test(t, gpus_before_cpus);
    tcase_add_test(t, probing_survives_a_bad_program);
    tcase_add_test(t, oracle_prompts);
    tcase_add_test(t, seeds_are_added);
    tcase_add_test(t, bad_checks_are_refused);
    suite_add_tcase(s, t);
    return s;
}
