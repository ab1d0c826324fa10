/* Tokens of prompts: from the contract, or from the oracle file that lies beside the model. */
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <string.h>
#include <sys/stat.h>

/* X.gguf -> X.oracle.safetensors */
static const char *oracle_path(fal_plan_parts *p, const char *model)
{
    const size_t n = strlen(model);
    const int stem = (int)(n > 5 && strcmp(model + n - 5, ".gguf") == 0 ? n - 5 : n);
    return fal_plan_text(p, "%.*s.oracle.safetensors", stem, model);
}

fal_status fal_plan_open_oracle(fal_plan_parts *p, fal_error *err)
{
    struct stat s;
    p->plan.model = p->in->model;
    p->plan.oracle_path = oracle_path(p, p->in->model);
    if (!p->plan.oracle_path) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    if (stat(p->in->model, &s) != 0) {
        if (p->in->model_given)
            return fal_fail(err, FAL_ERR_INPUT, "check --model", "%s: there is no such file", p->in->model);
        p->model_missing = fal_plan_text(p, "the model %s is not there", p->in->model);
        return p->model_missing ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    }
    if (!S_ISREG(s.st_mode)) return fal_fail(err, FAL_ERR_INPUT, "check --model", "%s: not a file", p->in->model);
    /* only its header is read here; a model that nobody could run is said now, not after an hour */
    fal_model *model = NULL;
    fal_status st = fal_model_open(p->in->model, &model, err);
    p->tensor_bytes = st == FAL_OK ? model->tensor_bytes : 0;
    p->full_size = st == FAL_OK && model->tensor_bytes >= FAL_FULL_SIZE_BYTES;
    fal_model_close(model);
    if (st || stat(p->plan.oracle_path, &s) != 0) return st;
    st = fal_observation_open(p->plan.oracle_path, &p->oracle, err);
    p->plan.oracle = p->oracle;
    return st;
}

/* Tokens of the oracle's prompt pJ, or NULL. */
static const fal_obs_tensor *oracle_tokens(const fal_observation *oracle, int j)
{
    char name[32];
    snprintf(name, sizeof name, "p%d.tokens", j);
    const fal_obs_tensor *t = fal_observation_find(oracle, 0, name);
    return t && t->dtype == FAL_DTYPE_I32 && t->n > 0 && t->n < 1 << 24 ? t : NULL;
}

static int oracle_prompt_with(const fal_observation *oracle, const int32_t *tokens, int n)
{
    for (int j = 0;; j++) {
        const fal_obs_tensor *t = oracle_tokens(oracle, j);
        if (!t) return -1;
        if (t->n == (size_t)n && memcmp(t->data, tokens, t->nbytes) == 0) return j;
    }
}

/* J of "pJ", or -1. */
static int prompt_number(const char *s)
{
    const size_t digits = strspn(s + (*s == 'p'), "0123456789");
    if (*s != 'p' || digits < 1 || digits > 6 || s[1 + digits]) return -1;
    int j = 0;
    for (const char *c = s + 1; *c; c++) j = j * 10 + (*c - '0');
    return j;
}

fal_status fal_plan_find_tokens(fal_plan_parts *p, const fal_contract *c, const fal_check *check, const char *name,
                                fal_tokens *out, fal_error *err)
{
    const fal_prompt *prompt = NULL;
    for (int i = 0; i < c->n_prompts && !prompt; i++)
        if (strcmp(c->prompts[i].name, name) == 0) prompt = &c->prompts[i];
    if (!prompt)
        return fal_fail(err, FAL_ERR_INPUT,
                        "add it to prompts:", "%s:%d: check '%s' names prompt '%s', which the contract does not have",
                        c->path, check->place.line, check->name, name);
    *out =
        (fal_tokens){ .prompt = prompt, .tokens = prompt->tokens, .n_tokens = prompt->n_tokens, .oracle_prompt = -1 };
    if (!prompt->from_oracle) {
        if (p->oracle) out->oracle_prompt = oracle_prompt_with(p->oracle, out->tokens, out->n_tokens);
        return FAL_OK;
    }
    const int j = prompt_number(prompt->from_oracle);
    if (j < 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s:%d: prompt '%s': from_oracle '%s', expected p0, p1, ...", c->path,
                        prompt->place.line, prompt->name, prompt->from_oracle);
    out->tokens = NULL;
    out->n_tokens = 0;
    const fal_obs_tensor *t = p->oracle ? oracle_tokens(p->oracle, j) : NULL;
    if (t) {
        out->tokens = t->data;
        out->n_tokens = (int)t->n;
        out->oracle_prompt = j;
    } else if (p->model_missing) {
        out->missing = p->model_missing;
        out->hint = "name one with --model";
    } else {
        out->missing = p->oracle ? fal_plan_text(p, "%s has no prompt %s", p->plan.oracle_path, prompt->from_oracle)
                                 : fal_plan_text(p, "the model has no oracle: %s is not there", p->plan.oracle_path);
        out->hint = "make one with falsifiers/oracle/make_oracle.py, or take the shipped test model";
        if (!out->missing) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    }
    return FAL_OK;
}
