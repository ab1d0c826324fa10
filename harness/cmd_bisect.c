/* falsify bisect: which op diverges first, for the prompts of the contracts or one of the command line. */
#include "harness/bisect.h"
#include "harness/evidence.h"
#include "harness/prepare.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PROMPTS = 64, MOST_PLACES = 32 };

/* What one bisection is about. */
typedef struct {
    const char *backend, *variant;
    const int32_t *tokens[MOST_PROMPTS];
    int n_tokens[MOST_PROMPTS];
    const char *names[MOST_PROMPTS];
    int n;
    const char *blocked, *hint;
    bool required, has_device, decode;
    const char *mirror; /* variant of the reference */
} target;

static bool is_parity(const fal_check *c)
{
    return c->against == FAL_AGAINST_REFERENCE && !c->sequence &&
           (c->observe == FAL_OBSERVE_TEACHER || c->observe == FAL_OBSERVE_FORWARD || c->observe == FAL_OBSERVE_PINNED);
}

static fal_status parse_tokens(const char *text, int32_t **out, int *n, fal_error *err)
{
    size_t most = 1;
    for (const char *p = text; *p; p++) most += *p == ',';
    int32_t *ids = calloc(most, sizeof *ids);
    if (!ids) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for tokens");
    *n = 0;
    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        const long id = strtol(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX || (*end && *end != ',')) {
            free(ids);
            return fal_fail(err, FAL_ERR_USAGE, "give ids like 1420,364,258", "--tokens: '%.40s' is not a token id", p);
        }
        ids[(*n)++] = (int32_t)id;
        if (!*end) break;
        p = end;
    }
    *out = ids;
    return FAL_OK;
}

/* The selected prompts of each backend and variant: without a filter those of the teacher-forced checks. */
static int find_targets(const fal_plan *plan, const fal_options *o, target *targets, int cap)
{
    int n = 0;
    const bool filtered = o->globs.n || o->only.n;
    for (int i = 0; i < plan->n_cases; i++) {
        const fal_case *const k = &plan->cases[i];
        if (!is_parity(k->check) || (!filtered && k->check->observe != FAL_OBSERVE_TEACHER)) continue;
        int t = 0;
        while (t < n && (strcmp(targets[t].backend, k->backend) != 0 || strcmp(targets[t].variant, k->variant) != 0 ||
                         targets[t].decode != k->check->decode))
            t++;
        if (t == n) {
            if (n == cap) continue;
            targets[n++] = (target){ .backend = k->backend, .variant = k->variant,
                                     .decode = k->check->decode,
                                     .mirror = fal_params_text(&k->check->with, "mirror", NULL) };
        }
        targets[t].required |= k->required;
        targets[t].has_device |= k->device != NULL;
        if (k->blocked) {
            targets[t].blocked = k->blocked;
            targets[t].hint = k->hint;
            continue;
        }
        const fal_spec *const s = &plan->specs[k->got].spec;
        bool known = targets[t].n == MOST_PROMPTS || s->n_requests < 1;
        for (int r = 0; r < targets[t].n && !known; r++) known = strcmp(targets[t].names[r], k->what) == 0;
        if (known) continue;
        targets[t].tokens[targets[t].n] = s->tokens[0];
        targets[t].n_tokens[targets[t].n] = s->n_tokens[0];
        targets[t].names[targets[t].n++] = k->what;
    }
    return n;
}

static fal_status bisect_one(const fal_prepared *p, const target *t, const fal_cmd_env *env, json_t *all, int *status,
                             char *reason, size_t size, fal_error *err)
{
    const fal_options *const o = &p->options;
    fal_bisect *b = NULL;
    fal_text folder = { 0 };
    const fal_bisect_in in = { .program = env->program,
                               .tmp = env->tmp,
                               .model = p->paths.model,
                               .backend = t->backend,
                               .variant = t->variant,
                               .mirror = t->mirror,
                               .decode = t->decode,
                               .device = o->device,
                               .tokens = t->tokens,
                               .n_tokens = t->n_tokens,
                               .names = t->names,
                               .n_requests = t->n,
                               .contracts = p->contracts,
                               .timeout_s = o->timeout_s,
                               .stop = env->stop,
                               .progress = env->err_is_terminal ? env->err : NULL };
    fal_status st = fal_bisect_make(&in, &b, err);
    if (st) return st;
    if (o->capsules)
        fal_text_add(&folder, o->capsules);
    else
        fal_text_addf(&folder, "%s/capsules", p->paths.evidence);
    st = fal_bisect_find(b, o->no_bisect ? NULL : fal_text_str(&folder), NULL,
                         o->verbose || o->json ? INT32_MAX : MOST_PLACES, 60, err);
    fal_text_free(&folder);
    if (!st) {
        if (all)
            json_array_append_new(all, fal_bisect_json(b));
        else
            fal_bisect_report(b, o->verbose, fal_wants_colour(o, env, env->out_is_terminal), env->out);
        *status = fal_bisect_exit(b, reason, size);
    }
    fal_bisect_free(b);
    return st;
}

/* The gravest of several: interrupted, diverged, incomplete, blocked. */
static int graver(int a, int b)
{
    static const int order[] = { 0, 77, 5, 1, 130 };
    int x = 0, y = 0;
    for (int i = 0; i < 5; i++) {
        if (order[i] == a) x = i;
        if (order[i] == b) y = i;
    }
    return y > x ? b : a;
}

static fal_status bisect_all(const fal_prepared *p, const fal_cmd_env *env, int *status, fal_error *err)
{
    enum { MOST_TARGETS = 8 };
    const fal_options *const o = &p->options;
    target *const targets = calloc(MOST_TARGETS, sizeof *targets);
    int32_t *tokens = NULL;
    int n_tokens = 0, n_run = 0;
    json_t *all = o->json ? json_array() : NULL;
    char reason[512] = "", hint[320] = "";
    fal_status st = targets ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to bisect");
    if (!st && o->tokens) st = parse_tokens(o->tokens, &tokens, &n_tokens, err);
    const int n = st ? 0 : find_targets(p->plan, o, targets, MOST_TARGETS);
    if (!st && n == 0)
        st = fal_fail(err, FAL_ERR_NOTHING,
                      "select cases of a parity with the reference, such as -k '*PARITY-001/op_error*'",
                      "nothing to bisect: no forward pass against the reference is selected");
    for (int i = 0; i < n && !st; i++) {
        target *const t = &targets[i];
        /* a prompt of one's own needs a device and a model, not the prompts of the contracts */
        if (tokens && (t->n > 0 || t->has_device)) {
            t->n = 1;
            t->tokens[0] = tokens;
            t->n_tokens[0] = n_tokens;
            t->names[0] = "--tokens";
        }
        char why[512] = "";
        int one = 0;
        if (t->n == 0) {
            one = t->required ? 5 : 77;
            snprintf(why, sizeof why, "%s is blocked: %s", t->backend, t->blocked ? t->blocked : "no prompt");
            if (!o->json) {
                fprintf(env->out, "\nbisect %s  blocked: ", t->backend);
                fal_text_print(env->out, t->blocked ? t->blocked : "no prompt",
                               strlen(t->blocked ? t->blocked : "no prompt"));
                fputc('\n', env->out);
            }
            if (n_run > 0 && !t->required) one = 0; /* something else was there to bisect */
        } else {
            st = bisect_one(p, t, env, all, &one, why, sizeof why, err);
            n_run++;
            if (*status == 77) *status = 0;
        }
        if (graver(*status, one) != *status) {
            *status = one;
            snprintf(reason, sizeof reason, "%s", why);
            snprintf(hint, sizeof hint, "%s", t->n == 0 && t->hint ? t->hint : "");
        }
    }
    if (!st && all) st = fal_json_print(json_incref(all), env->out, err);
    if (!st && *status) {
        snprintf(err->message, sizeof err->message, "%s", reason);
        snprintf(err->hint, sizeof err->hint, "%s", hint);
    }
    json_decref(all);
    free(tokens);
    free(targets);
    return st;
}

int fal_cmd_bisect(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_prepared p = { 0 };
    int status = 0;
    fal_status st = fal_prepare(argc, argv, FAL_FOR_BISECT, env, &p, err);
    if (st) return fal_exit_status(st);
    if (p.options.help)
        fal_options_help(FAL_FOR_BISECT, env->out);
    else
        st = bisect_all(&p, env, &status, err);
    fal_prepared_free(&p);
    return st ? fal_exit_status(st) : status;
}
