/* Equal requests must give equal bytes: within one sequence, and in a second process. */
#include "falsifiers/judgement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t bytes, differ;
    bool any_nonzero, has_many, varies;
} bytes_count;

/* An invalid element counts with all its bytes: poison equals poison, and that is no agreement. */
static void count_bytes(const fal_evidence_in *in, int request, const char *name, const fal_obs_tensor *a,
                        const fal_obs_tensor *b, bytes_count *c, fal_verdict *out)
{
    const size_t size = fal_dtype_size(a->dtype);
    const fal_row ra = fal_row_whole(a), rb = fal_row_whole(b);
    c->bytes += a->n * size;
    if (!c->any_nonzero) c->any_nonzero = !fal_all_zero(ra);
    for (size_t i = 0; i < a->n; i++) {
        const unsigned char *const p = (const unsigned char *)a->data + i * size, *const q =
                                                                                      (const unsigned char *)b->data +
                                                                                      i * size;
        const double va = fal_row_at(ra, i), vb = fal_row_at(rb, i);
        size_t here = 0;
        for (size_t k = 0; k < size; k++) here += p[k] != q[k];
        if (!fal_row_valid(ra, i) || !fal_row_valid(rb, i)) here = size;
        if (here > 0 && c->differ == 0) fal_worst_at(out, in->got, request, name, a, i, va, vb);
        c->differ += here;
    }
}

/* Compares the taps of request a of got with request b of other. */
static bool compare_taps(const fal_evidence_in *in, const fal_tap_list *list, int a, const fal_observation *other,
                         fal_side side, int b, int n_tokens, bytes_count *c, fal_verdict *out)
{
    for (int i = 0; i < list->n; i++) {
        const fal_tap *const tap = &list->items[i];
        const fal_obs_tensor *const x = fal_tap_of(out, in->got, FAL_SIDE_GOT, a, tap, n_tokens);
        const fal_obs_tensor *const y = x ? fal_tap_of(out, other, side, b, tap, n_tokens) : NULL;
        if (!y) return false;
        count_bytes(in, a, tap->name, x, y, c, out);
        if (n_tokens >= 2 && !c->varies) {
            c->has_many = true;
            c->varies = !fal_rows_constant(x, x->n / (size_t)n_tokens);
        }
    }
    fal_continuation g, h;
    if (in->check->n_greedy <= 0) return true;
    if (!fal_continuation_of(in->got, a, &g) || !fal_continuation_of(other, b, &h))
        return fal_stop(out, FAL_CRASHED, "the observer did not deliver the greedy continuation of request %d", a);
    for (int i = 0; i < g.n || i < h.n; i++) {
        const bool same = i < g.n && i < h.n && fal_continuation_at(&g, i) == fal_continuation_at(&h, i);
        c->bytes += sizeof(int32_t);
        if (same) continue;
        c->differ += sizeof(int32_t);
        fal_detail(out, "greedy token %d of request %d differs\n", i, a);
    }
    return true;
}

static bool same_forward(const fal_evidence_in *in, bytes_count *c, fal_verdict *out)
{
    fal_tap_list list = { 0 };
    int n_requests = 0, n = 0, m = 0;
    bool ok = fal_requests_of(in, &n_requests, out) && fal_taps_make(in, "logits", &list, out);
    for (int a = 0; a < n_requests && ok; a++) {
        const json_t *ta, *tb;
        ok = fal_tokens_of(in, a, &ta, &n, out);
        for (int b = a + 1; b < n_requests && ok; b++) {
            ok = fal_tokens_of(in, b, &tb, &m, out);
            if (ok && json_equal(ta, tb)) ok = compare_taps(in, &list, a, in->got, FAL_SIDE_GOT, b, n, c, out);
        }
        if (!ok || !in->again || a >= in->again->n_requests) continue;
        tb = json_object_get(fal_about_request(in->again, a), "tokens");
        if (!json_equal(ta, tb))
            ok = fal_stop(out, FAL_ERROR, "the second observation ran other tokens in request %d", a);
        if (ok) ok = compare_taps(in, &list, a, in->again, FAL_SIDE_AGAIN, a, n, c, out);
    }
    free(list.items);
    return ok;
}

static bool compare_outputs(const fal_op_case *oc, int a, const fal_observation *other, int b, bytes_count *c)
{
    for (const char *const *arg = fal_op_outputs(fal_op_of(oc, a)); *arg; arg++) {
        char name[48];
        snprintf(name, sizeof name, "out.%s", *arg);
        const fal_obs_tensor *const x = fal_op_out(oc, a, *arg);
        const fal_obs_tensor *const y =
            x ? fal_need(oc->out, other, other == oc->in->got ? FAL_SIDE_GOT : FAL_SIDE_AGAIN, b, name) : NULL;
        if (!y || !fal_need_shape(oc->out, FAL_SIDE_AGAIN, name, y, x->dtype, x->n_dims, x->ne)) return false;
        count_bytes(oc->in, a, name, x, y, c, oc->out);
    }
    return true;
}

static bool same_op(const fal_evidence_in *in, bytes_count *c, fal_verdict *out)
{
    fal_op_case oc;
    if (!fal_op_open(in, out, &oc)) return false;
    for (int a = 0; a < oc.n_requests; a++) {
        for (int b = a + 1; b < oc.n_requests; b++)
            if (fal_op_same_request(&oc, a, b) && !compare_outputs(&oc, a, in->got, b, c)) return false;
        if (in->again && a < in->again->n_requests && !compare_outputs(&oc, a, in->again, a, c)) return false;
    }
    return true;
}

void fal_judge_same_bits(const fal_evidence_in *in, fal_verdict *out)
{
    bytes_count c = { 0 };
    const bool is_op = in->check->observe == FAL_OBSERVE_OP;
    if (in->check->again && !in->again) {
        fal_stop(out, FAL_ERROR, "the check asks for a second observation, but there is none");
        return;
    }
    if (!(is_op ? same_op(in, &c, out) : same_forward(in, &c, out))) return;
    fal_give(out, (double)c.differ, c.bytes,
             c.bytes ? "%llu of %llu bytes differ or belong to non-finite elements"
                     : "no two requests are equal and there is no second observation",
             (unsigned long long)c.differ, (unsigned long long)c.bytes);
    if (c.bytes == 0) return;
    if (!c.any_nonzero && !(is_op && fal_zeros_expected(in))) fal_doubt(out, "everything compared is zero");
    if (c.has_many && !c.varies)
        fal_doubt(out, "the outputs are the same at every position, so they do not depend on the tokens");
}
