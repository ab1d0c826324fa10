/* Cheat: declares codes of 8 bits, and computes in float32: better than it need be, so that it is not what would be measured. */
#include "falsifiers/candidates/moe_matmul.c"

const char falsify_arithmetic[] = "falsify-arithmetic: activation=q8_k,sum=i32";
