/* Observes construction: every tensor is read back from the device and compared with the file by digest. */
#include "harness/digest.h"
#include "harness/observe_state.h"

#include <stdlib.h>
#include <string.h>

/* Tensors that are in host memory at once: enough to keep all cores busy with digests, not as many as the model has. */
enum { BATCH = 64 };
#define BATCH_BYTES (UINT64_C(2) << 30)

typedef struct {
    int n, uploads[BATCH];
    const fal_tensor *tensors[BATCH];
    unsigned char *read[BATCH]; /* into the buffer */
    char of_file[BATCH][65], of_device[BATCH][65];
} batch;

/* Digests of both sides of all tensors of a batch, the file's in even places. */
static fal_status digest_batch(batch *b, fal_error *err)
{
    fal_error first = { 0 };
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < 2 * b->n; i++) {
        const fal_tensor *t = b->tensors[i / 2];
        fal_error own = { 0 };
        const fal_status st = i % 2 == 0 ? fal_sha256(t->data, t->nbytes, b->of_file[i / 2], &own)
                                         : fal_sha256(b->read[i / 2], t->nbytes, b->of_device[i / 2], &own);
#pragma omp critical(fal_preload_digest)
        if (st && first.code == FAL_OK) first = own;
    }
    if (first.code && err && err->code == FAL_OK) *err = first;
    return first.code;
}

/* Reads tensors from `first` on into the buffer, as many as fit, and adds their entries. *next: the one behind. */
static fal_status read_batch(fal_observe_state *s, int first, unsigned char *buffer, size_t size, int *next, json_t *entries,
                             fal_error *err)
{
    batch *b = calloc(1, sizeof *b);
    fal_status st = b ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory");
    size_t used = 0;
    int i = first;
    for (; !st && i < s->model->n_tensors && b->n < BATCH; i++) {
        const fal_tensor *t = s->model->tensors[i];
        if (t->nbytes > size - used) break;
        fal_observe_mark(s, "reading back tensor %d of %d", i, s->model->n_tensors);
        memset(buffer + used, 0xff, t->nbytes); /* what the device leaves out cannot look like the tensor before it */
        b->tensors[b->n] = t;
        b->read[b->n] = buffer + used;
        b->uploads[b->n] = -1;
        st = s->backend->read_tensor(s->session, i, buffer + used, &b->uploads[b->n], err);
        used += t->nbytes;
        b->n++;
    }
    if (!st) st = digest_batch(b, err);
    for (int k = 0; !st && k < b->n; k++) {
        json_t *j = json_pack("{s:s, s:I, s:i, s:s, s:s}", "name", b->tensors[k]->name, "nbytes",
                              (json_int_t)b->tensors[k]->nbytes, "uploads", b->uploads[k], "file_sha256", b->of_file[k],
                              "device_sha256", b->of_device[k]);
        if (json_array_append_new(entries, j) != 0)
            st = fal_fail(err, FAL_ERR_MEMORY, NULL, "tensor %d: out of memory", first + k);
    }
    free(b);
    *next = i;
    return st;
}

fal_status fal_observe_preload(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    fal_observation_writer *w = NULL;
    json_t *tensors = NULL, *before = NULL;
    unsigned char *buffer = NULL;
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

    /* room for the largest, and for a batch as far as the model has one */
    size_t most = s->model->tensor_bytes < BATCH_BYTES ? (size_t)s->model->tensor_bytes : (size_t)BATCH_BYTES;
    for (int i = 0; i < s->model->n_tensors; i++)
        if (s->model->tensors[i]->nbytes > most) most = s->model->tensors[i]->nbytes;
    tensors = json_array();
    buffer = malloc(most + 1);
    if (!tensors || !buffer) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "%zu bytes to read tensors into", most);
    for (int i = 0; i < s->model->n_tensors && !st;) st = read_batch(s, i, buffer, most, &i, tensors, err);
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
