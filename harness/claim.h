/* Claims by digest: what a falsifier demands, as canonical text, so that evidence can say which claim it is about. */
#ifndef FAL_CLAIM_H
#define FAL_CLAIM_H

#include "harness/contract.h"

#include <jansson.h>

/* what    SHA-256 of everything that decides what a check observes and how it is judged: limits, kind of observation,
           judgement, backends, prompts with their tokens, shapes, fills, seeds, parameters. Prose (basis) is left out, so
           that a better explanation stales nothing, while a looser limit does. Keys that a check does not use leave no
           trace, so that a key added to the schema later changes no digest of what was there before. */
fal_status fal_claim_check_digest(const fal_contract *c, const fal_check *check, char hex[65], fal_error *err);
/* Keys of a check that are part of that digest, and those that are prose; both end with NULL. A key that is in neither is
   one that somebody added to the schema: a unit test says so. */
extern const char *const fal_claim_keys[], *const fal_claim_prose_keys[];
/* what    SHA-256 of id, type, property and formal text of an obligation; white space counts once. */
fal_status fal_claim_obligation_digest(const fal_obligation *o, char hex[65], fal_error *err);
/* what    SHA-256 of the words of a falsifier (id, rule, prediction) and of the ids of its obligations. */
fal_status fal_claim_falsifier_digest(const fal_falsifier *f, char hex[65], fal_error *err);
/* what    SHA-256 of id and title of a stage, of its backends and of the ids of its obligations. */
fal_status fal_claim_stage_digest(const fal_stage *s, char hex[65], fal_error *err);

/* what    The obligation of that id in any contract of the set, or NULL. */
const fal_obligation *fal_claim_obligation(const fal_contract_set *set, const char *id);

/* what    {"sha256": of all that follows, "checks": {name: sha256}, "obligations": {id: sha256 or null}} of a falsifier
           of contract c; null stands for an obligation that no contract of the set has. NULL with *err on failure. */
json_t *fal_claim_json(const fal_contract_set *set, const fal_contract *c, const fal_falsifier *f, fal_error *err);

#endif
