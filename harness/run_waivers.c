/* Waivers in a run: turning what they cover from falsified into waived, and telling which ones were of use. */
#include "harness/run_waivers.h"

#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/waiver.h"

#include <string.h>

bool fal_waive(const fal_waiver *w, const char *today, fal_verdict *v)
{
    if (!w || v->kind != FAL_FALSIFIED) return false;
    char why[sizeof v->reason];
    snprintf(why, sizeof why, "%s", v->reason);
    if (fal_waiver_expired(w, today)) {
        snprintf(v->reason, sizeof v->reason, "%.300s; waiver %.64s of %.40s expired on %s", why, w->id, w->owner,
                 w->expires);
        return false;
    }
    if (!v->has_value || v->n_compared == 0 || !fal_waiver_covers(w, v->value)) {
        snprintf(v->reason, sizeof v->reason, "%.300s; beyond waiver %.64s, which allows %s %g", why, w->id,
                 w->limit.kind == FAL_LIMIT_MAX ? "at most" : "at least", w->limit.value);
        return false;
    }
    v->kind = FAL_WAIVED;
    snprintf(v->reason, sizeof v->reason, "waived until %s by %.64s (waiver %.64s): %.300s", w->expires, w->owner,
             w->id, why);
    return true;
}

fal_waiver_use fal_run_waiver_use(const fal_run *run, const fal_contract *c, const fal_waiver *w)
{
    fal_waiver_use use = { 0 };
    for (int i = 0; i < run->plan->n_cases; i++) {
        const fal_case *k = &run->plan->cases[i];
        if (k->contract != c || fal_waiver_of(c, k->falsifier->id, k->check->name, k->backend) != w) continue;
        use.n_cases++;
        use.n_executed += run->results[i].executed;
        use.n_waived += run->results[i].waiver == w;
    }
    use.state = use.n_waived                        ? FAL_WAIVER_USED
                : fal_waiver_expired(w, run->today) ? FAL_WAIVER_EXPIRED
                : use.n_executed                    ? FAL_WAIVER_UNUSED
                                                    : FAL_WAIVER_NOT_TRIED;
    return use;
}

const char *fal_waiver_state_name(fal_waiver_state state)
{
    static const char *const names[FAL_N_WAIVER_STATES] = { [FAL_WAIVER_USED] = "used",
                                                            [FAL_WAIVER_UNUSED] = "unused",
                                                            [FAL_WAIVER_EXPIRED] = "expired",
                                                            [FAL_WAIVER_NOT_TRIED] = "not tried" };
    return names[state];
}

void fal_report_waivers(const fal_run *run, bool colour, FILE *f)
{
    bool heading = false;
    for (int i = 0; i < run->plan->n_contracts; i++) {
        const fal_contract *c = run->plan->contracts[i];
        for (int k = 0; k < c->n_waivers; k++) {
            const fal_waiver *w = &c->waivers[k];
            const fal_waiver_use use = fal_run_waiver_use(run, c, w);
            if (!heading) fprintf(f, "\n%swaivers%s\n", fal_report_bold(colour), fal_report_plain(colour));
            heading = true;
            fprintf(f, "  %s%s%s ", use.state == FAL_WAIVER_NOT_TRIED ? "" : fal_report_colour(colour, FAL_WAIVED),
                    fal_waiver_state_name(use.state), fal_report_plain(colour));
            fal_report_put(f, c->path);
            fprintf(f, ":%d: ", w->place.line);
            fal_report_put(f, w->id);
            fprintf(f, " of %s/%s, owner ", w->falsifier, w->check);
            fal_report_put(f, w->owner);
            fprintf(f, ", expires %s: %d of %d executed cases waived", w->expires, use.n_waived, use.n_executed);
            if (use.state == FAL_WAIVER_UNUSED) fputs("; warning: nothing needed it, remove it", f);
            if (use.state == FAL_WAIVER_EXPIRED) fputs("; warning: it excuses nothing any more, remove or renew it", f);
            fputc('\n', f);
        }
    }
}

json_t *fal_waiver_json(const fal_waiver *w)
{
    if (!w) return json_null();
    json_t *j = json_pack("{s:s, s:o, s:s, s:s, s:o}", "id", w->id, "owner", fal_json_text(w->owner), "granted",
                          w->granted, "expires", w->expires, "reason", fal_json_text(w->reason));
    json_object_set_new(j, "limit", fal_json_limit(&w->limit));
    return j;
}

json_t *fal_report_waivers_json(const fal_run *run)
{
    json_t *list = json_array();
    for (int i = 0; i < run->plan->n_contracts; i++) {
        const fal_contract *c = run->plan->contracts[i];
        for (int k = 0; k < c->n_waivers; k++) {
            const fal_waiver *w = &c->waivers[k];
            const fal_waiver_use use = fal_run_waiver_use(run, c, w);
            json_t *j = fal_waiver_json(w);
            json_object_set_new(j, "contract", json_string(c->stem));
            json_object_set_new(j, "falsifier", json_string(w->falsifier));
            json_object_set_new(j, "check", json_string(w->check));
            json_object_set_new(j, "state", json_string(fal_waiver_state_name(use.state)));
            json_object_set_new(j, "executed", json_integer(use.n_executed));
            json_object_set_new(j, "waived", json_integer(use.n_waived));
            json_array_append_new(list, j);
        }
    }
    return list;
}
