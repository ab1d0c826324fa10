/* falsify validate [PATHS]: are the contracts well formed, do their references resolve, and what is in them. */
#include "harness/cmd.h"
#include "harness/contract.h"
#include "harness/diagnosis.h"
#include "harness/judge.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] = "falsify validate [PATHS] [--color=auto|always|never]";

/* ---- arguments ---- */

typedef struct {
    const char **paths; /* owned, the strings are not */
    int n_paths;
    fal_profile profile;
    bool colour, help;
} arguments;

static fal_status parse(int argc, char **argv, const fal_cmd_env *env, arguments *out, fal_error *err)
{
    out->paths = calloc((size_t)argc + 1, sizeof *out->paths);
    if (!out->paths) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while reading the command line");
    const char *when = "auto";
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!options || arg[0] != '-') {
            out->paths[out->n_paths++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            options = false;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            out->help = true;
        } else if (strncmp(arg, "--color=", 8) == 0) {
            when = arg + 8;
        } else if (strcmp(arg, "--profile") == 0 && i + 1 < argc && fal_profile_find(argv[i + 1]) >= 0) {
            out->profile = (fal_profile)fal_profile_find(argv[++i]);
        } else if (strcmp(arg, "--color") == 0 && i + 1 < argc) {
            when = argv[++i];
        } else {
            return fal_fail(err, FAL_ERR_USAGE, usage, "validate: unknown option '%.100s', or one without its value",
                            arg);
        }
    }
    const bool always = strcmp(when, "always") == 0;
    if (!always && strcmp(when, "never") != 0 && strcmp(when, "auto") != 0)
        return fal_fail(err, FAL_ERR_USAGE, usage, "validate: --color is '%.100s', expected auto, always or never",
                        when);
    out->colour = always || (strcmp(when, "auto") == 0 && env->err_is_terminal && !env->no_color);
    if (out->n_paths == 0) out->paths[out->n_paths++] = "contracts/";
    return FAL_OK;
}

/* ---- judgements: known here and not to the loader, which stands before them ---- */

static int refuse_unknown_judgements(const fal_contract *c, fal_diagnoses *all, bool *failed)
{
    fal_file_diagnosis d = { .all = all, .path = c->path };
    const char *names[256];
    int n = 0;
    const fal_judgement *known = fal_judgement_all(&n);
    size_t n_names = 0;
    for (int i = 0; i < n && n_names < sizeof names / sizeof names[0]; i++) names[n_names++] = known[i].name;
    for (int i = 0; i < c->n_falsifiers; i++)
        for (int k = 0; k < c->falsifiers[i].n_checks; k++) {
            const fal_check *check = &c->falsifiers[i].checks[k];
            if (fal_judgement_find(check->judge)) continue;
            char hint[160] = "falsifiers/judgements.def lists the judgements";
            const char *nearest = fal_nearest(check->judge, names, n_names);
            if (nearest) snprintf(hint, sizeof hint, "did you mean '%s'?", nearest);
            fal_diagnose(&d, FAL_RULE_CON_017, check->place, 1, hint, "%s/%s: there is no judgement '%s'",
                         c->falsifiers[i].id, check->name, check->judge);
        }
    fal_diagnose_hidden(&d);
    if (d.failed) *failed = true;
    return d.n_errors;
}

/* ---- summary ---- */

static int compare_ids(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

typedef struct {
    int bound, unbound, retired, checks, obligations, obligations_bound;
} counts;

/* Ids of obligations mean one thing over all files, so citations are counted over all of them. */
static fal_status count(const fal_contract_set *set, counts *out, fal_error *err)
{
    size_t n_cited = 0;
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++)
            n_cited += (size_t)set->contracts[i]->falsifiers[k].n_obligations;
    const char **cited = calloc(n_cited + 1, sizeof *cited);
    if (!cited) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while counting falsifiers");
    n_cited = 0;
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++) {
            const fal_falsifier *f = &set->contracts[i]->falsifiers[k];
            out->checks += f->n_checks;
            if (f->retired)
                out->retired++;
            else if (f->n_checks == 0)
                out->unbound++;
            else
                out->bound++;
            for (int o = 0; !f->retired && f->n_checks > 0 && o < f->n_obligations; o++)
                cited[n_cited++] = f->obligations[o];
        }
    qsort(cited, n_cited, sizeof *cited, compare_ids);
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_obligations; k++) {
            const char *id = set->contracts[i]->obligations[k].id;
            out->obligations++;
            if (n_cited > 0 && bsearch(&id, cited, n_cited, sizeof *cited, compare_ids)) out->obligations_bound++;
        }
    free(cited);
    return FAL_OK;
}

static void print_summary(const fal_contract_set *set, int n_valid, const counts *c, FILE *f)
{
    fprintf(f, "contracts    %d found, %d read as YAML, %d valid\n", set->n_found, set->n_read, n_valid);
    if (n_valid < set->n_found) fprintf(f, "in the %d whose form and references hold:\n", set->n_contracts);
    fprintf(f, "falsifiers   %d = %d bound (%d checks) + %d unbound + %d retired\n", c->bound + c->unbound + c->retired,
            c->bound, c->checks, c->unbound, c->retired);
    fprintf(f, "obligations  %d of %d have a bound falsifier\n", c->obligations_bound, c->obligations);
}

static void print_help(FILE *f)
{
    fprintf(f,
            "usage: %s\n\n"
            "Checks contracts: *.yaml files, or folders of them (default: contracts/). All errors of all files go to\n"
            "stderr as file:line:column with a stable code, counts to stdout. References are resolved among the files\n"
            "that are named, so name all that depend on each other.\n\n"
            "exit status: 0 all valid (warnings are allowed), 2 usage, 3 a contract has errors, 4 no contract found,\n"
            "8 output could not be written\n",
            usage);
}

static fal_status validate(const arguments *args, const fal_cmd_env *env, fal_error *err)
{
    fal_contract_set *set = NULL;
    fal_diagnoses diag = { 0 };
    counts c = { 0 };
    bool failed = false;
    int n_misjudged = 0;
    fal_status status = fal_contract_set_load_as(args->paths, args->n_paths, args->profile, &set, &diag, err);
    if (status != FAL_OK && status != FAL_ERR_INPUT) goto out;

    for (int i = 0; i < set->n_contracts; i++)
        n_misjudged += refuse_unknown_judgements(set->contracts[i], &diag, &failed) > 0;
    if (failed || (n_misjudged > 0 && !fal_diagnoses_sort(&diag))) {
        status = fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while checking judgements");
        goto out;
    }
    if (n_misjudged > 0)
        status = fal_fail(err, FAL_ERR_INPUT, "mend what the diagnoses name, then validate again",
                          "contracts: %d of %d files name a judgement that does not exist", n_misjudged, set->n_found);
    fal_diagnoses_print(&diag, args->colour, env->err);
    const fal_status counted = count(set, &c, err);
    if (counted != FAL_OK) {
        status = counted;
        goto out;
    }
    print_summary(set, set->n_contracts - n_misjudged, &c, env->out);
    if (fflush(env->out) != 0 || ferror(env->out)) {
        *err = (fal_error){ 0 }; /* what cannot be read matters more than what it would have said */
        status = fal_fail(err, FAL_ERR_OUTPUT, NULL, "validate: standard output cannot be written");
    }
out:
    fal_diagnoses_free(&diag);
    fal_contract_set_free(set);
    return status;
}

int fal_cmd_validate(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments args = { 0 };
    fal_status status = parse(argc, argv, env, &args, err);
    if (status == FAL_OK && args.help) {
        print_help(env->out);
        if (fflush(env->out) != 0)
            status = fal_fail(err, FAL_ERR_OUTPUT, NULL, "validate: standard output cannot be written");
    } else if (status == FAL_OK) {
        status = validate(&args, env, err);
    }
    free(args.paths);
    return status == FAL_OK ? 0 : fal_exit_status(status);
}
