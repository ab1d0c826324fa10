/* Trials of the judgements of device code, launches and sanitizers. */
#include "falsifiers/unit/judge_scene.h"

/* Three kernels on two architectures, all asked for: add, matmul_q4_k through "any type", and one at every limit. */
static void make_code(fal_scene *s, const char *judge)
{
    static const char *const kernels[][2] = { { "add", "fal_cu_add" }, { "matmul", "fal_cu_matmul_q4_k" }, { "rope", "fal_cu_rope" } };
    static const char *const archs[] = { "sm_80", "sm_90" };
    json_t *list = json_array();
    for (int a = 0; a < 2; a++)
        for (int k = 0; k < 3; k++)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i}", "module", kernels[k][0], "kernel", kernels[k][1],
                                                  "arch", archs[a], "registers", k == 2 ? 128 : 40, "spill_bytes", 0, "stack_bytes", 0,
                                                  "shared_bytes", k == 2 ? 1024 : 0));
    fal_scene_device_code(s, judge);
    s->got->about = json_pack("{s:{s:s}, s:{s:s, s:s, s:o, s:[{s:s, s:s, s:b}, {s:s, s:s, s:b}, {s:s, s:s, s:b}]}, s:[]}", "asked",
                              "kind", "device_code", "device_code", "toolkit", "12.4", "archs", "sm_80 sm_90 compute_80", "kernels", list,
                              "asked", "module", "add", "kernel", "fal_cu_add", "any_type", 0, "module", "matmul", "kernel",
                              "fal_cu_matmul", "any_type", 1, "module", "rope", "kernel", "fal_cu_rope", "any_type", 0, "requests");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static json_t *list_of(fal_scene *s, const char *name)
{
    return json_object_get(json_object_get(s->got->about, "device_code"), name);
}

static json_t *rope_on_90(fal_scene *s)
{
    return json_array_get(list_of(s, "kernels"), 5);
}

/* ---- kernel_resources ------------------------------------------------------------------------------------------- */

static void make_no_limit(fal_scene *s)
{
    make_code(s, "kernel_resources");
}

static void make_resources(fal_scene *s)
{
    make_code(s, "kernel_resources");
    fal_scene_with(s, "max_registers", 128);
    fal_scene_with(s, "max_spill_bytes", 0);
    fal_scene_with(s, "max_shared_bytes", 1024);
}

static void one_register_more(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "registers", json_integer(129));
}

static void four_bytes_spilled(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "spill_bytes", json_integer(4));
}

static void one_shared_byte_more(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "shared_bytes", json_integer(1025));
}

static void all_three_of_one(fal_scene *s)
{
    one_register_more(s);
    four_bytes_spilled(s);
    one_shared_byte_more(s);
}

static void no_registers(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "registers", json_integer(0));
}

static void spill_not_said(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "spill_bytes", json_null());
}

static void no_name(fal_scene *s)
{
    json_object_del(rope_on_90(s), "kernel");
}

static void no_kernels(fal_scene *s)
{
    json_array_clear(list_of(s, "kernels"));
}

static void no_report(fal_scene *s)
{
    json_object_del(s->got->about, "device_code");
}

/* ---- kernel_set -------------------------------------------------------------------------------------------------- */

static void make_set(fal_scene *s)
{
    make_code(s, "kernel_set");
}

static void missing_on_one(fal_scene *s)
{
    json_array_remove(list_of(s, "kernels"), 5);
}

static void renamed_in_device_code(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "kernel", json_string("fal_cu_ropes"));
}

static void of_another_module(fal_scene *s)
{
    json_object_set_new(rope_on_90(s), "module", json_string("add"));
}

static void asked_for_by_nothing(fal_scene *s)
{
    json_array_remove(list_of(s, "asked"), 0);
}

static void another_how_is_no_type(fal_scene *s)
{
    for (size_t i = 1; i < 6; i += 3)
        json_object_set_new(json_array_get(list_of(s, "kernels"), i), "kernel", json_string("fal_cu_matmul__tiled_q4_k"));
}

static void exact_is_not_any(fal_scene *s)
{
    json_object_set_new(json_array_get(list_of(s, "asked"), 1), "any_type", json_false());
}

static void an_architecture_without_code(fal_scene *s)
{
    json_object_set_new(json_object_get(s->got->about, "device_code"), "archs", json_string("sm_80 sm_86 sm_90"));
}

static void nothing_asked(fal_scene *s)
{
    json_array_clear(list_of(s, "asked"));
    no_kernels(s);
}

static void no_architecture(fal_scene *s)
{
    json_object_set_new(json_object_get(s->got->about, "device_code"), "archs", json_string("compute_80"));
}

static void no_archs(fal_scene *s)
{
    json_object_del(json_object_get(s->got->about, "device_code"), "archs");
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static void make_launches(fal_scene *s)
{
    fal_scene_bare(s, "launches", FAL_OBSERVE_LAUNCHES);
    fal_scene_with(s, "dry", 1);
    s->got->about = json_pack("{s:{s:s}, s:{s:b, s:i, s:i, s:{s:i, s:i}, s:{s:i, s:i}}, s:[]}", "asked", "kind", "launches", "launches",
                              "dry", 1, "prompt", 9, "n_tokens", 4, "of_prompt", "add", 5, "matmul", 7, "of_tokens", "add", 8, "matmul", 12,
                              "requests");
    fal_scene_limit(s, FAL_LIMIT_MAX, 5);
}

static void make_launches_of_prompt(fal_scene *s)
{
    make_launches(s);
    fal_scene_with(s, "of_prompt", 1);
    fal_scene_limit(s, FAL_LIMIT_MAX, 12);
}

static json_t *launches_of(fal_scene *s, const char *of)
{
    return json_object_get(json_object_get(s->got->about, "launches"), of);
}

static void one_launch_more(fal_scene *s)
{
    json_object_set_new(launches_of(s, "of_tokens"), "rope", json_integer(1));
}

static void one_launch_more_in_prompt(fal_scene *s)
{
    json_object_set_new(launches_of(s, "of_prompt"), "add", json_integer(6));
}

static void a_launch_less_than_none(fal_scene *s)
{
    json_object_set_new(launches_of(s, "of_tokens"), "add", json_integer(-8));
}

static void no_launches(fal_scene *s)
{
    json_object_clear(launches_of(s, "of_tokens"));
}

static void over_no_tokens(fal_scene *s)
{
    json_object_set_new(json_object_get(s->got->about, "launches"), "n_tokens", json_integer(0));
}

static void on_a_device(fal_scene *s)
{
    json_object_set_new(json_object_get(s->got->about, "launches"), "dry", json_false());
}

static void no_launch_report(fal_scene *s)
{
    json_object_del(s->got->about, "launches");
}

/* ---- sanitizer --------------------------------------------------------------------------------------------------- */

static void make_sanitizer(fal_scene *s)
{
    fal_scene_bare(s, "sanitizer", FAL_OBSERVE_SANITIZE);
    fal_scene_with(s, "min_runs", 3);
    fal_scene_with(s, "tool", 0);
    s->with[s->check.with.n_params - 1].text = "memcheck";
    s->got->about = json_pack("{s:{s:s}, s:{s:s, s:i, s:s, s:s, s:[{s:i, s:s}, {s:i, s:s}, {s:i, s:s}]}, s:[]}", "asked", "kind", "sanitize",
                              "sanitize", "tool", "memcheck", "status", 0, "version", "2025.3", "log_tail", "the end", "runs", "status", 0,
                              "what", "a", "status", 0, "what", "b", "status", 0, "what", "c", "requests");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
}

static json_t *sanitize_of(fal_scene *s)
{
    return json_object_get(s->got->about, "sanitize");
}

static void one_report(fal_scene *s)
{
    json_object_set_new(json_array_get(json_object_get(sanitize_of(s), "runs"), 1), "status", json_integer(99));
    json_object_set_new(sanitize_of(s), "status", json_integer(1));
}

static void a_run_left_out(fal_scene *s)
{
    json_array_remove(json_object_get(sanitize_of(s), "runs"), 0);
}

static void no_runs(fal_scene *s)
{
    json_array_clear(json_object_get(sanitize_of(s), "runs"));
}

static void ended_early(fal_scene *s)
{
    json_object_set_new(sanitize_of(s), "status", json_integer(1));
}

static void another_tool(fal_scene *s)
{
    json_object_set_new(sanitize_of(s), "tool", json_string("racecheck"));
}

static void a_run_without_status(fal_scene *s)
{
    json_object_del(json_array_get(json_object_get(sanitize_of(s), "runs"), 2), "status");
}

static void no_sanitize_report(fal_scene *s)
{
    json_object_del(s->got->about, "sanitize");
}

const fal_trial fal_trials_code[] = {
    { "launches", "at the limit", make_launches, NULL, FAL_SURVIVED, "2 kernels, as the host asks for them, over 4 tokens" },
    { "launches", "one launch more in four tokens", make_launches, one_launch_more, FAL_FALSIFIED, "5.25" },
    { "launches", "of a prompt", make_launches_of_prompt, NULL, FAL_SURVIVED, "over 9 tokens at once" },
    { "launches", "one more in a prompt", make_launches_of_prompt, one_launch_more_in_prompt, FAL_FALSIFIED, "13" },
    { "launches", "launches do not cancel", make_launches, a_launch_less_than_none, FAL_CRASHED, "add was launched -8 times" },
    { "launches", "none at all", make_launches, no_launches, FAL_FALSIFIED, "nothing was compared" },
    { "launches", "over no tokens", make_launches, over_no_tokens, FAL_CRASHED, "launches.of_tokens" },
    { "launches", "dry and on a device are two things", make_launches, on_a_device, FAL_ERROR, "on a device" },
    { "launches", "no report", make_launches, no_launch_report, FAL_CRASHED, "launches.of_tokens" },

    { "sanitizer", "no reports", make_sanitizer, NULL, FAL_SURVIVED, "3 runs under memcheck 2025.3" },
    { "sanitizer", "a report in one run", make_sanitizer, one_report, FAL_FALSIFIED, "the end" },
    { "sanitizer", "fewer runs than planned", make_sanitizer, a_run_left_out, FAL_MISTRUSTED, "2 runs, but 3 are planned" },
    { "sanitizer", "no runs", make_sanitizer, no_runs, FAL_FALSIFIED, "nothing was compared" },
    { "sanitizer", "a tool that ended early", make_sanitizer, ended_early, FAL_ERROR, "ended with status 1" },
    { "sanitizer", "another tool", make_sanitizer, another_tool, FAL_ERROR, "about racecheck" },
    { "sanitizer", "a run without a status", make_sanitizer, a_run_without_status, FAL_CRASHED, "status of run 2" },
    { "sanitizer", "no report of the tool", make_sanitizer, no_sanitize_report, FAL_CRASHED, "sanitize.runs" },


    { "kernel_resources", "all at their limits", make_resources, NULL, FAL_SURVIVED, "most registers 128" },
    { "kernel_resources", "one register more", make_resources, one_register_more, FAL_FALSIFIED, "fal_cu_rope sm_90 registers" },
    { "kernel_resources", "one word spilled", make_resources, four_bytes_spilled, FAL_FALSIFIED, "spill_bytes 4, at most 0" },
    { "kernel_resources", "one shared byte more", make_resources, one_shared_byte_more, FAL_FALSIFIED, "shared_bytes 1025" },
    { "kernel_resources", "a kernel counts once", make_resources, all_three_of_one, FAL_FALSIFIED, "resources 1 at" },
    { "kernel_resources", "a kernel of no registers", make_resources, no_registers, FAL_CRASHED, "registers of fal_cu_rope" },
    { "kernel_resources", "a spill that is not said", make_resources, spill_not_said, FAL_CRASHED, "spill_bytes" },
    { "kernel_resources", "a kernel without a name", make_resources, no_name, FAL_CRASHED, "kernel 5" },
    { "kernel_resources", "no kernels", make_resources, no_kernels, FAL_FALSIFIED, "nothing was compared" },
    { "kernel_resources", "no report", make_resources, no_report, FAL_CRASHED, "device_code.kernels" },
    { "kernel_resources", "a check without a limit", make_no_limit, NULL, FAL_ERROR, "names none of" },

    { "kernel_set", "the same names", make_set, NULL, FAL_SURVIVED, "3 kernels asked for on 2 architectures" },
    { "kernel_set", "missing on one architecture", make_set, missing_on_one, FAL_FALSIFIED, "not in the code for sm_90" },
    { "kernel_set", "renamed in the device code", make_set, renamed_in_device_code, FAL_FALSIFIED, "1 missing, 1 asked for by nothing" },
    { "kernel_set", "in another module", make_set, of_another_module, FAL_FALSIFIED, "1 missing, 1 asked for by nothing" },
    { "kernel_set", "asked for by nothing", make_set, asked_for_by_nothing, FAL_FALSIFIED, "0 missing, 2 asked for by nothing" },
    { "kernel_set", "another way is no type", make_set, another_how_is_no_type, FAL_FALSIFIED, "2 missing, 2 asked for by nothing" },
    { "kernel_set", "an exact name is no prefix", make_set, exact_is_not_any, FAL_FALSIFIED, "2 missing, 2 asked for by nothing" },
    { "kernel_set", "an architecture without code", make_set, an_architecture_without_code, FAL_FALSIFIED, "sm_86" },
    { "kernel_set", "nothing asked for", make_set, nothing_asked, FAL_FALSIFIED, "nothing was compared" },
    { "kernel_set", "no architecture", make_set, no_architecture, FAL_FALSIFIED, "nothing was compared" },
    { "kernel_set", "architectures not said", make_set, no_archs, FAL_CRASHED, "device_code.archs" },
    { "kernel_set", "no report", make_set, no_report, FAL_CRASHED, "device_code.kernels" },
};
const int fal_n_trials_code = sizeof fal_trials_code / sizeof fal_trials_code[0];
