/* The reference as a backend: its one device, its table of functions, and the sums and memory that its ops share. */
#include "reference/mirror.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- shared by the ops ------------------------------------------------------------------------------------------- */

void *fal_reference_alloc(fal_context *ctx, size_t bytes)
{
    void *p = malloc(bytes);
    if (p && ctx) {
        ctx->live_bytes += bytes;
        if (ctx->live_bytes > ctx->peak_bytes) ctx->peak_bytes = ctx->live_bytes;
    }
    return p;
}

void fal_reference_release(fal_context *ctx, void *p, size_t bytes)
{
    if (!p) return;
    free(p);
    if (ctx) ctx->live_bytes -= bytes;
}

void fal_reference_ran(fal_context *ctx, int op)
{
    if (ctx) ctx->n_calls[op]++;
}

int fal_reference_n_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int fal_reference_thread(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

double fal_reference_dot(const double *a, const double *b, size_t n)
{
    double part[8] = { 0.0 };
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) part[j] += a[i + j] * b[i + j];
    for (; i < n; i++) part[i % 8] += a[i] * b[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

void fal_reference_widen(const float *in, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (double)in[i];
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

/* Value of the first "key : value" line of /proc/cpuinfo, or `fallback`. */
static void cpuinfo(const char *key, const char *fallback, char *out, size_t cap)
{
    snprintf(out, cap, "%s", fallback);
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    char line[512];
    const size_t key_len = strlen(key);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, key_len) != 0 || !strchr("\t :", line[key_len])) continue;
        const char *value = strchr(line, ':');
        if (!value) continue;
        value++;
        value += strspn(value, " \t");
        size_t n = strcspn(value, "\n");
        while (n > 0 && value[n - 1] == ' ') n--;
        if (n == 0) continue;
        snprintf(out, cap, "%.*s", (int)n, value);
        break;
    }
    fclose(f);
}

/* The name in [a-z0-9-], runs of anything else as one '-'. */
static void make_slug(const char *name, char *slug, size_t cap)
{
    size_t n = 0;
    for (; *name && n + 1 < cap; name++) {
        const unsigned char c = (unsigned char)*name;
        if (c < 128 && isalnum(c)) slug[n++] = (char)tolower(c);
        else if (n > 0 && slug[n - 1] != '-') slug[n++] = '-';
    }
    while (n > 0 && slug[n - 1] == '-') n--;
    slug[n] = '\0';
}

static void describe(fal_device_info *d)
{
    *d = (fal_device_info) { .index = 0, .is_cpu = true };
    cpuinfo("model name", "CPU", d->name, sizeof d->name);
    cpuinfo("vendor_id", "unknown", d->vendor, sizeof d->vendor);
    snprintf(d->driver, sizeof d->driver, "scalar C, float64 accumulation");
    make_slug(d->name, d->slug, sizeof d->slug);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) d->memory_bytes = (uint64_t)pages * (uint64_t)page;
}

static fal_status devices(fal_device_info *out, int cap, int *n, fal_error *err)
{
    if (!n || cap < 0 || (cap > 0 && !out))
        return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: no room to list devices in");
    if (cap > 0) describe(&out[0]);
    *n = 1;
    return FAL_OK;
}

/* Variants are named after the activations that the mirror knows. */
static bool is_variant(const char *variant, fal_activation a)
{
    return a == FAL_ACTIVATION_F32 ? !*variant : fal_mirror_block(a) > 0 && strcmp(variant, fal_activation_name(a)) == 0;
}

static fal_status open_context(const fal_backend_options *options, fal_context **out, fal_error *err)
{
    if (!out) return fal_fail(err, FAL_ERR_INPUT, NULL, "reference: nowhere to put the context");
    const char *variant = options && options->variant ? options->variant : "";
    const char *wanted = options && options->device ? options->device : "";
    const bool is_kv16 = strcmp(variant, "kv16") == 0;
    fal_activation activation = FAL_ACTIVATION_F32;
    while (!is_kv16 && activation < FAL_N_ACTIVATIONS && !is_variant(variant, activation)) activation++;
    if (activation == FAL_N_ACTIVATIONS)
        return fal_fail(err, FAL_ERR_INPUT, "leave the variant empty",
                        "reference: there is no variant '%.40s'; there are '', 'kv16', 'q8_0' and 'q8_k'", variant);
    fal_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return fal_fail(err, FAL_ERR_MEMORY, NULL, "reference: no memory for a context");
    ctx->has_half_cache = is_kv16;
    describe(&ctx->device);
    ctx->activation = activation;
    if (*wanted && strcmp(wanted, "0") != 0 && !strcasestr(ctx->device.name, wanted)) {
        const fal_status st = fal_fail(err, FAL_ERR_NOTHING, "use device 0",
                                       "reference: no device '%s'; there is 0: %s", wanted, ctx->device.name);
        free(ctx);
        return st;
    }
    *out = ctx;
    return FAL_OK;
}

/* float64 over exact weights; the variants of the mirror round activations of matrix products. */
static void arithmetic(const char *variant, const char *op, fal_arithmetic *out)
{
    *out = (fal_arithmetic) { .activation = FAL_ACTIVATION_F32, .sum = FAL_SUM_F64, .kv = FAL_KV_F32, .in_order = false };
    const bool cache = strcmp(op, "attention") == 0 || strcmp(op, "kv_store") == 0;
    if (cache && strcmp(variant, "kv16") == 0) out->kv = FAL_KV_F16;
    if (strcmp(op, "matmul") != 0 && strcmp(op, "moe_matmul") != 0) return;
    for (int a = 0; a < FAL_N_ACTIVATIONS; a++)
        if (is_variant(variant, (fal_activation)a)) out->activation = (fal_activation)a;
}

static void close_context(fal_context *ctx)
{
    free(ctx);
}

static const fal_device_info *device(const fal_context *ctx)
{
    return &ctx->device;
}

static void memory(const fal_context *ctx, fal_memory *out)
{
    *out = (fal_memory) {
        .kv_bytes = ctx->kv_bytes,
        .scratch_bytes = ctx->live_bytes - ctx->kv_bytes,
        .peak_bytes = ctx->peak_bytes,
        .live_bytes = ctx->live_bytes,
    };
}

static void launches(const fal_context *ctx, void (*visit)(void *user, const char *kernel, uint64_t n), void *user)
{
    static const char *const names[] = {
#define FAL_OP(op) "fal_ref_" #op,
#include "harness/ops.def"
    };
    for (int i = 0; i < FAL_REFERENCE_N_OPS; i++)
        if (ctx->n_calls[i] > 0) visit(user, names[i], ctx->n_calls[i]);
}

static const char *const variants[] = { "", "kv16", "q8_0", "q8_k", NULL };

const fal_backend fal_reference_backend = {
    .name = "reference",
    .variants = variants,
    .devices = devices,
    .open = open_context,
    .close = close_context,
    .device = device,
    .memory = memory,
    .launches = launches,
#define FAL_OP(op) .op = fal_reference_##op,
#include "harness/ops.def"
    .session_open = fal_reference_session_open,
    .session_close = fal_reference_session_close,
    .reset = fal_reference_reset,
    .forward = fal_reference_forward,
    .read_tensor = fal_reference_read_tensor,
    .session_memory = fal_reference_session_memory,
    .arithmetic = arithmetic,
};
