/* The program: finds the command, hands it what only main may know, and turns its result into the exit status. */
#include "harness/cmd_list.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop_asked;
static volatile int stop_now; /* what commands look at */

static void on_signal(int sig)
{
    /* asked twice: somebody does not want to wait for a clean end */
    if (stop_asked) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    stop_asked = 1;
    stop_now = 1;
}

static void catch_signals(void)
{
    struct sigaction a = { .sa_handler = on_signal };
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is found by the check of each write, and no half of it stays */
    signal(SIGPIPE, SIG_IGN); /* a reader that left is found by the check of stdout */
}

/* The own binary, for child processes; argv[0] may be relative to a folder that is left, or not a path at all. */
static const char *own_path(const char *argv0, char *buffer, size_t size)
{
    const ssize_t n = readlink("/proc/self/exe", buffer, size - 1);
    if (n <= 0) return argv0;
    buffer[n] = '\0';
    return buffer;
}

/* A stream that is closed at the start would give its number to the first file that is opened. What takes its place can
   only be used the wrong way round, so that output to a closed stdout still fails and is noticed. */
static void open_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

static void say_exit(int status, const fal_error *err)
{
    if (err->hint[0]) {
        fputs("hint: ", stderr);
        fal_text_print(stderr, err->hint, strlen(err->hint));
        fputc('\n', stderr);
    }
    fprintf(stderr, "exit %d: ", status);
    fal_text_print(stderr, err->message[0] ? err->message : "failed", err->message[0] ? strlen(err->message) : 6);
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    static char exe[4096];
    open_standard_streams();
    setlocale(LC_CTYPE, "C.UTF-8"); /* texts are UTF-8; numbers stay as in C */
    catch_signals();

    const char *tmp = getenv("TMPDIR"), *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    const fal_cmd_env env = {
        .program = own_path(argv[0], exe, sizeof exe),
        .invoked = argc > 0 && strchr(argv[0], '/') ? argv[0] : "falsify",
        .tmp = tmp && *tmp ? tmp : "/tmp",
        .path = getenv("PATH"),
        .out = stdout,
        .err = stderr,
        .out_is_terminal = isatty(STDOUT_FILENO) == 1,
        .err_is_terminal = isatty(STDERR_FILENO) == 1,
        .no_color = (no_color && *no_color) || (term && strcmp(term, "dumb") == 0),
        .stop = &stop_now,
    };
    fal_error err = { 0 };
    int status;
    if (argc < 2) {
        fal_cmd_usage(stderr);
        status = fal_exit_status(fal_fail(&err, FAL_ERR_USAGE, NULL, "no command"));
    } else {
        const char *name = strcmp(argv[1], "--version") == 0                              ? "version"
                           : strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help"
                                                                                          : argv[1];
        const fal_cmd *c = fal_cmd_find(name);
        status = c ? c->run(argc - 1, argv + 1, &env, &err) : fal_exit_status(fal_cmd_unknown(name, &err));
    }
    /* what was printed counts only when it arrived; an interrupt still outranks that */
    const bool lost = fflush(stdout) != 0 || ferror(stdout) != 0;
    if ((fclose(stdout) != 0 || lost) && status != 130) {
        err = (fal_error){ 0 };
        status = fal_exit_status(fal_fail(&err, FAL_ERR_OUTPUT, NULL, "standard output could not be written"));
    }
    if (status) say_exit(status, &err);
    return status;
}
