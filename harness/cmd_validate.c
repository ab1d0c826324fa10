/* falsify validate [PATHS]: are the contracts well formed, do their references resolve, and what is in them. */
#include "harness/cmd.h"
#include "harness/text.h"
#include "harness/validation.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "falsify validate [PATHS] [--profile strict|pv] [--format text|json|sarif|github] [options]";

typedef enum { AS_TEXT, AS_JSON, AS_SARIF, AS_GITHUB, N_FORMATS } format;
static const char *const formats[N_FORMATS] = { "text", "json", "sarif", "github" };

typedef struct {
    const char **paths; /* owned, the strings are not */
    int n_paths;
    fal_profile profile;
    format format;
    fal_validation_style style;
    bool deny_warnings, help;
    const char *when; /* colour */
    char today[11];
} arguments;

/* ---- arguments ---- */

static fal_status read_today(arguments *out, const char *s, fal_error *err)
{
    int y = 0, m = 0, d = 0, n = 0;
    if (strlen(s) != 10 || sscanf(s, "%4d-%2d-%2d%n", &y, &m, &d, &n) != 3 || n != 10 || m < 1 || m > 12 || d < 1 ||
        d > 31)
        return fal_fail(err, FAL_ERR_USAGE, usage, "validate: --today is '%.40s', expected a date as in 2026-11-25", s);
    memcpy(out->today, s, sizeof out->today);
    return FAL_OK;
}

static fal_status read_max(arguments *out, const char *s, fal_error *err)
{
    char *end = NULL;
    const long n = strtol(s, &end, 10);
    if (end == s || *end || n < 0 || n > INT_MAX || *s == '+' || *s == ' ')
        return fal_fail(err, FAL_ERR_USAGE, usage, "validate: --max is '%.40s', expected a whole number from 0 on", s);
    out->style.most = (size_t)n;
    return FAL_OK;
}

/* An option with a value, `--name value` or `--name=value`; false when arg is none of that name. */
static bool has_value(const char *name, int argc, char **argv, int *i, const char **value)
{
    const size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return false;
    if (argv[*i][n] == '=') {
        *value = argv[*i] + n + 1;
        return true;
    }
    if (argv[*i][n] || *i + 1 >= argc) return false;
    *value = argv[++*i];
    return true;
}

static fal_status read_option(arguments *out, int argc, char **argv, int *i, fal_error *err)
{
    static const char *const names[] = { "--profile", "--format", "--deny-warnings", "--notes", "--map",
                                         "--max",     "--today",  "--color",         "--help" };
    const char *value = NULL, *arg = argv[*i];
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        out->help = true;
    } else if (strcmp(arg, "--deny-warnings") == 0) {
        out->deny_warnings = true;
    } else if (strcmp(arg, "--notes") == 0) {
        out->style.notes = true;
    } else if (strcmp(arg, "--map") == 0) {
        out->style.map = true;
    } else if (has_value("--profile", argc, argv, i, &value)) {
        const int profile = fal_profile_find(value);
        if (profile < 0)
            return fal_fail(err, FAL_ERR_USAGE, usage, "validate: --profile is '%.40s', expected strict or pv", value);
        out->profile = (fal_profile)profile;
    } else if (has_value("--format", argc, argv, i, &value)) {
        int f = 0;
        while (f < N_FORMATS && strcmp(formats[f], value) != 0) f++;
        if (f == N_FORMATS)
            return fal_fail(err, FAL_ERR_USAGE, usage,
                            "validate: --format is '%.40s', expected text, json, sarif or github", value);
        out->format = (format)f;
    } else if (has_value("--max", argc, argv, i, &value)) {
        return read_max(out, value, err);
    } else if (has_value("--today", argc, argv, i, &value)) {
        return read_today(out, value, err);
    } else if (has_value("--color", argc, argv, i, &value)) {
        if (strcmp(value, "always") != 0 && strcmp(value, "never") != 0 && strcmp(value, "auto") != 0)
            return fal_fail(err, FAL_ERR_USAGE, usage, "validate: --color is '%.100s', expected auto, always or never",
                            value);
        out->when = value;
    } else {
        const char *near = fal_nearest(arg, names, sizeof names / sizeof names[0]);
        return fal_fail(err, FAL_ERR_USAGE, usage, "validate: unknown option '%.100s', or one without its value%s%s%s",
                        arg, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return FAL_OK;
}

static fal_status parse(int argc, char **argv, const fal_cmd_env *env, arguments *out, fal_error *err)
{
    *out = (arguments){ .when = "auto", .style.most = 100 };
    out->paths = calloc((size_t)argc + 1, sizeof *out->paths);
    if (!out->paths) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while reading the command line");
    const time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || strftime(out->today, sizeof out->today, "%Y-%m-%d", &utc) == 0)
        memcpy(out->today, "1970-01-01", 11);
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (!options || argv[i][0] != '-') {
            out->paths[out->n_paths++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            options = false;
        } else {
            const fal_status status = read_option(out, argc, argv, &i, err);
            if (status) return status;
        }
    }
    out->style.colour =
        strcmp(out->when, "always") == 0 || (strcmp(out->when, "auto") == 0 && env->err_is_terminal && !env->no_color);
    if (out->n_paths == 0) out->paths[out->n_paths++] = "contracts/";
    return FAL_OK;
}

static void print_help(FILE *f)
{
    fprintf(f,
            "usage: %s\n\n"
            "Judges contracts: *.yaml files, or folders of them (default: contracts/). Diagnoses go to stderr as\n"
            "file:line:column with a stable code, counts to stdout. References are resolved among the files that are "
            "named,\n"
            "so name all that depend on each other.\n\n"
            "  --profile strict|pv   by whose rules: strict (default) for contracts that Falsify runs, pv for those "
            "written\n"
            "                        for aprender's validator. Nothing in a file chooses the profile.\n"
            "  --format FORMAT       text; json, sarif (2.1.0) or github (workflow commands), each on stdout\n"
            "  --deny-warnings       warnings are errors\n"
            "  --notes               print notes too\n"
            "  --map                 print which falsifiers each obligation has\n"
            "  --max N               print at most N diagnoses and count the rest (default 100, 0: all)\n"
            "  --today YYYY-MM-DD    the day by which waivers expire (default: now, UTC)\n"
            "  --color WHEN          auto, always, never\n\n"
            "`falsify explain CODE` tells what a code means. exit status: 0 all valid (warnings are allowed), 2 usage, "
            "3 a\n"
            "contract has errors or denied warnings, 4 no contract found, 8 output could not be written\n",
            usage);
}

/* ---- the command ---- */

static fal_status print(const fal_validation *v, const arguments *args, const fal_cmd_env *env, fal_error *err)
{
    fal_status status = FAL_OK;
    switch (args->format) {
    case AS_JSON: status = fal_validation_print_json(v, env->out, err); break;
    case AS_SARIF: status = fal_validation_print_sarif(v, env->out, err); break;
    case AS_GITHUB: fal_validation_print_github(v, env->out); break;
    default: fal_validation_print_diagnoses(v, &args->style, env->err); break;
    }
    if (args->format == AS_TEXT || args->format == AS_GITHUB) fal_validation_print_summary(v, &args->style, env->out);
    if (status == FAL_OK && (fflush(env->out) != 0 || ferror(env->out)))
        status = fal_fail(err, FAL_ERR_OUTPUT, NULL, "validate: standard output cannot be written");
    return status;
}

static fal_status verdict(const fal_validation *v, const arguments *args, fal_error *err)
{
    const int n_bad = v->set->n_found - v->n_valid;
    const char *foreign = args->profile == FAL_PROFILE_STRICT && v->looks_foreign
                              ? "these look like contracts of aprender: --profile pv judges them by its rules"
                              : "mend what the diagnoses name, then validate again; 'falsify explain CODE' says more";
    if (v->n_errors)
        return fal_fail(err, FAL_ERR_INPUT, foreign, "contracts: %d of %d files have errors (%zu)", n_bad,
                        v->set->n_found, v->n_errors);
    if (args->deny_warnings && v->n_warnings)
        return fal_fail(err, FAL_ERR_INPUT, foreign, "contracts: %zu warnings, which --deny-warnings does not allow",
                        v->n_warnings);
    return FAL_OK;
}

int fal_cmd_validate(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments args;
    fal_validation v = { 0 };
    fal_status status = parse(argc, argv, env, &args, err);
    if (status == FAL_OK && args.help) {
        print_help(env->out);
        if (fflush(env->out) != 0)
            status = fal_fail(err, FAL_ERR_OUTPUT, NULL, "validate: standard output cannot be written");
    } else if (status == FAL_OK) {
        status = fal_validate(args.paths, args.n_paths, args.profile, args.today, &v, err);
        if (status == FAL_OK) status = print(&v, &args, env, err);
        if (status == FAL_OK) status = verdict(&v, &args, err);
        fal_validation_free(&v);
    }
    free(args.paths);
    return status == FAL_OK ? 0 : fal_exit_status(status);
}
