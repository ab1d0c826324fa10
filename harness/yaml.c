/* YAML for contracts: libyaml's events turned into an immutable tree, and the rules of form that libyaml lacks. */
#include "harness/yaml.h"

#include "harness/text.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* A collection that is still open. */
typedef struct {
    fal_yaml_node *node, *last; /* last: its newest child */
    const fal_yaml_node *key;   /* in a map: the key that waits for its value */
} level;

typedef struct {
    fal_arena *arena;
    fal_file_diagnosis *d;
    level stack[FAL_YAML_MAX_DEPTH];
    int depth;
    fal_yaml_node *root;
    int skip; /* open collections inside something that is passed over (a key that is not a scalar) */
} builder;

/* ---- places ---- */

/* libyaml's marks count characters, and its lines are ours: the scan has refused every other line break. */
static fal_place place_of(const yaml_mark_t *mark)
{
    return (fal_place){ (int)mark->line + 1, (int)mark->column + 1 };
}

/* Characters between two marks, or up to the end of the first line when they are on different lines. */
static int width_of(const builder *b, const yaml_mark_t *start, const yaml_mark_t *end)
{
    if (end->line == start->line) return end->column > start->column ? (int)(end->column - start->column) : 1;
    if (start->line >= b->d->n_lines) return 1;
    const char *s = b->d->source + b->d->lines[start->line];
    size_t n = start->line + 1 < b->d->n_lines ? b->d->lines[start->line + 1] - b->d->lines[start->line]
                                               : b->d->size - b->d->lines[start->line];
    while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == '\r' || s[n - 1] == ' ')) n--;
    size_t characters = 0;
    for (size_t i = 0; i < n; i++) characters += ((unsigned char)s[i] & 0xC0) != 0x80;
    return characters > start->column ? (int)(characters - start->column) : 1;
}

/* ---- rules about one event ---- */

static void refuse_properties(const builder *b, const yaml_event_t *e, const yaml_char_t *anchor,
                              const yaml_char_t *tag)
{
    if (anchor)
        fal_diagnose(b->d, FAL_RULE_FORM_011, place_of(&e->start_mark), 1,
                     "write the text out where it is needed", "anchors ('&name') are not allowed");
    if (tag)
        fal_diagnose(b->d, FAL_RULE_FORM_014, place_of(&e->start_mark), 1,
                     "the schema says what a value is; drop the tag", "tags ('!type') are not allowed");
}

/* Characters that only an escape in double quotes can bring in; bidi controls in the file are diagnosed already. */
static bool has_bad_character(const builder *b, const yaml_event_t *e, const char *text, size_t n)
{
    const bool escaped = e->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    for (size_t i = 0; i < n;) {
        unsigned c = 0;
        const size_t len = fal_utf8_next(text + i, n - i, &c);
        const bool control = len == 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c <= 0x9F) ||
                             c == 0x2028 || c == 0x2029 || c == 0xFFFE || c == 0xFFFF;
        if (control) {
            fal_diagnose(b->d, FAL_RULE_FORM_006, place_of(&e->start_mark),
                         width_of(b, &e->start_mark, &e->end_mark), NULL,
                         "text holds the control character U+%04X, which would vanish or act when printed", c);
            return true;
        }
        if (escaped && fal_yaml_is_bidi(c)) {
            fal_diagnose(b->d, FAL_RULE_FORM_007, place_of(&e->start_mark),
                         width_of(b, &e->start_mark, &e->end_mark), NULL, "text holds the bidirectional control U+%04X",
                         c);
            return true;
        }
        i += len;
    }
    return false;
}

static bool is_invisible(unsigned c)
{
    return c == 0xAD || c == 0x34F || c == 0x115F || c == 0x1160 || (c >= 0x180B && c <= 0x180E) ||
           (c >= 0x200B && c <= 0x200D) || (c >= 0x2060 && c <= 0x206F) || c == 0x3164 ||
           (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF || c == 0xFFA0 || c >= 0xE0000 || c == '\n' || c == '\t' ||
           c == 0xA0;
}

static void check_key(const builder *b, const fal_yaml_node *key)
{
    if (key->plain && strcmp(key->text, "<<") == 0)
        fal_diagnose(b->d, FAL_RULE_FORM_013, key->place, key->width, "write the keys out",
                     "merge keys ('<<') are not allowed");
    for (size_t i = 0; i < key->len;) {
        unsigned c = 0;
        const size_t len = fal_utf8_next(key->text + i, key->len - i, &c);
        if (is_invisible(c) || (c == ' ' && (i == 0 || i + 1 == key->len))) {
            fal_diagnose(b->d, FAL_RULE_FORM_008, key->place, key->width, NULL,
                         "key holds the invisible character U+%04X", c);
            return;
        }
        i += len ? len : 1;
    }
}

/* ---- duplicate keys ---- */

static int compare_keys(const void *pa, const void *pb)
{
    const fal_yaml_node *a = *(const fal_yaml_node *const *)pa, *b = *(const fal_yaml_node *const *)pb;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    const int by_text = memcmp(a->text, b->text, a->len);
    if (by_text != 0) return by_text;
    if (a->place.line != b->place.line) return a->place.line < b->place.line ? -1 : 1;
    return a->place.column < b->place.column ? -1 : a->place.column > b->place.column;
}

/* pv gave this rule of form a code of its own. */
static fal_rule_id duplicate_rule(const builder *b)
{
    return b->d->profile == FAL_PROFILE_PV ? FAL_RULE_SCHEMA_020 : FAL_RULE_FORM_015;
}

/* By sorting, so that no choice of keys can make it slow. */
static void refuse_duplicates(const builder *b, const fal_yaml_node *map)
{
    if (map->n < 2) return;
    const fal_yaml_node **keys = calloc(map->n, sizeof *keys);
    if (!keys) {
        b->d->failed = true;
        return;
    }
    size_t n = 0;
    for (const fal_yaml_node *c = map->first; c; c = c->next)
        if (c->key->kind != FAL_YAML_BROKEN) keys[n++] = c->key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1, first = 0; i < n; i++) {
        const fal_yaml_node *key = keys[i], *before = keys[first];
        if (key->len != before->len || memcmp(key->text, before->text, key->len) != 0) {
            first = i;
            continue;
        }
        if (fal_diagnosis_is_full(b->d)) {
            fal_diagnose(b->d, duplicate_rule(b), key->place, key->width, NULL, "duplicate key");
            continue;
        }
        const size_t from = b->d->lines[before->place.line - 1];
        const char *line = b->d->source + from;
        const char *end = memchr(line, '\n', b->d->size - from);
        size_t len = end ? (size_t)(end - line) : b->d->size - from;
        fal_text name = { 0 }, note = { 0 };
        fal_text_add_safe(&name, key->text, key->len < 80 ? key->len : 80);
        fal_text_addf(&note, "the first one is line %d: ", before->place.line);
        while (len > 0 && (*line == ' ' || line[len - 1] == '\r')) *line == ' ' ? (line++, len--) : len--;
        fal_text_add_safe(&note, line, len < 60 ? len : 60);
        fal_diagnose(b->d, duplicate_rule(b), key->place, key->width, fal_text_str(&note),
                     "duplicate key '%s': line %d and line %d", fal_text_str(&name), before->place.line,
                     key->place.line);
        if (name.failed || note.failed) b->d->failed = true;
        fal_text_free(&name);
        fal_text_free(&note);
    }
    free(keys);
}

/* ---- building ---- */

static fal_yaml_node *make_node(builder *b, fal_yaml_kind kind, const yaml_event_t *e)
{
    fal_yaml_node *node = fal_arena_take(b->arena, 1, sizeof *node);
    if (!node) return NULL;
    node->kind = kind;
    node->place = place_of(&e->start_mark);
    node->width = kind == FAL_YAML_SCALAR ? width_of(b, &e->start_mark, &e->end_mark) : 1;
    return node;
}

/* Whether the next node is a key. */
static bool awaits_key(const builder *b)
{
    return b->depth > 0 && b->stack[b->depth - 1].node->kind == FAL_YAML_MAP && !b->stack[b->depth - 1].key;
}

/* Puts a finished or just opened node where it belongs. */
static void attach(builder *b, fal_yaml_node *node)
{
    if (b->depth == 0) {
        b->root = node;
        return;
    }
    level *top = &b->stack[b->depth - 1];
    if (awaits_key(b)) {
        check_key(b, node);
        top->key = node;
        return;
    }
    node->key = top->key;
    top->key = NULL;
    if (top->last)
        top->last->next = node;
    else
        top->node->first = node;
    top->last = node;
    top->node->n++;
}

/* A stand-in for what was refused; as a key it is an empty scalar, so that the map stays a map. */
static void attach_broken(builder *b, const yaml_event_t *e)
{
    fal_yaml_node *node = make_node(b, awaits_key(b) ? FAL_YAML_SCALAR : FAL_YAML_BROKEN, e);
    if (!node) return;
    if (node->kind == FAL_YAML_BROKEN) {
        attach(b, node);
        return;
    }
    node->kind = FAL_YAML_BROKEN;
    node->text = "";
    b->stack[b->depth - 1].key = node;
}

static void add_scalar(builder *b, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    const size_t n = e->data.scalar.length;
    refuse_properties(b, e, e->data.scalar.anchor, e->data.scalar.tag);
    if (n > FAL_YAML_MAX_SCALAR) {
        fal_diagnose(b->d, FAL_RULE_FORM_019, place_of(&e->start_mark), 1, NULL,
                     "text has %zu bytes, at most %d are allowed", n, FAL_YAML_MAX_SCALAR);
        attach_broken(b, e);
        return;
    }
    if (has_bad_character(b, e, text, n)) {
        attach_broken(b, e);
        return;
    }
    fal_yaml_node *node = make_node(b, FAL_YAML_SCALAR, e);
    if (!node) return;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = fal_arena_copy(b->arena, text, n);
    node->len = n;
    if (node->text) attach(b, node);
}

/* False when parsing must end. */
static bool open_collection(builder *b, fal_yaml_kind kind, const yaml_event_t *e)
{
    if (b->depth == FAL_YAML_MAX_DEPTH) {
        fal_diagnose(b->d, FAL_RULE_FORM_018, place_of(&e->start_mark), 1, NULL, "nested more than %d deep",
                     FAL_YAML_MAX_DEPTH);
        return false;
    }
    fal_yaml_node *node = make_node(b, kind, e);
    if (!node) return false;
    attach(b, node);
    b->stack[b->depth++] = (level){ .node = node };
    return true;
}

static void close_collection(builder *b)
{
    const fal_yaml_node *node = b->stack[--b->depth].node;
    if (node->kind == FAL_YAML_MAP) refuse_duplicates(b, node);
}

/* A key that is a collection: said once, then passed over with everything in it. False when parsing must end. */
static bool skip_event(builder *b, const yaml_event_t *e, bool opens, bool closes)
{
    if (opens) {
        if (b->skip == 0)
            fal_diagnose(b->d, FAL_RULE_FORM_021, place_of(&e->start_mark), 1, NULL, "a key must be plain text");
        if (++b->skip + b->depth > FAL_YAML_MAX_DEPTH) {
            fal_diagnose(b->d, FAL_RULE_FORM_018, place_of(&e->start_mark), 1, NULL, "nested more than %d deep",
                         FAL_YAML_MAX_DEPTH);
            return false;
        }
    }
    if (closes && --b->skip == 0) attach_broken(b, e);
    return true;
}

/* Takes one event; false when parsing must end. */
static bool take_event(builder *b, const yaml_event_t *e)
{
    const bool opens = e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
    const bool closes = e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT;
    if (b->skip > 0 || (opens && awaits_key(b))) return skip_event(b, e, opens, closes);
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (!b->root) return true;
        fal_diagnose(b->d, FAL_RULE_FORM_016, place_of(&e->start_mark), 1, "one file, one contract",
                     "a second document starts here");
        return false;
    case YAML_ALIAS_EVENT:
        fal_diagnose(b->d, FAL_RULE_FORM_012, place_of(&e->start_mark), width_of(b, &e->start_mark, &e->end_mark),
                     "write the text out", "aliases ('*name') are not allowed");
        attach_broken(b, e);
        return true;
    case YAML_SCALAR_EVENT: add_scalar(b, e); return true;
    case YAML_SEQUENCE_START_EVENT:
        refuse_properties(b, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
        return open_collection(b, FAL_YAML_LIST, e);
    case YAML_MAPPING_START_EVENT:
        refuse_properties(b, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
        return open_collection(b, FAL_YAML_MAP, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: close_collection(b); return true;
    default: return true;
    }
}

static void diagnose_parser(const builder *b, const yaml_parser_t *p)
{
    const yaml_mark_t *mark = &p->problem_mark;
    const fal_place place = place_of(mark);
    const char *hint = NULL;
    if (mark->line < b->d->n_lines) {
        const size_t at = b->d->lines[mark->line];
        size_t i = at;
        while (i < b->d->size && b->d->source[i] == ' ') i++;
        if (i < b->d->size && b->d->source[i] == '\t') hint = "indent with spaces, not with tabs";
    }
    const char *problem = p->problem ? p->problem : "unreadable";
    if (p->context)
        fal_diagnose(b->d, FAL_RULE_FORM_010, place, 1, hint, "not YAML: %s (%s)", problem, p->context);
    else
        fal_diagnose(b->d, FAL_RULE_FORM_010, place, 1, hint, "not YAML: %s", problem);
}

fal_status fal_yaml_parse(const char *bytes, size_t n, fal_arena *a, fal_file_diagnosis *d, fal_yaml *out,
                          fal_error *err)
{
    *out = (fal_yaml){ .source = bytes, .size = n };
    const fal_place start = { 1, 1 };
    yaml_parser_t parser;
    builder b = { .arena = a, .d = d };
    bool whole = false, done = false;

    if (n > FAL_YAML_MAX_BYTES) {
        fal_diagnose(d, FAL_RULE_FORM_002, (fal_place){ 0, 0 }, 1, "split the contract",
                     "text has %zu bytes, at most %d are allowed", n, FAL_YAML_MAX_BYTES);
        done = true;
    } else if (!fal_yaml_scan_source(bytes, n, a, d)) {
        done = true;
    } else if (!yaml_parser_initialize(&parser)) {
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory while parsing", d->path);
    }
    if (!done) {
        yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, n);
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
        for (int events = 0; !done; events++) {
            yaml_event_t e;
            if (!yaml_parser_parse(&parser, &e)) {
                if (parser.error == YAML_MEMORY_ERROR)
                    a->failed = true;
                else
                    diagnose_parser(&b, &parser);
                break;
            }
            if (events > FAL_YAML_MAX_EVENTS) {
                fal_diagnose(d, FAL_RULE_FORM_020, place_of(&e.start_mark), 1, "split the contract",
                             "more than %d keys, values and brackets", FAL_YAML_MAX_EVENTS);
                done = true;
            } else if (e.type == YAML_STREAM_END_EVENT) {
                whole = done = true;
            } else {
                done = !take_event(&b, &e) || a->failed;
            }
            yaml_event_delete(&e);
        }
        yaml_parser_delete(&parser);
        if (whole && !b.root)
            fal_diagnose(d, FAL_RULE_FORM_017, start, 1, NULL, "file holds no document");
        else if (whole)
            out->root = b.root;
    }
    if (a->failed || d->failed) return fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory while parsing", d->path);
    return FAL_OK;
}

/* ---- reading scalars ---- */

const fal_yaml_node *fal_yaml_get(const fal_yaml_node *node, const char *key)
{
    if (!node || node->kind != FAL_YAML_MAP) return NULL;
    for (const fal_yaml_node *c = node->first; c; c = c->next)
        if (strcmp(c->key->text, key) == 0) return c;
    return NULL;
}

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* Length of the integer part -?(0|[1-9][0-9]*) at s, or 0. */
static size_t integer_part(const char *s)
{
    const size_t sign = *s == '-';
    const size_t n = digits(s + sign);
    if (n == 0 || (n > 1 && s[sign] == '0')) return 0;
    return sign + n;
}

static bool is_number(const char *s)
{
    const size_t n = integer_part(s);
    if (n == 0) return false;
    s += n;
    if (*s == '.') {
        const size_t fraction = digits(s + 1);
        if (fraction == 0) return false;
        s += 1 + fraction;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '+' || *s == '-') s++;
        const size_t exponent = digits(s);
        if (exponent == 0) return false;
        s += exponent;
    }
    return *s == '\0';
}

bool fal_yaml_number(const fal_yaml_node *node, double *out)
{
    if (!node || node->kind != FAL_YAML_SCALAR || !node->plain || !is_number(node->text)) return false;
    const locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) return false;
    errno = 0;
    const double value = strtod_l(node->text, NULL, c_locale);
    const bool in_range = errno != ERANGE && isfinite(value);
    freelocale(c_locale);
    if (in_range) *out = value;
    return in_range;
}

bool fal_yaml_integer(const fal_yaml_node *node, int64_t low, int64_t high, int64_t *out)
{
    if (!node || node->kind != FAL_YAML_SCALAR || !node->plain) return false;
    const size_t n = integer_part(node->text);
    if (n == 0 || node->text[n] != '\0') return false;
    errno = 0;
    const long long value = strtoll(node->text, NULL, 10);
    if (errno == ERANGE || value < low || value > high) return false;
    *out = value;
    return true;
}

bool fal_yaml_text_is_ambiguous(const fal_yaml_node *node)
{
    static const char *const words[] = { "yes",   "no",   "on", "off",  "y",     "n",   "true",
                                         "false", "null", "~",  ".inf", "-.inf", ".nan" };
    if (!node || node->kind != FAL_YAML_SCALAR || !node->plain) return false;
    const char *s = node->text;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(s, words[i]) == 0) return true;
    /* digits and number punctuation alone, with at most one dot: 017, 1_000, 1:30, 0x1f, 2026-01-01, 1.8, 1e-5 */
    if (*s == '-' || *s == '+') s++;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'o'))
        return s[2] != '\0' && strspn(s + 2, "0123456789abcdefABCDEF_") == strlen(s + 2);
    if (digits(s) == 0 && !(*s == '.' && digits(s + 1) > 0)) return false;
    const char *dot = strchr(s, '.');
    return strspn(s, "0123456789-+_:.eE") == strlen(s) && !(dot && strchr(dot + 1, '.'));
}

bool fal_yaml_number_is_ambiguous(const fal_yaml_node *node)
{
    if (!node || node->kind != FAL_YAML_SCALAR || !node->plain) return false;
    const char *e = strpbrk(node->text, "eE");
    return e && is_number(node->text) && (!strchr(node->text, '.') || (e[1] != '-' && e[1] != '+'));
}
