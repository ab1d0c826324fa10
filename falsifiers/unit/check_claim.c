/* Unit tests of harness/claim.h and harness/sources.h: what makes evidence stale, and what does not. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/claim.h"
#include "harness/contract_keys.h"
#include "harness/sources.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_claim(void);

typedef struct {
    char sha256[65], check[65], obligation[65], falsifier[65], stage[65];
} digests;

/* The digests of FALSIFY-EK-001, its first check and its first obligation, after one change of the file. */
static digests after(const char *from, const char *to)
{
    digests d = { 0 };
    fal_test_loaded l;
    fal_test_write_changed(from, to);
    fal_test_load(&l);
    ck_assert_msg(l.status == FAL_OK, "%s -> %s: %s", from, to, l.err.message);
    const fal_contract *c = l.set->contracts[0];
    ck_assert_str_eq(c->stem, "every-key-v1");
    const fal_falsifier *f = &c->falsifiers[0];
    json_t *j = fal_claim_json(l.set, c, f, &l.err);
    ck_assert_ptr_nonnull(j);
    snprintf(d.sha256, 65, "%s", json_string_value(json_object_get(j, "sha256")));
    snprintf(d.check, 65, "%s", json_string_value(json_object_get(json_object_get(j, "checks"), "forward_cosine")));
    const json_t *obligations = json_object_get(j, "obligations");
    snprintf(d.obligation, 65, "%s", json_string_value(json_object_get(obligations, "EK-EQV-001")));
    ck_assert_uint_eq(json_object_size(obligations), 3);
    ck_assert(json_is_string(json_object_get(obligations, "OT-INV-001"))); /* of the other contract */
    ck_assert_int_eq(fal_claim_falsifier_digest(f, d.falsifier, NULL), FAL_OK);
    ck_assert_int_eq(fal_claim_stage_digest(&c->stages[0], d.stage, NULL), FAL_OK);
    ck_assert_uint_eq(strlen(d.sha256), 64);
    json_decref(j);
    fal_test_release(&l);
    return d;
}

/* Rule: every part of a check that decides a verdict is part of the claim. */
START_TEST(what_is_demanded_changes_the_claim)
{
    static const char *const changes[][2] = {
        { "{min: 0.99, warn: 0.999}", "{min: 0.98, warn: 0.999}" }, /* a limit that is looser */
        { "{min: 0.99, warn: 0.999}", "{min: 0.99}" },
        { "name: forward_cosine", "name: forward_cosin" },
        { "observe: forward\n        judge: cosine", "observe: teacher\n        judge: cosine" },
        { "judge: cosine", "judge: argmax" },
        { "against: reference", "against: self" },
        { "backends: [opencl, cuda]", "backends: [opencl]" },
        { "prompts: [truth-0, short]\n        sequence", "prompts: [short, truth-0]\n        sequence" },
        { "tokens: [1420, 0, 2147483647]", "tokens: [1420, 1, 2147483647]" }, /* a prompt is its tokens */
        { "from_oracle: p0", "from_oracle: p1" },
        { "again: true\n", "again: false\n" },
        { "decode: true\n", "decode: false\n" },
        { "n_greedy: 8", "n_greedy: 7" },
        { "taps: [logits, \"blk.*.attn\"", "taps: [logits" },
        { "gap: 0.001}", "gap: 0.002}" },
    };
    const digests base = after("y equals x", "y equals x");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const digests d = after(changes[i][0], changes[i][1]);
        ck_assert_msg(strcmp(d.sha256, base.sha256) != 0, "%s -> %s left the claim as it was", changes[i][0],
                      changes[i][1]);
        ck_assert_str_eq(d.obligation, base.obligation);
        ck_assert_msg(strstr(changes[i][0], "name:") || strcmp(d.check, base.check) != 0, "%s: the check's digest",
                      changes[i][0]);
    }
    const digests d = after("property: y equals x", "property: y nearly equals x");
    ck_assert_str_ne(d.sha256, base.sha256);
    ck_assert_str_ne(d.obligation, base.obligation);
    ck_assert_str_eq(d.check, base.check);
    ck_assert_str_ne(after("|y - x| = 0", "|y - x| < 1").sha256, base.sha256);
}
END_TEST

static bool among(const char *const *names, const char *s)
{
    while (*names && strcmp(*names, s) != 0) names++;
    return *names != NULL;
}

/* Rule: a key that is added to the schema of checks is added to the claim, or declared to be prose. */
START_TEST(every_key_of_a_check_is_accounted_for)
{
    size_t n = 0;
    for (size_t i = 0; i < fal_object_check.n_keys; i++) {
        const char *key = fal_object_check.keys[i].name;
        const bool claim = among(fal_claim_keys, key), prose = among(fal_claim_prose_keys, key);
        ck_assert_msg(claim != prose, "key '%s' of a check: add it to fal_claim_check_digest and fal_claim_keys", key);
        n += claim;
    }
    for (size_t i = 0; fal_claim_keys[i]; i++) ck_assert_uint_lt(i, n); /* and none that is no key */
}
END_TEST

/* Rule: prose elsewhere, other falsifiers and the way a paragraph is wrapped leave the claim alone. */
START_TEST(prose_does_not_change_the_claim)
{
    static const char *const changes[][2] = {
        { "description: Something works.", "description: Something works well." },
        { "if_fails: It does not.", "if_fails: Look elsewhere." },
        { "Folded over\n          two lines.", "Another basis, better told." },
        { "prediction: It holds.\n    if_fails: It does not.\n    obligations: [EK-EQV-001]",
          "prediction: It holds indeed.\n    if_fails: It does not.\n    obligations: [EK-EQV-001]" },
        { "{max: 1.5e-5, warn: 1.0e-5}", "{max: 1.6e-5, warn: 1.0e-5}" }, /* of another falsifier */
        { "version: \"1.2.0\"\n  description", "version: \"1.2.1\"\n  description" },
        { "property: y equals x", "property: \"y  equals x \"" },
        { "status: SHIPPED", "status: PENDING" },
    };
    const digests base = after("y equals x", "y equals x");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        ck_assert_msg(strcmp(after(changes[i][0], changes[i][1]).sha256, base.sha256) == 0,
                      "%s -> %s changed the claim", changes[i][0], changes[i][1]);
}
END_TEST

/* Rule: the words of an id have digests of their own, for the lock file. */
START_TEST(words_have_digests)
{
    const digests base = after("y equals x", "y equals x");
    ck_assert_str_ne(after("rule: Everything a forward pass", "rule: All that a forward pass").falsifier,
                     base.falsifier);
    ck_assert_str_ne(
        after("obligations: [EK-EQV-001, EK_INV_002, OT-INV-001]", "obligations: [EK_INV_002, EK-EQV-001, OT-INV-001]")
            .falsifier,
        base.falsifier);
    ck_assert_str_eq(after("{min: 0.99, warn: 0.999}", "{min: 0.98, warn: 0.999}").falsifier, base.falsifier);
    ck_assert_str_ne(after("title: The first stage", "title: Another stage").stage, base.stage);
    ck_assert_str_eq(after("status: SHIPPED", "status: PENDING").stage, base.stage);
}
END_TEST

/* Rule: evidence of a backend rests on the shared part, the reference and its own folder, of which each is there. */
START_TEST(sources_of_a_backend)
{
    int n = 0;
    for (const fal_source *s = fal_sources; s->part; s++, n++) {
        ck_assert_uint_eq(strlen(s->sha256), 64);
        for (const fal_source *o = fal_sources; o != s; o++) ck_assert_str_ne(o->sha256, s->sha256);
    }
    ck_assert_int_eq(n, 4);
    json_t *j = fal_sources_json(fal_sources, "opencl");
    ck_assert_uint_eq(json_object_size(j), 3);
    ck_assert(json_is_string(json_object_get(j, "opencl")) && !json_object_get(j, "cuda"));
    json_decref(j);
    j = fal_sources_json(fal_sources, "reference");
    ck_assert_uint_eq(json_object_size(j), 2);
    json_decref(j);
    j = fal_sources_json(fal_sources, "elsewhere");
    ck_assert(json_is_null(json_object_get(j, "elsewhere")));
    json_decref(j);
}
END_TEST

Suite *fal_suite_claim(void)
{
    Suite *s = suite_create("claim");
    TCase *t = tcase_create("claim");
    tcase_add_checked_fixture(t, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_test(t, what_is_demanded_changes_the_claim);
    tcase_add_test(t, every_key_of_a_check_is_accounted_for);
    tcase_add_test(t, prose_does_not_change_the_claim);
    tcase_add_test(t, words_have_digests);
    tcase_add_test(t, sources_of_a_backend);
    suite_add_tcase(s, t);
    return s;
}
