/* Reading a contract's tree into its structs: one key table per object of the schema. */
#include "harness/contract_rows.h"

#include "harness/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const contract_kinds[] = { "kernel", "schema", "pattern", "model-family", NULL };
static const char *const contract_states[] = { "DRAFT", "ACTIVE_ALGORITHM_LEVEL", "ACTIVE_RUNTIME", NULL };
static const char *const stage_states[] = { "RECORDED", "PENDING", "PARTIAL_ALGORITHM_LEVEL", "SHIPPED", "DISCHARGED", NULL };
static const char *const stage_backends[] = { "reference", "opencl", "cuda", NULL };
static const char *const decisions[] = { "chosen", "rejected", "open", NULL };
static const char *const amendment_kinds[] = { "created", "amendment", "status_promotion", NULL };
const char *const fal_obligation_types[] = {
    "invariant", "equivalence", "bound", "monotonicity", "idempotency", "linearity", "symmetry",
    "associativity", "conservation", "ordering", "completeness", "soundness", "involution", "determinism",
    "roundtrip", "state_machine", "classification", "independence", "termination", "safety", "liveness",
    "precondition", "postcondition", "frame", "loop_invariant", "loop_variant", "old_state", "subcontract",
    NULL,
};

enum { MAX_PROMPTS = 256 };

/* ---- metadata ---- */

static const fal_key amendment_keys[] = {
    NAMED("version", true, fal_amendment, version, &fal_form_version),
    NAMED("date", true, fal_amendment, date, &fal_form_date),
    ENUM("kind", true, fal_amendment, kind, amendment_kinds),
    TEXT("title", true, fal_amendment, title),
    TEXT("description", false, fal_amendment, description),
};
static const fal_item_kind amendments = { "amendment_history",   "an amendment",        amendment_keys,
                                      FAL_N(amendment_keys), sizeof(fal_amendment), NULL };

enum { META_VERSION, META_HISTORY, N_META_NODES };
static const fal_key metadata_keys[] = {
    [META_VERSION] = NAMED("version", true, fal_contract, version, &fal_form_version),
    [META_HISTORY] = LIST("amendment_history", false),
    TEXT("description", true, fal_contract, description),
    ENUM("kind", false, fal_contract, kind, contract_kinds),
    NAMED("created", false, fal_contract, created, &fal_form_date),
    TEXT("author", false, fal_contract, author),
    TEXTS("references", true, fal_contract, references),
    NAMES("depends_on", false, fal_contract, depends_on, NULL),
};

static void read_metadata(fal_contract_file *f, const fal_yaml_node *node)
{
    fal_contract *c = &f->contract;
    const fal_yaml_node *found[FAL_N(metadata_keys)];
    c->kind = "kernel";
    if (node->kind != FAL_YAML_MAP ||
        !fal_keys_read(f, node, "metadata", metadata_keys, FAL_N(metadata_keys), c, found))
        return;
    if (!c->kind) c->kind = "kernel";
    const void *items = NULL;
    c->n_amendments = fal_items_read(f, found[META_HISTORY], &amendments, &items, NULL);
    c->amendments = items;
}

/* ---- equations and gate: checked, counted, not kept ---- */

static const fal_key equation_keys[] = {
    { "formula", FAL_KEY_TEXT, true, NOWHERE, NULL, NULL, false },
    PROSE("domain"),
    PROSE("codomain"),
    PROSE("description"),
    PROSE_LIST("invariants"),
    PROSE_LIST("preconditions"),
    PROSE_LIST("postconditions"),
};
static const fal_key gate_keys[] = {
    { "id", FAL_KEY_TEXT, true, NOWHERE, NULL, &fal_form_short_id, false },
    PROSE("name"),
    PROSE("description"),
    PROSE("pass_criteria"),
    PROSE("falsification"),
    PROSE_LIST("checks"),
};

static void read_equations(fal_contract_file *f, const fal_yaml_node *node)
{
    if (node->kind != FAL_YAML_MAP) return;
    if (node->n == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(node), "leave the key out", "'equations' is empty");
    for (const fal_yaml_node *c = node->first; c; c = c->next) {
        const fal_yaml_node *found[FAL_N(equation_keys)];
        if (fal_keys_read(f, c, "an equation", equation_keys, FAL_N(equation_keys), NULL, found))
            f->contract.n_equations++;
    }
}

/* ---- obligations, stages, options, prompts ---- */

static bool finish_obligation(fal_contract_file *f, const fal_yaml_node *node, void *item,
                              const fal_yaml_node *const *found)
{
    (void)f, (void)found;
    ((fal_obligation *)item)->place = node->place;
    return true;
}

static const fal_key obligation_keys[] = {
    NAMED("id", true, fal_obligation, id, &fal_form_id),
    ENUM("type", true, fal_obligation, type, fal_obligation_types),
    TEXT("property", true, fal_obligation, property),
    TEXT("formal", false, fal_obligation, formal),
    { "tolerance", FAL_KEY_NUMBER, false, NOWHERE, NULL, NULL, false },
    PROSE("applies_to"),
};
static const fal_item_kind obligations = { "proof_obligations",    "an obligation",        obligation_keys,
                                       FAL_N(obligation_keys), sizeof(fal_obligation), finish_obligation };

static bool finish_stage(fal_contract_file *f, const fal_yaml_node *node, void *item, const fal_yaml_node *const *found)
{
    (void)f, (void)found;
    ((fal_stage *)item)->place = node->place;
    return true;
}

static const fal_key stage_keys[] = {
    NAMED("id", true, fal_stage, id, &fal_form_short_id),
    ENUM("status", true, fal_stage, status, stage_states),
    TEXT("title", false, fal_stage, title),
    TEXT("description", false, fal_stage, description),
    NAMES("obligations", false, fal_stage, obligations, &fal_form_id),
    { "backends", FAL_KEY_TEXTS, false, offsetof(fal_stage, backends), offsetof(fal_stage, n_backends), stage_backends,
      NULL, true },
    TEXTS("blockers", false, fal_stage, blockers),
    NAMES("waits_for", false, fal_stage, waits_for, &fal_form_precondition),
    PROSE_LIST("evidence"),
};
static const fal_item_kind stages = { "implementation_stages", "a stage",         stage_keys,
                                  FAL_N(stage_keys),       sizeof(fal_stage), finish_stage };

static const fal_key option_keys[] = {
    NAMED("id", true, fal_option, id, &fal_form_short_id),
    TEXT("title", true, fal_option, title),
    ENUM("decision", true, fal_option, decision, decisions),
    TEXT("why", true, fal_option, why),
};
static const fal_item_kind options = { "options_considered", "an option",        option_keys,
                                   FAL_N(option_keys),   sizeof(fal_option), NULL };

enum { PROMPT_NAME, PROMPT_TOKENS, PROMPT_FROM_ORACLE };
static const fal_key prompt_keys[] = {
    [PROMPT_NAME] = NAMED("name", true, fal_prompt, name, &fal_form_prompt),
    [PROMPT_TOKENS] = LIST("tokens", false),
    [PROMPT_FROM_ORACLE] = NAMED("from_oracle", false, fal_prompt, from_oracle, &fal_form_oracle_prompt),
};

static bool finish_prompt(fal_contract_file *f, const fal_yaml_node *node, void *item,
                          const fal_yaml_node *const *found)
{
    fal_prompt *prompt = item;
    prompt->place = node->place;
    const fal_yaml_node *list = found[PROMPT_TOKENS];
    if ((list != NULL) == (found[PROMPT_FROM_ORACLE] != NULL)) {
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(node), NULL, "a prompt has either tokens or from_oracle");
        return prompt->name != NULL;
    }
    if (!list || list->kind != FAL_YAML_LIST || list->n > INT_MAX) return prompt->name != NULL;
    if (list->n == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(list), "requests without tokens are a spoil: no_tokens",
                     "'tokens' is an empty list");
    int32_t *tokens = fal_arena_take(f->arena, list->n, sizeof *tokens);
    if (!tokens) return false;
    int n = 0;
    for (const fal_yaml_node *c = list->first; c; c = c->next) {
        int64_t token = 0;
        if (!fal_node_is(f, c, FAL_YAML_SCALAR, "tokens")) continue;
        if (fal_yaml_integer(c, 0, INT32_MAX, &token))
            tokens[n++] = (int32_t)token;
        else
            fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(c), NULL,
                         "token '%s' is not a whole number from 0 to %d", fal_shown(f, c->text), INT32_MAX);
    }
    prompt->tokens = tokens;
    prompt->n_tokens = n;
    return prompt->name != NULL; /* looked up by name, so one without is of no use */
}

static const fal_item_kind prompts = { "prompts",          "a prompt",         prompt_keys,
                                   FAL_N(prompt_keys), sizeof(fal_prompt), finish_prompt };

/* ---- falsifiers ---- */

enum { FALSIFIER_OBLIGATIONS, FALSIFIER_RETIRED, FALSIFIER_END, FALSIFIER_UNBOUND, FALSIFIER_CHECK };
static const fal_key falsifier_keys[] = {
    [FALSIFIER_OBLIGATIONS] = NAMES("obligations", false, fal_falsifier, obligations, &fal_form_id),
    [FALSIFIER_RETIRED] = { "retired", FAL_KEY_BOOL, false, offsetof(fal_falsifier, retired), FAL_NOT_STORED, NULL,
                            NULL, false },
    [FALSIFIER_END] = TEXT("end_condition", false, fal_falsifier, end_condition),
    [FALSIFIER_UNBOUND] = TEXT("unbound_because", false, fal_falsifier, unbound_because),
    [FALSIFIER_CHECK] = LIST("check", false),
    NAMED("id", true, fal_falsifier, id, &fal_form_falsifier_id),
    TEXT("rule", true, fal_falsifier, rule),
    TEXT("prediction", true, fal_falsifier, prediction),
    TEXT("if_fails", true, fal_falsifier, if_fails),
};

static void read_checks(fal_contract_file *f, const fal_yaml_node *list, fal_falsifier *out)
{
    if (list->kind != FAL_YAML_LIST || list->n > INT_MAX) return;
    if (list->n == 0)
        fal_diagnose(&f->d, FAL_RULE_CON_004, FAL_AT(list), "leave the key out and say unbound_because",
                     "'check' is an empty list, which would attempt nothing");
    fal_check *checks = fal_arena_take(f->arena, list->n, sizeof *checks);
    if (!checks) return;
    for (const fal_yaml_node *c = list->first; c; c = c->next)
        if (fal_check_read(f, c, &checks[out->n_checks])) out->n_checks++;
    out->checks = checks;
    fal_items_refuse_same(f, list, "name", "a check named");
}

static bool finish_falsifier(fal_contract_file *f, const fal_yaml_node *node, void *item,
                             const fal_yaml_node *const *found)
{
    fal_falsifier *out = item;
    out->place = node->place;
    const fal_yaml_node *at = node->first ? node->first->key : node;
    if (found[FALSIFIER_CHECK]) read_checks(f, found[FALSIFIER_CHECK], out);
    if (!found[FALSIFIER_OBLIGATIONS] && !out->retired)
        fal_diagnose(&f->d, FAL_RULE_CON_002, FAL_AT(at), "name the obligations that it tries to refute",
                     "a falsifier lacks the key 'obligations'");
    if (out->retired && !found[FALSIFIER_END])
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(found[FALSIFIER_RETIRED]),
                     "say when the claim ceased to be of use", "a retired falsifier needs 'end_condition'");
    if (!out->retired && found[FALSIFIER_END])
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(found[FALSIFIER_END]->key), NULL,
                     "'end_condition' has no meaning without retired: true");
    if (out->retired && found[FALSIFIER_CHECK])
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(found[FALSIFIER_CHECK]->key),
                     "remove the check, or do not retire it", "a retired falsifier is not run, so it has no check");
    if (found[FALSIFIER_UNBOUND] && found[FALSIFIER_CHECK])
        fal_diagnose(&f->d, FAL_RULE_CON_009, FAL_AT(found[FALSIFIER_UNBOUND]->key), NULL,
                     "'unbound_because' has no meaning beside a check");
    return true;
}

static const fal_item_kind falsifiers = { "falsification_tests", "a falsifier",         falsifier_keys,
                                      FAL_N(falsifier_keys), sizeof(fal_falsifier), finish_falsifier };

/* ---- the contract ---- */

enum { METADATA, EQUATIONS, OBLIGATIONS, STAGES, OPTIONS, PROMPTS, FALSIFIERS, WAIVERS, GATE };
static const fal_key contract_keys[] = {
    [METADATA] = MAP("metadata", true),
    [EQUATIONS] = MAP("equations", false),
    [OBLIGATIONS] = LIST("proof_obligations", false),
    [STAGES] = LIST("implementation_stages", false),
    [OPTIONS] = LIST("options_considered", false),
    [PROMPTS] = LIST("prompts", false),
    [FALSIFIERS] = LIST("falsification_tests", false),
    [WAIVERS] = LIST("waivers", false),
    [GATE] = MAP("qa_gate", false),
    ENUM("status", true, fal_contract, status, contract_states),
    TEXTS("blockers", false, fal_contract, blockers),
    NAMES("waits_for", false, fal_contract, waits_for, &fal_form_precondition),
};

_Static_assert(FAL_N(falsifier_keys) <= FAL_MAX_ITEM_KEYS && FAL_N(stage_keys) <= FAL_MAX_ITEM_KEYS, "raise FAL_MAX_ITEM_KEYS");

void fal_contract_read(fal_contract_file *f)
{
    fal_contract *c = &f->contract;
    const fal_yaml_node *found[FAL_N(contract_keys)];
    if (!f->yaml.root || !fal_keys_read(f, f->yaml.root, "a contract", contract_keys, FAL_N(contract_keys), c, found))
        return;
    const void *items = NULL;
    if (found[METADATA]) read_metadata(f, found[METADATA]);
    if (found[EQUATIONS]) read_equations(f, found[EQUATIONS]);
    if (found[GATE] && found[GATE]->kind == FAL_YAML_MAP) {
        const fal_yaml_node *in_gate[FAL_N(gate_keys)];
        fal_keys_read(f, found[GATE], "qa_gate", gate_keys, FAL_N(gate_keys), NULL, in_gate);
    }
    c->n_obligations = fal_items_read(f, found[OBLIGATIONS], &obligations, &items, &f->obligation_nodes);
    c->obligations = items, items = NULL;
    c->n_stages = fal_items_read(f, found[STAGES], &stages, &items, &f->stage_nodes);
    c->stages = items, items = NULL;
    c->n_options = fal_items_read(f, found[OPTIONS], &options, &items, NULL);
    c->options = items, items = NULL;
    fal_items_refuse_same(f, found[OPTIONS], "id", "an option with id");
    if (found[PROMPTS] && found[PROMPTS]->n > MAX_PROMPTS) {
        fal_diagnose(&f->d, FAL_RULE_CON_008, FAL_AT(found[PROMPTS]), NULL, "a contract has at most %d prompts",
                     MAX_PROMPTS);
        found[PROMPTS] = NULL;
    }
    c->n_prompts = fal_items_read(f, found[PROMPTS], &prompts, &items, NULL);
    c->prompts = items, items = NULL;
    fal_items_refuse_same(f, found[PROMPTS], "name", "a prompt named");
    c->n_falsifiers = fal_items_read(f, found[FALSIFIERS], &falsifiers, &items, &f->falsifier_nodes);
    c->falsifiers = items;
    if (c->n_falsifiers == 0 && !found[FALSIFIERS])
        fal_diagnose(&f->d, FAL_RULE_CON_102, f->yaml.root->place, 1, NULL,
                     "the contract has no falsification_tests: nothing can refute it");
    if (found[WAIVERS]) fal_waivers_read(f, found[WAIVERS]);
    fal_contract_judge(f);
}

/* ---- the tables, for the schema ---- */

const fal_object fal_object_contract = { "contract", contract_keys, FAL_N(contract_keys) };
const fal_object fal_object_metadata = { "metadata", metadata_keys, FAL_N(metadata_keys) };
const fal_object fal_object_amendment = { "amendment", amendment_keys, FAL_N(amendment_keys) };
const fal_object fal_object_equation = { "equation", equation_keys, FAL_N(equation_keys) };
const fal_object fal_object_obligation = { "obligation", obligation_keys, FAL_N(obligation_keys) };
const fal_object fal_object_stage = { "stage", stage_keys, FAL_N(stage_keys) };
const fal_object fal_object_option = { "option", option_keys, FAL_N(option_keys) };
const fal_object fal_object_prompt = { "prompt", prompt_keys, FAL_N(prompt_keys) };
const fal_object fal_object_falsifier = { "falsifier", falsifier_keys, FAL_N(falsifier_keys) };
const fal_object fal_object_gate = { "gate", gate_keys, FAL_N(gate_keys) };
