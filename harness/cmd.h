/* The commands of the program: one function each, called by main with its own arguments and what main knows. */
#ifndef FAL_CMD_H
#define FAL_CMD_H

#include "harness/error.h"

#include <stdbool.h>
#include <stdio.h>

/* What main hands to every command, so that nothing below it touches stdout, stderr or the environment. */
typedef struct {
    const char *program; /* path of the own binary, for child processes */
    const char *invoked; /* as it was called, for lines that people copy */
    const char *tmp;     /* folder for temporary files: TMPDIR or /tmp */
    const char *path;    /* PATH, for tools that a contract waits for; may be NULL */
    FILE *out, *err;     /* results go to out, talk goes to err */
    bool out_is_terminal, err_is_terminal;
    bool no_color;            /* NO_COLOR is set, or the terminal is dumb */
    const volatile int *stop; /* becomes non-zero on SIGINT and SIGTERM */
} fal_cmd_env;

/* what    Runs one command. argv[0] is the command's name. Returns the exit status of the program; when that is not 0,
           err->message (and hint) say why in one sentence, and main prints "exit N: message" last on stderr.
           `return fal_exit_status(fal_fail(err, ...))` is the usual way out. */
int fal_cmd_help(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_version(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_validate(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_explain(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_schema(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_init(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_plan(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_run(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_bisect(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_replay(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_drift(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_status(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_coverage(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_ids(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_graph(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_diff(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_prove(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_devices(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_inspect(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_observe(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_judge(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_bench(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
int fal_cmd_synth(int argc, char **argv, const fal_cmd_env *env, fal_error *err);

/* what    The exit status that a failure of this code means when it ends the program. */
int fal_exit_status(fal_status code);

#endif
