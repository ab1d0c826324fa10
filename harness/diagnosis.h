/* Collecting diagnoses of one input file: places, source lines, and a cap so that a hostile file stays readable. */
#ifndef FAL_DIAGNOSIS_H
#define FAL_DIAGNOSIS_H

#include "harness/contract.h"

enum { FAL_DIAGNOSES_PER_FILE = 50 }; /* errors kept of one file, as many warnings, and as many notes */

/* The diagnoses of one file on their way into the common list. Strings are borrowed. */
typedef struct {
    fal_diagnoses *all;
    const char *path;
    const char *source; /* NULL until the file was read */
    size_t size;
    const size_t *lines; /* offset of each line's first byte */
    size_t n_lines;
    fal_profile profile;      /* decides the severity of each rule */
    int n_errors, n_warnings, n_notes; /* all of them, kept or not */
    bool failed;              /* memory ran out */
} fal_file_diagnosis;

/* what    Adds one diagnosis of a rule, with the severity that the table gives it under d->profile; a rule that is off
           there says nothing. width: characters to underline. suggestion may be NULL. Text from the file that goes into
           the message must have passed fal_text_add_safe. Beyond the cap it only counts. */
void fal_diagnose(fal_file_diagnosis *d, fal_rule_id rule, fal_place place, int width, const char *suggestion,
                  const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* what    True when a further error would only be counted, so that nobody needs to word it. */
bool fal_diagnosis_is_full(const fal_file_diagnosis *d);
/* what    The same for warnings. */
bool fal_diagnosis_is_full_of_warnings(const fal_file_diagnosis *d);
/* what    Adds the count of what the cap left out, once a file is done. */
void fal_diagnose_hidden(fal_file_diagnosis *d);
/* what    Diagnosing a contract of a set again, after it was loaded: its source and lines, no counts yet. */
fal_file_diagnosis fal_contract_diagnosis(const fal_contract *c, fal_diagnoses *all);
/* what    Prints one diagnosis; with_source: also where its rule comes from. */
void fal_diagnosis_print(const fal_diagnosis *d, bool with_source, bool colour, FILE *f);
/* what    Orders by path, then place; diagnoses of one place keep their order. False when memory ran out. */
bool fal_diagnoses_sort(fal_diagnoses *d);

#endif
