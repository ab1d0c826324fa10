/* From a command line to a plan: the way that plan and run go together. */
#include "harness/prepare.h"

#include "harness/candidate_parts.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_SECONDS = 60 }; /* a first start of a driver may compile its own kernels */

bool fal_wants_colour(const fal_options *o, const fal_cmd_env *env, bool terminal)
{
    if (o->color == FAL_COLOR_ALWAYS) return true;
    return o->color == FAL_COLOR_AUTO && terminal && !env->no_color;
}

static fal_status load_contracts(fal_prepared *p, const fal_cmd_env *env, fal_error *err)
{
    fal_diagnoses diag = { 0 };
    const char *const paths[] = { p->paths.contracts };
    const fal_status st = fal_contract_set_load(paths, 1, &p->contracts, &diag, err);
    /* warnings are validate's business; here they would only hide the plan */
    if (diag.n && (st || p->options.verbose))
        fal_diagnoses_print(&diag, fal_wants_colour(&p->options, env, env->err_is_terminal), env->err);
    fal_diagnoses_free(&diag);
    return st;
}

/* What a candidate computes, where it would run, and that it can be loaded at all: then it is one more backend. Its inputs
   are drawn anew for each run, unless a seed is given to repeat one. */
static fal_status prepare_candidate(fal_prepared *p, const fal_cmd_env *env, fal_error *err)
{
    fal_candidate_file file;
    fal_status st = fal_trial_find(p->options.op, false, &p->trial, err);
    if (!st) st = fal_candidate_look(p->options.candidate, &file, err);
    if (!st) {
        fal_error why = { 0 };
        st = fal_declaration_check(&file.declared, p->trial->op, p->trial->types, FAL_TRIAL_MAX_SHAPES, &why);
        if (st) st = fal_fail(err, why.code, why.hint, "%.200s: %s", p->options.candidate, why.message);
    }
    if (st) return st;
    p->declared = file.declared;
    memcpy(p->candidate, file.sha256, sizeof p->candidate);
    const char *const names[] = { file.backend };
    const fal_names only = { (const char **)(uintptr_t)names, 1 };
    if (!p->options.no_probe) fal_probes_ask(p->probes, &only, env->program, PROBE_SECONDS, env->stop);
    if (!p->options.has_seed) {
        p->options.seed = fal_random() >> 33; /* short enough to be typed */
        p->options.has_seed = true;
    }
    fal_probe *own = &p->probes->items[p->probes->n++];
    *own = (fal_probe){ .backend = &fal_candidate_backend };
    for (int i = 0; i < p->probes->n - 1; i++) {
        const fal_probe *under = &p->probes->items[i];
        if (strcmp(under->backend->name, file.backend) != 0) continue;
        const fal_device_info *device = fal_probe_choose(under, strcmp(file.backend, "reference") == 0 ? NULL : p->options.device);
        own->state = under->state;
        own->error = under->error;
        if (under->state != FAL_PROBE_FOUND) return FAL_OK;
        if (!device)
            return fal_fail(err, FAL_ERR_USAGE, "'falsify devices' lists index, name and UUID", "--device '%.80s': %s has no such device",
                            p->options.device, file.backend);
        own->devices[0] = *device;
        own->n = 1;
        if (device->is_cpu) st = fal_trial_find(p->options.op, true, &p->trial, err);
        fal_candidate_name_device(&file, &own->devices[0]);
        if (!st && !p->options.no_probe) st = fal_candidate_try(p->options.candidate, p->trial->op, device->index, err);
    }
    return st;
}

fal_status fal_prepare(int argc, char **argv, fal_options_for which, const fal_cmd_env *env, fal_prepared *out,
                       fal_error *err)
{
    fal_prepared p = { 0 };
    fal_status st = fal_options_parse(argc, argv, which, &p.options, err);
    if (st) return st;
    if (p.options.help) {
        *out = p;
        return FAL_OK;
    }
    st = fal_paths_find(&p.options, FAL_DATADIR, &p.paths, err);
    if (!st) st = load_contracts(&p, env, err);
    if (st) goto out;
    p.probes = fal_probes_make();
    if (!p.probes) {
        st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for devices");
        goto out;
    }
    if (p.options.candidate) st = prepare_candidate(&p, env, err);
    else if (!p.options.no_probe) fal_probes_ask(p.probes, &p.options.backends, env->program, PROBE_SECONDS, env->stop);
    if (!st && env->stop && *env->stop) st = fal_fail(err, FAL_ERR_INTERRUPTED, NULL, "interrupted");
    const fal_plan_in in = { .contracts = p.contracts,
                             .probes = p.probes,
                             .options = &out->options,
                             .model = p.paths.model,
                             .trial = p.trial,
                             .candidate = out->candidate,
                             .declared = p.options.candidate ? &out->declared : NULL,
                             .model_given = p.paths.model_given };
    /* the plan keeps pointers to options and probes, so these must be in their final place first */
    *out = p;
    if (!st) st = fal_plan_make(&in, &out->plan, err);
    if (!st) return FAL_OK;
    fal_prepared_free(out);
    return st;
out:
    fal_prepared_free(&p);
    return st;
}

void fal_prepared_free(fal_prepared *p)
{
    if (!p) return;
    fal_plan_free(p->plan);
    free(p->probes);
    fal_contract_set_free(p->contracts);
    fal_paths_free(&p->paths);
    fal_options_free(&p->options);
    *p = (fal_prepared){ 0 };
}
