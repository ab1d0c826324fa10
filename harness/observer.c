/* The parent's side of observing: starts a child, hands it specs, and tells a crash, a hang and nonsense from an answer. */
#include "harness/observe.h"
#include "harness/observer_progress.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_RESTARTS = 3,
    MAX_ANSWER = 1 << 16,  /* a true answer is below 8 KiB */
    PROGRESS_FD = 3        /* in the child */
};
/* How long a child may take to end by itself: after it closed its answers, and when it is no longer needed. */
static const double grace_s = 2;

struct fal_observer {
    char *argv0;
    pid_t pid;                 /* 0: none is running */
    int requests, answers, log; /* our ends; -1 when closed */
    int progress_fd;
    char *progress;
    fal_known_file known;
    int n_deaths;
    char last_death[400];
    char tail[1024];           /* last bytes of stderr since the spec was sent */
    size_t n_tail;
    char answer[MAX_ANSWER];
    size_t n_answer;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(void)
{
    nanosleep(&(const struct timespec) { .tv_nsec = 2000000 }, NULL);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

fal_status fal_observer_make(const char *argv0, fal_observer **out, fal_error *err)
{
    fal_observer *o = calloc(1, sizeof *o);
    if (!o) return fal_fail(err, FAL_ERR_MEMORY, NULL, "observer: out of memory");
    o->requests = o->answers = o->log = o->progress_fd = -1;
    o->argv0 = strdup(argv0);
    fal_status st = o->argv0 ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "observer: out of memory");
    if (!st && access(argv0, X_OK) != 0)
        st = fal_fail(err, FAL_ERR_INPUT, "give the path of the program", "observer: %s cannot be executed: %s", argv0, strerror(errno));
    if (!st) {
        o->progress_fd = memfd_create("falsify-progress", MFD_CLOEXEC);
        void *p = MAP_FAILED;
        if (o->progress_fd >= 0 && ftruncate(o->progress_fd, FAL_PROGRESS_BYTES) == 0)
            p = mmap(NULL, FAL_PROGRESS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, o->progress_fd, 0);
        if (p == MAP_FAILED) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "observer: no shared memory: %s", strerror(errno));
        else o->progress = p;
    }
    if (st) fal_observer_free(o);
    else *out = o;
    return st;
}

/* ---- starting ----------------------------------------------------------------------------------------------------- */

/* Runs in the child between fork and exec: calls that are safe there only. */
static void become_observer(const fal_observer *o, int requests, int answers, int log, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* an observer whose parent is gone would hold the device for nothing */
    if (getppid() != parent) _exit(127);
    int fds[4] = { requests, answers, log, o->progress_fd };
    for (int i = 0; i < 4; i++) fds[i] = fcntl(fds[i], F_DUPFD, 16); /* out of the way of 0 to 3 */
    for (int i = 0; i < 4; i++)
        if (fds[i] < 0 || dup2(fds[i], i) < 0) _exit(127);
    close_range(PROGRESS_FD + 1, ~0u, 0);
    setrlimit(RLIMIT_CORE, &(const struct rlimit) { 0, 0 });
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    char observe[] = "observe", serve[] = "--serve";
    char *const argv[] = { o->argv0, observe, serve, NULL };
    execv(o->argv0, argv);
    _exit(127);
}

static fal_status start(fal_observer *o, fal_error *err)
{
    /* A socket for what goes to the child: sending to one that died is an error there, not a signal as with a pipe. */
    int requests[2] = { -1, -1 }, answers[2] = { -1, -1 }, log[2] = { -1, -1 };
    fal_status st = FAL_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, requests) != 0 || pipe2(answers, O_CLOEXEC) != 0 || pipe2(log, O_CLOEXEC) != 0) {
        st = fal_fail(err, FAL_ERR_DEVICE, NULL, "observer: no pipe: %s", strerror(errno));
        goto out;
    }
    memset(o->progress, 0, FAL_PROGRESS_BYTES);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) become_observer(o, requests[1], answers[1], log[1], parent);
    if (pid < 0) {
        st = fal_fail(err, FAL_ERR_DEVICE, NULL, "observer: fork: %s", strerror(errno));
        goto out;
    }
    setpgid(pid, pid); /* on both sides: whichever runs first, the group exists before it is used */
    o->pid = pid;
    o->requests = requests[0];
    o->answers = answers[0];
    o->log = log[0];
    requests[0] = answers[0] = log[0] = -1;
    fcntl(o->requests, F_SETFL, O_NONBLOCK);
    fcntl(o->answers, F_SETFL, O_NONBLOCK);
    fcntl(o->log, F_SETFL, O_NONBLOCK);
    o->n_answer = 0;
out:
    for (int i = 0; i < 2; i++) {
        close_fd(&requests[i]);
        close_fd(&answers[i]);
        close_fd(&log[i]);
    }
    return st;
}

/* ---- reading and writing ------------------------------------------------------------------------------------------ */

static void keep_tail(fal_observer *o, char *s, size_t n)
{
    const size_t most = sizeof o->tail - 1;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '\0') s[i] = ' '; /* the tail is a terminated string */
    if (n > most) {
        s += n - most;
        n = most;
    }
    if (o->n_tail + n > most) {
        const size_t drop = o->n_tail + n - most;
        memmove(o->tail, o->tail + drop, o->n_tail - drop);
        o->n_tail -= drop;
    }
    memcpy(o->tail + o->n_tail, s, n);
    o->n_tail += n;
    o->tail[o->n_tail] = '\0';
}

/* Takes what stderr holds now, at most 1 MiB at once: a child that floods it must not keep us from the clock. */
static void read_log(fal_observer *o)
{
    char piece[65536];
    for (int i = 0; i < 16 && o->log >= 0; i++) {
        const ssize_t n = read(o->log, piece, sizeof piece);
        if (n > 0) keep_tail(o, piece, (size_t)n);
        else if (n == 0) close_fd(&o->log);
        else return;
    }
}

/* Takes what there is of the answer; false when the child closed its end. */
static bool read_answer(fal_observer *o)
{
    while (o->n_answer < sizeof o->answer) {
        const ssize_t n = read(o->answers, o->answer + o->n_answer, sizeof o->answer - o->n_answer);
        if (n > 0) o->n_answer += (size_t)n;
        else if (n == 0) return false;
        else if (errno != EINTR) return true;
    }
    return true;
}

/* ---- ending ------------------------------------------------------------------------------------------------------- */

static void close_all(fal_observer *o)
{
    close_fd(&o->requests);
    close_fd(&o->answers);
    close_fd(&o->log);
}

/* Whether the child ended by itself. It stays a zombie. */
static bool has_ended(const fal_observer *o)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)o->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == o->pid;
}

static void wait_end(fal_observer *o, double seconds)
{
    const double until = now() + seconds;
    while (!has_ended(o) && now() < until) {
        read_log(o);
        nap();
    }
}

/* Ends the child and all that it started. Returns its wait status. */
static int end(fal_observer *o)
{
    int status = 0;
    /* While the zombie holds the number, no other group can have it. */
    kill(-o->pid, SIGKILL);
    kill(o->pid, SIGKILL); /* in case it died before it had a group */
    while (waitpid(o->pid, &status, 0) < 0 && errno == EINTR) {}
    o->pid = 0;
    read_log(o);
    close_all(o);
    return status;
}

void fal_observer_free(fal_observer *o)
{
    if (!o) return;
    if (o->pid) {
        close_fd(&o->requests); /* the end of its input */
        wait_end(o, grace_s);
        end(o);
    }
    close_all(o);
    close_fd(&o->progress_fd);
    if (o->progress) munmap(o->progress, FAL_PROGRESS_BYTES);
    free(o->argv0);
    free(o);
}

/* What a child that was killed could not remove itself: its unfinished file, and a spoilt model. */
static void sweep(const fal_spec *spec)
{
    fal_text path = { 0 };
    fal_text_addf(&path, "%s.tmp", spec->out);
    if (!path.failed) unlink(fal_text_str(&path));
    fal_text_free(&path);
    if (spec->kind != FAL_OBSERVE_REFUSAL || !spec->spoil) return;
    fal_text_addf(&path, "%s.spoil/%s.gguf", spec->out, spec->spoil);
    if (!path.failed) unlink(fal_text_str(&path));
    fal_text_free(&path);
    fal_text_addf(&path, "%s.spoil", spec->out);
    if (!path.failed) rmdir(fal_text_str(&path));
    fal_text_free(&path);
}

/* ---- outcomes ----------------------------------------------------------------------------------------------------- */

static const char *signal_name(int sig)
{
    switch (sig) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGILL: return "SIGILL";
    case SIGFPE: return "SIGFPE";
    case SIGABRT: return "SIGABRT";
    case SIGKILL: return "SIGKILL";
    case SIGTERM: return "SIGTERM";
    case SIGTRAP: return "SIGTRAP";
    case SIGSYS: return "SIGSYS";
    case SIGPIPE: return "SIGPIPE";
    case SIGXCPU: return "SIGXCPU";
    }
    return "a signal";
}

/* The last line of the tail that says something. */
static void add_last_line(fal_text *t, const fal_observer *o)
{
    size_t end_at = o->n_tail;
    while (end_at > 0 && strchr("\n\r \t", o->tail[end_at - 1])) end_at--;
    size_t from = end_at;
    while (from > 0 && o->tail[from - 1] != '\n' && end_at - from < 300) from--;
    if (end_at == from) return;
    fal_text_add(t, "; its last words: ");
    fal_text_add_safe(t, o->tail + from, end_at - from);
}

static void add_place(fal_text *t, const fal_observer *o)
{
    char place[FAL_PROGRESS_BYTES];
    memcpy(place, o->progress, sizeof place);
    place[sizeof place - 1] = '\0';
    fal_text_add(t, ", last seen ");
    if (!place[0]) fal_text_add(t, "before it read the spec");
    fal_text_add_safe(t, place, strlen(place));
}

static void set_outcome(fal_observer *o, fal_outcome *out, fal_outcome_kind kind, fal_status code, const char *hint, const char *what)
{
    fal_text t = { 0 };
    fal_text_add(&t, what);
    add_place(&t, o);
    add_last_line(&t, o);
    out->kind = kind;
    out->error = (fal_error){ 0 };
    fal_fail(&out->error, code, hint, "%s", fal_text_str(&t));
    fal_text_free(&t);
}

/* The child is lost: it is ended, and the outcome says how it died. */
static void lost(fal_observer *o, fal_outcome *out, fal_outcome_kind kind, const char *why)
{
    char what[200];
    const char *hint = NULL;
    const bool by_itself = why == NULL;
    if (by_itself) wait_end(o, grace_s);
    read_log(o);
    const int status = end(o);
    if (!by_itself) {
        snprintf(what, sizeof what, "%s", why);
    } else if (WIFSIGNALED(status)) {
        const int sig = WTERMSIG(status);
        snprintf(what, sizeof what, "the observer died of %s (%d)", signal_name(sig), sig);
        if (sig == SIGKILL) hint = "if nobody killed it, the machine ran out of memory";
    } else {
        snprintf(what, sizeof what, "the observer exited with status %d without an answer", WEXITSTATUS(status));
    }
    o->n_deaths++;
    set_outcome(o, out, kind, FAL_ERR_DEVICE, hint, what);
    snprintf(o->last_death, sizeof o->last_death, "%.399s", out->error.message);
}

static fal_outcome_kind kind_of(fal_status st)
{
    switch (st) {
    case FAL_OK: return FAL_OUTCOME_DONE;
    case FAL_ERR_INPUT: return FAL_OUTCOME_REFUSED;
    case FAL_ERR_BLOCKED: return FAL_OUTCOME_BLOCKED;
    case FAL_ERR_INTERRUPTED: return FAL_OUTCOME_NOT_RUN;
    default: return FAL_OUTCOME_ERROR;
    }
}

static bool status_by_name(const char *name, fal_status *out)
{
    for (int st = FAL_OK; name && st <= FAL_ERR_INTERNAL; st++)
        if (strcmp(fal_status_name((fal_status)st), name) == 0) {
            *out = (fal_status)st;
            return true;
        }
    return false;
}

/* The file must be there, whole, and about what was asked, whatever the observer says. */
static void check_file(const fal_spec *spec, fal_outcome *out)
{
    fal_observation *file = NULL;
    fal_error e = { 0 };
    fal_status st = fal_observation_open(spec->out, &file, &e);
    if (!st) st = fal_observation_answers(file, spec, &e);
    fal_observation_close(file);
    if (!st) return;
    out->kind = FAL_OUTCOME_ERROR;
    out->error = (fal_error){ 0 };
    fal_fail(&out->error, FAL_ERR_DEVICE, e.hint, "the observer said ok, but: %s", e.message);
}

/* After a fault of the device nothing that a process holds there is to be trusted: the next spec gets a new one. Faults do
   not count as deaths, since a kernel that does not build is one, too, and says nothing about the others. */
static void end_after_fault(fal_observer *o, fal_outcome *out)
{
    fal_text t = { 0 };
    const fal_error told = out->error;
    fal_text_add(&t, told.message);
    add_place(&t, o);
    out->error = (fal_error){ 0 };
    fal_fail_contract(&out->error, FAL_ERR_DEVICE, told.contract[0] ? told.contract : NULL, told.hint[0] ? told.hint : NULL, "%s", fal_text_str(&t));
    fal_text_free(&t);
    out->kind = FAL_OUTCOME_CRASHED;
    out->device_fault = true;
    read_log(o);
    end(o);
}

/* A complete line: an answer, or nonsense from a child that nobody should go on with. */
static void take_answer(fal_observer *o, const fal_spec *spec, size_t n, fal_outcome *out)
{
    json_error_t je;
    json_t *j = json_loadb(o->answer, n, JSON_REJECT_DUPLICATES, &je);
    fal_status st = FAL_OK;
    const bool whole = n + 1 == o->n_answer && json_is_object(j) && status_by_name(json_string_value(json_object_get(j, "status")), &st);
    if (!whole) {
        char why[200];
        snprintf(why, sizeof why, "the observer's answer is no answer: %.120s", !j ? je.text : n + 1 == o->n_answer ? "no status" : "more than one line");
        lost(o, out, FAL_OUTCOME_ERROR, why);
    } else {
        out->kind = kind_of(st);
        if (st) {
            const char *message = json_string_value(json_object_get(j, "message")), *hint = json_string_value(json_object_get(j, "hint"));
            const char *contract = json_string_value(json_object_get(j, "contract"));
            fal_fail_contract(&out->error, st, contract, hint, "%s", message && message[0] ? message : "the observer gave no reason");
        } else {
            check_file(spec, out);
        }
        o->n_answer = 0;
        if (st == FAL_ERR_DEVICE) end_after_fault(o, out);
    }
    json_decref(j);
}

/* ---- one spec ----------------------------------------------------------------------------------------------------- */

void fal_observer_know(fal_observer *o, const fal_known_file *model)
{
    o->known = *model;
}

static json_t *known_to_json(const fal_known_file *k)
{
    if (!k->sha256[0]) return json_null();
    return json_pack("[I, I, I, I, I, s]", (json_int_t)k->device, (json_int_t)k->inode, (json_int_t)k->size, (json_int_t)k->mtime_s,
                     (json_int_t)k->mtime_ns, k->sha256);
}

/* The spec as a line; NULL when memory ran out or a number is not finite. */
static char *line_of(const fal_spec *spec, const fal_known_file *known, size_t *n)
{
    json_t *j = fal_spec_to_json(spec);
    char *line = NULL;
    if (j && json_object_set_new(j, FAL_KNOWN_FIELD, known_to_json(known)) == 0 && json_object_set_new(j, FAL_PROGRESS_FIELD, json_integer(PROGRESS_FD)) == 0) line = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    if (!line) return NULL;
    *n = strlen(line);
    line[(*n)++] = '\n'; /* the terminator's place; the length says the rest */
    return line;
}

/* Sends, receives and watches the clock until the outcome is known. */
static void converse(fal_observer *o, const fal_spec *spec, const char *line, size_t n, double limit_s, const volatile int *stop, fal_outcome *out)
{
    const double until = now() + limit_s;
    size_t sent = 0;
    for (;;) {
        struct pollfd p[3] = { { .fd = o->answers, .events = POLLIN }, { .fd = o->log, .events = POLLIN },
                               { .fd = sent < n ? o->requests : -1, .events = POLLOUT } };
        const double left = until - now();
        poll(p, 3, left < 0.1 ? left > 0 ? (int)(left * 1000) + 1 : 0 : 100); /* short, to see *stop */
        read_log(o);
        /* Asked before reading: what it wrote before its end is read then. The pipe alone does not tell, since a process
           that it started may hold the other end open. */
        const bool ended = has_ended(o);
        const bool open = read_answer(o) && !ended;
        const char *newline = memchr(o->answer, '\n', o->n_answer);
        if (newline) {
            take_answer(o, spec, (size_t)(newline - o->answer), out);
            return;
        }
        if (!open) {
            lost(o, out, FAL_OUTCOME_CRASHED, NULL);
            return;
        }
        if (o->n_answer == sizeof o->answer) {
            lost(o, out, FAL_OUTCOME_ERROR, "the observer's answer is longer than 64 KiB");
            return;
        }
        if (stop && *stop) {
            end(o);
            set_outcome(o, out, FAL_OUTCOME_NOT_RUN, FAL_ERR_INTERRUPTED, NULL, "interrupted");
            return;
        }
        if (!(now() < until)) {
            char why[80];
            snprintf(why, sizeof why, "no answer within %g s", limit_s);
            lost(o, out, FAL_OUTCOME_TIMED_OUT, why);
            return;
        }
        if (sent < n && p[2].revents) {
            const ssize_t done = send(o->requests, line + sent, n - sent, MSG_NOSIGNAL);
            if (done > 0) sent += (size_t)done;
            else if (done < 0 && errno != EAGAIN && errno != EINTR) sent = n; /* it is gone: the answers' end tells */
        }
    }
}

/* A child that died, or spoke unasked, between two specs must not be blamed on the next one. */
static void check_idle(fal_observer *o)
{
    struct pollfd p = { .fd = o->answers, .events = POLLIN };
    if (!o->pid || poll(&p, 1, 0) <= 0) return;
    fal_outcome between = { 0 };
    lost(o, &between, FAL_OUTCOME_CRASHED, NULL);
}

void fal_observer_run(fal_observer *o, const fal_spec *spec, double limit_s, const volatile int *stop, fal_outcome *outcome)
{
    fal_outcome out = { .kind = FAL_OUTCOME_ERROR };
    const double begin = now();
    size_t n = 0;
    char *line = NULL;
    o->n_tail = 0;
    o->tail[0] = '\0';
    check_idle(o);
    o->n_answer = 0;
    if (stop && *stop) {
        out.kind = FAL_OUTCOME_NOT_RUN;
        fal_fail(&out.error, FAL_ERR_INTERRUPTED, NULL, "interrupted before it began");
        goto done;
    }
    if (o->n_deaths > MAX_RESTARTS) {
        out.kind = FAL_OUTCOME_NOT_RUN;
        fal_fail(&out.error, FAL_ERR_DEVICE, "look at the first of them; the rest may follow from it",
                 "the observer was lost %d times and is not started again; the last time: %s", o->n_deaths, o->last_death);
        goto done;
    }
    line = line_of(spec, &o->known, &n);
    if (!line || !spec->out) {
        fal_fail(&out.error, FAL_ERR_INTERNAL, NULL, "the spec cannot be written as JSON (memory, or a number that is not finite)");
        goto done;
    }
    /* An older file of that name must not pass for the answer. */
    if (unlink(spec->out) != 0 && errno != ENOENT) {
        fal_fail(&out.error, FAL_ERR_OUTPUT, NULL, "%s: an old file cannot be removed: %s", spec->out, strerror(errno));
        goto done;
    }
    if (!o->pid && start(o, &out.error)) goto done;
    memset(o->progress, 0, FAL_PROGRESS_BYTES);
    converse(o, spec, line, n, limit_s, stop, &out);
    if (!o->pid) sweep(spec);
done:
    free(line);
    out.seconds = now() - begin;
    memcpy(out.log_tail, o->tail, o->n_tail + 1);
    *outcome = out;
}
