/* Unit tests of the pv profile: each rule fires after one change of a contract in which it did not, and at that place. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/claims.h"
#include "harness/text.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_contract_pv(void);

#define FILES "falsifiers/unit/contracts/pv/"

typedef struct {
    const char *rule, *from, *to;
    const char *at; /* text at which the diagnosis stands, searched from the change on; NULL: anywhere */
} change;

static const change changes[] = {
    /* pv validate */
    { "SCHEMA-001",
      "  references:\n    - \"Bridle (1990) Training Stochastic Model Recognition Algorithms as Networks\"\n",
      "  references: []\n", "[]" },
    { "SCHEMA-001",
      "  references:\n    - \"Bridle (1990) Training Stochastic Model Recognition Algorithms as Networks\"\n", "",
      NULL },
    { "SCHEMA-002", "  version: 1.2.0\n  created", "  version: \"\"\n  created", "\"\"" },
    { "SCHEMA-003", "\nequations:\n", "\nx-equations:\n", NULL },
    { "SCHEMA-004", "{formula: \"σ(x + c) = σ(x)\",", "{formula: \"\",", NULL },
    { "SCHEMA-005", "    property: \"Sum grows\"\n", "", NULL },
    { "SCHEMA-006", "    property: \"Sum grows\"\n",
      "    property: \"Sum grows\"\n    formal: \"x_i > x_j => y_i > y_j\"\n", "\"x_i" },
    { "SCHEMA-007", "id: FALSIFY-PV-002", "id: FALSIFY-PV-001", "FALSIFY-PV-001" },
    { "SCHEMA-008", "    prediction: \"sum ≈ 1.0\"\n", "", NULL },
    { "SCHEMA-008", "    expected: \"argmax is kept\"\n", "    expected: \"  \"\n", NULL },
    { "SCHEMA-009", "    fails_if: \"Unstable\"\n", "", NULL },
    { "SCHEMA-010", "id: KANI-PV-002", "id: KANI-PV-001", "KANI-PV-001" },
    { "SCHEMA-011", "obligation: PV-POST-002,", "obligation: \"\",", "obligation" },
    { "AUDIT-002", "obligation: PV-POST-002,", "obligation: \"\",", "obligation" },
    { "SCHEMA-012", "obligation: PV-SUB-004, bound: 8}", "obligation: PV-SUB-004}", NULL },
    { "SCHEMA-013", "qa_gate:\n", "x-gate:\n", NULL },
    { "SCHEMA-014", "type: postcondition", "type: invariant", "requires" },
    { "SCHEMA-015", "type: loop_invariant", "type: bound\n    tolerance: 1.0", "applies_to_phase" },
    { "SCHEMA-016", "type: subcontract", "type: ordering", "parent_contract" },
    { "SCHEMA-017", "parent_contract: pv-dependency-v1", "parent_contract: another-v1", "another-v1" },
    { "SCHEMA-018", "status: DRAFT\n", "status: DRAFT\nkind: KernelContract\n", "kind" },
    { "SCHEMA-019", "\nkani_harnesses:\n", "\nKani-Harness:\n", "Kani-Harness" },
    { "SCHEMA-019", "\nfalsification_tests:\n", "\nfalsificationTest:\n", "falsificationTest" },
    { "SCHEMA-020", "    tolerance: 0.5\n", "    tolerance: 0.5\n    tolerance: 5.0\n", "tolerance: 5.0" },
    { "SCHEMA-021", "    na_reason: no such unit\n", "", NULL },
    { "SCHEMA-022", "    na_owner: the tests\n", "", NULL },
    { "SCHEMA-023", "applies_to: not_applicable", "applies_to: simd", "na_reason" },
    { "PROVABILITY-001", "\nkani_harnesses:\n", "\nx-kani:\n", NULL },
    { "PROVABILITY-001",
      "  - id: FALSIFY-PV-005\n    rule: \"Bound (PV-BND-005)\"\n    prediction: \"bounded\"\n    test: \"bash "
      "scripts/bound.sh\"\n    if_fails: \"unbounded\"\n",
      "", NULL },
    /* what its parser refuses */
    { "PV-VAL-001", "  version: 1.2.0\n  created", "  version: 1.2\n  created", "1.2" },
    { "PV-VAL-001", "  version: 1.2.0\n  created", "  created", NULL },
    { "PV-VAL-001", "metadata:\n", "metadatum:\n", NULL },
    { "PV-VAL-001", "kind: kernel", "kind: Kernel", "Kernel" },
    { "PV-VAL-001", "type: loop_invariant", "type: loop", "loop" },
    { "PV-VAL-001", "tolerance: 1.0e-6", "tolerance: small", "small" },
    { "PV-VAL-001", "bound: 8, strategy: stub_float", "bound: -8, strategy: stub_float", "-8" },
    { "PV-VAL-001", "strategy: stub_float", "strategy: guess", "guess" },
    { "PV-VAL-001", "preconditions: [\"n >= 1\"]", "preconditions: \"n >= 1\"", "\"n >= 1\"" },
    { "PV-VAL-001", "preconditions: [\"n >= 1\"]", "preconditions: [1.5]", "1.5" },
    { "PV-VAL-001", "  - id: FALSIFY-PV-004\n    rule", "  - rule", NULL },
    { "PV-VAL-001", "  - {id: KANI-PV-005,", "  - KANI\n  - {id: KANI-PV-005,", "KANI" },
    { "PV-VAL-001", "status: proved", "status: qed", "qed" },
    { "PV-VAL-001", "{theorem: Softmax.sum, ", "{", NULL },
    { "PV-VAL-001", "total_obligations: 5, ", "", NULL },
    { "PV-VAL-001", "qa_gate:\n", "qa_gate: all\nx-gate:\n", "all" },
    /* audit and lint */
    { "AUDIT-001", "\nfalsification_tests:\n", "\nx-tests:\n", NULL },
    { "AUDIT-003", "\nproof_obligations:\n", "\nx-obligations:\n", NULL },
    { "PV-VAL-003", "  created: '2026-05-04'\n", "", NULL },
    { "PV-AUD-001",
      "  - id: FALSIFY-PV-005\n    rule: \"Bound (PV-BND-005)\"\n    prediction: \"bounded\"\n    test: \"bash "
      "scripts/bound.sh\"\n    if_fails: \"unbounded\"\n",
      "", NULL },
    { "PV-AUD-002", "Bridle (1990)", "Bridle", NULL },
    { "PV-AUD-003", "rule: \"Loop (PV-LOOP-003)\"", "rule: \"Loop\"", NULL },
    { "PV-AUD-004", ", domain: \"c ∈ ℝ\"", "", NULL },
    { "PV-AUD-005", "    tolerance: 0.5\n", "", NULL },
    { "PV-PRV-003", "  - {id: KANI-PV-005, obligation: PV-BND-005, bound: 8}\n", "", NULL },
    { "PV-ENF-001", ", preconditions: [\"c is finite\"]", "", NULL },
    { "PV-VER-003", "\nfalsification_tests:\n",
      "\nfalsification:\n  - {id: FALSIFY-OLD-001, description: d, test: prose}\nfalsification_tests:\n",
      "id: FALSIFY-OLD" },
    { "PV-VER-003", "\nfalsification_tests:\n",
      "\nfalsification_conditions:\n  one: {description: d}\nfalsification_tests:\n", NULL },
    /* beyond pv */
    { "FOR-001", "  - id: FALSIFY-PV-002\n", "  - id: FALSIFY-PV-002\n    mutation: x\n", "mutation" },
    { "FOR-002", "    if_fails: \"renamed\"", "    if_fails: \"renamed\"\n    if_passes: x", "if_passes" },
    { "FOR-002", "status: DRAFT\n", "status: DRAFT\ncolour: red\n", "colour" },
    { "FOR-003", "obligation: PV-INV-001,", "obligation: PV-INV-010,", "PV-INV-010" },
    { "FOR-003", "binds_to: softmax", "binds_to: softmin", "softmin" },
    { "FOR-003", "expected_acceptance: [PV-INV-001]", "expected_acceptance: [PV-INV-009]", "PV-INV-009" },
    { "FOR-003", "    - pv-dependency-v1\n", "    - pv-dependency-v2\n    - pv-dependency-v1\n", "pv-dependency-v2" },
    { "FOR-004", "version: \"1.2.0\"\nstatus", "version: \"1.1.0\"\nstatus", "\"1.1.0\"" },
    { "FOR-004", "    - version: 1.2.0\n", "    - version: 1.1.0\n", NULL },
    { "FOR-005", "total_obligations: 5", "total_obligations: 6", "6" },
    { "FOR-005", "l2_property_tested: 5", "l2_property_tested: 6", "6" },
    { "FOR-005", "l3_kani_proved: 5", "l3_kani_proved: 7", "7" },
    { "FOR-005", "l4_lean_proved: 1", "l4_lean_proved: 5", "5," },
    { "FOR-005", "l4_sorry_count: 0", "l4_sorry_count: 1", "1}" },
    { "FOR-006", "All 5 falsification", "All 7 falsification", NULL },
    { "FOR-007", "status: DRAFT\n", "status: ACTIVE_RUNTIME\n", "ACTIVE_RUNTIME" },
    { "FOR-007", "    binds_to: softmax\n", "    binds_to: softmax\n    status: DISCHARGED\n", NULL },
    { "FOR-007", "{id: M1, status: PENDING,", "{id: M1, status: SHIPPED,", NULL },
    { "FOR-008", "  kind: kernel\n", "  registry: true\n", "true\n" },
    { "FOR-008", "  kind: kernel\n", "  kind: schema\n", NULL }, /* with the next change: no tests */
    { "FOR-009", "rule: \"Normalization (PV-INV-001)\"", "rule: \"The fused path (PV-INV-001) does not exist\"",
      "\"The" },
    { "FOR-010", "test: \"cargo test -p softmax --lib sums\"", "test: \"proptest with 10000 random vectors\"", NULL },
    { "FOR-011", "id: FALSIFY-PV-005", "id: FALSIFY-PVD-001", NULL },
    { "FOR-012", "{id: M1, status: PENDING,", "{id: M1, status: DISCHARGED,", NULL },
    { "FOR-012", ", blockers: ['nobody has time']}", "}\n  - {id: M2, status: SHIPPED}", NULL },
    { "FOR-014", "    binds_to: softmax\n",
      "    status: DISCHARGED\n    algorithm_evidence: [\"bug confirmed on the card\"]\n", "DISCHARGED" },
    { "FORM-022", "tolerance: 1.0e-6", "tolerance: 1e-6", "1e-6" },
    { "FORM-010", "status: DRAFT\n", "status: [DRAFT\n", NULL },
};

static void load_pv(fal_test_loaded *l)
{
    const char *path = fal_test_folder;
    *l = (fal_test_loaded){ 0 };
    l->status = fal_contract_set_load_as(&path, 1, FAL_PROFILE_PV, &l->set, &l->diag, &l->err);
}

static void write_dependency(const char *from, const char *to)
{
    char *base = fal_test_read(FILES "pv-dependency-v1.yaml");
    const char *where = NULL;
    char *text = from ? fal_test_changed(base, from, to, &where) : strdup(base);
    fal_test_write("pv-dependency-v1.yaml", text);
    free(text);
    free(base);
}

START_TEST(every_rule_fires)
{
    const change *c = &changes[_i];
    char *base = fal_test_read(FILES "pv-v1.yaml");
    const char *where = NULL;
    char *text = fal_test_changed(base, c->from, c->to, &where);
    if (strcmp(c->rule, "FOR-008") == 0 && strstr(c->to, "schema")) {
        const char *again = NULL;
        char *twice = fal_test_changed(text, "\nfalsification_tests:\n", "\nx-tests:\n", &again);
        free(text);
        text = twice;
    }
    fal_test_write("pv-v1.yaml", text);
    write_dependency(NULL, NULL);
    fal_test_loaded l;
    load_pv(&l);
    const int rule = fal_rule_find(c->rule);
    ck_assert_int_ge(rule, 0);
    const fal_severity severity = fal_rule_get((fal_rule_id)rule)->severity[FAL_PROFILE_PV];
    /* FOR-001 is there before any change: the one that stands at the change counts */
    const fal_diagnosis *d = fal_test_find(&l, c->rule);
    ck_assert_msg(d != NULL, "%s: '%s' -> '%s' is not told; first: %s", c->rule, c->from, c->to,
                  l.diag.n ? l.diag.items[0].message : "nothing");
    ck_assert_int_eq(d->severity, severity);
    if (severity == FAL_MISTAKE) ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    if (c->at) {
        const char *at = strstr(where, c->at);
        ck_assert_msg(at != NULL, "no '%s' behind the change to '%s'", c->at, c->to);
        const fal_place p = fal_test_place(text, at);
        bool there = false;
        for (size_t i = 0; i < l.diag.n; i++)
            there |= strcmp(l.diag.items[i].rule, c->rule) == 0 && l.diag.items[i].place.line == p.line &&
                     l.diag.items[i].place.column == p.column;
        ck_assert_msg(there, "%s is told at %d:%d, expected %d:%d", c->rule, d->place.line, d->place.column, p.line,
                      p.column);
    }
    free(text);
    free(base);
    fal_test_release(&l);
}
END_TEST

START_TEST(the_base_is_clean)
{
    const char *path = FILES;
    fal_test_loaded l = { 0 };
    l.status = fal_contract_set_load_as(&path, 1, FAL_PROFILE_PV, &l.set, &l.diag, &l.err);
    ck_assert_int_eq(l.status, FAL_OK);
    for (size_t i = 0; i < l.diag.n; i++)
        ck_assert_msg(strcmp(l.diag.items[i].rule, "FOR-001") == 0, "%s", l.diag.items[i].message);
    ck_assert_int_eq(l.set->n_contracts, 2);
    fal_test_release(&l);
}
END_TEST

/* Nothing is lost on the way into a contract, whichever spelling it came in. */
START_TEST(both_generations_are_read)
{
    char *base = fal_test_read(FILES "pv-v1.yaml");
    const char *where = NULL;
    char *text = fal_test_changed(
        base, "\nfalsification_tests:\n",
        "\nfalsification:\n  - {id: FALSIFY-OLD-001, description: old, test: prose}\nfalsification_tests:\n", &where);
    fal_test_write("pv-v1.yaml", text);
    write_dependency(NULL, NULL);
    fal_test_loaded l;
    load_pv(&l);
    ck_assert_int_eq(l.set->n_contracts, 2);
    const fal_contract *d = l.set->contracts[0], *c = l.set->contracts[1];
    ck_assert_str_eq(c->version, "1.2.0");
    ck_assert_int_eq(c->n_equations, 2);
    ck_assert_int_eq(d->n_equations, 1);
    ck_assert_int_eq(c->n_obligations, 5);
    ck_assert_str_eq(c->obligations[1].property, "Order is kept");
    ck_assert_str_eq(c->obligations[1].formal, "x_i > x_j => y_i > y_j");
    ck_assert_int_eq(c->n_falsifiers, 6);
    ck_assert_str_eq(c->falsifiers[1].rule, "Order (PV-POST-002)");
    ck_assert_str_eq(c->falsifiers[1].prediction, "argmax is kept");
    ck_assert_str_eq(c->falsifiers[1].if_fails, "Unstable");
    ck_assert_str_eq(c->falsifiers[5].id, "FALSIFY-OLD-001");
    ck_assert_str_eq(c->falsifiers[5].prediction, "old");
    for (int i = 0; i < c->n_falsifiers; i++) ck_assert_int_eq(c->falsifiers[i].n_checks, 0); /* all prose to us */
    ck_assert_int_eq(c->n_stages, 1);
    ck_assert_str_eq(c->stages[0].obligations[0], "PV-INV-001");
    ck_assert_int_eq(c->n_amendments, 1);
    ck_assert_int_eq(c->n_depends_on, 1);
    ck_assert_str_eq(d->falsifiers[0].unbound_because, "cargo test --lib grows");
    free(text);
    free(base);
    fal_test_release(&l);
}
END_TEST

START_TEST(a_dependency_of_prose_lowers)
{
    char *base = fal_test_read(FILES "pv-v1.yaml");
    fal_test_write("pv-v1.yaml", base);
    write_dependency("    test: >-\n      cargo test\n      --lib grows\n", "    test: proptest with random x\n");
    fal_test_loaded l;
    load_pv(&l);
    const fal_diagnosis *d = fal_test_find(&l, "FOR-013");
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_nonnull(strstr(d->path, "/pv-v1.yaml"));
    free(base);
    fal_test_release(&l);
}
END_TEST

START_TEST(two_files_of_one_stem)
{
    const char *paths[] = { FILES "pv-v1.yaml", fal_test_folder };
    char *base = fal_test_read(FILES "pv-v1.yaml");
    fal_test_write("pv-v1.yaml", base);
    fal_test_loaded l = { 0 };
    l.status = fal_contract_set_load_as(paths, 2, FAL_PROFILE_PV, &l.set, &l.diag, &l.err);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(fal_test_find(&l, "CON-016"));
    ck_assert_ptr_nonnull(fal_test_find(&l, "FOR-011"));
    free(base);
    fal_test_release(&l);
}
END_TEST

START_TEST(a_kernel_by_default_is_told_so)
{
    char *base = fal_test_read(FILES "pv-v1.yaml");
    const char *where = NULL;
    char *one = fal_test_changed(base, "  kind: kernel\n", "", &where),
         *two = fal_test_changed(one, "\nequations:\n", "\nx-equations:\n", &where);
    fal_test_write("pv-v1.yaml", two);
    write_dependency(NULL, NULL);
    fal_test_loaded l;
    load_pv(&l);
    ck_assert_ptr_nonnull(strstr(fal_test_find(&l, "SCHEMA-003")->message, "judged as a kernel by default"));
    free(two);
    free(one);
    free(base);
    fal_test_release(&l);
}
END_TEST

START_TEST(tests_are_told_from_prose)
{
    static const struct {
        const char *text;
        fal_test_kind kind;
    } cases[] = {
        { "", FAL_TEST_NONE },
        { " \n", FAL_TEST_NONE },
        { "proptest with 10000 random vectors, dim 1..128", FAL_TEST_PROSE },
        { "Deterministic: 64 * 128 == 8192", FAL_TEST_PROSE },
        { "Related tests in crates/x.rs", FAL_TEST_PROSE },
        { "testing is done by hand", FAL_TEST_PROSE },
        { "cargo test -p x", FAL_TEST_CARGO },
        { "RUST_LOG=debug cargo test", FAL_TEST_CARGO },
        { "test_softmax_sums", FAL_TEST_FUNCTION },
        { "crate::tests::sums", FAL_TEST_FUNCTION },
        { "grep -c x y", FAL_TEST_SHELL },
        { "STEPS=3 apr parity m.gguf", FAL_TEST_SHELL },
        { "! grep x y", FAL_TEST_SHELL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(fal_test_kind_of(cases[i].text) == cases[i].kind, "'%s' is %s", cases[i].text,
                      fal_test_kind_name(fal_test_kind_of(cases[i].text)));
}
END_TEST

START_TEST(words_betray)
{
    ck_assert_ptr_nonnull(fal_negative_claim("The GPU path does not exist"));
    ck_assert_ptr_nonnull(fal_negative_claim("It DOES NOT\n  EXIST yet"));
    ck_assert_ptr_nonnull(fal_negative_claim("Fusion is not implemented."));
    ck_assert_ptr_null(fal_negative_claim("The difference does not exceed 1e-6"));
    ck_assert_ptr_null(fal_negative_claim("A missing tensor is refused"));
    ck_assert_ptr_null(fal_negative_claim("does not existential"));
    ck_assert(fal_is_placeholder("TODO"));
    ck_assert(fal_is_placeholder("see TBD later"));
    ck_assert(fal_is_placeholder(" N/A. "));
    ck_assert(fal_is_placeholder("..."));
    ck_assert(!fal_is_placeholder("By definition."));
    ck_assert(!fal_is_placeholder("Measured, not tuned: 3e-7 on PoCL"));
    ck_assert(!fal_is_placeholder("mastodon"));
}
END_TEST

static void read_into(fal_text *t, const char *folder)
{
    DIR *dir = opendir(folder);
    ck_assert_msg(dir != NULL, "run from the root of the repository: no %s", folder);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[512], *text = NULL;
        size_t size = 0;
        if (strncmp(e->d_name, "check_", 6) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "r");
        ck_assert_ptr_nonnull(f);
        ck_assert(getdelim(&text, &size, '\0', f) > 0);
        fclose(f);
        fal_text_add(t, text);
        free(text);
    }
    closedir(dir);
    ck_assert(!t->failed);
}

/* A checker that was never shown to fail is none: every rule of the table is named by a test that expects it. */
START_TEST(every_rule_has_a_test)
{
    fal_text tests = { 0 };
    read_into(&tests, "falsifiers/unit");
    read_into(&tests, "falsifiers/cli");
    for (int i = 0; i < FAL_N_RULES; i++) {
        const fal_rule *r = fal_rule_get((fal_rule_id)i);
        ck_assert_msg(strstr(fal_text_str(&tests), r->code) != NULL, "no test expects %s", r->code);
        ck_assert_msg(*r->what && *r->why && *r->example && *r->fix && *r->source, "%s lacks words", r->code);
        ck_assert_msg(r->severity[0] != FAL_OFF || r->severity[1] != FAL_OFF, "%s is off everywhere", r->code);
        ck_assert_int_eq(fal_rule_find(r->code), i); /* no code twice */
    }
    fal_text_free(&tests);
}
END_TEST

Suite *fal_suite_contract_pv(void)
{
    Suite *s = suite_create("contract_pv");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_loop_test(rules, every_rule_fires, 0, (int)(sizeof changes / sizeof changes[0]));
    tcase_add_test(rules, the_base_is_clean);
    tcase_add_test(rules, both_generations_are_read);
    tcase_add_test(rules, a_dependency_of_prose_lowers);
    tcase_add_test(rules, two_files_of_one_stem);
    tcase_add_test(rules, a_kernel_by_default_is_told_so);
    tcase_add_test(rules, tests_are_told_from_prose);
    tcase_add_test(rules, words_betray);
    tcase_add_test(rules, every_rule_has_a_test);
    suite_add_tcase(s, rules);
    return s;
}
