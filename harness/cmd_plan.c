/* falsify plan: every case before anything runs, and why it will or will not run. */
#include "harness/evidence.h"
#include "harness/prepare.h"
#include "harness/report.h"
#include "harness/revision.h"

#include <stdlib.h>

int fal_cmd_plan(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_prepared p = { 0 };
    fal_status st = fal_prepare(argc, argv, FAL_FOR_PLAN, env, &p, err);
    if (st) return fal_exit_status(st);
    if (p.options.help) {
        fal_options_help(FAL_FOR_PLAN, env->out);
    } else {
        const fal_report_options o = { .options = &p.options,
                                       .probes = p.probes,
                                       .invoked = env->invoked,
                                       .revision = fal_revision,
                                       .colour = fal_wants_colour(&p.options, env, env->out_is_terminal) };
        if (p.options.json)
            st = fal_json_print(fal_report_plan_json(p.plan, &o), env->out, err);
        else
            fal_report_plan(p.plan, &o, env->out);
    }
    fal_prepared_free(&p);
    return fal_exit_status(st);
}
