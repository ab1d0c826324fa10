/* falsify observe: one observation by hand, to a file; with --serve the observer that run starts as its child. */
#include "harness/candidate_parts.h"
#include "harness/cmd.h"
#include "harness/fixture.h"
#include "harness/observe.h"
#include "harness/spoil.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ITEMS = 64 }; /* prompts, taps, seeds, parameters: more belong into a contract */
static const char default_model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";

static const char help[] =
    "usage: falsify observe --backend NAME --out FILE [what to observe]\n"
    "\n"
    "Runs a backend once and writes everything it did to a safetensors file.\n"
    "\n"
    "  --backend NAME        reference, opencl or cuda\n"
    "  --device DEVICE       index, name or UUID; the first usable one\n"
    "  --variant NAME        cpu (opencl), fast or fast_kv16 (cuda), kv16 (reference); README has what each declares\n"
    "  --model FILE          GGUF file; the shipped test model\n"
    "  --out FILE            the observation to write\n"
    "  --timeout SECONDS     600\n"
    "  --here                in this process instead of a child (for a debugger)\n"
    "\n"
    "a forward pass:\n"
    "  --tokens 1,2,3        token ids; once more for each further request\n"
    "  --taps GLOB           none, all, or a glob over logits, embed, blk.N.attn, ...; may be repeated; logits\n"
    "  --greedy N            continue each prompt by N tokens\n"
    "  --decode              token by token instead of the whole prompt\n"
    "  --inputs FILE         teacher forcing: each op is fed with this observation's values\n"
    "  --pin-routing FILE    takes the expert choice of this observation\n"
    "\n"
    "one operation:\n"
    "  --op NAME --shape n_tokens=3,n_in=256,n_out=64,type=Q4_K\n"
    "  --fill NAME           gauss; uniform, zeros, ones, ramp, large, tiny, extreme, outlier, ties, onehot, ...\n"
    "  --seed N              may be repeated; 1\n"
    "  --with K=V,...        further parameters of the inputs\n"
    "  --inputs FILE         the arrays in.* of this file instead of a fill, as in a capsule\n"
    "  --then K=V,...        follow each seed with a second call that has these changes\n"
    "\n"
    "without a device:\n"
    "  --device-code         registers, spills and shared memory of the kernels in the program, as compiled\n"
    "\n"
    "construction and refusal:\n"
    "  --preload             read every tensor back from the device\n"
    "  --spoil NAME          hand in something spoilt, to be refused: arch, truncated, no_tokens, shape_zero, ...\n"
    "\n"
    "exit status: 0 observed, 2 usage, 3 refused as bad input, 5 crashed, timed out or failed, 8 not written,\n"
    "             77 blocked, 130 interrupted\n";

enum {
    BACKEND = 256,
    DEVICE,
    VARIANT,
    MODEL,
    OUT,
    TIMEOUT,
    HERE,
    TOKENS,
    TAPS,
    GREEDY,
    DECODE,
    INPUTS,
    PIN,
    OP,
    SHAPE,
    FILL,
    SEED,
    WITH,
    THEN,
    PRELOAD,
    DEVICE_CODE,
    SPOIL,
    SERVE,
    HELP
};
static const struct option long_options[] = {
    { "backend", required_argument, NULL, BACKEND },
    { "device", required_argument, NULL, DEVICE },
    { "variant", required_argument, NULL, VARIANT },
    { "model", required_argument, NULL, MODEL },
    { "out", required_argument, NULL, OUT },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "here", no_argument, NULL, HERE },
    { "tokens", required_argument, NULL, TOKENS },
    { "taps", required_argument, NULL, TAPS },
    { "greedy", required_argument, NULL, GREEDY },
    { "decode", no_argument, NULL, DECODE },
    { "inputs", required_argument, NULL, INPUTS },
    { "pin-routing", required_argument, NULL, PIN },
    { "op", required_argument, NULL, OP },
    { "shape", required_argument, NULL, SHAPE },
    { "fill", required_argument, NULL, FILL },
    { "seed", required_argument, NULL, SEED },
    { "with", required_argument, NULL, WITH },
    { "then", required_argument, NULL, THEN },
    { "preload", no_argument, NULL, PRELOAD },
    { "device-code", no_argument, NULL, DEVICE_CODE },
    { "spoil", required_argument, NULL, SPOIL },
    { "serve", no_argument, NULL, SERVE },
    { "help", no_argument, NULL, HELP },
    { NULL, 0, NULL, 0 },
};

/* What the command line says; the spec points into it. */
typedef struct {
    fal_spec spec;
    double timeout_s;
    bool here, serve, help, preload, device_code;
    int32_t *tokens[MAX_ITEMS];
    int n_tokens[MAX_ITEMS];
    const char *taps[MAX_ITEMS];
    uint64_t seeds[MAX_ITEMS];
    fal_param shape[MAX_ITEMS], with[MAX_ITEMS], then[MAX_ITEMS];
    char *texts[3 * MAX_ITEMS]; /* copies that parameters point into */
    int n_texts;
} arguments;

static fal_status too_many(const char *option, fal_error *err)
{
    return fal_fail(err, FAL_ERR_USAGE, NULL, "observe: more than %d %s", MAX_ITEMS, option);
}

static fal_status parse_tokens(arguments *a, const char *text, fal_error *err)
{
    if (a->spec.n_requests == MAX_ITEMS) return too_many("--tokens", err);
    size_t most = 1;
    for (const char *p = text; *p; p++) most += *p == ',';
    int32_t *ids = malloc(most * sizeof *ids);
    if (!ids) return fal_fail(err, FAL_ERR_MEMORY, NULL, "observe: out of memory");
    const int r = a->spec.n_requests++;
    a->tokens[r] = ids;
    const char *p = text;
    for (;;) {
        char *end;
        errno = 0;
        const long id = strtol(p, &end, 10);
        if (end == p || errno || id < INT32_MIN || id > INT32_MAX || (*end != ',' && *end != '\0'))
            return fal_fail(err, FAL_ERR_USAGE, "give ids like 1420,364,258",
                            "observe: --tokens: '%.40s' is not a token id", p);
        ids[a->n_tokens[r]++] = (int32_t)id;
        if (*end == '\0') return FAL_OK;
        p = end + 1;
    }
}

static fal_status parse_params(arguments *a, const char *option, const char *text, fal_param *params, fal_params *out,
                               fal_error *err)
{
    out->params = params;
    if (a->n_texts == (int)(sizeof a->texts / sizeof a->texts[0])) return too_many(option, err);
    char *copy = strdup(text), *rest = copy;
    if (!copy) return fal_fail(err, FAL_ERR_MEMORY, NULL, "observe: out of memory");
    a->texts[a->n_texts++] = copy;
    for (char *item; (item = strsep(&rest, ","));) {
        char *value = strchr(item, '=');
        if (!value || value == item || !value[1])
            return fal_fail(err, FAL_ERR_USAGE, "write name=value,name=value", "observe: %s: '%.60s' is not name=value",
                            option, item);
        *value++ = '\0';
        for (int i = 0; i < out->n_params; i++)
            if (strcmp(params[i].name, item) == 0)
                return fal_fail(err, FAL_ERR_USAGE, NULL, "observe: %s: '%.60s' twice", option, item);
        if (out->n_params == MAX_ITEMS) return too_many(option, err);
        char *end;
        const double number = strtod(value, &end);
        params[out->n_params++] =
            *end || !isfinite(number) ? (fal_param){ item, 0, value } : (fal_param){ item, number, NULL };
    }
    return FAL_OK;
}

static fal_status parse_integer(const char *option, const char *text, uint64_t most, uint64_t *out, fal_error *err)
{
    char *end;
    errno = 0;
    const uint64_t n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > most)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "observe: %s: found '%.60s', expected an integer from 0 to %llu",
                        option, text, (unsigned long long)most);
    *out = n;
    return FAL_OK;
}

static fal_status take_option(arguments *a, int option, const char *value, fal_error *err)
{
    fal_spec *s = &a->spec;
    uint64_t n = 0;
    fal_status st;
    char *end;
    switch (option) {
    case BACKEND: s->backend = value; break;
    case DEVICE: s->device = value; break;
    case VARIANT: s->variant = value; break;
    case MODEL: s->model = value; break;
    case OUT: s->out = value; break;
    case HERE: a->here = true; break;
    case TOKENS: return parse_tokens(a, value, err);
    case DECODE: s->decode = true; break;
    case INPUTS: s->inputs = value; break;
    case PIN: s->pin = value; break;
    case OP: s->op = value; break;
    case FILL: s->fill = value; break;
    case SHAPE: return parse_params(a, "--shape", value, a->shape, &s->shape, err);
    case WITH: return parse_params(a, "--with", value, a->with, &s->with, err);
    case THEN: return parse_params(a, "--then", value, a->then, &s->then, err);
    case PRELOAD: a->preload = true; break;
    case DEVICE_CODE: a->device_code = true; break;
    case SPOIL: s->spoil = value; break;
    case SERVE: a->serve = true; break;
    case HELP: a->help = true; break;
    case TAPS:
        if (s->n_taps == MAX_ITEMS) return too_many("--taps", err);
        a->taps[s->n_taps++] = value;
        break;
    case GREEDY:
        st = parse_integer("--greedy", value, 1000000, &n, err);
        s->n_greedy = (int)n;
        return st;
    case SEED:
        if (s->n_seeds == MAX_ITEMS) return too_many("--seed", err);
        return parse_integer("--seed", value, UINT64_MAX, &a->seeds[s->n_seeds++], err);
    case TIMEOUT:
        a->timeout_s = strtod(value, &end);
        if (end == value || *end || !(a->timeout_s > 0) || !isfinite(a->timeout_s))
            return fal_fail(err, FAL_ERR_USAGE, NULL, "observe: --timeout: found '%.60s', expected seconds > 0", value);
        break;
    }
    return FAL_OK;
}

static fal_status unknown_option(const char *found, fal_error *err)
{
    const char *names[sizeof long_options / sizeof long_options[0]];
    size_t n = 0;
    for (; long_options[n].name; n++) names[n] = long_options[n].name;
    const char *name = found + strspn(found, "-");
    char bare[64];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(name, "="), name);
    const char *near = fal_nearest(bare, names, n);
    char hint[96] = "falsify observe --help";
    if (near) snprintf(hint, sizeof hint, "did you mean --%s?", near);
    return fal_fail(err, FAL_ERR_USAGE, hint, "observe: no option is named '%.60s'", found);
}

static fal_status parse(int argc, char **argv, arguments *a, fal_error *err)
{
    fal_spec *s = &a->spec;
    fal_status st = FAL_OK;
    optind = 0;
    opterr = 0;
    for (int c; !st && (c = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1;) {
        const char *found = argv[optind > 0 ? optind - 1 : 0];
        if (c == ':')
            st = fal_fail(err, FAL_ERR_USAGE, "falsify observe --help", "observe: option '%.60s' needs a value", found);
        else if (c == '?')
            st = unknown_option(found, err);
        else
            st = take_option(a, c == 'h' ? HELP : c, optarg, err);
    }
    if (st || a->help || a->serve) return st;
    if (optind < argc)
        return fal_fail(err, FAL_ERR_USAGE, "falsify observe --help",
                        "observe: found argument '%.60s', expected options only", argv[optind]);
    if (!s->backend)
        return fal_fail(err, FAL_ERR_USAGE, "give --backend reference, opencl or cuda",
                        "observe: --backend is missing");
    if (!s->out) return fal_fail(err, FAL_ERR_USAGE, "give --out FILE.safetensors", "observe: --out is missing");
    if (!s->model) s->model = default_model;
    if ((s->spoil ? 1 : 0) + (a->preload ? 1 : 0) + (a->device_code ? 1 : 0) + (s->op && !s->spoil ? 1 : 0) + (s->n_requests > 0 ? 1 : 0) != 1)
        return fal_fail(err, FAL_ERR_USAGE, "give one of --tokens, --op, --preload, --device-code, --spoil",
                        "observe: what to observe must be said once");
    if (s->inputs && s->pin)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "observe: --inputs and --pin-routing exclude each other");
    if (s->spoil)
        s->kind = FAL_OBSERVE_REFUSAL;
    else if (a->device_code)
        s->kind = FAL_OBSERVE_DEVICE_CODE;
    else if (a->preload)
        s->kind = FAL_OBSERVE_PRELOAD;
    else if (s->op)
        s->kind = FAL_OBSERVE_OP;
    else if (s->inputs)
        s->kind = FAL_OBSERVE_TEACHER;
    else if (s->pin)
        s->kind = FAL_OBSERVE_PINNED;
    if (s->kind == FAL_OBSERVE_OP || s->kind == FAL_OBSERVE_DEVICE_CODE) s->model = NULL;
    if (s->n_requests > 0 && s->n_taps == 0) a->taps[s->n_taps++] = "logits";
    if (s->n_seeds == 0 && (s->op || s->spoil)) a->seeds[s->n_seeds++] = 1;
    s->tokens = (const int32_t *const *)a->tokens;
    s->n_tokens = a->n_tokens;
    s->taps = a->taps;
    s->seeds = a->seeds;
    return FAL_OK;
}

static void print_file(const fal_observation *o, const fal_spec *spec, FILE *f)
{
    const json_t *ran = json_object_get(o->about, "ran"), *refusal = json_object_get(o->about, "refusal");
    const char *device = json_string_value(json_object_get(json_object_get(ran, "device"), "name"));
    const json_t *code = json_object_get(o->about, "device_code");
    size_t bytes = 0;
    if (code) {
        const char *archs = json_string_value(json_object_get(code, "archs"));
        fprintf(f, "%s: %zu kernels of backend %s, over %s\n", spec->out, json_array_size(json_object_get(code, "kernels")),
                spec->backend, archs ? archs : "?");
        return;
    }
    for (int i = 0; i < o->n_tensors; i++) bytes += o->tensors[i].nbytes;
    fprintf(f, "%s: %d tensors, %zu bytes, backend %s on ", spec->out, o->n_tensors, bytes, spec->backend);
    fal_text_print(f, device ? device : "?", strlen(device ? device : "?"));
    fputc('\n', f);
    if (!refusal) return;
    const char *message = json_string_value(json_object_get(refusal, "message"));
    fprintf(f, "%s: ", json_is_true(json_object_get(refusal, "refused")) ? "refused" : "NOT refused");
    fal_text_print(f, message ? message : "", strlen(message ? message : ""));
    fputc('\n', f);
}

static fal_status observe(const arguments *a, const fal_cmd_env *env, fal_error *err)
{
    fal_observation *file = NULL;
    fal_observer *o = NULL;
    fal_outcome out = { 0 };
    fal_status st;
    if (a->here) {
        st = fal_observe(&a->spec, err);
    } else {
        st = fal_observer_make(env->program, &o, err);
        if (st) return st;
        fal_observer_run(o, &a->spec, a->timeout_s, env->stop, &out);
        fal_observer_free(o);
        if (out.kind == FAL_OUTCOME_CRASHED || out.kind == FAL_OUTCOME_TIMED_OUT) {
            fal_text_print(env->err, out.log_tail, strlen(out.log_tail));
            fputc('\n', env->err);
        }
        *err = out.error;
        st = out.error.code;
    }
    if (!st) st = fal_observation_open(a->spec.out, &file, err);
    if (!st) print_file(file, &a->spec, env->out);
    fal_observation_close(file);
    return st;
}

/* Answers go out on a descriptor of their own: drivers and compilers print to stdout, which becomes stderr here. */
static fal_status serve(fal_error *err)
{
    const int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    fal_status st = FAL_OK;
    if (!out || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        st = fal_fail(err, FAL_ERR_OUTPUT, NULL, "observe: no descriptor for answers: %s", strerror(errno));
        if (!out && fd >= 0) close(fd);
    } else {
        st = fal_observe_serve(stdin, out, err);
    }
    if (out) fclose(out);
    return st;
}

int fal_cmd_observe(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    if (argc > 1 && strcmp(argv[1], "--host") == 0) return fal_candidate_serve(argc, argv);
    arguments *a = calloc(1, sizeof *a);
    if (!a) return fal_exit_status(fal_fail(err, FAL_ERR_MEMORY, NULL, "observe: out of memory"));
    a->timeout_s = 600;
    fal_status st = parse(argc, argv, a, err);
    if (!st && a->help) {
        if (fputs(help, env->out) == EOF || fflush(env->out) != 0)
            st = fal_fail(err, FAL_ERR_OUTPUT, NULL, "standard output cannot be written");
    } else if (!st) {
        st = a->serve ? serve(err) : observe(a, env, err);
    }
    for (int r = 0; r < a->spec.n_requests; r++) free(a->tokens[r]);
    for (int i = 0; i < a->n_texts; i++) free(a->texts[i]);
    free(a);
    if (st == FAL_ERR_BLOCKED) return 77; /* the only thing that was asked for cannot run here */
    return st ? fal_exit_status(st) : 0;
}
