/* Finding what is compared in a forward pass: the taps of a check, its tokens, and both sides of each tap. */
#include "falsifiers/judgement.h"
#include "harness/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const fal_obs_tensor *fal_need(fal_verdict *out, const fal_observation *o, fal_side side, int request, const char *name)
{
    const fal_obs_tensor *const t = fal_observation_find(o, request, name);
    if (t) return t;
    char place[80];
    if (o->n_requests > 1) snprintf(place, sizeof place, "r%d.%s", request, name);
    else snprintf(place, sizeof place, "%s", name);
    if (side == FAL_SIDE_WANT)
        fal_stop(out, FAL_ERROR, "the reference's observation lacks %s", place);
    else
        fal_stop(out, FAL_CRASHED, "the observer did not deliver %s%s", place,
                 side == FAL_SIDE_AGAIN ? " a second time" : "");
    return NULL;
}

void fal_shape_text(char *text, size_t size, fal_dtype dtype, int n_dims, const int64_t *ne)
{
    static const char *const names[] = { "F32", "I32", "U8", "I64" };
    size_t len = (size_t)snprintf(text, size, "%s [", names[dtype]);
    for (int d = 0; d < n_dims && len < size; d++)
        len += (size_t)snprintf(text + len, size - len, "%s%lld", d ? ", " : "", (long long)ne[d]);
    if (len < size) snprintf(text + len, size - len, "]");
}

static bool same_shape(const fal_obs_tensor *t, fal_dtype dtype, int n_dims, const int64_t *ne)
{
    return t->dtype == dtype && t->n_dims == n_dims && memcmp(t->ne, ne, (size_t)n_dims * sizeof ne[0]) == 0;
}

bool fal_need_shape(fal_verdict *out, fal_side side, const char *name, const fal_obs_tensor *t, fal_dtype dtype,
                    int n_dims, const int64_t *ne)
{
    if (same_shape(t, dtype, n_dims, ne)) return true;
    char found[96], expected[96];
    fal_shape_text(found, sizeof found, t->dtype, t->n_dims, t->ne);
    fal_shape_text(expected, sizeof expected, dtype, n_dims, ne);
    return fal_stop(out, side == FAL_SIDE_WANT ? FAL_ERROR : FAL_FALSIFIED, "%s%s is %s, expected %s",
                    side == FAL_SIDE_WANT ? "the reference's " : "", name, found, expected);
}

const fal_observation *fal_other(const fal_evidence_in *in, fal_verdict *out)
{
    static const char *const whose[] = { "nothing", "the reference", "the oracle", "a second observation" };
    const fal_observation *o = NULL;
    switch (in->check->against) {
    case FAL_AGAINST_REFERENCE: o = in->want; break;
    case FAL_AGAINST_ORACLE: o = in->oracle; break;
    case FAL_AGAINST_SELF: o = in->again; break;
    case FAL_AGAINST_NONE: break;
    }
    if (!o || !o->about)
        fal_stop(out, FAL_ERROR, "judgement %s against %s: there is no observation to compare with", in->check->judge,
                 whose[in->check->against]);
    return o && o->about ? o : NULL;
}

const json_t *fal_about_request(const fal_observation *o, int request)
{
    return json_array_get(json_object_get(o->about, "requests"), (size_t)request);
}

/* ---- taps ------------------------------------------------------------------------------------------------------ */

/* The configuration: of the model file, or else what the reference (before the backend on trial) says it ran. */
static bool config_of(const fal_evidence_in *in, fal_config *c, fal_verdict *out)
{
    if (in->config) {
        *c = *in->config;
    } else {
        const fal_observation *const o = in->want ? in->want : in->got;
        const json_t *const j = json_object_get(json_object_get(o->about, "ran"), "config");
        *c = (fal_config){
#define FIELD(name) .name = (int)json_integer_value(json_object_get(j, #name))
            FIELD(n_layer), FIELD(n_embd), FIELD(n_head), FIELD(n_head_kv), FIELD(head_dim), FIELD(n_expert),
            FIELD(n_expert_used), FIELD(n_ff), FIELD(n_vocab),
#undef FIELD
        };
    }
    if (c->n_layer > 0 && c->n_layer <= 4096 && c->n_vocab > 0) return true;
    return fal_stop(out, FAL_ERROR, "no model configuration is at hand, so shapes cannot be checked");
}

/* "none" stands for no site: a check that looks at greedy tokens alone. */
static bool matches(const char *glob, const char *name)
{
    if (strcmp(glob, "none") == 0) return false;
    return strcmp(glob, "all") == 0 || fal_glob_match(glob, name);
}

bool fal_taps_make(const fal_evidence_in *in, const char *fallback, fal_tap_list *list, fal_verdict *out)
{
    const fal_check *const check = in->check;
    const char *const *const globs = check->n_taps > 0 ? check->taps : &fallback;
    const int n_globs = check->n_taps > 0 ? check->n_taps : 1;
    *list = (fal_tap_list){ 0 };
    if (!config_of(in, &list->config, out)) return false;
    const fal_config *const c = &list->config;
    fal_tap *const items = malloc(((size_t)c->n_layer + 1) * FAL_N_SITES * sizeof *items);
    bool *const used = calloc((size_t)n_globs, sizeof *used);
    bool ok = false;
    if (!items || !used) {
        fal_stop(out, FAL_ERROR, "out of memory while listing taps");
        goto out;
    }
    int n = 0;
    /* forward order: sites of the model that stand before the layers, the layers one after the other, the rest */
    int first_layered = 0, last_layered = 0;
    for (int s = 0; s < FAL_N_SITES; s++)
        if (fal_site_get((fal_site)s)->per_layer) {
            if (!first_layered) first_layered = s;
            last_layered = s;
        }
    for (int s = 0, layer = 0; s < FAL_N_SITES;) {
        fal_tap tap = { .site = (fal_site)s, .layer = -1 };
        const fal_site_info *const info = fal_site_get(tap.site);
        if (info->per_layer) tap.layer = layer;
        fal_site_shape(tap.site, c, &tap.sub, &tap.width);
        if (info->per_layer) snprintf(tap.name, sizeof tap.name, "blk.%d.%s", layer, info->name);
        else snprintf(tap.name, sizeof tap.name, "%s", info->name);
        bool wanted = false;
        for (int g = 0; g < n_globs; g++)
            if (matches(globs[g], tap.name)) wanted = used[g] = true;
        if (wanted) items[n++] = tap;
        if (s == last_layered && layer + 1 < c->n_layer) {
            layer++;
            s = first_layered;
        } else {
            s++;
        }
    }
    for (int g = 0; g < n_globs; g++)
        if (!used[g] && strcmp(globs[g], "none") != 0) {
            fal_stop(out, FAL_ERROR, "tap '%.80s' matches no site of a model of %d layers", globs[g], c->n_layer);
            goto out;
        }
    list->n = n;
    ok = true;
out:
    free(used);
    if (ok) list->items = items;
    else free(items);
    return ok;
}

/* ---- requests and tokens --------------------------------------------------------------------------------------- */

bool fal_requests_of(const fal_evidence_in *in, int *n, fal_verdict *out)
{
    const int planned = in->check->sequence && in->check->n_prompts > 0 ? in->check->n_prompts : 1;
    if (in->got->n_requests < planned)
        return fal_stop(out, FAL_CRASHED, "the observer delivered %d of %d requests", in->got->n_requests, planned);
    if (in->check->sequence && in->check->against == FAL_AGAINST_ORACLE)
        return fal_stop(out, FAL_ERROR, "an oracle prompt stands for one request, not for a sequence");
    *n = planned;
    return true;
}

/* about.asked.requests[r] is a list of tokens, or an object that holds one. */
static const json_t *asked_tokens(const fal_observation *o, int request)
{
    const json_t *const j =
        json_array_get(json_object_get(json_object_get(o->about, "asked"), "requests"), (size_t)request);
    return json_is_array(j) ? j : json_object_get(j, "tokens");
}

static const json_t *ran_tokens(const fal_observation *o, int request)
{
    return json_object_get(fal_about_request(o, request), "tokens");
}

bool fal_tokens_of(const fal_evidence_in *in, int request, const json_t **tokens, int *n_tokens, fal_verdict *out)
{
    const json_t *const ran = ran_tokens(in->got, request), *truth = NULL;
    const char *source = "what was asked";
    if (in->check->against == FAL_AGAINST_ORACLE && in->oracle) {
        truth = fal_oracle_list(in->oracle, in->oracle_prompt, "tokens");
        source = "the oracle's prompt";
    } else if (in->want) {
        truth = ran_tokens(in->want, request);
        source = "the reference's request";
    }
    if (!truth) {
        truth = asked_tokens(in->got, request);
        source = "what was asked";
    }
    if (!json_is_array(ran) || json_array_size(ran) == 0)
        return fal_stop(out, FAL_CRASHED, "the observer did not deliver requests[%d].tokens", request);
    if (!truth) truth = ran;
    if (!json_equal(ran, truth))
        return fal_stop(out, FAL_FALSIFIED, "request %d ran %zu tokens that are not those of %s (%zu tokens)", request,
                        json_array_size(ran), source, json_array_size(truth));
    if (tokens) *tokens = ran;
    *n_tokens = (int)json_array_size(ran);
    return true;
}

const fal_obs_tensor *fal_tap_of(fal_verdict *out, const fal_observation *o, fal_side side, int request,
                                 const fal_tap *tap, int n_tokens)
{
    const fal_obs_tensor *const t = fal_need(out, o, side, request, tap->name);
    if (!t) return NULL;
    const int64_t flat[] = { n_tokens, tap->width }, split[] = { n_tokens, tap->sub, tap->width };
    const fal_dtype dtype = fal_site_get(tap->site)->is_i32 ? FAL_DTYPE_I32 : FAL_DTYPE_F32;
    const bool ok = fal_need_shape(out, side, tap->name, t, dtype, tap->sub == 1 ? 2 : 3, tap->sub == 1 ? flat : split);
    return ok ? t : NULL;
}

/* ---- pairs ----------------------------------------------------------------------------------------------------- */

fal_pair_status fal_pair_of(const fal_evidence_in *in, const fal_config *c, int request, const fal_tap *tap,
                            fal_pair *pair, fal_verdict *out)
{
    const fal_observation *const other = fal_other(in, out);
    const bool oracle = in->check->against == FAL_AGAINST_ORACLE;
    int n_tokens = 0;
    char name[96];
    *pair = (fal_pair){ .row = (size_t)tap->sub * (size_t)tap->width };
    if (!other || !fal_tokens_of(in, request, NULL, &n_tokens, out)) return FAL_PAIR_STOPPED;
    if (oracle && !fal_oracle_name(c, tap, in->oracle_prompt, name, sizeof name)) return FAL_PAIR_ABSENT;
    pair->n_rows = (size_t)n_tokens;
    pair->got = fal_tap_of(out, in->got, FAL_SIDE_GOT, request, tap, n_tokens);
    if (!pair->got) return FAL_PAIR_STOPPED;
    if (oracle) return fal_oracle_pair(in, c, tap, pair, out);
    const fal_side side = in->check->against == FAL_AGAINST_SELF ? FAL_SIDE_AGAIN : FAL_SIDE_WANT;
    pair->want = fal_tap_of(out, other, side, request, tap, n_tokens);
    return pair->want ? FAL_PAIR_READY : FAL_PAIR_STOPPED;
}

size_t fal_pair_position(const fal_pair *p, size_t i)
{
    return p->positions ? (size_t)fal_row_at(fal_row_whole(p->positions), i) : i;
}

fal_row fal_pair_got(const fal_pair *p, size_t i)
{
    return fal_row_part(p->got, fal_pair_position(p, i) * p->row, p->row);
}

fal_row fal_pair_want(const fal_pair *p, size_t i)
{
    return fal_row_part(p->want, i * p->row, p->row);
}

bool fal_rows_constant(const fal_obs_tensor *t, size_t row)
{
    const size_t n = row ? t->n / row : 0;
    for (size_t i = 1; i < n; i++)
        if (!fal_same_bytes(fal_row_part(t, 0, row), fal_row_part(t, i * row, row))) return false;
    return n >= 2;
}
