/* Validation: a set of contracts judged by a profile, its denominators, and the forms in which that is told. */
#ifndef FAL_VALIDATION_H
#define FAL_VALIDATION_H

#include "harness/contract.h"

/* A falsifier with a check names an obligation. */
struct fal_citation {
    const char *obligation, *falsifier;
    size_t order;
};

/* Falsifiers and obligations of one contract, or of all. */
typedef struct {
    int falsifiers, bound, checks, unbound, retired, obligations, obligations_bound;
} fal_claim_counts;

typedef struct {
    fal_profile profile;
    fal_contract_set *set;
    fal_diagnoses diag;             /* sorted */
    bool looks_foreign;             /* keys that only aprender's contracts have */
    int n_valid;                    /* without an error */
    struct fal_citation *citations; /* of obligations by falsifiers with a check, sorted by obligation */
    size_t n_citations;
    fal_claim_counts all, *of; /* of[i]: of set->contracts[i]; an obligation may be bound by another contract */
    size_t n_errors, n_warnings, n_notes; /* all of them, also those that a cap left out */
} fal_validation;

/* what    Loads the paths by the one walker, judges them by the profile and counts. today: by which waivers expire.
           FAL_OK whatever is wrong with the contracts: that is in the counts; FAL_ERR_NOTHING when no file was found.
   owns    *out: fal_validation_free, also on failure */
fal_status fal_validate(const char *const *paths, int n_paths, fal_profile profile, const char *today,
                        fal_validation *out, fal_error *err);
void fal_validation_free(fal_validation *v);

/* what    Counts the claims of v->set into v->all, v->of and v->citations; part of fal_validate. */
fal_status fal_validation_count(fal_validation *v, fal_error *err);

/* How much is printed. */
typedef struct {
    bool colour, notes; /* notes: print them too, not only their number */
    bool map;           /* which falsifiers each obligation has */
    size_t most;        /* diagnoses printed, the rest counted; 0: all */
} fal_validation_style;

/* what    Diagnoses like a compiler: errors and warnings, each rule explained where it first comes. */
void fal_validation_print_diagnoses(const fal_validation *v, const fal_validation_style *style, FILE *f);
/* what    Files found, read, valid; falsifiers; obligations m of n; diagnoses. */
void fal_validation_print_summary(const fal_validation *v, const fal_validation_style *style, FILE *f);
/* what    One JSON document with everything; one SARIF 2.1.0 log; GitHub workflow commands, at most 10 of a kind. */
fal_status fal_validation_print_json(const fal_validation *v, FILE *f, fal_error *err);
fal_status fal_validation_print_sarif(const fal_validation *v, FILE *f, fal_error *err);
void fal_validation_print_github(const fal_validation *v, FILE *f);

/* what    The falsifiers with a check, of any contract of the set, that name an obligation; up to `most` ids. Returns how
           many there are. */
int fal_validation_falsifiers_of(const fal_validation *v, const char *obligation, const char **ids, int most);

#endif
