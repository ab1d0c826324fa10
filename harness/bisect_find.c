/* Looking into broken ops: the weight's expert, row and block, and the capsule of the first one that fails by itself. */
#include "harness/bisect.h"
#include "harness/revision.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MOST_WHOLES = 4,
    LARGE_BYTES = 32 << 20,
    ROWS_AROUND = 64
}; /* rows of a weight that are tried with the worst one: a tile of the tiled kernels */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool has_experts(fal_site site)
{
    return site == FAL_SITE_moe_gate || site == FAL_SITE_moe_up || site == FAL_SITE_moe_down;
}

static bool is_product(fal_site site)
{
    const char *const op = fal_site_get(site)->op;
    return strcmp(op, "matmul") == 0 || strcmp(op, "moe_matmul") == 0;
}

/* Expert and weight row of the worst element. */
static void find_place(const fal_bisect *b, const fal_divergence_row *r, const fal_observation *reference,
                       fal_bisect_place *p)
{
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    const fal_tensor *const w = fal_capsule_weight(b->model, r->tap.site, r->tap.layer);
    p->tensor = w ? w->name : NULL;
    p->expert = p->row = p->block = -1;
    if (is_product(r->tap.site))
        p->row = (int)(has_experts(r->tap.site) ? d->element % (size_t)r->tap.width : d->element);
    if (!has_experts(r->tap.site)) return;
    char name[48];
    snprintf(name, sizeof name, "blk.%d.expert_ids", r->tap.layer);
    const fal_obs_tensor *const ids = fal_observation_find(reference, d->request, name);
    const size_t at = d->position * (size_t)b->table.config.n_expert_used + d->element / (size_t)r->tap.width;
    if (ids && at < ids->n) p->expert = ((const int32_t *)ids->data)[at];
}

/* Only the units [from, from + n) of an axis; the capsule as it was when that makes no call. */
static fal_capsule *only(fal_capsule *c, char axis, int from, int n)
{
    const int extent = fal_capsule_extent(c, axis);
    if (extent == 0 || from < 0 || n >= extent) return c;
    if (from + n > extent) from = extent - n;
    int *const keep = calloc((size_t)n + 1, sizeof *keep);
    for (int i = 0; keep && i < n; i++) keep[i] = from + i;
    fal_capsule *const cut = keep ? fal_capsule_cut(c, axis, keep, n) : NULL;
    free(keep);
    if (!cut) return c;
    fal_capsule_free(c);
    return cut;
}

/* The rows of the vocabulary that tokens point at. */
static fal_capsule *used_vocabulary(fal_capsule *c)
{
    const fal_capsule_array *const tokens = fal_capsule_find(c, "tokens");
    const int extent = fal_capsule_extent(c, 'v');
    bool *const used = tokens ? calloc((size_t)extent + 1, sizeof *used) : NULL;
    int *const keep = used ? calloc((size_t)extent + 1, sizeof *keep) : NULL;
    int n = 0;
    for (size_t i = 0; keep && i < tokens->nbytes / 4; i++) {
        const int32_t id = ((const int32_t *)tokens->data)[i];
        if (id >= 0 && id < extent) used[id] = true;
    }
    for (int i = 0; keep && i < extent; i++)
        if (used[i]) keep[n++] = i;
    fal_capsule *const cut = n > 0 && n < extent ? fal_capsule_cut(c, 'v', keep, n) : NULL;
    free(keep);
    free(used);
    if (!cut) return c;
    fal_capsule_free(c);
    return cut;
}

/* All tokens, but of the weight only what is near the worst row: kernels for many tokens at once are others than those
   for one. */
static fal_capsule *fewer_rows(fal_capsule *c, const fal_bisect_place *p)
{
    if (p->row >= 0) return only(c, 'r', p->row / ROWS_AROUND * ROWS_AROUND, ROWS_AROUND);
    return fal_capsule_find(c, "tokens") ? used_vocabulary(c) : c;
}

/* The call at the worst position, expert and rows alone: small, and mostly enough. */
static fal_capsule *narrow(fal_capsule *c, const fal_divergence_row *r, const fal_bisect_place *p,
                           const fal_config *config)
{
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    const int slot = (int)(d->element / (size_t)(r->tap.width > 0 ? r->tap.width : 1));
    if (r->tap.site == FAL_SITE_moe_act) return only(c, 't', (int)d->position * config->n_expert_used + slot, 1);
    c = only(c, 't', (int)d->position, 1);
    if (has_experts(r->tap.site)) {
        c = only(c, 's', slot, 1);
        c = only(c, 'e', p->expert, 1);
    }
    return fewer_rows(c, p);
}

/* The op by itself: narrowed first, whole when that is right and there are wholes left. *c is a call that fails, or NULL. */
static bool fails_alone(int *wholes, bool *tried, fal_bench *bench, const fal_bisect *b, const fal_divergence_row *r,
                        const fal_bisect_place *p, const fal_observation *reference, fal_capsule **c, fal_attempt *a,
                        fal_error *err)
{
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    const fal_tensor *const w = fal_capsule_weight(b->model, r->tap.site, r->tap.layer);
    const bool large = w && w->nbytes > LARGE_BYTES;
    *tried = false;
    for (int step = 0; step < 3; step++) {
        if (step == 1 && p->row < 0 && r->tap.site != FAL_SITE_embed) continue; /* no weight to narrow */
        if (step == 2 && large && (*wholes)-- <= 0) return false;               /* not known: it would take its time */
        if (fal_capsule_from_forward(b->model, reference, d->request, r->tap.site, r->tap.layer, &r->limit, c, err) !=
            FAL_OK)
            break;
        if (step == 0) *c = narrow(*c, r, p, &b->table.config);
        if (step == 1) *c = fewer_rows(*c, p);
        fal_capsule_try(bench, *c, a, NULL);
        *tried = a->observed && (a->fails || step == 2);
        if (a->observed && a->fails) return true;
        fal_capsule_free(*c);
        *c = NULL;
    }
    return false;
}

static void find_block(fal_bench *bench, const fal_capsule *c, const fal_divergence_row *r, fal_bisect_place *p,
                       const fal_config *config, fal_error *err)
{
    if (!is_product(r->tap.site) || fal_capsule_extent(c, 't') < 1) return;
    fal_capsule *one = fal_capsule_copy(c);
    if (!one) return;
    if (fal_capsule_extent(one, 't') > 1) one = narrow(one, r, p, config);
    const int unit = fal_capsule_probe(bench, one, err);
    if (unit >= 0) {
        p->block = (int)fal_capsule_original(one, 'c', unit);
        p->unit = fal_capsule_unit(one);
    }
    fal_capsule_free(one);
}

/* ---- the capsule -------------------------------------------------------------------------------------------------- */

static json_t *origin_of(const fal_bisect *b, const fal_divergence_row *r, const fal_bisect_place *p,
                         const fal_attempt *a, const char *name)
{
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    const fal_tensor *const w = fal_capsule_weight(b->model, r->tap.site, r->tap.layer);
    const char *const sha = json_string_value(json_object_get(b->ran, "model_sha256"));
    const char *const file = strrchr(b->in.model, '/');
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s*, s:s*, s:s*, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:f, s:s}", "kind",
                          "forward", "site", r->tap.name, "op", fal_site_get(r->tap.site)->op, "layer", r->tap.layer,
                          "tensor", w ? w->name : NULL, "tensor_type", w ? fal_type_get(w->type)->name : NULL, "case",
                          name, "model", file ? file + 1 : b->in.model, "model_sha256", sha ? sha : "", "backend",
                          b->in.backend, "variant", b->in.variant, "device", a->device, "driver", a->driver, "position",
                          (json_int_t)d->position, "local_error", d->value, "revision", falsify);
    json_object_set_new(j, "prompt", json_string(b->in.names ? b->in.names[d->request] : ""));
    json_t *tokens = json_array();
    for (int i = 0; i < b->in.n_tokens[d->request] && i < 4096; i++)
        json_array_append_new(tokens, json_integer(b->in.tokens[d->request][i]));
    json_object_set_new(j, "tokens", tokens);
    if (p->expert >= 0) json_object_set_new(j, "expert", json_integer(p->expert));
    if (p->row >= 0) json_object_set_new(j, "row", json_integer(p->row));
    if (p->block >= 0) json_object_set_new(j, "first_column", json_integer((json_int_t)p->block * p->unit));
    return j;
}

static void make_capsule(fal_bisect *b, fal_bench *bench, int i, fal_capsule *c, const fal_attempt *a,
                         const char *folder, const char *name, double shrink_s)
{
    const fal_divergence_row *const r = &b->table.rows[i];
    fal_bisect_capsule *const out = &b->capsule;
    char file[160];
    fal_error err = { 0 };
    out->call = c;
    out->attempt = *a;
    if (b->in.progress) {
        fprintf(b->in.progress, "\r\033[Kbisect %s: shrinking %s", b->in.backend, r->tap.name);
        fflush(b->in.progress);
    }
    fal_status st = fal_capsule_shrink(bench, &out->call, &out->attempt, shrink_s, &out->shrunk, &err);
    json_t *origin = origin_of(b, r, &b->places[i], a, name);
    snprintf(file, sizeof file, "%s%s%s-%s", b->in.backend, *b->in.variant ? "__" : "", b->in.variant, r->tap.name);
    if (!st)
        st = fal_capsule_save(bench, out->call, origin, folder, file, &out->path, &out->attempt, &out->bytes, &err);
    json_decref(origin);
    if (st) snprintf(out->why, sizeof out->why, "%.500s", err.message);
}

fal_status fal_bisect_find(fal_bisect *b, const char *folder, const char *name, int most, double shrink_s,
                           fal_error *err)
{
    fal_observation *reference = NULL;
    fal_bench bench = { .program = b->in.program,
                        .tmp = b->in.tmp,
                        .backend = b->in.backend,
                        .variant = b->in.variant,
                        .device = b->in.device,
                        .timeout_s = b->in.timeout_s,
                        .stop = b->in.stop };
    if (b->first < 0) return FAL_OK;
    b->places = calloc((size_t)b->table.n + 1, sizeof *b->places);
    if (!b->places) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for %d places", b->table.n);
    fal_status st = fal_observation_open(b->paths[FAL_STEP_REFERENCE], &reference, err);
    if (!st) st = fal_bench_open(&bench, err);
    if (st) {
        fal_observation_close(reference);
        return st;
    }
    int n = 0, wholes = MOST_WHOLES;
    const double t0 = seconds();
    for (int i = 0; i < b->table.n; i++) {
        const fal_divergence_row *const r = &b->table.rows[i];
        fal_bisect_place *const p = &b->places[i];
        if (!r->breaks) continue;
        find_place(b, r, reference, p);
        /* a site of a fused variant is several ops, and alone they run by other kernels */
        if (b->fused || n >= most || (b->in.stop && *b->in.stop)) continue;
        n++;
        fal_capsule *c = NULL;
        fal_attempt a;
        fal_error own = { 0 };
        p->alone = fails_alone(&wholes, &p->tried, &bench, b, r, p, reference, &c, &a, &own);
        if (!p->alone) continue;
        find_block(&bench, c, r, p, &b->table.config, &own);
        if (folder && !b->capsule.call)
            make_capsule(b, &bench, i, c, &a, folder, name, shrink_s);
        else
            fal_capsule_free(c);
    }
    if (folder && !b->capsule.call)
        snprintf(b->capsule.why, sizeof b->capsule.why,
                 b->fused ? "sites of a fused variant are several ops, and a capsule holds one"
                          : "no broken op fails by itself: look at what lies between ops (cache, buffers, order)");
    if (b->in.progress) {
        fputs("\r\033[K", b->in.progress);
        fflush(b->in.progress);
    }
    fal_bench_close(&bench);
    fal_observation_close(reference);
    b->find_seconds = seconds() - t0;
    b->seconds += b->find_seconds;
    return FAL_OK;
}
