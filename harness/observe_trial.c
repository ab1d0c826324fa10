/* A trial: one op of a candidate called on reused, moved and fresh addresses, then timed, every call on inputs of its own. The
   reference answers the same requests, in its own process, without any of that. */
#include "harness/candidate_parts.h"
#include "harness/digest.h"
#include "harness/host_bandwidth.h"
#include "harness/observe_state.h"
#include "harness/throughput.h"
#include "harness/trial.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROBES = FAL_TRIAL_PROBES, MAX_CALLS = PROBES + FAL_TRIAL_MAX_TIMED, MAX_GROUPS = 8 };
static const double late_s = 0.03; /* how long a call that has returned may still betray itself */

/* Requests: 0 content A; 1 content B at the same addresses; 2 content B elsewhere; 3 content A where it was first; then the
   timed ones. Seeds: A, B, and one for each timed call. */
typedef struct {
    fal_observe_state *s;
    const fal_spec *spec;
    fal_observation_writer *w;
    fal_fixture *a, *b, *timed[FAL_TRIAL_MAX_TIMED];
    int n_timed, n_weights;
    json_t *requests, *trial;
    /* of a candidate */
    fal_fenced memory;
    fal_wire_call here, there, calls[FAL_TRIAL_MAX_TIMED];
    size_t changed, strayed, late, input_bytes, guard_bytes;
    double seconds[MAX_GROUPS], bytes[MAX_GROUPS];
    int group[MAX_GROUPS + 1], n_groups; /* group g is the calls [group[g], group[g + 1]) */
} trial;

static fal_fixture *fixture_of(const trial *t, int request)
{
    if (request >= PROBES) return t->timed[request - PROBES];
    return request == 0 || request == 3 ? t->a : t->b;
}

static uint64_t seed_of(const trial *t, int request)
{
    const int i = request >= PROBES ? request - PROBES + 2 : request == 1 || request == 2;
    return t->spec->seeds[i];
}

static fal_status no_memory(fal_error *err)
{
    return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a trial");
}

static bool is_weight(const fal_call *c, int i)
{
    return fal_call_is_weight(c, c->fields[i].name);
}

/* Room for what calls that share weights do not share. */
static size_t room_of_others(const fal_call *c)
{
    size_t room = 0;
    for (int i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == FAL_FIELD_ARRAY && c->fields[i].data && !is_weight(c, i))
            room += fal_fenced_room(c->fields[i].nbytes);
    return room;
}

/* Arrays that are read and written hold what was written last: drawn again. All others stay. */
static fal_status refresh(fal_fixture *f, fal_error *err)
{
    int n;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    for (int i = 0; i < n; i++)
        if (b[i].is_input && b[i].is_output) return fal_fixture_fill(f, err);
    return FAL_OK;
}

/* ---- inputs and files ------------------------------------------------------------------------------------------------- */

static fal_status make_fixtures(trial *t, fal_error *err)
{
    const fal_spec *p = t->spec;
    fal_status st = FAL_OK;
    t->n_timed = p->n_seeds - 2;
    if (t->n_timed < 1 || t->n_timed > FAL_TRIAL_MAX_TIMED)
        return fal_fail(err, FAL_ERR_USAGE, NULL, "a trial takes 3 to %d seeds, found %d", FAL_TRIAL_MAX_TIMED + 2,
                        p->n_seeds);
    for (int i = 0; i < t->n_timed + 2 && !st; i++) {
        fal_fixture **f = i == 0 ? &t->a : i == 1 ? &t->b : &t->timed[i - 2];
        st = fal_fixture_make(p->op, &p->shape, p->fill, p->seeds[i], &p->with, NULL, f, err);
        if (!st && i == 0) t->n_weights = fal_trial_weights(*f, t->n_timed);
        if (!st && i - 2 >= t->n_weights) fal_fixture_share_weights(*f, t->timed[(i - 2) % t->n_weights]);
        if (!st) st = fal_fixture_fill(*f, err);
    }
    return st;
}

static void name_of(char name[96], int request, const char *kind, const char *argument)
{
    snprintf(name, 96, "r%d.%s.%s", request, kind, argument);
}

static fal_status declare(trial *t, bool is_candidate, fal_error *err)
{
    fal_status st = FAL_OK;
    char name[96];
    int n;
    for (int r = 0; r < PROBES + t->n_timed && !st; r++) {
        const fal_buffer *b = fal_fixture_buffers(fixture_of(t, r), &n);
        for (int i = 0; i < n && !st; i++) {
            if (!b[i].is_output) continue;
            name_of(name, r, "out", b[i].name);
            st = fal_observation_declare(t->w, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
            if (st || !is_candidate || r < PROBES) continue;
            name_of(name, r, "after", b[i].name);
            st = fal_observation_declare(t->w, name, b[i].dtype, b[i].n_dims, b[i].ne, err);
        }
    }
    return st;
}

static fal_status put(trial *t, int r, const char *kind, fal_error *err)
{
    char name[96];
    int n;
    const fal_buffer *b = fal_fixture_buffers(fixture_of(t, r), &n);
    fal_status st = FAL_OK;
    for (int i = 0; i < n && !st; i++) {
        if (!b[i].is_output) continue;
        name_of(name, r, kind, b[i].name);
        st = fal_observation_put(t->w, name, 0, b[i].data, b[i].nbytes, err);
    }
    return st;
}

/* One digest of all inputs, before anybody may have changed them: both sides must have been given the same. */
static fal_status digest_inputs(const fal_fixture *f, char hex[65], fal_error *err)
{
    char list[6 * 64 + 1] = "";
    int n, count = 0;
    const fal_buffer *b = fal_fixture_buffers(f, &n);
    fal_status st = FAL_OK;
    for (int i = 0; i < n && !st; i++)
        if (b[i].is_input) st = fal_sha256(b[i].data, b[i].nbytes, list + 64 * count++, err);
    return st ? st : fal_sha256(list, (size_t)count * 64, hex, err);
}

static fal_status describe_requests(trial *t, fal_error *err)
{
    char hex[65] = "", digests[2][65];
    fal_status st = FAL_OK;
    for (int r = 0; r < PROBES + t->n_timed && !st; r++) {
        const fal_fixture *f = fixture_of(t, r);
        /* weights are large: the two contents of the probes are read once */
        if (r == 2 || r == 3)
            memcpy(hex, digests[r == 2], sizeof hex);
        else
            st = digest_inputs(f, hex, err);
        if (r < 2) memcpy(digests[r], hex, sizeof hex);
        json_t *j = json_pack("{s:s, s:o, s:o, s:s}", "op", fal_fixture_op(f), "params", fal_fixture_params(f), "seed",
                              json_integer((json_int_t)seed_of(t, r)), "inputs", hex);
        if (json_array_append_new(t->requests, j) != 0 && !st) st = no_memory(err);
    }
    return st;
}

/* ---- the reference ------------------------------------------------------------------------------------------------------ */

static fal_status run_plainly(trial *t, fal_error *err)
{
    fal_status st = FAL_OK;
    for (int r = 0; r < PROBES + t->n_timed && !st; r++) {
        fal_observe_mark(t->s, "at r%d %s", r, t->spec->op);
        st = refresh(fixture_of(t, r), err);
        if (!st) st = fal_fixture_run(fixture_of(t, r), t->s->backend, t->s->ctx, err);
        if (!st) st = put(t, r, "out", err);
    }
    return st;
}

/* ---- the candidate's calls ---------------------------------------------------------------------------------------------- */

static void look(trial *t, const fal_call *c, const fal_wire_call *w)
{
    t->changed += fal_candidate_changed(t->s->ctx, c, &t->memory, w);
    t->strayed += fal_candidate_strayed(t->s->ctx, c, &t->memory, w);
    for (int i = 0; i < c->n_fields; i++) {
        if (c->fields[i].kind != FAL_FIELD_ARRAY || !c->fields[i].data || w->fields[i].keep) continue;
        t->guard_bytes += 2 * FAL_WIRE_GUARD;
        if (c->fields[i].is_input && !c->fields[i].is_output) t->input_bytes += c->fields[i].nbytes;
    }
}

static size_t outputs_differ(const fal_call *c, const fal_fenced *m, const fal_wire_call *w)
{
    size_t n = 0;
    for (int i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == FAL_FIELD_ARRAY && c->fields[i].data && c->fields[i].is_output)
            n += fal_bytes_differ(m->map + w->fields[i].offset, c->fields[i].data, c->fields[i].nbytes);
    return n;
}

static fal_status probe(trial *t, int r, fal_wire_call *w, fal_error *err)
{
    fal_context *ctx = t->s->ctx;
    fal_call c;
    fal_fixture_call(fixture_of(t, r), &c);
    fal_observe_mark(t->s, "at r%d %s, %s", r, c.op,
                     r == 0   ? "first content"
                     : r == 1 ? "new content at the same addresses"
                     : r == 2 ? "the same content elsewhere"
                              : "the first content again");
    fal_status st = refresh(fixture_of(t, r), err);
    if (!st) fal_candidate_fill(&c, &t->memory, w);
    if (!st) st = fal_candidate_ask(ctx, FAL_WIRE_PUT, w, 1, NULL, err);
    if (!st) st = fal_candidate_run(ctx, w, 1, NULL, err);
    if (st) return st;
    look(t, &c, w);
    fal_candidate_take(&c, &t->memory, w);
    fal_candidate_resume(ctx);
    nanosleep(&(const struct timespec){ .tv_nsec = (long)(late_s * 1e9) }, NULL);
    t->late += outputs_differ(&c, &t->memory, w); /* it is not stopped now: that is the point */
    return put(t, r, "out", err);
}

/* Weights that are where they are needed need not travel; whether they were left alone is looked at in the end. */
static void keep_weights(const fal_call *c, fal_wire_call *w, bool keep)
{
    for (int i = 0; i < c->n_fields; i++)
        if (is_weight(c, i)) w->fields[i].keep = keep;
}

static fal_status place(trial *t, fal_error *err)
{
    fal_call c;
    uint64_t share[FAL_MAX_FIELDS];
    fal_fixture_call(t->a, &c);
    const size_t room = fal_candidate_room(&c);
    fal_status st = fal_fenced_make(
        room * (size_t)(2 + t->n_weights) + room_of_others(&c) * (size_t)(t->n_timed - t->n_weights), &t->memory, err);
    if (!st) st = fal_candidate_place(&c, &t->memory, NULL, &t->here, err);
    if (!st) st = fal_candidate_place(&c, &t->memory, NULL, &t->there, err);
    for (int k = 0; k < t->n_timed && !st; k++) {
        fal_fixture_call(t->timed[k], &c);
        for (int i = 0; i < c.n_fields; i++)
            share[i] = k >= t->n_weights && is_weight(&c, i) ? t->calls[k % t->n_weights].fields[i].offset : 0;
        st = fal_candidate_place(&c, &t->memory, share, &t->calls[k], err);
        keep_weights(&c, &t->calls[k], k >= t->n_weights);
    }
    return st ? st : fal_candidate_map(t->s->ctx, &t->memory, err);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------ */

/* Each call once: a candidate that had seen these inputs before could know the answers. A shared object stands still while
   they are brought, until the clock runs; what brings them to a device is our own. */
static fal_status time_groups(trial *t, fal_error *err)
{
    fal_context *ctx = t->s->ctx;
    fal_status st = FAL_OK;
    t->n_groups = t->n_timed < MAX_GROUPS ? t->n_timed : MAX_GROUPS;
    for (int g = 0; g <= t->n_groups; g++) t->group[g] = t->n_timed * g / t->n_groups;
    const bool stands_still = fal_candidate_file_of(ctx)->form == FAL_FORM_SO;
    if (stands_still) st = fal_candidate_ask(ctx, FAL_WIRE_PUT, t->calls, t->n_timed, NULL, err); /* closes the pages */
    for (int g = 0; g < t->n_groups && !st; g++) {
        const int first = t->group[g], n = t->group[g + 1] - first;
        fal_candidate_pause(ctx);
        for (int k = first; k < first + n; k++) {
            fal_call c;
            fal_fixture_call(t->timed[k], &c);
            fal_candidate_fill(&c, &t->memory, &t->calls[k]);
        }
        fal_observe_mark(t->s, "timed calls %d to %d of %s", first, first + n - 1, t->spec->op);
        if (!stands_still) st = fal_candidate_ask(ctx, FAL_WIRE_PUT, t->calls + first, n, NULL, err);
        if (!st) st = fal_candidate_run(ctx, t->calls + first, n, &t->seconds[g], err);
        for (int k = first; k < first + n && !st; k++) {
            fal_call c;
            fal_fixture_call(t->timed[k], &c);
            t->bytes[g] += fal_call_bytes(&c);
            look(t, &c, &t->calls[k]);
            fal_candidate_take(&c, &t->memory, &t->calls[k]);
            st = put(t, PROBES + k, "out", err);
        }
    }
    return st;
}

/* The same calls once more when nobody looks at the clock. */
static fal_status call_again(trial *t, fal_error *err)
{
    fal_status st = FAL_OK;
    for (int k = 0; k < t->n_timed && !st; k++) {
        fal_call c;
        st = refresh(t->timed[k], err);
        fal_fixture_call(t->timed[k], &c);
        fal_observe_mark(t->s, "call %d of %s again, not timed", k, c.op);
        keep_weights(&c, &t->calls[k], true);
        if (!st) fal_candidate_fill(&c, &t->memory, &t->calls[k]);
        if (!st) st = fal_candidate_ask(t->s->ctx, FAL_WIRE_PUT, &t->calls[k], 1, NULL, err);
        if (!st) st = fal_candidate_run(t->s->ctx, &t->calls[k], 1, NULL, err);
        if (st) break;
        look(t, &c, &t->calls[k]);
        fal_candidate_take(&c, &t->memory, &t->calls[k]);
        st = put(t, PROBES + k, "after", err);
    }
    for (int k = 0; k < t->n_weights && !st; k++) {
        fal_call c;
        fal_fixture_call(t->timed[k], &c);
        keep_weights(&c, &t->calls[k], false);
        st = fal_candidate_ask(t->s->ctx, FAL_WIRE_GET, &t->calls[k], 1, NULL, err);
        if (!st) look(t, &c, &t->calls[k]);
    }
    return st;
}

/* Ours over the same calls, in this process; what cannot be timed is left out. */
static void time_ours(trial *t, const fal_backend *b, const char *device, const char *variant, json_t *list)
{
    fal_error ignored = { 0 };
    fal_context *ctx = NULL;
    fal_call *calls = calloc((size_t)t->n_timed, sizeof *calls);
    double seconds = 0;
    const fal_backend_options options = { .device = device, .variant = variant };
    if (!calls || b->open(&options, &ctx, &ignored) != FAL_OK) {
        free(calls);
        return;
    }
    fal_observe_mark(t->s, "timing %s", b->name);
    fal_status st = FAL_OK;
    for (int k = 0; k < t->n_timed; k++) fal_fixture_call(t->timed[k], &calls[k]);
    if (b->time_calls) {
        st = b->time_calls(ctx, calls, t->n_timed, &seconds, &ignored);
    } else {
        st = fal_fixture_run(t->b, b, ctx, &ignored); /* not timed */
        const double start = fal_observe_now();
        for (int k = 0; k < t->n_timed && !st; k++) st = fal_fixture_run(t->timed[k], b, ctx, &ignored);
        seconds = fal_observe_now() - start;
    }
    if (!st)
        json_array_append_new(list, json_pack("{s:s, s:s, s:f}", "backend", b->name, "variant", variant,
                                              "seconds_per_call", seconds / t->n_timed));
    b->close(ctx);
    free(calls);
}

/* GB/s that the device reads at most over about that many bytes; 0 when nobody can tell. */
static double read_bandwidth(const fal_backend *b, const char *device, const char *variant, size_t bytes)
{
    fal_error ignored = { 0 };
    fal_context *ctx = NULL;
    double gb_per_s = 0;
    const fal_backend_options options = { .device = device, .variant = variant };
    if (b == &fal_reference_backend) return fal_host_read_bandwidth(bytes);
    if (b->open(&options, &ctx, &ignored) != FAL_OK) return 0;
    /* the kernels that read have a least size */
    const size_t least = (size_t)32 << 20;
    if (b->read_bandwidth(ctx, bytes < least ? least : bytes, &gb_per_s, &ignored) != FAL_OK) gb_per_s = 0;
    const bool is_cpu = b->device(ctx)->is_cpu;
    b->close(ctx);
    /* where others want the processors too, a median is no upper bound */
    const double host = is_cpu ? fal_host_read_bandwidth(bytes) : 0;
    return host > gb_per_s ? host : gb_per_s;
}

/* Half of what one group of timed calls touches: the arrays were brought a moment ago, and what is in a cache still is read
   faster than memory. Caches may only flatter the roofline. */
static size_t footprint(const trial *t)
{
    double least = t->bytes[0];
    for (int g = 1; g < t->n_groups; g++)
        if (t->bytes[g] < least) least = t->bytes[g];
    return (size_t)(least / 2);
}

static fal_status describe_trial(trial *t, double before, double after, const char *roofline, json_t *ours,
                                 fal_error *err)
{
    double each[MAX_GROUPS], seconds = 0, bytes = 0, fastest = 0;
    json_t *groups = json_array();
    for (int g = 0; g < t->n_groups; g++) {
        const int n = t->group[g + 1] - t->group[g];
        each[g] = t->seconds[g] / n;
        seconds += t->seconds[g];
        bytes += t->bytes[g];
        const double rate = 1e-9 * t->bytes[g] / t->seconds[g];
        if (rate > fastest) fastest = rate;
        json_array_append_new(groups,
                              json_pack("{s:i, s:f, s:f}", "calls", n, "seconds", t->seconds[g], "bytes", t->bytes[g]));
    }
    const double read = after > before ? after : before;
    t->trial =
        json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:f, s:f, s:f, s:o, s:s, s:I, s:o}", "timed_calls",
                  t->n_timed, "changed_bytes", (json_int_t)t->changed, "strayed_bytes", (json_int_t)t->strayed,
                  "late_bytes", (json_int_t)t->late, "input_bytes", (json_int_t)t->input_bytes, "guard_bytes",
                  (json_int_t)t->guard_bytes, "groups", groups, "seconds_per_call", fal_median(each, t->n_groups),
                  "bytes_per_call", bytes / t->n_timed, "gb_per_s", 1e-9 * bytes / seconds, "fastest_gb_per_s", fastest,
                  "read_gb_per_s", read > 0 ? json_real(read) : json_null(), "roofline", roofline, "roofline_bytes",
                  (json_int_t)footprint(t), "ours", ours);
    return t->trial ? FAL_OK : no_memory(err);
}

static fal_status try_candidate(trial *t, fal_error *err)
{
    const fal_candidate_file *file = fal_candidate_file_of(t->s->ctx);
    const fal_backend *under = fal_backend_find(file->backend);
    const char *device = fal_candidate_selector(t->s->ctx);
    const bool is_cpu = fal_candidate_backend.device(t->s->ctx)->is_cpu;
    const char *variant = file->form == FAL_FORM_CL && is_cpu ? "cpu" : "";
    fal_status st = place(t, err);
    for (int r = 0; r < PROBES && !st; r++) st = probe(t, r, r == 2 ? &t->there : &t->here, err);
    if (!st) st = time_groups(t, err);
    if (!st) st = call_again(t, err);
    if (st) return st;
    fal_candidate_end(t->s->ctx);
    const double before = read_bandwidth(under, device, variant, footprint(t));
    json_t *ours = json_array();
    time_ours(t, under, device, variant, ours);
    if (file->form == FAL_FORM_SO) time_ours(t, &fal_opencl_backend, "", "cpu", ours);
    const double after = read_bandwidth(under, device, variant, footprint(t));
    return describe_trial(t, before, after,
                          file->form == FAL_FORM_SO ? "memory read bandwidth of all processors"
                                                    : "read bandwidth of the device",
                          ours, err);
}

/* ---- entry ------------------------------------------------------------------------------------------------------------------- */

fal_status fal_observe_trial(fal_observe_state *s, const fal_spec *spec, fal_error *err)
{
    const bool is_candidate = s->backend == &fal_candidate_backend;
    if (!spec->op) return fal_fail(err, FAL_ERR_USAGE, NULL, "no op was named");
    trial *t = calloc(1, sizeof *t);
    if (!t) return no_memory(err);
    t->s = s;
    t->spec = spec;
    t->memory.fd = -1;
    t->requests = json_array();
    json_t *launches = fal_observe_launches(s);
    fal_observe_mark(s, "drawing inputs");
    fal_status st = make_fixtures(t, err);
    if (!st) st = fal_observation_writer_make(spec->out, &t->w, err);
    if (!st) st = declare(t, is_candidate, err);
    if (!st) st = describe_requests(t, err);
    if (!st) st = is_candidate ? try_candidate(t, err) : run_plainly(t, err);
    if (!st) {
        const fal_memory none = { 0 };
        st = fal_observe_finish(s, spec, t->w, t->requests, &none, launches, is_candidate ? "trial" : NULL, t->trial,
                                err);
        t->requests = t->trial = launches = NULL;
        if (is_candidate) fal_observe_close(s); /* its process has ended */
    }
    fal_fenced_free(&t->memory);
    fal_fixture_free(t->a);
    fal_fixture_free(t->b);
    for (int k = 0; k < FAL_TRIAL_MAX_TIMED; k++) fal_fixture_free(t->timed[k]);
    fal_observation_writer_free(t->w);
    json_decref(t->requests);
    json_decref(t->trial);
    json_decref(launches);
    free(t);
    return st;
}
