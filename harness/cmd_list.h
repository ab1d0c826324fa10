/* The list of commands, for main and help. */
#ifndef FAL_CMD_LIST_H
#define FAL_CMD_LIST_H

#include "harness/cmd.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv, const fal_cmd_env *env, fal_error *err);
    const char *help;
} fal_cmd;

/* what    The command of that name, or NULL. */
const fal_cmd *fal_cmd_find(const char *name);
/* what    The error for a name that is none, with the nearest one. */
fal_status fal_cmd_unknown(const char *name, fal_error *err);
/* what    The short help that `falsify` alone prints. */
void fal_cmd_usage(FILE *f);

#endif
