/* Tests of timed decode: what is recorded, what it is compared with, what a token must read; and of NVML and NVTX where
   there are none. */
#include "harness/nvml.h"
#include "harness/nvtx.h"
#include "harness/observe.h"
#include "harness/throughput.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *fal_suite_throughput(void);

static const char model_path[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
static const fal_param small[] = {
    { "context", 16, NULL }, { "n_tokens", 8, NULL }, { "runs", 2, NULL }, { "n_ctx", 40, NULL }
};
static char folder[64], file[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/falsify-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/t.safetensors", folder);
}

static void teardown(void)
{
    unlink(file);
    ck_assert_msg(rmdir(folder) == 0, "something was left in %s", folder);
}

static double number(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    ck_assert_msg(json_is_number(v), "%s is no number", name);
    return json_number_value(v);
}

/* ---- observations ------------------------------------------------------------------------------------------------- */

static void observe_small(const char *backend, const char *variant, bool has_bandwidth)
{
    const fal_spec spec = { .kind = FAL_OBSERVE_THROUGHPUT,
                            .backend = backend,
                            .variant = variant,
                            .device = "",
                            .model = model_path,
                            .with = { small, 4 },
                            .out = file };
    fal_error err = { 0 };
    fal_observation *o = NULL;
    ck_assert_msg(fal_observe(&spec, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_observation_open(file, &o, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_observation_answers(o, &spec, &err) == FAL_OK, "%s", err.message);

    const json_t *t = json_object_get(o->about, "throughput"), *memory = json_object_get(o->about, "memory");
    const json_t *runs = json_object_get(t, "runs"), *device = json_object_get(t, "device_memory");
    ck_assert_int_eq((int)number(t, "context"), 16);
    ck_assert_int_eq((int)number(t, "n_tokens"), 8);
    ck_assert_int_eq((int)number(t, "n_ctx"), 40);
    ck_assert_uint_eq(json_array_size(runs), 2);
    double rates[2];
    for (size_t r = 0; r < 2; r++) {
        const double seconds = number(json_array_get(runs, r), "seconds");
        ck_assert(seconds > 0 && number(json_array_get(runs, r), "prefill_seconds") > 0);
        rates[r] = number(json_array_get(runs, r), "tokens_per_s");
        ck_assert_double_eq_tol(rates[r] * seconds, 8, 1e-9);
    }
    ck_assert_double_eq_tol(number(t, "median_tokens_per_s"), 0.5 * (rates[0] + rates[1]), 1e-6);
    ck_assert_double_eq_tol(number(t, "gb_per_s"),
                            1e-9 * number(t, "bytes_per_token") * number(t, "median_tokens_per_s"), 1e-9);
    ck_assert(json_is_array(json_object_get(t, "slowdowns")));
    /* each is measured, or null with a reason */
    ck_assert(json_is_null(json_object_get(t, "nvml")) == json_is_string(json_object_get(t, "no_nvml")));
    ck_assert(json_is_null(json_object_get(t, "read_gb_per_s")) == json_is_string(json_object_get(t, "no_bandwidth")));
    ck_assert(json_is_null(json_object_get(t, "read_gb_per_s")) == !has_bandwidth);
    if (has_bandwidth) ck_assert(number(t, "read_gb_per_s") > 0.01 && number(t, "share_of_bandwidth") > 0);
    ck_assert(number(device, "live_bytes") >= number(memory, "weight_bytes"));
    ck_assert(number(device, "used_bytes") >= number(device, "live_bytes"));

    const fal_obs_tensor *steps = fal_observation_find(o, 0, "tokens.steps"),
                         *tokens = fal_observation_find(o, 0, "tokens.runs");
    const int32_t *want = steps->data, *got = tokens->data;
    for (int i = 0; i < 16; i++) ck_assert_int_eq(got[i], want[i % 8]);
    for (int i = 0; i < 8; i++) ck_assert(want[i] >= 0 && want[i] < 2048);
    fal_observation_close(o);
}

START_TEST(
    reference_is_observed) /* rule: times, tokens, bytes and memory of every run are there, and belong together */
{
    observe_small("reference", "", false);
}
END_TEST

START_TEST(opencl_is_observed) /* rule: the same on a device, with its read bandwidth */
{
    fal_device_info d;
    int n = 0;
    fal_error err = { 0 };
    if (fal_opencl_backend.devices(&d, 1, &n, &err) != FAL_OK) {
        ck_assert_int_eq(err.code, FAL_ERR_BLOCKED); /* nothing here to observe on */
        return;
    }
    observe_small("opencl", d.is_cpu ? "cpu" : "", true);
}
END_TEST

START_TEST(requests_are_checked) /* rule: a request that cannot be timed is refused, and leaves no file */
{
    static const fal_param bad[][4] = {
        { { "context", 16, NULL }, { "n_tokens", 8, NULL }, { "runs", 0, NULL }, { "n_ctx", 40, NULL } },
        { { "context", 16, NULL }, { "n_tokens", 8.5, NULL }, { "runs", 2, NULL }, { "n_ctx", 40, NULL } },
        { { "context", (double)NAN, NULL }, { "n_tokens", 8, NULL }, { "runs", 2, NULL }, { "n_ctx", 40, NULL } },
        { { "context", 16, NULL }, { "n_tokens", 8, NULL }, { "runs", 2, NULL }, { "n_ctx", 23, NULL } },
    };
    static const char *const says[] = { "runs", "n_tokens", "context", "n_ctx" };
    for (size_t i = 0; i < 4; i++) {
        const fal_spec spec = { .kind = FAL_OBSERVE_THROUGHPUT,
                                .backend = "reference",
                                .variant = "",
                                .device = "",
                                .model = model_path,
                                .with = { bad[i], 4 },
                                .out = file };
        fal_error err = { 0 };
        ck_assert_int_eq(fal_observe(&spec, &err), FAL_ERR_USAGE);
        ck_assert_msg(strstr(err.message, says[i]) != NULL, "%s", err.message);
        ck_assert(access(file, F_OK) != 0);
    }
}
END_TEST

/* ---- numbers ------------------------------------------------------------------------------------------------------ */

START_TEST(
    bytes_of_a_token) /* rule: all tensors but embedding and experts, the share of experts that is used, one row, the cache */
{
    fal_model *m = NULL;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_model_open(model_path, &m, &err), FAL_OK);
    double want = (double)fal_type_row_bytes(m->token_embd->type, (size_t)m->config.n_embd);
    for (int i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i]->name;
        if (strcmp(name, "token_embd.weight") == 0) continue;
        want += (double)m->tensors[i]->nbytes *
                (strstr(name, "_exps") ? (double)m->config.n_expert_used / (double)m->config.n_expert : 1.0);
    }
    ck_assert_double_eq_tol(fal_decoding_bytes(m, 0, 100, 16, 8), want, 1e-3);
    /* token i sees 16 + i positions, i = 1..8: 20.5 on average, of 10 bytes each */
    ck_assert_double_eq_tol(fal_decoding_bytes(m, 1000, 100, 16, 8), want + 205, 1e-3);
    fal_model_close(m);
}
END_TEST

START_TEST(medians) /* rule: the middle, also of an even number; NaN is never sorted away */
{
    double odd[] = { 3, 1, 2 }, even[] = { 4, 1, 3, 2 }, one[] = { 7 }, nan[] = { 1, (double)NAN, 2 };
    ck_assert_double_eq(fal_median(odd, 3), 2);
    ck_assert_double_eq(fal_median(even, 4), 2.5);
    ck_assert_double_eq(fal_median(one, 1), 7);
    ck_assert(isnan(fal_median(nan, 3)));
    ck_assert(isnan(fal_median(one, 0)));
}
END_TEST

START_TEST(prompts_are_the_same_everywhere) /* rule: a longer context begins like a shorter one, and every id exists */
{
    int32_t *a = fal_decoding_prompt(2048, 8), *b = fal_decoding_prompt(2048, 64);
    ck_assert_mem_eq(a, b, 8 * sizeof *a);
    int n_other = 0;
    for (int i = 0; i < 64; i++) {
        ck_assert(b[i] >= 0 && b[i] < 2048);
        n_other += b[i] != b[0];
    }
    ck_assert_int_gt(n_other, 50);
    free(a);
    free(b);
}
END_TEST

START_TEST(bandwidth_fits_the_device) /* rule: what is measured with never fills the device */
{
    fal_device_info d = { .memory_bytes = UINT64_C(140) << 30 };
    ck_assert_uint_eq(fal_bandwidth_bytes(&d), (size_t)1 << 30);
    d.memory_bytes = UINT64_C(4) << 30;
    ck_assert_uint_eq(fal_bandwidth_bytes(&d), (size_t)512 << 20);
    d.memory_bytes = UINT64_C(8) << 30;
    d.is_cpu = true;
    ck_assert_uint_eq(fal_bandwidth_bytes(&d), (size_t)256 << 20);
}
END_TEST

/* ---- NVML and NVTX ------------------------------------------------------------------------------------------------ */

START_TEST(no_library_is_a_reason) /* rule: what is not there blocks with its name, and nothing is left open */
{
    const fal_device_info d = { .name = "Some GPU", .uuid = "0123456789abcdef0123456789abcdef" };
    fal_nvml *n = NULL;
    fal_nvtx *x = NULL;
    fal_error err = { 0 };
    ck_assert_int_eq(fal_nvml_open("libno-such-nvml.so.1", &d, &n, &err), FAL_ERR_BLOCKED);
    ck_assert_msg(strstr(err.message, "libno-such-nvml.so.1 cannot be opened") != NULL, "%s", err.message);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_nvml_open("libc.so.6", &d, &n, &err), FAL_ERR_BLOCKED);
    ck_assert_msg(strstr(err.message, "nvmlInit_v2") != NULL, "%s", err.message);
    ck_assert_ptr_null(n);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_nvtx_open("libno-such-nvtx.so", &x, &err), FAL_ERR_BLOCKED);
    ck_assert_msg(strstr(err.message, "libno-such-nvtx.so") != NULL, "%s", err.message);
    err = (fal_error){ 0 };
    ck_assert_int_eq(fal_nvtx_open("libc.so.6", &x, &err), FAL_ERR_BLOCKED);
    ck_assert_msg(strstr(err.message, "nvtxRangePushA") != NULL, "%s", err.message);
    ck_assert_ptr_null(x);
}
END_TEST

START_TEST(
    slowdowns_have_names) /* rule: heat and hardware void a time, idling and a power limit do not; no bit is lost */
{
    char text[160];
    ck_assert_uint_eq(fal_nvml_slowdowns(0x1 | 0x2 | 0x4 | 0x10 | 0x100), 0);
    ck_assert_uint_eq(fal_nvml_slowdowns(UINT64_MAX), 0x8 | 0x20 | 0x40 | 0x80);
    fal_nvml_reasons_text(0, text, sizeof text);
    ck_assert_str_eq(text, "none");
    fal_nvml_reasons_text(0x4 | 0x40, text, sizeof text);
    ck_assert_str_eq(text, "software power cap, hardware thermal slowdown");
    fal_nvml_reasons_text(0x1 | 0x4000, text, sizeof text);
    ck_assert_str_eq(text, "idle, unknown bits 0x4000");
    fal_nvml_reasons_text(UINT64_MAX, text, 8);
    ck_assert_uint_eq(strlen(text), 7);
}
END_TEST

Suite *fal_suite_throughput(void)
{
    Suite *s = suite_create("throughput");
    TCase *t = tcase_create("throughput");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120); /* the first program of an OpenCL device is built */
    tcase_add_test(t, reference_is_observed);
    tcase_add_test(t, opencl_is_observed);
    tcase_add_test(t, requests_are_checked);
    tcase_add_test(t, bytes_of_a_token);
    tcase_add_test(t, medians);
    tcase_add_test(t, prompts_are_the_same_everywhere);
    tcase_add_test(t, bandwidth_fits_the_device);
    tcase_add_test(t, no_library_is_a_reason);
    tcase_add_test(t, slowdowns_have_names);
    suite_add_tcase(s, t);
    return s;
}
