/* Opens a Qwen3-MoE model: container, configuration, tensors; and the check that precedes every forward call. */
#include "harness/model_bind.h"

#include "harness/digest.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

fal_status fal_model_refuse(const fal_gguf *g, fal_error *err, const char *hint, const char *fmt, ...)
{
    char text[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fal_fail_contract(err, FAL_ERR_INPUT, FAL_MODEL_CONTRACT, hint, "%s: %s", g->shown, text);
}

fal_status fal_model_refuse_as(const fal_error *cause, fal_error *err)
{
    return fal_fail_contract(err, cause->code, cause->code == FAL_ERR_INPUT ? FAL_MODEL_CONTRACT : "", cause->hint,
                             "%s", cause->message);
}

fal_status fal_model_bind(fal_gguf *file, fal_model **out, fal_error *err)
{
    fal_status status = FAL_OK;
    fal_model *m = calloc(1, sizeof *m);
    if (!m) {
        fal_gguf_close(file);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to open a model");
    }
    m->file = file;
    m->path = file->path;
    status = fal_model_read_config(file, &m->config, err);
    if (status != FAL_OK) goto out;
    m->layers = calloc((size_t)m->config.n_layer, sizeof *m->layers);
    if (!m->layers) {
        status = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: no memory for %d layers", file->shown, m->config.n_layer);
        goto out;
    }
    status = fal_model_bind_tensors(m, err);
    if (status != FAL_OK) goto out;
    *out = m;
    m = NULL;
out:
    fal_model_close(m);
    return status;
}

fal_status fal_model_open(const char *path, fal_model **out, fal_error *err)
{
    fal_gguf *file = NULL;
    fal_error cause = { 0 };
    if (fal_gguf_open(path, &file, &cause) != FAL_OK) {
        struct stat st;
        /* A path without a file behind it says nothing about a model, so no falsifier is upheld by refusing it. */
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) return fal_model_refuse_as(&cause, err);
        return fal_fail(err, cause.code, cause.hint, "%s", cause.message);
    }
    return fal_model_bind(file, out, err);
}

void fal_model_close(fal_model *m)
{
    if (!m) return;
    free(m->tensors);
    free(m->layers);
    fal_gguf_close(m->file);
    free(m);
}

fal_status fal_model_digest(fal_model *m, fal_error *err)
{
    return fal_sha256(m->file->base, m->file->size, m->sha256, err);
}

fal_status fal_request_check(const fal_config *c, const int32_t *tokens, int n_tokens, int n_past, int n_ctx,
                             fal_error *err)
{
    static const char contract[] = "qwen3-moe-forward-v1";
    if (!tokens || n_tokens <= 0)
        return fal_fail_contract(err, FAL_ERR_INPUT, contract, "give at least one token",
                                 "request: n_tokens: found %d%s, expected at least 1", n_tokens,
                                 tokens ? "" : " at address NULL");
    if (n_past < 0 || n_ctx <= 0)
        return fal_fail_contract(err, FAL_ERR_INPUT, contract, NULL,
                                 "request: n_past and n_ctx: found %d and %d, expected n_past >= 0 and n_ctx > 0",
                                 n_past, n_ctx);
    if (n_past > n_ctx || n_tokens > n_ctx - n_past)
        return fal_fail_contract(
            err, FAL_ERR_INPUT, contract, "open the session with a longer context, or reset it",
            "request: n_tokens: found %d after %d earlier ones, expected at most n_ctx %d together", n_tokens, n_past,
            n_ctx);
    for (int i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= c->n_vocab)
            return fal_fail_contract(err, FAL_ERR_INPUT, contract, "the tokens are of another vocabulary",
                                     "request: tokens[%d]: found %d, expected 0 to %d (n_vocab - 1)", i, tokens[i],
                                     c->n_vocab - 1);
    return FAL_OK;
}
