/* falsify bench: greedy decode of one or more variants of a backend, interleaved run by run on one device. */
#include "harness/cmd.h"
#include "harness/evidence.h"
#include "harness/nvml.h"
#include "harness/text.h"
#include "harness/throughput.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VARIANTS = 8, MAX_RUNS = 1000 };
static const char default_model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";

static const char help[] =
    "usage: falsify bench --backend NAME [options]\n"
    "\n"
    "Decodes greedily, one stream, on one device. Variants take turns run by run, so that clocks and neighbours treat\n"
    "them alike. Tokens of every run are compared with a decode step by step.\n"
    "\n"
    "  --backend NAME        reference, opencl or cuda\n"
    "  --variants V,V        variants to compare, the default one is empty: ',fast' is the default one and fast\n"
    "  --device DEVICE       index, name or UUID; the first usable one\n"
    "  --model FILE          GGUF file; the shipped test model\n"
    "  --context N           tokens of the prompt, prefilled before each run; 512\n"
    "  --tokens N            tokens that are decoded and timed; 128\n"
    "  --runs N              runs of each variant; 5\n"
    "  --json                one JSON document on stdout\n"
    "\n"
    "exit status: 0 measured, 1 tokens differ, 2 usage, 3 bad input, 5 failed, 77 blocked, 130 interrupted\n";

typedef struct {
    const char *backend, *device, *model;
    char *variants; /* owned copy, cut at its commas */
    const char *variant[MAX_VARIANTS];
    int n_variants, context, n_tokens, n_runs;
    bool json, help;
} arguments;

/* One variant: its device and session while they are open, and what was measured. */
typedef struct {
    const char *variant;
    fal_context *ctx;
    fal_session *session;
    fal_memory memory;
    double seconds[MAX_RUNS], prefill[MAX_RUNS];
    double median, min, max, prefill_median, bytes; /* tokens per second; bytes a token */
    int32_t *steps, *tokens;
    uint64_t n_differ;
    bool generates, warm;
} entry;

typedef struct {
    const arguments *a;
    const fal_cmd_env *env;
    const fal_backend *backend;
    fal_model *model;
    int32_t *prompt;
    entry entries[MAX_VARIANTS];
    fal_device_info device;
    bool resident; /* all variants stay open side by side */
    double read_gb_per_s;
    fal_nvml *nvml;
    fal_error no_nvml;
    fal_nvml_sample before, after;
    uint64_t reasons;
} bench;

/* ---- command line ------------------------------------------------------------------------------------------------- */

static fal_status parse_count(const char *option, const char *text, int most, int *out, fal_error *err)
{
    char *end;
    errno = 0;
    const long n = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n < 1 || n > most)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "bench: %s: found '%.40s', expected a whole number from 1 to %d",
                        option, text, most);
    *out = (int)n;
    return FAL_OK;
}

static fal_status parse_variants(const char *text, arguments *a, fal_error *err)
{
    free(a->variants);
    a->n_variants = 0;
    char *rest = a->variants = strdup(text);
    if (!rest) return fal_fail(err, FAL_ERR_MEMORY, NULL, "bench: out of memory");
    for (char *name; (name = strsep(&rest, ","));) {
        if (a->n_variants == MAX_VARIANTS)
            return fal_fail(err, FAL_ERR_USAGE, NULL, "bench: more than %d variants", MAX_VARIANTS);
        for (int i = 0; i < a->n_variants; i++)
            if (strcmp(a->variant[i], name) == 0)
                return fal_fail(err, FAL_ERR_USAGE, NULL, "bench: --variants: '%.40s' twice", name);
        a->variant[a->n_variants++] = name;
    }
    return FAL_OK;
}

static fal_status parse(int argc, char **argv, arguments *a, fal_error *err)
{
    enum { BACKEND = 256, VARIANTS, DEVICE, MODEL, CONTEXT, TOKENS, RUNS, JSON };
    static const struct option longs[] = {
        { "backend", required_argument, NULL, BACKEND },
        { "variants", required_argument, NULL, VARIANTS },
        { "device", required_argument, NULL, DEVICE },
        { "model", required_argument, NULL, MODEL },
        { "context", required_argument, NULL, CONTEXT },
        { "tokens", required_argument, NULL, TOKENS },
        { "runs", required_argument, NULL, RUNS },
        { "json", no_argument, NULL, JSON },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    *a = (arguments){ .device = "",
                      .model = default_model,
                      .variant = { "" },
                      .n_variants = 1,
                      .context = 512,
                      .n_tokens = 128,
                      .n_runs = 5 };
    fal_status st = FAL_OK;
    optind = 0;
    opterr = 0;
    for (int c; !st && (c = getopt_long(argc, argv, "+:h", longs, NULL)) != -1;) {
        switch (c) {
        case BACKEND: a->backend = optarg; break;
        case VARIANTS: st = parse_variants(optarg, a, err); break;
        case DEVICE: a->device = optarg; break;
        case MODEL: a->model = optarg; break;
        case CONTEXT: st = parse_count("--context", optarg, 1 << 20, &a->context, err); break;
        case TOKENS: st = parse_count("--tokens", optarg, 1 << 20, &a->n_tokens, err); break;
        case RUNS: st = parse_count("--runs", optarg, MAX_RUNS, &a->n_runs, err); break;
        case JSON: a->json = true; break;
        case 'h': a->help = true; break;
        default:
            st = fal_fail(err, FAL_ERR_USAGE, "falsify bench --help", "bench: %s '%.60s'",
                          c == ':' ? "a value is missing after" : "no option is named",
                          argv[optind > 0 ? optind - 1 : 0]);
        }
    }
    if (st || a->help) return st;
    if (optind < argc)
        return fal_fail(err, FAL_ERR_USAGE, "falsify bench --help", "bench: unexpected argument '%.60s'", argv[optind]);
    if (!a->backend)
        return fal_fail(err, FAL_ERR_USAGE, "give --backend reference, opencl or cuda", "bench: --backend is missing");
    return FAL_OK;
}

/* ---- measuring ---------------------------------------------------------------------------------------------------- */

static void close_entry(bench *b, entry *e)
{
    if (e->session) b->backend->session_close(e->session);
    if (e->ctx) b->backend->close(e->ctx);
    e->session = NULL;
    e->ctx = NULL;
}

static fal_status open_entry(bench *b, entry *e, fal_error *err)
{
    if (e->session) return FAL_OK;
    const fal_backend_options options = { .device = b->a->device, .variant = e->variant };
    fal_status st = b->backend->open(&options, &e->ctx, err);
    if (st) e->ctx = NULL;
    if (!st) st = b->backend->session_open(e->ctx, b->model, b->a->context + b->a->n_tokens, &e->session, err);
    if (st) e->session = NULL;
    e->warm = false;
    return st;
}

static fal_decoding decoding(const bench *b, const entry *e)
{
    return (fal_decoding){ .backend = b->backend,
                           .session = e->session,
                           .n_vocab = b->model->config.n_vocab,
                           .context = b->a->context,
                           .n_tokens = b->a->n_tokens,
                           .prompt = b->prompt };
}

static uint64_t differences(const entry *e, int n)
{
    uint64_t differ = 0;
    for (int i = 0; i < n; i++) differ += e->steps[i] != e->tokens[i];
    return differ;
}

/* The device, its bandwidth, and whether all variants fit side by side. */
static fal_status look_at_device(bench *b, fal_error *err)
{
    entry *first = &b->entries[0];
    const fal_backend_options options = { .device = b->a->device, .variant = first->variant };
    fal_status st = b->backend->open(&options, &first->ctx, err);
    if (st) {
        first->ctx = NULL;
        return st;
    }
    b->device = *b->backend->device(first->ctx);
    if (b->backend->read_bandwidth)
        st = b->backend->read_bandwidth(first->ctx, fal_bandwidth_bytes(&b->device), &b->read_gb_per_s, err);
    close_entry(b, first);
    const double each = 1.1 * (double)b->model->tensor_bytes;
    b->resident = each * (double)b->a->n_variants < 0.8 * (double)b->device.memory_bytes;
    fal_nvml_open(NULL, &b->device, &b->nvml, &b->no_nvml);
    return st;
}

static void look(bench *b, fal_nvml_sample *sample)
{
    if (!b->nvml) return;
    fal_nvml_take(b->nvml, sample);
    b->reasons |= sample->reasons;
}

/* Expected tokens once; a run that is not timed whenever the session is new. */
static fal_status prepare_entry(bench *b, entry *e, fal_error *err)
{
    double prefill, seconds;
    fal_status st = open_entry(b, e, err);
    const fal_decoding d = decoding(b, e);
    if (st || e->warm) return st;
    if (!e->steps) {
        e->steps = calloc((size_t)d.n_tokens, sizeof *e->steps);
        e->tokens = calloc((size_t)d.n_tokens, sizeof *e->tokens);
        if (!e->steps || !e->tokens) return fal_fail(err, FAL_ERR_MEMORY, NULL, "bench: out of memory");
        st = fal_decoding_steps(&d, e->steps, err);
        b->backend->session_memory(e->session, &e->memory);
        e->generates = fal_decoding_generates(&d);
    }
    if (!st) st = fal_decoding_run(&d, e->tokens, &prefill, &seconds, err);
    e->warm = st == FAL_OK;
    return st;
}

static fal_status measure(bench *b, fal_error *err)
{
    const arguments *a = b->a;
    fal_status st = look_at_device(b, err);
    for (int i = 0; i < a->n_variants && !st && b->resident; i++) st = prepare_entry(b, &b->entries[i], err);
    look(b, &b->before);
    for (int r = 0; r < a->n_runs && !st; r++)
        for (int i = 0; i < a->n_variants && !st; i++) {
            entry *e = &b->entries[i];
            if (*b->env->stop) return fal_fail(err, FAL_ERR_INTERRUPTED, NULL, "interrupted");
            st = prepare_entry(b, e, err);
            const fal_decoding d = decoding(b, e);
            if (!st) st = fal_decoding_run(&d, e->tokens, &e->prefill[r], &e->seconds[r], err);
            look(b, &b->after);
            if (!st) e->n_differ += differences(e, a->n_tokens);
            if (!b->resident) close_entry(b, e);
        }
    return st;
}

static void sum_up(bench *b)
{
    const arguments *a = b->a;
    for (int i = 0; i < a->n_variants; i++) {
        entry *e = &b->entries[i];
        for (int r = 0; r < a->n_runs; r++) {
            e->seconds[r] = (double)a->n_tokens / e->seconds[r]; /* from here on rates */
            e->prefill[r] = (double)a->context / e->prefill[r];
        }
        e->median = fal_median(e->seconds, a->n_runs);
        e->min = e->seconds[0]; /* sorted by fal_median */
        e->max = e->seconds[a->n_runs - 1];
        e->prefill_median = fal_median(e->prefill, a->n_runs);
        e->bytes = fal_decoding_bytes(b->model, e->memory.kv_bytes, a->context + a->n_tokens, a->context, a->n_tokens);
    }
}

/* ---- results ------------------------------------------------------------------------------------------------------ */

/* Most memory that this process had resident, in bytes; 0 when the system does not say. */
static double peak_resident(void)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
    if (f) fclose(f);
    return 1024 * kib;
}

static const char *shown(const char *variant)
{
    return *variant ? variant : "(default)";
}

static void print_clocks(const char *label, const fal_nvml_sample *s, FILE *f)
{
    if (s->has_clocks) fprintf(f, "%s %u MHz, memory %u MHz", label, s->sm_mhz, s->memory_mhz);
}

static void print(const bench *b, FILE *f)
{
    const arguments *a = b->a;
    fprintf(f, "%s on ", b->backend->name);
    fal_text_print(f, b->device.name, strlen(b->device.name));
    fprintf(f, "; context %d, %d tokens, %d runs each%s%s\nmodel ", a->context, a->n_tokens, a->n_runs,
            a->n_variants > 1 ? ", interleaved" : "",
            b->resident || a->n_variants == 1 ? "" : " (loaded anew for each run)");
    fal_text_print(f, a->model, strlen(a->model));
    fprintf(f, ", %.3f GB of tensors\n\n%-12s %10s %10s %10s %7s %9s %7s %12s  %s\n",
            1e-9 * (double)b->model->tensor_bytes, "variant", "tokens/s", "min", "max", "ratio", "GB/s", "of read",
            "prefill t/s", "tokens");
    for (int i = 0; i < a->n_variants; i++) {
        const entry *e = &b->entries[i];
        const double gb = 1e-9 * e->bytes * e->median;
        char share[16] = "-", tokens[48] = "as step by step";
        if (b->read_gb_per_s > 0) snprintf(share, sizeof share, "%.1f %%", 100 * gb / b->read_gb_per_s);
        if (e->n_differ) snprintf(tokens, sizeof tokens, "%llu DIFFER", (unsigned long long)e->n_differ);
        fprintf(f, "%-12s %10.2f %10.2f %10.2f %7.3f %9.2f %7s %12.1f  %s%s\n", shown(e->variant), e->median, e->min,
                e->max, e->median / b->entries[0].median, gb, share, e->prefill_median, tokens,
                e->generates ? "" : " (loop over forward)");
    }
    fputc('\n', f);
    if (b->read_gb_per_s > 0)
        fprintf(f, "read bandwidth %.1f GB/s, measured on this device\n", b->read_gb_per_s);
    else
        fputs("read bandwidth not measured by this backend\n", f);
    fprintf(f, "bytes a token %.0f", b->entries[0].bytes);
    for (int i = 1; i < a->n_variants; i++) fprintf(f, ", %.0f", b->entries[i].bytes);
    fputs("\nclocks: ", f);
    if (b->nvml) {
        char reasons[160];
        fal_nvml_reasons_text(fal_nvml_slowdowns(b->reasons), reasons, sizeof reasons);
        print_clocks("before", &b->before, f);
        print_clocks("; after", &b->after, f);
        fprintf(f, "; slowdowns: %s%s\n", reasons,
                fal_nvml_slowdowns(b->reasons) ? " - THROTTLED, the figures say little" : "");
    } else {
        fal_text_print(f, b->no_nvml.message, strlen(b->no_nvml.message));
        fputc('\n', f);
    }
    fprintf(f, "peak resident memory %.1f MB\n", 1e-6 * peak_resident());
}

static fal_status print_json(const bench *b, FILE *f, fal_error *err)
{
    const arguments *a = b->a;
    char reasons[160];
    fal_nvml_reasons_text(fal_nvml_slowdowns(b->reasons), reasons, sizeof reasons);
    json_t *list = json_array();
    for (int i = 0; i < a->n_variants; i++) {
        const entry *e = &b->entries[i];
        const double gb = 1e-9 * e->bytes * e->median;
        json_t *rates = json_array();
        for (int r = 0; r < a->n_runs; r++) json_array_append_new(rates, json_real(e->seconds[r]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:f, s:I, s:o}", "variant",
                                              e->variant, "how", e->generates ? "generate" : "forward", "tokens_per_s",
                                              e->median, "min", e->min, "max", e->max, "ratio",
                                              e->median / b->entries[0].median, "bytes_per_token", e->bytes, "gb_per_s",
                                              gb, "share_of_bandwidth",
                                              b->read_gb_per_s > 0 ? json_real(gb / b->read_gb_per_s) : json_null(),
                                              "prefill_tokens_per_s", e->prefill_median, "tokens_differ",
                                              (json_int_t)e->n_differ, "sorted_tokens_per_s", rates));
    }
    json_t *j = json_pack("{s:s, s:o, s:o, s:f, s:i, s:i, s:i, s:b, s:o, s:s, s:o, s:o, s:o, s:f, s:o}", "backend",
                          b->backend->name, "device", fal_json_shown(b->device.name), "model", fal_json_shown(a->model),
                          "tensor_bytes", (double)b->model->tensor_bytes, "context", a->context, "n_tokens",
                          a->n_tokens, "runs", a->n_runs, "resident", (int)b->resident, "read_gb_per_s",
                          b->read_gb_per_s > 0 ? json_real(b->read_gb_per_s) : json_null(), "slowdowns", reasons,
                          "no_nvml", b->nvml ? json_null() : fal_json_shown(b->no_nvml.message), "sm_mhz",
                          b->after.has_clocks ? json_integer(b->after.sm_mhz) : json_null(), "memory_mhz",
                          b->after.has_clocks ? json_integer(b->after.memory_mhz) : json_null(), "peak_resident_bytes",
                          peak_resident(), "variants", list);
    return fal_json_print(j, f, err);
}

static bool has_variant(const fal_backend *backend, const char *variant)
{
    const char *const *v = backend->variants;
    while (*v && strcmp(*v, variant) != 0) v++;
    return *v != NULL;
}

static fal_status run(bench *b, bool *differ, fal_error *err)
{
    const arguments *a = b->a;
    b->backend = fal_backend_find(a->backend);
    if (!b->backend)
        return fal_fail(err, FAL_ERR_USAGE, "there are reference, opencl and cuda",
                        "bench: no backend is named '%.40s'", a->backend);
    for (int i = 0; i < a->n_variants; i++)
        if (!has_variant(b->backend, a->variant[i]))
            return fal_fail(err, FAL_ERR_USAGE, "'falsify devices --json' lists the variants",
                            "bench: %s has no variant '%.40s'", b->backend->name, a->variant[i]);
    fal_status st = fal_model_open(a->model, &b->model, err);
    if (st) return st;
    for (int i = 0; i < a->n_variants; i++) b->entries[i].variant = a->variant[i];
    b->prompt = fal_decoding_prompt(b->model->config.n_vocab, a->context);
    if (!b->prompt) return fal_fail(err, FAL_ERR_MEMORY, NULL, "bench: out of memory");
    st = measure(b, err);
    if (st) return st;
    sum_up(b);
    for (int i = 0; i < a->n_variants; i++) *differ |= b->entries[i].n_differ > 0;
    if (a->json) return print_json(b, b->env->out, err);
    print(b, b->env->out);
    return FAL_OK;
}

int fal_cmd_bench(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments a = { 0 };
    bool differ = false;
    bench *b = calloc(1, sizeof *b);
    fal_status st = b ? parse(argc, argv, &a, err) : fal_fail(err, FAL_ERR_MEMORY, NULL, "bench: out of memory");
    if (!st && a.help) {
        fputs(help, env->out);
    } else if (!st) {
        b->a = &a;
        b->env = env;
        st = run(b, &differ, err);
    }
    for (int i = 0; b && b->backend && i < a.n_variants; i++) {
        close_entry(b, &b->entries[i]);
        free(b->entries[i].steps);
        free(b->entries[i].tokens);
    }
    if (b) {
        fal_nvml_close(b->nvml);
        fal_model_close(b->model);
        free(b->prompt);
    }
    free(b);
    free(a.variants);
    if (st == FAL_ERR_BLOCKED) return 77; /* the only thing that was asked for cannot run here */
    if (st) return fal_exit_status(st);
    if (differ)
        snprintf(err->message, sizeof err->message, "tokens of a timed run are not those of a decode step by step");
    return differ ? 1 : 0;
}
