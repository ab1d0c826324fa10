/* The plan as a list for people: each case, whether it will run and why not, and what the contracts leave open. */
#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/text.h"

#include <string.h>

static const char *state(const fal_case *k)
{
    return k->blocked ? "blocked" : k->not_probed ? "not probed" : "will run";
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void put_list(FILE *f, const char *label, const char *const *items, int n)
{
    for (int i = 0; i < n; i++) {
        fprintf(f, "  %-10s ", label);
        fal_report_put(f, items[i]);
        fputc('\n', f);
    }
}

static void print_contract_head(const fal_contract *c, bool colour, FILE *f)
{
    fprintf(f, "\n%s", fal_report_bold(colour));
    fal_report_put(f, c->stem);
    fputc(' ', f);
    fal_report_put(f, c->version);
    fprintf(f, "%s  status in the file: ", fal_report_plain(colour));
    fal_report_put(f, c->status ? c->status : "none");
    fputc('\n', f);
    put_list(f, "blocker", c->blockers, c->n_blockers);
    put_list(f, "waits for", c->waits_for, c->n_waits_for);
    for (int i = 0; i < c->n_options; i++) {
        fprintf(f, "  %-10s ", "option");
        fal_report_put(f, c->options[i].id);
        fputs(" ", f);
        fal_report_put(f, c->options[i].decision);
        fputs(": ", f);
        fal_report_put(f, c->options[i].title);
        if (c->options[i].why) {
            fputs(" - ", f);
            fal_report_put(f, c->options[i].why);
        }
        fputc('\n', f);
    }
    for (int i = 0; i < c->n_stages; i++) {
        const fal_stage *s = &c->stages[i];
        fprintf(f, "  %-10s ", "stage");
        fal_report_put(f, s->id);
        fputs(" ", f);
        fal_report_put(f, s->status);
        fputs(": ", f);
        fal_report_put(f, s->title);
        fputc('\n', f);
        put_list(f, "  blocker", s->blockers, s->n_blockers);
        put_list(f, "  waits for", s->waits_for, s->n_waits_for);
    }
}

/* The id names backend, variant and prompt or shape; beside it the device and model that are meant. */
static void print_case(const fal_case *k, const fal_plan *plan, bool colour, FILE *f)
{
    fprintf(f, "  %s%-10s%s ", k->blocked ? fal_report_colour(colour, FAL_BLOCKED) : "", state(k),
            k->blocked ? fal_report_plain(colour) : "");
    fal_report_put(f, k->id);
    fputs(k->required ? "  [required]" : k->excused ? "  [not required]" : "", f);
    fputs("  device ", f);
    fal_report_put(f, k->device ? k->device->slug : k->not_probed ? "?" : "none");
    if (k->uses_model) {
        fputs("  model ", f);
        fal_report_put(f, base_name(plan->model));
    }
    if (k->check->observe == FAL_OBSERVE_OP)
        fprintf(f, "  seeds %d", k->check->n_seeds);
    else if (k->n_tokens)
        fprintf(f, "  tokens %d", k->n_tokens);
    if (k->blocked) {
        fputs("  because ", f);
        fal_report_put(f, k->blocked);
    } else if (k->below_floor) {
        fputs("  cannot survive: ", f);
        fal_report_put(f, k->below_floor);
    }
    fputc('\n', f);
}

typedef struct {
    int planned, runs, blocked, not_probed, required;
} plan_counts;

static plan_counts count(const fal_plan *plan, const fal_contract *contract, const char *backend)
{
    plan_counts c = { 0 };
    for (int i = 0; i < plan->n_cases; i++) {
        const fal_case *k = &plan->cases[i];
        if ((contract && k->contract != contract) || (backend && strcmp(k->backend, backend) != 0)) continue;
        c.planned++;
        c.required += k->required;
        if (k->blocked)
            c.blocked++;
        else if (k->not_probed)
            c.not_probed++;
        else
            c.runs++;
    }
    return c;
}

static void print_counts(const char *label, const plan_counts *c, FILE *f)
{
    fprintf(f, "%splanned %d = will run %d + blocked %d", label, c->planned, c->runs, c->blocked);
    if (c->not_probed) fprintf(f, " + not probed %d", c->not_probed);
    fprintf(f, "; %d required\n", c->required);
}

/* What the contract excuses beforehand. */
static void print_waivers(const fal_contract *c, FILE *f)
{
    for (int i = 0; i < c->n_waivers; i++) {
        const fal_waiver *w = &c->waivers[i];
        fprintf(f, "  waiver     %s of %s/%s up to %s %g, owner ", w->id, w->falsifier, w->check,
                w->limit.kind == FAL_LIMIT_MAX ? "max" : "min", w->limit.value);
        fal_report_put(f, w->owner);
        fprintf(f, ", expires %s\n", w->expires);
    }
}

void fal_report_plan(const fal_plan *plan, const fal_report_options *o, FILE *f)
{
    fprintf(f, "falsify %s (%s)\n", FAL_VERSION, o->revision);
    fal_report_devices(o->probes, plan, o->colour, f);
    fputs("model      ", f);
    fal_report_put(f, plan->model);
    fprintf(f, "\noracle     ");
    if (plan->oracle)
        fal_report_put(f, plan->oracle_path);
    else
        fputs("none", f);
    fputc('\n', f);
    for (int i = 0; i < plan->n_contracts; i++) {
        const fal_contract *c = plan->contracts[i];
        print_contract_head(c, o->colour, f);
        for (int k = 0; k < plan->n_cases; k++)
            if (plan->cases[k].contract == c) print_case(&plan->cases[k], plan, o->colour, f);
        print_waivers(c, f);
        const plan_counts n = count(plan, c, NULL);
        print_counts("  ", &n, f);
    }
    fal_report_claims(plan, o->options->verbose, o->colour, f);
    fputc('\n', f);
    for (int i = 0; i < o->probes->n; i++) {
        char label[32];
        const plan_counts n = count(plan, NULL, o->probes->items[i].backend->name);
        snprintf(label, sizeof label, "%-10s ", o->probes->items[i].backend->name);
        if (n.planned) print_counts(label, &n, f);
    }
    const plan_counts n = count(plan, NULL, NULL);
    fprintf(f, "%d observations serve all cases that are not blocked\n", plan->n_specs);
    print_counts("", &n, f);
}

json_t *fal_report_plan_json(const fal_plan *plan, const fal_report_options *o)
{
    json_t *cases = json_array();
    for (int i = 0; i < plan->n_cases; i++) {
        const fal_case *k = &plan->cases[i];
        json_array_append_new(
            cases, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:b, s:s, s:o, s:i}", "id", k->id, "contract",
                             k->contract->stem, "falsifier", k->falsifier->id, "backend", k->backend, "variant",
                             k->variant, "device", k->device ? json_string(k->device->slug) : json_null(), "model",
                             k->uses_model ? fal_json_text(plan->model) : json_null(), "required", (int)k->required,
                             "excused", (int)k->excused, "state", state(k), "because", fal_json_text(k->blocked),
                             "n_tokens", k->n_tokens));
    }
    const plan_counts n = count(plan, NULL, NULL);
    return json_pack("{s:s, s:s, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:i}, s:i, s:o, s:o}", "falsify", FAL_VERSION,
                     "revision", o->revision, "backends", fal_report_probes_json(o->probes), "cases", cases, "counts",
                     "planned", n.planned, "will_run", n.runs, "blocked", n.blocked, "not_probed", n.not_probed,
                     "required", n.required, "observations", plan->n_specs, "unbound",
                     fal_report_claims_json(plan->unbound, plan->n_unbound, false), "retired",
                     fal_report_claims_json(plan->retired, plan->n_retired, true));
}
