/* Preloading: every tensor on the device exactly once, byte for byte, and no memory beyond what was announced. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weights of one layer in a Qwen3-MoE file. */
static const char *const layer_tensors[] = { "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm",
    "attn_k_norm", "ffn_norm", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps" };
enum { N_LAYER_TENSORS = sizeof layer_tensors / sizeof layer_tensors[0] };

static const json_t *preload_list(const fal_observation *o)
{
    const json_t *const list = json_object_get(json_object_get(o->about, "preload"), "tensors");
    return json_is_array(list) ? list : NULL;
}

static const char *text_of(const json_t *entry, const char *key)
{
    const char *const s = json_string_value(json_object_get(entry, key));
    return s ? s : "";
}

static int count_of(const json_t *list, const char *name, const json_t **entry)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const e = json_array_get(list, i);
        if (strcmp(text_of(e, "name"), name) != 0) continue;
        if (n++ == 0) *entry = e;
    }
    return n;
}

static bool is_digest(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* What is wrong with one entry, or NULL. truth: the reference's entry of the same tensor, or NULL. */
static const char *fault_of(const json_t *entry, const json_t *truth)
{
    const json_t *const uploads = json_object_get(entry, "uploads"), *const nbytes = json_object_get(entry, "nbytes");
    const char *const file = text_of(entry, "file_sha256"), *const device = text_of(entry, "device_sha256");
    if (!json_is_integer(uploads) || json_integer_value(uploads) != 1) return "was not uploaded exactly once";
    if (!json_is_integer(nbytes) || json_integer_value(nbytes) <= 0) return "has no size";
    if (!is_digest(file) || !is_digest(device)) return "lacks a digest";
    if (strcmp(file, device) != 0) return "has other bytes on the device than in the file";
    if (!truth) return NULL;
    if (!json_equal(nbytes, json_object_get(truth, "nbytes"))) return "has another size than in the reference";
    if (strcmp(file, text_of(truth, "file_sha256")) != 0)
        return "has another digest in the file than the reference read";
    return NULL;
}

typedef struct {
    uint64_t n, bad;
} preload_tally;

/* uploads is the value worth showing; the worst place is the first tensor that is wrong. */
static void note_tensor(preload_tally *p, const char *name, const json_t *entry, const char *fault, fal_verdict *out)
{
    p->n++;
    if (!fault) return;
    if (p->bad++ == 0) {
        snprintf(out->worst, sizeof out->worst, "%.100s", name);
        out->has_worst = true;
        out->got = json_number_value(json_object_get(entry, "uploads"));
        out->want = 1;
    }
    fal_detail(out, "%.100s %s\n", name, fault);
}

static void check_tensor(const fal_evidence_in *in, const json_t *list, const char *name, bool optional,
                         preload_tally *p, fal_verdict *out)
{
    const json_t *entry = NULL, *truth = NULL;
    const int n = count_of(list, name, &entry);
    if (in->want && in->want->about) count_of(preload_list(in->want), name, &truth);
    if (n == 0 && optional && !truth) return; /* a tied head has no tensor of its own */
    note_tensor(p, name, entry,
                n == 0  ? "is missing"
                : n > 1 ? "is listed more than once"
                        : fault_of(entry, truth),
                out);
}

static bool same_digests(const json_t *list)
{
    for (size_t i = 1; i < json_array_size(list); i++)
        if (strcmp(text_of(json_array_get(list, i), "device_sha256"),
                   text_of(json_array_get(list, 0), "device_sha256")) != 0)
            return false;
    return json_array_size(list) >= 2;
}

void fal_judge_preload(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const list = preload_list(in->got);
    preload_tally p = { 0 };
    if (!in->config || in->config->n_layer <= 0) {
        fal_stop(out, FAL_ERROR, "judgement preload needs the model's configuration to know its tensors");
        return;
    }
    if (!list) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver preload.tensors");
        return;
    }
    check_tensor(in, list, "token_embd.weight", false, &p, out);
    for (int layer = 0; layer < in->config->n_layer; layer++)
        for (int i = 0; i < N_LAYER_TENSORS; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, layer_tensors[i]);
            check_tensor(in, list, name, false, &p, out);
        }
    check_tensor(in, list, "output_norm.weight", false, &p, out);
    check_tensor(in, list, "output.weight", true, &p, out);
    /* entries beyond the known ones: each known one was counted once, so the difference is what nobody asked for */
    const uint64_t listed = json_array_size(list);
    uint64_t known = 0;
    for (size_t i = 0; i < listed; i++) {
        const char *const name = text_of(json_array_get(list, i), "name");
        int layer = -1, end = 0;
        bool is_known = strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output_norm.weight") == 0 ||
                        strcmp(name, "output.weight") == 0;
        if (sscanf(name, "blk.%d.%n", &layer, &end) == 1 && end > 0 && layer >= 0 && layer < in->config->n_layer)
            for (int k = 0; k < N_LAYER_TENSORS && !is_known; k++) {
                const size_t len = strlen(layer_tensors[k]);
                is_known = strncmp(name + end, layer_tensors[k], len) == 0 && strcmp(name + end + len, ".weight") == 0;
            }
        if (is_known) known++;
    }
    if (listed > known) {
        p.bad += listed - known;
        fal_detail(out, "%llu listed tensors are no weights of this model\n", (unsigned long long)(listed - known));
    }
    char first[120] = "";
    snprintf(first, sizeof first, "%.119s", out->detail);
    first[strcspn(first, "\n")] = '\0';
    fal_give(out, (double)p.bad, p.n, "%llu tensors looked at%s%s", (unsigned long long)p.n,
             first[0] ? "; first: " : "", first);
    if (same_digests(list))
        fal_doubt(out, "all tensors have the same device digest, so nothing seems to have been read back");
}

/* ---- device_bytes ---------------------------------------------------------------------------------------------- */

static bool memory_number(const fal_evidence_in *in, const char *key, double *v, fal_verdict *out)
{
    const json_t *const j = json_object_get(json_object_get(in->got->about, "memory"), key);
    if (!json_is_integer(j)) return fal_stop(out, FAL_CRASHED, "the observer did not deliver memory.%s", key);
    *v = (double)json_integer_value(j);
    return true;
}

void fal_judge_device_bytes(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const list = preload_list(in->got);
    double peak = 0, kv = 0, weights = 0, tensors = 0;
    if (!memory_number(in, "peak_bytes", &peak, out) || !memory_number(in, "kv_bytes", &kv, out) ||
        !memory_number(in, "weight_bytes", &weights, out)) return;
    if (!list) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver preload.tensors");
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        tensors += json_number_value(json_object_get(json_array_get(list, i), "nbytes"));
    const double value = peak - tensors - kv;
    fal_give(out, value, json_array_size(list), "peak %.0f, tensors %.0f, KV %.0f bytes", peak, tensors, kv);
    snprintf(out->worst, sizeof out->worst, "memory.peak_bytes");
    out->has_worst = true;
    out->got = peak;
    out->want = tensors + kv;
    /* an account that cannot be true shows nothing about memory, however small its difference is */
    if (json_array_size(list) > 0 && (!(value >= 0) || !(weights >= tensors) || !(kv >= 0)))
        fal_refute(
            out,
            "the account contradicts itself: peak %.0f bytes, weights %.0f, KV %.0f, but the tensors alone have %.0f",
            peak, weights, kv, tensors);
}
