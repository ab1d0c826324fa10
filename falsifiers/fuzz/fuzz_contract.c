/* Fuzz target of the contract loader, for libFuzzer: any bytes as a contract, held against the promises about its diagnoses. */
#include "harness/contract.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(int holds, const char *promise)
{
    if (holds) return;
    fprintf(stderr, "broken promise: %s\n", promise);
    abort();
}

/* A contract needs the name of a file; the folder lives as long as the process. */
static const char *contract_path(void)
{
    static char path[64];
    if (path[0]) return path;
    char folder[] = "/tmp/fuzz_contract_XXXXXX";
    must(mkdtemp(folder) != NULL, "a folder can be made");
    snprintf(path, sizeof path, "%s/fuzz-v1.yaml", folder);
    return path;
}

static void check_diagnosis(const fal_diagnosis *d, int *n_errors)
{
    must(d->message && d->message[0] && d->rule && d->path, "a diagnosis has a message, a rule and a file");
    must(d->place.line >= 1 && d->place.column >= 1 && d->width >= 1, "a diagnosis has a place");
    *n_errors += d->is_error;
}

static void check_contract(const fal_contract *c)
{
    must(c->stem && strcmp(c->stem, "fuzz-v1") == 0 && c->version && c->description, "a whole contract has its required keys");
    for (int i = 0; i < c->n_falsifiers; i++) {
        const fal_falsifier *f = &c->falsifiers[i];
        must(f->id && f->id[0] && f->rule && f->prediction, "a falsifier has id, rule and prediction");
        for (int k = 0; k < f->n_checks; k++)
            must(f->checks[k].name && f->checks[k].judge && f->checks[k].limit.basis, "a check has name, judgement and basis");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static FILE *sink;
    const char *path = contract_path();
    fal_contract_set *set = NULL;
    fal_diagnoses diag = { 0 };
    fal_error err = { 0 };
    if (!sink) sink = fopen("/dev/null", "w");
    FILE *f = fopen(path, "wb");
    must(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "the bytes can be written");
    const fal_status st = fal_contract_set_load(&path, 1, &set, &diag, &err);
    int n_errors = 0;
    for (size_t i = 0; i < diag.n; i++) check_diagnosis(&diag.items[i], &n_errors);
    must(st == FAL_OK || st == FAL_ERR_INPUT, "bytes are accepted, or refused as bad input");
    must((st == FAL_OK) == (n_errors == 0), "refused exactly when something was diagnosed as an error");
    must(st == FAL_OK || err.message[0], "a refusal has a message");
    must(set && set->n_found == 1, "the file is counted");
    for (int i = 0; i < set->n_contracts; i++) check_contract(set->contracts[i]);
    if (sink) fal_diagnoses_print(&diag, false, sink);
    fal_contract_set_free(set);
    fal_diagnoses_free(&diag);
    return 0;
}
