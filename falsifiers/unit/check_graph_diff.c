/* Unit tests of falsify graph and falsify diff: circles, what is missing, and what loosens a claim. */
#include "falsifiers/unit/contract_folder.h"
#include "falsifiers/unit/status_desk.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *fal_suite_graph_diff(void);

/* ---- graph ---- */

static void node(const char *stem, const char *depends_on)
{
    char name[100], text[400];
    snprintf(name, sizeof name, "%s.yaml", stem);
    snprintf(text, sizeof text,
             "metadata: {version: \"1.0.0\", description: d, kind: schema, references: [r]%s%s%s}\nstatus: DRAFT\n",
             depends_on ? ", depends_on: [" : "", depends_on ? depends_on : "", depends_on ? "]" : "");
    fal_desk_contract(name, text, NULL, NULL);
}

static void graph(fal_desk_ran *r, const char *format)
{
    const char *arguments[] = { "graph", fal_desk_path("contracts"), "--format", format, NULL };
    fal_desk_run(r, fal_cmd_graph, arguments);
}

START_TEST(graph_formats)
{
    node("a-v1", "b-v1, c-v1");
    node("b-v1", "c-v1");
    node("c-v1", NULL);
    fal_desk_ran r;
    graph(&r, "text");
    ck_assert_int_eq(r.status, 0);
    ck_assert_str_eq(r.out, "a-v1 (nothing bound) -> b-v1, c-v1\nb-v1 (nothing bound) -> c-v1\nc-v1 (nothing bound)\n\n"
                            "contracts    3, 3 dependencies, 0 missing, 0 circles\n");
    fal_desk_forget(&r);
    graph(&r, "dot");
    ck_assert_ptr_nonnull(strstr(r.out, "digraph contracts {"));
    ck_assert_ptr_nonnull(strstr(r.out, "\"a-v1\" -> \"b-v1\";"));
    fal_desk_forget(&r);
    graph(&r, "json");
    json_t *j = json_loads(r.out, 0, NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(j, "nodes")), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(j, "edges")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(json_object_get(j, "nodes"), 2), "users")), 2);
    json_decref(j);
    fal_desk_forget(&r);
    const char *bad[] = { "graph", "--format", "svg", NULL }, *none[] = { "graph", "/nonexistent", NULL };
    fal_desk_run(&r, fal_cmd_graph, bad);
    ck_assert_int_eq(r.status, 2);
    fal_desk_forget(&r);
    fal_desk_run(&r, fal_cmd_graph, none);
    ck_assert_int_eq(r.status, 4);
    fal_desk_forget(&r);
}
END_TEST

/* Rule: every circle is found, with its members and no others; a contract that is not there is named. */
START_TEST(graph_circles_and_missing)
{
    node("a-v1", "b-v1");
    node("b-v1", "c-v1");
    node("c-v1", "b-v1, gone-v1");
    node("d-v1", "d-v1");
    node("e-v1", "a-v1");
    fal_desk_ran r;
    graph(&r, "text");
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.out, "circle: b-v1, c-v1\n"));
    ck_assert_ptr_nonnull(strstr(r.out, "circle: d-v1\n"));
    ck_assert_ptr_nonnull(strstr(r.out, "gone-v1 (missing)\n"));
    ck_assert_ptr_nonnull(strstr(r.out, "contracts    5, 6 dependencies, 1 missing, 2 circles\n"));
    fal_desk_forget(&r);
}
END_TEST

/* ---- diff ---- */

/* Every key that a claim rests on, in its old and its new form, and what that does. */
static const struct {
    const char *from, *to, *effect, *path;
} changes[] = {
    { "{max: 1.5e-5, warn: 1.0e-5}", "{max: 1.5e-4, warn: 1.0e-5}", "loosened",
      "F-EK-C22211-002/check/matmul_l2/limit/max" },
    { "{max: 1.5e-5, warn: 1.0e-5}", "{max: 1.2e-5, warn: 1.0e-5}", "tightened",
      "F-EK-C22211-002/check/matmul_l2/limit/max" },
    { "{max: 1.5e-5, warn: 1.0e-5}", "{max: 15.0e-6, warn: 1.0e-5}", "other",
      "F-EK-C22211-002/check/matmul_l2/limit/max" },
    { "{max: 1.5e-5, warn: 1.0e-5}", "{max: 1.5e-5}", "other", "F-EK-C22211-002/check/matmul_l2/limit/warn" },
    { "{min: 0.99, warn: 0.999}", "{min: 0.9, warn: 0.999}", "loosened",
      "FALSIFY-EK-001/check/forward_cosine/limit/min" },
    { "{min: 0.99, warn: 0.999}", "{min: 0.995, warn: 0.999}", "tightened",
      "FALSIFY-EK-001/check/forward_cosine/limit/min" },
    { "limit: {equal: 0}", "limit: {equal: 1}", "unordered", "FALSIFY-EK-001/check/self_bits/limit/equal" },
    { "tolerance: 1.0e-6", "tolerance: 1.0e-5", "loosened", "EK-EQV-001/tolerance" },
    { "gap: 0.001", "gap: 0.002", "loosened", "FALSIFY-EK-001/check/forward_cosine/with/gap" },
    { "backends: [opencl, cuda]", "backends: [opencl]", "loosened", "FALSIFY-EK-001/check/forward_cosine/backends" },
    { "        backends: [opencl, cuda]\n", "", "tightened", "FALSIFY-EK-001/check/forward_cosine/backends" },
    { "prompts: [truth-0, short]\n        sequence", "prompts: [short, truth-0]\n        sequence", "unordered",
      "FALSIFY-EK-001/check/forward_cosine/prompts" },
    { "again: true\n", "again: false\n", "loosened", "FALSIFY-EK-001/check/forward_cosine/again" },
    { "n_greedy: 8", "n_greedy: 4", "loosened", "FALSIFY-EK-001/check/forward_cosine/n_greedy" },
    { "fills: [gauss, outlier]", "fills: [gauss]", "loosened", "F-EK-C22211-002/check/matmul_l2/fills" },
    { "fills: [gauss, outlier]", "fills: [outlier, gauss]", NULL, NULL },
    { "seeds: [1,", "seeds: [7, 1,", "tightened", "F-EK-C22211-002/check/matmul_l2/seeds" },
    { "spoil: [arch, truncated]", "spoil: [arch]", "loosened", "FALSIFY-EK-003/check/refuses/spoil" },
    { "judge: rel_l2", "judge: cosine", "unordered", "F-EK-C22211-002/check/matmul_l2/judge" },
    { "tokens: [1420,", "tokens: [1421,", "unordered", "short/tokens" },
    { "      - {name: loads, observe: preload, judge: preload, against: none, limit: {max: 0}, basis: counted}\n", "",
      "loosened", "FALSIFY-EK-003/check/loads" },
    { "property: y equals x", "property: y resembles x", "unordered", "EK-EQV-001/property" },
    { "property: y equals x", "property: \"y equals  x\"", NULL, NULL },
    { "  - {id: EK_INV_002, type: invariant, property: \"日本語: bounded\"}\n", "", "loosened", "EK_INV_002" },
    { "obligations: [EK-EQV-001, OT-INV-001]", "obligations: [EK-EQV-001]", "loosened", "M-EK-0/obligations" },
    { "  depends_on: [other-v1]\n", "", "loosened", "depends_on" },
    { "basis: derived", "basis: derived anew", "other", "F-EK-C22211-002/check/matmul_l2/basis" },
    { "if_fails: Nobody knows.", "if_fails: Somebody knows.", "other", "FALSIFY-EK-004/if_fails" },
    { "unbound_because: no engine offers it", "retired: true\n    end_condition: never", "loosened",
      "FALSIFY-EK-004/retired" },
    { "status: SHIPPED", "status: DISCHARGED", "other", "M-EK-0/status" },
};

START_TEST(diff_weighs_every_change)
{
    const char *from = changes[_i].from, *to = changes[_i].to;
    char *old = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    fal_desk_contract("every-key-v1.yaml", old, from, to);
    free(old);
    fal_desk_ran r;
    const char *arguments[] = { "diff",
                                FAL_TEST_CONTRACTS "/every-key-v1.yaml",
                                fal_desk_path("contracts/every-key-v1.yaml"),
                                "--format",
                                "json",
                                NULL };
    fal_desk_run(&r, fal_cmd_diff, arguments);
    json_t *j = json_loads(r.out, 0, NULL);
    ck_assert_msg(j != NULL, "%s", r.error.message);
    const json_t *list = json_object_get(json_array_get(json_object_get(j, "contracts"), 0), "changes");
    bool found = changes[_i].effect == NULL && json_array_size(list) == 0;
    for (size_t i = 0; changes[_i].effect && i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        found |= strcmp(json_string_value(json_object_get(c, "effect")), changes[_i].effect) == 0 &&
                 strcmp(json_string_value(json_object_get(c, "path")), changes[_i].path) == 0;
    }
    ck_assert_msg(found, "%s -> %s: expected %s\n%s", from, to,
                  changes[_i].effect ? changes[_i].effect : "no difference", r.out);
    const bool bad = changes[_i].effect &&
                     (strcmp(changes[_i].effect, "loosened") == 0 || strcmp(changes[_i].effect, "unordered") == 0);
    ck_assert_msg(r.status == (bad ? 1 : 0), "exit %d: %s", r.status, r.error.message);
    json_decref(j);
    fal_desk_forget(&r);
}
END_TEST

START_TEST(diff_text_folders_and_arguments)
{
    char *old = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    fal_desk_contract("every-key-v1.yaml", old, "{max: 1.5e-5, warn: 1.0e-5}", "{max: 1.5e-4, warn: 1.0e-5}");
    free(old);
    fal_desk_ran r;
    char *mine = strdup(fal_desk_path("contracts"));
    const char *folders[] = { "diff", FAL_TEST_CONTRACTS, mine, NULL };
    fal_desk_run(&r, fal_cmd_diff, folders);
    ck_assert_int_eq(r.status, 1);
    ck_assert_ptr_nonnull(
        strstr(r.out, "every-key-v1 1.2.0 -> 1.2.0: asks for a major version, and has no new one\n"
                      "  falsification_tests\n"
                      "    ~ F-EK-C22211-002/check/matmul_l2/limit/max: 1.5e-5 -> 1.5e-4  LOOSENED: limit\n"));
    ck_assert_ptr_nonnull(strstr(r.out, "other-v1: LOOSENED: the contract is gone\n"));
    fal_desk_forget(&r);
    char *file = strdup(fal_desk_path("contracts/every-key-v1.yaml"));
    const char *mixed[] = { "diff", FAL_TEST_CONTRACTS, file, NULL };
    fal_desk_run(&r, fal_cmd_diff, mixed);
    ck_assert_int_eq(r.status, 1);
    ck_assert_ptr_nonnull(strstr(r.out, "limit/max: 1.5e-5 -> 1.5e-4"));
    ck_assert_ptr_nonnull(strstr(r.out, "contracts: 0 new, 0 gone, of 1\n"));
    fal_desk_forget(&r);
    free(file);
    const char *same[] = { "diff", FAL_TEST_CONTRACTS, FAL_TEST_CONTRACTS, NULL };
    fal_desk_run(&r, fal_cmd_diff, same);
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "differences  0 = 0 loosened"));
    fal_desk_forget(&r);
    const char *one[] = { "diff", FAL_TEST_CONTRACTS, NULL },
               *none[] = { "diff", FAL_TEST_CONTRACTS, "/nonexistent", NULL };
    fal_desk_run(&r, fal_cmd_diff, one);
    ck_assert_int_eq(r.status, 2);
    fal_desk_forget(&r);
    fal_desk_run(&r, fal_cmd_diff, none);
    ck_assert_int_eq(r.status, 4);
    fal_desk_forget(&r);
    fal_desk_write("contracts/every-key-v1.yaml", "metadata: [\n");
    fal_desk_run(&r, fal_cmd_diff, folders);
    ck_assert_int_eq(r.status, 3);
    fal_desk_forget(&r);
    free(mine);
}
END_TEST

Suite *fal_suite_graph_diff(void)
{
    Suite *s = suite_create("graph_diff");
    TCase *t = tcase_create("graph_diff");
    tcase_add_checked_fixture(t, fal_desk_make, fal_desk_remove);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, graph_formats);
    tcase_add_test(t, graph_circles_and_missing);
    tcase_add_loop_test(t, diff_weighs_every_change, 0, (int)(sizeof changes / sizeof changes[0]));
    tcase_add_test(t, diff_text_folders_and_arguments);
    suite_add_tcase(s, t);
    return s;
}
