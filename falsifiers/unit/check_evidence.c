/* Unit tests of harness/evidence.h: what is written, under which names, and that a file is whole or not there. */
#include "falsifiers/unit/plan_world.h"
#include "harness/digest.h"
#include "harness/evidence.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_evidence(void);

static const char model[] = "falsifiers/models/austen-moe-Q4_K_M.gguf";
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

typedef struct {
    fal_world w;
    fal_run run;
    char folder[64];
    fal_evidence_options options;
} bench;

static void set_up(bench *b, const char *const *arguments)
{
    *b = (bench){ .folder = "/tmp/falsify-check-XXXXXX" };
    ck_assert_ptr_nonnull(mkdtemp(b->folder));
    ck_assert_int_eq(fal_world_make(&b->w, FAL_WORLD_GPU, model, arguments), FAL_OK);
    b->run = (fal_run){ .plan = b->w.plan,
                        .kernels = json_object(),
                        .model_sha256 = "0123456789abcdef",
                        .started = "2026-11-21T00:00:00Z" };
    b->run.results = calloc((size_t)b->w.plan->n_cases + 1, sizeof *b->run.results);
    ck_assert_ptr_nonnull(b->run.results);
    for (int i = 0; i < b->w.plan->n_cases; i++) {
        fal_verdict *v = &b->run.results[i].verdict;
        v->kind = b->w.plan->cases[i].blocked ? FAL_BLOCKED : FAL_SURVIVED;
        v->metric = "max relative L2";
        v->has_value = !b->w.plan->cases[i].blocked;
        v->value = 1e-7;
        v->margin = 0.9;
        v->n_compared = 5;
        snprintf(v->reason, sizeof v->reason, "made up");
        b->run.results[i].executed = !b->w.plan->cases[i].blocked;
        fal_counts_add(&b->run.tally.all, v->kind);
    }
    b->options = (fal_evidence_options){
        .folder = b->folder, .invoked = "falsify", .root = ".", .options = &b->w.options, .revision = "test"
    };
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char inner[600];
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (unlink(inner)) remove_tree(inner);
    }
    if (d) closedir(d);
    rmdir(path);
}

static void tear_down(bench *b)
{
    chmod(b->folder, 0700);
    remove_tree(b->folder);
    free(b->run.results);
    json_decref(b->run.kernels);
    fal_world_free(&b->w);
}

static json_t *load(const bench *b, const char *name)
{
    char path[300];
    json_error_t je;
    snprintf(path, sizeof path, "%s/%s", b->folder, name);
    return json_load_file(path, JSON_REJECT_DUPLICATES, &je);
}

static bool exists(const bench *b, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", b->folder, name);
    return access(path, F_OK) == 0;
}

static const char *text_at(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "(none)";
}

static int count_files(const char *path, const char *ending)
{
    int n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        const size_t len = strlen(e->d_name), tail = strlen(ending);
        n += len >= tail && strcmp(e->d_name + len - tail, ending) == 0;
    }
    if (d) closedir(d);
    return n;
}

/* Rule: a file per falsifier, backend, device and model; nothing for what was only blocked; the summary lists each
   file by the digest of its bytes. */
START_TEST(files_and_summary)
{
    bench b;
    set_up(&b, NULL);
    fal_evidence_written w = { 0 };
    fal_error err = { 0 };
    ck_assert_msg(fal_evidence_write(&b.run, &b.options, &w, &err) == FAL_OK, "%s", err.message);
    ck_assert(exists(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.json"));
    ck_assert(exists(&b, "FALSIFY-ALPHA-001/reference-test-cpu-nomodel.json"));
    ck_assert(exists(&b, "FALSIFY-ALPHA-002/opencl-some-gpu-01234567.json"));
    ck_assert(!exists(&b, "FALSIFY-ALPHA-003"));
    ck_assert_int_eq(w.n_files, 6); /* 5 falsifiers on opencl, one of them on the reference as well */
    json_error_t je;
    json_t *summary = json_load_file(w.summary, JSON_REJECT_DUPLICATES, &je);
    const json_t *files = json_object_get(summary, "files"), *counts = json_object_get(summary, "counts");
    ck_assert_uint_eq(json_array_size(files), 6);
    for (size_t i = 0; i < 6; i++) {
        char path[400], digest[65];
        snprintf(path, sizeof path, "%s/%s", b.folder, text_at(json_array_get(files, i), "path"));
        ck_assert_int_eq(fal_sha256_file(path, digest, &err), FAL_OK);
        ck_assert_str_eq(digest, text_at(json_array_get(files, i), "sha256"));
    }
    int sum = 0;
    for (int v = 0; v < FAL_N_VERDICTS; v++)
        sum += (int)json_integer_value(json_object_get(counts, fal_verdict_name((fal_verdict_kind)v)));
    ck_assert_int_eq(sum, (int)json_integer_value(json_object_get(counts, "planned")));
    ck_assert_int_eq(sum, b.w.plan->n_cases);
    json_decref(summary);
    free(w.summary);
    tear_down(&b);
}
END_TEST

/* Rule: the values stand in the file, exactly; NaN is told, not lost; the verdict is the worst of the cases. */
START_TEST(values_and_worst)
{
    bench b;
    set_up(&b, ARGS("--backend", "opencl", "--seed", "18446744073709551615"));
    fal_verdict *v = &b.run.results[1].verdict;
    v->kind = FAL_FALSIFIED;
    v->value = NAN;
    v->margin = -(double)INFINITY;
    v->has_worst = true;
    v->got = 0.1;
    v->want = -NAN;
    snprintf(v->worst, sizeof v->worst, "out.y[0]");
    fal_evidence_written w = { 0 };
    fal_error err = { 0 };
    ck_assert_int_eq(fal_evidence_write(&b.run, &b.options, &w, &err), FAL_OK);
    json_t *j = load(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.json");
    ck_assert_ptr_nonnull(j);
    ck_assert_str_eq(text_at(j, "id"), "FALSIFY-ALPHA-001");
    ck_assert_str_eq(text_at(j, "verdict"), "falsified");
    ck_assert_str_eq(text_at(j, "value"), "nan");
    ck_assert_str_eq(text_at(j, "margin"), "-inf");
    ck_assert_str_eq(text_at(j, "seed"), "18446744073709551615");
    ck_assert_uint_eq(strlen(text_at(json_object_get(j, "claim"), "sha256")), 64);
    const json_t *worst = json_object_get(j, "worst"), *contract = json_object_get(j, "contract"),
                 *device = json_object_get(j, "device");
    ck_assert_str_eq(text_at(worst, "got_hex"), "0x1.999999999999ap-4");
    ck_assert_str_eq(text_at(worst, "want"), "nan");
    ck_assert_str_eq(text_at(contract, "name"), "alpha-v1");
    ck_assert_str_eq(text_at(contract, "version"), "1.0.0");
    ck_assert_str_eq(text_at(device, "name"), "Some GPU");
    ck_assert(json_is_true(json_object_get(j, "complete")));
    const json_t *cases = json_object_get(j, "cases"), *second = json_array_get(cases, 1);
    ck_assert_uint_eq(json_array_size(cases), 5);
    ck_assert_str_eq(text_at(second, "verdict"), "falsified");
    ck_assert_str_eq(text_at(second, "fill"), "zeros");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(second, "shape"), "n_embd")), 32);
    ck_assert_double_eq(json_real_value(json_object_get(json_object_get(second, "limit"), "max")), 1e-6);
    json_decref(j);
    free(w.summary);
    tear_down(&b);
}
END_TEST

/* Rule: a file says which claim, sources and oracle it is about; what was held against no oracle names none. */
START_TEST(provenance)
{
    bench b;
    set_up(&b, NULL);
    fal_evidence_written w = { 0 };
    fal_error err = { 0 };
    ck_assert_msg(fal_evidence_write(&b.run, &b.options, &w, &err) == FAL_OK, "%s", err.message);
    char digest[65];
    ck_assert_int_eq(fal_sha256_file("falsifiers/models/austen-moe-Q4_K_M.oracle.safetensors", digest, &err), FAL_OK);
    int n_oracle = 0;
    json_error_t je;
    json_t *summary = json_load_file(w.summary, JSON_REJECT_DUPLICATES, &je);
    const json_t *files = json_object_get(summary, "files");
    for (size_t i = 0; i < json_array_size(files); i++) {
        json_t *j = load(&b, text_at(json_array_get(files, i), "path"));
        const json_t *claim = json_object_get(j, "claim"), *sources = json_object_get(j, "sources"),
                     *oracle = json_object_get(j, "oracle");
        ck_assert_uint_eq(strlen(text_at(claim, "sha256")), 64);
        ck_assert_uint_ge(json_object_size(json_object_get(claim, "checks")), 1);
        ck_assert_uint_eq(strlen(text_at(sources, "reference")), 64);
        ck_assert_uint_eq(strlen(text_at(sources, text_at(j, "backend"))), 64);
        bool against = false;
        for (int k = 0; k < b.w.plan->n_cases; k++)
            against |= b.w.plan->cases[k].uses_oracle && strcmp(b.w.plan->cases[k].falsifier->id, text_at(j, "id")) == 0;
        ck_assert_msg(against == (oracle != NULL), "%s", text_at(j, "id"));
        if (oracle) ck_assert_str_eq(text_at(oracle, "sha256"), digest);
        n_oracle += oracle != NULL;
        json_decref(j);
    }
    ck_assert_int_eq(n_oracle, 1);
    json_decref(summary);
    free(w.summary);
    tear_down(&b);
}
END_TEST

/* Rule: evidence of a part never replaces evidence of the whole. */
START_TEST(partial_runs_are_named_so)
{
    bench b;
    set_up(&b, ARGS("-k", "FALSIFY-ALPHA-001/op_error/*", "--backend", "opencl"));
    fal_evidence_written w = { 0 };
    fal_error err = { 0 };
    ck_assert_int_eq(fal_evidence_write(&b.run, &b.options, &w, &err), FAL_OK);
    ck_assert(!exists(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.json"));
    json_t *j = load(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.partial.json");
    ck_assert_ptr_nonnull(j);
    ck_assert(json_is_false(json_object_get(j, "complete")));
    ck_assert_int_eq(json_integer_value(json_object_get(j, "cases_in_contract")), 5);
    json_decref(j);
    free(w.summary);
    tear_down(&b);

    /* the same when an early end left cases out */
    set_up(&b, ARGS("-k", "FALSIFY-ALPHA-001", "--backend", "opencl"));
    b.run.results[4].verdict.kind = FAL_NOT_RUN;
    b.run.results[4].executed = false;
    ck_assert_int_eq(fal_evidence_write(&b.run, &b.options, &w, &err), FAL_OK);
    ck_assert(exists(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.partial.json"));
    ck_assert(!exists(&b, "FALSIFY-ALPHA-001/opencl-some-gpu-nomodel.json"));
    free(w.summary);
    tear_down(&b);
}
END_TEST

/* Rule: a file is replaced whole; no temporary file stays; a name cannot leave the folder. */
START_TEST(files_are_written_whole)
{
    bench b;
    set_up(&b, ARGS("--backend", "reference"));
    fal_error err = { 0 };
    ck_assert_int_eq(fal_write_whole(b.folder, "a.json", "first, longer\n", 14, &err), FAL_OK);
    ck_assert_int_eq(fal_write_whole(b.folder, "a.json", "two\n", 4, &err), FAL_OK);
    char path[200], line[64] = "";
    snprintf(path, sizeof path, "%s/a.json", b.folder);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(line, 1, sizeof line - 1, f), 4);
    fclose(f);
    ck_assert_str_eq(line, "two\n");
    ck_assert_int_eq(count_files(b.folder, ".tmp"), 0);
    static const char *const names[] = { "../escape.json", "x/y.json", "", ".", ".." };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        err = (fal_error){ 0 };
        ck_assert_int_eq(fal_write_whole(b.folder, names[i], "x", 1, &err), FAL_ERR_OUTPUT);
    }
    /* a folder in the way: rename fails, and the temporary file goes */
    snprintf(path, sizeof path, "%s/b.json", b.folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(fal_write_whole(b.folder, "b.json", "x", 1, &err), FAL_ERR_OUTPUT);
    ck_assert_int_eq(count_files(b.folder, ".tmp"), 0);
    ck_assert_int_eq(fal_write_whole("/nonexistent/folder", "b.json", "x", 1, &err), FAL_ERR_OUTPUT);
    tear_down(&b);
}
END_TEST

/* Rule: an id that could name another folder is refused, and what cannot be written is an output error. */
START_TEST(hostile_ids_and_unwritable_folders)
{
    bench b;
    set_up(&b, ARGS("-k", "FALSIFY-ALPHA-001", "--backend", "reference"));
    fal_falsifier f = *b.w.plan->cases[0].falsifier;
    fal_case k = b.w.plan->cases[0];
    f.id = "../../etc";
    k.falsifier = &f;
    const fal_extent x = { &f, "reference", 1 };
    fal_plan plan = *b.w.plan;
    plan.cases = &k;
    plan.n_cases = 1;
    plan.extents = &x;
    plan.n_extents = 1;
    fal_run run = b.run;
    run.plan = &plan;
    fal_evidence_written w = { 0 };
    fal_error err = { 0 };
    ck_assert_int_eq(fal_evidence_write(&run, &b.options, &w, &err), FAL_ERR_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "../../etc"));
    err = (fal_error){ 0 };
    b.options.folder = "/dev/null/evidence";
    ck_assert_int_eq(fal_evidence_write(&b.run, &b.options, &w, &err), FAL_ERR_OUTPUT);
    tear_down(&b);
}
END_TEST

/* Rule: the verdict that stands for several says the most against the claim. */
START_TEST(worst_verdict)
{
    for (int v = 0; v < FAL_N_VERDICTS; v++) {
        ck_assert_int_eq(fal_evidence_worst((fal_verdict_kind)v, FAL_FALSIFIED), FAL_FALSIFIED);
        ck_assert_int_eq(fal_evidence_worst(FAL_FALSIFIED, (fal_verdict_kind)v), FAL_FALSIFIED);
        ck_assert_int_eq(fal_evidence_worst(FAL_SURVIVED, (fal_verdict_kind)v), v);
    }
    ck_assert_int_eq(fal_evidence_worst(FAL_BLOCKED, FAL_CRASHED), FAL_CRASHED);
}
END_TEST

Suite *fal_suite_evidence(void)
{
    Suite *s = suite_create("evidence");
    TCase *t = tcase_create("evidence");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, files_and_summary);
    tcase_add_test(t, values_and_worst);
    tcase_add_test(t, provenance);
    tcase_add_test(t, partial_runs_are_named_so);
    tcase_add_test(t, files_are_written_whole);
    tcase_add_test(t, hostile_ids_and_unwritable_folders);
    tcase_add_test(t, worst_verdict);
    suite_add_tcase(s, t);
    return s;
}
