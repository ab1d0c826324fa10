/* Tests of bisecting and of capsules with a backend that is wrong in known places: falsifiers/observers/broken. */
#include "harness/bisect.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_opencl_bisect(void);

static const int32_t tokens[] = { 1420, 364, 258, 1919, 472, 72,  1180, 555, 1791,
                                  733,  790, 11,  334,  258, 260, 279,  295, 538 };
static const int32_t *const requests[] = { tokens };
static const int lengths[] = { 18 };
static const char *const names[] = { "p0" };
static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";

typedef struct {
    fal_contract_set *contracts;
    fal_diagnoses diagnoses;
    fal_bisect *b;
    char folder[64];
    fal_error err;
} scene;

static void set_up(scene *s, const char *program, const char *variant)
{
    static const char *const paths[] = { "contracts" };
    *s = (scene){ .folder = "/tmp/falsify-check-XXXXXX" };
    ck_assert_ptr_nonnull(mkdtemp(s->folder));
    ck_assert_msg(fal_contract_set_load(paths, 1, &s->contracts, &s->diagnoses, &s->err) == FAL_OK, "%s",
                  s->err.message);
    const fal_bisect_in in = { .program = program,
                               .tmp = s->folder,
                               .model = model,
                               .backend = "opencl",
                               .variant = variant,
                               .tokens = requests,
                               .n_tokens = lengths,
                               .names = names,
                               .n_requests = 1,
                               .contracts = s->contracts,
                               .timeout_s = 300 };
    ck_assert_msg(fal_bisect_make(&in, &s->b, &s->err) == FAL_OK, "%s", s->err.message);
    char capsules[80];
    snprintf(capsules, sizeof capsules, "%s/capsules", s->folder);
    ck_assert_msg(fal_bisect_find(s->b, capsules, "FALSIFY-X/y", 100, 60, &s->err) == FAL_OK, "%s", s->err.message);
}

static void tear_down(scene *s)
{
    char path[80];
    if (s->b->capsule.path) ck_assert_int_eq(unlink(s->b->capsule.path), 0);
    fal_bisect_free(s->b);
    snprintf(path, sizeof path, "%s/capsules", s->folder);
    rmdir(path);
    ck_assert_msg(rmdir(s->folder) == 0, "something is left in %s", s->folder);
    fal_diagnoses_free(&s->diagnoses);
    fal_contract_set_free(s->contracts);
}

static int row_named(const fal_bisect *b, const char *site)
{
    for (int i = 0; i < b->table.n; i++)
        if (strcmp(b->table.rows[i].tap.name, site) == 0) return i;
    ck_abort_msg("no row %s", site);
    return -1;
}

/* Rule: a right backend has every op of every layer observed, judged and within its limit, and no capsule is made. */
START_TEST(a_right_backend_is_within)
{
    scene s;
    char reason[200] = "";
    set_up(&s, FAL_PROGRAM, "cpu");
    const fal_bisect_counts *n = &s.b->counts;
    ck_assert_msg(fal_bisect_exit(s.b, reason, sizeof reason) == 0, "%s", reason);
    ck_assert_int_eq(n->planned, 4 * 22 + 3);
    ck_assert_int_eq(n->within, n->planned);
    ck_assert_int_eq(n->within + n->beyond + n->unjudged + n->not_observed, n->planned);
    ck_assert_int_eq(s.b->first, -1);
    ck_assert_ptr_null(s.b->capsule.path);
    for (int i = 0; i < s.b->table.n; i++)
        for (int p = 0; p < FAL_N_PASSES; p++) {
            const fal_divergence *d = &s.b->table.rows[i].pass[p];
            ck_assert(d->has);
            ck_assert_uint_eq(d->rows, 18);
            ck_assert(d->value >= 0 && d->value < 1e-5);
        }
    /* rounding piles up: an engine that fed the reference's values in everywhere would show the same error twice */
    const fal_divergence_row *last = &s.b->table.rows[row_named(s.b, "blk.3.l_out")];
    ck_assert(last->pass[FAL_PASS_FREE].value > 2 * last->pass[FAL_PASS_LOCAL].value);
    tear_down(&s);
}
END_TEST

static void is_place(const fal_bisect *b, const char *site, const char *tensor, int expert, int row, int first_column)
{
    const int i = row_named(b, site);
    const fal_bisect_place *p = &b->places[i];
    ck_assert(b->table.rows[i].breaks);
    ck_assert(p->tried && p->alone);
    ck_assert_str_eq(p->tensor, tensor);
    ck_assert_int_eq(p->expert, expert);
    ck_assert_int_eq(p->row, row);
    ck_assert_int_eq(p->unit, 256);
    ck_assert_int_eq(p->block * p->unit, first_column);
}

static fal_attempt attempt(const char *program, const char *backend, const char *variant, const fal_capsule *c)
{
    fal_bench bench = { .program = program, .tmp = "/tmp", .backend = backend, .variant = variant, .timeout_s = 300 };
    fal_attempt a;
    fal_error err = { 0 };
    ck_assert_msg(fal_bench_open(&bench, &err) == FAL_OK, "%s", err.message);
    fal_capsule_try(&bench, c, &a, NULL);
    fal_bench_close(&bench);
    ck_assert_msg(a.observed, "%s", a.reason);
    return a;
}

/* Rule: two blocks that are read wrong are both named, with expert, row and columns, and nothing else is; the capsule of
   the first holds that block alone, fails on the broken program, and not on the right one or the reference. */
START_TEST(broken_blocks_are_named)
{
    scene s;
    char reason[200];
    set_up(&s, FAL_BROKEN, "cpu");
    ck_assert_int_eq(fal_bisect_exit(s.b, reason, sizeof reason), 1);
    ck_assert_int_eq(s.b->counts.beyond, 2);
    ck_assert_int_eq(s.b->counts.within, s.b->counts.planned - 2);
    ck_assert_str_eq(s.b->table.rows[s.b->first].tap.name, "blk.1.attn_output");
    is_place(s.b, "blk.1.attn_output", "blk.1.attn_output.weight", -1, 37, 256);
    is_place(s.b, "blk.2.moe_gate", "blk.2.ffn_gate_exps.weight", 4, 100, 0);
    /* what follows is right by itself and carries the error all the same */
    const fal_divergence_row *after = &s.b->table.rows[row_named(s.b, "blk.1.l_out")];
    ck_assert(after->pass[FAL_PASS_LOCAL].value < 1e-6 && after->pass[FAL_PASS_FREE].value > 1e-5 &&
              after->pass[FAL_PASS_PINNED].value > 1e-5);

    fal_capsule *c = NULL;
    fal_observation *file = NULL;
    struct stat sb;
    ck_assert_ptr_nonnull(s.b->capsule.path);
    ck_assert(s.b->capsule.shrunk.complete);
    ck_assert_int_eq(stat(s.b->capsule.path, &sb), 0);
    ck_assert_int_lt(sb.st_size, 32 << 10);
    ck_assert_msg(fal_capsule_open(s.b->capsule.path, &c, &file, &s.err) == FAL_OK, "%s", s.err.message);
    ck_assert_str_eq(c->op, "matmul");
    ck_assert_double_eq(fal_capsule_get(c, "n_tokens", 0), 1);
    ck_assert_double_eq(fal_capsule_get(c, "n_out", 0), 1);
    ck_assert_double_eq(fal_capsule_get(c, "n_in", 0), 256);
    ck_assert_int_eq((int)fal_capsule_original(c, 'r', 0), 37);
    ck_assert_int_eq((int)fal_capsule_original(c, 'c', 0), 1);
    ck_assert_str_eq(json_string_value(json_object_get(c->origin, "tensor")), "blk.1.attn_output.weight");
    ck_assert_str_eq(json_string_value(json_object_get(c->origin, "case")), "FALSIFY-X/y");
    const fal_obs_tensor *got = fal_observation_find(file, 0, "got.y"), *want = fal_observation_find(file, 0, "want.y");
    ck_assert(got && want && got->n == 1 && memcmp(got->data, want->data, got->nbytes) != 0);

    ck_assert(attempt(FAL_BROKEN, "opencl", "cpu", c).fails);
    ck_assert(attempt(FAL_BROKEN, "opencl", "", c).fails); /* the kernels of the other variant read the same block */
    ck_assert(!attempt(FAL_PROGRAM, "opencl", "cpu", c).fails);
    const fal_attempt reference = attempt(FAL_PROGRAM, "reference", "", c);
    ck_assert(!reference.fails && !(reference.value > 0));
    fal_observation_close(file);
    fal_capsule_free(c);
    tear_down(&s);
}
END_TEST

/* Rule: every op that is wrong is listed in forward order, and one that is right by itself is told from one that is not:
   attention reads a cache into which kv_store wrote keys for values. */
START_TEST(broken_ops_and_what_lies_between_them)
{
    scene s;
    int n = 0, before = -1;
    set_up(&s, FAL_BROKEN, "");
    for (int layer = 0; layer < 4; layer++) {
        static const char *const sites[] = { "q_rope", "k_rope", "attn" };
        for (int k = 0; k < 3; k++, n++) {
            char name[32];
            snprintf(name, sizeof name, "blk.%d.%s", layer, sites[k]);
            const int i = row_named(s.b, name);
            ck_assert_msg(s.b->table.rows[i].breaks, "%s", name);
            ck_assert(s.b->places[i].tried);
            ck_assert_msg(s.b->places[i].alone == (k < 2), "%s", name);
            ck_assert_int_gt(i, before);
            before = i;
        }
    }
    ck_assert_int_eq(s.b->counts.beyond, n + 2); /* and the two blocks */
    ck_assert_str_eq(s.b->table.rows[s.b->first].tap.name, "blk.0.q_rope");
    const fal_capsule *c = s.b->capsule.call;
    ck_assert_str_eq(c->op, "rope");
    ck_assert_double_eq(fal_capsule_get(c, "n_tokens", 0), 1);
    ck_assert_double_eq(fal_capsule_get(c, "n_head", 0), 1);
    ck_assert_int_gt((int)fal_capsule_get(c, "first_pos", 0),
                     0); /* at position 0 the sine is 0 and the sign does not show */
    tear_down(&s);
}
END_TEST

/* Rule: a check that names a variant is about that one alone: its sites, its limit, its way of feeding tokens and the
   variant of the reference that it names; the exact class does not borrow from it. */
START_TEST(variants_have_checks_of_their_own)
{
    const char *const taps[] = { "blk.*.q", "blk.*.attn" };
    const fal_param with[] = { { "variant", 0, "cpu" } };
    const fal_check check = { .name = "x",
                              .observe = FAL_OBSERVE_TEACHER,
                              .judge = "rel_l2",
                              .against = FAL_AGAINST_REFERENCE,
                              .limit = { FAL_LIMIT_MAX, 1e-5, false, 0, "made up" },
                              .decode = true,
                              .taps = taps,
                              .n_taps = 2,
                              .with = { with, 1 } };
    const fal_falsifier f = { .id = "FALSIFY-X-001", .checks = &check, .n_checks = 1 };
    const fal_contract contract = { .path = "x.yaml", .stem = "x-v1", .falsifiers = &f, .n_falsifiers = 1 };
    const fal_contract *const list[] = { &contract };
    const fal_contract_set set = { .contracts = list, .n_contracts = 1 };
    static const struct {
        const char *variant, *mirror;
        bool decode;
        int planned, beyond, unjudged;
    } ways[] = {
        { "cpu", NULL, true, 8, 0, 0 },
        { "cpu", "kv16", true, 8, 4, 0 }, /* a cache of f32 held against one of f16: attention differs, q does not */
        { "", NULL, false, 91, 0, 87 },   /* only expert ids have a limit by definition */
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        fal_bisect *b = NULL;
        fal_error err = { 0 };
        const fal_bisect_in in = { .program = FAL_PROGRAM,
                                   .tmp = "/tmp",
                                   .model = model,
                                   .backend = "opencl",
                                   .variant = ways[i].variant,
                                   .mirror = ways[i].mirror,
                                   .decode = ways[i].decode,
                                   .tokens = requests,
                                   .n_tokens = lengths,
                                   .names = names,
                                   .n_requests = 1,
                                   .contracts = &set,
                                   .timeout_s = 300 };
        ck_assert_msg(fal_bisect_make(&in, &b, &err) == FAL_OK, "%s", err.message);
        ck_assert_msg(b->made[FAL_STEP_TEACHER], "%s", b->outcomes[FAL_STEP_TEACHER].error.message);
        ck_assert_int_eq(b->counts.planned, ways[i].planned);
        ck_assert_int_eq(b->counts.beyond, ways[i].beyond);
        ck_assert_int_eq(b->counts.unjudged, ways[i].unjudged);
        if (ways[i].beyond) ck_assert_str_eq(b->table.rows[b->first].tap.name, "blk.0.attn");
        ck_assert_int_eq(fal_bisect_find(b, "/tmp/never-made", NULL, 10, 10, &err), FAL_OK);
        ck_assert_ptr_null(b->capsule.path);
        fal_bisect_free(b);
    }
}
END_TEST

/* Rule: a backend that is not there is blocked, and nothing is counted as within. */
START_TEST(a_missing_device_is_blocked)
{
    static const char *const paths[] = { "contracts" };
    scene s = { 0 };
    char reason[300];
    ck_assert_int_eq(fal_contract_set_load(paths, 1, &s.contracts, &s.diagnoses, &s.err), FAL_OK);
    const fal_bisect_in in = { .program = FAL_PROGRAM,
                               .tmp = "/tmp",
                               .model = model,
                               .backend = "opencl",
                               .variant = "",
                               .device = "no such device",
                               .tokens = requests,
                               .n_tokens = lengths,
                               .names = names,
                               .n_requests = 1,
                               .contracts = s.contracts,
                               .timeout_s = 60 };
    ck_assert_int_eq(fal_bisect_make(&in, &s.b, &s.err), FAL_OK);
    ck_assert_int_eq(s.b->counts.within, 0);
    ck_assert_int_eq(s.b->counts.not_observed, s.b->counts.planned);
    const int status = fal_bisect_exit(s.b, reason, sizeof reason);
    ck_assert_msg(status == 5 || status == 77, "%d: %s", status, reason);
    fal_bisect_free(s.b);
    fal_diagnoses_free(&s.diagnoses);
    fal_contract_set_free(s.contracts);
}
END_TEST

Suite *fal_suite_opencl_bisect(void)
{
    Suite *s = suite_create("opencl_bisect");
    TCase *t = tcase_create("bisect");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_right_backend_is_within);
    tcase_add_test(t, broken_blocks_are_named);
    tcase_add_test(t, broken_ops_and_what_lies_between_them);
    tcase_add_test(t, variants_have_checks_of_their_own);
    tcase_add_test(t, a_missing_device_is_blocked);
    suite_add_tcase(s, t);
    return s;
}
