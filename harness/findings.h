/* Findings about contracts that were loaded before: their files are read once more, so that each has its line and caret. */
#ifndef FAL_FINDINGS_H
#define FAL_FINDINGS_H

#include "harness/yaml.h"

typedef struct {
    fal_arena arena;
    fal_diagnoses form;      /* of the form; validate's business */
    fal_file_diagnosis file; /* for fal_diagnose */
    fal_yaml yaml;
} fal_finding_file;

/* what    Reads the file; what fal_diagnose gets from then on goes to all.
   owns    *f: fal_finding_close, also after an error */
fal_status fal_finding_open(fal_finding_file *f, const char *path, fal_diagnoses *all, fal_error *err);
void fal_finding_close(fal_finding_file *f);
/* what    The n-th item of a list, or NULL. */
const fal_yaml_node *fal_finding_item(const fal_yaml_node *list, long n);
/* what    A finding at a node; fallback when there is no node. */
void fal_finding_at(fal_finding_file *f, const fal_yaml_node *node, fal_place fallback, fal_rule_id rule,
                    const char *suggestion, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
