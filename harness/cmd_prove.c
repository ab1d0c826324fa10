/* falsify prove: the falsifiers on trial, with mutants as evidence. */
#include "harness/evidence.h"
#include "harness/prepare.h"
#include "harness/prove.h"
#include "harness/report.h"
#include "harness/revision.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void list(FILE *f)
{
    int n;
    const fal_mutant *all = fal_mutant_all(&n);
    for (int i = 0; i < n; i++)
        fprintf(f, "%-30s %-16s %s%s\n", all[i].id,
                all[i].module ? all[i].module : all[i].op ? all[i].op : all[i].lie ? "backend" : "forward", all[i].what,
                all[i].equivalent ? "  [equivalent]" : "");
    fprintf(f, "%d mutants\n", n);
}

static fal_status print_json(const fal_matrix *m, FILE *f, fal_error *err)
{
    int n;
    const fal_backend *const *backends = fal_backend_all(&n);
    json_t *all = json_array();
    for (int b = 0; b < n; b++) {
        fal_error why = { 0 };
        json_t *j = fal_matrix_json(m, backends[b]->name, fal_revision, &why);
        if (j) json_array_append_new(all, j);
    }
    return fal_json_print(all, f, err);
}

/* A falsifier can only be called mistrusted when it saw all that it could have killed. */
static bool is_whole(const fal_options *o)
{
    return !o->mutants.n && !o->globs.n && !o->only.n && !o->contracts.n && !o->stages.n;
}

/* An observer compiles and computes mostly on one core. */
static int default_jobs(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 4 ? 4 : (int)n;
}

static fal_status prove(fal_prepared *p, const fal_cmd_env *env, int *status, fal_error *err)
{
    const fal_options *o = &p->options;
    fal_prove_plan plan = { 0 };
    fal_run *run = NULL;
    fal_matrix m = { 0 };
    char reason[256] = "";
    int n_files = 0;
    const fal_run_options ro = { .program = env->program,
                                 .tmp = env->tmp,
                                 .keep = o->keep,
                                 .timeout_s = o->timeout_s,
                                 .once = true,
                                 .no_floors = true,
                                 .repeat = 1,
                                 .stop = env->stop,
                                 .progress = env->err_is_terminal ? env->err : NULL };
    fal_status st = fal_prove_plan_make(p->plan, o->mutants.items, o->mutants.n, o->mutant_code, &plan, err);
    if (!st) st = fal_prove_run(&plan, &ro, o->jobs > 0 ? o->jobs : default_jobs(), &run, err);
    if (!st) st = fal_matrix_make(&plan, run, is_whole(o), &m, err);
    if (!st) {
        *status = fal_matrix_exit(&m, o->require.items, o->require.n, reason, sizeof reason);
        fal_error evidence_error = { 0 };
        if (*status != 130 && fal_matrix_write(&m, p->paths.evidence, fal_revision, &n_files, &evidence_error) != FAL_OK) {
            *status = 8;
            snprintf(reason, sizeof reason, "%.255s", evidence_error.message);
        }
        if (o->json) st = print_json(&m, env->out, err);
        else {
            fal_matrix_print(&m, fal_revision, o->verbose, fal_wants_colour(o, env, env->out_is_terminal), env->out);
        }
    }
    if (!st && *status) snprintf(err->message, sizeof err->message, "%s", reason);
    fal_matrix_free(&m);
    fal_run_free(run);
    fal_prove_plan_free(&plan);
    return st;
}

int fal_cmd_prove(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_options o = { 0 };
    fal_paths paths = { 0 };
    int status = 0, n = 0;
    fal_status st = fal_options_parse(argc, argv, FAL_FOR_PROVE, &o, err);
    const bool only_words = !st && (o.help || o.list || o.sources);
    if (only_words && o.help) fal_options_help(FAL_FOR_PROVE, env->out);
    else if (only_words && o.list) list(env->out);
    else if (only_words) {
        st = fal_paths_find(&o, FAL_DATADIR, &paths, err);
        if (!st) st = fal_mutant_write_cuda(paths.root, o.sources, env->out, &n, err);
        fal_paths_free(&paths);
    }
    fal_options_free(&o);
    if (st || only_words) return st ? fal_exit_status(st) : 0;

    fal_prepared p = { 0 };
    st = fal_prepare(argc, argv, FAL_FOR_PROVE, env, &p, err);
    if (!st) st = prove(&p, env, &status, err);
    fal_prepared_free(&p);
    return st ? fal_exit_status(st) : status;
}
