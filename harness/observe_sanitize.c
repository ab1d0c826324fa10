/* Observes the program itself under a tool that watches what its kernels do: a script of the project runs it, and reports. */
#include "harness/observe_state.h"
#include "harness/revision.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { REPORT_BYTES = 1 << 20, TAIL_BYTES = 4000, SKIPPED = 77 };

static const struct {
    const char *tool, *script;
} tools[] = {
    { "memcheck", "falsifiers/cli/sanitize_cuda.sh" },  { "racecheck", "falsifiers/cli/sanitize_cuda.sh" },
    { "initcheck", "falsifiers/cli/sanitize_cuda.sh" }, { "synccheck", "falsifiers/cli/sanitize_cuda.sh" },
    { "oclgrind", "falsifiers/cli/oclgrind.sh" },
};

static const char *find_script(const char *tool)
{
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
        if (strcmp(tools[i].tool, tool) == 0) return tools[i].script;
    return NULL;
}

/* The whole file, at most REPORT_BYTES of it; ends with NUL. Owned by the caller. */
static char *read_all(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = f ? malloc(REPORT_BYTES + 1) : NULL;
    if (text) text[fread(text, 1, REPORT_BYTES, f)] = '\0';
    if (f) fclose(f);
    return text;
}

/* Runs `sh script program` with its output in `log`; *status is its exit status. */
static fal_status run_script(const char *script, const char *tool, const char *report, const char *log, int *status, fal_error *err)
{
    char program[4096], set_report[4300], set_tools[64];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "/proc/self/exe: %s", strerror(errno));
    program[n] = '\0';
    snprintf(set_report, sizeof set_report, "REPORT=%s", report);
    snprintf(set_tools, sizeof set_tools, "TOOLS=%s", tool);
    char *const argv[] = { "env", set_report, set_tools, "sh", (char *)(uintptr_t)script, program, NULL };
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    const int code = posix_spawnp(&pid, "env", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (code) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "sh %s: %s", script, strerror(code));
    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "sh %s: %s", script, strerror(errno));
    *status = WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status);
    return FAL_OK;
}

/* Lines "run<TAB>status<TAB>what" and "tool<TAB>version". */
static json_t *read_report(char *text, json_t *about)
{
    json_t *runs = json_array();
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *field = line, *kind = strsep(&field, "\t"), *value = strsep(&field, "\t");
        if (!value) continue;
        if (strcmp(kind, "tool") == 0) json_object_set_new(about, "version", json_string(value));
        else if (strcmp(kind, "run") == 0)
            json_array_append_new(runs, json_pack("{s:i, s:s}", "status", atoi(value), "what", field ? field : ""));
    }
    return runs;
}

static json_t *tail_of(const char *log)
{
    const size_t n = log ? strlen(log) : 0, from = n > TAIL_BYTES ? n - TAIL_BYTES : 0;
    fal_text t = { 0 };
    fal_text_add_safe(&t, n ? log + from : "", n - from);
    json_t *j = json_string(fal_text_str(&t));
    fal_text_free(&t);
    return j;
}

static fal_status write_observation(const fal_spec *spec, json_t *device, json_t *result, fal_error *err)
{
    fal_observation_writer *w = NULL;
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    json_t *asked = fal_spec_to_json(spec);
    json_object_del(asked, "out"); /* the same observation, wherever it was written */
    json_t *about = json_pack("{s:s, s:o, s:{s:s, s:s, s:{}}, s:[], s:o}", "falsify", falsify, "asked", asked, "ran", "backend", spec->backend,
                              "variant", spec->variant ? spec->variant : "", "kernels", "requests", "sanitize", result);
    fal_status st = about ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory while describing the observation", spec->out);
    if (about && device) json_object_set(json_object_get(about, "ran"), "device", device);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (!st) st = fal_observation_finish(w, about, err);
    fal_observation_writer_free(w);
    json_decref(about);
    return st;
}

fal_status fal_observe_sanitize(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    const char *tool = fal_params_text(&spec->with, "tool", ""), *script = find_script(tool);
    char report[4200], log[4200];
    json_t *device = NULL;
    fal_status st = FAL_OK;
    int status = 0;
    if (!script)
        return fal_fail(err, FAL_ERR_USAGE, "memcheck, racecheck, initcheck, synccheck or oclgrind", "no tool is named '%.40s'", tool);
    if (access(script, R_OK) != 0)
        return fal_fail(err, FAL_ERR_BLOCKED, "run from the root of the project's source", "%s: %s", script, strerror(errno));
    /* the device that the runs will use, which this process must not hold meanwhile; Oclgrind brings its own */
    if (strcmp(tool, "oclgrind") != 0) st = fal_observe_open_device(s, spec, err);
    if (!st && s->ctx) device = fal_observe_device_to_json(s);
    fal_observe_close(s);
    if (st) return st;
    snprintf(report, sizeof report, "%.4000s.report", spec->out);
    snprintf(log, sizeof log, "%.4000s.log", spec->out);
    fal_observe_mark(s, "running %s", tool);
    st = run_script(script, tool, report, log, &status, err);
    char *const said = read_all(report), *const printed = read_all(log);
    unlink(report);
    unlink(log);
    if (!st && status == SKIPPED) {
        const char *last = printed ? strstr(printed, "skipped: ") : NULL;
        st = fal_fail(err, FAL_ERR_BLOCKED, "install the tool, or run where it is", "%.*s", last ? (int)strcspn(last + 9, "\n") : 7,
                      last ? last + 9 : "skipped");
    }
    if (!st) {
        json_t *result = json_pack("{s:s, s:i, s:o}", "tool", tool, "status", status, "log_tail", tail_of(printed));
        if (result) json_object_set_new(result, "runs", said ? read_report(said, result) : json_array());
        st = write_observation(spec, device, result, err);
    }
    json_decref(device);
    free(printed);
    free(said);
    return st;
}
