/* `falsify synth`: writes a synthetic Qwen3-MoE model of any shape. */
#include "harness/cmd.h"
#include "harness/synth.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the progress callback needs. */
typedef struct {
    const fal_cmd_env *env;
    int shown; /* percent */
} progress;

static int show_progress(void *user, uint64_t done, uint64_t total)
{
    progress *p = user;
    const int percent = (int)(done * 100 / total);
    if (p->env->err_is_terminal && (percent != p->shown || done == total)) {
        p->shown = percent;
        const int bars = percent * 40 / 100;
        fprintf(p->env->err, "\r  [%.*s%.*s] %3d %%  %.2f of %.2f GB%s", bars, "########################################",
                40 - bars, "........................................", percent, (double)done / 1e9, (double)total / 1e9,
                done == total ? "\n" : "");
        fflush(p->env->err);
    }
    return p->env->stop && *p->env->stop;
}

static void usage(FILE *f)
{
    fputs("usage: falsify synth [--shape NAME] [dimensions] [--seed N] --out FILE.gguf\n"
          "  --shape NAME       ", f);
    for (const char *const *s = fal_synth_shapes(); *s; s++) fprintf(f, "%s%s", s == fal_synth_shapes() ? "" : ", ", *s);
    fputs("\n"
          "  --n-layer N --n-embd N --n-head N --n-head-kv N --head-dim N --n-expert N --n-expert-used N\n"
          "  --n-ff N --n-vocab N --n-ctx N --rope-freq-base X    replace a dimension of the shape\n"
          "  --seed N           same seed and shape, same bytes (default 1)\n"
          "  --threads N        default: every core\n"
          "  --no-sync          do not wait for the disk\n"
          "  --out FILE         must not exist\n", f);
}

int fal_cmd_synth(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_synth_options o = { .seed = 1, .sync = true };
    fal_synth_shape("qwen3-coder-30b-a3b", &o.config);
    int *const dims[] = { &o.config.n_layer, &o.config.n_embd, &o.config.n_head, &o.config.n_head_kv, &o.config.head_dim,
                          &o.config.n_expert, &o.config.n_expert_used, &o.config.n_ff, &o.config.n_vocab,
                          &o.config.n_ctx_train, &o.n_threads };
    enum { DIM = 256, SHAPE = 300, SEED, OUT, NO_SYNC, FREQ };
    static const struct option options[] = {
        { "n-layer", 1, NULL, DIM },      { "n-embd", 1, NULL, DIM + 1 },        { "n-head", 1, NULL, DIM + 2 },
        { "n-head-kv", 1, NULL, DIM + 3 }, { "head-dim", 1, NULL, DIM + 4 },     { "n-expert", 1, NULL, DIM + 5 },
        { "n-expert-used", 1, NULL, DIM + 6 }, { "n-ff", 1, NULL, DIM + 7 },     { "n-vocab", 1, NULL, DIM + 8 },
        { "n-ctx", 1, NULL, DIM + 9 },    { "threads", 1, NULL, DIM + 10 },      { "shape", 1, NULL, SHAPE },
        { "seed", 1, NULL, SEED },        { "out", 1, NULL, OUT },               { "no-sync", 0, NULL, NO_SYNC },
        { "rope-freq-base", 1, NULL, FREQ }, { "help", 0, NULL, 'h' },           { NULL, 0, NULL, 0 },
    };
    /* the shape first, so that dimensions replace it wherever they stand */
    for (int i = 1; i < argc; i++) {
        const char *name = strncmp(argv[i], "--shape=", 8) == 0 ? argv[i] + 8
                           : strcmp(argv[i], "--shape") == 0 && i + 1 < argc ? argv[i + 1] : NULL;
        if (name && !fal_synth_shape(name, &o.config)) {
            return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, "see falsify synth --help", "unknown shape '%s'", name));
        }
    }
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        char *end = NULL;
        errno = 0;
        if (c >= DIM && c <= DIM + 10) {
            const long v = strtol(optarg, &end, 10);
            if (errno || end == optarg || *end || v <= 0 || v > 1 << 24) {
                return fal_exit_status(
                    fal_fail(err, FAL_ERR_USAGE, NULL, "'%s' is no number from 1 to %d", optarg, 1 << 24));
            }
            *dims[c - DIM] = (int)v;
        } else if (c == SEED || c == FREQ) {
            if (c == SEED) o.seed = strtoull(optarg, &end, 10);
            else o.config.rope_freq_base = strtof(optarg, &end);
            if (errno || end == optarg || *end || *optarg == '-') {
                return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, NULL, "'%s' is no positive number", optarg));
            }
        } else if (c == OUT) {
            o.path = optarg;
        } else if (c == NO_SYNC) {
            o.sync = false;
        } else if (c == 'h') {
            usage(env->out);
            return 0;
        } else if (c != SHAPE) {
            return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, "see falsify synth --help", "unknown option"));
        }
    }
    if (!o.path || optind < argc)
        return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, "see falsify synth --help", "%s",
                                        o.path ? "unexpected argument" : "--out is missing"));
    progress shown = { .env = env, .shown = -1 };
    o.progress = show_progress;
    o.user = &shown;
    fal_synth_result r;
    const fal_status st = fal_synth_write(&o, &r, err);
    if (st != FAL_OK) return fal_exit_status(st);
    fprintf(env->out, "%s: %d tensors, %llu tensor bytes, %llu file bytes, seed %llu\n"
            "written in %.2f s (%.2f GB/s), synchronised in %.2f s\n",
            o.path, r.n_tensors, (unsigned long long)r.tensor_bytes, (unsigned long long)r.file_bytes,
            (unsigned long long)o.seed, r.seconds, (double)r.file_bytes / 1e9 / (r.seconds > 0 ? r.seconds : 1e-9),
            r.sync_seconds);
    return 0;
}
