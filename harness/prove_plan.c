/* The plan of a proof: which cases can show which mutant, and the observations that they share. */
#include "harness/prove.h"

#include "harness/spoil.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

/* Most tokens of a forward pass. Faults that need more are shown by single operations, and so is a fault in a source, for
   which a few short passes stand for the rest. */
enum { MOST_TOKENS = 64, MOST_OF_SOURCE = 24 };
/* Most positions before the token of a single attention. The fused kernel gives a warp a second tile of positions from 2,048 on;
   what is longer than that only takes longer. */
enum { MOST_PAST = 4096 };

/* Whether a case calls the operation, with weights of the type that matters. */
static bool calls(const fal_mutant *m, const fal_check *c)
{
    if (!m->op || !c->op) return false;
    const char *then = fal_params_text(&c->then, "op", NULL);
    if (strcmp(m->op, "*") != 0 && strcmp(m->op, c->op) != 0 && !(then && strcmp(m->op, then) == 0)) return false;
    if (!m->type || c->n_shapes == 0) return true;
    const char *type = fal_params_text(&c->shapes[0], "type", NULL);
    return !type || strcmp(type, m->type) == 0;
}

/* A fused path shows few of its sites, and mostly not those that a fault needs; all have logits. */
static bool flows_in(const fal_mutant *m, const char *variant)
{
    return strcmp(variant, "") == 0 || strcmp(variant, "cpu") == 0 || (m->at | m->needs) == 1u << FAL_SITE_logits;
}

/* Whether a case runs the kernels of a module of the fused path: those for one token, or those for several at once. A check of
   one way against the other runs both. */
static bool runs_module(const fal_mutant *m, const fal_check *c)
{
    if (c->observe == FAL_OBSERVE_OP) {
        const bool many = c->n_shapes > 0 && fal_params_number(&c->shapes[0], "n_tokens", 1) > 1;
        return many == m->of_prompt && (c->n_shapes == 0 || fal_params_number(&c->shapes[0], "first_pos", 0) < MOST_PAST);
    }
    return c->decode != m->of_prompt || (c->against == FAL_AGAINST_SELF && !c->again);
}

/* Forward passes that show a fault in a source. Only those of a variant's own are also asked for what is left of a token: the
   one that it chooses, and equal bits of equal requests. */
static bool shows_source(const fal_mutant *m, const fal_case *k)
{
    const fal_check *c = k->check;
    if (!m->module) return k->n_tokens <= MOST_OF_SOURCE && !c->again && c->n_greedy == 0;
    return runs_module(m, c) && k->n_tokens <= (c->again ? MOST_TOKENS : MOST_OF_SOURCE);
}

bool fal_prove_sees(const fal_mutant *m, const fal_case *k, const char *border_variant)
{
    if (k->blocked || !fal_mutant_fits(m, k->backend)) return false;
    const bool source = fal_mutant_is_source(m);
    const fal_check *c = k->check;
    /* what a whole model is taken through once, in whichever variant, stands for that backend */
    const bool once = c->observe == FAL_OBSERVE_REFUSAL || c->observe == FAL_OBSERVE_PRELOAD;
    const bool planted = source ? strcmp(k->variant, m->variant ? m->variant : "") == 0 : *k->variant || !*border_variant;
    if (!once && !planted) return false;
    switch (c->observe) {
    case FAL_OBSERVE_OP: return (source || m->before || m->after) && calls(m, c) && (!m->module || runs_module(m, c));
    case FAL_OBSERVE_FORWARD:
    case FAL_OBSERVE_TEACHER:
    case FAL_OBSERVE_PINNED:
        if (source) return shows_source(m, k);
        return m->flow && flows_in(m, k->variant) && k->n_tokens <= (c->against == FAL_AGAINST_SELF ? 2 * MOST_TOKENS : MOST_TOKENS);
    case FAL_OBSERVE_PRELOAD:
        return strcmp(c->judge, "device_bytes") == 0 ? m->lie == FAL_LIE_EXPANDS
                                                      : m->lie == FAL_LIE_UPLOADS_TWICE || m->lie == FAL_LIE_OTHER_BYTES;
    case FAL_OBSERVE_REFUSAL:
        /* a model file is refused by its reader, before a backend hears of it; what is left of it on the device is not */
        return (m->lie == FAL_LIE_ACCEPTS && strcmp(c->judge, "no_leak") != 0 && fal_spoil_kind_of(c->spoil[0]) != FAL_SPOIL_MODEL) ||
               (m->lie == FAL_LIE_LEAKS && strcmp(c->judge, "no_leak") == 0);
    case FAL_OBSERVE_THROUGHPUT:
    case FAL_OBSERVE_DEVICE_CODE:
    case FAL_OBSERVE_LAUNCHES:
    case FAL_OBSERVE_SANITIZE:
    case FAL_OBSERVE_TRIAL: return false;
    }
    return false;
}

/* ---- observations ------------------------------------------------------------------------------------------------- */

typedef struct {
    fal_prove_plan *out;
    int *gold, *trial; /* [source->n_specs] index of the copy, or -1 */
    int cap_cases, cap_specs;
    fal_case *cases;
    fal_plan_spec *specs;
    const char *code_dir;
    bool failed;
} maker;

static bool room(void **items, int n, int *cap, size_t size)
{
    if (n < *cap) return true;
    const int more = *cap ? 2 * *cap : 1024;
    void *grown = realloc(*items, (size_t)more * size);
    if (!grown) return false;
    *items = grown;
    *cap = more;
    return true;
}

static int add_spec(maker *k, const fal_plan_spec *s)
{
    fal_plan *p = &k->out->plan;
    if (!room((void **)&k->specs, p->n_specs, &k->cap_specs, sizeof *k->specs)) {
        k->failed = true;
        return -1;
    }
    k->specs[p->n_specs] = *s;
    return p->n_specs++;
}

/* The reference's side: made once for all mutants. */
static int gold(maker *k, int i)
{
    if (i < 0) return -1;
    if (k->gold[i] < 0) {
        fal_plan_spec s = k->out->source->specs[i];
        s.inputs = gold(k, s.inputs);
        s.pin = gold(k, s.pin);
        k->gold[i] = add_spec(k, &s);
    }
    return k->gold[i];
}

/* What is on trial, with the mutant in it. */
static int trial(maker *k, int i, const fal_mutant *m)
{
    if (i < 0) return -1;
    if (!m) return gold(k, i);
    if (k->trial[i] < 0) {
        fal_plan_spec s = k->out->source->specs[i];
        s.inputs = gold(k, s.inputs);
        s.pin = gold(k, s.pin);
        s.spec.mutant = m->id;
        s.spec.mutant_code = k->code_dir;
        k->trial[i] = add_spec(k, &s);
    }
    return k->trial[i];
}

static void add_case(maker *k, int i, const fal_mutant *m)
{
    fal_prove_plan *out = k->out;
    const int n = out->plan.n_cases;
    const int cap = k->cap_cases;
    if (!room((void **)&k->cases, n, &k->cap_cases, sizeof *k->cases)) {
        k->failed = true;
        return;
    }
    if (cap != k->cap_cases) {
        const fal_mutant **mutants = realloc(out->mutants, (size_t)k->cap_cases * sizeof *mutants);
        if (mutants) out->mutants = mutants;
        int *origin = realloc(out->origin, (size_t)k->cap_cases * sizeof *origin);
        if (origin) out->origin = origin;
        if (!mutants || !origin) {
            k->failed = true;
            return;
        }
    }
    fal_case c = out->source->cases[i];
    c.want = gold(k, c.want);
    c.got = trial(k, c.got, m);
    c.again = trial(k, c.again, m);
    k->cases[n] = c;
    out->mutants[n] = m;
    out->origin[n] = i;
    out->plan.n_cases++;
}

/* ---- choice ------------------------------------------------------------------------------------------------------- */

static bool chosen(const fal_mutant *m, const char *const *globs, int n)
{
    for (int i = 0; i < n; i++)
        if (fal_glob_match(globs[i], m->id)) return true;
    return n == 0;
}

static fal_status check_globs(const char *const *globs, int n_globs, fal_error *err)
{
    int n;
    const fal_mutant *all = fal_mutant_all(&n);
    for (int g = 0; g < n_globs; g++) {
        int hits = 0;
        const char **names = calloc((size_t)n, sizeof *names);
        if (!names) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
        for (int i = 0; i < n; i++) {
            names[i] = all[i].id;
            hits += fal_glob_match(globs[g], all[i].id);
        }
        const char *near = fal_nearest(globs[g], names, (size_t)n);
        free(names);
        if (hits == 0)
            return fal_fail(err, FAL_ERR_NOTHING, "'falsify prove --list' names all", "no mutant matches '%.80s'%s%s%s", globs[g],
                            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return FAL_OK;
}

/* On a CPU that has both, faults at the border are planted over the kernels for CPUs alone; elsewhere over all. */
static const char *border_variant(const fal_plan *p, const char *backend)
{
    for (int i = 0; i < p->n_cases; i++)
        if (strcmp(p->cases[i].backend, backend) == 0 && strcmp(p->cases[i].variant, "cpu") == 0) return "cpu";
    return "";
}

fal_status fal_prove_plan_make(const fal_plan *source, const char *const *globs, int n_globs, const char *code_dir,
                               fal_prove_plan *out, fal_error *err)
{
    int n_mutants, n_backends;
    const fal_mutant *all = fal_mutant_all(&n_mutants);
    const fal_backend *const *backends = fal_backend_all(&n_backends);
    fal_status st = check_globs(globs, n_globs, err);
    if (st) return st;
    *out = (fal_prove_plan){ .source = source, .plan = *source };
    out->plan.cases = NULL;
    out->plan.specs = NULL;
    out->plan.n_cases = out->plan.n_specs = out->plan.n_extents = 0;
    maker k = { .out = out, .code_dir = code_dir };
    const size_t n_specs = (size_t)source->n_specs + 1;
    k.gold = malloc(n_specs * sizeof *k.gold);
    k.trial = malloc(n_specs * sizeof *k.trial);
    k.failed = !k.gold || !k.trial;
    for (size_t i = 0; !k.failed && i < n_specs; i++) k.gold[i] = -1;
    for (int m = -1; m < n_mutants && !k.failed; m++) {
        if (m >= 0 && !chosen(&all[m], globs, n_globs)) continue;
        for (size_t i = 0; i < n_specs; i++) k.trial[i] = -1;
        for (int b = 0; b < n_backends; b++) {
            const char *variant = border_variant(source, backends[b]->name);
            for (int i = 0; i < source->n_cases && !k.failed; i++) {
                const fal_case *c = &source->cases[i];
                if (strcmp(c->backend, backends[b]->name) != 0) continue;
                bool seen = m >= 0 && fal_prove_sees(&all[m], c, variant);
                for (int j = 0; m < 0 && j < n_mutants && !seen; j++) seen = chosen(&all[j], globs, n_globs) && fal_prove_sees(&all[j], c, variant);
                if (seen) add_case(&k, i, m < 0 ? NULL : &all[m]);
            }
        }
    }
    out->plan.cases = k.cases;
    out->plan.specs = k.specs;
    free(k.gold);
    free(k.trial);
    if (k.failed) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan of a proof");
    else if (out->plan.n_cases == 0)
        st = fal_fail(err, FAL_ERR_NOTHING, "'falsify plan' says what is blocked, and why", "no case that is left can see any of these mutants");
    if (st) fal_prove_plan_free(out);
    return st;
}

void fal_prove_plan_free(fal_prove_plan *p)
{
    if (!p) return;
    free((void *)(uintptr_t)p->plan.cases);
    free((void *)(uintptr_t)p->plan.specs);
    free(p->mutants);
    free(p->origin);
    *p = (fal_prove_plan){ 0 };
}
