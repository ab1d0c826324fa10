/* The matrix of a proof: from verdicts to killed, survived and equivalent mutants, and to falsifiers that killed none. */
#include "harness/prove.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *fal_proof_name(fal_proof p)
{
    static const char *const names[] = { "killed", "equivalent", "survived", "misnamed", "not_equivalent", "error", "blocked", "not_run" };
    return (unsigned)p < FAL_N_PROOFS ? names[p] : "unknown";
}

static bool kills(fal_verdict_kind v)
{
    return v == FAL_FALSIFIED || v == FAL_CRASHED || v == FAL_TIMED_OUT;
}

static int trust_of(const fal_matrix *m, const fal_case *k)
{
    for (int i = 0; i < m->n_trusts; i++)
        if (m->trusts[i].falsifier == k->falsifier && strcmp(m->trusts[i].backend, k->backend) == 0) return i;
    return -1;
}

/* Whether a case is of the check that an equivalent mutant may be seen by ("FALSIFIER/check"). */
static bool may_see(const fal_mutant *m, const fal_case *k)
{
    const size_t n = strlen(k->falsifier->id);
    return m->seen_by && strncmp(m->seen_by, k->falsifier->id, n) == 0 && m->seen_by[n] == '/' &&
           strcmp(m->seen_by + n + 1, k->check->name) == 0;
}

/* ---- one mutant --------------------------------------------------------------------------------------------------- */

static void look_at(fal_matrix *m, fal_proof_row *r, int i, bool *looked)
{
    const fal_case *k = &m->plan->plan.cases[i];
    const fal_verdict_kind v = m->run->results[i].verdict.kind;
    const int t = trust_of(m, k);
    r->n_cases++;
    bool shared = false; /* its observation was counted with another case */
    for (int j = i; j-- > 0 && m->plan->mutants[j] == r->mutant && !shared;) shared = m->plan->plan.cases[j].got == k->got;
    if (!shared) r->seconds += m->run->results[i].seconds;
    r->n_falsifiers += !looked[t];
    looked[t] = true;
    if (v == FAL_ERROR || v == FAL_BLOCKED || v == FAL_NOT_RUN) {
        if (r->odd < 0) r->odd = i;
        return;
    }
    if (!kills(v)) return;
    r->n_killed++;
    r->n_killers += !r->killers[t];
    r->killers[t] = true;
    const bool named = strcmp(k->falsifier->id, r->mutant->named_by) == 0;
    const bool had = r->first >= 0 && strcmp(m->plan->plan.cases[r->first].falsifier->id, r->mutant->named_by) == 0;
    if (r->first < 0 || (named && !had)) r->first = i;
}

static fal_proof judge_row(const fal_matrix *m, fal_proof_row *r, const bool *looked)
{
    const fal_case *cases = m->plan->plan.cases;
    if (r->odd >= 0) {
        const fal_verdict_kind v = m->run->results[r->odd].verdict.kind;
        return v == FAL_ERROR ? FAL_PROOF_ERROR : v == FAL_BLOCKED ? FAL_PROOF_BLOCKED : FAL_PROOF_NOT_RUN;
    }
    bool named_looked = false, named_killed = false;
    for (int t = 0; t < m->n_trusts; t++) {
        if (strcmp(m->trusts[t].falsifier->id, r->mutant->named_by) != 0) continue;
        named_looked |= looked[t];
        named_killed |= r->killers[t];
    }
    if (r->mutant->equivalent) {
        bool could = false, did = false;
        for (int i = 0; i < m->plan->plan.n_cases; i++) {
            if (m->plan->mutants[i] != r->mutant || strcmp(cases[i].backend, r->backend) != 0) continue;
            const bool killed = kills(m->run->results[i].verdict.kind), may = may_see(r->mutant, &cases[i]);
            could |= may;
            did |= may && killed;
            if (killed && !may && r->odd < 0) r->odd = i;
        }
        if (r->odd >= 0) return FAL_PROOF_NOT_EQUIVALENT;
        return could && !did ? FAL_PROOF_SURVIVED : FAL_PROOF_EQUIVALENT;
    }
    if (r->n_killed == 0) return FAL_PROOF_SURVIVED;
    return named_looked && !named_killed && !r->mutant->by_chance ? FAL_PROOF_MISNAMED : FAL_PROOF_KILLED;
}

static fal_status add_rows(fal_matrix *m, fal_error *err)
{
    int n_mutants, n_backends;
    const fal_mutant *all = fal_mutant_all(&n_mutants);
    const fal_backend *const *backends = fal_backend_all(&n_backends);
    const fal_plan *p = &m->plan->plan;
    m->rows = calloc((size_t)n_mutants * (size_t)n_backends, sizeof *m->rows);
    bool *looked = calloc((size_t)m->n_trusts + 1, sizeof *looked);
    bool ok = m->rows && looked;
    for (int b = 0; b < n_backends && ok; b++)
        for (int k = 0; k < n_mutants && ok; k++) {
            fal_proof_row r = { .mutant = &all[k], .backend = backends[b]->name, .first = -1, .odd = -1 };
            r.killers = calloc((size_t)m->n_trusts + 1, sizeof *r.killers);
            ok = r.killers != NULL;
            memset(looked, 0, (size_t)m->n_trusts * sizeof *looked);
            for (int i = 0; i < p->n_cases && ok; i++)
                if (m->plan->mutants[i] == r.mutant && strcmp(p->cases[i].backend, r.backend) == 0) look_at(m, &r, i, looked);
            if (!ok || r.n_cases == 0) {
                free(r.killers);
                continue;
            }
            r.proof = judge_row(m, &r, looked);
            for (int t = 0; t < m->n_trusts && !r.mutant->equivalent; t++) {
                m->trusts[t].n_mutants += looked[t];
                m->trusts[t].n_kills += r.killers[t];
            }
            m->by[r.proof]++;
            m->rows[m->n_rows++] = r;
        }
    free(looked);
    return ok ? FAL_OK : fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the matrix");
}

/* ---- falsifiers --------------------------------------------------------------------------------------------------- */

static void because(fal_trust *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void because(fal_trust *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->why, sizeof t->why, fmt, ap);
    va_end(ap);
}

/* Why no mutant can be planted where a falsifier looks; false when one could be, and nobody did. */
static bool explain(const fal_matrix *m, fal_trust *t)
{
    const fal_plan *source = m->plan->source;
    const fal_case *any = NULL;
    for (int i = 0; i < source->n_cases; i++) {
        const fal_case *k = &source->cases[i];
        if (k->falsifier != t->falsifier || strcmp(k->backend, t->backend) != 0) continue;
        if (!any || (any->blocked && !k->blocked)) any = k;
    }
    if (!any) because(t, "it has no case here");
    else if (any->blocked) because(t, "blocked here: %s", any->blocked);
    else if (any->check->observe == FAL_OBSERVE_REFUSAL)
        because(t, "a model file is refused by its reader, before a backend hears of it; the unit suites model and gguf plant each fault there");
    else if (any->check->observe == FAL_OBSERVE_THROUGHPUT)
        because(t, "speed and memory in use are measured, not computed; the unit suites judge and throughput plant each fault");
    else if (any->check->observe == FAL_OBSERVE_LAUNCHES)
        because(t, "it counts launches, whatever they compute; the unit suite judge plants each fault");
    else if (any->check->observe == FAL_OBSERVE_SANITIZE)
        because(t, "a tool runs the program by itself there; falsifiers/mutants/planted.cu and the unit suite judge plant faults for it");
    else if (any->check->observe == FAL_OBSERVE_TRIAL)
        because(t, "it judges candidates; the cheating kernels in falsifiers/candidates/cheats plant each fault");
    else if (any->check->observe == FAL_OBSERVE_DEVICE_CODE)
        because(t, "it looks at what the compiler said when the program was built; falsifiers/cli/check_device_code.sh plants faults there");
    else because(t, "no mutant of %s can be seen by it", m->whole ? "the catalogue" : "this choice");
    if (!any || any->blocked) return true;
    switch (any->check->observe) {
    case FAL_OBSERVE_REFUSAL:
    case FAL_OBSERVE_THROUGHPUT:
    case FAL_OBSERVE_DEVICE_CODE:
    case FAL_OBSERVE_LAUNCHES:
    case FAL_OBSERVE_TRIAL:
    case FAL_OBSERVE_SANITIZE: return true;
    default: return false;
    }
}

static fal_status add_trusts(fal_matrix *m, fal_error *err)
{
    const fal_plan *source = m->plan->source;
    m->trusts = calloc((size_t)source->n_cases + 1, sizeof *m->trusts);
    if (!m->trusts) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the matrix");
    for (int i = 0; i < source->n_cases; i++) {
        const fal_case *k = &source->cases[i];
        if (trust_of(m, k) >= 0) continue;
        m->trusts[m->n_trusts++] = (fal_trust){ .falsifier = k->falsifier, .contract = k->contract, .backend = k->backend };
    }
    return FAL_OK;
}

static void decide(fal_matrix *m)
{
    for (int i = 0; i < m->n_trusts; i++) {
        fal_trust *t = &m->trusts[i];
        if (t->n_kills > 0) t->trust = FAL_TRUST_PROVEN;
        else if (t->n_mutants > 0) t->trust = FAL_TRUST_MISTRUSTED;
        else t->trust = explain(m, t) || !m->whole ? FAL_TRUST_NOT_COVERED : FAL_TRUST_MISTRUSTED;
        m->n_mistrusted += m->whole && t->trust == FAL_TRUST_MISTRUSTED;
    }
}

/* Whether each check killed any mutant by itself. */
static fal_status add_checks(fal_matrix *m, fal_error *err)
{
    const fal_plan *p = &m->plan->plan;
    const fal_mutant **last = calloc((size_t)p->n_cases + 1, 2 * sizeof *last); /* of each check: that looked, that was killed */
    m->checks = calloc((size_t)p->n_cases + 1, sizeof *m->checks);
    if (!last || !m->checks) {
        free(last);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the matrix");
    }
    for (int i = 0; i < p->n_cases; i++) {
        const fal_case *k = &p->cases[i];
        const fal_mutant *mutant = m->plan->mutants[i];
        if (!mutant || mutant->equivalent) continue;
        int c = 0;
        while (c < m->n_checks && (m->checks[c].falsifier != k->falsifier || strcmp(m->checks[c].name, k->check->name) != 0 ||
                                   strcmp(m->checks[c].backend, k->backend) != 0))
            c++;
        if (c == m->n_checks) m->checks[m->n_checks++] = (fal_check_record){ .falsifier = k->falsifier, .name = k->check->name, .backend = k->backend };
        m->checks[c].n_mutants += last[2 * c] != mutant; /* cases of one mutant stand together */
        last[2 * c] = mutant;
        if (!kills(m->run->results[i].verdict.kind)) continue;
        m->checks[c].n_kills += last[2 * c + 1] != mutant;
        last[2 * c + 1] = mutant;
    }
    free(last);
    return FAL_OK;
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

fal_status fal_matrix_make(const fal_prove_plan *plan, const fal_run *run, bool whole, fal_matrix *out, fal_error *err)
{
    fal_matrix m = { .plan = plan, .run = run, .whole = whole, .first_control_failed = -1 };
    fal_status st = add_trusts(&m, err);
    if (!st) st = add_rows(&m, err);
    if (!st) st = add_checks(&m, err);
    if (st) {
        fal_matrix_free(&m);
        return st;
    }
    decide(&m);
    for (int i = 0; i < plan->plan.n_cases; i++) {
        if (plan->mutants[i]) continue;
        m.n_control++;
        if (run->results[i].verdict.kind == FAL_SURVIVED) continue;
        if (m.n_control_failed++ == 0) m.first_control_failed = i;
    }
    *out = m;
    return FAL_OK;
}

void fal_matrix_free(fal_matrix *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_rows; i++) free(m->rows[i].killers);
    free(m->rows);
    free(m->trusts);
    free(m->checks);
    *m = (fal_matrix){ 0 };
}

static bool has_row(const fal_matrix *m, const char *backend, bool blocked)
{
    for (int i = 0; i < m->n_rows; i++)
        if (strcmp(m->rows[i].backend, backend) == 0 && (m->rows[i].proof == FAL_PROOF_BLOCKED) == blocked) return true;
    return false;
}

static const char *first_of(const fal_matrix *m, fal_proof p)
{
    for (int i = 0; i < m->n_rows; i++)
        if (m->rows[i].proof == p) return m->rows[i].mutant->id;
    return "";
}

int fal_matrix_exit(const fal_matrix *m, const char *const *require, int n_require, char *reason, size_t size)
{
    reason[0] = '\0';
    if (m->run->tally.interrupted) {
        snprintf(reason, size, "interrupted");
        return 130;
    }
    if (m->run->tally.not_written) {
        snprintf(reason, size, "observations could not be written");
        return 8;
    }
    if (m->n_control_failed) {
        snprintf(reason, size, "without a mutant %d of %d cases did not survive, first %s", m->n_control_failed, m->n_control,
                 m->plan->plan.cases[m->first_control_failed].id);
        return 1;
    }
    static const fal_proof faults[] = { FAL_PROOF_SURVIVED, FAL_PROOF_NOT_EQUIVALENT, FAL_PROOF_MISNAMED };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (m->by[faults[i]]) {
            snprintf(reason, size, "%d mutant%s %s, first %s", m->by[faults[i]], m->by[faults[i]] == 1 ? "" : "s",
                     fal_proof_name(faults[i]), first_of(m, faults[i]));
            return 1;
        }
    static const fal_proof gaps[] = { FAL_PROOF_ERROR, FAL_PROOF_NOT_RUN };
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++)
        if (m->by[gaps[i]]) {
            snprintf(reason, size, "%d mutant%s could not be judged (%s), first %s", m->by[gaps[i]], m->by[gaps[i]] == 1 ? "" : "s",
                     fal_proof_name(gaps[i]), first_of(m, gaps[i]));
            return 5;
        }
    for (int i = 0; i < n_require; i++) {
        if (has_row(m, require[i], true)) snprintf(reason, size, "mutants of %s are blocked, first %s", require[i], first_of(m, FAL_PROOF_BLOCKED));
        else if (!has_row(m, require[i], false)) snprintf(reason, size, "nothing was proven on %s, which is required", require[i]);
        else continue;
        return 5;
    }
    if (m->n_mistrusted) {
        const char *first = "";
        for (int i = m->n_trusts; i-- > 0;)
            if (m->trusts[i].trust == FAL_TRUST_MISTRUSTED) first = m->trusts[i].falsifier->id;
        snprintf(reason, size, "%d falsifier%s mistrusted: killed no mutant, first %s", m->n_mistrusted, m->n_mistrusted == 1 ? " is" : "s are", first);
        return 5;
    }
    return 0;
}
