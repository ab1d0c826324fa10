/* Rules: the one table of everything that the validator can say, with severity by profile and the words of `explain`. */
#ifndef FAL_RULES_H
#define FAL_RULES_H

#include <stddef.h>

typedef enum { FAL_OFF, FAL_NOTE, FAL_WARNING, FAL_MISTAKE } fal_severity;

/* By whose rules a contract is judged. Strict is for contracts that Falsify executes; pv for those that were written
   for aprender's validator. Nothing in a file chooses: an exemption is not a contract's to give. */
typedef enum { FAL_PROFILE_STRICT, FAL_PROFILE_PV, FAL_N_PROFILES } fal_profile;

typedef enum {
#define FAL_RULE(id, code, strict, pv, source, what, why, example, fix) FAL_RULE_##id,
#include "harness/rules.def"
    FAL_N_RULES
} fal_rule_id;

typedef struct {
    const char *code;                      /* stable: "CON-007" */
    fal_severity severity[FAL_N_PROFILES]; /* FAL_OFF: not a rule of that profile */
    const char *source;                    /* where the rule comes from */
    const char *what, *why, *example, *fix;
} fal_rule;

/* what    The row of a rule; never NULL for an id of the enum. */
const fal_rule *fal_rule_get(fal_rule_id id);
/* what    The index of the rule of that code, in any case ("con-007"), or -1. */
int fal_rule_find(const char *code);

/* what    "error", "warning", "note" or "off"; "strict" or "pv". */
const char *fal_severity_name(fal_severity severity);
const char *fal_profile_name(fal_profile profile);
/* what    The profile of that name, or -1. */
int fal_profile_find(const char *name);

#endif
