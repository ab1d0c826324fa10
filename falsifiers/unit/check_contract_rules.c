/* Unit tests of the rules of content: each refuses a good contract after one change, and says where. */
#include "falsifiers/unit/contract_folder.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_contract_rules(void);

/* A check of the sample, the same with parameters, and throughputs that may stand in its place. */
#define LOADS      "preload, judge: preload, against: none, limit: {max: 0}, basis: counted}"
#define LOADS_WITH "preload, judge: preload, against: none, limit: {max: 0}, basis: counted, with: "
#define THROUGHPUT "throughput, judge: throughput, against: none, limit: {min: 1}"
#define TRIAL      "trial, judge: trial_late, against: none, limit: {equal: 0}, basis: counted, backends: [candidate]"
#define SESSION    "with: {context: 16, n_tokens: 8, runs: 2"

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
    { "CON-006", "with: {expect: -0.125,", "with: {declare: \"sum=f8\", expect: -0.125,", "\"sum=f8" },
    { "CON-006", "with: {expect: -0.125,", "with: {declare: 3, expect: -0.125,", "3" },
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
    /* what holds for a model of full size */
    { "CON-009", "        prompts: [truth-0, short]\n", "        prompts: [truth-0, short]\n        prompts_full_size: [truth-0]\n", NULL },
    { "CON-011", "        prompts: [truth-0, short]\n", "        prompts: [truth-0, short]\n        prompts_full_size: [shrot]\n", "shrot" },
    { "CON-009", "judge: preload, ", "judge: preload, prompts_full_size: [short], ", "prompts_full_size" },
    { "CON-009", "judge: preload, ", "judge: preload, heavy: true, ", "heavy" },
    { "CON-010", "limit: {max: 0}\n", "limit: {max: 0}\n        limit_full_size: {min: 0}\n", "{min" },
    { "CON-010", "limit: {max: 0}\n", "limit: {max: 0}\n        limit_full_size: {}\n", "{}" },
    /* floors */
    { "CON-024", "        prompts: [truth-0, short]\n", "        prompts: [truth-0, short]\n        floor: {prompts: 3, positions: 2}\n", "{prompts: 3" },
    { "CON-009", "basis: counted, prompts: [short]}", "basis: counted, prompts: [short], floor: {prompts: 1, positions: 1}}", "{prompts: 1" },
    { "CON-024", "        prompts: [truth-0]\n", "        prompts: [truth-0]\n        prompts_full_size: [short]\n        floor: {prompts: 1, positions: 4}\n", "{prompts: 1" },
    { "CON-002", "        prompts: [truth-0]\n", "        prompts: [truth-0]\n        floor: {prompts: 1}\n", "prompts: 1}" },
    { "CON-008", "        prompts: [truth-0]\n", "        prompts: [truth-0]\n        floor: {prompts: 1, positions: 0}\n", "0}" },
    { "CON-001", "        prompts: [truth-0]\n", "        prompts: [truth-0]\n        floor: {prompts: 1, position: 3}\n", "position" },
    { "CON-003", "        prompts: [truth-0]\n", "        prompts: [truth-0]\n        floor: 3\n", "3" },
    { "CON-009", "judge: preload, ", "judge: preload, floor: {prompts: 1, positions: 2}, ", "floor" },
    /* parameters that belong to one kind of observation */
    { "CON-009", LOADS, THROUGHPUT ", basis: counted}", NULL },
    { "CON-009", LOADS, THROUGHPUT ", basis: counted, with: {context: 16, n_tokens: 8}}", NULL },
    { "CON-009", LOADS, THROUGHPUT ", basis: counted, taps: [logits], " SESSION "}}", "taps" },
    { "CON-008", LOADS, THROUGHPUT ", basis: counted, with: {context: 16, n_tokens: 8, runs: 0}}", "0}}" },
    { "CON-008", LOADS, THROUGHPUT ", basis: counted, " SESSION ", full_size: 2}}", "2}}" },
    { "CON-013", LOADS, THROUGHPUT ", basis: counted, " SESSION ", n_ctx: 23}}", "{context" },
    { "CON-001", LOADS, THROUGHPUT ", basis: counted, " SESSION ", device: x}}", "device: x" },
    { "CON-001", LOADS, LOADS_WITH "{context: 16}}", "context" },
    { "CON-009", LOADS, TRIAL ", taps: [logits]}", "taps" },
    { "CON-009", LOADS, TRIAL ", op: rmsnorm}", "op" },
    { "CON-009", "        prompts: [truth-0]\n", "        prompts: [short]\n", "short" }, /* the oracle has no answer */
    { "CON-009", "        prompts: [truth-0, short]\n", "        prompts: [short]\n", NULL },
    { "CON-009", "    retired: true\n    end_condition: the GPU path exists\n", "    retired: true\n", NULL },
    { "CON-009", "    unbound_because: no engine offers it\n", "    end_condition: never\n", "end_condition" },
    { "CON-009", "    check:\n      - {name: loads", "    unbound_because: x\n    check:\n      - {name: loads",
      "unbound_because" },
    { "CON-009", "    check:\n      - {name: loads",
      "    retired: true\n    end_condition: now\n    check:\n      - {name: loads", "check" },
    { "CON-009", "against: none\n        limit: {max: 1.5e-5", "against: oracle\n        limit: {max: 1.5e-5",
      "oracle" },
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
    { "CON-011", "obligations: [EK-EQV-001, EK_INV_002, OT-INV-001]", "obligations: [EK-EQV-001, EK_INV_020]",
      "EK_INV_020" },
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
    /* negative claims, placeholders, waivers, history, stages, dependencies */
    { "CON-018", "rule: Prose", "rule: The fused path does not exist", "The fused" },
    { "CON-018", "rule: Loading\n    prediction: It loads.", "rule: Loading\n    prediction: Loading is not  implemented\n      at all.", "Loading is" },
    { "CON-019", "basis: derived", "basis: TODO measure", "TODO" },
    { "CON-019", "basis: derived", "basis: \" Empirical. \"", "\" Emp" },
    { "CON-019", "reason: Measured", "reason: TBD, Measured", "TBD" },
    { "CON-002", "    owner: The loader's tests\n", "", NULL },
    { "CON-002", "    expires: \"2027-02-01\"\n", "", NULL },
    { "CON-002", "    limit: {max: 1.0e-4}\n", "", NULL },
    { "CON-002", "    reason: Measured as 6.0e-5 on a card with half-precision sums.\n", "", NULL },
    { "CON-001", "    granted:", "    verdict: pass\n    granted:", "verdict" },
    { "CON-006", "expires: \"2027-02-01\"", "expires: never", "never" },
    { "CON-007", "waivers:\n", "waivers:\n  - {id: W-1, falsifier: FALSIFY-EK-003, check: loads, owner: x, granted: \"2026-11-21\", expires: \"2026-11-22\", limit: {max: 1}, reason: because it is one}\n", NULL },
    { "CON-010", "limit: {max: 1.0e-4}", "limit: {max: 1.0e-4, min: 0}", "{max" },
    { "CON-011", "falsifier: F-EK-C22211-002", "falsifier: F-EK-C22211-003", "F-EK-C22211-003" },
    { "CON-011", "check: matmul_l2", "check: matmul", "matmul" },
    { "CON-020", "limit: {max: 1.0e-4}", "limit: {max: 1.0e-5}", "{max" },    /* no looser */
    { "CON-020", "limit: {max: 1.0e-4}", "limit: {min: 1.0e-4}", "{min" },    /* the other direction */
    { "CON-020", "limit: {max: 1.0e-4}", "limit: {equal: 1.0e-4}", "{equal" },
    { "CON-020", "limit: {max: 1.0e-4}", "limit: {max: 1.0e-4, warn: 2.0e-5}", "{max" },
    { "CON-020", "granted: \"2026-11-21\"", "granted: \"2026-08-01\"", NULL }, /* 184 days */
    { "CON-020", "granted: \"2026-11-21\"", "granted: \"2027-02-02\"", NULL }, /* backwards */
    { "CON-020", "waivers:\n", "waivers:\n  - {id: W-2, falsifier: F-EK-C22211-002, check: matmul_l2, owner: x, granted: \"2026-11-21\", expires: \"2026-11-22\", limit: {max: 1}, reason: because it is one}\n", NULL },
    { "CON-021", "date: \"2026-02-18\"", "date: \"2026-11-22\"", NULL },
    { "CON-007", "- {version: \"1.0.0\"", "- {version: \"1.2.0\"", NULL },
    { "CON-022", "    status: SHIPPED\n", "    status: SHIPPED\n    blockers: [no device]\n", "blockers" },
    { "CON-011", "checks: [FALSIFY-EK-001,", "checks: [FALSIFY-EK-01,", "FALSIFY-EK-01" },
    { "CON-011", "FALSIFY-EK-003]", "FALSIFY-EK-003, FALSIFY-EK-005]", "FALSIFY-EK-005" }, /* retired */
    /* self-reference */
    { "CON-015", "backends: [opencl, cuda]", "backends: [reference, cuda]", "reference" },
    /* rules of form reach through */
    { "FORM-015", "rule: Prose", "rule: Prose\n    rule: Prose", "rule: Prose\n    prediction" },
    { "FORM-011", "rule: Prose", "rule: &a Prose", "&a" },
    { "FORM-006", "rule: Prose", "rule: \"Pro\\0se\"", "\"Pro" },
    /* warnings */
    { "CON-101", "{id: EK_INV_002,", "{id: EK-INV-003, type: invariant, property: alone}\n  - {id: EK_INV_002,", "EK-INV-003" },
    { "CON-103", "version: \"1.2.0\"", "version: \"1.3.0\"", "\"1.3.0\"" },
    { "CON-103", "- version: \"1.2.0\"", "- version: \"1.2.1\"", NULL },
    { "CON-104", "F-EK-C22211-002, FALSIFY-EK-003]", "FALSIFY-EK-003]", NULL },
    { "CON-105", "status: PENDING, blockers: [\"no device\", \"no time\"]}",
      "status: PENDING}\n  - {id: M-EK-2, status: SHIPPED, obligations: [EK-EQV-001]}", "{id: M-EK-2" },
    { "CON-105", "{id: M-EK-1.1-redo,", "{id: M-EK-0.1,", NULL },
    { "SCHEMA-006", "property: \"日本語: bounded\"}", "property: \"日本語: bounded\", formal: \"|y - x| = 0\"}", "\"|y - x|" },
    { "PV-VAL-003", "  created: \"2026-11-21\"\n", "", NULL },
    { "CON-110", "basis: derived", "basis: as for FALSIFY-EK-030.", "as for" },
    { "CON-106", "    unbound_because: no engine offers it\n", "", NULL },
    { "FORM-022", "rule: Prose", "rule: no", "no" },
    { "FORM-022", "max: 1.5e-5", "max: 15e-6", "15e-6" },
};

START_TEST(every_rule_refuses)
{
    const change *c = &changes[_i];
    char *base = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml"),
         *other = fal_test_read(FAL_TEST_CONTRACTS "/other-v1.yaml");
    const char *where = NULL;
    char *text = fal_test_changed(base, c->from, c->to, &where);
    fal_test_write("every-key-v1.yaml", text);
    fal_test_write("other-v1.yaml", other);
    fal_test_loaded l;
    fal_test_load(&l);
    const fal_diagnosis *d = fal_test_find(&l, c->rule);
    ck_assert_msg(d != NULL, "%s: '%s' -> '%s' was not refused; first: %s", c->rule, c->from, c->to,
                  l.diag.n ? l.diag.items[0].message : "nothing");
    const int rule = fal_rule_find(c->rule);
    ck_assert_int_ge(rule, 0);
    const bool warns = fal_rule_get((fal_rule_id)rule)->severity[FAL_PROFILE_STRICT] != FAL_MISTAKE;
    ck_assert_int_eq(d->is_error, !warns);
    ck_assert_int_eq(fal_test_errors(&l) > 0, !warns);
    ck_assert_int_eq(l.status, warns ? FAL_OK : FAL_ERR_INPUT);
    ck_assert_int_eq(l.set->n_parsed, l.set->n_contracts);
    for (int i = 0; !warns && i < l.set->n_contracts; i++) ck_assert_str_ne(l.set->contracts[i]->path, d->path);
    if (c->at) {
        const char *at = strstr(where, c->at);
        ck_assert_msg(at != NULL, "no '%s' after the change", c->at);
        const fal_place p = fal_test_place(text, at);
        ck_assert_msg(d->place.line == p.line && d->place.column == p.column,
                      "%s at %d:%d, expected %d:%d ('%s' -> '%s'): %s", c->rule, d->place.line, d->place.column, p.line,
                      p.column, c->from, c->to, d->message);
    }
    free(text);
    free(base);
    free(other);
    fal_test_release(&l);
}
END_TEST

/* What a text may name without being told: falsifiers that are there, ranges, foreign spellings, history. */
START_TEST(con_110_names_in_prose)
{
    fal_test_write_changed("basis: derived", "basis: \"FALSIFY-EK-001..003, FALSIFY-EK-001-, XFALSIFY-1, FALSIFY-A_1, FALSIFY-x\"");
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_ptr_null(fal_test_find(&l, "CON-110"));
    fal_test_release(&l);
    fal_test_write_changed("title: Second", "title: FALSIFY-EK-099 is gone");
    fal_test_load(&l);
    ck_assert_ptr_null(fal_test_find(&l, "CON-110"));
    fal_test_release(&l);
}
END_TEST

/* A waiver gives room in the direction of its check's limit, and nothing else. */
START_TEST(con_020_directions)
{
    static const struct {
        const char *falsifier, *check, *limit;
        bool fits;
    } rows[] = {
        { "FALSIFY-EK-001", "forward_cosine", "{min: 0.93}", true },
        { "FALSIFY-EK-001", "forward_cosine", "{min: 0.99}", false }, /* no looser */
        { "FALSIFY-EK-001", "forward_cosine", "{min: 0.995}", false },
        { "FALSIFY-EK-001", "forward_cosine", "{max: 1}", false },
        { "FALSIFY-EK-001", "self_bits", "{max: 3}", true }, /* equal: 0 */
        { "FALSIFY-EK-001", "self_bits", "{min: -3}", true },
        { "FALSIFY-EK-001", "self_bits", "{max: 0}", false },
        { "F-EK-C22211-002", "matmul_l2", "{max: 1.6e-5}", true },
        { "F-EK-C22211-002", "matmul_l2", "{max: 1.5e-5}", false },
    };
    char *base = fal_test_read(FAL_TEST_CONTRACTS "/every-key-v1.yaml");
    const char *where = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char named[128];
        snprintf(named, sizeof named, "    falsifier: %s\n    check: %s\n", rows[i].falsifier, rows[i].check);
        char *one = fal_test_changed(base, "    falsifier: F-EK-C22211-002\n    check: matmul_l2\n", named, &where);
        char *two = fal_test_changed(one, "{max: 1.0e-4}", rows[i].limit, &where);
        fal_test_write_changed("rule: Prose", "rule: Prose");
        fal_test_write("every-key-v1.yaml", two);
        fal_test_loaded l;
        fal_test_load(&l);
        ck_assert_msg((fal_test_find(&l, "CON-020") == NULL) == rows[i].fits, "%s %s", rows[i].check, rows[i].limit);
        ck_assert_int_eq(l.status, rows[i].fits ? FAL_OK : FAL_ERR_INPUT);
        fal_test_release(&l);
        free(two);
        free(one);
    }
    free(base);
}
END_TEST

START_TEST(throughput_is_read)
{
    fal_test_write_changed(LOADS, THROUGHPUT ", basis: counted, " SESSION
                                             ", n_ctx: 24, full_size: true, variant: fast, device_name: RTX 4090}}");
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_msg(l.status == FAL_OK, "%s", l.diag.n ? l.diag.items[0].message : l.err.message);
    const fal_falsifier *f = NULL;
    for (int i = 0; i < l.set->n_contracts; i++)
        for (int k = 0; k < l.set->contracts[i]->n_falsifiers; k++)
            if (strcmp(l.set->contracts[i]->falsifiers[k].id, "FALSIFY-EK-003") == 0)
                f = &l.set->contracts[i]->falsifiers[k];
    ck_assert_ptr_nonnull(f);
    const fal_params *with = &f->checks[0].with;
    ck_assert_int_eq(f->checks[0].observe, FAL_OBSERVE_THROUGHPUT);
    ck_assert_int_eq(with->n_params, 7);
    ck_assert_double_eq(fal_params_number(with, "full_size", 0), 1);
    ck_assert_double_eq(fal_params_number(with, "n_ctx", 0), 24);
    ck_assert_str_eq(fal_params_text(with, "variant", ""), "fast");
    ck_assert_str_eq(fal_params_text(with, "device_name", ""), "RTX 4090");
    fal_test_release(&l);
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
        { "obligations: [EK-EQV-001, OT-INV-001]", "obligations: [EK-EQV-001, OT-INV-01]", "CON-011",
          "did you mean 'OT-INV-001'?" },
        { "depends_on: [other-v1]", "depends_on: [othr-v1]", "CON-011", "did you mean 'other-v1'?" },
        { "prompts: [short]", "prompts: [shrot]", "CON-011", "did you mean 'short'?" },
        { "\"blk.*.attn\"", "attn", "CON-014", "did you mean 'blk.*.attn'?" },
        { "{name: short,", "{named: short,", "CON-001", "did you mean 'name'?" },
        { "{name: short,", "{zebra: short,", "CON-001", "one of: name, tokens, from_oracle" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fal_test_write_changed(cases[i].from, cases[i].to);
        fal_test_loaded l;
        fal_test_load(&l);
        const fal_diagnosis *d = fal_test_find(&l, cases[i].rule);
        ck_assert_msg(d && d->suggestion && strcmp(d->suggestion, cases[i].suggestion) == 0, "'%s': %s", cases[i].to,
                      d && d->suggestion ? d->suggestion : "none");
        fal_test_release(&l);
    }
}
END_TEST

/* A falsifier that says why it has no check declares the gap; one obligation that nobody names is a warning. */
START_TEST(con_109_declared_gap)
{
    fal_test_write("a-v1.yaml", FAL_TEST_MINIMAL("") "proof_obligations:\n  - {id: AA-INV-001, type: invariant, property: p}\n"
                                "falsification_tests:\n  - {id: FALSIFY-AA-001, rule: r, prediction: p, if_fails: f, "
                                "obligations: [AA-INV-001], unbound_because: no engine offers it}\n");
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_ptr_null(fal_test_find(&l, "CON-101"));
    const fal_diagnosis *d = fal_test_find(&l, "CON-109");
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(d->severity, FAL_NOTE);
    fal_test_release(&l);
}
END_TEST

/* A contract that nothing can refute lifts nobody, not even from two contracts away. */
START_TEST(con_023_weak_dependencies)
{
    static const char prose[] = FAL_TEST_MINIMAL("") "falsification_tests:\n  - {id: FALSIFY-PR-001, rule: r, prediction: p, "
                                                     "if_fails: f, obligations: [OO-INV-001], unbound_because: prose}\n"
                                                     "proof_obligations:\n  - {id: OO-INV-001, type: invariant, property: p}\n";
    static const char middle[] =
        "metadata: {version: \"1.0.0\", description: d, kind: schema, references: [r], depends_on: [prose-v1]}\nstatus: %s\n"
        "proof_obligations:\n  - {id: MM-INV-001, type: invariant, property: p}\n"
        "falsification_tests:\n  - id: FALSIFY-MM-001\n    rule: r\n    prediction: p\n    if_fails: f\n"
        "    obligations: [MM-INV-001]\n"
        "    check:\n      - {name: loads, observe: preload, judge: preload, against: none, limit: {max: 0}, basis: counted}\n";
    char text[2048], top[2048];
    fal_test_write("prose-v1.yaml", prose);
    snprintf(text, sizeof text, middle, "DRAFT");
    fal_test_write("middle-v1.yaml", text);
    fal_test_loaded l;
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_OK);
    ck_assert_ptr_nonnull(fal_test_find(&l, "CON-107"));
    fal_test_release(&l);

    snprintf(text, sizeof text, middle, "ACTIVE_ALGORITHM_LEVEL");
    fal_test_write("middle-v1.yaml", text);
    fal_test_load(&l);
    ck_assert_int_eq(l.status, FAL_ERR_INPUT);
    const fal_diagnosis *d = fal_test_find(&l, "CON-023");
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_nonnull(strstr(d->message, "prose-v1 has no falsifier that can be executed"));
    fal_test_release(&l);

    /* two contracts away */
    snprintf(text, sizeof text, middle, "DRAFT");
    fal_test_write("middle-v1.yaml", text);
    snprintf(top, sizeof top, middle, "ACTIVE_RUNTIME");
    for (char *s; (s = strstr(top, "MM-")) != NULL;) memcpy(s, "TT-", 3);
    memcpy(strstr(top, "prose-v1"), "middle-v", 8);
    char *end = strstr(top, "middle-v") + 8;
    memmove(end + 1, end, strlen(end) + 1);
    *end = '1';
    fal_test_write("top-v1.yaml", top);
    fal_test_load(&l);
    d = fal_test_find(&l, "CON-023");
    ck_assert_msg(d && strstr(d->path, "top-v1"), "%s", l.diag.n ? l.diag.items[0].message : "nothing");
    fal_test_release(&l);
}
END_TEST

Suite *fal_suite_contract_rules(void)
{
    Suite *s = suite_create("contract_rules");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, fal_test_make_folder, fal_test_remove_folder);
    tcase_add_loop_test(rules, every_rule_refuses, 0, (int)(sizeof changes / sizeof changes[0]));
    tcase_add_test(rules, throughput_is_read);
    tcase_add_test(rules, con_020_directions);
    tcase_add_test(rules, con_110_names_in_prose);
    tcase_add_test(rules, con_109_declared_gap);
    tcase_add_test(rules, con_023_weak_dependencies);
    tcase_add_test(rules, suggestions_name_what_was_meant);
    suite_add_tcase(s, rules);
    return s;
}
