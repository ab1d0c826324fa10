/* A libFuzzer target: any bytes as an observation file; what is accepted is read to its last byte. Build with
   clang -fsanitize=fuzzer,address,undefined and harness/observation.c, harness/error.c, jansson. */
#include "harness/observation.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char *const names[] = { "logits", "r0.logits", "blk.0.attn", "in.x", "out.y" };
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char path[32];
    fal_observation *o = NULL;
    fal_error err = { 0 };
    if (fd < 0) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, bytes, n) == (ssize_t)n && fal_observation_open(path, &o, &err) == FAL_OK) {
        volatile unsigned char sum = 0;
        for (int t = 0; t < o->n_tensors; t++)
            for (size_t i = 0; i < o->tensors[t].nbytes; i++)
                sum = (unsigned char)(sum + ((const unsigned char *)o->tensors[t].data)[i]);
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
            for (int r = 0; r < 2; r++) sum = (unsigned char)(sum + (fal_observation_find(o, r, names[k]) != NULL));
        fal_observation_close(o);
    } else if (err.code == FAL_OK || memchr(err.message, '\0', sizeof err.message) == NULL) {
        __builtin_trap(); /* a refusal without a message */
    }
    close(fd);
    return 0;
}
