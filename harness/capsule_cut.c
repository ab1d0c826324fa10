/* Cutting capsules: which arrays of an op have which axes, and the same call over a part of them. */
#include "harness/capsule.h"

#include "harness/call.h"

#include <stdlib.h>
#include <string.h>

/* One letter per dimension; lower case k: head_dim, never cut. */
typedef struct {
    const char *name, *axes;
} array_axes;
typedef struct {
    const char *op;
    array_axes inputs[FAL_CAPSULE_ARRAYS], outputs[3];
    const char *cuts; /* axes along which it may be cut, in the order in which that is tried */
    struct {
        char axis;
        const char *key;
    } keys[5];
    char ids; /* axis that the values of array `by` point into, 0 for none */
    const char *by;
    bool range; /* axis t are positions */
} op_axes;

/* clang-format off: a table, one op a row */
static const op_axes table[] = {
    { "embed",
      { { "w", "vc" }, { "tokens", "t" } },
      { { "y", "tc" } },
      "tvc",
      { { 't', "n_tokens" }, { 'v', "n_vocab" }, { 'c', "n_embd" } },
      'v',
      "tokens",
      false },
    { "rmsnorm",
      { { "x", "tc" }, { "w", "c" } },
      { { "y", "tc" } },
      "t",
      { { 't', "n_tokens" }, { 'c', "n_embd" } },
      0,
      NULL,
      false },
    { "matmul",
      { { "w", "rc" }, { "x", "tc" } },
      { { "y", "tr" } },
      "trc",
      { { 't', "n_tokens" }, { 'r', "n_out" }, { 'c', "n_in" } },
      0,
      NULL,
      false },
    { "qk_norm",
      { { "x", "thk" }, { "w", "k" } },
      { { "y", "thk" } },
      "th",
      { { 't', "n_tokens" }, { 'h', "n_head" } },
      0,
      NULL,
      false },
    { "rope",
      { { "x", "thk" }, { "cos", "pk" }, { "sin", "pk" } },
      { { "y", "thk" } },
      "th",
      { { 't', "n_tokens" }, { 'h', "n_head" }, { 'p', "n_ctx" } },
      0,
      NULL,
      true },
    { "kv_store",
      { { "k", "tgk" }, { "v", "tgk" }, { "k_cache", "pgk" }, { "v_cache", "pgk" } },
      { { "k_cache", "pgk" }, { "v_cache", "pgk" } },
      "",
      { { 't', "n_tokens" } },
      0,
      NULL,
      true },
    { "attention",
      { { "q", "thk" }, { "k_cache", "pgk" }, { "v_cache", "pgk" } },
      { { "y", "thk" } },
      "tg",
      { { 't', "n_tokens" }, { 'h', "n_head" }, { 'g', "n_head_kv" }, { 'p', "n_ctx" } },
      0,
      NULL,
      true },
    { "add",
      { { "a", "tc" }, { "b", "tc" } },
      { { "y", "tc" } },
      "tc",
      { { 't', "n_tokens" }, { 'c', "n_embd" } },
      0,
      NULL,
      false },
    { "softmax", { { "x", "tc" } }, { { "y", "tc" } }, "t", { { 't', "n_rows" }, { 'c', "n_cols" } }, 0, NULL, false },
    { "router",
      { { "probs", "te" }, { "pinned_ids", "ts" } },
      { { "ids", "ts" }, { "weights", "ts" } },
      "t",
      { { 't', "n_tokens" }, { 's', "n_expert_used" }, { 'e', "n_expert" } },
      0,
      NULL,
      false },
    { "moe_matmul",
      { { "w", "erc" }, { "x", "tsc" }, { "ids", "ts" } },
      { { "y", "tsr" } },
      "tserc",
      { { 't', "n_tokens" }, { 's', "n_expert_used" }, { 'e', "n_expert" }, { 'r', "n_out" }, { 'c', "n_in" } },
      'e',
      "ids",
      false },
    { "swiglu",
      { { "gate", "tc" }, { "up", "tc" } },
      { { "y", "tc" } },
      "tc",
      { { 't', "n_rows" }, { 'c', "n_ff" } },
      0,
      NULL,
      false },
    { "moe_swiglu",
      { { "w_gate", "erc" }, { "w_up", "erc" }, { "x", "tc" }, { "ids", "ts" } },
      { { "y", "tsr" } },
      "tserc",
      { { 't', "n_tokens" }, { 's', "n_expert_used" }, { 'e', "n_expert" }, { 'r', "n_ff" }, { 'c', "n_embd" } },
      'e',
      "ids",
      false },
    { "moe_sum",
      { { "x", "tsc" }, { "weights", "ts" } },
      { { "y", "tc" } },
      "tsc",
      { { 't', "n_tokens" }, { 's', "n_expert_used" }, { 'c', "n_embd" } },
      0,
      NULL,
      false },
    { "argmax", { { "x", "tc" } }, { { "ids", "t" } }, "t", { { 't', "n_rows" }, { 'c', "n_cols" } }, 0, NULL, false },
};
/* clang-format on */

static const op_axes *find(const char *op)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].op, op) == 0) return &table[i];
    return NULL;
}

static int axis_index(char axis)
{
    const char *const at = axis ? strchr(FAL_CAPSULE_AXES, axis) : NULL;
    return at ? (int)(at - FAL_CAPSULE_AXES) : -1;
}

static const char *key_of(const op_axes *o, char axis)
{
    for (size_t i = 0; i < sizeof o->keys / sizeof o->keys[0] && o->keys[i].key; i++)
        if (o->keys[i].axis == axis) return o->keys[i].key;
    return NULL;
}

/* The axes of an input; x of moe_matmul has slots only when each slot has its own. */
static const char *axes_of(const fal_capsule *c, const op_axes *o, const char *name)
{
    for (int i = 0; i < FAL_CAPSULE_ARRAYS && o->inputs[i].name; i++) {
        if (strcmp(o->inputs[i].name, name) != 0) continue;
        if (strcmp(o->op, "moe_matmul") == 0 && strcmp(name, "x") == 0 && !(fal_capsule_get(c, "x_per_slot", 0) > 0))
            return "tc";
        return o->inputs[i].axes;
    }
    return NULL;
}

static bool is_weight(const fal_capsule *c, const char *name)
{
    return fal_capsule_type(c)[0] && fal_is_weight_name(name);
}

int fal_capsule_unit(const fal_capsule *c)
{
    const op_axes *o = find(c->op);
    const char *key = o ? key_of(o, 'c') : NULL;
    const int n = key ? (int)fal_capsule_get(c, key, 0) : 0;
    if (!fal_capsule_type(c)[0]) return 1;
    const int type = fal_type_by_name(fal_capsule_type(c));
    const int block = type >= 0 ? (int)fal_type_get((uint32_t)type)->block_elems : 1;
    /* a block of 256 is what K-quants have and what people count in; finer types follow where it fits */
    return n % 256 == 0 && 256 % block == 0 ? 256 : block;
}

int fal_capsule_extent(const fal_capsule *c, char axis)
{
    const op_axes *o = find(c->op);
    if (!o || !strchr(o->cuts, axis)) return 0;
    const char *const key = key_of(o, axis);
    const int n = key ? (int)fal_capsule_get(c, key, 0) : 0;
    return axis == 'c' ? n / fal_capsule_unit(c) : n;
}

bool fal_capsule_is_range(const fal_capsule *c, char axis)
{
    const op_axes *o = find(c->op);
    return o && o->range && axis == 't';
}

/* ---- gathering ---------------------------------------------------------------------------------------------------- */

/* Units keep[0..n) of dimension d. Along columns of a weight in blocks a unit is bytes. */
static bool gather(const fal_capsule *c, const fal_capsule_array *a, int d, bool columns, const int *keep, int n,
                   fal_capsule_array *out)
{
    const size_t elem = a->dtype == FAL_DTYPE_U8 ? 1 : 4;
    size_t outer = 1, inner = elem;
    for (int i = 0; i < d; i++) outer *= (size_t)a->ne[i];
    for (int i = d + 1; i < a->n_dims; i++) inner *= (size_t)a->ne[i];
    size_t per_unit = 1; /* of ne[d] */
    if (columns) {
        per_unit = (size_t)fal_capsule_unit(c);
        if (is_weight(c, a->name) && a->dtype == FAL_DTYPE_U8)
            per_unit = fal_type_row_bytes((uint32_t)fal_type_by_name(fal_capsule_type(c)), per_unit);
    }
    const size_t unit = per_unit * inner, whole = (size_t)a->ne[d] * inner;
    *out = *a;
    out->borrowed = false;
    out->ne[d] = (int64_t)((size_t)n * per_unit);
    out->nbytes = outer * (size_t)n * unit;
    out->data = malloc(out->nbytes + 1);
    if (!out->data) return false;
    char *to = out->data;
    for (size_t i = 0; i < outer; i++)
        for (int k = 0; k < n; k++, to += unit)
            memcpy(to, (const char *)a->data + i * whole + (size_t)keep[k] * unit, unit);
    return true;
}

/* Along one axis, for all arrays; h follows g, as heads that share keys go together. */
static bool cut_arrays(const op_axes *o, fal_capsule *c, char axis, const int *keep, int n)
{
    for (int i = 0; i < c->n_arrays; i++) {
        const char *const axes = axes_of(c, o, c->arrays[i].name);
        const char *const at = axes ? strchr(axes, axis) : NULL;
        if (!at) continue;
        fal_capsule_array cut;
        if (!gather(c, &c->arrays[i], (int)(at - axes), axis == 'c', keep, n, &cut)) return false;
        if (!c->arrays[i].borrowed) free(c->arrays[i].data);
        c->arrays[i] = cut;
    }
    return true;
}

static bool note_kept(fal_capsule *c, char axis, const int *keep, int n)
{
    const int a = axis_index(axis);
    int64_t *kept = malloc((size_t)n * sizeof *kept + 1);
    if (!kept) return false;
    for (int i = 0; i < n; i++) kept[i] = fal_capsule_original(c, axis, keep[i]);
    free(c->kept[a]);
    c->kept[a] = kept;
    c->n_kept[a] = n;
    return true;
}

/* Ids point into what was cut: they follow, or there is no such call. */
static bool remap(const op_axes *o, fal_capsule *c, const int *keep, int n)
{
    for (int i = 0; i < c->n_arrays; i++) {
        if (strcmp(c->arrays[i].name, o->by) != 0) continue;
        if (c->arrays[i].borrowed) {
            void *const copy = malloc(c->arrays[i].nbytes + 1);
            if (!copy) return false;
            memcpy(copy, c->arrays[i].data, c->arrays[i].nbytes);
            c->arrays[i].data = copy;
            c->arrays[i].borrowed = false;
        }
        int32_t *const ids = c->arrays[i].data;
        for (size_t k = 0; k < c->arrays[i].nbytes / sizeof *ids; k++) {
            int at = 0;
            while (at < n && keep[at] != ids[k]) at++;
            if (at == n) return false;
            ids[k] = at;
        }
    }
    return true;
}

static bool cut_scale(fal_capsule *c, const int *keep, int n)
{
    if (!c->scale) return true;
    float *const scale = malloc((size_t)n * sizeof *scale + 1);
    if (!scale) return false;
    for (int i = 0; i < n; i++) scale[i] = keep[i] < c->n_scale ? c->scale[keep[i]] : 0;
    free(c->scale);
    c->scale = scale;
    c->n_scale = n;
    return true;
}

/* The first n positions of cache or tables: later ones are not looked at, and not cut before them. */
static bool cut_positions(const op_axes *o, fal_capsule *c, int n)
{
    const int have = (int)fal_capsule_get(c, "n_ctx", 0);
    if (n >= have) return true;
    int *const keep = malloc((size_t)n * sizeof *keep + 1);
    if (!keep) return false;
    for (int i = 0; i < n; i++) keep[i] = i;
    const bool ok = cut_arrays(o, c, 'p', keep, n) && note_kept(c, 'p', keep, n) && fal_capsule_set(c, "n_ctx", n);
    free(keep);
    return ok;
}

static bool cut_heads(const op_axes *o, fal_capsule *c, const int *groups, int n)
{
    const int n_head = (int)fal_capsule_get(c, "n_head", 0), n_head_kv = (int)fal_capsule_get(c, "n_head_kv", 1);
    const int each = n_head / n_head_kv;
    int *const keep = malloc((size_t)n * (size_t)each * sizeof *keep + 1);
    if (!keep) return false;
    for (int i = 0; i < n * each; i++) keep[i] = groups[i / each] * each + i % each;
    const bool ok = cut_arrays(o, c, 'h', keep, n * each) && note_kept(c, 'h', keep, n * each) &&
                    fal_capsule_set(c, "n_head", n * each);
    free(keep);
    return ok;
}

/* What was borrowed from the larger capsule becomes a copy, unless that one only borrowed it as well. */
static bool own_array(fal_capsule *c, int i, const fal_capsule *from)
{
    fal_capsule_array *const a = &c->arrays[i];
    if (!a->borrowed || from->arrays[i].borrowed) return true;
    void *const copy = malloc(a->nbytes + 1);
    if (!copy) return false;
    memcpy(copy, a->data, a->nbytes);
    a->data = copy;
    a->borrowed = false;
    return true;
}

fal_capsule *fal_capsule_cut(const fal_capsule *from, char axis, const int *keep, int n)
{
    const op_axes *const o = find(from->op);
    const int extent = fal_capsule_extent(from, axis);
    if (!o || n < 1 || n > extent) return NULL;
    /* what is not cut may be large, and is copied last */
    fal_capsule light = *from;
    light.n_arrays = 0;
    fal_capsule *c = fal_capsule_copy(&light);
    bool ok = c != NULL;
    if (ok) {
        c->n_arrays = from->n_arrays;
        memcpy(c->arrays, from->arrays, sizeof c->arrays);
        for (int i = 0; i < c->n_arrays; i++) c->arrays[i].borrowed = true;
    }
    const int unit = ok ? fal_capsule_unit(c) : 1;
    if (ok && axis == 'g') ok = cut_heads(o, c, keep, n);
    ok = ok && cut_arrays(o, c, axis, keep, n) && note_kept(c, axis, keep, n);
    if (ok && axis == 't') ok = cut_scale(c, keep, n);
    if (ok && axis == o->ids) ok = remap(o, c, keep, n);
    if (ok && fal_capsule_is_range(c, axis)) {
        const int first = (int)fal_capsule_get(c, "first_pos", 0) + keep[0];
        ok = fal_capsule_set(c, "first_pos", first) && cut_positions(o, c, first + n);
    }
    /* of a sum fewer terms are left; where columns are also those of the output, rows are shorter instead */
    if (ok && axis == 'c' && !strchr(o->outputs[0].axes, 'c')) c->columns *= (double)n / (double)extent;
    ok = ok && fal_capsule_set(c, key_of(o, axis), axis == 'c' ? n * unit : n);
    for (int i = 0; ok && i < c->n_arrays; i++) ok = own_array(c, i, from);
    if (ok) return c;
    fal_capsule_free(c);
    return NULL;
}

/* ---- places ------------------------------------------------------------------------------------------------------- */

static size_t dim_of(const fal_capsule *c, const op_axes *o, char axis)
{
    if (axis == 'k') return (size_t)fal_capsule_get(c, "head_dim", 1);
    const char *const key = key_of(o, axis);
    return key ? (size_t)fal_capsule_get(c, key, 1) : 1;
}

static const char *output_axes(const op_axes *o, const char *output)
{
    for (int i = 0; i < 3 && o->outputs[i].name; i++)
        if (strcmp(o->outputs[i].name, output) == 0) return o->outputs[i].axes;
    return NULL;
}

size_t fal_capsule_row(const fal_capsule *c, const char *output)
{
    const op_axes *const o = find(c->op);
    const char *axes = o ? output_axes(o, output) : NULL;
    size_t n = axes ? 1 : 0;
    for (; axes && *axes; axes++)
        if (*axes != 't') n *= dim_of(c, o, *axes);
    return n;
}

int fal_capsule_unit_of(const fal_capsule *c, const char *output, char axis, size_t element)
{
    const op_axes *const o = find(c->op);
    const char *const axes = o ? output_axes(o, output) : NULL;
    if (!axes) return -1;
    for (size_t d = strlen(axes); d-- > 0;) {
        const size_t n = dim_of(c, o, axes[d]), at = n ? element % n : 0;
        element /= n ? n : 1;
        if (axes[d] == axis) return axis == 'c' ? (int)at / fal_capsule_unit(c) : (int)at;
        if (axes[d] == 'h' && axis == 'g') {
            const size_t each = n / dim_of(c, o, 'g');
            return each ? (int)(at / each) : -1;
        }
    }
    return -1;
}

int64_t fal_capsule_original(const fal_capsule *c, char axis, int i)
{
    const int a = axis_index(axis);
    return a >= 0 && c->kept[a] && i >= 0 && i < c->n_kept[a] ? c->kept[a][i] : i;
}
