/* Which block of which weight row is wrong: outputs that differ under activations that look at one block at a time. */
#include "falsifiers/judgement.h"
#include "harness/type.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256 }; /* columns that a probe looks at, whatever the type's own block */

/* What an op with weights read: rows of w (experts one after the other), and for each output row which of them, and
   through which block. marks[row, 0]: seen through all columns; marks[row, 1 + b]: through block b alone. */
typedef struct {
    const fal_obs_tensor *w, *x, *ids; /* x: none for embed; ids: expert or token ids, none for matmul */
    size_t rows, row_bytes, columns, n_blocks, n_out, used, shared; /* shared: output rows per row of x */
    int *block; /* of each row of x: -1 all columns, else its only block */
    uint32_t type;
} view;

enum { REACHED = 1, DIFFERS = 2 };

static bool make_view(const fal_op_case *c, int r, view *v)
{
    const char *op = fal_op_of(c, r);
    const json_t *params = json_object_get(fal_about_request(c->in->got, r), "params");
    const char *type = json_string_value(json_object_get(params, "type"));
    const bool embed = strcmp(op, "embed") == 0, moe = strcmp(op, "moe_matmul") == 0;
    *v = (view){ .type = (uint32_t)(type ? fal_type_by_name(type) : -1), .used = 1, .shared = 1 };
    const fal_type_info *t = fal_type_get(v->type);
    const int64_t columns = fal_op_dim(c, r, embed ? "n_embd" : "n_in");
    if ((!embed && !moe && strcmp(op, "matmul") != 0) || !t->name || columns < 1) return false;
    v->w = fal_op_in(c, r, "w");
    v->x = embed ? NULL : fal_op_in(c, r, "x");
    v->ids = embed ? fal_op_in(c, r, "tokens") : moe ? fal_op_in(c, r, "ids") : NULL;
    if (!v->w || (!embed && !v->x) || ((embed || moe) && !v->ids) || v->w->n_dims < 2) return false;
    if (v->x && (v->x->dtype != FAL_DTYPE_F32 || v->x->n % (size_t)columns != 0)) return false;
    if (v->ids && v->ids->dtype != FAL_DTYPE_I32) return false;
    v->columns = (size_t)columns;
    v->row_bytes = fal_type_row_bytes(v->type, v->columns);
    if (v->row_bytes == 0 || v->w->nbytes % v->row_bytes != 0) return false;
    v->rows = v->w->nbytes / v->row_bytes;
    v->n_blocks = (v->columns + BLOCK - 1) / BLOCK;
    v->n_out = embed ? v->columns : moe ? (size_t)v->w->ne[1] : v->rows;
    if (moe) v->used = (size_t)v->ids->ne[v->ids->n_dims - 1];
    if (moe && v->x->n_dims == 2) v->shared = v->used;
    if (!v->x) return true;
    const size_t n_x = v->x->n / v->columns;
    v->block = malloc(n_x * sizeof *v->block);
    if (!v->block) return false;
    const fal_row x = fal_row_whole(v->x);
    for (size_t i = 0; i < n_x; i++) {
        size_t low = v->columns, high = 0;
        for (size_t k = 0; k < v->columns; k++) {
            const double a = fal_row_at(x, i * v->columns + k);
            if (a >= 0 && a <= 0) continue;
            if (low == v->columns) low = k;
            high = k;
        }
        /* a matrix of one block is always looked at through it */
        v->block[i] = low < v->columns && low / BLOCK == high / BLOCK ? (int)(low / BLOCK) : -1;
    }
    return true;
}

/* The row of w behind output element e, and the mark that it belongs to. False for ids that are out of range. */
static bool behind(const view *v, size_t e, size_t *row, size_t *mark)
{
    const size_t at = e / v->n_out, column = e % v->n_out; /* output row: token, or token and slot */
    double id = 0;
    if (v->ids && at >= v->ids->n) return false;
    if (v->ids) id = fal_row_at(fal_row_whole(v->ids), at);
    if (!(id >= 0)) return false;
    if (!v->x) {
        *row = (size_t)id;
        *mark = 1 + column / BLOCK;
    } else {
        if (at / v->shared >= v->x->n / v->columns) return false;
        *row = (size_t)id * v->n_out + column;
        *mark = (size_t)(1 + v->block[at / v->shared]);
    }
    return *row < v->rows;
}

/* Marks of all rows; NULL when memory ran out or an id is out of range. */
static unsigned char *mark_all(const view *v, const fal_obs_tensor *a, const fal_obs_tensor *b)
{
    unsigned char *marks = calloc(v->rows * (v->n_blocks + 1), 1);
    const fal_row ra = fal_row_whole(a), rb = fal_row_whole(b);
    for (size_t e = 0; marks && e < a->n; e++) {
        size_t row, mark;
        if (!behind(v, e, &row, &mark)) {
            free(marks);
            return NULL;
        }
        const bool same = memcmp((const char *)a->data + 4 * e, (const char *)b->data + 4 * e, 4) == 0 &&
                          fal_row_valid(ra, e) && fal_row_valid(rb, e);
        marks[row * (v->n_blocks + 1) + mark] |= same ? REACHED : REACHED | DIFFERS;
    }
    return marks;
}

static void place_text(const view *v, size_t row, size_t block, char *text, size_t size)
{
    char expert[40] = "";
    const size_t first = block * BLOCK, last = first + BLOCK < v->columns ? first + BLOCK - 1 : v->columns - 1;
    const bool moe = v->x && v->rows > v->n_out;
    if (moe) snprintf(expert, sizeof expert, "expert %zu ", row / v->n_out);
    snprintf(text, size, "%srow %zu block %zu (columns %zu to %zu)", expert, moe ? row % v->n_out : row, block, first, last);
}

void fal_blocks_name(const fal_op_case *c, int r, const fal_obs_tensor *got, const fal_obs_tensor *want, char *text, size_t size)
{
    view v;
    unsigned char *marks = NULL;
    size_t n_named = 0, n_rows = 0;
    char first[120] = "";
    const fal_verdict before = *c->out;
    if (got->dtype == FAL_DTYPE_F32 && want->dtype == FAL_DTYPE_F32 && got->n == want->n && make_view(c, r, &v))
        marks = mark_all(&v, got, want);
    *c->out = before; /* what cannot be named is no reason to stop */
    for (size_t row = 0; marks && row < v.rows; row++) {
        const unsigned char *m = marks + row * (v.n_blocks + 1);
        bool any = false;
        for (size_t b = 0; b <= v.n_blocks; b++) any = any || (m[b] & DIFFERS);
        n_rows += any;
        for (size_t b = 0; b < v.n_blocks; b++) {
            if (!(m[1 + b] & DIFFERS)) continue;
            char place[120];
            place_text(&v, row, b, place, sizeof place);
            if (n_named++ == 0) snprintf(first, sizeof first, "%s", place);
            if (n_named <= 16) fal_detail(c->out, "request %d: weights of %s\n", r, place);
        }
    }
    if (n_named == 1) snprintf(text, size, "the weights of %s", first);
    else if (n_named > 0) snprintf(text, size, "the weights of %s, and of %zu more blocks in %zu rows", first, n_named - 1, n_rows);
    else if (marks && n_rows > 0) snprintf(text, size, "%zu weight rows, in no single block: no probe differs", n_rows);
    if (marks) free(v.block);
    free(marks);
}

/* ---- planted faults ----------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t faults, missed, misnamed;
} fault_count;

/* One bit for each mark: the blocks in which the weights of both requests differ. */
static unsigned char *true_faults(const view *v, const fal_obs_tensor *other, uint64_t *n)
{
    unsigned char *truth = calloc(v->rows * (v->n_blocks + 1), 1);
    const fal_type_info *t = fal_type_get(v->type);
    const size_t block_bytes = (size_t)t->block_bytes * (BLOCK / t->block_elems);
    const unsigned char *a = v->w->data, *b = other->data;
    for (size_t i = 0; truth && i < v->w->nbytes; i++) {
        if (a[i] == b[i]) continue;
        unsigned char *at = truth + i / v->row_bytes * (v->n_blocks + 1) + 1 + i % v->row_bytes / block_bytes;
        *n += *at == 0;
        *at = 1;
    }
    return truth;
}

static void note_fault(const fal_op_case *c, const view *v, int r, size_t row, size_t block, bool missed, const char *what)
{
    char place[120];
    place_text(v, row, block, place, sizeof place);
    fal_detail(c->out, "request %d: %s %s\n", r, place, what);
    if (c->out->has_worst) return;
    snprintf(c->out->worst, sizeof c->out->worst, "%s", place);
    c->out->has_worst = true;
    c->out->got = missed ? 0 : 1; /* whether it was named, and whether it is wrong */
    c->out->want = missed ? 1 : 0;
}

static bool judge_pair(const fal_op_case *c, int r, fault_count *f)
{
    view v = { 0 };
    const fal_obs_tensor *const a = fal_op_out(c, r, "y"), *const b = a ? fal_op_out(c, r + 1, "y") : NULL;
    const fal_obs_tensor *const w = b ? fal_op_in(c, r + 1, "w") : NULL;
    if (!w) return false;
    if (!make_view(c, r, &v) || w->nbytes != v.w->nbytes || a->n != b->n || a->dtype != FAL_DTYPE_F32) {
        free(v.block);
        return fal_stop(c->out, FAL_ERROR, "requests %d and %d have no weights that can be compared row by row", r, r + 1);
    }
    uint64_t n = 0;
    unsigned char *truth = true_faults(&v, w, &n), *marks = truth ? mark_all(&v, a, b) : NULL;
    bool ok = marks != NULL;
    for (size_t row = 0; ok && row < v.rows; row++) {
        const unsigned char *t = truth + row * (v.n_blocks + 1), *m = marks + row * (v.n_blocks + 1);
        bool any = false;
        for (size_t k = 1; k <= v.n_blocks; k++) {
            any = any || t[k];
            if (t[k] && !(m[k] & REACHED) && !(m[0] & REACHED)) {
                ok = fal_stop(c->out, FAL_ERROR, "request %d: no activation reaches the fault in row %zu", r + 1, row);
                break;
            }
            /* where no probe looks, a row of all columns must show it */
            const unsigned char seen = m[k] & REACHED ? m[k] : m[0];
            if (t[k] && !(seen & DIFFERS)) {
                f->missed++;
                note_fault(c, &v, r + 1, row, k - 1, true, "holds a wrong nibble that no output shows");
            } else if (!t[k] && (m[k] & DIFFERS)) {
                f->misnamed++;
                note_fault(c, &v, r + 1, row, k - 1, false, "is named, but its weights are right");
            }
        }
        if (!any && (m[0] & DIFFERS)) {
            f->misnamed++;
            note_fault(c, &v, r + 1, row, 0, false, "differs, though its weights are right");
        }
    }
    if (!marks && c->out->kind == FAL_NOT_RUN) fal_stop(c->out, FAL_ERROR, "out of memory, or ids out of range, in request %d", r);
    f->faults += n;
    free(marks);
    free(truth);
    free(v.block);
    return ok;
}

void fal_judge_faults_named(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    fault_count f = { 0 };
    if (!fal_op_open_pairs(in, out, &c)) return;
    for (int r = 0; r < c.n_requests; r += 2)
        if (!judge_pair(&c, r, &f)) return;
    fal_give(out, (double)(f.missed + f.misnamed), f.faults,
             f.faults ? "of %llu planted faults %llu were missed, and %llu right blocks were named"
                      : "no weight differs between the requests",
             (unsigned long long)f.faults, (unsigned long long)f.missed, (unsigned long long)f.misnamed);
}
