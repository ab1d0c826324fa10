/* Unit tests of waivers in use: what they turn into waived, up to which day, and which of them were of no use. */
#include "harness/run_waivers.h"
#include "harness/waiver.h"

#include <check.h>
#include <math.h>
#include <string.h>

Suite *fal_suite_waivers(void);

static const char *const only_cuda[] = { "cuda" };
static const fal_waiver at_most = { .id = "W-1",
                                    .falsifier = "FALSIFY-X-001",
                                    .check = "error",
                                    .owner = "somebody",
                                    .reason = "r",
                                    .granted = "2026-11-01",
                                    .expires = "2026-11-25",
                                    .backends = only_cuda,
                                    .n_backends = 1,
                                    .limit = { FAL_LIMIT_MAX, 1e-3, false, 0, "r" } };

static fal_verdict falsified(double value)
{
    return (
        fal_verdict){ .kind = FAL_FALSIFIED, .has_value = true, .value = value, .n_compared = 1, .reason = "too far" };
}

START_TEST(covered_until_it_expires)
{
    fal_verdict v = falsified(5e-4);
    ck_assert(fal_waive(&at_most, "2026-11-25T23:59:59Z", &v));
    ck_assert_int_eq(v.kind, FAL_WAIVED);
    ck_assert_str_eq(v.reason, "waived until 2026-11-25 by somebody (waiver W-1): too far");
    v = falsified(5e-4);
    ck_assert(!fal_waive(&at_most, "2026-11-26", &v));
    ck_assert_int_eq(v.kind, FAL_FALSIFIED);
    ck_assert_ptr_nonnull(strstr(v.reason, "expired on 2026-11-25"));
}
END_TEST

START_TEST(never_beyond_its_limit)
{
    const double values[] = { 1.0000001e-3, (double)INFINITY, (double)NAN };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        fal_verdict v = falsified(values[i]);
        ck_assert(!fal_waive(&at_most, "2026-11-25", &v));
        ck_assert_int_eq(v.kind, FAL_FALSIFIED);
        ck_assert_ptr_nonnull(strstr(v.reason, "beyond waiver W-1"));
    }
    fal_waiver at_least = at_most;
    at_least.limit = (fal_limit){ FAL_LIMIT_MIN, 0.93, false, 0, "r" };
    fal_verdict v = falsified(0.93);
    ck_assert(fal_waive(&at_least, "2026-11-25", &v));
    v = falsified(0.9299);
    ck_assert(!fal_waive(&at_least, "2026-11-25", &v));
    v = falsified((double)NAN);
    ck_assert(!fal_waive(&at_least, "2026-11-25", &v));
}
END_TEST

/* What compared nothing, has no value, or was not falsified is not for a waiver to excuse. */
START_TEST(nothing_else_is_waived)
{
    fal_verdict v = falsified(5e-4);
    v.n_compared = 0;
    ck_assert(!fal_waive(&at_most, "2026-11-25", &v));
    v = falsified(5e-4);
    v.has_value = false;
    ck_assert(!fal_waive(&at_most, "2026-11-25", &v));
    for (int kind = 0; kind < FAL_N_VERDICTS; kind++) {
        if (kind == FAL_FALSIFIED) continue;
        v = falsified(5e-4);
        v.kind = (fal_verdict_kind)kind;
        ck_assert(!fal_waive(&at_most, "2026-11-25", &v));
        ck_assert_int_eq((int)v.kind, kind);
        ck_assert_str_eq(v.reason, "too far");
    }
    v = falsified(5e-4);
    ck_assert(!fal_waive(NULL, "2026-11-25", &v));
}
END_TEST

START_TEST(one_waiver_is_of_one_check_on_its_backends)
{
    const fal_contract c = { .waivers = &at_most, .n_waivers = 1 };
    ck_assert_ptr_eq(fal_waiver_of(&c, "FALSIFY-X-001", "error", "cuda"), &at_most);
    ck_assert_ptr_null(fal_waiver_of(&c, "FALSIFY-X-001", "error", "opencl"));
    ck_assert_ptr_null(fal_waiver_of(&c, "FALSIFY-X-001", "other", "cuda"));
    ck_assert_ptr_null(fal_waiver_of(&c, "FALSIFY-X-002", "error", "cuda"));
}
END_TEST

START_TEST(use_is_told)
{
    fal_waiver waivers[2] = { at_most, at_most };
    waivers[1].id = "W-2";
    waivers[1].check = "other";
    const fal_contract c = { .stem = "x", .path = "x.yaml", .waivers = waivers, .n_waivers = 2 };
    const fal_contract *const list[] = { &c };
    const fal_falsifier f = { .id = "FALSIFY-X-001" };
    const fal_check error = { .name = "error" }, other = { .name = "other" };
    const fal_case cases[] = { { .contract = &c, .falsifier = &f, .check = &error, .backend = "cuda" },
                               { .contract = &c, .falsifier = &f, .check = &other, .backend = "cuda" },
                               { .contract = &c, .falsifier = &f, .check = &error, .backend = "opencl" } };
    const fal_plan plan = { .cases = cases, .n_cases = 3, .contracts = list, .n_contracts = 1 };
    fal_result results[3] = { { .executed = true, .waiver = &waivers[0] }, { .executed = true }, { .executed = true } };
    fal_run run = { .plan = &plan, .results = results, .today = "2026-11-25" };
    ck_assert_int_eq(fal_run_waiver_use(&run, &c, &waivers[0]).state, FAL_WAIVER_USED);
    ck_assert_int_eq(fal_run_waiver_use(&run, &c, &waivers[0]).n_cases, 1);
    ck_assert_int_eq(fal_run_waiver_use(&run, &c, &waivers[1]).state, FAL_WAIVER_UNUSED);
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    fal_report_waivers(&run, false, out);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "used x.yaml"));
    ck_assert_ptr_nonnull(strstr(text, "W-2 of FALSIFY-X-001/other, owner somebody, expires 2026-11-25: 0 of 1 "
                                       "executed cases waived; warning: nothing needed it"));
    free(text);
    results[1].executed = false;
    ck_assert_int_eq(fal_run_waiver_use(&run, &c, &waivers[1]).state, FAL_WAIVER_NOT_TRIED);
    strcpy(run.today, "2026-11-26");
    ck_assert_int_eq(fal_run_waiver_use(&run, &c, &waivers[1]).state, FAL_WAIVER_EXPIRED);
}
END_TEST

Suite *fal_suite_waivers(void)
{
    Suite *s = suite_create("waivers");
    TCase *c = tcase_create("in use");
    tcase_add_test(c, covered_until_it_expires);
    tcase_add_test(c, never_beyond_its_limit);
    tcase_add_test(c, nothing_else_is_waived);
    tcase_add_test(c, one_waiver_is_of_one_check_on_its_backends);
    tcase_add_test(c, use_is_told);
    suite_add_tcase(s, c);
    return s;
}
