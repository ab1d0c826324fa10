/* falsify drift: evidence of two runs beside each other; what still passes but has moved towards its limit is told. */
#include "harness/cmd.h"
#include "harness/evidence.h"
#include "harness/text.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: falsify drift [options] OLD NEW\n"
    "Compares the values of two evidence folders, case by case: same case, same device, same model. A case that "
    "survives in\n"
    "both has drifted when its value is worse by more than K noise floors, or, where no noise floor is known, by more "
    "than a\n"
    "tenth of its limit. A case that survived and does not survive any more is told as well.\n"
    "\n"
    "  --sigma K            noise floors; default 3\n"
    "  --json               one JSON document on stdout\n"
    "  -h, --help           this text\n"
    "\n"
    "exit status: 0 nothing drifted, 1 something did, 2 usage, 3 bad evidence, 4 nothing in common\n";

enum { MOST_SHOWN = 60 };

typedef struct {
    char *key;      /* device, model, case: owned */
    const char *id; /* into the document */
    const char *verdict;
    double value, limit, noise; /* NaN: none */
    bool lower;                 /* lower is worse */
} entry;

typedef struct {
    entry *items;
    size_t n, cap;
    json_t *documents; /* keeps what the entries point into */
} evidence;

static void evidence_free(evidence *e)
{
    for (size_t i = 0; i < e->n; i++) free(e->items[i].key);
    free(e->items);
    json_decref(e->documents);
    *e = (evidence){ 0 };
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static double number_of(const json_t *j)
{
    const char *const text = json_string_value(j);
    if (json_is_number(j)) return json_number_value(j);
    if (text && strcmp(text, "inf") == 0) return (double)INFINITY;
    if (text && strcmp(text, "-inf") == 0) return -(double)INFINITY;
    return (double)NAN;
}

static bool add(evidence *e, const json_t *file, const json_t *c)
{
    const char *const id = json_string_value(json_object_get(c, "id")), *const verdict = json_string_value(
                                                                            json_object_get(c, "verdict"));
    const json_t *const limit = json_object_get(c, "limit");
    const char *const device = json_string_value(json_object_get(json_object_get(file, "device"), "slug"));
    const char *const model = json_string_value(json_object_get(json_object_get(file, "model"), "sha256"));
    if (!id || !verdict) return true; /* told by the count of cases, not by a guess */
    if (e->n == e->cap) {
        const size_t cap = e->cap ? e->cap * 2 : 256;
        entry *const more = realloc(e->items, cap * sizeof *more);
        if (!more) return false;
        e->items = more;
        e->cap = cap;
    }
    entry x = { .id = id,
                .verdict = verdict,
                .value = number_of(json_object_get(c, "value")),
                .noise = number_of(json_object_get(c, "noise_floor")),
                .limit = (double)NAN };
    static const char *const kinds[] = { "max", "min", "equal" };
    for (int k = 0; k < 3; k++)
        if (json_object_get(limit, kinds[k])) {
            x.limit = number_of(json_object_get(limit, kinds[k]));
            x.lower = k == 1;
        }
    fal_text key = { 0 };
    fal_text_addf(&key, "%s\n%s\n%s", device ? device : "", model ? model : "", id);
    if (key.failed) {
        fal_text_free(&key);
        return false;
    }
    x.key = key.data;
    e->items[e->n++] = x;
    return true;
}

static fal_status read_file(evidence *e, const char *path, fal_error *err)
{
    json_error_t je;
    json_t *const j = json_load_file(path, JSON_REJECT_DUPLICATES, &je);
    if (!j) return fal_fail(err, FAL_ERR_INPUT, NULL, "%s:%d:%d: not JSON: %s", path, je.line, je.column, je.text);
    const json_t *const cases = json_object_get(j, "cases");
    fal_status st = json_is_array(cases)
                        ? FAL_OK
                        : fal_fail(err, FAL_ERR_INPUT, "name an evidence folder", "%s: 'cases' is missing", path);
    for (size_t i = 0; !st && i < json_array_size(cases); i++)
        if (!add(e, j, json_array_get(cases, i))) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
    json_array_append_new(e->documents, j);
    return st;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

static bool is_json(const char *name)
{
    const size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".json") == 0 && name[0] != '.';
}

/* folder/<falsifier>/<file>.json; runs lists files, and holds no cases. */
static fal_status read_folder(const char *folder, evidence *e, fal_error *err)
{
    *e = (evidence){ .documents = json_array() };
    if (!e->documents) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for evidence");
    DIR *const d = opendir(folder);
    if (!d) return fal_fail(err, FAL_ERR_INPUT, "name an evidence folder", "%s: %s", folder, strerror(errno));
    fal_status st = FAL_OK;
    for (struct dirent *x; !st && (x = readdir(d)) != NULL;) {
        if (x->d_name[0] == '.' || strcmp(x->d_name, "runs") == 0) continue;
        fal_text sub = { 0 };
        fal_text_addf(&sub, "%s/%s", folder, x->d_name);
        DIR *const files = sub.failed ? NULL : opendir(fal_text_str(&sub));
        for (struct dirent *y; !st && files && (y = readdir(files)) != NULL;) {
            if (!is_json(y->d_name)) continue;
            fal_text path = { 0 };
            fal_text_addf(&path, "%s/%s", fal_text_str(&sub), y->d_name);
            st = path.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path")
                             : read_file(e, fal_text_str(&path), err);
            fal_text_free(&path);
        }
        if (files) closedir(files);
        fal_text_free(&sub);
    }
    closedir(d);
    if (!st && e->n > 1) qsort(e->items, e->n, sizeof *e->items, by_key);
    return st;
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

typedef enum { SAME, DRIFTED, LOST } change;

/* How much worse the value is, and how much that would have to be: in noise floors, or in tenths of the limit. */
static change compare(const entry *old, const entry *new, double sigma, double *worse, double *allowed)
{
    *worse = *allowed = (double)NAN;
    const bool survived = strcmp(old->verdict, "survived") == 0;
    if (survived && strcmp(new->verdict, "survived") != 0) return LOST;
    if (!survived || isnan(old->value) || isnan(new->value) || isnan(new->limit)) return SAME;
    *worse = new->lower ? old->value - new->value : new->value - old->value;
    /* the floor of a metric that is 1 at best lies that far below 1 */
    const double noise = new->lower ? 1 - new->noise : new->noise;
    *allowed = noise > 0 ? sigma * noise : fabs(new->limit) / 10;
    return *worse > *allowed ? DRIFTED : SAME;
}

typedef struct {
    size_t compared, drifted, lost, only_old, only_new;
} tally;

static void print_change(const entry *old, const entry *new, change what, double worse, double allowed, FILE *f)
{
    fprintf(f, "  %-8s ", what == LOST ? "lost" : "drifted");
    fal_text_print(f, new->id, strlen(new->id));
    if (what == LOST) {
        fputs("\n           survived, is now ", f);
        fal_text_print(f, new->verdict, strlen(new->verdict));
        fputc('\n', f);
    } else
        fprintf(f, "\n           %.6g -> %.6g, worse by %.3g, allowed %.3g; limit %.6g\n", old->value, new->value,
                worse, allowed, new->limit);
}

static tally walk(const evidence *old, const evidence *new, double sigma, json_t *list, FILE *f)
{
    tally t = { 0 };
    size_t shown = 0;
    for (size_t a = 0, b = 0; a < old->n || b < new->n;) {
        const int order = a == old->n ? 1 : b == new->n ? -1 : strcmp(old->items[a].key, new->items[b].key);
        if (order < 0) {
            t.only_old++;
            a++;
            continue;
        }
        if (order > 0) {
            t.only_new++;
            b++;
            continue;
        }
        const entry *const x = &old->items[a++], *const y = &new->items[b++];
        double worse, allowed;
        const change what = compare(x, y, sigma, &worse, &allowed);
        t.compared++;
        if (what == SAME) continue;
        if (what == DRIFTED)
            t.drifted++;
        else
            t.lost++;
        if (list)
            json_array_append_new(list,
                                  json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "id", fal_json_text(y->id), "what",
                                            what == LOST ? "lost" : "drifted", "old", fal_json_number(x->value), "new",
                                            fal_json_number(y->value), "worse", fal_json_number(worse), "allowed",
                                            fal_json_number(allowed), "verdict", fal_json_text(y->verdict)));
        else if (shown++ < MOST_SHOWN)
            print_change(x, y, what, worse, allowed, f);
    }
    if (!list && shown > MOST_SHOWN) fprintf(f, "  ... and %zu more; --json shows all\n", shown - MOST_SHOWN);
    return t;
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *old, *new;
    double sigma;
    bool json, help;
} arguments;

static fal_status parse(int argc, char **argv, arguments *a, fal_error *err)
{
    enum { SIGMA = 256, JSON };
    static const struct option longs[] = { { "sigma", required_argument, NULL, SIGMA },
                                           { "json", no_argument, NULL, JSON },
                                           { "help", no_argument, NULL, 'h' },
                                           { NULL, 0, NULL, 0 } };
    *a = (arguments){ .sigma = 3 };
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        char *end = NULL;
        if (c == 'h')
            a->help = true;
        else if (c == JSON)
            a->json = true;
        else if (c == SIGMA) {
            a->sigma = strtod(optarg, &end);
            if (end == optarg || *end || !(a->sigma > 0) || !isfinite(a->sigma))
                return fal_fail(err, FAL_ERR_USAGE, NULL, "drift: --sigma: found '%.60s', expected a number above 0",
                                optarg);
        } else
            return fal_fail(err, FAL_ERR_USAGE, "falsify drift --help",
                            c == ':' ? "drift: option '%.60s' needs a value" : "drift: no option is named '%.60s'",
                            argv[optind - 1]);
    }
    if (a->help) return FAL_OK;
    if (argc - optind != 2)
        return fal_fail(err, FAL_ERR_USAGE, "falsify drift OLD NEW", "drift: expected two evidence folders, found %d",
                        argc - optind);
    a->old = argv[optind];
    a->new = argv[optind + 1];
    return FAL_OK;
}

static fal_status compare_folders(const arguments *a, const fal_cmd_env *env, int *status, fal_error *err)
{
    evidence old = { 0 }, new = { 0 };
    fal_status st = read_folder(a->old, &old, err);
    if (!st) st = read_folder(a->new, &new, err);
    json_t *list = !st && a->json ? json_array() : NULL;
    const tally t = st ? (tally){ 0 } : walk(&old, &new, a->sigma, list, env->out);
    if (!st && t.compared == 0)
        st = fal_fail(err, FAL_ERR_NOTHING, "evidence of the same cases, device and model can be compared",
                      "drift: %zu cases in %s and %zu in %s have nothing in common", old.n, a->old, new.n, a->new);
    if (!st && list) {
        json_t *j = json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:O}", "sigma", a->sigma, "compared",
                              (json_int_t)t.compared, "drifted", (json_int_t)t.drifted, "lost", (json_int_t)t.lost,
                              "only_old", (json_int_t)t.only_old, "only_new", (json_int_t)t.only_new, "changes", list);
        st = fal_json_print(j, env->out, err);
    } else if (!st)
        fprintf(env->out, "compared %zu = steady %zu + drifted %zu + lost %zu; only old %zu, only new %zu\n",
                t.compared, t.compared - t.drifted - t.lost, t.drifted, t.lost, t.only_old, t.only_new);
    if (!st && t.drifted + t.lost > 0) {
        *status = 1;
        snprintf(err->message, sizeof err->message, "%zu of %zu cases drifted, %zu do not survive any more", t.drifted,
                 t.compared, t.lost);
    }
    json_decref(list);
    evidence_free(&old);
    evidence_free(&new);
    return st;
}

int fal_cmd_drift(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    arguments a;
    int status = 0;
    fal_status st = parse(argc, argv, &a, err);
    if (!st && a.help)
        fputs(help, env->out);
    else if (!st)
        st = compare_folders(&a, env, &status, err);
    return st ? fal_exit_status(st) : status;
}
