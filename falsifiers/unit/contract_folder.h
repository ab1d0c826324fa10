/* A temporary folder of contracts for tests: writing files, changing the good contract, loading, finding diagnoses. */
#ifndef FAL_TEST_CONTRACT_FOLDER_H
#define FAL_TEST_CONTRACT_FOLDER_H

#include "harness/contract.h"

#define FAL_TEST_CONTRACTS "falsifiers/unit/contracts/good" /* the good contract, and the one that it depends on */

/* The least that a contract has; more keys of metadata may follow. */
#define FAL_TEST_MINIMAL(more_metadata)                                                                                \
    "metadata: {version: \"1.0.0\", description: d, kind: schema, references: [r]" more_metadata "}\nstatus: DRAFT\n"

extern char fal_test_folder[64];
void fal_test_make_folder(void); /* as fixtures of a test case */
void fal_test_remove_folder(void);
const char *fal_test_path(const char *name); /* in the folder; valid until the next call */
void fal_test_write(const char *name, const char *text);
char *fal_test_read(const char *path); /* to be freed */

typedef struct {
    fal_contract_set *set;
    fal_diagnoses diag;
    fal_error err;
    fal_status status;
} fal_test_loaded;

void fal_test_load_paths(fal_test_loaded *l, const char *const *paths, int n);
void fal_test_load(fal_test_loaded *l); /* the folder */
void fal_test_release(fal_test_loaded *l);
int fal_test_errors(const fal_test_loaded *l);
const fal_diagnosis *fal_test_find(const fal_test_loaded *l, const char *rule); /* the first of that rule, or NULL */

/* what    The text with the first occurrence of `from` replaced by `to`; *where is the change in it. To be freed. */
char *fal_test_changed(const char *base, const char *from, const char *to, const char **where);
/* what    Line and column of a place in a text, columns counted in characters of UTF-8. */
fal_place fal_test_place(const char *text, const char *at);
/* what    Writes every-key-v1 with that change, and what it depends on, into the folder. */
void fal_test_write_changed(const char *from, const char *to);

#endif
