/* Which cases the options select, and errors for filters that match nothing. */
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

static bool any_glob(const fal_names *globs, const char *s)
{
    for (int i = 0; i < globs->n; i++)
        if (fal_glob_match(globs->items[i], s)) return true;
    return false;
}

static bool holds(const fal_names *names, const char *s)
{
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->items[i], s) == 0) return true;
    return false;
}

/* "FALSIFY-X/check" of a case: its id up to the second slash. */
static void check_id(const fal_case *k, char *text, size_t size)
{
    snprintf(text, size, "%s/%s", k->falsifier->id, k->check->name);
}

static bool glob_takes_case(const char *glob, const fal_case *k)
{
    char id[256];
    check_id(k, id, sizeof id);
    return fal_glob_match(glob, k->falsifier->id) || fal_glob_match(glob, id) || fal_glob_match(glob, k->id);
}

static bool id_takes_case(const char *only, const fal_case *k)
{
    char id[256];
    check_id(k, id, sizeof id);
    return strcmp(only, k->falsifier->id) == 0 || strcmp(only, id) == 0 || strcmp(only, k->id) == 0;
}

/* Whether a stage that the options name lists an obligation of this falsifier. */
static bool stage_takes(const fal_plan_parts *p, const fal_falsifier *f)
{
    const fal_names *stages = &p->in->options->stages;
    const fal_contract_set *set = p->in->contracts;
    for (int i = 0; i < set->n_contracts; i++)
        for (int s = 0; s < set->contracts[i]->n_stages; s++) {
            const fal_stage *stage = &set->contracts[i]->stages[s];
            if (!holds(stages, stage->id)) continue;
            for (int a = 0; a < stage->n_obligations; a++)
                for (int b = 0; b < f->n_obligations; b++)
                    if (strcmp(stage->obligations[a], f->obligations[b]) == 0) return true;
        }
    return false;
}

bool fal_plan_takes_falsifier(const fal_plan_parts *p, const fal_contract *c, const fal_falsifier *f)
{
    const fal_options *o = p->in->options;
    if (o->contracts.n && !any_glob(&o->contracts, c->stem)) return false;
    return !o->stages.n || stage_takes(p, f);
}

bool fal_plan_takes_claim(const fal_plan_parts *p, const fal_contract *c, const fal_falsifier *f)
{
    if (p->in->options->candidate) return false; /* a kernel on trial makes no claims in prose */
    if (p->in->options->only.n && !holds(&p->in->options->only, f->id)) return false;
    return fal_plan_takes_falsifier(p, c, f) && (!p->in->options->globs.n || any_glob(&p->in->options->globs, f->id));
}

bool fal_plan_takes_case(const fal_plan_parts *p, const fal_case *k)
{
    const fal_options *o = p->in->options;
    if (!fal_plan_takes_falsifier(p, k->contract, k->falsifier)) return false;
    if (o->backends.n && !holds(&o->backends, k->backend)) return false;
    if (o->n_soak && k->check->observe != FAL_OBSERVE_OP) return false;
    bool named = o->only.n == 0;
    for (int i = 0; i < o->only.n && !named; i++) named = id_takes_case(o->only.items[i], k);
    if (!named) return false;
    bool taken = o->globs.n == 0;
    for (int i = 0; i < o->globs.n && !taken; i++) taken = glob_takes_case(o->globs.items[i], k);
    return taken;
}

/* ---- what matches nothing ---------------------------------------------------------------------------------------- */

/* Copies of names for suggestions. */
typedef struct {
    char **items;
    size_t n, cap;
} candidates;

static void candidate(candidates *c, const char *name)
{
    if (c->n && strcmp(c->items[c->n - 1], name) == 0) return;
    if (c->n == c->cap) {
        const size_t cap = c->cap ? 2 * c->cap : 64;
        char **items = realloc(c->items, cap * sizeof *items);
        if (!items) return; /* a suggestion less is no failure */
        c->items = items;
        c->cap = cap;
    }
    c->items[c->n] = strdup(name);
    if (c->items[c->n]) c->n++;
}

static void candidates_free(candidates *c)
{
    for (size_t i = 0; i < c->n; i++) free(c->items[i]);
    free(c->items);
}

/* Up to 8 names that begin like s, longest common beginning first found; all of them when there are few. */
static void list_alike(const char *s, const candidates *c, char *list, size_t size)
{
    size_t longest = 0, at = 0;
    for (size_t i = 0; i < c->n; i++) {
        size_t n = 0;
        while (s[n] && s[n] == c->items[i][n]) n++;
        if (n > longest) longest = n;
    }
    list[0] = '\0';
    const bool all = c->n <= 8;
    if (!all && longest < 4) return;
    int shown = 0;
    for (size_t i = 0; i < c->n && at < size && shown < 8; i++)
        if (all || strncmp(s, c->items[i], longest) == 0)
            at += (size_t)snprintf(list + at, size - at, "%s%s", shown++ ? ", " : "; there are: ", c->items[i]);
}

static fal_status nothing_as(fal_status code, const char *what, const char *name, candidates *c, const char *hint, fal_error *err)
{
    const char *near = fal_nearest(name, (const char *const *)c->items, c->n);
    char list[512] = "";
    if (near)
        snprintf(list, sizeof list, "; did you mean '%s'?", near);
    else
        list_alike(name, c, list, sizeof list);
    const fal_status st = fal_fail(err, code, hint, "%s '%s' matches nothing%s", what, name, list);
    candidates_free(c);
    return st;
}

static fal_status nothing(const char *what, const char *name, candidates *c, const char *hint, fal_error *err)
{
    return nothing_as(FAL_ERR_NOTHING, what, name, c, hint, err);
}

/* One name of -k (globs) or --only (whole ids). */
static fal_status check_name(const fal_plan_parts *p, const char *option, const char *name, bool is_glob, fal_error *err)
{
    bool hit = false;
    for (int i = 0; i < p->n_cases && !hit; i++)
        hit = is_glob ? glob_takes_case(name, &p->cases[i]) : id_takes_case(name, &p->cases[i]);
    for (int i = 0; i < p->n_claims && !hit; i++)
        hit = is_glob ? fal_glob_match(name, p->claims[i].falsifier->id) : strcmp(name, p->claims[i].falsifier->id) == 0;
    if (hit) return FAL_OK;
    /* names of the same depth as what was asked for: falsifier, falsifier/check, or case */
    candidates c = { 0 };
    const char *slash = strchr(name, '/');
    for (int i = 0; i < p->n_cases; i++) {
        char id[256];
        check_id(&p->cases[i], id, sizeof id);
        candidate(&c, !slash ? p->cases[i].falsifier->id : strchr(slash + 1, '/') ? p->cases[i].id : id);
    }
    for (int i = 0; i < p->n_claims && !slash; i++) candidate(&c, p->claims[i].falsifier->id);
    return nothing(option, name, &c, "'falsify plan' lists every id", err);
}

static fal_status check_globs(const fal_plan_parts *p, fal_error *err)
{
    const fal_options *o = p->in->options;
    fal_status st = FAL_OK;
    for (int g = 0; g < o->globs.n && !st; g++) st = check_name(p, "-k", o->globs.items[g], true, err);
    for (int g = 0; g < o->only.n && !st; g++) st = check_name(p, "--only", o->only.items[g], false, err);
    return st;
}

static fal_status check_contracts(const fal_plan_parts *p, fal_error *err)
{
    const fal_options *o = p->in->options;
    const fal_contract_set *set = p->in->contracts;
    for (int g = 0; g < o->contracts.n; g++) {
        candidates c = { 0 };
        bool hit = false;
        for (int i = 0; i < set->n_contracts; i++) {
            hit |= fal_glob_match(o->contracts.items[g], set->contracts[i]->stem);
            candidate(&c, set->contracts[i]->stem);
        }
        if (!hit)
            return nothing("--contract", o->contracts.items[g], &c, "a contract's name is its file name without .yaml",
                           err);
        candidates_free(&c);
    }
    for (int g = 0; g < o->stages.n; g++) {
        candidates c = { 0 };
        bool hit = false;
        for (int i = 0; i < set->n_contracts; i++)
            for (int s = 0; s < set->contracts[i]->n_stages; s++) {
                hit |= strcmp(o->stages.items[g], set->contracts[i]->stages[s].id) == 0;
                candidate(&c, set->contracts[i]->stages[s].id);
            }
        if (!hit) return nothing("--stage", o->stages.items[g], &c, "'falsify plan' lists the stages", err);
        candidates_free(&c);
    }
    return FAL_OK;
}

static fal_status check_backends(const fal_plan_parts *p, fal_error *err)
{
    const fal_options *o = p->in->options;
    for (int pass = 0; pass < 2; pass++) {
        const fal_names *names = pass ? &o->require : &o->backends;
        for (int g = 0; g < names->n; g++) {
            if (fal_backend_find(names->items[g])) continue;
            candidates c = { 0 };
            for (int i = 0; i < p->in->probes->n; i++) candidate(&c, p->in->probes->items[i].backend->name);
            return nothing(pass ? "--require" : "--backend", names->items[g], &c, NULL, err);
        }
    }
    for (int g = 0; o->require_given && o->backends.n && g < o->require.n; g++)
        if (!holds(&o->backends, o->require.items[g]))
            return fal_fail(err, FAL_ERR_USAGE, NULL, "--require %s, but --backend leaves it out", o->require.items[g]);
    return FAL_OK;
}

/* --device must name a device of some selected backend that has devices at all. */
static fal_status check_device(const fal_plan_parts *p, fal_error *err)
{
    const char *device = p->in->options->device;
    if (!device || !*device) return FAL_OK;
    candidates c = { 0 };
    bool asked = false, hit = false;
    for (int i = 0; i < p->n_targets; i++) {
        const fal_target *t = &p->targets[i];
        if (!t->selected || strcmp(t->probe->backend->name, "reference") == 0 || t->probe->state != FAL_PROBE_FOUND)
            continue;
        asked = true;
        hit |= t->device != NULL;
        for (int d = 0; d < t->probe->n; d++) candidate(&c, t->probe->devices[d].slug);
    }
    /* no filter that selects too little, but a request that this machine cannot meet */
    if (asked && !hit)
        return nothing_as(FAL_ERR_USAGE, "--device", device, &c, "'falsify devices' lists index, name and UUID", err);
    candidates_free(&c);
    return FAL_OK;
}

fal_status fal_plan_check_filters(const fal_plan_parts *p, fal_error *err)
{
    fal_status st = check_backends(p, err);
    if (!st) st = check_contracts(p, err);
    if (!st) st = check_globs(p, err);
    if (!st) st = check_device(p, err);
    return st;
}
