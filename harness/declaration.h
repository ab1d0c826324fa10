/* The arithmetic that a candidate declares: one line of text in its file, by which it is judged. */
#ifndef FAL_DECLARATION_H
#define FAL_DECLARATION_H

#include "harness/arithmetic.h"

#include <stddef.h>

/* A file that says nothing is judged as float32 in any order. */
typedef struct {
    bool said;
    fal_arithmetic a;
    char text[128]; /* as it stands in the file: untrusted */
} fal_declaration;

/* what    Finds "falsify-arithmetic: activation=q8_k,sum=i32" in the n bytes of a candidate: in a comment of source, in a string
           of a shared object or of device code, also where PTX lists the bytes of its variable falsify_arithmetic. Only
           bytes are looked at; nothing of the file runs. *out says nothing when there is no such line.
   refuses a line that is empty or too long, an unknown name or value, two lines that differ: FAL_ERR_INPUT */
fal_status fal_declaration_find(const char *bytes, size_t n, fal_declaration *out, fal_error *err);

/* what    Refuses a declaration of which something has no effect on the op with weights of any of these types (NULL ends;
           no type at all: every type that the op takes): FAL_ERR_INPUT naming it. */
fal_status fal_declaration_check(const fal_declaration *d, const char *op, const char *const *types, int most,
                                 fal_error *err);

/* what    Whether float32 limits hold for it, on this op and type of weights (NULL: none): nothing is rounded to less. */
bool fal_declaration_is_f32(const fal_declaration *d, const char *op, const char *type);

/* what    The relative error in L2 that a declaration leaves of Gaussian inputs, rms over draws, beyond what float32 leaves;
           n: terms of the longest sum.
   source  codes: E max^2 of 32 or 256 Gaussians is 5.71 or 9.40, the step d = max / 127, its error d^2 / 12. Roundings to a short
           type: contracts/declared-arithmetic-v1.yaml, equations rounding and sum_one_after_the_other */
double fal_declaration_error(const fal_declaration *d, const char *op, const char *type, double n);

#endif
