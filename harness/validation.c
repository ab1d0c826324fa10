/* Validation: a set of contracts judged by a profile, and its denominators. */
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
            fal_diagnose(d, FAL_RULE_CON_017, check->place, 1, hint, "%s/%s: there is no judgement '%s'", c->falsifiers[i].id, check->name,
                         check->judge);
        }
}

static void tell_expired(const fal_contract *c, const char *today, fal_file_diagnosis *d)
{
    for (int i = 0; i < c->n_waivers; i++)
        if (fal_waiver_expired(&c->waivers[i], today))
            fal_diagnose(d, FAL_RULE_CON_108, c->waivers[i].place, 1, "mend what it excused and remove it", "waiver %s of %s/%s expired on %s",
                         c->waivers[i].id, c->waivers[i].falsifier, c->waivers[i].check, c->waivers[i].expires);
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
    return failed || !fal_diagnoses_sort(&v->diag) ? fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while judging contracts") : FAL_OK;
}

/* ---- counting ---- */

static int compare_citations(const void *pa, const void *pb)
{
    const struct fal_citation *a = pa, *b = pb;
    const int by_id = strcmp(a->obligation, b->obligation);
    return by_id != 0 ? by_id : a->order < b->order ? -1 : a->order > b->order;
}

/* The first citation of an obligation, or the number of all. */
static size_t first_citation(const fal_validation *v, const char *obligation)
{
    size_t low = 0, high = v->n_citations;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (strcmp(v->citations[mid].obligation, obligation) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < v->n_citations && strcmp(v->citations[low].obligation, obligation) == 0 ? low : v->n_citations;
}

static void add(fal_claim_counts *to, const fal_claim_counts *c)
{
    to->falsifiers += c->falsifiers, to->bound += c->bound, to->checks += c->checks, to->unbound += c->unbound;
    to->retired += c->retired, to->obligations += c->obligations, to->obligations_bound += c->obligations_bound;
}

static bool is_bound(const fal_falsifier *f)
{
    return f->n_checks > 0 && !f->retired;
}

/* Ids of obligations mean one thing over all files, so citations are counted over all of them. */
static fal_status count(fal_validation *v, fal_error *err)
{
    const fal_contract_set *set = v->set;
    size_t n_cited = 0;
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++) n_cited += (size_t)set->contracts[i]->falsifiers[k].n_obligations;
    v->citations = calloc(n_cited + 1, sizeof *v->citations);
    v->of = calloc((size_t)set->n_contracts + 1, sizeof *v->of);
    if (!v->citations || !v->of) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while counting falsifiers");
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++) {
            const fal_falsifier *f = &set->contracts[i]->falsifiers[k];
            v->of[i].falsifiers++;
            v->of[i].checks += f->n_checks;
            v->of[i].retired += f->retired;
            v->of[i].bound += is_bound(f);
            v->of[i].unbound += !f->retired && f->n_checks == 0;
            for (int o = 0; is_bound(f) && o < f->n_obligations; o++, v->n_citations++)
                v->citations[v->n_citations] = (struct fal_citation){ f->obligations[o], f->id, v->n_citations };
        }
    qsort(v->citations, v->n_citations, sizeof *v->citations, compare_citations);
    for (int i = 0; i < set->n_contracts; i++) {
        for (int k = 0; k < set->contracts[i]->n_obligations; k++) {
            v->of[i].obligations++;
            v->of[i].obligations_bound += first_citation(v, set->contracts[i]->obligations[k].id) < v->n_citations;
        }
        add(&v->all, &v->of[i]);
    }
    return FAL_OK;
}

int fal_validation_falsifiers_of(const fal_validation *v, const char *obligation, const char **ids, int most)
{
    int n = 0;
    for (size_t i = first_citation(v, obligation); i < v->n_citations && strcmp(v->citations[i].obligation, obligation) == 0; i++, n++)
        if (n < most) ids[n] = v->citations[i].falsifier;
    return n;
}

fal_status fal_validate(const char *const *paths, int n_paths, fal_profile profile, const char *today, fal_validation *out, fal_error *err)
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
            (strstr(out->diag.items[i].message, "'kani_harnesses'") || strstr(out->diag.items[i].message, "'registry'") ||
             strstr(out->diag.items[i].message, "'test' in a falsifier")))
            out->looks_foreign = true;
    status = judge_whole(out, today, err);
    if (status == FAL_OK) status = count(out, err);
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
