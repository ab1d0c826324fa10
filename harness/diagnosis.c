/* Diagnoses: collecting them per file, sorting, and printing them like a compiler. */
#include "harness/diagnosis.h"

#include "harness/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- collecting ---- */

/* The bytes of a line without its end; NULL when the place is not in the file. */
static const char *line_at(const fal_file_diagnosis *d, int line, size_t *n)
{
    if (!d->source || line < 1 || (size_t)line > d->n_lines) return NULL;
    const size_t first = d->lines[line - 1];
    size_t end = (size_t)line < d->n_lines ? d->lines[line] : d->size;
    while (end > first && (d->source[end - 1] == '\n' || d->source[end - 1] == '\r')) end--;
    *n = end - first;
    return d->source + first;
}

/* How much of a source line is shown: enough before the place to recognise it, the rest after it. */
enum { WINDOW_BEFORE = 50, WINDOW_COLUMNS = 110 };

static size_t bytes_of(const char *s, size_t len, size_t n);

/* Of a line of a megabyte only what can be shown, so that fifty diagnoses of it stay small. */
static const char *window_of(const char *line, size_t *n, int column, int *skipped)
{
    if (*n <= 4 * WINDOW_COLUMNS) return line;
    const size_t before = column > 2 * WINDOW_BEFORE ? (size_t)column - 2 * WINDOW_BEFORE : 0;
    const size_t from = bytes_of(line, *n, before),
                 bytes = bytes_of(line + from, *n - from, 2 * WINDOW_BEFORE + 4 * WINDOW_COLUMNS);
    *skipped = (int)before;
    *n = bytes;
    return line + from;
}

static bool push(fal_diagnoses *all, const fal_diagnosis *item)
{
    if (all->n == all->cap) {
        if (all->cap > SIZE_MAX / 2 / sizeof *all->items) return false;
        const size_t cap = all->cap ? all->cap * 2 : 32;
        fal_diagnosis *items = realloc(all->items, cap * sizeof *items);
        if (!items) return false;
        all->items = items;
        all->cap = cap;
    }
    all->items[all->n++] = *item;
    return true;
}

static void free_item(fal_diagnosis *item)
{
    free(item->path);
    free(item->message);
    free(item->suggestion);
    free(item->line_text);
}

static void add(fal_file_diagnosis *d, fal_rule_id rule, fal_place place, int width, const char *suggestion,
                const char *message)
{
    const fal_severity severity = fal_rule_get(rule)->severity[d->profile];
    size_t n = 0;
    int skipped = 0;
    const char *line = line_at(d, place.line, &n);
    if (line) line = window_of(line, &n, place.column, &skipped);
    fal_diagnosis item = { .path = strdup(d->path),
                           .place = place,
                           .message = message ? strdup(message) : NULL,
                           .suggestion = suggestion ? strdup(suggestion) : NULL,
                           .line_text = NULL,
                           .skipped = skipped,
                           .width = width > 1 ? width : 1,
                           .rule = fal_rule_get(rule)->code,
                           .rule_id = rule,
                           .severity = severity,
                           .is_error = severity == FAL_MISTAKE };
    if (line) {
        item.line_text = malloc(n + 1);
        if (item.line_text) {
            /* a NUL would end the text early; U+0001 is shown escaped just as visibly */
            for (size_t i = 0; i < n; i++) item.line_text[i] = line[i] ? line[i] : '\x01';
            item.line_text[n] = '\0';
        }
    }
    if (!item.path || !item.message || (suggestion && !item.suggestion) || (line && !item.line_text) ||
        !push(d->all, &item)) {
        free_item(&item);
        d->failed = true;
    }
}

void fal_diagnose(fal_file_diagnosis *d, fal_rule_id rule, fal_place place, int width, const char *suggestion,
                  const char *fmt, ...)
{
    const fal_severity severity = fal_rule_get(rule)->severity[d->profile];
    if (severity == FAL_OFF) return;
    int *const count = severity == FAL_MISTAKE ? &d->n_errors : severity == FAL_WARNING ? &d->n_warnings : &d->n_notes;
    if (*count < INT32_MAX) ++*count;
    d->all->n_of[severity]++;
    if (*count > FAL_DIAGNOSES_PER_FILE) return;

    va_list ap;
    va_start(ap, fmt);
    char *message = NULL;
    const int n = vasprintf(&message, fmt, ap);
    va_end(ap);
    if (n < 0) {
        d->failed = true;
        return;
    }
    add(d, rule, place, width, suggestion, message);
    free(message);
}

bool fal_diagnosis_is_full(const fal_file_diagnosis *d)
{
    return d->n_errors >= FAL_DIAGNOSES_PER_FILE;
}

bool fal_diagnosis_is_full_of_warnings(const fal_file_diagnosis *d)
{
    return d->n_warnings >= FAL_DIAGNOSES_PER_FILE;
}

static int beyond_cap(int n)
{
    return n > FAL_DIAGNOSES_PER_FILE ? n - FAL_DIAGNOSES_PER_FILE : 0;
}

void fal_diagnose_hidden(fal_file_diagnosis *d)
{
    const int errors = beyond_cap(d->n_errors), warnings = beyond_cap(d->n_warnings), notes = beyond_cap(d->n_notes);
    if (errors == 0 && warnings == 0 && notes == 0) return;
    char message[160];
    snprintf(message, sizeof message,
             "%d further errors, %d further warnings and %d further notes of this file are not shown", errors, warnings,
             notes);
    const fal_place end = { (int)(d->n_lines < INT32_MAX ? d->n_lines : INT32_MAX) + 1, 1 };
    add(d, errors > 0 ? FAL_RULE_FORM_024 : FAL_RULE_FORM_025, end, 1, NULL, message);
}

/* ---- sorting and freeing ---- */

typedef struct {
    fal_diagnosis item;
    size_t order;
} ordered;

static int compare(const void *pa, const void *pb)
{
    const ordered *a = pa, *b = pb;
    const int by_path = strcmp(a->item.path, b->item.path);
    if (by_path != 0) return by_path;
    if (a->item.place.line != b->item.place.line) return a->item.place.line < b->item.place.line ? -1 : 1;
    if (a->item.place.column != b->item.place.column) return a->item.place.column < b->item.place.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

bool fal_diagnoses_sort(fal_diagnoses *d)
{
    if (d->n < 2) return true;
    ordered *list = calloc(d->n, sizeof *list);
    if (!list) return false;
    for (size_t i = 0; i < d->n; i++) list[i] = (ordered){ d->items[i], i };
    qsort(list, d->n, sizeof *list, compare);
    for (size_t i = 0; i < d->n; i++) d->items[i] = list[i].item;
    free(list);
    return true;
}

void fal_diagnoses_free(fal_diagnoses *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->n; i++) free_item(&d->items[i]);
    free(d->items);
    *d = (fal_diagnoses){ 0 };
}

/* ---- printing ---- */

typedef struct {
    const char *bold, *red, *yellow, *blue, *off;
} colours;

/* Bytes of the first n characters (invalid bytes count as one). */
static size_t bytes_of(const char *s, size_t len, size_t n)
{
    size_t i = 0;
    for (; n > 0 && i < len; n--) {
        unsigned c;
        const size_t step = fal_utf8_next(s + i, len - i, &c);
        i += step ? step : 1;
    }
    return i;
}

/* The shown form of s[0..n): tabs as one space (the caret line could not follow a tab stop), the rest escaped. */
static void show(fal_text *t, const char *s, size_t n)
{
    for (size_t i = 0, start = 0; i <= n; i++) {
        if (i < n && s[i] != '\t') continue;
        fal_text_add_safe(t, s + start, i - start);
        if (i < n) fal_text_add(t, " ");
        start = i + 1;
    }
}

static void repeat(FILE *f, char c, int n)
{
    for (int i = 0; i < n; i++) fputc(c, f);
}

static const char *colour_of(const fal_diagnosis *d, const colours *c)
{
    return d->severity == FAL_MISTAKE ? c->red : d->severity == FAL_WARNING ? c->yellow : c->blue;
}

static void print_source(const fal_diagnosis *d, const colours *c, FILE *f)
{
    const char *line = d->line_text;
    const size_t len = strlen(line);
    const size_t column = d->place.column - d->skipped > 1 ? (size_t)(d->place.column - d->skipped) - 1 : 0;
    const size_t left = column > WINDOW_BEFORE ? column - WINDOW_BEFORE : 0;
    const size_t from = bytes_of(line, len, left);
    const size_t at = from + bytes_of(line + from, len - from, column - left);
    const size_t until = from + bytes_of(line + from, len - from, WINDOW_COLUMNS);
    size_t mark_end = at + bytes_of(line + at, len - at, (size_t)d->width);
    if (mark_end > until) mark_end = until;

    fal_text before = { 0 }, marked = { 0 }, after = { 0 };
    if (from > 0) fal_text_add(&before, "...");
    show(&before, line + from, at - from);
    show(&marked, line + at, mark_end - at);
    show(&after, line + mark_end, until - mark_end);
    if (until < len) fal_text_add(&after, "...");
    fprintf(f, "%s%5d |%s %s%s%s\n", c->blue, d->place.line, c->off, fal_text_str(&before), fal_text_str(&marked),
            fal_text_str(&after));

    fprintf(f, "%s      |%s ", c->blue, c->off);
    repeat(f, ' ', fal_text_width(fal_text_str(&before), before.len));
    const int width = fal_text_width(fal_text_str(&marked), marked.len);
    fputs(colour_of(d, c), f);
    repeat(f, '^', width > 1 ? width : 1);
    if (d->suggestion) {
        fputc(' ', f);
        fal_text_print(f, d->suggestion, strlen(d->suggestion));
    }
    fprintf(f, "%s\n", c->off);
    fal_text_free(&before);
    fal_text_free(&marked);
    fal_text_free(&after);
}

void fal_diagnosis_print(const fal_diagnosis *item, bool with_source, bool colour, FILE *f)
{
    static const colours none = { "", "", "", "", "" };
    static const colours ansi = { "\x1b[1m", "\x1b[1;31m", "\x1b[1;33m", "\x1b[34m", "\x1b[0m" };
    const colours *c = colour ? &ansi : &none;
    fputs(c->bold, f);
    fal_text_print(f, item->path, strlen(item->path));
    if (item->place.line > 0) fprintf(f, ":%d:%d", item->place.line, item->place.column);
    fprintf(f, ": %s%s%s: ", colour_of(item, c), fal_severity_name(item->severity), c->off);
    fal_text_print(f, item->message, strlen(item->message));
    fprintf(f, " [%s]\n", item->rule);
    if (item->line_text) {
        print_source(item, c, f);
    } else if (item->suggestion) {
        fputs("      = ", f);
        fal_text_print(f, item->suggestion, strlen(item->suggestion));
        fputc('\n', f);
    }
    if (with_source)
        fprintf(f, "      %s=%s rule of %s; 'falsify explain %s' says why\n", c->blue, c->off,
                fal_rule_get(item->rule_id)->source, item->rule);
}

void fal_diagnoses_print(const fal_diagnoses *d, bool colour, FILE *f)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].severity != FAL_NOTE) fal_diagnosis_print(&d->items[i], false, colour, f);
}
