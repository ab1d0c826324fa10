/* Evidence as JSON: one falsifier on one backend, with every case, its numbers and its provenance. */
#include "harness/claim.h"
#include "harness/evidence.h"
#include "harness/run_waivers.h"
#include "harness/sources.h"
#include "harness/text.h"

#include <math.h>
#include <string.h>

json_t *fal_json_number(double v)
{
    if (isnan(v)) return json_string("nan");
    if (isinf(v)) return json_string(v > 0 ? "inf" : "-inf");
    return json_real(v);
}

json_t *fal_json_u64(uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return v <= INT64_MAX ? json_integer((json_int_t)v) : json_string(text);
}

json_t *fal_json_text(const char *s)
{
    if (!s) return json_null();
    json_t *j = json_string(s);
    if (j) return j;
    fal_text clean = { 0 };
    for (size_t n = strlen(s), i = 0; i < n;) {
        unsigned code_point;
        const size_t len = fal_utf8_next(s + i, n - i, &code_point);
        if (len)
            fal_text_add_n(&clean, s + i, len);
        else
            fal_text_add(&clean, "?");
        i += len ? len : 1;
    }
    j = clean.failed ? NULL : json_string(fal_text_str(&clean));
    fal_text_free(&clean);
    return j;
}

json_t *fal_json_shown(const char *s)
{
    fal_text t = { 0 };
    fal_text_add_safe(&t, s, strlen(s));
    json_t *j = json_string(fal_text_str(&t));
    fal_text_free(&t);
    return j;
}

fal_status fal_json_print(json_t *j, FILE *f, fal_error *err)
{
    char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!text) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for JSON");
    fprintf(f, "%s\n", text);
    free(text);
    return FAL_OK;
}

json_t *fal_json_limit(const fal_limit *l)
{
    static const char *const names[] = {
        [FAL_LIMIT_MAX] = "max", [FAL_LIMIT_MIN] = "min", [FAL_LIMIT_EQUAL] = "equal"
    };
    json_t *j = json_object();
    json_object_set_new(j, names[l->kind], fal_json_number(l->value));
    if (l->has_warn) json_object_set_new(j, "warn", fal_json_number(l->warn));
    return j;
}

json_t *fal_json_params(const fal_params *p)
{
    json_t *j = json_object();
    for (int i = 0; i < p->n_params; i++) {
        const fal_param *x = &p->params[i];
        const bool whole = !x->text && x->number >= -9e15 && x->number <= 9e15 && !(x->number < floor(x->number)) &&
                           !(x->number > floor(x->number));
        json_object_set_new(j, x->name,
                            x->text ? fal_json_text(x->text)
                            : whole ? json_integer((json_int_t)x->number)
                                    : fal_json_number(x->number));
    }
    return j;
}

fal_verdict_kind fal_evidence_worst(fal_verdict_kind a, fal_verdict_kind b)
{
    static const int weight[FAL_N_VERDICTS] = {
        [FAL_SURVIVED] = 0, [FAL_WAIVED] = 1, [FAL_NOT_RUN] = 2,   [FAL_BLOCKED] = 3, [FAL_MISTRUSTED] = 4,
        [FAL_FLAKY] = 5,    [FAL_ERROR] = 6,  [FAL_TIMED_OUT] = 7, [FAL_CRASHED] = 8, [FAL_FALSIFIED] = 9,
    };
    return weight[b] > weight[a] ? b : a;
}

/* A pair of numbers at the worst place; hex floats are exact and cannot be mistaken for rounded ones. */
static json_t *worst_json(const fal_verdict *v)
{
    char got[40], want[40];
    snprintf(got, sizeof got, "%a", v->got);
    snprintf(want, sizeof want, "%a", v->want);
    return json_pack("{s:o, s:s, s:s, s:o, s:o}", "place", fal_json_text(v->worst), "got_hex", got, "want_hex", want,
                     "got", fal_json_number(v->got), "want", fal_json_number(v->want));
}

static void put_value(json_t *j, const fal_verdict *v)
{
    json_object_set_new(j, "metric", v->metric ? json_string(v->metric) : json_null());
    json_object_set_new(j, "value", v->has_value ? fal_json_number(v->value) : json_null());
    json_object_set_new(j, "margin", v->has_value ? fal_json_number(v->margin) : json_null());
    json_object_set_new(j, "noise_floor", v->has_noise ? fal_json_number(v->noise) : json_null());
    json_object_set_new(j, "worst", v->has_worst ? worst_json(v) : json_null());
}

static json_t *case_json(const fal_case *k, const fal_result *r)
{
    const fal_verdict *v = &r->verdict;
    const fal_check *c = k->check;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", k->id, "check", c->name, "judge", c->judge, "variant",
                          k->variant, "verdict", fal_verdict_name(v->kind), "reason", fal_json_text(v->reason));
    if (!j) return NULL;
    put_value(j, v);
    json_object_set_new(j, "limit", fal_json_limit(&c->limit));
    json_object_set_new(j, "marginal", json_boolean(v->marginal));
    json_object_set_new(j, "n_compared", json_integer((json_int_t)v->n_compared));
    if (v->n_positions) json_object_set_new(j, "n_positions", json_integer((json_int_t)v->n_positions));
    json_object_set_new(j, "observed", json_string(fal_observe_kind_name(c->observe)));
    if (v->detail[0]) json_object_set_new(j, "detail", fal_json_text(v->detail));
    if (r->waiver) json_object_set_new(j, "waiver", fal_waiver_json(r->waiver));
    if (c->observe == FAL_OBSERVE_OP || c->observe == FAL_OBSERVE_TRIAL) {
        json_object_set_new(j, "op", fal_json_text(c->op));
        json_object_set_new(j, "shape", c->n_shapes ? fal_json_params(&c->shapes[0]) : json_object());
        json_object_set_new(j, "fill", c->n_fills ? fal_json_text(c->fills[0]) : json_null());
        json_t *seeds = json_array();
        for (int i = 0; i < c->n_seeds; i++) json_array_append_new(seeds, fal_json_u64(c->seeds[i]));
        json_object_set_new(j, "seeds", seeds);
    } else {
        json_object_set_new(j, "prompt", fal_json_text(k->what));
        json_object_set_new(j, "n_tokens", json_integer(k->n_tokens));
    }
    if (c->with.n_params) json_object_set_new(j, "with", fal_json_params(&c->with));
    if (c->then.n_params) json_object_set_new(j, "then", fal_json_params(&c->then));
    json_object_set_new(j, "seconds", fal_json_number(r->seconds));
    json_t *kernels = json_object_get(r->ran, "kernels");
    json_object_set(j, "kernels", kernels ? kernels : json_null());
    if (r->throughput) json_object_set(j, "throughput", r->throughput);
    if (r->capsule) {
        const char *file = strrchr(r->capsule, '/');
        json_object_set_new(j, "capsule", json_pack("{s:o, s:s}", "file", fal_json_text(file ? file + 1 : r->capsule), "sha256", r->capsule_sha256));
    }
    if (r->trial) json_object_set(j, "trial", r->trial);
    return j;
}

static json_t *device_json(const fal_case *k)
{
    if (!k->device) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:b}", "name", fal_json_text(k->device->name), "vendor",
                     fal_json_text(k->device->vendor), "driver", fal_json_text(k->device->driver), "uuid",
                     fal_json_text(k->device->uuid), "slug", k->device->slug, "is_cpu", (int)k->device->is_cpu);
}

json_t *fal_evidence_json(const fal_run *run, const fal_evidence_options *o, const fal_falsifier *f,
                          const char *backend, fal_error *err)
{
    const fal_plan *plan = run->plan;
    const fal_case *any = NULL;
    const fal_verdict *least = NULL;
    const fal_check *least_check = NULL;
    fal_verdict_kind verdict = FAL_SURVIVED;
    fal_counts counts = { 0 };
    bool model = false, oracle = false;
    json_t *cases = json_array();
    for (int i = 0; i < plan->n_cases; i++) {
        const fal_case *k = &plan->cases[i];
        if (k->falsifier != f || strcmp(k->backend, backend) != 0) continue;
        const fal_result *r = &run->results[i];
        json_array_append_new(cases, case_json(k, r));
        fal_counts_add(&counts, r->verdict.kind);
        verdict = fal_evidence_worst(verdict, r->verdict.kind);
        if (!r->executed) continue;
        any = k;
        model |= k->uses_model;
        oracle |= k->uses_oracle;
        if (r->verdict.has_value && (!least || r->verdict.margin < least->margin)) {
            least = &r->verdict;
            least_check = k->check;
        }
    }
    json_t *claim = any ? fal_claim_json(plan->set, any->contract, f, err) : NULL;
    if (!claim) {
        json_decref(cases);
        return NULL;
    }
    char text[400];
    fal_counts_text(&counts, text, sizeof text);
    const int whole = fal_plan_extent(plan, f, backend);
    json_t *j = json_pack("{s:s, s:o, s:o, s:{s:s, s:o, s:s}, s:s, s:s}", "id", f->id, "claim", claim, "sources",
                          fal_sources_json(fal_sources, backend), "contract", "name", any->contract->stem, "version", fal_json_text(any->contract->version),
                          "sha256", any->contract->sha256, "backend", backend, "verdict", fal_verdict_name(verdict));
    json_object_set_new(j, "complete", json_boolean(counts.planned == whole && counts.by[FAL_NOT_RUN] == 0));
    json_object_set_new(j, "cases_in_contract", json_integer(whole));
    json_object_set_new(j, "denominators", json_string(text));
    json_object_set_new(j, "device", device_json(any));
    const char *name = strrchr(plan->model, '/');
    json_object_set_new(j, "model",
                        model ? json_pack("{s:o, s:s}", "name", fal_json_text(name ? name + 1 : plan->model), "sha256",
                                          run->model_sha256)
                              : json_null());
    if (oracle && o->oracle_sha256 && o->oracle_sha256[0]) {
        const char *of = strrchr(plan->oracle_path, '/');
        json_object_set_new(j, "oracle", json_pack("{s:o, s:s}", "name", fal_json_text(of ? of + 1 : plan->oracle_path),
                                                   "sha256", o->oracle_sha256));
    }
    if (least) {
        put_value(j, least);
        json_object_set_new(j, "limit", fal_json_limit(&least_check->limit));
        json_object_set_new(j, "of_check", json_string(least_check->name));
    }
    json_object_set_new(j, "seed", o->options->has_seed ? fal_json_u64(o->options->seed) : json_null());
    json_object_set_new(j, "falsify", json_pack("{s:s, s:s}", "version", FAL_VERSION, "revision", o->revision));
    if (any->candidate)
        json_object_set_new(j, "candidate", json_pack("{s:o, s:s, s:s, s:o}", "file", fal_json_text(o->options->candidate), "sha256", any->candidate, "op",
                                                      o->options->op, "arithmetic",
                                                      plan->declared && plan->declared->said ? fal_arithmetic_to_json(&plan->declared->a) : json_null()));
    json_object_set_new(j, "started", json_string(run->started));
    json_object_set_new(j, "finished", json_string(run->finished));
    json_object_set_new(j, "cases", cases);
    return j;
}
