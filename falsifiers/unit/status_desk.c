/* A temporary root with contracts/ and evidence/ for tests of status. */
#include "falsifiers/unit/status_desk.h"

#include "falsifiers/unit/contract_folder.h"
#include "harness/claim.h"
#include "harness/digest.h"
#include "harness/evidence.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char fal_desk_two[] =
    "metadata: {version: \"1.0.0\", description: d, kind: pattern, references: [r]}\n"
    "status: DRAFT\n"
    "proof_obligations:\n"
    "  - {id: T-EQV-001, type: equivalence, property: y equals x}\n"
    "  - {id: T-INV-002, type: invariant, property: y is finite}\n"
    "implementation_stages:\n"
    "  - id: M-T-1\n"
    "    status: PENDING\n"
    "    title: all of it\n"
    "    obligations: [T-EQV-001, T-INV-002]\n"
    "falsification_tests:\n"
    "  - id: FALSIFY-T-001\n"
    "    rule: equal\n"
    "    prediction: it is\n"
    "    if_fails: look\n"
    "    obligations: [T-EQV-001]\n"
    "    check:\n"
    "      - {name: l2, observe: op, op: rmsnorm, judge: rel_l2, against: reference, limit: {max: 1}, basis: b,\n"
    "         backends: [opencl, cuda], shapes: [{n_tokens: 1, n_embd: 32}], fills: [gauss], seeds: [1]}\n"
    "  - id: FALSIFY-T-002\n"
    "    rule: finite\n"
    "    prediction: it is\n"
    "    if_fails: look\n"
    "    obligations: [T-INV-002]\n"
    "    check:\n"
    "      - {name: finite, observe: op, op: rmsnorm, judge: finite, against: none, limit: {max: 1}, basis: b,\n"
    "         backends: [reference, opencl], shapes: [{n_tokens: 1, n_embd: 32}], fills: [gauss], seeds: [1]}\n";

char fal_desk_root[64];

void fal_desk_make(void)
{
    strcpy(fal_desk_root, "/tmp/fal_status_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fal_desk_root));
    static const char *const folders[] = { "contracts", "bin", "evidence", "evidence/runs" };
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        ck_assert_int_eq(mkdir(fal_desk_path(folders[i]), 0700), 0);
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char inner[600];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (unlink(inner)) remove_tree(inner);
    }
    if (d) closedir(d);
    rmdir(path);
}

void fal_desk_remove(void)
{
    remove_tree(fal_desk_root);
}

const char *fal_desk_path(const char *below)
{
    static char paths[4][400];
    static int at;
    at = (at + 1) % 4;
    snprintf(paths[at], sizeof paths[at], "%s/%s", fal_desk_root, below);
    return paths[at];
}

void fal_desk_write(const char *below, const char *text)
{
    FILE *f = fopen(fal_desk_path(below), "w");
    ck_assert_msg(f != NULL, "%s", below);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

void fal_desk_contract(const char *name, const char *text, const char *from, const char *to)
{
    char below[200];
    const char *where = NULL;
    snprintf(below, sizeof below, "contracts/%s", name);
    char *changed = from ? fal_test_changed(text, from, to, &where) : NULL;
    fal_desk_write(below, changed ? changed : text);
    free(changed);
}

static fal_contract_set *load(void)
{
    fal_contract_set *set = NULL;
    fal_diagnoses diag = { 0 };
    fal_error err = { 0 };
    const char *const folder[] = { fal_desk_path("contracts") };
    const fal_status st = fal_contract_set_load(folder, 1, &set, &diag, &err);
    if (st) fal_diagnoses_print(&diag, false, stderr);
    ck_assert_msg(st == FAL_OK, "%s", err.message);
    fal_diagnoses_free(&diag);
    return set;
}

static json_t *claim_of(const fal_contract_set *set, const char *id)
{
    for (int i = 0; i < set->n_contracts; i++)
        for (int k = 0; k < set->contracts[i]->n_falsifiers; k++)
            if (strcmp(set->contracts[i]->falsifiers[k].id, id) == 0)
                return fal_claim_json(set, set->contracts[i], &set->contracts[i]->falsifiers[k], NULL);
    return json_null();
}

static json_t *cases_of(const fal_desk_record *r, fal_verdict_kind *worst)
{
    json_t *cases = json_array();
    char list[300], *rest = list;
    int n = 0;
    *worst = FAL_SURVIVED;
    snprintf(list, sizeof list, "%s", r->checks);
    for (char *item; (item = strsep(&rest, ",")) != NULL; n++) {
        char *verdict = strchr(item, ':'), id[200];
        ck_assert_ptr_nonnull(verdict);
        *verdict++ = '\0';
        fal_verdict_kind kind;
        ck_assert_msg(fal_verdict_parse(verdict, &kind), "%s", verdict);
        *worst = fal_evidence_worst(*worst, kind);
        snprintf(id, sizeof id, "%s/%s/%s/%d", r->id, item, r->backend, n);
        json_array_append_new(cases, json_pack("{s:s, s:s, s:s, s:s, s:f, s:{s:f}}", "id", id, "check", item, "verdict",
                                               verdict, "reason", "made up", "value", r->value, "limit", "max", 1.0));
    }
    return cases;
}

static void write_record(const fal_contract_set *set, const fal_desk_record *r, json_t *files)
{
    const char *device = r->device ? r->device : "some-gpu";
    const bool none = strcmp(device, "nodevice") == 0;
    fal_verdict_kind worst;
    json_t *j = json_pack("{s:s, s:s, s:b, s:s}", "id", r->id, "backend", r->backend, "complete", !r->partial,
                          "finished", r->finished ? r->finished : "2026-11-21T00:00:00Z");
    json_object_set_new(j, "cases", cases_of(r, &worst));
    json_object_set_new(j, "verdict", json_string(fal_verdict_name(worst)));
    json_object_set_new(j, "device",
                        none ? json_null()
                             : json_pack("{s:s, s:s, s:b}", "slug", device, "name", device, "is_cpu", (int)r->is_cpu));
    json_object_set_new(j, "model",
                        r->model ? json_pack("{s:s, s:s}", "name", "m.gguf", "sha256", r->model) : json_null());
    json_object_set_new(j, "claim", claim_of(set, r->id));
    json_object_set_new(j, "sources", fal_sources_json(fal_sources, r->backend));
    char below[300], sha256[65];
    snprintf(below, sizeof below, "evidence/%s", r->id);
    mkdir(fal_desk_path(below), 0700);
    snprintf(below, sizeof below, "evidence/%s/%s-%s-%.8s%s.json", r->id, r->backend, device,
             r->model ? r->model : "nomodel", r->partial ? ".partial" : "");
    ck_assert_int_eq(json_dump_file(j, fal_desk_path(below), JSON_INDENT(1)), 0);
    ck_assert_int_eq(fal_sha256_file(fal_desk_path(below), sha256, NULL), FAL_OK);
    json_array_append_new(files, json_pack("{s:s, s:s, s:s}", "path", below + strlen("evidence/"), "sha256", sha256,
                                           "verdict", fal_verdict_name(worst)));
    json_decref(j);
}

void fal_desk_evidence(const char *run, const fal_desk_record *records, int n)
{
    fal_contract_set *set = load();
    json_t *files = json_array();
    for (int i = 0; i < n; i++) write_record(set, &records[i], files);
    json_t *summary = json_pack("{s:s, s:o}", "run", run, "files", files);
    char below[200];
    snprintf(below, sizeof below, "evidence/runs/%s.json", run);
    ck_assert_int_eq(json_dump_file(summary, fal_desk_path(below), JSON_INDENT(1)), 0);
    json_decref(summary);
    fal_contract_set_free(set);
}

void fal_desk_list(const char *run, const char *below)
{
    char path[300], sha256[65];
    snprintf(path, sizeof path, "evidence/%s", below);
    ck_assert_int_eq(fal_sha256_file(fal_desk_path(path), sha256, NULL), FAL_OK);
    json_t *summary = json_pack("{s:s, s:[{s:s, s:s}]}", "run", run, "files", "path", below, "sha256", sha256);
    snprintf(path, sizeof path, "evidence/runs/%s.json", run);
    ck_assert_int_eq(json_dump_file(summary, fal_desk_path(path), JSON_INDENT(1)), 0);
    json_decref(summary);
}

void fal_desk_derive(fal_desk_state *s, const fal_source *sources)
{
    fal_error err = { 0 };
    *s = (fal_desk_state){ .set = load() };
    ck_assert_msg(fal_records_read(fal_desk_path("evidence"), &s->records, &err) == FAL_OK, "%s", err.message);
    const char *const models[] = { fal_desk_path("m.gguf"), NULL };
    const fal_today today = {
        .contracts = s->set, .sources = sources ? sources : fal_sources, .date = "2026-11-25", .models = models
    };
    ck_assert_msg(fal_freshness_judge(s->records, &today, &err) == FAL_OK, "%s", err.message);
    ck_assert_msg(fal_derive(s->set, s->records, &s->derived, &err) == FAL_OK, "%s", err.message);
}

void fal_desk_release(fal_desk_state *s)
{
    fal_derived_free(s->derived);
    fal_records_free(s->records);
    fal_contract_set_free(s->set);
}

const fal_record *fal_desk_record_at(const fal_desk_state *s, const char *path)
{
    for (int i = 0; i < s->records->n; i++)
        if (strcmp(s->records->items[i].path, path) == 0) return &s->records->items[i];
    ck_abort_msg("no record %s", path);
    return NULL;
}

void fal_desk_run(fal_desk_ran *r, fal_desk_command command, const char *const *arguments)
{
    char *argv[20] = { 0 };
    int argc = 0;
    for (; arguments[argc]; argc++) {
        ck_assert_int_lt(argc, 19);
        argv[argc] = strdup(arguments[argc]);
    }
    *r = (fal_desk_ran){ 0 };
    const int no_stop = 0;
    char path[200];
    snprintf(path, sizeof path, "/nowhere::%s", fal_desk_path("bin"));
    const fal_cmd_env env = { .program = FAL_PROGRAM,
                              .invoked = "falsify",
                              .tmp = "/tmp",
                              .path = path,
                              .out = open_memstream(&r->out, &r->n_out),
                              .err = open_memstream(&r->err, &r->n_err),
                              .stop = &no_stop };
    r->status = command(argc, argv, &env, &r->error);
    fclose(env.out);
    fclose(env.err);
    for (int i = 0; i < argc; i++) free(argv[i]);
}

void fal_desk_forget(fal_desk_ran *r)
{
    free(r->out);
    free(r->err);
}
