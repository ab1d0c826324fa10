/* Arguments of the commands that read contracts and evidence (status, coverage, graph, diff, ids): one table for all. */
#ifndef FAL_CMD_ARGS_H
#define FAL_CMD_ARGS_H

#include "harness/cmd.h"
#include "harness/contract.h"
#include "harness/options.h"

#include <jansson.h>

/* Options that a command may take, or-ed. --help and --color all do. */
enum {
    FAL_ARG_FORMAT = 1,
    FAL_ARG_EVIDENCE = 2, /* --evidence, --model, --since */
    FAL_ARG_SELECT = 4,   /* --contract, --backend */
    FAL_ARG_FRESH = 8,    /* --require-fresh, --heavy, -q */
    FAL_ARG_PROBE = 16,   /* --no-probe */
    FAL_ARG_LOCK = 32     /* --lock, --update, --accept */
};

typedef struct {
    const char **paths; /* owned, the strings are not */
    int n_paths;
    const char *format, *evidence, *model, *since, *lock;
    fal_names contracts, backends, accept;
    bool require_fresh, heavy, no_probe, update, verbose, quiet, help;
    bool colour_out, colour_err;
} fal_cmd_args;

/* What a command says of itself. */
typedef struct {
    const char *name, *usage, *about; /* about: what it does, its exit status; printed by --help */
    unsigned options;
    const char *const *formats; /* NULL-terminated, the first is the default; NULL without FAL_ARG_FORMAT */
} fal_cmd_about;

/* what    Parses. refuses an unknown option (with the nearest), a missing value, a format that is none: FAL_ERR_USAGE
   owns    *out: fal_cmd_args_free, also after an error */
fal_status fal_cmd_args_parse(int argc, char **argv, const fal_cmd_about *about, const fal_cmd_env *env,
                              fal_cmd_args *out, fal_error *err);
void fal_cmd_args_free(fal_cmd_args *a);
/* what    Prints usage, about and the options that apply. */
void fal_cmd_args_help(const fal_cmd_about *about, FILE *f);

/* what    Loads the contracts of args->paths ("contracts" without any); diagnoses go to env->err when there is an error.
   owns    *out: fal_contract_set_free */
fal_status fal_cmd_load(const fal_cmd_args *args, const fal_cmd_env *env, fal_contract_set **out, fal_error *err);
/* what    Whether the globs of --contract take this contract; and an error for a glob that takes none. */
bool fal_cmd_takes(const fal_cmd_args *args, const fal_contract *c);
fal_status fal_cmd_check_globs(const fal_cmd_args *args, const fal_contract_set *set, fal_error *err);
/* what    FAL_ERR_OUTPUT when what was printed did not arrive. */
fal_status fal_cmd_flush(FILE *f, const char *command, fal_error *err);

#endif
