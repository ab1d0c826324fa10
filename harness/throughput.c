/* Greedy decode of one stream, timed, and the bytes that it must read. */
#include "harness/throughput.h"

#include "harness/rng.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int32_t *fal_decoding_prompt(int n_vocab, int context)
{
    int32_t *prompt = malloc((size_t)(context > 0 ? context : 1) * sizeof *prompt);
    const fal_rng rng = fal_rng_make(1, "throughput.prompt");
    for (int i = 0; prompt && i < context; i++)
        prompt[i] = (int32_t)fal_rng_below(&rng, (uint64_t)i, (uint64_t)n_vocab);
    return prompt;
}

/* Prefill from nothing; *next is the token after the prompt. A token that is none must not be fed on. */
static fal_status prefill(const fal_decoding *d, int32_t *next, fal_error *err)
{
    *next = INT32_MIN; /* no token: shows a backend that does not answer */
    fal_status st = d->backend->reset(d->session, err);
    if (!st) st = d->backend->forward(d->session, d->prompt, d->context, NULL, next, err);
    return st;
}

static fal_status steps(const fal_decoding *d, int32_t next, int32_t *out, fal_error *err)
{
    for (int i = 0; i < d->n_tokens; i++) {
        const int32_t token = next;
        next = INT32_MIN;
        const fal_status st = d->backend->forward(d->session, &token, 1, NULL, &next, err);
        if (st) return st;
        out[i] = next;
    }
    return FAL_OK;
}

fal_status fal_decoding_steps(const fal_decoding *d, int32_t *out, fal_error *err)
{
    int32_t next;
    const fal_status st = prefill(d, &next, err);
    return st ? st : steps(d, next, out, err);
}

bool fal_decoding_generates(const fal_decoding *d)
{
    return d->backend->generate != NULL;
}

fal_status fal_decoding_run(const fal_decoding *d, int32_t *out, double *prefill_s, double *decode_s, fal_error *err)
{
    int32_t next;
    const double t0 = now();
    fal_status st = prefill(d, &next, err);
    const double t1 = now();
    if (!st && d->backend->generate)
        st = d->backend->generate(d->session, next, d->n_tokens, out, err);
    else if (!st)
        st = steps(d, next, out, err);
    if (st) return st;
    *prefill_s = t1 - t0;
    *decode_s = now() - t1;
    return FAL_OK;
}

static bool is_expert(const fal_model *m, const fal_tensor *t)
{
    for (int i = 0; i < m->config.n_layer; i++) {
        const fal_layer *l = &m->layers[i];
        if (t == l->ffn_gate_exps || t == l->ffn_up_exps || t == l->ffn_down_exps) return true;
    }
    return false;
}

double fal_decoding_bytes(const fal_model *m, uint64_t kv_bytes, int n_ctx, int context, int n_tokens)
{
    double bytes = (double)fal_type_row_bytes(m->token_embd->type, (size_t)m->config.n_embd);
    const double used = (double)m->config.n_expert_used / (double)m->config.n_expert;
    for (int i = 0; i < m->n_tensors; i++) {
        const fal_tensor *t = m->tensors[i];
        /* a tied head reads all of the embedding */
        if (t == m->token_embd && m->output != m->token_embd) continue;
        bytes += (double)t->nbytes * (is_expert(m, t) ? used : 1.0);
    }
    const double positions = (double)context + 0.5 * (double)(n_tokens + 1);
    return bytes + (double)kv_bytes / (double)n_ctx * positions;
}

size_t fal_bandwidth_bytes(const fal_device_info *device)
{
    /* far more than any cache, and below 2 GiB: with a buffer of that size NVIDIA's OpenCL was seen not to return */
    const size_t most = device->is_cpu ? (size_t)256 << 20 : (size_t)1 << 30;
    const uint64_t share = device->memory_bytes / 8;
    return share > 0 && share < most ? (size_t)share : most;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double fal_median(double *v, int n)
{
    for (int i = 0; i < n; i++)
        if (isnan(v[i])) return NAN;
    if (n < 1) return NAN;
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}
