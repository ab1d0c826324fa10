/* What pv does not see in one foreign contract: legacy rows, prose, drift, statuses by hand, exemptions, negative claims. */
#include "harness/contract_pv.h"

#include "harness/claims.h"
#include "harness/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const fal_yaml_node *at_of(const fal_yaml_node *map)
{
    return map->first ? map->first->key : map;
}

/* ---- tests ---- */

static bool says_done(const char *status)
{
    static const char *const done[] = { "DISCHARGED",
                                        "FUNCTIONAL",
                                        "SHIPPED",
                                        "ALGORITHM_LEVEL_DISCHARGED",
                                        "PARTIALLY_DISCHARGED",
                                        "PARTIAL_ALGORITHM_LEVEL",
                                        "IMPLEMENTED" };
    for (size_t i = 0; status && i < FAL_N(done); i++)
        if (strcmp(done[i], status) == 0) return true;
    return false;
}

/* Some text under a key, or in a list under it, holds one of the phrases. */
static bool mentions(const fal_yaml_node *node, const char *const *phrases, size_t n)
{
    if (!node) return false;
    if (node->kind == FAL_YAML_SCALAR) {
        for (size_t i = 0; i < n; i++)
            if (strcasestr(node->text, phrases[i])) return true;
        return false;
    }
    for (const fal_yaml_node *c = node->first; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR && mentions(c, phrases, n)) return true;
    return false;
}

static bool is_confirmed_bug(const fal_yaml_node *test)
{
    static const char *const keys[] = { "evidence", "algorithm_evidence", "functional_evidence", "prediction",
                                        "evidence_discharged_by" };
    static const char *const phrases[] = { "bug exists",
                                           "bug is confirmed",
                                           "bug confirmed",
                                           "mismatch is confirmed",
                                           "confirmed the bug",
                                           "empirically confirmed — the falsifier's prediction",
                                           "is FALSIFIED on",
                                           "divergence confirmed",
                                           "expects to detect divergence" };
    for (size_t i = 0; i < FAL_N(keys); i++)
        if (mentions(fal_yaml_get(test, keys[i]), phrases, FAL_N(phrases))) return true;
    return false;
}

static fal_test_kind kind_of(const fal_yaml_node *test)
{
    static const char *const keys[] = { "test", "command", "test_harness" };
    fal_test_kind kind = FAL_TEST_NONE;
    for (size_t i = 0; i < FAL_N(keys); i++) {
        const char *s = fal_pv_text(test, keys[i], NULL);
        const fal_test_kind k = s ? fal_test_kind_of(s) : FAL_TEST_NONE;
        if (k > kind) kind = k;
    }
    return kind;
}

static void judge_claims(const fal_pv *v, const fal_nodes *tests)
{
    for (size_t i = 0; i < tests->n; i++) {
        const fal_yaml_node *t = tests->items[i], *status = fal_yaml_get(t, "status"),
                            *rule = fal_pv_get(t, "rule", "description"),
                            *prediction = fal_pv_get(t, "prediction", "expected");
        const char *phrase = rule && rule->kind == FAL_YAML_SCALAR ? fal_negative_claim(rule->text) : NULL;
        const fal_yaml_node *at = rule;
        if (!phrase && prediction && prediction->kind == FAL_YAML_SCALAR)
            phrase = fal_negative_claim(prediction->text), at = prediction;
        if (phrase)
            fal_diagnose(&v->f->d, FAL_RULE_FOR_009, FAL_AT(at), "say when it ceases to hold",
                         "\"%s\": a claim that something is not there needs an end", phrase);
        if (status && status->kind == FAL_YAML_SCALAR && says_done(status->text) && is_confirmed_bug(t))
            fal_diagnose(&v->f->d, FAL_RULE_FOR_014, FAL_AT(status), "a property that was found broken is falsified",
                         "%s, though the evidence says that the bug was confirmed", fal_shown(v->f, status->text));
    }
}

static void judge_tests(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    const fal_nodes *const lists[] = { &v->tests, &v->legacy };
    size_t n = 0, n_prose = 0, n_status = 0;
    const fal_yaml_node *prose = NULL, *status = NULL;
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->n; i++, n++) {
            const fal_yaml_node *t = lists[l]->items[i];
            if (kind_of(t) <= FAL_TEST_PROSE) {
                if (n_prose++ == 0) prose = t;
            }
            if (says_done(fal_pv_text(t, "status", "discharge_status")) && n_status++ == 0) status = t;
        }
    if (prose)
        fal_diagnose(d, FAL_RULE_FOR_010, FAL_AT(at_of(prose)), NULL,
                     "%zu of %zu tests are prose, this one first: they are UNBOUND", n_prose, n);
    if (status)
        fal_diagnose(d, FAL_RULE_FOR_007, FAL_AT(at_of(status)), "derive it from evidence",
                     "%zu of %zu tests say by themselves that they are done, this one first", n_status, n);
    for (size_t l = 0; l < 2; l++) judge_claims(v, lists[l]);
    if (v->legacy.n)
        fal_diagnose(d, FAL_RULE_PV_VER_003, FAL_AT(at_of(v->legacy.items[0])), "move them to falsification_tests",
                     "%zu tests stand in a legacy block; pv counts none of them", v->legacy.n);
}

/* ---- references ---- */

enum { LONG_TEXT = 500 }; /* beyond it ids are not looked for, so that a hostile file is not slow */

static bool has_obligation(const fal_pv *v, const char *id)
{
    for (size_t i = 0; i < v->obligations.n; i++) {
        const fal_yaml_node *o = v->obligations.items[i];
        const char *own = fal_pv_text(o, "id", NULL), *property = fal_pv_text(o, "property", "statement");
        if ((own && strcmp(own, id) == 0) || (property && strlen(property) < LONG_TEXT && strstr(property, id)))
            return true;
    }
    return false;
}

static bool has_equation(const fal_pv *v, const char *name)
{
    for (size_t i = 0; i < v->equations.n; i++) {
        const fal_yaml_node *e = v->equations.items[i];
        const char *id = fal_pv_text(e, "id", NULL);
        if ((e->key && strcmp(e->key->text, name) == 0) || (id && strcmp(id, name) == 0)) return true;
    }
    return false;
}

typedef struct {
    size_t n, n_dangling;
    const fal_yaml_node *first;
} references;

static void count_reference(references *r, const fal_yaml_node *node, bool found)
{
    r->n++;
    if (!found && r->n_dangling++ == 0) r->first = node;
}

static void tell_references(const fal_pv *v, const references *r, const char *what, const char *target)
{
    if (r->n_dangling)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_003, FAL_AT(r->first), NULL,
                     "%zu of %zu %s name no %s of this contract, first '%s'", r->n_dangling, r->n, what, target,
                     fal_shown(v->f, r->first->text));
}

static void judge_references(const fal_pv *v)
{
    enum { MOST = 300 };
    references kani = { 0 }, binds = { 0 }, accepted = { 0 };
    if (v->obligations.n > MOST || v->equations.n > MOST) return;
    for (size_t i = 0; i < v->kani.n && i < MOST; i++) {
        const fal_yaml_node *o = fal_pv_get(v->kani.items[i], "obligation", NULL);
        if (o && o->kind == FAL_YAML_SCALAR) count_reference(&kani, o, has_obligation(v, o->text));
    }
    for (size_t i = 0; i < v->tests.n && i < MOST; i++) {
        const fal_yaml_node *b = fal_pv_get(v->tests.items[i], "binds_to", NULL);
        if (b && b->kind == FAL_YAML_SCALAR)
            count_reference(&binds, b, has_equation(v, b->text) || has_obligation(v, b->text));
    }
    static const char *const keys[] = { "expected_acceptance", "unblocks_obligations" };
    for (size_t i = 0; i < v->stages.n && i < MOST; i++)
        for (size_t k = 0; k < FAL_N(keys); k++) {
            const fal_yaml_node *list = fal_yaml_get(v->stages.items[i], keys[k]);
            for (const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST && list->n < MOST ? list->first : NULL; c;
                 c = c->next)
                if (c->kind == FAL_YAML_SCALAR) count_reference(&accepted, c, has_obligation(v, c->text));
        }
    tell_references(v, &kani, "Kani harnesses", "obligation");
    tell_references(v, &binds, "values of binds_to", "equation or obligation");
    tell_references(v, &accepted, "obligations of stages", "obligation");
}

/* ---- drift ---- */

static void judge_version(const fal_pv *v)
{
    const fal_yaml_node *inner = fal_pv_get(v->meta, "version", NULL), *outer = fal_pv_get(v->root, "version", NULL);
    if (inner && outer && inner->kind == FAL_YAML_SCALAR && outer->kind == FAL_YAML_SCALAR &&
        strcmp(inner->text, outer->text) != 0)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_004, FAL_AT(outer), "keep metadata.version alone",
                     "version '%s' here, '%s' in metadata (line %d)", fal_shown(v->f, outer->text),
                     fal_shown(v->f, inner->text), inner->place.line);
    bool found = v->amendments.n == 0 || !inner || inner->kind != FAL_YAML_SCALAR;
    for (size_t i = 0; i < v->amendments.n && !found; i++) {
        const char *s = fal_pv_text(v->amendments.items[i], "version", NULL);
        found = s && strcmp(s, inner->text) == 0;
    }
    if (!found)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_004, FAL_AT(inner), NULL, "version '%s' has no entry in amendment_history",
                     fal_shown(v->f, inner->text));
}

static void judge_count(const fal_pv *v, const fal_yaml_node *summary, const char *key, size_t most, bool exact,
                        const char *what)
{
    const fal_yaml_node *n = fal_yaml_get(summary, key);
    int64_t value = 0;
    if (!n || !fal_yaml_integer(n, 0, UINT32_MAX, &value)) return;
    if (exact ? (size_t)value != most : (size_t)value > most)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_005, FAL_AT(n), NULL, "%s says %lld, the contract has %zu %s", key,
                     (long long)value, most, what);
}

static size_t count_proofs(const fal_pv *v, const char *status)
{
    size_t n = 0;
    for (size_t i = 0; i < v->obligations.n; i++) {
        const char *s = fal_pv_text(fal_yaml_get(v->obligations.items[i], "lean"), "status", NULL);
        n += s && strcmp(s, status) == 0;
    }
    return n;
}

static void judge_summary(const fal_pv *v)
{
    const fal_yaml_node *s = fal_yaml_get(v->root, "verification_summary");
    if (!s || s->kind != FAL_YAML_MAP) return;
    judge_count(v, s, "total_obligations", v->obligations.n, true, "obligations");
    judge_count(v, s, "l2_property_tested", v->tests.n, false, "tests");
    judge_count(v, s, "l3_kani_proved", v->kani.n, false, "Kani harnesses");
    judge_count(v, s, "l4_lean_proved", count_proofs(v, "proved"), true, "obligations whose lean.status is proved");
    judge_count(v, s, "l4_sorry_count", count_proofs(v, "sorry"), true, "obligations whose lean.status is sorry");
}

/* "All 7 falsification tests". */
static void judge_gate(const fal_pv *v)
{
    const fal_yaml_node *n = fal_pv_get(fal_yaml_get(v->root, "qa_gate"), "pass_criteria", NULL);
    const char *s = n && n->kind == FAL_YAML_SCALAR ? strcasestr(n->text, "all ") : NULL;
    if (!s || !isdigit((unsigned char)s[4])) return;
    char *end = NULL;
    const unsigned long said = strtoul(s + 4, &end, 10);
    if (strncasecmp(end, " falsification", 14) != 0 && strncasecmp(end, " test", 5) != 0) return;
    if (said != v->tests.n)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_006, FAL_AT(n), "say \"all\", without a number",
                     "\"all %lu\" tests, the contract has %zu", said, v->tests.n);
}

/* ---- exemptions, stages ---- */

static void judge_exemption(const fal_pv *v)
{
    const fal_yaml_node *registry = fal_yaml_get(v->meta, "registry"), *kind = fal_yaml_get(v->meta, "kind");
    const bool meets = v->obligations.n > 0 && v->tests.n >= v->obligations.n;
    if (v->registry)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_008, FAL_AT(registry), NULL,
                     "the contract exempts itself from PROVABILITY-001 (%zu obligations, %zu tests)", v->obligations.n,
                     v->tests.n);
    else if (kind && strcmp(v->kind, "kernel") != 0 && !meets)
        fal_diagnose(&v->f->d, FAL_RULE_FOR_008, FAL_AT(kind), NULL,
                     "kind %s is exempt from PROVABILITY-001 (%zu obligations, %zu tests)", fal_shown(v->f, v->kind),
                     v->obligations.n, v->tests.n);
}

static bool is_done(const char *status)
{
    return status && (strcmp(status, "SHIPPED") == 0 || strcmp(status, "DISCHARGED") == 0);
}

static void judge_stages(const fal_pv *v)
{
    fal_file_diagnosis *d = &v->f->d;
    const fal_yaml_node *overtaken = NULL, *done = NULL;
    size_t n_done = 0;
    for (size_t i = 0; i < v->stages.n; i++) {
        const fal_yaml_node *s = v->stages.items[i], *blockers = fal_yaml_get(s, "blockers");
        const char *status = fal_pv_text(s, "status", NULL), *id = fal_pv_text(s, "id", NULL);
        const bool blocked = blockers && blockers->kind == FAL_YAML_LIST && blockers->n > 0;
        if (is_done(status)) {
            if (n_done++ == 0) done = s;
            if (blocked)
                fal_diagnose(d, FAL_RULE_FOR_012, FAL_AT(blockers->key), NULL, "stage %s is %s and lists %zu blockers",
                             fal_shown(v->f, id ? id : "?"), status, blockers->n);
            if (overtaken)
                fal_diagnose(d, FAL_RULE_FOR_012, FAL_AT(at_of(s)), NULL,
                             "stage %s is %s, but a stage before it (line %d) is PENDING without a blocker",
                             fal_shown(v->f, id ? id : "?"), status, overtaken->place.line);
        } else if (status && strcmp(status, "PENDING") == 0 && !blocked && !overtaken) {
            overtaken = s;
        }
    }
    if (done)
        fal_diagnose(d, FAL_RULE_FOR_007, FAL_AT(at_of(done)), "derive it from evidence",
                     "%zu of %zu stages say by themselves that they are done, this one first", n_done, v->stages.n);
    const fal_yaml_node *status = fal_pv_get(v->root, "status", NULL);
    if (status && status->kind == FAL_YAML_SCALAR && strncmp(status->text, "ACTIVE", 6) == 0)
        fal_diagnose(d, FAL_RULE_FOR_007, FAL_AT(status), "derive it from evidence", "the contract calls itself %s",
                     fal_shown(v->f, status->text));
}

void fal_pv_judge_more(const fal_pv *v)
{
    judge_tests(v);
    judge_references(v);
    judge_version(v);
    judge_summary(v);
    judge_gate(v);
    judge_exemption(v);
    judge_stages(v);
}
