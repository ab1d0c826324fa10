/* Validation: a set of contracts judged by a profile. */
#include "harness/validation.h"

#include "harness/diagnosis.h"
#include "harness/judge.h"
#include "harness/text.h"
#include "harness/waiver.h"

#include <stdlib.h>
#include <string.h>

/* ---- judgements: known here and not to the loader, which stands before them ---- */

static void refuse_unknown_judgements(const fal_contract *c, fal_file_diagnosis *d)
{
    enum { MOST = 256 };
    const char *names[MOST];
    int n = 0;
    const fal_judgement *known = fal_judgement_all(&n);
    size_t n_names = 0;
    for (int i = 0; i < n && n_names < MOST; i++) names[n_names++] = known[i].name;
    for (int i = 0; i < c->n_falsifiers; i++)
        for (int k = 0; k < c->falsifiers[i].n_checks; k++) {
            const fal_check *check = &c->falsifiers[i].checks[k];
            if (fal_judgement_find(check->judge)) continue;
            char hint[160] = "falsifiers/judgements.def lists the judgements";
            const char *nearest = fal_nearest(check->judge, names, n_names);
            if (nearest) snprintf(hint, sizeof hint, "did you mean '%s'?", nearest);
            fal_diagnose(d, FAL_RULE_CON_017, check->place, 1, hint, "%s/%s: there is no judgement '%s'",
                         c->falsifiers[i].id, check->name, check->judge);
        }
}

static void tell_expired(const fal_contract *c, const char *today, fal_file_diagnosis *d)
{
    for (int i = 0; i < c->n_waivers; i++)
        if (fal_waiver_expired(&c->waivers[i], today))
            fal_diagnose(d, FAL_RULE_CON_108, c->waivers[i].place, 1, "mend what it excused and remove it",
                         "waiver %s of %s/%s expired on %s", c->waivers[i].id, c->waivers[i].falsifier,
                         c->waivers[i].check, c->waivers[i].expires);
}

static fal_status judge_whole(fal_validation *v, const char *today, fal_error *err)
{
    bool failed = false;
    v->n_valid = v->set->n_contracts;
    for (int i = 0; i < v->set->n_contracts; i++) {
        fal_file_diagnosis d = fal_contract_diagnosis(v->set->contracts[i], &v->diag);
        refuse_unknown_judgements(v->set->contracts[i], &d);
        tell_expired(v->set->contracts[i], today, &d);
        fal_diagnose_hidden(&d);
        v->n_valid -= d.n_errors > 0;
        failed |= d.failed;
    }
    return failed || !fal_diagnoses_sort(&v->diag)
               ? fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while judging contracts")
               : FAL_OK;
}

fal_status fal_validate(const char *const *paths, int n_paths, fal_profile profile, const char *today,
                        fal_validation *out, fal_error *err)
{
    *out = (fal_validation){ .profile = profile };
    fal_error ignored = { 0 };
    fal_status status = fal_contract_set_load_as(paths, n_paths, profile, &out->set, &out->diag, &ignored);
    if (status != FAL_OK && status != FAL_ERR_INPUT) {
        if (err) *err = ignored;
        return status;
    }
    for (size_t i = 0; i < out->diag.n; i++)
        if (out->diag.items[i].rule_id == FAL_RULE_CON_001 &&
            (strstr(out->diag.items[i].message, "'kani_harnesses'") ||
             strstr(out->diag.items[i].message, "'registry'") ||
             strstr(out->diag.items[i].message, "'test' in a falsifier")))
            out->looks_foreign = true;
    status = judge_whole(out, today, err);
    if (status == FAL_OK) status = fal_validation_count(out, err);
    out->n_errors = out->diag.n_of[FAL_MISTAKE];
    out->n_warnings = out->diag.n_of[FAL_WARNING];
    out->n_notes = out->diag.n_of[FAL_NOTE];
    return status;
}

void fal_validation_free(fal_validation *v)
{
    fal_diagnoses_free(&v->diag);
    fal_contract_set_free(v->set);
    free(v->of);
    free(v->citations);
    *v = (fal_validation){ 0 };
}
