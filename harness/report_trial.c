/* The benchmark of a candidate as a table: its time a call beside ours, and beside what the bytes alone would take. */
#include "harness/report.h"
#include "harness/text.h"

#include <string.h>

static double number(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}

static void print_time(double seconds, FILE *f)
{
    if (seconds < 1e-3)
        fprintf(f, "%10.2f us", 1e6 * seconds);
    else
        fprintf(f, "%10.3f ms", 1e3 * seconds);
}

static void print_trial(const fal_case *k, const json_t *t, FILE *f)
{
    const double seconds = number(t, "seconds_per_call"), bytes = number(t, "bytes_per_call"),
                 read = number(t, "read_gb_per_s");
    const json_t *ours = json_object_get(t, "ours");
    fputs("  ", f);
    fal_report_put(f, k->what);
    fprintf(f, ": %.4g MB and %.0f timed calls\n    %-16s", 1e-6 * bytes, number(t, "timed_calls"), "candidate");
    print_time(seconds, f);
    fprintf(f, "  %8.2f GB/s", number(t, "gb_per_s"));
    if (read > 0)
        fprintf(f, "  %5.1f %% of %.1f GB/s, %s over %.3g MB", 100 * number(t, "gb_per_s") / read, read,
                json_string_value(json_object_get(t, "roofline")), 1e-6 * number(t, "roofline_bytes"));
    fputc('\n', f);
    for (size_t i = 0; i < json_array_size(ours); i++) {
        const json_t *o = json_array_get(ours, i);
        const double own = number(o, "seconds_per_call");
        char label[48];
        fal_backend_label(json_string_value(json_object_get(o, "backend")),
                          json_string_value(json_object_get(o, "variant")), label, sizeof label);
        fprintf(f, "    %-16s", label);
        print_time(own, f);
        fprintf(f, "  %8.2f GB/s  the candidate has %.3g times its speed\n", 1e-9 * bytes / own, own / seconds);
    }
}

void fal_report_trials(const fal_run *run, bool colour, FILE *f)
{
    bool heading = false;
    for (int i = 0; i < run->plan->n_cases; i++) {
        const json_t *t = run->results[i].trial;
        bool told = false; /* several falsifiers judge one trial */
        for (int k = 0; k < i && !told; k++)
            told = run->results[k].trial && run->plan->cases[k].got == run->plan->cases[i].got;
        if (!t || told) continue;
        if (!heading) fprintf(f, "\n%sbenchmark%s\n", fal_report_bold(colour), fal_report_plain(colour));
        heading = true;
        print_trial(&run->plan->cases[i], t, f);
    }
}
