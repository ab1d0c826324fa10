/* Tests of the reference's taps, forcing and pinning, of what it refuses, and of its memory. */
#include "falsifiers/unit/forward_rig.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_forward_taps(void);

static const fal_backend *const ref = &fal_reference_backend;

/* ---- putting values in ------------------------------------------------------------------------------------------- */

static const int32_t three[] = { 1420, 364, 258 };

/* Rule: a forced value is put in after it was shown, changes what follows and nothing before. One test a site. */
START_TEST(forcing_changes_what_follows)
{
    enum { LAYER = 1, N = 3 };
    const fal_site site = (fal_site)_i;
    const bool per_layer = fal_site_get(site)->per_layer;
    const int layer = per_layer ? LAYER : 0;
    fal_rig g = fal_rig_open(8);
    fal_recorder plain = fal_recorder_make(g.config, N), changed = fal_recorder_make(g.config, N),
                 own = fal_recorder_make(g.config, N);
    fal_recorder_want_all(&plain);
    fal_recorder_want_all(&changed);
    fal_recorder_want_all(&own);
    const int32_t next = fal_rig_run_fresh(&g, &plain, three, N);

    /* Its own values put in change nothing. */
    own.force_site = changed.force_site = _i;
    own.force_layer = changed.force_layer = per_layer ? LAYER : -1;
    own.force = plain.data[site][layer];
    ck_assert_int_eq(fal_rig_run_fresh(&g, &own, three, N), next);
    fal_recorder_same(&plain, &own, FAL_SITE_logits, 0);

    const size_t n = (size_t)N * fal_rig_row_bytes(g.config, _i) / 4;
    unsigned char *force = malloc(n * 4);
    ck_assert_ptr_nonnull(force);
    for (size_t i = 0; i < n; i++) {
        if (fal_site_get(site)->is_i32) {
            int32_t id;
            memcpy(&id, plain.data[site][layer] + 4 * i, 4);
            id = (id + 1) % g.config->n_expert;
            memcpy(force + 4 * i, &id, 4);
        } else {
            float v;
            memcpy(&v, plain.data[site][layer] + 4 * i, 4);
            v = 1.5f * v + (i % 2 ? 0.25f : 0.0f);
            memcpy(force + 4 * i, &v, 4);
        }
    }
    changed.force = force;
    const int32_t changed_next = fal_rig_run_fresh(&g, &changed, three, N);
    for (int l = 0; l < g.config->n_layer; l++)
        for (int s = 0; s < FAL_N_SITES; s++) {
            const bool s_layer = fal_site_get((fal_site)s)->per_layer;
            if (!s_layer && l > 0) continue;
            bool before = s <= _i;
            if (per_layer && s_layer && l != LAYER) before = l < LAYER;
            if (before) fal_recorder_same(&plain, &changed, s, l);
        }
    if (site == FAL_SITE_logits) {
        const float *last = (const float *)(const void *)force + 2 * g.config->n_vocab;
        ck_assert_int_eq(changed_next, fal_rig_largest(last, g.config->n_vocab));
    } else {
        ck_assert_msg(fal_recorder_differs(&plain, &changed, FAL_SITE_logits, 0), "forcing %s changed nothing",
                      fal_site_get(site)->name);
    }
    free(force);
    fal_recorder_free(&own);
    fal_recorder_free(&changed);
    fal_recorder_free(&plain);
    fal_rig_close(&g);
}
END_TEST

/* Rule: when no tap wants them, final_norm and logits are computed for the last position, whose row may be forced. */
START_TEST(the_last_row_may_be_forced_unseen)
{
    enum { N = 3 };
    static const int32_t other[N] = { 7, 2047, 0 };
    static const fal_site sites[2] = { FAL_SITE_final_norm, FAL_SITE_logits };
    fal_rig g = fal_rig_open(8);
    fal_recorder seen = fal_recorder_make(g.config, N);
    fal_recorder_want_all(&seen);
    const int32_t want = fal_rig_run_fresh(&g, &seen, other, N);
    ck_assert_int_ne(fal_rig_run_fresh(&g, NULL, three, N), want);
    for (int i = 0; i < 2; i++) {
        /* Rows of the other request: the last one decides, the ones before it are spoilt. */
        const size_t bytes = fal_rig_row_bytes(g.config, (int)sites[i]);
        memset(seen.data[sites[i]][0], 0xFF, (N - 1) * bytes);
        fal_recorder r = fal_recorder_make(g.config, N);
        r.force_site = (int)sites[i];
        r.force_layer = -1;
        r.force = seen.data[sites[i]][0];
        ck_assert_int_eq(fal_rig_run_fresh(&g, &r, three, N), want);
    }
    fal_recorder_free(&seen);
    fal_rig_close(&g);
}
END_TEST

/* Rule: forced keys are what the cache keeps. Zero keys weigh all positions alike: attention is the mean of v. */
START_TEST(forced_keys_reach_the_cache)
{
    enum { N = 3 };
    fal_rig g = fal_rig_open(8);
    const int dim = g.config->head_dim, n_head = g.config->n_head, n_kv = g.config->n_head_kv;
    fal_recorder r = fal_recorder_make(g.config, N);
    fal_recorder_want_all(&r);
    r.force_site = FAL_SITE_k_rope;
    r.force_layer = 0;
    unsigned char *zeros = calloc(N, fal_rig_row_bytes(g.config, FAL_SITE_k_rope));
    ck_assert_ptr_nonnull(zeros);
    r.force = zeros;
    fal_rig_run(&g, &r, three, N);
    const float *v = fal_recorder_f32(&r, FAL_SITE_v, 0), *attn = fal_recorder_f32(&r, FAL_SITE_attn, 0);
    for (int t = 0; t < N; t++)
        for (int h = 0; h < n_head; h++)
            for (int d = 0; d < dim; d++) {
                double mean = 0.0;
                for (int p = 0; p <= t; p++) mean += (double)v[(p * n_kv + h / (n_head / n_kv)) * dim + d];
                mean /= t + 1;
                const double got = (double)attn[(t * n_head + h) * dim + d];
                ck_assert_msg(fabs(got - mean) <= 0x1p-23 * fabs(mean) + 1e-12, "attn[%d,%d,%d] is %a, expected %a", t,
                              h, d, got, mean);
            }
    free(zeros);
    fal_recorder_free(&r);
    fal_rig_close(&g);
}
END_TEST

/* Rule: pinned experts are taken, weights follow from the probabilities, and pinning the own choice changes nothing. */
START_TEST(pinned_routing_is_honoured)
{
    enum { N = 3 };
    fal_rig g = fal_rig_open(8);
    const int k = g.config->n_expert_used, n_expert = g.config->n_expert;
    int32_t pin[N * 64];
    ck_assert_int_le(k, 64);
    for (int t = 0; t < N; t++)
        for (int s = 0; s < k; s++) pin[t * k + s] = (n_expert - 1 - s + t) % n_expert;
    fal_recorder plain = fal_recorder_make(g.config, N), r = fal_recorder_make(g.config, N);
    fal_recorder_want_all(&plain);
    fal_recorder_want_all(&r);
    fal_rig_run_fresh(&g, &plain, three, N);
    r.pin = pin;
    fal_rig_run_fresh(&g, &r, three, N);
    ck_assert(fal_recorder_differs(&plain, &r, FAL_SITE_logits, 0));
    for (int l = 0; l < g.config->n_layer; l++) {
        ck_assert_mem_eq(r.data[FAL_SITE_expert_ids][l], pin, (size_t)(N * k) * sizeof *pin);
        const float *probs = fal_recorder_f32(&r, FAL_SITE_router_probs, l),
                    *weights = fal_recorder_f32(&r, FAL_SITE_expert_weights, l);
        for (int t = 0; t < N; t++) {
            double sum = 0.0;
            for (int s = 0; s < k; s++) sum += (double)probs[t * n_expert + pin[t * k + s]];
            for (int s = 0; s < k; s++) {
                const double want = (double)probs[t * n_expert + pin[t * k + s]] / sum;
                ck_assert(fabs((double)weights[t * k + s] - want) <= 0x1p-24 * want);
            }
        }
    }
    /* An expert that does not exist is refused, and the call leaves no position behind. */
    fal_error e = { 0 };
    fal_rig_ok(ref->reset(g.session, &e), &e);
    pin[N * k - 1] = n_expert;
    fal_recorder bad = fal_recorder_make(g.config, N);
    bad.pin = pin;
    ck_assert_int_eq(fal_rig_try(&g, &bad, three, N, NULL, &e), FAL_ERR_INPUT);
    fal_recorder clean = fal_recorder_make(g.config, N);
    clean.wanted[FAL_SITE_logits] = true;
    fal_rig_run(&g, &clean, three, N);
    fal_recorder_same(&plain, &clean, FAL_SITE_logits, 0);
    fal_recorder_free(&clean);
    fal_recorder_free(&r);
    fal_recorder_free(&plain);
    fal_rig_close(&g);
}
END_TEST

/* ---- refusals, failures, memory ---------------------------------------------------------------------------------- */

/* Rule: requests that no backend may answer are refused, leave *next alone and change no state. */
START_TEST(preconditions_are_refused)
{
    fal_rig g = fal_rig_open(4);
    const int n_vocab = g.config->n_vocab;
    const struct { int32_t tokens[6]; int n; } bad[] = {
        { { 1 }, 0 }, { { 1 }, -1 }, { { 1, -1 }, 2 }, { { n_vocab }, 1 }, { { 1, 2, 3, 4, 5 }, 5 },
        { { INT32_MIN }, 1 },
    };
    fal_recorder fresh = fal_recorder_make(g.config, 3), after = fal_recorder_make(g.config, 3);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = true;
    fal_rig_run_fresh(&g, &fresh, three, 3);
    fal_error e = { 0 };
    fal_rig_ok(ref->reset(g.session, &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_error f = { 0 };
        int32_t next = -7;
        ck_assert_int_eq(ref->forward(g.session, bad[i].tokens, bad[i].n, NULL, &next, &f), FAL_ERR_INPUT);
        ck_assert(f.message[0] && next == -7);
    }
    fal_error f = { 0 };
    ck_assert_int_eq(ref->forward(g.session, NULL, 1, NULL, NULL, &f), FAL_ERR_INPUT);
    fal_rig_run(&g, &after, three, 3);
    fal_recorder_same(&fresh, &after, FAL_SITE_logits, 0);
    /* One position is left: two more tokens are too many, one is not. */
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->forward(g.session, three, 2, NULL, NULL, &f), FAL_ERR_INPUT);
    fal_rig_run(&g, NULL, three, 1);
    fal_recorder_free(&fresh);
    fal_recorder_free(&after);

    fal_session *none = NULL;
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->session_open(g.ctx, g.model, 0, &none, &f), FAL_ERR_INPUT);
    f = (fal_error) { 0 };
    ck_assert_int_eq(ref->session_open(g.ctx, NULL, 4, &none, &f), FAL_ERR_INPUT);
    ck_assert_ptr_null(none);
    fal_rig_close(&g);
}
END_TEST

/* Rule: when a tap fails, the pass ends with that failure and the positions are those from before. */
START_TEST(a_failing_tap_ends_the_pass)
{
    fal_rig g = fal_rig_open(4);
    fal_recorder fresh = fal_recorder_make(g.config, 3), failing = fal_recorder_make(g.config, 3),
                 after = fal_recorder_make(g.config, 3);
    fresh.wanted[FAL_SITE_logits] = after.wanted[FAL_SITE_logits] = true;
    fal_rig_run_fresh(&g, &fresh, three, 3);
    fal_error e = { 0 };
    fal_rig_ok(ref->reset(g.session, &e), &e);
    failing.wanted[FAL_SITE_moe_act] = true;
    failing.fail_at = FAL_SITE_moe_act;
    ck_assert_int_eq(fal_rig_try(&g, &failing, three, 3, NULL, &e), FAL_ERR_OUTPUT);
    ck_assert_str_eq(e.message, "told to fail");
    fal_rig_run(&g, &after, three, 3);
    fal_recorder_same(&fresh, &after, FAL_SITE_logits, 0);
    fal_recorder_free(&fresh);
    fal_recorder_free(&failing);
    fal_recorder_free(&after);
    fal_rig_close(&g);
}
END_TEST

/* Rule: the tensors are the file's, and a closed session leaves no memory behind. */
START_TEST(tensors_and_memory)
{
    fal_rig g = fal_rig_open(4);
    for (int i = 0; i < g.model->n_tensors; i++) {
        const fal_tensor *t = g.model->tensors[i];
        unsigned char *got = malloc(t->nbytes);
        ck_assert_ptr_nonnull(got);
        int uploads = 0;
        fal_error e = { 0 };
        fal_rig_ok(ref->read_tensor(g.session, i, got, &uploads, &e), &e);
        ck_assert_int_eq(uploads, 1);
        ck_assert_mem_eq(got, t->data, t->nbytes);
        free(got);
    }
    fal_error e = { 0 };
    int uploads = 0;
    unsigned char byte;
    ck_assert_int_eq(ref->read_tensor(g.session, -1, &byte, &uploads, &e), FAL_ERR_INPUT);
    e = (fal_error) { 0 };
    ck_assert_int_eq(ref->read_tensor(g.session, g.model->n_tensors, &byte, &uploads, &e), FAL_ERR_INPUT);
    fal_rig_run(&g, NULL, three, 3);
    fal_memory m, s;
    ref->memory(g.ctx, &m);
    ref->session_memory(g.session, &s);
    ck_assert_uint_eq(m.live_bytes, s.kv_bytes + s.scratch_bytes);
    ck_assert_uint_gt(m.peak_bytes, m.live_bytes);
    ref->session_close(g.session);
    g.session = NULL;
    ref->memory(g.ctx, &m);
    ck_assert_uint_eq(m.live_bytes + m.kv_bytes + m.scratch_bytes, 0);
    fal_rig_close(&g);
}
END_TEST

Suite *fal_suite_forward_taps(void)
{
    Suite *s = suite_create("forward_taps");
    TCase *c = tcase_create("forward_taps");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, forcing_changes_what_follows, 0, FAL_N_SITES);
    tcase_add_test(c, forced_keys_reach_the_cache);
    tcase_add_test(c, pinned_routing_is_honoured);
    tcase_add_test(c, preconditions_are_refused);
    tcase_add_test(c, a_failing_tap_ends_the_pass);
    tcase_add_test(c, tensors_and_memory);
    tcase_add_test(c, the_last_row_may_be_forced_unseen);
    suite_add_tcase(s, c);
    return s;
}
