/* Waivers in a run: turning what they cover from falsified into waived, and telling which ones were of use. */
#ifndef FAL_RUN_WAIVERS_H
#define FAL_RUN_WAIVERS_H

#include "harness/run.h"

/* what    Applies a waiver (NULL: none) to a verdict. Only a falsified value that was compared with something and lies
           within the waiver's own limit is waived, and only up to the day it expires; the reason says by whom and until
           when, or why it was not waived. True when it was. */
bool fal_waive(const fal_waiver *w, const char *today, fal_verdict *v);

typedef enum {
    FAL_WAIVER_USED,
    FAL_WAIVER_UNUSED,
    FAL_WAIVER_EXPIRED,
    FAL_WAIVER_NOT_TRIED,
    FAL_N_WAIVER_STATES
} fal_waiver_state;
typedef struct {
    fal_waiver_state state; /* unused: its cases ran and none needed it */
    int n_cases, n_executed, n_waived;
} fal_waiver_use;

/* what    What a waiver of a contract did in this run. */
fal_waiver_use fal_run_waiver_use(const fal_run *run, const fal_contract *c, const fal_waiver *w);
const char *fal_waiver_state_name(fal_waiver_state state);

/* what    The waivers of all contracts of the run, one line each, for people; and as a JSON array. */
void fal_report_waivers(const fal_run *run, bool colour, FILE *f);
json_t *fal_report_waivers_json(const fal_run *run);
/* what    One waiver as it stands in evidence, or null. */
json_t *fal_waiver_json(const fal_waiver *w);

#endif
