/* One fault for each tool of compute-sanitizer, to see that it reports what it is for. usage: planted memcheck|racecheck|... */
#include <cstdio>
#include <cstring>
#include <cuda_runtime.h>

enum { N = 64 };

/* memcheck: writes behind the end of a buffer of N ints. */
__global__ void beyond_the_end(int *p)
{
    p[threadIdx.x + 1] = (int)threadIdx.x;
}

/* racecheck: reads what another warp writes, without a barrier between. */
__global__ void no_barrier(int *p)
{
    __shared__ int s[N];
    s[threadIdx.x] = p[threadIdx.x];
    p[threadIdx.x] = s[N - 1 - threadIdx.x];
}

/* initcheck: reads what nobody wrote. */
__global__ void not_written(const int *p, int *q)
{
    q[threadIdx.x] = p[threadIdx.x];
}

/* synccheck: a lane comes to a barrier of lanes that does not name it, then every other lane to one of the block. */
__global__ void wrong_at_barrier(int *p)
{
    const unsigned named = __ballot_sync(0xFFFFFFFFu, threadIdx.x % 32 < 16);
    if (threadIdx.x % 32 <= 16) __syncwarp(named);
    if (threadIdx.x % 2) {
        p[threadIdx.x] = 1;
        __syncthreads();
    }
}

int main(int argc, char **argv)
{
    const char *tool = argc == 2 ? argv[1] : "";
    int *p = nullptr, *q = nullptr, *unwritten = nullptr;
    if (cudaMalloc(&p, N * sizeof *p) || cudaMalloc(&q, N * sizeof *q) || cudaMalloc(&unwritten, N * sizeof *unwritten)) return 3;
    if (cudaMemset(p, 0, N * sizeof *p)) return 3;
    if (strcmp(tool, "memcheck") == 0) beyond_the_end<<<1, N>>>(p);
    else if (strcmp(tool, "racecheck") == 0) no_barrier<<<1, N>>>(p);
    else if (strcmp(tool, "initcheck") == 0) not_written<<<1, N>>>(unwritten, q);
    else if (strcmp(tool, "synccheck") == 0) wrong_at_barrier<<<1, N>>>(p);
    else return 2;
    printf("ran %s: %s\n", tool, cudaGetErrorString(cudaDeviceSynchronize()));
    return 0;
}
