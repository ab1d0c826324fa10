/* Unit tests of harness/records.h and harness/freshness.h: evidence that vanished, was edited, is stale, or counts. */
#include "falsifiers/unit/status_desk.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_records(void);

#define N(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const fal_desk_record good[] = {
    { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:survived", .value = 0.5 },
    { .id = "FALSIFY-T-002", .backend = "opencl", .checks = "finite:survived", .value = 0.5 },
};
static const char first[] = "FALSIFY-T-001/opencl-some-gpu-nomodel.json";

static void start(void)
{
    fal_desk_make();
    fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
}

/* The problem that names a path; its message must hold `part`. */
static void expect_problem(const fal_records *r, const char *path, const char *part)
{
    for (int i = 0; i < r->n_problems; i++)
        if (strcmp(r->problems[i].path, path) == 0) {
            ck_assert_msg(strstr(r->problems[i].message, part) != NULL, "%s: %s", path, r->problems[i].message);
            ck_assert_ptr_nonnull(r->problems[i].hint);
            return;
        }
    ck_abort_msg("no problem names %s", path);
}

static fal_records *reread(void)
{
    fal_records *r = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_records_read(fal_desk_path("evidence"), &r, &err) == FAL_OK, "%s", err.message);
    return r;
}

static char *read_file(const char *below)
{
    FILE *f = fopen(fal_desk_path(below), "r");
    char *text = calloc(1, 65536);
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_lt(fread(text, 1, 65535, f), 65535);
    fclose(f);
    return text;
}

START_TEST(whole_evidence_has_no_problem)
{
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    fal_records *r = reread();
    ck_assert_int_eq(r->n, 2);
    ck_assert_int_eq(r->n_runs, 1);
    ck_assert_int_eq(r->n_problems, 0);
    ck_assert_str_eq(r->items[0].path, first);
    ck_assert_str_eq(r->items[0].run, "20261121T000000Z-a.json");
    ck_assert_str_eq(r->items[0].cases[0].check, "l2");
    ck_assert_str_eq(r->items[0].device, "some-gpu");
    ck_assert(r->items[0].complete && r->items[0].trusted && r->items[0].verdict == FAL_SURVIVED);
    fal_records_free(r);

    ck_assert_int_eq(fal_records_read("/nonexistent/evidence", &r, NULL), FAL_OK);
    ck_assert_int_eq(r->n, 0);
    fal_records_free(r);
}
END_TEST

/* Rule: a file that a summary lists may neither go nor change. */
START_TEST(vanished_edited_and_rolled_back)
{
    fal_desk_record lost[] = { good[0] };
    lost[0].checks = "l2:falsified";
    lost[0].value = 2;
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    char *won = read_file("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json");
    fal_desk_evidence("20261122T000000Z-b", lost, 1);
    fal_records *r = reread();
    ck_assert_int_eq(r->n_problems, 0); /* written anew by a later run, which is on record */
    ck_assert_str_eq(r->items[0].run, "20261122T000000Z-b.json");
    fal_records_free(r);

    /* the older, better result put back in place of the lost one */
    fal_desk_write("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json", won);
    r = reread();
    expect_problem(r, first, "rolled back");
    ck_assert(!r->items[0].trusted);
    fal_records_free(r);

    fal_desk_write("evidence/FALSIFY-T-002/opencl-some-gpu-nomodel.json", "{}");
    r = reread();
    expect_problem(r, "FALSIFY-T-002/opencl-some-gpu-nomodel.json", "not evidence");
    fal_records_free(r);

    unlink(fal_desk_path("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json"));
    r = reread();
    expect_problem(r, first, "has vanished: runs/20261122T000000Z-b.json lists it as falsified");
    fal_records_free(r);
    free(won);
}
END_TEST

START_TEST(edited)
{
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    char *text = read_file("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json");
    char *at = strstr(text, "0.5");
    ck_assert_ptr_nonnull(at);
    at[2] = '4';
    fal_desk_write("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json", text);
    fal_records *r = reread();
    expect_problem(r, first, "was edited");
    ck_assert_int_eq(r->n_problems, 1);
    fal_records_free(r);
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    ck_assert(fal_desk_record_at(&s, first)->fresh && !fal_record_counts(fal_desk_record_at(&s, first)));
    fal_desk_release(&s);
    free(text);
}
END_TEST

/* Rule: a verdict can be recomputed from what is stored, and is. */
START_TEST(contradictions)
{
    fal_desk_record bad[] = { good[0] };
    bad[0].value = 2; /* survived, beyond max 1 */
    fal_desk_evidence("20261121T000000Z-a", bad, 1);
    fal_records *r = reread();
    expect_problem(r, first, "outside its limit");
    fal_records_free(r);

    bad[0].value = 0.5;
    fal_desk_evidence("20261121T000000Z-a", bad, 1);
    char *text = read_file("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json"), *at = text, *last = NULL;
    while ((at = strstr(at, "\"verdict\": \"survived\"")) != NULL)
        last = at++; /* that of the file stands behind its cases */
    ck_assert_ptr_nonnull(last);
    memcpy(last, "\"verdict\": \"waived\"  ", 21);
    fal_desk_write("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json", text);
    r = reread();
    ck_assert_int_eq(r->n_problems, 2); /* edited, and contradicts itself */
    ck_assert_ptr_nonnull(strstr(r->problems[1].message, "its verdict is waived, but a case says survived"));
    fal_records_free(r);
    free(text);
}
END_TEST

/* Rule: what no run lists is no problem, and does not count; what every build makes anew may be absent. */
START_TEST(unlisted_and_device_code)
{
    const fal_desk_record code[] = {
        { .id = "FALSIFY-T-001", .backend = "cuda", .checks = "l2:survived", .device = "nodevice" }
    };
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    fal_desk_evidence("20261122T000000Z-b", code, 1);
    unlink(fal_desk_path("evidence/runs/20261121T000000Z-a.json"));
    unlink(fal_desk_path("evidence/FALSIFY-T-001/cuda-nodevice-nomodel.json"));
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    ck_assert_int_eq(s.records->n_problems, 0);
    const fal_record *r = fal_desk_record_at(&s, first);
    ck_assert(r->fresh && r->trusted && !fal_record_counts(r));
    ck_assert_ptr_nonnull(strstr(r->why_not, "no summary in runs/ lists it"));
    fal_desk_release(&s);
}
END_TEST

/* Rule: what was on record in an older copy is on record now, summaries and files alike. */
START_TEST(since)
{
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    char *older = strdup(fal_desk_path("older")), command[400];
    snprintf(command, sizeof command, "cp -r %s %s", fal_desk_path("evidence"), older);
    ck_assert_int_eq(system(command), 0);
    fal_records *r = reread();
    ck_assert_int_eq(fal_records_since(r, older, NULL), FAL_OK);
    ck_assert_int_eq(r->n_problems, 0);
    fal_records_free(r);

    /* file and summary deleted together leave no trace but in the older copy */
    unlink(fal_desk_path("evidence/runs/20261121T000000Z-a.json"));
    unlink(fal_desk_path("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json"));
    r = reread();
    ck_assert_int_eq(r->n_problems, 0);
    ck_assert_int_eq(fal_records_since(r, older, NULL), FAL_OK);
    ck_assert_int_eq(r->n_problems, 2);
    expect_problem(r, "runs/20261121T000000Z-a.json", "has vanished");
    expect_problem(r, first, "has vanished");
    fal_error err = { 0 };
    ck_assert_int_eq(fal_records_since(r, "/nonexistent", &err), FAL_ERR_NOTHING);
    fal_records_free(r);
    free(older);
}
END_TEST

/* Rule: bytes from a folder never crash the reader. */
START_TEST(hostile_files)
{
    static const char *const texts[] = {
        "",
        "[",
        "[]",
        "{}",
        "{\"id\": 3}",
        "\xff\xfe",
        "{\"id\":\"FALSIFY-T-001\",\"id\":\"FALSIFY-T-001\"}",
        "{\"id\":\"FALSIFY-T-001\",\"backend\":\"opencl\",\"finished\":\"x\",\"verdict\":\"survived\",\"cases\":[3]}",
        "{\"id\":\"FALSIFY-T-001\",\"backend\":\"opencl\",\"finished\":\"x\",\"verdict\":\"great\",\"cases\":[]}",
        "{\"id\":\"FALSIFY-T-009\",\"backend\":\"opencl\",\"finished\":\"x\",\"verdict\":\"survived\",\"cases\":[{"
        "\"id\":\"a\","
        "\"check\":\"b\",\"verdict\":\"survived\"}]}",
    };
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        fal_desk_write("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json", texts[i]);
        fal_desk_write("evidence/runs/20261121T000000Z-z.json", texts[i]);
        fal_records *r = reread();
        ck_assert_msg(r->n_problems >= 2, "text %zu", i);
        expect_problem(r, first, "evidence");
        fal_records_free(r);
    }
    fal_desk_write("evidence/runs/20261121T000000Z-z.json",
                   "{\"files\": [3, {\"path\": 4}, {\"path\": \"../../x\"}, {\"sha256\": \"a\"}]}");
    fal_records_free(reread());
}
END_TEST

/* ---- freshness ---- */

/* Rule: evidence is about a claim, sources, a model; each of them makes it stale, by name. */
START_TEST(stale_by_claim)
{
    static const struct {
        const char *from, *to, *why;
    } changes[] = {
        { "limit: {max: 1}, basis: b,\n         backends: [opencl, cuda]",
          "limit: {max: 2}, basis: b,\n         backends: [opencl, cuda]", "l2 changed (check)" },
        { "property: y equals x", "property: y resembles x", "T-EQV-001 changed (obligation)" },
        { "name: l2", "name: l2b", "l2b is new (check); l2 is gone (check)" },
        { "obligations: [T-EQV-001]\n    check", "obligations: [T-EQV-001, T-INV-002]\n    check",
          "T-INV-002 is new (obligation)" },
        { "- id: FALSIFY-T-001", "- id: FALSIFY-T-003", "no contract here has this id" },
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
        fal_desk_evidence("20261121T000000Z-a", good, N(good));
        fal_desk_contract("t-v1.yaml", fal_desk_two, changes[i].from, changes[i].to);
        fal_desk_state s;
        fal_desk_derive(&s, NULL);
        const fal_record *r = fal_desk_record_at(&s, first);
        ck_assert_msg(!r->fresh && r->why_not && strstr(r->why_not, changes[i].why), "%s: %s", changes[i].why,
                      r->why_not);
        fal_desk_release(&s);
    }
    /* prose leaves it fresh */
    fal_desk_contract("t-v1.yaml", fal_desk_two, NULL, NULL);
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    fal_desk_contract("t-v1.yaml", fal_desk_two, "if_fails: look\n    obligations: [T-EQV-001]",
                      "if_fails: look there\n    obligations: [T-EQV-001]");
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    ck_assert(fal_record_counts(fal_desk_record_at(&s, first)));
    fal_desk_release(&s);
}
END_TEST

START_TEST(stale_by_sources_and_model)
{
    fal_desk_record with_model[] = { good[0], good[1] };
    with_model[0].model = "1111111111111111111111111111111111111111111111111111111111111111";
    fal_desk_evidence("20261121T000000Z-a", with_model, 2);
    static const char path[] = "FALSIFY-T-001/opencl-some-gpu-11111111.json";
    fal_source changed[8];
    int n = 0;
    for (; fal_sources[n].part; n++) changed[n] = fal_sources[n];
    changed[n] = (fal_source){ 0 };
    static const struct {
        const char *part, *why; /* why NULL: stays fresh */
    } parts[] = { { "opencl", "opencl/ changed since" },
                  { "reference", "reference/ changed since" },
                  { "shared", "what harness/ computes for all backends changed since" },
                  { "cuda", NULL } };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        for (int k = 0; k < n; k++) {
            changed[k] = fal_sources[k];
            if (strcmp(changed[k].part, parts[i].part) == 0) changed[k].sha256 = fal_sources[(k + 1) % n].sha256;
        }
        fal_desk_state s;
        fal_desk_derive(&s, changed);
        const fal_record *r = fal_desk_record_at(&s, path);
        if (parts[i].why)
            ck_assert_msg(!r->fresh && strcmp(r->why_not, parts[i].why) == 0, "%s: %s", parts[i].part, r->why_not);
        else
            ck_assert(fal_record_counts(r));
        fal_desk_release(&s);
    }
    /* a model of that name that is another file */
    fal_desk_write("m.gguf", "another model\n");
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    ck_assert_str_eq(fal_desk_record_at(&s, path)->why_not, "m.gguf is another model now");
    ck_assert(fal_record_counts(fal_desk_record_at(&s, "FALSIFY-T-002/opencl-some-gpu-nomodel.json")));
    fal_desk_release(&s);
}
END_TEST

/* Rule: what was waived counts as long as its waiver holds and covers it. */
START_TEST(stale_by_waiver)
{
    static const char waiver[] =
        "waivers:\n  - id: W-1\n    falsifier: FALSIFY-T-001\n    check: l2\n    owner: somebody\n"
        "    granted: \"2026-11-01\"\n    expires: \"%s\"\n    limit: {max: %s}\n"
        "    reason: measured at 2\nproof_obligations:";
    static const struct {
        const char *expires, *max, *why; /* expires NULL: no waiver; why NULL: it counts */
    } rows[] = { { "2026-11-25", "2.5", NULL },
                 { "2026-11-24", "2.5", "W-1 expired on 2026-11-24 (waiver)" },
                 { "2026-12-24", "1.5", "W-1 does not cover the value any more (waiver)" },
                 { NULL, NULL, "l2 is waived by nobody any more (check)" } };
    const fal_desk_record waived[] = {
        { .id = "FALSIFY-T-001", .backend = "opencl", .checks = "l2:waived", .value = 2 }
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char to[600];
        snprintf(to, sizeof to, waiver, rows[i].expires, rows[i].max);
        fal_desk_contract("t-v1.yaml", fal_desk_two, rows[i].expires ? "proof_obligations:" : NULL, to);
        fal_desk_evidence("20261121T000000Z-a", waived, 1);
        fal_desk_state s;
        fal_desk_derive(&s, NULL);
        const fal_record *r = fal_desk_record_at(&s, first);
        ck_assert_msg(r->fresh == (rows[i].why == NULL), "row %zu: %s", i, r->why_not);
        if (rows[i].why) ck_assert_ptr_nonnull(strstr(r->why_not, rows[i].why));
        fal_desk_release(&s);
    }
}
END_TEST

/* Rule: evidence of before claims and sources were cited is stale, and says so. */
START_TEST(stale_without_provenance)
{
    fal_desk_evidence("20261121T000000Z-a", good, N(good));
    char *text = read_file("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json");
    for (char *at = text; (at = strstr(at, "\"claim\"")) != NULL; at++) memcpy(at, "\"cl__m\"", 7);
    for (char *at = text; (at = strstr(at, "\"sources\"")) != NULL; at++) memcpy(at, "\"s__rces\"", 9);
    fal_desk_write("evidence/FALSIFY-T-001/opencl-some-gpu-nomodel.json", text);
    fal_desk_list("20261122T000000Z-b", first);
    fal_desk_state s;
    fal_desk_derive(&s, NULL);
    const fal_record *r = fal_desk_record_at(&s, first);
    ck_assert(r->trusted && r->run && !r->fresh && !fal_record_counts(r));
    ck_assert_str_eq(r->why_not, "it does not say which claim it is about; it does not say which sources it is about");
    fal_desk_release(&s);
    free(text);
}
END_TEST

Suite *fal_suite_records(void)
{
    Suite *s = suite_create("records");
    TCase *t = tcase_create("records");
    tcase_add_checked_fixture(t, start, fal_desk_remove);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, whole_evidence_has_no_problem);
    tcase_add_test(t, vanished_edited_and_rolled_back);
    tcase_add_test(t, edited);
    tcase_add_test(t, contradictions);
    tcase_add_test(t, unlisted_and_device_code);
    tcase_add_test(t, since);
    tcase_add_test(t, hostile_files);
    tcase_add_test(t, stale_by_claim);
    tcase_add_test(t, stale_by_sources_and_model);
    tcase_add_test(t, stale_by_waiver);
    tcase_add_test(t, stale_without_provenance);
    suite_add_tcase(s, t);
    return s;
}
