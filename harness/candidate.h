/* Kernels of others on trial: what a shared object exports, and what a kernel in OpenCL or CUDA is called and handed.
   Includes nothing but the arguments of the operations (harness/backend.h), so that a candidate needs only the headers.

   A shared object (.so) exports
       const int fal_candidate_abi = FAL_CANDIDATE_ABI;
       int fal_candidate_<op>(const fal_<op>_args *a);
   for the operation on trial. Arrays are host memory as harness/backend.h describes them; all of the work is done when
   the function returns. It returns one of the values below.

   OpenCL source (.cl) and CUDA device code (.cubin, .ptx) hold a kernel
       fal_<op>_<type>     (such as fal_moe_matmul_q6_k), for that type of weights, else
       fal_<op>            for all types, and for operations without weights
   whose parameters are the fields of fal_<op>_args in their order: int for every integer, bool and type, float for eps,
   a pointer for every array (a null pointer for one that is left out), and last a pointer to scratch memory if the
   launch asks for some. The launch is one line of text,
       falsify-launch: block=128 grid=cdiv(n_out,4)*n_tokens
   in a comment of the .cl file, or in the device code as
       extern "C" __device__ char falsify_launch[] = "block=128 grid=cdiv(n_out,4)*n_tokens";
   block (work-items of a work-group, threads of a block) and grid (work-groups, blocks) have up to three dimensions,
   separated by commas; shared (bytes of dynamic shared memory, CUDA only) and scratch (bytes of the scratch array, filled
   with 0xFF before each call) may follow. Values are integer expressions over the integer fields, with + - * / ( ),
   cdiv(a,b) (a / b rounded up), min(a,b) and max(a,b), without blanks.

   A candidate that rounds more than float32 does says so in one more line, by which it is then judged (without it, as
   float32 in any order):
       falsify-arithmetic: activation=q8_k,sum=i32
   in a comment of the .cl file, and in all other forms as a string that the file keeps,
       const char falsify_arithmetic[] = "falsify-arithmetic: activation=q8_k,sum=i32";
       extern "C" __device__ char falsify_arithmetic[] = "falsify-arithmetic: activation=q8_k,sum=i32";
   activation (of matmul and moe_matmul): f32, f16, bf16, q8_0 (codes of 8 bits, one scale for 32 columns), q8_k (for 256);
   sum: f32, f64, f16, bf16, i32 (codes in int32 under each scale); kv (of attention): f32, f16, bf16; order: any, ascending.
   harness/arithmetic.h tells more. What has no effect on the op is refused. Only bytes of the file are looked at. */
#ifndef FAL_CANDIDATE_H
#define FAL_CANDIDATE_H

#include "harness/backend.h"

#define FAL_CANDIDATE_ABI 1

enum {
    FAL_CANDIDATE_DONE = 0,
    FAL_CANDIDATE_DECLINED = 1, /* a shape or type that it does not compute: counted as blocked, never as passed */
    FAL_CANDIDATE_FAILED = 2    /* and any other value */
};

#define FAL_OP(op) int fal_candidate_##op(const fal_##op##_args *a);
#include "harness/ops.def"

#endif
