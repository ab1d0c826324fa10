/* falsify status and coverage: what evidence says that the claims are, beside what the files say. */
#include "harness/awaited.h"
#include "harness/evidence.h"
#include "harness/findings.h"
#include "harness/freshness.h"
#include "harness/run.h"
#include "harness/status_report.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char shipped_model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";

/* Everything between a command line and a report. */
typedef struct {
    fal_cmd_args args;
    fal_contract_set *set;
    fal_records *records;
    fal_derived *derived;
    fal_awaited_list awaited;
    fal_probes *probes;
    fal_fresh_filter filter;
    fal_fresh_count fresh;
} work;

static void release(work *w)
{
    free(w->probes);
    free(w->awaited.items);
    fal_derived_free(w->derived);
    fal_records_free(w->records);
    fal_contract_set_free(w->set);
    fal_cmd_args_free(&w->args);
}

/* X.gguf -> X.oracle.safetensors, as the plan has it. */
static const char *oracle_of(const char *model, char *path, size_t size)
{
    const size_t n = strlen(model);
    const int stem = (int)(n > 5 && strcmp(model + n - 5, ".gguf") == 0 ? n - 5 : n);
    snprintf(path, size, "%.*s.oracle.safetensors", stem, model);
    return path;
}

static fal_status read_evidence(work *w, fal_error *err)
{
    const char *folder = w->args.evidence ? w->args.evidence : "evidence";
    struct stat st;
    char oracles[2][1024];
    if (w->args.evidence && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)))
        return fal_fail(err, FAL_ERR_NOTHING, "name a folder of evidence", "--evidence: %s is no folder", folder);
    const char *models[5] = { shipped_model, oracle_of(shipped_model, oracles[0], sizeof oracles[0]) };
    if (w->args.model) {
        /* the one that is named goes first: of two files of one name it is the one that is meant */
        models[2] = models[0], models[3] = models[1];
        models[0] = w->args.model;
        models[1] = oracle_of(w->args.model, oracles[1], sizeof oracles[1]);
    }
    char now[24];
    fal_time_text(now);
    const fal_today today = { .contracts = w->set, .sources = fal_sources, .date = now, .models = models };
    fal_status status = fal_records_read(folder, &w->records, err);
    if (!status && w->args.since) status = fal_records_since(w->records, w->args.since, err);
    if (!status) status = fal_freshness_judge(w->records, &today, err);
    return status;
}

static fal_status look_around(work *w, const fal_cmd_env *env, fal_error *err)
{
    enum { PROBE_SECONDS = 60 };
    const char *names[2];
    const fal_names asked = { .items = names, .n = fal_awaited_backends(w->set, names, 2) };
    if (asked.n && !w->args.no_probe) {
        w->probes = fal_probes_make();
        if (!w->probes) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for devices");
        fal_probes_ask(w->probes, &asked, env->program, PROBE_SECONDS, env->stop);
    }
    if (env->stop && *env->stop) return fal_fail(err, FAL_ERR_INTERRUPTED, NULL, "interrupted");
    const fal_whereabouts where = { .root = ".", .path = env->path, .probes = w->probes };
    return fal_awaited_look(w->set, &where, &w->awaited, err);
}

static fal_status prepare(int argc, char **argv, const fal_cmd_about *about, const fal_cmd_env *env, work *w,
                          fal_error *err)
{
    fal_status st = fal_cmd_args_parse(argc, argv, about, env, &w->args, err);
    if (st || w->args.help) return st;
    st = fal_cmd_load(&w->args, env, &w->set, err);
    if (!st) st = fal_cmd_check_globs(&w->args, w->set, err);
    if (!st) st = read_evidence(w, err);
    if (!st) st = fal_derive(w->set, w->records, &w->derived, err);
    if (!st) {
        w->filter = (fal_fresh_filter){ w->args.contracts, w->args.backends, w->args.heavy };
        w->fresh = fal_derived_fresh(w->derived, &w->filter);
    }
    return st;
}

/* ---- findings, at the line of the file that says too much ---- */

static void find_in_contract(const work *w, const fal_derived_contract *d, fal_finding_file *f)
{
    const fal_contract *c = d->contract;
    const fal_yaml_node *root = f->yaml.root, *stages = fal_yaml_get(root, "implementation_stages");
    const fal_place nowhere = { 0, 0 };
    if (d->above)
        fal_finding_at(f, fal_yaml_get(root, "status"), nowhere, FAL_RULE_STA_001, d->why,
                       "%s says %s, the evidence supports %s", c->stem, c->status, fal_contract_level_name(d->is));
    for (int i = 0; i < c->n_stages; i++) {
        const fal_derived_stage *s = &d->stages[i];
        if (s->above)
            fal_finding_at(f, fal_yaml_get(fal_finding_item(stages, i), "status"), s->stage->place, FAL_RULE_STA_001,
                           s->why, "stage %s says %s, the evidence supports %s", s->stage->id, s->stage->status,
                           fal_stage_level_name(s->is));
    }
    for (int i = 0; i < w->awaited.n; i++) {
        const fal_awaited *a = &w->awaited.items[i];
        if (a->contract != c || a->state != FAL_AWAITED_PRESENT) continue;
        /* a file is the same for everybody; a tool or device is a matter of this machine */
        const bool is_file = strncmp(a->what, "file:", 5) == 0;
        const fal_yaml_node *of = a->stage ? fal_finding_item(stages, a->stage - c->stages) : root;
        fal_finding_at(f, fal_finding_item(fal_yaml_get(of, "waits_for"), a->index),
                       a->stage ? a->stage->place : nowhere, is_file ? FAL_RULE_STA_002 : FAL_RULE_STA_003,
                       "run the falsifiers that it kept from running, then take it out",
                       "%s waits for %s, which is here: %s", a->stage ? a->stage->id : c->stem, a->what, a->found);
    }
}

static bool has_findings(const work *w, const fal_derived_contract *d)
{
    bool any = d->above;
    for (int i = 0; i < d->contract->n_stages; i++) any |= d->stages[i].above;
    for (int i = 0; i < w->awaited.n; i++)
        any |= w->awaited.items[i].contract == d->contract && w->awaited.items[i].state == FAL_AWAITED_PRESENT;
    return any;
}

static fal_status print_findings(const work *w, const fal_cmd_env *env, int *n_errors, fal_error *err)
{
    fal_diagnoses all = { 0 };
    fal_status st = FAL_OK;
    bool failed = false;
    for (int i = 0; !st && i < w->derived->n_contracts; i++) {
        const fal_derived_contract *d = &w->derived->contracts[i];
        if (!fal_cmd_takes(&w->args, d->contract) || !has_findings(w, d)) continue;
        fal_finding_file f;
        st = fal_finding_open(&f, d->contract->path, &all, err);
        if (!st) find_in_contract(w, d, &f);
        *n_errors += f.file.n_errors;
        fal_finding_close(&f);
        failed |= f.file.failed;
    }
    if (!st && (failed || !fal_diagnoses_sort(&all)))
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for findings");
    if (!st) fal_diagnoses_print(&all, w->args.colour_err, env->err);
    fal_diagnoses_free(&all);
    return st;
}

static void print_problems(const work *w, const fal_cmd_env *env)
{
    enum { MOST = 20 };
    for (int i = 0; i < w->records->n_problems && i < MOST; i++) {
        const fal_record_problem *p = &w->records->problems[i];
        fputs("evidence/", env->err);
        fal_text_print(env->err, p->path, strlen(p->path));
        fputs(": error: ", env->err);
        fal_text_print(env->err, p->message, strlen(p->message));
        fputs(" [EVI-001]\n      = ", env->err);
        fal_text_print(env->err, p->hint ? p->hint : "", p->hint ? strlen(p->hint) : 0);
        fputc('\n', env->err);
    }
    if (w->records->n_problems > MOST) fprintf(env->err, "and %d more\n", w->records->n_problems - MOST);
}

/* ---- status ---- */

static const char *const formats[] = { "text", "json", "markdown", NULL };

static const fal_cmd_about about_status = {
    .name = "status",
    .usage = "falsify status [PATHS] [--format text|json|markdown] [--require-fresh] [--since DIR] [-v]",
    .about =
        "Derives from evidence what each falsifier, obligation, stage and contract really is, beside what the file "
        "says.\n"
        "A file that says more than the evidence is an error. Evidence counts when a run's summary lists it and it is\n"
        "about today's claim, sources, model and oracle; what does not count is named with the reason.\n\n"
        "exit status: 0 nothing says more than the evidence, 2 usage, 3 a contract is bad or says more than the "
        "evidence\n"
        "or waits for a file that is here, 4 no contract found, 7 evidence vanished or was edited; with "
        "--require-fresh\n"
        "also 1 something was falsified, 6 evidence is stale or missing, 5 it has no verdict\n",
    .options = FAL_ARG_FORMAT | FAL_ARG_EVIDENCE | FAL_ARG_SELECT | FAL_ARG_FRESH | FAL_ARG_PROBE,
    .formats = formats
};

static const char *first_of(const work *w, const char *what, char *text, size_t size)
{
    text[0] = '\0';
    for (int i = 0; i < w->derived->n_cells && !text[0]; i++) {
        const fal_cell *c = &w->derived->cells[i];
        if (fal_cell_is_taken(c, &w->filter) && strcmp(fal_cell_freshness(c, w->args.heavy), what) == 0)
            snprintf(text, size, "%s on %s: %.300s", c->falsifier->id, c->backend, c->why ? c->why : "no evidence");
    }
    return text;
}

/* Of several causes the first of 3, 1, 7, 6, 5 counts; *err says why. */
static int verdict(const work *w, int n_errors, fal_error *err)
{
    char first[500];
    const fal_fresh_count *t = &w->fresh;
    if (n_errors) {
        fal_fail(err, FAL_ERR_INPUT, "lower what the file says, or run the falsifiers again",
                 "%d place%s say%s more than the evidence, or wait%s for what is here", n_errors,
                 n_errors == 1 ? "" : "s", n_errors == 1 ? "s" : "", n_errors == 1 ? "s" : "");
        return 3;
    }
    if (w->args.require_fresh && t->falsified) {
        fal_fail(err, FAL_ERR_INPUT, NULL, "%d of %d falsifiers x backends are falsified: %s", t->falsified, t->cells,
                 first_of(w, "falsified", first, sizeof first));
        return 1;
    }
    if (w->records->n_problems) {
        fal_fail(err, FAL_ERR_INPUT, w->records->problems[0].hint, "evidence is not to be trusted: %s %s",
                 w->records->problems[0].path, w->records->problems[0].message);
        return 7;
    }
    if (!w->args.require_fresh) return 0;
    if (t->stale || t->missing) {
        fal_fail(err, FAL_ERR_INPUT, "run them again; 'falsify status -v' names all",
                 "evidence is stale or missing: %d stale, %d missing of %d falsifiers x backends; first %s", t->stale,
                 t->missing, t->cells, first_of(w, t->stale ? "stale" : "missing", first, sizeof first));
        return 6;
    }
    if (t->undecided || t->fresh == 0) {
        fal_fail(err, FAL_ERR_INPUT, NULL, "%d of %d falsifiers x backends have no verdict: %s",
                 t->cells - t->fresh - t->excused, t->cells, first_of(w, "undecided", first, sizeof first));
        return 5;
    }
    return 0;
}

int fal_cmd_status(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    work w = { 0 };
    int n_errors = 0, status = 0;
    fal_status st = prepare(argc, argv, &about_status, env, &w, err);
    if (!st && w.args.help) {
        fal_cmd_args_help(&about_status, env->out);
    } else if (!st) {
        st = look_around(&w, env, err);
        if (!st) st = print_findings(&w, env, &n_errors, err);
        const fal_status_report r = { &w.args, w.set, w.records, w.derived, &w.awaited, w.fresh };
        if (!st) {
            print_problems(&w, env);
            status = verdict(&w, n_errors, err);
            if (strcmp(w.args.format, "json") == 0) {
                json_t *j = fal_status_json(&r);
                json_object_set_new(j, "exit", json_integer(status));
                st = fal_json_print(j, env->out, err);
            } else if (strcmp(w.args.format, "markdown") == 0) {
                fal_status_markdown(&r, env->out);
            } else {
                fal_status_text(&r, env->out);
            }
        }
    }
    if (!st) st = fal_cmd_flush(env->out, "status", err);
    release(&w);
    return st ? fal_exit_status(st) : status;
}

/* ---- coverage ---- */

static const fal_cmd_about about_coverage = {
    .name = "coverage",
    .usage = "falsify coverage [PATHS] [--format text|json|markdown]",
    .about = "Obligations x falsifiers x backends: what evidence says in each cell (survived, survived (cpu) where a "
             "CPU stood in\n"
             "for the hardware, falsified, undecided, partial, stale, missing, unbound; - where no check names the "
             "backend).\n\n"
             "exit status: 0 printed, 2 usage, 3 a contract has errors, 4 no contract found\n",
    .options = FAL_ARG_FORMAT | FAL_ARG_EVIDENCE | FAL_ARG_SELECT,
    .formats = formats
};

int fal_cmd_coverage(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    work w = { 0 };
    fal_status st = prepare(argc, argv, &about_coverage, env, &w, err);
    if (!st && w.args.help) {
        fal_cmd_args_help(&about_coverage, env->out);
    } else if (!st) {
        const fal_status_report r = { &w.args, w.set, w.records, w.derived, &w.awaited, w.fresh };
        if (strcmp(w.args.format, "json") == 0)
            st = fal_json_print(fal_coverage_json(&r), env->out, err);
        else if (strcmp(w.args.format, "markdown") == 0)
            fal_coverage_markdown(&r, env->out);
        else
            fal_coverage_text(&r, env->out);
    }
    if (!st) st = fal_cmd_flush(env->out, "coverage", err);
    release(&w);
    return fal_exit_status(st);
}
