/* Specs as JSON: one line of an observer's input, and what an observation says it was asked for. */
#include "harness/arena.h"
#include "harness/observe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { "forward", "teacher", "pinned", "op", "preload", "refusal", "throughput", "device_code", "launches", "sanitize", "trial" };
#define N_KINDS ((int)(sizeof kinds / sizeof kinds[0]))

/* ---- out ---------------------------------------------------------------------------------------------------------- */

static json_t *strings_to_json(const char *const *s, int n)
{
    json_t *j = json_array();
    for (int i = 0; i < n; i++)
        if (json_array_append_new(j, json_string(s[i])) != 0) {
            json_decref(j);
            return NULL;
        }
    return j;
}

static json_t *requests_to_json(const fal_spec *spec)
{
    json_t *j = json_array();
    bool ok = j != NULL;
    for (int r = 0; ok && r < spec->n_requests; r++) {
        json_t *tokens = json_array();
        for (int i = 0; ok && i < spec->n_tokens[r]; i++) ok = json_array_append_new(tokens, json_integer(spec->tokens[r][i])) == 0;
        ok = json_array_append_new(j, tokens) == 0 && ok;
    }
    if (ok) return j;
    json_decref(j);
    return NULL;
}

/* NULL for a number that JSON cannot say (NaN, infinity). */
static json_t *params_to_json(const fal_params *p)
{
    json_t *j = json_object();
    for (int i = 0; i < p->n_params; i++) {
        const fal_param *v = &p->params[i];
        const double number = v->number;
        const bool whole = number > -0x1p53 && number < 0x1p53 && number == (double)(json_int_t)number;
        json_t *value = v->text ? json_string(v->text) : whole ? json_integer((json_int_t)number) : json_real(number);
        if (json_object_set_new(j, v->name, value) != 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

/* A JSON integer holds 63 bits; larger seeds travel as text. */
static json_t *seeds_to_json(const fal_spec *spec)
{
    json_t *j = json_array();
    for (int i = 0; i < spec->n_seeds; i++) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)spec->seeds[i]);
        json_t *seed = spec->seeds[i] <= INT64_MAX ? json_integer((json_int_t)spec->seeds[i]) : json_string(text);
        if (json_array_append_new(j, seed) != 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

/* Sets a field that is there; takes value over. */
static bool set(json_t *j, bool there, const char *name, json_t *value)
{
    if (there) return json_object_set_new(j, name, value) == 0;
    json_decref(value);
    return true;
}

json_t *fal_spec_to_json(const fal_spec *s)
{
    json_t *j = json_object();
    if (!j || (int)s->kind < 0 || (int)s->kind >= N_KINDS) {
        json_decref(j);
        return NULL;
    }
    const bool forward = s->kind == FAL_OBSERVE_FORWARD || s->kind == FAL_OBSERVE_TEACHER || s->kind == FAL_OBSERVE_PINNED;
    bool ok = set(j, true, "kind", json_string(kinds[s->kind]));
    ok = set(j, true, "backend", json_string(s->backend ? s->backend : "")) && ok;
    ok = set(j, true, "variant", json_string(s->variant ? s->variant : "")) && ok;
    ok = set(j, true, "device", json_string(s->device ? s->device : "")) && ok;
    ok = set(j, s->model, "model", s->model ? json_string(s->model) : NULL) && ok;
    ok = set(j, s->candidate, "candidate", s->candidate ? json_string(s->candidate) : NULL) && ok;
    ok = set(j, forward || s->n_requests, "requests", requests_to_json(s)) && ok;
    ok = set(j, s->n_greedy, "n_greedy", json_integer(s->n_greedy)) && ok;
    ok = set(j, s->decode, "decode", json_true()) && ok;
    ok = set(j, forward || s->n_taps, "taps", strings_to_json(s->taps, s->n_taps)) && ok;
    ok = set(j, s->inputs, "inputs", s->inputs ? json_string(s->inputs) : NULL) && ok;
    ok = set(j, s->pin, "pin", s->pin ? json_string(s->pin) : NULL) && ok;
    ok = set(j, s->op, "op", s->op ? json_string(s->op) : NULL) && ok;
    ok = set(j, s->shape.n_params, "shape", params_to_json(&s->shape)) && ok;
    ok = set(j, s->with.n_params, "with", params_to_json(&s->with)) && ok;
    ok = set(j, s->then.n_params, "then", params_to_json(&s->then)) && ok;
    ok = set(j, s->fill, "fill", s->fill ? json_string(s->fill) : NULL) && ok;
    ok = set(j, s->n_seeds, "seeds", seeds_to_json(s)) && ok;
    ok = set(j, s->spoil, "spoil", s->spoil ? json_string(s->spoil) : NULL) && ok;
    ok = set(j, s->blocking, "blocking", json_true()) && ok;
    ok = set(j, s->nvtx, "nvtx", json_true()) && ok;
    ok = set(j, s->mutant, "mutant", s->mutant ? json_string(s->mutant) : NULL) && ok;
    ok = set(j, s->mutant_code, "mutant_code", s->mutant_code ? json_string(s->mutant_code) : NULL) && ok;
    ok = set(j, s->out, "out", s->out ? json_string(s->out) : NULL) && ok;
    if (ok) return j;
    json_decref(j);
    return NULL;
}

/* ---- in ----------------------------------------------------------------------------------------------------------- */

struct fal_spec_box {
    fal_arena arena;
    fal_spec spec;
};

typedef struct {
    fal_arena *arena;
    const json_t *j;
    fal_error *err;
    fal_status status;
} reader;

static void bad(reader *r, const char *field, const char *expected)
{
    if (!r->status) r->status = fal_fail(r->err, FAL_ERR_INPUT, NULL, "spec: %.60s: expected %s", field, expected);
}

static const char *copy_text(reader *r, const json_t *v)
{
    return fal_arena_copy(r->arena, json_string_value(v), json_string_length(v));
}

static const char *text_field(reader *r, const char *name, const char *fallback)
{
    const json_t *v = json_object_get(r->j, name);
    if (!v) return fallback;
    if (json_is_string(v)) return copy_text(r, v);
    bad(r, name, "a text");
    return fallback;
}

/* The elements of an array field; 0 when it is absent. */
static size_t count_field(reader *r, const char *name, const json_t **array)
{
    *array = json_object_get(r->j, name);
    if (!*array) return 0;
    if (!json_is_array(*array) || json_array_size(*array) > INT32_MAX / 2) {
        bad(r, name, "a list");
        return 0;
    }
    return json_array_size(*array);
}

static void read_requests(reader *r, fal_spec *s)
{
    const json_t *list;
    const size_t n = count_field(r, "requests", &list);
    const int32_t **tokens = fal_arena_take(r->arena, n, sizeof *tokens);
    int *n_tokens = fal_arena_take(r->arena, n, sizeof *n_tokens);
    for (size_t i = 0; i < n && !r->arena->failed && !r->status; i++) {
        const json_t *one = json_array_get(list, i);
        if (!json_is_array(one) || json_array_size(one) > INT32_MAX / 2) {
            bad(r, "requests", "lists of token ids");
            return;
        }
        int32_t *ids = fal_arena_take(r->arena, json_array_size(one), sizeof *ids);
        for (size_t t = 0; ids && t < json_array_size(one); t++) {
            const json_t *v = json_array_get(one, t);
            if (!json_is_integer(v) || json_integer_value(v) < INT32_MIN || json_integer_value(v) > INT32_MAX) {
                bad(r, "requests", "token ids of 32 bits");
                return;
            }
            ids[t] = (int32_t)json_integer_value(v);
        }
        tokens[i] = ids;
        n_tokens[i] = (int)json_array_size(one);
    }
    s->tokens = tokens;
    s->n_tokens = n_tokens;
    s->n_requests = (int)n;
}

static void read_taps(reader *r, fal_spec *s)
{
    const json_t *list;
    const size_t n = count_field(r, "taps", &list);
    const char **taps = fal_arena_take(r->arena, n, sizeof *taps);
    for (size_t i = 0; taps && i < n; i++) {
        if (!json_is_string(json_array_get(list, i))) {
            bad(r, "taps", "a list of texts");
            return;
        }
        taps[i] = copy_text(r, json_array_get(list, i));
    }
    s->taps = taps;
    s->n_taps = (int)n;
}

static void read_seeds(reader *r, fal_spec *s)
{
    const json_t *list;
    const size_t n = count_field(r, "seeds", &list);
    uint64_t *seeds = fal_arena_take(r->arena, n, sizeof *seeds);
    for (size_t i = 0; seeds && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        const char *text = json_string_value(v);
        char *end = NULL;
        errno = 0;
        if (json_is_integer(v) && json_integer_value(v) >= 0) seeds[i] = (uint64_t)json_integer_value(v);
        else if (text && text[0] >= '0' && text[0] <= '9') seeds[i] = strtoull(text, &end, 10);
        else bad(r, "seeds", "integers >= 0");
        if (end && (*end || errno)) bad(r, "seeds", "integers of 64 bits");
    }
    s->seeds = seeds;
    s->n_seeds = (int)n;
}

static void read_params(reader *r, const char *field, fal_params *out)
{
    const json_t *object = json_object_get(r->j, field);
    if (!object) return;
    if (!json_is_object(object)) {
        bad(r, field, "an object");
        return;
    }
    const size_t n = json_object_size(object);
    fal_param *params = fal_arena_take(r->arena, n, sizeof *params);
    size_t i = 0;
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)object, name, v) {
        if (!params) return;
        params[i].name = fal_arena_copy(r->arena, name, strlen(name));
        if (json_is_string(v)) params[i].text = copy_text(r, v);
        else if (json_is_number(v)) params[i].number = json_number_value(v);
        else bad(r, field, "numbers and texts");
        i++;
    }
    out->params = params;
    out->n_params = (int)n;
}

static void check_fields(reader *r)
{
    static const char *const fields[] = { "kind", "backend", "variant", "device", "model", "candidate", "requests", "n_greedy", "decode", "taps",
                                          "inputs", "pin", "op", "shape", "with", "then", "fill", "seeds", "spoil", "blocking", "nvtx", "mutant",
                                          "mutant_code", "out" };
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)r->j, name, v) {
        size_t i = 0;
        while (i < sizeof fields / sizeof fields[0] && strcmp(fields[i], name) != 0) i++;
        if (i == sizeof fields / sizeof fields[0]) bad(r, name, "no such field");
    }
}

static void read_spec(reader *r, fal_spec *s)
{
    check_fields(r);
    const char *kind = text_field(r, "kind", "");
    int k = 0;
    while (kind && k < N_KINDS && strcmp(kinds[k], kind) != 0) k++;
    if (k == N_KINDS) bad(r, "kind", "forward, teacher, pinned, op, preload, refusal, throughput, device_code, launches, sanitize or trial");
    else s->kind = (fal_observe_kind)k;
    s->backend = text_field(r, "backend", "");
    s->variant = text_field(r, "variant", "");
    s->device = text_field(r, "device", "");
    s->model = text_field(r, "model", NULL);
    s->candidate = text_field(r, "candidate", NULL);
    s->inputs = text_field(r, "inputs", NULL);
    s->pin = text_field(r, "pin", NULL);
    s->op = text_field(r, "op", NULL);
    s->fill = text_field(r, "fill", NULL);
    s->spoil = text_field(r, "spoil", NULL);
    s->mutant = text_field(r, "mutant", NULL);
    s->mutant_code = text_field(r, "mutant_code", NULL);
    s->out = text_field(r, "out", NULL);
    const json_t *n_greedy = json_object_get(r->j, "n_greedy"), *decode = json_object_get(r->j, "decode");
    if (n_greedy && (!json_is_integer(n_greedy) || json_integer_value(n_greedy) < 0 || json_integer_value(n_greedy) > INT32_MAX / 2))
        bad(r, "n_greedy", "an integer >= 0");
    else s->n_greedy = (int)json_integer_value(n_greedy);
    if (decode && !json_is_boolean(decode)) bad(r, "decode", "true or false");
    s->decode = json_is_true(decode);
    const json_t *blocking = json_object_get(r->j, "blocking");
    if (blocking && !json_is_boolean(blocking)) bad(r, "blocking", "true or false");
    s->blocking = json_is_true(blocking);
    const json_t *nvtx = json_object_get(r->j, "nvtx");
    if (nvtx && !json_is_boolean(nvtx)) bad(r, "nvtx", "true or false");
    s->nvtx = json_is_true(nvtx);
    read_requests(r, s);
    read_taps(r, s);
    read_seeds(r, s);
    read_params(r, "shape", &s->shape);
    read_params(r, "with", &s->with);
    read_params(r, "then", &s->then);
}

fal_status fal_spec_from_json(const json_t *j, fal_spec_box **keep, const fal_spec **out, fal_error *err)
{
    if (!json_is_object(j)) return fal_fail(err, FAL_ERR_INPUT, NULL, "spec: expected a JSON object");
    fal_spec_box *box = calloc(1, sizeof *box);
    if (!box) return fal_fail(err, FAL_ERR_MEMORY, NULL, "spec: out of memory");
    reader r = { .arena = &box->arena, .j = j, .err = err };
    read_spec(&r, &box->spec);
    if (!r.status && box->arena.failed) r.status = fal_fail(err, FAL_ERR_MEMORY, NULL, "spec: out of memory");
    if (r.status) {
        fal_spec_free(box);
        return r.status;
    }
    *keep = box;
    *out = &box->spec;
    return FAL_OK;
}

void fal_spec_free(fal_spec_box *box)
{
    if (!box) return;
    fal_arena_free(&box->arena);
    free(box);
}
