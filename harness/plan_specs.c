/* Which observations the cases need, each made once: equal requests on one backend are merged, and their taps
   united. */
#include "harness/fixture.h"
#include "harness/plan_parts.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_params(const fal_params *a, const fal_params *b)
{
    if (a->n_params != b->n_params) return false;
    for (int i = 0; i < a->n_params; i++) {
        const fal_param *x = &a->params[i], *y = &b->params[i];
        if (!same_text(x->name, y->name) || !same_text(x->text, y->text)) return false;
        if (memcmp(&x->number, &y->number, sizeof x->number) != 0) return false; /* by bits: -0 is not 0, NaN is NaN */
    }
    return true;
}

static bool same_requests(const fal_spec *a, const fal_spec *b)
{
    if (a->n_requests != b->n_requests) return false;
    for (int r = 0; r < a->n_requests; r++) {
        if (a->n_tokens[r] != b->n_tokens[r]) return false;
        if (a->tokens[r] != b->tokens[r] &&
            memcmp(a->tokens[r], b->tokens[r], (size_t)a->n_tokens[r] * sizeof(int32_t)) != 0)
            return false;
    }
    return true;
}

/* A number that is equal for all specs that can_share; it only spares comparisons. */
static uint64_t key_of(const fal_plan_spec *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    const int numbers[] = { (int)s->spec.kind,
                            s->attempt,
                            s->inputs,
                            s->pin,
                            s->spec.decode,
                            s->spec.n_requests,
                            s->spec.n_requests ? s->spec.n_tokens[0] : 0,
                            s->spec.n_seeds,
                            s->spec.shape.n_params };
    const unsigned char *bytes = (const unsigned char *)numbers;
    for (size_t i = 0; i < sizeof numbers; i++) h = (h ^ bytes[i]) * 0x100000001b3u;
    const char *const texts[] = { s->spec.backend, s->spec.variant, s->spec.op, s->spec.fill, s->spec.spoil };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (const char *c = texts[i] ? texts[i] : "-";; c++) {
            h = (h ^ (unsigned char)*c) * 0x100000001b3u;
            if (!*c) break;
        }
    for (int i = 0; i < s->spec.shape.n_params; i++) {
        uint64_t bits;
        memcpy(&bits, &s->spec.shape.params[i].number, sizeof bits);
        h = (h ^ bits) * 0x100000001b3u;
    }
    return h;
}

/* Whether one observation can serve both, after its taps and greedy tokens are united. */
static bool can_share(const fal_plan_spec *x, const fal_plan_spec *y)
{
    const fal_spec *a = &x->spec, *b = &y->spec;
    if (x->key != y->key || a->kind != b->kind || x->attempt != y->attempt || x->inputs != y->inputs ||
        x->pin != y->pin)
        return false;
    if (!same_text(a->backend, b->backend) || !same_text(a->variant, b->variant) || !same_text(a->device, b->device))
        return false;
    if (!same_text(a->model, b->model) || a->decode != b->decode || !same_requests(a, b)) return false;
    /* a continuation does not change the prompt's tensors, but two lengths of it would confuse the judgement of one */
    if (a->n_greedy != b->n_greedy && a->n_greedy != 0 && b->n_greedy != 0) return false;
    if (!same_text(a->op, b->op) || !same_text(a->fill, b->fill) || !same_text(a->spoil, b->spoil)) return false;
    if (!same_params(&a->shape, &b->shape) || !same_params(&a->with, &b->with) || !same_params(&a->then, &b->then))
        return false;
    return a->n_seeds == b->n_seeds &&
           (a->n_seeds == 0 || memcmp(a->seeds, b->seeds, (size_t)a->n_seeds * sizeof *a->seeds) == 0);
}

static bool add_taps(fal_plan_parts *p, fal_spec *to, const char *const *taps, int n_taps)
{
    int n_new = 0;
    for (int i = 0; i < n_taps; i++) {
        bool there = false;
        for (int k = 0; k < to->n_taps && !there; k++) there = strcmp(to->taps[k], taps[i]) == 0;
        n_new += !there;
    }
    if (n_new == 0) return true;
    const char **all = fal_arena_take(&p->arena, (size_t)(to->n_taps + n_new), sizeof *all);
    if (!all) return false;
    int n = to->n_taps;
    if (n) memcpy(all, to->taps, (size_t)n * sizeof *all);
    for (int i = 0; i < n_taps; i++) {
        bool there = false;
        for (int k = 0; k < n && !there; k++) there = strcmp(all[k], taps[i]) == 0;
        if (!there) all[n++] = taps[i];
    }
    to->taps = all;
    to->n_taps = n;
    return true;
}

static const char *label(fal_plan_parts *p, const fal_spec *s, const char *what)
{
    fal_text t = { 0 };
    fal_text_addf(&t, "%s%s%s-%s-%s%s%s", s->backend, s->variant[0] ? "__" : "", s->variant,
                  fal_observe_kind_name(s->kind), s->op ? s->op : "", s->op ? "-" : "", what);
    const char *name = t.failed ? NULL : fal_plan_text(p, "%.100s", fal_text_str(&t));
    fal_text_free(&t);
    for (char *c = (char *)(uintptr_t)name; c && *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-", *c)) *c = '-';
    return name;
}

/* Index of an observation that serves s, shared or new; -1 when memory ran out. taps are those of the asking case. */
static int add(fal_plan_parts *p, fal_plan_spec *s, const char *const *taps, int n_taps, const char *what)
{
    int i = 0;
    s->key = key_of(s);
    while (i < p->n_specs && !can_share(&p->specs[i], s)) i++;
    if (i == p->n_specs) {
        if (!fal_plan_grow((void **)&p->specs, p->n_specs, &p->cap_specs, sizeof *p->specs)) return -1;
        p->specs[i] = *s;
        p->specs[i].label = label(p, &s->spec, what);
        if (!p->specs[i].label) return -1;
        p->n_specs++;
    }
    fal_spec *shared = &p->specs[i].spec;
    if (s->spec.n_greedy > shared->n_greedy) shared->n_greedy = s->spec.n_greedy;
    return add_taps(p, shared, taps, n_taps) ? i : -1;
}

/* Sites to record for a check: its own, or what its judgement looks at when the contract names none. Expert sets are
   judged with the logits that decided them. */
static int taps_of(const fal_check *c, const char **taps, int cap)
{
    int n = 0;
    for (; n < c->n_taps && n < cap - 2; n++) taps[n] = c->taps[n];
    const bool sets = strcmp(c->judge, "router_sets") == 0 || fal_params_number(&c->with, "excuse_flips", 0) > 0;
    if (sets) {
        taps[n++] = "blk.*.expert_ids";
        taps[n++] = "blk.*.router_logits";
    } else if (n == 0) {
        taps[n++] = strcmp(c->judge, "weights_sum") == 0 ? "blk.*.expert_weights" : "logits";
    }
    return n;
}

static fal_status add_forward(fal_plan_parts *p, fal_case *k, const fal_tokens *tokens, int n_tokens, fal_error *err)
{
    const fal_check *c = k->check;
    const char *taps[64], *all[] = { "all" }, *ids[] = { "blk.*.expert_ids" };
    if (c->n_taps > 62)
        return fal_fail(err, FAL_ERR_INPUT, NULL, "%s:%d: %s: %d taps, at most 62", k->contract->path, c->place.line,
                        k->id, c->n_taps);
    int n_taps = taps_of(c, taps, 64);
    if (p->in->options->no_taps) {
        taps[0] = "none";
        n_taps = 1;
        k->untapped = strcmp(c->judge, "greedy") != 0; /* a continuation is recorded without taps */
    }
    const int32_t **lists = fal_arena_take(&p->arena, (size_t)n_tokens, sizeof *lists);
    int *lengths = fal_arena_take(&p->arena, (size_t)n_tokens, sizeof *lengths);
    if (!lists || !lengths) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    for (int i = 0; i < n_tokens; i++) {
        lists[i] = tokens[i].tokens;
        lengths[i] = tokens[i].n_tokens;
    }

    /* The reference, or the variant of it that performs the declared arithmetic of the one on trial. */
    fal_plan_spec gold = { .inputs = -1,
                           .pin = -1,
                           .spec = { .kind = FAL_OBSERVE_FORWARD,
                                     .backend = "reference",
                                     .variant = fal_params_text(&c->with, "mirror", ""),
                                     .device = "",
                                     .model = p->in->model,
                                     .tokens = lists,
                                     .n_tokens = lengths,
                                     .n_requests = n_tokens } };
    /* The reference comes first: teacher and pinned runs read its file. */
    fal_plan_spec got = gold;
    got.spec.kind = c->observe;
    if (c->observe == FAL_OBSERVE_TEACHER) got.inputs = add(p, &gold, all, 1, k->what);
    if (c->observe == FAL_OBSERVE_PINNED) got.pin = add(p, &gold, ids, 1, k->what);
    bool ok =
        (c->observe != FAL_OBSERVE_TEACHER || got.inputs >= 0) && (c->observe != FAL_OBSERVE_PINNED || got.pin >= 0);
    if (ok && c->against == FAL_AGAINST_REFERENCE && !k->untapped) {
        fal_plan_spec want = gold;
        want.spec.n_greedy = c->n_greedy;
        k->want = add(p, &want, taps, n_taps, k->what);
        ok = k->want >= 0;
    }

    const int target = (int)(strcmp(k->backend, "reference") != 0);
    got.spec.backend = k->backend;
    got.spec.variant = k->variant;
    for (int i = 0; target && i < p->n_targets; i++)
        if (strcmp(p->targets[i].probe->backend->name, k->backend) == 0) got.spec.device = p->targets[i].selector;
    got.spec.decode = c->decode;
    got.spec.n_greedy = c->n_greedy;
    if (ok) ok = (k->got = add(p, &got, taps, n_taps, k->what)) >= 0;

    const bool one_shot = c->decode && c->against == FAL_AGAINST_SELF && !c->again;
    if (ok && (one_shot || c->again)) {
        fal_plan_spec again = got;
        again.spec.n_taps = 0;
        if (one_shot) {
            again.spec.decode = false; /* the same prompt at once, to hold token by token against */
        } else {
            again.attempt = 1;
            again.spec.n_requests = 1;
        }
        k->again = add(p, &again, taps, n_taps, k->what);
        ok = k->again >= 0;
    }
    return ok ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
}

/* The parameters of the inputs or the session, without those that only plan and judgement read, so that more cases
   share. */
static fal_params inputs_of(fal_plan_parts *p, const fal_params *with)
{
    fal_param *kept = fal_arena_take(&p->arena, (size_t)with->n_params, sizeof *kept);
    int n = 0;
    for (int i = 0; kept && i < with->n_params; i++) {
        const char *name = with->params[i].name;
        if (fal_fixture_knows(name) || strcmp(name, "context") == 0 || strcmp(name, "runs") == 0 ||
            strcmp(name, "prompt") == 0 || strcmp(name, "dry") == 0 || strcmp(name, "tool") == 0) kept[n++] = with->params[i];
    }
    return (fal_params){ kept, n };
}

static fal_status add_other(fal_plan_parts *p, fal_case *k, fal_error *err)
{
    const fal_check *c = k->check;
    fal_plan_spec got = { .inputs = -1,
                          .pin = -1,
                          .spec = { .kind = c->observe,
                                    .backend = k->backend,
                                    .variant = k->variant,
                                    .device = "",
                                    .op = c->op,
                                    .model = k->uses_model ? p->in->model : NULL,
                                    .with = inputs_of(p, &c->with),
                                    .then = c->then,
                                    .seeds = c->seeds,
                                    .n_seeds = c->n_seeds } };
    if (c->n_shapes) got.spec.shape = c->shapes[0];
    if (c->n_fills) got.spec.fill = c->fills[0];
    if (c->n_spoil) got.spec.spoil = c->spoil[0];
    bool ok = true;
    if (c->against == FAL_AGAINST_REFERENCE) {
        fal_plan_spec want = got;
        want.spec.backend = "reference";
        want.spec.variant = fal_params_text(&c->with, "mirror", "");
        k->want = add(p, &want, NULL, 0, k->what);
        ok = k->want >= 0;
    }
    for (int i = 0; i < p->n_targets; i++)
        if (strcmp(p->targets[i].probe->backend->name, k->backend) == 0 && strcmp(k->backend, "reference") != 0)
            got.spec.device = p->targets[i].selector;
    if (strcmp(k->backend, "candidate") == 0) got.spec.candidate = p->in->options->candidate;
    if (ok) ok = (k->got = add(p, &got, NULL, 0, k->what)) >= 0;
    if (ok && c->again) {
        got.attempt = 1;
        ok = (k->again = add(p, &got, NULL, 0, k->what)) >= 0;
    }
    return ok ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
}

fal_status fal_plan_add_specs(fal_plan_parts *p, fal_case *k, const fal_tokens *tokens, int n_tokens, fal_error *err)
{
    return fal_plan_is_forward(k->check->observe) ? add_forward(p, k, tokens, n_tokens, err) : add_other(p, k, err);
}

/* ---- order -------------------------------------------------------------------------------------------------------- */

static bool same_crew(const fal_plan_spec *a, const fal_plan_spec *b)
{
    return a->attempt == b->attempt && same_text(a->spec.backend, b->spec.backend) &&
           same_text(a->spec.variant, b->spec.variant);
}

static void move(int *index, const int *to)
{
    if (*index >= 0) *index = to[*index];
}

void fal_plan_put_in_order(fal_plan_parts *p, fal_plan_spec *ordered, const int *to)
{
    for (int i = 0; i < p->n_specs; i++) {
        ordered[to[i]] = p->specs[i];
        move(&ordered[to[i]].inputs, to);
        move(&ordered[to[i]].pin, to);
    }
    for (int i = 0; i < p->n_cases; i++) {
        move(&p->cases[i].got, to);
        move(&p->cases[i].want, to);
        move(&p->cases[i].again, to);
    }
    free(p->specs);
    p->specs = ordered;
    p->cap_specs = p->n_specs + 1;
}

fal_status fal_plan_group_specs(fal_plan_parts *p, fal_error *err)
{
    const int n = p->n_specs;
    int n_placed = 0, *to = calloc((size_t)n + 1, sizeof *to);
    fal_plan_spec *ordered = calloc((size_t)n + 1, sizeof *ordered);
    if (!to || !ordered) {
        free(to);
        free(ordered);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
    }
    for (int i = 0; i < n; i++) to[i] = -1;
    /* what others start from is the reference's, and that starts from nothing */
    for (int i = 0; i < n; i++)
        if (strcmp(p->specs[i].spec.backend, "reference") == 0 && p->specs[i].inputs < 0 && p->specs[i].pin < 0)
            to[i] = n_placed++;
    for (int first = 0; first < n; first++) {
        if (to[first] >= 0) continue;
        for (int i = first; i < n; i++)
            if (to[i] < 0 && same_crew(&p->specs[first], &p->specs[i])) to[i] = n_placed++;
    }
    fal_plan_put_in_order(p, ordered, to);
    free(to);
    return FAL_OK;
}
