/* Reads the second half of a GGUF file: tensor descriptions, and where their data lie. */
#include "harness/gguf_parse.h"

#include "harness/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 63 }; /* ggml keeps names in 64 bytes with a terminator */

static bool pad_up(uint64_t x, uint64_t alignment, uint64_t *out)
{
    uint64_t sum = 0;
    if (__builtin_add_overflow(x, alignment - 1, &sum)) return false;
    *out = sum & ~(alignment - 1);
    return true;
}

static const char *dims_text(const fal_tensor *t, char *out, size_t cap)
{
    size_t used = 0;
    for (int i = 0; i < t->n_dims && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%" PRIu64, i ? ", " : "[", t->ne[i]);
    if (used < cap) snprintf(out + used, cap - used, "]");
    return out;
}

/* No tensor has more bytes than its file: with that limit at every step no product can wrap. */
static bool tensor_bytes(const fal_tensor *t, const fal_type_info *type, uint64_t limit, uint64_t *out)
{
    uint64_t n = t->ne[0] / type->block_elems;
    if (__builtin_mul_overflow(n, type->block_bytes, &n) || n > limit) return false;
    for (int i = 1; i < 4; i++)
        if (__builtin_mul_overflow(n, t->ne[i], &n) || n > limit) return false;
    *out = n;
    return true;
}

static fal_status take_shape(fal_gguf_cursor *c, fal_tensor *t)
{
    uint64_t at = c->pos;
    uint32_t n_dims = 0;
    if (fal_gguf_take_u32(c, "n_dims", &n_dims) != FAL_OK) return FAL_ERR_INPUT;
    if (n_dims < 1 || n_dims > 4) return fal_gguf_bad(c, at, "n_dims", NULL, "found %u, expected 1 to 4", n_dims);
    t->n_dims = (int)n_dims;
    for (int i = 0; i < 4; i++) t->ne[i] = 1;
    for (int i = 0; i < t->n_dims; i++) {
        at = c->pos;
        if (fal_gguf_take_u64(c, "dims", &t->ne[i]) != FAL_OK) return FAL_ERR_INPUT;
        if (t->ne[i] == 0) return fal_gguf_bad(c, at, "dims", NULL, "found 0 as dimension %d, expected at least 1", i);
    }
    return FAL_OK;
}

static fal_status read_tensor(fal_gguf_cursor *c, uint64_t index)
{
    fal_gguf_file *f = c->file;
    fal_tensor t = { 0 };
    const uint64_t start = c->pos;
    const char *name = NULL;
    uint64_t len = 0, nbytes = 0;
    char dims[128];

    snprintf(c->object, sizeof c->object, "tensor %" PRIu64, index);
    if (fal_gguf_take_text(c, "name length", "name", 1, NAME_MAX_BYTES, &name, &len) != FAL_OK) return FAL_ERR_INPUT;
    fal_gguf_object(c, "tensor", name, len);
    for (uint64_t i = 0; i < len;) {
        unsigned code = 0;
        const size_t step = fal_utf8_next(name + i, len - i, &code);
        if (code < 0x20 || (code >= 0x7F && code < 0xA0))
            return fal_gguf_bad(c, start + 8 + i, "name", NULL,
                                "found control character 0x%02x, expected text without any", code);
        i += step;
    }
    const uint64_t dims_at = c->pos + 4;
    if (take_shape(c, &t) != FAL_OK) return FAL_ERR_INPUT;
    const uint64_t type_at = c->pos;
    if (fal_gguf_take_u32(c, "type", &t.type) != FAL_OK) return FAL_ERR_INPUT;
    const fal_type_info *type = fal_type_get(t.type);
    if (!type->name)
        return fal_gguf_bad(c, type_at, "type",
                            "the file is newer than this program, or uses a type that was removed from the format",
                            "found tensor type %u, expected one of the type table (0 to 39)", t.type);
    if (t.ne[0] % type->block_elems != 0)
        return fal_gguf_bad(c, dims_at, "dims", NULL,
                            "found rows of %" PRIu64 " elements, expected a multiple of %u (%s)", t.ne[0],
                            type->block_elems, type->name);
    if (!tensor_bytes(&t, type, c->size, &nbytes))
        return fal_gguf_bad(c, dims_at, "dims", NULL,
                            "found %s of %s, which is larger than the file; expected at most %" PRIu64 " bytes",
                            dims_text(&t, dims, sizeof dims), type->name, c->size);
    t.nbytes = nbytes;
    if (fal_gguf_take_u64(c, "offset", &t.offset) != FAL_OK)
        return FAL_ERR_INPUT; /* still relative to the data section */

    const size_t cap = f->tensor_cap;
    size_t same_cap = cap;
    void *table = f->tensors;
    if (!fal_gguf_grow(&table, &f->tensor_cap, f->pub.n_tensors, sizeof *f->tensors)) return fal_gguf_no_memory(c);
    f->tensors = table;
    table = f->info_offset;
    if (!fal_gguf_grow(&table, &same_cap, f->pub.n_tensors, sizeof *f->info_offset)) {
        f->tensor_cap = cap;
        return fal_gguf_no_memory(c);
    }
    f->info_offset = table;
    char *copy = strndup(name, len);
    if (!copy) return fal_gguf_no_memory(c);
    t.name = copy;
    f->info_offset[f->pub.n_tensors] = start;
    f->tensors[f->pub.n_tensors++] = t;
    return FAL_OK;
}

/* Tensor i begins before the end of the one before it. Those before fill the section from 0 on, so it lies on one. */
static fal_status bad_overlap(fal_gguf_cursor *c, size_t i, uint64_t expected)
{
    const fal_gguf_file *f = c->file;
    const uint64_t found = f->tensors[i].offset;
    size_t k = 0;
    while (k + 1 < i && f->tensors[k + 1].offset - f->pub.data_offset <= found) k++; /* earlier offsets are absolute */
    fal_text name = { 0 };
    fal_text_add_safe(&name, f->tensors[k].name, strlen(f->tensors[k].name));
    const fal_status status = fal_gguf_bad(c, f->info_offset[i], "offset", NULL,
                                           "found %" PRIu64 ", which overlaps tensor '%s'; expected %" PRIu64, found,
                                           fal_text_str(&name), expected);
    fal_text_free(&name);
    return status;
}

/* Tensors must lie one after another, each padded to the alignment: no overlap, no gap, no second order. */
static fal_status place_tensors(fal_gguf_cursor *c)
{
    fal_gguf_file *f = c->file;
    fal_gguf *g = &f->pub;
    uint64_t next = 0;

    snprintf(c->object, sizeof c->object, "data section");
    if (!pad_up(c->pos, g->alignment, &g->data_offset))
        return fal_gguf_bad(c, c->pos, "start", NULL, "found an offset that wraps");
    if (g->n_tensors == 0) {
        if (g->data_offset > c->size) g->data_offset = c->size;
        return FAL_OK;
    }
    if (g->data_offset > c->size)
        return fal_gguf_bad(c, c->pos, "start", NULL,
                            "found the end of the file at %" PRIu64 ", expected data from %" PRIu64 " on", c->size,
                            g->data_offset);
    const uint64_t room = c->size - g->data_offset;
    for (size_t i = 0; i < g->n_tensors; i++) {
        fal_tensor *t = &f->tensors[i];
        const uint64_t at = f->info_offset[i];
        fal_gguf_object(c, "tensor", t->name, strlen(t->name));
        if (t->offset % g->alignment != 0)
            return fal_gguf_bad(c, at, "offset", NULL, "found %" PRIu64 ", expected a multiple of the alignment %u",
                                t->offset, g->alignment);
        if (t->offset < next) return bad_overlap(c, i, next);
        if (t->offset > next)
            return fal_gguf_bad(c, at, "offset", NULL,
                                "found %" PRIu64 ", which leaves a gap or is out of order; expected %" PRIu64,
                                t->offset, next);
        if (t->offset > room || t->nbytes > room - t->offset)
            return fal_gguf_bad(c, at, "data", "the file is cut off: fetch it again",
                                "found %" PRIu64 " bytes up to the end of the file, expected %zu",
                                t->offset > room ? 0 : room - t->offset, t->nbytes);
        if (!pad_up(t->offset + t->nbytes, g->alignment, &next))
            return fal_gguf_bad(c, at, "offset", NULL, "found an end that wraps");
        t->offset += g->data_offset;
        t->data = c->base + t->offset;
    }
    return FAL_OK;
}

static int by_name(const void *a, const void *b, void *table)
{
    const fal_tensor *t = table;
    const size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const int order = strcmp(t[i].name, t[k].name);
    return order != 0 ? order : (i > k) - (i < k);
}

static fal_status index_tensors(fal_gguf_cursor *c)
{
    fal_gguf_file *f = c->file;
    f->tensor_by_name = fal_gguf_sorted(f->tensors, f->pub.n_tensors, by_name);
    if (!f->tensor_by_name) return fal_gguf_no_memory(c);
    for (size_t i = 1; i < f->pub.n_tensors; i++) {
        const size_t first = f->tensor_by_name[i - 1], again = f->tensor_by_name[i];
        if (strcmp(f->tensors[first].name, f->tensors[again].name) != 0) continue;
        fal_gguf_object(c, "tensor", f->tensors[again].name, strlen(f->tensors[again].name));
        return fal_gguf_bad(c, f->info_offset[again], "name", NULL,
                            "found a duplicate of the tensor at offset 0x%" PRIx64 ", expected it once",
                            f->info_offset[first]);
    }
    f->pub.tensors = f->tensors;
    f->pub.tensor_by_name = f->tensor_by_name;
    return FAL_OK;
}

fal_status fal_gguf_read_tensors(fal_gguf_cursor *c, uint64_t n_tensors)
{
    fal_status status = FAL_OK;
    for (uint64_t i = 0; status == FAL_OK && i < n_tensors; i++) status = read_tensor(c, i);
    if (status == FAL_OK) status = index_tensors(c);
    if (status == FAL_OK) status = place_tensors(c);
    return status;
}
