/* Key tables: what a map of a contract may hold, read from the YAML tree into a struct by one walker. */
#ifndef FAL_CONTRACT_KEYS_H
#define FAL_CONTRACT_KEYS_H

#include "harness/yaml.h"

/* Rules of content have codes CON-001 ...; harness/rules_contract.def lists them. */

/* One contract file while it is being read. */
typedef struct {
    fal_arena *arena;
    fal_file_diagnosis d;
    fal_yaml yaml;
    fal_contract contract;
    /* the maps that contract.obligations, .stages and .falsifiers came from, in parallel */
    const fal_yaml_node **obligation_nodes, **stage_nodes, **falsifier_nodes;
} fal_contract_file;

typedef enum {
    FAL_KEY_TEXT,   /* const char * */
    FAL_KEY_TEXTS,  /* a list of text: const char *const * and int */
    FAL_KEY_NUMBER, /* double */
    FAL_KEY_COUNT,  /* int >= 1 */
    FAL_KEY_BOOL,   /* bool */
    FAL_KEY_MAP,    /* only its node is handed out */
    FAL_KEY_LIST    /* the same */
} fal_key_kind;

/* The form of a name. */
typedef struct {
    const char *expected; /* for the message: "expected ..." */
    const char *pattern;  /* the same as a regular expression, for the schema */
    bool (*fits)(const char *s);
} fal_form;
extern const fal_form fal_form_falsifier_id, fal_form_id, fal_form_short_id, fal_form_name, fal_form_prompt,
    fal_form_version, fal_form_date, fal_form_oracle_prompt, fal_form_precondition;

#define FAL_NOT_STORED ((size_t)-1)
#define FAL_N(array)   (sizeof(array) / sizeof((array)[0]))
#define FAL_AT(node)   (node)->place, (node)->width

/* One row of a key table. */
typedef struct {
    const char *name;
    fal_key_kind kind;
    bool required;
    size_t at, n_at;            /* offsets in the struct, or FAL_NOT_STORED; n_at is the int count of TEXTS */
    const char *const *choices; /* NULL-terminated list of allowed values, or NULL */
    const fal_form *form;       /* or NULL */
    bool distinct;              /* TEXTS: no entry twice */
} fal_key;

/* A kind of map of the schema with its table; contract_schema.def says what each key means and what stands under it. */
typedef struct {
    const char *name;
    const fal_key *keys;
    size_t n_keys;
} fal_object;
extern const fal_object fal_object_contract, fal_object_metadata, fal_object_amendment, fal_object_equation,
    fal_object_obligation, fal_object_stage, fal_object_option, fal_object_prompt, fal_object_falsifier,
    fal_object_waiver, fal_object_gate, fal_object_check, fal_object_floor, fal_object_limit;

/* what    Reads node, which must be a map, by its table: stores scalars and lists of text into the struct at `into`
           (NULL when nothing is stored) and the node of every key that is there into found[] (as long as the table).
           Diagnoses unknown, missing, empty and ill-formed keys. what: "a falsifier", for messages.
           False when node is no map. */
bool fal_keys_read(fal_contract_file *f, const fal_yaml_node *node, const char *what, const fal_key *keys,
                   size_t n_keys, void *into, const fal_yaml_node **found);

/* what    The text of a scalar that may stand under `name`, or NULL after a diagnosis. */
const char *fal_text_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, const char *const *choices,
                          const fal_form *form);
/* what    True when node is of that kind, else a diagnosis (none for a broken node). */
bool fal_node_is(fal_contract_file *f, const fal_yaml_node *node, fal_yaml_kind kind, const char *name);
/* what    A number of the one grammar, or false after a diagnosis. */
bool fal_number_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, double *out);
bool fal_bool_read(fal_contract_file *f, const fal_yaml_node *node, const char *name, bool *out);

/* what    Text from the file in a form that is safe in a message, shortened; in the arena, never NULL. */
const char *fal_shown(fal_contract_file *f, const char *s);
/* what    "did you mean 'x'?", else "one of: a, b, c"; in the arena; NULL when there is nothing to suggest. */
const char *fal_suggest(fal_contract_file *f, const char *s, const char *const *names, size_t n);
size_t fal_count_names(const char *const *names); /* of a NULL-terminated list */

/* ---- the parts of a contract ---- */

/* what    Reads the tree into f->contract; contract_read.c */
void fal_contract_read(fal_contract_file *f);
/* what    Judges what no table can say: history, gate, stages, negative claims, bases; contract_rules.c */
void fal_contract_judge(fal_contract_file *f);
/* what    Reads `waivers`; the falsifiers must have been read; contract_waivers.c */
void fal_waivers_read(fal_contract_file *f, const fal_yaml_node *list);
/* what    Reads a limit without its basis; contract_check.c */
void fal_limit_read(fal_contract_file *f, const fal_yaml_node *node, fal_limit *out);
/* what    False after a diagnosis when text that should be a reason is a placeholder; contract_rules.c */
bool fal_basis_is_reason(fal_contract_file *f, const fal_yaml_node *node, const char *name);
/* what    Reads one entry of `check`; false when it is no map; contract_check.c */
bool fal_check_read(fal_contract_file *f, const fal_yaml_node *node, fal_check *out);
/* what    Reads `shapes`, `then` and `with` of a check; with may be NULL where the kind of observation needs no key of
           it; contract_shape.c */
void fal_shapes_read(fal_contract_file *f, const fal_yaml_node *node, const char *op, fal_check *out);
void fal_then_read(fal_contract_file *f, const fal_yaml_node *node, const char *op, fal_check *out);
void fal_with_read(fal_contract_file *f, const fal_yaml_node *check, const fal_yaml_node *with, const char *observe,
                   fal_check *out);
/* what    Names that a map of `shapes` (of any op), or of `with` and `then`, may hold; sorted, static. */
const char *const *fal_param_names(bool shapes, size_t *n);
/* what    Resolves references within and between the files, which are sorted by stem; contract_refs.c */
fal_status fal_contract_resolve(fal_contract_file *const *files, int n, fal_error *err);

/* Types of obligations, of our contracts and of foreign ones; NULL-terminated. */
extern const char *const fal_obligation_types[];

#endif
