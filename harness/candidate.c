/* A candidate as a backend: its calls are made in a process of its own, on arrays that nobody else uses, and looked at here. */
#include "harness/candidate_context.h"

#include "harness/digest.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 256 << 20 };

/* ---- the file -------------------------------------------------------------------------------------------------------- */

char *fal_candidate_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    long size = 0;
    if (!f) return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0 && size <= MAX_FILE && fseek(f, 0, SEEK_SET) == 0)
        bytes = malloc((size_t)size + 1);
    *n = bytes ? fread(bytes, 1, (size_t)size, f) : 0;
    if (bytes && *n != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    if (bytes) bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

/* Digest and declaration are of the same bytes. */
static fal_status read_file(fal_candidate_file *file, fal_error *err)
{
    size_t n = 0;
    fal_error why = { 0 };
    fal_status st = fal_sha256_file(file->path, file->sha256, err); /* says best why a file cannot be read */
    if (st) return st;
    char *bytes = fal_candidate_read(file->path, &n);
    if (!bytes)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%.200s: it cannot be read, or has more than 256 MiB", file->path);
    st = fal_sha256(bytes, n, file->sha256, err);
    if (!st && fal_declaration_find(bytes, n, &file->declared, &why))
        st = fal_fail(err, why.code, why.hint, "%.200s: %s", file->path, why.message);
    free(bytes);
    return st;
}

fal_status fal_candidate_look(const char *path, fal_candidate_file *out, fal_error *err)
{
    static const struct {
        const char *end, *backend;
        fal_form form;
    } forms[] = {
        { ".so", "reference", FAL_FORM_SO },
        { ".cl", "opencl", FAL_FORM_CL },
        { ".cubin", "cuda", FAL_FORM_CUDA },
        { ".ptx", "cuda", FAL_FORM_CUDA },
    };
    const char *dot = strrchr(path, '.');
    size_t i = 0;
    while (i < 4 && (!dot || strcmp(dot, forms[i].end) != 0)) i++;
    if (i == 4)
        return fal_fail(err, FAL_ERR_USAGE, "harness/candidate.h says what each of them must hold",
                        "--candidate %.200s: expected a file that ends in .so, .cl, .cubin or .ptx", path);
    *out = (fal_candidate_file){ .form = forms[i].form, .path = path, .backend = forms[i].backend };
    return read_file(out, err);
}

void fal_candidate_name_device(const fal_candidate_file *file, fal_device_info *device)
{
    const char *slash = strrchr(file->path, '/'), *name = slash ? slash + 1 : file->path;
    char stem[21], under[sizeof device->slug];
    size_t n = 0;
    for (; name[n] && name[n] != '.' && n + 1 < sizeof stem; n++)
        stem[n] =
            (char)((unsigned char)name[n] < 0x80 && isalnum((unsigned char)name[n]) ? tolower((unsigned char)name[n])
                                                                                    : '-');
    stem[n] = '\0';
    memcpy(under, device->slug, sizeof under);
    char driver[sizeof device->driver];
    memcpy(driver, device->driver, sizeof driver);
    snprintf(device->driver, sizeof device->driver, "%.40s (sha256 %.16s)%s%.50s", name, file->sha256,
             file->form == FAL_FORM_SO ? "" : ", ", file->form == FAL_FORM_SO ? "" : driver);
    snprintf(device->slug, sizeof device->slug, "%s-%.8s-%.30s", n ? stem : "kernel", file->sha256, under);
}

/* ---- the backend's table ----------------------------------------------------------------------------------------------- */

static void close_candidate(fal_context *ctx)
{
    if (!ctx) return;
    fal_candidate_end(ctx);
    fal_text_free(&ctx->breaches);
    fal_text_free(&ctx->told);
    free(ctx->path);
    free(ctx);
}

static fal_status find_device(fal_context *ctx, const char *selector, fal_error *err)
{
    const fal_backend *under = fal_backend_find(ctx->file.backend);
    fal_context *opened = NULL;
    const fal_backend_options options = { .device = selector, .variant = "" };
    const fal_status st = under->open(&options, &opened, err);
    if (st) return st;
    ctx->device = *under->device(opened);
    under->close(opened);
    snprintf(ctx->selector, sizeof ctx->selector, "%d", ctx->device.index);
    fal_candidate_name_device(&ctx->file, &ctx->device);
    return FAL_OK;
}

static fal_status open_candidate(const fal_backend_options *o, fal_context **out, fal_error *err)
{
    fal_candidate_file file;
    if (!o || !o->candidate || !o->op)
        return fal_fail(err, FAL_ERR_USAGE, "give --op and --candidate", "no candidate was named");
    fal_status st = fal_candidate_look(o->candidate, &file, err);
    if (st) return st;
    fal_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a candidate");
    ctx->socket = -1;
    ctx->file = file;
    ctx->path = realpath(o->candidate, NULL); /* a bare name would be looked for among the system's libraries */
    snprintf(ctx->op, sizeof ctx->op, "%s", o->op);
    st = ctx->path ? find_device(ctx, o->device, err)
                   : fal_fail(err, FAL_ERR_INPUT, NULL, "%.300s: %s", o->candidate, strerror(errno));
    ctx->file.path = ctx->path;
    if (!st) st = fal_candidate_start(ctx, err);
    if (st)
        close_candidate(ctx);
    else
        *out = ctx;
    return st;
}

static fal_status devices(fal_device_info *out, int cap, int *n, fal_error *err)
{
    (void)out;
    (void)cap;
    *n = 0;
    return fal_fail(err, FAL_ERR_BLOCKED, "give --op and --candidate", "no candidate was named");
}

static const fal_device_info *device(const fal_context *ctx)
{
    return &ctx->device;
}

static void memory(const fal_context *ctx, fal_memory *out)
{
    (void)ctx;
    *out = (fal_memory){ 0 };
}

static void launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user)
{
    char name[48];
    snprintf(name, sizeof name, "candidate_%s", ctx->op);
    if (ctx->n_calls) visit(user, name, ctx->n_calls);
}

static const char *breaches(fal_context *ctx)
{
    fal_text_free(&ctx->told);
    ctx->told = ctx->breaches;
    ctx->breaches = (fal_text){ 0 };
    return ctx->told.len ? fal_text_str(&ctx->told) : NULL;
}

const fal_candidate_file *fal_candidate_file_of(const fal_context *ctx)
{
    return &ctx->file;
}

const char *fal_candidate_selector(const fal_context *ctx)
{
    return ctx->selector;
}

/* ---- arrays -------------------------------------------------------------------------------------------------------------- */

size_t fal_candidate_room(const fal_call *c)
{
    size_t room = 0;
    for (int i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == FAL_FIELD_ARRAY && c->fields[i].data) room += fal_fenced_room(c->fields[i].nbytes);
    return room;
}

fal_status fal_candidate_place(const fal_call *c, fal_fenced *m, const uint64_t *share, fal_wire_call *out,
                               fal_error *err)
{
    *out = (fal_wire_call){ .n_fields = c->n_fields };
    snprintf(out->op, sizeof out->op, "%s", c->op);
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        fal_wire_field *w = &out->fields[i];
        *w = (fal_wire_field){ .kind = (int32_t)f->kind, .i = f->i, .f = f->f };
        snprintf(w->name, sizeof w->name, "%s", f->name);
        if (f->kind != FAL_FIELD_ARRAY || !f->data) continue;
        w->nbytes = f->nbytes;
        w->offset = share && share[i] ? share[i] : fal_fenced_take(m, f->nbytes);
        if (!w->offset) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "the shared memory was made too small");
    }
    return FAL_OK;
}

void fal_candidate_fill(const fal_call *c, fal_fenced *m, const fal_wire_call *w)
{
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || !f->data || w->fields[i].keep) continue;
        if (f->is_input) memcpy(m->map + w->fields[i].offset, f->data, f->nbytes);
        else memset(m->map + w->fields[i].offset, 0xFF, f->nbytes);
    }
}

/* Each array and kind of breach once, with the number of the first time. */
static void note(fal_context *ctx, const fal_call *c, const fal_field *f, size_t n, const char *what)
{
    char key[80];
    snprintf(key, sizeof key, "%s array %s of %s: ", what, f->name, c->op);
    if (strstr(fal_text_str(&ctx->breaches), key)) return;
    fal_text_addf(&ctx->breaches, "%s%s%zu bytes", ctx->breaches.len ? "; " : "", key, n);
}

size_t fal_candidate_changed(fal_context *ctx, const fal_call *c, const fal_fenced *m, const fal_wire_call *w)
{
    size_t all = 0;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || !f->data || !f->is_input || f->is_output || w->fields[i].keep) continue;
        const size_t n = fal_bytes_differ(m->map + w->fields[i].offset, f->data, f->nbytes);
        if (n) note(ctx, c, f, n, "changed input");
        all += n;
    }
    return all;
}

size_t fal_candidate_strayed(fal_context *ctx, const fal_call *c, const fal_fenced *m, const fal_wire_call *w)
{
    size_t all = 0;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || !f->data || w->fields[i].keep) continue;
        const size_t before = fal_fenced_broken_before(m, w->fields[i].offset),
                     behind = fal_fenced_broken_behind(m, w->fields[i].offset, f->nbytes);
        if (before) note(ctx, c, f, before, "wrote before");
        if (behind) note(ctx, c, f, behind, "wrote behind");
        all += before + behind;
    }
    return all;
}

void fal_candidate_take(const fal_call *c, const fal_fenced *m, const fal_wire_call *w)
{
    for (int i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == FAL_FIELD_ARRAY && c->fields[i].data && c->fields[i].is_output)
            memcpy(c->fields[i].data, m->map + w->fields[i].offset, c->fields[i].nbytes);
}

/* One call on fresh addresses: what the observer of single operations makes. */
static fal_status call(fal_context *ctx, const fal_call *c, fal_error *err)
{
    fal_fenced m = { .fd = -1 };
    fal_wire_call w;
    fal_status st = fal_fenced_make(fal_candidate_room(c), &m, err);
    if (!st) st = fal_candidate_place(c, &m, NULL, &w, err);
    if (!st) fal_candidate_fill(c, &m, &w);
    if (!st) st = fal_candidate_map(ctx, &m, err);
    if (!st) st = fal_candidate_ask(ctx, FAL_WIRE_PUT, &w, 1, NULL, err);
    if (!st) st = fal_candidate_run(ctx, &w, 1, NULL, err);
    if (!st) {
        fal_candidate_changed(ctx, c, &m, &w);
        fal_candidate_strayed(ctx, c, &m, &w);
        fal_candidate_take(c, &m, &w);
        fal_candidate_resume(ctx);
    }
    fal_fenced_free(&m);
    return st;
}

static const char *const variants[] = { "", NULL };

const fal_backend fal_candidate_backend = {
    .name = "candidate",
    .variants = variants,
    .devices = devices,
    .open = open_candidate,
    .close = close_candidate,
    .device = device,
    .memory = memory,
    .launches = launches,
    .call = call,
    .breaches = breaches,
};

fal_status fal_candidate_try(const char *path, const char *op, int device_index, fal_error *err)
{
    char selector[16];
    fal_context *ctx = NULL;
    fal_error own = { 0 };
    snprintf(selector, sizeof selector, "%d", device_index);
    const fal_backend_options options = { .device = selector, .variant = "", .candidate = path, .op = op };
    const fal_status st = open_candidate(&options, &ctx, &own);
    if (!st) {
        close_candidate(ctx);
        return FAL_OK;
    }
    /* one that dies while it is loaded is bad input, not a case that crashed */
    return fal_fail(err, st == FAL_ERR_DEVICE ? FAL_ERR_INPUT : st, own.hint, "%s", own.message);
}
