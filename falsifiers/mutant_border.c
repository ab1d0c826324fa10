/* A backend seen through a mutant: the table of the real one, with a fault planted in calls, in rows of a forward pass, or
   in what it says of itself. */
#include "falsifiers/mutant_hooks.h"

#include "harness/text.h"
#include "opencl/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fal_context {
    const fal_backend *real;
    fal_context *inner; /* of the real backend */
    const fal_mutant *mutant;
    char variant[32];
    fal_other_code code;
    char *text, *prelude; /* what code points to */
    uint64_t n_calls, n_forward, n_refused;
    struct {
        void *data;
        size_t n;
    } last[FAL_MUTANT_N_OPS][2]; /* outputs of the call before */
};

struct fal_session {
    fal_context *ctx;
    fal_session *inner;
    const fal_model *model;
    int n_past, n_ctx;
    float *row_before; /* of the logits, over calls; NULL before the first */
};

/* ---- calls of one operation --------------------------------------------------------------------------------------- */

static void *copy_of(const void *data, size_t n)
{
    void *copy = malloc(n * 4 + 4);
    if (copy) memcpy(copy, data, n * 4);
    return copy;
}

/* Before the call: what the outputs hold, and what they held after the call before. */
static void look_before(fal_context *ctx, fal_border_call *c)
{
    c->n_calls = ctx->n_calls;
    for (int i = 0; i < c->n_outputs; i++) {
        c->output[i].was = copy_of(c->output[i].is, c->output[i].n);
        c->output[i].last = ctx->last[c->op][i].n == c->output[i].n ? ctx->last[c->op][i].data : NULL;
    }
}

static void look_after(fal_context *ctx, fal_border_call *c, const void *args)
{
    void *true_outputs[2] = { NULL, NULL };
    for (int i = 0; i < c->n_outputs; i++) true_outputs[i] = copy_of(c->output[i].is, c->output[i].n);
    if (ctx->mutant->after) ctx->mutant->after(c, args);
    for (int i = 0; i < c->n_outputs; i++) {
        free(ctx->last[c->op][i].data);
        ctx->last[c->op][i].data = true_outputs[i];
        ctx->last[c->op][i].n = c->output[i].n;
    }
}

static void end_call(fal_context *ctx, fal_border_call *c)
{
    for (int i = 0; i < c->n_outputs; i++) free(c->output[i].was);
    for (int i = 0; i < 2; i++) free(c->scratch[i]);
    ctx->n_calls++;
}

static bool sees(const fal_mutant *m, const char *op)
{
    return (m->before || m->after) && m->op && (strcmp(m->op, "*") == 0 || strcmp(m->op, op) == 0);
}

/* What somebody who answers everything makes of a refusal. */
static fal_status answer(fal_context *ctx, fal_status st, fal_error *err)
{
    if (st == FAL_OK) return st;
    ctx->n_refused++;
    if (ctx->mutant->lie != FAL_LIE_ACCEPTS || st != FAL_ERR_INPUT) return st;
    if (err) *err = (fal_error){ 0 };
    return FAL_OK;
}

#define FAL_OP(op)                                                                                                     \
    static fal_status border_##op(fal_context *ctx, const fal_##op##_args *a, fal_error *err)                          \
    {                                                                                                                  \
        fal_border_call c = { 0 };                                                                                     \
        if (!a || !sees(ctx->mutant, #op) || !fal_mutant_outputs(FAL_MUTANT_OP_##op, a, &c))                           \
            return answer(ctx, ctx->real->op(ctx->inner, a, err), err);                                                \
        fal_##op##_args mine = *a;                                                                                     \
        look_before(ctx, &c);                                                                                          \
        if (ctx->mutant->before) ctx->mutant->before(&c, &mine);                                                       \
        const fal_status st = ctx->real->op(ctx->inner, &mine, err);                                                   \
        if (st == FAL_OK) look_after(ctx, &c, a);                                                                      \
        end_call(ctx, &c);                                                                                             \
        return st;                                                                                                     \
    }
#include "harness/ops.def"

/* ---- forward passes ----------------------------------------------------------------------------------------------- */

/* One forward call with a fault in its rows. */
typedef struct {
    fal_session *s;
    const fal_taps *outer; /* may be NULL */
    const fal_mutant *m;
    int n_tokens;
    float *seen[FAL_N_SITES];    /* [n_tokens, width] */
    float *changed[FAL_N_SITES]; /* the same, after the fault */
    float *row_before;           /* of the logits of the call before, then of this one */
    fal_error fault;
} passage;

static size_t width_of(const passage *p, fal_site site)
{
    int sub, width;
    fal_site_shape(site, &p->s->model->config, &sub, &width);
    return (size_t)sub * (size_t)width;
}

static bool changes(const passage *p, fal_site site)
{
    return p->m->at >> site & 1;
}

static bool reads(const passage *p, fal_site site)
{
    return (p->m->at | p->m->needs) >> site & 1;
}

static bool outer_wants(const passage *p, fal_site site, int layer)
{
    return p->outer && p->outer->wants && p->outer->give && p->outer->wants(p->outer->user, site, layer);
}

static bool wants(void *user, fal_site site, int layer)
{
    passage *p = user;
    const bool asked = outer_wants(p, site, layer);
    return asked || reads(p, site);
}

/* The rows of a site after the fault, from those in seen. */
static void change(passage *p, fal_site site, int layer, int first, int n)
{
    const size_t width = width_of(p, site);
    float *y = p->changed[site] + (size_t)first * width;
    fal_flow f = { .config = &p->s->model->config, .site = site, .layer = layer, .first = first, .n = n,
                   .pos = p->s->n_past + first, .width = width, .n_tokens = p->n_tokens, .n_calls = p->s->ctx->n_forward };
    memcpy(f.seen, p->seen, sizeof f.seen);
    if (site == FAL_SITE_logits) f.row_before = first > 0 ? p->seen[site] + (size_t)(first - 1) * width : p->s->row_before;
    memcpy(y, p->seen[site] + (size_t)first * width, (size_t)n * width * sizeof *y);
    p->m->flow(&f, y);
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    passage *p = user;
    const size_t width = width_of(p, site);
    if (reads(p, site)) memcpy(p->seen[site] + (size_t)first * width, data, (size_t)n * width * 4);
    const bool shown = changes(p, site) && !p->m->only_onward;
    if (shown) change(p, site, layer, first, n);
    if (!outer_wants(p, site, layer)) return FAL_OK;
    return p->outer->give(p->outer->user, site, layer, first, n, shown ? p->changed[site] + (size_t)first * width : data, err);
}

static const void *forced(void *user, fal_site site, int layer, int first, int n)
{
    passage *p = user;
    const size_t width = width_of(p, site);
    const void *given = p->outer && p->outer->forced ? p->outer->forced(p->outer->user, site, layer, first, n) : NULL;
    if (given && reads(p, site)) memcpy(p->seen[site] + (size_t)first * width, given, (size_t)n * width * 4);
    if (!changes(p, site)) return given;
    if (!p->m->only_onward) return given ? given : p->changed[site] + (size_t)first * width;
    change(p, site, layer, first, n);
    return p->changed[site] + (size_t)first * width;
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    passage *p = user;
    return p->outer->pinned(p->outer->user, layer, first, n);
}

static fal_status flow_through(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *outer, int32_t *next,
                               fal_error *err)
{
    fal_context *ctx = s->ctx;
    passage p = { .s = s, .outer = outer, .m = ctx->mutant, .n_tokens = n_tokens };
    fal_status st = FAL_OK;
    for (int site = 0; site < FAL_N_SITES && !st; site++) {
        if (!reads(&p, (fal_site)site)) continue;
        if (ctx->real->has_site && !ctx->real->has_site(s->inner, (fal_site)site, n_tokens))
            return fal_fail(err, FAL_ERR_INTERNAL, NULL, "mutant %s: variant '%s' of %s does not come to site %s", ctx->mutant->id,
                            ctx->variant, ctx->real->name, fal_site_get((fal_site)site)->name);
        p.seen[site] = calloc((size_t)n_tokens * width_of(&p, (fal_site)site), 4);
        p.changed[site] = calloc((size_t)n_tokens * width_of(&p, (fal_site)site), 4);
        if (!p.seen[site] || !p.changed[site]) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "mutant %s: out of memory", ctx->mutant->id);
    }
    const fal_taps taps = { .user = &p, .wants = wants, .give = give, .forced = forced,
                            .pinned = outer && outer->pinned ? pinned : NULL };
    if (!st) st = ctx->real->forward(s->inner, tokens, n_tokens, &taps, next, err);
    if (!st && p.seen[FAL_SITE_logits]) {
        const size_t width = width_of(&p, FAL_SITE_logits);
        if (!s->row_before) s->row_before = calloc(width, sizeof *s->row_before);
        if (s->row_before) memcpy(s->row_before, p.seen[FAL_SITE_logits] + (size_t)(n_tokens - 1) * width, width * sizeof *s->row_before);
    }
    for (int site = 0; site < FAL_N_SITES; site++) {
        free(p.seen[site]);
        free(p.changed[site]);
    }
    return st;
}

static fal_status border_forward(fal_session *s, const int32_t *tokens, int n_tokens, const fal_taps *taps, int32_t *next,
                                 fal_error *err)
{
    fal_context *ctx = s->ctx;
    fal_error own = { 0 };
    const bool is_sound = fal_request_check(&s->model->config, tokens, n_tokens, s->n_past, s->n_ctx, &own) == FAL_OK;
    fal_status st = is_sound && ctx->mutant->flow ? flow_through(s, tokens, n_tokens, taps, next, err)
                                                  : ctx->real->forward(s->inner, tokens, n_tokens, taps, next, err);
    if (st == FAL_OK) s->n_past += n_tokens;
    if (st == FAL_OK) ctx->n_forward++;
    if (st && next && ctx->mutant->lie == FAL_LIE_ACCEPTS) *next = 0;
    return answer(ctx, st, err);
}

static fal_status border_generate(fal_session *s, int32_t first_token, int n, int32_t *out, fal_error *err)
{
    return answer(s->ctx, s->ctx->real->generate(s->inner, first_token, n, out, err), err);
}

/* ---- sessions, memory, devices ------------------------------------------------------------------------------------ */

static fal_status border_session_open(fal_context *ctx, const fal_model *model, int n_ctx, fal_session **out, fal_error *err)
{
    fal_session *s = calloc(1, sizeof *s);
    if (!s) return fal_fail(err, FAL_ERR_MEMORY, NULL, "mutant %s: out of memory", ctx->mutant->id);
    s->ctx = ctx;
    s->model = model;
    s->n_ctx = n_ctx;
    const fal_status st = ctx->real->session_open(ctx->inner, model, n_ctx, &s->inner, err);
    if (st) {
        free(s);
        ctx->n_refused++;
        return st;
    }
    *out = s;
    return FAL_OK;
}

static void border_session_close(fal_session *s)
{
    if (!s) return;
    s->ctx->real->session_close(s->inner);
    free(s->row_before);
    free(s);
}

static fal_status border_reset(fal_session *s, fal_error *err)
{
    const fal_status st = s->ctx->real->reset(s->inner, err);
    if (st == FAL_OK) s->n_past = 0;
    free(s->row_before);
    s->row_before = NULL;
    return st;
}

static bool border_has_site(const fal_session *s, fal_site site, int n_tokens)
{
    return s->ctx->real->has_site(s->inner, site, n_tokens);
}

static fal_status border_read_tensor(fal_session *s, int i, void *out, int *uploads, fal_error *err)
{
    const fal_status st = s->ctx->real->read_tensor(s->inner, i, out, uploads, err);
    if (st || i != s->model->n_tensors / 2) return st;
    if (s->ctx->mutant->lie == FAL_LIE_UPLOADS_TWICE) ++*uploads;
    if (s->ctx->mutant->lie == FAL_LIE_OTHER_BYTES) *(unsigned char *)out ^= 1;
    return st;
}

static void border_session_memory(const fal_session *s, fal_memory *out)
{
    s->ctx->real->session_memory(s->inner, out);
    /* 4.5 bits become 32 */
    if (s->ctx->mutant->lie == FAL_LIE_EXPANDS) out->peak_bytes += 7 * out->weight_bytes;
}

/* Whoever looks at the memory twice around a refusal finds some of it gone. */
static void border_memory(const fal_context *ctx, fal_memory *out)
{
    ctx->real->memory(ctx->inner, out);
    if (ctx->mutant->lie == FAL_LIE_LEAKS) out->live_bytes += 4096 * ++((fal_context *)(uintptr_t)ctx)->n_refused;
}

static const fal_device_info *border_device(const fal_context *ctx)
{
    return ctx->real->device(ctx->inner);
}

static void border_launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user)
{
    ctx->real->launches(ctx->inner, visit, user);
}

static fal_status border_read_bandwidth(fal_context *ctx, size_t bytes, double *gb_per_s, fal_error *err)
{
    return ctx->real->read_bandwidth(ctx->inner, bytes, gb_per_s, err);
}

static void border_close(fal_context *ctx)
{
    if (!ctx) return;
    if (ctx->inner) ctx->real->close(ctx->inner);
    for (int op = 0; op < FAL_MUTANT_N_OPS; op++)
        for (int i = 0; i < 2; i++) free(ctx->last[op][i].data);
    free(ctx->text);
    free(ctx->prelude);
    free(ctx);
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static fal_status mutate_opencl(fal_context *ctx, fal_error *err)
{
    const fal_mutant *m = ctx->mutant;
    const bool in_prelude = m->file && strcmp(m->file, "quant") == 0;
    size_t length = 0, n = 0;
    const char *text = fal_cl_text(in_prelude ? "quant" : m->op, &length);
    if (!text) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "mutant %s: there is no opencl/%s.cl", m->id, m->op);
    const fal_status st = fal_mutant_apply(m, false, text, length, in_prelude ? &ctx->prelude : &ctx->text, &n, err);
    if (st) return st;
    ctx->code = (fal_other_code){ .op = m->op, .code = ctx->text, .code_size = n };
    if (in_prelude) {
        ctx->code.prelude = ctx->prelude;
        ctx->code.prelude_size = n;
        ctx->code.code = fal_cl_text(m->op, &ctx->code.code_size);
    }
    return FAL_OK;
}

static fal_status read_cuda(fal_context *ctx, const char *dir, fal_error *err)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.fatbin", dir ? dir : "build/mutants", ctx->mutant->id);
    FILE *f = fopen(path, "rbe");
    fal_text t = { 0 };
    char piece[65536];
    size_t got;
    if (!f)
        return fal_fail(err, FAL_ERR_BLOCKED, "build the mutants: make mutants", "mutant %s: %s: %s", ctx->mutant->id, path, strerror(errno));
    while ((got = fread(piece, 1, sizeof piece, f)) > 0) fal_text_add_n(&t, piece, got);
    const bool bad = ferror(f) != 0 || t.failed || t.len == 0;
    fclose(f);
    if (bad) {
        fal_text_free(&t);
        return fal_fail(err, FAL_ERR_BLOCKED, "build the mutants: make mutants", "mutant %s: %s: cannot be read", ctx->mutant->id, path);
    }
    ctx->text = t.data; /* handed over */
    ctx->code = (fal_other_code){ .op = fal_mutant_module(ctx->mutant), .code = ctx->text, .code_size = t.len };
    return FAL_OK;
}

/* One table for each real backend, made when it is first needed. */
static const fal_backend *table_of(const fal_backend *real)
{
    static fal_backend tables[8];
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (tables[i].name == real->name) return &tables[i];
        if (tables[i].name) continue;
        tables[i] = (fal_backend){ .name = real->name,
                                   .variants = real->variants,
                                   .can_run_dry = real->can_run_dry,
                                   .arithmetic = real->arithmetic,
                                   .devices = real->devices,
                                   .open = real->open,
                                   .close = border_close,
                                   .device = border_device,
                                   .memory = border_memory,
                                   .launches = real->launches ? border_launches : NULL,
#define FAL_OP(op) .op = border_##op,
#include "harness/ops.def"
                                   .session_open = border_session_open,
                                   .session_close = border_session_close,
                                   .reset = border_reset,
                                   .forward = border_forward,
                                   .has_site = real->has_site ? border_has_site : NULL,
                                   .generate = real->generate ? border_generate : NULL,
                                   .read_tensor = border_read_tensor,
                                   .session_memory = border_session_memory,
                                   .read_bandwidth = real->read_bandwidth ? border_read_bandwidth : NULL,
                                   .device_code = real->device_code };
        return &tables[i];
    }
    return NULL;
}

fal_status fal_mutant_open(const char *id, const char *code_dir, const fal_backend *real, const fal_backend_options *options,
                           const fal_backend **out, fal_context **ctx_out, fal_error *err)
{
    const fal_mutant *m = fal_mutant_find(id);
    if (!m) return fal_fail(err, FAL_ERR_USAGE, "'falsify prove --list' names them", "no mutant is named '%.60s'", id);
    if (!fal_mutant_fits(m, real->name))
        return fal_fail(err, FAL_ERR_USAGE, NULL, "mutant %s is made from a source that backend %s does not have", id, real->name);
    fal_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return fal_fail(err, FAL_ERR_MEMORY, NULL, "mutant %s: out of memory", id);
    ctx->real = real;
    ctx->mutant = m;
    snprintf(ctx->variant, sizeof ctx->variant, "%s", options->variant ? options->variant : "");
    fal_backend_options mine = *options;
    fal_status st = FAL_OK;
    if (fal_mutant_is_source(m)) {
        st = strcmp(real->name, "cuda") == 0 ? read_cuda(ctx, code_dir, err) : mutate_opencl(ctx, err);
        mine.instead = &ctx->code;
    }
    if (!st) st = real->open(&mine, &ctx->inner, err);
    if (st) {
        border_close(ctx);
        return st;
    }
    *out = table_of(real);
    *ctx_out = ctx;
    return FAL_OK;
}
