/* Built programs kept between runs: files named by a digest of everything that decided the build. Asymmetry: CUDA
   device code is compiled ahead of time, so cuda/ has no such file. */
#ifndef FAL_OPENCL_CACHE_H
#define FAL_OPENCL_CACHE_H

#include "harness/error.h"

#include <stddef.h>

/* what    The program kept under key (64 hex characters) in dir, or NULL with *n = 0 when there is none or its bytes
           are not those that were stored: a driver is never given a damaged program.
   owns    the result belongs to the caller: free */
unsigned char *fal_cl_cache_load(const char *dir, const char *key, size_t *n);
/* what    Keeps a program; makes dir when needed. Complete or absent, also with several writers (a new file is
           renamed). Returns 0, or -1 when it could not be kept, which is no error: the program is built again next
           time. */
int fal_cl_cache_store(const char *dir, const char *key, const unsigned char *bytes, size_t n);

#endif
