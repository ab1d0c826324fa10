/* What devices there are: choosing one by name, and the JSON that a probing child prints. */
#include "harness/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

fal_probes *fal_probes_make(void)
{
    fal_probes *all = calloc(1, sizeof *all);
    if (!all) return NULL;
    const fal_backend *const *backends = fal_backend_all(&all->n);
    if (all->n > FAL_MAX_BACKENDS) all->n = FAL_MAX_BACKENDS;
    for (int i = 0; i < all->n; i++) all->items[i].backend = backends[i];
    return all;
}

void fal_probe_here(fal_probe *p)
{
    int n = 0;
    p->n = 0;
    p->error = (fal_error){ 0 };
    const fal_status st = p->backend->devices(p->devices, FAL_MAX_DEVICES, &n, &p->error);
    if (st == FAL_OK && n > 0) {
        p->state = FAL_PROBE_FOUND;
        p->n = n < FAL_MAX_DEVICES ? n : FAL_MAX_DEVICES;
        return;
    }
    p->state = FAL_PROBE_BLOCKED;
    fal_fail(&p->error, FAL_ERR_BLOCKED, NULL, "%s lists no device", p->backend->name);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static bool matches(const fal_device_info *d, const char *selector)
{
    const size_t digits = strspn(selector, "0123456789");
    if (digits && !selector[digits] && digits < 6) return d->index == atoi(selector);
    if (d->uuid[0] && strcasecmp(d->uuid, selector) == 0) return true;
    return strcmp(d->slug, selector) == 0 || strcasestr(d->name, selector) != NULL;
}

const fal_device_info *fal_probe_choose(const fal_probe *p, const char *selector)
{
    if (p->state != FAL_PROBE_FOUND) return NULL;
    const bool any = !selector || !*selector;
    for (int i = 0; i < p->n; i++)
        if (any ? !p->devices[i].is_cpu : matches(&p->devices[i], selector)) return &p->devices[i];
    return any ? &p->devices[0] : NULL;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* Names come from drivers and need not be UTF-8. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s);
    if (j) return j;
    char clean[512];
    size_t n = 0;
    for (; s[n] && n + 1 < sizeof clean; n++) clean[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
    clean[n] = '\0';
    return json_string(clean);
}

static json_t *device_to_json(const fal_device_info *d)
{
    return json_pack("{s:i, s:b, s:o, s:o, s:o, s:o, s:o, s:I}", "index", d->index, "is_cpu", (int)d->is_cpu, "name",
                     text(d->name), "vendor", text(d->vendor), "driver", text(d->driver), "uuid", text(d->uuid), "slug",
                     text(d->slug), "memory_bytes", (json_int_t)d->memory_bytes);
}

json_t *fal_probe_to_json(const fal_probe *p)
{
    json_t *j = json_pack("{s:s, s:[]}", "backend", p->backend->name, "variants");
    if (!j) return NULL;
    int bad = 0;
    for (const char *const *v = p->backend->variants; v && *v; v++)
        bad |= json_array_append_new(json_object_get(j, "variants"), json_string(*v));
    if (p->state == FAL_PROBE_NOT_ASKED) {
        bad |= json_object_set_new(j, "not_probed", json_true());
    } else if (p->state == FAL_PROBE_BLOCKED) {
        bad |= json_object_set_new(j, "blocked", text(p->error.message));
        bad |= json_object_set_new(j, "hint", text(p->error.hint));
    } else {
        json_t *devices = json_array();
        for (int i = 0; i < p->n; i++) bad |= json_array_append_new(devices, device_to_json(&p->devices[i]));
        bad |= json_object_set_new(j, "devices", devices);
    }
    if (bad) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static bool take(const json_t *j, const char *key, char *to, size_t cap)
{
    const char *s = json_string_value(json_object_get(j, key));
    if (!s) return false;
    snprintf(to, cap, "%s", s);
    return true;
}

static bool device_from_json(const json_t *j, fal_device_info *d)
{
    const json_t *index = json_object_get(j, "index"), *cpu = json_object_get(j, "is_cpu"),
                 *memory = json_object_get(j, "memory_bytes");
    if (!json_is_integer(index) || !json_is_boolean(cpu) || !json_is_integer(memory)) return false;
    *d = (fal_device_info){ .is_cpu = json_is_true(cpu), .memory_bytes = (uint64_t)json_integer_value(memory) };
    if (json_integer_value(index) < 0 || json_integer_value(index) > 100000) return false;
    d->index = (int)json_integer_value(index);
    return take(j, "name", d->name, sizeof d->name) && take(j, "vendor", d->vendor, sizeof d->vendor) &&
           take(j, "driver", d->driver, sizeof d->driver) && take(j, "uuid", d->uuid, sizeof d->uuid) &&
           take(j, "slug", d->slug, sizeof d->slug);
}

fal_status fal_probe_from_json(const json_t *j, fal_probe *p, fal_error *err)
{
    char name[64];
    if (!take(j, "backend", name, sizeof name) || strcmp(name, p->backend->name) != 0)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "device list of %s: field 'backend' is missing or another",
                        p->backend->name);
    const json_t *devices = json_object_get(j, "devices");
    if (!devices) {
        fal_error why = { .code = FAL_ERR_BLOCKED };
        if (!take(j, "blocked", why.message, sizeof why.message) || !take(j, "hint", why.hint, sizeof why.hint))
            return fal_fail(err, FAL_ERR_INPUT, NULL, "device list of %s: neither 'devices' nor 'blocked'", name);
        p->state = FAL_PROBE_BLOCKED;
        p->error = why;
        p->n = 0;
        return FAL_OK;
    }
    const size_t n = json_array_size(devices);
    if (n < 1 || n > FAL_MAX_DEVICES)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "device list of %s: %zu devices, expected 1 to %d", name, n,
                        FAL_MAX_DEVICES);
    fal_device_info found[FAL_MAX_DEVICES];
    for (size_t i = 0; i < n; i++)
        if (!device_from_json(json_array_get(devices, i), &found[i]))
            return fal_fail(err, FAL_ERR_INPUT, NULL, "device list of %s: device %zu is malformed", name, i);
    memcpy(p->devices, found, n * sizeof found[0]);
    p->n = (int)n;
    p->state = FAL_PROBE_FOUND;
    return FAL_OK;
}
