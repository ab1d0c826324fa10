/* Arguments of the commands that read contracts and evidence: parsing, help, loading. */
#include "harness/cmd_args.h"

#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORMAT,
    EVIDENCE,
    MODEL,
    SINCE,
    CONTRACT,
    BACKEND,
    FRESH,
    HEAVY,
    NO_PROBE,
    LOCK,
    UPDATE,
    ACCEPT,
    COLOR,
    QUIET,
    VERBOSE,
    HELP
};

static const struct {
    const char *name, *value, *help;
    unsigned of; /* 0: of all commands */
} table[] = {
    [FORMAT] = { "--format", "F", "how to print it", FAL_ARG_FORMAT },
    [EVIDENCE] = { "--evidence", "DIR", "folder of evidence; default: evidence", FAL_ARG_EVIDENCE },
    [MODEL] = { "--model", "FILE",
                "model that is here, beside the shipped one; evidence about another file of that name is stale",
                FAL_ARG_EVIDENCE },
    [SINCE] = { "--since", "DIR", "an older copy of the evidence folder; what vanished since then is refused",
                FAL_ARG_EVIDENCE },
    [CONTRACT] = { "--contract", "GLOB", "only contracts whose name matches (repeatable)", FAL_ARG_SELECT },
    [BACKEND] = { "--backend", "NAME", "only this backend (repeatable)", FAL_ARG_SELECT },
    [FRESH] = { "--require-fresh", NULL,
                "exit 6 unless every falsifier has fresh evidence on the backends that it names", FAL_ARG_FRESH },
    [HEAVY] = { "--heavy", NULL, "with --require-fresh: also of checks that take long", FAL_ARG_FRESH },
    [NO_PROBE] = { "--no-probe", NULL, "do not look for devices that a contract waits for", FAL_ARG_PROBE },
    [LOCK] = { "--lock", "FILE", "the lock file; default: ids.lock beside the contracts", FAL_ARG_LOCK },
    [UPDATE] = { "--update", NULL, "write the lock file anew; refused while ids changed that --accept does not name",
                 FAL_ARG_LOCK },
    [ACCEPT] = { "--accept", "ID", "an id whose words may change, or which may go (repeatable)", FAL_ARG_LOCK },
    [COLOR] = { "--color", "WHEN", "auto, always or never", 0 },
    [QUIET] = { "-q", NULL, "only the totals, and what is wrong", FAL_ARG_FRESH },
    [VERBOSE] = { "-v", NULL, "name what is otherwise only counted", 0 },
    [HELP] = { "--help", NULL, "this text", 0 },
};
enum { N_TABLE = sizeof table / sizeof table[0] };

static bool applies(const fal_cmd_about *about, int i)
{
    return table[i].of == 0 || (about->options & table[i].of);
}

static fal_status unknown(const fal_cmd_about *about, const char *arg, fal_error *err)
{
    const char *names[N_TABLE];
    size_t n = 0;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg, "="), arg);
    for (int i = 0; i < N_TABLE; i++)
        if (applies(about, i)) names[n++] = table[i].name;
    const char *near = fal_nearest(name, names, n);
    return fal_fail(err, FAL_ERR_USAGE, about->usage, "%s: unknown option '%.100s'%s%s%s", about->name, arg,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool push(fal_names *list, const char *item, int cap)
{
    if (!list->items) list->items = calloc((size_t)cap, sizeof *list->items);
    if (!list->items) return false;
    list->items[list->n++] = item;
    return true;
}

static fal_status take(int i, const char *value, int argc, const char **colour, fal_cmd_args *out, fal_error *err)
{
    bool memory = true;
    switch (i) {
    case FORMAT: out->format = value; break;
    case EVIDENCE: out->evidence = value; break;
    case MODEL: out->model = value; break;
    case SINCE: out->since = value; break;
    case CONTRACT: memory = push(&out->contracts, value, argc); break;
    case BACKEND: memory = push(&out->backends, value, argc); break;
    case FRESH: out->require_fresh = true; break;
    case HEAVY: out->heavy = true; break;
    case NO_PROBE: out->no_probe = true; break;
    case LOCK: out->lock = value; break;
    case UPDATE: out->update = true; break;
    case ACCEPT: memory = push(&out->accept, value, argc); break;
    case COLOR: *colour = value; break;
    case QUIET: out->quiet = true; break;
    case VERBOSE: out->verbose = true; break;
    default: out->help = true; break;
    }
    return memory ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the command line");
}

static fal_status check_values(const fal_cmd_about *about, const char *colour, fal_cmd_args *out, fal_error *err)
{
    static const char *const backends[] = { "reference", "opencl", "cuda" };
    bool known = !out->format;
    for (const char *const *f = about->formats; f && *f; f++) known |= out->format && strcmp(*f, out->format) == 0;
    if (!known)
        return fal_fail(err, FAL_ERR_USAGE, about->usage, "%s: there is no format '%.60s'", about->name, out->format);
    if (!out->format && about->formats) out->format = about->formats[0];
    if (strcmp(colour, "always") != 0 && strcmp(colour, "never") != 0 && strcmp(colour, "auto") != 0)
        return fal_fail(err, FAL_ERR_USAGE, about->usage, "%s: --color is '%.60s', expected auto, always or never",
                        about->name, colour);
    for (int i = 0; i < out->backends.n; i++) {
        known = false;
        for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++)
            known |= strcmp(out->backends.items[i], backends[b]) == 0;
        if (!known)
            return fal_fail(err, FAL_ERR_USAGE, "backends: reference, opencl, cuda", "%s: there is no backend '%.60s'",
                            about->name, out->backends.items[i]);
    }
    return FAL_OK;
}

fal_status fal_cmd_args_parse(int argc, char **argv, const fal_cmd_about *about, const fal_cmd_env *env,
                              fal_cmd_args *out, fal_error *err)
{
    const char *colour = "auto";
    bool options = true;
    *out = (fal_cmd_args){ .paths = calloc((size_t)argc + 1, sizeof *out->paths) };
    fal_status st = out->paths ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the command line");
    for (int a = 1; !st && a < argc; a++) {
        const char *arg = argv[a], *value = NULL;
        if (!options || arg[0] != '-' || !arg[1]) {
            out->paths[out->n_paths++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            options = false;
            continue;
        }
        const size_t n = strcspn(arg, "=");
        int i = 0;
        while (i < N_TABLE && !(applies(about, i) && strlen(table[i].name) == n && strncmp(table[i].name, arg, n) == 0))
            i++;
        if (strcmp(arg, "-h") == 0) i = HELP;
        if (strcmp(arg, "--verbose") == 0) i = VERBOSE;
        if (i == N_TABLE) {
            st = unknown(about, arg, err);
        } else if (!table[i].value && arg[n] == '=') {
            st = fal_fail(err, FAL_ERR_USAGE, about->usage, "%s: option '%s' takes no value", about->name,
                          table[i].name);
        } else {
            if (table[i].value) value = arg[n] == '=' ? arg + n + 1 : a + 1 < argc ? argv[++a] : NULL;
            if (table[i].value && (!value || !*value))
                st = fal_fail(err, FAL_ERR_USAGE, about->usage, "%s: option '%s' needs a value", about->name,
                              table[i].name);
            else
                st = take(i, value, argc, &colour, out, err);
        }
    }
    if (!st) st = check_values(about, colour, out, err);
    const bool always = strcmp(colour, "always") == 0, may = strcmp(colour, "auto") == 0 && !env->no_color;
    out->colour_out = always || (may && env->out_is_terminal);
    out->colour_err = always || (may && env->err_is_terminal);
    return st;
}

void fal_cmd_args_free(fal_cmd_args *a)
{
    free(a->paths);
    free(a->contracts.items);
    free(a->backends.items);
    free(a->accept.items);
    *a = (fal_cmd_args){ 0 };
}

void fal_cmd_args_help(const fal_cmd_about *about, FILE *f)
{
    fprintf(f, "usage: %s\n\n%s\n", about->usage, about->about);
    for (int i = 0; i < N_TABLE; i++) {
        if (!applies(about, i)) continue;
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", table[i].name, table[i].value ? " " : "",
                 table[i].value ? table[i].value : "");
        fprintf(f, "  %-18s %s", name, table[i].help);
        for (const char *const *k = i == FORMAT ? about->formats : NULL; k && *k; k++)
            fprintf(f, "%s%s", k == about->formats ? ": " : ", ", *k);
        fputc('\n', f);
    }
}

fal_status fal_cmd_load(const fal_cmd_args *args, const fal_cmd_env *env, fal_contract_set **out, fal_error *err)
{
    static const char *const usual[] = { "contracts" };
    fal_diagnoses diag = { 0 };
    const fal_status st =
        fal_contract_set_load(args->n_paths ? args->paths : usual, args->n_paths ? args->n_paths : 1, out, &diag, err);
    if (st) fal_diagnoses_print(&diag, args->colour_err, env->err);
    fal_diagnoses_free(&diag);
    return st;
}

bool fal_cmd_takes(const fal_cmd_args *args, const fal_contract *c)
{
    for (int i = 0; i < args->contracts.n; i++)
        if (fal_glob_match(args->contracts.items[i], c->stem)) return true;
    return args->contracts.n == 0;
}

fal_status fal_cmd_check_globs(const fal_cmd_args *args, const fal_contract_set *set, fal_error *err)
{
    for (int g = 0; g < args->contracts.n; g++) {
        bool hit = false;
        for (int i = 0; i < set->n_contracts && !hit; i++)
            hit = fal_glob_match(args->contracts.items[g], set->contracts[i]->stem);
        if (!hit)
            return fal_fail(err, FAL_ERR_NOTHING, "a contract's name is its file name without .yaml",
                            "--contract '%.100s' matches no contract", args->contracts.items[g]);
    }
    return FAL_OK;
}

fal_status fal_cmd_flush(FILE *f, const char *command, fal_error *err)
{
    if (fflush(f) == 0 && !ferror(f)) return FAL_OK;
    *err = (fal_error){ 0 }; /* what cannot be read matters more than what it would have said */
    return fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: standard output cannot be written", command);
}
