/* Judging one case: finds the judgement, runs it, applies the limit, and writes the sentence that explains it. */
#include "falsifiers/judgement.h"
#include "falsifiers/noise.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { F = 1, O = 2, P = 4, R = 8, T = 16, D = 32, L = 64, S = 128, X = 256 };

static const fal_judgement judgements[] = {
#define FAL_JUDGEMENT(name, kinds, metric, function, help) { #name, metric, function, help },
#include "falsifiers/judgements.def"
};

static const int judged_kinds[] = {
#define FAL_JUDGEMENT(name, kinds, metric, function, help) kinds,
#include "falsifiers/judgements.def"
};

static int kind_bit(fal_observe_kind kind)
{
    switch (kind) {
    case FAL_OBSERVE_FORWARD:
    case FAL_OBSERVE_TEACHER:
    case FAL_OBSERVE_PINNED: return F;
    case FAL_OBSERVE_OP: return O;
    case FAL_OBSERVE_PRELOAD: return P;
    case FAL_OBSERVE_REFUSAL: return R;
    case FAL_OBSERVE_THROUGHPUT: return T;
    case FAL_OBSERVE_DEVICE_CODE: return D;
    case FAL_OBSERVE_LAUNCHES: return L;
    case FAL_OBSERVE_SANITIZE: return S;
    case FAL_OBSERVE_TRIAL: return X;
    }
    return 0;
}

static const char *kind_name(fal_observe_kind kind)
{
    static const char *const names[] = { "forward", "teacher", "pinned", "op", "preload", "refusal",
                                        "throughput", "device_code", "launches", "sanitize", "trial" };
    return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

const char *fal_verdict_name(fal_verdict_kind v)
{
    static const char *const names[FAL_N_VERDICTS] = {
        [FAL_SURVIVED] = "survived", [FAL_FALSIFIED] = "falsified", [FAL_BLOCKED] = "blocked",
        [FAL_CRASHED] = "crashed",   [FAL_TIMED_OUT] = "timed_out", [FAL_ERROR] = "error",
        [FAL_FLAKY] = "flaky",       [FAL_MISTRUSTED] = "mistrusted", [FAL_WAIVED] = "waived",
        [FAL_NOT_RUN] = "not_run",
    };
    return (unsigned)v < FAL_N_VERDICTS ? names[v] : "unknown";
}

const fal_judgement *fal_judgement_all(int *n)
{
    *n = (int)(sizeof judgements / sizeof judgements[0]);
    return judgements;
}

const fal_judgement *fal_judgement_find(const char *name)
{
    for (size_t i = 0; i < sizeof judgements / sizeof judgements[0]; i++)
        if (strcmp(judgements[i].name, name) == 0) return &judgements[i];
    return NULL;
}

/* ---- what judgement functions say ------------------------------------------------------------------------------ */

void fal_give(fal_verdict *out, double value, uint64_t n_compared, const char *note, ...)
{
    out->has_value = true;
    out->value = value;
    out->n_compared = n_compared;
    out->reason[0] = '\0';
    if (!note) return;
    va_list ap;
    va_start(ap, note);
    vsnprintf(out->reason, sizeof out->reason, note, ap);
    va_end(ap);
}

bool fal_stop(fal_verdict *out, fal_verdict_kind kind, const char *fmt, ...)
{
    out->kind = kind;
    out->has_value = false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->reason, sizeof out->reason, fmt, ap);
    va_end(ap);
    return false;
}

void fal_doubt(fal_verdict *out, const char *fmt, ...)
{
    if (out->kind == FAL_MISTRUSTED) return;
    out->kind = FAL_MISTRUSTED;
    /* behind the note, on a line of its own, until apply_limit knows which of both is wanted */
    const size_t len = strlen(out->reason);
    if (len + 2 > sizeof out->reason) return;
    out->reason[len] = '\n';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->reason + len + 1, sizeof out->reason - len - 1, fmt, ap);
    va_end(ap);
}

void fal_refute(fal_verdict *out, const char *fmt, ...)
{
    out->kind = FAL_FALSIFIED;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->reason, sizeof out->reason, fmt, ap);
    va_end(ap);
}

bool fal_detail(fal_verdict *out, const char *fmt, ...)
{
    const size_t len = strlen(out->detail), room = sizeof out->detail - len;
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(out->detail + len, room, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < room) return true;
    out->detail[len] = '\0';
    return false;
}

bool fal_limit_holds(const fal_limit *limit, double value)
{
    switch (limit->kind) {
    case FAL_LIMIT_MAX: return value <= limit->value;
    case FAL_LIMIT_MIN: return value >= limit->value;
    case FAL_LIMIT_EQUAL: return value <= limit->value && value >= limit->value;
    }
    return false;
}

bool fal_higher(double *worst, double v)
{
    if (isnan(*worst) || v <= *worst) return false;
    *worst = v;
    return true;
}

bool fal_lower(double *worst, double v)
{
    if (isnan(*worst) || v >= *worst) return false;
    *worst = v;
    return true;
}

void fal_worst_at(fal_verdict *out, const fal_observation *o, int request, const char *name, const fal_obs_tensor *t,
                  size_t flat, double got, double want)
{
    char index[96] = "", prefix[24] = "";
    size_t at[8] = { 0 };
    const int n_dims = t->n_dims < 8 ? t->n_dims : 8;
    for (int d = n_dims - 1; d >= 0; d--) {
        const size_t ne = t->ne[d] > 0 ? (size_t)t->ne[d] : 1;
        at[d] = flat % ne;
        flat /= ne;
    }
    size_t len = 0;
    for (int d = 0; d < n_dims && len < sizeof index; d++)
        len += (size_t)snprintf(index + len, sizeof index - len, "%s%zu", d ? ", " : "", at[d]);
    if (o->n_requests > 1) snprintf(prefix, sizeof prefix, "r%d ", request);
    snprintf(out->worst, sizeof out->worst, "%s%.32s[%.90s]", prefix, name, index);
    out->has_worst = true;
    out->got = got;
    out->want = want;
}

/* ---- the limit ------------------------------------------------------------------------------------------------- */

/* On the passing side of the limit, as a share of it; absolute when the limit is 0. Below 0 exactly when falsified. */
static double margin_of(const fal_limit *limit, double value)
{
    if (isnan(value)) return -(double)INFINITY;
    double d = limit->value - value;
    if (limit->kind == FAL_LIMIT_MIN) d = -d;
    if (limit->kind == FAL_LIMIT_EQUAL) d = -fabs(d);
    const double scale = fabs(limit->value);
    double m = scale > 0 ? d / scale : d;
    if (isnan(m)) m = 0; /* both infinite: the limit is met with nothing to spare */
    if (!fal_limit_holds(limit, value) && !(m < 0)) m = -(double)INFINITY;
    return m > 0 || m < 0 ? m : 0;
}

static bool is_marginal(const fal_limit *limit, double value)
{
    if (!limit->has_warn) return false;
    if (limit->kind == FAL_LIMIT_MAX) return !(value <= limit->warn);
    if (limit->kind == FAL_LIMIT_MIN) return !(value >= limit->warn);
    return false;
}

/* Six digits, unless they would make the value look equal to a limit that it differs from. */
static void number_texts(double value, double limit, char *a, char *b, size_t size)
{
    snprintf(a, size, "%.6g", value);
    snprintf(b, size, "%.6g", limit);
    if (isnan(value)) snprintf(a, size, "NaN"); /* printf adds a sign that means nothing */
    if (strcmp(a, b) == 0 && (value < limit || value > limit)) {
        snprintf(a, size, "%.17g", value);
        snprintf(b, size, "%.17g", limit);
    }
}

static void write_sentence(const fal_limit *limit, bool holds, const char *note, fal_verdict *out)
{
    static const char *const pass[] = { "is within the limit <=", "is within the limit >=", "equals" };
    static const char *const fail[] = { "exceeds", "is below", "is not" };
    char value[40], mark[40];
    number_texts(out->value, limit->value, value, mark, sizeof value);
    const char *const verb = holds               ? pass[limit->kind]
                             : isnan(out->value) ? "never passes the limit"
                                                 : fail[limit->kind];
    const char *const at = out->has_worst ? " at " : "", *const place = out->has_worst ? out->worst : "";
    snprintf(out->reason, sizeof out->reason, "%s %s%s%s %s %s%s%.200s", out->metric, value, at, place, verb, mark,
             note[0] ? "; " : "", note);
}

static void apply_limit(const fal_limit *limit, fal_verdict *out)
{
    char note[sizeof out->reason];
    snprintf(note, sizeof note, "%s", out->reason);
    char *const doubt = strchr(note, '\n');
    if (doubt) *doubt = '\0';
    const bool holds = fal_limit_holds(limit, out->value);
    if (out->n_compared == 0) {
        fal_stop(out, FAL_FALSIFIED, "nothing was compared, so nothing is shown%s%.250s", note[0] ? ": " : "", note);
    } else if (out->kind == FAL_FALSIFIED) {
        /* broken by a rule beside the limit: the reason says which, and the margin to the limit says nothing */
    } else if (!holds) {
        out->kind = FAL_FALSIFIED;
        out->margin = margin_of(limit, out->value);
        write_sentence(limit, false, note, out);
    } else if (out->kind == FAL_MISTRUSTED) {
        out->margin = margin_of(limit, out->value);
        snprintf(out->reason, sizeof out->reason, "%s", doubt ? doubt + 1 : note);
    } else {
        out->kind = FAL_SURVIVED;
        out->margin = margin_of(limit, out->value);
        out->marginal = out->marginal || is_marginal(limit, out->value);
        write_sentence(limit, true, note, out);
    }
}

void fal_judge(const fal_evidence_in *in, fal_verdict *out)
{
    *out = (fal_verdict){ .kind = FAL_NOT_RUN, .metric = "none", .margin = -(double)INFINITY };
    const fal_judgement *const j = in->check->judge ? fal_judgement_find(in->check->judge) : NULL;
    if (!j) {
        fal_stop(out, FAL_ERROR, "there is no judgement named '%.60s'", in->check->judge ? in->check->judge : "");
        return;
    }
    out->metric = j->metric;
    if ((judged_kinds[j - judgements] & kind_bit(in->check->observe)) == 0) {
        fal_stop(out, FAL_ERROR, "judgement %s cannot judge an observation of kind %s", j->name,
                 kind_name(in->check->observe));
        return;
    }
    if (!in->got || !in->got->about) {
        fal_stop(out, FAL_CRASHED, "the observer delivered no observation");
        return;
    }
    const char *const asked = json_string_value(json_object_get(json_object_get(in->got->about, "asked"), "kind"));
    if (asked && strcmp(asked, kind_name(in->check->observe)) != 0) {
        /* a teacher-forced pass would survive what a free-running one does not */
        fal_stop(out, FAL_ERROR, "the observation is of kind %.20s, the check asks for %s", asked,
                 kind_name(in->check->observe));
        return;
    }
    j->judge(in, out);
    if (out->has_value) {
        apply_limit(&in->check->limit, out);
        out->has_noise = fal_noise_of(in->check, in->config, &out->noise);
    } else if (out->kind == FAL_NOT_RUN || out->kind == FAL_SURVIVED) {
        fal_stop(out, FAL_ERROR, "judgement %s gave no value", j->name);
    }
}
