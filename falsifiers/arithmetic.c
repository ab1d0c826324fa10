/* Rounding as declared, arithmetic not as declared, or a bug: results against the error that a declaration allows. */
#include "falsifiers/error_model.h"

#include "harness/type.h"
#include "reference/mirror.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* z = (got - declared) / sigma, sigma^2 the model's variance. Normal deviates, which sums of many roundings are, exceed 6
   once in 5e8, and their rms over N outputs exceeds 1 by more than five of its standard errors 1/sqrt(2N) as seldom. */
#define MOST_Z 6.0
/* An rms below this share of what the best order of summation leaves is not that arithmetic, but a better one. */
#define FAR_BETTER (1 / 3.0)
/* Nor are results that are nearly all correctly rounded, where sums would have left a multiple of that last rounding. */
#define ALL_ROUNDED 1.5
/* Nine in ten normal deviates are larger than this share of their rms; where most are not, few large ones made the rms. */
#define LITTLE 0.1
/* Sums in a short type end on its coarse steps: their lowest bits are 0, of which float32 sums have one on average. */
#define SHORT_ZEROS 4.0
#define ROOM 2.0
/* Roundings of activations push results where the emulation says; a bug, or another arithmetic, elsewhere. */
#define SAME_WAY 0.5

/* Results over all outputs of all requests under one declaration. */
typedef struct {
    fal_arithmetic a;
    double n, worst, sum_high, sum_low, n_low; /* around declared */
    double n_some;                             /* errors that are not next to nothing beside low */
    double sum_last, sum_room;                 /* error and low, in units of the last rounding */
    double noise_worst, sum_noise;             /* around exact, in units of the rounding of activations */
    double ee, em, mm;                         /* e = got - exact, m = declared - exact, in sigmas: for directions */
    double rr, ry, yy;                         /* r = got - declared, y = exact */
    uint64_t n_beyond;                         /* outputs beyond MOST_Z */
    double zeros, n_zeros;                     /* lowest bits of results that are 0, in a row; results that are not 0 */
    bool has_noise, has_worst_place;
    int request;
    size_t place;
    double got, want;
} fit;

static double ratio(double error, double variance)
{
    if (isnan(error)) return NAN;
    return variance > 0 ? fabs(error) / sqrt(variance) : fabs(error) > 0 ? (double)INFINITY : 0;
}

/* How many of the 23 stored bits of a float32 significand are 0 from the lowest on; 0 for 0. */
static int low_zeros(double v)
{
    const float narrow = (float)v;
    uint32_t bits;
    int n = 0;
    memcpy(&bits, &narrow, sizeof bits);
    while (v != 0 && n < 23 && !(bits >> n & 1)) n++;
    return n;
}

static void add_output(fit *f, int request, size_t i, double got, bool valid, const fal_error_model *m)
{
    const double error = valid ? got - m->declared[i] : NAN, z = ratio(error, m->high[i]);
    f->n++;
    if (fal_higher(&f->worst, z)) {
        f->has_worst_place = true;
        f->request = request;
        f->place = i;
        f->got = got;
        f->want = m->declared[i];
    }
    f->sum_high += z * z;
    f->n_beyond += !(z <= MOST_Z);
    f->zeros += low_zeros(got);
    f->n_zeros += got < 0 || got > 0;
    if (m->low[i] > 0) {
        f->n_low++;
        f->sum_low += error * error / m->low[i];
        f->n_some += error * error > LITTLE * LITTLE * m->low[i];
        f->sum_last += error * error / m->last[i];
        f->sum_room += fmin(m->low[i] / m->last[i], 2 * ROOM);
    }
    const double e = valid ? got - m->exact[i] : NAN;
    if (m->noise[i] > 0) {
        f->has_noise = true;
        const double v = ratio(e, m->noise[i] + m->high[i]);
        fal_higher(&f->noise_worst, v);
        f->sum_noise += v * v;
    }
    const double shift = m->declared[i] - m->exact[i], scale = m->high[i] > 0 ? 1 / sqrt(m->high[i] + m->noise[i]) : 0;
    f->ee += e * e * scale * scale;
    f->em += e * shift * scale * scale;
    f->mm += shift * shift * scale * scale;
    f->rr += error * error;
    f->ry += error * m->exact[i];
    f->yy += m->exact[i] * m->exact[i];
}

static bool make_fit(const fal_op_case *c, const fal_arithmetic *a, fit *f)
{
    *f = (fit){ .a = *a, .worst = -(double)INFINITY, .noise_worst = -(double)INFINITY };
    for (int r = 0; r < c->n_requests; r++) {
        fal_error_model m;
        bool ok = fal_error_model_make(c, r, a, &m);
        const fal_obs_tensor *const y = ok ? fal_op_out(c, r, fal_error_model_output(fal_op_of(c, r))) : NULL;
        const fal_row got = y ? fal_row_whole(y) : (fal_row){ 0 };
        for (size_t i = 0; y && i < m.n; i++) add_output(f, r, i, fal_row_at(got, i), fal_row_valid(got, i), &m);
        fal_error_model_free(&m);
        if (!y) return false;
    }
    return true;
}

static bool has_codes(const fal_arithmetic *a)
{
    return a->activation == FAL_ACTIVATION_Q8_0 || a->activation == FAL_ACTIVATION_Q8_K;
}

/* ---- what a fit says ---------------------------------------------------------------------------------------------- */

static double share(double worst, double sum, double n)
{
    const double rms = sqrt(sum / n) / (1 + 5 / sqrt(2 * n)), most = worst / MOST_Z;
    return isnan(most) || most > rms ? most : rms;
}

static double share_high(const fit *f)
{
    return share(f->worst, f->sum_high, f->n);
}

static double share_noise(const fit *f)
{
    return f->has_noise ? share(f->noise_worst, f->sum_noise, f->n) : (double)INFINITY;
}

static double cosine(double ab, double aa, double bb)
{
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

typedef enum { FITS, FITS_IN_SIZE, BETTER, BEYOND } how;

/* BETTER: within the bound, but far below what this arithmetic leaves. */
static how judge_fit(const fit *f)
{
    const bool sums_rounded = f->n_low >= 32 && f->a.sum != FAL_SUM_F64;
    const bool far_better = sums_rounded && sqrt(f->sum_low / f->n_low) < FAR_BETTER;
    const bool all_rounded = sums_rounded && f->sum_last / f->n_low < ALL_ROUNDED && f->sum_room / f->n_low > ROOM;
    const bool mostly_better = sums_rounded && f->n_some < f->n_low / 2;
    if (share_high(f) <= 1) return far_better || all_rounded || mostly_better ? BETTER : FITS;
    if (!(share_noise(f) <= 1)) return BEYOND;
    /* another way to round activations moves all outputs, a fault beside right ones only some */
    if (cosine(f->em, f->ee, f->mm) >= SAME_WAY) return (double)f->n_beyond >= f->n / 2 ? FITS_IN_SIZE : BEYOND;
    return sqrt(f->sum_noise / f->n) < FAR_BETTER ? BETTER : BEYOND;
}

/* What of a declaration has an effect on these inputs. */
static fal_arithmetic effective(const fal_evidence_in *in, const fal_arithmetic *a)
{
    const json_t *const params = json_object_get(fal_about_request(in->got, 0), "params");
    return fal_error_model_effective(in->check->op, json_string_value(json_object_get(params, "type")), a);
}

/* ---- other arithmetic that would explain it ----------------------------------------------------------------------- */

/* Sums in short types leave errors of some size, anywhere in a wide band; roundings of inputs are known one by one, so an
   explanation by these says more. */
static bool is_short(fal_sum s)
{
    return s == FAL_SUM_F16 || s == FAL_SUM_BF16;
}

/* Errors that grow with the result, as of a wrong scale, are no rounding. Sums in a short type must also look like such:
   *size_only tells that nothing but that is missing. */
static bool explains(const fit *f, bool *size_only)
{
    const how h = judge_fit(f);
    const bool fits = h == FITS || (h == FITS_IN_SIZE && (f->a.sum == FAL_SUM_I32 || !has_codes(&f->a)));
    /* roundings of inputs that are claimed must be seen */
    if (f->mm > 0 && cosine(f->em, f->ee, f->mm) < SAME_WAY) return false;
    if (!fits || fabs(cosine(f->ry, f->rr, f->yy)) >= SAME_WAY) return false;
    if (!is_short(f->a.sum) || (f->n_zeros > 0 && f->zeros / f->n_zeros >= SHORT_ZEROS)) return true;
    *size_only = true;
    return false;
}

static int differences(const fal_arithmetic *a, const fal_arithmetic *b)
{
    const bool usual = has_codes(a) && a->sum == FAL_SUM_I32; /* codes are summed as integers */
    return 4 * (a->activation != b->activation) + 4 * (a->kv != b->kv) + (usual ? 0 : is_short(a->sum) ? 10 : 1) * (a->sum != b->sum);
}

/* The declaration nearest to that of the first fit that explains the results. False when none does, or the judgement stopped. */
static bool find_other(const fal_op_case *c, const fit *first, bool with_short_sums, fit *best, bool *size_only)
{
    const fal_arithmetic *declared = &first->a;
    /* no rounding is as large as what it rounds: each of the others would be computed for nothing */
    if (!(first->rr < first->yy)) return false;
    static const fal_sum sums[] = { FAL_SUM_F64, FAL_SUM_I32, FAL_SUM_F32, FAL_SUM_F16 };
    const fal_verdict before = *c->out;
    int least = INT_MAX; /* differences from what was declared, and more where only the size fits */
    for (int act = 0; act < FAL_N_ACTIVATIONS; act++)
        for (int kv = 0; kv < FAL_N_KVS; kv++)
            for (size_t s = 0; s < sizeof sums / sizeof sums[0]; s++) {
                const fal_arithmetic wanted = { .activation = (fal_activation)act, .kv = (fal_kv)kv, .sum = sums[s] };
                const fal_arithmetic a = effective(c->in, &wanted);
                /* what has no effect is tried once */
                if ((int)a.activation != act || (int)a.kv != kv || a.sum != sums[s]) continue;
                if (is_short(a.sum) && !with_short_sums) continue;
                if ((a.activation == declared->activation && a.kv == declared->kv && a.sum == declared->sum) || differences(&a, declared) >= least) continue;
                fit f;
                if (!make_fit(c, &a, &f)) *c->out = before; /* this one cannot be: rows of no whole number of its blocks */
                else if (explains(&f, size_only)) {
                    const int cost = differences(&a, declared) + (judge_fit(&f) == FITS ? 0 : 2);
                    if (cost < least) *best = f;
                    if (cost < least) least = cost;
                }
            }
    return least < INT_MAX;
}

/* ---- the judgement ------------------------------------------------------------------------------------------------ */

static bool declaration_of(const fal_evidence_in *in, fal_verdict *out, fal_arithmetic *a, bool *said)
{
    const char *text = fal_params_text(&in->check->with, "declare", NULL);
    const json_t *const j = json_object_get(json_object_get(json_object_get(in->got->about, "ran"), "arithmetic"), in->check->op);
    fal_error err = { 0 };
    *a = (fal_arithmetic){ 0 };
    *said = text || j;
    if (j && !fal_arithmetic_from_json(j, a))
        return fal_stop(out, FAL_ERROR, "the observation declares an arithmetic of %s that is not known", in->check->op);
    if (text && fal_arithmetic_parse(text, a, &err)) return fal_stop(out, FAL_ERROR, "%s; %s", err.message, err.hint);
    *a = effective(in, a);
    return true;
}

/* What is closest to the bound; the place is the worst around what was declared. */
static void give(const fal_op_case *c, const fit *f, how h, const char *note)
{
    const double high = share_high(f), noise = share_noise(f);
    const double value = h == FITS || h == BEYOND || high <= noise ? high : noise;
    if (f->has_worst_place) {
        char name[32];
        const char *arg = fal_error_model_output(fal_op_of(c, f->request));
        snprintf(name, sizeof name, "out.%s", arg);
        fal_worst_at(c->out, c->in->got, f->request, name, fal_op_out(c, f->request, arg), f->place, f->got, f->want);
    }
    fal_give(c->out, value, (uint64_t)f->n, "%s", note);
    fal_detail(c->out, "around what was declared: worst z %.4g, rms z %.4g, %llu of %.0f outputs beyond %g\n", f->worst,
               sqrt(f->sum_high / f->n), (unsigned long long)f->n_beyond, f->n, MOST_Z);
    if (f->n_low > 0 && f->a.sum != FAL_SUM_F64)
        fal_detail(c->out, "rms error is %.4g of what the best order of summation would leave\n", sqrt(f->sum_low / f->n_low));
    if (f->has_noise)
        fal_detail(c->out, "around the exact result, in roundings of activations: worst %.4g, rms %.4g, same way %.3g\n",
                   f->noise_worst, sqrt(f->sum_noise / f->n), cosine(f->em, f->ee, f->mm));
}

void fal_judge_arithmetic(const fal_evidence_in *in, fal_verdict *out)
{
    fal_op_case c;
    fal_arithmetic a;
    fit f, other;
    bool said, size_only = false;
    char declared[96], fits[96] = "", note[320];
    if (!fal_op_open(in, out, &c) || !declaration_of(in, out, &a, &said) || !make_fit(&c, &a, &f)) return;
    if (!(f.n > 0)) {
        fal_stop(out, FAL_FALSIFIED, "no output was delivered, so nothing is shown");
        return;
    }
    fal_arithmetic_text(&a, declared, sizeof declared);
    const char *const whose = said ? "declared" : "taken, as none is declared";
    const how h = judge_fit(&f);
    const bool wide = h == FITS && is_short(a.sum); /* a band so wide that a closer explanation is worth a look */
    const bool explained = (wide || h == BETTER || (h == BEYOND && f.n >= 16)) && find_other(&c, &f, !wide, &other, &size_only);
    if (explained) fal_arithmetic_text(&other.a, fits, sizeof fits);
    switch (h) {
    case FITS:
        if (explained) snprintf(note, sizeof note, "within the bound of what was %s (%s), but it is closer: fits %s", whose, declared, fits);
        else snprintf(note, sizeof note, "rounding as %s: %s", whose, declared);
        break;
    case FITS_IN_SIZE: snprintf(note, sizeof note, "rounding as %s in size and direction: %s", whose, declared); break;
    case BETTER: snprintf(note, sizeof note, "far better than %s (%s)%s%s", whose, declared, explained ? ": fits " : "", fits); break;
    case BEYOND:
        if (explained) snprintf(note, sizeof note, "arithmetic not as %s (%s): fits %s", whose, declared, fits);
        else if (f.n < 16 && !isnan(f.worst)) snprintf(note, sizeof note, "a bug or another arithmetic than %s (%s): too few outputs to tell", whose, declared);
        else if (size_only) snprintf(note, sizeof note, "a bug, though errors have the size of sums in f16: results do not end on its steps, and it is not %s", declared);
        else snprintf(note, sizeof note, "a bug: no known arithmetic explains it, and it is not %s", declared);
        break;
    }
    give(&c, &f, h, note);
    const bool better = h == BETTER || (h == FITS && explained);
    if (better && fal_params_number(&in->check->with, "two_sided", 0) > 0) fal_refute(out, "%s", note);
    else if (better) out->marginal = true;
    fal_op_doubt_zero(&c, f.yy > 0);
}
