/* Derived status, from the bottom: what the records say about each check, and so about each falsifier on each backend. */
#include "harness/derive_parts.h"

#include <string.h>

static const char *const backend_names[] = { "reference", "opencl", "cuda" };
enum { N_BACKENDS = sizeof backend_names / sizeof backend_names[0] };

bool fal_check_names(const fal_check *c, const char *backend)
{
    if (c->n_backends == 0) return strcmp(backend, "reference") != 0;
    for (int i = 0; i < c->n_backends; i++)
        if (strcmp(c->backends[i], backend) == 0) return true;
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_setting(const fal_record *a, const fal_record *b)
{
    return strcmp(a->device, b->device) == 0 && same_text(a->model_sha256, b->model_sha256);
}

/* The records of one falsifier on one backend. */
typedef struct {
    const fal_record *const *items;
    int n;
} record_list;

/* A newer record of the same device and model that says something about the same case. */
static bool is_superseded(const record_list *l, const fal_record *r, const fal_record_case *c)
{
    for (int i = 0; i < l->n; i++) {
        const fal_record *o = l->items[i];
        if (o == r || !fal_record_counts(o) || !same_setting(o, r) || strcmp(o->finished, r->finished) <= 0) continue;
        if (o->complete) return true;
        for (int k = 0; k < o->n_cases; k++)
            if (strcmp(o->cases[k].id, c->id) == 0) return true;
    }
    return false;
}

typedef struct {
    fal_claim_state state;
    bool ran, survived_some, hardware;
    const char *why;
} check_standing;

/* Cases of a check in the newest records of one setting, of which `r` is the complete one (or a partial one alone). */
typedef struct {
    int n, survived, waived, falsified, undecided;
    const fal_record_case *worst, *blocked;
    const fal_record *worst_in;
} tallied;

static void tally(tallied *t, const fal_record *r, const fal_record_case *c)
{
    t->n++;
    switch (c->verdict) {
    case FAL_SURVIVED: t->survived++; return;
    case FAL_WAIVED: t->waived++; return;
    case FAL_BLOCKED:
    case FAL_NOT_RUN: t->blocked = c; return;
    case FAL_FALSIFIED:
        if (!t->falsified++) t->worst = c, t->worst_in = r;
        return;
    case FAL_CRASHED:
    case FAL_TIMED_OUT:
    case FAL_ERROR:
    case FAL_FLAKY:
    case FAL_MISTRUSTED:
    case FAL_N_VERDICTS: break;
    }
    t->undecided++;
    if (!t->worst) t->worst = c, t->worst_in = r;
}

/* Over one setting: the complete record, and partial ones that are newer. */
static tallied tally_setting(const record_list *l, const fal_record *of, const char *check, bool *complete)
{
    tallied t = { 0 };
    *complete = false;
    for (int i = 0; i < l->n; i++) {
        const fal_record *r = l->items[i];
        if (!fal_record_counts(r) || !same_setting(r, of)) continue;
        *complete |= r->complete;
        for (int k = 0; k < r->n_cases; k++)
            if (strcmp(r->cases[k].check, check) == 0 && !is_superseded(l, r, &r->cases[k])) tally(&t, r, &r->cases[k]);
    }
    return t;
}

static void say_worst(fal_derive_parts *p, check_standing *s, fal_claim_state state, const tallied *t)
{
    if (s->state == FAL_CLAIM_FALSIFIED) return;
    s->state = state;
    s->why = fal_derive_text(p, "%s %s, in %s: %s", t->worst->id, fal_verdict_name(t->worst->verdict),
                             t->worst_in->path, t->worst->reason ? t->worst->reason : "");
}

/* Why a check that nothing counts for has no evidence: stale, not run, or blocked. */
static void say_missing(fal_derive_parts *p, const record_list *l, const fal_check *c, const char *backend,
                        check_standing *s)
{
    const fal_record *stale = NULL;
    for (int i = 0; i < l->n; i++)
        if (!fal_record_counts(l->items[i]) && (!stale || strcmp(l->items[i]->finished, stale->finished) > 0))
            stale = l->items[i];
    for (int i = 0; i < l->n && !s->why; i++)
        for (int k = 0; fal_record_counts(l->items[i]) && k < l->items[i]->n_cases && !s->why; k++) {
            const fal_record_case *rc = &l->items[i]->cases[k];
            if (strcmp(rc->check, c->name) == 0)
                s->why = fal_derive_text(p, "check %s was blocked: %s", c->name, rc->reason ? rc->reason : "no reason");
        }
    if (stale) {
        s->state = FAL_CLAIM_STALE;
        s->why = fal_derive_text(p, "evidence in %s does not count: %s", stale->path,
                                 stale->why_not ? stale->why_not : "stale");
    } else if (!s->why) {
        s->why = fal_derive_text(p, "no evidence of check %s on %s", c->name, backend);
    }
}

static check_standing stand_check(fal_derive_parts *p, const record_list *l, const fal_check *c, const char *backend)
{
    check_standing s = { .state = FAL_CLAIM_MISSING };
    bool covered = false, waived = true;
    for (int i = 0; i < l->n; i++) {
        const fal_record *r = l->items[i];
        bool seen = !fal_record_counts(r), complete;
        for (int k = 0; k < i && !seen; k++) seen = fal_record_counts(l->items[k]) && same_setting(l->items[k], r);
        if (seen) continue;
        const tallied t = tally_setting(l, r, c->name, &complete);
        s.ran |= t.survived + t.waived + t.falsified + t.undecided > 0;
        s.survived_some |= t.survived > 0;
        if (t.falsified)
            say_worst(p, &s, FAL_CLAIM_FALSIFIED, &t);
        else if (t.undecided)
            say_worst(p, &s, FAL_CLAIM_UNDECIDED, &t);
        if (!complete || t.survived == 0 || t.survived + t.waived != t.n) continue;
        covered = true;
        waived &= t.waived > 0;
        s.hardware |= !r->on_cpu && !t.waived;
    }
    if (s.state == FAL_CLAIM_FALSIFIED || s.state == FAL_CLAIM_UNDECIDED) {
        s.hardware = false;
    } else if (covered) {
        s.state = waived ? FAL_CLAIM_WAIVED : FAL_CLAIM_SURVIVED;
        if (waived) s.why = fal_derive_text(p, "check %s is waived in part", c->name);
    } else if (s.survived_some) {
        s.state = FAL_CLAIM_PARTIAL;
        s.why = fal_derive_text(p, "not every case of check %s on %s ran", c->name, backend);
    } else {
        say_missing(p, l, c, backend, &s);
    }
    return s;
}

fal_claim_state fal_claim_state_of(const int by[FAL_N_CLAIM_STATES])
{
    int n = 0;
    for (int s = 0; s < FAL_N_CLAIM_STATES; s++) n += by[s];
    if (n == 0) return FAL_CLAIM_UNBOUND;
    if (by[FAL_CLAIM_FALSIFIED]) return FAL_CLAIM_FALSIFIED;
    if (by[FAL_CLAIM_UNDECIDED]) return FAL_CLAIM_UNDECIDED;
    if (by[FAL_CLAIM_SURVIVED] == n) return FAL_CLAIM_SURVIVED;
    if (by[FAL_CLAIM_SURVIVED] + by[FAL_CLAIM_WAIVED] == n) return FAL_CLAIM_WAIVED;
    if (by[FAL_CLAIM_SURVIVED] + by[FAL_CLAIM_WAIVED] + by[FAL_CLAIM_PARTIAL]) return FAL_CLAIM_PARTIAL;
    return by[FAL_CLAIM_STALE] ? FAL_CLAIM_STALE : FAL_CLAIM_MISSING;
}

/* A claim about one card, or about a model of full size, where nobody ever had such a card or model. Stale evidence of it
   excuses nothing. */
static bool is_excused(const record_list *l, const fal_check *c, const check_standing *s)
{
    if (s->state != FAL_CLAIM_MISSING) return false;
    const char *card = fal_params_text(&c->with, "device_name", NULL);
    bool had = false;
    for (int i = 0; card && i < l->n; i++) had |= l->items[i]->device_name && strstr(l->items[i]->device_name, card);
    if (card && !had) return true;
    return fal_params_number(&c->with, "full_size", 0) > 0;
}

static fal_cell make_cell(fal_derive_parts *p, const fal_contract *c, const fal_falsifier *f, const char *backend,
                          const record_list *l)
{
    fal_cell cell = { .falsifier = f,
                      .contract = c,
                      .backend = backend,
                      .n_records = l->n,
                      .hardware = true,
                      .excused = true,
                      .excused_light = true };
    int by[FAL_N_CLAIM_STATES] = { 0 };
    fal_claim_state told = FAL_CLAIM_SURVIVED;
    for (int i = 0; i < l->n; i++) cell.n_counting += fal_record_counts(l->items[i]);
    for (int i = 0; i < f->n_checks; i++) {
        if (!fal_check_names(&f->checks[i], backend)) continue;
        const check_standing s = stand_check(p, l, &f->checks[i], backend);
        cell.n_checks++;
        cell.n_survived += s.state == FAL_CLAIM_SURVIVED;
        cell.ran |= s.ran;
        cell.survived_some |= s.survived_some;
        cell.hardware &= s.hardware;
        cell.stale_some |= s.state == FAL_CLAIM_STALE;
        by[s.state]++;
        if (s.state != FAL_CLAIM_SURVIVED) {
            const bool excused = is_excused(l, &f->checks[i], &s);
            cell.excused &= excused;
            cell.excused_light &= excused || (f->checks[i].heavy && s.state == FAL_CLAIM_MISSING);
        }
        /* the reason that is told is of what weighs most */
        const bool worse =
            s.state == FAL_CLAIM_FALSIFIED || (s.state == FAL_CLAIM_UNDECIDED && told != FAL_CLAIM_FALSIFIED);
        if (s.why && (!cell.why || (worse && told != s.state))) cell.why = s.why, told = s.state;
    }
    cell.state = fal_claim_state_of(by);
    return cell;
}

void fal_derive_cells(fal_derive_parts *p)
{
    int most = 0;
    for (int i = 0; i < p->set->n_contracts; i++) most += N_BACKENDS * p->set->contracts[i]->n_falsifiers;
    p->cells = fal_arena_take(&p->arena, (size_t)most, sizeof *p->cells);
    const fal_record **items = fal_arena_take(&p->arena, (size_t)p->records->n, sizeof *items);
    if (!p->cells || !items) return;
    for (int i = 0; i < p->set->n_contracts; i++)
        for (int k = 0; k < p->set->contracts[i]->n_falsifiers; k++) {
            const fal_falsifier *f = &p->set->contracts[i]->falsifiers[k];
            for (int b = 0; b < N_BACKENDS && !f->retired; b++) {
                bool named = false;
                for (int n = 0; n < f->n_checks; n++) named |= fal_check_names(&f->checks[n], backend_names[b]);
                if (!named) continue;
                record_list l = { .items = items };
                for (int r = 0; r < p->records->n; r++) {
                    const fal_record *record = &p->records->items[r];
                    if (strcmp(record->id, f->id) == 0 && strcmp(record->backend, backend_names[b]) == 0)
                        items[l.n++] = record;
                }
                p->cells[p->n_cells++] = make_cell(p, p->set->contracts[i], f, backend_names[b], &l);
            }
        }
}
