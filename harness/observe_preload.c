/* Observes construction: every tensor is read back from the device and compared with the file by digest. */
#include "harness/digest.h"
#include "harness/observe_state.h"

#include <stdlib.h>
#include <string.h>

static fal_status read_one(fal_observe_state *s, int i, void *buffer, json_t *tensors, fal_error *err)
{
    const fal_tensor *t = s->model->tensors[i];
    char of_file[65], of_device[65];
    int uploads = -1;
    fal_observe_mark(s, "reading back tensor %d of %d", i, s->model->n_tensors);
    memset(buffer, 0xff, t->nbytes); /* what the device does not write cannot look like the tensor before it */
    fal_status st = s->backend->read_tensor(s->session, i, buffer, &uploads, err);
    if (!st) st = fal_sha256(t->data, t->nbytes, of_file, err);
    if (!st) st = fal_sha256(buffer, t->nbytes, of_device, err);
    if (st) return st;
    json_t *j = json_pack("{s:s, s:I, s:i, s:s, s:s}", "name", t->name, "nbytes", (json_int_t)t->nbytes, "uploads", uploads,
                          "file_sha256", of_file, "device_sha256", of_device);
    return json_array_append_new(tensors, j) == 0 ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "tensor %d: out of memory", i);
}

fal_status fal_observe_preload(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    fal_observation_writer *w = NULL;
    json_t *tensors = NULL, *before = NULL;
    void *buffer = NULL;
    const double n_ctx = fal_params_number(&spec->with, "n_ctx", 512);
    fal_status st = FAL_OK;
    if (!(n_ctx >= 1 && n_ctx <= INT32_MAX)) return fal_fail(err, FAL_ERR_USAGE, NULL, "n_ctx is %g, expected a positive integer", n_ctx);

    /* A device that nothing has used yet: peak and live bytes count from here. */
    fal_observe_close(s);
    st = fal_observe_open_device(s, spec, err);
    if (!st) st = fal_observe_open_model(s, spec->model, err);
    if (!st) st = fal_observation_writer_make(spec->out, &w, err);
    if (st) goto out;

    before = fal_observe_launches(s);
    const double start = fal_observe_now();
    st = fal_observe_open_session(s, (int)n_ctx, err);
    const double seconds = fal_observe_now() - start;
    if (st) goto out;
    fal_memory memory = { 0 }, after = { 0 };
    s->backend->session_memory(s->session, &memory);

    size_t most = 1;
    for (int i = 0; i < s->model->n_tensors; i++)
        if (s->model->tensors[i]->nbytes > most) most = s->model->tensors[i]->nbytes;
    tensors = json_array();
    buffer = malloc(most);
    if (!tensors || !buffer) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%zu bytes to read tensors into", most);
    for (int i = 0; i < s->model->n_tensors && !st; i++) st = read_one(s, i, buffer, tensors, err);
    if (st) goto out;

    fal_observe_close_session(s);
    s->backend->memory(s->ctx, &after);
    json_t *preload = json_pack("{s:O, s:I, s:f, s:f, s:i, s:I}", "tensors", tensors, "tensor_bytes", (json_int_t)s->model->tensor_bytes,
                                "seconds", seconds, "gb_per_s", (double)s->model->tensor_bytes / 1e9 / (seconds > 1e-9 ? seconds : 1e-9),
                                "n_ctx", (int)n_ctx, "live_bytes_after_close", (json_int_t)after.live_bytes);
    st = fal_observe_finish(s, spec, w, NULL, &memory, before, "preload", preload, err);
    before = NULL;
out:
    free(buffer);
    json_decref(before);
    json_decref(tensors);
    fal_observation_writer_free(w);
    return st;
}
