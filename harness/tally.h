/* Denominators and the exit status: pure functions of counts. */
#ifndef FAL_TALLY_H
#define FAL_TALLY_H

#include "harness/judge.h"

/* planned is always the sum of by. */
typedef struct {
    int planned, by[FAL_N_VERDICTS];
} fal_counts;

void fal_counts_add(fal_counts *c, fal_verdict_kind kind);
/* what    The three numbers of the closing line: passed = survived; skipped = blocked + not_run + waived; failed =
           the rest. */
int fal_counts_passed(const fal_counts *c);
int fal_counts_failed(const fal_counts *c);
int fal_counts_skipped(const fal_counts *c);
/* what    Cases that led to an attempt: all but blocked and not_run. */
int fal_counts_executed(const fal_counts *c);
/* what    "planned 12 = survived 10 + falsified 1 + blocked 1": survived and falsified always, others when not 0. */
void fal_counts_text(const fal_counts *c, char *text, size_t size);

/* Everything that decides the exit status of a run. */
typedef struct {
    fal_counts all, required; /* required: cases of required backends */
    bool interrupted, not_written, bad_input, untrusted, stale;
} fal_tally;

/* what    The exit status, and in one sentence why (for 0 an empty text). Of several causes the first of 130, 8, 3,
           1, 7, 6, 5, 77 counts; 4 when nothing was planned. A case that ran without a verdict (crashed, timed_out,
           error, flaky, mistrusted) makes a run incomplete also when its backend is not required: only absence is
           excused by that. */
int fal_tally_exit(const fal_tally *t, char *reason, size_t size);

#endif
