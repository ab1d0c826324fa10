/* Reading one entry of a falsifier's `check`: what to observe, how to judge, and whether both have what they need. */
#include "harness/contract_keys.h"

#include "harness/backend.h"
#include "harness/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const observes[] = { "forward", "teacher", "pinned", "op", "preload", "refusal", "throughput",
                                        "device_code", "launches", "sanitize", "trial", NULL };
static const char *const againsts[] = { "none", "reference", "oracle", "self", NULL };
static const char *const backends[] = { "reference", "opencl", "cuda", "candidate", NULL };
static const char *const fills[] = {
#define FAL_FILL(name) #name,
#include "harness/names.def"
    NULL
};
static const char *const spoils[] = {
#define FAL_SPOIL(name) #name,
#include "harness/names.def"
    NULL
};

/* ---- limit ---- */

typedef struct {
    double max, min, equal, warn;
} limit_values;

enum { LIMIT_MAX, LIMIT_MIN, LIMIT_EQUAL, LIMIT_WARN, N_LIMIT_KEYS };

static const fal_key limit_keys[N_LIMIT_KEYS] = {
    [LIMIT_MAX] = { "max", FAL_KEY_NUMBER, false, offsetof(limit_values, max), FAL_NOT_STORED, NULL, NULL, false },
    [LIMIT_MIN] = { "min", FAL_KEY_NUMBER, false, offsetof(limit_values, min), FAL_NOT_STORED, NULL, NULL, false },
    [LIMIT_EQUAL] = { "equal", FAL_KEY_NUMBER, false, offsetof(limit_values, equal), FAL_NOT_STORED, NULL, NULL,
                      false },
    [LIMIT_WARN] = { "warn", FAL_KEY_NUMBER, false, offsetof(limit_values, warn), FAL_NOT_STORED, NULL, NULL, false },
};

void fal_limit_read(fal_contract_file *f, const fal_yaml_node *node, fal_limit *out)
{
    const fal_yaml_node *found[N_LIMIT_KEYS];
    limit_values v = { 0 };
    if (node->kind != FAL_YAML_MAP) return; /* diagnosed by the key table */
    const int before = f->d.n_errors;
    fal_keys_read(f, node, "a limit", limit_keys, N_LIMIT_KEYS, &v, found);
    if (f->d.n_errors != before) return;
    const int n = (found[LIMIT_MAX] != NULL) + (found[LIMIT_MIN] != NULL) + (found[LIMIT_EQUAL] != NULL);
    if (n != 1) {
        fal_diagnose(&f->d, FAL_RULE_CON_010, FAL_AT(node), NULL,
                     "a limit has exactly one of max, min and equal, found %d", n);
        return;
    }
    const fal_yaml_node *warn = found[LIMIT_WARN];
    if (found[LIMIT_MAX]) {
        out->kind = FAL_LIMIT_MAX;
        out->value = v.max;
        if (warn && !(v.warn <= v.max))
            fal_diagnose(&f->d, FAL_RULE_CON_010, FAL_AT(warn), NULL,
                         "warn %g is beyond max %g, expected at most max", v.warn, v.max);
    } else if (found[LIMIT_MIN]) {
        out->kind = FAL_LIMIT_MIN;
        out->value = v.min;
        if (warn && !(v.warn >= v.min))
            fal_diagnose(&f->d, FAL_RULE_CON_010, FAL_AT(warn), NULL,
                         "warn %g is below min %g, expected at least min", v.warn, v.min);
    } else {
        out->kind = FAL_LIMIT_EQUAL;
        out->value = v.equal;
        if (warn) fal_diagnose(&f->d, FAL_RULE_CON_010, FAL_AT(warn), NULL, "warn has no meaning beside equal");
    }
    out->has_warn = warn != NULL;
    out->warn = v.warn;
}

/* A limit for models of full size: another number, never another direction. */
static void read_limit_full_size(fal_contract_file *f, const fal_yaml_node *node, fal_check *check)
{
    const int before = f->d.n_errors;
    check->limit_full_size = (fal_limit){ .basis = check->limit.basis };
    fal_limit_read(f, node, &check->limit_full_size);
    check->has_limit_full_size = f->d.n_errors == before && node->kind == FAL_YAML_MAP;
    if (check->has_limit_full_size && check->limit_full_size.kind != check->limit.kind)
        fal_diagnose(&f->d, FAL_RULE_CON_010, FAL_AT(node), NULL,
                     "limit_full_size has another kind than limit; both are max, both min or both equal");
}

/* ---- parts ---- */

static int compare_seeds(const void *pa, const void *pb)
{
    const uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

static void read_seeds(fal_contract_file *f, const fal_yaml_node *node, fal_check *out)
{
    if (node->kind != FAL_YAML_LIST) return;
    if (node->n == 0) fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), NULL, "'seeds' is an empty list");
    uint64_t *seeds = fal_arena_take(f->arena, node->n, sizeof *seeds),
             *sorted = fal_arena_take(f->arena, node->n, sizeof *sorted);
    if (!seeds || !sorted || node->n > INT_MAX) return;
    int n = 0;
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        int64_t value = 0;
        if (!fal_node_is(f, c, FAL_YAML_SCALAR, "seeds")) continue;
        if (fal_yaml_integer(c, 0, INT64_MAX, &value))
            seeds[n++] = (uint64_t)value;
        else
            fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(c), NULL, "seed '%s' is not a whole number from 0 on",
                         fal_shown(f, c->text));
    }
    if (n > 0) memcpy(sorted, seeds, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_seeds);
    for (int i = 1; i < n; i++)
        if (sorted[i] == sorted[i - 1])
            fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(node), NULL, "seed %llu stands twice",
                         (unsigned long long)sorted[i]);
    out->seeds = seeds;
    out->n_seeds = n;
}

/* Layers that a glob is tried on, more than any model has; and limits that keep a hostile check from being slow. */
enum { TRIED_LAYERS = 200, GLOB_BYTES = 128, MAX_TAPS = 64, MAX_PROMPTS = 256 };

static bool tap_matches(const char *glob)
{
    if (strcmp(glob, "all") == 0) return true;
    for (int i = 0; i < FAL_N_SITES; i++) {
        const fal_site_info *site = fal_site_get((fal_site)i);
        if (!site->per_layer && fal_glob_match(glob, site->name)) return true;
        for (int layer = 0; site->per_layer && layer < TRIED_LAYERS; layer++) {
            char name[96];
            snprintf(name, sizeof name, "blk.%d.%s", layer, site->name);
            if (fal_glob_match(glob, name)) return true;
        }
    }
    return false;
}

static const char *suggest_tap(fal_contract_file *f, const char *glob)
{
    const char *names[FAL_N_SITES + 1];
    char layered[FAL_N_SITES][96];
    size_t n = 0;
    for (int i = 0; i < FAL_N_SITES; i++) {
        const fal_site_info *site = fal_site_get((fal_site)i);
        snprintf(layered[i], sizeof layered[i], "%s%s", site->per_layer ? "blk.*." : "", site->name);
        names[n++] = layered[i];
    }
    names[n++] = "all";
    const char *bare = NULL; /* a layer's site written without its layer */
    for (int i = 0; i < FAL_N_SITES; i++)
        if (strcmp(fal_site_get((fal_site)i)->name, glob) == 0) bare = layered[i];
    return fal_suggest(f, bare ? bare : glob, names, n);
}

/* False after a diagnosis. */
static bool is_short(fal_contract_file *f, const fal_yaml_node *list, const char *name, size_t most)
{
    if (list->n <= most) return true;
    fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(list), NULL, "'%s' has %zu entries, at most %zu are allowed",
                 name, list->n, most);
    return false;
}

static void check_taps(fal_contract_file *f, const fal_yaml_node *list)
{
    if (!is_short(f, list, "taps", MAX_TAPS)) return;
    for (const fal_yaml_node *c = list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next) {
        if (c->kind != FAL_YAML_SCALAR || c->len == 0 || fal_diagnosis_is_full(&f->d)) continue;
        if (c->len > GLOB_BYTES || !tap_matches(c->text))
            fal_diagnose(&f->d, FAL_RULE_CON_014, FAL_AT(c), c->len > GLOB_BYTES ? NULL : suggest_tap(f, c->text),
                         "tap '%s' matches no site of harness/ops.def", fal_shown(f, c->text));
    }
}

static const fal_prompt *find_prompt(const fal_contract *contract, const char *name)
{
    for (int i = 0; i < contract->n_prompts; i++)
        if (strcmp(contract->prompts[i].name, name) == 0) return &contract->prompts[i];
    return NULL;
}

static const char *suggest_prompt(fal_contract_file *f, const char *name)
{
    const size_t n = (size_t)f->contract.n_prompts;
    if (n == 0) return "the contract has no prompts";
    const char **names = fal_diagnosis_is_full(&f->d) ? NULL : fal_arena_take(f->arena, n, sizeof *names);
    for (size_t i = 0; names && i < n; i++) names[i] = f->contract.prompts[i].name;
    return names ? fal_suggest(f, name, names, n) : NULL;
}

/* Prompts are of this contract; one twice is a case twice, unless they form a sequence. */
static void check_prompts(fal_contract_file *f, const fal_yaml_node *list, const fal_check *check, bool full_size)
{
    const char *key = full_size ? "prompts_full_size" : "prompts";
    if (list->kind != FAL_YAML_LIST || !is_short(f, list, key, MAX_PROMPTS)) return;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        if (c->kind != FAL_YAML_SCALAR || !fal_form_prompt.fits(c->text)) continue;
        const fal_prompt *prompt = find_prompt(&f->contract, c->text);
        if (!prompt)
            fal_diagnose(&f->d, FAL_RULE_CON_011, FAL_AT(c), suggest_prompt(f, c->text),
                         "there is no prompt '%s' in this contract", fal_shown(f, c->text));
        else if (full_size && prompt->from_oracle) /* the shipped oracle is of another vocabulary */
            fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(c), "use a prompt with tokens of its own",
                         "prompt '%s' is of the shipped model's oracle, not for a model of full size", prompt->name);
        else if (check->against == FAL_AGAINST_ORACLE && !prompt->from_oracle && !full_size)
            fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(c), "use a prompt with from_oracle",
                         "the oracle has no answer to prompt '%s', which has tokens of its own", prompt->name);
        if (check->sequence || fal_diagnosis_is_full(&f->d)) continue;
        for (const fal_yaml_node *e = list->first; e != c; e = e->next)
            if (e->kind == FAL_YAML_SCALAR && strcmp(e->text, c->text) == 0) {
                fal_diagnose(&f->d, FAL_RULE_CON_007, FAL_AT(c), "with sequence: true a prompt may come again",
                             "prompt '%s' stands twice", fal_shown(f, c->text));
                break;
            }
    }
    if (check->sequence && check->against == FAL_AGAINST_ORACLE)
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(list),
                     "leave out sequence: the oracle answers one prompt at a time",
                     "a sequence cannot be judged against the oracle");
    if (check->sequence && list->n < 2)
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(list), NULL, "a sequence needs at least two prompts");
}

/* ---- floor ---- */

enum { FLOOR_PROMPTS, FLOOR_POSITIONS, N_FLOOR_KEYS };
static const fal_key floor_keys[N_FLOOR_KEYS] = {
    [FLOOR_PROMPTS] = { "prompts", FAL_KEY_COUNT, true, offsetof(fal_check, floor_prompts), FAL_NOT_STORED, NULL, NULL, false },
    [FLOOR_POSITIONS] = { "positions", FAL_KEY_COUNT, true, offsetof(fal_check, floor_positions), FAL_NOT_STORED, NULL, NULL, false },
};

/* Positions of a list of prompts, or -1 when they stand in an oracle file. */
static int64_t positions_of(const fal_contract *contract, const char *const *names, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        const fal_prompt *prompt = find_prompt(contract, names[i]);
        if (!prompt || !prompt->tokens) return -1;
        sum += prompt->n_tokens;
    }
    return sum;
}

static void hold_to_floor(fal_contract_file *f, const fal_yaml_node *node, const fal_check *check, const char *key, const char *const *names,
                          int n)
{
    const int64_t positions = positions_of(&f->contract, names, n);
    if (n < check->floor_prompts)
        fal_diagnose(&f->d, FAL_RULE_CON_024, FAL_AT(node), NULL, "the floor asks for %d prompts, but '%s' has %d", check->floor_prompts,
                     key, n);
    if (positions >= 0 && positions < check->floor_positions)
        fal_diagnose(&f->d, FAL_RULE_CON_024, FAL_AT(node), NULL, "the floor asks for %d positions, but '%s' has %lld",
                     check->floor_positions, key, (long long)positions);
}

/* The fewest prompts and positions that the check may rest on; its own prompts must reach it. */
static void read_floor(fal_contract_file *f, const fal_yaml_node *node, fal_check *check)
{
    const fal_yaml_node *found[N_FLOOR_KEYS];
    if (node->kind != FAL_YAML_MAP) return; /* diagnosed by the key table */
    const int before = f->d.n_errors;
    fal_keys_read(f, node, "a floor", floor_keys, N_FLOOR_KEYS, check, found);
    if (f->d.n_errors != before) return;
    if (check->against != FAL_AGAINST_REFERENCE && check->against != FAL_AGAINST_ORACLE)
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(node), "leave it out", "a floor is for parity with the reference or the oracle");
    if (check->n_prompts) hold_to_floor(f, node, check, "prompts", check->prompts, check->n_prompts);
    if (check->n_prompts_full_size)
        hold_to_floor(f, node, check, "prompts_full_size", check->prompts_full_size, check->n_prompts_full_size);
}

/* ---- the check ---- */

enum {
    NAME,
    OBSERVE,
    JUDGE,
    AGAINST,
    LIMIT,
    LIMIT_FULL_SIZE,
    BASIS,
    BACKENDS,
    PROMPTS,
    PROMPTS_FULL_SIZE,
    SEQUENCE,
    AGAIN,
    DECODE,
    N_GREEDY,
    TAPS,
    OP,
    SHAPES,
    FILLS,
    SEEDS,
    THEN,
    WITH,
    SPOIL,
    HEAVY,
    FLOOR,
    N_KEYS
};

typedef struct {
    fal_check check;
    const char *observe, *against, *basis;
} check_values;

#define CHECK(member) offsetof(check_values, check) + offsetof(fal_check, member)
#define NOWHERE       FAL_NOT_STORED, FAL_NOT_STORED

static const fal_key keys[N_KEYS] = {
    [NAME] = { "name", FAL_KEY_TEXT, true, CHECK(name), FAL_NOT_STORED, NULL, &fal_form_name, false },
    [OBSERVE] = { "observe", FAL_KEY_TEXT, true, offsetof(check_values, observe), FAL_NOT_STORED, observes, NULL,
                  false },
    [JUDGE] = { "judge", FAL_KEY_TEXT, true, CHECK(judge), FAL_NOT_STORED, NULL, &fal_form_name, false },
    [AGAINST] = { "against", FAL_KEY_TEXT, true, offsetof(check_values, against), FAL_NOT_STORED, againsts, NULL,
                  false },
    [LIMIT] = { "limit", FAL_KEY_MAP, true, NOWHERE, NULL, NULL, false },
    [LIMIT_FULL_SIZE] = { "limit_full_size", FAL_KEY_MAP, false, NOWHERE, NULL, NULL, false },
    [BASIS] = { "basis", FAL_KEY_TEXT, true, offsetof(check_values, basis), FAL_NOT_STORED, NULL, NULL, false },
    [BACKENDS] = { "backends", FAL_KEY_TEXTS, false, CHECK(backends), CHECK(n_backends), backends, NULL, true },
    [PROMPTS] = { "prompts", FAL_KEY_TEXTS, false, CHECK(prompts), CHECK(n_prompts), NULL, &fal_form_prompt, false },
    [PROMPTS_FULL_SIZE] = { "prompts_full_size", FAL_KEY_TEXTS, false, CHECK(prompts_full_size),
                            CHECK(n_prompts_full_size), NULL, &fal_form_prompt, false },
    [SEQUENCE] = { "sequence", FAL_KEY_BOOL, false, CHECK(sequence), FAL_NOT_STORED, NULL, NULL, false },
    [AGAIN] = { "again", FAL_KEY_BOOL, false, CHECK(again), FAL_NOT_STORED, NULL, NULL, false },
    [DECODE] = { "decode", FAL_KEY_BOOL, false, CHECK(decode), FAL_NOT_STORED, NULL, NULL, false },
    [N_GREEDY] = { "n_greedy", FAL_KEY_COUNT, false, CHECK(n_greedy), FAL_NOT_STORED, NULL, NULL, false },
    [TAPS] = { "taps", FAL_KEY_TEXTS, false, CHECK(taps), CHECK(n_taps), NULL, NULL, true },
    [OP] = { "op", FAL_KEY_TEXT, false, CHECK(op), FAL_NOT_STORED, NULL, &fal_form_name, false },
    [SHAPES] = { "shapes", FAL_KEY_LIST, false, NOWHERE, NULL, NULL, false },
    [FILLS] = { "fills", FAL_KEY_TEXTS, false, CHECK(fills), CHECK(n_fills), fills, NULL, true },
    [SEEDS] = { "seeds", FAL_KEY_LIST, false, NOWHERE, NULL, NULL, false },
    [THEN] = { "then", FAL_KEY_MAP, false, NOWHERE, NULL, NULL, false },
    [WITH] = { "with", FAL_KEY_MAP, false, NOWHERE, NULL, NULL, false },
    [SPOIL] = { "spoil", FAL_KEY_TEXTS, false, CHECK(spoil), CHECK(n_spoil), spoils, NULL, true },
    [HEAVY] = { "heavy", FAL_KEY_BOOL, false, CHECK(heavy), FAL_NOT_STORED, NULL, NULL, false },
    [FLOOR] = { "floor", FAL_KEY_MAP, false, NOWHERE, NULL, NULL, false },
};

/* Which keys an observation must have ('!'), may have ('?') or cannot use ('-'); the keys before PROMPTS are of all. */
static const struct {
    int key;
    char forward, op, preload, refusal; /* forward stands for teacher and pinned too, preload for whatever comes after refusal */
} uses[] = {
    { PROMPTS, '!', '-', '-', '-' }, { PROMPTS_FULL_SIZE, '?', '-', '-', '-' },
    { SEQUENCE, '?', '-', '-', '-' }, { AGAIN, '?', '-', '-', '-' }, { HEAVY, '-', '?', '-', '-' },
    { DECODE, '?', '-', '-', '-' },  { N_GREEDY, '?', '-', '-', '-' }, { TAPS, '?', '-', '-', '-' },
    { OP, '-', '!', '-', '-' },      { SHAPES, '-', '!', '-', '-' },   { FILLS, '-', '!', '-', '-' },
    { FLOOR, '?', '-', '-', '-' },
    { SEEDS, '-', '!', '-', '-' },   { THEN, '-', '?', '-', '-' },     { SPOIL, '-', '-', '-', '!' },
};

static void check_uses(fal_contract_file *f, const fal_yaml_node *node, const char *observe, fal_observe_kind kind,
                       const fal_yaml_node *const *found)
{
    for (size_t i = 0; i < FAL_N(uses); i++) {
        const char use = kind == FAL_OBSERVE_OP        ? uses[i].op
                         : kind == FAL_OBSERVE_SANITIZE && uses[i].key == HEAVY ? '?'
                         : kind == FAL_OBSERVE_REFUSAL ? uses[i].refusal
                         : kind >= FAL_OBSERVE_PRELOAD ? uses[i].preload
                                                       : uses[i].forward;
        const fal_yaml_node *have = found[uses[i].key];
        const char *name = keys[uses[i].key].name;
        if (use == '!' && !have)
            fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(node->first->key), NULL,
                         "a check with observe: %s needs the key '%s'", observe, name);
        if (use == '-' && have)
            fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(have->key), "leave it out",
                         "the key '%s' has no meaning with observe: %s", name, observe);
    }
}

static int index_of(const char *const *list, const char *s)
{
    int i = 0;
    while (strcmp(list[i], s) != 0) i++;
    return i;
}

static bool check_op(fal_contract_file *f, const fal_yaml_node *node, const char *op)
{
    const char **names = fal_arena_take(f->arena, (size_t)fal_n_ops(), sizeof *names);
    if (!names) return false;
    for (int i = 0; i < fal_n_ops(); i++) {
        names[i] = fal_op_name(i);
        if (strcmp(names[i], op) == 0) return true;
    }
    fal_diagnose(&f->d, FAL_RULE_CON_005, FAL_AT(node), fal_suggest(f, op, names, (size_t)fal_n_ops()),
                 "'%s' is not an op of harness/ops.def", fal_shown(f, op));
    return false;
}

/* A check that cannot fail: the reference judged against the reference. */
static void refuse_self_reference(fal_contract_file *f, const fal_yaml_node *list, const fal_check *check)
{
    if (check->against != FAL_AGAINST_REFERENCE || !list) return;
    for (const fal_yaml_node *c = list->kind == FAL_YAML_LIST ? list->first : NULL; c; c = c->next)
        if (c->kind == FAL_YAML_SCALAR && strcmp(c->text, "reference") == 0)
            fal_diagnose(&f->d, FAL_RULE_CON_015, FAL_AT(c), "leave 'reference' out of backends",
                         "the reference judged against the reference cannot fail");
}

bool fal_check_read(fal_contract_file *f, const fal_yaml_node *node, fal_check *out)
{
    const fal_yaml_node *found[N_KEYS];
    check_values v = { .check = { .place = node->place } };
    if (!fal_keys_read(f, node, "a check", keys, N_KEYS, &v, found)) return false;
    fal_check *check = &v.check;
    check->limit.basis = v.basis;
    if (v.against) check->against = (fal_against)index_of(againsts, v.against);
    if (v.observe) {
        check->observe = (fal_observe_kind)index_of(observes, v.observe);
        check_uses(f, node, v.observe, check->observe, found);
    }
    if (found[LIMIT]) fal_limit_read(f, found[LIMIT], &check->limit);
    if (found[LIMIT_FULL_SIZE]) read_limit_full_size(f, found[LIMIT_FULL_SIZE], check);
    if (found[PROMPTS]) check_prompts(f, found[PROMPTS], check, false);
    if (found[PROMPTS_FULL_SIZE]) check_prompts(f, found[PROMPTS_FULL_SIZE], check, true);
    if (found[FLOOR]) read_floor(f, found[FLOOR], check);
    if (found[TAPS]) check_taps(f, found[TAPS]);
    refuse_self_reference(f, found[BACKENDS], check);
    if (found[SEEDS]) read_seeds(f, found[SEEDS], check);
    if (found[OP] && check->op && !check_op(f, found[OP], check->op)) check->op = NULL;
    if (check->op) {
        if (found[SHAPES]) fal_shapes_read(f, found[SHAPES], check->op, check);
        if (found[THEN]) fal_then_read(f, found[THEN], check->op, check);
    }
    if (v.observe) fal_with_read(f, node, found[WITH], v.observe, check);
    if (check->observe == FAL_OBSERVE_OP && check->against == FAL_AGAINST_ORACLE)
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(found[AGAINST]), NULL,
                     "the oracle holds forward passes, no single ops");
    *out = *check;
    return true;
}

const fal_object fal_object_check = { "check", keys, N_KEYS };
const fal_object fal_object_floor = { "floor", floor_keys, N_FLOOR_KEYS };
const fal_object fal_object_limit = { "limit", limit_keys, N_LIMIT_KEYS };
