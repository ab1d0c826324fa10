/* A model on the reference with a session, and a recorder for its taps. */
#include "falsifiers/unit/forward_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

void fal_rig_ok(fal_status st, const fal_error *e)
{
    ck_assert_msg(st == FAL_OK, "%s: %s", fal_status_name(st), e->message);
}

fal_rig fal_rig_open_model(const char *path, int n_ctx)
{
    fal_rig r = { 0 };
    fal_error e = { 0 };
    fal_rig_ok(fal_model_open(path, &r.model, &e), &e);
    r.config = &r.model->config;
    ck_assert_int_le(r.config->n_layer, FAL_RIG_MAX_LAYERS);
    fal_rig_ok(fal_reference_backend.open(NULL, &r.ctx, &e), &e);
    fal_rig_ok(fal_reference_backend.session_open(r.ctx, r.model, n_ctx, &r.session, &e), &e);
    return r;
}

fal_rig fal_rig_open(int n_ctx)
{
    return fal_rig_open_model(FAL_RIG_MODEL, n_ctx);
}

void fal_rig_close(fal_rig *r)
{
    fal_reference_backend.session_close(r->session);
    fal_reference_backend.close(r->ctx);
    fal_model_close(r->model);
}

size_t fal_rig_row_bytes(const fal_config *c, int site)
{
    int sub, width;
    fal_site_shape((fal_site)site, c, &sub, &width);
    return (size_t)sub * (size_t)width * 4;
}

static bool wants(void *user, fal_site site, int layer)
{
    const fal_recorder *r = user;
    ck_assert_int_eq(layer >= 0, fal_site_get(site)->per_layer);
    return r->wanted[site];
}

static fal_status give(void *user, fal_site site, int layer, int first, int n, const void *data, fal_error *err)
{
    fal_recorder *r = user;
    const int l = layer < 0 ? 0 : layer;
    const size_t bytes = fal_rig_row_bytes(r->config, (int)site);
    ck_assert(r->wanted[site] && first >= 0 && n > 0 && first + n <= r->n_tokens);
    if ((int)site == r->fail_at && l == r->config->n_layer - 1)
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "told to fail");
    if (!r->data[site][l]) {
        r->data[site][l] = malloc((size_t)r->n_tokens * bytes);
        ck_assert_ptr_nonnull(r->data[site][l]);
    }
    ck_assert_int_eq(first, r->n_rows[site][l]); /* rows come in order, each once */
    memcpy(r->data[site][l] + (size_t)first * bytes, data, (size_t)n * bytes);
    r->n_rows[site][l] += n;
    /* Logits may come in more pieces than the rest of a chunk; all else is (chunk, layer, site) ascending. */
    const int step = layer < 0 ? (site == FAL_SITE_embed ? -1 : FAL_RIG_MAX_LAYERS * FAL_N_SITES + (int)site)
                               : layer * FAL_N_SITES + (int)site;
    if (site != FAL_SITE_logits) {
        if (first < r->last_first || (first == r->last_first && step <= r->last_step)) r->in_order = false;
        r->last_first = first;
    }
    r->last_step = step;
    return FAL_OK;
}

static const void *forced(void *user, fal_site site, int layer, int first, int n)
{
    const fal_recorder *r = user;
    (void)n;
    if (!r->force || (int)site != r->force_site || layer != r->force_layer) return NULL;
    return r->force + (size_t)first * fal_rig_row_bytes(r->config, (int)site);
}

static const int32_t *pinned(void *user, int layer, int first, int n)
{
    const fal_recorder *r = user;
    ck_assert(layer >= 0 && layer < r->config->n_layer && first + n <= r->n_tokens);
    return r->pin ? r->pin + first * r->config->n_expert_used : NULL;
}

fal_recorder fal_recorder_make(const fal_config *c, int n_tokens)
{
    return (fal_recorder) { .config = c, .n_tokens = n_tokens, .last_first = -1, .last_step = -2, .in_order = true,
                        .fail_at = -1 };
}

void fal_recorder_want_all(fal_recorder *r)
{
    for (int i = 0; i < FAL_N_SITES; i++) r->wanted[i] = true;
}

void fal_recorder_free(fal_recorder *r)
{
    for (int i = 0; i < FAL_N_SITES; i++)
        for (int l = 0; l < FAL_RIG_MAX_LAYERS; l++) free(r->data[i][l]);
}

fal_taps fal_recorder_taps(fal_recorder *r)
{
    return (fal_taps) { .user = r, .wants = wants, .give = give, .forced = forced, .pinned = pinned };
}

fal_status fal_rig_try(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n, int32_t *next, fal_error *e)
{
    const fal_taps taps = fal_recorder_taps(r);
    return fal_reference_backend.forward(g->session, tokens, n, r ? &taps : NULL, next, e);
}

int32_t fal_rig_run(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n)
{
    fal_error e = { 0 };
    int32_t next = -1;
    fal_rig_ok(fal_rig_try(g, r, tokens, n, &next, &e), &e);
    return next;
}

int32_t fal_rig_run_fresh(const fal_rig *g, fal_recorder *r, const int32_t *tokens, int n)
{
    fal_error e = { 0 };
    fal_rig_ok(fal_reference_backend.reset(g->session, &e), &e);
    return fal_rig_run(g, r, tokens, n);
}

const float *fal_recorder_f32(const fal_recorder *r, fal_site site, int layer)
{
    ck_assert_int_eq(r->n_rows[site][layer], r->n_tokens);
    return (const float *)(const void *)r->data[site][layer];
}

void fal_recorder_same(const fal_recorder *a, const fal_recorder *b, int site, int layer)
{
    const size_t n = (size_t)a->n_tokens * fal_rig_row_bytes(a->config, site);
    ck_assert_int_eq(a->n_rows[site][layer], b->n_rows[site][layer]);
    ck_assert_msg(memcmp(a->data[site][layer], b->data[site][layer], n) == 0, "%s of layer %d differs",
                  fal_site_get((fal_site)site)->name, layer);
}

bool fal_recorder_differs(const fal_recorder *a, const fal_recorder *b, int site, int layer)
{
    const size_t n = (size_t)a->n_tokens * fal_rig_row_bytes(a->config, site);
    return memcmp(a->data[site][layer], b->data[site][layer], n) != 0;
}

int fal_rig_largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}
