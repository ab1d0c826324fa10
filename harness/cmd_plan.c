/* falsify plan: every case before anything runs, and why it will or will not run. */
#include "harness/prepare.h"
#include "harness/report.h"

#include <stdlib.h>

extern const char fal_revision[];

static fal_status print_json(const fal_plan *plan, const fal_report_options *o, FILE *f, fal_error *err)
{
    json_t *j = fal_report_plan_json(plan, o);
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    json_decref(j);
    if (!text) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for JSON");
    fprintf(f, "%s\n", text);
    free(text);
    return FAL_OK;
}

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
            st = print_json(p.plan, &o, env->out, err);
        else
            fal_report_plan(p.plan, &o, env->out);
    }
    fal_prepared_free(&p);
    return fal_exit_status(st);
}
