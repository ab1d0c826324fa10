/* Fuzz target of the validator, for libFuzzer: any bytes as a contract under each profile, held against its promises. */
#include "harness/validation.h"

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
    must(d->place.line >= 0 && d->place.column >= 0 && d->width >= 1, "a diagnosis has a place");
    must(d->severity != FAL_OFF && d->is_error == (d->severity == FAL_MISTAKE),
         "a diagnosis has the severity of its rule");
    *n_errors += d->is_error;
}

static void check_contract(const fal_contract *c)
{
    must(c->stem && strcmp(c->stem, "fuzz-v1") == 0 && c->version && c->description,
         "a whole contract has its required keys");
    for (int i = 0; i < c->n_falsifiers; i++) {
        const fal_falsifier *f = &c->falsifiers[i];
        must(f->id && f->id[0] && f->rule && f->prediction, "a falsifier has id, rule and prediction");
        for (int k = 0; k < f->n_checks; k++)
            must(f->checks[k].name && f->checks[k].judge && f->checks[k].limit.basis,
                 "a check has name, judgement and basis");
    }
}

/* Whatever was in the file: GitHub sees our commands and no others. */
static void check_github(const char *text)
{
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        must(end != NULL, "annotations end their lines");
        for (const char *c = line; c < end; c++)
            must((unsigned char)*c >= 0x20 && *c != 0x7f, "annotations hold no control character");
        if (strncmp(line, "::", 2) == 0)
            must(strncmp(line, "::error file=", 13) == 0 || strncmp(line, "::warning file=", 15) == 0 ||
                     strncmp(line, "::notice file=", 14) == 0,
                 "a line that is a command is one of ours");
        line = end + 1;
    }
}

static void print_all(fal_validation *v)
{
    static FILE *sink;
    if (!sink) sink = fopen("/dev/null", "w");
    const fal_validation_style style = { .colour = true, .notes = true, .map = true };
    char *text = NULL;
    size_t n = 0;
    must(fal_validation_count(v, NULL) == FAL_OK, "claims can be counted");
    must(v->all.obligations_bound <= v->all.obligations &&
             v->all.bound + v->all.unbound + v->all.retired == v->all.falsifiers,
         "denominators add up");
    if (sink) {
        fal_validation_print_diagnoses(v, &style, sink);
        fal_validation_print_summary(v, &style, sink);
    }
    FILE *f = open_memstream(&text, &n);
    must(f != NULL, "memory can be written to");
    fal_validation_print_github(v, f);
    fclose(f);
    check_github(text);
    free(text);
    free(v->of);
    free(v->citations);
}

static void load_as(const char *path, fal_profile profile)
{
    fal_validation v = { .profile = profile };
    fal_error err = { 0 };
    const fal_status st = fal_contract_set_load_as(&path, 1, profile, &v.set, &v.diag, &err);
    int n_errors = 0;
    for (size_t i = 0; i < v.diag.n; i++) check_diagnosis(&v.diag.items[i], &n_errors);
    must(st == FAL_OK || st == FAL_ERR_INPUT, "bytes are accepted, or refused as bad input");
    must((st == FAL_OK) == (n_errors == 0), "refused exactly when something was diagnosed as an error");
    must(st == FAL_OK || err.message[0], "a refusal has a message");
    must(v.set && v.set->n_found == 1, "the file is counted");
    for (int i = 0; i < v.set->n_contracts && profile == FAL_PROFILE_STRICT; i++) check_contract(v.set->contracts[i]);
    print_all(&v);
    fal_contract_set_free(v.set);
    fal_diagnoses_free(&v.diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *path = contract_path();
    FILE *f = fopen(path, "wb");
    must(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "the bytes can be written");
    for (int profile = 0; profile < FAL_N_PROFILES; profile++) load_as(path, (fal_profile)profile);
    return 0;
}
