/* The reports of derived status and coverage as JSON. */
#include "harness/evidence.h"
#include "harness/status_report.h"

#include <string.h>

static json_t *standing_json(const fal_standing *s)
{
    return json_pack("{s:s, s:i, s:b, s:b, s:o}", "state", fal_claim_state_name(s->state), "falsifiers",
                     s->n_falsifiers, "ran", (int)s->ran, "on_hardware",
                     (int)(s->hardware && s->state == FAL_CLAIM_SURVIVED), "why", fal_json_text(s->why));
}

static json_t *obligations_json(const fal_derived_contract *d)
{
    json_t *list = json_array();
    for (int i = 0; i < d->contract->n_obligations; i++) {
        const fal_derived_obligation *o = &d->obligations[i];
        json_t *j = standing_json(&o->standing);
        json_object_set_new(j, "id", fal_json_text(o->obligation->id));
        json_object_set_new(j, "runtime", json_boolean(o->runtime));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *stages_json(const fal_derived_contract *d)
{
    json_t *list = json_array();
    for (int i = 0; i < d->contract->n_stages; i++) {
        const fal_derived_stage *s = &d->stages[i];
        json_t *backends = json_array();
        for (int b = 0; b < s->stage->n_backends; b++)
            json_array_append_new(backends, fal_json_text(s->stage->backends[b]));
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:s, s:b, s:o, s:o}", "id", fal_json_text(s->stage->id), "says",
                                        fal_json_text(s->stage->status), "is", fal_stage_level_name(s->is), "above",
                                        (int)s->above, "why", fal_json_text(s->why), "backends", backends));
    }
    return list;
}

static json_t *cells_json(const fal_status_report *r, const fal_contract *c)
{
    json_t *list = json_array();
    for (int i = 0; i < r->derived->n_cells; i++) {
        const fal_cell *cell = &r->derived->cells[i];
        if (cell->contract != c) continue;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:o}", "falsifier",
                                              cell->falsifier->id, "backend", cell->backend, "state",
                                              fal_claim_state_name(cell->state), "freshness",
                                              fal_cell_freshness(cell, r->args->heavy), "on_hardware",
                                              (int)(cell->hardware && cell->state == FAL_CLAIM_SURVIVED), "checks",
                                              cell->n_checks, "survived", cell->n_survived, "files", cell->n_records,
                                              "counting", cell->n_counting, "why", fal_json_text(cell->why)));
    }
    return list;
}

static json_t *records_json(const fal_records *records)
{
    json_t *files = json_array(), *problems = json_array();
    for (int i = 0; i < records->n; i++) {
        const fal_record *x = &records->items[i];
        json_array_append_new(files, json_pack("{s:o, s:s, s:s, s:b, s:b, s:o, s:o}", "path", fal_json_text(x->path),
                                               "sha256", x->sha256, "verdict", fal_verdict_name(x->verdict), "counts",
                                               (int)fal_record_counts(x), "fresh", (int)x->fresh, "run",
                                               fal_json_text(x->run), "why_not", fal_json_text(x->why_not)));
    }
    for (int i = 0; i < records->n_problems; i++)
        json_array_append_new(problems, json_pack("{s:o, s:o, s:o}", "path", fal_json_text(records->problems[i].path),
                                                  "message", fal_json_text(records->problems[i].message), "hint",
                                                  fal_json_text(records->problems[i].hint)));
    return json_pack("{s:i, s:o, s:o}", "runs", records->n_runs, "files", files, "problems", problems);
}

static json_t *awaited_json(const fal_awaited_list *l)
{
    static const char *const states[] = {
        [FAL_AWAITED_ABSENT] = "absent", [FAL_AWAITED_PRESENT] = "present", [FAL_AWAITED_NOT_LOOKED] = "not_looked_for"
    };
    json_t *list = json_array();
    for (int i = 0; i < l->n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:o, s:s, s:o}", "contract", l->items[i].contract->stem, "stage",
                                        fal_json_text(l->items[i].stage ? l->items[i].stage->id : NULL), "what",
                                        fal_json_text(l->items[i].what), "state", states[l->items[i].state], "found",
                                        l->items[i].found[0] ? fal_json_text(l->items[i].found) : json_null()));
    return list;
}

static json_t *fresh_json(const fal_fresh_count *t)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "cells", t->cells, "fresh", t->fresh, "falsified",
                     t->falsified, "undecided", t->undecided, "stale", t->stale, "missing", t->missing, "excused",
                     t->excused);
}

json_t *fal_status_json(const fal_status_report *r)
{
    json_t *contracts = json_array();
    for (int i = 0; i < r->derived->n_contracts; i++) {
        const fal_derived_contract *d = &r->derived->contracts[i];
        if (!fal_cmd_takes(r->args, d->contract)) continue;
        json_array_append_new(contracts,
                              json_pack("{s:s, s:o, s:o, s:s, s:b, s:o, s:i, s:i, s:o, s:o, s:o}", "contract",
                                        d->contract->stem, "path", fal_json_text(d->contract->path), "says",
                                        fal_json_text(d->contract->status), "is", fal_contract_level_name(d->is),
                                        "above", (int)d->above, "why", fal_json_text(d->why), "bound", d->n_bound,
                                        "survived", d->n_survived, "obligations", obligations_json(d), "stages",
                                        stages_json(d), "falsifiers", cells_json(r, d->contract)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:i}", "contracts", contracts, "evidence", records_json(r->records),
                     "waits_for", awaited_json(r->awaited), "freshness", fresh_json(&r->fresh), "above",
                     r->derived->n_above);
}

/* The evidence of each falsifier that an obligation of these contracts has. */
static json_t *files_by_falsifier(const fal_status_report *r)
{
    json_t *all = json_object();
    for (int i = 0; i < r->records->n; i++) {
        const fal_record *x = &r->records->items[i];
        json_t *list = json_object_get(all, x->id);
        if (!list) {
            list = json_array();
            json_object_set_new(all, x->id, list);
        }
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:s, s:b, s:o}", "path", fal_json_text(x->path),
                                              "backend", fal_json_text(x->backend), "device", fal_json_text(x->device),
                                              "model", fal_json_text(x->model_sha256), "verdict",
                                              fal_verdict_name(x->verdict), "counts", (int)fal_record_counts(x),
                                              "why_not", fal_json_text(x->why_not)));
    }
    return all;
}

json_t *fal_coverage_json(const fal_status_report *r)
{
    json_t *contracts = json_array();
    for (int i = 0; i < r->derived->n_contracts; i++) {
        const fal_derived_contract *d = &r->derived->contracts[i];
        if (!fal_cmd_takes(r->args, d->contract)) continue;
        json_t *rows = json_array();
        for (int o = 0; o < d->contract->n_obligations; o++) {
            const char *id = d->contract->obligations[o].id;
            json_t *falsifiers = json_object();
            for (int k = 0; k < r->derived->n_cells; k++) {
                const fal_cell *cell = &r->derived->cells[k];
                bool cited = false;
                for (int n = 0; n < cell->falsifier->n_obligations; n++)
                    cited |= strcmp(cell->falsifier->obligations[n], id) == 0;
                if (!cited) continue;
                json_t *by = json_object_get(falsifiers, cell->falsifier->id);
                if (!by) {
                    by = json_object();
                    json_object_set_new(falsifiers, cell->falsifier->id, by);
                }
                json_object_set_new(by, cell->backend, json_string(fal_claim_state_name(cell->state)));
            }
            json_array_append_new(rows, json_pack("{s:o, s:s, s:o}", "obligation", fal_json_text(id), "state",
                                                  fal_claim_state_name(d->obligations[o].standing.state), "falsifiers",
                                                  falsifiers));
        }
        json_array_append_new(contracts, json_pack("{s:s, s:i, s:i, s:o}", "contract", d->contract->stem, "bound",
                                                   d->n_bound, "survived", d->n_survived, "obligations", rows));
    }
    return json_pack("{s:o, s:o, s:o}", "contracts", contracts, "evidence", files_by_falsifier(r), "freshness",
                     fresh_json(&r->fresh));
}
