/* How far results may lie from the exact ones when an operation computes as declared: a value and variances per output. */
#ifndef FAL_ERROR_MODEL_H
#define FAL_ERROR_MODEL_H

#include "falsifiers/judgement.h"
#include "harness/arithmetic.h"

/* For each output of one request, all in float64:
     exact     the op's formula on the recorded inputs
     declared  the same with activations or cache rounded as declared; exact where they are float32
     high      variance of the rounding of sums around declared, terms added one after the other
     low       the same for the best order of summation, a tree
     last      variance of rounding declared to float32, which is the least that any arithmetic leaves
     noise     variance of the rounding of activations: what declared may lie from exact
   Rounding v to a type of unit roundoff u errs by a uniform share of its last place, in mean square u^2 v^2 / 3 at most.
   A sum of terms p_k with partial sums S_k then has sum_k u^2 (p_k^2 + S_k^2) / 3. */
typedef struct {
    double *exact, *declared, *high, *low, *last, *noise;
    size_t n;
} fal_error_model;

/* what    Fills *m for out.y (out.weights of the router) of a request.
   refuses an op without arithmetic (kv_store, argmax), inputs that do not fit together: stops with ERROR; memory
   owns    *m: fal_error_model_free, also after a failure */
bool fal_error_model_make(const fal_op_case *c, int request, const fal_arithmetic *a, fal_error_model *m);
void fal_error_model_free(fal_error_model *m);
/* what    What of a declaration has an effect on an op: the rest is as in *base. */
fal_arithmetic fal_error_model_relevant(const char *op, const fal_arithmetic *a);
/* what    The same, for weights of a type (its name, or NULL): codes of activations have partners in quantised weights alone,
           those of Q8_0 have theirs in blocks of 32, and without codes there are no sums of codes. */
fal_arithmetic fal_error_model_effective(const char *op, const char *type, const fal_arithmetic *a);
/* what    Whether the op computes anything that could round. */
bool fal_error_model_has(const char *op);
/* what    The name of the output that the model is of. */
const char *fal_error_model_output(const char *op);

#endif
