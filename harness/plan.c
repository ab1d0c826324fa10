/* The plan: contracts expanded into cases, in the order of contracts, falsifiers, checks, backends, prompts and shapes. */
#include "harness/plan.h"

#include "harness/fixture.h"
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *fal_observe_kind_name(fal_observe_kind kind)
{
    static const char *const names[] = {
        [FAL_OBSERVE_FORWARD] = "forward", [FAL_OBSERVE_TEACHER] = "teacher", [FAL_OBSERVE_PINNED] = "pinned",
        [FAL_OBSERVE_OP] = "op",           [FAL_OBSERVE_PRELOAD] = "preload", [FAL_OBSERVE_REFUSAL] = "refusal",
    };
    return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

void fal_backend_label(const char *backend, const char *variant, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s", backend, *variant ? ":" : "", variant);
}

const char *fal_plan_text(fal_plan_parts *p, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fal_arena_copy(&p->arena, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

bool fal_plan_grow(void **items, int n, int *cap, size_t size)
{
    if (n < *cap) return true;
    const int more = *cap ? 2 * *cap : 64;
    void *grown = realloc(*items, (size_t)more * size);
    if (!grown) return false;
    *items = grown;
    *cap = more;
    return true;
}

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
}

static bool is_forward(fal_observe_kind kind)
{
    return kind == FAL_OBSERVE_FORWARD || kind == FAL_OBSERVE_TEACHER || kind == FAL_OBSERVE_PINNED;
}

static bool names_hold(const fal_names *names, const char *s)
{
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->items[i], s) == 0) return true;
    return false;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static fal_status make_targets(fal_plan_parts *p, fal_error *err)
{
    const fal_options *o = p->in->options;
    p->n_targets = p->in->probes->n;
    for (int i = 0; i < p->n_targets; i++) {
        const fal_probe *probe = &p->in->probes->items[i];
        const bool reference = strcmp(probe->backend->name, "reference") == 0;
        const char *device = reference ? NULL : o->device; /* --device is about those on trial */
        fal_target *t = &p->targets[i];
        *t = (fal_target){ .probe = probe, .selector = device ? device : "" };
        t->selected = o->backends.n == 0 || names_hold(&o->backends, probe->backend->name);
        t->required = names_hold(&o->require, probe->backend->name);
        t->device = fal_probe_choose(probe, device);
        if (probe->state == FAL_PROBE_BLOCKED) {
            t->blocked = fal_plan_text(p, "%s", probe->error.message);
            t->hint = fal_plan_text(p, "%s", probe->error.hint);
        } else if (probe->state == FAL_PROBE_FOUND && !t->device) {
            t->blocked = fal_plan_text(p, "%s has no device '%s'", probe->backend->name, device ? device : "");
            t->hint = "'falsify devices' lists them";
        } else if (t->device && !reference) {
            t->selector = fal_plan_text(p, "%d", t->device->index); /* the observer opens exactly the planned device */
        }
        if (p->arena.failed) return no_memory(err);
        for (const char *const *v = probe->backend->variants; v && *v; v++)
            if (strcmp(*v, "cpu") == 0 && t->device && t->device->is_cpu) t->both_variants = true;
    }
    return FAL_OK;
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

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

/* Adds a case; check is narrowed to it. tokens: those of its requests. */
static fal_status add_case(const expansion *e, const fal_target *t, const char *variant, const fal_check *narrowed,
                           const fal_tokens *tokens, int n_tokens, const char *what)
{
    fal_plan_parts *p = e->p;
    fal_check *check = fal_arena_take(&p->arena, 1, sizeof *check);
    if (!check || !fal_plan_grow((void **)&p->cases, p->n_cases, &p->cap_cases, sizeof *p->cases)) return no_memory(e->err);
    *check = *narrowed;
    fal_case *k = &p->cases[p->n_cases];
    *k = (fal_case){ .contract = e->contract, .falsifier = e->falsifier, .check = check, .backend = t->probe->backend->name,
                     .variant = variant, .device = t->device, .required = t->required, .got = -1, .want = -1, .again = -1,
                     .oracle_prompt = -1, .not_probed = t->probe->state == FAL_PROBE_NOT_ASKED };
    k->uses_model = check->observe != FAL_OBSERVE_OP && !(check->observe == FAL_OBSERVE_REFUSAL && check->op);
    k->uses_oracle = check->against == FAL_AGAINST_ORACLE;
    k->what = fal_plan_text(p, "%s", what);
    k->id = fal_plan_text(p, "%s/%s/%s%s%s/%s", e->falsifier->id, check->name, k->backend, *variant ? "__" : "", variant, what);
    if (!k->what || !k->id) return no_memory(e->err);

    for (int i = 0; i < n_tokens; i++) k->n_tokens += tokens[i].n_tokens;
    if (t->blocked) {
        k->blocked = t->blocked;
        k->hint = t->hint;
    } else if (k->uses_model && p->model_missing) {
        k->blocked = p->model_missing;
        k->hint = "name one with --model";
    }
    for (int i = 0; i < n_tokens && !k->blocked; i++)
        if (!tokens[i].tokens) {
            k->blocked = tokens[i].missing;
            k->hint = tokens[i].hint;
        }
    if (k->uses_oracle && n_tokens == 1) k->oracle_prompt = tokens[0].oracle_prompt;
    if (k->uses_oracle && !k->blocked && k->oracle_prompt < 0) {
        k->blocked = p->oracle ? fal_plan_text(p, "%s has no prompt with the tokens of %s", p->plan.oracle_path, what)
                               : fal_plan_text(p, "the model has no oracle: %s is not there", p->plan.oracle_path);
        k->hint = "these cases need the shipped test model, or an oracle file beside yours";
        if (!k->blocked) return no_memory(e->err);
    }
    p->n_cases++;
    return FAL_OK;
}

static fal_status forward_cases(const expansion *e, const fal_target *t, const char *variant)
{
    const fal_check *c = e->check;
    fal_check narrowed = *c;
    if (c->sequence) {
        fal_text what = { 0 };
        for (int i = 0; i < c->n_prompts; i++) fal_text_addf(&what, "%s%s", i ? "+" : "", c->prompts[i]);
        const fal_status st = what.failed ? no_memory(e->err)
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
        if (s->text) fal_text_addf(out, "%s%s=%s", i ? "," : "", s->name, s->text);
        else fal_text_addf(out, "%s%s=%.9g", i ? "," : "", s->name, s->number);
    }
}

static const uint64_t one_seed[] = { 1 };

/* The contract's seeds, and the one of the command line behind them. */
static fal_status add_seeds(const expansion *e, fal_check *check)
{
    const fal_options *o = e->p->in->options;
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
    if (st == FAL_OK && c->then.n_params) fal_fixture_make(c->op, &c->shapes[0], c->fills[0], c->seeds[0], &c->with, &c->then, &f, &why);
    fal_fixture_free(f);
    if (why.code == FAL_OK) return FAL_OK;
    return fal_fail(e->err, why.code, why.hint, "%s:%d: %s/%s: %s", e->contract->path, c->place.line, e->falsifier->id, c->name, why.message);
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
    for (int s = 0; !st && s < (c->n_shapes ? c->n_shapes : 1); s++)
        for (int i = 0; !st && i < (c->n_fills ? c->n_fills : 1); i++) {
            fal_text what = { 0 };
            shape_text(&shapes[s], &what);
            fal_text_addf(&what, "%s%s", what.len ? "/" : "", fills[i]);
            narrowed.shapes = &shapes[s];
            narrowed.n_shapes = 1;
            narrowed.fills = &fills[i];
            narrowed.n_fills = 1;
            st = check_inputs(e, &narrowed);
            if (!st) st = what.failed ? no_memory(e->err) : add_case(e, t, variant, &narrowed, NULL, 0, fal_text_str(&what));
            fal_text_free(&what);
        }
    return st;
}

static fal_status other_cases(const expansion *e, const fal_target *t, const char *variant)
{
    const fal_check *c = e->check;
    /* one way to go through a whole model is enough: the fast one of the device */
    if (t->both_variants && !*variant) return FAL_OK;
    fal_check narrowed = *c;
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
        if (!check_wants(e->check, t->probe->backend->name)) continue;
        for (int v = 0; v < (t->both_variants ? 2 : 1); v++) {
            const fal_status st = is_forward(e->check->observe)              ? forward_cases(e, t, variants[v])
                                  : e->check->observe == FAL_OBSERVE_OP ? op_cases(e, t, variants[v])
                                                                        : other_cases(e, t, variants[v]);
            if (st) return st;
        }
    }
    return FAL_OK;
}

static fal_status find_prompts(fal_plan_parts *p, const fal_contract *c, const fal_check *check, fal_tokens **out, int *shortest, fal_error *err)
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

static fal_status add_extents(fal_plan_parts *p, const fal_falsifier *f, int first, fal_error *err)
{
    for (int t = 0; t < p->n_targets; t++) {
        fal_extent x = { f, p->targets[t].probe->backend->name, 0 };
        for (int i = first; i < p->n_cases; i++) x.n_cases += p->cases[i].backend == x.backend;
        if (x.n_cases == 0) continue;
        if (!fal_plan_grow((void **)&p->extents, p->n_extents, &p->cap_extents, sizeof *p->extents)) return no_memory(err);
        p->extents[p->n_extents++] = x;
    }
    return FAL_OK;
}

static fal_status expand(fal_plan_parts *p, fal_error *err)
{
    const fal_contract_set *set = p->in->contracts;
    for (int i = 0; i < set->n_contracts; i++) {
        const fal_contract *c = set->contracts[i];
        for (int j = 0; j < c->n_falsifiers; j++) {
            const fal_falsifier *f = &c->falsifiers[j];
            const int first = p->n_cases;
            if (f->n_checks == 0 || f->retired) {
                if (!fal_plan_grow((void **)&p->claims, p->n_claims, &p->cap_claims, sizeof *p->claims)) return no_memory(err);
                p->claims[p->n_claims++] = (fal_claim){ c, f };
                continue;
            }
            for (int k = 0; k < f->n_checks; k++) {
                expansion e = { .p = p, .contract = c, .falsifier = f, .check = &f->checks[k], .err = err };
                fal_tokens *tokens = NULL;
                fal_status st = fal_plan_check_check(c, f, e.check, err);
                if (!st && is_forward(e.check->observe)) st = find_prompts(p, c, e.check, &tokens, &e.shortest, err);
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

/* ---- selection, observations, the finished plan ------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const fal_case *const *x = a, *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

static fal_status check_unique(const fal_plan_parts *p, fal_error *err)
{
    if (p->n_cases < 2) return FAL_OK;
    const fal_case **sorted = calloc((size_t)p->n_cases, sizeof *sorted);
    if (!sorted) return no_memory(err);
    for (int i = 0; i < p->n_cases; i++) sorted[i] = &p->cases[i];
    qsort(sorted, (size_t)p->n_cases, sizeof *sorted, by_id);
    fal_status st = FAL_OK;
    for (int i = 1; i < p->n_cases && !st; i++)
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0)
            st = fal_fail(err, FAL_ERR_INPUT, "name a prompt, shape, fill or spoil once", "%s:%d: two cases have the id %s",
                          sorted[i]->contract->path, sorted[i]->check->place.line, sorted[i]->id);
    free(sorted);
    return st;
}

static fal_status add_observations(fal_plan_parts *p, fal_case *k, fal_error *err)
{
    const int n = k->check->n_prompts;
    fal_tokens *tokens = NULL;
    if (is_forward(k->check->observe)) {
        int shortest = 0;
        const fal_status st = find_prompts(p, k->contract, k->check, &tokens, &shortest, err);
        if (st) return st;
    }
    return fal_plan_add_specs(p, k, tokens, n, err);
}

/* Keeps the selected cases and claims, in order, and finds the contracts that they are of. */
static fal_status keep_selected(fal_plan_parts *p, fal_error *err)
{
    int n = 0;
    for (int i = 0; i < p->n_cases; i++)
        if (fal_plan_takes_case(p, &p->cases[i])) p->cases[n++] = p->cases[i];
    p->n_cases = n;

    fal_claim *claims = fal_arena_take(&p->arena, (size_t)p->n_claims, sizeof *claims);
    const fal_contract **contracts = fal_arena_take(&p->arena, (size_t)p->in->contracts->n_contracts, sizeof *contracts);
    if (!claims || !contracts) return no_memory(err);
    int n_claims = 0;
    for (int retired = 0; retired < 2; retired++)
        for (int i = 0; i < p->n_claims; i++) {
            const fal_claim *c = &p->claims[i];
            if (c->falsifier->retired != (retired != 0) || !fal_plan_takes_claim(p, c->contract, c->falsifier)) continue;
            claims[n_claims++] = *c;
            if (retired) p->plan.n_retired++;
            else p->plan.n_unbound++;
        }
    p->plan.unbound = claims;
    p->plan.retired = claims + p->plan.n_unbound;

    for (int i = 0; i < p->in->contracts->n_contracts; i++) {
        const fal_contract *c = p->in->contracts->contracts[i];
        bool used = false;
        for (int k = 0; k < p->n_cases && !used; k++) used = p->cases[k].contract == c;
        for (int k = 0; k < n_claims && !used; k++) used = claims[k].contract == c;
        if (used) contracts[p->plan.n_contracts++] = c;
    }
    p->plan.contracts = contracts;
    if (n > 0 || n_claims > 0) return FAL_OK;
    return fal_fail(err, FAL_ERR_NOTHING, "'falsify plan' without options lists everything", "the filters together select nothing");
}

fal_status fal_plan_make(const fal_plan_in *in, fal_plan **out, fal_error *err)
{
    fal_plan_parts *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->in = in;
    fal_status st = fal_plan_open_oracle(p, err);
    if (!st) st = make_targets(p, err);
    if (!st) st = expand(p, err);
    if (!st) st = check_unique(p, err);
    if (!st) st = fal_plan_check_filters(p, err);
    if (!st) st = keep_selected(p, err);
    for (int i = 0; !st && i < p->n_cases; i++)
        if (!p->cases[i].blocked) st = add_observations(p, &p->cases[i], err);
    if (!st && p->arena.failed) st = no_memory(err);
    if (st) {
        fal_plan_free(&p->plan);
        return st;
    }
    p->plan.cases = p->cases;
    p->plan.n_cases = p->n_cases;
    p->plan.specs = p->specs;
    p->plan.n_specs = p->n_specs;
    p->plan.extents = p->extents;
    p->plan.n_extents = p->n_extents;
    *out = &p->plan;
    return FAL_OK;
}

void fal_plan_free(fal_plan *plan)
{
    if (!plan) return;
    fal_plan_parts *p = (fal_plan_parts *)plan;
    fal_observation_close(p->oracle);
    free(p->cases);
    free(p->specs);
    free(p->claims);
    free(p->extents);
    fal_arena_free(&p->arena);
    free(p);
}

int fal_plan_extent(const fal_plan *plan, const fal_falsifier *falsifier, const char *backend)
{
    for (int i = 0; i < plan->n_extents; i++)
        if (plan->extents[i].falsifier == falsifier && strcmp(plan->extents[i].backend, backend) == 0) return plan->extents[i].n_cases;
    return 0;
}
