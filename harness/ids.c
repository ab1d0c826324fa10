/* The lock file of ids: reading, comparing with the contracts, and writing it with consent. */
#include "harness/ids.h"

#include "harness/arena.h"
#include "harness/claim.h"
#include "harness/evidence.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
    [FAL_ID_OBLIGATION] = "obligation", [FAL_ID_FALSIFIER] = "falsifier", [FAL_ID_STAGE] = "stage"
};
static const char head[] =
    "# Every id of these contracts, with the digest of its words; an id means one thing for good.\n"
    "# Written by 'falsify ids --update'. Columns: kind, id, SHA-256, contract, its version; 'gone' when taken out.\n";

const char *fal_id_kind_name(fal_id_kind k)
{
    return kinds[k];
}

typedef struct {
    fal_ids ids; /* first: fal_ids_free finds the whole by it */
    fal_arena arena;
    fal_id *items;
    int n, cap;
} box;

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for ids");
}

static bool push(box *b, const fal_id *id)
{
    if (b->n == b->cap) {
        const int cap = b->cap ? 2 * b->cap : 128;
        fal_id *items = realloc(b->items, (size_t)cap * sizeof *items);
        if (!items) return false;
        b->items = items;
        b->cap = cap;
    }
    b->items[b->n++] = *id;
    return true;
}

/* ---- what the contracts have ---- */

static fal_status add_current(box *b, fal_id_kind kind, const char *id, const char hex[65], const fal_contract *c,
                              fal_place place, fal_error *err)
{
    const fal_id entry = { .kind = kind,
                           .id = id,
                           .state = FAL_ID_NEW,
                           .sha256 = fal_arena_copy(&b->arena, hex, 64),
                           .stem = c->stem,
                           .version = c->version ? c->version : "0.0.0",
                           .contract = c,
                           .place = place };
    return entry.sha256 && push(b, &entry) ? FAL_OK : no_memory(err);
}

static fal_status collect(box *b, const fal_contract *c, fal_error *err)
{
    char hex[65];
    fal_status st = FAL_OK;
    for (int i = 0; !st && i < c->n_obligations; i++) {
        st = fal_claim_obligation_digest(&c->obligations[i], hex, err);
        if (!st) st = add_current(b, FAL_ID_OBLIGATION, c->obligations[i].id, hex, c, c->obligations[i].place, err);
    }
    for (int i = 0; !st && i < c->n_falsifiers; i++) {
        st = fal_claim_falsifier_digest(&c->falsifiers[i], hex, err);
        if (!st) st = add_current(b, FAL_ID_FALSIFIER, c->falsifiers[i].id, hex, c, c->falsifiers[i].place, err);
    }
    for (int i = 0; !st && i < c->n_stages; i++) {
        st = fal_claim_stage_digest(&c->stages[i], hex, err);
        if (!st) st = add_current(b, FAL_ID_STAGE, c->stages[i].id, hex, c, c->stages[i].place, err);
    }
    return st;
}

/* ---- what the lock has ---- */

static bool is_hex(const char *s)
{
    return strlen(s) == 64 && s[strspn(s, "0123456789abcdef")] == '\0';
}

static bool loaded(const fal_contract_set *set, const char *stem)
{
    for (int i = 0; i < set->n_contracts; i++)
        if (strcmp(set->contracts[i]->stem, stem) == 0) return true;
    return false;
}

static fal_id *find(box *b, int n, fal_id_kind kind, const char *id)
{
    for (int low = 0, high = n; low < high;) {
        const int mid = low + (high - low) / 2;
        const fal_id *x = &b->items[mid];
        const int order = x->kind != kind ? (x->kind < kind ? -1 : 1) : strcmp(x->id, id);
        if (order == 0) return &b->items[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The first n_current items are sorted; what is gone is put behind them. */
static fal_status take_line(box *b, int n_current, const fal_contract_set *set, bool whole, char *line,
                            const char *lock, int number, fal_error *err)
{
    enum { KIND, ID, SHA, STEM, VERSION, GONE, MOST };
    char *fields[MOST + 1] = { 0 }, *rest = line;
    int n = 0;
    for (char *f; (f = strsep(&rest, " ")) != NULL;)
        if (n <= MOST) fields[n++] = f;
    int kind = 0;
    while (kind <= FAL_ID_STAGE && strcmp(kinds[kind], fields[KIND]) != 0) kind++;
    const bool gone = n == 6 && strcmp(fields[GONE], "gone") == 0;
    if ((n != 5 && !gone) || kind > FAL_ID_STAGE || !is_hex(fields[SHA]) || !*fields[ID] || !*fields[STEM] ||
        !*fields[VERSION])
        return fal_fail(err, FAL_ERR_INPUT,
                        "restore it from version control, or remove it and run 'falsify ids --update'",
                        "%s:%d: is no line of a lock file", lock, number);
    fal_id *is = find(b, n_current, (fal_id_kind)kind, fields[ID]);
    if (is && is->was_sha256)
        return fal_fail(err, FAL_ERR_INPUT, "restore it from version control", "%s:%d: %s stands twice", lock, number,
                        fields[ID]);
    const char *sha256 = fal_arena_copy(&b->arena, fields[SHA], 64),
               *stem = fal_arena_copy(&b->arena, fields[STEM], strlen(fields[STEM])),
               *version = fal_arena_copy(&b->arena, fields[VERSION], strlen(fields[VERSION]));
    if (b->arena.failed) return no_memory(err);
    if (is) {
        is->was_sha256 = sha256;
        is->was_stem = stem;
        is->was_version = version;
        is->taken_out = gone;
        is->state = strcmp(sha256, is->sha256) == 0 ? FAL_ID_SAME : FAL_ID_CHANGED;
        return FAL_OK;
    }
    const fal_id entry = { .kind = (fal_id_kind)kind,
                           .id = fal_arena_copy(&b->arena, fields[ID], strlen(fields[ID])),
                           .state = gone || (!whole && !loaded(set, stem)) ? FAL_ID_SAME : FAL_ID_GONE,
                           .was_sha256 = sha256,
                           .was_stem = stem,
                           .was_version = version,
                           .taken_out = gone };
    return entry.id && push(b, &entry) ? FAL_OK : no_memory(err);
}

static fal_status read_lock(box *b, const fal_contract_set *set, bool whole, const char *lock, fal_error *err)
{
    FILE *f = fopen(lock, "re");
    if (!f)
        return errno == ENOENT ? FAL_OK
                               : fal_fail(err, FAL_ERR_INPUT, "check its permissions", "%s: cannot be opened: %s", lock,
                                          strerror(errno));
    const int n_current = b->n;
    char line[1024];
    fal_status st = FAL_OK;
    for (int number = 1; !st && fgets(line, sizeof line, f); number++) {
        const size_t n = strlen(line);
        if (n == 0 || n + 1 == sizeof line || line[n - 1] != '\n') {
            st = fal_fail(err, FAL_ERR_INPUT, "restore it from version control",
                          "%s:%d: is no whole line of a lock file", lock, number);
            break;
        }
        line[n - 1] = '\0';
        if (line[0] != '#' && line[0]) st = take_line(b, n_current, set, whole, line, lock, number, err);
    }
    if (!st && ferror(f)) st = fal_fail(err, FAL_ERR_INPUT, NULL, "%s: cannot be read", lock);
    fclose(f);
    return st;
}

static int compare(const void *pa, const void *pb)
{
    const fal_id *a = pa, *b = pb;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return strcmp(a->id, b->id);
}

fal_status fal_ids_compare(const fal_contract_set *set, const char *lock, bool whole, fal_ids **out, fal_error *err)
{
    box *b = calloc(1, sizeof *b);
    if (!b) return no_memory(err);
    fal_status st = FAL_OK;
    for (int i = 0; !st && i < set->n_contracts; i++) st = collect(b, set->contracts[i], err);
    if (b->n) qsort(b->items, (size_t)b->n, sizeof *b->items, compare);
    if (!st) st = read_lock(b, set, whole, lock, err);
    if (b->n) qsort(b->items, (size_t)b->n, sizeof *b->items, compare);
    for (int i = 0; i < b->n; i++) b->ids.by[b->items[i].state]++;
    b->ids.items = b->items;
    b->ids.n = b->n;
    if (st)
        fal_ids_free(&b->ids);
    else
        *out = &b->ids;
    return st;
}

void fal_ids_free(fal_ids *ids)
{
    if (!ids) return;
    box *b = (box *)ids;
    free(b->items);
    fal_arena_free(&b->arena);
    free(b);
}

/* ---- writing ---- */

static bool accepted(const fal_names *accept, const char *id)
{
    for (int i = 0; i < accept->n; i++)
        if (strcmp(accept->items[i], id) == 0) return true;
    return false;
}

/* Both of the form 1.0.0. */
static bool is_later(const char *version, const char *than)
{
    long a[3] = { 0 }, b[3] = { 0 };
    sscanf(version, "%9ld.%9ld.%9ld", &a[0], &a[1], &a[2]);
    sscanf(than, "%9ld.%9ld.%9ld", &b[0], &b[1], &b[2]);
    for (int i = 0; i < 3; i++)
        if (a[i] != b[i]) return a[i] > b[i];
    return false;
}

static fal_status refuse(const fal_ids *ids, const fal_names *accept, fal_error *err)
{
    for (int k = 0; k < accept->n; k++) {
        bool used = false;
        for (int i = 0; i < ids->n && !used; i++)
            used = strcmp(ids->items[i].id, accept->items[k]) == 0 &&
                   (ids->items[i].state == FAL_ID_CHANGED || ids->items[i].state == FAL_ID_GONE);
        if (!used)
            return fal_fail(err, FAL_ERR_NOTHING, "'falsify ids' lists what changed",
                            "--accept %.80s: nothing of that id changed or went", accept->items[k]);
    }
    for (int i = 0; i < ids->n; i++) {
        const fal_id *x = &ids->items[i];
        if (x->state != FAL_ID_CHANGED && x->state != FAL_ID_GONE) continue;
        if (!accepted(accept, x->id))
            return fal_fail(
                err, FAL_ERR_INPUT, "put the words back or give the new claim a new id; else name it with --accept",
                "%s %s %s since it was locked in %s %s; an id means one thing for good", kinds[x->kind], x->id,
                x->state == FAL_ID_GONE ? "is gone" : "changed its words", x->was_stem, x->was_version);
        if (x->state == FAL_ID_CHANGED && strcmp(x->stem, x->was_stem) == 0 && !is_later(x->version, x->was_version))
            return fal_fail(err, FAL_ERR_INPUT, "raise metadata.version and say in amendment_history what changed",
                            "%s %s changed its words, but the version of %s, %s, is not above that of the lock, %s",
                            kinds[x->kind], x->id, x->stem, x->version, x->was_version);
    }
    return FAL_OK;
}

fal_status fal_ids_write(const fal_ids *ids, const fal_names *accept, const char *lock, fal_error *err)
{
    fal_status st = refuse(ids, accept, err);
    if (st) return st;
    fal_text t = { 0 }, folder = { 0 };
    fal_text_add(&t, head);
    for (int i = 0; i < ids->n; i++) {
        const fal_id *x = &ids->items[i];
        /* what did not change keeps the version in which it was locked */
        const bool keep =
            x->was_sha256 && (x->state == FAL_ID_SAME || !x->sha256) && (!x->stem || strcmp(x->stem, x->was_stem) == 0);
        const bool gone = !x->sha256 && (x->taken_out || x->state == FAL_ID_GONE);
        fal_text_addf(&t, "%s %s %s %s %s%s\n", kinds[x->kind], x->id, x->sha256 ? x->sha256 : x->was_sha256,
                      keep ? x->was_stem : x->stem, keep ? x->was_version : x->version, gone ? " gone" : "");
    }
    const char *slash = strrchr(lock, '/');
    if (slash)
        fal_text_add_n(&folder, lock, (size_t)(slash - lock));
    else
        fal_text_add(&folder, ".");
    if (t.failed || folder.failed)
        st = no_memory(err);
    else
        st = fal_write_whole(slash == lock ? "/" : fal_text_str(&folder), slash ? slash + 1 : lock, fal_text_str(&t),
                             t.len, err);
    fal_text_free(&t);
    fal_text_free(&folder);
    return st;
}
