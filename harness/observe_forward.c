/* Observes forward passes: taps go to the file row by row; teacher forcing and pinned routing come from another file. */
#include "harness/nvtx.h"
#include "harness/observe_state.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { CTX_STEP = 256 };

/* What the taps of one request need. The backend calls them in the middle of its forward pass. */
typedef struct {
    fal_observe_state *state;
    const fal_spec *spec;
    const fal_config *c;
    fal_observation_writer *writer;
    const fal_observation *inputs, *pin; /* NULL when nothing is forced, nothing pinned */
    const fal_obs_tensor *fed; /* the one that was forced last; its pages go when the next one comes */
    int request, n_tokens;
    int base, n_call;       /* the running call: tokens [base, base + n_call) of the request */
    int n_places;           /* (n_layer + 1) * FAL_N_SITES */
    bool *wanted;           /* [n_places] */
    int *forced_rows;       /* [n_places] rows that the backend asked for */
    int *pinned_rows;       /* [n_layer] */
    char last_site[96];     /* that the backend came to, empty before the first of the running call */
    fal_nvtx *nvtx;         /* NULL unless a profiler is told about ops */
    fal_error fault;        /* what a callback without a status found */
} watcher;

static int place_of(const watcher *w, fal_site site, int layer)
{
    const bool per_layer = (unsigned)site < FAL_N_SITES && fal_site_get(site)->per_layer;
    if ((unsigned)site >= FAL_N_SITES || (per_layer ? layer < 0 || layer >= w->c->n_layer : layer != -1)) return -1;
    return (layer + 1) * FAL_N_SITES + (int)site;
}

static size_t row_bytes(const watcher *w, fal_site site)
{
    int sub, width;
    fal_site_shape(site, w->c, &sub, &width);
    return (size_t)sub * (size_t)width * 4; /* f32 or i32 */
}

/* Refuses a site or rows that the running call does not have. */
static bool in_call(watcher *w, const char *what, fal_site site, int layer, int first, int n)
{
    if (place_of(w, site, layer) < 0) {
        fal_fail(&w->fault, FAL_ERR_INTERNAL, NULL, "backend %s: %s for site %d of layer %d, which does not exist",
                 w->state->backend->name, what, (int)site, layer);
        return false;
    }
    if (first >= 0 && n > 0 && n <= w->n_call && first <= w->n_call - n) return true;
    char name[96];
    fal_observe_site_name(name, w->request, site, layer);
    fal_fail(&w->fault, FAL_ERR_INTERNAL, NULL, "backend %s: %s for %s: %d rows from row %d, but the call has %d tokens",
             w->state->backend->name, what, name, n, first, w->n_call);
    return false;
}

/* A backend asks about a site when it has computed it: what comes next is the range of the site after it. */
static void mark_range(watcher *w, fal_site site, int layer)
{
    const bool last_of_layer = site + 1 < FAL_N_SITES && fal_site_get(site)->per_layer && !fal_site_get(site + 1)->per_layer;
    fal_site next = site + 1 < FAL_N_SITES ? site + 1 : site;
    int next_layer = layer;
    char name[96];
    if (last_of_layer && layer + 1 < w->c->n_layer) {
        next = FAL_SITE_embed + 1;
        next_layer = layer + 1;
    }
    if (!fal_site_get(next)->per_layer) next_layer = -1;
    else if (next_layer < 0) next_layer = 0;
    fal_observe_site_name(name, w->request, next, next_layer);
    fal_nvtx_next(w->nvtx, site + 1 < FAL_N_SITES ? name : "after logits");
}

static bool wants(void *user, fal_site site, int layer)
{
    watcher *w = user;
    const int place = place_of(w, site, layer);
    if (place < 0) return false;
    fal_observe_site_name(w->last_site, w->request, site, layer);
    if (w->nvtx) mark_range(w, site, layer);
    if (layer < 0) fal_observe_mark(w->state, "at r%d %s", w->request, fal_site_get(site)->name);
    else fal_observe_mark(w->state, "at r%d blk.%d.%s", w->request, layer, fal_site_get(site)->name);
    return w->wanted[place];
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    watcher *w = user;
    char name[96];
    if (!in_call(w, "gave rows", site, layer, first, n)) {
        if (err && err->code == FAL_OK) *err = w->fault;
        return w->fault.code;
    }
    fal_observe_site_name(name, w->request, site, layer);
    if (!w->wanted[place_of(w, site, layer)] || !data)
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "backend %s: gave %s, which %s", w->state->backend->name, name,
                        data ? "nobody wanted" : "is NULL");
    const size_t row = row_bytes(w, site);
    return fal_observation_put(w->writer, name, (size_t)(w->base + first) * row, data, (size_t)n * row, err);
}

static const void *forced(void *user, fal_site site, int layer, int first, int n)
{
    watcher *w = user;
    if (!w->inputs || !in_call(w, "asked for forced rows", site, layer, first, n)) return NULL;
    char name[96];
    fal_observe_site_name(name, -1, site, layer);
    const fal_obs_tensor *t = fal_observation_find(w->inputs, w->request, name);
    w->forced_rows[place_of(w, site, layer)] += n;
    if (w->fed && w->fed != t) fal_observation_let_go(w->inputs, w->fed);
    w->fed = t;
    return t ? (const char *)t->data + (size_t)(w->base + first) * row_bytes(w, site) : NULL;
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    watcher *w = user;
    if (!w->pin || !in_call(w, "asked for pinned experts", FAL_SITE_expert_ids, layer, first, n)) return NULL;
    char name[96];
    fal_observe_site_name(name, -1, FAL_SITE_expert_ids, layer);
    const fal_obs_tensor *t = fal_observation_find(w->pin, w->request, name); /* check_pin saw it */
    w->pinned_rows[layer] += n;
    return (const int32_t *)t->data + (size_t)(w->base + first) * (size_t)w->c->n_expert_used;
}

/* ---- files that are fed in ---------------------------------------------------------------------------------------- */

static fal_status check_source_tokens(const fal_observation *o, const fal_spec *spec, int r, fal_error *err)
{
    const json_t *tokens = json_object_get(json_array_get(json_object_get(o->about, "requests"), (size_t)r), "tokens");
    if (!tokens) return FAL_OK; /* another engine's file may not say; shapes are checked */
    bool same = json_array_size(tokens) == (size_t)spec->n_tokens[r];
    for (int i = 0; same && i < spec->n_tokens[r]; i++)
        same = json_integer_value(json_array_get(tokens, (size_t)i)) == spec->tokens[r][i];
    if (same) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, "observe the reference with the same prompts first",
                    "%s: request %d has other tokens than the observation that it is fed into", o->path, r);
}

static fal_status need(const fal_observation *o, int r, fal_site site, int layer, const fal_config *c, int n_tokens,
                       const fal_obs_tensor **out, fal_error *err)
{
    static const char *const dtypes[] = { "F32", "I32", "U8", "I64" };
    char name[96];
    int64_t ne[3];
    const int n_dims = fal_observe_site_shape(site, c, n_tokens, ne);
    const fal_dtype dtype = fal_site_get(site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    fal_observe_site_name(name, -1, site, layer);
    const fal_obs_tensor *t = fal_observation_find(o, r, name);
    if (!t)
        return fal_fail(err, FAL_ERR_INPUT, "observe the reference with --taps all first", "%s: request %d has no tensor '%s'",
                        o->path, r, name);
    bool same = t->dtype == dtype && t->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++) same = t->ne[d] == ne[d];
    if (!same)
        return fal_fail(err, FAL_ERR_INPUT, "the file is of another model or prompt",
                        "%s: request %d, tensor '%s': found %s [%lld, %lld, ...] of %d dimensions, expected %s [%lld, %lld, ...] of %d",
                        o->path, r, name, dtypes[t->dtype], (long long)(t->n_dims > 0 ? t->ne[0] : 0),
                        (long long)(t->n_dims > 1 ? t->ne[1] : 0), t->n_dims, dtypes[dtype], (long long)ne[0], (long long)ne[1], n_dims);
    *out = t;
    return FAL_OK;
}

/* Expert ids index weights; a file must not choose an expert that does not exist, or one twice. */
static fal_status check_ids(const fal_observation *o, int r, int layer, const fal_config *c, const fal_obs_tensor *t, fal_error *err)
{
    const int32_t *ids = t->data;
    for (size_t i = 0; i < t->n; i++) {
        if (ids[i] < 0 || ids[i] >= c->n_expert)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: request %d: blk.%d.expert_ids[%zu] is %d, expected 0 <= id < %d", o->path, r,
                            layer, i, (int)ids[i], c->n_expert);
        const size_t row = i - i % (size_t)c->n_expert_used;
        for (size_t k = row; k < i; k++)
            if (ids[k] == ids[i])
                return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: request %d: blk.%d.expert_ids[%zu] repeats expert %d of its token",
                                o->path, r, layer, i, (int)ids[i]);
    }
    return FAL_OK;
}

/* A site whose values go on into the pass. logits do not; they may be missing. */
static bool is_needed(fal_site site)
{
    return site != FAL_SITE_logits;
}

static fal_status check_source(const fal_observation *o, const fal_spec *spec, const fal_config *c, bool only_ids, fal_error *err)
{
    if (o->n_requests < spec->n_requests)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s: %d requests, expected %d", o->path, o->n_requests, spec->n_requests);
    for (int r = 0; r < spec->n_requests; r++) {
        fal_status st = check_source_tokens(o, spec, r, err);
        for (int s = 0; s < FAL_N_SITES && !st; s++) {
            const fal_site site = (fal_site)s;
            const bool per_layer = fal_site_get(site)->per_layer;
            if (!is_needed(site) || (only_ids && site != FAL_SITE_expert_ids)) continue;
            for (int layer = per_layer ? 0 : -1; layer < (per_layer ? c->n_layer : 0) && !st; layer++) {
                const fal_obs_tensor *t = NULL;
                st = need(o, r, site, layer, c, spec->n_tokens[r], &t, err);
                if (!st && site == FAL_SITE_expert_ids) st = check_ids(o, r, layer, c, t, err);
            }
        }
        if (st) return st;
    }
    return FAL_OK;
}

/* ---- one request -------------------------------------------------------------------------------------------------- */

static bool has_site(const watcher *w, fal_site site)
{
    const fal_backend *b = w->state->backend;
    return !b->has_site || b->has_site(w->state->session, site, w->spec->decode ? 1 : w->n_tokens);
}

/* A backend that never asks for what is forced would look perfect: every row must have been asked for. */
static fal_status check_fed(const watcher *w, fal_error *err)
{
    char name[96];
    for (int place = 0; w->inputs && place < w->n_places; place++) {
        const fal_site site = (fal_site)(place % FAL_N_SITES);
        const int layer = place / FAL_N_SITES - 1;
        if (place_of(w, site, layer) < 0 || !is_needed(site) || site == FAL_SITE_final_norm || !has_site(w, site)) continue;
        if (w->forced_rows[place] == w->n_tokens) continue;
        fal_observe_site_name(name, w->request, site, layer);
        return fal_fail(err, FAL_ERR_INTERNAL, NULL, "backend %s: teacher forcing: took %d of %d rows of %s",
                        w->state->backend->name, w->forced_rows[place], w->n_tokens, name);
    }
    for (int layer = 0; w->pin && layer < w->c->n_layer; layer++)
        if (w->pinned_rows[layer] != w->n_tokens)
            return fal_fail(err, FAL_ERR_INTERNAL, NULL, "backend %s: pinned routing: took %d of %d rows of layer %d",
                            w->state->backend->name, w->pinned_rows[layer], w->n_tokens, layer);
    return FAL_OK;
}

static fal_status call(watcher *w, const fal_taps *taps, const int32_t *tokens, int n, int32_t *next, fal_error *err)
{
    w->n_call = n;
    *next = INT32_MIN; /* no token: shows a backend that does not answer */
    if (w->nvtx) fal_nvtx_next(w->nvtx, taps ? "embed" : "forward without taps");
    w->last_site[0] = '\0';
    fal_error own = { 0 };
    fal_status st = w->state->backend->forward(w->state->session, tokens, n, taps, next, &own);
    if (w->nvtx) fal_nvtx_next(w->nvtx, NULL);
    if (st && err && err->code == FAL_OK) *err = own;
    /* a driver tells late: the fault lies at this site, or between it and the last one that was waited for */
    if (st == FAL_ERR_DEVICE && w->last_site[0] && err)
        snprintf(err->message, sizeof err->message, "at %s: %.900s", w->last_site, own.message);
    if (!st && w->fault.code) {
        if (err && err->code == FAL_OK) *err = w->fault;
        st = w->fault.code;
    }
    return st;
}

static fal_status prefill(watcher *w, const int32_t *tokens, int32_t *next, fal_error *err)
{
    const fal_taps taps = { .user = w, .wants = wants, .give = give, .forced = w->inputs ? forced : NULL, .pinned = w->pin ? pinned : NULL };
    w->base = 0;
    if (!w->spec->decode) return call(w, &taps, tokens, w->n_tokens, next, err);
    if (w->n_tokens <= 0) return call(w, &taps, tokens, 0, next, err); /* the backend's own refusal */
    fal_status st = FAL_OK;
    for (; w->base < w->n_tokens && !st; w->base++) st = call(w, &taps, tokens + w->base, 1, next, err);
    return st;
}

/* Greedy continuation into out[0..n). A token that is none ends it: the rest stays -1 for the judgement to see. */
static fal_status go_on(watcher *w, int32_t next, int32_t *out, int n, fal_error *err)
{
    for (int i = 0; i < n; i++) out[i] = -1;
    for (int i = 0; i < n; i++) {
        out[i] = next;
        if (next < 0 || next >= w->c->n_vocab || i + 1 == n) break;
        const int32_t token = next;
        fal_observe_mark(w->state, "at r%d greedy token %d", w->request, i);
        const fal_status st = call(w, NULL, &token, 1, &next, err);
        if (st) return st;
    }
    return FAL_OK;
}

static json_t *tokens_to_json(const int32_t *tokens, int n)
{
    json_t *j = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(j, json_integer(tokens[i]));
    return j;
}

static fal_status observe_request(watcher *w, json_t *requests, fal_error *err)
{
    const int r = w->request, n_greedy = w->spec->n_greedy;
    const int32_t *tokens = w->spec->tokens[r];
    int32_t next = -1;
    int32_t *greedy = malloc(((size_t)n_greedy + 1) * sizeof *greedy);
    if (!greedy) return fal_fail(err, FAL_ERR_MEMORY, NULL, "request %d: out of memory", r);
    w->n_tokens = w->spec->n_tokens[r];
    memset(w->forced_rows, 0, (size_t)w->n_places * sizeof *w->forced_rows);
    memset(w->pinned_rows, 0, (size_t)w->c->n_layer * sizeof *w->pinned_rows);
    fal_observe_mark(w->state, "at r%d reset", r);
    fal_status st = w->state->backend->reset(w->state->session, err);
    const double t0 = fal_observe_now();
    if (!st) st = prefill(w, tokens, &next, err);
    const double t1 = fal_observe_now();
    if (!st) st = check_fed(w, err);
    const double t2 = fal_observe_now();
    if (!st && n_greedy > 0) {
        st = go_on(w, next, greedy, n_greedy, err);
        char name[32];
        snprintf(name, sizeof name, "r%d.greedy", r);
        if (!st) st = fal_observation_put(w->writer, name, 0, greedy, (size_t)n_greedy * sizeof *greedy, err);
    }
    const double t3 = fal_observe_now();
    if (!st) {
        const double decode = n_greedy > 0 ? t3 - t2 : 0;
        json_t *j = json_pack("{s:o, s:o, s:f, s:f, s:f}", "tokens", tokens_to_json(tokens, w->n_tokens), "greedy",
                              tokens_to_json(greedy, n_greedy), "seconds", t1 - t0 + decode, "prefill_seconds", t1 - t0,
                              "decode_seconds", decode);
        if (json_array_append_new(requests, j) != 0) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "request %d: out of memory", r);
    }
    free(greedy);
    return st;
}

/* ---- all requests ------------------------------------------------------------------------------------------------- */

static fal_status declare(watcher *w, fal_error *err)
{
    char name[96];
    int64_t ne[3];
    fal_status st = FAL_OK;
    for (int r = 0; r < w->spec->n_requests && !st; r++) {
        for (int place = 0; place < w->n_places && !st; place++) {
            if (!w->wanted[place]) continue;
            const fal_site site = (fal_site)(place % FAL_N_SITES);
            fal_observe_site_name(name, r, site, place / FAL_N_SITES - 1);
            const int n_dims = fal_observe_site_shape(site, w->c, w->spec->n_tokens[r], ne);
            st = fal_observation_declare(w->writer, name, fal_site_get(site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32, n_dims, ne, err);
        }
        if (w->spec->n_greedy > 0 && !st) {
            snprintf(name, sizeof name, "r%d.greedy", r);
            ne[0] = w->spec->n_greedy;
            st = fal_observation_declare(w->writer, name, FAL_DTYPE_I32, 1, ne, err);
        }
    }
    return st;
}

static fal_status check_spec(const fal_spec *spec, int *n_ctx, fal_error *err)
{
    if (spec->n_requests < 1) return fal_fail(err, FAL_ERR_USAGE, "give token ids", "a forward observation needs a prompt");
    if (spec->n_greedy < 0 || (spec->n_greedy > 0 && spec->kind != FAL_OBSERVE_FORWARD))
        return fal_fail(err, FAL_ERR_USAGE, "observe the continuation in a run of its own",
                        "n_greedy is %d: a continuation needs a free-running pass", spec->n_greedy);
    if (spec->kind == FAL_OBSERVE_TEACHER && !spec->inputs)
        return fal_fail(err, FAL_ERR_USAGE, "give an observation of the reference with taps all", "teacher forcing without inputs");
    if (spec->kind == FAL_OBSERVE_PINNED && !spec->pin)
        return fal_fail(err, FAL_ERR_USAGE, "give an observation of the reference with taps blk.*.expert_ids", "pinned routing without a file");
    *n_ctx = 1;
    for (int r = 0; r < spec->n_requests; r++) {
        int n;
        if (spec->n_tokens[r] < 0 || __builtin_add_overflow(spec->n_tokens[r], spec->n_greedy, &n))
            return fal_fail(err, FAL_ERR_USAGE, NULL, "request %d: %d tokens and %d greedy ones", r, spec->n_tokens[r], spec->n_greedy);
        if (n > *n_ctx) *n_ctx = n;
    }
    return FAL_OK;
}

fal_status fal_observe_forward(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    watcher w = { .state = s, .spec = spec };
    fal_observation *inputs = NULL, *pin = NULL;
    json_t *requests = NULL, *before = NULL;
    int n_ctx = 1;
    fal_status st = check_spec(spec, &n_ctx, err);
    if (!st) st = fal_observe_open_model(s, spec->model, err);
    if (st) return st;
    w.c = &s->model->config;
    w.n_places = (w.c->n_layer + 1) * FAL_N_SITES;
    w.wanted = calloc((size_t)w.n_places, sizeof *w.wanted);
    w.forced_rows = calloc((size_t)w.n_places, sizeof *w.forced_rows);
    w.pinned_rows = calloc((size_t)w.c->n_layer + 1, sizeof *w.pinned_rows);
    requests = json_array();
    if (!w.wanted || !w.forced_rows || !w.pinned_rows || !requests) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory");
        goto out;
    }
    st = fal_observe_check_taps(spec, w.c->n_layer, err);
    for (int place = 0; place < w.n_places; place++) {
        const fal_site site = (fal_site)(place % FAL_N_SITES);
        w.wanted[place] = place_of(&w, site, place / FAL_N_SITES - 1) >= 0 && fal_observe_taps(spec, site, place / FAL_N_SITES - 1);
    }
    if (!st && spec->kind == FAL_OBSERVE_TEACHER) st = fal_observation_open(spec->inputs, &inputs, err);
    if (!st && inputs) st = check_source(inputs, spec, w.c, false, err);
    if (!st && spec->kind == FAL_OBSERVE_PINNED) st = fal_observation_open(spec->pin, &pin, err);
    if (!st && pin) st = check_source(pin, spec, w.c, true, err);
    if (!st && spec->nvtx) st = fal_nvtx_open(NULL, &w.nvtx, err);
    if (!st) st = fal_observation_writer_make(spec->out, &w.writer, err);
    if (!st) st = declare(&w, err);
    /* rounded up, so that the next prompt mostly finds a session with room for it */
    const int rounded = n_ctx > INT_MAX - CTX_STEP ? n_ctx : (n_ctx + CTX_STEP - 1) / CTX_STEP * CTX_STEP;
    if (!st) st = fal_observe_open_session(s, rounded, err);
    if (st) goto out;
    w.inputs = inputs;
    w.pin = pin;
    before = fal_observe_launches(s);
    for (w.request = 0; w.request < spec->n_requests && !st; w.request++) st = observe_request(&w, requests, err);
    if (st) goto out;

    size_t missing;
    const char *name = fal_observation_unput(w.writer, &missing);
    if (name) {
        st = fal_fail(err, FAL_ERR_INTERNAL, NULL, "backend %s did not deliver all rows of %s (%zu bytes are missing in all)",
                      s->backend->name, name, missing);
        goto out;
    }
    fal_memory memory = { 0 };
    s->backend->session_memory(s->session, &memory);
    st = fal_observe_finish(s, spec, w.writer, requests, &memory, before, NULL, NULL, err);
    requests = before = NULL;
out:
    json_decref(before);
    json_decref(requests);
    fal_observation_writer_free(w.writer);
    fal_nvtx_close(w.nvtx);
    fal_observation_close(pin);
    fal_observation_close(inputs);
    free(w.pinned_rows);
    free(w.forced_rows);
    free(w.wanted);
    return st;
}
