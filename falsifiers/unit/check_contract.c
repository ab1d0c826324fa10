/* Unit tests of harness/contract.h and falsify validate: every key arrives, and every rule refuses something. */
#include "harness/cmd.h"
#include "harness/contract.h"
#include "harness/diagnosis.h"
#include "harness/digest.h"
#include "harness/text.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Suite *fal_suite_contract(void);

#define DATA "falsifiers/unit/contracts"

/* ---- a folder of contracts ---- */

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/fal_contract_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    ck_assert_int_eq(rmdir(folder), 0);
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "run from the root of the repository: no %s", path);
    char *text = calloc(1, 65536);
    ck_assert_ptr_nonnull(text);
    const size_t n = fread(text, 1, 65535, f);
    ck_assert_uint_lt(n, 65535);
    fclose(f);
    return text;
}

typedef struct {
    fal_contract_set *set;
    fal_diagnoses diag;
    fal_error err;
    fal_status status;
} loaded;

static void load_paths(loaded *l, const char *const *paths, int n)
{
    *l = (loaded){ 0 };
    l->status = fal_contract_set_load(paths, n, &l->set, &l->diag, &l->err);
}

static void load(loaded *l)
{
    const char *path = folder;
    load_paths(l, &path, 1);
}

static void release(loaded *l)
{
    fal_contract_set_free(l->set);
    fal_diagnoses_free(&l->diag);
}

static int n_errors(const loaded *l)
{
    int n = 0;
    for (size_t i = 0; i < l->diag.n; i++) n += l->diag.items[i].is_error;
    return n;
}

static const fal_diagnosis *find(const loaded *l, const char *rule)
{
    for (size_t i = 0; i < l->diag.n; i++)
        if (strcmp(l->diag.items[i].rule, rule) == 0) return &l->diag.items[i];
    return NULL;
}

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
    loaded l;
    const char *path = DATA;
    load_paths(&l, &path, 1);
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
    ck_assert_int_eq(fal_sha256_file(DATA "/every-key-v1.yaml", sha, NULL), FAL_OK);
    ck_assert_str_eq(c->sha256, sha);
    ck_assert_str_eq(c->path, DATA "/every-key-v1.yaml");
    ck_assert_str_eq(c->version, "1.2.0");
    ck_assert_str_eq(c->description, "A contract for the loader's tests: every key once, π ≈ 3 and 日本語 in front of things "
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
    release(&l);
}
END_TEST

START_TEST(every_key_of_checks_arrives)
{
    loaded l;
    const char *path = DATA;
    load_paths(&l, &path, 1);
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
    release(&l);
}
END_TEST

/* ---- one change, one refusal ---- */

typedef struct {
    const char *rule;
    const char *from, *to; /* what is changed in every-key-v1; the first occurrence */
    const char *at;        /* text at which the diagnosis stands, searched from the change on; NULL: anywhere */
} change;

static const change changes[] = {
    /* unknown and missing keys, of every object */
    { "CON-001", "status: ACTIVE", "statuss: DRAFT\nstatus: ACTIVE", "statuss" },
    { "CON-001", "  author:", "  auther: x\n  author:", "auther" },
    { "CON-001", "domain: \"R^n\"", "π: 1", "π" },
    { "CON-001", "property: y equals x,", "property: y equals x, 日本: 1,", "日本" },
    { "CON-001", "tolerance: 1.0e-6", "tolerence: 1.0e-6", "tolerence" },
    { "CON-001", "status: PENDING,", "status: PENDING, owner: x,", "owner" },
    { "CON-001", "title: Do it,", "title: Do it, by: x,", "by" },
    { "CON-001", "{name: short,", "{name: short, text: x,", "text" },
    { "CON-001", "    if_fails: It does", "    severity: high\n    if_fails: It does", "severity" },
    { "CON-001", "judge: cosine", "judge: cosine\n        jugde: cosine", "jugde" },
    { "CON-001", "warn: 0.999}", "warm: 0.999}", "warm" },
    { "CON-001", "pass_criteria: all", "pass_criterion: all", "pass_criterion" },
    { "CON-001", "excuse_flips: true", "excuse_flip: true", "excuse_flip" },
    { "CON-001", "x_scale: -0.5", "gap: 1", "gap" }, /* of judgements, not of fixtures */
    { "CON-001", "n_out: 7, type: Q4_K", "n_out: 7, n_head: 7, type: Q4_K", "n_head" },
    { "CON-001", "kind: status_promotion", "kind: status_promotion\n      why: x", "why" },
    { "CON-002", "  description: >-\n", "  author2: >-\n", NULL },
    { "CON-002", "  references: [", "  depends_upon: [", NULL },
    { "CON-002", "formula: \"z = y\"", "domain: z", "domain" },
    { "CON-002", "property: y equals x,", "", NULL },
    { "CON-002", "status: PENDING, ", "", NULL },
    { "CON-002", ", why: It is right.", "", NULL },
    { "CON-002", "    prediction: It holds.\n", "", NULL },
    { "CON-002", "    if_fails: It does not.\n", "", NULL },
    { "CON-002", "    obligations: [EK-EQV-001, EK_INV_002, OT-INV-001]\n", "", NULL },
    { "CON-002", "        basis: counted\n", "", NULL },
    { "CON-002", "        judge: argmax\n", "", NULL },
    { "CON-002", "        against: oracle\n", "", NULL },
    { "CON-002", "limit: {equal: 0}, ", "", NULL },
    { "CON-002", "n_out: 7, type: Q4_K", "n_out: 7", NULL },
    { "CON-002", "status: ACTIVE_ALGORITHM_LEVEL\n", "", NULL },
    /* kinds of values */
    { "CON-003", "blockers: [\"nobody has looked\"]", "blockers: nobody", "nobody" },
    { "CON-003", "author: 'The loader''s tests'", "author: [x]", "[x]" },
    { "CON-003", "sequence: true", "sequence: yes", "yes" },
    { "CON-003", "sequence: true", "sequence: \"true\"", "\"true\"" },
    { "CON-003", "limit: {min: 0.99, warn: 0.999}", "limit: 0.99", "0.99" },
    { "CON-003", "  two: {formula: \"z = y\"}", "  two: z", "z" },
    { "CON-003", "n_in: 256", "n_in: Q4_K", "Q4_K" },
    { "CON-003", "type: Q4_K", "type: 12", "12" },
    { "CON-003", "gap: 0.001", "gap: wide", "wide" },
    { "CON-003", "gap: 0.001", "gap: [1]", "[1]" },
    { "CON-003", "contract: other-v1", "contract: 5", "5" },
    { "CON-003", "      - {name: loads", "      - loads\n      - {name: loads", "loads" },
    /* empty */
    { "CON-004", "basis: derived", "basis: \"  \"", "\"  \"" },
    { "CON-004", "rule: Prose", "rule:", NULL },
    { "CON-004", "references: [\"arXiv:1910.07467\", \"a second one: with a colon\"]", "references: []", "[]" },
    { "CON-004", "references: [\"arXiv:1910.07467\",", "references: [\"\",", "\"\"" },
    { "CON-004", "fills: [gauss, outlier]", "fills: []", "[]" },
    { "CON-004", "seeds: [1, 18446744073709551]", "seeds: []", "[]" },
    { "CON-004", "tokens: [1420, 0, 2147483647]", "tokens: []", "[]" },
    { "CON-004", "then: {op: matmul, n_tokens: 3, x_scale: -0.5}", "then: {}", "{}" },
    { "CON-004", "    unbound_because: no engine offers it\n", "    check: []\n", "[]" },
    /* one of a list */
    { "CON-005", "kind: pattern", "kind: Pattern", "Pattern" },
    { "CON-005", "status: ACTIVE_ALGORITHM_LEVEL", "status: ACTIVE", "ACTIVE" },
    { "CON-005", "type: equivalence", "type: equivalent", "equivalent" },
    { "CON-005", "status: SHIPPED", "status: DONE", "DONE" },
    { "CON-005", "decision: rejected", "decision: maybe", "maybe" },
    { "CON-005", "kind: created", "kind: made", "made" },
    { "CON-005", "observe: forward", "observe: forwards", "forwards" },
    { "CON-005", "against: oracle", "against: truth", "truth" },
    { "CON-005", "backends: [opencl, cuda]", "backends: [opencl, metal]", "metal" },
    { "CON-005", "op: moe_matmul", "op: moe_matmull", "moe_matmull" },
    { "CON-005", "{op: matmul, ", "{op: matmull, ", "matmull" },
    { "CON-005", "fills: [gauss, outlier]", "fills: [gauss, outliers]", "outliers" },
    { "CON-005", "spoil: [arch, truncated]", "spoil: [arch, truncate]", "truncate" },
    /* forms of names */
    { "CON-006", "id: FALSIFY-EK-001", "id: FALSIFY-EK.001", "FALSIFY-EK.001" },
    { "CON-006", "id: FALSIFY-EK-001", "id: falsify-ek-001", "falsify-ek-001" },
    { "CON-006", "id: FALSIFY-EK-001", "id: FA", "FA" },
    { "CON-006", "id: FALSIFY-EK-001", "id: \"FALSIFY-EK-001/..\"", "\"FALSIFY" },
    { "CON-006", "id: FALSIFY-EK-001", "id: FALSIFY-ЕK-001", "FALSIFY-ЕK" }, /* Cyrillic */
    { "CON-006", "id: FALSIFY-EK-001", "id: \"FALSIFY-EK-00\\u200b1\"", "\"FALSIFY" },
    { "CON-006", "{id: EK_INV_002,", "{id: ek,", "ek" },
    { "CON-006", "id: M-EK-0", "id: m-0", "m-0" },
    { "CON-006", "name: forward_cosine", "name: Forward", "Forward" },
    { "CON-006", "judge: argmax", "judge: arg-max", "arg-max" },
    { "CON-006", "{name: short,", "{name: \"a b\",", "\"a b\"" },
    { "CON-006", "from_oracle: p0", "from_oracle: prompt", "prompt" },
    { "CON-006", "version: \"1.2.0\"", "version: \"1.2\"", "\"1.2\"" },
    { "CON-006", "created: \"2026-11-21\"", "created: \"2026-13-21\"", "\"2026-13" },
    { "CON-006", "date: \"2026-02-18\"", "date: yesterday", "yesterday" },
    /* repeats */
    { "CON-007", "id: FALSIFY-EK-003", "id: FALSIFY-EK-001", "FALSIFY-EK-001" },
    { "CON-007", "{id: EK_INV_002,", "{id: EK-EQV-001,", "EK-EQV-001" },
    { "CON-007", "{id: EK_INV_002,", "{id: OT-INV-001,", NULL }, /* another file's */
    { "CON-007", "id: M-EK-1.1-redo", "id: M-EK-0", "M-EK-0" },
    { "CON-007", "{id: B,", "{id: A,", "A" },
    { "CON-007", "{name: truth-0,", "{name: short,", "short" },
    { "CON-007", "name: oracle_argmax", "name: forward_cosine", "forward_cosine" },
    { "CON-007", "obligations: [EK-EQV-001, OT-INV-001]", "obligations: [EK-EQV-001, EK-EQV-001]", NULL },
    { "CON-007", "fills: [gauss, outlier]", "fills: [gauss, gauss]", NULL },
    { "CON-007", "seeds: [1, 18446744073709551]", "seeds: [7, 1, 7]", NULL },
    { "CON-007", "depends_on: [other-v1]", "depends_on: [other-v1, other-v1]", NULL },
    { "CON-007", "prompts: [short]", "prompts: [short, short]", NULL },
    { "CON-007", "{n_tokens: 3, n_expert: 1, n_expert_used: 1, n_in: 32, n_out: 7, x_per_slot: true, type: q8_0}",
      "{type: Q4_K, n_expert: 8, n_tokens: 3, n_expert_used: 2, n_in: 256, n_out: 7.0}", NULL }, /* in another order */
    /* numbers */
    { "CON-008", "min: 0.99", "min: .99", ".99" },
    { "CON-008", "min: 0.99", "min: \"0.99\"", "\"0.99\"" },
    { "CON-008", "max: 1.5e-5", "max: 1e999", "1e999" },
    { "CON-008", "max: 1.5e-5", "max: .inf", ".inf" },
    { "CON-008", "max: 1.5e-5", "max: nan", "nan" },
    { "CON-008", "max: 1.5e-5", "max: 1_5", "1_5" },
    { "CON-008", "tolerance: 1.0e-6", "tolerance: 0x1p-20", "0x1p-20" },
    { "CON-008", "n_greedy: 8", "n_greedy: 0", "0" },
    { "CON-008", "n_greedy: 8", "n_greedy: 8.5", "8.5" },
    { "CON-008", "tokens: [1420,", "tokens: [-1,", "-1" },
    { "CON-008", "2147483647]", "2147483648]", "2147483648" },
    { "CON-008", "seeds: [1,", "seeds: [-1,", "-1" },
    { "CON-008", "n_in: 256", "n_in: 0", "0" },
    { "CON-008", "n_in: 256", "n_in: 256.5", "256.5" },
    { "CON-008", "n_in: 256", "n_in: 99999999999", "99999999999" },
    { "CON-008", "x_per_slot: true", "x_per_slot: 2", "2" },
    { "CON-008", "low: -1", "low: -1x", "-1x" },
    /* keys that need or exclude each other */
    { "CON-009", "{name: short, tokens: [1420, 0, 2147483647]}", "{name: short}", "{name: short}" },
    { "CON-009", "from_oracle: p0}", "from_oracle: p0, tokens: [1]}", NULL },
    { "CON-009", "        prompts: [truth-0]\n", "", NULL },
    { "CON-009", "        op: moe_matmul\n", "", NULL },
    { "CON-009", "        seeds: [1, 18446744073709551]\n", "", NULL },
    { "CON-009", "        fills: [gauss, outlier]\n", "", NULL },
    { "CON-009", "        spoil: [arch, truncated]\n", "", NULL },
    { "CON-009", "        op: moe_matmul\n", "        op: moe_matmul\n        prompts: [short]\n", "prompts" },
    { "CON-009", "        n_greedy: 8\n", "        seeds: [1]\n", "seeds" },
    { "CON-009", "judge: preload, ", "judge: preload, taps: [logits], ", "taps" },
    { "CON-009", "        prompts: [truth-0]\n", "        prompts: [short]\n", "short" }, /* the oracle has no answer */
    { "CON-009", "        prompts: [truth-0, short]\n", "        prompts: [short]\n", NULL },
    { "CON-009", "    retired: true\n    end_condition: the GPU path exists\n", "    retired: true\n", NULL },
    { "CON-009", "    unbound_because: no engine offers it\n", "    end_condition: never\n", "end_condition" },
    { "CON-009", "    check:\n      - {name: loads", "    unbound_because: x\n    check:\n      - {name: loads", "unbound_because" },
    { "CON-009", "    check:\n      - {name: loads", "    retired: true\n    end_condition: now\n    check:\n      - {name: loads", "check" },
    { "CON-009", "against: none\n        limit: {max: 1.5e-5", "against: oracle\n        limit: {max: 1.5e-5", "oracle" },
    /* limits */
    { "CON-010", "limit: {max: 0}", "limit: {max: 0, min: 0}", "{max" },
    { "CON-010", "limit: {max: 0}", "limit: {warn: 0}", "{warn" },
    { "CON-010", "limit: {max: 0}", "limit: {}", "{}" },
    { "CON-010", "warn: 0.999}", "warn: 0.98}", "0.98" },
    { "CON-010", "warn: 1.0e-5}", "warn: 2.0e-5}", "2.0e-5" },
    { "CON-010", "limit: {equal: 0}", "limit: {equal: 0, warn: 0}", "0}" },
    /* references */
    { "CON-011", "depends_on: [other-v1]", "depends_on: [other-v1, another-v1]", "another-v1" },
    { "CON-011", "obligations: [EK-EQV-001, OT-INV-001]", "obligations: [EK-EQV-002, OT-INV-001]", "EK-EQV-002" },
    { "CON-011", "obligations: [EK-EQV-001, EK_INV_002, OT-INV-001]", "obligations: [EK-EQV-001, EK_INV_020]", "EK_INV_020" },
    { "CON-011", "prompts: [truth-0]", "prompts: [truth-1]", "truth-1" },
    { "CON-011", "contract: other-v1", "contract: other-v2", "other-v2" },
    { "CON-012", "depends_on: [other-v1]", "depends_on: [other-v1, every-key-v1]", "every-key-v1" },
    /* shapes */
    { "CON-013", "n_expert_used: 2", "n_expert_used: 9", NULL },
    { "CON-013", "n_in: 256", "n_in: 255", NULL },
    { "CON-013", "type: Q4_K", "type: Q9_K", "Q9_K" },
    { "CON-013", "type: Q4_K", "type: I32", "I32" }, /* a type, but nothing computes with it */
    /* taps */
    { "CON-014", "taps: [logits,", "taps: [logit,", "logit" },
    { "CON-014", "\"blk.*.attn\"", "\"attn\"", "\"attn\"" },
    { "CON-014", "\"blk.*.attn\"", "\"blk.*.logits\"", "\"blk" },
    /* self-reference */
    { "CON-015", "backends: [opencl, cuda]", "backends: [reference, cuda]", "reference" },
    /* rules of form reach through */
    { "FORM-015", "rule: Prose", "rule: Prose\n    rule: Prose", "rule: Prose\n    prediction" },
    { "FORM-011", "rule: Prose", "rule: &a Prose", "&a" },
    { "FORM-006", "rule: Prose", "rule: \"Pro\\0se\"", "\"Pro" },
    /* warnings */
    { "CON-101", "obligations: [EK-EQV-001, EK_INV_002, OT-INV-001]", "obligations: [EK-EQV-001, EK_INV_002]", NULL },
    { "CON-103", "version: \"1.2.0\"", "version: \"1.3.0\"", "\"1.3.0\"" },
    { "FORM-022", "rule: Prose", "rule: no", "no" },
    { "FORM-022", "max: 1.5e-5", "max: 15e-6", "15e-6" },
};

static fal_place place_of(const char *text, const char *at)
{
    fal_place p = { 1, 1 };
    for (const char *s = text; s < at; s++) {
        if (*s == '\n') p.line++, p.column = 1;
        else if (((unsigned char)*s & 0xC0) != 0x80) p.column++;
    }
    return p;
}

static char *changed(const char *base, const change *c, const char **where)
{
    const char *at = strstr(base, c->from);
    ck_assert_msg(at != NULL, "the test data lacks: %s", c->from);
    char *text = malloc(strlen(base) + strlen(c->to) + 1);
    ck_assert_ptr_nonnull(text);
    const size_t before = (size_t)(at - base);
    memcpy(text, base, before);
    strcpy(text + before, c->to);
    strcat(text + before, at + strlen(c->from));
    *where = text + before;
    return text;
}

START_TEST(every_rule_refuses)
{
    const change *c = &changes[_i];
    char *base = read_file(DATA "/every-key-v1.yaml"), *other = read_file(DATA "/other-v1.yaml");
    const char *where = NULL;
    char *text = changed(base, c, &where);
    write_file("every-key-v1.yaml", text);
    write_file("other-v1.yaml", other);
    loaded l;
    load(&l);
    const fal_diagnosis *d = find(&l, c->rule);
    ck_assert_msg(d != NULL, "%s: '%s' -> '%s' was not refused; first: %s", c->rule, c->from, c->to,
                  l.diag.n ? l.diag.items[0].message : "nothing");
    const bool warns = strcmp(c->rule, "FORM-022") == 0 || strcmp(c->rule, "CON-101") == 0 || strcmp(c->rule, "CON-103") == 0;
    ck_assert_int_eq(d->is_error, !warns);
    ck_assert_int_eq(n_errors(&l) > 0, !warns);
    ck_assert_int_eq(l.status, warns ? FAL_OK : FAL_ERR_INPUT);
    ck_assert_int_eq(l.set->n_parsed, l.set->n_contracts);
    for (int i = 0; !warns && i < l.set->n_contracts; i++) ck_assert_str_ne(l.set->contracts[i]->path, d->path);
    if (c->at) {
        const char *at = strstr(where, c->at);
        ck_assert_msg(at != NULL, "no '%s' after the change", c->at);
        const fal_place p = place_of(text, at);
        ck_assert_msg(d->place.line == p.line && d->place.column == p.column, "%s at %d:%d, expected %d:%d ('%s' -> '%s'): %s", c->rule,
                      d->place.line, d->place.column, p.line, p.column, c->from, c->to, d->message);
    }
    free(text);
    free(base);
    free(other);
    release(&l);
}
END_TEST

START_TEST(suggestions_name_what_was_meant)
{
    static const struct {
        const char *from, *to, *rule, *suggestion;
    } cases[] = {
        { "judge: cosine", "judge: cosine\n        jugde: x", "CON-001", "did you mean 'judge'?" },
        { "status: SHIPPED", "status: SHIPED", "CON-005", "did you mean 'SHIPPED'?" },
        { "op: moe_matmul", "op: moe_mamtul", "CON-005", "did you mean 'moe_matmul'?" },
        { "obligations: [EK-EQV-001, OT-INV-001]", "obligations: [EK-EQV-001, OT-INV-01]", "CON-011", "did you mean 'OT-INV-001'?" },
        { "depends_on: [other-v1]", "depends_on: [othr-v1]", "CON-011", "did you mean 'other-v1'?" },
        { "prompts: [short]", "prompts: [shrot]", "CON-011", "did you mean 'short'?" },
        { "\"blk.*.attn\"", "attn", "CON-014", "did you mean 'blk.*.attn'?" },
        { "{name: short,", "{named: short,", "CON-001", "did you mean 'name'?" },
        { "{name: short,", "{zebra: short,", "CON-001", "one of: name, tokens, from_oracle" },
    };
    char *base = read_file(DATA "/every-key-v1.yaml"), *other = read_file(DATA "/other-v1.yaml");
    write_file("other-v1.yaml", other);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const change c = { cases[i].rule, cases[i].from, cases[i].to, NULL };
        const char *where = NULL;
        char *text = changed(base, &c, &where);
        write_file("every-key-v1.yaml", text);
        loaded l;
        load(&l);
        const fal_diagnosis *d = find(&l, c.rule);
        ck_assert_msg(d && d->suggestion && strcmp(d->suggestion, cases[i].suggestion) == 0, "'%s': %s", c.to,
                      d && d->suggestion ? d->suggestion : "none");
        release(&l);
        free(text);
    }
    free(base);
    free(other);
}
END_TEST

/* ---- sets of files ---- */

#define MINIMAL(stem_refs)                                                                                       \
    "metadata: {version: \"1.0.0\", description: d, kind: schema, references: [r]" stem_refs "}\nstatus: DRAFT\n"

START_TEST(paths_that_hold_nothing_are_refused)
{
    loaded l;
    load(&l); /* an empty folder */
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    ck_assert_ptr_null(l.set);
    release(&l);
    write_file("notes.txt", "x");
    write_file(".hidden.yaml", "x");
    load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    release(&l);
    const char *none = path_of("none.yaml");
    load_paths(&l, &none, 1);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    release(&l);
    load_paths(&l, NULL, 0);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    release(&l);
    /* one that holds nothing beside one that does */
    write_file("a-v1.yaml", MINIMAL(""));
    const char *both[] = { folder, "/tmp/no/such/folder" };
    load_paths(&l, both, 2);
    ck_assert_int_eq(l.status, FAL_ERR_NOTHING);
    release(&l);
}
END_TEST

START_TEST(con_016_names_of_files)
{
    loaded l;
    write_file("a-v1.yml", MINIMAL(""));
    load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(find(&l, "CON-016")); /* not passed over: a contract that nobody reads looks like one that holds */
    ck_assert_int_eq(l.set->n_found, 0);
    release(&l);
    unlink(path_of("a-v1.yml"));
    write_file("a b.yaml", MINIMAL(""));
    load(&l);
    ck_assert_ptr_nonnull(find(&l, "CON-016"));
    release(&l);
    unlink(path_of("a b.yaml"));

    write_file("a-v1.yaml", MINIMAL(""));
    char sub[256], inner[320];
    snprintf(sub, sizeof sub, "%s/sub", folder);
    snprintf(inner, sizeof inner, "%s/a-v1.yaml", sub);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    FILE *f = fopen(inner, "w");
    ck_assert_ptr_nonnull(f);
    fputs(MINIMAL(""), f);
    fclose(f);
    const char *both[] = { folder, sub };
    load_paths(&l, both, 2);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_ptr_nonnull(find(&l, "CON-016")); /* two contracts of one stem */
    release(&l);
    unlink(inner);
    rmdir(sub);
}
END_TEST

START_TEST(a_file_named_twice_is_one_file)
{
    write_file("a-v1.yaml", MINIMAL("") "proof_obligations:\n  - {id: A-1-1, type: bound, property: p}\n");
    char file[256];
    snprintf(file, sizeof file, "%s", path_of("a-v1.yaml"));
    const char *paths[] = { file, folder, file };
    loaded l;
    load_paths(&l, paths, 3);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_int_eq(l.set->n_found, 1);
    ck_assert_int_eq(l.set->n_contracts, 1);
    release(&l);
}
END_TEST

START_TEST(a_broken_file_costs_only_itself)
{
    write_file("a-v1.yaml", MINIMAL(""));
    write_file("b-v1.yaml", "metadata: [1\n");
    write_file("c-v1.yaml", MINIMAL(", depends_on: [b-v1]") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [B-1-1]}\n");
    write_file("d-v1.yaml", MINIMAL("") "colour: red\nflavour: sweet\n");
    ck_assert_int_eq(mkfifo(path_of("e-v1.yaml"), 0600), 0);
    loaded l;
    load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    ck_assert_int_eq(l.set->n_found, 5);
    ck_assert_int_eq(l.set->n_read, 3);
    ck_assert_int_eq(l.set->n_contracts, 2);
    ck_assert_str_eq(l.set->contracts[0]->stem, "a-v1");
    ck_assert_str_eq(l.set->contracts[1]->stem, "c-v1"); /* what b defines is unknown, so nothing is said about B-1-1 */
    ck_assert_int_eq(n_errors(&l), 4);
    ck_assert_str_eq(l.diag.items[0].rule, "FORM-010");
    ck_assert_str_eq(l.diag.items[1].rule, "CON-001");
    ck_assert_int_eq(l.diag.items[1].place.line, 3);
    ck_assert_int_eq(l.diag.items[2].place.line, 4);
    ck_assert_str_eq(l.diag.items[3].rule, "FORM-001");
    release(&l);
}
END_TEST

START_TEST(ids_are_unique_over_all_files)
{
#define THREE                                                                                     \
    "proof_obligations:\n  - {id: X-1-1, type: bound, property: p}\n"                             \
    "implementation_stages:\n  - {id: S, status: PENDING}\n"                                      \
    "falsification_tests:\n  - {id: F-1-1, rule: r, prediction: p, if_fails: f, obligations: [X-1-1]}\n"
    write_file("a-v1.yaml", MINIMAL("") THREE);
    write_file("b-v1.yaml", MINIMAL("") THREE);
    loaded l;
    load(&l);
    ck_assert_int_eq(n_errors(&l), 3);
    for (size_t i = 0; i < l.diag.n; i++) {
        if (!l.diag.items[i].is_error) continue;
        ck_assert_str_eq(l.diag.items[i].rule, "CON-007");
        ck_assert_str_eq(l.diag.items[i].path, path_of("b-v1.yaml"));
        ck_assert_ptr_nonnull(strstr(l.diag.items[i].message, "/a-v1.yaml:"));
    }
    release(&l);
}
END_TEST

START_TEST(obligations_are_cited_along_dependencies_only)
{
    write_file("a-v1.yaml", MINIMAL("") "proof_obligations:\n  - {id: A-1-1, type: bound, property: p}\n");
    write_file("b-v1.yaml", MINIMAL(", depends_on: [a-v1]"));
    write_file("c-v1.yaml", MINIMAL(", depends_on: [b-v1]") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1-1]}\n");
    loaded l;
    load(&l); /* c depends on a by way of b */
    ck_assert_int_eq(l.status, FAL_OK);
    release(&l);
    write_file("c-v1.yaml", MINIMAL("") "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1-1]}\n");
    load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    const fal_diagnosis *d = find(&l, "CON-011");
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(d->place.line, 4);
    ck_assert_int_eq(d->place.column, 44);
    ck_assert_str_eq(d->suggestion, "add its contract to depends_on");
    release(&l);
}
END_TEST

START_TEST(con_012_circles_are_found_once_each)
{
    write_file("a-v1.yaml", MINIMAL(", depends_on: [b-v1]"));
    write_file("b-v1.yaml", MINIMAL(", depends_on: [c-v1, d-v1]"));
    write_file("c-v1.yaml", MINIMAL(", depends_on: [a-v1]"));
    write_file("d-v1.yaml", MINIMAL(""));
    loaded l;
    load(&l);
    ck_assert_int_eq(n_errors(&l), 1);
    ck_assert_str_eq(find(&l, "CON-012")->message, "contracts depend on each other in a circle: a-v1 -> b-v1 -> c-v1 -> a-v1");
    ck_assert_str_eq(find(&l, "CON-012")->path, path_of("c-v1.yaml"));
    release(&l);
}
END_TEST

START_TEST(errors_are_capped_per_file_and_counted)
{
    fal_text t = { 0 };
    fal_text_add(&t, MINIMAL(""));
    for (int i = 0; i < 200; i++) fal_text_addf(&t, "unknown_%d: 1\n", i);
    write_file("a-v1.yaml", fal_text_str(&t));
    write_file("b-v1.yaml", MINIMAL("") "colour: red\n");
    loaded l;
    load(&l);
    ck_assert_int_eq(n_errors(&l), FAL_DIAGNOSES_PER_FILE + 2);
    ck_assert_ptr_nonnull(strstr(find(&l, "FORM-024")->message, "150 further errors"));
    ck_assert_str_eq(l.diag.items[l.diag.n - 1].path, path_of("b-v1.yaml"));
    release(&l);
    fal_text_free(&t);
}
END_TEST

START_TEST(a_kernel_without_falsifiers_is_told)
{
    write_file("a-v1.yaml", "metadata: {version: \"1.0.0\", description: d, references: [r]}\nstatus: DRAFT\n");
    loaded l;
    load(&l);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_str_eq(l.set->contracts[0]->kind, "kernel");
    ck_assert_ptr_nonnull(find(&l, "CON-102"));
    release(&l);
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
        if (hash) fal_text_addf(&t, "%.*s%d%s", (int)(hash - unit), unit, i, hash + 1);
        else fal_text_add(&t, unit);
    }
    fal_text_add(&t, after);
    write_file("a-v1.yaml", fal_text_str(&t));
    const double start = seconds();
    loaded l;
    load(&l);
    const double took = seconds() - start;
    ck_assert_msg(l.status == FAL_ERR_INPUT, "%s: %s", unit, fal_status_name(l.status));
    ck_assert_msg(took <= 10, "%d times '%s' took %g s", times, unit, took);
    release(&l);
    fal_text_free(&t);
}

START_TEST(large_and_wrong_is_refused_quickly)
{
    quick(MINIMAL(""), "unknown_key_#: 1\n", 90000, "");
    quick(MINIMAL("") "proof_obligations:\n", "  - {id: A-1-1, type: bound, property: p}\n", 20000, "");
    quick(MINIMAL("") "proof_obligations:\n", "  - {id: A-#, type: bound, property: p}\n", 20000,
          "implementation_stages:\n  - {id: S, status: PENDING, obligations: [A-1x, A-2x, A-30000, A-40000]}\n");
    quick(MINIMAL("") "prompts:\n", "  - {name: p#, tokens: [1]}\n", 20000, "");
    quick(MINIMAL("") "falsification_tests:\n  - id: F-1-1\n    check:\n      - name: x\n        taps: [", "\"blk.199.*#\", ", 64,
          "logits]\n");
    quick(MINIMAL("") "falsification_tests:\n  - id: F-1-1\n    check:\n      - name: x\n        op: add\n        shapes: [",
          "{n_tokens: #, n_embd: 1}, ", 30000, "]\n");
    quick("metadata: {references: [r], depends_on: [", "other-#, ", 90000, "]}\n");
}
END_TEST

START_TEST(truncation_and_mutation_never_crash)
{
    char *base = read_file(DATA "/every-key-v1.yaml"), *other = read_file(DATA "/other-v1.yaml");
    write_file("other-v1.yaml", other);
    const size_t n = strlen(base);
    char *copy = malloc(n + 1);
    ck_assert_ptr_nonnull(copy);
    for (size_t i = 0; i < n; i += 13) {
        memcpy(copy, base, i);
        copy[i] = '\0';
        write_file("every-key-v1.yaml", copy);
        loaded l;
        load(&l);
        ck_assert(l.status == FAL_OK || l.status == FAL_ERR_INPUT);
        ck_assert_int_eq(n_errors(&l) > 0, l.status == FAL_ERR_INPUT);
        release(&l);
    }
    static const char bytes[] = "[]{}:,-#\"'&*0a \n";
    unsigned state = 12345;
    for (int i = 0; i < 1500; i++) {
        memcpy(copy, base, n + 1);
        for (int k = 0; k < 1 + i % 3; k++) {
            state = state * 1664525u + 1013904223u;
            copy[(state >> 8) % n] = bytes[(state >> 3) % (sizeof bytes - 1)];
        }
        write_file("every-key-v1.yaml", copy);
        loaded l;
        load(&l);
        ck_assert(l.status == FAL_OK || l.status == FAL_ERR_INPUT);
        ck_assert_int_eq(n_errors(&l) > 0, l.status == FAL_ERR_INPUT);
        release(&l);
    }
    free(copy);
    free(base);
    free(other);
}
END_TEST

/* ---- falsify validate ---- */

typedef struct {
    char *out, *err;
    size_t n_out, n_err;
    fal_error error;
    int status;
} ran;

static void validate(ran *r, int argc, const char *const *argv)
{
    char *args[8] = { 0 };
    ck_assert_int_lt(argc, 8);
    for (int i = 0; i < argc; i++) args[i] = strdup(argv[i]);
    *r = (ran){ 0 };
    const int no_stop = 0;
    const fal_cmd_env env = { .program = "falsify",
                              .tmp = "/tmp",
                              .out = open_memstream(&r->out, &r->n_out),
                              .err = open_memstream(&r->err, &r->n_err),
                              .stop = &no_stop };
    r->status = fal_cmd_validate(argc, args, &env, &r->error);
    fclose(env.out);
    fclose(env.err);
    for (int i = 0; i < argc; i++) free(args[i]);
}

static void forget(ran *r)
{
    free(r->out);
    free(r->err);
}

START_TEST(validate_counts_and_exits)
{
    ran r;
    validate(&r, 2, (const char *[]){ "validate", DATA });
    ck_assert_int_eq(r.status, 0);
    ck_assert_str_eq(r.out, "contracts    2 found, 2 read as YAML, 2 valid\n"
                            "falsifiers   5 = 3 bound (6 checks) + 1 unbound + 1 retired\n"
                            "obligations  3 of 3 have a bound falsifier\n");
    ck_assert_str_eq(r.err, "");
    forget(&r);

    write_file("a-v1.yaml", MINIMAL("") "colour: red\n");
    validate(&r, 2, (const char *[]){ "validate", folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.err, "/a-v1.yaml:3:1: error: unknown key 'colour' in a contract [CON-001]"));
    ck_assert_ptr_nonnull(strstr(r.out, "1 found, 1 read as YAML, 0 valid"));
    ck_assert_str_ne(r.error.message, "");
    ck_assert_ptr_null(strchr(r.err, '\x1b'));
    forget(&r);

    validate(&r, 3, (const char *[]){ "validate", "--color=always", folder });
    ck_assert_ptr_nonnull(strchr(r.err, '\x1b'));
    forget(&r);

    validate(&r, 2, (const char *[]){ "validate", "/tmp/no/such/folder" });
    ck_assert_int_eq(r.status, 4);
    ck_assert_str_ne(r.error.message, "");
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--colour" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--color=blue" });
    ck_assert_int_eq(r.status, 2);
    forget(&r);
    validate(&r, 2, (const char *[]){ "validate", "--help" });
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "usage:"));
    forget(&r);
}
END_TEST

START_TEST(con_017_unknown_judgement)
{
    char *base = read_file(DATA "/every-key-v1.yaml"), *other = read_file(DATA "/other-v1.yaml");
    const change c = { "CON-017", "judge: cosine", "judge: cosne", NULL };
    const char *where = NULL;
    char *text = changed(base, &c, &where);
    write_file("every-key-v1.yaml", text);
    write_file("other-v1.yaml", other);
    ran r;
    validate(&r, 2, (const char *[]){ "validate", folder });
    ck_assert_int_eq(r.status, 3);
    ck_assert_ptr_nonnull(strstr(r.err, "FALSIFY-EK-001/forward_cosine: there is no judgement 'cosne' [CON-017]"));
    ck_assert_ptr_nonnull(strstr(r.err, "did you mean 'cosine'?"));
    ck_assert_ptr_nonnull(strstr(r.out, "2 found, 2 read as YAML, 1 valid"));
    forget(&r);
    free(text);
    free(base);
    free(other);
}
END_TEST

START_TEST(our_own_contracts_are_valid)
{
    ran r;
    validate(&r, 2, (const char *[]){ "validate", "contracts" });
    ck_assert_msg(r.status == 0, "%s\n%s", r.error.message, r.err);
    forget(&r);
}
END_TEST

START_TEST(output_that_cannot_be_written_is_an_error)
{
    FILE *full = fopen("/dev/full", "w");
    if (!full) return; /* a system without it cannot show this */
    char name[] = "validate", path[] = DATA;
    char *args[] = { name, path };
    const int no_stop = 0;
    fal_error err = { 0 };
    const fal_cmd_env env = { .program = "falsify", .tmp = "/tmp", .out = full, .err = stderr, .stop = &no_stop };
    ck_assert_int_eq(fal_cmd_validate(2, args, &env, &err), 8);
    fclose(full);
}
END_TEST

Suite *fal_suite_contract(void)
{
    Suite *s = suite_create("contract");
    TCase *good = tcase_create("good"), *rules = tcase_create("rules"), *sets = tcase_create("sets"), *hostile = tcase_create("hostile"),
          *command = tcase_create("command");
    tcase_add_test(good, every_key_arrives);
    tcase_add_test(good, every_key_of_checks_arrives);
    tcase_add_checked_fixture(rules, make_folder, remove_folder);
    tcase_add_loop_test(rules, every_rule_refuses, 0, (int)(sizeof changes / sizeof changes[0]));
    tcase_add_test(rules, suggestions_name_what_was_meant);
    tcase_add_checked_fixture(sets, make_folder, remove_folder);
    tcase_add_test(sets, paths_that_hold_nothing_are_refused);
    tcase_add_test(sets, con_016_names_of_files);
    tcase_add_test(sets, a_file_named_twice_is_one_file);
    tcase_add_test(sets, a_broken_file_costs_only_itself);
    tcase_add_test(sets, ids_are_unique_over_all_files);
    tcase_add_test(sets, obligations_are_cited_along_dependencies_only);
    tcase_add_test(sets, con_012_circles_are_found_once_each);
    tcase_add_test(sets, errors_are_capped_per_file_and_counted);
    tcase_add_test(sets, a_kernel_without_falsifiers_is_told);
    tcase_add_checked_fixture(hostile, make_folder, remove_folder);
    tcase_set_timeout(hostile, 300);
    tcase_add_test(hostile, large_and_wrong_is_refused_quickly);
    tcase_add_test(hostile, truncation_and_mutation_never_crash);
    tcase_add_checked_fixture(command, make_folder, remove_folder);
    tcase_add_test(command, validate_counts_and_exits);
    tcase_add_test(command, con_017_unknown_judgement);
    tcase_add_test(command, our_own_contracts_are_valid);
    tcase_add_test(command, output_that_cannot_be_written_is_an_error);
    suite_add_tcase(s, good);
    suite_add_tcase(s, rules);
    suite_add_tcase(s, sets);
    suite_add_tcase(s, hostile);
    suite_add_tcase(s, command);
    return s;
}
