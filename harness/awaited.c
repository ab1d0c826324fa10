/* What contracts wait for, looked up again: a file, tool or device that is there now ends a "pending". */
#include "harness/awaited.h"

#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void look_for_file(const char *root, const char *name, fal_awaited *a)
{
    struct stat st;
    fal_text path = { 0 };
    if (name[0] != '/' && strcmp(root, ".") != 0) fal_text_addf(&path, "%s/", root);
    fal_text_add(&path, name);
    if (!path.failed && stat(fal_text_str(&path), &st) == 0) {
        a->state = FAL_AWAITED_PRESENT;
        snprintf(a->found, sizeof a->found, "%s", fal_text_str(&path));
    }
    fal_text_free(&path);
}

static void look_for_tool(const char *search, const char *name, fal_awaited *a)
{
    for (const char *s = search; s && *s;) {
        const size_t n = strcspn(s, ":");
        char file[1024];
        struct stat st;
        snprintf(file, sizeof file, "%.*s/%s", (int)n, s, name);
        if (n > 0 && n < 700 && stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0) {
            a->state = FAL_AWAITED_PRESENT;
            snprintf(a->found, sizeof a->found, "%.255s", file);
            return;
        }
        s += n + (s[n] == ':');
    }
}

static void look_for_device(const fal_probes *probes, const char *name, fal_awaited *a)
{
    const size_t n = strcspn(name, "/");
    const char *part = name[n] ? name + n + 1 : "";
    a->state = FAL_AWAITED_NOT_LOOKED;
    for (int i = 0; probes && i < probes->n; i++) {
        const fal_probe *p = &probes->items[i];
        if (strlen(p->backend->name) != n || strncmp(p->backend->name, name, n) != 0 || p->state == FAL_PROBE_NOT_ASKED)
            continue;
        a->state = FAL_AWAITED_ABSENT;
        for (int k = 0; k < p->n; k++)
            if (p->state == FAL_PROBE_FOUND && strstr(p->devices[k].name, part)) {
                a->state = FAL_AWAITED_PRESENT;
                snprintf(a->found, sizeof a->found, "%.255s", p->devices[k].name);
                return;
            }
    }
}

static void look(const fal_whereabouts *w, fal_awaited *a)
{
    const char *colon = strchr(a->what, ':');
    const char *name = colon ? colon + 1 : "";
    a->state = FAL_AWAITED_ABSENT;
    if (strncmp(a->what, "file:", 5) == 0)
        look_for_file(w->root, name, a);
    else if (strncmp(a->what, "tool:", 5) == 0)
        look_for_tool(w->path, name, a);
    else
        look_for_device(w->probes, name, a);
}

fal_status fal_awaited_look(const fal_contract_set *set, const fal_whereabouts *where, fal_awaited_list *out,
                            fal_error *err)
{
    size_t n = 0;
    for (int i = 0; i < set->n_contracts; i++) {
        n += (size_t)set->contracts[i]->n_waits_for;
        for (int s = 0; s < set->contracts[i]->n_stages; s++) n += (size_t)set->contracts[i]->stages[s].n_waits_for;
    }
    *out = (fal_awaited_list){ .items = calloc(n + 1, sizeof *out->items) };
    if (!out->items) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for what is waited for");
    for (int i = 0; i < set->n_contracts; i++) {
        const fal_contract *c = set->contracts[i];
        for (int k = 0; k < c->n_waits_for; k++)
            out->items[out->n++] = (fal_awaited){ .contract = c, .what = c->waits_for[k], .index = k };
        for (int s = 0; s < c->n_stages; s++)
            for (int k = 0; k < c->stages[s].n_waits_for; k++)
                out->items[out->n++] = (fal_awaited){
                    .contract = c, .stage = &c->stages[s], .what = c->stages[s].waits_for[k], .index = k
                };
    }
    for (int i = 0; i < out->n; i++) look(where, &out->items[i]);
    return FAL_OK;
}

static int add_backends(const char *const *waits, int n_waits, const char **names, int n, int most)
{
    static const char *const backends[] = { "opencl", "cuda" };
    for (int i = 0; i < n_waits; i++)
        for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
            const size_t len = strlen(backends[b]);
            if (strncmp(waits[i], "device:", 7) != 0 || strncmp(waits[i] + 7, backends[b], len) != 0) continue;
            bool there = false;
            for (int k = 0; k < n; k++) there |= strcmp(names[k], backends[b]) == 0;
            if (!there && n < most) names[n++] = backends[b];
        }
    return n;
}

int fal_awaited_backends(const fal_contract_set *set, const char **names, int most)
{
    int n = 0;
    for (int i = 0; i < set->n_contracts; i++) {
        const fal_contract *c = set->contracts[i];
        n = add_backends(c->waits_for, c->n_waits_for, names, n, most);
        for (int s = 0; s < c->n_stages; s++)
            n = add_backends(c->stages[s].waits_for, c->stages[s].n_waits_for, names, n, most);
    }
    return n;
}
