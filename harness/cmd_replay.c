/* falsify replay: the call in a capsule once more, on the backend where it failed or on any other; needs no model. */
#include "falsifiers/metrics.h"
#include "harness/candidate_parts.h"
#include "harness/capsule.h"
#include "harness/cmd.h"
#include "harness/evidence.h"
#include "harness/text.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: falsify replay [options] FILE.capsule\n"
    "Runs the call that a capsule holds again and says whether it still fails, with the values beside each other.\n"
    "The model is not needed: the weights of the call are in the file.\n"
    "\n"
    "  --backend NAME       where to run it (repeatable); default: where it failed\n"
    "  --candidate FILE     run it on this kernel (.so, .cl, .cubin or .ptx), be it the one that failed or another\n"
    "  --variant NAME       default: the one that failed, or the exact class of another backend\n"
    "  --device D           index, part of the name, or UUID; default: the first usable one\n"
    "  --timeout S          seconds for one run; default 600, of a candidate 60\n"
    "  --json               one JSON document on stdout\n"
    "  -h, --help           this text\n"
    "\n"
    "exit status: 0 it no longer fails on any of them, 1 it still fails, 2 usage, 3 no capsule, 5 no answer, 77 "
    "blocked, 130 interrupted\n";

enum { MOST_BACKENDS = 8, SHOWN = 8 };

typedef struct {
    const char *path, *backends[MOST_BACKENDS], *variant, *device;
    fal_candidate_file candidate; /* path NULL: none was given */
    int n_backends;
    double timeout_s;
    bool json, help;
} arguments;

static fal_status parse(int argc, char **argv, arguments *a, fal_error *err)
{
    enum { BACKEND = 256, CANDIDATE, VARIANT, DEVICE, TIMEOUT, JSON };
    static const struct option longs[] = {
        { "backend", required_argument, NULL, BACKEND },
        { "candidate", required_argument, NULL, CANDIDATE },
        { "variant", required_argument, NULL, VARIANT },
        { "device", required_argument, NULL, DEVICE },
        { "timeout", required_argument, NULL, TIMEOUT },
        { "json", no_argument, NULL, JSON },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    *a = (arguments){ 0 };
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        char *end = NULL;
        switch (c) {
        case BACKEND:
            if (a->n_backends == MOST_BACKENDS)
                return fal_fail(err, FAL_ERR_USAGE, NULL, "replay: more than %d --backend", (int)MOST_BACKENDS);
            a->backends[a->n_backends++] = optarg;
            if (strcmp(optarg, fal_candidate_backend.name) == 0)
                return fal_fail(err, FAL_ERR_USAGE, "give its file with --candidate", "replay: a candidate is a file");
            if (!fal_backend_find(optarg))
                return fal_fail(err, FAL_ERR_USAGE, "there are: reference, opencl, cuda",
                                "replay: no backend is named '%.60s'", optarg);
            break;
        case CANDIDATE:
            if (a->candidate.path)
                return fal_fail(err, FAL_ERR_USAGE, NULL, "replay: more than one --candidate");
            if (fal_candidate_look(optarg, &a->candidate, err)) return err->code;
            break;
        case VARIANT: a->variant = optarg; break;
        case DEVICE: a->device = optarg; break;
        case JSON: a->json = true; break;
        case 'h': a->help = true; break;
        case TIMEOUT:
            a->timeout_s = strtod(optarg, &end);
            if (end == optarg || *end || !(a->timeout_s > 0) || !isfinite(a->timeout_s))
                return fal_fail(err, FAL_ERR_USAGE, NULL, "replay: --timeout: found '%.60s', expected seconds > 0",
                                optarg);
            break;
        case ':':
            return fal_fail(err, FAL_ERR_USAGE, "falsify replay --help", "replay: option '%.60s' needs a value",
                            argv[optind - 1]);
        default:
            return fal_fail(err, FAL_ERR_USAGE, "falsify replay --help", "replay: no option is named '%.60s'",
                            argv[optind - 1]);
        }
    }
    if (a->help) return FAL_OK;
    if (argc - optind != 1)
        return fal_fail(err, FAL_ERR_USAGE, "falsify replay FILE.capsule", "replay: expected one capsule, found %d",
                        argc - optind);
    a->path = argv[optind];
    return FAL_OK;
}

static void put(FILE *f, const char *s)
{
    if (s) fal_text_print(f, s, strlen(s));
}

static const char *text_of(const json_t *origin, const char *key)
{
    const char *const s = json_string_value(json_object_get(origin, key));
    return s && *s ? s : NULL;
}

static void print_capsule(const char *path, const fal_capsule *c, FILE *f)
{
    static const char *const facts[] = { "case",   "site",    "tensor", "model",  "model_sha256",
                                         "prompt", "backend", "device", "driver", "revision" };
    const char *const file = text_of(json_object_get(c->origin, "candidate"), "file");
    size_t bytes = 0;
    for (int i = 0; i < c->n_arrays; i++) bytes += c->arrays[i].nbytes;
    put(f, path);
    fprintf(f, "\n  call       %s, %zu bytes of inputs:", c->op, bytes);
    for (int i = 0; i < c->n_shape; i++) {
        fputc(' ', f);
        put(f, c->shape[i].name);
        if (c->shape[i].text[0]) {
            fputc('=', f);
            put(f, c->shape[i].text);
        } else
            fprintf(f, "=%g", c->shape[i].number);
    }
    fputc('\n', f);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        const char *const s = text_of(c->origin, facts[i]);
        if (!s) continue;
        fprintf(f, "  %-10.10s ", strcmp(facts[i], "model_sha256") == 0 ? "  sha256" : facts[i]);
        put(f, s);
        fputc('\n', f);
    }
    if (file) {
        fputs("  file       ", f);
        put(f, file);
        fputs("\n    sha256   ", f);
        put(f, text_of(json_object_get(c->origin, "candidate"), "sha256"));
        fputc('\n', f);
    }
    static const char *const axes[] = { "tokens",  "slots", "experts", "rows",     "vocabulary",
                                        "columns", "heads", "groups",  "positions" };
    for (int a = 0; a < FAL_CAPSULE_N_AXES && a < (int)(sizeof axes / sizeof axes[0]); a++) {
        if (!c->kept[a] || FAL_CAPSULE_AXES[a] == 'p') continue;
        const int unit = FAL_CAPSULE_AXES[a] == 'c' ? fal_capsule_unit(c) : 1;
        fprintf(f, "  %-10s", axes[a]);
        for (int i = 0; i < c->n_kept[a] && i < 12; i++) {
            if (unit > 1)
                fprintf(f, " %lld..%lld", (long long)c->kept[a][i] * unit, ((long long)c->kept[a][i] + 1) * unit - 1);
            else
                fprintf(f, " %lld", (long long)c->kept[a][i]);
        }
        if (c->n_kept[a] > 12) fprintf(f, " ... (%d)", c->n_kept[a]);
        fputs(" of the original\n", f);
    }
}

/* Which file it is, beside the one that failed where that was a candidate, too. */
static void print_candidate(const fal_candidate_file *file, const json_t *origin, FILE *f)
{
    const json_t *const then = json_object_get(origin, "candidate");
    const char *const sha256 = text_of(then, "sha256"), *const name = text_of(then, "file");
    const bool same = sha256 && strcmp(sha256, file->sha256) == 0;
    fputs("\n  candidate  ", f);
    put(f, file->path);
    fprintf(f, ", sha256 %s", file->sha256);
    if (same) fputs(", the file that failed", f);
    if (file->declared.said) {
        char text[96];
        fal_arithmetic_text(&file->declared.a, text, sizeof text);
        fprintf(f, "\n  declares   %s", text);
    }
    if (then && !same) {
        fputs("\n             not the file that failed, which was ", f);
        put(f, name ? name : "?");
        fputs(", sha256 ", f);
        put(f, sha256 ? sha256 : "?");
    }
}

/* Expected and got of the failure, and got now, for the elements that are furthest off. */
static void print_values(const fal_capsule *c, const fal_observation *file, const fal_capsule_outputs *now,
                         size_t worst, FILE *f)
{
    char then_name[24], want_name[24], now_name[24];
    const char *const output = c->output[0] ? c->output : "y";
    snprintf(then_name, sizeof then_name, "got.%s", output);
    snprintf(want_name, sizeof want_name, "want.%s", output);
    snprintf(now_name, sizeof now_name, "out.%s", output);
    const fal_obs_tensor *const was = fal_observation_find(file, 0, then_name), *const expected = fal_observation_find(
                                                                                    file, 0, want_name);
    const fal_obs_tensor *const got = now->got ? fal_observation_find(now->got, 0, now_name) : NULL;
    const fal_obs_tensor *const want = now->want ? fal_observation_find(now->want, 0, now_name) : NULL;
    if (!was || !expected || !got || !want || was->n != got->n || expected->n != got->n || was->dtype != got->dtype ||
        expected->dtype != want->dtype) {
        fputs("    the file holds no outputs to compare with\n", f);
        return;
    }
    fprintf(f, "    %-10s %16s %16s %16s\n", "element", "expected", "got then", "got now");
    const size_t then =
        fal_furthest(fal_row_whole(was), fal_row_whole(expected)); /* where it failed is what people look for */
    const size_t from = then > SHOWN / 2 && got->n > SHOWN
                            ? (then - SHOWN / 2 + SHOWN > got->n ? got->n - SHOWN : then - SHOWN / 2)
                            : 0;
    for (size_t i = from; i < got->n && i < from + SHOWN; i++)
        fprintf(f, "    %-10zu %16.9g %16.9g %16.9g%s\n", i, fal_row_at(fal_row_whole(expected), i),
                fal_row_at(fal_row_whole(was), i), fal_row_at(fal_row_whole(got), i),
                i == then && i == worst ? "  worst then and now"
                : i == then             ? "  worst then"
                : i == worst            ? "  worst now"
                                        : "");
    if (got->n > SHOWN) fprintf(f, "    ... of %zu elements\n", got->n);
    if (!fal_same_bytes(fal_row_whole(expected), fal_row_whole(want)))
        fputs("    the reference does not give what it gave then: it was changed, or the file was\n", f);
}

/* Where a capsule is replayed. */
typedef struct {
    const char *backend, *variant;
    const fal_candidate_file *candidate; /* NULL for a backend of ours */
} target;

static json_t *attempt_json(const target *on, const json_t *origin, const fal_attempt *t, int status)
{
    json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:i, s:o, s:o}", "backend", on->backend, "variant",
                          on->variant, "device", fal_json_text(t->device), "driver", fal_json_text(t->driver), "verdict",
                          status == 1   ? "still fails"
                          : status == 0 ? "no longer fails"
                                        : "no answer",
                          "metric", t->metric, "value", fal_json_number(t->value), "reason", fal_json_text(t->reason),
                          "exit", status, "got", fal_json_number(t->got), "want", fal_json_number(t->want));
    if (!on->candidate) return j;
    const char *const then = text_of(json_object_get(origin, "candidate"), "sha256");
    json_object_set_new(j, "candidate",
                        json_pack("{s:o, s:s, s:b}", "file", fal_json_text(on->candidate->path), "sha256",
                                  on->candidate->sha256, "is_the_one_that_failed",
                                  then && strcmp(then, on->candidate->sha256) == 0));
    return j;
}

static int replay_on(const arguments *a, const target *on, const fal_capsule *c, const fal_observation *file,
                     const fal_cmd_env *env, json_t *all, fal_error *err)
{
    fal_bench bench = { .program = env->program,
                        .tmp = env->tmp,
                        .backend = on->backend,
                        .variant = on->variant,
                        .device = a->device,
                        .candidate = on->candidate ? on->candidate->path : NULL,
                        .timeout_s = a->timeout_s > 0 ? a->timeout_s : on->candidate ? 60 : 600,
                        .stop = env->stop };
    fal_attempt t;
    fal_capsule_outputs outputs = { 0 };
    fal_status st = fal_bench_open(&bench, err);
    if (st) return fal_exit_status(st);
    fal_capsule_try(&bench, c, &t, &outputs);
    const int status = t.observed                              ? (t.fails ? 1 : 0)
                       : env->stop && *env->stop               ? 130
                       : t.outcome.kind == FAL_OUTCOME_BLOCKED ? 77
                       : t.outcome.error.code == FAL_ERR_USAGE ? 2
                                                               : 5;
    if (all)
        json_array_append_new(all, attempt_json(on, c->origin, &t, status));
    else {
        if (on->candidate) print_candidate(on->candidate, c->origin, env->out);
        else fprintf(env->out, "\n  %s%s%s ", on->backend, *on->variant ? ":" : "", on->variant);
        if (!on->candidate) put(env->out, t.device);
        fprintf(env->out, "\n  %s: ",
                status == 1    ? "still fails"
                : status == 0  ? "no longer fails"
                : status == 77 ? "blocked"
                               : "no answer");
        put(env->out, t.reason);
        fputc('\n', env->out);
        if (t.observed && outputs.got) print_values(c, file, &outputs, t.element, env->out);
    }
    if (status)
        fal_fail(err, FAL_ERR_INTERNAL, t.outcome.error.hint, "%s: %s", on->backend,
                 status == 1 ? "the call still fails" : t.reason);
    fal_observation_close(outputs.got);
    fal_observation_close(outputs.want);
    fal_bench_close(&bench);
    return status;
}

/* Where it failed, when nothing else was asked for: a candidate is a file, and only its name was kept. */
static fal_status take_default(arguments *a, const json_t *origin, fal_error *err)
{
    const char *const from = text_of(origin, "backend"), *const file = text_of(json_object_get(origin, "candidate"), "file");
    if (a->n_backends > 0 || a->candidate.path) return FAL_OK;
    if (from && strcmp(from, fal_candidate_backend.name) == 0)
        return fal_fail(err, FAL_ERR_USAGE, "or another backend with --backend",
                        "replay: the call failed on a kernel of somebody else's; give it with --candidate%s%.100s",
                        file ? ": " : "", file ? file : "");
    if (!from || !fal_backend_find(from))
        return fal_fail(err, FAL_ERR_USAGE, "name one with --backend",
                        "replay: the capsule does not say where it failed");
    a->backends[a->n_backends++] = from;
    return FAL_OK;
}

int fal_cmd_replay(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments a;
    fal_capsule *c = NULL;
    fal_observation *file = NULL;
    fal_status st = parse(argc, argv, &a, err);
    if (st) return fal_exit_status(st);
    if (a.help) {
        fputs(help, env->out);
        return 0;
    }
    st = fal_capsule_open(a.path, &c, &file, err);
    if (st) return fal_exit_status(st);
    const char *const from = text_of(c->origin, "backend"), *const own = text_of(c->origin, "variant");
    json_t *all = a.json ? json_array() : NULL;
    int status = 0;
    st = take_default(&a, c->origin, err);
    if (st) status = fal_exit_status(st);
    else if (!a.json) print_capsule(a.path, c, env->out);
    for (int i = a.candidate.path ? -1 : 0; i < a.n_backends && status != 130 && status != 2; i++) {
        fal_error one = { 0 };
        const bool same = i >= 0 && from && own && strcmp(a.backends[i], from) == 0;
        const target on = { i < 0 ? fal_candidate_backend.name : a.backends[i],
                            i < 0       ? ""
                            : a.variant ? a.variant
                            : same      ? own
                                        : "",
                            i < 0 ? &a.candidate : NULL };
        const int s = replay_on(&a, &on, c, file, env, all, &one);
        /* a failure outranks a missing answer, and that what is blocked */
        if (s && (status == 0 || s == 130 || s == 1 || (s == 5 && status == 77))) {
            status = status == 1 && s != 130 ? 1 : s;
            *err = one;
        }
    }
    if (all) {
        json_t *j = json_pack("{s:s, s:s, s:s, s:O?, s:o}", "capsule", a.path, "op", c->op, "judge", c->judge, "origin",
                              c->origin, "replays", all);
        fal_error unprinted = { 0 }; /* what the replays said goes before it */
        if (fal_json_print(j, env->out, &unprinted) && !status) status = fal_exit_status(fal_fail(err, FAL_ERR_MEMORY, NULL, "%s", unprinted.message));
    }
    fal_observation_close(file);
    fal_capsule_free(c);
    return status;
}
