/* What follows a failed run: which parity to bisect. */
#include "harness/aftermath_parts.h"

#include "harness/digest.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_PLACES = 16 };

static bool is_parity(const fal_check *c)
{
    return c->against == FAL_AGAINST_REFERENCE && !c->sequence &&
           (c->observe == FAL_OBSERVE_TEACHER || c->observe == FAL_OBSERVE_FORWARD || c->observe == FAL_OBSERVE_PINNED);
}

bool fal_aftermath_same_target(const fal_case *a, const fal_case *b)
{
    return strcmp(a->backend, b->backend) == 0 && strcmp(a->variant, b->variant) == 0 &&
           a->check->decode == b->check->decode;
}

void fal_aftermath_note(fal_result *r, const char *path)
{
    fal_error ignored = { 0 };
    if (r->capsule || !path) return;
    r->capsule = strdup(path);
    if (fal_sha256_file(path, r->capsule_sha256, &ignored) != FAL_OK) r->capsule_sha256[0] = '\0';
}

/* ---- parities ----------------------------------------------------------------------------------------------------- */

static void bisect(fal_run *run, int i, const fal_aftermath_in *in, fal_aftermath *out)
{
    const fal_plan *const plan = run->plan;
    const fal_case *const k = &plan->cases[i];
    const fal_spec *const s = &plan->specs[k->got].spec;
    fal_known_file known = { 0 };
    fal_error err = { 0 };
    struct stat sb;
    if (stat(plan->model, &sb) == 0) {
        known = (fal_known_file){ .device = (uint64_t)sb.st_dev,
                                  .inode = (uint64_t)sb.st_ino,
                                  .size = (uint64_t)sb.st_size,
                                  .mtime_s = (int64_t)sb.st_mtim.tv_sec,
                                  .mtime_ns = (int64_t)sb.st_mtim.tv_nsec };
        memcpy(known.sha256, run->model_sha256, sizeof known.sha256);
    }
    const fal_bisect_in b = { .program = in->program,
                              .tmp = in->tmp,
                              .model = plan->model,
                              .backend = k->backend,
                              .variant = k->variant,
                              .mirror = fal_params_text(&k->check->with, "mirror", NULL),
                              .decode = k->check->decode,
                              .device = k->device && strcmp(k->backend, "reference") != 0 ? s->device : NULL,
                              .tokens = s->tokens,
                              .n_tokens = s->n_tokens,
                              .names = &k->what,
                              .n_requests = 1,
                              .contracts = in->contracts,
                              .known = &known,
                              .timeout_s = in->timeout_s,
                              .stop = in->stop,
                              .progress = in->progress };
    fal_bisect **const made = &out->bisects[out->n];
    if (fal_bisect_make(&b, made, &err) != FAL_OK) return;
    out->n++;
    if (fal_bisect_find(*made, in->folder, k->id, MOST_PLACES, FAL_SHRINK_S, &err) != FAL_OK) return;
    for (int c = 0; c < plan->n_cases; c++)
        if (run->results[c].verdict.kind == FAL_FALSIFIED && is_parity(plan->cases[c].check) &&
            fal_aftermath_same_target(&plan->cases[c], k))
            fal_aftermath_note(&run->results[c], (*made)->capsule.path);
}

/* A teacher-forced case that failed is sure to show a broken op; of several the shorter prompt, but one of one token shows
   no attention. */
static bool shows_more(const fal_case *a, const fal_case *b)
{
    const bool teacher_a = a->check->observe == FAL_OBSERVE_TEACHER,
               teacher_b = b->check->observe == FAL_OBSERVE_TEACHER;
    if (teacher_a != teacher_b) return teacher_a;
    if ((a->n_tokens > 1) != (b->n_tokens > 1)) return a->n_tokens > 1;
    return a->n_tokens < b->n_tokens;
}

static void bisect_parities(fal_run *run, const fal_aftermath_in *in, fal_aftermath *out)
{
    const fal_plan *const plan = run->plan;
    for (int i = 0; i < plan->n_cases && out->n < FAL_MOST_BISECTS; i++) {
        if (run->results[i].verdict.kind != FAL_FALSIFIED || !is_parity(plan->cases[i].check) || plan->cases[i].got < 0)
            continue;
        if (strcmp(plan->cases[i].backend, "reference") == 0) continue;
        bool done = false;
        for (int b = 0; b < out->n && !done; b++)
            done = strcmp(out->bisects[b]->in.backend, plan->cases[i].backend) == 0 &&
                   strcmp(out->bisects[b]->in.variant, plan->cases[i].variant) == 0 &&
                   out->bisects[b]->in.decode == plan->cases[i].check->decode;
        if (done) continue;
        int pick = i;
        for (int c = i + 1; c < plan->n_cases; c++)
            if (run->results[c].verdict.kind == FAL_FALSIFIED && is_parity(plan->cases[c].check) &&
                plan->cases[c].got >= 0 && fal_aftermath_same_target(&plan->cases[c], &plan->cases[i]) &&
                shows_more(&plan->cases[c], &plan->cases[pick]))
                pick = c;
        bisect(run, pick, in, out);
    }
}

void fal_aftermath_make(fal_run *run, const fal_aftermath_in *in, fal_aftermath *out)
{
    *out = (fal_aftermath){ 0 };
    if (run->tally.interrupted) return;
    bisect_parities(run, in, out);
    fal_aftermath_keep_calls(run, in);
}

void fal_aftermath_free(fal_aftermath *a)
{
    if (!a) return;
    for (int i = 0; i < a->n; i++) fal_bisect_free(a->bisects[i]);
    *a = (fal_aftermath){ 0 };
}
