/* What the files that look into a failed run share. */
#ifndef FAL_AFTERMATH_PARTS_H
#define FAL_AFTERMATH_PARTS_H

#include "harness/aftermath.h"
#include "harness/capsule.h"

enum { FAL_SHRINK_S = 30 };

/* what    Whether two cases are about the same backend, variant and way to decode. */
bool fal_aftermath_same_target(const fal_case *a, const fal_case *b);
/* what    Notes a capsule and its digest in the result of a case, unless it has one; path may be NULL. */
void fal_aftermath_note(fal_result *r, const char *path);

/* aftermath_calls.c */
/* what    A capsule for the first falsified case of each check of single calls, up to 8 of them; where a candidate's cannot be
           had, the result says why. */
void fal_aftermath_keep_calls(fal_run *run, const fal_aftermath_in *in);
/* what    Shrinks a call that fails and writes it; a: its attempt, reference: what the reference gave (may be NULL). Takes c.
   refuses a call that does not fail any more: FAL_ERR_DEVICE
   owns    *path: free */
fal_status fal_aftermath_save(fal_bench *bench, fal_capsule *c, fal_attempt *a, const fal_observation *reference, const fal_case *k,
                              const fal_aftermath_in *in, char **path, fal_error *err);

/* aftermath_candidate.c */
/* what    The first call of a candidate's falsified case that fails by itself, shrunk; NULL where none does, and then why says
           so. bench: opened, for the candidate; declared: its arithmetic.
   owns    what it returns: free */
char *fal_aftermath_candidate(fal_bench *bench, const fal_case *k, const fal_declaration *declared,
                              const fal_aftermath_in *in, char *why, size_t size);

#endif
