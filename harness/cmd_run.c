/* falsify run: the main job, from contracts to verdicts, evidence and report. */
#include "harness/evidence.h"
#include "harness/prepare.h"
#include "harness/prove.h"
#include "harness/report.h"

#include <stdlib.h>

extern const char fal_revision[];

static fal_status print_json(const fal_run *run, const fal_report_options *o, FILE *f, fal_error *err)
{
    json_t *j = fal_report_run_json(run, o);
    char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!text) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for JSON");
    fprintf(f, "%s\n", text);
    free(text);
    return FAL_OK;
}

/* A plan of claims without cases is none that could be run. */
static fal_status refuse_empty(const fal_plan *plan, fal_error *err)
{
    if (plan->n_cases > 0) return FAL_OK;
    const fal_claim *c = plan->n_unbound ? &plan->unbound[0] : &plan->retired[0];
    const int n = plan->n_unbound + plan->n_retired;
    return fal_fail(err, FAL_ERR_NOTHING, "'falsify plan -v' says why",
                    "nothing to run: %d claim%s selected, but %s is %s", n, n == 1 ? " is" : "s are", c->falsifier->id,
                    plan->n_unbound ? "unbound (prose only)" : "retired");
}

static fal_status run_and_report(fal_prepared *p, int argc, char **argv, const fal_cmd_env *env, int *status,
                                 fal_error *err)
{
    fal_run *run = NULL;
    fal_evidence_written written = { 0 };
    const fal_run_options ro = { .program = env->program,
                                 .tmp = env->tmp,
                                 .keep = p->options.keep,
                                 .timeout_s = p->options.timeout_s,
                                 .fail_fast = p->options.fail_fast,
                                 .repeat = p->options.repeat,
                                 .nvtx = p->options.nvtx,
                                 .stop = env->stop,
                                 .progress = env->err_is_terminal ? env->err : NULL };
    fal_status st = fal_run_make(p->plan, &ro, &run, err);
    if (st) return st;

    /* a falsifier that a stored proof has shown to be blind has shown nothing here either */
    int n_mistrusted = 0;
    st = fal_prove_mistrust(run, p->paths.evidence, &n_mistrusted, err);
    if (st) {
        fal_run_free(run);
        return st;
    }
    fal_error evidence_error = { 0 };
    char reason[256];
    *status = fal_tally_exit(&run->tally, reason, sizeof reason);
    if (fal_counts_executed(&run->tally.all) > 0) {
        const fal_evidence_options eo = { .folder = p->paths.evidence,
                                          .argv = (const char *const *)argv,
                                          .argc = argc,
                                          .invoked = env->invoked,
                                          .root = p->paths.root,
                                          .options = &p->options,
                                          .revision = fal_revision,
                                          .exit_status = *status };
        if (fal_evidence_write(run, &eo, &written, &evidence_error) != FAL_OK) {
            run->tally.not_written = true;
            *status = fal_tally_exit(&run->tally, reason, sizeof reason);
            if (*status == 8) snprintf(reason, sizeof reason, "%.255s", evidence_error.message);
        }
    }
    const fal_report_options o = { .options = &p->options,
                                   .probes = p->probes,
                                   .invoked = env->invoked,
                                   .revision = fal_revision,
                                   .colour = fal_wants_colour(&p->options, env, env->out_is_terminal),
                                   .exit_status = *status,
                                   .reason = reason,
                                   .evidence = written.summary,
                                   .n_evidence = written.n_files };
    if (p->options.json)
        st = print_json(run, &o, env->out, err);
    else
        fal_report_run(run, &o, env->out);
    if (!st && *status) {
        snprintf(err->message, sizeof err->message, "%s", reason);
        snprintf(err->hint, sizeof err->hint, "%s", *status == 8 ? evidence_error.hint : "");
    }
    free(written.summary);
    fal_run_free(run);
    return st;
}

int fal_cmd_run(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_prepared p = { 0 };
    int status = 0;
    fal_status st = fal_prepare(argc, argv, FAL_FOR_RUN, env, &p, err);
    if (st) return fal_exit_status(st);
    if (p.options.help)
        fal_options_help(FAL_FOR_RUN, env->out);
    else {
        st = refuse_empty(p.plan, err);
        if (!st) st = run_and_report(&p, argc, argv, env, &status, err);
    }
    fal_prepared_free(&p);
    return st ? fal_exit_status(st) : status;
}
