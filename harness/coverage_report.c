/* The coverage matrix as text and Markdown: obligations x falsifiers x backends x evidence. */
#include "harness/report.h"
#include "harness/status_report.h"

#include <string.h>

static const char *const backends[] = { "reference", "opencl", "cuda" };
enum { N_BACKENDS = sizeof backends / sizeof backends[0] };

static bool shows(const fal_status_report *r, const char *backend)
{
    for (int i = 0; i < r->args->backends.n; i++)
        if (strcmp(r->args->backends.items[i], backend) == 0) return true;
    return r->args->backends.n == 0;
}

static bool cites(const fal_falsifier *f, const char *id)
{
    for (int i = 0; i < f->n_obligations; i++)
        if (strcmp(f->obligations[i], id) == 0) return true;
    return false;
}

/* What stands in a cell: "survived", "survived (cpu)", "-" where no check names the backend. */
static void cell_text(const fal_cell *c, char *text, size_t size)
{
    if (!c)
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%s%s", fal_claim_state_name(c->state),
                 c->state == FAL_CLAIM_SURVIVED && !c->hardware ? " (cpu)" : "");
}

static void print_row(const fal_status_report *r, const char *obligation, const fal_falsifier *f, bool markdown,
                      FILE *f_out)
{
    if (markdown)
        fprintf(f_out, "| %s | %s |", obligation, f ? f->id : "");
    else {
        fputs("  ", f_out);
        fal_report_pad(f_out, obligation, 24);
        fputc(' ', f_out);
        fal_report_pad(f_out, f ? f->id : "", 42);
    }
    for (int b = 0; b < N_BACKENDS; b++) {
        if (!shows(r, backends[b])) continue;
        char text[40] = "-";
        if (f) cell_text(f->retired ? NULL : fal_derived_cell(r->derived, f, backends[b]), text, sizeof text);
        if (f && f->n_checks == 0 && !f->retired) snprintf(text, sizeof text, "unbound");
        if (!f) snprintf(text, sizeof text, "no falsifier");
        fprintf(f_out, markdown ? " %s |" : " %-15s", text);
    }
    fputc('\n', f_out);
}

/* The evidence behind a row: which files there are, and whether they count. */
static void print_files(const fal_status_report *r, const fal_falsifier *falsifier, FILE *f)
{
    for (int i = 0; i < r->records->n; i++) {
        const fal_record *x = &r->records->items[i];
        if (strcmp(x->id, falsifier->id) != 0 || !shows(r, x->backend)) continue;
        fprintf(f, "%*s", 29, "");
        fal_report_put(f, x->path + strcspn(x->path, "/") + (strchr(x->path, '/') != NULL));
        fprintf(f, ": %s%s", fal_verdict_name(x->verdict), fal_record_counts(x) ? "" : ", does not count: ");
        if (!fal_record_counts(x)) fal_report_put(f, x->why_not);
        fputc('\n', f);
    }
}

static void print_matrix(const fal_status_report *r, bool markdown, FILE *f)
{
    int obligations = 0, bound = 0, survived = 0;
    if (markdown) {
        fputs("| obligation | falsifier |", f);
        for (int b = 0; b < N_BACKENDS; b++)
            if (shows(r, backends[b])) fprintf(f, " %s |", backends[b]);
        fputs("\n|---|---|", f);
        for (int b = 0; b < N_BACKENDS; b++)
            if (shows(r, backends[b])) fputs("---|", f);
        fputc('\n', f);
    } else {
        fprintf(f, "  %-24s %-42s", "obligation", "falsifier");
        for (int b = 0; b < N_BACKENDS; b++)
            if (shows(r, backends[b])) fprintf(f, " %-15s", backends[b]);
        fputc('\n', f);
    }
    for (int i = 0; i < r->derived->n_contracts; i++) {
        const fal_derived_contract *d = &r->derived->contracts[i];
        if (!fal_cmd_takes(r->args, d->contract)) continue;
        obligations += d->contract->n_obligations;
        bound += d->n_bound;
        survived += d->n_survived;
        if (!markdown)
            fprintf(f, "%s: %d of %d obligations bound, %d survived\n", d->contract->stem, d->n_bound,
                    d->contract->n_obligations, d->n_survived);
        for (int o = 0; o < d->contract->n_obligations; o++) {
            const char *id = d->contract->obligations[o].id;
            bool any = false;
            for (int c = 0; c < r->set->n_contracts; c++)
                for (int k = 0; k < r->set->contracts[c]->n_falsifiers; k++) {
                    const fal_falsifier *falsifier = &r->set->contracts[c]->falsifiers[k];
                    if (falsifier->retired || !cites(falsifier, id)) continue;
                    print_row(r, any && !markdown ? "" : id, falsifier, markdown, f);
                    if (r->args->verbose && !markdown) print_files(r, falsifier, f);
                    any = true;
                }
            if (!any) print_row(r, id, NULL, markdown, f);
        }
    }
    fprintf(f, "\nobligations  %d: %d bound, %d survived\n", obligations, bound, survived);
}

void fal_coverage_text(const fal_status_report *r, FILE *f)
{
    print_matrix(r, false, f);
    fprintf(
        f,
        "falsifiers   x backends: %d = %d fresh + %d falsified + %d undecided + %d stale + %d missing + %d excused\n",
        r->fresh.cells, r->fresh.fresh, r->fresh.falsified, r->fresh.undecided, r->fresh.stale, r->fresh.missing,
        r->fresh.excused);
}

void fal_coverage_markdown(const fal_status_report *r, FILE *f)
{
    print_matrix(r, true, f);
}
