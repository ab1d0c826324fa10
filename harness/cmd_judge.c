/* falsify judge FILE: an op observation of any engine, against the error that its declared arithmetic allows. */
#include "harness/arithmetic.h"
#include "harness/backend.h"
#include "harness/cmd.h"
#include "harness/judge.h"
#include "harness/text.h"

#include <getopt.h>
#include <string.h>

static const char help[] =
    "usage: falsify judge FILE.safetensors [options]\n"
    "\n"
    "Judges an observation of one operation, of this project's backends or of any other engine: recorded inputs are\n"
    "computed with in float64, and outputs must lie where the declared arithmetic leaves them. The verdict is one of\n"
    "rounding as declared, arithmetic not as declared (and which one it is), far better than declared, or a bug.\n"
    "\n"
    "  --declare K=V,...     instead of what the file declares; keys:\n"
    "                          activation  f32, f16, bf16, q8_0 (codes for 32 columns), q8_k (for 256)\n"
    "                          sum         f32, f64, f16, bf16, i32 (codes in int32, f32 over the scales)\n"
    "                          kv          f32, f16, bf16: what keys and values are rounded to\n"
    "                          order       any, ascending\n"
    "  --against FILE        instead: compare all output bits with this observation of the same inputs, such as the\n"
    "                        reference's of a fill 'exact', and name the weights that are wrong\n"
    "  --two-sided           results far better than declared are falsified, not only marked\n"
    "  -h, --help            this text\n"
    "\n"
    "The file holds tensors in.<argument> and out.<argument> as in harness/backend.h (weights in file format as U8), and\n"
    "in its metadata a JSON text 'about' with requests: [{\"op\": \"matmul\", \"params\": {\"n_tokens\": 3, \"n_in\": 2048,\n"
    "\"n_out\": 33, \"type\": \"Q4_K\"}}] and, if it declares them, ran.arithmetic: {\"matmul\": {\"activation\": \"q8_k\", \"sum\": \"i32\"}}.\n"
    "\n"
    "exit status: 0 survived, 1 falsified, 2 usage, 3 the file is refused, 5 nothing could be judged\n";

typedef struct {
    const char *file, *declare, *against;
    bool two_sided, help;
} arguments;

enum { DECLARE = 256, AGAINST, TWO_SIDED };

static fal_status parse(int argc, char **argv, arguments *a, fal_error *err)
{
    static const struct option options[] = {
        { "declare", required_argument, NULL, DECLARE }, { "against", required_argument, NULL, AGAINST },
        { "two-sided", no_argument, NULL, TWO_SIDED },   { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    static const char usage[] = "falsify help judge";
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;)
        switch (c) {
        case DECLARE: a->declare = optarg; break;
        case AGAINST: a->against = optarg; break;
        case TWO_SIDED: a->two_sided = true; break;
        case 'h': a->help = true; return FAL_OK;
        case ':': return fal_fail(err, FAL_ERR_USAGE, usage, "judge: option '%.60s' needs a value", argv[optind - 1]);
        default: return fal_fail(err, FAL_ERR_USAGE, usage, "judge: no option is named '%.60s'", argv[optind - 1]);
        }
    if (optind + 1 != argc) return fal_fail(err, FAL_ERR_USAGE, usage, "judge: found %d files, expected one", argc - optind);
    a->file = argv[optind];
    if (a->against && (a->declare || a->two_sided))
        return fal_fail(err, FAL_ERR_USAGE, usage, "judge: --against compares bits, so no arithmetic is declared beside it");
    fal_arithmetic unused = { 0 };
    return a->declare ? fal_arithmetic_parse(a->declare, &unused, err) : FAL_OK;
}

static void print_lines(FILE *f, const char *text)
{
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, "\n");
        fputs("  ", f);
        fal_text_print(f, p, n);
        fputc('\n', f);
        p += n + (p[n] == '\n');
    }
}

/* *status: exit status of a verdict that is no failure of the command. */
static fal_status judge(const arguments *a, const fal_observation *o, const fal_observation *want, const fal_cmd_env *env, int *status, fal_error *err)
{
    const json_t *request = json_array_get(json_object_get(o->about, "requests"), 0);
    const char *op = json_string_value(json_object_get(request, "op"));
    if (!op)
        return fal_fail(err, FAL_ERR_INPUT, "'falsify help judge' shows what such a file holds", "%s: __metadata__.about.requests[0].op names no operation", a->file);
    bool known = false;
    for (int i = 0; i < fal_n_ops(); i++) known = known || strcmp(fal_op_name(i), op) == 0;
    if (!known) return fal_fail(err, FAL_ERR_INPUT, "harness/ops.def lists them", "%s: no operation is named '%.60s'", a->file, op);
    fal_param with[2];
    int n = 0;
    if (a->declare) with[n++] = (fal_param){ "declare", 0, a->declare };
    if (a->two_sided) with[n++] = (fal_param){ "two_sided", 1, NULL };
    const fal_check check = { .name = "judge", .observe = FAL_OBSERVE_OP, .judge = want ? "exact" : "arithmetic", .op = op,
                              .against = want ? FAL_AGAINST_REFERENCE : FAL_AGAINST_NONE,
                              .limit = { .kind = FAL_LIMIT_MAX, .value = want ? 0 : 1, .basis = want ? "bits" : "the declared arithmetic" },
                              .with = { with, n } };
    const fal_evidence_in in = { .check = &check, .got = o, .want = want, .oracle_prompt = -1 };
    fal_verdict v;
    fal_judge(&in, &v);
    fprintf(env->out, "%s%s: ", fal_verdict_name(v.kind), v.kind == FAL_SURVIVED && v.marginal ? " (marked)" : "");
    fal_text_print(env->out, v.reason, strlen(v.reason));
    fputc('\n', env->out);
    print_lines(env->out, v.detail);
    if (v.kind == FAL_SURVIVED) return FAL_OK;
    if (v.kind == FAL_FALSIFIED) {
        snprintf(err->message, sizeof err->message, "%.200s was falsified", a->file);
        *status = 1;
        return FAL_OK;
    }
    if (v.kind == FAL_ERROR || v.kind == FAL_CRASHED) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %s", a->file, v.reason);
    return fal_fail(err, FAL_ERR_BLOCKED, NULL, "%s: %s: %s", a->file, fal_verdict_name(v.kind), v.reason);
}

int fal_cmd_judge(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments a = { 0 };
    fal_observation *o = NULL, *want = NULL;
    int status = 0;
    fal_status st = parse(argc, argv, &a, err);
    if (!st && a.help) fputs(help, env->out);
    if (!st && !a.help) st = fal_observation_open(a.file, &o, err);
    if (!st && o && a.against) st = fal_observation_open(a.against, &want, err);
    if (!st && o) st = judge(&a, o, want, env, &status, err);
    fal_observation_close(want);
    fal_observation_close(o);
    if (st == FAL_OK && (fflush(env->out) != 0 || ferror(env->out)))
        st = fal_fail(err, FAL_ERR_OUTPUT, NULL, "standard output cannot be written");
    return st == FAL_OK ? status : fal_exit_status(st);
}
