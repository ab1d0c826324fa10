/* Bisecting: makes the four observations one after the other and judges each while the reference's is at hand. */
#include "harness/bisect.h"

#include "harness/evidence.h"
#include "harness/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

const char *fal_bisect_step_name(fal_bisect_step s)
{
    static const char *const names[FAL_N_STEPS] = { "reference", "teacher-forced", "free-running", "pinned" };
    return (unsigned)s < FAL_N_STEPS ? names[s] : "unknown";
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what it is held to ------------------------------------------------------------------------------------------- */

static bool is_about(const fal_check *c, const char *backend)
{
    if (c->n_backends == 0) return strcmp(backend, "reference") != 0;
    for (int i = 0; i < c->n_backends; i++)
        if (strcmp(c->backends[i], backend) == 0) return true;
    return false;
}

/* A check that names a variant is about that one alone; the others are about the exact class, on whatever kernels. */
static bool is_about_variant(const fal_check *c, const fal_bisect_in *in)
{
    const char *const own = fal_params_text(&c->with, "variant", NULL);
    if (own) return strcmp(own, in->variant) == 0 && c->decode == in->decode;
    return strcmp(in->variant, "") == 0 || strcmp(in->variant, "cpu") == 0;
}

/* A fused variant shows only the sites that its checks name: all others leave the table. */
static void keep_named(fal_bisect *b, const fal_check *c)
{
    b->fused = true;
    for (int i = 0; i < c->n_taps && b->n_taps < (int)(sizeof b->taps / sizeof b->taps[0]); i++)
        b->taps[b->n_taps++] = c->taps[i];
}

static bool is_named(const fal_bisect *b, const char *site)
{
    for (int i = 0; i < b->n_taps; i++)
        if (fal_glob_match(b->taps[i], site)) return true;
    return false;
}

/* Limits and sites, from the teacher-forced checks; returns the check that says what a near-tie of the router is, or
   NULL. */
static const fal_check *take_limits(fal_bisect *b, bool full_size)
{
    static const char *const all = "all";
    const fal_bisect_in *const in = &b->in;
    fal_divergence_table *const t = &b->table;
    const fal_check *router = NULL;
    for (int i = 0; i < in->contracts->n_contracts; i++) {
        const fal_contract *const contract = in->contracts->contracts[i];
        for (int j = 0; j < contract->n_falsifiers; j++) {
            const fal_falsifier *const f = &contract->falsifiers[j];
            for (int k = 0; k < f->n_checks && !f->retired; k++) {
                fal_check c = f->checks[k];
                if (c.against != FAL_AGAINST_REFERENCE || !is_about(&c, in->backend) || !is_about_variant(&c, in)) continue;
                if (full_size && c.has_limit_full_size) c.limit = c.limit_full_size;
                if (!router && strcmp(c.judge, "router_sets") == 0) router = &f->checks[k];
                if (c.observe != FAL_OBSERVE_TEACHER || strcmp(c.judge, "rel_l2") != 0) continue;
                fal_divergence_limit(t, &c);
                if (fal_params_text(&c.with, "variant", NULL)) keep_named(b, &f->checks[k]);
            }
        }
    }
    if (!b->fused) {
        b->taps[b->n_taps++] = all;
        return router;
    }
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (is_named(b, t->rows[i].tap.name)) t->rows[n++] = t->rows[i];
    t->n = n;
    return router;
}

/* ---- observing ---------------------------------------------------------------------------------------------------- */

static fal_status make_folder(fal_bisect *b, const fal_config *c, fal_error *err)
{
    uint64_t row = 0, tokens = 0;
    for (int s = 0; s < FAL_N_SITES; s++) {
        int sub, width;
        fal_site_shape((fal_site)s, c, &sub, &width);
        row += (uint64_t)sub * (uint64_t)width * 4 * (uint64_t)(fal_site_get((fal_site)s)->per_layer ? c->n_layer : 1);
    }
    for (int r = 0; r < b->in.n_requests; r++) tokens += (uint64_t)b->in.n_tokens[r];
    const double need = 3.0 * (double)row * (double)tokens; /* the reference's, the teacher-forced one, one more */
    struct statvfs v;
    if (statvfs(b->in.tmp, &v) == 0 && (double)v.f_bavail * (double)v.f_frsize < need)
        return fal_fail(err, FAL_ERR_OUTPUT, "name a larger folder with TMPDIR, or bisect a shorter prompt",
                        "%s has %.1f GB free, but observations of %llu tokens take %.1f GB", b->in.tmp,
                        1e-9 * (double)v.f_bavail * (double)v.f_frsize, (unsigned long long)tokens, 1e-9 * need);
    fal_text path = { 0 };
    fal_text_addf(&path, "%s/falsify-bisect-XXXXXX", b->in.tmp);
    if (path.failed) {
        fal_text_free(&path);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    }
    if (!mkdtemp(path.data)) {
        fal_fail(err, FAL_ERR_OUTPUT, "check TMPDIR", "no folder for observations: %s: %s", path.data, strerror(errno));
        fal_text_free(&path);
        return FAL_ERR_OUTPUT;
    }
    b->folder = path.data;
    return FAL_OK;
}

static void show(const fal_bisect *b, const char *what)
{
    if (!b->in.progress) return;
    fprintf(b->in.progress, "\r\033[Kbisect %s: %s", b->in.backend, what);
    fflush(b->in.progress);
}

static void remove_file(fal_bisect *b, fal_bisect_step s)
{
    if (b->paths[s]) unlink(b->paths[s]);
    free(b->paths[s]);
    b->paths[s] = NULL;
}

/* One observation, by a process that may die of it. */
static bool observe(fal_bisect *b, fal_bisect_step s, fal_observer *o)
{
    static const fal_observe_kind kinds[FAL_N_STEPS] = { FAL_OBSERVE_FORWARD, FAL_OBSERVE_TEACHER, FAL_OBSERVE_FORWARD,
                                                         FAL_OBSERVE_PINNED };
    static const char *const all[] = { "all" };
    const bool reference = s == FAL_STEP_REFERENCE;
    fal_text path = { 0 };
    fal_text_addf(&path, "%s/%d.safetensors", b->folder, (int)s);
    if (path.failed) {
        fal_text_free(&path);
        fal_fail(&b->outcomes[s].error, FAL_ERR_MEMORY, NULL, "no memory for a path");
        b->outcomes[s].kind = FAL_OUTCOME_ERROR;
        return false;
    }
    b->paths[s] = path.data;
    const fal_spec spec = { .kind = kinds[s],
                            .backend = reference ? "reference" : b->in.backend,
                            .variant = !reference ? b->in.variant : b->in.mirror ? b->in.mirror : "",
                            .device = reference || !b->in.device ? "" : b->in.device,
                            .model = b->in.model,
                            .tokens = b->in.tokens,
                            .n_tokens = b->in.n_tokens,
                            .n_requests = b->in.n_requests,
                            .decode = !reference && b->in.decode,
                            .taps = reference ? all : b->taps,
                            .n_taps = reference ? 1 : b->n_taps,
                            .inputs = s == FAL_STEP_TEACHER ? b->paths[FAL_STEP_REFERENCE] : NULL,
                            .pin = s == FAL_STEP_PINNED ? b->paths[FAL_STEP_REFERENCE] : NULL,
                            .out = b->paths[s] };
    show(b, fal_bisect_step_name(s));
    const double t0 = now();
    fal_observer_run(o, &spec, b->in.timeout_s, b->in.stop, &b->outcomes[s]);
    b->step_seconds[s] = now() - t0;
    return b->outcomes[s].kind == FAL_OUTCOME_DONE;
}

/* What ran must be what was asked for. */
static fal_status check_ran(const fal_bisect *b, const fal_observation *o, fal_error *err)
{
    const json_t *ran = json_object_get(o->about, "ran");
    const char *backend = json_string_value(json_object_get(ran, "backend"));
    const char *variant = json_string_value(json_object_get(ran, "variant"));
    if (backend && strcmp(backend, b->in.backend) == 0 && variant && strcmp(variant, b->in.variant) == 0) return FAL_OK;
    return fal_fail(err, FAL_ERR_DEVICE, NULL, "asked for %s variant '%s', but %s variant '%s' ran", b->in.backend,
                    b->in.variant, backend ? backend : "(not said)", variant ? variant : "(not said)");
}

/* Judges a pass while both files are there. A file that cannot be judged is an outcome of that pass. */
static void judge(fal_bisect *b, fal_bisect_step s, const fal_check *router)
{
    static const fal_pass passes[FAL_N_STEPS] = { FAL_N_PASSES, FAL_PASS_LOCAL, FAL_PASS_FREE, FAL_PASS_PINNED };
    fal_observation *got = NULL, *want = NULL;
    fal_error *err = &b->outcomes[s].error;
    fal_status st = fal_observation_open(b->paths[FAL_STEP_REFERENCE], &want, err);
    if (!st) st = fal_observation_open(b->paths[s], &got, err);
    if (!st) st = check_ran(b, got, err);
    show(b, "comparing");
    if (!st) st = fal_divergence_add(&b->table, passes[s], got, want, router, err);
    if (!st)
        b->made[s] = true;
    else
        b->outcomes[s].kind = FAL_OUTCOME_ERROR;
    if (!st && s == FAL_STEP_TEACHER) b->ran = json_incref(json_object_get(got->about, "ran"));
    fal_observation_close(got);
    fal_observation_close(want);
}

static void count(fal_bisect *b)
{
    fal_bisect_counts *const n = &b->counts;
    *n = (fal_bisect_counts){ .planned = b->table.n };
    for (int i = 0; i < b->table.n; i++) {
        const fal_divergence_row *const r = &b->table.rows[i];
        if (!b->made[FAL_STEP_TEACHER] || !r->pass[FAL_PASS_LOCAL].has)
            n->not_observed++;
        else if (!r->has_limit)
            n->unjudged++;
        else if (r->breaks)
            n->beyond++;
        else
            n->within++;
    }
    b->first = b->made[FAL_STEP_TEACHER] ? fal_divergence_first(&b->table) : -1;
}

static fal_status check_in(const fal_bisect_in *in, fal_error *err)
{
    if (in->n_requests < 1) return fal_fail(err, FAL_ERR_USAGE, "give --tokens", "bisect: no prompt");
    if (strcmp(in->backend, "reference") == 0)
        return fal_fail(err, FAL_ERR_USAGE, "name another with --backend",
                        "bisect: the reference cannot diverge from itself");
    return FAL_OK;
}

fal_status fal_bisect_make(const fal_bisect_in *in, fal_bisect **out, fal_error *err)
{
    fal_observer *reference = NULL, *trial = NULL;
    const double t0 = now();
    fal_status st = check_in(in, err);
    if (st) return st;
    fal_bisect *b = calloc(1, sizeof *b);
    if (!b) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory to bisect");
    b->in = *in;
    b->first = -1;
    for (int s = 0; s < FAL_N_STEPS; s++) b->outcomes[s].kind = FAL_OUTCOME_NOT_RUN;
    st = fal_model_open(in->model, &b->model, err);
    if (!st) st = fal_divergence_make(&b->model->config, &b->table, err);
    if (!st) st = make_folder(b, &b->model->config, err);
    if (!st) st = fal_observer_make(in->program, &reference, err);
    if (!st) st = fal_observer_make(in->program, &trial, err);
    if (st) goto out;
    if (in->known) {
        fal_observer_know(reference, in->known);
        fal_observer_know(trial, in->known);
    }
    const fal_check *router = take_limits(b, b->model->tensor_bytes >= FAL_FULL_SIZE_BYTES);
    b->made[FAL_STEP_REFERENCE] = observe(b, FAL_STEP_REFERENCE, reference);
    for (int s = FAL_STEP_TEACHER; s < FAL_N_STEPS && b->made[FAL_STEP_REFERENCE]; s++) {
        if (in->stop && *in->stop) break;
        if (observe(b, (fal_bisect_step)s, trial)) judge(b, (fal_bisect_step)s, router);
        if (s > FAL_STEP_TEACHER)
            remove_file(b, (fal_bisect_step)s);
        else if (b->outcomes[s].kind == FAL_OUTCOME_BLOCKED)
            break;
    }
    count(b);
    b->seconds = now() - t0;
out:
    if (in->progress) {
        fputs("\r\033[K", in->progress);
        fflush(in->progress);
    }
    fal_observer_free(trial);
    fal_observer_free(reference);
    if (st)
        fal_bisect_free(b);
    else
        *out = b;
    return st;
}

void fal_bisect_free(fal_bisect *b)
{
    if (!b) return;
    for (int s = 0; s < FAL_N_STEPS; s++) remove_file(b, (fal_bisect_step)s);
    fal_remove_folder(b->folder);
    free(b->folder);
    free(b->places);
    free(b->capsule.path);
    fal_capsule_free(b->capsule.call);
    fal_model_close(b->model);
    json_decref(b->ran);
    fal_divergence_free(&b->table);
    free(b);
}

int fal_bisect_exit(const fal_bisect *b, char *reason, size_t size)
{
    const fal_bisect_counts *const n = &b->counts;
    if (n->beyond > 0) {
        snprintf(reason, size, "%d of %d ops break their limit by themselves, first %s", n->beyond, n->planned,
                 b->table.rows[b->first].tap.name);
        return 1;
    }
    for (int s = 0; s < FAL_N_STEPS; s++) {
        if (b->made[s]) continue;
        const fal_outcome *const o = &b->outcomes[s];
        snprintf(reason, size, "the %s pass %s: %.300s", fal_bisect_step_name((fal_bisect_step)s),
                 o->kind == FAL_OUTCOME_BLOCKED   ? "is blocked"
                 : o->kind == FAL_OUTCOME_NOT_RUN ? "was not run"
                                                  : "failed",
                 o->error.message[0] ? o->error.message : "interrupted");
        return b->in.stop && *b->in.stop ? 130 : o->kind == FAL_OUTCOME_BLOCKED ? 77 : 5;
    }
    if (n->not_observed > 0 || n->within == 0) {
        snprintf(reason, size, "%d of %d ops were not judged", n->planned - n->within, n->planned);
        return 5;
    }
    return 0;
}
