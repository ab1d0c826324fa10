/* Waivers of a contract: exceptions that are owned, dated and bounded, or refused. */
#include "harness/contract_rows.h"

#include "harness/text.h"
#include "harness/waiver.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_DAYS = 180 };

static const char *const backends[] = { "reference", "opencl", "cuda", NULL };

enum { LIMIT, REASON };
static const fal_key waiver_keys[] = {
    [LIMIT] = MAP("limit", true),
    [REASON] = TEXT("reason", true, fal_waiver, reason),
    NAMED("id", true, fal_waiver, id, &fal_form_short_id),
    NAMED("falsifier", true, fal_waiver, falsifier, &fal_form_falsifier_id),
    NAMED("check", true, fal_waiver, check, &fal_form_name),
    { "backends", FAL_KEY_TEXTS, false, offsetof(fal_waiver, backends), offsetof(fal_waiver, n_backends), backends,
      NULL, true },
    TEXT("owner", true, fal_waiver, owner),
    NAMED("granted", true, fal_waiver, granted, &fal_form_date),
    NAMED("expires", true, fal_waiver, expires, &fal_form_date),
};

/* Days since 1 March of the year 0 in the Gregorian calendar. */
static long day_number(const char *date)
{
    long y = strtol(date, NULL, 10), m = strtol(date + 5, NULL, 10), d = strtol(date + 8, NULL, 10);
    if (m < 3) y--, m += 12;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * (m - 3) + 2) / 5 + d - 1;
}

static const fal_falsifier *find_falsifier(const fal_contract *c, const char *id)
{
    for (int i = 0; i < c->n_falsifiers; i++)
        if (c->falsifiers[i].id && strcmp(c->falsifiers[i].id, id) == 0) return &c->falsifiers[i];
    return NULL;
}

static const char *suggest_falsifier(fal_contract_file *f, const char *id)
{
    const fal_contract *c = &f->contract;
    const char **names =
        fal_diagnosis_is_full(&f->d) ? NULL : fal_arena_take(f->arena, (size_t)c->n_falsifiers + 1, sizeof *names);
    size_t n = 0;
    for (int i = 0; names && i < c->n_falsifiers; i++)
        if (c->falsifiers[i].id) names[n++] = c->falsifiers[i].id;
    return names ? fal_suggest(f, id, names, n) : NULL;
}

/* The check that is excused, or NULL after a diagnosis. */
static const fal_check *find_check(fal_contract_file *f, const fal_yaml_node *node, const fal_waiver *w)
{
    const fal_yaml_node *id = fal_yaml_get(node, "falsifier"), *name = fal_yaml_get(node, "check");
    const fal_falsifier *of = find_falsifier(&f->contract, w->falsifier);
    if (!of) {
        fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(id), suggest_falsifier(f, w->falsifier),
                     "there is no falsifier '%s' in this contract to waive", fal_shown(f, w->falsifier));
        return NULL;
    }
    for (int i = 0; i < of->n_checks; i++)
        if (of->checks[i].name && strcmp(of->checks[i].name, w->check) == 0) return &of->checks[i];
    fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(name), NULL, "%s has no check '%s' to waive", of->id,
                 fal_shown(f, w->check));
    return NULL;
}

static bool is_looser(const fal_limit *waived, const fal_limit *limit)
{
    switch (limit->kind) {
    case FAL_LIMIT_MAX: return waived->kind == FAL_LIMIT_MAX && waived->value > limit->value;
    case FAL_LIMIT_MIN: return waived->kind == FAL_LIMIT_MIN && waived->value < limit->value;
    case FAL_LIMIT_EQUAL:
        return (waived->kind == FAL_LIMIT_MAX && waived->value > limit->value) ||
               (waived->kind == FAL_LIMIT_MIN && waived->value < limit->value);
    }
    return false;
}

static bool finish(fal_contract_file *f, const fal_yaml_node *node, void *item, const fal_yaml_node *const *found)
{
    fal_waiver *w = item;
    w->place = node->place;
    const int before = f->d.n_errors;
    if (found[LIMIT]) fal_limit_read(f, found[LIMIT], &w->limit);
    if (found[REASON]) fal_basis_is_reason(f, found[REASON], "reason");
    w->limit.basis = w->reason;
    if (f->d.n_errors != before || !found[LIMIT] || !w->falsifier || !w->check || !w->granted || !w->expires)
        return false;
    if (w->limit.has_warn)
        fal_diagnose(&f->d, FAL_RULE_CON_020, FAL_AT(found[LIMIT]), NULL, "the limit of a waiver has no warn mark");
    const fal_check *check = find_check(f, node, w);
    if (check && !is_looser(&w->limit, &check->limit))
        fal_diagnose(&f->d, FAL_RULE_CON_020, FAL_AT(found[LIMIT]),
                     "give the limit of the check in its direction, with more room, and no more than is needed",
                     "a waiver's limit must be looser than that of the check, in its direction");
    const fal_yaml_node *expires = fal_yaml_get(node, "expires");
    const long days = day_number(w->expires) - day_number(w->granted);
    if (days < 0 || days > LONGEST_DAYS)
        fal_diagnose(&f->d, FAL_RULE_CON_020, FAL_AT(expires), "renew it by an amendment if it must last longer",
                     "the waiver ends %ld days after it was granted, allowed are 0 to %d", days, LONGEST_DAYS);
    return w->id != NULL;
}

static const fal_item_kind waivers = { "waivers",          "a waiver",         waiver_keys,
                                       FAL_N(waiver_keys), sizeof(fal_waiver), finish };

static bool share_backend(const fal_waiver *a, const fal_waiver *b)
{
    if (a->n_backends == 0 || b->n_backends == 0) return true;
    for (int i = 0; i < a->n_backends; i++)
        for (int k = 0; k < b->n_backends; k++)
            if (strcmp(a->backends[i], b->backends[k]) == 0) return true;
    return false;
}

void fal_waivers_read(fal_contract_file *f, const fal_yaml_node *list)
{
    enum { MOST = 64 }; /* each is an exception; so many are another contract */
    fal_contract *c = &f->contract;
    const void *items = NULL;
    if (list->kind == FAL_YAML_LIST && list->n > MOST) {
        fal_diagnose(&f->d, FAL_RULE_CON_020, FAL_AT(list), NULL, "%zu waivers, at most %d are allowed", list->n, MOST);
        return;
    }
    c->n_waivers = fal_items_read(f, list, &waivers, &items, NULL);
    c->waivers = items;
    fal_items_refuse_same(f, list, "id", "a waiver with id");
    for (int i = 0; i < c->n_waivers; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(c->waivers[i].falsifier, c->waivers[k].falsifier) == 0 &&
                strcmp(c->waivers[i].check, c->waivers[k].check) == 0 && share_backend(&c->waivers[i], &c->waivers[k]))
                fal_diagnose(&f->d, FAL_RULE_CON_020, c->waivers[i].place, 1, "keep one of them",
                             "%s/%s is waived already in line %d", c->waivers[i].falsifier, c->waivers[i].check,
                             c->waivers[k].place.line);
}

/* ---- in use ---- */

const fal_waiver *fal_waiver_of(const fal_contract *c, const char *falsifier, const char *check, const char *backend)
{
    for (int i = 0; i < c->n_waivers; i++) {
        const fal_waiver *w = &c->waivers[i];
        if (strcmp(w->falsifier, falsifier) != 0 || strcmp(w->check, check) != 0) continue;
        if (w->n_backends == 0) return w;
        for (int b = 0; b < w->n_backends; b++)
            if (strcmp(w->backends[b], backend) == 0) return w;
    }
    return NULL;
}

bool fal_waiver_expired(const fal_waiver *w, const char *today)
{
    return strncmp(today, w->expires, 10) > 0;
}

bool fal_waiver_covers(const fal_waiver *w, double value)
{
    return w->limit.kind == FAL_LIMIT_MAX ? value <= w->limit.value : value >= w->limit.value; /* NaN: neither */
}

const fal_object fal_object_waiver = { "waiver", waiver_keys, FAL_N(waiver_keys) };
