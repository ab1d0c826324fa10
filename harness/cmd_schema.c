/* falsify schema: the schema of contracts for editors. */
#include "harness/cmd.h"
#include "harness/contract_schema.h"
#include "harness/evidence.h"

#include <stdlib.h>
#include <string.h>

int fal_cmd_schema(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    static const char usage[] = "falsify schema";
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fprintf(env->out,
                "usage: %s\n\nPrints the schema of contracts as JSON Schema (draft-07), made from the tables by which "
                "they are read.\n"
                "contracts/contract.schema.json is a copy; an editor with a YAML language server finds it by the first "
                "line of\n"
                "a contract:  # yaml-language-server: $schema=contract.schema.json\n",
                usage);
        return 0;
    }
    if (argc > 1)
        return fal_exit_status(
            fal_fail(err, FAL_ERR_USAGE, usage, "schema takes no arguments, found '%.60s'", argv[1]));
    return fal_exit_status(fal_json_print(fal_contract_schema(), env->out, err));
}
