/* The plan: devices, cases, selection and observations put together before anything runs. */
#include "harness/plan.h"

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
        [FAL_OBSERVE_THROUGHPUT] = "throughput", [FAL_OBSERVE_DEVICE_CODE] = "device_code",
        [FAL_OBSERVE_LAUNCHES] = "launches", [FAL_OBSERVE_SANITIZE] = "sanitize",
        [FAL_OBSERVE_TRIAL] = "trial",
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

bool fal_plan_is_forward(fal_observe_kind kind)
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
        const bool candidate = strcmp(probe->backend->name, "candidate") == 0;
        const char *device = reference || candidate ? NULL : o->device; /* --device is about those on trial; a candidate has one */
        fal_target *t = &p->targets[i];
        *t = (fal_target){ .probe = probe, .selector = device ? device : "" };
        t->selected = o->backends.n == 0 || names_hold(&o->backends, probe->backend->name);
        t->required = names_hold(&o->require, probe->backend->name);
        t->device = fal_probe_choose(probe, device);
        if (candidate) t->trial = p->in->trial;
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
            st = fal_fail(err, FAL_ERR_INPUT, "name a prompt, shape, fill or spoil once",
                          "%s:%d: two cases have the id %s", sorted[i]->contract->path, sorted[i]->check->place.line,
                          sorted[i]->id);
    free(sorted);
    return st;
}

static fal_status add_observations(fal_plan_parts *p, fal_case *k, fal_error *err)
{
    const int n = k->check->n_prompts;
    fal_tokens *tokens = NULL;
    if (fal_plan_is_forward(k->check->observe)) {
        int shortest = 0;
        const fal_status st = fal_plan_find_prompts(p, k->contract, k->check, &tokens, &shortest, err);
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
    const fal_contract **contracts =
        fal_arena_take(&p->arena, (size_t)p->in->contracts->n_contracts, sizeof *contracts);
    if (!claims || !contracts) return no_memory(err);
    int n_claims = 0;
    for (int retired = 0; retired < 2; retired++)
        for (int i = 0; i < p->n_claims; i++) {
            const fal_claim *c = &p->claims[i];
            if (c->falsifier->retired != (retired != 0) || !fal_plan_takes_claim(p, c->contract, c->falsifier))
                continue;
            claims[n_claims++] = *c;
            if (retired)
                p->plan.n_retired++;
            else
                p->plan.n_unbound++;
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
    p->plan.set = p->in->contracts;
    p->plan.declared = p->in->declared;
    if (n > 0 || n_claims > 0) return FAL_OK;
    return fal_fail(err, FAL_ERR_NOTHING, "'falsify plan' without options lists everything",
                    "the filters together select nothing");
}

fal_status fal_plan_make(const fal_plan_in *in, fal_plan **out, fal_error *err)
{
    fal_plan_parts *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->in = in;
    fal_status st = fal_plan_open_oracle(p, err);
    if (!st) st = make_targets(p, err);
    if (!st) st = fal_plan_expand(p, err);
    if (!st) st = fal_plan_set_floors(p, err);
    if (!st) st = check_unique(p, err);
    if (!st) st = fal_plan_check_filters(p, err);
    if (!st) st = keep_selected(p, err);
    for (int i = 0; !st && i < p->n_cases; i++)
        if (!p->cases[i].blocked) st = add_observations(p, &p->cases[i], err);
    if (!st && p->full_size) st = fal_plan_group_specs(p, err);
    if (!st && in->trial) st = fal_plan_candidate_first(p, err);
    p->plan.full_size = p->full_size;
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
        if (plan->extents[i].falsifier == falsifier && strcmp(plan->extents[i].backend, backend) == 0)
            return plan->extents[i].n_cases;
    return 0;
}
