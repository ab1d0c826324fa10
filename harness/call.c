/* What follows from the fields of a call: lookups, and the least that any implementation must read, write and compute. */
#include "harness/call.h"

#include <stdlib.h>
#include <string.h>

const fal_field *fal_call_find(const fal_call *c, const char *name)
{
    for (int i = 0; i < c->n_fields; i++)
        if (strcmp(c->fields[i].name, name) == 0) return &c->fields[i];
    return NULL;
}

int fal_call_int(const fal_call *c, const char *name, int fallback)
{
    const fal_field *f = fal_call_find(c, name);
    return f && f->kind != FAL_FIELD_ARRAY && f->kind != FAL_FIELD_FLOAT ? f->i : fallback;
}

bool fal_is_weight_name(const char *name)
{
    return strcmp(name, "w") == 0 || strcmp(name, "w_gate") == 0 || strcmp(name, "w_up") == 0;
}

bool fal_call_is_weight(const fal_call *c, const char *name)
{
    return fal_call_find(c, "type") != NULL && fal_is_weight_name(name);
}

static double share_of(double part, double whole)
{
    return whole > 0 && part < whole ? part / whole : 1;
}

/* Of n things the share that a list of ids names at least once. */
static double share_named(const fal_call *c, const char *list, int n)
{
    const fal_field *ids = fal_call_find(c, list);
    if (!ids || !ids->data || n <= 0) return 1;
    unsigned char *named = calloc((size_t)n, 1);
    if (!named) return 0; /* fewer bytes than there are: nobody is accused of being too fast */
    const int32_t *id = ids->data;
    int count = 0;
    for (size_t i = 0; i < ids->nbytes / sizeof *id; i++)
        if (id[i] >= 0 && id[i] < n && !named[id[i]]) {
            named[id[i]] = 1;
            count++;
        }
    free(named);
    return share_of(count, n);
}

double fal_call_bytes(const fal_call *c)
{
    const double n_tokens = fal_call_int(c, "n_tokens", 1);
    double bytes = 0;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || !f->data) continue;
        double share = 1;
        if (fal_call_find(c, "n_expert") && fal_call_is_weight(c, f->name))
            share = share_named(c, "ids", fal_call_int(c, "n_expert", 1));
        else if (strcmp(c->op, "embed") == 0 && strcmp(f->name, "w") == 0)
            share = share_named(c, "tokens", fal_call_int(c, "n_vocab", 1));
        else if (strcmp(c->op, "attention") == 0 && strstr(f->name, "_cache"))
            share = share_of(fal_call_int(c, "first_pos", 0) + n_tokens, fal_call_int(c, "n_ctx", 1));
        else if ((strcmp(c->op, "kv_store") == 0 && strstr(f->name, "_cache")) ||
                 (strcmp(c->op, "rope") == 0 && (strcmp(f->name, "cos") == 0 || strcmp(f->name, "sin") == 0)))
            share = share_of(n_tokens, fal_call_int(c, "n_ctx", 1));
        bytes += (double)f->nbytes * share;
    }
    return bytes;
}

double fal_call_work(const fal_call *c)
{
    const double n_tokens = fal_call_int(c, "n_tokens", fal_call_int(c, "n_rows", 1));
    const double n_in = fal_call_int(c, "n_in", 0), n_out = fal_call_int(c, "n_out", 0);
    if (n_in > 0) return n_tokens * n_in * n_out * fal_call_int(c, "n_expert_used", 1);
    if (strcmp(c->op, "moe_swiglu") == 0)
        return 2 * n_tokens * fal_call_int(c, "n_embd", 1) * fal_call_int(c, "n_ff", 1) * fal_call_int(c, "n_expert_used", 1);
    if (strcmp(c->op, "attention") == 0)
        return 2 * n_tokens * fal_call_int(c, "n_head", 1) * fal_call_int(c, "head_dim", 1) *
               (fal_call_int(c, "first_pos", 0) + n_tokens);
    double elements = 0;
    for (int i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == FAL_FIELD_ARRAY && c->fields[i].is_output) elements += (double)c->fields[i].nbytes / 4;
    return 8 * elements; /* a handful of operations, a table or an exponential for each */
}
