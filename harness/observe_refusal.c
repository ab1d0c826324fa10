/* Observes refusals: a spoilt model, request or call is handed to the candidate, which must say no and leave nothing behind. */
#include "harness/fixture.h"
#include "harness/observe_state.h"
#include "harness/spoil.h"
#include "harness/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What became of the attempts; one attempt that is not refused decides. */
typedef struct {
    int n_tried, n_refused;
    fal_error answer;   /* the first refusal, or what is wrong with the one that was none */
    bool failed;
} result;

static void note_refusal(result *r, const fal_error *e)
{
    r->n_tried++;
    r->n_refused++;
    if (r->failed) return;
    /* Several attempts give one answer: an odd code shows, and a contract that not all of them name is none. */
    const bool first = r->n_tried == 1, same = strcmp(r->answer.contract, e->contract) == 0;
    if (first || e->code != FAL_ERR_INPUT) r->answer = *e;
    if (!first && !same) r->answer.contract[0] = '\0';
}

static void note_failure(result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note_failure(result *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->n_tried++;
    if (r->failed) return;
    r->failed = true;
    snprintf(r->answer.message, sizeof r->answer.message, "%s", text);
    r->answer.code = FAL_OK;
    r->answer.hint[0] = r->answer.contract[0] = '\0';
}

/* ---- spoilt models ------------------------------------------------------------------------------------------------ */

static fal_status try_model(fal_observe_state *s, const fal_spec *spec, result *r, fal_error *err)
{
    fal_text folder = { 0 }, path = { 0 };
    fal_gguf *g = NULL;
    fal_model *model = NULL;
    fal_session *session = NULL;
    fal_error answer = { 0 };
    fal_text_addf(&folder, "%s.spoil", spec->out);
    fal_text_addf(&path, "%s/%s.gguf", fal_text_str(&folder), spec->spoil);
    fal_status st = folder.failed || path.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory") : FAL_OK;
    if (!st) st = fal_gguf_open(spec->model, &g, err);
    if (!st && mkdir(fal_text_str(&folder), 0700) != 0 && errno != EEXIST)
        st = fal_fail(err, FAL_ERR_OUTPUT, "check free space and permissions", "%s: cannot be made: %s", fal_text_str(&folder), strerror(errno));
    if (!st) st = fal_spoil_model(g, spec->spoil, fal_text_str(&path), err);
    if (!st) {
        fal_observe_mark(s, "opening a model spoilt by %s", spec->spoil);
        fal_status answered = fal_model_open(fal_text_str(&path), &model, &answer);
        if (!answered) answered = s->backend->session_open(s->ctx, model, 16, &session, &answer);
        if (answered) {
            note_refusal(r, &answer);
        } else {
            note_failure(r, "a model spoilt by %s was accepted", spec->spoil);
            s->backend->session_close(session);
        }
    }
    fal_model_close(model);
    fal_gguf_close(g);
    unlink(fal_text_str(&path));
    rmdir(fal_text_str(&folder));
    fal_text_free(&path);
    fal_text_free(&folder);
    return st;
}

/* ---- spoilt requests ---------------------------------------------------------------------------------------------- */

enum { ROOM = 8 }; /* positions of the session that gets spoilt requests */

static void try_tokens(fal_observe_state *s, const char *what, const int32_t *tokens, int n, result *r)
{
    fal_error answer = { 0 };
    int32_t next = -1;
    if (s->backend->forward(s->session, tokens, n, NULL, &next, &answer)) note_refusal(r, &answer);
    else note_failure(r, "%s was accepted", what);
}

static fal_status try_request(fal_observe_state *s, const fal_spec *spec, result *r, fal_error *err)
{
    const int32_t n_vocab = s->model->config.n_vocab;
    const int32_t good[ROOM + 1] = { 0 };
    fal_observe_mark(s, "at request spoilt by %s", spec->spoil);
    fal_status st = s->backend->reset(s->session, err);
    if (st) return st;
    if (strcmp(spec->spoil, "no_tokens") == 0) {
        try_tokens(s, "a request without tokens", good, 0, r);
    } else if (strcmp(spec->spoil, "token_negative") == 0) {
        try_tokens(s, "token -1 alone", (const int32_t[]) { -1 }, 1, r);
        try_tokens(s, "token -1 as the last of three", (const int32_t[]) { 0, 0, -1 }, 3, r);
        try_tokens(s, "the smallest integer as a token", (const int32_t[]) { INT32_MIN, 0 }, 2, r);
    } else if (strcmp(spec->spoil, "token_too_large") == 0) {
        try_tokens(s, "token n_vocab alone", (const int32_t[]) { n_vocab }, 1, r);
        try_tokens(s, "token n_vocab as the last of three", (const int32_t[]) { 0, 0, n_vocab }, 3, r);
        try_tokens(s, "the largest integer as a token", (const int32_t[]) { INT32_MAX, 0 }, 2, r);
    } else { /* context_overflow */
        try_tokens(s, "a request longer than the context", good, ROOM + 1, r);
        int32_t next = -1;
        st = s->backend->forward(s->session, good, ROOM - 1, NULL, &next, err);
        if (st) return st;
        try_tokens(s, "a request longer than the rest of the context", good, 2, r);
    }
    /* A refused request must not have moved the position or hurt the session: what fits is still computed. */
    fal_error answer = { 0 };
    int32_t next = -1;
    if (s->backend->forward(s->session, good, 1, NULL, &next, &answer))
        note_failure(r, "the session is unusable after the refusal: %s", answer.message);
    else if (next < 0 || next >= n_vocab)
        note_failure(r, "the session gives token %d after the refusal", (int)next);
    return FAL_OK;
}

/* ---- spoilt calls ------------------------------------------------------------------------------------------------- */

static bool is_poison(const fal_buffer *b)
{
    for (size_t i = 0; i < b->nbytes; i++)
        if (((const unsigned char *)b->data)[i] != 0xff) return false;
    return true;
}

/* Runs a spoilt call: it must be refused, and leave the outputs as they were. */
static void try_call(fal_observe_state *s, const char *what, fal_fixture *f, result *r)
{
    fal_error answer = { 0 };
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    fal_observe_mark(s, "at %s with %s", fal_fixture_op(f), what);
    if (!fal_fixture_run(f, s->backend, s->ctx, &answer)) {
        note_failure(r, "%s with %s was accepted", fal_fixture_op(f), what);
        return;
    }
    for (int i = 0; i < n; i++)
        if (b[i].is_output && !b[i].is_input && !is_poison(&b[i])) {
            note_failure(r, "%s with %s was refused, but wrote to %s", fal_fixture_op(f), what, b[i].name);
            return;
        }
    note_refusal(r, &answer);
}

static fal_status make_call(const fal_spec *spec, const char *op, bool pinned, fal_fixture **out, fal_error *err)
{
    const fal_param pin = { "pinned", 1, NULL };
    const fal_params then = { &pin, 1 };
    const bool own_shape = spec->op && spec->shape.n_params > 0;
    const fal_params *shape = own_shape ? &spec->shape : fal_fixture_example(op);
    fal_status st = fal_fixture_make(op, shape, spec->fill, spec->n_seeds > 0 ? spec->seeds[0] : 1, NULL, pinned ? &then : NULL, out, err);
    if (!st) st = fal_fixture_fill(*out, err);
    return st;
}

static fal_status try_shape(fal_observe_state *s, const fal_spec *spec, const char *op, result *r, fal_error *err)
{
    const int values[] = { 0, -1, INT32_MIN };
    const char *dim;
    for (int d = 0; (dim = fal_fixture_dim(op, d)); d++)
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            fal_fixture *f = NULL;
            char what[64];
            const fal_status st = make_call(spec, op, false, &f, err);
            if (st) {
                fal_fixture_free(f);
                return st;
            }
            fal_fixture_spoil_dim(f, dim, values[v]);
            snprintf(what, sizeof what, "%s = %d", dim, values[v]);
            try_call(s, what, f, r);
            fal_fixture_free(f);
        }
    return FAL_OK;
}

static fal_status try_expert(fal_observe_state *s, const fal_spec *spec, const char *op, result *r, fal_error *err)
{
    const bool is_router = strcmp(op, "router") == 0;
    if (!is_router && strcmp(op, "moe_matmul") != 0)
        return fal_fail(err, FAL_ERR_INPUT, "use moe_matmul or router", "expert_id_out_of_range: op %s takes no expert ids", op);
    for (int v = 0; v < 3; v++) {
        fal_fixture *f = NULL;
        char what[64];
        const fal_status st = make_call(spec, op, is_router, &f, err);
        if (!st) {
            fal_buffer *ids = fal_fixture_buffer(f, is_router ? "pinned_ids" : "ids");
            int n_expert = 0;
            json_t *params = fal_fixture_params(f);
            n_expert = (int)json_integer_value(json_object_get(params, "n_expert"));
            json_decref(params);
            const int32_t bad = v == 0 ? n_expert : v == 1 ? -1 : INT32_MAX;
            ((int32_t *)ids->data)[ids->n - 1] = bad;
            snprintf(what, sizeof what, "expert id %d of %d", (int)bad, n_expert);
            try_call(s, what, f, r);
        }
        fal_fixture_free(f);
        if (st) return st;
    }
    return FAL_OK;
}

static fal_status try_op(fal_observe_state *s, const fal_spec *spec, result *r, fal_error *err)
{
    const bool shape = strcmp(spec->spoil, "shape_zero") == 0;
    if (spec->op) return shape ? try_shape(s, spec, spec->op, r, err) : try_expert(s, spec, spec->op, r, err);
    fal_status st = FAL_OK;
    if (!shape) {
        st = try_expert(s, spec, "moe_matmul", r, err);
        return st ? st : try_expert(s, spec, "router", r, err);
    }
    for (int i = 0; i < fal_n_ops() && !st; i++) st = try_shape(s, spec, fal_op_name(i), r, err);
    return st;
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

static fal_status unknown_spoil(const char *name, fal_error *err)
{
    int n;
    const char *const *names = fal_spoil_names(&n);
    fal_text hint = { 0 };
    fal_text_add(&hint, "there are:");
    for (int i = 0; i < n; i++) fal_text_addf(&hint, " %s", names[i]);
    fal_fail(err, FAL_ERR_USAGE, fal_text_str(&hint), "no way to spoil is named '%.60s'", name);
    fal_text_free(&hint);
    return FAL_ERR_USAGE;
}

fal_status fal_observe_refusal(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    const fal_spoil_kind kind = fal_spoil_kind_of(spec->spoil ? spec->spoil : "");
    if (kind == FAL_SPOIL_NONE) return unknown_spoil(spec->spoil ? spec->spoil : "", err);
    fal_observation_writer *w = NULL;
    json_t *launches = NULL;
    result r = { 0 };
    fal_memory before = { 0 }, after = { 0 };

    /* Live bytes are compared, so nothing else may come and go: a session that stays is on both sides of the difference. */
    fal_status st = fal_observe_open_device(s, spec, err);
    if (kind != FAL_SPOIL_REQUEST || s->n_ctx != ROOM) fal_observe_close_session(s);
    if (!st && kind == FAL_SPOIL_REQUEST) st = fal_observe_open_model(s, spec->model, err);
    if (!st && kind == FAL_SPOIL_REQUEST) st = fal_observe_open_session(s, ROOM, err);
    if (!st && kind == FAL_SPOIL_MODEL && !spec->model) st = fal_fail(err, FAL_ERR_USAGE, NULL, "spoil %s: no model was named", spec->spoil);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (st) return st;

    launches = fal_observe_launches(s);
    s->backend->memory(s->ctx, &before);
    if (kind == FAL_SPOIL_MODEL) st = try_model(s, spec, &r, err);
    else if (kind == FAL_SPOIL_REQUEST) st = try_request(s, spec, &r, err);
    else st = try_op(s, spec, &r, err);
    s->backend->memory(s->ctx, &after);
    if (!st) {
        fal_memory memory = after;
        if (s->session) s->backend->session_memory(s->session, &memory);
        fal_text message = { 0 };
        fal_text_add_safe(&message, r.answer.message, strlen(r.answer.message));
        json_t *refusal = json_pack("{s:b, s:s, s:s, s:s, s:I, s:I, s:i, s:i}", "refused", !r.failed && r.n_tried == r.n_refused && r.n_tried > 0,
                                    "code", fal_status_name(r.answer.code), "message", fal_text_str(&message), "contract", r.answer.contract,
                                    "live_bytes_before", (json_int_t)before.live_bytes, "live_bytes_after", (json_int_t)after.live_bytes,
                                    "n_tried", r.n_tried, "n_refused", r.n_refused);
        fal_text_free(&message);
        st = fal_observe_finish(s, spec, w, NULL, &memory, launches, "refusal", refusal, err);
        launches = NULL;
    }
    json_decref(launches);
    fal_observation_writer_free(w);
    return st;
}
