/* From a command line to a plan: the way that plan and run go together. */
#ifndef FAL_PREPARE_H
#define FAL_PREPARE_H

#include "harness/cmd.h"
#include "harness/plan.h"

typedef struct {
    fal_options options;
    fal_paths paths;
    fal_contract_set *contracts;
    fal_probes *probes;
    fal_plan *plan;
    char candidate[65];        /* digest of its file, or empty */
    const fal_trial_op *trial; /* what a candidate computes, or NULL */
    fal_declaration declared;  /* and with which arithmetic */
} fal_prepared;

/* what    Options, folders, contracts, devices, plan. With --help (out->options.help) only the options are set.
           Diagnoses of contracts go to env->err; with an error in any of them nothing is planned.
   owns    *out: fal_prepared_free */
fal_status fal_prepare(int argc, char **argv, fal_options_for which, const fal_cmd_env *env, fal_prepared *out,
                       fal_error *err);
void fal_prepared_free(fal_prepared *p);

/* what    Whether to colour a stream. */
bool fal_wants_colour(const fal_options *o, const fal_cmd_env *env, bool terminal);

#endif
