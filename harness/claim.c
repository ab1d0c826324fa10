/* Claims by digest: what a falsifier demands, as canonical text, so that evidence can say which claim it is about. */
#include "harness/claim.h"

#include "harness/digest.h"
#include "harness/text.h"

#include <inttypes.h>
#include <string.h>

static const char *const observe_names[] = {
    [FAL_OBSERVE_FORWARD] = "forward",       [FAL_OBSERVE_TEACHER] = "teacher",
    [FAL_OBSERVE_PINNED] = "pinned",         [FAL_OBSERVE_OP] = "op",
    [FAL_OBSERVE_PRELOAD] = "preload",       [FAL_OBSERVE_REFUSAL] = "refusal",
    [FAL_OBSERVE_LAUNCHES] = "launches",     [FAL_OBSERVE_SANITIZE] = "sanitize",
    [FAL_OBSERVE_THROUGHPUT] = "throughput", [FAL_OBSERVE_DEVICE_CODE] = "device_code"
};
static const char *const against_names[] = { [FAL_AGAINST_NONE] = "none",
                                             [FAL_AGAINST_REFERENCE] = "reference",
                                             [FAL_AGAINST_ORACLE] = "oracle",
                                             [FAL_AGAINST_SELF] = "self" };

static fal_status digest_text(fal_text *t, char hex[65], fal_error *err)
{
    const fal_status st = t->failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a digest")
                                    : fal_sha256(fal_text_str(t), t->len, hex, err);
    fal_text_free(t);
    return st;
}

/* One line: a value ends where its length says, so that no text can pass for two lines. */
static void add(fal_text *t, const char *key, const char *value)
{
    if (value) fal_text_addf(t, "%s %zu:%s\n", key, strlen(value), value);
}

/* Words with their white space folded: how a paragraph is wrapped is no change of it. */
static void add_words(fal_text *t, const char *key, const char *value)
{
    fal_text folded = { 0 };
    for (const char *s = value ? value : ""; *s;) {
        const size_t gap = strspn(s, " \t\r\n"), word = strcspn(s + gap, " \t\r\n");
        if (word > 0 && folded.len > 0) fal_text_add(&folded, " ");
        fal_text_add_n(&folded, s + gap, word);
        s += gap + word;
    }
    if (folded.failed) t->failed = true;
    if (value) add(t, key, fal_text_str(&folded));
    fal_text_free(&folded);
}

static void add_names(fal_text *t, const char *key, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) add(t, key, names[i]);
}

static void add_flag(fal_text *t, const char *key, bool value)
{
    if (value) add(t, key, "true");
}

static void add_limit(fal_text *t, const char *key, const fal_limit *l)
{
    static const char *const kinds[] = {
        [FAL_LIMIT_MAX] = "max", [FAL_LIMIT_MIN] = "min", [FAL_LIMIT_EQUAL] = "equal"
    };
    fal_text_addf(t, "%s %s %.17g", key, kinds[l->kind], l->value);
    if (l->has_warn) fal_text_addf(t, " warn %.17g", l->warn);
    fal_text_add(t, "\n");
}

static void add_params(fal_text *t, const char *key, const fal_params *p)
{
    for (int i = 0; i < p->n_params; i++) {
        fal_text_addf(t, "%s.%d ", key, i);
        if (p->params[i].text)
            add(t, p->params[i].name, p->params[i].text);
        else
            fal_text_addf(t, "%s %.17g\n", p->params[i].name, p->params[i].number);
    }
}

/* A prompt is its tokens, not its name. */
static void add_prompts(fal_text *t, const char *key, const fal_contract *c, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        const fal_prompt *p = NULL;
        for (int k = 0; k < c->n_prompts && !p; k++)
            if (c->prompts[k].name && strcmp(c->prompts[k].name, names[i]) == 0) p = &c->prompts[k];
        add(t, key, names[i]);
        if (p && p->from_oracle) add(t, "from_oracle", p->from_oracle);
        for (int k = 0; p && p->tokens && k < p->n_tokens; k++)
            fal_text_addf(t, "%s%" PRId32 "%s", k ? " " : "tokens ", p->tokens[k], k + 1 == p->n_tokens ? "\n" : "");
    }
}

const char *const fal_claim_keys[] = { "name",     "observe", "judge",
                                       "against",  "limit",   "limit_full_size",
                                       "backends", "prompts", "prompts_full_size",
                                       "sequence", "again",   "decode",
                                       "floor",    "heavy",   "n_greedy",
                                       "taps",     "op",      "shapes",
                                       "fills",    "seeds",   "then",
                                       "with",     "spoil",   NULL };
const char *const fal_claim_prose_keys[] = { "basis", NULL };

fal_status fal_claim_check_digest(const fal_contract *c, const fal_check *check, char hex[65], fal_error *err)
{
    fal_text t = { 0 };
    add(&t, "name", check->name);
    add(&t, "observe", observe_names[check->observe]);
    add(&t, "judge", check->judge);
    add(&t, "against", against_names[check->against]);
    add_limit(&t, "limit", &check->limit);
    if (check->has_limit_full_size) add_limit(&t, "limit_full_size", &check->limit_full_size);
    add_names(&t, "backend", check->backends, check->n_backends);
    add_prompts(&t, "prompt", c, check->prompts, check->n_prompts);
    add_prompts(&t, "prompt_full_size", c, check->prompts_full_size, check->n_prompts_full_size);
    add_flag(&t, "sequence", check->sequence);
    add_flag(&t, "again", check->again);
    add_flag(&t, "decode", check->decode);
    add_flag(&t, "heavy", check->heavy);
    if (check->n_greedy) fal_text_addf(&t, "n_greedy %d\n", check->n_greedy);
    if (check->floor_prompts) fal_text_addf(&t, "floor %d %d\n", check->floor_prompts, check->floor_positions);
    add_names(&t, "tap", check->taps, check->n_taps);
    add(&t, "op", check->op);
    for (int i = 0; i < check->n_shapes; i++) {
        fal_text_addf(&t, "shape %d\n", check->shapes[i].n_params);
        add_params(&t, "shape", &check->shapes[i]);
    }
    add_names(&t, "fill", check->fills, check->n_fills);
    for (int i = 0; i < check->n_seeds; i++) fal_text_addf(&t, "seed %" PRIu64 "\n", check->seeds[i]);
    add_params(&t, "then", &check->then);
    add_params(&t, "with", &check->with);
    add_names(&t, "spoil", check->spoil, check->n_spoil);
    return digest_text(&t, hex, err);
}

fal_status fal_claim_obligation_digest(const fal_obligation *o, char hex[65], fal_error *err)
{
    fal_text t = { 0 };
    add(&t, "obligation", o->id);
    add(&t, "type", o->type);
    add_words(&t, "property", o->property);
    add_words(&t, "formal", o->formal);
    return digest_text(&t, hex, err);
}

fal_status fal_claim_falsifier_digest(const fal_falsifier *f, char hex[65], fal_error *err)
{
    fal_text t = { 0 };
    add(&t, "falsifier", f->id);
    add_words(&t, "rule", f->rule);
    add_words(&t, "prediction", f->prediction);
    add_names(&t, "obligation", f->obligations, f->n_obligations);
    return digest_text(&t, hex, err);
}

fal_status fal_claim_stage_digest(const fal_stage *s, char hex[65], fal_error *err)
{
    fal_text t = { 0 };
    add(&t, "stage", s->id);
    add_words(&t, "title", s->title);
    add_names(&t, "backend", s->backends, s->n_backends);
    add_names(&t, "obligation", s->obligations, s->n_obligations);
    return digest_text(&t, hex, err);
}

const fal_obligation *fal_claim_obligation(const fal_contract_set *set, const char *id)
{
    for (int i = 0; set && i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_obligations; k++)
            if (strcmp(set->contracts[i]->obligations[k].id, id) == 0) return &set->contracts[i]->obligations[k];
    return NULL;
}

json_t *fal_claim_json(const fal_contract_set *set, const fal_contract *c, const fal_falsifier *f, fal_error *err)
{
    json_t *checks = json_object(), *obligations = json_object();
    char hex[65];
    fal_text all = { 0 };
    fal_status st = FAL_OK;
    add(&all, "falsifier", f->id);
    for (int i = 0; !st && i < f->n_checks; i++) {
        st = fal_claim_check_digest(c, &f->checks[i], hex, err);
        if (st) break;
        fal_text_addf(&all, "check %s\n", hex);
        json_object_set_new(checks, f->checks[i].name, json_string(hex));
    }
    for (int i = 0; !st && i < f->n_obligations; i++) {
        const fal_obligation *o = fal_claim_obligation(set, f->obligations[i]);
        if (o) st = fal_claim_obligation_digest(o, hex, err);
        if (st) break;
        fal_text_addf(&all, "obligation %s %s\n", f->obligations[i], o ? hex : "none");
        json_object_set_new(obligations, f->obligations[i], o ? json_string(hex) : json_null());
    }
    if (!st)
        st = digest_text(&all, hex, err);
    else
        fal_text_free(&all);
    json_t *j = st ? NULL : json_pack("{s:s, s:O, s:O}", "sha256", hex, "checks", checks, "obligations", obligations);
    if (!st && !j) fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a claim");
    json_decref(checks);
    json_decref(obligations);
    return j;
}
