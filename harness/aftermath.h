/* What follows a failed run: bisections of falsified parities and capsules of failed calls, as plans of their own. */
#ifndef FAL_AFTERMATH_H
#define FAL_AFTERMATH_H

#include "harness/bisect.h"
#include "harness/run.h"

enum { FAL_MOST_BISECTS = 8 };

typedef struct {
    fal_bisect *bisects[FAL_MOST_BISECTS];
    int n;
} fal_aftermath;

typedef struct {
    const char *program, *tmp, *folder; /* own binary; for observations; for capsules, made when there is one */
    const fal_contract_set *contracts;
    const char *candidate; /* the file on trial, or NULL */
    double timeout_s;
    const volatile int *stop;
    FILE *progress;
} fal_aftermath_in;

/* what    For each backend and variant with a falsified parity of a forward pass one bisection, of the shortest prompt that
           failed; for each falsified check of an op, or of a candidate's single calls, up to 8, a capsule of its first failing call. Notes the capsules in the
           results of the cases. What cannot be made is left out: the verdicts stand without it.
   owns    *out: fal_aftermath_free, before the run and the plan */
void fal_aftermath_make(fal_run *run, const fal_aftermath_in *in, fal_aftermath *out);
void fal_aftermath_free(fal_aftermath *a);

#endif
