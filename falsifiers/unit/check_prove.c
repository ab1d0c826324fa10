/* Tests of proofs: which cases can see a mutant, what the matrix says of survivors and blind falsifiers, and what a run
   takes from it. */
#include "harness/evidence.h"
#include "harness/options.h"
#include "harness/prove.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_prove(void);

static const char *const gauss[] = { "gauss" };
static const uint64_t seed[] = { 1 };
static const fal_param q4k[] = { { "n_in", 256, NULL }, { "type", 0, "Q4_K" } }, q6k[] = { { "n_in", 256, NULL }, { "type", 0, "Q6_K" } };
static const char *const truncated[] = { "truncated" }, *const no_tokens[] = { "no_tokens" };

enum { MATMUL, MATMUL_Q6, NORM, BLIND, LOGITS, ROWS, FILES, REQUESTS, SPEED, HEAVY, CPU_NORM, FUSED, N_CASES };

/* A plan of the opencl backend by hand: the falsifiers that the mutants below are named by, one that is blind, and some
   that no mutant reaches. Every case has an observation of its own, and one of the reference. */
typedef struct {
    fal_contract contract;
    fal_falsifier falsifiers[N_CASES];
    fal_check checks[N_CASES];
    fal_case cases[N_CASES];
    fal_plan_spec specs[2 * N_CASES];
    fal_device_info device;
    fal_plan plan;
    fal_prove_plan proof;
    fal_run run;
    fal_matrix matrix;
    char reason[256];
    fal_error err;
} scene;

static void put(scene *s, int i, const char *id, const char *name, fal_observe_kind observe, const char *op, const char *variant)
{
    s->falsifiers[i] = (fal_falsifier){ .id = id, .rule = "a rule", .prediction = "a prediction" };
    s->checks[i] = (fal_check){ .name = name, .observe = observe, .judge = "rel_l2", .op = op, .fills = gauss, .n_fills = 1, .seeds = seed, .n_seeds = 1,
                                .limit = { FAL_LIMIT_MAX, 1e-6, false, 0, "made up" } };
    s->specs[2 * i] = (fal_plan_spec){ .inputs = -1, .pin = -1, .label = "want", .spec = { .kind = observe, .backend = "reference", .variant = "" } };
    s->specs[2 * i + 1] =
        (fal_plan_spec){ .inputs = observe == FAL_OBSERVE_TEACHER ? 2 * i : -1, .pin = -1, .label = "got", .spec = { .kind = observe, .backend = "opencl", .variant = variant } };
    s->cases[i] = (fal_case){ .id = id, .contract = &s->contract, .falsifier = &s->falsifiers[i], .check = &s->checks[i], .backend = "opencl",
                              .variant = variant, .what = "x", .device = &s->device, .want = 2 * i, .got = 2 * i + 1, .again = -1, .oracle_prompt = -1,
                              .n_tokens = observe == FAL_OBSERVE_OP ? 0 : 18 };
}

static void set_up(scene *s)
{
    *s = (scene){ .contract = { .path = "contracts/x.yaml", .stem = "x", .version = "1" } };
    snprintf(s->device.slug, sizeof s->device.slug, "a-device");
    put(s, MATMUL, "FALSIFY-QS-009", "op_error", FAL_OBSERVE_OP, "matmul", "");
    put(s, MATMUL_Q6, "FALSIFY-QS-006", "one_weight_at_a_time", FAL_OBSERVE_OP, "matmul", "");
    put(s, NORM, "FALSIFY-RN-006", "op_error", FAL_OBSERVE_OP, "rmsnorm", "");
    put(s, BLIND, "FALSIFY-BLIND-001", "sees_nothing", FAL_OBSERVE_OP, "rmsnorm", "");
    put(s, LOGITS, "FALSIFY-QW3-MOE-GPU-PARITY-002", "logits", FAL_OBSERVE_FORWARD, NULL, "");
    put(s, ROWS, "FALSIFY-QW3-MOE-GPU-PARITY-001", "op_error", FAL_OBSERVE_TEACHER, NULL, "");
    put(s, FILES, "FALSIFY-006", "refused", FAL_OBSERVE_REFUSAL, NULL, "");
    put(s, REQUESTS, "FALSIFY-QW3-MOE-FORWARD-002", "requests", FAL_OBSERVE_REFUSAL, NULL, "");
    put(s, SPEED, "FALSIFY-SPEED-001", "speed", FAL_OBSERVE_THROUGHPUT, NULL, "");
    put(s, HEAVY, "FALSIFY-HEAVY-001", "op_error", FAL_OBSERVE_OP, "attention", "");
    put(s, CPU_NORM, "FALSIFY-RN-007", "op_error", FAL_OBSERVE_OP, "rmsnorm", "cpu");
    put(s, FUSED, "FALSIFY-FUSED-001", "logits", FAL_OBSERVE_FORWARD, NULL, "fast");
    static const fal_params shape_q4k = { q4k, 2 }, shape_q6k = { q6k, 2 };
    s->checks[MATMUL].shapes = &shape_q4k;
    s->checks[MATMUL_Q6].shapes = &shape_q6k;
    s->checks[MATMUL].n_shapes = s->checks[MATMUL_Q6].n_shapes = 1;
    s->checks[FILES].spoil = truncated;
    s->checks[REQUESTS].spoil = no_tokens;
    s->checks[FILES].n_spoil = s->checks[REQUESTS].n_spoil = 1;
    s->checks[FILES].judge = s->checks[REQUESTS].judge = "refused";
    s->cases[HEAVY].blocked = "takes long, and was not asked for";
    s->cases[HEAVY].want = s->cases[HEAVY].got = -1;
    s->plan = (fal_plan){ .cases = s->cases, .n_cases = N_CASES, .specs = s->specs, .n_specs = 2 * N_CASES, .model = "m", .oracle_path = "o" };
}

static void plan_for(scene *s, const char *const *globs, int n)
{
    ck_assert_msg(fal_prove_plan_make(&s->plan, globs, n, NULL, &s->proof, &s->err) == FAL_OK, "%s", s->err.message);
    s->run = (fal_run){ .plan = &s->proof.plan };
    s->run.results = calloc((size_t)s->proof.plan.n_cases + 1, sizeof *s->run.results);
    ck_assert_ptr_nonnull(s->run.results);
}

/* The verdict of a falsifier about a mutant (NULL: without one); all others survive. */
static void verdict(scene *s, const char *mutant, int which, fal_verdict_kind kind)
{
    int n = 0;
    for (int i = 0; i < s->proof.plan.n_cases; i++) {
        const char *id = s->proof.mutants[i] ? s->proof.mutants[i]->id : "";
        if (strcmp(id, mutant ? mutant : "") != 0 || s->proof.origin[i] != which) continue;
        s->run.results[i].verdict.kind = kind;
        n++;
    }
    ck_assert_msg(n == 1, "%s: %d cases of %d", mutant ? mutant : "control", n, which);
}

static int matrix(scene *s, bool whole)
{
    static const char *const require[] = { "opencl" };
    fal_matrix_free(&s->matrix);
    ck_assert_msg(fal_matrix_make(&s->proof, &s->run, whole, &s->matrix, &s->err) == FAL_OK, "%s", s->err.message);
    return fal_matrix_exit(&s->matrix, require, 1, s->reason, sizeof s->reason);
}

static fal_proof proof_of(const scene *s, const char *id)
{
    for (int i = 0; i < s->matrix.n_rows; i++)
        if (strcmp(s->matrix.rows[i].mutant->id, id) == 0) return s->matrix.rows[i].proof;
    ck_abort_msg("%s has no row", id);
    return FAL_N_PROOFS;
}

static fal_trust_kind trust_in(const scene *s, int which)
{
    for (int i = 0; i < s->matrix.n_trusts; i++)
        if (s->matrix.trusts[i].falsifier == &s->falsifiers[which]) return s->matrix.trusts[i].trust;
    ck_abort_msg("falsifier %d is not listed", which);
    return FAL_TRUST_PROVEN;
}

static void tear_down(scene *s)
{
    fal_matrix_free(&s->matrix);
    free(s->run.results);
    fal_prove_plan_free(&s->proof);
}

/* ---- who sees what ------------------------------------------------------------------------------------------------ */

static const struct {
    const char *id;
    unsigned cases; /* a bit for each that can see it, with border faults over the cpu kernels */
} sights[] = {
    { "q4k_dmin_dropped", 1 << MATMUL | 1 << LOGITS | 1 << ROWS },
    { "q6k_offset_wrong", 1 << MATMUL_Q6 | 1 << LOGITS | 1 << ROWS },
    { "row_off_by_one", 1 << MATMUL | 1 << MATMUL_Q6 | 1 << LOGITS | 1 << ROWS },
    { "eps_outside_root", 1 << NORM | 1 << BLIND | 1 << LOGITS | 1 << ROWS },
    { "cpu_eps_outside_root", 1 << CPU_NORM },
    { "eps_ten_times", 1 << CPU_NORM },
    { "all_zeros", 1 << CPU_NORM },
    { "gqa_modulo", 1 << LOGITS | 1 << ROWS }, /* its op is blocked */
    { "accepts_anything", 1 << REQUESTS },
    { "leaks_when_refusing", 0 },
    { "uploads_twice", 0 },
    { "rope_plus_one_on_q", 0 }, /* what shows it is left out on a CPU, or hidden in a fused path */
    { "best_two_exchanged", 1 << FUSED },
    { "differs_from_call_to_call", 1 << CPU_NORM | 1 << FUSED },
};

/* Rule: a mutant is judged by the operations, types and variants that it touches and by forward passes; nothing else. */
START_TEST(sees_what_it_can)
{
    scene s;
    set_up(&s);
    for (int i = 0; i < N_CASES; i++) {
        const bool seen = fal_prove_sees(fal_mutant_find(sights[_i].id), &s.cases[i], "cpu");
        ck_assert_msg(seen == (sights[_i].cases >> i & 1), "%s: case %d (%s)", sights[_i].id, i, s.cases[i].id);
    }
}
END_TEST

/* ---- the fused path ----------------------------------------------------------------------------------------------- */

/* The plan of the project's own contracts on the shipped model, for a card that is only said to be there. */
typedef struct {
    fal_options options;
    fal_contract_set *set;
    fal_probes *probes;
    fal_plan *plan;
} world;

static void world_of_card(world *w)
{
    char *argv[] = { "prove", "--backend", "cuda", "--require", "cuda", NULL };
    const char *const folder[] = { "contracts" };
    fal_diagnoses diag = { 0 };
    fal_error err = { 0 };
    *w = (world){ 0 };
    ck_assert_msg(fal_options_parse(5, argv, FAL_FOR_PROVE, &w->options, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_contract_set_load(folder, 1, &w->set, &diag, &err) == FAL_OK, "%s", err.message);
    fal_diagnoses_free(&diag);
    w->probes = fal_probes_make();
    ck_assert_ptr_nonnull(w->probes);
    for (int i = 0; i < w->probes->n; i++) {
        fal_probe *p = &w->probes->items[i];
        p->state = FAL_PROBE_FOUND;
        p->n = 1;
        p->devices[0] = (fal_device_info){ .slug = "a-card" };
    }
    const fal_plan_in in = { .contracts = w->set, .probes = w->probes, .options = &w->options,
                             .model = "falsifiers/models/austen-moe-Q4_K_M.gguf" };
    ck_assert_msg(fal_plan_make(&in, &w->plan, &err) == FAL_OK, "%s", err.message);
}

static void free_world(world *w)
{
    fal_plan_free(w->plan);
    free(w->probes);
    fal_contract_set_free(w->set);
    fal_options_free(&w->options);
}

static bool is_fused(const char *variant)
{
    return variant && strncmp(variant, "fast", 4) == 0;
}

/* Rule: a fault in the fused path is planted in cases of its variant alone, in moderate number, and the falsifier that names
   it looks; no other fault in a source is planted there. */
START_TEST(fused_faults_stay_in_their_variant)
{
    world w;
    world_of_card(&w);
    int n_mutants;
    const fal_mutant *all = fal_mutant_all(&n_mutants);
    for (int m = 0; m < n_mutants; m++) {
        int n_passes = 0, n_named = 0;
        if (!fal_mutant_is_source(&all[m])) continue;
        for (int i = 0; i < w.plan->n_cases; i++) {
            const fal_case *k = &w.plan->cases[i];
            if (!fal_prove_sees(&all[m], k, "")) continue;
            ck_assert_msg(is_fused(k->variant) == (all[m].module != NULL), "%s is planted in %s", all[m].id, k->id);
            if (!all[m].module) continue;
            ck_assert_msg(strcmp(k->backend, "cuda") == 0 && strcmp(k->variant, all[m].variant) == 0, "%s is planted in %s", all[m].id, k->id);
            n_named += strcmp(k->falsifier->id, all[m].named_by) == 0;
            n_passes += k->check->observe != FAL_OBSERVE_OP;
        }
        if (all[m].module) ck_assert_msg(n_named > 0 && n_passes <= 20, "%s: %d passes, %d cases of who names it", all[m].id, n_passes, n_named);
    }
    free_world(&w);
}
END_TEST

/* Rule: every check of the fused path that judges results has a fault of its own variant to see. */
START_TEST(fused_checks_have_something_to_see)
{
    world w;
    world_of_card(&w);
    int n_mutants, n_checks = 0;
    const fal_mutant *all = fal_mutant_all(&n_mutants);
    for (int f = 0; f < w.set->n_contracts; f++) {
        if (strcmp(w.set->contracts[f]->stem, "qwen3-moe-forward-gpu-v1") != 0) continue;
        for (int i = 0; i < w.set->contracts[f]->n_falsifiers; i++) {
            const fal_falsifier *v = &w.set->contracts[f]->falsifiers[i];
            if (!strstr(v->id, "-VARIANT-")) continue;
            for (int c = 0; c < v->n_checks; c++) {
                int n = 0;
                for (int k = 0; k < w.plan->n_cases; k++)
                    for (int m = 0; m < n_mutants && w.plan->cases[k].falsifier == v && strcmp(w.plan->cases[k].check->name, v->checks[c].name) == 0; m++)
                        n += all[m].module && fal_prove_sees(&all[m], &w.plan->cases[k], "");
                ck_assert_msg(n > 0, "%s/%s sees no fault", v->id, v->checks[c].name);
                n_checks++;
            }
        }
    }
    ck_assert_int_ge(n_checks, 20);
    free_world(&w);
}
END_TEST

static const struct {
    const char *id, *contains; /* of the case */
    bool seen;
} fused_sights[] = {
    { "fused_scale_missing", "VARIANT-001/greedy/", true },
    { "fused_scale_missing", "VARIANT-001/same_bits/", true },
    { "fused_scale_missing", "VARIANT-001/decode_prefill/cuda__fast/p2", true },
    { "fused_scale_missing", "VARIANT-001/decode_prefill/cuda__fast/p4", false }, /* 103 tokens */
    { "fused_scale_missing", "head_dim=128,first_pos=4095/", true },
    { "fused_scale_missing", "head_dim=128,first_pos=32767/", false },
    { "fused_residual_dropped", "VARIANT-001/attention_op/", false }, /* the op runs another kernel */
    { "fused_residual_dropped", "VARIANT-001/gate_up_op/", false },
    { "fused_gate_up_swapped", "VARIANT-001/gate_up_op/", true },
    { "fused_gate_up_swapped", "VARIANT-001/attention_op/", false },
    { "fused_residual_dropped", "VARIANT-001/router_sets/cuda__fast/p0", true },
    { "kv16_one_past_the_end", "VARIANT-002/attention_op/", true },
    { "kv16_one_past_the_end", "VARIANT-002/attention_op_prompt/", false },
    { "kv16_one_past_the_end", "VARIANT-002/attention_of_prompt/", false },
    { "kv16_one_past_the_end", "VARIANT-002/same_bits/", true },
    { "kv16_prompt_last_value_lost", "VARIANT-002/attention_op_prompt/", true },
    { "kv16_prompt_last_value_lost", "VARIANT-002/attention_of_prompt/cuda__fast_kv16/p0", true },
    { "kv16_prompt_last_value_lost", "VARIANT-002/attention_op/", false },
    { "kv16_prompt_last_value_lost", "VARIANT-002/same_bits/", false }, /* token by token */
    { "kv16_prompt_last_value_lost", "VARIANT-002/decode_prefill/cuda__fast_kv16/p2", true },
};

/* Rule: of a variant's cases those are chosen that run the module, none of them long. */
START_TEST(fused_faults_are_looked_for_where_they_run)
{
    world w;
    world_of_card(&w);
    const fal_mutant *m = fal_mutant_find(fused_sights[_i].id);
    int n = 0, n_seen = 0;
    for (int i = 0; i < w.plan->n_cases; i++) {
        const fal_case *k = &w.plan->cases[i];
        if (!strstr(k->id, fused_sights[_i].contains) || strcmp(k->variant, m->variant) != 0) continue;
        n++;
        n_seen += fal_prove_sees(m, k, "");
    }
    ck_assert_msg(n > 0, "no case is like %s", fused_sights[_i].contains);
    ck_assert_msg(fused_sights[_i].seen ? n_seen > 0 : n_seen == 0, "%s: %d of %d cases like %s", m->id, n_seen, n, fused_sights[_i].contains);
    free_world(&w);
}
END_TEST

/* Rule: what is on trial is observed anew for each mutant, the reference once; inputs come from the reference. */
START_TEST(reference_is_observed_once)
{
    scene s;
    set_up(&s);
    const char *const globs[] = { "eps_outside_root", "mean_over*" };
    plan_for(&s, globs, 2);
    const fal_plan *p = &s.proof.plan;
    ck_assert_int_eq(p->n_cases, 3 * 4); /* control and two mutants, by four cases each */
    ck_assert_int_eq(p->n_specs, 4 + 3 * 4);
    for (int i = 0; i < p->n_cases; i++) {
        const fal_plan_spec *got = &p->specs[p->cases[i].got], *want = &p->specs[p->cases[i].want];
        const fal_mutant *m = s.proof.mutants[i];
        ck_assert_ptr_null(want->spec.mutant);
        if (m) ck_assert_str_eq(got->spec.mutant, m->id);
        else ck_assert_ptr_null(got->spec.mutant);
        ck_assert_str_eq(got->spec.backend, "opencl");
        if (got->inputs >= 0) ck_assert(got->inputs < p->cases[i].got && strcmp(p->specs[got->inputs].spec.backend, "reference") == 0);
    }
    tear_down(&s);
    const char *const wrong[] = { "eps_outside_rot" }, *const unseen[] = { "leaks_when_refusing" };
    ck_assert_int_eq(fal_prove_plan_make(&s.plan, wrong, 1, NULL, &s.proof, &s.err), FAL_ERR_NOTHING);
    ck_assert_ptr_nonnull(strstr(s.err.message, "did you mean 'eps_outside_root'"));
    s.err = (fal_error){ 0 };
    ck_assert_int_eq(fal_prove_plan_make(&s.plan, unseen, 1, NULL, &s.proof, &s.err), FAL_ERR_NOTHING);
}
END_TEST

/* ---- the matrix --------------------------------------------------------------------------------------------------- */

static const char *const two[] = { "eps_outside_root", "rope_plus_one_on_both" };

/* Two mutants: a true one, killed by its name, and an equivalent one, seen where it may be. */
static void set_up_killed(scene *s)
{
    set_up(s);
    for (int i = 0; i < N_CASES; i++)
        if (i != CPU_NORM) s->cases[i].variant = s->specs[2 * i + 1].spec.variant = "";
    s->cases[CPU_NORM].blocked = "left out";
    s->plan.n_cases = CPU_NORM; /* one variant alone, so that faults at the border are planted in it */
    plan_for(s, two, 2);
    verdict(s, "eps_outside_root", NORM, FAL_FALSIFIED);
    verdict(s, "eps_outside_root", LOGITS, FAL_FALSIFIED);
    verdict(s, "eps_outside_root", ROWS, FAL_CRASHED);
    verdict(s, "rope_plus_one_on_both", ROWS, FAL_FALSIFIED);
}

START_TEST(killed_by_name_is_proven)
{
    scene s;
    set_up_killed(&s);
    ck_assert_msg(matrix(&s, false) == 0, "%s", s.reason);
    ck_assert_int_eq(proof_of(&s, "eps_outside_root"), FAL_PROOF_KILLED);
    ck_assert_int_eq(proof_of(&s, "rope_plus_one_on_both"), FAL_PROOF_EQUIVALENT);
    const fal_proof_row *r = &s.matrix.rows[0];
    ck_assert_int_eq(r->n_cases, 4);
    ck_assert_int_eq(r->n_killed, 3);
    ck_assert_int_eq(r->n_killers, 3);
    ck_assert_int_eq(s.proof.origin[r->first], NORM); /* the named one, though others killed too */
    ck_assert_int_eq(trust_in(&s, NORM), FAL_TRUST_PROVEN);
    tear_down(&s);
}
END_TEST

/* Rule: a planted survivor fails the proof. */
START_TEST(survivor_fails)
{
    scene s;
    set_up_killed(&s);
    for (int i = 0; i < s.proof.plan.n_cases; i++)
        if (s.proof.mutants[i] == fal_mutant_find("eps_outside_root")) s.run.results[i].verdict.kind = i & 1 ? FAL_SURVIVED : FAL_MISTRUSTED;
    ck_assert_int_eq(matrix(&s, false), 1);
    ck_assert_int_eq(proof_of(&s, "eps_outside_root"), FAL_PROOF_SURVIVED);
    ck_assert_msg(strstr(s.reason, "survived") && strstr(s.reason, "eps_outside_root"), "%s", s.reason);
    tear_down(&s);
}
END_TEST

/* Rule: a falsifier that killed nothing is mistrusted, when it was given all there is; and then nothing is proven. */
START_TEST(blind_falsifier_is_mistrusted)
{
    scene s;
    set_up_killed(&s);
    ck_assert_int_eq(matrix(&s, true), 5);
    ck_assert_int_eq(trust_in(&s, BLIND), FAL_TRUST_MISTRUSTED);
    ck_assert_msg(strstr(s.reason, "mistrusted"), "%s", s.reason);
    ck_assert_int_eq(trust_in(&s, FILES), FAL_TRUST_NOT_COVERED);
    ck_assert_int_eq(trust_in(&s, SPEED), FAL_TRUST_NOT_COVERED);
    ck_assert_int_eq(trust_in(&s, HEAVY), FAL_TRUST_NOT_COVERED);
    ck_assert_int_eq(trust_in(&s, MATMUL), FAL_TRUST_MISTRUSTED); /* a mutant could be planted there, and was not */
    for (int i = 0; i < s.matrix.n_trusts; i++)
        if (s.matrix.trusts[i].trust == FAL_TRUST_NOT_COVERED) ck_assert_msg(s.matrix.trusts[i].why[0] != '\0', "no reason for %s", s.matrix.trusts[i].falsifier->id);
    ck_assert_int_eq(matrix(&s, false), 0); /* of a part nothing follows about falsifiers */
    tear_down(&s);
}
END_TEST

static const struct {
    int which;              /* case of the mutant that gets another verdict */
    const char *mutant;     /* NULL: the control */
    fal_verdict_kind kind;
    fal_proof proof;
    int exit;
} faults[] = {
    { NORM, "eps_outside_root", FAL_SURVIVED, FAL_PROOF_MISNAMED, 1 },
    { NORM, "eps_outside_root", FAL_ERROR, FAL_PROOF_ERROR, 5 },
    { BLIND, "eps_outside_root", FAL_ERROR, FAL_PROOF_ERROR, 5 },
    { NORM, "eps_outside_root", FAL_BLOCKED, FAL_PROOF_BLOCKED, 5 },
    { LOGITS, "eps_outside_root", FAL_NOT_RUN, FAL_PROOF_NOT_RUN, 5 },
    { LOGITS, "eps_outside_root", FAL_TIMED_OUT, FAL_PROOF_KILLED, 0 },
    { LOGITS, "rope_plus_one_on_both", FAL_FALSIFIED, FAL_PROOF_NOT_EQUIVALENT, 1 },
    { LOGITS, "rope_plus_one_on_both", FAL_CRASHED, FAL_PROOF_NOT_EQUIVALENT, 1 },
    { ROWS, "rope_plus_one_on_both", FAL_SURVIVED, FAL_PROOF_SURVIVED, 1 }, /* its site must show it */
    { BLIND, NULL, FAL_FALSIFIED, FAL_N_PROOFS, 1 },
    { NORM, NULL, FAL_CRASHED, FAL_N_PROOFS, 1 },
};

/* Rule: nothing but a kill by the named falsifier counts as one: not an error, not what could not be built. */
START_TEST(other_verdicts_are_no_kills)
{
    scene s;
    set_up_killed(&s);
    verdict(&s, faults[_i].mutant, faults[_i].which, faults[_i].kind);
    ck_assert_msg(matrix(&s, false) == faults[_i].exit, "%s", s.reason);
    if (faults[_i].mutant) ck_assert_int_eq(proof_of(&s, faults[_i].mutant), faults[_i].proof);
    else ck_assert_int_eq(s.matrix.n_control_failed, 1);
    ck_assert(faults[_i].exit == 0 || s.reason[0] != '\0');
    tear_down(&s);
}
END_TEST

START_TEST(required_backend_without_rows_is_no_proof)
{
    scene s;
    set_up_killed(&s);
    matrix(&s, false);
    const char *const cuda[] = { "cuda" };
    ck_assert_int_eq(fal_matrix_exit(&s.matrix, cuda, 1, s.reason, sizeof s.reason), 5);
    ck_assert_msg(strstr(s.reason, "cuda"), "%s", s.reason);
    s.run.tally.interrupted = true;
    ck_assert_int_eq(fal_matrix_exit(&s.matrix, cuda, 1, s.reason, sizeof s.reason), 130);
    tear_down(&s);
}
END_TEST

/* ---- evidence, and what a run takes from it ----------------------------------------------------------------------- */

/* Rule: the stored matrix makes a run mistrust survivors of the blind falsifier, on that device and for that claim. */
START_TEST(run_takes_mistrust_from_the_matrix)
{
    scene s;
    char folder[] = "/tmp/falsify-check-XXXXXX", path[200];
    int n_files = 0, n = -1;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    set_up_killed(&s);
    matrix(&s, true);
    ck_assert_msg(fal_matrix_write(&s.matrix, folder, "r1", &n_files, &s.err) == FAL_OK, "%s", s.err.message);
    ck_assert_int_eq(n_files, 1);
    snprintf(path, sizeof path, "%s/prove/opencl-a-device.json", folder);
    json_t *j = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(j, "counts"), "killed")), 1);
    ck_assert_int_eq((int)json_array_size(json_object_get(j, "mutants")), 2);
    json_decref(j);

    fal_result results[N_CASES] = { 0 };
    fal_run run = { .plan = &s.plan, .results = results };
    results[NORM].verdict.kind = FAL_SURVIVED;
    results[BLIND].verdict.kind = FAL_SURVIVED;
    results[SPEED].verdict.kind = FAL_SURVIVED;
    results[MATMUL].verdict.kind = FAL_FALSIFIED;
    results[MATMUL_Q6].verdict.kind = results[LOGITS].verdict.kind = results[FILES].verdict.kind = FAL_NOT_RUN;
    results[ROWS].verdict.kind = results[REQUESTS].verdict.kind = results[HEAVY].verdict.kind = results[FUSED].verdict.kind = FAL_NOT_RUN;
    ck_assert_msg(fal_prove_mistrust(&run, folder, &n, &s.err) == FAL_OK, "%s", s.err.message);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(results[BLIND].verdict.kind, FAL_MISTRUSTED);
    ck_assert_int_eq(results[NORM].verdict.kind, FAL_SURVIVED);
    ck_assert_int_eq(results[SPEED].verdict.kind, FAL_SURVIVED); /* not covered is not mistrusted */
    ck_assert_int_eq(results[MATMUL].verdict.kind, FAL_FALSIFIED);
    ck_assert_int_eq(run.tally.all.by[FAL_MISTRUSTED], 1);

    results[BLIND].verdict.kind = FAL_SURVIVED;
    s.falsifiers[BLIND].prediction = "another prediction"; /* the matrix is about another claim */
    ck_assert_int_eq(fal_prove_mistrust(&run, folder, &n, &s.err), FAL_OK);
    ck_assert_int_eq(n, 0);
    s.falsifiers[BLIND].prediction = "a prediction";
    snprintf(s.device.slug, sizeof s.device.slug, "another-device");
    ck_assert_int_eq(fal_prove_mistrust(&run, folder, &n, &s.err), FAL_OK);
    ck_assert_int_eq(n, 0);
    snprintf(s.device.slug, sizeof s.device.slug, "a-device");
    FILE *f = fopen(path, "w");
    fputs("{\"falsifiers\": 3}", f);
    fclose(f);
    ck_assert_int_eq(fal_prove_mistrust(&run, folder, &n, &s.err), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(strstr(s.err.message, "opencl-a-device.json"));
    tear_down(&s);
    unlink(path);
    snprintf(path, sizeof path, "%s/prove", folder);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* Rule: a matrix of a part is stored under another name, which no run reads. */
START_TEST(partial_matrices_stand_apart)
{
    scene s;
    char folder[] = "/tmp/falsify-check-XXXXXX", path[200];
    int n_files = 0, n = -1;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    set_up_killed(&s);
    matrix(&s, false);
    ck_assert_int_eq(fal_matrix_write(&s.matrix, folder, "r1", &n_files, &s.err), FAL_OK);
    fal_result results[N_CASES] = { 0 };
    fal_run run = { .plan = &s.plan, .results = results };
    ck_assert_int_eq(fal_prove_mistrust(&run, folder, &n, &s.err), FAL_OK);
    ck_assert_int_eq(n, 0);
    snprintf(path, sizeof path, "%s/prove/opencl-a-device.partial.json", folder);
    ck_assert_int_eq(unlink(path), 0);
    snprintf(path, sizeof path, "%s/prove", folder);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    tear_down(&s);
}
END_TEST

Suite *fal_suite_prove(void)
{
    Suite *s = suite_create("prove");
    TCase *t = tcase_create("proofs");
    tcase_set_timeout(t, 30);
    tcase_add_loop_test(t, sees_what_it_can, 0, sizeof sights / sizeof sights[0]);
    tcase_add_test(t, fused_faults_stay_in_their_variant);
    tcase_add_test(t, fused_checks_have_something_to_see);
    tcase_add_loop_test(t, fused_faults_are_looked_for_where_they_run, 0, sizeof fused_sights / sizeof fused_sights[0]);
    tcase_add_test(t, reference_is_observed_once);
    tcase_add_test(t, killed_by_name_is_proven);
    tcase_add_test(t, survivor_fails);
    tcase_add_test(t, blind_falsifier_is_mistrusted);
    tcase_add_loop_test(t, other_verdicts_are_no_kills, 0, sizeof faults / sizeof faults[0]);
    tcase_add_test(t, required_backend_without_rows_is_no_proof);
    tcase_add_test(t, run_takes_mistrust_from_the_matrix);
    tcase_add_test(t, partial_matrices_stand_apart);
    suite_add_tcase(s, t);
    return s;
}
