/* Observation files: a safetensors file whose JSON header tells what was asked, what ran, where, and how long it took. */
#ifndef FAL_OBSERVATION_H
#define FAL_OBSERVATION_H

#include "harness/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { FAL_DTYPE_F32, FAL_DTYPE_I32, FAL_DTYPE_U8, FAL_DTYPE_I64 } fal_dtype;

typedef struct {
    const char *name;
    fal_dtype dtype;
    int n_dims;
    int64_t ne[8];     /* safetensors order: the last dimension is the fastest */
    const void *data;
    size_t nbytes, n;  /* bytes, elements */
} fal_obs_tensor;

/* about, a JSON object (header key __metadata__.about, a JSON text):
     falsify     version and revision that wrote it
     asked       {kind, backend, variant, device, model, requests: [...], taps: [...], inputs, pin}
     ran         {backend, variant, device: {name, vendor, driver, uuid, slug, is_cpu}, model_sha256, config: {...},
                  kernels: {name: launches}, arithmetic: {op: {activation, sum, kv, order}}}  (harness/arithmetic.h)
     requests    [{tokens: [...], greedy: [...], seconds, prefill_seconds, decode_seconds} | {op, params, seed, seconds}]
     memory      {weight_bytes, kv_bytes, scratch_bytes, peak_bytes, live_bytes}
     preload     {tensors: [{name, nbytes, uploads, file_sha256, device_sha256}], seconds}       (kind preload)
     refusal     {refused: bool, code, message, contract, live_bytes_before, live_bytes_after}   (kind refusal)
     throughput  {context, n_tokens, n_ctx, how, runs: [{seconds, tokens_per_s, prefill_seconds}], median_tokens_per_s,
                  bytes_per_token, gb_per_s, read_gb_per_s, share_of_bandwidth, no_bandwidth, slowdowns: [names],
                  nvml: {driver, before, after}, no_nvml, device_memory: {source, used_before_bytes, used_bytes,
                  total_bytes, live_bytes}}; what could not be measured is null, and no_... says why  (kind throughput)
     device_code {toolkit, archs, kernels: [{module, kernel, arch, registers, spill_bytes, stack_bytes, shared_bytes}],
                  asked: [{module, kernel, any_type}]}; ran then has backend and variant alone       (kind device_code)
   Tensors: request J's are named "rJ.<name>"; in a file of one request the prefix may be left out. Names of a forward
   request: logits [n_tokens, n_vocab], and the sites of harness/ops.def ("blk.N.attn_norm", "embed", ...), greedy i32.
   Names of an op request: in.<argument>, out.<argument>. Of a throughput: tokens.steps i32 [n_tokens], what a decode
   step by step gives, and tokens.runs i32 [runs, n_tokens]. */
typedef struct {
    char *path;
    json_t *about;
    fal_obs_tensor *tensors;
    int n_tensors, n_requests;
    void *map; size_t map_size;
} fal_observation;

/* what    Maps and checks a safetensors file (header <= 100 MB, JSON strict, dtypes known, offsets contiguous, in bounds,
           no overlap, names unique). F32, I32, U8, I64 tensors only.
   refuses anything else with FAL_ERR_INPUT naming file, byte offset, tensor and field
   owns    *out: fal_observation_close */
fal_status fal_observation_open(const char *path, fal_observation **out, fal_error *err);
void fal_observation_close(fal_observation *o);
/* what    Tensor `name` of request r, with or without prefix when there is one request only; NULL when absent. */
const fal_obs_tensor *fal_observation_find(const fal_observation *o, int request, const char *name);

/* what    Tells the system that the tensor's bytes are not needed for now: its pages leave memory, and come back from the
           file when they are read again. */
void fal_observation_let_go(const fal_observation *o, const fal_obs_tensor *t);

/* Writing: declare all tensors, begin, put data in any order and in pieces, finish. Constant memory. */
typedef struct fal_observation_writer fal_observation_writer;
fal_status fal_observation_writer_make(const char *path, fal_observation_writer **out, fal_error *err);
fal_status fal_observation_declare(fal_observation_writer *w, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, fal_error *err);
/* what    Writes n bytes at byte `at` of the tensor. Bytes never put read as 0xFF. */
fal_status fal_observation_put(fal_observation_writer *w, const char *name, size_t at, const void *data, size_t n, fal_error *err);
/* what    The first declared tensor that is not completely put, or NULL; *bytes: how many bytes of all tensors are missing. */
const char *fal_observation_unput(const fal_observation_writer *w, size_t *bytes);
/* what    Writes the header (about is borrowed), fsyncs, renames into place. On failure no file is left under the final name. */
fal_status fal_observation_finish(fal_observation_writer *w, json_t *about, fal_error *err);
void fal_observation_writer_free(fal_observation_writer *w); /* also removes an unfinished temp file */

#endif
