/* The shapes of a check's op requests, and the parameters `with` and `then`: names, kinds, what an op can compute. */
#include "harness/arithmetic.h"
#include "harness/contract_keys.h"

#include "harness/backend.h"
#include "harness/text.h"
#include "harness/type.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum { DIM_INT, DIM_POSITION, DIM_NUMBER, DIM_FLAG, DIM_TYPE, DIM_NAME } dim_kind;

typedef struct {
    const char *op, *name; /* of an op, or of a kind of observation */
    dim_kind kind;
    bool required;
} dim;

static const dim dims[] = {
#define REQUIRED                       true
#define OPTIONAL                       false
#define FAL_DIM(op, field, kind, need) { #op, #field, DIM_##kind, need },
#define FAL_DIM_EXTRA(op, name, kind)  { #op, #name, DIM_##kind, false },
#define FAL_WITH(observe, name, kind, need) { #observe, #name, DIM_##kind, need },
#include "harness/names.def"
#undef REQUIRED
#undef OPTIONAL
};

/* Every key of a shape is a field of the op's arguments: a renamed field must not leave its old name here. */
#define FAL_DIM(op, field, kind, need) _Static_assert(sizeof(((fal_##op##_args *)0)->field) > 0, #op "." #field);
#include "harness/names.def"

static const struct {
    const char *name;
    bool of_fixture;
} known[] = {
#define FIXTURE                true
#define JUDGEMENT              false
#define FAL_PARAM(name, where) { #name, where },
#include "harness/names.def"
#undef FIXTURE
#undef JUDGEMENT
};

static const dim *find_dim(const char *op, const char *name)
{
    for (size_t i = 0; i < FAL_N(dims); i++)
        if (strcmp(dims[i].op, op) == 0 && strcmp(dims[i].name, name) == 0) return &dims[i];
    return NULL;
}

static bool is_fixture_param(const char *name)
{
    for (size_t i = 0; i < FAL_N(known); i++)
        if (known[i].of_fixture && strcmp(known[i].name, name) == 0) return true;
    return false;
}

static bool is_known_param(const char *name)
{
    for (size_t i = 0; i < FAL_N(known); i++)
        if (strcmp(known[i].name, name) == 0) return true;
    return false;
}

/* ---- one parameter ---- */

static bool is_word(const char *s)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    static const char more[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-.";
    return *s && strchr(first, *s) && strspn(s, more) == strlen(s) && strlen(s) <= 64;
}

/* A number, true or false (1 and 0, so that a flag is never text that nobody reads), or a word; any text where d, the
   key's own description, says that it is a name. */
/* Declared arithmetic is a text of its own form; a mistake in it is told where it stands. */
static bool read_declaration(fal_contract_file *f, const fal_yaml_node *node, fal_param *out)
{
    fal_arithmetic unused = { 0 };
    fal_error err = { 0 };
    out->text = fal_text_read(f, node, out->name, NULL, NULL);
    if (!out->text) return false;
    if (fal_arithmetic_parse(out->text, &unused, &err) == FAL_OK) return true;
    fal_diagnose(&f->d, FAL_RULE_CON_006, FAL_AT(node), err.hint, "'%s' is not well formed: %s", out->name, err.message);
    return false;
}

static bool read_param(fal_contract_file *f, const fal_yaml_node *node, const dim *d, fal_param *out)
{
    const char *name = node->key->text;
    if (!fal_node_is(f, node, FAL_YAML_SCALAR, name)) return false;
    *out = (fal_param){ .name = name };
    if (strcmp(name, "declare") == 0) return read_declaration(f, node, out);
    if (d && d->kind == DIM_NAME) {
        out->text = fal_text_read(f, node, name, NULL, NULL);
        return out->text != NULL;
    }
    if (node->plain && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
        out->number = node->text[0] == 't';
        return true;
    }
    if (is_word(node->text)) {
        out->text = fal_text_read(f, node, name, NULL, NULL);
        return out->text != NULL;
    }
    return fal_number_read(f, node, name, &out->number);
}

/* False after a diagnosis. */
static bool check_dim(fal_contract_file *f, const fal_yaml_node *node, const dim *d, const fal_param *p)
{
    if (d->kind == DIM_NAME) return p->text != NULL;
    if ((d->kind == DIM_TYPE) != (p->text != NULL)) {
        fal_diagnose(&f->d, FAL_RULE_CON_003, FAL_AT(node), NULL, "'%s' of %s is %s", d->name, d->op,
                     p->text ? "a number, found text" : "the name of a tensor type, found a number");
        return false;
    }
    if (d->kind == DIM_TYPE) {
        const int type = fal_type_by_name(p->text);
        if (type >= 0 && fal_type_get((uint32_t)type)->computed) return true;
        fal_diagnose(&f->d, FAL_RULE_CON_013, FAL_AT(node), "computed are F32, F16, BF16, Q8_0, Q4_K, Q5_K and Q6_K",
                     "'%s' is not a tensor type that anything computes with", fal_shown(f, p->text));
        return false;
    }
    const bool whole = p->number >= INT_MIN && p->number <= INT_MAX && floor(p->number) == p->number;
    const char *expected = NULL;
    switch (d->kind) {
    case DIM_INT: expected = whole && p->number >= 1 ? NULL : "a whole number from 1 on"; break;
    case DIM_POSITION: expected = whole && p->number >= 0 ? NULL : "a whole number from 0 on"; break;
    case DIM_FLAG: expected = whole && (p->number == 0 || p->number == 1) ? NULL : "0 or 1"; break;
    case DIM_NUMBER: expected = p->number >= 0 ? NULL : "a number from 0 on"; break;
    case DIM_TYPE:
    case DIM_NAME: break;
    }
    if (!expected) return true;
    fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(node), NULL, "'%s' of %s is %s, expected %s", d->name, d->op,
                 fal_shown(f, node->text), expected);
    return false;
}

/* ---- shapes ---- */

/* Names of the keys that a shape of this op may have. */
static const char **dim_names(fal_contract_file *f, const char *op, size_t *n)
{
    const char **names = fal_arena_take(f->arena, FAL_N(dims), sizeof *names);
    *n = 0;
    for (size_t i = 0; names && i < FAL_N(dims); i++)
        if (strcmp(dims[i].op, op) == 0) names[(*n)++] = dims[i].name;
    return names;
}

static void refuse_name(fal_contract_file *f, const fal_yaml_node *key, const char *where, const char *const *names,
                        size_t n)
{
    fal_diagnose(&f->d, FAL_RULE_CON_001, FAL_AT(key), names ? fal_suggest(f, key->text, names, n) : NULL,
                 "unknown key '%s' in %s", fal_shown(f, key->text), where);
}

/* Whether a value of that name is given, and which. */
static bool has(const fal_params *p, const char *name, double *out)
{
    for (int i = 0; i < p->n_params; i++)
        if (!p->params[i].text && strcmp(p->params[i].name, name) == 0) {
            *out = p->params[i].number;
            return true;
        }
    return false;
}

static void check_relations(fal_contract_file *f, const fal_yaml_node *node, const char *op, const fal_params *p)
{
    double a = 0, b = 0, c = 0;
    const char *problem = NULL;
    if (has(p, "n_expert", &a) && has(p, "n_expert_used", &b) && b > a)
        problem = "n_expert_used is larger than n_expert";
    if (has(p, "n_head", &a) && has(p, "n_head_kv", &b) && fmod(a, b) != 0)
        problem = "n_head is no multiple of n_head_kv";
    if (strcmp(op, "rope") == 0 && has(p, "head_dim", &a) && fmod(a, 2) != 0) problem = "head_dim of rope is odd";
    if (has(p, "n_ctx", &a) && has(p, "n_tokens", &b)) {
        has(p, "first_pos", &c);
        if (b + c > a) problem = "first_pos + n_tokens is larger than n_ctx";
    }
    const char *type_name = fal_params_text(p, "type", NULL);
    if (type_name && (has(p, "n_in", &a) || has(p, "n_embd", &a)) &&
        fal_type_row_bytes((uint32_t)fal_type_by_name(type_name), (size_t)a) == 0)
        problem = "a row of weights is no whole number of blocks of its type";
    if (problem)
        fal_diagnose(&f->d, FAL_RULE_CON_013, FAL_AT(node), NULL, "shape that %s cannot have: %s", op, problem);
}

static fal_params read_shape(fal_contract_file *f, const fal_yaml_node *node, const char *op)
{
    fal_params out = { 0 };
    if (!fal_node_is(f, node, FAL_YAML_MAP, "shapes")) return out;
    fal_param *params = fal_arena_take(f->arena, node->n, sizeof *params);
    if (!params) return out;
    size_t n_names = 0;
    const char *const *names = dim_names(f, op, &n_names);
    bool whole = true;
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        if (c->key->kind == FAL_YAML_BROKEN) continue;
        const dim *d = find_dim(op, c->key->text);
        if (!d) {
            refuse_name(f, c->key, "a shape of this op", names, n_names);
            whole = false;
        } else if (read_param(f, c, d, &params[out.n_params]) && check_dim(f, c, d, &params[out.n_params])) {
            out.n_params++;
        } else {
            whole = false;
        }
    }
    out.params = params;
    for (size_t i = 0; i < FAL_N(dims); i++)
        if (dims[i].required && strcmp(dims[i].op, op) == 0 && !fal_yaml_get(node, dims[i].name)) {
            fal_diagnose(&f->d, FAL_RULE_CON_002, FAL_AT(node), NULL, "a shape of %s lacks the key '%s'", op,
                         dims[i].name);
            whole = false;
        }
    if (whole) check_relations(f, node, op, &out);
    return out;
}

typedef struct {
    const char *canonical; /* the parameters sorted by name */
    const fal_yaml_node *node;
} written_shape;

static int compare_params(const void *pa, const void *pb)
{
    return strcmp(((const fal_param *)pa)->name, ((const fal_param *)pb)->name);
}

static int compare_shapes(const void *pa, const void *pb)
{
    const written_shape *a = pa, *b = pb;
    const int by_text = strcmp(a->canonical, b->canonical);
    if (by_text != 0) return by_text;
    if (a->node->place.line != b->node->place.line) return a->node->place.line < b->node->place.line ? -1 : 1;
    return a->node->place.column < b->node->place.column ? -1 : a->node->place.column > b->node->place.column;
}

static const char *write_shape(fal_contract_file *f, const fal_params *p)
{
    const size_t n = (size_t)p->n_params;
    fal_param *sorted = fal_arena_take(f->arena, n, sizeof *sorted);
    if (!sorted) return "";
    if (n > 0) memcpy(sorted, p->params, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_params);
    fal_text t = { 0 };
    for (size_t i = 0; i < n; i++)
        if (sorted[i].text)
            fal_text_addf(&t, "%s=%s ", sorted[i].name, sorted[i].text);
        else
            fal_text_addf(&t, "%s=%.17g ", sorted[i].name, sorted[i].number);
    const char *copy = fal_arena_copy(f->arena, fal_text_str(&t), t.len);
    if (t.failed) f->d.failed = true;
    fal_text_free(&t);
    return copy ? copy : "";
}

void fal_shapes_read(fal_contract_file *f, const fal_yaml_node *node, const char *op, fal_check *out)
{
    if (node->kind != FAL_YAML_LIST) return; /* diagnosed by the key table */
    if (node->n == 0) fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), NULL, "'shapes' is an empty list");
    if (node->n > INT_MAX) return;
    fal_params *shapes = fal_arena_take(f->arena, node->n, sizeof *shapes);
    written_shape *written = fal_arena_take(f->arena, node->n, sizeof *written);
    if (!shapes || !written) return;
    size_t n = 0;
    for (const fal_yaml_node *c = node->first; c; c = c->next, n++) {
        shapes[n] = read_shape(f, c, op);
        written[n] = (written_shape){ write_shape(f, &shapes[n]), c };
    }
    qsort(written, n, sizeof *written, compare_shapes);
    for (size_t i = 1; i < n; i++)
        if (*written[i].canonical && strcmp(written[i - 1].canonical, written[i].canonical) == 0)
            fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(written[i].node), NULL,
                         "the same shape stands in line %d", written[i - 1].node->place.line);
    out->shapes = shapes;
    out->n_shapes = (int)n;
}

/* ---- with and then ---- */

static bool is_op(const char *name)
{
    for (int i = 0; i < fal_n_ops(); i++)
        if (strcmp(fal_op_name(i), name) == 0) return true;
    return false;
}

/* Of every op: which kernels are on trial, and which variant of the reference they are held against. */
static const dim of_variants[] = { { "with", "variant", DIM_NAME, false }, { "with", "mirror", DIM_NAME, false } };

/* Reads one of the two. op, other: ops whose dimensions may be given as well, or NULL. */
static fal_params read_params(fal_contract_file *f, const fal_yaml_node *node, const char *what, bool is_then,
                              const char *op, const char *other)
{
    fal_params out = { 0 };
    if (node->kind != FAL_YAML_MAP) return out; /* diagnosed by the key table */
    if (node->n == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), "leave the key out", "'%s' is empty", what);
    fal_param *params = fal_arena_take(f->arena, node->n, sizeof *params);
    const char **names = fal_arena_take(f->arena, FAL_N(known), sizeof *names);
    if (!params || !names) return out;
    size_t n_names = 0;
    for (size_t i = 0; i < FAL_N(known); i++)
        if (known[i].of_fixture || !is_then) names[n_names++] = known[i].name;
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        if (c->key->kind == FAL_YAML_BROKEN) continue;
        const char *name = c->key->text;
        const dim *d = op ? find_dim(op, name) : NULL;
        if (!d && other) d = find_dim(other, name);
        for (size_t i = 0; i < FAL_N(of_variants) && !d && !is_then && op && is_op(op); i++)
            if (strcmp(of_variants[i].name, name) == 0) d = &of_variants[i];
        if (!d && !(is_then ? is_fixture_param(name) : is_known_param(name))) {
            refuse_name(f, c->key, is_then ? "'then'" : "'with'", names, n_names);
        } else if (read_param(f, c, d, &params[out.n_params]) && (!d || check_dim(f, c, d, &params[out.n_params]))) {
            if (strcmp(name, "op") == 0 && !(params[out.n_params].text && is_op(params[out.n_params].text)))
                fal_diagnose(&f->d, FAL_RULE_CON_005, FAL_AT(c), NULL, "'%s' is not an op of harness/ops.def",
                             fal_shown(f, c->text));
            else if ((strcmp(name, "op") == 0 || strcmp(name, "contract") == 0 || strcmp(name, "declare") == 0 ||
                      (d && (d->kind == DIM_TYPE || d->kind == DIM_NAME))) != (params[out.n_params].text != NULL))
                fal_diagnose(&f->d, FAL_RULE_CON_003, FAL_AT(c), NULL, "'%s' of '%s' is not a %s",
                             fal_shown(f, c->text), name, params[out.n_params].text ? "number" : "name");
            else
                out.n_params++;
        }
    }
    out.params = params;
    return out;
}

void fal_then_read(fal_contract_file *f, const fal_yaml_node *node, const char *op, fal_check *out)
{
    const fal_yaml_node *other = fal_yaml_get(node, "op");
    out->then = read_params(f, node, "then", true, op, other && other->kind == FAL_YAML_SCALAR ? other->text : NULL);
}

/* Numbers that each are possible, and together are not. */
static void check_session(fal_contract_file *f, const fal_yaml_node *node, const fal_params *with)
{
    double context = 0, n_tokens = 0, n_ctx = 0;
    if (has(with, "context", &context) && has(with, "n_tokens", &n_tokens) && has(with, "n_ctx", &n_ctx) &&
        context + n_tokens > n_ctx)
        fal_diagnose(&f->d, FAL_RULE_CON_013, FAL_AT(node), NULL, "context + n_tokens is larger than n_ctx");
}

void fal_with_read(fal_contract_file *f, const fal_yaml_node *check, const fal_yaml_node *with, const char *observe,
                   fal_check *out)
{
    if (with) out->with = read_params(f, with, "with", false, out->op ? out->op : observe, NULL);
    if (with && out->observe != FAL_OBSERVE_OP) check_session(f, with, &out->with);
    for (size_t i = 0; i < FAL_N(dims) && out->observe != FAL_OBSERVE_OP; i++)
        if (dims[i].required && strcmp(dims[i].op, observe) == 0 && !fal_yaml_get(with, dims[i].name))
            fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(check->first->key), NULL,
                         "a check with observe: %s needs '%s' in 'with'", observe, dims[i].name);
}

/* ---- for the schema ---- */

static int compare_strings(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

const char *const *fal_param_names(bool shapes, size_t *n)
{
    static const char *names[2][FAL_N(dims) + FAL_N(known)];
    static size_t counts[2];
    const char **list = names[shapes];
    if (counts[shapes] == 0) {
        size_t all = 0;
        for (size_t i = 0; i < FAL_N(dims); i++) list[all++] = dims[i].name;
        for (size_t i = 0; i < FAL_N(known) && !shapes; i++) list[all++] = known[i].name;
        qsort(list, all, sizeof *list, compare_strings);
        for (size_t i = 0; i < all; i++)
            if (counts[shapes] == 0 || strcmp(list[counts[shapes] - 1], list[i]) != 0) list[counts[shapes]++] = list[i];
    }
    *n = counts[shapes];
    return list;
}
