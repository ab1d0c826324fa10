/* Bounded reading of a GGUF file's bytes: the one take(), and the one form of a refusal. */
#include "harness/gguf_parse.h"

#include "harness/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SHOWN = 80 }; /* the most of a key or name that goes into a message */

const char fal_gguf_hint_broken[] =
    "the file is damaged or was not written as GGUF: fetch or convert it again, and compare its SHA-256";

fal_status fal_gguf_bad(const fal_gguf_cursor *c, uint64_t at, const char *field, const char *hint, const char *fmt,
                        ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fal_fail(c->err, FAL_ERR_INPUT, hint ? hint : fal_gguf_hint_broken, "%s: offset 0x%" PRIx64 ": %s: %s: %s",
                    c->file->pub.shown, at, c->object, field, text);
}

fal_status fal_gguf_no_memory(const fal_gguf_cursor *c)
{
    return fal_fail(c->err, FAL_ERR_MEMORY, NULL, "%s: no memory for the table of contents", c->file->pub.shown);
}

void fal_gguf_object(fal_gguf_cursor *c, const char *what, const char *name, uint64_t len)
{
    fal_text t = { 0 };
    const bool cut = len > NAME_SHOWN;
    fal_text_add_safe(&t, name, cut ? NAME_SHOWN : (size_t)len);
    snprintf(c->object, sizeof c->object, "%s '%s%s'", what, fal_text_str(&t), cut ? "..." : "");
    fal_text_free(&t);
}

/* n <= size - pos cannot wrap, pos + n <= size can. */
const unsigned char *fal_gguf_take(fal_gguf_cursor *c, uint64_t n, const char *field)
{
    const uint64_t left = c->size - c->pos;
    if (n > left) {
        fal_gguf_bad(c, c->pos, field, NULL, "found %" PRIu64 " bytes up to the end of the file, expected %" PRIu64,
                     left, n);
        return NULL;
    }
    const unsigned char *p = c->base + c->pos;
    c->pos += n;
    return p;
}

fal_status fal_gguf_take_u32(fal_gguf_cursor *c, const char *field, uint32_t *out)
{
    const unsigned char *p = fal_gguf_take(c, sizeof *out, field);
    if (!p) return FAL_ERR_INPUT;
    memcpy(out, p, sizeof *out);
    return FAL_OK;
}

fal_status fal_gguf_take_u64(fal_gguf_cursor *c, const char *field, uint64_t *out)
{
    const unsigned char *p = fal_gguf_take(c, sizeof *out, field);
    if (!p) return FAL_ERR_INPUT;
    memcpy(out, p, sizeof *out);
    return FAL_OK;
}

/* A length and that many bytes of UTF-8; min and max bound the length beyond what the file itself does. */
fal_status fal_gguf_take_text(fal_gguf_cursor *c, const char *length_field, const char *field, uint64_t min,
                              uint64_t max, const char **out, uint64_t *len)
{
    const uint64_t at = c->pos;
    uint64_t n = 0;
    if (fal_gguf_take_u64(c, length_field, &n) != FAL_OK) return FAL_ERR_INPUT;
    if (n < min || n > max)
        return fal_gguf_bad(c, at, length_field, NULL, "found %" PRIu64 ", expected %" PRIu64 " to %" PRIu64 " bytes",
                            n, min, max);
    const uint64_t start = c->pos;
    const char *s = (const char *)fal_gguf_take(c, n, field);
    if (!s) return FAL_ERR_INPUT;
    for (uint64_t i = 0; i < n;) {
        unsigned code = 0;
        const size_t step = fal_utf8_next(s + i, n - i, &code);
        if (step == 0)
            return fal_gguf_bad(c, start + i, field, NULL, "found byte 0x%02x, expected UTF-8",
                                (unsigned)(unsigned char)s[i]);
        i += step;
    }
    *out = s;
    *len = n;
    return FAL_OK;
}

/* Tables grow with what was really read, so that a lying count costs no memory. */
bool fal_gguf_grow(void **table, size_t *cap, size_t used, size_t element)
{
    if (used < *cap) return true;
    const size_t want = *cap ? *cap * 2 : 64;
    void *bigger = reallocarray(*table, want, element);
    if (!bigger) return false;
    *table = bigger;
    *cap = want;
    return true;
}

size_t *fal_gguf_sorted(void *table, size_t n, int (*order)(const void *, const void *, void *))
{
    size_t *index = malloc((n ? n : 1) * sizeof *index);
    if (!index) return NULL;
    for (size_t i = 0; i < n; i++) index[i] = i;
    if (n > 1) qsort_r(index, n, sizeof *index, order, table);
    return index;
}
