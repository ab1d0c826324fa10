/* falsify help and version, and what a failure means as exit status. */
#include "harness/cmd.h"

#include "harness/cmd_list.h"
#include "harness/revision.h"
#include "harness/text.h"

#include <string.h>

extern const char fal_cu_toolkit[], fal_cu_archs[]; /* made by the build */

static const fal_cmd commands[] = {
    { "run", fal_cmd_run, "run the plan: observe, judge, write evidence, report" },
    { "prove", fal_cmd_prove, "show that the falsifiers can fail: mutants, and who kills them" },
    { "plan", fal_cmd_plan, "list every case, and why it will or will not run" },
    { "bisect", fal_cmd_bisect, "find the first op whose own error breaks its limit, and all others" },
    { "replay", fal_cmd_replay, "run the call in a capsule again, on any backend, without the model" },
    { "drift", fal_cmd_drift, "compare the values of two evidence folders, also those that pass" },
    { "validate", fal_cmd_validate, "judge contracts: form, references, rules of content" },
    { "explain", fal_cmd_explain, "what a code of validate means, why, and what to do" },
    { "schema", fal_cmd_schema, "JSON Schema of contracts, for editors" },
    { "init", fal_cmd_init, "write a new contract to start from" },
    { "status", fal_cmd_status, "what evidence says each claim is, beside what the file says" },
    { "coverage", fal_cmd_coverage, "obligations x falsifiers x backends x evidence" },
    { "diff", fal_cmd_diff, "what changed between two versions of contracts, and what it loosens" },
    { "graph", fal_cmd_graph, "which contract depends on which, with circles" },
    { "ids", fal_cmd_ids, "does every id still mean what it meant when it was locked" },
    { "devices", fal_cmd_devices, "what each backend could run on, or why it cannot" },
    { "inspect", fal_cmd_inspect, "what is in a model file" },
    { "observe", fal_cmd_observe, "make one observation, or serve as observer" },
    { "judge", fal_cmd_judge, "judge an observation of an op, of any engine, by its declared arithmetic" },
    { "bench", fal_cmd_bench, "measure decode: variants interleaved, bytes and bandwidth" },
    { "synth", fal_cmd_synth, "write a synthetic model of any shape" },
    { "help", fal_cmd_help, "this list, or the options of a command" },
    { "version", fal_cmd_version, "version and source revision" },
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

const fal_cmd *fal_cmd_find(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

fal_status fal_cmd_unknown(const char *name, fal_error *err)
{
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) names[i] = commands[i].name;
    const char *near = fal_nearest(name, names, N_COMMANDS);
    return fal_fail(err, FAL_ERR_USAGE, "'falsify help' lists the commands", "unknown command '%.100s'%s%s%s", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

void fal_cmd_usage(FILE *f)
{
    fputs("usage: falsify COMMAND [options]\n"
          "Takes claims about LLM inference kernels, written as contracts, and tries to refute them on real "
          "hardware.\n\n",
          f);
    for (int i = 0; i < N_COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs("\n'falsify help COMMAND' shows its options.\n", f);
}

int fal_cmd_help(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    if (argc < 2 || argv[1][0] == '-') {
        fal_cmd_usage(env->out);
        return 0;
    }
    const fal_cmd *c = fal_cmd_find(argv[1]);
    if (!c) return fal_exit_status(fal_cmd_unknown(argv[1], err));
    if (c->run == fal_cmd_help || c->run == fal_cmd_version) {
        fal_cmd_usage(env->out);
        return 0;
    }
    char help[] = "--help", *arguments[] = { argv[1], help, NULL };
    return c->run(2, arguments, env, err);
}

int fal_cmd_version(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    if (argc > 1 && strcmp(argv[0], "version") == 0)
        return fal_exit_status(
            fal_fail(err, FAL_ERR_USAGE, NULL, "version takes no arguments, found '%.100s'", argv[1]));
    fprintf(env->out, "falsify %s (%s), built with %s\n", FAL_VERSION, fal_revision, FAL_FLAGS);
    if (fal_cu_archs[0])
        fprintf(env->out, "CUDA device code: nvcc %s, %s\n", fal_cu_toolkit, fal_cu_archs);
    else
        fprintf(env->out, "CUDA device code: none (%s)\n", fal_cu_toolkit);
    return 0;
}

int fal_exit_status(fal_status code)
{
    switch (code) {
    case FAL_OK: return 0;
    case FAL_ERR_USAGE: return 2;
    case FAL_ERR_INPUT: return 3;
    case FAL_ERR_NOTHING: return 4;
    case FAL_ERR_BLOCKED:
    case FAL_ERR_MEMORY:
    case FAL_ERR_DEVICE:
    case FAL_ERR_INTERNAL: return 5; /* no verdict could be reached */
    case FAL_ERR_OUTPUT: return 8;
    case FAL_ERR_INTERRUPTED: return 130;
    }
    return 5;
}
