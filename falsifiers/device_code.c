/* Device code as its compiler saw it: kernels that spill or take too much, and names that host and device code do not share. */
#include "falsifiers/judgement.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const json_t *code_of(const fal_evidence_in *in, const char *list, fal_verdict *out)
{
    const json_t *const j = json_object_get(json_object_get(in->got->about, "device_code"), list);
    if (!json_is_array(j)) fal_stop(out, FAL_CRASHED, "the observer did not deliver device_code.%s", list);
    return json_is_array(j) ? j : NULL;
}

/* The next word of a list of architectures; false at its end. Returns those that hold machine code (sm_...) alone: what is
   for devices to come (compute_...) is compiled on them. */
static bool next_arch(const char **archs, char *word, size_t size)
{
    while (**archs) {
        *archs += strspn(*archs, " ");
        const size_t n = strcspn(*archs, " ");
        snprintf(word, size, "%.*s", (int)n, *archs);
        *archs += n;
        if (strncmp(word, "sm_", 3) == 0) return true;
    }
    return false;
}

static void first_at(fal_verdict *out, const char *kernel, const char *arch, const char *what, double got, double want)
{
    if (out->has_worst) return;
    snprintf(out->worst, sizeof out->worst, "%.90s %.16s %.24s", kernel, arch, what);
    out->has_worst = true;
    out->got = got;
    out->want = want;
}

/* ---- kernel_resources ------------------------------------------------------------------------------------------- */

static const struct {
    const char *field, *limit;
} resources[] = {
    { "registers", "max_registers" },
    { "spill_bytes", "max_spill_bytes" },
    { "shared_bytes", "max_shared_bytes" },
};
enum { N_RESOURCES = sizeof resources / sizeof resources[0] };

void fal_judge_kernel_resources(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const kernels = code_of(in, "kernels", out);
    uint64_t n_bad = 0;
    double most[N_RESOURCES] = { 0 };
    int n_limits = 0;
    if (!kernels) return;
    for (int r = 0; r < N_RESOURCES; r++) n_limits += !isnan(fal_params_number(&in->check->with, resources[r].limit, (double)NAN));
    if (n_limits == 0) {
        fal_stop(out, FAL_ERROR, "the check names none of with.max_registers, max_spill_bytes and max_shared_bytes");
        return;
    }
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        const json_t *const k = json_array_get(kernels, i);
        const char *const name = json_string_value(json_object_get(k, "kernel")), *const arch = json_string_value(json_object_get(k, "arch"));
        bool good = true;
        if (!name || !arch) {
            fal_stop(out, FAL_CRASHED, "the observer did not name kernel %zu and its architecture", i);
            return;
        }
        for (int r = 0; r < N_RESOURCES; r++) {
            const json_t *const found = json_object_get(k, resources[r].field);
            const double limit = fal_params_number(&in->check->with, resources[r].limit, (double)NAN);
            const double value = json_is_integer(found) ? json_number_value(found) : (double)NAN;
            if (!(value <= most[r])) most[r] = value;
            /* a kernel of no registers was not looked at */
            if (isnan(value) || (r == 0 && !(value > 0))) {
                fal_stop(out, FAL_CRASHED, "the observer did not deliver %s of %.90s on %.16s", resources[r].field, name, arch);
                return;
            }
            if (isnan(limit) || value <= limit) continue;
            good = false;
            first_at(out, name, arch, resources[r].field, value, limit);
            fal_detail(out, "%.90s on %.16s: %s %.0f, at most %.0f\n", name, arch, resources[r].field, value, limit);
        }
        n_bad += !good;
    }
    fal_give(out, (double)n_bad, json_array_size(kernels), "most registers %.0f, spill bytes %.0f, shared bytes %.0f", most[0], most[1],
             most[2]);
}

/* ---- kernel_set -------------------------------------------------------------------------------------------------- */

static bool same_text(const json_t *a, const json_t *b, const char *field)
{
    const char *const x = json_string_value(json_object_get(a, field)), *const y = json_string_value(json_object_get(b, field));
    return x && y && strcmp(x, y) == 0;
}

/* The kernel itself, or with any_type one whose name goes on with _<type>. */
static bool is_asked(const json_t *asked, const json_t *kernel)
{
    if (!same_text(asked, kernel, "module")) return false;
    if (same_text(asked, kernel, "kernel")) return true;
    const char *const a = json_string_value(json_object_get(asked, "kernel")), *const k = json_string_value(json_object_get(kernel, "kernel"));
    const size_t n = a ? strlen(a) : 0;
    return json_is_true(json_object_get(asked, "any_type")) && n > 0 && k && strncmp(a, k, n) == 0 && k[n] == '_' && k[n + 1] != '_';
}

static bool is_there(const json_t *kernels, const json_t *asked, const char *arch)
{
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        const json_t *const k = json_array_get(kernels, i);
        const char *const on = json_string_value(json_object_get(k, "arch"));
        if (on && strcmp(on, arch) == 0 && is_asked(asked, k)) return true;
    }
    return false;
}

void fal_judge_kernel_set(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const kernels = code_of(in, "kernels", out), *const asked = kernels ? code_of(in, "asked", out) : NULL;
    const char *archs = json_string_value(json_object_get(json_object_get(in->got->about, "device_code"), "archs"));
    uint64_t n_missing = 0, n_unasked = 0, n = 0;
    int n_archs = 0;
    char arch[24];
    if (!asked) return;
    if (!archs) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver device_code.archs");
        return;
    }
    for (; next_arch(&archs, arch, sizeof arch); n_archs++)
        for (size_t i = 0; i < json_array_size(asked); i++, n++) {
            const json_t *const a = json_array_get(asked, i);
            const char *const name = json_string_value(json_object_get(a, "kernel"));
            if (is_there(kernels, a, arch)) continue;
            n_missing++;
            first_at(out, name ? name : "?", arch, "missing", 0, 1);
            fal_detail(out, "%.90s: asked for, not in the code for %s\n", name ? name : "?", arch);
        }
    for (size_t k = 0; k < json_array_size(kernels); k++, n++) {
        const json_t *const kernel = json_array_get(kernels, k);
        const char *const name = json_string_value(json_object_get(kernel, "kernel")), *const on = json_string_value(json_object_get(kernel, "arch"));
        bool wanted = false;
        for (size_t i = 0; i < json_array_size(asked) && !wanted; i++) wanted = is_asked(json_array_get(asked, i), kernel);
        if (wanted) continue;
        n_unasked++;
        first_at(out, name ? name : "?", on ? on : "?", "unasked", 1, 0);
        fal_detail(out, "%.90s: in the code for %.16s, asked for by nothing\n", name ? name : "?", on ? on : "?");
    }
    /* without either list every name would be right */
    if (n_archs == 0 || json_array_size(asked) == 0) n = 0;
    fal_give(out, (double)(n_missing + n_unasked), n, "%zu kernels asked for on %d architectures; %llu missing, %llu asked for by nothing",
             json_array_size(asked), n_archs, (unsigned long long)n_missing, (unsigned long long)n_unasked);
}
