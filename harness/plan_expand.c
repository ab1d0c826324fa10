/* Contracts expanded into cases, in the order of contracts, falsifiers, checks, backends, variants, prompts and
   shapes. */
#include "harness/fixture.h"
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <string.h>

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
}

/* One check on its way into cases. */
typedef struct {
    fal_plan_parts *p;
    const fal_contract *contract;
    const fal_falsifier *falsifier;
    const fal_check *check;
    const fal_tokens *tokens; /* [check->n_prompts] */
    int shortest;             /* prompt with the fewest tokens */
    fal_error *err;
} expansion;

static const char *gigabytes(fal_plan_parts *p, uint64_t bytes)
{
    return bytes < 1000000000 ? fal_plan_text(p, "%.1f MB", 1e-6 * (double)bytes)
                              : fal_plan_text(p, "%.1f GB", 1e-9 * (double)bytes);
}

/* A claim that names a card or a size of model says nothing about others: such a case cannot be required of them; nor
   can one that nobody asked to wait for. */
static void excuse(fal_plan_parts *p, const fal_target *t, fal_case *k)
{
    const fal_params *with = &k->check->with;
    const char *card = fal_params_text(with, "device_name", NULL);
    if (fal_params_number(with, "full_size", 0) > 0 && p->tensor_bytes > 0 && !p->full_size) {
        k->blocked = fal_plan_text(p, "needs a full-size model (>= %s of tensors); this one has %s",
                                   gigabytes(p, FAL_FULL_SIZE_BYTES), gigabytes(p, p->tensor_bytes));
        k->hint = "name one with --model; 'falsify synth' writes one";
    } else if (card && t->device && !strstr(t->device->name, card)) {
        k->blocked = fal_plan_text(p, "the claim names %s; this is %s", card, t->device->name);
        k->hint = "run it where that card is";
    } else if (k->check->observe == FAL_OBSERVE_SANITIZE && p->full_size) {
        k->blocked = "is about the shipped model, which is small enough for such a tool";
        k->hint = "run it without --model";
    } else if (k->check->heavy && !p->in->options->heavy) {
        k->blocked = "takes long, and was not asked for";
        k->hint = "ask for it with --heavy";
    } else {
        return;
    }
    k->excused = true;
    k->required = false;
}

/* A backend that lacks the variant a check names cannot run it on any device. */
static void need_variant(fal_plan_parts *p, const fal_target *t, fal_case *k)
{
    const char *const *v = t->probe->backend->variants;
    while (v && *v && strcmp(*v, k->variant) != 0) v++;
    if (v && *v) return;
    k->blocked = fal_plan_text(p, "%s has no variant '%s'", k->backend, k->variant);
    k->hint = "";
}

/* Device code is looked at without a device, but it must have been built. */
static void need_code(fal_plan_parts *p, const fal_target *t, fal_case *k)
{
    fal_device_code code = { 0 };
    fal_error why = { 0 };
    if (!t->probe->backend->device_code)
        fal_fail(&why, FAL_ERR_BLOCKED, "leave it out of backends", "%s has no device code of its own: a driver compiles it", k->backend);
    else if (t->probe->backend->device_code(&code, &why) == FAL_OK)
        return;
    k->blocked = fal_plan_text(p, "%s", why.message);
    k->hint = fal_plan_text(p, "%s", why.hint);
}

/* Whether a check looks at a device at all. */
static bool opens_device(const fal_check *c)
{
    if (c->observe == FAL_OBSERVE_LAUNCHES) return !(fal_params_number(&c->with, "dry", 0) > 0);
    if (c->observe == FAL_OBSERVE_SANITIZE) return strcmp(fal_params_text(&c->with, "tool", ""), "oclgrind") != 0;
    return c->observe != FAL_OBSERVE_DEVICE_CODE;
}

/* Adds a case; check is narrowed to it. tokens: those of its requests. */
static fal_status add_case(const expansion *e, const fal_target *t, const char *variant, const fal_check *narrowed,
                           const fal_tokens *tokens, int n_tokens, const char *what)
{
    fal_plan_parts *p = e->p;
    fal_check *check = fal_arena_take(&p->arena, 1, sizeof *check);
    if (!check || !fal_plan_grow((void **)&p->cases, p->n_cases, &p->cap_cases, sizeof *p->cases))
        return no_memory(e->err);
    *check = *narrowed;
    fal_case *k = &p->cases[p->n_cases];
    *k = (fal_case){ .contract = e->contract,
                     .falsifier = e->falsifier,
                     .check = check,
                     .backend = t->probe->backend->name,
                     .variant = variant,
                     .device = t->device,
                     .required = t->required,
                     .candidate = t->trial ? p->in->candidate : NULL,
                     .got = -1,
                     .want = -1,
                     .again = -1,
                     .oracle_prompt = -1,
                     .not_probed = t->probe->state == FAL_PROBE_NOT_ASKED };
    const bool needs_device = opens_device(check), has_model = check->observe != FAL_OBSERVE_DEVICE_CODE && check->observe != FAL_OBSERVE_SANITIZE;
    if (!needs_device) {
        k->device = NULL;
        k->not_probed = false;
    }
    k->uses_model = has_model && check->observe != FAL_OBSERVE_OP && check->observe != FAL_OBSERVE_TRIAL &&
                    !(check->observe == FAL_OBSERVE_REFUSAL && check->op);
    k->uses_oracle = check->against == FAL_AGAINST_ORACLE;
    k->what = fal_plan_text(p, "%s", what);
    k->id = fal_plan_text(p, "%s/%s/%s%s%s/%s", e->falsifier->id, check->name, k->backend, *variant ? "__" : "",
                          variant, what);
    if (!k->what || !k->id) return no_memory(e->err);

    for (int i = 0; i < n_tokens; i++) k->n_tokens += tokens[i].n_tokens;
    excuse(p, t, k);
    if (k->blocked) {
        ; /* whatever else is missing would not make it a case of this model and card */
    } else if (!needs_device && check->observe != FAL_OBSERVE_SANITIZE) {
        need_code(p, t, k);
    } else if (needs_device && t->blocked) {
        k->blocked = t->blocked;
        k->hint = t->hint;
    }
    if (!k->blocked && k->uses_model && p->model_missing) {
        k->blocked = p->model_missing;
        k->hint = "name one with --model";
    }
    if (!k->blocked) need_variant(p, t, k);
    for (int i = 0; i < n_tokens && !k->blocked; i++)
        if (!tokens[i].tokens) {
            k->blocked = tokens[i].missing;
            k->hint = tokens[i].hint;
        }
    if (k->uses_oracle && n_tokens == 1) k->oracle_prompt = tokens[0].oracle_prompt;
    if (k->uses_oracle && !k->blocked && k->oracle_prompt < 0) {
        k->blocked = p->oracle ? fal_plan_text(p, "%s has no prompt with the tokens of %s", p->plan.oracle_path, what)
                               : fal_plan_text(p, "the model has no oracle: %s is not there", p->plan.oracle_path);
        k->hint = "make one with falsifiers/oracle/make_oracle.py";
        if (!k->blocked) return no_memory(e->err);
    }
    p->n_cases++;
    return FAL_OK;
}

static fal_status forward_cases(const expansion *e, const fal_target *t, const char *variant)
{
    const fal_check *c = e->check;
    fal_check narrowed = *c;
    /* without an oracle no prompt of this check has an answer: one case says so, not one for each prompt */
    if (e->p->full_size && c->against == FAL_AGAINST_ORACLE && !e->p->oracle)
        return add_case(e, t, variant, &narrowed, NULL, 0, "oracle");
    if (c->sequence) {
        fal_text what = { 0 };
        for (int i = 0; i < c->n_prompts; i++) fal_text_addf(&what, "%s%s", i ? "+" : "", c->prompts[i]);
        const fal_status st = what.failed
                                  ? no_memory(e->err)
                                  : add_case(e, t, variant, &narrowed, e->tokens, c->n_prompts, fal_text_str(&what));
        fal_text_free(&what);
        return st;
    }
    for (int i = 0; i < c->n_prompts; i++) {
        /* work-group kernels on a CPU device are run there to be shown right, not to be waited for */
        if (t->both_variants && !*variant && i != e->shortest) continue;
        narrowed.prompts = &c->prompts[i];
        narrowed.n_prompts = 1;
        const fal_status st = add_case(e, t, variant, &narrowed, &e->tokens[i], 1, c->prompts[i]);
        if (st) return st;
    }
    return FAL_OK;
}

static void shape_text(const fal_params *shape, fal_text *out)
{
    for (int i = 0; i < shape->n_params; i++) {
        const fal_param *s = &shape->params[i];
        if (s->text)
            fal_text_addf(out, "%s%s=%s", i ? "," : "", s->name, s->text);
        else
            fal_text_addf(out, "%s%s=%.9g", i ? "," : "", s->name, s->number);
    }
}

static const uint64_t one_seed[] = { 1 };

/* The contract's seeds, and the one of the command line behind them. */
static fal_status add_seeds(const expansion *e, fal_check *check)
{
    const fal_options *o = e->p->in->options;
    if (o->n_soak) {
        uint64_t *soak = fal_arena_take(&e->p->arena, (size_t)o->n_soak, sizeof *soak);
        if (!soak) return no_memory(e->err);
        for (int i = 0; i < o->n_soak; i++) soak[i] = o->soak_first + (uint64_t)i;
        check->seeds = soak;
        check->n_seeds = o->n_soak;
        return FAL_OK;
    }
    const uint64_t *seeds = check->n_seeds ? check->seeds : one_seed;
    const int n = check->n_seeds ? check->n_seeds : 1;
    bool there = !o->has_seed;
    for (int i = 0; i < n && !there; i++) there = seeds[i] == o->seed;
    check->seeds = seeds;
    check->n_seeds = n;
    if (there) return FAL_OK;
    uint64_t *all = fal_arena_take(&e->p->arena, (size_t)n + 1, sizeof *all);
    if (!all) return no_memory(e->err);
    memcpy(all, seeds, (size_t)n * sizeof *all);
    all[n] = o->seed;
    check->seeds = all;
    check->n_seeds = n + 1;
    return FAL_OK;
}

/* Inputs that cannot be made are the contract's mistake, not the backend's. */
static fal_status check_inputs(const expansion *e, const fal_check *c)
{
    fal_error why = { 0 };
    fal_fixture *f = NULL;
    const fal_params none = { 0 };
    const fal_status st = fal_fixture_make(c->op, &c->shapes[0], c->fills[0], c->seeds[0], &c->with, &none, &f, &why);
    fal_fixture_free(f);
    f = NULL;
    if (st == FAL_OK && c->then.n_params)
        fal_fixture_make(c->op, &c->shapes[0], c->fills[0], c->seeds[0], &c->with, &c->then, &f, &why);
    fal_fixture_free(f);
    if (why.code == FAL_OK) return FAL_OK;
    return fal_fail(e->err, why.code, why.hint, "%s:%d: %s/%s: %s", e->contract->path, c->place.line, e->falsifier->id,
                    c->name, why.message);
}

static fal_status op_cases(const expansion *e, const fal_target *t, const char *variant)
{
    static const fal_params no_shape = { 0 };
    static const char *const gauss[] = { "gauss" };
    const fal_check *c = e->check;
    const fal_params *shapes = c->n_shapes ? c->shapes : &no_shape;
    const char *const *fills = c->n_fills ? c->fills : gauss;
    fal_check narrowed = *c;
    fal_status st = add_seeds(e, &narrowed);
    const fal_check seeded = narrowed;
    for (int s = 0; !st && s < (c->n_shapes ? c->n_shapes : 1); s++) {
        if (t->trial && !fal_trial_takes(t->trial, &shapes[s])) continue;
        for (int i = 0; !st && i < (c->n_fills ? c->n_fills : 1); i++) {
            fal_text what = { 0 };
            narrowed = seeded;
            narrowed.shapes = &shapes[s];
            narrowed.n_shapes = 1;
            narrowed.fills = &fills[i];
            narrowed.n_fills = 1;
            if (t->trial && !fal_plan_as_declared(e->p, &narrowed)) continue;
            shape_text(&shapes[s], &what);
            fal_text_addf(&what, "%s%s", what.len ? "/" : "", narrowed.fills[0]);
            if (t->trial && fal_plan_too_few(&shapes[s])) { /* the contract's own seeds only, for which its limit is known to hold */
                narrowed.seeds = c->n_seeds ? c->seeds : one_seed;
                narrowed.n_seeds = c->n_seeds ? c->n_seeds : 1;
            }
            st = check_inputs(e, &narrowed);
            if (!st)
                st = what.failed ? no_memory(e->err) : add_case(e, t, variant, &narrowed, NULL, 0, fal_text_str(&what));
            fal_text_free(&what);
        }
    }
    return st;
}

static fal_status trial_cases(const expansion *e, const fal_target *t)
{
    fal_status st = FAL_OK;
    for (int s = 0; t->trial && s < t->trial->n_shapes && !st; s++) {
        const fal_check *narrowed = fal_plan_trial_check(e->p, t, e->check, s, e->err);
        fal_text what = { 0 };
        if (!narrowed) return e->err->code ? e->err->code : no_memory(e->err);
        shape_text(narrowed->shapes, &what);
        st = what.failed ? no_memory(e->err) : add_case(e, t, "", narrowed, NULL, 0, fal_text_str(&what));
        fal_text_free(&what);
    }
    return st;
}

static fal_status other_cases(const expansion *e, const fal_target *t, const char *variant)
{
    const fal_check *c = e->check;
    /* one way to go through a whole model is enough: the fast one of the device; a tool chooses its kernels itself */
    if (t->both_variants && (c->observe == FAL_OBSERVE_SANITIZE ? *variant != '\0' : *variant == '\0')) return FAL_OK;
    fal_check narrowed = *c;
    if (c->observe == FAL_OBSERVE_THROUGHPUT) {
        char what[64];
        snprintf(what, sizeof what, "n_tokens=%.0f,context=%.0f", fal_params_number(&c->with, "n_tokens", 0),
                 fal_params_number(&c->with, "context", 0));
        return add_case(e, t, variant, &narrowed, NULL, 0, what);
    }
    if (c->observe == FAL_OBSERVE_LAUNCHES) {
        char what[64];
        snprintf(what, sizeof what, "prompt=%.0f,n_tokens=%.0f", fal_params_number(&c->with, "prompt", 0),
                 fal_params_number(&c->with, "n_tokens", 0));
        return add_case(e, t, variant, &narrowed, NULL, 0, what);
    }
    if (c->observe == FAL_OBSERVE_SANITIZE) return add_case(e, t, variant, &narrowed, NULL, 0, fal_params_text(&c->with, "tool", "-"));
    if (c->observe == FAL_OBSERVE_DEVICE_CODE) return add_case(e, t, variant, &narrowed, NULL, 0, "device_code");
    if (c->observe == FAL_OBSERVE_PRELOAD) return add_case(e, t, variant, &narrowed, NULL, 0, "preload");
    for (int i = 0; i < c->n_spoil; i++) {
        narrowed.spoil = &c->spoil[i];
        narrowed.n_spoil = 1;
        const fal_status st = add_case(e, t, variant, &narrowed, NULL, 0, c->spoil[i]);
        if (st) return st;
    }
    return FAL_OK;
}

static bool check_wants(const fal_check *c, const char *backend)
{
    if (c->n_backends == 0) return strcmp(backend, "reference") != 0;
    for (int i = 0; i < c->n_backends; i++)
        if (strcmp(c->backends[i], backend) == 0) return true;
    return false;
}

static fal_status expand_check(const expansion *e)
{
    fal_plan_parts *p = e->p;
    static const char *const variants[] = { "", "cpu" };
    for (int i = 0; i < p->n_targets; i++) {
        const fal_target *t = &p->targets[i];
        if (!(t->trial ? fal_plan_candidate_wants(t, e->check) : check_wants(e->check, t->probe->backend->name))) continue;
        /* a check that names a variant is about that one alone */
        const char *own = fal_params_text(&e->check->with, "variant", NULL);
        for (int v = 0; v < (t->both_variants && !own ? 2 : 1); v++) {
            const char *variant = own ? own : variants[v];
            const fal_status st = fal_plan_is_forward(e->check->observe) ? forward_cases(e, t, variant)
                                  : e->check->observe == FAL_OBSERVE_OP  ? op_cases(e, t, variant)
                                  : e->check->observe == FAL_OBSERVE_TRIAL ? trial_cases(e, t)
                                                                         : other_cases(e, t, variant);
            if (st) return st;
        }
    }
    return FAL_OK;
}

fal_status fal_plan_find_prompts(fal_plan_parts *p, const fal_contract *c, const fal_check *check, fal_tokens **out,
                                 int *shortest, fal_error *err)
{
    fal_tokens *tokens = fal_arena_take(&p->arena, (size_t)check->n_prompts, sizeof *tokens);
    if (!tokens) return no_memory(err);
    *shortest = 0;
    for (int i = 0; i < check->n_prompts; i++) {
        const fal_status st = fal_plan_find_tokens(p, c, check, check->prompts[i], &tokens[i], err);
        if (st) return st;
        const int n = tokens[i].n_tokens, least = tokens[*shortest].n_tokens;
        if (n > 0 && (least == 0 || n < least)) *shortest = i;
    }
    *out = tokens;
    return FAL_OK;
}

/* The check as it is for this model: one of full size has prompts and limits of its own. NULL when memory ran out. */
static const fal_check *fit_to_model(fal_plan_parts *p, const fal_check *check)
{
    if (!p->full_size || (!check->n_prompts_full_size && !check->has_limit_full_size)) return check;
    fal_check *fitted = fal_arena_take(&p->arena, 1, sizeof *fitted);
    if (!fitted) return NULL;
    *fitted = *check;
    if (check->n_prompts_full_size) {
        fitted->prompts = check->prompts_full_size;
        fitted->n_prompts = check->n_prompts_full_size;
    }
    if (check->has_limit_full_size) fitted->limit = check->limit_full_size;
    return fitted;
}

static fal_status add_extents(fal_plan_parts *p, const fal_falsifier *f, int first, fal_error *err)
{
    for (int t = 0; t < p->n_targets; t++) {
        fal_extent x = { f, p->targets[t].probe->backend->name, 0 };
        for (int i = first; i < p->n_cases; i++) x.n_cases += p->cases[i].backend == x.backend;
        if (x.n_cases == 0) continue;
        if (!fal_plan_grow((void **)&p->extents, p->n_extents, &p->cap_extents, sizeof *p->extents))
            return no_memory(err);
        p->extents[p->n_extents++] = x;
    }
    return FAL_OK;
}

fal_status fal_plan_expand(fal_plan_parts *p, fal_error *err)
{
    const fal_contract_set *set = p->in->contracts;
    for (int i = 0; i < set->n_contracts; i++) {
        const fal_contract *c = set->contracts[i];
        for (int j = 0; j < c->n_falsifiers; j++) {
            const fal_falsifier *f = &c->falsifiers[j];
            const int first = p->n_cases;
            if (f->n_checks == 0 || f->retired) {
                if (!fal_plan_grow((void **)&p->claims, p->n_claims, &p->cap_claims, sizeof *p->claims))
                    return no_memory(err);
                p->claims[p->n_claims++] = (fal_claim){ c, f };
                continue;
            }
            for (int k = 0; k < f->n_checks; k++) {
                expansion e = { .p = p, .contract = c, .falsifier = f, .check = fit_to_model(p, &f->checks[k]), .err = err };
                fal_tokens *tokens = NULL;
                if (!e.check) return no_memory(err);
                fal_status st = fal_plan_check_check(c, f, e.check, err);
                if (!st && fal_plan_is_forward(e.check->observe))
                    st = fal_plan_find_prompts(p, c, e.check, &tokens, &e.shortest, err);
                e.tokens = tokens;
                if (!st) st = expand_check(&e);
                if (st) return st;
            }
            const fal_status st = add_extents(p, f, first, err);
            if (st) return st;
        }
    }
    return FAL_OK;
}
