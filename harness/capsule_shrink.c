/* Shrinking capsules: delta debugging, axis by axis, each trial a real run judged by the capsule's own limit. */
#include "harness/capsule.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TRIALS = 600 };

typedef struct {
    fal_bench *bench;
    fal_capsule *now; /* fails */
    fal_attempt last; /* its attempt */
    double end;
    fal_shrunk *out;
    bool used_up;
} shrinking;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool may_go_on(shrinking *s)
{
    if (s->out->trials >= MAX_TRIALS || seconds() > s->end || (s->bench->stop && *s->bench->stop)) s->used_up = true;
    return !s->used_up;
}

/* Keeps these units if the call then still fails. */
static bool keep(shrinking *s, char axis, const int *units, int n)
{
    if (n < 1 || !may_go_on(s)) return false;
    fal_capsule *const smaller = fal_capsule_cut(s->now, axis, units, n);
    if (!smaller) return false;
    fal_attempt a;
    fal_capsule_try(s->bench, smaller, &a, NULL);
    s->out->trials++;
    if (!a.observed || !a.fails) {
        fal_capsule_free(smaller);
        return false;
    }
    fal_capsule_free(s->now);
    s->now = smaller;
    s->last = a;
    return true;
}

static bool keep_from(shrinking *s, char axis, int *units, int from, int n)
{
    for (int i = 0; i < n; i++) units[i] = from + i;
    return keep(s, axis, units, n);
}

/* Positions: only their ends can be left out. */
static void trim(shrinking *s, char axis, int *units)
{
    for (int step = fal_capsule_extent(s->now, axis) / 2; step >= 1;) {
        const int n = fal_capsule_extent(s->now, axis);
        if (step < n && keep_from(s, axis, units, 0, n - step)) continue;
        if (step < n && keep_from(s, axis, units, step, n - step)) continue;
        step /= 2;
    }
}

/* ddmin (Zeller, Hildebrandt 2002): parts alone, then the rest without each part, then finer parts. */
static void minimise(shrinking *s, char axis, int *units)
{
    for (int parts = 2;;) {
        const int n = fal_capsule_extent(s->now, axis);
        bool smaller = false;
        if (n < 2 || !may_go_on(s)) return;
        if (parts > n) parts = n;
        for (int p = 0; p < parts && !smaller; p++) {
            const int from = (int)((int64_t)n * p / parts), to = (int)((int64_t)n * (p + 1) / parts);
            smaller = keep_from(s, axis, units, from, to - from);
        }
        if (smaller) {
            parts = 2;
            continue;
        }
        for (int p = 0; p < parts && !smaller && parts > 2; p++) {
            const int from = (int)((int64_t)n * p / parts), to = (int)((int64_t)n * (p + 1) / parts);
            int m = 0;
            for (int i = 0; i < n; i++)
                if (i < from || i >= to) units[m++] = i;
            smaller = keep(s, axis, units, m);
        }
        if (smaller)
            parts = parts > 2 ? parts - 1 : 2;
        else if (parts == n)
            return;
        else
            parts *= 2;
    }
}

/* The unit that the worst element belongs to, or the one that its expert is: mostly enough. */
static void jump(shrinking *s, char axis, int *units)
{
    const char *const output = s->now->output[0] ? s->now->output : "y";
    const int n = fal_capsule_extent(s->now, axis), at = fal_capsule_unit_of(s->now, output, axis, s->last.element);
    if (n > 1 && at >= 0 && at < n) keep_from(s, axis, units, at, 1);
    const fal_capsule_array *const ids = fal_capsule_find(s->now, axis == 'v' ? "tokens" : "ids");
    if (n < 2 || (axis != 'e' && axis != 'v') || !ids) return;
    bool *const used = calloc((size_t)n, sizeof *used);
    int m = 0;
    for (size_t i = 0; used && i < ids->nbytes / 4; i++) {
        const int32_t id = ((const int32_t *)ids->data)[i];
        if (id >= 0 && id < n) used[id] = true;
    }
    for (int i = 0; used && i < n; i++)
        if (used[i]) units[m++] = i;
    free(used);
    if (m < n) keep(s, axis, units, m);
}

fal_status fal_capsule_shrink(fal_bench *b, fal_capsule **c, fal_attempt *last, double limit_s, fal_shrunk *out,
                              fal_error *err)
{
    const double t0 = seconds();
    static const char axes[] = FAL_CAPSULE_AXES;
    *out = (fal_shrunk){ 0 };
    shrinking s = { .bench = b, .now = *c, .last = *last, .end = t0 + limit_s, .out = out };
    int most = 1;
    for (const char *a = axes; *a; a++) {
        const int n = fal_capsule_extent(*c, *a);
        most = n > most ? n : most;
    }
    int *const units = calloc((size_t)most + 1, sizeof *units);
    if (!units) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to shrink a call of %d units", most);
    /* what one axis lost may let another lose more, so round after round until none does */
    for (bool smaller = true; smaller && !s.used_up;) {
        smaller = false;
        for (const char *a = axes; *a; a++) {
            const int before = fal_capsule_extent(s.now, *a);
            if (before < 2) continue;
            jump(&s, *a, units);
            if (fal_capsule_is_range(s.now, *a))
                trim(&s, *a, units);
            else
                minimise(&s, *a, units);
            smaller |= fal_capsule_extent(s.now, *a) < before;
        }
    }
    free(units);
    *c = s.now;
    *last = s.last;
    out->complete = !s.used_up;
    out->seconds = seconds() - t0;
    return FAL_OK;
}

int fal_capsule_probe(fal_bench *b, const fal_capsule *c, fal_error *err)
{
    const int n = fal_capsule_extent(c, 'c'), unit = fal_capsule_unit(c);
    const fal_capsule_array *const x = fal_capsule_find(c, "x");
    if (n < 1 || !x || fal_capsule_extent(c, 't') != 1 || x->nbytes != (size_t)n * (size_t)unit * 4) return -1;
    fal_capsule *const p = fal_capsule_copy(c);
    float *const rows = calloc((size_t)n, x->nbytes);
    int worst = -1;
    if (!p || !rows) {
        fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for %d probes", n);
        goto out;
    }
    for (int i = 0; i < n; i++)
        memcpy(rows + (size_t)i * x->nbytes / 4 + (size_t)i * (size_t)unit,
               (const float *)x->data + (size_t)i * (size_t)unit, (size_t)unit * 4);
    for (int i = 0; i < p->n_arrays; i++) {
        fal_capsule_array *const a = &p->arrays[i];
        if (strcmp(a->name, "w") == 0) continue;
        void *const more = malloc((size_t)n * a->nbytes);
        if (!more) goto out;
        for (int k = 0; k < n; k++) memcpy((char *)more + (size_t)k * a->nbytes, a->data, a->nbytes);
        if (strcmp(a->name, "x") == 0) memcpy(more, rows, (size_t)n * a->nbytes);
        if (!a->borrowed) free(a->data);
        a->data = more;
        a->borrowed = false;
        a->ne[0] = n;
        a->nbytes *= (size_t)n;
    }
    free(p->scale);
    p->scale = NULL;
    if (!fal_capsule_set(p, "n_tokens", n)) goto out;
    snprintf(p->judge, sizeof p->judge, "rows");
    snprintf(p->output, sizeof p->output, "y");
    fal_attempt a;
    fal_capsule_try(b, p, &a, NULL);
    if (a.observed && a.fails) worst = fal_capsule_unit_of(p, "y", 't', a.element);
out:
    free(rows);
    fal_capsule_free(p);
    return worst;
}
