/* The run as a table for people: survivors first and short, failures last and whole, denominators at the end. */
#include "harness/report.h"
#include "harness/run_waivers.h"

#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_FAILURES = 40,
    ID_COLUMN = 34,
    BACKEND_COLUMN = 12,
    CASES_COLUMN = 8,
    WORST_COLUMN = 44,
    LIMIT_COLUMN = 12,
    NOISE_COLUMN = 9
};

/* One line of the table: a falsifier on a backend and variant. */
typedef struct {
    fal_counts counts;
    const fal_verdict *worst; /* the smallest margin */
    const fal_check *worst_check;
    fal_verdict_kind verdict;
    bool marginal;
} row;

static const fal_verdict_kind severity[] = { FAL_FALSIFIED,  FAL_CRASHED, FAL_TIMED_OUT, FAL_ERROR,  FAL_FLAKY,
                                             FAL_MISTRUSTED, FAL_NOT_RUN, FAL_BLOCKED,   FAL_WAIVED, FAL_SURVIVED };

static row make_row(const fal_run *run, int first, int last, const char *backend, const char *variant)
{
    row r = { .verdict = FAL_SURVIVED };
    for (int i = first; i < last; i++) {
        const fal_case *k = &run->plan->cases[i];
        const fal_verdict *v = &run->results[i].verdict;
        if (strcmp(k->backend, backend) != 0 || strcmp(k->variant, variant) != 0) continue;
        fal_counts_add(&r.counts, v->kind);
        r.marginal |= v->kind == FAL_SURVIVED && v->marginal;
        if (v->has_value && (!r.worst || v->margin < r.worst->margin)) {
            r.worst = v;
            r.worst_check = k->check;
        }
    }
    for (size_t s = sizeof severity / sizeof severity[0]; s-- > 0;)
        if (r.counts.by[severity[s]]) r.verdict = severity[s];
    return r;
}

static void print_row(const fal_falsifier *f, const char *backend, const char *variant, const row *r, bool colour,
                      FILE *out)
{
    static const char *const signs[] = { [FAL_LIMIT_MAX] = "<=", [FAL_LIMIT_MIN] = ">=", [FAL_LIMIT_EQUAL] = "=" };
    char text[96];
    fputs("  ", out);
    fal_report_pad(out, f->id, ID_COLUMN);
    fal_backend_label(backend, variant, text, sizeof text);
    fprintf(out, " %-*s ", BACKEND_COLUMN, text);
    snprintf(text, sizeof text, "%d/%d", r->counts.by[FAL_SURVIVED], r->counts.planned);
    fprintf(out, "%-*s ", CASES_COLUMN, text);
    if (r->worst) {
        snprintf(text, sizeof text, "%-11.6g %.32s", r->worst->value, r->worst->metric);
        fprintf(out, "%-*s ", WORST_COLUMN, text);
        snprintf(text, sizeof text, "%s %.6g", signs[r->worst_check->limit.kind], r->worst_check->limit.value);
        fprintf(out, "%-*s ", LIMIT_COLUMN, text);
        if (r->worst->has_noise) fprintf(out, "%-*.3g ", NOISE_COLUMN, r->worst->noise);
        else fprintf(out, "%-*s ", NOISE_COLUMN, "-");
        /* a limit of exactly 0 leaves no margin to speak of */
        if (isfinite(r->worst->margin) && (r->worst->margin < 0 || r->worst->margin > 0))
            fprintf(out, "%8.3g ", r->worst->margin);
        else
            fprintf(out, "%8s ", "-");
    } else {
        fprintf(out, "%-*s %-*s %-*s %8s ", WORST_COLUMN, "-", LIMIT_COLUMN, "-", NOISE_COLUMN, "-", "-");
    }
    fprintf(out, "%s%s%s%s\n", fal_report_colour(colour, r->verdict), fal_verdict_name(r->verdict),
            r->marginal ? " (marginal)" : "", fal_report_plain(colour));
}

/* The rows of one falsifier, whose cases are plan->cases[first..last). Rows that are blocked as a whole are left to the
   list of reasons, where they take one line altogether. */
static void print_falsifier(const fal_run *run, int first, int last, bool colour, FILE *f)
{
    int n = 0;
    const fal_backend *const *backends = fal_backend_all(&n);
    for (int b = 0; b <= n; b++) {
        const fal_backend *backend = b < n ? backends[b] : fal_backend_find("candidate");
        for (const char *const *v = backend->variants; *v; v++) {
            const row r = make_row(run, first, last, backend->name, *v);
            if (r.counts.by[FAL_BLOCKED] == r.counts.planned) continue;
            print_row(run->plan->cases[first].falsifier, backend->name, *v, &r, colour, f);
        }
    }
}

static void print_contracts(const fal_run *run, bool colour, FILE *f)
{
    const fal_plan *plan = run->plan;
    char text[400];
    for (int first = 0; first < plan->n_cases;) {
        const fal_contract *c = plan->cases[first].contract;
        fprintf(f, "\n%s", fal_report_bold(colour));
        fal_report_put(f, c->stem);
        fputc(' ', f);
        fal_report_put(f, c->version);
        fprintf(f, "%s\n", fal_report_plain(colour));
        const fal_counts counts = fal_run_counts(run, c, NULL);
        if (counts.by[FAL_BLOCKED] < counts.planned)
            fprintf(f, "  %-*s %-*s %-*s %-*s %-*s %-*s %8s %s\n", ID_COLUMN, "falsifier", BACKEND_COLUMN, "backend",
                    CASES_COLUMN, "survived", WORST_COLUMN, "worst value", LIMIT_COLUMN, "limit", NOISE_COLUMN, "noise", "margin", "verdict");
        while (first < plan->n_cases && plan->cases[first].contract == c) {
            int last = first;
            while (last < plan->n_cases && plan->cases[last].falsifier == plan->cases[first].falsifier) last++;
            print_falsifier(run, first, last, colour, f);
            first = last;
        }
        fal_counts_text(&counts, text, sizeof text);
        fprintf(f, "  %s\n", text);
    }
}

/* ---- what did not run -------------------------------------------------------------------------------------------- */

static void print_reasons(const fal_run *run, fal_verdict_kind kind, bool colour, FILE *f)
{
    const fal_plan *plan = run->plan;
    bool heading = false;
    bool *told = calloc((size_t)plan->n_cases + 1, sizeof *told);
    for (int i = 0; told && i < plan->n_cases; i++) {
        const fal_verdict *v = &run->results[i].verdict;
        if (v->kind != kind || told[i]) continue;
        int n = 0;
        bool required = false;
        for (int k = i; k < plan->n_cases; k++) {
            const fal_verdict *w = &run->results[k].verdict;
            if (w->kind != kind || plan->cases[k].backend != plan->cases[i].backend ||
                strcmp(w->reason, v->reason) != 0)
                continue;
            told[k] = true;
            required |= plan->cases[k].required;
            n++;
        }
        if (!heading)
            fprintf(f, "\n%s%s%s\n", fal_report_bold(colour), fal_verdict_name(kind), fal_report_plain(colour));
        heading = true;
        fprintf(f, "  %d case%s on %s%s: ", n, n == 1 ? "" : "s", plan->cases[i].backend,
                required ? " (required)" : "");
        fal_report_put(f, v->reason);
        if (v->detail[0]) {
            fputs("; ", f);
            fal_report_put(f, v->detail);
        }
        fputc('\n', f);
    }
    free(told);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static bool is_failure(fal_verdict_kind v)
{
    return v != FAL_SURVIVED && v != FAL_BLOCKED && v != FAL_NOT_RUN && v != FAL_WAIVED;
}

/* Lines of untrusted text, indented, at most `most` of them (the last ones when from_end). */
static void put_lines(FILE *f, const char *label, const char *text, int most, bool from_end)
{
    int n = 0;
    for (const char *c = text; *c; c += strcspn(c, "\n"), c += *c == '\n') n++;
    int i = 0;
    for (const char *c = text; *c; i++) {
        const size_t len = strcspn(c, "\n");
        const bool shown = from_end ? i >= n - most : i < most;
        if (shown && len) {
            fprintf(f, "    %-10s ", label);
            fal_text_print(f, c, len);
            fputc('\n', f);
            label = "";
        }
        c += len;
        c += *c == '\n';
    }
    if (!from_end && n > most) fprintf(f, "    %-10s ... %d more lines\n", "", n - most);
}

static void put_place(FILE *f, const char *place, double got, double want)
{
    fprintf(f, "    %-10s ", "worst at");
    fal_report_put(f, place);
    fprintf(f, ": got %.9g (%a), want %.9g (%a)\n", got, got, want, want);
}

static void print_failure(const fal_case *k, const fal_result *r, const fal_report_options *o, FILE *f)
{
    const fal_verdict *v = &r->verdict;
    fprintf(f, "  %s%s%s ", fal_report_colour(o->colour, v->kind), fal_verdict_name(v->kind),
            fal_report_plain(o->colour));
    fal_report_put(f, k->id);
    fputc('\n', f);
    put_lines(f, "reason", v->reason, 4, false);
    if (v->has_worst) put_place(f, v->worst, v->got, v->want);
    put_lines(f, "detail", v->detail, o->options->verbose ? 1000 : 12, false);
    if (r->log_tail) put_lines(f, "log", r->log_tail, 8, true);
    fprintf(f, "    %-10s ", "reproduce");
    fal_report_reproduction(k, o, f);
    fputc('\n', f);
    if (r->capsule) {
        fprintf(f, "    %-10s ", "replay");
        fal_report_replay(r, o, f);
        fputc('\n', f);
    } else if (r->no_capsule[0]) {
        put_lines(f, "no capsule", r->no_capsule, 1, false);
    }
}

/* What was claimed, once for all failures of one check. */
static void print_claim(const fal_case *k, const fal_report_options *o, FILE *f)
{
    fprintf(f, "\n%s", fal_report_bold(o->colour));
    fal_report_put(f, k->falsifier->id);
    fprintf(f, "%s/%s  ", fal_report_plain(o->colour), k->check->name);
    fal_report_put(f, k->contract->path);
    fprintf(f, ":%d\n", k->check->place.line);
    put_lines(f, "claim", k->falsifier->prediction ? k->falsifier->prediction : "", 4, false);
    put_lines(f, "if fails", k->falsifier->if_fails ? k->falsifier->if_fails : "", 4, false);
}

static void print_failures(const fal_run *run, const fal_report_options *o, FILE *f)
{
    const int n = fal_counts_failed(&run->tally.all), most = o->options->verbose ? n : MOST_FAILURES;
    const fal_case *before = NULL;
    int shown = 0;
    if (n == 0) return;
    fprintf(f, "\n%s%d failure%s%s\n", fal_report_bold(o->colour), n, n == 1 ? "" : "s", fal_report_plain(o->colour));
    for (int i = 0; i < run->plan->n_cases; i++) {
        const fal_case *k = &run->plan->cases[i];
        if (!is_failure(run->results[i].verdict.kind) || shown++ >= most) continue;
        if (!before || before->falsifier != k->falsifier || strcmp(before->check->name, k->check->name) != 0)
            print_claim(k, o, f);
        print_failure(k, &run->results[i], o, f);
        before = k;
    }
    if (shown > most) fprintf(f, "\n... and %d more failures; -v or --json shows all\n", shown - most);
}

/* Passes that are marked: near a limit, or far better than what was declared. */
static void print_marked(const fal_run *run, const fal_report_options *o, FILE *f)
{
    const int most = o->options->verbose ? run->plan->n_cases : MOST_FAILURES;
    int n = 0;
    for (int i = 0; i < run->plan->n_cases; i++) {
        const fal_verdict *v = &run->results[i].verdict;
        if (v->kind != FAL_SURVIVED || !v->marginal) continue;
        if (n == 0) fprintf(f, "\n%smarginal passes%s\n", fal_report_bold(o->colour), fal_report_plain(o->colour));
        if (n++ >= most) continue;
        fputs("  ", f);
        fal_report_put(f, run->plan->cases[i].id);
        fputs("\n    ", f);
        fal_report_put(f, v->reason);
        fputc('\n', f);
    }
    if (n > most) fprintf(f, "  ... and %d more; -v or --json shows all\n", n - most);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

void fal_report_run(const fal_run *run, const fal_report_options *o, FILE *f)
{
    const fal_plan *plan = run->plan;
    char text[400];
    fprintf(f, "falsify %s (%s)\n", FAL_VERSION, o->revision);
    fal_report_devices(o->probes, plan, o->colour, f);
    fputs("model      ", f);
    fal_report_put(f, plan->model);
    fprintf(f, "%s%.16s\nseeds      the contracts' own", run->model_sha256[0] ? ", sha256 " : ", not needed",
            run->model_sha256);
    if (o->options->has_seed) fprintf(f, ", and %llu", (unsigned long long)o->options->seed);
    fputc('\n', f);

    print_contracts(run, o->colour, f);
    print_reasons(run, FAL_BLOCKED, o->colour, f);
    print_reasons(run, FAL_NOT_RUN, o->colour, f);
    print_reasons(run, FAL_WAIVED, o->colour, f);
    fal_report_waivers(run, o->colour, f);
    fal_report_claims(plan, o->options->verbose, o->colour, f);
    print_marked(run, o, f);
    print_failures(run, o, f);
    if (o->more) o->more(o->more_user, f);
    fal_report_declared(run, o->colour, f);
    fal_report_trials(run, o->colour, f);

    fputc('\n', f);
    for (int i = 0; i < o->probes->n; i++) {
        const char *backend = o->probes->items[i].backend->name;
        const fal_counts c = fal_run_counts(run, NULL, backend);
        if (c.planned == 0) continue;
        fal_counts_text(&c, text, sizeof text);
        fprintf(f, "%-10s %s\n", backend, text);
    }
    fal_counts_text(&run->tally.all, text, sizeof text);
    fprintf(f, "%-10s %s\n", "run", text);
    if (o->evidence) {
        fprintf(f, "evidence   %d files, listed in ", o->n_evidence);
        fal_report_put(f, o->evidence);
        fputc('\n', f);
    }
    fprintf(f, "time       %.1f s, %d observations\n", run->seconds, plan->n_specs);
    fprintf(f, "%d passed, %d failed, %d skipped\n", fal_counts_passed(&run->tally.all),
            fal_counts_failed(&run->tally.all), fal_counts_skipped(&run->tally.all));
}
