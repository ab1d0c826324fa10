/* Floors of parity checks: how many prompts and positions must stand behind a pass, and whether the plan has them. */
#include "harness/plan_parts.h"

#include <string.h>

/* One position says nothing about attention (softmax over one key is 1), so nobody may ask for less than two. */
enum { LEAST_PROMPTS = 1, LEAST_POSITIONS = 2 };

bool fal_check_has_floor(const fal_check *c, int *prompts, int *positions)
{
    static const char *const parities[] = { "cosine", "rel_l2", "argmax", "router_sets" };
    if (!fal_plan_is_forward(c->observe) || (c->against != FAL_AGAINST_REFERENCE && c->against != FAL_AGAINST_ORACLE))
        return false;
    bool parity = c->floor_prompts > 0;
    for (size_t i = 0; i < sizeof parities / sizeof parities[0] && !parity; i++)
        parity = strcmp(c->judge, parities[i]) == 0;
    *prompts = c->floor_prompts > LEAST_PROMPTS ? c->floor_prompts : LEAST_PROMPTS;
    *positions = c->floor_positions > LEAST_POSITIONS ? c->floor_positions : LEAST_POSITIONS;
    return parity;
}

bool fal_case_shares_floor(const fal_case *a, const fal_case *b)
{
    return a->falsifier == b->falsifier && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->check->name, b->check->name) == 0;
}

/* Prompts and tokens of what is not blocked, each prompt once: a second variant of a backend adds nothing. */
static void count(const fal_plan_parts *p, int first, int last, const fal_case *of, int *prompts, int *positions,
                  int *n_cases)
{
    *prompts = *positions = *n_cases = 0;
    for (int i = first; i < last; i++) {
        const fal_case *const k = &p->cases[i];
        if (k->blocked || !fal_case_shares_floor(k, of)) continue;
        bool known = false;
        for (int e = first; e < i && !known; e++)
            known = !p->cases[e].blocked && fal_case_shares_floor(&p->cases[e], of) &&
                    strcmp(p->cases[e].what, k->what) == 0;
        ++*n_cases;
        if (known) continue;
        *prompts += k->check->sequence ? k->check->n_prompts : 1;
        *positions += k->n_tokens;
    }
}

fal_status fal_plan_set_floors(fal_plan_parts *p, fal_error *err)
{
    for (int first = 0; first < p->n_cases;) {
        int last = first, prompts, positions, have_prompts, have_positions, n_cases;
        while (last < p->n_cases && p->cases[last].falsifier == p->cases[first].falsifier) last++;
        for (int i = first; i < last; i++) {
            fal_case *const k = &p->cases[i];
            if (k->blocked || !fal_check_has_floor(k->check, &prompts, &positions)) continue;
            count(p, first, last, k, &have_prompts, &have_positions, &n_cases);
            k->floor_cases = n_cases;
            if (have_prompts >= prompts && have_positions >= positions) continue;
            k->below_floor = fal_plan_text(
                p, "parity would rest on %d prompt%s and %d position%s; its floor is %d and %d", have_prompts,
                have_prompts == 1 ? "" : "s", have_positions, have_positions == 1 ? "" : "s", prompts, positions);
            if (!k->below_floor) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the plan");
        }
        first = last;
    }
    return FAL_OK;
}
