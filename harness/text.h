/* Text from anywhere made safe to print, growing strings, globs, and the nearest name for "did you mean". */
#ifndef FAL_TEXT_H
#define FAL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A growing, always terminated string; zero-initialise. When memory runs out it sets failed and stops growing. */
typedef struct {
    char *data; /* NULL while empty */
    size_t len, cap;
    bool failed;
} fal_text;

void fal_text_add(fal_text *t, const char *s);                 /* appends s; NULL is empty */
void fal_text_add_n(fal_text *t, const char *s, size_t n);     /* appends n bytes */
void fal_text_addf(fal_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fal_text_free(fal_text *t);                               /* frees and zeroes */
const char *fal_text_str(const fal_text *t);                   /* never NULL */

/* what    Writes n bytes of untrusted text to f for a terminal: C0, DEL, C1, bidi controls, zero-width characters
           and invalid UTF-8 appear as \xNN or \u{NNNN}; all else passes through. */
void fal_text_print(FILE *f, const char *s, size_t n);
/* what    The same into a growing string. */
void fal_text_add_safe(fal_text *t, const char *s, size_t n);

/* what    Bytes of the UTF-8 character at s (1..4) and its code point, or 0 when s[0..n) does not start with a
           valid one (overlong, surrogate and > U+10FFFF are invalid). */
size_t fal_utf8_next(const char *s, size_t n, unsigned *code_point);
/* what    Columns that n bytes of UTF-8 take on a terminal (wide characters 2, combining marks 0, invalid bytes 1). */
int fal_text_width(const char *s, size_t n);

/* what    Shell-style glob over a whole string: '*', '?' and [set]; no special treatment of '/'. Linear memory, no
           exponential blow-up. */
bool fal_glob_match(const char *pattern, const char *s);

/* what    The candidate nearest to s by Damerau-Levenshtein distance, when it is the only nearest one and the
           distance is <= max(1, strlen(s)/3); otherwise NULL. candidates: n strings. */
const char *fal_nearest(const char *s, const char *const *candidates, size_t n);

#endif
