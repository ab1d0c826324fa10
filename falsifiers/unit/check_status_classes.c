/* Failure classes that derived status makes impossible, each with the files that show the refusal. */
#include "falsifiers/unit/contract_folder.h"
#include "falsifiers/unit/status_desk.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_status_classes(void);

#define N(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const fal_desk_record everything[] = {
    { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:survived", .value = 0.5 },
    { .id = "FALSIFY-T-001", .backend = "cuda", .checks = "l2:survived", .value = 0.5 },
    { .id = "FALSIFY-T-002", .backend = "reference", .checks = "finite:survived", .value = 0.5 },
    { .id = "FALSIFY-T-002", .backend = "opencl", .checks = "finite:survived", .value = 0.5 },
};

static void status(fal_desk_ran *r, const char *a, const char *b)
{
    const char *arguments[] = {
        "status", fal_desk_path("contracts"), "--evidence", fal_desk_path("evidence"), "--no-probe", a, b, NULL
    };
    fal_desk_run(r, fal_cmd_status, arguments);
}

/* Runs status: the exit status, and a text that must stand in what it said. */
static void expect(int exit_status, const char *text, const char *a, const char *b)
{
    fal_desk_ran r;
    status(&r, a, b);
    ck_assert_msg(r.status == exit_status, "exit %d, expected %d: %s\n%s%s", r.status, exit_status, r.error.message,
                  r.err, r.out);
    ck_assert_msg(!text || strstr(r.err, text) || strstr(r.out, text) || strstr(r.error.message, text),
                  "no '%s' in\n%s%s%s", text, r.err, r.out, r.error.message);
    fal_desk_forget(&r);
}

static void contract(const char *from, const char *to)
{
    fal_desk_contract("t-v1.yaml", fal_desk_two, from, to);
}

/* Class 4, status by text: what a file says follows from evidence, or is refused at its line. */
START_TEST(class_4_status_by_text)
{
    contract("status: PENDING", "status: SHIPPED");
    expect(3, "t-v1.yaml:8:13: error: stage M-T-1 says SHIPPED, the evidence supports PENDING [STA-001]", NULL, NULL);
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    expect(0, NULL, NULL, NULL);
    contract("status: DRAFT", "status: ACTIVE_ALGORITHM_LEVEL");
    fal_desk_evidence("20261122T000000Z-b", everything, N(everything));
    expect(0, NULL, NULL, NULL);
    /* a kernel or a limit that changed takes the status with it */
    const char *where = NULL;
    char *active = fal_test_changed(fal_desk_two, "status: DRAFT", "status: ACTIVE_ALGORITHM_LEVEL", &where);
    fal_desk_contract("t-v1.yaml", active, "limit: {max: 1}, basis: b,\n         backends: [opencl, cuda]",
                      "limit: {max: 2}, basis: b,\n         backends: [opencl, cuda]");
    expect(3, "t-v1.yaml:2:9: error: t-v1 says ACTIVE_ALGORITHM_LEVEL, the evidence supports DRAFT [STA-001]", NULL,
           NULL);
    expect(3, "l2 changed (check)", NULL, NULL);
    expect(3, "STA-001", NULL, NULL);
    free(active);
}
END_TEST

/* Class 8, counting: as many falsifiers as obligations are worth nothing when they all try the same one. */
START_TEST(class_8_counting_instead_of_mapping)
{
    const char *where = NULL;
    char *same = fal_test_changed(fal_desk_two, "obligations: [T-INV-002]\n    check",
                                  "obligations: [T-EQV-001]\n    check", &where);
    fal_desk_contract("t-v1.yaml", same, "status: PENDING", "status: SHIPPED");
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    expect(3, "stage M-T-1 says SHIPPED, the evidence supports PARTIAL_ALGORITHM_LEVEL", NULL, NULL);
    expect(3, "T-INV-002 unbound: no falsifier with a check tries to refute it", NULL, NULL);
    fal_desk_ran r;
    const char *arguments[] = { "coverage", fal_desk_path("contracts"), "--evidence", fal_desk_path("evidence"), NULL };
    fal_desk_run(&r, fal_cmd_coverage, arguments);
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "t-v1: 1 of 2 obligations bound, 1 survived"));
    ck_assert_ptr_nonnull(strstr(r.out, "no falsifier"));
    fal_desk_forget(&r);
    free(same);
}
END_TEST

/* Class 12, "discharged" meaning "bug confirmed": what was falsified lifts nothing, however thoroughly it ran. */
START_TEST(class_12_discharged_is_not_bug_confirmed)
{
    fal_desk_record lost[N(everything)];
    memcpy(lost, everything, sizeof lost);
    for (int i = 0; i < N(lost); i++) {
        lost[i].checks = i < 2 ? "l2:falsified" : "finite:falsified";
        lost[i].value = 2;
    }
    contract("status: PENDING", "status: DISCHARGED");
    fal_desk_evidence("20261121T000000Z-a", lost, N(lost));
    expect(3, "stage M-T-1 says DISCHARGED, the evidence supports PENDING", NULL, NULL);
    contract("status: PENDING", "status: PARTIAL_ALGORITHM_LEVEL");
    fal_desk_evidence("20261121T000000Z-a", lost, N(lost));
    expect(3, "falsified", NULL, NULL);
    contract(NULL, NULL);
    expect(1, "4 of 4 falsifiers x backends are falsified", "--require-fresh", NULL);
    expect(0, NULL, NULL, NULL); /* a file that claims nothing may have lost */
}
END_TEST

/* Class 20, a dependency that lifts its parent: without an executable test it is refused before any evidence is read; with
   one that never ran it holds the parent down, however well the parent's own falsifiers went. */
START_TEST(class_20_dependency_lifts_parent)
{
    static const char stub[] =
        "metadata: {version: \"1.0.0\", description: d, kind: schema, references: [r]}\nstatus: DRAFT\n"
        "proof_obligations:\n  - {id: S-INV-001, type: invariant, property: z}\n";
    static const char attempt[] =
        "falsification_tests:\n  - id: FALSIFY-S-001\n    rule: r\n    prediction: p\n    if_fails: f\n"
        "    obligations: [S-INV-001]\n    check:\n"
        "      - {name: finite, observe: op, op: rmsnorm, judge: finite, against: none, limit: {max: 1}, basis: b,\n"
        "         backends: [opencl], shapes: [{n_tokens: 1, n_embd: 32}], fills: [gauss], seeds: [1]}\n";
    const char *where = NULL;
    char text[2000];
    char *active = fal_test_changed(fal_desk_two, "status: DRAFT", "status: ACTIVE_ALGORITHM_LEVEL", &where);
    fal_desk_contract("t-v1.yaml", active, "references: [r]", "references: [r], depends_on: [stub-v1]");
    fal_desk_contract("stub-v1.yaml", stub, NULL, NULL);
    expect(3, "stub-v1 has no falsifier that can be executed", NULL, NULL);
    snprintf(text, sizeof text, "%s%s", stub, attempt);
    fal_desk_contract("stub-v1.yaml", text, NULL, NULL);
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    expect(3, "t-v1 says ACTIVE_ALGORITHM_LEVEL, the evidence supports DRAFT", NULL, NULL);
    expect(3, "depends on stub-v1, which is a DRAFT: S-INV-001 missing", NULL, NULL);
    fal_desk_contract("t-v1.yaml", active, NULL, NULL); /* the same without that dependency */
    expect(0, NULL, NULL, NULL);
    free(active);
}
END_TEST

/* Class 22, losing records deleted: rows of evidence may not vanish, be edited or be rolled back. */
START_TEST(class_22_losing_records_deleted)
{
    fal_desk_record lost[N(everything)];
    memcpy(lost, everything, sizeof lost);
    lost[1].checks = "l2:falsified";
    lost[1].value = 2;
    contract(NULL, NULL);
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    char command[600], *older = strdup(fal_desk_path("older"));
    snprintf(command, sizeof command, "cp -r %s %s", fal_desk_path("evidence"), older);
    ck_assert_int_eq(system(command), 0);
    fal_desk_evidence("20261122T000000Z-b", lost, N(lost));
    expect(0, NULL, NULL, NULL);

    /* the file that lost is deleted */
    unlink(fal_desk_path("evidence/FALSIFY-T-001/cuda-some-gpu-nomodel.json"));
    expect(7,
           "FALSIFY-T-001/cuda-some-gpu-nomodel.json: error: has vanished: runs/20261122T000000Z-b.json lists it as "
           "falsified [EVI-001]",
           NULL, NULL);
    /* the older one, which won, takes its place */
    snprintf(command, sizeof command, "cp %s/FALSIFY-T-001/cuda-some-gpu-nomodel.json %s", older,
             fal_desk_path("evidence/FALSIFY-T-001/"));
    ck_assert_int_eq(system(command), 0);
    expect(7, "was rolled back", NULL, NULL);
    expect(7, "EVI-001", NULL, NULL);
    /* the summary of the run that lost is deleted with it: only an older copy shows that */
    fal_desk_evidence("20261122T000000Z-b", lost, N(lost));
    snprintf(command, sizeof command, "rm -r %s && cp -r %s %s", older, fal_desk_path("evidence"), older);
    ck_assert_int_eq(system(command), 0);
    unlink(fal_desk_path("evidence/runs/20261122T000000Z-b.json"));
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    expect(0, NULL, NULL, NULL);
    expect(7, "runs/20261122T000000Z-b.json", "--since", older);
    free(older);
}
END_TEST

/* Class 25, stale "pending": what a contract waits for is looked up each time. */
START_TEST(class_25_stale_pending)
{
    static const char title[] = "    title: all of it\n";
    contract(title, "    title: all of it\n    waits_for: [\"file:/nonexistent/weights.gguf\", "
                    "\"tool:fal-no-such-tool\", \"device:cuda/RTX 4090\"]\n");
    expect(0, "file:/nonexistent/weights.gguf, M-T-1: not here", NULL, NULL);
    expect(0, "device:cuda/RTX 4090, M-T-1: not looked for", NULL, NULL);

    char with[300];
    fal_desk_write("weights.gguf", "here for days\n");
    snprintf(with, sizeof with, "    title: all of it\n    waits_for: [\"file:%s\"]\n", fal_desk_path("weights.gguf"));
    contract(title, with);
    expect(3, "t-v1.yaml:10:17: error: M-T-1 waits for file:", NULL, NULL);
    expect(3, "weights.gguf, which is here: ", NULL, NULL);
    expect(3, "STA-002", NULL, NULL);

    /* a tool or device is a matter of the machine: told, with what to do, and no error */
    fal_desk_write("bin/fal-a-tool", "#!/bin/sh\n");
    contract(title, "    title: all of it\n    waits_for: [\"tool:fal-a-tool\"]\n");
    expect(0, "not here", NULL, NULL); /* cannot be executed */
    ck_assert_int_eq(chmod(fal_desk_path("bin/fal-a-tool"), 0700), 0);
    expect(0, "warning: M-T-1 waits for tool:fal-a-tool, which is here: ", NULL, NULL);

    expect(0, "STA-003", NULL, NULL);

    static const char *const bad[] = { "weights", "file:", "tool:/bin/sh", "device:tpu/x", "device:cuda x" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(with, sizeof with, "    title: all of it\n    waits_for: [\"%s\"]\n", bad[i]);
        contract(title, with);
        expect(3, "CON-006", NULL, NULL);
    }
}
END_TEST

/* ---- the command itself ---- */

START_TEST(the_gate)
{
    contract(NULL, NULL);
    expect(0, NULL, NULL, NULL);
    expect(6, "4 missing of 4", "--require-fresh", NULL);
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything) - 1);
    expect(6, "1 missing of 4 falsifiers x backends; first FALSIFY-T-002 on opencl", "--require-fresh", NULL);
    expect(0, NULL, "--require-fresh", "--backend=reference");
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    expect(0, "4 fresh", "--require-fresh", NULL);
    contract("property: y equals x", "property: y resembles x");
    expect(6, "2 stale", "--require-fresh", NULL);
    expect(6, "T-EQV-001 changed (obligation)", "--require-fresh", NULL);
    fal_desk_record crashed[N(everything)];
    memcpy(crashed, everything, sizeof crashed);
    crashed[0].checks = "l2:crashed";
    fal_desk_evidence("20261121T000000Z-a", crashed, N(crashed));
    expect(5, "1 of 4 falsifiers x backends have no verdict", "--require-fresh", NULL);
}
END_TEST

START_TEST(formats_and_arguments)
{
    contract(NULL, NULL);
    fal_desk_evidence("20261121T000000Z-a", everything, N(everything));
    fal_desk_ran r;
    status(&r, "--format", "json");
    json_t *j = json_loads(r.out, 0, NULL);
    const json_t *c = json_array_get(json_object_get(j, "contracts"), 0),
                 *stage = json_array_get(json_object_get(c, "stages"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(c, "is")), "ACTIVE_ALGORITHM_LEVEL");
    ck_assert_str_eq(json_string_value(json_object_get(c, "says")), "DRAFT");
    ck_assert_str_eq(json_string_value(json_object_get(stage, "is")), "DISCHARGED");
    ck_assert_uint_eq(json_array_size(json_object_get(c, "falsifiers")), 4);
    ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(j, "evidence"), "files")), 4);
    json_decref(j);
    fal_desk_forget(&r);
    status(&r, "--format", "markdown");
    ck_assert_ptr_nonnull(strstr(r.out, "| t-v1 | DRAFT | ACTIVE_ALGORITHM_LEVEL |"));
    ck_assert_ptr_nonnull(strstr(r.out, "| M-T-1 | PENDING | DISCHARGED |"));
    fal_desk_forget(&r);
    expect(4, "matches no contract", "--contract", "nothing*");
    expect(4, "is no folder", "--evidence", "/nonexistent");
    expect(4, "is no folder", "--since", "/nonexistent");
    expect(2, "no backend", "--backend", "tpu");
    expect(2, "did you mean '--require-fresh'", "--require-fesh", NULL);
    expect(2, "takes no value", "--require-fresh=yes", NULL);
    expect(2, "no format", "--format", "html");
    expect(0, "exit status", "--help", NULL);
    fal_desk_write("contracts/broken-v1.yaml", "metadata: [\n");
    expect(3, "broken-v1.yaml", NULL, NULL); /* unparseable is an error, never skipped */
}
END_TEST

/* Text from evidence is untrusted when it is printed. */
START_TEST(hostile_text_is_escaped)
{
    contract(NULL, NULL);
    fal_desk_record bad[] = { everything[0] };
    bad[0].checks = "l2:falsified";
    bad[0].device = "card\x1b]0;owned\x07";
    fal_desk_evidence("20261121T000000Z-a", bad, 1);
    static const char *const formats[] = { "text", "markdown", "json" };
    for (int i = 0; i < 3; i++) {
        char option[40];
        fal_desk_ran r;
        snprintf(option, sizeof option, "--format=%s", formats[i]);
        status(&r, option, "-v");
        ck_assert_ptr_null(strchr(r.out, '\x1b'));
        ck_assert_ptr_null(strchr(r.err, '\x1b'));
        ck_assert_ptr_null(strchr(r.out, '\x07'));
        fal_desk_forget(&r);
    }
}
END_TEST

Suite *fal_suite_status_classes(void)
{
    Suite *s = suite_create("status_classes");
    TCase *t = tcase_create("status_classes");
    tcase_add_checked_fixture(t, fal_desk_make, fal_desk_remove);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, class_4_status_by_text);
    tcase_add_test(t, class_8_counting_instead_of_mapping);
    tcase_add_test(t, class_12_discharged_is_not_bug_confirmed);
    tcase_add_test(t, class_20_dependency_lifts_parent);
    tcase_add_test(t, class_22_losing_records_deleted);
    tcase_add_test(t, class_25_stale_pending);
    tcase_add_test(t, the_gate);
    tcase_add_test(t, formats_and_arguments);
    tcase_add_test(t, hostile_text_is_escaped);
    suite_add_tcase(s, t);
    return s;
}
