/* Freshness: is a piece of evidence still about today's claim, sources, model and oracle, and if not, why. */
#include "harness/freshness.h"

#include "harness/claim.h"
#include "harness/digest.h"
#include "harness/records_parts.h"
#include "harness/text.h"
#include "harness/waiver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files that evidence names, and their digests, each computed once. */
typedef struct {
    const char *path, *name;
    char sha256[65];
} known_file;

enum { MAX_FILES = 16 };

typedef struct {
    const fal_today *today;
    known_file files[MAX_FILES];
    int n_files;
    const fal_falsifier *of; /* whose claim is at hand */
    json_t *claim;
} judge;

static void because(fal_text *why, const char *what, const char *name)
{
    fal_text_add(why, why->len ? "; " : "");
    if (name) {
        fal_text_add_safe(why, name, strlen(name));
        fal_text_add(why, " ");
    }
    fal_text_add(why, what);
}

static const fal_falsifier *find_falsifier(const fal_contract_set *set, const char *id, const fal_contract **of)
{
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++)
            if (strcmp(set->contracts[i]->falsifiers[k].id, id) == 0) {
                *of = set->contracts[i];
                return &set->contracts[i]->falsifiers[k];
            }
    return NULL;
}

static void compare(fal_text *why, const json_t *then, const json_t *now, const char *what)
{
    const char *key;
    const json_t *value;
    char text[64];
    json_object_foreach((json_t *)(uintptr_t)now, key, value)
    {
        const json_t *was = json_object_get(then, key);
        if (was && json_equal((json_t *)(uintptr_t)was, (json_t *)(uintptr_t)value)) continue;
        snprintf(text, sizeof text, "%s (%s)", was ? "changed" : "is new", what);
        because(why, text, key);
    }
    json_object_foreach((json_t *)(uintptr_t)then, key, value)
    {
        if (json_object_get(now, key)) continue;
        snprintf(text, sizeof text, "is gone (%s)", what);
        because(why, text, key);
    }
}

static fal_status judge_claim(judge *j, const fal_record *r, fal_text *why, fal_error *err)
{
    const fal_contract *c = NULL;
    const fal_falsifier *f = find_falsifier(j->today->contracts, r->id, &c);
    if (!f) {
        because(why, "no contract here has this id", NULL);
        return FAL_OK;
    }
    if (f->retired || f->n_checks == 0) {
        because(why, f->retired ? "the falsifier is retired" : "the falsifier has no check any more", NULL);
        return FAL_OK;
    }
    const json_t *then = json_object_get(r->json, "claim");
    if (!json_is_object(then)) {
        because(why, "it does not say which claim it is about", NULL);
        return FAL_OK;
    }
    if (j->of != f) {
        json_decref(j->claim);
        j->claim = fal_claim_json(j->today->contracts, c, f, err);
        j->of = j->claim ? f : NULL;
        if (!j->claim) return FAL_ERR_MEMORY;
    }
    const size_t before = why->len;
    compare(why, json_object_get(then, "checks"), json_object_get(j->claim, "checks"), "check");
    compare(why, json_object_get(then, "obligations"), json_object_get(j->claim, "obligations"), "obligation");
    if (why->len == before && !json_equal(json_object_get(then, "sha256"), json_object_get(j->claim, "sha256")))
        because(why, "the claim changed", NULL);
    return FAL_OK;
}

static fal_status judge_sources(const judge *j, const fal_record *r, fal_text *why, fal_error *err)
{
    const json_t *then = json_object_get(r->json, "sources"), *value;
    const char *key;
    if (!json_is_object(then)) {
        because(why, "it does not say which sources it is about", NULL);
        return FAL_OK;
    }
    json_t *now = fal_sources_json(j->today->sources, r->backend);
    if (!now) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for sources");
    json_object_foreach(now, key, value)
    {
        const json_t *was = json_object_get(then, key);
        if (json_is_string(value) && was && json_equal((json_t *)(uintptr_t)was, (json_t *)(uintptr_t)value)) continue;
        const bool shared = strcmp(key, "shared") == 0;
        char folder[80];
        snprintf(folder, sizeof folder, "%.64s/", key);
        because(why, "changed since", shared ? "what harness/ computes for all backends" : folder);
    }
    json_decref(now);
    return FAL_OK;
}

/* What was waived is excused only as long as its waiver holds and covers the value. */
static void judge_waivers(const judge *j, const fal_record *r, fal_text *why)
{
    const fal_contract *c = NULL;
    if (!find_falsifier(j->today->contracts, r->id, &c)) return;
    for (int i = 0; i < r->n_cases; i++) {
        if (r->cases[i].verdict != FAL_WAIVED) continue;
        const fal_waiver *w = fal_waiver_of(c, r->id, r->cases[i].check, r->backend);
        const json_t *value = json_object_get(json_array_get(json_object_get(r->json, "cases"), (size_t)i), "value");
        char text[160];
        if (!w) {
            because(why, "is waived by nobody any more (check)", r->cases[i].check);
        } else if (fal_waiver_expired(w, j->today->date)) {
            snprintf(text, sizeof text, "expired on %.10s (waiver)", w->expires);
            because(why, text, w->id);
        } else if (!json_is_number(value) || !fal_waiver_covers(w, json_number_value(value))) {
            because(why, "does not cover the value any more (waiver)", w->id);
        } else {
            continue;
        }
        return;
    }
}

static fal_status digest_of(judge *j, const char *name, const char **sha256, fal_error *err)
{
    *sha256 = NULL;
    for (int i = 0; i < j->n_files; i++) {
        known_file *f = &j->files[i];
        if (strcmp(f->name, name) != 0) continue;
        if (!f->sha256[0]) {
            const fal_status st = fal_sha256_file(f->path, f->sha256, err);
            if (st) return st;
        }
        *sha256 = f->sha256;
        return FAL_OK;
    }
    return FAL_OK;
}

static fal_status judge_file(judge *j, const char *what, const char *name, const char *sha256, fal_text *why,
                             fal_error *err)
{
    const char *now;
    char text[64];
    if (!name || !sha256) return FAL_OK;
    const fal_status st = digest_of(j, name, &now, err);
    if (st || !now || strcmp(now, sha256) == 0) return st;
    snprintf(text, sizeof text, "is another %s now", what);
    because(why, text, name);
    return FAL_OK;
}

fal_status fal_freshness_judge(fal_records *records, const fal_today *today, fal_error *err)
{
    fal_records_parts *p = (fal_records_parts *)records;
    judge j = { .today = today };
    fal_status st = FAL_OK;
    for (const char *const *m = today->models; m && *m && j.n_files < MAX_FILES; m++) {
        const char *slash = strrchr(*m, '/');
        if (access(*m, R_OK) == 0) j.files[j.n_files++] = (known_file){ .path = *m, .name = slash ? slash + 1 : *m };
    }
    for (int i = 0; !st && i < records->n; i++) {
        fal_record *r = &records->items[i];
        fal_text why = { 0 };
        st = judge_claim(&j, r, &why, err);
        if (!st) st = judge_sources(&j, r, &why, err);
        if (!st) judge_waivers(&j, r, &why);
        if (!st) st = judge_file(&j, "model", r->model, r->model_sha256, &why, err);
        if (!st) st = judge_file(&j, "oracle", r->oracle, r->oracle_sha256, &why, err);
        if (!st && why.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for evidence");
        r->fresh = !st && why.len == 0;
        if (!r->fresh && !r->why_not) r->why_not = fal_arena_copy(&p->arena, fal_text_str(&why), why.len);
        fal_text_free(&why);
    }
    json_decref(j.claim);
    if (!st && p->arena.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for evidence");
    return st;
}
