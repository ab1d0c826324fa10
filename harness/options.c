/* The options of plan and run: the table, parsing by getopt_long, and the folders that follow from them. */
#include "harness/options.h"

#include "harness/text.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LONG_ONLY = 256,
    O_CONTRACT,
    O_BACKEND,
    O_STAGE,
    O_DEVICE,
    O_MODEL,
    O_SEED,
    O_JSON,
    O_REQUIRE,
    O_FAIL_FAST,
    O_EVIDENCE,
    O_COLOR,
    O_ROOT,
    O_KEEP,
    O_TIMEOUT,
    O_NO_PROBE,
    O_ONLY,
    O_NO_TAPS,
    O_REPEAT,
    O_NVTX,
    O_HEAVY,
    O_NO_BISECT,
    O_CAPSULES,
    O_TOKENS,
    O_OP,
    O_CANDIDATE,
    O_MUTANT,
    O_MUTANT_CODE,
    O_SOURCES,
    O_LIST,
    O_JOBS,
    O_SOAK
};
enum { IN_PLAN = 1, IN_RUN = 2, IN_BOTH = 3, IN_BISECT = 4, IN_PROVE = 8, IN_ALL = 11 };

/* bisect takes run's options as well: it starts from the same selection. */
static int taken_by(fal_options_for which)
{
    return which == FAL_FOR_PLAN ? IN_PLAN : which == FAL_FOR_RUN ? IN_RUN : which == FAL_FOR_PROVE ? IN_PROVE : IN_RUN | IN_BISECT;
}

static const struct {
    const char *name;
    int key;
    const char *arg; /* placeholder; NULL for a switch */
    int where;       /* plan takes run's own options too, so that a command line can be planned before it is run */
    bool shown_in_plan;
    const char *help;
} table[] = {
    { "select", 'k', "GLOB", IN_ALL, true, "falsifiers, falsifier/check or cases whose id matches (repeatable)" },
    { "only", O_ONLY, "ID", IN_BOTH, true, "this falsifier, falsifier/check or case, by its whole id (repeatable)" },
    { "contract", O_CONTRACT, "GLOB", IN_ALL, true, "contracts whose name matches (repeatable)" },
    { "stage", O_STAGE, "ID", IN_BOTH, true, "falsifiers of the obligations that this stage lists (repeatable)" },
    { "backend", O_BACKEND, "NAME", IN_ALL, true, "only this backend: reference, opencl, cuda (repeatable)" },
    { "device", O_DEVICE, "D", IN_ALL, true, "index, part of the name, or UUID; default: first GPU, else first CPU" },
    { "model", O_MODEL, "FILE", IN_ALL, true, "GGUF file; default: the shipped test model" },
    { "require", O_REQUIRE, "B[,B]", IN_ALL, true, "backends that must not be blocked; default: reference,opencl" },
    { "seed", O_SEED, "N", IN_BOTH, true, "one more seed beside those of the contracts" },
    { "root", O_ROOT, "DIR", IN_ALL, true, "folder that holds contracts/; default: here, else the installed data" },
    { "json", O_JSON, NULL, IN_ALL, true, "one JSON document on stdout" },
    { "color", O_COLOR, "WHEN", IN_ALL, true, "auto, always or never" },
    { "verbose", 'v', NULL, IN_ALL, true, "name what is otherwise only counted" },
    { "no-probe", O_NO_PROBE, NULL, IN_PLAN, true, "do not look for devices" },
    { "heavy", O_HEAVY, NULL, IN_ALL, true, "also the cases that take long: op shapes of full size" },
    { "op", O_OP, "NAME", IN_BOTH, true, "with --candidate: the operation (moe_matmul), or a site of the model (moe_down)" },
    { "candidate", O_CANDIDATE, "FILE", IN_BOTH, true, "your kernel on trial: .so, .cl, .cubin or .ptx (harness/candidate.h)" },
    { "fail-fast", O_FAIL_FAST, NULL, IN_BOTH, false, "stop at the first failure" },
    { "timeout", O_TIMEOUT, "S", IN_ALL, false, "seconds for one observation; default 600, of a mutant 120, of a candidate 60" },
    { "evidence", O_EVIDENCE, "DIR", IN_ALL, false, "where evidence is written; default: evidence" },
    { "keep-observations", O_KEEP, "DIR", IN_ALL, false, "keep the observation files there" },
    { "no-taps", O_NO_TAPS, NULL, IN_BOTH, false, "for profilers: forward passes without taps; what needs them is not_run" },
    { "repeat", O_REPEAT, "N", IN_BOTH, false, "for profilers: make each observation N times, judge the last" },
    { "nvtx", O_NVTX, NULL, IN_BOTH, false, "for profilers: mark forward passes op by op with NVTX" },
    { "no-bisect", O_NO_BISECT, NULL, IN_BOTH, false, "after a failure neither bisect nor write a capsule" },
    { "capsules", O_CAPSULES, "DIR", IN_BOTH | IN_BISECT, false, "where capsules of failures go; default: capsules in the evidence folder" },
    { "tokens", O_TOKENS, "1,2,3", IN_BISECT, false, "this prompt instead of those of the contracts" },
    { "soak", O_SOAK, "A-B", IN_BOTH, true, "single operations alone, with seeds A to B in place of the contracts' own" },
    { "mutant", O_MUTANT, "GLOB", IN_PROVE, false, "mutants whose id matches (repeatable)" },
    { "list", O_LIST, NULL, IN_PROVE, false, "name all mutants and what is wrong with them, and run nothing" },
    { "mutant-code", O_MUTANT_CODE, "DIR", IN_PROVE, false, "CUDA mutants that were built; default: build/mutants" },
    { "write-sources", O_SOURCES, "DIR", IN_PROVE, false, "write the sources of the CUDA mutants there, and run nothing" },
    { "jobs", O_JOBS, "N", IN_PROVE, false, "mutants observed at a time; default: one for each core, at most 4" },
    { "help", 'h', NULL, IN_ALL, true, "this text" },
};
enum { N_TABLE = sizeof table / sizeof table[0] };

void fal_options_help(fal_options_for which, FILE *f)
{
    if (which == FAL_FOR_PROVE)
        fputs("usage: falsify prove [options]\n"
              "Shows that the falsifiers can fail: observes every mutant of the catalogue and judges it by all that can see it.\n"
              "A mutant that survives, or a falsifier that kills none, makes the proof fail.\n\n",
              f);
    else if (which == FAL_FOR_PLAN)
        fputs("usage: falsify plan [options]\n"
              "Lists every case before anything runs, and why it will or will not run. Takes the options of run.\n\n",
              f);
    else if (which == FAL_FOR_BISECT)
        fputs("usage: falsify bisect [options]\n"
              "Finds the first op whose own error breaks its limit, and all others that do, with expert, row and block.\n"
              "Observes the reference once and the backend teacher-forced, free-running and with pinned experts; limits are\n"
              "those of the contracts' teacher-forced checks. Takes the options of run; -k selects the prompts.\n\n",
              f);
    else
        fputs("usage: falsify run [options]\n"
              "Runs the plan: observes in child processes, judges, writes evidence, prints a report.\n\n",
              f);
    for (int i = 0; i < N_TABLE; i++) {
        if (!(table[i].where & taken_by(which))) continue;
        const bool is_own = which == FAL_FOR_BISECT && table[i].where & IN_BISECT;
        if ((which == FAL_FOR_PLAN || which == FAL_FOR_BISECT) && !table[i].shown_in_plan && !is_own) continue;
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", table[i].key < LONG_ONLY ? '-' : ' ',
                 table[i].key < LONG_ONLY ? table[i].key : ' ', table[i].key < LONG_ONLY ? "," : " ", table[i].name,
                 table[i].arg ? " " : "", table[i].arg ? table[i].arg : "");
        fprintf(f, "  %-29s %s\n", left, table[i].help);
    }
    fputs("\nexit status: 0 all required cases survived, 1 falsified, 2 usage, 3 bad input, 4 nothing selected,\n"
          "  5 incomplete, 8 output not written, 77 only blocked and none required, 130 interrupted\n",
          f);
}

static fal_status parse_number(const char *name, const char *text, double *out, fal_error *err)
{
    char *end = NULL;
    errno = 0;
    const double v = strtod(text, &end);
    if (errno || end == text || *end || !(v > 0) || !isfinite(v))
        return fal_fail(err, FAL_ERR_USAGE, NULL, "--%s '%s': expected a number above 0", name, text);
    *out = v;
    return FAL_OK;
}

static fal_status parse_whole(const char *name, const char *text, int most, int *out, fal_error *err)
{
    char *end = NULL;
    errno = 0;
    const long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < 1 || v > most)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "--%s '%s': expected a whole number from 1 to %d", name, text, most);
    *out = (int)v;
    return FAL_OK;
}

static fal_status parse_seed(const char *text, uint64_t *out, fal_error *err)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 0);
    if (errno || end == text || *end || strchr(text, '-'))
        return fal_fail(err, FAL_ERR_USAGE, NULL, "--seed '%s': expected a whole number from 0 to 2^64-1", text);
    *out = v;
    return FAL_OK;
}

static fal_status parse_soak(const char *text, fal_options *o, fal_error *err)
{
    enum { MOST = 1000 };
    char *end = NULL;
    errno = 0;
    const unsigned long long first = strtoull(text, &end, 10), last = *end == '-' ? strtoull(end + 1, &end, 10) : first;
    if (errno || *end || *text < '0' || *text > '9' || last < first || last - first >= MOST)
        return fal_fail(err, FAL_ERR_USAGE, "for example --soak 1-20", "--soak '%s': expected two whole numbers, the second at most %d above the first",
                        text, MOST - 1);
    o->soak_first = first;
    o->n_soak = (int)(last - first) + 1;
    return FAL_OK;
}

static fal_status parse_require(const char *text, fal_options *o, fal_error *err)
{
    free(o->require_text);
    o->require.n = 0;
    o->require_given = true;
    o->require_text = strdup(text);
    int commas = 1;
    for (const char *c = text; *c; c++) commas += *c == ',';
    const char **items = realloc(o->require.items, (size_t)commas * sizeof *items);
    if (items) o->require.items = items;
    if (!o->require_text || !items) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for --require");
    char *rest = o->require_text;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        if (!*name)
            return fal_fail(err, FAL_ERR_USAGE, "for example --require reference,opencl", "--require '%s': empty name",
                            text);
        o->require.items[o->require.n++] = name;
    }
    return FAL_OK;
}

static fal_status unknown_option(int argc, char **argv, const struct option *longs, int missing, fal_error *err)
{
    /* getopt does not say which argument it disliked when that was a long one; optind points behind it */
    const char *arg = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    if (missing == ':') return fal_fail(err, FAL_ERR_USAGE, "see falsify help", "option '%s' needs a value", arg);
    if (strncmp(arg, "--", 2) != 0)
        return fal_fail(err, FAL_ERR_USAGE, "see falsify help", "unknown option '-%c'", optopt ? optopt : '?');
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    const char *names[N_TABLE];
    size_t n = 0;
    for (const struct option *l = longs; l->name; l++) {
        if (strcmp(l->name, name) == 0)
            return fal_fail(err, FAL_ERR_USAGE, "see falsify help", "option '--%s' takes no value", name);
        names[n++] = l->name;
    }
    const char *near = fal_nearest(name, names, n);
    return fal_fail(err, FAL_ERR_USAGE, "see falsify help", "unknown option '--%s'%s%s%s", name,
                    near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
}

static bool push(fal_names *list, const char *item, int cap)
{
    if (!list->items) list->items = calloc((size_t)cap, sizeof *list->items);
    if (!list->items) return false;
    list->items[list->n++] = item;
    return true;
}

/* A candidate is a backend of its own, and the only one on trial. */
static fal_status check_candidate(fal_options *o, int argc, fal_error *err)
{
    if (!o->candidate && !o->op) return FAL_OK;
    if (!o->candidate) return fal_fail(err, FAL_ERR_USAGE, "-k selects falsifiers of our own kernels", "--op %s: give the kernel with --candidate", o->op);
    if (!o->op)
        return fal_fail(err, FAL_ERR_USAGE, "for example --op moe_down", "--candidate %.200s: say with --op what it computes", o->candidate);
    for (int i = 0; i < o->backends.n; i++)
        if (strcmp(o->backends.items[i], "candidate") != 0)
            return fal_fail(err, FAL_ERR_USAGE, "leave --backend out", "--backend %s: with --candidate only that is on trial", o->backends.items[i]);
    if (o->backends.n == 0 && !push(&o->backends, "candidate", argc)) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the options");
    return FAL_OK;
}

fal_status fal_options_parse(int argc, char **argv, fal_options_for which, fal_options *out, fal_error *err)
{
    fal_options o = { .repeat = 1 };
    struct option longs[N_TABLE + 1];
    size_t n_longs = 0;
    for (int i = 0; i < N_TABLE; i++)
        if (table[i].where & taken_by(which))
            longs[n_longs++] =
                (struct option){ table[i].name, table[i].arg ? required_argument : no_argument, NULL, table[i].key };
    longs[n_longs] = (struct option){ 0 };

    fal_status st = FAL_OK;
    bool memory = true;
    opterr = 0;
    optind = 0;
    for (int c; st == FAL_OK && memory && (c = getopt_long(argc, argv, "+:k:vh", longs, NULL)) != -1;) {
        switch (c) {
        case 'k': memory = push(&o.globs, optarg, argc); break;
        case O_ONLY: memory = push(&o.only, optarg, argc); break;
        case O_NO_TAPS: o.no_taps = true; break;
        case O_NVTX: o.nvtx = true; break;
        case O_REPEAT: st = parse_whole("repeat", optarg, 1000000, &o.repeat, err); break;
        case O_CONTRACT: memory = push(&o.contracts, optarg, argc); break;
        case O_BACKEND: memory = push(&o.backends, optarg, argc); break;
        case O_STAGE: memory = push(&o.stages, optarg, argc); break;
        case O_DEVICE: o.device = optarg; break;
        case O_MODEL: o.model = optarg; break;
        case O_ROOT: o.root = optarg; break;
        case O_EVIDENCE: o.evidence = optarg; break;
        case O_KEEP: o.keep = optarg; break;
        case O_JSON: o.json = true; break;
        case O_FAIL_FAST: o.fail_fast = true; break;
        case O_HEAVY: o.heavy = true; break;
        case O_NO_BISECT: o.no_bisect = true; break;
        case O_CAPSULES: o.capsules = optarg; break;
        case O_TOKENS: o.tokens = optarg; break;
        case O_OP: o.op = optarg; break;
        case O_CANDIDATE: o.candidate = optarg; break;
        case O_MUTANT: memory = push(&o.mutants, optarg, argc); break;
        case O_MUTANT_CODE: o.mutant_code = optarg; break;
        case O_SOURCES: o.sources = optarg; break;
        case O_SOAK: st = parse_soak(optarg, &o, err); break;
        case O_LIST: o.list = true; break;
        case O_JOBS: st = parse_whole("jobs", optarg, 64, &o.jobs, err); break;
        case O_NO_PROBE: o.no_probe = true; break;
        case O_REQUIRE: st = parse_require(optarg, &o, err); break;
        case O_TIMEOUT: st = parse_number("timeout", optarg, &o.timeout_s, err); break;
        case O_SEED:
            st = parse_seed(optarg, &o.seed, err);
            o.has_seed = true;
            break;
        case O_COLOR:
            if (strcmp(optarg, "auto") == 0)
                o.color = FAL_COLOR_AUTO;
            else if (strcmp(optarg, "always") == 0)
                o.color = FAL_COLOR_ALWAYS;
            else if (strcmp(optarg, "never") == 0)
                o.color = FAL_COLOR_NEVER;
            else
                st = fal_fail(err, FAL_ERR_USAGE, NULL, "--color '%s': expected auto, always or never", optarg);
            break;
        case 'v': o.verbose = true; break;
        case 'h': o.help = true; break;
        default: st = unknown_option(argc, argv, longs, c, err); break;
        }
    }
    if (st == FAL_OK && memory && optind < argc)
        st = fal_fail(err, FAL_ERR_USAGE, "falsifiers are selected by -k", "unexpected argument '%s'", argv[optind]);
    if (st == FAL_OK && memory) st = check_candidate(&o, argc, err);
    if (!(o.timeout_s > 0)) o.timeout_s = which == FAL_FOR_PROVE ? 120 : o.candidate ? 60 : 600; /* a mutant may hang */
    if (st == FAL_OK && memory && !o.require_given) {
        st = parse_require(o.candidate ? "candidate" : "reference,opencl", &o, err);
        o.require_given = false;
    }
    if (st == FAL_OK && !memory) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the options");
    if (st == FAL_OK)
        *out = o;
    else
        fal_options_free(&o);
    return st;
}

void fal_options_free(fal_options *o)
{
    if (!o) return;
    free(o->globs.items);
    free(o->only.items);
    free(o->contracts.items);
    free(o->backends.items);
    free(o->stages.items);
    free(o->require.items);
    free(o->mutants.items);
    free(o->require_text);
    *o = (fal_options){ 0 };
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static bool has_contracts(const char *root)
{
    fal_text path = { 0 };
    fal_text_addf(&path, "%s/contracts", root);
    struct stat s;
    const bool found = !path.failed && stat(fal_text_str(&path), &s) == 0 && S_ISDIR(s.st_mode);
    fal_text_free(&path);
    return found;
}

static char *join(const char *folder, const char *name)
{
    fal_text path = { 0 };
    /* "./" in front of every path would only be noise in messages */
    if (strcmp(folder, ".") != 0) fal_text_addf(&path, "%s/", folder);
    fal_text_add(&path, name);
    if (path.failed) fal_text_free(&path);
    return path.data; /* handed over; NULL when memory ran out */
}

fal_status fal_paths_find(const fal_options *o, const char *datadir, fal_paths *out, fal_error *err)
{
    const char *root = o->root ? o->root : has_contracts(".") ? "." : datadir;
    if (!has_contracts(root))
        return fal_fail(err, FAL_ERR_NOTHING, "go to a folder that has contracts/, or name one with --root",
                        o->root ? "%s has no contracts folder" : "no contracts folder here, and none in %s", root);
    const bool installed = !o->root && strcmp(root, ".") != 0;
    fal_paths p = { .model_given = o->model != NULL };
    p.root = strdup(root);
    p.contracts = join(root, "contracts");
    p.model = o->model ? strdup(o->model) : join(root, "falsifiers/models/austen-moe-Q4_K_M.gguf");
    p.evidence = o->evidence ? strdup(o->evidence) : installed ? strdup("evidence") : join(root, "evidence");
    if (!p.root || !p.contracts || !p.model || !p.evidence) {
        fal_paths_free(&p);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for paths");
    }
    *out = p;
    return FAL_OK;
}

void fal_paths_free(fal_paths *p)
{
    if (!p) return;
    free(p->root);
    free(p->contracts);
    free(p->model);
    free(p->evidence);
    *p = (fal_paths){ 0 };
}
