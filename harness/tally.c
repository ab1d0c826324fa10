/* Denominators and the exit status: pure functions of counts. */
#include "harness/tally.h"

#include <stdio.h>
#include <string.h>

void fal_counts_add(fal_counts *c, fal_verdict_kind kind)
{
    c->planned++;
    c->by[kind]++;
}

int fal_counts_passed(const fal_counts *c)
{
    return c->by[FAL_SURVIVED];
}

int fal_counts_skipped(const fal_counts *c)
{
    return c->by[FAL_BLOCKED] + c->by[FAL_NOT_RUN] + c->by[FAL_WAIVED];
}

int fal_counts_failed(const fal_counts *c)
{
    return c->planned - fal_counts_passed(c) - fal_counts_skipped(c);
}

int fal_counts_executed(const fal_counts *c)
{
    return c->planned - c->by[FAL_BLOCKED] - c->by[FAL_NOT_RUN];
}

void fal_counts_text(const fal_counts *c, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "planned %d =", c->planned);
    const char *plus = "";
    for (int v = 0; v < FAL_N_VERDICTS && at < size; v++) {
        if (c->by[v] == 0 && v != FAL_SURVIVED && v != FAL_FALSIFIED) continue;
        at += (size_t)snprintf(text + at, size - at, "%s %s %d", plus, fal_verdict_name((fal_verdict_kind)v), c->by[v]);
        plus = " +";
    }
}

/* Cases that ran and gave no verdict that counts. */
static int undecided(const fal_counts *c)
{
    return c->by[FAL_CRASHED] + c->by[FAL_TIMED_OUT] + c->by[FAL_ERROR] + c->by[FAL_FLAKY] + c->by[FAL_MISTRUSTED];
}

static void list_incomplete(const fal_tally *t, char *text, size_t size)
{
    static const fal_verdict_kind kinds[] = { FAL_BLOCKED, FAL_NOT_RUN, FAL_CRASHED,   FAL_TIMED_OUT,
                                              FAL_ERROR,   FAL_FLAKY,   FAL_MISTRUSTED };
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && at < size; i++) {
        const bool absent = kinds[i] == FAL_BLOCKED || kinds[i] == FAL_NOT_RUN;
        const int n = absent ? t->required.by[kinds[i]] : t->all.by[kinds[i]];
        if (n) at += (size_t)snprintf(text + at, size - at, "%s%d %s", at ? ", " : "", n, fal_verdict_name(kinds[i]));
    }
}

int fal_tally_exit(const fal_tally *t, char *reason, size_t size)
{
    const fal_counts *a = &t->all, *r = &t->required;
    reason[0] = '\0';
    if (t->interrupted) {
        snprintf(reason, size, "interrupted; %d of %d cases not run", a->by[FAL_NOT_RUN], a->planned);
        return 130;
    }
    if (t->not_written) {
        snprintf(reason, size, "output could not be written");
        return 8;
    }
    if (t->bad_input) {
        snprintf(reason, size, "bad input");
        return 3;
    }
    if (a->by[FAL_FALSIFIED]) {
        snprintf(reason, size, "%d of %d cases falsified", a->by[FAL_FALSIFIED], a->planned);
        return 1;
    }
    if (t->untrusted) {
        snprintf(reason, size, "evidence is not to be trusted");
        return 7;
    }
    if (t->stale) {
        snprintf(reason, size, "evidence is stale or missing");
        return 6;
    }
    if (a->planned == 0) {
        snprintf(reason, size, "nothing was selected");
        return 4;
    }
    if (undecided(a) || r->by[FAL_BLOCKED] || r->by[FAL_NOT_RUN]) {
        char list[200];
        list_incomplete(t, list, sizeof list);
        snprintf(reason, size, "incomplete: %s", list);
        return 5;
    }
    if (fal_counts_executed(a) == 0) {
        if (a->by[FAL_NOT_RUN]) {
            snprintf(reason, size, "incomplete: nothing was run");
            return 5;
        }
        snprintf(reason, size, "all %d cases are blocked, and none is required", a->planned);
        return 77;
    }
    return 0;
}
