/* YAML for contracts: a strict subset read into an immutable tree in which every node knows its place. */
#ifndef FAL_YAML_H
#define FAL_YAML_H

#include "harness/arena.h"
#include "harness/diagnosis.h"

/* Limits of the subset. Real contracts stay below 100 KB, depth 7 and 6.5 KB a scalar; beyond these lies only abuse. */
enum {
    FAL_YAML_MAX_BYTES = 2 * 1024 * 1024,
    FAL_YAML_MAX_DEPTH = 32, /* also keeps the parser library, quadratic in depth, from being slow */
    FAL_YAML_MAX_SCALAR = 64 * 1024,
    FAL_YAML_MAX_EVENTS = 60 * 1000 /* the largest contract known has 2,100 */
};

/* Rules of form have codes FORM-001 ...; harness/rules_form.def lists them. */

typedef enum {
    FAL_YAML_SCALAR,
    FAL_YAML_MAP,
    FAL_YAML_LIST,
    FAL_YAML_BROKEN /* broke a rule that is already diagnosed; whoever meets it says nothing more */
} fal_yaml_kind;

/* A node. Children are a linked list in file order; in a map each child has a key. */
typedef struct fal_yaml_node fal_yaml_node;
struct fal_yaml_node {
    fal_yaml_kind kind;
    bool plain; /* scalar without quotes and not a block */
    fal_place place;
    int width;        /* characters on its first line */
    const char *text; /* scalar, terminated, without inner NUL; else NULL */
    size_t len;
    const fal_yaml_node *key; /* of this child in its map, always a scalar; else NULL */
    const fal_yaml_node *first, *next;
    size_t n; /* children */
};

typedef struct {
    const char *source;
    size_t size;
    const fal_yaml_node *root; /* NULL when the form is broken beyond a tree */
} fal_yaml;

/* what    Reads a file and parses it. Everything wrong goes to d (whose source fields it fills); *out is always set on
           FAL_OK, and a tree may exist although errors were diagnosed.
   refuses nothing but lack of memory (FAL_ERR_MEMORY)
   owns    nothing: all lives in the arena */
fal_status fal_yaml_load(const char *path, fal_arena *a, fal_file_diagnosis *d, fal_yaml *out, fal_error *err);
/* what    The same for n bytes in memory, which must outlive the tree. */
fal_status fal_yaml_parse(const char *bytes, size_t n, fal_arena *a, fal_file_diagnosis *d, fal_yaml *out,
                          fal_error *err);

/* what    The child of a map under that key, or NULL (also when node is NULL or no map). */
const fal_yaml_node *fal_yaml_get(const fal_yaml_node *node, const char *key);
/* what    True and *out for a plain scalar of the form -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][-+]?[0-9]+)? in the range of a
           double (an underflow is refused too). Independent of the locale. */
bool fal_yaml_number(const fal_yaml_node *node, double *out);
/* what    True and *out for a plain scalar that is a decimal integer between low and high. */
bool fal_yaml_integer(const fal_yaml_node *node, int64_t low, int64_t high, int64_t *out);
/* what    True when other readers of YAML do not take a plain scalar for the text that it is here (yes, 1:30, 017,
           0x1f, 1_000, .inf, 1.8, a date), or for the number (YAML 1.1 wants a dot and a signed exponent: 1.0e-5). */
bool fal_yaml_text_is_ambiguous(const fal_yaml_node *node);
bool fal_yaml_number_is_ambiguous(const fal_yaml_node *node);

/* what    Checks encoding and characters before any parsing and finds the lines; false when parsing makes no sense. */
bool fal_yaml_scan_source(const char *bytes, size_t n, fal_arena *a, fal_file_diagnosis *d);
/* what    True for bidirectional controls, which make shown text differ from read text. */
bool fal_yaml_is_bidi(unsigned code_point);

#endif
