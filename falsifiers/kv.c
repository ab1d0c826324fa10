/* The KV cache: feeding token by token, prompts that share a beginning, and what kv_store leaves in its slots. */
#include "falsifiers/judgement.h"

#include <stdlib.h>

/* ---- decode_matches_prefill ------------------------------------------------------------------------------------ */

/* about.asked.decode is written only where it is true. */
static bool fed_by_token(const fal_observation *o)
{
    return json_is_true(json_object_get(json_object_get(o->about, "asked"), "decode"));
}

void fal_judge_decode_matches_prefill(const fal_evidence_in *in, fal_verdict *out)
{
    const fal_observation *const other = fal_other(in, out);
    int n_tokens = 0;
    if (!other || !fal_tokens_of(in, 0, NULL, &n_tokens, out)) return;
    fal_judge_rows(in, fal_rel_l2, false, out);
    if (!out->has_value) return;
    if (n_tokens < 2) fal_doubt(out, "a prompt of one token is fed the same way in both observations");
    if (fed_by_token(in->got) == fed_by_token(other))
        fal_doubt(out, "both observations were fed %s, so one is only repeated",
                  fed_by_token(other) ? "token by token" : "at once");
}

/* ---- prefix ---------------------------------------------------------------------------------------------------- */

/* True when the shorter list is the beginning of the longer one. */
static bool is_prefix(const json_t *shorter, const json_t *longer)
{
    for (size_t i = 0; i < json_array_size(shorter); i++)
        if (!json_equal(json_array_get(shorter, i), json_array_get(longer, i))) return false;
    return json_array_size(shorter) < json_array_size(longer);
}

void fal_judge_prefix(const fal_evidence_in *in, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    fal_scan scan;
    int n_requests = 0, n_long = 0, n_short = 0;
    fal_scan_start(&scan, fal_rel_l2, false);
    if (!fal_requests_of(in, &n_requests, out) || !fal_taps_make(in, "logits", &list, out)) goto out;
    for (int a = 0; a < n_requests; a++)
        for (int b = 0; b < n_requests; b++) {
            const json_t *long_tokens, *short_tokens;
            if (!fal_tokens_of(in, a, &long_tokens, &n_long, out) ||
                !fal_tokens_of(in, b, &short_tokens, &n_short, out))
                goto out;
            if (a == b || !is_prefix(short_tokens, long_tokens)) continue;
            for (int i = 0; i < list.n; i++) {
                const fal_tap *const tap = &list.items[i];
                /* rows of the short request are looked up in the long one, which so takes the part of the truth */
                fal_pair pair = { .n_rows = (size_t)n_short, .row = (size_t)tap->sub * (size_t)tap->width };
                pair.got = fal_tap_of(out, in->got, FAL_SIDE_GOT, b, tap, n_short);
                pair.want = pair.got ? fal_tap_of(out, in->got, FAL_SIDE_GOT, a, tap, n_long) : NULL;
                if (!pair.want) goto out;
                fal_scan_pair(&scan, in, in->got, b, tap->name, &pair, NULL, out);
            }
        }
    fal_scan_finish(&scan, in, out);
    if (scan.rows == 0) fal_give(out, 0, 0, "no request's tokens are the beginning of another's");
out:
    free(list.items);
}

/* ---- stored ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t n, bad;
    bool any_nonzero, other_slots, changed;
} stored_count;

static bool count_stored(const fal_op_case *oc, int r, const char *arg, const char *cache_arg, const char *out_name,
                         stored_count *c)
{
    const fal_obs_tensor *const src = fal_op_in(oc, r, arg), *const before = src ? fal_op_in(oc, r, cache_arg) : NULL;
    const fal_obs_tensor *const after = before ? fal_op_out(oc, r, cache_arg) : NULL;
    if (!after) return false;
    const size_t n_tokens = (size_t)src->ne[0], slot = src->n / (n_tokens ? n_tokens : 1);
    const double first_pos = fal_op_number(oc, r, "first_pos", 0);
    const double n_ctx = before->ne[0] > 0 ? (double)before->ne[0] : 0;
    if (src->dtype != FAL_DTYPE_F32 || !(first_pos >= 0) || !(first_pos + (double)n_tokens <= n_ctx) ||
        before->n != (size_t)n_ctx * slot)
        return fal_stop(oc->out, FAL_ERROR, "request %d: %s does not fit into %s at first_pos %g", r, arg, cache_arg,
                        first_pos);
    const size_t from = (size_t)first_pos * slot, to = from + src->n;
    for (size_t i = 0; i < after->n; i++) {
        const bool new_slot = i >= from && i < to;
        const fal_row want = new_slot ? fal_row_part(src, i - from, 1) : fal_row_part(before, i, 1),
                      got = fal_row_part(after, i, 1);
        const double w = fal_row_at(want, 0);
        size_t first;
        c->n++;
        if (!new_slot) c->other_slots = true;
        if (!(w >= 0 && w <= 0)) c->any_nonzero = true;
        if (!fal_same_bytes(want, fal_row_part(before, i, 1))) c->changed = true;
        if (fal_bits_different(got, want, &first) > 0 && c->bad++ == 0)
            fal_worst_at(oc->out, oc->in->got, r, out_name, after, i, fal_row_at(got, 0), w);
    }
    return true;
}

void fal_judge_stored(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case oc;
    stored_count c = { 0 };
    if (!fal_op_open(in, out, &oc) || !fal_op_is(&oc, "kv_store")) return;
    for (int r = 0; r < oc.n_requests; r++)
        if (!count_stored(&oc, r, "k", "k_cache", "out.k_cache", &c) ||
            !count_stored(&oc, r, "v", "v_cache", "out.v_cache", &c))
            return;
    fal_give(out, (double)c.bad, c.n, "%llu of %llu cache elements are not what they should be%s",
             (unsigned long long)c.bad, (unsigned long long)c.n,
             c.other_slots ? "" : " (every slot is new: nothing shows that other slots are left alone)");
    if (c.n > 0 && !c.changed && !fal_zeros_expected(in))
        fal_doubt(out, "the cache held these values already, so a kernel that stores nothing would pass");
}
