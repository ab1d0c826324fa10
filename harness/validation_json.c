/* Validation for programs: one JSON document, or a SARIF 2.1.0 log. */
#include "harness/diagnosis.h"
#include "harness/validation.h"

#include "harness/evidence.h"
#include "harness/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static json_t *counts_json(const fal_claim_counts *c)
{
    return json_pack("{s:{s:i, s:i, s:i, s:i, s:i}, s:{s:i, s:i}}", "falsifiers", "total", c->falsifiers, "bound",
                     c->bound, "checks", c->checks, "unbound", c->unbound, "retired", c->retired, "obligations",
                     "total", c->obligations, "bound", c->obligations_bound);
}

static json_t *contract_json(const fal_validation *v, int i)
{
    enum { MOST = 256 };
    const char *ids[MOST];
    const fal_contract *c = v->set->contracts[i];
    json_t *map = json_array();
    for (int k = 0; k < c->n_obligations; k++) {
        json_t *by = json_array();
        const int n = fal_validation_falsifiers_of(v, c->obligations[k].id, ids, MOST);
        for (int j = 0; j < n && j < MOST; j++) json_array_append_new(by, json_string(ids[j]));
        json_array_append_new(map, json_pack("{s:o, s:i, s:o}", "id", fal_json_text(c->obligations[k].id), "line",
                                             c->obligations[k].place.line, "falsifiers", by));
    }
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:i, s:o, s:o}", "path", fal_json_text(c->path), "stem",
                     fal_json_text(c->stem), "sha256", c->sha256, "version", fal_json_text(c->version), "kind",
                     fal_json_text(c->kind), "status", fal_json_text(c->status), "waivers", c->n_waivers, "counts",
                     counts_json(&v->of[i]), "obligations", map);
}

fal_status fal_validation_print_json(const fal_validation *v, FILE *f, fal_error *err)
{
    json_t *contracts = json_array(), *diagnoses = json_array();
    for (int i = 0; i < v->set->n_contracts; i++) json_array_append_new(contracts, contract_json(v, i));
    for (size_t i = 0; i < v->diag.n; i++) {
        const fal_diagnosis *d = &v->diag.items[i];
        json_array_append_new(
            diagnoses, json_pack("{s:o, s:i, s:i, s:i, s:s, s:s, s:s, s:o, s:o}", "path", fal_json_text(d->path),
                                 "line", d->place.line, "column", d->place.column, "width", d->width, "rule", d->rule,
                                 "severity", fal_severity_name(d->severity), "source", fal_rule_get(d->rule_id)->source,
                                 "message", fal_json_text(d->message), "suggestion", fal_json_text(d->suggestion)));
    }
    return fal_json_print(json_pack("{s:s, s:s, s:{s:i, s:i, s:i}, s:o, s:{s:I, s:I, s:I}, s:o, s:o}", "falsify", FAL_VERSION,
                         "profile", fal_profile_name(v->profile), "files", "found", v->set->n_found, "read",
                         v->set->n_read, "valid", v->n_valid, "counts", counts_json(&v->all), "diagnosed", "errors",
                         (json_int_t)v->n_errors, "warnings", (json_int_t)v->n_warnings, "notes",
                         (json_int_t)v->n_notes, "contracts", contracts, "diagnoses", diagnoses),
               f, err);
}

/* ---- SARIF ---- */

static const char *level_of(fal_severity s)
{
    return s == FAL_OFF ? "none" : fal_severity_name(s);
}

static json_t *rules_json(fal_profile profile)
{
    json_t *rules = json_array();
    for (int i = 0; i < FAL_N_RULES; i++) {
        const fal_rule *r = fal_rule_get((fal_rule_id)i);
        fal_text full = { 0 }, help = { 0 };
        fal_text_addf(&full, "%s %s", r->what, r->why);
        fal_text_addf(&help, "%s\nBroken by: %s\nRule of: %s", r->fix, r->example, r->source);
        json_array_append_new(
            rules, json_pack("{s:s, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:b, s:s}}", "id", r->code, "shortDescription",
                             "text", r->what, "fullDescription", "text", fal_text_str(&full), "help", "text",
                             fal_text_str(&help), "defaultConfiguration", "enabled",
                             (int)(r->severity[profile] != FAL_OFF), "level", level_of(r->severity[profile])));
        fal_text_free(&full);
        fal_text_free(&help);
    }
    return rules;
}

/* A path as a relative or file URI. */
static json_t *uri(const char *path)
{
    fal_text t = { 0 };
    if (path[0] == '/') fal_text_add(&t, "file://");
    for (const char *c = path; *c; c++)
        if (isalnum((unsigned char)*c) || strchr("/-._~", *c))
            fal_text_add_n(&t, c, 1);
        else
            fal_text_addf(&t, "%%%02X", (unsigned)(unsigned char)*c);
    json_t *j = t.failed ? NULL : json_string(fal_text_str(&t));
    fal_text_free(&t);
    return j;
}

static json_t *result_json(const fal_diagnosis *d)
{
    fal_text message = { 0 };
    fal_text_add(&message, d->message);
    if (d->suggestion) fal_text_addf(&message, " (%s)", d->suggestion);
    json_t *place = json_pack("{s:{s:o}}", "artifactLocation", "uri", uri(d->path));
    if (place && d->path[0] != '/')
        json_object_set_new(json_object_get(place, "artifactLocation"), "uriBaseId", json_string("%SRCROOT%"));
    if (place && d->place.line > 0)
        json_object_set_new(place, "region",
                            json_pack("{s:i, s:i, s:i}", "startLine", d->place.line, "startColumn", d->place.column,
                                      "endColumn", d->place.column + d->width));
    json_t *j = json_pack("{s:s, s:i, s:s, s:{s:o}, s:[{s:o}]}", "ruleId", d->rule, "ruleIndex", (int)d->rule_id,
                          "level", level_of(d->severity), "message", "text", fal_json_text(fal_text_str(&message)),
                          "locations", "physicalLocation", place);
    fal_text_free(&message);
    return j;
}

fal_status fal_validation_print_sarif(const fal_validation *v, FILE *f, fal_error *err)
{
    json_t *results = json_array();
    for (size_t i = 0; i < v->diag.n; i++) json_array_append_new(results, result_json(&v->diag.items[i]));
    return fal_json_print(
        json_pack("{s:s, s:s, s:[{s:{s:{s:s, s:s, s:o}}, s:s, s:[{s:b, s:{s:s, s:i, s:i, s:i, s:i, s:i}}], s:o}]}",
                  "$schema", "https://json.schemastore.org/sarif-2.1.0.json", "version", "2.1.0", "runs", "tool",
                  "driver", "name", "falsify", "version", FAL_VERSION, "rules", rules_json(v->profile), "columnKind",
                  "unicodeCodePoints", "invocations", "executionSuccessful", 1, "properties", "profile",
                  fal_profile_name(v->profile), "filesFound", v->set->n_found, "filesRead", v->set->n_read,
                  "filesValid", v->n_valid, "obligations", v->all.obligations, "obligationsBound",
                  v->all.obligations_bound, "results", results),
        f, err);
}
