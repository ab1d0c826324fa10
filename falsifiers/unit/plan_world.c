/* A small made-up world for tests of plan, run, evidence and report. */
#include "falsifiers/unit/plan_world.h"

#include <stdlib.h>
#include <string.h>

static const int32_t five[] = { 1, 2, 3, 4, 5 }, two[] = { 7, 8 };
static const fal_prompt alpha_prompts[] = { { .name = "five", .tokens = five, .n_tokens = 5 },
                                            { .name = "two", .tokens = two, .n_tokens = 2 } };
static const fal_prompt beta_prompts[] = { { .name = "truth", .from_oracle = "p1" },
                                           { .name = "two", .tokens = two, .n_tokens = 2 } };
static const char *const both_prompts[] = { "five", "two" }, *const one_prompt[] = { "two" },
                         *const truth[] = { "truth" };
static const char *const attn_tap[] = { "blk.*.attn" };
static const char *const all_backends[] = { "reference", "opencl", "cuda" };
static const char *const gauss[] = { "gauss" }, *const gauss_zeros[] = { "gauss", "zeros" };
static const char *const spoils[] = { "truncated", "arch" };
static const char *const ob1[] = { "OB-1" }, *const ob2[] = { "OB-2" };
static const fal_param small[] = { { .name = "n_tokens", .number = 2 }, { .name = "n_embd", .number = 32 } };
static const fal_param wide[] = { { .name = "n_tokens", .number = 1 }, { .name = "n_embd", .number = 64 } };
static const fal_params shapes[] = { { small, 2 }, { wide, 2 } };
static const uint64_t seeds[] = { 3, 4 };

/* of the form that a limit initialiser takes */
#define AT_MOST(v)                                                                                                     \
    {                                                                                                                  \
        FAL_LIMIT_MAX, v, false, 0, "made up"                                                                          \
    }
#define AT_LEAST(v)                                                                                                    \
    {                                                                                                                  \
        FAL_LIMIT_MIN, v, false, 0, "made up"                                                                          \
    }
#define EXACTLY(v)                                                                                                     \
    {                                                                                                                  \
        FAL_LIMIT_EQUAL, v, false, 0, "made up"                                                                        \
    }

static const fal_check op_check[] = {
    { .name = "op_error",
      .observe = FAL_OBSERVE_OP,
      .judge = "rel_l2",
      .against = FAL_AGAINST_REFERENCE,
      .limit = AT_MOST(1e-6),
      .op = "rmsnorm",
      .shapes = shapes,
      .n_shapes = 2,
      .fills = gauss_zeros,
      .n_fills = 2,
      .seeds = seeds,
      .n_seeds = 2,
      .place = { 11, 5 } },
    { .name = "finite",
      .observe = FAL_OBSERVE_OP,
      .judge = "finite",
      .against = FAL_AGAINST_NONE,
      .limit = EXACTLY(0),
      .op = "rmsnorm",
      .shapes = shapes,
      .n_shapes = 1,
      .fills = gauss,
      .n_fills = 1,
      .seeds = seeds,
      .n_seeds = 2,
      .place = { 21, 5 },
      .backends = all_backends,
      .n_backends = 3 },
};
static const fal_check forward_check[] = {
    { .name = "logits",
      .observe = FAL_OBSERVE_FORWARD,
      .judge = "rel_l2",
      .against = FAL_AGAINST_REFERENCE,
      .limit = AT_MOST(1e-6),
      .prompts = both_prompts,
      .n_prompts = 2,
      .place = { 31, 5 } },
    { .name = "attn",
      .observe = FAL_OBSERVE_FORWARD,
      .judge = "rel_l2",
      .against = FAL_AGAINST_REFERENCE,
      .limit = AT_MOST(1e-6),
      .prompts = one_prompt,
      .n_prompts = 1,
      .taps = attn_tap,
      .n_taps = 1,
      .place = { 41, 5 } },
};
static const fal_check oracle_check[] = {
    { .name = "oracle",
      .observe = FAL_OBSERVE_FORWARD,
      .judge = "cosine",
      .against = FAL_AGAINST_ORACLE,
      .limit = AT_LEAST(0.99),
      .prompts = truth,
      .n_prompts = 1,
      .place = { 51, 5 } },
};
static const fal_check mode_checks[] = {
    { .name = "teacher",
      .observe = FAL_OBSERVE_TEACHER,
      .judge = "rel_l2",
      .against = FAL_AGAINST_REFERENCE,
      .limit = AT_MOST(1e-6),
      .prompts = one_prompt,
      .n_prompts = 1,
      .taps = attn_tap,
      .n_taps = 1,
      .place = { 61, 5 } },
    { .name = "pinned",
      .observe = FAL_OBSERVE_PINNED,
      .judge = "rel_l2",
      .against = FAL_AGAINST_REFERENCE,
      .limit = AT_MOST(1e-6),
      .prompts = one_prompt,
      .n_prompts = 1,
      .place = { 71, 5 } },
    { .name = "again",
      .observe = FAL_OBSERVE_FORWARD,
      .judge = "same_bits",
      .against = FAL_AGAINST_SELF,
      .limit = EXACTLY(0),
      .prompts = one_prompt,
      .n_prompts = 1,
      .again = true,
      .place = { 81, 5 } },
    { .name = "decode",
      .observe = FAL_OBSERVE_FORWARD,
      .judge = "decode_matches_prefill",
      .against = FAL_AGAINST_SELF,
      .limit = AT_MOST(1e-6),
      .prompts = one_prompt,
      .n_prompts = 1,
      .decode = true,
      .place = { 91, 5 } },
};
static const fal_check whole_model_checks[] = {
    { .name = "preload",
      .observe = FAL_OBSERVE_PRELOAD,
      .judge = "preload",
      .against = FAL_AGAINST_NONE,
      .limit = EXACTLY(0),
      .place = { 101, 5 } },
    { .name = "refused",
      .observe = FAL_OBSERVE_REFUSAL,
      .judge = "refused",
      .against = FAL_AGAINST_NONE,
      .limit = EXACTLY(1),
      .spoil = spoils,
      .n_spoil = 2,
      .place = { 111, 5 } },
};

static const fal_falsifier alpha_falsifiers[] = {
    { .id = "FALSIFY-ALPHA-001",
      .rule = "Op",
      .prediction = "The op agrees",
      .if_fails = "Look at the tail",
      .obligations = ob1,
      .n_obligations = 1,
      .checks = op_check,
      .n_checks = 2 },
    { .id = "FALSIFY-ALPHA-002",
      .rule = "Forward",
      .prediction = "The pass agrees",
      .if_fails = "Bisect",
      .obligations = ob2,
      .n_obligations = 1,
      .checks = forward_check,
      .n_checks = 2 },
    { .id = "FALSIFY-ALPHA-003",
      .rule = "Prose",
      .prediction = "Somebody should test this",
      .unbound_because = "nobody has \033[31mdone it" },
    { .id = "FALSIFY-ALPHA-004",
      .rule = "Past",
      .prediction = "It fails",
      .retired = true,
      .end_condition = "it works" },
};
static const fal_falsifier beta_falsifiers[] = {
    { .id = "FALSIFY-BETA-001",
      .rule = "Oracle",
      .prediction = "The pass is right",
      .checks = oracle_check,
      .n_checks = 1 },
    { .id = "FALSIFY-BETA-002",
      .rule = "Modes",
      .prediction = "Each op is right",
      .checks = mode_checks,
      .n_checks = 4 },
    { .id = "FALSIFY-BETA-003",
      .rule = "Model",
      .prediction = "Weights arrive",
      .checks = whole_model_checks,
      .n_checks = 2 },
};
static const fal_stage alpha_stages[] = {
    { .id = "M-ONE", .status = "PENDING", .title = "The op", .obligations = ob1, .n_obligations = 1 }
};
static const char *const alpha_blockers[] = { "nobody has a \033]0;card\007" };
static const fal_contract alpha = { .path = "contracts/alpha-v1.yaml",
                                    .stem = "alpha-v1",
                                    .version = "1.0.0",
                                    .status = "DRAFT",
                                    .sha256 = "aa",
                                    .prompts = alpha_prompts,
                                    .n_prompts = 2,
                                    .falsifiers = alpha_falsifiers,
                                    .n_falsifiers = 4,
                                    .stages = alpha_stages,
                                    .n_stages = 1,
                                    .blockers = alpha_blockers,
                                    .n_blockers = 1 };
static const fal_contract beta = { .path = "contracts/beta-v1.yaml",
                                   .stem = "beta-v1",
                                   .version = "2.0.0",
                                   .status = "DRAFT",
                                   .sha256 = "bb",
                                   .prompts = beta_prompts,
                                   .n_prompts = 2,
                                   .falsifiers = beta_falsifiers,
                                   .n_falsifiers = 3 };
static const fal_contract *const contracts[] = { &alpha, &beta };
static const fal_contract_set set = { .contracts = contracts, .n_contracts = 2, .n_found = 2, .n_parsed = 2 };

const fal_contract_set *fal_world_contracts(void)
{
    return &set;
}

static void place_device(fal_probe *p, const char *name, const char *slug, bool is_cpu)
{
    p->state = FAL_PROBE_FOUND;
    p->n = 1;
    p->devices[0] = (fal_device_info){ .is_cpu = is_cpu };
    snprintf(p->devices[0].name, sizeof p->devices[0].name, "%s", name);
    snprintf(p->devices[0].slug, sizeof p->devices[0].slug, "%s", slug);
    snprintf(p->devices[0].driver, sizeof p->devices[0].driver, "1.0");
}

fal_status fal_world_make(fal_world *w, fal_world_devices devices, const char *model, const char *const *arguments)
{
    char *argv[32] = { (char *)(uintptr_t) "run" };
    int argc = 1;
    *w = (fal_world){ 0 };
    for (; arguments && arguments[argc - 1] && argc < 31; argc++) argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
    fal_status st = fal_options_parse(argc, argv, FAL_FOR_PLAN, &w->options, &w->err);
    if (st) return st;
    w->probes = fal_probes_make();
    if (!w->probes) return FAL_ERR_MEMORY;
    place_device(&w->probes->items[0], "Test CPU", "test-cpu", true);
    if (devices != FAL_WORLD_NO_DEVICES)
        place_device(&w->probes->items[1], devices == FAL_WORLD_CPU ? "Some CPU" : "Some GPU",
                     devices == FAL_WORLD_CPU ? "some-cpu" : "some-gpu", devices == FAL_WORLD_CPU);
    for (int i = devices == FAL_WORLD_NO_DEVICES ? 1 : 2; i < w->probes->n; i++) {
        w->probes->items[i].state = FAL_PROBE_BLOCKED;
        fal_fail(&w->probes->items[i].error, FAL_ERR_BLOCKED, "get a card", "no card \033[2Jhere");
    }
    const fal_plan_in in = { .contracts = &set, .probes = w->probes, .options = &w->options, .model = model };
    return fal_plan_make(&in, &w->plan, &w->err);
}

void fal_world_free(fal_world *w)
{
    fal_plan_free(w->plan);
    free(w->probes);
    fal_options_free(&w->options);
    *w = (fal_world){ 0 };
}

const fal_case *fal_world_case(const fal_world *w, const char *id)
{
    for (int i = 0; i < w->plan->n_cases; i++)
        if (strcmp(w->plan->cases[i].id, id) == 0) return &w->plan->cases[i];
    return NULL;
}

int fal_world_count(const fal_world *w, const char *backend, const char *variant)
{
    int n = 0;
    for (int i = 0; i < w->plan->n_cases; i++)
        n += (!backend || strcmp(w->plan->cases[i].backend, backend) == 0) &&
             (!variant || strcmp(w->plan->cases[i].variant, variant) == 0);
    return n;
}
