/* Reads the first half of a GGUF file: its header and its key/value pairs. */
#include "harness/gguf_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Numbers and weights are used as they lie in the file, which is little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF files are read in place: little-endian hosts only");
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes from the file are used as size_t");

enum {
    HEADER_BYTES = 24,     /* magic, version, n_tensors, n_kv */
    KV_MIN_BYTES = 14,     /* key length 8, key 1, type 4, value 1 */
    TENSOR_MIN_BYTES = 33, /* name length 8, name 1, n_dims 4, one dimension 8, type 4, offset 8 */
    KEY_MAX = 65535,       /* from the specification */
    MAX_ALIGNMENT = 65536,
    DEFAULT_ALIGNMENT = 32
};

static fal_status read_header(fal_gguf_cursor *c, uint64_t *n_tensors, uint64_t *n_kv)
{
    snprintf(c->object, sizeof c->object, "header");
    if (c->size < HEADER_BYTES)
        return fal_gguf_bad(c, 0, "size", NULL, "found %" PRIu64 " bytes, expected at least %d", c->size, HEADER_BYTES);
    const unsigned char *magic = fal_gguf_take(c, 4, "magic");
    if (!magic) return FAL_ERR_INPUT;
    if (memcmp(magic, "GGUF", 4) != 0) {
        /* the formats before GGUF stored 'ggml', 'ggjt', 'ggla' and 'ggmf' as little-endian numbers */
        const bool old = memcmp(magic + 1, "mgg", 3) == 0 || memcmp(magic, "tjgg", 4) == 0 ||
                         memcmp(magic, "algg", 4) == 0 || memcmp(magic, "fmgg", 4) == 0 ||
                         memcmp(magic, "GGML", 4) == 0;
        return fal_gguf_bad(
            c, 0, "magic",
            old ? "the file is of a format before GGUF: convert the original model again" : fal_gguf_hint_broken,
            "found bytes %02x %02x %02x %02x, expected 47 47 55 46 (\"GGUF\")", magic[0], magic[1], magic[2], magic[3]);
    }
    uint32_t version = 0;
    if (fal_gguf_take_u32(c, "version", &version) != FAL_OK) return FAL_ERR_INPUT;
    const uint32_t swapped = __builtin_bswap32(version);
    if (swapped >= 1 && swapped <= 0xFFFF && version > 0xFFFF)
        return fal_gguf_bad(c, 4, "version", "convert the model for a little-endian machine",
                            "found 0x%08x: a big-endian file of version %u, expected a little-endian one", version,
                            swapped);
    if (version != 2 && version != 3)
        return fal_gguf_bad(c, 4, "version",
                            version == 1 ? "convert the original model again; version 1 was used for a few days of 2023"
                                         : fal_gguf_hint_broken,
                            "found %u, expected 2 or 3", version);
    c->file->pub.version = version;
    if (fal_gguf_take_u64(c, "n_tensors", n_tensors) != FAL_OK || fal_gguf_take_u64(c, "n_kv", n_kv) != FAL_OK)
        return FAL_ERR_INPUT;
    const uint64_t left = c->size - c->pos;
    if (*n_tensors > left / TENSOR_MIN_BYTES)
        return fal_gguf_bad(c, 8, "n_tensors", NULL,
                            "found %" PRIu64 ", expected at most %" PRIu64 " (%d bytes each in the remaining %" PRIu64
                            ")",
                            *n_tensors, left / TENSOR_MIN_BYTES, TENSOR_MIN_BYTES, left);
    if (*n_kv > left / KV_MIN_BYTES)
        return fal_gguf_bad(c, 16, "n_kv", NULL,
                            "found %" PRIu64 ", expected at most %" PRIu64 " (%d bytes each in the remaining %" PRIu64
                            ")",
                            *n_kv, left / KV_MIN_BYTES, KV_MIN_BYTES, left);
    return FAL_OK;
}

static const unsigned char value_bytes[] = {
    1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8
}; /* by fal_gguf_type; 0: no fixed size */

static fal_status take_type(fal_gguf_cursor *c, const char *field, fal_gguf_type *out)
{
    const uint64_t at = c->pos;
    uint32_t type = 0;
    if (fal_gguf_take_u32(c, field, &type) != FAL_OK) return FAL_ERR_INPUT;
    if (type > FAL_GGUF_F64)
        return fal_gguf_bad(c, at, field, NULL, "found value type %u, expected 0 to %d", type, FAL_GGUF_F64);
    *out = (fal_gguf_type)type;
    return FAL_OK;
}

static fal_status check_bools(const fal_gguf_cursor *c, uint64_t at, const unsigned char *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1) return fal_gguf_bad(c, at + i, "value", NULL, "found bool %u, expected 0 or 1", p[i]);
    return FAL_OK;
}

static fal_status take_array(fal_gguf_cursor *c, fal_gguf_kv *kv)
{
    uint64_t at = c->pos;
    fal_gguf_type type = FAL_GGUF_U8;
    uint64_t n = 0;
    if (take_type(c, "element type", &type) != FAL_OK) return FAL_ERR_INPUT;
    if (type == FAL_GGUF_ARRAY)
        return fal_gguf_bad(c, at, "element type", "no known model needs nested arrays; remove the key",
                            "found an array of arrays, expected a flat array");
    at = c->pos;
    if (fal_gguf_take_u64(c, "array length", &n) != FAL_OK) return FAL_ERR_INPUT;
    const uint64_t left = c->size - c->pos;
    const uint64_t each = type == FAL_GGUF_STRING ? 8 : value_bytes[type];
    if (n > left / each)
        return fal_gguf_bad(c, at, "array length", NULL,
                            "found %" PRIu64 ", expected at most %" PRIu64 " (%" PRIu64
                            " bytes each in the remaining %" PRIu64 ")",
                            n, left / each, each, left);
    kv->v.arr.type = type;
    kv->v.arr.n = n;
    kv->v.arr.data = c->base + c->pos;
    at = c->pos;
    if (type == FAL_GGUF_STRING) {
        for (uint64_t i = 0; i < n; i++) {
            const char *s = NULL;
            uint64_t len = 0;
            if (fal_gguf_take_text(c, "string length", "value", 0, UINT64_MAX, &s, &len) != FAL_OK)
                return FAL_ERR_INPUT;
        }
    } else {
        const unsigned char *p = fal_gguf_take(c, n * each, "value");
        if (!p) return FAL_ERR_INPUT;
        if (type == FAL_GGUF_BOOL && check_bools(c, at, p, n) != FAL_OK) return FAL_ERR_INPUT;
    }
    kv->v.arr.nbytes = c->pos - at;
    return FAL_OK;
}

static fal_status take_value(fal_gguf_cursor *c, fal_gguf_kv *kv)
{
    if (kv->type == FAL_GGUF_ARRAY) return take_array(c, kv);
    if (kv->type == FAL_GGUF_STRING)
        return fal_gguf_take_text(c, "string length", "value", 0, UINT64_MAX, &kv->v.str.data, &kv->v.str.len);

    const uint64_t at = c->pos;
    const unsigned char *p = fal_gguf_take(c, value_bytes[kv->type], "value");
    if (!p) return FAL_ERR_INPUT;
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } x;
    memcpy(&x, p, value_bytes[kv->type]);
    switch (kv->type) {
    case FAL_GGUF_U8: kv->v.u = x.u8; break;
    case FAL_GGUF_I8: kv->v.i = x.i8; break;
    case FAL_GGUF_U16: kv->v.u = x.u16; break;
    case FAL_GGUF_I16: kv->v.i = x.i16; break;
    case FAL_GGUF_U32: kv->v.u = x.u32; break;
    case FAL_GGUF_I32: kv->v.i = x.i32; break;
    case FAL_GGUF_U64: kv->v.u = x.u64; break;
    case FAL_GGUF_I64: kv->v.i = x.i64; break;
    case FAL_GGUF_F32: kv->v.f = (double)x.f32; break;
    case FAL_GGUF_F64: kv->v.f = x.f64; break;
    case FAL_GGUF_BOOL: kv->v.u = x.u8; return check_bools(c, at, p, 1);
    case FAL_GGUF_STRING:
    case FAL_GGUF_ARRAY: break;
    }
    return FAL_OK;
}

/* The specification asks for lower case; converters have written upper case, which does no harm here. */
static bool key_byte(unsigned char b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || b == '_' || b == '.' ||
           b == '-';
}

static fal_status read_kv(fal_gguf_cursor *c, uint64_t index)
{
    fal_gguf_file *f = c->file;
    fal_gguf_kv kv = { .offset = c->pos };
    const char *key = NULL;
    uint64_t len = 0;

    snprintf(c->object, sizeof c->object, "key %" PRIu64, index);
    if (fal_gguf_take_text(c, "key length", "key", 1, KEY_MAX, &key, &len) != FAL_OK) return FAL_ERR_INPUT;
    fal_gguf_object(c, "key", key, len);
    for (uint64_t i = 0; i < len; i++)
        if (!key_byte((unsigned char)key[i]))
            return fal_gguf_bad(c, kv.offset + 8 + i, "key", "rename the key",
                                "found byte 0x%02x, expected only [a-zA-Z0-9_.-]", (unsigned)(unsigned char)key[i]);
    if (take_type(c, "type", &kv.type) != FAL_OK || take_value(c, &kv) != FAL_OK) return FAL_ERR_INPUT;

    void *table = f->kv;
    if (!fal_gguf_grow(&table, &f->kv_cap, f->pub.n_kv, sizeof *f->kv)) return fal_gguf_no_memory(c);
    f->kv = table;
    char *copy = strndup(key, len);
    if (!copy) return fal_gguf_no_memory(c);
    kv.key = copy;
    f->kv[f->pub.n_kv++] = kv;
    return FAL_OK;
}

/* Sorting finds duplicates in n log n whatever the keys are; a hash set can be flooded with chosen ones. */
static int by_key(const void *a, const void *b, void *table)
{
    const fal_gguf_kv *kv = table;
    const size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const int order = strcmp(kv[i].key, kv[k].key);
    return order != 0 ? order : (i > k) - (i < k);
}

static fal_status index_kv(fal_gguf_cursor *c)
{
    fal_gguf_file *f = c->file;
    f->kv_by_key = fal_gguf_sorted(f->kv, f->pub.n_kv, by_key);
    if (!f->kv_by_key) return fal_gguf_no_memory(c);
    for (size_t i = 1; i < f->pub.n_kv; i++) {
        const fal_gguf_kv *first = &f->kv[f->kv_by_key[i - 1]], *again = &f->kv[f->kv_by_key[i]];
        if (strcmp(first->key, again->key) != 0) continue;
        fal_gguf_object(c, "key", again->key, strlen(again->key));
        return fal_gguf_bad(c, again->offset, "key", NULL,
                            "found a duplicate of the key at offset 0x%" PRIx64 ", expected it once", first->offset);
    }
    f->pub.kv = f->kv;
    f->pub.kv_by_key = f->kv_by_key;
    return FAL_OK;
}

static fal_status read_alignment(fal_gguf_cursor *c)
{
    fal_gguf *g = &c->file->pub;
    g->alignment = DEFAULT_ALIGNMENT;
    const fal_gguf_kv *kv = fal_gguf_find_kv(g, "general.alignment");
    if (!kv) return FAL_OK;
    fal_gguf_object(c, "key", kv->key, strlen(kv->key));
    if (kv->type != FAL_GGUF_U32)
        return fal_gguf_bad(c, kv->offset, "type", NULL, "found %s, expected u32", fal_gguf_type_name(kv->type));
    const uint64_t a = kv->v.u;
    if (a == 0 || a > MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return fal_gguf_bad(c, kv->offset, "value", NULL, "found %" PRIu64 ", expected a power of two from 1 to %d", a,
                            MAX_ALIGNMENT);
    g->alignment = (uint32_t)a;
    return FAL_OK;
}

fal_status fal_gguf_read_metadata(fal_gguf_cursor *c, uint64_t *n_tensors)
{
    uint64_t n_kv = 0;
    fal_status status = read_header(c, n_tensors, &n_kv);
    for (uint64_t i = 0; status == FAL_OK && i < n_kv; i++) status = read_kv(c, i);
    if (status == FAL_OK) status = index_kv(c);
    if (status == FAL_OK) status = read_alignment(c);
    return status;
}
