/* Floors of parity checks after a run: a pass that rests on fewer prompts or positions than the contract asks for is none. */
#include "harness/run_parts.h"

#include <string.h>

static void mistrust(fal_verdict *v, const char *why)
{
    if (v->kind != FAL_SURVIVED) return;
    v->kind = FAL_MISTRUSTED;
    v->marginal = false;
    snprintf(v->reason, sizeof v->reason, "%s", why);
}

/* What was judged of the check that case i belongs to: prompts, and positions as the judgements counted them. */
static void count(const fal_run *run, int i, int *n_cases, int *prompts, uint64_t *positions)
{
    const fal_plan *const plan = run->plan;
    *n_cases = *prompts = 0;
    *positions = 0;
    for (int a = 0; a < plan->n_cases; a++) {
        const fal_case *const k = &plan->cases[a];
        if (k->blocked || !fal_case_shares_floor(k, &plan->cases[i])) continue;
        /* what was not reached leaves the evidence partial, like what was not selected */
        if (run->results[a].verdict.kind == FAL_NOT_RUN) continue;
        ++*n_cases;
        if (!run->results[a].verdict.has_value) continue;
        uint64_t most = run->results[a].verdict.n_positions;
        bool known = false;
        for (int b = 0; b < a && !known; b++) {
            const fal_case *const e = &plan->cases[b];
            if (e->blocked || !run->results[b].verdict.has_value || !fal_case_shares_floor(e, k) ||
                strcmp(e->what, k->what) != 0)
                continue;
            known = true;
            most = most > run->results[b].verdict.n_positions ? most - run->results[b].verdict.n_positions : 0;
        }
        *positions += most;
        *prompts += known ? 0 : k->check->sequence ? k->check->n_prompts : 1;
    }
}

void fal_run_hold_floors(fal_run *run)
{
    for (int i = 0; i < run->plan->n_cases; i++) {
        const fal_case *const k = &run->plan->cases[i];
        int prompts, positions, n_cases, have_prompts;
        uint64_t have_positions;
        if (k->blocked || !fal_check_has_floor(k->check, &prompts, &positions)) continue;
        if (k->below_floor) {
            mistrust(&run->results[i].verdict, k->below_floor);
            continue;
        }
        count(run, i, &n_cases, &have_prompts, &have_positions);
        /* a selection of cases is partial evidence and says so; what it shows of its own cases stands */
        if (n_cases < k->floor_cases || (have_prompts >= prompts && have_positions >= (uint64_t)positions)) continue;
        char why[200];
        snprintf(why, sizeof why, "%d prompt%s and %llu position%s were judged; the floor of this parity is %d and %d",
                 have_prompts, have_prompts == 1 ? "" : "s", (unsigned long long)have_positions,
                 have_positions == 1 ? "" : "s", prompts, positions);
        mistrust(&run->results[i].verdict, why);
    }
}
