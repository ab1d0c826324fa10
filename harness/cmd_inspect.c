/* falsify inspect MODEL: what is in a GGUF file, and whether it is a model that the contracts are about. */
#include "harness/cmd.h"
#include "harness/model.h"
#include "harness/text.h"

#include <inttypes.h>
#include <string.h>

static void print_config(const fal_model *m, FILE *f)
{
    const fal_config *c = &m->config;
    const struct {
        const char *name;
        int value;
    } rows[] = {
        { "n_layer", c->n_layer },
        { "n_embd", c->n_embd },
        { "n_head", c->n_head },
        { "n_head_kv", c->n_head_kv },
        { "head_dim", c->head_dim },
        { "n_expert", c->n_expert },
        { "n_expert_used", c->n_expert_used },
        { "n_ff", c->n_ff },
        { "n_vocab", c->n_vocab },
        { "n_ctx_train", c->n_ctx_train },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) fprintf(f, "  %-14s  %d\n", rows[i].name, rows[i].value);
    fprintf(f, "  %-14s  %.9g\n", "rope_freq_base", (double)c->rope_freq_base);
    fprintf(f, "  %-14s  %.9g\n", "rms_eps", (double)c->rms_eps);
    fprintf(f, "  %-14s  %s\n", "output", m->output == m->token_embd ? "tied to token_embd" : "own tensor");
    fprintf(f, "  %-14s  %d, %" PRIu64 " bytes\n", "tensors", m->n_tensors, m->tensor_bytes);
    fprintf(f, "  %-14s  %s\n", "sha256", m->sha256);
}

static void print_text_line(FILE *f, const char *before, const char *text)
{
    fputs(before, f);
    fal_text_print(f, text, strlen(text));
    fputc('\n', f);
}

int fal_cmd_inspect(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    static const char usage[] = "falsify inspect MODEL.gguf";
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fprintf(env->out,
                "usage: %s\n\nPrints metadata and tensors of any GGUF file, then the configuration of the model when "
                "it is a\n"
                "qwen3moe model that can be put on trial, or why it is not.\n\n"
                "exit status: 0 the file is sound (also when it is another kind of model), 2 usage, 3 the file is "
                "refused\n",
                usage);
        return fflush(env->out) == 0
                   ? 0
                   : fal_exit_status(fal_fail(err, FAL_ERR_OUTPUT, NULL, "standard output cannot be written"));
    }
    const int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
    if (first == 1 && argc > 1 && argv[1][0] == '-')
        return fal_exit_status(
            fal_fail(err, FAL_ERR_USAGE, usage, "inspect: found option '%.100s', expected a file", argv[1]));
    if (argc != first + 1)
        return fal_exit_status(
            fal_fail(err, FAL_ERR_USAGE, usage, "inspect: found %d arguments, expected one file", argc - first));

    fal_gguf *file = NULL;
    fal_model *model = NULL;
    fal_error why_not = { 0 };
    fal_status status = fal_gguf_open(argv[first], &file, err);
    if (status != FAL_OK) return fal_exit_status(status);
    fal_gguf_print(file, env->out);

    status = fal_model_bind(file, &model, &why_not);
    if (status == FAL_OK) status = fal_model_digest(model, &why_not);
    if (status == FAL_OK) {
        fputs("\na qwen3moe model that can be put on trial\n", env->out);
        print_config(model, env->out);
    } else if (status == FAL_ERR_INPUT) { /* the file is sound: this is an answer, not a failure */
        print_text_line(env->out, "\nno qwen3moe model that can be put on trial: ", why_not.message);
        if (why_not.hint[0]) print_text_line(env->out, "hint: ", why_not.hint);
        if (why_not.contract[0]) print_text_line(env->out, "upholds: ", why_not.contract);
        status = FAL_OK;
    } else {
        fal_fail(err, status, why_not.hint, "%s", why_not.message);
    }
    if (status == FAL_OK && (fflush(env->out) != 0 || ferror(env->out)))
        status =
            fal_fail(err, FAL_ERR_OUTPUT, "is the disk full, or the reader gone?", "standard output cannot be written");
    fal_model_close(model);
    return status == FAL_OK ? 0 : fal_exit_status(status);
}
