/* Asking drivers for devices in a child process: a driver that crashes or hangs while it starts costs one backend
   only. */
#include "harness/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Starts `program devices --here name` with its stdout on a pipe; the read end goes to *fd. Never returns in the
   child. */
static pid_t start(const char *program, const char *name, int *fd)
{
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC)) return -1;
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(127); /* the parent died before prctl */
        const int null_in = open("/dev/null", O_RDONLY), null_out = open("/dev/null", O_WRONLY);
        dup2(null_in, 0);
        dup2(pipe_fd[1], 1);
        dup2(null_out, 2); /* drivers talk; what matters comes back in the JSON */
        signal(SIGPIPE, SIG_DFL);
        execl(program, program, "devices", "--here", name, (char *)NULL);
        _exit(127);
    }
    if (pid > 0) setpgid(pid, pid); /* whichever of the two comes first */
    close(pipe_fd[1]);
    if (pid < 0)
        close(pipe_fd[0]);
    else
        *fd = pipe_fd[0];
    return pid;
}

typedef enum { ENDED, HUNG, STOPPED, TOO_MUCH } ending;

/* Reads until the child closes its end, the time is over, or somebody asks to stop. */
static ending drain(int fd, char *to, size_t *n, double limit_s, const volatile int *stop)
{
    const double end = now() + limit_s;
    for (;;) {
        if (stop && *stop) return STOPPED;
        const double left = end - now();
        if (left <= 0) return HUNG;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        const int ready = poll(&p, 1, left > 0.1 ? 100 : (int)(left * 1000) + 1);
        if (ready < 0 && errno != EINTR) return ENDED;
        if (ready <= 0) continue;
        const ssize_t got = read(fd, to + *n, MOST_BYTES - *n);
        if (got == 0) return ENDED;
        if (got < 0) {
            if (errno == EINTR) continue;
            return ENDED;
        }
        *n += (size_t)got;
        if (*n == MOST_BYTES) return TOO_MUCH;
    }
}

static void blocked(fal_probe *p, const char *hint, const char *what)
{
    p->state = FAL_PROBE_BLOCKED;
    p->n = 0;
    p->error = (fal_error){ 0 };
    fal_fail(&p->error, FAL_ERR_BLOCKED, hint, "looking for %s devices: %s", p->backend->name, what);
}

static void ask_child(fal_probe *p, const char *program, double limit_s, const volatile int *stop)
{
    char what[256];
    char *answer = malloc(MOST_BYTES);
    int fd = -1;
    const pid_t pid = answer ? start(program, p->backend->name, &fd) : -1;
    if (pid < 0) {
        snprintf(what, sizeof what, "no child process: %s", strerror(errno));
        blocked(p, NULL, what);
        free(answer);
        return;
    }
    size_t n = 0;
    const ending how = drain(fd, answer, &n, limit_s, stop);
    close(fd);
    if (how != ENDED) kill(-pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }

    json_error_t je;
    fal_error err = { 0 };
    json_t *j = how == ENDED && WIFEXITED(status) && WEXITSTATUS(status) == 0
                    ? json_loadb(answer, n, JSON_REJECT_DUPLICATES, &je)
                    : NULL;
    if (j) {
        if (fal_probe_from_json(j, p, &err) != FAL_OK) blocked(p, NULL, err.message);
    } else if (how == HUNG) {
        snprintf(what, sizeof what, "no answer within %.0f s", limit_s);
        blocked(p, "the driver hangs; look at dmesg, or leave this backend out with --backend", what);
    } else if (how == STOPPED) {
        blocked(p, NULL, "interrupted");
    } else if (WIFSIGNALED(status) && how == ENDED) {
        snprintf(what, sizeof what, "the driver crashed with signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        blocked(p, "run 'falsify devices --here NAME' under a debugger", what);
    } else {
        snprintf(what, sizeof what, "the child answered nothing usable (%zu bytes, exit %d)", n,
                 WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        blocked(p, "run 'falsify devices --here NAME' to see what it says", what);
    }
    json_decref(j);
    free(answer);
}

void fal_probes_ask(fal_probes *all, const fal_names *only, const char *program, double limit_s,
                    const volatile int *stop)
{
    for (int i = 0; i < all->n; i++) {
        bool wanted = !only || only->n == 0;
        for (int k = 0; only && k < only->n && !wanted; k++)
            wanted = strcmp(only->items[k], all->items[i].backend->name) == 0;
        /* the reference is always asked: it has no driver that could take us down, and others are judged against it */
        if (i == 0)
            fal_probe_here(&all->items[i]);
        else if (wanted)
            ask_child(&all->items[i], program, limit_s, stop);
    }
}
