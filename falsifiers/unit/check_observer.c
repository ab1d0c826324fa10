/* Tests of the parent's side of observing: each way in which an observer fails is told apart, the next spec runs. */
#include "harness/observe.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef FAL_BAD_OBSERVER
#define FAL_BAD_OBSERVER "build/bad_observer"
#endif
#ifndef FAL_PROGRAM
#define FAL_PROGRAM "build/falsify"
#endif

Suite *fal_suite_observer(void);

static char folder[64], file[96];
static const int32_t tokens[] = { 1420, 364 };
static const int32_t *const prompts[] = { tokens };
static const int lengths[] = { 2 };
static const char *const taps[] = { "logits" };

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/falsify-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/o.safetensors", folder);
}

static void teardown(void)
{
    unlink(file);
    ck_assert_msg(rmdir(folder) == 0, "something was left in %s", folder);
}

static fal_spec spec_for(const char *how)
{
    return (fal_spec){ .kind = FAL_OBSERVE_FORWARD,
                       .backend = "reference",
                       .variant = "",
                       .device = how,
                       .model = "falsifiers/models/austen-moe-Q4_K_M.gguf",
                       .tokens = prompts,
                       .n_tokens = lengths,
                       .n_requests = 1,
                       .taps = taps,
                       .n_taps = 1,
                       .out = file };
}

static fal_observer *make(const char *program)
{
    fal_observer *o = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_observer_make(program, &o, &err) == FAL_OK, "%s (built by make unit)", err.message);
    return o;
}

static fal_outcome run(fal_observer *o, const char *how, double limit_s)
{
    fal_outcome out;
    const fal_spec spec = spec_for(how);
    fal_observer_run(o, &spec, limit_s, NULL, &out);
    return out;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* behaviour, what it must be taken for, what the message must say */
static const struct {
    const char *how;
    fal_outcome_kind kind;
    double limit_s;
    const char *must_say;
} bad[] = {
    { "crash", FAL_OUTCOME_CRASHED, 30,
      "SIGSEGV (11), last seen at r0 blk.2.attn; its last words: about to touch address 8" },
    { "abandon", FAL_OUTCOME_CRASHED, 30, "SIGKILL" },
    { "hang", FAL_OUTCOME_TIMED_OUT, 0.4, "no answer within 0.4 s, last seen at r0 blk.2.attn" },
    { "spin", FAL_OUTCOME_TIMED_OUT, 0.4, "no answer within 0.4 s" },
    { "exit3", FAL_OUTCOME_CRASHED, 30, "exited with status 3 without an answer" },
    { "half", FAL_OUTCOME_CRASHED, 30, "exited with status 0 without an answer" },
    { "garbage", FAL_OUTCOME_ERROR, 30, "no answer" },
    { "unknown_status", FAL_OUTCOME_ERROR, 30, "no status" },
    { "two_answers", FAL_OUTCOME_ERROR, 30, "more than one line" },
    { "endless", FAL_OUTCOME_ERROR, 30, "longer than 64 KiB" },
    { "no_file", FAL_OUTCOME_ERROR, 30, "cannot be opened" },
    { "truncated", FAL_OUTCOME_ERROR, 60, "said ok, but" },
    { "missing_taps", FAL_OUTCOME_ERROR, 60, "'logits' is missing" },
    { "blocked", FAL_OUTCOME_BLOCKED, 30, "no such device" },
    { "device", FAL_OUTCOME_CRASHED, 30, "ecc error" },
    { "refuse", FAL_OUTCOME_REFUSED, 30, "token 99" },
};

/* Whether a process is running; one that is dead but not yet collected by its parent is not. */
static bool is_running(int pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1) state = 'Z';
    fclose(f);
    return state != 'Z' && state != 'X';
}

START_TEST(nobody_is_left) /* rule: what a dead observer started is ended with it */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    const fal_outcome out = run(o, "abandon", 30);
    const int pid = atoi(out.log_tail);
    ck_assert_msg(pid > 1, "no process number in: %s", out.log_tail);
    const double start = now();
    while (is_running(pid) && now() - start < 3) usleep(10000);
    ck_assert(!is_running(pid));
    fal_observer_free(o);
}
END_TEST

START_TEST(told_apart) /* rule: what an observer did is what the outcome says, and the next spec is observed */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    FILE *stale = fopen(file, "w"); /* an older file must not pass for the answer */
    ck_assert_ptr_nonnull(stale);
    fclose(stale);
    const fal_outcome out = run(o, bad[_i].how, bad[_i].limit_s);
    ck_assert_msg(out.kind == bad[_i].kind, "%s: outcome %d: %s", bad[_i].how, (int)out.kind, out.error.message);
    ck_assert_msg(strstr(out.error.message, bad[_i].must_say), "%s: expected '%s' in: %s", bad[_i].how,
                  bad[_i].must_say, out.error.message);
    ck_assert_int_ne(out.error.code, FAL_OK);
    if (strcmp(bad[_i].how, "refuse") == 0) ck_assert_str_eq(out.error.contract, "a-v1");
    if (strcmp(bad[_i].how, "blocked") == 0) ck_assert_str_eq(out.error.hint, "plug it in");
    const fal_outcome next = run(o, "well", 60);
    ck_assert_msg(next.kind == FAL_OUTCOME_DONE, "after %s: %s", bad[_i].how, next.error.message);
    fal_observer_free(o);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, dead or alive */
}
END_TEST

START_TEST(another_backends_file) /* rule: a silent fallback to another backend is no answer */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    fal_spec spec = spec_for("other_backend");
    fal_outcome out;
    spec.backend = "opencl";
    fal_observer_run(o, &spec, 60, NULL, &out);
    ck_assert_int_eq(out.kind, FAL_OUTCOME_ERROR);
    ck_assert_ptr_nonnull(strstr(out.error.message, "'reference', but 'opencl' was asked for"));
    fal_observer_free(o);
}
END_TEST

START_TEST(flood) /* rule: eight megabytes on stderr neither block nor fill anything; the end of it is kept */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    const fal_outcome out = run(o, "flood", 60);
    ck_assert_msg(out.kind == FAL_OUTCOME_DONE, "%s", out.error.message);
    ck_assert_uint_eq(strlen(out.log_tail), sizeof out.log_tail - 1);
    ck_assert_ptr_nonnull(strstr(out.log_tail, "the end of the flood\n"));
    ck_assert_int_eq(out.error.code, FAL_OK);
    const fal_outcome next = run(o, "well", 60);
    ck_assert_int_eq(next.kind, FAL_OUTCOME_DONE);
    ck_assert_str_eq(next.log_tail, ""); /* of this spec only */
    fal_observer_free(o);
}
END_TEST

START_TEST(restarts) /* rule: three restarts, then everything left is not run, with the reason */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(run(o, i % 2 ? "exit3" : "crash", 30).kind, FAL_OUTCOME_CRASHED);
    const double start = now();
    for (int i = 0; i < 3; i++) {
        const fal_outcome out = run(o, "well", 30);
        ck_assert_int_eq(out.kind, FAL_OUTCOME_NOT_RUN);
        ck_assert_msg(strstr(out.error.message, "lost 4 times") && strstr(out.error.message, "status 3"), "%s",
                      out.error.message);
    }
    ck_assert(now() - start < 1);
    fal_observer_free(o);
}
END_TEST

START_TEST(death_between_specs) /* rule: a child that dies after its answer costs a restart, not the next case */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    ck_assert_int_eq(run(o, "die_later", 60).kind, FAL_OUTCOME_DONE);
    const double start = now();
    while (now() - start < 0.3) usleep(10000);
    const fal_outcome out = run(o, "well", 60);
    ck_assert_msg(out.kind == FAL_OUTCOME_DONE, "%s", out.error.message);
    fal_observer_free(o);
}
END_TEST

static volatile int stop_flag;

static void *raise_flag(void *arg)
{
    (void)arg;
    usleep(200000);
    stop_flag = 1;
    return NULL;
}

START_TEST(interrupted) /* rule: an interrupt ends a running observation at once, and counts as no crash */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    fal_outcome out;
    const fal_spec spec = spec_for("hang");
    pthread_t thread;
    stop_flag = 0;
    ck_assert_int_eq(pthread_create(&thread, NULL, raise_flag, NULL), 0);
    const double start = now();
    fal_observer_run(o, &spec, 600, &stop_flag, &out);
    ck_assert(now() - start < 3);
    pthread_join(thread, NULL);
    ck_assert_int_eq(out.kind, FAL_OUTCOME_NOT_RUN);
    ck_assert_int_eq(out.error.code, FAL_ERR_INTERRUPTED);
    fal_observer_run(o, &spec, 600, &stop_flag, &out);
    ck_assert_int_eq(out.kind, FAL_OUTCOME_NOT_RUN);
    ck_assert_int_eq(run(o, "well", 60).kind, FAL_OUTCOME_DONE);
    fal_observer_free(o);
}
END_TEST

START_TEST(a_good_child_ends_itself) /* rule: the end of its input ends an observer, without a signal */
{
    fal_observer *o = make(FAL_BAD_OBSERVER);
    ck_assert_int_eq(run(o, "well", 60).kind, FAL_OUTCOME_DONE);
    const double start = now();
    fal_observer_free(o);
    ck_assert(now() - start < 1.5); /* below the grace that a hung one gets */
    fal_observer_free(NULL);
}
END_TEST

START_TEST(no_program) /* rule: a program that cannot be executed is said at once */
{
    fal_observer *o = NULL;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_observer_make("/nonexistent/falsify", &o, &err), FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "/nonexistent/falsify"));
}
END_TEST

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

START_TEST(nothing_leaks) /* rule: descriptors do not pile up over restarts */
{
    const int before = open_descriptors();
    for (int i = 0; i < 3; i++) {
        fal_observer *o = make(FAL_BAD_OBSERVER);
        run(o, "crash", 30);
        run(o, "blocked", 30);
        run(o, "hang", 0.2);
        fal_observer_free(o);
    }
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_long_spec) /* rule: a spec larger than any pipe reaches its reader; sending to a deaf child ends nobody */
{
    enum { MANY = 300000 };
    fal_observer *o = make(FAL_BAD_OBSERVER);
    int32_t *many = malloc(MANY * sizeof *many);
    for (int i = 0; i < MANY; i++) many[i] = 2000;
    const int32_t *const one[] = { many };
    const int n[] = { MANY };
    fal_outcome out;
    fal_spec spec = spec_for("blocked");
    spec.tokens = one;
    spec.n_tokens = n;
    fal_observer_run(o, &spec, 60, NULL, &out);
    ck_assert_msg(out.kind == FAL_OUTCOME_BLOCKED, "%s", out.error.message);
    fal_observer_free(o);

    /* Programs that never read it, one dead at once and one alive: sending to them must not end this process. */
    static const struct {
        const char *text, *must_say;
    } deaf[] = { { "not a program\n", "status 127" }, { "#!/bin/sh\nexec 0<&-\nsleep 1\nexit 5\n", "status 5" } };
    char text[128];
    snprintf(text, sizeof text, "%s/text", folder);
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(text, "w");
        ck_assert_ptr_nonnull(f);
        fputs(deaf[i].text, f);
        fclose(f);
        chmod(text, 0700);
        o = make(text);
        fal_observer_run(o, &spec, 30, NULL, &out);
        ck_assert_int_eq(out.kind, FAL_OUTCOME_CRASHED);
        ck_assert_msg(strstr(out.error.message, deaf[i].must_say), "%s", out.error.message);
        fal_observer_free(o);
    }
    unlink(text);
    free(many);
}
END_TEST

START_TEST(the_real_program) /* rule: the program's own observer answers on a pipe that drivers cannot reach */
{
    fal_observer *o = make(FAL_PROGRAM);
    const fal_outcome out = run(o, "", 60);
    ck_assert_msg(out.kind == FAL_OUTCOME_DONE, "%s", out.error.message);
    fal_spec spec = spec_for("");
    fal_outcome refused;
    const int32_t wrong[] = { 0, -5 };
    const int32_t *const p[] = { wrong };
    spec.tokens = p;
    fal_observer_run(o, &spec, 60, NULL, &refused);
    ck_assert_int_eq(refused.kind, FAL_OUTCOME_REFUSED);
    ck_assert_ptr_nonnull(strstr(refused.error.message, "-5"));
    ck_assert_int_ne(access(file, F_OK), 0);
    /* killed in the middle: the unfinished file goes as well (teardown finds the folder empty) */
    enum { MANY = 2000 };
    int32_t many[MANY];
    for (int i = 0; i < MANY; i++) many[i] = 7;
    const int32_t *const long_prompt[] = { many };
    const int n[] = { MANY };
    spec.tokens = long_prompt;
    spec.n_tokens = n;
    spec.decode = true;
    fal_observer_run(o, &spec, 0.5, NULL, &refused);
    ck_assert_msg(refused.kind == FAL_OUTCOME_TIMED_OUT, "%d: %s", (int)refused.kind, refused.error.message);
    ck_assert_ptr_nonnull(strstr(refused.error.message, "last seen at r0 "));
    fal_observer_free(o);
}
END_TEST

Suite *fal_suite_observer(void)
{
    Suite *s = suite_create("observer");
    TCase *t = tcase_create("observer");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, told_apart, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(t, nobody_is_left);
    tcase_add_test(t, another_backends_file);
    tcase_add_test(t, flood);
    tcase_add_test(t, restarts);
    tcase_add_test(t, death_between_specs);
    tcase_add_test(t, interrupted);
    tcase_add_test(t, a_good_child_ends_itself);
    tcase_add_test(t, no_program);
    tcase_add_test(t, nothing_leaks);
    tcase_add_test(t, a_long_spec);
    tcase_add_test(t, the_real_program);
    suite_add_tcase(s, t);
    return s;
}
