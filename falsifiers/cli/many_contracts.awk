# Writes n contracts of 5 KB with distinct ids into a folder. usage: awk -v n=2000 -v folder=F -f many_contracts.awk
BEGIN {
    for (i = 0; i < n; i++) {
        f = sprintf("%s/many-%05d-v1.yaml", folder, i)
        printf "metadata:\n  version: \"1.0.0\"\n  description: One of many contracts, to measure how fast they are judged.\n" > f
        printf "  kind: kernel\n  created: \"2026-11-25\"\n  author: Falsify\n  references:\n    - \"Bridle (1990): Training Stochastic Model Recognition Algorithms as Networks\"\nstatus: DRAFT\n" > f
        printf "equations:\n  softmax: {formula: \"y[i] = exp(x[i]) / sum_j exp(x[j])\", domain: \"x in R^n\"}\nproof_obligations:\n" > f
        for (k = 0; k < 8; k++)
            printf "  - {id: MANY-%05d-INV-%03d, type: invariant, property: Every row adds up to 1, formal: \"|sum y - 1| <= %de-6\"}\n", i, k, k + 1 > f
        printf "falsification_tests:\n" > f
        for (k = 0; k < 8; k++) {
            printf "  - id: FALSIFY-MANY-%05d-%03d\n    rule: Rows add up to 1\n    prediction: Every row of the output adds up to 1.\n", i, k > f
            printf "    if_fails: The sum leaves out part of the row.\n    obligations: [MANY-%05d-INV-%03d]\n    check:\n      - name: row_sum\n", i, k > f
            printf "        observe: op\n        op: softmax\n        judge: row_sum\n        against: none\n        limit: {max: 1.0e-6}\n" > f
            printf "        basis: Division within 2.5 ulp.\n        shapes: [{n_rows: 3, n_cols: 64}]\n        fills: [gauss]\n        seeds: [1]\n" > f
        }
        printf "qa_gate: {id: F-MANY, name: Softmax, pass_criteria: Every bound falsifier survives.}\n" > f
        close(f)
    }
}
