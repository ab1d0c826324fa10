/* The observer's main loop: specs come in as JSON lines, answers go out as JSON lines. */
#include "harness/evidence.h"
#include "harness/observe_state.h"
#include "harness/observer_progress.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Maps the page through which the parent sees how far this process got. Without one all works but that. */
static void map_progress(fal_observe_state *s, const json_t *fd)
{
    if (s->progress || !json_is_integer(fd) || json_integer_value(fd) < 3 || json_integer_value(fd) > 1023) return;
    void *p = mmap(NULL, FAL_PROGRESS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, (int)json_integer_value(fd), 0);
    if (p == MAP_FAILED) return;
    s->progress = p;
    s->progress_size = FAL_PROGRESS_BYTES;
}

/* Takes over what the parent knows about the model; nonsense is as good as nothing. */
static void take_known(fal_observe_state *s, const json_t *known)
{
    json_int_t n[5] = { 0 };
    const char *sha256 = NULL;
    if (json_unpack((json_t *)(uintptr_t)known, "[I, I, I, I, I, s]", &n[0], &n[1], &n[2], &n[3], &n[4], &sha256) != 0) return;
    if (strlen(sha256) != 64 || strspn(sha256, "0123456789abcdef") != 64) return;
    s->known = (fal_known_file) { .device = (uint64_t)n[0], .inode = (uint64_t)n[1], .size = (uint64_t)n[2], .mtime_s = n[3], .mtime_ns = n[4] };
    memcpy(s->known.sha256, sha256, 65);
}

static fal_status observe_line(fal_observe_state *s, const char *line, size_t n, fal_error *err)
{
    json_error_t je;
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, &je);
    if (!j) return fal_fail(err, FAL_ERR_INPUT, NULL, "spec: not JSON: %s (at byte %d)", je.text, je.position);
    map_progress(s, json_object_get(j, FAL_PROGRESS_FIELD));
    json_object_del(j, FAL_PROGRESS_FIELD);
    if (json_object_get(j, FAL_KNOWN_FIELD)) take_known(s, json_object_get(j, FAL_KNOWN_FIELD));
    json_object_del(j, FAL_KNOWN_FIELD);
    fal_observe_mark(s, "reading the spec");
    fal_spec_box *box = NULL;
    const fal_spec *spec = NULL;
    fal_status st = fal_spec_from_json(j, &box, &spec, err);
    if (!st) st = fal_observe_in(s, spec, err);
    fal_spec_free(box);
    json_decref(j);
    return st;
}

static fal_status answer(FILE *out, const fal_error *e, fal_status st, double seconds, fal_error *err)
{
    json_t *j = json_pack("{s:s, s:o, s:o, s:o, s:f}", "status", fal_status_name(st), "message", fal_json_shown(e->message), "hint",
                          fal_json_shown(e->hint), "contract", fal_json_shown(e->contract), "seconds", seconds);
    const bool ok = j && json_dumpf(j, out, JSON_COMPACT) == 0 && fputc('\n', out) != EOF && fflush(out) == 0;
    json_decref(j);
    return ok ? FAL_OK : fal_fail(err, FAL_ERR_OUTPUT, NULL, "the answer cannot be written");
}

fal_status fal_observe_serve(FILE *in, FILE *out, fal_error *err)
{
    fal_observe_state s = { 0 };
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    fal_status st = FAL_OK;
    while (!st && (n = getline(&line, &cap, in)) > 0) {
        fal_error own = { 0 };
        const double start = fal_observe_now();
        const fal_status observed = observe_line(&s, line, (size_t)n, &own);
        fal_observe_mark(&s, "answering");
        st = answer(out, &own, observed, fal_observe_now() - start, err);
    }
    fal_observe_mark(&s, "closing");
    fal_observe_close(&s);
    if (s.progress) munmap(s.progress, s.progress_size);
    free(line);
    return st;
}
