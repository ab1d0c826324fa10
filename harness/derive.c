/* Derived status, from cells to obligations, stages and contracts. */
#include "harness/derive.h"

#include "harness/derive_parts.h"
#include "harness/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *fal_claim_state_name(fal_claim_state s)
{
    static const char *const names[FAL_N_CLAIM_STATES] = {
        [FAL_CLAIM_UNBOUND] = "unbound", [FAL_CLAIM_MISSING] = "missing",     [FAL_CLAIM_STALE] = "stale",
        [FAL_CLAIM_PARTIAL] = "partial", [FAL_CLAIM_UNDECIDED] = "undecided", [FAL_CLAIM_FALSIFIED] = "falsified",
        [FAL_CLAIM_WAIVED] = "waived",   [FAL_CLAIM_SURVIVED] = "survived"
    };
    return names[s];
}

static const char *const stage_levels[] = { "RECORDED", "PENDING", "PARTIAL_ALGORITHM_LEVEL", "SHIPPED", "DISCHARGED" };
static const char *const contract_levels[] = { "DRAFT", "ACTIVE_ALGORITHM_LEVEL", "ACTIVE_RUNTIME" };
enum {
    N_STAGE_LEVELS = sizeof stage_levels / sizeof stage_levels[0],
    N_CONTRACT_LEVELS = sizeof contract_levels / sizeof contract_levels[0]
};

const char *fal_stage_level_name(fal_stage_level l)
{
    return stage_levels[l];
}

const char *fal_contract_level_name(fal_contract_level l)
{
    return contract_levels[l];
}

/* A word that is none of ours says the most that there is, so that no new word can say more than the evidence unseen. */
static int level_of(const char *const *names, int n, const char *s)
{
    for (int i = 0; s && i < n; i++)
        if (strcmp(names[i], s) == 0) return i;
    return s ? n - 1 : 0;
}

const char *fal_derive_text(fal_derive_parts *p, const char *fmt, ...)
{
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fal_arena_copy(&p->arena, text, strlen(text));
}

/* ---- obligations ---- */

static bool cites(const fal_falsifier *f, const char *obligation)
{
    for (int i = 0; i < f->n_obligations; i++)
        if (strcmp(f->obligations[i], obligation) == 0) return true;
    return false;
}

static bool among(const char *const *names, int n, const char *s)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], s) == 0) return true;
    return n == 0;
}

fal_standing fal_derive_standing(fal_derive_parts *p, const char *obligation, const char *const *backends, int n)
{
    fal_standing s = { .ran = true, .hardware = true };
    int by[FAL_N_CLAIM_STATES] = { 0 };
    int told = 0; /* how much the reason that is told weighs: a CPU only, something missing, something lost */
    for (int i = 0; i < p->n_cells;) {
        const fal_falsifier *f = p->cells[i].falsifier;
        bool named = false, ran = false;
        const bool cited = cites(f, obligation);
        for (; i < p->n_cells && p->cells[i].falsifier == f; i++) {
            const fal_cell *c = &p->cells[i];
            if (!cited || !among(backends, n, c->backend)) continue;
            named = true;
            ran |= c->ran;
            s.survived_some |= c->survived_some;
            s.hardware &= c->hardware;
            by[c->state]++;
            const int weight = c->state == FAL_CLAIM_FALSIFIED || c->state == FAL_CLAIM_UNDECIDED ? 3
                               : c->state != FAL_CLAIM_SURVIVED                                   ? 2
                                                                                                  : !c->hardware;
            if (weight > told)
                s.why = weight > 1 ? fal_derive_text(p, "%s: %s", f->id, c->why ? c->why : "no reason")
                                   : fal_derive_text(p, "%s ran for %s on a CPU only", f->id, c->backend);
            if (weight > told) told = weight;
        }
        if (!named) continue;
        s.n_falsifiers++;
        s.ran &= ran;
    }
    s.state = fal_claim_state_of(by);
    if (s.n_falsifiers == 0) {
        s.ran = s.hardware = false;
        s.why = n ? "no falsifier with a check on these backends tries to refute it"
                  : "no falsifier with a check tries to refute it";
    }
    return s;
}

static bool is_runtime(const fal_derive_parts *p, const char *obligation)
{
    for (int i = 0; i < p->n_cells; i++) {
        const fal_falsifier *f = p->cells[i].falsifier;
        if (!cites(f, obligation)) continue;
        for (int k = 0; k < f->n_checks; k++)
            if (f->checks[k].observe == FAL_OBSERVE_THROUGHPUT) return true;
    }
    return false;
}

/* ---- stages ---- */

static fal_derived_stage derive_stage(fal_derive_parts *p, const fal_stage *stage)
{
    fal_derived_stage d = { .stage = stage, .is = FAL_STAGE_PENDING };
    d.says = (fal_stage_level)level_of(stage_levels, N_STAGE_LEVELS, stage->status);
    if (stage->n_obligations == 0) {
        d.is = FAL_STAGE_RECORDED;
        d.above = d.says > FAL_STAGE_PENDING;
        d.why = "it names no obligation, so nothing could refute it";
        return d;
    }
    bool some = false, shipped = true, discharged = true;
    const char *no_ship = NULL, *no_discharge = NULL;
    for (int i = 0; i < stage->n_obligations; i++) {
        const char *id = stage->obligations[i];
        const fal_standing s = fal_derive_standing(p, id, stage->backends, stage->n_backends);
        const bool adverse = s.state == FAL_CLAIM_FALSIFIED || s.state == FAL_CLAIM_UNDECIDED;
        some |= s.survived_some;
        const bool ship = s.n_falsifiers > 0 && s.ran && !adverse,
                   discharge = s.state == FAL_CLAIM_SURVIVED && s.hardware;
        if (!ship && (!no_ship || adverse))
            no_ship = fal_derive_text(p, "%s %s: %s", id, fal_claim_state_name(s.state), s.why);
        if (!discharge && !no_discharge)
            no_discharge = fal_derive_text(p, "%s %s: %s", id, fal_claim_state_name(s.state), s.why ? s.why : "");
        shipped &= ship;
        discharged &= discharge;
    }
    if (discharged && (stage->n_blockers || stage->n_waits_for)) {
        discharged = false;
        no_discharge =
            fal_derive_text(p, "open blocker: %s", stage->n_blockers ? stage->blockers[0] : stage->waits_for[0]);
    }
    d.is = !some         ? FAL_STAGE_PENDING
           : !shipped    ? FAL_STAGE_PARTIAL
           : !discharged ? FAL_STAGE_SHIPPED
                         : FAL_STAGE_DISCHARGED;
    d.why = !shipped ? no_ship : no_discharge;
    d.above = d.says > d.is;
    return d;
}

/* ---- contracts ---- */

static int find_stem(const fal_contract_set *set, const char *stem)
{
    for (int i = 0; i < set->n_contracts; i++)
        if (strcmp(set->contracts[i]->stem, stem) == 0) return i;
    return -1;
}

static void derive_level(fal_derive_parts *p, int at);

/* A dependency that cannot be refuted, or was, holds whoever leans on it. */
static const char *held_by_dependency(fal_derive_parts *p, const fal_contract *c)
{
    for (int i = 0; i < c->n_depends_on; i++) {
        const int on = find_stem(p->set, c->depends_on[i]);
        if (on < 0) return fal_derive_text(p, "depends on %s, which is not among these contracts", c->depends_on[i]);
        derive_level(p, on);
        if (p->contracts[on].is == FAL_CONTRACT_DRAFT)
            return fal_derive_text(p, "depends on %s, which is a DRAFT: %s", c->depends_on[i],
                                   p->contracts[on].why ? p->contracts[on].why : "");
    }
    return NULL;
}

static void derive_level(fal_derive_parts *p, int at)
{
    fal_derived_contract *d = &p->contracts[at];
    if (p->visited[at]) return; /* also where contracts depend on each other in a circle: then all of it is DRAFT */
    p->visited[at] = 1;
    d->is = FAL_CONTRACT_DRAFT;
    d->why = "its level is that of a contract that depends on it";
    const fal_contract *c = d->contract;
    const char *correct = NULL, *runtime = NULL;
    int n_correct = 0, n_runtime = 0;
    for (int i = 0; i < c->n_obligations; i++) {
        const fal_derived_obligation *o = &d->obligations[i];
        const bool holds = o->standing.state == FAL_CLAIM_SURVIVED && o->standing.hardware;
        const char **why = o->runtime ? &runtime : &correct;
        *(o->runtime ? &n_runtime : &n_correct) += 1;
        if (!holds && !*why)
            *why = fal_derive_text(p, "%s %s: %s", o->obligation->id, fal_claim_state_name(o->standing.state),
                                   o->standing.why ? o->standing.why : "");
    }
    const char *dependency = correct ? NULL : held_by_dependency(p, c);
    if (n_correct == 0)
        d->why = "it has no obligation of correctness";
    else if (correct || dependency)
        d->why = correct ? correct : dependency;
    else if (n_runtime == 0 || runtime) {
        d->is = FAL_CONTRACT_ALGORITHM;
        d->why = runtime ? runtime : NULL;
    } else {
        d->is = FAL_CONTRACT_RUNTIME;
        d->why = NULL;
    }
    d->above = d->says > d->is;
}

static void derive_contract(fal_derive_parts *p, int at)
{
    const fal_contract *c = p->set->contracts[at];
    fal_derived_contract *d = &p->contracts[at];
    fal_derived_obligation *obligations = fal_arena_take(&p->arena, (size_t)c->n_obligations, sizeof *obligations);
    fal_derived_stage *stages = fal_arena_take(&p->arena, (size_t)c->n_stages, sizeof *stages);
    *d = (fal_derived_contract){ .contract = c, .obligations = obligations, .stages = stages };
    if (!obligations || !stages) return;
    d->says = (fal_contract_level)level_of(contract_levels, N_CONTRACT_LEVELS, c->status);
    for (int i = 0; i < c->n_obligations; i++) {
        const char *id = c->obligations[i].id;
        obligations[i] =
            (fal_derived_obligation){ &c->obligations[i], is_runtime(p, id), fal_derive_standing(p, id, NULL, 0) };
        d->n_bound += obligations[i].standing.n_falsifiers > 0;
        d->n_survived += obligations[i].standing.state == FAL_CLAIM_SURVIVED;
    }
    for (int i = 0; i < c->n_stages; i++) stages[i] = derive_stage(p, &c->stages[i]);
}

fal_status fal_derive(const fal_contract_set *set, const fal_records *records, fal_derived **out, fal_error *err)
{
    fal_derive_parts *p = calloc(1, sizeof *p);
    if (!p) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for derived status");
    p->set = set;
    p->records = records;
    p->contracts = fal_arena_take(&p->arena, (size_t)set->n_contracts, sizeof *p->contracts);
    p->visited = fal_arena_take(&p->arena, (size_t)set->n_contracts, 1);
    if (!p->arena.failed) fal_derive_cells(p);
    for (int i = 0; !p->arena.failed && i < set->n_contracts; i++) derive_contract(p, i);
    for (int i = 0; !p->arena.failed && i < set->n_contracts; i++) derive_level(p, i);
    for (int i = 0; !p->arena.failed && i < set->n_contracts; i++) {
        p->derived.n_above += p->contracts[i].above;
        for (int k = 0; k < set->contracts[i]->n_stages; k++) p->derived.n_above += p->contracts[i].stages[k].above;
    }
    p->derived.contracts = p->contracts;
    p->derived.n_contracts = set->n_contracts;
    p->derived.cells = p->cells;
    p->derived.n_cells = p->n_cells;
    if (p->arena.failed) {
        fal_derived_free(&p->derived);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for derived status");
    }
    *out = &p->derived;
    return FAL_OK;
}

void fal_derived_free(fal_derived *d)
{
    if (!d) return;
    fal_derive_parts *p = (fal_derive_parts *)d;
    fal_arena_free(&p->arena);
    free(p);
}

const fal_cell *fal_derived_cell(const fal_derived *d, const fal_falsifier *f, const char *backend)
{
    for (int i = 0; i < d->n_cells; i++)
        if (d->cells[i].falsifier == f && strcmp(d->cells[i].backend, backend) == 0) return &d->cells[i];
    return NULL;
}

const char *fal_cell_freshness(const fal_cell *c, bool heavy)
{
    const bool excused = heavy ? c->excused : c->excused_light;
    switch (c->state) {
    case FAL_CLAIM_SURVIVED:
    case FAL_CLAIM_WAIVED: return "fresh";
    case FAL_CLAIM_FALSIFIED: return "falsified";
    case FAL_CLAIM_UNDECIDED: return "undecided";
    case FAL_CLAIM_STALE: return "stale";
    case FAL_CLAIM_PARTIAL: return excused ? "fresh" : c->stale_some ? "stale" : "missing";
    case FAL_CLAIM_UNBOUND:
    case FAL_CLAIM_MISSING:
    case FAL_N_CLAIM_STATES: break;
    }
    return excused ? "excused" : "missing";
}

bool fal_cell_is_taken(const fal_cell *c, const fal_fresh_filter *filter)
{
    bool taken = filter->contracts.n == 0;
    for (int i = 0; i < filter->contracts.n; i++)
        taken |= fal_glob_match(filter->contracts.items[i], c->contract->stem);
    return taken && among(filter->backends.items, filter->backends.n, c->backend);
}

fal_fresh_count fal_derived_fresh(const fal_derived *d, const fal_fresh_filter *filter)
{
    fal_fresh_count t = { 0 };
    for (int i = 0; i < d->n_cells; i++) {
        if (!fal_cell_is_taken(&d->cells[i], filter)) continue;
        const char *what = fal_cell_freshness(&d->cells[i], filter->heavy);
        t.cells++;
        *(strcmp(what, "fresh") == 0       ? &t.fresh
          : strcmp(what, "falsified") == 0 ? &t.falsified
          : strcmp(what, "undecided") == 0 ? &t.undecided
          : strcmp(what, "stale") == 0     ? &t.stale
          : strcmp(what, "excused") == 0   ? &t.excused
                                           : &t.missing) += 1;
    }
    return t;
}
