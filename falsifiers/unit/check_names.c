/* Unit tests of harness/names.def: contracts are read with the same names that fixtures and spoils answer to. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/fixture.h"
#include "harness/spoil.h"
#include "harness/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_names(void);

static const char *const fills[] = {
#define FAL_FILL(name) #name,
#include "harness/names.def"
};
static const char *const spoils[] = {
#define FAL_SPOIL(name) #name,
#include "harness/names.def"
};
static const struct {
    const char *name;
    bool of_fixture;
} params[] = {
#define FIXTURE                       true
#define JUDGEMENT                     false
#define FAL_PARAM(name, where)        { #name, where },
#define FAL_DIM(op, name, kind, need) { #name, true },
#define FAL_DIM_EXTRA(op, name, kind) { #name, true },
#include "harness/names.def"
};

static void same_names(const char *const *a, size_t n, const char *const *b, size_t m)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < m && strcmp(a[i], b[k]) != 0) k++;
        ck_assert_msg(k < m, "'%s' is known on one side alone", a[i]);
    }
}

START_TEST(fills_are_those_of_fixtures)
{
    int n = 0;
    const char *const *theirs = fal_fixture_fills(&n);
    same_names(fills, sizeof fills / sizeof fills[0], theirs, (size_t)n);
    same_names(theirs, (size_t)n, fills, sizeof fills / sizeof fills[0]);
}
END_TEST

START_TEST(spoils_are_those_that_exist)
{
    int n = 0;
    const char *const *theirs = fal_spoil_names(&n);
    same_names(spoils, sizeof spoils / sizeof spoils[0], theirs, (size_t)n);
    same_names(theirs, (size_t)n, spoils, sizeof spoils / sizeof spoils[0]);
}
END_TEST

START_TEST(parameters_of_fixtures_are_known_to_them)
{
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++)
        ck_assert_msg(fal_fixture_knows(params[i].name) == params[i].of_fixture, "'%s'", params[i].name);
}
END_TEST

/* What a fixture takes as a shape, a contract may write, and the other way round. */
START_TEST(shapes_of_fixtures_are_valid_in_contracts)
{
    for (int op = 0; op < fal_n_ops(); op++) {
        const fal_params *shape = fal_fixture_example(fal_op_name(op));
        ck_assert_ptr_nonnull(shape);
        fal_text t = { 0 };
        fal_text_addf(
            &t,
            FAL_TEST_MINIMAL(
                "") "proof_obligations:\n  - {id: N-1-1, type: bound, property: p}\n"
                    "falsification_tests:\n  - id: F-N-1\n    rule: r\n    prediction: p\n    if_fails: f\n"
                    "    obligations: [N-1-1]\n    check:\n      - {name: n, observe: op, op: %s, judge: finite,"
                    " against: none, limit: {max: 0}, basis: b, fills: [gauss], seeds: [1], shapes: [{",
            fal_op_name(op));
        for (int i = 0; i < shape->n_params; i++) {
            const fal_param *p = &shape->params[i];
            fal_text_add(&t, i > 0 ? ", " : "");
            if (p->text)
                fal_text_addf(&t, "%s: %s", p->name, p->text);
            else
                fal_text_addf(&t, "%s: %.9g", p->name, p->number);
        }
        fal_text_add(&t, "}]}\n");
        fal_test_write("n-v1.yaml", fal_text_str(&t));
        fal_test_loaded l;
        fal_test_load(&l);
        ck_assert_msg(l.status == FAL_OK, "%s: %s", fal_op_name(op),
                      l.diag.n ? l.diag.items[0].message : l.err.message);

        fal_fixture *f = NULL;
        const fal_check *check = &l.set->contracts[0]->falsifiers[0].checks[0];
        ck_assert_int_eq(
            fal_fixture_make(check->op, &check->shapes[0], "gauss", 1, &check->with, &check->then, &f, &l.err), FAL_OK);
        fal_fixture_free(f);
        fal_test_release(&l);
        fal_text_free(&t);
    }
}
END_TEST

Suite *fal_suite_names(void)
{
    Suite *s = suite_create("names");
    TCase *t = tcase_create("names");
    tcase_add_checked_fixture(t, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_test(t, fills_are_those_of_fixtures);
    tcase_add_test(t, spoils_are_those_that_exist);
    tcase_add_test(t, parameters_of_fixtures_are_known_to_them);
    tcase_add_test(t, shapes_of_fixtures_are_valid_in_contracts);
    suite_add_tcase(s, t);
    return s;
}
