/* The matrix of a proof as a table for people, as JSON, and as evidence. */
#include "harness/claim.h"
#include "harness/evidence.h"
#include "harness/prove.h"
#include "harness/report.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ID_COLUMN = 30, WHERE_COLUMN = 26, FALSIFIER_COLUMN = 50 };

/* ---- table -------------------------------------------------------------------------------------------------------- */

static void where_text(const fal_mutant *m, char *text, size_t size)
{
    const char *op = m->module ? m->module : m->op;
    snprintf(text, size, "%s%s%s%s%s", op ? strcmp(op, "*") == 0 ? "any op" : op : m->lie ? "backend" : "forward",
             m->variant ? ":" : "", m->variant ? m->variant : "", m->type ? " " : "", m->type ? m->type : "");
}

static bool is_good(fal_proof p)
{
    return p == FAL_PROOF_KILLED || p == FAL_PROOF_EQUIVALENT;
}

static void print_reason(const fal_matrix *m, const fal_proof_row *r, bool verbose, FILE *f)
{
    const fal_case *cases = m->plan->plan.cases;
    if (r->odd >= 0) {
        fputs("      ", f);
        fal_report_put(f, cases[r->odd].id);
        fputs(": ", f);
        fal_report_put(f, m->run->results[r->odd].verdict.reason);
        fputc('\n', f);
    }
    if (r->proof == FAL_PROOF_SURVIVED)
        fprintf(f, "      %d cases of %d falsifiers saw nothing of it: strengthen one, or show that it is equivalent\n", r->n_cases, r->n_falsifiers);
    if (r->proof == FAL_PROOF_MISNAMED) fprintf(f, "      %s looked and saw nothing, though it is to name this fault\n", r->mutant->named_by);
    if (r->mutant->equivalent) fprintf(f, "      %s\n", r->mutant->equivalent);
    if (!verbose || is_good(r->proof)) return;
    for (int i = 0; i < m->plan->plan.n_cases; i++) {
        if (m->plan->mutants[i] != r->mutant || strcmp(cases[i].backend, r->backend) != 0) continue;
        fprintf(f, "        %-10s ", fal_verdict_name(m->run->results[i].verdict.kind));
        fal_report_put(f, cases[i].id);
        fprintf(f, "  %.6g\n", m->run->results[i].verdict.value);
    }
}

static void print_row(const fal_matrix *m, const fal_proof_row *r, bool verbose, bool colour, FILE *f)
{
    char where[64], who[160];
    where_text(r->mutant, where, sizeof where);
    fprintf(f, "  %-*s %-*s %s%-14s%s %4d/%-4d ", ID_COLUMN, r->mutant->id, WHERE_COLUMN, where,
            fal_report_colour(colour, is_good(r->proof) ? FAL_SURVIVED : FAL_FALSIFIED), fal_proof_name(r->proof),
            fal_report_plain(colour), r->n_killers, r->n_falsifiers);
    if (r->first >= 0) {
        const fal_case *k = &m->plan->plan.cases[r->first];
        const fal_verdict *v = &m->run->results[r->first].verdict;
        snprintf(who, sizeof who, "%.80s/%.60s", k->falsifier->id, k->check->name);
        fprintf(f, "%-*s ", FALSIFIER_COLUMN, who);
        if (v->has_value) fprintf(f, "%.3g (limit %.3g)", v->value, k->check->limit.value);
        else fputs(fal_verdict_name(v->kind), f);
    }
    if (verbose) fprintf(f, "  %.2f s", r->seconds);
    fputc('\n', f);
    print_reason(m, r, verbose, f);
}

static void print_backend(const fal_matrix *m, const char *backend, bool verbose, bool colour, FILE *f)
{
    int by[FAL_N_PROOFS] = { 0 }, n = 0, n_trust[3] = { 0 };
    for (int i = 0; i < m->n_rows; i++) {
        if (strcmp(m->rows[i].backend, backend) != 0) continue;
        if (n++ == 0)
            fprintf(f, "\n%s%s%s\n  %-*s %-*s %-14s %-9s %-*s %s\n", fal_report_bold(colour), backend, fal_report_plain(colour), ID_COLUMN,
                    "mutant", WHERE_COLUMN, "planted in", "proof", "kill/look", FALSIFIER_COLUMN, "named by", "value");
        print_row(m, &m->rows[i], verbose, colour, f);
        by[m->rows[i].proof]++;
    }
    if (n == 0) return;
    fprintf(f, "  %d mutants = killed %d + equivalent %d + survived %d", n, by[FAL_PROOF_KILLED], by[FAL_PROOF_EQUIVALENT], by[FAL_PROOF_SURVIVED]);
    for (int p = FAL_PROOF_MISNAMED; p < FAL_N_PROOFS; p++)
        if (by[p]) fprintf(f, " + %s %d", fal_proof_name((fal_proof)p), by[p]);
    fputc('\n', f);
    for (int i = 0; i < m->n_trusts; i++) {
        const fal_trust *t = &m->trusts[i];
        if (strcmp(t->backend, backend) != 0) continue;
        n_trust[t->trust]++;
        if (t->trust == FAL_TRUST_PROVEN && verbose)
            fprintf(f, "  %-44s killed %d of %d mutants that it looked at\n", t->falsifier->id, t->n_kills, t->n_mutants);
        if (t->trust == FAL_TRUST_MISTRUSTED)
            fprintf(f, "  %s%-44s %s%s: killed none of %d mutants that it looked at%s%s\n", fal_report_colour(colour, FAL_FALSIFIED), t->falsifier->id,
                    m->whole ? "mistrusted" : "not proven", fal_report_plain(colour), t->n_mutants, t->why[0] ? "; " : "", t->why);
    }
    fprintf(f, "  %d falsifiers = proven %d + %s %d + not covered %d\n", n_trust[0] + n_trust[1] + n_trust[2], n_trust[FAL_TRUST_PROVEN],
            m->whole ? "mistrusted" : "not proven by this choice", n_trust[FAL_TRUST_MISTRUSTED], n_trust[FAL_TRUST_NOT_COVERED]);
    for (int i = 0; i < m->n_checks && m->whole; i++)
        if (strcmp(m->checks[i].backend, backend) == 0 && m->checks[i].n_kills == 0)
            fprintf(f, "    blind so far: %s/%s killed none of %d mutants that it looked at; other checks of it did\n", m->checks[i].falsifier->id,
                    m->checks[i].name, m->checks[i].n_mutants);
    /* a reason is told once, with all that it holds for */
    for (int i = 0; i < m->n_trusts; i++) {
        const fal_trust *t = &m->trusts[i];
        bool told = false;
        if (strcmp(t->backend, backend) != 0 || t->trust != FAL_TRUST_NOT_COVERED) continue;
        for (int k = 0; k < i && !told; k++)
            told = strcmp(m->trusts[k].backend, backend) == 0 && m->trusts[k].trust == FAL_TRUST_NOT_COVERED && strcmp(m->trusts[k].why, t->why) == 0;
        if (told || (!m->whole && !verbose)) continue;
        fputs("    not covered:", f);
        for (int k = i; k < m->n_trusts; k++)
            if (strcmp(m->trusts[k].backend, backend) == 0 && m->trusts[k].trust == FAL_TRUST_NOT_COVERED && strcmp(m->trusts[k].why, t->why) == 0)
                fprintf(f, " %s", m->trusts[k].falsifier->id);
        fputs(": ", f);
        fal_report_put(f, t->why);
        fputc('\n', f);
    }
}

void fal_matrix_print(const fal_matrix *m, const char *revision, bool verbose, bool colour, FILE *f)
{
    int n;
    const fal_backend *const *backends = fal_backend_all(&n);
    fprintf(f, "falsify %s (%s)\nmodel      ", FAL_VERSION, revision);
    fal_report_put(f, m->plan->plan.model);
    fputc('\n', f);
    for (int b = 0; b < n; b++) print_backend(m, backends[b]->name, verbose, colour, f);
    fprintf(f, "\ncontrol    without a mutant %d of %d cases survived\n", m->n_control - m->n_control_failed, m->n_control);
    for (int i = 0; i < m->plan->plan.n_cases; i++) {
        const fal_verdict *v = &m->run->results[i].verdict;
        if (m->plan->mutants[i] || v->kind == FAL_SURVIVED) continue;
        fprintf(f, "  %s ", fal_verdict_name(v->kind));
        fal_report_put(f, m->plan->plan.cases[i].id);
        fputs(": ", f);
        fal_report_put(f, v->reason);
        fputc('\n', f);
    }
    fprintf(f, "time       %.1f s, %d observations, %d verdicts\n", m->run->seconds, m->plan->plan.n_specs, m->plan->plan.n_cases);
    const int passed = m->by[FAL_PROOF_KILLED] + m->by[FAL_PROOF_EQUIVALENT], skipped = m->by[FAL_PROOF_BLOCKED] + m->by[FAL_PROOF_NOT_RUN];
    fprintf(f, "%d passed, %d failed, %d skipped\n", passed, m->n_rows - passed - skipped, skipped);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *row_json(const fal_matrix *m, const fal_proof_row *r)
{
    json_t *killers = json_array();
    for (int t = 0; t < m->n_trusts; t++)
        if (r->killers[t]) json_array_append_new(killers, json_string(m->trusts[t].falsifier->id));
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:o}", "id", r->mutant->id, "what", r->mutant->what, "planted",
                          fal_mutant_is_source(r->mutant) ? "source" : "border", "proof", fal_proof_name(r->proof), "named_by", r->mutant->named_by,
                          "cases", r->n_cases, "cases_that_kill", r->n_killed, "falsifiers_that_look", r->n_falsifiers, "killed_by", killers);
    json_object_set_new(j, "op", r->mutant->op ? json_string(r->mutant->op) : json_null());
    if (r->mutant->module) json_object_set_new(j, "module", json_string(r->mutant->module));
    json_object_set_new(j, "variant", r->mutant->variant ? json_string(r->mutant->variant) : json_null());
    if (r->mutant->equivalent) json_object_set_new(j, "equivalent_because", json_string(r->mutant->equivalent));
    if (r->odd >= 0) {
        json_object_set_new(j, "case", json_string(m->plan->plan.cases[r->odd].id));
        json_object_set_new(j, "reason", fal_json_text(m->run->results[r->odd].verdict.reason));
    }
    if (r->first >= 0) {
        const fal_case *k = &m->plan->plan.cases[r->first];
        const fal_verdict *v = &m->run->results[r->first].verdict;
        json_t *first = json_pack("{s:s, s:s, s:o}", "case", k->id, "verdict", fal_verdict_name(v->kind), "reason", fal_json_text(v->reason));
        json_object_set_new(first, "value", v->has_value ? fal_json_number(v->value) : json_null());
        json_object_set_new(first, "limit", fal_json_limit(&k->check->limit));
        json_object_set_new(j, "first", first);
    }
    return j;
}

static json_t *trust_json(const fal_matrix *m, const fal_trust *t, fal_error *err)
{
    static const char *const names[] = { "proven", "mistrusted", "not_covered" };
    char digest[65];
    if (fal_claim_falsifier_digest(t->falsifier, digest, err) != FAL_OK) return NULL;
    const bool open = t->trust == FAL_TRUST_MISTRUSTED && !m->whole;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "id", t->falsifier->id, "contract", t->contract->stem, "claim_sha256", digest, "trust",
                          open ? "not_proven_by_this_choice" : names[t->trust], "mutants", t->n_mutants, "kills", t->n_kills);
    if (t->why[0]) json_object_set_new(j, "why", fal_json_text(t->why));
    return j;
}

json_t *fal_matrix_json(const fal_matrix *m, const char *backend, const char *revision, fal_error *err)
{
    json_t *rows = json_array(), *trusts = json_array(), *counts = json_object();
    int by[FAL_N_PROOFS] = { 0 }, n = 0, n_control = 0, n_failed = 0;
    const fal_device_info *device = NULL;
    bool model = false;
    for (int i = 0; i < m->n_rows; i++) {
        if (strcmp(m->rows[i].backend, backend) != 0) continue;
        json_array_append_new(rows, row_json(m, &m->rows[i]));
        by[m->rows[i].proof]++;
        n++;
    }
    for (int i = 0; i < m->n_trusts && trusts; i++) {
        if (strcmp(m->trusts[i].backend, backend) != 0) continue;
        json_t *t = trust_json(m, &m->trusts[i], err);
        if (t) json_array_append_new(trusts, t);
        else {
            json_decref(trusts);
            trusts = NULL;
        }
    }
    for (int i = 0; i < m->plan->plan.n_cases; i++) {
        const fal_case *k = &m->plan->plan.cases[i];
        if (strcmp(k->backend, backend) != 0) continue;
        model |= k->uses_model;
        if (k->device) device = k->device;
        if (m->plan->mutants[i]) continue;
        n_control++;
        n_failed += m->run->results[i].verdict.kind != FAL_SURVIVED;
    }
    if (n == 0 || !trusts) {
        json_decref(rows);
        json_decref(trusts);
        json_decref(counts);
        return NULL;
    }
    json_object_set_new(counts, "mutants", json_integer(n));
    for (int p = 0; p < FAL_N_PROOFS; p++) json_object_set_new(counts, fal_proof_name((fal_proof)p), json_integer(by[p]));
    json_t *j = json_pack("{s:s, s:b, s:o, s:{s:i, s:i}, s:o, s:o, s:{s:s, s:s}, s:s, s:s, s:f}", "backend", backend, "complete", m->whole,
                          "counts", counts, "control", "cases", n_control, "survived", n_control - n_failed, "mutants", rows, "falsifiers", trusts,
                          "falsify", "version", FAL_VERSION, "revision", revision, "started", m->run->started, "finished", m->run->finished,
                          "seconds", m->run->seconds);
    json_t *checks = json_array();
    for (int i = 0; i < m->n_checks; i++)
        if (strcmp(m->checks[i].backend, backend) == 0)
            json_array_append_new(checks, json_pack("{s:s, s:s, s:i, s:i}", "falsifier", m->checks[i].falsifier->id, "check", m->checks[i].name, "mutants",
                                                    m->checks[i].n_mutants, "kills", m->checks[i].n_kills));
    json_object_set_new(j, "checks", checks);
    json_object_set_new(j, "device", device ? json_pack("{s:o, s:o, s:s, s:s}", "name", fal_json_text(device->name), "driver", fal_json_text(device->driver),
                                                        "uuid", device->uuid, "slug", device->slug) : json_null());
    json_object_set_new(j, "model_sha256", model ? json_string(m->run->model_sha256) : json_null());
    return j;
}

fal_status fal_matrix_write(const fal_matrix *m, const char *folder, const char *revision, int *n_files, fal_error *err)
{
    int n;
    const fal_backend *const *backends = fal_backend_all(&n);
    fal_text dir = { 0 };
    fal_text_addf(&dir, "%s/prove", folder);
    fal_status st = dir.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path") : FAL_OK;
    if (!st && ((mkdir(folder, 0777) != 0 && errno != EEXIST) || (mkdir(fal_text_str(&dir), 0777) != 0 && errno != EEXIST)))
        st = fal_fail(err, FAL_ERR_OUTPUT, "check --evidence", "%s: the folder cannot be made: %s", fal_text_str(&dir), strerror(errno));
    for (int b = 0; b < n && !st; b++) {
        fal_error why = { 0 };
        json_t *j = fal_matrix_json(m, backends[b]->name, revision, &why);
        if (!j && why.code) {
            if (err) *err = why;
            st = why.code;
        }
        if (!j) continue;
        char name[200];
        const char *slug = json_string_value(json_object_get(json_object_get(j, "device"), "slug"));
        snprintf(name, sizeof name, "%s-%s%s.json", backends[b]->name, slug && *slug ? slug : "nodevice", m->whole ? "" : ".partial");
        char *text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
        fal_text whole = { 0 };
        fal_text_addf(&whole, "%s\n", text ? text : "");
        st = !text || whole.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for JSON")
                                   : fal_write_whole(fal_text_str(&dir), name, fal_text_str(&whole), whole.len, err);
        if (!st) ++*n_files;
        fal_text_free(&whole);
        free(text);
        json_decref(j);
    }
    fal_text_free(&dir);
    return st;
}
