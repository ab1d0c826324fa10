/* Capsules in memory and as files; a file may come from anywhere, so every name, number, shape and id is checked. */
#include "harness/capsule.h"
#include "harness/revision.h"

#include "harness/digest.h"
#include "harness/fixture.h"
#include "harness/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

void fal_capsule_free(fal_capsule *c)
{
    if (!c) return;
    for (int i = 0; i < c->n_arrays; i++)
        if (!c->arrays[i].borrowed) free(c->arrays[i].data);
    for (int i = 0; i < FAL_CAPSULE_N_AXES; i++) free(c->kept[i]);
    free(c->scale);
    json_decref(c->origin);
    free(c);
}

static void *copy_bytes(const void *p, size_t n)
{
    void *const q = malloc(n + 1);
    if (q && n) memcpy(q, p, n);
    return q;
}

fal_capsule *fal_capsule_copy(const fal_capsule *from)
{
    fal_capsule *c = malloc(sizeof *c);
    if (!c) return NULL;
    *c = *from;
    bool ok = true;
    for (int i = 0; i < c->n_arrays; i++) {
        ok = (c->arrays[i].data = copy_bytes(from->arrays[i].data, from->arrays[i].nbytes)) && ok;
        c->arrays[i].borrowed = false;
    }
    for (int i = 0; i < FAL_CAPSULE_N_AXES; i++)
        if (from->kept[i])
            ok = (c->kept[i] = copy_bytes(from->kept[i], (size_t)from->n_kept[i] * sizeof *c->kept[i])) && ok;
    if (from->scale) ok = (c->scale = copy_bytes(from->scale, (size_t)from->n_scale * sizeof *c->scale)) && ok;
    c->origin = json_incref(from->origin); /* never changed once it is set */
    if (ok) return c;
    fal_capsule_free(c);
    return NULL;
}

const fal_capsule_array *fal_capsule_find(const fal_capsule *c, const char *name)
{
    for (int i = 0; i < c->n_arrays; i++)
        if (strcmp(c->arrays[i].name, name) == 0) return &c->arrays[i];
    return NULL;
}

bool fal_capsule_borrow(fal_capsule *c, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne,
                        const void *data)
{
    if (c->n_arrays == FAL_CAPSULE_ARRAYS || n_dims > 4) return false;
    fal_capsule_array a = { .dtype = dtype, .n_dims = n_dims, .nbytes = dtype == FAL_DTYPE_U8 ? 1 : 4 };
    snprintf(a.name, sizeof a.name, "%s", name);
    for (int d = 0; d < n_dims; d++) {
        a.ne[d] = ne[d];
        a.nbytes *= (size_t)ne[d];
    }
    a.data = (void *)(uintptr_t)data;
    a.borrowed = true;
    c->arrays[c->n_arrays++] = a;
    return true;
}

bool fal_capsule_add(fal_capsule *c, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, const void *data)
{
    if (!fal_capsule_borrow(c, name, dtype, n_dims, ne, data)) return false;
    fal_capsule_array *const a = &c->arrays[c->n_arrays - 1];
    a->data = copy_bytes(data, a->nbytes);
    a->borrowed = false;
    return a->data != NULL;
}

static fal_capsule_value *value_of(fal_capsule_value *values, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(values[i].name, name) == 0) return &values[i];
    return NULL;
}

bool fal_capsule_set(fal_capsule *c, const char *name, double number)
{
    fal_capsule_value *v = value_of(c->shape, c->n_shape, name);
    if (!v) {
        if (c->n_shape == FAL_CAPSULE_VALUES) return false;
        v = &c->shape[c->n_shape++];
        *v = (fal_capsule_value){ 0 };
        snprintf(v->name, sizeof v->name, "%s", name);
    }
    v->number = number;
    return true;
}

double fal_capsule_get(const fal_capsule *c, const char *name, double fallback)
{
    const fal_capsule_value *const v = value_of((fal_capsule_value *)(uintptr_t)c->shape, c->n_shape, name);
    return v && !v->text[0] ? v->number : fallback;
}

const char *fal_capsule_type(const fal_capsule *c)
{
    const fal_capsule_value *const v = value_of((fal_capsule_value *)(uintptr_t)c->shape, c->n_shape, "type");
    return v ? v->text : "";
}

fal_params fal_capsule_params(const fal_capsule_value *values, int n, fal_param *params)
{
    for (int i = 0; i < n; i++)
        params[i] = (fal_param){ values[i].name, values[i].number, values[i].text[0] ? values[i].text : NULL };
    return (fal_params){ params, n };
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static json_t *values_to_json(const fal_capsule_value *values, int n)
{
    json_t *j = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(j, values[i].name,
                            values[i].text[0] ? json_string(values[i].text) : json_real(values[i].number));
    return j;
}

static const char *const limit_names[] = {
    [FAL_LIMIT_MAX] = "max", [FAL_LIMIT_MIN] = "min", [FAL_LIMIT_EQUAL] = "equal"
};

static json_t *about_of(const fal_capsule *c, fal_error *err)
{
    json_t *digests = json_object(), *kept = json_object();
    for (int i = 0; i < c->n_arrays; i++) {
        char hex[65];
        if (fal_sha256(c->arrays[i].data, c->arrays[i].nbytes, hex, err) != FAL_OK) {
            json_decref(digests);
            json_decref(kept);
            return NULL;
        }
        json_object_set_new(digests, c->arrays[i].name, json_string(hex));
    }
    for (int a = 0; a < FAL_CAPSULE_N_AXES; a++) {
        if (!c->kept[a]) continue;
        const char axis[2] = { FAL_CAPSULE_AXES[a], '\0' };
        json_t *list = json_array();
        for (int i = 0; i < c->n_kept[a]; i++) json_array_append_new(list, json_integer((json_int_t)c->kept[a][i]));
        json_object_set_new(kept, axis, list);
    }
    char seed[24], falsify[96];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->seed);
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    json_t *call =
        json_pack("{s:i, s:s, s:o, s:s, s:s, s:{s:f}, s:o, s:s, s:f, s:o, s:o, s:O?}", "format", FORMAT, "op", c->op,
                  "shape", values_to_json(c->shape, c->n_shape), "judge", c->judge, "output", c->output, "limit",
                  limit_names[c->limit.kind], c->limit.value, "with", values_to_json(c->with, c->n_with), "seed", seed,
                  "columns", c->columns, "kept", kept, "sha256", digests, "origin", c->origin);
    return json_pack("{s:s, s:o}", "falsify", falsify, "capsule", call);
}

/* Outputs of an observation under another prefix. */
static fal_status each_output(const fal_observation *o, const char *prefix, fal_observation_writer *w, bool put,
                              fal_error *err)
{
    fal_status st = FAL_OK;
    for (int i = 0; o && i < o->n_tensors && !st; i++) {
        const fal_obs_tensor *const t = &o->tensors[i];
        const char *const at = strstr(t->name, "out.");
        char name[64];
        if (!at) continue;
        snprintf(name, sizeof name, "%s.%.40s", prefix, at + 4);
        st = put ? fal_observation_put(w, name, 0, t->data, t->nbytes, err)
                 : fal_observation_declare(w, name, t->dtype, t->n_dims, t->ne, err);
    }
    return st;
}

fal_status fal_capsule_write(const fal_capsule *c, const fal_capsule_outputs *outputs, const char *path, fal_error *err)
{
    fal_observation_writer *w = NULL;
    const int64_t n_scale = c->n_scale;
    json_t *about = about_of(c, err);
    fal_status st = about ? fal_observation_writer_make(path, &w, err)
                          : fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
    for (int put = 0; put < 2 && !st; put++) {
        for (int i = 0; i < c->n_arrays && !st; i++) {
            const fal_capsule_array *const a = &c->arrays[i];
            char name[32];
            snprintf(name, sizeof name, "in.%s", a->name);
            st = put ? fal_observation_put(w, name, 0, a->data, a->nbytes, err)
                     : fal_observation_declare(w, name, a->dtype, a->n_dims, a->ne, err);
        }
        if (c->scale && !st)
            st = put ? fal_observation_put(w, "scale", 0, c->scale, (size_t)c->n_scale * sizeof *c->scale, err)
                     : fal_observation_declare(w, "scale", FAL_DTYPE_F32, 1, &n_scale, err);
        if (outputs && !st) st = each_output(outputs->got, "got", w, put, err);
        if (outputs && !st) st = each_output(outputs->want, "want", w, put, err);
    }
    if (!st) st = fal_observation_finish(w, about, err);
    fal_observation_writer_free(w);
    json_decref(about);
    return st;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *path;
    const json_t *call;
    fal_error *err;
} source;

static bool bad(const source *s, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool bad(const source *s, const char *field, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fal_fail(s->err, FAL_ERR_INPUT, "is this a capsule that falsify wrote?", "%s: about.capsule.%s: %s", s->path, field,
             text);
    return false;
}

static bool read_text(const source *s, const char *field, char *to, size_t size)
{
    const char *const text = json_string_value(json_object_get(s->call, field));
    if (!text || strlen(text) >= size) return bad(s, field, "expected a text of less than %zu bytes", size);
    snprintf(to, size, "%s", text);
    return true;
}

static bool read_values(const source *s, const char *field, fal_capsule_value *to, int *n)
{
    json_t *const j = json_object_get(s->call, field);
    const char *name;
    json_t *v;
    if (!json_is_object(j) || json_object_size(j) > FAL_CAPSULE_VALUES)
        return bad(s, field, "expected an object of at most %d values", (int)FAL_CAPSULE_VALUES);
    json_object_foreach(j, name, v)
    {
        fal_capsule_value *const x = &to[(*n)++];
        const char *const text = json_string_value(v);
        if (strlen(name) >= sizeof x->name) return bad(s, field, "a name is too long");
        if (!json_is_number(v) && !(text && *text && strlen(text) < sizeof x->text))
            return bad(s, field, "'%s' is neither a number nor a short text", name);
        snprintf(x->name, sizeof x->name, "%s", name);
        if (text)
            snprintf(x->text, sizeof x->text, "%s", text);
        else
            x->number = json_number_value(v);
        if (!isfinite(x->number)) return bad(s, field, "'%s' is not finite", name);
    }
    return true;
}

static bool read_limit(const source *s, fal_limit *to)
{
    const json_t *const j = json_object_get(s->call, "limit");
    for (int k = 0; k < 3; k++) {
        const json_t *const v = json_object_get(j, limit_names[k]);
        if (!json_is_number(v) || json_object_size(j) != 1) continue;
        to->kind = k == FAL_LIMIT_MAX ? FAL_LIMIT_MAX : k == FAL_LIMIT_MIN ? FAL_LIMIT_MIN : FAL_LIMIT_EQUAL;
        to->value = json_number_value(v);
        return true;
    }
    return bad(s, "limit", "expected one of max, min, equal with a number");
}

static bool read_seed(const source *s, uint64_t *to)
{
    const char *const text = json_string_value(json_object_get(s->call, "seed"));
    char *end = NULL;
    *to = text ? strtoull(text, &end, 10) : 0;
    return (text && *text >= '0' && *text <= '9' && !*end) || bad(s, "seed", "expected digits");
}

static bool read_kept(const source *s, fal_capsule *c)
{
    json_t *const j = json_object_get(s->call, "kept");
    const char *name;
    json_t *list;
    if (!json_is_object(j)) return bad(s, "kept", "expected an object");
    json_object_foreach(j, name, list)
    {
        const char *const at = *name && !name[1] ? strchr(FAL_CAPSULE_AXES, *name) : NULL;
        const size_t n = json_array_size(list);
        if (!at || !json_is_array(list) || n > INT32_MAX) return bad(s, "kept", "'%.20s' is no axis, or no list", name);
        const int a = (int)(at - FAL_CAPSULE_AXES);
        c->kept[a] = calloc(n + 1, sizeof *c->kept[a]);
        if (!c->kept[a]) {
            fal_fail(s->err, FAL_ERR_MEMORY, NULL, "%s: out of memory", s->path);
            return false;
        }
        c->n_kept[a] = (int)n;
        for (size_t i = 0; i < n; i++) {
            const json_t *const v = json_array_get(list, i);
            if (!json_is_integer(v)) return bad(s, "kept", "'%s' holds something that is no integer", name);
            c->kept[a][i] = (int64_t)json_integer_value(v);
        }
    }
    return true;
}

/* The judgement: of this file, or one of the contracts for ops. */
static bool check_judge(const source *s, const fal_capsule *c)
{
    static const char *const judgements[] = {
#define FAL_JUDGEMENT(name, kinds, metric, function, help) #name,
#include "falsifiers/judgements.def"
    };
    const bool own = strcmp(c->judge, "rows") == 0 || strcmp(c->judge, "sets") == 0;
    bool known = own || strcmp(c->judge, "written") == 0 || strcmp(c->judge, "inside") == 0;
    for (size_t i = 0; i < sizeof judgements / sizeof judgements[0] && !known; i++)
        known = strcmp(judgements[i], c->judge) == 0;
    if (!known) return bad(s, "judge", "there is no judgement named '%s'", c->judge);
    if (own && fal_capsule_row(c, c->output) == 0)
        return bad(s, "output", "op %s has no output '%s'", c->op, c->output);
    return true;
}

/* Every input with the type and shape that the op demands, and the digest that the header gives. */
static bool take_arrays(const source *s, const fal_observation *o, const fal_fixture *f, fal_capsule *c)
{
    int n = 0;
    const fal_buffer *const b = fal_fixture_buffers(f, &n);
    const json_t *const digests = json_object_get(s->call, "sha256");
    for (int i = 0; i < n; i++) {
        char name[48], hex[65];
        if (!b[i].is_input) continue;
        snprintf(name, sizeof name, "in.%s", b[i].name);
        const fal_obs_tensor *const t = fal_observation_find(o, 0, name);
        bool same = t && t->dtype == b[i].dtype && t->n_dims == b[i].n_dims;
        for (int d = 0; same && d < b[i].n_dims; d++) same = t->ne[d] == b[i].ne[d];
        if (!same) {
            fal_fail(s->err, FAL_ERR_INPUT, NULL,
                     "%s: tensor '%s' is missing, or has not the type and shape that op %s of this "
                     "shape takes",
                     s->path, name, c->op);
            return false;
        }
        if (!fal_capsule_add(c, b[i].name, t->dtype, t->n_dims, t->ne, t->data)) {
            fal_fail(s->err, FAL_ERR_MEMORY, NULL, "%s: out of memory", s->path);
            return false;
        }
        const char *const said = json_string_value(json_object_get(digests, b[i].name));
        if (fal_sha256(t->data, t->nbytes, hex, s->err) != FAL_OK) return false;
        if (!said || strcmp(said, hex) != 0)
            return bad(s, "sha256", "'%s' has digest %.16s..., the header says %.16s", b[i].name, hex,
                       said ? said : "nothing");
    }
    return true;
}

static bool take_scale(const source *s, const fal_observation *o, fal_capsule *c)
{
    const fal_obs_tensor *const t = fal_observation_find(o, 0, "scale");
    if (!t) return true;
    if (t->dtype != FAL_DTYPE_F32 || t->n_dims != 1 || t->n == 0 || t->n > INT32_MAX)
        return bad(s, "scale", "expected a list of f32");
    c->scale = copy_bytes(t->data, t->nbytes);
    c->n_scale = (int)t->n;
    if (!c->scale) {
        fal_fail(s->err, FAL_ERR_MEMORY, NULL, "%s: out of memory", s->path);
        return false;
    }
    return true;
}

static fal_status read_capsule(const char *path, const fal_observation *o, fal_capsule *c, fal_error *err)
{
    const source s = { .path = path, .call = json_object_get(o->about, "capsule"), .err = err };
    if (!json_is_object(s.call))
        return fal_fail(err, FAL_ERR_INPUT, "falsify bisect and falsify run write capsules",
                        "%s: this is no capsule: about.capsule is missing", path);
    if (json_integer_value(json_object_get(s.call, "format")) != FORMAT) {
        bad(&s, "format", "expected %d", (int)FORMAT);
        return err->code;
    }
    bool ok = read_text(&s, "op", c->op, sizeof c->op) && read_text(&s, "judge", c->judge, sizeof c->judge) &&
              read_text(&s, "output", c->output, sizeof c->output) && read_values(&s, "shape", c->shape, &c->n_shape) &&
              read_values(&s, "with", c->with, &c->n_with) && read_limit(&s, &c->limit) && read_seed(&s, &c->seed) &&
              read_kept(&s, c);
    const json_t *const columns = json_object_get(s.call, "columns");
    c->columns = json_number_value(columns);
    if (ok && !(c->columns > 0 && c->columns <= 1)) ok = bad(&s, "columns", "expected a share above 0 and at most 1");
    if (ok && json_is_object(json_object_get(s.call, "origin")))
        c->origin = json_incref(json_object_get(s.call, "origin"));
    if (!ok) return err->code;
    fal_param params[FAL_CAPSULE_VALUES];
    const fal_params shape = fal_capsule_params(c->shape, c->n_shape, params);
    fal_fixture *f = NULL;
    fal_error why = { 0 };
    if (fal_fixture_make(c->op, &shape, "zeros", 0, NULL, NULL, &f, &why) != FAL_OK)
        return fal_fail(err, why.code, why.hint, "%s: about.capsule.shape: %s", path, why.message);
    ok = check_judge(&s, c) && take_arrays(&s, o, f, c) && take_scale(&s, o, c);
    fal_fixture_free(f);
    return ok ? FAL_OK : err->code;
}

fal_status fal_capsule_open(const char *path, fal_capsule **out, fal_observation **file, fal_error *err)
{
    fal_observation *o = NULL;
    fal_error own = { 0 };
    fal_status st = fal_observation_open(path, &o, &own);
    fal_capsule *c = st ? NULL : calloc(1, sizeof *c);
    if (!st && !c) st = fal_fail(&own, FAL_ERR_MEMORY, NULL, "%s: out of memory", path);
    if (!st) st = read_capsule(path, o, c, &own);
    if (!st) {
        *out = c;
        if (file)
            *file = o;
        else
            fal_observation_close(o);
        return FAL_OK;
    }
    fal_capsule_free(c);
    fal_observation_close(o);
    return fal_fail(err, st, own.hint, "%s", own.message);
}
