/* falsify devices: what each backend could run on, or why it cannot. */
#include "harness/cmd.h"
#include "harness/devices.h"
#include "harness/evidence.h"
#include "harness/report.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_SECONDS = 60 };

static const char usage[] =
    "usage: falsify devices [--json]\n"
    "Lists the devices of every backend, with the index, name and UUID that --device takes.\n"
    "Drivers are asked in a child process each; --here NAME asks one backend in this process.\n";

static fal_status ask_here(const char *name, FILE *f, fal_error *err)
{
    const fal_backend *b = fal_backend_find(name);
    if (!b)
        return fal_fail(err, FAL_ERR_NOTHING, "there are: reference, opencl, cuda", "backend '%s' matches nothing",
                        name);
    fal_probe *p = calloc(1, sizeof *p);
    if (!p) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for devices");
    p->backend = b;
    fal_probe_here(p);
    const fal_status st = fal_json_print(fal_probe_to_json(p), f, err);
    free(p);
    return st;
}

static void print_table(const fal_probes *all, FILE *f)
{
    for (int i = 0; i < all->n; i++) {
        const fal_probe *p = &all->items[i];
        if (p->state == FAL_PROBE_BLOCKED) {
            fprintf(f, "%-10s blocked: ", p->backend->name);
            fal_report_put(f, p->error.message);
            fputc('\n', f);
            if (p->error.hint[0]) {
                fprintf(f, "%-10s          ", "");
                fal_report_put(f, p->error.hint);
                fputc('\n', f);
            }
        }
        for (int d = 0; d < p->n; d++) {
            const fal_device_info *x = &p->devices[d];
            fprintf(f, "%-10s %d  %s  ", p->backend->name, x->index, x->is_cpu ? "CPU" : "GPU");
            fal_report_put(f, x->name);
            fputs(", ", f);
            fal_report_put(f, x->driver);
            fprintf(f, ", %.1f GiB, name in files %s, UUID ", (double)x->memory_bytes / (1 << 30), x->slug);
            fal_report_put(f, x->uuid[0] ? x->uuid : "none");
            fputc('\n', f);
        }
    }
}

int fal_cmd_devices(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    bool json = false;
    const char *here = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--here") == 0 && i + 1 < argc)
            here = argv[++i];
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, env->out);
            return 0;
        } else
            return fal_exit_status(
                fal_fail(err, FAL_ERR_USAGE, "falsify devices [--json]", "unexpected argument '%.100s'", argv[i]));
    }
    if (here) return fal_exit_status(ask_here(here, env->out, err));
    fal_status st = FAL_OK;
    fal_probes *all = fal_probes_make();
    if (!all) return fal_exit_status(fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for devices"));
    fal_probes_ask(all, NULL, env->program, PROBE_SECONDS, env->stop);
    if (json)
        st = fal_json_print(json_pack("{s:o}", "backends", fal_report_probes_json(all)), env->out, err);
    else
        print_table(all, env->out);
    free(all);
    return fal_exit_status(st);
}
