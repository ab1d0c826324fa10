/* The process of a candidate: starting it, asking it, and telling how it ended. */
#include "harness/candidate_context.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_SECONDS = 120 }; /* a first start of a driver may compile its own kernels */

/* ---- its process ------------------------------------------------------------------------------------------------------ */

extern const unsigned char fal_host_image[]; /* harness/host, put into the program by the build */
extern const size_t fal_host_image_size;

static int image_fd(void)
{
    const int fd = memfd_create("falsify-host", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < fal_host_image_size;) {
        const ssize_t n = write(fd, fal_host_image + at, fal_host_image_size - at);
        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    return fd;
}

/* Between fork and exec. Standard output belongs to the answers of this process, so it is closed to the other one. */
static void become_host(const fal_context *ctx, int socket, int image)
{
    char number[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int kept = fcntl(socket, F_DUPFD, 64), program = image >= 0 ? fcntl(image, F_DUPFD, 64) : -1;
    const int null = open("/dev/null", O_RDWR);
    if (kept < 0 || null < 0) _exit(127);
    dup2(null, 0);
    dup2(null, 1);
    dup2(kept, 3);
    if (program >= 0) dup2(program, 4);
    close_range(program >= 0 ? 5 : 4, ~0u, 0);
    snprintf(number, sizeof number, "3");
    if (program >= 0) {
        fcntl(4, F_SETFD, FD_CLOEXEC);
        char name[] = "falsify-host", *argv[] = { name, number, ctx->path, (char *)(uintptr_t)ctx->op, NULL };
        fexecve(4, argv, environ);
    } else {
        char name[] = "falsify", observe[] = "observe", host[] = "--host";
        char *argv[] = { name,
                         observe,
                         host,
                         number,
                         (char *)(uintptr_t)ctx->file.backend,
                         ctx->path,
                         (char *)(uintptr_t)ctx->op,
                         (char *)(uintptr_t)ctx->selector,
                         NULL };
        execv("/proc/self/exe", argv);
    }
    _exit(127);
}

static void end_process(fal_context *ctx, int *status)
{
    *status = 0;
    if (ctx->pid > 0) {
        kill(ctx->pid, SIGKILL);
        while (waitpid(ctx->pid, status, 0) < 0 && errno == EINTR) {
        }
    }
    ctx->pid = 0;
    if (ctx->socket >= 0) close(ctx->socket);
    ctx->socket = -1;
}

/* What a process that stopped answering died of. */
static fal_status lost(fal_context *ctx, const char *doing, fal_error *err)
{
    int status = 0;
    if (ctx->pid <= 0)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "the candidate's process has ended already, %s", doing);
    const struct timespec moment = { .tv_nsec = 2000000 };
    for (int i = 0; i < 500 && waitpid(ctx->pid, &status, WNOHANG) == 0; i++) nanosleep(&moment, NULL);
    const bool by_signal = WIFSIGNALED(status);
    const int code = by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
    const bool memory = by_signal && (code == SIGSEGV || code == SIGBUS);
    ctx->pid = 0;
    end_process(ctx, &status);
    if (by_signal && code == SIGSYS)
        return fal_fail_contract(
            err, FAL_ERR_INPUT, "candidate-trial-v1", NULL,
            "the candidate made a system call that a candidate may not make (it died of SIGSYS), %s", doing);
    return fal_fail(err, FAL_ERR_DEVICE,
                    memory ? "did it read or write beside its arrays? The pages around them are closed" : NULL,
                    "the candidate %s %s%s (%d) %s", by_signal ? "died of" : "ended with status",
                    by_signal ? "SIG" : "", by_signal ? sigabbrev_np(code) : "", code, doing);
}

static const char *shape_text(const fal_wire_call *c, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "%.20s", c->op);
    for (int i = 0; i < c->n_fields && at < size; i++)
        if (c->fields[i].kind != FAL_FIELD_ARRAY && c->fields[i].kind != FAL_FIELD_FLOAT)
            at += (size_t)snprintf(text + at, size - at, " %s=%d", c->fields[i].name, c->fields[i].i);
    return text;
}

static fal_status read_answer(fal_context *ctx, const char *doing, double *seconds, fal_error *err)
{
    fal_wire_answer a;
    if (!fal_wire_read(ctx->socket, &a, sizeof a, NULL)) return lost(ctx, doing, err);
    a.message[sizeof a.message - 1] = '\0';
    if (a.magic != FAL_WIRE_MAGIC)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "the candidate's process sent nonsense %s", doing);
    if (seconds) *seconds = a.seconds;
    fal_text safe = { 0 };
    fal_text_add_safe(&safe, a.message, strlen(a.message));
    fal_status st = FAL_OK;
    switch (a.status) {
    case FAL_WIRE_OK: break;
    case FAL_WIRE_DECLINED:
        st = fal_fail(err, FAL_ERR_BLOCKED, "leave this shape out with -k, or compute it",
                      "the candidate declines it %s", doing);
        break;
    case FAL_WIRE_BLOCKED: st = fal_fail(err, FAL_ERR_BLOCKED, NULL, "%s", fal_text_str(&safe)); break;
    case FAL_WIRE_DEVICE:
        st = fal_fail(err, FAL_ERR_DEVICE, NULL, "the candidate failed %s: %s", doing, fal_text_str(&safe));
        break;
    case FAL_WIRE_REFUSED:
        st = fal_fail(err, FAL_ERR_INPUT, "harness/candidate.h says what it must hold", "%.200s: %s", ctx->path,
                      fal_text_str(&safe));
        break;
    case FAL_WIRE_FORBIDDEN:
        st = fal_fail_contract(err, FAL_ERR_INPUT, "candidate-trial-v1", NULL, "the candidate %s, %s",
                               fal_text_str(&safe), doing);
        break;
    default: st = fal_fail(err, FAL_ERR_INPUT, NULL, "the candidate failed %s: %s", doing, fal_text_str(&safe));
    }
    fal_text_free(&safe);
    return st;
}

fal_status fal_candidate_start(fal_context *ctx, fal_error *err)
{
    int pair[2];
    const int image = ctx->file.form == FAL_FORM_SO ? image_fd() : -1;
    if (ctx->file.form == FAL_FORM_SO && image < 0)
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the candidate's process");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        if (image >= 0) close(image);
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "no socket: %s", strerror(errno));
    }
    if (ctx->file.form == FAL_FORM_SO)
        prctl(PR_SET_DUMPABLE, 0); /* it cannot look into this process, though of the same user */
    ctx->pid = fork();
    if (ctx->pid == 0) become_host(ctx, pair[1], image);
    close(pair[1]);
    if (image >= 0) close(image);
    ctx->socket = pair[0];
    if (ctx->pid < 0) {
        ctx->pid = 0;
        return fal_fail(err, FAL_ERR_DEVICE, NULL, "fork: %s", strerror(errno));
    }
    struct pollfd p = { .fd = ctx->socket, .events = POLLIN };
    if (poll(&p, 1, OPEN_SECONDS * 1000) == 0)
        return fal_fail(err, FAL_ERR_INPUT, "does a constructor of it wait for something?",
                        "%.200s: it was not loaded within %d s", ctx->path, OPEN_SECONDS);
    return read_answer(ctx, "while it was loaded", NULL, err);
}

void fal_candidate_end(fal_context *ctx)
{
    int status;
    end_process(ctx, &status);
    if (ctx->file.form == FAL_FORM_SO) prctl(PR_SET_DUMPABLE, 1);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------ */

fal_status fal_candidate_map(fal_context *ctx, const fal_fenced *m, fal_error *err)
{
    /* somewhere in the middle of 47 bits, where libraries and heaps are not */
    const uint64_t base = UINT64_C(0x100000000000) + (fal_random() % (UINT64_C(1) << 33)) * FAL_WIRE_PAGE;
    const fal_wire_request r = { .magic = FAL_WIRE_MAGIC, .what = FAL_WIRE_MAP, .base = base, .size = m->size };
    if (!fal_wire_write(ctx->socket, &r, sizeof r, m->fd)) return lost(ctx, "while idle", err);
    return read_answer(ctx, "while its memory was mapped", NULL, err);
}

fal_status fal_candidate_ask(fal_context *ctx, fal_wire_what what, const fal_wire_call *calls, int n, double *seconds,
                             fal_error *err)
{
    char shape[160], doing[200];
    const fal_wire_request r = { .magic = FAL_WIRE_MAGIC, .what = (int32_t)what, .n_calls = n };
    snprintf(doing, sizeof doing, "in %s", shape_text(calls, shape, sizeof shape));
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a); /* before: it may run, and end, before this process gets the processor back */
    fal_candidate_resume(ctx);
    if (!fal_wire_write(ctx->socket, &r, sizeof r, -1) ||
        !fal_wire_write(ctx->socket, calls, (size_t)n * sizeof *calls, -1))
        return lost(ctx, doing, err);
    const fal_status st = read_answer(ctx, doing, seconds, err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    /* a shared object could turn back the clock of its process; for the others ours runs there, nearer to the device */
    if (seconds && ctx->file.form == FAL_FORM_SO)
        *seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    if (!st && what == FAL_WIRE_RUN) ctx->n_calls += (uint64_t)n;
    return st;
}

void fal_candidate_pause(fal_context *ctx)
{
    int status;
    if (ctx->file.form != FAL_FORM_SO || ctx->pid <= 0 || ctx->paused) return;
    if (kill(ctx->pid, SIGSTOP) != 0) return; /* it has just ended: the next request finds out */
    while (waitpid(ctx->pid, &status, WUNTRACED) < 0 && errno == EINTR) {
    }
    ctx->paused = true;
}

fal_status fal_candidate_run(fal_context *ctx, const fal_wire_call *calls, int n, double *seconds, fal_error *err)
{
    double ignored;
    const fal_status st = fal_candidate_ask(ctx, FAL_WIRE_RUN, calls, n, seconds ? seconds : &ignored, err);
    if (st) return st;
    if (ctx->file.form != FAL_FORM_SO) return fal_candidate_ask(ctx, FAL_WIRE_GET, calls, n, NULL, err);
    fal_candidate_pause(ctx);
    return FAL_OK;
}

void fal_candidate_resume(fal_context *ctx)
{
    if (ctx->paused && ctx->pid > 0) kill(ctx->pid, SIGCONT);
    ctx->paused = false;
}
