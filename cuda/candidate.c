/* A candidate's kernels on a CUDA device: arrays with their guard zones in buffers, launches as the candidate asks. */
#include "cuda/candidate.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = FAL_WIRE_GUARD };

/* An array of the shared memory on the device, guard zones included. */
typedef struct {
    uint64_t offset;
    fal_cu_buffer *whole, *view;
    bool here; /* brought by the request at hand */
} region;

typedef struct {
    fal_context *ctx;
    fal_cu_foreign *foreign;
    char launch[512];
    region *regions;
    int n_regions, cap_regions;
    fal_cu_buffer *scratch, *scratch_view;
} host;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int answer_of(fal_status st, const fal_error *e, char *message, size_t size)
{
    if (st == FAL_OK) return FAL_WIRE_OK;
    snprintf(message, size, "%.330s%s%.80s", e->message, e->hint[0] ? "; " : "", e->hint);
    return st == FAL_ERR_BLOCKED ? FAL_WIRE_BLOCKED : st == FAL_ERR_DEVICE ? FAL_WIRE_DEVICE : FAL_WIRE_FAILED;
}

/* ---- arrays ------------------------------------------------------------------------------------------------------ */

static void drop(void *user)
{
    host *h = user;
    for (int i = 0; i < h->n_regions; i++) {
        fal_cu_view_free(h->ctx, h->regions[i].view);
        fal_cu_free(h->ctx, h->regions[i].whole);
    }
    h->n_regions = 0;
}

static region *find(host *h, uint64_t offset)
{
    for (int i = 0; i < h->n_regions; i++)
        if (h->regions[i].offset == offset) return &h->regions[i];
    return NULL;
}

static fal_status add(host *h, const fal_wire_field *f, region **out, fal_error *err)
{
    if (h->n_regions == h->cap_regions) {
        const int cap = h->cap_regions ? 2 * h->cap_regions : 64;
        region *grown = realloc(h->regions, (size_t)cap * sizeof *grown);
        if (!grown) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory for arrays");
        h->regions = grown;
        h->cap_regions = cap;
    }
    region *r = &h->regions[h->n_regions];
    *r = (region){ .offset = f->offset };
    fal_status st = fal_cu_alloc(h->ctx, f->name, (size_t)f->nbytes + 2 * GUARD, &r->whole, err);
    if (st == FAL_OK) st = fal_cu_view(h->ctx, r->whole, GUARD, (size_t)f->nbytes, &r->view, err);
    if (st != FAL_OK)
        fal_cu_free(h->ctx, r->whole);
    else
        h->n_regions++;
    *out = r;
    return st;
}

/* Both ways alike: every array of every call once, unless it stays where it is. */
static fal_status move(host *h, unsigned char *map, const fal_wire_call *calls, int n, bool back, fal_error *err)
{
    fal_status st = FAL_OK;
    for (int i = 0; i < h->n_regions; i++) h->regions[i].here = false;
    for (int c = 0; c < n; c++)
        for (int i = 0; i < calls[c].n_fields && st == FAL_OK; i++) {
            const fal_wire_field *f = &calls[c].fields[i];
            if (f->kind != FAL_FIELD_ARRAY || f->offset == 0) continue;
            region *r = find(h, f->offset);
            const bool stays = r && (r->here || f->keep);
            if (!r) st = add(h, f, &r, err);
            if (st != FAL_OK || stays) continue;
            r->here = true;
            unsigned char *const at = map + f->offset - GUARD;
            const size_t bytes = (size_t)f->nbytes + 2 * GUARD;
            st = back ? fal_cu_read(h->ctx, r->whole, 0, at, bytes, err)
                      : fal_cu_write(h->ctx, r->whole, at, bytes, err);
        }
    return st;
}

static fal_status make_scratch(host *h, size_t bytes, fal_error *err)
{
    fal_status st = FAL_OK;
    if (bytes > 0 && fal_cu_size(h->scratch_view) < bytes) {
        fal_cu_view_free(h->ctx, h->scratch_view);
        fal_cu_free(h->ctx, h->scratch);
        h->scratch = h->scratch_view = NULL;
        st = fal_cu_alloc(h->ctx, "scratch", bytes + 2 * GUARD, &h->scratch, err);
        if (st == FAL_OK) st = fal_cu_view(h->ctx, h->scratch, GUARD, bytes, &h->scratch_view, err);
    }
    return st == FAL_OK && h->scratch ? fal_cu_poison(h->ctx, h->scratch, err) : st;
}

static int put(void *user, unsigned char *map, const fal_wire_call *calls, int n, char *message, size_t size)
{
    host *h = user;
    fal_error err = { 0 };
    size_t most = 0;
    fal_status st = move(h, map, calls, n, false, &err);
    for (int c = 0; c < n && st == FAL_OK; c++) {
        fal_launch shape;
        st = fal_launch_of(h->launch, &calls[c], &shape, &err);
        if (st == FAL_OK && shape.scratch_bytes > most) most = shape.scratch_bytes;
    }
    if (st == FAL_OK) st = make_scratch(h, most, &err);
    if (st == FAL_OK) st = fal_cu_finish(h->ctx, &err);
    return answer_of(st, &err, message, size);
}

static int get(void *user, unsigned char *map, const fal_wire_call *calls, int n, char *message, size_t size)
{
    fal_error err = { 0 };
    return answer_of(move(user, map, calls, n, true, &err), &err, message, size);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* "fal_<op>_<type>" when there is one for the type of the call, else "fal_<op>"; false when there is neither. */
static bool kernel_name(host *h, const fal_wire_call *c, char *name, size_t size)
{
    for (int i = 0; i < c->n_fields; i++) {
        if (c->fields[i].kind != FAL_FIELD_TYPE) continue;
        snprintf(name, size, "fal_%s_%s", c->op, fal_type_get((uint32_t)c->fields[i].i)->name);
        for (char *p = name; *p; p++) *p = (char)tolower((unsigned char)*p);
        if (fal_cu_foreign_has(h->ctx, h->foreign, name)) return true;
    }
    snprintf(name, size, "fal_%s", c->op);
    return fal_cu_foreign_has(h->ctx, h->foreign, name);
}

/* A call ready to be queued: nothing of this is to be timed. */
typedef struct {
    fal_cu_arg args[FAL_MAX_FIELDS + 1];
    size_t n_args;
    fal_launch shape;
} prepared;

static fal_status prepare(host *h, const fal_wire_call *c, prepared *p, fal_error *err)
{
    const fal_status st = fal_launch_of(h->launch, c, &p->shape, err);
    if (st != FAL_OK) return st;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_wire_field *f = &c->fields[i];
        const region *r = f->kind == FAL_FIELD_ARRAY && f->offset ? find(h, f->offset) : NULL;
        fal_cu_arg *a = &p->args[p->n_args++];
        *a = (fal_cu_arg){ .name = f->name };
        if (f->kind == FAL_FIELD_ARRAY) {
            a->kind = FAL_CU_ARG_BUFFER;
            a->v.buffer = r ? r->view : NULL;
        } else if (f->kind == FAL_FIELD_FLOAT) {
            a->kind = FAL_CU_ARG_FLOAT;
            a->v.f = f->f;
        } else {
            a->kind = FAL_CU_ARG_INT;
            a->v.i = f->i;
        }
    }
    if (p->shape.scratch_bytes)
        p->args[p->n_args++] = (fal_cu_arg){ "scratch", FAL_CU_ARG_BUFFER, { .buffer = h->scratch_view } };
    return FAL_OK;
}

static int run(void *user, unsigned char *map, const fal_wire_call *calls, int n, double *seconds, char *message,
               size_t size)
{
    host *h = user;
    fal_error err = { 0 };
    char name[64];
    (void)map;
    if (!kernel_name(h, calls, name, sizeof name)) return FAL_WIRE_DECLINED;
    prepared *all = calloc((size_t)n + 1, sizeof *all);
    fal_status st = all ? FAL_OK : fal_fail(&err, FAL_ERR_MEMORY, NULL, "cuda: no memory for %d calls", n);
    for (int c = 0; c < n && st == FAL_OK; c++) st = prepare(h, &calls[c], &all[c], &err);
    const double start = now();
    for (int c = 0; c < n && st == FAL_OK; c++)
        st = fal_cu_foreign_run(h->ctx, h->foreign, name, &all[c].shape, all[c].args, all[c].n_args, &err);
    if (st == FAL_OK) st = fal_cu_finish(h->ctx, &err);
    *seconds = now() - start;
    free(all);
    return answer_of(st, &err, message, size);
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

static bool has_any(host *h, const char *op)
{
    static const uint32_t types[] = { FAL_TYPE_F32,  FAL_TYPE_F16,  FAL_TYPE_BF16, FAL_TYPE_Q8_0,
                                      FAL_TYPE_Q4_K, FAL_TYPE_Q5_K, FAL_TYPE_Q6_K };
    char name[64];
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        fal_wire_call c = { .n_fields = 1, .fields = { { .kind = FAL_FIELD_TYPE, .i = (int32_t)types[i] } } };
        snprintf(c.op, sizeof c.op, "%s", op);
        if (kernel_name(h, &c, name, sizeof name)) return true;
    }
    return false;
}

int fal_cu_candidate_serve(int socket, const char *device, const char *code, size_t length, const char *op)
{
    static const fal_wire_engine engine = { .put = put, .run = run, .get = get, .unmapped = drop };
    host h = { 0 };
    fal_error err = { 0 };
    char message[420] = "";
    int status = 0;
    const fal_backend_options options = { .device = device, .variant = "" };
    fal_status st = fal_cu_open(&options, &h.ctx, &err);
    if (st != FAL_OK) h.ctx = NULL;
    if (st == FAL_OK) st = fal_cu_foreign_load(h.ctx, code, length, h.launch, sizeof h.launch, &h.foreign, &err);
    if (st == FAL_OK && !has_any(&h, op))
        st = fal_fail(&err, FAL_ERR_INPUT, NULL, "it has no kernel fal_%s, nor fal_%s_<type>", op, op);
    int answer = answer_of(st, &err, message, sizeof message);
    if (st == FAL_ERR_INPUT) answer = FAL_WIRE_REFUSED;
    if (!fal_wire_reply(socket, answer, 0, message)) st = FAL_ERR_OUTPUT;
    if (st == FAL_OK) status = fal_wire_serve(socket, &engine, &h);
    if (h.ctx) {
        drop(&h);
        fal_cu_view_free(h.ctx, h.scratch_view);
        fal_cu_free(h.ctx, h.scratch);
        fal_cu_foreign_free(h.ctx, h.foreign);
        fal_cu_close(h.ctx);
    }
    free(h.regions);
    return status;
}
