/* Unit tests of harness/derive.h: the truth table from evidence to falsifiers, obligations, stages and contracts. */
#include "falsifiers/unit/status_desk.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_derive(void);

enum { MOST = 12 };

/* One row of the truth table: evidence, and what follows from it for the contract of status_desk.h. */
typedef struct {
    const char *what;
    fal_desk_record records[MOST];
    int n;
    fal_claim_state first, second; /* T-EQV-001, T-INV-002 */
    fal_stage_level stage;
    fal_contract_level contract;
} row;

#define L2(b, v)                                                                                                       \
    {                                                                                                                  \
        .id = "FALSIFY-T-001", .backend = b, .checks = "l2:" v                                                         \
    }
#define FINITE(b, v)                                                                                                   \
    {                                                                                                                  \
        .id = "FALSIFY-T-002", .backend = b, .checks = "finite:" v                                                     \
    }
#define CPU .is_cpu = true, .device = "a-cpu"

static const row rows[] = {
    { .what = "nothing ran", .n = 0, FAL_CLAIM_MISSING, FAL_CLAIM_MISSING, FAL_STAGE_PENDING, FAL_CONTRACT_DRAFT },
    { .what = "everything survived on hardware",
      .records = { L2("opencl", "survived"), L2("cuda", "survived"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_DISCHARGED,
      FAL_CONTRACT_ALGORITHM },
    { .what = "one backend is missing",
      .records = { L2("opencl", "survived"), FINITE("reference", "survived"), FINITE("opencl", "survived") },
      .n = 3,
      FAL_CLAIM_PARTIAL,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_SHIPPED,
      FAL_CONTRACT_DRAFT },
    { .what = "one falsifier never ran",
      .records = { L2("opencl", "survived"), L2("cuda", "survived") },
      .n = 2,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_MISSING,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "a CPU stood in for the card",
      .records = { { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:survived", CPU },
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_SHIPPED,
      FAL_CONTRACT_DRAFT },
    { .what = "the CPU of the reference is its hardware",
      .records = { L2("opencl", "survived"),
                   L2("cuda", "survived"),
                   { .id = "FALSIFY-T-002", .backend = "reference", .checks = "finite:survived", CPU },
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_DISCHARGED,
      FAL_CONTRACT_ALGORITHM },
    { .what = "falsified on one backend",
      .records = { L2("opencl", "survived"), L2("cuda", "survived,l2:falsified"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_FALSIFIED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "falsified on one device of two",
      .records = { L2("opencl", "survived"),
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived"),
                   { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:falsified", .device = "other" } },
      .n = 5,
      FAL_CLAIM_FALSIFIED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "everything was falsified",
      .records = { L2("opencl", "falsified"), L2("cuda", "falsified"), FINITE("reference", "falsified"),
                   FINITE("opencl", "falsified") },
      .n = 4,
      FAL_CLAIM_FALSIFIED,
      FAL_CLAIM_FALSIFIED,
      FAL_STAGE_PENDING,
      FAL_CONTRACT_DRAFT },
    { .what = "crashed",
      .records = { L2("opencl", "survived"), L2("cuda", "crashed"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_UNDECIDED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "mistrusted",
      .records = { L2("opencl", "survived"), L2("cuda", "mistrusted"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_UNDECIDED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "waived in part",
      .records = { L2("opencl", "survived"), L2("cuda", "survived,l2:waived"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_WAIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_SHIPPED,
      FAL_CONTRACT_DRAFT },
    { .what = "blocked in part",
      .records = { L2("opencl", "survived"), L2("cuda", "survived,l2:blocked"), FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_PARTIAL,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_SHIPPED,
      FAL_CONTRACT_DRAFT },
    { .what = "only blocked",
      .records = { L2("cuda", "blocked") },
      .n = 1,
      FAL_CLAIM_MISSING,
      FAL_CLAIM_MISSING,
      FAL_STAGE_PENDING,
      FAL_CONTRACT_DRAFT },
    { .what = "partial files complete nothing",
      .records = { { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:survived", .partial = true },
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived") },
      .n = 4,
      FAL_CLAIM_PARTIAL,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_SHIPPED,
      FAL_CONTRACT_DRAFT },
    { .what = "a newer partial file lowers",
      .records = { L2("opencl", "survived"),
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived"),
                   { .id = "FALSIFY-T-001",
                     .backend = "cuda",
                     .checks = "l2:falsified",
                     .partial = true,
                     .finished = "2026-11-22T00:00:00Z" } },
      .n = 5,
      FAL_CLAIM_FALSIFIED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_PARTIAL,
      FAL_CONTRACT_DRAFT },
    { .what = "an older partial file is superseded",
      .records = { L2("opencl", "survived"),
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived"),
                   { .id = "FALSIFY-T-001",
                     .backend = "cuda",
                     .checks = "l2:falsified",
                     .partial = true,
                     .finished = "2026-11-20T00:00:00Z" } },
      .n = 5,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_DISCHARGED,
      FAL_CONTRACT_ALGORITHM },
    { .what = "an older partial file is superseded, with cases that are no more",
      .records = { L2("opencl", "survived"),
                   L2("cuda", "survived"),
                   FINITE("reference", "survived"),
                   FINITE("opencl", "survived"),
                   { .id = "FALSIFY-T-001",
                     .backend = "cuda",
                     .checks = "l2:survived,l2:falsified",
                     .partial = true,
                     .finished = "2026-11-20T00:00:00Z" } },
      .n = 5,
      FAL_CLAIM_SURVIVED,
      FAL_CLAIM_SURVIVED,
      FAL_STAGE_DISCHARGED,
      FAL_CONTRACT_ALGORITHM },
    { .what = "evidence of a backend that no check names lifts nothing",
      .records = { L2("reference", "survived"), FINITE("cuda", "survived") },
      .n = 2,
      FAL_CLAIM_MISSING,
      FAL_CLAIM_MISSING,
      FAL_STAGE_PENDING,
      FAL_CONTRACT_DRAFT },
};

static void set_up(void)
{
    fal_desk_make();
    fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
}

START_TEST(truth_table)
{
    const row *r = &rows[_i];
    fal_desk_state s;
    if (strstr(r->what, "waived"))
        fal_desk_contract("t-v1.yaml", fal_desk_two, "proof_obligations:",
                          "waivers:\n  - {id: W-1, falsifier: FALSIFY-T-001, check: l2, owner: somebody, reason: known,\n"
                          "     granted: \"2026-11-01\", expires: \"2026-12-01\", limit: {max: 2.5}}\nproof_obligations:");
    fal_desk_evidence("20261121T000000Z-a", r->records, r->n);
    fal_desk_derive(&s, NULL);
    const fal_derived_contract *c = &s.derived->contracts[0];
    ck_assert_msg(c->obligations[0].standing.state == r->first, "%s: T-EQV-001 is %s: %s", r->what,
                  fal_claim_state_name(c->obligations[0].standing.state), c->obligations[0].standing.why);
    ck_assert_msg(c->obligations[1].standing.state == r->second, "%s: T-INV-002 is %s: %s", r->what,
                  fal_claim_state_name(c->obligations[1].standing.state), c->obligations[1].standing.why);
    ck_assert_msg(c->stages[0].is == r->stage, "%s: the stage is %s: %s", r->what,
                  fal_stage_level_name(c->stages[0].is), c->stages[0].why);
    ck_assert_msg(c->is == r->contract, "%s: the contract is %s: %s", r->what, fal_contract_level_name(c->is), c->why);
    ck_assert(c->is > FAL_CONTRACT_DRAFT || (c->why && *c->why)); /* what holds it is told */
    ck_assert(c->stages[0].is == FAL_STAGE_DISCHARGED || (c->stages[0].why && *c->stages[0].why));
    ck_assert_int_eq(c->n_bound, 2);
    ck_assert_int_eq(s.derived->n_above, 0);
    const fal_fresh_filter all = { .heavy = true };
    const fal_fresh_count t = fal_derived_fresh(s.derived, &all);
    ck_assert_int_eq(t.cells, 4);
    ck_assert_int_eq(t.cells, t.fresh + t.falsified + t.undecided + t.stale + t.missing + t.excused);
    fal_desk_release(&s);
}
END_TEST

static const fal_desk_record all_survived[] = { L2("opencl", "survived"), L2("cuda", "survived"),
                                                FINITE("reference", "survived"), FINITE("opencl", "survived") };

static fal_derived_stage stage_with(const char *from, const char *to, const fal_desk_record *records, int n)
{
    fal_desk_state s;
    fal_desk_contract("t-v1.yaml", fal_desk_two, from, to);
    fal_desk_evidence("20261121T000000Z-a", records, n);
    fal_desk_derive(&s, NULL);
    const fal_derived_stage d = s.derived->contracts[0].stages[0];
    fal_desk_release(&s);
    return (fal_derived_stage){ .says = d.says, .is = d.is, .above = d.above };
}

/* Rule: a stage is about the backends that it names; blockers hold it; without obligations it claims nothing. */
START_TEST(stages)
{
    static const char obligations[] = "obligations: [T-EQV-001, T-INV-002]\nfalsification";
    const fal_desk_record opencl[] = { L2("opencl", "survived"), FINITE("opencl", "survived") };
    ck_assert_int_eq(stage_with(NULL, NULL, opencl, 2).is, FAL_STAGE_SHIPPED);
    ck_assert_int_eq(
        stage_with(obligations, "obligations: [T-EQV-001, T-INV-002]\n    backends: [opencl]\nfalsification", opencl, 2)
            .is,
        FAL_STAGE_DISCHARGED);
    ck_assert_int_eq(
        stage_with(obligations, "obligations: [T-EQV-001, T-INV-002]\n    backends: [cuda]\nfalsification", opencl, 2)
            .is,
        FAL_STAGE_PENDING);
    /* T-INV-002 has no check on cuda: unbound there, however well the rest goes */
    ck_assert_int_eq(stage_with(obligations, "obligations: [T-EQV-001, T-INV-002]\n    backends: [cuda]\nfalsification",
                                all_survived, 4)
                         .is,
                     FAL_STAGE_PARTIAL);
    ck_assert_int_eq(stage_with(NULL, NULL, all_survived, 4).is, FAL_STAGE_DISCHARGED);
    ck_assert_int_eq(stage_with(obligations, "obligations: [T-EQV-001, T-INV-002]\n    blockers: [time]\nfalsification",
                                all_survived, 4)
                         .is,
                     FAL_STAGE_SHIPPED);
    ck_assert_int_eq(
        stage_with(obligations,
                   "obligations: [T-EQV-001, T-INV-002]\n    waits_for: [\"tool:nothing-of-that-name\"]\nfalsification",
                   all_survived, 4)
            .is,
        FAL_STAGE_SHIPPED);
    static const char bare[] = "    status: PENDING\n    title: all of it\n    obligations: [T-EQV-001, T-INV-002]\n";
    const fal_derived_stage none = stage_with(bare, "    status: SHIPPED\n", all_survived, 4),
                            noted = stage_with(bare, "    status: RECORDED\n", all_survived, 4);
    ck_assert(none.above && none.is == FAL_STAGE_RECORDED);
    ck_assert(!noted.above && noted.is == FAL_STAGE_RECORDED);
}
END_TEST

/* Rule: what the file says is held against the evidence, level by level. */
START_TEST(above_the_evidence)
{
    static const char *const levels[] = { "RECORDED", "PENDING", "PARTIAL_ALGORITHM_LEVEL", "SHIPPED", "DISCHARGED" };
    const fal_desk_record three[] = { L2("opencl", "survived"), FINITE("reference", "survived"),
                                      FINITE("opencl", "survived") };
    for (int says = 0; says < 5; says++) {
        char to[80];
        snprintf(to, sizeof to, "status: %s", levels[says]);
        const fal_derived_stage d = stage_with("status: PENDING", to, three, 3);
        ck_assert_int_eq(d.says, says);
        ck_assert_int_eq(d.is, FAL_STAGE_SHIPPED);
        ck_assert(d.above == (says > FAL_STAGE_SHIPPED));
    }
    static const char *const contract_levels[] = { "DRAFT", "ACTIVE_ALGORITHM_LEVEL", "ACTIVE_RUNTIME" };
    for (int says = 0; says < 3; says++) {
        char to[80];
        fal_desk_state s;
        snprintf(to, sizeof to, "status: %s", contract_levels[says]);
        fal_desk_contract("t-v1.yaml", fal_desk_two, "status: DRAFT", to);
        fal_desk_evidence("20261121T000000Z-a", all_survived, 4);
        fal_desk_derive(&s, NULL);
        ck_assert_int_eq(s.derived->contracts[0].is, FAL_CONTRACT_ALGORITHM);
        ck_assert(s.derived->contracts[0].above == (says > FAL_CONTRACT_ALGORITHM));
        ck_assert_int_eq(s.derived->n_above, says > FAL_CONTRACT_ALGORITHM);
        fal_desk_release(&s);
    }
}
END_TEST

/* Rule: ACTIVE_RUNTIME needs throughput or memory on the card that the claim names; other cards are excused, not counted. */
START_TEST(runtime_and_excuses)
{
    static const char more[] =
        "falsification_tests:\n"
        "  - id: FALSIFY-T-003\n    rule: fast\n    prediction: it is\n    if_fails: look\n    obligations: "
        "[T-BND-003]\n"
        "    check:\n"
        "      - {name: card, observe: throughput, judge: throughput, against: none, limit: {max: 1}, basis: b, "
        "backends: [cuda],\n"
        "         with: {context: 1, n_tokens: 1, runs: 1, n_ctx: 4, device_name: \"SOME CARD\"}}\n";
    char text[4096];
    const char *at = strstr(fal_desk_two, "falsification_tests:\n");
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - fal_desk_two), fal_desk_two, more,
             at + strlen("falsification_tests:\n"));
    fal_desk_contract("t-v1.yaml", text, "implementation_stages",
                      "  - {id: T-BND-003, type: bound, property: it is fast}\nimplementation_stages");
    fal_desk_evidence("20261121T000000Z-a", all_survived, 4);
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    const fal_derived_contract *c = &s.derived->contracts[0];
    ck_assert(c->obligations[2].runtime && !c->obligations[0].runtime);
    ck_assert_int_eq(c->is, FAL_CONTRACT_ALGORITHM);
    const fal_fresh_filter heavy = { .heavy = true };
    ck_assert_int_eq(fal_derived_fresh(s.derived, &heavy).excused, 1);
    ck_assert_int_eq(fal_derived_fresh(s.derived, &heavy).missing, 0);
    fal_desk_release(&s);

    const fal_desk_record fast[] = {
        all_survived[0],
        all_survived[1],
        all_survived[2],
        all_survived[3],
        { .id = "FALSIFY-T-003", .backend = "cuda", .checks = "card:survived", .device = "SOME CARD" }
    };
    fal_desk_evidence("20261122T000000Z-b", fast, 5);
    fal_desk_derive(&s, NULL);
    ck_assert_int_eq(s.derived->contracts[0].is, FAL_CONTRACT_RUNTIME);
    fal_desk_release(&s);

    /* the card was there, and the evidence went stale: no excuse */
    fal_source changed[8];
    int n = 0;
    for (; fal_sources[n].part; n++) {
        changed[n] = fal_sources[n];
        if (strcmp(changed[n].part, "cuda") == 0) changed[n].sha256 = "0";
    }
    changed[n] = (fal_source){ 0 };
    fal_desk_derive(&s, changed);
    const fal_fresh_count t = fal_derived_fresh(s.derived, &heavy);
    ck_assert_int_eq(t.excused, 0);
    ck_assert_int_eq(t.stale, 2); /* T-001 and T-003 on cuda */
    ck_assert_int_eq(s.derived->contracts[0].is, FAL_CONTRACT_DRAFT);
    fal_desk_release(&s);
}
END_TEST

/* Rule: what takes long is asked for only with heavy; once it ran and went stale, it is stale either way. */
START_TEST(heavy_checks)
{
    fal_desk_contract("t-v1.yaml", fal_desk_two, "name: finite, ", "name: finite, heavy: true, ");
    fal_desk_evidence("20261121T000000Z-a", all_survived, 2);
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    const fal_fresh_filter heavy = { .heavy = true }, light = { 0 };
    ck_assert_int_eq(fal_derived_fresh(s.derived, &heavy).missing, 2);
    ck_assert_int_eq(fal_derived_fresh(s.derived, &light).missing, 0);
    ck_assert_int_eq(fal_derived_fresh(s.derived, &light).excused, 2);
    ck_assert_int_eq(s.derived->contracts[0].stages[0].is, FAL_STAGE_PARTIAL); /* excused from the gate lifts nothing */
    fal_desk_release(&s);
    fal_desk_evidence("20261121T000000Z-a", all_survived, 4);
    fal_desk_contract("t-v1.yaml", fal_desk_two, "judge: finite, against: none, limit: {max: 1}",
                      "heavy: true, judge: finite, against: none, limit: {max: 3}");
    fal_desk_derive(&s, NULL);
    ck_assert_int_eq(fal_derived_fresh(s.derived, &light).stale, 2);
    fal_desk_release(&s);
}
END_TEST

Suite *fal_suite_derive(void)
{
    Suite *s = suite_create("derive");
    TCase *t = tcase_create("derive");
    tcase_add_checked_fixture(t, set_up, fal_desk_remove);
    tcase_set_timeout(t, 20);
    tcase_add_loop_test(t, truth_table, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(t, stages);
    tcase_add_test(t, above_the_evidence);
    tcase_add_test(t, runtime_and_excuses);
    tcase_add_test(t, heavy_checks);
    suite_add_tcase(s, t);
    return s;
}
