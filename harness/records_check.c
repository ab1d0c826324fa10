/* Evidence held against the summaries of the runs that wrote it, and each file against itself. */
#include "harness/evidence.h"
#include "harness/records_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *text_at(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

/* What every build makes anew without any device, so that it need not be kept. */
static bool need_not_be_kept(const char *path)
{
    return strstr(path, "-nodevice-") != NULL;
}

/* One file as one summary lists it. */
typedef struct {
    const char *path, *sha256, *verdict;
    int run;
} listing;

/* By path, the newest run first. */
static int compare_listings(const void *pa, const void *pb)
{
    const listing *a = pa, *b = pb;
    const int by_path = strcmp(a->path, b->path);
    return by_path ? by_path : b->run - a->run;
}

static listing *all_listings(fal_records_parts *p, size_t *n)
{
    size_t most = 0, k;
    const json_t *file;
    for (int i = 0; i < p->n_runs; i++) most += json_array_size(json_object_get(p->runs[i].json, "files"));
    listing *all = fal_arena_take(&p->arena, most, sizeof *all);
    *n = 0;
    for (int i = 0; all && i < p->n_runs; i++) json_array_foreach(json_object_get(p->runs[i].json, "files"), k, file)
        {
            const listing l = { text_at(file, "path"), text_at(file, "sha256"), text_at(file, "verdict"), i };
            if (l.path && l.sha256) all[(*n)++] = l;
        }
    if (*n) qsort(all, *n, sizeof *all, compare_listings);
    return all;
}

/* l[0..n) are the listings of one path, the newest first. */
static void hold_against_runs(fal_records_parts *p, const listing *l, size_t n)
{
    fal_record *r = fal_records_find(p, l->path);
    const char *newest = p->runs[l->run].name;
    if (!r) {
        bool told = need_not_be_kept(l->path);
        for (int i = 0; i < p->n_problems && !told; i++) told = strcmp(p->problems[i].path, l->path) == 0;
        if (!told)
            fal_records_problem(p, NULL, l->path, "restore it, or run its falsifier again",
                                "has vanished: runs/%.200s lists it as %.40s", newest,
                                l->verdict ? l->verdict : "without a verdict");
        return;
    }
    size_t matches = 0;
    while (matches < n && strcmp(l[matches].sha256, r->sha256) != 0) matches++;
    r->run = newest;
    if (matches == n)
        fal_records_problem(p, r, r->path, "restore it, or run its falsifier again",
                            "was edited: it is not the file that runs/%.200s lists", newest);
    else if (matches > 0)
        fal_records_problem(p, r, r->path, "restore the newer file; a lost attempt stays on record",
                            "was rolled back: it is of runs/%.120s, but runs/%.120s wrote it anew",
                            p->runs[l[matches].run].name, newest);
}

static double number_at(const json_t *j, const char *key, bool *there)
{
    const json_t *n = json_object_get(j, key);
    *there = json_is_number(n) || json_is_string(n);
    if (json_is_number(n)) return json_number_value(n);
    const char *s = json_string_value(n);
    if (s && strcmp(s, "inf") == 0) return (double)INFINITY;
    if (s && strcmp(s, "-inf") == 0) return -(double)INFINITY;
    return (double)NAN;
}

static bool within(const json_t *limit, double value)
{
    bool max, min, equal;
    const double high = number_at(limit, "max", &max), low = number_at(limit, "min", &min),
                 same = number_at(limit, "equal", &equal);
    return (!max || value <= high) && (!min || value >= low) && (!equal || (value <= same && value >= same)) &&
           (max || min || equal);
}

static void hold_against_itself(fal_records_parts *p, fal_record *r)
{
    fal_verdict_kind worst = FAL_SURVIVED;
    const json_t *cases = json_object_get(r->json, "cases");
    for (int i = 0; i < r->n_cases; i++) {
        const json_t *c = json_array_get(cases, (size_t)i);
        bool has_value;
        const double value = number_at(c, "value", &has_value);
        worst = fal_evidence_worst(worst, r->cases[i].verdict);
        if (r->cases[i].verdict != FAL_SURVIVED || !has_value || within(json_object_get(c, "limit"), value)) continue;
        fal_records_problem(p, r, r->path, "run its falsifier again",
                            "contradicts itself: %.300s survived with %g, outside its limit", r->cases[i].id, value);
        return;
    }
    if (worst != r->verdict)
        fal_records_problem(p, r, r->path, "run its falsifier again",
                            "contradicts itself: its verdict is %s, but a case says %s", fal_verdict_name(r->verdict),
                            fal_verdict_name(worst));
}

void fal_records_check(fal_records_parts *p)
{
    size_t n = 0;
    const listing *all = all_listings(p, &n);
    for (size_t i = 0, end; all && i < n; i = end) {
        for (end = i + 1; end < n && strcmp(all[end].path, all[i].path) == 0; end++) continue;
        hold_against_runs(p, &all[i], end - i);
    }
    for (int i = 0; i < p->n_items; i++) {
        if (!p->items[i].run) p->items[i].why_not = "no summary in runs/ lists it";
        hold_against_itself(p, &p->items[i]);
    }
}
