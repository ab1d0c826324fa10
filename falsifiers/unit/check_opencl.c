/* Tests of the OpenCL device layer: declarations, device choice, blocked states, programs and their cache, buffers. */
#include "opencl/api.h"
#include "opencl/cache.h"
#include "opencl/device.h"
#include "opencl/ops.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if !defined(FAL_HAVE_CL_H) && !defined(FAL_NO_CL_H) && defined(__has_include)
#if __has_include(<CL/cl.h>)
#define FAL_HAVE_CL_H
#endif
#endif

#ifdef FAL_HAVE_CL_H
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <CL/cl_ext.h>

/* Rule: what opencl/api.h declares is what the vendors' headers declare. */
#define SAME_VALUE(name) _Static_assert((long long)FAL_CL_##name == (long long)CL_##name, "FAL_CL_" #name);
SAME_VALUE(SUCCESS)
SAME_VALUE(PLATFORM_NOT_FOUND_KHR)
SAME_VALUE(TRUE)
SAME_VALUE(DEVICE_TYPE_CPU)
SAME_VALUE(DEVICE_TYPE_GPU)
SAME_VALUE(DEVICE_TYPE_ALL)
SAME_VALUE(DEVICE_TYPE)
SAME_VALUE(DEVICE_MAX_WORK_GROUP_SIZE)
SAME_VALUE(DEVICE_MAX_MEM_ALLOC_SIZE)
SAME_VALUE(DEVICE_SINGLE_FP_CONFIG)
SAME_VALUE(DEVICE_GLOBAL_MEM_SIZE)
SAME_VALUE(DEVICE_ENDIAN_LITTLE)
SAME_VALUE(DEVICE_AVAILABLE)
SAME_VALUE(DEVICE_COMPILER_AVAILABLE)
SAME_VALUE(DEVICE_NAME)
SAME_VALUE(DEVICE_VENDOR)
SAME_VALUE(DRIVER_VERSION)
SAME_VALUE(DEVICE_VERSION)
SAME_VALUE(DEVICE_EXTENSIONS)
SAME_VALUE(DEVICE_UUID_KHR)
SAME_VALUE(FP_CORRECTLY_ROUNDED_DIVIDE_SQRT)
SAME_VALUE(MEM_READ_WRITE)
SAME_VALUE(PROGRAM_BINARY_SIZES)
SAME_VALUE(PROGRAM_BINARIES)
SAME_VALUE(PROGRAM_BUILD_LOG)
SAME_VALUE(KERNEL_WORK_GROUP_SIZE)
#ifdef CL_DEVICE_PCI_BUS_ID_NV /* newer headers only */
SAME_VALUE(DEVICE_PCI_BUS_ID_NV)
SAME_VALUE(DEVICE_PCI_SLOT_ID_NV)
#endif
#ifdef CL_DEVICE_PCI_DOMAIN_ID_NV
SAME_VALUE(DEVICE_PCI_DOMAIN_ID_NV)
#endif
#define FAL_CL_FUNCTION(result, name, params) \
    _Static_assert(__builtin_types_compatible_p(fal_##name##_fn, __typeof__(&(name))), #name);
FAL_CL_FUNCTIONS(FAL_CL_FUNCTION)
#undef FAL_CL_FUNCTION
#endif

Suite *fal_suite_opencl(void);

static const char *const variants[] = { "", "cpu" };

static void ok(fal_status st, const fal_error *e)
{
    ck_assert_msg(st == FAL_OK, "%s: %s", fal_status_name(st), e->message);
}

static fal_context *open_with(const char *device, const char *variant, const char *cache_dir)
{
    fal_context *ctx = NULL;
    fal_error e = { 0 };
    ok(fal_cl_open(&(fal_backend_options){ .device = device, .variant = variant, .cache_dir = cache_dir }, &ctx, &e),
       &e);
    return ctx;
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

/* Rule: devices are listed with GPUs before CPUs, numbered without gaps, and each has a name, a driver, memory, a slug.
   */
START_TEST(devices_are_listed)
{
    fal_device_info d[16];
    fal_error e = { 0 };
    int n = 0;
    ok(fal_opencl_backend.devices(d, 16, &n, &e), &e);
    ck_assert_int_ge(n, 1);
    for (int i = 0; i < n && i < 16; i++) {
        ck_assert_int_eq(d[i].index, i);
        ck_assert(d[i].name[0] && d[i].driver[0] && d[i].slug[0] && d[i].memory_bytes > 0);
        ck_assert_uint_eq(strspn(d[i].slug, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(d[i].slug));
        if (i > 0) ck_assert_int_le(d[i - 1].is_cpu, d[i].is_cpu);
    }
    int n_again = 0;
    ok(fal_opencl_backend.devices(d, 0, &n_again, &e), &e); /* a cap of 0 only counts */
    ck_assert_int_eq(n, n_again);
}
END_TEST

/* Rule: a device is chosen by index, by any part of its name in any case, and by default the first. */
START_TEST(device_is_chosen)
{
    fal_context *ctx = open_with(NULL, "", NULL);
    const fal_device_info first = *fal_cl_device(ctx);
    ck_assert_int_eq(first.index, 0);
    fal_cl_close(ctx);
    char part[64];
    snprintf(part, sizeof part, "%.60s", first.name + strlen(first.name) / 3);
    for (char *c = part; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    const char *const ways[] = { "", "0", part, first.uuid };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        ctx = open_with(ways[i], "", NULL);
        ck_assert_str_eq(fal_cl_device(ctx)->name, first.name);
        fal_cl_close(ctx);
    }
}
END_TEST

/* Rule: a device that does not exist is a usage error that names what exists; so is a variant. Nothing is opened. */
START_TEST(wrong_choice_is_refused)
{
    static const char *const wrong[] = { "99", "no such device", "GPU-00000000-dead-beef-0000-000000000000" };
    fal_device_info d[16];
    fal_error e = { 0 };
    int n = 0;
    ok(fal_cl_devices(d, 16, &n, &e), &e);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fal_context *ctx = NULL;
        e = (fal_error) { 0 };
        ck_assert_int_eq(fal_cl_open(&(fal_backend_options) { .device = wrong[i] }, &ctx, &e), FAL_ERR_USAGE);
        ck_assert_ptr_null(ctx);
        ck_assert_msg(strstr(e.message, wrong[i]) && strstr(e.message, d[0].name), "%s", e.message);
    }
    fal_context *ctx = NULL;
    e = (fal_error) { 0 };
    ck_assert_int_eq(fal_cl_open(&(fal_backend_options) { .variant = "fast" }, &ctx, &e), FAL_ERR_USAGE);
    ck_assert_ptr_null(ctx);
    ck_assert_msg(strstr(e.message, "fast") && strstr(e.message, "cpu"), "%s", e.message);
}
END_TEST

/* Rule: without a driver the backend is blocked, with the reason and what would unblock it; never an empty success. */
START_TEST(no_platform_is_blocked)
{
    fal_error e = { 0 };
    fal_device_info d[4];
    fal_context *ctx = NULL;
    int n = 7;
    ck_assert_int_eq(setenv("OCL_ICD_VENDORS", "/nonexistent", 1),
                     0); /* read by the ICD loader; this process is a fork */
    ck_assert_int_eq(fal_cl_devices(d, 4, &n, &e), FAL_ERR_BLOCKED);
    ck_assert_int_eq(n, 0);
    ck_assert_str_eq(e.message, "no OpenCL platform");
    ck_assert(e.hint[0]);
    e = (fal_error) { 0 };
    ck_assert_int_eq(fal_cl_open(NULL, &ctx, &e), FAL_ERR_BLOCKED);
    ck_assert_ptr_null(ctx);
}
END_TEST

/* ---- programs --------------------------------------------------------------------------------------------------- */

/* Rule: text that does not compile is refused with the driver's own words and the name of the file. */
START_TEST(broken_source_shows_the_log)
{
    static const char source[] = "FAL_KERNEL broken(__global float *y)\n{\n    y[0] = there_is_no_such_name;\n}\n";
    fal_context *ctx = open_with(NULL, variants[_i], NULL);
    fal_error e = { 0 };
    ck_assert_int_eq(fal_cl_build(ctx, "broken", source, sizeof source - 1, NULL, &e), FAL_ERR_DEVICE);
    ck_assert_msg(strstr(e.message, "broken.cl"), "%s", e.message);
    fal_error good = { 0 };
    static const char fixed[] = "FAL_KERNEL broken(__global float *y)\n{\n    y[0] = 1.0f;\n}\n";
    ok(fal_cl_build(ctx, "broken", fixed, sizeof fixed - 1, NULL, &good), &good);
    fal_cl_close(ctx);
    /* PoCL's log ends with a count of errors; others name the identifier. */
    ck_assert_msg(strstr(e.message, "there_is_no_such_name") || strstr(e.message, "error"), "%s", e.message);
    for (const char *c = e.message; *c; c++) ck_assert_int_ge((unsigned char)*c, 0x20);
}
END_TEST

/* Path of the only file in dir. */
static void only_file(const char *dir, char *path, size_t cap)
{
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, cap, "%s/%s", dir, entry->d_name);
        n++;
    }
    closedir(d);
    ck_assert_int_eq(n, 1);
}

static void damage(const char *path, long at, bool cut)
{
    if (cut) {
        ck_assert_int_eq(truncate(path, at), 0);
        return;
    }
    FILE *f = fopen(path, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    const int c = fgetc(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    ck_assert_int_ne(fputc(c ^ 1, f), EOF);
    ck_assert_int_eq(fclose(f), 0);
}

/* Rule: a built program is taken from the cache; one that is damaged anywhere is built again and replaced. */
START_TEST(cache_is_used_and_checked)
{
    static const char source[] = "FAL_KERNEL tiny(__global float *y) { y[get_global_id(0)] = 2.0f; }\n";
    char top[] = "/tmp/fal-check-XXXXXX", dir[64], path[512];
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/deep/er", top);
    fal_context *ctx = open_with(NULL, "", dir);
    fal_error e = { 0 };
    bool cached = true;
    ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
    ck_assert(!cached);
    only_file(dir, path, sizeof path); /* and no temporary one is left */
    ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
    ck_assert(cached);
    static const struct {
        long at;
        bool cut;
    } damages[] = { { 0, false }, { 30, false }, { 200, false }, { 150, true }, { 40, true }, { 0, true } };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        damage(path, damages[i].at, damages[i].cut);
        ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
        ck_assert_msg(!cached, "damage %zu went unnoticed", i);
        ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
        ck_assert(cached);
    }
    /* A file that is sealed well but holds no program: the driver refuses it, and the text is built. */
    char key[65];
    snprintf(key, sizeof key, "%.64s", strrchr(path, '/') + 1);
    ck_assert_int_eq(fal_cl_cache_store(dir, key, (const unsigned char *)"not a program", 13), 0);
    ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
    ck_assert(!cached);
    fal_cl_close(ctx);
    ctx = open_with(NULL, "cpu", dir); /* other options: another program */
    ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
    ck_assert(!cached);
    fal_cl_close(ctx);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", top);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Rule: a cache folder that cannot be made costs time, not the run. */
START_TEST(cache_is_optional)
{
    static const char source[] = "FAL_KERNEL tiny(__global float *y) { y[get_global_id(0)] = 3.0f; }\n";
    fal_context *ctx = open_with(NULL, "", "/dev/null/cache");
    fal_error e = { 0 };
    bool cached = true;
    ok(fal_cl_build(ctx, "tiny", source, sizeof source - 1, &cached, &e), &e);
    ck_assert(!cached);
    fal_cl_close(ctx);
}
END_TEST

/* Rule: a weight type without kernels is refused by its name. */
START_TEST(type_without_kernels_is_named)
{
    static const uint32_t computed[] = { FAL_TYPE_F32,  FAL_TYPE_F16,  FAL_TYPE_BF16, FAL_TYPE_Q8_0,
                                         FAL_TYPE_Q4_K, FAL_TYPE_Q5_K, FAL_TYPE_Q6_K };
    const char *name = NULL;
    fal_error e = { 0 };
    for (size_t i = 0; i < sizeof computed / sizeof computed[0]; i++)
        ok(fal_cl_type_name("matmul", computed[i], &name, &e), &e);
    ck_assert_int_eq(fal_cl_type_name("matmul", 11, &name, &e), FAL_ERR_INPUT);
    ck_assert(strstr(e.message, "Q3_K") && strstr(e.message, "matmul"));
}
END_TEST

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* Rule: new buffers hold 0xFF, bytes are accounted for, transfers stay inside, impossible sizes are refused. */
START_TEST(buffers)
{
    fal_context *ctx = open_with(NULL, "", NULL);
    fal_error e = { 0 };
    fal_memory m;
    fal_cl_buffer *a = NULL, *b = NULL, *none = NULL;
    unsigned char bytes[100], in[100];
    ok(fal_cl_alloc(ctx, "a", 100, &a, &e), &e);
    ok(fal_cl_read(ctx, a, 0, bytes, 100, &e), &e);
    for (int i = 0; i < 100; i++) ck_assert_int_eq(bytes[i], 0xFF);
    for (int i = 0; i < 100; i++) in[i] = (unsigned char)i;
    ok(fal_cl_upload(ctx, "b", in, 100, &b, &e), &e);
    fal_cl_memory(ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 200);
    ok(fal_cl_copy(ctx, a, b, 90, 10, &e), &e);
    ok(fal_cl_read(ctx, a, 2, bytes, 20, &e), &e);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(bytes[i], i < 8 ? 92 + i : 0xFF);
    fal_cl_free(ctx, a);
    ok(fal_cl_poison(ctx, b, &e), &e);
    ok(fal_cl_read(ctx, b, 50, bytes, 50, &e), &e);
    for (int i = 0; i < 50; i++) ck_assert_int_eq(bytes[i], 0xFF);
    ck_assert_int_eq(fal_cl_read(ctx, b, 51, bytes, 50, &e), FAL_ERR_INTERNAL);
    e = (fal_error) { 0 };
    ck_assert_int_eq(fal_cl_write(ctx, b, in, 101, &e), FAL_ERR_INTERNAL);
    const size_t impossible[] = { 0, SIZE_MAX, SIZE_MAX / 2, fal_cl_bytes(4, 1 << 30, 1 << 30, 1 << 30) };
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        e = (fal_error) { 0 };
        ck_assert_int_eq(fal_cl_alloc(ctx, "giant", impossible[i], &none, &e), FAL_ERR_MEMORY);
        ck_assert_ptr_null(none);
        ck_assert(strstr(e.message, "giant"));
    }
    fal_cl_free(ctx, b);
    fal_cl_free(ctx, NULL);
    fal_cl_memory(ctx, &m);
    ck_assert_uint_eq(m.live_bytes, 0);
    ck_assert_uint_eq(m.peak_bytes, 200);
    fal_cl_close(ctx);
    fal_cl_close(NULL);
}
END_TEST

Suite *fal_suite_opencl(void)
{
    Suite *s = suite_create("opencl");
    TCase *c = tcase_create("device");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, devices_are_listed);
    tcase_add_test(c, device_is_chosen);
    tcase_add_test(c, wrong_choice_is_refused);
    tcase_add_test(c, no_platform_is_blocked);
    tcase_add_loop_test(c, broken_source_shows_the_log, 0, 2);
    tcase_add_test(c, cache_is_used_and_checked);
    tcase_add_test(c, cache_is_optional);
    tcase_add_test(c, type_without_kernels_is_named);
    tcase_add_test(c, buffers);
    suite_add_tcase(s, c);
    return s;
}
