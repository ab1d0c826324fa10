/* The difference between two versions of a contract, by section, with what it does to the claims: looser or tighter. */
#ifndef FAL_CONTRACT_DIFF_H
#define FAL_CONTRACT_DIFF_H

#include "harness/yaml.h"

typedef enum { FAL_CHANGE_ADDED, FAL_CHANGE_REMOVED, FAL_CHANGE_CHANGED } fal_change_kind;

typedef enum {
    FAL_EFFECT_NONE,      /* prose, places, notes */
    FAL_EFFECT_TIGHTENED, /* more can be refuted */
    FAL_EFFECT_UNORDERED, /* the claim or the way it is judged is another: neither looser nor tighter by form */
    FAL_EFFECT_LOOSENED   /* less can be refuted: a wider limit, an attempt, domain or obligation less */
} fal_effect;

typedef struct {
    fal_change_kind kind;
    fal_effect effect;
    const char *section;   /* top-level key: "falsification_tests" */
    const char *path;      /* below it: "FALSIFY-RN-001/check/finite/limit/max" */
    const char *was, *now; /* shortened, untrusted; NULL where there is none */
    const char *note;      /* why it has that effect; NULL for FAL_EFFECT_NONE */
} fal_change;

typedef struct {
    fal_change *items;
    int n, cap;
    int by[FAL_EFFECT_LOOSENED + 1];
    bool failed; /* memory ran out */
} fal_changes;

/* what    Compares two trees and adds every difference to *out, in the order of the newer one. Lists of maps are matched by
           id, name or version; other lists as sets, whose order matters only for prompts and tokens. White space in
           paragraphs counts once. Both trees must be maps. Texts live in the arena. */
void fal_contract_diff(const fal_yaml_node *was, const fal_yaml_node *now, fal_arena *arena, fal_changes *out);
void fal_changes_free(fal_changes *c);

const char *fal_effect_name(fal_effect e);

#endif
