# Turns either backend's text into a neutral one, so that the twins can be compared: names, qualifiers, built-in words.
s/fal_c[lu]_/fal_xx_/g
s/FAL_C[LU]_/FAL_XX_/g
s/FAL_OPENCL_/FAL_BACKEND_/g
s/FAL_CUDA_/FAL_BACKEND_/g
s/\bOpenCL\b/BACKEND/g
s/\bCUDA\b/BACKEND/g
s/\bopencl\b/backend/g
s/\bcuda\b/backend/g
s/\ban BACKEND\b/a BACKEND/g
s/\.\(cl\|cu\|cuh\)\b/.dev/g
# The variant for CPUs exists in OpenCL alone.
s/fal_xx_is_cpu(ctx) ? [^:]* : //g
# Address spaces and function qualifiers.
s/\b__global //g
s/\b__local //g
s/\b__shared__ //g
s/__align__(16) //g
s/ __attribute__((aligned(16)))//g
s/\bstatic __device__ __forceinline__ /static /g
s/\bstatic __device__ /static /g
s/(void)\( {\|$\)/()\1/g
# Types.
s/\buchar\b/unsigned char/g
s/\bushort\b/unsigned short/g
s/\buint\b/unsigned/g
s/\bsigned char\b/char/g
s/\bunsigned char\b/byte/g
s/\b__half\b/half/g
# Vectors.
s/make_float4(0\.0f, 0\.0f, 0\.0f, 0\.0f)/(float4)(0.0f)/g
s/make_\(float[24]\|uint4\)(/(\1)(/g
s/fma((float4)(\([^()]*\)),/fma(\1,/g
# Places, barriers, bits.
s/barrier(CLK_[A-Z_]*)/__syncthreads()/g
s/get_local_id(0)/threadIdx.x/g
s/get_group_id(0)/blockIdx.x/g
s/get_global_id(0)/fal_global_id()/g
s/get_num_groups(0)/gridDim.x/g
s/\bas_uint(/__float_as_uint(/g
s/\bas_float(/__uint_as_float(/g
# Words of comments.
s/\b[Ww]ork-groups\b/blocks/g
s/\b[Ww]ork-group\b/block/g
s/\bBlock/block/g
s/\b[Ww]ork-items\b/threads/g
s/\b[Ww]ork-item\b/thread/g
s/\bof the group\b/of the block/g
