/* Unit tests of harness/contract.h: every key arrives in its struct, references resolve, sets survive abuse. */
#include "falsifiers/unit/contract_folder.h"
#include "harness/diagnosis.h"
#include "harness/digest.h"
#include "harness/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Suite *fal_suite_contract(void);

/* ---- the good contract ---- */

static const fal_contract *by_stem(const fal_contract_set *set, const char *stem)
{
    for (int i = 0; i < set->n_contracts; i++)
        if (strcmp(set->contracts[i]->stem, stem) == 0) return set->contracts[i];
    ck_abort_msg("no contract %s", stem);
    return NULL;
}

START_TEST(every_key_arrives)
{
    fal_test_loaded l;
    const char *path = FAL_TEST_CONTRACTS;
    fal_test_load_paths(&l, &path, 1);
    for (size_t i = 0; i < l.diag.n; i++) ck_assert_msg(!l.diag.items[i].is_error, "%s", l.diag.items[i].message);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_int_eq(l.set->n_found, 2);
    ck_assert_int_eq(l.set->n_read, 2);
    ck_assert_int_eq(l.set->n_parsed, 2);
    ck_assert_int_eq(l.set->n_contracts, 2);
    ck_assert_str_eq(l.set->contracts[0]->stem, "every-key-v1");
    ck_assert_str_eq(l.set->contracts[1]->stem, "other-v1");

    const fal_contract *c = by_stem(l.set, "every-key-v1");
    char sha[65];
    ck_assert_int_eq(fal_sha256_file(FAL_TEST_CONTRACTS "/every-key-v1.yaml", sha, NULL), FAL_OK);
    ck_assert_str_eq(c->sha256, sha);
    ck_assert_str_eq(c->path, FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    ck_assert_str_eq(c->version, "1.2.0");
    ck_assert_str_eq(c->description,
                     "A contract for the loader's tests: every key once, π ≈ 3 and 日本語 in front of things "
                     "whose columns are checked.");
    ck_assert_str_eq(c->kind, "pattern");
    ck_assert_str_eq(c->status, "ACTIVE_ALGORITHM_LEVEL");
    ck_assert_str_eq(c->created, "2026-11-21");
    ck_assert_str_eq(c->author, "The loader's tests");
    ck_assert_int_eq(c->n_references, 2);
    ck_assert_str_eq(c->references[1], "a second one: with a colon");
    ck_assert_int_eq(c->n_depends_on, 1);
    ck_assert_str_eq(c->depends_on[0], "other-v1");
    ck_assert_int_eq(c->n_amendments, 2);
    ck_assert_str_eq(c->amendments[0].description, "Written.");
    ck_assert_str_eq(c->amendments[1].version, "1.2.0");
    ck_assert_str_eq(c->amendments[1].date, "2026-11-21");
    ck_assert_str_eq(c->amendments[1].kind, "status_promotion");
    ck_assert_str_eq(c->amendments[1].title, "Second");
    ck_assert_ptr_null(c->amendments[1].description);
    ck_assert_int_eq(c->n_equations, 2);
    ck_assert_int_eq(c->n_blockers, 1);
    ck_assert_str_eq(c->blockers[0], "nobody has looked");

    ck_assert_int_eq(c->n_obligations, 2);
    ck_assert_str_eq(c->obligations[0].id, "EK-EQV-001");
    ck_assert_str_eq(c->obligations[0].type, "equivalence");
    ck_assert_str_eq(c->obligations[0].property, "y equals x");
    ck_assert_str_eq(c->obligations[0].formal, "|y - x| = 0");
    ck_assert_int_eq(c->obligations[0].place.line, 30);
    ck_assert_int_eq(c->obligations[0].place.column, 5);
    ck_assert_str_eq(c->obligations[1].property, "日本語: bounded");
    ck_assert_ptr_null(c->obligations[1].formal);

    ck_assert_int_eq(c->n_stages, 2);
    ck_assert_str_eq(c->stages[0].id, "M-EK-0");
    ck_assert_str_eq(c->stages[0].status, "SHIPPED");
    ck_assert_str_eq(c->stages[0].title, "The first stage");
    ck_assert_str_eq(c->stages[0].description, "Something works.");
    ck_assert_int_eq(c->stages[0].n_obligations, 2);
    ck_assert_str_eq(c->stages[0].obligations[1], "OT-INV-001");
    ck_assert_int_eq(c->stages[1].n_blockers, 2);
    ck_assert_str_eq(c->stages[1].blockers[1], "no time");

    ck_assert_int_eq(c->n_options, 2);
    ck_assert_str_eq(c->options[1].id, "B");
    ck_assert_str_eq(c->options[1].title, "Leave it");
    ck_assert_str_eq(c->options[1].decision, "rejected");
    ck_assert_str_eq(c->options[1].why, "It is wrong.");

    ck_assert_int_eq(c->n_prompts, 2);
    ck_assert_str_eq(c->prompts[0].name, "short");
    ck_assert_int_eq(c->prompts[0].n_tokens, 3);
    ck_assert_int_eq(c->prompts[0].tokens[0], 1420);
    ck_assert_int_eq(c->prompts[0].tokens[2], INT32_MAX);
    ck_assert_ptr_null(c->prompts[0].from_oracle);
    ck_assert_str_eq(c->prompts[1].from_oracle, "p0");
    ck_assert_ptr_null(c->prompts[1].tokens);
    fal_test_release(&l);
}
END_TEST

START_TEST(every_key_of_checks_arrives)
{
    fal_test_loaded l;
    const char *path = FAL_TEST_CONTRACTS;
    fal_test_load_paths(&l, &path, 1);
    const fal_contract *c = by_stem(l.set, "every-key-v1");
    ck_assert_int_eq(c->n_falsifiers, 5);
    const fal_falsifier *f = &c->falsifiers[0];
    ck_assert_str_eq(f->id, "FALSIFY-EK-001");
    ck_assert_str_eq(f->rule, "Everything a forward pass can ask for");
    ck_assert_str_eq(f->prediction, "It holds.");
    ck_assert_str_eq(f->if_fails, "It does not.");
    ck_assert_int_eq(f->n_obligations, 3);
    ck_assert(!f->retired);
    ck_assert_int_eq(f->n_checks, 3);

    const fal_check *k = &f->checks[0];
    ck_assert_str_eq(k->name, "forward_cosine");
    ck_assert_int_eq(k->observe, FAL_OBSERVE_FORWARD);
    ck_assert_str_eq(k->judge, "cosine");
    ck_assert_int_eq(k->against, FAL_AGAINST_REFERENCE);
    ck_assert_int_eq(k->limit.kind, FAL_LIMIT_MIN);
    ck_assert_double_eq(k->limit.value, 0.99);
    ck_assert(k->limit.has_warn);
    ck_assert_double_eq(k->limit.warn, 0.999);
    ck_assert_str_eq(k->limit.basis, "Folded over two lines.");
    ck_assert_int_eq(k->n_backends, 2);
    ck_assert_str_eq(k->backends[1], "cuda");
    ck_assert_int_eq(k->n_prompts, 2);
    ck_assert_str_eq(k->prompts[0], "truth-0");
    ck_assert(k->sequence && k->again && k->decode);
    ck_assert_int_eq(k->n_greedy, 8);
    ck_assert_int_eq(k->n_taps, 3);
    ck_assert_str_eq(k->taps[1], "blk.*.attn");
    ck_assert_double_eq(fal_params_number(&k->with, "excuse_flips", 0), 1); /* true is 1, not text that nobody reads */
    ck_assert_double_eq(fal_params_number(&k->with, "gap", 0), 0.001);
    ck_assert_double_eq(fal_params_number(&k->with, "none", -5), -5);
    ck_assert_ptr_null(k->op);

    k = &f->checks[1];
    ck_assert_int_eq(k->observe, FAL_OBSERVE_PINNED);
    ck_assert_int_eq(k->against, FAL_AGAINST_ORACLE);
    ck_assert_int_eq(k->limit.kind, FAL_LIMIT_MAX);
    ck_assert(!k->limit.has_warn && !k->sequence && !k->again && !k->decode);
    ck_assert_int_eq(k->n_backends, 0);
    ck_assert_int_eq(k->n_taps, 0);
    ck_assert_int_eq(k->n_greedy, 0);
    ck_assert_int_eq(f->checks[2].observe, FAL_OBSERVE_TEACHER);
    ck_assert_int_eq(f->checks[2].against, FAL_AGAINST_SELF);
    ck_assert_int_eq(f->checks[2].limit.kind, FAL_LIMIT_EQUAL);

    k = &c->falsifiers[1].checks[0];
    ck_assert_int_eq(k->observe, FAL_OBSERVE_OP);
    ck_assert_int_eq(k->against, FAL_AGAINST_NONE);
    ck_assert_str_eq(k->op, "moe_matmul");
    ck_assert_double_eq(k->limit.value, 1.5e-5);
    ck_assert_int_eq(k->n_shapes, 2);
    ck_assert_double_eq(fal_params_number(&k->shapes[0], "n_in", 0), 256);
    ck_assert_str_eq(fal_params_text(&k->shapes[0], "type", ""), "Q4_K");
    ck_assert_double_eq(fal_params_number(&k->shapes[0], "type", -1), -1);
    ck_assert_str_eq(fal_params_text(&k->shapes[0], "n_in", "other kind"), "other kind");
    ck_assert_double_eq(fal_params_number(&k->shapes[1], "x_per_slot", 0), 1);
    ck_assert_int_eq(k->n_fills, 2);
    ck_assert_str_eq(k->fills[1], "outlier");
    ck_assert_int_eq(k->n_seeds, 2);
    ck_assert_uint_eq(k->seeds[1], 18446744073709551u);
    ck_assert_int_eq(k->then.n_params, 3);
    ck_assert_str_eq(fal_params_text(&k->then, "op", ""), "matmul");
    ck_assert_double_eq(fal_params_number(&k->then, "x_scale", 0), -0.5);
    ck_assert_double_eq(fal_params_number(&k->with, "expect", 0), -0.125);
    ck_assert_double_eq(fal_params_number(&k->with, "high", 0), 1e30);

    f = &c->falsifiers[2];
    ck_assert_int_eq(f->checks[0].observe, FAL_OBSERVE_PRELOAD);
    ck_assert_int_eq(f->checks[1].observe, FAL_OBSERVE_REFUSAL);
    ck_assert_int_eq(f->checks[1].n_spoil, 2);
    ck_assert_str_eq(f->checks[1].spoil[0], "arch");
    ck_assert_str_eq(fal_params_text(&f->checks[1].with, "contract", ""), "other-v1");

    ck_assert_int_eq(c->falsifiers[3].n_checks, 0);
    ck_assert_str_eq(c->falsifiers[3].unbound_because, "no engine offers it");
    ck_assert(c->falsifiers[4].retired);
    ck_assert_str_eq(c->falsifiers[4].end_condition, "the GPU path exists");
    fal_test_release(&l);
}
END_TEST

/* ---- sets of files ---- */

START_TEST(paths_that_hold_nothing_are_refused)
{
    fal_test_loaded l;
    fal_test_load(&l); /* an empty folder */
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    ck_assert_ptr_null(l.set);
    fal_test_release(&l);
    fal_test_write("notes.txt", "x");
    fal_test_write(".hidden.yaml", "x");
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    fal_test_release(&l);
    const char *none = fal_test_path("none.yaml");
    fal_test_load_paths(&l, &none, 1);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    fal_test_release(&l);
    fal_test_load_paths(&l, NULL, 0);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    fal_test_release(&l);
    /* one that holds nothing beside one that does */
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL(""));
    const char *both[] = { fal_test_folder, "/tmp/no/such/folder" };
    fal_test_load_paths(&l, both, 2);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    fal_test_release(&l);
}
END_TEST

START_TEST(con_016_names_of_files)
{
    fal_test_loaded l;
    fal_test_write("a-v1.yml", FAL_TEST_MINIMAL(""));
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(
        fal_test_find(&l, "CON-016")); /* not passed over: a contract that nobody reads looks like one that holds */
    ck_assert_int_eq(l.set->n_found, 0);
    fal_test_release(&l);
    unlink(fal_test_path("a-v1.yml"));
    fal_test_write("a b.yaml", FAL_TEST_MINIMAL(""));
    fal_test_load(&l);
    ck_assert_ptr_nonnull(fal_test_find(&l, "CON-016"));
    fal_test_release(&l);
    unlink(fal_test_path("a b.yaml"));

    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL(""));
    char sub[256], inner[320];
    snprintf(sub, sizeof sub, "%s/sub", fal_test_folder);
    snprintf(inner, sizeof inner, "%s/a-v1.yaml", sub);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    FILE *f = fopen(inner, "w");
    ck_assert_ptr_nonnull(f);
    fputs(FAL_TEST_MINIMAL(""), f);
    fclose(f);
    const char *both[] = { fal_test_folder, sub };
    fal_test_load_paths(&l, both, 2);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(fal_test_find(&l, "CON-016")); /* two contracts of one stem */
    fal_test_release(&l);
    unlink(inner);
    rmdir(sub);
}
END_TEST

START_TEST(a_file_named_twice_is_one_file)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") "proof_obligations:\n  - {id: A-1-1, type: bound, property: p}\n");
    char file[256];
    snprintf(file, sizeof file, "%s", fal_test_path("a-v1.yaml"));
    const char *paths[] = { file, fal_test_folder, file };
    fal_test_loaded l;
    fal_test_load_paths(&l, paths, 3);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_int_eq(l.set->n_found, 1);
    ck_assert_int_eq(l.set->n_contracts, 1);
    fal_test_release(&l);
}
END_TEST

START_TEST(a_broken_file_costs_only_itself)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL(""));
    fal_test_write("b-v1.yaml", "metadata: [1\n");
    fal_test_write(
        "c-v1.yaml",
        FAL_TEST_MINIMAL(
            ", depends_on: [b-v1]") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [B-1-1]}\n");
    fal_test_write("d-v1.yaml", FAL_TEST_MINIMAL("") "colour: red\nflavour: sweet\n");
    ck_assert_int_eq(mkfifo(fal_test_path("e-v1.yaml"), 0600), 0);
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_int_eq(l.set->n_found, 5);
    ck_assert_int_eq(l.set->n_read, 3);
    ck_assert_int_eq(l.set->n_contracts, 2);
    ck_assert_str_eq(l.set->contracts[0]->stem, "a-v1");
    ck_assert_str_eq(l.set->contracts[1]->stem, "c-v1"); /* what b defines is unknown, so nothing is said about B-1-1 */
    ck_assert_int_eq(fal_test_errors(&l), 4);
    const fal_diagnosis *errors[4];
    for (size_t i = 0, n = 0; i < l.diag.n && n < 4; i++)
        if (l.diag.items[i].is_error) errors[n++] = &l.diag.items[i];
    ck_assert_str_eq(errors[0]->rule, "FORM-010");
    ck_assert_str_eq(errors[1]->rule, "CON-001");
    ck_assert_int_eq(errors[1]->place.line, 3);
    ck_assert_int_eq(errors[2]->place.line, 4);
    ck_assert_str_eq(errors[3]->rule, "FORM-001");
    fal_test_release(&l);
}
END_TEST

START_TEST(ids_are_unique_over_all_files)
{
#define THREE                                                                                                          \
    "proof_obligations:\n  - {id: X-1-1, type: bound, property: p}\n"                                                  \
    "implementation_stages:\n  - {id: S, status: PENDING}\n"                                                           \
    "falsification_tests:\n  - {id: F-1-1, rule: r, prediction: p, if_fails: f, obligations: [X-1-1]}\n"
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") THREE);
    fal_test_write("b-v1.yaml", FAL_TEST_MINIMAL("") THREE);
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(fal_test_errors(&l), 3);
    for (size_t i = 0; i < l.diag.n; i++) {
        if (!l.diag.items[i].is_error) continue;
        ck_assert_str_eq(l.diag.items[i].rule, "CON-007");
        ck_assert_str_eq(l.diag.items[i].path, fal_test_path("b-v1.yaml"));
        ck_assert_ptr_nonnull(strstr(l.diag.items[i].message, "/a-v1.yaml:"));
    }
    fal_test_release(&l);
}
END_TEST

START_TEST(obligations_are_cited_along_dependencies_only)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") "proof_obligations:\n  - {id: A-1-1, type: bound, property: p}\n");
    fal_test_write("b-v1.yaml", FAL_TEST_MINIMAL(", depends_on: [a-v1]"));
    fal_test_write(
        "c-v1.yaml",
        FAL_TEST_MINIMAL(
            ", depends_on: [b-v1]") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1-1]}\n");
    fal_test_loaded l;
    fal_test_load(&l); /* c depends on a by way of b */
    ck_assert_int_eq(l.status, FAL_OK);
    fal_test_release(&l);
    fal_test_write("c-v1.yaml",
                   FAL_TEST_MINIMAL("") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1-1]}\n");
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    const fal_diagnosis *d = fal_test_find(&l, "CON-011");
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(d->place.line, 4);
    ck_assert_int_eq(d->place.column, 44);
    ck_assert_str_eq(d->suggestion, "add its contract to depends_on");
    fal_test_release(&l);
}
END_TEST

START_TEST(con_012_circles_are_found_once_each)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL(", depends_on: [b-v1]"));
    fal_test_write("b-v1.yaml", FAL_TEST_MINIMAL(", depends_on: [c-v1, d-v1]"));
    fal_test_write("c-v1.yaml", FAL_TEST_MINIMAL(", depends_on: [a-v1]"));
    fal_test_write("d-v1.yaml", FAL_TEST_MINIMAL(""));
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(fal_test_errors(&l), 1);
    ck_assert_str_eq(fal_test_find(&l, "CON-012")->message,
                     "contracts depend on each other in a circle: a-v1 -> b-v1 -> c-v1 -> a-v1");
    ck_assert_str_eq(fal_test_find(&l, "CON-012")->path, fal_test_path("c-v1.yaml"));
    fal_test_release(&l);
}
END_TEST

START_TEST(errors_are_capped_per_file_and_counted)
{
    fal_text t = { 0 };
    fal_text_add(&t, FAL_TEST_MINIMAL(""));
    for (int i = 0; i < 200; i++) fal_text_addf(&t, "unknown_%d: 1\n", i);
    fal_test_write("a-v1.yaml", fal_text_str(&t));
    fal_test_write("b-v1.yaml", FAL_TEST_MINIMAL("") "colour: red\n");
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(fal_test_errors(&l), FAL_DIAGNOSES_PER_FILE + 2);
    ck_assert_ptr_nonnull(strstr(fal_test_find(&l, "FORM-024")->message, "150 further errors"));
    ck_assert_str_eq(l.diag.items[l.diag.n - 1].path, fal_test_path("b-v1.yaml"));
    fal_test_release(&l);
    fal_text_free(&t);
}
END_TEST

START_TEST(a_kernel_without_falsifiers_is_told)
{
    fal_test_write("a-v1.yaml", "metadata: {version: \"1.0.0\", description: d, references: [r]}\nstatus: DRAFT\nequations: {y: {formula: y = x}}\n");
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_str_eq(l.set->contracts[0]->kind, "kernel");
    ck_assert_ptr_nonnull(fal_test_find(&l, "CON-102"));
    fal_test_release(&l);
}
END_TEST

/* ---- hostile sets ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void quick(const char *before, const char *unit, int times, const char *after)
{
    fal_text t = { 0 };
    fal_text_add(&t, before);
    for (int i = 0; i < times; i++) {
        const char *hash = strchr(unit, '#'); /* stands for the number */
        if (hash)
            fal_text_addf(&t, "%.*s%d%s", (int)(hash - unit), unit, i, hash + 1);
        else
            fal_text_add(&t, unit);
    }
    fal_text_add(&t, after);
    fal_test_write("a-v1.yaml", fal_text_str(&t));
    const double start = seconds();
    fal_test_loaded l;
    fal_test_load(&l);
    const double took = seconds() - start;
    ck_assert_msg(l.status == FAL_ERR_INPUT, "%s: %s", unit, fal_status_name(l.status));
    ck_assert_msg(took <= 10, "%d times '%s' took %g s", times, unit, took);
    fal_test_release(&l);
    fal_text_free(&t);
}

START_TEST(large_and_wrong_is_refused_quickly)
{
    quick(FAL_TEST_MINIMAL(""), "unknown_key_#: 1\n", 90000, "");
    quick(FAL_TEST_MINIMAL("") "proof_obligations:\n", "  - {id: A-1-1, type: bound, property: p}\n", 20000, "");
    quick(FAL_TEST_MINIMAL("") "proof_obligations:\n", "  - {id: A-#, type: bound, property: p}\n", 20000,
          "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1x, A-2x, A-30000, A-40000]}\n");
    quick(FAL_TEST_MINIMAL("") "prompts:\n", "  - {name: p#, tokens: [1]}\n", 20000, "");
    quick(FAL_TEST_MINIMAL("") "falsification_tests:\n  - id: F-1-1\n    check:\n      - name: x\n        taps: [",
          "\"blk.199.*#\", ", 64, "logits]\n");
    quick(
        FAL_TEST_MINIMAL(
            "") "falsification_tests:\n  - id: F-1-1\n    check:\n      - name: x\n        op: add\n        shapes: [",
        "{n_tokens: #, n_embd: 1}, ", 30000, "]\n");
    quick("metadata: {references: [r], depends_on: [", "other-#, ", 90000, "]}\n");
}
END_TEST

START_TEST(truncation_and_mutation_never_crash)
{
    char *base = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml"),
         *other = fal_test_read(FAL_TEST_CONTRACTS "/other-v1.yaml");
    fal_test_write("other-v1.yaml", other);
    const size_t n = strlen(base);
    char *copy = malloc(n + 1);
    ck_assert_ptr_nonnull(copy);
    for (size_t i = 0; i < n; i += 13) {
        memcpy(copy, base, i);
        copy[i] = '\0';
        fal_test_write("every-key-v1.yaml", copy);
        fal_test_loaded l;
        fal_test_load(&l);
        ck_assert(l.status == FAL_OK || l.status == FAL_ERR_INPUT);
        ck_assert_int_eq(fal_test_errors(&l) > 0, l.status == FAL_ERR_INPUT);
        fal_test_release(&l);
    }
    static const char bytes[] = "[]{}:,-#\"'&*0a \n";
    unsigned state = 12345;
    for (int i = 0; i < 1500; i++) {
        memcpy(copy, base, n + 1);
        for (int k = 0; k < 1 + i % 3; k++) {
            state = state * 1664525u + 1013904223u;
            copy[(state >> 8) % n] = bytes[(state >> 3) % (sizeof bytes - 1)];
        }
        fal_test_write("every-key-v1.yaml", copy);
        fal_test_loaded l;
        fal_test_load(&l);
        ck_assert(l.status == FAL_OK || l.status == FAL_ERR_INPUT);
        ck_assert_int_eq(fal_test_errors(&l) > 0, l.status == FAL_ERR_INPUT);
        fal_test_release(&l);
    }
    free(copy);
    free(base);
    free(other);
}
END_TEST

Suite *fal_suite_contract(void)
{
    Suite *s = suite_create("contract");
    TCase *good = tcase_create("good"), *sets = tcase_create("sets"), *hostile = tcase_create("hostile");
    tcase_add_test(good, every_key_arrives);
    tcase_add_test(good, every_key_of_checks_arrives);
    tcase_add_checked_fixture(sets, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_test(sets, paths_that_hold_nothing_are_refused);
    tcase_add_test(sets, con_016_names_of_files);
    tcase_add_test(sets, a_file_named_twice_is_one_file);
    tcase_add_test(sets, a_broken_file_costs_only_itself);
    tcase_add_test(sets, ids_are_unique_over_all_files);
    tcase_add_test(sets, obligations_are_cited_along_dependencies_only);
    tcase_add_test(sets, con_012_circles_are_found_once_each);
    tcase_add_test(sets, errors_are_capped_per_file_and_counted);
    tcase_add_test(sets, a_kernel_without_falsifiers_is_told);
    tcase_add_checked_fixture(hostile, fal_test_make_folder, fal_test_remove_folder);
    tcase_set_timeout(hostile, 300);
    tcase_add_test(hostile, large_and_wrong_is_refused_quickly);
    tcase_add_test(hostile, truncation_and_mutation_never_crash);
    suite_add_tcase(s, good);
    suite_add_tcase(s, sets);
    suite_add_tcase(s, hostile);
    return s;
}
