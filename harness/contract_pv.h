/* Contracts by the rules of aprender's pv: a view of the tree in both generations of its schema. */
#ifndef FAL_CONTRACT_PV_H
#define FAL_CONTRACT_PV_H

#include "harness/contract_keys.h"

typedef struct {
    const fal_yaml_node **items; /* maps only */
    size_t n;
} fal_nodes;

/* A contract as pv sees it; every list is there, empty where the file has none. Nodes are of the file's tree. */
typedef struct {
    fal_contract_file *f;
    const fal_yaml_node *root, *meta;
    const char *kind; /* effective: kernel unless metadata says otherwise; registry: true makes a kernel a registry */
    bool kind_declared, registry;
    fal_nodes equations; /* of a map or of a list */
    fal_nodes obligations, tests, kani, stages, amendments;
    fal_nodes legacy; /* rows of `falsification` and `falsification_conditions` */
} fal_pv;

/* what    Makes the view of a tree that has been parsed; diagnoses nothing. */
fal_pv fal_pv_view(fal_contract_file *f);
/* what    The value of a map under a key, or under its older name; NULL when absent or blank text. */
const fal_yaml_node *fal_pv_get(const fal_yaml_node *map, const char *key, const char *alias);
/* what    The same, as text; NULL also when it is no text. */
const char *fal_pv_text(const fal_yaml_node *map, const char *key, const char *alias);

/* what    Looks at every key: what pv's parser refuses, what it drops, what nobody knows; contract_pv_keys.c */
void fal_pv_judge_keys(const fal_pv *v);
/* what    The rules of pv validate, audit and lint; those that the profile has; contract_pv_rules.c */
void fal_pv_judge(const fal_pv *v);
/* what    What pv does not see in one contract; contract_pv_more.c */
void fal_pv_judge_more(const fal_pv *v);
/* what    What pv does not see between contracts: ids, dependencies; the files are sorted by stem; contract_pv_set.c */
fal_status fal_pv_resolve(fal_contract_file *const *files, int n, fal_error *err);
/* what    Reads a foreign contract into f->contract (everything is prose, so every falsifier is unbound) and judges it. */
void fal_pv_read(fal_contract_file *f);

#endif
