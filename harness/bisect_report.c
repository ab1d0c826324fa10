/* A bisection for people, as a picture of layers and ops and the list of what is broken, and for programs, as JSON. */
#include "harness/bisect.h"

#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/text.h"

#include <math.h>
#include <string.h>

enum { STRIP = 96, MOST_BROKEN = 40, SITE_COLUMN = 22 };

/* ---- the picture -------------------------------------------------------------------------------------------------- */

/* One mark per op and layer, by how much of its limit the local error takes up. */
static char mark(const fal_divergence_row *r)
{
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    if (!d->has) return '?';
    if (!r->has_limit) return '-';
    if (r->breaks) return isfinite(d->value) ? '#' : '!';
    if (r->limit.value > 0 && d->value > r->limit.value / 10) return d->value > r->limit.value / 3 ? '+' : ':';
    return '.';
}

static const char *colour_of(char m, bool colour)
{
    if (m == '#' || m == '!') return fal_report_colour(colour, FAL_FALSIFIED);
    if (m == '+' || m == ':') return fal_report_colour(colour, FAL_FLAKY);
    if (m == '.') return fal_report_colour(colour, FAL_SURVIVED);
    return "";
}

static const fal_divergence_row *row_of(const fal_bisect *b, fal_site site, int layer)
{
    for (int i = 0; i < b->table.n; i++)
        if (b->table.rows[i].tap.site == site && b->table.rows[i].tap.layer == layer) return &b->table.rows[i];
    return NULL;
}

static void put_value(const fal_divergence *d, bool sets, FILE *f)
{
    char text[32];
    if (!d->has)
        snprintf(text, sizeof text, "-");
    else if (sets)
        snprintf(text, sizeof text, "%.0f of %llu", d->value, (unsigned long long)d->rows);
    else
        snprintf(text, sizeof text, "%.3g", d->value);
    fprintf(f, " %11s", text);
}

/* The worst of all layers of an op, pass by pass. */
static void put_worst(const fal_bisect *b, fal_site site, FILE *f)
{
    const bool sets = site == FAL_SITE_expert_ids;
    for (int p = 0; p < FAL_N_PASSES; p++) {
        fal_divergence worst = { 0 };
        for (int i = 0; i < b->table.n; i++) {
            const fal_divergence *const d = &b->table.rows[i].pass[p];
            if (b->table.rows[i].tap.site != site || !d->has) continue;
            if (sets) {
                worst.value += d->value;
                worst.rows += d->rows;
                worst.has = true;
            } else if (!worst.has || isnan(d->value) || d->value > worst.value) {
                if (!(worst.has && isnan(worst.value))) worst = *d;
            }
        }
        put_value(&worst, sets, f);
    }
    for (int i = 0; i < b->table.n; i++)
        if (b->table.rows[i].tap.site == site) {
            if (!b->table.rows[i].has_limit)
                fprintf(f, " %9s", "-");
            else
                fprintf(f, " %9.3g", b->table.rows[i].limit.value);
            break;
        }
}

static void put_strip(const fal_bisect *b, fal_site site, int step, bool colour, FILE *f)
{
    const int n = b->table.config.n_layer;
    int width = 0;
    for (int layer = 0; layer < (fal_site_get(site)->per_layer ? n : 1); layer += step, width++) {
        char worst = '.';
        for (int l = layer; l < layer + step && l < n; l++) {
            const fal_divergence_row *const r = row_of(b, site, fal_site_get(site)->per_layer ? l : -1);
            const char m = r ? mark(r) : ' ';
            static const char order[] = ".-:+?#!";
            if (m != ' ' && strchr(order, m) > strchr(order, worst)) worst = m;
        }
        fprintf(f, "%s%c%s", colour_of(worst, colour), worst, fal_report_plain(colour));
    }
    const int columns = (n + step - 1) / step;
    fprintf(f, "%*s", (columns > 5 ? columns : 5) - width, "");
}

static void put_picture(const fal_bisect *b, bool colour, FILE *f)
{
    const int n = b->table.config.n_layer, step = (n + STRIP - 1) / STRIP, columns = (n + step - 1) / step;
    fprintf(f, "\n%-16s layer%*s %11s %11s %11s %9s\n", "", (columns > 5 ? columns : 5) - 5, "", "worst local",
            "accumulated", "pinned", "limit");
    fprintf(f, "%-16s ", "op");
    for (int c = 0; c < columns;) {
        char number[16];
        const int len = snprintf(number, sizeof number, "%d", c * step);
        if (c % 5 == 0 && (c + len <= columns || c == 0)) {
            fputs(number, f);
            c += len;
        } else {
            fputc(' ', f);
            c++;
        }
    }
    fputc('\n', f);
    for (int s = 0; s < FAL_N_SITES; s++) {
        fprintf(f, "%-16s ", fal_site_get((fal_site)s)->name);
        put_strip(b, (fal_site)s, step, colour, f);
        put_worst(b, (fal_site)s, f);
        fputc('\n', f);
    }
    fprintf(f,
            "%-16s local error: . to a tenth of its limit, : to a third, + within, # beyond, ! not finite, - no limit, "
            "? not observed%s\n",
            "", step > 1 ? "; a mark is the worst of several layers" : "");
}

/* ---- the lists ---------------------------------------------------------------------------------------------------- */

static void put_place(const fal_bisect *b, int i, FILE *f)
{
    const fal_bisect_place *const p = b->places ? &b->places[i] : NULL;
    if (!p) return;
    if (p->tensor) {
        fputs("  ", f);
        fal_report_put(f, p->tensor);
        if (p->expert >= 0) fprintf(f, " expert %d", p->expert);
        if (p->row >= 0) fprintf(f, " row %d", p->row);
        if (p->block >= 0) fprintf(f, " columns %d..%d", p->block * p->unit, (p->block + 1) * p->unit - 1);
    }
    if (!p->tried) return;
    const bool attention = b->table.rows[i].tap.site == FAL_SITE_attn;
    fputs(p->alone    ? "  (fails alone)"
          : attention ? "  (right when run alone: look at kv_store and the cache)"
                      : "  (right when run alone)",
          f);
}

static void put_row(const fal_bisect *b, int i, bool colour, FILE *f)
{
    const fal_divergence_row *const r = &b->table.rows[i];
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    const bool sets = r->tap.site == FAL_SITE_expert_ids;
    const char m = mark(r);
    fprintf(f, "%s%c%s %-*s %-10s", colour_of(m, colour), m, fal_report_plain(colour), SITE_COLUMN, r->tap.name,
            fal_site_get(r->tap.site)->op);
    for (int p = 0; p < FAL_N_PASSES; p++) put_value(&r->pass[p], sets, f);
    if (r->has_limit)
        fprintf(f, " %9.3g", r->limit.value);
    else
        fprintf(f, " %9s", "-");
    fprintf(f, "  %llu of %llu", (unsigned long long)d->beyond, (unsigned long long)d->rows);
    put_place(b, i, f);
    fputc('\n', f);
}

static void put_heading(FILE *f)
{
    fprintf(f, "  %-*s %-10s %11s %11s %11s %9s  rows beyond\n", SITE_COLUMN, "site", "op", "local", "accumulated",
            "pinned", "limit");
}

static void put_broken(const fal_bisect *b, bool all, bool colour, FILE *f)
{
    int shown = 0;
    if (b->counts.beyond == 0) return;
    fprintf(f, "\n%s%d op%s by %s own error%s, in forward order:\n", fal_report_bold(colour), b->counts.beyond,
            b->counts.beyond == 1 ? " is beyond its limit" : "s are beyond their limit",
            b->counts.beyond == 1 ? "its" : "their", fal_report_plain(colour));
    put_heading(f);
    for (int i = 0; i < b->table.n; i++)
        if (b->table.rows[i].breaks && (shown++ < MOST_BROKEN || all)) put_row(b, i, colour, f);
    if (shown > MOST_BROKEN && !all) fprintf(f, "  ... and %d more; -v or --json shows all\n", shown - MOST_BROKEN);
    const fal_divergence_row *const r = &b->table.rows[b->first];
    const fal_divergence *const d = &r->pass[FAL_PASS_LOCAL];
    fprintf(f, "\n%sfirst divergence%s  %s (%s) of prompt %s, position %zu, element %zu: got %.9g, want %.9g\n",
            fal_report_bold(colour), fal_report_plain(colour), r->tap.name, fal_site_get(r->tap.site)->op,
            b->in.names ? b->in.names[d->request] : "?", d->position, d->element, d->got, d->want);
}

/* Expert sets by layer, where any differ. */
static void put_sets(const fal_bisect *b, FILE *f)
{
    bool heading = false;
    for (int i = 0; i < b->table.n; i++) {
        const fal_divergence_row *const r = &b->table.rows[i];
        const fal_divergence *const local = &r->pass[FAL_PASS_LOCAL], *const run = &r->pass[FAL_PASS_FREE];
        if (r->tap.site != FAL_SITE_expert_ids || !(local->value > 0 || run->value > 0)) continue;
        if (!heading)
            fputs("\nexpert sets that differ (gap: of the reference's logits between the experts exchanged)\n", f);
        heading = true;
        fprintf(f,
                "  layer %-4d local %.0f of %llu, widest gap %.3g; free-running %.0f of %llu, %llu of them near-ties, "
                "widest gap %.3g\n",
                r->tap.layer, local->value, (unsigned long long)local->rows, local->gap, run->value,
                (unsigned long long)run->rows, (unsigned long long)run->excused, run->gap);
    }
    if (!heading && b->made[FAL_STEP_TEACHER] && b->made[FAL_STEP_FREE])
        fputs("\nexpert sets: all the same, teacher-forced and free-running\n", f);
}

static void put_capsule(const fal_bisect *b, FILE *f)
{
    const fal_bisect_capsule *const c = &b->capsule;
    if (!b->places) return;
    if (!c->path) {
        fputs("capsule          none: ", f);
        fal_report_put(f, c->why[0] ? c->why : "not asked for");
        fputc('\n', f);
        return;
    }
    fputs("capsule          ", f);
    fal_report_put(f, c->path);
    fprintf(f, ", %llu bytes, after %d trials in %.1f s%s:", (unsigned long long)c->bytes, c->shrunk.trials,
            c->shrunk.seconds, c->shrunk.complete ? "" : " (not finished)");
    for (int i = 0; i < c->call->n_shape; i++) {
        const fal_capsule_value *const v = &c->call->shape[i];
        if (v->text[0])
            fprintf(f, " %s=%s", v->name, v->text);
        else
            fprintf(f, " %s=%g", v->name, v->number);
    }
    fputs("\nreplay           falsify replay ", f);
    fal_report_put(f, c->path);
    fputc('\n', f);
}

void fal_bisect_report(const fal_bisect *b, bool all, bool colour, FILE *f)
{
    char label[64];
    fal_backend_label(b->in.backend, b->in.variant, label, sizeof label);
    fprintf(f, "\n%sbisect %s%s  ", fal_report_bold(colour), label, fal_report_plain(colour));
    fal_report_put(f, b->in.model);
    fprintf(f, ", %d layer%s, prompt%s", b->table.config.n_layer, b->table.config.n_layer == 1 ? "" : "s",
            b->in.n_requests == 1 ? "" : "s");
    for (int r = 0; r < b->in.n_requests; r++) {
        fputc(' ', f);
        fal_report_put(f, b->in.names ? b->in.names[r] : "?");
        fprintf(f, " (%d tokens)", b->in.n_tokens[r]);
    }
    fputc('\n', f);
    for (int s = 0; s < FAL_N_STEPS; s++) {
        if (b->made[s]) continue;
        fprintf(f, "%-16s not judged: ", fal_bisect_step_name((fal_bisect_step)s));
        fal_report_put(f, b->outcomes[s].error.message[0] ? b->outcomes[s].error.message : "not run");
        fputc('\n', f);
    }
    if (b->made[FAL_STEP_TEACHER]) {
        put_picture(b, colour, f);
        if (all) {
            fputc('\n', f);
            put_heading(f);
            for (int i = 0; i < b->table.n; i++) put_row(b, i, colour, f);
        }
        put_sets(b, f);
        put_broken(b, all, colour, f);
        put_capsule(b, f);
    }
    fprintf(f, "\nops planned %d = within %d + beyond %d + unjudged %d + not observed %d\n", b->counts.planned,
            b->counts.within, b->counts.beyond, b->counts.unjudged, b->counts.not_observed);
    fprintf(f, "time       %.1f s:", b->seconds);
    for (int s = 0; s < FAL_N_STEPS; s++)
        fprintf(f, "%s %s %.1f", s ? "," : "", fal_bisect_step_name((fal_bisect_step)s), b->step_seconds[s]);
    if (b->find_seconds > 0) fprintf(f, ", places and capsule %.1f", b->find_seconds);
    fputc('\n', f);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *pass_json(const fal_divergence *d, bool sets)
{
    if (!d->has) return json_null();
    json_t *j = json_pack("{s:o, s:I, s:I, s:i, s:I, s:I, s:o, s:o}", "value", fal_json_number(d->value), "rows",
                          (json_int_t)d->rows, "beyond", (json_int_t)d->beyond, "request", d->request, "position",
                          (json_int_t)d->position, "element", (json_int_t)d->element, "got", fal_json_number(d->got),
                          "want", fal_json_number(d->want));
    if (sets) json_object_set_new(j, "gap", fal_json_number(d->gap));
    if (sets) json_object_set_new(j, "near_ties", json_integer((json_int_t)d->excused));
    return j;
}

static json_t *row_json(const fal_bisect *b, int i)
{
    const fal_divergence_row *const r = &b->table.rows[i];
    const bool sets = r->tap.site == FAL_SITE_expert_ids;
    json_t *j = json_pack("{s:s, s:s, s:i, s:s}", "site", r->tap.name, "op", fal_site_get(r->tap.site)->op, "layer",
                          r->tap.layer, "state",
                          !r->pass[FAL_PASS_LOCAL].has ? "not observed"
                          : !r->has_limit              ? "unjudged"
                          : r->breaks                  ? "beyond"
                                                       : "within");
    json_object_set_new(j, "metric", json_string(sets ? "router set differences" : "max relative L2"));
    json_object_set_new(j, "limit", r->has_limit ? fal_json_limit(&r->limit) : json_null());
    for (int p = 0; p < FAL_N_PASSES; p++)
        json_object_set_new(j, fal_pass_name((fal_pass)p), pass_json(&r->pass[p], sets));
    const fal_bisect_place *const p = b->places && r->breaks ? &b->places[i] : NULL;
    if (!p) return j;
    if (p->tensor) json_object_set_new(j, "tensor", fal_json_text(p->tensor));
    if (p->expert >= 0) json_object_set_new(j, "expert", json_integer(p->expert));
    if (p->row >= 0) json_object_set_new(j, "row", json_integer(p->row));
    if (p->block >= 0)
        json_object_set_new(j, "columns", json_pack("[i, i]", p->block * p->unit, (p->block + 1) * p->unit));
    if (p->tried) json_object_set_new(j, "fails_alone", json_boolean(p->alone));
    return j;
}

json_t *fal_bisect_json(const fal_bisect *b)
{
    const fal_bisect_counts *const n = &b->counts;
    json_t *rows = json_array(), *prompts = json_array(), *passes = json_object(), *broken = json_array();
    for (int i = 0; i < b->table.n; i++) {
        json_array_append_new(rows, row_json(b, i));
        if (b->table.rows[i].breaks && b->made[FAL_STEP_TEACHER])
            json_array_append_new(broken, json_string(b->table.rows[i].tap.name));
    }
    for (int r = 0; r < b->in.n_requests; r++)
        json_array_append_new(prompts, json_pack("{s:o, s:i}", "name", fal_json_text(b->in.names ? b->in.names[r] : ""),
                                                 "n_tokens", b->in.n_tokens[r]));
    for (int s = 0; s < FAL_N_STEPS; s++)
        json_object_set_new(passes, fal_bisect_step_name((fal_bisect_step)s),
                            json_pack("{s:b, s:o, s:f}", "judged", (int)b->made[s], "error",
                                      fal_json_text(b->outcomes[s].error.message), "seconds", b->step_seconds[s]));
    json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:i}, s:o, s:o}", "backend", b->in.backend,
                          "variant", b->in.variant, "model", fal_json_text(b->in.model), "prompts", prompts, "passes",
                          passes, "counts", "planned", n->planned, "within", n->within, "beyond", n->beyond, "unjudged",
                          n->unjudged, "not_observed", n->not_observed, "broken", broken, "ops", rows);
    if (!j) return NULL;
    json_object_set_new(j, "first", b->first >= 0 ? json_string(b->table.rows[b->first].tap.name) : json_null());
    json_object_set(j, "ran", b->ran ? b->ran : json_null());
    json_object_set_new(j, "seconds", json_real(b->seconds));
    const fal_bisect_capsule *const c = &b->capsule;
    if (c->path)
        json_object_set_new(j, "capsule",
                            json_pack("{s:o, s:I, s:i, s:b, s:f, s:o}", "path", fal_json_text(c->path), "bytes",
                                      (json_int_t)c->bytes, "trials", c->shrunk.trials, "complete",
                                      (int)c->shrunk.complete, "seconds", c->shrunk.seconds, "value",
                                      fal_json_number(c->attempt.value)));
    else
        json_object_set_new(j, "capsule", json_null());
    return j;
}
