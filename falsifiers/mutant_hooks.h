/* The faults that are planted at the border of a backend; falsifiers/mutants.def says which mutant has which. */
#ifndef FAL_MUTANT_HOOKS_H
#define FAL_MUTANT_HOOKS_H

#include "harness/mutant.h"

/* mutant_calls.c: arguments and outputs of one call */
typedef void fal_before_fn(fal_border_call *c, void *args);
typedef void fal_after_fn(fal_border_call *c, const void *args);
fal_before_fn fal_mutant_eps_ten_times, fal_mutant_rope_base_1e4;
fal_after_fn fal_mutant_norm_over_all_heads, fal_mutant_all_zeros, fal_mutant_not_written, fal_mutant_tail_not_written,
    fal_mutant_nan_in_one, fal_mutant_inf_in_one, fal_mutant_scaled, fal_mutant_answer_of_before,
    fal_mutant_rows_exchanged, fal_mutant_last_bit_of_count, fal_mutant_future_leaks;

/* mutant_flow.c: rows of a site in a forward pass */
typedef void fal_flow_fn(const fal_flow *f, float *y);
fal_flow_fn fal_mutant_rope_base_1e4_flow, fal_mutant_rope_plus_one, fal_mutant_slot_of_before,
    fal_mutant_last_bit_of_count_flow, fal_mutant_keys, fal_mutant_moe_out, fal_mutant_layer_out,
    fal_mutant_plain_probabilities, fal_mutant_softmax_of_chosen, fal_mutant_reversed_sum, fal_mutant_row_before,
    fal_mutant_scaled_flow, fal_mutant_best_two_exchanged, fal_mutant_nan_at_end, fal_mutant_depends_on_length;

/* mutant_calls.c */
/* what    Where a call of op puts its results, for hooks; false for a call whose dimensions make no sense. */
bool fal_mutant_outputs(int op, const void *args, fal_border_call *c);

enum {
#define FAL_OP(op) FAL_MUTANT_OP_##op,
#include "harness/ops.def"
    FAL_MUTANT_N_OPS
};

#endif
