/* What the reports share: escaped text, colours, devices, claims without cases, reproduction lines. */
#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/text.h"

#include <string.h>

void fal_report_put(FILE *f, const char *s)
{
    if (s) fal_text_print(f, s, strlen(s));
}

void fal_report_pad(FILE *f, const char *s, int width)
{
    fal_text t = { 0 };
    fal_text_add_safe(&t, s, strlen(s));
    fputs(fal_text_str(&t), f);
    for (int i = fal_text_width(fal_text_str(&t), t.len); i < width; i++) fputc(' ', f);
    fal_text_free(&t);
}

const char *fal_report_plain(bool colour)
{
    return colour ? "\033[0m" : "";
}
const char *fal_report_bold(bool colour)
{
    return colour ? "\033[1m" : "";
}

const char *fal_report_colour(bool colour, fal_verdict_kind verdict)
{
    if (!colour) return "";
    if (verdict == FAL_SURVIVED) return "\033[32m";
    return verdict == FAL_BLOCKED || verdict == FAL_NOT_RUN || verdict == FAL_WAIVED ? "\033[33m" : "\033[1;31m";
}

void fal_report_devices(const fal_probes *probes, const fal_plan *plan, bool colour, FILE *f)
{
    for (int i = 0; i < probes->n; i++) {
        const fal_probe *p = &probes->items[i];
        const fal_device_info *planned = NULL;
        for (int k = 0; k < plan->n_cases && !planned; k++)
            if (strcmp(plan->cases[k].backend, p->backend->name) == 0) planned = plan->cases[k].device;
        bool used = false;
        for (int k = 0; k < plan->n_cases && !used; k++) used = strcmp(plan->cases[k].backend, p->backend->name) == 0;
        if (!used && strcmp(p->backend->name, "reference") != 0) continue;
        fprintf(f, "%-10s ", p->backend->name);
        if (p->state == FAL_PROBE_NOT_ASKED) {
            fputs("not probed\n", f);
        } else if (p->state == FAL_PROBE_BLOCKED) {
            fprintf(f, "%sblocked%s: ", fal_report_colour(colour, FAL_BLOCKED), fal_report_plain(colour));
            fal_report_put(f, p->error.message);
            if (p->error.hint[0]) {
                fputs(" (", f);
                fal_report_put(f, p->error.hint);
                fputc(')', f);
            }
            fputc('\n', f);
        } else {
            const fal_device_info *d = planned ? planned : &p->devices[0];
            fal_report_put(f, d->name);
            fputs(", ", f);
            fal_report_put(f, d->driver);
            if (p->n > 1) fprintf(f, " (device %d of %d)", d->index, p->n);
            fputc('\n', f);
        }
    }
    if (plan->declared) fal_report_declaration(plan->declared, f);
}

/* ---- claims without cases ---------------------------------------------------------------------------------------- */

static void list_claims(const fal_claim *claims, int n, bool retired, bool verbose, FILE *f)
{
    for (int i = 0; i < n;) {
        const fal_contract *c = claims[i].contract;
        int last = i;
        while (last < n && claims[last].contract == c) last++;
        fputs("  ", f);
        fal_report_put(f, c->stem);
        fprintf(f, ": %d\n", last - i);
        for (; i < last; i++) {
            const fal_falsifier *x = claims[i].falsifier;
            const char *why = retired ? x->end_condition : x->unbound_because;
            if (!verbose && !retired) continue;
            fputs("    ", f);
            fal_report_put(f, x->id);
            if (why) {
                fputs(retired ? "  until: " : "  ", f);
                fal_report_put(f, why);
            }
            fputc('\n', f);
        }
    }
}

void fal_report_claims(const fal_plan *plan, bool verbose, bool colour, FILE *f)
{
    if (plan->n_unbound) {
        fprintf(f, "\n%s%d unbound%s: claims in prose only, which nothing tests%s\n", fal_report_bold(colour),
                plan->n_unbound, fal_report_plain(colour), verbose ? "" : " (-v names them)");
        list_claims(plan->unbound, plan->n_unbound, false, verbose, f);
    }
    if (plan->n_retired) {
        fprintf(f, "\n%s%d retired%s: kept on record, not run\n", fal_report_bold(colour), plan->n_retired,
                fal_report_plain(colour));
        list_claims(plan->retired, plan->n_retired, true, verbose, f);
    }
}

json_t *fal_report_claims_json(const fal_claim *claims, int n, bool retired)
{
    json_t *j = json_array();
    for (int i = 0; i < n; i++) {
        const fal_falsifier *x = claims[i].falsifier;
        json_array_append_new(j, json_pack("{s:s, s:s, s:o}", "id", x->id, "contract", claims[i].contract->stem,
                                           retired ? "end_condition" : "because",
                                           fal_json_text(retired ? x->end_condition : x->unbound_because)));
    }
    return j;
}

json_t *fal_report_probes_json(const fal_probes *probes)
{
    json_t *j = json_array();
    for (int i = 0; i < probes->n; i++) json_array_append_new(j, fal_probe_to_json(&probes->items[i]));
    return j;
}

/* ---- reproduction ------------------------------------------------------------------------------------------------ */

/* One word for a POSIX shell. Control characters of an argument would not survive the terminal; they are escaped, and
   the line then has to be typed by hand. */
static void put_word(FILE *f, const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:,+@%";
    if (*s && s[strspn(s, plain)] == '\0') {
        fputs(s, f);
        return;
    }
    fputc('\'', f);
    for (const char *c = s; *c;) {
        const size_t n = strcspn(c, "'");
        fal_text_print(f, c, n);
        c += n;
        if (*c) {
            fputs("'\\''", f);
            c++;
        }
    }
    fputc('\'', f);
}

static void put_option(FILE *f, const char *name, const char *value)
{
    fprintf(f, " --%s ", name);
    put_word(f, value);
}

void fal_report_replay(const fal_result *r, const fal_report_options *o, FILE *f)
{
    put_word(f, o->invoked);
    fputs(" replay ", f);
    put_word(f, r->capsule);
    if (!o->options->candidate) return;
    put_option(f, "candidate", o->options->candidate);
    if (o->options->device) put_option(f, "device", o->options->device);
}

void fal_report_reproduction(const fal_case *k, const fal_report_options *o, FILE *f)
{
    put_word(f, o->invoked);
    /* quoted also when a shell would take it as it stands: ids of shapes read better as one word */
    fprintf(f, " run -k '");
    fal_report_put(f, k->id);
    fputc('\'', f);
    if (o->options->candidate) {
        put_option(f, "op", o->options->op);
        put_option(f, "candidate", o->options->candidate);
    } else {
        put_option(f, "backend", k->backend);
    }
    if (k->device && strcmp(k->backend, "reference") != 0 && (!o->options->candidate || o->options->device))
        put_option(f, "device", o->options->device ? o->options->device : k->device->slug);
    if (o->options->model) put_option(f, "model", o->options->model);
    if (o->options->root) put_option(f, "root", o->options->root);
    if (o->options->has_seed) fprintf(f, " --seed %llu", (unsigned long long)o->options->seed);
}
