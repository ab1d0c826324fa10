/* Text from anywhere made safe to print, growing strings, globs, and the nearest name for "did you mean". */
#include "harness/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing strings ---- */

/* Makes room for n more bytes and the terminator. */
static bool reserve(fal_text *t, size_t n)
{
    if (t->failed) return false;
    if (n > SIZE_MAX / 2 - t->len - 1) {
        t->failed = true;
        return false;
    }
    const size_t need = t->len + n + 1;
    if (need <= t->cap) return true;
    size_t cap = t->cap ? t->cap : 64;
    while (cap < need) cap *= 2;
    char *data = realloc(t->data, cap);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->cap = cap;
    return true;
}

void fal_text_add_n(fal_text *t, const char *s, size_t n)
{
    if (n == 0 || !reserve(t, n)) return;
    memcpy(t->data + t->len, s, n);
    t->len += n;
    t->data[t->len] = '\0';
}

void fal_text_add(fal_text *t, const char *s)
{
    if (s) fal_text_add_n(t, s, strlen(s));
}

void fal_text_addf(fal_text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->failed = true;
    } else if (n > 0 && reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

void fal_text_free(fal_text *t)
{
    if (!t) return;
    free(t->data);
    *t = (fal_text){ 0 };
}

const char *fal_text_str(const fal_text *t)
{
    return t->data ? t->data : "";
}

/* ---- UTF-8 and safe printing ---- */

size_t fal_utf8_next(const char *s, size_t n, unsigned *code_point)
{
    if (n == 0) return 0;
    const unsigned char *b = (const unsigned char *)s;
    if (b[0] < 0x80) {
        *code_point = b[0];
        return 1;
    }
    size_t len;
    unsigned c, least; /* least: the smallest code point that needs this many bytes; anything below is overlong */
    if ((b[0] & 0xE0) == 0xC0) {
        len = 2, c = b[0] & 0x1Fu, least = 0x80;
    } else if ((b[0] & 0xF0) == 0xE0) {
        len = 3, c = b[0] & 0x0Fu, least = 0x800;
    } else if ((b[0] & 0xF8) == 0xF0) {
        len = 4, c = b[0] & 0x07u, least = 0x10000;
    } else {
        return 0;
    }
    if (len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((b[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (b[i] & 0x3Fu);
    }
    if (c < least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    *code_point = c;
    return len;
}

/* Characters that a terminal obeys, reorders by, or does not show at all. */
static bool is_treacherous(unsigned c)
{
    if (c < 0x20 || (c >= 0x7F && c <= 0x9F)) return true;
    if (c < 0xAD) return false;
    return c == 0xAD || c == 0x34F || c == 0x61C || c == 0x115F || c == 0x1160 || c == 0x17B4 || c == 0x17B5 ||
           (c >= 0x180B && c <= 0x180E) || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0x3164 || c == 0xFEFF || c == 0xFFA0 || (c >= 0xFFF0 && c <= 0xFFFB) ||
           c == 0xFFFE || c == 0xFFFF || (c >= 0xE0000 && c <= 0xE0FFF);
}

void fal_text_add_safe(fal_text *t, const char *s, size_t n)
{
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < n;) {
        unsigned c = 0;
        const size_t len = fal_utf8_next(s + i, n - i, &c);
        if (len && !is_treacherous(c)) {
            i += len;
            continue;
        }
        fal_text_add_n(t, s + plain, i - plain);
        if (len == 0)
            fal_text_addf(t, "\\x%02x", (unsigned)(unsigned char)s[i]);
        else
            fal_text_addf(t, c < 0x100 ? "\\x%02x" : "\\u{%04X}", c);
        i += len ? len : 1;
        plain = i;
    }
    fal_text_add_n(t, s + plain, n - plain);
}

void fal_text_print(FILE *f, const char *s, size_t n)
{
    size_t plain = 0;
    for (size_t i = 0; i < n;) {
        unsigned c = 0;
        const size_t len = fal_utf8_next(s + i, n - i, &c);
        if (len && !is_treacherous(c)) {
            i += len;
            continue;
        }
        fwrite(s + plain, 1, i - plain, f);
        if (len == 0)
            fprintf(f, "\\x%02x", (unsigned)(unsigned char)s[i]);
        else
            fprintf(f, c < 0x100 ? "\\x%02x" : "\\u{%04X}", c);
        i += len ? len : 1;
        plain = i;
    }
    fwrite(s + plain, 1, n - plain, f);
}

/* ---- globs ---- */

/* One character (or one invalid byte) of a terminated string; returns its length, 0 at the end. */
static size_t take(const char *s, unsigned *c)
{
    if (!*s) return 0;
    size_t left = 1;
    while (left < 4 && s[left]) left++;
    const size_t len = fal_utf8_next(s, left, c);
    if (len) return len;
    *c = 0x110000u + (unsigned char)*s; /* beyond Unicode, so that an invalid byte equals only itself */
    return 1;
}

/* Matches c against the set that starts at p (after '['). Returns the pattern after ']', or NULL when the set never
   closes: then '[' is an ordinary character. */
static const char *match_set(const char *p, unsigned c, bool *hit)
{
    bool negated = false, found = false, first = true;
    if (*p == '!' || *p == '^') negated = true, p++;
    for (;;) {
        unsigned low = 0, high;
        const size_t n = take(p, &low);
        if (n == 0) return NULL;
        if (low == ']' && !first) break;
        first = false;
        p += n;
        high = low;
        if (p[0] == '-' && p[1] && p[1] != ']') p += 1 + take(p + 1, &high);
        if (c >= low && c <= high) found = true;
    }
    *hit = found != negated;
    return p + 1;
}

bool fal_glob_match(const char *pattern, const char *s)
{
    /* Only the last '*' can still give way: an earlier one matched as little as possible, and more would not help. */
    const char *star = NULL, *resume = NULL;
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = s;
            continue;
        }
        unsigned c = 0, want = 0;
        const size_t n = take(s, &c), m = take(pattern, &want);
        if (n == 0 && m == 0) return true;
        if (n > 0 && m > 0) {
            bool hit = want == c;
            const char *after = pattern + m;
            if (want == '?') {
                hit = true;
            } else if (want == '[') {
                bool in_set = false;
                const char *end = match_set(pattern + 1, c, &in_set);
                if (end) hit = in_set, after = end;
            }
            if (hit) {
                s += n;
                pattern = after;
                continue;
            }
        }
        if (!star || !*resume) return false;
        unsigned skipped;
        resume += take(resume, &skipped);
        s = resume;
        pattern = star;
    }
}

/* ---- did you mean ---- */

enum { NEAREST_MAX = 80 }; /* no name of ours is longer; longer text gets no suggestion */

/* Damerau-Levenshtein distance with adjacent transpositions (each substring edited at most once), or limit + 1. */
static size_t distance(const char *a, size_t n, const char *b, size_t m, size_t limit)
{
    if ((n > m ? n - m : m - n) > limit) return limit + 1;
    size_t rows[3][NEAREST_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) above[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t least = row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < d) d = above[j] + 1;
            if (row[j - 1] + 1 < d) d = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            row[j] = d;
            if (d < least) least = d;
        }
        /* a transposition may still reach back one more row */
        size_t least_above = above[0];
        for (size_t j = 1; j <= m; j++)
            if (above[j] < least_above) least_above = above[j];
        if (least > limit && least_above > limit) return limit + 1;
        size_t *const free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[m];
}

const char *fal_nearest(const char *s, const char *const *candidates, size_t n)
{
    const size_t len = strlen(s);
    if (len == 0 || len > NEAREST_MAX) return NULL;
    size_t best = len / 3 > 1 ? len / 3 : 1;
    const char *found = NULL;
    bool tied = false;
    for (size_t i = 0; i < n; i++) {
        const size_t m = strlen(candidates[i]);
        if (m > NEAREST_MAX) continue;
        const size_t d = distance(s, len, candidates[i], m, best);
        if (d > best) continue;
        if (found && d == best) {
            if (strcmp(found, candidates[i]) != 0) tied = true;
            continue;
        }
        found = candidates[i];
        best = d;
        tied = false;
    }
    return tied ? NULL : found;
}
