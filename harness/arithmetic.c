/* Names of declared arithmetic, in text and JSON. */
#include "harness/arithmetic.h"

#include <stdio.h>
#include <string.h>

static const char *const activations[FAL_N_ACTIVATIONS] = { "f32", "f16", "bf16", "q8_0", "q8_k" };
static const char *const sums[FAL_N_SUMS] = { "f32", "f64", "f16", "bf16", "i32" };
static const char *const kvs[FAL_N_KVS] = { "f32", "f16", "bf16" };
static const char *const orders[] = { "any", "ascending" };

static const struct {
    const char *key;
    const char *const *names;
    int n;
} keys[] = {
    { "activation", activations, FAL_N_ACTIVATIONS },
    { "sum", sums, FAL_N_SUMS },
    { "kv", kvs, FAL_N_KVS },
    { "order", orders, 2 },
};
enum { N_KEYS = sizeof keys / sizeof keys[0] };

const char *fal_activation_name(fal_activation a)
{
    return (unsigned)a < FAL_N_ACTIVATIONS ? activations[a] : "unknown";
}

const char *fal_sum_name(fal_sum s)
{
    return (unsigned)s < FAL_N_SUMS ? sums[s] : "unknown";
}

const char *fal_kv_name(fal_kv k)
{
    return (unsigned)k < FAL_N_KVS ? kvs[k] : "unknown";
}

void fal_arithmetic_text(const fal_arithmetic *a, char *text, size_t size)
{
    char kv[24] = "";
    if (a->kv != FAL_KV_F32) snprintf(kv, sizeof kv, ", cache %s", fal_kv_name(a->kv));
    snprintf(text, size, "activations %s, sums %s%s%s", fal_activation_name(a->activation), fal_sum_name(a->sum), kv,
             a->in_order ? " in ascending order" : "");
}

static void set(fal_arithmetic *a, int key, int value)
{
    switch (key) {
    case 0: a->activation = (fal_activation)value; break;
    case 1: a->sum = (fal_sum)value; break;
    case 2: a->kv = (fal_kv)value; break;
    default: a->in_order = value == 1; break;
    }
}

static int find(const char *const *names, int n, const char *text, size_t len)
{
    for (int i = 0; i < n; i++)
        if (strlen(names[i]) == len && strncmp(names[i], text, len) == 0) return i;
    return -1;
}

static fal_status unknown_value(int key, const char *text, size_t len, fal_error *err)
{
    char hint[96] = "there are:";
    for (int i = 0; i < keys[key].n; i++) snprintf(hint + strlen(hint), sizeof hint - strlen(hint), " %s", keys[key].names[i]);
    return fal_fail(err, FAL_ERR_USAGE, hint, "declared arithmetic: %s is '%.*s', which is none", keys[key].key, (int)(len < 40 ? len : 40), text);
}

fal_status fal_arithmetic_parse(const char *text, fal_arithmetic *out, fal_error *err)
{
    fal_arithmetic a = *out;
    for (const char *p = text; *p;) {
        const size_t len = strcspn(p, ","), name = strcspn(p, "=,");
        int key = 0;
        while (key < N_KEYS && !(strlen(keys[key].key) == name && strncmp(keys[key].key, p, name) == 0)) key++;
        if (key == N_KEYS || p[name] != '=')
            return fal_fail(err, FAL_ERR_USAGE, "write activation=q8_k,sum=i32,kv=f32,order=any, or some of these",
                            "declared arithmetic: '%.*s' is no name=value of it", (int)(len < 60 ? len : 60), p);
        const int value = find(keys[key].names, keys[key].n, p + name + 1, len - name - 1);
        if (value < 0) return unknown_value(key, p + name + 1, len - name - 1, err);
        set(&a, key, value);
        p += len;
        if (*p == ',') p++;
    }
    *out = a;
    return FAL_OK;
}

json_t *fal_arithmetic_to_json(const fal_arithmetic *a)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "activation", fal_activation_name(a->activation), "sum", fal_sum_name(a->sum),
                     "kv", fal_kv_name(a->kv), "order", orders[a->in_order]);
}

bool fal_arithmetic_from_json(const json_t *j, fal_arithmetic *out)
{
    fal_arithmetic a = { 0 };
    const char *name;
    json_t *value;
    if (!json_is_object(j)) return false;
    json_object_foreach ((json_t *)j, name, value) {
        int key = 0;
        while (key < N_KEYS && strcmp(keys[key].key, name) != 0) key++;
        const char *text = json_string_value(value);
        const int v = key < N_KEYS && text ? find(keys[key].names, keys[key].n, text, strlen(text)) : -1;
        if (v < 0) return false;
        set(&a, key, v);
    }
    *out = a;
    return true;
}
