/* falsify run: the main job, from contracts to verdicts, evidence and report. */
#include "harness/aftermath.h"
#include "harness/evidence.h"
#include "harness/prepare.h"
#include "harness/prove.h"
#include "harness/report.h"
#include "harness/revision.h"
#include "harness/text.h"

#include <stdlib.h>

static fal_status print_json(const fal_run *run, const fal_report_options *o, const fal_aftermath *after, FILE *f, fal_error *err)
{
    json_t *j = fal_report_run_json(run, o);
    json_t *bisects = json_array();
    for (int i = 0; i < after->n; i++) json_array_append_new(bisects, fal_bisect_json(after->bisects[i]));
    json_object_set_new(j, "bisects", bisects);
    return fal_json_print(j, f, err);
}

/* Bisections stand behind the failures that led to them. */
typedef struct {
    const fal_aftermath *after;
    bool verbose, colour;
} tables;

static void print_bisects(const void *user, FILE *f)
{
    const tables *t = user;
    for (int i = 0; i < t->after->n; i++) fal_bisect_report(t->after->bisects[i], t->verbose, t->colour, f);
}

/* Looks into what failed, before evidence is written: a capsule is part of it. */
static void look_into(fal_run *run, const fal_prepared *p, const fal_cmd_env *env, fal_aftermath *after)
{
    fal_text folder = { 0 };
    if (p->options.no_bisect || fal_counts_failed(&run->tally.all) == 0) return;
    if (p->options.capsules) fal_text_add(&folder, p->options.capsules);
    else fal_text_addf(&folder, "%s/capsules", p->paths.evidence);
    const fal_aftermath_in in = { .program = env->program, .tmp = env->tmp, .folder = fal_text_str(&folder), .contracts = p->contracts, .candidate = p->options.candidate,
                                  .timeout_s = p->options.timeout_s, .stop = env->stop, .progress = env->err_is_terminal ? env->err : NULL };
    if (!folder.failed) fal_aftermath_make(run, &in, after);
    fal_text_free(&folder);
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
    fal_aftermath after = { 0 };
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
    look_into(run, p, env, &after);
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
    const tables bisects = { &after, p->options.verbose, fal_wants_colour(&p->options, env, env->out_is_terminal) };
    const fal_report_options o = { .options = &p->options,
                                   .probes = p->probes,
                                   .invoked = env->invoked,
                                   .revision = fal_revision,
                                   .colour = bisects.colour,
                                   .exit_status = *status,
                                   .reason = reason,
                                   .evidence = written.summary,
                                   .n_evidence = written.n_files,
                                   .more = print_bisects,
                                   .more_user = &bisects };
    if (p->options.json)
        st = print_json(run, &o, &after, env->out, err);
    else
        fal_report_run(run, &o, env->out);
    if (!st && *status) {
        snprintf(err->message, sizeof err->message, "%s", reason);
        snprintf(err->hint, sizeof err->hint, "%s", *status == 8 ? evidence_error.hint : "");
    }
    free(written.summary);
    fal_aftermath_free(&after);
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
