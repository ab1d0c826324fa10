/* An example of a candidate in CUDA: matmul for Q4_K and Q6_K weights, one warp for each row and token.
   nvcc -arch=sm_90 -cubin -o matmul.cubin falsifiers/candidates/matmul.cu      (runs on that architecture alone)
   nvcc -arch=compute_80 -ptx -o matmul.ptx falsifiers/candidates/matmul.cu     (runs on later ones too) */
#include <cuda_fp16.h>

extern "C" __device__ char falsify_launch[] = "block=128 grid=cdiv(n_out,4),n_tokens";

enum { BLOCK = 256, Q4_K_BYTES = 144, Q6_K_BYTES = 210 };

static __device__ float half_at(const unsigned char *p)
{
    return __half2float(__ushort_as_half((unsigned short)(p[0] | p[1] << 8)));
}

/* Element c of a block of 256: f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit codes. */
static __device__ float q4_k(const unsigned char *w, int c)
{
    const unsigned char *s = w + 4;
    const int j = c / 32, i = c % 32;
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    const unsigned char both = w[16 + j / 2 * 32 + i];
    return half_at(w) * scale * (j % 2 ? both >> 4 : both & 15) - half_at(w + 2) * min;
}

/* 128 bytes of low and 64 of high code bits, 16 scales, f16 d. */
static __device__ float q6_k(const unsigned char *w, int c)
{
    const int h = c / 128, quarter = c % 128 / 32, i = c % 32;
    const unsigned char low = w[64 * h + quarter % 2 * 32 + i], high = w[128 + 32 * h + i];
    const int q = (quarter < 2 ? low & 15 : low >> 4) | (high >> 2 * quarter & 3) << 4;
    return half_at(w + 208) * (signed char)w[192 + c / 16] * (q - 32);
}

template <int BYTES, float (*ELEMENT)(const unsigned char *, int)>
static __device__ void matmul(int n_in, int n_out, const unsigned char *w, const float *x, float *y)
{
    const int lane = threadIdx.x % 32, r = blockIdx.x * 4 + threadIdx.x / 32, t = blockIdx.y;
    if (r >= n_out) return;
    const unsigned char *row = w + (long long)r * (n_in / BLOCK) * BYTES;
    float sum = 0;
    for (int c = lane; c < n_in; c += 32) sum += ELEMENT(row + c / BLOCK * BYTES, c % BLOCK) * x[(long long)t * n_in + c];
    for (int n = 16; n > 0; n /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, n);
    if (lane == 0) y[(long long)t * n_out + r] = sum;
}

/* The fields of fal_matmul_args in their order. */
extern "C" __global__ void fal_matmul_q4_k(int n_tokens, int n_in, int n_out, int type, const unsigned char *w, const float *x, float *y)
{
    matmul<Q4_K_BYTES, q4_k>(n_in, n_out, w, x, y);
}

extern "C" __global__ void fal_matmul_q6_k(int n_tokens, int n_in, int n_out, int type, const unsigned char *w, const float *x, float *y)
{
    matmul<Q6_K_BYTES, q6_k>(n_in, n_out, w, x, y);
}
