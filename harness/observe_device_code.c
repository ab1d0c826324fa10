/* Observes the device code in the program: what its compiler said of every kernel, and which kernels the host asks for. */
#include "harness/observe_state.h"
#include "harness/revision.h"

static json_t *kernels_to_json(const fal_device_code *code)
{
    json_t *list = json_array();
    for (int i = 0; i < code->n_kernels; i++) {
        const fal_kernel_code *k = &code->kernels[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i}", "module", k->module, "kernel", k->kernel, "arch",
                                              k->arch, "registers", k->registers, "spill_bytes", k->spill_bytes, "stack_bytes",
                                              k->stack_bytes, "shared_bytes", k->shared_bytes));
    }
    return list;
}

static json_t *asked_to_json(const fal_device_code *code)
{
    json_t *list = json_array();
    for (int i = 0; i < code->n_asked; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "module", code->asked[i].module, "kernel", code->asked[i].kernel,
                                              "any_type", (int)code->asked[i].any_type));
    return list;
}

fal_status fal_observe_device_code(const fal_spec *spec, fal_error *err)
{
    const fal_backend *b = fal_backend_find(spec->backend ? spec->backend : "");
    fal_device_code code = { 0 };
    fal_observation_writer *w = NULL;
    if (!b) return fal_fail(err, FAL_ERR_USAGE, "falsify devices", "no backend is named '%.60s'", spec->backend ? spec->backend : "");
    if (!b->device_code)
        return fal_fail(err, FAL_ERR_BLOCKED, "observe backend cuda", "%s has no device code of its own: a driver compiles it", b->name);
    fal_status st = b->device_code(&code, err);
    if (st) return st;
    json_t *asked = fal_spec_to_json(spec);
    json_object_del(asked, "out"); /* the same observation, wherever it was written */
    char falsify[96];
    snprintf(falsify, sizeof falsify, "%s (%s)", FAL_VERSION, fal_revision);
    /* what was compiled for one variant is what all others have beside it */
    json_t *about = json_pack("{s:s, s:o, s:{s:s, s:s, s:{}}, s:[], s:{s:s, s:s, s:o, s:o}}", "falsify", falsify, "asked", asked, "ran",
                              "backend", b->name, "variant", spec->variant ? spec->variant : "", "kernels", "requests", "device_code",
                              "toolkit", code.toolkit, "archs", code.archs, "kernels", kernels_to_json(&code), "asked",
                              asked_to_json(&code));
    if (!about) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%s: out of memory while describing the observation", spec->out);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (!st) st = fal_observation_finish(w, about, err);
    fal_observation_writer_free(w);
    json_decref(about);
    return st;
}
