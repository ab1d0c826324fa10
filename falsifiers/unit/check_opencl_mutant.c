/* Tests of mutants in OpenCL sources on a real driver: the fault is there, nothing shipped changes, and text that does not
   build is an error and no fault of a kernel. */
#include "harness/mutant.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_opencl_mutant(void);

static const float a[] = { 1, 2, 3, 4, 5, 6 }, b[] = { 10, 20, 30, 40, 50, 60 };

static fal_status add(const fal_backend *backend, fal_context *ctx, float *y, fal_error *err)
{
    const fal_add_args args = { .n_tokens = 2, .n_embd = 3, .a = a, .b = b, .y = y };
    return backend->add(ctx, &args, err);
}

static void open_with(const fal_other_code *instead, fal_context **ctx)
{
    const fal_backend_options options = { .device = "", .variant = "", .instead = instead };
    fal_error err = { 0 };
    ck_assert_msg(fal_opencl_backend.open(&options, ctx, &err) == FAL_OK, "%s", err.message);
}

START_TEST(fault_is_in_the_mutant_alone)
{
    const fal_backend_options options = { .device = "", .variant = "" };
    const fal_backend *table = NULL;
    fal_context *mutant = NULL, *shipped = NULL;
    fal_error err = { 0 };
    float y[6];
    ck_assert_msg(fal_mutant_open("residual_dropped", NULL, &fal_opencl_backend, &options, &table, &mutant, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(add(table, mutant, y, &err) == FAL_OK, "%s", err.message);
    ck_assert(memcmp(y, b, sizeof y) == 0);
    open_with(NULL, &shipped);
    ck_assert_int_eq(add(&fal_opencl_backend, shipped, y, &err), FAL_OK);
    for (int i = 0; i < 6; i++) ck_assert(y[i] == a[i] + b[i]);
    fal_opencl_backend.close(shipped);
    table->close(mutant);
}
END_TEST

/* Rule: what does not build is our own mistake; it must never look like a kernel that was caught. */
START_TEST(text_that_does_not_build_is_an_error)
{
    static const char broken[] = "FAL_KERNEL fal_cl_add(int n_tokens) { this is no kernel }";
    const fal_other_code instead = { .op = "add", .code = broken, .code_size = sizeof broken - 1 };
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    float y[6], x[6] = { 0 };
    open_with(&instead, &ctx);
    ck_assert_int_eq(add(&fal_opencl_backend, ctx, y, &err), FAL_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.message, "add.cl does not build"));
    /* other programs are the shipped ones */
    const fal_softmax_args args = { .n_rows = 2, .n_cols = 3, .x = x, .y = y };
    err = (fal_error){ 0 };
    ck_assert_msg(fal_opencl_backend.softmax(ctx, &args, &err) == FAL_OK, "%s", err.message);
    fal_opencl_backend.close(ctx);
}
END_TEST

/* Rule: a fault in the prelude is there for the one operation that it was planted in. */
START_TEST(prelude_changes_for_one_operation)
{
    const fal_backend_options options = { .device = "", .variant = "" };
    const fal_backend *table = NULL;
    fal_context *ctx = NULL;
    fal_error err = { 0 };
    float x[512] = { 0 }, w[512], y[512];
    for (int i = 0; i < 512; i++) {
        x[i] = 1;
        w[i] = 1;
    }
    ck_assert_msg(fal_mutant_open("group_of_64_assumed", NULL, &fal_opencl_backend, &options, &table, &ctx, &err) == FAL_OK, "%s", err.message);
    const fal_softmax_args softmax = { .n_rows = 1, .n_cols = 512, .x = x, .y = y };
    ck_assert_msg(table->softmax(ctx, &softmax, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(y[0] > 1.5f / 512, "softmax has no fault: %g", (double)y[0]); /* half of the sum is missing */
    const fal_rmsnorm_args norm = { .n_tokens = 1, .n_embd = 512, .eps = 1e-6f, .x = x, .w = w, .y = y };
    ck_assert_msg(table->rmsnorm(ctx, &norm, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(y[0] > 0.999f && y[0] < 1.001f, "rmsnorm has softmax's fault: %g", (double)y[0]);
    table->close(ctx);
}
END_TEST

Suite *fal_suite_opencl_mutant(void)
{
    Suite *s = suite_create("opencl_mutant");
    TCase *t = tcase_create("sources");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, fault_is_in_the_mutant_alone);
    tcase_add_test(t, text_that_does_not_build_is_an_error);
    tcase_add_test(t, prelude_changes_for_one_operation);
    suite_add_tcase(s, t);
    return s;
}
