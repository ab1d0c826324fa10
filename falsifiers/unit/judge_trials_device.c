/* Trials of the judgements of preloads and refusals. */
#include "falsifiers/unit/judge_scene.h"

#include <string.h>

static json_t *entry(fal_scene *s, size_t i)
{
    return json_array_get(json_object_get(json_object_get(s->got->about, "preload"), "tensors"), i);
}

static json_t *entries(fal_scene *s)
{
    return json_object_get(json_object_get(s->got->about, "preload"), "tensors");
}

static void make_preload(fal_scene *s)
{
    fal_scene_preload(s, "preload");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static void make_preload_tied(fal_scene *s)
{
    make_preload(s);
    json_array_remove(entries(s), json_array_size(entries(s)) - 1);
}

static void make_preload_against(fal_scene *s)
{
    make_preload(s);
    s->want = fal_draft_copy(s->got);
}

static void uploaded_twice(fal_scene *s)
{
    json_object_set_new(entry(s, 4), "uploads", json_integer(2));
}

static void never_uploaded(fal_scene *s)
{
    json_object_set_new(entry(s, 4), "uploads", json_integer(0));
}

static void one_bit_on_the_device(fal_scene *s)
{
    char digest[65];
    strcpy(digest, json_string_value(json_object_get(entry(s, 4), "device_sha256")));
    digest[63] = digest[63] == '0' ? '1' : '0';
    json_object_set_new(entry(s, 4), "device_sha256", json_string(digest));
}

static void no_digests(fal_scene *s)
{
    json_object_set_new(entry(s, 4), "device_sha256", json_string(""));
    json_object_set_new(entry(s, 4), "file_sha256", json_string(""));
}

static void one_missing(fal_scene *s)
{
    json_array_remove(entries(s), 4);
}

static void listed_twice(fal_scene *s)
{
    json_array_append(entries(s), entry(s, 4));
}

static void unknown_tensor(fal_scene *s)
{
    json_t *const copy = json_deep_copy(entry(s, 4));
    json_object_set_new(copy, "name", json_string("blk.9.attn_q.weight"));
    json_array_append_new(entries(s), copy);
}

static void nothing_read_back(fal_scene *s)
{
    char one[65];
    strcpy(one, json_string_value(json_object_get(entry(s, 0), "file_sha256")));
    for (size_t i = 0; i < json_array_size(entries(s)); i++) {
        json_object_set_new(entry(s, i), "device_sha256", json_string(one));
        json_object_set_new(entry(s, i), "file_sha256", json_string(one));
    }
}

static void smaller_than_the_reference(fal_scene *s)
{
    json_object_set_new(entry(s, 4), "nbytes", json_integer(999));
}

static void another_file(fal_scene *s)
{
    one_bit_on_the_device(s);
    json_object_set(entry(s, 4), "file_sha256", json_object_get(entry(s, 4), "device_sha256"));
}

static void no_report(fal_scene *s)
{
    json_object_del(s->got->about, "preload");
}

static void empty_list(fal_scene *s)
{
    json_array_clear(entries(s));
}

static void no_model(fal_scene *s)
{
    s->has_config = false;
}

static void make_device_bytes(fal_scene *s)
{
    fal_scene_preload(s, "device_bytes");
    fal_scene_limit(s, FAL_LIMIT_MAX, 1000); /* just what is used */
}

static void memory_is(fal_scene *s, const char *key, json_int_t v)
{
    json_object_set_new(json_object_get(s->got->about, "memory"), key, json_integer(v));
}

static void one_byte_more(fal_scene *s)
{
    memory_is(s, "peak_bytes", 28501);
}

static void nothing_measured(fal_scene *s)
{
    memory_is(s, "peak_bytes", 0);
}

static void kv_overstated(fal_scene *s)
{
    memory_is(s, "kv_bytes", 5000);
    memory_is(s, "peak_bytes", 29000);
}

static void weights_understated(fal_scene *s)
{
    memory_is(s, "weight_bytes", 26999);
}

static void no_memory_report(fal_scene *s)
{
    json_object_del(s->got->about, "memory");
}

/* ---- refusals -------------------------------------------------------------------------------------------------- */

static json_t *refusal(fal_scene *s)
{
    return json_object_get(s->got->about, "refusal");
}

static void make_refused(fal_scene *s)
{
    fal_scene_refusal(s, "refused");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 1);
    s->with[0] = (fal_param){ "contract", 0, "tensor-names-v1" };
    s->check.with = (fal_params){ s->with, 1 };
}

static void accepted(fal_scene *s)
{
    json_object_set_new(refusal(s), "refused", json_false());
}

static void other_code(fal_scene *s)
{
    json_object_set_new(refusal(s), "code", json_string("device"));
}

static void other_contract(fal_scene *s)
{
    json_object_set_new(refusal(s), "contract", json_string("tensor-layout-v1"));
}

static void any_contract(fal_scene *s)
{
    other_contract(s);
    s->check.with.n_params = 0;
}

static void wordless(fal_scene *s)
{
    json_object_set_new(refusal(s), "message", json_string(""));
}

static void no_refusal(fal_scene *s)
{
    json_object_del(s->got->about, "refusal");
}

static void terminal_escape(fal_scene *s)
{
    json_object_set_new(refusal(s), "message", json_string("bad\x1b[2Jfile"));
}

static void make_no_leak(fal_scene *s)
{
    fal_scene_refusal(s, "no_leak");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static void one_byte_leaked(fal_scene *s)
{
    json_object_set_new(refusal(s), "live_bytes_after", json_integer(101));
}

static void one_byte_too_few(fal_scene *s)
{
    json_object_set_new(refusal(s), "live_bytes_after", json_integer(99));
}

static void not_counted(fal_scene *s)
{
    json_object_del(refusal(s), "live_bytes_after");
}

/* ---- throughput ------------------------------------------------------------------------------------------------ */

static json_t *throughput(fal_scene *s)
{
    return json_object_get(s->got->about, "throughput");
}

static json_t *device_memory(fal_scene *s)
{
    return json_object_get(throughput(s), "device_memory");
}

static void make_throughput(fal_scene *s)
{
    fal_scene_throughput(s, "throughput");
    fal_scene_limit(s, FAL_LIMIT_MIN, 200); /* just the median */
}

static void make_share(fal_scene *s)
{
    fal_scene_throughput(s, "device_memory");
    fal_scene_with(s, "of_total", 1);
    fal_scene_limit(s, FAL_LIMIT_MAX, 0.75);
}

static void make_bytes(fal_scene *s)
{
    fal_scene_throughput(s, "device_memory");
    fal_scene_limit(s, FAL_LIMIT_MAX, 500000); /* 750,000 less what was there before */
}

static void a_run_takes(fal_scene *s, size_t run, json_t *seconds)
{
    json_object_set_new(json_array_get(json_object_get(throughput(s), "runs"), run), "seconds", seconds);
}

static void median_run_slower(fal_scene *s)
{
    a_run_takes(s, 0, json_real(0.020001));
}

static void fastest_run_faster(fal_scene *s)
{
    a_run_takes(s, 1, json_real(0.0001));
    json_object_set_new(throughput(s), "median_tokens_per_s", json_real(1e6)); /* nobody believes a median that is handed in */
    median_run_slower(s);
}

static void no_time_at_all(fal_scene *s)
{
    a_run_takes(s, 1, json_real(0));
}

static void no_seconds(fal_scene *s)
{
    a_run_takes(s, 1, json_null());
}

static void a_run_less(fal_scene *s)
{
    json_array_remove(json_object_get(throughput(s), "runs"), 2);
}

static void another_token(fal_scene *s)
{
    fal_draft_i32(s->got, "tokens.runs")[6] = 7;
}

static void no_such_token(fal_scene *s)
{
    fal_draft_i32(s->got, "tokens.steps")[3] = -1;
    for (int r = 0; r < 3; r++) fal_draft_i32(s->got, "tokens.runs")[4 * r + 3] = -1;
}

static void no_tokens(fal_scene *s)
{
    fal_draft_drop(s->got, "tokens.runs");
}

static void too_hot(fal_scene *s)
{
    json_array_append_new(json_object_get(throughput(s), "slowdowns"), json_string("hardware thermal slowdown"));
}

static void bandwidth_unknown(fal_scene *s)
{
    json_object_set_new(throughput(s), "share_of_bandwidth", json_null());
}

static void no_throughput(fal_scene *s)
{
    json_object_del(s->got->about, "throughput");
}

static void used_is(fal_scene *s, json_int_t bytes)
{
    json_object_set_new(device_memory(s), "used_bytes", json_integer(bytes));
}

static void one_byte_more_in_use(fal_scene *s)
{
    used_is(s, 750001);
}

static void own_account(fal_scene *s)
{
    json_object_set_new(device_memory(s), "source", json_string("own account"));
    json_object_set_new(device_memory(s), "used_before_bytes", json_null());
    used_is(s, 450000);
}

static void nothing_allocated(fal_scene *s)
{
    json_object_set_new(device_memory(s), "live_bytes", json_integer(0));
}

static void less_than_the_weights(fal_scene *s)
{
    json_object_set_new(device_memory(s), "live_bytes", json_integer(399999));
}

static void more_than_there_is(fal_scene *s)
{
    json_object_set_new(device_memory(s), "total_bytes", json_integer(700000));
}

static void neighbour_left(fal_scene *s)
{
    used_is(s, 600000);
}

static void no_account(fal_scene *s)
{
    json_object_del(throughput(s), "device_memory");
}

const fal_trial fal_trials_device[] = {
    { "preload", "all once and whole", make_preload, NULL, FAL_SURVIVED, "27 tensors" },
    { "preload", "a tied head has no tensor", make_preload_tied, NULL, FAL_SURVIVED, "26 tensors" },
    { "preload", "uploaded twice", make_preload, uploaded_twice, FAL_FALSIFIED, "blk.0.attn_v.weight" },
    { "preload", "never uploaded", make_preload, never_uploaded, FAL_FALSIFIED, "exactly once" },
    { "preload", "other bytes on the device", make_preload, one_bit_on_the_device, FAL_FALSIFIED, "other bytes" },
    { "preload", "no digests", make_preload, no_digests, FAL_FALSIFIED, "lacks a digest" },
    { "preload", "one missing", make_preload, one_missing, FAL_FALSIFIED, "attn_v.weight is missing" },
    { "preload", "one listed twice", make_preload, listed_twice, FAL_FALSIFIED, "more than once" },
    { "preload", "a tensor of no layer", make_preload, unknown_tensor, FAL_FALSIFIED, "no weights of this model" },
    { "preload", "nothing read back", make_preload, nothing_read_back, FAL_MISTRUSTED, "same device digest" },
    { "preload", "against the reference", make_preload_against, NULL, FAL_SURVIVED, NULL },
    { "preload", "smaller than in the reference", make_preload_against, smaller_than_the_reference, FAL_FALSIFIED,
      "another size" },
    { "preload", "another file than the reference's", make_preload_against, another_file, FAL_FALSIFIED,
      "another digest" },
    { "preload", "no report", make_preload, no_report, FAL_CRASHED, "preload.tensors" },
    { "preload", "an empty list", make_preload, empty_list, FAL_FALSIFIED, "is missing" },
    { "preload", "no model", make_preload, no_model, FAL_ERROR, "configuration" },

    { "device_bytes", "at the limit", make_device_bytes, NULL, FAL_SURVIVED, "1000" },
    { "device_bytes", "one byte more", make_device_bytes, one_byte_more, FAL_FALSIFIED, "1001" },
    { "device_bytes", "nothing measured", make_device_bytes, nothing_measured, FAL_FALSIFIED, "contradicts itself" },
    { "device_bytes", "KV overstated", make_device_bytes, kv_overstated, FAL_FALSIFIED, "contradicts itself" },
    { "device_bytes", "weights understated", make_device_bytes, weights_understated, FAL_FALSIFIED,
      "contradicts itself" },
    { "device_bytes", "no report", make_device_bytes, no_memory_report, FAL_CRASHED, "memory.peak_bytes" },
    { "device_bytes", "no tensors", make_device_bytes, empty_list, FAL_FALSIFIED, "nothing was compared" },

    { "refused", "refused by name", make_refused, NULL, FAL_SURVIVED, "architecture is llama" },
    { "refused", "accepted", make_refused, accepted, FAL_FALSIFIED, "it was accepted" },
    { "refused", "with another code", make_refused, other_code, FAL_FALSIFIED, "'device' instead of 'input'" },
    { "refused", "by another contract", make_refused, other_contract, FAL_FALSIFIED,
      "'tensor-layout-v1' instead of 'tensor-names-v1'" },
    { "refused", "by any contract", make_refused, any_contract, FAL_SURVIVED, NULL },
    { "refused", "without a word", make_refused, wordless, FAL_FALSIFIED, "without a message" },
    { "refused", "no report", make_refused, no_refusal, FAL_CRASHED, "refusal.refused" },
    { "refused", "an observer's text is made plain", make_refused, terminal_escape, FAL_SURVIVED, "bad?[2Jfile" },

    { "no_leak", "nothing left", make_no_leak, NULL, FAL_SURVIVED, NULL },
    { "no_leak", "one byte left", make_no_leak, one_byte_leaked, FAL_FALSIFIED, "live_bytes_after" },
    { "no_leak", "one byte too few", make_no_leak, one_byte_too_few, FAL_FALSIFIED, NULL },
    { "no_leak", "accepted", make_no_leak, accepted, FAL_FALSIFIED, "accepted" },
    { "no_leak", "not counted", make_no_leak, not_counted, FAL_CRASHED, NULL },

    { "throughput", "the median at its limit", make_throughput, NULL, FAL_SURVIVED, "25.0 %" },
    { "throughput", "the median run is slower", make_throughput, median_run_slower, FAL_FALSIFIED, "199.99" },
    { "throughput", "a fast run and a handed-in median", make_throughput, fastest_run_faster, FAL_FALSIFIED, "199.99" },
    { "throughput", "a run in no time", make_throughput, no_time_at_all, FAL_FALSIFIED, "NaN" },
    { "throughput", "a run without a time", make_throughput, no_seconds, FAL_FALSIFIED, "NaN" },
    { "throughput", "a run is missing", make_throughput, a_run_less, FAL_CRASHED, "2 runs" },
    { "throughput", "one token differs", make_throughput, another_token, FAL_FALSIFIED, "tokens.runs[1, 2]" },
    { "throughput", "a token that does not exist", make_throughput, no_such_token, FAL_FALSIFIED, "3 of 12" },
    { "throughput", "no tokens", make_throughput, no_tokens, FAL_CRASHED, "tokens.runs" },
    { "throughput", "slowed down by heat", make_throughput, too_hot, FAL_ERROR, "throttled" },
    { "throughput", "bandwidth not measured", make_throughput, bandwidth_unknown, FAL_SURVIVED, "not measured" },
    { "throughput", "no report", make_throughput, no_throughput, FAL_CRASHED, "about.throughput" },

    { "device_memory", "a share at its limit", make_share, NULL, FAL_SURVIVED, "as NVML reports" },
    { "device_memory", "a share of one byte more", make_share, one_byte_more_in_use, FAL_FALSIFIED, "750001" },
    { "device_memory", "bytes at their limit, without the neighbours'", make_bytes, NULL, FAL_SURVIVED, "500000" },
    { "device_memory", "one byte more", make_bytes, one_byte_more_in_use, FAL_FALSIFIED, "500001" },
    { "device_memory", "by own account, and says so", make_share, own_account, FAL_SURVIVED, "own account" },
    { "device_memory", "nothing allocated", make_bytes, nothing_allocated, FAL_FALSIFIED, "contradicts itself" },
    { "device_memory", "less than the weights", make_bytes, less_than_the_weights, FAL_FALSIFIED, "contradicts itself" },
    { "device_memory", "more in use than there is", make_bytes, more_than_there_is, FAL_FALSIFIED, "contradicts itself" },
    { "device_memory", "a neighbour left meanwhile", make_bytes, neighbour_left, FAL_ERROR, "gave memory back" },
    { "device_memory", "no account", make_bytes, no_account, FAL_CRASHED, "device_memory" },
};
const int fal_n_trials_device = sizeof fal_trials_device / sizeof fal_trials_device[0];
