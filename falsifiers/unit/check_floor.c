/* Tests of the floor of parity checks, before a run and after it, and of the noise floor beside every value. */
#include "falsifiers/noise.h"
#include "falsifiers/unit/judge_scene.h"
#include "harness/plan.h"
#include "harness/run_parts.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_floor(void);

/* ---- before: what the plan has ------------------------------------------------------------------------------------- */

static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static const int32_t ids[] = { 1, 2, 3 };
static const fal_prompt prompts[] = { { .name = "one", .tokens = ids, .n_tokens = 1 },
                                      { .name = "three", .tokens = ids, .n_tokens = 3 },
                                      { .name = "truth", .from_oracle = "p0" },
                                      { .name = "absent", .from_oracle = "p77" } };
static const char *const one[] = { "one" }, *const three[] = { "three" }, *const both[] = { "one", "three" },
                         *const lost[] = { "three", "absent" };

typedef struct {
    fal_check check;
    fal_falsifier falsifier;
    fal_contract contract;
    const fal_contract *list[1];
    fal_contract_set set;
    fal_options options;
    fal_probes *probes;
    fal_plan *plan;
} world;

static void plan(world *w, const char *judge, const char *const *names, int n, int floor_prompts, int floor_positions)
{
    fal_error err = { 0 };
    w->check = (fal_check){ .name = "x",
                            .observe = FAL_OBSERVE_FORWARD,
                            .judge = judge,
                            .against = FAL_AGAINST_REFERENCE,
                            .limit = { FAL_LIMIT_MAX, 1e-6, false, 0, "made up" },
                            .prompts = names,
                            .n_prompts = n,
                            .floor_prompts = floor_prompts,
                            .floor_positions = floor_positions };
    if (strcmp(judge, "finite") == 0) w->check.against = FAL_AGAINST_NONE;
    w->falsifier = (fal_falsifier){ .id = "FALSIFY-X-001", .checks = &w->check, .n_checks = 1 };
    w->contract = (fal_contract){ .path = "contracts/x-v1.yaml",
                                  .stem = "x-v1",
                                  .status = "DRAFT",
                                  .prompts = prompts,
                                  .n_prompts = 4,
                                  .falsifiers = &w->falsifier,
                                  .n_falsifiers = 1 };
    w->list[0] = &w->contract;
    w->set = (fal_contract_set){ .contracts = w->list, .n_contracts = 1 };
    w->probes = fal_probes_make();
    for (int i = 1; i < w->probes->n; i++) {
        fal_probe *p = &w->probes->items[i];
        p->state = FAL_PROBE_FOUND;
        p->n = 1;
        p->devices[0].is_cpu = true; /* opencl then has two variants, each with the prompt */
        snprintf(p->devices[0].name, sizeof p->devices[0].name, "A CPU");
        snprintf(p->devices[0].slug, sizeof p->devices[0].slug, "a-cpu");
    }
    const fal_plan_in in = { .contracts = &w->set, .probes = w->probes, .options = &w->options, .model = model, .model_given = true };
    const fal_status st = fal_plan_make(&in, &w->plan, &err);
    ck_assert_msg(st == FAL_OK, "%s", err.message);
}

static void end(world *w)
{
    fal_plan_free(w->plan);
    free(w->probes);
}

static const struct {
    const char *judge;
    const char *const *names;
    int n, prompts, positions;
    bool below;
} plans[] = {
    { "rel_l2", one, 1, 0, 0, true }, /* never on one position, whatever the contract says */
    { "cosine", one, 1, 1, 1, true },   { "rel_l2", three, 1, 0, 0, false }, { "rel_l2", three, 1, 1, 3, false },
    { "rel_l2", three, 1, 1, 4, true }, { "rel_l2", three, 1, 2, 2, true },  { "argmax", both, 2, 2, 4, false },
    { "argmax", both, 2, 2, 5, true },  { "rel_l2", lost, 2, 2, 3, true }, /* what is blocked does not count */
    { "finite", one, 1, 0, 0, false },                                     /* no parity */
};

/* Rule: a plan that cannot reach the floor says so of every case that would run, and of none that is blocked. */
START_TEST(a_plan_knows_its_floor)
{
    world w = { 0 };
    plan(&w, plans[_i].judge, plans[_i].names, plans[_i].n, plans[_i].prompts, plans[_i].positions);
    ck_assert_int_ge(w.plan->n_cases, 1);
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_case *k = &w.plan->cases[i];
        ck_assert_msg((k->below_floor != NULL) == (plans[_i].below && !k->blocked), "%s: %s", k->id,
                      k->below_floor ? k->below_floor : "not below");
    }
    end(&w);
}
END_TEST

/* Rule: a selection does not lower what the contract has: the floor is held against all prompts of the check. */
START_TEST(a_selection_is_not_below)
{
    const char *only[] = { "FALSIFY-X-001/x/opencl/one" };
    world w = { .options = { .only = { only, 1 } } };
    plan(&w, "argmax", both, 2, 2, 4);
    ck_assert_int_eq(w.plan->n_cases, 1);
    ck_assert_ptr_null(w.plan->cases[0].below_floor);
    ck_assert_int_eq(w.plan->cases[0].floor_cases, 3); /* the shortest prompt on both variants, the other on one */
    end(&w);
}
END_TEST

/* ---- after: what was judged ---------------------------------------------------------------------------------------- */

static const struct {
    uint64_t positions[2]; /* judged in each case */
    fal_verdict_kind kinds[2];
    int floor_cases;
    bool below_floor;
    fal_verdict_kind expect; /* of the first case */
} runs[] = {
    { { 3, 61 }, { FAL_SURVIVED, FAL_SURVIVED }, 2, false, FAL_SURVIVED },
    { { 3, 60 }, { FAL_SURVIVED, FAL_SURVIVED }, 2, false, FAL_MISTRUSTED }, /* excused positions do not count */
    { { 3, 60 }, { FAL_FALSIFIED, FAL_SURVIVED }, 2, false, FAL_FALSIFIED }, /* a refutation needs no floor */
    { { 3, 61 }, { FAL_SURVIVED, FAL_SURVIVED }, 2, true, FAL_MISTRUSTED },
    { { 3, 0 }, { FAL_SURVIVED, FAL_CRASHED }, 2, false, FAL_MISTRUSTED },
    { { 3, 0 }, { FAL_SURVIVED, FAL_NOT_RUN }, 2, false, FAL_SURVIVED },   /* partial evidence, and marked so */
    { { 3, 61 }, { FAL_SURVIVED, FAL_SURVIVED }, 5, false, FAL_SURVIVED }, /* three cases were deselected */
};

/* Rule: a parity that was judged on fewer positions than its floor is mistrusted, never survived. */
START_TEST(a_run_is_held_to_its_floor)
{
    const fal_check check = { .name = "x",
                              .observe = FAL_OBSERVE_FORWARD,
                              .judge = "cosine",
                              .against = FAL_AGAINST_REFERENCE,
                              .floor_prompts = 2,
                              .floor_positions = 64 };
    const fal_falsifier f = { .id = "FALSIFY-X-001" };
    fal_case cases[2];
    fal_result results[2];
    for (int i = 0; i < 2; i++) {
        cases[i] = (fal_case){ .id = "x",
                               .falsifier = &f,
                               .check = &check,
                               .backend = "opencl",
                               .variant = "",
                               .what = i ? "b" : "a",
                               .floor_cases = runs[_i].floor_cases,
                               .below_floor = runs[_i].below_floor ? "below" : NULL };
        results[i] = (fal_result){ .verdict = { .kind = runs[_i].kinds[i],
                                                .has_value = runs[_i].kinds[i] <= FAL_FALSIFIED,
                                                .n_positions = runs[_i].positions[i] } };
    }
    const fal_plan p = { .cases = cases, .n_cases = 2 };
    fal_run run = { .plan = &p, .results = results };
    fal_run_hold_floors(&run);
    ck_assert_msg(results[0].verdict.kind == runs[_i].expect, "%s: %s", fal_verdict_name(results[0].verdict.kind),
                  results[0].verdict.reason);
    if (runs[_i].expect == FAL_MISTRUSTED) ck_assert_str_ne(results[0].verdict.reason, "");
}
END_TEST

/* Rule: the same prompt on a second variant is the same prompt. */
START_TEST(variants_do_not_add_up)
{
    const fal_check check = { .name = "x",
                              .observe = FAL_OBSERVE_TEACHER,
                              .judge = "rel_l2",
                              .against = FAL_AGAINST_REFERENCE,
                              .floor_prompts = 1,
                              .floor_positions = 64 };
    const fal_falsifier f = { .id = "FALSIFY-X-001" };
    fal_case cases[2];
    fal_result results[2];
    for (int i = 0; i < 2; i++) {
        cases[i] = (fal_case){ .id = "x",
                               .falsifier = &f,
                               .check = &check,
                               .backend = "opencl",
                               .variant = i ? "cpu" : "",
                               .what = "a",
                               .floor_cases = 2 };
        results[i] = (fal_result){ .verdict = { .kind = FAL_SURVIVED, .has_value = true, .n_positions = 40 } };
    }
    const fal_plan p = { .cases = cases, .n_cases = 2 };
    fal_run run = { .plan = &p, .results = results };
    fal_run_hold_floors(&run);
    ck_assert_int_eq(results[0].verdict.kind, FAL_MISTRUSTED);
    ck_assert_int_eq(results[1].verdict.kind, FAL_MISTRUSTED);
}
END_TEST

/* Rule: every parity says how many positions it compared; those behind an excused near-tie are not among them. */
START_TEST(positions_are_counted)
{
    static const char *const judges[] = { "cosine", "rel_l2", "argmax", "router_sets" };
    for (int excused = 0; excused < 2; excused++)
        for (size_t i = 0; i < sizeof judges / sizeof judges[0]; i++) {
            fal_scene s;
            fal_scene_forward(&s, judges[i], FAL_AGAINST_REFERENCE);
            fal_scene_limit(&s, i == 0 ? FAL_LIMIT_MIN : FAL_LIMIT_MAX, i == 0 ? 0.99 : 1e-6);
            if (i < 3) fal_scene_tap(&s, "logits");
            fal_scene_tap(&s, "blk.*.expert_ids");
            fal_scene_tap(&s, "blk.*.router_logits");
            fal_scene_with(&s, "excuse_flips", 1);
            fal_scene_with(&s, "gap", 1e9); /* whatever differs is a near-tie */
            fal_scene_with(&s, "max_excused_share", 1);
            if (excused) { /* at position 3 of layer 1 another expert is taken */
                int32_t *got = fal_draft_i32(s.got, "r0.blk.1.expert_ids") + 3 * N_USED;
                int32_t other = 0;
                while (other == got[0] || other == got[1]) other++;
                got[0] = other;
            }
            const fal_verdict v = fal_scene_judge(&s);
            ck_assert_msg(v.has_value, "%s: %s", judges[i], v.reason);
            const uint64_t expect = excused && i < 3 ? 3 : N_TOKENS;
            ck_assert_msg(v.n_positions == expect, "%s: %llu", judges[i], (unsigned long long)v.n_positions);
            fal_scene_free(&s);
        }
}
END_TEST

/* ---- noise --------------------------------------------------------------------------------------------------------- */

/* Rule: the noise floor follows from lengths of sums by the formula that the header states, and exact claims have none. */
START_TEST(noise_follows_from_lengths)
{
    const double u = 0x1p-24;
    const fal_config c = { .n_layer = 4,
                           .n_embd = 256,
                           .n_head = 8,
                           .n_head_kv = 2,
                           .head_dim = 64,
                           .n_expert = 16,
                           .n_expert_used = 4,
                           .n_ff = 256,
                           .n_vocab = 2048 };
    const char *const taps[] = { "blk.*.attn_output" };
    const fal_param dims[] = { { "n_tokens", 1, NULL }, { "n_in", 2048, NULL }, { "n_out", 7, NULL } };
    const fal_params shape = { dims, 3 };
    fal_check check = { .observe = FAL_OBSERVE_TEACHER,
                        .judge = "rel_l2",
                        .against = FAL_AGAINST_REFERENCE,
                        .limit = { FAL_LIMIT_MAX, 1e-5, false, 0, "" },
                        .taps = taps,
                        .n_taps = 1 };
    double op = 0, pass = 0, cosine = 0, deep = 0, v = -1;
    ck_assert(fal_noise_of(&check, &c, &op));
    ck_assert_double_eq_tol(op, (0.3 * sqrt(512) + 0.3) * u, 1e-12);
    check.observe = FAL_OBSERVE_PINNED;
    ck_assert(fal_noise_of(&check, &c, &pass));
    ck_assert(pass > op && pass < 100 * op);
    fal_config c48 = c;
    c48.n_layer = 192;
    ck_assert(fal_noise_of(&check, &c48, &deep));
    ck_assert_double_eq_tol(deep / pass, sqrt(48), 0.2); /* a random walk over the depth */
    check.judge = "cosine";
    ck_assert(fal_noise_of(&check, &c, &cosine));
    ck_assert_double_eq_tol(1 - cosine, pass * pass / 2, 1e-16);
    check.judge = "rel_l2";
    ck_assert(!fal_noise_of(&check, NULL, &v)); /* nothing is known of the model */
    check = (fal_check){ .observe = FAL_OBSERVE_OP,
                         .judge = "rel_l2",
                         .op = "matmul",
                         .shapes = &shape,
                         .n_shapes = 1,
                         .limit = { FAL_LIMIT_MAX, 1e-5, false, 0, "" } };
    ck_assert(fal_noise_of(&check, NULL, &v));
    ck_assert_double_eq_tol(v, (0.3 * sqrt(2048) + 0.3) * u, 1e-12);
    check.limit.value = 0; /* nothing may be rounded */
    ck_assert(fal_noise_of(&check, NULL, &v));
    ck_assert(!(v > 0));
    check.judge = "max_abs";
    check.limit.value = 1;
    ck_assert(!fal_noise_of(&check, NULL, &v));
    check.judge = "exact";
    ck_assert(fal_noise_of(&check, NULL, &v));
    ck_assert(!(v > 0));
}
END_TEST

Suite *fal_suite_floor(void)
{
    Suite *s = suite_create("floor");
    TCase *t = tcase_create("floor");
    tcase_add_loop_test(t, a_plan_knows_its_floor, 0, (int)(sizeof plans / sizeof plans[0]));
    tcase_add_test(t, a_selection_is_not_below);
    tcase_add_loop_test(t, a_run_is_held_to_its_floor, 0, (int)(sizeof runs / sizeof runs[0]));
    tcase_add_test(t, variants_do_not_add_up);
    tcase_add_test(t, positions_are_counted);
    tcase_add_test(t, noise_follows_from_lengths);
    suite_add_tcase(s, t);
    return s;
}
