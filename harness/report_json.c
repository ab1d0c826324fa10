/* The run as one JSON document. */
#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/run_waivers.h"

#include <string.h>

static json_t *case_json(const fal_run *run, const fal_case *k, const fal_result *r)
{
    const fal_verdict *v = &r->verdict;
    json_t *at = fal_json_text(k->contract->path);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o}", "id", k->id, "contract", k->contract->stem,
                          "falsifier", k->falsifier->id, "check", k->check->name, "backend", k->backend, "variant",
                          k->variant, "required", (int)k->required, "verdict", fal_verdict_name(v->kind), "reason",
                          fal_json_text(v->reason));
    if (!j) {
        json_decref(at);
        return NULL;
    }
    json_object_set_new(j, "contract_file", at);
    json_object_set_new(j, "contract_line", json_integer(k->check->place.line));
    json_object_set_new(j, "device", k->device ? json_string(k->device->slug) : json_null());
    json_object_set_new(j, "model", k->uses_model ? fal_json_text(run->plan->model) : json_null());
    json_object_set_new(j, "metric", v->metric ? json_string(v->metric) : json_null());
    json_object_set_new(j, "value", v->has_value ? fal_json_number(v->value) : json_null());
    json_object_set_new(j, "limit", fal_json_limit(&k->check->limit));
    json_object_set_new(j, "margin", v->has_value ? fal_json_number(v->margin) : json_null());
    json_object_set_new(j, "noise_floor", v->has_noise ? fal_json_number(v->noise) : json_null());
    json_object_set_new(j, "marginal", json_boolean(v->marginal));
    json_object_set_new(j, "n_compared", json_integer((json_int_t)v->n_compared));
    json_object_set_new(j, "seconds", fal_json_number(r->seconds));
    if (v->has_worst)
        json_object_set_new(j, "worst",
                            json_pack("{s:o, s:o, s:o}", "place", fal_json_text(v->worst), "got",
                                      fal_json_number(v->got), "want", fal_json_number(v->want)));
    if (v->detail[0]) json_object_set_new(j, "detail", fal_json_text(v->detail));
    if (r->capsule) json_object_set_new(j, "capsule", fal_json_text(r->capsule));
    if (!r->capsule && r->no_capsule[0]) json_object_set_new(j, "no_capsule", fal_json_text(r->no_capsule));
    if (r->waiver) json_object_set_new(j, "waiver", fal_waiver_json(r->waiver));
    if (r->log_tail) json_object_set_new(j, "log_tail", fal_json_text(r->log_tail));
    if (r->trial) json_object_set(j, "trial", r->trial);
    return j;
}

static json_t *counts_json(const fal_counts *c)
{
    json_t *j = json_pack("{s:i, s:i, s:i, s:i}", "planned", c->planned, "passed", fal_counts_passed(c), "failed",
                          fal_counts_failed(c), "skipped", fal_counts_skipped(c));
    for (int v = 0; v < FAL_N_VERDICTS; v++)
        json_object_set_new(j, fal_verdict_name((fal_verdict_kind)v), json_integer(c->by[v]));
    return j;
}

json_t *fal_report_run_json(const fal_run *run, const fal_report_options *o)
{
    const fal_plan *plan = run->plan;
    json_t *cases = json_array(), *backends = json_object();
    for (int i = 0; i < plan->n_cases; i++)
        json_array_append_new(cases, case_json(run, &plan->cases[i], &run->results[i]));
    for (int i = 0; i < o->probes->n; i++) {
        const fal_counts c = fal_run_counts(run, NULL, o->probes->items[i].backend->name);
        if (c.planned) json_object_set_new(backends, o->probes->items[i].backend->name, counts_json(&c));
    }
    json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "falsify", FAL_VERSION, "revision", o->revision, "cases",
                          cases, "counts", counts_json(&run->tally.all), "required", counts_json(&run->tally.required),
                          "backends", backends);
    if (!j) return NULL;
    json_object_set_new(j, "devices", fal_report_probes_json(o->probes));
    json_object_set_new(j, "model",
                        json_pack("{s:o, s:o}", "path", fal_json_text(plan->model), "sha256",
                                  run->model_sha256[0] ? json_string(run->model_sha256) : json_null()));
    json_object_set_new(j, "seed", o->options->has_seed ? fal_json_u64(o->options->seed) : json_null());
    json_object_set_new(j, "unbound", fal_report_claims_json(plan->unbound, plan->n_unbound, false));
    json_object_set_new(j, "retired", fal_report_claims_json(plan->retired, plan->n_retired, true));
    json_object_set_new(j, "waivers", fal_report_waivers_json(run));
    json_object_set(j, "kernels", run->kernels);
    json_object_set_new(j, "evidence", fal_json_text(o->evidence));
    json_object_set_new(j, "started", json_string(run->started));
    json_object_set_new(j, "finished", json_string(run->finished));
    json_object_set_new(j, "seconds", fal_json_number(run->seconds));
    json_object_set_new(j, "exit", json_integer(o->exit_status));
    json_object_set_new(j, "reason", fal_json_text(o->reason));
    return j;
}
