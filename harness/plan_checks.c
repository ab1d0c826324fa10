/* Checks that cannot be executed as written are refused before anything runs. */
#include "harness/judge.h"
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <string.h>

static bool tap_exists(const char *glob)
{
    if (strcmp(glob, "all") == 0) return true;
    for (int s = 0; s < FAL_N_SITES; s++) {
        const fal_site_info *site = fal_site_get((fal_site)s);
        if (!site->per_layer && fal_glob_match(glob, site->name)) return true;
        /* which layers there are depends on the model; a layer that it lacks is found by the judgement */
        for (int layer = 0; site->per_layer && layer < 128; layer++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s", layer, site->name);
            if (fal_glob_match(glob, name)) return true;
        }
    }
    return false;
}

static fal_status check_judge(const fal_contract *c, const fal_falsifier *f, const fal_check *check, fal_error *err)
{
    if (fal_judgement_find(check->judge)) return FAL_OK;
    int n = 0;
    const fal_judgement *all = fal_judgement_all(&n);
    const char *names[128];
    size_t n_names = 0;
    for (int i = 0; i < n && n_names < sizeof names / sizeof names[0]; i++) names[n_names++] = all[i].name;
    const char *near = fal_nearest(check->judge, names, n_names);
    return fal_fail(err, FAL_ERR_INPUT, "falsifiers/judgements.def lists the judgements",
                    "%s:%d: %s/%s: there is no judgement '%s'%s%s%s", c->path, check->place.line, f->id, check->name,
                    check->judge, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The arithmetic of the reference that a check asks for must exist: another one would judge by other numbers. */
static fal_status check_mirror(const fal_contract *c, const fal_falsifier *f, const fal_check *check, fal_error *err)
{
    const char *mirror = fal_params_text(&check->with, "mirror", NULL);
    const char *const *v = fal_backend_find("reference")->variants;
    while (mirror && *v && strcmp(*v, mirror) != 0) v++;
    if (!mirror || (*v && check->against == FAL_AGAINST_REFERENCE)) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, "a mirror is a variant of the reference, such as kv16, in a check against it",
                    "%s:%d: %s/%s: mirror '%.40s' %s", c->path, check->place.line, f->id, check->name, mirror,
                    *v ? "in a check that is not against the reference" : "is no variant of the reference");
}

fal_status fal_plan_check_check(const fal_contract *c, const fal_falsifier *f, const fal_check *check, fal_error *err)
{
    fal_status st = check_judge(c, f, check, err);
    if (!st) st = check_mirror(c, f, check, err);
    if (st) return st;
    if (fal_plan_is_forward(check->observe) && check->n_prompts < 1)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s:%d: %s/%s: names no prompt", c->path, check->place.line, f->id,
                        check->name);
    if (check->sequence && check->against == FAL_AGAINST_ORACLE)
        return fal_fail(err, FAL_ERR_INPUT, "leave out sequence: the oracle answers one prompt at a time",
                        "%s:%d: %s/%s: a sequence cannot be judged against the oracle", c->path, check->place.line,
                        f->id, check->name);
    for (int i = 0; i < check->n_taps; i++)
        if (!tap_exists(check->taps[i]))
            return fal_fail(err, FAL_ERR_INPUT, "harness/ops.def lists the sites",
                            "%s:%d: %s/%s: tap '%s' matches no site", c->path, check->place.line, f->id, check->name,
                            check->taps[i]);
    for (int i = 0; i < check->n_backends; i++) {
        if (!fal_backend_find(check->backends[i]))
            return fal_fail(err, FAL_ERR_INPUT, NULL, "%s:%d: %s/%s: there is no backend '%s'", c->path,
                            check->place.line, f->id, check->name, check->backends[i]);
        if (check->against == FAL_AGAINST_REFERENCE && strcmp(check->backends[i], "reference") == 0)
            return fal_fail(err, FAL_ERR_INPUT,
                            "such a case could never fail; judge the reference against the oracle or a closed form",
                            "%s:%d: %s/%s: the reference is judged against itself", c->path, check->place.line, f->id,
                            check->name);
    }
    if (check->observe != FAL_OBSERVE_OP) return FAL_OK;
    for (int i = 0; i < fal_n_ops(); i++)
        if (check->op && strcmp(fal_op_name(i), check->op) == 0) return FAL_OK;
    return fal_fail(err, FAL_ERR_INPUT, "harness/ops.def lists the operations",
                    "%s:%d: %s/%s: there is no operation '%s'", c->path, check->place.line, f->id, check->name,
                    check->op ? check->op : "");
}
