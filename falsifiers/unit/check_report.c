/* Unit tests of tally and report: denominators, exit status, the last line, escaping, reproduction lines. */
#include "falsifiers/unit/plan_world.h"
#include "harness/report.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_report(void);

static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static fal_tally tally_of(int survived, int falsified, int blocked, int required_blocked, int crashed)
{
    fal_tally t = { 0 };
    for (int i = 0; i < survived; i++) fal_counts_add(&t.all, FAL_SURVIVED);
    for (int i = 0; i < falsified; i++) fal_counts_add(&t.all, FAL_FALSIFIED);
    for (int i = 0; i < blocked; i++) fal_counts_add(&t.all, FAL_BLOCKED);
    for (int i = 0; i < required_blocked; i++) fal_counts_add(&t.required, FAL_BLOCKED);
    for (int i = 0; i < crashed; i++) fal_counts_add(&t.all, FAL_CRASHED);
    return t;
}

/* Rule: planned is the sum of all verdicts, and of passed, failed and skipped. */
START_TEST(denominators_add_up)
{
    unsigned state = 7;
    for (int round = 0; round < 200; round++) {
        fal_counts c = { 0 };
        const int n = (int)(state % 50);
        for (int i = 0; i < n; i++) {
            state = state * 1103515245u + 12345u;
            fal_counts_add(&c, (fal_verdict_kind)((state >> 16) % FAL_N_VERDICTS));
        }
        int sum = 0, shown = 0, planned = -1, at = 0;
        for (int v = 0; v < FAL_N_VERDICTS; v++) sum += c.by[v];
        ck_assert_int_eq(sum, c.planned);
        ck_assert_int_eq(fal_counts_passed(&c) + fal_counts_failed(&c) + fal_counts_skipped(&c), c.planned);
        char text[400], word[32];
        fal_counts_text(&c, text, sizeof text);
        ck_assert_int_eq(sscanf(text, "planned %d =%n", &planned, &at), 1);
        const char *p = text + at;
        for (int value, used; sscanf(p, " %31s %d%n", word, &value, &used) == 2; p += *p == '+') {
            shown += value;
            p += used;
            while (*p == ' ') p++;
        }
        ck_assert_int_eq(planned, n);
        ck_assert_int_eq(shown, n);
        state++;
    }
}
END_TEST

/* Rule: what was waived, blocked or not run is skipped; whatever else did not survive failed. */
START_TEST(closing_numbers)
{
    fal_counts c = { 0 };
    for (int v = 0; v < FAL_N_VERDICTS; v++) fal_counts_add(&c, (fal_verdict_kind)v);
    ck_assert_int_eq(fal_counts_passed(&c), 1);
    ck_assert_int_eq(fal_counts_skipped(&c), 3);
    ck_assert_int_eq(fal_counts_failed(&c), FAL_N_VERDICTS - 4);
}
END_TEST

/* Rule: of several causes the first of 130, 8, 3, 1, 7, 6, 5, 77 counts. */
START_TEST(exit_precedence)
{
    char reason[256];
    fal_tally t = tally_of(2, 1, 1, 1, 1);
    t.interrupted = t.not_written = t.bad_input = t.untrusted = t.stale = true;
    static const int order[] = { 130, 8, 3, 1, 7, 6, 5 };
    bool *const flags[] = { &t.interrupted, &t.not_written, &t.bad_input, NULL, &t.untrusted, &t.stale };
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        ck_assert_int_eq(fal_tally_exit(&t, reason, sizeof reason), order[i]);
        ck_assert_str_ne(reason, "");
        if (i < 6 && flags[i]) *flags[i] = false;
        if (i == 3) {
            t.all.by[FAL_FALSIFIED]--;
            fal_counts_add(&t.all, FAL_SURVIVED);
            t.all.planned--;
        }
    }
}
END_TEST

/* Rule: the exit status of single causes. */
START_TEST(exit_of_single_causes)
{
    char reason[256];
    const struct {
        fal_tally t;
        int status;
    } rows[] = {
        { tally_of(3, 0, 0, 0, 0), 0 }, { tally_of(3, 0, 2, 0, 0), 0 },  { tally_of(3, 1, 0, 0, 0), 1 },
        { tally_of(3, 0, 1, 1, 0), 5 }, { tally_of(0, 0, 4, 0, 0), 77 }, { tally_of(0, 0, 4, 1, 0), 5 },
        { tally_of(0, 0, 0, 0, 0), 4 }, { tally_of(3, 0, 0, 0, 1), 5 },  { tally_of(0, 1, 4, 4, 1), 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int status = fal_tally_exit(&rows[i].t, reason, sizeof reason);
        ck_assert_msg(status == rows[i].status, "row %zu: %d, expected %d", i, status, rows[i].status);
        ck_assert_int_eq(status == 0, reason[0] == '\0');
    }
    static const fal_verdict_kind undecided[] = { FAL_CRASHED, FAL_TIMED_OUT, FAL_ERROR, FAL_FLAKY, FAL_MISTRUSTED };
    for (size_t i = 0; i < sizeof undecided / sizeof undecided[0]; i++) {
        fal_tally t = tally_of(5, 0, 0, 0, 0);
        fal_counts_add(&t.all, undecided[i]);
        fal_counts_add(&t.required, undecided[i]);
        ck_assert_int_eq(fal_tally_exit(&t, reason, sizeof reason), 5);
        ck_assert_ptr_nonnull(strstr(reason, fal_verdict_name(undecided[i])));
    }
    fal_tally t = tally_of(5, 0, 0, 0, 0);
    fal_counts_add(&t.all, FAL_NOT_RUN);
    fal_counts_add(&t.required, FAL_NOT_RUN);
    ck_assert_int_eq(fal_tally_exit(&t, reason, sizeof reason), 5);
    t = (fal_tally){ 0 };
    fal_counts_add(&t.all, FAL_NOT_RUN);
    ck_assert_int_eq(fal_tally_exit(&t, reason, sizeof reason), 5);
}
END_TEST

/* ---- the printed report ------------------------------------------------------------------------------------------ */

/* A run that nobody made: verdicts are put in by hand. */
static fal_run made_up_run(const fal_world *w)
{
    fal_run run = { .plan = w->plan,
                    .results = calloc((size_t)w->plan->n_cases, sizeof *run.results),
                    .kernels = json_object() };
    ck_assert(run.results && run.kernels);
    for (int i = 0; i < w->plan->n_cases; i++) {
        fal_verdict *v = &run.results[i].verdict;
        const fal_case *k = &w->plan->cases[i];
        v->kind = k->blocked ? FAL_BLOCKED : FAL_SURVIVED;
        v->metric = "max relative L2";
        snprintf(v->reason, sizeof v->reason, "%s", k->blocked ? k->blocked : "fine");
        run.results[i].executed = !k->blocked;
        fal_counts_add(&run.tally.all, v->kind);
        if (k->required) fal_counts_add(&run.tally.required, v->kind);
    }
    return run;
}

static void falsify(fal_run *run, int i)
{
    fal_verdict *v = &run->results[i].verdict;
    run->tally.all.by[v->kind]--;
    run->tally.all.by[FAL_FALSIFIED]++;
    v->kind = FAL_FALSIFIED;
    v->has_value = v->has_worst = true;
    v->value = NAN;
    v->got = 0.1;
    v->want = 0.25;
    v->margin = -(double)INFINITY;
    snprintf(v->worst, sizeof v->worst, "out.y[1, 2]");
    snprintf(v->reason, sizeof v->reason, "wrong \033[31mby\r\nfar");
    snprintf(v->detail, sizeof v->detail, "first\nsecond \033]0;title\007\n");
}

static char *print_run(const fal_run *run, const fal_world *w, bool plan_too)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    ck_assert_ptr_nonnull(f);
    const fal_report_options o = {
        .options = &w->options, .probes = w->probes, .invoked = "falsify", .revision = "test"
    };
    if (plan_too) fal_report_plan(w->plan, &o, f);
    fal_report_run(run, &o, f);
    fclose(f);
    return text;
}

static void free_run(fal_run *run)
{
    free(run->results);
    json_decref(run->kernels);
}

static void assert_no_controls(const char *text)
{
    for (const char *c = text; *c; c++)
        ck_assert_msg((unsigned char)*c >= 0x20 || *c == '\n', "control byte 0x%02x", (unsigned char)*c);
}

/* Rule: text of contracts, drivers, observers cannot act on the terminal, in plan and report alike. */
START_TEST(untrusted_text_is_escaped)
{
    fal_world w;
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("-v")), FAL_OK);
    fal_run run = made_up_run(&w);
    falsify(&run, 0);
    run.results[0].log_tail = "driver says \033[2J";
    char *text = print_run(&run, &w, true);
    assert_no_controls(text);
    ck_assert_ptr_nonnull(strstr(text, "\\x1b[31mdone")); /* why a claim is unbound */
    ck_assert_ptr_nonnull(strstr(text, "\\x1b]0;card"));  /* a contract's blocker */
    ck_assert_ptr_nonnull(strstr(text, "\\x1b[2Jhere"));  /* a driver's message */
    ck_assert_ptr_nonnull(strstr(text, "driver says \\x1b[2J"));
    free(text);
    free_run(&run);
    fal_world_free(&w);
}
END_TEST

/* Rule: failures come last but for the denominators, each with reason, worst place and one line to reproduce it; the
   very last line is the closing one. */
START_TEST(failures_and_closing_line)
{
    fal_world w;
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, ARGS("--seed", "9", "--model", "a b/it's.gguf")), FAL_OK);
    fal_run run = made_up_run(&w);
    falsify(&run, 1);
    char *text = print_run(&run, &w, false);
    const char *failure = strstr(text, "falsified FALSIFY-ALPHA-001"), *table = strstr(text, "alpha-v1 1.0.0"),
               *unbound = strstr(text, "1 unbound");
    ck_assert(failure && table && unbound && table < unbound && unbound < failure);
    ck_assert_ptr_nonnull(strstr(failure, "got 0.1 (0x1.999999999999ap-4), want 0.25 (0x1p-2)"));
    char line[400];
    snprintf(line, sizeof line,
             "falsify run -k '%s' --backend opencl --device some-gpu --model 'a b/it'\\''s.gguf' --seed 9\n",
             w.plan->cases[1].id);
    ck_assert_msg(strstr(failure, line) != NULL, "%s", failure);
    const size_t n = strlen(text);
    const char *last = text + n - 1;
    while (last > text && last[-1] != '\n') last--;
    ck_assert_str_eq(last, "16 passed, 1 failed, 16 skipped\n");
    ck_assert_ptr_nonnull(strstr(text, "run        planned 33 = survived 16 + falsified 1 + blocked 16\n"));
    /* the reason for 16 blocked cases takes one line, and the heading none of the table */
    const char *once = strstr(text, "16 cases on cuda: ");
    ck_assert_ptr_nonnull(once);
    ck_assert_ptr_null(strstr(once + strlen("16 cases"), "cases on cuda: "));
    free(text);
    free_run(&run);
    fal_world_free(&w);
}
END_TEST

/* Rule: counts per contract and per backend add up to those of the run. */
START_TEST(parts_add_up_to_the_run)
{
    fal_world w;
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_CPU, model, NULL), FAL_OK);
    fal_run run = made_up_run(&w);
    for (int i = 0; i < w.plan->n_cases; i += 3) falsify(&run, i);
    const fal_counts all = fal_run_counts(&run, NULL, NULL);
    int contracts = 0, backends = 0, falsified = 0;
    for (int i = 0; i < w.plan->n_contracts; i++) contracts += fal_run_counts(&run, w.plan->contracts[i], NULL).planned;
    for (int i = 0; i < w.probes->n; i++) {
        const fal_counts c = fal_run_counts(&run, NULL, w.probes->items[i].backend->name);
        backends += c.planned;
        falsified += c.by[FAL_FALSIFIED];
    }
    ck_assert_int_eq(contracts, all.planned);
    ck_assert_int_eq(backends, all.planned);
    ck_assert_int_eq(falsified, all.by[FAL_FALSIFIED]);
    ck_assert_int_eq(all.planned, w.plan->n_cases);
    free_run(&run);
    fal_world_free(&w);
}
END_TEST

/* Rule: the JSON document holds every case, also with values that JSON cannot hold and text that is no UTF-8. */
START_TEST(json_holds_every_case)
{
    fal_world w;
    ck_assert_int_eq(fal_world_make(&w, FAL_WORLD_GPU, model, NULL), FAL_OK);
    fal_run run = made_up_run(&w);
    falsify(&run, 0);
    snprintf(run.results[0].verdict.detail, sizeof run.results[0].verdict.detail, "bad \xff byte");
    const fal_report_options o = { .options = &w.options,
                                   .probes = w.probes,
                                   .invoked = "falsify",
                                   .revision = "test",
                                   .exit_status = 1,
                                   .reason = "x" };
    json_t *j = fal_report_run_json(&run, &o);
    char *text = json_dumps(j, 0);
    json_error_t je;
    json_t *back = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    ck_assert_ptr_nonnull(back);
    const json_t *cases = json_object_get(back, "cases"), *first = json_array_get(cases, 0);
    ck_assert_uint_eq(json_array_size(cases), (size_t)w.plan->n_cases);
    ck_assert_str_eq(json_string_value(json_object_get(first, "value")), "nan");
    ck_assert_str_eq(json_string_value(json_object_get(first, "margin")), "-inf");
    ck_assert_str_eq(json_string_value(json_object_get(first, "detail")), "bad ? byte");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(back, "counts"), "planned")), w.plan->n_cases);
    json_decref(back);
    json_decref(j);
    free(text);
    j = fal_report_plan_json(w.plan, &o);
    ck_assert_uint_eq(json_array_size(json_object_get(j, "cases")), (size_t)w.plan->n_cases);
    json_decref(j);
    free_run(&run);
    fal_world_free(&w);
}
END_TEST

Suite *fal_suite_report(void)
{
    Suite *s = suite_create("report");
    TCase *t = tcase_create("report");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, denominators_add_up);
    tcase_add_test(t, closing_numbers);
    tcase_add_test(t, exit_precedence);
    tcase_add_test(t, exit_of_single_causes);
    tcase_add_test(t, untrusted_text_is_escaped);
    tcase_add_test(t, failures_and_closing_line);
    tcase_add_test(t, parts_add_up_to_the_run);
    tcase_add_test(t, json_holds_every_case);
    suite_add_tcase(s, t);
    return s;
}
