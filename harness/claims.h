/* What words of a contract betray: claims that something is absent, placeholders, tests that are prose. */
#ifndef FAL_CLAIMS_H
#define FAL_CLAIMS_H

#include <stdbool.h>

/* what    The phrase by which a text claims that something does not exist (static), or NULL. */
const char *fal_negative_claim(const char *text);
/* what    True for text that stands where a reason should: "TBD", "todo: measure", "n/a", "empirical". */
bool fal_is_placeholder(const char *text);

typedef enum {
    FAL_TEST_NONE,
    FAL_TEST_PROSE,
    FAL_TEST_CARGO,
    FAL_TEST_FUNCTION,
    FAL_TEST_SHELL,
    FAL_N_TEST_KINDS
} fal_test_kind;
/* what    What the `test` of a foreign contract is: nothing, prose, a cargo command, the bare name of a test function,
           or another command. Nothing is executed. */
fal_test_kind fal_test_kind_of(const char *text);
const char *fal_test_kind_name(fal_test_kind kind);

#endif
