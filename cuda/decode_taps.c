/* Taps of the fused path: which sites a token of it comes to, what is seen and put in there, and pinned routing. */
#include "cuda/decode_taps.h"

#include "cuda/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Results that stay on the device until the token after it: seen after the graph. */
static bool is_kept(fal_site site)
{
    return site == FAL_SITE_logits || site == FAL_SITE_final_norm || site == FAL_SITE_router_logits || site == FAL_SITE_expert_ids;
}

/* Results that stand in a buffer between two kernels. The others exist in registers and shared memory alone. */
static bool is_between(fal_site site)
{
    switch (site) {
    case FAL_SITE_embed:
    case FAL_SITE_q:
    case FAL_SITE_k:
    case FAL_SITE_v:
    case FAL_SITE_attn:
    case FAL_SITE_ffn_inp:
    case FAL_SITE_ffn_norm:
    case FAL_SITE_l_out: return true;
    default: return false;
    }
}

bool fal_cu_has_site(const fal_session *s, fal_site site, int n_tokens)
{
    return !s->decode || n_tokens != 1 || is_kept(site) || is_between(site);
}

static bool wants(const fal_taps *taps, fal_site site, int layer)
{
    return taps && taps->give && taps->wants && taps->wants(taps->user, site, layer);
}

fal_status fal_cu_decode_check_taps(const fal_session *s, const fal_taps *taps, int n_tokens, fal_error *err)
{
    for (int i = 0; taps && i < FAL_N_SITES; i++) {
        const fal_site site = (fal_site)i;
        const bool per_layer = fal_site_get(site)->per_layer;
        if (fal_cu_has_site(s, site, n_tokens)) continue;
        for (int layer = per_layer ? 0 : -1; layer < (per_layer ? s->model->config.n_layer : 0); layer++)
            if (wants(taps, site, layer))
                return fal_fail(err, FAL_ERR_INPUT, "use the variant '' for it: the exact class delivers every site",
                                "cuda: variant '%s' does not come to site %s of layer %d with one token",
                                fal_cu_variants[fal_cu_variant_of(s->ctx)], fal_site_get(site)->name, layer);
    }
    return FAL_OK;
}

bool fal_cu_decode_is_watched(const fal_session *s, const fal_taps *taps)
{
    if (fal_cu_is_blocking(s->ctx)) return true;
    if (!taps) return false;
    if (taps->forced || taps->pinned) return true;
    for (int i = 0; i < FAL_N_SITES; i++) {
        const fal_site site = (fal_site)i;
        const bool per_layer = fal_site_get(site)->per_layer;
        for (int layer = per_layer ? 0 : -1; is_between(site) && layer < (per_layer ? s->model->config.n_layer : 0); layer++)
            if (wants(taps, site, layer)) return true;
    }
    return false;
}

static size_t site_bytes(const fal_session *s, fal_site site)
{
    int sub, width;
    fal_site_shape(site, &s->model->config, &sub, &width);
    return fal_cu_bytes(4, sub, width, 1); /* f32 and i32 are both 4 wide */
}

static fal_status need_host(fal_session *s, size_t bytes, fal_error *err)
{
    if (bytes <= s->host_bytes) return FAL_OK;
    void *more = realloc(s->host, bytes);
    if (!more) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no host memory to read back %zu bytes", bytes);
    s->host = more;
    s->host_bytes = bytes;
    return FAL_OK;
}

fal_status fal_cu_decode_tap(fal_session *s, const fal_taps *taps, fal_site site, int layer, fal_cu_buffer *at, fal_error *err)
{
    const size_t bytes = site_bytes(s, site);
    if (!taps) return FAL_OK;
    if (wants(taps, site, layer)) {
        fal_status st = need_host(s, bytes, err);
        if (st == FAL_OK) st = fal_cu_read(s->ctx, at, 0, s->host, bytes, err);
        if (st == FAL_OK) st = taps->give(taps->user, site, layer, 0, 1, s->host, err);
        if (st != FAL_OK) return st;
    }
    /* what was chosen is only told: the kernels choose by themselves, from the logits */
    const void *forced = taps->forced ? taps->forced(taps->user, site, layer, 0, 1) : NULL;
    return forced && site != FAL_SITE_expert_ids ? fal_cu_write(s->ctx, at, forced, bytes, err) : FAL_OK;
}

fal_status fal_cu_decode_pin(fal_session *s, const fal_taps *taps, int layer, fal_cu_buffer *logits, fal_error *err)
{
    const int n_expert = s->model->config.n_expert, n_used = s->model->config.n_expert_used;
    const int32_t *ids = taps && taps->pinned ? taps->pinned(taps->user, layer, 0, 1) : NULL;
    if (!ids) return FAL_OK;
    for (int i = 0; i < n_used; i++)
        if (ids[i] < 0 || ids[i] >= n_expert)
            return fal_fail(err, FAL_ERR_INPUT, NULL, "cuda: pinned ids of layer %d: id %d is %d, expected 0 <= id < %d", layer, i,
                            ids[i], n_expert);
    const size_t bytes = site_bytes(s, FAL_SITE_router_logits);
    fal_status st = need_host(s, 2 * bytes, err);
    if (st == FAL_OK) st = fal_cu_read(s->ctx, logits, 0, s->host, bytes, err);
    if (st != FAL_OK) return st;
    float *const all = s->host, *const left = all + n_expert;
    for (int e = 0; e < n_expert; e++) left[e] = -INFINITY;
    for (int i = 0; i < n_used; i++) left[ids[i]] = all[ids[i]];
    return fal_cu_write(s->ctx, logits, left, bytes, err);
}
