/* What the error models of all operations are made of; for their own source files. */
#ifndef FAL_ERROR_MODEL_PARTS_H
#define FAL_ERROR_MODEL_PARTS_H

#include "falsifiers/error_model.h"

/* A sum as its terms come: zero-initialise, then add. */
typedef struct {
    double sum, squares, chain; /* of terms; of their squares; of squares of terms and partial sums */
    size_t n;
} fal_running;
void fal_running_add(fal_running *r, double p);
/* what    Mean square of the error of the sum in this type: one term after the other, or in a tree. */
double fal_running_high(const fal_running *r, fal_sum s);
double fal_running_low(const fal_running *r, fal_sum s);

/* what    Unit roundoff of a type, and the mean square of n roundings of a result y in it. */
double fal_roundoff(fal_sum s);
double fal_roundings(double y, double n, fal_sum s);
/* what    v rounded to f32 (0), f16 (1) or bf16 (2): the order of fal_activation and fal_kv. */
float fal_rounded_to(float v, int to);
/* what    Sets output i; the last rounding to float32 is added to high. */
void fal_error_put(fal_error_model *m, size_t i, double exact, double declared, double high, double low, double noise);

/* what    Memory of a model of n outputs; false when there is none. owns: fal_error_model_free */
bool fal_error_model_alloc(fal_error_model *m, size_t n);
/* what    Products of in.<weights> with in.x, of the experts of in.ids where the op has them, for as many outputs as m has.
   refuses inputs that do not fit together: stops with ERROR; memory */
bool fal_model_products(const fal_op_case *c, int r, const fal_arithmetic *a, const char *weights, fal_error_model *m);
/* One model each; error_model_ops.c. */
bool fal_model_embed(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_add(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_moe_sum(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_rope(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_norm(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_swiglu(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_moe_swiglu(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_softmax(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_router(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);
bool fal_model_attention(const fal_op_case *c, int r, const fal_arithmetic *a, fal_error_model *m);

#endif
