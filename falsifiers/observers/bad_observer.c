/* An observer that misbehaves on purpose, in the way that the spec's device names; the parent must tell each apart. */
#include "harness/observe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *text)
{
    for (size_t n = strlen(text); n > 0;) {
        const ssize_t done = write(STDOUT_FILENO, text, n);
        if (done <= 0) _exit(9);
        text += done;
        n -= (size_t)done;
    }
}

static void say_ok(void)
{
    say("{\"status\":\"ok\",\"message\":\"\",\"hint\":\"\",\"contract\":\"\",\"seconds\":0}\n");
}

/* What a good observer would have written, by the library itself. */
static bool observe_well(const fal_spec *spec, const char *backend)
{
    fal_spec good = *spec;
    fal_error err = { 0 };
    good.device = "";
    good.backend = backend;
    if (fal_observe(&good, &err) == FAL_OK) return true;
    fprintf(stderr, "%s\n", err.message);
    return false;
}

static void write_without_taps(const fal_spec *spec)
{
    fal_spec less = *spec;
    less.taps = NULL;
    less.n_taps = 0;
    if (observe_well(&less, spec->backend)) say_ok();
}

static void write_truncated(const fal_spec *spec)
{
    struct stat sb;
    if (!observe_well(spec, spec->backend) || stat(spec->out, &sb) != 0 || truncate(spec->out, sb.st_size / 2) != 0)
        _exit(9);
    say_ok();
}

/* Says ok about the file that is there, but which another backend made. */
static void write_of_another(const fal_spec *spec)
{
    fal_spec other = *spec;
    fal_error err = { 0 };
    other.device = "";
    other.backend = "reference";
    if (fal_observe(&other, &err) == FAL_OK)
        say_ok();
    else
        _exit(9);
}

static void crash(void)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would turn the signal into an exit status */
    fprintf(stderr, "compiling kernels\nabout to touch address 8\n");
    raise(SIGSEGV);
}

static void flood(void)
{
    char line[4096];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 2000; i++)
        if (write(STDERR_FILENO, line, sizeof line) < 0) _exit(9);
    fprintf(stderr, "the end of the flood\n");
}

/* Leaves a child of its own behind, which holds the answer pipe open. */
static void abandon(void)
{
    const pid_t pid = fork();
    if (pid == 0) {
        for (;;) pause();
    }
    fprintf(stderr, "%d\n", (int)pid); /* for the test to look after */
    raise(SIGKILL);
}

static void behave(const fal_spec *spec, const char *how, char *progress)
{
    if (progress) snprintf(progress, 256, "at r0 blk.2.attn");
    if (strcmp(how, "well") == 0) {
        if (observe_well(spec, spec->backend))
            say_ok();
        else
            say("{\"status\":\"internal\",\"message\":\"cannot behave\"}\n");
    } else if (strcmp(how, "crash") == 0)
        crash();
    else if (strcmp(how, "abandon") == 0)
        abandon();
    else if (strcmp(how, "hang") == 0)
        for (;;) pause();
    else if (strcmp(how, "spin") == 0)
        for (;;) fputc('.', stderr);
    else if (strcmp(how, "exit3") == 0)
        exit(3);
    else if (strcmp(how, "half") == 0) {
        say("{\"status\":");
        exit(0);
    } else if (strcmp(how, "garbage") == 0)
        say("warning: something from a driver\n");
    else if (strcmp(how, "unknown_status") == 0)
        say("{\"status\":\"splendid\"}\n");
    else if (strcmp(how, "two_answers") == 0) {
        say("{\"status\":\"input\"}\n{\"status\":\"ok\"}\n");
    } else if (strcmp(how, "endless") == 0)
        for (;;) say("{\"status\":\"ok\", \"message\": \"and so on");
    else if (strcmp(how, "no_file") == 0)
        say_ok();
    else if (strcmp(how, "truncated") == 0)
        write_truncated(spec);
    else if (strcmp(how, "missing_taps") == 0)
        write_without_taps(spec);
    else if (strcmp(how, "other_backend") == 0)
        write_of_another(spec);
    else if (strcmp(how, "flood") == 0) {
        flood();
        if (observe_well(spec, spec->backend)) say_ok();
    } else if (strcmp(how, "die_later") == 0) {
        if (observe_well(spec, spec->backend)) say_ok();
        exit(0);
    } else if (strcmp(how, "blocked") == 0)
        say("{\"status\":\"blocked\",\"message\":\"no such device\",\"hint\":\"plug it in\"}\n");
    else if (strcmp(how, "late") == 0)
        say(spec->blocking ? "{\"status\":\"device\",\"message\":\"kernel rope failed\"}\n"
                           : "{\"status\":\"device\",\"message\":\"waiting failed\"}\n");
    else if (strcmp(how, "hasty") == 0 && !spec->blocking)
        say("{\"status\":\"device\",\"message\":\"waiting failed\"}\n");
    else if (strcmp(how, "hasty") == 0 && observe_well(spec, spec->backend))
        say_ok();
    else if (strcmp(how, "device") == 0)
        say("{\"status\":\"device\",\"message\":\"ecc error\"}\n");
    else if (strcmp(how, "refuse") == 0)
        say("{\"status\":\"input\",\"message\":\"token 99 \",\"hint\":\"\",\"contract\":\"a-v1\"}\n");
    else
        exit(8);
}

int main(void)
{
    char *line = NULL, *progress = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_t *j = json_loadb(line, (size_t)n, 0, NULL);
        const json_t *fd = json_object_get(j, "progress_fd");
        if (!progress && fd) {
            void *p = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, (int)json_integer_value(fd), 0);
            if (p != MAP_FAILED) progress = p;
        }
        json_object_del(j, "progress_fd");
        json_object_del(j, "known_model"); /* what the parent knows of the model; not part of the spec */
        fal_spec_box *box = NULL;
        const fal_spec *spec = NULL;
        fal_error err = { 0 };
        if (fal_spec_from_json(j, &box, &spec, &err) != FAL_OK) return 7;
        behave(spec, spec->device, progress);
        fal_spec_free(box);
        json_decref(j);
    }
    free(line);
    return 0;
}
