/* Unit tests of harness/run.h with real child processes: good observers, and bad ones that crash, hang or lie. */
#include "falsifiers/unit/plan_world.h"
#include "harness/run.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_run(void);

static const int32_t tokens[] = { 39, 72 };
static const int32_t *const requests[] = { tokens };
static const int lengths[] = { 2 };
static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static const char *const logits[] = { "logits" };
static const char *const prompts[] = { "two" };

/* Reference against itself through the plan's own structures: two cases on one observation under trial, whose observer
   behaves as `how` says, and two on another that behaves well. */
typedef struct {
    fal_contract contract;
    fal_falsifier falsifier;
    fal_check close_enough, impossible;
    fal_plan_spec specs[3];
    fal_case cases[4];
    fal_plan plan;
    fal_run_options options;
    char tmp[64];
    fal_error err;
} bench;

static fal_spec spec_of(const char *how)
{
    return (fal_spec){ .kind = FAL_OBSERVE_FORWARD,
                       .backend = "reference",
                       .variant = "",
                       .device = how,
                       .model = model,
                       .tokens = requests,
                       .n_tokens = lengths,
                       .n_requests = 1,
                       .taps = logits,
                       .n_taps = 1 };
}

static void set_up(bench *b, const char *program, const char *how, const char *reference)
{
    *b = (bench){ .tmp = "/tmp/falsify-check-XXXXXX" };
    ck_assert_ptr_nonnull(mkdtemp(b->tmp));
    b->contract = (fal_contract){ .path = "contracts/x.yaml", .stem = "x", .version = "1" };
    b->falsifier = (fal_falsifier){ .id = "FALSIFY-X-001" };
    b->close_enough = (fal_check){ .name = "close",
                                   .observe = FAL_OBSERVE_FORWARD,
                                   .judge = "rel_l2",
                                   .against = FAL_AGAINST_REFERENCE,
                                   .limit = { FAL_LIMIT_MAX, 1e-6, false, 0, "made up" },
                                   .prompts = prompts,
                                   .n_prompts = 1 };
    b->impossible = b->close_enough;
    b->impossible.name = "impossible";
    b->impossible.limit.value = -1;
    const char *const hows[] = { reference, how, "well" };
    for (int i = 0; i < 3; i++)
        b->specs[i] = (fal_plan_spec){ .spec = spec_of(hows[i]), .inputs = -1, .pin = -1, .label = "x" };
    for (int i = 0; i < 4; i++)
        b->cases[i] =
            (fal_case){ .id = i & 1 ? "FALSIFY-X-001/impossible/reference/two" : "FALSIFY-X-001/close/reference/two",
                        .contract = &b->contract,
                        .falsifier = &b->falsifier,
                        .check = i & 1 ? &b->impossible : &b->close_enough,
                        .backend = "reference",
                        .variant = "",
                        .what = "two",
                        .uses_model = true,
                        .required = true,
                        .got = i < 2 ? 1 : 2,
                        .want = 0,
                        .again = -1,
                        .oracle_prompt = -1 };
    b->plan = (fal_plan){
        .cases = b->cases, .n_cases = 4, .specs = b->specs, .n_specs = 3, .model = model, .oracle_path = "none"
    };
    b->options = (fal_run_options){ .program = program, .tmp = b->tmp, .timeout_s = 20 };
}

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n - 2;
}

static void tear_down(bench *b)
{
    ck_assert_int_eq(entries(b->tmp), 0); /* a run leaves nothing behind */
    rmdir(b->tmp);
}

/* Rule: what survives survives; what breaks its limit twice is falsified, with the value; counts add up. */
START_TEST(judges_good_observations)
{
    bench b;
    fal_run *run = NULL;
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    ck_assert_msg(fal_run_make(&b.plan, &b.options, &run, &b.err) == FAL_OK, "%s", b.err.message);
    ck_assert_msg(run->results[0].verdict.kind == FAL_SURVIVED, "%s", run->results[0].verdict.reason);
    ck_assert_int_eq(run->results[1].verdict.kind, FAL_FALSIFIED);
    ck_assert(run->results[1].verdict.has_value);
    ck_assert_double_eq(run->results[1].verdict.value, 0);
    ck_assert_ptr_nonnull(strstr(run->results[1].verdict.detail, "again in another process"));
    ck_assert_int_eq(run->tally.all.planned, 4);
    ck_assert_int_eq(run->tally.all.by[FAL_SURVIVED], 2);
    ck_assert_int_eq(run->tally.all.by[FAL_FALSIFIED], 2);
    ck_assert_uint_eq(strlen(run->model_sha256), 64);
    fal_run_free(run);
    tear_down(&b);
}
END_TEST

static const struct {
    const char *how;
    fal_verdict_kind kind;
    const char *says;
} losses[] = {
    { "crash", FAL_CRASHED, "" },
    { "hang", FAL_TIMED_OUT, "" },
    { "exit3", FAL_CRASHED, "" },
    { "garbage", FAL_ERROR, "" },
    { "no_file", FAL_ERROR, "" },
    { "truncated", FAL_ERROR, "" },
    { "device", FAL_CRASHED, "ecc error, last seen at r0 blk.2.attn" },
    { "late", FAL_CRASHED, "kernel rope failed, last seen at r0 blk.2.attn; first told as: waiting failed" },
    { "hasty", FAL_CRASHED, "waiting failed, last seen at r0 blk.2.attn; it does not fail when every kernel is waited for" },
    { "blocked", FAL_BLOCKED, "no such device" },
    { "refuse", FAL_FALSIFIED, "token 99" },
};

/* Rule: a lost observer costs its own cases only, each with the right verdict and reason. */
START_TEST(losses_are_outcomes)
{
    bench b;
    fal_run *run = NULL;
    set_up(&b, FAL_BAD_OBSERVER, losses[_i].how, "well");
    if (losses[_i].kind == FAL_TIMED_OUT) b.options.timeout_s = 2;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    for (int i = 0; i < 2; i++) {
        const fal_verdict *v = &run->results[i].verdict;
        ck_assert_msg(v->kind == losses[_i].kind, "%s: %s: %s", losses[_i].how, fal_verdict_name(v->kind), v->reason);
        ck_assert_ptr_nonnull(strstr(v->reason, losses[_i].says));
        ck_assert_str_ne(v->reason, "");
    }
    ck_assert_int_eq(run->results[2].verdict.kind, FAL_SURVIVED);
    ck_assert_int_eq(run->results[3].verdict.kind, FAL_FALSIFIED);
    if (strcmp(losses[_i].how, "crash") == 0)
        ck_assert_ptr_nonnull(strstr(run->results[0].log_tail, "compiling kernels"));
    char reason[200];
    ck_assert_int_eq(fal_tally_exit(&run->tally, reason, sizeof reason), 1);
    fal_run_free(run);
    tear_down(&b);
}
END_TEST

/* Rule: what fails and then passes in another process is flaky: neither green nor a refutation. */
START_TEST(fail_then_pass_is_flaky)
{
    bench b;
    fal_run *run = NULL;
    char script[100], marker[100];
    set_up(&b, FAL_BAD_OBSERVER, "refuse", "well");
    snprintf(script, sizeof script, "%s/observer.sh", b.tmp);
    snprintf(marker, sizeof marker, "%s/second", b.tmp);
    FILE *f = fopen(script, "w");
    ck_assert_ptr_nonnull(f);
    /* the first process refuses as told; in the second one the same request goes well */
    fprintf(f, "#!/bin/sh\nif [ -e '%s' ]; then sed -u s/refuse/well/ | '%s'; else : > '%s'; exec '%s'; fi\n", marker,
            FAL_BAD_OBSERVER, marker, FAL_BAD_OBSERVER);
    fclose(f);
    ck_assert_int_eq(chmod(script, 0700), 0);
    b.options.program = script;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    const fal_verdict *v = &run->results[0].verdict;
    ck_assert_msg(v->kind == FAL_FLAKY, "%s: %s", fal_verdict_name(v->kind), v->reason);
    ck_assert_ptr_nonnull(strstr(v->reason, "token 99"));
    ck_assert_int_eq(run->results[1].verdict.kind, FAL_FALSIFIED);
    fal_run_free(run);

    /* but where two runs that differ are what the judgement looks for, the second one excuses nothing */
    remove(marker);
    b.close_enough.again = true;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    ck_assert_int_eq(run->results[0].verdict.kind, FAL_FALSIFIED);
    fal_run_free(run);
    remove(marker);
    remove(script);
    tear_down(&b);
}
END_TEST

/* Rule: when the reference fails nothing can be said about the candidate, good or bad. */
START_TEST(a_failed_reference_makes_errors)
{
    bench b;
    fal_run *run = NULL;
    set_up(&b, FAL_BAD_OBSERVER, "well", "crash");
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(run->results[i].verdict.kind, FAL_ERROR);
        ck_assert_ptr_nonnull(strstr(run->results[i].verdict.reason, "the reference failed"));
    }
    char reason[200];
    ck_assert_int_eq(fal_tally_exit(&run->tally, reason, sizeof reason), 5);
    fal_run_free(run);
    tear_down(&b);
}
END_TEST

/* Rule: what ran must be on the device that the plan names. */
START_TEST(another_device_is_an_error)
{
    bench b;
    fal_run *run = NULL;
    const fal_device_info device = { .name = "A GPU", .slug = "a-gpu" };
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    for (int i = 0; i < 4; i++) b.cases[i].device = &device;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    ck_assert_int_eq(run->results[0].verdict.kind, FAL_ERROR);
    ck_assert_ptr_nonnull(strstr(run->results[0].verdict.reason, "a-gpu"));
    fal_run_free(run);
    tear_down(&b);
}
END_TEST

/* Rule: --fail-fast and an interrupt leave the rest not run, and say so. */
START_TEST(early_ends)
{
    bench b;
    fal_run *run = NULL;
    char reason[200];
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    b.options.fail_fast = true;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    ck_assert_int_eq(run->results[1].verdict.kind, FAL_FALSIFIED);
    ck_assert_int_eq(run->results[2].verdict.kind, FAL_NOT_RUN);
    ck_assert_int_eq(fal_tally_exit(&run->tally, reason, sizeof reason), 1);
    fal_run_free(run);
    tear_down(&b);

    const volatile int stop = 1;
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    b.options.stop = &stop;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    ck_assert_int_eq(run->tally.all.by[FAL_NOT_RUN], 4);
    ck_assert_int_eq(fal_tally_exit(&run->tally, reason, sizeof reason), 130);
    fal_run_free(run);
    tear_down(&b);
}
END_TEST

/* Rule: kept observations stay, and can be read. */
START_TEST(observations_can_be_kept)
{
    bench b;
    fal_run *run = NULL;
    char keep[100], path[300];
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    snprintf(keep, sizeof keep, "%s/kept", b.tmp);
    b.options.keep = keep;
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_OK);
    fal_run_free(run);
    ck_assert_int_ge(entries(keep), 3);
    snprintf(path, sizeof path, "%s/0001-x.safetensors", keep);
    fal_observation *o = NULL;
    ck_assert_msg(fal_observation_open(path, &o, &b.err) == FAL_OK, "%s", b.err.message);
    ck_assert_ptr_nonnull(fal_observation_find(o, 0, "logits"));
    fal_observation_close(o);
    DIR *d = opendir(keep);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(keep);
    tear_down(&b);
}
END_TEST

/* Rule: no folder for observations is an output error, no model a bad input; neither is a verdict. */
START_TEST(refusals)
{
    bench b;
    fal_run *run = NULL;
    set_up(&b, FAL_BAD_OBSERVER, "well", "well");
    b.options.tmp = "/nonexistent/folder";
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_ERR_OUTPUT);
    b.err = (fal_error){ 0 };
    b.options.tmp = b.tmp;
    b.plan.model = "falsifiers/models/no-such.gguf";
    ck_assert_int_eq(fal_run_make(&b.plan, &b.options, &run, &b.err), FAL_ERR_INPUT);
    ck_assert_ptr_null(run);
    tear_down(&b);
}
END_TEST

Suite *fal_suite_run(void)
{
    Suite *s = suite_create("run");
    TCase *t = tcase_create("run");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, judges_good_observations);
    tcase_add_loop_test(t, losses_are_outcomes, 0, sizeof losses / sizeof losses[0]);
    tcase_add_test(t, fail_then_pass_is_flaky);
    tcase_add_test(t, a_failed_reference_makes_errors);
    tcase_add_test(t, another_device_is_an_error);
    tcase_add_test(t, early_ends);
    tcase_add_test(t, observations_can_be_kept);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return s;
}
