/* Validation: its denominators, and which falsifiers each obligation has. */
#include "harness/validation.h"

#include <stdlib.h>
#include <string.h>

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
fal_status fal_validation_count(fal_validation *v, fal_error *err)
{
    const fal_contract_set *set = v->set;
    size_t n_cited = 0;
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++)
            n_cited += (size_t)set->contracts[i]->falsifiers[k].n_obligations;
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
    for (size_t i = first_citation(v, obligation);
         i < v->n_citations && strcmp(v->citations[i].obligation, obligation) == 0; i++, n++)
        if (n < most) ids[n] = v->citations[i].falsifier;
    return n;
}
