/* What a candidate declares to compute with, and what its results say of that. */
#include "harness/report.h"

#include <string.h>

void fal_report_declaration(const fal_declaration *d, FILE *f)
{
    char text[96];
    fal_arithmetic_text(&d->a, text, sizeof text);
    fprintf(f, "arithmetic %s%s\n", d->said ? "declared: " : "not declared, so taken as ", text);
}

/* The words of falsifiers/arithmetic.c, in which each of its verdicts is one of these. */
static const char *const words[] = { "rounding as declared",         "rounding as taken",
                                     "closer: fits",                 "far better than",
                                     "arithmetic not as",            "a bug or another arithmetic",
                                     "a bug, though errors have the", "a bug: no known arithmetic" };
enum { N_WORDS = sizeof words / sizeof words[0] };

static int word_of(const fal_verdict *v)
{
    int w = 0;
    while (w < N_WORDS && !strstr(v->reason, words[w])) w++;
    return w;
}

void fal_report_declared(const fal_run *run, bool colour, FILE *f)
{
    static const char *const meaning[N_WORDS] = { "rounding as declared",
                                                  "rounding as float32, which is taken where nothing is declared",
                                                  "within the declared bound, but closer to another arithmetic",
                                                  "far better than declared: another kernel than that one, or a slower one than need be",
                                                  "arithmetic not as declared: another one fits",
                                                  "a bug or another arithmetic: too few outputs to tell",
                                                  "a bug, of the size of sums in a short type",
                                                  "a bug: no arithmetic explains it" };
    const fal_plan *plan = run->plan;
    int n[N_WORDS] = { 0 }, all = 0;
    for (int i = 0; i < plan->n_cases; i++) {
        if (!plan->cases[i].candidate || strcmp(plan->cases[i].check->judge, "arithmetic") != 0) continue;
        const int w = word_of(&run->results[i].verdict);
        if (w == N_WORDS) continue;
        n[w]++;
        all++;
    }
    if (all == 0 || !plan->declared) return;
    fprintf(f, "\n%sarithmetic%s\n", fal_report_bold(colour), fal_report_plain(colour));
    for (int w = 0; w < N_WORDS; w++)
        if (n[w]) fprintf(f, "  %3d case%s %s\n", n[w], n[w] == 1 ? " " : "s", meaning[w]);
}
