/* Prints a GGUF file's version, metadata and tensors in aligned columns, with all of the file's own text made safe. */
#include "harness/gguf.h"

#include "harness/text.h"

#include <inttypes.h>
#include <string.h>

enum {
    ARRAY_SHOWN = 6,    /* elements of an array that are printed */
    STRING_SHOWN = 96,  /* bytes of a string value */
    ELEMENT_SHOWN = 24, /* bytes of a string in an array */
    COLUMN_MAX = 56     /* a longer key or name pushes its own line only */
};

static int shown_width(const char *s)
{
    fal_text t = { 0 };
    fal_text_add_safe(&t, s, strlen(s));
    const int width = fal_text_width(fal_text_str(&t), t.len);
    fal_text_free(&t);
    return width;
}

static void print_padded(FILE *f, const char *s, int column)
{
    fal_text_print(f, s, strlen(s));
    const int width = shown_width(s);
    if (width < column) fprintf(f, "%*s", column - width, "");
}

/* Never cuts a character in two: valid UTF-8 starts anew at a byte that is no continuation. */
static void print_string(FILE *f, const char *s, uint64_t len, uint64_t most)
{
    uint64_t n = len < most ? len : most;
    while (n < len && n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80) n--;
    fputc('"', f);
    fal_text_print(f, s, n);
    fputc('"', f);
    if (n < len) fprintf(f, "... (%" PRIu64 " bytes)", len);
}

static void print_number(FILE *f, fal_gguf_type type, const unsigned char *p)
{
    union {
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
    switch (type) {
    case FAL_GGUF_U8: fprintf(f, "%u", p[0]); break;
    case FAL_GGUF_I8:
        memcpy(&x.i8, p, 1);
        fprintf(f, "%d", x.i8);
        break;
    case FAL_GGUF_U16:
        memcpy(&x.u16, p, 2);
        fprintf(f, "%u", x.u16);
        break;
    case FAL_GGUF_I16:
        memcpy(&x.i16, p, 2);
        fprintf(f, "%d", x.i16);
        break;
    case FAL_GGUF_U32:
        memcpy(&x.u32, p, 4);
        fprintf(f, "%" PRIu32, x.u32);
        break;
    case FAL_GGUF_I32:
        memcpy(&x.i32, p, 4);
        fprintf(f, "%" PRId32, x.i32);
        break;
    case FAL_GGUF_F32:
        memcpy(&x.f32, p, 4);
        fprintf(f, "%.9g", (double)x.f32);
        break;
    case FAL_GGUF_BOOL: fputs(p[0] ? "true" : "false", f); break;
    case FAL_GGUF_U64:
        memcpy(&x.u64, p, 8);
        fprintf(f, "%" PRIu64, x.u64);
        break;
    case FAL_GGUF_I64:
        memcpy(&x.i64, p, 8);
        fprintf(f, "%" PRId64, x.i64);
        break;
    case FAL_GGUF_F64:
        memcpy(&x.f64, p, 8);
        fprintf(f, "%.17g", x.f64);
        break;
    case FAL_GGUF_STRING:
    case FAL_GGUF_ARRAY: break;
    }
}

static void print_array(FILE *f, const fal_gguf_kv *kv)
{
    static const size_t bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    const uint64_t n = kv->v.arr.n;
    const unsigned char *p = kv->v.arr.data;
    fputc('[', f);
    for (uint64_t i = 0; i < n && i < ARRAY_SHOWN; i++) {
        if (i > 0) fputs(", ", f);
        if (kv->v.arr.type == FAL_GGUF_STRING) {
            uint64_t len = 0;
            memcpy(&len, p, sizeof len);
            p += sizeof len;
            print_string(f, (const char *)p, len, ELEMENT_SHOWN);
            p += len;
        } else {
            print_number(f, kv->v.arr.type, p);
            p += bytes[kv->v.arr.type];
        }
    }
    fputs(n > ARRAY_SHOWN ? ", ...]" : "]", f);
}

static void print_value(FILE *f, const fal_gguf_kv *kv)
{
    switch (kv->type) {
    case FAL_GGUF_U8:
    case FAL_GGUF_U16:
    case FAL_GGUF_U32:
    case FAL_GGUF_U64: fprintf(f, "%" PRIu64, kv->v.u); break;
    case FAL_GGUF_I8:
    case FAL_GGUF_I16:
    case FAL_GGUF_I32:
    case FAL_GGUF_I64: fprintf(f, "%" PRId64, kv->v.i); break;
    case FAL_GGUF_F32: fprintf(f, "%.9g", kv->v.f); break;
    case FAL_GGUF_F64: fprintf(f, "%.17g", kv->v.f); break;
    case FAL_GGUF_BOOL: fputs(kv->v.u ? "true" : "false", f); break;
    case FAL_GGUF_STRING: print_string(f, kv->v.str.data, kv->v.str.len, STRING_SHOWN); break;
    case FAL_GGUF_ARRAY: print_array(f, kv); break;
    }
}

static void print_metadata(const fal_gguf *g, FILE *f)
{
    int column = 0, type_column = 0;
    char type[64];
    for (int pass = 0; pass < 2; pass++) { /* the first measures, the second prints */
        for (uint64_t i = 0; i < g->n_kv; i++) {
            const fal_gguf_kv *kv = &g->kv[i];
            if (kv->type == FAL_GGUF_ARRAY)
                snprintf(type, sizeof type, "%s[%" PRIu64 "]", fal_gguf_type_name(kv->v.arr.type), kv->v.arr.n);
            else
                snprintf(type, sizeof type, "%s", fal_gguf_type_name(kv->type));
            if (pass == 0) {
                const int width = shown_width(kv->key), type_width = (int)strlen(type);
                if (width <= COLUMN_MAX && width > column) column = width;
                if (type_width > type_column) type_column = type_width;
                continue;
            }
            fputs("  ", f);
            print_padded(f, kv->key, column);
            fprintf(f, "  %-*s  ", type_column, type);
            print_value(f, kv);
            fputc('\n', f);
        }
    }
}

static void dims_text(const fal_tensor *t, char *out, size_t cap)
{
    size_t used = 0;
    for (int i = 0; i < t->n_dims && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%" PRIu64, i ? ", " : "[", t->ne[i]);
    if (used < cap) snprintf(out + used, cap - used, "]");
}

static void print_tensors(const fal_gguf *g, FILE *f)
{
    int column = 0, dims_column = 0;
    char dims[128];
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t i = 0; i < g->n_tensors; i++) {
            const fal_tensor *t = &g->tensors[i];
            dims_text(t, dims, sizeof dims);
            if (pass == 0) {
                const int width = shown_width(t->name), dims_width = (int)strlen(dims);
                if (width <= COLUMN_MAX && width > column) column = width;
                if (dims_width > dims_column) dims_column = dims_width;
                continue;
            }
            fputs("  ", f);
            print_padded(f, t->name, column);
            fprintf(f, "  %-7s  %-*s  %12zu bytes at 0x%" PRIx64 "\n", fal_type_get(t->type)->name, dims_column, dims,
                    t->nbytes, t->offset);
        }
    }
}

/* How many tensors and bytes there are of each type: what a quantisation is made of. */
static void print_types(const fal_gguf *g, FILE *f)
{
    for (uint32_t type = 0; type < 64; type++) {
        uint64_t n = 0, bytes = 0;
        for (uint64_t i = 0; i < g->n_tensors; i++) {
            if (g->tensors[i].type != type) continue;
            n++;
            bytes += g->tensors[i].nbytes; /* no wrap: the tensors lie in one file without overlap */
        }
        if (n > 0)
            fprintf(f, "  %-7s  %6" PRIu64 " tensors  %15" PRIu64 " bytes\n", fal_type_get(type)->name, n, bytes);
    }
}

void fal_gguf_print(const fal_gguf *g, FILE *f)
{
    fal_text_print(f, g->path, strlen(g->path));
    fprintf(f, ": GGUF version %" PRIu32 ", %" PRIu64 " bytes, alignment %" PRIu32 ", data from 0x%" PRIx64 " on\n",
            g->version, g->size, g->alignment, g->data_offset);
    if (g->alignment < 8)
        fprintf(f, "note: the specification asks for an alignment that is a multiple of 8, this file has %" PRIu32 "\n",
                g->alignment);
    fprintf(f, "\n%" PRIu64 " keys\n", g->n_kv);
    print_metadata(g, f);
    fprintf(f, "\n%" PRIu64 " tensors\n", g->n_tensors);
    print_tensors(g, f);
    if (g->n_tensors > 0) fputs("\ntypes\n", f);
    print_types(g, f);
}
