/* The schema of contracts as JSON Schema, for editors; made from the tables by which contracts are read. */
#ifndef FAL_CONTRACT_SCHEMA_H
#define FAL_CONTRACT_SCHEMA_H

#include <jansson.h>

/* what    JSON Schema draft-07 of a contract; NULL when memory ran out.
   owns    the caller: json_decref */
json_t *fal_contract_schema(void);

#endif
