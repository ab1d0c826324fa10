/* Validation for people: diagnoses like a compiler, counts, the map from obligations to falsifiers. */
#include "harness/diagnosis.h"
#include "harness/validation.h"

#include "harness/text.h"

#include <string.h>

void fal_validation_print_diagnoses(const fal_validation *v, const fal_validation_style *style, FILE *f)
{
    bool explained[FAL_N_RULES] = { false };
    size_t n = 0, hidden = 0;
    for (size_t i = 0; i < v->diag.n; i++) {
        const fal_diagnosis *d = &v->diag.items[i];
        if (d->severity == FAL_NOTE && !style->notes) continue;
        if (style->most && n++ >= style->most) {
            hidden++;
            continue;
        }
        fal_diagnosis_print(d, !explained[d->rule_id], style->colour, f);
        explained[d->rule_id] = true;
    }
    if (hidden) fprintf(f, "%zu further diagnoses are not shown; --max 0 shows all\n", hidden);
}

static void print_map(const fal_validation *v, FILE *f)
{
    enum { MOST = 64 };
    const char *ids[MOST];
    for (int i = 0; i < v->set->n_contracts; i++) {
        const fal_contract *c = v->set->contracts[i];
        if (c->n_obligations == 0) continue;
        fprintf(f, "%s  %d of %d obligations bound\n", c->stem, v->of[i].obligations_bound, v->of[i].obligations);
        for (int k = 0; k < c->n_obligations; k++) {
            const char *id = c->obligations[k].id;
            fputs("  ", f);
            fal_text_print(f, *id ? id : "(no id)", *id ? strlen(id) : 7);
            fputs(" <-", f);
            const int n = fal_validation_falsifiers_of(v, id, ids, MOST);
            for (int j = 0; j < n && j < MOST; j++) fprintf(f, " %s", ids[j]);
            fputs(n == 0 ? " nothing\n" : "\n", f);
        }
    }
}

static const char *s_of(size_t n)
{
    return n == 1 ? "" : "s";
}

void fal_validation_print_summary(const fal_validation *v, const fal_validation_style *style, FILE *f)
{
    const fal_claim_counts *c = &v->all;
    if (style->map) print_map(v, f);
    fprintf(f, "contracts    %d found, %d read as YAML, %d valid (profile %s)\n", v->set->n_found, v->set->n_read,
            v->n_valid, fal_profile_name(v->profile));
    if (v->n_valid < v->set->n_found) fprintf(f, "in the %d whose form and references hold:\n", v->set->n_contracts);
    fprintf(f, "falsifiers   %d = %d bound (%d checks) + %d unbound + %d retired\n", c->falsifiers, c->bound, c->checks,
            c->unbound, c->retired);
    fprintf(f, "obligations  %d of %d have a bound falsifier\n", c->obligations_bound, c->obligations);
    fprintf(f, "diagnoses    %zu error%s, %zu warning%s, %zu note%s%s\n", v->n_errors, s_of(v->n_errors), v->n_warnings,
            s_of(v->n_warnings), v->n_notes, s_of(v->n_notes),
            v->n_notes && !style->notes ? " (--notes shows them)" : "");
}

/* ---- GitHub ---- */

/* Text of a workflow command: what would end it or start another is escaped, and what a terminal would act on is shown. */
static void put_escaped(FILE *f, const char *s, bool property)
{
    fal_text safe = { 0 };
    fal_text_add_safe(&safe, s, strlen(s));
    for (const char *c = fal_text_str(&safe); *c; c++) {
        if (*c == '%')
            fputs("%25", f);
        else if (*c == '\r')
            fputs("%0D", f);
        else if (*c == '\n')
            fputs("%0A", f);
        else if (property && *c == ':')
            fputs("%3A", f);
        else if (property && *c == ',')
            fputs("%2C", f);
        else
            fputc(*c, f);
    }
    fal_text_free(&safe);
}

void fal_validation_print_github(const fal_validation *v, FILE *f)
{
    enum { MOST = 10 }; /* of a kind and step: GitHub drops the rest silently */
    static const struct {
        fal_severity severity;
        const char *command, *words;
    } kinds[] = { { FAL_MISTAKE, "error", "errors" },
                  { FAL_WARNING, "warning", "warnings" },
                  { FAL_NOTE, "notice", "notes" } };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        int n = 0;
        for (size_t i = 0; i < v->diag.n; i++) {
            const fal_diagnosis *d = &v->diag.items[i];
            if (d->severity != kinds[k].severity || n++ >= MOST) continue;
            fprintf(f, "::%s file=", kinds[k].command);
            put_escaped(f, d->path, true);
            if (d->place.line > 0)
                fprintf(f, ",line=%d,col=%d,endColumn=%d", d->place.line, d->place.column, d->place.column + d->width);
            fprintf(f, ",title=%s::", d->rule);
            put_escaped(f, d->message, false);
            if (d->suggestion) {
                fputs("%0A", f);
                put_escaped(f, d->suggestion, false);
            }
            fprintf(f, "%%0Afalsify explain %s\n", d->rule);
        }
        if (n > MOST) fprintf(f, "%d further %s have no annotation\n", n - MOST, kinds[k].words);
    }
}
