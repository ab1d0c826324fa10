/* The report of derived status as text and Markdown. */
#include "harness/status_report.h"

#include "harness/report.h"
#include "harness/text.h"

#include <string.h>

static const char *mark(const fal_status_report *r, bool above, bool less)
{
    if (!r->args->colour_out) return "";
    return above ? "\033[1;31m" : less ? "\033[33m" : "\033[32m";
}

static void put_line(FILE *f, int indent, const char *label, const char *text)
{
    fprintf(f, "%*s%s", indent, "", label);
    fal_report_put(f, text);
    fputc('\n', f);
}

static void print_level(const fal_status_report *r, int indent, const char *name, const char *says, const char *is,
                        bool above, bool less, FILE *f)
{
    fprintf(f, "%*s", indent, "");
    fal_report_pad(f, name, 36 - indent);
    fprintf(f, " %-24s %s%s%s%s", says, mark(r, above, less), is, fal_report_plain(r->args->colour_out),
            above ? "  <- says more" : "");
    fputc('\n', f);
}

static const char *stage_name(const fal_stage *s, fal_text *t)
{
    fal_text_free(t);
    fal_text_add(t, s->id);
    for (int i = 0; i < s->n_backends; i++) fal_text_addf(t, "%s%s", i ? "," : " (", s->backends[i]);
    if (s->n_backends) fal_text_add(t, ")");
    return fal_text_str(t);
}

static void print_obligations(const fal_status_report *r, const fal_derived_contract *d, FILE *f)
{
    for (int i = 0; i < d->contract->n_obligations; i++) {
        const fal_derived_obligation *o = &d->obligations[i];
        fputs("    ", f);
        fal_report_pad(f, o->obligation->id, 24);
        fprintf(f, " %s, %d falsifier%s%s", fal_claim_state_name(o->standing.state), o->standing.n_falsifiers,
                o->standing.n_falsifiers == 1 ? "" : "s", o->runtime ? ", at run time" : "");
        if (o->standing.why) fputs(": ", f);
        fal_report_put(f, o->standing.why);
        fputc('\n', f);
    }
    for (int i = 0; i < r->derived->n_cells; i++) {
        const fal_cell *c = &r->derived->cells[i];
        if (c->contract != d->contract) continue;
        fputs("    ", f);
        fal_report_pad(f, c->falsifier->id, 44);
        fprintf(f, " %-10s %-9s %d of %d checks, %d of %d files count%s\n", c->backend, fal_claim_state_name(c->state),
                c->n_survived, c->n_checks, c->n_counting, c->n_records,
                c->state == FAL_CLAIM_SURVIVED && !c->hardware ? ", on a CPU only" : "");
    }
}

static const char *awaited_word(const fal_awaited *a)
{
    return a->state == FAL_AWAITED_PRESENT ? "is here" : a->state == FAL_AWAITED_ABSENT ? "not here" : "not looked for";
}

static void print_contract(const fal_status_report *r, const fal_derived_contract *d, FILE *f)
{
    fal_text name = { 0 };
    print_level(r, 0, d->contract->stem, fal_contract_level_name(d->says), fal_contract_level_name(d->is), d->above,
                d->is == FAL_CONTRACT_DRAFT, f);
    fprintf(f, "  obligations  %d of %d bound, %d survived\n", d->n_bound, d->contract->n_obligations, d->n_survived);
    if (d->why) put_line(f, 2, "held by      ", d->why);
    for (int i = 0; i < d->contract->n_stages; i++) {
        const fal_derived_stage *s = &d->stages[i];
        print_level(r, 2, stage_name(s->stage, &name), s->stage->status, fal_stage_level_name(s->is), s->above,
                    s->is < FAL_STAGE_SHIPPED && s->is != FAL_STAGE_RECORDED, f);
        if (s->why && (s->above || (r->args->verbose && s->stage->n_obligations))) put_line(f, 6, "", s->why);
    }
    for (int i = 0; i < r->awaited->n; i++) {
        const fal_awaited *a = &r->awaited->items[i];
        if (a->contract != d->contract) continue;
        fputs("  waits for    ", f);
        fal_report_put(f, a->what);
        fprintf(f, "%s%s: %s %s", a->stage ? ", " : "", a->stage ? a->stage->id : "", awaited_word(a),
                a->found[0] ? "as " : "");
        fal_report_put(f, a->found);
        fputc('\n', f);
    }
    if (r->args->verbose) print_obligations(r, d, f);
    fal_text_free(&name);
}

static int count_counting(const fal_records *r)
{
    int n = 0;
    for (int i = 0; i < r->n; i++) n += fal_record_counts(&r->items[i]);
    return n;
}

/* Why files do not count: each reason once, with how many files it keeps out. */
static void print_reasons(const fal_status_report *r, FILE *f)
{
    const fal_records *all = r->records;
    for (int i = 0; i < all->n; i++) {
        const char *why = all->items[i].why_not;
        if (fal_record_counts(&all->items[i]) || !why) continue;
        int n = 0;
        bool first = true;
        for (int k = 0; k < all->n; k++) {
            if (fal_record_counts(&all->items[k]) || !all->items[k].why_not || strcmp(all->items[k].why_not, why) != 0)
                continue;
            if (k < i) first = false;
            n++;
        }
        if (!first) continue;
        fprintf(f, "  %4d not counted: ", n);
        fal_report_put(f, why);
        fputc('\n', f);
    }
}

void fal_status_text(const fal_status_report *r, FILE *f)
{
    const fal_records *records = r->records;
    int obligations = 0, bound = 0, survived = 0, shown = 0, above = 0;
    const bool quiet = r->args->quiet;
    if (!quiet) fprintf(f, "%-36s %-24s %s\n", "contract, stage", "says", "evidence");
    for (int i = 0; i < r->derived->n_contracts; i++) {
        const fal_derived_contract *d = &r->derived->contracts[i];
        if (!fal_cmd_takes(r->args, d->contract)) continue;
        if (!quiet) print_contract(r, d, f);
        shown++;
        above += d->above;
        for (int k = 0; k < d->contract->n_stages; k++) above += d->stages[k].above;
        obligations += d->contract->n_obligations;
        bound += d->n_bound;
        survived += d->n_survived;
    }
    const int counting = count_counting(records);
    fprintf(f, "%sevidence     %d files of %d runs: %d count, %d do not; %d problem%s\n", quiet ? "" : "\n", records->n,
            records->n_runs, counting, records->n - counting, records->n_problems, records->n_problems == 1 ? "" : "s");
    if (!quiet) print_reasons(r, f);
    const fal_fresh_count *t = &r->fresh;
    fprintf(
        f,
        "falsifiers   x backends: %d = %d fresh + %d falsified + %d undecided + %d stale + %d missing + %d excused\n",
        t->cells, t->fresh, t->falsified, t->undecided, t->stale, t->missing, t->excused);
    fprintf(f, "obligations  %d: %d bound, %d survived\n", obligations, bound, survived);
    fprintf(f, "contracts    %d: %d say%s more than the evidence (stages included)\n", shown, above,
            above == 1 ? "s" : "");
}

/* ---- Markdown ---- */

/* A cell of a table: '|' would end it. */
static void put_cell(FILE *f, const char *s)
{
    fal_text safe = { 0 };
    fal_text_add_safe(&safe, s ? s : "", s ? strlen(s) : 0);
    for (const char *c = fal_text_str(&safe); *c; c++) {
        if (strchr("|<>&`*_[]\\", *c)) fputc('\\', f);
        fputc(*c, f);
    }
    fal_text_free(&safe);
}

static void put_row(FILE *f, const char *name, const char *says, const char *is, bool above, const char *why)
{
    fputs("| ", f);
    put_cell(f, name);
    fprintf(f, " | %s | %s%s%s | ", says, above ? "**" : "", is, above ? "**" : "");
    put_cell(f, why);
    fputs(" |\n", f);
}

void fal_status_markdown(const fal_status_report *r, FILE *f)
{
    fal_text name = { 0 };
    fputs("| contract, stage | says | evidence | held by |\n|---|---|---|---|\n", f);
    for (int i = 0; i < r->derived->n_contracts; i++) {
        const fal_derived_contract *d = &r->derived->contracts[i];
        if (!fal_cmd_takes(r->args, d->contract)) continue;
        put_row(f, d->contract->stem, fal_contract_level_name(d->says), fal_contract_level_name(d->is), d->above,
                d->why);
        for (int k = 0; k < d->contract->n_stages; k++) {
            const fal_derived_stage *s = &d->stages[k];
            put_row(f, stage_name(s->stage, &name), s->stage->status, fal_stage_level_name(s->is), s->above,
                    s->stage->n_obligations ? s->why : NULL);
        }
    }
    fal_text_free(&name);
}
