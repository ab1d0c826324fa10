/* What a run takes from a stored proof: falsifiers that killed no mutant on this backend and device are not trusted. */
#include "harness/claim.h"
#include "harness/prove.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The falsifiers of the stored matrix of one backend and device, or NULL when there is none. */
static fal_status load(const char *folder, const char *backend, const char *slug, json_t **out, fal_error *err)
{
    fal_text path = { 0 };
    json_error_t je;
    fal_status st = FAL_OK;
    *out = NULL;
    fal_text_addf(&path, "%s/prove/%s-%s.json", folder, backend, slug);
    if (path.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    if (!st && access(fal_text_str(&path), F_OK) == 0) {
        *out = json_load_file(fal_text_str(&path), JSON_REJECT_DUPLICATES, &je);
        if (!json_is_array(json_object_get(*out, "falsifiers"))) {
            json_decref(*out);
            *out = NULL;
            st = fal_fail(err, FAL_ERR_INPUT, "make it again: falsify prove", "%s:%d: no matrix: %s", fal_text_str(&path), je.line,
                          je.text[0] ? je.text : "there is no list of falsifiers");
        }
    }
    fal_text_free(&path);
    return st;
}

/* Whether the matrix mistrusts this very claim. */
static bool mistrusts(const json_t *matrix, const fal_falsifier *f, const char *digest)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(matrix, "falsifiers"), i, t) {
        const char *id = json_string_value(json_object_get(t, "id")), *sha = json_string_value(json_object_get(t, "claim_sha256"));
        const char *trust = json_string_value(json_object_get(t, "trust"));
        if (id && sha && trust && strcmp(id, f->id) == 0 && strcmp(sha, digest) == 0) return strcmp(trust, "mistrusted") == 0;
    }
    return false;
}

fal_status fal_prove_mistrust(fal_run *run, const char *folder, int *n, fal_error *err)
{
    const fal_plan *plan = run->plan;
    json_t *matrix = NULL;
    const char *backend = "", *slug = "";
    fal_status st = FAL_OK;
    *n = 0;
    for (int i = 0; i < plan->n_cases && !st; i++) {
        const fal_case *k = &plan->cases[i];
        fal_verdict *v = &run->results[i].verdict;
        char digest[65];
        if (v->kind != FAL_SURVIVED || !k->device) continue;
        if (strcmp(backend, k->backend) != 0 || strcmp(slug, k->device->slug) != 0) {
            json_decref(matrix);
            backend = k->backend;
            slug = k->device->slug;
            st = load(folder, backend, slug, &matrix, err);
        }
        if (st || !matrix) continue;
        st = fal_claim_falsifier_digest(k->falsifier, digest, err);
        if (st || !mistrusts(matrix, k->falsifier, digest)) continue;
        v->kind = FAL_MISTRUSTED;
        snprintf(v->reason, sizeof v->reason, "it survived, but this falsifier killed no mutant when %s was proven on this device", backend);
        ++*n;
    }
    json_decref(matrix);
    if (*n) fal_run_recount(run);
    return st;
}
