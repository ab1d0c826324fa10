/* Finds and checks the line in which a candidate declares its arithmetic. */
#include "harness/declaration.h"

#include "falsifiers/error_model.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mark[] = "falsify-arithmetic:", variable[] = "falsify_arithmetic[";
enum { MARK = sizeof mark - 1, VARIABLE = sizeof variable - 1 };

static const char example[] = "for example: falsify-arithmetic: activation=q8_k,sum=i32";

/* ---- finding ---------------------------------------------------------------------------------------------------------- */

/* The line behind a mark, which ends where line, string or comment end. */
static fal_status take_line(const char *at, const char *end, fal_declaration *out, fal_error *err)
{
    fal_declaration d = { .said = true };
    fal_error why = { 0 };
    size_t len = 0;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    while (at + len < end && !strchr("\n\r\"\\", at[len]) && !(at + len + 1 < end && at[len] == '*' && at[len + 1] == '/')) len++;
    while (len && (at[len - 1] == ' ' || at[len - 1] == '\t')) len--;
    if (len == 0 || len >= sizeof d.text)
        return fal_fail(err, FAL_ERR_INPUT, example, "the line '%s' declares nothing, or is longer than %zu characters", mark,
                        sizeof d.text - 1);
    memcpy(d.text, at, len);
    if (fal_arithmetic_parse(d.text, &d.a, &why)) return fal_fail(err, FAL_ERR_INPUT, why.hint, "%s", why.message);
    const bool same = out->a.activation == d.a.activation && out->a.sum == d.a.sum && out->a.kv == d.a.kv && out->a.in_order == d.a.in_order;
    if (out->said && !same)
        return fal_fail(err, FAL_ERR_INPUT, "leave one of them", "it declares its arithmetic twice: '%s' and '%s'", out->text, d.text);
    *out = d;
    return FAL_OK;
}

static fal_status find_marks(const char *bytes, size_t n, fal_declaration *out, fal_error *err)
{
    const char *const end = bytes + n;
    fal_status st = FAL_OK;
    for (const char *at = bytes; !st && (at = memmem(at, (size_t)(end - at), mark, MARK)); at += MARK)
        st = take_line(at + MARK, end, out, err);
    return st;
}

/* PTX: .b8 falsify_arithmetic[42] = {102, 97, ...}; the bytes as text, 0 when there is no list. */
static size_t listed(const char *at, const char *end, char *text, size_t size)
{
    size_t n = 0;
    while (at < end && (isdigit((unsigned char)*at) || strchr("] =", *at)) && *at) at++;
    if (at >= end || *at++ != '{') return 0;
    while (at < end && n < size) {
        unsigned value = 0;
        while (at < end && (*at == ' ' || *at == ',' || *at == '\n' || *at == '\r')) at++;
        if (at >= end || !isdigit((unsigned char)*at)) break;
        while (at < end && isdigit((unsigned char)*at) && value < 256) value = 10 * value + (unsigned)(*at++ - '0');
        if (value == 0 || value > 127) break;
        text[n++] = (char)value;
    }
    return n;
}

fal_status fal_declaration_find(const char *bytes, size_t n, fal_declaration *out, fal_error *err)
{
    const char *const end = bytes + n;
    *out = (fal_declaration){ 0 };
    fal_status st = find_marks(bytes, n, out, err);
    for (const char *at = bytes; !st && (at = memmem(at, (size_t)(end - at), variable, VARIABLE)); at += VARIABLE) {
        char text[MARK + 2 * sizeof out->text];
        st = find_marks(text, listed(at + VARIABLE, end, text, sizeof text), out, err);
    }
    return st;
}

/* ---- checking ---------------------------------------------------------------------------------------------------------- */

static bool has_codes(fal_activation a)
{
    return a == FAL_ACTIVATION_Q8_0 || a == FAL_ACTIVATION_Q8_K;
}

static bool is_default(const fal_arithmetic *a)
{
    return a->activation == FAL_ACTIVATION_F32 && a->sum == FAL_SUM_F32 && a->kv == FAL_KV_F32 && !a->in_order;
}

fal_status fal_declaration_check(const fal_declaration *d, const char *op, const char *const *types, int most, fal_error *err)
{
    const fal_arithmetic *const a = &d->a, relevant = fal_error_model_relevant(op, a);
    if (!d->said || is_default(a)) return FAL_OK;
    if (!fal_error_model_has(op))
        return fal_fail(err, FAL_ERR_INPUT, "leave the declaration out", "it declares '%s', but %s computes nothing that could round", d->text, op);
    if (relevant.activation != a->activation)
        return fal_fail(err, FAL_ERR_INPUT, "activations are those of matmul and moe_matmul",
                        "it declares activation=%s, which has no effect on %s", fal_activation_name(a->activation), op);
    if (relevant.kv != a->kv)
        return fal_fail(err, FAL_ERR_INPUT, "a cache is what attention reads", "it declares kv=%s, which has no effect on %s", fal_kv_name(a->kv), op);
    if (a->sum == FAL_SUM_I32 && !has_codes(a->activation))
        return fal_fail(err, FAL_ERR_INPUT, example, "it declares sum=i32, which needs codes: activation=q8_0 or q8_k");
    bool any = !has_codes(a->activation) || !types[0];
    for (int i = 0; i < most && types[i] && !any; i++) any = has_codes(fal_error_model_effective(op, types[i], a).activation);
    if (!any)
        return fal_fail(err, FAL_ERR_INPUT, "codes have partners in quantised weights alone",
                        "it declares activation=%s, which has no effect on weights in %s", fal_activation_name(a->activation), types[0]);
    return FAL_OK;
}

bool fal_declaration_is_f32(const fal_declaration *d, const char *op, const char *type)
{
    const fal_arithmetic a = fal_error_model_effective(op, type, &d->a);
    return !d->said || (a.activation == FAL_ACTIVATION_F32 && (a.sum == FAL_SUM_F32 || a.sum == FAL_SUM_F64) && a.kv == FAL_KV_F32);
}

/* ---- how far from exact ------------------------------------------------------------------------------------------------- */

double fal_declaration_error(const fal_declaration *d, const char *op, const char *type, double n)
{
    static const double f16 = 0x1p-11, bf16 = 0x1p-8;
    const fal_arithmetic a = fal_error_model_effective(op, type, &d->a);
    double activation = 0, sum = 0, kv = 0;
    if (!d->said) return 0;
    switch (a.activation) {
    case FAL_ACTIVATION_F16: activation = f16 * f16 / 3; break;
    case FAL_ACTIVATION_BF16: activation = bf16 * bf16 / 3; break;
    case FAL_ACTIVATION_Q8_0: activation = 5.71 / (127 * 127 * 12.0); break;
    case FAL_ACTIVATION_Q8_K: activation = 9.40 / (127 * 127 * 12.0); break;
    default: break;
    }
    const double u = a.sum == FAL_SUM_F16 ? f16 : a.sum == FAL_SUM_BF16 ? bf16 : 0, v = a.kv == FAL_KV_F16 ? f16 : a.kv == FAL_KV_BF16 ? bf16 : 0;
    sum = u * u / 3 * (1 + n / 2);
    kv = 2 * v * v / 3; /* of values, and of keys through the weights */
    /* a product of two sums: silu'(g)^2 g^2 u^2 and silu(g)^2 u^2 are about equal in the mean, for Gaussians of any size */
    const double sums = strcmp(op, "moe_swiglu") == 0 ? 2 : 1;
    return sqrt(sums * (activation + sum + kv));
}
